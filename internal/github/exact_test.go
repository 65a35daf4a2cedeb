package github

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// wanted is one thing to undo in a story.
type wanted struct {
	story *story
	what  string
	rng   rollback.Range
	// stepwise are the commits that git reverts one after another, with the parent that is kept (0 = not a merge).
	stepwise []rollback.Commit
	mainline []int
	// theirs stands in for "theirs": the tree of Good as a child of Bad.
	theirs *point
	head   *point
}

// wish picks what to undo and decides, with the domain's own functions, which range that is.
func wish(t *testing.T, rnd *rand.Rand, s *story) *wanted {
	t.Helper()
	line := s.changes()
	w := &wanted{story: s, head: s.tip()}
	var err error
	step := func(c rollback.Change) {
		w.stepwise = append(w.stepwise, c.Commit)
		m := 0
		if len(c.Parents) > 1 {
			m = 1
		}
		w.mainline = append(w.mainline, m)
	}
	switch kind := rnd.IntN(4); {
	case kind < 2 && len(s.prs) > 0:
		pr := s.prs[rnd.IntN(len(s.prs))]
		at := rollback.FindChange(line, pr.landed.sha)
		var own []rollback.Change
		for _, p := range pr.own {
			own = append(own, p.change())
		}
		given := line[at:]
		if rnd.IntN(2) == 0 { // a forge that does not say which pull request a commit came from
			given = append([]rollback.Change(nil), given...)
			for i := range given {
				given[i].PR = 0
			}
		}
		p := rollback.PullRequest{Number: pr.number, State: rollback.PullMerged, MergeCommit: pr.landed.sha, Commits: len(pr.own), HeadCommit: pr.own[len(pr.own)-1].sha}
		var method rollback.MergeMethod
		w.what = fmt.Sprintf("#%d (%s)", pr.number, pr.method)
		if w.rng, method, err = rollback.PullRange(p, given, own); err != nil {
			t.Fatal(err)
		}
		if method != pr.method {
			t.Fatalf("#%d was merged by %s, taken for %s", pr.number, pr.method, method)
		}
		undone, complete := rollback.UndoneBy(line, w.rng)
		if !complete {
			t.Fatalf("%s is not whole on the line", w.rng)
		}
		for _, c := range undone {
			step(c)
		}
	case kind < 3:
		p := s.all[1+rnd.IntN(len(s.all)-1)]
		if !ancestor(p, s.tip()) {
			p = s.tip()
		}
		w.what = "commit " + p.title
		if w.rng, err = rollback.CommitRange(p.change()); err != nil {
			t.Fatal(err)
		}
		step(p.change())
	default:
		bad := rnd.IntN(len(line) - 1)
		if rnd.IntN(2) == 0 {
			bad = 0
		}
		good := bad + 1 + rnd.IntN(len(line)-bad-1)
		w.what = "range"
		w.rng = rollback.Range{Good: line[good].Commit, Bad: line[bad].Commit}
		for _, c := range line[bad:good] {
			step(c)
		}
	}
	good, bad := s.find(w.rng.Good), s.find(w.rng.Bad)
	*s.marks++
	w.theirs = &point{mark: *s.marks, parents: []*point{bad}, tree: good.tree, treeSHA: good.treeSHA, title: "temporary", date: s.clock}
	return w
}

func (s *story) find(c rollback.Commit) *point {
	for _, p := range s.all {
		if p.sha == c {
			return p
		}
	}
	return nil
}

func ancestor(p, of *point) bool {
	if p == of {
		return true
	}
	for _, q := range of.parents {
		if ancestor(p, q) {
			return true
		}
	}
	return false
}

// mergeTrees does all merges with one process: the tree, or "" for a conflict.
func mergeTrees(t testing.TB, dir string, all []*wanted) []string {
	t.Helper()
	var in strings.Builder
	for _, w := range all {
		fmt.Fprintf(&in, "%s %s\n", w.head.sha, w.theirs.sha)
	}
	out, err := git(t, dir, []byte(in.String()), "merge-tree", "--write-tree", "--stdin", "--no-messages", "--name-only")
	if err != nil {
		t.Fatal(err)
	}
	// Each merge: status, NUL, tree, NUL, then the names of conflicting files with a NUL each, and another NUL.
	fields := strings.Split(out, "\x00")
	var trees []string
	for i := 0; i+1 < len(fields); {
		ok, tree := fields[i], fields[i+1]
		i += 2
		for i < len(fields) && fields[i] != "" {
			i++
		}
		i++
		if ok == "1" {
			trees = append(trees, tree)
		} else {
			trees = append(trees, "")
		}
	}
	if len(trees) != len(all) {
		t.Fatalf("%d results of %d merges", len(trees), len(all))
	}
	return trees
}

// byGit does with `git revert` in a work tree what was wished for: the tree, or "" for a conflict.
func byGit(t testing.TB, work string, w *wanted) (string, error) {
	t.Helper()
	if _, err := git(t, work, nil, "reset", "-q", "--hard", string(w.head.sha)); err != nil {
		return "", err
	}
	for i := 0; i < len(w.stepwise); {
		args := []string{"revert", "--no-commit"}
		if w.mainline[i] > 0 {
			args = append(args, "-m", fmt.Sprint(w.mainline[i]))
		}
		args = append(args, string(w.stepwise[i]))
		for i++; i < len(w.stepwise) && w.mainline[i] == 0 && w.mainline[i-1] == 0; i++ {
			args = append(args, string(w.stepwise[i]))
		}
		out, err := git(t, work, nil, args...)
		if err == nil {
			continue
		}
		// Git 2.39 dies of a bug on some conflicts of a file with a folder.
		if !strings.Contains(out, "CONFLICT") && !strings.Contains(err.Error(), "BUG: merge-ort.c") {
			return "", err
		}
		_ = os.Remove(filepath.Join(work, ".git", "index.lock"))
		if _, err := git(t, work, nil, "reset", "-q", "--hard"); err != nil {
			return "", err
		}
		if strings.Contains(out, "directory") || strings.Contains(out, "rename") || strings.Contains(err.Error(), "BUG") { // files under other names are left
			if _, err := git(t, work, nil, "clean", "-q", "-ffdx"); err != nil {
				return "", err
			}
		}
		return "", os.RemoveAll(filepath.Join(work, ".git", "sequencer"))
	}
	tree, err := git(t, work, nil, "write-tree")
	return strings.TrimSpace(tree), err
}

// manyByGit reverts what was wished for in many histories with one process, as the steps of one rebase: reset, revert,
// label. It returns how many were done before git stopped at one that conflicts or is empty.
func manyByGit(t testing.TB, work string, all []*wanted, which []int, got []string) int {
	t.Helper()
	var todo strings.Builder
	for _, i := range which {
		fmt.Fprintf(&todo, "reset %s\n", all[i].head.sha)
		for _, c := range all[i].stepwise {
			fmt.Fprintf(&todo, "revert %s\n", c)
		}
		fmt.Fprintf(&todo, "label r%d\n", i)
	}
	todo.WriteString("break\n")
	file := filepath.Join(work, ".git", "steps")
	if err := os.WriteFile(file, []byte(todo.String()), 0o644); err != nil {
		t.Error(err)
		return 0
	}
	start := string(all[which[0]].head.sha)
	if _, err := git(t, work, nil, "checkout", "-q", "-f", "--detach", start); err != nil {
		t.Error(err)
		return 0
	}
	_, _ = git(t, work, nil, "-c", "sequence.editor=cp .git/steps", "rebase", "-q", "-i", "--root")
	out, err := git(t, work, nil, "for-each-ref", "--format=%(refname:lstrip=2) %(tree)", "refs/rewritten")
	if err != nil {
		t.Error(err)
		return 0
	}
	trees := map[string]string{}
	for l := range strings.Lines(out) {
		if name, tree, ok := strings.Cut(strings.TrimSpace(l), " "); ok {
			trees[name] = tree
		}
	}
	for _, args := range [][]string{{"rebase", "--quit"}, {"reset", "-q", "--hard"}, {"clean", "-q", "-ffdx"}} {
		_, _ = git(t, work, nil, args...)
	}
	_ = os.RemoveAll(filepath.Join(work, ".git", "refs", "rewritten"))
	for n, i := range which {
		tree, ok := trees[fmt.Sprintf("r%d", i)]
		if !ok {
			return n
		}
		got[i] = tree
	}
	return len(which)
}

// borrow makes a work tree whose objects are those of another repository, without its thousands of branches.
func borrow(t testing.TB, work, from string) error {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if _, err := git(t, work, nil, "init", "-q"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, ".git", "objects", "info", "alternates"), []byte(filepath.Join(from, "objects")+"\n"), 0o644)
}

// histories is how many random histories the suite goes through.
const histories = 1000

// The exceptions. All are of ranges of two or more commits, which are undone in one step here and in several by
// `git revert`, and in all the one step is the better or the safer one. For one commit, whatever its parents, there is none.
const (
	// A commit in the middle conflicts by itself, although the range as a whole does not.
	onlyStepwise = "exception: only stepwise conflicts"
	// Good, Bad and the tip have three different contents, and a later commit has brought back what stood in the middle of
	// the range. Stepwise, git meets it there and goes on to Good, as if nobody had chosen it. Ours asks a person.
	onlyAtOnce = "exception: only the one step conflicts"
	// The range changes something and changes it back, and a later commit changes it again in the same way. Stepwise, git
	// takes the later change for the range's own and undoes it too; ours keeps it, because the range as a whole left it alone.
	bothClean = "exception: both clean, and different"
)

// rare is the largest part of all histories that may be such an exception: one in a hundred of each kind.
const rare = histories / 100

// The merge that the revert is made of gives what `git revert` gives, or both conflict, on random histories of edits,
// renames, deletions, modes, binaries, links, submodules, squashes, rebases, merges and octopus merges.
func TestMergeIsGitRevert(t *testing.T) {
	t.Parallel()
	seed := uint64(20261123)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	bare := filepath.Join(dir, "bare")
	mustGit(t, dir, nil, "init", "-q", "--bare", bare)
	marks := 0
	var stories []*story
	for range histories {
		stories = append(stories, newStory(rnd, &marks))
	}
	write(t, bare, stories)
	var all []*wanted
	var theirs []*point
	for _, s := range stories {
		w := wish(t, rnd, s)
		all, theirs = append(all, w), append(theirs, w.theirs)
	}
	write(t, bare, nil, theirs...)
	ours := mergeTrees(t, bare, all)

	got := make([]string, len(all))
	var linear, single []int
	for i, w := range all {
		if slices.Max(w.mainline) == 0 && ours[i] != "" && ours[i] != w.head.treeSHA {
			linear = append(linear, i)
		} else {
			single = append(single, i)
		}
	}
	work := func(name string) string {
		at := filepath.Join(dir, name)
		if err := borrow(t, at, bare); err != nil {
			t.Error(err)
		}
		return at
	}
	one := func(at string, i int) {
		var err error
		if got[i], err = byGit(t, at, all[i]); err != nil {
			t.Errorf("history %d, %s: %v", i, all[i].what, err)
		}
	}
	var wave sync.WaitGroup
	for n := range 2 {
		wave.Go(func() {
			at := work(fmt.Sprint("single", n))
			for i := n; i < len(single); i += 2 {
				one(at, single[i])
			}
		})
	}
	wave.Go(func() {
		at := work("linear")
		for left := linear; len(left) > 0; {
			done := manyByGit(t, at, all, left, got)
			if left = left[done:]; len(left) > 0 { // git stopped at this one
				one(at, left[0])
				left = left[1:]
			}
		}
	})
	wave.Wait()

	count := map[string]int{}
	for i, w := range all {
		kind, _, _ := strings.Cut(w.what, " ")
		if strings.HasPrefix(kind, "#") {
			kind = w.what[strings.Index(w.what, "("):]
		}
		count[kind]++
		if w.rng.Bad == w.head.sha { // the tree of Good, without a merge
			if tree := w.story.find(w.rng.Good).treeSHA; ours[i] != tree {
				t.Errorf("history %d, %s: at the tip the merge gives %s, the tree of Good is %s", i, w.what, ours[i], tree)
			}
			count["at the tip"]++
		}
		switch {
		case ours[i] == got[i] && got[i] == "":
			count["both conflict"]++
		case ours[i] == got[i] && got[i] == w.head.treeSHA:
			count["already reverted"]++
		case ours[i] == got[i]:
			count["same tree"]++
		case len(w.stepwise) > 1 && got[i] == "":
			count[onlyStepwise]++
		case len(w.stepwise) > 1 && ours[i] == "":
			count[onlyAtOnce]++
		case len(w.stepwise) > 1:
			count[bothClean]++
		default:
			t.Errorf("history %d, %s, %s on %s: git revert gives %q, the merge %q (repository %s)", i, w.what, w.rng, w.head.sha, got[i], ours[i], bare)
		}
	}
	t.Logf("%d histories: %v", histories, count)
	for _, kind := range []string{"commit", "range", "(squash)", "(merge)", "(rebase)", "at the tip", "both conflict", "already reverted", "same tree"} {
		if count[kind] == 0 {
			t.Errorf("no history with: %s", kind)
		}
	}
	for _, kind := range []string{onlyStepwise, onlyAtOnce, bothClean} {
		if count[kind] > rare {
			t.Errorf("%d of %d histories: %s", count[kind], histories, kind)
		}
	}
}
