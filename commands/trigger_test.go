package commands

// trigger, as whole commands against the loopback Jenkins. Most builds here are scripts that only leave a record; those of
// the demo's own job run the real program.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// ci is a Jenkins with the one-click job, and a laptop that knows no more than where it is.
type ci struct {
	*jenkins.Server
	t        *testing.T
	url, dir string
	env      []string
}

func newCI(t *testing.T, script jenkins.Script, change ...func(*jenkins.Job)) *ci {
	t.Helper()
	s := jenkins.New(jenkins.Options{Path: "/ci"})
	job := jenkins.Job{Parameters: demo.RollbackParameters, Script: script}
	for _, f := range change {
		f(&job)
	}
	s.AddJob(demo.RollbackJob, job)
	server := httptest.NewServer(s)
	dir := t.TempDir()
	k := &ci{Server: s, t: t, url: server.URL + "/ci", dir: dir}
	for name, prod := range map[string]string{"rollback.yaml": "", "confirm.yaml": " {confirm: true}"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("defaults:\n  jenkins: {url: "+k.url+", user: "+jenkins.UserName+"}\nenvironments:\n  prod:"+prod+"\n"), 0o600))
	}
	k.env = append(demo.Plain(os.Environ()), "JENKINS_TOKEN="+jenkins.Token, "ROLLBACK_STATE="+filepath.Join(dir, "state"))
	t.Cleanup(func() {
		s.Close()
		server.Close()
		for _, v := range s.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	return k
}

func (k *ci) launch(env []string, args ...string) *process {
	k.t.Helper()
	return launch(k.t, k.env, k.dir, call{args: args, env: env})
}

func (k *ci) do(args ...string) result { k.t.Helper(); return k.launch(nil, args...).wait() }

// theTrigger is the call of the story.
func theTrigger(args ...string) []string {
	return scoped("trigger", append([]string{"--reason", "amounts"}, args...)...)
}

// link is the page of a build of the job.
func (k *ci) link(n int) string {
	return fmt.Sprintf("%s/job/rollback/job/prod/job/payments/%d/", k.url, n)
}

func (k *ci) builds() []*jenkins.Build { return k.Builds(demo.RollbackJob) }

// wantBuilds fails the test when there were not exactly n builds.
func (k *ci) wantBuilds(n int) {
	k.t.Helper()
	if have := len(k.builds()); have != n || len(k.Queued(demo.RollbackJob)) > 0 {
		k.t.Errorf("%d builds and %d queued, want %d builds", have, len(k.Queued(demo.RollbackJob)), n)
	}
}

// notes are what is remembered on the laptop.
func (k *ci) notes() []string {
	k.t.Helper()
	list, err := filepath.Glob(filepath.Join(k.dir, "state", "*"))
	must(k.t, err)
	return list
}

// asks waits until the nth build waits at an input.
func (k *ci) asks(n int) *jenkins.Build {
	k.t.Helper()
	until(k.t, "the build to ask", func() bool { return len(k.builds()) >= n && len(k.builds()[n-1].Pending()) > 0 })
	return k.builds()[n-1]
}

const recordPath = "rollback-record/payments-prod/result.txt"

// leaves is a script that leaves a record with these lines beside the necessary ones.
func leaves(exit int, result string, lines ...string) jenkins.Script {
	return func(_ context.Context, b *jenkins.Build) string {
		b.Stage("Run")
		b.Print("working\n")
		keep(b, exit, lines...)
		return result
	}
}

// acted is a script that leaves the record of another act that went well.
func acted(act string, lines ...string) jenkins.Script {
	return func(_ context.Context, b *jenkins.Build) string {
		b.Archive(recordPath, fmt.Sprintf("schemaVersion=1\nexit=0\nservice=payments\nenvironment=prod\nact=%s\n%s\n", act, strings.Join(lines, "\n")))
		return "SUCCESS"
	}
}

// onlyPlans is a script that leaves the record of a plan, and no more.
func onlyPlans(result string) jenkins.Script {
	return func(_ context.Context, b *jenkins.Build) string {
		b.Archive("rollback-record/payments-prod/plan.txt", "schemaVersion=1\nexit=0\nservice=payments\nenvironment=prod\nact=plan\nmessage=back to a57fbe7\nproduction=not changed\n")
		return result
	}
}

func keep(b *jenkins.Build, exit int, lines ...string) {
	text := fmt.Sprintf("schemaVersion=1\nexit=%d\nservice=payments\nenvironment=prod\nact=run\n", exit)
	for _, l := range lines {
		text += l + "\n"
	}
	b.Archive(recordPath, text)
}

var (
	approval = jenkins.Input{ID: "rollbackApprove", Message: "Roll back payments to a57fbe7?", OK: "Roll back", SubmitterParameter: "BY"}
	choice   = jenkins.Input{ID: "rollbackChoose", Message: "Where to?", Parameters: []jenkins.Parameter{{Kind: "Choice", Name: "ROLLBACK_TO", Choices: []string{"a57fbe7  Rates (alice) #3", "3c5d9a2  Codes (bob) #2"}}}}
)

// asksFor is a script that asks, and is done if all is answered. got has what the steps returned.
func asksFor(got chan<- string, inputs ...jenkins.Input) jenkins.Script {
	return func(ctx context.Context, b *jenkins.Build) string {
		for _, i := range inputs {
			b.Stage(i.ID)
			a, ok := b.Ask(ctx, i)
			if !ok {
				return ""
			}
			if got != nil {
				got <- fmt.Sprint(a.Values)
			}
		}
		keep(b, 0, "message=payments/prod is back on a57fbe7", "production=proven", "next=merge the revert")
		return "SUCCESS"
	}
}

// A mistake in flags, configuration or the job is told before anything is started.
func TestTriggerRefusals(t *testing.T) {
	t.Parallel()
	without := func(names ...string) func(*jenkins.Job) {
		return func(j *jenkins.Job) {
			j.Parameters = slices.DeleteFunc(slices.Clone(j.Parameters), func(p jenkins.Parameter) bool { return slices.Contains(names, p.Name) })
		}
	}
	for _, c := range []struct {
		name   string
		args   []string
		env    []string
		change func(*jenkins.Job)
		then   func(*ci)
		code   rollback.Exit
		says   []string
	}{
		{name: "no service", args: []string{"trigger", "--environment", "prod", "--reason", "x"}, says: []string{"no service given"}},
		{name: "no reason", args: scoped("trigger"), says: []string{"no reason given", "ROLLBACK_REASON"}},
		{name: "method", args: theTrigger("--method", "none"), says: []string{"want retag, revert or undo"}},
		{name: "target of an undo", args: theTrigger("--method", "undo", "--to", "a57fbe7"), says: []string{"nowhere else"}},
		{name: "wait", args: theTrigger("--wait", "soon"), says: []string{`--wait "soon"`}},
		{name: "approve and no-follow", args: theTrigger("--approve", "--no-follow"), says: []string{"exclude each other"}},
		{name: "switch", args: theTrigger(), env: []string{"ROLLBACK_APPROVE=perhaps"}, says: []string{`ROLLBACK_APPROVE: "perhaps"`}},
		{name: "no token", args: theTrigger(), env: []string{"JENKINS_TOKEN="}, says: []string{"JENKINS_TOKEN"}},
		{name: "no Jenkins", args: theTrigger("--config", "empty.yaml"), then: func(k *ci) {
			must(k.t, os.WriteFile(filepath.Join(k.dir, "empty.yaml"), []byte("environments:\n  prod:\n"), 0o600))
		}, says: []string{"jenkins.url is not set: --jenkins-url, ROLLBACK_JENKINS_URL"}},
		{name: "bad token", args: theTrigger(), env: []string{"JENKINS_TOKEN=x"}, code: rollback.Failed, says: []string{"renew the API token of the Jenkins user rollback", "nothing was started"}},
		{name: "no such job", args: theTrigger("--jenkins-rollback-job", "ops/{service}"),
			says: []string{"Jenkins has no job ops/payments", "jenkins.rollbackJob in rollback.yaml"}},
		{name: "a folder", args: theTrigger("--jenkins-rollback-job", "rollback/prod"), code: rollback.Failed, says: []string{"is a folder"}},
		{name: "a flag that the job lacks", args: theTrigger("--wait", "merge"), change: without("ROLLBACK_WAIT"), says: []string{"has no parameter for --wait (ROLLBACK_WAIT)", "nothing was started"}},
		{name: "a job that never ran", args: theTrigger(), change: func(j *jenkins.Job) { j.Learns, j.Parameters = j.Parameters, nil },
			says: []string{"no parameter for --reason", "run it once by hand"}},
		{name: "a choice that the job lacks", args: theTrigger("--method", "revert"), change: func(j *jenkins.Job) {
			j.Parameters = append([]jenkins.Parameter{{Kind: "Choice", Name: "ROLLBACK_METHOD", Choices: []string{"none", "retag"}}}, j.Parameters[1:]...)
		}, says: []string{`ROLLBACK_METHOD="revert" is not one of its choices (none, retag)`}},
		{name: "a service that the page lacks", args: theTrigger(), change: func(j *jenkins.Job) {
			j.Parameters = append([]jenkins.Parameter{{Kind: "Choice", Name: "ROLLBACK_SERVICE", Choices: []string{"web"}}}, j.Parameters...)
		}, says: []string{`ROLLBACK_SERVICE="payments" is not one of its choices (web)`}},
		{name: "confirm, and nobody to ask", args: theTrigger("--config", "confirm.yaml", "--approve"), says: []string{"payments/prod has confirm, and there is no terminal to ask on", "next: --yes to start it without asking"}},
		{name: "switched off", args: theTrigger(), change: func(j *jenkins.Job) { j.Disabled = true }, code: rollback.Failed, says: []string{"the job is disabled", "nothing was started"}},
		{name: "no right to build", args: theTrigger(), then: func(k *ci) { k.Deny("Job/Build") }, code: rollback.Failed, says: []string{"Job/Build", "nothing was started"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*jenkins.Job)
			if c.change != nil {
				change = append(change, c.change)
			}
			k := newCI(t, leaves(0, "SUCCESS"), change...)
			if c.then != nil {
				c.then(k)
			}
			if c.code == 0 {
				c.code = rollback.Usage
			}
			r := k.launch(c.env, c.args...).wait().wantExit(t, c.code).wantText(t, append(c.says, "production: not changed")...)
			if r.stdout != "" {
				t.Errorf("standard output: %q", r.stdout)
			}
			k.wantBuilds(0)
			if n := k.notes(); len(n) > 0 {
				t.Errorf("left %v", n)
			}
		})
	}
}

// The exit code is that of the record, and without one what the result of the build allows to say.
func TestTriggerMirrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script jenkins.Script
		args   []string
		code   rollback.Exit
		says   []string
	}{
		{name: "done", script: leaves(0, "SUCCESS", "message=payments/prod is back on a57fbe7", "production=proven: 5 pods", "next=merge it | rollback undo --service payments --environment prod"),
			code: rollback.Done, says: []string{"✔ payments/prod is back", "production: proven: 5 pods", "next: merge it\n", "next: rollback trigger --service payments --environment prod --method undo\n"}},
		{name: "failed", script: leaves(1, "FAILURE", "message=no such target", "production=not changed"), code: rollback.Failed, says: []string{"ended FAILURE: no such target", "production: not changed"}},
		{name: "usage", script: leaves(2, "FAILURE", "message=no reason"), code: rollback.Usage, says: []string{"no reason"}},
		{name: "pending", script: leaves(3, "UNSTABLE", "message=waits for the merge", "next=merge it"), code: rollback.Pending, says: []string{"waits for the merge", "next: merge it"}},
		{name: "unverified", script: leaves(4, "FAILURE", "message=2 of 5 pods", "production=changed, not verified"), code: rollback.Unverified, says: []string{"changed, not verified", "next: rollback status --service payments --environment prod"}},
		{name: "refused", script: leaves(5, "FAILURE", "message=unsafe"), code: rollback.Refused, says: []string{"unsafe"}},
		{name: "killed", script: leaves(143, "FAILURE", "message=half"), code: rollback.Unverified, says: []string{"exit 143"}},
		{name: "done, and the build went on to fail", script: leaves(0, "FAILURE", "message=back"), code: rollback.Done, says: []string{"the rollback is done", "ended FAILURE"}},
		{name: "SUCCESS alone", script: func(context.Context, *jenkins.Build) string { return "SUCCESS" }, code: rollback.Unverified,
			says: []string{"left no record of payments/prod, so nothing proves that it rolled anything back", "production: not known", "next: is rollback/prod/payments the job that rolls back?", "rollback status --service"}},
		{name: "SUCCESS of a dry run alone", script: func(context.Context, *jenkins.Build) string { return "SUCCESS" }, args: []string{"--dry-run"}, code: rollback.Failed,
			says: []string{"left no record of payments/prod; it was a dry run", "production: not changed"}},
		{name: "a dry run that is safe", script: onlyPlans("SUCCESS"), args: []string{"--dry-run"}, code: rollback.Done, says: []string{"✔ back to a57fbe7"}},
		{name: "a job that only plans", script: onlyPlans("SUCCESS"), code: rollback.Failed, says: []string{"ended SUCCESS with a plan of payments/prod that was not run", "production: not changed"}},
		{name: "the record of a dry run", script: leaves(0, "SUCCESS", "message=back to a57fbe7", "production=not changed"), code: rollback.Failed,
			says: []string{"ended SUCCESS and rolled nothing back: its record is of run: back to a57fbe7", "production: not changed"}},
		{name: "only a pull request", script: acted("revert", "message=opened", "production=not changed"), code: rollback.Failed, says: []string{"rolled nothing back: its record is of revert: opened"}},
		{name: "only a tag", script: acted("retag", "message=moved", "production=the tag has moved; the pods run what they ran, until they restart", "next=rollback restart --service payments --environment prod"), code: rollback.Unverified,
			says: []string{"is no proof that anything was rolled back: its record is of retag: moved", "production: the tag has moved", "next: rollback restart --service"}},
		{name: "only a restart", script: acted("restart", "production=rolled out; the digests were not compared"), code: rollback.Unverified, says: []string{"its record is of restart"}},
		{name: "verified in a stage of its own", script: acted("verify", "message=5 pods", "production=proven: every pod runs a57fbe7"), code: rollback.Done, says: []string{"✔ 5 pods"}},
		{name: "a record that was never finished", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive(recordPath, "message=rollback run ended before it could say how\n")
			return "SUCCESS"
		}, code: rollback.Unverified, says: []string{"its record could not be read", "production: not known"}},
		{name: "UNSTABLE alone", script: func(context.Context, *jenkins.Build) string { return "UNSTABLE" }, code: rollback.Unverified, says: []string{"production: not known"}},
		{name: "NOT_BUILT alone", script: func(context.Context, *jenkins.Build) string { return "NOT_BUILT" }, code: rollback.Failed, says: []string{"production: not changed"}},
		{name: "FAILURE alone", script: func(context.Context, *jenkins.Build) string { return "FAILURE" }, code: rollback.Unverified, says: []string{"production: not known", "/1/console", "rollback status --service"}},
		{name: "ABORTED alone", script: func(context.Context, *jenkins.Build) string { return "ABORTED" }, code: rollback.Unverified, says: []string{"production: not known"}},
		{name: "a dry run that failed", script: func(context.Context, *jenkins.Build) string { return "FAILURE" }, args: []string{"--dry-run"}, code: rollback.Failed, says: []string{"production: not changed"}},
		{name: "a dry run that is unsafe", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive("rollback-record/payments-prod/plan.txt", "schemaVersion=1\nexit=5\nservice=payments\nenvironment=prod\nmessage=unsafe: pinned\nproduction=not changed\n")
			return "FAILURE"
		}, args: []string{"--dry-run"}, code: rollback.Refused, says: []string{"unsafe: pinned"}},
		{name: "unsafe before anything was run", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive("rollback-record/payments-prod/plan.txt", "schemaVersion=1\nexit=5\nservice=payments\nenvironment=prod\nmessage=unsafe: pinned\nproduction=not changed\n")
			return "FAILURE"
		}, code: rollback.Refused, says: []string{"unsafe: pinned", "production: not changed"}},
		{name: "no registry for candidates", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive("rollback-record/payments-prod/candidates.txt", "schemaVersion=1\nexit=1\nservice=payments\nenvironment=prod\nmessage=no registry\nproduction=not changed\n")
			return "FAILURE"
		}, code: rollback.Failed, says: []string{"no registry"}},
		{name: "a plan is no record of a run", script: onlyPlans("FAILURE"), code: rollback.Unverified},
		{name: "the record of another scope", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive("a/rollback-result.txt", "schemaVersion=1\nexit=0\nservice=web\nenvironment=prod\n")
			b.Archive("b/rollback-result.txt", "schemaVersion=1\nexit=3\nservice=payments\nenvironment=prod\nmessage=ours\n")
			return "UNSTABLE"
		}, code: rollback.Pending, says: []string{"ours"}},
		{name: "no record at all", script: func(_ context.Context, b *jenkins.Build) string {
			b.Archive(recordPath, "<html>")
			return "FAILURE"
		}, code: rollback.Unverified, says: []string{"its record could not be read"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, c.script)
			r := k.do(theTrigger(c.args...)...).wantExit(t, c.code).wantText(t, c.says...)
			if r.stdout != k.link(1)+"\n" {
				t.Errorf("standard output: %q", r.stdout)
			}
			k.wantBuilds(1)
			wantNoSecret(t, r, jenkins.Token)
			if strings.Contains(r.stderr, "[Pipeline]") || strings.Contains(r.stderr, "\x1b") {
				t.Errorf("Jenkins' marks are shown:\n%s", r)
			}
			if n := k.notes(); len(n) > 0 && !strings.Contains(r.stderr, "could not be read") {
				t.Errorf("left %v", n)
			}
		})
	}
}

// Where the environment has confirm, a build is started without a terminal only by whoever says so, and a dry run changes nothing.
func TestTriggerConfirmed(t *testing.T) {
	t.Parallel()
	k := newCI(t, leaves(3, "UNSTABLE", "message=waits"))
	k.do(theTrigger("--config", "confirm.yaml", "--yes")...).wantExit(t, rollback.Pending)
	k.launch([]string{"ROLLBACK_YES=true"}, theTrigger("--config", "confirm.yaml")...).wait().wantExit(t, rollback.Pending)
	k.do(theTrigger("--config", "confirm.yaml", "--dry-run")...).wantExit(t, rollback.Pending)
	k.wantBuilds(3)

	// Whoever comes back to a build that was started is not asked again, as nothing is started.
	k = newCI(t, jenkins.Manual)
	k.do(theTrigger("--config", "confirm.yaml", "--yes", "--no-follow")...).wantExit(t, rollback.Pending).wantText(t, "follow it again: rollback trigger --service payments --environment prod --config confirm.yaml --reason amounts --yes")
	k.do(theTrigger("--config", "confirm.yaml", "--no-follow")...).wantExit(t, rollback.Pending).wantText(t, "was started by an earlier call")
	k.wantBuilds(1)
}

// The token goes over plain http to this machine only, unless that is wanted: to a Jenkins that is reached by a proxy here.
func TestTriggerOverPlainHTTP(t *testing.T) {
	t.Parallel()
	k := newCI(t, leaves(0, "SUCCESS", "message=back"))
	away := []string{"http_proxy=" + strings.TrimSuffix(k.url, "/ci"), "ROLLBACK_JENKINS_URL=http://ci.acme.example/ci"}
	for _, args := range [][]string{theTrigger(), scoped("doctor", "--for", "trigger")} {
		r := k.launch(away, args...).wait().wantText(t, "http://ci.acme.example/ci: credentials are not sent over plain http", "set jenkins.insecure to true")
		if r.code == 0 || k.Count("*") > 0 {
			t.Errorf("%d calls\n%s", k.Count("*"), r)
		}
	}
	k.launch(away, theTrigger("--jenkins-insecure", "true")...).wait().wantExit(t, 0)
	k.wantBuilds(1)
}

// A password in place of a token, by the name of its variable.
func TestTriggerWithPassword(t *testing.T) {
	t.Parallel()
	k := newCI(t, asksFor(nil, approval))
	env := []string{"JENKINS_TOKEN=", "CI_PASSWORD=" + jenkins.Password, "ROLLBACK_JENKINS_PASSWORD_ENV=CI_PASSWORD"}
	r := k.launch(env, theTrigger("--approve")...).wait().wantExit(t, 0)
	wantNoSecret(t, r, jenkins.Password)
	k.wantBuilds(1)
	k.launch(append(env, "CI_PASSWORD="), theTrigger()...).wait().wantExit(t, rollback.Usage).wantText(t, "jenkins.url is set, but not the variable CI_PASSWORD")
	r = k.launch(append(env, "CI_PASSWORD=wrong-password"), theTrigger()...).wait().wantExit(t, rollback.Failed).wantText(t, "set the password of the Jenkins user rollback, or better an API token")
	wantNoSecret(t, r, "wrong-password")
	k.launch(append(env, "ROLLBACK_JENKINS_TOKEN_ENV=JENKINS_TOKEN"), theTrigger()...).wait().wantExit(t, rollback.Usage).wantText(t, "ROLLBACK_JENKINS_TOKEN_ENV and ROLLBACK_JENKINS_PASSWORD_ENV exclude each other")
}

// From a laptop that knows Jenkins alone: the job, its parameters and the right to start it are looked at, and nothing is started.
func TestDoctorForTrigger(t *testing.T) {
	t.Parallel()
	without := func(names ...string) func(*jenkins.Job) {
		return func(j *jenkins.Job) {
			j.Parameters = slices.DeleteFunc(slices.Clone(j.Parameters), func(p jenkins.Parameter) bool { return slices.Contains(names, p.Name) })
		}
	}
	for _, c := range []struct {
		name   string
		args   []string
		env    []string
		change func(*jenkins.Job)
		deny   string
		code   rollback.Exit
		says   []string
	}{
		{name: "fine", says: []string{"✔ configuration rollback.yaml: payments/prod, rollback job rollback/prod/payments\n", "✔ jenkins       Jenkins 2.", "as rollback\n",
			"✔ jenkins       the rollback job rollback/prod/payments, 8 parameters; you may start it\n", "✔ journal "}},
		{name: "no such job", args: []string{"--jenkins-rollback-job", "ops/{service}"}, code: rollback.Failed, says: []string{"✗ jenkins       there is no job ops/payments", "→ rollback jobs apply makes it"}},
		{name: "a folder", args: []string{"--jenkins-rollback-job", "rollback/prod"}, code: rollback.Failed, says: []string{"✗ jenkins ", "is a folder"}},
		{name: "no right to build", deny: "Job/Build", code: rollback.Failed, says: []string{"✗ jenkins ", "→ give the Jenkins user rollback the right Job/Build"}},
		{name: "no right to read", deny: "Job/Read", code: rollback.Failed, says: []string{"✗ jenkins "}},
		{name: "switched off", change: func(j *jenkins.Job) { j.Disabled = true }, code: rollback.Failed, says: []string{"the job rollback/prod/payments is disabled", "→ enable it"}},
		{name: "never ran", change: func(j *jenkins.Job) { j.Learns, j.Parameters = j.Parameters, nil }, code: rollback.Failed, says: []string{"rollback/prod/payments has no parameters", "→ if it is new, run it once by hand"}},
		{name: "older parameters", change: without("ROLLBACK_WAIT", "ROLLBACK_ACCEPT", "ROLLBACK_ID"), says: []string{"! jenkins       the job has no parameter for --accept, --wait\n", "! jenkins       the job has no text parameter ROLLBACK_ID"}},
		{name: "another token", env: []string{"JENKINS_TOKEN=other-other"}, code: rollback.Failed, says: []string{"no valid credentials (401 Unauthorized)\n", "→ renew the API token of the Jenkins user rollback"}},
		{name: "no user", args: []string{"--config", "nobody.yaml"}, code: rollback.Usage, says: []string{"✗ configuration jenkins.user is not set"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*jenkins.Job)
			if c.change != nil {
				change = append(change, c.change)
			}
			k := newCI(t, leaves(0, "SUCCESS"), change...)
			must(t, os.WriteFile(filepath.Join(k.dir, "nobody.yaml"), []byte("environments: {prod: {jenkins: {url: "+k.url+"}}}\n"), 0o600))
			if c.deny != "" {
				k.Deny(c.deny)
			}
			r := k.launch(c.env, scoped("doctor", append([]string{"--for", "trigger"}, c.args...)...)...).wait().wantExit(t, c.code).wantText(t, c.says...)
			if strings.Contains(r.stdout, "registry") || strings.Contains(r.stdout, "cluster") {
				t.Errorf("looks at more than Jenkins:\n%s", r)
			}
			k.wantBuilds(0)
		})
	}
}

// What is given arrives under the names of the variables, from flags as from variables; what is not given is left to the job.
func TestTriggerParameters(t *testing.T) {
	t.Parallel()
	full := map[string]string{"ROLLBACK_METHOD": "revert", "ROLLBACK_TO": "a57fbe7", "ROLLBACK_REASON": "it's $(late) & 100%", "ROLLBACK_ACCEPT": "pinned,paused",
		"ROLLBACK_ACCEPT_MIGRATIONS": "true", "ROLLBACK_WAIT": "30m", "ROLLBACK_DRY_RUN": "false"}
	flags := []string{"--method", "revert", "--to", "a57fbe7", "--reason", full["ROLLBACK_REASON"], "--accept", "pinned,paused", "--accept-migrations", "--wait", "30m", "--dry-run=false"}
	var variables []string
	for k, v := range full {
		variables = append(variables, k+"="+v)
	}
	bare := map[string]string{"ROLLBACK_METHOD": "retag", "ROLLBACK_TO": "previous", "ROLLBACK_REASON": "amounts", "ROLLBACK_ACCEPT": "", "ROLLBACK_ACCEPT_MIGRATIONS": "false", "ROLLBACK_WAIT": "", "ROLLBACK_DRY_RUN": "false"}
	stage := func(j *jenkins.Job) {
		j.Parameters = append([]jenkins.Parameter{{Kind: "Choice", Name: "ROLLBACK_SERVICE", Choices: []string{"web", "payments"}}, {Kind: "String", Name: "ROLLBACK_ENVIRONMENT"},
			{Kind: "Choice", Name: "ROLLBACK_METHOD", Choices: []string{"none", "retag", "revert", "undo"}}}, j.Parameters[1:]...)
	}
	chosen := map[string]string{"ROLLBACK_SERVICE": "payments", "ROLLBACK_ENVIRONMENT": "prod"}
	for k, v := range bare {
		chosen[k] = v
	}
	for _, c := range []struct {
		name   string
		args   []string
		env    []string
		change func(*jenkins.Job)
		want   map[string]string
	}{
		{"flags", scoped("trigger", flags...), nil, func(*jenkins.Job) {}, full},
		{"variables", scoped("trigger"), variables, func(*jenkins.Job) {}, full},
		{"hardly any", theTrigger(), nil, func(*jenkins.Job) {}, bare},
		{"a stage that does nothing by itself", theTrigger(), nil, stage, chosen},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, leaves(0, "SUCCESS"), c.change)
			k.launch(c.env, c.args...).wait().wantExit(t, 0)
			got := k.builds()[0].Parameters()
			id := got["ROLLBACK_ID"]
			delete(got, "ROLLBACK_ID")
			if d := cmp.Diff(c.want, got); d != "" || len(id) < 20 {
				t.Errorf("id %q, %s", id, d)
			}
		})
	}
}

// The demo's job has the parameters that this program wants jobs to have.
func TestDemoParameters(t *testing.T) {
	t.Parallel()
	var want []jenkins.Parameter
	kinds := map[rollback.ParameterKind]string{rollback.TextParameter: "String", rollback.ChoiceParameter: "Choice", rollback.BooleanParameter: "Boolean"}
	for _, p := range jobParameters(true) {
		want = append(want, jenkins.Parameter{Kind: kinds[p.Kind], Name: p.Name, Default: p.Default, Choices: p.Choices})
	}
	if d := cmp.Diff(want, demo.RollbackParameters); d != "" {
		t.Error(d)
	}
	for _, o := range passedOn {
		if !slices.ContainsFunc(want, func(p jenkins.Parameter) bool { return p.Name == o.env() }) {
			t.Errorf("--%s is passed on, and no job has it", o.name)
		}
	}
}

// --approve answers approvals, whatever stands in the way, and never a choice.
func TestTriggerApproves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		input jenkins.Input
		set   func(*ci)
		then  func(*ci) // when it asks
		says  []string
	}{
		{name: "plain", input: approval, says: []string{"approving it (--approve)", "◎ answered"}},
		{name: "of one service among several", input: jenkins.Input{ID: "rollbackApprovePayments", Message: "Go?"}},
		{name: "without the plugin that lists inputs", input: approval, set: func(k *ci) { k.RestAPI(false) }},
		{name: "without it, among several", input: jenkins.Input{ID: "RollbackApprovePayments", Message: "Go?"}, set: func(k *ci) { k.RestAPI(false) }},
		{name: "without it, with the scope", input: jenkins.Input{ID: "RollbackApprovePaymentsProd", Message: "Go?"}, set: func(k *ci) { k.RestAPI(false) }},
		{name: "the answer is lost", input: approval, set: func(k *ci) { k.Inject(fake.Fault{Op: "POST submit", After: true, Drop: true, Times: 1}) }},
		{name: "the answer is not heard", input: approval, set: func(k *ci) { k.Inject(fake.Fault{Op: "POST submit", Status: 503, Times: 1}) }, says: []string{"the answer did not get through"}},
		{name: "a restart before the question", input: approval, set: func(k *ci) {
			k.Inject(fake.Fault{Op: "GET progressiveText", Times: 1, Hold: func(*http.Request) {
				k.Down()
				time.AfterFunc(600*time.Millisecond, func() { k.Up(2) })
			}})
		}},
		{name: "busy executors", input: approval, set: func(k *ci) {
			k.Hold(true)
			k.Inject(fake.Fault{Op: "GET queue item", Skip: 1, Times: 1, Hold: func(*http.Request) { k.Hold(false) }})
		}, says: []string{"waits: Waiting for next available executor"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, asksFor(nil, c.input))
			if c.set != nil {
				c.set(k)
			}
			k.do(theTrigger("--approve")...).wantExit(t, 0).wantText(t, append(c.says, "✔ payments/prod is back on a57fbe7", "production: proven")...)
			k.wantBuilds(1)
		})
	}
}

// Without a terminal, what cannot be answered is told with its link and waited for.
func TestTriggerWaitsForOthers(t *testing.T) {
	t.Parallel()
	closed := approval
	closed.Submitters = []string{"lead"}
	for _, c := range []struct {
		name  string
		input jenkins.Input
		args  []string
		says  string
		form  string
	}{
		{"an approval", approval, nil, "the build waits for its approval, in Jenkins: ", `{"parameter":[]}`},
		{"a choice", choice, []string{"--approve"}, "the build waits for a choice, in Jenkins: ", `{"parameter":[{"name":"ROLLBACK_TO","value":"3c5d9a2  Codes (bob) #2"}]}`},
		{"an approval of others", closed, []string{"--approve"}, "the input names other submitters", `{"parameter":[]}`},
		{"something else", jenkins.Input{ID: "Release", Message: "Ship it?"}, []string{"--approve"}, "has nothing to do with this rollback: Ship it?", `{"parameter":[]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, asksFor(nil, c.input))
			k.AddUser("lead", jenkins.User{Token: "lead"})
			p := k.launch(nil, theTrigger(c.args...)...)
			until(t, "the link", func() bool {
				return strings.Contains(p.stderr.String(), c.says) && strings.Contains(p.stderr.String(), k.link(1)+"input/")
			})
			if n := k.Count("POST submit"); n > 1 || n > 0 && c.name != "an approval of others" {
				t.Errorf("answered %d times", n)
			}
			k.answer("lead", "lead", jenkins.InputID(c.input), c.form)
			p.wait().wantExit(t, 0).wantText(t, "✔ payments/prod is back")
			k.wantBuilds(1)
		})
	}
}

// A build that somebody approved and that was aborted later did not end at its question, although the log that says so
// cannot be read.
func TestTriggerAbortedInTheDark(t *testing.T) {
	t.Parallel()
	k := newCI(t, func(ctx context.Context, b *jenkins.Build) string {
		b.Ask(ctx, approval)
		return "ABORTED"
	})
	p := k.launch(nil, theTrigger()...)
	until(t, "the link", func() bool {
		return strings.Contains(p.stderr.String(), "the build waits for its approval, in Jenkins: ")
	})
	dark := html(200)
	dark.Op = "GET progressiveText"
	k.Inject(dark)
	k.answer(jenkins.UserName, jenkins.Token, jenkins.InputID(approval), `{"parameter":[]}`)
	p.wait().wantExit(t, rollback.Unverified).wantText(t, "the rest of the log could not be read", "production: not known")
}

// A pipeline that rolls several services back at once asks for each: only our own is answered.
func TestTriggerAmongOthers(t *testing.T) {
	t.Parallel()
	k := newCI(t, func(ctx context.Context, b *jenkins.Build) string {
		var all sync.WaitGroup
		for _, id := range []string{"RollbackApproveWebProd", "RollbackApprovePaymentsProd"} {
			all.Go(func() { b.Ask(ctx, jenkins.Input{ID: id, Message: "Roll back by " + id + "?"}) })
		}
		all.Wait()
		keep(b, 0, "message=back")
		return "SUCCESS"
	})
	k.Inject(fake.Fault{Op: "GET pendingInputActions", Times: 1, Hold: func(*http.Request) { // both are there at the first look
		_ = k.Wait(t.Context(), func() bool { return len(k.builds()[0].Pending()) == 2 })
	}})
	p := k.launch(nil, theTrigger("--approve")...)
	until(t, "our answer", func() bool {
		return len(k.builds()) == 1 && slices.Equal(k.builds()[0].Pending(), []string{"RollbackApproveWebProd"})
	})
	until(t, "the word", func() bool {
		return strings.Contains(p.stderr.String(), "has nothing to do with this rollback: Roll back by RollbackApproveWebProd?")
	})
	k.answer(jenkins.UserName, jenkins.Token, "RollbackApproveWebProd", `{"parameter":[]}`)
	p.wait().wantExit(t, 0)
	if n := k.Count("POST submit"); n != 2 { // ours, and that of somebody else
		t.Errorf("answered %d times", n)
	}
}

// answer answers an input as somebody else does in the browser.
func (k *ci) answer(user, token, id, form string) {
	k.t.Helper()
	body := strings.NewReader("proceed=x&json=" + strings.NewReplacer("#", "%23", "&", "%26").Replace(form))
	req := httptest.NewRequest(http.MethodPost, k.link(1)+"input/"+id+"/submit", body)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(user, token)
	w := httptest.NewRecorder()
	k.ServeHTTP(w, req)
	if w.Code != http.StatusFound {
		k.t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// Who may not see what the build asks is told so, once, and follows it all the same.
func TestTriggerBlind(t *testing.T) {
	t.Parallel()
	k := newCI(t, asksFor(nil, approval))
	k.Inject(fake.Fault{Op: "GET pendingInputActions", Status: 403, Header: http.Header{"X-Required-Permission": {"hudson.model.Item.Read"}}})
	p := k.launch([]string{"ROLLBACK_APPROVE=true"}, theTrigger()...)
	until(t, "the word", func() bool { return strings.Contains(p.stderr.String(), "seen in Jenkins only: "+k.link(1)) })
	k.Clear()
	r := p.wait().wantExit(t, 0).wantText(t, "approving it")
	if n := strings.Count(r.stderr, "seen in Jenkins only"); n != 1 {
		t.Errorf("said %d times\n%s", n, r)
	}
}

// A job that has a reason of its own, or none at all, is started without one.
func TestTriggerReasonOfTheJob(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *jenkins.Parameter) bool{
		"default": func(p *jenkins.Parameter) bool { p.Default = "drill"; return true },
		"none":    func(*jenkins.Parameter) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, leaves(0, "SUCCESS"), func(j *jenkins.Job) {
				var list []jenkins.Parameter
				for _, p := range j.Parameters {
					if p.Name != "ROLLBACK_REASON" || change(&p) {
						list = append(list, p)
					}
				}
				j.Parameters = list
			})
			k.do(scoped("trigger")...).wantExit(t, 0)
			if got := k.builds()[0].Parameters()["ROLLBACK_REASON"]; name == "default" && got != "drill" {
				t.Errorf("reason %q", got)
			}
		})
	}
}

func TestTriggerNoFollow(t *testing.T) {
	t.Parallel()
	k := newCI(t, jenkins.Manual)
	r := k.do(theTrigger("--no-follow")...).wantExit(t, rollback.Pending).wantText(t, "started, and not followed", "follow it again: rollback trigger --service payments --environment prod --reason amounts")
	if r.stdout != k.link(1)+"\n" {
		t.Errorf("standard output: %q", r.stdout)
	}
	k.wantBuilds(1)
	k.builds()[0].Finish("NOT_BUILT")
	k.do(theTrigger()...).wantExit(t, rollback.Failed).wantText(t, "was started by an earlier call")
	k.wantBuilds(1)

	k.Hold(true)
	r = k.do(theTrigger("--no-follow", "--json")...).wantExit(t, rollback.Pending)
	var told struct {
		Build rollback.Build
		Exit  int
	}
	must(t, json.Unmarshal([]byte(r.stdout), &told))
	if told.Exit != 3 || told.Build.State != rollback.BuildQueued || told.Build.Queue != 2 {
		t.Errorf("%+v", told)
	}
	r = k.do(theTrigger("--no-follow")...).wantExit(t, rollback.Pending)
	if r.stdout != k.url+"/queue/item/2/\n" || len(k.Queued(demo.RollbackJob)) != 1 {
		t.Errorf("standard output: %q, %d queued", r.stdout, len(k.Queued(demo.RollbackJob)))
	}
}

func TestTriggerJSON(t *testing.T) {
	t.Parallel()
	k := newCI(t, leaves(3, "UNSTABLE", "message=waits for the merge", "pullRequest=https://github.com/acme/payments/pull/5"))
	r := k.do(theTrigger("--json")...).wantExit(t, rollback.Pending)
	var told struct {
		SchemaVersion int
		Build         rollback.Build
		Result        map[string]string
		Exit          int
		Message       string
	}
	must(t, json.Unmarshal([]byte(r.stdout), &told))
	if told.SchemaVersion != 1 || told.Build.Number != 1 || told.Build.Result != "UNSTABLE" || told.Exit != 3 || told.Result["pullRequest"] != "https://github.com/acme/payments/pull/5" || !strings.Contains(told.Message, "waits for the merge") {
		t.Errorf("%+v", told)
	}
}

func TestTriggerCancelledInTheQueue(t *testing.T) {
	t.Parallel()
	k := newCI(t, leaves(0, "SUCCESS"))
	k.Hold(true)
	p := k.launch(nil, theTrigger()...)
	until(t, "the queue's reason", func() bool { return strings.Contains(p.stderr.String(), "waits: Waiting for next available executor") })
	req := httptest.NewRequest(http.MethodPost, k.url+"/queue/cancelItem?id=1", http.NoBody)
	req.SetBasicAuth(jenkins.UserName, jenkins.Token)
	k.ServeHTTP(httptest.NewRecorder(), req)
	r := p.wait().wantExit(t, rollback.Failed).wantText(t, "was taken out of the queue before it started", "production: not changed")
	if r.stdout != "" {
		t.Errorf("standard output: %q", r.stdout)
	}
	k.wantBuilds(0)
}

// A request is one build, whatever becomes of the program, of the answer, or of the machine it was asked for on.
func TestTriggerAgain(t *testing.T) {
	t.Parallel()
	elsewhere := func(t *testing.T) []string { return []string{"ROLLBACK_STATE=" + t.TempDir()} }
	for _, c := range []struct {
		name  string
		fault fake.Fault     // of the start
		end   syscall.Signal // ends the first call when the build is there; 0 lets it end
		env   func(*testing.T) []string
		over  bool // the build ends before the second call
		code  rollback.Exit
		says  string
	}{
		{name: "told to end", end: syscall.SIGTERM, code: rollback.Pending, says: "was started by an earlier call"},
		{name: "^C without a terminal", end: syscall.SIGINT, code: rollback.Pending, says: "was started by an earlier call"},
		{name: "killed", end: syscall.SIGKILL, code: -1, says: "was started by an earlier call"},
		{name: "over meanwhile", end: syscall.SIGTERM, over: true, code: rollback.Pending, says: "was started by an earlier call"},
		{name: "from another machine", end: syscall.SIGKILL, env: elsewhere, code: -1, says: "is at work on the same request"},
		{name: "told to end before the answer", fault: fake.Fault{After: true, Hang: true}, end: syscall.SIGTERM, code: rollback.Unverified, says: "following it"},
		{name: "killed before the answer", fault: fake.Fault{After: true, Hang: true}, end: syscall.SIGKILL, code: -1, says: "following it"},
		{name: "killed before the answer, over meanwhile", fault: fake.Fault{After: true, Hang: true}, end: syscall.SIGKILL, over: true, code: -1, says: "✔ back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, func(ctx context.Context, b *jenkins.Build) string {
				result := jenkins.Manual(ctx, b)
				keep(b, 0, "message=back")
				return result
			})
			if c.fault.Hang {
				c.fault.Op, c.fault.Times = "POST buildWithParameters", 1
				k.Inject(c.fault)
			}
			p := k.launch(nil, theTrigger()...)
			until(t, "the build", func() bool { return len(k.builds()) == 1 })
			if !c.fault.Hang {
				until(t, "its link", func() bool { return strings.Contains(p.stdout.String(), k.link(1)) })
			}
			must(t, p.Process.Signal(c.end))
			r := p.wait()
			if r.code != int(c.code) {
				t.Fatalf("exit %d, want %d\n%s", r.code, c.code, r)
			}
			if c.code == rollback.Pending {
				r.wantText(t, "goes on in Jenkins: "+k.link(1), "follow it again: rollback trigger --service payments", "production: the build is at work on it, or will be")
			}
			if c.code == rollback.Unverified {
				r.wantText(t, "it is not known whether Jenkins started the build", "production: not known", "the same again finds the build")
			}
			if c.over {
				k.builds()[0].Finish("SUCCESS")
				until(t, "the end", func() bool { return k.builds()[0].Result() != "" })
			}
			var env []string
			if c.env != nil {
				env = c.env(t)
			}
			p = k.launch(env, theTrigger()...)
			if !c.over {
				until(t, "the link", func() bool { return strings.Contains(p.stdout.String(), k.link(1)) })
				k.builds()[0].Finish("SUCCESS")
			}
			p.wait().wantExit(t, 0).wantText(t, c.says, "✔ back")
			k.wantBuilds(1)
			if c.env != nil {
				return
			}
			// Its end was told: the same flags ask for a new build.
			if n := k.notes(); len(n) > 0 {
				t.Errorf("left %v", n)
			}
			p = k.launch(nil, theTrigger()...)
			until(t, "the second build", func() bool { return len(k.builds()) == 2 })
			k.builds()[1].Finish("SUCCESS")
			p.wait().wantExit(t, 0)
			k.wantBuilds(2)
		})
	}
}

// Told to end while Jenkins does not answer: nothing was started, and that is said.
func TestTriggerGivenUpEarly(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"GET job", "GET queue"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			k := newCI(t, leaves(0, "SUCCESS"))
			asked := make(chan bool, 8)
			k.Inject(fake.Fault{Op: op, Hang: true, Hold: func(*http.Request) { asked <- true }})
			p := k.launch(nil, theTrigger()...)
			<-asked
			must(t, p.Process.Signal(syscall.SIGTERM))
			p.wait().wantExit(t, rollback.Failed).wantText(t, "nothing was started", "production: not changed")
			k.wantBuilds(0)
			if n := k.notes(); len(n) > 0 {
				t.Errorf("left %v", n)
			}
		})
	}
}

// Every answer of the way fails once in each way: one build, and the right exit code.
func TestTriggerFaults(t *testing.T) {
	t.Parallel()
	ways := map[string]fake.Fault{
		"503": {Status: 503}, "500": {Status: 500}, "html": html(200), "drop": {Drop: true}, "cut": {Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"_cl`, Cut: true},
		"429": {Status: 429, Header: http.Header{"Retry-After": {"1"}}}, "sign-in": {Status: 302, Header: http.Header{"Location": {"/ci/login"}}},
	}
	for _, op := range []string{"GET job", "GET queue", "POST buildWithParameters", "GET queue item", "GET build", "GET progressiveText", "GET pendingInputActions", "POST submit", "GET artifact"} {
		for way, f := range ways {
			for _, lost := range []bool{false, true} {
				if lost && (!strings.HasPrefix(op, "POST") || way == "429" || way == "sign-in") { // who says that does nothing
					continue
				}
				t.Run(fmt.Sprintf("%s %s lost=%v", op, way, lost), func(t *testing.T) {
					t.Parallel()
					k := newCI(t, asksFor(nil, approval))
					once := f
					once.Op, once.Times, once.After = op, 1, lost
					k.Inject(once)
					r := k.do(theTrigger("--approve")...)
					unheard := op == "POST buildWithParameters" && !lost && r.code != 0
					switch {
					case unheard: // not heard, or not known to be: said, and the same again does it
						if r.code == int(rollback.Failed) {
							r.wantText(t, "nothing was started", "production: not changed")
						} else {
							r.wantExit(t, rollback.Unverified).wantText(t, "it is not known whether Jenkins started the build")
						}
						k.wantBuilds(0)
						k.do(theTrigger("--approve")...).wantExit(t, 0)
					case op == "POST submit" && r.code != 0:
						t.Fatalf("exit %d\n%s", r.code, r)
					default:
						r.wantExit(t, 0).wantText(t, "✔ payments/prod is back")
					}
					k.wantBuilds(1)
				})
			}
		}
	}
}

// Without the mark, a build is found again by what this machine remembers.
func TestTriggerWithoutMark(t *testing.T) {
	t.Parallel()
	k := newCI(t, jenkins.Manual, func(j *jenkins.Job) { j.Parameters = j.Parameters[:len(j.Parameters)-1] })
	k.do(theTrigger("--no-follow")...).wantExit(t, rollback.Pending).wantText(t, "no text parameter ROLLBACK_ID")
	k.builds()[0].Finish("UNSTABLE")
	k.do(theTrigger()...).wantExit(t, rollback.Unverified).wantText(t, "was started by an earlier call")
	k.wantBuilds(1)
}

// In the loopback world that is there to play in, every listed service gets its job, and each of them runs the real program.
func TestJobsOfTheDemo(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true, Services: []string{"checkout", "payments", "web"}, Environ: append(os.Environ(), asProgram+"=1", "TZ=UTC")})
	must(t, (&Env{Environ: os.Environ(), Version: "1.2.3"}).within(t.Context(), n.World, "jobs", "apply", "--service", "payments", "--adopt", "--yes"))
	n.rollback("jobs", "apply", "--yes").wantExit(t, 0).wantText(t, "✔ created  rollback/prod/checkout", "2 created, 1 up to date\n")
	n.rollback("jobs", "apply", "--yes").wantExit(t, 0).wantText(t, "3 up to date\n")
	n.rollback("doctor", "--for", "trigger", "--service", "web", "--environment", "prod").wantExit(t, 0).wantText(t, "✔ jenkins       the rollback job rollback/prod/web, 8 parameters; you may start it")
	n.rollback("trigger", "--service", "web", "--environment", "prod", "--reason", "x", "--approve").wantExit(t, rollback.Usage).wantText(t, "rollback/prod/web #1 ended FAILURE: ", "production: not changed")
	n.rollback(theTrigger("--approve")...).wantExit(t, 0).wantText(t, "✔ payments/prod is back on")
	n.wantState(n.clean())
}

// The real program in the build, in the loopback world: rolled back, and taken back, from a laptop.
func TestTriggerStory(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true, Environ: append(os.Environ(), asProgram+"=1", "TZ=UTC")})
	t.Cleanup(func() {
		for _, v := range n.Jenkins.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	n.rollback(scoped("trigger", "--dry-run")...).wantExit(t, 0).wantText(t, "── Plan", "verdict   safe", "roll back by retag")
	n.wantNothingWritten()
	n.rollback(theTrigger("--approve")...).wantExit(t, 0).wantText(t, "── Approve", "verdict safe", "── Run", "│ ✔ verify", "✔ payments/prod is back on", "production: proven")
	n.wantState(n.clean())
	if l := n.record().Last; l.Reason != "amounts" || l.By.User != "oncall" || !strings.HasSuffix(l.By.Build, "/job/rollback/job/prod/job/payments/2/") {
		t.Errorf("recorded: %+v", l.By)
	}
	n.rollback(scoped("trigger", "--method", "undo", "--reason", "false alarm", "--approve")...).wantExit(t, 0)
	if l := n.record().Last; l.Kind != rollback.KindUndo {
		t.Errorf("recorded: %+v", l)
	}
	n.rollback(scoped("trigger", "--to", "0000000", "--reason", "x", "--approve")...).wantExit(t, rollback.Usage).wantText(t, "no such image", "production: not changed")
}
