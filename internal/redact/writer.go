package redact

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
)

// maxPending is how much text without a line end is held back, in bytes, before it is let through up to its last blank.
const maxPending = 16 << 10

// Writer passes text on, without its secrets, a line at a time.
//
// What stands after the last line end ('\n', or '\r' as live bars use it) waits for the rest of its line, so that a
// secret cut in two by two writes is still seen whole. Flush lets it through (for a prompt, or a bar without line end),
// except for what may be the beginning of a known secret; Close lets everything through. A secret of several lines is
// waited for as well. Text that only matches a pattern is found within what was flushed together.
//
// It is safe for concurrent use.
type Writer struct {
	r  *Redactor
	mu sync.Mutex
	w  io.Writer
	// pending is what was written and not passed on. A long one is looked at again only when it has grown to retry bytes.
	pending []byte
	retry   int
}

// Writer returns a redacting writer in front of w. It is a *Writer; call its Flush before waiting for input and its
// Close (which does not close w) at the end.
func (r *Redactor) Writer(w io.Writer) *Writer {
	if r == nil {
		r = nothing
	}
	return &Writer{r: r, w: w}
}

// Write takes all of p or returns the error of the writer behind it; text that could not be passed on is dropped then.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, p...)
	end := 0
	if lastLineEnd(p) > 0 {
		end = lastLineEnd(w.pending)
	}
	if end == 0 && len(w.pending) > max(maxPending, w.retry) {
		end = len(w.pending)
		if blank := bytes.LastIndexAny(w.pending, " \t"); blank > len(w.pending)-maxPending/2 {
			end = blank
		}
		w.retry = len(w.pending) + maxPending
	}
	if err := w.pass(end); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush passes on what waits for the rest of its line, except for what may be the beginning of a known secret.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pass(len(w.pending))
}

// Close passes everything on. The writer behind stays open, and so may this one be used again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.emit(len(w.pending), w.r.spans(string(w.pending)))
}

// pass lets the first end bytes through, or fewer where a secret may cross that point.
func (w *Writer) pass(end int) error {
	if end == 0 {
		return nil
	}
	s := string(w.pending)
	for _, secret := range w.r.secrets {
		end = min(end, beginning(s, secret))
	}
	end = min(end, openKey(s))
	spans := w.r.spans(s)
	for i := len(spans) - 1; i >= 0; i-- {
		p := spans[i]
		if end <= p.begin || p.to <= end {
			continue
		}
		if len(s) > 4*maxPending { // a header without end: what was seen of it goes out as one mark
			end = p.to
			break
		}
		end = p.begin
	}
	return w.emit(end, spans)
}

// emit writes pending[:end], which no span crosses, and forgets it, also when writing fails: to try it again would
// repeat what did get through.
func (w *Writer) emit(end int, spans []span) error {
	if end == 0 {
		return nil
	}
	n := 0
	for n < len(spans) && spans[n].to <= end {
		n++
	}
	out := w.r.replace(string(w.pending[:end]), spans[:n])
	w.pending = append(w.pending[:0], w.pending[end:]...)
	w.retry = min(w.retry, len(w.pending)+maxPending)
	_, err := io.WriteString(w.w, out)
	return err
}

// lastLineEnd is the index after the last line end in b, 0 if there is none.
func lastLineEnd(b []byte) int {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' || b[i] == '\r' {
			return i + 1
		}
	}
	return 0
}

// beginning is the index of the longest end of s that is a beginning of secret, without being all of it; len(s) if
// there is none.
func beginning(s, secret string) int {
	for i := max(0, len(s)-len(secret)+1); i < len(s); i++ {
		if strings.HasPrefix(secret, s[i:]) {
			return i
		}
	}
	return len(s)
}

var keyBegins = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*$`)
})

// openKey is the index of a private key of which the end is not there yet; len(s) if there is none or if it is too
// long for one.
func openKey(s string) int {
	if m := keyBegins().FindStringIndex(s); m != nil && len(s)-m[0] < maxPending {
		return m[0]
	}
	return len(s)
}
