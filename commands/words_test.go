package commands

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// What a person is told who gave too little, or the wrong number, or has one token fewer than there are systems.

// A revert names the flags that say what to undo; a dry run claims nothing that was not done.
func TestRevertWords(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: scoped("revert", "--dry-run")}).wantExit(t, rollback.Usage).wantText(t, "say what to undo: one of --pr, --commit and --to", "production: not changed")
	n.do(call{args: scoped("revert", "--dry-run", "--pr", "1", "--commit", n.bad().Commit)}).wantExit(t, rollback.Usage).wantText(t, "one of --pr, --commit and --to")

	dry := scoped("revert", "--commit", n.bad().Commit, "--dry-run")
	n.do(call{args: dry}).wantExit(t, 0).wantText(t, "✔ dry run: nothing was opened")
	opened := n.do(call{args: scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts")}).wantExit(t, 0)
	r := n.do(call{args: dry}).wantExit(t, 0).wantText(t, "✔ dry run: it is open already: Revert ")
	if r.stdout != opened.stdout {
		t.Errorf("another pull request is shown: %q, %q was opened", r.stdout, opened.stdout)
	}
}

// To reland a change by its own number would take it out once more: refused, whether it was reverted or not.
func TestRelandOfNoRevert(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	change := len(n.Releases) // the newest was merged last
	wrong := func() {
		t.Helper()
		for _, args := range [][]string{{"--dry-run"}, {"--reason", "false alarm"}} {
			r := n.do(call{args: scoped("reland", append([]string{"--pr", fmt.Sprint(change)}, args...)...)})
			r.wantExit(t, rollback.Failed).wantText(t, fmt.Sprintf("pull request #%d is no revert", change), "production: not changed", "give the number of the merged revert")
		}
	}
	wrong()
	run := scoped("run", "--method", "revert", "--reason", "amounts", "--yes")
	n.do(call{args: run}).wantExit(t, rollback.Pending).wantText(t, "◎ pull request #", "waits for its merge", "production: not changed")
	number, _, err := n.MergeRevert()
	must(t, err)
	wrong()
	r := n.do(call{args: scoped("reland", "--pr", fmt.Sprint(number), "--reason", "false alarm")}).wantExit(t, 0)
	r.wantText(t, `✔ opened: Reapply "Round amounts in the ledger`)
}

// A rollback does without the forge's token, and says what that means.
func TestWithoutGitHubToken(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	without := []string{"GITHUB_TOKEN="}
	n.do(call{args: scoped("plan"), env: without}).wantExit(t, 0).wantText(t, "! warn   no revert will be opened: GITHUB_TOKEN is not set [forge-unread]")
	n.do(call{args: theRun(), env: without}).wantExit(t, 0).wantText(t, "no revert will be opened: GITHUB_TOKEN is not set")
	n.wantState(n.clean())
}

// Where nothing is configured, that is said, and how to begin.
func TestNoConfiguration(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{scoped("plan"), {"status", "--environment", "prod"}, scoped("trigger", "--reason", "x")} {
		alone(t, t.TempDir(), args...).wantExit(t, rollback.Usage).wantText(t, "there is no rollback.yaml in this directory or above it", "rollback init")
	}
	r := alone(t, t.TempDir(), "init", "--out", "nowhere/rollback.yaml").wantExit(t, rollback.Usage)
	if strings.Count(r.stderr, "nowhere/rollback.yaml") != 1 {
		t.Errorf("the path is told more than once: %s", r)
	}
}

// A token that is missing is named alone, with the place where one is made.
func TestTriggerWithoutToken(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true, Environ: append(os.Environ(), asProgram+"=1", "TZ=UTC")})
	r := n.do(call{args: scoped("trigger", "--reason", "amounts"), env: []string{"JENKINS_TOKEN="}}).wantExit(t, rollback.Usage)
	r.wantText(t, "jenkins.url is set, but not the variable JENKINS_TOKEN", "production: not changed", "/user/oncall/security/")
	if strings.Contains(r.stderr, "jenkins.user") {
		t.Errorf("the user is set: %s", r)
	}
}

// What blocks is told where the findings are and where the command ends, and not in between as well.
func TestVerdictIsShort(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.do(call{args: theRun()}).wantExit(t, 0)
	r := n.do(call{args: theRun()}).wantExit(t, rollback.Refused).wantText(t, "  verdict   unsafe: still-open\n", "✗ block  rollback ", "✗ the plan is unsafe: rollback ")
	if told := strings.Count(r.stderr, "is in effect and still open"); told != 2 {
		t.Errorf("told %d times:\n%s", told, r)
	}
}
