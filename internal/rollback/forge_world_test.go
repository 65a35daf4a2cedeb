package rollback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// forge is where the code of the service is merged and built, in memory: a branch with one commit for each image, pull
// requests, and the job that builds and deploys what is merged. What happens there takes fake time, whether or not
// somebody looks.
type forge struct {
	w      *world
	branch []Change // newest first
	pulls  []*pull
	builds []*ciBuild

	// What the forge does.
	conflict    *RevertConflict
	stranger    *NotOnBranch
	unverified  string       // why the pull request that is open is not the exact inverse
	pushes      int          // how often somebody pushes to the pull request before it is merged
	already     *PullRequest // what is undone is gone from the branch, by this one
	notes       []string
	files       []FileChange // of every revert
	overlap     []string
	gates       []Check  // what a pull request waits for
	unread      []string // of its merge state
	opensAfter  time.Duration
	mergedAfter time.Duration // somebody merges it, that long after it was opened; 0: nobody does
	closedAfter time.Duration
	slow        time.Duration // how long a revert takes
	quick       int           // so many reverts are not slow yet
	behind      int           // how often the list of commits still lacks a merge and what came after it
	deaf        bool          // even where it is told to stop

	// What the CI system does.
	webhook     bool // a merge starts a build
	queued      time.Duration
	takes       time.Duration
	result      string
	cancel      bool   // taken out of the queue
	batch       string // of later commits that are merged before the build begins, oldest first: the build is of the last one
	noImage     bool
	unstable    bool          // a build whose tests fail pushes and deploys all the same
	imageAfter  time.Duration // how long after the build its image is there
	idle        bool          // it restarts nothing
	keepsTag    bool          // and does not move the tag
	multi       bool          // it builds for two platforms
	marked      bool          // the job has a parameter for our mark
	shortTags   int           // digits of a commit tag
	unreadQueue bool          // what is queued does not tell its commit
}

type pull struct {
	PullRequest
	rng    Range
	auto   bool
	stale  bool // it conflicts with what came later
	merges time.Time
	closes time.Time
	green  time.Time
}

type ciBuild struct {
	Build
	of         Commit // what it checks out
	id         string
	runs, ends time.Time
	shipped    bool
}

const job = "deploy/payments"

// forged gives the world a forge and a CI system where everything goes well.
func (w *world) forged() *forge {
	f := &forge{w: w, webhook: true, queued: 5 * time.Second, takes: 2 * time.Minute, result: "SUCCESS", marked: true, shortTags: 40}
	for i, c := range "dcba" {
		f.branch = append(f.branch, Change{Commit: Commit(commitOf(c)), Title: "change " + string(c), Author: "dev-" + string(c), PR: 4 - i})
	}
	w.forge = f
	w.place.Followed = Followed{Repo: "acme/payments", Job: job}
	return f
}

// inForge plays fn in a world with a forge.
func inForge(t *testing.T, fn func(t *testing.T, w *world, f *forge)) {
	t.Helper()
	in(t, func(t *testing.T, w *world) {
		f := w.forged()
		fn(t, w, f)
		if f.deaf { // what was left alone comes to its end
			time.Sleep(2 * f.slow)
		}
	})
}

func (f *forge) find(c Commit) int { return FindChange(f.branch, c) }

// mergeCommit is what the merge of a pull request makes.
func mergeCommit(number int) Commit { return Commit(fmt.Sprintf("%040x", 0xe000000000+number)) }

// whole is a commit that may be shortened.
func (f *forge) whole(c Commit) (Commit, error) {
	i := f.find(c)
	if i < 0 {
		return "", &NotOnBranch{Commit: c, Branch: "main"}
	}
	return f.branch[i].Commit, nil
}

// advance lets happen what is due.
func (f *forge) advance() {
	now := time.Now()
	for _, p := range f.pulls {
		if p.State != PullOpen {
			continue
		}
		switch {
		case !p.closes.IsZero() && !now.Before(p.closes):
			p.State = PullClosed
		case !p.merges.IsZero() && !now.Before(p.merges):
			f.land(p, p.merges)
		case p.auto && !p.stale && !now.Before(p.green):
			f.land(p, p.green)
		}
	}
	for _, b := range f.builds {
		f.turn(b, now)
	}
}

// land merges a pull request.
func (f *forge) land(p *pull, at time.Time) {
	m := mergeCommit(p.Number)
	p.State, p.MergeCommit, p.MergedAt = PullMerged, m, at
	f.branch = slices.Insert(f.branch, 0, Change{Commit: m, Title: p.Title, PR: p.Number, Parents: []Commit{f.branch[0].Commit}})
	for _, c := range f.batch {
		f.commit(Commit(commitOf(c)), "change "+string(c), at)
		m = f.branch[0].Commit
	}
	if f.webhook {
		f.start(m, "", at)
	}
}

// commit puts a commit on top of the branch.
func (f *forge) commit(c Commit, title string, at time.Time) {
	f.branch = slices.Insert(f.branch, 0, Change{Commit: c, Title: title, Author: "dev-" + string(c[:1]), Date: at, Parents: []Commit{f.branch[0].Commit}})
}

// start puts a build into the queue.
func (f *forge) start(c Commit, id string, now time.Time) *ciBuild {
	b := &ciBuild{of: c, id: id, runs: now.Add(f.queued), ends: now.Add(f.queued + f.takes), Build: Build{
		Job: job, Queue: int64(100 + len(f.builds)), State: BuildQueued, Start: now}} // a page of its own comes with the number
	if id != "" { // a push has no parameters
		b.Parameters = map[string]string{"COMMIT": string(c)}
	}
	if !f.unreadQueue {
		b.Commits = []Commit{c}
	}
	f.builds = append(f.builds, b)
	return b
}

// turn moves a build on.
func (f *forge) turn(b *ciBuild, now time.Time) {
	c := b.of
	if b.State == BuildQueued && !now.Before(b.runs) {
		if f.cancel {
			b.State = BuildCancelled
			return
		}
		b.State, b.Start, b.Commits = BuildRunning, b.runs, []Commit{c}
		b.Number = slices.Index(f.builds, b) + 1
		b.URL = fmt.Sprintf("https://jenkins.acme.example/%d", b.Number)
	}
	if b.State == BuildRunning && !now.Before(b.ends) {
		b.State, b.Result = BuildFinished, f.result
	}
	if b.State != BuildFinished || b.Result != "SUCCESS" && !(f.unstable && b.Unstable()) || b.shipped || f.noImage || now.Before(b.ends.Add(f.imageAfter)) {
		return
	}
	b.shipped = true
	tag := string(c)[:f.shortTags]
	var digest Digest
	if f.multi {
		digest, _, _ = f.w.pushIndex(tag, now)
	} else {
		digest = f.w.push(tag, now)
	}
	if !f.keepsTag {
		f.w.tags[f.w.place.Tag] = digest
	}
	if f.idle {
		return
	}
	for _, d := range f.w.workloads {
		d.Stamp, d.at = fmt.Sprintf("build-%d", b.Number), now
		d.changes++
		d.Rollout.Generation++
	}
}

// image is what the build of the merge of a pull request made.
func (f *forge) image(number int) Digest { return f.w.tags[string(mergeCommit(number))[:f.shortTags]] }

// state is the part of the end that a forge has.
func (f *forge) state(b *strings.Builder, r Record) {
	for _, p := range f.pulls {
		fmt.Fprintf(b, "pull #%d undoes %s, %s %s\n", p.Number, p.rng, p.State, p.MergeCommit.Short())
	}
	for _, u := range f.builds {
		fmt.Fprintf(b, "build %s %s %s of %v\n", u, u.State, u.Result, u.Commits)
	}
	for _, o := range r.Owed {
		fmt.Fprintf(b, "owed %s %s of %d: #%d %s done %t due %t replaced %t void %t\n", o.Kind, o.Range, o.Of, o.PR, o.URL, o.Done, !o.Due.IsZero(), o.ReplacedBy != "", o.Void != "")
	}
	if e := r.Last; e != nil {
		fmt.Fprintf(b, "method %s merge %+v\n", e.Method, e.Merge)
		if e.Shipped != nil {
			fmt.Fprintf(b, "shipped %s\n", e.Shipped.Digest.Short())
		}
	}
}

func (f *forge) ports(p *process, w *World) {
	port := forgePort{p, f}
	w.Commits, w.Reverter, w.PullRequests = port, port, port
	w.Builds, w.Starter = port, port
}

type forgePort struct {
	p *process
	f *forge
}

func (g forgePort) Recent(ctx context.Context) (out []Change, err error) {
	err = g.p.call(ctx, "Recent", false, func() error {
		out = slices.Clone(g.f.branch)
		if i := slices.IndexFunc(out, func(c Change) bool {
			return slices.ContainsFunc(g.f.pulls, func(p *pull) bool { return p.MergeCommit == c.Commit })
		}); i >= 0 && g.f.behind > 0 {
			g.f.behind, out = g.f.behind-1, out[i+1:]
		}
		return nil
	})
	return out, err
}

func (g forgePort) Revert(ctx context.Context, req RevertRequest) (out RevertResult, err error) {
	op := "Revert"
	if req.DryRun {
		op = "Foresee"
	}
	if err := req.Check(); err != nil {
		return out, &CallError{System: "forge", Op: op, Kind: Rejected, Err: err}
	}
	switch {
	case req.DryRun || g.f.slow == 0:
	case g.f.quick > 0:
		g.f.quick--
	default:
		wait := ctx
		if g.f.deaf {
			wait = context.Background()
		}
		if !pause(wait, g.f.slow) {
			return out, &CallError{System: "forge", Op: op, Kind: Unreachable, Maybe: true, Err: context.Cause(ctx)}
		}
	}
	err = g.p.call(ctx, op, !req.DryRun, func() (err error) {
		out, err = g.f.revert(req)
		return err
	})
	if err != nil {
		return RevertResult{}, err
	}
	return out, nil
}

func (f *forge) revert(req RevertRequest) (res RevertResult, err error) {
	if f.stranger != nil {
		return res, f.stranger
	}
	rng := req.Range
	if rng.Good, err = f.whole(rng.Good); err != nil {
		return res, err
	}
	if rng.Bad, err = f.whole(rng.Bad); err != nil {
		return res, err
	}
	begin, end := f.find(rng.Bad), f.find(rng.Good)
	if begin >= end {
		return res, &CallError{System: "forge", Op: "revert", Kind: Rejected, Err: fmt.Errorf("%s is no range", rng)}
	}
	res = RevertResult{Range: rng, Head: f.branch[0].Commit, Tip: begin == 0, Undoes: slices.Clone(f.branch[begin:end]), Notes: f.notes}
	rules := req.Rules
	if rules == nil {
		rules = RiskRules()
	}
	res.Files = f.files
	if res.Risks, err = Risks(f.files, rules); err != nil {
		return res, err
	}
	if f.already != nil {
		res.Outcome, res.PR = RevertAlready, *f.already
		return res, nil
	}
	defer func() {
		for _, p := range f.pulls {
			if err == nil && !req.DryRun && res.PR.Number != 0 && slices.Contains(req.Supersedes, p.Number) && p.State == PullOpen {
				p.State = PullClosed
				res.Notes = append(res.Notes, fmt.Sprintf("#%d closed", p.Number))
			}
		}
	}()
	for _, p := range f.pulls {
		switch {
		case p.rng != rng:
		case p.State == PullOpen:
			if p.stale && f.unverified != "" && !req.DryRun {
				return res, &RevertConflict{Range: rng, Base: "main", PR: p.PullRequest, Commands: UpToDate("main", "theirs")}
			}
			if p.stale && !req.DryRun {
				p.stale, p.HeadCommit = false, Commit(fmt.Sprintf("%040x", 0xc000000000+p.Number))
				res.Notes = append(res.Notes, fmt.Sprintf("#%d was made anew", p.Number))
			}
			res.Outcome, res.PR, res.Unverified, res.Commit = RevertAdopted, p.PullRequest, f.unverified, p.HeadCommit
			if f.unverified != "" {
				res.Commit = ""
			}
			return res, nil
		case p.State == PullMerged:
			res.Outcome, res.PR = RevertAlready, p.PullRequest
			return res, nil
		}
	}
	if f.conflict != nil {
		return res, f.conflict
	}
	if req.DryRun {
		res.Outcome, res.Overlap = RevertPlanned, f.overlap
		return res, nil
	}
	n := 10 + len(f.pulls)
	now := time.Now()
	p := &pull{rng: rng, green: now.Add(f.opensAfter), PullRequest: PullRequest{Number: n, Title: "Revert", URL: fmt.Sprintf("https://github.acme.example/acme/payments/pull/%d", n),
		State: PullOpen, Base: "main", HeadCommit: Commit(fmt.Sprintf("%040x", 0xf000000000+n)), Draft: req.Draft, Body: rng.Trailer()}}
	if f.mergedAfter > 0 {
		p.merges = now.Add(f.mergedAfter)
	}
	if f.closedAfter > 0 {
		p.closes = now.Add(f.closedAfter)
	}
	f.pulls = append(f.pulls, p)
	res.Outcome, res.PR, res.Commit = RevertOpened, p.PullRequest, p.HeadCommit
	return res, nil
}

func (f *forge) pull(number int) (*pull, error) {
	for _, p := range f.pulls {
		if p.Number == number {
			return p, nil
		}
	}
	if f.already != nil && f.already.Number == number {
		return &pull{PullRequest: *f.already}, nil
	}
	return nil, &CallError{System: "forge", Op: fmt.Sprintf("GET pull %d", number), Kind: NotFound}
}

func (f *forge) mergeState(p *pull) MergeState {
	s := MergeState{PR: p.PullRequest, AutoMerge: p.auto, Clean: !time.Now().Before(p.green), Notes: f.unread}
	if !s.Clean {
		s.Checks = f.gates
	}
	if p.stale {
		s.Conflicts, s.Clean = true, false
	}
	return s
}

func (g forgePort) PullRequest(ctx context.Context, number int) (out PullRequest, err error) {
	s, err := g.MergeState(ctx, number)
	return s.PR, err
}

func (g forgePort) MergeState(ctx context.Context, number int) (out MergeState, err error) {
	err = g.p.call(ctx, "MergeState", false, func() error {
		p, err := g.f.pull(number)
		if err == nil {
			out = g.f.mergeState(p)
		}
		return err
	})
	return out, err
}

func (g forgePort) Merge(ctx context.Context, number int, head Commit) (out MergeState, err error) {
	err = g.p.call(ctx, "Merge ", true, func() error {
		p, err := g.f.pull(number)
		if err != nil {
			return err
		}
		if g.f.pushes > 0 {
			g.f.pushes--
			p.HeadCommit = Commit(fmt.Sprintf("%040x", 0xd000000000+g.f.pushes))
		}
		if p.State == PullOpen && p.HeadCommit != head {
			out = g.f.mergeState(p)
			return &CallError{System: "forge", Op: "merge", Kind: Conflict, Err: &HeadMoved{PR: number, Wanted: head, Found: p.HeadCommit}}
		}
		if p.State == PullOpen {
			if p.auto = !p.stale; p.auto && !time.Now().Before(p.green) {
				g.f.land(p, time.Now())
			}
		}
		out = g.f.mergeState(p)
		return nil
	})
	return out, err
}

func (g forgePort) Newest(ctx context.Context, name string) (out []Build, err error) {
	err = g.p.call(ctx, "Newest", false, func() error {
		if name != job {
			return &CallError{System: "ci", Op: "GET " + name, Kind: NotFound}
		}
		out = nil
		for _, b := range slices.Backward(g.f.builds) {
			out = append(out, b.Build)
		}
		return nil
	})
	return out, err
}

func (g forgePort) InFlight(ctx context.Context, _ string) (out []Build, err error) {
	err = g.p.call(ctx, "InFlight", false, func() error {
		out = nil
		for _, b := range g.f.builds {
			if !b.Over() {
				out = append(out, b.Build)
			}
		}
		return nil
	})
	return out, err
}

func (g forgePort) Look(ctx context.Context, b Build) (out Build, err error) {
	err = g.p.call(ctx, "Look ", false, func() error {
		for _, have := range g.f.builds {
			if have.Queue == b.Queue {
				out = have.Build
				return nil
			}
		}
		return &CallError{System: "ci", Op: "GET build", Kind: NotFound}
	})
	return out, err
}

// Follow asks every ten seconds, as an adapter does; each time is a call.
func (g forgePort) Follow(ctx context.Context, b Build, _ io.Writer) (Build, error) {
	for {
		now, err := g.Look(ctx, b)
		if err != nil {
			return b, err // as it was when last seen
		}
		if b = now; b.Over() {
			return b, nil
		}
		if !pause(ctx, 10*time.Second) {
			return b, &CallError{System: "ci", Op: "follow", Kind: Unreachable, Err: ctx.Err()}
		}
	}
}

func (g forgePort) Parameters(context.Context, string) ([]Parameter, error) {
	return nil, errors.New("not asked for in these tests")
}

func (g forgePort) Stop(context.Context, Build) (Build, error) {
	return Build{}, errors.New("not asked for in these tests")
}

func (g forgePort) Start(ctx context.Context, req BuildRequest) (out StartedBuild, err error) {
	err = g.p.call(ctx, "Start", true, func() error {
		c := Commit(req.Parameters["COMMIT"])
		if req.Job != job || len(c) != 40 || len(req.Parameters) != 1 {
			return &CallError{System: "ci", Op: "start", Kind: Rejected, Err: fmt.Errorf("%+v", req)}
		}
		for _, b := range g.f.builds {
			if g.f.marked && b.id == req.ID {
				out = StartedBuild{Build: b.Build, Already: true, Marked: true}
				return nil
			}
		}
		out = StartedBuild{Build: g.f.start(c, req.ID, time.Now()).Build, Marked: g.f.marked}
		return nil
	})
	return out, err
}
