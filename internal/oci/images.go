package oci

// The port's reads and its one write. Images reads manifests whole, as Manifests does: a HEAD would be as slow, has no
// body to tell a missing tag from a missing repository or a proxy's page, and would have us believe a digest instead
// of computing it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// sighting is what a tag named when it was read; digest is "" for a tag that was not there.
type sighting struct {
	digest rollback.Digest
	at     time.Time
}

// fresh is how long a sighting stands in for reading the tag again before it is written.
const fresh = time.Minute

// Images implements rollback.Registry. Tags holds the asked-for tags that name the image, no others; CreatedAt is left
// zero, because it would take two more requests, one after the other.
func (r *Registry) Images(ctx context.Context, repository string, refs ...string) ([]rollback.Image, error) {
	found, err := r.fetchAll(ctx, repository, refs)
	if err != nil {
		return nil, err
	}
	var images []rollback.Image
	at := map[rollback.Digest]int{}
	for _, f := range found {
		i, ok := at[f.manifest.Digest]
		if !ok {
			i = len(images)
			at[f.manifest.Digest] = i
			images = append(images, rollback.Image{Digest: f.manifest.Digest, MediaType: f.manifest.MediaType})
		}
		if rollback.ValidTag(f.ref) {
			images[i].Tags = append(images[i].Tags, f.ref)
		}
	}
	return images, nil
}

// Manifests implements rollback.Registry: one request for each reference, all at the same time.
func (r *Registry) Manifests(ctx context.Context, repository string, refs ...string) ([]rollback.Manifest, error) {
	found, err := r.fetchAll(ctx, repository, refs)
	if err != nil {
		return nil, err
	}
	var manifests []rollback.Manifest
	seen := map[rollback.Digest]bool{}
	for _, f := range found {
		if !seen[f.manifest.Digest] {
			seen[f.manifest.Digest] = true
			manifests = append(manifests, f.manifest)
		}
	}
	return manifests, nil
}

// fetched is a manifest with the reference that led to it.
type fetched struct {
	ref      string
	manifest rollback.Manifest
}

// fetchAll fetches what exists of refs, in their order. A repository that does not exist is an error of kind NotFound.
func (r *Registry) fetchAll(ctx context.Context, repository string, refs []string) ([]fetched, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	refs = slices.Clone(refs)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	for _, ref := range refs {
		if err := checkRef(ref); err != nil {
			return nil, err
		}
	}
	if len(refs) == 0 {
		return nil, nil
	}
	results := make([]*rollback.Manifest, len(refs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, ref := range refs {
		g.Go(func() (err error) {
			results[i], err = r.fetch(gctx, repository, ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var found []fetched
	for i, m := range results {
		if m != nil {
			found = append(found, fetched{refs[i], *m})
		}
	}
	if len(found) == 0 {
		return nil, r.mustExist(ctx, repository)
	}
	return found, nil
}

// fetch gets one manifest, nil if there is none, and checks that the bytes are what they are said to be.
func (r *Registry) fetch(ctx context.Context, repository, ref string) (*rollback.Manifest, error) {
	sep := ":"
	want, err := rollback.ParseDigest(ref)
	if err == nil {
		sep = "@"
	}
	c := call{op: "GET manifest " + repository + sep + ref, method: http.MethodGet, scope: pull(repository),
		path: "/v2/" + repository + "/manifests/" + ref, accept: rollback.MediaTypes()}
	a, err := r.do(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		e := r.refusal(c, a)
		if e.Kind != rollback.NotFound {
			return nil, e
		}
		if noRepository(a.body) {
			return nil, r.noRepository(repository, e)
		}
		if want == "" {
			r.saw(repository, ref, "")
		}
		return nil, nil
	}
	m, err := readManifest(a.header, a.body, want)
	if err != nil {
		if r.foreign(a) {
			err = r.strange(a)
		}
		return nil, broken(c, status(a.status), err)
	}
	if want == "" {
		r.saw(repository, ref, m.Digest)
	}
	r.mu.Lock()
	r.exists[repository] = true
	r.mu.Unlock()
	return &m, nil
}

// readManifest takes a manifest out of an answer. want is the digest it was asked by, "" if it was asked by tag.
func readManifest(h http.Header, body []byte, want rollback.Digest) (rollback.Manifest, error) {
	m := rollback.Manifest{Digest: want, Bytes: body}
	if want == "" {
		m.Digest = rollback.DigestOf(body)
		// The registry's own word for the digest, in the one algorithm we compare (others are optional, and rare).
		if said := h.Get("Docker-Content-Digest"); strings.HasPrefix(said, "sha256:") && said != string(m.Digest) {
			return m, fmt.Errorf("the registry calls it %s, its %d bytes hash to %s", clip(said), len(body), m.Digest)
		}
	}
	if err := m.Check(); err != nil {
		return m, err
	}
	var doc struct{ MediaType string }
	if err := json.Unmarshal(body, &doc); err != nil {
		return m, fmt.Errorf("not a manifest: %w", err)
	}
	// An answer whose two media types disagree can be read as two different images (CVE-2021-41190).
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	known := rollback.MediaTypes()
	switch {
	case slices.Contains(known, t) && (doc.MediaType == "" || doc.MediaType == t):
		m.MediaType = t
	case slices.Contains(known, t):
		return m, fmt.Errorf("sent as %s, calls itself %s", t, clip(doc.MediaType))
	case slices.Contains(known, doc.MediaType) && (t == "" || t == "application/json" || t == "application/octet-stream" || t == "text/plain"):
		m.MediaType = doc.MediaType
	default:
		return m, fmt.Errorf("media type %q is not an image's", clip(t))
	}
	return m, nil
}

func noRepository(body []byte) bool {
	return slices.ContainsFunc(diagnoses(body), func(d diagnosis) bool { return strings.EqualFold(d.Code, "NAME_UNKNOWN") })
}

func (r *Registry) noRepository(repository string, e *rollback.CallError) error {
	e.Op = "repository " + repository
	e.Fix = fmt.Sprintf("check the image name: %s has no repository %s, or hides it from these credentials", r.cfg.Host, repository)
	return e
}

// mustExist is an error if the repository is not there. It is asked only when nothing that was asked for exists,
// because registries say MANIFEST_UNKNOWN in a repository that does not exist, too.
func (r *Registry) mustExist(ctx context.Context, repository string) error {
	r.mu.Lock()
	known := r.exists[repository]
	r.mu.Unlock()
	if known {
		return nil
	}
	c := call{op: "GET tags " + repository, method: http.MethodGet, path: "/v2/" + repository + "/tags/list?n=1", scope: pull(repository)}
	a, err := r.do(ctx, c)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK:
		r.mu.Lock()
		r.exists[repository] = true
		r.mu.Unlock()
		return nil
	case a.status == http.StatusNotFound && !r.foreign(a):
		return r.noRepository(repository, r.refusal(c, a))
	}
	return nil // some registries list no tags; then "not there" is all there is to know
}

func (r *Registry) saw(repository, tag string, d rollback.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[repository+":"+tag] = sighting{d, time.Now()}
}

// Tag implements rollback.Registry. The API does not tell whether a PUT changed anything, so the tag is read first,
// unless it was read within the last minute and named something else: then it is one PUT. A tag that already names the
// manifest is not written again. The PUT is not repeated after an answer that was lost: somebody else may have moved
// the tag since, so the error says Maybe.
func (r *Registry) Tag(ctx context.Context, repository string, m rollback.Manifest, tag string) (already bool, err error) {
	if err := checkRepository(repository); err != nil {
		return false, err
	}
	c := call{op: "PUT manifest " + repository + ":" + tag, method: http.MethodPut, scope: push(repository),
		path: "/v2/" + repository + "/manifests/" + tag, contentType: m.MediaType, body: m.Bytes}
	if !rollback.ValidTag(tag) {
		return false, rejected(c.op, fmt.Errorf("%q is not a tag", tag))
	}
	if err := m.Check(); err != nil {
		return false, rejected(c.op, err)
	}
	if !slices.Contains(rollback.MediaTypes(), m.MediaType) {
		return false, rejected(c.op, fmt.Errorf("media type %q is not an image's", m.MediaType))
	}
	r.mu.Lock()
	last, known := r.seen[repository+":"+tag]
	r.mu.Unlock()
	if !known || time.Since(last.at) > fresh || last.digest == m.Digest {
		now, err := r.fetch(ctx, repository, tag)
		if err != nil {
			return false, err
		}
		if now != nil && now.Digest == m.Digest {
			return true, nil
		}
	}
	a, err := r.do(ctx, c)
	r.forget(repository, tag) // whatever came of it, the last sighting is history
	if err != nil {
		return false, err
	}
	switch a.status {
	case http.StatusCreated, http.StatusOK, http.StatusAccepted:
	default:
		return false, r.refusal(c, a)
	}
	said := a.header.Get("Docker-Content-Digest")
	switch {
	case strings.HasPrefix(said, "sha256:") && said != string(m.Digest):
		return false, broken(c, status(a.status), fmt.Errorf("the registry says it stored %s, sent was %s", clip(said), m.Digest))
	case r.foreign(a):
		return false, broken(c, status(a.status), r.strange(a))
	case a.status != http.StatusCreated && said == "":
		return false, broken(c, status(a.status), errors.New("the answer does not say that the manifest was stored"))
	}
	r.saw(repository, tag, m.Digest)
	return false, nil
}

func (r *Registry) forget(repository, tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, repository+":"+tag)
}
