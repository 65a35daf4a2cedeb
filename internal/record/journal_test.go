package record

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func openJournal(t *testing.T, path string, redact func(string) string) *Journal {
	t.Helper()
	j, err := OpenJournal(path, redact)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func readJournal(t *testing.T, path string) []rollback.Event {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	events, err := ReadJournal(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "payments-prod-1.jsonl")
	j := openJournal(t, path, nil)
	if j.Path() != path {
		t.Errorf("path %q", j.Path())
	}
	before := time.Now()
	events := []rollback.Event{
		{Run: "1", Scope: "payments/prod", Type: "run.started", Text: "a <b> & \"c\"\nd"},
		{Type: "step.intent", Step: "retag", Time: noon, Data: map[string]any{"n": int64(9007199254740993), "at": noon, "list": []int{1}}},
		{Type: "step.outcome", Error: "no"},
	}
	for _, e := range events {
		if err := j.Log(e); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 3 || !strings.Contains(string(text), `"n":9007199254740993`) {
		t.Errorf("err %v: %s", err, text)
	}
	for i, e := range readJournal(t, path) {
		want := events[i]
		if e.V != 1 || e.Seq != i+1 || e.Type != want.Type || e.Text != want.Text || e.Error != want.Error || e.Step != want.Step {
			t.Errorf("event %d: %+v", i, e)
		}
		if i == 1 && !e.Time.Equal(noon) || i != 1 && e.Time.Before(before) {
			t.Errorf("event %d: time %s", i, e.Time)
		}
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, err %v", name, info.Mode(), err)
		}
	}
}

// A process killed in the middle of a line costs that line and no other.
func TestJournalGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	line := `{"v":1,"t":"2026-11-23T12:00:00Z","run":"1","seq":7,"scope":"payments/prod","type":"step.intent"}`
	for cut := range len(line) + 2 {
		path := filepath.Join(t.TempDir(), "j.jsonl")
		whole := line + "\n" + strings.Replace(line, `"seq":7`, `"seq":8`, 1) + "\n"
		if err := os.WriteFile(path, []byte(whole[:len(line)+1+cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		j := openJournal(t, path, nil)
		for range 2 {
			if err := j.Log(rollback.Event{Type: "run.resumed"}); err != nil {
				t.Fatal(err)
			}
		}
		var seqs []int
		for _, e := range readJournal(t, path) {
			seqs = append(seqs, e.Seq)
		}
		want := []int{7, 8, 9}
		if cut >= len(line) { // the second line is whole, with or without its end
			want = []int{7, 8, 9, 10}
		}
		if !slices.Equal(seqs, want) {
			t.Errorf("cut after %d bytes: sequence %v, want %v", cut, seqs, want)
		}
	}
}

func TestJournalRedacts(t *testing.T) {
	t.Parallel()
	type deep struct{ Where map[string][]string }
	path := filepath.Join(t.TempDir(), "j.jsonl")
	j := openJournal(t, path, func(s string) string { return strings.ReplaceAll(s, `hun"ter`, "***") })
	const s = `a hun"ter z`
	err := j.Log(rollback.Event{Run: s, Scope: s, Type: s, Step: s, Text: s, Error: s, Data: map[string]any{
		s: s, "error": errors.New(s), "list": []any{s, map[string]string{s: s}}, "deep": &deep{map[string][]string{"x": {s}}}, "n": 3, "nil": nil,
		"nan": math.NaN(), "func": func() {},
	}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Contains(text, []byte("ter")) || bytes.Count(text, []byte("a *** z")) != 13 || !bytes.Contains(text, []byte(`"nan":"NaN"`)) {
		t.Errorf("err %v, %d: %s", err, bytes.Count(text, []byte("a *** z")), text)
	}
}

func TestJournalInParallel(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j.jsonl")
	one, two := openJournal(t, path, nil), openJournal(t, path, nil) // even by two processes no line is mixed
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			j := one
			if i%2 == 0 {
				j = two
			}
			if err := j.Log(rollback.Event{Type: fmt.Sprint(i), Text: strings.Repeat("x", 10_000)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(readJournal(t, path)); n != 20 {
		t.Errorf("%d events", n)
	}
}

func TestJournalErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "j.jsonl"), dir, filepath.Join(file, "sub", "j.jsonl")} {
		_, err := OpenJournal(path, nil)
		var call *rollback.CallError
		if !errors.As(err, &call) || call.System != "disk" || call.Fix != "set ROLLBACK_STATE to a directory" {
			t.Errorf("%s: %#v", path, err)
		}
	}
	for _, c := range []struct {
		err  error
		kind rollback.CallKind
		fix  string
	}{
		{syscall.ENOSPC, rollback.Rejected, "make room"},
		{syscall.EDQUOT, rollback.Rejected, "make room"},
		{syscall.EROFS, rollback.Denied, "can be written"},
		{syscall.EACCES, rollback.Denied, "can be written"},
		{syscall.EIO, rollback.Rejected, ""},
	} {
		err := diskError("write j", &os.PathError{Op: "write", Path: "j", Err: c.err})
		if rollback.KindOf(err) != c.kind || !strings.Contains(rollback.FixOf(err), c.fix) {
			t.Errorf("%v: %v, fix %q", c.err, err, rollback.FixOf(err))
		}
	}
	j := openJournal(t, filepath.Join(dir, "j.jsonl"), nil)
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	if err := j.Log(rollback.Event{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestReadJournal(t *testing.T) {
	t.Parallel()
	ok := `{"v":1,"seq":1,"type":"a"}`
	for _, c := range []struct {
		name, text string
		events     int
		err        string
	}{
		{"empty", "", 0, ""},
		{"no end", ok, 1, ""},
		{"torn", ok + "\n" + ok[:10], 1, ""},
		{"torn in the middle", ok[:10] + "\n" + ok + "\n", 1, ""},
		{"blank lines", "\n" + ok + "\r\n\n \n" + ok + "\n", 2, ""},
		{"zeros", ok + "\n" + "\x00\x00\x00", 1, ""},
		{"unknown type and members", `{"v":2,"type":"from.the.future","more":{}}` + "\n", 1, ""},
		{"html", ok + "\n<html>\n" + ok + "\n", 2, "journal line 2: invalid character"},
		{"wrong type", `{"v":"x"}` + "\n" + ok + "\n", 1, "journal line 1: json: cannot unmarshal"},
		{"long", `{"v":1,"text":"` + strings.Repeat("x", 1<<20) + `"}` + "\n", 1, ""},
	} {
		events, err := ReadJournal(strings.NewReader(c.text))
		if len(events) != c.events || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s: %d events, err %v", c.name, len(events), err)
		}
	}
	if _, err := ReadJournal(brokenReader{}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a reader that breaks: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, syscall.EIO }

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(`{"v":1,"t":"2026-11-23T12:00:00Z","seq":1,"type":"a","data":{"x":[1]}}` + "\n{\"v\":1"))
	f.Add([]byte("\x00\n\n{}\n[]\n<html>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		before, _ := ReadJournal(bytes.NewReader(text))
		// Whatever was there, a journal goes on after it without losing anything that could be read.
		path := filepath.Join(t.TempDir(), "j.jsonl")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		if err := j.Log(rollback.Event{Type: "ours"}); err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		after, _ := ReadJournal(bytes.NewReader(now))
		if len(after) != len(before)+1 || after[len(after)-1].Type != "ours" {
			t.Errorf("%d events before, %d after", len(before), len(after))
		}
	})
}
