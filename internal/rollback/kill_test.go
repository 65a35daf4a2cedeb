package rollback

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// story is a request as a person types it, in a world that something happened to before.
type story struct {
	name    string
	prepare func(w *world)
	req     []Request      // one command after the other
	after   func(w *world) // what a person does who reads what is to be typed next; nil for nothing
	changes int            // of each workload; 0: one, and one for each undo that the name tells
}

func tidy(w *world) { w.deploy("StatefulSet", "payments-worker", 2) }

var stories = []story{
	{name: "run to previous", prepare: tidy, req: []Request{{Act: ActRun, To: Previous}}},
	{name: "run to a commit", req: []Request{{Act: ActRun, To: commitOf('b')}}},
	{name: "retag then restart then verify", req: []Request{{Act: ActRetag, To: Previous}, {Act: ActRestart}, {Act: ActVerify}}},
	{name: "run then undo", req: []Request{{Act: ActRun, To: Previous}, {Act: ActUndo}}},
}

// finish runs the request in new processes until it is done, as a person would who does what the messages say.
func finish(t *testing.T, w *world, req Request, first *process, why func() string) []*process {
	t.Helper()
	all := []*process{first}
	p := first
	for try := range 8 {
		before := w.touched()
		_, err := p.run(req)
		died := p.dead
		if died {
			p.ended[p.by.Process] = true
		} else {
			truthful(t, w, before, err, why)
		}
		if err == nil && !died {
			return all
		}
		if !died && ExitOf(err) == Refused {
			switch {
			case strings.Contains(err.Error(), "still open"), strings.Contains(err.Error(), "an undo already"):
				return all // done, and it must not be done twice
			case strings.Contains(err.Error(), "is locked by"):
				time.Sleep(LockExpiry)
			}
		}
		next := w.process("ann")
		next.limits = p.limits
		next.knowsDead, next.ended = try%2 == 0, p.ended // the machine is the same, or another one
		all = append(all, next)
		p = next
	}
	t.Fatalf("%s: not done after many tries", why())
	return nil
}

// truthful holds what a process says about production against what it did.
func truthful(t *testing.T, w *world, before string, err error, why func() string) {
	t.Helper()
	var e *Error
	if err == nil {
		return
	}
	if !errors.As(err, &e) {
		t.Fatalf("%s: an error without exit code and state of production: %v", why(), err)
	}
	if e.Production == "" && e.Exit != Usage {
		t.Fatalf("%s: %v does not tell the state of production", why(), err)
	}
	if changed := w.touched() != before; changed && (e.Exit == Failed || e.Production == NotChanged) {
		t.Fatalf("%s: production was changed, and the exit is %d, production %q: %v", why(), e.Exit, e.Production, err)
	}
	if len(e.Next) == 0 && e.Exit != Usage {
		t.Fatalf("%s: %v does not say what to type next", why(), err)
	}
}

// explained holds the journals against each other: an intent without an outcome is a killed process, and a later process
// tells what became of that step, or the record does.
func explained(t *testing.T, all []*process, why func() string) {
	t.Helper()
	for i, p := range all {
		open := ""
		if strings.Contains(strings.Join(p.notes, "\n"), "the journal cannot be written") {
			continue // it said so, and went on
		}
		for _, e := range p.journal {
			switch e.Type {
			case "step.intent":
				if open != "" {
					t.Fatalf("%s: intent of %s before the outcome of %s", why(), e.Step, open)
				}
				open = e.Step
			case "step.outcome":
				if e.Step == open {
					open = ""
				}
			}
		}
		if open == "" || open == StepVerify || open == StepRecord {
			continue
		}
		told := false
		for _, later := range all[i+1:] {
			for _, e := range later.journal {
				told = told || e.Type == "step.outcome" && e.Step == open
			}
		}
		if !told {
			t.Fatalf("%s: nothing explains the intent of %s of process %d", why(), open, i)
		}
	}
}

// TestInterruptedAnywhere kills the process, cuts it off, refuses it or loses its answer at every single outside call, then
// runs the same command again until it is done. The end must be that of an undisturbed run, and nothing done twice.
func TestInterruptedAnywhere(t *testing.T) {
	var total atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d interrupted runs", total.Load())
		if n := total.Load(); n < 1000 && !t.Failed() {
			t.Errorf("only %d cases ran", n)
		}
	})
	for i, st := range stories {
		faults := []fault{{do: killBefore}, {do: killAfter}, {do: lose}, {do: signal}}
		if i == 0 {
			faults = append(faults, fault{do: lostBefore}, fault{do: hang})
			for _, k := range []CallKind{NotFound, Denied, Expired, Throttled, Conflict, Immutable, Unreachable, Broken, ServerFault, Rejected} {
				faults = append(faults, fault{do: refuse, kind: k})
			}
		}
		want := undisturbed(t, st)
		for nth := range st.req {
			for _, f := range faults {
				t.Run(fmt.Sprintf("%s/%d/%s%s", st.name, nth, f.do, f.kind), func(t *testing.T) {
					t.Parallel()
					for n := 1; disturbed(t, st, want, nth, f, n); n++ {
						total.Add(1)
					}
				})
			}
		}
	}
}

func undisturbed(t *testing.T, st story) (want string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if st.prepare != nil {
			st.prepare(w)
		}
		for _, req := range st.req {
			finish(t, w, req, w.process("ann"), func() string { return st.name })
		}
		want = w.state()
		for _, d := range w.workloads {
			if changes := max(st.changes, 1+strings.Count(st.name, "undo")); d.changes != changes {
				t.Fatalf("%s: %s was changed %d times, want %d", st.name, d.Ref, d.changes, changes)
			}
		}
	})
	return want
}

// disturbed plays the story with a fault at call n of its nth command, and tells whether there was such a call.
func disturbed(t *testing.T, st story, want string, nth int, f fault, n int) (fired bool) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if st.prepare != nil {
			st.prepare(w)
		}
		f.call = n
		for i, req := range st.req {
			p := w.process("ann")
			p.limits.Settle = 3 * time.Second
			if i == nth {
				p.faults = []*fault{&f}
			}
			why := func() string {
				op := ""
				if n <= len(p.calls) {
					op = p.calls[n-1].op
				}
				return fmt.Sprintf("call %d (%s)", n, op)
			}
			explained(t, finish(t, w, req, p, why), why)
			if !p.stopped.IsZero() && p.lasted.Sub(p.stopped) > 10*time.Second {
				t.Fatalf("%s: ended %s after the signal", why(), p.lasted.Sub(p.stopped))
			}
			if st.after != nil {
				st.after(w)
			}
			if got := w.state(); i == len(st.req)-1 && got != want {
				t.Fatalf("%s: ended as\n%s\nwant\n%s\n", why(), got, want)
			}
		}
		fired = f.fired > 0
	})
	return fired && !t.Failed()
}
