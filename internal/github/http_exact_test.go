package github

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// httpHistories is how many random histories go through the adapter and HTTP.
const httpHistories = 250

// What TestMergeIsGitRevert shows of the merge, held against the whole adapter: the tree of the pull request is what
// `git revert` gives in a work tree, or both conflict. Pushed commits and ranges; ways of merging are TestRevert's.
func TestPullRequestIsGitRevert(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(20261123, 2))
	s, err := fakegh.New(fakegh.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Strict(reporter{t})
	web := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); web.Close() })
	repo, err := s.CreateRepository("acme/payments", fakegh.RepositoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", fakegh.Change{Message: "root", Files: map[string]string{"README.md": "x\n"}}); err != nil {
		t.Fatal(err)
	}
	marks := 0
	var stories []*story
	for range httpHistories {
		stories = append(stories, newStory(rnd, &marks))
	}
	write(t, repo.Dir(), stories)
	work := t.TempDir()
	if err := borrow(t, work, repo.Dir()); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for i, st := range stories {
		for _, p := range st.all {
			p.pr = 0 // nobody opened a pull request for it here
		}
		st.prs = nil
		w := wish(t, rnd, st)
		want, err := byGit(t, work, w)
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: fmt.Sprintf("story-%d", i), Token: fakegh.Token, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		res, err := f.Revert(t.Context(), rollback.RevertRequest{Range: w.rng})
		if w.what != "range" && errors.As(err, new(*rollback.CallError)) || w.what != "range" && rnd.IntN(2) == 0 {
			res, err = f.Revert(t.Context(), rollback.RevertRequest{Commit: w.rng.Bad})
		}
		f.Close()
		conflict := errors.As(err, new(*rollback.RevertConflict))
		switch {
		case err != nil && !conflict:
			t.Errorf("history %d, %s: %v", i, w.what, err)
		case conflict && want == "":
			count["both conflict"]++
		case conflict != (want == ""):
			if len(w.stepwise) == 1 {
				t.Errorf("history %d, %s: git revert gives %q, ours is %+v, %v", i, w.what, want, res, err)
			}
			count["exception"]++
		case res.Outcome == rollback.RevertAlready:
			if want != w.head.treeSHA {
				t.Errorf("history %d, %s: already reverted, but git revert gives %s", i, w.what, want)
			}
			count["already reverted"]++
		case res.Tree != want && len(w.stepwise) > 1:
			count["exception"]++
		case res.Tree != want || res.Head != w.head.sha:
			t.Errorf("history %d, %s: git revert gives %s, ours is %+v", i, w.what, want, res)
		default:
			if out, err := shell(t, work, res.Check); err != nil || out != "" {
				t.Errorf("history %d, %s: %s: %v\n%s", i, w.what, res.Check, err, out)
			}
			count["same tree"]++
		}
		if res.PR.Number != 0 { // the more there are, the longer the fake takes to list them
			if err := repo.ClosePull(res.PR.Number, "octocat"); err != nil {
				t.Fatal(err)
			}
			repo.ForgetPulls()
		}
	}
	t.Logf("%d histories over HTTP: %v", httpHistories, count)
	if count["same tree"] < httpHistories/3 || count["both conflict"] == 0 || count["exception"] > 3*httpHistories/100 {
		t.Errorf("%v", count)
	}
	branches, err := repo.Branches()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range branches {
		if len(b) > len(rollback.TempBranchPrefix) && b[:len(rollback.TempBranchPrefix)] == rollback.TempBranchPrefix {
			t.Errorf("branch %s is left", b)
		}
	}
}
