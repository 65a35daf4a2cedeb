package oci

// One request: its deadline, its repetitions, its authorization. Every answer is small, so it is read whole.

import (
	"bytes"
	"context"
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
)

const (
	// attempts is how often a call is made in all, where repeating is safe.
	attempts = 3
	// patience is the longest Retry-After that is waited for; a longer one is handed to the caller.
	patience = 5 * time.Second
	// concurrency bounds the requests in flight for one call of ours.
	concurrency = 16
	// largest is the most of an answer that is read. Registries hold manifests to 4 MiB
	// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests).
	largest = 8 << 20
)

// call is a request and what it needs to be sent.
type call struct {
	op          string // for errors: "GET manifest payments:latest"
	method      string
	path        string // with the query; of our registry
	scope       string // of the token
	accept      []string
	contentType string
	body        []byte
}

func (c call) write() bool { return c.method != http.MethodGet && c.method != http.MethodHead }

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	host   string // that answered, after redirects
}

// errTooLarge is an answer beyond largest.
var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", largest>>20)

// do authorizes the call and makes it; a refused token is renewed once.
func (r *Registry) do(ctx context.Context, c call) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	header, err := r.authorize(ctx, c.scope, "")
	if err != nil {
		return answer{}, err
	}
	a, err := r.repeat(ctx, c, header)
	if err != nil || a.status != http.StatusUnauthorized || a.host != r.registry.RegistryStr() {
		return a, err
	}
	if how, ok := r.challenged(c.scope, a.header); ok {
		renewed, err := r.authorize(ctx, c.scope, header)
		if err != nil {
			return answer{}, err
		}
		if renewed != header || how.scheme == "bearer" {
			return r.repeat(ctx, c, renewed)
		}
	}
	return a, nil
}

// repeat sends the call until there is an answer that repeating would not change, or may not. It returns an error only
// where there is no whole answer.
func (r *Registry) repeat(ctx context.Context, c call, authorization string) (answer, error) {
	for attempt := 1; ; attempt++ {
		a, err := r.send(ctx, c, authorization)
		again, wait := false, time.Duration(0)
		switch {
		case err != nil:
			// A write whose answer was lost may have been done, and somebody else may have written since.
			again = ctx.Err() == nil && !errors.Is(err, errTooLarge) && (!c.write() || unsent(err))
		case a.status == http.StatusTooManyRequests: // refused before it was looked at, so a write may be repeated too
			wait = retryAfter(a.header)
			again = wait <= patience
		case a.status == http.StatusInternalServerError, a.status == http.StatusBadGateway,
			a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
			wait = retryAfter(a.header)
			again = !c.write() && wait <= patience
		}
		if again && attempt < attempts && r.pause(ctx, attempt, wait) == nil {
			continue
		}
		if err != nil {
			return answer{}, r.failed(c, a, err)
		}
		return a, nil
	}
}

func (r *Registry) send(ctx context.Context, c call, authorization string) (answer, error) {
	u := r.scheme + "://" + r.registry.RegistryStr() + c.path
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", "rollback")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	for _, t := range c.accept {
		req.Header.Add("Accept", t)
	}
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		var outer *url.Error // its text repeats the URL, which may be presigned after a redirect
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, host: resp.Request.URL.Host}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, largest+1))
	if err == nil && len(a.body) > largest {
		err = errTooLarge
	}
	return a, err
}

// pause waits before the next attempt: what the registry asked for, or a random time that doubles. It fails when the
// deadline would pass meanwhile.
func (r *Registry) pause(ctx context.Context, attempt int, asked time.Duration) error {
	d := asked
	if d == 0 {
		d = 50*time.Millisecond + rand.N(200*time.Millisecond<<attempt)
	}
	if until, ok := ctx.Deadline(); ok && time.Now().Add(d).After(until) {
		return context.DeadlineExceeded
	}
	return r.sleep(ctx, d)
}

// retryAfter reads the header in both of its forms; 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), 86400)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), 24*time.Hour)
	}
	return 0
}

// unsent tells whether an error came before the first byte went out.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
