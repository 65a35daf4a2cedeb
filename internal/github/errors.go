package github

// Failures, sorted by what a person does about them.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const system = "github"

// Moved says that a repository has another name now. To is "" where the new name could not be read.
type Moved struct{ From, To string }

func (m *Moved) Error() string {
	if m.To == "" {
		return m.From + " was renamed or transferred"
	}
	return m.From + " is " + m.To + " now"
}

// refusal is what GitHub said about a request it did not do (https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api).
type refusal struct {
	status  int
	message string
	details []string
}

func (r *refusal) Error() string {
	text := r.message
	if len(r.details) > 0 {
		text = strings.TrimPrefix(text+": ", ": ") + strings.Join(r.details, "; ")
	}
	return rollback.Printable(text)
}

// says tells whether GitHub's words contain a text, in either case.
func (r *refusal) says(text string) bool {
	return strings.Contains(strings.ToLower(r.message+" "+strings.Join(r.details, " ")), strings.ToLower(text))
}

// refusalIn is GitHub's own answer inside an error, with status 0 where there is none.
func refusalIn(err error) *refusal {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r
	}
	return &refusal{}
}

// maybe tells whether a failed write may have been done all the same.
func maybe(err error) bool {
	var c *rollback.CallError
	return errors.As(err, &c) && c.Maybe
}

func readRefusal(a answer) *refusal {
	r := &refusal{status: a.status}
	var form struct {
		Message string
		Errors  json.RawMessage
	}
	if json.Unmarshal(a.body, &form) != nil {
		return r
	}
	r.message = form.Message
	var many []json.RawMessage
	if json.Unmarshal(form.Errors, &many) != nil && len(form.Errors) > 0 {
		many = []json.RawMessage{form.Errors}
	}
	for _, raw := range many {
		var text string
		var d struct{ Resource, Field, Code, Message string }
		switch {
		case json.Unmarshal(raw, &text) == nil:
			r.details = append(r.details, text)
		case json.Unmarshal(raw, &d) == nil && d.Message != "":
			r.details = append(r.details, d.Message)
		case json.Unmarshal(raw, &d) == nil && d.Field != "":
			r.details = append(r.details, strings.TrimSpace(d.Field+" "+d.Code))
		}
	}
	return r
}

// refused is the error for an answer of 400 and above.
func (g *guard) refused(op string, write bool, a answer) *rollback.CallError {
	said := readRefusal(a)
	e := &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Code: status(a.status)}
	if said.message != "" || len(said.details) > 0 {
		e.Err = said
	}
	if wait, limited := limit(a, said, g.now()); limited {
		return throttled(e, wait)
	}
	strange := func() {
		e.Err = fmt.Errorf("%s answers with %s", g.base.Host, kindOf(a))
	}
	switch {
	case a.status == http.StatusUnauthorized:
		e.Kind, e.Fix = rollback.Expired, g.creds.fix()
	case a.status == http.StatusForbidden, a.status == http.StatusUnavailableForLegalReasons:
		e.Kind, e.Fix = rollback.Denied, g.right(a, said, write)
		if page(a) {
			strange()
		}
	case a.status == http.StatusNotFound && page(a):
		strange()
		e.Kind, e.Maybe, e.Fix = rollback.Broken, write, "check the address of GitHub: "+g.base.String()
	case a.status == http.StatusNotFound, a.status == http.StatusGone:
		e.Kind = rollback.NotFound
		e.Fix = fmt.Sprintf("check the name, and that %s may see %s: GitHub says 404 for both", g.creds.who(), strings.TrimPrefix(g.repo, "repos/"))
		if write && said.says("workflow") {
			e.Fix = g.right(a, said, write)
		}
	case a.status == http.StatusConflict:
		e.Kind = rollback.Conflict
	case a.status == http.StatusProxyAuthRequired:
		e.Kind, e.Fix = rollback.Unreachable, "the proxy on the way wants credentials: check HTTPS_PROXY and NO_PROXY"
	case a.status >= 500:
		e.Kind, e.Maybe, e.RetryAfter = rollback.ServerFault, write, retryAfter(a.header, g.now())
		e.Fix = "look at https://www.githubstatus.com, and run the same command again"
	case a.status == http.StatusUnprocessableEntity && said.says("workflow"):
		e.Kind, e.Fix = rollback.Denied, g.right(a, said, write)
	case page(a):
		strange()
	}
	if e.Err == nil {
		e.Err = &refusal{status: a.status, message: "no reason given"}
	}
	return e
}

// throttled makes an error one about a limit.
func throttled(e *rollback.CallError, wait time.Duration) *rollback.CallError {
	e.Kind, e.RetryAfter = rollback.Throttled, wait
	if wait > 0 {
		e.Fix = fmt.Sprintf("GitHub asks to wait %s; run the same command again after that", wait.Round(time.Second))
	} else {
		e.Fix = "wait a minute and run the same command again"
	}
	return e
}

// right is the right that is missing, in the words of the settings page where it is given.
func (g *guard) right(a answer, said *refusal, write bool) string {
	if sso := a.header.Get("X-Github-Sso"); strings.HasPrefix(sso, "required") {
		if _, at, ok := strings.Cut(sso, "url="); ok {
			return "authorize " + g.creds.who() + " for the organization's single sign-on: " + rollback.Printable(at)
		}
		return "authorize " + g.creds.who() + " for the organization's single sign-on"
	}
	switch {
	case said.says("workflow"):
		return fmt.Sprintf("the revert touches .github/workflows: give %s the permission workflows: write (the scope workflow, for a classic token)", g.creds.who())
	case said.says("rule") || said.says("protected"):
		return "a rule of the repository forbids it: let " + g.creds.who() + " create branches with the prefixes that are configured, or set revert.branchPrefix and revert.tempPrefix to ones that it allows"
	}
	if need := a.header.Get("X-Accepted-Github-Permissions"); need != "" {
		return fmt.Sprintf("give %s the permission %s", g.creds.who(), rollback.Printable(strings.ReplaceAll(need, "=", ": ")))
	}
	if write {
		return fmt.Sprintf("give %s the permissions contents: write and pull requests: write on %s", g.creds.who(), strings.TrimPrefix(g.repo, "repos/"))
	}
	return fmt.Sprintf("give %s the permissions contents: read and pull requests: read on %s", g.creds.who(), strings.TrimPrefix(g.repo, "repos/"))
}

// limit tells whether an answer is about a limit and how long to wait. GitHub says so in four ways
// (https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit).
func limit(a answer, said *refusal, now time.Time) (time.Duration, bool) {
	if a.status != http.StatusForbidden && a.status != http.StatusTooManyRequests {
		return 0, false
	}
	wait := retryAfter(a.header, now)
	spent := a.header.Get("X-Ratelimit-Remaining") == "0"
	if wait == 0 && spent {
		wait = untilReset(a.header, now)
	}
	secondary := said.says("secondary rate limit") || said.says("abuse detection")
	if wait == 0 && secondary {
		wait = time.Minute // what GitHub asks for where it names no time
	}
	return wait, a.status == http.StatusTooManyRequests || spent || secondary || a.header.Get("Retry-After") != ""
}

// limitInside is limit for GraphQL, which says of a limit inside an answer of 200; nil if it says nothing of one. The primary
// limit's type has two names, and X-RateLimit-Remaining need not be 0 then
// (https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#exceeding-the-rate-limit,
// https://github.com/octokit/plugin-throttling.js/issues/632).
func (g *guard) limitInside(op string, a answer) *rollback.CallError {
	var form struct {
		Errors []struct{ Type, Message string }
	}
	if json.Unmarshal(a.body, &form) != nil {
		return nil
	}
	for _, e := range form.Errors {
		said := &refusal{status: a.status, message: e.Message}
		secondary := said.says("secondary rate limit")
		if e.Type != "RATE_LIMITED" && e.Type != "RATE_LIMIT" && !secondary {
			continue
		}
		wait := retryAfter(a.header, g.now())
		if wait == 0 && (!secondary || a.header.Get("X-Ratelimit-Remaining") == "0") {
			wait = untilReset(a.header, g.now())
		}
		if wait == 0 {
			wait = time.Minute
		}
		return throttled(&rollback.CallError{System: system, Op: op, Code: rollback.Printable(e.Type), Err: said}, wait)
	}
	return nil
}

// untilReset is how long it takes until the primary limit begins anew; 0 if that is not said.
func untilReset(h http.Header, now time.Time) time.Duration {
	at, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	if err != nil {
		return 0
	}
	return min(max(time.Unix(at, 0).Sub(now), time.Second), 24*time.Hour)
}

// retryAfter reads the header in both of its forms; 0 if there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), 86400)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), 24*time.Hour)
	}
	return 0
}

// unreachable is a call that got no answer.
func (g *guard) unreachable(op string, maybe bool, err error) *rollback.CallError {
	host := g.base.Host
	e := &rollback.CallError{System: system, Op: op, Kind: rollback.Unreachable, Err: err, Maybe: maybe}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
	)
	switch {
	case errors.Is(err, context.Canceled):
		e.Err = fmt.Errorf("given up: %w", err)
	case timedOut(err):
		e.Err = fmt.Errorf("no answer from %s in time: %w", host, err)
		e.Fix = "check the network between here and " + host + " (VPN, proxy, firewall)"
	case errors.As(err, &authority):
		e.Fix = "set github.caFile to the CA file that signed the certificate of " + host
	case errors.As(err, &hostname), errors.As(err, &invalid):
		e.Fix = "check the host name, the clock and the certificate of " + host
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Fix = host + " speaks plain http: correct the address"
	case errors.As(err, &dns):
		e.Fix = "check the host name " + host
	default:
		e.Fix = "check that " + host + " is up and can be reached from here"
	}
	return e
}
