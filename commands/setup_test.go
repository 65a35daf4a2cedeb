package commands

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/rollback-tools/rollback/internal/demo"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	fakekube "github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/kube"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// alone starts the program outside any world.
func alone(t *testing.T, dir string, args ...string) result {
	t.Helper()
	env := demo.Plain(os.Environ())
	return launch(t, append(env, "HOME="+dir), dir, call{args: args}).wait()
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := alone(t, t.TempDir(), "version").wantExit(t, 0)
	if flag := alone(t, t.TempDir(), "--version"); flag.stdout != r.stdout {
		t.Errorf("%s", flag)
	}
	if r.stdout != "rollback version 1.2.3 0123456789ab 2026-01-02T03:04:05Z\n" || r.stderr != "" {
		t.Errorf("%s", r)
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := alone(t, dir, "init").wantExit(t, 0)
	if r.stdout != "rollback.yaml\n" {
		t.Errorf("standard output is %q", r.stdout)
	}
	first := read(t, filepath.Join(dir, "rollback.yaml"))
	if out := alone(t, dir, "init", "--out", "-").wantExit(t, 0); out.stdout != first {
		t.Errorf("--out - prints something else: %s", cmp.Diff(first, out.stdout))
	}
	// What is there is never overwritten.
	must(t, os.WriteFile(filepath.Join(dir, "rollback.yaml"), []byte(first+"# mine\n"), 0o600))
	alone(t, dir, "init").wantExit(t, rollback.Usage).wantText(t, "rollback.yaml exists and was left as it is", "rollback init --out -")
	if read(t, filepath.Join(dir, "rollback.yaml")) != first+"# mine\n" {
		t.Error("the file was overwritten")
	}
	// The doctor reads it, and finds what is still to be done: the cluster is not there.
	doctor := alone(t, dir, scoped("doctor")...).wantExit(t, rollback.Failed)
	if !strings.Contains(doctor.stdout, "✔ configuration") {
		t.Errorf("%s", doctor)
	}
	// Nowhere to write is a usage error, not a crash.
	alone(t, dir, "init", "--out", "no/such/dir/rollback.yaml").wantExit(t, rollback.Usage).wantText(t, "no such file or directory")
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	r := n.do(call{args: scoped("doctor")}).wantExit(t, 0)
	if strings.Contains(r.stdout, "✗") {
		t.Errorf("%s", r)
	}
	r.wantText(t, "✔ registry", "✔ cluster", "✔ record", "✔ journal", "uses the image: deployment/payments, ", "statefulset/payments-worker", "ecr:PutImage cannot be checked without writing")
	report := decoded[doctorReport](t, n.do(call{args: scoped("doctor", "--json")}).wantExit(t, 0))
	if report.SchemaVersion != doctorVersion || len(report.Checks) < 8 || len(report.Settings) == 0 {
		t.Errorf("%+v", report)
	}

	n.do(call{args: scoped("doctor", "--cluster-context", "staging")}).wantExit(t, rollback.Failed).wantText(t, `✗ cluster       no context "staging"`, "→ set cluster.context in rollback.yaml to one that is there")
	none := n.do(call{args: scoped("doctor"), env: []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}}).wantExit(t, rollback.Failed)
	if c := strings.Count(none.stdout, "✗ registry"); c != 1 {
		t.Errorf("the same credentials are missing %d times\n%s", c, none)
	}

	// One failure hides no other.
	n.Registry.Expire(true)
	n.Cluster.Revoke("oncall")
	bad := n.do(call{args: scoped("doctor"), env: []string{"ROLLBACK_STATE=/dev/null/journals"}}).wantExit(t, rollback.Failed)
	bad.wantText(t, "✗ registry", "✗ cluster", "! journal       /dev/null is not a directory; a rollback writes its journal to a temporary directory", "aws sso login", "checks failed", "production: not changed")
	for _, line := range strings.Split(bad.stdout, "\n") {
		if strings.HasPrefix(line, "✗") && strings.TrimSpace(line[len("✗"):]) == "" {
			t.Errorf("a failed check without words: %q", line)
		}
	}
	wantNoSecret(t, bad)
	n.Registry.Expire(false)
	n.Cluster.SetUser(fakekube.User{Token: "oncall", Name: "reader", Rules: []fakekube.Rule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}}})
	n.do(call{args: scoped("doctor")}).wantExit(t, rollback.Failed).wantText(t, "may not patch deployments.apps in prod", "the Role: rollback permissions --for run",
		"enough for status, candidates, plan, verify", "next: looking works already: rollback plan --service payments --environment prod")
	n.do(call{args: append(scoped("doctor"), "--namespace", "nowhere")}).wantExit(t, rollback.Failed)
	n.do(call{args: append(scoped("doctor"), "--tag", "nope")}).wantExit(t, rollback.Failed).wantText(t, "✗ registry      payments:nope does not exist")
	n.do(call{args: append(scoped("status"), "--namespace", "nowhere")}).wantExit(t, rollback.Usage)
	alone(t, t.TempDir(), scoped("doctor")...).wantExit(t, rollback.Usage).wantText(t, "✗ configuration")
	n.wantNothingWritten()
}

// GitHub and Jenkins are looked at as far as they are set up; what is not is said, and what is wrong comes with its fix.
func TestDoctorForgeAndBuilds(t *testing.T) {
	t.Parallel()
	bare := newNight(t, demo.Options{})
	bare.do(call{args: scoped("doctor")}).wantExit(t, 0).wantText(t, "! github        not asked: GITHUB_TOKEN is not set", "! jenkins       not asked: jenkins.url is not set")

	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: scoped("doctor")}).wantExit(t, 0).wantText(t, "✔ github        acme/payments as ", "main is at "+n.bad().Commit[:7], "✔ jenkins       Jenkins 2.", "✔ jenkins       the job deploy/payments, ")
	n.do(call{args: scoped("doctor"), env: []string{"GITHUB_TOKEN=", "JENKINS_TOKEN="}}).wantExit(t, 0).wantText(t, "! github        not asked: GITHUB_TOKEN is not set", "→ put the token into GITHUB_TOKEN\n",
		"! jenkins       not asked: JENKINS_TOKEN is not set", "→ put it into JENKINS_TOKEN;")
	wrong := []string{"GITHUB_TOKEN=ghp_wrongwrongwrongwrongwrongwrongwrong", "JENKINS_TOKEN=wrongwrongwrongwrong"}
	bad := n.do(call{args: scoped("doctor"), env: wrong}).wantExit(t, rollback.Failed).wantText(t, "✗ github ", "check GITHUB_TOKEN", "✗ jenkins ", "renew the API token", "2 checks failed")
	wantNoSecret(t, bad, "ghp_wrongwrongwrongwrongwrongwrongwrong", "wrongwrongwrongwrong")
	away := []string{"http_proxy=" + n.JenkinsURL, "ROLLBACK_JENKINS_URL=http://jenkins.acme.example"}
	n.do(call{args: scoped("doctor"), env: away}).wantExit(t, rollback.Failed).wantText(t, "✗ jenkins ", "credentials are not sent over plain http", "set jenkins.insecure to true")
	n.do(call{args: scoped("plan"), env: away}).wantExit(t, 0).wantText(t, "builds are not asked about: credentials are not sent over plain http to http://jenkins.acme.example unless jenkins.insecure is true")
	n.do(call{args: scoped("doctor", "--jenkins-insecure", "true"), env: away}).wantExit(t, 0).wantText(t, "! jenkins       the credentials go over plain http to http://jenkins.acme.example", "✔ jenkins       the job deploy/payments, ")
	n.do(call{args: scoped("doctor", "--job", "deploy/nothing")}).wantExit(t, rollback.Failed).wantText(t, "✗ jenkins ", "404")
	n.do(call{args: scoped("doctor", "--jenkins-commit-parameter", "REVISION")}).wantExit(t, rollback.Failed).wantText(t, "✗ jenkins       the job deploy/payments has no parameter REVISION")
	n.do(call{args: scoped("doctor", "--branch", "release")}).wantExit(t, rollback.Failed).wantText(t, "has no branch release", "set branch in rollback.yaml")
	n.Code.Configure(func(o *fakegh.RepositoryOptions) { o.AutoMerge = false })
	n.do(call{args: scoped("doctor", "--revert-auto-merge", "true")}).wantExit(t, 0).wantText(t, "! github        revert.autoMerge is set, and acme/payments does not allow auto-merge")
	n.GitHub.Deny("contents:write", "pull_requests:write")
	n.do(call{args: scoped("doctor")}).wantExit(t, rollback.Failed).wantText(t, "✗ github ", "may only read acme/payments (read): no revert can be opened")
	n.do(call{args: scoped("doctor", "--for", "plan")}).wantExit(t, 0).wantText(t, "! github ")
}

// A role that may only look is enough for those who only look, and they are told what it is not enough for.
func TestDoctorForLooking(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.as("plan")
	looking := n.do(call{args: scoped("doctor", "--for", "plan"), env: []string{"ROLLBACK_STATE=/dev/null/journals"}}).wantExit(t, 0)
	looking.wantText(t, "enough for status, candidates, plan\n", "! journal",
		"! cluster       not enough yet for verify, retag, restart, undo, run: may not get deployments.apps,", "patch daemonsets.apps", "the Role, once you want that: rollback permissions --for run")
	if strings.Contains(looking.stdout, "✗") || strings.Contains(looking.stdout, "PutImage") {
		t.Errorf("what only a rollback needs fails, or is asked for\n%s", looking)
	}
	report := decoded[doctorReport](t, n.do(call{args: scoped("doctor", "--json"), env: []string{"ROLLBACK_FOR=plan"}}).wantExit(t, 0))
	if report.For != "plan" || !report.enough("plan") || !report.enough("status") || report.enough("run") || report.enough("undo") || len(report.Commands) != len(needsOf) {
		t.Errorf("%+v", report)
	}
	acting := n.do(call{args: scoped("doctor")}).wantExit(t, rollback.Failed)
	acting.wantText(t, "✗ cluster       may not patch deployments.apps in prod", "✗ record        may not create, update configmaps in prod",
		"of those for rollback run", "next: looking works already: rollback plan", "rollback doctor --for plan --service payments")
	if strings.Contains(acting.stdout, "not enough yet") {
		t.Errorf("what fails is told twice\n%s", acting)
	}
	// A role that may not even look fails for everybody.
	n.Cluster.SetUser(fakekube.User{Token: "oncall", Name: "nobody"})
	n.do(call{args: scoped("doctor", "--for", "plan")}).wantExit(t, rollback.Failed).wantText(t, "✗ cluster       may not list pods in prod", "enough for no command")
	n.as("run")
	n.do(call{args: scoped("doctor")}).wantExit(t, 0).wantText(t, "enough for status, candidates, plan, verify, retag, restart, undo, run")
	n.do(call{args: scoped("doctor", "--for", "close")}).wantExit(t, rollback.Usage).wantText(t, "want one of status, candidates, plan")
	must(t, n.Registry.SetMutability("payments", "IMMUTABLE"))
	n.do(call{args: scoped("doctor", "--for", "plan")}).wantExit(t, 0).wantText(t, "! registry      the repository does not let the tag latest be moved")
	n.do(call{args: scoped("doctor")}).wantExit(t, rollback.Failed).wantText(t, "✗ registry      the repository does not let the tag latest be moved")
	n.wantNothingWritten()
}

// as gives the user of the world the rights that `permissions` prints for a command, and takes all others.
func (n *night) as(command string, extra ...string) {
	n.t.Helper()
	r := decoded[rights](n.t, n.do(call{args: append(scoped("permissions", "--json", "--for", command), extra...)}).wantExit(n.t, 0))
	user := fakekube.User{Token: "oncall", Name: "oncall@acme.example"}
	for _, rule := range r.Kubernetes {
		var names []string
		for _, name := range rule.Names {
			names = append(names, strings.ReplaceAll(name, "{namespace}", "prod"))
		}
		given := fakekube.Rule{APIGroups: []string{rule.Group}, Resources: []string{rule.Resource}, ResourceNames: names, Verbs: rule.Verbs}
		if !rule.Cluster {
			given.Namespaces = []string{"prod"}
		}
		user.Rules = append(user.Rules, given)
	}
	n.Cluster.SetUser(user)
	var denied []string
	for _, a := range []string{"ecr:BatchGetImage", "ecr:DescribeImages", "ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:ListImages", "ecr:PutImage", "ecr:BatchDeleteImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"} {
		if !slices.ContainsFunc(r.AWS, func(r right) bool { return r.Name == a }) {
			denied = append(denied, a)
		}
	}
	n.Registry.Deny(denied...)
}

// role is what the YAML of `permissions` says.
type role struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Rules    []struct {
		APIGroups, Resources, ResourceNames, Verbs []string
	}
}

func roles(t *testing.T, text string) []role {
	t.Helper()
	var list []role
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		var raw map[string]any
		if err := d.Decode(&raw); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var r role
		mustJSON(t, asJSON(t, raw), &r)
		list = append(list, r)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	for _, need := range needsOf {
		r := n.do(call{args: scoped("permissions", "--for", need.command)}).wantExit(t, 0)
		got, want := map[string]bool{}, map[string]bool{}
		for _, role := range roles(t, r.stdout) {
			if (role.Kind == "Role") != (role.Metadata.Namespace == "prod") || role.Metadata.Name == "" {
				t.Errorf("%s: %s %+v", need.command, role.Kind, role.Metadata)
			}
			for _, rule := range role.Rules {
				for _, verb := range rule.Verbs {
					got[role.Kind+" "+rule.APIGroups[0]+"/"+rule.Resources[0]+" "+verb] = true
				}
			}
		}
		for _, rule := range kube.Rules(need.kube...) {
			kind := "Role"
			if rule.Cluster {
				kind = "ClusterRole"
			}
			for _, verb := range rule.Verbs {
				if rule.Act == kube.ActRecord && !slices.Contains(need.recordVerbs(), verb) {
					continue
				}
				want[kind+" "+rule.Group+"/"+rule.Resource+" "+verb] = true
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: the Role is not what the program asks for (-want +got):\n%s", need.command, d)
		}
		decoded[rights](t, n.do(call{args: scoped("permissions", "--for", need.command, "--json")}).wantExit(t, 0))
	}
	// Those that live from GitHub or Jenkins: a Role for the record alone, where there is one, and nothing of AWS.
	for _, need := range otherNeeds {
		all := decoded[rights](t, n.do(call{args: scoped("permissions", "--for", need.command, "--json")}).wantExit(t, 0))
		least := decoded[rights](t, n.do(call{args: scoped("permissions", "--for", need.command, "--json", "--required-only")}).wantExit(t, 0))
		docs := len(roles(t, n.do(call{args: scoped("permissions", "--for", need.command)}).wantExit(t, 0).stdout))
		forge := need.command == "revert" || need.command == "reland"
		if all.IAM != nil || len(least.Kubernetes) > 0 || (len(all.GitHub) > 0) != forge || (len(all.Jenkins) > 0) == forge || (docs == 2) != forge || (docs == 0) == forge {
			t.Errorf("%s: %d documents, %+v", need.command, docs, all)
		}
		for _, rule := range all.Kubernetes {
			if rule.Resource != "namespaces" && (rule.Resource != "configmaps" || !slices.Equal(rule.Verbs, []string{"get", "update"})) {
				t.Errorf("%s: %+v", need.command, rule)
			}
		}
	}
	// What can be left out says so, and what is lost then.
	for _, need := range slices.Concat(needsOf, otherNeeds, []needs{byRevert}) {
		args := scoped("permissions", "--for", need.command)
		if need.method != "" {
			args = append(args, "--method", need.method)
		}
		text := n.do(call{args: args}).wantExit(t, 0).stdout
		all := decoded[rights](t, n.do(call{args: append(args, "--json")}).wantExit(t, 0))
		why := map[string]string{}
		for _, r := range slices.Concat(all.AWS, all.GitHub, all.Jenkins) {
			if r.Optional {
				why[r.Name] = r.Why
			}
		}
		for _, rule := range all.Kubernetes {
			if rule.Optional && len(need.methods) > 0 {
				why[strings.Join(rule.Verbs, ",")+" "+rule.Resource] = rule.Why
			}
		}
		for name, why := range why {
			if !strings.Contains(why, "without it") || !strings.Contains(text, why) {
				t.Errorf("%s %s: %s is optional, and it is not said what is lost without it: %q", need.command, need.method, name, why)
			}
		}
		if all.IAM != nil && !slices.Equal(all.IAM.Statement[0].Action, namesOfRights(all.AWS)) {
			t.Errorf("%s: the policy has %v", need.command, all.IAM)
		}
	}
	// By revert the build moves the tag and restarts.
	reverts := n.do(call{args: scoped("permissions", "--for", "run", "--method", "revert")}).wantExit(t, 0).wantText(t, "`rollback run --method revert` needs", "name: rollback-run-revert", "Job/Build")
	for _, not := range []string{"ecr:PutImage", "patch"} {
		if strings.Contains(reverts.stdout, not) {
			t.Errorf("a run by revert needs no %s:\n%s", not, reverts.stdout)
		}
	}
	n.do(call{args: scoped("permissions", "--for", "run", "--method", "undo")}).wantExit(t, 0).wantText(t, "`rollback undo` needs")
	n.do(call{args: scoped("permissions", "--for", "run", "--method", "merge")}).wantExit(t, rollback.Usage).wantText(t, `--method "merge": want retag, revert or undo`)
	n.do(call{args: scoped("permissions", "--for", "plan"), env: []string{"ROLLBACK_METHOD=revert"}}).wantExit(t, 0).wantText(t, "`rollback plan` needs")
	eks := []string{"--cluster-eks", "prod", "--cluster-region", "eu-west-1"}
	for command, want := range map[string]bool{"run": true, "revert": true, "trigger": false} {
		r := alone(t, t.TempDir(), append([]string{"permissions", "--for", command, "--service", "payments", "--environment", "prod", "--registry-kind", "oci", "--registry-host", "registry.acme.example",
			"--namespace", "prod", "--image", "payments"}, eks...)...).wantExit(t, 0)
		if strings.Contains(r.stdout, "eks:DescribeCluster") != want || strings.Contains(r.stdout, "ecr:") {
			t.Errorf("%s, EKS with another registry:\n%s", command, r.stdout)
		}
	}
	n.do(call{args: scoped("permissions")}).wantText(t, "arn:aws:ecr:eu-west-1:123456789012:repository/payments", "ecr:PutImage")
	alone(t, t.TempDir(), "permissions").wantExit(t, 0).wantText(t, "arn:aws:ecr:REGION:ACCOUNT:repository/*", "namespace: NAMESPACE")
	if reqs := append(n.Registry.Requests(), n.Cluster.Requests()...); len(reqs) > 0 {
		t.Errorf("permissions asks the world: %v", reqs)
	}
}

// With exactly the rights that `permissions` prints, no more, each command works; with the optional ones left out, too.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	for _, extra := range [][]string{nil, {"--required-only"}} {
		name := "all"
		if extra != nil {
			name = "required only"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			as := func(command string) {
				t.Helper()
				n.as(command, extra...)
			}
			for _, command := range []string{"status", "candidates", "plan", "doctor"} {
				as(command)
				args := scoped(command)
				if command == "doctor" {
					args = append(args, "--for", "plan")
				}
				n.do(call{args: args}).wantExit(t, 0)
			}
			as("run")
			n.do(call{args: theRun()}).wantExit(t, 0)
			n.wantState(n.clean())
			as("verify")
			n.do(call{args: scoped("verify")}).wantExit(t, 0)
			as("undo")
			n.do(call{args: scoped("undo", "--reason", "x", "--yes")}).wantExit(t, 0)
			as("retag")
			n.do(call{args: scoped("retag", "--to", n.good().Digest, "--reason", "x", "--yes")}).wantExit(t, 0)
			as("restart")
			n.do(call{args: scoped("restart", "--yes")}).wantExit(t, 0)
			as("verify")
			n.do(call{args: scoped("verify")}).wantExit(t, 0)
		})
	}
}

// complete asks bash for the completions of a line.
func complete(t *testing.T, script string, words ...string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is needed for this test")
	}
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(dir, "rollback")))
	program := script + "\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _rollback; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
	cmd := exec.Command(bash, append([]string{"-c", program, "bash"}, words...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+dir+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	return strings.Fields(out.String())
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	script := alone(t, t.TempDir(), "completion", "--shell", "bash").wantExit(t, 0).stdout
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("bash does not read it: %v %s", err, out)
	}
	for _, c := range []struct {
		words []string
		want  []string
	}{
		{[]string{"rollback", "ca"}, []string{"candidates"}},
		{[]string{"rollback", "ver"}, []string{"verify"}},
		{[]string{"rollback", "run", "--dry"}, []string{"--dry-run"}},
		{[]string{"rollback", "run", "--service", "payments", "--reas"}, []string{"--reason"}},
		{[]string{"rollback", "verify", "--ye"}, nil},
		{[]string{"rollback", "run", "--method", "re"}, []string{"retag", "revert"}},
		{[]string{"rollback", "demo", "--method", ""}, []string{"retag", "revert"}},
		{[]string{"rollback", "completion", "--shell", "f"}, []string{"fish"}},
		{[]string{"rollback", "run", "--dry-run", "--wait", "m"}, []string{"merge"}},
	} {
		if got := complete(t, script, c.words...); !slices.Equal(got, c.want) {
			t.Errorf("%v completes to %v, want %v", c.words, got, c.want)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		r := alone(t, t.TempDir(), "completion", "--shell", shell).wantExit(t, 0)
		if !strings.Contains(r.stdout, "rollback") {
			t.Errorf("%s", r)
		}
		if shell == "fish" && !strings.Contains(r.stdout, "complete -c rollback -f ") {
			t.Errorf("fish would offer files beside the values of a flag:\n%s", r)
		}
	}
}

// The demo tells its story to the end, with this very program.
func TestDemo(t *testing.T) {
	t.Parallel()
	r := alone(t, t.TempDir(), "demo").wantExit(t, 0)
	r.wantText(t, "A night at acme", "$ rollback run --service payments", "both proven by digest")
}
