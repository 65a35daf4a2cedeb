package ecr

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
	"time"
)

// largest is the largest body that /v2/ takes, in bytes.
const largest = 64 << 20

// splitPath takes the path after /v2/ apart: the repository, manifests, blobs, uploads or tags, and the reference.
func splitPath(rest string) (repo, kind, reference string) {
	if repo, ref, ok := cutLast(rest, "/manifests/"); ok {
		return repo, "manifests", ref
	}
	if repo, ref, ok := cutLast(rest, "/blobs/uploads/"); ok {
		return repo, "uploads", ref
	}
	if repo, ref, ok := cutLast(rest, "/blobs/"); ok {
		return repo, "blobs", ref
	}
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return repo, "tags", ""
	}
	return "", rest, ""
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// serveOCI is the distribution front (https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
func (s *Server) serveOCI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	user, password, given := r.BasicAuth()
	if given && (user != "AWS" || password != s.password()) || !given && (s.options.LoginRequired || r.Header.Get("Authorization") != "") {
		w.Header().Set("Www-Authenticate", `Basic realm="https://`+s.Host()+`/",service="ecr.amazonaws.com"`)
		ociError(w, http.StatusUnauthorized, "UNAUTHORIZED", "Not Authorized")
		return
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v2"), "/")
	if rest == "" {
		_, _ = w.Write([]byte("{}"))
		return
	}
	repo, kind, ref := splitPath(rest)
	s.mu.Lock()
	known := s.repositories[repo]
	s.mu.Unlock()
	if repo != "" && known == nil {
		ociError(w, http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", repo, s.options.Account))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, largest)
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case kind == "manifests" && read:
		s.getManifest(w, r, known, ref)
	case kind == "manifests" && r.Method == http.MethodPut:
		s.putManifest(w, r, known, ref)
	case kind == "blobs" && read:
		s.getBlob(w, r, known, ref)
	case kind == "uploads":
		s.upload(w, r, known, ref)
	case kind == "tags" && r.Method == http.MethodGet:
		s.listTags(w, r, known)
	default:
		ociError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported")
	}
}

func ociError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

// accepts tells whether the client asked for a media type. Docker's single manifest needs no asking; every other one is not
// found by a client that did not, as distribution v3 has it.
func accepts(r *http.Request, mediaType string) bool {
	if mediaType == DockerManifest {
		return true
	}
	for _, line := range r.Header.Values("Accept") {
		for t := range strings.SplitSeq(line, ",") {
			if parsed, _, err := mime.ParseMediaType(t); err == nil && parsed == mediaType {
				return true
			}
		}
	}
	return false
}

func (s *Server) getManifest(w http.ResponseWriter, r *http.Request, repo *repository, ref string) {
	s.mu.Lock()
	digest := ref
	if !strings.Contains(ref, ":") {
		digest = repo.tags[ref]
	}
	img := repo.images[digest]
	var found image
	if img != nil {
		found = *img
	}
	s.mu.Unlock()
	switch {
	case img == nil || found.status != Active:
		ociError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "Requested image not found")
		return
	case !accepts(r, found.mediaType):
		ociError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", found.mediaType+" found, but accept header does not support it")
		return
	}
	h := w.Header()
	h.Set("Content-Type", found.mediaType)
	h.Set("Docker-Content-Digest", found.digest)
	h.Set("Etag", `"`+found.digest+`"`)
	h.Set("Content-Length", strconv.Itoa(len(found.manifest)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(found.manifest)
	}
}

// ociCodes are the distribution specification's words for ECR's.
var ociCodes = map[string]string{
	"LayersNotFoundException": "MANIFEST_BLOB_UNKNOWN", "ReferencedImagesNotFoundException": "MANIFEST_BLOB_UNKNOWN",
	"ImageDigestDoesNotMatchException": "DIGEST_INVALID", "ImageTagAlreadyExistsException": "TAG_INVALID",
	"LimitExceededException": "DENIED",
}

func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, repo *repository, ref string) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		ociError(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return
	}
	tag, digest := ref, ""
	if strings.Contains(ref, ":") {
		tag, digest = "", ref
	}
	s.mu.Lock()
	_, refusal := s.put(repo, b, r.Header.Get("Content-Type"), tag, digest)
	s.mu.Unlock()
	if refusal != nil && refusal.code != "ImageAlreadyExistsException" {
		code := ociCodes[refusal.code]
		if code == "" {
			code = "MANIFEST_INVALID"
		}
		ociError(w, http.StatusBadRequest, code, refusal.message)
		return
	}
	w.Header().Set("Docker-Content-Digest", digestOf(b))
	w.Header().Set("Location", "/v2/"+repo.name+"/manifests/"+digestOf(b))
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) getBlob(w http.ResponseWriter, r *http.Request, repo *repository, digest string) {
	s.mu.Lock()
	b, ok := repo.blobs[digest]
	s.mu.Unlock()
	if !ok {
		ociError(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// upload is a blob upload: begun by POST (or done by it: mount, or all in one), continued by PATCH, ended by PUT.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, repo *repository, id string) {
	query := r.URL.Query()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		ociError(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	location := func() { w.Header().Set("Location", "/v2/"+repo.name+"/blobs/uploads/"+id) }
	switch {
	case r.Method == http.MethodPost && id == "":
		if mount := query.Get("mount"); mount != "" {
			if from := s.repositories[query.Get("from")]; from != nil && from.blobs[mount] != nil {
				repo.blobs[mount] = from.blobs[mount]
				created(w, repo.name, mount)
				return
			}
		}
		if digest := query.Get("digest"); digest != "" {
			finish(w, repo, digest, b)
			return
		}
		s.serial++
		id = "upload-" + strconv.Itoa(s.serial)
		repo.uploads[id] = b
		location()
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(b)-1, 0)))
		w.Header().Set("Docker-Upload-Uuid", id)
		w.WriteHeader(http.StatusAccepted)
		return
	case repo.uploads[id] == nil && !hasKey(repo.uploads, id):
		ociError(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	have := repo.uploads[id]
	if start, _, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && start != strconv.Itoa(len(have)) {
		location()
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(have)-1, 0)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	switch r.Method {
	case http.MethodPatch:
		repo.uploads[id] = append(have, b...)
		location()
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(repo.uploads[id])-1, 0)))
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		if finish(w, repo, query.Get("digest"), append(have, b...)) {
			delete(repo.uploads, id)
		}
	case http.MethodGet:
		location()
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(have)-1, 0)))
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		delete(repo.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		ociError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported")
	}
}

func hasKey(m map[string][]byte, k string) bool {
	_, ok := m[k]
	return ok
}

func finish(w http.ResponseWriter, repo *repository, digest string, b []byte) bool {
	if digestOf(b) != digest {
		ociError(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return false
	}
	repo.blobs[digest] = b
	created(w, repo.name, digest)
	return true
}

func created(w http.ResponseWriter, repo, digest string) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) listTags(w http.ResponseWriter, r *http.Request, repo *repository) {
	s.mu.Lock()
	tags := slices.Sorted(maps.Keys(repo.tags))
	s.mu.Unlock()
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(tags, last)
		if found {
			i++
		}
		tags = tags[i:]
	}
	n := 1000
	if text := query.Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 0 {
			ociError(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
			return
		}
		n = min(n, 1000)
	}
	if len(tags) > n {
		tags = tags[:n]
		if n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}}
			w.Header().Set("Link", `</v2/`+repo.name+`/tags/list?`+next.Encode()+`>; rel="next"`)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repo.name, "tags": append([]string{}, tags...)})
}
