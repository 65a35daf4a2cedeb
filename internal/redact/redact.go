package redact

import (
	"cmp"
	"slices"
	"strings"
)

// Redactor replaces secrets by a mark, "***" unless a secret contains an asterisk. It is safe for concurrent use. The
// nil Redactor knows no values and removes what matches a pattern.
type Redactor struct {
	secrets []string // longest first
	mark    string
}

var nothing = &Redactor{mark: "***"}

// New takes the process' environment as os.Environ gives it.
func New(environ []string) *Redactor {
	secrets := secretsIn(environ)
	return &Redactor{secrets: secrets, mark: markFor(secrets)}
}

// String is s with every secret replaced.
func (r *Redactor) String(s string) string {
	if r == nil {
		r = nothing
	}
	return r.replace(s, r.spans(s))
}

// span is a range of bytes that must not be seen. It was recognised by what stands there from begin on: a header's name,
// say, without which its value is just text.
type span struct{ begin, from, to int }

// spans finds every secret in s, joined where they touch or overlap, in order.
func (r *Redactor) spans(s string) []span {
	var found []span
	for _, secret := range r.secrets {
		for at := 0; ; {
			i := strings.Index(s[at:], secret)
			if i < 0 {
				break
			}
			found = append(found, span{at + i, at + i, at + i + len(secret)})
			at += i + 1 // a secret may overlap itself
		}
	}
	for _, p := range patterns() {
		for _, m := range p.form.FindAllStringSubmatchIndex(s, -1) {
			from, to := m[2], m[3]
			if secret := s[from:to]; secret == r.mark || p.keep != nil && p.keep(secret) {
				continue
			}
			found = append(found, span{m[0], from, to})
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	joined := found[:0]
	for _, f := range found {
		if last := len(joined) - 1; last >= 0 && f.from <= joined[last].to {
			joined[last].begin = min(joined[last].begin, f.begin)
			joined[last].to = max(joined[last].to, f.to)
			continue
		}
		joined = append(joined, f)
	}
	return joined
}

func (r *Redactor) replace(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, p := range spans {
		b.WriteString(s[at:p.from])
		b.WriteString(r.mark)
		at = p.to
	}
	b.WriteString(s[at:])
	return b.String()
}
