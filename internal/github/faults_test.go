package github

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var (
	jsonType = http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	htmlType = http.Header{"Content-Type": {"text/html; charset=utf-8"}}
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func with(h http.Header, more ...string) http.Header {
	h = h.Clone()
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

const sha = rollback.Commit("0123456789012345678901234567890123456789")

// calls are all calls that the adapter makes, in its smallest parts.
var calls = []struct {
	name       string
	write      bool
	repeatable bool // although it writes
	do         func(context.Context, *Forge) error
}{
	{"log", false, false, func(ctx context.Context, f *Forge) error { return second(f.Recent(ctx)) }},
	{"access", false, false, func(ctx context.Context, f *Forge) error { return second(f.Access(ctx)) }},
	{"pull request", false, false, func(ctx context.Context, f *Forge) error { return second(f.PullRequest(ctx, 7)) }},
	{"pull requests", false, false, func(ctx context.Context, f *Forge) error { return second(f.pulls(ctx)) }},
	{"texts", false, false, func(ctx context.Context, f *Forge) error { return second(f.texts(ctx, []string{"PR_1_7"})) }},
	{"pull requests from", false, false, func(ctx context.Context, f *Forge) error { return second(f.openFrom(ctx, "rollback/x")) }},
	{"commit", false, false, func(ctx context.Context, f *Forge) error { return second(f.commit(ctx, sha)) }},
	{"commits before", false, false, func(ctx context.Context, f *Forge) error { return second(f.commitsFrom(ctx, sha, 3)) }},
	{"commits of", false, false, func(ctx context.Context, f *Forge) error { return second(f.commitsOf(ctx, 7)) }},
	{"compare", false, false, func(ctx context.Context, f *Forge) error { return second(f.compare(ctx, sha, sha)) }},
	{"tip", false, false, func(ctx context.Context, f *Forge) error { return second(f.tip(ctx, "main")) }},
	{"rules", false, false, func(ctx context.Context, f *Forge) error { return second(f.rules(ctx)) }},
	{"create commit", true, true, func(ctx context.Context, f *Forge) error {
		return second(f.createCommit(ctx, "create a commit", "text", string(sha), sha))
	}},
	{"merge into", true, false, func(ctx context.Context, f *Forge) error { return second(f.mergeInto(ctx, "rollback/tmp-1", sha)) }},
	{"open", true, false, func(ctx context.Context, f *Forge) error {
		return second(f.postPull(ctx, "title", "rollback/x", "text", false))
	}},
	{"delete", true, true, func(ctx context.Context, f *Forge) error { return f.deleteBranch(ctx, "rollback/tmp-1") }},
	{"merge", true, false, func(ctx context.Context, f *Forge) error {
		return f.mergeNow(ctx, mergeInfo{methods: []string{"squash"}, MergeState: rollback.MergeState{PR: rollback.PullRequest{Number: 7}}})
	}},
	{"auto-merge", true, true, func(ctx context.Context, f *Forge) error {
		return f.autoMerge(ctx, mergeInfo{methods: []string{"squash"}, MergeState: rollback.MergeState{PR: rollback.PullRequest{Number: 7}}})
	}},
	{"close", true, true, func(ctx context.Context, f *Forge) error { return f.closePull(ctx, 7) }},
	{"queue", true, false, func(ctx context.Context, f *Forge) error { return f.enqueue(ctx, mergeInfo{}) }},
	{"label", true, true, func(ctx context.Context, f *Forge) error {
		return f.rest(ctx, call{op: "label", repeatable: true}, http.MethodPost, "issues/7/labels", map[string]any{"labels": []string{"x"}}, nil)
	}},
}

func second[T any](_ T, err error) error { return err }

// faults are all ways in which a call can fail, and what becomes of them: at a read, at a write.
var faults = []struct {
	name  string
	fault fake.Fault
	kind  rollback.CallKind
	fix   string // part of the advice
	// reads and writes are how often a request is sent; writes that may be repeated are sent as often as reads.
	reads, writes int
	maybe         bool // a write may have been done
}{
	{"401", fake.Fault{Status: 401, Header: jsonType, Body: `{"message":"Bad credentials"}`}, rollback.Expired, "GITHUB_TOKEN", 1, 1, false},
	{"403", fake.Fault{Status: 403, Header: with(jsonType, "X-Accepted-GitHub-Permissions", "contents=write"), Body: `{"message":"Resource not accessible by integration"}`}, rollback.Denied, "contents: write", 1, 1, false},
	{"403 single sign-on", fake.Fault{Status: 403, Header: with(jsonType, "X-GitHub-SSO", "required; url=https://github.com/orgs/acme/sso?x=1"), Body: `{"message":"Resource protected by organization SAML enforcement"}`}, rollback.Denied, "https://github.com/orgs/acme/sso", 1, 1, false},
	{"403 workflow", fake.Fault{Status: 403, Header: jsonType, Body: "{\"message\":\"refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml` without `workflows` permission\"}"}, rollback.Denied, "workflows: write", 1, 1, false},
	{"403 page", fake.Fault{Status: 403, Header: htmlType, Body: fake.HTMLPage}, rollback.Denied, "", 1, 1, false},
	{"403 primary limit", fake.Fault{Status: 403, Header: with(jsonType, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "99999999999"), Body: `{"message":"API rate limit exceeded"}`}, rollback.Throttled, "wait", 1, 1, false},
	{"403 secondary limit", fake.Fault{Status: 403, Header: jsonType, Body: `{"message":"You have exceeded a secondary rate limit."}`}, rollback.Throttled, "1m0s", 1, 1, false},
	{"403 secondary limit, short", fake.Fault{Status: 403, Header: with(jsonType, "Retry-After", "1"), Body: `{"message":"You have exceeded a secondary rate limit."}`}, rollback.Throttled, "", 3, 3, false},
	{"404", fake.Fault{Status: 404, Header: jsonType, Body: `{"message":"Not Found"}`}, rollback.NotFound, "GitHub says 404 for both", 1, 1, false},
	{"404 page", fake.Fault{Status: 404, Header: htmlType, Body: fake.HTMLPage}, rollback.Broken, "address", 1, 1, true},
	{"405", fake.Fault{Status: 405, Header: jsonType, Body: `{"message":"Pull Request is not mergeable"}`}, rollback.Rejected, "", 1, 1, false},
	{"409", fake.Fault{Status: 409, Header: jsonType, Body: `{"message":"Merge conflict"}`}, rollback.Conflict, "", 1, 1, false},
	{"410", fake.Fault{Status: 410, Header: jsonType, Body: `{"message":"Gone"}`}, rollback.NotFound, "", 1, 1, false},
	{"422", fake.Fault{Status: 422, Header: jsonType, Body: `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No commits"},"plain",{"field":"head","code":"invalid"}]}`}, rollback.Rejected, "", 1, 1, false},
	{"407", fake.Fault{Status: 407}, rollback.Unreachable, "HTTPS_PROXY", 3, 1, false},
	{"429", fake.Fault{Status: 429, Header: with(jsonType, "Retry-After", "2"), Body: `{"message":"slow down"}`}, rollback.Throttled, "", 3, 3, false},
	{"429 for long", fake.Fault{Status: 429, Header: with(jsonType, "Retry-After", "600"), Body: `{"message":"slow down"}`}, rollback.Throttled, "10m0s", 1, 1, false},
	{"500", fake.Fault{Status: 500, Header: jsonType, Body: `{"message":"Server Error"}`}, rollback.ServerFault, "githubstatus.com", 3, 1, true},
	{"502 page", fake.Fault{Status: 502, Header: htmlType, Body: fake.HTMLPage}, rollback.ServerFault, "", 3, 1, true},
	{"503", fake.Fault{Status: 503, Header: with(jsonType, "Retry-After", "3")}, rollback.ServerFault, "", 3, 1, true},
	{"page with 200", fake.Fault{Status: 200, Header: htmlType, Body: fake.HTMLPage}, rollback.Broken, "HTTPS_PROXY", 1, 1, true},
	{"page as JSON", fake.Fault{Status: 200, Header: jsonType, Body: fake.HTMLPage}, rollback.Broken, "", 1, 1, true},
	{"empty 200", fake.Fault{Status: 200, Header: jsonType}, rollback.Broken, "", 1, 1, true},
	{"half JSON", fake.Fault{Status: 200, Header: jsonType, Body: `{"sha":"01`}, rollback.Broken, "", 1, 1, true},
	{"cut", fake.Fault{Cut: true, Header: jsonType, Body: `{"sha":`}, rollback.Broken, "", 3, 1, true},
	{"drop", fake.Fault{Drop: true}, rollback.Unreachable, "", 3, 1, true},
	{"hang", fake.Fault{Hang: true}, rollback.Unreachable, "network", 3, 1, true},
	{"redirect elsewhere", fake.Fault{Status: 302, Header: http.Header{"Location": {"https://evil.example.com/login"}}}, rollback.Broken, "login page", 1, 1, false},
	{"redirect to nowhere", fake.Fault{Status: 302}, rollback.Broken, "", 1, 1, false},
}

// counting counts the tries on our side: a server may never see one that ends early, or see one twice.
type counting struct {
	http.RoundTripper
	n *atomic.Int32
}

func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(req)
}

func (c *counting) CloseIdleConnections() { c.RoundTripper.(*http.Transport).CloseIdleConnections() }

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			board := &fake.Switchboard{Next: http.NotFoundHandler(), Op: func(r *http.Request) string { return r.Method }}
			web := httptest.NewServer(board)
			t.Cleanup(func() { board.Close(); web.Close() })
			f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "s3cret-token", TokenFrom: "GITHUB_TOKEN"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.Close)
			p := &pauses{}
			f.guard.pause = p.sleep
			if c.fault.Hang {
				f.guard.timeout = 30 * time.Millisecond
			}
			var sent atomic.Int32
			f.guard.next = &counting{f.guard.next, &sent}
			fault := c.fault
			fault.Hold = func(r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer s3cret-token" || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28" {
					t.Errorf("headers %v", r.Header)
				}
			}
			board.Inject(fault)
			for _, k := range calls {
				sent.Store(0)
				err := k.do(t.Context(), f)
				if k.name == "delete" && c.name == "404" {
					if err != nil {
						t.Errorf("what is not there is deleted: %v", err)
					}
					continue
				}
				var e *rollback.CallError
				if !errors.As(err, &e) || e.Kind != c.kind {
					t.Errorf("%s: %v, want %s", k.name, err, c.kind)
					continue
				}
				if e.System != "github" || e.Op == "" || !strings.Contains(e.Fix, c.fix) {
					t.Errorf("%s: system %q, op %q, fix %q", k.name, e.System, e.Op, e.Fix)
				}
				if text := err.Error() + e.Fix; strings.ContainsAny(text, "\n\r") || strings.Contains(text, "<html>") || strings.Contains(text, "s3cret") {
					t.Errorf("%s: %q", k.name, text)
				}
				want := c.reads
				if k.write && !k.repeatable {
					want = c.writes
				}
				if n := int(sent.Load()); n != want {
					t.Errorf("%s: sent %d times, want %d", k.name, n, want)
				}
				if e.Maybe != (k.write && c.maybe) {
					t.Errorf("%s: maybe is %t", k.name, e.Maybe)
				}
			}
			if slices.ContainsFunc(p.all(), func(d time.Duration) bool { return d > f.guard.patience }) {
				t.Errorf("slept %v", p.all())
			}
		})
	}
}

// A redirect never takes the credentials along, and never repeats a write.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var foreign atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { foreign.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		web := httptest.NewServer(http.RedirectHandler(other.URL+"/api/v3/repos/acme/payments", status))
		f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "x"})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range calls {
			if err := k.do(t.Context(), f); rollback.KindOf(err) != rollback.Broken {
				t.Errorf("%d, %s: %v", status, k.name, err)
			}
		}
		f.Close()
		web.Close()
	}
	if foreign.Load() != 0 {
		t.Errorf("the other host got %d requests", foreign.Load())
	}
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	web.Close()
	f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	p := &pauses{}
	f.guard.pause = p.sleep
	for _, k := range calls {
		err := k.do(t.Context(), f)
		if e := asCall(err); e == nil || e.Kind != rollback.Unreachable || e.Maybe || e.Fix == "" {
			t.Errorf("%s: %v", k.name, err)
		}
	}
}

// A call that is given up while it is tried again tells what went wrong before, and not just that it was given up.
func TestGivenUpInARetry(t *testing.T) {
	t.Parallel()
	for _, k := range calls {
		ctx, cancel := contextWithCancel(t)
		var seen atomic.Int32
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if seen.Add(1) > 1 {
				cancel()
				<-r.Context().Done()
			}
			panic(http.ErrAbortHandler)
		}))
		f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "x"})
		if err != nil {
			t.Fatal(err)
		}
		err = k.do(ctx, f)
		cancel()
		web.Close()
		if e := asCall(err); e == nil || e.Kind != rollback.Unreachable || errors.Is(err, context.Canceled) || e.Fix == "" || e.Maybe != k.write {
			t.Errorf("%s: %v (%+v)", k.name, err, e)
		}
	}
}

// GraphQL says what went wrong inside an answer of 200.
func TestGraphQLErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		kind rollback.CallKind
	}{
		{`{"data":{"repository":null},"errors":[{"type":"NOT_FOUND","message":"Could not resolve to a Repository"}]}`, rollback.NotFound},
		{`{"errors":[{"type":"FORBIDDEN","message":"Resource not accessible by integration"}]}`, rollback.Denied},
		{`{"errors":[{"type":"INSUFFICIENT_SCOPES","message":"Your token has not been granted the required scopes"}]}`, rollback.Denied},
		{`{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}`, rollback.Throttled},
		{`{"errors":[{"message":"Something went wrong while executing your query."}]}`, rollback.ServerFault},
		{`{"errors":[{"type":"SERVICE_UNAVAILABLE","message":"timeout"}]}`, rollback.ServerFault},
		{`{"errors":[{"type":"UNPROCESSABLE","message":"Pull request is in clean status"},{"message":"more"}]}`, rollback.Rejected},
		{`{"data":null}`, rollback.Broken},
		{`{}`, rollback.Broken},
		{`{"data":{"repository":{"nameWithOwner":"acme/payments","ref":{"target":{"oid":"x","history":{"nodes":[]}}}}}}`, rollback.Broken},
		{`{"data":{"repository":{"nameWithOwner":"acme/payments","ref":{"target":{"oid":"x","history":{"nodes":[{"oid":"../x"}]}}}}}}`, rollback.Broken},
		{`{"data":{"repository":{"nameWithOwner":"acme/payments","ref":null}}}`, rollback.NotFound},
		{`{"data":{"repository":{"nameWithOwner":"acme/payments-api"}}}`, rollback.Rejected},
		{`{"data":{"repository":[]}}`, rollback.Broken},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/graphql" {
				t.Errorf("asked %s", r.URL.Path)
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte(c.body))
		}))
		f, err := New(Config{BaseURL: web.URL, Repo: "acme/payments", Branch: "main", Token: "x"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Recent(t.Context())
		if rollback.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.body, err)
		}
		f.Close()
		web.Close()
	}
}
