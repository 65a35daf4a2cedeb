// Package oci is the registry port over the OCI distribution API, for any registry that is not ECR: Harbor, GitLab,
// GHCR, Artifactory, Quay, distribution itself
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//
// Cost, in requests that wait for one another, once the handshake has been made: Images 1, Manifests 1, Tag 1 (2 when
// the tag has not been read in the last minute), Repository 1. The handshake is one ping, and with bearer
// authentication one token for each repository and kind of act; both are kept and shared.
//
// What the API cannot tell: which tags name a digest (Image.Tags holds only the tags that were asked for), when an
// image was pushed (List gives CreatedAt, from the image's own configuration), whether tags may be moved, and which
// rules delete images.
package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/singleflight"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Config says which registry, and how to reach it.
type Config struct {
	// Host is the registry as image references write it: "registry.example.com", "harbor.example.com:8443".
	Host string
	// Insecure speaks plain http. Without it only a registry on this machine (localhost, 127.0.0.0/8, ::1) is spoken to
	// in plain http, and that one too over TLS when CAFile is set.
	Insecure bool
	// CAFile holds PEM certificates that are trusted beside the system's.
	CAFile string
	// Username and Password, when both are set, are used in place of the docker configuration. They come from the
	// environment or a file, never from a command line.
	Username, Password string
	// CredentialsFrom names where Username and Password came from, for the remedy in errors: "REGISTRY_USERNAME and
	// REGISTRY_PASSWORD".
	CredentialsFrom string
	// Timeout bounds each request with its repetitions; 0 means 10 seconds.
	Timeout time.Duration
}

// Registry is one OCI registry. It is safe for concurrent use.
type Registry struct {
	cfg       Config
	registry  name.Registry // the host as the API is reached, index.docker.io for docker.io
	scheme    string
	transport http.RoundTripper
	client    *http.Client
	keychain  authn.Keychain
	sleep     func(context.Context, time.Duration) error

	flights singleflight.Group
	mu      sync.Mutex        // guards what follows
	auth    *challenge        // nil until the ping was answered
	creds   *authn.AuthConfig // nil until the keychain was asked
	tokens  map[string]token
	wanted  map[string]string   // scope, in the registry's own words, by our scope
	seen    map[string]sighting // what a tag named when it was last read, by repository:tag
	exists  map[string]bool     // repositories that have answered
}

var (
	_ rollback.Registry = (*Registry)(nil)
	_ rollback.Lister   = (*Registry)(nil)
)

// New checks the configuration; the registry itself is first asked by the first call. Errors are mistakes in the
// configuration.
func New(_ context.Context, cfg Config) (*Registry, error) {
	if cfg.Host == "" {
		return nil, rollback.UsageErrorf("registry: no host")
	}
	registry, err := name.NewRegistry(cfg.Host, name.StrictValidation)
	if err != nil {
		return nil, rollback.UsageErrorf("registry host %q: want a host name with an optional port, without https:// and path", cfg.Host)
	}
	if (cfg.Username == "") != (cfg.Password == "") {
		return nil, rollback.UsageErrorf("registry %s: user name and password must be given together", cfg.Host)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	r := &Registry{
		cfg: cfg, registry: registry, scheme: "https", keychain: authn.DefaultKeychain, sleep: sleep,
		tokens: map[string]token{}, wanted: map[string]string{}, seen: map[string]sighting{}, exists: map[string]bool{},
	}
	if cfg.Insecure || loopback(registry.RegistryStr()) && cfg.CAFile == "" {
		r.scheme = "http"
	}
	if cfg.Username != "" {
		r.keychain = given{authn.FromConfig(authn.AuthConfig{Username: cfg.Username, Password: cfg.Password})}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = concurrency // the default of 2 would dial anew for most of a wave
	if cfg.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, rollback.UsageErrorf("registry %s: CA file: %w", cfg.Host, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, rollback.UsageErrorf("registry %s: CA file %s holds no PEM certificate", cfg.Host, cfg.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	r.transport = t
	r.client = &http.Client{Transport: t, CheckRedirect: r.redirect}
	return r, nil
}

// Close ends idle connections.
func (r *Registry) Close() { r.client.CloseIdleConnections() }

// Repository implements rollback.Registry. It proves that the credentials are good (one request), not that the
// repository exists: the only question that would tell lists every tag.
func (r *Registry) Repository(ctx context.Context, repository string) (rollback.Repository, error) {
	if err := checkRepository(repository); err != nil {
		return rollback.Repository{}, err
	}
	caller, err := r.caller(ctx)
	if err != nil {
		return rollback.Repository{}, err
	}
	a, err := r.do(ctx, call{op: "GET /v2/", method: http.MethodGet, path: "/v2/", scope: pull(repository)})
	if err != nil {
		return rollback.Repository{}, err
	}
	if a.status != http.StatusOK || r.foreign(a) {
		return rollback.Repository{}, r.refusal(call{op: "GET /v2/", method: http.MethodGet}, a)
	}
	return rollback.Repository{
		Kind: "oci", Host: r.cfg.Host, Name: repository, Caller: caller,
		Unknown: []string{
			"whether tags may be moved: the OCI API does not tell, the registry answers when the tag is written",
			"which images are deleted when: the OCI API does not tell retention rules",
		},
	}, nil
}

// redirect lets reads follow to another host (object storage, a regional mirror) without our credentials, and nothing
// else: a write is never repeated elsewhere, and TLS is never given up.
func (r *Registry) redirect(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet && first.Method != http.MethodHead:
		return http.ErrUseLastResponse
	case len(via) > 5:
		return errors.New("more than 5 redirects")
	case req.URL.Scheme != first.URL.Scheme && req.URL.Scheme != "https":
		return fmt.Errorf("redirect from %s to %s://%s refused", first.URL.Scheme, req.URL.Scheme, req.URL.Host)
	}
	if req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme {
		req.Header.Del("Authorization")
	}
	return nil
}

// loopback tells whether host, with or without a port, is this machine.
func loopback(host string) bool {
	h := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		h = bare
	}
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}

// given is a keychain of one credential.
type given struct{ auth authn.Authenticator }

func (g given) Resolve(authn.Resource) (authn.Authenticator, error) { return g.auth, nil }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func checkRepository(repository string) error {
	if !rollback.ValidRepository(repository) {
		return rejected("repository", fmt.Errorf("%q is not a repository name", repository))
	}
	return nil
}

// checkRef wants a tag or a digest, so that nothing else gets into a URL.
func checkRef(ref string) error {
	if _, err := rollback.ParseDigest(ref); err != nil && !rollback.ValidTag(ref) {
		return rejected("manifest", fmt.Errorf("%q is neither a tag nor a digest", ref))
	}
	return nil
}
