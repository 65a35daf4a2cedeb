package kube

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/fake"
)

// puller is a node's way to one registry, whose faults can be switched.
func puller(t *testing.T, h http.HandlerFunc) (*Puller, *fake.Switchboard) {
	t.Helper()
	board := &fake.Switchboard{Next: h, Op: func(*http.Request) string { return "not a node's" }}
	s := httptest.NewUnstartedServer(board)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	p := NewPuller(func(host string) string {
		if host == "registry.example.com" {
			return s.URL
		}
		return ""
	})
	t.Cleanup(func() {
		p.Close()
		board.Close()
		s.Close()
	})
	return p, board
}

func TestPuller(t *testing.T) {
	t.Parallel()
	var asked []string
	p, board := puller(t, func(w http.ResponseWriter, r *http.Request) {
		if asked = append(asked, r.Method+" "+r.URL.Path); !strings.Contains(r.Header.Get("Accept"), "application/vnd.oci.image.index.v1+json") {
			t.Errorf("it accepts %q", r.Header.Get("Accept"))
		}
		if strings.HasSuffix(r.URL.Path, "/gone") {
			http.NotFound(w, r)
			return
		}
		if !strings.HasSuffix(r.URL.Path, "/none") {
			w.Header().Set("Docker-Content-Digest", good)
		}
	})
	for ref, path := range map[string]string{
		"registry.example.com/acme/api":                     "/v2/acme/api/manifests/latest",
		"registry.example.com/acme/api:one":                 "/v2/acme/api/manifests/one",
		"registry.example.com/acme/api@" + bad:              "/v2/acme/api/manifests/" + bad,
		"registry.example.com/acme/api:one@" + bad:          "/v2/acme/api/manifests/" + bad,
		"registry.example.com/acme/api:rollback-keep-0a1b2": "/v2/acme/api/manifests/rollback-keep-0a1b2",
	} {
		asked = nil
		digest, err := p.Resolve(ref)
		if err != nil || digest != good || !slices.Equal(asked, []string{"HEAD " + path}) {
			t.Errorf("%s: %s, %v; asked for %q", ref, digest, err, asked)
		}
	}
	if n := board.Count(fake.PullOp + "acme/api:one"); n != 1 {
		t.Errorf("one was pulled %d times", n)
	}
	if n := board.Count(fake.PullOp + "acme/api@" + bad); n != 2 {
		t.Errorf("by digest it was pulled %d times", n)
	}
	if n := board.Count("not a node's"); n != 0 {
		t.Errorf("%d pulls were taken for somebody else's", n)
	}
	for ref, want := range map[string]string{
		"registry.example.com/acme/api:none": `registry.example.com answered with digest ""`,
		"other.example.com/acme/api:latest":  "dial tcp: lookup other.example.com: no such host",
		"acme/api":                           "lookup docker.io: no such host",
		"api":                                "https://docker.io/v2/library/api/manifests/latest",
	} {
		if _, err := p.Resolve(ref); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrImageNotFound) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	if _, err := p.Resolve("registry.example.com/acme/api:gone"); !errors.Is(err, ErrImageNotFound) {
		t.Errorf("gone: %v", err)
	}
}

// Faults of a registry reach the nodes, and a node that hangs on one ends with its cluster.
func TestPullerFaults(t *testing.T) {
	t.Parallel()
	p, board := puller(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Docker-Content-Digest", good) })
	for want, f := range map[string]fake.Fault{
		": 503 Service Unavailable":                       {Status: 503},
		"authorization failed: no basic auth credentials": {Status: 401},
		": 403 Forbidden":                                 {Status: 403},
		"failed to do request":                            {Drop: true},
	} {
		f.Op = fake.PullOp + "acme/api:*"
		board.Inject(f)
		if _, err := p.Resolve("registry.example.com/acme/api"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		board.Clear()
	}
	came := make(chan struct{})
	board.Inject(fake.Fault{Hold: func(*http.Request) { close(came) }, Hang: true, Times: 1})
	ended := make(chan error)
	go func() {
		_, err := p.Resolve("registry.example.com/acme/api")
		ended <- err
	}()
	<-came
	p.Stop()
	if err := <-ended; err == nil {
		t.Error("a registry that hangs was an answer")
	}
}

// Runtimes that report what an index leads to read it.
func TestPullerReadsIndexes(t *testing.T) {
	t.Parallel()
	index, platform, config := digestOf('1'), digestOf('2'), digestOf('3')
	documents := map[string]string{
		index:         `{"manifests":[{"digest":"` + digestOf('4') + `","platform":{"os":"linux","architecture":"arm64"}},{"digest":"` + platform + `","platform":{"os":"linux","architecture":"amd64"}}]}`,
		platform:      `{"config":{"digest":"` + config + `"}}`,
		digestOf('5'): `{"manifests":[{"digest":"` + digestOf('4') + `","platform":{"os":"linux","architecture":"arm64"}}]}`,
		digestOf('6'): `{"manifests":[{"digest":"` + index + `","platform":{"os":"linux","architecture":"amd64"}}]}`,
		digestOf('7'): `{`,
	}
	p, _ := puller(t, func(w http.ResponseWriter, r *http.Request) {
		_, digest, _ := strings.Cut(r.URL.Path, "/manifests/")
		if _, ok := documents[digest]; !ok {
			http.NotFound(w, r)
		}
		_, _ = io.WriteString(w, documents[digest])
	})
	const repo = "registry.example.com/acme/api"
	for _, digest := range []string{index, platform} {
		id, err := p.PlatformDigest(repo, digest)
		bare, err2 := p.BareConfig(repo, digest)
		if err = errors.Join(err, err2); err != nil || id != repo+"@"+platform || bare != config {
			t.Errorf("%s: %s, %s, %v", digest, id, bare, err)
		}
	}
	for _, c := range "5678" {
		if bare, err := p.BareConfig(repo, digestOf(byte(c))); err == nil {
			t.Errorf("%c: %s", c, bare)
		}
	}
}
