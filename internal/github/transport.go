package github

// guard is the transport under go-github. It keeps the promises that go-github v60 does not make: credentials go to one
// host only, nothing is followed elsewhere, every try has a deadline and every answer a bound, limits are recognised in
// all their forms, and only what is safe to repeat is repeated. go-github sees whole, valid answers and nothing else.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	// attempts is how often a call is made in all, where repeating is safe.
	attempts = 3
	// largest is the most of an answer that is read, in bytes. A comparison with 300 patches is the largest asked for.
	largest = 32 << 20
	// apiVersion still names the merge commit of a pull request, which 2026-03-10 does not
	// (https://docs.github.com/en/rest/about-the-rest-api/breaking-changes).
	apiVersion = "2022-11-28"
)

type guard struct {
	base     *url.URL
	repo     string // path of the repository below base
	next     http.RoundTripper
	creds    *creds
	timeout  time.Duration // of one try
	patience time.Duration
	pause    func(context.Context, time.Duration) error
	now      func() time.Time
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", largest>>20)

// errForeignHost is a request that would have carried credentials to somebody else.
var errForeignHost = errors.New("not GitHub's host: nothing was sent")

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	a, err := g.exchange(req.Context(), req, body)
	if err != nil {
		if c := callOf(req.Context()); c.failed != nil {
			*c.failed = err
		}
		return nil, err
	}
	for name := range a.header { // limits are handled here; go-github would keep books of its own
		if strings.HasPrefix(name, "X-Ratelimit-") {
			a.header.Del(name)
		}
	}
	return &http.Response{
		Status: status(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: req,
	}, nil
}

// exchange makes a call with our credentials; those of an app are renewed once when they are refused.
func (g *guard) exchange(ctx context.Context, req *http.Request, body []byte) (answer, error) {
	if req.URL.Host != g.base.Host || req.URL.Scheme != g.base.Scheme {
		return answer{}, &rollback.CallError{System: system, Op: callOf(ctx).op, Kind: rollback.Rejected, Err: errForeignHost}
	}
	token, err := g.creds.token(ctx, g)
	if err != nil {
		return answer{}, err
	}
	a, err := g.call(ctx, req, body, token)
	if failed := (*rollback.CallError)(nil); errors.As(err, &failed) && failed.Kind == rollback.Expired && g.creds.app != nil {
		fresh, renewErr := g.creds.renew(ctx, g, token)
		if renewErr != nil {
			return answer{}, renewErr
		}
		if fresh != token {
			return g.call(ctx, req, body, fresh)
		}
	}
	return a, err
}

// call sends until there is an answer that repeating would not change, or may not.
func (g *guard) call(ctx context.Context, req *http.Request, body []byte, token string) (answer, error) {
	c := callOf(ctx)
	write := req.Method != http.MethodGet && req.Method != http.MethodHead && !c.query
	var before *rollback.CallError
	for attempt := 1; ; attempt++ {
		a, err := g.send(ctx, req, body, token)
		failed := g.judge(ctx, req, token, c.op, write, a, err)
		if failed == nil {
			return a, nil
		}
		if before != nil && ctx.Err() == context.Canceled { // given up: what went wrong before says more
			before.Maybe = before.Maybe || failed.Maybe
			return answer{}, before
		}
		before = failed
		again := false
		switch {
		case ctx.Err() != nil || errors.Is(err, errTooLarge):
		case failed.Kind == rollback.Throttled: // refused before it was looked at, so a write may be repeated too
			again = failed.RetryAfter <= g.patience
		case failed.Kind == rollback.ServerFault:
			again = (!write || c.repeatable) && failed.RetryAfter <= g.patience
		case failed.Kind == rollback.Unreachable, failed.Kind == rollback.Broken && err != nil:
			again = !write || c.repeatable || unsent(err)
		}
		if !again || attempt == attempts {
			return answer{}, failed
		}
		wait := failed.RetryAfter
		if wait == 0 {
			wait = 50*time.Millisecond + rand.N(200*time.Millisecond<<attempt)
		}
		if until, ok := ctx.Deadline(); ok && g.now().Add(wait).After(until) || g.pause(ctx, wait) != nil {
			return answer{}, failed
		}
	}
}

// send makes one try and reads the answer whole.
func (g *guard) send(ctx context.Context, req *http.Request, body []byte, token string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	try := req.Clone(ctx)
	try.Body, try.ContentLength, try.GetBody = http.NoBody, 0, nil
	if body != nil {
		try.Body, try.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	try.Header.Set("Authorization", "Bearer "+token)
	try.Header.Set("Accept", "application/vnd.github+json")
	try.Header.Set("X-GitHub-Api-Version", apiVersion)
	resp, err := g.next.RoundTrip(try)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, largest+1))
	if err == nil && len(a.body) > largest {
		err = errTooLarge
	}
	return a, err
}

// judge says what is wrong with an answer, nil if nothing is.
func (g *guard) judge(ctx context.Context, req *http.Request, token, op string, write bool, a answer, err error) *rollback.CallError {
	broken := func(err error) *rollback.CallError {
		return &rollback.CallError{System: system, Op: op, Kind: rollback.Broken, Code: status(a.status), Err: err, Maybe: write,
			Fix: "something other than GitHub may have answered: check the address, HTTPS_PROXY and the VPN"}
	}
	switch {
	case errors.Is(err, errTooLarge):
		return broken(err)
	case err != nil && a.status != 0 && !timedOut(err) && ctx.Err() == nil:
		return broken(fmt.Errorf("the answer ends early: %w", err))
	case err != nil:
		return g.unreachable(op, write && !unsent(err), err)
	case a.status == http.StatusNoContent || a.status == http.StatusResetContent:
		return nil
	case a.status >= 200 && a.status < 300:
		if media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); page(a) || media != "application/json" {
			return broken(fmt.Errorf("%s answers with %s in place of JSON", g.base.Host, kindOf(a)))
		}
		if !json.Valid(a.body) {
			return broken(fmt.Errorf("%s answers with something that is not JSON", g.base.Host))
		}
		if callOf(ctx).graphql {
			return g.limitInside(op, a)
		}
		return nil
	case a.status >= 300 && a.status < 400:
		return g.redirected(ctx, req, token, op, a)
	}
	return g.refused(op, write, a)
}

// redirected is an answer that sends us elsewhere. Credentials follow nobody, and a write is never repeated at a place
// that was not configured; a repository that was renamed is named, so that the configuration can be put right.
func (g *guard) redirected(ctx context.Context, req *http.Request, token, op string, a answer) *rollback.CallError {
	e := &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Code: status(a.status),
		Fix: "set repo in rollback.yaml to the repository's new name"}
	to, err := req.URL.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		e.Kind, e.Fix = rollback.Broken, "check the address of GitHub, HTTPS_PROXY and the VPN"
		e.Err = errors.New("a redirect to nowhere")
		return e
	}
	if to.Host != g.base.Host || to.Scheme != g.base.Scheme {
		e.Kind, e.Fix = rollback.Broken, "check the address of GitHub: it answers at another one, or a login page is in the way"
		e.Err = fmt.Errorf("a redirect to %s://%s, which gets no credentials: not followed", to.Scheme, to.Host)
		return e
	}
	moved := &Moved{From: strings.TrimPrefix(g.repo, "repos/")}
	e.Err = moved
	rest, ok := strings.CutPrefix(to.Path, g.base.Path+"repositories/")
	id, _, _ := strings.Cut(rest, "/")
	if _, err := strconv.ParseInt(id, 10, 64); !ok || err != nil {
		return e
	}
	// One question more: who is that number? It is a read at the same host, and its failure changes nothing.
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base.String()+"repositories/"+id, nil)
	if err != nil {
		return e
	}
	var who struct {
		FullName string `json:"full_name"`
	}
	if b, err := g.send(ctx, ask, nil, token); err == nil && b.status == http.StatusOK && json.Unmarshal(b.body, &who) == nil {
		if owner, name, ok := strings.Cut(who.FullName, "/"); ok && ownerForm.MatchString(owner) && nameForm.MatchString(name) {
			moved.To = who.FullName
			e.Fix = "set repo: " + who.FullName + " in rollback.yaml"
		}
	}
	return e
}

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// unsent tells whether an error came before the first byte went out.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// page tells whether an answer is a web page: a proxy's, a login form's, another server's.
func page(a answer) bool {
	t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return t == "text/html" || bytes.HasPrefix(bytes.TrimSpace(a.body[:min(len(a.body), 64)]), []byte("<"))
}

func kindOf(a answer) string {
	switch t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); {
	case page(a):
		return "a web page"
	case len(a.body) == 0:
		return "nothing"
	case t == "":
		return "an unnamed type"
	default:
		return fmt.Sprintf("%q", rollback.Printable(t))
	}
}

func status(code int) string {
	if code == 0 {
		return ""
	}
	if t := http.StatusText(code); t != "" {
		return fmt.Sprintf("%d %s", code, t)
	}
	return fmt.Sprint(code)
}
