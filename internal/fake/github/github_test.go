package github

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// client speaks plain HTTP to a strict server.
type client struct {
	t     *testing.T
	s     *Server
	url   string
	base  string // "" or "/api/v3"
	token string
}

// serve starts a server that fails the test at any breach of GitHub's contract.
func serve(t *testing.T, o Options) *client {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Strict(t)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		web.Close()
	})
	return &client{t, s, web.URL, "", Token}
}

// repo makes acme/payments with one commit.
func (c *client) repo(o RepositoryOptions) *Repository {
	c.t.Helper()
	r, err := c.s.CreateRepository("acme/payments", o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.commit(r, "main", "first", map[string]string{"README.md": "# payments\n", "pay.go": "package pay\n\nconst Fee = 1\n\n// end\n"})
	return r
}

func (c *client) commit(r *Repository, branch, message string, files map[string]string) string {
	c.t.Helper()
	sha, err := r.Commit(branch, Change{Message: message, Files: files})
	if err != nil {
		c.t.Fatal(err)
	}
	return sha
}

func (c *client) open(r *Repository, branch, title string, files map[string]string) int {
	c.t.Helper()
	c.commit(r, branch, title, files)
	n, err := r.OpenPull(PullOptions{Head: branch, Title: title})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

type reply struct {
	status int
	header http.Header
	text   string
	body   any
}

// at walks into the answer: "head", "sha"; a number for lists.
func (r reply) at(keys ...any) any {
	v := r.body
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func (c *client) do(method, path string, body any, header ...string) reply {
	c.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		if raw, ok := body.(string); ok {
			b = []byte(raw)
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+c.base+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := h.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &out.body); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return out
}

// want does a request and fails the test at another status.
func (c *client) want(status int, method, path string, body any, header ...string) reply {
	c.t.Helper()
	r := c.do(method, path, body, header...)
	if r.status != status {
		c.t.Fatalf("%s %s: %d, want %d: %s", method, path, r.status, status, r.text)
	}
	return r
}

const payments = "/repos/acme/payments"

func (c *client) git(dir string, args ...string) string {
	c.t.Helper()
	out, err := c.tryGit(dir, args...)
	if err != nil {
		c.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (c *client) tryGit(dir string, args ...string) (string, error) {
	g := exec.CommandContext(c.t.Context(), "git", args...)
	g.Dir = dir
	g.Env = gitEnv(c.t.TempDir())
	out, err := g.CombinedOutput()
	return string(out), err
}

// remote is the repository's address with credentials.
func (c *client) remote() string {
	return strings.Replace(c.url, "http://", "http://x-access-token:"+c.token+"@", 1) + "/acme/payments.git"
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestRevertStory is a revert without a clone, call by call, then checked in a clone.
func TestRevertStory(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/api/v3"} {
		t.Run("base "+base, func(t *testing.T) {
			t.Parallel()
			c := serve(t, Options{})
			c.base = base
			r := c.repo(RepositoryOptions{DeleteBranchOnMerge: true})
			var merges []Push
			c.s.OnMerge(func(p Push) { merges = append(merges, p) })

			good := r.Head("main")
			bad := c.open(r, "fee", "Raise the fee", map[string]string{"pay.go": "package pay\n\nconst Fee = 1000\n\n// end\n"})
			badSHA, err := r.Merge(bad, "squash", "octocat")
			if err != nil {
				t.Fatal(err)
			}
			later := c.open(r, "docs", "Say more", map[string]string{"README.md": "# payments\n\nmore\n"})
			head, err := r.Merge(later, "merge", "octocat")
			if err != nil {
				t.Fatal(err)
			}

			equal(t, "head", c.want(200, "GET", payments+"/git/ref/heads/main", nil).at("object", "sha"), any(head))
			k := c.want(200, "GET", payments+"/git/commits/"+badSHA, nil)
			equal(t, "parent", k.at("parents", 0, "sha"), any(good))
			parentTree := c.want(200, "GET", payments+"/git/commits/"+good, nil).at("tree", "sha")
			cmp := c.want(200, "GET", payments+"/compare/"+badSHA+"..."+head, nil)
			equal(t, "status", cmp.at("status"), any("ahead"))
			equal(t, "merge base", cmp.at("merge_base_commit", "sha"), any(badSHA))

			temp := c.want(201, "POST", payments+"/git/commits", obj{"message": "tmp [skip ci]", "tree": parentTree, "parents": []string{badSHA}}).at("sha")
			c.want(201, "POST", payments+"/git/refs", obj{"ref": "refs/heads/rollback/tmp", "sha": temp})
			c.want(422, "POST", payments+"/git/refs", obj{"ref": "refs/heads/rollback/tmp", "sha": temp})
			merged := c.want(201, "POST", payments+"/merges", obj{"base": "rollback/tmp", "head": head})
			tree := merged.at("commit", "tree", "sha")
			final := c.want(201, "POST", payments+"/git/commits", obj{"message": "Revert \"Raise the fee\"", "tree": tree, "parents": []string{head}}).at("sha")
			c.want(422, "PATCH", payments+"/git/refs/heads/rollback/tmp", obj{"sha": final})
			c.want(200, "PATCH", payments+"/git/refs/heads/rollback/tmp", obj{"sha": final, "force": true})
			pr := c.want(201, "POST", payments+"/pulls", obj{"title": "Revert \"Raise the fee\"", "head": "rollback/tmp", "base": "main", "body": "why"})
			n := int(pr.at("number").(float64))
			equal(t, "fresh mergeable", pr.at("mergeable"), nil)
			c.want(422, "POST", payments+"/pulls", obj{"title": "again", "head": "rollback/tmp", "base": "main"})
			got := c.want(200, "GET", fmt.Sprintf("%s/pulls/%d", payments, n), nil)
			equal(t, "mergeable", got.at("mergeable"), any(true))
			equal(t, "state", got.at("mergeable_state"), any("clean"))
			c.want(409, "PUT", fmt.Sprintf("%s/pulls/%d/merge", payments, n), obj{"sha": badSHA})
			done := c.want(200, "PUT", fmt.Sprintf("%s/pulls/%d/merge", payments, n), obj{"sha": final, "merge_method": "squash"}).at("sha")
			equal(t, "head", any(r.Head("main")), done)
			c.want(405, "PUT", fmt.Sprintf("%s/pulls/%d/merge", payments, n), obj{"sha": final})

			dir := filepath.Join(t.TempDir(), "clone")
			c.git(".", "clone", "--quiet", c.remote(), dir)
			text, err := os.ReadFile(filepath.Join(dir, "pay.go"))
			if err != nil || !strings.Contains(string(text), "Fee = 1\n") {
				t.Errorf("pay.go in the clone: %s, %v", text, err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || !strings.Contains(string(text), "more") {
				t.Errorf("README.md in the clone: %s, %v", text, err)
			}
			if branches, err := r.Branches(); err != nil || !slices.Equal(branches, []string{"main"}) {
				t.Errorf("branches %v, %v", branches, err)
			}
			equal(t, "merges", len(merges), 3)
			equal(t, "merged by", merges[2].By, Login)
			equal(t, "pull of the merge", c.want(200, "GET", payments+"/commits/"+done.(string)+"/pulls", nil).at(0, "number"), any(float64(n)))
			equal(t, "open", len(r.OpenPulls()), 0)
		})
	}
}
