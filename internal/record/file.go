package record

// Writing a file that somebody named.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile writes a regular file whole or not at all, by putting another in its place. A symbolic link stays one: what it
// leads to is written. Whatever else has that name (a pipe, a terminal, a device) is written to as it stands: what root puts
// in the place of a device stands there for the whole machine. Errors leave out the name, which the caller knows.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	is, err := os.Stat(path)
	switch {
	case err == nil && is.IsDir():
		return syscall.EISDIR
	case err != nil && !errors.Is(err, fs.ErrNotExist):
	case err == nil && !is.Mode().IsRegular():
		err = pour(path, data)
	default:
		err = replace(end(path), data, mode)
	}
	var named *fs.PathError
	var moved *os.LinkError
	switch {
	case errors.As(err, &named):
		return named.Err
	case errors.As(err, &moved):
		return moved.Err
	}
	return err
}

// pour writes into what is there.
func pour(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// replace puts a new file in the place of one, or where none is.
func replace(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// end is where a chain of symbolic links leads to, be there a file or not.
func end(path string) string {
	for {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return path
			}
			to = filepath.Join(dir, to)
		}
		path = to
	}
}
