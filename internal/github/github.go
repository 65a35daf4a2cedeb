// Package github is the adapter for GitHub and GitHub Enterprise: what was committed lately, which pull requests there
// are, what keeps them from being merged, and the revert without a clone.
package github

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Config says which repository to talk to and as whom.
type Config struct {
	// BaseURL is the address people use: "" or https://github.com, https://acme.ghe.com, https://github.example.com. The
	// address of the API (https://api.github.com/, https://github.example.com/api/v3/) is understood as well.
	BaseURL string
	Repo    string // owner/name
	Branch  string // that is deployed; the base of every pull request

	// Token, or TokenFile that holds it, or App. TokenFrom says where it came from, for errors: "GITHUB_TOKEN".
	Token, TokenFile, TokenFrom string
	App                         *App

	// BranchPrefix and TempPrefix are what new branches and temporary ones begin with; "" means the domain's.
	BranchPrefix, TempPrefix string
	// CAFile holds more certificate authorities, PEM; "" for the system's alone.
	CAFile string
	// Timeout is how long one try of a call may take, Patience the longest wait GitHub may ask for before the call is given
	// up. 0 means 10 s and 5 s.
	Timeout, Patience time.Duration
}

// Forge is one branch of one repository. It may be used from many goroutines.
type Forge struct {
	owner, name, branch      string
	branchPrefix, tempPrefix string
	graphql                  string // path of the GraphQL endpoint, from the base of the API

	client client
	guard  *guard
}

var (
	_ rollback.Commits      = (*Forge)(nil)
	_ rollback.Reverter     = (*Forge)(nil)
	_ rollback.PullRequests = (*Forge)(nil)
)

// callTimeout is how long one call may take with all its tries, where a single try may not take longer.
const callTimeout = 30 * time.Second

// Forms of what becomes part of a path. GitHub's own rules are wider in parts; what these refuse could leave the path.
var (
	ownerForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9_])?$`)
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	shaForm   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// New prepares a forge. It makes no call.
func New(c Config) (*Forge, error) {
	owner, name, ok := strings.Cut(c.Repo, "/")
	switch {
	case !ok || !ownerForm.MatchString(owner) || !nameForm.MatchString(name) || name == "." || name == "..":
		return nil, configured("set repo in rollback.yaml, such as acme/payments", "repository %q: want owner/name", c.Repo)
	case !rollback.ValidBranch(c.Branch):
		return nil, configured("set branch in rollback.yaml, such as main", "branch %q is no name of a branch", c.Branch)
	}
	f := &Forge{owner: owner, name: name, branch: c.Branch, branchPrefix: c.BranchPrefix, tempPrefix: c.TempPrefix}
	if f.branchPrefix == "" {
		f.branchPrefix = rollback.BranchPrefix
	}
	if f.tempPrefix == "" {
		f.tempPrefix = rollback.TempBranchPrefix
	}
	for _, p := range []string{f.branchPrefix, f.tempPrefix} {
		if !rollback.ValidBranch(p + "x") {
			return nil, configured("use a prefix such as rollback/", "%q is no beginning of a branch's name", p)
		}
	}
	base, graphql, err := endpoint(c.BaseURL)
	if err != nil {
		return nil, err
	}
	f.graphql = graphql
	creds, err := credentials(c)
	if err != nil {
		return nil, err
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	f.guard = &guard{
		base: base, creds: creds, timeout: c.Timeout, patience: c.Patience, pause: pause, now: time.Now,
		repo: "repos/" + owner + "/" + name,
		next: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   5 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       30 * time.Second,
			ExpectContinueTimeout: time.Second,
		},
	}
	if f.guard.timeout == 0 {
		f.guard.timeout = 10 * time.Second
	}
	if f.guard.patience == 0 {
		f.guard.patience = 5 * time.Second
	}
	sdk := gh.NewClient(&http.Client{
		Transport:     f.guard,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	sdk.BaseURL, sdk.UserAgent = base, "rollback"
	f.client = clientOf(sdk)
	return f, nil
}

// Close ends idle connections.
func (f *Forge) Close() {
	if t, ok := f.guard.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Repo is the repository, owner/name.
func (f *Forge) Repo() string { return f.owner + "/" + f.name }

// endpoint is the base of the REST API, with a slash at its end, and where GraphQL is from there
// (https://docs.github.com/en/enterprise-server@latest/rest/using-the-rest-api/getting-started-with-the-rest-api,
// https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency/network-details-for-ghecom).
func endpoint(address string) (*url.URL, string, error) {
	if address == "" {
		address = "https://api.github.com"
	}
	u, err := url.Parse(address)
	const fix = "give GitHub's address, such as https://github.example.com"
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", configured(fix, "%q is not an address of GitHub", address)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, "", configured(fix, "%s: credentials are not sent over plain http", address)
		}
	default:
		return nil, "", configured(fix, "%q is not an address of GitHub", address)
	}
	path := strings.TrimSuffix(u.Path, "/")
	switch host := strings.ToLower(u.Host); {
	case host == "github.com" || host == "www.github.com":
		u.Host = "api.github.com"
	case strings.HasSuffix(host, ".ghe.com") && !strings.HasPrefix(host, "api."):
		u.Host = "api." + host
	case strings.HasPrefix(host, "api."):
	default:
		path = strings.TrimSuffix(path, "/api/v3") + "/api/v3"
	}
	u.Path = path + "/"
	if strings.HasSuffix(u.Path, "/api/v3/") {
		return u, "../graphql", nil
	}
	return u, "graphql", nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, configured("give a file of certificates, PEM", "%v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, configured("give a file of certificates, PEM", "%s holds no certificate", file)
	}
	return pool, nil
}

func configured(fix, format string, args ...any) error {
	return &rollback.CallError{System: system, Op: "configure", Kind: rollback.Rejected, Fix: fix, Err: fmt.Errorf(format, args...)}
}

// call is what the guard must know about a request beyond the request itself; it travels in the context.
type call struct {
	op string // as errors name it: "create branch rollback/…"
	// repeatable says that sending it twice does no more than sending it once, although it is not a GET.
	repeatable bool
	// query says that it only reads, although it is a POST (GraphQL).
	query bool
	// graphql says that what went wrong may be inside an answer of 200.
	graphql bool
	// spare is the field of a GraphQL answer that it does without where it is forbidden; lost is where the refusal is left.
	spare string
	lost  *string
	// failed is where the guard leaves why it failed: when the context has ended, go-github returns that and nothing else.
	failed *error
}

type callKey struct{}

// begin gives one call its name and its deadline.
func (f *Forge) begin(ctx context.Context, c call) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, max(callTimeout, attempts*f.guard.timeout))
	c.failed = new(error)
	return context.WithValue(ctx, callKey{}, c), cancel
}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// fail turns what go-github returned into the domain's error. The guard has made one of everything that GitHub or the
// network did; what is left are answers that could not be decoded and contexts that ended.
func (f *Forge) fail(ctx context.Context, write bool, err error) error {
	if err == nil {
		return nil
	}
	var known *rollback.CallError
	if errors.As(err, &known) {
		return known
	}
	c := callOf(ctx)
	if c.failed != nil && errors.As(*c.failed, &known) {
		return known
	}
	write = write && !c.query
	if ended := ctx.Err(); ended != nil {
		return f.guard.unreachable(c.op, write, ended)
	}
	return &rollback.CallError{System: system, Op: c.op, Kind: rollback.Broken, Maybe: write, Err: err,
		Fix: "something other than GitHub may have answered: check the address, HTTPS_PROXY and the VPN"}
}

// rest makes a REST call: path is relative to the repository.
func (f *Forge) rest(ctx context.Context, c call, method, path string, in, out any) error {
	ctx, cancel := f.begin(ctx, c)
	defer cancel()
	write := method != http.MethodGet
	req, err := f.client.NewRequest(method, f.guard.repo+"/"+path, in)
	if err != nil {
		return f.fail(ctx, false, err)
	}
	_, err = f.client.Do(ctx, req, out)
	return f.fail(ctx, write, err)
}
