package ecr_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/ecr"
	"github.com/rollback-tools/rollback/internal/fake"
	fakeecr "github.com/rollback-tools/rollback/internal/fake/ecr"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const account = "123456789012"

// environment guards the process's variables: the SDK reads them while a registry is made, and not again.
var environment sync.Mutex

func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

// world is one registry with one repository, payments, and the adapter on it.
type world struct {
	*fakeecr.Server
	http  *httptest.Server
	conns atomic.Int32
	reg   *ecr.Registry
}

// quick are settings with which failing takes no time.
func quick() ecr.Config {
	return ecr.Config{Account: account, Region: "eu-west-1", Attempts: 3, MaxBackoff: time.Millisecond, Timeout: 5 * time.Second}
}

func open(t *testing.T, c ecr.Config) *world {
	t.Helper()
	w := &world{Server: fakeecr.New(fakeecr.Options{Account: account, Region: "eu-west-1"})}
	w.Strict(t)
	w.CreateRepository("payments")
	w.http = httptest.NewUnstartedServer(w.Server)
	w.http.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			w.conns.Add(1)
		}
	}
	w.http.Start()
	t.Cleanup(func() {
		w.Close()
		w.http.Close()
	})
	w.reg = connect(t, w.Env(w.http.URL), c)
	return w
}

func connect(t *testing.T, env map[string]string, c ecr.Config) *ecr.Registry {
	t.Helper()
	environment.Lock()
	defer environment.Unlock()
	for k, v := range env {
		os.Setenv(k, v)
		defer os.Unsetenv(k)
	}
	reg, err := ecr.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// push makes an image; the content decides the digest.
func (w *world) push(t *testing.T, content string, tags ...string) rollback.Digest {
	t.Helper()
	p, err := w.Push("payments", fakeecr.PushOptions{Content: content, Tags: tags, Created: time.Unix(1700000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return rollback.Digest(p.Digest)
}

// manifest fetches one manifest that must be there.
func (w *world) manifest(t *testing.T, ref string) rollback.Manifest {
	t.Helper()
	list, err := w.reg.Manifests(t.Context(), "payments", ref)
	if err != nil || len(list) != 1 {
		t.Fatalf("Manifests(%s) = %v, %v", ref, list, err)
	}
	return list[0]
}

func digests[T any](list []T, digest func(T) rollback.Digest) []rollback.Digest {
	var out []rollback.Digest
	for _, t := range list {
		out = append(out, digest(t))
	}
	slices.Sort(out)
	return out
}

func imageDigest(i rollback.Image) rollback.Digest       { return i.Digest }
func manifestDigest(m rollback.Manifest) rollback.Digest { return m.Digest }

func TestRepository(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	if err := w.SetMutability("payments", fakeecr.ImmutableWithExclusion, "latest", "dev-*"); err != nil {
		t.Fatal(err)
	}
	if err := w.SetLifecyclePolicy("payments", `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`); err != nil {
		t.Fatal(err)
	}
	got, err := w.reg.Repository(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	want := rollback.Repository{
		Kind: "ecr", Host: account + ".dkr.ecr.eu-west-1.amazonaws.com", Name: "payments", Account: account, Region: "eu-west-1",
		Caller: "arn:aws:sts::123456789012:assumed-role/deployer/jenkins", CallerAccount: account,
		Mutability: rollback.Mutability{Immutable: true, Except: []string{"latest", "dev-*"}},
		Lifecycle:  []rollback.LifecycleRule{{Priority: 1, Tags: rollback.Untagged, OlderThan: 14 * 24 * time.Hour}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRepositoryMutability(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting string
		filters []string
		want    rollback.Mutability
	}{
		{fakeecr.Mutable, nil, rollback.Mutability{}},
		{fakeecr.Immutable, nil, rollback.Mutability{Immutable: true}},
		{fakeecr.MutableWithExclusion, []string{"v*"}, rollback.Mutability{Except: []string{"v*"}}},
		{fakeecr.ImmutableWithExclusion, []string{"latest"}, rollback.Mutability{Immutable: true, Except: []string{"latest"}}},
	} {
		t.Run(c.setting, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			if err := w.SetMutability("payments", c.setting, c.filters...); err != nil {
				t.Fatal(err)
			}
			got, err := w.reg.Repository(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got.Mutability); d != "" {
				t.Error(d)
			}
		})
	}
}

// What Repository cannot read beside the settings is named, and is no failure.
func TestRepositoryUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*world)
		want    []string
	}{
		"no right to the policy": {func(w *world) { w.Deny("ecr:GetLifecyclePolicy") },
			[]string{"lifecycle policy: no right to read it (ecr:GetLifecyclePolicy)"}},
		"no right to the identity": {func(w *world) { w.Deny("sts:GetCallerIdentity") },
			[]string{"caller identity: denied (AccessDenied)"}},
		"policy fails": {func(w *world) { w.Inject(fake.Fault{Op: "GetLifecyclePolicy", Status: 503}) },
			[]string{"lifecycle policy: server fault (503 Service Unavailable)"}},
		"policy is a page": {func(w *world) { w.Inject(fake.Fault{Op: "GetLifecyclePolicy", Status: 200, Body: fake.HTMLPage}) },
			[]string{"lifecycle policy: broken answer"}},
		"policy is empty": {func(w *world) { w.Inject(fake.Fault{Op: "GetLifecyclePolicy", Status: 200, Body: "{}"}) },
			[]string{"lifecycle policy: the answer holds none"}},
		"policy is no policy": {func(w *world) {
			_ = w.SetLifecyclePolicy("payments", `{"statements":["`+strings.Repeat("x", 100)+`"]}`)
		},
			[]string{"lifecycle policy: not a policy: it has no rules"}},
		"identity is a page": {func(w *world) { w.Inject(fake.Fault{Op: "GetCallerIdentity", Status: 200, Body: fake.HTMLPage}) },
			[]string{"caller identity: broken answer"}},
		"identity throttled": {func(w *world) {
			w.Inject(fake.Fault{Op: "GetCallerIdentity", Status: 429, Header: http.Header{"Retry-After": {"600"}}})
		}, []string{"caller identity: throttled (429 Too Many Requests)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			c.prepare(w)
			got, err := w.reg.Repository(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got.Unknown); d != "" {
				t.Error(d)
			}
			if got.Kind != "ecr" || len(got.Lifecycle) != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	one := w.push(t, "one", "1111111", "latest")
	two := w.push(t, "two", "2222222")
	old := w.push(t, "old", "3333333")
	at := time.Date(2026, 3, 1, 2, 3, 4, 5_000_000, time.UTC)
	for _, err := range []error{w.SetPushedAt("payments", string(one), at), w.SetStatus("payments", string(old), fakeecr.Archived)} {
		if err != nil {
			t.Fatal(err)
		}
	}

	got, err := w.reg.Images(t.Context(), "payments", "latest", string(one), "latest")
	if err != nil {
		t.Fatal(err)
	}
	want := []rollback.Image{{Digest: one, Tags: []string{"1111111", "latest"}, MediaType: rollback.OCIManifest, PushedAt: at}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := w.Count("*"); n != 1 {
		t.Errorf("%d calls where all images exist, want 1: %v", n, w.Requests())
	}
	got, err = w.reg.Images(t.Context(), "payments", "latest", "1111111", string(one))
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}

	got, err = w.reg.Images(t.Context(), "payments", "latest", "gone", "2222222", "3333333", string(rollback.DigestOf([]byte("gone"))))
	if err != nil {
		t.Fatal(err)
	}
	want3 := []rollback.Digest{one, two, old}
	slices.Sort(want3)
	if d := cmp.Diff(want3, digests(got, imageDigest)); d != "" {
		t.Error(d)
	}
	for _, i := range got {
		if want := map[bool]rollback.ImageStatus{true: rollback.Archived, false: rollback.Active}[i.Digest == old]; i.Status != want {
			t.Errorf("%s has status %q, want %q", i.Digest.Short(), i.Status, want)
		}
	}

	for _, refs := range [][]string{nil, {"gone"}, {"gone", "too"}} {
		if got, err := w.reg.Images(t.Context(), "payments", refs...); err != nil || len(got) != 0 {
			t.Errorf("Images(%v) = %v, %v", refs, got, err)
		}
	}
}

// AWS does not say whether a filter may be given with ids; both ways must work.
func TestImagesFilterRefused(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	d := w.push(t, "one", "latest")
	w.RefuseFilterWithIDs(true)
	got, err := w.reg.Images(t.Context(), "payments", "latest")
	if err != nil || len(got) != 1 || got[0].Digest != d {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestImagesVanishing(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	w.push(t, "one", "a")
	b := w.push(t, "two", "b")
	if err := w.Fail("DescribeImages", "ImageNotFoundException", 0); err != nil {
		t.Fatal(err)
	}
	_, err := w.reg.Images(t.Context(), "payments", "a", string(b))
	if rollback.KindOf(err) != rollback.Conflict || rollback.FixOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

// 250 images are three calls at once; those that are missing cost the batch they are in two more.
func TestBatches(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	var refs []string
	var want []rollback.Digest
	for i := range 250 {
		tag := string(rollback.DigestOf([]byte{byte(i)}).Hex()[:8])
		refs = append(refs, tag)
		want = append(want, w.push(t, tag, tag))
	}
	slices.Sort(want)
	images, err := w.reg.Images(t.Context(), "payments", refs...)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, digests(images, imageDigest)); d != "" {
		t.Error(d)
	}
	if n := w.Count("DescribeImages"); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	manifests, err := w.reg.Manifests(t.Context(), "payments", append(refs, "gone")...)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, digests(manifests, manifestDigest)); d != "" {
		t.Error(d)
	}
	if n := w.Count("BatchGetImage"); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	if _, err := w.reg.Images(t.Context(), "payments", append(refs, "gone")...); err != nil {
		t.Fatal(err)
	}
	if n := w.Count("*"); n != 3+3+3+2 {
		t.Errorf("%d calls in all, want 11", n)
	}
}

func TestManifests(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	for _, docker := range []bool{false, true} {
		for _, platforms := range [][]string{nil, {"linux/amd64", "linux/arm64"}} {
			p, err := w.Push("payments", fakeecr.PushOptions{Content: "x", Docker: docker, Platforms: platforms, Tags: []string{"abcdef1"}})
			if err != nil {
				t.Fatal(err)
			}
			body, mediaType, err := w.Manifest("payments", p.Digest)
			if err != nil {
				t.Fatal(err)
			}
			want := []rollback.Manifest{{Digest: rollback.Digest(p.Digest), MediaType: mediaType, Bytes: body}}
			got, err := w.reg.Manifests(t.Context(), "payments", "abcdef1", p.Digest, "gone")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			refs, err := got[0].References()
			if err != nil || len(refs) != max(1, len(platforms)) {
				t.Errorf("references %v, %v", refs, err)
			}
		}
	}
	if err := w.SetStatus("payments", w.Tags("payments")["abcdef1"], fakeecr.Archived); err != nil {
		t.Fatal(err)
	}
	if got, err := w.reg.Manifests(t.Context(), "payments", "abcdef1"); err != nil || len(got) != 0 {
		t.Errorf("archived: got %v, %v", got, err)
	}
}

// Answers that are well-formed but not true.
func TestLies(t *testing.T) {
	t.Parallel()
	digest := string(rollback.DigestOf([]byte("{}")))
	for name, c := range map[string]struct{ op, body string }{
		"other bytes":      {"BatchGetImage", `{"images":[{"imageId":{"imageDigest":"` + digest + `","imageTag":"latest"},"imageManifest":"{ }","imageManifestMediaType":"` + rollback.OCIManifest + `"}]}`},
		"no id":            {"BatchGetImage", `{"images":[{"imageManifest":"{}"}]}`},
		"other media type": {"BatchGetImage", `{"images":[{"imageId":{"imageDigest":"` + digest + `","imageTag":"latest"},"imageManifest":"{}","imageManifestMediaType":"text/html"}]}`},
		"other image":      {"BatchGetImage", `{"images":[{"imageId":{"imageDigest":"` + digest + `","imageTag":"other"},"imageManifest":"{}","imageManifestMediaType":"` + rollback.OCIManifest + `"}]}`},
		"other detail":     {"DescribeImages", `{"imageDetails":[{"imageDigest":"` + digest + `"}]}`},
		"bad digest":       {"DescribeImages", `{"imageDetails":[{"imageDigest":"sha256:1"}]}`},
		"no image":         {"DescribeImages", `{"imageDetails":[]}`},
		"other repository": {"DescribeRepositories", `{"repositories":[{"repositoryName":"web","imageTagMutability":"MUTABLE"}]}`},
		"no digest":        {"PutImage", `{"image":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			w.push(t, "one", "latest")
			m := w.manifest(t, "latest")
			w.Inject(fake.Fault{Op: c.op, Status: 200, Body: c.body})
			err := map[string]func() error{
				"BatchGetImage": func() error { _, err := w.reg.Manifests(t.Context(), "payments", "latest"); return err },
				"DescribeImages": func() error {
					_, err := w.reg.Images(t.Context(), "payments", "latest")
					return err
				},
				"DescribeRepositories": func() error { _, err := w.reg.Repository(t.Context(), "payments"); return err },
				"PutImage":             func() error { _, err := w.reg.Tag(t.Context(), "payments", m, "other"); return err },
			}[c.op]()
			if rollback.KindOf(err) != rollback.Broken {
				t.Errorf("got %v, want a broken answer", err)
			}
		})
	}
	t.Run("failed for another reason", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		w.Inject(fake.Fault{Op: "BatchGetImage", Status: 200, Body: `{"failures":[{"imageId":{"imageTag":"latest"},"failureCode":"KmsError","failureReason":"key is disabled"}]}`})
		_, err := w.reg.Manifests(t.Context(), "payments", "latest")
		if rollback.KindOf(err) != rollback.Rejected || !strings.Contains(err.Error(), "key is disabled") {
			t.Errorf("got %v", err)
		}
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	want := []rollback.Digest{}
	for i := range 2500 {
		want = append(want, w.push(t, string(rune('a'+i%26))+string(rune(i)), "c"+string(rollback.DigestOf([]byte{byte(i), byte(i >> 8)}).Hex()[:10])))
	}
	if err := w.SetStatus("payments", string(want[7]), fakeecr.Archived); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	var got []rollback.Digest
	for page, err := range w.reg.List(t.Context(), "payments") {
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page {
			got = append(got, i.Digest)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := w.Count("DescribeImages"); n != 3 {
		t.Errorf("%d calls for 2500 images, want 3", n)
	}
	w.Reset()
	for range w.reg.List(t.Context(), "payments") {
		break
	}
	if n := w.Count("*"); n != 1 {
		t.Errorf("%d calls when the caller stops after a page, want 1", n)
	}
}

func TestListForEver(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	w.Inject(fake.Fault{Op: "DescribeImages", Status: 200, Body: `{"imageDetails":[],"nextToken":"again"}`})
	var last error
	for _, err := range w.reg.List(t.Context(), "payments") {
		last = err
	}
	if rollback.KindOf(last) != rollback.Broken {
		t.Errorf("got %v", last)
	}
}

// gone is a digest that no image has.
var gone = string(rollback.DigestOf([]byte("gone")))

// A few tags are one wave, also when some are missing: every call waits here until all have come.
func TestTagsInOneWave(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	one := w.push(t, "one", "1111111", "latest")
	refs := []string{"latest", "1111111222222222222222222222222222222222", "1111111", "11111112", string(one)}
	var all sync.WaitGroup
	all.Add(len(refs))
	w.Inject(fake.Fault{Op: "DescribeImages", Times: len(refs), Hold: func(*http.Request) { all.Done(); all.Wait() }})
	got, err := w.reg.Images(t.Context(), "payments", refs...)
	if err != nil || len(got) != 1 || got[0].Digest != one {
		t.Errorf("got %v, %v", got, err)
	}
	if n := w.Count("*"); n != len(refs) {
		t.Errorf("%d calls, want %d", n, len(refs))
	}
}

// The survey's calls must be one wave: every one of them waits here until all have come.
func TestOneWave(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	w.push(t, "one", "latest")
	ops := []string{"DescribeRepositories", "GetLifecyclePolicy", "GetCallerIdentity", "DescribeImages", "BatchGetImage"}
	var all sync.WaitGroup
	all.Add(len(ops))
	for _, op := range ops {
		w.Inject(fake.Fault{Op: op, Times: 1, Hold: func(*http.Request) { all.Done(); all.Wait() }})
	}
	survey := func() {
		var wave sync.WaitGroup
		errs := make([]error, 3)
		wave.Go(func() { _, errs[0] = w.reg.Repository(t.Context(), "payments") })
		wave.Go(func() { _, errs[1] = w.reg.Images(t.Context(), "payments", "latest") })
		wave.Go(func() { _, errs[2] = w.reg.Manifests(t.Context(), "payments", "latest") })
		wave.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
	}
	survey()
	if n := w.Count("*"); n != len(ops) {
		t.Errorf("%d calls, want %d: a call was repeated because it waited for another", n, len(ops))
	}
	survey()
	survey()
	if n := w.conns.Load(); n != int32(len(ops)) {
		t.Errorf("%d connections, want %d: they are not used again", n, len(ops))
	}
}

// The rights that `rollback permissions` prints are the ones used.
func TestActions(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	w.push(t, "one", "1111111", "latest")
	w.push(t, "two", "2222222")
	m := w.manifest(t, "2222222")
	calls := map[string]func(){
		"Repository": func() { _, _ = w.reg.Repository(t.Context(), "payments") },
		"Images":     func() { _, _ = w.reg.Images(t.Context(), "payments", "latest", gone) },
		"Manifests":  func() { _, _ = w.reg.Manifests(t.Context(), "payments", "latest") },
		"List": func() {
			for range w.reg.List(t.Context(), "payments") {
			}
		},
		"Tag": func() {
			w.Inject(fake.Fault{Op: "PutImage", Status: 500, Times: 1})
			_, _ = w.reg.Tag(t.Context(), "payments", m, "latest")
			_ = w.SetMutability("payments", fakeecr.Immutable)
			_, _ = w.reg.Tag(t.Context(), "payments", m, "1111111")
		},
	}
	for method, call := range calls {
		w.Reset()
		call()
		used := map[string]bool{}
		for _, r := range w.Requests() {
			if r.Op != "GetCallerIdentity" {
				used["ecr:"+r.Op] = true
			}
		}
		listed := map[string]bool{}
		for _, a := range ecr.Actions {
			if a.Method == method {
				listed[a.Name] = true
			}
		}
		if d := cmp.Diff(listed, used); d != "" {
			t.Errorf("%s: rights listed and used differ:\n%s", method, d)
		}
	}
	for _, a := range ecr.Actions {
		if calls[a.Method] == nil {
			t.Errorf("Actions names a method %s", a.Method)
		}
	}
}

// Every right that is not optional stops its method when it is missing, and the error names it with the resource.
func TestDenied(t *testing.T) {
	t.Parallel()
	for _, a := range ecr.Actions {
		if a.Optional {
			continue
		}
		t.Run(a.Method+" "+a.Name, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			w.push(t, "one", "latest")
			m := w.manifest(t, "latest")
			w.Deny(a.Name)
			w.Reset()
			err := methods(w, m)[a.Method](t.Context(), "latest", gone)
			want := "allow " + a.Name + " on arn:aws:ecr:eu-west-1:123456789012:repository/payments"
			if rollback.KindOf(err) != rollback.Denied || !strings.HasPrefix(rollback.FixOf(err), want) {
				t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
			}
			if op := strings.TrimPrefix(a.Name, "ecr:"); w.Count(op) != 1 {
				t.Errorf("%s asked %d times: a refusal is not repeated", op, w.Count(op))
			}
		})
	}
}

// methods are the registry's methods in one form.
func methods(w *world, m rollback.Manifest) map[string]func(ctx context.Context, refs ...string) error {
	return map[string]func(context.Context, ...string) error{
		"Repository": func(ctx context.Context, _ ...string) error { _, err := w.reg.Repository(ctx, "payments"); return err },
		"Images": func(ctx context.Context, refs ...string) error {
			_, err := w.reg.Images(ctx, "payments", refs...)
			return err
		},
		"Manifests": func(ctx context.Context, refs ...string) error {
			_, err := w.reg.Manifests(ctx, "payments", refs...)
			return err
		},
		"List": func(ctx context.Context, _ ...string) error {
			for _, err := range w.reg.List(ctx, "payments") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Tag": func(ctx context.Context, _ ...string) error {
			_, err := w.reg.Tag(ctx, "payments", m, "new")
			return err
		},
	}
}

// operation is the call each method stands or falls with.
var operation = map[string]string{
	"Repository": "DescribeRepositories", "Images": "DescribeImages", "Manifests": "BatchGetImage", "List": "DescribeImages", "Tag": "PutImage",
}

// Every fault on every method.
func TestFaults(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a signed request followed a redirect")
	}))
	t.Cleanup(elsewhere.Close)
	fail := func(code string) func(*testing.T, *world, string) {
		return func(t *testing.T, w *world, op string) {
			if err := w.Fail(op, code, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	inject := func(f fake.Fault) func(*testing.T, *world, string) {
		return func(_ *testing.T, w *world, op string) {
			g := f // the subtests share f
			g.Op = op
			w.Inject(g)
		}
	}
	for name, c := range map[string]struct {
		inject func(*testing.T, *world, string)
		want   rollback.CallKind
		reads  int // how often a read is tried; a write is told in TestLost
		check  func(*testing.T, *rollback.CallError)
	}{
		"401":      {inject(fake.Fault{Status: 401, Body: "{}"}), rollback.Expired, 1, fixed},
		"403":      {inject(fake.Fault{Status: 403, Body: "{}"}), rollback.Denied, 1, fixed},
		"404":      {inject(fake.Fault{Status: 404, Body: "{}"}), rollback.NotFound, 1, nil},
		"409":      {inject(fake.Fault{Status: 409, Body: "{}"}), rollback.Conflict, 1, nil},
		"429":      {inject(fake.Fault{Status: 429, Body: "{}"}), rollback.Throttled, 3, nil},
		"429 HTML": {inject(fake.Fault{Status: 429, Body: fake.HTMLPage}), rollback.Throttled, 3, nil},
		"429 long": {inject(fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}), rollback.Throttled, 1, func(t *testing.T, e *rollback.CallError) {
			if e.RetryAfter != time.Hour {
				t.Errorf("retry after %v, want 1h", e.RetryAfter)
			}
		}},
		"500":                       {inject(fake.Fault{Status: 500}), rollback.ServerFault, 3, nil},
		"503":                       {inject(fake.Fault{Status: 503, Body: "{}"}), rollback.ServerFault, 3, nil},
		"502 HTML":                  {inject(fake.Fault{Status: 502, Body: fake.HTMLPage}), rollback.ServerFault, 3, nil},
		"200 HTML":                  {inject(fake.Fault{Status: 200, Body: fake.HTMLPage}), rollback.Broken, 1, fixed},
		"403 HTML":                  {inject(fake.Fault{Status: 403, Body: fake.HTMLPage}), rollback.Broken, 1, fixed},
		"200 empty":                 {inject(fake.Fault{Status: 200}), rollback.Broken, 1, fixed},
		"200 {}":                    {inject(fake.Fault{Status: 200, Body: "{}"}), rollback.Broken, 1, fixed},
		"cut":                       {inject(fake.Fault{Status: 200, Body: `{"images":[`, Cut: true}), rollback.Broken, 3, nil},
		"dropped":                   {inject(fake.Fault{Drop: true}), rollback.Unreachable, 3, fixed},
		"redirect":                  {inject(fake.Fault{Status: 307, Header: http.Header{"Location": {elsewhere.URL}}}), rollback.Broken, 1, fixed},
		"ThrottlingException":       {fail("ThrottlingException"), rollback.Throttled, 3, nil},
		"TooManyRequestsException":  {fail("TooManyRequestsException"), rollback.Throttled, 3, nil},
		"ServerException":           {fail("ServerException"), rollback.ServerFault, 3, nil},
		"RepositoryNotFound":        {fail("RepositoryNotFoundException"), rollback.NotFound, 1, fixed},
		"ExpiredToken":              {fail("ExpiredTokenException"), rollback.Expired, 1, fixed},
		"UnrecognizedClient":        {fail("UnrecognizedClientException"), rollback.Expired, 1, fixed},
		"InvalidSignatureException": {fail("InvalidSignatureException"), rollback.Expired, 1, fixed},
		"AccessDenied":              {fail("AccessDeniedException"), rollback.Denied, 1, fixed},
	} {
		for method, op := range operation {
			t.Run(name+" on "+method, func(t *testing.T) {
				t.Parallel()
				w := open(t, quick())
				w.push(t, "one", "latest")
				m := w.manifest(t, "latest")
				c.inject(t, w, op)
				w.Reset()
				err := methods(w, m)[method](t.Context(), "latest")
				var e *rollback.CallError
				if !errors.As(err, &e) || e.Kind != c.want {
					t.Fatalf("got %v, want kind %s", err, c.want)
				}
				if e.System != "ecr" || !strings.HasPrefix(e.Op, op+" payments") {
					t.Errorf("system %q, op %q", e.System, e.Op)
				}
				if c.check != nil {
					c.check(t, e)
				}
				if n := w.Count(op); method != "Tag" && n != c.reads {
					t.Errorf("tried %d times, want %d", n, c.reads)
				}
				if strings.Contains(err.Error(), fakeecr.SecretKey) {
					t.Error("the error tells the secret")
				}
			})
		}
	}
}

func fixed(t *testing.T, e *rollback.CallError) {
	if e.Fix == "" {
		t.Errorf("%v comes without a remedy", e)
	}
}

// A fault that passes does not surface.
func TestFaultsPass(t *testing.T) {
	t.Parallel()
	for method, op := range operation {
		for name, f := range map[string]fake.Fault{
			"500": {Status: 500}, "429": {Status: 429, Header: http.Header{"Retry-After": {"0"}}}, "dropped": {Drop: true},
			"cut": {Cut: true, Body: "{"}, "ThrottlingException": {Status: 400, Body: `{"__type":"ThrottlingException"}`},
		} {
			t.Run(name+" on "+method, func(t *testing.T) {
				t.Parallel()
				w := open(t, quick())
				w.push(t, "one", "latest")
				m := w.manifest(t, "latest")
				f.Op, f.Times = op, 2
				w.Inject(f)
				if err := methods(w, m)[method](t.Context(), "latest"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestHangAndRefused(t *testing.T) {
	t.Parallel()
	for method, op := range operation {
		t.Run("hang on "+method, func(t *testing.T) {
			t.Parallel()
			c := quick()
			c.Timeout, c.Attempts = 200*time.Millisecond, 2
			w := open(t, c)
			w.push(t, "one", "latest")
			m := rollback.Manifest{Digest: rollback.DigestOf([]byte("{}")), MediaType: rollback.OCIManifest, Bytes: []byte("{}")}
			w.Inject(fake.Fault{Op: op, Hang: true})
			err := methods(w, m)[method](t.Context(), "latest")
			if rollback.KindOf(err) != rollback.Unreachable || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		t.Run("refused on "+method, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			w.http.Close()
			m := rollback.Manifest{Digest: rollback.DigestOf([]byte("{}")), MediaType: rollback.OCIManifest, Bytes: []byte("{}")}
			err := methods(w, m)[method](t.Context(), "latest")
			var e *rollback.CallError
			if !errors.As(err, &e) || e.Kind != rollback.Unreachable || e.Maybe || e.Fix == "" {
				t.Errorf("got %#v", err)
			}
		})
		t.Run("refused on "+method+", and told to stop", func(t *testing.T) { // between two attempts: the last one says more
			t.Parallel()
			c := quick()
			c.Attempts, c.MaxBackoff = 1000, time.Hour
			w := open(t, c)
			w.http.Close()
			m := rollback.Manifest{Digest: rollback.DigestOf([]byte("{}")), MediaType: rollback.OCIManifest, Bytes: []byte("{}")}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			err := methods(w, m)[method](ctx, "latest")
			if rollback.KindOf(err) != rollback.Unreachable || errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		t.Run("cancelled on "+method, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			w.push(t, "one", "latest")
			m := w.manifest(t, "latest")
			ctx, cancel := context.WithCancel(t.Context())
			w.Inject(fake.Fault{Op: op, Drop: true, Hold: func(*http.Request) { cancel() }})
			err := methods(w, m)[method](ctx, "latest")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhoWeAre(t *testing.T) {
	t.Parallel()
	const other = "999999999999"
	t.Run("another account, configured", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		w.SetCaller("arn:aws:sts::" + other + ":assumed-role/deployer/jenkins")
		got, err := w.reg.Repository(t.Context(), "payments")
		if err != nil || got.CallerAccount != other || got.Account != account {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("wrong account configured", func(t *testing.T) {
		t.Parallel()
		c := quick()
		c.Account = other
		w := open(t, c)
		_, err := w.reg.Repository(t.Context(), "payments")
		if rollback.KindOf(err) != rollback.NotFound || !strings.Contains(err.Error(), other) || !strings.Contains(rollback.FixOf(err), "registry.account") {
			t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		w.Expire(true)
		_, err := w.reg.Repository(t.Context(), "payments")
		if rollback.KindOf(err) != rollback.Expired || w.Count("DescribeRepositories") != 1 {
			t.Errorf("got %v", err)
		}
		w.Expire(false)
		if _, err := w.reg.Repository(t.Context(), "payments"); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		env := w.Env(w.http.URL)
		env["AWS_SECRET_ACCESS_KEY"] = "wrong"
		_, err := connect(t, env, quick()).Images(t.Context(), "payments", "latest")
		if rollback.KindOf(err) != rollback.Expired || !strings.Contains(rollback.FixOf(err), "clock") {
			t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
		}
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		env := w.Env(w.http.URL)
		maps.DeleteFunc(env, func(k, _ string) bool { return strings.Contains(k, "KEY") })
		_, err := connect(t, env, quick()).Tag(t.Context(), "payments", rollback.Manifest{Digest: rollback.DigestOf(nil)}, "latest")
		if rollback.KindOf(err) != rollback.Expired || !strings.HasPrefix(rollback.FixOf(err), "give AWS credentials") || w.Count("*") != 0 {
			t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
		}
	})
	t.Run("role", func(t *testing.T) {
		t.Parallel()
		w := open(t, quick())
		w.AddRole("arn:aws:iam::123456789012:role/rollback", "acme")
		c := quick()
		c.RoleARN, c.ExternalID = "arn:aws:iam::123456789012:role/rollback", "acme"
		got, err := connect(t, w.Env(w.http.URL), c).Repository(t.Context(), "payments")
		if err != nil || got.Caller != "arn:aws:sts::123456789012:assumed-role/rollback/rollback" {
			t.Errorf("got %+v, %v", got, err)
		}
		c.ExternalID = "other"
		_, err = connect(t, w.Env(w.http.URL), c).Repository(t.Context(), "payments")
		if rollback.KindOf(err) != rollback.Denied || !strings.Contains(rollback.FixOf(err), "assume the role") || !strings.Contains(err.Error(), c.RoleARN) {
			t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	environment.Lock()
	defer environment.Unlock()
	for _, c := range []ecr.Config{{Region: "eu-west-1"}, {Account: "12", Region: "eu-west-1"}, {Account: account}, {Account: account, Region: "eu-west-1", Profile: "none"}} {
		if _, err := ecr.New(t.Context(), c); rollback.KindOf(err) != rollback.Rejected || rollback.FixOf(err) == "" {
			t.Errorf("New(%+v): %v", c, err)
		}
	}
	for region, want := range map[string]string{
		"eu-west-1":  account + ".dkr.ecr.eu-west-1.amazonaws.com",
		"cn-north-1": account + ".dkr.ecr.cn-north-1.amazonaws.com.cn",
	} {
		if got := ecr.Host(account, region); got != want {
			t.Errorf("Host(%s) = %s", region, got)
		}
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	w := open(t, quick())
	m := rollback.Manifest{Digest: rollback.DigestOf([]byte("{}")), Bytes: []byte("{}")}
	for name, call := range map[string]func() error{
		"Repository":        func() error { _, err := w.reg.Repository(t.Context(), "../x"); return err },
		"Images repository": func() error { _, err := w.reg.Images(t.Context(), "A", "latest"); return err },
		"Images tag":        func() error { _, err := w.reg.Images(t.Context(), "payments", "a b"); return err },
		"Images digest":     func() error { _, err := w.reg.Images(t.Context(), "payments", "sha256:12"); return err },
		"Manifests":         func() error { _, err := w.reg.Manifests(t.Context(), "", "latest"); return err },
		"Manifests tag":     func() error { _, err := w.reg.Manifests(t.Context(), "payments", ""); return err },
		"Tag repository":    func() error { _, err := w.reg.Tag(t.Context(), "x/", m, "latest"); return err },
		"Tag tag":           func() error { _, err := w.reg.Tag(t.Context(), "payments", m, "-x"); return err },
		"Tag with other bytes": func() error {
			_, err := w.reg.Tag(t.Context(), "payments", rollback.Manifest{Digest: m.Digest, Bytes: []byte("{ }")}, "latest")
			return err
		},
		"List": func() error {
			for _, err := range w.reg.List(t.Context(), "pay ments") {
				return err
			}
			return nil
		},
	} {
		if err := call(); rollback.KindOf(err) != rollback.Rejected {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := w.Count("*"); n != 0 {
		t.Errorf("%d calls for names that no registry takes", n)
	}
}
