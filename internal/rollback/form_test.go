package rollback

import (
	"regexp"
	"strings"
	"testing"
)

// The forms that are checked by hand take what their regular expressions take.
func FuzzForms(f *testing.F) {
	forms := []struct {
		name string
		want *regexp.Regexp
		got  func(string) bool
	}{
		{"digest", regexp.MustCompile(`^sha256:[0-9a-f]{64}$`), digestForm.MatchString},
		{"commit", regexp.MustCompile(`^[0-9a-f]{7,40}$`), commitForm.MatchString},
		{"tag", regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`), ValidTag},
		{"scope", regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$`), scopeName},
	}
	for _, s := range []string{
		"", "-", ".", "_", "a", "a-", "-a", "a.b", "a\n", "\n", "ä", "\xff", "latest", "v1.2_3-rc", "sha256:", "SHA256:" + strings.Repeat("0", 64),
		"abcdef", "abcdef0", "ABCDEF0", "abcdefg", "a b", strings.Repeat("a", 40), strings.Repeat("a", 41), strings.Repeat("a", 53), strings.Repeat("a", 54),
		strings.Repeat("a", 128), strings.Repeat("a", 129), "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("0", 64),
		"sha256:" + strings.Repeat("0", 65), "sha256:" + strings.Repeat("0", 63) + "g", "sha256:" + strings.Repeat("0", 64) + "\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, form := range forms {
			if want := form.want.MatchString(s); form.got(s) != want {
				t.Errorf("%s %q: %t, want %t", form.name, s, !want, want)
			}
		}
	})
}
