package github

// The revert without a clone. Undoing Good..Bad on the tip H of the branch is one three-way merge: base Bad, ours H,
// theirs Good. Where H is Bad, the result is the tree of Good. Otherwise a temporary commit with the tree of Good and the
// parent Bad stands in for "theirs": its only merge base with H is Bad, so GitHub's merge of the two is the merge that
// `git revert` does. The resulting tree becomes one commit on H.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	// rounds is how often a revert is begun anew because somebody else merged meanwhile, or used the same temporary branch.
	rounds = 4
	// names is how many names are tried for the branch where people have made branches of the first ones.
	names = 5
	// cleanupTime is how long the deletion of a temporary branch may take after everything else has failed or ended.
	cleanupTime = 10 * time.Second
	// maxReviewers is how many people are asked; GitHub takes up to 15.
	maxReviewers = 10
)

// reverting is one request on its way.
type reverting struct {
	*Forge
	req     rollback.RevertRequest
	log     branchLog
	listing // the newest pull requests into the branch, in every state; the open ones with their texts
	res     rollback.RevertResult
	// goodTree is the tree of Good, headTree that of the tip.
	goodTree, headTree string
	diff               comparison // Good...Bad, when reading is done
	diffErr            error
	reading            sync.WaitGroup
	read, described    bool
	complete           bool   // every commit of the range is listed
	renews             *found // our own pull request, which conflicts by now and is made anew
	temp               string // the temporary branch, while there may be one
	claimed            claimed
}

// claimed is a branch of the revert without a pull request, and what it was pointed at.
type claimed struct {
	branch string
	at     rollback.Commit
}

// errRetry says that the ground moved: begin anew.
var errRetry = errors.New("the branch moved meanwhile")

// Revert opens the pull request that takes a range back, or finds that one does so already.
func (f *Forge) Revert(ctx context.Context, req rollback.RevertRequest) (rollback.RevertResult, error) {
	if err := req.Check(); err != nil {
		return rollback.RevertResult{}, &rollback.CallError{System: system, Op: "revert", Kind: rollback.Rejected, Err: err}
	}
	if req.Rules == nil {
		req.Rules = rollback.RiskRules()
	}
	var before claimed
	for round := 1; ; round++ {
		r := &reverting{Forge: f, req: req, claimed: before}
		res, err := r.once(ctx)
		if !errors.Is(err, errRetry) {
			return res, err
		}
		before = r.claimed
		if round == rounds {
			r.unclaim(ctx)
			return rollback.RevertResult{}, &rollback.CallError{System: system, Op: "revert " + res.Range.String(), Kind: rollback.Conflict,
				Err: fmt.Errorf("%s moved %d times meanwhile", f.branch, rounds), Fix: "run the same command again"}
		}
	}
}

func (r *reverting) once(ctx context.Context) (res rollback.RevertResult, err error) {
	defer func() { // whatever happens, the temporary branch goes; it must not depend on a context that has ended
		if r.temp == "" {
			return
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		if cleanErr := r.deleteBranch(clean, r.temp); cleanErr != nil {
			note := fmt.Sprintf("the temporary branch %s could not be deleted (%v): git push origin --delete %s", r.temp, cleanErr, r.temp)
			res.Notes = append(res.Notes, note)
			if err != nil && !errors.Is(err, errRetry) {
				err = fmt.Errorf("%w; %s", err, note)
			}
		}
	}()
	if err := r.look(ctx); err != nil {
		return r.res, err
	}
	defer r.reading.Wait()
	named, other, err := r.claims(ctx)
	if err != nil {
		return r.res, err
	}
	if named != nil {
		switch clashes := r.clashes(ctx, *named); {
		case !clashes:
			return r.adopt(ctx, *named), nil
		case r.req.DryRun:
			r.res.Notes = append(r.res.Notes, fmt.Sprintf("#%d conflicts with %s by now", named.Number, r.branch))
			return r.adopt(ctx, *named), nil
		case !named.untouched:
			return r.res, r.clash(ctx, *named)
		}
		r.renews = named
	}
	if r.req.DryRun {
		return r.foresee(ctx)
	}
	switch err := r.compute(ctx); {
	case errors.Is(err, errConflict):
		return r.conflicting(ctx, other)
	case err != nil:
		return r.res, err
	case r.res.Tree == r.headTree:
		err = together(
			func() (err error) { res, err = r.already(ctx); return },
			func() error { r.dropTemp(ctx); return nil },
		)
		return res, err
	}
	return r.open(ctx)
}

// look reads the branch and finds out what is to be undone: one wave where the log reaches that far, else up to two more.
func (r *reverting) look(ctx context.Context) error {
	var pr rollback.PullRequest
	var own []rollback.Change // of pr, oldest first
	calls := []func() error{
		func() (err error) { r.log, err = r.Forge.log(ctx); return },
		func() (err error) { r.listing, err = r.Forge.pulls(ctx); return },
	}
	if n := r.req.PR; n != 0 {
		calls = append(calls,
			func() (err error) { pr, err = r.PullRequest(ctx, n); return },
			func() (err error) { own, err = r.commitsOf(ctx, n); return })
	}
	var known rollback.PullRequest
	if n := r.req.Known; n != 0 {
		calls = append(calls, func() (err error) {
			if known, err = r.PullRequest(ctx, n); rollback.KindOf(err) == rollback.NotFound {
				return nil
			}
			return err
		})
	}
	err := together(calls...)
	if err != nil {
		return err
	}
	if known.Number != 0 && known.Base == r.branch && r.ids[known.Number] == "" {
		r.listing.pulls = append(r.listing.pulls, known)
	}
	r.res.Head, r.headTree = r.log.head(), r.log.commits[0].tree
	switch {
	case r.req.PR != 0:
		err = r.rangeOfPull(ctx, pr, own)
	case r.req.Commit != "":
		err = r.rangeOfCommit(ctx)
	case r.req.To != "":
		err = r.rangeBetween(ctx, r.req.To, r.res.Head)
	default:
		err = r.rangeBetween(ctx, r.req.Range.Good, r.req.Range.Bad)
	}
	if err != nil {
		return err
	}
	r.res.Tip = r.res.Range.Bad == r.res.Head
	if r.goodTree == "" {
		c, err := r.commit(ctx, r.res.Range.Good)
		if err != nil {
			return err
		}
		r.goodTree = c.tree
	}
	r.res.Undoes, r.complete = rollback.UndoneBy(r.log.line, r.res.Range)
	if len(r.res.Undoes) == 0 { // older than the log
		r.res.Undoes = r.undoneFromPull(ctx, pr)
	}
	return nil
}

// undoneFromPull is what is known of a range that the log does not reach.
func (r *reverting) undoneFromPull(ctx context.Context, pr rollback.PullRequest) []rollback.Change {
	if pr.Number != 0 {
		r.complete = true
		return []rollback.Change{{Commit: r.res.Range.Bad, Title: pr.Title, Author: pr.Author, PR: pr.Number, URL: pr.URL, Date: pr.MergedAt}}
	}
	if c, err := r.commit(ctx, r.res.Range.Bad); err == nil {
		return []rollback.Change{c.Change}
	}
	return nil
}

// known takes the tree of Good out of the log, where it is.
func (r *reverting) known(rng rollback.Range) {
	r.res.Range = rng
	if g, ok := r.log.find(rng.Good); ok {
		r.goodTree = g.tree
	}
}

func (r *reverting) rangeOfCommit(ctx context.Context) error {
	c, ok := r.log.find(r.req.Commit)
	if !ok || !r.onLine(c.Commit) {
		var err error
		if c, err = r.commit(ctx, r.req.Commit); err != nil {
			return r.unknown(err, r.req.Commit)
		}
		if err := r.onBranch(ctx, c.Commit, c.Title); err != nil {
			return err
		}
	}
	rng, err := rollback.CommitRange(c.Change)
	if err != nil {
		return r.rejected(err)
	}
	r.known(rng)
	return nil
}

func (r *reverting) rangeOfPull(ctx context.Context, pr rollback.PullRequest, own []rollback.Change) error {
	if pr.Base != r.branch {
		return r.rejected(fmt.Errorf("pull request #%d goes into %s, not into %s", pr.Number, rollback.Printable(pr.Base), r.branch))
	}
	if pr.State != rollback.PullMerged {
		_, _, err := rollback.PullRange(pr, nil, nil)
		return r.rejected(err)
	}
	if r.req.Reland && !rollback.LooksReverting(pr) { // to undo it would be the opposite of what was asked for
		err := fmt.Errorf("pull request #%d is no revert: %s", pr.Number, rollback.Printable(pr.Title))
		return &rollback.CallError{System: system, Op: "reland", Kind: rollback.Rejected, Err: err,
			Fix: "give the number of the merged revert, not that of the change; to undo this one: the same flags with rollback revert"}
	}
	if !shaForm.MatchString(string(pr.MergeCommit)) {
		return r.rejected(fmt.Errorf("pull request #%d does not name the commit it was merged as", pr.Number))
	}
	at := rollback.FindChange(r.log.line, pr.MergeCommit)
	line := r.log.written(r.log.line[max(at, 0):])
	short := len(line) < pr.Commits && len(line[len(line)-1].Parents) > 0
	if at < 0 || short && len(line[0].Parents) < 2 { // older than the log
		err := together(
			func() (err error) {
				if at < 0 {
					err = r.onBranch(ctx, pr.MergeCommit, pr.Title)
				}
				return
			},
			func() (err error) { line, err = r.commitsFrom(ctx, pr.MergeCommit, pr.Commits+1); return },
		)
		if err != nil {
			return err
		}
		for i := range line { // which only the log tells
			if c, ok := r.log.find(line[i].Commit); ok {
				line[i].PR = c.PR
			}
		}
	}
	rng, method, err := rollback.PullRange(pr, line, own)
	if err != nil {
		return r.rejected(err)
	}
	r.res.Method = method
	r.known(rng)
	return nil
}

func (r *reverting) rangeBetween(ctx context.Context, good, bad rollback.Commit) error {
	line := r.log.line
	b, g := rollback.FindChange(line, bad), rollback.FindChange(line, good)
	if b >= 0 && g > b {
		r.known(rollback.Range{Good: line[g].Commit, Bad: line[b].Commit})
		return nil
	}
	var from, to commit
	err := together(
		func() (err error) { from, err = r.commit(ctx, good); return r.unknown(err, good) },
		func() (err error) { to, err = r.commit(ctx, bad); return r.unknown(err, bad) },
	)
	if err != nil {
		return err
	}
	if from.Commit == to.Commit {
		return r.rejected(fmt.Errorf("%s is both ends of the range: there is nothing to undo", from.Commit.Short()))
	}
	var inner comparison
	err = together(
		func() (err error) {
			if b < 0 && to.Commit != r.res.Head {
				err = r.onBranch(ctx, to.Commit, to.Title)
			}
			return
		},
		func() (err error) { inner, err = r.compare(ctx, from.Commit, to.Commit); return },
	)
	if err != nil {
		return err
	}
	if inner.Status != "ahead" {
		return r.rejected(fmt.Errorf("%s does not lie before %s: they are %s", from.Commit.Short(), to.Commit.Short(), inner.Status))
	}
	r.known(rollback.Range{Good: from.Commit, Bad: to.Commit})
	r.goodTree = from.tree
	return nil
}

func (r *reverting) onLine(c rollback.Commit) bool { return rollback.FindChange(r.log.line, c) >= 0 }

// onBranch makes sure that the tip of the branch holds a commit. Undoing one that it does not hold would bring in
// foreign files: the merge base would be another commit.
func (r *reverting) onBranch(ctx context.Context, c rollback.Commit, title string) error {
	cmp, err := r.compare(ctx, c, r.res.Head)
	if err != nil {
		return r.unknown(err, c)
	}
	if (cmp.Status == "ahead" || cmp.Status == "identical") && cmp.MergeBase == string(c) {
		return nil
	}
	missing := &rollback.NotOnBranch{Commit: c, Branch: r.branch}
	for _, l := range r.log.line {
		if title != "" && l.Title == title {
			missing.Copies = append(missing.Copies, l)
		}
	}
	return &rollback.CallError{System: system, Op: "revert " + c.Short(), Kind: rollback.Rejected, Err: missing,
		Fix: "name the commit that is on " + r.branch}
}

// unknown says of a commit that GitHub does not know what that means here.
func (r *reverting) unknown(err error, c rollback.Commit) error {
	if e := asCall(err); e != nil && (e.Kind == rollback.NotFound || e.Kind == rollback.Rejected && refusalIn(err).status == http.StatusUnprocessableEntity) {
		fixed := *e
		fixed.Kind = rollback.NotFound
		fixed.Err = fmt.Errorf("%s has no commit %s: was it built from another repository, or force-pushed away?", r.Repo(), c.Short())
		fixed.Fix = "name a commit that it has: rollback candidates lists what was built, with titles and pull requests"
		return &fixed
	}
	return err
}

func (r *reverting) rejected(err error) error {
	return &rollback.CallError{System: system, Op: "revert", Kind: rollback.Rejected, Err: err}
}

// found is an open pull request and what was found in it.
type found struct {
	rollback.PullRequest
	// commit and tree are its tip, base the commit of the branch that it is made on.
	commit, base rollback.Commit
	tree         string
	untouched    bool   // it is one commit of ours, as it was opened
	why          string // it is not the exact inverse, or is not known to be; "" where it is
}

// manyClaims is how many of the pull requests that say that they undo the range are looked into.
const manyClaims = 4

// claims looks into the open pull requests that say that they undo the range. Saying so proves nothing: anybody who may push
// a branch can. One that does is as good as our own. One that does not is left alone and named, and the exact inverse is
// opened beside it, unless it is the very branch that people work on, or nothing else is to be had.
func (r *reverting) claims(ctx context.Context) (named, other *found, err error) {
	list := rollback.RevertClaims(r.listing.pulls, r.branch, r.branchPrefix, r.res.Range, r.res.Undoes, r.complete)
	if len(list) > 0 {
		r.readFiles(ctx)
	}
	var passed []string
	for _, c := range list[:min(len(list), manyClaims)] {
		f, err := r.verify(ctx, c.PullRequest)
		switch {
		case err != nil:
			return nil, nil, err
		case f.why == "":
			return &f, nil, nil
		case c.Named && named == nil:
			named = &f
		case !c.Named:
			passed = append(passed, fmt.Sprintf("#%d says that it undoes the same, and is not used: %s", f.Number, f.why))
			if other == nil {
				other = &f
			}
		}
	}
	r.res.Notes = append(r.res.Notes, passed...)
	return named, other, nil
}

// verify finds out whether a pull request of this repository takes the range back and does nothing else: whether the tree at
// its tip is the one that the undoing has on the commit of the branch that it is made on. Whose commits lead there does not
// matter then.
func (r *reverting) verify(ctx context.Context, p rollback.PullRequest) (found, error) {
	f := found{PullRequest: p}
	if !shaForm.MatchString(string(p.HeadCommit)) {
		f.why = "its tip is not known"
		return f, nil
	}
	var tip commit
	var made comparison
	err := together(
		func() (err error) { tip, err = r.commit(ctx, p.HeadCommit); return },
		func() (err error) { made, err = r.compare(ctx, r.res.Head, p.HeadCommit); return },
	)
	if err != nil {
		return f, err
	}
	f.commit, f.tree, f.base = tip.Commit, tip.tree, rollback.Commit(made.MergeBase)
	switch holds, err := r.holds(ctx, f.base, r.res.Range.Bad); {
	case err != nil:
		return f, err
	case !holds || made.Total == 0:
		f.why = "its branch does not hold what is to be undone"
		return f, nil
	}
	want := r.goodTree
	if f.base != r.res.Range.Bad {
		if r.req.DryRun {
			f.why = "a dry run merges nothing, so that it could not be checked"
			return f, nil
		}
		if want, err = r.merge(ctx, f.base); err != nil && !errors.Is(err, errConflict) {
			return f, err
		}
		if err != nil {
			f.why = "the undoing conflicts with what came later, so that its content is somebody's own decision"
			return f, nil
		}
	}
	if f.tree != want {
		f.why = "its content is not that of the exact inverse"
	}
	rng, ours := rollback.UndoesIn(tip.body)
	f.untouched = f.why == "" && made.Total == 1 && ours && rng == r.res.Range && strings.HasPrefix(p.Head, r.branchPrefix)
	return f, nil
}

// clashes tells whether GitHub says that a pull request does not merge any more. It can only be so where the branch has moved.
func (r *reverting) clashes(ctx context.Context, f found) bool {
	if f.base == r.res.Head {
		return false
	}
	m, err := r.mergeInfo(ctx, f.Number)
	if err != nil {
		r.res.Notes = append(r.res.Notes, fmt.Sprintf("whether #%d still merges could not be read: %v", f.Number, err))
	}
	return m.Conflicts
}

// holds tells whether a commit has another one among those before it.
func (r *reverting) holds(ctx context.Context, tip, c rollback.Commit) (bool, error) {
	if !shaForm.MatchString(string(tip)) {
		return false, nil
	}
	if t, at := rollback.FindChange(r.log.line, tip), rollback.FindChange(r.log.line, c); t >= 0 && at >= t {
		return true, nil
	}
	cmp, err := r.compare(ctx, c, tip)
	return cmp.Status == "ahead" || cmp.Status == "identical", err
}

// adopt takes an open pull request for what is asked for.
func (r *reverting) adopt(ctx context.Context, f found) rollback.RevertResult {
	r.res.Outcome, r.res.PR, r.res.Unverified = rollback.RevertAdopted, f.PullRequest, f.why
	r.res.Commit, r.res.Tree, r.res.Check, r.res.Signed = "", "", "", false
	if !r.req.DryRun { // a killed run may have left its temporary branch
		r.temp = rollback.TempBranch(r.tempPrefix, r.res.Range)
	}
	r.readFiles(ctx)
	r.reading.Wait()
	if err := r.describe(); err != nil {
		r.res.FilesCut = true
		r.res.Notes = append(r.res.Notes, err.Error())
	}
	if f.why != "" {
		return r.res
	}
	r.res.Commit, r.res.Tree, r.res.Head, r.res.Tip = f.commit, f.tree, f.base, f.base == r.res.Range.Bad
	r.res.Check = rollback.InverseCheck(r.res.Range, f.base, f.commit)
	if !r.req.DryRun {
		if f.untouched { // whoever opened it may have been killed then
			r.dress(ctx, r.unlabelled[f.Number], r.unasked[f.Number])
		}
		r.supersede(ctx)
	}
	return r.res
}

// dropTemp deletes the temporary branch of this run. A failure is none yet: in the end it is tried again.
func (r *reverting) dropTemp(ctx context.Context) {
	if r.temp != "" && r.deleteBranch(ctx, r.temp) == nil {
		r.temp = ""
	}
}

// already is the result where nothing of the range is left on the branch.
func (r *reverting) already(ctx context.Context) (rollback.RevertResult, error) {
	r.res.Outcome, r.res.Commit, r.res.Tree = rollback.RevertAlready, "", ""
	r.res.Check = ""
	if p, ok, err := r.mergedRevert(ctx); ok || err != nil {
		r.res.PR = p
		return r.res, err
	}
	for _, c := range r.log.commits { // newest first
		rng, ours := rollback.UndoesIn(c.body)
		if ours && rng == r.res.Range || len(r.res.Undoes) == 1 && strings.Contains(c.body, "This reverts commit "+string(r.res.Range.Bad)) {
			r.res.Notes = append(r.res.Notes, fmt.Sprintf("reverted by %s: %s", c.Commit.Short(), rollback.Printable(c.Title)))
			i := slices.IndexFunc(r.listing.pulls, func(p rollback.PullRequest) bool { return p.Number == c.PR })
			if c.PR != 0 && i >= 0 {
				r.res.PR = r.listing.pulls[i]
			}
			break
		}
	}
	return r.res, nil
}

// stands finds a merged pull request that took the range back and was not itself taken back since.
func (r *reverting) stands(ctx context.Context) (rollback.PullRequest, bool, error) {
	p, ok, err := r.mergedRevert(ctx)
	if !ok || !r.onLine(p.MergeCommit) {
		return p, false, err
	}
	for _, c := range r.log.commits {
		if rng, ours := rollback.UndoesIn(c.body); ours && rng.Bad == p.MergeCommit || strings.Contains(c.body, "This reverts commit "+string(p.MergeCommit)) {
			return p, false, nil
		}
	}
	return p, true, nil
}

// mergedRevert finds the newest merged pull request that says that it undoes the range. It is one call, for the texts of
// those that can; where none can, it is none.
func (r *reverting) mergedRevert(ctx context.Context) (rollback.PullRequest, bool, error) {
	list := r.listing.pulls
	for page := 1; ; page++ {
		var can []rollback.PullRequest
		for _, p := range list {
			if r.canUndo(p) {
				can = append(can, p)
			}
		}
		for part := range slices.Chunk(can, 100) {
			if err := r.readTexts(ctx, part); err != nil {
				return rollback.PullRequest{}, false, err
			}
		}
		if p, ok := rollback.MergedRevert(can, r.branch, r.res.Range); ok || r.next == "" || page == olderPages || !r.reachesBack() {
			return p, ok, nil
		}
		var err error
		if list, err = r.older(ctx, &r.listing); err != nil {
			return rollback.PullRequest{}, false, err
		}
	}
}

// olderPages is how many times 100 pull requests are looked through for one that was merged.
const olderPages = 10

// reachesBack tells whether older pull requests than those that are listed may have been merged after Bad: they were opened
// before, and may have waited for months, but most do not. A day is for the clocks.
func (r *reverting) reachesBack() bool {
	bad := rollback.FindChange(r.log.line, r.res.Range.Bad)
	if bad < 0 || len(r.listing.pulls) == 0 {
		return true
	}
	oldest := slices.MinFunc(r.listing.pulls, func(a, b rollback.PullRequest) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return oldest.CreatedAt.After(r.log.line[bad].Date.Add(-24 * time.Hour))
}

// readTexts fills in the texts of pull requests that are listed.
func (r *reverting) readTexts(ctx context.Context, list []rollback.PullRequest) error {
	var ids []string
	for _, p := range list {
		if id := r.ids[p.Number]; id != "" { // else it was read by itself
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	texts, err := r.texts(ctx, ids)
	if err != nil {
		return err
	}
	for i := range list {
		if text, ok := texts[list[i].Number]; ok {
			list[i].Body = text
		}
	}
	return nil
}

// canUndo tells whether a pull request was merged after Bad. One that was merged before can neither have undone it nor have
// named it in its text. Where the log does not tell the order, the clocks do, which may be a day apart.
func (r *reverting) canUndo(p rollback.PullRequest) bool {
	if p.State != rollback.PullMerged || p.Fork { // nobody knows who can push to a fork
		return false
	}
	bad := rollback.FindChange(r.log.line, r.res.Range.Bad)
	if bad < 0 { // older than the log
		return true
	}
	if at := rollback.FindChange(r.log.line, p.MergeCommit); at >= 0 {
		return at < bad
	}
	return p.MergedAt.After(r.log.line[bad].Date.Add(-24 * time.Hour))
}

// foresee is the dry run: it reads, and says what would be undone.
func (r *reverting) foresee(ctx context.Context) (rollback.RevertResult, error) {
	r.res.Outcome = rollback.RevertPlanned
	if r.res.Tip && r.goodTree == r.headTree {
		return r.already(ctx)
	}
	var later comparison
	var before rollback.PullRequest
	var undone bool
	err := together(
		func() error { // perhaps begun for those that say that they undo it
			r.readFiles(ctx)
			r.reading.Wait()
			return r.diffErr
		},
		func() (err error) {
			if !r.res.Tip {
				later, err = r.compare(ctx, r.res.Range.Bad, r.res.Head)
			}
			return
		},
		func() (err error) { before, undone, err = r.mergedRevert(ctx); return },
	)
	if err != nil {
		return r.res, err
	}
	if err := r.describe(); err != nil {
		return r.res, err
	}
	r.res.Overlap = overlap(r.diff, later)
	if later.cut {
		r.res.Notes = append(r.res.Notes, "more than 300 files changed since: others than those named may have been changed again")
	}
	if undone {
		r.res.PR = before
		r.res.Notes = append(r.res.Notes, fmt.Sprintf("#%d undid it before, on %s", before.Number, before.MergedAt.UTC().Format(time.DateOnly)))
	}
	return r.res, nil
}

// readFiles begins to read the files of the range: what only the text of the pull request needs, and whether it may be merged.
func (r *reverting) readFiles(ctx context.Context) {
	if !r.read {
		r.read = true
		r.reading.Go(func() { r.diff, r.diffErr = r.compare(ctx, r.res.Range.Good, r.res.Range.Bad) })
	}
}

// describe fills in what the files of the range say.
func (r *reverting) describe() error {
	if r.described {
		return nil
	}
	r.described = true
	if r.diffErr != nil {
		r.res.FilesCut = true
		r.res.Notes = append(r.res.Notes, "the files of the range could not be listed: "+r.diffErr.Error())
	}
	for _, f := range r.diff.Files {
		r.res.Files = append(r.res.Files, f.Inverse())
	}
	r.res.FilesCut = r.res.FilesCut || r.diff.cut
	var err error
	if r.res.Risks, err = rollback.Risks(r.res.Files, r.req.Rules); err != nil {
		return r.rejected(err)
	}
	var texts []string
	for _, c := range r.res.Undoes {
		texts = append(texts, c.Title)
	}
	r.res.Keys = rollback.IssueKeys(texts...)
	if !r.complete {
		r.res.More = max(r.diff.Total-len(r.res.Undoes), 0)
	}
	return nil
}

// compute finds the tree of the result. The files of the range, which only the text of the pull request needs, are read
// meanwhile and beyond.
func (r *reverting) compute(ctx context.Context) error {
	r.readFiles(ctx)
	if r.res.Tip {
		r.res.Tree = r.goodTree
		return nil
	}
	var err error
	r.res.Tree, err = r.merge(ctx, r.res.Head)
	return err
}

// conflicting is the result where the merge does not go by itself: what would be undone was taken back before and has changed
// since, or a person must say what it is. Other is the pull request of somebody who has, nil if there is none.
func (r *reverting) conflicting(ctx context.Context, other *found) (rollback.RevertResult, error) {
	r.unclaim(ctx)
	r.reading.Wait()
	var conflict error
	var before rollback.PullRequest
	var stands bool
	err := together(
		func() error { conflict = r.conflict(ctx); return nil },
		func() (err error) { before, stands, err = r.stands(ctx); return },
	)
	switch {
	case err != nil:
		return r.res, err
	case stands:
		r.res.Outcome, r.res.PR = rollback.RevertAlready, before
		r.res.Notes = append(r.res.Notes, "later commits changed the same lines since")
		return r.res, nil
	case other == nil:
		return r.res, conflict
	case r.clashes(ctx, *other):
		return r.res, r.clash(ctx, *other)
	}
	return r.adopt(ctx, *other), nil
}

// errConflict is GitHub's word that the merge does not go by itself.
var errConflict = errors.New("the merge conflicts")

// merge has GitHub undo the range on a commit after it: the three-way merge, on a temporary branch. It returns the tree.
func (r *reverting) merge(ctx context.Context, on rollback.Commit) (string, error) {
	stand, err := r.createCommit(ctx, "create the temporary commit", "temporary: the way back of "+r.res.Range.String()+" [skip ci]", r.goodTree, r.res.Range.Bad)
	if err != nil {
		return "", err
	}
	name := rollback.TempBranch(r.tempPrefix, r.res.Range)
	for try := 1; ; try++ {
		r.temp = name
		if err := r.pointBranch(ctx, name, stand.Commit, true); err != nil {
			return "", err
		}
		got, err := r.mergeInto(ctx, name, on)
		said := refusalIn(err)
		switch {
		case err == nil && slices.Equal(got.Parents, []rollback.Commit{stand.Commit, on}):
			return got.tree, nil
		case said.status == http.StatusConflict && !said.says("empty"):
			return "", errors.Join(errConflict, err)
		case err == nil, said.status == http.StatusNotFound, maybe(err):
			// Another run is at the same range and uses the same branch, or our own answer was lost: set it back and try again.
		default:
			return "", err
		}
		if try == rounds || ctx.Err() != nil {
			if err == nil {
				err = &rollback.CallError{System: system, Op: "merge on " + name, Kind: rollback.Conflict,
					Err: errors.New("another run works on the same revert"), Fix: "run the same command again in a minute"}
			}
			return "", err
		}
	}
}

// mergeInto merges a commit into a branch. GitHub says 204 where the branch holds it already; then the commit is empty.
func (f *Forge) mergeInto(ctx context.Context, branch string, head rollback.Commit) (commit, error) {
	ctx, cancel := f.begin(ctx, call{op: "merge " + head.Short() + " into " + branch})
	defer cancel()
	got, resp, err := f.client.Repositories.Merge(ctx, f.owner, f.name, &gh.RepositoryMergeRequest{
		Base: gh.String(branch), Head: gh.String(string(head)), CommitMessage: gh.String("temporary [skip ci]"),
	})
	if err != nil {
		return commit{}, f.fail(ctx, true, err)
	}
	if resp.StatusCode != http.StatusCreated {
		return commit{}, nil
	}
	return commitOf(got), nil
}

// open makes the commit, the branch and the pull request.
func (r *reverting) open(ctx context.Context) (rollback.RevertResult, error) {
	if !r.complete { // then the title needs the number of commits
		r.reading.Wait()
		r.res.More = max(r.diff.Total-len(r.res.Undoes), 0)
	}
	title := rollback.RevertTitle(r.res.Undoes, r.res.More, r.res.Range, r.req.Reland)
	message := rollback.RevertMessage(title, r.res.Range, r.res.Head, r.req.Story)
	var made commit
	err := together(
		func() (err error) {
			made, err = r.createCommit(ctx, "create the commit of the revert", message, r.res.Tree, r.res.Head)
			return
		},
		func() error { r.dropTemp(ctx); return nil }, // gone before the branch is there, so that no crash can leave both
	)
	if err != nil {
		return r.res, err
	}
	r.res.Commit, r.res.Signed = made.Commit, made.signed
	r.res.Check = rollback.InverseCheck(r.res.Range, r.res.Head, made.Commit)

	var branch string
	var theirs rollback.PullRequest
	var now rollback.Commit
	err = together(
		func() (err error) {
			if r.renews != nil {
				return r.pointBranch(ctx, r.renews.Head, made.Commit, true)
			}
			if branch, theirs, err = r.claimBranch(ctx, made.Commit); err == nil && theirs.Number == 0 {
				r.claimed = claimed{branch, made.Commit}
			}
			return
		},
		func() (err error) { now, err = r.tip(ctx, r.branch); return },
	)
	if err != nil {
		return r.res, err
	}
	if theirs.Number != 0 {
		f, err := r.verify(ctx, theirs)
		if err != nil {
			return r.res, err
		}
		return r.adopt(ctx, f), nil
	}
	if now != r.res.Head {
		return r.res, errRetry
	}
	r.reading.Wait()
	if err := r.describe(); err != nil {
		return r.res, err
	}
	if r.renews != nil {
		return r.renew(ctx, title, made), nil
	}
	p, adopted, err := r.createPull(ctx, title, branch, made.Commit)
	if err != nil {
		return r.res, err
	}
	r.res.PR, r.res.Outcome = p, rollback.RevertOpened
	if adopted {
		f, err := r.verify(ctx, p)
		if err != nil {
			return r.res, err
		}
		return r.adopt(ctx, f), nil
	}
	r.dress(ctx, true, true)
	r.supersede(ctx)
	return r.res, nil
}

// renew has our own pull request say what it holds now.
func (r *reverting) renew(ctx context.Context, title string, made commit) rollback.RevertResult {
	f := found{PullRequest: r.renews.PullRequest, commit: made.Commit, base: r.res.Head, tree: made.tree}
	f.Title, f.HeadCommit = title, made.Commit
	r.res.Notes = append(r.res.Notes, fmt.Sprintf("#%d conflicted with what came later, and was made anew on %s", f.Number, r.res.Head.Short()))
	body := rollback.RevertBody(r.res, r.req, r.branch)
	err := r.rest(ctx, call{op: fmt.Sprintf("rewrite #%d", f.Number), repeatable: true}, http.MethodPatch, fmt.Sprintf("pulls/%d", f.Number),
		map[string]string{"title": title, "body": body}, nil)
	if err != nil {
		r.res.Notes = append(r.res.Notes, fmt.Sprintf("its text is still the old one: %v", err))
	} else {
		f.Body = body
	}
	return r.adopt(ctx, f)
}

// supersede closes older pull requests of ours whose work this one does as well. It comes last: there is never none open.
// One that people have made their own, or that is not open any more, is left alone.
func (r *reverting) supersede(ctx context.Context) {
	for _, n := range r.req.Supersedes {
		i := slices.IndexFunc(r.listing.pulls, func(p rollback.PullRequest) bool { return p.Number == n })
		if n == r.res.PR.Number || i >= 0 && r.listing.pulls[i].State != rollback.PullOpen {
			continue
		}
		note := fmt.Sprintf("#%d is closed: this pull request does what it did as well", n)
		switch {
		case i < 0:
			note = fmt.Sprintf("close #%d: this pull request does what it does as well", n)
		case !strings.HasPrefix(r.listing.pulls[i].Head, r.branchPrefix) || !ours(r.listing.pulls[i]):
			note = fmt.Sprintf("#%d was not opened by this program and stays open; close it: this pull request does what it does as well", n)
		default:
			if err := r.closePull(ctx, n); err != nil {
				note = fmt.Sprintf("#%d could not be closed (%v); close it: this pull request does what it does as well", n, err)
			}
		}
		r.res.Notes = append(r.res.Notes, note)
	}
}

// ours tells whether a pull request carries our trailer.
func ours(p rollback.PullRequest) bool {
	_, ok := rollback.UndoesIn(p.Body)
	return ok
}

// claimBranch puts the commit onto the branch of this range. A branch that an earlier run left is taken over. On one that
// people have worked on nothing is changed: its open pull request is adopted, or else the next name is tried.
func (r *reverting) claimBranch(ctx context.Context, sha rollback.Commit) (string, rollback.PullRequest, error) {
	none := rollback.PullRequest{}
	for n := 1; n <= names; n++ {
		name := rollback.RevertBranch(r.branchPrefix, r.res.Range, n)
		err := r.pointBranch(ctx, name, sha, false)
		if err == nil {
			return name, none, nil
		}
		if !exists(err) {
			return "", none, err
		}
		there, err := r.tip(ctx, name)
		if err != nil {
			return "", none, err
		}
		c, err := r.commit(ctx, there)
		if err != nil {
			return "", none, err
		}
		if rng, ours := rollback.UndoesIn(c.body); ours && rng == r.res.Range {
			return name, none, r.pointBranch(ctx, name, sha, true)
		}
		if p, err := r.openFrom(ctx, name); err != nil || p.Number != 0 {
			return name, p, err
		}
	}
	return "", none, &rollback.CallError{System: system, Op: "create a branch for the revert", Kind: rollback.Conflict,
		Err: fmt.Errorf("%d branches with its name hold the work of others", names),
		Fix: "delete the branches " + rollback.RevertBranch(r.branchPrefix, r.res.Range, 1) + "… that nobody needs"}
}

// unclaim deletes the branch that an earlier round has made, now that no pull request will come from it: a person who pushes
// one of that name by hand would be refused. Another run may work on the same revert; what that has made its own stays.
func (r *reverting) unclaim(ctx context.Context) {
	if r.claimed.branch == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	var at rollback.Commit
	var p rollback.PullRequest
	err := together(
		func() (err error) { at, err = r.tip(ctx, r.claimed.branch); return },
		func() (err error) { p, err = r.openFrom(ctx, r.claimed.branch); return },
	)
	if err == nil && at == r.claimed.at && p.Number == 0 && r.deleteBranch(ctx, r.claimed.branch) == nil {
		r.claimed = claimed{}
	}
}

// freeBranch is a name for the branch of the revert that nothing has yet.
func (r *reverting) freeBranch(ctx context.Context) string {
	for n := 1; n <= names; n++ {
		name := rollback.RevertBranch(r.branchPrefix, r.res.Range, n)
		if _, err := r.tip(ctx, name); rollback.KindOf(err) == rollback.NotFound {
			return name
		}
	}
	return rollback.RevertBranch(r.branchPrefix, r.res.Range, names+1)
}

func exists(err error) bool {
	said := refusalIn(err)
	return said.status == http.StatusUnprocessableEntity && said.says("already exists")
}

// pointBranch makes a branch, or with force moves the one that exists. A lost answer is looked up.
func (f *Forge) pointBranch(ctx context.Context, name string, sha rollback.Commit, force bool) error {
	create, cancel := f.begin(ctx, call{op: "create branch " + name})
	_, _, err := f.client.Git.CreateRef(create, f.owner, f.name, &gh.Reference{
		Ref: gh.String("refs/heads/" + name), Object: &gh.GitObject{SHA: gh.String(string(sha))},
	})
	err = f.fail(create, true, err)
	cancel()
	if err == nil {
		return nil
	}
	if maybe(err) || exists(err) {
		if at, readErr := f.tip(ctx, name); readErr == nil && at == sha {
			return nil
		}
	}
	if !exists(err) || !force {
		return f.ruled(err, name)
	}
	update, cancel := f.begin(ctx, call{op: "move branch " + name, repeatable: true})
	defer cancel()
	_, _, err = f.client.Git.UpdateRef(update, f.owner, f.name, &gh.Reference{
		Ref: gh.String("refs/heads/" + name), Object: &gh.GitObject{SHA: gh.String(string(sha))},
	}, true)
	return f.ruled(f.fail(update, true, err), name)
}

// ruled adds what to do where a rule of the repository forbids a branch.
func (f *Forge) ruled(err error, name string) error {
	e := asCall(err)
	if e == nil || e.Kind != rollback.Rejected || !refusalIn(err).says("rule") {
		return err
	}
	fixed := *e
	fixed.Kind = rollback.Denied
	fixed.Fix = fmt.Sprintf("a rule of the repository forbids the branch %s: let %s create it, or set revert.branchPrefix and revert.tempPrefix to what it allows", name, f.guard.creds.who())
	return &fixed
}

// tip is the commit that a branch names.
func (f *Forge) tip(ctx context.Context, branch string) (rollback.Commit, error) {
	ctx, cancel := f.begin(ctx, call{op: "read branch " + branch})
	defer cancel()
	ref, _, err := f.client.Git.GetRef(ctx, f.owner, f.name, "heads/"+branch)
	if err != nil {
		return "", f.fail(ctx, false, err)
	}
	sha := ref.GetObject().GetSHA()
	if ref.GetRef() != "refs/heads/"+branch || !shaForm.MatchString(sha) {
		return "", f.strange(callOf(ctx).op, "the answer names no commit")
	}
	return rollback.Commit(sha), nil
}

// deleteBranch deletes a branch; one that is not there is deleted already. GitHub says 422 "Reference does not exist".
func (f *Forge) deleteBranch(ctx context.Context, name string) error {
	ctx, cancel := f.begin(ctx, call{op: "delete branch " + name, repeatable: true})
	defer cancel()
	_, err := f.client.Git.DeleteRef(ctx, f.owner, f.name, "heads/"+name)
	err = f.fail(ctx, true, err)
	if said := refusalIn(err); said.status == http.StatusNotFound || said.status == http.StatusUnprocessableEntity && said.says("does not exist") {
		return nil
	}
	return err
}

// createCommit makes a commit and checks what GitHub says it made. No author is given: then a GitHub App's commit is
// signed by GitHub. Made twice, it is one object more that nothing names.
func (f *Forge) createCommit(ctx context.Context, op, message, tree string, parent rollback.Commit) (commit, error) {
	ctx, cancel := f.begin(ctx, call{op: op, repeatable: true})
	defer cancel()
	got, _, err := f.client.Git.CreateCommit(ctx, f.owner, f.name, &gh.Commit{
		Message: gh.String(message), Tree: &gh.Tree{SHA: gh.String(tree)}, Parents: []*gh.Commit{{SHA: gh.String(string(parent))}},
	}, nil)
	if err != nil {
		return commit{}, f.fail(ctx, true, err)
	}
	c := commit{tree: got.GetTree().GetSHA(), body: got.GetMessage()}
	c.Commit = rollback.Commit(got.GetSHA())
	for _, p := range got.Parents {
		c.Parents = append(c.Parents, rollback.Commit(p.GetSHA()))
	}
	if !shaForm.MatchString(string(c.Commit)) || c.tree != tree || !slices.Equal(c.Parents, []rollback.Commit{parent}) {
		return commit{}, f.strange(op, "the commit that was made is another than the one that was asked for")
	}
	c.signed = got.GetVerification().GetVerified()
	return c, nil
}

// createPull opens the pull request, or finds the one that is open from the same branch.
func (r *reverting) createPull(ctx context.Context, title, branch string, sha rollback.Commit) (p rollback.PullRequest, adopted bool, err error) {
	body := rollback.RevertBody(r.res, r.req, r.branch)
	draft := r.req.Draft
	for {
		p, err = r.postPull(ctx, title, branch, body, draft)
		said := refusalIn(err)
		if draft && said.status == http.StatusUnprocessableEntity && said.says("draft") {
			draft = false
			r.res.Notes = append(r.res.Notes, "the repository has no draft pull requests: it is open for review")
			continue
		}
		break
	}
	if err == nil {
		if p.HeadCommit != sha || p.Base != r.branch {
			return p, false, errRetry // somebody else moved the branch between two calls
		}
		return p, false, nil
	}
	if exists(err) || maybe(err) {
		found, findErr := r.openFrom(ctx, branch)
		switch {
		case findErr != nil || found.Number == 0:
			return p, false, err
		case found.HeadCommit == sha && maybe(err):
			return found, false, nil
		}
		return found, true, nil
	}
	return p, false, err
}

func (f *Forge) postPull(ctx context.Context, title, branch, body string, draft bool) (rollback.PullRequest, error) {
	ctx, cancel := f.begin(ctx, call{op: "open the pull request from " + branch})
	defer cancel()
	got, _, err := f.client.PullRequests.Create(ctx, f.owner, f.name, &gh.NewPullRequest{
		Title: gh.String(title), Head: gh.String(branch), Base: gh.String(f.branch), Body: gh.String(body),
		Draft: gh.Bool(draft), MaintainerCanModify: nil,
	})
	if err != nil {
		return rollback.PullRequest{}, f.fail(ctx, true, err)
	}
	return pull(got), nil
}

// dress adds labels and reviewers. Nothing of it matters for the revert, so failures are notes.
func (r *reverting) dress(ctx context.Context, label, ask bool) {
	var people, teams []string
	if ask {
		people, teams = r.reviewers()
	}
	var labelNote, reviewNotes []string
	_ = together(
		func() error {
			if !label || len(r.req.Labels) == 0 {
				return nil
			}
			err := r.rest(ctx, call{op: fmt.Sprintf("label #%d", r.res.PR.Number), repeatable: true}, http.MethodPost,
				fmt.Sprintf("issues/%d/labels", r.res.PR.Number), map[string]any{"labels": r.req.Labels}, nil)
			if err != nil {
				labelNote = append(labelNote, "the labels could not be set: "+err.Error())
			}
			return nil
		},
		func() error {
			reviewNotes = r.request(ctx, people, teams)
			return nil
		},
		func() error {
			if r.res.Outcome == rollback.RevertOpened {
				r.sweep(ctx)
			}
			return nil
		},
	)
	r.res.Notes = append(append(r.res.Notes, labelNote...), reviewNotes...)
}

// request asks for reviews. GitHub refuses all where it refuses one, so then they are asked one by one.
func (r *reverting) request(ctx context.Context, people, teams []string) []string {
	if len(people)+len(teams) == 0 {
		return nil
	}
	ask := func(people, teams []string) error {
		return r.rest(ctx, call{op: fmt.Sprintf("ask for reviews of #%d", r.res.PR.Number), repeatable: true}, http.MethodPost,
			fmt.Sprintf("pulls/%d/requested_reviewers", r.res.PR.Number), gh.ReviewersRequest{Reviewers: people, TeamReviewers: teams}, nil)
	}
	err := ask(people, teams)
	if err == nil {
		return nil
	}
	if refusalIn(err).status != http.StatusUnprocessableEntity || len(people)+len(teams) == 1 {
		return []string{"the reviewers could not be asked: " + err.Error()}
	}
	notes := make([]string, len(people)+len(teams))
	var wave sync.WaitGroup
	for i, who := range append(slices.Clone(people), teams...) {
		wave.Go(func() {
			one, err := []string{who}, error(nil)
			if i < len(people) {
				err = ask(one, nil)
			} else {
				err = ask(nil, one)
			}
			if err != nil {
				notes[i] = fmt.Sprintf("%s could not be asked for a review: %v", rollback.Printable(who), err)
			}
		})
	}
	wave.Wait()
	return slices.DeleteFunc(notes, func(s string) bool { return s == "" })
}

// reviewers are those who wrote what is undone, the owners of its files, and those who were named.
func (r *reverting) reviewers() (people, teams []string) {
	add := func(who string) {
		who = strings.TrimPrefix(who, "@")
		list, name := &people, who
		if org, team, ok := strings.Cut(who, "/"); ok {
			if !strings.EqualFold(org, r.owner) {
				return
			}
			list, name = &teams, team
		} else if team, ok := strings.CutPrefix(who, "team:"); ok {
			list, name = &teams, team
		}
		same := func(s string) bool { return strings.EqualFold(s, name) }
		if name == "" || strings.EqualFold(name, r.res.PR.Author) || slices.ContainsFunc(*list, same) || len(people)+len(teams) >= maxReviewers {
			return
		}
		*list = append(*list, name)
	}
	for _, who := range r.req.Reviewers {
		add(who)
	}
	if r.req.Authors {
		for _, u := range r.res.Undoes {
			if c, ok := r.log.find(u.Commit); ok && c.login != "" && !strings.HasSuffix(c.login, "[bot]") {
				add(c.login)
			}
		}
	}
	if r.req.CodeOwners {
		var paths []string
		for _, f := range r.res.Files {
			paths = append(paths, f.Path)
		}
		for _, who := range codeOwners(r.log.owners, paths) {
			add(who)
		}
	}
	return people, teams
}

// together does calls at the same time and returns when all have ended. The first error in their order counts.
func together(calls ...func() error) error {
	errs := make([]error, len(calls))
	var wave sync.WaitGroup
	for i, c := range calls {
		wave.Go(func() { errs[i] = c() })
	}
	wave.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
