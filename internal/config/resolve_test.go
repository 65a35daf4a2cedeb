package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/rollback-tools/rollback/internal/rollback"
)

var payments = rollback.Scope{Service: "payments", Environment: "prod"}

func scope(service, environment string) rollback.Scope {
	return rollback.Scope{Service: service, Environment: environment}
}

func parse(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) *File {
	t.Helper()
	f, err := Parse("rollback.yaml", []byte(strings.TrimPrefix(text, "\n")))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return f
}

// samples are different good values of a setting.
func samples(s Setting) []string {
	switch s.Key {
	case "registry.kind":
		return []string{"ecr"}
	case "repo":
		return []string{"acme/a", "acme/b", "acme/c", "acme/d", "acme/e", "acme/f"}
	case "workloads":
		return []string{"deployment/a", "deployment/b", "deployment/c", "deployment/d", "deployment/e", "deployment/f,sts/g"}
	case "registry.account":
		return []string{"111111111111", "222222222222", "333333333333", "444444444444", "555555555555", "066666666666"}
	case "registry.region", "cluster.region":
		return []string{"eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2", "us-west-1"}
	case "registry.role", "cluster.role":
		var out []string
		for _, n := range "abcdef" {
			out = append(out, "arn:aws:iam::123456789012:role/"+string(n))
		}
		return out
	case "github.app", "github.installation":
		return []string{"1", "2", "3", "4", "5", "6"}
	case "jenkins.agent.sha256":
		var out []string
		for _, n := range "abcdef" {
			out = append(out, strings.Repeat(string(n), 64))
		}
		return out
	case "jenkins.agent.credentials":
		return []string{"github", "aws", "kubeconfig", "registry", "jenkins", "github=a,aws=b"}
	case "cluster.server", "github.url", "jenkins.url", "jenkins.agent.url":
		return []string{"https://a", "https://b", "https://c", "https://d", "https://e", "https://f"}
	case "cluster.uid":
		var out []string
		for _, n := range "abcdef" {
			out = append(out, "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b2"+string(n))
		}
		return out
	}
	switch s.Type {
	case Bool:
		return []string{"true"}
	case Duration:
		return []string{"11m", "12m", "13m", "14m", "15m", "16m"}
	}
	return []string{"x1", "x2", "x3", "x4", "x5", "x6"}
}

// companions are what a setting needs beside it to make sense, at the lowest level.
func companions(key string) map[string]string {
	c := map[string]string{"namespace": "base", "timeout": "1h", "settle": "1s"}
	switch {
	case slices.Contains(groups[0].ways[1].own, key):
		maps.Copy(c, map[string]string{"registry.host": "base", "registry.usernameEnv": "BASE", "registry.passwordEnv": "BASE"})
	default:
		maps.Copy(c, map[string]string{"registry.account": "999999999999", "registry.region": "eu-north-1"})
	}
	switch {
	case slices.Contains(groups[1].ways[1].own, key):
		c["cluster.eks"] = "base"
	case key == "cluster.inCluster":
	default:
		c["cluster.context"] = "base"
	}
	return c
}

// node puts a value at a dotted key of a YAML document made of maps.
func node(doc map[string]any, path string, s Setting, text string) {
	parts := strings.Split(path, ".")
	for _, p := range parts[:len(parts)-1] {
		if doc[p] == nil {
			doc[p] = map[string]any{}
		}
		doc = doc[p].(map[string]any)
	}
	var v any = text
	switch s.Type {
	case Bool:
		v = text == "true"
	case List:
		v = strings.Split(text, ",")
	}
	doc[parts[len(parts)-1]] = v
}

func file(t interface {
	Helper()
	Fatalf(string, ...any)
}, doc map[string]any) *File {
	t.Helper()
	data, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return parse(t, string(data))
}

// Every setting, at every level it may stand at: the higher level wins, and its origin is told.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	sections := []string{"services.payments.environments.prod", "services.payments", "environments.prod", "defaults"}
	checked := 0
	for _, s := range Settings {
		if s.Key == strictServices {
			continue // see TestStrictServices
		}
		levels := []string{"flag", "variable"}
		for _, section := range sections {
			if !strings.HasPrefix(section, "services") || slices.Contains(leavesOf(commonType), s.Key) {
				levels = append(levels, section)
			}
		}
		values := samples(s)
		value := func(level int) string { return values[level%len(values)] }
		for top := range levels {
			doc, flags, env := map[string]any{}, map[string]string{}, map[string]string{}
			for key, text := range companions(s.Key) {
				x, _ := Lookup(key)
				node(doc, "defaults."+key, x, text)
			}
			doc["environments"] = map[string]any{"prod": map[string]any{}}
			for level := top; level < len(levels); level++ {
				switch name := levels[level]; name {
				case "flag":
					flags[s.Flag] = value(level)
				case "variable":
					env[s.Env] = value(level)
				default:
					node(doc, name+"."+s.Key, s, value(level))
				}
			}
			f := file(t, doc)
			got, err := f.Resolve(payments, Gather(flags, func(k string) string { return env[k] }))
			if err != nil {
				t.Errorf("%s from %s: %v", s.Key, levels[top], err)
				continue
			}
			var origin string
			switch levels[top] {
			case "flag":
				origin = "--" + s.Flag
			case "variable":
				origin = s.Env
			case "services.payments.environments.prod":
				origin = f.overrides[payments][s.Key].origin
			case "services.payments":
				origin = f.services["payments"][s.Key].origin
			case "environments.prod":
				origin = f.environments["prod"][s.Key].origin
			case "defaults":
				origin = f.defaults[s.Key].origin
			}
			i := slices.IndexFunc(got.Explain(), func(e Explained) bool { return e.Key == s.Key })
			if i < 0 {
				t.Errorf("%s from %s: not set", s.Key, levels[top])
				continue
			}
			if want := (Explained{s.Key, value(top), origin}); origin == "" || got.Explain()[i] != want {
				t.Errorf("%s from %s: %v, want %v", s.Key, levels[top], got.Explain()[i], want)
			}
			checked++
		}
	}
	t.Logf("%d cases", checked)
}

// Whatever is given is either used, as it was given, or named in an error.
func TestGivenIsNeverLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := map[string]any{}
		for _, s := range Settings { // any part of it may also be in the file, as long as it is a file
			for _, section := range []string{"defaults", "environments.prod", "services.payments"} {
				if s.Key != strictServices && rapid.IntRange(0, 9).Draw(t, section+"."+s.Key) == 0 &&
					(section != "services.payments" || slices.Contains(leavesOf(commonType), s.Key)) {
					node(doc, section+"."+s.Key, s, rapid.SampledFrom(samples(s)).Draw(t, "value"))
				}
			}
		}
		data, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse("rollback.yaml", data)
		if err != nil {
			f = &File{} // ways that exclude each other
		}
		flags, env := map[string]string{}, map[string]string{}
		for _, s := range Settings {
			switch rapid.IntRange(0, 5).Draw(t, s.Flag) {
			case 0:
				flags[s.Flag] = rapid.SampledFrom(samples(s)).Draw(t, "flag")
			case 1:
				env[s.Env] = rapid.SampledFrom(samples(s)).Draw(t, "variable")
			case 2:
				flags[s.Flag] = rapid.StringMatching(`[a-z{} ./:-]{1,12}`).Draw(t, "anything")
			}
		}
		delete(flags, "strict-services") // decides about the service, not about a value: see TestStrictServices
		delete(env, "ROLLBACK_STRICT_SERVICES")
		given := Gather(flags, func(k string) string { return env[k] })
		got, err := f.Resolve(payments, given)
		explained := got.Explain()
		for _, s := range Settings {
			v, ok := given[s.Flag]
			if !ok {
				continue
			}
			if err != nil {
				// Good ones are used once the others are put right; bad ones must be named now.
				bad := slices.ContainsFunc(Given{s.Flag: v}.bad(), func(string) bool { return true })
				if bad && !strings.Contains(err.Error(), v.Origin) {
					t.Fatalf("%s %q is bad, but the error does not name it:\n%v", v.Origin, v.Text, err)
				}
				continue
			}
			i := slices.IndexFunc(explained, func(e Explained) bool { return e.Key == s.Key })
			if i < 0 && s.Type == Bool && v.Text == "false" {
				continue
			}
			if i < 0 {
				t.Fatalf("%s %q is lost", v.Origin, v.Text)
			}
			want := expand(v.Text, payments)
			if s.Type == Duration || s.Type == List { // written another way, perhaps
				want = explained[i].Value
			}
			if explained[i].Origin != v.Origin || explained[i].Value != want {
				t.Fatalf("%s %q became %v", v.Origin, v.Text, explained[i])
			}
		}
	})
}

func (g Given) bad() []string {
	_, problems := g.values(payments)
	var out []string
	for _, p := range problems {
		out = append(out, p.Text)
	}
	return out
}

func TestResolveWithoutFile(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"ROLLBACK_REGISTRY_ACCOUNT": "123456789012", "ROLLBACK_REGISTRY_REGION": "eu-west-1",
		"ROLLBACK_CLUSTER_EKS": "acme-{environment}", "ROLLBACK_NAMESPACE": "{environment}",
		"ROLLBACK_IMAGE": "team/{service}", "ROLLBACK_WORKLOADS": "deploy/{service}, StatefulSet/{service}-db,deployment/payments",
	}
	s, err := (&File{}).Resolve(payments, Gather(map[string]string{"tag": "live"}, func(k string) string { return env[k] }))
	if err != nil {
		t.Fatal(err)
	}
	want := []Explained{
		{"branch", "main", "built in"},
		{"image", "team/payments", "ROLLBACK_IMAGE"},
		{"tag", "live", "--tag"},
		{"namespace", "prod", "ROLLBACK_NAMESPACE"},
		{"workloads", "deploy/payments,StatefulSet/payments-db,deployment/payments", "ROLLBACK_WORKLOADS"},
		{"confirm", "false", "built in"},
		{"timeout", "10m", "built in"},
		{"settle", "10s", "built in"},
		{"registry.kind", "ecr", "ROLLBACK_REGISTRY_ACCOUNT"},
		{"registry.account", "123456789012", "ROLLBACK_REGISTRY_ACCOUNT"},
		{"registry.region", "eu-west-1", "ROLLBACK_REGISTRY_REGION"},
		{"cluster.eks", "acme-prod", "ROLLBACK_CLUSTER_EKS"},
		{"cluster.region", "eu-west-1", "ROLLBACK_REGISTRY_REGION"},
		{"github.tokenEnv", "GITHUB_TOKEN", "built in"},
		{"jenkins.insecure", "false", "built in"},
		{"jenkins.tokenEnv", "JENKINS_TOKEN", "built in"},
		{"jenkins.webhook", "1m", "built in"},
		{"jenkins.rollbackJob", "rollback/prod/payments", "built in"},
		{"jenkins.library", "rollback", "built in"},
		{"jenkins.approve", "false", "built in"},
		{"jenkins.choose", "false", "built in"},
		{"revert.due", "1h", "built in"},
		{"revert.wait", "15s", "built in"},
		{"revert.labels", "rollback", "built in"},
		{"revert.draft", "false", "built in"},
		{"revert.autoMerge", "false", "built in"},
		{"revert.branchPrefix", "rollback/", "built in"},
		{"revert.tempPrefix", "rollback/tmp-", "built in"},
	}
	if diff := cmp.Diff(want, s.Explain()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	refs := []rollback.Ref{
		{Kind: "Deployment", Namespace: "prod", Name: "payments"}, {Kind: "StatefulSet", Namespace: "prod", Name: "payments-db"},
	}
	if diff := cmp.Diff(refs, s.Refs()); diff != "" {
		t.Errorf("Refs (-want +got):\n%s", diff)
	}
}

const acme = `
defaults:
  repo: acme/{service}
  job: deploy/{service}
environments:
  prod:
    registry: {account: "123456789012", region: eu-west-1}
    cluster: {context: prod}
    namespace: prod
  staging:
    registry: {kind: oci, host: "{environment}.example.com"}
    cluster: {inCluster: true}
    namespace: "{service}"
    tag: staging
  bare: {}
services:
  web: {repo: acme/web-app, image: frontend/web, namespace: web}
  orders: {environments: {prod: {tag: stable}}}
`

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	f := parse(t, acme)
	tests := []struct {
		why     string
		f       *File
		scope   string
		flags   map[string]string
		needs   []Need
		want    string
		finding string
	}{
		{why: "nothing known", f: &File{}, scope: "payments/prod", want: `
no registry is chosen: --registry-account, ROLLBACK_REGISTRY_ACCOUNT or registry.account; --registry-host, ROLLBACK_REGISTRY_HOST or registry.host, the keys under environments.prod in rollback.yaml
no cluster is chosen: --cluster-context, ROLLBACK_CLUSTER_CONTEXT or cluster.context; --cluster-eks, ROLLBACK_CLUSTER_EKS or cluster.eks; --cluster-in-cluster, ROLLBACK_CLUSTER_IN_CLUSTER or cluster.inCluster, the keys under environments.prod in rollback.yaml
namespace is not set: --namespace, ROLLBACK_NAMESPACE or environments.prod.namespace in rollback.yaml`},
		{why: "no region", f: &File{}, scope: "payments/prod", flags: map[string]string{"registry-account": "123456789012", "cluster-eks": "x", "namespace": "x"}, want: `
registry.region is not set: --registry-region, ROLLBACK_REGISTRY_REGION or environments.prod.registry.region in rollback.yaml
cluster.region is not set: --cluster-region, ROLLBACK_CLUSTER_REGION or environments.prod.cluster.region in rollback.yaml`},
		{why: "kind without a host", f: &File{}, scope: "payments/prod", flags: map[string]string{"registry-kind": "oci"}, needs: []Need{NeedRegistry}, want: `
registry.host is not set: --registry-host, ROLLBACK_REGISTRY_HOST or environments.prod.registry.host in rollback.yaml`},
		{why: "registry only", f: f, scope: "payments/bare", needs: []Need{NeedRegistry}, want: `
no registry is chosen: --registry-account, ROLLBACK_REGISTRY_ACCOUNT or registry.account; --registry-host, ROLLBACK_REGISTRY_HOST or registry.host, the keys under environments.bare in rollback.yaml`},
		{why: "Jenkins only", f: &File{}, scope: "payments/prod", needs: []Need{NeedJenkins}, want: `
jenkins.url is not set: --jenkins-url, ROLLBACK_JENKINS_URL or environments.prod.jenkins.url in rollback.yaml
jenkins.user is not set: --jenkins-user, ROLLBACK_JENKINS_USER or environments.prod.jenkins.user in rollback.yaml`},
		{why: "bad values are not reported as missing, too", f: &File{}, scope: "payments/prod",
			flags: map[string]string{"registry-account": "123", "registry-region": "x", "cluster-context": "", "namespace": "A", "workloads": "deploy/a,,pod/b", "confirm": "yes", "tag": "{x}"}, want: `
--tag "{x}": there is no placeholder {x}: known are {service} and {environment}
--namespace "A": want a namespace: lower-case letters, digits and dashes, at most 63
--workloads is empty: leave it out, or give it a value
--workloads "pod/b": "pod" cannot be restarted: want deployment, statefulset or daemonset
--confirm "yes": want true or false
--registry-account "123": want 12 digits
--registry-region "x": want an AWS region such as eu-west-1
--cluster-context is empty: leave it out, or give it a value`},
		{why: "no names", f: f, scope: "/", want: `
no service given: --service or ROLLBACK_SERVICE (known: orders, web)
no environment given: --environment or ROLLBACK_ENVIRONMENT (known: bare, prod, staging)`},
		{why: "unknown environment, near", f: f, scope: "payments/prd", want: `no environment "prd" in rollback.yaml: did you mean "prod"?`},
		{why: "unknown environment, another case", f: f, scope: "payments/Prod", want: `no environment "Prod" in rollback.yaml: did you mean "prod"?`},
		{why: "unknown environment, far", f: f, scope: "payments/sandbox", want: `no environment "sandbox" in rollback.yaml: known: bare, prod, staging`},
		{why: "impossible environment", f: &File{}, scope: "payments/Prod", want: `environment "Prod": want lower-case letters, digits and dashes, at most 53`},
		{why: "impossible service", f: f, scope: "Web/prod", want: `service "Web": want lower-case letters, digits and dashes, at most 53; did you mean "web"?`},
		{why: "near miss of a service", f: f, scope: "ordesr/prod", finding: `rollback.yaml has no service "ordesr", but it has "orders"`},
		{why: "an unlisted service", f: f, scope: "payments/prod"},
		{why: "a listed service", f: f, scope: "web/prod"},
		{why: "foreign to the kind in the file", f: f, scope: "payments/prod", flags: map[string]string{"registry-insecure": "true", "cluster-region": "eu-west-1"}, want: `
--registry-insecure is for registry.kind oci, not for ecr (rollback.yaml:6)
--cluster-region goes with cluster.eks, not with cluster.context (rollback.yaml:7)`},
		{why: "flags that exclude each other", f: f, scope: "payments/prod", flags: map[string]string{"cluster-eks": "a", "cluster-context": "b"}, want: `--cluster-context and --cluster-eks exclude each other: keep one`},
		{why: "another kind than the file names", f: f, scope: "payments/staging", flags: map[string]string{"registry-account": "123456789012"}, want: `--registry-account is for registry.kind ecr, not for oci (rollback.yaml:10)`},
		{why: "half of a login", f: f, scope: "payments/staging", flags: map[string]string{"registry-username-env": "A"}, want: `--registry-username-env needs registry.passwordEnv beside it`},
		{why: "a credential twice", f: f, scope: "payments/prod", flags: map[string]string{"jenkins-agent-credentials": "aws,github,aws=acme"}, want: `--jenkins-agent-credentials has aws twice: keep one`},
		{why: "a placeholder of another setting", f: f, scope: "payments/prod", flags: map[string]string{"jenkins-agent-url": "https://x/{service}"}, want: `--jenkins-agent-url "https://x/{service}": there is no placeholder {service} here: known are {version}, {os}, {arch}`},
		{why: "settle and timeout", f: f, scope: "payments/prod", flags: map[string]string{"timeout": "5s"}, want: `settle 10s leaves no time to come up: the timeout is 5s (--timeout)`},
		{why: "too long once it is filled in", f: parse(t, "environments: {prod: {namespace: \"{service}-{service}\", cluster: {context: x}, registry: {host: x}}}"),
			scope: strings.Repeat("a", 40) + "/prod", want: `rollback.yaml:1:34: namespace "{service}-{service}" becomes "` + strings.Repeat("a", 40) + "-" + strings.Repeat("a", 39) + `…" for ` + strings.Repeat("a", 40) + `/prod: want a namespace: lower-case letters, digits and dashes, at most 63`},
	}
	for _, test := range tests {
		service, environment, _ := strings.Cut(test.scope, "/")
		s, err := test.f.Resolve(rollback.Scope{Service: service, Environment: environment}, Gather(test.flags, func(string) string { return "" }), test.needs...)
		got := ""
		if err != nil {
			got = err.Error()
			if rollback.ExitOf(err) != rollback.Usage {
				t.Errorf("%s: exit code %d, want 2", test.why, rollback.ExitOf(err))
			}
			var p Problems
			if !errors.As(err, &p) {
				t.Errorf("%s: %T, want Problems", test.why, err)
			}
		}
		if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.why, diff)
		}
		finding := ""
		for _, x := range s.Findings {
			finding += x.Text
			if x.Severity != rollback.Warn || x.Code != "unlisted-service" || x.Remedy == "" {
				t.Errorf("%s: finding %+v", test.why, x)
			}
		}
		if finding != test.finding {
			t.Errorf("%s: finding %q, want %q", test.why, finding, test.finding)
		}
	}
	if _, err := f.Resolve(payments, Given{"nope": {"x", "--nope"}}); err == nil || err.Error() != "--nope: there is no setting --nope" {
		t.Errorf("a flag that is no setting: %v", err)
	}
}

// An environment may choose another way than defaults, and a flag another than the file; what belonged to the old way
// does not come along.
func TestHigherLevelChoosesAnotherWay(t *testing.T) {
	t.Parallel()
	f := parse(t, `
defaults:
  registry: {kind: ecr, account: "123456789012", region: eu-west-1, profile: p}
  cluster: {eks: acme, region: eu-west-1, uid: 5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22}
  namespace: x
environments:
  lab: {registry: {kind: oci, host: r.example.com}, cluster: {inCluster: true}}
  dev: {}
`)
	s, err := f.Resolve(rollback.Scope{Service: "web", Environment: "lab"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Registry{Kind: "oci", Host: "r.example.com"}); s.Registry != want {
		t.Errorf("registry %+v, want %+v", s.Registry, want)
	}
	if want := (Cluster{InCluster: true, UID: "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22"}); s.Cluster != want {
		t.Errorf("cluster %+v, want %+v: the identity is still checked", s.Cluster, want)
	}
	s, err = f.Resolve(rollback.Scope{Service: "web", Environment: "dev"}, Given{"cluster-context": {"mine", "--cluster-context"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Cluster{Context: "mine", UID: "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22"}); s.Cluster != want {
		t.Errorf("cluster %+v, want %+v", s.Cluster, want)
	}
	if s.Origin("cluster.eks") != "" {
		t.Errorf("the dropped cluster.eks has the origin %s", s.Origin("cluster.eks"))
	}
}

func TestStrictServices(t *testing.T) {
	t.Parallel()
	f := parse(t, "strictServices: true\n"+strings.TrimPrefix(acme, "\n"))
	_, err := f.Resolve(payments, nil)
	if want := `no service "payments" in rollback.yaml, and strictServices (rollback.yaml:1) refuses others: known: orders, web`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	_, err = f.Resolve(rollback.Scope{Service: "wbe", Environment: "prod"}, nil)
	if want := `no service "wbe" in rollback.yaml, and strictServices (rollback.yaml:1) refuses others: did you mean "web"?`; err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
	if _, err := f.Resolve(rollback.Scope{Service: "web", Environment: "prod"}, nil); err != nil {
		t.Errorf("a listed service: %v", err)
	}
	if _, err := f.Resolve(payments, Given{"strict-services": {"false", "--strict-services"}}); err != nil {
		t.Errorf("--strict-services false: %v", err)
	}
	_, err = parse(t, acme).Resolve(payments, Given{"strict-services": {"true", "ROLLBACK_STRICT_SERVICES"}})
	if err == nil || !strings.Contains(err.Error(), "strictServices (ROLLBACK_STRICT_SERVICES) refuses others") {
		t.Errorf("ROLLBACK_STRICT_SERVICES: %v", err)
	}
	if _, err = parse(t, acme).Resolve(payments, Given{"strict-services": {"yes", "--strict-services"}}); err == nil || !strings.Contains(err.Error(), `--strict-services "yes": want true or false`) {
		t.Errorf("--strict-services yes: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	f := parse(t, acme)
	s, err := f.Environment("staging", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"repo", "image", "job", "namespace", "jenkins.rollbackJob"}; !slices.Equal(s.PerService, want) {
		t.Errorf("PerService = %v, want %v", s.PerService, want)
	}
	if s.Image != "" || s.Namespace != "" || s.Tag != "staging" || s.Registry.Host != "staging.example.com" {
		t.Errorf("got %+v", s)
	}
	if _, err := f.Environment("prdo", nil); err == nil || !strings.Contains(err.Error(), `did you mean "prod"?`) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := f.Environment("bare", nil); err == nil || !strings.Contains(err.Error(), "namespace is not set") {
		t.Errorf("incomplete: %v", err)
	}
}

func TestManyKnownNames(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("environments:\n")
	for i := range 230 {
		fmt.Fprintf(&b, "  env-%03d: {}\n", i)
	}
	_, err := parse(t, b.String()).Resolve(rollback.Scope{Service: "x", Environment: "production-of-acme"}, nil)
	if err == nil || !strings.HasSuffix(err.Error(), " and 218 more") || len(err.Error()) > 250 {
		t.Errorf("error %v, want the twelve nearest and a count", err)
	}
}
