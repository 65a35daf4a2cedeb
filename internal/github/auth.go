package github

// Who we are: a token, or an installation of a GitHub App, for which tokens of one hour are made and renewed in time.

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// App is an installation of a GitHub App.
type App struct {
	ID           int64 // of the app
	Installation int64
	KeyFile      string // its private key, PEM
}

const (
	// renewal is how long before its end a token is renewed: no run may begin a step with a token that ends in it.
	renewal = 5 * time.Minute
	// assertionLife is how long the app's own assertion holds; GitHub takes at most ten minutes, and it allows for clocks
	// that are a minute ahead (https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app).
	assertionLife = 9 * time.Minute
	clockSkew     = time.Minute
)

// creds are a token that does not change, or an app and its current one.
type creds struct {
	static string
	from   string // where static came from
	app    *App
	key    *rsa.PrivateKey

	turn    chan struct{} // holds one item; who has it may look at current and renew it
	current string
	ends    time.Time
}

func credentials(c Config) (*creds, error) {
	const fix = "set GITHUB_TOKEN, or configure a GitHub App"
	given := 0
	for _, set := range []bool{c.Token != "", c.TokenFile != "", c.App != nil} {
		if set {
			given++
		}
	}
	switch {
	case given == 0:
		return nil, &rollback.CallError{System: system, Op: "configure", Kind: rollback.Expired, Fix: fix, Err: errors.New("no credentials for GitHub")}
	case given > 1:
		return nil, configured("leave all but one away", "more than one of token, token file and app is given")
	case c.App != nil:
		key, err := readKey(c.App.KeyFile)
		if err != nil {
			return nil, err
		}
		if c.App.ID <= 0 || c.App.Installation <= 0 {
			return nil, configured("both numbers are on the app's settings page", "a GitHub App needs its id and the id of its installation")
		}
		out := &creds{app: c.App, key: key, turn: make(chan struct{}, 1)}
		out.turn <- struct{}{}
		return out, nil
	}
	token, from := c.Token, c.TokenFrom
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, configured(fix, "%v", err)
		}
		token, from = string(b), c.TokenFile
	}
	if token = strings.TrimSpace(token); token == "" {
		return nil, &rollback.CallError{System: system, Op: "configure", Kind: rollback.Expired, Fix: fix, Err: fmt.Errorf("%s is empty", from)}
	}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return nil, configured(fix, "the token has characters that no token has") // and is not shown
		}
	}
	if from == "" {
		from = "the token"
	}
	return &creds{static: token, from: from}, nil
}

func readKey(file string) (*rsa.PrivateKey, error) {
	const fix = "give the private key that the app's settings page lets download, a .pem file"
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, configured(fix, "%v", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, configured(fix, "%s holds no PEM block", file)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, configured(fix, "%s holds no private key", file)
	}
	if k, ok := key.(*rsa.PrivateKey); ok {
		return k, nil
	}
	return nil, configured(fix, "%s holds a key that is not RSA", file)
}

// who names the credentials in a sentence.
func (c *creds) who() string {
	if c.app != nil {
		return fmt.Sprintf("GitHub App %d", c.app.ID)
	}
	return c.from
}

func (c *creds) fix() string {
	if c.app != nil {
		return fmt.Sprintf("check the id, the installation and the key of GitHub App %d, and this machine's clock", c.app.ID)
	}
	return "check " + c.from + ": it is wrong, expired or revoked"
}

// token is one that is good for a while yet.
func (c *creds) token(ctx context.Context, g *guard) (string, error) {
	if c.app == nil {
		return c.static, nil
	}
	return c.make(ctx, g, func() bool { return c.current == "" || !g.now().Add(renewal).Before(c.ends) })
}

// renew makes another one in place of one that was refused, unless somebody has done so.
func (c *creds) renew(ctx context.Context, g *guard, refused string) (string, error) {
	return c.make(ctx, g, func() bool { return c.current == refused })
}

func (c *creds) make(ctx context.Context, g *guard, needed func() bool) (string, error) {
	op := "make a token for " + c.who()
	select {
	case <-c.turn:
	case <-ctx.Done():
		return "", g.unreachable(op, false, ctx.Err())
	}
	defer func() { c.turn <- struct{}{} }()
	if !needed() {
		return c.current, nil
	}
	assertion, err := c.assertion(g.now())
	if err != nil {
		return "", &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: err}
	}
	at := g.base.String() + "app/installations/" + strconv.FormatInt(c.app.Installation, 10) + "/access_tokens"
	ctx = context.WithValue(ctx, callKey{}, call{op: op, repeatable: true}) // a token that nobody uses does no harm
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, nil)
	if err != nil {
		return "", &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: err}
	}
	a, err := g.call(ctx, req, nil, assertion)
	if err != nil {
		if e := (*rollback.CallError)(nil); errors.As(err, &e) {
			e.Maybe = false
			if e.Kind == rollback.NotFound || e.Kind == rollback.Denied {
				e.Fix = fmt.Sprintf("check that installation %d belongs to GitHub App %d, and that it is not suspended", c.app.Installation, c.app.ID)
			}
		}
		return "", err
	}
	var out struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil || out.Token == "" || out.ExpiresAt.IsZero() {
		return "", &rollback.CallError{System: system, Op: op, Kind: rollback.Broken, Code: status(a.status), Err: errors.New("the answer holds no token")}
	}
	c.current, c.ends = out.Token, out.ExpiresAt
	return c.current, nil
}

// assertion is the app's own proof of who it is: a JSON Web Token, RS256 (RFC 7519, RFC 7518 section 3.3).
func (c *creds) assertion(now time.Time) (string, error) {
	enc := base64.RawURLEncoding
	claims, err := json.Marshal(map[string]any{
		"iat": now.Add(-clockSkew).Unix(), "exp": now.Add(assertionLife - clockSkew).Unix(), "iss": strconv.FormatInt(c.app.ID, 10),
	})
	if err != nil {
		return "", err
	}
	text := enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + enc.EncodeToString(signature), nil
}
