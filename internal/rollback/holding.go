package rollback

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Which build ships a merge. A CI system that builds the tip of a branch makes one build of several merges, so the merge
// commit itself may never be built. A build counts as the merge's when it provably contains it: what it checked out lies on
// the first-parent line of the branch, at the merge commit or after it. What else lies between ships along, and is said.

// holding is a build that contains a commit.
type holding struct {
	Build
	// Commit is what was built: the commit itself, or a later one, with Along from there down to it, newest first.
	Commit Commit
	Along  []Change
}

// exact tells whether the build is of the commit itself.
func (h holding) exact() bool { return len(h.Along) == 0 }

// failed tells whether the build has ended and not succeeded.
func (h holding) failed() bool { return h.Over() && !h.Succeeded() }

// commitsOf are the revisions that a build checked out or was asked to.
func commitsOf(b Build, parameter string) []Commit {
	list := b.Commits
	if c, err := ParseCommit(b.Parameters[parameter]); err == nil && parameter != "" {
		list = append(slices.Clone(list), c)
	}
	return list
}

// after returns what came after a commit on a first-parent line (newest first), down to and without the commit itself, from
// a later one on; false where the line does not say that the later one contains it.
func after(line []Change, c, later Commit) ([]Change, bool) {
	i, j := FindChange(line, later), FindChange(line, c)
	if i < 0 || j <= i {
		return nil, false
	}
	return line[i:j], true
}

// holders sorts the builds of a job: those that contain the commit, the best first, and those in flight of which it is not
// known whether they will. A build of the commit itself goes before one of a later commit, unless it failed; of the others,
// the one with the fewest later commits.
func holders(builds []Build, c Commit, parameter string, line []Change) (found []holding, perhaps []Build) {
	for _, b := range builds {
		commits := commitsOf(b, parameter)
		if slices.ContainsFunc(commits, func(have Commit) bool { return sameCommit(have, c) }) {
			found = append(found, holding{Build: b, Commit: c})
			continue
		}
		var best *holding
		elsewhere := FindChange(line, c) >= 0 // the line is known, so what lies before the commit is known not to hold it
		for _, have := range commits {
			if along, ok := after(line, c, have); ok && (best == nil || len(along) < len(best.Along)) {
				best = &holding{b, along[0].Commit, along}
			}
		}
		switch {
		case best != nil:
			found = append(found, *best)
		case !b.Over() && (len(commits) == 0 || !elsewhere):
			perhaps = append(perhaps, b)
		}
	}
	rank := func(h holding) int {
		switch failed := h.failed(); {
		case h.exact() && !failed:
			return 0
		case !failed:
			return 1 + len(h.Along)
		case h.exact():
			return 1 << 20
		}
		return 1<<20 + len(h.Along)
	}
	slices.SortStableFunc(found, func(a, b holding) int { return rank(a) - rank(b) }) // the newest first among equals
	return found, perhaps
}

// takenBack finds, among later commits, the one that takes a revert back, by its title, as Git and GitHub make them.
func takenBack(revert Change, later []Change) (Change, bool) {
	title := oneLine(revert.Title)
	inner, isRevert := revertOf(title)
	if i := strings.LastIndex(title, " (#"); i > 0 && strings.HasSuffix(title, ")") {
		title = title[:i]
	}
	for _, c := range later {
		said := oneLine(c.Title)
		if undone, ok := revertOf(said); ok && undone == title {
			return c, true
		}
		if rest, ok := strings.CutPrefix(said, `Reapply "`); ok && isRevert && (rest == inner+`"` || strings.HasPrefix(rest, inner+`" (#`)) {
			return c, true
		}
	}
	return Change{}, false
}

// branch is the first-parent line of the branch, as far as this run has seen it.
type branch struct {
	line   []Change
	asked  map[Commit]bool // commits it was read for; no second time for what it does not hold
	behind int             // how often it was read and did not hold the merge commit yet
	err    error           // why it cannot be read, where that does not pass
}

// stale is how often a line without the merge commit is taken for one that the forge has not brought up to date yet.
const stale = 5

// read reads the line where there is a commit on it that was not seen yet. It is asked for no more than that: while a run
// waits for a build, looking costs one call to the CI system. A forge may tell of a merge before its list of commits does.
func (l *branch) read(ctx context.Context, commits Commits, merge Commit, wanted ...Commit) {
	if l.asked == nil {
		l.asked = map[Commit]bool{}
	}
	unseen := slices.ContainsFunc(wanted, func(c Commit) bool { return FindChange(l.line, c) < 0 && !l.asked[c] })
	if commits == nil || l.err != nil || !unseen {
		return
	}
	line, err := commits.Recent(ctx)
	if err != nil {
		if !passing(err) {
			l.err = err
		}
		return
	}
	l.line = line
	if FindChange(line, merge) < 0 {
		if l.behind++; l.behind < stale {
			return
		}
	}
	for _, c := range wanted {
		l.asked[c] = true
	}
}

// along writes down what is built in place of the merge commit, and says it; nothing where it is the merge commit itself.
func (r *run) along(h holding) error {
	m := &r.entry.Merge
	was := m.Built
	m.Built, m.Along = "", nil
	if h.exact() {
		return nil
	}
	m.Built = h.Commit
	for _, c := range h.Along[:min(len(h.Along), listed)] {
		m.Along = append(m.Along, c.Commit)
	}
	if i := FindChange(r.branch.line, m.Commit); i >= 0 {
		if back, ok := takenBack(r.branch.line[i], h.Along); ok {
			return &Error{Exit: r.exit(), What: fmt.Sprintf("what is built holds the revert %s, and also %s (%s), which takes it back", m.Commit.Short(), back.Commit.Short(), Printable(back.Title)),
				Next: []string{"talk to " + Printable(back.Author) + "; to bring production back at once: the same command with --method retag"}}
		}
	}
	if was != m.Built {
		r.note("built is %s, which contains the merge commit %s; %s with it:", m.Built.Short(), m.Commit.Short(), plural(len(h.Along), "later commit ships", "later commits ship"))
		for _, c := range h.Along[:min(len(h.Along), 10)] {
			line := fmt.Sprintf("  %s %s", c.Commit.Short(), Printable(c.Title))
			if c.Author != "" {
				line += " (" + Printable(c.Author) + ")"
			}
			r.note("%s", line)
		}
		if n := len(h.Along) - 10; n > 0 {
			r.note("  … and %d more", n)
		}
	}
	return nil
}

// alongText is what ships besides the revert, for the end of a sentence; "" for nothing.
func (m Merge) alongText() string {
	if len(m.Along) == 0 {
		return ""
	}
	return ", with " + plural(len(m.Along), "later commit", "later commits")
}
