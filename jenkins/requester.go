package jenkins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bndr/gojenkins"
)

const (
	// maxAnswer is the largest JSON answer that is read, in bytes.
	maxAnswer = 32 << 20
	asXML     = "application/xml"
	// maxLog is the largest piece of a log that one answer may have.
	maxLog = 1 << 30
)

// requester is how gojenkins, and we, speak to Jenkins. It stands in for gojenkins' own, which loses statuses, leaves bodies
// open and panics when Jenkins is down. Reads are repeated within bounds; a POST is sent once.
type requester struct {
	base         *url.URL // without a trailing slash
	user, secret string
	password     bool // the secret is a password: POSTs need a crumb and the session it belongs to
	client       *http.Client

	timeout, patience time.Duration
	pause             func(time.Duration) <-chan time.Time

	crumb struct {
		gate
		known        bool
		field, value string // "" when Jenkins wants none
	}
	root struct {
		gate
		host string // of the root URL that Jenkins is configured with, once it was asked
	}
}

var _ gojenkins.JenkinsRequester = (*requester)(nil)

// gate is a lock that is not waited for beyond a deadline: whoever is inside may be asking Jenkins.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() { <-g }

// stream is an answer that is passed on as it comes, in place of one that is read into memory.
type stream struct {
	// begin looks at the answer's head before anything is passed on. It may be called again, when the first try broke off.
	begin func(*http.Response) error
	to    io.Writer
	got   int64 // what was passed on; a second try skips it
}

func (r *requester) GetJSON(ctx context.Context, endpoint string, response any, query map[string]string) (*http.Response, error) {
	return r.call(ctx, request{method: http.MethodGet, endpoint: endpoint, path: endpoint + "/api/json", query: query, accept: "application/json", out: response})
}

func (r *requester) Get(ctx context.Context, endpoint string, response any, query map[string]string) (*http.Response, error) {
	return r.call(ctx, request{method: http.MethodGet, endpoint: endpoint, path: endpoint, query: query, accept: "*/*", out: response})
}

func (r *requester) GetXML(ctx context.Context, endpoint string, response any, query map[string]string) (*http.Response, error) {
	return r.call(ctx, request{method: http.MethodGet, endpoint: endpoint, path: endpoint, query: query, accept: asXML, out: response})
}

func (r *requester) Post(ctx context.Context, endpoint string, payload io.Reader, response any, query map[string]string) (*http.Response, error) {
	return r.post(ctx, endpoint, "application/x-www-form-urlencoded", payload, query)
}

func (r *requester) PostJSON(ctx context.Context, endpoint string, payload io.Reader, response any, query map[string]string) (*http.Response, error) {
	return r.post(ctx, endpoint, "application/x-www-form-urlencoded", payload, query)
}

func (r *requester) PostXML(ctx context.Context, endpoint, xml string, response any, query map[string]string) (*http.Response, error) {
	return r.post(ctx, endpoint, "application/xml; charset=utf-8", strings.NewReader(xml), query)
}

func (r *requester) PostFiles(context.Context, string, io.Reader, any, map[string]string, []string) (*http.Response, error) {
	return nil, errors.New("jenkins: files are not sent")
}

func (r *requester) post(ctx context.Context, endpoint, contentType string, payload io.Reader, query map[string]string) (*http.Response, error) {
	q := request{method: http.MethodPost, endpoint: endpoint, path: endpoint, query: query, accept: "*/*", contentType: contentType}
	if payload != nil {
		b, err := io.ReadAll(payload)
		if err != nil {
			return nil, fmt.Errorf("jenkins: reading the form: %w", err)
		}
		q.body = b
	}
	return r.call(ctx, q)
}

// request is one call for the loop that makes it.
type request struct {
	method, endpoint, path string
	query                  map[string]string
	accept, contentType    string
	body                   []byte
	out                    any // *string, *stream, a reader, or what JSON is decoded into
	crumbField, crumb      string
}

func (q request) String() string { return q.method + " " + q.endpoint }

func (q request) writes() bool { return q.method == http.MethodPost }

// send makes one try: the request, the look at its answer, and the whole body. The answer is nil if there was none.
func (r *requester) send(ctx context.Context, q request, alive func()) (*http.Response, error) {
	u, err := url.Parse(r.base.String() + q.path)
	if err != nil {
		return nil, &foreign{"the path cannot be asked for"}
	}
	if len(q.query) > 0 {
		v := url.Values{}
		for k, x := range q.query {
			v.Set(k, x)
		}
		u.RawQuery = v.Encode()
	}
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, &foreign{"the path cannot be asked for"}
	}
	req.SetBasicAuth(r.user, r.secret)
	req.Header.Set("User-Agent", "rollback")
	req.Header.Set("Accept", q.accept)
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	if q.crumbField != "" {
		req.Header.Set(q.crumbField, q.crumb)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	alive()
	switch {
	case resp.StatusCode >= 400:
		drain(resp.Body)
		return resp, &statusError{resp.StatusCode}
	case resp.StatusCode >= 300:
		drain(resp.Body)
		return resp, r.judge(ctx, q, req.URL, resp)
	case resp.StatusCode < 200:
		return resp, &foreign{fmt.Sprintf("an answer with status %d", resp.StatusCode)}
	case q.writes():
		drain(resp.Body)
		if resp.StatusCode == http.StatusNoContent {
			resp.StatusCode = http.StatusOK // gojenkins takes only 200 and 201 for success
		}
		return resp, nil
	}
	return resp, take(q, resp, alive)
}

// drain reads the rest of a body that nobody wants, so that the connection can be used again.
func drain(body io.Reader) { _, _ = io.Copy(io.Discard, io.LimitReader(body, 256<<10)) }

// take reads the body of a good answer.
func take(q request, resp *http.Response, alive func()) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media == "text/html" {
		return errHTML
	}
	if s, ok := q.out.(*stream); ok {
		return s.take(resp, alive)
	}
	limit := int64(maxAnswer)
	own, isOwn := q.out.(reader)
	if isOwn {
		limit = own.limit()
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return err
	case int64(len(b)) > limit:
		return &foreign{fmt.Sprintf("an answer larger than %d MB", limit>>20)}
	case isOwn:
		return own.read(media, b)
	}
	if q.accept == asXML && media != asXML && media != "text/xml" {
		return &foreign{fmt.Sprintf("an answer of type %q in place of XML", media)}
	}
	if text, ok := q.out.(*string); ok {
		*text = string(b)
		return nil
	}
	if q.out == nil {
		return nil
	}
	if media != "application/json" {
		return &foreign{fmt.Sprintf("an answer of type %q in place of JSON", media)}
	}
	return decode(b, q.out)
}

// decode reads an object of the remote API. Each says its class; anything else that calls itself JSON is not from Jenkins.
func decode(b []byte, out any) error {
	var class struct {
		Class string `json:"_class"`
	}
	if err := json.Unmarshal(b, &class); err != nil {
		return &foreign{"an answer that is no JSON object: " + oneLine(err.Error())}
	}
	if class.Class == "" {
		return &foreign{"a JSON object without _class, which Jenkins does not send"}
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &foreign{"an answer of another form: " + oneLine(err.Error())}
	}
	return nil
}

func (s *stream) take(resp *http.Response, alive func()) error {
	if err := s.begin(resp); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, resp.Body, s.got); err != nil {
		if err == io.EOF {
			return &foreign{"a log that is shorter than before"}
		}
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		alive()
		if n > 0 {
			if _, err := s.to.Write(buf[:n]); err != nil {
				return &deaf{err}
			}
			if s.got += int64(n); s.got > maxLog {
				return &foreign{fmt.Sprintf("a piece of a log larger than %d GB", maxLog>>30)}
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// judge tells a redirect that means "done, look there" from one that means "sign in first" or that comes from somebody else.
func (r *requester) judge(ctx context.Context, q request, from *url.URL, resp *http.Response) error {
	to, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "":
		return &foreign{fmt.Sprintf("a redirect (%d) to nowhere", resp.StatusCode)}
	case signIn(to):
		return &toSignIn{to.Host}
	case !q.writes():
		return &redirected{from: from, to: to}
	case host(to) == host(from), queueItem(to.Path) > 0, host(to) == r.rootHost(ctx):
		resp.StatusCode = http.StatusOK
		return nil
	}
	return &redirected{from: from, to: to}
}

func signIn(u *url.URL) bool {
	if strings.Contains(u.Path, "/job/") {
		return false
	}
	return strings.HasSuffix(u.Path, "/login") || strings.HasSuffix(u.Path, "/loginError") || strings.Contains(u.Path, "/securityRealm/")
}

// host is a URL's host and port, comparable.
func host(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// rootHost asks Jenkins once for the root URL it is configured with: redirects lead there, whatever address we use. "" if it
// does not say.
func (r *requester) rootHost(ctx context.Context) string {
	if r.root.enter(ctx) != nil {
		return ""
	}
	defer r.root.leave()
	if r.root.host != "" {
		return r.root.host
	}
	var answer struct {
		URL string `json:"url"`
	}
	if _, err := r.GetJSON(ctx, "", &answer, map[string]string{"tree": "url"}); err != nil {
		return ""
	}
	if u, err := url.Parse(answer.URL); err == nil && u.Host != "" {
		r.root.host = host(u)
	}
	return r.root.host
}

// crumbs is the header that a POST with password authentication needs; "" if Jenkins wants none.
func (r *requester) crumbs(ctx context.Context) (field, value string, err error) {
	if err := r.crumb.enter(ctx); err != nil {
		return "", "", err
	}
	defer r.crumb.leave()
	if r.crumb.known {
		return r.crumb.field, r.crumb.value, nil
	}
	var answer struct {
		Crumb string `json:"crumb"`
		Field string `json:"crumbRequestField"`
	}
	_, err = r.GetJSON(ctx, "/crumbIssuer", &answer, map[string]string{"tree": "crumb,crumbRequestField"})
	switch {
	case statusOf(err) == http.StatusNotFound: // CSRF protection is off
	case err != nil:
		return "", "", err
	case answer.Crumb == "" || answer.Field == "":
		return "", "", errors.New("no crumb in the answer")
	}
	r.crumb.known, r.crumb.field, r.crumb.value = true, answer.Field, answer.Crumb
	return answer.Field, answer.Crumb, nil
}

// forgetCrumb drops a crumb that was refused, unless somebody has another one by now.
func (r *requester) forgetCrumb(ctx context.Context, refused string) {
	if r.crumb.enter(ctx) != nil {
		return
	}
	defer r.crumb.leave()
	if r.crumb.value == refused {
		r.crumb.known = false
	}
}
