package jenkins

// One call: its deadline, its repetitions and what its failure is called.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	system      = "jenkins"
	maxAttempts = 4
	firstPause  = 200 * time.Millisecond
	// maxPause is how often a restarting Jenkins is asked.
	maxPause = 5 * time.Second
	// maxRetryAfter is the longest wait a server can ask for that we still sit out ourselves.
	maxRetryAfter = 10 * time.Second
)

// statusError is an answer that says no.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("%d %s", e.code, http.StatusText(e.code)) }

// statusOf is the HTTP status of the refusal in err, 0 if it is none.
func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.code
	}
	return 0
}

// foreign is an answer that Jenkins does not send.
type foreign struct{ what string }

func (f *foreign) Error() string { return f.what }

var errHTML = &foreign{"an HTML page in place of an answer: a proxy or a sign-in page is in the way"}

// redirected is a redirect that is not followed, because credentials don't travel.
type redirected struct{ from, to *url.URL }

func (e *redirected) Error() string {
	return fmt.Sprintf("a redirect to %s://%s: not followed", e.to.Scheme, oneLine(e.to.Host))
}

// toSignIn is a redirect to a sign-in page: the credentials were not looked at, or Jenkins is not ready.
type toSignIn struct{ host string }

func (e *toSignIn) Error() string { return "a redirect to the sign-in page at " + oneLine(e.host) }

// unsent says why a request was not sent.
type unsent struct{ err error }

func (e *unsent) Error() string { return e.err.Error() }
func (e *unsent) Unwrap() error { return e.err }

// deaf says that whoever reads the log does not take it.
type deaf struct{ err error }

func (e *deaf) Error() string { return "writing the log: " + e.err.Error() }
func (e *deaf) Unwrap() error { return e.err }

// errLate is the cause of a try that took too long.
var errLate = errors.New("no answer in time")

// call makes one call, again where that is safe, and returns an answer, or nil and a *rollback.CallError.
func (r *requester) call(ctx context.Context, q request) (*http.Response, error) {
	start := time.Now()
	restarting, renewed := false, false
	for n, waits := 1, 0; ; n++ {
		var resp *http.Response
		var err error
		var late bool
		if q.writes() && r.password {
			q.crumbField, q.crumb, err = r.crumbs(ctx)
		}
		if err != nil {
			err = &unsent{err}
		} else if resp, err, late = r.try(ctx, q); err == nil {
			return resp, nil
		}
		var broken *deaf
		if errors.As(err, &broken) {
			return nil, err
		}
		f, again := r.failure(ctx, q, resp, err, late)
		status := 0
		if resp != nil {
			status = statusOf(err)
		}
		if status == http.StatusForbidden && q.writes() && r.password && !renewed && resp.Header.Get("X-Required-Permission") == "" {
			renewed = true // the session of the crumb is over; Jenkins did nothing
			r.forgetCrumb(ctx, q.crumb)
			continue
		}
		restarting = restarting || status == http.StatusServiceUnavailable
		var page *toSignIn
		wait := firstPause << min(n-1, 4)
		switch {
		case ctx.Err() != nil:
			return nil, f
		case !q.writes() && restarting && (status == http.StatusServiceUnavailable || errors.As(err, &page) || f.Kind == rollback.Unreachable && !late):
			if time.Since(start) >= r.patience || f.RetryAfter > maxRetryAfter {
				return nil, f
			}
			wait = min(firstPause<<min(waits, 5), maxPause)
			waits++
		case late:
			n++ // a hanging server costs a whole timeout: twice is enough
			fallthrough
		default:
			if !again || n >= maxAttempts || f.RetryAfter > maxRetryAfter {
				return nil, f
			}
		}
		wait = wait/2 + rand.N(wait)
		if f.RetryAfter > 0 {
			wait = f.RetryAfter
		}
		select {
		case <-ctx.Done():
			return nil, f
		case <-r.pause(wait):
		}
	}
}

// try sends a request once. A try ends when nothing came for the timeout; reading a long log may take longer than that.
func (r *requester) try(ctx context.Context, q request) (resp *http.Response, err error, late bool) {
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(r.timeout, func() { cancel(errLate) })
	defer timer.Stop()
	alive := func() {}
	if _, ok := q.out.(*stream); ok {
		alive = func() { timer.Reset(r.timeout) }
	}
	resp, err = r.send(attempt, q, alive)
	return resp, err, err != nil && ctx.Err() == nil && context.Cause(attempt) == errLate
}

// failure sorts an error by what a person does about it, and tells whether the call may be made again.
func (r *requester) failure(ctx context.Context, q request, resp *http.Response, err error, late bool) (*rollback.CallError, bool) {
	f := &rollback.CallError{System: system, Op: q.String(), Err: err}
	shown := r.base.Scheme + "://" + r.base.Host
	reads := !q.writes()
	var inner *rollback.CallError
	var not *unsent
	var page *toSignIn
	var moved *redirected
	var strange *foreign
	switch {
	case errors.As(err, &not) && ctx.Err() == nil:
		f.Kind, f.Err = rollback.Broken, fmt.Errorf("getting a crumb: %w", not.err)
		if errors.As(not.err, &inner) {
			f.Kind, f.Code, f.Fix, f.RetryAfter = inner.Kind, inner.Code, inner.Fix, inner.RetryAfter
		}
		return f, false
	case ctx.Err() != nil:
		f.Kind, f.Maybe = rollback.Unreachable, !reads && not == nil
		f.Err = context.Cause(ctx)
		if !errors.Is(f.Err, ctx.Err()) {
			f.Err = fmt.Errorf("%w: %w", ctx.Err(), f.Err)
		}
		return f, false
	case late:
		f.Kind, f.Maybe = rollback.Unreachable, !reads
		f.Err = fmt.Errorf("%s: no answer within %s: %w", shown, r.timeout, context.DeadlineExceeded)
		f.Fix = "check the network or VPN to " + shown
		return f, reads
	case errors.As(err, &page):
		f.Kind = rollback.Expired
		f.Fix = fmt.Sprintf("renew the API token of the Jenkins user %s; if it is fresh, a proxy before %s wants a sign-in of its own", r.user, shown)
		return f, true // whatever it was, nothing was done
	case errors.As(err, &moved):
		f.Kind, f.Maybe = rollback.Broken, !reads
		f.Fix = fmt.Sprintf("set the URL of Jenkins to the address it redirects to, if %s://%s is your Jenkins", moved.to.Scheme, oneLine(moved.to.Host))
		return f, false
	case errors.As(err, &strange):
		f.Kind, f.Maybe = rollback.Broken, !reads
		f.Fix = "check that " + shown + r.base.Path + " is Jenkins and that no proxy answers for it"
		return f, reads
	case resp != nil && statusOf(err) > 0:
		return r.refusal(f, q, resp)
	case resp != nil: // the body broke off
		f.Kind, f.Maybe = rollback.Broken, !reads
		f.Err = fmt.Errorf("the answer was cut off: %w", err)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			f.Err = errors.New("the answer was cut off")
		}
		return f, reads
	}
	return r.noAnswer(f, q, err)
}

// noAnswer sorts the errors of the network and of TLS.
func (r *requester) noAnswer(f *rollback.CallError, q request, err error) (*rollback.CallError, bool) {
	shown := r.base.Scheme + "://" + r.base.Host
	f.Kind = rollback.Unreachable
	f.Err = fmt.Errorf("%s: %w", shown, err)
	f.Fix = "check the network or VPN to " + shown
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &verify), errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)):
		f.Fix = "the certificate of " + shown + " is not trusted: name the file of its authority, and look for a proxy that opens TLS"
		return f, false
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		f.Fix = "check that " + shown + " speaks TLS on this port"
		return f, false
	}
	var name *net.DNSError
	if errors.As(err, &name) && name.IsNotFound {
		f.Fix = "the name " + name.Name + " does not resolve: check the VPN and the URL of Jenkins"
		return f, false
	}
	var op *net.OpError
	dialled := !errors.As(err, &op) || op.Op != "dial" // otherwise nothing was sent
	f.Maybe = dialled && q.writes()
	return f, !q.writes() || !dialled
}

// refusal sorts the answers that say no.
func (r *requester) refusal(f *rollback.CallError, q request, resp *http.Response) (*rollback.CallError, bool) {
	code := resp.StatusCode
	f.Code = fmt.Sprintf("%d %s", code, http.StatusText(code))
	f.RetryAfter = retryAfter(resp)
	if said := oneLine(resp.Header.Get("X-Error")); said != "" {
		f.Err = fmt.Errorf("%s: %w", said, f.Err)
	}
	reads := !q.writes()
	switch {
	case code == http.StatusUnauthorized:
		f.Kind = rollback.Expired
		f.Fix = "renew the API token of the Jenkins user " + r.user
		if r.password {
			f.Fix = "set the password of the Jenkins user " + r.user + ", or better an API token"
		}
	case code == http.StatusForbidden:
		f.Kind = rollback.Denied
		f.Fix = fmt.Sprintf("give the Jenkins user %s the right %s", r.user, right(q, resp))
		if resp.Header.Get("X-Jenkins") == "" && resp.Header.Get("X-Required-Permission") == "" {
			f.Fix += "; if it has that, a proxy before " + r.base.Host + " refuses"
		}
	case code == http.StatusNotFound:
		f.Kind = rollback.NotFound
		f.Fix = fmt.Sprintf("check the name of the job; Jenkins says the same of jobs that the user %s may not see", r.user)
	case code == http.StatusConflict:
		f.Kind = rollback.Conflict
	case code == http.StatusTooManyRequests:
		f.Kind = rollback.Throttled
		return f, true // it was not done, so even a POST may be sent again
	case code >= 500:
		f.Kind, f.Maybe = rollback.ServerFault, !reads
		return f, reads
	default:
		f.Kind = rollback.Rejected
	}
	return f, false
}

// right is the permission that a request lacks: as Jenkins names it, or the one that it is known to need.
func right(q request, resp *http.Response) string {
	if id := oneLine(resp.Header.Get("X-Required-Permission")); id != "" {
		id = strings.Replace(id, "hudson.model.Item.", "Job/", 1)
		return strings.Replace(id, "hudson.model.Hudson.", "Overall/", 1)
	}
	switch q.endpoint[strings.LastIndexByte(q.endpoint, '/')+1:] {
	case "build", "buildWithParameters", "submit":
		return "Job/Build"
	case "stop", "term", "kill", "cancelItem", "abort":
		return "Job/Cancel"
	case "createItem":
		return "Job/Create"
	case "enable", "disable", "config.xml":
		return "Job/Configure"
	}
	return "Overall/Read and Job/Read"
}

func retryAfter(resp *http.Response) time.Duration {
	text := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if s, err := strconv.Atoi(text); err == nil && s >= 0 {
		return time.Duration(min(s, 86400)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// passing tells whether a failed look may succeed a moment later.
func passing(err error) bool {
	switch rollback.KindOf(err) {
	case rollback.Unreachable, rollback.ServerFault, rollback.Throttled, rollback.Broken:
		return true
	}
	return false
}

// oneLine makes foreign text fit for one line of a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}
