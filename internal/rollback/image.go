package rollback

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Digest is the identity of an image: "sha256:" and 64 hex digits. A tag is only a label.
type Digest string

// hexForm is a text of hex digits, in lower case, behind a prefix. The forms of this package are checked by hand where that
// is as clear as a regular expression: every start of the program would compile those.
type hexForm struct {
	prefix   string
	min, max int // number of digits
}

// MatchString tells whether all of s has the form.
func (f hexForm) MatchString(s string) bool {
	digits, ok := strings.CutPrefix(s, f.prefix)
	return ok && len(digits) >= f.min && len(digits) <= f.max && strings.Trim(digits, "0123456789abcdef") == ""
}

var digestForm = hexForm{"sha256:", 64, 64}

// ParseDigest accepts exactly the form a registry uses.
func ParseDigest(s string) (Digest, error) {
	if !digestForm.MatchString(s) {
		return "", fmt.Errorf("digest %q: want sha256: and 64 lower-case hex digits", s)
	}
	return Digest(s), nil
}

// DigestOf is the digest of a manifest's bytes, which must be the bytes the registry served, never re-encoded.
func DigestOf(manifest []byte) Digest {
	sum := sha256.Sum256(manifest)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Short is the digest as people compare it: "sha256:" and 12 digits.
func (d Digest) Short() string {
	if len(d) > 19 {
		return string(d[:19])
	}
	return string(d)
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Commit is a Git commit id, whole or shortened: 7 to 40 hex digits.
type Commit string

var commitForm = hexForm{"", 7, 40}

// ParseCommit accepts 7 to 40 hex digits, in either case.
func ParseCommit(s string) (Commit, error) {
	c := strings.ToLower(s)
	if !commitForm.MatchString(c) {
		return "", fmt.Errorf("commit %q: want 7 to 40 hex digits", s)
	}
	return Commit(c), nil
}

// Short is the commit as Git prints it.
func (c Commit) Short() string { return string(c[:min(len(c), 7)]) }

// ValidTag tells whether a registry would take s as a tag: by the OCI rule, [A-Za-z0-9_][A-Za-z0-9._-]{0,127}
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).
func ValidTag(s string) bool {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-."
	return s != "" && len(s) <= 128 && strings.Trim(s, letters) == "" && s[0] != '-' && s[0] != '.'
}

// repositoryForm is the OCI rule for a repository name.
var repositoryForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
})

// ValidRepository tells whether a registry would take s as a repository name.
func ValidRepository(s string) bool { return len(s) <= 256 && repositoryForm().MatchString(s) }

// ImageStatus says whether an image can be pulled.
type ImageStatus string

const (
	Active     ImageStatus = ""           // can be pulled
	Archived   ImageStatus = "ARCHIVED"   // listed, but a pull answers 404 until it is restored
	Activating ImageStatus = "ACTIVATING" // being restored; up to 20 minutes
)

// Image is what a registry tells about one digest.
type Image struct {
	Digest    Digest      `json:"digest"`
	Tags      []string    `json:"tags,omitempty"`
	MediaType string      `json:"mediaType,omitempty"`
	Status    ImageStatus `json:"status,omitempty"`
	// PushedAt is when the registry got the image; zero where the registry cannot tell.
	PushedAt time.Time `json:"pushedAt,omitzero"`
	// CreatedAt is when it was built, by its own configuration; registries without a push time give this one.
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

// Time is the push time, or the build time where the registry keeps no push time.
func (i Image) Time() time.Time {
	if !i.PushedAt.IsZero() {
		return i.PushedAt
	}
	return i.CreatedAt
}

// Commit is the commit tag among the image's tags: the longest one that looks like a commit, "" if none does.
func (i Image) Commit() Commit {
	var best string
	for _, t := range i.Tags {
		if commitForm.MatchString(t) && (len(t) > len(best) || len(t) == len(best) && t < best) {
			best = t
		}
	}
	return Commit(best)
}

// HasTag tells whether tag names this image.
func (i Image) HasTag(tag string) bool { return slices.Contains(i.Tags, tag) }

// Media types of the four kinds of manifest that can be tagged and pulled.
const (
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// MediaTypes are all four, in the order in which they are asked for. A client that asks for fewer may get one platform
// of a multi-arch image, or nothing.
func MediaTypes() []string { return []string{OCIIndex, DockerList, OCIManifest, DockerManifest} }

// Manifest is an image's manifest exactly as the registry served it. It is never re-encoded: one changed byte is
// another digest.
type Manifest struct {
	Digest    Digest
	MediaType string
	Bytes     []byte
}

// Check proves that the bytes are those the digest names.
func (m Manifest) Check() error {
	if got := DigestOf(m.Bytes); got != m.Digest {
		return fmt.Errorf("manifest of %s: its %d bytes hash to %s: not using it", m.Digest.Short(), len(m.Bytes), got.Short())
	}
	return nil
}

// Index tells whether the manifest lists platforms instead of layers.
func (m Manifest) Index() bool { return m.MediaType == OCIIndex || m.MediaType == DockerList }

// References are the digests this manifest leads to that a node may report as a running container's image: the platform
// manifests of an index, or the configuration of a single image.
func (m Manifest) References() ([]Digest, error) {
	var doc struct {
		Config    struct{ Digest string }
		Manifests []struct{ Digest string }
	}
	if err := json.Unmarshal(m.Bytes, &doc); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.Digest.Short(), err)
	}
	if !m.Index() {
		if doc.Config.Digest == "" { // an old or foreign manifest: its own digest is all there is to compare
			return nil, nil
		}
		d, err := ParseDigest(doc.Config.Digest)
		if err != nil {
			return nil, fmt.Errorf("manifest of %s: config %w", m.Digest.Short(), err)
		}
		return []Digest{d}, nil
	}
	var refs []Digest
	for _, c := range doc.Manifests {
		d, err := ParseDigest(c.Digest)
		if err != nil {
			return nil, fmt.Errorf("index %s: platform %w", m.Digest.Short(), err)
		}
		refs = append(refs, d)
	}
	return refs, nil
}

// DigestSet is every digest a node may report for one image: the index, its platform manifests and their configurations.
type DigestSet map[Digest]bool

// Reference is an image reference as a pod spec writes it, taken apart.
type Reference struct {
	Host, Repository, Tag string
	Digest                Digest
}

// ParseReference takes "host/repository:tag@digest" apart, with the defaults of container runtimes (docker.io, latest).
func ParseReference(s string) (Reference, error) {
	var r Reference
	rest, digest, pinned := strings.Cut(s, "@")
	if pinned {
		d, err := ParseDigest(digest)
		if err != nil {
			return Reference{}, fmt.Errorf("image %q: %w", s, err)
		}
		r.Digest = d
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		rest, r.Tag = rest[:i], rest[i+1:]
		if !ValidTag(r.Tag) {
			return Reference{}, fmt.Errorf("image %q: %q is not a tag", s, r.Tag)
		}
	} else if !pinned {
		r.Tag = "latest"
	}
	r.Host, r.Repository = "docker.io", rest
	if first, after, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.Host, r.Repository = first, after
	} else if !ok {
		r.Repository = "library/" + rest
	}
	if !ValidRepository(r.Repository) {
		return Reference{}, fmt.Errorf("image %q: %q is not a repository", s, r.Repository)
	}
	return r, nil
}

// ImageIDDigest reads the digest out of a container status' imageID, whose form depends on the runtime:
// "host/repo@sha256:…", "docker-pullable://…@sha256:…", "docker://sha256:…", bare "sha256:…", or "" while waiting
// (https://github.com/kubernetes/kubernetes/issues/115199). It is "" when there is none.
func ImageIDDigest(imageID string) Digest {
	i := strings.LastIndex(imageID, "sha256:")
	if i < 0 {
		return ""
	}
	d, err := ParseDigest(imageID[i:])
	if err != nil {
		return ""
	}
	return d
}
