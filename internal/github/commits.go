package github

// Single commits and comparisons, for what the log does not reach.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// commit reads one commit by its id, which may be shortened.
func (f *Forge) commit(ctx context.Context, c rollback.Commit) (commit, error) {
	op := "read commit " + c.Short()
	if _, err := rollback.ParseCommit(string(c)); err != nil {
		return commit{}, &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: err}
	}
	ctx, cancel := f.begin(ctx, call{op: op})
	defer cancel()
	got, _, err := f.client.Repositories.GetCommit(ctx, f.owner, f.name, string(c), &gh.ListOptions{PerPage: 1})
	if err != nil {
		return commit{}, f.fail(ctx, false, err)
	}
	out := commitOf(got)
	if !strings.HasPrefix(string(out.Commit), string(c)) || !shaForm.MatchString(out.tree) {
		return commit{}, f.strange(op, "the answer describes another commit")
	}
	return out, nil
}

// commitOf takes what is needed out of GitHub's form of a commit. The date is the author's, which a rebase keeps.
func commitOf(g *gh.RepositoryCommit) commit {
	c := commit{tree: g.GetCommit().GetTree().GetSHA(), login: g.GetAuthor().GetLogin()}
	c.Commit = rollback.Commit(g.GetSHA())
	headline, body, _ := strings.Cut(g.GetCommit().GetMessage(), "\n")
	c.Title, c.body = subject(headline, body), body
	c.Author, c.Date, c.URL = g.GetCommit().GetAuthor().GetName(), g.GetCommit().GetAuthor().GetDate().Time, g.GetHTMLURL()
	for _, p := range g.Parents {
		c.Parents = append(c.Parents, rollback.Commit(p.GetSHA()))
	}
	return c
}

// longest is how many commits of a branch are walked down; a pull request that is longer has to be named as a range.
const longest = 1000

// commitsFrom lists a commit and its first parents, newest first, out of the n newest commits.
func (f *Forge) commitsFrom(ctx context.Context, c rollback.Commit, n int) ([]rollback.Change, error) {
	var all []rollback.Change
	n = max(min(n, longest), 1)
	for page := 1; len(all) < n; page++ {
		ctx, cancel := f.begin(ctx, call{op: "list commits before " + c.Short()})
		o := &gh.CommitsListOptions{SHA: string(c), ListOptions: gh.ListOptions{PerPage: min(n, 100), Page: page}}
		list, _, err := f.client.Repositories.ListCommits(ctx, f.owner, f.name, o)
		err = f.fail(ctx, false, err)
		cancel()
		if err != nil {
			return nil, err
		}
		all = append(all, changesOf(list)...)
		if len(list) < o.PerPage {
			break
		}
	}
	return rollback.FirstParents(all), nil
}

// commitsOf lists the commits of a pull request, oldest first; GitHub lists at most 250.
func (f *Forge) commitsOf(ctx context.Context, number int) ([]rollback.Change, error) {
	op := fmt.Sprintf("list the commits of #%d", number)
	var all []rollback.Change
	for page := 1; page <= 3; page++ {
		ctx, cancel := f.begin(ctx, call{op: op})
		list, _, err := f.client.PullRequests.ListCommits(ctx, f.owner, f.name, number, &gh.ListOptions{Page: page, PerPage: 100})
		err = f.fail(ctx, false, err)
		cancel()
		if err != nil {
			return nil, err
		}
		all = append(all, changesOf(list)...)
		if len(list) < 100 {
			break
		}
	}
	return all, nil
}

func changesOf(list []*gh.RepositoryCommit) []rollback.Change {
	var out []rollback.Change
	for _, g := range list {
		out = append(out, commitOf(g).Change)
	}
	return out
}

// comparison is what leads from one commit to another.
type comparison struct {
	Status    string // ahead, behind, identical, diverged
	MergeBase string
	Total     int // commits
	Commits   []rollback.Change
	Files     []rollback.FileChange
	cut       bool // there are more files than GitHub lists
}

// maxFiles is how many files GitHub lists in a comparison
// (https://docs.github.com/en/rest/commits/commits#compare-two-commits).
const maxFiles = 300

func (f *Forge) compare(ctx context.Context, base, head rollback.Commit) (comparison, error) {
	op := "compare " + base.Short() + " with " + head.Short()
	if !shaForm.MatchString(string(base)) || !shaForm.MatchString(string(head)) {
		return comparison{}, &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: fmt.Errorf("want whole commit ids")}
	}
	ctx, cancel := f.begin(ctx, call{op: op})
	defer cancel()
	got, _, err := f.client.Repositories.CompareCommits(ctx, f.owner, f.name, string(base), string(head), &gh.ListOptions{PerPage: 100})
	if err != nil {
		return comparison{}, f.fail(ctx, false, err)
	}
	c := comparison{Status: got.GetStatus(), MergeBase: got.GetMergeBaseCommit().GetSHA(), Total: got.GetTotalCommits()}
	if !slices.Contains([]string{"ahead", "behind", "identical", "diverged"}, c.Status) {
		return comparison{}, f.strange(op, "the answer does not compare commits")
	}
	c.Commits = changesOf(got.Commits)
	for _, g := range got.Files {
		c.Files = append(c.Files, rollback.FileChange{Path: g.GetFilename(), Previous: g.GetPreviousFilename(), Status: g.GetStatus(), Added: g.GetAdditions(), Removed: g.GetDeletions()})
	}
	c.cut = len(c.Files) >= maxFiles
	return c, nil
}

// overlap are the paths that both changes touch, under the newer name.
func overlap(a, b comparison) []string {
	touched := map[string]bool{}
	for _, f := range a.Files {
		touched[f.Path] = true
		if f.Previous != "" {
			touched[f.Previous] = true
		}
	}
	var list []string
	for _, f := range b.Files {
		if touched[f.Path] || f.Previous != "" && touched[f.Previous] {
			list = append(list, f.Path)
		}
	}
	return list
}

// asked is for how many conflicting files the later commits are looked up.
const asked = 8

// conflict gathers what a person needs to finish by hand: the files, who changed them since, the commands.
func (r *reverting) conflict(ctx context.Context) error {
	c := &rollback.RevertConflict{Range: r.res.Range, Head: r.res.Head, Base: r.branch}
	later, err := r.compare(ctx, r.res.Range.Bad, r.res.Head)
	r.disputed(ctx, c, r.res.Range.Bad, r.diff, later, errors.Join(r.diffErr, err))
	if !r.complete {
		r.res.More = max(r.diff.Total-len(r.res.Undoes), 0)
	}
	title := rollback.RevertTitle(r.res.Undoes, r.res.More, r.res.Range, r.req.Reland)
	c.Commands = rollback.ByHand(r.res.Range, r.branch, r.res.Head, r.freeBranch(ctx), title, r.req.Story)
	if r.renews != nil {
		c.Commands = append(c.Commands, fmt.Sprintf("gh pr close %d", r.renews.Number))
	}
	return c
}

// clash is conflict for somebody's pull request.
func (r *reverting) clash(ctx context.Context, f found) error {
	c := &rollback.RevertConflict{Range: r.res.Range, Head: r.res.Head, Base: r.branch, PR: f.PullRequest, Commands: rollback.UpToDate(r.branch, f.Head)}
	var theirs, later comparison
	err := together(
		func() (err error) { theirs, err = r.compare(ctx, f.base, f.commit); return },
		func() (err error) { later, err = r.compare(ctx, f.base, r.res.Head); return },
	)
	r.disputed(ctx, c, f.base, theirs, later, err)
	return c
}

// disputed fills in which files two changes since a commit have in common, and who made the later one.
func (r *reverting) disputed(ctx context.Context, c *rollback.RevertConflict, from rollback.Commit, change, later comparison, err error) {
	switch {
	case err != nil:
		c.Unlisted = "the files could not be listed: " + err.Error()
	case later.cut || change.cut:
		c.Unlisted = fmt.Sprintf("GitHub lists at most %d files", maxFiles)
	}
	since := map[rollback.Commit]bool{}
	for _, l := range later.Commits {
		since[l.Commit] = true
	}
	paths := overlap(change, later)
	if len(paths) == 0 && c.Unlisted == "" {
		c.Unlisted = "no file was changed by both: a file and a folder, or a rename, are in each other's way"
	}
	c.Files = make([]rollback.ConflictFile, len(paths))
	var wave sync.WaitGroup
	for i, path := range paths {
		c.Files[i].Path = path
		if i >= asked {
			continue
		}
		wave.Go(func() {
			for _, ch := range r.touching(ctx, path) {
				if ch.Commit == from {
					break
				}
				if !since[ch.Commit] && later.Total <= len(later.Commits) {
					continue
				}
				c.Files[i].Since = append(c.Files[i].Since, ch)
			}
		})
	}
	wave.Wait()
}

// touching lists the newest commits of the branch that touch a path, with their pull requests where the log has them.
// A failure leaves the list empty: it only helps.
func (r *reverting) touching(ctx context.Context, path string) []rollback.Change {
	ctx, cancel := r.begin(ctx, call{op: "list commits of " + rollback.Printable(path)})
	defer cancel()
	list, _, err := r.client.Repositories.ListCommits(ctx, r.owner, r.name, &gh.CommitsListOptions{
		SHA: string(r.res.Head), Path: path, ListOptions: gh.ListOptions{PerPage: 20},
	})
	if err != nil {
		return nil
	}
	out := changesOf(list)
	for i := range out {
		if c, ok := r.log.find(out[i].Commit); ok {
			out[i] = c.Change
		}
	}
	return out
}
