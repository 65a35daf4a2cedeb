package oci

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sync/errgroup"

	"github.com/rollback-tools/rollback/internal/fake"
	fakeoci "github.com/rollback-tools/rollback/internal/fake/oci"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, auth := range []fakeoci.Auth{fakeoci.Basic, fakeoci.Bearer} {
		t.Run(string(auth), func(t *testing.T) {
			t.Parallel()
			rules := fakeoci.Rules{Auth: auth, Username: "ci", Password: "s3cret"}
			w := newWorld(t, rules)
			w.fake.AddImage("payments", built, "latest")
			w.fake.AddImage("payments", built, "3f2a9c1")
			m := one(t, w.Registry, "payments", "3f2a9c1")
			if _, err := w.Tag(t.Context(), "payments", m, "latest"); err != nil {
				t.Fatal(err)
			}
			if err := drain(t, w.Registry); err != nil {
				t.Fatal(err)
			}

			rules.ReadOnly = true
			w.fake.SetRules(rules)
			w.fake.Revoke()
			_, err := w.Tag(t.Context(), "payments", m, "kept")
			if e := wantKind(t, err, rollback.Denied); !strings.Contains(e.Fix, "push") {
				t.Errorf("fix %q", e.Fix)
			}

			for what, cfg := range map[string]Config{
				"wrong": {Host: w.host, Username: "ci", Password: "wr0ng", CredentialsFrom: "REGISTRY_PASSWORD"},
				"none":  {Host: w.host},
			} {
				r, _ := client(t, cfg)
				for _, err := range []error{
					second(r.Images(t.Context(), "payments", "latest")),
					second(r.Repository(t.Context(), "payments")),
				} {
					e := wantKind(t, err, rollback.Expired)
					if strings.Contains(err.Error()+e.Fix, "wr0ng") {
						t.Errorf("%v has the password", err)
					}
					if want := map[string]string{"wrong": "REGISTRY_PASSWORD", "none": "docker login " + w.host}[what]; !strings.Contains(e.Fix, want) {
						t.Errorf("%s credentials: fix %q, want %q", what, e.Fix, want)
					}
				}
			}
		})
	}
}

// A token that has run out is replaced before it is used, one that was revoked after it was refused, and once for all
// who use it.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, secured)
	w.fake.AddImage("payments", built, "latest")
	one(t, w.Registry, "payments", "latest")
	w.mu.Lock()
	k := w.tokens[pull("payments")]
	if left := time.Until(k.until); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("a token of 5 minutes is used for %s", left)
	}
	k.until = time.Now()
	w.tokens[pull("payments")] = k
	w.mu.Unlock()
	w.fake.Reset()
	one(t, w.Registry, "payments", "latest")
	if n, m := w.fake.Count("token"), w.fake.Count("GET manifest*"); n != 1 || m != 1 {
		t.Errorf("%d tokens and %d reads, want 1 and 1", n, m)
	}

	w.fake.Revoke()
	w.fake.Reset()
	const n = 8
	b := newBarrier(n)
	w.fake.Inject(fake.Fault{Op: "GET manifest*", Hold: b.wait, Times: n})
	var g errgroup.Group
	for range n {
		g.Go(func() error { return second(w.Images(t.Context(), "payments", "latest")) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if tokens, reads := w.fake.Count("token"), w.fake.Count("GET manifest*"); tokens > n/2 || reads != 2*n {
		t.Errorf("%d tokens for %d reads", tokens, reads)
	}
}

// A registry that lets anybody ping, and asks only at the repository.
func TestChallengeAtTheRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t, secured)
	w.fake.AddImage("payments", built, "latest")
	w.fake.Inject(fake.Fault{Op: "ping", Status: 200, Body: "{}"})
	one(t, w.Registry, "payments", "latest")
}

// Some registries know a repository by another name than its path; the scope they ask for is the one to get.
func TestScopeInTheRegistrysWords(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/token":
			mu.Lock()
			asked = req.URL.Query()["scope"]
			mu.Unlock()
			token := "plain"
			if asked[0] == "repository:library/payments:pull" {
				token = "right"
			}
			_, _ = w.Write([]byte(`{"access_token":"` + token + `"}`))
		case req.Header.Get("Authorization") != "Bearer right":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+req.Host+`/token",service="r",scope="repository:library/payments:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Content-Type", rollback.OCIManifest)
			_, _ = w.Write([]byte(`{"schemaVersion":2}`))
		}
	}))
	r, _ := client(t, Config{Host: host})
	one(t, r, "payments", "latest")
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 2 || asked[1] != "repository:payments:pull" {
		t.Errorf("asked for %q", asked)
	}
}

// Blobs may come from object storage, which gets none of our credentials.
func TestBlobRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, secured)
	w.fake.AddImage("payments", built, "latest")
	storage := httptest.NewServer(w.fake.Storage())
	t.Cleanup(storage.Close)
	rules := secured
	rules.BlobsAt = strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)
	w.fake.SetRules(rules)
	found := 0
	for page, err := range w.List(t.Context(), "payments") {
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page {
			if found++; !i.CreatedAt.Equal(built) {
				t.Errorf("created %s", i.CreatedAt)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d images", found)
	}
}

// A write goes where it was sent or nowhere, and a token request takes the password to no other host.
func TestRedirectsOfSecrets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, req.Method+" "+req.URL.Path+" "+req.Header.Get("Authorization"))
		w.Header().Set("Content-Type", rollback.OCIManifest)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(thief.Close)
	elsewhere := http.Header{"Location": {thief.URL + "/x"}}

	w := newWorld(t, secured)
	w.fake.AddImage("payments", built, "3f2a9c1")
	m := one(t, w.Registry, "payments", "3f2a9c1")
	w.fake.Inject(fake.Fault{Op: "PUT*", Status: 307, Header: elsewhere})
	_, err := w.Tag(t.Context(), "payments", m, "latest")
	wantKind(t, err, rollback.Rejected)

	v := newWorld(t, secured)
	v.fake.Inject(fake.Fault{Op: "token", Status: 307, Header: elsewhere})
	_, err = v.Images(t.Context(), "payments", "latest")
	wantKind(t, err, rollback.Unreachable)

	w.fake.Clear()
	w.fake.Inject(fake.Fault{Op: "GET manifest*", Status: 307, Header: elsewhere})
	_, err = w.Images(t.Context(), "payments", "3f2a9c1")
	wantKind(t, err, rollback.Broken) // the thief has no manifest

	w.fake.Clear()
	w.fake.Inject(fake.Fault{Op: "GET tags*", Status: 200, Body: `{"name":"payments","tags":["3f2a9c1"]}`,
		Header: http.Header{"Link": {"<" + thief.URL + `/v2/payments/tags/list?last=a>; rel="next"`}}})
	wantKind(t, drain(t, w.Registry), rollback.Broken)

	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0] != "GET /x " {
		t.Errorf("the other host got %q, want one read without credentials", got)
	}
}

// The docker configuration is read from DOCKER_CONFIG.
func TestDockerConfig(t *testing.T) {
	f := fakeoci.New(secured)
	host := serve(t, f)
	f.AddImage("payments", built, "latest")
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	t.Setenv("REGISTRY_AUTH_FILE", "")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"auths":{"` + host + `":{"auth":"Y2k6czNjcmV0"}}}`) // ci:s3cret
	r, err := New(t.Context(), Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.CloseIdleConnections)
	one(t, r, "payments", "latest")
	if repo, err := r.Repository(t.Context(), "payments"); err != nil || repo.Caller != "ci" {
		t.Errorf("caller %q, %v", repo.Caller, err)
	}

	write(`{"auths":`)
	if r, err = New(t.Context(), Config{Host: host}); err != nil {
		t.Fatal(err)
	}
	_, err = r.Repository(t.Context(), "payments")
	if e := wantKind(t, err, rollback.Expired); !strings.Contains(e.Fix, "DOCKER_CONFIG") {
		t.Errorf("fix %q", e.Fix)
	}
}

// A credential helper is run once for a wave of requests, and again when what it said is refused.
func TestCredentialHelperIsAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{Auth: fakeoci.Basic, Username: "ci", Password: "s3cret"})
	w.fake.AddImage("payments", built, "latest", "a", "b", "c")
	k := &counting{}
	w.keychain = k
	for range 2 {
		_, err := w.Images(t.Context(), "payments", "latest", "a", "b", "c")
		wantKind(t, err, rollback.Expired)
	}
	k.password.Store("s3cret")
	asked := k.asked.Load()
	for range 3 {
		if images, err := w.Images(t.Context(), "payments", "latest", "a", "b", "c"); err != nil || len(images) != 1 {
			t.Fatal(images, err)
		}
	}
	if n := k.asked.Load() - asked; n < 1 || n > 4 {
		t.Errorf("asked %d times for 12 requests after one change, want once or hardly more", n)
	}
}

type counting struct {
	asked    atomic.Int32
	password atomic.Value
}

func (c *counting) Resolve(authn.Resource) (authn.Authenticator, error) {
	c.asked.Add(1)
	password, ok := c.password.Load().(string)
	if !ok {
		password = "old"
	}
	return authn.FromConfig(authn.AuthConfig{Username: "ci", Password: password}), nil
}

// A credential helper may be a program that waits for somebody to type.
func TestCredentialHelperHangs(t *testing.T) {
	t.Parallel()
	for _, auth := range []fakeoci.Auth{fakeoci.Basic, fakeoci.Bearer} {
		w := newWorld(t, fakeoci.Rules{Auth: auth, Username: "ci", Password: "s3cret"})
		w.cfg.Timeout = time.Second
		release := make(chan struct{})
		w.keychain = waiting(release)
		_, err := w.Images(t.Context(), "payments", "latest")
		if e := wantKind(t, err, rollback.Expired); !strings.Contains(e.Fix, "credential helper") {
			t.Errorf("fix %q", e.Fix)
		}
		close(release)
	}
}

type waiting chan struct{}

func (w waiting) Resolve(authn.Resource) (authn.Authenticator, error) {
	<-w
	return nil, errors.New("nobody typed")
}
