package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestStateDir(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"said", map[string]string{"ROLLBACK_STATE": "/var/rb", "WORKSPACE": "/ws", "JENKINS_URL": "https://x", "HOME": "/h"}, "/var/rb"},
		{"jenkins", map[string]string{"WORKSPACE": "/ws", "JENKINS_URL": "https://x", "XDG_STATE_HOME": "/s", "HOME": "/h"}, "/ws/.rollback"},
		{"a workspace without jenkins", map[string]string{"WORKSPACE": "/ws", "HOME": "/h"}, "/h/.local/state/rollback"},
		{"xdg", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/rollback"},
		{"relative xdg", map[string]string{"XDG_STATE_HOME": "s", "HOME": "/h"}, "/h/.local/state/rollback"},
		{"nothing", nil, ""},
	} {
		got, err := StateDir(func(k string) string { return c.env[k] })
		if got != c.want || (err == nil) != (c.want != "") || err != nil && rollback.ExitOf(err) != rollback.Usage {
			t.Errorf("%s: %q, err %v", c.name, got, err)
		}
	}
	if got := JournalPath("/s", scope, "../20261123T120000Z/ü:1"); got != "/s/payments-prod-.._20261123T120000Z___1.jsonl" {
		t.Errorf("journal at %q", got)
	}
}

func TestWriteResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "rollback-result.txt")
	redact := func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	for range 2 { // the second time over the first
		err := WriteResult(path, []KV{
			{"exit", "0"},
			{"message", "line one\nexit=1\r\nx\u2028y\tz \a with hunter2 = \\n ✔"},
			{"empty", ""},
		}, redact)
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	want := "exit=0\n" + `message=line one\nexit=1\r\nx\u2028y\tz \u0007 with *** = \n ✔` + "\nempty=\n"
	if err != nil || string(text) != want {
		t.Errorf("err %v\n got %q\nwant %q", err, text, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, err %v", info, err)
	}

	// A result that cannot be written leaves the old one, and nothing else, behind.
	for _, key := range []string{"", "a=b", "a\nb", "1"} {
		if err := WriteResult(path, []KV{{key, "x"}}, nil); err == nil {
			t.Errorf("key %q was written", key)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(dir, "sub"), filepath.Join(dir, "none", "r.txt")} {
		if err := WriteResult(bad, nil, nil); rollback.KindOf(err) != rollback.Rejected {
			t.Errorf("%s: err %v", bad, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, err %v", entries, err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != want {
		t.Errorf("the old result is %q, err %v", again, err)
	}
}
