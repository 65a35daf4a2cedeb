package rollback

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var toPrevious = Request{Act: ActRun, To: Previous}

// owedIn is what was owed last, nil for nothing.
func owedIn(r Record) *FollowUp {
	if len(r.Owed) == 0 {
		return nil
	}
	return &r.Owed[len(r.Owed)-1]
}

func (w *world) owed() *FollowUp { return owedIn(w.stored()) }

func (p *process) event(kind string) *Event {
	i := slices.IndexFunc(p.journal, func(e Event) bool { return e.Type == kind })
	if i < 0 {
		return nil
	}
	return &p.journal[i]
}

func (p *process) stepAt(name string) time.Time {
	i := slices.IndexFunc(p.steps, func(s StepState) bool { return s.Name == name })
	if i < 0 {
		return time.Time{}
	}
	return p.steps[i].At
}

func TestFollowUp(t *testing.T) {
	const url = "https://github.acme.example/acme/payments/pull/10"
	open := func(f *forge) {
		if _, err := f.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}); err != nil {
			panic(err)
		}
	}
	auto := func(w *world, _ *forge) { w.place.Followed.AutoMerge = true }
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge)
		faults  []*fault
		next    string // the beginning of what to type; "" for nothing about the revert
		notes   string
		journal string
		outcome Outcome
		pr      int
		done    bool
	}{
		{"opened", nil, nil, "merge the revert by 01:00 UTC: " + url, "revert pull request opened: " + url, "opened " + url, StepDone, 10, false},
		{"with notes", func(_ *world, f *forge) { f.notes = []string{"label x does not exist"} }, nil, "merge the revert by", "  label x does not exist", "opened", StepDone, 10, false},
		{"adopted", func(_ *world, f *forge) { open(f) }, nil, "merge the revert by 01:00 UTC: " + url, "revert pull request adopted: " + url, "adopted " + url, StepAlready, 10, false},
		{"reverted already", func(_ *world, f *forge) { f.already = &PullRequest{Number: 8, URL: "https://x/8", State: PullMerged} }, nil, "", "does not hold what is undone", "does not hold", StepAlready, 8, true},
		{"deadline of one's own", func(w *world, _ *forge) { w.place.Followed.Due = 20 * time.Minute }, nil, "merge the revert by 00:20 UTC: " + url, "opened", "opened", StepDone, 10, false},
		{"merged at once", auto, nil, "", "opened and merged: " + url, "opened and merged", StepDone, 10, true},
		{"merges by itself", func(w *world, f *forge) { auto(w, f); f.opensAfter = time.Hour }, nil, "the revert merges by itself when nothing is missing any more; see that it does by 01:00 UTC: " + url, "opened", "opened", StepDone, 10, false},
		{"auto-merge refused", auto, []*fault{{op: "Merge ", do: refuse, kind: Rejected}}, "merge the revert by 01:00 UTC: " + url, "auto-merge was not possible", "opened", StepDone, 10, false},
		{"not the exact inverse", func(w *world, f *forge) { auto(w, f); open(f); f.unverified = "its content is another" }, nil, "merge the revert by 01:00 UTC: " + url, "  it is not known to be the exact inverse: its content is another\n  it is not merged by this program: look at what it changes first", "adopted " + url, StepAlready, 10, false},
		{"adopted, and conflicts by now", func(w *world, f *forge) { open(f); f.pulls[0].stale = true }, nil, "merge the revert by 01:00 UTC: " + url, "  #10 was made anew", "adopted " + url, StepAlready, 10, false},
		{"migrations that could not be foreseen", func(w *world, f *forge) {
			auto(w, f)
			f.files = []FileChange{{Path: "db/migration/V2__fees.sql", Status: "removed"}}
		}, []*fault{{op: "Foresee", do: refuse, kind: Rejected, times: -1}}, "merge the revert by 01:00 UTC: " + url, "  it is not merged by this program: 1 migration in what is undone: db/migration/V2__fees.sql", "opened " + url, StepDone, 10, false},
		{"labels, draft, reviewers", func(w *world, _ *forge) { w.place.Followed.Draft = true }, nil, "merge the revert", "opened", "opened", StepDone, 10, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(w, f)
				}
				p := w.process("ann")
				p.faults = tt.faults
				res := mustRun(t, p, toPrevious)
				if want := "claim done, keep done, retag done, restart done, follow-up pending, rollout done, verify done, record done"; outcomes(p) != want {
					t.Errorf("steps %s", outcomes(p))
				}
				if s := res.Steps[4]; s.Name != StepFollowUp || s.Outcome != tt.outcome || !strings.Contains(s.Detail, tt.journal) {
					t.Errorf("step %+v", s)
				}
				next := strings.Join(res.Next, "\n")
				if tt.next == "" && strings.Contains(next, "revert") || !strings.HasPrefix(next, tt.next) || !strings.Contains(next, "rollback undo") {
					t.Errorf("next: %s", next)
				}
				if notes := strings.Join(p.notes, "\n"); !strings.Contains(notes, tt.notes) {
					t.Errorf("notes: %s", notes)
				}
				if e := p.event("followup.opened"); e == nil || !strings.Contains(e.Text, tt.journal) || e.Data["due"] == nil {
					t.Errorf("journal: %+v", e)
				}
				rec := w.stored()
				o := w.owed()
				if o == nil || o.PR != tt.pr || o.Done != tt.done || o.Kind != "revert-pr" {
					t.Fatalf("owed %+v", o)
				}
				if want := rec.Last.StartedAt.Add(w.place.Followed.due()); !o.Due.Equal(want) {
					t.Errorf("due %s, want %s", o.Due, want)
				}
				if s := rec.Last.Steps[4]; s.Outcome != tt.outcome {
					t.Errorf("recorded step %+v", s)
				}
				if !p.callAt("Revert").Equal(p.callAt("Restart")) {
					t.Errorf("the pull request was begun %s after the restart", p.callAt("Revert").Sub(p.callAt("Restart")))
				}
			})
		})
	}
}

// The request carries what the configuration says and the story of the rollback.
func TestRevertRequest(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.Labels, w.place.Followed.Reviewers, w.place.Followed.Draft = []string{"rollback"}, []string{"eve"}, true
		p := w.process("ann")
		r := &run{Runner: p.runner(), survey: look(t, w, toPrevious), plan: &Plan{Reason: "errors", By: Actor{User: "ann"}, Scope: scope},
			entry: &Entry{ID: "id", From: Target{Digest: w.of(d), PushedAt: epoch}, To: Target{Digest: w.of(c)}, StartedAt: epoch.Add(time.Hour)}}
		req := r.revertRequest()
		if err := req.Check(); err != nil || req.Range != (Range{Commit(commitOf(c)), Commit(commitOf(d))}) || !req.Draft || req.DryRun || !slices.Equal(req.Labels, []string{"rollback"}) || !slices.Equal(req.Reviewers, []string{"eve"}) || !req.Authors || !req.CodeOwners {
			t.Errorf("%+v (%v)", req, err)
		}
		want := Story{Reason: "errors", By: "ann", Scope: scope, From: w.of(d), To: w.of(c), Pushed: epoch, Until: epoch.Add(time.Hour), Rollback: "id"}
		if req.Story != want {
			t.Errorf("%+v", req.Story)
		}
		r.survey.Record.Owed = []FollowUp{{Kind: OwedRevert, Rollback: "other", PR: 7}, {Kind: OwedRevert, Rollback: "id", PR: 8}}
		if req = r.revertRequest(); req.Known != 8 {
			t.Errorf("known %d", req.Known)
		}
		r.entry.Merge.PR = 9
		if req = r.revertRequest(); req.Known != 9 {
			t.Errorf("known %d", req.Known)
		}
		r.plan.Method = MethodRevert // what is taken back still runs
		want.To, want.Until = "", time.Time{}
		if req = r.revertRequest(); req.Story != want {
			t.Errorf("%+v", req.Story)
		}
	})
}

// baseline is how long a rollback takes without any forge, and when it restarts.
func baseline(t *testing.T) (took, restart time.Duration) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		began := time.Now()
		mustRun(t, p, toPrevious)
		took, restart = p.lasted.Sub(began), p.callAt("Restart").Sub(began)
	})
	return took, restart
}

// A forge that is down, refuses, conflicts or hangs costs the rollback nothing, and what is owed is written down.
func TestForgeInTrouble(t *testing.T) {
	took, restart := baseline(t)
	wait := DefaultLimits().FollowUp
	conflict := &RevertConflict{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}, Base: "main", Head: Commit(commitOf(d)), Files: []ConflictFile{{Path: "pay.go"}}, Commands: []string{"git fetch origin main", "git switch -c x"}}
	byRange := "open the revert by 01:00 UTC: rollback revert --service payments --environment prod --to " + commitOf(c) + " --from " + commitOf(d) + " --reason 'errors'"
	type trouble struct {
		name    string
		prepare func(f *forge)
		faults  []*fault
		survey  time.Duration // longer than without
		end     time.Duration
		next    []string
		owed    string
		finding string
	}
	list := []trouble{
		{"conflict", func(f *forge) { f.conflict = conflict }, nil, 0, 0, []string{"the revert conflicts; make it by hand by 01:00 UTC:", "git fetch origin main", "git switch -c x"}, "conflicts with what came later", "revert-conflict"},
		{"not on the branch", func(f *forge) { f.stranger = &NotOnBranch{Commit: Commit(commitOf(d)), Branch: "main"} }, nil, 0, 0, []string{"undo by hand, by 01:00 UTC, what brought ddddddd into production: commit ddddddd is not on main"}, "is not on main", "not-on-branch"},
		{"slow", func(f *forge) { f.slow = 40 * time.Second }, nil, 0, wait, []string{byRange}, "did not answer in time", ""},
		{"slow and deaf", func(f *forge) { f.slow, f.deaf = 10*time.Minute, true }, nil, 0, wait + followUpTidy, []string{byRange}, "did not answer in time", ""},
		{"down, then slow", func(f *forge) { f.slow, f.quick = 40*time.Second, 1 }, []*fault{{op: "Revert", do: refuse, kind: Unreachable, times: 1}}, 0, wait, []string{byRange}, "refused by the test", ""},
		{"the commits hang", nil, []*fault{{op: "Recent", do: hang, times: -1}}, asideLimit, 0, []string{"merge the revert by 01:00 UTC"}, "", "commits-unread"},
		{"what would be undone hangs", nil, []*fault{{op: "Foresee", do: hang, times: -1}}, asideLimit, 0, []string{"merge the revert by 01:00 UTC"}, "", "forge-unread"},
		{"everything hangs", func(f *forge) { f.slow = time.Hour }, []*fault{{op: "Recent", do: hang, times: -1}, {op: "Foresee", do: hang, times: -1}}, asideLimit, wait, []string{byRange}, "did not answer in time", "forge-unread"},
		{"the builds hang", nil, []*fault{{op: "InFlight", do: hang, times: -1}}, asideLimit, 0, []string{"merge the revert by 01:00 UTC"}, "", "builds-unread"},
	}
	for _, k := range []CallKind{NotFound, Denied, Expired, Throttled, Conflict, Unreachable, Broken, ServerFault, Rejected} {
		list = append(list,
			trouble{"only the pull request: " + string(k), nil, []*fault{{op: "Revert", do: refuse, kind: k, times: -1}}, 0, 0, []string{byRange}, string(k), ""},
			trouble{"all of it: " + string(k), nil, []*fault{{op: "Revert", do: refuse, kind: k, times: -1}, {op: "Recent", do: refuse, kind: k, times: -1}, {op: "Foresee", do: refuse, kind: k, times: -1}}, 0, 0, []string{byRange}, string(k), "forge-unread"})
	}
	for _, tt := range list {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(f)
				}
				p := w.process("ann")
				p.faults = tt.faults
				began := time.Now()
				res := mustRun(t, p, toPrevious)
				if got := p.callAt("Restart").Sub(began); got > restart+tt.survey {
					t.Errorf("the restart came after %s, without a forge after %s", got, restart)
				}
				if got := p.lasted.Sub(began); got > took+tt.survey+tt.end {
					t.Errorf("took %s, without a forge %s", got, took)
				}
				if got := p.lasted.Sub(p.stepAt(StepVerify)); got > tt.end {
					t.Errorf("ended %s after the proof", got)
				}
				if got := p.stepAt(StepRecord).Sub(p.stepAt(StepVerify)); got > 0 { // nobody waits for the record but the next who has to act
					t.Errorf("recorded %s after the proof", got)
				}
				for i, want := range tt.next {
					if i >= len(res.Next) || !strings.HasPrefix(res.Next[i], want) {
						t.Errorf("next %q, want %q", res.Next, tt.next)
						break
					}
				}
				if last := res.Next[len(res.Next)-1]; res.Exit != Done || !strings.Contains(last, "rollback undo") || !strings.Contains(res.Production, "proven") {
					t.Errorf("%+v", res)
				}
				rec := w.stored()
				if rec.Last.State != Mitigated || rec.Lock != nil || w.owed() == nil || !w.owed().Due.Equal(rec.Last.StartedAt.Add(time.Hour)) {
					t.Fatalf("record %+v, owed %+v", rec.Last, w.owed())
				}
				if tt.owed != "" {
					if e := p.event("followup.owed"); e == nil || !strings.Contains(e.Error, tt.owed) {
						t.Errorf("journal %+v", e)
					}
					if notes := strings.Join(p.notes, "\n"); !strings.Contains(notes, "still owed") || !strings.Contains(notes, tt.owed) {
						t.Errorf("notes %s", notes)
					}
					if w.owed().URL != "" || w.owed().Done || res.Steps[4].Outcome != StepPending {
						t.Errorf("owed %+v, step %+v", w.owed(), res.Steps[4])
					}
				}
				if tt.finding != "" && !slices.ContainsFunc(p.plan.Findings, func(f Finding) bool { return f.Code == tt.finding && f.Severity != Block }) {
					t.Errorf("findings %+v", p.plan.Findings)
				}
			})
		})
	}
}

// A forge that takes its time does not hold the record up: that has its last word and no lock when the pods are proven, and
// learns of the pull request when it is there.
func TestFollowUpSettlesAfterTheRecord(t *testing.T) {
	took, restart := baseline(t)
	for _, tt := range []struct {
		name    string
		late    time.Duration // after the proof
		limit   time.Duration
		prepare func(w *world)
		meet    func(w *world, p *process) // when the pull request is opened, with the record as it is by then
		pr      int
		next    string
		notes   string
		merges  int
	}{
		{name: "in time", late: 5 * time.Second, pr: 10, next: "merge the revert by 01:00 UTC: "},
		{name: "longer than the work may take elsewhere", late: 3 * time.Minute, limit: 5 * time.Minute, pr: 10, next: "merge the revert by 01:00 UTC: "},
		{name: "too late", late: 5 * time.Second, limit: time.Second, next: "open the revert by 01:00 UTC: ", notes: "did not answer in time"},
		{name: "not waited for", late: 5 * time.Second, limit: time.Nanosecond, next: "open the revert by 01:00 UTC: ", notes: "did not answer in time"},
		{name: "merged", late: 5 * time.Second, prepare: func(w *world) { w.place.Followed.AutoMerge = true }, pr: 10, next: "to take this back", notes: "opened and merged", merges: 1},
		{name: "somebody else writes", late: 5 * time.Second, meet: func(w *world, _ *process) { w.edit(func(r *Record) { r.Freeze = &Freeze{} }) }, pr: 10, next: "merge the revert by 01:00 UTC: "},
		{
			name: "somebody takes it back", late: 5 * time.Second, prepare: func(w *world) { w.place.Followed.AutoMerge = true },
			meet: func(w *world, _ *process) {
				w.edit(func(r *Record) {
					r.Owed[0].Void = "later"
					r.History, r.Last = []Summary{summary(*r.Last)}, &Entry{ID: "later", Kind: KindUndo, State: Running}
					r.Lock = &Lock{Run: "later"}
				})
			},
			pr: 10, next: "this rollback was taken back by somebody meanwhile; close its revert, or it undoes the code all the same: https://github.acme.example/acme/payments/pull/10",
		},
		{name: "the answer is lost", late: 5 * time.Second, meet: func(_ *world, p *process) { p.faults = []*fault{{op: "Write", do: lose}} }, pr: 10, next: "merge the revert by 01:00 UTC: "},
		{name: "a moment's trouble", late: 5 * time.Second, meet: func(_ *world, p *process) {
			p.faults = []*fault{{op: "Write", do: refuse, kind: ServerFault, times: 3}, {op: "Read", do: refuse, kind: ServerFault, times: 2}}
		}, pr: 10, next: "merge the revert by 01:00 UTC: "},
		{name: "refused", late: 5 * time.Second, meet: func(_ *world, p *process) {
			p.faults = []*fault{{op: "Write", do: refuse, kind: Denied, times: -1}}
		}, next: "merge the revert by 01:00 UTC: ", notes: "also when this is merged, until it is told: rollback revert --service payments --environment prod --to "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(w)
				}
				f.slow = took - restart + tt.late
				p := w.process("ann")
				p.limits.FollowUp = tt.limit
				var between Record
				w.before = func(by *process, op string) {
					if op == "Revert" {
						if between = w.decode(); tt.meet != nil {
							tt.meet(w, by)
						}
					}
				}
				res := mustRun(t, p, toPrevious)
				if proof := p.stepAt(StepVerify); p.stepAt(StepRecord) != proof {
					t.Errorf("recorded at %s, proven at %s", p.stepAt(StepRecord), proof)
				}
				if tt.pr != 0 && (between.Lock != nil || between.Last.State != Mitigated || len(between.Open()) != 1 || between.Owed[0].PR != 0) {
					t.Errorf("while the pull request is opened: %+v, lock %v, owed %+v", between.Last, between.Lock, between.Owed)
				}
				rec := w.stored()
				if o := rec.Owed[0]; o.PR != tt.pr || o.Done != (tt.merges > 0) || o.Void != "" && tt.meet == nil {
					t.Errorf("owed %+v", o)
				}
				if tt.name == "somebody takes it back" && (rec.Lock == nil || rec.Last.ID != "later" || rec.Owed[0].Void != "later") {
					t.Errorf("the other one's record: %+v", rec)
				}
				if tt.name == "somebody else writes" && rec.Freeze == nil {
					t.Error("what the other one wrote is gone")
				}
				if last := rec.Last; tt.pr != 0 && last.ID == res.Run && last.Steps[4].Outcome != StepDone || res.Steps[4].Outcome == StepDone != strings.HasPrefix(res.PullRequest, "https") {
					t.Errorf("steps %+v", rec.Last.Steps)
				}
				if len(res.Next) == 0 || !strings.HasPrefix(res.Next[0], tt.next) || !strings.Contains(strings.Join(p.notes, "\n"), tt.notes) {
					t.Errorf("next %q, notes %q", res.Next, p.notes)
				}
				if p.asked("Merge ") != tt.merges || tt.merges > 0 && p.callAt("Merge ").Before(p.stepAt(StepRecord)) {
					t.Errorf("the merge was asked for %d times", p.asked("Merge "))
				}
			})
		})
	}
	// A signal meanwhile ends it at once, and what is done is done.
	inForge(t, func(t *testing.T, w *world, f *forge) {
		f.slow = time.Hour
		p := w.process("ann")
		w.after = func(_ *process, op string) {
			if op == "journal step.outcome record" {
				p.stopped = time.Now()
				p.stop(ErrInterrupted)
			}
		}
		mustRun(t, p, toPrevious)
		if took := p.lasted.Sub(p.stopped); took > followUpTidy || w.stored().Last.State != Mitigated {
			t.Errorf("ended %s after the signal", took)
		}
	})
}

// Without a record nobody writes down what is owed, but it is opened and said all the same.
func TestFollowUpWithoutRecord(t *testing.T) {
	took, restart := baseline(t)
	inForge(t, func(t *testing.T, w *world, f *forge) {
		p := w.process("ann")
		p.noRecord = true
		f.slow = took - restart + 2*time.Second // longer than the pods take
		res := mustRun(t, p, toPrevious)
		if len(f.pulls) != 1 || !strings.HasPrefix(res.Next[0], "merge the revert by 01:00 UTC: https://") || p.event("followup.opened") == nil {
			t.Errorf("%d pulls, next %v", len(f.pulls), res.Next)
		}
	})
}

// A run that goes on with another finds its pull request.
func TestFollowUpOfAResumedRun(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.behaviour[w.of(c)] = neverReady
		_, err := w.process("ann").run(toPrevious)
		exitIs(t, err, Unverified)
		o := w.owed()
		if o == nil || o.PR != 10 || o.Done || w.stored().Last.State != FailedState {
			t.Fatalf("a failed run owes %+v", o)
		}
		w.behaviour[w.of(c)] = healthy
		p := w.process("bob")
		res := mustRun(t, p, toPrevious)
		if len(f.pulls) != 1 || !strings.Contains(strings.Join(p.notes, "\n"), "revert pull request adopted") || !strings.HasPrefix(res.Next[0], "merge the revert by 01:00 UTC: ") {
			t.Errorf("%d pulls; %v; %v", len(f.pulls), p.notes, res.Next)
		}
		if again := w.owed(); *again != *o {
			t.Errorf("owed %+v, was %+v", again, o)
		}
	})
	// The tag has moved, and the run stops before it comes to the pull request.
	for _, at := range []string{"Restart", "journal step.outcome retag"} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			p.faults = []*fault{{op: "Restart", do: refuse, kind: Denied, times: -1}}
			if at != "Restart" {
				p.faults = []*fault{{op: at, do: signal}}
			}
			_, err := p.run(toPrevious)
			exitIs(t, err, Unverified)
			if o := w.owed(); o == nil || o.Due.IsZero() || o.URL != "" || o.Done || len(f.pulls) > 0 {
				t.Errorf("%s: owed %+v", at, o)
			}
			mustRun(t, w.process("ann"), toPrevious)
			if o := w.owed(); o.PR != 10 {
				t.Errorf("%s: owed %+v", at, o)
			}
		})
	}
	// Nothing moved, nothing owed.
	inForge(t, func(t *testing.T, w *world, f *forge) {
		p := w.process("ann")
		p.faults = []*fault{{op: "Tag rollback-keep", do: refuse, kind: Denied, times: -1}}
		_, err := p.run(toPrevious)
		exitIs(t, err, Failed)
		if o := w.owed(); o != nil || len(f.pulls) > 0 {
			t.Errorf("owed %+v", o)
		}
	})
}

// The merge of the follow-up starts a build, and that a deploy: it waits until the pods are proven, however long that takes,
// and a rollback that is not proven merges nothing.
func TestFollowUpMergesAfterTheProof(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge = true
		w.behaviour[w.of(c)] = neverReady
		p := w.process("ann")
		_, err := p.run(toPrevious)
		exitIs(t, err, Unverified)
		if o := w.owed(); o == nil || o.PR != 10 || o.Done || p.asked("Merge ") != 0 {
			t.Errorf("owed %+v, asked for the merge %d times", o, p.asked("Merge "))
		}
		w.behaviour[w.of(c)] = healthy
		p = w.process("ann")
		mustRun(t, p, toPrevious)
		if o := w.owed(); o == nil || o.PR != 10 || !o.Done {
			t.Errorf("owed %+v", o)
		}
		proof := slices.IndexFunc(p.steps, func(s StepState) bool { return s.Name == StepVerify && s.Outcome == StepDone })
		if proof < 0 || p.asked("Merge ") != 1 || p.callAt("Merge ").Before(p.steps[proof].At) {
			t.Errorf("the merge was asked for %d times, first at %s: %+v", p.asked("Merge "), p.callAt("Merge "), p.steps)
		}
	})
}

// After a target that did not come up, another one: what is undone is everything since what ran at first.
func TestFollowUpOfAnotherTarget(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.behaviour[w.of(c)] = crashes
		_, err := w.process("ann").run(toPrevious)
		exitIs(t, err, Unverified)
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: commitOf(b)})
		if last := f.pulls[len(f.pulls)-1]; last.rng != (Range{Commit(commitOf(b)), Commit(commitOf(d))}) || w.owed().PR != last.Number {
			t.Errorf("the pull request undoes %s, owed %+v", last.rng, w.owed())
		}
	})
}

func TestUndoClearsWhatIsOwed(t *testing.T) {
	for _, tt := range []struct {
		name string
		down bool
		next string
	}{
		{"open", false, "the revert pull request is still open; close it, or it undoes the code all the same: https://github.acme.example/acme/payments/pull/10"},
		{"never opened", true, ""},
	} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			if tt.down {
				p.faults = []*fault{{op: "Revert", do: refuse, kind: Unreachable, times: -1}}
			}
			mustRun(t, p, toPrevious)
			// The answer to a write in the background is lost: what is owed must be cleared all the same.
			q := w.process("ann")
			n := 0
			w.before = func(by *process, op string) {
				if by == q && op == "Write" {
					if n++; n == 2 {
						q.faults = []*fault{{op: "Write", do: lose}}
					}
				}
			}
			res := mustRun(t, q, Request{Act: ActUndo})
			if len(w.stored().Open()) > 0 || len(f.pulls) > 1 || q.asked("Revert")+q.asked("Foresee") > 0 {
				t.Errorf("%s: owed %+v, %d pulls", tt.name, w.owed(), len(f.pulls))
			}
			if got := strings.Join(res.Next, "\n"); got != tt.next {
				t.Errorf("%s: next %q", tt.name, got)
			}
		})
	}
}

// Whatever answer to whatever write is lost, what is owed is what was said.
func TestOwedSurvivesLostAnswers(t *testing.T) {
	for n := 1; ; n++ {
		fired := false
		inForge(t, func(t *testing.T, w *world, f *forge) {
			seen := 0
			p := w.process("ann")
			lost := &fault{call: -1, op: "Write", do: lose}
			p.faults = []*fault{lost}
			w.before = func(_ *process, op string) {
				if op == "Write" {
					seen++
				}
				if seen == n-1 { // the next one
					lost.call = 0
				}
			}
			mustRun(t, p, toPrevious)
			fired = lost.fired > 0
			if o := w.owed(); o == nil || o.PR != 10 {
				t.Errorf("write %d: owed %+v", n, o)
			}
		})
		if !fired || t.Failed() {
			if n < 4 {
				t.Errorf("only %d writes", n)
			}
			return
		}
	}
}

// A signal in the middle leaves at most ten seconds, whatever the forge does.
func TestFollowUpInterrupted(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			f.slow, f.deaf = time.Hour, deaf
			p := w.process("ann")
			n := 0
			w.before = func(_ *process, op string) {
				if op == "Observe" {
					if n++; n == 3 {
						p.stopped = time.Now()
						p.stop(ErrInterrupted)
					}
				}
			}
			_, err := p.run(toPrevious)
			exitIs(t, err, Unverified)
			if took := p.lasted.Sub(p.stopped); took > 3*time.Second || !errors.Is(err, ErrInterrupted) {
				t.Errorf("deaf %t: ended %s after the signal: %v", deaf, took, err)
			}
			if o := w.owed(); o == nil || o.URL != "" {
				t.Errorf("owed %+v", o)
			}
		})
	}
}

// A retag whose follow-up is owed is killed, cut off or refused at every call, and run again: one pull request, the same end.
func TestFollowUpInterruptedAnywhere(t *testing.T) {
	play(t, story{name: "run to previous, with a forge", prepare: func(w *world) { w.forged() }, req: []Request{toPrevious}, after: func(w *world) {
		o := owedIn(w.decode())
		if o == nil || o.PR != 0 {
			return
		}
		res, err := w.forge.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}) // as it says: rollback revert
		if err != nil {
			panic(err)
		}
		w.edit(func(r *Record) { o := owedIn(*r); o.PR, o.URL = res.PR.Number, res.PR.URL })
	}}, 6)
}

// Images may be tagged with the beginning of their commit: the range is that, and the forge knows the rest.
func TestFollowUpOfShortTags(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		for _, r := range "abcd" {
			w.tags[commitOf(r)[:8]] = w.of(r)
			delete(w.tags, commitOf(r))
		}
		res := mustRun(t, w.process("ann"), toPrevious)
		if len(f.pulls) != 1 || f.pulls[0].rng != (Range{Commit(commitOf(c)), Commit(commitOf(d))}) || res.From.Commit != "dddddddd" || !strings.HasPrefix(res.Next[0], "merge the revert by") {
			t.Errorf("%+v, next %v", f.pulls, res.Next)
		}
	})
}

// play disturbs every command of a story at every call, with every kind of fault.
func play(t *testing.T, st story, kinds int) {
	t.Helper()
	want := undisturbed(t, st)
	faults := []fault{{do: killBefore}, {do: killAfter}, {do: lose}, {do: lostBefore}, {do: signal}, {do: hang}}
	for _, k := range []CallKind{NotFound, Denied, Expired, Throttled, Conflict, Immutable, Unreachable, Broken, ServerFault, Rejected} {
		faults = append(faults, fault{do: refuse, kind: k})
	}
	for nth := range st.req {
		for _, f := range faults[:kinds] {
			t.Run(fmt.Sprintf("%d/%s%s", nth, f.do, f.kind), func(t *testing.T) {
				t.Parallel()
				n := 1
				for ; disturbed(t, st, want, nth, f, n); n++ {
				}
				if n < 30 && !t.Failed() {
					t.Errorf("only %d calls", n)
				}
			})
		}
	}
}

func TestMigrations(t *testing.T) {
	sql := []FileChange{{Path: "db/migration/V1__a.sql", Status: "removed"}, {Path: "db/migration/V2__b.sql", Status: "removed"}, {Path: "db/migration/V3__c.sql"}, {Path: "db/migration/V4__d.sql"}, {Path: "go.sum"}, {Path: "main.go"}}
	for _, method := range []string{MethodRetag, MethodRevert} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			f.files = sql
			f.webhook = true
			w.place.Followed.AutoMerge = method == MethodRevert
			req := Request{Act: ActRun, To: Previous, Method: method}
			p := w.process("ann")
			_, err := p.run(req)
			exitIs(t, err, Refused)
			says(t, err, "4 migrations in what is undone: db/migration/V1__a.sql, db/migration/V2__b.sql, db/migration/V3__c.sql, 1 more", "--accept-migrations", NotChanged)
			if len(writes(p)) > 0 || len(f.pulls) > 0 {
				t.Errorf("%s: a refused plan wrote %v", method, writes(p))
			}
			if !slices.ContainsFunc(p.plan.Findings, func(f Finding) bool { return f.Code == "risk" && strings.Contains(f.Text, "go.sum") }) {
				t.Errorf("findings %+v", p.plan.Findings)
			}
			req.Accept = []string{"migrations"}
			w.behaviour[w.of(c)] = neverReady
			_, err = w.process("ann").run(req)
			if method == MethodRetag { // what to type next holds what was accepted
				says(t, err, "--accept migrations --reason 'errors'")
				w.behaviour[w.of(c)] = healthy
				_, err = w.process("ann").run(req)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	inForge(t, func(t *testing.T, w *world, f *forge) { // globs of one's own, in place of the built-in ones
		f.files = sql
		w.place.Followed.Rules = WithMigrations([]string{"schema/**"})
		mustRun(t, w.process("ann"), toPrevious)
	})
	inForge(t, func(t *testing.T, w *world, f *forge) {
		f.files = []FileChange{{Path: "schema/9.sql"}}
		w.place.Followed.Rules = WithMigrations([]string{"schema/**"})
		_, err := w.process("ann").run(toPrevious)
		exitIs(t, err, Refused)
		says(t, err, "1 migration in what is undone: schema/9.sql")
	})
}

func TestWhatTheForgeTells(t *testing.T) {
	for _, tt := range []struct {
		name    string
		method  string
		to      string
		prepare func(w *world, f *forge)
		faults  []*fault
		code    string
		want    Severity // "" for no such finding
		says    string
	}{
		{"overlap", MethodRetag, Previous, func(_ *world, f *forge) { f.overlap = []string{"a", "b"} }, nil, "overlap", Info, "2 files were changed again since"},
		{"others", MethodRetag, commitOf(a), nil, nil, "others", Info, "besides the newest change, 2 older ones are taken away"},
		{"one other", MethodRetag, commitOf(b), nil, nil, "others", Info, "1 older one is taken away"},
		{"no others", MethodRetag, Previous, nil, nil, "others", "", ""},
		{"no range", MethodRetag, "v1", func(w *world, _ *forge) { w.tags["v1"] = w.push("x", time.Now().Add(-time.Hour)) }, nil, "no-range", Warn, "carries no commit tag"},
		{"no range, revert", MethodRevert, "v1", func(w *world, _ *forge) { w.tags["v1"] = w.push("x", time.Now().Add(-time.Hour)) }, nil, "no-range", Block, "carries no commit tag"},
		{"range", MethodRetag, Previous, nil, nil, "no-range", "", ""},
		{"forge down", MethodRetag, Previous, nil, []*fault{{op: "Foresee", do: refuse, kind: Unreachable}}, "forge-unread", Warn, "could not be asked"},
		{"forge down, revert", MethodRevert, Previous, nil, []*fault{{op: "Foresee", do: refuse, kind: Unreachable}}, "forge-unread", Block, "could not be asked"},
		{"conflict", MethodRetag, Previous, func(_ *world, f *forge) { f.conflict = &RevertConflict{Base: "main"} }, nil, "revert-conflict", Warn, "conflicts with what came later"},
		{"conflict, revert", MethodRevert, Previous, func(_ *world, f *forge) { f.conflict = &RevertConflict{Base: "main"} }, nil, "revert-conflict", Block, "conflicts with what came later"},
		{"stranger", MethodRetag, Previous, func(_ *world, f *forge) { f.branch = f.branch[1:] }, nil, "not-on-branch", Warn, "commit ddddddd is not on main"},
		{"stranger, revert", MethodRevert, Previous, func(_ *world, f *forge) { f.branch = f.branch[1:] }, nil, "not-on-branch", Block, "commit ddddddd is not on main"},
		{"a build is queued", MethodRetag, Previous, func(_ *world, f *forge) { f.start(Commit(commitOf(d)), "", time.Now()) }, nil, "build-in-flight", Block, "deploy/payments (queue item 100) is queued and may push :latest, since 0s"},
		{"a build is queued, revert", MethodRevert, Previous, func(_ *world, f *forge) { f.start(Commit(commitOf(d)), "", time.Now()) }, nil, "build-in-flight", "", ""},
		{"builds unread", MethodRetag, Previous, nil, []*fault{{op: "InFlight", do: refuse, kind: Denied}}, "builds-unread", Warn, "running builds could not be read"},
		{"builds unread, revert", MethodRevert, Previous, nil, []*fault{{op: "InFlight", do: refuse, kind: Denied}}, "builds-unread", Block, "the builds of deploy/payments, which ships the revert, cannot be read"},
		{"no such job, revert", MethodRevert, Previous, nil, []*fault{{op: "InFlight", do: refuse, kind: NotFound}}, "builds-unread", Block, "cannot be read"},
		{"builds unread for a moment, revert", MethodRevert, Previous, nil, []*fault{{op: "InFlight", do: refuse, kind: ServerFault}}, "builds-unread", Warn, "cannot be read"},
		{"builds hang, revert", MethodRevert, Previous, nil, []*fault{{op: "InFlight", do: hang}}, "builds-unread", Warn, "cannot be read"},
		{"commits unread", MethodRetag, Previous, nil, []*fault{{op: "Recent", do: refuse, kind: Denied}}, "commits-unread", Info, "commits could not be read"},
		{"archived", MethodRetag, Previous, func(w *world, _ *forge) { w.images[w.of(c)].status, w.images[w.of(b)].status = Archived, Archived }, nil, "target-archived", "", ""},
		{"archived and named", MethodRetag, commitOf(b), func(w *world, _ *forge) { w.images[w.of(b)].status = Archived }, nil, "target-archived", Block, "archived"},
		{"archived, revert", MethodRevert, commitOf(b), func(w *world, _ *forge) { w.images[w.of(b)].status = Archived }, nil, "target-archived", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(w, f)
				}
				p := w.process("ann")
				p.faults = tt.faults
				s, err := Look(t.Context(), p.world(), Request{Scope: scope, Act: ActRun, To: tt.to, Method: tt.method}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(s.Findings, func(f Finding) bool { return f.Code == tt.code })
				if tt.want == "" {
					if i >= 0 {
						t.Errorf("%+v", s.Findings[i])
					}
					return
				}
				if i < 0 || s.Findings[i].Severity != tt.want || !strings.Contains(s.Findings[i].Text, tt.says) || s.Findings[i].Remedy == "" && tt.want == Block {
					t.Errorf("%+v", s.Findings)
				} else if _, command, printed := strings.Cut(s.Findings[i].Remedy, "rollback revert "); printed && !strings.HasPrefix(command, "--service payments --environment prod --") {
					t.Errorf("a command that cannot be pasted: %s", s.Findings[i].Remedy)
				} else if !printed && slices.Contains([]string{"others", "no-range", "revert-conflict"}, tt.code) {
					t.Errorf("no command in %q", s.Findings[i].Remedy)
				}
			})
		})
	}
	// Only a run asks what would be undone, and an undo, a look and a verification ask for no builds they do not need.
	inForge(t, func(t *testing.T, w *world, f *forge) {
		for _, req := range []Request{{Act: ActLook, List: true}, {Act: ActVerify}, {Act: ActRetag, To: Previous}, {Act: ActRestart}} {
			p := w.process("ann")
			req.Scope = scope
			s, err := Look(t.Context(), p.world(), req, time.Now())
			if err != nil || s.Revert != nil || p.asked("Foresee") > 0 || p.asked("InFlight") > 0 && (req.Act == ActLook || req.Act == ActVerify) {
				t.Errorf("%s: %v, %+v", req.Act, err, p.calls)
			}
		}
	})
}

func view(t *testing.T, w *world, method string) *Survey {
	t.Helper()
	s, err := Look(t.Context(), w.process("ann").world(), Request{Scope: scope, Act: ActRun, To: commitOf(c), Method: method}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPlanWithForge(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		p := Draw(look(t, w, Request{Act: ActRun, To: commitOf(b)}), "id")
		if stepNames(p) != "claim keep retag restart follow-up rollout verify record" || p.Steps[4].Text != "open the pull request that undoes bbbbbbb..ddddddd in acme/payments, while the pods start" {
			t.Errorf("%s: %+v", stepNames(p), p.Steps)
		}
		if len(p.Undoes) != 2 || p.Undoes[0].Change.Title != "change d" || p.Undoes[0].Digest != w.of(d) || p.Unlisted != "" {
			t.Errorf("undoes %+v", p.Undoes)
		}
		if len(p.Keys) > 0 {
			t.Errorf("issues %v", p.Keys)
		}
		f.branch[0].Title, f.branch[1].Title = "PAY-12 round amounts", "Cache rates (OPS-7, PAY-12), in UTF-8"
		if p = Draw(look(t, w, Request{Act: ActRun, To: commitOf(b)}), "id"); !slices.Equal(p.Keys, []string{"PAY-12", "OPS-7"}) {
			t.Errorf("issues %v", p.Keys)
		}
		w.place.Followed.AutoMerge = true
		p = Draw(view(t, w, MethodRevert), "id")
		if stepNames(p) != "claim revert merge build image rollout verify record" || p.Steps[1].Text != "open the pull request that undoes ccccccc..ddddddd in acme/payments" ||
			p.Steps[2].Text != "merge it as soon as nothing stands in its way" || p.Steps[3].Text != "follow the build of that merge commit in job deploy/payments" || !p.Does(StepImage) || p.Does(StepRestart) {
			t.Errorf("%s: %+v", stepNames(p), p.Steps)
		}
		w.place.Followed.Job, w.place.Followed.AutoMerge = "", false
		if p = Draw(view(t, w, MethodRevert), "id"); stepNames(p) != "claim revert merge image rollout verify record" || p.Steps[2].Text != "wait for its merge" {
			t.Errorf("%s: %+v", stepNames(p), p.Steps)
		}
		for _, req := range []Request{{Act: ActRetag, To: Previous}, {Act: ActRestart}, {Act: ActVerify}} {
			if p = Draw(look(t, w, req), "id"); p.Does(StepFollowUp) {
				t.Errorf("%s opens a pull request", req.Act)
			}
		}
	})
}

// With the commits known, images are asked for by their tags: the same calls for any size of the repository.
func TestImagesByCommit(t *testing.T) {
	calls := func(t *testing.T, more int, short int, spoil func(w *world, f *forge)) (p *process, s *Survey) {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			for i := range more {
				w.push(fmt.Sprintf("cache-%d", i), time.Now())
			}
			if short < 40 {
				for _, r := range "abcd" {
					w.tags[commitOf(r)[:short]] = w.of(r)
					delete(w.tags, commitOf(r))
				}
			}
			if spoil != nil {
				spoil(w, f)
			}
			p = w.process("ann")
			var err error
			if s, err = Look(t.Context(), p.world(), Request{Scope: scope, Act: ActRun, To: Previous}, time.Now()); err != nil {
				t.Fatal(err)
			}
			if s.Target.Digest != blob(commitOf(c)).Digest {
				t.Errorf("target %s (%s)", s.Target.Digest.Short(), s.Why)
			}
		})
		return p, s
	}
	small, s := calls(t, 0, 40, nil)
	large, _ := calls(t, 5000, 40, nil)
	if small.asked("List") > 0 || len(small.calls) != len(large.calls) {
		t.Errorf("%d calls for 4 images, %d for 5004", len(small.calls), len(large.calls))
	}
	if len(s.Candidates) != 4 || s.Candidates[0].Change == nil || s.Candidates[0].Change.Author != "dev-d" {
		t.Errorf("candidates %+v", s.Candidates)
	}
	for _, n := range []int{7, 8, 12} {
		if p, s := calls(t, 300, n, nil); p.asked("List") > 0 || len(s.Candidates) != 4 || s.Candidates[1].Change == nil {
			t.Errorf("%d digits: %d lists, %d candidates", n, p.asked("List"), len(s.Candidates))
		}
	}
	for name, spoil := range map[string]func(w *world, f *forge){
		"another branch": func(_ *world, f *forge) {
			f.branch = []Change{{Commit: "0123456789012345678901234567890123456789"}}
		},
		"no commits":           func(_ *world, f *forge) { f.branch = nil },
		"only the current one": func(_ *world, f *forge) { f.branch = f.branch[:1] },
	} {
		if p, _ := calls(t, 0, 40, spoil); p.asked("List") != 1 {
			t.Errorf("%s: %d lists, want the fallback", name, p.asked("List"))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.forged()
		p := w.process("ann")
		p.faults = []*fault{{op: "Recent", do: refuse, kind: Unreachable}}
		mustRun(t, p, toPrevious)
		if p.asked("List") != 1 {
			t.Errorf("%d lists without commits", p.asked("List"))
		}
		p = w.process("ann")
		if _, err := Look(t.Context(), p.world(), Request{Scope: scope, Act: ActLook, List: true}, time.Now()); err != nil || p.asked("List") != 1 {
			t.Errorf("a list was asked for, %d were read (%v)", p.asked("List"), err)
		}
	})
}

func TestOvertaken(t *testing.T) {
	e := Entry{State: Mitigated, To: Target{Digest: "sha256:aa", Commit: Commit(commitOf(c))}, Proven: []Digest{"sha256:aa", "sha256:ab"}}
	for _, tt := range []struct {
		digest Digest
		commit Commit
		state  State
		want   bool
	}{
		{"sha256:aa", "", Mitigated, false},
		{"sha256:ab", "", Mitigated, false}, // another platform
		{"sha256:ac", "", Mitigated, true},
		{"sha256:ac", Commit(commitOf(d)), Mitigated, true},
		{"sha256:ac", Commit(commitOf(c))[:8], Mitigated, false}, // a platform that none ran on
		{"", "", Mitigated, false},                               // it has not started
		{"sha256:ac", "", Closed, false},
	} {
		e.State = tt.state
		if got := e.Overtaken(tt.digest, tt.commit); got != tt.want {
			t.Errorf("%s %s, %s: %t", tt.digest, tt.commit, tt.state, got)
		}
	}
	if e = (Entry{State: Mitigated}); e.Overtaken("sha256:ac", "") {
		t.Error("what an older program recorded tells nothing")
	}
}
