// Package config reads rollback.yaml and decides what one scope's settings are.
//
// A setting comes from, first match wins: flag, environment variable, the service's entry (its own environments section
// before the rest of it), the environment's section, defaults, built in. Settings is the one table of them all. The file
// is strict: every mistake in it is reported at once, with file:line:column, and nothing runs on a file with a mistake.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// FileNames are the names looked for, upwards from the working directory. A directory that holds both is refused.
var FileNames = []string{"rollback.yaml", "rollback.yml"}

// FileVariable names the file where --config does not.
const FileVariable = "ROLLBACK_CONFIG"

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

// File is a rollback.yaml that was read without a mistake. The zero File is no file at all: then flags and variables
// carry everything.
type File struct {
	// Name is the file as people know it: as it was given, or relative to the working directory. "" without a file.
	Name string
	// dir is the directory that relative paths in the file start from.
	dir string

	strict       *leaf
	defaults     values
	environments map[string]values
	services     map[string]values
	overrides    map[rollback.Scope]values // services.X.environments.Y
}

// name is what the file is called in messages.
func (f *File) name() string {
	if f.Name == "" {
		return FileNames[0]
	}
	return f.Name
}

// Environments are the declared environments, sorted.
func (f *File) Environments() []string { return sortedKeys(f.environments) }

// Services are the declared services, sorted. Others may be used as well, unless strictServices is set.
func (f *File) Services() []string { return sortedKeys(f.services) }

// Load finds the file (see Find), reads it and parses it. Without a file it returns the zero File.
func Load(explicit string, getenv func(string) string, dir string) (*File, error) {
	path, name, err := Find(explicit, getenv, dir)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return &File{}, nil
	}
	data, err := read(path, name)
	if err != nil {
		return nil, err
	}
	f, err := Parse(name, data)
	if err != nil {
		return nil, err
	}
	if abs, err := filepath.Abs(path); err == nil {
		f.dir = filepath.Dir(abs)
	} else {
		f.dir = filepath.Dir(path)
	}
	return f, nil
}

// Find tells which file counts: the explicit one, else the one ROLLBACK_CONFIG names, else the nearest one from dir
// upwards. path is what to open and name what to call it; both are "" when there is none. A file that was asked for by
// name must exist.
func Find(explicit string, getenv func(string) string, dir string) (path, name string, err error) {
	if explicit != "" {
		return named("--config", explicit, dir)
	}
	if v := getenv(FileVariable); v != "" {
		return named(FileVariable, v, dir)
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		var found []string
		for _, n := range FileNames {
			info, err := os.Stat(filepath.Join(at, n))
			if err == nil && !info.IsDir() {
				found = append(found, filepath.Join(at, n))
			}
		}
		switch len(found) {
		case 1:
			name := found[0]
			if rel, err := filepath.Rel(dir, name); err == nil {
				name = rel
			}
			return found[0], name, nil
		case 2:
			return "", "", rollback.UsageErrorf("%s and %s both exist: keep one, or name it with --config", found[0], found[1])
		}
		if filepath.Dir(at) == at {
			return "", "", nil
		}
	}
}

func named(origin, file, dir string) (path, name string, err error) {
	path = file
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", rollback.UsageErrorf("%s %s: there is no such file", origin, file)
	case err != nil:
		return "", "", rollback.UsageErrorf("%s %s: %w", origin, file, bare(err))
	case info.IsDir():
		return "", "", rollback.UsageErrorf("%s %s: is a directory, want a file", origin, file)
	}
	return path, file, nil
}

func read(path, name string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, rollback.UsageErrorf("%s: cannot be read: %w", name, bare(err))
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, rollback.UsageErrorf("%s: cannot be read: %w", name, bare(err))
	}
	return data, nil
}

// bare is the error without the path, which the message has already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%w", p.Err)
	}
	return err
}
