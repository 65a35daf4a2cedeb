package github

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// newKey is one key for all tests: making one takes longer than a test.
func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func jwt(t *testing.T, key *rsa.PrivateKey, issuer string, from, until time.Time) string {
	t.Helper()
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	text := encode(`{"alg":"RS256","typ":"JWT"}`) + "." + encode(fmt.Sprintf(`{"iss":%s,"iat":%d,"exp":%d}`, strconv.Quote(issuer), from.Unix(), until.Unix()))
	sum := sha256.Sum256([]byte(text))
	signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signed)
}

func TestApp(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var mu sync.Mutex
	c := serve(t, Options{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	r := c.repo(RepositoryOptions{})
	key := newKey(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.s.AddApp(App{ID: 7, Installation: 70, Slug: "rollback", Owner: "acme", Key: &key.PublicKey})
	good := jwt(t, key, "7", now, now.Add(9*time.Minute))
	for name, token := range map[string]string{
		"another's key": jwt(t, other, "7", now, now.Add(time.Minute)),
		"expired":       jwt(t, key, "7", now.Add(-time.Hour), now),
		"too long":      jwt(t, key, "7", now, now.Add(11*time.Minute)),
		"not yet":       jwt(t, key, "7", now.Add(time.Hour), now.Add(time.Minute)),
		"not a number":  jwt(t, key, "rollback", now, now.Add(time.Minute)),
		"garbage":       "a.b.c",
		"changed":       good[:len(good)-8] + "AAAAAAAA",
	} {
		c.token = token
		if got := c.do("POST", "/app/installations/70/access_tokens", nil); got.status != 401 {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
	}
	c.token = good
	c.want(404, "POST", "/app/installations/71/access_tokens", nil)
	c.want(403, "GET", payments+"/git/ref/heads/main", nil)
	got := c.want(201, "POST", "/app/installations/70/access_tokens", nil)
	equal(t, "expires", got.at("expires_at"), any("2026-03-04T06:06:07Z"))
	c.token = got.at("token").(string)
	main := r.Head("main")
	tree := c.want(200, "GET", payments+"/git/commits/"+main, nil).at("tree", "sha")
	made := c.want(201, "POST", payments+"/git/commits", obj{"message": "m", "tree": tree, "parents": []string{main}})
	equal(t, "a bot's commit is signed", made.at("verification", "verified"), any(true))
	made = c.want(201, "POST", payments+"/git/commits", obj{"message": "m", "tree": tree, "parents": []string{main}, "author": obj{"name": "x", "email": "x@acme.example"}})
	equal(t, "with an author it is not", made.at("verification", "verified"), any(false))
	c.want(403, "GET", "/user", nil)
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	c.want(401, "GET", payments, nil)
	c.token = jwt(t, key, "7", now, now.Add(time.Minute))
	c.token = c.want(201, "POST", "/app/installations/70/access_tokens", nil).at("token").(string)
	c.want(200, "GET", payments, nil)
	c.s.ExpireAppTokens()
	c.want(401, "GET", payments, nil)
	equal(t, "tokens given out", c.s.AppTokens(7), 2)
}

func TestAccess(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	main := r.Head("main")
	ref := obj{"ref": "refs/heads/x", "sha": main}
	c.want(200, "GET", payments, nil, "X-GitHub-Api-Version", "2022-11-28")
	c.want(400, "GET", payments, nil, "X-GitHub-Api-Version", "2026-03-10")
	c.want(403, "GET", payments, nil, "User-Agent", "")

	c.token = "wrong"
	equal(t, "message", c.want(401, "GET", payments, nil).at("message"), any("Bad credentials"))
	c.token = ""
	c.want(404, "GET", payments, nil) // a private repository does not exist for strangers
	r.Configure(func(o *RepositoryOptions) { o.Public = true })
	c.want(200, "GET", payments, nil)
	c.want(401, "POST", payments+"/git/refs", ref)
	c.want(401, "POST", "/graphql", obj{"query": "{viewer{login}}"})
	r.Configure(func(o *RepositoryOptions) { o.Public = false })

	c.s.AddToken("reader", Access{Login: "alice", Permissions: map[string]string{"contents": "read", "pull_requests": "read"}})
	c.token = "reader"
	c.want(200, "GET", payments+"/git/ref/heads/main", nil)
	equal(t, "message", c.want(403, "POST", payments+"/git/refs", ref).at("message"), any("Resource not accessible by personal access token"))
	c.want(403, "GET", payments+"/commits/main/status", nil)
	c.s.AddToken("elsewhere", Access{Login: "bob", Repositories: []string{"acme/other"}})
	c.token = "elsewhere"
	c.want(404, "GET", payments, nil)

	c.token = Token
	c.s.Deny("pull_requests:write")
	c.want(403, "POST", payments+"/pulls", obj{"title": "t", "head": "x", "base": "main"})
	c.s.Deny()
	c.s.Expire(Token, true)
	c.want(401, "GET", payments, nil)
	c.s.Expire(Token, false)
	c.want(200, "GET", payments, nil)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	c.repo(RepositoryOptions{})
	equal(t, "limit", c.want(200, "GET", payments, nil).header.Get("X-RateLimit-Remaining"), "4999")
	reset := time.Now().Add(time.Minute)
	c.s.RateLimit(1, reset)
	c.want(200, "GET", payments, nil)
	got := c.want(403, "GET", payments, nil)
	equal(t, "remaining", got.header.Get("X-RateLimit-Remaining"), "0")
	equal(t, "reset", got.header.Get("X-RateLimit-Reset"), fmt.Sprint(reset.Unix()))
	if !strings.Contains(got.text, "API rate limit exceeded") {
		t.Error(got.text)
	}
	got = c.want(200, "POST", "/graphql", obj{"query": "{viewer{login}}"}) // GraphQL says it inside
	equal(t, "type", got.at("errors", 0, "type"), any("RATE_LIMIT"))
	equal(t, "remaining", got.header.Get("X-RateLimit-Remaining"), "0")
	equal(t, "resource", got.header.Get("X-RateLimit-Resource"), "graphql")
	c.want(200, "GET", "/rate_limit", nil)
	c.s.RateLimit(100, reset)
	c.s.SecondaryLimit("repos/get", 429, 3*time.Second, 1)
	got = c.want(429, "GET", payments, nil)
	equal(t, "Retry-After", got.header.Get("Retry-After"), "3")
	c.want(200, "GET", payments, nil)
	c.s.SecondaryLimit("graphql:*", 403, time.Second, 1)
	c.want(403, "POST", "/graphql", obj{"query": "{viewer{login}}"})
	c.s.SecondaryLimit("graphql:*", 200, time.Second, 1)
	got = c.want(200, "POST", "/graphql", obj{"query": "{viewer{login}}"})
	equal(t, "Retry-After", got.header.Get("Retry-After"), "1")
	if text, _ := got.at("errors", 0, "message").(string); !strings.Contains(text, "secondary rate limit") {
		t.Error(got.text)
	}
	c.want(200, "POST", "/graphql", obj{"query": "{viewer{login}}"})
	c.s.Fail("git/create-ref", 422, "Reference already exists", 1)
	c.want(422, "POST", payments+"/git/refs", obj{})
	c.s.Inject(fake.Fault{Op: "pulls/*", Status: http.StatusBadGateway, Body: fake.HTMLPage})
	c.want(502, "GET", payments+"/pulls", nil)
	c.s.Clear()
	c.want(200, "GET", payments+"/pulls", nil)
	equal(t, "counted", c.s.Count("pulls/*"), 2)
	equal(t, "counted", c.s.Count("graphql:viewer"), 4)
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/api/v3"} {
		c := serve(t, Options{})
		c.base = base
		r := c.repo(RepositoryOptions{})
		main := r.Head("main")
		r.Rename("acme/billing")
		got := c.want(301, "GET", payments+"/git/ref/heads/main?x=1", nil)
		to := got.header.Get("Location")
		equal(t, "Location", to, c.url+base+"/repositories/1/git/ref/heads/main?x=1")
		to = strings.TrimPrefix(strings.TrimSuffix(to, "?x=1"), c.url+base)
		equal(t, "there", c.want(200, "GET", to, nil).at("object", "sha"), any(main))
		c.want(307, "POST", payments+"/git/refs", obj{"ref": "refs/heads/x", "sha": main})
		equal(t, "no branch was made", r.Head("x"), "")
		c.want(200, "GET", "/repos/acme/billing", nil)
		equal(t, "GraphQL follows", c.mustAsk(`{repository(owner:"acme",name:"payments"){nameWithOwner}}`, nil).at("data", "repository", "nameWithOwner"), any("acme/billing"))
		dir := t.TempDir()
		c.git(".", "clone", "--quiet", c.remote(), dir)
		equal(t, "a clone follows", c.git(dir, "rev-parse", "HEAD"), main)
	}
}

func TestWorkflowFiles(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	good := r.Head("main")
	bad := c.commit(r, "main", "ci", map[string]string{".github/workflows/ci.yml": "on: push\n"})
	tree := c.want(200, "GET", payments+"/git/commits/"+good, nil).at("tree", "sha")
	c.s.Deny("workflows:write")
	temp := c.want(201, "POST", payments+"/git/commits", obj{"message": "tmp", "tree": tree, "parents": []string{bad}}).at("sha").(string)
	got := c.want(422, "POST", payments+"/git/refs", obj{"ref": "refs/heads/tmp", "sha": temp})
	if !strings.Contains(got.text, "refusing to allow a Personal Access Token to create or update workflow `.github/workflows/ci.yml`") {
		t.Error(got.text)
	}
	c.want(404, "POST", payments+"/git/trees", obj{"tree": []obj{{"path": ".github/workflows/x.yml", "mode": "100644", "type": "blob", "content": "x"}}})
	c.want(201, "POST", payments+"/git/refs", obj{"ref": "refs/heads/plain", "sha": good})
	c.want(422, "PATCH", payments+"/git/refs/heads/plain", obj{"sha": temp})
	n := c.open(r, "flow", "flow", map[string]string{".github/workflows/ci.yml": "on: pull_request\n"})
	c.want(403, "PUT", fmt.Sprintf("%s/pulls/%d/merge", payments, n), obj{})

	dir := t.TempDir()
	c.git(".", "clone", "--quiet", c.remote(), dir)
	c.git(dir, "rm", "--quiet", ".github/workflows/ci.yml")
	c.git(dir, "commit", "--quiet", "-m", "no ci")
	if out, err := c.tryGit(dir, "push", "origin", "HEAD:refs/heads/pushed"); err == nil || !strings.Contains(out, "refusing to allow") {
		t.Errorf("push: %v: %s", err, out)
	}
	c.s.Deny()
	c.git(dir, "push", "--quiet", "origin", "HEAD:refs/heads/pushed")
	c.want(201, "POST", payments+"/git/refs", obj{"ref": "refs/heads/tmp", "sha": temp})
}
