package github

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func shell(t testing.TB, dir, line string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var pay = lines(20, "pay")

// Everything that can be undone, at the tip and below it. What must be left of pay.go says what was undone.
func TestRevert(t *testing.T) {
	t.Parallel()
	bad := edit(pay, map[int]string{2: "bad"})
	for _, c := range []struct {
		name   string
		method string // of the bad pull request; "push" for a commit
		later  bool   // something else was merged since
		parts  int
		ask    func(n int, bad, good rollback.Commit) rollback.RevertRequest
		want   rollback.MergeMethod
		waves  int
	}{
		{"squash at the tip", "squash", false, 1, byPR, "squash", 5},
		{"squash of three", "squash", true, 3, byPR, "squash", 8},
		{"rebase of three", "rebase", true, 3, byPR, "rebase", 8},
		{"rebase of three at the tip", "rebase", false, 3, byPR, "rebase", 5},
		{"merge commit", "merge", true, 2, byPR, "merge", 8},
		{"merge commit at the tip", "merge", false, 2, byPR, "merge", 5},
		{"commit", "push", true, 1, byCommit, "", 8},
		{"short commit", "push", true, 1, func(n int, bad, good rollback.Commit) rollback.RevertRequest {
			return rollback.RevertRequest{Commit: bad[:8]}
		}, "", 8},
		{"range", "push", true, 3, byRange, "", 8},
		{"to", "push", false, 2, func(_ int, _, good rollback.Commit) rollback.RevertRequest { return rollback.RevertRequest{To: good} }, "", 5},
		{"to, with more since", "push", true, 2, func(_ int, _, good rollback.Commit) rollback.RevertRequest { return rollback.RevertRequest{To: good} }, "", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inWaves(t, fakegh.RepositoryOptions{}, func(t *testing.T, w *world) {
				good := w.head()
				parts := []map[string]string{{"pay.go": bad}, {"extra.go": "package pay // bad\n"}, {"db/migration/V2__bad.sql": "drop\n"}}[:c.parts]
				var n int
				var tip rollback.Commit
				if c.method == "push" {
					for _, files := range parts {
						tip = w.push("PAY-7: bad change", files)
					}
				} else {
					n, tip = w.pull("feature", "PAY-7: bad change", c.method, parts...)
				}
				want := w.tree(good)
				if c.later {
					later := w.push("later", map[string]string{"later.go": "package later\n"})
					want = mustGit(t, w.repo.Dir(), nil, "merge-tree", "--write-tree", string(later), mustGit(t, w.repo.Dir(), nil, "commit-tree", "-p", string(tip), "-m", "x", string(good)+"^{tree}"))
					if strings.HasPrefix(c.name, "to") {
						want = w.tree(good)
					}
				}
				head := w.head()
				req := c.ask(n, tip, good)
				req.Story = rollback.Story{Reason: "checkout fails for everybody", By: "ada"}
				req.Labels, req.Authors = []string{"rollback"}, true
				var res rollback.RevertResult
				var err error
				got := w.waves(func() { res, err = w.Revert(t.Context(), req) })
				if err != nil {
					t.Fatal(err)
				}
				if got != c.waves {
					t.Errorf("%d waves, want %d", got, c.waves)
				}
				if res.Outcome != rollback.RevertOpened || res.Method != c.want || res.Tree != want || len(res.Notes) > 0 {
					t.Errorf("%+v, want tree %s", res, want)
				}
				w.check(res, head)
				p, ok := w.repo.Pull(res.PR.Number)
				if !ok || !slices.Equal(p.Labels, []string{"rollback"}) || !strings.HasPrefix(p.Title, `Revert "`) || !strings.Contains(p.Body, "checkout fails for everybody") || !strings.Contains(p.Body, res.Check) {
					t.Errorf("pull request %+v", p)
				}
				again, err := w.Revert(t.Context(), req)
				if err != nil || again.Outcome != rollback.RevertAdopted || again.PR.Number != res.PR.Number || again.Commit != res.Commit || again.Check != res.Check {
					t.Errorf("again: %+v, %v", again, err)
				}
				if len(w.reverts()) != 1 {
					t.Errorf("open pull requests: %+v", w.reverts())
				}
				w.land(res.PR.Number, "squash")
				if got := w.tree(w.head()); got != want {
					t.Errorf("after the merge the tree is %s, want %s", got, want)
				}
				if strings.HasPrefix(c.name, "to") { // what is after good is another range now
					return
				}
				done, err := w.Revert(t.Context(), req)
				if err != nil || done.Outcome != rollback.RevertAlready || done.PR.Number != res.PR.Number {
					t.Errorf("after the merge: %+v, %v", done, err)
				}
				w.tidy()
			})
		})
	}
}

// A pull request of more commits than one page lists, rebased: all of it is undone, or nothing.
func TestRevertLongRebase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		commits int
		method  string
		older   int // commits on top, and then the log does not reach it
	}{{120, "rebase", 0}, {260, "rebase", 101}, {260, "squash", 101}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			good, before := w.head(), w.tree(w.head())
			var parts []map[string]string
			for i := range c.commits {
				parts = append(parts, map[string]string{fmt.Sprintf("part%03d.go", i): "package pay\n"})
			}
			n, tip := w.pull("feature", "long change", c.method, parts...)
			for i := range c.older {
				w.push("later", map[string]string{"later.go": lines(1+i%50, fmt.Sprint("later ", i))})
			}
			res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
			if err != nil {
				t.Fatal(err)
			}
			if res.Range != (rollback.Range{Good: good, Bad: tip}) || string(res.Method) != c.method || c.older == 0 && res.Tree != before {
				t.Errorf("%s by %s, want %s", res.Range, res.Method, good)
			}
			w.proven(res)
		})
	}
}

func byPR(n int, _, _ rollback.Commit) rollback.RevertRequest { return rollback.RevertRequest{PR: n} }
func byCommit(_ int, bad, _ rollback.Commit) rollback.RevertRequest {
	return rollback.RevertRequest{Commit: bad}
}
func byRange(_ int, bad, good rollback.Commit) rollback.RevertRequest {
	return rollback.RevertRequest{Range: rollback.Range{Good: good, Bad: bad}}
}

// A later change of the same lines: nothing is opened, nothing is left, and everything needed to finish is said. The
// commands do what they say.
func TestRevertConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"}), "new.go": "package pay\n"})
	m, _ := w.pull("fix", "later fix", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})})
	_, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	var c *rollback.RevertConflict
	if !errors.As(err, &c) {
		t.Fatalf("%v", err)
	}
	if len(c.Files) != 1 || c.Files[0].Path != "pay.go" || len(c.Files[0].Since) != 1 || c.Files[0].Since[0].PR != m || c.Unlisted != "" {
		t.Errorf("%+v", c)
	}
	if text := err.Error(); !strings.Contains(text, "; both changed pay.go") {
		t.Error(text)
	}
	w.tidy()
	if len(w.reverts()) != 0 {
		t.Errorf("opened %+v", w.reverts())
	}
	if facts := strings.Join(c.Facts(), "\n"); !strings.Contains(facts, fmt.Sprintf("later fix, part 1 (#%d) (octocat) #%d", m, m)) {
		t.Error(facts)
	}
}

// What is printed for a revert that conflicts does what it says, whatever the conflict is: pasted into a clone it stops
// before anything unresolved is committed, and typed with the conflict resolved it ends with one commit that says what a
// revert's says.
func TestConflictByHand(t *testing.T) {
	t.Parallel()
	bad := edit(pay, map[int]string{2: "bad"})
	long := lines(40, "memo")
	for _, c := range []struct {
		name             string
		bad, later, hand map[string]string
		want             map[string]string // "" for none
	}{
		{"content", map[string]string{"pay.go": bad}, map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})},
			map[string]string{"pay.go": pay}, map[string]string{"pay.go": pay}},
		{"content with whitespace at line ends", map[string]string{"pay.go": bad}, map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})},
			map[string]string{"pay.go": edit(pay, map[int]string{2: "both \t"})}, map[string]string{"pay.go": edit(pay, map[int]string{2: "both \t"})}},
		{"rename and delete", map[string]string{"pay.go": "", "cash.go": edit(pay, map[int]string{2: "bad"})}, map[string]string{"cash.go": ""},
			map[string]string{"pay.go": pay, "cash.go": ""}, map[string]string{"pay.go": pay, "cash.go": ""}},
		{"deleted since", map[string]string{"pay.go": bad, "extra.go": "package pay\n"}, map[string]string{"pay.go": ""},
			map[string]string{"pay.go": ""}, map[string]string{"pay.go": "", "extra.go": ""}},
		{"deleted since, and wanted back", map[string]string{"pay.go": bad}, map[string]string{"pay.go": ""},
			map[string]string{"pay.go": pay}, map[string]string{"pay.go": pay}},
		{"beside a rename that merges", map[string]string{"pay.go": bad, "memo.txt": edit(long, map[int]string{2: "bad"})},
			map[string]string{"pay.go": edit(pay, map[int]string{2: "later"}), "memo.txt": "", "notes/memo.md": edit(long, map[int]string{2: "bad", 30: "later"})},
			map[string]string{"pay.go": pay}, map[string]string{"pay.go": pay, "memo.txt": "", "notes/memo.md": edit(long, map[int]string{30: "later"})}},
		{"added on both sides", map[string]string{"pay.go": ""}, map[string]string{"pay.go": "another\n"},
			map[string]string{"pay.go": pay}, map[string]string{"pay.go": pay}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			w.push("memo", map[string]string{"memo.txt": long})
			sha := w.push("It's bad [skip ci]", c.bad)
			head := w.push("later", c.later)
			req := rollback.RevertRequest{Commit: sha, Story: rollback.Story{Reason: "customers can't pay"}}
			_, err := w.Revert(t.Context(), req)
			var conflict *rollback.RevertConflict
			if !errors.As(err, &conflict) {
				t.Fatal(err)
			}
			at := w.byHand(conflict.Commands, c.hand)
			branch := rollback.RevertBranch(rollback.BranchPrefix, conflict.Range, 1)
			const title = `Revert "It's bad (skip ci)"`
			if got, want := mustGit(t, w.repo.Dir(), nil, "log", "-1", "--format=%P%n%B", branch), string(head)+"\n"+title+"\n\nReason: customers can't pay\n\n"+conflict.Range.Trailer(); strings.TrimSpace(got) != want {
				t.Errorf("the commit is\n%s\nwant\n%s", got, want)
			}
			for path, text := range c.want {
				if got, ok := w.repo.File(branch, path); got != text || ok != (text != "") {
					t.Errorf("%s: %q, want %q", path, got, text)
				}
			}
			// gh, as it hears it from the shell.
			out, err := shell(t, at, "gh() { printf '%s\\n' \"$@\"; }; "+conflict.Commands[len(conflict.Commands)-1])
			if want := strings.Join([]string{"pr", "create", "--base", "main", "--head", branch, "--title", title, "--body", "Reason: customers can't pay", "", conflict.Range.Trailer(), ""}, "\n"); err != nil || out != want {
				t.Errorf("%v: gh hears\n%s\nwant\n%s", err, out, want)
			}
			// Opened, it is what the next run finds.
			n, err := w.repo.OpenPull(fakegh.PullOptions{Head: branch, Title: title, Body: conflict.Range.Trailer()})
			w.must(err)
			if res, err := w.Revert(t.Context(), req); err != nil || res.Outcome != rollback.RevertAdopted || res.PR.Number != n || res.Unverified == "" {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "PAY-7: bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"}), "db/migration/V2__x.sql": "create\n", "go.sum": "b\n"})
	w.push("later", map[string]string{"pay.go": edit(edit(pay, map[int]string{2: "bad"}), map[int]string{15: "later"})})
	w.server.Reset()
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.server.Requests() {
		if r.Method != http.MethodGet && r.Op != "graphql:repository" && r.Op != "graphql:PullRequests" {
			t.Errorf("a dry run has sent %s", r.Op)
		}
	}
	if res.Outcome != rollback.RevertPlanned || !slices.Equal(res.Overlap, []string{"pay.go"}) || !slices.Equal(res.Keys, []string{"PAY-7"}) ||
		rollback.DiffStat(res.Files) != "3 files changed, 2 insertions(+), 3 deletions(-)" {
		t.Errorf("%+v: %s", res, rollback.DiffStat(res.Files))
	}
	var kinds []string
	for _, r := range res.Risks {
		kinds = append(kinds, r.Name)
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"Flyway", "lock file"}) {
		t.Errorf("risks %v", kinds)
	}
}

// A revert is reverted, and the title says so; then the first one can be made again.
func TestReland(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	with := w.tree(w.head())
	first, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil {
		t.Fatal(err)
	}
	without := first.Tree
	w.land(first.PR.Number, "squash")
	second, err := w.Revert(t.Context(), rollback.RevertRequest{PR: first.PR.Number, Reland: true})
	if err != nil || second.Tree != with || !strings.HasPrefix(second.PR.Title, `Reapply "bad change`) {
		t.Fatalf("%+v, %v", second, err)
	}
	w.check(second, w.head())
	w.land(second.PR.Number, "merge")
	third, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || third.Outcome != rollback.RevertOpened || third.Tree != without || third.PR.Number == first.PR.Number {
		t.Fatalf("%+v, %v", third, err)
	}
	w.check(third, w.head())
}

// A merged revert stands, even where later changes of the same lines would keep it from being made again.
func TestRevertedAndChangedSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	first, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil {
		t.Fatal(err)
	}
	w.land(first.PR.Number, "squash")
	w.push("later", map[string]string{"pay.go": edit(pay, map[int]string{2: "better"})})
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertAlready || res.PR.Number != first.PR.Number || len(res.Notes) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	w.tidy()
}

// The base moves while the revert is made: it is made again on the new tip. Where it never stops moving, that is said.
func TestBaseMoves(t *testing.T) {
	t.Parallel()
	for _, times := range []int{1, 2, 99} {
		w := newWorld(t, fakegh.RepositoryOptions{})
		n, _ := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
		w.push("later", map[string]string{"later.go": "package later\n"})
		moved := 0
		w.server.Inject(fake.Fault{Op: "git/create-ref", Hold: func(r *http.Request) {
			if moved++; moved <= 2*times {
				w.push("meanwhile", map[string]string{"other.go": lines(moved, "other")})
			}
		}})
		res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
		if times == 99 {
			if rollback.KindOf(err) != rollback.Conflict || len(w.reverts()) != 0 {
				t.Errorf("%+v, %v", res, err)
			}
			if branches, _ := w.repo.Branches(); len(branches) != 2 {
				t.Errorf("branches %v", branches)
			}
			w.tidy()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.check(res, w.head())
		if len(w.reverts()) != 1 {
			t.Errorf("%+v", w.reverts())
		}
	}
}

// The base moves while the revert is made, and then it conflicts: the branch that was made before is gone, so that the one
// made by hand can be pushed. One that somebody has made theirs stays, and gets another name beside it.
func TestConflictAfterClaim(t *testing.T) {
	t.Parallel()
	for _, theirs := range []bool{false, true} {
		w := newWorld(t, fakegh.RepositoryOptions{})
		bad := w.push("bad change", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
		var once sync.Once
		w.server.Inject(fake.Fault{Op: "git/get-ref", Hold: func(*http.Request) {
			once.Do(func() { w.push("meanwhile", map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})}) })
		}})
		name := rollback.RevertBranch(rollback.BranchPrefix, rollback.Range{Good: rollback.Commit(mustGit(t, w.repo.Dir(), nil, "rev-parse", "main~1")), Bad: bad}, 1)
		if theirs {
			w.commit(name, "my own try", map[string]string{"mine.txt": "mine\n"})
		}
		_, err := w.Revert(t.Context(), rollback.RevertRequest{Commit: bad})
		var conflict *rollback.RevertConflict
		if !errors.As(err, &conflict) {
			t.Fatal(err)
		}
		branches, _ := w.repo.Branches()
		want := []string{"main"}
		if theirs {
			want, name = append(want, name), name+"-2"
		}
		if slices.Sort(branches); !slices.Equal(branches, want) {
			t.Errorf("branches %v, want %v", branches, want)
		}
		if text := strings.Join(conflict.Commands, "\n"); !strings.Contains(text, "git switch -C "+name+" ") {
			t.Errorf("want branch %s in\n%s", name, text)
		}
	}
}

// Commits that are not on the branch, pull requests that are not merged or go elsewhere, ranges the wrong way round.
func TestRevertRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	root := w.head()
	bad := w.push("bad change", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	stray := w.commit("hotfix", "bad change", map[string]string{"hot.go": "package hot\n"})
	open, err := w.repo.OpenPull(fakegh.PullOptions{Head: "hotfix", Title: "hotfix"})
	if err != nil {
		t.Fatal(err)
	}
	w.push("later", map[string]string{"later.go": "package later\n"})
	for _, c := range []struct {
		name string
		req  rollback.RevertRequest
		kind rollback.CallKind
		text string
	}{
		{"nothing", rollback.RevertRequest{}, rollback.Rejected, "say what to undo"},
		{"two things", rollback.RevertRequest{PR: 1, Commit: bad}, rollback.Rejected, "say what to undo"},
		{"no commit", rollback.RevertRequest{Commit: "main"}, rollback.Rejected, "7 to 40 hex digits"},
		{"path", rollback.RevertRequest{Commit: "../../../user"}, rollback.Rejected, "7 to 40 hex digits"},
		{"stray", rollback.RevertRequest{Commit: stray}, rollback.Rejected, "is not on main; " + bad.Short() + " there has the same title"},
		{"unknown", rollback.RevertRequest{Commit: "0123456789012345678901234567890123456789"}, rollback.NotFound, "has no commit 0123456"},
		{"root", rollback.RevertRequest{Commit: root}, rollback.Rejected, "first commit"},
		{"open", rollback.RevertRequest{PR: open}, rollback.Rejected, "open, not merged"},
		{"no pull request", rollback.RevertRequest{PR: 4711}, rollback.NotFound, "404"},
		{"wrong way round", rollback.RevertRequest{Range: rollback.Range{Good: bad, Bad: root}}, rollback.Rejected, "does not lie before"},
		{"same", rollback.RevertRequest{To: w.head()}, rollback.Rejected, "nothing to undo"},
		{"good elsewhere", rollback.RevertRequest{Range: rollback.Range{Good: stray, Bad: bad}}, rollback.Rejected, "does not lie before"},
	} {
		res, err := w.Revert(t.Context(), c.req)
		if rollback.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %+v, %v", c.name, res, err)
		}
	}
	if len(w.reverts()) != 0 {
		t.Errorf("opened %+v", w.reverts())
	}
	w.tidy()
}

// People's own reverts: GitHub's button, and a branch of that name with somebody's work on it.
func TestAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, tip := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	good := rollback.Commit(mustGit(t, w.repo.Dir(), nil, "rev-parse", string(tip)+"^"))
	w.commit("revert-1-feature", `Revert "bad change"`, map[string]string{"pay.go": pay})
	button, err := w.repo.OpenPull(fakegh.PullOptions{Head: "revert-1-feature", Title: `Revert "bad change"`, Body: "Reverts acme/payments#1"})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertAdopted || res.PR.Number != button || res.Unverified != "" || len(res.Notes) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	w.check(res, tip)
	if err := w.repo.ClosePull(button, "octocat"); err != nil {
		t.Fatal(err)
	}
	// Our name, somebody else's work, no pull request: it is left alone.
	name := rollback.RevertBranch(rollback.BranchPrefix, rollback.Range{Good: good, Bad: tip}, 1)
	theirs := w.commit(name, "my own try", map[string]string{"mine.txt": "mine\n"})
	res, err = w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertOpened || res.PR.Head != name+"-2" {
		t.Fatalf("%+v, %v", res, err)
	}
	w.check(res, w.head())
	if w.repo.Head(name) != string(theirs) {
		t.Error("somebody's branch was moved")
	}
	// Closed by a person and asked for again: the same branch, another pull request.
	if err := w.repo.ClosePull(res.PR.Number, "octocat"); err != nil {
		t.Fatal(err)
	}
	again, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || again.Outcome != rollback.RevertOpened || again.PR.Number == res.PR.Number || again.PR.Head != res.PR.Head {
		t.Fatalf("%+v, %v", again, err)
	}
}

// A pull request that says that it undoes the range is believed no more than its content. What is found to be the exact
// inverse is as good as ours, whoever made it; anything else is never merged and never said to be checked.
func TestClaimsAreVerified(t *testing.T) {
	t.Parallel()
	bad := edit(pay, map[int]string{2: "bad"})
	backdoor := map[string]string{"backdoor.go": "package pay\n"}
	inverse := map[string]string{"pay.go": pay}
	for _, c := range []struct {
		name     string
		later    map[string]string // merged before the pull request is made
		since    map[string]string // and after
		named    bool              // its branch bears the name that ours has
		commits  []map[string]string
		update   bool // somebody brings the branch up to date
		want     string
		opens    bool // beside it, the exact inverse
		conflict bool
	}{
		{name: "the inverse", commits: []map[string]string{inverse}},
		{name: "the inverse, below the tip", later: map[string]string{"later.go": "x\n"}, since: map[string]string{"since.go": "x\n"}, commits: []map[string]string{inverse}},
		{name: "the inverse in two steps", commits: []map[string]string{{"pay.go": "x\n"}, inverse}},
		{name: "the inverse, brought up to date", since: map[string]string{"since.go": "x\n"}, commits: []map[string]string{inverse}, update: true},
		{name: "a backdoor and nothing else", commits: []map[string]string{backdoor}, want: "not that of the exact inverse", opens: true},
		{name: "a backdoor below the inverse", commits: []map[string]string{backdoor, inverse}, want: "not that of the exact inverse", opens: true},
		{name: "a backdoor below the tip", later: map[string]string{"later.go": "x\n"}, commits: []map[string]string{backdoor, inverse}, want: "not that of the exact inverse", opens: true},
		{name: "worked on", named: true, commits: []map[string]string{inverse, {"pay_test.go": "package pay\n"}}, want: "not that of the exact inverse"},
		{name: "by hand, out of a conflict", later: map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})}, commits: []map[string]string{inverse}, want: "conflicts with what came later", conflict: true},
		{name: "by hand, on our branch", later: map[string]string{"pay.go": edit(pay, map[int]string{2: "later"})}, named: true, commits: []map[string]string{inverse}, want: "conflicts with what came later", conflict: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			good := w.head()
			sha := w.push("bad change", map[string]string{"pay.go": bad})
			rng := rollback.Range{Good: good, Bad: sha}
			if c.later != nil {
				w.push("later", c.later)
			}
			branch := "mine"
			if c.named {
				branch = rollback.RevertBranch(rollback.BranchPrefix, rng, 1)
			}
			made := w.head()
			for _, files := range c.commits {
				w.commit(branch, "undo it\n\n"+rng.Trailer(), files)
			}
			n, err := w.repo.OpenPull(fakegh.PullOptions{Head: branch, Title: "undo it", Body: rng.Trailer()})
			w.must(err)
			if c.since != nil {
				made = w.push("since", c.since)
			}
			if c.update {
				_, err := w.repo.Commit(branch, fakegh.Change{Message: "Merge branch 'main'", Parents: []string{"main"}, Files: c.since})
				w.must(err)
			} else if c.since != nil {
				made = rollback.Commit(mustGit(t, w.repo.Dir(), nil, "rev-parse", "main~1"))
			}
			head := w.repo.Head(branch)

			res, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.opens:
				if res.Outcome != rollback.RevertOpened || res.PR.Number == n || res.Unverified != "" || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], c.want) {
					t.Errorf("%+v", res)
				}
				w.check(res, w.head())
			case c.want == "":
				if res.Outcome != rollback.RevertAdopted || res.PR.Number != n || res.Unverified != "" || string(res.Commit) != head || res.Head != made || len(res.Notes) > 0 {
					t.Errorf("%+v, made on %s", res, made)
				}
				w.proven(res)
			default:
				if res.Outcome != rollback.RevertAdopted || res.PR.Number != n || !strings.Contains(res.Unverified, c.want) || res.Commit != "" || res.Check != "" {
					t.Errorf("%+v", res)
				}
			}
			w.tidy()
			if w.repo.Head(branch) != head {
				t.Error("somebody's branch was moved")
			}
			// Whatever is pushed after that, it is not what was checked.
			if m, err := w.Merge(t.Context(), n, sha); !errors.As(err, new(*rollback.HeadMoved)) || m.PR.State != rollback.PullOpen {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
}

// A pull request of a fork is nobody's that is known here: it is not looked into while it is open,
// whatever it says and holds. Once people have merged it, the branch tells what it did.
func TestClaimOfFork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	good := w.head()
	bad := w.push("bad change", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	rng := rollback.Range{Good: good, Bad: bad}
	name := rollback.RevertBranch(rollback.BranchPrefix, rng, 1)
	at := w.commit("copy", "undo it\n\n"+rng.Trailer(), map[string]string{"pay.go": pay})
	n, err := w.repo.OpenPull(fakegh.PullOptions{Head: name, Title: "undo it", Body: rng.Trailer(), Fork: "mallory", At: string(at)})
	w.must(err)
	res, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng})
	if err != nil || res.Outcome != rollback.RevertOpened || res.PR.Number == n || res.PR.Head != name || len(res.Notes) > 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	w.check(res, bad)
	w.must(w.repo.ClosePull(res.PR.Number, "octocat"))
	w.land(n, "squash")
	done, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng})
	if err != nil || done.Outcome != rollback.RevertAlready {
		t.Errorf("%+v, %v", done, err)
	}
}

// The open pull request conflicts with what came later, and the undoing does not: ours is made anew where nobody has touched
// it, and anybody's is put right by the commands that are printed.
func TestOpenPullConflicts(t *testing.T) {
	t.Parallel()
	bad := edit(pay, map[int]string{2: "bad"})
	later := strings.Join(slices.Collect(strings.Lines(bad))[:6], "") + lines(30, "rewritten")
	for _, c := range []struct {
		name string
		work func(w *world, p rollback.PullRequest)
	}{
		{"ours", nil},
		{"worked on", func(w *world, p rollback.PullRequest) {
			w.commit(p.Head, "more", map[string]string{"more.go": "package pay\n"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			good := w.head()
			rng := rollback.Range{Good: good, Bad: w.push("bad change", map[string]string{"pay.go": bad})}
			w.push("move it", map[string]string{"pay.go": "", "pay/pay.go": bad})
			first, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng})
			if err != nil {
				t.Fatal(err)
			}
			w.check(first, w.head())
			if c.work != nil {
				c.work(w, first.PR)
			}
			mover := w.push("move it back, and rewrite most of it", map[string]string{"pay/pay.go": "", "pay.go": later})
			if m, err := w.MergeState(t.Context(), first.PR.Number); err != nil || !m.Conflicts {
				t.Fatalf("%+v, %v", m, err)
			}
			dry, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng, DryRun: true})
			if err != nil || dry.Outcome != rollback.RevertAdopted || len(dry.Notes) != 1 || !strings.Contains(dry.Notes[0], "conflicts with main by now") {
				t.Errorf("%+v, %v", dry, err)
			}
			res, err := w.Revert(t.Context(), rollback.RevertRequest{Range: rng})
			if c.work == nil {
				if err != nil || res.Outcome != rollback.RevertAdopted || res.PR.Number != first.PR.Number || res.PR.HeadCommit != res.Commit || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "made anew on "+mover.Short()) {
					t.Fatalf("%+v, %v", res, err)
				}
				w.check(res, mover)
				if p, _ := w.repo.Pull(res.PR.Number); !strings.Contains(p.Body, res.Check) || p.HeadSHA != string(res.Commit) || len(w.reverts()) != 1 {
					t.Errorf("%+v", p)
				}
				if m, err := w.Merge(t.Context(), res.PR.Number, res.Commit); err != nil || m.PR.State != rollback.PullMerged {
					t.Errorf("%+v, %v", m, err)
				}
				return
			}
			var conflict *rollback.RevertConflict
			if !errors.As(err, &conflict) || conflict.PR.Number != first.PR.Number || !strings.Contains(err.Error(), fmt.Sprintf("#%d, which undoes ", first.PR.Number)) {
				t.Fatalf("%+v, %v", res, err)
			}
			var names []string
			for _, f := range conflict.Files {
				names = append(names, f.Path)
			}
			if !slices.Contains(names, "pay.go") && !slices.Contains(names, "pay/pay.go") {
				t.Errorf("%+v", conflict.Files)
			}
			w.byHand(conflict.Commands, map[string]string{"pay/pay.go": ""}, map[string]string{"pay.go": edit(later, map[int]string{2: "pay 3"})})
			if m, err := w.MergeState(t.Context(), first.PR.Number); err != nil || m.Conflicts || !m.Clean {
				t.Errorf("%+v, %v", m, err)
			}
			if text, _ := w.repo.File(first.PR.Head, "pay.go"); !strings.Contains(text, "pay 3\n") {
				t.Errorf("pay.go:\n%s", text)
			}
		})
	}
}

// byHand types commands in a clone, as one who is on call does: all of them at once first, which must stop before anything
// with a conflict in it is committed; then one by one, with the conflicts resolved at the comment. gh is not at hand. It
// returns the clone.
func (w *world) byHand(commands []string, resolved ...map[string]string) string {
	w.t.Helper()
	refs := func() string { return mustGit(w.t, w.repo.Dir(), nil, "for-each-ref") }
	before := refs()
	work := w.t.TempDir()
	clone := func(name string) string {
		mustGit(w.t, work, nil, "clone", "-q", strings.Replace(w.url, "http://", "http://x-access-token:"+fakegh.Token+"@", 1)+"/acme/payments.git", name)
		return filepath.Join(work, name)
	}
	at := clone("pasted")
	for _, line := range commands {
		if !strings.HasPrefix(line, "gh ") {
			_, _ = shell(w.t, at, line)
		}
	}
	if after := refs(); after != before {
		w.t.Errorf("pasted without a look, something was pushed: %s\nbefore:\n%s", after, before)
	}
	at = clone("typed")
	merged := false
	for _, line := range commands {
		if strings.HasPrefix(line, "gh ") {
			continue
		}
		if strings.HasPrefix(line, "# ") {
			for _, files := range resolved {
				for path, text := range files {
					path = filepath.Join(at, path)
					_ = os.Remove(path)
					if text != "" {
						w.must(os.MkdirAll(filepath.Dir(path), 0o755))
						w.must(os.WriteFile(path, []byte(text), 0o644))
					}
				}
			}
			_, add, _ := strings.Cut(line, "then: ")
			if out, err := shell(w.t, at, add); err != nil {
				w.t.Fatalf("%s: %v\n%s", add, err, out)
			}
			continue
		}
		out, err := shell(w.t, at, line)
		if err != nil && !merged && (strings.HasPrefix(line, "git merge ") || strings.HasPrefix(line, "git cherry-pick ")) {
			merged = true
			continue
		}
		if err != nil {
			w.t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	if !merged {
		w.t.Error("no command met a conflict")
	}
	return at
}

// A wider revert closes the narrower ones of ours, once it is open; what people have made is left alone and named.
func TestSupersede(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	first, _ := w.pull("one", "first change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "one"})})
	second, _ := w.pull("two", "second change", "squash", map[string]string{"pay.go": edit(edit(pay, map[int]string{2: "one"}), map[int]string{15: "two"})})
	good := rollback.Commit(mustGit(t, w.repo.Dir(), nil, "rev-parse", "main~2"))
	narrow, err := w.Revert(t.Context(), rollback.RevertRequest{PR: second})
	if err != nil || narrow.Outcome != rollback.RevertOpened {
		t.Fatalf("%+v, %v", narrow, err)
	}
	w.commit("by-hand", "undo it", map[string]string{"pay.go": pay})
	theirs, err := w.repo.OpenPull(fakegh.PullOptions{Head: "by-hand", Title: "undo it"})
	if err != nil {
		t.Fatal(err)
	}
	older := []int{narrow.PR.Number, theirs, first, 4711}
	wide := rollback.RevertRequest{To: good, Supersedes: older}

	dry := wide
	dry.DryRun = true
	if _, err := w.Revert(t.Context(), dry); err != nil {
		t.Fatal(err)
	}
	if p, _ := w.repo.Pull(narrow.PR.Number); !p.Open {
		t.Fatal("a dry run closed a pull request")
	}

	// It cannot be closed: that is said, and the revert stands.
	w.server.Inject(fake.Fault{Op: "pulls/update", Status: 403, Header: jsonType, Body: `{"message":"Resource not accessible by integration"}`})
	res, err := w.Revert(t.Context(), wide)
	if err != nil || res.Outcome != rollback.RevertOpened {
		t.Fatalf("%+v, %v", res, err)
	}
	notes := strings.Join(res.Notes, "\n")
	for _, want := range []string{
		fmt.Sprintf("#%d could not be closed (", narrow.PR.Number), fmt.Sprintf("#%d was not opened by this program and stays open; close it", theirs), "close #4711: ",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is missing in\n%s", want, notes)
		}
	}
	if strings.Contains(notes, fmt.Sprintf("#%d ", first)) {
		t.Errorf("a merged pull request is named:\n%s", notes)
	}

	// Asked again it is adopted, and what was left open is closed.
	w.server.Clear()
	again, err := w.Revert(t.Context(), wide)
	if err != nil || again.Outcome != rollback.RevertAdopted || again.PR.Number != res.PR.Number || !strings.Contains(strings.Join(again.Notes, "\n"), fmt.Sprintf("#%d is closed: ", narrow.PR.Number)) {
		t.Fatalf("%+v, %v", again, err)
	}
	for number, open := range map[int]bool{narrow.PR.Number: false, theirs: true, res.PR.Number: true} {
		if p, _ := w.repo.Pull(number); p.Open != open || p.Merged {
			t.Errorf("#%d: %+v", number, p)
		}
	}
	if body := func() string { p, _ := w.repo.Pull(res.PR.Number); return p.Body }(); !strings.Contains(body, fmt.Sprintf("| in place of | #%d, #%d, #%d, #4711 |", older[0], older[1], older[2])) {
		t.Errorf("the text does not name them:\n%s", body)
	}
	w.check(again, w.head())
}
