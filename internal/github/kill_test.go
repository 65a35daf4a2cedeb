package github

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// mortal is a transport that dies: from one request on nothing goes out any more, as if the process had been killed.
type mortal struct {
	next http.RoundTripper
	// lost says that the last request goes out, and its answer is never seen.
	lost bool

	mu   sync.Mutex
	left int
}

var errKilled = errors.New("killed")

func (m *mortal) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	m.left--
	left := m.left
	m.mu.Unlock()
	if left > 0 || left == 0 && m.lost {
		resp, err := m.next.RoundTrip(req)
		if left == 0 && err == nil {
			resp.Body.Close()
			return nil, errKilled
		}
		return resp, err
	}
	return nil, errKilled
}

// The process is killed at any request, before it is sent or before its answer came, and the command is given again: one
// pull request, one branch, no temporary one, the right tree.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("answer lost %t", lost), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			w.server.AddUser("hubot", "Hubot", "hubot@example.com")
			const most = 16
			var numbers []int
			for i := range most {
				n, _ := w.pull(fmt.Sprint("feature-", i), fmt.Sprint("change ", i), "squash", map[string]string{fmt.Sprintf("f%02d.go", i): "package pay\n"})
				numbers = append(numbers, n)
			}
			w.push("later", map[string]string{"later.go": "package later\n"})
			finished := 0
			for i, n := range numbers {
				f, _ := w.forge(Config{Token: fakegh.Token})
				dying := &mortal{next: f.guard.next, lost: lost, left: i + 1}
				f.guard.next = dying
				req := rollback.RevertRequest{PR: n, Labels: []string{"rollback"}, Reviewers: []string{"hubot"}}
				_, err := f.Revert(t.Context(), req)
				dying.next.(*http.Transport).CloseIdleConnections()
				if err == nil {
					finished++
				}
				res, err := w.Revert(t.Context(), req)
				if err != nil {
					t.Fatalf("killed at request %d, then: %v", i+1, err)
				}
				if len(w.reverts()) != i+1 {
					t.Fatalf("killed at request %d: %d pull requests, want %d", i+1, len(w.reverts()), i+1)
				}
				if p, _ := w.repo.Pull(res.PR.Number); !slices.Equal(p.Labels, req.Labels) || !slices.Equal(p.Reviewers, req.Reviewers) {
					t.Errorf("killed at request %d: labels %v, reviewers %v", i+1, p.Labels, p.Reviewers)
				}
				if _, gone := w.repo.File(string(res.Commit), fmt.Sprintf("f%02d.go", i)); gone || res.Tree == w.tree(w.head()) {
					t.Errorf("killed at request %d: the change is still there", i+1)
				}
				branches, err := w.repo.Branches()
				if err != nil {
					t.Fatal(err)
				}
				if c, err := w.repo.Show(res.PR.Head); err != nil || c.SHA != string(res.Commit) || len(c.Parents) != 1 || c.Parents[0] != w.repo.Head("main") {
					t.Errorf("killed at request %d: the branch is at %+v, %v", i+1, c, err)
				}
				if want := 1 + most + i + 1; len(branches) != want { // main, the features, one for each revert
					t.Fatalf("killed at request %d: %d branches, want %d: %v", i+1, len(branches), want, branches)
				}
			}
			if finished == 0 || finished == most {
				t.Errorf("%d of %d runs were not killed: the test does not reach from the first request to the last", finished, most)
			}
		})
	}
}

// A lost answer in the middle of a run is looked up, and the run goes on.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	for i, op := range []string{"git/create-commit", "git/create-ref", "repos/merge", "git/delete-ref", "pulls/create"} {
		n, _ := w.pull(fmt.Sprint("feature-", i), fmt.Sprint("change ", i), "squash", map[string]string{fmt.Sprintf("f%02d.go", i): "package pay\n"})
		w.push("later", map[string]string{"later.go": lines(i+1, "later")})
		w.server.Clear()
		w.server.Inject(fake.Fault{Op: op, After: true, Drop: true, Times: 1})
		res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
		if err != nil || res.Outcome != rollback.RevertOpened {
			t.Errorf("%s: %+v, %v", op, res, err)
			continue
		}
		w.check(res, w.head())
		if len(w.reverts()) != i+1 {
			t.Errorf("%s: %d pull requests", op, len(w.reverts()))
		}
	}
}

// A temporary branch that cannot be deleted does not keep the revert from being opened; what to do is said. A context that
// ends in the middle does not keep the temporary branch from being deleted.
func TestCleanup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "change", "squash", map[string]string{"f.go": "package pay\n"})
	w.push("later", map[string]string{"later.go": "package later\n"})
	w.server.Inject(fake.Fault{Op: "git/delete-ref", Status: 403, Header: jsonType, Body: `{"message":"Resource not accessible by integration"}`})
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertOpened || len(res.Notes) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	w.server.Clear()
	if _, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n}); err != nil {
		t.Fatal(err)
	}
	w.tidy()

	n, _ = w.pull("feature-2", "change 2", "squash", map[string]string{"g.go": "package pay\n"})
	w.push("later", map[string]string{"later.go": "package later2\n"})
	for _, op := range []string{"repos/merge", "git/create-commit"} {
		ctx, cancel := contextWithCancel(t)
		skip := 0
		if op == "git/create-commit" {
			skip = 1
		}
		w.server.Clear()
		w.server.Inject(fake.Fault{Op: op, Skip: skip, Hold: func(*http.Request) { cancel() }})
		if _, err := w.Revert(ctx, rollback.RevertRequest{PR: n}); rollback.KindOf(err) != rollback.Unreachable {
			t.Errorf("%s: %v", op, err)
		}
		cancel()
		w.tidy()
	}
}
