package jenkins

import (
	"bytes"
	"io"
)

// Console notes are what Jenkins hides in a log for its own pages: ESC [8mha: base64 ESC [0m
// (https://javadoc.jenkins.io/hudson/console/ConsoleNote.html). progressiveText sends them, at each [Pipeline] line.
const (
	notePreamble  = "\x1b[8mha:"
	notePostamble = "\x1b[0m"
	// maxNote is the longest note that is waited for; the longest seen had 300 bytes.
	maxNote = 64 << 10
)

// noteFilter passes a log on without its notes, also when a piece of the log ends within one.
type noteFilter struct {
	to   io.Writer
	held []byte // what may be the beginning of a note
}

// Write passes p on. Notes count as written.
func (f *noteFilter) Write(p []byte) (int, error) {
	n := len(p)
	if len(f.held) > 0 {
		p = append(f.held, p...)
		f.held = nil
	}
	out := make([]byte, 0, len(p))
	for len(p) > 0 {
		i := bytes.IndexByte(p, notePreamble[0])
		if i < 0 {
			out = append(out, p...)
			break
		}
		out = append(out, p[:i]...)
		p = p[i:]
		size, more := note(p)
		switch {
		case more:
			f.held = bytes.Clone(p)
			p = nil
		case size > 0:
			p = p[size:]
		default:
			out = append(out, p[0])
			p = p[1:]
		}
	}
	if len(out) > 0 {
		if _, err := f.to.Write(out); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Flush passes on what was held back: the log ended there, so it is no note.
func (f *noteFilter) Flush() error {
	held := f.held
	f.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := f.to.Write(held)
	return err
}

// note is the size of the note that p begins with, 0 if it begins with none; more tells that p ends too early to say.
func note(p []byte) (size int, more bool) {
	if len(p) < len(notePreamble) {
		return 0, bytes.HasPrefix([]byte(notePreamble), p)
	}
	if !bytes.HasPrefix(p, []byte(notePreamble)) {
		return 0, false
	}
	for i := len(notePreamble); i < len(p); i++ {
		if i > maxNote {
			return 0, false
		}
		if p[i] == notePostamble[0] {
			rest := p[i:]
			if len(rest) < len(notePostamble) {
				return 0, bytes.HasPrefix([]byte(notePostamble), rest)
			}
			if bytes.HasPrefix(rest, []byte(notePostamble)) {
				return i + len(notePostamble), false
			}
			return 0, false
		}
		if !base64Letter(p[i]) {
			return 0, false
		}
	}
	return 0, len(p) <= maxNote
}

// base64Letter tells the letters of a note; the colon is between its signature and itself.
func base64Letter(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '+' || b == '/' || b == '=' || b == ':'
}
