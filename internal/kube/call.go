package kube

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
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	maxAttempts = 4
	firstPause  = 200 * time.Millisecond
	// maxRetryAfter is the longest wait a server can ask for that we still sit out ourselves.
	maxRetryAfter = 10 * time.Second
)

// effect is what a call does, which decides how it may be repeated.
type effect int

const (
	reads      effect = iota // changes nothing
	repeatable               // doing it twice is the same as doing it once
	once                     // must not be sent again when the first may have arrived
)

// request describes one call for the loop that makes it and for the person who reads its error.
type request struct {
	verb      string // as RBAC names it: get, list, watch, create, update, patch
	kind      kind
	sub       string // subresource
	namespace string
	name      string
	effect    effect
	text      bool
}

// String is the call as an error names it: "PATCH deployment/payments in prod".
func (r request) String() string {
	s := strings.ToUpper(r.verb) + " "
	if r.name == "" {
		s += r.kind.gvr.Resource
	} else {
		s += r.kind.singular() + "/" + r.name
	}
	if r.sub != "" {
		s += "/" + r.sub
	}
	if r.namespace != "" {
		s += " in " + r.namespace
	}
	return s
}

// needs is the right the call needs: "list on cronjobs.batch in namespace prod".
func (r request) needs() string {
	resource := r.kind.gvr.Resource
	if r.sub != "" {
		resource += "/" + r.sub
	}
	if r.kind.gvr.Group != "" {
		resource += "." + r.kind.gvr.Group
	}
	s := r.verb + " on " + resource
	if r.namespace != "" {
		s += " in namespace " + r.namespace
	}
	return s
}

// call makes one call, again where that is safe, and returns nil or a *rollback.CallError.
func (c *Cluster) call(ctx context.Context, r request, do func(context.Context) error) error {
	for n := 1; ; n++ {
		x := &exchange{text: r.text}
		attempt, cancel := context.WithTimeout(context.WithValue(ctx, exchangeKey{}, x), c.timeout)
		err := do(attempt)
		late := err != nil && attempt.Err() != nil
		cancel()
		if err == nil {
			return nil
		}
		failed, again := c.failure(ctx, r, x, late, err)
		if late {
			n++ // a hanging server costs a whole timeout: twice is enough
		}
		if !again || n >= maxAttempts {
			return failed
		}
		wait := firstPause << (n - 1)
		wait = wait/2 + rand.N(wait)
		if failed.RetryAfter > 0 {
			if failed.RetryAfter > maxRetryAfter {
				return failed
			}
			wait = failed.RetryAfter
		}
		select {
		case <-ctx.Done():
			return failed
		case <-c.pause(wait):
		}
	}
}

// failure sorts an error by what a person does about it, and tells whether the call may be made again.
func (c *Cluster) failure(ctx context.Context, r request, x *exchange, late bool, err error) (*rollback.CallError, bool) {
	f := &rollback.CallError{System: "kubernetes", Op: r.String(), RetryAfter: x.retryAfter, Err: err}
	lost := func() { // the answer was lost: a write may have been done
		f.Kind = rollback.Unreachable
		f.Maybe = r.effect != reads
	}
	var token *noToken
	var strange *foreign
	switch {
	case ctx.Err() != nil:
		lost()
		f.Err = context.Cause(ctx)
		if f.Err == context.DeadlineExceeded {
			f.Err = fmt.Errorf("%s: no answer in time: %w", c.server, f.Err)
		} else if !errors.Is(f.Err, ctx.Err()) {
			f.Err = fmt.Errorf("%w: %w", ctx.Err(), f.Err)
		}
		return f, false
	case errors.As(x.err, &token):
		f.Kind, f.Err = rollback.Expired, fmt.Errorf("no token: %w", token.err)
		f.Fix = c.logIn()
		var inner *rollback.CallError
		if errors.As(token.err, &inner) {
			f.Kind, f.Code, f.RetryAfter = inner.Kind, inner.Code, inner.RetryAfter
			if inner.Fix != "" {
				f.Fix = inner.Fix
			}
		}
		return f, false
	case late:
		lost()
		f.Err = fmt.Errorf("%s: no answer within %s: %w", c.server, c.timeout, context.DeadlineExceeded)
		f.Fix = "check the network or VPN to " + c.server
		return f, r.effect != once
	case errors.As(x.err, &strange):
		f.Kind, f.Maybe = rollback.Broken, r.effect != reads && x.status < 300
		f.Err = fmt.Errorf("%s: %w", c.server, strange)
		f.Fix = "check that " + c.server + " is the API server and that no proxy answers for it"
		return f, r.effect != once && x.status < 300
	case x.err != nil:
		return c.noAnswer(f, r, x.err)
	case x.status >= 400:
		return c.refusal(f, r, x, err)
	}
	f.Kind, f.Maybe = rollback.Broken, r.effect != reads
	if errors.Is(err, io.ErrUnexpectedEOF) {
		f.Err = errors.New("the answer was cut off")
	} else {
		f.Err = fmt.Errorf("the answer cannot be read: %w", err)
	}
	return f, r.effect != once
}

// noAnswer sorts the errors of the network, of TLS and of credential plugins.
func (c *Cluster) noAnswer(f *rollback.CallError, r request, err error) (*rollback.CallError, bool) {
	f.Kind = rollback.Unreachable
	f.Err = fmt.Errorf("%s: %w", c.server, err)
	f.Fix = "check the network or VPN to " + c.server
	if strings.HasPrefix(err.Error(), "getting credentials") { // client-go has no type for it
		f.Kind, f.Err, f.Fix = rollback.Expired, err, c.logIn()
		return f, false
	}
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &verify), errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)):
		f.Fix = "the certificate of " + c.server + " is not the one the configuration trusts: compare certificate-authority-data with the cluster, and look for a proxy that opens TLS"
		return f, false
	case errors.As(err, &record), errors.As(err, &alert):
		f.Fix = "check that " + c.server + " speaks TLS on this port"
		return f, false
	}
	var name *net.DNSError
	if errors.As(err, &name) && name.IsNotFound {
		f.Fix = "the name " + name.Name + " does not resolve: check the VPN and cluster.server"
		return f, false
	}
	var op *net.OpError
	dialled := !errors.As(err, &op) || op.Op != "dial" // otherwise nothing was sent
	f.Maybe = dialled && r.effect != reads
	return f, r.effect != once || !dialled
}

// refusal sorts the answers of the API server that say no.
func (c *Cluster) refusal(f *rollback.CallError, r request, x *exchange, err error) (*rollback.CallError, bool) {
	f.Code = fmt.Sprintf("%d %s", x.status, http.StatusText(x.status))
	var said apierrors.APIStatus
	if errors.As(err, &said) && !x.html {
		s := said.Status()
		f.Err = errors.New(oneLine(s.Message))
		if s.Details != nil && s.Details.RetryAfterSeconds > 0 && f.RetryAfter == 0 {
			f.RetryAfter = time.Duration(s.Details.RetryAfterSeconds) * time.Second
		}
	}
	if x.html {
		f.Err = errors.New(c.server + " answered with an HTML page: a proxy is in the way")
	}
	switch {
	case x.status == http.StatusUnauthorized:
		f.Kind, f.Fix = rollback.Expired, c.logIn()
	case x.status == http.StatusTooManyRequests:
		f.Kind = rollback.Throttled
		return f, true // it was not done, so even a write may be sent again
	case x.status >= 500:
		f.Kind, f.Maybe = rollback.ServerFault, r.effect != reads
		return f, r.effect != once
	case x.html:
		f.Kind = rollback.Broken
		f.Fix = "check that " + c.server + " is the API server and that no proxy answers for it"
	case x.status == http.StatusForbidden:
		f.Kind, f.Fix = rollback.Denied, "allow "+r.needs()+" (`rollback permissions` prints the rules)"
	case x.status == http.StatusNotFound:
		f.Kind = rollback.NotFound
	case x.status == http.StatusConflict:
		f.Kind = rollback.Conflict
	default:
		f.Kind = rollback.Rejected
	}
	return f, false
}

// logIn is what to do when the credentials are refused, by where they come from.
func (c *Cluster) logIn() string {
	switch c.login {
	case loginEKS:
		return "renew the AWS credentials; if they are fresh, the AWS identity has no access entry in " + c.shown
	case loginPod:
		return "the service account's token is not accepted: check the pod's service account and that it belongs to this cluster"
	case loginPlugin:
		return "log in again the way the credential plugin of context " + c.shown + " wants it, until `kubectl --context " + c.shown + " get namespaces` works"
	}
	return "renew the credentials of context " + c.shown + " in the kubeconfig"
}

// oneLine makes a server's message fit for one line of a terminal.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(printable(s)), " ")
	if r := []rune(s); len(r) > 500 {
		s = string(r[:500]) + "…"
	}
	return s
}

// printable replaces control characters, so that foreign text can't move the cursor or fake a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// get reads one object.
func (c *Cluster) get(ctx context.Context, k kind, namespace, name string) (*unstructured.Unstructured, error) {
	var got *unstructured.Unstructured
	r := request{verb: "get", kind: k, namespace: namespace, name: name}
	err := c.call(ctx, r, func(ctx context.Context) (err error) {
		got, err = c.dynamic.Resource(k.gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && got.GetName() != name {
			return fmt.Errorf("asked for %s, got %q", name, got.GetName())
		}
		return err
	})
	return got, err
}

// Pages are large, because every one waits for the one before: a namespace of a few hundred services should be one page. A
// page of pods is some megabytes then, which the API server compresses.
const (
	pageSize         = 2000
	metadataPageSize = 2500
)

// list reads every object of a kind that the selectors name ("" = all), page by page.
func (c *Cluster) list(ctx context.Context, k kind, namespace string, opts metav1.ListOptions) ([]unstructured.Unstructured, error) {
	return paged(pageSize, func(limit int64, next string) ([]unstructured.Unstructured, string, error) {
		opts.Limit, opts.Continue = limit, next
		var page *unstructured.UnstructuredList
		err := c.call(ctx, request{verb: "list", kind: k, namespace: namespace}, func(ctx context.Context) (err error) {
			page, err = c.dynamic.Resource(k.gvr).Namespace(namespace).List(ctx, opts)
			if err == nil && !strings.HasSuffix(page.GetKind(), "List") {
				return fmt.Errorf("asked for a list, got %q", page.GetKind())
			}
			return err
		})
		if err != nil {
			return nil, "", err
		}
		return page.Items, page.GetContinue(), nil
	})
}

// paged collects pages. A list that expired between two pages (410) starts again, in one piece.
func paged[T any](limit int64, page func(limit int64, next string) ([]T, string, error)) ([]T, error) {
	var all []T
	next := ""
	for {
		items, more, err := page(limit, next)
		if err != nil {
			if next != "" && limit > 0 && gone(err) {
				all, next, limit = nil, "", 0
				continue
			}
			return nil, err
		}
		all = append(all, items...)
		if more == "" || more == next {
			return slices.Clip(all), nil
		}
		next = more
	}
}

// gone tells whether the server has forgotten the version we asked about.
func gone(err error) bool {
	var f *rollback.CallError
	return errors.As(err, &f) && strings.HasPrefix(f.Code, "410 ")
}
