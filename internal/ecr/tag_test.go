package ecr_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	fakeecr "github.com/rollback-tools/rollback/internal/fake/ecr"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestTag(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]fakeecr.PushOptions{
		"single":       {Content: "old", Tags: []string{"1111111"}},
		"docker":       {Content: "old", Tags: []string{"1111111"}, Docker: true},
		"multi-arch":   {Content: "old", Tags: []string{"1111111"}, Platforms: []string{"linux/amd64", "linux/arm64"}},
		"docker multi": {Content: "old", Tags: []string{"1111111"}, Platforms: []string{"linux/amd64", "linux/arm64"}, Docker: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			old, err := w.Push("payments", o)
			if err != nil {
				t.Fatal(err)
			}
			bad := w.push(t, "bad", "latest")
			before := w.Images("payments")
			m := w.manifest(t, "1111111")
			w.Reset()
			already, err := w.reg.Tag(t.Context(), "payments", m, "latest")
			if err != nil || already {
				t.Fatalf("Tag = %v, %v", already, err)
			}
			if n := w.Count("*"); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
			if got := w.Tags("payments"); got["latest"] != old.Digest || got["1111111"] != old.Digest {
				t.Errorf("tags are %v", got)
			}
			if after := w.Images("payments"); strings.Join(after, " ") != strings.Join(before, " ") {
				t.Errorf("a retag made or lost an image: %v, then %v", before, after)
			}
			if images, err := w.reg.Images(t.Context(), "payments", string(bad)); err != nil || len(images) != 1 || len(images[0].Tags) != 0 {
				t.Errorf("the image before is %v, %v; want it untagged", images, err)
			}
			if already, err = w.reg.Tag(t.Context(), "payments", m, "latest"); err != nil || !already {
				t.Errorf("again: Tag = %v, %v", already, err)
			}
		})
	}
}

func TestTagImmutable(t *testing.T) {
	t.Parallel()
	const command = "aws ecr put-image-tag-mutability --region eu-west-1 --registry-id 123456789012 --repository-name payments --image-tag-mutability "
	for _, c := range []struct {
		setting string
		filters []string
		deny    string
		fix     string // what the remedy holds; "" when the tag may move
	}{
		{fakeecr.Mutable, nil, "", ""},
		{fakeecr.ImmutableWithExclusion, []string{"late*"}, "", ""},
		{fakeecr.MutableWithExclusion, []string{"v*"}, "", ""},
		{fakeecr.Immutable, nil, "",
			command + "IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=latest' (or"},
		{fakeecr.ImmutableWithExclusion, []string{"dev-*"}, "",
			command + "IMMUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=latest' 'filterType=WILDCARD,filter=dev-*' (or"},
		{fakeecr.MutableWithExclusion, []string{"late*", "v*"}, "",
			command + "MUTABLE_WITH_EXCLUSION --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=v*' (or"},
		{fakeecr.MutableWithExclusion, []string{"*"}, "", command + "MUTABLE (or"},
		{fakeecr.Immutable, nil, "ecr:DescribeRepositories", `add the exclusion filter "latest" to the tag immutability of payments`},
	} {
		t.Run(c.setting+strings.Join(c.filters, ","), func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			old := w.push(t, "old", "1111111")
			bad := w.push(t, "bad", "latest")
			if err := w.SetMutability("payments", c.setting, c.filters...); err != nil {
				t.Fatal(err)
			}
			w.Deny(c.deny)
			_, err := w.reg.Tag(t.Context(), "payments", w.manifest(t, "1111111"), "latest")
			want := bad
			if c.fix == "" {
				want = old
				if err != nil {
					t.Errorf("got %v", err)
				}
			} else if rollback.KindOf(err) != rollback.Immutable || !strings.Contains(rollback.FixOf(err), c.fix) {
				t.Errorf("got %v, fix %q, want %q", err, rollback.FixOf(err), c.fix)
			}
			if got := w.Tags("payments")["latest"]; got != string(want) {
				t.Errorf("latest is %s", got)
			}
		})
	}
}

// Every error that the service model declares for PutImage.
func TestTagDeclaredErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]rollback.CallKind{
		"InvalidParameterException": rollback.Rejected, "RepositoryNotFoundException": rollback.NotFound,
		"LayersNotFoundException": rollback.NotFound, "ReferencedImagesNotFoundException": rollback.NotFound,
		"LimitExceededException": rollback.Rejected, "ImageTagAlreadyExistsException": rollback.Immutable,
		"ImageDigestDoesNotMatchException": rollback.Rejected, "KmsException": rollback.Rejected, "ServerException": rollback.ServerFault,
		"ImageAlreadyExistsException": "",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			w.push(t, "old", "1111111")
			m := w.manifest(t, "1111111")
			if err := w.Fail("PutImage", code, 0); err != nil {
				t.Fatal(err)
			}
			already, err := w.reg.Tag(t.Context(), "payments", m, "latest")
			var e *rollback.CallError
			if errors.As(err, &e); rollback.KindOf(err) != want || already != (want == "") {
				t.Errorf("Tag = %v, %v, want kind %q", already, err, want)
			}
			if e != nil && (e.Code != code || e.Maybe) {
				t.Errorf("got %#v", e)
			}
		})
	}
}

// A PutImage whose answer is lost.
func TestTagLost(t *testing.T) {
	t.Parallel()
	always := func(op string) fake.Fault { return fake.Fault{Op: op, Drop: true} }
	for name, c := range map[string]struct {
		faults []fake.Fault
		err    rollback.CallKind
		maybe  bool
		puts   int
		moved  bool
	}{
		"done, connection lost":     {[]fake.Fault{{Op: "PutImage", Drop: true, After: true, Times: 1}}, "", false, 1, true},
		"done, cut":                 {[]fake.Fault{{Op: "PutImage", Cut: true, Body: "{", After: true, Times: 1}}, "", false, 1, true},
		"done, 500":                 {[]fake.Fault{{Op: "PutImage", Status: 500, After: true, Times: 1}}, "", false, 1, true},
		"done, page":                {[]fake.Fault{{Op: "PutImage", Status: 200, Body: fake.HTMLPage, After: true, Times: 1}}, "", false, 1, true},
		"done, empty":               {[]fake.Fault{{Op: "PutImage", Status: 200, Body: "{}", After: true, Times: 1}}, "", false, 1, true},
		"not done, once":            {[]fake.Fault{{Op: "PutImage", Drop: true, Times: 1}}, "", false, 2, true},
		"not done, twice":           {[]fake.Fault{{Op: "PutImage", Status: 502, Body: fake.HTMLPage, Times: 2}}, "", false, 3, true},
		"never done":                {[]fake.Fault{always("PutImage")}, rollback.Unreachable, false, 3, false},
		"throttled, then done":      {[]fake.Fault{{Op: "PutImage", Status: 429, Times: 2}}, "", false, 3, true},
		"throttled":                 {[]fake.Fault{{Op: "PutImage", Status: 429}}, rollback.Throttled, false, 3, false},
		"done, and nobody can look": {[]fake.Fault{{Op: "PutImage", Drop: true, After: true}, always("DescribeImages")}, rollback.Unreachable, true, 3, true},
		"done, looked too late":     {[]fake.Fault{{Op: "PutImage", Drop: true, After: true, Times: 1}, always("DescribeImages")}, "", false, 2, true},
		"nobody knows":              {[]fake.Fault{always("PutImage"), always("DescribeImages")}, rollback.Unreachable, true, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, quick())
			old := w.push(t, "old", "1111111")
			w.push(t, "bad", "latest")
			m := w.manifest(t, "1111111")
			for _, f := range c.faults {
				w.Inject(f)
			}
			already, err := w.reg.Tag(t.Context(), "payments", m, "latest")
			var e *rollback.CallError
			errors.As(err, &e)
			if rollback.KindOf(err) != c.err || already || e != nil && e.Maybe != c.maybe {
				t.Errorf("Tag = %v, %#v", already, err)
			}
			if n := w.Count("PutImage"); n != c.puts {
				t.Errorf("PutImage asked %d times, want %d", n, c.puts)
			}
			if moved := w.Tags("payments")["latest"] == string(old); moved != c.moved {
				t.Errorf("moved: %v", moved)
			}
		})
	}
}

// A PutImage that was given up can still be done when nobody looks any more.
func TestTagDoneTooLate(t *testing.T) {
	t.Parallel()
	c := quick()
	c.Timeout = 100 * time.Millisecond
	w := open(t, c)
	old := w.push(t, "old", "1111111")
	w.push(t, "bad", "latest")
	m := w.manifest(t, "1111111")
	given := make(chan struct{})
	w.Inject(fake.Fault{Op: "PutImage", After: true, Hold: func(*http.Request) { <-given }})
	_, err := w.reg.Tag(t.Context(), "payments", m, "latest")
	close(given)
	var e *rollback.CallError
	if !errors.As(err, &e) || e.Kind != rollback.Unreachable || !e.Maybe {
		t.Errorf("Tag = %#v", err)
	}
	w.http.Close() // when all that was asked for is done
	if w.Tags("payments")["latest"] != string(old) {
		t.Error("it was not done")
	}
}

// Stopped while PutImage is under way: it still looks, once, and tells the truth.
func TestTagStopped(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		w := open(t, quick())
		w.push(t, "old", "1111111")
		m := w.manifest(t, "1111111")
		ctx, cancel := context.WithCancel(t.Context())
		w.Inject(fake.Fault{Op: "PutImage", Drop: true, After: done, Hold: func(r *http.Request) {
			body, err := io.ReadAll(r.Body) // before the connection goes
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			cancel()
		}})
		already, err := w.reg.Tag(ctx, "payments", m, "latest")
		var e *rollback.CallError
		if errors.As(err, &e); done && (err != nil || already) || !done && (!errors.Is(err, context.Canceled) || e.Maybe) {
			t.Errorf("done %v: Tag = %v, %#v", done, already, err)
		}
		if puts, looks := w.Count("PutImage"), w.Count("DescribeImages"); puts != 1 || looks != 1 {
			t.Errorf("done %v: %d times PutImage and %d looks, want one each", done, puts, looks)
		}
	}
}
