package github

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a loopback GitHub with acme/payments on it, and a forge that does not really sleep.
type world struct {
	*Forge
	t      *testing.T
	server *fakegh.Server
	repo   *fakegh.Repository
	url    string
	pauses *pauses
	// virtual is that of a test in virtual time: without a network.
	virtual bool
}

type pauses struct {
	mu    sync.Mutex
	slept []time.Duration
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slept = append(p.slept, d)
	return ctx.Err()
}

func (p *pauses) all() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.slept)
}

func newWorld(t *testing.T, o fakegh.RepositoryOptions) *world {
	t.Helper()
	return makeWorld(t, o, false)
}

// latency is what each call takes in a test that counts waves: those of its calls that wait for another's answer.
const latency = 100 * time.Millisecond

// inWaves runs a test in virtual time, where a call takes the latency and nothing else: git's own time does not count.
func inWaves(t *testing.T, o fakegh.RepositoryOptions, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { test(t, makeWorld(t, o, true)) })
}

// waves is how many calls of do waited for one another.
func (w *world) waves(do func()) int {
	w.server.Latency(latency)
	defer w.server.Latency(0)
	begun := time.Now()
	do()
	return int(time.Since(begun) / latency)
}

func makeWorld(t *testing.T, o fakegh.RepositoryOptions, virtual bool) *world {
	t.Helper()
	s, err := fakegh.New(fakegh.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Strict(reporter{t})
	w := &world{t: t, server: s, url: "http://127.0.0.1", virtual: virtual}
	if !virtual {
		web := httptest.NewServer(s)
		t.Cleanup(web.Close)
		w.url = web.URL
	}
	t.Cleanup(s.Close) // before the web's, so that hanging requests end
	repo, err := s.CreateRepository("acme/payments", o)
	if err != nil {
		t.Fatal(err)
	}
	w.repo = repo
	w.push("root", map[string]string{"README.md": lines(10, "readme"), "pay.go": lines(20, "pay"), "go.sum": "a\n"})
	w.Forge, w.pauses = w.forge(Config{Token: fakegh.Token, TokenFrom: "GITHUB_TOKEN"})
	return w
}

// reporter fails the test at a breach of GitHub's contract. Two are GitHub's own: a label that was made on the way has no
// description, where the contract says that every label of a pull request has one; and a pull request whose fork was
// deleted has no repository that it comes from.
type reporter struct{ t *testing.T }

func (r reporter) Helper() { r.t.Helper() }

func (r reporter) Errorf(format string, args ...any) {
	r.t.Helper()
	text := fmt.Sprintf(format, args...)
	if !strings.Contains(text, "description: null is not allowed") && !strings.Contains(text, "head.repo: null is not allowed") {
		r.t.Error(text)
	}
}

// forge makes a client of the world.
func (w *world) forge(c Config) (*Forge, *pauses) {
	w.t.Helper()
	c.BaseURL = w.url
	if c.Repo == "" {
		c.Repo = "acme/payments"
	}
	if c.Branch == "" {
		c.Branch = "main"
	}
	f, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &pauses{}
	f.guard.pause = p.sleep
	if w.virtual {
		f.guard.next = fake.InProcess{Handler: w.server}
	}
	f.guard.timeout = time.Minute // git is slow on a busy machine; what hangs is in faults_test.go
	w.t.Cleanup(f.Close)
	return f, p
}

// push commits to main; an empty text deletes a file.
func (w *world) push(title string, files map[string]string) rollback.Commit {
	w.t.Helper()
	return w.commit("main", title, files)
}

func (w *world) commit(branch, title string, files map[string]string) rollback.Commit {
	w.t.Helper()
	c := fakegh.Change{Message: title, Files: map[string]string{}}
	for p, text := range files {
		if text == "" {
			c.Delete = append(c.Delete, p)
		} else {
			c.Files[p] = text
		}
	}
	sha, err := w.repo.Commit(branch, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return rollback.Commit(sha)
}

// pull merges a pull request of some commits, each with its own files.
func (w *world) pull(branch, title, method string, commits ...map[string]string) (int, rollback.Commit) {
	w.t.Helper()
	for i, files := range commits {
		w.commit(branch, fmt.Sprintf("%s, part %d", title, i+1), files)
	}
	n, err := w.repo.OpenPull(fakegh.PullOptions{Head: branch, Title: title, Author: "octocat"})
	if err != nil {
		w.t.Fatal(err)
	}
	return n, w.land(n, method)
}

func (w *world) land(n int, method string) rollback.Commit {
	w.t.Helper()
	sha, err := w.repo.Merge(n, method, "octocat")
	if err != nil {
		w.t.Fatal(err)
	}
	return rollback.Commit(sha)
}

func (w *world) head() rollback.Commit { return rollback.Commit(w.repo.Head("main")) }

func (w *world) tree(rev rollback.Commit) string {
	w.t.Helper()
	return mustGit(w.t, w.repo.Dir(), nil, "rev-parse", string(rev)+"^{tree}")
}

// edit is a file of lines with some of them changed.
func edit(text string, changes map[int]string) string {
	all := slices.Collect(strings.Lines(text))
	for i, l := range changes {
		all[i] = l + "\n"
	}
	return strings.Join(all, "")
}

// check holds a result against the repository: one commit on the head, the tree it says, and the printed command agrees.
func (w *world) check(res rollback.RevertResult, head rollback.Commit) {
	w.t.Helper()
	if res.Head != head {
		w.t.Errorf("computed on %s, the tip is %s", res.Head, head)
	}
	dir := w.repo.Dir()
	if got := mustGit(w.t, dir, nil, "log", "-1", "--format=%P %T", string(res.Commit)); got != string(head)+" "+res.Tree {
		w.t.Errorf("the commit has parents and tree %q, want %s %s", got, head, res.Tree)
	}
	if at := w.repo.Head(res.PR.Head); at != string(res.Commit) {
		w.t.Errorf("branch %s is at %s, want %s", res.PR.Head, at, res.Commit)
	}
	w.proven(res)
	w.tidy()
}

// proven runs the command that the pull request prints, in a work tree as a reviewer has one.
func (w *world) proven(res rollback.RevertResult) {
	w.t.Helper()
	work := w.t.TempDir()
	mustGit(w.t, work, nil, "init", "-q")
	mustGit(w.t, work, nil, "fetch", "-q", w.repo.Dir(), "+refs/heads/*:refs/remotes/origin/*")
	if out, err := shell(w.t, work, res.Check); err != nil || out != "" {
		w.t.Errorf("%s: %v\n%s", res.Check, err, out)
	}
}

// tidy makes sure that no temporary branch is left.
func (w *world) tidy() {
	w.t.Helper()
	branches, err := w.repo.Branches()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range branches {
		if strings.HasPrefix(b, rollback.TempBranchPrefix) {
			w.t.Errorf("branch %s is left", b)
		}
	}
}

// reverts are the open pull requests that the forge has opened.
func (w *world) reverts() []fakegh.Pull {
	var list []fakegh.Pull
	for _, p := range w.repo.OpenPulls() {
		if strings.HasPrefix(p.Head, rollback.BranchPrefix) {
			list = append(list, p)
		}
	}
	return list
}
