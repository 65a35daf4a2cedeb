package kube

// guard is the outermost layer of the transport. It sees every answer before client-go does and keeps four promises that
// client-go does not make: credentials are renewed once on 401, nothing is ever followed to another host, an answer that
// is no API server's is an error, and repeating is left to us (client-go would repeat up to ten times by itself, writes
// included).

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxAnswer is the largest answer that is read, in bytes. A page of 500 pods has about 5 MB.
const maxAnswer = 64 << 20

// exchange is what the guard saw of one call; it travels in the call's context.
type exchange struct {
	text   bool // the answer is plain text (logs)
	stream bool // the answer never ends (watch)

	status     int
	html       bool
	retryAfter time.Duration
	err        error // why there was no answer
}

type exchangeKey struct{}

// foreign is an answer that no API server sends.
type foreign struct{ what string }

func (f *foreign) Error() string { return f.what }

// noToken says that the credentials could not be had, so nothing was sent.
type noToken struct{ err error }

func (e *noToken) Error() string { return e.err.Error() }
func (e *noToken) Unwrap() error { return e.err }

// errNoAnswer stands for exchange.err towards client-go, which looks into errors to decide whether it repeats the call.
var errNoAnswer = errors.New("no answer")

type guard struct {
	next   http.RoundTripper
	token  func(context.Context) (string, error)
	plugin bool // next may run a credential plugin, which does not know about deadlines
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	x, _ := req.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		x = &exchange{}
	}
	x.status, x.html, x.retryAfter, x.err = 0, false, 0, nil
	resp, err := g.exchange(req)
	if err == nil {
		err = x.look(resp)
		if err != nil {
			resp.Body.Close()
		}
	}
	if err != nil {
		x.err = err
		if ctxErr := req.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, errNoAnswer
	}
	return resp, nil
}

// exchange sends the request, and once more with fresh credentials if the first ones were refused.
func (g *guard) exchange(req *http.Request) (*http.Response, error) {
	first, token, err := g.authorise(req, req.Body)
	if err != nil {
		return nil, err
	}
	resp, err := g.send(first)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || g.token == nil && !g.plugin {
		return resp, err
	}
	body := req.Body
	if body != nil && body != http.NoBody {
		if req.GetBody == nil {
			return resp, nil
		}
		if body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	second, fresh, err := g.authorise(req, body)
	if err != nil || g.token != nil && fresh == token { // nothing new to offer
		return resp, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	return g.send(second)
}

func (g *guard) authorise(req *http.Request, body io.ReadCloser) (*http.Request, string, error) {
	req = req.Clone(req.Context())
	req.Body = body
	if g.token == nil {
		return req, "", nil
	}
	token, err := g.token(req.Context())
	if err != nil {
		return nil, "", &noToken{err}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req, token, nil
}

// tokenFrom reads a token from a file for every request. client-go would keep it for a minute, also when the server refuses
// it: a token that was refreshed in the middle of a wait must serve at once.
func tokenFrom(file string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		token := strings.TrimSpace(string(data))
		if token == "" {
			return "", fmt.Errorf("%s is empty", file)
		}
		return token, nil
	}
}

func (g *guard) send(req *http.Request) (*http.Response, error) {
	if !g.plugin {
		return g.next.RoundTrip(req)
	}
	type result struct {
		resp *http.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		resp, err := g.next.RoundTrip(req)
		done <- result{resp, err}
	}()
	select {
	case r := <-done:
		return r.resp, r.err
	case <-req.Context().Done():
		go func() { // a plugin that hangs is left behind; its late answer is thrown away
			if r := <-done; r.err == nil {
				r.resp.Body.Close()
			}
		}()
		return nil, req.Context().Err()
	}
}

// look notes what the answer is and refuses the ones that are no API server's.
func (x *exchange) look(resp *http.Response) error {
	x.status = resp.StatusCode
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	x.html = media == "text/html"
	if s, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get("Retry-After"))); err == nil && s >= 0 {
		x.retryAfter = time.Duration(s) * time.Second
	}
	resp.Header.Del("Retry-After")
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return &foreign{fmt.Sprintf("a redirect (%d) to %s, which an API server does not send: not followed", resp.StatusCode, redirectHost(resp))}
	case resp.StatusCode >= 400:
	case x.html:
		return &foreign{"an HTML page in place of an answer: a proxy or a login page is in the way"}
	case !x.text && media != "application/json":
		return &foreign{fmt.Sprintf("an answer of type %q in place of JSON", media)}
	}
	if !x.stream {
		resp.Body = &limited{ReadCloser: resp.Body, left: maxAnswer}
	}
	return nil
}

func redirectHost(resp *http.Response) string {
	if u, err := resp.Location(); err == nil {
		return u.Host
	}
	return "nowhere"
}

// limited ends an answer that is larger than anything we ask for.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the answer is larger than %d MB", maxAnswer>>20)
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
