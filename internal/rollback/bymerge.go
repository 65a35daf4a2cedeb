package rollback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Rolling back by a merge: the revert pull request, its merge, that merge commit's build, that build's image, and then the
// same proof as ever. Each step waits for the very thing the one before it made, never for "the last build" or "something
// green".

// Methods.
const (
	MethodRetag  = "retag"
	MethodRevert = "revert"
)

// Names of the steps of a rollback by revert, and of the follow-up of one by retag.
const (
	StepFollowUp = "follow-up"
	StepRevert   = "revert"
	StepMerge    = "merge"
	StepBuild    = "build"
	StepImage    = "image"
)

// Waiting is the state of a rollback that waits for a person or a machine outside; the same command goes on with it.
const Waiting State = "waiting"

// lookAround finds out, when a rollback by revert fails between its merge and its image, whether production has moved: the
// merge starts builds, and those deploy.
func (r *run) lookAround(ctx context.Context, err error) error {
	if r.plan.Method != MethodRevert || r.entry.Merge.Commit == "" || r.tagged || r.stamped {
		return err
	}
	now, lookErr := r.lookAtTag(ctx)
	switch {
	case lookErr != nil:
		r.stamped, r.unsure = true, true // say the worse
	case now == r.entry.TagWas:
		return err
	default:
		r.stamped, r.tagNow = true, now
	}
	if e := (*Error)(nil); errors.As(err, &e) && e.Exit == Failed {
		c := *e
		c.Exit = Unverified
		return &c
	}
	return err
}

// What is said where the branch was reverted already and there is no merge to wait for the build of.
const (
	noMergeKnown = "the branch does not hold what is to be undone any more, and no pull request tells which commit took it away"
	buildTheTip  = "build and deploy the tip of the branch; to bring production back at once: the same command with --method retag"
)

// revert opens the pull request, or adopts the one that is open already.
func (r *run) revert(ctx context.Context) (Outcome, string, error) {
	if r.entry.Merge.Commit != "" {
		return StepAlready, cmp.Or(r.entry.Merge.URL, "merged"), nil
	}
	act, done := acting(ctx, grace)
	defer done()
	res, err := r.World.Reverter.Revert(act, r.revertRequest())
	var conflict *RevertConflict
	if errors.As(err, &conflict) {
		for _, f := range conflict.Facts() {
			r.note("  %s", f)
		}
		return "", "", &Error{Exit: r.exit(), What: "the revert does not merge by itself", Err: conflict, Next: conflict.Next()}
	}
	if err != nil {
		return "", "", &Error{Exit: r.exit(), What: "the revert pull request could not be opened", Err: err, Next: fixes(err)}
	}
	for _, n := range res.Notes {
		r.note("%s", n)
	}
	r.entry.Merge.PR, r.entry.Merge.URL, r.checked, r.unchecked = res.PR.Number, res.PR.URL, res.Commit, res.Unverified
	if res.Unverified != "" {
		r.note("pull request #%d is not known to be the exact inverse, and is not merged by this program: %s", res.PR.Number, res.Unverified)
	}
	if res.Outcome == RevertAlready {
		if res.PR.MergeCommit == "" {
			return "", "", &Error{Exit: r.exit(), What: noMergeKnown, Next: []string{buildTheTip}}
		}
		r.entry.Merge.Commit = res.PR.MergeCommit
		return StepAlready, res.PR.URL, nil
	}
	if res.Outcome == RevertAdopted {
		return StepAlready, res.PR.URL, nil
	}
	return StepDone, res.PR.URL, nil
}

// maxAnew is how often one run makes a pull request anew that conflicts.
const maxAnew = 3

// merge has the pull request merged, or waits until somebody does.
func (r *run) merge(ctx context.Context) (Outcome, string, error) {
	m := &r.entry.Merge
	if m.Commit != "" {
		return StepAlready, m.Commit.Short(), nil
	}
	ask := r.World.Place.Followed.AutoMerge && r.checked != "" // until the forge has taken it
	var refused error                                          // why it did not
	open := false                                              // nothing was missing when it was looked at last
	look := func() (state MergeState, err error) {
		if !ask {
			was := open
			state, err = r.World.PullRequests.MergeState(ctx, m.PR)
			open = err == nil && state.Clean
			if refused == nil || was || !open || r.checked == "" {
				return state, err
			}
		}
		if err := r.sure(ctx); err != nil {
			return state, err
		}
		act, done := acting(ctx, grace)
		defer done()
		state, err = r.World.PullRequests.Merge(act, m.PR, r.checked)
		ask = err != nil
		switch {
		case errors.As(err, new(*HeadMoved)): // what is there now may be as good, or not
			if _, _, err := r.revert(ctx); err != nil {
				return state, err
			}
			ask = r.checked != ""
		case KindOf(err) == Rejected, KindOf(err) == Denied: // so it is merged from here when nothing is missing, or by a person
			if ask = false; refused == nil {
				r.note("pull request #%d is not merged by GitHub itself: %s", m.PR, err)
			}
			refused = err
			state, err = r.World.PullRequests.MergeState(ctx, m.PR)
			open = err == nil && state.Clean
		}
		return state, err
	}
	deadline := time.Now().Add(r.Limits.Merge)
	last, noted := "", map[string]bool{}
	for anew := 0; ; {
		state, err := look()
		if err == nil && state.PR.State == PullOpen && state.Conflicts && anew < maxAnew { // with what came later: it is made anew on that
			anew++
			if _, _, err = r.revert(ctx); err == nil {
				ask, refused = r.World.Place.Followed.AutoMerge && r.checked != "", nil
				state, err = look()
			}
		}
		for _, n := range state.Notes {
			if !noted[n] {
				noted[n] = true
				r.note("%s", n)
			}
		}
		switch {
		case errors.As(err, new(*Error)):
			return "", "", err
		case err != nil && !waits(err):
			return "", "", &Error{Exit: r.exit(), What: fmt.Sprintf("pull request #%d could not be merged", m.PR), Err: err, Next: fixes(err)}
		case err == nil && state.PR.State == PullMerged && state.PR.MergeCommit != "":
			m.Commit = state.PR.MergeCommit
			return StepDone, m.Commit.Short(), nil
		case err == nil && state.PR.State == PullClosed:
			return "", "", &Error{Exit: r.exit(), What: "pull request " + m.URL + " was closed without being merged",
				Next: []string{"reopen it, or run again to open another"}}
		}
		waits := "waits for its merge"
		if missing := state.Missing(); err == nil && len(missing) > 0 {
			waits = "waits: " + strings.Join(missing, "; ")
		} else if err != nil {
			if waits = "cannot be read: " + err.Error(); ask {
				waits = "is not merged yet: " + err.Error()
			}
		}
		if waits != last {
			last = waits
			if r.Limits.Merge > 0 {
				r.note("pull request #%d %s", m.PR, waits)
			}
		}
		if time.Until(deadline) <= RetryAfterOf(err) { // it is over, or will be before there is another answer
			e := &Error{Exit: Pending, What: fmt.Sprintf("pull request #%d %s", m.PR, waits), Next: []string{"merge it: " + m.URL}}
			if r.unchecked != "" {
				e.What += "; it is not known to be the exact inverse: " + r.unchecked
				e.Next = []string{"look at what it changes; merge it if that is right, else close it: " + m.URL}
			} else if refused != nil {
				e.What += "; GitHub does not merge it by itself: " + refused.Error()
				e.Next = append(e.Next, fixes(refused)...)
			} else {
				e.Next = append(e.Next, fixes(err)...)
			}
			return "", "", e
		}
		if !r.lull(ctx, err, deadline) {
			return "", "", ctx.Err()
		}
	}
}

// lull waits until it is time to ask a system again that may have failed: the usual time, or as long as it asked for, but not
// beyond the deadline.
func (r *run) lull(ctx context.Context, err error, deadline time.Time) bool {
	return pause(ctx, min(max(r.Limits.Slow, RetryAfterOf(err)), time.Until(deadline)+time.Millisecond))
}

// waits tells whether it helps to wait after a failure of the forge or of Jenkins: their credentials come with the process, and
// one that was refused is not refreshed while it waits.
func waits(err error) bool { return passing(err) && KindOf(err) != Expired }

// buildSought is how long a build is looked for, each second, that was asked for without an answer. It is not asked for twice.
const buildSought = 3 * time.Second

// build follows the build that ships the merge commit: the one that the merge started, or one started here. While a build is
// in flight that may hold the merge, none is started.
func (r *run) build(ctx context.Context) (Outcome, string, error) {
	m, f := &r.entry.Merge, r.World.Place.Followed
	deadline := time.Now().Add(r.Limits.Build)
	asked := time.Now().Add(r.Limits.Webhook) // until then the merge itself may start the build
	told := false                             // that they cannot be read
	var lost error                            // what asking for a build ended with, where it may have begun all the same
	var sought time.Time                      // for how long it is looked for then
	var b Build
	for b.Job == "" {
		builds, err := r.World.Builds.Newest(ctx, f.Job)
		var found []holding
		var perhaps []Build
		if err == nil {
			if found, perhaps = holders(builds, m.Commit, f.CommitParameter, r.branch.line); len(found) == 0 || found[0].failed() {
				var wanted []Commit
				for _, b := range builds {
					wanted = append(wanted, commitsOf(b, f.CommitParameter)...)
				}
				r.branch.read(ctx, r.World.Commits, m.Commit, wanted...)
				found, perhaps = holders(builds, m.Commit, f.CommitParameter, r.branch.line)
			}
		}
		switch {
		case err != nil && !waits(err):
			return "", "", &Error{Exit: r.exit(), What: "the builds of " + f.Job + " cannot be read", Err: err, Next: fixes(err)}
		case err != nil && !told:
			told = true
			r.note("the builds of %s cannot be read; still trying: %s", f.Job, err)
		case len(found) > 0 && (len(perhaps) == 0 || !found[0].failed()): // beside a failed one, what is in flight may be its repetition
			if err := r.along(found[0]); err != nil {
				return "", "", err
			}
			b = found[0].Build
			continue
		case err == nil && lost != nil && len(perhaps) == 0 && !time.Now().Before(sought):
			return "", "", &Error{Exit: r.exit(), What: "the build of the merge commit could not be started", Err: lost, Next: fixes(lost)}
		case err == nil && lost == nil && len(perhaps) == 0 && f.CommitParameter != "" && r.World.Starter != nil && !time.Now().Before(asked):
			if err := r.sure(ctx); err != nil {
				return "", "", err
			}
			act, done := acting(ctx, grace)
			started, err := r.World.Starter.Start(act, BuildRequest{Job: f.Job, ID: r.entry.ID, Parameters: map[string]string{f.CommitParameter: string(m.Commit)}})
			done()
			switch {
			case maybeDone(err) && ctx.Err() == nil:
				lost, sought = err, time.Now().Add(buildSought)
				r.note("whether a build was started is not known; looking for it: %s", err)
			case err != nil:
				return "", "", &Error{Exit: r.exit(), What: "the build of the merge commit could not be started", Err: err, Next: fixes(err)}
			default:
				b = started.Build
				continue
			}
		}
		if time.Until(deadline) <= RetryAfterOf(err) { // it is over, or will be before there is another answer
			if err != nil {
				return "", "", &Error{Exit: Pending, What: "the builds of " + f.Job + " cannot be read", Err: err, Next: fixes(err)}
			}
			what := "no build"
			if len(found) > 0 {
				what = "no build that succeeded"
			}
			e := &Error{Exit: Pending, What: fmt.Sprintf("%s of %s in job %s yet", what, m.Commit.Short(), f.Job),
				Next: []string{"start it, or let the program do so: jenkins.commitParameter in rollback.yaml"}}
			if len(perhaps) > 0 {
				e.What += fmt.Sprintf("; %s is %s and may hold it", perhaps[0], perhaps[0].State)
				e.Next = []string{"see what it waits for: " + cmp.Or(perhaps[0].URL, f.Job)}
			}
			return "", "", e
		}
		if lost != nil && err == nil && len(perhaps) == 0 {
			if pause(ctx, time.Second) {
				continue
			}
			return "", "", ctx.Err()
		}
		if !r.lull(ctx, err, deadline) {
			return "", "", ctx.Err()
		}
	}
	m.Build = b.URL
	r.keeper.update(r.entryInto)
	r.note("%s", strings.TrimSpace(fmt.Sprintf("build %s %s", b, b.URL)))
	if !b.Over() {
		follow, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		over, err := r.World.Builds.Follow(follow, b, nil)
		if over.Job != "" { // what waited in the queue has a number and a page by now
			b.Number, b.URL = cmp.Or(over.Number, b.Number), cmp.Or(over.URL, b.URL)
			m.Build = b.URL
		}
		goesOn := []string{"it goes on: " + cmp.Or(b.URL, f.Job)}
		switch {
		case ctx.Err() != nil:
			return "", "", ctx.Err()
		case follow.Err() != nil:
			return "", "", &Error{Exit: Pending, What: fmt.Sprintf("build %s did not end within %s", b, Span(r.Limits.Build)), Next: goesOn}
		case err != nil && passing(err):
			return "", "", &Error{Exit: Pending, What: "build " + b.String() + " cannot be followed any more", Err: err, Next: goesOn}
		case err != nil:
			return "", "", &Error{Exit: r.exit(), What: "build " + b.String() + " could not be followed", Err: err, Next: fixes(err)}
		}
		b = over
	}
	if b.Unstable() { // it may have pushed and deployed all the same: its image tells
		r.unstable = &b
		r.note("build %s ended with %s: its tests failed; looking for its image", b, b.Result)
		return StepDone, b.String() + ", tests failed" + m.alongText(), nil
	}
	if !b.Succeeded() {
		return "", "", &Error{Exit: r.exit(), What: fmt.Sprintf("build %s ended with %s: the revert is merged, but not built", b, cmp.Or(b.Result, string(b.State))), Next: buildAgain(b)}
	}
	return StepDone, b.String() + m.alongText(), nil
}

// buildAgain is what to do about a build that has brought nothing.
func buildAgain(b Build) []string {
	return []string{"look at " + cmp.Or(b.URL, b.Job) + ", build again, then run again", "to bring production back at once: the same command with --method retag"}
}

// built is the commit whose image ships the merge.
func (m Merge) built() Commit {
	if m.Built != "" {
		return m.Built
	}
	return m.Commit
}

// tags are the tags that the image of a commit may carry.
func (c Commit) tags() []string {
	refs := []string{string(c)}
	for _, n := range []int{12, 10, 8, 7} {
		refs = append(refs, string(c)[:min(n, len(c))])
	}
	return refs
}

// nearby is how many later commits are tried as names of an image, where no CI system tells what was built.
const nearby = 15

// image waits for the image of what was built: from here on that is the target. Where no CI system tells, the image of a
// later commit counts as well, if the branch says that it contains the merge.
func (r *run) image(ctx context.Context) (Outcome, string, error) {
	s, m := r.survey, &r.entry.Merge
	of := m.built()
	refs := of.tags()
	deadline := time.Now().Add(r.Limits.Image)
	for {
		images, err := r.World.Registry.Images(ctx, s.Repository.Name, refs...)
		found := tagged(images, refs)
		if err == nil && found.Digest != "" && !s.hasBuilds && !sameCommit(found.Commit(), m.Commit) {
			if later, ok := after(r.branch.line, m.Commit, found.Commit()); ok {
				if err := r.along(holding{Commit: later[0].Commit, Along: later}); err != nil {
					return "", "", err
				}
			}
		}
		if err == nil && found.Digest != "" {
			r.stamped = true // whatever deploys it may be at work by now
			if err = r.aim(ctx, found); err == nil {
				return StepDone, describe(found), nil
			}
		} else if err == nil && !s.hasBuilds {
			r.branch = branch{err: r.branch.err} // read anew, unless that cannot pass
			r.branch.read(ctx, r.World.Commits, m.Commit, m.Commit)
			refs = of.tags()
			for i, n := FindChange(r.branch.line, m.Commit)-1, 0; i >= 0 && n < nearby; i, n = i-1, n+1 {
				refs = append(refs, r.branch.line[i].Commit.tags()...)
			}
		}
		if err != nil && !passing(err) {
			return "", "", &Error{Exit: r.exit(), What: "the image of the merge commit cannot be read", Err: err, Next: fixes(err)}
		}
		if time.Until(deadline) <= RetryAfterOf(err) { // it is over, or will be before there is another answer
			if err != nil {
				return "", "", &Error{Exit: Pending, What: "the image of the merge commit cannot be read", Err: err, Next: fixes(err)}
			}
			if b := r.unstable; b != nil {
				return "", "", &Error{Exit: r.exit(), What: fmt.Sprintf("build %s ended with %s: its tests failed, and there is no image of %s", b, b.Result, of.Short()), Next: buildAgain(*b)}
			}
			return "", "", &Error{Exit: Pending, What: fmt.Sprintf("no image of %s in repository %s yet", of.Short(), s.Repository.Name), Next: []string{"run again when its build has pushed it"}}
		}
		if !r.lull(ctx, err, deadline) {
			return "", "", ctx.Err()
		}
	}
}

// tagged is the image that carries the first of the tags that any carries, the zero image if none does.
func tagged(images []Image, tags []string) Image {
	for _, t := range tags {
		for _, i := range images {
			if i.HasTag(t) {
				return i
			}
		}
	}
	return Image{}
}

// aim makes an image the target that rollout and verify wait for.
func (r *run) aim(ctx context.Context, i Image) error {
	s := r.survey
	refs := []string{string(i.Digest)}
	for len(refs) > 0 { // the manifest, then the platforms of an index
		found, err := r.World.Registry.Manifests(ctx, s.Repository.Name, refs...)
		if err != nil {
			return err
		}
		refs = nil
		for _, m := range found {
			s.Manifests[m.Digest] = m
			if children, err := m.References(); err == nil && m.Index() {
				for _, c := range children {
					refs = append(refs, string(c))
				}
			}
		}
	}
	s.remember(i)
	s.Target = s.seen[i.Digest]
	s.TargetSet = s.digestSet(i.Digest)
	shipped := r.target()
	r.entry.Shipped = &shipped
	return nil
}

// deployed waits until the pods run the target: the deploy job restarts them, this program does not.
func (r *run) deployed(ctx context.Context) (Outcome, string, error) {
	dog := watchdog{patience: r.Limits.Patience}
	missing := ""
	var where []string
	var last []Observation
	err := r.watch(ctx, vigil{deadline: time.Now().Add(r.Limits.Rollout)}, func(obs []Observation, now time.Time) (bool, error) {
		last = obs
		r.prove(obs)
		r.tellSilent(obs, now, false)
		where = nil
		var progress []Progress
		fresh := map[string]bool{} // pods that are to run the target, as far as can be told
		for i, o := range obs {
			p := Progress{Workload: o.Workload.Ref, Desired: o.Workload.Rollout.Desired}
			for _, pod := range o.Pods {
				switch {
				case !pod.Live():
				case r.runsTarget(pod):
					p.New++
					if pod.Ready {
						p.Ready++
					} else {
						fresh[pod.Name] = true
					}
				default:
					p.Old++
					if len(r.survey.reported(pod)) == 0 && pod.Created.After(r.entry.StartedAt) { // it has not started anything yet
						fresh[pod.Name] = true
					}
				}
			}
			if pr := r.proofs[i]; pr.Missing != "" && pr.Desired > 0 {
				p.Note = fmt.Sprintf("%d of %d pods run the new image", p.New, p.Desired)
				where = append(where, o.Workload.Ref.String()+": "+p.Note)
			} else {
				p.Done, p.Note = true, plural(p.New, "pod serves", "pods serve")
			}
			progress = append(progress, p)
		}
		if r.Report != nil {
			r.Report.Progress(progress)
		}
		if len(where) == 0 {
			return true, nil
		}
		missing = strings.Join(where, "; ")
		dog.only = func(p Pod) bool { return fresh[p.Name] }
		if s := dog.look(obs, "", now); s != nil {
			return false, r.diagnose(ctx, *s, obs)
		}
		return false, nil
	})
	if errors.Is(err, errDeadline) {
		r.tellSilent(last, time.Now(), true)
		e := &Error{Exit: Unverified, What: fmt.Sprintf("the pods do not run the new image after %s: %s", Span(r.Limits.Rollout), missing), Err: quiet{err},
			Next: append(nodeRemedy(last), "look at the deploy job; if it restarts nothing: rollback restart "+r.plan.Scope.flags())}
		if err != errDeadline { // the cluster went silent: what was seen last is old
			e.What, e.Err = fmt.Sprintf("the rollout could not be followed to its end within %s", Span(r.Limits.Rollout)), err
			if missing != "" {
				e.What += " (last seen: " + missing + ")"
			}
		}
		return "", "", e
	}
	if err != nil {
		return "", "", err
	}
	return StepDone, "", nil
}

// runsTarget tells whether every container of the pod that uses the repository reports the target.
func (r *run) runsTarget(p Pod) bool {
	reported := r.survey.reported(p)
	for _, d := range reported {
		if !r.survey.TargetSet[d] {
			return false
		}
	}
	return len(reported) > 0
}
