package oci

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestParseChallenges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		want []challenge
	}{
		{"", nil},
		{"Negotiate", []challenge{{"negotiate", map[string]string{}}}},
		{`Basic realm="Sonatype Nexus, \"prod\""`, []challenge{{"basic", map[string]string{"realm": `Sonatype Nexus, "prod"`}}}},
		{`Bearer realm="https://auth.example.com/token",service="r.example.com",scope="repository:payments:pull,push"`,
			[]challenge{{"bearer", map[string]string{"realm": "https://auth.example.com/token", "service": "r.example.com", "scope": "repository:payments:pull,push"}}}},
		{`BEARER  Realm = "a" , service=b`, []challenge{{"bearer", map[string]string{"realm": "a", "service": "b"}}}},
		{`Negotiate, Basic realm="x", Bearer realm="y"`, []challenge{
			{"negotiate", map[string]string{}}, {"basic", map[string]string{"realm": "x"}}, {"bearer", map[string]string{"realm": "y"}}}},
		{`Bearer realm="open`, []challenge{{"bearer", map[string]string{}}}},
		{`="x"`, nil},
	} {
		if got := parseChallenges(c.line); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, want %+v", c.line, got, c.want)
		}
	}
	h := http.Header{"Www-Authenticate": {`Basic realm="x"`, `Bearer realm="y"`}}
	if got, ok := challengeOf(h); !ok || got.scheme != "bearer" {
		t.Errorf("of two headers: %+v", got)
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://auth.example.com/token",service="r",scope="repository:payments:pull"`)
	f.Add(`Negotiate, Basic realm="a \" b"`)
	f.Add(`Bearer realm="`)
	f.Add(`a=b,,c d=e`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges(s) {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) || c.params == nil {
				t.Errorf("%q: %+v", s, c)
			}
		}
	})
}

func TestNextPage(t *testing.T) {
	t.Parallel()
	const base, page = "https://r.example.com", "/v2/payments/tags/list?n=100"
	for _, c := range []struct {
		link, want string
		bad        bool
	}{
		{"", "", false},
		{`</v2/payments/tags/list?last=b&n=2>; rel="next"`, "/v2/payments/tags/list?last=b&n=2", false},
		{`</v2/payments/tags/list?last=b>;rel=next`, "/v2/payments/tags/list?last=b", false},
		{`<https://r.example.com/v2/payments/tags/list?last=b>; rel="next"`, "/v2/payments/tags/list?last=b", false},
		{`<?last=b>; rel="next"`, "/v2/payments/tags/list?last=b", false},
		{`</x>; rel="prev", </v2/payments/tags/list?last=b>; title="x"; rel="last next"`, "/v2/payments/tags/list?last=b", false},
		{`</v2/payments/tags/list?last=b>; rel="prev"`, "", false},
		{`/v2/payments/tags/list?last=b; rel="next"`, "", false},
		{`<https://thief.example.com/v2/payments/tags/list?last=b>; rel="next"`, "", true},
		{`</v2/other/tags/list?last=b>; rel="next"`, "", true},
		{`<:>; rel="next"`, "", true},
	} {
		got, err := nextPage(base, "payments", page, http.Header{"Link": {c.link}})
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q: %q, %v; want %q", c.link, got, err, c.want)
		}
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/payments/tags/list?last=b&n=2>; rel="next"`)
	f.Add(`<https://thief.example.com/v2/payments/tags/list>; rel=next, <x>`)
	f.Add(`<//thief.example.com/v2/payments/tags/list>; rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		got, err := nextPage("https://r.example.com", "payments", "/v2/payments/tags/list?n=100", http.Header{"Link": {link}})
		if err == nil && got != "" && !strings.HasPrefix(got, "/v2/payments/tags/list?") {
			t.Errorf("%q leads to %q", link, got)
		}
	})
}

func TestReadTags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		want []string
		bad  bool
	}{
		{`{"name":"payments","tags":["latest","3f2a9c1"]}`, []string{"latest", "3f2a9c1"}, false},
		{`{"name":"payments","tags":null}`, nil, false},
		{`{"tags":["a"]}`, []string{"a"}, false},
		{`{"name":"payments","tags":["../etc","a b","sha256-` + strings.Repeat("0", 64) + `.sig","ok"]}`, []string{"ok"}, false},
		{`{}`, nil, true},
		{`<html>`, nil, true},
		{`{"name":"payments","tags":"latest"}`, nil, true},
	} {
		got, err := readTags([]byte(c.body))
		if !slices.Equal(got, c.want) || (err != nil) != c.bad {
			t.Errorf("%s: %q, %v", c.body, got, err)
		}
	}
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte(`{"name":"payments","tags":["latest"]}`))
	f.Add([]byte(`{"errors":[{"code":"NAME_UNKNOWN","message":"x","detail":{}},{"code":404},7]}`))
	f.Add([]byte(`{"created":"2026-11-01T12:00:00Z"}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:x","platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if tags, err := readTags(body); err == nil {
			for _, tag := range tags {
				if !rollback.ValidTag(tag) {
					t.Errorf("tag %q", tag)
				}
			}
		}
		for _, d := range diagnoses(body) {
			if c := clip(d.Message); len(c) > 210 || strings.ContainsAny(c, "\n\r\x1b") || !utf8.ValidString(c) {
				t.Errorf("message %q", c)
			}
		}
		if at := buildTime(body); !at.IsZero() && at.Before(madeUp) {
			t.Errorf("built at %s", at)
		}
		if d := firstPlatform(body); d != "" {
			if _, err := rollback.ParseDigest(string(d)); err != nil {
				t.Error(err)
			}
		}
		m, err := readManifest(http.Header{"Content-Type": {"application/json"}}, body, "")
		if err == nil && (m.Check() != nil || !slices.Contains(rollback.MediaTypes(), m.MediaType)) {
			t.Errorf("manifest %+v", m)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value    string
		from, to time.Duration
	}{
		{"", 0, 0},
		{"2", 2 * time.Second, 2 * time.Second},
		{"-1", 0, 0},
		{"99999999999", 0, 0},
		{"100000", 24 * time.Hour, 24 * time.Hour},
		{"soon", 0, 0},
		{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 59 * time.Minute, time.Hour},
		{"Mon, 02 Jan 2006 15:04:05 GMT", 0, 0},
	} {
		got := retryAfter(http.Header{"Retry-After": {c.value}})
		if c.value == "99999999999" { // fits an int on 64 bits only
			continue
		}
		if got < c.from || got > c.to {
			t.Errorf("%q: %s", c.value, got)
		}
	}
}

// Foreign text goes into one line of ours, whatever it holds.
func TestClip(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" plain ":                      "plain",
		"a\r\nb\x1b[31mc":              "a  b [31mc",
		"\xff\xfe":                     "",
		strings.Repeat("x", 300):       strings.Repeat("x", 200) + "…",
		strings.Repeat("ä", 150) + "b": strings.Repeat("ä", 100) + "…",
	} {
		if got := clip(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAttached(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0a", 32)
	for tag, want := range map[string]bool{
		"sha256-" + digits: true, "sha256-" + digits + ".sig": true, "sha256-" + digits + ".att": true,
		"sha256-" + digits[1:]: false, "sha256-" + strings.ToUpper(digits): false, "sha512-" + digits: false, "v1-sha256-" + digits: false, "latest": false, "": false,
	} {
		if attached(tag) != want {
			t.Errorf("%q: %t", tag, !want)
		}
	}
}
