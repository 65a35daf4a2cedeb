package github

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var appKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func keyFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// An app's token is made once, used by all calls, renewed before it ends, and once more when it is refused.
func TestApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	w.server.AddApp(fakegh.App{ID: 12, Installation: 345, Key: &appKey().PublicKey})
	app := &App{ID: 12, Installation: 345, KeyFile: keyFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(appKey()))}
	f, _ := w.forge(Config{App: app})
	now := time.Now()
	f.guard.now = func() time.Time { return now }
	var wave sync.WaitGroup
	for range 8 {
		wave.Go(func() {
			if _, err := f.Recent(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wave.Wait()
	const op = "apps/create-installation-access-token"
	if n := w.server.Count(op); n != 1 {
		t.Errorf("%d tokens for 8 calls", n)
	}
	f.guard.creds.ends = now.Add(renewal) // it ends within the step that begins now
	if _, err := f.Recent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.server.Count(op); n != 2 {
		t.Errorf("%d tokens, want one made before the end of the first", n)
	}
	w.server.ExpireAppTokens()
	if _, err := f.Recent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.server.Count(op); n != 3 {
		t.Errorf("%d tokens, want one made in place of the refused one", n)
	}
	// Refused again and again: it is tried once.
	w.server.Inject(fake.Fault{Op: "graphql:*", Status: 401, Header: jsonType, Body: `{"message":"Bad credentials"}`})
	if _, err := f.Recent(t.Context()); rollback.KindOf(err) != rollback.Expired || !strings.Contains(rollback.FixOf(err), "GitHub App 12") {
		t.Error(err)
	}
	w.server.Clear()
	for _, c := range []struct {
		fault fake.Fault
		kind  rollback.CallKind
	}{
		{fake.Fault{Op: op, Status: 404, Header: jsonType, Body: `{"message":"Not Found"}`}, rollback.NotFound},
		{fake.Fault{Op: op, Status: 403, Header: jsonType, Body: `{"message":"This installation has been suspended"}`}, rollback.Denied},
		{fake.Fault{Op: op, Status: 401, Header: jsonType, Body: `{"message":"'Expiration time' claim ('exp') is too far in the future"}`}, rollback.Expired},
		{fake.Fault{Op: op, Status: 201, Header: jsonType, Body: `{}`}, rollback.Broken},
		{fake.Fault{Op: op, Drop: true}, rollback.Unreachable},
		{fake.Fault{Op: op, Status: 307, Header: http.Header{"Location": {"/repositories/1"}}}, rollback.Rejected},
	} {
		g, _ := w.forge(Config{App: app})
		w.server.Clear()
		w.server.Inject(c.fault)
		_, err := g.Recent(t.Context())
		e := asCall(err)
		if e == nil || e.Kind != c.kind || e.Maybe || c.kind != rollback.Broken && e.Fix == "" || !strings.Contains(e.Op, "GitHub App 12") {
			t.Errorf("%+v: %v", c.fault, err)
		}
	}
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	c := &creds{app: &App{ID: 12}, key: appKey()}
	now := time.Unix(1800000000, 0)
	text, err := c.assertion(now)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(text, ".")
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&appKey().PublicKey, crypto.SHA256, sum[:], decode(parts[2])); err != nil {
		t.Error(err)
	}
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Iss != "12" || claims.Iat != now.Unix()-60 || claims.Exp <= now.Unix() || claims.Exp-claims.Iat > 600 || string(decode(parts[0])) != `{"alg":"RS256","typ":"JWT"}` {
		t.Errorf("%s %+v", decode(parts[0]), claims)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(appKey())
	if err != nil {
		t.Fatal(err)
	}
	good := keyFile(t, "PRIVATE KEY", pkcs8)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("ghp_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ok := Config{Repo: "acme/payments", Branch: "main", Token: "x"}
	for _, c := range []struct {
		name string
		edit func(*Config)
		want string // part of the error; "" for none
	}{
		{"all right", func(*Config) {}, ""},
		{"token file", func(c *Config) { c.Token, c.TokenFile = "", token }, ""},
		{"app", func(c *Config) { c.Token, c.App = "", &App{1, 2, good} }, ""},
		{"branch with slash", func(c *Config) { c.Branch = "release/2026.11" }, ""},
		{"owner", func(c *Config) { c.Repo = "../payments" }, "owner/name"},
		{"name", func(c *Config) { c.Repo = "acme/.." }, "owner/name"},
		{"three parts", func(c *Config) { c.Repo = "acme/payments/git" }, "owner/name"},
		{"query", func(c *Config) { c.Repo = "acme/pay?x=1" }, "owner/name"},
		{"no branch", func(c *Config) { c.Branch = "" }, "no name of a branch"},
		{"branch that climbs", func(c *Config) { c.Branch = "a/../../b" }, "no name of a branch"},
		{"prefix", func(c *Config) { c.TempPrefix = "tmp.." }, "beginning of a branch"},
		{"no credentials", func(c *Config) { c.Token = "" }, "no credentials"},
		{"two credentials", func(c *Config) { c.TokenFile = token }, "more than one"},
		{"no token file", func(c *Config) { c.Token, c.TokenFile = "", token+"x" }, "no such file"},
		{"line break", func(c *Config) { c.Token = "s3cret\nX: y" }, "characters that no token has"},
		{"no key", func(c *Config) { c.Token, c.App = "", &App{1, 2, token} }, "no PEM block"},
		{"no installation", func(c *Config) { c.Token, c.App = "", &App{1, 0, good} }, "its installation"},
		{"plain http", func(c *Config) { c.BaseURL = "http://github.example.com" }, "plain http"},
		{"no address", func(c *Config) { c.BaseURL = "github.example.com" }, "not an address"},
		{"password in it", func(c *Config) { c.BaseURL = "https://a:b@github.example.com" }, "not an address"},
		{"CA file", func(c *Config) { c.CAFile = token }, "no certificate"},
	} {
		cfg := ok
		c.edit(&cfg)
		_, err := New(cfg)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || rollback.FixOf(err) == "") {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                  "https://api.github.com/ graphql",
		"https://github.com":                "https://api.github.com/ graphql",
		"https://api.github.com/":           "https://api.github.com/ graphql",
		"https://acme.ghe.com":              "https://api.acme.ghe.com/ graphql",
		"https://api.acme.ghe.com":          "https://api.acme.ghe.com/ graphql",
		"https://github.example.com":        "https://github.example.com/api/v3/ ../graphql",
		"https://github.example.com/api/v3": "https://github.example.com/api/v3/ ../graphql",
		"https://example.com/git/api/v3/":   "https://example.com/git/api/v3/ ../graphql",
		"http://127.0.0.1:8080":             "http://127.0.0.1:8080/api/v3/ ../graphql",
	} {
		u, graphql, err := endpoint(in)
		if err != nil || u.String()+" "+graphql != want {
			t.Errorf("%q: %s %s, %v", in, u, graphql, err)
		}
	}
}

// A renamed repository is not followed: it is named, so that the configuration can be put right.
func TestRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	w.repo.Rename("acme/payments-api")
	for name, do := range map[string]func() error{
		"log":          func() error { return second(w.Recent(t.Context())) },
		"pull request": func() error { return second(w.PullRequest(t.Context(), 1)) },
		"write":        func() error { return w.pointBranch(t.Context(), "rollback/x", w.head(), false) },
		"revert":       func() error { return second(w.Revert(t.Context(), rollback.RevertRequest{Commit: w.head()})) },
	} {
		err := do()
		if err == nil || !strings.Contains(rollback.FixOf(err), "repo: acme/payments-api") {
			t.Errorf("%s: %v, %s", name, err, rollback.FixOf(err))
		}
	}
}
