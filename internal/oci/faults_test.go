package oci

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/rollback-tools/rollback/internal/fake"
	fakeoci "github.com/rollback-tools/rollback/internal/fake/oci"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// nobody is a keychain without credentials.
type nobody struct{}

func (nobody) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func said(code, message string) string {
	return `{"errors":[{"code":"` + code + `","message":"` + message + `"}]}`
}

var html = http.Header{"Content-Type": {"text/html; charset=utf-8"}}

// Every fault, at a read and at the write.
var faults = []struct {
	name  string
	fault fake.Fault
	// read and write are the kinds of error; sentRead and sentWrite how often the request was sent.
	read, write         rollback.CallKind
	sentRead, sentWrite int
	maybe               bool // of the write
}{
	{"401", fake.Fault{Status: 401, Body: said("UNAUTHORIZED", "authentication required")}, rollback.Expired, rollback.Expired, 1, 1, false},
	{"403", fake.Fault{Status: 403, Body: said("DENIED", "requested access to the resource is denied")}, rollback.Denied, rollback.Denied, 1, 1, false},
	{"403 page", fake.Fault{Status: 403, Header: html, Body: fake.HTMLPage}, rollback.Denied, rollback.Denied, 1, 1, false},
	{"404 name", fake.Fault{Status: 404, Body: said("NAME_UNKNOWN", "repository name not known to registry")}, rollback.NotFound, rollback.NotFound, 1, 1, false},
	{"404 page", fake.Fault{Status: 404, Header: html, Body: fake.HTMLPage}, rollback.Broken, rollback.Broken, 1, 1, true},
	{"405", fake.Fault{Status: 405, Body: said("UNSUPPORTED", "The operation is unsupported.")}, rollback.Rejected, rollback.Rejected, 1, 1, false},
	{"407", fake.Fault{Status: 407}, rollback.Unreachable, rollback.Unreachable, 1, 1, false},
	{"409", fake.Fault{Status: 409, Body: said("CONFLICT", "busy")}, rollback.Conflict, rollback.Conflict, 1, 1, false},
	{"429", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: said("TOOMANYREQUESTS", "slow down")}, rollback.Throttled, rollback.Throttled, 3, 3, false},
	{"429 for long", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"600"}}}, rollback.Throttled, rollback.Throttled, 1, 1, false},
	{"500", fake.Fault{Status: 500, Body: said("UNKNOWN", "unknown error")}, rollback.ServerFault, rollback.ServerFault, 3, 1, true},
	{"502 page", fake.Fault{Status: 502, Header: html, Body: fake.HTMLPage}, rollback.ServerFault, rollback.ServerFault, 3, 1, true},
	{"503", fake.Fault{Status: 503, Header: http.Header{"Retry-After": {"2"}}}, rollback.ServerFault, rollback.ServerFault, 3, 1, true},
	{"507", fake.Fault{Status: 507}, rollback.ServerFault, rollback.ServerFault, 1, 1, true},
	{"page with 200", fake.Fault{Status: 200, Header: html, Body: fake.HTMLPage}, rollback.Broken, rollback.Broken, 1, 1, true},
	{"page as JSON", fake.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: fake.HTMLPage}, rollback.Broken, rollback.Broken, 1, 1, true},
	{"empty 200", fake.Fault{Status: 200}, rollback.Broken, rollback.Broken, 1, 1, true},
	{"cut", fake.Fault{Cut: true, Body: `{"schemaVersion":2,`}, rollback.Broken, rollback.Broken, 3, 1, true},
	{"drop", fake.Fault{Drop: true}, rollback.Unreachable, rollback.Unreachable, 3, 1, true},
	{"hang", fake.Fault{Hang: true}, rollback.Unreachable, rollback.Unreachable, 1, 1, true},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakeoci.Rules{})
			w.fake.AddImage("payments", built, "latest")
			w.fake.AddImage("payments", built, "3f2a9c1")
			m := one(t, w.Registry, "payments", "3f2a9c1")
			one(t, w.Registry, "payments", "latest")
			if c.fault.Hang {
				w.cfg.Timeout = 250 * time.Millisecond
			}

			for _, part := range []struct {
				op, what string
				kind     rollback.CallKind
				sent     int
				maybe    bool
				do       func() error
			}{
				{"GET manifest*", "Images", c.read, c.sentRead, false, func() error { return second(w.Images(t.Context(), "payments", "latest")) }},
				{"GET manifest*", "Manifests", c.read, c.sentRead, false, func() error { return second(w.Manifests(t.Context(), "payments", "latest")) }},
				{"ping", "Repository", c.read, c.sentRead, false, func() error { return second(w.Repository(t.Context(), "payments")) }},
				{"GET tags*", "List", c.read, c.sentRead, false, func() error { return drain(t, w.Registry) }},
				{"GET blob*", "List", c.read, c.sentRead, false, func() error { return drain(t, w.Registry) }},
				{"PUT manifest*", "Tag", c.write, c.sentWrite, c.maybe, func() error { return second(w.Tag(t.Context(), "payments", m, "latest")) }},
			} {
				var sent atomic.Int32
				f := c.fault
				f.Op = part.op
				f.Hold = func(*http.Request) { sent.Add(1) }
				w.fake.Clear()
				w.fake.Inject(f)
				err := part.do()
				switch {
				case part.op == "ping" && (c.name == "empty 200" || strings.HasPrefix(c.name, "404")):
					continue // a ping has no body to speak of; missing pages are TestPingFaults'
				case part.op == "GET blob*" && c.name == "404 name":
					if err != nil {
						t.Errorf("List with a missing configuration: %v", err)
					}
					continue
				}
				e := wantKind(t, err, part.kind)
				if e.System != "registry" || e.Op == "" {
					t.Errorf("%s: system %q, op %q", part.what, e.System, e.Op)
				}
				if e.Maybe != part.maybe {
					t.Errorf("%s at %s: maybe is %t, want %t (%v)", part.what, part.op, e.Maybe, part.maybe, err)
				}
				if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), "<html>") {
					t.Errorf("%s: %q", part.what, err)
				}
				if part.kind == rollback.Throttled && c.name == "429 for long" && e.RetryAfter != 10*time.Minute {
					t.Errorf("retry after %s", e.RetryAfter)
				}
				if part.op == "GET blob*" {
					continue // two blobs are read at the same time, the second may be given up before it is sent
				}
				// A dropped read may also be repeated by the transport, where the connection was used before.
				if n := int(sent.Load()); n != part.sent && (c.name != "drop" || n < part.sent) {
					t.Errorf("%s at %s: sent %d times, want %d", part.what, part.op, n, part.sent)
				}
			}
			if slices.ContainsFunc(w.pauses.all(), func(d time.Duration) bool { return d > patience }) {
				t.Errorf("slept %v", w.pauses.all())
			}
		})
	}
}

func drain(t *testing.T, r *Registry) error {
	for _, err := range r.List(t.Context(), "payments") {
		if err != nil {
			return err
		}
	}
	return nil
}

// A fault that goes away is not noticed by anybody who reads, and not by a throttled writer.
func TestTransientFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	w.fake.AddImage("payments", built, "3f2a9c1")
	for _, f := range []fake.Fault{
		{Status: 429, Header: http.Header{"Retry-After": {"1"}}}, {Status: 503}, {Drop: true}, {Cut: true, Body: "{"}, {Status: 502, Body: fake.HTMLPage},
	} {
		f.Times = 2
		w.fake.Inject(f)
		one(t, w.Registry, "payments", "latest")
	}
	m := one(t, w.Registry, "payments", "3f2a9c1")
	w.fake.Inject(fake.Fault{Op: "PUT*", Status: 429, Header: http.Header{"Retry-After": {"2"}}, Times: 1})
	if _, err := w.Tag(t.Context(), "payments", m, "latest"); err != nil {
		t.Error(err)
	}
	if got := w.fake.Resolve("payments", "latest"); got != string(m.Digest) {
		t.Errorf("latest names %s", got)
	}
	slept := w.pauses.all()
	if slept[len(slept)-1] != 2*time.Second {
		t.Errorf("slept %v, want the registry's 2 s last", slept)
	}
}

// A write whose answer is lost has been done; the error says that it may have been, and the next try finds it so.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	w.fake.AddImage("payments", built, "3f2a9c1")
	m := one(t, w.Registry, "payments", "3f2a9c1")
	w.fake.Inject(fake.Fault{Op: "PUT*", After: true, Drop: true, Times: 1})
	_, err := w.Tag(t.Context(), "payments", m, "latest")
	if e := wantKind(t, err, rollback.Unreachable); !e.Maybe {
		t.Errorf("%v does not say that it may have been done", err)
	}
	already, err := w.Tag(t.Context(), "payments", m, "latest")
	if err != nil || !already {
		t.Errorf("again: already %t, %v", already, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	r, p := client(t, Config{Host: refusedHost(t)})
	_, err := r.Images(t.Context(), "payments", "latest")
	e := wantKind(t, err, rollback.Unreachable)
	if e.Fix == "" || len(p.all()) != attempts-1 {
		t.Errorf("fix %q, %d pauses", e.Fix, len(p.all()))
	}
	_, err = r.Tag(t.Context(), "payments", rollback.Manifest{Digest: rollback.DigestOf(nil), MediaType: rollback.OCIManifest}, "latest")
	if e := wantKind(t, err, rollback.Unreachable); e.Maybe {
		t.Error("a write that never left is said to be done maybe")
	}
}

func TestPingFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault fake.Fault
		want  rollback.CallKind
	}{
		{"a web page", fake.Fault{Status: 200, Header: html, Body: fake.HTMLPage}, rollback.Broken},
		{"another server", fake.Fault{Status: 404, Body: "404 page not found\n"}, rollback.Broken},
		{"no challenge", fake.Fault{Status: 401}, rollback.Expired},
		{"an unknown challenge", fake.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {"Negotiate"}}}, rollback.Expired},
		{"a realm that is none", fake.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="/token"`}}}, rollback.Broken},
		{"a realm inside the network", fake.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="http://169.254.169.254/latest"`}}}, rollback.Denied},
		{"forbidden", fake.Fault{Status: 403}, rollback.Denied},
		{"a redirect to plain http", fake.Fault{Status: 307, Header: http.Header{"Location": {"ftp://registry.example.com/"}}}, rollback.Unreachable},
	} {
		w := newWorld(t, secured)
		c.fault.Op = "ping"
		w.fake.Inject(c.fault)
		_, err := w.Images(t.Context(), "payments", "latest")
		e := wantKind(t, err, c.want)
		if strings.Contains(err.Error()+e.Fix, "s3cret") {
			t.Errorf("%s: %v has the password", c.name, err)
		}
	}
}

func TestTokenFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault fake.Fault
		want  rollback.CallKind
		sent  int
	}{
		{"400", fake.Fault{Status: 400, Body: said("UNSUPPORTED", "s3cret")}, rollback.Expired, 1},
		{"401", fake.Fault{Status: 401}, rollback.Expired, 1},
		{"403", fake.Fault{Status: 403}, rollback.Denied, 1},
		{"404", fake.Fault{Status: 404}, rollback.Expired, 1},
		{"429", fake.Fault{Status: 429}, rollback.Throttled, 3},
		{"503", fake.Fault{Status: 503}, rollback.ServerFault, 3},
		{"page", fake.Fault{Status: 200, Header: html, Body: fake.HTMLPage}, rollback.Broken, 1},
		{"no token", fake.Fault{Status: 200, Body: `{"secret":"s3cret"}`}, rollback.Broken, 1},
		{"cut", fake.Fault{Cut: true, Body: `{"token":"s3cr`}, rollback.Unreachable, 3},
		{"hang", fake.Fault{Hang: true}, rollback.Unreachable, 1},
		{"redirect", fake.Fault{Status: 307, Header: http.Header{"Location": {"http://localhost:1/token"}}}, rollback.Unreachable, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, secured)
			w.fake.AddImage("payments", built, "latest")
			if c.fault.Hang {
				w.cfg.Timeout = 500 * time.Millisecond
			}
			var sent atomic.Int32
			c.fault.Op = "token"
			c.fault.Hold = func(*http.Request) { sent.Add(1) }
			w.fake.Inject(c.fault)
			_, err := w.Images(t.Context(), "payments", "latest")
			e := wantKind(t, err, c.want)
			if n := int(sent.Load()); n != c.sent {
				t.Errorf("asked %d times, want %d", n, c.sent)
			}
			if strings.Contains(err.Error()+e.Fix, "s3cr") {
				t.Errorf("%v quotes what the server sent", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	one(t, w.Registry, "payments", "latest")
	ctx, cancel := context.WithCancel(t.Context())
	w.fake.Inject(fake.Fault{Op: "GET manifest*", Hang: true, Hold: func(*http.Request) { cancel() }})
	_, err := w.Images(ctx, "payments", "latest")
	wantKind(t, err, rollback.Unreachable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v hides that it was given up", err)
	}
}

// Each registry has its own way to say that a tag may not be moved.
func TestImmutable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   rollback.CallKind
	}{
		{"ECR", 400, said("TAG_INVALID", "The image tag 'latest' already exists in the 'payments' repository and cannot be overwritten because the tag is immutable."), rollback.Immutable},
		{"Harbor", 412, said("PRECONDITION", "Failed to process request due to 'payments:latest' configured as immutable."), rollback.Immutable},
		{"Azure", 405, said("UNSUPPORTED", "The tag is locked."), rollback.Immutable},
		{"denied conflict", 409, said("DENIED", "no"), rollback.Immutable},
		{"denied method", 405, said("DENIED", "no"), rollback.Immutable},
		{"GitLab", 403, said("DENIED", "protected tag"), rollback.Immutable},
		{"Nexus", 400, `Repository does not allow updating assets: docker`, rollback.Immutable},
		{"a right", 403, said("DENIED", "requested access to the resource is denied"), rollback.Denied},
		{"read only", 405, said("UNSUPPORTED", "The operation is unsupported."), rollback.Rejected},
		{"conflict", 409, said("CONFLICT", "try again"), rollback.Conflict},
		{"manifest", 400, said("MANIFEST_INVALID", "manifest invalid"), rollback.Rejected},
		{"layers", 400, said("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"), rollback.NotFound},
	} {
		w := newWorld(t, fakeoci.Rules{})
		w.fake.AddImage("payments", built, "3f2a9c1")
		m := one(t, w.Registry, "payments", "3f2a9c1")
		w.fake.Inject(fake.Fault{Op: "PUT*", Status: c.status, Body: c.body})
		_, err := w.Tag(t.Context(), "payments", m, "latest")
		if e := wantKind(t, err, c.want); e.Fix == "" && c.want != rollback.Conflict && c.name != "manifest" {
			t.Errorf("%s: no fix for %v", c.name, err)
		}
	}

	// And a whole registry whose tags do not move.
	w := newWorld(t, fakeoci.Rules{Immutable: http.StatusConflict})
	bad := w.fake.AddImage("payments", built, "latest")
	w.fake.AddImage("payments", built, "3f2a9c1")
	m := one(t, w.Registry, "payments", "3f2a9c1")
	_, err := w.Tag(t.Context(), "payments", m, "latest")
	wantKind(t, err, rollback.Immutable)
	if w.fake.Resolve("payments", "latest") != bad {
		t.Error("the tag moved")
	}
	if _, err := w.Tag(t.Context(), "payments", m, "kept-1"); err != nil {
		t.Errorf("a new tag: %v", err)
	}
}

// The registry must have said what it stored, and it must be what was sent.
func TestTagAnswers(t *testing.T) {
	t.Parallel()
	other := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name   string
		status int
		digest string
		bad    bool
	}{
		{"created, no digest", 201, "", false},
		{"another digest", 201, other, true},
		{"200 and nothing", 200, "", true},
		{"another algorithm", 201, "sha512:" + strings.Repeat("0", 128), false},
	} {
		w := newWorld(t, fakeoci.Rules{})
		w.fake.AddImage("payments", built, "3f2a9c1")
		m := one(t, w.Registry, "payments", "3f2a9c1")
		f := fake.Fault{Op: "PUT*", Status: c.status, Header: http.Header{}}
		if c.digest != "" {
			f.Header.Set("Docker-Content-Digest", c.digest)
		}
		w.fake.Inject(f)
		_, err := w.Tag(t.Context(), "payments", m, "latest")
		if !c.bad {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if e := wantKind(t, err, rollback.Broken); !e.Maybe {
			t.Errorf("%s: %v does not say maybe", c.name, err)
		}
	}
}

// Bytes that are not what they are said to be are never used.
func TestManifestChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{NoDigestHeader: true})
	digest := w.fake.AddImage("payments", built, "latest")
	_, body, _ := w.fake.Manifest("payments", digest)
	typed := func(mediaType, said string) http.Header {
		h := http.Header{"Content-Type": {mediaType}}
		if said != "" {
			h.Set("Docker-Content-Digest", said)
		}
		return h
	}
	for _, c := range []struct {
		name, ref string
		header    http.Header
		body      string
		ok        bool
	}{
		{"as it is", "latest", typed(rollback.OCIManifest, digest), string(body), true},
		{"no header", "latest", typed(rollback.OCIManifest, ""), string(body), true},
		{"a header with parameters", digest, typed(rollback.OCIManifest+"; charset=utf-8", digest), string(body), true},
		{"a plain header", digest, typed("application/json", digest), string(body), true},
		{"another digest in the header", "latest", typed(rollback.OCIManifest, "sha256:"+strings.Repeat("0", 64)), string(body), false},
		{"another body than asked for", digest, typed(rollback.OCIManifest, digest), string(body) + "\n", false},
		{"two media types", "latest", typed(rollback.OCIIndex, digest), string(body), false},
		{"an unknown media type", "latest", typed("application/vnd.docker.distribution.manifest.v1+prettyjws", ""), `{"schemaVersion":1}`, false},
		{"nothing", "latest", typed(rollback.OCIManifest, ""), "", false},
		{"too much", "latest", typed(rollback.OCIManifest, ""), strings.Repeat(" ", largest+1), false},
	} {
		w.fake.Clear()
		w.fake.Inject(fake.Fault{Op: "GET manifest*", Status: 200, Header: c.header, Body: c.body})
		ms, err := w.Manifests(t.Context(), "payments", c.ref)
		if c.ok {
			if err != nil || len(ms) != 1 || string(ms[0].Bytes) != c.body || ms[0].MediaType != rollback.OCIManifest {
				t.Errorf("%s: %v, %v", c.name, ms, err)
			}
			continue
		}
		wantKind(t, err, rollback.Broken)
	}
}
