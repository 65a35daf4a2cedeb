package commands

import (
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	fakejenkins "github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/redact"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// controlled is a Jenkins on this machine and a directory with a rollback.yaml that leads to it.
type controlled struct {
	*fakejenkins.Server
	t        *testing.T
	url, dir string
}

// acmeJobs is the configuration of the tests: two services in two environments.
const acmeJobs = `defaults:
  repo: acme/{service}
  job: deploy/{service}
  jenkins: {url: "JENKINS", user: rollback}
environments:
  prod:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: acme-prod}
    namespace: prod
    confirm: true
  staging:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: acme-staging}
    namespace: staging
    tag: staging
services:
  payments: {}
  web: {repo: acme/web-app, image: frontend/web}
`

func newControlled(t *testing.T, config string) *controlled {
	t.Helper()
	c := &controlled{Server: fakejenkins.New(fakejenkins.Options{}), t: t, dir: t.TempDir()}
	server := httptest.NewServer(c.Server)
	c.url = server.URL
	t.Cleanup(func() {
		c.Close()
		server.Close()
		for _, v := range c.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	c.write(config)
	return c
}

// write puts another rollback.yaml into the directory.
func (c *controlled) write(config string) {
	c.t.Helper()
	config = strings.ReplaceAll(config, "JENKINS", c.url)
	must(c.t, os.WriteFile(filepath.Join(c.dir, "rollback.yaml"), []byte(config), 0o600))
}

func (c *controlled) environ() []string {
	return append(demo.Plain(os.Environ()), "JENKINS_TOKEN="+fakejenkins.Token)
}

// apply runs the command to its end: within this process, which is as good here and much quicker.
func (c *controlled) apply(args ...string) result {
	c.t.Helper()
	return c.with(nil, args...)
}

// with runs the command with more variables.
func (c *controlled) with(more []string, args ...string) result {
	c.t.Helper()
	var stdout, stderr lockedBuffer
	env := &Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Environ: append(c.environ(), more...), Dir: c.dir, Version: "1.2.3"}
	args = append([]string{"jobs", "apply"}, args...)
	r := result{args: args, code: Main(c.t.Context(), env, args)}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	remember(c.t, r)
	return r
}

// writes is how often Jenkins was told to change something.
func (c *controlled) writes() int { return c.Count("POST *") }

// job is what is stored under a name.
func (c *controlled) job(name string) jenkins.Pipeline {
	c.t.Helper()
	p, err := jenkins.ReadPipeline(c.Config(name))
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", name, err, c.Config(name))
	}
	return p
}

// edit changes what is stored, as a person at the page does.
func (c *controlled) edit(name, old, with string) {
	c.t.Helper()
	must(c.t, c.Configure(name, func(text string) string {
		if !strings.Contains(text, old) {
			c.t.Errorf("%s has no %q:\n%s", name, old, text)
		}
		return strings.Replace(text, old, with, 1)
	}))
}

var theJobs = []string{"rollback/prod/payments", "rollback/prod/web", "rollback/staging/payments", "rollback/staging/web"}

func TestJobsApply(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	r := c.apply("--yes").wantExit(t, 0).wantText(t, "✔ created  rollback/prod/payments", "4 created\n")
	wantNoSecret(t, r, fakejenkins.Token)
	if n := c.Count("*"); n > 4*2+3*3+1 { // two for a job, three for a folder, one listing
		t.Errorf("%d calls", n)
	}
	p := c.job("rollback/prod/web")
	want := "@Library('rollback') _\n\nrollbackPipeline(\n    service: 'web',\n    environment: 'prod',\n    repo: 'acme/web-app',\n    image: 'frontend/web',\n" +
		"    job: 'deploy/web',\n    namespace: 'prod',\n    confirm: true,\n    approve: true,\n    registryKind: 'ecr',\n    registryAccount: '123456789012',\n    registryRegion: 'eu-west-1',\n" +
		"    clusterContext: 'acme-prod',\n    jenkinsUrl: '" + c.url + "'\n)"
	if d := cmp.Diff(want, p.Script); d != "" {
		t.Errorf("the script (-want +got):\n%s", d)
	}
	if !p.Sandbox || p.Disabled || len(p.Triggers) > 0 || !cmp.Equal(p.Parameters, definitions()) {
		t.Errorf("%+v", p)
	}
	if _, ok := markIn(p.Description); !ok || !strings.Contains(p.Description, "Takes web in prod back") {
		t.Errorf("%q", p.Description)
	}
	if names := p.Parameters[0]; names.Name != "ROLLBACK_METHOD" || slices.Contains(names.Choices, "none") {
		t.Errorf("%+v", names)
	}
	if !strings.Contains(c.job("rollback/staging/web").Script, "tag: 'staging'") || strings.Contains(c.job("rollback/prod/payments").Script, "image:") {
		t.Error("what differs from the built-in is not what is in the script")
	}

	// Once more: nothing to do, and nothing done.
	before := c.writes()
	c.Reset()
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
	if c.writes() > 0 || c.Count("*") > 4+1 {
		t.Errorf("%d writes, %d calls, after %d writes", c.writes(), c.Count("*"), before)
	}

	// A run sets the parameters, those of a newer library, and a property of its own: no edit by hand, and not undone.
	c.OnBuild(func(_ context.Context, b *fakejenkins.Build) string {
		b.Properties([]fakejenkins.Parameter{{Kind: "String", Name: "ROLLBACK_TO", Default: "previous"}, {Kind: "String", Name: "ROLLBACK_NEWER"}}, true)
		return ""
	})
	c.Push("rollback/prod/web", "")
	must(t, c.Wait(t.Context(), func() bool {
		b := c.Builds("rollback/prod/web")
		return len(b) == 1 && b[0].Result() != ""
	}))
	if p := c.job("rollback/prod/web"); !p.ByRun || len(p.Parameters) != 2 { // not ours and these: ours were replaced
		t.Fatalf("the run has set nothing, or beside ours: %+v", p)
	}
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")

	// rollback.yaml changed: the jobs of web follow, and keep what others put into them.
	c.edit("rollback/staging/web", "<properties>", `<properties><io.acme.Rights plugin="matrix-auth@3"><permission>USER:it&apos;s</permission></io.acme.Rights>`)
	foreign := foreignOf(c.Config("rollback/staging/web"))
	c.write(strings.Replace(acmeJobs, "frontend/web", "front/web", 1))
	dry := c.apply("--dry-run").wantExit(t, 0).wantText(t, "2 to update, 2 up to date", "-      image: 'frontend/web',", "+      image: 'front/web',",
		"--- rollback/prod/web (Jenkins)\n+++ rollback/prod/web (rollback.yaml)\n@@ -", "")
	for _, noise := range []string{"plugin=", "<", "rollback jobs apply 1.", "ROLLBACK_NEWER"} {
		if strings.Contains(dry.stdout, noise) {
			t.Errorf("noise in the difference: %q\n%s", noise, dry)
		}
	}
	if c.writes() > 0 {
		t.Error("a dry run has written")
	}
	c.apply("--yes").wantExit(t, 0).wantText(t, "2 updated, 2 up to date\n")
	if p := c.job("rollback/prod/web"); !strings.Contains(p.Script, "'front/web'") || len(p.Parameters) != 2 {
		t.Errorf("%+v", p)
	}
	if got := foreignOf(c.Config("rollback/staging/web")); got != foreign || !strings.Contains(got, "it&apos;s") {
		t.Errorf("what others put there is not as it was: %s", cmp.Diff(foreign, got))
	}
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
}

// foreignOf are the lines of a configuration that are not ours.
func foreignOf(text string) string {
	var b strings.Builder
	inside := false
	for l := range strings.SplitSeq(text, "\n") {
		if strings.Contains(l, "<script>") || strings.Contains(l, "<description>") {
			inside = true
		}
		if !inside {
			b.WriteString(l + "\n")
		}
		if strings.Contains(l, "</script>") || strings.Contains(l, "</description>") {
			inside = false
		}
	}
	return b.String()
}

// Every way to change a job by hand is seen, shown, left alone, and undone only when that is asked for.
func TestJobsChangedByHand(t *testing.T) {
	t.Parallel()
	const name = "rollback/prod/payments"
	for _, x := range []struct{ why, old, with, shown string }{
		{"script", "service: &apos;payments&apos;", "service: &apos;other&apos;", "-      service: 'other',"},
		{"sandbox", "<sandbox>true", "<sandbox>false", "-sandbox     false"},
		{"disabled", "<disabled>false", "<disabled>true", "-disabled    true"},
		{"trigger", "<triggers/>", "<triggers><hudson.triggers.TimerTrigger><spec>H 2 * * *</spec></hudson.triggers.TimerTrigger></triggers>", "-trigger     hudson.triggers.TimerTrigger H 2 * * *"},
		{"default", "<defaultValue>previous</defaultValue>", "<defaultValue>5ea1724</defaultValue>", "-parameter   ROLLBACK_TO  string 5ea1724"},
		{"choice", "<string>undo</string>", "<string>undo</string><string>none</string>", "-parameter   ROLLBACK_METHOD  choice [retag, revert, undo, none]"},
		{"description", "Takes payments", "Don&apos;t use. Takes payments", "-  Don't use. Takes payments"},
		{"behind the mark", "]</description>", "]\nAsk the platform team.</description>", "-  Ask the platform team."},
		{"from a repository", "CpsFlowDefinition", "CpsScmFlowDefinition", "-definition  org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition"},
	} {
		t.Run(x.why, func(t *testing.T) {
			t.Parallel()
			c := newControlled(t, acmeJobs)
			c.apply("--yes").wantExit(t, 0)
			c.edit(name, x.old, x.with)
			before, writes := c.Config(name), c.writes()
			for _, args := range [][]string{{"--yes"}, {"--dry-run"}} {
				r := c.apply(args...).wantExit(t, rollback.Refused).wantText(t, "! "+name+" was changed by hand, and is left alone", "3 up to date, 1 left alone",
					"next: rollback jobs apply --service payments --environment prod --adopt", "production: not changed")
				if !strings.Contains(r.stdout, x.shown) {
					t.Errorf("the difference does not show %q\n%s", x.shown, r)
				}
			}
			if c.Config(name) != before || c.writes() != writes {
				t.Error("it was not left alone")
			}
			// The file changes too: still left alone, the other three follow.
			c.write(strings.Replace(acmeJobs, "job: deploy/{service}", "job: ship/{service}", 1))
			c.apply("--yes").wantExit(t, rollback.Refused).wantText(t, "3 updated, 1 left alone")
			if c.Config(name) != before {
				t.Error("it was not left alone")
			}
			c.apply("--service", "payments", "--environment", "prod", "--adopt", "--yes").wantExit(t, 0).wantText(t, "✔ adopted  "+name, "1 adopted\n")
			c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
			if p := c.job(name); !p.Sandbox || p.Disabled || len(p.Triggers) > 0 || !strings.Contains(p.Script, "'ship/payments'") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// What is set on the machine of whoever applies them does not get into the jobs; only the way to Jenkins is its own.
func TestJobsOfAnybody(t *testing.T) {
	t.Parallel()
	c := newControlled(t, strings.Replace(acmeJobs, "    confirm: true\n", "    confirm: true\n    timeout: 15m\n", 1))
	c.apply("--yes").wantExit(t, 0)
	before := map[string]string{}
	for _, name := range theJobs {
		before[name] = c.Config(name)
	}
	mine := []string{"ROLLBACK_TIMEOUT=9m", "ROLLBACK_CONFIRM=false", "ROLLBACK_JENKINS_LIBRARY=mine", "ROLLBACK_JENKINS_APPROVE=true", "ROLLBACK_CLUSTER_EKS=mine", "ROLLBACK_JENKINS_USER=rollback", "MY_TOKEN=" + fakejenkins.Token, "ROLLBACK_JENKINS_TOKEN_ENV=MY_TOKEN"}
	c.with(mine, "--yes").wantExit(t, 0).wantText(t, "4 up to date\n",
		"! not in the jobs, because they are set on this machine and not in rollback.yaml: ROLLBACK_CONFIRM, ROLLBACK_TIMEOUT, ROLLBACK_CLUSTER_EKS, ROLLBACK_JENKINS_LIBRARY, ROLLBACK_JENKINS_APPROVE\n")
	for name, text := range before {
		if c.Config(name) != text {
			t.Errorf("%s was changed: %s", name, cmp.Diff(text, c.Config(name)))
		}
		if strings.Contains(text, "jenkinsUser") || strings.Contains(text, "TokenEnv") {
			t.Errorf("%s says who this machine is to Jenkins:\n%s", name, text)
		}
	}
	// Where the file does not lead to Jenkins, the way there is not in the job either.
	c.write(strings.Replace(acmeJobs, "  jenkins: {url: \"JENKINS\", user: rollback}\n", "", 1))
	c.apply("--yes", "--jenkins-url", c.url, "--jenkins-user", "rollback", "--jenkins-rollback-job", "ops/{environment}/{service}").wantExit(t, 0).wantText(t, "✔ created  ops/prod/web", "4 created")
	if p := c.job("ops/prod/web"); strings.Contains(p.Script, "jenkins") {
		t.Errorf("%s", p.Script)
	}
}

// Agent, program and credentials are said once, in rollback.yaml: a job needs no variables of the controller then.
func TestJobsWithAgent(t *testing.T) {
	t.Parallel()
	sums := strings.Repeat("a1", 32) + "  rollback_linux_amd64\n" + strings.Repeat("b2", 32) + "  rollback_linux_arm64\n"
	c := newControlled(t, strings.Replace(acmeJobs, `user: rollback}`, fmt.Sprintf(`user: rollback, agent: {node: "deploy-{environment}",
    url: "https://artifacts.example.com/{version}/rollback_{os}_{arch}", version: v1.4.0, sha256: %q, credentials: [github, "aws={environment}-aws", kubeconfig]}}`, sums), 1))
	c.apply("--yes").wantExit(t, 0)
	want := "    node: 'deploy-prod',\n    url: 'https://artifacts.example.com/{version}/rollback_{os}_{arch}',\n    version: 'v1.4.0',\n    sha256: " + literal(sums) +
		",\n    github: true,\n    aws: 'prod-aws',\n    kubeconfig: true\n)"
	if p := c.job("rollback/prod/web"); !strings.HasSuffix(p.Script, want) {
		t.Errorf("%s\nwant at its end\n%s", p.Script, want)
	}
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
}

// What the jobs ask of people is in rollback.yaml: confirm makes each wait for a yes, and the rest is said by itself.
func TestJobsThatAsk(t *testing.T) {
	t.Parallel()
	c := newControlled(t, strings.Replace(acmeJobs, "user: rollback}", `user: rollback, approve: true, choose: true, submitter: ["{service}-leads", "it's me"]}`, 1))
	c.apply("--yes").wantExit(t, 0)
	for name, want := range map[string]string{
		"rollback/prod/web":         "confirm: true, approve: true, choose: true, submitter: 'web-leads,it\\'s me'",
		"rollback/staging/payments": "approve: true, choose: true, submitter: 'payments-leads,it\\'s me'",
	} {
		var asks []string
		for l := range strings.SplitSeq(c.job(name).Script, "\n") {
			l = strings.TrimSuffix(strings.TrimSpace(l), ",")
			if key, _, _ := strings.Cut(l, ":"); slices.Contains([]string{"confirm", "approve", "choose", "submitter"}, key) {
				asks = append(asks, l)
			}
		}
		if got := strings.Join(asks, ", "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	c.write(acmeJobs)
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 updated")
	if p := c.job("rollback/staging/payments"); strings.Contains(p.Script, "approve") {
		t.Errorf("nobody wants to be asked:\n%s", p.Script)
	}
}

// What Jenkins and its pages do to a configuration by themselves is no change by hand.
func TestJobsSavedByOthers(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	c.apply("--yes").wantExit(t, 0)
	for _, name := range theJobs {
		must(t, c.Configure(name, func(text string) string {
			text = strings.ReplaceAll(text, "<trim>true", "<trim>false")
			text = strings.ReplaceAll(text, "java.util.Arrays$ArrayList", "java.util.Collections$UnmodifiableList")
			from, to := strings.Index(text, "<script>"), strings.Index(text, "</script>")
			text = text[:from] + strings.ReplaceAll(text[from:to], "\n", "&#xd;\n") + "&#xd;\n" + text[to:]
			text = strings.Replace(text, "<actions>", "<actions><io.acme.Badge plugin='badge@1'/>", 1)
			return strings.Replace(text, "</actions>", "</actions><displayName>Zurück ☂</displayName>", 1)
		}))
	}
	before := c.Config(theJobs[0])
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
	if c.Config(theJobs[0]) != before {
		t.Error("it was written")
	}
	// Somebody brought the job by hand to what the file says now: nothing to give up, so the mark follows.
	c.edit(theJobs[0], "job: &apos;deploy/payments", "job: &apos;ship/payments")
	c.write(strings.Replace(acmeJobs, "job: deploy/{service}", "job: ship/{service}", 1))
	c.apply("--dry-run").wantExit(t, 0).wantText(t, "4 to update", "# rollback/prod/payments: only the mark in its description")
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 updated\n")
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
}

// A job of that name that somebody else made is not touched; a folder, and what cannot become a pipeline, never is.
func TestJobsOfOthers(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	c.AddJob("rollback/prod/payments", fakejenkins.Job{Parameters: []fakejenkins.Parameter{{Kind: "String", Name: "MINE"}}})
	c.AddFolder("rollback/prod/web")
	c.AddJob("rollback/staging/web", fakejenkins.Job{Freestyle: true})
	before := c.Config("rollback/prod/payments")
	r := c.apply("--yes").wantExit(t, rollback.Failed).wantText(t, "! rollback/prod/payments was not made by rollback, and is left alone",
		"✗ rollback/prod/web: rollback/prod/web is a folder, where a job should be", "✗ rollback/staging/web: rollback/staging/web is no pipeline job",
		"✔ created  rollback/staging/payments", "1 created, 1 left alone, 2 failed", "2 of 4 jobs failed", "run it again")
	if c.Config("rollback/prod/payments") != before || c.writes() != 1 {
		t.Errorf("%d writes\n%s", c.writes(), r)
	}
	dry := c.apply("--dry-run", "--adopt", "--service", "payments").wantExit(t, 0).wantText(t, "1 to adopt, 1 up to date", "-parameter   MINE  string", "-definition  none")
	if c.writes() != 1 {
		t.Errorf("written\n%s", dry)
	}
	c.apply("--yes", "--adopt", "--service", "payments").wantExit(t, 0).wantText(t, "1 adopted, 1 up to date")
	c.apply("--yes", "--adopt").wantExit(t, rollback.Failed).wantText(t, "2 up to date, 2 failed")
	if c.writes() != 2 {
		t.Errorf("%d writes", c.writes())
	}
	c.Remove("rollback/staging")
	c.AddJob("rollback/staging", fakejenkins.Job{})
	c.apply("--yes", "--environment", "staging").wantExit(t, rollback.Failed).wantText(t, "rollback/staging is a job", "where a folder should be", "rollback/staging/payments and 1 more")
	c.apply("--yes", "--service", "payments").wantExit(t, rollback.Failed).wantText(t, "✗ rollback/staging/payments: rollback/staging is a job, where a folder should be", "1 up to date, 1 failed")
}

// Jobs that no service leads to any more are named, and left.
func TestStrayJobs(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	c.apply("--yes").wantExit(t, 0)
	c.AddJob("rollback/prod/notes", fakejenkins.Job{}) // not ours
	c.write(strings.Replace(acmeJobs, "  payments: {}\n", "", 1))
	writes := c.writes()
	for _, args := range [][]string{{"--yes"}, {"--dry-run"}} {
		c.apply(args...).wantExit(t, 0).wantText(t, "! rollback/prod/payments was made by rollback, and no service that rollback.yaml lists leads to it",
			"! rollback/staging/payments was made", "2 up to date\n")
	}
	r := c.apply("--yes", "--json").wantExit(t, 0)
	if got := decoded[jobsReport](t, r); !slices.Equal(got.Strays, []string{"rollback/prod/payments", "rollback/staging/payments"}) {
		t.Errorf("%+v", got)
	}
	if strings.Contains(r.stderr, "notes") || c.writes() != writes || c.Config("rollback/prod/payments") == "" {
		t.Errorf("%s", r)
	}
	// A service that only patterns carry has its job when it is asked for, and is no stray then.
	r = c.apply("--yes", "--service", "payments", "--environment", "prod").wantExit(t, 0).wantText(t, "1 up to date\n")
	if strings.Contains(r.stderr, "leads to it") {
		t.Errorf("%s", r)
	}
	c.apply("--yes", "--service", "cart", "--environment", "prod").wantExit(t, 0).wantText(t, "✔ created  rollback/prod/cart")
}

func TestJobsAsJSON(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	got := decoded[jobsReport](t, c.apply("--dry-run", "--json").wantExit(t, 0))
	if got.SchemaVersion != jobsVersion || !got.DryRun || len(got.Jobs) != 4 {
		t.Fatalf("%+v", got)
	}
	for i, j := range got.Jobs {
		if j.Job != theJobs[i] || j.Action != jobCreate || j.Done || j.Jenkins != c.url || !strings.Contains(j.Diff, "+script") || j.Service == "" || j.Environment == "" {
			t.Errorf("%+v", j)
		}
	}
	if c.writes() > 0 || c.Count("*") != 1 {
		t.Errorf("%d calls", c.Count("*"))
	}
	c.apply("--yes").wantExit(t, 0)
	c.edit(theJobs[1], "<disabled>false", "<disabled>true")
	got = decoded[jobsReport](t, c.apply("--yes", "--json").wantExit(t, rollback.Refused))
	if j := got.Jobs[1]; j.Action != jobLeave || j.Why != "was changed by hand" || j.Done || !strings.Contains(j.Diff, "-disabled    true") {
		t.Errorf("%+v", j)
	}
	if j := got.Jobs[0]; j.Action != jobNone || !j.Done || j.Diff != "" {
		t.Errorf("%+v", j)
	}
}

func TestJobsRefused(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		why    string
		config string
		args   []string
		env    []string
		code   rollback.Exit
		texts  []string
	}{
		{"nobody to ask", acmeJobs, nil, nil, rollback.Usage, []string{"there is no terminal to ask on", "--yes to go on without asking, or --dry-run"}},
		{"no service listed", strings.Split(acmeJobs, "services:")[0], []string{"--yes"}, nil, rollback.Usage, []string{"no service is listed in rollback.yaml", "services: {payments: {}}", "rollback jobs apply --service payments --environment prod"}},
		{"no environment", "services: {payments: {}}\n", []string{"--yes"}, nil, rollback.Usage, []string{"no environment is listed"}},
		{"another environment", acmeJobs, []string{"--yes", "--environment", "prdo"}, nil, rollback.Usage, []string{`did you mean "prod"?`}},
		{"no Jenkins", strings.Replace(acmeJobs, "  jenkins: {url: \"JENKINS\", user: rollback}\n", "", 1), []string{"--yes"}, nil, rollback.Usage, []string{"jenkins.url is not set"}},
		{"no token", acmeJobs, []string{"--yes"}, []string{"JENKINS_TOKEN="}, rollback.Usage, []string{"jenkins.url is set, but not the variable JENKINS_TOKEN"}},
		{"an incomplete scope", strings.Replace(acmeJobs, "    namespace: staging\n", "", 1), []string{"--yes"}, nil, rollback.Usage, []string{"namespace is not set"}},
		{"one job for all", strings.Replace(acmeJobs, "user: rollback}", "user: rollback, rollbackJob: ops/rollback}", 1), []string{"--yes"}, nil, rollback.Usage, []string{"makes ops/rollback the job of both payments/prod and web/prod"}},
		{"a flag for what is in the jobs", acmeJobs, []string{"--yes", "--timeout", "9m"}, nil, rollback.Usage, []string{"--timeout: the jobs say what rollback.yaml says, so write it there: timeout"}},
		{"a variable for what is missing", strings.Replace(acmeJobs, "    namespace: staging\n", "", 1), []string{"--yes"}, []string{"ROLLBACK_NAMESPACE=staging"}, rollback.Usage, []string{"namespace is not set", "write it into rollback.yaml"}},
		{"an argument", acmeJobs, []string{"payments"}, nil, rollback.Usage, []string{"takes no arguments"}},
		{"another token", acmeJobs, []string{"--yes"}, []string{"JENKINS_TOKEN=11aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, rollback.Failed, []string{"rollback/prod/payments and 3 more", "no valid credentials", "renew the API token"}},
		{"a secret in a value", strings.Replace(acmeJobs, "tag: staging", "tag: hunter2-hunter2", 1), []string{"--yes", "--environment", "staging"}, []string{"SOME_PASSWORD=hunter2-hunter2"}, rollback.Failed, []string{"a value looks like a secret", "rollback/staging/payments and 1 more"}},
	} {
		t.Run(x.why, func(t *testing.T) {
			t.Parallel()
			c := newControlled(t, x.config)
			r := c.with(x.env, x.args...).wantExit(t, x.code).wantText(t, x.texts...)
			wantNoSecret(t, r, fakejenkins.Token, "hunter2-hunter2")
			if c.writes() > 0 {
				t.Errorf("written\n%s", r)
			}
		})
	}
	r := launch(t, demo.Plain(os.Environ()), t.TempDir(), call{args: []string{"jobs"}}).wait().wantExit(t, rollback.Usage)
	r.wantText(t, "apply")
}

// With values that mean something to XML and to Groovy, the job says what rollback.yaml says; nothing in a whole configuration
// looks like a secret; files of this machine are left out and named.
func TestJobsWithOddValues(t *testing.T) {
	t.Parallel()
	config := strings.Replace(acmeJobs, "cluster: {context: acme-prod}", `cluster: {context: "a'b\\u0041 $x $(y) <&>\" é", kubeconfig: kube/config}`, 1)
	config = strings.Replace(config, "user: rollback}", "user: rollback, library: rollback@v1, caFile: ca.pem, rollbackJob: \"ops tools/{environment}/back {service}\"}", 1)
	c := newControlled(t, config)
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	must(t, os.WriteFile(filepath.Join(c.dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw}), 0o600))
	c.apply("--yes", "--environment", "prod").wantExit(t, 0).wantText(t, "2 created\n", "! not in the jobs, because they name files of this machine: cluster.kubeconfig, jenkins.caFile")
	p := c.job("ops tools/prod/back payments")
	for _, text := range []string{"@Library('rollback@v1') _", `clusterContext: 'a\'b\\u0041 $x $(y) <&>" é'`} {
		if !strings.Contains(p.Script, text) {
			t.Errorf("%q is missing in\n%s", text, p.Script)
		}
	}
	if strings.Contains(p.Script, c.dir) || strings.Contains(p.Script, "kube/config") || strings.Contains(p.Script, "caFile") {
		t.Errorf("a path of this machine:\n%s", p.Script)
	}
	c.apply("--yes", "--environment", "prod").wantExit(t, 0).wantText(t, "2 up to date\n")
}

// Jobs may be anywhere: at the top, or in folders of their own for each service. However many there are, what lies beside them is
// not listed.
func TestJobsAnywhere(t *testing.T) {
	t.Parallel()
	for pattern, x := range map[string]struct {
		jobs     []string
		listings int // of the first run
	}{
		"{service}-in-{environment}":             {[]string{"payments-in-prod", "web-in-prod", "payments-in-staging", "web-in-staging"}, 1},
		"{environment}/ops/{service}":            {[]string{"prod/ops/payments", "prod/ops/web", "staging/ops/payments", "staging/ops/web"}, 2},
		"ops/{service}/rollback/{environment}":   {[]string{"ops/payments/rollback/prod", "ops/web/rollback/prod", "ops/payments/rollback/staging", "ops/web/rollback/staging"}, 1},
		"a b/{environment}/Zürich ☂ {service}.x": {[]string{"a b/prod/Zürich ☂ payments.x", "a b/staging/Zürich ☂ web.x"}, 1},
	} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			c := newControlled(t, strings.Replace(acmeJobs, "user: rollback}", fmt.Sprintf("user: rollback, rollbackJob: %q}", pattern), 1))
			c.AddJob("other/payments", fakejenkins.Job{})
			c.apply("--dry-run").wantExit(t, 0).wantText(t, "4 to create")
			if n := c.Count("*"); n != x.listings {
				t.Errorf("%d calls to list, want %d", n, x.listings)
			}
			c.apply("--yes").wantExit(t, 0).wantText(t, "4 created\n")
			for _, name := range x.jobs {
				if !strings.Contains(c.job(name).Script, "rollbackPipeline(") {
					t.Errorf("%s: %+v", name, c.job(name))
				}
			}
			c.Reset()
			c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
			if n := c.Count("*"); n != x.listings+4 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// Two who apply at the same time: one set of jobs, and both are content.
func TestJobsAtOnce(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if r := c.apply("--yes"); r.code != 0 {
				t.Errorf("%s", r)
			}
		})
	}
	wg.Wait()
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
}

// What `jobs apply` makes is what `trigger` starts: the same name, and the parameters it gives are the job's own.
func TestJobsAreTriggered(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	c.apply("--yes", "--service", "payments", "--environment", "prod").wantExit(t, 0)
	got := make(chan map[string]string, 1)
	c.OnBuild(func(ctx context.Context, b *fakejenkins.Build) string {
		got <- b.Parameters()
		return onlyPlans("SUCCESS")(ctx, b)
	})
	args := scoped("trigger", "--reason", "it's $(late)", "--method", "revert", "--dry-run", "--accept-migrations", "--wait", "merge", "--accept", "pinned")
	launch(t, append(c.environ(), "ROLLBACK_STATE="+filepath.Join(c.dir, "state")), c.dir, call{args: args}).wait().wantExit(t, 0)
	values := <-got
	if values["ROLLBACK_ID"] == "" {
		t.Errorf("no mark in %v", values)
	}
	delete(values, "ROLLBACK_ID")
	want := map[string]string{"ROLLBACK_METHOD": "revert", "ROLLBACK_TO": "previous", "ROLLBACK_REASON": "it's $(late)", "ROLLBACK_DRY_RUN": "true", "ROLLBACK_ACCEPT": "pinned",
		"ROLLBACK_ACCEPT_MIGRATIONS": "true", "ROLLBACK_WAIT": "merge"}
	if d := cmp.Diff(want, values); d != "" {
		t.Errorf("the build's parameters (-want +got):\n%s", d)
	}
}

// Rights that are missing are named, each with what it is needed for; the rest is done.
func TestJobsWithoutRights(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	c.Deny("Job/Create")
	c.apply("--yes").wantExit(t, rollback.Failed).wantText(t, "rollback/prod/payments and 3 more", "the right Job/Create", "4 failed")
	c.Deny()
	c.apply("--yes", "--environment", "prod").wantExit(t, 0)
	c.Deny("Job/Configure")
	c.apply("--yes").wantExit(t, rollback.Failed).wantText(t, "rollback/prod/payments and 1 more", "it was asked for, but could not be looked at", "4 failed", "the right Job/Configure")
	c.Deny()
	c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
}

// A company's worth of services: one listing, and two calls for each job that is made, one for each that is as it should be.
func TestJobsOfManyServices(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(strings.Split(acmeJobs, "services:")[0] + "services:\n")
	const services = 231
	for i := range services {
		fmt.Fprintf(&b, "  service-%03d: {}\n", i)
	}
	c := newControlled(t, b.String())
	c.apply("--yes", "--environment", "prod").wantExit(t, 0).wantText(t, "231 created\n")
	if n := c.Count("*"); n > services*2+2*3+1 {
		t.Errorf("%d calls to make %d jobs", n, services)
	}
	c.Reset()
	c.apply("--yes", "--environment", "prod").wantExit(t, 0).wantText(t, "231 up to date\n")
	if n := c.Count("*"); n != services+1 {
		t.Errorf("%d calls to look at %d jobs", n, services)
	}
	most := 0
	for _, r := range c.Requests() {
		at := 0
		for _, o := range c.Requests() {
			if !o.Start.After(r.Start) && o.Time.After(r.Start) {
				at++
			}
		}
		most = max(most, at)
	}
	if most > atOnce {
		t.Errorf("%d calls at once", most)
	}
	c.Remove("rollback/prod/service-007")
	c.edit("rollback/prod/service-008", "<disabled>false", "<disabled>true")
	c.apply("--yes", "--environment", "prod").wantExit(t, rollback.Refused).wantText(t, "1 created, 229 up to date, 1 left alone\n", "1 job was left alone")
}

// Each call fails in each way: the end is told truly, and the same command finishes it, nothing made twice.
func TestJobsFaults(t *testing.T) {
	t.Parallel()
	ways := []failure{
		{name: "401", fault: always(html(401))}, {name: "403", fault: always(html(403))}, {name: "404", fault: always(html(404))},
		{name: "409", fault: always(html(409))}, {name: "429 for long", fault: always(fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}})},
		{name: "500", fault: always(html(500))}, {name: "503", fault: always(fake.Fault{Status: 503, Header: http.Header{"Retry-After": {"3600"}}})},
		{name: "html", fault: always(html(200))}, {name: "cut", fault: always(fake.Fault{Status: 200, Cut: true, Body: "<flow-"})},
		{name: "drop", fault: always(fake.Fault{Drop: true})}, {name: "answer lost", fault: always(fake.Fault{Drop: true, After: true})},
		{name: "answer lost, 500", fault: always(fake.Fault{Status: 500, After: true})},
	}
	for _, op := range []string{"GET job", "GET config.xml", "POST createItem", "POST config.xml"} {
		for _, f := range ways {
			for _, lasting := range []bool{false, true} {
				write := strings.HasPrefix(op, "POST")
				if strings.HasPrefix(f.name, "answer lost") && !write {
					continue
				}
				t.Run(fmt.Sprintf("%s %s lasting=%t", op, f.name, lasting), func(t *testing.T) {
					t.Parallel()
					c := newControlled(t, acmeJobs)
					c.apply("--yes", "--service", "web").wantExit(t, 0) // two are there, and change; two are to be made
					config := strings.Replace(acmeJobs, "job: deploy/{service}", "job: ship/{service}", 1)
					c.write(config)
					fault := f.fault(outside{})
					fault.Op = op
					if !lasting {
						fault.Times = 1
					}
					c.Inject(fault)
					r := c.apply("--yes")
					right := 0
					for _, name := range theJobs {
						if text := c.Config(name); text != "" && strings.Contains(text, "ship/") {
							right++
						}
					}
					switch {
					case r.code == 0 && right != 4:
						t.Errorf("says done: %d of 4\n%s", right, r)
					case r.code != 0 && r.code != int(rollback.Failed):
						t.Errorf("%s", r)
					case r.code != 0:
						r.wantText(t, "✗ ", "production: not changed", "run it again")
					}
					wantNoSecret(t, r, fakejenkins.Token)
					c.Clear()
					c.apply("--yes").wantExit(t, 0)
					for _, name := range theJobs {
						if !strings.Contains(c.job(name).Script, "ship/") {
							t.Errorf("%s is not as it must be", name)
						}
					}
					writes := c.writes()
					c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
					if c.writes() != writes {
						t.Error("written for nothing")
					}
				})
			}
		}
	}
}

// Killed at each request, and run again: the same jobs, each once.
func TestJobsKilled(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for at := 1; at <= 16; at++ {
			t.Run(fmt.Sprintf("at request %d, done %t", at, done), func(t *testing.T) {
				t.Parallel()
				c := newControlled(t, acmeJobs)
				reached, opened := make(chan struct{}), make(chan struct{})
				var mu sync.Mutex
				n := 0
				c.Inject(fake.Fault{Hold: func(*http.Request) {
					mu.Lock()
					n++
					mine := n == at
					mu.Unlock()
					if mine {
						close(reached)
						<-opened
						if !done {
							panic(http.ErrAbortHandler)
						}
					}
				}})
				p := launch(t, c.environ(), c.dir, call{args: []string{"jobs", "apply", "--yes"}})
				select {
				case <-reached:
					must(t, p.Process.Kill())
					p.wait()
				case <-p.ended:
				}
				close(opened)
				c.Clear()
				c.apply("--yes").wantExit(t, 0)
				c.apply("--yes").wantExit(t, 0).wantText(t, "4 up to date\n")
				for _, name := range theJobs {
					c.job(name)
				}
			})
		}
	}
}

// Interrupted, it stops writing and says so.
func TestJobsInterrupted(t *testing.T) {
	t.Parallel()
	c := newControlled(t, acmeJobs)
	reached := make(chan struct{})
	var once sync.Once
	c.Inject(fake.Fault{Op: "POST createItem", Skip: 3, Hang: true, Hold: func(*http.Request) { once.Do(func() { close(reached) }) }}) // the folders are made
	p := launch(t, c.environ(), c.dir, call{args: []string{"jobs", "apply", "--yes"}})
	<-reached
	must(t, p.Process.Signal(os.Interrupt))
	begun := time.Now()
	r := p.wait().wantExit(t, rollback.Failed).wantText(t, "interrupted", "production: not changed", "run it again")
	if took := time.Since(begun); took > 10*time.Second+busy {
		t.Errorf("it took %s to end\n%s", took, r)
	}
	c.Clear()
	c.apply("--yes").wantExit(t, 0).wantText(t, "created")
}

func TestUnified(t *testing.T) {
	t.Parallel()
	lines := func(s string) []string { return strings.Fields(s) }
	for _, x := range []struct{ a, b, want string }{
		{"a b c", "a b c", ""},
		{"", "", ""},
		{"", "a b", "--- A\n+++ B\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"a b", "", "--- A\n+++ B\n@@ -1,2 +0,0 @@\n-a\n-b\n"},
		{"a", "b", "--- A\n+++ B\n@@ -1 +1 @@\n-a\n+b\n"},
		{"1 2 3 4 5 x 6 7 8 9", "1 2 3 4 5 y 6 7 8 9", "--- A\n+++ B\n@@ -3,7 +3,7 @@\n 3\n 4\n 5\n-x\n+y\n 6\n 7\n 8\n"},
		{"x 1 2 3 4 5 6 y", "a 1 2 3 4 5 6 b", "--- A\n+++ B\n@@ -1,8 +1,8 @@\n-x\n+a\n 1\n 2\n 3\n 4\n 5\n 6\n-y\n+b\n"},
		{"x 1 2 3 4 5 6 7 y", "a 1 2 3 4 5 6 7 b", "--- A\n+++ B\n@@ -1,4 +1,4 @@\n-x\n+a\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-y\n+b\n"},
	} {
		if got := unified("A", "B", lines(x.a), lines(x.b)); got != x.want {
			t.Errorf("%q, %q:\n%s\nwant\n%s", x.a, x.b, got, x.want)
		}
	}
}

// The mark of a job must stay what it is from one version of the program to the next, or every job would look changed by hand.
func TestMark(t *testing.T) {
	t.Parallel()
	p := marked(jenkins.Pipeline{
		Description: "Takes payments back.", Script: "rollbackPipeline(\n    service: 'payments'\n)", Sandbox: true,
		Parameters: []jenkins.JobParameter{{Class: "Choice", Name: "METHOD", Description: "how", Choices: []string{"retag", "revert"}}, {Class: "Boolean", Name: "DRY", Default: "false"}},
	})
	if want := "Takes payments back.\n[rollback jobs apply 1.e654b815c822.bf493ae47869]"; p.Description != want {
		t.Errorf("%q, want %q", p.Description, want)
	}
	if again := marked(unmarked(p)); again.Description != p.Description || markOf(p) != markOf(unmarked(p)) {
		t.Errorf("%q: the mark counts itself", again.Description)
	}
	for description, ok := range map[string]bool{
		p.Description: true, p.Description + "\nmore": true, "[rollback jobs apply 2.000000000000.111111111111]": true,
		"": false, "rollback jobs apply": false, "[rollback jobs apply 1.0.1]": false, "Written by \"rollback jobs apply\"": false,
	} {
		if _, got := markIn(description); got != ok {
			t.Errorf("%q: %t", description, got)
		}
	}
	other := p
	other.Description = "[rollback jobs apply 2.000000000000.111111111111]"
	if !edited(other, p) {
		t.Error("what another version wrote is taken for ours")
	}
}

// Every setting reaches the job under its flag's name, but for those that are files of this machine or say where the job is; and
// none of them looks like a secret.
func TestSettingsOfAJob(t *testing.T) {
	t.Parallel()
	bases := []map[string]string{
		{"registry.account": "123456789012", "registry.region": "eu-west-1", "cluster.eks": "acme"},
		{"registry.host": "registry.example.com", "cluster.context": "prod", "registry.usernameEnv": "REGISTRY_USERNAME", "registry.passwordEnv": "REGISTRY_PASSWORD"},
		{"registry.host": "registry.example.com", "cluster.inCluster": "true"},
	}
	scope := rollback.Scope{Service: "payments", Environment: "prod"}
	for _, s := range config.Settings {
		if s.Key == "strictServices" {
			continue
		}
		tried := 0
		for _, base := range bases {
			values := maps.Clone(base)
			values["namespace"] = "x"
			value := s.Example
			switch {
			case value != s.Default:
			case s.Type == config.Duration:
				value = "9m"
			default: // such as main
				value += "x"
			}
			values[s.Key] = value
			f, err := config.Parse("rollback.yaml", written(t, values))
			if err != nil {
				continue // it goes with another base
			}
			scoped, err := f.Resolve(scope, nil)
			if err != nil {
				continue
			}
			tried++
			job, paths := pipelineOf(scoped)
			key := keyOf(s)
			if s.Key == "jenkins.agent.credentials" {
				key, _, _ = strings.Cut(value, "=")
			}
			has := strings.Contains(job.Script, "    "+key+": ")
			if want := !s.Path && !slices.Contains(besideJobs, s.Key); has != want {
				t.Errorf("%s = %s: in the job %t, want %t\n%s", s.Key, value, has, want, job.Script)
			}
			if s.Path != slices.Contains(paths, s.Key) {
				t.Errorf("%s: left out are %v", s.Key, paths)
			}
			text := job.XML()
			if got := redact.New([]string{"JENKINS_TOKEN=" + fakejenkins.Token, "GITHUB_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ012345"}).String(text); got != text {
				t.Errorf("%s: looks like a secret: %s", s.Key, cmp.Diff(text, got))
			}
		}
		if tried == 0 {
			t.Errorf("%s fits nowhere", s.Key)
		}
	}
}

// written is a rollback.yaml whose environment prod has these settings.
func written(t *testing.T, values map[string]string) []byte {
	t.Helper()
	prod := map[string]any{}
	for key, text := range values {
		s, _ := config.Lookup(key)
		var value any = text
		switch s.Type {
		case config.Bool:
			value = text == "true"
		case config.List:
			value = strings.Split(text, ",")
		}
		at := prod
		parts := strings.Split(key, ".")
		for _, section := range parts[:len(parts)-1] {
			if at[section] == nil {
				at[section] = map[string]any{}
			}
			at = at[section].(map[string]any)
		}
		at[parts[len(parts)-1]] = value
	}
	data, err := yaml.Marshal(map[string]any{"environments": map[string]any{"prod": prod}})
	must(t, err)
	return data
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": `''`, "a'b": `'a\'b'`, `a\b`: `'a\\b'`, `\u0041`: `'\\u0041'`, "$x ${y}": `'$x ${y}'`, "a\nb\r\tc": `'a\nb\r\tc'`, "\x00\x7f\u2028": `'\u0000\u007f\u2028'`, "é☂": `'é☂'`, "\xff": `'�'`,
	} {
		if got := literal(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
