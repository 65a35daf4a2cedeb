package e2e

// Registries that are not ECR: `kind: oci`. The real one is distribution itself, the loopback one internal/fake/oci.

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/oci"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// store is a world's registry with what the two kinds of world differ in.
type store interface {
	Registry
	Manifest(repo, digest string) ([]byte, string, error)
}

// noECR is what a registry has not that is not ECR: tags that may not be moved, rules that take images away, and push
// times. When an image was made stands in the image.
type noECR struct{ host string }

func (n noECR) Host() string                                  { return n.host }
func (noECR) CreateRepository(string)                         {} // the first push makes it
func (noECR) SetPushedAt(string, string, time.Time) error     { return nil }
func (noECR) Violations() []string                            { return nil }
func (n noECR) SetMutability(string, string, ...string) error { return n.unknown("mutability") }
func (n noECR) SetLifecyclePolicy(string, string) error       { return n.unknown("lifecycle policies") }

func (n noECR) unknown(what string) error {
	return fmt.Errorf("the OCI API of %s knows no %s", n.host, what)
}

// hostOf is the name of a registry that is called by its address.
func hostOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// plainReal is a distribution registry.
type plainReal struct {
	noECR
	*registry.Plain
}

func newPlainReal(t *testing.T) (store, *httptest.Server) {
	p := registry.NewPlain()
	t.Cleanup(p.Close)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return plainReal{noECR{hostOf(s)}, p}, s
}

// plainLoopback is the registry of the main module's tests.
type plainLoopback struct {
	noECR
	*fake.Switchboard
	images *oci.Registry
}

func newPlainLoopback(t *testing.T) (store, *httptest.Server) {
	r := oci.New(oci.Rules{})
	t.Cleanup(r.Close)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return plainLoopback{noECR{hostOf(s)}, r.Switchboard, r}, s
}

func (p plainLoopback) Tags(repo string) map[string]string { return p.images.Tags(repo) }

func (p plainLoopback) Manifest(repo, digest string) ([]byte, string, error) {
	mediaType, body, ok := p.images.Manifest(repo, digest)
	if !ok {
		return nil, "", fmt.Errorf("%s has no image %s", repo, digest)
	}
	return body, mediaType, nil
}

func (p plainLoopback) Tag(repo, tag, digest string) error {
	if _, _, err := p.Manifest(repo, digest); err != nil {
		return err
	}
	p.images.Tag(repo, digest, tag)
	return nil
}

func (p plainLoopback) Delete(repo, digest string) error {
	if _, _, err := p.Manifest(repo, digest); err != nil {
		return err
	}
	p.images.Delete(repo, digest)
	return nil
}
