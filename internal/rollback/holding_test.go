package rollback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// shippedWith holds the end of a rollback by revert whose image is that of a later commit.
func shippedWith(t *testing.T, w *world, f *forge, res *Result, built Commit, along ...Commit) {
	t.Helper()
	image := w.tags[string(built)]
	if image == "" || res.Exit != Done || res.To.Digest != image || !strings.Contains(res.Production, "proven: every pod runs "+image.Short()) {
		t.Errorf("result %+v", res)
	}
	if want := "which undoes ddddddd (" + w.of(d).Short() + "), with " + plural(len(along), "later commit", "later commits") + "; proven on 3 pods"; !strings.Contains(res.Outcome, want) {
		t.Errorf("outcome %q, want %q", res.Outcome, want)
	}
	e := w.stored().Last
	if m := e.Merge; e.State != Closed || m.Commit != mergeCommit(10) || m.Built != built || !slices.Equal(m.Along, along) || e.Shipped == nil || e.Shipped.Digest != image {
		t.Errorf("record %+v", e)
	}
}

const (
	e = 'e'
	g = 'f'
)

// One build of several merges: it contains the revert, so it counts, and what ships along is said.
func TestByMergeBuildOfSeveral(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world, f *forge)
	}{
		{"built by the push", nil},
		{"the queue does not tell", func(_ *world, f *forge) { f.unreadQueue, f.queued = true, 10*time.Minute }},
		{"the job could be started with a commit", func(w *world, f *forge) {
			w.place.Followed.CommitParameter, f.unreadQueue, f.queued = "COMMIT", true, 10*time.Minute
		}},
		{"no CI system", func(w *world, f *forge) { w.place.Followed.Job, f.takes = "", time.Minute }},
		{"the list of commits is behind", func(w *world, f *forge) {
			w.place.Followed.CommitParameter, f.behind = "COMMIT", 3
		}},
		{"an exact build that the next push aborted", func(w *world, f *forge) {
			f.batch = ""
			w.before = func(_ *process, op string) {
				if op != "Newest" || len(f.builds) != 1 || f.builds[0].Over() {
					return
				}
				f.builds[0].State, f.builds[0].Result = BuildFinished, "ABORTED"
				f.commit(Commit(commitOf(e)), "change e", time.Now())
				f.commit(Commit(commitOf(g)), "change f", time.Now())
				f.start(Commit(commitOf(g)), "", time.Now())
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				f.batch = "ef"
				reads := 4
				if tt.prepare != nil {
					tt.prepare(w, f)
					reads += f.behind
				}
				p := w.process("ann")
				res := mustRun(t, p, byMerge)
				shippedWith(t, w, f, res, Commit(commitOf(g)), Commit(commitOf(g)), Commit(commitOf(e)))
				untouched(t, p)
				notes := strings.Join(p.notes, "\n")
				want := "built is fffffff, which contains the merge commit " + mergeCommit(10).Short() + "; 2 later commits ship with it:\n  fffffff change f (dev-f)\n  eeeeeee change e (dev-e)"
				if strings.Count(notes, want) != 1 {
					t.Errorf("notes %s", notes)
				}
				if p.asked("Start") > 0 {
					t.Errorf("started %d builds", p.asked("Start"))
				}
				if w.place.Followed.Job != "" && p.asked("Recent") > reads {
					t.Errorf("the commits were read %d times", p.asked("Recent"))
				}
			})
		})
	}
}

// The build of the merge has failed, and somebody has asked for it again: that one may be it, so it is waited for.
func TestByMergeBuiltAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		queued time.Duration
		exit   Exit
	}{
		{"it succeeds", 10 * time.Minute, Done},
		{"it never begins", 3 * time.Hour, Pending},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				f.unreadQueue, f.result = true, "FAILURE"
				w.before = func(_ *process, op string) {
					if op == "Newest" && len(f.builds) == 1 && f.builds[0].Over() {
						f.result, f.queued = "SUCCESS", tt.queued
						f.start(mergeCommit(10), "", time.Now())
					}
				}
				_, err := w.process("ann").run(byMerge) // sees the first one fail
				exitIs(t, err, Failed)
				res, err := w.process("ann").run(byMerge)
				if tt.exit == Done && err == nil {
					shipped(t, w, f, res, 10)
				} else {
					exitIs(t, err, tt.exit)
					says(t, err, "no build that succeeded of "+mergeCommit(10).Short()+" in job deploy/payments yet; deploy/payments (queue item 101) is queued and may hold it")
				}
				if len(f.builds) != 2 {
					t.Errorf("%d builds", len(f.builds))
				}
			})
		})
	}
}

// A build that holds the revert and what takes it back is no rollback.
func TestByMergeTakenBack(t *testing.T) {
	inMerge(t, func(t *testing.T, w *world, f *forge) {
		w.before = func(_ *process, op string) {
			if op == "Newest" && len(f.builds) == 0 {
				f.branch[FindChange(f.branch, mergeCommit(10))].Title = `Revert "change d"`
				f.commit(Commit(commitOf(e)), `Reapply "change d" (#11)`, time.Now())
				f.start(Commit(commitOf(e)), "", time.Now())
			}
		}
		f.webhook = false
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Failed)
		says(t, err, "holds the revert "+mergeCommit(10).Short()+", and also eeeeeee", "which takes it back", "--method retag", "not changed; the revert is merged as")
	})
}

// Never a second build while one is in flight that may hold the merge, and never one that provably does not.
func TestByMergeNeverTwice(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []*fault
		build  func(f *forge) *ciBuild
		exit   Exit
		starts int
		says   string
	}{
		{"one waits, and does not tell what for", nil, func(f *forge) *ciBuild {
			f.unreadQueue, f.queued = true, 3*time.Hour
			return f.start(Commit(commitOf(e)), "", time.Now())
		}, Pending, 0, "deploy/payments (queue item 100) is queued and may hold it"},
		{"of an older commit", nil, func(f *forge) *ciBuild { return f.start(Commit(commitOf(b)), "", time.Now()) }, Done, 1, ""},
		{"of another branch", nil, func(f *forge) *ciBuild { return f.start("0123456789012345678901234567890123456789", "", time.Now()) }, Done, 1, ""},
		{"of another branch, and the commits cannot be read", []*fault{{op: "Recent", do: refuse, kind: Denied, times: -1}}, func(f *forge) *ciBuild {
			f.takes = 3 * time.Hour
			return f.start("0123456789012345678901234567890123456789", "", time.Now())
		}, Pending, 0, "may hold it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inMerge(t, func(t *testing.T, w *world, f *forge) {
				f.webhook, f.idle, f.keepsTag = false, false, false
				w.place.Followed.CommitParameter = "COMMIT"
				p := w.process("ann")
				p.faults = tt.faults
				w.before = func(_ *process, op string) {
					if op == "Newest" && len(f.builds) == 0 {
						tt.build(f)
					}
				}
				_, err := p.run(Request{Act: ActRun, To: commitOf(c), Method: MethodRevert})
				if tt.exit != Done {
					exitIs(t, err, tt.exit)
					says(t, err, tt.says)
				} else if err != nil {
					t.Error(err)
				}
				if p.asked("Start") != tt.starts {
					t.Errorf("started %d", p.asked("Start"))
				}
			})
		})
	}
}

func TestHolders(t *testing.T) {
	line := func(cs string) []Change {
		var list []Change
		for _, c := range cs {
			list = append(list, Change{Commit: Commit(commitOf(c))})
		}
		return list
	}
	build := func(n int, state BuildState, result string, commits ...rune) Build {
		b := Build{Number: n, State: state, Result: result}
		for _, c := range commits {
			b.Commits = append(b.Commits, Commit(commitOf(c)))
		}
		return b
	}
	ok := func(n int, commits ...rune) Build { return build(n, BuildFinished, "SUCCESS", commits...) }
	bad := func(n int, commits ...rune) Build { return build(n, BuildFinished, "FAILURE", commits...) }
	runs := func(n int, commits ...rune) Build { return build(n, BuildRunning, "", commits...) }
	by := func(n int, c string) Build {
		return Build{Number: n, State: BuildQueued, Parameters: map[string]string{"COMMIT": c}}
	}
	for _, tt := range []struct {
		name    string
		builds  []Build
		line    string
		want    string // numbers of the builds, the best first, with how many later commits
		perhaps string
	}{
		{"none", nil, "dcba", "", ""},
		{"exact", []Build{ok(2, 'b'), ok(1, 'a')}, "dcba", "2+0", ""},
		{"exact, without the line", []Build{ok(2, 'b'), ok(1, 'a')}, "", "2+0", ""},
		{"the newest exact", []Build{runs(3, 'b'), ok(2, 'b')}, "", "3+0 2+0", ""},
		{"later", []Build{ok(2, 'd'), ok(1, 'a')}, "dcba", "2+2", ""},
		{"exact before later", []Build{ok(3, 'd'), ok(2, 'b')}, "dcba", "2+0 3+2", ""},
		{"the fewest later", []Build{ok(4, 'd'), runs(3, 'c'), ok(2, 'a')}, "dcba", "3+1 4+2", ""},
		{"later before a failed exact", []Build{ok(3, 'd'), bad(2, 'b')}, "dcba", "3+2 2+0", ""},
		{"all failed: exact first", []Build{bad(3, 'd'), bad(2, 'b')}, "dcba", "2+0 3+2", ""},
		{"a failed later", []Build{bad(3, 'd')}, "dcba", "3+2", ""},
		{"a library besides", []Build{ok(3, 'f', 'd')}, "dcba", "3+2", ""},
		{"older or elsewhere", []Build{runs(3, 'a'), runs(2, 'f')}, "dcba", "", ""},
		{"the line does not reach", []Build{runs(3, 'd'), ok(2, 'c')}, "dc", "", "3"},
		{"no line", []Build{runs(3, 'd'), ok(2, 'c')}, "", "", "3"},
		{"not checked out yet", []Build{runs(3), {Number: 2, State: BuildQueued}, bad(1)}, "dcba", "", "3 2"},
		{"cancelled", []Build{{Number: 2, State: BuildCancelled}}, "dcba", "", ""},
		{"told by its parameter", []Build{by(3, commitOf('d')), by(2, commitOf('a')), by(1, commitOf('b')[:9])}, "dcba", "1+0 3+2", ""},
		{"a parameter that is no commit", []Build{by(3, "main")}, "dcba", "", "3"},
	} {
		found, perhaps := holders(tt.builds, Commit(commitOf('b')), "COMMIT", line(tt.line))
		var got, may []string
		for _, h := range found {
			got = append(got, fmt.Sprintf("%d+%d", h.Number, len(h.Along)))
			if i := FindChange(line(tt.line), h.Commit); i >= 0 && len(h.Along) > 0 && h.Along[0].Commit != h.Commit {
				t.Errorf("%s: %+v", tt.name, h)
			}
		}
		for _, b := range perhaps {
			may = append(may, fmt.Sprint(b.Number))
		}
		if g, m := strings.Join(got, " "), strings.Join(may, " "); g != tt.want || m != tt.perhaps {
			t.Errorf("%s: %q and perhaps %q, want %q and %q", tt.name, g, m, tt.want, tt.perhaps)
		}
	}
}

func TestTakenBack(t *testing.T) {
	for _, tt := range []struct {
		revert, later string
		want          bool
	}{
		{`Revert "Round up"`, `Reapply "Round up"`, true},
		{`Revert "Round up" (#12)`, `Reapply "Round up" (#13)`, true},
		{`Revert "Round up" (#12)`, `Revert "Revert "Round up"" (#13)`, true},
		{`Revert "Round up"`, `Revert "Revert "Round up""`, true},
		{`Revert "Round up" and 2 commits before it`, `Revert "Revert "Round up" and 2 commits before it"`, true},
		{`Back out rounding (#12)`, `Revert "Back out rounding" (#13)`, true},
		{`Revert "Round up"`, `Reapply "Round down"`, false},
		{`Revert "Round up"`, `Revert "Round up"`, false},
		{`Revert "Round up"`, `Round up`, false},
		{`Round up`, `Reapply "Round up"`, false},
	} {
		if c, got := takenBack(Change{Title: tt.revert}, []Change{{Title: "x"}, {Title: tt.later}}); got != tt.want || got && c.Title != tt.later {
			t.Errorf("%s then %s: %t", tt.revert, tt.later, got)
		}
	}
}
