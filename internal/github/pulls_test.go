package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// One call tells the newest commits with what people want to know of them; merge commits stand for what they brought.
func TestRecent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	w.server.AddUser("ada", "Ada L", "ada@example.com")
	squash, _ := w.pull("one", "first", "squash", map[string]string{"1": "1\n"}, map[string]string{"1": "2\n"})
	rebase, _ := w.pull("two", "second", "rebase", map[string]string{"2": "1\n"}, map[string]string{"2": "2\n"})
	merge, _ := w.pull("three", "third", "merge", map[string]string{"3": "1\n"}, map[string]string{"3": "2\n"})
	pushed := w.push("by hand\n\nand why", map[string]string{"4": "4\n"})
	w.server.Reset()
	list, err := w.Recent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(w.server.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	var prs []int
	for i, c := range list {
		prs = append(prs, c.PR)
		if len(c.Commit) != 40 || c.Title == "" || strings.Contains(c.Title, "\n") || c.Author != "octocat" || c.Date.IsZero() || c.URL == "" {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if want := []int{0, merge, rebase, rebase, squash, 0}; !slices.Equal(prs, want) || list[0].Commit != pushed || len(list[1].Parents) != 2 {
		t.Errorf("pull requests %v, want %v", prs, want)
	}
	if got := strings.Split(mustGit(t, w.repo.Dir(), nil, "log", "--first-parent", "--format=%H", "main"), "\n"); len(got) != len(list) || got[5] != string(list[5].Commit) {
		t.Errorf("%v, want %v", list, got)
	}
}

// Every gate is named.
func TestMergeState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options fakegh.RepositoryOptions
		set     func(w *world, n int)
		missing []string // parts, in order
		clean   bool
	}{
		{"nothing missing", fakegh.RepositoryOptions{}, func(*world, int) {}, nil, true},
		{"computed on the way", fakegh.RepositoryOptions{MergeableAfter: 2}, func(*world, int) {}, nil, true},
		{"reviews", fakegh.RepositoryOptions{}, func(w *world, _ int) { w.repo.Protect(fakegh.Protection{Branch: "main", Reviews: 2}) }, []string{"2 approving reviews"}, false},
		{"reviews, classic", fakegh.RepositoryOptions{}, func(w *world, _ int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Reviews: 1, Classic: true})
		}, []string{"an approving review"}, false},
		{"changes requested", fakegh.RepositoryOptions{}, func(w *world, n int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Reviews: 1})
			w.must(w.repo.Review(n, "hubot", "CHANGES_REQUESTED"))
		}, []string{"a reviewer asks for changes"}, false},
		{"checks", fakegh.RepositoryOptions{}, func(w *world, n int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci/test", "ci/lint", "ci/build"}})
			w.must(w.repo.SetStatus("feature", "ci/test", "pending"))
			w.must(w.repo.SetCheckRun("feature", "ci/build", "completed", "failure"))
			w.must(w.repo.SetCheckRun("feature", "optional", "completed", "failure"))
		}, []string{"required check ci/build: failure", "required check ci/lint: has not reported", "required check ci/test: pending"}, false},
		{"more checks than a page", fakegh.RepositoryOptions{}, func(w *world, n int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci/101", "ci/119", "ci/120", "ci/none"}})
			for i := 1; i <= 120; i++ {
				state := "success"
				if i == 120 {
					state = "pending"
				}
				w.must(w.repo.SetStatus("feature", fmt.Sprint("ci/", i), state))
			}
		}, []string{"required check ci/120: pending", "required check ci/none: has not reported"}, false},
		{"checks, classic", fakegh.RepositoryOptions{}, func(w *world, n int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci/test"}, Classic: true})
		}, []string{"required check ci/test: has not reported"}, false},
		{"conflict", fakegh.RepositoryOptions{}, func(w *world, _ int) { w.push("later", map[string]string{"pay.go": "other\n"}) }, []string{"it conflicts with main"}, false},
		{"behind", fakegh.RepositoryOptions{}, func(w *world, _ int) {
			w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci"}, Strict: true})
			w.must(w.repo.SetStatus("feature", "ci", "success"))
			w.push("later", map[string]string{"later.go": "x\n"})
		}, []string{"brought up to date with main"}, false},
		{"closed", fakegh.RepositoryOptions{}, func(w *world, n int) { w.must(w.repo.ClosePull(n, "octocat")) }, []string{"closed without being merged"}, false},
		{"queue", fakegh.RepositoryOptions{}, func(w *world, _ int) { w.repo.Protect(fakegh.Protection{Branch: "main", MergeQueue: true}) }, []string{"the merge queue"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.options)
			n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
			c.set(w, n)
			m, err := w.MergeState(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			got := m.Missing()
			slices.Sort(got)
			fits := len(got) == len(c.missing)
			for i := range c.missing {
				fits = fits && strings.Contains(got[i], c.missing[i])
			}
			if !fits || m.Clean != c.clean || m.PR.Number != n || m.PR.Base != "main" || m.PR.HeadCommit != rollback.Commit(w.repo.Head("feature")) || len(m.Notes) > 0 {
				t.Errorf("missing %q, want %q; %+v", got, c.missing, m)
			}
		})
	}
}

// The right to read checks is a right of its own. Without it the state is told all the same, with what is not known.
func TestMergeStateWithoutChecks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		deny    []string
		missing []string
		noted   bool
	}{
		{nil, []string{"required check ci: in progress", "required check lint: pending"}, false},
		{[]string{"checks:read"}, []string{"required check ci: cannot be read", "required check lint: pending"}, true},
		{[]string{"statuses:read"}, []string{"required check ci: in progress", "required check lint: cannot be read"}, true},
		{[]string{"checks:read", "statuses:read"}, []string{"required check ci: cannot be read", "required check lint: cannot be read"}, true},
	} {
		t.Run(strings.Join(c.deny, " and "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
			w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci", "lint"}})
			w.must(w.repo.SetCheckRun("feature", "ci", "in_progress", ""))
			w.must(w.repo.SetStatus("feature", "lint", "pending"))
			w.server.Deny(c.deny...)
			m, err := w.MergeState(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			got := m.Missing()
			slices.Sort(got)
			if !slices.Equal(got, c.missing) || m.Clean {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
			if noted := strings.Contains(strings.Join(m.Notes, "\n"), "needs checks: read and commit statuses: read"); noted != c.noted || len(m.Notes) > 1 {
				t.Errorf("notes %q", m.Notes)
			}
		})
	}
	w := newWorld(t, fakegh.RepositoryOptions{}) // any other refusal is one of the whole
	n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
	w.server.Deny("pull_requests:read", "pull_requests:write")
	if m, err := w.MergeState(t.Context(), n); rollback.KindOf(err) != rollback.Denied {
		t.Errorf("%+v, %v", m, err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) opened(branch string, files map[string]string) int {
	w.t.Helper()
	w.commit(branch, "change", files)
	n, err := w.repo.OpenPull(fakegh.PullOptions{Head: branch, Title: "change"})
	w.must(err)
	return n
}

func TestMerge(t *testing.T) {
	t.Parallel()
	t.Run("now", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{NoSquash: true})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
		if err != nil || m.PR.State != rollback.PullMerged || m.PR.MergeCommit != w.head() || m.PR.MergedAt.IsZero() {
			t.Fatalf("%+v, %v", m, err)
		}
		again, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
		if err != nil || again.PR.MergeCommit != m.PR.MergeCommit || w.server.Count("pulls/merge") != 1 {
			t.Errorf("again: %+v, %v", again, err)
		}
		p, err := w.PullRequest(t.Context(), n)
		if err != nil || p.State != rollback.PullMerged || p.MergeCommit != w.head() {
			t.Errorf("%+v, %v", p, err)
		}
	})
	t.Run("when the check is green", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{AutoMerge: true})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.repo.Protect(fakegh.Protection{Branch: "main", Checks: []string{"ci"}})
		for range 2 {
			m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
			if err != nil || !m.AutoMerge || m.PR.State != rollback.PullOpen || !slices.Equal(m.Missing(), []string{"required check ci: has not reported"}) {
				t.Fatalf("%+v, %v", m, err)
			}
		}
		w.must(w.repo.SetStatus("feature", "ci", "success"))
		m, err := w.MergeState(t.Context(), n)
		if err != nil || m.PR.State != rollback.PullMerged {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("auto-merge not allowed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.repo.Protect(fakegh.Protection{Branch: "main", Reviews: 1})
		m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
		if rollback.KindOf(err) != rollback.Rejected || !strings.Contains(rollback.FixOf(err), "allow auto-merge") || len(m.Missing()) != 1 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("queue", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{AutoMerge: true})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.repo.Protect(fakegh.Protection{Branch: "main", MergeQueue: true})
		m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
		if err != nil || !m.Queued || len(m.Missing()) != 1 || !strings.Contains(m.Missing()[0], "the merge queue (position") {
			t.Fatalf("%+v, %v, %q", m, err, m.Missing())
		}
		if _, err := w.repo.MergeQueued("squash"); err != nil {
			t.Fatal(err)
		}
		if m, err = w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature"))); err != nil || m.PR.State != rollback.PullMerged {
			t.Errorf("%+v, %v", m, err)
		}
	})
	// Who may merge past the queue does not: between the look and the call it became mergeable.
	t.Run("queue, mergeable meanwhile", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{AutoMerge: true})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.repo.Protect(fakegh.Protection{Branch: "main", MergeQueue: true, Checks: []string{"ci"}})
		w.server.Inject(fake.Fault{Op: "graphql:enablePullRequestAutoMerge", Times: 1, Hold: func(*http.Request) { w.must(w.repo.SetStatus("feature", "ci", "success")) },
			Status: 200, Header: jsonType, Body: `{"data":{"enablePullRequestAutoMerge":null},"errors":[{"type":"UNPROCESSABLE","path":["enablePullRequestAutoMerge"],"message":"Pull request Pull request is in clean status"}]}`})
		m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
		if err != nil || !m.Queued || m.PR.State != rollback.PullOpen || w.server.Count("pulls/merge") != 0 {
			t.Errorf("%+v, %v, merged directly %d times", m, err, w.server.Count("pulls/merge"))
		}
	})
	// Something else is merged at the same moment: it is tried again, and does not fail for good.
	t.Run("base moved", func(t *testing.T) {
		t.Parallel()
		for _, times := range []int{1, 99} {
			w := newWorld(t, fakegh.RepositoryOptions{})
			n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
			w.server.Inject(fake.Fault{Op: "pulls/merge", Times: times, Status: 405, Header: jsonType, Body: `{"message":"Base branch was modified. Review and try the merge again."}`})
			m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature")))
			if times == 1 && (err != nil || m.PR.State != rollback.PullMerged) {
				t.Errorf("%+v, %v", m, err)
			}
			if times == 99 && (rollback.KindOf(err) != rollback.Conflict || rollback.FixOf(err) == "" || m.PR.State != rollback.PullOpen || w.server.Count("pulls/merge") != rounds) {
				t.Errorf("%+v, %v after %d tries", m, err, w.server.Count("pulls/merge"))
			}
		}
	})
	t.Run("answer lost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.server.Inject(fake.Fault{Op: "pulls/merge", After: true, Drop: true})
		if m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature"))); err != nil || m.PR.State != rollback.PullMerged {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("pushed meanwhile", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fakegh.RepositoryOptions{})
		n := w.opened("feature", map[string]string{"pay.go": "mine\n"})
		w.server.Inject(fake.Fault{Op: "pulls/merge", Hold: func(*http.Request) { w.commit("feature", "more", map[string]string{"x": "y\n"}) }, Times: 1})
		if m, err := w.Merge(t.Context(), n, rollback.Commit(w.repo.Head("feature"))); rollback.KindOf(err) != rollback.Conflict || rollback.FixOf(err) == "" || m.PR.State != rollback.PullOpen {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

// GitHub asks to wait: a short while is waited for, in writes too.
func TestSecondaryLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "change", "squash", map[string]string{"f.go": "package pay\n"})
	w.server.SecondaryLimit("pulls/create", 403, 2*time.Second, 1)
	w.server.SecondaryLimit("graphql:repository", 429, time.Second, 1)
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertOpened || !slices.Equal(w.pauses.all(), []time.Duration{time.Second, 2 * time.Second}) {
		t.Errorf("%+v, %v, slept %v", res, err, w.pauses.all())
	}
	w.server.SecondaryLimit("graphql:repository", 403, time.Minute, 1)
	_, err = w.Recent(t.Context())
	if e := asCall(err); e == nil || e.Kind != rollback.Throttled || e.RetryAfter != time.Minute {
		t.Errorf("%v", err)
	}
}

// GraphQL speaks of limits in answers of 200: they are waited for as those of REST are, or told.
func TestLimitInsideAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "change", "squash", map[string]string{"f.go": "package pay\n"})
	w.server.SecondaryLimit("graphql:PullRequests", 200, 2*time.Second, 1)
	res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || res.Outcome != rollback.RevertOpened || !slices.Equal(w.pauses.all(), []time.Duration{2 * time.Second}) {
		t.Errorf("%+v, %v, slept %v", res, err, w.pauses.all())
	}
	reset := time.Now().Add(20 * time.Minute)
	w.server.RateLimit(0, reset)
	_, err = w.pulls(t.Context())
	if e := asCall(err); e == nil || e.Kind != rollback.Throttled || e.RetryAfter < 19*time.Minute || e.RetryAfter > 21*time.Minute || !strings.Contains(e.Fix, "wait") || e.Code != "RATE_LIMIT" {
		t.Errorf("%v", err)
	}
	w.server.RateLimit(1000, reset)

	const primary, named = `{"errors":[{"type":"RATE_LIMIT","code":"graphql_rate_limit","message":"API rate limit already exceeded for user ID 1."}]}`,
		`{"data":null,"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`
	const secondary = `{"errors":[{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}]}`
	soon := fmt.Sprint(time.Now().Add(2 * time.Second).Unix())
	for _, c := range []struct {
		name, body string
		header     http.Header
		wait       time.Duration // at most
		sent       int
	}{
		{"primary", primary, jsonType, time.Minute, 1},
		{"primary, by its other name", named, jsonType, time.Minute, 1},
		{"primary, about to end", primary, with(jsonType, "X-RateLimit-Remaining", "17", "X-RateLimit-Reset", soon), 2 * time.Second, 3},
		{"primary, with a time", named, with(jsonType, "Retry-After", "3"), 3 * time.Second, 3},
		{"secondary", secondary, with(jsonType, "X-RateLimit-Remaining", "17", "X-RateLimit-Reset", soon), time.Minute, 1},
		{"secondary, with a time", secondary, with(jsonType, "Retry-After", "1"), time.Second, 3},
		{"secondary, for long", secondary, with(jsonType, "Retry-After", "600"), 10 * time.Minute, 1},
		{"both", secondary, with(jsonType, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", soon), 2 * time.Second, 3},
	} {
		for _, k := range calls {
			if !slices.Contains([]string{"log", "access", "pull requests", "pull requests from", "texts", "auto-merge", "queue"}, k.name) {
				continue
			}
			w.server.Clear()
			w.server.Reset()
			w.server.Inject(fake.Fault{Op: "graphql:*", Status: http.StatusOK, Header: c.header, Body: c.body})
			e := asCall(k.do(t.Context(), w.Forge))
			if e == nil || e.Kind != rollback.Throttled || e.RetryAfter <= 0 || e.RetryAfter > c.wait || e.RetryAfter < c.wait-2*time.Second || e.Fix == "" || e.Maybe {
				t.Errorf("%s, %s: %+v", c.name, k.name, e)
			}
			if sent := w.server.Count("graphql:*"); sent != c.sent {
				t.Errorf("%s, %s: sent %d times, want %d", c.name, k.name, sent, c.sent)
			}
		}
	}
}
