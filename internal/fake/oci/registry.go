// Package oci is a loopback OCI registry: the distribution API on /v2/ over a store in memory, as strict as
// distribution v3 where strictness catches a wrong client
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//
// It refuses a manifest whose blobs it does not hold, answers 404 to a client that does not accept an image's media
// type, hands a client without manifest lists one platform in place of the list, and wants a token for exactly the
// repository and the act, if authentication is switched on.
package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// Media types the registry takes.
const (
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Auth says how a client must prove who it is.
type Auth string

const (
	Open   Auth = ""       // anybody may do anything
	Basic  Auth = "basic"  // user name and password with every request
	Bearer Auth = "bearer" // a token from /token on the same server, for one repository and one kind of act
)

// Rules are the switches of the registry; the zero value is an open registry whose tags move.
type Rules struct {
	Auth               Auth
	Username, Password string
	// ReadOnly is a user who may pull and not push.
	ReadOnly bool
	// TokenLife is how long a token is good for; 0 means 5 minutes.
	TokenLife time.Duration
	// Immutable refuses to move a tag that exists, with this status (400, 409, 412, …); 0 lets tags move.
	Immutable int
	// PageSize is the largest page of tags, whatever the client asks for; 0 means 1000.
	PageSize int
	// BlobsAt redirects every GET of a blob to this base URL, as registries in front of object storage do.
	BlobsAt string
	// NoDigestHeader leaves Docker-Content-Digest out, as the specification allows.
	NoDigestHeader bool
}

// Registry is the fake. Its embedded switchboard is the http.Handler; operations are named "ping", "token",
// "GET manifest payments:latest", "PUT manifest payments:latest", "GET tags payments", "GET blob payments@sha256:…",
// "POST upload payments".
type Registry struct {
	*fake.Switchboard

	mu      sync.Mutex
	rules   Rules
	repos   map[string]*repository
	tokens  map[string]grant
	uploads map[string][]byte
	serial  int
}

type repository struct {
	blobs     map[string][]byte
	manifests map[string]manifest
	tags      map[string]string // to digest
}

type manifest struct {
	mediaType string
	body      []byte
}

// New makes an empty registry.
func New(rules Rules) *Registry {
	r := &Registry{rules: rules, repos: map[string]*repository{}, tokens: map[string]grant{}, uploads: map[string][]byte{}}
	r.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(r.serve), Op: operation}
	return r
}

// SetRules changes the switches from now on.
func (r *Registry) SetRules(rules Rules) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = rules
}

// Revoke makes every token given out so far worthless, as a token server with a new key does.
func (r *Registry) Revoke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.tokens)
}

// AddImage stores an image of one platform, unlike any other of its repository, and returns its digest.
func (r *Registry) AddImage(repo string, created time.Time, tags ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, digest := r.addImage(repo, created, "amd64")
	r.tag(repo, digest, tags)
	return digest
}

// AddIndex stores an image of two platforms, and beside them the attestation that builders add, and returns the
// index's digest.
func (r *Registry) AddIndex(repo string, created time.Time, tags ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	type platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	type child struct {
		MediaType string   `json:"mediaType"`
		Digest    string   `json:"digest"`
		Size      int      `json:"size"`
		Platform  platform `json:"platform"`
	}
	var children []child
	for _, p := range []platform{{"unknown", "unknown"}, {"amd64", "linux"}, {"arm64", "linux"}} {
		size, digest := r.addImage(repo, created, p.Architecture)
		children = append(children, child{ociManifest, digest, size, p})
	}
	// Indented on purpose: a client that encodes it anew changes the digest.
	body, err := json.MarshalIndent(map[string]any{
		"schemaVersion": 2, "mediaType": ociIndex, "manifests": children,
	}, "", "   ")
	if err != nil {
		panic(err)
	}
	digest := digestOf(body)
	r.repo(repo).manifests[digest] = manifest{ociIndex, body}
	r.tag(repo, digest, tags)
	return digest
}

// AddManifest stores bytes as they are, without a look at them: the way to a registry that holds something odd.
func (r *Registry) AddManifest(repo, mediaType string, body []byte, tags ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	digest := digestOf(body)
	r.repo(repo).manifests[digest] = manifest{mediaType, slices.Clone(body)}
	r.tag(repo, digest, tags)
	return digest
}

// Tag moves a tag behind everybody's back.
func (r *Registry) Tag(repo, digest string, tags ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tag(repo, digest, tags)
}

// Delete removes a manifest and its tags, or one tag.
func (r *Registry) Delete(repo, ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repo(repo)
	delete(p.tags, ref)
	delete(p.manifests, ref)
	for t, d := range p.tags {
		if d == ref {
			delete(p.tags, t)
		}
	}
}

// Tags is a snapshot of a repository: tag → digest.
func (r *Registry) Tags(repo string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tags := map[string]string{}
	if p := r.repos[repo]; p != nil {
		maps.Copy(tags, p.tags)
	}
	return tags
}

// Resolve is the digest a tag names, "" if there is no such tag.
func (r *Registry) Resolve(repo, tag string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.repos[repo]; p != nil {
		return p.tags[tag]
	}
	return ""
}

// Manifest is what the registry holds under a tag or digest.
func (r *Registry) Manifest(repo, ref string) (mediaType string, body []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repos[repo]
	if p == nil {
		return "", nil, false
	}
	if d, tagged := p.tags[ref]; tagged {
		ref = d
	}
	m, ok := p.manifests[ref]
	return m.mediaType, slices.Clone(m.body), ok
}

func (r *Registry) repo(name string) *repository {
	p := r.repos[name]
	if p == nil {
		p = &repository{blobs: map[string][]byte{}, manifests: map[string]manifest{}, tags: map[string]string{}}
		r.repos[name] = p
	}
	return p
}

func (r *Registry) tag(repo, digest string, tags []string) {
	for _, t := range tags {
		r.repo(repo).tags[t] = digest
	}
}

func (r *Registry) blob(repo string, body []byte) string {
	d := digestOf(body)
	r.repo(repo).blobs[d] = body
	return d
}

func (r *Registry) addImage(repo string, created time.Time, arch string) (size int, digest string) {
	r.serial++
	layer := fmt.Appendf(nil, "layer %d", r.serial)
	config := fmt.Appendf(nil, `{"architecture":%q,"os":"linux","created":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`,
		arch, created.UTC().Format(time.RFC3339Nano), digestOf(layer))
	body := fmt.Appendf(nil, "{\n  \"schemaVersion\": 2,\n  \"mediaType\": %q,\n  \"config\": {\"mediaType\": %q, \"digest\": %q, \"size\": %d},\n"+
		"  \"layers\": [{\"mediaType\": %q, \"digest\": %q, \"size\": %d}]\n}\n",
		ociManifest, ociConfig, r.blob(repo, config), len(config), ociLayer, r.blob(repo, layer), len(layer))
	digest = digestOf(body)
	r.repo(repo).manifests[digest] = manifest{ociManifest, body}
	return len(body), digest
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// route is a request's path taken apart.
type route struct {
	kind string // "ping", "token", "manifest", "tags", "blob", "upload", "" for a path the API does not have
	repo string
	ref  string // tag, digest or upload id
}

func parse(path string) route {
	if path == "/token" {
		return route{kind: "token"}
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}
	}
	if rest == "" {
		return route{kind: "ping"}
	}
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return route{"tags", repo, ""}
	}
	for _, k := range []struct{ infix, kind string }{
		{"/blobs/uploads/", "upload"}, {"/manifests/", "manifest"}, {"/blobs/", "blob"},
	} {
		if i := strings.LastIndex(rest, k.infix); i > 0 {
			return route{k.kind, rest[:i], rest[i+len(k.infix):]}
		}
	}
	return route{}
}

func operation(req *http.Request) string {
	t := parse(req.URL.Path)
	switch t.kind {
	case "ping", "token":
		return t.kind
	case "tags", "upload":
		return req.Method + " " + t.kind + " " + t.repo
	case "manifest":
		sep := ":"
		if digestForm.MatchString(t.ref) {
			sep = "@"
		}
		return req.Method + " manifest " + t.repo + sep + t.ref
	case "blob":
		return req.Method + " blob " + t.repo + "@" + t.ref
	}
	return req.Method + " " + req.URL.Path
}
