package oci

// The API itself: one function for each resource.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// refuse answers in the API's error form.
func refuse(w http.ResponseWriter, status int, code, message string, detail any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errors": []map[string]any{{"code": code, "message": message, "detail": detail}},
	})
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(req.Body, 64<<20)); err != nil {
			return // the client went away
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := parse(req.URL.Path)
	if t.kind == "token" {
		r.serveToken(w, req)
		return
	}
	if t.kind == "" {
		http.NotFound(w, req)
		return
	}
	if t.kind != "ping" && (!nameForm.MatchString(t.repo) || len(t.repo) > 255) {
		refuse(w, http.StatusBadRequest, "NAME_INVALID", "invalid repository name", t.repo)
		return
	}
	if !r.authorized(w, req, t) {
		return
	}
	switch t.kind {
	case "ping":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	case "manifest":
		r.serveManifest(w, req, t, body)
	case "blob":
		r.serveBlob(w, req, t)
	case "tags":
		r.serveTags(w, req, t)
	case "upload":
		r.serveUpload(w, req, t, body)
	}
}

func (r *Registry) serveManifest(w http.ResponseWriter, req *http.Request, t route, body []byte) {
	byDigest := digestForm.MatchString(t.ref)
	if !byDigest && !tagForm.MatchString(t.ref) {
		refuse(w, http.StatusBadRequest, "TAG_INVALID", "manifest tag did not match URI", t.ref)
		return
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		r.getManifest(w, req, t)
	case http.MethodPut:
		r.putManifest(w, req, t, byDigest, body)
	case http.MethodDelete:
		r.deleteManifest(w, t, byDigest)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported", nil)
	}
}

func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, t route) {
	p := r.repos[t.repo]
	if p == nil { // as distribution does, whose manifests do not know whether their repository exists
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", "unknown tag="+t.ref)
		return
	}
	digest := t.ref
	if d, ok := p.tags[t.ref]; ok {
		digest = d
	}
	m, ok := p.manifests[digest]
	if !ok {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", "unknown tag="+t.ref)
		return
	}
	accept := accepted(req)
	switch {
	case (m.mediaType == ociManifest || m.mediaType == ociIndex) && !accept[m.mediaType]:
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests", nil)
		return
	case m.mediaType == dockerList && !accept[dockerList]:
		// What makes one platform out of a multi-arch image: the list's linux/amd64 manifest answers in its place.
		if digest, m, ok = p.amd64(m); !ok {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", nil)
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", m.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(m.body)))
	h.Set("Etag", `"`+digest+`"`)
	if !r.rules.NoDigestHeader {
		h.Set("Docker-Content-Digest", digest)
	}
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		_, _ = w.Write(m.body)
	}
}

// accepted are the media types the request takes, one header or many.
func accepted(req *http.Request) map[string]bool {
	types := map[string]bool{}
	for _, line := range req.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			if t, _, err := mime.ParseMediaType(strings.TrimSpace(part)); err == nil {
				types[t] = true
			}
		}
	}
	return types
}

func (p *repository) amd64(list manifest) (string, manifest, bool) {
	var doc document
	_ = json.Unmarshal(list.body, &doc)
	for _, c := range doc.Manifests {
		if c.Platform.OS == "linux" && c.Platform.Architecture == "amd64" {
			m, ok := p.manifests[c.Digest]
			return c.Digest, m, ok
		}
	}
	return "", manifest{}, false
}

// document is what all four kinds of manifest have, as far as the registry looks at them.
type document struct {
	SchemaVersion int
	MediaType     string
	Config        descriptor
	Layers        []descriptor
	Manifests     []descriptor
}

type descriptor struct {
	MediaType string
	Digest    string
	Size      int64
	Platform  struct{ OS, Architecture string }
}

func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, t route, byDigest bool, body []byte) {
	invalid := func(why string) { refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", why) }
	mediaType := req.Header.Get("Content-Type")
	if !slices.Contains([]string{ociIndex, dockerList, ociManifest, dockerManifest}, mediaType) {
		invalid("unsupported Content-Type " + mediaType)
		return
	}
	if len(body) > 4<<20 {
		invalid("manifest larger than 4 MiB")
		return
	}
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		invalid(err.Error())
		return
	}
	if doc.SchemaVersion != 2 {
		invalid(fmt.Sprintf("schemaVersion %d", doc.SchemaVersion))
		return
	}
	docker := mediaType == dockerList || mediaType == dockerManifest
	if doc.MediaType != mediaType && (doc.MediaType != "" || docker) {
		invalid("mediaType in manifest is " + doc.MediaType + ", Content-Type is " + mediaType)
		return
	}
	digest := digestOf(body)
	if byDigest && digest != t.ref {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", nil)
		return
	}
	p := r.repo(t.repo)
	if mediaType == ociIndex || mediaType == dockerList {
		for _, c := range doc.Manifests {
			if _, ok := p.manifests[c.Digest]; !ok {
				refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": c.Digest})
				return
			}
		}
	} else {
		for _, c := range append([]descriptor{doc.Config}, doc.Layers...) {
			if b, ok := p.blobs[c.Digest]; !ok {
				refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": c.Digest})
				return
			} else if int64(len(b)) != c.Size {
				refuse(w, http.StatusBadRequest, "SIZE_INVALID", "provided length did not match content length", nil)
				return
			}
		}
	}
	if was, tagged := p.tags[t.ref]; tagged && was != digest && r.rules.Immutable != 0 {
		refuse(w, r.rules.Immutable, "DENIED", fmt.Sprintf("tag %s exists and cannot be overwritten: tags of %s are immutable", t.ref, t.repo), nil)
		return
	}
	p.manifests[digest] = manifest{mediaType, body}
	if !byDigest {
		p.tags[t.ref] = digest
	}
	w.Header().Set("Location", "/v2/"+t.repo+"/manifests/"+digest)
	if !r.rules.NoDigestHeader {
		w.Header().Set("Docker-Content-Digest", digest)
	}
	w.WriteHeader(http.StatusCreated)
}

func (r *Registry) deleteManifest(w http.ResponseWriter, t route, byDigest bool) {
	p := r.repos[t.repo]
	if p == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", nil)
		return
	}
	_, isManifest := p.manifests[t.ref]
	_, isTag := p.tags[t.ref]
	if byDigest && !isManifest || !byDigest && !isTag {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", nil)
		return
	}
	delete(p.tags, t.ref)
	if byDigest {
		delete(p.manifests, t.ref)
		maps.DeleteFunc(p.tags, func(_, d string) bool { return d == t.ref })
	}
	w.WriteHeader(http.StatusAccepted)
}

func (r *Registry) serveBlob(w http.ResponseWriter, req *http.Request, t route) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported", nil)
		return
	}
	if !digestForm.MatchString(t.ref) {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest is no digest", t.ref)
		return
	}
	var b []byte
	ok := false
	if p := r.repos[t.repo]; p != nil {
		b, ok = p.blobs[t.ref]
	}
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", t.ref)
		return
	}
	w.Header().Set("Docker-Content-Digest", t.ref)
	if r.rules.BlobsAt != "" && req.Method == http.MethodGet {
		w.Header().Set("Location", r.rules.BlobsAt+"/"+t.repo+"/"+t.ref)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodGet {
		_, _ = w.Write(b)
	}
}

// Storage is the object storage that BlobsAt points to: it serves blobs to anybody and refuses a request that carries
// the registry's credentials, as presigned URLs do.
func (r *Registry) Storage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "" {
			http.Error(w, "only one auth mechanism allowed", http.StatusBadRequest)
			return
		}
		i := strings.LastIndexByte(req.URL.Path, '/')
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.repos[strings.TrimPrefix(req.URL.Path[:max(i, 0)], "/")]
		if p == nil || p.blobs[req.URL.Path[i+1:]] == nil {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(p.blobs[req.URL.Path[i+1:]])
	})
}

func (r *Registry) serveTags(w http.ResponseWriter, req *http.Request, t route) {
	if req.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported", nil)
		return
	}
	p := r.repos[t.repo]
	if p == nil {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": t.repo})
		return
	}
	n := 1000
	if r.rules.PageSize > 0 {
		n = r.rules.PageSize
	}
	if s := req.URL.Query().Get("n"); s != "" {
		asked, err := strconv.Atoi(s)
		if err != nil || asked < 0 {
			refuse(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", s)
			return
		}
		n = min(n, asked)
	}
	tags := slices.Sorted(maps.Keys(p.tags))
	if last := req.URL.Query().Get("last"); last != "" {
		i, found := slices.BinarySearch(tags, last)
		if found {
			i++
		}
		tags = tags[i:]
	}
	if len(tags) > n {
		tags = tags[:n]
		if n > 0 {
			q := url.Values{"last": {tags[n-1]}, "n": {strconv.Itoa(n)}}
			w.Header().Set("Link", "</v2/"+t.repo+"/tags/list?"+q.Encode()+`>; rel="next"`)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": t.repo, "tags": tags})
}

// serveUpload takes blobs the three ways there are: mounted, whole, or in pieces.
func (r *Registry) serveUpload(w http.ResponseWriter, req *http.Request, t route, body []byte) {
	q := req.URL.Query()
	finish := func(b []byte) {
		if d := q.Get("digest"); digestOf(b) != d {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content", nil)
			return
		}
		w.Header().Set("Location", "/v2/"+t.repo+"/blobs/"+r.blob(t.repo, b))
		w.WriteHeader(http.StatusCreated)
	}
	switch req.Method {
	case http.MethodPost:
		if from := r.repos[q.Get("from")]; from != nil {
			if b, ok := from.blobs[q.Get("mount")]; ok {
				w.Header().Set("Location", "/v2/"+t.repo+"/blobs/"+r.blob(t.repo, b))
				w.WriteHeader(http.StatusCreated)
				return
			}
		}
		if q.Get("digest") != "" {
			finish(body)
			return
		}
		r.serial++
		id := strconv.Itoa(r.serial)
		r.uploads[id] = []byte{}
		w.Header().Set("Location", "/v2/"+t.repo+"/blobs/uploads/"+id)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch, http.MethodPut:
		had, ok := r.uploads[t.ref]
		if !ok {
			refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", nil)
			return
		}
		whole := bytes.Join([][]byte{had, body}, nil)
		if req.Method == http.MethodPut {
			delete(r.uploads, t.ref)
			finish(whole)
			return
		}
		r.uploads[t.ref] = whole
		w.Header().Set("Location", "/v2/"+t.repo+"/blobs/uploads/"+t.ref)
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(whole)-1))
		w.WriteHeader(http.StatusAccepted)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported", nil)
	}
}
