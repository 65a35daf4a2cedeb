package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// The shape of the file and the table of settings say the same.
func TestEveryKeyIsASetting(t *testing.T) {
	t.Parallel()
	shape := append(leavesOf(documentType), leavesOf(placeType)...)
	for _, key := range leavesOf(commonType) {
		if !slices.Contains(shape, key) {
			t.Errorf("key %s of services is not one of an environment", key)
		}
	}
	shape = slices.DeleteFunc(shape, func(k string) bool { return strings.HasPrefix(k, "defaults.") })
	table := map[string]bool{}
	for _, s := range Settings {
		if table[s.Key] {
			t.Errorf("%s is twice in the table", s.Key)
		}
		table[s.Key] = true
		if !slices.Contains(shape, s.Key) {
			t.Errorf("%s is in the table, but no section has it", s.Key)
		}
	}
	for _, key := range shape {
		if !table[key] {
			t.Errorf("%s is in a section, but not in the table", key)
		}
	}
}

func TestSettingsAreComplete(t *testing.T) {
	t.Parallel()
	types := map[Type]reflect.Kind{Text: reflect.String, Bool: reflect.Bool, Duration: reflect.Int64, List: reflect.Slice}
	flags := map[string]bool{}
	for _, s := range append(slices.Clone(Settings), Selectors...) {
		if flags[s.Flag] {
			t.Errorf("--%s is twice in the table", s.Flag)
		}
		flags[s.Flag] = true
		if want := "ROLLBACK_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_")); s.Env != want {
			t.Errorf("--%s has the variable %s, want %s", s.Flag, s.Env, want)
		}
		if s.Usage == "" || strings.HasSuffix(s.Usage, ".") || s.Example == "" {
			t.Errorf("--%s: usage %q, example %q: want both, the usage without a full stop", s.Flag, s.Usage, s.Example)
		}
		if s.Key == "" {
			continue
		}
		v := reflect.New(placeType).Elem()
		if s.Key == strictServices {
			v = reflect.New(documentType).Elem()
		}
		if got := at(v, s.Key).Kind(); got != types[s.Type] {
			t.Errorf("%s is a %s in the table and a %s in its section", s.Key, s.Type, got)
		}
		scope := rollback.Scope{Service: "payments", Environment: "prod"}
		if err := s.checkPattern(s.Example, scope); err != nil {
			t.Errorf("%s: example %s: %v", s.Key, s.Example, err)
		}
		if s.Default != "" {
			if err := s.checkPattern(s.Default, scope); err != nil {
				t.Errorf("%s: default %s: %v", s.Key, s.Default, err)
			}
		}
	}
	if s, _ := Lookup("registry.externalId"); s.Flag != "registry-external-id" || s.Env != "ROLLBACK_REGISTRY_EXTERNAL_ID" {
		t.Errorf("registry.externalId is --%s and %s", s.Flag, s.Env)
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	tests := []struct{ key, good, bad string }{
		{"repo", "acme/payments|acme/.github|Acme-1/a.b|acme_emu/x", "payments|acme/|/x|a/b/c|acme/..|-acme/x|acme/a b|https://github.com/acme/x"},
		{"branch", "main|release/1.2|feature_x", "a b|..|a..b|-x|/x|x/|x.lock|a//b|@|a@{b|x.|.x|a~b|a:b|a\x01b"},
		{"image", "payments|a/b|a/b-c|x__y|a.b", "Payments|a/|/a|a//b|a:latest|r.example.com/a|-a|a b"},
		{"tag", "latest|prod-1|_x|v1.2", "a b|.x|-x|a/b|a:b|3f2a9c1|3f2a9c1d3f2a9c1d3f2a9c1d3f2a9c1d3f2a9c1d"},
		{"job", "deploy/payments|deploy|a b/c|x/feature%2Fy|job/x", "/a|a/|a//b|https://j/job/a|job/a/job/b|a/../b|a?b|a:b| a"},
		{"namespace", "prod|a-1", "Prod|-a|a-|a.b|a_b|" + strings.Repeat("a", 64)},
		{"workloads", "deployment/x|Deployment/x|sts/a.b|ds/x", "x|pod/x|cronjob/x|deployment/|deployment/X|deployment/a/b"},
		{"timeout", "1s|10m|24h|1h30m", "0s|-1m|25h|10|0|x|10 m"},
		{"settle", "0s|10s|1h", "0|-1s|2h|5|x"},
		{"confirm", "true|false", "yes|1|TRUE|on"},
		{"registry.kind", "ecr|oci", "ECR|docker"},
		{"registry.account", "123456789012|000000000001", "12345678901|1234567890123|12345678901x|１23456789012"},
		{"registry.region", "eu-west-1|us-gov-west-1|cn-north-1|us-isob-east-1|eusc-de-east-1", "eu-west|EU-WEST-1|eu_west_1|eu-west-1a|Frankfurt"},
		{"registry.role", "arn:aws:iam::123456789012:role/x|arn:aws-cn:iam::123456789012:role/a/b|arn:aws-us-gov:iam::123456789012:role/x", "x|arn:aws:iam::1:role/x|arn:aws:iam::123456789012:user/x|arn:aws:iam::123456789012:role/"},
		{"registry.externalId", "ab|a:b/c", "a|a b|" + strings.Repeat("a", 1225)},
		{"registry.host", "registry.example.com|localhost:5000|127.0.0.1:5000|[::1]:5000", "https://x|x/y|x:0|x:99999|x:y|a_b|-x|a..b|::1|x:"},
		{"registry.usernameEnv", "A|A_1|_x", "1A|a-b|a b|$A"},
		{"registry.caFile", "ca.pem|../a b.pem", "a\nb"},
		{"registry.profile", "acme-prod|a b", "-x|a\tb| a"},
		{"cluster.context", "prod|arn:aws:eks:eu-west-1:123456789012:cluster/x", "-x|x "},
		{"cluster.eks", "acme-prod|A_1", "-x|a.b|" + strings.Repeat("a", 101)},
		{"cluster.server", "https://x|https://x:6443/k8s/clusters/c-1|http://127.0.0.1:8080|http://localhost|http://[::1]:1", "x|http://x|ftp://x|https://|https://u:p@x|https://x?a|https://x#a|https://:80|http://10.0.0.1"},
		{"jenkins.rollbackJob", "rollback/prod/payments|ops", "/a|a/|https://j/job/a|a:b"},
		{"jenkins.library", "rollback|rollback@v1|rollback@feature/x|acme-1.2_lib", "@v1|rollback@|a b|a'b|a/b|rollback@a@b"},
		{"jenkins.agent.url", "https://x/{version}/a|http://x:8080/a_{os}_{arch}|file:///opt/a", "x|ftp://x/a|https://u:p@x/a|file://|https://|https://x/a\x01"},
		{"jenkins.agent.version", "v1.4.0|1.4.0-rc.1+x", "a b|a/b|$x"},
		{"jenkins.agent.sha256", strings.Repeat("aB", 32) + "|" + strings.Repeat("a1", 32) + "  x_linux_amd64\n" + strings.Repeat("b2", 32) + " *x_linux_arm64\n", "x|" + strings.Repeat("a", 63) + "|" + strings.Repeat("a1", 32) + "  x\nb2  y|" + strings.Repeat("a1", 32) + "\n" + strings.Repeat("b2", 32)},
		{"jenkins.agent.credentials", "github|aws=acme-aws|githubLogin=a.b_c", "Github|git|password|aws=|aws=a b|aws=a'b|=x|github,aws"},
		{"jenkins.submitter", "leads|it's me", "-x|a\nb"},
		{"cluster.uid", "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22", "x|5E2B6C1A-6a1f-4b3e-9d53-0c8f4d7a1b22|5e2b6c1a6a1f4b3e9d530c8f4d7a1b22"},
	}
	for _, test := range tests {
		s, ok := Lookup(test.key)
		if !ok {
			t.Fatalf("no setting %s", test.key)
		}
		for v := range strings.SplitSeq(test.good, "|") {
			if err := s.validate(v); err != nil {
				t.Errorf("%s %q: %v, want it accepted", test.key, v, err)
			}
		}
		for v := range strings.SplitSeq(test.bad+"|", "|") {
			if err := s.validate(v); err == nil {
				t.Errorf("%s %q is accepted", test.key, v)
			}
		}
	}
}

func TestGather(t *testing.T) {
	t.Parallel()
	env := map[string]string{"ROLLBACK_TAG": "from-env", "ROLLBACK_NAMESPACE": " prod ", "ROLLBACK_IMAGE": "", "ROLLBACK_JOB": "  "}
	got := Gather(map[string]string{"tag": "from-flag", "to": "previous", "branch": ""}, func(k string) string { return env[k] })
	want := Given{
		"tag": {"from-flag", "--tag"}, "namespace": {"prod", "ROLLBACK_NAMESPACE"},
		"branch": {"", "--branch"}, // an error later: see TestResolveErrors
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Gather = %v, want %v", got, want)
	}
}
