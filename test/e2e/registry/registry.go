// Package registry serves the CNCF's distribution registry, unmodified and in memory: plain, and behind a front that speaks
// Amazon ECR's API and keeps what ECR knows beyond a registry (when an image was pushed, which tags may move).
package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the driver used
	"github.com/sirupsen/logrus"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/oci"
)

// Plain is a distribution registry. Operations of its Switchboard are named as those of the loopback one (internal/fake/oci):
// "PUT manifest payments:latest".
type Plain struct {
	*fake.Switchboard
	app *handlers.App
}

// NewPlain makes an empty registry. Close it.
func NewPlain() *Plain {
	logrus.SetOutput(io.Discard) // every 404 would be a line
	app := handlers.NewApp(context.Background(), &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Log:     configuration.Log{AccessLog: configuration.AccessLog{Disabled: true}, Level: "error"},
		Storage: configuration.Storage{
			"inmemory": nil, "delete": configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
	})
	p := &Plain{app: app}
	p.Switchboard = &fake.Switchboard{Next: app, Op: oci.New(oci.Rules{}).Op}
	return p
}

// Close ends the registry's goroutines and hanging requests.
func (p *Plain) Close() {
	p.Switchboard.Close()
	_ = p.app.Shutdown()
}

// Tags is a snapshot of a repository: tag → digest.
func (p *Plain) Tags(repo string) map[string]string {
	tags := map[string]string{}
	for _, t := range p.tagList(repo) {
		if digest, _, ok := p.head(repo, t); ok {
			tags[t] = digest
		}
	}
	return tags
}

// do sends a request to distribution itself, past faults and counting.
func (p *Plain) do(method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Accept", strings.Join(mediaTypes, ", "))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	p.app.ServeHTTP(w, r)
	return w
}

var mediaTypes = []string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
}

func (p *Plain) tagList(repo string) []string {
	w := p.do(http.MethodGet, "/v2/"+repo+"/tags/list", "", nil)
	var list struct{ Tags []string }
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &list) != nil {
		return nil
	}
	slices.Sort(list.Tags)
	return list.Tags
}

// head looks a tag or digest up.
func (p *Plain) head(repo, ref string) (digest, mediaType string, ok bool) {
	w := p.do(http.MethodHead, "/v2/"+repo+"/manifests/"+ref, "", nil)
	return w.Header().Get("Docker-Content-Digest"), w.Header().Get("Content-Type"), w.Code == http.StatusOK
}

// Manifest returns an image's bytes and media type.
func (p *Plain) Manifest(repo, ref string) ([]byte, string, error) {
	w := p.do(http.MethodGet, "/v2/"+repo+"/manifests/"+ref, "", nil)
	if w.Code != http.StatusOK {
		return nil, "", fmt.Errorf("registry: %s has no image %s: %d", repo, ref, w.Code)
	}
	return w.Body.Bytes(), w.Header().Get("Content-Type"), nil
}

// Tag points a tag at an image that is there: somebody else's push.
func (p *Plain) Tag(repo, tag, digest string) error {
	body, mediaType, err := p.Manifest(repo, digest)
	if err != nil {
		return err
	}
	if w := p.do(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, body); w.Code != http.StatusCreated {
		return fmt.Errorf("registry: tagging %s in %s: %d %s", tag, repo, w.Code, w.Body)
	}
	return nil
}

// Delete removes an image by digest, with all its tags.
func (p *Plain) Delete(repo, digest string) error {
	for tag, d := range p.Tags(repo) { // distribution leaves tags of a deleted manifest behind, naming nothing
		if d == digest {
			if w := p.do(http.MethodDelete, "/v2/"+repo+"/manifests/"+tag, "", nil); w.Code != http.StatusAccepted {
				return fmt.Errorf("registry: deleting tag %s of %s: %d %s", tag, repo, w.Code, w.Body)
			}
		}
	}
	if w := p.do(http.MethodDelete, "/v2/"+repo+"/manifests/"+digest, "", nil); w.Code != http.StatusAccepted {
		return fmt.Errorf("registry: deleting %s of %s: %d %s", digest, repo, w.Code, w.Body)
	}
	return nil
}
