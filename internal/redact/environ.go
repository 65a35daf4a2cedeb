package redact

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// MinLength is the shortest value, in bytes, that is taken for a secret: anything shorter would black out ordinary words.
const MinLength = 6

// secretEndings are how the name of a variable that holds a secret ends; the name may also be the word alone ("TOKEN").
var secretEndings = []string{
	"TOKEN", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "KEY", "PAT",
	"CREDENTIAL", "CREDENTIALS", "WEBHOOK", "WEBHOOK_URL", "PSW",
}

// secretParts make a name secret wherever they stand in it.
var secretParts = []string{"_SECRET", "SECRET_", "PASSWORD"}

// openEndings look like the names above and hold nothing secret: Jenkins and CI caches are full of them, and to black
// out their values (often the service's own name) would make every line unreadable.
var openEndings = []string{"PUBLIC_KEY", "CACHE_KEY", "ISSUE_KEY", "PROJECT_KEY", "SECRET_NAME", "SECRET_ARN", "PASSWORD_ENV"}

// SecretName tells whether a variable of this name holds a secret: *_TOKEN, *_SECRET*, *_PASSWORD, *_KEY and their like,
// in any case. AWS_ACCESS_KEY_ID counts too: it is no secret alone, but it names whose the other one is.
func SecretName(name string) bool {
	n := strings.ToUpper(name)
	ends := func(with string) bool { return n == with || strings.HasSuffix(n, "_"+with) }
	switch {
	case slices.ContainsFunc(openEndings, ends):
		return false
	case n == "AWS_ACCESS_KEY_ID":
		return true
	}
	return slices.ContainsFunc(secretEndings, ends) ||
		slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(n, p) })
}

// secretsIn reads the secrets out of "NAME=value" pairs, each in every form in which it may turn up in a text, longest
// first and without doubles.
func secretsIn(environ []string) []string {
	var all []string
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		if ok && SecretName(name) {
			all = append(all, forms(value)...)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(all)
}

// forms are the value as it is, each of its lines (a private key is logged line by line), and the encodings in which
// URLs, JSON and headers carry it.
func forms(value string) []string {
	// No environment variable holds a NUL, and markFor relies on it.
	value = strings.TrimSpace(strings.ReplaceAll(value, "\x00", ""))
	if len(value) < MinLength {
		return nil
	}
	b := []byte(value)
	out := []string{
		value,
		url.QueryEscape(value),
		url.PathEscape(value),
		base64.StdEncoding.EncodeToString(b),
		base64.RawStdEncoding.EncodeToString(b),
		base64.URLEncoding.EncodeToString(b),
		base64.RawURLEncoding.EncodeToString(b),
	}
	for _, html := range []bool{true, false} { // encoders differ on & and <
		var j strings.Builder
		enc := json.NewEncoder(&j)
		enc.SetEscapeHTML(html)
		if err := enc.Encode(value); err == nil {
			out = append(out, j.String()[1:j.Len()-2])
		}
	}
	if strings.ContainsAny(value, "\r\n") {
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= MinLength && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	return out
}

// markFor is what stands for a secret: three of a character that is in no secret. Then no secret can be made up of a
// mark and the text beside it, so one pass is enough and pieces written one after another are safe.
func markFor(secrets []string) string {
	const candidates = "*#~!?^|$@<>;,._-=+%&:/(){}[]'xX0123456789"
	for _, c := range candidates {
		if !slices.ContainsFunc(secrets, func(s string) bool { return strings.ContainsRune(s, c) }) {
			return strings.Repeat(string(c), 3)
		}
	}
	return "\x00\x00\x00" // cannot be part of an environment variable
}
