package rollback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Followed is what the configuration says about the revert of a rolled back commit.
type Followed struct {
	Repo string // owner/name, for people
	// Due is how soon after a rollback the revert must be merged; 0 means an hour.
	Due               time.Duration
	Labels, Reviewers []string
	Draft, AutoMerge  bool
	// Rules say which paths are risky; nil means RiskRules.
	Rules []RiskRule
	// Job is the Jenkins job that deploys the service, CommitParameter its parameter for a commit, both "" if there is none.
	Job, CommitParameter string
	// NoBuilds says why the CI system is not asked although it is configured, "" if it is or is not configured.
	NoBuilds string
	// NoForge says why the forge is not asked although a repository is configured, "" if it is asked or none is configured.
	NoForge string
}

const defaultDue = time.Hour

func (f Followed) due() time.Duration {
	if f.Due > 0 {
		return f.Due
	}
	return defaultDue
}

// undoing is the range of commits that the revert of the rollback takes out of the branch, false where there is none or the
// images do not tell it.
func (s *Survey) undoing() (Range, bool) {
	d := s.dues()
	return d.Range, d.Known
}

// givenUp is the unfinished rollback that the moving tag still stands on, nil if there is none: its target was never proven,
// so what ran before it is what ran before this one, too.
func (s *Survey) givenUp() *Entry {
	if a := s.Abandoned; a != nil && a.From.Digest != "" && s.TagNow.Digest == a.To.Digest {
		return a
	}
	return nil
}

// reverts tells whether a revert belongs to what was asked for.
func (s *Survey) reverts(w World) bool {
	if w.Reverter == nil || s.Request.Act != ActRun || s.Target.Digest == "" || s.Target.Digest == s.Current.Digest && s.Resume == nil {
		return false
	}
	_, known := s.undoing()
	return known
}

// preview asks the forge what the revert would be: commits, files, risks, conflicts. The tag can be moved back without it,
// so a forge that is down is worth a warning and no more.
func (s *Survey) preview(ctx context.Context, w World) {
	if !s.reverts(w) || s.Resume != nil && (s.Resume.Merge.PR != 0 || s.Resume.Method == MethodRetag) {
		s.Revert, s.RevertErr = nil, nil
		return // what is undone was shown when it was decided
	}
	r, _ := s.undoing()
	if s.foreseen != r {
		s.foresee(ctx, w, r)
	}
}

// foreseeable is the range that will be undone, as far as can be told when the target was named and before it is known what
// the pods run: so the forge is asked together with the registry, and not after it. Where it turns out otherwise, it is asked
// again.
func (s *Survey) foreseeable(w World) (Range, bool) {
	if w.Reverter == nil || s.Request.Act != ActRun || s.Resume != nil || !s.named() || s.TagNow.Digest == "" {
		return Range{}, false
	}
	target, _, err := s.resolve(nil)
	if err != nil || target.Digest == s.TagNow.Digest {
		return Range{}, false
	}
	likely := *s
	likely.Current, likely.Target = s.TagNow, target
	d := likely.dues()
	return d.Range, d.Known
}

// foresee asks the forge what undoing a range would be.
func (s *Survey) foresee(ctx context.Context, w World, r Range) {
	s.foreseen, s.Revert, s.RevertErr = r, nil, nil
	if s.Request.Method != MethodRevert {
		if s.RevertErr = s.forgeSilent; s.RevertErr != nil {
			return
		}
		brief, cancel := context.WithTimeout(ctx, asideLimit)
		defer cancel()
		ctx = brief
	}
	res, err := w.Reverter.Revert(ctx, RevertRequest{Range: r, DryRun: true, Rules: w.Place.Followed.Rules})
	if err == nil {
		s.Revert = &res
	}
	s.RevertErr = err
}

// migrations is the code of the finding that what is undone touches the database.
const migrations = "migrations"

// inspectRevert says what the forge told.
func (s *Survey) inspectRevert(w World) {
	severity := Warn
	if s.Request.Method == MethodRevert {
		severity = Block
	}
	if s.Request.Method == MethodRevert && (w.Reverter == nil || w.PullRequests == nil) {
		s.find(Block, "no-forge", "a revert needs a forge, and none is set up", "set repo in rollback.yaml and its credentials; to bring production back at once: the same command with --method retag")
	}
	if why := w.Place.Followed.NoForge; why != "" && s.Request.Act == ActRun && s.Request.Method != MethodRevert {
		s.find(Warn, "forge-unread", "no revert will be opened: "+why, "the image part works without it; open the revert afterwards, or the next merge ships the bad code again")
	}
	if f := w.Place.Followed; f.Repo == "" && f.NoForge == "" && s.Request.Method != MethodRevert && (s.Request.Act == ActRun || s.Request.Act == ActRetag) && s.moving() {
		s.find(Info, "no-repository", "no repository is set up: nothing opens the revert of the code, or reminds of it", "set repo in rollback.yaml")
	}
	if s.Request.Act == ActRun && w.Reverter != nil && s.Target.Digest != "" && s.Target.Digest != s.Current.Digest {
		switch d := s.dues(); {
		case d.Known:
		case d.Forward && severity == Block:
			s.find(severity, "no-range", "the target is newer than what runs: no revert leads there", "to move the tag there: the same command with --method retag")
		case !d.Forward:
			s.find(severity, "no-range", "which commits this undoes is not known: an image carries no commit tag", "revert by hand, with --pr N or --commit SHA: "+s.revertCommand("--pr N"))
		}
	}
	var conflict *RevertConflict
	var stranger *NotOnBranch
	switch {
	case s.RevertErr == nil:
	case errors.As(s.RevertErr, &conflict):
		r, _ := s.undoing()
		s.find(severity, "revert-conflict", conflict.Error(), "the pull request has to be made by hand; what prints the commands: "+s.revertCommand(r.flags()))
	case errors.As(s.RevertErr, &stranger):
		s.find(severity, "not-on-branch", stranger.Error(), "revert by hand what brought it into production")
	default:
		remedy := "the image part works without it; the revert stays owed"
		if severity == Block {
			remedy = cmp.Or(FixOf(s.RevertErr), "run again when GitHub answers; to bring production back at once: the same command with --method retag")
		}
		s.find(severity, "forge-unread", "GitHub could not be asked: "+s.RevertErr.Error(), remedy)
	}
	if s.Revert == nil {
		return
	}
	if s.Revert.Outcome == RevertAlready {
		switch pr := s.Revert.PR; {
		case pr.MergeCommit != "":
			s.find(Info, "reverted-already", fmt.Sprintf("the branch does not hold what is undone any more: %s took it out, merged as %s", pr.URL, pr.MergeCommit.Short()), "")
		case severity == Block:
			s.find(Block, "reverted-already", noMergeKnown, buildTheTip)
		default:
			s.find(Info, "reverted-already", "the branch does not hold what is undone any more", "")
		}
		return
	}
	var files []string
	for _, r := range s.Revert.Risks {
		if r.Kind == RiskMigration {
			files = append(files, r.Path)
		} else {
			s.find(Warn, "risk", fmt.Sprintf("what is undone touches %s (%s)", Printable(r.Path), r.Name), "")
		}
	}
	if len(files) > 0 {
		shown := make([]string, 0, 4)
		for _, f := range files[:min(3, len(files))] {
			shown = append(shown, Printable(f))
		}
		if len(files) > 3 {
			shown = append(shown, fmt.Sprintf("%d more", len(files)-3))
		}
		s.find(Block, migrations, fmt.Sprintf("%s in what is undone: %s", plural(len(files), "migration", "migrations"), strings.Join(shown, ", ")),
			"the older code must be able to work with the newer schema; if it is: --accept-migrations, with that as part of the reason")
	}
	if len(s.Revert.Overlap) > 0 {
		s.find(Info, "overlap", fmt.Sprintf("%s changed again since: the revert has to merge", plural(len(s.Revert.Overlap), "file was", "files were")), "")
	}
	if n := len(s.Revert.Undoes) + s.Revert.More; n > 1 {
		s.find(Info, "others", fmt.Sprintf("besides the newest change, %s taken away", plural(n-1, "older one is", "older ones are")), "to take back one alone: "+s.revertCommand("--commit SHA"))
	}
}

// revertCommand is the command that undoes what is named, for the reason that was given.
func (s *Survey) revertCommand(what string) string {
	return fmt.Sprintf("rollback revert %s %s --reason %s", s.Request.Scope.flags(), what, quoted(cmp.Or(s.Request.Reason, "why")))
}

// inspectBuilds names builds that may still push the tag: a minute after the rollback they would undo it.
func (s *Survey) inspectBuilds() {
	if why := s.Place.Followed.NoBuilds; why != "" && s.Request.Act != ActLook && s.Request.Act != ActVerify {
		s.find(Warn, "builds-unread", "builds are not asked about: "+why, "make sure that no deploy is on its way")
	}
	if s.moving() && s.Request.Method == MethodRevert {
		s.inspectFollowed()
		return
	}
	if !s.moving() {
		return
	}
	if s.buildsErr != nil {
		s.find(Warn, "builds-unread", "running builds could not be read: "+s.buildsErr.Error(), "make sure that no deploy is on its way")
	}
	for _, b := range s.Builds {
		text := fmt.Sprintf("%s is %s and may push :%s", b, b.State, s.Place.Tag)
		if !b.Start.IsZero() {
			text += ", since " + Span(s.At.Sub(b.Start))
		}
		s.find(Block, "build-in-flight", text, "stop it, or wait for its end: "+b.URL)
	}
}

// inspectFollowed tells when the build of the revert could not be followed: it is asked for before anything is merged.
func (s *Survey) inspectFollowed() {
	if s.buildsErr == nil {
		return
	}
	severity, remedy := Warn, "they are read again after the merge"
	switch KindOf(s.buildsErr) {
	case Denied, NotFound, Expired, Rejected: // that does not pass
		severity = Block
		remedy = cmp.Or(FixOf(s.buildsErr), "what Jenkins has to allow: "+s.permissions())
	}
	s.find(severity, "builds-unread", fmt.Sprintf("the builds of %s, which ships the revert, cannot be read: %s", s.Place.Followed.Job, s.buildsErr), remedy)
}

// Undoing the code while the pods start.

// owing is the follow-up of a run: the pull request being opened in the background.
type owing struct {
	due    FollowUp
	result chan opened // one, when the work has ended
	cancel context.CancelFunc
	opened
	known bool // opened is set
	void  bool // somebody has taken the rollback back meanwhile
}

// opened is what became of the pull request.
type opened struct {
	res  RevertResult
	auto bool // the forge merges it by itself when nothing is missing any more
	err  error
}

// followUpLimit bounds the work on the pull request, from the restart on. By the time the pods are proven it has usually long
// been open. Where it has not, the end of the run waits for it, as long as Limits says, but not before the outcome is in the
// record and the lock is free. followUpBrief is the longest wait of a run that has failed, and followUpTidy how long the work
// may take to end in good order once it was told to.
const (
	followUpLimit = 60 * time.Second
	followUpBrief = 2 * time.Second
	followUpTidy  = 2 * time.Second
	followUpTries = 3 // a revert that is repeated finds what it has made
	followUpPause = 2 * time.Second
)

// errSlowForge is what a follow-up ends with that took too long.
var errSlowForge = errors.New("GitHub did not answer in time")

// followUp starts opening the revert pull request and returns at once.
func (r *run) followUp(ctx context.Context) (Outcome, string, error) {
	due := FollowUp{Due: r.deadline(r.survey.dues())}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(followUpLimit, r.Limits.FollowUp))
	o := &owing{due: due, result: make(chan opened, 1), cancel: cancel}
	r.owing = o
	req, w := r.revertRequest(), r.World
	go func() {
		defer cancel()
		var done opened
		var failed error // why the try before this one failed
		for try := 1; ; try++ {
			done.res, done.err = w.Reverter.Revert(work, req)
			if failed != nil && work.Err() != nil && errors.Is(done.err, work.Err()) {
				done.err = failed // cut short: that says less than what went wrong before
			}
			failed = done.err
			lull := max(followUpPause, RetryAfterOf(failed))
			if end, _ := work.Deadline(); try == followUpTries || !passing(failed) || lull > time.Until(end) || !pause(work, lull) {
				break
			}
		}
		o.result <- done
	}()
	return StepPending, "", nil
}

// wait takes what became of the work, after limit at the latest.
func (o *owing) wait(ctx context.Context, limit time.Duration) {
	defer o.cancel()
	o.known = true
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case o.opened = <-o.result:
		return
	case <-t.C:
	case <-ctx.Done():
	}
	o.cancel()
	t.Reset(followUpTidy)
	select {
	case o.opened = <-o.result:
		if errors.Is(o.err, context.Canceled) {
			o.err = fmt.Errorf("%w: %w", errSlowForge, o.err)
		}
	case <-t.C:
		o.err = errSlowForge
	}
}

// merges tells whether the pull request still has to be merged. That is asked for when the pods are proven and not before: the
// merge starts a build, and what that deploys would stand where the target is looked for.
func (r *run) merges() bool {
	o := r.owing
	return o.known && !o.void && r.World.Place.Followed.AutoMerge && r.World.PullRequests != nil && r.done(StepVerify) &&
		o.err == nil && o.res.PR.Number != 0 && o.res.PR.State == PullOpen
}

// merge has the forge merge the pull request.
func (o *owing) merge(ctx context.Context, pulls PullRequests, accepted bool, limit time.Duration) {
	if why := o.res.Unaccepted(); why != "" && !accepted {
		o.res.Notes = append(o.res.Notes, "it is not merged by this program: "+why)
		return
	}
	if o.res.Commit == "" {
		o.res.Notes = append(o.res.Notes, "it is not merged by this program: look at what it changes first")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	state, err := pulls.Merge(ctx, o.res.PR.Number, o.res.Commit)
	if err != nil {
		o.res.Notes = append(o.res.Notes, "auto-merge was not possible: "+err.Error())
		return
	}
	o.auto, o.res.PR.State = true, state.PR.State
	o.res.Notes = append(o.res.Notes, state.Notes...)
}

func (r *run) due() time.Time { return r.entry.StartedAt.Add(r.World.Place.Followed.due()).UTC() }

// revertRequest is the revert of what this run takes back.
func (r *run) revertRequest() RevertRequest {
	f := r.World.Place.Followed
	d := r.survey.dues()
	story := Story{Reason: r.plan.Reason, By: r.plan.By.User, Scope: r.plan.Scope, From: r.entry.From.Digest, Pushed: r.entry.From.PushedAt, Rollback: r.entry.ID}
	if r.plan.Method != MethodRevert { // else it still runs, until this is merged and deployed
		story.To, story.Until = r.entry.To.Digest, r.entry.StartedAt
	}
	known := r.entry.Merge.PR
	for _, f := range r.survey.Record.Owed {
		if known == 0 && f.Rollback == r.entry.ID && f.Kind == OwedRevert && f.Of == 0 {
			known = f.PR
		}
	}
	return RevertRequest{
		Range: d.Range, Known: known, Supersedes: r.survey.supersedes(), Labels: f.Labels, Reviewers: f.Reviewers, Authors: true, CodeOwners: true, Draft: f.Draft, Rules: f.Rules,
		Story: story,
	}
}

// peek takes what became of the pull request, where that is known by now, so that it is in the record from its last word on.
func (r *run) peek() {
	o := r.owing
	if o == nil || o.known {
		return
	}
	select {
	case o.opened = <-o.result:
		o.known = true
		r.account()
	default:
	}
}

// settle brings the follow-up to its end, when the outcome of the run is in the record and the lock is free: what is waited for
// here delays nobody who has to act. What is learned goes into the record by a write of its own.
func (r *run) settle(ctx context.Context, limit time.Duration) {
	o := r.owing
	if o == nil {
		return
	}
	if !o.known {
		o.wait(ctx, limit)
		r.account()
		r.amend(ctx) // before the merge: it must be known that the rollback still stands
	}
	if ctx.Err() == nil && r.merges() {
		o.merge(ctx, r.World.PullRequests, slices.Contains(r.plan.Accepted, migrations), limit)
		r.account()
	}
	r.tell()
	r.amend(ctx)
}

// account says what became of the pull request, where it is owed and in the step that opened it.
func (r *run) account() {
	o := r.owing
	outcome, detail := StepDone, ""
	switch {
	case o.err != nil:
		outcome, detail = StepPending, o.err.Error()
		var conflict *RevertConflict
		if errors.As(o.err, &conflict) {
			o.due.URL, o.due.PR = conflict.PR.URL, conflict.PR.Number
		}
	case o.res.Outcome == RevertAlready:
		o.due.Done, o.due.URL, o.due.PR = true, o.res.PR.URL, o.res.PR.Number
		outcome, detail = StepAlready, "the branch does not hold what is undone any more"
	default:
		o.due.URL, o.due.PR = o.res.PR.URL, o.res.PR.Number
		if o.res.Outcome == RevertAdopted {
			outcome = StepAlready
		}
		o.due.Done = o.res.PR.State == PullMerged
		detail = o.how() + " " + o.res.PR.URL
	}
	for i := range r.outcome {
		if s := &r.outcome[i]; s.Name == StepFollowUp {
			s.Outcome, s.Detail = outcome, detail
		}
	}
}

// how is what became of a pull request that is there.
func (o *owing) how() string {
	if o.due.Done {
		return string(o.res.Outcome) + " and merged"
	}
	return string(o.res.Outcome)
}

// tell says what became of the pull request.
func (r *run) tell() {
	o := r.owing
	e := Event{Type: "followup.opened", Data: map[string]any{"due": o.due.Due}}
	switch {
	case o.err != nil:
		e.Type, e.Error = "followup.owed", o.err.Error()
		r.note("the revert pull request is still owed: %s", o.err)
		var conflict *RevertConflict
		if errors.As(o.err, &conflict) {
			for _, f := range conflict.Facts() {
				r.note("  %s", f)
			}
		}
	case o.res.Outcome == RevertAlready:
		e.Text = "the branch does not hold what is undone any more"
		r.note("the revert: %s", e.Text)
	default:
		e.Text = o.how() + " " + o.res.PR.URL
		r.note("revert pull request %s: %s", o.how(), o.res.PR.URL)
		if o.res.Unverified != "" {
			r.note("  it is not known to be the exact inverse: %s", o.res.Unverified)
		}
		for _, n := range o.res.Notes {
			r.note("  %s", n)
		}
	}
	if err := r.log(e); err != nil {
		r.mute(err)
	}
}

// amend writes down what was learned of the pull request since the record's last word. Nobody holds the lock any more, so
// somebody else may have written meanwhile: only what is about this pull request is changed.
func (r *run) amend(ctx context.Context) {
	o := r.owing
	if !r.written {
		return
	}
	limit := recordGrace
	if ctx.Err() != nil {
		limit = lookGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	err := r.keeper.amend(ctx, func(rec *Record) (changed bool) {
		rec.Owed = slices.Clone(rec.Owed)
		ours := rec.Last != nil && rec.Last.ID == r.entry.ID
		for i := range rec.Owed {
			f := &rec.Owed[i]
			was := *f
			switch {
			case f.Rollback == r.entry.ID && f.Kind == OwedRevert && f.Of == 0:
				if o.due.PR != 0 && (f.PR == 0 || f.PR == o.due.PR) {
					f.PR, f.URL, f.Done = o.due.PR, o.due.URL, f.Done || o.due.Done
				}
				o.void = f.Void != ""
			case ours && r.settled(*f):
				f.Void = r.entry.ID
			}
			changed = changed || *f != was
		}
		if !ours || rec.Last.State != r.entry.State {
			return changed
		}
		e := *rec.Last
		e.Steps = slices.Clone(e.Steps)
		for _, now := range r.outcome {
			if i := slices.IndexFunc(e.Steps, func(s StepState) bool { return s.Name == now.Name }); now.Name == StepFollowUp && i >= 0 && e.Steps[i] != now {
				e.Steps[i], changed = now, true
			}
		}
		rec.Last = &e
		return changed
	})
	if err != nil && o.due.PR != 0 {
		rng, _ := r.survey.undoing()
		owed := FollowUp{Kind: OwedRevert, Range: rng}
		r.note("the record could not be told of the pull request (%s): it stays owed there, also when this is merged, until it is told: %s", err, owed.Command(r.plan.Scope, r.plan.Reason))
	}
}

// nextOwed is what to type about what is owed.
func (r *run) nextOwed() []string {
	o := r.owing
	if o == nil || o.due.Done {
		return nil
	}
	by := o.due.Due.UTC().Format("15:04 UTC")
	if o.void && o.due.URL != "" {
		return []string{"this rollback was taken back by somebody meanwhile; close its revert, or it undoes the code all the same: " + o.due.URL}
	}
	if o.due.URL != "" && o.err == nil {
		if o.auto {
			return []string{fmt.Sprintf("the revert merges by itself when nothing is missing any more; see that it does by %s: %s", by, o.due.URL)}
		}
		return []string{fmt.Sprintf("merge the revert by %s: %s", by, o.due.URL)}
	}
	var conflict *RevertConflict
	var stranger *NotOnBranch
	switch {
	case errors.As(o.err, &conflict) && conflict.PR.Number != 0:
		return append([]string{fmt.Sprintf("the revert conflicts; put it right by %s: %s", by, conflict.PR.URL)}, conflict.Commands...)
	case errors.As(o.err, &conflict):
		return append([]string{fmt.Sprintf("the revert conflicts; make it by hand by %s:", by)}, conflict.Commands...)
	case errors.As(o.err, &stranger):
		return []string{fmt.Sprintf("undo by hand, by %s, what brought %s into production: %s", by, stranger.Commit.Short(), stranger)}
	}
	rng, _ := r.survey.undoing()
	owed := FollowUp{Kind: OwedRevert, Range: rng}
	return append(fixes(o.err), fmt.Sprintf("open the revert by %s: %s", by, owed.Command(r.plan.Scope, r.plan.Reason)))
}

// undoneByForge are the versions that the forge says are undone.
func (s *Survey) undoneByForge() []UndoneVersion {
	if s.Revert == nil {
		return nil
	}
	var list []UndoneVersion
	changes := s.Revert.Undoes
	if i := FindChange(changes, s.dues().From); i > 0 { // what was taken away before does not run
		changes = changes[i:]
	}
	for _, c := range changes {
		u := UndoneVersion{Commit: c.Commit, Change: &c}
		for _, i := range s.seen {
			if t := i.Commit(); t != "" && samePrefix(t, c.Commit) {
				u.Digest, u.PushedAt = i.Digest, i.PushedAt
			}
		}
		list = append(list, u)
	}
	return slices.Clip(list)
}

// WithMigrations are the risk rules with globs of one's own in place of the built-in ones for migrations.
func WithMigrations(globs []string) []RiskRule {
	rules := []RiskRule{{Kind: RiskMigration, Name: "configured", Globs: globs}}
	for _, r := range RiskRules() {
		if r.Kind != RiskMigration {
			rules = append(rules, r)
		}
	}
	return rules
}
