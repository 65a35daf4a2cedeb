package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gitDir is a bare repository and what is asked of the git binary about it.
type gitDir struct {
	dir string
	env []string

	mu    sync.Mutex
	known map[string]*commit
}

// gitTimeout bounds one git process; only a broken machine reaches it.
const gitTimeout = 2 * time.Minute

// gitEnv is an environment in which only what is said here matters, not the machine's or the user's configuration.
func gitEnv(home string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	return append(env, "HOME="+home, "XDG_CONFIG_HOME="+home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_DEFAULT_HASH=sha1", "GIT_DEFAULT_REF_FORMAT=files", "LC_ALL=C", "TZ=UTC",
		"GIT_AUTHOR_NAME=nobody", "GIT_AUTHOR_EMAIL=nobody@example.com", "GIT_COMMITTER_NAME=nobody", "GIT_COMMITTER_EMAIL=nobody@example.com")
}

// initGit makes an empty bare repository that serves partial and shallow clones and never packs by itself.
func initGit(dir string, env []string, branch string) (*gitDir, error) {
	g := &gitDir{dir: dir, env: env, known: map[string]*commit{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := g.run(nil, "init", "--quiet", "--bare", "--template=", "--initial-branch="+branch); err != nil {
		return nil, err
	}
	config, err := os.OpenFile(filepath.Join(dir, "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(config, `[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
[gc]
	auto = 0
[receive]
	autogc = false
	unpackLimit = 2000
[core]
	logAllRefUpdates = false
	hooksPath = hooks
`)
	if err = errors.Join(err, config.Close()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "hooks"), 0o755); err != nil {
		return nil, err
	}
	return g, os.WriteFile(filepath.Join(dir, "hooks", "update"), []byte(updateHook), 0o755)
}

// gitError is a git process that failed.
type gitError struct {
	args   []string
	status int
	stderr string
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: exit %d: %s", strings.Join(e.args, " "), e.status, strings.TrimSpace(e.stderr))
}

func (g *gitDir) run(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	// Whatever a newer git does, merge attributes of the tree must not matter: GitHub ignores them.
	c := exec.CommandContext(ctx, "git", append([]string{"-c", "attr.tree=" + emptyTree}, args...)...)
	c.Dir, c.Env, c.Stdin = g.dir, append(g.env, "GIT_DIR=."), stdin
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return out.String(), &gitError{args, exit.ExitCode(), errs.String()}
	}
	return out.String(), err
}

// status is the exit status in err, 0 without one, -1 if git did not run.
func status(err error) int {
	if err == nil {
		return 0
	}
	if g := (*gitError)(nil); errors.As(err, &g) {
		return g.status
	}
	return -1
}

// ref is the commit (or tag object) that a full ref name points at, "" if there is none.
func (g *gitDir) ref(name string) string {
	if !refName(name) {
		return ""
	}
	if b, err := os.ReadFile(filepath.Join(g.dir, filepath.FromSlash(name))); err == nil {
		if sha := strings.TrimSpace(string(b)); isSHA(sha) {
			return sha
		}
	}
	if b, err := os.ReadFile(filepath.Join(g.dir, "packed-refs")); err == nil {
		for line := range strings.Lines(string(b)) {
			if sha, n, ok := strings.Cut(strings.TrimSpace(line), " "); ok && n == name {
				return sha
			}
		}
	}
	return ""
}

// refName tells whether git would take a full ref name (git help check-ref-format).
func refName(name string) bool {
	if !strings.HasPrefix(name, "refs/") || strings.Count(name, "/") < 2 || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.Contains(name, "//") || strings.ContainsAny(name, " ~^:?*[\\\x7f") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") || part == "" {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

type ref struct{ name, sha string }

// refs lists the refs below a prefix, sorted by name.
func (g *gitDir) refs(prefix string) ([]ref, error) {
	out, err := g.run(nil, "for-each-ref", "--format=%(objectname) %(refname)", prefix)
	if err != nil {
		return nil, err
	}
	var all []ref
	for line := range strings.Lines(out) {
		sha, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		all = append(all, ref{name, sha})
	}
	return all, nil
}

const noSHA = "0000000000000000000000000000000000000000"

// setRef moves, makes (old noSHA) or deletes (sha "") a ref; it fails if the ref is not at old, which "" leaves unchecked.
func (g *gitDir) setRef(name, sha, old string) error {
	args := []string{"update-ref", "--no-deref"}
	if sha == "" {
		args = append(args, "-d", name)
	} else {
		args = append(args, name, sha)
	}
	if old != "" {
		args = append(args, old)
	}
	_, err := g.run(nil, args...)
	return err
}

// resolve turns a SHA, a short SHA, a branch, a tag or a ref name into the commit it names; "" if there is none.
func (g *gitDir) resolve(name string) string {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, " ~^:?*[\\") || strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return ""
	}
	if isSHA(name) {
		if _, err := g.commit(name); err == nil {
			return name
		}
	}
	for _, full := range []string{name, "refs/heads/" + name, "refs/tags/" + name, "refs/" + name} {
		sha := g.ref(full)
		if sha == "" {
			continue
		}
		if _, err := g.commit(sha); err == nil {
			return sha
		}
		if out, err := g.run(nil, "rev-parse", "--verify", "--quiet", sha+"^{commit}"); err == nil {
			return strings.TrimSpace(out)
		}
	}
	if len(name) >= 7 && len(name) < 40 && strings.Trim(name, "0123456789abcdef") == "" {
		if out, err := g.run(nil, "rev-parse", "--verify", "--quiet", name+"^{commit}"); err == nil {
			return strings.TrimSpace(out)
		}
	}
	return ""
}

func (g *gitDir) isAncestor(a, b string) bool {
	if a == b {
		return true
	}
	_, err := g.run(nil, "merge-base", "--is-ancestor", a, b)
	return err == nil
}

// mergeBase is the best common ancestor, "" without one.
func (g *gitDir) mergeBase(a, b string) string {
	if a == b {
		return a
	}
	out, err := g.run(nil, "merge-base", a, b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func (g *gitDir) revList(args ...string) ([]string, error) {
	out, err := g.run(nil, append([]string{"rev-list"}, args...)...)
	if err != nil {
		return nil, err
	}
	return strings.Fields(out), nil
}

var errConflict = errors.New("merge conflict")

// mergeTree is the three-way merge GitHub does (merge-ort): the tree, or errConflict.
func (g *gitDir) mergeTree(ours, theirs string) (string, error) {
	out, err := g.run(nil, "merge-tree", "--write-tree", "--no-messages", "--allow-unrelated-histories", ours, theirs)
	switch status(err) {
	case 0:
		return strings.TrimSpace(out), nil
	case 1:
		return "", errConflict
	}
	return "", err
}

// fileChange is one file of a diff.
type fileChange struct {
	status               string // as the API says it: added, removed, modified, renamed, changed
	path, was            string
	sha                  string // of the new content; of the old one if it was removed
	additions, deletions int
}

// diff compares two trees or commits; a may be emptyTree.
func (g *gitDir) diff(a, b string) ([]fileChange, error) {
	out, err := g.run(nil, "diff-tree", "-r", "-M", "-z", "--raw", "--numstat", a, b)
	if err != nil {
		return nil, err
	}
	var files []fileChange
	tokens := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	at := map[string]int{}
	i := 0
	next := func() string {
		if i >= len(tokens) {
			return ""
		}
		i++
		return tokens[i-1]
	}
	for i < len(tokens) && strings.HasPrefix(tokens[i], ":") {
		f := strings.Fields(next())
		if len(f) != 5 {
			return nil, fmt.Errorf("git diff-tree said %q", f)
		}
		c := fileChange{sha: f[3], path: next()}
		switch f[4][0] {
		case 'A':
			c.status = "added"
		case 'D':
			c.status, c.sha = "removed", f[2]
		case 'R':
			c.status, c.was, c.path = "renamed", c.path, next()
		case 'T':
			c.status = "changed"
		default:
			c.status = "modified"
			if f[2] == f[3] {
				c.status = "changed" // the mode alone
			}
		}
		at[c.path] = len(files)
		files = append(files, c)
	}
	for i < len(tokens) && tokens[i] != "" {
		f := strings.SplitN(next(), "\t", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("git diff-tree said %q", f)
		}
		path := f[2]
		if path == "" { // a rename: the two names follow
			next()
			path = next()
		}
		if n, ok := at[path]; ok && f[0] != "-" {
			var err, err2 error
			files[n].additions, err = strconv.Atoi(f[0])
			files[n].deletions, err2 = strconv.Atoi(f[1])
			if err = errors.Join(err, err2); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}
