package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// EventVersion is the schema version of a journal's lines.
const EventVersion = 1

// Journal is the event log of one run: a JSON Lines file, one write per line, on disk before Log returns. It is a
// rollback.Journal, safe for concurrent use.
type Journal struct {
	path   string
	redact func(string) string

	mu   sync.Mutex
	file *os.File
	seq  int
	// torn is set while the file does not end with a line end: somebody was killed, or the disk was full.
	torn bool
}

var _ rollback.Journal = (*Journal)(nil)

// OpenJournal opens the journal at path, or begins it (mode 0600, its directories 0700). A journal that is there is
// continued: its sequence numbers go on, and a last line that a killed process left unfinished is ended, so that it
// costs no other line. redact removes secrets from every string that is logged; nil leaves them as they are.
func OpenJournal(path string, redact func(string) string) (*Journal, error) {
	if redact == nil {
		redact = func(s string) string { return s }
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, diskError("create "+dir, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, diskError("open "+path, err)
	}
	j := &Journal{path: path, redact: redact, file: f}
	if err := j.resume(); err != nil {
		_ = f.Close()
		return nil, diskError("read "+path, err)
	}
	// A new file is only there after a crash if its directory is on disk too. Not every file system can do this.
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return j, nil
}

// resume finds the last sequence number and whether the last line was ended.
func (j *Journal) resume() error {
	return lines(j.file, func(_ int, line []byte, ended bool) error {
		var e struct{ Seq int }
		if json.Unmarshal(line, &e) == nil {
			j.seq = max(j.seq, e.Seq)
		}
		j.torn = !ended
		return nil
	})
}

// Path is where the journal is.
func (j *Journal) Path() string { return j.path }

// Log writes the event and returns when it is on disk. It fills in V, Time (if zero) and Seq. Errors are
// *rollback.CallError; the event is lost then, and later ones are still written whole.
func (j *Journal) Log(e rollback.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return diskError("write "+j.path, os.ErrClosed)
	}
	e.V, e.Seq = EventVersion, j.seq+1
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	for _, s := range []*string{&e.Run, &e.Scope, &e.Type, &e.Step, &e.Text, &e.Error} {
		*s = j.redact(*s)
	}
	e.Data = j.clean(e.Data)

	var b bytes.Buffer
	if j.torn {
		b.WriteByte('\n')
	}
	enc := json.NewEncoder(&b) // ends the line itself
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return diskError("encode an event for "+j.path, err)
	}
	n, err := j.file.Write(b.Bytes())
	if n > 0 {
		j.torn = n < b.Len()
	}
	if err != nil {
		return diskError("write "+j.path, err)
	}
	j.seq++
	// Pipes and some devices cannot be synced and need not be.
	if err := j.file.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return diskError("sync "+j.path, err)
	}
	return nil
}

// Written tells whether the journal holds anything.
func (j *Journal) Written() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq > 0
}

// Close closes the file, and takes it away if it is empty. Nothing is lost without it.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	if is, err := j.file.Stat(); err == nil && is.Mode().IsRegular() && is.Size() == 0 {
		_ = os.Remove(j.path)
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// clean is data as JSON has it, without secrets at any depth. What JSON cannot hold must not cost the event: it becomes
// text.
func (j *Journal) clean(data map[string]any) map[string]any {
	if len(data) == 0 {
		return nil
	}
	out := make(map[string]any, len(data))
	for k, v := range data {
		if err, ok := v.(error); ok {
			v = err.Error()
		}
		var plain any
		text, err := json.Marshal(v)
		if err == nil {
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.UseNumber() // an int64 stays what it is
			err = dec.Decode(&plain)
		}
		if err != nil {
			plain = fmt.Sprintf("%+v", v)
		}
		out[j.redact(k)] = j.cleanValue(plain)
	}
	return out
}

func (j *Journal) cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return j.redact(v)
	case []any:
		for i := range v {
			v[i] = j.cleanValue(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[j.redact(k)] = j.cleanValue(e)
		}
		return out
	}
	return v
}

// ReadJournal reads a journal. Lines that a killed process left unfinished are left out, wherever they stand; events of
// unknown types are kept. A line that is no event at all is an error, which comes along with all events that could be
// read.
func ReadJournal(r io.Reader) ([]rollback.Event, error) {
	var (
		events []rollback.Event
		bad    error
	)
	err := lines(r, func(n int, line []byte, _ bool) error {
		var e rollback.Event
		switch err := json.Unmarshal(line, &e); {
		case err == nil:
			events = append(events, e)
		case !unfinished(line) && bad == nil:
			bad = fmt.Errorf("journal line %d: %w", n, err)
		}
		return nil
	})
	return events, errors.Join(bad, err)
}

// unfinished tells whether line is the beginning of a JSON document, and no more.
func unfinished(line []byte) bool {
	var doc json.RawMessage
	err := json.NewDecoder(bytes.NewReader(line)).Decode(&doc)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// lines calls f with each line that is not blank, however long, its number, and whether it was ended. The zeros that a
// power loss leaves at the end of a file are not part of a line.
func lines(r io.Reader, f func(n int, line []byte, ended bool) error) error {
	b := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := b.ReadBytes('\n')
		ended := bytes.HasSuffix(line, []byte("\n"))
		if text := bytes.Trim(line, "\x00\r\n\t "); len(line) > 0 && (len(text) > 0 || !ended) {
			if err := f(n, text, ended); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// diskError says what about the disk failed and what to do about it.
func diskError(op string, err error) error {
	e := &rollback.CallError{System: "disk", Op: op, Kind: rollback.Rejected, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Code, e.Fix = "disk full", "make room, or set ROLLBACK_STATE to a directory on another disk"
	case errors.Is(err, syscall.EROFS), errors.Is(err, os.ErrPermission):
		e.Kind, e.Fix = rollback.Denied, "set ROLLBACK_STATE to a directory that can be written"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		e.Fix = "set ROLLBACK_STATE to a directory"
	}
	return e
}
