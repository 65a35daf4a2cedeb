package kubeworld

// Images on a node: pulling by the container's policy, and how the runtime names what it pulled.

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/rollback-tools/rollback/test/e2e/control"
)

// accepted is what containerd asks for.
const accepted = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"

// image gets the image of a container by its pull policy and returns its digest; false means that the pod ends.
func (r *run) image(c *container) (string, bool) {
	ref := c.spec.Image
	for r.work.Err() == nil {
		d := r.settings.delays()
		if c.spec.ImagePullPolicy != corev1.PullAlways {
			if digest := r.settings.cached(r.pod.Spec.NodeName, ref); digest != "" {
				r.event(c, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", ref))
				return digest, true
			}
			if c.spec.ImagePullPolicy == corev1.PullNever {
				why := fmt.Sprintf("Container image %q is not present with pull policy of Never", ref)
				r.event(c, corev1.EventTypeWarning, "ErrImageNeverPull", why)
				r.event(c, corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
				r.wait(c, "ErrImageNeverPull", why)
				sleep(r.work, d.PullBackoff)
				continue
			}
		}
		r.event(c, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
		from := time.Now()
		if !sleep(r.work, d.Pull) {
			break
		}
		digest, size, err := r.nodes.resolver.resolve(r.work, r.settings, ref)
		if r.work.Err() != nil {
			break
		}
		if err != nil {
			r.pullFailed(c, err)
			continue
		}
		c.fails = 0
		took := time.Since(from).Truncate(time.Millisecond)
		r.event(c, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", ref, took, took, size))
		r.settings.keep(r.pod.Spec.NodeName, digest, ref, repository(ref)+"@"+digest)
		return digest, true
	}
	return "", false
}

// pullFailed tells of a failed pull and waits as long as the kubelet does before the next.
func (r *run) pullFailed(c *container, err error) {
	ref := c.spec.Image
	code, why := "Unknown", err.Error()
	if errors.Is(err, errNotFound) {
		code, why = "NotFound", ref+": not found"
	}
	message := fmt.Sprintf("rpc error: code = %s desc = failed to pull and unpack image %q: failed to resolve reference %q: %s", code, ref, ref, why)
	r.event(c, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", ref, message))
	r.event(c, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	r.wait(c, "ErrImagePull", message)
	wait := r.settings.delays().PullBackoff << min(c.fails, 5)
	c.fails++
	if !sleep(r.work, wait/2) {
		return
	}
	r.event(c, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", ref))
	r.event(c, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
	r.wait(c, "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", ref, message))
	sleep(r.work, wait/2)
}

// errNotFound says that the registry has no such tag or digest.
var errNotFound = errors.New("not found")

// resolver asks registries.
type resolver struct{ client *http.Client }

func newResolver() resolver {
	return resolver{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// splitImage cuts a reference into registry, repository and tag or digest.
func splitImage(ref string) (host, repo, tagOrDigest string) {
	host, rest, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, rest = "docker.io", ref
		if !ok {
			rest = "library/" + ref
		}
	}
	if repo, digest, ok := strings.Cut(rest, "@"); ok {
		if i := strings.LastIndexByte(repo, ':'); i >= 0 {
			repo = repo[:i]
		}
		return host, repo, digest
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		return host, rest[:i], rest[i+1:]
	}
	return host, rest, "latest"
}

func repository(ref string) string {
	host, repo, _ := splitImage(ref)
	return host + "/" + repo
}

// canonicalImage is a reference as the runtime writes it.
func canonicalImage(ref string) string {
	host, repo, t := splitImage(ref)
	if strings.HasPrefix(t, "sha256:") {
		return host + "/" + repo + "@" + t
	}
	return host + "/" + repo + ":" + t
}

// resolve asks which digest a reference names now.
func (s resolver) resolve(ctx context.Context, n *namespaceSettings, ref string) (digest string, size int64, err error) {
	host, repo, t := splitImage(ref)
	a, err := s.ask(ctx, http.MethodHead, n.reach(host), repo, t)
	if err != nil {
		return "", 0, err
	}
	_ = a.Body.Close()
	digest = a.Header.Get("Docker-Content-Digest")
	if !digestForm.MatchString(digest) {
		return "", 0, fmt.Errorf("%s answered with digest %q", host, digest)
	}
	return digest, a.ContentLength, nil
}

func (s resolver) ask(ctx context.Context, method, base, repo, t string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, base+"/v2/"+repo+"/manifests/"+t, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", accepted)
	q.Header.Set("User-Agent", "containerd/v2.1.4")
	a, err := s.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("failed to do request: %w", err)
	}
	switch a.StatusCode {
	case http.StatusOK:
		return a, nil
	case http.StatusNotFound:
		err = errNotFound
	case http.StatusUnauthorized: // the words of containerd, which has no password for the registry
		err = errors.New("pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials")
	default:
		err = fmt.Errorf("unexpected status from %s request to %s: %s", method, q.URL, a.Status)
	}
	_ = a.Body.Close()
	return nil, err
}

// imageID is how the runtime reports an image that it pulled.
func (s resolver) imageID(ctx context.Context, n *namespaceSettings, ref, digest string) (string, error) {
	form := n.imageID()
	switch form {
	case control.RepoDigest:
		return repository(ref) + "@" + digest, nil
	case control.DockerPullable:
		return "docker-pullable://" + repository(ref) + "@" + digest, nil
	case control.PlatformDigest, control.BareConfig:
	default:
		return "", fmt.Errorf("no image ID form %q", form)
	}
	host, repo, _ := splitImage(ref)
	for range 2 { // an index, and the manifest in it
		m, err := s.manifest(ctx, n.reach(host), repo, digest)
		switch {
		case err != nil:
			return "", err
		case m.Config != nil && form == control.BareConfig:
			return m.Config.Digest, nil
		case m.Config != nil:
			return repository(ref) + "@" + digest, nil
		}
		digest = ""
		for _, child := range m.Manifests {
			if child.Platform.OS == "linux" && child.Platform.Architecture == "amd64" {
				digest = child.Digest
			}
		}
		if digest == "" {
			return "", errors.New("no match for platform in manifest")
		}
	}
	return "", errors.New("an index in an index")
}

type manifest struct {
	Config    *struct{ Digest string }
	Manifests []struct {
		Digest   string
		Platform struct{ OS, Architecture string }
	}
}

func (s resolver) manifest(ctx context.Context, base, repo, digest string) (m manifest, err error) {
	a, err := s.ask(ctx, http.MethodGet, base, repo, digest)
	if err != nil {
		return m, err
	}
	defer a.Body.Close()
	return m, json.NewDecoder(io.LimitReader(a.Body, 4<<20)).Decode(&m)
}

func containerID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return "containerd://" + hex.EncodeToString(b)
}
