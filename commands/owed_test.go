package commands

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// owed is what `status --json` shows as owed.
func (n *night) owed() []owedStatus {
	n.t.Helper()
	report := decoded[statusReport](n.t, n.do(call{args: scoped("status", "--json")}).wantExit(n.t, 0))
	if len(report.Services) != 1 || len(report.NotRead) > 0 {
		n.t.Fatalf("status: %+v", report)
	}
	s := report.Services[0]
	if (s.FollowUp == nil) != (len(s.Owed) == 0) || s.FollowUp != nil && s.FollowUp.FollowUp != s.Owed[0].FollowUp {
		n.t.Errorf("followUp %+v is not the first of %+v", s.FollowUp, s.Owed)
	}
	return s.Owed
}

// pull is the pull request with that number at GitHub.
func (n *night) pull(number int) fakegh.Pull {
	n.t.Helper()
	p, ok := n.Code.Pull(number)
	if !ok {
		n.t.Fatalf("there is no pull request #%d", number)
	}
	return p
}

// wantTrailer holds that a pull request undoes good..bad.
func (n *night) wantTrailer(number int, good, bad string) {
	n.t.Helper()
	if want := "Rollback-Undoes: " + good + ".." + bad; !strings.Contains(n.pull(number).Body, want) {
		n.t.Errorf("#%d does not say %q:\n%s", number, want, n.pull(number).Body)
	}
}

// A second rollback takes the first one's debt in: one pull request for all of it, the older one closed. Undone, the first
// one owes what it owed.
func TestTwoRollbacksOwed(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: theRun()}).wantExit(t, 0)
	first := n.owed()
	if len(first) != 1 || first[0].PR == 0 || !n.pull(first[0].PR).Open {
		t.Fatalf("owed %+v", first)
	}
	older := n.Releases[len(n.Releases)-3]
	r := n.do(call{args: theRun("--to", older.Commit)}).wantExit(t, 0)
	second := n.owed()
	if len(second) != 1 || second[0].PR == first[0].PR || !second[0].Due.Equal(first[0].Due) {
		t.Fatalf("owed %+v, was %+v", second, first)
	}
	n.wantTrailer(second[0].PR, older.Commit, n.bad().Commit)
	if body := n.pull(second[0].PR).Body; !strings.Contains(body, fmt.Sprintf("| in place of | #%d |", first[0].PR)) {
		t.Errorf("the second pull request does not name the first:\n%s", body)
	}
	if p := n.pull(first[0].PR); p.Open || p.Merged {
		t.Errorf("the first pull request: %+v", p)
	}
	r.wantText(t, fmt.Sprintf("the revert of %s..%s is owed since rollback", n.good().Commit[:7], n.bad().Commit[:7]), "the pull request of this rollback takes it in",
		fmt.Sprintf("#%d is closed: this pull request does what it did as well", first[0].PR), "merge the revert by")

	r = n.do(call{args: scoped("undo", "--reason", "too far", "--yes")}).wantExit(t, 0)
	r.wantText(t, "close it, or it undoes the code all the same: "+second[0].URL, fmt.Sprintf("the revert of %s..%s is owed again, by ", n.good().Commit[:7], n.bad().Commit[:7]), "reopen its pull request: "+first[0].URL)
	again := n.owed()
	if len(again) != 1 || again[0].PR != first[0].PR || again[0].Rollback != first[0].Rollback || again[0].PRState != rollback.PullClosed || !again[0].Due.Equal(first[0].Due) {
		t.Fatalf("owed %+v, was %+v", again, first)
	}
	status := n.do(call{args: scoped("status")}).wantExit(t, 0)
	if !regexp.MustCompile(fmt.Sprintf(`revert-pr #%d was closed unmerged, due in \d+m`, first[0].PR)).MatchString(status.stdout) {
		t.Errorf("status does not tell:\n%s", status)
	}
	status.wantText(t, "was closed without being merged: "+first[0].URL, fmt.Sprintf("#%d is still open, and merged it would undo what runs; close it: %s", second[0].PR, second[0].URL))
	if err := n.Code.ClosePull(second[0].PR, "payments-dev"); err != nil {
		t.Fatal(err)
	}
	if r := n.do(call{args: scoped("status")}).wantExit(t, 0); strings.Contains(r.stdout+r.stderr, "is still open") {
		t.Errorf("a closed pull request is to be closed:\n%s", r)
	}
}

// Rolled back stage by stage, the code is owed as after a run: each stage says so, and the revert that is pasted pays it.
func TestStagesOwe(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	revert := "rollback revert --service payments --environment prod --to " + n.good().Commit + " --from " + n.bad().Commit
	n.do(call{args: scoped("retag", "--to", "previous", "--reason", "errors", "--yes")}).wantExit(t, 0).wantText(t, "the code is owed, by ", revert)
	n.do(call{args: scoped("verify", "--settle", "1s")}).wantExit(t, 4).wantText(t, "the tag was moved and no pod restarted since: rollback restart --service payments --environment prod")
	n.do(call{args: scoped("restart", "--reason", "errors", "--yes")}).wantExit(t, 0).wantText(t, "target    "+n.good().Commit[:7])
	n.do(call{args: scoped("verify", "--settle", "1s")}).wantExit(t, 0).wantText(t, "is still owed, by ", revert)
	if owed := n.owed(); len(owed) != 1 || !strings.HasPrefix(owed[0].Next, revert) {
		t.Fatalf("owed %+v", owed)
	}
	n.do(call{args: scoped("revert", "--to", n.good().Commit, "--from", n.bad().Commit, "--reason", "errors")}).wantExit(t, 0).wantText(t, "it pays the revert of ")
	owed := n.owed()
	if len(owed) != 1 || owed[0].PR == 0 {
		t.Fatalf("owed %+v", owed)
	}
	n.do(call{args: scoped("verify", "--settle", "1s")}).wantExit(t, 0).wantText(t, "merge "+owed[0].URL)
}

// The revert that is opened by hand pays what the record owes, and one that is merged is seen as paid by everything.
func TestRevertByHandPays(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.GitHub.Inject(fake.Fault{Op: "git/create-ref", Status: 422, Header: map[string][]string{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"message":"Reference update failed"}`})
	n.do(call{args: theRun()}).wantExit(t, 0).wantText(t, "the revert pull request is still owed", "open the revert by", "rollback revert --service payments --environment prod --to "+n.good().Commit+" --from "+n.bad().Commit)
	n.GitHub.Clear()
	owed := n.owed()
	if len(owed) != 1 || owed[0].PR != 0 || !strings.HasPrefix(owed[0].Next, "rollback revert --service payments --environment prod --to "+n.good().Commit+" --from "+n.bad().Commit) {
		t.Fatalf("owed %+v", owed)
	}
	n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, "no pull request is known for the revert of", owed[0].Next)

	// Without a way to the cluster it is opened all the same, and says what it could not do.
	by := scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts")
	r := n.do(call{args: by, env: []string{"KUBECONFIG=" + n.Dir + "/nothing"}}).wantExit(t, 0).wantText(t, "what the record of payments/prod owes could not be read", "the pull request stands all the same", "opened: ")
	url := strings.TrimSpace(r.stdout)
	if owed = n.owed(); len(owed) != 1 || owed[0].PR != 0 {
		t.Fatalf("owed %+v", owed)
	}
	// Where the record cannot be written, neither.
	n.Cluster.Inject(fake.Fault{Op: "UPDATE configmaps*", Status: 500, Times: 3})
	n.do(call{args: by}).wantExit(t, 0).wantText(t, "the record of payments/prod could not be told", "until the same command is given again", "adopted: ")
	n.Cluster.Clear()
	// With one it is found and written down.
	n.do(call{args: by}).wantExit(t, 0).wantText(t, "it pays the revert of "+n.good().Commit[:7]+".."+n.bad().Commit[:7]+", which payments/prod owes by ", "adopted: ")
	if owed = n.owed(); len(owed) != 1 || owed[0].URL != url || owed[0].Next != "" {
		t.Fatalf("owed %+v, opened %s", owed, url)
	}
	if n.record().Lock != nil {
		t.Error("the record is locked")
	}
	again := n.do(call{args: by}).wantExit(t, 0)
	if strings.Contains(again.stderr, "it pays") {
		t.Errorf("told twice:\n%s", again)
	}

	// GitHub is down: the record's word stands, and that it could not be asked is said.
	n.GitHub.Inject(fake.Fault{Op: "pulls/get", Status: 500, Header: map[string][]string{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"message":"Server Error"}`})
	down := n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, "! not read: pull requests of payments: ")
	if !regexp.MustCompile(fmt.Sprintf(`revert-pr #%d due in \d+m`, owed[0].PR)).MatchString(down.stdout) {
		t.Errorf("status does not tell:\n%s", down)
	}
	n.GitHub.Clear()

	// Merged in the browser: paid, whatever the record says.
	n.Webhook(false)
	if _, err := n.Code.Merge(owed[0].PR, "squash", "payments-lead"); err != nil {
		t.Fatal(err)
	}
	if rec := n.record(); len(rec.Open()) != 1 {
		t.Errorf("the record: %+v", rec.Owed)
	}
	if left := n.owed(); len(left) != 0 {
		t.Errorf("owed %+v", left)
	}
	if s := n.rollback("status", "--environment", "prod").wantExit(t, 0); strings.Contains(s.stdout, "revert-pr") {
		t.Errorf("status of all services:\n%s", s)
	}
	r = n.do(call{args: scoped("undo", "--reason", "false alarm", "--yes")}).wantExit(t, 0)
	reland := fmt.Sprintf("rollback reland --service payments --environment prod --pr %d --reason 'false alarm'", owed[0].PR)
	r.wantText(t, fmt.Sprintf("the merged revert #%d is still in the branch, and the next deploy ships it again; take it back by ", owed[0].PR), reland)
	if strings.Contains(r.stderr, "close it") {
		t.Errorf("a merged pull request is to be closed:\n%s", r)
	}
}

// GitHub is down, so the command that opens the revert is printed. It is pasted later, when others have merged: it takes out what
// the rollback took away, and nothing of theirs.
func TestPastedRevertIsWhatIsOwed(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	target := n.Releases[len(n.Releases)-3]
	owed := rollback.Range{Good: rollback.Commit(target.Commit), Bad: rollback.Commit(n.bad().Commit)}
	down := "ROLLBACK_GITHUB_URL=http://127.0.0.1:1"
	r := n.do(call{args: theRun("--to", target.Commit), env: []string{down}}).wantExit(t, 0).wantText(t, "open the revert by ")
	fromRun := pasted(t, r.stderr, "revert")
	fromStatus := pasted(t, n.do(call{args: scoped("status"), env: []string{down}}).wantExit(t, 0).stderr, "revert")
	if debts := n.record().Open(); len(debts) != 1 || debts[0].Range != owed {
		t.Fatalf("owed %+v", debts)
	}

	for i, files := range []map[string]string{{"fees.go": "package payments\n"}, {"limits.go": "package payments\n"}} {
		_, err := n.Code.Commit("main", fakegh.Change{Message: fmt.Sprintf("Add file %d", i), Author: "payments-dev", Time: time.Now(), From: "main", Files: files})
		must(t, err)
	}
	dry := n.do(call{args: append(fromRun, "--dry-run")}).wantExit(t, 0).wantText(t, owed.String(), "2 commits", n.bad().Commit[:7], n.good().Commit[:7])
	if strings.Contains(dry.stderr, "Add file") {
		t.Errorf("it undoes what came later\n%s", dry)
	}
	n.do(call{args: fromRun}).wantExit(t, 0).wantText(t, "opened: ", "it pays the revert of "+owed.String()+", which payments/prod owes by ")
	n.do(call{args: fromStatus}).wantExit(t, 0).wantText(t, "adopted: ")

	debts := n.record().Open()
	if len(debts) != 1 || debts[0].PR == 0 {
		t.Fatalf("owed %+v", debts)
	}
	beside, err := exec.Command("git", "-C", n.Code.Dir(), "diff", "--name-status", target.Commit, n.pull(debts[0].PR).HeadSHA).Output()
	must(t, err)
	if got := string(beside); got != "A\tfees.go\nA\tlimits.go\n" {
		t.Errorf("the revert is the target with %q", got)
	}

	n.do(call{args: scoped("revert", "--from", n.bad().Commit, "--reason", "amounts")}).wantExit(t, rollback.Usage).wantText(t, "it goes with --to")
	n.do(call{args: scoped("revert", "--pr", "3", "--to", target.Commit, "--from", n.bad().Commit, "--reason", "amounts")}).wantExit(t, rollback.Usage).wantText(t, "one of --pr, --commit and --to")
}

// pasted is the first command of that name that a text prints, as a shell takes it.
func pasted(t *testing.T, text, name string) []string {
	t.Helper()
	for line := range strings.Lines(text) {
		if _, tail, ok := strings.Cut(line, ": rollback "+name+" "); ok {
			list, whole := words(strings.TrimSpace(tail))
			if !whole {
				t.Fatalf("no command to paste: %s", line)
			}
			return append([]string{name}, list...)
		}
	}
	t.Fatalf("no rollback %s in\n%s", name, text)
	return nil
}

// A revert that is merged although its rollback was undone is shown as one to take back, until that is merged.
func TestMergedInSpiteOfUndo(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: theRun()}).wantExit(t, 0)
	number := n.owed()[0].PR
	n.do(call{args: scoped("undo", "--reason", "false alarm", "--yes")}).wantExit(t, 0)
	if owed := n.owed(); len(owed) != 0 {
		t.Fatalf("owed %+v", owed)
	}
	n.Webhook(false)
	if _, err := n.Code.Merge(number, "squash", "payments-lead"); err != nil {
		t.Fatal(err)
	}
	owed := n.owed()
	if len(owed) != 1 || owed[0].Kind != rollback.OwedReland || owed[0].Of != number {
		t.Fatalf("owed %+v", owed)
	}
	n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, fmt.Sprintf("the merged revert #%d is still in the branch, and the next deploy ships it again: %s", number, owed[0].Next))
	n.do(call{args: scoped("reland", "--pr", fmt.Sprint(number), "--reason", "false alarm")}).wantExit(t, 0).wantText(t, fmt.Sprintf("it pays the reland of #%d, which", number))
	if owed = n.owed(); len(owed) != 1 || owed[0].PR == 0 {
		t.Fatalf("owed %+v", owed)
	}
	if _, err := n.Code.Merge(owed[0].PR, "squash", "payments-lead"); err != nil {
		t.Fatal(err)
	}
	if owed = n.owed(); len(owed) != 0 {
		t.Errorf("owed %+v", owed)
	}
}

// The undo of a rollback by revert leaves the revert in the branch: it says so, until the reland is merged.
func TestUndoOfRevertOwesReland(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	run := scoped("run", "--method", "revert", "--reason", "amounts", "--yes")
	n.do(call{args: run}).wantExit(t, rollback.Pending)
	number, _, err := n.MergeRevert()
	if err != nil {
		t.Fatal(err)
	}
	n.do(call{args: run}).wantExit(t, 0)
	if owed := n.owed(); len(owed) != 0 {
		t.Fatalf("owed %+v", owed)
	}
	reland := fmt.Sprintf("rollback reland --service payments --environment prod --pr %d --reason ", number)
	n.do(call{args: scoped("undo", "--reason", "false alarm", "--yes")}).wantExit(t, 0).wantText(t,
		fmt.Sprintf("the merged revert #%d is still in the branch, and the next deploy ships it again; take it back by ", number), reland+"'false alarm'")
	owed := n.owed()
	if len(owed) != 1 || owed[0].Kind != rollback.OwedReland || owed[0].Of != number || owed[0].Next != reland+"'false alarm'" {
		t.Fatalf("owed %+v", owed)
	}
	status := n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, owed[0].Next, fmt.Sprintf("the merged revert #%d is still in the branch", number))
	if !regexp.MustCompile(fmt.Sprintf(`reland-pr of #%d due in \d+m`, number)).MatchString(status.stdout) {
		t.Errorf("status does not tell:\n%s", status)
	}

	pay := scoped("reland", "--pr", fmt.Sprint(number), "--reason", "false alarm")
	n.do(call{args: append(pay, "--cluster-uid", "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22")}).wantExit(t, 0).wantText(t, "could not be read", "wrong cluster", "the pull request stands all the same")
	if owed := n.record().Open(); len(owed) != 1 || owed[0].PR != 0 {
		t.Errorf("written into another cluster: %+v", owed)
	}
	r := n.do(call{args: pay}).wantExit(t, 0)
	r.wantText(t, fmt.Sprintf("it pays the reland of #%d, which payments/prod owes by ", number))
	owed = n.owed()
	if len(owed) != 1 || owed[0].URL != strings.TrimSpace(r.stdout) || owed[0].PR == number {
		t.Fatalf("owed %+v", owed)
	}
	n.Webhook(false)
	if _, err := n.Code.Merge(owed[0].PR, "squash", "payments-lead"); err != nil {
		t.Fatal(err)
	}
	if left := n.owed(); len(left) != 0 {
		t.Errorf("owed %+v", left)
	}
}

// Jenkins builds the tip of the branch: one build of the revert and of what was merged after it.
func TestRevertBuiltWithOthers(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	run := scoped("run", "--method", "revert", "--reason", "amounts", "--yes")
	n.do(call{args: run}).wantExit(t, rollback.Pending)
	n.Webhook(false)
	number, _, err := n.MergeRevert()
	if err != nil {
		t.Fatal(err)
	}
	later, err := n.Code.Commit("main", fakegh.Change{Message: "Explain the rates", Author: "payments-dev", Time: time.Now(), From: "main", Files: map[string]string{"rates.go": "// Package payments knows rates.\npackage payments\n"}})
	if err != nil {
		t.Fatal(err)
	}
	n.Jenkins.Push(demo.Job, later)
	merged := n.pull(number).MergeCommit
	r := n.do(call{args: run}).wantExit(t, 0)
	r.wantText(t, fmt.Sprintf("built is %s, which contains the merge commit %s; 1 later commit ships with it:", later[:7], merged[:7]), "  "+later[:7]+" Explain the rates (payments-dev)",
		", with 1 later commit; proven on 5 pods", "runs "+later[:7])
	m := n.record().Last.Merge
	if string(m.Commit) != merged || string(m.Built) != later || len(m.Along) != 1 || string(m.Along[0]) != later {
		t.Errorf("recorded %+v", m)
	}
	if builds := n.Jenkins.Builds(demo.Job); len(builds) != 1 {
		t.Errorf("%d builds, want the one that the push made", len(builds))
	}
	if digest := n.Registry.Tags("payments")[later]; digest == "" || r.stdout != digest+"\n" {
		t.Errorf("standard output %q, the image of the build is %s", r.stdout, digest)
	}
}

// The pull request of the second rollback that is opened by hand names the first one's, which nobody has closed.
func TestRevertByHandNamesTheOlder(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: theRun()}).wantExit(t, 0)
	first := n.owed()[0]
	older := n.Releases[len(n.Releases)-3]
	n.GitHub.Inject(fake.Fault{Op: "git/create-ref", Status: 422, Header: map[string][]string{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"message":"Reference update failed"}`})
	n.do(call{args: theRun("--to", older.Commit)}).wantExit(t, 0).wantText(t, "the revert pull request is still owed", "rollback revert --service payments --environment prod --to "+older.Commit+" --from "+n.bad().Commit)
	n.GitHub.Clear()
	if owed := n.owed(); len(owed) != 1 || owed[0].PR != 0 || owed[0].Rollback == first.Rollback || !n.pull(first.PR).Open {
		t.Fatalf("owed %+v", owed)
	}
	r := n.do(call{args: scoped("revert", "--to", older.Commit, "--reason", "amounts")}).wantExit(t, 0)
	r.wantText(t, fmt.Sprintf("it pays the revert of %s..%s, which payments/prod owes by ", older.Commit[:7], n.bad().Commit[:7]), fmt.Sprintf("close #%d if it is open", first.PR))
	if owed := n.owed(); len(owed) != 1 || owed[0].URL != strings.TrimSpace(r.stdout) {
		t.Errorf("owed %+v", owed)
	}
}

// A pull request says that it undoes the commit, and does something else: it is not merged, whatever was asked for, and not
// said to be checked.
func TestClaimIsNotMerged(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	claim := func(branch string) int {
		_, err := n.Code.Commit(branch, fakegh.Change{Message: "undo it", Author: "payments-dev", From: "main", Files: map[string]string{"backdoor.go": "package payments\n"}})
		must(t, err)
		number, err := n.Code.OpenPull(fakegh.PullOptions{Head: branch, Title: "undo it", Author: "payments-dev", Body: "Rollback-Undoes: " + n.good().Commit + ".." + n.bad().Commit})
		must(t, err)
		return number
	}
	rng := rollback.Range{Good: rollback.Commit(n.good().Commit), Bad: rollback.Commit(n.bad().Commit)}
	evil := claim(rollback.RevertBranch(rollback.BranchPrefix, rng, 1))
	by := scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts", "--auto-merge")
	url := strings.TrimSpace(n.do(call{args: by}).wantExit(t, rollback.Pending).wantText(t, fmt.Sprintf("! #%d is not known to be the exact inverse: its content is not that of the exact inverse", evil),
		fmt.Sprintf("pull request #%d is open and was not merged", evil), "or close it and run again").stdout)
	run := scoped("run", "--method", "revert", "--revert-auto-merge", "true", "--reason", "amounts", "--yes")
	n.do(call{args: run}).wantExit(t, rollback.Pending).wantText(t, "look at what it changes; merge it if that is right, else close it: "+url, "production: not changed")
	if p := n.pull(evil); !p.Open || p.AutoMerge != "" {
		t.Fatalf("%+v", p)
	}

	// Closed, or on a branch of any other name, it is in nobody's way.
	must(t, n.Code.ClosePull(evil, "payments-lead"))
	other := claim("undo-it")
	n.do(call{args: run}).wantExit(t, 0).wantText(t, fmt.Sprintf("#%d says that it undoes the same, and is not used", other))
	if p := n.pull(other); !p.Open || p.AutoMerge != "" {
		t.Errorf("%+v", p)
	}
	if _, ok := n.Code.File("main", "backdoor.go"); ok {
		t.Error("the backdoor was merged")
	}
	last := n.Code.Pulls()[len(n.Code.Pulls())-1]
	if head, err := n.Code.Show(last.HeadSHA); err != nil || !last.Merged || len(head.Parents) != 1 || head.Parents[0] != n.bad().Commit {
		t.Errorf("%+v, %+v, %v", last, head, err)
	}
}

// A revert of a migration is opened and not merged, the first time and any other, until somebody vouches for the schema.
func TestRevertOfMigrationIsNotMerged(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.Webhook(false)
	sha, err := n.Code.Commit("main", fakegh.Change{Message: "Fees", Author: "payments-dev", From: "main", Files: map[string]string{"db/migration/V2__fees.sql": "create table fees;\n"}})
	must(t, err)
	by := scoped("revert", "--commit", sha, "--reason", "fees", "--auto-merge")
	var url string
	for _, outcome := range []string{"opened: ", "adopted: "} {
		r := n.do(call{args: by}).wantExit(t, rollback.Pending).wantText(t, outcome, "risk", "was not merged: 1 migration in what is undone: db/migration/V2__fees.sql", "with --accept-migrations, with that as part of the reason")
		url = strings.TrimSpace(r.stdout)
	}
	n.do(call{args: append(by, "--accept-migrations")}).wantExit(t, 0).wantText(t, "merged: "+url)
	if _, ok := n.Code.File("main", "db/migration/V2__fees.sql"); ok {
		t.Error("it is still there")
	}
}

// The settings that errors about GitHub name are those that there are, and they reach it.
func TestForgeSettings(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	by := scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts")
	n.do(call{args: append(by, "--github-ca-file", "nothing.pem")}).wantExit(t, rollback.Usage).wantText(t, "nothing.pem", "give a file of certificates, PEM")
	n.do(call{args: append(by, "--revert-branch-prefix", "-x..")}).wantExit(t, rollback.Usage).wantText(t, "want the beginning of a branch's name, such as rollback/")

	n.Code.Protect(fakegh.Protection{Branch: "rollback/**", NoCreation: true})
	n.do(call{args: by}).wantExit(t, 1).wantText(t, "a rule of the repository forbids the branch rollback/revert-", "set revert.branchPrefix and revert.tempPrefix to what it allows")
	_, err := n.Code.Commit("main", fakegh.Change{Message: "Explain the rates", Author: "payments-dev", From: "main", Files: map[string]string{"rates.go": "// Package payments knows rates.\npackage payments\n"}})
	must(t, err)
	n.do(call{args: append(by, "--revert-branch-prefix", "ops/")}).wantExit(t, 1).wantText(t, "a rule of the repository forbids the branch rollback/tmp-")
	r := n.do(call{args: by, env: []string{"ROLLBACK_REVERT_BRANCH_PREFIX=ops/", "ROLLBACK_REVERT_TEMP_PREFIX=ops/tmp-"}}).wantExit(t, 0).wantText(t, "opened: ")
	open := n.Code.OpenPulls()
	if len(open) != 1 || !strings.HasPrefix(open[0].Head, "ops/revert-"+n.good().Commit[:12]) {
		t.Errorf("%+v\n%s", open, r)
	}
}

// A commit may be typed in capitals; one that the repository does not have is said so, with what to do.
func TestRevertNamesCommits(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	for _, args := range [][]string{{"--commit", strings.ToUpper(n.bad().Commit[:9])}, {"--to", strings.ToUpper(n.good().Commit)}, {"--to", strings.ToUpper(n.good().Commit), "--from", strings.ToUpper(n.bad().Commit)}} {
		n.do(call{args: scoped("revert", append(args, "--dry-run")...)}).wantExit(t, 0).wantText(t, n.good().Commit[:7]+".."+n.bad().Commit[:7])
	}
	n.do(call{args: scoped("revert", "--dry-run", "--commit", "0123456789")}).wantExit(t, rollback.Usage).wantText(t, "has no commit 0123456", "production: not changed", "next: name a commit that it has: rollback candidates")
}
