package kube

// How a node finds out what a reference names: it asks the registry over HTTP, as containerd does before it pulls.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// located takes a reference apart as runtimes do.
func located(ref string) (host, repo, tagOrDigest string) {
	image, tag, digest := splitImage(ref)
	host, repo, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		if host, repo = "docker.io", image; !ok {
			repo = "library/" + image
		}
	}
	return host, repo, cmp.Or(digest, tag)
}

// Resolve is for Options.Resolve: one HEAD request for the manifest.
func (p *Puller) Resolve(ref string) (string, error) {
	host, repo, t := located(ref)
	a, err := p.ask(http.MethodHead, host, repo, t)
	if errors.Is(err, ErrImageNotFound) {
		return "", fmt.Errorf("%s: %w", ref, err)
	} else if err != nil {
		return "", err
	}
	_ = a.Body.Close() // of an answer to HEAD: empty
	digest := a.Header.Get("Docker-Content-Digest")
	if !pulledDigest.MatchString(digest) {
		return "", fmt.Errorf("%s answered with digest %q", host, digest)
	}
	return digest, nil
}

// PlatformDigest is an ImageIDForm: the platform's manifest where the tag names an index.
func (p *Puller) PlatformDigest(repository, digest string) (string, error) {
	digest, _, err := p.platform(repository, digest)
	return repository + "@" + digest, err
}

// BareConfig is an ImageIDForm: the digest of the image's configuration alone.
func (p *Puller) BareConfig(repository, digest string) (string, error) {
	_, config, err := p.platform(repository, digest)
	return config, err
}

// platform reads the manifest of an image, if need be that of this machine's platform in an index.
func (p *Puller) platform(repository, digest string) (manifest, config string, err error) {
	host, repo, _ := located(repository)
	for range 2 {
		a, err := p.ask(http.MethodGet, host, repo, digest)
		if err != nil {
			return "", "", err
		}
		var m struct {
			Config    struct{ Digest string }
			Manifests []struct {
				Digest   string
				Platform struct{ OS, Architecture string }
			}
		}
		err = json.NewDecoder(io.LimitReader(a.Body, 4<<20)).Decode(&m)
		_ = a.Body.Close()
		if err != nil {
			return "", "", err
		}
		if m.Config.Digest != "" {
			return digest, m.Config.Digest, nil
		}
		digest = ""
		for _, c := range m.Manifests {
			if c.Platform.OS == "linux" && c.Platform.Architecture == "amd64" {
				digest = c.Digest
			}
		}
		if digest == "" {
			return "", "", errors.New("no match for platform in manifest")
		}
	}
	return "", "", errors.New("an index in an index")
}

// ask asks a registry for a manifest.
func (p *Puller) ask(method, host, repo, t string) (*http.Response, error) {
	base := p.reach(host)
	if base == "" {
		return nil, fmt.Errorf("failed to do request: Head %q: dial tcp: lookup %s: no such host", "https://"+host+"/v2/"+repo+"/manifests/"+t, host)
	}
	q, err := http.NewRequestWithContext(p.ctx, method, base+"/v2/"+repo+"/manifests/"+t, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", pullAccept)
	q.Header.Set("User-Agent", fake.NodeAgent)
	a, err := p.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("failed to do request: %w", err)
	}
	if a.StatusCode == http.StatusOK {
		return a, nil
	}
	_ = a.Body.Close()
	switch a.StatusCode {
	case http.StatusNotFound:
		return nil, ErrImageNotFound
	case http.StatusUnauthorized: // the words of containerd, which has no password for the registry
		return nil, errors.New("pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials")
	}
	return nil, fmt.Errorf("unexpected status from %s request to %s: %s", q.Method, q.URL, a.Status)
}
