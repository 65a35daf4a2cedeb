package rollback

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// in plays fn in a world of its own, in fake time.
func in(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newWorld()) })
}

func says(t *testing.T, err error, parts ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	whole := e.Error() + " | " + e.Production + " | " + strings.Join(e.Next, " | ")
	for _, p := range parts {
		if !strings.Contains(whole, p) {
			t.Errorf("%q does not say %q", whole, p)
		}
	}
	return e
}

func mustRun(t *testing.T, p *process, req Request) *Result {
	t.Helper()
	res, err := p.run(req)
	if err != nil {
		t.Fatalf("%s: %v\n%v", req.Act, err, p.notes)
	}
	return res
}

func outcomes(p *process) string {
	var list []string
	for _, s := range p.steps {
		list = append(list, s.Name+" "+string(s.Outcome))
	}
	return strings.Join(list, ", ")
}

func writes(p *process) (list []string) {
	for _, c := range p.calls {
		for _, op := range []string{"Tag", "Restart", "Write"} {
			if strings.HasPrefix(c.op, op) {
				list = append(list, c.op)
			}
		}
	}
	return list
}

const a, b, c, d = 'a', 'b', 'c', 'd'

func (w *world) of(r rune) Digest { return w.tags[commitOf(r)] }

func TestRunToPrevious(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		res := mustRun(t, p, Request{Act: ActRun, To: Previous})
		if want := "claim done, keep done, retag done, restart done, rollout done, verify done, record done"; outcomes(p) != want {
			t.Errorf("steps %s", outcomes(p))
		}
		if res.Exit != Done || res.From.Digest != w.of(d) || res.To.Digest != w.of(c) || res.TagDigest != w.of(c) || !strings.Contains(res.Outcome, "back on ccccccc") || !strings.Contains(res.Outcome, "3 pods") {
			t.Errorf("result %+v", res)
		}
		if got := w.running(); got[w.of(c)] != 3 || len(got) != 1 {
			t.Errorf("running %v", got)
		}
		rec := w.stored()
		if e := rec.Last; e.State != Mitigated || e.From.Commit != Commit(commitOf(d)) || e.To.Commit != Commit(commitOf(c)) || !slices.Equal(e.Kept, []string{KeepTag(w.of(d))}) || e.EndedAt.IsZero() || rec.Lock != nil {
			t.Errorf("record %+v", e)
		}
		if w.tags[KeepTag(w.of(d))] != w.of(d) {
			t.Error("the outgoing image was not kept")
		}
	})
}

func TestRunWhenAllIsSo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		before := w.state()
		p := w.process("bob")
		res := mustRun(t, p, Request{Act: ActRun, To: commitOf(c)})
		if outcomes(p) != "verify done" || len(writes(p)) > 0 || w.state() != before || !strings.Contains(res.Outcome, "already; nothing was changed") {
			t.Errorf("%s, %v, %s", outcomes(p), writes(p), res.Outcome)
		}
		// Previous is another matter: it would step back once more.
		_, err := w.process("bob").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Refused)
		says(t, err, "still open", "--to "+string(w.of(b)), "--accept still-open", NotChanged)
		if w.state() != before {
			t.Error("a refused run changed something")
		}
		mustRun(t, w.process("bob"), Request{Act: ActRun, To: Previous, Accept: []string{"still-open"}})
		if w.tags["latest"] != w.of(b) {
			t.Error("the accepted second step did not happen")
		}
	})
}

func TestUndo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_, err := w.process("ann").run(Request{Act: ActUndo})
		exitIs(t, err, Refused)
		says(t, err, "nothing to undo", "rollback candidates --service payments --environment prod")

		mustRun(t, w.process("ann"), Request{Act: ActRun, To: commitOf(b)})
		delete(w.tags, commitOf(d)) // only the keep tag is left
		mustRun(t, w.process("ann"), Request{Act: ActUndo})
		rec := w.stored()
		if rec.Last.Kind != KindUndo || rec.Last.State != Closed || rec.History[0].State != Undone || w.tags["latest"] != w.of(d) && w.tags["latest"] != rec.Last.To.Digest {
			t.Errorf("after the undo: %+v, %+v", rec.Last, rec.History)
		}
		if got := w.running(); got[rec.Last.To.Digest] != 3 {
			t.Errorf("running %v", got)
		}
		if bad := pastOf(rec)[rec.Last.To.Digest].bad; bad != "" {
			t.Errorf("what was undone to is still marked bad: %s", bad)
		}

		_, err = w.process("ann").run(Request{Act: ActUndo})
		exitIs(t, err, Refused)
		says(t, err, "an undo already", "--accept already-undone")
		mustRun(t, w.process("ann"), Request{Act: ActUndo, Accept: []string{"already-undone"}})
		rec = w.stored()
		if w.tags["latest"] != w.of(b) || rec.History[0].State != Undone || rec.History[1].State != Mitigated || len(rec.History) != 2 {
			t.Errorf("after the undo of the undo: %+v", rec.History)
		}
		if pastOf(rec)[rec.Last.From.Digest].bad == "" {
			t.Error("the rollback is in effect again, and what it replaced is not marked bad")
		}
	})
}

func TestUndoAfterTheWorldMovedOn(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		w.tags["latest"] = w.push(commitOf('e'), time.Now())
		_, err := w.process("ann").run(Request{Act: ActUndo})
		exitIs(t, err, Refused)
		says(t, err, "has moved on", "eeeeeee", "--accept moved-on")
	})
}

// A rollback that was claimed and never moved anything is taken back without touching production, and the record says so.
func TestUndoOfWhatNeverHappened(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		p.faults = []*fault{{op: "Tag", do: killBefore}}
		_, _ = p.run(Request{Act: ActRun, To: Previous})
		time.Sleep(LockExpiry)
		q := w.process("bob")
		mustRun(t, q, Request{Act: ActUndo})
		if rec := w.stored(); outcomes(q) != "claim done, verify done, record done" || rec.Last.Kind != KindUndo || rec.History[0].State != Undone || w.workloads[0].changes != 0 {
			t.Errorf("%s: %+v", outcomes(q), rec)
		}
	})
}

func TestOneActAlone(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		res := mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		if rec := w.stored(); rec.Last.State != TagMoved || w.workloads[0].changes != 0 || w.tags["latest"] != w.of(c) || !strings.Contains(res.Production, "until they restart") {
			t.Fatalf("after retag: %+v, %s", rec.Last, res.Production)
		}
		// Asked again, it must not step back twice.
		mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		if w.tags["latest"] != w.of(c) {
			t.Fatal("retag to previous stepped back twice")
		}
		mustRun(t, w.process("ann"), Request{Act: ActRestart})
		if rec := w.stored(); rec.Last.State != Restarted || len(rec.History) != 0 || w.workloads[0].changes != 1 {
			t.Fatalf("after restart: %+v", rec)
		}
		p := w.process("ann")
		res = mustRun(t, p, Request{Act: ActVerify})
		if len(writes(p)) > 0 || res.To.Digest != w.of(c) || len(p.journal) == 0 {
			t.Fatalf("verify wrote %v, target %s", writes(p), res.To.Digest.Short())
		}
	})
	in(t, func(t *testing.T, w *world) { // a restart alone moves nothing and leaves no history
		mustRun(t, w.process("ann"), Request{Act: ActRestart})
		if rec := w.stored(); rec.Last != nil || rec.Lock != nil || w.workloads[0].changes != 1 || w.tags["latest"] != w.of(d) {
			t.Errorf("%+v", rec)
		}
	})
	in(t, func(t *testing.T, w *world) { // verify alone, of what does not run
		_, err := w.process("ann").run(Request{Act: ActVerify, To: commitOf(c)})
		exitIs(t, err, Unverified)
		says(t, err, "does not run the target", "not changed by this command", "0 of 3 pods run the target")
	})
	in(t, func(t *testing.T, w *world) { // retag alone finds that somebody pushes meanwhile
		p := w.process("ann")
		w.after = func(_ *process, op string) {
			if op == "Tag latest" {
				w.tags["latest"] = w.of(a)
			}
		}
		_, err := p.run(Request{Act: ActRetag, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "somebody moved payments:latest to "+w.of(a).Short())
	})
}

func TestSomebodyMovesTheTag(t *testing.T) {
	for _, tt := range []struct {
		name, at string
		exit     Exit
		says     string
		restarts int
	}{
		{"between plan and keep", "Write", Failed, "somebody moved payments:latest since the plan was made", 0},
		{"after retag", "Tag latest", Unverified, "somebody moved payments:latest to", 1},
		{"at the end", "Observe", Unverified, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				done := false
				w.after = func(_ *process, op string) {
					if strings.HasPrefix(op, tt.at) && !done {
						done = true
						w.tags["latest"] = w.push(commitOf('e'), time.Now())
					}
				}
				p := w.process("ann")
				_, err := p.run(Request{Act: ActRun, To: Previous})
				exitIs(t, err, tt.exit)
				says(t, err, tt.says)
				if w.workloads[0].changes != tt.restarts {
					t.Errorf("%d restarts", w.workloads[0].changes)
				}
				if rec := w.stored(); rec.Lock != nil || rec.Last.State != FailedState {
					t.Errorf("record %+v", rec.Last)
				}
			})
		})
	}
	// The tag is moved away after the pods were restarted and put back by hand: the stamp says "restarted", the pods run
	// something else. The same command must restart them once more.
	in(t, func(t *testing.T, w *world) {
		moved := false
		w.before = func(_ *process, op string) {
			if op == "Observe" && !moved {
				moved = true
				w.tags["latest"] = w.of(d)
			}
		}
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		w.before = nil
		q := w.process("ann")
		mustRun(t, q, Request{Act: ActRun, To: Previous})
		if got := w.running(); got[w.of(c)] != 3 || w.workloads[0].changes != 2 || len(w.stored().History) != 0 {
			t.Errorf("running %v after %d restarts", got, w.workloads[0].changes)
		}
		if !slices.ContainsFunc(q.plan.Findings, func(f Finding) bool { return f.Code == "restart-again" }) {
			t.Error("the plan does not say that pods are restarted again")
		}
	})
}

func TestTargetDeletedMeanwhile(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		target := w.of(c)
		w.before = func(_ *process, op string) {
			if op == "Tag latest" {
				delete(w.images, target)
			}
		}
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Failed)
		says(t, err, "could not be pointed at", NotChanged)
		w.before = nil
		_, err = w.process("ann").run(Request{Act: ActRun, To: string(target)})
		exitIs(t, err, Refused)
		says(t, err, "no longer in repository", "rollback candidates --service")
	})
}

func TestClusterLost(t *testing.T) {
	in(t, func(t *testing.T, w *world) { // and back
		p := w.process("ann")
		p.faults = []*fault{{op: "Observe", do: refuse, kind: Unreachable, times: 40}}
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		if notes := strings.Join(p.notes, "\n"); !strings.Contains(notes, "still trying") || !strings.Contains(notes, "answers again") {
			t.Errorf("notes %s", notes)
		}
	})
	in(t, func(t *testing.T, w *world) { // for good
		p := w.process("ann")
		n := 0
		w.before = func(_ *process, op string) {
			if op == "Observe" {
				if n++; n == 2 {
					p.faults = []*fault{{op: "Observe", do: refuse, kind: Unreachable, times: -1}}
				}
			}
		}
		began := time.Now()
		_, err := p.run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "could not be followed to its end within 10m", "last seen", "unreachable", "the same command goes on")
		if took := time.Since(began); took > 11*time.Minute {
			t.Errorf("took %s", took)
		}
		p = w.process("ann")
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		if w.workloads[0].changes != 1 {
			t.Error("restarted twice")
		}
	})
	in(t, func(t *testing.T, w *world) { // the right is taken away in the middle: that does not pass
		p := w.process("ann")
		p.faults = []*fault{{op: "Observe", do: refuse, kind: Denied, times: -1}}
		_, err := p.run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "cannot be observed any more", "changed, not verified")
	})
	in(t, func(t *testing.T, w *world) { // a workload is deleted in the middle
		w.deploy("Deployment", "payments-api", 1)
		w.before = func(_ *process, op string) {
			if op == "Observe" {
				w.workloads = w.workloads[:1]
			}
		}
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
	})
}

func TestPodsThatDoNotComeUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(w *world)
		says   []string
		within time.Duration
		logs   bool
	}{
		{"crash loop", func(w *world) { w.behaviour[w.of(c)] = crashes }, []string{"CrashLoopBackOff", "kubectl -n prod logs payments-4 -c app --previous"}, 20 * time.Second, true},
		{"pull", func(w *world) { w.behaviour[w.of(c)] = pullFails }, []string{"ImagePullBackOff", "kubectl -n prod describe pod payments-4", "within 5 minutes, or at once after: kubectl -n prod delete pod payments-4"}, 20 * time.Second, true},
		{"unschedulable", func(w *world) { w.behaviour[w.of(c)] = unplaceable }, []string{"Unschedulable", "insufficient memory", "make room"}, 2 * time.Minute, true},
		{"quota", func(w *world) { w.quota = "exceeded quota: pods=3" }, []string{"FailedCreate", "exceeded quota", "kubectl -n prod describe deployment/payments"}, 30 * time.Second, false},
		{"the controller gives up", func(w *world) {
			w.behaviour[w.of(c)] = neverReady
			w.before = func(_ *process, op string) {
				x := w.workloads[0]
				if x.Rollout.Stalled = ""; op == "Observe" && x.steps > 30 && w.tags["latest"] == w.of(c) {
					x.Rollout.Stalled = `ProgressDeadlineExceeded: ReplicaSet "payments-5d9c" has timed out progressing.`
				}
			}
		}, []string{`deployment/payments: ProgressDeadlineExceeded: ReplicaSet "payments-5d9c" has timed out progressing; pod payments-4 is not ready`, "kubectl -n prod describe pod payments-4"}, 2 * time.Minute, true},
		{"never ready", func(w *world) { w.behaviour[w.of(c)] = neverReady }, []string{"did not end within 10m", "new pods", "; pod payments-4 is not ready", "kubectl -n prod describe pod payments-4"}, 11 * time.Minute, true},
		{"no volume, no network", func(w *world) { w.behaviour[w.of(c)] = unmakeable }, []string{"ContainerCreating: its volumes or its network can't be made", "the events say which: kubectl -n prod describe pod payments-4"}, 2 * time.Minute, true},
		{"a node is lost", func(w *world) { w.behaviour[w.of(c)] = losesNode }, []string{"did not end within 10m", "pod payments-4: its node node-b doesn't answer", "kubectl delete node node-b"}, 11 * time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tt.spoil(w)
				p := w.process("ann")
				began := time.Now()
				_, err := p.run(Request{Act: ActRun, To: Previous})
				exitIs(t, err, Unverified)
				says(t, err, append(tt.says, "rollback undo --service payments --environment prod", "pods run the target")...)
				if took := time.Since(began); took > tt.within {
					t.Errorf("took %s", took)
				}
				if got := strings.Contains(strings.Join(p.notes, "\n"), "log: panic"); got != tt.logs {
					t.Errorf("notes %v", p.notes)
				}
				// The way back is an undo, and it leads to what ran before.
				w.quota = ""
				mustRun(t, w.process("ann"), Request{Act: ActUndo})
				if got := w.running(); got[w.of(d)] != 3 {
					t.Errorf("running %v", got)
				}
			})
		})
	}
	// Another target after a failed one: an undo of it leads to what ran at first, not to the one that failed.
	in(t, func(t *testing.T, w *world) {
		w.behaviour[w.of(c)] = crashes
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		p := w.process("ann")
		mustRun(t, p, Request{Act: ActRun, To: commitOf(b)})
		if rec := w.stored(); rec.Last.From.Digest != w.of(d) || rec.Last.To.Digest != w.of(b) || len(rec.History) != 1 {
			t.Errorf("%+v", rec.Last)
		}
	})
}

func TestSettle(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		looks := 0
		w.before = func(_ *process, op string) {
			pod := w.workloads[0].pods[0]
			if op == "Observe" && pod.Stamp != "" && pod.Ready {
				if looks++; looks == 5 {
					pod.Containers[0].Restarts++
				}
			}
		}
		p := w.process("ann")
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		var began, ended time.Time
		for _, s := range p.steps {
			switch s.Name {
			case StepRollout:
				began = s.At
			case StepVerify:
				ended = s.At
			}
		}
		if took := ended.Sub(began); took < 12*time.Second || took > 25*time.Second {
			t.Errorf("the settle time of 10s took %s with a restart in the middle", took)
		}
	})
	in(t, func(t *testing.T, w *world) { // it never settles
		w.before = func(_ *process, op string) {
			if op == "Observe" {
				w.workloads[0].pods[0].Containers[0].Restarts++
			}
		}
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "did not stay ready for 10s")
	})
	in(t, func(t *testing.T, w *world) { // an autoscaler at work is no reason not to settle
		dep := w.workloads[0]
		dep.scaled = func(step int) {
			if step > 12 && step%3 == 0 && dep.Rollout.Desired < 6 {
				dep.Rollout.Desired++
			}
		}
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
	})
}

func TestWrongDigest(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		n := 0
		w.resolve = func(digest Digest) Digest {
			if n++; n == 2 { // one node has a stale mirror
				return w.of(d)
			}
			return digest
		}
		_, err := w.process("ann").run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "deployment/payments does not run the target", w.of(d).Short(), "2 of 3 pods run the target")
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		if got := w.running(); got[w.of(c)] != 3 {
			t.Errorf("running %v", got)
		}
	})
}

func TestRecordCannotBeWritten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		p.faults = []*fault{{op: "Write", do: refuse, kind: Denied, times: -1}}
		_, err := p.run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Failed)
		says(t, err, "nothing was started", "--no-record", "rollback permissions", NotChanged)
		if w.tags["latest"] != w.of(d) || w.workloads[0].changes > 0 {
			t.Error("production was touched without a lock")
		}
		p = w.process("ann")
		p.noRecord = true
		mustRun(t, p, Request{Act: ActRun, To: Previous})
	})
	in(t, func(t *testing.T, w *world) { // in the middle: the rollback goes on
		p := w.process("ann")
		n := 0
		w.before = func(_ *process, op string) {
			if op == "Write" {
				if n++; n == 1 {
					p.faults = []*fault{{op: "Write", do: refuse, kind: ServerFault, times: 3}}
				}
			}
		}
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		if w.stored().Last.State != Mitigated {
			t.Error("the outcome was not recorded")
		}
	})
	in(t, func(t *testing.T, w *world) { // at the end: proven, and said so
		p := w.process("ann")
		w.before = func(_ *process, op string) {
			if strings.HasPrefix(op, "journal step.intent record") {
				p.faults = []*fault{{op: "Write", do: refuse, kind: ServerFault, times: -1}}
			}
		}
		_, err := p.run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Pending)
		says(t, err, "the outcome could not be recorded", "proven: every pod runs", "only has to write the record: rollback run --service payments --environment prod --to "+string(w.of(c))+" --reason 'errors'")
		w.before = nil
		time.Sleep(LockExpiry)
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: string(w.of(c))})
		if w.stored().Last.State != Mitigated || w.workloads[0].changes != 1 {
			t.Errorf("%+v", w.stored().Last)
		}
	})
	in(t, func(t *testing.T, w *world) { // a slow API server delays nothing
		p := w.process("ann")
		n := 0
		w.before = func(_ *process, op string) {
			if op == "Write" {
				if n++; n == 1 {
					p.faults = []*fault{{op: "Write", do: hang, times: 2}}
				}
			}
		}
		began := time.Now()
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		if got := p.callAt("Restart").Sub(began); got > 0 {
			t.Errorf("the restart waited %s for the record", got)
		}
	})
}

func (p *process) callAt(op string) time.Time {
	i := slices.IndexFunc(p.calls, func(c called) bool { return strings.HasPrefix(c.op, op) })
	if i < 0 {
		return time.Time{}
	}
	return p.calls[i].at
}

func TestJournalCannotBeWritten(t *testing.T) {
	for _, tt := range []struct {
		at       string
		noRecord bool
		exit     Exit
		says     string
	}{
		{"journal run.started", true, Failed, "nothing was started"},
		{"journal step.intent claim", true, Failed, "the journal cannot be written"},
		{"journal step.intent retag", true, Failed, "the journal cannot be written"},
		{"journal step.outcome retag", true, Done, ""},
		{"journal run.started", false, Done, ""},
		{"journal step.intent claim", false, Done, ""},
		{"journal step.intent retag", false, Done, ""},
		{"journal step.outcome retag", false, Done, ""},
		{"journal rollout.progress", false, Done, ""},
		{"journal run.finished", false, Done, ""},
	} {
		t.Run(tt.at+map[bool]string{true: ", no record"}[tt.noRecord], func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				p := w.process("ann")
				p.noRecord = tt.noRecord
				p.faults = []*fault{{op: tt.at, do: refuse, kind: Rejected, times: -1}}
				_, err := p.run(Request{Act: ActRun, To: Previous})
				exitIs(t, err, tt.exit)
				if tt.exit != Done {
					says(t, err, tt.says, NotChanged)
				} else if strings.Count(strings.Join(p.notes, "\n"), "the journal c") != 1 {
					t.Errorf("not said once: %v", p.notes)
				}
				if rec := w.stored(); rec.Lock != nil {
					t.Error("the lock was left behind")
				}
				// Whoever reports was told the end of every step that began.
				if _, step, ok := strings.Cut(tt.at, "step.intent "); ok && tt.exit != Done {
					if last := p.steps[len(p.steps)-1]; last.Name != step || last.Outcome != StepFailed {
						t.Errorf("step %+v", last)
					}
				}
			})
		})
	}
}

func TestInterruptedWhileWaiting(t *testing.T) {
	for _, at := range []string{"Write", "Tag rollback-keep", "Tag latest", "Restart", "Observe", "Diagnose"} {
		for _, do := range []faultKind{signal, hangSignal} {
			t.Run(at+" "+do.String(), func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					if at == "Diagnose" {
						w.behaviour[w.of(c)] = crashes
					}
					p := w.process("ann")
					p.faults = []*fault{{op: at, do: do}}
					_, err := p.run(Request{Act: ActRun, To: Previous})
					if took := p.lasted.Sub(p.stopped); took > 10*time.Second || p.stopped.IsZero() {
						t.Errorf("ended %s after the signal", took)
					}
					rec := w.stored()
					if rec.Lock != nil || rec.Last != nil && at != "Diagnose" && rec.Last.State != Interrupted {
						t.Errorf("lock %v, last %+v", rec.Lock, rec.Last)
					}
					if at == "Diagnose" {
						return // what it had found out goes first
					}
					if !errors.Is(err, ErrInterrupted) {
						t.Errorf("%v", err)
					}
					says(t, err, "interrupted")
				})
			})
		}
	}
}

func TestSecondOperator(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p, q := w.process("ann"), w.process("bob")
		w.before = func(by *process, op string) {
			if by == p && op == "Restart payments" {
				w.before = nil
				go func() {
					_, err := q.run(Request{Act: ActRun, To: commitOf(b)})
					exitIs(t, err, Refused)
					says(t, err, "payments/prod is locked by ann on ann-laptop", "errors", "rollback status --service payments --environment prod", "--steal")
				}()
			}
		}
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		if len(writes(q)) > 0 {
			t.Errorf("the second operator wrote %v", writes(q))
		}
	})
}

func TestStolenLock(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p, q := w.process("ann"), w.process("bob")
		w.behaviour[w.of(c)] = neverReady
		var err error
		ended := make(chan struct{})
		go func() {
			_, err = p.run(Request{Act: ActRun, To: Previous})
			close(ended)
		}()
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.behaviour[w.of(c)] = healthy
		w.latency = 3700 * time.Millisecond // it takes bob longer to read and claim than ann to renew her lock; and nothing falls together
		w.mu.Unlock()
		mustRun(t, q, Request{Act: ActRun, To: Previous, Steal: "ann lost her connection"})
		<-ended
		exitIs(t, err, Unverified)
		e := says(t, err, "was taken by bob on bob-laptop", "ann lost her connection", "talk to bob")
		if strings.Contains(strings.Join(e.Next, " "), "goes on where this one stopped") {
			t.Errorf("she is told to work against bob: %v", e.Next)
		}
		if rec := w.stored(); rec.Last.State != Mitigated || rec.Lock != nil || rec.Last.By.User != "ann" || w.workloads[0].changes != 1 {
			t.Errorf("%+v, lock %v, %d restarts", rec.Last, rec.Lock, w.workloads[0].changes)
		}
	})
}

// What is proven is proven of the pods that count; one that its node does not end may still run what it ran.
func TestProvenButForOne(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.workloads[0].stay = []Pod{{Name: "payments-0", Node: "node-b", Owner: w.workloads[0].Ref, Terminating: true, Lost: true, Phase: "Running"}}
		p := w.process("ann")
		res := mustRun(t, p, toPrevious)
		if want := "proven: every pod runs " + w.of(c).Short() + ", except perhaps what was to go and is still there: pod payments-0 on node-b"; res.Production != want {
			t.Errorf("%q, want %q; notes %q", res.Production, want, p.notes)
		}
	})
}

// A run that stood still while somebody took its lock notices before its next act, and leaves everything as that one made it.
func TestRobbed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		at     string        // the call at which it stands still
		asleep time.Duration // for so long
		steal  string
		away   bool // the cluster does not answer it any more
		exit   Exit
		says   string
		tag    rune // what the moving tag names at the end
	}{
		{"before the tag", "journal step.outcome keep", time.Minute, "ann does not answer", false, Refused, "no longer ours", b},
		{"when the lock had expired", "journal step.outcome keep", time.Hour, "", false, Refused, "no longer ours", b},
		{"and the cluster is out of reach", "journal step.outcome keep", time.Hour, "", true, Failed, "could not be renewed for 1h", b},
		{"when all is proven", "journal step.outcome verify", time.Minute, "ann does not answer", false, Unverified, "somebody else has been at work since", b},
		{"while the tag is moved", "Tag latest", time.Minute, "ann does not answer", false, Unverified, "no longer ours", c},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.latency, w.slow = 100*time.Millisecond, map[string]time.Duration{"Write": time.Second}
				p, q := w.process("ann"), w.process("bob")
				p.faults = []*fault{{op: tt.at, do: freeze, wait: tt.asleep}}
				ended := make(chan error)
				go func() {
					_, err := p.run(toPrevious)
					ended <- err
				}()
				asleep := func() bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return time.Now().Before(p.thaws)
				}
				for !asleep() {
					time.Sleep(time.Second)
				}
				time.Sleep(tt.asleep - 50*time.Second) // bob takes 40 s
				mustRun(t, q, Request{Act: ActRun, To: commitOf(b), Steal: tt.steal})
				before, restarts := w.stored(), w.workloads[0].changes
				w.mu.Lock()
				if tt.away {
					p.faults = []*fault{{op: "Read", do: hang, times: -1}, {op: "Write", do: hang, times: -1}}
				}
				w.mu.Unlock()
				err := <-ended
				exitIs(t, err, tt.exit)
				if e := says(t, err, tt.says, "rollback status --service payments --environment prod"); tt.exit != Unverified && e.Production != "not changed by this command" {
					t.Errorf("production: %s", e.Production)
				}
				if w.tags["latest"] != w.of(tt.tag) || w.workloads[0].changes != restarts || !reflect.DeepEqual(w.stored(), before) {
					t.Errorf("it wrote %v\n%+v", writes(p), w.stored().Last)
				}
			})
		})
	}
}

// So does one that waits for GitHub or Jenkins: it merges nothing and starts no build.
func TestRobbedByMerge(t *testing.T) {
	for _, tt := range []struct{ at, act string }{{"MergeState", "Merge "}, {"Newest", "Start"}} {
		t.Run(tt.at, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				w.latency, w.slow = 100*time.Millisecond, map[string]time.Duration{"Write": time.Second}
				f.webhook, w.place.Followed.CommitParameter = false, "COMMIT"
				p, q := w.process("ann"), w.process("bob")
				p.limits.Merge = time.Hour
				if tt.act == "Merge " { // GitHub does not merge by itself, and something is missing for a while
					f.opensAfter, f.gates = 5*time.Minute, []Check{{Name: "unit tests", State: "pending", Required: true}}
					p.faults = []*fault{{op: tt.act, do: refuse, kind: Rejected}}
				}
				w.before = func(by *process, op string) { // it has looked once, and will again
					if by == p && op == tt.at {
						w.before = nil
						p.faults = []*fault{{op: tt.at, do: freeze, wait: time.Hour / 2}}
					}
				}
				ended := make(chan error)
				go func() {
					_, err := p.run(byMerge)
					ended <- err
				}()
				time.Sleep(10 * time.Minute)
				stolen := time.Now()
				w.mu.Lock()
				w.place.Followed.AutoMerge = false
				w.mu.Unlock()
				mustRun(t, q, Request{Act: ActRun, To: Previous, Method: MethodRetag, Steal: "ann does not answer"})
				err := <-ended
				says(t, err, "no longer ours")
				for _, c := range p.calls {
					if c.op == tt.act && c.at.After(stolen) {
						t.Errorf("%s came after the theft: %v", tt.act, err)
					}
				}
			})
		})
	}
}

// TestWaves counts round trips that wait for each other: every call takes one second, so the second is the depth.
func TestWaves(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world)
		req     Request
		survey  int
	}{
		{"previous", nil, Request{Act: ActRun, To: Previous}, 3},
		{"commit", nil, Request{Act: ActRun, To: commitOf(b)}, 2},
		{"short commit", nil, Request{Act: ActRun, To: commitOf(b)[:9]}, 3},
		{"digest", nil, Request{Act: ActRun, To: string(blob(commitOf(b)).Digest)}, 1},
		{"multi-arch, previous", func(w *world) {
			i, _, _ := w.pushIndex(commitOf('9'), time.Now().Add(-30*time.Hour))
			w.behaviour[i] = healthy
			delete(w.tags, commitOf(c))
		}, Request{Act: ActRun, To: Previous}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				if tt.prepare != nil {
					tt.prepare(w)
				}
				w.latency = time.Second
				began := time.Now()
				p := w.process("ann")
				p.faults = nil
				mustRun(t, p, tt.req)
				start := p.callAt("journal run.started")
				if got := int(start.Sub(began) / time.Second); got > 4 || got > tt.survey+1 {
					t.Errorf("the survey took %d waves, want %d", got, tt.survey)
				}
				journalled := 0 // the journal is a disk, not a round trip; here it takes a second as well
				for _, c := range p.calls {
					if strings.HasPrefix(c.op, "journal") && c.at.Before(p.callAt("Restart")) {
						journalled++
					}
				}
				if got := int(p.callAt("Restart").Sub(start)/time.Second) - journalled + 1; got > 4 {
					t.Errorf("the restart came in wave %d, want 4 at most", got)
				}
			})
		})
	}
}

func TestPlanOfAnotherProgram(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		s, err := Look(context.Background(), p.world(), Request{Scope: scope, Act: ActRun, To: Previous, By: p.by, Reason: "x"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		plan := Draw(s, "id")
		plan.Steps = append([]Step{{Name: "teleport"}}, plan.Steps...)
		_, err = p.runner().Run(context.Background(), s, plan)
		exitIs(t, err, Failed)
		says(t, err, "teleport", NotChanged)
	})
}

// The answer to a write is lost. What can be looked up is looked up; what cannot is called changed.
func TestLostAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []*fault
		exit   Exit
		says   string
	}{
		{"of the claim", []*fault{{op: "Write", do: lose}}, Done, ""},
		{"of the claim, which was not written", []*fault{{op: "Write", do: lostBefore}}, Failed, "nothing was started"},
		{"of the move", []*fault{{op: "Tag latest", do: lose}}, Done, ""},
		{"of the move, which was not done", []*fault{{op: "Tag latest", do: lostBefore}}, Unverified, "perhaps changed: the answer to moving :latest was lost; when last read it named " + string(blob(commitOf(d)).Digest.Short())},
		{"of a restart", []*fault{{op: "Restart", do: lose}}, Done, ""},
		{"of a restart, which was not done", []*fault{{op: "Restart", do: lostBefore}}, Unverified, "0 of 1 workload was restarted"},
		{"of a restart, and of the look at it", []*fault{{op: "Restart", do: lose}, {op: "Observe", do: refuse, kind: Unreachable}}, Unverified, "0 of 1 workload was restarted"},
		{"of the last write", []*fault{{op: "Write", do: lose, times: -1}}, Done, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				p := w.process("ann")
				p.faults = tt.faults
				before := w.touched()
				_, err := p.run(Request{Act: ActRun, To: Previous})
				exitIs(t, err, tt.exit)
				truthful(t, w, before, err, func() string { return tt.name })
				if err != nil {
					says(t, err, tt.says)
				}
				if rec := w.stored(); rec.Lock != nil || rec.Last != nil && rec.Last.State == Running {
					t.Errorf("left behind: %+v", rec.Lock)
				}
			})
		})
	}
	in(t, func(t *testing.T, w *world) { // neither the move nor a look at it is answered
		p := w.process("ann")
		p.faults = []*fault{{op: "Tag latest", do: lose}}
		w.after = func(_ *process, op string) {
			if op == "Tag latest" {
				p.faults = []*fault{{op: "Images", do: refuse, kind: Unreachable, times: -1}}
			}
		}
		_, err := p.run(Request{Act: ActRun, To: Previous})
		exitIs(t, err, Unverified)
		says(t, err, "perhaps changed")
		w.after = nil
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		if w.workloads[0].changes != 1 || len(w.stored().History) != 0 {
			t.Error("done twice")
		}
	})
}
