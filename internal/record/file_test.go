package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("sub"), 0o700))
	must(os.WriteFile(at("old"), []byte("old"), 0o600))
	must(os.Symlink("old", at("link")))
	must(os.Symlink("../link", at("sub/link"))) // a link to a link, seen from elsewhere
	must(os.Symlink("sub", at("way")))
	must(os.Symlink("sub/new", at("dangling")))
	must(os.Symlink("circle", at("circle")))

	for _, c := range []struct{ path, file string }{
		{"old", "old"}, {"link", "old"}, {"sub/link", "old"}, {"way/link", "old"}, {"dangling", "sub/new"}, {"fresh", "fresh"},
	} {
		must(WriteFile(at(c.path), []byte(c.path), 0o640))
		is, err := os.Lstat(at(c.file))
		must(err)
		text, err := os.ReadFile(at(c.file))
		if err != nil || string(text) != c.path || is.Mode() != 0o640 {
			t.Errorf("%s: %s is %v and holds %q, err %v", c.path, c.file, is.Mode(), text, err)
		}
	}
	for _, name := range []string{"link", "sub/link", "way", "dangling", "circle"} {
		if _, err := os.Readlink(at(name)); err != nil {
			t.Errorf("%s is no link any more: %v", name, err)
		}
	}
	for path, want := range map[string]error{
		"sub": syscall.EISDIR, "way": syscall.EISDIR, "none/file": syscall.ENOENT, "old/file": syscall.ENOTDIR, "circle": syscall.ELOOP,
	} {
		err := WriteFile(at(path), []byte("x"), 0o640)
		if !errors.Is(err, want) || err.Error() != want.Error() {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	var left []string
	must(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); name != "." {
			left = append(left, name)
		}
		return err
	}))
	if len(left) != 9 {
		t.Errorf("left: %v", left)
	}
}

// What is no regular file is written to, and stays what it is.
func TestWriteIntoPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link} {
		r, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for a writer, and lets one open
		if err != nil {
			t.Fatal(err)
		}
		werr := WriteFile(path, []byte(path), 0o644)
		text := make([]byte, 1000)
		n, err := r.Read(text)
		_ = r.Close()
		if werr != nil || err != nil || string(text[:n]) != path {
			t.Errorf("%s: %v; read %q, %v", path, werr, text[:n], err)
		}
		if is, err := os.Stat(path); err != nil || is.Mode().Type() != fs.ModeNamedPipe {
			t.Errorf("%s has become %v, %v", path, is, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}
