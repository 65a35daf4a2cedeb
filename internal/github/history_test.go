package github

// Random histories, written with one git process each, for the tests that hold reverts against `git revert`.

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// git runs git with nobody's configuration.
func git(t testing.TB, dir string, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "gc.auto=0", "-c", "core.fsync=none", "-c", "advice.detachedHead=false",
		"-c", "protocol.file.allow=always", "-c", "maintenance.auto=false"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com", "GIT_EDITOR=true", "LC_ALL=C"}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), err
}

func mustGit(t testing.TB, dir string, stdin []byte, args ...string) string {
	t.Helper()
	out, err := git(t, dir, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

type entry struct{ mode, data string } // of a submodule, data is the commit

type files map[string]entry

// point is one commit of a history before Git has named it.
type point struct {
	mark    int
	parents []*point
	tree    files
	title   string
	date    time.Time
	pr      int
	sha     rollback.Commit
	treeSHA string
}

// merged is one pull request of a history.
type merged struct {
	number int
	method rollback.MergeMethod
	own    []*point // its commits, oldest first
	landed *point   // its merge commit
}

// story is one random history.
type story struct {
	rnd   *rand.Rand
	clock time.Time
	marks *int
	all   []*point
	main  []*point // first-parent line, oldest first
	prs   []merged
}

func (s *story) commit(tree files, pr int, title string, parents ...*point) *point {
	*s.marks++
	s.clock = s.clock.Add(time.Minute)
	p := &point{mark: *s.marks, parents: parents, tree: tree, title: title, date: s.clock, pr: pr}
	s.all = append(s.all, p)
	return p
}

func (s *story) tip() *point { return s.main[len(s.main)-1] }

func lines(n int, seed string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s line %d\n", seed, i)
	}
	return b.String()
}

const someCommit = "%040x" // of a submodule

// newStory makes a history of a few steps on a main branch: pushes, squashes, rebases, merges, octopus merges, reverts.
func newStory(rnd *rand.Rand, marks *int) *story {
	s := &story{rnd: rnd, clock: time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC), marks: marks}
	tree := files{
		"README.md":     {"100644", lines(60, "readme")},
		"src/a.go":      {"100644", lines(150, "a")},
		"src/b.go":      {"100644", lines(150, "b")},
		"src/deep/c.go": {"100644", lines(80, "c")},
		"run.sh":        {"100755", lines(3, "run")},
		"logo.png":      {"100644", "\x89PNG\x00\x01" + lines(2, "bin")},
		"link":          {"120000", "src/a.go"},
		"vendor/lib":    {"160000", fmt.Sprintf(someCommit, 1)},
	}
	s.main = []*point{s.commit(tree, 0, "root")}
	for range 2 + rnd.IntN(4) {
		s.step()
	}
	return s
}

func (s *story) step() {
	n := len(s.prs) + 1
	fork := s.main[max(0, len(s.main)-1-s.rnd.IntN(3))]
	switch s.rnd.IntN(9) {
	case 0, 1, 7: // pushed
		s.main = append(s.main, s.commit(s.change(s.tip().tree), 0, fmt.Sprintf("push %d", *s.marks), s.tip()))
	case 2, 3, 8: // squashed
		own := s.branch(fork, n, 1+s.rnd.IntN(3))
		landed := s.commit(apply(s.tip().tree, fork.tree, own[len(own)-1].tree), n, fmt.Sprintf("pull request (#%d)", n), s.tip())
		s.main = append(s.main, landed)
		s.prs = append(s.prs, merged{n, rollback.MergedBySquash, own, landed})
	case 4: // rebased
		own := s.branch(fork, n, 2+s.rnd.IntN(3))
		before := fork
		for _, c := range own {
			p := s.commit(apply(s.tip().tree, before.tree, c.tree), n, c.title, s.tip())
			p.date = c.date
			s.main = append(s.main, p)
			before = c
		}
		s.prs = append(s.prs, merged{n, rollback.MergedByRebase, own, s.tip()})
	case 5: // merged, perhaps with main merged back into it first
		own := s.branch(fork, n, 1+s.rnd.IntN(2))
		last := own[len(own)-1]
		if s.rnd.IntN(3) == 0 && fork != s.tip() {
			last = s.commit(apply(s.tip().tree, fork.tree, last.tree), n, "back-merge", last, s.tip())
			own = append(own, last)
			fork = s.tip()
		}
		tree := apply(s.tip().tree, fork.tree, last.tree)
		if s.rnd.IntN(6) == 0 { // conflicts were resolved by hand
			tree = s.change(tree)
		}
		landed := s.commit(tree, n, fmt.Sprintf("Merge pull request #%d", n), s.tip(), last)
		s.main = append(s.main, landed)
		s.prs = append(s.prs, merged{n, rollback.MergedByCommit, own, landed})
	case 6:
		if s.rnd.IntN(2) == 0 && len(s.main) > 1 { // a revert, which may be reverted in turn
			c := s.main[1+s.rnd.IntN(len(s.main)-1)]
			s.main = append(s.main, s.commit(apply(s.tip().tree, c.tree, c.parents[0].tree), 0, "Revert", s.tip()))
			return
		}
		one, two := s.branch(fork, n, 1), s.branch(fork, n, 1)
		tree := apply(apply(s.tip().tree, fork.tree, one[0].tree), fork.tree, two[0].tree)
		landed := s.commit(tree, n, "octopus", s.tip(), one[0], two[0])
		s.main = append(s.main, landed)
		s.prs = append(s.prs, merged{n, rollback.MergedByCommit, one, landed})
	}
}

func (s *story) branch(fork *point, pr, n int) []*point {
	var own []*point
	for i := range n {
		last := fork
		if i > 0 {
			last = own[i-1]
		}
		own = append(own, s.commit(s.change(last.tree), pr, fmt.Sprintf("work %d of %d, %d", i+1, pr, *s.marks), last))
	}
	return own
}

// apply brings what differs between two trees into a third, file by file: what a merge makes where a person solves the rest.
func apply(onto, from, to files) files {
	out := maps.Clone(onto)
	for p := range from {
		if _, kept := to[p]; !kept {
			delete(out, p)
		}
	}
	for p, e := range to {
		old, had := from[p]
		if had && old == e {
			continue
		}
		if ours, ok := out[p]; ok && had && ours != old && ours.mode[:3] == "100" && e.mode[:3] == "100" { // both changed: take over the lines that are new
			for l := range strings.Lines(e.data) {
				if !strings.Contains(old.data, l) && !strings.Contains(ours.data, l) {
					ours.data += l
				}
			}
			e = ours
		}
		out.put(p, e)
	}
	return out
}

// put writes a file; folders and files that are in its way go.
func (f files) put(path string, e entry) {
	for p := range f {
		if strings.HasPrefix(p, path+"/") || strings.HasPrefix(path, p+"/") {
			delete(f, p)
		}
	}
	f[path] = e
}

// change does one to three things to a tree.
func (s *story) change(tree files) files {
	out := maps.Clone(tree)
	for range 1 + s.rnd.IntN(3) {
		paths := slices.Sorted(maps.Keys(out))
		if len(paths) == 0 {
			out.put("new.txt", entry{"100644", lines(5, "new")})
			continue
		}
		path := paths[s.rnd.IntN(len(paths))]
		e := out[path]
		all := slices.Collect(strings.Lines(e.data))
		word := fmt.Sprintf("change %d\n", s.rnd.IntN(1000))
		switch op := s.rnd.IntN(36); {
		case e.mode == "160000":
			out[path] = entry{"160000", fmt.Sprintf(someCommit, 1+s.rnd.IntN(4))}
		case e.mode == "120000":
			out[path] = entry{"120000", []string{"src/a.go", "src/b.go", "README.md"}[s.rnd.IntN(3)]}
		case op < 5 && len(all) > 0:
			all[s.rnd.IntN(len(all))] = word
			out[path] = entry{e.mode, strings.Join(all, "")}
		case op < 8:
			all = slices.Insert(all, s.rnd.IntN(len(all)+1), word)
			out[path] = entry{e.mode, strings.Join(all, "")}
		case op == 8 && len(all) > 2:
			i := s.rnd.IntN(len(all) - 1)
			out[path] = entry{e.mode, strings.Join(slices.Delete(all, i, i+1), "")}
		case op == 9 && len(paths) > 2:
			delete(out, path)
		case op == 10:
			out.put(fmt.Sprintf("new/%d.txt", s.rnd.IntN(4)), entry{"100644", lines(4+s.rnd.IntN(8), word[:8])})
		case op == 11: // renamed, perhaps with a change
			delete(out, path)
			if s.rnd.IntN(2) == 0 {
				e.data += word
			}
			out.put(fmt.Sprintf("moved/%d-%s", s.rnd.IntN(3), filepath.Base(path)), e)
		case op == 12 && s.rnd.IntN(2) == 0: // the folder is renamed
			for _, p := range paths {
				if rest, ok := strings.CutPrefix(p, "src/"); ok {
					f := out[p]
					delete(out, p)
					out.put("lib/"+rest, f)
				}
			}
		case op == 13 && e.mode == "100644":
			out[path] = entry{"100755", e.data}
		case op == 13 && e.mode == "100755":
			out[path] = entry{"100644", e.data}
		case op == 14 && s.rnd.IntN(2) == 0: // a file becomes a folder
			delete(out, path)
			out.put(path+"/inside", e)
		default:
			i := s.rnd.IntN(len(all) + 1)
			out[path] = entry{e.mode, strings.Join(slices.Insert(all, i, word), "")}
		}
	}
	return out
}

// changes is the first-parent line as the forge tells it, newest first.
func (s *story) changes() []rollback.Change {
	var list []rollback.Change
	for _, p := range slices.Backward(s.main) {
		list = append(list, p.change())
	}
	return list
}

func (p *point) change() rollback.Change {
	c := rollback.Change{Commit: p.sha, Title: p.title, Author: "Ada", Date: p.date, PR: p.pr}
	for _, q := range p.parents {
		c.Parents = append(c.Parents, q.sha)
	}
	return c
}

// write puts the stories into a bare repository with one process, and learns the ids with another two.
func write(t testing.TB, dir string, stories []*story, extra ...*point) {
	t.Helper()
	var b bytes.Buffer
	byMark := map[int]*point{}
	emit := func(ref string, p *point) {
		byMark[p.mark] = p
		fmt.Fprintf(&b, "commit %s\nmark :%d\n", ref, p.mark)
		fmt.Fprintf(&b, "author Ada <ada@example.com> %d +0000\ncommitter Ada <ada@example.com> %d +0000\n", p.date.Unix(), p.date.Unix()+int64(p.mark))
		fmt.Fprintf(&b, "data %d\n%s\n", len(p.title), p.title)
		for i, q := range p.parents {
			word := "merge"
			if i == 0 {
				word = "from"
			}
			if q.sha != "" {
				fmt.Fprintf(&b, "%s %s\n", word, q.sha)
			} else {
				fmt.Fprintf(&b, "%s :%d\n", word, q.mark)
			}
		}
		b.WriteString("deleteall\n")
		for _, path := range slices.Sorted(maps.Keys(p.tree)) {
			switch e := p.tree[path]; e.mode {
			case "160000":
				fmt.Fprintf(&b, "M 160000 %s %q\n", e.data, path)
			default:
				fmt.Fprintf(&b, "M %s inline %q\ndata %d\n%s\n", e.mode, path, len(e.data), e.data)
			}
		}
	}
	for i, s := range stories {
		for _, p := range s.all {
			emit(fmt.Sprintf("refs/stories/%d", i), p)
		}
		fmt.Fprintf(&b, "reset refs/heads/story-%d\nfrom :%d\n\n", i, s.tip().mark)
	}
	for _, p := range extra {
		emit(fmt.Sprintf("refs/extra/%d", p.mark), p)
	}
	marks := filepath.Join(t.TempDir(), "marks")
	mustGit(t, dir, b.Bytes(), "fast-import", "--quiet", "--force", "--export-marks="+marks)
	text, err := os.ReadFile(marks)
	if err != nil {
		t.Fatal(err)
	}
	var ask bytes.Buffer
	var order []*point
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		var mark int
		var sha string
		if _, err := fmt.Sscanf(sc.Text(), ":%d %s", &mark, &sha); err != nil {
			t.Fatal(err)
		}
		p := byMark[mark]
		p.sha = rollback.Commit(sha)
		order = append(order, p)
		fmt.Fprintf(&ask, "%s^{tree}\n", sha)
	}
	trees := strings.Fields(mustGit(t, dir, ask.Bytes(), "cat-file", "--batch-check=%(objectname)"))
	if len(trees) != len(order) || len(order) != len(byMark) {
		t.Fatalf("%d trees of %d commits of %d", len(trees), len(order), len(byMark))
	}
	for i, p := range order {
		p.treeSHA = trees[i]
	}
}
