package rollback

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var some = DigestOf([]byte("some"))

func TestParseReference(t *testing.T) {
	for _, tt := range []struct {
		in, host, repository, tag string
		digest                    Digest
	}{
		{"payments", "docker.io", "library/payments", "latest", ""},
		{"acme/payments:v1", "docker.io", "acme/payments", "v1", ""},
		{"registry:5000/payments", "registry:5000", "payments", "latest", ""},
		{"localhost/payments:x", "localhost", "payments", "x", ""},
		{"123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/payments:latest", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "team/payments", "latest", ""},
		{"r.example.com/payments@" + string(some), "r.example.com", "payments", "", some},
		{"r.example.com:443/payments:latest@" + string(some), "r.example.com:443", "payments", "latest", some},
	} {
		got, err := ParseReference(tt.in)
		if want := (Reference{tt.host, tt.repository, tt.tag, tt.digest}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", tt.in, got, err, want)
		}
	}
	for _, in := range []string{"", ":", "payments:", "payments@", "payments@sha256:12", "Payments", "r.example.com/", "a b", "payments:-x", "payments:latest@sha512:" + strings.Repeat("0", 128)} {
		if got, err := ParseReference(in); err == nil {
			t.Errorf("%q was taken for %+v", in, got)
		}
	}
}

func TestImageIDDigest(t *testing.T) {
	for in, want := range map[string]Digest{
		"r.example.com/payments@" + string(some):            some,
		"docker-pullable://r.example.com/p@" + string(some): some,
		"docker://" + string(some):                          some,
		string(some):                                        some,
		"":                                                  "",
		"sha256:short":                                      "",
		"r.example.com/payments@" + string(some) + "0":            "",
		"r.example.com/payments@" + strings.ToUpper(string(some)): "",
	} {
		if got := ImageIDDigest(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDigestAndCommit(t *testing.T) {
	for _, in := range []string{"", "sha256:", "sha256:" + strings.Repeat("g", 64), strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 63), string(some) + " "} {
		if _, err := ParseDigest(in); err == nil {
			t.Errorf("%q was taken for a digest", in)
		}
	}
	if d, err := ParseDigest(string(some)); d != some || err != nil || len(some.Short()) != 19 || len(some.Hex()) != 64 || Digest("x").Short() != "x" {
		t.Errorf("%s %v", d, err)
	}
	if c, err := ParseCommit("ABCDEF1"); c != "abcdef1" || err != nil || c.Short() != "abcdef1" || Commit("").Short() != "" {
		t.Errorf("%s %v", c, err)
	}
	for _, in := range []string{"", "abcdef", "abcdefg", strings.Repeat("a", 41)} {
		if _, err := ParseCommit(in); err == nil {
			t.Errorf("%q was taken for a commit", in)
		}
	}
}

func TestImage(t *testing.T) {
	i := Image{Tags: []string{"latest", "abcdef1", commitOf('b'), "v1.2"}, CreatedAt: epoch}
	if i.Commit() != Commit(commitOf('b')) || i.Time() != epoch || !i.HasTag("v1.2") || i.HasTag("v1") {
		t.Errorf("%s %s", i.Commit(), i.Time())
	}
	if i.PushedAt = epoch.Add(time.Hour); i.Time() != i.PushedAt || (Image{Tags: []string{"latest"}}).Commit() != "" {
		t.Error("the push time goes first; latest is no commit")
	}
	if k := KeepTag(some); !ValidTag(k) || k != KeepTag(some) || commitForm.MatchString(k) {
		t.Errorf("keep tag %s", k)
	}
}

func TestManifest(t *testing.T) {
	m := blob("x")
	if m.Check() != nil || m.Index() {
		t.Error("a good manifest")
	}
	if bad := (Manifest{Digest: m.Digest, Bytes: append(slices.Clone(m.Bytes), '\n')}); bad.Check() == nil {
		t.Error("one more newline is another manifest")
	}
	refs, err := m.References()
	if err != nil || !slices.Equal(refs, []Digest{DigestOf([]byte("config of x"))}) {
		t.Errorf("%v %v", refs, err)
	}
	for _, tt := range []struct {
		mediaType, text string
		want            []Digest
		fails           bool
	}{
		{OCIIndex, fmt.Sprintf(`{"manifests":[{"digest":%q},{"digest":%q}]}`, some, m.Digest), []Digest{some, m.Digest}, false},
		{DockerList, `{"manifests":[]}`, nil, false},
		{OCIIndex, `{"manifests":[{"digest":"sha256:x"}]}`, nil, true},
		{DockerManifest, `{}`, nil, false},
		{DockerManifest, `{"config":{"digest":"../../x"}}`, nil, true},
		{OCIManifest, `<html>`, nil, true},
	} {
		got, err := Manifest{MediaType: tt.mediaType, Bytes: []byte(tt.text)}.References()
		if !slices.Equal(got, tt.want) || (err != nil) != tt.fails {
			t.Errorf("%s: %v, %v", tt.text, got, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"payments", "r.example.com:443/team/payments:latest@" + string(some), "a@b@c", ":", "/", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		if !ValidRepository(r.Repository) || r.Tag != "" && !ValidTag(r.Tag) || r.Tag == "" && r.Digest == "" {
			t.Fatalf("%q: %+v", s, r)
		}
		again := r.Host + "/" + r.Repository
		if r.Tag != "" {
			again += ":" + r.Tag
		}
		if r.Digest != "" {
			again += "@" + string(r.Digest)
		}
		if back, err := ParseReference(again); r.Host != "" && (strings.ContainsAny(r.Host, ".:") || r.Host == "localhost") && (err != nil || back != r) {
			t.Fatalf("%q became %+v, %q became %+v, %v", s, r, again, back, err)
		}
	})
}

func FuzzImageIDDigest(f *testing.F) {
	for _, s := range []string{"", string(some), "docker-pullable://r.example.com/p@" + string(some), "sha256:sha256:", "a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := ImageIDDigest(s); d != "" && !digestForm.MatchString(string(d)) {
			t.Errorf("%q gave %q", s, d)
		}
		if sc, err := ParseScope(s); err == nil && (sc.Validate() != nil || sc.String() != s) {
			t.Errorf("%q gave %v", s, sc)
		}
		if ValidRepository(s) && (len(s) > 256 || strings.HasPrefix(s, "/") || strings.Contains(s, "..") || strings.ToLower(s) != s) {
			t.Errorf("%q is no repository", s)
		}
	})
}

func FuzzReferences(f *testing.F) {
	f.Add(string(blob("x").Bytes), false)
	f.Add(`{"manifests":[{"digest":"`+string(some)+`"}]}`, true)
	f.Add(`{"manifests":null,"config":[]}`, true)
	f.Fuzz(func(t *testing.T, text string, index bool) {
		m := Manifest{Digest: some, MediaType: OCIManifest, Bytes: []byte(text)}
		if index {
			m.MediaType = OCIIndex
		}
		refs, err := m.References()
		for _, r := range refs {
			if _, bad := ParseDigest(string(r)); bad != nil || err != nil {
				t.Fatalf("%q led to %q, %v", text, r, err)
			}
		}
	})
}

func FuzzRecordDecodes(f *testing.F) {
	b, _ := json.Marshal(Record{SchemaVersion: 1, Last: &Entry{ID: "x", State: Running}, Lock: &Lock{Run: "x"}, History: []Summary{{ID: "y"}}})
	f.Add(string(b))
	f.Add(`{"last":{"from":{}},"lock":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r Record
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		for digest, p := range pastOf(r) { // whatever stands in a record, reading it must not end the program
			if p.bad == "" && p.restored == "" {
				t.Fatalf("%q: nothing is known of %q", text, digest)
			}
		}
		if r.Lock != nil {
			_ = held(r.Scope, *r.Lock, epoch)
		}
	})
}
