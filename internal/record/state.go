package record

import (
	"path/filepath"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// StateDir is the directory for journals: $ROLLBACK_STATE; on Jenkins $WORKSPACE/.rollback, where the pipeline archives
// it; else the user's state directory (https://specifications.freedesktop.org/basedir-spec/latest/#variables). getenv is
// os.Getenv; an empty variable counts as unset.
func StateDir(getenv func(string) string) (string, error) {
	if dir := getenv("ROLLBACK_STATE"); dir != "" {
		return dir, nil
	}
	if workspace := getenv("WORKSPACE"); workspace != "" && getenv("JENKINS_URL") != "" {
		return filepath.Join(workspace, ".rollback"), nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // relative ones are to be ignored
		return filepath.Join(dir, "rollback"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "rollback"), nil
	}
	return "", rollback.UsageErrorf("no place for the journal: none of ROLLBACK_STATE, XDG_STATE_HOME and HOME is set")
}

// JournalPath is the journal of one run: <service>-<environment>-<run id>.jsonl.
func JournalPath(dir string, scope rollback.Scope, run string) string {
	return filepath.Join(dir, scope.Service+"-"+scope.Environment+"-"+fileName(run)+".jsonl")
}

// fileName keeps what is safe in a file's name.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_.", r):
			return r
		}
		return '_'
	}, s)
}
