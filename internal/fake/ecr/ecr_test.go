package ecr

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func serve(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	s := New(o)
	s.CreateRepository("payments")
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		web.Close()
	})
	return s, web.URL
}

// signed makes a request that AWS would take.
func signed(t *testing.T, method, url, service, body string, header map[string]string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, r, hash([]byte(body)), service, "eu-west-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func send(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// call asks the ECR API and returns the answer, or the error's code.
func call(t *testing.T, url, op, body string) (map[string]any, string) {
	t.Helper()
	_, text := send(t, signed(t, "POST", url+"/", "ecr", body, map[string]string{"X-Amz-Target": targetPrefix + op, "Content-Type": jsonType}))
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%s: %v in %s", op, err, text)
	}
	code, _ := doc["__type"].(string)
	return doc, code
}

func quote(s any) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// Every error that PutImage declares, but the ones of the machinery (injected: ServerException, KmsException).
func TestPutImageErrors(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{TagsPerImage: 2})
	s.Strict(t)
	one, err := s.Push("payments", PushOptions{Content: "one", Tags: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Push("payments", PushOptions{Content: "two", Tags: []string{"latest"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetMutability("payments", ImmutableWithExclusion, "dev-*"); err != nil {
		t.Fatal(err)
	}
	body1, _, _ := s.Manifest("payments", one.Digest)
	body2, _, _ := s.Manifest("payments", two.Digest)
	unknown := "sha256:" + strings.Repeat("0", 64)
	put := func(manifest, rest string) string {
		return `{"repositoryName":"payments","imageManifest":` + quote(manifest) + rest + `}`
	}
	for name, c := range map[string]struct{ body, want string }{
		"same tag":         {put(string(body2), `,"imageTag":"latest"`), "ImageAlreadyExistsException"},
		"no tag":           {put(string(body2), ``), "ImageAlreadyExistsException"},
		"immutable":        {put(string(body2), `,"imageTag":"a"`), "ImageTagAlreadyExistsException"},
		"other digest":     {put(string(body2), `,"imageTag":"x","imageDigest":`+quote(one.Digest)), "ImageDigestDoesNotMatchException"},
		"a newline more":   {put(string(body2)+"\n", `,"imageTag":"x","imageDigest":`+quote(two.Digest)), "ImageDigestDoesNotMatchException"},
		"layers":           {put(`{"mediaType":"`+OCIManifest+`","config":{"digest":"`+unknown+`"}}`, ``), "LayersNotFoundException"},
		"children":         {put(`{"mediaType":"`+OCIIndex+`","manifests":[{"digest":"`+unknown+`"}]}`, ``), "ReferencedImagesNotFoundException"},
		"third tag":        {put(string(body1), `,"imageTag":"c"`), "LimitExceededException"},
		"not JSON":         {put(`<html>`, ``), "InvalidParameterException"},
		"no media type":    {put(`{"config":{}}`, ``), "InvalidParameterException"},
		"two media types":  {put(string(body2), `,"imageTag":"x","imageManifestMediaType":"`+OCIIndex+`"`), "InvalidParameterException"},
		"other media type": {put(`{}`, `,"imageManifestMediaType":"text/html"`), "InvalidParameterException"},
		"no config":        {put(`{}`, `,"imageManifestMediaType":"`+OCIManifest+`"`), "InvalidParameterException"},
		"bad tag":          {put(string(body2), `,"imageTag":"-x"`), "InvalidParameterException"},
		"no repository":    {`{"repositoryName":"web","imageManifest":"{}"}`, "RepositoryNotFoundException"},
		"another account":  {`{"registryId":"999999999999","repositoryName":"payments","imageManifest":"{}"}`, "RepositoryNotFoundException"},
		"an allowed tag":   {put(string(body2), `,"imageTag":"dev-1"`), ""},
	} {
		if doc, code := call(t, url, "PutImage", c.body); code != c.want {
			t.Errorf("%s: got %v, want %q", name, doc, c.want)
		}
	}
	want := map[string]string{"a": one.Digest, "b": one.Digest, "latest": two.Digest, "dev-1": two.Digest}
	if d := cmp.Diff(want, s.Tags("payments")); d != "" {
		t.Error(d)
	}
}

type recorder struct{ texts []string }

func (r *recorder) Errorf(format string, args ...any) {
	r.texts = append(r.texts, fmt.Sprintf(format, args...))
}

// The contract is what refuses these, and it tells.
func TestContract(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	for body, want := range map[string]string{
		`{}`:                                  "member repositoryName is required",
		`{"repositoryName":"payments","x":1}`: "no such member: x",
		`{"repositoryName":"payments","imageIds":{}}`:                 "want list",
		`{"repositoryName":"Payments"}`:                               "does not match",
		`{"repositoryName":"payments","imageIds":[]}`:                 "0 is not within 1 and 100",
		`{"repositoryName":"payments","maxResults":1001}`:             "1001 is not within 1 and 1000",
		`{"repositoryName":"payments","maxResults":"10"}`:             "want integer",
		`{"repositoryName":"payments","maxResults":1.5}`:              "want an integer",
		`{"repositoryName":"payments","filter":{"tagStatus":"SOME"}}`: "is not one of",
		`{"repositoryName":"payments","registryId":"12"}`:             "does not match",
		`{"repositoryName":7}`:                                        "want string",
		`[]`:                                                          "want structure",
		`{"repositoryName":"payments"} {}`:                            "more than one",
		`<html>`:                                                      "not JSON",
	} {
		r := &recorder{}
		s.Strict(r)
		_, code := call(t, url, "DescribeImages", body)
		if code != "InvalidParameterException" || len(r.texts) != 1 || !strings.Contains(r.texts[0], want) {
			t.Errorf("%s: %s, %v; want %s", body, code, r.texts, want)
		}
	}
	if n := len(s.Violations()); n != 14 {
		t.Errorf("%d violations are kept", n)
	}
	m := model()
	for name, err := range map[string]error{
		"bad enum in an answer":      m.answer("BatchGetImage", []byte(`{"failures":[{"failureCode":"Gone"}]}`)),
		"time as text":               m.answer("DescribeImages", []byte(`{"imageDetails":[{"imagePushedAt":"2026-01-01"}]}`)),
		"undeclared error":           m.refusal("GetLifecyclePolicy", "ImageNotFoundException", []byte(`{}`)),
		"undeclared member of error": m.refusal("PutImage", "KmsException", []byte(`{"__type":"KmsException","key":"x"}`)),
		"unknown operation":          m.request("PutPicture", []byte(`{}`)),
		"an error that Fail refuses": New(Options{}).Fail("ListImages", "KmsException", 1),
	} {
		if err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if err := m.refusal("PutImage", "KmsException", []byte(`{"__type":"KmsException","kmsError":"x","message":"y"}`)); err != nil {
		t.Error(err)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	request := func(change func(*http.Request)) string {
		r := signed(t, "POST", url+"/", "ecr", `{}`, map[string]string{"X-Amz-Target": targetPrefix + "GetAuthorizationToken", "Content-Type": jsonType})
		change(r)
		status, text := send(t, r)
		var doc struct {
			Type string `json:"__type"`
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil || (status == 200) != (doc.Type == "") {
			t.Errorf("%d %s", status, text)
		}
		return doc.Type
	}
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
		}
	}
	for want, change := range map[string]func(*http.Request){
		"":                                    func(*http.Request) {},
		"MissingAuthenticationTokenException": func(r *http.Request) { r.Header.Del("Authorization") },
		"UnrecognizedClientException":         replace(AccessKey, "AKIAOTHER"),
		"InvalidSignatureException":           func(r *http.Request) { r.Header.Set("X-Amz-Date", "20200101T000000Z") },
		"IncompleteSignatureException":        replace("/aws4_request", ""),
	} {
		if got := request(change); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, change := range []func(*http.Request){
		replace("/ecr/", "/s3/"), replace("eu-west-1", "us-east-1"), replace(";host", ""), replace("Signature=", "Signature=0"),
		func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{ }")), 3 },
	} {
		if got := request(change); got != "InvalidSignatureException" {
			t.Errorf("got %q", got)
		}
	}
	s.Expire(true)
	if got := request(func(*http.Request) {}); got != "ExpiredTokenException" {
		t.Errorf("got %q", got)
	}
}

func TestSTS(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	s.AddRole("arn:aws:iam::123456789012:role/r", "")
	ask := func(form string) (int, string) {
		return send(t, signed(t, "POST", url+"/", "sts", form, map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}))
	}
	for form, want := range map[string]string{
		"Action=GetCallerIdentity&Version=2011-06-15":                                                         "<Account>123456789012</Account>",
		"Action=GetCallerIdentity&Version=2010":                                                               "<Code>NoSuchVersion</Code>",
		"Action=GetFederationToken&Version=2011-06-15":                                                        "<Code>InvalidAction</Code>",
		"Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=x":     "assumed-role/r/x",
		"Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/r":                       "<Code>ValidationError</Code>",
		"Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/other&RoleSessionName=x": "<Code>AccessDenied</Code>",
	} {
		if status, text := ask(form); !strings.Contains(text, want) || (status == 200) == strings.Contains(want, "Code") {
			t.Errorf("%s: %d %s", form, status, text)
		}
	}
	// Presigned, as the token of an EKS cluster is.
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-k8s-aws-id", "prod")
	presigned, header, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, r, hash(nil), "sts", "eu-west-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err = http.NewRequestWithContext(t.Context(), "GET", presigned, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	if status, text := send(t, r); status != 200 || !strings.Contains(text, "assumed-role/deployer") {
		t.Errorf("presigned: %d %s", status, text)
	}
	r.Header.Set("x-k8s-aws-id", "other")
	if status, _ := send(t, r); status != 403 {
		t.Errorf("presigned for another cluster: %d", status)
	}
	s.Deny("sts:GetCallerIdentity")
	if status, _ := ask("Action=GetCallerIdentity&Version=2011-06-15"); status != 403 {
		t.Errorf("denied: %d", status)
	}
	if got := s.Count("GetCallerIdentity"); got != 5 {
		t.Errorf("%d calls counted, want 5", got)
	}
}

func TestEKS(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	s.AddCluster(Cluster{Name: "prod", Endpoint: "https://127.0.0.1:6443", CA: []byte("pem")})
	status, text := send(t, signed(t, "GET", url+"/clusters/prod", "eks", "", nil))
	var doc struct {
		Cluster struct {
			Name, Endpoint, Status string
			CertificateAuthority   struct{ Data []byte }
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || status != 200 || doc.Cluster.Endpoint != "https://127.0.0.1:6443" ||
		string(doc.Cluster.CertificateAuthority.Data) != "pem" || doc.Cluster.Status != "ACTIVE" {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := send(t, signed(t, "GET", url+"/clusters/none", "eks", "", nil)); status != 404 {
		t.Errorf("unknown cluster: %d", status)
	}
	if status, _ := send(t, signed(t, "DELETE", url+"/clusters/prod", "eks", "", nil)); status != 404 {
		t.Errorf("DELETE: %d", status)
	}
	if status, _ := send(t, signed(t, "GET", url+"/clusters/prod", "ecr", "", nil)); status != 403 {
		t.Errorf("signed for another service: %d", status)
	}
	s.Deny("eks:*")
	if status, _ := send(t, signed(t, "GET", url+"/clusters/prod", "eks", "", nil)); status != 403 {
		t.Errorf("denied: %d", status)
	}
}

// 10,000 images: pages hold everything once, whatever their size, and are cheap.
func TestPages(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	s.Strict(t)
	for i := range 10000 {
		if _, err := s.Push("payments", PushOptions{Content: fmt.Sprint(i), Tags: []string{fmt.Sprintf("%07x", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	pages, token := 0, ""
	for {
		doc, code := call(t, url, "DescribeImages", `{"repositoryName":"payments","maxResults":1000`+token+`}`)
		if code != "" {
			t.Fatal(code)
		}
		pages++
		for _, d := range doc["imageDetails"].([]any) {
			seen[d.(map[string]any)["imageDigest"].(string)] = true
		}
		next, more := doc["nextToken"]
		if !more {
			break
		}
		token = `,"nextToken":` + quote(next)
	}
	if pages != 10 || len(seen) != 10000 {
		t.Errorf("%d pages with %d images", pages, len(seen))
	}
	doc, _ := call(t, url, "ListImages", `{"repositoryName":"payments","filter":{"tagStatus":"UNTAGGED"}}`)
	if ids := doc["imageIds"].([]any); len(ids) != 0 || doc["nextToken"] != nil {
		t.Errorf("untagged: %v", doc)
	}
	for body, want := range map[string]string{
		`{"repositoryName":"payments","nextToken":"x"}`:                                       "InvalidParameterException",
		`{"repositoryName":"payments","imageIds":[{"imageTag":"0000001"}],"maxResults":1}`:    "InvalidParameterException",
		`{"repositoryName":"payments","imageIds":[{"imageTag":"0000001"},{"imageTag":"zz"}]}`: "ImageNotFoundException",
		`{"repositoryName":"payments","imageIds":[{}]}`:                                       "InvalidParameterException",
		`{"repositoryName":"payments","imageIds":[{"imageTag":"0000001"}]}`:                   "",
	} {
		if _, code := call(t, url, "DescribeImages", body); code != want {
			t.Errorf("%s: %q, want %q", body, code, want)
		}
	}
}

func TestGetAndDelete(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	s.Strict(t)
	multi, err := s.Push("payments", PushOptions{Content: "m", Platforms: []string{"linux/amd64", "linux/arm64"}, Tags: []string{"m"}})
	if err != nil {
		t.Fatal(err)
	}
	single, err := s.Push("payments", PushOptions{Content: "s", Tags: []string{"s", "t"}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(ids, accept string) (map[string]any, string) {
		return call(t, url, "BatchGetImage", `{"repositoryName":"payments","imageIds":[`+ids+`]`+accept+`}`)
	}
	if _, code := get(`{"imageTag":"m"}`, ""); code != "InvalidParameterException" {
		t.Errorf("an index for a client that does not accept it: %q", code)
	}
	if _, code := get(`{"imageTag":"s"}`, `,"acceptedMediaTypes":["`+DockerManifest+`"]`); code != "InvalidParameterException" {
		t.Errorf("an OCI manifest for a client that does not accept it: %q", code)
	}
	doc, code := get(`{"imageTag":"s"},{"imageTag":"gone"},{},{"imageDigest":"x"},{"imageTag":"-"},{"imageTag":"s","imageDigest":`+quote(multi.Digest)+`}`, "")
	var codes []string
	for _, f := range doc["failures"].([]any) {
		codes = append(codes, f.(map[string]any)["failureCode"].(string))
	}
	want := []string{"ImageNotFound", "MissingDigestAndTag", "InvalidImageDigest", "InvalidImageTag", "ImageTagDoesNotMatchDigest"}
	if d := cmp.Diff(want, codes); d != "" || code != "" || len(doc["images"].([]any)) != 1 {
		t.Errorf("%s %s %v", d, code, doc["images"])
	}
	remove := func(ids string) string {
		doc, code := call(t, url, "BatchDeleteImage", `{"repositoryName":"payments","imageIds":[`+ids+`]}`)
		if code == "" && len(doc["failures"].([]any)) > 0 {
			code, _ = doc["failures"].([]any)[0].(map[string]any)["failureCode"].(string)
		}
		return code
	}
	for _, c := range []struct {
		ids, want string
		images    int
	}{
		{`{"imageDigest":` + quote(multi.Platforms["linux/arm64"]) + `}`, "ImageReferencedByManifestList", 4},
		{`{"imageTag":"s"}`, "", 4},
		{`{"imageTag":"t"}`, "", 3},
		{`{"imageTag":"t"}`, "ImageNotFound", 3},
		{`{"imageDigest":` + quote(multi.Digest) + `}`, "", 2},
	} {
		if got := remove(c.ids); got != c.want || len(s.Images("payments")) != c.images {
			t.Errorf("%s: %q, %d images left, want %q and %d", c.ids, got, len(s.Images("payments")), c.want, c.images)
		}
	}
	if tags := s.Tags("payments"); len(tags) != 0 {
		t.Errorf("tags left: %v (of %s)", tags, single.Digest)
	}
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	s, url := serve(t, Options{})
	s.Strict(t)
	for _, n := range []string{"web", "auth", "acme/api"} {
		s.CreateRepository(n)
	}
	var got []string
	token := ""
	for {
		doc, code := call(t, url, "DescribeRepositories", `{"maxResults":2`+token+`}`)
		if code != "" {
			t.Fatal(code)
		}
		for _, r := range doc["repositories"].([]any) {
			got = append(got, r.(map[string]any)["repositoryName"].(string))
		}
		next, more := doc["nextToken"]
		if !more {
			break
		}
		token = `,"nextToken":` + quote(next)
	}
	if d := cmp.Diff(s.Repositories(), got); d != "" || len(got) != 4 {
		t.Error(got, d)
	}
	if _, code := call(t, url, "GetLifecyclePolicy", `{"repositoryName":"web"}`); code != "LifecyclePolicyNotFoundException" {
		t.Errorf("got %q", code)
	}
	if _, code := call(t, url, "CreateRepository", `{}`); code != "UnknownOperationException" {
		t.Errorf("got %q", code)
	}
	s.Deny("ecr:*")
	if doc, code := call(t, url, "DescribeRepositories", `{}`); code != "AccessDeniedException" || !strings.Contains(doc["message"].(string), "ecr:DescribeRepositories") {
		t.Errorf("got %v", doc)
	}
}

// An ordinary OCI client and the ECR API see one store.
func TestOCI(t *testing.T) {
	t.Parallel()
	s, base := serve(t, Options{})
	s.Strict(t)
	host := strings.TrimPrefix(base, "http://")
	ref := func(text string) name.Reference {
		r, err := name.ParseReference(host + "/" + text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	img, err := random.Image(2000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref("payments:abcdef1"), img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(1000, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref("payments:multi"), index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	doc, code := call(t, base, "BatchGetImage", `{"repositoryName":"payments","imageIds":[{"imageTag":"abcdef1"}]}`)
	if code != "" || doc["images"].([]any)[0].(map[string]any)["imageManifest"] != string(raw) {
		t.Errorf("BatchGetImage does not give the pushed bytes: %s %v", code, doc)
	}
	got, err := remote.Get(ref("payments:abcdef1"))
	if err != nil || string(got.Manifest) != string(raw) {
		t.Errorf("Get: %v", err)
	}
	if err := remote.Tag(ref("payments:abcdef1").Context().Tag("latest"), got); err != nil {
		t.Error(err)
	}
	digest := s.Tags("payments")["latest"]
	if digest != digestOf(raw) {
		t.Errorf("latest names %s", digest)
	}
	pulled, err := remote.Image(ref("payments@" + digest))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := pulled.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatalf("layers: %v", err)
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, rc); err != nil || n == 0 {
			t.Errorf("layer: %d bytes, %v", n, err)
		}
	}
	tags, err := remote.List(ref("payments").Context(), remote.WithPageSize(1))
	if d := cmp.Diff(slices.Sorted(maps.Keys(s.Tags("payments"))), tags); err != nil || d != "" {
		t.Errorf("List: %v %s", err, d)
	}
	s.CreateRepository("web")
	if err := remote.Write(ref("web:1"), pulled); err != nil {
		t.Errorf("copy by mount: %v", err)
	}
	if err := s.SetMutability("payments", Immutable); err != nil {
		t.Fatal(err)
	}
	multi, err := remote.Get(ref("payments:multi"))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Tag(ref("payments").Context().Tag("latest"), multi); err == nil || !strings.Contains(err.Error(), "TAG_INVALID") {
		t.Errorf("moving an immutable tag: %v", err)
	}
	if err := remote.Write(ref("none:1"), img); err == nil || !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		t.Errorf("pushing to no repository: %v", err)
	}
	bad := remote.WithAuth(&authn.Basic{Username: "AWS", Password: "wrong"})
	if _, err := remote.Get(ref("payments:latest"), bad); err == nil {
		t.Error("a wrong password is taken")
	}
	good := remote.WithAuth(&authn.Basic{Username: "AWS", Password: s.password()})
	if _, err := remote.Get(ref("payments:latest"), good); err != nil {
		t.Error(err)
	}
}

func TestOCIStrict(t *testing.T) {
	t.Parallel()
	s, base := serve(t, Options{})
	single, err := s.Push("payments", PushOptions{Content: "s", Tags: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	docker, err := s.Push("payments", PushOptions{Content: "s", Docker: true, Tags: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string, header map[string]string) int {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header.Set(k, v)
		}
		status, _ := send(t, r)
		return status
	}
	oci := map[string]string{"Accept": "text/plain, " + OCIManifest + ";q=0.9"}
	typed := map[string]string{"Content-Type": OCIManifest}
	unknown := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path, body string
		header             map[string]string
		want               int
	}{
		{"GET", "/v2/", "", nil, 200},
		{"GET", "/v2/", "", map[string]string{"Authorization": "Bearer x"}, 401},
		{"GET", "/v2/payments/manifests/s", "", nil, 404}, // no Accept
		{"GET", "/v2/payments/manifests/s", "", map[string]string{"Accept": "*/*"}, 404},
		{"GET", "/v2/payments/manifests/s", "", oci, 200},
		{"HEAD", "/v2/payments/manifests/" + single.Digest, "", oci, 200},
		{"GET", "/v2/payments/manifests/d", "", nil, 200},
		{"GET", "/v2/payments/manifests/gone", "", oci, 404},
		{"GET", "/v2/none/manifests/s", "", oci, 404},
		{"DELETE", "/v2/payments/manifests/s", "", nil, 405},
		{"GET", "/v2/_catalog", "", nil, 405},
		{"PUT", "/v2/payments/manifests/x", `{"config":{"digest":"` + unknown + `"}}`, typed, 400},
		{"PUT", "/v2/payments/manifests/" + unknown, `{"config":{"digest":"` + unknown + `"}}`, typed, 400},
		{"PUT", "/v2/payments/manifests/x", `{}`, nil, 400},
		{"HEAD", "/v2/payments/blobs/" + single.Configs["linux/amd64"], "", nil, 200},
		{"GET", "/v2/payments/blobs/" + unknown, "", nil, 404},
		{"POST", "/v2/payments/blobs/uploads/?digest=" + unknown, "x", nil, 400},
		{"POST", "/v2/payments/blobs/uploads/?digest=" + url.QueryEscape(digestOf([]byte("x"))), "x", nil, 201},
		{"POST", "/v2/payments/blobs/uploads/?mount=" + unknown + "&from=web", "", nil, 202},
		{"POST", "/v2/payments/blobs/uploads/", "", nil, 202},
		{"PUT", "/v2/payments/blobs/uploads/none?digest=" + unknown, "", nil, 404},
		{"GET", "/v2/payments/tags/list?n=x", "", nil, 400},
		{"GET", "/v2/payments/tags/list?n=0", "", nil, 200},
		{"GET", "/elsewhere", "", nil, 400},
	} {
		if got := ask(c.method, c.path, c.body, c.header); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	// A blob in pieces.
	r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/v2/payments/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	at := resp.Header.Get("Location")
	for _, c := range []struct {
		method, query, body, contentRange string
		want                              int
	}{
		{"PATCH", "", "abc", "0-2", 202},
		{"PATCH", "", "xyz", "7-9", 416},
		{"GET", "", "", "", 204},
		{"PATCH", "", "def", "3-5", 202},
		{"PUT", "?digest=" + unknown, "g", "", 400},
		{"PUT", "?digest=" + digestOf([]byte("abcdefg")), "g", "", 201},
		{"PUT", "?digest=" + digestOf([]byte("abcdefg")), "g", "", 404},
	} {
		h := map[string]string{}
		if c.contentRange != "" {
			h["Content-Range"] = c.contentRange
		}
		if got := ask(c.method, at+c.query, c.body, h); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.query, got, c.want)
		}
	}
	if err := s.SetStatus("payments", docker.Digest, Archived); err != nil {
		t.Fatal(err)
	}
	if got := ask("GET", "/v2/payments/manifests/d", "", nil); got != 404 {
		t.Errorf("archived: %d", got)
	}
	strict, base2 := serve(t, Options{LoginRequired: true})
	base = base2
	if got := ask("GET", "/v2/", "", nil); got != 401 {
		t.Errorf("anonymous: %d", got)
	}
	if n := strict.Count("GET /v2/*"); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// Push times grow even if the clock stands still, and a retag does not change them.
func TestStore(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, base := serve(t, Options{Now: func() time.Time { return at }})
	var last string
	for i := range 3 {
		p, err := s.Push("payments", PushOptions{Content: fmt.Sprint(i), Tags: []string{"latest"}})
		if err != nil {
			t.Fatal(err)
		}
		doc, _ := call(t, base, "DescribeImages", `{"repositoryName":"payments","imageIds":[{"imageTag":"latest"}]}`)
		pushed := doc["imageDetails"].([]any)[0].(map[string]any)["imagePushedAt"].(float64)
		if want := float64(at.Unix()) + float64(i+1)/1000; pushed != want { // the repository took the first millisecond
			t.Errorf("image %d pushed at %f, want %f", i, pushed, want)
		}
		if last != "" {
			if err := s.Tag("payments", "old", last); err != nil {
				t.Error(err)
			}
		}
		last = p.Digest
	}
	if err := s.Delete("payments", last); err != nil {
		t.Error(err)
	}
	if tags := s.Tags("payments"); len(tags) != 1 || tags["old"] == "" {
		t.Errorf("tags: %v", tags)
	}
	for name, err := range map[string]error{
		"Tag":         s.Tag("payments", "x", last),
		"Delete":      s.Delete("payments", last),
		"SetPushedAt": s.SetPushedAt("payments", last, at),
		"SetStatus":   s.SetStatus("payments", last, Archived),
		"repository":  s.SetMutability("none", Mutable),
		"policy":      s.SetLifecyclePolicy("none", ""),
	} {
		if err == nil {
			t.Errorf("%s of what is not there passes", name)
		}
	}
	if _, err := s.Push("payments", PushOptions{Tags: []string{"-"}}); err == nil {
		t.Error("a bad tag passes")
	}
	if _, _, err := s.Manifest("payments", last); err == nil {
		t.Error("Manifest of what is not there passes")
	}
	if s.Tags("none") != nil || s.Images("none") != nil {
		t.Error("a repository that is not there has images")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"latest", "latest", true}, {"latest", "latest2", false}, {"dev-*", "dev-", true}, {"dev-*", "dev-1", true}, {"dev-*", "de", false},
		{"*", "", true}, {"*a*b", "xaxb", true}, {"*a*b", "xaxbc", false}, {"a*b*c", "abbc", true}, {"", "", true}, {"", "a", false},
	} {
		if glob(c.pattern, c.s) != c.want {
			t.Errorf("glob(%q, %q) is %v", c.pattern, c.s, !c.want)
		}
	}
}

// A closed server lets nothing hang.
func TestClose(t *testing.T) {
	t.Parallel()
	s, base := serve(t, Options{})
	s.Latency(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	s.Close()
	<-done
}
