package rollback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var byMerge = Request{Act: ActRun, To: Previous, Method: MethodRevert}

// inMerge plays fn in a world whose pull requests merge at once where nothing stands in their way.
func inMerge(t *testing.T, fn func(t *testing.T, w *world, f *forge)) {
	t.Helper()
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge = true
		fn(t, w, f)
	})
}

// shipped holds the end of a rollback by revert: closed, proven, one entry, and production on the image of the revert.
func shipped(t *testing.T, w *world, f *forge, res *Result, pr int) {
	t.Helper()
	image := f.image(pr)
	if res.Exit != Done || res.To.Digest != image || res.TagDigest != image || !strings.Contains(res.Production, "proven: every pod runs "+image.Short()) || !strings.Contains(res.Outcome, "proven on 3 pods") {
		t.Errorf("result %+v", res)
	}
	rec := w.stored()
	e := rec.Last
	if rec.Lock != nil || len(rec.Open()) > 0 || e.State != Closed || e.Method != MethodRevert || e.From.Digest != w.of(d) || e.To.Digest != w.of(c) || e.Shipped == nil || e.Shipped.Digest != image || len(rec.History) != 0 {
		t.Errorf("record %+v, lock %v, owed %v, history %v", e, rec.Lock, rec.Owed, rec.History)
	}
	if m := e.Merge; m.PR != pr || m.Commit != mergeCommit(pr) || !strings.HasSuffix(m.URL, fmt.Sprint("/pull/", pr)) {
		t.Errorf("merge %+v", m)
	}
	if s := summary(*e); s.To != image {
		t.Errorf("summary %+v", s)
	}
}

// untouched holds that a process moved no tag and restarted nothing: a rollback by revert leaves that to the deploy job.
func untouched(t *testing.T, p *process) {
	t.Helper()
	if p.asked("Tag ")+p.asked("Restart") > 0 {
		t.Errorf("it wrote %v", writes(p))
	}
}

func TestByMerge(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge)
		limits  func(l *Limits)
		steps   string
		notes   string
		atLeast time.Duration
	}{
		{"merged at once", nil, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "build deploy/payments (queue item 100)", 2 * time.Minute},
		{"merges by itself", func(_ *world, f *forge) {
			f.opensAfter, f.gates = 20*time.Minute, []Check{{Name: "unit tests", State: "pending", Required: true}}
		}, func(l *Limits) { l.Merge = time.Hour }, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "pull request #10 waits: required check unit tests: pending", 22 * time.Minute},
		{"merged by somebody", func(w *world, f *forge) { w.place.Followed.AutoMerge, f.mergedAfter = false, 20*time.Minute }, func(l *Limits) { l.Merge = time.Hour }, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "pull request #10 waits for its merge", 22 * time.Minute},
		{"adopted", func(_ *world, f *forge) {
			if _, err := f.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}); err != nil {
				panic(err)
			}
		}, nil, "claim done, revert already, merge done, build done, image done, rollout done, verify done, record done", "build", time.Minute},
		{"no CI system", func(w *world, _ *forge) { w.place.Followed.Job = "" }, func(l *Limits) { l.Image = 10 * time.Minute }, "claim done, revert done, merge done, image done, rollout done, verify done, record done", "", 2 * time.Minute},
		{"two platforms", func(w *world, f *forge) {
			f.multi = true
			w.report = func(w *world, d Digest) Digest { // a node reports the configuration of its platform
				if s := w.images[d]; s != nil && s.manifest.Index() {
					refs, _ := s.manifest.References()
					configs, _ := w.images[refs[0]].manifest.References()
					return configs[0]
				}
				return d
			}
		}, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "", time.Minute},
		{"short commit tags", func(w *world, f *forge) {
			f.shortTags = 8
			for _, r := range "bcd" {
				w.tags[commitOf(r)[:8]] = w.of(r)
			}
		}, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "", time.Minute},
		{"its tests fail, and it is deployed", func(_ *world, f *forge) { f.result, f.unstable = "UNSTABLE", true }, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "ended with UNSTABLE: its tests failed; looking for its image", 2 * time.Minute},
		{"the image is late", func(_ *world, f *forge) { f.imageAfter = 90 * time.Second }, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "", 3 * time.Minute},
		{"reads fail for a while", nil, nil, "claim done, revert done, merge done, build done, image done, rollout done, verify done, record done", "", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(w, f)
				}
				before := []Digest{w.of(c), w.of(d)}
				p := w.process("ann")
				if tt.limits != nil {
					tt.limits(&p.limits)
				}
				if tt.name == "reads fail for a while" {
					p.faults = []*fault{{op: "Newest", do: refuse, kind: ServerFault, times: 3}, {op: "Images " + string(mergeCommit(10)), do: refuse, kind: Throttled, times: 3}, {op: "Observe", do: refuse, kind: Unreachable, times: 3}}
				}
				began := time.Now()
				res := mustRun(t, p, byMerge)
				if outcomes(p) != tt.steps {
					t.Errorf("steps %s", outcomes(p))
				}
				if tt.name == "short commit tags" { // the rest of shipped looks the old images up by whole tags
					w.tags[commitOf(c)], w.tags[commitOf(d)] = before[0], before[1]
				}
				shipped(t, w, f, res, 10)
				untouched(t, p)
				if len(f.pulls) != 1 || len(f.builds) != 1 || w.workloads[0].changes != 1 {
					t.Errorf("%d pull requests, %d builds, %d restarts", len(f.pulls), len(f.builds), w.workloads[0].changes)
				}
				if notes := strings.Join(p.notes, "\n"); !strings.Contains(notes, tt.notes) {
					t.Errorf("notes %s", notes)
				}
				if took := p.lasted.Sub(began); took < tt.atLeast {
					t.Errorf("took %s", took)
				}
				if e := w.stored().Last; w.place.Followed.Job != "" && e.Merge.Build != "https://jenkins.acme.example/1" {
					t.Errorf("build %+v", e.Merge)
				}
			})
		})
	}
}

// Nobody has merged: exit 3, the lock is free, and the same command goes on with the same entry, wherever things stand then.
func TestByMergeWaits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration // the second run comes that long after the first
		merged time.Duration
		wait   time.Duration
		took   time.Duration // of the second, at most
	}{
		{"merged meanwhile", 30 * time.Second, 20 * time.Second, 0, 5 * time.Minute},
		{"built meanwhile", time.Hour, time.Minute, 0, time.Minute}, // the tag has moved, the pods run it
		{"merged while the second waits", time.Minute, 10 * time.Minute, time.Hour, 15 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				f.mergedAfter, f.opensAfter = tt.merged, time.Hour
				f.gates = []Check{{Name: "unit tests", State: "pending", Required: true}}
				p := w.process("ann")
				began := time.Now()
				_, err := p.run(byMerge)
				exitIs(t, err, Pending)
				e := says(t, err, "pull request #10 waits: required check unit tests: pending", NotChanged, "merge it: https://github.acme.example/acme/payments/pull/10",
					"then go on: rollback run --service payments --environment prod --to "+string(w.of(c))+" --method revert --reason 'errors'")
				if e.Production != NotChanged || p.lasted.Sub(began) > 0 {
					t.Errorf("%q after %s", e.Production, p.lasted.Sub(began))
				}
				rec := w.stored()
				if rec.Last.State != Waiting || rec.Lock != nil || rec.Last.Merge.PR != 10 || !rec.Last.State.Open() {
					t.Fatalf("record %+v, lock %v", rec.Last, rec.Lock)
				}
				if outcomes(p) != "claim done, revert done, merge pending" {
					t.Errorf("steps %s", outcomes(p))
				}
				time.Sleep(tt.after)
				q := w.process("bob")
				q.limits.Merge = tt.wait
				began = time.Now()
				res := mustRun(t, q, byMerge)
				shipped(t, w, f, res, 10)
				untouched(t, q)
				if w.stored().Last.ID != rec.Last.ID || w.stored().Last.By.User != "ann" || len(f.pulls) != 1 || len(f.builds) != 1 {
					t.Errorf("another entry %+v, %d pull requests", w.stored().Last, len(f.pulls))
				}
				if took := q.lasted.Sub(began); took > tt.took {
					t.Errorf("took %s", took)
				}
			})
		})
	}
	// It waits as long as was asked for, and no longer; what could not be read is said once.
	inForge(t, func(t *testing.T, w *world, f *forge) {
		f.unread = []string{"the checks could not be read"}
		p := w.process("ann")
		p.limits.Merge = 30 * time.Minute
		began := time.Now()
		_, err := p.run(byMerge)
		exitIs(t, err, Pending)
		if took := p.lasted.Sub(began); took < 30*time.Minute || took > 31*time.Minute {
			t.Errorf("waited %s", took)
		}
		if n := strings.Count(strings.Join(p.notes, "\n"), "waits for its merge"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if n := strings.Count(strings.Join(p.notes, "\n"), f.unread[0]); n != 1 {
			t.Errorf("said %d times what could not be read", n)
		}
	})
	// A forge that fails for a while is no reason to stop; asked to merge, it is asked again.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		p := w.process("ann")
		p.limits.Merge = time.Hour
		p.faults = []*fault{{op: "Merge ", do: refuse, kind: ServerFault, times: 5}}
		shipped(t, w, f, mustRun(t, p, byMerge), 10)
		if p.asked("Merge ") != 6 {
			t.Errorf("asked %d times", p.asked("Merge "))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // a token that was refused does not pass
		p := w.process("ann")
		p.limits.Merge = time.Hour
		p.faults = []*fault{{op: "Merge ", do: refuse, kind: Expired, times: -1}}
		_, err := p.run(byMerge)
		exitIs(t, err, Failed)
		says(t, err, "pull request #10 could not be merged", string(Expired), NotChanged, "run again when the cause is gone")
		if p.asked("Merge ") != 1 {
			t.Errorf("asked %d times", p.asked("Merge "))
		}
	})
	// A forge that does not merge by itself, for a setting or a right: what is missing is named, and it is waited for.
	for _, kind := range []CallKind{Denied, Rejected} {
		for _, tt := range []struct {
			name  string
			wait  time.Duration
			times int           // how often it refuses
			by    time.Duration // a person merges it
			asked int
		}{
			{"no waiting", 0, -1, 0, 1},
			{"merged from here when nothing is missing", time.Hour, 1, 0, 2},
			{"merged by a person", time.Hour, -1, 40 * time.Minute, 2},
			{"merged by nobody", time.Hour, -1, 0, 2},
		} {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				f.opensAfter, f.gates, f.mergedAfter = 20*time.Minute, []Check{{Name: "unit tests", State: "pending", Required: true}}, tt.by
				p := w.process("ann")
				p.limits.Merge = tt.wait
				p.faults = []*fault{{op: "Merge ", do: refuse, kind: kind, times: tt.times}}
				if tt.wait > 0 && (tt.times > 0 || tt.by > 0) {
					shipped(t, w, f, mustRun(t, p, byMerge), 10)
				} else {
					_, err := p.run(byMerge)
					exitIs(t, err, Pending)
					says(t, err, "GitHub does not merge it by itself: ", string(kind), NotChanged, "merge it: https://github.acme.example/acme/payments/pull/10")
					if tt.wait == 0 {
						says(t, err, "pull request #10 waits: required check unit tests: pending")
					}
				}
				if got := p.asked("Merge "); got != tt.asked || !strings.Contains(strings.Join(p.notes, "\n"), "pull request #10 is not merged by GitHub itself: ") {
					t.Errorf("%s, %s: asked %d times, notes %v", tt.name, kind, got, p.notes)
				}
			})
		}
	}
	// What is not known to be the exact inverse waits for a person, whatever the configuration says.
	for _, wait := range []time.Duration{0, time.Hour} {
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			if _, err := f.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}); err != nil {
				t.Fatal(err)
			}
			f.unverified = "its content is not that of the exact inverse"
			p := w.process("ann")
			if p.limits.Merge = wait; wait > 0 {
				f.pulls[0].merges = time.Now().Add(20 * time.Minute)
				shipped(t, w, f, mustRun(t, p, byMerge), 10)
			} else {
				_, err := p.run(byMerge)
				exitIs(t, err, Pending)
				says(t, err, "it is not known to be the exact inverse: its content", NotChanged, "look at what it changes; merge it if that is right, else close it: https://github.acme.example/acme/payments/pull/10")
			}
			if p.asked("Merge ") > 0 || !strings.Contains(strings.Join(p.notes, "\n"), "is not merged by this program: its content") {
				t.Errorf("asked %d times to merge; notes %v", p.asked("Merge "), p.notes)
			}
		})
	}
	// It conflicts with what came later: ours is made anew, somebody's is put right by hand.
	for _, why := range []string{"", "its content is another"} {
		for _, later := range []bool{false, true} {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				if _, err := f.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}); err != nil {
					t.Fatal(err)
				}
				f.unverified, f.pulls[0].stale = why, !later
				f.pulls[0].green = time.Now().Add(10 * time.Minute)
				w.before = func(_ *process, op string) {
					if op == "MergeState" && later { // while it is waited for
						later, f.pulls[0].stale = false, true
					}
				}
				p := w.process("ann")
				p.limits.Merge = time.Hour
				if why == "" {
					shipped(t, w, f, mustRun(t, p, byMerge), 10)
					if n := strings.Count(strings.Join(p.notes, "\n"), "#10 was made anew"); n != 1 {
						t.Errorf("notes %v", p.notes)
					}
					return
				}
				_, err := p.run(byMerge)
				exitIs(t, err, Failed)
				says(t, err, "#10, which undoes ", "conflicts with what came later on main", NotChanged, "git switch --detach origin/theirs")
			})
		}
	}
	// Somebody pushes to it while it is merged: it is checked again, and merged as it is then, or not.
	for _, why := range []string{"", "its content is another"} {
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			f.pushes = 2
			w.before = func(_ *process, op string) {
				if op == "Merge " {
					f.unverified = why
				}
			}
			p := w.process("ann")
			p.limits.Merge = time.Hour
			if why == "" {
				shipped(t, w, f, mustRun(t, p, byMerge), 10)
				return
			}
			_, err := p.run(byMerge)
			exitIs(t, err, Pending)
			if says(t, err, "its content is another"); p.asked("Merge ") != 1 {
				t.Errorf("asked %d times", p.asked("Merge "))
			}
		})
	}
	// Meanwhile production is burning: the same command by tag goes on with the entry, and owes the same pull request.
	inForge(t, func(t *testing.T, w *world, f *forge) {
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Pending)
		p := w.process("ann")
		res := mustRun(t, p, Request{Act: ActRun, To: Previous, Method: MethodRetag})
		rec := w.stored()
		if rec.Last.State != Mitigated || rec.Last.Method != MethodRetag || w.owed() == nil || w.owed().PR != 10 || len(f.pulls) != 1 || w.tags["latest"] != w.of(c) || !strings.HasPrefix(res.Next[0], "merge the revert by") {
			t.Errorf("%+v, owed %+v, next %v", rec.Last, w.owed(), res.Next)
		}
	})
}

// What a step has made is in the record before the next write outside builds on it: a kill there leaves nothing to be guessed.
func TestByMergeRecordsBeforeItActs(t *testing.T) {
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		f.webhook, w.place.Followed.CommitParameter, w.slow = false, "COMMIT", map[string]time.Duration{"Write": 300 * time.Millisecond}
		w.before = func(_ *process, op string) {
			r := w.decode()
			switch op {
			case "Merge ":
				if m := r.Last.Merge; m.PR != 10 || m.URL == "" {
					t.Errorf("merged with %+v in the record", m)
				}
			case "Start":
				if m := r.Last.Merge; m.Commit != mergeCommit(10) {
					t.Errorf("built with %+v in the record", m)
				}
			}
		}
		p := w.process("ann")
		shipped(t, w, f, mustRun(t, p, byMerge), 10)
		if m := w.stored().Last.Merge; m.Build != "https://jenkins.acme.example/1" {
			t.Errorf("the build that was started is not named: %+v", m)
		}
	})
	// A record that cannot be written is waited for a moment, and no longer.
	for _, do := range []faultKind{hang, refuse} {
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			w.before = func(_ *process, op string) {
				if op == "journal step.intent revert" {
					p.faults = []*fault{{op: "Write", do: do, kind: ServerFault, times: 2}}
				}
			}
			shipped(t, w, f, mustRun(t, p, byMerge), 10)
			if took := p.callAt("Merge ").Sub(p.callAt("Revert")); took > flushLimit {
				t.Errorf("%s: the merge waited %s for the record", do, took)
			}
		})
	}
}

// A system that asks to be left alone is left alone for that long, and a run that would have to wait longer than it may says so
// at once.
func TestRetryAfter(t *testing.T) {
	const asked = 7 * time.Minute
	image := "Images " + string(mergeCommit(10))
	for _, op := range []string{"Merge ", "Newest", image} {
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			p.limits.Merge, p.limits.Image = time.Hour, time.Hour
			p.faults = []*fault{{op: op, do: refuse, kind: Throttled, wait: asked}}
			shipped(t, w, f, mustRun(t, p, byMerge), 10)
			var at []time.Time
			for _, c := range p.calls {
				if strings.HasPrefix(c.op, op) {
					at = append(at, c.at)
				}
			}
			if len(at) < 2 || at[1].Sub(at[0]) < asked {
				t.Errorf("%s: asked %s after it was told to wait %s", op, at[1].Sub(at[0]), asked)
			}
		})
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			p.limits.Merge, p.limits.Build, p.limits.Image = 5*time.Minute, 5*time.Minute, 5*time.Minute
			p.faults = []*fault{{op: op, do: refuse, kind: Throttled, wait: asked, times: -1}}
			_, err := p.run(byMerge)
			if ExitOf(err) != Pending || p.asked(op) != 1 {
				t.Errorf("%s: asked %d times: %v", op, p.asked(op), err)
			}
			says(t, err, "throttled", "rollback run --service payments")
		})
	}
	// The follow-up waits, too, and gives up at once where it would be too long.
	for wait, tries := range map[time.Duration]int{20 * time.Second: 2, 5 * time.Minute: 1} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			p := w.process("ann")
			p.faults = []*fault{{op: "Revert", do: refuse, kind: Throttled, wait: wait}}
			mustRun(t, p, toPrevious)
			if p.asked("Revert") != tries || (w.owed().PR != 0) != (tries > 1) {
				t.Errorf("told to wait %s: asked %d times, owed %+v", wait, p.asked("Revert"), w.owed())
			}
			if tries == 1 && p.lasted.After(p.stepAt(StepVerify)) {
				t.Errorf("it waited %s for nothing", p.lasted.Sub(p.stepAt(StepVerify)))
			}
		})
	}
	// The cluster as well.
	in(t, func(t *testing.T, w *world) {
		p := w.process("ann")
		p.faults = []*fault{{op: "Observe", do: refuse, kind: Throttled, wait: 30 * time.Second}}
		mustRun(t, p, toPrevious)
		var looks []time.Time
		for _, c := range p.calls {
			if c.op == "Observe" {
				looks = append(looks, c.at)
			}
		}
		if looks[1].Sub(looks[0]) < 30*time.Second {
			t.Errorf("looked again after %s", looks[1].Sub(looks[0]))
		}
	})
}

// Asked for again when all is done, it has nothing to undo: neither the revert nor anything else.
func TestByMergeAgain(t *testing.T) {
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		mustRun(t, w.process("ann"), byMerge)
		before := w.state()
		for _, to := range []string{Previous, commitOf(c), string(w.of(c)), string(f.image(10))} {
			p := w.process("bob")
			res := mustRun(t, p, Request{Act: ActRun, To: to, Method: MethodRevert})
			if outcomes(p) != "verify done" || len(writes(p))+p.asked("Revert") > 0 || w.state() != before || !strings.Contains(res.Outcome, "already; nothing was changed") || res.To.Digest != f.image(10) {
				t.Errorf("%s: %s, %s", to, outcomes(p), res.Outcome)
			}
		}
		w.workloads[0].pods[0].Containers[0].Digest = w.of(d) // a pod strays
		p := w.process("bob")
		_, err := p.run(byMerge)
		exitIs(t, err, Unverified)
		if outcomes(p) != "verify failed" || len(f.pulls) != 1 {
			t.Errorf("%s: %v", outcomes(p), err)
		}
		// An older one is something else.
		w.workloads[0].pods[0].Containers[0].Digest = f.image(10)
		res := mustRun(t, w.process("bob"), Request{Act: ActRun, To: commitOf(b), Method: MethodRevert})
		if len(f.pulls) != 2 || f.pulls[1].rng != (Range{Commit(commitOf(b)), mergeCommit(10)}) || res.To.Digest != f.image(11) {
			t.Errorf("%+v", f.pulls)
		}
	})
}

func TestByMergeCannotBeAccepted(t *testing.T) {
	for _, tt := range []struct {
		code    string
		prepare func(w *world, f *forge)
		to      string
	}{
		{"no-range", func(w *world, _ *forge) { w.tags["v1"] = w.push("x", time.Now().Add(-time.Hour)) }, "v1"},
		{"not-on-branch", func(_ *world, f *forge) { f.branch = f.branch[1:] }, Previous},
		{"no-forge", func(w *world, _ *forge) { w.forge = nil }, Previous},
	} {
		inMerge(t, func(t *testing.T, w *world, f *forge) {
			tt.prepare(w, f)
			p := w.process("ann")
			_, err := p.run(Request{Act: ActRun, To: tt.to, Method: MethodRevert, Accept: []string{tt.code}})
			exitIs(t, err, Refused)
			if e := says(t, err, NotChanged); strings.Contains(strings.Join(e.Next, " "), "--accept "+tt.code) || len(e.Next) == 0 || len(writes(p)) > 0 {
				t.Errorf("%s: next %v", tt.code, e.Next)
			}
		})
	}
}

func TestByMergeClosed(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		f.closedAfter = 10 * time.Minute
		p := w.process("ann")
		p.limits.Merge = time.Hour
		_, err := p.run(byMerge)
		exitIs(t, err, Failed)
		says(t, err, "https://github.acme.example/acme/payments/pull/10 was closed without being merged", "reopen it, or run again to open another", NotChanged)
		id := w.stored().Last.ID
		f.closedAfter, f.mergedAfter = 0, time.Minute
		p = w.process("ann")
		p.limits.Merge = time.Hour
		shipped(t, w, f, mustRun(t, p, byMerge), 11)
		if w.stored().Last.ID != id || len(f.pulls) != 2 {
			t.Errorf("%+v, %d pull requests", w.stored().Last, len(f.pulls))
		}
	})
}

func TestByMergeConflict(t *testing.T) {
	conflict := &RevertConflict{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}, Base: "main", Files: []ConflictFile{{Path: "pay.go"}}, Commands: []string{"git fetch origin main", "git push"}}
	inMerge(t, func(t *testing.T, w *world, f *forge) { // only the real merge tells
		w.before = func(_ *process, op string) {
			if op == "Revert" {
				f.conflict = conflict
			}
		}
		p := w.process("ann")
		_, err := p.run(byMerge)
		exitIs(t, err, Failed)
		e := says(t, err, "the revert does not merge by itself", "conflicts with what came later", "pay.go", NotChanged)
		if !slices.Equal(e.Next[1:3], conflict.Commands) || e.Production != NotChanged {
			t.Errorf("next %v", e.Next)
		}
		if rec := w.stored(); rec.Last.State != FailedState || rec.Lock != nil {
			t.Errorf("record %+v", rec.Last)
		}
		untouched(t, p)
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // foreseen
		f.conflict = conflict
		p := w.process("ann")
		_, err := p.run(byMerge)
		exitIs(t, err, Refused)
		says(t, err, "conflicts with what came later", NotChanged)
		if p.asked("Revert")+len(writes(p)) > 0 {
			t.Errorf("it wrote %v", p.calls)
		}
	})
}

func TestByMergeAlready(t *testing.T) {
	inMerge(t, func(t *testing.T, w *world, f *forge) { // merged by hand, and built
		if _, err := f.revert(RevertRequest{Range: Range{Commit(commitOf(c)), Commit(commitOf(d))}}); err != nil {
			t.Fatal(err)
		}
		f.idle, f.keepsTag = true, true // built, not deployed yet
		f.land(f.pulls[0], time.Now())
		time.Sleep(3 * time.Minute)
		f.advance()
		f.idle, f.keepsTag = false, false
		p := w.process("ann")
		_, err := p.run(byMerge) // nobody deploys it
		exitIs(t, err, Unverified)
		if !strings.HasPrefix(outcomes(p), "claim done, revert already, merge already, build done, image done, rollout failed") || len(f.pulls) != 1 || len(f.builds) != 1 {
			t.Errorf("%s, %d pull requests, %d builds", outcomes(p), len(f.pulls), len(f.builds))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // gone, and nobody knows how
		f.already = &PullRequest{}
		p := w.process("ann")
		_, err := p.run(byMerge)
		exitIs(t, err, Refused) // the plan says so; nothing is claimed and no pull request opened
		e := says(t, err, "does not hold what is to be undone any more", "--method retag")
		if e.Production != NotChanged || len(f.pulls) != 0 || w.stored().Last != nil {
			t.Errorf("%q, %d pull requests, record %+v", e.Production, len(f.pulls), w.stored().Last)
		}
	})
}

func TestByMergeBuild(t *testing.T) {
	short := mergeCommit(10).Short()
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge)
		exit    Exit
		says    []string
		builds  int
		mend    func(w *world, f *forge) // then the same command again ends well
	}{
		{"failed", func(_ *world, f *forge) { f.result = "FAILURE" }, Failed, []string{"build deploy/payments #1 ended with FAILURE: the revert is merged, but not built", "look at https://jenkins.acme.example/1, build again, then run again", "--method retag", "not changed; the revert is merged as " + short + " and not deployed"}, 1,
			func(w *world, f *forge) { f.result = "SUCCESS"; f.start(mergeCommit(10), "", time.Now()) }},
		{"aborted", func(_ *world, f *forge) { f.result = "ABORTED" }, Failed, []string{"ended with ABORTED"}, 1, func(w *world, f *forge) { f.result = "SUCCESS"; f.start(mergeCommit(10), "", time.Now()) }},
		{"unstable", func(_ *world, f *forge) { f.result = "UNSTABLE" }, Failed, []string{"build deploy/payments #1 ended with UNSTABLE: its tests failed, and there is no image of " + short, "look at https://jenkins.acme.example/1, build again, then run again", "--method retag", "not changed; the revert is merged as " + short + " and not deployed"}, 1, func(w *world, f *forge) { f.result = "SUCCESS"; f.start(mergeCommit(10), "", time.Now()) }},
		{"cancelled in the queue", func(_ *world, f *forge) { f.cancel = true }, Failed, []string{"(queue item 100) ended with cancelled", "not changed"}, 1, func(w *world, f *forge) { f.cancel = false; f.start(mergeCommit(10), "", time.Now()) }},
		{"never appears", func(_ *world, f *forge) { f.webhook = false }, Pending, []string{"no build of " + short + " in job deploy/payments yet", "jenkins.commitParameter in rollback.yaml", "then go on: rollback run", "--method revert", "not changed; the revert is merged as " + short}, 0, func(w *world, f *forge) { f.start(mergeCommit(10), "", time.Now()) }},
		{"takes too long", func(_ *world, f *forge) { f.takes = 90 * time.Minute }, Pending, []string{"did not end within 1h", "it goes on: https://jenkins.acme.example/1", "not changed"}, 1, nil},
		{"the job is gone", func(w *world, _ *forge) { w.place.Followed.Job = "deploy/nothing" }, Failed, []string{"the builds of deploy/nothing cannot be read", "not found", "not changed; the revert is merged as " + short}, 1, func(w *world, _ *forge) { w.place.Followed.Job = job }},
		{"no image", func(_ *world, f *forge) { f.noImage = true }, Pending, []string{"no image of " + short + " in repository payments yet", "run again when its build has pushed it", "not changed; the revert is merged as " + short + " and not deployed"}, 1, func(_ *world, f *forge) { f.noImage = false }},
		{"the image comes too late", func(_ *world, f *forge) { f.imageAfter = 10 * time.Minute }, Pending, []string{"no image of " + short}, 1, func(*world, *forge) { time.Sleep(10 * time.Minute) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				tt.prepare(w, f)
				p := w.process("ann")
				_, err := p.run(byMerge)
				exitIs(t, err, tt.exit)
				says(t, err, tt.says...)
				rec := w.stored()
				if rec.Lock != nil || rec.Last.Merge.Commit != mergeCommit(10) || tt.exit == Pending && rec.Last.State != Waiting || tt.exit == Failed && rec.Last.State != FailedState {
					t.Errorf("record %+v, lock %v", rec.Last, rec.Lock)
				}
				if len(f.builds) != tt.builds || p.asked("Start") > 0 || w.workloads[0].changes > 0 {
					t.Errorf("%d builds, started %d", len(f.builds), p.asked("Start"))
				}
				untouched(t, p)
				if tt.mend != nil {
					tt.mend(w, f)
				}
				shipped(t, w, f, mustRun(t, w.process("bob"), byMerge), 10)
				if w.stored().Last.ID != rec.Last.ID || len(f.pulls) != 1 {
					t.Errorf("another entry %+v, %d pull requests", w.stored().Last, len(f.pulls))
				}
			})
		})
	}
}

// Where the merge starts no build, one is started: with the commit, when the webhook has had its time, and once.
func TestByMergeStartsTheBuild(t *testing.T) {
	prepare := func(w *world, f *forge) {
		f.webhook = false
		w.place.Followed.CommitParameter = "COMMIT"
	}
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		prepare(w, f)
		p := w.process("ann")
		shipped(t, w, f, mustRun(t, p, byMerge), 10)
		if waited := p.callAt("Start").Sub(p.callAt("Newest")); waited < time.Minute || waited > time.Minute+10*time.Second || p.asked("Start") != 1 {
			t.Errorf("started %d times, after %s", p.asked("Start"), waited)
		}
		if f.builds[0].id != w.stored().Last.ID {
			t.Errorf("marked %q, the entry is %s", f.builds[0].id, w.stored().Last.ID)
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // the webhook is slow, but not that slow
		prepare(w, f)
		w.after = func(_ *process, op string) {
			if op == "Newest" && len(f.builds) == 0 && time.Since(f.pulls[0].MergedAt) >= 30*time.Second {
				f.start(mergeCommit(10), "", time.Now())
			}
		}
		p := w.process("ann")
		shipped(t, w, f, mustRun(t, p, byMerge), 10)
		if p.asked("Start") > 0 || len(f.builds) != 1 {
			t.Errorf("started %d", p.asked("Start"))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // it cannot be started
		prepare(w, f)
		p := w.process("ann")
		p.faults = []*fault{{op: "Start", do: refuse, kind: Denied}}
		_, err := p.run(byMerge)
		exitIs(t, err, Failed)
		says(t, err, "the build of the merge commit could not be started", "denied", "not changed; the revert is merged as "+mergeCommit(10).Short())
		shipped(t, w, f, mustRun(t, w.process("ann"), byMerge), 10)
	})
	// Killed around the start, with and without a mark of ours, whether or not the queue tells its commits: one build.
	for _, do := range []faultKind{killBefore, killAfter, lose, lostBefore} {
		for _, marked := range []bool{true, false} {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				prepare(w, f)
				f.marked, f.unreadQueue = marked, !marked
				p := w.process("ann")
				p.faults = []*fault{{op: "Start", do: do}}
				res, err := p.run(byMerge)
				if (err == nil) != (do == lose) { // then it is found
					t.Errorf("%s: %v", do, err)
				}
				if err != nil {
					time.Sleep(LockExpiry)
					res = mustRun(t, w.process("ann"), byMerge)
				}
				if shipped(t, w, f, res, 10); p.asked("Start") > 1 {
					t.Errorf("%s: asked for %d times", do, p.asked("Start"))
				}
				if len(f.builds) != 1 {
					t.Errorf("%s, marked %t: %d builds", do, marked, len(f.builds))
				}
			})
		}
	}
}

func TestByMergeRollout(t *testing.T) {
	restart := "look at the deploy job; if it restarts nothing: rollback restart --service payments --environment prod"
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge)
		exit    Exit
		says    []string
		within  time.Duration // after the image is there
	}{
		{"nothing restarts", func(_ *world, f *forge) { f.idle = true }, Unverified, []string{"the pods do not run the new image after 10m: deployment/payments: 0 of 3 pods run the new image", restart, "0 of 3 pods run the target"}, 11 * time.Minute},
		{"nothing restarts a set", func(w *world, f *forge) { f.idle = true; w.deploy("StatefulSet", "payments-worker", 2) }, Unverified, []string{"statefulset/payments-worker: 0 of 2 pods run the new image", restart, "0 of 5 pods run the target"}, 11 * time.Minute},
		{"crash", func(w *world, _ *forge) { w.behaviour[blob(string(mergeCommit(10))).Digest] = crashes }, Unverified, []string{"the new pods do not come up", "CrashLoopBackOff", "--previous", "the image of the revert is built", "rollback undo"}, 30 * time.Second},
		{"pull", func(w *world, _ *forge) { w.behaviour[blob(string(mergeCommit(10))).Digest] = pullFails }, Unverified, []string{"ImagePullBackOff", "cannot pull the image"}, 30 * time.Second},
		{"no room", func(w *world, _ *forge) { w.behaviour[blob(string(mergeCommit(10))).Digest] = unplaceable }, Unverified, []string{"Unschedulable", "make room"}, 3 * time.Minute},
		{"never ready", func(w *world, _ *forge) { w.behaviour[blob(string(mergeCommit(10))).Digest] = neverReady }, Unverified, []string{"do not run the new image after 10m", "1 of 3 pods run the new image"}, 11 * time.Minute},
		{"a node is lost", func(w *world, _ *forge) { w.behaviour[blob(string(mergeCommit(10))).Digest] = losesNode }, Unverified, []string{"do not run the new image after 10m", "kubectl delete node node-b", restart}, 11 * time.Minute},
		{"the cluster is lost", func(w *world, _ *forge) {
			w.before = func(p *process, op string) {
				if op == "journal step.intent rollout" {
					p.faults = []*fault{{op: "Observe", do: refuse, kind: Unreachable, times: -1}}
				}
			}
		}, Unverified, []string{"the rollout could not be followed to its end within 10m", "unreachable"}, 11 * time.Minute},
		{"somebody moves the tag", func(w *world, _ *forge) {
			w.before = func(p *process, op string) {
				if op == "journal step.intent verify" {
					w.tags["latest"] = w.of(a)
				}
			}
		}, Unverified, []string{"every pod runs the target, but :latest names"}, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				tt.prepare(w, f)
				p := w.process("ann")
				_, err := p.run(byMerge)
				exitIs(t, err, tt.exit)
				e := says(t, err, append(tt.says, "changed, not verified", "the same command goes on where this one stopped")...)
				if !strings.Contains(strings.Join(e.Next, "\n"), "--method revert") {
					t.Errorf("next %v", e.Next)
				}
				if took := p.lasted.Sub(p.stepAt(StepImage)); took > tt.within {
					t.Errorf("took %s", took)
				}
				if rec := w.stored(); rec.Last.State != FailedState || rec.Lock != nil || rec.Last.Shipped == nil {
					t.Errorf("record %+v", rec.Last)
				}
			})
		})
	}
	// What it says to type when the deploy job restarts nothing does help.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		f.idle = true
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Unverified)
		mustRun(t, w.process("ann"), Request{Act: ActRestart})
		if got := w.running(); got[f.image(10)] != 3 {
			t.Errorf("running %v", got)
		}
		id := w.stored().Last.ID
		shipped(t, w, f, mustRun(t, w.process("ann"), byMerge), 10)
		if w.stored().Last.ID != id || len(f.pulls) != 1 {
			t.Errorf("another entry %+v", w.stored().Last)
		}
	})
	// The version that is taken back crashes all the while, in pods that are made while the revert is on its way.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge, f.mergedAfter = false, time.Minute
		bad := w.of(d)
		w.after = func(_ *process, op string) {
			if op == "Revert" {
				w.behaviour[bad] = crashes
				dep := w.workloads[0]
				dep.Rollout.Desired++
				w.start(dep, w.makePod(dep))
			}
		}
		time.Sleep(time.Second)
		p := w.process("ann")
		p.limits.Merge = time.Hour
		res := mustRun(t, p, byMerge)
		if got := w.running(); got[f.image(10)] != 4 || res.To.Digest != f.image(10) {
			t.Errorf("running %v", got)
		}
	})
	// Undone, production is back on what ran before, and the record knows what had been shipped.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		mustRun(t, w.process("ann"), byMerge)
		res := mustRun(t, w.process("ann"), Request{Act: ActVerify})
		if res.To.Digest != f.image(10) {
			t.Errorf("verify compares with %s", res.To.Digest.Short())
		}
		mustRun(t, w.process("ann"), Request{Act: ActUndo})
		rec := w.stored()
		if got := w.running(); got[w.of(d)] != 3 || rec.History[0].To != f.image(10) || rec.History[0].State != Undone {
			t.Errorf("running %v, history %+v", got, rec.History)
		}
	})
}

// What a failed rollback by revert says about production is what production is, also where the build has moved it.
func TestByMergeTellsTheTruth(t *testing.T) {
	short := mergeCommit(10).Short()
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge, p *process)
		exit    Exit
		says    string
		not     string
	}{
		{"before the merge", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Revert", do: refuse, kind: Denied, times: -1}}
		}, Failed, "not changed", "merged as"},
		{"merged, the build cannot be read", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Newest", do: refuse, kind: Denied, times: -1}}
		}, Failed, "not changed; the revert is merged as " + short + " and not deployed", ""},
		{"merged, Jenkins refuses the token", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Newest", do: refuse, kind: Expired, times: -1}}
		}, Failed, "not changed; the revert is merged as " + short + " and not deployed", ""},
		{"deployed, its image cannot be read", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Images " + string(mergeCommit(10)), do: refuse, kind: Denied, times: -1}}
		}, Unverified, "changed, not verified: the revert is merged as " + short + ", and :latest names " + blob(string(mergeCommit(10))).Digest.Short() + " by now", "not changed"},
		{"deployed, no registry any more", func(w *world, _ *forge, p *process) {
			w.before = func(_ *process, op string) {
				if op == "journal step.intent image" {
					p.faults = []*fault{{op: "Images", do: refuse, kind: Denied, times: -1}}
				}
			}
		}, Unverified, "perhaps changed: the revert is merged as " + short, "not changed"},
		{"Jenkins is lost while it builds", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Look ", do: refuse, kind: Unreachable, times: -1}}
		}, Pending, "not changed; the revert is merged as " + short, ""},
		{"the build fails after its deployment", func(w *world, f *forge, p *process) {
			f.result = "FAILURE"
			w.before = func(_ *process, op string) {
				if op == "journal step.outcome build" {
					w.tags["latest"] = w.of(a)
				}
			}
		}, Unverified, "changed, not verified: the revert is merged as " + short + ", and :latest names", "not changed"},
		{"manifest gone", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Manifests " + string(blob(string(mergeCommit(10))).Digest), do: refuse, kind: Denied, times: -1}}
		}, Unverified, "changed, not verified", "not changed"},
		{"interrupted while it builds", func(_ *world, _ *forge, p *process) {
			p.faults = []*fault{{op: "Look ", do: signal}}
		}, Failed, "not changed; the revert is merged as " + short, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				p := w.process("ann")
				tt.prepare(w, f, p)
				before := w.touched()
				_, err := p.run(byMerge)
				exitIs(t, err, tt.exit)
				e := says(t, err)
				if !strings.Contains(e.Production, tt.says) || tt.not != "" && strings.Contains(e.Production, tt.not) {
					t.Errorf("production %q (%v)", e.Production, err)
				}
				truthful(t, w, before, err, func() string { return tt.name })
				if rec := w.stored(); rec.Lock != nil || !rec.Last.State.Open() {
					t.Errorf("record %+v", rec.Last)
				}
				// What comes next is known from the record: the second run says what it finds, and ends well.
				w.before, f.result = nil, "SUCCESS"
				if tt.name == "the build fails after its deployment" {
					f.start(mergeCommit(10), "", time.Now())
				}
				shipped(t, w, f, mustRun(t, w.process("ann"), byMerge), 10)
			})
		})
	}
	// Where its build has deployed when the plan is drawn again, that build is none of the versions that are undone.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge, f.mergedAfter = false, time.Minute
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Pending)
		time.Sleep(time.Hour)
		f.advance()
		for range 20 { // the pods turn over
			for _, d := range w.workloads {
				w.step(d)
			}
			time.Sleep(time.Second)
		}
		s := view(t, w, MethodRevert)
		if p := Draw(s, "id"); s.Current.Commit() != mergeCommit(10) || len(p.Undoes) != 1 || p.Undoes[0].Commit != Commit(commitOf(d)) {
			t.Errorf("runs %s, undoes %+v", s.Current.Commit().Short(), p.Undoes)
		}
	})
	// Resumed after the deployment, a failure must not say that production is as it was.
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge, f.mergedAfter = false, time.Minute
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Pending)
		time.Sleep(time.Hour)
		p := w.process("ann")
		p.faults = []*fault{{op: "MergeState", do: refuse, kind: Denied, times: -1}}
		if _, err = p.run(byMerge); err != nil {
			exitIs(t, err, Unverified)
		}
	})
}

// A rollback by revert is killed, cut off, refused or hangs at every call, and run again: one pull request, one build, and
// the same end.
func TestByMergeInterruptedAnywhere(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world)
		kinds   int
	}{
		{"a webhook builds it", func(w *world) {
			w.forged().takes = 30 * time.Second
			w.place.Followed.AutoMerge = true
		}, 16},
		{"the run builds it", func(w *world) {
			f := w.forged()
			f.takes, f.webhook = 20*time.Second, false
			w.place.Followed.AutoMerge, w.place.Followed.CommitParameter = true, "COMMIT"
		}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, story{name: tt.name, prepare: tt.prepare, req: []Request{byMerge}}, tt.kinds)
		})
	}
}
