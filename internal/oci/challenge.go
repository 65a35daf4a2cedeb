package oci

// Reading WWW-Authenticate (https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1).

import (
	"net/http"
	"strings"
)

// challenge is how a registry wants to be told who asks. Scheme is lower case: "basic", "bearer", "" for a registry
// that did not ask.
type challenge struct {
	scheme string
	params map[string]string // realm, service, scope, error
}

// challengeOf picks the challenge we can answer, bearer first, as registries that offer both prefer it.
func challengeOf(h http.Header) (challenge, bool) {
	var basic *challenge
	for _, line := range h.Values("WWW-Authenticate") {
		for _, c := range parseChallenges(line) {
			switch {
			case c.scheme == "bearer" && c.params["realm"] != "":
				return c, true
			case c.scheme == "basic" && basic == nil:
				basic = &c
			}
		}
	}
	if basic != nil {
		return *basic, true
	}
	return challenge{}, false
}

// parseChallenges reads one header line, which may hold several challenges. What it cannot read it leaves out.
func parseChallenges(s string) []challenge {
	var found []challenge
	for {
		s = strings.TrimLeft(s, " \t,")
		word, rest := takeToken(s)
		if word == "" {
			return found
		}
		trimmed := strings.TrimLeft(rest, " \t")
		if len(found) > 0 && strings.HasPrefix(trimmed, "=") { // a parameter of the challenge before
			value, after, ok := takeValue(strings.TrimLeft(trimmed[1:], " \t"))
			if !ok {
				return found
			}
			found[len(found)-1].params[strings.ToLower(word)] = value
			s = after
			continue
		}
		found = append(found, challenge{strings.ToLower(word), map[string]string{}})
		s = rest
	}
}

func takeToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && (s[i] > ' ' && s[i] < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, rune(s[i]))) {
		i++
	}
	return s[:i], s[i:]
}

func takeValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = takeToken(s)
		return value, rest, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
