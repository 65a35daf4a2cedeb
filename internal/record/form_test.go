package record

import (
	"regexp"
	"strings"
	"testing"
)

// The forms that are checked by hand take what their regular expressions take.
func FuzzForms(f *testing.F) {
	object := regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	key := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)
	for _, s := range []string{"", "a", "-", ".", "1", "_", "A", "payments", "a.b-c", "a-", "-a", "a.", ".a", "a_b", "a b", "a=", "a\n", "ä", "\xff",
		strings.Repeat("a", 253), strings.Repeat("a", 254)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if want := object.MatchString(s); objectName(s) != want {
			t.Errorf("%q as an object's name: %t, want %t", s, !want, want)
		}
		if want := key.MatchString(s); resultKey(s) != want {
			t.Errorf("%q as a key: %t, want %t", s, !want, want)
		}
	})
}
