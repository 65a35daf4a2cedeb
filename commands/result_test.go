package commands

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// Commands that only look leave a result file where they are told to, and nowhere else.
func TestResultFiles(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	dir := t.TempDir()
	jenkins := []string{"JENKINS_URL=https://jenkins.acme.example/", "BUILD_NUMBER=17", "WORKSPACE=" + dir}
	look := func(exit rollback.Exit, file string, args ...string) map[string]string {
		t.Helper()
		path := filepath.Join(dir, file)
		n.do(call{args: args, env: append(jenkins, "ROLLBACK_RESULT_FILE="+path), dir: dir}).wantExit(t, exit)
		got := properties(t, path)
		if got["schemaVersion"] != "1" || got["act"] != args[0] || got["environment"] != "prod" || got["message"] == "" {
			t.Errorf("%v left %v", args, got)
		}
		return got
	}
	want := func(got map[string]string, keys ...string) {
		t.Helper()
		for i := 0; i < len(keys); i += 2 {
			if got[keys[i]] != keys[i+1] {
				t.Errorf("%s=%q, want %q in %v", keys[i], got[keys[i]], keys[i+1], got)
			}
		}
	}

	planFile := filepath.Join(dir, "plan.json")
	plan := look(0, "plan.txt", scoped("plan", "--out", planFile, "--reason", "amounts")...)
	want(plan, "verdict", "safe", "changes", "true", "resumes", "", "method", "retag", "fromCommit", n.bad().Commit, "toCommit", n.good().Commit, "to", n.good().Digest, "plan", planFile, "exit", "0")
	if s := plan["summary"]; !strings.Contains(s, "payments/prod: roll back by retag, "+n.bad().Commit[:7]+" → "+n.good().Commit[:7]) || !strings.Contains(s, n.good().Title) || !strings.Contains(s, "verdict safe") {
		t.Errorf("summary: %q", s)
	}
	list := look(0, "candidates.txt", scoped("candidates")...)
	want(list, "candidates", "3", "candidate.1.to", n.good().Commit)
	if l := list["candidate.1.label"]; !strings.HasPrefix(l, n.good().Commit[:7]+"  ") || !strings.Contains(l, n.good().Title) || list["candidate.4.to"] != "" {
		t.Errorf("label: %q", l)
	}
	want(look(0, "status.txt", scoped("status")...), "running", n.bad().Digest, "commit", n.bad().Commit, "pods", "5", "ready", "5", "desired", "5", "state", "", "owed", "", "overdue", "false", "frozen", "false")
	doctor := look(0, "doctor.txt", scoped("doctor")...)
	if doctor["failed"] != "0" || doctor["checks"] == "" || doctor["checks"] == "0" {
		t.Errorf("doctor left %v", doctor)
	}

	// The saved plan runs with the variables it was made with, which a Jenkins job still has.
	run := look(0, "run.txt", scoped("run", "--plan", planFile, "--yes")...)
	want(run, "act", "run", "method", "retag", "to", n.good().Digest)
	if run["pullRequest"] == "" || !strings.HasSuffix(run["journal"], ".jsonl") {
		t.Errorf("run left %v", run)
	}
	want(look(0, "status.txt", scoped("status")...), "running", n.good().Digest, "state", "mitigated", "reason", "amounts", "pullRequest", run["pullRequest"])
	all := look(0, "status.txt", "status", "--environment", "prod")
	want(all, "payments.running", n.good().Digest, "payments.state", "mitigated", "services", "payments", "running", "")

	// A plan of an undo is a plan as well.
	undo := look(0, "plan.txt", scoped("plan", "--method", "undo", "--out", planFile, "--reason", "false alarm")...)
	want(undo, "method", "undo", "to", n.bad().Digest, "changes", "true")
	n.do(call{args: scoped("run", "--plan", planFile, "--method", "retag", "--yes")}).wantExit(t, rollback.Usage).wantText(t, "is by undo")
	n.do(call{args: scoped("run", "--plan", planFile, "--yes"), env: []string{"ROLLBACK_TO=previous", "ROLLBACK_METHOD=undo"}}).wantExit(t, 0)
	want(look(0, "status.txt", scoped("status")...), "running", n.bad().Digest)
	if l := n.record().Last; l.Kind != rollback.KindUndo || l.Reason != "false alarm" {
		t.Errorf("recorded: %+v", l)
	}

	revert := look(0, "revert.txt", scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts")...)
	want(revert, "outcome", "adopted", "state", "open", "pullRequest", run["pullRequest"], "exit", "0")
	if want := revert["pullRequest"]; !strings.HasSuffix(want, "/pull/"+revert["number"]) {
		t.Errorf("number %q of %q", revert["number"], want)
	}

	failed := look(rollback.Usage, "plan.txt", scoped("plan", "--method", "none")...)
	want(failed, "exit", "2", "verdict", "")
	if found, _ := filepath.Glob(filepath.Join(dir, "rollback-result.txt")); len(found) > 0 {
		t.Errorf("a command that was told another file left %v", found)
	}
	// Without being told, only those that act leave one, and only on Jenkins.
	pull := []string{"--commit", n.bad().Commit, "--reason", "amounts"}
	for _, c := range []struct {
		args []string
		env  []string
		left bool
	}{
		{scoped("plan"), jenkins, false}, {scoped("candidates"), jenkins, false}, {scoped("status"), jenkins, false}, {scoped("doctor"), jenkins, false},
		{scoped("revert", pull...), nil, false}, {scoped("revert", append(pull, "--dry-run")...), jenkins, false},
		{scoped("revert", pull...), append(jenkins, "ROLLBACK_DRY_RUN=true"), false}, {scoped("revert", pull...), jenkins, true},
	} {
		here := t.TempDir()
		n.do(call{args: c.args, env: c.env, dir: here}).wantExit(t, 0)
		if found, _ := filepath.Glob(filepath.Join(here, "*")); (len(found) == 1 && filepath.Base(found[0]) == "rollback-result.txt") != c.left || len(found) > 1 {
			t.Errorf("%v with %v left %v", c.args, c.env, found)
		}
	}
}

// A plan and a result go into what is no regular file, and leave it what it is.
func TestIntoPipe(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{scoped("plan", "--out", pipe, "--reason", "amounts"), `"verdict": "safe"`},
		{scoped("run", "--dry-run", "--out", pipe, "--reason", "amounts"), `"verdict": "safe"`},
		{scoped("plan", "--result-file", pipe), "\nverdict=safe\n"},
		{scoped("status", "--result-file", pipe), "\nexit=0\n"},
	} {
		r, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for a writer
		must(t, err)
		n.do(call{args: c.args}).wantExit(t, 0)
		text := make([]byte, 1<<16)
		got, err := r.Read(text)
		must(t, err)
		must(t, r.Close())
		if !strings.Contains(string(text[:got]), c.want) {
			t.Errorf("%v wrote %q", c.args, text[:got])
		}
		if is, err := os.Lstat(pipe); err != nil || is.Mode().Type() != os.ModeNamedPipe {
			t.Fatalf("%v made it %v, %v", c.args, is, err)
		}
	}
}

// --method undo is undo.
func TestRunUndo(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.do(call{args: theRun()}).wantExit(t, 0)
	n.do(call{args: scoped("run", "--method", "undo", "--reason", "false alarm", "--yes"), env: []string{"ROLLBACK_TO=previous"}}).wantExit(t, 0)
	if l := n.record().Last; l.Kind != rollback.KindUndo || string(l.To.Digest) != n.bad().Digest {
		t.Errorf("recorded: %+v", l)
	}
	if running := n.Running("payments"); running[n.bad().Digest] == 0 || len(running) != 1 {
		t.Errorf("runs %v", running)
	}
}
