package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Image is an image to push. The same image has the same digest wherever it is pushed to.
type Image struct {
	Content   string    // makes it differ from others
	Created   time.Time // in its configuration
	Platforms []string  // "linux/amd64"; with none it is a single image for linux/amd64, else an index
	Labels    map[string]string
}

type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int       `json:"size"`
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

func encode(v any) []byte {
	b, err := json.MarshalIndent(v, "", "   ") // whoever encodes it again gets another digest
	if err != nil {
		panic("registry: " + err.Error()) // maps, strings and numbers only
	}
	return b
}

// Push pushes an image to the registry at base ("http://127.0.0.1:…"), as docker does, and points the tags at it. It returns
// the digest that the tags name.
func Push(ctx context.Context, base, repo string, image Image, tags ...string) (string, error) {
	p := pusher{ctx, base, repo}
	platforms := image.Platforms
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64"}
	}
	var children []descriptor
	var body []byte
	mediaType := mediaTypes[2]
	for _, name := range platforms {
		goos, arch, _ := strings.Cut(name, "/")
		layer := []byte("layer " + name + " " + image.Content)
		config := encode(map[string]any{
			"architecture": arch, "os": goos, "created": image.Created.UTC().Format(time.RFC3339Nano),
			"config": map[string]any{"Labels": image.Labels, "Env": []string{"CONTENT=" + image.Content}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer)}},
		})
		for _, b := range [][]byte{layer, config} {
			if err := p.blob(b); err != nil {
				return "", err
			}
		}
		body = encode(map[string]any{
			"schemaVersion": 2, "mediaType": mediaType,
			"config": descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: digestOf(config), Size: len(config)},
			"layers": []descriptor{{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: digestOf(layer), Size: len(layer)}},
		})
		if err := p.manifest(digestOf(body), mediaType, body); err != nil {
			return "", err
		}
		children = append(children, descriptor{mediaType, digestOf(body), len(body), &platform{arch, goos}})
	}
	if len(image.Platforms) > 0 {
		mediaType = mediaTypes[0]
		body = encode(map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": children})
		if err := p.manifest(digestOf(body), mediaType, body); err != nil {
			return "", err
		}
	}
	for _, t := range tags {
		if err := p.manifest(t, mediaType, body); err != nil {
			return "", err
		}
	}
	return digestOf(body), nil
}

type pusher struct {
	ctx        context.Context
	base, repo string
}

func (p pusher) send(method, where, contentType string, body []byte, want int) (http.Header, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, where, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		q.Header.Set("Content-Type", contentType)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err == nil && a.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, q.URL.Path, a.Status, text)
	}
	return a.Header, err
}

func (p pusher) manifest(ref, mediaType string, body []byte) error {
	_, err := p.send(http.MethodPut, p.base+"/v2/"+p.repo+"/manifests/"+ref, mediaType, body, http.StatusCreated)
	return err
}

func (p pusher) blob(b []byte) error {
	h, err := p.send(http.MethodPost, p.base+"/v2/"+p.repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	base, err := url.Parse(p.base)
	if err != nil {
		return err
	}
	where, err := base.Parse(h.Get("Location"))
	if err != nil {
		return err
	}
	query := where.Query()
	query.Set("digest", digestOf(b))
	where.RawQuery = query.Encode()
	_, err = p.send(http.MethodPut, where.String(), "application/octet-stream", b, http.StatusCreated)
	return err
}
