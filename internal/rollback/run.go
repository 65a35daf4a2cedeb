package rollback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ResultVersion is the schema version of a result as JSON.
const ResultVersion = 1

// Result is how a run ended.
type Result struct {
	SchemaVersion int         `json:"schemaVersion"`
	Run           string      `json:"run"`
	Scope         Scope       `json:"scope"`
	Act           Act         `json:"act"`
	Exit          Exit        `json:"exit"`
	Outcome       string      `json:"outcome"`    // one sentence
	Production    string      `json:"production"` // what state production is in, one sentence
	From          Target      `json:"from"`
	To            Target      `json:"to"`
	TagDigest     Digest      `json:"tagDigest,omitempty"` // what the moving tag was last seen to name
	Steps         []StepState `json:"steps"`
	Proofs        []Proof     `json:"proofs,omitempty"`
	StartedAt     time.Time   `json:"startedAt"`
	EndedAt       time.Time   `json:"endedAt"`
	Next          []string    `json:"next,omitempty"`
	// PullRequest is the URL of the revert, "" where there is none.
	PullRequest string `json:"pullRequest,omitempty"`
}

// Reporter is told what happens, for the person who waits.
type Reporter interface {
	// Step is called when a step starts and when it ends.
	Step(s Step, state StepState)
	// Progress is called after every look at the pods while they turn over.
	Progress(p []Progress)
	// Note is one line worth saying in between.
	Note(text string)
}

// Progress is where one workload is.
type Progress struct {
	Workload Ref
	Desired  int
	New      int // pods of the new template
	Ready    int // of these, ready
	Old      int // pods still to go
	Note     string
	Done     bool
	// Until is how long the pods must stay as they are; the zero time while that is not what is waited for.
	Until time.Time
}

// Limits bound a run in time.
type Limits struct {
	Rollout time.Duration // for the pods to turn over, from the restart on
	Settle  time.Duration // how long the pods must stay ready and right
	Poll    time.Duration // at most this long between two looks
	Retry   time.Duration // between two tries of a read that failed
	// Merge is how long to wait for the merge of a revert; 0 does not wait.
	Merge time.Duration
	// Webhook is how long the merge itself may take to start a build, before one is started here.
	Webhook time.Duration
	Build   time.Duration // for the build of the merge commit
	Image   time.Duration // for its image, after the build
	Slow    time.Duration // between two looks at a pull request, a build or an image
	// FollowUp is how long the end of a run by tag waits for its revert pull request, when all else is written down, and for the
	// merge of it where that is wanted.
	FollowUp time.Duration
	// Patience is how long each trouble of a pod may last; nil for the table of the same name.
	Patience map[string]time.Duration
}

// DefaultLimits are those of a run without settings. The Kubernetes default for a stalled rollout is 600 s.
func DefaultLimits() Limits {
	return Limits{
		Rollout: 10 * time.Minute, Settle: 10 * time.Second, Poll: 2 * time.Second, Retry: time.Second,
		Webhook: time.Minute, Build: time.Hour, Image: 2 * time.Minute, Slow: 5 * time.Second,
		FollowUp: 15 * time.Second,
	}
}

// grace is how long an act in flight may go on after the run was told to stop, and how long the record may take then. A
// Jenkins abort leaves 20 s before the step is given up with the program still running.
const (
	grace       = 4 * time.Second
	lookGrace   = time.Second // for a look at what became of a write whose answer was lost
	recordGrace = 4 * time.Second
)

// CallLimit is how long one call to an outside system may go unanswered, tries included, where the pods may take so long to
// come up: as long, but not so short that a slow answer passes for none, and not so long that somebody waits for nothing.
func CallLimit(rollout time.Duration) time.Duration {
	return min(max(rollout, 10*time.Second), 30*time.Second)
}

// complete fills in what was left out.
func (l Limits) complete() Limits {
	d := DefaultLimits()
	if l.Rollout <= 0 {
		l.Rollout = d.Rollout
	}
	if l.Poll <= 0 {
		l.Poll = d.Poll
	}
	if l.Retry <= 0 {
		l.Retry = d.Retry
	}
	for _, x := range []struct {
		limit *time.Duration
		built time.Duration
	}{{&l.Webhook, d.Webhook}, {&l.Build, d.Build}, {&l.Image, d.Image}, {&l.Slow, d.Slow}, {&l.FollowUp, d.FollowUp}} {
		if *x.limit <= 0 {
			*x.limit = x.built
		}
	}
	if l.Patience == nil {
		l.Patience = Patience
	}
	return l
}

// ErrInterrupted is the cause of a context that a signal ended.
var ErrInterrupted = errors.New("interrupted")

// Runner runs plans. It is the only thing in the program that acts.
type Runner struct {
	World   World
	Journal Journal
	Report  Reporter
	Limits  Limits
}

// run is one plan being run: its state in typed fields.
type run struct {
	Runner
	survey   *Survey
	plan     *Plan
	entry    *Entry // nil for verify
	keeper   *keeper
	outcome  []StepState
	proofs   []Proof
	tagNow   Digest // last seen
	tagged   bool   // the tag was moved, by this run or by the one it goes on with
	unsure   bool   // the answer to moving the tag was lost
	stamped  bool   // at least one workload was restarted likewise
	claimed  bool
	written  bool   // the outcome is in the record, and the lock released
	unstable *Build // the build of the merge, where its tests failed
	dumb     bool   // the journal failed; said once
	owing    *owing
	branch   branch
	checked  Commit // tip of the revert's pull request, where that was found to be the exact inverse
	// unchecked is why it was not.
	unchecked string
	hints     <-chan struct{}      // that something changed in the cluster; nil before anybody waits
	sight     *sight               // what ended the rollout
	silent    map[string]time.Time // since when what is to be told of pods whose nodes do not answer is so; zero once it was told
	unended   []string             // pods that were to go and may still run, when it was proven
	started   time.Time
}

// Run does the plan's steps in order. It stops at the first failure and says what state production is in.
func (rn Runner) Run(ctx context.Context, s *Survey, p *Plan) (*Result, error) {
	r := &run{Runner: rn, survey: s, plan: p, tagNow: s.TagNow.Digest, started: time.Now()}
	if p.Verdict != Safe {
		return nil, p.Refusal()
	}
	r.Limits = r.Limits.complete()
	if s.Resume != nil {
		r.tagged = s.TagNow.Digest == s.Target.Digest && s.Resume.TagWas != s.Target.Digest
		r.stamped = slices.ContainsFunc(s.Affected, func(w Workload) bool { return w.Stamp == s.Resume.Stamp }) ||
			p.Method == MethodRevert && s.Resume.Merge.Commit != "" && s.TagNow.Digest != s.Resume.TagWas
	}
	if err := r.log(Event{Type: "run.started", Text: fmt.Sprintf("%s %s", p.Act, p.Scope), Data: map[string]any{
		"reason": p.Reason, "by": p.By.User, "host": p.By.Host, "build": p.By.Build, "from": p.Current.Digest, "to": p.Target.Digest,
		"registry": p.Basis.Registry, "tag": p.Tag, "cluster": p.Basis.Cluster, "namespace": p.Namespace, "resumes": p.Resumes,
	}}); err != nil {
		if r.World.Records == nil && p.Act != ActVerify {
			return nil, &Error{Exit: Failed, What: "the journal cannot be written and no record is kept, so nothing was started", Err: err, Production: NotChanged,
				Next: []string{"make room, or name a directory that can be written: ROLLBACK_STATE=/some/dir"}}
		}
		r.mute(err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.keeper = newKeeper(r.World.Records, r.survey, stop)
	defer r.keeper.close()

	acts := map[string]func(context.Context) (Outcome, string, error){
		StepClaim: r.claim, StepKeep: r.keep, StepRetag: r.retag, StepRestart: r.restart,
		StepRollout: r.rollout, StepVerify: r.verify, StepRecord: r.record, StepFollowUp: r.followUp,
		StepRevert: r.revert, StepMerge: r.merge, StepBuild: r.build, StepImage: r.image,
	}
	if p.Method == MethodRevert {
		acts[StepRollout] = r.deployed
	}
	for i, step := range p.Steps {
		// What is left after the proof is to write it down: that is done even if the run is told to stop.
		if ctx.Err() != nil && (step.Name != StepRecord || errors.Is(context.Cause(ctx), errLockLost)) {
			return r.end(ctx, step, r.stopped(ctx))
		}
		act, known := acts[step.Name]
		if !known {
			return r.end(ctx, step, &Error{Exit: r.exit(), What: fmt.Sprintf("the plan has a step %q that this program does not know", step.Name)})
		}
		r.step(step, StepState{Name: step.Name, Outcome: StepStarted, At: time.Now().UTC()})
		if err := r.journal(Event{Type: "step.intent", Step: step.Name, Text: step.Text}); err != nil {
			r.step(step, StepState{Name: step.Name, Outcome: StepFailed, At: time.Now().UTC(), Detail: err.Error()}) // what was begun is ended
			return r.end(ctx, step, err)
		}
		outcome, detail, err := act(ctx)
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, errDeadline) && !errors.Is(err, errLockLost) {
				err = r.stopped(ctx)
			}
			if e := (*Error)(nil); !errors.As(err, &e) { // whatever it was, the exit code must tell whether production was touched
				err = &Error{Exit: r.exit(), Err: err}
			}
			if outcome, detail = StepFailed, err.Error(); ExitOf(err) == Pending {
				outcome = StepPending
			}
		}
		state := StepState{Name: step.Name, Outcome: outcome, At: time.Now().UTC(), Detail: detail}
		r.outcome = append(r.outcome, state)
		r.step(step, state)
		event := Event{Type: "step.outcome", Step: step.Name, Text: detail, Data: map[string]any{"outcome": string(outcome)}}
		if err != nil {
			event.Error, event.Text = err.Error(), ""
		}
		if logErr := r.journal(event); err == nil {
			err = logErr
		}
		if err != nil {
			return r.end(ctx, step, err)
		}
		switch next := i + 1; {
		case step.Name == StepRecord, next < len(p.Steps) && p.Steps[next].Name == StepRecord:
			// The last word comes at once: a write in the background would only be in its way.
		case step.Name == StepRevert, step.Name == StepMerge:
			// What comes next is asked of the forge or of Jenkins by what this step has made. Whoever goes on after a kill must
			// find that in the record, not guess it.
			r.keeper.flush(ctx, r.entryInto)
		default:
			r.keeper.update(r.entryInto)
		}
	}
	return r.end(ctx, Step{}, nil)
}

func (r *run) log(e Event) error {
	if r.Journal == nil {
		return nil
	}
	e.Run, e.Scope = r.plan.ID, r.plan.Scope.String()
	return r.Journal.Log(e)
}

// journal logs an event of a step. A journal that cannot be written stops the run only where no record tells either what was
// done, and only before production is touched: half a rollback is worse than a gap in the journal.
func (r *run) journal(e Event) error {
	err := r.log(e)
	if err == nil {
		return nil
	}
	if r.World.Records == nil && r.exit() == Failed && r.plan.Act != ActVerify {
		return &Error{Exit: Failed, What: "the journal cannot be written and no record is kept", Err: err}
	}
	r.mute(err)
	return nil
}

// mute says, once, that the journal cannot be written.
func (r *run) mute(err error) {
	if !r.dumb {
		r.dumb = true
		r.note("the journal cannot be written (%s); going on without it", err)
	}
}

func (r *run) step(s Step, st StepState) {
	if r.Report != nil {
		r.Report.Step(s, st)
	}
}

func (r *run) note(format string, args ...any) {
	if r.Report != nil {
		r.Report.Note(fmt.Sprintf(format, args...))
	}
}

// exit is the code of a failure here: what matters is whether production was touched.
func (r *run) exit() Exit {
	if r.tagged || r.stamped {
		return Unverified
	}
	return Failed
}

// stopped turns the end of the context into what ended it.
func (r *run) stopped(ctx context.Context) error {
	exit, cause := r.exit(), context.Cause(ctx)
	if r.done(StepVerify) && !errors.Is(cause, errLockLost) { // as where the outcome cannot be written: production is proven
		exit = Pending
	}
	var e *Error
	if errors.As(cause, &e) {
		c := *e
		if exit != Failed {
			c.Exit = exit
		}
		return &c
	}
	return &Error{Exit: exit, What: "interrupted", Err: quiet{ErrInterrupted}}
}

// acting gives an act its context: told to stop, the run starts nothing new, but an act in flight has some grace to end in
// good order.
func acting(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	act, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
			cancel(context.Cause(ctx))
		case <-act.Done():
		}
	})
	return act, func() { stop(); cancel(nil) }
}

// sure fails where the lock of this run may be somebody else's by now. It is asked before each act that changes production.
func (r *run) sure(ctx context.Context) error {
	err := r.keeper.sure(ctx)
	if e := (*Error)(nil); errors.As(err, &e) {
		e.Exit = r.exit()
	}
	return err
}

// claim takes the lock and writes down what will be done, in one write: from here on any machine can go on with it.
func (r *run) claim(ctx context.Context) (Outcome, string, error) {
	s, p := r.survey, r.plan
	now := time.Now().UTC()
	switch {
	case s.Resume != nil:
		r.goOn(*s.Resume)
	case p.Act == ActRestart: // a restart alone changes no history: only the lock is taken
		r.entry = &Entry{ID: p.ID, Kind: KindRestart, Stamp: p.stamp(), To: r.target(), StartedAt: now, By: p.By, Reason: p.Reason}
	default:
		kind := KindRollback
		undoes := ""
		if p.Act == ActUndo {
			kind, undoes = KindUndo, s.Record.Last.ID
		}
		r.entry = &Entry{
			ID: p.ID, Kind: kind, Method: p.Method, State: Running, By: p.By, Reason: p.Reason, StartedAt: now,
			Registry: s.Repository.Host, Repository: s.Repository.Name, Tag: s.Place.Tag,
			From: r.from(), To: r.target(), TagWas: s.TagNow.Digest, Stamp: p.stamp(), Undoes: undoes,
		}
		r.entry.Workloads = p.refs()
	}
	if r.World.Records == nil {
		return StepDone, "no record is kept (--no-record): no lock, no resume, no undo from another machine", nil
	}
	stolen := ""
	act, done := acting(ctx, grace)
	defer done()
	err := r.keeper.claim(act, func(rec Record) (Record, error) {
		rec.SchemaVersion, rec.Scope = RecordVersion, p.Scope
		rec, err := Claim(rec, p.By, p.ID, p.Reason, now, s.Request.Steal, r.World.Dead)
		if err != nil {
			return rec, err
		}
		if s.Resume != nil && rec.Last != nil && rec.Last.ID == s.Resume.ID {
			r.goOn(*rec.Last) // whoever worked on it may have come further since the survey
		}
		stolen = rec.Lock.Stolen
		r.entryInto(&rec)
		return rec, nil
	})
	switch e := (*Error)(nil); {
	case err == nil:
	case errors.Is(err, errRaced):
		return "", "", &Error{Exit: Refused, What: "somebody else changed the record of " + p.Scope.String() + " since the plan was made", Err: quiet{err},
			Next: []string{"run again: the plan may be another one now"}}
	case errors.As(err, &e):
		return "", "", err
	default:
		e := &Error{Exit: r.exit(), What: "the record could not be written, so nothing was started", Err: err}
		if fix := FixOf(err); fix != "" {
			e.Next = append(e.Next, fix)
		}
		if KindOf(err) == Denied {
			e.Next = append(e.Next, "the rights it needs (create and update ConfigMaps): rollback permissions", "to go on without lock, resume and undo: the same command with --no-record")
		}
		return "", "", e
	}
	r.claimed = true
	if stolen != "" {
		return StepDone, "lock taken over " + stolen, nil
	}
	return StepDone, "", nil
}

// goOn makes an unfinished entry that of this run. What it was before, when it began and by whom stays.
func (r *run) goOn(e Entry) {
	e.State, e.EndedAt, e.Stamp, e.Method, e.Shipped, e.Proven = Running, time.Time{}, r.plan.stamp(), r.plan.Method, nil, nil
	e.Kept = slices.Clone(e.Kept)
	e.Workloads = r.plan.refs()
	r.entry = &e
}

// from is what ran before. Where an earlier rollback was given up half-way, that is what ran before it: its target was never
// proven, and an undo must not lead there.
func (r *run) from() Target {
	if a := r.survey.givenUp(); a != nil {
		return a.From
	}
	i := r.survey.Current
	return Target{Digest: i.Digest, MediaType: cmp.Or(i.MediaType, r.survey.Manifests[i.Digest].MediaType), Commit: i.Commit(), Tags: i.Tags, PushedAt: i.PushedAt}
}

func (r *run) target() Target {
	i := r.survey.Target
	return Target{Digest: i.Digest, MediaType: i.MediaType, Commit: i.Commit(), Tags: i.Tags, PushedAt: i.PushedAt}
}

// entryInto writes the entry into a record, moving the one before into the history.
func (r *run) entryInto(rec *Record) {
	if r.entry.Kind == KindRestart {
		return
	}
	r.entry.Steps = slices.Clone(r.outcome)
	e := *r.entry
	if rec.Last != nil && rec.Last.ID != e.ID {
		rec.History = slices.Insert(slices.Clone(rec.History), 0, summary(*rec.Last))
		rec.History = rec.History[:min(len(rec.History), HistoryLimit)]
	}
	rec.Last = &e
}

// keep tags the outgoing images, so that no rule for untagged images eats them, and looks once more at the moving tag:
// between plan and now somebody may have pushed.
func (r *run) keep(ctx context.Context) (Outcome, string, error) {
	act, done := acting(ctx, grace)
	defer done()
	images := outgoing(r.survey)
	already := make([]bool, len(images))
	var now []Image
	err := errors.Join(
		each([]func() error{
			func() error {
				return each(indexes(images), func(i int) (err error) {
					m := r.survey.Manifests[images[i]]
					already[i], err = r.World.Registry.Tag(act, r.survey.Repository.Name, m, KeepTag(m.Digest))
					return err
				})
			},
			func() (err error) {
				now, err = r.World.Registry.Images(act, r.survey.Repository.Name, r.plan.Tag)
				return err
			},
		}, func(f func() error) error { return f() }))
	if err != nil {
		e := &Error{Exit: r.exit(), What: "the outgoing image could not be kept", Err: err}
		if fix := FixOf(err); fix != "" {
			e.Next = append(e.Next, fix)
		}
		return "", "", e
	}
	if err := r.tagStill(now); err != nil {
		return "", "", err
	}
	for _, d := range images {
		if tag := KeepTag(d); !slices.Contains(r.entry.Kept, tag) {
			r.entry.Kept = append(r.entry.Kept, tag)
		}
	}
	if len(images) == 0 || !slices.Contains(already, false) {
		return StepAlready, "", nil
	}
	return StepDone, "", nil
}

func indexes[T any](list []T) []int { return slices.Sorted(maps.Keys(maps.Collect(slices.All(list)))) }

// tagStill fails when the moving tag names neither what the plan saw nor the target.
func (r *run) tagStill(now []Image) error {
	d := r.named(now)
	r.tagNow = d
	if d == r.survey.TagNow.Digest || d == r.survey.Target.Digest {
		return nil
	}
	return &Error{Exit: r.exit(), What: fmt.Sprintf("somebody moved %s:%s since the plan was made: it named %s, now it names %s",
		r.survey.Repository.Name, r.plan.Tag, orNothing(r.survey.TagNow.Digest), orNothing(d)),
		Next: []string{"stop the build that pushes it, then run again: the plan may be another one now"}}
}

func orNothing(d Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Short()
}

// retag points the moving tag at the target, byte for byte.
func (r *run) retag(ctx context.Context) (Outcome, string, error) {
	if err := r.sure(ctx); err != nil {
		return "", "", err
	}
	act, done := acting(ctx, grace)
	defer done()
	s := r.survey
	was := r.tagNow
	already, err := r.World.Registry.Tag(act, s.Repository.Name, s.Manifests[s.Target.Digest], r.plan.Tag)
	if err != nil && (maybeDone(err) || act.Err() != nil) {
		r.tagged, r.unsure = true, true // say the worse, unless a look tells better
		if now, lookErr := r.lookAtTag(ctx); lookErr == nil {
			if r.tagNow = now; now == s.Target.Digest {
				already, err, r.unsure = false, nil, false
			}
		}
	}
	if err != nil {
		e := &Error{Exit: r.exit(), What: fmt.Sprintf("%s:%s could not be pointed at %s", s.Repository.Name, r.plan.Tag, s.Target.Digest.Short()), Err: err}
		if fix := FixOf(err); fix != "" {
			e.Next = append(e.Next, fix)
		}
		return "", "", e
	}
	r.tagNow = s.Target.Digest
	if already && was == s.Target.Digest {
		if s.Resume != nil && s.Resume.TagWas != s.Target.Digest {
			r.tagged = true
		}
		return StepAlready, "", nil
	}
	r.tagged = true
	if r.plan.Act == ActRetag { // no restart follows that would look once more
		if now, err := r.lookAtTag(ctx); err != nil {
			r.note("the tag could not be read again: %s", err)
		} else if r.tagNow = now; now != s.Target.Digest {
			return "", "", r.movedBack()
		}
	}
	return StepDone, fmt.Sprintf("%s → %s", orNothing(was), s.Target.Digest.Short()), nil
}

// lookAtTag reads what the moving tag names, "" for nothing.
func (r *run) lookAtTag(ctx context.Context) (Digest, error) {
	ctx, done := acting(ctx, lookGrace)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	images, err := r.World.Registry.Images(ctx, r.survey.Repository.Name, r.plan.Tag)
	return r.named(images), err
}

// named is what the moving tag names among images, "" for nothing.
func (r *run) named(images []Image) Digest {
	for _, i := range images {
		if i.HasTag(r.plan.Tag) {
			return i.Digest
		}
	}
	return ""
}

// movedBack says that the tag was taken away again after this run had moved it.
func (r *run) movedBack() error {
	return &Error{Exit: Unverified, What: fmt.Sprintf("somebody moved %s:%s to %s while this run was at work", r.survey.Repository.Name, r.plan.Tag, orNothing(r.tagNow)),
		Next: []string{"stop the build that pushes it, then run again"}}
}

// restart stamps every affected workload that does not carry the stamp yet, and looks at the tag once more meanwhile: pods
// made from now on must find the target there.
func (r *run) restart(ctx context.Context) (Outcome, string, error) {
	if err := r.sure(ctx); err != nil {
		return "", "", err
	}
	act, done := acting(ctx, grace)
	defer done()
	var todo []Ref
	for _, w := range r.survey.Affected {
		if w.Stamp != r.entry.Stamp {
			todo = append(todo, w.Ref)
		}
	}
	at := r.entry.StartedAt
	var now []Image
	var tagErr error
	restarted := make([]bool, len(todo))
	err := each([]func() error{
		func() error {
			return each(indexes(todo), func(i int) error {
				err := r.World.Cluster.Restart(act, todo[i], r.entry.Stamp, at)
				restarted[i] = err == nil
				return err
			})
		},
		func() error {
			now, tagErr = r.World.Registry.Images(act, r.survey.Repository.Name, r.plan.Tag)
			return nil
		},
	}, func(f func() error) error { return f() })
	if maybeDone(err) && r.restartedAll(ctx, todo, restarted) {
		r.note("an answer to the restart was lost; every workload has been restarted")
		err = nil
	}
	if slices.Contains(restarted, true) {
		r.stamped = true
	}
	if err != nil {
		n := 0
		for _, ok := range restarted {
			if ok {
				n++
			}
		}
		if maybeDone(err) || act.Err() != nil {
			r.stamped = true // unknown: say the worse
		}
		e := &Error{Exit: r.exit(), What: fmt.Sprintf("%d of %s restarted", n, plural(len(todo), "workload was", "workloads were")), Err: err}
		if fix := FixOf(err); fix != "" {
			e.Next = append(e.Next, fix)
		}
		return "", "", e
	}
	if tagErr != nil {
		r.note("the tag could not be read again after the restart: %s; the pods' digests will tell", tagErr)
	} else if r.tagNow = r.named(now); r.tagNow != r.survey.Target.Digest {
		return "", "", r.movedBack()
	}
	if len(todo) == 0 {
		return StepAlready, "", nil
	}
	return StepDone, "", nil
}

// restartedAll looks at what became of the restarts whose answers were lost. What it finds done is noted in restarted; what it
// does not may still come.
func (r *run) restartedAll(ctx context.Context, todo []Ref, restarted []bool) bool {
	ctx, done := acting(ctx, lookGrace)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	seen, err := r.World.Cluster.Observe(ctx, todo)
	if err != nil {
		return false
	}
	for _, o := range seen {
		if i := slices.Index(todo, o.Workload.Ref); i >= 0 && o.Workload.Stamp == r.entry.Stamp {
			restarted[i] = true
		}
	}
	return !slices.Contains(restarted, false)
}

// record writes the outcome and releases the lock.
func (r *run) record(ctx context.Context) (Outcome, string, error) {
	if r.World.Records == nil {
		return StepAlready, "no record is kept", nil
	}
	act, done := acting(ctx, grace)
	defer done()
	act, cancel := context.WithTimeout(act, CallLimit(r.Limits.Rollout)) // it is proven by now, and somebody waits
	defer cancel()
	r.entry.EndedAt = time.Now().UTC()
	switch {
	case r.plan.Act == ActRetag:
		r.entry.State = TagMoved
	case r.plan.Act == ActRestart:
		r.entry.State = Restarted
	case r.plan.Act == ActUndo:
		r.entry.State = Closed
	case r.plan.Method == MethodRevert:
		r.entry.State = Closed
	default:
		r.entry.State = Mitigated
	}
	r.peek()
	err := r.keeper.finish(act, func(rec *Record) {
		r.entryInto(rec)
		rec.Lock = nil
		if r.entry.Kind != KindUndo {
			return
		}
		rec.History = slices.Clone(rec.History)
		for i := range rec.History {
			if h := &rec.History[i]; h.ID == r.entry.Undoes {
				h.State = Undone
				if h.Kind == KindUndo { // what that one had taken back is in effect again
					restored(rec.History[i+1:], h)
				}
			}
		}
	}, r.owe)
	r.claimed, r.written = false, err == nil // whatever came of it, there is nothing left to try
	if err != nil {
		exit := Pending
		if !r.done(StepVerify) {
			exit = r.exit()
		}
		if e := (*Error)(nil); errors.Is(err, errLockLost) && errors.As(err, &e) {
			lost := *e
			lost.Exit = r.exit() // "refused" would say that nothing was done, and "pending" to do it again
			return "", "", &lost
		}
		r.note("the lock stays until it expires, %s after the last heartbeat", Span(LockExpiry))
		return "", "", &Error{Exit: exit, What: "the outcome could not be recorded", Err: err, Next: fixes(err)}
	}
	return StepDone, string(r.entry.State), nil
}

// restored marks the rollback as in effect again that a now undone undo had taken back: the newest undone one between the
// same two images.
func restored(older []Summary, undo *Summary) {
	for i := range older {
		if h := &older[i]; h.State == Undone && h.From == undo.To && h.To == undo.From {
			h.State = Mitigated
			return
		}
	}
}

func fixes(err error) []string {
	if fix := FixOf(err); fix != "" {
		return []string{fix}
	}
	return nil
}

func (r *run) done(step string) bool {
	return slices.ContainsFunc(r.outcome, func(s StepState) bool {
		return s.Name == step && (s.Outcome == StepDone || s.Outcome == StepAlready)
	})
}

// end makes the result, whatever happened, and leaves record and journal in good order.
func (r *run) end(ctx context.Context, step Step, err error) (*Result, error) {
	p := r.plan
	if err != nil && r.entry != nil {
		r.peek()
		look, stop := context.WithTimeout(context.Background(), lookGrace)
		err = r.lookAround(look, err)
		stop()
	}
	if err != nil && r.claimed {
		state := FailedState
		switch {
		case errors.Is(err, ErrInterrupted):
			state = Interrupted
		case ExitOf(err) == Pending:
			state = Waiting
		}
		last, cancel := context.WithTimeout(context.Background(), recordGrace)
		defer cancel()
		r.entry.State = state
		r.entry.EndedAt = time.Now().UTC()
		werr := r.keeper.finish(last, func(rec *Record) {
			r.entryInto(rec)
			rec.Lock = nil
		}, r.owe)
		if werr != nil && !errors.Is(werr, errLockLost) { // a lost lock is somebody else's record by now
			r.note("the record could not be written (%s): the lock stays until it expires, %s after the last heartbeat", werr, Span(LockExpiry))
		}
		r.written = werr == nil
	}
	ended := time.Now().UTC() // what is still waited for concerns production no more
	limit := r.Limits.FollowUp
	if err != nil { // somebody has to act now, on what comes next
		limit = min(limit, followUpBrief)
	}
	r.settle(ctx, limit)
	res := &Result{
		SchemaVersion: ResultVersion, Run: p.ID, Scope: p.Scope, Act: p.Act, From: Target{Digest: p.Current.Digest, Commit: p.Current.Commit, Tags: p.Current.Tags, PushedAt: p.Current.PushedAt},
		To: r.target(), TagDigest: r.tagNow, Steps: r.outcome, Proofs: r.proofs, StartedAt: r.started.UTC(), EndedAt: ended,
	}
	if r.entry != nil && r.entry.From.Digest != "" {
		res.From = r.entry.From
	}
	switch {
	case r.entry != nil && r.entry.Merge.URL != "":
		res.PullRequest = r.entry.Merge.URL
	case r.owing != nil:
		res.PullRequest = r.owing.due.URL
	}
	if err == nil {
		res.Exit, res.Outcome, res.Production = Done, r.success(), r.productionDone()
		res.Next = r.nextDone()
	} else {
		res.Exit, res.Outcome, res.Production = ExitOf(err), strings.ReplaceAll(err.Error(), "\n", "; "), r.production()
		var e *Error
		if errors.As(err, &e) {
			res.Next = slices.Clone(e.Next)
		}
		if !errors.Is(err, errLockLost) {
			res.Next = append(res.Next, r.nextFailed(step, res.Exit)...)
		} else if r.done(StepVerify) { // it is for whoever has the lock to go on
			res.Production += " when this command looked; somebody else has been at work since"
		}
		if res.Production == NotChanged && (errors.Is(err, errLockLost) || errors.Is(err, errLockOld)) { // somebody else may have changed it
			res.Production = "not changed by this command"
		}
	}
	if logErr := r.log(Event{Type: "run.finished", Text: res.Outcome, Data: map[string]any{"exit": int(res.Exit), "production": res.Production}}); logErr != nil {
		r.note("the last line of the journal could not be written: %s", logErr)
	}
	if err == nil {
		return res, nil
	}
	return res, &Error{Exit: res.Exit, What: res.Outcome, Production: res.Production, Next: res.Next, Err: quiet{err}}
}

// quiet keeps an error for errors.Is and As without saying it twice.
type quiet struct{ error }

func (q quiet) Error() string { return "" }
func (q quiet) Unwrap() error { return q.error }

func (r *run) success() string {
	p := r.plan
	to := describe(p.Target.Image)
	switch p.Act {
	case ActRetag:
		return fmt.Sprintf("%s:%s names %s", r.survey.Repository.Name, p.Tag, to)
	case ActRestart:
		return fmt.Sprintf("%s restarted and rolled out", plural(len(p.Workloads), "workload", "workloads"))
	case ActVerify:
		return fmt.Sprintf("every pod of %s runs %s", p.Scope, to)
	}
	if len(p.Steps) == 1 {
		return fmt.Sprintf("%s runs %s already; nothing was changed", p.Scope, to)
	}
	if p.Method == MethodRevert {
		return fmt.Sprintf("%s runs %s, which undoes %s%s; proven on %s", p.Scope, describe(r.survey.Target), describe(p.Current.Image), r.entry.Merge.alongText(), plural(r.provenPods(), "pod", "pods"))
	}
	return fmt.Sprintf("%s is back on %s, proven on %s", p.Scope, to, plural(r.provenPods(), "pod", "pods"))
}

func (r *run) provenPods() int {
	n := 0
	for _, pr := range r.proofs {
		n += pr.Pods
	}
	return n
}

func (r *run) productionDone() string {
	switch r.plan.Act {
	case ActRetag:
		return "the tag has moved; the pods run what they ran, until they restart"
	case ActRestart:
		return "rolled out; the digests were not compared"
	}
	text := "proven: every pod runs " + r.survey.Target.Digest.Short()
	if len(r.unended) > 0 {
		text += ", except perhaps what was to go and is still there: " + strings.Join(r.unended, ", ")
	}
	return text
}

func (r *run) nextDone() []string {
	scope := r.plan.Scope.flags()
	switch r.plan.Act {
	case ActRetag:
		next := []string{"rollback restart " + scope, "rollback verify " + scope}
		owed := r.owe(r.survey.Record.Owed)
		for _, f := range (Record{Owed: owed}).Open() {
			if f.Rollback == r.entry.ID {
				next = append(next, fmt.Sprintf("the code is owed, by %s: %s", f.Due.UTC().Format("15:04 UTC"), f.Command(r.plan.Scope, r.plan.Reason)))
			}
		}
		return slices.Concat(next, r.nextDebts(owed), r.nextStranded())
	case ActVerify:
		var next []string
		for _, f := range (Record{Owed: r.survey.Record.Owed}).Open() {
			reason := "the rollback"
			if last := r.survey.Record.Last; last != nil && last.Reason != "" {
				reason = last.Reason
			}
			next = append(next, r.stillOwed(f, reason))
		}
		return next
	case ActRestart:
		return []string{"rollback verify " + scope}
	case ActUndo:
		return slices.Concat(r.nextDebts(r.owe(r.survey.Record.Owed)), r.nextStranded())
	case ActRun:
		if len(r.plan.Steps) <= 1 {
			return nil
		}
		var next []string
		switch {
		case r.plan.Method == MethodRevert:
		case r.owing != nil:
			next = r.nextOwed()
		case r.survey.dues().Forward:
		default:
			next = []string{"revert the commit in Git within the hour: the next merge ships the bad code again"}
		}
		return slices.Concat(next, r.nextDebts(r.owe(r.survey.Record.Owed)), r.nextStranded(), []string{"to take this back: rollback undo " + scope})
	}
	return nil
}

// production says what state production is in after a failure.
func (r *run) production() string {
	s := r.survey
	switch {
	case r.done(StepVerify), r.plan.Act == ActRestart && r.done(StepRollout):
		return r.productionDone()
	case len(r.plan.Steps) == 1 && r.plan.Steps[0].Name == StepVerify:
		return "not changed by this command; " + r.whoRuns()
	case !r.tagged && !r.stamped:
		if r.entry != nil && r.entry.Merge.Commit != "" {
			return fmt.Sprintf("not changed; the revert is merged as %s and not deployed", r.entry.Merge.Commit.Short())
		}
		return NotChanged
	case r.plan.Method == MethodRevert && r.entry.Shipped != nil:
		return "changed, not verified: the image of the revert is built, and " + r.whoRuns()
	case r.plan.Method == MethodRevert && r.entry.Merge.Commit != "":
		if r.unsure {
			return fmt.Sprintf("perhaps changed: the revert is merged as %s, whose build deploys it, and what :%s names could not be read", r.entry.Merge.Commit.Short(), r.plan.Tag)
		}
		return fmt.Sprintf("changed, not verified: the revert is merged as %s, and :%s names %s by now", r.entry.Merge.Commit.Short(), r.plan.Tag, orNothing(r.tagNow))
	case r.unsure:
		return fmt.Sprintf("perhaps changed: the answer to moving :%s was lost; when last read it named %s. The pods were not restarted", r.plan.Tag, orNothing(r.tagNow))
	case r.stamped && r.tagged:
		return fmt.Sprintf("changed, not verified: :%s names %s and %s", r.plan.Tag, orNothing(r.tagNow), r.whoRuns())
	case r.stamped:
		return "changed, not verified: pods are being restarted; " + r.whoRuns()
	}
	return fmt.Sprintf("changed, not verified: :%s names %s; the pods were not restarted and run what they ran (%s)", r.plan.Tag, orNothing(r.tagNow), describe(s.Current))
}

// whoRuns counts, from the last look, how many pods run the target.
func (r *run) whoRuns() string {
	if len(r.proofs) == 0 {
		return "the pods were not seen yet"
	}
	pods, right := 0, 0
	for _, pr := range r.proofs {
		pods += pr.Pods
		for d, n := range pr.Digests {
			if r.survey.TargetSet[d] {
				right += n
			}
		}
	}
	return fmt.Sprintf("%d of %s run the target", min(right, pods), plural(pods, "pod", "pods"))
}

// nextFailed is what to type after a failure at a step.
func (r *run) nextFailed(step Step, exit Exit) []string {
	scope := r.plan.Scope.flags()
	same := fmt.Sprintf("rollback %s %s", r.plan.Act, scope)
	switch r.plan.Act {
	case ActVerify:
		return []string{"rollback status " + scope}
	case ActRun, ActRetag:
		same += " --to " + string(r.plan.Target.Digest)
	}
	if r.plan.Method == MethodRevert {
		same += " --method " + MethodRevert
	}
	if len(r.plan.Accepted) > 0 {
		same += " --accept " + strings.Join(r.plan.Accepted, ",")
	}
	if r.plan.Reason != "" {
		same += " --reason " + quoted(r.plan.Reason)
	}
	switch {
	case len(r.plan.Steps) == 1:
		return []string{"rollback status " + scope, "run again: " + same}
	case step.Name == StepRecord && r.done(StepVerify):
		return []string{"the same command only has to write the record: " + same}
	case r.tagged || r.stamped:
		next := []string{"the same command goes on where this one stopped: " + same}
		if r.plan.Act == ActRun && (step.Name == StepRollout || step.Name == StepVerify) {
			next = append(next, "back to what ran before: rollback undo "+scope, "another target: rollback candidates "+scope)
		}
		return next
	case exit == Refused: // what has to happen first was said
		return nil
	case exit == Pending:
		return []string{"then go on: " + same}
	}
	return []string{"run again when the cause is gone: " + same}
}

// quoted is s as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
