package rollback

import (
	"context"
	"testing"
	"time"
)

// counting is a watcher that counts how often it is asked, and never hints.
type counting struct{ asked int }

func (c *counting) Changes(context.Context, string) <-chan struct{} {
	c.asked++
	return make(chan struct{})
}

// How late the end is noticed: the settle time begins when the rollout was seen to be over, and after it there are one look,
// with the tag beside it, and one write. In fake time each call can be counted; the journal's lines take theirs here, too.
func TestNoticedInTime(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.latency = time.Second
		p := w.process("ann")
		p.limits.Settle = 17 * time.Second // no heartbeat falls on the end
		watcher := &counting{}
		p.watcher = watcher
		mustRun(t, p, toPrevious)
		over := p.stepAt(StepRollout).Add(-w.latency) // seen, and then written into the journal
		if took := p.stepAt(StepVerify).Sub(over); took != p.limits.Settle+w.latency {
			t.Errorf("proven %s after the rollout", took)
		}
		if took := p.stepAt(StepRecord).Sub(p.stepAt(StepVerify)); took != 3*w.latency {
			t.Errorf("recorded %s after the proof, want two lines of the journal and one write", took)
		}
		if watcher.asked != 1 {
			t.Errorf("watched %d times", watcher.asked)
		}
		// The proof is read for itself, after the settle time, and so is the tag.
		last := map[string]time.Time{}
		for _, c := range p.calls {
			if c.op == "Observe" || c.op == "Images latest" {
				last[c.op] = c.at
			}
		}
		for op, at := range last {
			if at.Before(over.Add(p.limits.Settle)) {
				t.Errorf("%s was read last %s after the rollout", op, at.Sub(over))
			}
		}
		if len(last) != 2 {
			t.Errorf("read %v", last)
		}
	})
}

// What ended the rollout is not the proof: a pod that fails while it settles is seen, and the tag is read anew.
func TestSettleBeginsAnew(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.latency = time.Second
		p := w.process("ann")
		p.limits.Settle = 20 * time.Second
		failed := false
		w.before = func(_ *process, op string) {
			if d := w.workloads[0]; op == "Observe" && len(p.steps) > 0 && p.steps[len(p.steps)-1].Name == StepRollout && !failed {
				failed = true // a container dies between the two looks, and is back
				d.pods[0].Containers[0].Restarts++
				d.pods[0].ReadySince = time.Now()
			}
		}
		mustRun(t, p, toPrevious)
		if took := p.stepAt(StepVerify).Sub(p.stepAt(StepRollout)); !failed || took < p.limits.Settle+3*w.latency {
			t.Errorf("proven %s after the rollout (%t)", took, failed)
		}
	})
}

// A look that the run's own deadline cuts, however long it had taken by then, is no sign of a cluster that is lost: what was seen
// last is what is said. Where none has answered, that is said.
func TestDeadlineCutsALook(t *testing.T) {
	for _, tt := range []struct {
		name string
		from time.Duration // after the restart no look is answered any more
		says string
	}{
		{"after good ones", 15 * time.Second, "the rollout did not end within 20s: deployment/payments: "},
		{"the first one", 0, "the rollout could not be followed to its end within 20s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.behaviour[w.of(c)] = neverReady
				p := w.process("ann")
				p.limits.Rollout = 20 * time.Second
				w.slow = map[string]time.Duration{}
				w.before = func(_ *process, op string) {
					if restarted := p.callAt("Restart"); !restarted.IsZero() && (tt.from == 0 || op == "Observe" && time.Since(restarted) >= tt.from-p.limits.Poll) {
						w.slow["Observe"] = time.Hour
					}
				}
				_, err := p.run(toPrevious)
				exitIs(t, err, Unverified)
				says(t, err, tt.says, "changed, not verified")
			})
		})
	}
}

// Whoever waits for the pods to stay as they are is told until when.
func TestSettleIsTold(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		p.limits.Settle = 40 * time.Second
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		var until []time.Time
		for _, x := range p.progress {
			if !x.Until.IsZero() && !x.Done {
				t.Errorf("to be waited for before it is right: %+v", x)
			}
			if !x.Until.IsZero() {
				until = append(until, x.Until)
			}
		}
		if len(until) < 20 { // a look every two seconds
			t.Fatalf("told %d times", len(until))
		}
		if ended := p.lasted; !until[0].Equal(until[len(until)-1]) || ended.Before(until[0]) {
			t.Errorf("told %s and at last %s, ended at %s", until[0], until[len(until)-1], ended)
		}
	})
}
