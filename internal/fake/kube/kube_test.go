package kube

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry is a tag table that the nodes pull from.
type registry struct {
	mu    sync.Mutex
	tags  map[string]string
	calls map[string]int
}

func (r *registry) resolve(ref string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[ref]++
	if _, _, digest := splitImage(ref); digest != "" {
		return digest, nil
	}
	if d, ok := r.tags[ref]; ok {
		return d, nil
	}
	return "", fmt.Errorf("HEAD %s: %w", ref, ErrImageNotFound)
}

func (r *registry) tag(ref, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[ref] = digest
}

func digestOf(c byte) string {
	b := make([]byte, 64)
	for i := range b {
		b[i] = c
	}
	return "sha256:" + string(b)
}

const image = "registry.example.com/payments:latest"

var good, bad = digestOf('a'), digestOf('b')

// cluster starts a server with a registry in which image names the good digest.
func cluster(t *testing.T, o Options) (*Server, *registry) {
	t.Helper()
	reg := &registry{tags: map[string]string{image: good}, calls: map[string]int{}}
	if o.Resolve == nil {
		o.Resolve = reg.resolve
	}
	o.Namespaces = append(o.Namespaces, "prod")
	s := New(o)
	t.Cleanup(func() {
		s.Close()
		for _, r := range s.Refused() {
			t.Errorf("refused: %s", r)
		}
	})
	return s, reg
}

// serve puts the server on a loopback port.
func serve(t *testing.T, s *Server) *rest.Config {
	t.Helper()
	h := httptest.NewServer(s)
	cfg := &rest.Config{Host: h.URL, QPS: -1, BearerToken: AdminToken}
	t.Cleanup(func() {
		s.Close() // ends watches first
		if c, err := rest.HTTPClientFor(cfg); err == nil {
			c.CloseIdleConnections()
		}
		h.Close()
	})
	return cfg
}

func client(t *testing.T, s *Server) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(serve(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gvr(r *resource) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.plural}
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// imageIDs counts the pods of prod by the digest they report.
func imageIDs(s *Server) map[string]int {
	n := map[string]int{}
	for _, p := range s.List("pods", "prod", "") {
		for _, c := range items(p, "status", "containerStatuses") {
			n[str(c, "imageID")]++
		}
	}
	return n
}
