package oci

// The handshake: one ping that tells how to authenticate, one token for each repository and kind of act. Each is asked
// for once, however many calls wait for it.

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// token is a bearer token as an Authorization header.
type token struct {
	header string
	until  time.Time
}

func pull(repository string) string { return "repository:" + repository + ":pull" }
func push(repository string) string { return "repository:" + repository + ":pull,push" }

// caller is the user name the registry is told, "" for nobody or where a token stands for the user.
func (r *Registry) caller(ctx context.Context) (string, error) {
	cfg, err := r.credentials(ctx, false)
	if err != nil {
		return "", err
	}
	if cfg.Username == "<token>" {
		return "", nil
	}
	return cfg.Username, nil
}

// credentials are those we have, or with renew what the keychain says now. It may run a credential helper, a program of
// the user's, so it is not asked for every request.
func (r *Registry) credentials(ctx context.Context, renew bool) (authn.AuthConfig, error) {
	r.mu.Lock()
	known := r.creds
	r.mu.Unlock()
	if known != nil && !renew {
		return *known, nil
	}
	err := r.once(ctx, "read credentials for "+r.cfg.Host, func(ctx context.Context) error {
		// Less than a call's time, so that it is the helper that is named when it hangs, and not the registry.
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout/2)
		defer cancel()
		cfg, err := r.resolve(ctx)
		if err != nil {
			return &rollback.CallError{System: system, Op: "read credentials for " + r.cfg.Host, Kind: rollback.Expired, Err: err,
				Fix: "check the docker configuration (config.json in DOCKER_CONFIG or ~/.docker) and its credential helper"}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.creds = cfg
		return nil
	})
	if err != nil {
		return authn.AuthConfig{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.creds, nil
}

// resolve asks the keychain, which does not heed contexts.
func (r *Registry) resolve(ctx context.Context) (*authn.AuthConfig, error) {
	type result struct {
		cfg *authn.AuthConfig
		err error
	}
	done := make(chan result, 1)
	go func() {
		a, err := authn.Resolve(ctx, r.keychain, r.registry)
		if err != nil {
			done <- result{nil, err}
			return
		}
		cfg, err := authn.Authorization(ctx, a)
		done <- result{cfg, err}
	}()
	select {
	case got := <-done:
		return got.cfg, got.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the credential helper gave no answer: %w", ctx.Err())
	}
}

// authorize is the Authorization header for a scope, "" for none. stale is a header the registry has just refused: it
// is not given again unless there is nothing else.
func (r *Registry) authorize(ctx context.Context, scope, stale string) (string, error) {
	how, err := r.handshake(ctx)
	if err != nil {
		return "", err
	}
	switch how.scheme {
	case "basic":
		cfg, err := r.credentials(ctx, stale != "")
		if err != nil {
			return "", err
		}
		return basicHeader(cfg), nil
	case "bearer":
		return r.bearer(ctx, how, scope, stale)
	}
	return "", nil
}

func basicHeader(cfg authn.AuthConfig) string {
	switch {
	case cfg.RegistryToken != "":
		return "Bearer " + cfg.RegistryToken
	case cfg.Username != "" && cfg.Password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(cfg.Username+":"+cfg.Password))
	case cfg.Auth != "":
		return "Basic " + cfg.Auth
	}
	return ""
}

// handshake is how the registry wants to be authenticated to, asked once.
func (r *Registry) handshake(ctx context.Context) (challenge, error) {
	r.mu.Lock()
	known := r.auth
	r.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	err := r.once(ctx, "ping", func(ctx context.Context) error {
		a, err := r.repeat(ctx, call{op: "GET /v2/", method: http.MethodGet, path: "/v2/"}, "")
		if err != nil {
			return err
		}
		var how challenge
		switch a.status {
		case http.StatusOK:
			if r.foreign(a) {
				return broken(call{op: "GET /v2/"}, status(a.status), r.strange(a))
			}
		case http.StatusNotFound:
			return broken(call{op: "GET /v2/"}, status(a.status), fmt.Errorf("%s has no registry API: is it the registry's host name?", r.cfg.Host))
		case http.StatusUnauthorized:
			var ok bool
			if how, ok = challengeOf(a.header); !ok {
				return &rollback.CallError{System: system, Op: "GET /v2/", Kind: rollback.Expired, Code: "401 Unauthorized",
					Err: fmt.Errorf("%s does not say how to log in: %q", r.cfg.Host, clip(a.header.Get("WWW-Authenticate")))}
			}
		default:
			return r.refusal(call{op: "GET /v2/", method: http.MethodGet}, a)
		}
		r.mu.Lock()
		r.auth = &how
		r.mu.Unlock()
		return nil
	})
	if err != nil {
		return challenge{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.auth, nil
}

// once runs f for all who ask under key at the same time. f does not end with the first caller's context, because
// others wait for it too, but at the timeout.
func (r *Registry) once(ctx context.Context, key string, f func(context.Context) error) error {
	ch := r.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
		defer cancel()
		return nil, f(ctx)
	})
	select {
	case res := <-ch:
		return res.Err
	case <-ctx.Done():
		return r.unreachable(call{op: key}, ctx.Err())
	}
}

// bearer is a token for the scope: the one we have, or a new one.
func (r *Registry) bearer(ctx context.Context, how challenge, scope, stale string) (string, error) {
	if h := r.token(scope, stale); h != "" {
		return h, nil
	}
	err := r.once(ctx, "token "+scope, func(ctx context.Context) error {
		if r.token(scope, stale) != "" {
			return nil
		}
		t, err := r.exchange(ctx, how, scope)
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tokens[scope] = t
		return nil
	})
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[scope].header, nil
}

// token is a header we have for scope that is still good. A token that allows pushing allows pulling, but it does not
// stand in for one that was refused: what ended the one has likely ended the other.
func (r *Registry) token(scope, stale string) string {
	scopes := []string{scope}
	if repository, ok := strings.CutSuffix(scope, ":pull"); ok && stale == "" {
		scopes = append(scopes, repository+":pull,push")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range scopes {
		if t, ok := r.tokens[s]; ok && t.header != stale && time.Now().Before(t.until) {
			return t.header
		}
	}
	return ""
}

// challenged takes note of what a 401 to a call asks for: another way to authenticate than the ping's, or another
// scope than ours.
func (r *Registry) challenged(scope string, h http.Header) (challenge, bool) {
	c, ok := challengeOf(h)
	if !ok {
		return c, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.auth = &c
	if s := c.params["scope"]; s != "" && s != scope && scope != "" {
		r.wanted[scope] = s
	}
	return c, true
}

// exchange gets a token from the server the registry names. It is a read, so it is repeated like one.
func (r *Registry) exchange(ctx context.Context, how challenge, scope string) (token, error) {
	cfg, err := r.credentials(ctx, true)
	if err != nil {
		return token{}, err
	}
	if cfg.RegistryToken != "" {
		return token{"Bearer " + cfg.RegistryToken, time.Now().Add(r.cfg.Timeout)}, nil
	}
	realm, err := url.Parse(how.params["realm"])
	if err != nil || realm.Host == "" {
		return token{}, &rollback.CallError{System: system, Op: "get a token", Kind: rollback.Broken,
			Err: fmt.Errorf("%s names %q as its token server", r.cfg.Host, clip(how.params["realm"]))}
	}
	var scopes []string
	if scope != "" {
		r.mu.Lock()
		if s := r.wanted[scope]; s != "" {
			scopes = append(scopes, s) // first, because some token servers look at one scope only
		}
		r.mu.Unlock()
		scopes = append(scopes, scope)
	}
	pr := &transport.Challenge{Scheme: "bearer", Parameters: how.params, Insecure: r.scheme == "http"}
	only := onlyHost{realm.Host, r.transport}
	for attempt := 1; ; attempt++ {
		begun := time.Now()
		t, err := transport.Exchange(ctx, r.registry, authn.FromConfig(cfg), only, scopes, pr)
		if err == nil {
			value := t.Token
			if t.AccessToken != "" {
				value = t.AccessToken
			}
			life := time.Duration(t.ExpiresIn) * time.Second
			if life <= 0 {
				life = time.Minute // what a server that does not say means
			}
			return token{"Bearer " + value, begun.Add(life - min(10*time.Second, life/4))}, nil
		}
		failed, again := r.noToken(realm.Host, cfg, err)
		if !again || attempt == attempts {
			return token{}, failed
		}
		if r.pause(ctx, attempt, 0) != nil {
			return token{}, failed
		}
	}
}

// noToken says why there is no token. The library's own text is not used: it may quote what the server sent.
func (r *Registry) noToken(host string, cfg authn.AuthConfig, err error) (failed *rollback.CallError, again bool) {
	c := call{op: "get a token from " + host, method: http.MethodGet}
	var refused *transport.Error
	if errors.As(err, &refused) {
		e := r.refusal(c, answer{status: refused.StatusCode, header: http.Header{}, body: nil})
		switch refused.StatusCode {
		case http.StatusBadRequest, http.StatusNotFound: // many token servers say 400 to a wrong password
			e.Kind = rollback.Expired
			e.Fix = r.login()
		}
		return e, refused.StatusCode >= 500 || refused.StatusCode == http.StatusTooManyRequests
	}
	var transportFault *url.Error
	if errors.As(err, &transportFault) {
		return r.unreachable(c, transportFault.Err), true
	}
	if r.lost(err) {
		return r.unreachable(c, err), true
	}
	if strings.Contains(err.Error(), "realm") {
		return &rollback.CallError{System: system, Op: c.op, Kind: rollback.Denied,
			Err: fmt.Errorf("%s sends us to a token server that is not trusted with credentials", r.cfg.Host)}, false
	}
	return &rollback.CallError{System: system, Op: c.op, Kind: rollback.Broken,
		Err: errors.New("the answer holds no token")}, false
}

// onlyHost keeps credentials where they were meant to go, whatever redirect the token server answers.
type onlyHost struct {
	host  string
	inner http.RoundTripper
}

func (o onlyHost) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != o.host {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, fmt.Errorf("redirect from %s to %s refused", o.host, req.URL.Host)
	}
	return o.inner.RoundTrip(req)
}
