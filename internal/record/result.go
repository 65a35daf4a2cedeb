package record

import (
	"fmt"
	"strings"
	"unicode"
)

// KV is one line of the result file.
type KV struct{ Key, Value string }

// resultKey tells whether s may stand before "=": [A-Za-z][A-Za-z0-9_.-]*
func resultKey(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return s != "" && strings.Trim(s, letters+"0123456789_.-") == "" && strings.Contains(letters, s[:1])
}

// WriteResult writes "key=value" lines for a pipeline to read line by line, as WriteFile does. Line ends and other
// control characters in values are written as \n, \r, \t, \u0007; a backslash stays what it is. redact removes secrets;
// nil leaves them. The file may be read by everybody: in a pod the agent that reads it is another user.
func WriteResult(path string, kv []KV, redact func(string) string) error {
	if redact == nil {
		redact = func(s string) string { return s }
	}
	var b strings.Builder
	for _, l := range kv {
		if !resultKey(l.Key) {
			return fmt.Errorf("result key %q: want letters, digits, dots, dashes and underscores", l.Key)
		}
		fmt.Fprintf(&b, "%s=%s\n", l.Key, oneLine(redact(l.Value)))
	}
	if err := WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return diskError("write "+path, err)
	}
	return nil
}

// oneLine writes control characters, and what some readers take for a line end, as escapes.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
