package redact

import (
	"regexp"
	"strings"
	"sync"
)

// pattern is text that looks like a credential. The secret is the first group; the text around it is kept, because it
// tells what was removed. keep, if set, spares a match that only looks like one.
type pattern struct {
	form *regexp.Regexp
	keep func(secret string) bool
}

// patterns are compiled when there is a text to look at, not at every start.
var patterns = sync.OnceValue(func() []pattern {
	return []pattern{
		// Headers, as http.Header, curl and JSON print them: everything up to the end of the line or the closing quote.
		{form: regexp.MustCompile(`(?i)\b(?:proxy-)?authorization\b["']?\s{0,4}[:=]\s{0,4}\[?["']?([^"'\]\r\n]+)`), keep: refusal},
		{form: regexp.MustCompile(`(?i)\b(?:x-amz-security-token|private-token|x-api-key|x-vault-token|set-cookie|cookie)\b["']?\s{0,4}:\s{0,4}\[?["']?([^"'\]\r\n]+)`)},
		{form: regexp.MustCompile(`\b(?i:bearer)[ \t]+([A-Za-z0-9._~+/=-]{6,})`), keep: prose},

		// Tokens that carry their issuer's prefix.
		{form: regexp.MustCompile(`\b((?:AKIA|ASIA)[A-Z0-9]{16})\b`)},
		{form: regexp.MustCompile(`(gh[pousr]_[A-Za-z0-9]{16,})`)},
		{form: regexp.MustCompile(`(github_pat_[A-Za-z0-9_]{16,})`)},
		{form: regexp.MustCompile(`(xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,})`)},
		{form: regexp.MustCompile(`(k8s-aws-v1\.[A-Za-z0-9_=-]+)`)},
		{form: regexp.MustCompile(`(eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*)`)}, // JWT: base64 of `{"`
		{form: regexp.MustCompile(`hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]+)`)},
		{form: regexp.MustCompile(`(-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?)`)},

		// URLs: user:password@ (or a token alone) before the host, and what signs a query.
		{form: regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://([^/\s"'<>?#]+)@`), keep: func(s string) bool { return s == "git" }},
		{form: regexp.MustCompile(`(?i)[?&;](?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|AWSAccessKeyId|Signature|access_token|refresh_token|id_token|client_secret|private_token|token|api_?key|sig)=([^&\s"'<>]+)`)},

		// JSON fields, as an SDK dumps them.
		{form: regexp.MustCompile(`(?i)\\?"(?:[a-z_-]*(?:password|passwd|secret|token|secretaccesskey|api[_-]?key|private[_-]?key)|auth)\\?"\s*:\s*\\?"([^"\\]{6,})`)},
	}
})

// refusal spares what container runtimes say when a registry turns them away: "… may require authorization: " and one of these. It
// is the whole of the line, but for how often it was said.
// Sources: https://github.com/containerd/containerd/blob/v2.1.4/core/remotes/docker/authorizer.go and resolver.go
func refusal(s string) bool {
	s, times, ok := strings.Cut(s, " (")
	if ok && strings.Trim(times, "0123456789") != " times)" {
		return false
	}
	return s == "authorization failed: no basic auth credentials" || s == "server message: insufficient_scope: authorization failed"
}

// prose spares English ("bearer authentication is required"): lower-case letters only, and short.
func prose(s string) bool {
	return len(s) < 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz.") == ""
}
