package rollback

import (
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
}

const defaultDue = time.Hour

func (f Followed) due() time.Duration {
	if f.Due > 0 {
		return f.Due
	}
	return defaultDue
}

// undoing is the range of commits that the rollback takes away, false where the images do not tell it.
func (s *Survey) undoing() (Range, bool) {
	from, to := s.Current.Commit(), s.Target.Commit()
	if r := s.Resume; r != nil && r.From.Commit != "" {
		from, to = r.From.Commit, r.To.Commit
	}
	return Range{Good: to, Bad: from}, from != "" && to != "" && !samePrefix(from, to)
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
		return // what is undone was shown when it was decided
	}
	r, _ := s.undoing()
	res, err := w.Reverter.Revert(ctx, RevertRequest{Range: r, DryRun: true, Rules: w.Place.Followed.Rules})
	if err == nil {
		s.Revert = &res
	}
	s.RevertErr = err
}

// inspectRevert says what the forge told.
func (s *Survey) inspectRevert(w World) {
	severity := Warn
	if s.Request.Method == MethodRevert {
		severity = Block
	}
	if s.Request.Act == ActRun && w.Reverter != nil && s.Target.Digest != "" && s.Target.Digest != s.Current.Digest {
		if _, known := s.undoing(); !known {
			s.find(severity, "no-range", "which commits this undoes is not known: an image carries no commit tag", "revert by hand: rollback revert --pr N or --commit SHA")
		}
	}
	var conflict *RevertConflict
	var stranger *NotOnBranch
	switch {
	case s.RevertErr == nil:
	case errors.As(s.RevertErr, &conflict):
		s.find(severity, "revert-conflict", conflict.Error(), "the pull request has to be made by hand; `rollback revert` prints the commands")
	case errors.As(s.RevertErr, &stranger):
		s.find(severity, "not-on-branch", stranger.Error(), "revert by hand what brought it into production")
	default:
		s.find(severity, "forge-unread", "the forge could not be asked: "+s.RevertErr.Error(), "the image part works without it; the revert stays owed")
	}
	if s.Revert == nil {
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
		s.find(Block, "migrations", fmt.Sprintf("%s in what is undone: %s", plural(len(files), "migration", "migrations"), strings.Join(shown, ", ")),
			"the older code must be able to work with the newer schema; if it is: --accept-migrations, with that as part of the reason")
	}
	if len(s.Revert.Overlap) > 0 {
		s.find(Info, "overlap", fmt.Sprintf("%s changed again since: the revert has to merge", plural(len(s.Revert.Overlap), "file was", "files were")), "")
	}
	if n := len(s.Revert.Undoes) + s.Revert.More; n > 1 {
		s.find(Info, "others", fmt.Sprintf("besides the newest change, %s taken away", plural(n-1, "older one is", "older ones are")), "rollback revert --commit SHA takes back one alone")
	}
}

// inspectBuilds names builds that may still push the tag: a minute after the rollback they would undo it.
func (s *Survey) inspectBuilds() {
	if !s.moving() || s.Request.Method == MethodRevert {
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

// Undoing the code while the pods start.

// owing is the follow-up of a run: the pull request being opened in the background.
type owing struct {
	due    FollowUp
	result chan struct{}
	cancel context.CancelFunc
	res    RevertResult
	err    error
	seen   bool
}

// followUpLimit bounds the work on the pull request, and followUpWait how long the end of a run waits for it. It never
// delays the rollback: by the time the pods are proven it has usually long been open.
const (
	followUpLimit = 60 * time.Second
	followUpWait  = 5 * time.Second
)

// followUp starts opening the revert pull request and returns at once.
func (r *run) followUp(ctx context.Context) (Outcome, string, error) {
	due := FollowUp{Kind: "revert-pr", Due: r.entry.StartedAt.Add(r.World.Place.Followed.due()).UTC()}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), followUpLimit)
	o := &owing{due: due, result: make(chan struct{}), cancel: cancel}
	r.owing = o
	req := r.revertRequest()
	go func() {
		defer close(o.result)
		defer cancel()
		o.res, o.err = r.World.Reverter.Revert(work, req)
		if o.err == nil && r.World.Place.Followed.AutoMerge && o.res.PR.Number > 0 && o.res.PR.State == PullOpen {
			if _, err := r.World.PullRequests.Merge(work, o.res.PR.Number); err != nil {
				o.res.Notes = append(o.res.Notes, "auto-merge was not possible: "+err.Error())
			}
		}
	}()
	return StepPending, "opening while the pods start", nil
}

// revertRequest is the revert of what this run takes back.
func (r *run) revertRequest() RevertRequest {
	f := r.World.Place.Followed
	rng, _ := r.survey.undoing()
	return RevertRequest{
		Range: rng, Labels: f.Labels, Reviewers: f.Reviewers, Authors: true, CodeOwners: true, Draft: f.Draft, Rules: f.Rules,
		Story: Story{Reason: r.plan.Reason, By: r.plan.By.User, Scope: r.plan.Scope, From: r.entry.From.Digest, To: r.entry.To.Digest,
			Since: r.entry.From.PushedAt, Until: r.entry.StartedAt, Rollback: r.entry.ID},
	}
}

// settle waits a moment for the pull request and says what is owed. It is called once, before the record is written.
func (r *run) settle(ctx context.Context) *FollowUp {
	o := r.owing
	if o == nil {
		return nil
	}
	if !o.seen {
		o.seen = true
		t := time.NewTimer(followUpWait)
		defer t.Stop()
		select {
		case <-o.result:
		case <-t.C:
			o.cancel()
			<-o.result
		case <-ctx.Done():
			o.cancel()
			<-o.result
		}
		e := Event{Type: "followup.opened", Data: map[string]any{"due": o.due.Due}}
		switch {
		case o.err != nil:
			e.Type, e.Error = "followup.owed", o.err.Error()
			r.note("the revert pull request is still owed: %s", o.err)
			var conflict *RevertConflict
			if errors.As(o.err, &conflict) {
				for _, c := range conflict.Commands {
					r.note("  %s", c)
				}
			}
		case o.res.Outcome == RevertAlready:
			o.due.Done, o.due.URL = true, o.res.PR.URL
			e.Text = "the branch does not hold what is undone any more"
			r.note("the revert: %s", e.Text)
		default:
			o.due.URL, o.due.PR = o.res.PR.URL, o.res.PR.Number
			e.Text = fmt.Sprintf("%s %s", o.res.Outcome, o.res.PR.URL)
			r.note("revert pull request %s: %s", o.res.Outcome, o.res.PR.URL)
			for _, n := range o.res.Notes {
				r.note("  %s", n)
			}
		}
		if err := r.log(e); err != nil && !r.dumb {
			r.dumb = true
			r.note("the journal cannot be written any more (%s); going on without it", err)
		}
	}
	due := o.due
	return &due
}

// nextOwed is what to type about what is owed.
func (r *run) nextOwed() []string {
	o := r.owing
	if o == nil || o.due.Done {
		return nil
	}
	by := o.due.Due.UTC().Format("15:04 UTC")
	if o.due.URL != "" {
		return []string{fmt.Sprintf("merge the revert by %s: %s", by, o.due.URL)}
	}
	rng, _ := r.survey.undoing()
	return []string{fmt.Sprintf("open the revert by %s: rollback revert %s --to %s", by, r.plan.Scope.flags(), rng.Good)}
}

// undoneByForge are the versions that the forge says are undone.
func (s *Survey) undoneByForge() []UndoneVersion {
	if s.Revert == nil {
		return nil
	}
	var list []UndoneVersion
	for _, c := range s.Revert.Undoes {
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
