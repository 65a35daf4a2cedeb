package record

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseResult(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "result.txt")
	if err := WriteResult(path, []KV{{"schemaVersion", "1"}, {"exit", "3"}, {"message", "a=b\nc"}, {"candidate.1.to", ""}}, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := ParseResult(text)
	if err != nil || kv["exit"] != "3" || kv["message"] != `a=b\nc` || kv["candidate.1.to"] != "" || len(kv) != 4 {
		t.Errorf("%q, %v", kv, err)
	}
	if kv, err := ParseResult([]byte("schemaVersion=1\r\nexit=0\r\n")); err != nil || kv["exit"] != "0" {
		t.Errorf("line ends of Windows: %q, %v", kv, err)
	}
	for _, bad := range []string{"", "exit=0", "schemaVersion=2\nexit=0", "schemaVersion=1", "schemaVersion=1\nexit=x", "schemaVersion=1\nexit=-1", "schemaVersion=1\nexit=0\nexit=1",
		"<html>\n", "schemaVersion=1\nexit=0\n<b>\n", "schemaVersion=1\nexit=0\n\n"} {
		if kv, err := ParseResult([]byte(bad)); err == nil {
			t.Errorf("%q: %q", bad, kv)
		}
	}
}
