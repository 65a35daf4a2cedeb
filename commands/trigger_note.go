package commands

// What trigger remembers on this machine, so that the same command finds its build again.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// triggerNote remembers a request whose end this machine has not seen, so that the same command finds its build instead of
// starting a second one. It is written before the request is sent, and removed when the end was told.
type triggerNote struct {
	Request string         `json:"request"`
	ID      string         `json:"id"` // the build's mark
	At      time.Time      `json:"at"`
	Build   rollback.Build `json:"build,omitzero"` // its job, number and queue item
	path    string
}

// noteKept is how long a request is remembered: a build that nobody asked for any more for a day is another matter.
const noteKept = 24 * time.Hour

// readNote is the note of a request; without one it is empty.
func (t *trigger) readNote(request string) *triggerNote {
	fresh := &triggerNote{Request: request, At: time.Now()}
	dir, err := record.StateDir(t.e.Getenv)
	if err != nil {
		return fresh // whoever has no place for it is told by writeNote
	}
	fresh.path = filepath.Join(dir, "trigger-"+t.scope.Service+"-"+t.scope.Environment+"-"+request+".json")
	text, err := os.ReadFile(fresh.path)
	if err != nil {
		return fresh
	}
	n := &triggerNote{}
	if json.Unmarshal(text, n) != nil || n.ID == "" || n.Request != request || time.Since(n.At) > noteKept || n.Build.Job != "" && n.Build.Job != t.job {
		return fresh
	}
	n.path = fresh.path
	return n
}

// writeNote keeps the note; b is empty before the build is known. A note that cannot be written costs no more than a build
// that is told from others by its parameters alone.
func (t *trigger) writeNote(b rollback.Build) {
	n := t.note
	if b.Job != "" {
		n.Build = rollback.Build{Job: b.Job, Number: b.Number, Queue: b.Queue, State: b.State}
	}
	err := os.ErrNotExist
	if n.path != "" {
		err = n.save()
	}
	if err != nil && n.Build.Job == "" {
		t.screen.line("! not remembered on this machine (" + err.Error() + "): until it ends, the same command finds the build in Jenkins only")
	}
}

func (n *triggerNote) save() error {
	if err := os.MkdirAll(filepath.Dir(n.path), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(n.path), ".trigger-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(text); err == nil {
		err = tmp.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), n.path)
	}
	return err
}

// dropNote forgets a request: its end was told, or it was never sent.
func (t *trigger) dropNote() {
	if t.note.path != "" {
		_ = os.Remove(t.note.path)
	}
}
