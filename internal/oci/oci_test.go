package oci

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake"
	fakeoci "github.com/rollback-tools/rollback/internal/fake/oci"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var built = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// world is a fake registry and a client of it that does not really sleep between attempts.
type world struct {
	*Registry
	fake   *fakeoci.Registry
	host   string
	pauses *pauses
}

type pauses struct {
	mu    sync.Mutex
	slept []time.Duration
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slept = append(p.slept, d)
	return ctx.Err()
}

func (p *pauses) all() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.slept)
}

func serve(t *testing.T, h http.Handler) (host string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// client makes a client whose connections end with the test. Without credentials it asks nobody's docker configuration.
func client(t *testing.T, cfg Config) (*Registry, *pauses) {
	t.Helper()
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Username == "" {
		r.keychain = nobody{}
	}
	p := &pauses{}
	r.sleep = p.sleep
	t.Cleanup(r.client.CloseIdleConnections)
	return r, p
}

func newWorld(t *testing.T, rules fakeoci.Rules) world {
	t.Helper()
	f := fakeoci.New(rules)
	host := serve(t, f)
	t.Cleanup(f.Close) // before the server's, so that hanging requests end
	r, p := client(t, Config{Host: host, Username: rules.Username, Password: rules.Password, CredentialsFrom: "REGISTRY_USERNAME and REGISTRY_PASSWORD"})
	return world{r, f, host, p}
}

var secured = fakeoci.Rules{Auth: fakeoci.Bearer, Username: "ci", Password: "s3cret"}

func TestImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	good := w.fake.AddImage("team/payments", built, "3f2a9c1", "latest")
	multi := w.fake.AddIndex("team/payments", built, "8d1e0b2")

	images, err := w.Images(t.Context(), "team/payments", "latest", "3f2a9c1", "8d1e0b2", good, "nothing", "latest")
	if err != nil {
		t.Fatal(err)
	}
	byDigest := map[string]rollback.Image{}
	for _, i := range images {
		byDigest[string(i.Digest)] = i
	}
	if len(images) != 2 {
		t.Fatalf("got %d images, want one for each digest: %+v", len(images), images)
	}
	if got := byDigest[good]; !slices.Equal(got.Tags, []string{"3f2a9c1", "latest"}) || got.MediaType != rollback.OCIManifest {
		t.Errorf("single image: %+v", got)
	}
	if got := byDigest[multi]; !slices.Equal(got.Tags, []string{"8d1e0b2"}) || got.MediaType != rollback.OCIIndex {
		t.Errorf("index: %+v", got)
	}

	images, err = w.Images(t.Context(), "team/payments", "gone")
	if err != nil || len(images) != 0 {
		t.Errorf("a missing tag: %v, %v; want nothing", images, err)
	}
	_, err = w.Images(t.Context(), "team/nowhere", "latest")
	wantKind(t, err, rollback.NotFound)
	if fix := rollback.FixOf(err); !strings.Contains(fix, "team/nowhere") {
		t.Errorf("fix %q does not name the repository", fix)
	}
}

// A docker manifest list must come whole although registries hand one platform of it to clients that do not ask for lists.
func TestDockerListStaysWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	amd := w.fake.AddImage("web", built)
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1,"platform":{"architecture":"amd64","os":"linux"}}]}`,
		rollback.DockerList, rollback.OCIManifest, amd)
	want := w.fake.AddManifest("web", rollback.DockerList, list, "3f2a9c1")
	m := one(t, w.Registry, "web", "3f2a9c1")
	if string(m.Digest) != want || m.MediaType != rollback.DockerList || !bytes.Equal(m.Bytes, list) {
		t.Errorf("got %s %s", m.Digest, m.MediaType)
	}
}

func one(t *testing.T, r *Registry, repository, ref string) rollback.Manifest {
	t.Helper()
	ms, err := r.Manifests(t.Context(), repository, ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(ms) != 1 {
		t.Fatalf("%s has %d manifests, want 1", ref, len(ms))
	}
	return ms[0]
}

// A retag keeps digest and bytes, for one platform and for many, whoever's registry it is.
func TestRetagKeepsBytes(t *testing.T) {
	t.Parallel()
	servers := map[string]func(t *testing.T) (*Registry, string){
		"strict fake": func(t *testing.T) (*Registry, string) {
			w := newWorld(t, fakeoci.Rules{})
			return w.Registry, w.host
		},
		"go-containerregistry": func(t *testing.T) (*Registry, string) {
			host := serve(t, registry.New(registry.Logger(quiet())))
			r, _ := client(t, Config{Host: host})
			return r, host
		},
	}
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			r, host := start(t)
			image, err := random.Image(100, 2)
			if err != nil {
				t.Fatal(err)
			}
			index, err := random.Index(100, 1, 3)
			if err != nil {
				t.Fatal(err)
			}
			good, bad := push1(t, host, "payments:3f2a9c1", image), push1(t, host, "payments:latest", mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json"))
			multi := pushIndex(t, host, "payments:8d1e0b2", index)
			if good == bad {
				t.Fatal("the two images are the same")
			}
			for tag, want := range map[string]v1.Hash{"3f2a9c1": good, "8d1e0b2": multi} {
				m := one(t, r, "payments", tag)
				if string(m.Digest) != want.String() {
					t.Fatalf("read %s, pushed %s", m.Digest, want)
				}
				if already, err := r.Tag(t.Context(), "payments", m, "latest"); err != nil || already {
					t.Fatalf("Tag: already %t, %v", already, err)
				}
				after := one(t, r, "payments", "latest")
				if after.Digest != m.Digest || after.MediaType != m.MediaType || !bytes.Equal(after.Bytes, m.Bytes) {
					t.Errorf("after the retag: %s %s, want %s %s", after.Digest, after.MediaType, m.Digest, m.MediaType)
				}
				// The library's client must see the same.
				ref, err := name.ParseReference(host + "/payments:latest")
				if err != nil {
					t.Fatal(err)
				}
				d, err := remote.Get(ref, remote.WithContext(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				if d.Digest != want || !bytes.Equal(d.Manifest, m.Bytes) {
					t.Errorf("the library reads %s, want %s", d.Digest, want)
				}
				if already, err := r.Tag(t.Context(), "payments", m, "latest"); err != nil || !already {
					t.Errorf("the same again: already %t, %v", already, err)
				}
			}
		})
	}
}

func push1(t *testing.T, host, ref string, image v1.Image) v1.Hash {
	t.Helper()
	tag, err := name.ParseReference(host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func pushIndex(t *testing.T, host, ref string, index v1.ImageIndex) v1.Hash {
	t.Helper()
	tag, err := name.ParseReference(host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Once the handshake has been made, each method is one wave: all its requests are in flight at the same time.
func TestWaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, secured)
	good := w.fake.AddImage("payments", built, "3f2a9c1")
	w.fake.AddImage("payments", built, "latest", "b1", "b2", "b3")
	refs := []string{"3f2a9c1", "latest", "b1", "b2", "b3", "missing"}

	// First contact: one ping, one token, however many ask.
	if _, err := w.Images(t.Context(), "payments", refs...); err != nil {
		t.Fatal(err)
	}
	if p, k := w.fake.Count("ping"), w.fake.Count("token"); p != 1 || k != 1 {
		t.Errorf("%d pings and %d tokens for the first call, want 1 and 1", p, k)
	}

	w.fake.Reset()
	barrier := newBarrier(len(refs))
	w.fake.Inject(fake.Fault{Op: "GET manifest*", Hold: barrier.wait})
	if _, err := w.Images(t.Context(), "payments", refs...); err != nil {
		t.Fatal(err)
	}
	barrier = newBarrier(len(refs))
	w.fake.Clear()
	w.fake.Inject(fake.Fault{Op: "GET manifest*", Hold: barrier.wait})
	ms, err := w.Manifests(t.Context(), "payments", refs...)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.fake.Count("*"); n != 2*len(refs) {
		t.Errorf("%d requests for two calls, want %d", n, 2*len(refs))
	}
	w.fake.Clear()

	i := slices.IndexFunc(ms, func(m rollback.Manifest) bool { return string(m.Digest) == good })
	for step, c := range []struct {
		tag  string
		want []string
	}{
		// The first write asks for a token that may push; after that a write is one PUT, because the tags have just been read.
		{"latest", []string{"token", "PUT manifest payments:latest"}},
		{"b1", []string{"PUT manifest payments:b1"}},
		{"missing", []string{"PUT manifest payments:missing"}},
		{"unseen", []string{"GET manifest payments:unseen", "PUT manifest payments:unseen"}},
		{"unseen", []string{"GET manifest payments:unseen"}}, // already so
	} {
		w.fake.Reset()
		already, err := w.Tag(t.Context(), "payments", ms[i], c.tag)
		if err != nil {
			t.Fatal(err)
		}
		if already != (len(c.want) == 1 && c.want[0][0] == 'G') {
			t.Errorf("step %d: already is %t", step, already)
		}
		var ops []string
		for _, q := range w.fake.Requests() {
			ops = append(ops, q.Op)
		}
		if !slices.Equal(ops, c.want) {
			t.Errorf("step %d: requests %q, want %q", step, ops, c.want)
		}
	}

	w.fake.Reset()
	if _, err := w.Repository(t.Context(), "payments"); err != nil || w.fake.Count("*") != 1 {
		t.Errorf("Repository: %v, %d requests; want 1", err, w.fake.Count("*"))
	}
}

// barrier lets n requests go only when all of them have arrived.
type barrier struct {
	wg sync.WaitGroup
}

func newBarrier(n int) *barrier {
	b := &barrier{}
	b.wg.Add(n)
	return b
}

func (b *barrier) wait(*http.Request) {
	b.wg.Done()
	b.wg.Wait()
}

func TestTagReadsAgainAfterAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	good := w.fake.AddImage("payments", built, "3f2a9c1")
	m := one(t, w.Registry, "payments", "3f2a9c1")
	if _, err := w.Images(t.Context(), "payments", "latest"); err != nil {
		t.Fatal(err)
	}
	w.fake.Tag("payments", good, "latest") // a second operator was faster
	w.mu.Lock()
	s := w.seen["payments:latest"]
	s.at = s.at.Add(-2 * fresh)
	w.seen["payments:latest"] = s
	w.mu.Unlock()
	already, err := w.Tag(t.Context(), "payments", m, "latest")
	if err != nil || !already || w.fake.Count("PUT*") != 0 {
		t.Errorf("already %t, %v, %d PUTs; want it told apart without a write", already, err, w.fake.Count("PUT*"))
	}
}

func TestTagRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "3f2a9c1")
	m := one(t, w.Registry, "payments", "3f2a9c1")
	changed := m
	changed.Bytes = append(slices.Clone(m.Bytes), '\n')
	foreign := m
	foreign.MediaType = "application/json"
	w.fake.Reset()
	for what, err := range map[string]error{
		"changed bytes": second(w.Tag(t.Context(), "payments", changed, "latest")),
		"media type":    second(w.Tag(t.Context(), "payments", foreign, "latest")),
		"tag":           second(w.Tag(t.Context(), "payments", m, "../etc")),
		"repository":    second(w.Tag(t.Context(), "Payments", m, "latest")),
		"ref":           second(w.Images(t.Context(), "payments", "a/b")),
		"name":          second(w.Manifests(t.Context(), "../x", "latest")),
		"describe":      second(w.Registry.Repository(t.Context(), "")),
	} {
		if rollback.KindOf(err) != rollback.Rejected {
			t.Errorf("%s: %v, want it rejected", what, err)
		}
	}
	if n := w.fake.Count("*"); n != 0 {
		t.Errorf("%d requests were sent all the same", n)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t, secured)
	got, err := w.Repository(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != "oci" || got.Host != w.host || got.Name != "payments" || got.Caller != "ci" {
		t.Errorf("got %+v", got)
	}
	if len(got.Unknown) != 2 || !strings.Contains(got.Unknown[0], "tags may be moved") || got.Lifecycle != nil {
		t.Errorf("unknown %q, lifecycle %v", got.Unknown, got.Lifecycle)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{PageSize: 3})
	want := map[string][]string{}
	dates := map[string]time.Time{}
	for i := range 8 {
		tag, at := fmt.Sprintf("%07x", 0xa0+i), built.Add(time.Duration(i)*time.Hour)
		d := w.fake.AddImage("payments", at, tag)
		want[d], dates[d] = []string{tag}, at
	}
	multi := w.fake.AddIndex("payments", built.Add(time.Minute), "multi", "multi-again")
	want[multi], dates[multi] = []string{"multi", "multi-again"}, built.Add(time.Minute)
	reproducible := w.fake.AddImage("payments", time.Unix(0, 0), "zero")
	want[reproducible] = []string{"zero"}
	w.fake.Tag("payments", multi, "sha256-"+strings.Repeat("0", 64)+".sig")

	got := map[string][]string{}
	for page, err := range w.List(t.Context(), "payments") {
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page {
			d := string(i.Digest)
			got[d] = append(got[d], i.Tags...)
			if !i.CreatedAt.Equal(dates[d]) {
				t.Errorf("%v: created %s, want %s", i.Tags, i.CreatedAt, dates[d])
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d images, want %d", len(got), len(want))
	}
	for d, tags := range want {
		slices.Sort(got[d])
		if !slices.Equal(got[d], tags) {
			t.Errorf("%s has tags %q, want %q", d, got[d], tags)
		}
	}
	if n := w.fake.Count("GET blob*"); n != 10 {
		t.Errorf("%d configurations read, want one for each of the 10 images", n)
	}

	w.fake.Reset()
	for range w.List(t.Context(), "payments") {
		break
	}
	if n := w.fake.Count("GET tags*"); n != 1 {
		t.Errorf("%d pages read by a caller who stopped after the first", n)
	}
	for _, err := range w.List(t.Context(), "nowhere") {
		wantKind(t, err, rollback.NotFound)
	}
}

func TestListStopsAtACircle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	w.fake.Inject(fake.Fault{Op: "GET tags*", Status: 200, Body: `{"name":"payments","tags":[]}`,
		Header: http.Header{"Link": {`</v2/payments/tags/list?n=100>; rel="next"`}}})
	var last error
	for _, err := range w.List(t.Context(), "payments") {
		last = err
	}
	wantKind(t, last, rollback.Broken)
}

func TestListWithoutRepositoryName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	for _, err := range w.List(t.Context(), "Bad Name") {
		wantKind(t, err, rollback.Rejected)
	}
	if w.fake.Count("*") != 0 {
		t.Error("a request was sent")
	}
}

// wantKind fails the test unless err is a CallError of this kind.
func wantKind(t *testing.T, err error, want rollback.CallKind) *rollback.CallError {
	t.Helper()
	var e *rollback.CallError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a call error of kind %q", err, want)
	}
	if e.Kind != want {
		t.Fatalf("got kind %q (%v), want %q", e.Kind, err, want)
	}
	return e
}

func TestNewRefusesConfiguration(t *testing.T) {
	t.Parallel()
	garbage := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(garbage, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, cfg := range map[string]Config{
		"no host":       {},
		"a URL":         {Host: "https://registry.example.com"},
		"a path":        {Host: "registry.example.com/acme"},
		"half a login":  {Host: "registry.example.com", Username: "ci"},
		"no such CA":    {Host: "registry.example.com", CAFile: garbage + "x"},
		"CA is no cert": {Host: "registry.example.com", CAFile: garbage},
	} {
		if _, err := New(t.Context(), cfg); rollback.ExitOf(err) != rollback.Usage {
			t.Errorf("%s: %v, want a usage error", what, err)
		}
	}
}

func TestScheme(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Host: "registry.example.com"}, "https"},
		{Config{Host: "10.0.0.7:5000"}, "https"},
		{Config{Host: "registry.local:5000"}, "https"},
		{Config{Host: "127.0.0.1.example.com:5000"}, "https"},
		{Config{Host: "10.0.0.7:5000", Insecure: true}, "http"},
		{Config{Host: "localhost:5000"}, "http"},
		{Config{Host: "127.0.0.1:5000"}, "http"},
		{Config{Host: "[::1]:5000"}, "http"},
	} {
		r, err := New(t.Context(), c.cfg)
		if err != nil || r.scheme != c.want {
			t.Errorf("%+v: %v, %v; want %s", c.cfg, r, err, c.want)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	f := fakeoci.New(secured)
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	f.AddImage("payments", built, "latest")
	host := strings.TrimPrefix(s.URL, "https://")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _ := client(t, Config{Host: host, CAFile: ca, Username: "ci", Password: "s3cret"})
	one(t, r, "payments", "latest")

	// The same server with a CA that did not sign its certificate, and in plain http.
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.Config.ErrorLog = quiet()
	other.StartTLS()
	t.Cleanup(other.Close)
	stranger, _ := client(t, Config{Host: host, CAFile: ca})
	stranger.transport.(*http.Transport).TLSClientConfig.RootCAs = nil
	_, err := stranger.Images(t.Context(), "payments", "latest")
	if e := wantKind(t, err, rollback.Unreachable); !strings.Contains(e.Fix, "CA file") {
		t.Errorf("fix %q", e.Fix)
	}
	plain := serve(t, fakeoci.New(fakeoci.Rules{}))
	strict, _ := client(t, Config{Host: plain, CAFile: ca})
	_, err = strict.Images(t.Context(), "payments", "latest")
	if e := wantKind(t, err, rollback.Unreachable); !strings.Contains(e.Fix, "plain http") {
		t.Errorf("fix %q of %v", e.Fix, err)
	}
}

func refusedHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Whether a repository exists is asked only when nothing of what was asked for does, and once.
func TestMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeoci.Rules{})
	w.fake.AddImage("payments", built, "latest")
	none := func(repository string) error {
		t.Helper()
		images, err := w.Images(t.Context(), repository, "gone")
		if len(images) != 0 {
			t.Errorf("got %v", images)
		}
		return err
	}
	for range 2 {
		if err := none("payments"); err != nil {
			t.Error(err)
		}
	}
	if n := w.fake.Count("GET tags*"); n != 1 {
		t.Errorf("asked %d times whether it exists, want once", n)
	}
	wantKind(t, none("nowhere"), rollback.NotFound)

	// A registry that lists no tags leaves it at "not there".
	w.fake.Inject(fake.Fault{Op: "GET tags*", Status: http.StatusMethodNotAllowed})
	if err := none("nowhere"); err != nil {
		t.Error(err)
	}
	w.fake.Clear()
	w.fake.Inject(fake.Fault{Op: "GET tags*", Drop: true})
	wantKind(t, none("nowhere"), rollback.Unreachable)
	if ms, err := w.Manifests(t.Context(), "payments"); ms != nil || err != nil {
		t.Errorf("nothing asked: %v, %v", ms, err)
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := sleep(t.Context(), time.Minute); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute+time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}
