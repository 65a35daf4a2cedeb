package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// /dev/full takes nothing: every write fails as on a full disk.
func TestJournalOnAFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "j.jsonl")
	j := openJournal(t, path, nil)
	disk := j.file
	j.file = full
	err = j.Log(rollback.Event{Type: "lost"})
	if rollback.KindOf(err) != rollback.Rejected || !strings.Contains(err.Error(), "disk full") || !strings.Contains(rollback.FixOf(err), "ROLLBACK_STATE") {
		t.Errorf("err %v, fix %q", err, rollback.FixOf(err))
	}

	// Part of a line got through before the disk was full; then there was room again.
	if _, err := disk.WriteString(`{"v":1,"ty`); err != nil {
		t.Fatal(err)
	}
	j.file, j.torn = disk, true
	if err := j.Log(rollback.Event{Type: "kept"}); err != nil {
		t.Fatal(err)
	}
	if events := readJournal(t, path); len(events) != 1 || events[0].Type != "kept" || events[0].Seq != 1 {
		t.Errorf("%+v", events)
	}
	if err := full.Close(); err != nil {
		t.Error(err)
	}
}
