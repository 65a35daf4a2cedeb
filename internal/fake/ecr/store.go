package ecr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The four media types of manifests that a node pulls, and those of configurations and layers.
const (
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

	ociConfig = "application/vnd.oci.image.config.v1+json"
	ociLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func isIndex(mediaType string) bool { return mediaType == OCIIndex || mediaType == DockerList }

// The four settings of a repository's tag mutability.
const (
	Mutable                = "MUTABLE"
	Immutable              = "IMMUTABLE"
	MutableWithExclusion   = "MUTABLE_WITH_EXCLUSION"
	ImmutableWithExclusion = "IMMUTABLE_WITH_EXCLUSION"
)

// The three states of an image.
const (
	Active     = "ACTIVE"
	Archived   = "ARCHIVED"
	Activating = "ACTIVATING"
)

type repository struct {
	name       string
	created    time.Time
	mutability string
	filters    []string
	policy     string
	images     map[string]*image
	tags       map[string]string // tag → digest
	blobs      map[string][]byte
	uploads    map[string][]byte
	sorted     []string // digests in the order they are listed; nil when out of date
}

type image struct {
	digest, mediaType string
	manifest          []byte
	pushed            time.Time
	status            string
	tags              []string // sorted
	size              int64
}

// manifest is as much of a manifest as the registry looks at.
type manifest struct {
	MediaType string       `json:"mediaType"`
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

var (
	digestForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) })
	tagForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`) })
)

// refused is a refusal in ECR's own words; the OCI front says the same in its.
func refused(code, format string, args ...any) *refusal {
	return &refusal{400, code, fmt.Sprintf(format, args...)}
}

// movable tells whether a tag may be moved: a tag that matches a filter has the opposite of the repository's rule.
func (r *repository) movable(tag string) bool {
	immutable := strings.HasPrefix(r.mutability, Immutable)
	if strings.HasSuffix(r.mutability, "_WITH_EXCLUSION") {
		for _, f := range r.filters {
			if glob(f, tag) {
				return immutable
			}
		}
	}
	return !immutable
}

// glob matches s against a pattern in which * stands for any run of characters.
func glob(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	rest, ok := strings.CutPrefix(s, before)
	if !ok {
		return false
	}
	for i := 0; i <= len(rest); i++ {
		if glob(after, rest[i:]) {
			return true
		}
	}
	return false
}

// digests lists the images. They come sorted by digest, so that nobody takes the order for that of the pushes.
func (r *repository) digests() []string {
	if r.sorted == nil {
		r.sorted = slices.Sorted(maps.Keys(r.images))
	}
	return r.sorted
}

// put is PutImage and PUT /v2/…/manifests: it stores a manifest, and points tag ("" for none) at it. The caller holds mu.
func (s *Server) put(r *repository, body []byte, mediaType, tag, wantDigest string) (*image, *refusal) {
	var doc manifest
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, refused("InvalidParameterException", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'")
	}
	switch {
	case mediaType == "" && doc.MediaType == "":
		return nil, refused("InvalidParameterException", "Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: 'must be given when the manifest has no mediaType'")
	case mediaType == "":
		mediaType = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != mediaType:
		return nil, refused("InvalidParameterException", "Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: 'must be that of the manifest, %s'", doc.MediaType)
	}
	if !slices.Contains([]string{OCIIndex, DockerList, OCIManifest, DockerManifest}, mediaType) {
		return nil, refused("InvalidParameterException", "Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: 'unsupported media type %s'", mediaType)
	}
	if tag != "" && !tagForm().MatchString(tag) {
		return nil, refused("InvalidParameterException", "Invalid parameter at 'imageTag' failed to satisfy constraint: 'must satisfy regular expression %s'", tagForm())
	}
	digest := digestOf(body)
	if wantDigest != "" && wantDigest != digest {
		return nil, refused("ImageDigestDoesNotMatchException", "The digest specified '%s' does not match the computed digest '%s' for image manifest.", wantDigest, digest)
	}
	size := int64(len(body))
	if isIndex(mediaType) {
		var missing []string
		for _, c := range doc.Manifests {
			child, ok := r.images[c.Digest]
			if !ok {
				missing = append(missing, c.Digest)
				continue
			}
			size = max(size, child.size)
		}
		if missing != nil {
			return nil, refused("ReferencedImagesNotFoundException", "Images with digests '%s' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
				strings.Join(missing, "', '"), r.name, s.options.Account)
		}
	} else {
		if doc.Config == nil {
			return nil, refused("InvalidParameterException", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'config is required'")
		}
		var missing []string
		for _, b := range append([]descriptor{*doc.Config}, doc.Layers...) {
			if _, ok := r.blobs[b.Digest]; !ok {
				missing = append(missing, b.Digest)
			}
			size += b.Size
		}
		if missing != nil {
			return nil, refused("LayersNotFoundException", "Layers with digests '%s' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
				strings.Join(missing, "', '"), r.name, s.options.Account)
		}
	}
	img, exists := r.images[digest]
	old, tagged := r.tags[tag]
	switch {
	case exists && img.status == Active && (tag == "" || old == digest):
		return nil, refused("ImageAlreadyExistsException", "Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'",
			digest, tag, r.name, s.options.Account)
	case tagged && old != digest && !r.movable(tag):
		return nil, refused("ImageTagAlreadyExistsException", "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", tag, r.name)
	case exists && tag != "" && old != digest && len(img.tags) >= s.options.TagsPerImage:
		return nil, refused("LimitExceededException", "The image with digest '%s' in the '%s' repository has reached the maximum of %d tags", digest, r.name, s.options.TagsPerImage)
	}
	if !exists {
		img = &image{digest: digest, mediaType: mediaType, manifest: slices.Clone(body), pushed: s.now(), status: Active, size: size}
		r.images[digest] = img
		r.sorted = nil
	}
	img.status = Active // pushing an archived image again restores it
	if tag != "" {
		r.tag(tag, img)
	}
	return img, nil
}

// tag points tag at img; the image that had it stays, untagged if that was its last tag.
func (r *repository) tag(tag string, img *image) {
	if old, ok := r.tags[tag]; ok {
		r.images[old].tags = without(r.images[old].tags, tag)
	}
	r.tags[tag] = img.digest
	i, _ := slices.BinarySearch(img.tags, tag)
	img.tags = slices.Insert(img.tags, i, tag)
}

func without(tags []string, tag string) []string {
	return slices.DeleteFunc(tags, func(t string) bool { return t == tag })
}

// delete removes a tag, or with digest the image and all its tags.
func (r *repository) delete(digest, tag string) {
	if tag != "" {
		img := r.images[r.tags[tag]]
		img.tags = without(img.tags, tag)
		delete(r.tags, tag)
		if len(img.tags) > 0 {
			return
		}
		digest = img.digest // the last tag takes the image with it, as BatchDeleteImage documents
	}
	for _, t := range r.images[digest].tags {
		delete(r.tags, t)
	}
	delete(r.images, digest)
	r.sorted = nil
}

// CreateRepository makes an empty repository with mutable tags. It does nothing when there is one.
func (s *Server) CreateRepository(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repositories[name] != nil {
		return
	}
	s.repositories[name] = &repository{
		name: name, created: s.now(), mutability: Mutable,
		images: map[string]*image{}, tags: map[string]string{}, blobs: map[string][]byte{}, uploads: map[string][]byte{},
	}
}

// edit runs f on a repository.
func (s *Server) edit(name string, f func(*repository) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repositories[name]
	if r == nil {
		return fmt.Errorf("ecr: no repository %q", name)
	}
	return f(r)
}

// SetMutability sets a repository's mutability and the filters (with * as wildcard) of the *_WITH_EXCLUSION settings.
func (s *Server) SetMutability(repo, mutability string, filters ...string) error {
	return s.edit(repo, func(r *repository) error {
		r.mutability, r.filters = mutability, filters
		return nil
	})
}

// SetLifecyclePolicy sets the text of a repository's lifecycle policy; "" removes it. The fake never acts on it.
func (s *Server) SetLifecyclePolicy(repo, policy string) error {
	return s.edit(repo, func(r *repository) error {
		r.policy = policy
		return nil
	})
}

// PushOptions describe an image to push.
type PushOptions struct {
	Tags []string
	// Content makes the image differ from others: the same content is the same digest.
	Content string
	// Created is the build time in the image's configuration.
	Created time.Time
	// Platforms are those of a multi-arch image ("linux/amd64"); with none it is a single image for linux/amd64.
	Platforms []string
	// Docker uses Docker's media types in place of OCI's.
	Docker bool
	// Labels go into the configuration.
	Labels map[string]string
}

// Pushed is what Push made.
type Pushed struct {
	Digest    string            // of the index or the single manifest: what the tags name
	MediaType string            // of that
	Platforms map[string]string // platform → manifest digest; for a single image its own
	Configs   map[string]string // platform → digest of its configuration
}

// Push builds an image and pushes it as docker would, tags moved without regard to mutability. Layers are a few bytes.
func (s *Server) Push(repo string, o PushOptions) (Pushed, error) {
	index, single, config, layer := OCIIndex, OCIManifest, ociConfig, ociLayer
	if o.Docker {
		index, single = DockerList, DockerManifest
		config, layer = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	platforms := o.Platforms
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64"}
	}
	made := Pushed{MediaType: single, Platforms: map[string]string{}, Configs: map[string]string{}}
	err := s.edit(repo, func(r *repository) error {
		var children []descriptor
		for _, p := range platforms {
			goos, arch, _ := strings.Cut(p, "/")
			rootfs := []byte("layer " + p + " " + o.Content)
			cfg := encode(map[string]any{
				"architecture": arch, "os": goos, "created": o.Created.UTC().Format(time.RFC3339Nano),
				"config": map[string]any{"Labels": o.Labels, "Env": []string{"CONTENT=" + o.Content}},
				"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(rootfs)}},
			})
			r.blobs[digestOf(rootfs)], r.blobs[digestOf(cfg)] = rootfs, cfg
			m := encode(map[string]any{
				"schemaVersion": 2, "mediaType": single,
				"config": descriptor{MediaType: config, Digest: digestOf(cfg), Size: int64(len(cfg))},
				"layers": []descriptor{{MediaType: layer, Digest: digestOf(rootfs), Size: int64(len(rootfs))}},
			})
			if err := s.pushed(r, m, single); err != nil {
				return err
			}
			made.Digest, made.Platforms[p], made.Configs[p] = digestOf(m), digestOf(m), digestOf(cfg)
			children = append(children, descriptor{single, digestOf(m), int64(len(m)), &platform{arch, goos}})
		}
		if len(o.Platforms) > 0 {
			m := encode(map[string]any{"schemaVersion": 2, "mediaType": index, "manifests": children})
			if err := s.pushed(r, m, index); err != nil {
				return err
			}
			made.Digest, made.MediaType = digestOf(m), index
		}
		for _, t := range o.Tags {
			if !tagForm().MatchString(t) {
				return fmt.Errorf("ecr: tag %q", t)
			}
			r.tag(t, r.images[made.Digest])
		}
		return nil
	})
	return made, err
}

// pushed puts a manifest that may be there already.
func (s *Server) pushed(r *repository, body []byte, mediaType string) error {
	if _, ref := s.put(r, body, mediaType, "", ""); ref != nil && ref.code != "ImageAlreadyExistsException" {
		return ref
	}
	return nil
}

// encode is indented JSON, as docker writes it: anybody who re-encodes a manifest gets another digest.
func encode(v any) []byte {
	b, err := json.MarshalIndent(v, "", "   ")
	if err != nil {
		panic("ecr: " + err.Error()) // maps, strings and numbers only
	}
	return b
}

// Tag points tag at an image that is there, without regard to mutability: somebody else's push.
func (s *Server) Tag(repo, tag, digest string) error {
	return s.edit(repo, func(r *repository) error {
		img := r.images[digest]
		if img == nil {
			return fmt.Errorf("ecr: %s has no image %s", repo, digest)
		}
		r.tag(tag, img)
		return nil
	})
}

// Delete removes an image by digest, with all its tags: what a lifecycle rule does.
func (s *Server) Delete(repo, digest string) error {
	return s.edit(repo, func(r *repository) error {
		if r.images[digest] == nil {
			return fmt.Errorf("ecr: %s has no image %s", repo, digest)
		}
		r.delete(digest, "")
		return nil
	})
}

// SetPushedAt changes an image's push time.
func (s *Server) SetPushedAt(repo, digest string, t time.Time) error {
	return s.edit(repo, func(r *repository) error {
		if r.images[digest] == nil {
			return fmt.Errorf("ecr: %s has no image %s", repo, digest)
		}
		r.images[digest].pushed = t
		return nil
	})
}

// SetStatus archives an image (Archived), starts to restore it (Activating) or makes it pullable (Active).
func (s *Server) SetStatus(repo, digest, status string) error {
	return s.edit(repo, func(r *repository) error {
		if r.images[digest] == nil {
			return fmt.Errorf("ecr: %s has no image %s", repo, digest)
		}
		r.images[digest].status = status
		return nil
	})
}

// Tags is a snapshot of a repository: tag → digest. It is nil if there is no such repository.
func (s *Server) Tags(repo string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repositories[repo]; r != nil {
		return maps.Clone(r.tags)
	}
	return nil
}

// Images are the digests of a repository, sorted, tagged or not.
func (s *Server) Images(repo string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repositories[repo]; r != nil {
		return slices.Clone(r.digests())
	}
	return nil
}

// Manifest returns an image's bytes and media type.
func (s *Server) Manifest(repo, digest string) ([]byte, string, error) {
	var body []byte
	var mediaType string
	err := s.edit(repo, func(r *repository) error {
		img := r.images[digest]
		if img == nil {
			return fmt.Errorf("ecr: %s has no image %s", repo, digest)
		}
		body, mediaType = slices.Clone(img.manifest), img.mediaType
		return nil
	})
	return body, mediaType, err
}
