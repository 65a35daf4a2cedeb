package oci

// Failures, sorted by what a person does about them.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const system = "registry"

// rejected is a request that was never sent, because it could only be wrong.
func rejected(op string, err error) error {
	return &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: err}
}

// broken is an answer that is not a registry's.
func broken(c call, code string, err error) *rollback.CallError {
	return &rollback.CallError{System: system, Op: c.op, Kind: rollback.Broken, Code: code, Err: err, Maybe: c.write()}
}

// failed is a call without a whole answer.
func (r *Registry) failed(c call, a answer, err error) *rollback.CallError {
	if errors.Is(err, errTooLarge) {
		return broken(c, status(a.status), err)
	}
	if a.status != 0 && !timedOut(err) && !errors.Is(err, context.Canceled) { // the head of an answer came, its body did not
		return broken(c, status(a.status), fmt.Errorf("the answer ends early: %w", err))
	}
	return r.unreachable(c, err)
}

// unreachable is a call that got no answer.
func (r *Registry) unreachable(c call, err error) *rollback.CallError {
	e := &rollback.CallError{System: system, Op: c.op, Kind: rollback.Unreachable, Err: err, Maybe: c.write() && !unsent(err)}
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
		e.Err = fmt.Errorf("no answer from %s in time (limit %s): %w", r.cfg.Host, r.cfg.Timeout, err)
		e.Fix = "check the network between here and " + r.cfg.Host + " (VPN, proxy, firewall)"
	case errors.As(err, &authority):
		e.Fix = "give the CA file that signed the certificate of " + r.cfg.Host
	case errors.As(err, &hostname), errors.As(err, &invalid):
		e.Fix = "check the host name, the clock and the certificate of " + r.cfg.Host
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Fix = r.cfg.Host + " speaks plain http: allow that for this registry (insecure), or correct the port"
	case errors.As(err, &dns):
		e.Fix = "check the registry's host name " + r.cfg.Host
	default:
		e.Fix = "check that " + r.cfg.Host + " is up and can be reached from here"
	}
	return e
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// lost tells whether an error came from the network and not from reading what was sent.
func (r *Registry) lost(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// login is what to do about credentials that are missing, wrong or expired.
func (r *Registry) login() string {
	switch {
	case r.cfg.Username != "" && r.cfg.CredentialsFrom != "":
		return "check " + r.cfg.CredentialsFrom
	case r.cfg.Username != "":
		return "check the user name and password given for " + r.cfg.Host
	}
	return "docker login " + r.cfg.Host
}

// diagnosis is one entry of the API's error form
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).
type diagnosis struct {
	Code    string
	Message string
}

// diagnoses reads the error form; nil where the body is something else.
func diagnoses(body []byte) []diagnosis {
	var form struct{ Errors []json.RawMessage }
	if json.Unmarshal(body, &form) != nil {
		return nil
	}
	var found []diagnosis
	for _, raw := range form.Errors {
		var d struct {
			Code    json.RawMessage // a number at some registries
			Message string
		}
		if json.Unmarshal(raw, &d) == nil {
			found = append(found, diagnosis{strings.Trim(string(d.Code), `"`), d.Message})
		}
	}
	return found
}

// immutableWords are how registries say that a tag may not be moved: ECR, Harbor, Quay and Artifact Registry speak of
// immutable tags, Azure of locked ones, GitLab of protected ones, Nexus of updates that are not allowed.
var immutableWords = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)immutab|cannot be (overwritten|updated|modified)|overwrite|does not allow updating|tag is locked|protected tag|tag is protected`)
})

// refusal is the error for an answer that is not what the call wanted.
func (r *Registry) refusal(c call, a answer) *rollback.CallError {
	said := diagnoses(a.body)
	e := &rollback.CallError{System: system, Op: c.op, Kind: rollback.Rejected, Code: status(a.status)}
	var words []string
	for _, d := range said {
		if d.Code != "" && d.Code != "null" {
			e.Code = status(a.status) + " " + clip(d.Code)
			break
		}
	}
	for _, d := range said {
		if d.Message != "" {
			words = append(words, clip(d.Message))
		}
	}
	if len(words) > 0 {
		e.Err = errors.New(strings.Join(words, "; "))
	}
	has := func(codes ...string) bool {
		return slices.ContainsFunc(said, func(d diagnosis) bool { return slices.Contains(codes, strings.ToUpper(d.Code)) })
	}
	text := string(a.body[:min(len(a.body), 4096)])

	switch {
	case a.status >= 200 && a.status < 300:
		return broken(c, status(a.status), r.strange(a))
	case a.status >= 300 && a.status < 400:
		e.Err = fmt.Errorf("%s sends this request elsewhere, and it is not repeated there", r.cfg.Host)
		e.Fix = "give the host name that answers for itself"
	case c.method == http.MethodPut && immutable(a.status, has, text):
		e.Kind = rollback.Immutable
		e.Fix = "let the registry overwrite this tag (its tag immutability rule), or pin the digest in the workload"
	case has("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"):
		e.Kind = rollback.NotFound
		e.Fix = "parts of this image are gone from the repository: choose another target"
	case a.status == http.StatusUnauthorized:
		e.Kind, e.Fix = rollback.Expired, r.login()
		if how, ok := challengeOf(a.header); ok && how.params["error"] == "insufficient_scope" {
			e.Kind, e.Fix = rollback.Denied, r.right(c)
		}
	case a.status == http.StatusForbidden:
		e.Kind, e.Fix = rollback.Denied, r.right(c)
		if r.foreign(a) {
			e.Err = r.strange(a)
		}
	case a.status == http.StatusNotFound:
		e.Kind = rollback.NotFound
		if r.foreign(a) {
			return broken(c, status(a.status), r.strange(a))
		}
	case a.status == http.StatusConflict:
		e.Kind = rollback.Conflict
	case a.status == http.StatusTooManyRequests:
		e.Kind, e.RetryAfter = rollback.Throttled, retryAfter(a.header)
		if e.RetryAfter > 0 {
			e.Fix = fmt.Sprintf("%s asks to wait %s", r.cfg.Host, e.RetryAfter)
		}
	case a.status == http.StatusProxyAuthRequired:
		e.Kind, e.Fix = rollback.Unreachable, "the proxy on the way wants credentials: check HTTPS_PROXY and NO_PROXY"
	case a.status >= 500:
		e.Kind, e.RetryAfter, e.Maybe = rollback.ServerFault, retryAfter(a.header), c.write()
	case a.status == http.StatusMethodNotAllowed && c.write():
		e.Fix = "this registry takes no writes (a mirror, or read-only for now)"
	case r.foreign(a):
		e.Err = r.strange(a)
	}
	return e
}

// immutable tells whether a refused PUT of a tag says that the tag may not move. Registries agree on nothing but words
// (Harbor 412, ECR 400 TAG_INVALID, others 403, 405 or 409); DENIED with 405 or 409 can mean nothing else, because a
// missing right is 401 or 403.
func immutable(status int, has func(...string) bool, text string) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusPreconditionFailed, http.StatusUnprocessableEntity, http.StatusLocked:
		return immutableWords().MatchString(text)
	case http.StatusMethodNotAllowed, http.StatusConflict:
		return has("DENIED") || immutableWords().MatchString(text)
	}
	return false
}

// right is the right that is missing.
func (r *Registry) right(c call) string {
	what := "pull"
	if c.write() {
		what = "push"
	}
	who := r.cfg.Username
	if who == "" {
		who = "the user logged in to " + r.cfg.Host
	}
	return fmt.Sprintf("let %s %s this repository, or use other credentials (%s)", who, what, r.login())
}

// foreign tells whether an answer is a web page: a proxy's, a login form's, another server's.
func (r *Registry) foreign(a answer) bool {
	t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return t == "text/html" || strings.HasPrefix(strings.TrimSpace(string(a.body[:min(len(a.body), 64)])), "<")
}

// strange says what an answer is that no registry sends.
func (r *Registry) strange(a answer) error {
	t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if r.foreign(a) {
		return fmt.Errorf("%s answers with a web page: is it the registry, and is a proxy or login in between?", r.cfg.Host)
	}
	return fmt.Errorf("%s answers with %q, which is not what a registry sends here", r.cfg.Host, clip(t))
}

func status(code int) string {
	if t := http.StatusText(code); t != "" {
		return fmt.Sprintf("%d %s", code, t)
	}
	return fmt.Sprint(code)
}

// clip makes foreign text fit for one line: no control characters, at most 200 bytes.
func clip(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == unicode.ReplacementChar {
			return ' '
		}
		return c
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return strings.TrimSpace(s)
}
