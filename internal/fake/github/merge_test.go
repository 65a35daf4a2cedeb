package github

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMergeMethods(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	two := func(branch string) (int, []string) {
		t.Helper()
		a, err := r.Commit(branch, Change{Message: branch + " one\n\nbody one", Author: "alice", Files: map[string]string{branch: "1"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Commit(branch, Change{Message: branch + " two", Author: "bob", Files: map[string]string{branch: "2"}})
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.OpenPull(PullOptions{Head: branch, Title: "Title of " + branch, Author: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		return n, []string{a, b}
	}
	show := func(rev string) CommitInfo {
		t.Helper()
		k, err := r.Show(rev)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := r.Head("main")

	n, commits := two("m")
	sha, err := r.Merge(n, "merge", "carol")
	if err != nil {
		t.Fatal(err)
	}
	k := show(sha)
	equal(t, "merge's parents", strings.Join(k.Parents, " "), base+" "+commits[1])
	equal(t, "merge's message", k.Message, fmt.Sprintf("Merge pull request #%d from acme/m\n\nTitle of m", n))
	equal(t, "pull of a merged commit", c.want(200, "GET", payments+"/commits/"+commits[0]+"/pulls", nil).at(0, "number"), any(float64(n)))

	n, _ = two("s")
	if sha, err = r.Merge(n, "squash", "carol"); err != nil {
		t.Fatal(err)
	}
	k = show(sha)
	equal(t, "squash's parents", len(k.Parents), 1)
	equal(t, "squash's message", k.Message, fmt.Sprintf("Title of s (#%d)\n\n* s one\n\nbody one\n\n* s two", n))
	equal(t, "squash's author", k.AuthorName, "alice")
	equal(t, "squash is signed", k.Verified, true)
	before := sha

	n, commits = two("r")
	c.commit(r, "main", "meanwhile", map[string]string{"meanwhile": "x"})
	onto := r.Head("main")
	if sha, err = r.Merge(n, "rebase", "carol"); err != nil {
		t.Fatal(err)
	}
	k = show(sha)
	first := show(k.Parents[0])
	equal(t, "rebased onto", first.Parents[0], onto)
	equal(t, "rebased message", first.Message, "r one\n\nbody one")
	equal(t, "rebased author", k.AuthorName, "bob")
	if slices.Contains(commits, sha) || slices.Contains(commits, first.SHA) {
		t.Error("a rebase keeps the commits' names")
	}
	for _, one := range []string{sha, first.SHA} {
		equal(t, "pull of a rebased commit", c.want(200, "GET", payments+"/commits/"+one+"/pulls", nil).at(0, "number"), any(float64(n)))
	}
	equal(t, "merge commit is the last", c.want(200, "GET", fmt.Sprintf("%s/pulls/%d", payments, n), nil).at("merge_commit_sha"), any(sha))
	if text, ok := r.File("main", "meanwhile"); !ok || text != "x" {
		t.Error("the rebase lost what was on the base")
	}

	// Two commits that conflict with each other's base only when picked one by one.
	c.commit(r, "x", "x", map[string]string{"m": "x"})
	if _, err := r.Commit("y", Change{Message: "y", From: before, Files: map[string]string{"m": "y"}}); err != nil {
		t.Fatal(err)
	}
	n = mustOpen(t, r, "x")
	if _, err := r.Merge(n, "rebase", "carol"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Merge(mustOpen(t, r, "y"), "rebase", "carol"); err == nil {
		t.Error("a conflict was rebased")
	}
	// A push that contains a pull request's commits merges it.
	n = c.open(r, "pushed", "pushed", map[string]string{"pushed": "x"})
	dir := t.TempDir()
	c.git(".", "clone", "--quiet", c.remote(), dir)
	c.git(dir, "merge", "--quiet", "--no-ff", "-m", "by hand", "origin/pushed")
	c.git(dir, "push", "--quiet", "origin", "main")
	p, _ := r.Pull(n)
	equal(t, "merged by the push", p.Merged, true)
	equal(t, "merge commit", p.MergeCommit, c.git(dir, "rev-parse", "HEAD"))
	c.git(c.s.Repository("acme/payments").Dir(), "fsck", "--strict", "--no-dangling")
}

func mustOpen(t *testing.T, r *Repository, branch string) int {
	t.Helper()
	n, err := r.OpenPull(PullOptions{Head: branch, Title: branch})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMergeableIsComputedLater(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{MergeableAfter: 2})
	n := c.open(r, "fee", "fee", map[string]string{"pay.go": "x"})
	pr := fmt.Sprintf("%s/pulls/%d", payments, n)
	for range 2 {
		got := c.want(200, "GET", pr, nil)
		equal(t, "mergeable", got.at("mergeable"), nil)
		equal(t, "state", got.at("mergeable_state"), any("unknown"))
		equal(t, "merge commit", got.at("merge_commit_sha"), nil)
	}
	got := c.want(200, "GET", pr, nil)
	equal(t, "mergeable", got.at("mergeable"), any(true))
	test, _ := got.at("merge_commit_sha").(string)
	if k, err := r.Show(test); err != nil || len(k.Parents) != 2 || test == r.Head("main") {
		t.Errorf("the test merge is %v, %v", k, err)
	}
	c.commit(r, "main", "meanwhile", map[string]string{"pay.go": "y"}) // starts again
	query := `query($n:Int!){repository(owner:"acme",name:"payments"){pullRequest(number:$n){mergeable mergeStateStatus potentialMergeCommit{oid} mergeCommit{oid}}}}`
	for _, want := range []string{"UNKNOWN", "UNKNOWN", "CONFLICTING"} {
		equal(t, "mergeable", c.mustAsk(query, obj{"n": n}).at("data", "repository", "pullRequest", "mergeable"), any(want))
	}
}

func TestProtection(t *testing.T) {
	t.Parallel()
	type step struct {
		do    func(r *Repository, n int) error
		state string
		says  string // of the refused merge; "" if it merges
	}
	approve := func(r *Repository, n int) error { return r.Review(n, "bob", "APPROVED") }
	object := func(r *Repository, n int) error { return r.Review(n, "bob", "CHANGES_REQUESTED") }
	check := func(state string) func(*Repository, int) error {
		return func(r *Repository, _ int) error { return r.SetStatus("fee", "build", state) }
	}
	tests := []struct {
		name   string
		rule   Protection
		method string
		steps  []step
	}{
		{"reviews", Protection{Branch: "main", Reviews: 1}, "squash", []step{
			{nil, "blocked", "At least 1 approving review is required by reviewers with write access."},
			{object, "blocked", "Changes have been requested."},
			{approve, "clean", ""},
		}},
		{"checks", Protection{Branch: "ma*", Checks: []string{"build"}}, "merge", []step{
			{nil, "blocked", `Required status check \"build\" is expected.`},
			{check("pending"), "blocked", `Required status check \"build\" is in progress.`},
			{check("failure"), "blocked", `Required status check \"build\" is failing.`},
			{check("success"), "clean", ""},
		}},
		{"classic checks", Protection{Branch: "main", Checks: []string{"build", "lint"}, Classic: true}, "merge", []step{
			{nil, "blocked", "2 of 2 required status checks have not succeeded: build, lint."},
			{check("success"), "blocked", `Required status check \"lint\" is expected.`},
			{func(r *Repository, _ int) error { return r.SetCheckRun("fee", "lint", "completed", "skipped") }, "clean", ""},
		}},
		{"a check that is not required", Protection{Branch: "main", PullRequest: true}, "merge", []step{{check("failure"), "unstable", ""}}},
		{"up to date", Protection{Branch: "main", Checks: []string{"build"}, Strict: true}, "merge", []step{
			{func(r *Repository, _ int) error {
				_, err := r.Commit("main", Change{Message: "meanwhile", Files: map[string]string{"x": "x"}})
				return err
			}, "blocked", "build"},
			{check("success"), "behind", "must be up to date"},
		}},
		{"linear history", Protection{Branch: "~DEFAULT_BRANCH", LinearHistory: true}, "merge", []step{{nil, "clean", "must not contain merge commits"}}},
		{"linear history, squashed", Protection{Branch: "~DEFAULT_BRANCH", LinearHistory: true}, "squash", []step{{nil, "clean", ""}}},
		{"signed commits", Protection{Branch: "~DEFAULT_BRANCH", SignedCommits: true}, "merge", []step{{nil, "clean", "verified signatures"}}},
		{"signed commits, squashed", Protection{Branch: "~DEFAULT_BRANCH", SignedCommits: true}, "squash", []step{{nil, "clean", ""}}},
		{"merge queue", Protection{Branch: "main", MergeQueue: true}, "squash", []step{{nil, "clean", "Changes must be made through the merge queue"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, Options{})
			r := c.repo(RepositoryOptions{})
			n := c.open(r, "fee", "fee", map[string]string{"pay.go": "x"})
			r.Protect(tt.rule)
			pr := fmt.Sprintf("%s/pulls/%d", payments, n)
			for _, s := range tt.steps {
				if s.do != nil {
					if err := s.do(r, n); err != nil {
						t.Fatal(err)
					}
				}
				equal(t, "state", c.want(200, "GET", pr, nil).at("mergeable_state"), any(s.state))
				if s.says == "" {
					c.want(200, "PUT", pr+"/merge", obj{"merge_method": tt.method})
					continue
				}
				if got := c.want(405, "PUT", pr+"/merge", obj{"merge_method": tt.method}); !strings.Contains(got.text, s.says) {
					t.Errorf("got %s, want %q", got.text, s.says)
				}
			}
		})
	}
}

// TestDirectChanges is what a protected branch lets through beside pull requests.
func TestDirectChanges(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	first := r.Head("main")
	c.commit(r, "main", "second", map[string]string{"x": "x"})
	side := c.commit(r, "side", "side", map[string]string{"y": "y"})
	r.Protect(Protection{Branch: "main", PullRequest: true})
	r.Protect(Protection{Branch: "locked/**", NoCreation: true})
	r.Protect(Protection{Branch: "signed", SignedCommits: true})
	dir := t.TempDir()
	c.git(".", "clone", "--quiet", c.remote(), dir)
	c.git(dir, "commit", "--quiet", "--allow-empty", "-m", "direct")

	for _, tt := range []struct {
		name, method, path string
		body               any
		status             int
		says               string
	}{
		{"move", "PATCH", "/git/refs/heads/main", obj{"sha": side}, 422, "Changes must be made through a pull request."},
		{"force", "PATCH", "/git/refs/heads/main", obj{"sha": first, "force": true}, 422, "Repository rule violations found"},
		{"merge", "POST", "/merges", obj{"base": "main", "head": "side"}, 403, "Changes must be made through a pull request."},
		{"create", "POST", "/git/refs", obj{"ref": "refs/heads/locked/a/b", "sha": first}, 422, "Cannot create ref due to creations being restricted."},
		{"unsigned", "POST", "/git/refs", obj{"ref": "refs/heads/signed", "sha": c.unsigned(r, first)}, 422, "Commits must have verified signatures."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.want(tt.status, tt.method, payments+tt.path, tt.body); !strings.Contains(got.text, tt.says) {
				t.Errorf("got %s, want %q", got.text, tt.says)
			}
		})
	}
	for _, tt := range []struct {
		name, says string
		args       []string
	}{
		{"push", "Changes must be made through a pull request.", []string{"HEAD:main"}},
		{"force", "pull request", []string{"--force", first + ":main"}},
		{"delete", "refusing to delete the current branch", []string{"--delete", "main"}},
		{"create", "creations being restricted", []string{"HEAD:refs/heads/locked/a"}},
		{"unsigned", "verified signatures", []string{"HEAD:refs/heads/signed"}},
	} {
		t.Run("git "+tt.name, func(t *testing.T) {
			if out, err := c.tryGit(dir, append([]string{"push", "origin"}, tt.args...)...); err == nil || !strings.Contains(out, tt.says) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	c.git(dir, "push", "--quiet", "origin", "HEAD:refs/heads/free")
	r.Unprotect()
	r.Protect(Protection{Branch: "main", LinearHistory: true})
	c.git(dir, "merge", "--quiet", "--no-ff", "-m", "merge", "origin/side")
	if out, err := c.tryGit(dir, "push", "origin", "HEAD:main"); err == nil || !strings.Contains(out, "merge commits") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := c.tryGit(dir, "push", "--force", "origin", first+":main"); err == nil || !strings.Contains(out, "force-push") {
		t.Errorf("%v: %s", err, out)
	}
	c.git(dir, "push", "--quiet", "origin", "HEAD~1:main")
	r.Unprotect()
	c.git(dir, "push", "--quiet", "--force", "origin", first+":main")
}

// unsigned is a commit object on no branch.
func (c *client) unsigned(r *Repository, parent string) string {
	c.t.Helper()
	k, err := r.Show(parent)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.want(201, "POST", payments+"/git/commits", obj{"message": "unsigned", "tree": k.Tree, "parents": []string{parent}}).at("sha").(string)
}

func TestClones(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	var pushes []Push
	c.s.OnPush(func(p Push) { pushes = append(pushes, p) })
	for i := range 5 {
		c.commit(r, "main", fmt.Sprint(i), map[string]string{"n": fmt.Sprint(i), "big": strings.Repeat(fmt.Sprint(i), 4000)})
	}
	n := c.open(r, "fee", "fee", map[string]string{"pay.go": "x"})
	tmp := t.TempDir()

	c.git(tmp, "clone", "--quiet", "--depth=1", c.remote(), "shallow")
	equal(t, "shallow", c.git(filepath.Join(tmp, "shallow"), "rev-list", "--count", "HEAD"), "1")
	c.git(tmp, "clone", "--quiet", "--filter=blob:none", "--no-checkout", c.remote(), "blobless")
	blobless := filepath.Join(tmp, "blobless")
	missing := strings.Count(c.git(blobless, "rev-list", "--objects", "--missing=print", "HEAD"), "\n?")
	if missing == 0 {
		t.Error("a blobless clone has all blobs")
	}
	c.git(blobless, "checkout", "--quiet", "HEAD~1")
	equal(t, "fetched on demand", c.git(blobless, "show", "HEAD:n"), "3")
	c.git(blobless, "fetch", "--quiet", "origin", fmt.Sprintf("pull/%d/head", n))
	equal(t, "a pull request's ref", c.git(blobless, "rev-parse", "FETCH_HEAD"), r.Head("fee"))

	c.git(tmp, "clone", "--quiet", c.remote(), "full")
	full := filepath.Join(tmp, "full")
	// More than http.postBuffer goes in chunks.
	if err := os.WriteFile(filepath.Join(full, "noise"), noise(3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	c.git(full, "add", "noise")
	c.git(full, "commit", "--quiet", "-m", "noise")
	pushes = nil
	c.git(full, "push", "--quiet", "origin", "HEAD:refs/heads/noise", "HEAD:refs/heads/more/noise")
	equal(t, "pushed", r.Head("noise"), c.git(full, "rev-parse", "HEAD"))
	if len(pushes) != 2 || pushes[0].Branch != "more/noise" || pushes[0].Before != "" || pushes[0].By != Login {
		t.Errorf("pushes: %+v", pushes)
	}
	c.git(full, "push", "--quiet", "origin", "--delete", "noise", "fee")
	if out, err := c.tryGit(full, "push", "origin", "HEAD:refs/pull/9/head"); err == nil || !strings.Contains(out, "hidden ref") {
		t.Errorf("push to refs/pull: %v: %s", err, out)
	}
	p, _ := r.Pull(n)
	equal(t, "closed with its branch", p.Open, false)
	equal(t, "not merged", p.Merged, false)

	for name, url := range map[string]string{
		"no credentials": c.url + "/acme/payments.git",
		"wrong ones":     strings.Replace(c.url, "http://", "http://x:wrong@", 1) + "/acme/payments.git",
		"no such":        strings.Replace(c.remote(), "payments", "none", 1),
	} {
		if out, err := c.tryGit(tmp, "clone", url, "never"); err == nil {
			t.Errorf("%s: cloned: %s", name, out)
		}
	}
	c.s.Deny("contents:write")
	if out, err := c.tryGit(full, "push", "origin", "HEAD:refs/heads/denied"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("push without permission: %v: %s", err, out)
	}
	r.Configure(func(o *RepositoryOptions) { o.Public = true })
	c.git(tmp, "clone", "--quiet", c.url+"/acme/payments", "public")

	// Seeding from a work tree.
	if err := r.Push(t.Context(), full, "HEAD:refs/heads/seeded"); err != nil {
		t.Fatal(err)
	}
	equal(t, "seeded", r.Head("seeded"), c.git(full, "rev-parse", "HEAD"))
	if err := r.Push(t.Context(), full, "none:refs/heads/seeded"); err == nil {
		t.Error("pushed nothing")
	}
	refs, err := r.Refs()
	if err != nil || !slices.Equal(refs, []string{"refs/heads/main", "refs/heads/more/noise", "refs/heads/seeded"}) {
		t.Errorf("refs %v, %v", refs, err)
	}
}

// noise does not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	x := uint32(1)
	for i := range out {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		out[i] = byte(x)
	}
	return out
}

// TestOddContent seeds modes, links, submodules and merges, and has git check them.
func TestOddContent(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	sub := strings.Repeat("ab", 20)
	if _, err := r.Commit("main", Change{
		Message: "odd", Files: map[string]string{"run": "#!/bin/sh\n", "link": "README.md", "mod": sub, "a/b/c": "c", "a.b": "file beside a directory"},
		Modes: map[string]string{"run": "100755", "link": "120000", "mod": "160000"},
	}); err != nil {
		t.Fatal(err)
	}
	c.commit(r, "side", "side", map[string]string{"side": "s"})
	merge, err := r.Commit("main", Change{Message: "merge by hand", Parents: []string{"side"}, Files: map[string]string{"side": "s"}, Delete: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	c.git(r.Dir(), "fsck", "--strict", "--no-dangling")
	got := c.git(r.Dir(), "ls-tree", "-r", "--format=%(objectmode) %(path)", "main")
	want := "100644 README.md\n100644 a.b\n120000 link\n160000 mod\n100644 pay.go\n100755 run\n100644 side"
	equal(t, "tree", got, want)
	equal(t, "parents", len(c.want(200, "GET", payments+"/git/commits/"+merge, nil).at("parents").([]any)), 2)
	equal(t, "symlink", c.want(200, "GET", payments+"/contents/link", nil).at("target"), any("README.md"))
	n := c.open(r, "ren", "ren", map[string]string{"pay2.go": "package pay\n\nconst Fee = 1\n\n// end\n"})
	if _, err := r.Commit("ren", Change{Message: "moved", Delete: []string{"pay.go"}}); err != nil {
		t.Fatal(err)
	}
	files := c.want(200, "GET", fmt.Sprintf("%s/pulls/%d/files", payments, n), nil)
	equal(t, "renamed", files.at(0, "previous_filename"), any("pay.go"))
	equal(t, "status", files.at(0, "status"), any("renamed"))
}
