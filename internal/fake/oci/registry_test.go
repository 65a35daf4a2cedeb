package oci

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

var built = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// ask sends one request to the registry; headers alternate between name and value.
func ask(t *testing.T, h http.Handler, method, target, body string, headers ...string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Result()
}

// want checks status and, for refusals, the code in the error form.
func want(t *testing.T, what string, resp *http.Response, status int, code string) {
	t.Helper()
	var form struct{ Errors []struct{ Code string } }
	_ = json.NewDecoder(resp.Body).Decode(&form)
	got := ""
	if len(form.Errors) == 1 {
		got = form.Errors[0].Code
	}
	if resp.StatusCode != status || got != code {
		t.Errorf("%s: %d %q, want %d %q", what, resp.StatusCode, got, status, code)
	}
}

func TestAccept(t *testing.T) {
	t.Parallel()
	r := New(Rules{})
	image := r.AddImage("web", built, "one")
	r.AddIndex("web", built, "many")
	list := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"digest":%q,"platform":{"os":"linux","architecture":"amd64"}}]}`, dockerList, image)
	r.AddManifest("web", dockerList, []byte(list), "list")

	want(t, "OCI image unaccepted", ask(t, r, "GET", "/v2/web/manifests/one", "", "Accept", dockerManifest), 404, "MANIFEST_UNKNOWN")
	want(t, "OCI index unaccepted", ask(t, r, "HEAD", "/v2/web/manifests/many", "", "Accept", ociManifest), 404, "MANIFEST_UNKNOWN")
	want(t, "two headers", ask(t, r, "GET", "/v2/web/manifests/many", "", "Accept", ociManifest, "Accept", ociIndex), 200, "")
	want(t, "one header", ask(t, r, "GET", "/v2/web/manifests/many", "", "Accept", ociManifest+", "+ociIndex+";q=0.5"), 200, "")
	if got := ask(t, r, "GET", "/v2/web/manifests/list", "").Header.Get("Docker-Content-Digest"); got != image {
		t.Errorf("a client without lists gets %s, want the one platform %s", got, image)
	}
	resp := ask(t, r, "HEAD", "/v2/web/manifests/one", "", "Accept", ociManifest)
	if resp.Header.Get("Docker-Content-Digest") != image || resp.ContentLength <= 0 || resp.Header.Get("Content-Type") != ociManifest {
		t.Errorf("HEAD: %v", resp.Header)
	}
	want(t, "unknown tag", ask(t, r, "GET", "/v2/web/manifests/none", "", "Accept", ociManifest), 404, "MANIFEST_UNKNOWN")
	want(t, "unknown repository", ask(t, r, "GET", "/v2/none/manifests/one", "", "Accept", ociManifest), 404, "MANIFEST_UNKNOWN")
}

func TestPutManifest(t *testing.T) {
	t.Parallel()
	r := New(Rules{})
	digest := r.AddImage("web", built, "one")
	index := r.AddIndex("web", built)
	_, body, _ := r.Manifest("web", "one")
	_, many, _ := r.Manifest("web", index)
	image := string(body)
	zero := "sha256:" + strings.Repeat("0", 64)
	put := func(target, body, mediaType string) *http.Response {
		return ask(t, r, "PUT", target, body, "Content-Type", mediaType)
	}
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}

	want(t, "as it is", put("/v2/web/manifests/two", image, ociManifest), 201, "")
	want(t, "index", put("/v2/web/manifests/many", string(many), ociIndex), 201, "")
	want(t, "by digest", put("/v2/web/manifests/"+digest, image, ociManifest), 201, "")
	if r.Resolve("web", "two") != digest || r.Resolve("web", "many") != index {
		t.Error("the tags do not name what was put")
	}
	want(t, "no type", put("/v2/web/manifests/x", image, "application/json"), 400, "MANIFEST_INVALID")
	want(t, "another type", put("/v2/web/manifests/x", image, ociIndex), 400, "MANIFEST_INVALID")
	want(t, "docker type without mediaType", put("/v2/web/manifests/x", `{"schemaVersion":2}`, dockerManifest), 400, "MANIFEST_INVALID")
	want(t, "schema 1", put("/v2/web/manifests/x", `{"schemaVersion":1}`, ociManifest), 400, "MANIFEST_INVALID")
	want(t, "no JSON", put("/v2/web/manifests/x", `{`, ociManifest), 400, "MANIFEST_INVALID")
	want(t, "too large", put("/v2/web/manifests/x", strings.Repeat(" ", 4<<20+1), ociManifest), 400, "MANIFEST_INVALID")
	want(t, "another digest", put("/v2/web/manifests/"+zero, image, ociManifest), 400, "DIGEST_INVALID")
	want(t, "unknown config", put("/v2/web/manifests/x", strings.Replace(image, doc.Config.Digest, zero, 1), ociManifest), 400, "MANIFEST_BLOB_UNKNOWN")
	want(t, "unknown layer", put("/v2/web/manifests/x", strings.Replace(image, doc.Layers[0].Digest, zero, 1), ociManifest), 400, "MANIFEST_BLOB_UNKNOWN")
	want(t, "unknown platform", put("/v2/other/manifests/x", string(many), ociIndex), 400, "MANIFEST_BLOB_UNKNOWN")
	want(t, "another repository", put("/v2/other/manifests/x", image, ociManifest), 400, "MANIFEST_BLOB_UNKNOWN")
	want(t, "wrong size", put("/v2/web/manifests/x", strings.Replace(image, fmt.Sprintf(`"size": %d`, doc.Layers[0].Size), `"size": 1`, 1), ociManifest), 400, "SIZE_INVALID")
	want(t, "bad tag", put("/v2/web/manifests/-x", image, ociManifest), 400, "TAG_INVALID")
	want(t, "bad name", put("/v2/Web/manifests/x", image, ociManifest), 400, "NAME_INVALID")
	want(t, "patch", ask(t, r, "PATCH", "/v2/web/manifests/x", image), 405, "UNSUPPORTED")
	if r.Resolve("web", "x") != "" {
		t.Error("a refused manifest was tagged")
	}

	r.SetRules(Rules{Immutable: 412})
	want(t, "the same", put("/v2/web/manifests/one", image, ociManifest), 201, "")
	want(t, "a new tag", put("/v2/web/manifests/three", image, ociManifest), 201, "")
	want(t, "a moved tag", put("/v2/web/manifests/one", string(many), ociIndex), 412, "DENIED")
	if r.Resolve("web", "one") != digest {
		t.Error("an immutable tag moved")
	}
}

func TestTagsInPages(t *testing.T) {
	t.Parallel()
	r := New(Rules{PageSize: 3})
	r.AddImage("web", built, "a", "b", "c", "d", "e", "f", "g")
	var all []string
	pages := 0
	for next := "/v2/web/tags/list?n=1000"; next != ""; pages++ {
		resp := ask(t, r, "GET", next, "")
		var doc struct {
			Name string
			Tags []string
		}
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || doc.Name != "web" {
			t.Fatal(doc, err)
		}
		all = append(all, doc.Tags...)
		next, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	}
	if pages != 3 || strings.Join(all, "") != "abcdefg" {
		t.Errorf("%d pages, tags %q", pages, all)
	}
	want(t, "a number that is none", ask(t, r, "GET", "/v2/web/tags/list?n=x", ""), 400, "PAGINATION_NUMBER_INVALID")
	want(t, "unknown repository", ask(t, r, "GET", "/v2/none/tags/list", ""), 404, "NAME_UNKNOWN")
	want(t, "post", ask(t, r, "POST", "/v2/web/tags/list", ""), 405, "UNSUPPORTED")
}

func TestDelete(t *testing.T) {
	t.Parallel()
	r := New(Rules{})
	digest := r.AddImage("web", built, "a", "b")
	want(t, "tag", ask(t, r, "DELETE", "/v2/web/manifests/a", ""), 202, "")
	want(t, "tag again", ask(t, r, "DELETE", "/v2/web/manifests/a", ""), 404, "MANIFEST_UNKNOWN")
	if r.Resolve("web", "b") != digest {
		t.Error("the other tag went too")
	}
	want(t, "manifest", ask(t, r, "DELETE", "/v2/web/manifests/"+digest, ""), 202, "")
	if r.Resolve("web", "b") != "" {
		t.Error("a tag outlived its manifest")
	}
	want(t, "nowhere", ask(t, r, "DELETE", "/v2/none/manifests/a", ""), 404, "NAME_UNKNOWN")

	digest = r.AddImage("web", built, "c", "d")
	r.Delete("web", "c")
	if r.Resolve("web", "c") != "" || r.Resolve("web", "d") != digest {
		t.Error("Delete of a tag")
	}
	r.Delete("web", digest)
	if _, _, ok := r.Manifest("web", "d"); ok || r.Resolve("none", "d") != "" {
		t.Error("Delete of a digest")
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	r := New(Rules{})
	d := digestOf([]byte("hello"))
	want(t, "whole", ask(t, r, "POST", "/v2/web/blobs/uploads/?digest="+d, "hello"), 201, "")
	want(t, "wrong digest", ask(t, r, "POST", "/v2/web/blobs/uploads/?digest="+d, "hullo"), 400, "DIGEST_INVALID")
	want(t, "mounted", ask(t, r, "POST", "/v2/api/blobs/uploads/?from=web&mount="+d, ""), 201, "")
	at := ask(t, r, "POST", "/v2/job/blobs/uploads/?from=none&mount="+d, "").Header.Get("Location")
	want(t, "first piece", ask(t, r, "PATCH", at, "hel"), 202, "")
	want(t, "last piece", ask(t, r, "PUT", at+"?digest="+d, "lo"), 201, "")
	want(t, "upload is over", ask(t, r, "PATCH", at, "x"), 404, "BLOB_UPLOAD_UNKNOWN")
	want(t, "get an upload", ask(t, r, "GET", at, ""), 405, "UNSUPPORTED")
	for _, repo := range []string{"web", "api", "job"} {
		want(t, repo, ask(t, r, "GET", "/v2/"+repo+"/blobs/"+d, ""), 200, "")
		want(t, repo, ask(t, r, "HEAD", "/v2/"+repo+"/blobs/"+d, ""), 200, "")
	}
	want(t, "unknown", ask(t, r, "GET", "/v2/none/blobs/"+d, ""), 404, "BLOB_UNKNOWN")
	want(t, "no digest", ask(t, r, "GET", "/v2/web/blobs/latest", ""), 400, "DIGEST_INVALID")
	want(t, "delete", ask(t, r, "DELETE", "/v2/web/blobs/"+d, ""), 405, "UNSUPPORTED")

	r.SetRules(Rules{BlobsAt: "http://storage.example.com"})
	resp := ask(t, r, "GET", "/v2/web/blobs/"+d, "")
	want(t, "redirect", resp, 307, "")
	if l := resp.Header.Get("Location"); l != "http://storage.example.com/web/"+d {
		t.Errorf("redirects to %s", l)
	}
	want(t, "storage", ask(t, r.Storage(), "GET", "/web/"+d, ""), 200, "")
	want(t, "storage with our credentials", ask(t, r.Storage(), "GET", "/web/"+d, "", "Authorization", "Bearer x"), 400, "")
	want(t, "storage without the blob", ask(t, r.Storage(), "GET", "/none/"+d, ""), 404, "")
	want(t, "another path", ask(t, r, "GET", "/v1/search", ""), 404, "")
	want(t, "a path of /v2/", ask(t, r, "GET", "/v2/web/other", ""), 404, "")
}

func TestAuth(t *testing.T) {
	t.Parallel()
	const ci = "Basic Y2k6czNjcmV0" // ci:s3cret
	r := New(Rules{Auth: Bearer, Username: "ci", Password: "s3cret", TokenLife: time.Hour})
	r.AddImage("web", built, "one")
	r.AddImage("api", built, "one")
	token := func(query string, headers ...string) string {
		t.Helper()
		resp := ask(t, r, "GET", "/token?"+query, "", headers...)
		var doc struct {
			Token   string
			Expires int `json:"expires_in"`
		}
		if resp.StatusCode != 200 || json.NewDecoder(resp.Body).Decode(&doc) != nil || doc.Expires != 3600 {
			t.Fatalf("%d %+v", resp.StatusCode, doc)
		}
		return "Bearer " + doc.Token
	}
	resp := ask(t, r, "GET", "/v2/web/manifests/one", "", "Accept", ociManifest)
	want(t, "no token", resp, 401, "UNAUTHORIZED")
	if got := resp.Header.Get("WWW-Authenticate"); got != `Bearer realm="http://example.com/token",service="loopback",scope="repository:web:pull"` {
		t.Errorf("challenge %s", got)
	}
	want(t, "no password", ask(t, r, "GET", "/token?service=loopback", ""), 401, "UNAUTHORIZED")
	want(t, "another service", ask(t, r, "GET", "/token?service=x", "", "Authorization", ci), 400, "UNSUPPORTED")
	want(t, "a scope that is none", ask(t, r, "GET", "/token?service=loopback&scope=web", "", "Authorization", ci), 400, "UNSUPPORTED")
	want(t, "post", ask(t, r, "POST", "/token?service=loopback", "", "Authorization", ci), 404, "")

	read := token("service=loopback&scope=repository:web:pull", "Authorization", ci)
	want(t, "ping", ask(t, r, "GET", "/v2/", "", "Authorization", read), 200, "")
	want(t, "read", ask(t, r, "GET", "/v2/web/manifests/one", "", "Accept", ociManifest, "Authorization", read), 200, "")
	for what, target := range map[string]string{"another repository": "GET /v2/api/manifests/one", "a write": "PUT /v2/web/manifests/one", "a deletion": "DELETE /v2/web/manifests/one"} {
		method, path, _ := strings.Cut(target, " ")
		resp := ask(t, r, method, path, "", "Accept", ociManifest, "Authorization", read)
		if !strings.HasSuffix(resp.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
			t.Errorf("%s: %v", what, resp.Header)
		}
		want(t, what, resp, 401, "UNAUTHORIZED")
	}
	r.Revoke()
	resp = ask(t, r, "GET", "/v2/", "", "Authorization", read)
	if !strings.HasSuffix(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("revoked: %v", resp.Header)
	}

	r.SetRules(Rules{Auth: Basic, Username: "ci", Password: "s3cret", ReadOnly: true})
	want(t, "basic, no password", ask(t, r, "GET", "/v2/", ""), 401, "UNAUTHORIZED")
	want(t, "basic", ask(t, r, "GET", "/v2/", "", "Authorization", ci), 200, "")
	want(t, "basic, read only", ask(t, r, "PUT", "/v2/web/manifests/one", "", "Authorization", ci), 403, "DENIED")
}

func TestOperations(t *testing.T) {
	t.Parallel()
	r := New(Rules{})
	d := r.AddImage("team/web", built, "one")
	for _, target := range []string{"/v2/", "/token", "/v2/team/web/manifests/one", "/v2/team/web/manifests/" + d,
		"/v2/team/web/tags/list?n=1", "/v2/team/web/blobs/" + d, "/v2/team/web/blobs/uploads/7", "/favicon.ico"} {
		ask(t, r, "GET", target, "")
	}
	var ops []string
	for _, q := range r.Requests() {
		ops = append(ops, q.Op)
	}
	if want := []string{"ping", "token", "GET manifest team/web:one", "GET manifest team/web@" + d, "GET tags team/web",
		"GET blob team/web@" + d, "GET upload team/web", "GET /favicon.ico"}; !slices.Equal(ops, want) {
		t.Errorf("%q", ops)
	}
}
