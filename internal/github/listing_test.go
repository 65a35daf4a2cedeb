package github

// Finding the pull requests that matter among all of a repository.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// byREST is what REST says of the newest 100 pull requests into main, and how many bytes that is.
func (w *world) byREST() (list []rollback.PullRequest, size int) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet,
		w.url+"/api/v3/repos/acme/payments/pulls?state=all&base=main&sort=created&direction=desc&per_page=100", http.NoBody)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+fakegh.Token)
	req.Header.Set("User-Agent", "test")
	resp, err := fake.InProcess{Handler: w.server}.RoundTrip(req)
	w.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	w.must(err)
	var all []*gh.PullRequest
	w.must(json.Unmarshal(body, &all))
	for _, p := range all {
		list = append(list, pull(p))
	}
	return list, len(body)
}

// seen is how many answers to questions of a name there were, and how many bytes they had.
func (w *world) seen(op string) (answers, size int) {
	for _, r := range w.server.Requests() {
		if r.Op == op {
			answers, size = answers+1, size+int(r.Bytes)
		}
	}
	return answers, size
}

func (w *world) openPull(o fakegh.PullOptions) int {
	w.t.Helper()
	if o.Title == "" {
		o.Title = o.Head
	}
	n, err := w.repo.OpenPull(o)
	w.must(err)
	return n
}

// GraphQL tells of deleted accounts and forks, of bots, of merges that were only tried and of empty texts in other words than
// REST. What is made of both is the same, but for the texts of what is not open.
func TestPullsAreThoseOfREST(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	branch := func(name string) string {
		t.Helper()
		return string(w.commit(name, "change "+name, map[string]string{name + ".go": "package pay\n"}))
	}
	for _, method := range []string{"squash", "merge", "rebase"} {
		w.pull("by-"+method, "PAY-7: by "+method, method, map[string]string{method + ".go": "1\n"}, map[string]string{method + ".go": "2\n"})
	}
	pushed := branch("pushed")
	w.openPull(fakegh.PullOptions{Head: "pushed", Body: "brought to main by hand"})
	if _, err := w.mergeInto(t.Context(), "main", rollback.Commit(pushed)); err != nil {
		t.Fatal(err)
	}
	branch("closed")
	w.must(w.repo.ClosePull(w.openPull(fakegh.PullOptions{Head: "closed", Body: "never mind"}), "octocat"))
	branch("tried")
	tried := w.openPull(fakegh.PullOptions{Head: "tried", Labels: []string{"rollback"}})
	if m, err := w.MergeState(t.Context(), tried); err != nil || !m.Clean {
		t.Fatalf("%+v, %v", m, err)
	}
	branch("draft")
	text := "<b>html</b> \u2028 \"quotes\" ümläut\r\n" + rollback.Range{Good: rollback.Commit(strings.Repeat("a", 40)), Bad: sha}.Trailer() + "\r\n"
	draft := w.openPull(fakegh.PullOptions{Head: "draft", Draft: true, Body: text})
	branch("of-a-bot")
	w.openPull(fakegh.PullOptions{Head: "of-a-bot", Author: "renovate[bot]", Body: strings.Repeat("a line of a long text\n", 2000)})
	branch("of-nobody")
	w.openPull(fakegh.PullOptions{Head: "of-nobody", Author: "leaver"})
	w.server.DeleteUser("leaver")
	w.openPull(fakegh.PullOptions{Head: "main", Fork: "ada", At: branch("theirs"), Author: "ada"})
	w.openPull(fakegh.PullOptions{Head: "rollback/theirs", Fork: "hubot", At: branch("gone"), Author: "hubot"})
	w.server.DeleteUser("hubot")
	w.repo.DeleteFork("hubot")
	branch("release")
	branch("elsewhere")
	elsewhere := w.openPull(fakegh.PullOptions{Head: "elsewhere", Base: "release"})

	want, _ := w.byREST()
	w.server.Reset()
	l, err := w.pulls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, ids := l.pulls, l.ids
	states, authors := map[rollback.PullState]int{}, map[string]int{}
	var closed []string
	for i, p := range got {
		states[p.State]++
		authors[p.Author]++
		if p.State != rollback.PullOpen {
			closed = append(closed, ids[p.Number])
			want[i].Body = ""
		}
		if p.Number == elsewhere || ids[p.Number] == "" || p.Fork != slices.Contains([]string{"main", "rollback/theirs"}, p.Head) {
			t.Errorf("%+v, %q", p, ids[p.Number])
		}
		if rng, ok := rollback.UndoesIn(p.Body); ok != (p.Number == draft) || ok && rng.Bad != sha {
			t.Errorf("#%d undoes %s", p.Number, rng)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if states[rollback.PullOpen] != 6 || states[rollback.PullMerged] != 4 || states[rollback.PullClosed] != 1 || authors["ghost"] != 2 || authors["renovate[bot]"] != 1 {
		t.Errorf("states %v, authors %v", states, authors)
	}
	if all := w.server.Requests(); len(all) != 1 {
		t.Errorf("%v", all)
	}
	want, _ = w.byREST()
	texts, err := w.texts(t.Context(), closed)
	if err != nil || len(texts) != len(closed) {
		t.Fatalf("%v, %v", texts, err)
	}
	for _, p := range want {
		if text, ok := texts[p.Number]; ok != (p.State != rollback.PullOpen) || ok && text != p.Body {
			t.Errorf("#%d: %q, want %q", p.Number, text, p.Body)
		}
	}
}

// history makes a repository as it is after years: many pull requests with long texts, of which most are merged, some were
// closed and a few are open. It returns the number of the first.
func (w *world) history(many, long int) (first int) {
	w.t.Helper()
	work := w.repo.Head("main")
	for i := range many {
		open := i%12 == 0 && i > 0
		at := string(w.commit("work", "work", map[string]string{fmt.Sprintf("n%03d.txt", i): "n\n"}))
		if open || i%12 == 6 {
			at = string(w.commit("other", "other", map[string]string{fmt.Sprintf("o%03d.txt", i): "o\n"}))
		} else {
			work = at
		}
		n := w.openPull(fakegh.PullOptions{Head: fmt.Sprintf("feature/pay-%d", i), Fork: "ada", At: at, Title: fmt.Sprintf("PAY-%d: Tune the limits of the payment service", i),
			Body: strings.Repeat("Why this is so, and what was tried before.\n", long/43)})
		if i == 0 {
			first = n
		}
		if i%12 == 6 {
			w.must(w.repo.ClosePull(n, "octocat"))
		}
	}
	w.must(w.pointBranch(w.t.Context(), "main", rollback.Commit(work), true)) // which merges those that it holds
	return first
}

// In a repository that has been worked on for years a revert reads a fraction of what REST sends of its pull requests, in as
// many waves as in a new one; and it finds the merged revert there when it is asked for again.
func TestManyPulls(t *testing.T) {
	t.Parallel()
	inWaves(t, fakegh.RepositoryOptions{}, func(t *testing.T, w *world) {
		first := w.history(101, 4000)
		bad := w.push("bad change", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
		w.push("later", map[string]string{"later.go": "package later\n"})
		list, byREST := w.byREST()
		if len(list) != 100 || list[99].Number != first+1 {
			t.Fatalf("%d pull requests, from #%d", len(list), list[len(list)-1].Number)
		}
		states := map[rollback.PullState]int{}
		for _, p := range list {
			states[p.State]++
		}
		req := rollback.RevertRequest{Commit: bad, Labels: []string{"rollback"}}
		revert := func(what string, req rollback.RevertRequest, want rollback.RevertOutcome, waves, texts int) rollback.RevertResult {
			t.Helper()
			w.server.Reset()
			var res rollback.RevertResult
			var err error
			got := w.waves(func() { res, err = w.Revert(t.Context(), req) })
			if err != nil || res.Outcome != want {
				t.Fatalf("%s: %+v, %v", what, res, err)
			}
			lists, size := w.seen("graphql:PullRequests")
			asked, more := w.seen("graphql:PullRequestTexts")
			t.Logf("%s: %d waves, %d kB about pull requests", what, got, (size+more)/1000)
			if lists != 1 || asked != texts || got != waves || size+more > byREST/10 {
				t.Errorf("%s: %d lists and %d texts of %d bytes, REST has %d; %d waves, want %d", what, lists, asked, size+more, byREST, got, waves)
			}
			return res
		}
		t.Logf("%v; REST lists them in %d kB", states, byREST/1000)
		dry := req
		dry.DryRun = true
		revert("dry run", dry, rollback.RevertPlanned, 2, 0)
		opened := revert("revert", req, rollback.RevertOpened, 8, 0)
		if again := revert("again", req, rollback.RevertAdopted, 6, 0); again.PR.Number != opened.PR.Number {
			t.Errorf("%+v", again)
		}
		w.land(opened.PR.Number, "squash")
		for range 2 {
			if done := revert("once it is merged", req, rollback.RevertAlready, 5, 1); done.PR.Number != opened.PR.Number || done.PR.State != rollback.PullMerged {
				t.Errorf("%+v", done)
			}
		}
		if foreseen := revert("dry run, once it is merged", dry, rollback.RevertPlanned, 2, 1); foreseen.PR.Number != opened.PR.Number || len(foreseen.Notes) != 1 {
			t.Errorf("%+v", foreseen)
		}
	})
}

// A merged revert is found by its text alone, also where the log does not reach what it undid.
func TestMergedRevertIsFoundByItsText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, bad := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	good := rollback.Commit(mustGit(t, w.repo.Dir(), nil, "rev-parse", string(bad)+"^"))
	w.commit("by-hand", "as it was", map[string]string{"pay.go": pay})
	revert := w.openPull(fakegh.PullOptions{Head: "by-hand", Title: "as it was", Body: rollback.Range{Good: good, Bad: bad}.Trailer()})
	w.land(revert, "squash")
	w.pull("after", "came after", "squash", map[string]string{"after.go": "package pay\n"})
	check := func(what string) {
		t.Helper()
		w.server.Reset()
		res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
		if asked := w.server.Count("graphql:PullRequestTexts"); err != nil || res.Outcome != rollback.RevertAlready || res.PR.Number != revert || asked != 1 {
			t.Errorf("%s: %+v, %v; asked for texts %d times", what, res, err, asked)
		}
	}
	check("in the log")

	// The texts cannot be read: that it was undone is not made out to be a conflict, or to have no pull request.
	w.server.Fail("graphql:PullRequestTexts", http.StatusForbidden, "Resource not accessible by personal access token", 0)
	if res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n}); rollback.KindOf(err) != rollback.Denied {
		t.Errorf("already: %+v, %v", res, err)
	}
	w.push("later", map[string]string{"pay.go": edit(pay, map[int]string{2: "better"})})
	if res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n}); rollback.KindOf(err) != rollback.Denied {
		t.Errorf("changed since: %+v, %v", res, err)
	}
	w.server.Clear()
	w.push("as it was", map[string]string{"pay.go": pay})

	var in strings.Builder
	for i := range logPage*logPages + 5 {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 2\nx\n", 2000000000+i)
		if i == 0 {
			fmt.Fprintf(&in, "from %s\n", w.head())
		}
		fmt.Fprintf(&in, "M 100644 inline n.txt\ndata 5\n%04d\n\n", i)
	}
	mustGit(t, w.repo.Dir(), []byte(in.String()), "fast-import", "--quiet")
	check("older than the log")
	w.tidy()
}

// There have been more pull requests since than one list has: one that is open is found and not opened twice, one that is merged
// is found page by page, and at once where its number is known.
func TestOldPulls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "bad change", "squash", map[string]string{"bad.go": "package pay\n"})
	w.commit("revert-1-feature", `Revert "bad change"`, map[string]string{"bad.go": ""})
	button := w.openPull(fakegh.PullOptions{Head: "revert-1-feature", Title: `Revert "bad change"`, Body: "Reverts acme/payments#1"})
	merged, _ := w.pull("other", "other change", "squash", map[string]string{"other.go": "package pay\n"})
	undone, err := w.Revert(t.Context(), rollback.RevertRequest{PR: merged})
	w.must(err)
	w.land(undone.PR.Number, "squash")
	for i := range 120 {
		w.openPull(fakegh.PullOptions{Head: fmt.Sprint("old-", i), Fork: "ada", At: w.repo.Head("revert-1-feature"), Title: "Newer"})
		w.must(w.repo.ClosePull(undone.PR.Number+1+i, "octocat"))
	}
	if res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n}); err != nil || res.Outcome != rollback.RevertAdopted || res.PR.Number != button || res.Unverified != "" {
		t.Errorf("%+v, %v", res, err)
	}
	for known, pages := range map[int]int{0: 1, undone.PR.Number: 0, 4711: 1} {
		w.server.Reset()
		res, err := w.Revert(t.Context(), rollback.RevertRequest{PR: merged, Known: known})
		if asked := w.server.Count("graphql:PullRequestsBefore"); err != nil || res.Outcome != rollback.RevertAlready || res.PR.Number != undone.PR.Number || asked != pages {
			t.Errorf("known %d: %+v, %v; asked for older ones %d times, want %d", known, res, err, asked, pages)
		}
	}
}

// Texts are read of those alone that were merged after what is undone.
func TestCanUndo(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := func(n int) rollback.Commit { return rollback.Commit(fmt.Sprintf("%040x", n)) }
	var line []rollback.Change // 4, 3, 2, 1
	for n := 4; n > 0; n-- {
		line = append(line, rollback.Change{Commit: id(n), Date: at.Add(time.Duration(n) * time.Hour)})
	}
	for _, c := range []struct {
		name  string
		bad   rollback.Commit
		state rollback.PullState
		as    rollback.Commit
		when  time.Time
		want  bool
	}{
		{"merged after", id(2), rollback.PullMerged, id(3), at, true},
		{"merged after, says another clock", id(2), rollback.PullMerged, id(4), at.AddDate(0, 0, -9), true},
		{"merged before", id(2), rollback.PullMerged, id(1), at, false},
		{"merged before, says another clock", id(2), rollback.PullMerged, id(1), at.AddDate(0, 0, 9), false},
		{"brought it", id(2), rollback.PullMerged, id(2), at, false},
		{"at the tip", id(4), rollback.PullMerged, id(3), at, false},
		{"open", id(2), rollback.PullOpen, "", time.Time{}, false},
		{"closed", id(2), rollback.PullClosed, "", time.Time{}, false},
		{"not in the log, and later", id(2), rollback.PullMerged, id(9), at.Add(3 * time.Hour), true},
		{"not in the log, and about the same time", id(2), rollback.PullMerged, id(9), at.Add(-20 * time.Hour), true},
		{"not in the log, and long before", id(2), rollback.PullMerged, id(9), at.AddDate(0, 0, -2), false},
		{"as nobody knows what", id(2), rollback.PullMerged, "", at.Add(3 * time.Hour), true},
		{"the log does not reach it", id(8), rollback.PullMerged, id(1), at.AddDate(-1, 0, 0), true},
	} {
		r := &reverting{log: branchLog{line: line}}
		r.res.Range = rollback.Range{Good: id(0), Bad: c.bad}
		p := rollback.PullRequest{State: c.state, MergeCommit: c.as, MergedAt: c.when}
		if got := r.canUndo(p); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
		if p.Fork = true; r.canUndo(p) {
			t.Errorf("%s, from a fork", c.name)
		}
	}
}

// Our branch is ours: neither what a fork calls the same, nor what was closed, nor what goes elsewhere.
func TestOpenFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	const head = "rollback/revert-x"
	none := func(what string) {
		t.Helper()
		if p, err := w.openFrom(t.Context(), head); err != nil || p.Number != 0 {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	none("nothing")
	tip := w.commit(head, "x", map[string]string{"x.go": "package pay\n"})
	w.openPull(fakegh.PullOptions{Head: head, Fork: "ada", At: string(tip)})
	w.openPull(fakegh.PullOptions{Head: head, Fork: "hubot", At: string(tip)})
	w.repo.DeleteFork("hubot")
	none("forks")
	w.commit("release", "release", map[string]string{"release.go": "package pay\n"})
	w.openPull(fakegh.PullOptions{Head: head, Base: "release"})
	w.must(w.repo.ClosePull(w.openPull(fakegh.PullOptions{Head: head}), "octocat"))
	none("another base, and closed")
	want := w.openPull(fakegh.PullOptions{Head: head})
	if p, err := w.openFrom(t.Context(), head); err != nil || p.Number != want || p.HeadCommit != tip || p.Base != "main" {
		t.Errorf("%+v, %v", p, err)
	}
	w.repo.Rename("acme/billing")
	_, err := w.pulls(t.Context())
	for _, err := range []error{err, second(w.openFrom(t.Context(), head))} {
		if moved := (*Moved)(nil); !errors.As(err, &moved) || moved.To != "acme/billing" {
			t.Errorf("after a rename: %v", err)
		}
	}
}

// A list that does not have yet what was opened a moment ago leads to no second pull request.
func TestListBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	n, _ := w.pull("feature", "bad change", "squash", map[string]string{"pay.go": edit(pay, map[int]string{2: "bad"})})
	first, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil {
		t.Fatal(err)
	}
	const empty = `{"data":{"repository":{"nameWithOwner":"acme/payments","pullRequests":{"nodes":[]},"open":{"nodes":[]}}}}`
	w.server.Inject(fake.Fault{Op: "graphql:PullRequests", Status: http.StatusOK, Header: jsonType, Body: empty, Times: 1})
	again, err := w.Revert(t.Context(), rollback.RevertRequest{PR: n})
	if err != nil || again.Outcome != rollback.RevertAdopted || again.PR.Number != first.PR.Number || len(w.reverts()) != 1 {
		t.Errorf("%+v, %v; open: %+v", again, err, w.reverts())
	}
	w.tidy()
}

// Answers that list nothing are not answers that list no pull requests: taken for those, they would lead to a second revert.
func TestListsThatAreNone(t *testing.T) {
	t.Parallel()
	const good = `{"id":"PR_1","number":1,"state":"OPEN","baseRefName":"main"}`
	in := func(pulls, open string) string {
		return `{"data":{"repository":{"nameWithOwner":"acme/payments","pullRequests":` + pulls + `,"open":` + open + `}}}`
	}
	for _, c := range []struct {
		body       string
		list, from rollback.CallKind // "" if it is taken
		texts      rollback.CallKind
		listed     int
	}{
		{body: in(`{"nodes":[`+good+`]}`, `{"nodes":[]}`), listed: 1, texts: rollback.Broken},
		{body: in(`{"nodes":[null,`+good+`,null]}`, `{"nodes":[null]}`), listed: 1, texts: rollback.Broken},
		{body: in(`{"nodes":[]}`, `{"nodes":[]}`), texts: rollback.Broken},
		{body: in(`{"nodes":[{"number":1,"state":"OPEN","baseRefName":"release"}]}`, `{"nodes":[]}`), texts: rollback.Broken},
		{body: in(`{"nodes":[]}`, `null`), list: rollback.Broken, texts: rollback.Broken},
		{body: in(`{"nodes":[]}`, `{"nodes":null}`), list: rollback.Broken, texts: rollback.Broken},
		{body: in(`{"nodes":null}`, `{"nodes":[]}`), list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: in(`null`, `null`), list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: in(`{"nodes":[{}]}`, `{"nodes":[]}`), list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: in(`{"nodes":[{"number":1,"state":"LOCKED","baseRefName":"main"}]}`, `{"nodes":[]}`), list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: in(`[]`, `[]`), list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: `{"data":{"repository":null}}`, list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: `{"data":{"repository":{"nameWithOwner":"acme/billing"}}}`, list: rollback.Rejected, from: rollback.Rejected, texts: rollback.Broken},
		{body: `{"data":null}`, list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: `{"data":{"nodes":[{"number":1,"body":"x"}]}}`, list: rollback.Broken, from: rollback.Broken},
		{body: `{"data":{"nodes":[null]}}`, list: rollback.Broken, from: rollback.Broken, texts: rollback.Broken},
		{body: `{"data":{"repository":{"nameWithOwner":"acme/payments","pullRequests":null}},"errors":[{"type":"FORBIDDEN","path":["repository","pullRequests"],"message":"Resource not accessible by personal access token"}]}`,
			list: rollback.Denied, from: rollback.Denied, texts: rollback.Denied},
		{body: `{"data":{"repository":{"nameWithOwner":"acme/payments","pullRequests":{"nodes":[` + good + `]}}},"errors":[{"message":"Something went wrong while executing your query."}]}`,
			list: rollback.ServerFault, from: rollback.ServerFault, texts: rollback.ServerFault},
		{body: `{"errors":[{"type":"NOT_FOUND","message":"Could not resolve to a Repository"}]}`, list: rollback.NotFound, from: rollback.NotFound, texts: rollback.NotFound},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(rw, c.body)
		}))
		f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "x"})
		if err != nil {
			t.Fatal(err)
		}
		l, err := f.pulls(t.Context())
		list := l.pulls
		if rollback.KindOf(err) != c.list || len(list) != c.listed {
			t.Errorf("%s: %+v, %v", c.body, list, err)
		}
		if p, err := f.openFrom(t.Context(), "rollback/x"); rollback.KindOf(err) != c.from || p.Number != 0 {
			t.Errorf("%s: %+v, %v", c.body, p, err)
		}
		if texts, err := f.texts(t.Context(), []string{"PR_1"}); rollback.KindOf(err) != c.texts || err == nil && texts[1] != "x" {
			t.Errorf("%s: %v, %v", c.body, texts, err)
		}
		f.Close()
		web.Close()
	}
}
