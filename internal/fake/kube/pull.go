package kube

// How a node finds out what a reference names: it asks the registry over HTTP, as containerd does before it pulls.

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// pullAccept is what containerd asks for.
const pullAccept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"

var pulledDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Puller is a container runtime's way to the registries. Close it after the Server that it is given to.
type Puller struct {
	reach  func(host string) string
	client *http.Client
	ctx    context.Context
	stop   context.CancelFunc
}

// NewPuller makes one; reach is the base URL of the registry that references name so ("http://127.0.0.1:…"), "" for one that
// there is not.
func NewPuller(reach func(host string) string) *Puller {
	ctx, stop := context.WithCancel(context.Background())
	return &Puller{reach, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, ctx, stop}
}

// Stop gives up what is being asked, so that a Server that waits for it can close.
func (p *Puller) Stop() { p.stop() }

// Close gives up what is being asked, and the connections.
func (p *Puller) Close() {
	p.stop()
	p.client.CloseIdleConnections()
}

// Resolve is for Options.Resolve: one HEAD request for the manifest.
func (p *Puller) Resolve(ref string) (string, error) {
	image, tag, digest := splitImage(ref)
	host, repo, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		if host, repo = "docker.io", image; !ok {
			repo = "library/" + image
		}
	}
	if digest != "" {
		tag = digest
	}
	base := p.reach(host)
	if base == "" {
		return "", fmt.Errorf("failed to do request: Head %q: dial tcp: lookup %s: no such host", "https://"+host+"/v2/"+repo+"/manifests/"+tag, host)
	}
	q, err := http.NewRequestWithContext(p.ctx, http.MethodHead, base+"/v2/"+repo+"/manifests/"+tag, nil)
	if err != nil {
		return "", err
	}
	q.Header.Set("Accept", pullAccept)
	q.Header.Set("User-Agent", fake.NodeAgent)
	a, err := p.client.Do(q)
	if err != nil {
		return "", fmt.Errorf("failed to do request: %w", err)
	}
	_ = a.Body.Close() // of an answer to HEAD: empty
	switch a.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", fmt.Errorf("%s: %w", ref, ErrImageNotFound)
	default:
		return "", fmt.Errorf("unexpected status from %s request to %s: %s", q.Method, q.URL, a.Status)
	}
	if digest = a.Header.Get("Docker-Content-Digest"); !pulledDigest.MatchString(digest) {
		return "", fmt.Errorf("%s answered with digest %q", host, digest)
	}
	return digest, nil
}
