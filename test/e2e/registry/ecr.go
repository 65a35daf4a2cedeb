package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/ecr"
)

// ECR is Amazon ECR's API over a distribution registry. Manifests, blobs and tags are distribution's; signatures, rights, the
// form of requests, repositories, STS and EKS are checked and answered by the loopback ECR, which holds no image here.
type ECR struct {
	*fake.Switchboard
	images *Plain
	aws    *ecr.Server

	mu    sync.Mutex
	repos map[string]*repository
}

type repository struct {
	mutability string
	filters    []string
	pushed     map[string]time.Time // digest → when
}

// NewECR makes an empty registry. Close it.
func NewECR() *ECR {
	e := &ECR{images: NewPlain(), aws: ecr.New(ecr.Options{}), repos: map[string]*repository{}}
	e.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(e.route), Op: e.aws.Op}
	return e
}

// Close ends hanging requests and the registry behind.
func (e *ECR) Close() {
	e.Switchboard.Close()
	e.images.Close()
}

// Host is the registry's name in image references.
func (e *ECR) Host() string { return e.aws.Host() }

// Env is the environment that points an AWS SDK or CLI at the server, which is reached under url.
func (e *ECR) Env(url string) map[string]string { return e.aws.Env(url) }

// AWS is the part that knows who calls: its rights (Deny), credentials (Expire) and lifecycle policies can be set.
func (e *ECR) AWS() *ecr.Server { return e.aws }

// Violations are requests that AWS's own service model does not allow.
func (e *ECR) Violations() []string { return e.aws.Violations() }

// CreateRepository makes an empty repository with mutable tags. It does nothing when there is one.
func (e *ECR) CreateRepository(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.repos[name] == nil {
		e.repos[name] = &repository{mutability: ecr.Mutable, pushed: map[string]time.Time{}}
		e.aws.CreateRepository(name)
	}
}

// SetMutability sets a repository's mutability and the filters of the *_WITH_EXCLUSION settings.
func (e *ECR) SetMutability(repo, mutability string, filters ...string) error {
	if err := e.aws.SetMutability(repo, mutability, filters...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.repos[repo].mutability, e.repos[repo].filters = mutability, filters
	return nil
}

// SetLifecyclePolicy sets the text of a repository's lifecycle policy; "" removes it. Nothing acts on it.
func (e *ECR) SetLifecyclePolicy(repo, policy string) error {
	return e.aws.SetLifecyclePolicy(repo, policy)
}

// SetPushedAt changes an image's push time.
func (e *ECR) SetPushedAt(repo, digest string, t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.repos[repo]
	if r == nil || r.pushed[digest].IsZero() {
		return fmt.Errorf("ecr: %s has no image %s", repo, digest)
	}
	r.pushed[digest] = t
	return nil
}

// Tags is a snapshot of a repository: tag → digest.
func (e *ECR) Tags(repo string) map[string]string { return e.images.Tags(repo) }

// Manifest returns an image's bytes and media type.
func (e *ECR) Manifest(repo, digest string) ([]byte, string, error) {
	return e.images.Manifest(repo, digest)
}

// Tag points a tag at an image that is there, without regard to mutability: somebody else's push.
func (e *ECR) Tag(repo, tag, digest string) error { return e.images.Tag(repo, tag, digest) }

// Delete removes an image by digest, with all its tags: what a lifecycle rule does.
func (e *ECR) Delete(repo, digest string) error {
	if err := e.images.Delete(repo, digest); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.repos[repo].pushed, digest)
	return nil
}

const targetPrefix = "AmazonEC2ContainerRegistry_V20150921."

func (e *ECR) route(w http.ResponseWriter, r *http.Request) {
	op, isECR := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	do := operations[op]
	switch {
	case isECR && do != nil:
		e.image(w, r, do)
	case strings.HasPrefix(r.URL.Path, "/v2/") && r.URL.Path != "/v2/":
		e.distribution(w, r)
	default:
		e.aws.ServeHTTP(w, r)
	}
}

// refusal is an error in ECR's words.
type refusal struct{ code, message string }

// image answers an operation on images. The loopback ECR gets the request first, for signature, rights and form; that it has
// no such image is no answer.
func (e *ECR) image(w http.ResponseWriter, r *http.Request, do func(*ECR, *repository, request) (any, *refusal)) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked := r.Clone(r.Context())
	asked.Body = io.NopCloser(bytes.NewReader(body))
	first := httptest.NewRecorder()
	e.aws.ServeHTTP(first, asked)
	switch first.Header().Get("X-Amzn-Errortype") {
	case "", "ImageNotFoundException", "LayersNotFoundException", "ReferencedImagesNotFoundException":
	default:
		pass(w, first)
		return
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	out, ref := do(e, e.repos[q.Repository], q)
	e.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", first.Header().Get("X-Amzn-Requestid"))
	if ref != nil {
		w.Header().Set("X-Amzn-Errortype", ref.code)
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]string{"__type": ref.code, "message": ref.message}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func pass(w http.ResponseWriter, from *httptest.ResponseRecorder) {
	for k, v := range from.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(from.Code)
	_, _ = w.Write(from.Body.Bytes())
}

// distribution is the OCI front: logins and repositories are ECR's, everything else distribution's.
func (e *ECR) distribution(w http.ResponseWriter, r *http.Request) {
	repo, ref, isManifest := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	if !isManifest {
		for _, sep := range []string{"/blobs/", "/tags/"} {
			if i := strings.LastIndex(repo, sep); i >= 0 {
				repo = repo[:i]
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.repos[repo]
	if known == nil || r.Header.Get("Authorization") != "" { // let the loopback ECR refuse: unknown repository, wrong password
		asked := r.Clone(r.Context())
		asked.Method, asked.Body = http.MethodHead, http.NoBody
		first := httptest.NewRecorder()
		e.aws.ServeHTTP(first, asked)
		if known == nil || first.Code == http.StatusUnauthorized {
			pass(w, first)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("Authorization")
	}
	put := isManifest && r.Method == http.MethodPut
	if put && !strings.Contains(ref, ":") && !known.movable(ref) {
		if _, _, exists := e.images.head(repo, ref); exists {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"TAG_INVALID","message":"The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable."}]}`, ref, repo)
			return
		}
	}
	e.images.app.ServeHTTP(w, r)
	if put {
		if digest, _, ok := e.images.head(repo, ref); ok {
			known.push(digest)
		}
	}
}

// push notes when an image came in first.
func (r *repository) push(digest string) {
	if r.pushed[digest].IsZero() {
		r.pushed[digest] = time.Now().UTC().Truncate(time.Millisecond)
	}
}

// movable tells whether a tag may be moved: a tag that matches a filter has the opposite of the repository's rule.
func (r *repository) movable(tag string) bool {
	immutable := strings.HasPrefix(r.mutability, ecr.Immutable)
	if strings.HasSuffix(r.mutability, "_WITH_EXCLUSION") {
		for _, f := range r.filters {
			if ok, err := path.Match(f, tag); ok && err == nil {
				return immutable
			}
		}
	}
	return !immutable
}

// The members of requests and answers, named as in the service model.
type (
	imageID struct {
		Digest string `json:"imageDigest,omitempty"`
		Tag    string `json:"imageTag,omitempty"`
	}
	request struct {
		Registry   string    `json:"registryId"`
		Repository string    `json:"repositoryName"`
		IDs        []imageID `json:"imageIds"`
		Accepted   []string  `json:"acceptedMediaTypes"`
		Manifest   string    `json:"imageManifest"`
		MediaType  string    `json:"imageManifestMediaType"`
		Tag        string    `json:"imageTag"`
		Digest     string    `json:"imageDigest"`
		NextToken  string    `json:"nextToken"`
		MaxResults int       `json:"maxResults"`
		Filter     struct {
			TagStatus string `json:"tagStatus"`
		} `json:"filter"`
	}
	object = map[string]any
)

// operations are the calls that need images. Each runs with mu held.
var operations = map[string]func(*ECR, *repository, request) (any, *refusal){
	"BatchGetImage":  (*ECR).batchGetImage,
	"DescribeImages": (*ECR).describeImages,
	"ListImages":     (*ECR).listImages,
	"PutImage":       (*ECR).putImage,
}

// look finds an image by tag, digest or both; code is one of ImageFailureCode, "" when it is found.
func (e *ECR) look(repo string, id imageID) (digest, mediaType, code string) {
	ref := id.Digest
	if id.Tag != "" {
		ref = id.Tag
	}
	digest, mediaType, ok := e.images.head(repo, ref)
	switch {
	case !ok:
		return "", "", "ImageNotFound"
	case id.Digest != "" && id.Digest != digest:
		return "", "", "ImageTagDoesNotMatchDigest"
	}
	return digest, mediaType, ""
}

func (e *ECR) wire(q request, digest, tag, mediaType string, body []byte) object {
	id := object{"imageDigest": digest}
	if tag != "" {
		id["imageTag"] = tag
	}
	return object{"registryId": q.account(), "repositoryName": q.Repository, "imageId": id, "imageManifest": string(body), "imageManifestMediaType": mediaType}
}

func (q request) account() string {
	if q.Registry != "" {
		return q.Registry
	}
	return "123456789012"
}

func (e *ECR) batchGetImage(_ *repository, q request) (any, *refusal) {
	images, failures := []object{}, []object{}
	for _, id := range q.IDs {
		digest, mediaType, code := e.look(q.Repository, id)
		if code != "" {
			failures = append(failures, object{"imageId": id, "failureCode": code, "failureReason": "Requested image not found"})
			continue
		}
		accepted := q.Accepted
		if accepted == nil {
			accepted = mediaTypes[2:]
		}
		if !slices.Contains(accepted, mediaType) {
			return nil, &refusal{"InvalidParameterException", fmt.Sprintf("Invalid parameter at 'acceptedMediaTypes' failed to satisfy constraint: 'the image %s is %s'", digest, mediaType)}
		}
		body, _, err := e.images.Manifest(q.Repository, digest)
		if err != nil {
			return nil, &refusal{"ServerException", err.Error()}
		}
		images = append(images, e.wire(q, digest, id.Tag, mediaType, body))
	}
	return object{"images": images, "failures": failures}, nil
}

func (e *ECR) putImage(r *repository, q request) (any, *refusal) {
	mediaType := q.MediaType
	if mediaType == "" {
		var m struct{ MediaType string }
		_ = json.Unmarshal([]byte(q.Manifest), &m) // the loopback ECR has read it
		mediaType = m.MediaType
	}
	old, _, tagged := "", "", false
	if q.Tag != "" {
		old, _, tagged = e.images.head(q.Repository, q.Tag)
	}
	digest := digestOf([]byte(q.Manifest))
	_, _, exists := e.images.head(q.Repository, digest)
	switch {
	case exists && (q.Tag == "" || old == digest):
		return nil, &refusal{"ImageAlreadyExistsException", fmt.Sprintf("Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, q.Tag, q.Repository, q.account())}
	case tagged && !r.movable(q.Tag):
		return nil, &refusal{"ImageTagAlreadyExistsException", fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", q.Tag, q.Repository)}
	}
	ref := q.Tag
	if ref == "" {
		ref = digest
	}
	w := e.images.do(http.MethodPut, "/v2/"+q.Repository+"/manifests/"+ref, mediaType, []byte(q.Manifest))
	switch {
	case w.Code == http.StatusCreated:
	case strings.Contains(w.Body.String(), "MANIFEST_BLOB_UNKNOWN"), strings.Contains(w.Body.String(), "MANIFEST_UNKNOWN"):
		code := "LayersNotFoundException"
		if slices.Contains(mediaTypes[:2], mediaType) {
			code = "ReferencedImagesNotFoundException"
		}
		return nil, &refusal{code, w.Body.String()}
	default:
		return nil, &refusal{"InvalidParameterException", w.Body.String()}
	}
	r.push(digest)
	return object{"image": e.wire(q, digest, q.Tag, mediaType, []byte(q.Manifest))}, nil
}

// tagsOf turns the tags of a repository round: digest → tags.
func (e *ECR) tagsOf(repo string) map[string][]string {
	tags := map[string][]string{}
	for _, t := range e.images.tagList(repo) {
		if digest, _, ok := e.images.head(repo, t); ok {
			tags[digest] = append(tags[digest], t)
		}
	}
	return tags
}

func (e *ECR) describeImages(r *repository, q request) (any, *refusal) {
	tags := e.tagsOf(q.Repository)
	details := []object{}
	if q.IDs != nil {
		for _, id := range q.IDs {
			digest, _, code := e.look(q.Repository, id)
			if code != "" {
				return nil, &refusal{"ImageNotFoundException", fmt.Sprintf("The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
					orNull(id.Digest), orNull(id.Tag), q.Repository, q.account())}
			}
			details = append(details, e.detail(r, q, digest, tags[digest]))
		}
		return object{"imageDetails": details}, nil
	}
	page, next := r.page(q, tags)
	for _, digest := range page {
		details = append(details, e.detail(r, q, digest, tags[digest]))
	}
	out := object{"imageDetails": details}
	if next != "" {
		out["nextToken"] = next
	}
	return out, nil
}

func (e *ECR) listImages(r *repository, q request) (any, *refusal) {
	tags := e.tagsOf(q.Repository)
	ids := []imageID{}
	page, next := r.page(q, tags)
	for _, digest := range page {
		if len(tags[digest]) == 0 {
			ids = append(ids, imageID{Digest: digest})
		}
		for _, t := range tags[digest] {
			ids = append(ids, imageID{digest, t})
		}
	}
	out := object{"imageIds": ids}
	if next != "" {
		out["nextToken"] = next
	}
	return out, nil
}

// page cuts one page out of the images: at most maxResults (100 if not said) after the one that the token names.
func (r *repository) page(q request, tags map[string][]string) (page []string, next string) {
	var all []string
	for digest := range r.pushed {
		if s := q.Filter.TagStatus; s == "" || s == "ANY" || (s == "TAGGED") == (len(tags[digest]) > 0) {
			all = append(all, digest)
		}
	}
	slices.Sort(all)
	if last, err := base64.RawURLEncoding.DecodeString(q.NextToken); err == nil && q.NextToken != "" {
		i, found := slices.BinarySearch(all, string(last))
		if found {
			i++
		}
		all = all[i:]
	}
	size := q.MaxResults
	if size == 0 {
		size = 100
	}
	if len(all) > size {
		return all[:size], base64.RawURLEncoding.EncodeToString([]byte(all[size-1]))
	}
	return all, ""
}

func (e *ECR) detail(r *repository, q request, digest string, tags []string) object {
	body, mediaType, err := e.images.Manifest(q.Repository, digest)
	size := int64(len(body))
	var m struct {
		Config *struct{ MediaType string }
		Layers []struct{ Size int64 }
	}
	if err == nil && json.Unmarshal(body, &m) == nil {
		for _, l := range m.Layers {
			size += l.Size
		}
	}
	d := object{
		"registryId": q.account(), "repositoryName": q.Repository, "imageDigest": digest, "imageSizeInBytes": size,
		"imagePushedAt": json.Number(fmt.Sprintf("%.3f", float64(r.pushed[digest].UnixMilli())/1000)), "imageManifestMediaType": mediaType, "imageStatus": ecr.Active,
	}
	if len(tags) > 0 {
		d["imageTags"] = tags
	}
	if m.Config != nil {
		d["artifactMediaType"] = m.Config.MediaType
	}
	return d
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
}
