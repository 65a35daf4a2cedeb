package github

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" // git's object names
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Objects are read and written in this process where that is simple (loose ones), because a process per object would be most
// of the time a request takes. Packed ones are read through git.

var errNoObject = errors.New("no such object")

// write stores an object and returns its name.
func (g *gitDir) write(kind string, data []byte) (string, error) {
	head := fmt.Sprintf("%s %d\x00", kind, len(data))
	h := sha1.New()
	h.Write([]byte(head))
	h.Write(data)
	sha := hex.EncodeToString(h.Sum(nil))
	path := filepath.Join(g.dir, "objects", sha[:2], sha[2:])
	if _, err := os.Stat(path); err == nil {
		return sha, nil
	}
	var z bytes.Buffer
	w, err := zlib.NewWriterLevel(&z, zlib.BestSpeed)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(append([]byte(head), data...)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "tmp_obj_")
	if err != nil {
		return "", err
	}
	_, err = f.Write(z.Bytes())
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Chmod(f.Name(), 0o444)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return sha, nil
}

// read returns an object's kind and content, or errNoObject.
func (g *gitDir) read(sha string) (kind string, data []byte, err error) {
	if !isSHA(sha) {
		return "", nil, errNoObject
	}
	f, err := os.Open(filepath.Join(g.dir, "objects", sha[:2], sha[2:]))
	if err != nil {
		got, err := g.batch([]string{sha})
		if err != nil {
			return "", nil, err
		}
		return got[0].kind, got[0].data, nil
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return "", nil, err
	}
	all, err := io.ReadAll(z)
	if err != nil {
		return "", nil, err
	}
	head, data, ok := bytes.Cut(all, []byte{0})
	kind, _, ok2 := strings.Cut(string(head), " ")
	if !ok || !ok2 {
		return "", nil, fmt.Errorf("object %s: bad header", sha)
	}
	return kind, data, nil
}

type object struct {
	kind string
	data []byte
}

// batch reads objects through one git process.
func (g *gitDir) batch(shas []string) ([]object, error) {
	out, err := g.run(strings.NewReader(strings.Join(shas, "\n")+"\n"), "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	objects := make([]object, 0, len(shas))
	rest := []byte(out)
	for _, sha := range shas {
		line, more, ok := bytes.Cut(rest, []byte("\n"))
		fields := strings.Fields(string(line))
		if !ok || len(fields) != 3 {
			return nil, fmt.Errorf("%s: %w", sha, errNoObject)
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil || len(more) < n+1 {
			return nil, fmt.Errorf("git cat-file said %q", line)
		}
		objects = append(objects, object{fields[1], more[:n]})
		rest = more[n+1:]
	}
	return objects, nil
}

func isSHA(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// signature is an author or committer.
type signature struct {
	Name, Email string
	Time        time.Time
}

func (s signature) String() string {
	clean := strings.NewReplacer("<", "", ">", "", "\n", " ")
	return fmt.Sprintf("%s <%s> %d %s", clean.Replace(s.Name), clean.Replace(s.Email), s.Time.Unix(), s.Time.Format("-0700"))
}

func parseSignature(s string) signature {
	name, rest, _ := strings.Cut(s, "<")
	email, when, _ := strings.Cut(rest, ">")
	f := strings.Fields(when)
	out := signature{Name: strings.TrimSpace(name), Email: email}
	if len(f) == 2 {
		sec, err := strconv.ParseInt(f[0], 10, 64)
		zone, zerr := time.Parse("-0700", f[1])
		if err == nil && zerr == nil {
			out.Time = time.Unix(sec, 0).In(zone.Location())
		}
	}
	return out
}

// commit is a parsed commit object.
type commit struct {
	sha, tree         string
	parents           []string
	author, committer signature
	message           string
	signed            bool // carries a signature of its own
}

func (c *commit) headline() string {
	h, _, _ := strings.Cut(c.message, "\n")
	return strings.TrimRight(h, "\r ")
}

func (c *commit) body() string {
	_, b, _ := strings.Cut(c.message, "\n")
	return strings.TrimSpace(b)
}

func parseCommit(sha string, data []byte) *commit {
	c := &commit{sha: sha}
	head, message, _ := strings.Cut(string(data), "\n\n")
	c.message = strings.TrimRight(message, "\n")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "tree":
			c.tree = value
		case "parent":
			c.parents = append(c.parents, value)
		case "author":
			c.author = parseSignature(value)
		case "committer":
			c.committer = parseSignature(value)
		case "gpgsig", "gpgsig-sha256":
			c.signed = true
		}
	}
	return c
}

// commit reads one commit, or fails with errNoObject if sha names none.
func (g *gitDir) commit(sha string) (*commit, error) {
	cs, err := g.commits([]string{sha})
	if err != nil {
		return nil, err
	}
	return cs[0], nil
}

// commits reads several; commits never change, so they are kept.
func (g *gitDir) commits(shas []string) ([]*commit, error) {
	var packed []string
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, sha := range shas {
		if !isSHA(sha) {
			return nil, errNoObject
		}
		if g.known[sha] != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(g.dir, "objects", sha[:2], sha[2:])); err != nil {
			packed = append(packed, sha)
			continue
		}
		kind, data, err := g.read(sha)
		if err != nil {
			return nil, err
		}
		if kind != "commit" {
			return nil, errNoObject
		}
		g.known[sha] = parseCommit(sha, data)
	}
	if len(packed) > 0 {
		objects, err := g.batch(packed)
		if err != nil {
			return nil, err
		}
		for i, o := range objects {
			if o.kind != "commit" {
				return nil, errNoObject
			}
			g.known[packed[i]] = parseCommit(packed[i], o.data)
		}
	}
	out := make([]*commit, len(shas))
	for i, sha := range shas {
		out[i] = g.known[sha]
	}
	return out, nil
}

// writeCommit makes a commit object.
func (g *gitDir) writeCommit(tree string, parents []string, author, committer signature, message string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s", author, committer, message)
	if !strings.HasSuffix(message, "\n") {
		b.WriteString("\n")
	}
	return g.write("commit", []byte(b.String()))
}

// entry is a line of a tree.
type entry struct{ mode, name, sha string }

func (e entry) kind() string {
	switch e.mode {
	case "40000", "040000":
		return "tree"
	case "160000":
		return "commit"
	}
	return "blob"
}

// full is the mode with six digits, as the API writes it.
func (e entry) full() string { return strings.Repeat("0", 6-len(e.mode)) + e.mode }

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// tree reads the entries of one tree, not of those below it.
func (g *gitDir) tree(sha string) ([]entry, error) {
	if sha == emptyTree || sha == "" {
		return nil, nil
	}
	kind, data, err := g.read(sha)
	if err != nil {
		return nil, err
	}
	if kind != "tree" {
		return nil, errNoObject
	}
	var out []entry
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, ok2 := strings.Cut(string(head), " ")
		if !ok || !ok2 || len(rest) < 20 {
			return nil, fmt.Errorf("tree %s is broken", sha)
		}
		out = append(out, entry{mode, name, hex.EncodeToString(rest[:20])})
		data = rest[20:]
	}
	return out, nil
}

// writeTree makes a tree of entries in any order.
func (g *gitDir) writeTree(entries []entry) (string, error) {
	order := func(e entry) string {
		if e.kind() == "tree" {
			return e.name + "/"
		}
		return e.name
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(order(a), order(b)) })
	var b bytes.Buffer
	for _, e := range entries {
		raw, err := hex.DecodeString(e.sha)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %s\x00", strings.TrimLeft(e.mode, "0"), e.name)
		b.Write(raw)
	}
	return g.write("tree", b.Bytes())
}

// edit returns a tree like base but with the entries put at their paths (in name); an entry with no sha deletes what is there.
// Directories that become empty go away.
func (g *gitDir) edit(base string, puts []entry) (string, error) {
	here, err := g.tree(base)
	if err != nil {
		return "", err
	}
	below := map[string][]entry{}
	for _, p := range puts {
		dir, rest, deep := strings.Cut(p.name, "/")
		if deep {
			below[dir] = append(below[dir], entry{p.mode, rest, p.sha})
			continue
		}
		here = slices.DeleteFunc(here, func(e entry) bool { return e.name == p.name })
		if p.sha != "" {
			here = append(here, p)
		}
	}
	for dir, puts := range below {
		sub := ""
		i := slices.IndexFunc(here, func(e entry) bool { return e.name == dir })
		if i >= 0 {
			if here[i].kind() == "tree" {
				sub = here[i].sha
			}
			here = slices.Delete(here, i, i+1)
		}
		made, err := g.edit(sub, puts)
		if err != nil {
			return "", err
		}
		if made != emptyTree {
			here = append(here, entry{"40000", dir, made})
		}
	}
	return g.writeTree(here)
}

// lookup finds what is at path in a tree; the tree itself at "".
func (g *gitDir) lookup(tree, path string) (entry, error) {
	at := entry{"40000", "", tree}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		if at.kind() != "tree" {
			return entry{}, errNoObject
		}
		entries, err := g.tree(at.sha)
		if err != nil {
			return entry{}, err
		}
		i := slices.IndexFunc(entries, func(e entry) bool { return e.name == part })
		if i < 0 {
			return entry{}, errNoObject
		}
		at = entries[i]
	}
	return at, nil
}
