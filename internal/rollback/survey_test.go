package rollback

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTargetResolution(t *testing.T) {
	full := commitOf(b)
	for _, tt := range []struct {
		name, to string
		prepare  func(w *world)
		want     func(w *world) Digest // nil: refused
		says     string
		lists    int // pages of the repository that are read
	}{
		{"digest", string(blob(full).Digest), nil, func(w *world) Digest { return w.of(b) }, "named by digest", 0},
		{"unknown digest", string(some), nil, nil, "no such image in repository payments", 0},
		{"nothing", "", nil, nil, `want "previous"`, 0},
		{"no tag at all", "a b", nil, nil, `want "previous"`, 0},
		{"tag", "v7", func(w *world) { w.tags["v7"] = w.of(a) }, func(w *world) Digest { return w.of(a) }, "named by tag v7", 0},
		{"unknown tag", "v9", nil, nil, "rollback candidates --service payments --environment prod", 0},
		{"full commit", full, nil, func(w *world) Digest { return w.of(b) }, "named by tag", 0},
		{"commit in capitals", strings.ToUpper(full), nil, func(w *world) Digest { return w.of(b) }, "named by tag", 0},
		{"full commit, tagged with eight digits", full, func(w *world) {
			w.tags[full[:8]] = w.of(b)
			delete(w.tags, full)
		}, func(*world) Digest { return blob(full).Digest }, "tag bbbbbbbb)", 0},
		{"full commit, tagged with seven and twelve digits", full, func(w *world) {
			w.tags[full[:7]], w.tags[full[:12]] = w.of(a), w.of(b)
			delete(w.tags, full)
		}, func(*world) Digest { return blob(full).Digest }, "tag bbbbbbbbbbbb)", 0},
		{"unique beginning", full[:9], nil, func(w *world) Digest { return w.of(b) }, "named by commit bbbbbbbbb (tag " + full + ")", 1},
		{"unique beginning, several pages", full[:9], func(w *world) { w.pages = 2 }, func(w *world) Digest { return w.of(b) }, "named by commit", 2},
		{"ambiguous beginning", full[:7], func(w *world) { w.push("bbbbbbb"+strings.Repeat("0", 33), epoch) }, nil, "is ambiguous: it begins bbbbbbb0", 1},
		{"two tags of one image are not ambiguous", full[:7], func(w *world) { w.tags[full[:9]] = w.of(b) }, func(w *world) Digest { return w.of(b) }, "named by commit", 1},
		{"unknown beginning", "1234567", nil, nil, "no such image", 1},
		{"the moving tag itself", "latest", nil, nil, "that is the moving tag itself", 0},
		{"the current one", commitOf(d), nil, func(w *world) Digest { return w.of(d) }, "named by tag", 0},
		{"previous", Previous, nil, func(w *world) Digest { return w.of(c) }, "newest eligible image pushed before the current one", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				if tt.prepare != nil {
					tt.prepare(w)
				}
				p := w.process("ann")
				s, err := Look(t.Context(), p.world(), Request{Scope: scope, Act: ActRun, To: tt.to}, time.Now())
				if n := p.asked("List"); n != tt.lists {
					t.Errorf("%d pages were listed, want %d", n, tt.lists)
				}
				if tt.want == nil {
					exitIs(t, err, Usage)
					says(t, err, tt.says)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if s.Target.Digest != tt.want(w) || !strings.Contains(s.Why, tt.says) {
					t.Errorf("%s: %s", s.Target.Digest.Short(), s.Why)
				}
				if !s.TargetSet[s.Target.Digest] || s.Manifests[s.Target.Digest].Check() != nil {
					t.Error("the target's manifest was not read")
				}
			})
		})
	}
}

func (p *process) asked(op string) int {
	n := 0
	for _, c := range p.calls {
		if strings.HasPrefix(c.op, op) {
			n++
		}
	}
	return n
}

func TestCurrent(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := look(t, w, Request{Act: ActLook})
		if s.Current.Digest != w.of(d) || len(s.Running) != 1 || s.Running[0].Pods != 3 || s.Running[0].Commit != Commit(commitOf(d)) || s.Target.Digest != "" {
			t.Errorf("uniform: %+v", s.Running)
		}
		w.workloads[0].pods[0].Containers[0].Digest = w.of(c)
		w.workloads[0].pods[1].Containers[0].Digest = w.of(c)
		if s = look(t, w, Request{Act: ActLook}); s.Current.Digest != w.of(d) || s.Running[0].Image != w.of(c) || s.Running[0].Pods != 2 {
			t.Errorf("mixed: what the tag names goes first as long as a pod runs it: %+v", s.Running)
		}
		w.tags["latest"] = w.of(a)
		if s = look(t, w, Request{Act: ActLook}); s.Current.Digest != w.of(c) || s.TagNow.Digest != w.of(a) {
			t.Errorf("the tag is ahead: what most pods run: %s", s.Current.Digest.Short())
		}
		w.workloads[0].pods = nil
		if s = look(t, w, Request{Act: ActLook}); s.Current.Digest != w.of(a) || len(s.Running) != 0 {
			t.Errorf("nothing runs: what the tag names: %s", s.Current.Digest.Short())
		}
	})
}

// A pod that an admission controller has pinned, a sidecar that is pinned, a foreign container: only what the template takes
// through the tag counts.
// A registry that is not ECR tells in its listing alone when an image was made, that of the tag as well.
func TestPreviousAtAPlainRegistry(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.plain = true
		s, err := Look(t.Context(), w.process("ann").world(), Request{Scope: scope, Act: ActRun, To: Previous}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if s.Target.Digest != w.of(c) || s.Current.Digest != w.of(d) || s.Current.Commit() != Commit(commitOf(d)) || s.Current.Time().IsZero() {
			t.Errorf("from %+v to %+v", s.Current, s.Target)
		}
		res := mustRun(t, w.process("bob"), Request{Act: ActRun, To: Previous})
		if res.Exit != Done || res.From.Commit != Commit(commitOf(d)) || w.tags["latest"] != w.of(c) {
			t.Errorf("latest names %s; %+v", w.tags["latest"], res)
		}
	})
}

func TestWhatFollowsTheTag(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.workloads = nil
		dep := w.deploy("Deployment", "payments", 0)
		dep.Containers = append(dep.Containers,
			Container{Name: "proxy", Role: Sidecar, Image: "r.example.com/proxy:1", PullPolicy: "Always"},
			Container{Name: "migrate", Role: Init, Image: w.ref("latest"), PullPolicy: "Always"},
			Container{Name: "shadow", Role: Main, Image: w.ref(commitOf(a)), PullPolicy: "IfNotPresent"})
		dep.Rollout.Desired = 2
		for range 2 {
			w.start(dep, w.makePod(dep))
		}
		for _, p := range dep.pods {
			p.Containers[0].Image = w.ref("latest") + "@" + string(w.of(d)) // pinned on its way
		}
		s := look(t, w, Request{Act: ActRun, To: Previous})
		if len(s.Running) != 1 || s.Running[0].Image != w.of(d) {
			t.Errorf("running %+v", s.Running)
		}
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		for _, p := range dep.pods {
			if p.Containers[0].Digest != w.of(c) || p.Containers[2].Digest != w.of(c) || p.Containers[3].Digest != w.of(a) {
				t.Errorf("%+v", p.Containers)
			}
		}
	})
}

// Nodes report the index, a platform of it or its configuration, by runtime: all are the same image.
func TestMultiArch(t *testing.T) {
	for name, report := range map[string]func(index, platform, config Digest) Digest{
		"index":    func(index, _, _ Digest) Digest { return index },
		"platform": func(_, platform, _ Digest) Digest { return platform },
		"config":   func(_, _, config Digest) Digest { return config },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.workloads = nil
				reports := map[Digest]Digest{}
				var index [2]Digest
				for n, r := range "ef" {
					i, p, c := w.pushIndex(commitOf(r), time.Now().Add(time.Duration(n-2)*time.Hour))
					index[n], reports[i] = i, report(i, p, c)
				}
				w.report = func(_ *world, digest Digest) Digest { return reports[digest] }
				w.tags["latest"] = index[1]
				w.deploy("Deployment", "payments", 3)
				s := look(t, w, Request{Act: ActRun, To: Previous})
				if s.Current.Digest != index[1] || s.Current.Commit() != Commit(commitOf('f')) || s.Target.Digest != index[0] || len(s.TargetSet) != 5 {
					t.Fatalf("current %s, target %s, %d digests", s.Current.Digest.Short(), s.Target.Digest.Short(), len(s.TargetSet))
				}
				mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
				if w.tags["latest"] != index[0] || w.stored().Last.To.MediaType != OCIIndex {
					t.Error("the index was not tagged whole")
				}
				mustRun(t, w.process("ann"), Request{Act: ActUndo})
				if w.tags["latest"] != index[1] {
					t.Error("the undo did not bring the index back")
				}
			})
		})
	}
}

func TestResume(t *testing.T) {
	for _, tt := range []struct {
		name    string
		state   State
		kind    EntryKind
		tag     rune // what the moving tag names now
		req     Request
		resumes bool
		gives   bool // up the unfinished one
	}{
		{"the same words", Running, KindRollback, c, Request{Act: ActRun, To: Previous}, true, false},
		{"before the tag moved", Running, KindRollback, d, Request{Act: ActRun, To: Previous}, true, false},
		{"by its commit", FailedState, KindRollback, c, Request{Act: ActRun, To: commitOf(c)}, true, false},
		{"by a short commit", Interrupted, KindRollback, c, Request{Act: ActRun, To: commitOf(c)[:8]}, true, false},
		{"by its digest", Interrupted, KindRollback, c, Request{Act: ActRun, To: string(blob(commitOf(c)).Digest)}, true, false},
		{"another target", Interrupted, KindRollback, c, Request{Act: ActRun, To: commitOf(b)}, false, true},
		{"somebody pushed since", FailedState, KindRollback, a, Request{Act: ActRun, To: commitOf(c)}, false, true},
		{"retag after retag", TagMoved, KindRollback, c, Request{Act: ActRetag, To: Previous}, true, false},
		{"run after retag", TagMoved, KindRollback, c, Request{Act: ActRun, To: Previous}, true, false},
		{"run after restart", Restarted, KindRollback, c, Request{Act: ActRun, To: Previous}, true, false},
		{"restart after retag", TagMoved, KindRollback, c, Request{Act: ActRestart}, true, false},
		{"restart after something else", TagMoved, KindRollback, d, Request{Act: ActRestart}, false, false},
		{"closed", Closed, KindRollback, c, Request{Act: ActRun, To: commitOf(c)}, false, false},
		{"undone", Undone, KindRollback, c, Request{Act: ActRun, To: commitOf(c)}, false, false},
		{"an undo", Running, KindUndo, c, Request{Act: ActUndo}, true, false},
		{"undo of a half rollback", Running, KindRollback, c, Request{Act: ActUndo}, false, false},
		{"run over an undo", Running, KindUndo, c, Request{Act: ActRun, To: commitOf(b)}, false, true},
		{"a look", Running, KindRollback, c, Request{Act: ActLook}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.rolledBack(d, c, tt.state, time.Hour, func(e *Entry) { e.Kind = tt.kind })
				w.tags["latest"] = w.of(tt.tag)
				s := look(t, w, tt.req)
				if got := s.Resume != nil; got != tt.resumes {
					t.Errorf("resumes %t", got)
				}
				if got := s.Abandoned != nil; got != tt.gives {
					t.Errorf("abandons %t", got)
				}
				if tt.resumes {
					if p := Draw(s, "new"); p.ID != "earlier" || p.Resumes != "earlier" || p.stamp() != "earlier" || s.Target.Digest != w.of(c) {
						t.Errorf("plan %s to %s", p.ID, s.Target.Digest.Short())
					}
				}
			})
		})
	}
}

func TestVerifyTarget(t *testing.T) {
	for _, tt := range []struct {
		name      string
		state     State // "" for no record
		tag, want rune
	}{
		{"no record", "", d, d},
		{"mitigated", Mitigated, c, c},
		{"mitigated, and somebody pushed", Mitigated, a, c},
		{"tag moved", TagMoved, c, c},
		{"closed", Closed, c, c},
		{"closed, and deployed since", Closed, a, a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				if tt.state != "" {
					w.rolledBack(d, c, tt.state, time.Hour, nil)
				}
				w.tags["latest"] = w.of(tt.tag)
				if s := look(t, w, Request{Act: ActVerify}); s.Target.Digest != w.of(tt.want) {
					t.Errorf("%s (%s)", s.Target.Digest.Short(), s.Why)
				}
			})
		})
	}
	in(t, func(t *testing.T, w *world) {
		_, err := tryLook(w, Request{Act: ActVerify, To: Previous})
		exitIs(t, err, Usage)
		delete(w.tags, "latest")
		for _, act := range []Act{ActVerify, ActRestart} {
			_, err = tryLook(w, Request{Act: act})
			exitIs(t, err, Usage)
			says(t, err, "payments:latest does not exist")
		}
	})
}

func TestCandidates(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.tags["dddd"+strings.Repeat("0", 36)] = w.of(c) // a second tag, the same bits
		w.push("cache-abc", time.Now())                  // no version of the service
		w.images[w.of(b)].status = Archived
		w.push(commitOf('e'), time.Now().Add(time.Hour))
		w.edit(func(r *Record) {
			r.History = []Summary{
				{ID: "2", Kind: KindRollback, State: Closed, User: "eve", Reason: "slow", From: w.of(c), To: w.of(a), Started: epoch},
				{ID: "1", Kind: KindRollback, State: Undone, User: "eve", From: w.of(a), To: w.of(b)},
			}
		})
		s := look(t, w, Request{Act: ActLook, List: true})
		got := map[Digest]Candidate{}
		var order []Digest
		for _, c := range s.Candidates {
			got[c.Image.Digest] = c
			order = append(order, c.Image.Digest)
		}
		e := blob(commitOf('e')).Digest
		if !slices.Equal(order, []Digest{e, w.of(d), w.of(c), w.of(b), w.of(a)}) {
			t.Errorf("order %v", order)
		}
		for _, tt := range []struct {
			d                    Digest
			ineligible, evidence string
			good                 bool
		}{
			{e, "newer than the current image", "only pushed; nothing proves", false},
			{w.of(d), "current", "serves now on 3 ready pods", true},
			{w.of(c), "rolled back from on 2026-11-23 by eve: slow", "only pushed before the current image", false},
			{w.of(b), "archived: a pull answers 404", "only pushed before", false},
			{w.of(a), "", "ran before: proven in production on 2026-11-23 (rollback 2)", true},
		} {
			c := got[tt.d]
			if (c.Ineligible == "") != (tt.ineligible == "") || !strings.HasPrefix(c.Ineligible, tt.ineligible) || !strings.Contains(strings.Join(c.Evidence, "; "), tt.evidence) || c.KnownGood != tt.good {
				t.Errorf("%s: %q %v %t", c.Commit.Short(), c.Ineligible, c.Evidence, c.KnownGood)
			}
		}
		if len(got[w.of(c)].Image.Tags) != 2 {
			t.Errorf("tags %v", got[w.of(c)].Image.Tags)
		}
		if s = look(t, w, Request{Act: ActRun, To: Previous}); s.Target.Digest != w.of(a) {
			t.Errorf("previous is %s", s.Target.Digest.Short())
		}
	})
	in(t, func(t *testing.T, w *world) { // the older image that still serves goes before a newer one that does not
		w.workloads[0].pods[0].Containers[0].Digest = w.of(b)
		if s := look(t, w, Request{Act: ActRun, To: Previous}); s.Target.Digest != w.of(b) || !strings.Contains(s.Why, "older image that still serves on 1 pod") {
			t.Errorf("%s: %s", s.Target.Digest.Short(), s.Why)
		}
	})
}

func TestNoPrevious(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(w *world)
		says  string
	}{
		{"none older", func(w *world) { w.runs(a) }, "no image older than the current one carries a commit tag"},
		{"all archived", func(w *world) {
			for _, r := range "abc" {
				w.images[w.of(r)].status = Archived
			}
		}, "every older image is ruled out: 3 × archived"},
		{"being restored", func(w *world) {
			for _, r := range "abc" {
				w.images[w.of(r)].status = Activating
			}
		}, "3 × being restored"},
		{"the current image is not in the registry", func(w *world) {
			for _, p := range w.workloads[0].pods {
				p.Containers[0].Digest = some
			}
		}, "does not tell that one's time"},
		{"no times", func(w *world) {
			for _, r := range "abc" {
				w.images[w.of(r)].pushed = time.Time{}
			}
		}, "3 × the registry keeps no time for it"},
		{"expired", func(w *world) {
			w.repo.Lifecycle = []LifecycleRule{{Priority: 1, Tags: AnyImage, OlderThan: time.Hour}}
		}, "deletes it at its next run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tt.spoil(w)
				_, err := tryLook(w, Request{Act: ActRun, To: Previous})
				exitIs(t, err, Refused)
				says(t, err, "no previous image", tt.says, "rollback candidates --service payments --environment prod", NotChanged)
			})
		})
	}
}

func TestReadFails(t *testing.T) {
	for _, tt := range []struct {
		op   string
		kind CallKind
		exit Exit
	}{
		{"Repository", Expired, Failed}, {"Repository", NotFound, Usage}, {"Images", Throttled, Failed}, {"Manifests", Broken, Failed},
		{"Identity", Unreachable, Failed}, {"Inventory", Denied, Failed}, {"Read", Denied, Failed}, {"List", ServerFault, Failed},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			p := w.process("ann")
			p.faults = []*fault{{op: tt.op, do: refuse, kind: tt.kind}}
			_, err := p.run(Request{Act: ActRun, To: Previous})
			exitIs(t, err, tt.exit)
			says(t, err, string(tt.kind), NotChanged, "rollback doctor --service payments --environment prod")
		})
	}
	in(t, func(t *testing.T, w *world) {
		_, err := w.process("ann").run(Request{Scope: Scope{"Pay", "prod"}, Act: ActRun})
		exitIs(t, err, Usage)
	})
}

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{"0s": -time.Hour, "42s": 42 * time.Second, "1m5s": 65 * time.Second, "17m": 17*time.Minute + 5*time.Second, "3h20m": 200 * time.Minute, "3h": 3 * time.Hour, "12d": 12*24*time.Hour + time.Hour} {
		if got := Span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// The forge is asked what would be undone together with the registry, not after it: in fake time, waves can be counted. What
// is one call here are two in a row at GitHub, so a plan takes one wave more than this.
func TestForeseenInTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		req     Request
		prepare func(w *world, f *forge)
		waves   int // until all is known
		foresee int // the wave in which the forge is asked, the last time
		asked   int
	}{
		{"a commit", Request{Act: ActRun, To: commitOf(c)}, nil, 2, 2, 1},
		{"a commit, of two platforms", Request{Act: ActRun, To: strings.Repeat("5", 40)}, func(w *world, f *forge) {
			w.pushIndex(strings.Repeat("5", 40), time.Now().Add(-time.Hour))
			f.branch = slices.Insert(f.branch, 1, Change{Commit: Commit(strings.Repeat("5", 40))})
		}, 2, 2, 1},
		{"a digest", Request{Act: ActRun, To: string(blob(commitOf(b)).Digest)}, nil, 2, 2, 1},
		{"previous", toPrevious, nil, 3, 3, 1},
		{"by revert", Request{Act: ActRun, To: commitOf(c), Method: MethodRevert}, nil, 2, 2, 1},
		{"the pods run something else than the tag names", Request{Act: ActRun, To: commitOf(b)}, func(w *world, _ *forge) { w.tags["latest"] = w.of(c) }, 3, 3, 2},
		{"what is owed is paid meanwhile", Request{Act: ActRun, To: commitOf(b)}, func(w *world, f *forge) {
			mustRun(t, w.process("ann"), Request{Act: ActRun, To: commitOf(c)})
			f.land(f.pulls[0], time.Now())
			f.builds = nil
		}, 3, 3, 2},
		{"nothing to undo", Request{Act: ActRun, To: commitOf(d)}, nil, 1, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				if tt.prepare != nil {
					tt.prepare(w, f)
				}
				w.latency = time.Second
				p := w.process("ann")
				tt.req.Scope = scope
				began := time.Now()
				s, err := Look(t.Context(), p.world(), tt.req, began)
				if err != nil {
					t.Fatal(err)
				}
				if got := int(time.Since(began) / w.latency); got != tt.waves {
					t.Errorf("%d waves, want %d: %v", got, tt.waves, p.calls)
				}
				last := 0
				for _, c := range p.calls {
					if c.op == "Foresee" {
						last = 1 + int(c.at.Sub(began)/w.latency)
					}
				}
				if last != tt.foresee || p.asked("Foresee") != tt.asked {
					t.Errorf("the forge was asked %d times, at last in wave %d, want %d and %d", p.asked("Foresee"), last, tt.asked, tt.foresee)
				}
				if rng, known := s.undoing(); known != (s.Revert != nil) || known && s.Revert.Range != rng {
					t.Errorf("%s is undone, the forge told of %+v", rng, s.Revert)
				}
			})
		})
	}
}

// A registry that does not tell which tags an image has is asked for the commits that the record knows.
func TestUndoKnowsCommits(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.plain = true
		mustRun(t, w.process("ann"), Request{Act: ActRun, To: Previous})
		mustRun(t, w.process("ann"), Request{Act: ActUndo})
		last := w.stored().Last
		if last.From.Commit != Commit(commitOf('c')) || last.To.Commit != Commit(commitOf('d')) {
			t.Errorf("the undo leads from %q to %q", last.From.Commit, last.To.Commit)
		}
	})
}
