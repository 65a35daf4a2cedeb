package ecr

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const jsonType = "application/x-amz-json-1.1"

// The members of requests and answers, named as in the service model.
type (
	imageID struct {
		Digest string `json:"imageDigest,omitempty"`
		Tag    string `json:"imageTag,omitempty"`
	}
	failure struct {
		ID     imageID `json:"imageId"`
		Code   string  `json:"failureCode"`
		Reason string  `json:"failureReason"`
	}
	apiImage struct {
		Registry   string  `json:"registryId"`
		Repository string  `json:"repositoryName"`
		ID         imageID `json:"imageId"`
		Manifest   string  `json:"imageManifest"`
		MediaType  string  `json:"imageManifestMediaType"`
	}
	detail struct {
		Registry   string    `json:"registryId"`
		Repository string    `json:"repositoryName"`
		Digest     string    `json:"imageDigest"`
		Tags       []string  `json:"imageTags,omitempty"`
		Size       int64     `json:"imageSizeInBytes"`
		Pushed     timestamp `json:"imagePushedAt"`
		MediaType  string    `json:"imageManifestMediaType"`
		Artifact   string    `json:"artifactMediaType,omitempty"`
		Status     string    `json:"imageStatus"`
	}
	filter struct {
		TagStatus   string `json:"tagStatus"`
		ImageStatus string `json:"imageStatus"`
	}
	request struct {
		Registry     string    `json:"registryId"`
		Registries   []string  `json:"registryIds"`
		Repository   string    `json:"repositoryName"`
		Repositories []string  `json:"repositoryNames"`
		IDs          []imageID `json:"imageIds"`
		Accepted     []string  `json:"acceptedMediaTypes"`
		Manifest     string    `json:"imageManifest"`
		MediaType    string    `json:"imageManifestMediaType"`
		Tag          string    `json:"imageTag"`
		Digest       string    `json:"imageDigest"`
		NextToken    string    `json:"nextToken"`
		MaxResults   int       `json:"maxResults"`
		Filter       *filter   `json:"filter"`
	}
)

// timestamp is seconds since 1970 with milliseconds, as JSON 1.1 has it.
type timestamp time.Time

func (t timestamp) MarshalJSON() ([]byte, error) {
	ms := time.Time(t).UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

// operations are the calls that the JSON API answers. Each runs with mu held.
var operations = map[string]func(*Server, request) (any, *refusal){
	"BatchDeleteImage":      (*Server).batchDeleteImage,
	"BatchGetImage":         (*Server).batchGetImage,
	"DescribeImages":        (*Server).describeImages,
	"DescribeRepositories":  (*Server).describeRepositories,
	"GetAuthorizationToken": (*Server).getAuthorizationToken,
	"GetLifecyclePolicy":    (*Server).getLifecyclePolicy,
	"ListImages":            (*Server).listImages,
	"PutImage":              (*Server).putImage,
}

func (s *Server) serveECR(w http.ResponseWriter, r *http.Request) {
	op := operation(r)
	payload := body(r)
	k, ref := s.authenticate(r, "ecr", payload)
	if ref != nil {
		ref.status = http.StatusBadRequest // JSON 1.1 services answer so where the others say 403
		s.answerError(w, op, ref)
		return
	}
	do, ok := operations[op]
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/" {
		s.answerError(w, op, refused("UnknownOperationException", ""))
		return
	}
	if r.Header.Get("Content-Type") != jsonType {
		s.violation(op, "request", fmt.Errorf("content type %q", r.Header.Get("Content-Type")))
	}
	if err := model().request(op, payload); err != nil {
		s.violation(op, "request", err)
		s.answerError(w, op, refused("InvalidParameterException", "Invalid parameter: %v", err))
		return
	}
	var q request
	if err := json.Unmarshal(payload, &q); err != nil {
		s.answerError(w, op, refused("InvalidParameterException", "Invalid parameter: %v", err))
		return
	}
	if !s.allowed("ecr:" + op) {
		resource := "*"
		if q.Repository != "" {
			resource = s.arn(q.Repository)
		}
		s.answerError(w, op, refused("AccessDeniedException",
			"User: %s is not authorized to perform: ecr:%s on resource: %s because no identity-based policy allows the ecr:%s action", k.arn, op, resource, op))
		return
	}
	if q.Registry == "" {
		q.Registry = k.account()
	}
	s.mu.Lock()
	out, ref := do(s, q)
	s.mu.Unlock()
	if ref != nil {
		s.answerError(w, op, ref)
		return
	}
	b, err := json.Marshal(out)
	if err == nil {
		err = model().answer(op, b)
	}
	if err != nil {
		s.violation(op, "answer", err)
	}
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("X-Amzn-Requestid", s.requestID())
	_, _ = w.Write(b)
}

// answerError sends a refusal after holding it against the contract.
func (s *Server) answerError(w http.ResponseWriter, op string, r *refusal) {
	b := s.writeError(w, r.status, r.code, r.message)
	if _, known := model().Operations[op]; known {
		if err := model().refusal(op, r.code, b); err != nil {
			s.violation(op, "answer", err)
		}
	}
}

// writeError sends an error in the form of JSON 1.1.
func (s *Server) writeError(w http.ResponseWriter, status int, code, message string) []byte {
	doc := map[string]string{"__type": code}
	if message != "" {
		doc["message"] = message
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("ecr: " + err.Error()) // strings only
	}
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("X-Amzn-Requestid", s.requestID())
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_, _ = w.Write(b)
	return b
}

func (s *Server) arn(repo string) string {
	partition := "aws"
	if strings.HasPrefix(s.options.Region, "cn-") {
		partition = "aws-cn"
	}
	return fmt.Sprintf("arn:%s:ecr:%s:%s:repository/%s", partition, s.options.Region, s.options.Account, repo)
}

// repository finds the repository asked for, in the account asked for.
func (s *Server) repository(account, name string) (*repository, *refusal) {
	r := s.repositories[name]
	if r == nil || account != s.options.Account {
		return nil, refused("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", name, account)
	}
	return r, nil
}

// find looks an image up by tag, digest or both. The code is one of ImageFailureCode, "" when it is found.
func (r *repository) find(id imageID) (img *image, code, reason string) {
	switch {
	case id.Digest == "" && id.Tag == "":
		return nil, "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"
	case id.Digest != "" && !digestForm().MatchString(id.Digest):
		return nil, "InvalidImageDigest", "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
	case id.Tag != "" && !tagForm().MatchString(id.Tag):
		return nil, "InvalidImageTag", "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]{1,300}'"
	}
	digest := id.Digest
	if id.Tag != "" {
		digest = r.tags[id.Tag]
		if digest != "" && id.Digest != "" && id.Digest != digest {
			return nil, "ImageTagDoesNotMatchDigest", "Requested image tag does not match the digest"
		}
	}
	if img = r.images[digest]; img == nil {
		return nil, "ImageNotFound", "Requested image not found"
	}
	return img, "", ""
}

func (s *Server) batchGetImage(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	out := struct {
		Images   []apiImage `json:"images"`
		Failures []failure  `json:"failures"`
	}{[]apiImage{}, []failure{}}
	for _, id := range q.IDs {
		img, code, reason := r.find(id)
		if img != nil && img.status != Active {
			img, code, reason = nil, "ImageInaccessible", "Requested image is archived"
		}
		if img == nil {
			out.Failures = append(out.Failures, failure{id, code, reason})
			continue
		}
		accepted := q.Accepted
		if accepted == nil { // what every client is taken to understand
			accepted = []string{OCIManifest, DockerManifest}
		}
		if !slices.Contains(accepted, img.mediaType) {
			return nil, refused("InvalidParameterException", "Invalid parameter at 'acceptedMediaTypes' failed to satisfy constraint: 'the image %s is %s'", img.digest, img.mediaType)
		}
		out.Images = append(out.Images, s.wire(r, img, id.Tag))
	}
	return out, nil
}

func (s *Server) wire(r *repository, img *image, tag string) apiImage {
	return apiImage{s.options.Account, r.name, imageID{img.digest, tag}, string(img.manifest), img.mediaType}
}

func (s *Server) putImage(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	img, ref := s.put(r, []byte(q.Manifest), q.MediaType, q.Tag, q.Digest)
	if ref != nil {
		return nil, ref
	}
	return map[string]any{"image": s.wire(r, img, q.Tag)}, nil
}

// selected tells whether an image passes a filter. Without one only active images do, as documented.
func (f *filter) selected(img *image) bool {
	tags, status := "ANY", Active
	if f != nil && f.TagStatus != "" {
		tags = f.TagStatus
	}
	if f != nil && f.ImageStatus != "" {
		status = f.ImageStatus
	}
	return (status == "ANY" || status == img.status) &&
		(tags == "ANY" || (tags == "TAGGED") == (len(img.tags) > 0))
}

func (s *Server) describeImages(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	out := struct {
		Details   []detail `json:"imageDetails"`
		NextToken string   `json:"nextToken,omitempty"`
	}{Details: []detail{}}
	if q.IDs != nil {
		if q.MaxResults != 0 || q.NextToken != "" {
			return nil, refused("InvalidParameterException", "Invalid parameter at 'imageIds' failed to satisfy constraint: 'maxResults and nextToken cannot be used with imageIds'")
		}
		if q.Filter != nil && s.filterRefuse {
			return nil, refused("InvalidParameterException", "Invalid parameter at 'filter' failed to satisfy constraint: 'cannot be used with imageIds'")
		}
		for _, id := range q.IDs {
			img, code, reason := r.find(id)
			switch {
			case code != "" && code != "ImageNotFound":
				return nil, refused("InvalidParameterException", "Invalid parameter at 'imageIds' failed to satisfy constraint: '%s'", reason)
			case img == nil || !q.Filter.selected(img):
				return nil, refused("ImageNotFoundException", "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
					orNull(id.Digest), orNull(id.Tag), r.name, s.options.Account)
			}
			out.Details = append(out.Details, s.detail(r, img))
		}
		return out, nil
	}
	page, next, ref := pageOf(r, q, q.Filter.selected)
	for _, img := range page {
		out.Details = append(out.Details, s.detail(r, img))
	}
	out.NextToken = next
	return out, ref
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
}

func (s *Server) detail(r *repository, img *image) detail {
	d := detail{
		Registry: s.options.Account, Repository: r.name, Digest: img.digest, Tags: slices.Clone(img.tags),
		Size: img.size, Pushed: timestamp(img.pushed), MediaType: img.mediaType, Status: img.status,
	}
	if !isIndex(img.mediaType) {
		d.Artifact = ociConfig
	}
	return d
}

// pageOf cuts one page out of the list: at most maxResults images (100 if not said) after the one the token names.
func pageOf(r *repository, q request, selected func(*image) bool) ([]*image, string, *refusal) {
	all := r.digests()
	start := 0
	if q.NextToken != "" {
		last, err := base64.RawURLEncoding.DecodeString(q.NextToken)
		if err != nil || !digestForm().Match(last) {
			return nil, "", refused("InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'invalid token'")
		}
		i, found := slices.BinarySearch(all, string(last))
		if start = i; found {
			start++
		}
	}
	size := q.MaxResults
	if size == 0 {
		size = 100
	}
	var page []*image
	for i, digest := range all[start:] {
		if img := r.images[digest]; selected(img) {
			page = append(page, img)
		}
		if len(page) == size && start+i+1 < len(all) {
			return page, base64.RawURLEncoding.EncodeToString([]byte(digest)), nil
		}
	}
	return page, "", nil
}

func (s *Server) listImages(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	page, next, ref := pageOf(r, q, q.Filter.selected)
	ids := []imageID{}
	for _, img := range page {
		if len(img.tags) == 0 {
			ids = append(ids, imageID{Digest: img.digest})
		}
		for _, t := range img.tags {
			ids = append(ids, imageID{img.digest, t})
		}
	}
	return struct {
		IDs       []imageID `json:"imageIds"`
		NextToken string    `json:"nextToken,omitempty"`
	}{ids, next}, ref
}

func (s *Server) batchDeleteImage(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	out := struct {
		IDs      []imageID `json:"imageIds"`
		Failures []failure `json:"failures"`
	}{[]imageID{}, []failure{}}
	for _, id := range q.IDs {
		img, code, reason := r.find(id)
		if img != nil && r.referenced(img.digest) && (id.Tag == "" || len(img.tags) == 1) {
			img, code, reason = nil, "ImageReferencedByManifestList", "Requested image referenced by manifest list"
		}
		if img == nil {
			out.Failures = append(out.Failures, failure{id, code, reason})
			continue
		}
		out.IDs = append(out.IDs, imageID{img.digest, id.Tag})
		r.delete(img.digest, id.Tag)
	}
	return out, nil
}

// referenced tells whether an index lists the image.
func (r *repository) referenced(digest string) bool {
	for _, img := range r.images {
		if isIndex(img.mediaType) && strings.Contains(string(img.manifest), digest) {
			return true
		}
	}
	return false
}

func (s *Server) describeRepositories(q request) (any, *refusal) {
	type mutabilityFilter struct {
		Type   string `json:"filterType"`
		Filter string `json:"filter"`
	}
	type wire struct {
		ARN        string             `json:"repositoryArn"`
		Registry   string             `json:"registryId"`
		Name       string             `json:"repositoryName"`
		URI        string             `json:"repositoryUri"`
		Created    timestamp          `json:"createdAt"`
		Mutability string             `json:"imageTagMutability"`
		Filters    []mutabilityFilter `json:"imageTagMutabilityExclusionFilters,omitempty"`
	}
	if q.Repositories != nil && (q.MaxResults != 0 || q.NextToken != "") {
		return nil, refused("InvalidParameterException", "Invalid parameter at 'repositoryNames' failed to satisfy constraint: 'maxResults and nextToken cannot be used with repositoryNames'")
	}
	names := q.Repositories
	next := ""
	if names == nil {
		if q.Registry != s.options.Account {
			return map[string]any{"repositories": []wire{}}, nil
		}
		for name := range s.repositories {
			names = append(names, name)
		}
		slices.Sort(names)
		if q.NextToken != "" {
			i, _ := slices.BinarySearch(names, q.NextToken)
			names = names[min(i+1, len(names)):]
		}
		size := q.MaxResults
		if size == 0 {
			size = 100
		}
		if len(names) > size {
			names, next = names[:size], names[size-1]
		}
	}
	list := []wire{}
	for _, name := range names {
		r, ref := s.repository(q.Registry, name)
		if ref != nil {
			return nil, ref
		}
		w := wire{s.arn(name), s.options.Account, name, s.Host() + "/" + name, timestamp(r.created), r.mutability, nil}
		for _, f := range r.filters {
			w.Filters = append(w.Filters, mutabilityFilter{"WILDCARD", f})
		}
		list = append(list, w)
	}
	return struct {
		Repositories []wire `json:"repositories"`
		NextToken    string `json:"nextToken,omitempty"`
	}{list, next}, nil
}

func (s *Server) getLifecyclePolicy(q request) (any, *refusal) {
	r, ref := s.repository(q.Registry, q.Repository)
	if ref != nil {
		return nil, ref
	}
	if r.policy == "" {
		return nil, refused("LifecyclePolicyNotFoundException", "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", r.name, s.options.Account)
	}
	return map[string]any{"registryId": s.options.Account, "repositoryName": r.name, "lifecyclePolicyText": r.policy}, nil
}

// password is what `docker login` uses with the user name AWS.
func (s *Server) password() string { return "token-for-" + s.options.Account }

func (s *Server) getAuthorizationToken(request) (any, *refusal) {
	return map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + s.password())),
		"expiresAt":          timestamp(s.options.Now().Add(12 * time.Hour)),
		"proxyEndpoint":      "https://" + s.Host(),
	}}}, nil
}
