package github

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestEveryOperation uses each operation of the slice at least once with success; the strict server holds requests and
// answers against GitHub's description.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	for id := range routes {
		if !slices.ContainsFunc(api().operations, func(o *operation) bool { return o.ID == id }) {
			t.Errorf("route %s is not in the slice", id)
		}
	}
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	c.s.AddUser("alice", "Alice", "alice@acme.example")
	r.Protect(Protection{Branch: "main", Reviews: 1, Checks: []string{"build"}, Classic: true})
	n := c.open(r, "fee", "Raise the fee", map[string]string{"pay.go": "package pay\n", "dir/sub/file": "x"})
	head, main := r.Head("fee"), r.Head("main")
	pr, issue := fmt.Sprintf("%s/pulls/%d", payments, n), fmt.Sprintf("%s/issues/%d", payments, n)

	c.want(200, "GET", "/rate_limit", nil)
	equal(t, "login", c.want(200, "GET", "/user", nil).at("login"), any(Login))
	equal(t, "default branch", c.want(200, "GET", payments, nil).at("default_branch"), any("main"))
	equal(t, "branches", c.want(200, "GET", payments+"/branches", nil).at(0, "name"), any("fee"))
	branch := c.want(200, "GET", payments+"/branches/main", nil)
	equal(t, "protected", branch.at("protected"), any(true))
	equal(t, "contexts", branch.at("protection", "required_status_checks", "contexts", 0), any("build"))
	equal(t, "rules of a classic protection", c.want(200, "GET", payments+"/rules/branches/main", nil).text, "[]\n")
	r.Unprotect()
	r.Protect(Protection{Branch: "~DEFAULT_BRANCH", Reviews: 1, Checks: []string{"build"}, MergeQueue: true, LinearHistory: true, SignedCommits: true, NoCreation: true})
	rules := c.want(200, "GET", payments+"/rules/branches/main", nil)
	if !strings.Contains(rules.text, "merge_queue") || !strings.Contains(rules.text, `"context":"build"`) {
		t.Errorf("rules: %s", rules.text)
	}
	r.Unprotect()

	equal(t, "commits", c.want(200, "GET", payments+"/commits?sha=fee&path=dir&per_page=1&author=octocat&since=2000-01-01T00:00:00Z", nil).at(0, "sha"), any(head))
	one := c.want(200, "GET", payments+"/commits/fee", nil)
	equal(t, "file", one.at("files", 0, "filename"), any("dir/sub/file"))
	equal(t, "deletions", one.at("stats", "deletions"), any(4.0))
	c.want(200, "GET", payments+"/commits/"+head[:8], nil)
	equal(t, "pulls of an open one's commit", c.want(200, "GET", payments+"/commits/"+head+"/pulls", nil).at(0, "number"), any(float64(n)))
	equal(t, "behind", c.want(200, "GET", payments+"/compare/fee...main", nil).at("status"), any("behind"))
	equal(t, "identical", c.want(200, "GET", payments+"/compare/"+main+"...main", nil).at("status"), any("identical"))

	equal(t, "content", c.want(200, "GET", payments+"/contents/README.md", nil).at("content"), any(base64.StdEncoding.EncodeToString([]byte("# payments\n"))+"\n"))
	equal(t, "raw", c.want(200, "GET", payments+"/contents/README.md", nil, "Accept", "application/vnd.github.raw").text, "# payments\n")
	equal(t, "directory", c.want(200, "GET", payments+"/contents/dir?ref=fee", nil).at(0, "type"), any("dir"))
	equal(t, "root", c.want(200, "GET", payments+"/contents/", nil).at(0, "path"), any("README.md"))

	c.want(200, "GET", payments+"/git/matching-refs/heads/f", nil)
	blob := c.want(201, "POST", payments+"/git/blobs", obj{"content": "aGk=", "encoding": "base64"}).at("sha").(string)
	equal(t, "blob", c.want(200, "GET", payments+"/git/blobs/"+blob, nil).at("content"), any("aGk=\n"))
	base := c.want(200, "GET", payments+"/git/commits/"+head, nil).at("tree", "sha").(string)
	tree := c.want(201, "POST", payments+"/git/trees", obj{"base_tree": base, "tree": []obj{
		{"path": "dir/sub/hi", "mode": "100755", "type": "blob", "sha": blob}, {"path": "README.md", "mode": "100644", "type": "blob", "sha": nil},
		{"path": "new/text", "mode": "100644", "type": "blob", "content": "new"},
	}}).at("sha").(string)
	listed := c.want(200, "GET", payments+"/git/trees/"+tree+"?recursive=1", nil).text
	for _, want := range []string{`"dir/sub/file"`, `"dir/sub/hi"`, `"new/text"`, `"100755"`} {
		if !strings.Contains(listed, want) {
			t.Errorf("tree lacks %s: %s", want, listed)
		}
	}
	if strings.Contains(listed, "README.md") {
		t.Errorf("README.md was not deleted: %s", listed)
	}
	made := c.want(201, "POST", payments+"/git/commits", obj{"message": "m", "tree": tree, "parents": []string{head},
		"author": obj{"name": "Alice", "email": "alice@acme.example", "date": "2024-05-06T07:08:09Z"}})
	equal(t, "author's date", made.at("author", "date"), any("2024-05-06T07:08:09Z"))
	equal(t, "unsigned", made.at("verification", "verified"), any(false))
	sha := made.at("sha").(string)
	equal(t, "object as git names it", c.git(r.Dir(), "cat-file", "-t", sha), "commit")
	c.git(r.Dir(), "fsck", "--strict", "--no-dangling")
	c.want(201, "POST", payments+"/git/refs", obj{"ref": "refs/heads/deep/er", "sha": sha})
	c.want(200, "GET", payments+"/git/ref/heads/deep/er", nil)
	c.want(200, "PATCH", payments+"/git/refs/heads/fee", obj{"sha": sha})
	c.want(204, "DELETE", payments+"/git/refs/heads/deep/er", nil)
	c.want(204, "POST", payments+"/merges", obj{"base": "fee", "head": head})

	equal(t, "listed", c.want(200, "GET", payments+"/pulls?state=open&head=acme:fee&base=main", nil).at(0, "head", "sha"), any(sha))
	equal(t, "not listed", c.want(200, "GET", payments+"/pulls?state=all&head=acme:none", nil).text, "[]\n")
	equal(t, "renamed", c.want(200, "PATCH", pr, obj{"title": "Lower the fee", "body": "b"}).at("title"), any("Lower the fee"))
	equal(t, "commits", c.want(200, "GET", pr+"/commits", nil).at(1, "sha"), any(sha))
	equal(t, "removed", c.want(200, "GET", pr+"/files", nil).at(0, "status"), any("removed"))
	c.want(404, "GET", pr+"/merge", nil)
	equal(t, "reviewer", c.want(201, "POST", pr+"/requested_reviewers", obj{"reviewers": []string{"alice"}, "team_reviewers": []string{"core"}}).at("requested_reviewers", 0, "login"), any("alice"))
	equal(t, "team", c.want(200, "GET", pr+"/requested_reviewers", nil).at("teams", 0, "slug"), any("core"))
	c.want(200, "POST", pr+"/reviews", obj{"event": "APPROVE", "body": "fine"})
	equal(t, "review", c.want(200, "GET", pr+"/reviews", nil).at(0, "state"), any("APPROVED"))

	equal(t, "label", c.want(200, "POST", issue+"/labels", obj{"labels": []string{"rollback"}}).at(0, "name"), any("rollback"))
	c.want(200, "POST", issue+"/labels", []string{"rollback", "urgent"})
	equal(t, "labels", c.want(200, "GET", issue+"/labels", nil).at(1, "name"), any("urgent"))
	equal(t, "comment", c.want(201, "POST", issue+"/comments", obj{"body": "hello"}).at("body"), any("hello"))
	c.want(200, "GET", issue+"/comments", nil)
	equal(t, "assignee", c.want(201, "POST", issue+"/assignees", obj{"assignees": []string{"alice", "nobody-known"}}).at("assignees", 1), nil)
	c.want(200, "GET", issue, nil)
	number := c.want(201, "POST", payments+"/issues", obj{"title": "Post-mortem", "body": "…", "labels": []string{"incident"}, "assignees": []string{"alice"}}).at("number")
	equal(t, "numbers are shared", number, any(float64(n+1)))
	c.want(404, "GET", fmt.Sprintf("%s/pulls/%v", payments, number), nil)

	c.want(201, "POST", payments+"/statuses/"+sha, obj{"state": "pending", "context": "build", "description": "…", "target_url": "https://ci.acme.example/1"})
	equal(t, "pending", c.want(200, "GET", payments+"/commits/fee/status", nil).at("state"), any("pending"))
	c.want(200, "GET", payments+"/commits/fee/statuses", nil)
	if err := r.SetCheckRun("fee", "lint", "completed", "failure"); err != nil {
		t.Fatal(err)
	}
	equal(t, "run", c.want(200, "GET", payments+"/commits/fee/check-runs?check_name=lint", nil).at("check_runs", 0, "conclusion"), any("failure"))
	equal(t, "unstable", c.want(200, "GET", pr, nil).at("mergeable_state"), any("unstable"))

	c.want(409, "POST", payments+"/deployments", obj{"ref": "fee", "auto_merge": false})
	d := c.want(201, "POST", payments+"/deployments", obj{"ref": "fee", "auto_merge": false, "required_contexts": []string{}, "environment": "prod"}).at("id")
	dep := fmt.Sprintf("%s/deployments/%.0f", payments, d)
	c.want(200, "GET", dep, nil)
	c.want(201, "POST", dep+"/statuses", obj{"state": "success", "log_url": "https://ci.acme.example/1"})
	equal(t, "status", c.want(200, "GET", dep+"/statuses", nil).at(0, "state"), any("success"))
	equal(t, "deployment", c.want(200, "GET", payments+"/deployments?environment=prod", nil).at(0, "sha"), any(sha))

	merged := c.want(200, "PUT", pr+"/merge", obj{"sha": sha, "merge_method": "merge"}).at("sha")
	c.want(204, "GET", pr+"/merge", nil)
	after := c.want(200, "GET", pr, nil)
	equal(t, "merge commit", after.at("merge_commit_sha"), merged)
	equal(t, "merged by", after.at("merged_by", "login"), any(Login))
	equal(t, "signed by GitHub", c.want(200, "GET", payments+"/git/commits/"+merged.(string), nil).at("verification", "verified"), any(true))
	c.commit(r, "main", "later", map[string]string{"later": "1"})
	c.want(202, "POST", payments+"/deployments", obj{"ref": "fee"})

	key := newKey(t)
	c.s.AddApp(App{ID: 7, Installation: 70, Slug: "rollback", Owner: "acme", Key: &key.PublicKey})
	c.token = jwt(t, key, "7", c.s.options.Now().Add(-1e10), c.s.options.Now().Add(5e11))
	c.want(200, "GET", "/app", nil)
	equal(t, "installation", c.want(200, "GET", payments+"/installation", nil).at("id"), any(70.0))
	c.token = c.want(201, "POST", "/app/installations/70/access_tokens", obj{"repositories": []string{"payments"}, "permissions": obj{"contents": "write"}}).at("token").(string)
	c.want(200, "GET", payments, nil)
	c.want(403, "POST", payments+"/pulls", obj{"title": "t", "head": "fee", "base": "main"})

	for _, o := range api().operations {
		if c.s.Count(o.ID) == 0 {
			t.Errorf("%s was never asked for", o.ID)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	first := r.Head("main")
	for i := range 7 {
		c.commit(r, "main", fmt.Sprint("commit ", i), map[string]string{"n": fmt.Sprint(i)})
	}
	got := c.want(200, "GET", payments+"/commits?per_page=3&page=2", nil)
	equal(t, "message", got.at(0, "commit", "message"), any("commit 3"))
	link := got.header.Get("Link")
	for _, want := range []string{`page=3&per_page=3>; rel="next"`, `page=1&per_page=3>; rel="prev"`, `rel="first"`} {
		if !strings.Contains(link, want) {
			t.Errorf("Link lacks %s: %s", want, link)
		}
	}
	equal(t, "last page's Link has no next", strings.Contains(c.want(200, "GET", payments+"/commits?per_page=3&page=3", nil).header.Get("Link"), "next"), false)

	files := map[string]string{}
	for i := range 310 {
		files[fmt.Sprintf("f/%03d", i)] = "x"
	}
	c.commit(r, "main", "many files", files)
	cmp := c.want(200, "GET", payments+"/compare/"+first+"...main?per_page=5", nil)
	equal(t, "total", cmp.at("total_commits"), any(8.0))
	equal(t, "the oldest first", cmp.at("commits", 0, "commit", "message"), any("commit 0"))
	equal(t, "commits", len(cmp.at("commits").([]any)), 5)
	equal(t, "files on page 1", len(cmp.at("files").([]any)), 300)
	cmp = c.want(200, "GET", payments+"/compare/"+first+"...main?per_page=5&page=2", nil)
	equal(t, "files on page 2", cmp.at("files"), nil)
	equal(t, "commits on page 2", len(cmp.at("commits").([]any)), 3)
}

// TestRefusals is what GitHub says no to, and how.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{NoRebase: true})
	main := r.Head("main")
	if _, err := c.s.CreateRepository("acme/empty", RepositoryOptions{}); err != nil {
		t.Fatal(err)
	}
	a := c.commit(r, "a", "a", map[string]string{"pay.go": "a\n"})
	tree := c.want(200, "GET", payments+"/git/commits/"+a, nil).at("tree", "sha")
	n := c.open(r, "b", "b", map[string]string{"pay.go": "b\n"})
	pr := fmt.Sprintf("%s/pulls/%d", payments, n)
	draft := 0
	{
		c.commit(r, "draft", "draft", map[string]string{"d": "d"})
		var err error
		if draft, err = r.OpenPull(PullOptions{Head: "draft", Title: "draft", Draft: true}); err != nil {
			t.Fatal(err)
		}
	}
	none := strings.Repeat("0", 39) + "1"
	if _, err := r.Commit("orphan", Change{Message: "x", Files: map[string]string{"x": "x"}, From: "nowhere"}); err == nil {
		t.Error("a commit from nowhere was made")
	}
	tests := []struct {
		name, method, path string
		body               any
		status             int
		says               string
	}{
		{"no such repository", "GET", "/repos/acme/none", nil, 404, "Not Found"},
		{"no such ref", "GET", payments + "/git/ref/heads/none", nil, 404, "Not Found"},
		{"empty repository", "GET", "/repos/acme/empty/commits", nil, 409, "Git Repository is empty."},
		{"empty repository's ref", "GET", "/repos/acme/empty/git/ref/heads/main", nil, 409, "empty"},
		{"no such commit", "GET", payments + "/commits/" + none, nil, 422, "No commit found for SHA: " + none},
		{"no such git commit", "GET", payments + "/git/commits/" + none, nil, 404, "Not Found"},
		{"commits of no branch", "GET", payments + "/commits?sha=none", nil, 404, "Not Found"},
		{"compare with nothing", "GET", payments + "/compare/main...none", nil, 404, "Not Found"},
		{"two dots", "GET", payments + "/compare/main..a", nil, 404, "Not Found"},
		{"no such file", "GET", payments + "/contents/none", nil, 404, "Not Found"},
		{"contents of no ref", "GET", payments + "/contents/README.md?ref=none", nil, 404, "No commit found for the ref none"},
		{"no such tree", "GET", payments + "/git/trees/" + none, nil, 404, "Not Found"},
		{"commit of no tree", "POST", payments + "/git/commits", obj{"message": "m", "tree": main, "parents": []string{main}}, 422, "Tree SHA does not exist"},
		{"commit of no parent", "POST", payments + "/git/commits", obj{"message": "m", "tree": tree, "parents": []string{none}}, 422, "Parent SHA does not exist"},
		{"bad ref name", "POST", payments + "/git/refs", obj{"ref": "main", "sha": main}, 422, "must start with 'refs/'"},
		{"ref to nothing", "POST", payments + "/git/refs", obj{"ref": "refs/heads/x", "sha": none}, 422, "Object does not exist"},
		{"ref exists", "POST", payments + "/git/refs", obj{"ref": "refs/heads/a", "sha": main}, 422, "Reference already exists"},
		{"a ref below a ref", "POST", payments + "/git/refs", obj{"ref": "refs/heads/a/b", "sha": main}, 422, "Reference update failed"},
		{"update of no ref", "PATCH", payments + "/git/refs/heads/none", obj{"sha": main}, 422, "Reference does not exist"},
		{"not a fast forward", "PATCH", payments + "/git/refs/heads/a", obj{"sha": r.Head("b")}, 422, "Update is not a fast forward"},
		{"delete of no ref", "DELETE", payments + "/git/refs/heads/none", nil, 422, "Reference does not exist"},
		{"delete the default branch", "DELETE", payments + "/git/refs/heads/main", nil, 422, "Cannot delete the default branch"},
		{"merge into nothing", "POST", payments + "/merges", obj{"base": "none", "head": "a"}, 404, "Base does not exist"},
		{"merge of nothing", "POST", payments + "/merges", obj{"base": "a", "head": "none"}, 404, "Head does not exist"},
		{"merge conflict", "POST", payments + "/merges", obj{"base": "a", "head": "b"}, 409, "Merge conflict"},
		{"pull from nothing", "POST", payments + "/pulls", obj{"title": "t", "head": "none", "base": "main"}, 422, `"field":"head"`},
		{"pull to nothing", "POST", payments + "/pulls", obj{"title": "t", "head": "a", "base": "none"}, 422, `"field":"base"`},
		{"pull without a change", "POST", payments + "/pulls", obj{"title": "t", "head": "main", "base": "a"}, 422, "No commits between a and main"},
		{"pull that is there", "POST", payments + "/pulls", obj{"title": "t", "head": "acme:b", "base": "main"}, 422, "A pull request already exists for acme:b."},
		{"no such pull", "GET", payments + "/pulls/99", nil, 404, "Not Found"},
		{"method not allowed", "PUT", pr + "/merge", obj{"merge_method": "rebase"}, 405, "Rebase merges are not allowed on this repository."},
		{"head moved", "PUT", pr + "/merge", obj{"sha": main}, 409, "Head branch was modified. Review and try the merge again."},
		{"draft", "PUT", fmt.Sprintf("%s/pulls/%d/merge", payments, draft), obj{}, 405, "draft"},
		{"reviewer unknown", "POST", pr + "/requested_reviewers", obj{"reviewers": []string{"stranger"}}, 422, "not a collaborator"},
		{"the author's review", "POST", pr + "/requested_reviewers", obj{"reviewers": []string{"octocat"}}, 422, "pull request author"},
		{"comment on nothing", "POST", payments + "/issues/99/comments", obj{"body": "x"}, 404, "Not Found"},
		{"status of nothing", "POST", payments + "/statuses/" + none, obj{"state": "success"}, 422, "No commit found"},
		{"deployment of nothing", "POST", payments + "/deployments", obj{"ref": "none"}, 422, "No ref found for: none"},
		{"not a person", "GET", "/app", nil, 401, "JSON web token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := c.want(tt.status, tt.method, tt.path, tt.body)
			if !strings.Contains(got.text, tt.says) {
				t.Errorf("got %s, want %q in it", got.text, tt.says)
			}
		})
	}
	// What conflicts with the base cannot be merged, and says so before.
	if _, err := r.Merge(c.open(r, "a2", "a2", map[string]string{"pay.go": "a2\n"}), "squash", "octocat"); err != nil {
		t.Fatal(err)
	}
	got := c.want(200, "GET", pr, nil)
	equal(t, "mergeable", got.at("mergeable"), any(false))
	equal(t, "state", got.at("mergeable_state"), any("dirty"))
	c.want(405, "PUT", pr+"/merge", obj{})
	c.want(200, "PATCH", pr, obj{"state": "closed"})
	equal(t, "closed", len(r.OpenPulls()), 1)
	r.Configure(func(o *RepositoryOptions) { o.Archived = true })
	c.want(403, "POST", payments+"/git/refs", obj{"ref": "refs/heads/x", "sha": main})
}

type recorder []string

func (r *recorder) Errorf(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// TestContract is what the strict server reports.
func TestContract(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	tests := []struct {
		name, method, path string
		body               any
		status             int
		says               string
	}{
		{"no such path", "GET", payments + "/none", nil, 404, "no such path"},
		{"unknown query parameter", "GET", payments + "/commits?branch=main", nil, 422, "no such query parameter: branch"},
		{"bad query parameter", "GET", payments + "/pulls?state=merged", nil, 422, "not one of"},
		{"member missing", "POST", payments + "/merges", obj{"base": "main"}, 422, `"head" wasn't supplied`},
		{"member of the wrong type", "POST", payments + "/git/commits", obj{"message": 1, "tree": "x"}, 422, "want string"},
		{"member unknown", "POST", payments + "/merges", obj{"base": "main", "head": r.Head("main"), "message": "m"}, 204, "no such member: message"},
		{"member not permitted", "POST", payments + "/pulls/1/merge", obj{"sha": "x"}, 404, ""},
		{"not JSON", "POST", payments + "/merges", "{", 400, "not JSON"},
		{"no body", "POST", payments + "/merges", nil, 400, "not JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var heard recorder
			c.s.Strict(&heard)
			defer c.s.Strict(t)
			c.want(tt.status, tt.method, tt.path, tt.body)
			if tt.says != "" && (len(heard) != 1 || !strings.Contains(heard[0], tt.says)) {
				t.Errorf("reported %q, want %q", heard, tt.says)
			}
		})
	}
	if len(c.s.Violations()) < 8 {
		t.Errorf("violations: %q", c.s.Violations())
	}
	// The other direction: answers that GitHub would not give.
	op, _, _ := api().find(http.MethodGet, payments+"/git/ref/heads/main")
	for _, bad := range []struct {
		status int
		body   string
	}{
		{200, `{"ref":"refs/heads/main"}`},
		{200, `{"ref":"r","node_id":"n","url":"u","object":{"type":"commit","sha":"` + strings.Repeat("a", 40) + `","url":"u"},"extra":1}`},
		{201, `{}`},
		{200, `[]`},
		{200, `{`},
	} {
		if err := api().answer(op, bad.status, []byte(bad.body)); err == nil {
			t.Errorf("%d %s was taken", bad.status, bad.body)
		}
	}
}
