package rollback

// The forge is where code is reviewed and merged: GitHub. This file says what a revert is, without saying how one is made
// there: what is undone for each way of asking, what names and texts the pull request gets, what may stand in its way.
// Everything is decided from data; the ports are at the top.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Reverter opens the pull request that undoes a range of commits.
type Reverter interface {
	// Revert does so without a clone. Repeating it after any failure ends with one pull request and one branch. Where the
	// undoing does not merge by itself, the error is a *RevertConflict.
	Revert(ctx context.Context, req RevertRequest) (RevertResult, error)
}

// PullRequests follows pull requests until they are merged.
type PullRequests interface {
	// PullRequest reads one by number.
	PullRequest(ctx context.Context, number int) (PullRequest, error)
	// MergeState tells what still stands between a pull request and its merge.
	MergeState(ctx context.Context, number int) (MergeState, error)
	// Merge merges it now where nothing is missing, and otherwise asks the forge to do so when nothing is missing any more
	// (auto-merge, or the merge queue). The state afterwards says which. Head is the commit that was found to be right: with
	// any other at its tip the pull request is not merged, and the error is a *HeadMoved.
	Merge(ctx context.Context, number int, head Commit) (MergeState, error)
}

// Range is what a revert undoes: every commit after Good up to and including Bad. Both are whole commit ids.
type Range struct {
	Good Commit `json:"good"`
	Bad  Commit `json:"bad"`
}

// String is the range as Git writes it, shortened.
func (r Range) String() string { return r.Good.Short() + ".." + r.Bad.Short() }

// full is the range as Git writes it.
func (r Range) full() string { return string(r.Good) + ".." + string(r.Bad) }

// flags name the range on a command line: exactly that, whatever was merged on top of it since.
func (r Range) flags() string { return fmt.Sprintf("--to %s --from %s", r.Good, r.Bad) }

// MergeMethod is how a pull request came onto its base branch.
type MergeMethod string

const (
	MergedBySquash MergeMethod = "squash" // one commit with one parent
	MergedByCommit MergeMethod = "merge"  // a merge commit of two or more parents
	MergedByRebase MergeMethod = "rebase" // its commits one after another, with one parent each
)

// PullState is where a pull request stands.
type PullState string

const (
	PullOpen   PullState = "open"
	PullMerged PullState = "merged"
	PullClosed PullState = "closed" // without having been merged
)

// PullRequest is a pull request as the forge tells it.
type PullRequest struct {
	Number int       `json:"number"`
	Title  string    `json:"title"`
	URL    string    `json:"url"`
	Author string    `json:"author,omitempty"`
	State  PullState `json:"state"`
	Draft  bool      `json:"draft,omitempty"`
	Base   string    `json:"base"` // branch it goes into
	Head   string    `json:"head"` // branch it comes from
	// Fork says that Head is a branch of another repository, whose owners need not be those of this one.
	Fork bool `json:"fork,omitempty"`
	// HeadCommit is the tip of Head, MergeCommit what landed on Base; "" until it is merged.
	HeadCommit  Commit    `json:"headCommit,omitempty"`
	MergeCommit Commit    `json:"mergeCommit,omitempty"`
	Commits     int       `json:"commits,omitempty"`
	CreatedAt   time.Time `json:"createdAt,omitzero"`
	MergedAt    time.Time `json:"mergedAt,omitzero"`
	Body        string    `json:"-"`
}

// RevertRequest says what to undo. Exactly one of PR, Commit, Range and To is set.
type RevertRequest struct {
	PR     int    // a merged pull request, whatever way it was merged
	Commit Commit // one commit of the branch, against its first parent
	Range  Range  // what a rollback took away: Good is what runs now, Bad what ran before
	To     Commit // everything after this commit up to the tip of the branch

	// Known is the pull request that an earlier try of the same has opened; 0 if none is known. It is read by its number, however
	// many there have been since.
	Known int

	// Reland says that what is undone is itself a revert, so that titles and texts say so.
	Reland bool
	// Supersedes are older pull requests whose whole work this one does as well. Those that this program opened are closed
	// once this one is open: merged alone, they would ship what has been rolled back from since.
	Supersedes []int

	Story Story
	// Labels are put on the pull request; Reviewers are asked besides the authors of what is undone. "team:platform" is a team.
	Labels, Reviewers []string
	// Authors and CodeOwners ask those who wrote what is undone, and the owners of the files it touches.
	Authors, CodeOwners bool
	Draft               bool
	// Rules say which paths are risky; nil means RiskRules.
	Rules []RiskRule
	// DryRun reads only: what would be undone, and whether it can be foreseen to merge.
	DryRun bool
}

// Check reports a request that names nothing, or more than one thing.
func (r RevertRequest) Check() error {
	n := 0
	for _, set := range []bool{r.PR != 0, r.Commit != "", r.Range != Range{}, r.To != ""} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("say what to undo: one of a pull request, a commit, a range or the commit to go back to")
	case r.PR < 0:
		return fmt.Errorf("pull request %d: want a positive number", r.PR)
	case r.Range != Range{} && (r.Range.Good == "" || r.Range.Bad == ""):
		return errors.New("a range needs both ends")
	}
	for _, c := range []Commit{r.Commit, r.To, r.Range.Good, r.Range.Bad} {
		if c != "" && !commitForm.MatchString(string(c)) {
			return fmt.Errorf("commit %q: want 7 to 40 hex digits", c)
		}
	}
	return nil
}

// Story is why something is undone, for the text of the pull request. What is empty is left out.
type Story struct {
	Reason string
	By     string // who
	Scope  Scope
	From   Digest // the image that is taken back …
	To     Digest // … and the one that runs in its place; "" where From still runs
	// Pushed is when From came into the registry, Until when it stopped to run: zero where it still runs.
	Pushed, Until time.Time
	Rollback      string // ID of the rollback this belongs to
}

// RevertOutcome is how a request to revert ended.
type RevertOutcome string

const (
	RevertOpened  RevertOutcome = "opened"
	RevertAdopted RevertOutcome = "adopted"          // an open pull request does it already
	RevertAlready RevertOutcome = "already reverted" // the branch does not hold the range any more
	RevertPlanned RevertOutcome = "planned"          // dry run
)

// RevertResult is what was found and done.
type RevertResult struct {
	Outcome RevertOutcome `json:"outcome"`
	Range   Range         `json:"range"`
	Method  MergeMethod   `json:"method,omitempty"` // of a single pull request
	// Head is the commit of the branch that the revert was computed on; Tip says that it is Bad itself, so that the result is
	// the tree of Good and cannot conflict.
	Head Commit `json:"head"`
	Tip  bool   `json:"tip,omitempty"`
	// PR is the pull request that undoes the range; zero in a dry run, and where the range is gone without one that is known.
	PR PullRequest `json:"pr,omitzero"`
	// Unverified says what keeps an adopted pull request from being known as the exact inverse; "" where it is one. A pull
	// request that is not is never merged by this program.
	Unverified string `json:"unverified,omitempty"`
	// Commit is the tip of the pull request and Tree its content; "" where that was not found to be the exact inverse.
	Commit Commit `json:"commit,omitempty"`
	Tree   string `json:"tree,omitempty"`
	// Check is the Git command that proves that the pull request is the exact inverse; "" where that is not known.
	Check string `json:"check,omitempty"`
	// Undoes are the first-parent commits of the range, newest first; More is how many of them are not listed.
	Undoes []Change     `json:"undoes,omitempty"`
	More   int          `json:"more,omitempty"`
	Files  []FileChange `json:"files,omitempty"` // of the revert
	// FilesCut says that the forge listed only some of the files, or none.
	FilesCut bool   `json:"filesCut,omitempty"`
	Risks    []Risk `json:"risks,omitempty"`
	// Overlap are, in a dry run, the files that were changed again after Bad: there a merge decides.
	Overlap []string `json:"overlap,omitempty"`
	Keys    []string `json:"keys,omitempty"` // of an issue tracker
	// Signed is whether the forge vouches for the commit's signature.
	Signed bool `json:"signed,omitempty"`
	// Notes are what did not go as asked and does not matter for the revert: a label, a reviewer, a branch left behind.
	Notes []string `json:"notes,omitempty"`
}

// FileChange is one file of a change.
type FileChange struct {
	Path     string `json:"path"`
	Previous string `json:"previous,omitempty"` // the name before a rename
	Status   string `json:"status"`             // added, removed, modified, renamed, …
	Added    int    `json:"added"`              // lines
	Removed  int    `json:"removed"`
}

// Inverse is the change that takes this one back.
func (f FileChange) Inverse() FileChange {
	f.Added, f.Removed = f.Removed, f.Added
	switch f.Status {
	case "added":
		f.Status = "removed"
	case "removed":
		f.Status = "added"
	case "renamed":
		f.Path, f.Previous = f.Previous, f.Path
	}
	return f
}

// DiffStat sums files up as Git does: "3 files changed, 10 insertions(+), 2 deletions(-)".
func DiffStat(files []FileChange) string {
	added, removed := 0, 0
	for _, f := range files {
		added += f.Added
		removed += f.Removed
	}
	text := plural(len(files), "file changed", "files changed")
	if added > 0 {
		text += ", " + plural(added, "insertion(+)", "insertions(+)")
	}
	if removed > 0 {
		text += ", " + plural(removed, "deletion(-)", "deletions(-)")
	}
	return text
}

// RevertConflict says that later commits changed the same lines, so that a person must say what the result is.
type RevertConflict struct {
	Range Range
	Head  Commit
	Base  string // branch
	// PR is the open pull request that conflicts, where it is not the undoing that does; Commands then put it right.
	PR    PullRequest
	Files []ConflictFile // changed by the range and again since; conflicts lie among them
	// Unlisted says why Files may be incomplete, "" if they are not.
	Unlisted string
	Commands []string // to finish by hand, in order
}

func (c *RevertConflict) Error() string {
	var names []string
	for _, f := range c.Files {
		names = append(names, Printable(f.Path))
	}
	text := fmt.Sprintf("undoing %s on %s (%s) conflicts with what came later", c.Range, c.Base, c.Head.Short())
	if c.PR.Number != 0 {
		text = fmt.Sprintf("#%d, which undoes %s, conflicts with what came later on %s (%s)", c.PR.Number, c.Range, c.Base, c.Head.Short())
	}
	switch {
	case len(names) > 3:
		text += fmt.Sprintf("; both changed %d files: %s, …", len(names), strings.Join(names[:3], ", "))
	case len(names) > 0:
		text += "; both changed " + strings.Join(names, ", ")
	}
	return text
}

// Facts are what helps to decide: the files that both changed, and who did so later.
func (c *RevertConflict) Facts() []string {
	var list []string
	for _, f := range c.Files {
		for _, ch := range f.Since {
			line := fmt.Sprintf("%s: %s %s", Printable(f.Path), ch.Commit.Short(), Printable(ch.Title))
			if ch.Author != "" {
				line += " (" + Printable(ch.Author) + ")"
			}
			if ch.PR > 0 {
				line += fmt.Sprintf(" #%d", ch.PR)
			}
			list = append(list, line)
		}
	}
	if c.Unlisted != "" {
		list = append(list, c.Unlisted)
	}
	return list
}

// Next is what to type.
func (c *RevertConflict) Next() []string {
	if len(c.Commands) == 0 {
		return nil
	}
	what := "make it by hand, in a clone of the repository:"
	if c.PR.Number != 0 {
		what = "put it right by hand, in a clone of the repository:"
	}
	return append([]string{what}, c.Commands...)
}

// ConflictFile is a file that was changed again after what is to be undone.
type ConflictFile struct {
	Path  string   `json:"path"`
	Since []Change `json:"since,omitempty"` // the later commits, newest first
}

// NotOnBranch says that a commit is not part of the branch, so that undoing it there means nothing.
type NotOnBranch struct {
	Commit Commit
	Branch string
	// Copies are commits of the branch with the same title: cherry-picks, perhaps.
	Copies []Change
}

func (e *NotOnBranch) Error() string {
	text := fmt.Sprintf("commit %s is not on %s", e.Commit.Short(), e.Branch)
	if len(e.Copies) > 0 {
		var names []string
		for _, c := range e.Copies {
			names = append(names, c.Commit.Short())
		}
		text += "; " + strings.Join(names, ", ") + " there has the same title"
	}
	return text
}

// HeadMoved says that a pull request was not merged because it holds something else than what was found to be right.
type HeadMoved struct {
	PR            int
	Wanted, Found Commit
}

func (e *HeadMoved) Error() string {
	return fmt.Sprintf("#%d is at %s, and %s was checked: somebody has pushed to it since", e.PR, e.Found.Short(), e.Wanted.Short())
}

// Check is one check of a pull request.
type Check struct {
	Name     string `json:"name"`
	State    string `json:"state"` // success, pending, failure, … in the forge's words, lower case; "missing", "cannot be read"
	URL      string `json:"url,omitempty"`
	Required bool   `json:"required,omitempty"`
}

// green tells whether the forge counts the check as passed
// (https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks).
func (c Check) green() bool {
	return c.State == "success" || c.State == "neutral" || c.State == "skipped"
}

// MergeState is what the forge says about merging a pull request.
type MergeState struct {
	PR PullRequest `json:"pr"`
	// Computing says that the forge does not know yet whether it merges.
	Computing bool `json:"computing,omitempty"`
	Conflicts bool `json:"conflicts,omitempty"`
	// Behind says that the branch must be brought up to date first.
	Behind bool `json:"behind,omitempty"`
	// Clean says that nothing is missing: it can be merged now.
	Clean bool `json:"clean,omitempty"`
	// Blocked says that something is missing, even where Missing cannot name it.
	Blocked bool `json:"blocked,omitempty"`

	ReviewRequired   bool     `json:"reviewRequired,omitempty"`
	Approvals        int      `json:"approvals,omitempty"` // how many are required; 0 where that is not known
	ChangesRequested bool     `json:"changesRequested,omitempty"`
	Asked            []string `json:"asked,omitempty"` // reviewers who have not answered
	Checks           []Check  `json:"checks,omitempty"`

	QueueRequired bool   `json:"queueRequired,omitempty"` // the branch is merged through a queue
	Queued        bool   `json:"queued,omitempty"`
	QueueState    string `json:"queueState,omitempty"`
	QueuePosition int    `json:"queuePosition,omitempty"`
	// AutoMerge says that the forge merges by itself when nothing is missing.
	AutoMerge bool `json:"autoMerge,omitempty"`
	// Notes are what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Missing names every gate that is still shut, in the words a person at night acts on. It is empty where the pull request
// is merged or can be.
func (m MergeState) Missing() []string {
	if m.PR.State == PullMerged {
		return nil
	}
	var list []string
	if m.PR.State == PullClosed {
		return []string{"it was closed without being merged"}
	}
	if m.PR.Draft {
		list = append(list, "it is a draft")
	}
	if m.Conflicts {
		list = append(list, "it conflicts with "+m.PR.Base)
	}
	if m.Behind {
		list = append(list, "its branch must be brought up to date with "+m.PR.Base)
	}
	if m.ChangesRequested {
		list = append(list, "a reviewer asks for changes")
	}
	if m.ReviewRequired {
		text := "an approving review"
		if m.Approvals > 1 {
			text = fmt.Sprintf("%d approving reviews", m.Approvals)
		}
		if len(m.Asked) > 0 {
			text += " (asked: " + strings.Join(m.Asked, ", ") + ")"
		}
		list = append(list, text)
	}
	for _, c := range m.Checks {
		if c.Required && !c.green() {
			state := c.State
			if state == "missing" {
				state = "has not reported"
			}
			list = append(list, fmt.Sprintf("required check %s: %s", Printable(c.Name), state))
		}
	}
	switch {
	case m.Queued:
		list = append(list, fmt.Sprintf("the merge queue (position %d, %s)", m.QueuePosition, cmp.Or(m.QueueState, "waiting")))
	case m.QueueRequired && len(list) == 0:
		list = append(list, "the merge queue")
	}
	if len(list) == 0 && m.Computing {
		list = append(list, "GitHub is still computing whether it merges")
	}
	if len(list) == 0 && m.Blocked {
		list = append(list, "a rule of the branch that cannot be read with these credentials")
	}
	return list
}

// FindChange finds a commit, perhaps shortened, in a list.
func FindChange(list []Change, c Commit) int {
	if len(c) < 7 {
		return -1
	}
	return slices.IndexFunc(list, func(ch Change) bool { return strings.HasPrefix(string(ch.Commit), string(c)) })
}

// FirstParents keeps of a log the line that leads from its first entry along first parents, as far as the log goes.
func FirstParents(log []Change) []Change {
	if len(log) == 0 {
		return nil
	}
	byCommit := make(map[Commit]Change, len(log))
	for _, c := range log {
		byCommit[c.Commit] = c
	}
	line := []Change{log[0]}
	delete(byCommit, log[0].Commit)
	for last := log[0]; len(last.Parents) > 0; {
		next, ok := byCommit[last.Parents[0]]
		if !ok {
			break
		}
		delete(byCommit, next.Commit)
		line = append(line, next)
		last = next
	}
	return line
}

// UndoneBy are the commits of a first-parent line (newest first) that a range takes away, and whether the line reaches all
// the way down to Good.
func UndoneBy(line []Change, r Range) (list []Change, complete bool) {
	begin := FindChange(line, r.Bad)
	if begin < 0 {
		return nil, false
	}
	for _, c := range line[begin:] {
		if c.Commit == r.Good {
			return list, true
		}
		list = append(list, c)
	}
	last := list[len(list)-1]
	return list, len(last.Parents) > 0 && last.Parents[0] == r.Good
}

// errRoot is a commit that came from nothing.
var errRoot = errors.New("it is the first commit of the repository: there is nothing before it to go back to")

// CommitRange is what undoing one commit means: going back to its first parent, which for a merge commit is the branch it
// was merged into (`git revert -m 1`).
func CommitRange(c Change) (Range, error) {
	if len(c.Parents) == 0 {
		return Range{}, fmt.Errorf("commit %s: %w", c.Commit.Short(), errRoot)
	}
	return Range{Good: c.Parents[0], Bad: c.Commit}, nil
}

// PullRange is what undoing a merged pull request means. line are the first-parent commits from its merge commit down, as
// many as it has commits where possible, each with the pull request it came from (or none); own are its own commits,
// oldest first, nil where they were not read.
//
// A merge commit is undone against its base side: the first parent, unless that is the pull request's own head, as in a
// merge made by hand the wrong way round. A rebase is told from a squash by what landed: each of its commits is on the
// branch one after another (https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/configuring-pull-request-merges/about-merge-methods-on-github).
func PullRange(pr PullRequest, line, own []Change) (Range, MergeMethod, error) {
	fail := func(text string, args ...any) (Range, MergeMethod, error) {
		return Range{}, "", fmt.Errorf("pull request #%d: "+text, append([]any{pr.Number}, args...)...)
	}
	if pr.State != PullMerged {
		return fail("it is %s, not merged: nothing of it is on %s", pr.State, pr.Base)
	}
	if len(line) == 0 || pr.MergeCommit == "" || line[0].Commit != pr.MergeCommit {
		return fail("the commit it was merged as is not known")
	}
	tip := line[0]
	switch len(tip.Parents) {
	case 0:
		return fail("%w", errRoot)
	case 1:
	default:
		good := tip.Parents[0]
		if good == pr.HeadCommit && len(tip.Parents) == 2 {
			good = tip.Parents[1]
		}
		return Range{Good: good, Bad: tip.Commit}, MergedByCommit, nil
	}
	n := 1
	// A forge may list only the oldest of its own commits. Then the newest ones, where their pull request is not known, are
	// no evidence of either way.
	unlisted := 0
	if len(own) > 0 {
		unlisted = max(pr.Commits-len(own), 0)
	}
	landed := func(i int) bool { return i < unlisted && line[i].PR == 0 || copyOf(line[i], own, i-unlisted) }
	for n < len(line) && n < pr.Commits {
		c := line[n]
		if len(c.Parents) > 1 || line[n-1].Parents[0] != c.Commit {
			break
		}
		fromPR := c.PR == pr.Number && line[0].PR == pr.Number
		if !fromPR && !((landed(0) || line[0].PR == pr.Number) && landed(n)) {
			break
		}
		n++
	}
	last := line[n-1]
	tooLong := func() (Range, MergeMethod, error) {
		return fail("it has %d commits, too many to tell how it was merged; name what to undo with --to or --commit", pr.Commits)
	}
	if n == len(line) && n < pr.Commits && len(last.Parents) > 0 { // the walk ended among them
		return tooLong()
	}
	if unlisted > 0 && n > 1 && n < pr.Commits {
		below := line[1:min(len(line), pr.Commits)]
		if below[0].PR == pr.Number || slices.ContainsFunc(below, func(c Change) bool {
			return slices.ContainsFunc(own, func(o Change) bool { return copyOf(c, []Change{o}, 0) })
		}) {
			return tooLong()
		}
		n, last = 1, line[0] // none of its own is there: one commit holds all
	}
	if len(last.Parents) == 0 {
		return fail("%w", errRoot)
	}
	method := MergedBySquash
	if n > 1 {
		method = MergedByRebase
	}
	return Range{Good: last.Parents[0], Bad: tip.Commit}, method, nil
}

// copyOf tells whether a commit of the branch is the n-th newest of a pull request's own, as a rebase leaves it: message,
// author and the author's date survive, the id does not.
func copyOf(c Change, own []Change, n int) bool {
	if n < 0 || n >= len(own) {
		return false
	}
	o := own[len(own)-1-n]
	return c.Title == o.Title && c.Author == o.Author && c.Date.Equal(o.Date)
}

// Default prefixes of branches. A temporary branch lives for a second; its prefix is one that Jenkins multibranch and
// rules on branch names can exclude.
const (
	BranchPrefix     = "rollback/"
	TempBranchPrefix = "rollback/tmp-"
)

// RevertBranch is the branch of the pull request that undoes a range. It follows from the range alone, so that two people
// who roll back at the same time meet on one branch; attempt 2 and later are for when a person closed the one before.
func RevertBranch(prefix string, r Range, attempt int) string {
	name := prefix + "revert-" + string(r.Good[:min(12, len(r.Good))]) + "-" + string(r.Bad[:min(12, len(r.Bad))])
	if attempt > 1 {
		name += fmt.Sprintf("-%d", attempt)
	}
	return name
}

// TempBranch is the branch on which the forge merges; it is gone when the revert is open.
func TempBranch(prefix string, r Range) string {
	return prefix + string(r.Good[:min(12, len(r.Good))]) + "-" + string(r.Bad[:min(12, len(r.Bad))])
}

// Trailer marks a revert's commit and pull request with what it undoes, so that any later run recognises it.
func (r Range) Trailer() string { return "Rollback-Undoes: " + r.full() }

var trailerForm = regexp.MustCompile(`(?m)^Rollback-Undoes: ([0-9a-f]{40})\.\.([0-9a-f]{40})\s*$`)

// UndoesIn reads the trailer out of a commit message or the text of a pull request.
func UndoesIn(text string) (Range, bool) {
	m := trailerForm.FindStringSubmatch(strings.ReplaceAll(text, "\r\n", "\n"))
	if m == nil {
		return Range{}, false
	}
	return Range{Commit(m[1]), Commit(m[2])}, true
}

// RevertClaim is an open pull request that says that it undoes a range. Whether it does is another question: anybody can write so.
type RevertClaim struct {
	PullRequest
	// Named says that its branch bears the name that the revert's has, or that of GitHub's Revert button: somebody works on
	// this very revert.
	Named bool
}

// RevertClaims finds, among pull requests into base, the open ones that say that they undo the range: by our trailer, or as made
// by GitHub's Revert button for the only pull request that the range undoes (branch revert-N-…, and the text says "Reverts
// owner/name#N"). Those on a branch of that name come first. What comes from a fork is not among them: who can push there
// is not known.
func RevertClaims(pulls []PullRequest, base, prefix string, r Range, undoes []Change, complete bool) []RevertClaim {
	only := 0
	for _, c := range undoes {
		if !complete || c.PR == 0 || only != 0 && c.PR != only {
			only = 0
			break
		}
		only = c.PR
	}
	said := regexp.MustCompile(fmt.Sprintf(`(?im)^Reverts (\S*#|https?://\S+/pull/)%d\s*$`, only))
	name := regexp.MustCompile("^" + regexp.QuoteMeta(RevertBranch(prefix, r, 1)) + "(-[0-9]+)?$")
	var named, others []RevertClaim
	for _, p := range pulls {
		if p.State != PullOpen || p.Base != base || p.Fork {
			continue
		}
		got, ok := UndoesIn(p.Body)
		switch {
		case ok && got == r && name.MatchString(p.Head):
			named = append(named, RevertClaim{p, true})
		case ok && got == r:
			others = append(others, RevertClaim{p, false})
		case only != 0 && strings.HasPrefix(p.Head, fmt.Sprintf("revert-%d-", only)) && said.MatchString(p.Body):
			others = append(others, RevertClaim{p, true})
		}
	}
	return append(named, others...)
}

// MergedRevert finds the newest merged pull request that says that it undoes the range and does not come from a fork.
func MergedRevert(pulls []PullRequest, base string, r Range) (PullRequest, bool) {
	var best PullRequest
	for _, p := range pulls {
		if got, ok := UndoesIn(p.Body); ok && got == r && p.State == PullMerged && p.Base == base && !p.Fork && p.MergedAt.After(best.MergedAt) {
			best = p
		}
	}
	return best, best.Number != 0
}

// titleLimit is the longest title GitHub takes, in characters.
const titleLimit = 256

// RevertTitle is the title of the pull request and the first line of its commit. Undoing a revert is a "Reapply", as Git
// says it since 2.43.
func RevertTitle(undoes []Change, more int, r Range, reland bool) string {
	if len(undoes) == 0 {
		return fmt.Sprintf("Revert %q", r.String())
	}
	verb, title := "Revert", defused(oneLine(undoes[0].Title))
	if inner, ok := revertOf(title); reland && ok {
		verb, title = "Reapply", inner
	}
	rest := ""
	if n := len(undoes) - 1 + more; n > 0 {
		rest = " and " + plural(n, "commit before it", "commits before it")
	}
	room := titleLimit - utf8.RuneCountInString(verb+` ""`+rest)
	return verb + ` "` + cut(title, room) + `"` + rest
}

// What keeps CI systems from looking at a commit: GitHub Actions' five words and its trailer, which Jenkins' plugins know as
// well, and Azure Pipelines' (https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs,
// https://learn.microsoft.com/en-us/azure/devops/pipelines/repos/github#ci-triggers).
var (
	skipWords   = regexp.MustCompile(`(?i)\[\s*((?:skip|no)[ -]ci|ci[ -]skip|skip[ -]actions|actions[ -]skip)\s*\]`)
	skipTrailer = regexp.MustCompile(`(?i)\bskip-checks\s*:\s*true\b`)
	skipAzure   = regexp.MustCompile(`(?i)\*{3}\s*NO_CI\s*\*{3}`)
)

// defused takes out of the words of others what would skip the checks of the revert, which block its merge then, or the
// build that ships it.
func defused(s string) string {
	s = skipWords.ReplaceAllString(s, "($1)")
	s = skipTrailer.ReplaceAllString(s, "skip-checks=true")
	return skipAzure.ReplaceAllString(s, "NO_CI")
}

var revertForm = regexp.MustCompile(`^Revert "(.*)"( \(#[0-9]+\))?$`)

var reverting = regexp.MustCompile(`(?i)revert|roll(s|ed|ing)?[ -]?back|back(s|ed|ing)?[ -]?out`)

// takesBack is what a text says that is a revert's own, as git, GitHub's button and this program write it. The word alone
// stands in many a template for pull requests ("How to revert this?").
var takesBack = regexp.MustCompile(`(?im)^(This reverts commit [0-9a-f]{7,40}|Reverts (\S*#|https?://\S+/pull/)[0-9]+\s*$)`)

// LooksReverting tells whether a pull request may be a revert, whoever made it: its title or branch speaks of one, or its text
// says which commit or pull request it takes back.
func LooksReverting(pr PullRequest) bool {
	_, ours := UndoesIn(pr.Body)
	return ours || reverting.MatchString(pr.Title) || reverting.MatchString(pr.Head) || takesBack.MatchString(strings.ReplaceAll(pr.Body, "\r\n", "\n"))
}

func revertOf(title string) (string, bool) {
	m := revertForm.FindStringSubmatch(title)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// RevertMessage is the message of the revert's one commit. It ends with the trailer.
func RevertMessage(title string, r Range, head Commit, s Story) string {
	var b strings.Builder
	b.WriteString(title + "\n\n")
	fmt.Fprintf(&b, "This takes back everything after %s up to %s, on %s.\n", r.Good, r.Bad, head)
	if reason := defused(oneLine(s.Reason)); reason != "" {
		b.WriteString("\nReason: " + reason + "\n")
	}
	b.WriteString("\n" + r.Trailer() + "\n")
	return b.String()
}

// InverseCheck is one Git command that a reviewer runs in an up-to-date clone: it prints nothing and exits with 0 exactly
// if the revert's commit takes the range back and does nothing else.
//
// On the tip, that means the tree of Good. Otherwise it repeats the three-way merge (base Bad, ours head, theirs Good)
// that `git revert` does as well; merge-tree --write-tree needs Git 2.38.
func InverseCheck(r Range, head, commit Commit) string {
	if head == r.Bad {
		return fmt.Sprintf("git diff-tree -r --exit-code %s %s", r.Good, commit)
	}
	return fmt.Sprintf("git diff-tree -r --exit-code $(git merge-tree --write-tree %s $(git commit-tree -p %s -m check %s^{tree})) %s",
		head, r.Bad, r.Good, commit)
}

// ByHand are the commands that finish a revert which conflicts, in a clone. Cherry-picking Good's tree as a child of Bad is
// the same merge for a commit, a merge commit and a range.
func ByHand(r Range, base string, head Commit, branch, title string, s Story) []string {
	commit := clean + " && git commit -m " + quoted(title)
	if reason := defused(oneLine(s.Reason)); reason != "" {
		commit += " -m " + quoted("Reason: "+reason)
	}
	return []string{
		"git fetch origin " + shellQuote(base),
		fmt.Sprintf("git switch -C %s %s", shellQuote(branch), head),
		fmt.Sprintf("git cherry-pick --no-commit $(git commit-tree -p %s -m undo %s^{tree})", r.Bad, r.Good),
		resolve,
		commit + " -m " + quoted(r.Trailer()) + " && git push -u origin " + shellQuote(branch),
		fmt.Sprintf(`gh pr create --base %s --head %s --title "$(git log -1 --format=%%s)" --body "$(git log -1 --format=%%b)"`, shellQuote(base), shellQuote(branch)),
	}
}

// UpToDate are the commands that bring the branch of a pull request that conflicts up to date.
func UpToDate(base, branch string) []string {
	return []string{
		fmt.Sprintf("git fetch origin %s %s", shellQuote(base), shellQuote(branch)),
		"git switch --detach " + shellQuote("origin/"+branch),
		"git merge --no-ff --no-commit " + shellQuote("origin/"+base),
		resolve,
		clean + " && git commit --no-edit && git push origin " + shellQuote("HEAD:refs/heads/"+branch),
	}
}

// Between a merge that conflicts and its commit a person decides, so the step between them is none to paste: git commits
// nothing while a path is unmerged, and a file that one side deleted shows nothing else. A marker that is left in a file that
// was added is what git diff --check finds, with these settings that and nothing else.
const (
	resolve = "# now edit or delete every file that `git status` lists under \"Unmerged paths\", until it is as it should be; then: git add -u"
	clean   = "git -c core.whitespace=-trailing-space,-space-before-tab diff --cached --check"
)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuote is s as one word of a shell, in quotes only where it needs them.
func shellQuote(s string) string {
	if plainWord.MatchString(s) && !strings.HasPrefix(s, "-") {
		return s
	}
	return quoted(s)
}

// bodyLimit is the longest text of a pull request that GitHub takes, in characters, with room to spare.
const bodyLimit = 60000

// listed is how many commits and files the text of a pull request lists.
const listed = 50

// RevertBody is the text of the pull request. Everything that others wrote is escaped: it can neither format nor mention
// nor close anything.
func RevertBody(res RevertResult, req RevertRequest, base string) string {
	var b strings.Builder
	s := req.Story
	switch {
	case req.Reland:
		b.WriteString("This brings back what was reverted before.\n\n")
	case s.Rollback != "" && s.Scope.Service != "" && s.To == "":
		fmt.Fprintf(&b, "This takes out of `%s` what is to leave **%s**. It still runs there, until this is merged, built and deployed.\n\n", base, EscapeMarkdown(s.Scope.String()))
	case s.Rollback != "" && s.Scope.Service != "":
		fmt.Fprintf(&b, "This takes out of `%s` what a rollback took out of **%s**.\n\n", base, EscapeMarkdown(s.Scope.String()))
	default:
		fmt.Fprintf(&b, "This takes out of `%s` what is listed below.\n\n", base)
	}
	if s.Reason != "" {
		fmt.Fprintf(&b, "**Reason:** %s\n\n", EscapeMarkdown(s.Reason))
	}
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", name, value)
		}
	}
	b.WriteString("| | |\n|---|---|\n")
	row("undoes", fmt.Sprintf("`%s`..`%s`", res.Range.Good, res.Range.Bad))
	row("on", fmt.Sprintf("`%s` (`%s`)", res.Head, base))
	back := "image taken back"
	if s.To == "" {
		back = "image to take back"
	}
	row(back, code(string(s.From)))
	row("pushed", minute(s.Pushed))
	row("ran until", minute(s.Until))
	row("image that runs instead", code(string(s.To)))
	row("rollback", code(s.Rollback))
	var older []string
	for _, n := range req.Supersedes {
		older = append(older, fmt.Sprintf("#%d", n))
	}
	row("in place of", strings.Join(older, ", "))
	row("by", EscapeMarkdown(s.By))
	if len(res.Keys) > 0 {
		row("issues", EscapeMarkdown(strings.Join(res.Keys, ", ")))
	}

	fmt.Fprintf(&b, "\n### What is undone\n\n")
	for i, c := range res.Undoes {
		if i == listed {
			break
		}
		line := fmt.Sprintf("- `%s` %s", c.Commit.Short(), EscapeMarkdown(cut(oneLine(c.Title), 120)))
		var by []string
		if c.PR != 0 {
			by = append(by, fmt.Sprintf("#%d", c.PR))
		}
		if c.Author != "" {
			by = append(by, EscapeMarkdown(oneLine(c.Author)))
		}
		if len(by) > 0 {
			line += " (" + strings.Join(by, ", ") + ")"
		}
		b.WriteString(line + "\n")
	}
	if n := max(len(res.Undoes)-listed, 0) + res.More; n > 0 {
		fmt.Fprintf(&b, "- … and %s\n", plural(n, "commit more", "commits more"))
	}
	if len(res.Undoes) == 0 {
		b.WriteString("- the commits of the range\n")
	}
	if len(res.Risks) > 0 {
		b.WriteString("\n### Look at these first\n\n")
		for i, r := range res.Risks {
			if i == listed {
				fmt.Fprintf(&b, "- … and %d more\n", len(res.Risks)-listed)
				break
			}
			fmt.Fprintf(&b, "- %s: %s\n", r.Rule.about(), code(r.Path))
		}
	}
	if res.Commit != "" {
		b.WriteString("\n### Exact inverse\n\n")
		if res.Tip {
			fmt.Fprintf(&b, "The content of `%s` is that of `%s`, file by file. ", res.Commit, res.Range.Good)
		} else {
			fmt.Fprintf(&b, "`%s` is `%s` merged with the way back from `%s` to `%s`, and nothing else: the merge that `git revert` does, for all of it at once. ",
				res.Commit, res.Head.Short(), res.Range.Bad.Short(), res.Range.Good.Short())
		}
		b.WriteString("To check it after `git fetch`, with Git 2.38 or newer; it prints nothing and exits with 0:\n\n")
		fmt.Fprintf(&b, "```sh\n%s\n```\n", InverseCheck(res.Range, res.Head, res.Commit))
	}
	if !req.Reland { // which is that
		b.WriteString(bringBack)
	}
	text := b.String()
	tail := "\n<!--\n" + res.Range.Trailer() + "\n-->\n"
	if len(text) > bodyLimit {
		text = strings.ToValidUTF8(text[:bodyLimit], "") + "\n\n…\n"
	}
	return text + tail
}

// bringBack is what a reviewer of a revert asks sooner or later.
const bringBack = "\n### To bring it back later\n\n" +
	"Merging the old branch again brings nothing, because its commits are in the history. Revert this revert instead, " +
	"with the fix on top: `rollback reland --pr N`, N being the number of this pull request.\n"

// minute is a time as people read it, "" for none.
func minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 MST")
}

// code puts text into a code span, which nothing in it can leave.
func code(s string) string {
	if s = oneLine(s); s == "" {
		return ""
	}
	s = strings.ReplaceAll(s, "|", "¦") // it would end the cell of a table, even in a code span
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// EscapeMarkdown makes foreign text stand in Markdown as it is, on one line: no formatting, no HTML, no links, no
// mention of a person or team, no reference that would close an issue.
func EscapeMarkdown(s string) string {
	var b strings.Builder
	runes := []rune(oneLine(s))
	for i, c := range runes {
		switch {
		case c == '@', c == '#':
			b.WriteRune(c)
			b.WriteString("<!-- -->")
		case c == '-' && i >= 2 && strings.EqualFold(string(runes[i-2:i]), "GH"): // GH-12 is an issue
			b.WriteString("-<!-- -->")
		case c == ':' && i+2 < len(runes) && runes[i+1] == '/' && runes[i+2] == '/':
			b.WriteString(":<!-- -->")
		case c == '.' && i >= 3 && strings.EqualFold(string(runes[i-3:i]), "www"):
			b.WriteString(".<!-- -->")
		case strings.ContainsRune("\\`*_{}[]()<>+-.!|~=&^$", c):
			b.WriteString("\\" + string(c))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// Printable makes foreign text fit for one line of a terminal: no control characters, at most 200 bytes.
func Printable(s string) string {
	s = oneLine(s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// oneLine joins lines and drops what is not text: control characters, and the marks that turn the direction of writing.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c), unicode.Is(unicode.Bidi_Control, c):
			return -1
		}
		return c
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens text to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(n-1, 0)]) + "…"
}

var keyForm = regexp.MustCompile(`\b[A-Z][A-Z0-9_]{1,9}-[1-9][0-9]{0,6}\b`)

// notKeys look like a project's key and are something else.
var notKeys = []string{"UTF", "SHA", "ISO", "RFC", "CVE", "CWE", "AES", "RSA", "TLS", "SSL", "HTTP", "MD", "UTC", "GMT", "EC", "GH", "PEP", "COVID", "BASE", "UCS", "CP", "WINDOWS", "KB", "GHSA", "IPV"}

// IssueKeys finds keys of an issue tracker such as PAY-123 in texts, each once, in order.
func IssueKeys(texts ...string) []string {
	var list []string
	for _, t := range texts {
		for _, k := range keyForm.FindAllString(t, -1) {
			project, _, _ := strings.Cut(k, "-")
			if !slices.Contains(notKeys, project) && !slices.Contains(list, k) {
				list = append(list, k)
			}
		}
	}
	return list
}

// RiskKind is why a path deserves a look before it is undone.
type RiskKind string

const (
	RiskMigration RiskKind = "migration" // the database has moved on; code that is older may not understand it
	RiskLockfile  RiskKind = "lockfile"  // merged as text, it may fit no manifest
	RiskWorkflow  RiskKind = "workflow"  // needs the right to write workflows
	RiskOwners    RiskKind = "owners"    // who must review
)

// RiskRule names paths by globs: * and ? stay within a folder, ** does not, {a,b} and [0-9] work as in a shell. Case does
// not matter.
type RiskRule struct {
	Kind  RiskKind
	Name  string // the tool: "Flyway"
	Globs []string
}

func (r RiskRule) about() string {
	switch r.Kind {
	case RiskMigration:
		return "database migration (" + EscapeMarkdown(r.Name) + ")"
	case RiskLockfile:
		return "lock file, merged as text"
	case RiskWorkflow:
		return "workflow of GitHub Actions"
	case RiskOwners:
		return "code owners"
	}
	return EscapeMarkdown(string(r.Kind))
}

// RiskRules are the rules that hold where the configuration says nothing else.
func RiskRules() []RiskRule {
	return []RiskRule{
		// https://documentation.red-gate.com/fd/migrations-184127470.html
		{RiskMigration, "Flyway", []string{"**/db/migration/**", "**/[VU][0-9]*__*.sql", "**/R__*.sql"}},
		// https://docs.liquibase.com/concepts/changelogs/home.html
		{RiskMigration, "Liquibase", []string{"**/db/changelog/**", "**/liquibase/**", "**/*changelog*.{xml,yaml,yml,json,sql}"}},
		// https://www.prisma.io/docs/orm/prisma-migrate/understanding-prisma-migrate/migration-histories
		{RiskMigration, "Prisma", []string{"**/prisma/migrations/**", "**/schema.prisma"}},
		// https://alembic.sqlalchemy.org/en/latest/tutorial.html#the-migration-environment
		{RiskMigration, "Alembic", []string{"**/alembic/versions/*.py", "**/migrations/versions/*.py"}},
		// https://guides.rubyonrails.org/active_record_migrations.html
		{RiskMigration, "Rails", []string{"**/db/migrate/**/*.rb", "**/db/schema.rb", "**/db/structure.sql"}},
		// https://typeorm.io/docs/migrations/why: {timestamp in ms}-{name}
		{RiskMigration, "TypeORM", []string{"**/migration{,s}/[0-9][0-9][0-9][0-9][0-9][0-9]*-*.{ts,js}"}},
		// https://knexjs.org/guide/migrations.html: {timestamp}_{name}
		{RiskMigration, "Knex", []string{"**/migrations/[0-9][0-9][0-9][0-9][0-9][0-9]*_*.{js,ts,cjs,mjs}"}},
		// https://github.com/golang-migrate/migrate/blob/master/MIGRATIONS.md
		{RiskMigration, "golang-migrate", []string{"**/[0-9]*_*.{up,down}.*"}},
		// https://pressly.github.io/goose/documentation/annotations/
		{RiskMigration, "goose", []string{"**/migrations/[0-9]*_*.{sql,go}"}},
		// https://docs.djangoproject.com/en/stable/topics/migrations/
		{RiskMigration, "Django", []string{"**/migrations/[0-9][0-9][0-9][0-9]_*.py"}},
		{RiskLockfile, "lock file", []string{"**/go.sum", "**/package-lock.json", "**/npm-shrinkwrap.json", "**/yarn.lock", "**/pnpm-lock.yaml", "**/bun.lock{,b}",
			"**/Cargo.lock", "**/poetry.lock", "**/uv.lock", "**/Pipfile.lock", "**/composer.lock", "**/Gemfile.lock", "**/*.lockfile", "**/packages.lock.json", "**/mix.lock", "**/pubspec.lock", "**/flake.lock"}},
		{RiskWorkflow, "GitHub Actions", []string{".github/workflows/**"}},
		{RiskOwners, "CODEOWNERS", []string{"CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS"}},
	}
}

// Risk is a path that a rule names.
type Risk struct {
	Path string   `json:"path"`
	Rule RiskRule `json:"-"`
	Kind RiskKind `json:"kind"`
	Name string   `json:"name"`
}

// Risks are the files that rules name; the first rule that fits a file counts. A glob that is none is an error.
func Risks(files []FileChange, rules []RiskRule) ([]Risk, error) {
	compiled := make([][]*regexp.Regexp, len(rules))
	for i, r := range rules {
		for _, g := range r.Globs {
			re, err := compileGlob(g)
			if err != nil {
				return nil, err
			}
			compiled[i] = append(compiled[i], re)
		}
	}
	var list []Risk
	for _, f := range files {
		fits := func(re *regexp.Regexp) bool {
			return re.MatchString(f.Path) || f.Previous != "" && re.MatchString(f.Previous)
		}
		for i, r := range rules {
			if slices.ContainsFunc(compiled[i], fits) {
				list = append(list, Risk{f.Path, r, r.Kind, r.Name})
				break
			}
		}
	}
	return list, nil
}

// Unaccepted says why a revert must not be merged without a person's word for it: what it undoes touches migrations, or may do
// so; "" if it does not. The database has moved on, and the older code meets it as soon as the merge is deployed.
func (r RevertResult) Unaccepted() string {
	var paths []string
	for _, k := range r.Risks {
		if k.Kind == RiskMigration {
			paths = append(paths, Printable(k.Path))
		}
	}
	switch n := len(paths); {
	case n > 3:
		return fmt.Sprintf("%d migrations in what is undone: %s and %d more", n, strings.Join(paths[:3], ", "), n-3)
	case n > 0:
		return fmt.Sprintf("%s in what is undone: %s", plural(n, "migration", "migrations"), strings.Join(paths, ", "))
	case r.FilesCut:
		return "not all files of what is undone could be listed: there may be migrations among them"
	}
	return ""
}

// compileGlob turns a glob into a regular expression over a whole path.
func compileGlob(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("(?is)^")
	braces := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			switch {
			case strings.HasPrefix(glob[i:], "**/"):
				b.WriteString("(?:.*/)?")
				i += 2
			case strings.HasPrefix(glob[i:], "**"):
				b.WriteString(".*")
				i++
			default:
				b.WriteString("[^/]*")
			}
		case '?':
			b.WriteString("[^/]")
		case '[':
			end := strings.IndexByte(glob[i:], ']')
			if end < 2 {
				return nil, fmt.Errorf("glob %q: [ without ]", glob)
			}
			class := glob[i+1 : i+end]
			if class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, `\`, `\\`) + "]")
			i += end
		case '{':
			braces++
			b.WriteString("(?:")
		case '}':
			if braces--; braces < 0 {
				return nil, fmt.Errorf("glob %q: } without {", glob)
			}
			b.WriteString(")")
		case ',':
			if braces > 0 {
				b.WriteString("|")
			} else {
				b.WriteString(",")
			}
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	if braces != 0 {
		return nil, fmt.Errorf("glob %q: { without }", glob)
	}
	re, err := regexp.Compile(b.String() + "$")
	if err != nil {
		return nil, fmt.Errorf("glob %q: %w", glob, err)
	}
	return re, nil
}

// ValidBranch tells whether Git would take a name as a branch (https://git-scm.com/docs/git-check-ref-format).
func ValidBranch(s string) bool {
	if s == "" || len(s) > 200 || s == "@" || s[0] == '-' || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") {
		return false
	}
	if strings.Contains(s, "..") || strings.Contains(s, "//") || strings.Contains(s, "@{") || strings.ContainsAny(s, " ~^:?*[\\\x7f") {
		return false
	}
	for _, c := range s {
		if c < ' ' || c == utf8.RuneError {
			return false
		}
	}
	for part := range strings.SplitSeq(s, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}
