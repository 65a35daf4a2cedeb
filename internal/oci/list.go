package oci

// Listing: pages of tags, and for each tag what it names and when that was built. The API has no cheaper way.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// pageSize is how many tags are asked for at a time: enough to keep every connection busy, few enough that the first
// images are there soon.
const pageSize = 100

// attached tells whether signatures or attestations are kept under a tag, beside their image (cosign's, and the
// referrers tag schema); those are no images.
func attached(tag string) bool {
	digits, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(digits) >= 64 && strings.Trim(digits[:64], "0123456789abcdef") == ""
}

// List implements rollback.Lister. It takes one request for each page of 100 tags, one for each tag and one for each
// image (two for a multi-arch one), at most 16 at a time. Tags of the same image are joined within a page; an image
// whose tags are far apart comes up once for each page. CreatedAt is zero where the image does not say when it was
// built, and for the made-up dates of reproducible builds.
func (r *Registry) List(ctx context.Context, repository string) iter.Seq2[[]rollback.Image, error] {
	return func(yield func([]rollback.Image, error) bool) {
		if err := checkRepository(repository); err != nil {
			yield(nil, err)
			return
		}
		next := fmt.Sprintf("/v2/%s/tags/list?n=%d", repository, pageSize)
		visited := map[string]bool{}
		created := map[rollback.Digest]time.Time{}
		for next != "" {
			if visited[next] {
				yield(nil, broken(call{op: "GET tags " + repository}, "", errors.New("the pages of tags go round in a circle")))
				return
			}
			visited[next] = true
			tags, after, err := r.tags(ctx, repository, next)
			if err != nil {
				yield(nil, err)
				return
			}
			next = after
			images, err := r.describe(ctx, repository, tags, created)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(images) > 0 && !yield(images, nil) {
				return
			}
		}
	}
}

// tags reads one page.
func (r *Registry) tags(ctx context.Context, repository, page string) (tags []string, next string, err error) {
	c := call{op: "GET tags " + repository, method: http.MethodGet, path: page, scope: pull(repository)}
	a, err := r.do(ctx, c)
	if err != nil {
		return nil, "", err
	}
	if a.status != http.StatusOK {
		e := r.refusal(c, a)
		if e.Kind == rollback.NotFound {
			return nil, "", r.noRepository(repository, e)
		}
		return nil, "", e
	}
	tags, err = readTags(a.body)
	if err != nil {
		if r.foreign(a) {
			err = r.strange(a)
		}
		return nil, "", broken(c, status(a.status), err)
	}
	next, err = nextPage(r.scheme+"://"+r.registry.RegistryStr(), repository, page, a.header)
	if err != nil {
		return nil, "", broken(c, status(a.status), err)
	}
	return tags, next, nil
}

// readTags takes the tags out of a page, without those that are no images and those no registry would take back.
func readTags(body []byte) ([]string, error) {
	var doc struct {
		Name *string
		Tags []string
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("not a list of tags: %w", err)
	}
	if doc.Name == nil && doc.Tags == nil {
		return nil, errors.New("not a list of tags")
	}
	return slices.DeleteFunc(doc.Tags, func(t string) bool { return !rollback.ValidTag(t) || attached(t) }), nil
}

// nextPage reads the Link header (https://www.rfc-editor.org/rfc/rfc8288). The next page must be one of the same list
// on the same server, because our credentials go there. It returns a path with a query, "" at the end.
func nextPage(base, repository, page string, h http.Header) (string, error) {
	for _, line := range h.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			target, angled := strings.CutPrefix(target, "<")
			if !ok || !angled || !relNext(params) {
				continue
			}
			from, err := url.Parse(base + page)
			if err != nil {
				return "", err
			}
			to, err := from.Parse(target)
			if err != nil {
				return "", fmt.Errorf("the next page's address: %q", clip(target))
			}
			if to.Host != from.Host || to.Path != "/v2/"+repository+"/tags/list" {
				return "", fmt.Errorf("the next page of tags is said to be at %q", clip(to.Host+to.Path))
			}
			return to.Path + "?" + to.RawQuery, nil
		}
	}
	return "", nil
}

func relNext(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(key, "rel") && slices.Contains(strings.Fields(strings.ToLower(strings.Trim(value, `"`))), "next") {
			return true
		}
	}
	return false
}

// describe tells what the tags of one page name. created keeps build times over the pages.
func (r *Registry) describe(ctx context.Context, repository string, tags []string, created map[rollback.Digest]time.Time) ([]rollback.Image, error) {
	manifests := make([]*rollback.Manifest, len(tags))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, tag := range tags {
		g.Go(func() (err error) {
			manifests[i], err = r.fetch(gctx, repository, tag)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var images []rollback.Image
	at := map[rollback.Digest]int{}
	for i, m := range manifests {
		if m == nil { // deleted since the page was read
			continue
		}
		j, ok := at[m.Digest]
		if !ok {
			j = len(images)
			at[m.Digest] = j
			images = append(images, rollback.Image{Digest: m.Digest, MediaType: m.MediaType})
			manifests[j] = m // the first j are done with
		}
		images[j].Tags = append(images[j].Tags, tags[i])
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for j := range images {
		if t, ok := created[images[j].Digest]; ok {
			images[j].CreatedAt = t
			continue
		}
		g.Go(func() (err error) {
			images[j].CreatedAt, err = r.created(gctx, repository, *manifests[j])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, i := range images {
		created[i.Digest] = i.CreatedAt
	}
	return images, nil
}

// created is when the image was built; of a multi-arch image, when its first platform was.
func (r *Registry) created(ctx context.Context, repository string, m rollback.Manifest) (time.Time, error) {
	if m.Index() {
		first := firstPlatform(m.Bytes)
		if first == "" {
			return time.Time{}, nil
		}
		platform, err := r.fetch(ctx, repository, string(first))
		if err != nil || platform == nil || platform.Index() {
			return time.Time{}, err
		}
		m = *platform
	}
	refs, err := m.References()
	if err != nil || len(refs) == 0 {
		return time.Time{}, nil // an artifact that is no image has no date
	}
	c := call{op: "GET blob " + repository + "@" + string(refs[0]), method: http.MethodGet, scope: pull(repository),
		path: "/v2/" + repository + "/blobs/" + string(refs[0])}
	a, err := r.do(ctx, c)
	if err != nil {
		return time.Time{}, err
	}
	if a.status != http.StatusOK {
		e := r.refusal(c, a)
		if e.Kind == rollback.NotFound {
			return time.Time{}, nil // an image without its configuration cannot be pulled; that is found when it is chosen
		}
		return time.Time{}, e
	}
	if rollback.DigestOf(a.body) != refs[0] {
		err := fmt.Errorf("%d bytes that do not hash to %s", len(a.body), refs[0].Short())
		if r.foreign(a) {
			err = r.strange(a)
		}
		return time.Time{}, broken(c, status(a.status), err)
	}
	return buildTime(a.body), nil
}

// firstPlatform is the first entry of an index that is an image, passing over the attestations builders put beside
// them (https://docs.docker.com/build/metadata/attestations/attestation-storage/); "" if there is none.
func firstPlatform(index []byte) rollback.Digest {
	var doc struct {
		Manifests []struct {
			Digest   string
			Platform struct{ OS string }
		}
	}
	if json.Unmarshal(index, &doc) != nil {
		return ""
	}
	for _, m := range doc.Manifests {
		if d, err := rollback.ParseDigest(m.Digest); err == nil && m.Platform.OS != "unknown" {
			return d
		}
	}
	return ""
}

// madeUp is the end of the dates that reproducible builds stamp on images: 1970-01-01 (Bazel, ko, Jib) and 1980-01-01
// (Buildpacks).
var madeUp = time.Date(1981, 1, 1, 0, 0, 0, 0, time.UTC)

// buildTime reads an image configuration's date, zero if it has none worth the name.
func buildTime(config []byte) time.Time {
	var doc struct{ Created *time.Time }
	if json.Unmarshal(config, &doc) != nil || doc.Created == nil || doc.Created.Before(madeUp) {
		return time.Time{}
	}
	return doc.Created.UTC()
}
