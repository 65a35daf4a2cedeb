package rollback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// open is what is still owed, each as "kind range or number, pull request, due"; due is in minutes since the start of the test.
func open(w *world) []string {
	var list []string
	for _, f := range w.stored().Open() {
		what := f.Range.String()
		if f.Of != 0 {
			what = fmt.Sprintf("of #%d", f.Of)
		}
		list = append(list, fmt.Sprintf("%s %s #%d due %s", f.Kind, what, f.PR, Span(f.Due.Sub(epochOf(w)))))
	}
	return list
}

// epochOf is when the fake time of a world begins.
func epochOf(*world) time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func wantOpen(t *testing.T, w *world, what string, want ...string) {
	t.Helper()
	if got := open(w); !slices.Equal(got, want) {
		t.Errorf("%s: owed %q, want %q", what, got, want)
	}
}

func to(c rune) Request { return Request{Act: ActRun, To: commitOf(c)} }

var undo = Request{Act: ActUndo, Accept: []string{"already-undone"}}

// A rollback on top of another one: one pull request takes out all that does not run any more, by the first deadline, and the
// first pull request is closed. Taken back, the first rollback owes again what it owed.
func TestSecondRollback(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  []*fault // at the first rollback
		second []*fault
		branch bool // whether the commits are known
		pr     int  // of the second
		closed bool
		next   string // after the undo
	}{
		{"both open", nil, nil, true, 11, true, "the revert of ccccccc..ddddddd is owed again, by 01:00 UTC; reopen its pull request: https://github.acme.example/acme/payments/pull/10"},
		{"the first was never opened", []*fault{{op: "Revert", do: refuse, kind: Unreachable, times: -1}}, nil, true, 10, false, "the revert of ccccccc..ddddddd is still owed, by 01:00 UTC: rollback revert --service payments --environment prod --to " + commitOf(c)},
		{"the second is not opened", nil, []*fault{{op: "Revert", do: refuse, kind: Unreachable, times: -1}}, true, 0, false, "the revert of ccccccc..ddddddd is still owed, by 01:00 UTC; merge https://github.acme.example/acme/payments/pull/10"},
		{"commits unread", nil, []*fault{{op: "Recent", do: refuse, kind: Denied, times: -1}}, false, 11, true, "is owed again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				p := w.process("ann")
				p.faults = tt.first
				mustRun(t, p, toPrevious)
				first := w.stored().Open()
				time.Sleep(20 * time.Minute)
				p = w.process("bob")
				p.faults = tt.second
				res := mustRun(t, p, to(b))
				wantOpen(t, w, "second", fmt.Sprintf("revert-pr bbbbbbb..ddddddd #%d due 1h", tt.pr))
				if tt.pr > 0 {
					last := f.pulls[len(f.pulls)-1]
					if last.Number != tt.pr || last.rng != (Range{Commit(commitOf(b)), Commit(commitOf(d))}) || !strings.HasPrefix(res.Next[0], "merge the revert by 01:00 UTC: "+last.URL) {
						t.Errorf("pull request #%d undoes %s; next %q", last.Number, last.rng, res.Next)
					}
				}
				if closed := f.pulls[0].Number == 10 && f.pulls[0].State == PullClosed; closed != tt.closed {
					t.Errorf("the first pull request is %s", f.pulls[0].State)
				}
				if tt.branch { // what is undone now, and not what was before
					if u := p.plan.Undoes; len(u) != 1 || u[0].Commit != Commit(commitOf(c)) {
						t.Errorf("undoes %+v", u)
					}
					if !slices.ContainsFunc(p.plan.Findings, func(f Finding) bool {
						return f.Code == "owed" && f.Severity == Info && strings.Contains(f.Text, "the revert of ccccccc..ddddddd is owed since rollback "+first[0].Rollback+", due in 39m") && strings.Contains(f.Text, "takes it in")
					}) {
						t.Errorf("findings %+v", p.plan.Findings)
					}
				}

				res = mustRun(t, w.process("ann"), undo)
				wantOpen(t, w, "undone", fmt.Sprintf("revert-pr ccccccc..ddddddd #%d due 1h", first[0].PR))
				if again := w.stored().Open()[0]; again.Rollback != first[0].Rollback || !again.Due.Equal(first[0].Due) || again.URL != first[0].URL {
					t.Errorf("owed %+v, was %+v", again, first[0])
				}
				next := strings.Join(res.Next, "\n")
				if !strings.Contains(next, tt.next) || tt.pr > 0 && !strings.Contains(next, fmt.Sprintf("close it, or it undoes the code all the same: https://github.acme.example/acme/payments/pull/%d", tt.pr)) {
					t.Errorf("next %s", next)
				}
				mustRun(t, w.process("ann"), undo) // and the undo of the undo
				wantOpen(t, w, "undone twice", fmt.Sprintf("revert-pr bbbbbbb..ddddddd #%d due 1h", tt.pr))
				mustRun(t, w.process("ann"), undo) // which can itself be undone
				wantOpen(t, w, "undone three times", fmt.Sprintf("revert-pr ccccccc..ddddddd #%d due 1h", first[0].PR))
				mustRun(t, w.process("ann"), undo)
				wantOpen(t, w, "undone four times", fmt.Sprintf("revert-pr bbbbbbb..ddddddd #%d due 1h", tt.pr))
			})
		})
	}
}

// What becomes of a debt, by where production goes next.
func TestDebtsMeet(t *testing.T) {
	merge := func(w *world, f *forge) { // by somebody, without telling the record
		f.land(f.pulls[0], time.Now())
		f.builds = nil
	}
	for _, tt := range []struct {
		name    string
		first   rune
		between func(w *world, f *forge)
		second  rune
		want    []string
		pulls   string
		next    string
	}{
		{"nothing in between", 'b', nil, 'a', []string{"revert-pr aaaaaaa..ddddddd #11 due 1h"}, "#10 closed, #11 open", "merge the revert by 01:00 UTC"},
		{"merged unseen", 'c', merge, 'b', []string{"revert-pr bbbbbbb..ccccccc #11 due 1h10m"}, "#10 merged, #11 open", "merge the revert by 01:10 UTC"},
		{"half of the way forward", 'b', nil, 'c', []string{"revert-pr ccccccc..ddddddd #11 due 1h"}, "#10 closed, #11 open", "merge the revert by 01:00 UTC"},
		{"all the way forward", 'c', nil, 'd', nil, "#10 open", "close it, or it undoes the code all the same: https://github.acme.example/acme/payments/pull/10"},
		{"a deploy, and back over it", 'c', func(w *world, f *forge) { ship(w, f, 'e') }, 'b', []string{"revert-pr bbbbbbb..eeeeeee #11 due 1h"}, "#10 closed, #11 open", "merge the revert by 01:00 UTC"},
		{"a deploy, and back to it", 'c', func(w *world, f *forge) { ship(w, f, 'e'); ship(w, f, 'f') }, 'e',
			[]string{"revert-pr ccccccc..ddddddd #10 due 1h", "revert-pr eeeeeee..fffffff #11 due 1h12m"}, "#10 open, #11 open", "the revert of ccccccc..ddddddd is still owed, by 01:00 UTC; merge https://github.acme.example/acme/payments/pull/10"},
		{"closed by a person", 'c', func(_ *world, f *forge) { f.pulls[0].State = PullClosed }, 'b', []string{"revert-pr bbbbbbb..ddddddd #11 due 1h"}, "#10 closed, #11 open", "merge the revert by 01:00 UTC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				mustRun(t, w.process("ann"), to(tt.first))
				time.Sleep(10*time.Minute - time.Since(epochOf(w)))
				if tt.between != nil {
					tt.between(w, f)
				}
				req := to(tt.second)
				req.Accept = []string{"marked-bad", "build-in-flight"}
				res := mustRun(t, w.process("bob"), req)
				wantOpen(t, w, "after", tt.want...)
				var pulls []string
				for _, p := range f.pulls {
					pulls = append(pulls, fmt.Sprintf("#%d %s", p.Number, p.State))
				}
				if got := strings.Join(pulls, ", "); got != tt.pulls {
					t.Errorf("pull requests %s, want %s", got, tt.pulls)
				}
				if next := strings.Join(res.Next, "\n"); !strings.Contains(next, tt.next) || strings.Contains(next, "within the hour") {
					t.Errorf("next %s", next)
				}
			})
		})
	}
}

// ship is what a deploy does: a commit on the branch, its image, the tag, the pods.
func ship(w *world, f *forge, c rune) {
	f.branch = slices.Insert(f.branch, 0, Change{Commit: Commit(commitOf(c)), Title: "change " + string(c), Author: "dev-" + string(c), PR: int(c), Parents: []Commit{f.branch[0].Commit}})
	d := w.push(commitOf(c), time.Now())
	w.tags[w.place.Tag] = d
	for _, o := range w.workloads {
		o.Stamp, o.at = "deploy-"+string(c), time.Now()
		o.changes++
		o.Rollout.Generation++
		for range 20 {
			w.step(o)
		}
	}
	time.Sleep(time.Minute)
}

// Without a forge a rollback cannot say what is owed; but what was owed before is owed for all that was taken away since.
func TestDebtWithoutForge(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		mustRun(t, w.process("ann"), toPrevious)
		w.forge = nil
		res := mustRun(t, w.process("bob"), to(b))
		wantOpen(t, w, "second", "revert-pr bbbbbbb..ddddddd #0 due 1h")
		if next := strings.Join(res.Next, "\n"); !strings.Contains(next, "within the hour") {
			t.Errorf("next %s", next)
		}
	})
}

// The undo of a rollback whose revert is merged: the branch holds the revert, so the next deploy ships it again.
func TestUndoOfMergedRevert(t *testing.T) {
	const command = "the merged revert #10 is still in the branch, and the next deploy ships it again; take it back by "
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, w *world, f *forge)
	}{
		{"by revert", func(t *testing.T, w *world, f *forge) {
			w.place.Followed.AutoMerge = true
			mustRun(t, w.process("ann"), byMerge)
		}},
		{"by tag, merged at once", func(t *testing.T, w *world, f *forge) {
			w.place.Followed.AutoMerge, f.webhook = true, false
			mustRun(t, w.process("ann"), toPrevious)
		}},
		{"by tag, merged unseen", func(t *testing.T, w *world, f *forge) {
			f.webhook = false
			mustRun(t, w.process("ann"), toPrevious)
			f.land(f.pulls[0], time.Now())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inForge(t, func(t *testing.T, w *world, f *forge) {
				tt.prepare(t, w, f)
				wantNothing := func(what string) {
					t.Helper()
					for _, l := range open(w) {
						if !strings.HasPrefix(l, "revert-pr ccccccc..ddddddd #10") || tt.name != "by tag, merged unseen" {
							t.Errorf("%s: owed %q", what, l)
						}
					}
				}
				wantNothing("before")
				res := mustRun(t, w.process("ann"), undo)
				next := strings.Join(res.Next, "\n")
				if !strings.HasPrefix(next, command) || !strings.Contains(next, "rollback reland --service payments --environment prod --pr 10 --reason 'errors'") || strings.Count(next, "\n") > 0 {
					t.Errorf("next %s", next)
				}
				owed := w.stored().Open()
				if len(owed) != 1 || owed[0].Kind != OwedReland || owed[0].Of != 10 || !owed[0].Due.Equal(w.stored().Last.StartedAt.Add(time.Hour)) || owed[0].Rollback != w.stored().Last.ID {
					t.Fatalf("owed %+v", owed)
				}

				// Taken back in its turn, the revert is right again.
				res = mustRun(t, w.process("ann"), undo)
				wantNothing("undone twice")
				if len(w.stored().Open()) > 0 || len(res.Next) > 0 {
					t.Errorf("owed %v, next %q", open(w), res.Next)
				}
				mustRun(t, w.process("ann"), undo) // and wrong once more
				if owed := w.stored().Open(); len(owed) != 1 || owed[0].Of != 10 {
					t.Fatalf("owed %+v", owed)
				}

				// The bad code rolled back once more: the revert that is in the branch is the one that is needed.
				req := to(c)
				req.Accept = []string{"marked-bad"}
				res = mustRun(t, w.process("bob"), req)
				if len(w.stored().Open()) > 0 || len(f.pulls) != 1 {
					t.Errorf("owed %v, %d pull requests", open(w), len(f.pulls))
				}
				for _, n := range res.Next {
					if strings.Contains(n, "reland") || strings.Contains(n, "revert") {
						t.Errorf("next %q", res.Next)
					}
				}
				mustRun(t, w.process("ann"), undo)
				if owed := w.stored().Open(); len(owed) != 1 || owed[0].Of != 10 || owed[0].Kind != OwedReland {
					t.Errorf("owed %+v", owed)
				}
			})
		})
	}
}

// A revert that is merged although its rollback was undone, or before anybody saw that, has to be taken back as well.
func TestMergedInSpiteOfUndo(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		f.webhook = false
		mustRun(t, w.process("ann"), toPrevious)
		mustRun(t, w.process("ann"), undo)
		if len(w.stored().Open()) > 0 {
			t.Errorf("owed %v", open(w))
		}
		f.land(f.pulls[0], time.Now())
		res := mustRun(t, w.process("bob"), Request{Act: ActVerify})
		if len(res.Next) != 1 || !strings.Contains(res.Next[0], "the reland of #10 is still owed") || !strings.Contains(res.Next[0], "rollback reland --service payments --environment prod --pr 10 ") {
			t.Errorf("next %q", res.Next)
		}
		rec := w.stored() // which nobody has told: `rollback reland --pr 10` finds out by itself
		opened := RevertResult{Outcome: RevertOpened, PR: PullRequest{Number: 21, URL: "https://x/21", State: PullOpen}}
		if learned := rec.Learn(opened, 10, true); len(learned) != 1 || learned[0].Of != 10 || learned[0].PR != 21 || learned[0].Rollback != rec.Last.ID {
			t.Errorf("learned %+v", learned)
		}
		mustRun(t, w.process("ann"), undo) // then the revert is right again
		if len(w.stored().Open()) > 0 {
			t.Errorf("owed %v", open(w))
		}
	})
}

// A reland that is merged pays; taken back, its branch has to be reverted again.
func TestRelandPaid(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge, f.webhook = true, false
		mustRun(t, w.process("ann"), toPrevious)
		mustRun(t, w.process("ann"), undo)
		w.edit(func(r *Record) { // as `rollback reland --pr 10` does
			res := RevertResult{Outcome: RevertOpened, Range: Range{Commit(commitOf(d)), mergeCommit(10)}, PR: PullRequest{Number: 21, URL: "https://x/21", State: PullOpen}}
			if learned := r.Learn(res, 10, true); len(learned) != 1 || learned[0].PR != 21 || learned[0].Done {
				t.Errorf("learned %+v", learned)
			}
		})
		f.pulls = append(f.pulls, &pull{PullRequest: PullRequest{Number: 21, URL: "https://x/21", State: PullMerged}})
		res := mustRun(t, w.process("ann"), undo)
		owed := w.stored().Open()
		if len(owed) != 1 || owed[0].Kind != OwedRevert || owed[0].Of != 21 || !strings.Contains(strings.Join(res.Next, "\n"), "rollback revert --service payments --environment prod --pr 21 ") {
			t.Errorf("owed %+v, next %q", owed, res.Next)
		}
	})
}

// A pull request that was opened or merged by hand pays what it undoes, and nothing else.
func TestLearn(t *testing.T) {
	line := func(cs string) []Change {
		var list []Change
		for i, c := range cs {
			ch := Change{Commit: Commit(commitOf(c))}
			if i+1 < len(cs) {
				ch.Parents = []Commit{Commit(commitOf(rune(cs[i+1])))}
			}
			list = append(list, ch)
		}
		return list
	}
	between := func(good, bad rune) Range { return Range{Commit(commitOf(good)), Commit(commitOf(bad))} }
	debt := FollowUp{Kind: OwedRevert, Rollback: "r", Range: between('c', 'd')}
	short := debt
	short.Range = Range{"cccccccc", "dddddddd"}
	of := FollowUp{Kind: OwedRevert, Rollback: "r", Of: 4}
	reland := FollowUp{Kind: OwedReland, Rollback: "r", Of: 10}
	pr := PullRequest{Number: 12, URL: "https://x/12", State: PullOpen}
	merged := pr
	merged.State = PullMerged
	for _, tt := range []struct {
		name   string
		owed   FollowUp
		res    RevertResult
		of     int
		reland bool
		pr     int
		done   bool
	}{
		{"the range", debt, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, false, 12, false},
		{"the range, of short tags", short, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, false, 12, false},
		{"adopted", debt, RevertResult{Outcome: RevertAdopted, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, false, 12, false},
		{"merged", debt, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: merged}, 0, false, 12, true},
		{"already", debt, RevertResult{Outcome: RevertAlready, Range: between('c', 'd'), Undoes: line("d"), PR: merged}, 0, false, 12, true},
		{"already, nobody knows how", debt, RevertResult{Outcome: RevertAlready, Range: between('c', 'd'), Undoes: line("d")}, 0, false, 0, true},
		{"more at both ends", debt, RevertResult{Outcome: RevertOpened, Range: between('a', 'e'), Undoes: line("edcb"), PR: pr}, 0, false, 12, false},
		{"more after it", short, RevertResult{Outcome: RevertOpened, Range: between('c', 'f'), Undoes: line("fed"), PR: pr}, 0, false, 12, false},
		{"less", FollowUp{Kind: OwedRevert, Range: between('a', 'd')}, RevertResult{Outcome: RevertOpened, Range: between('b', 'd'), Undoes: line("dc"), PR: pr}, 0, false, 0, false},
		{"something else", debt, RevertResult{Outcome: RevertOpened, Range: between('b', 'c'), Undoes: line("c"), PR: pr}, 0, false, 0, false},
		{"a range that is not listed", debt, RevertResult{Outcome: RevertOpened, Range: between('a', 'e'), Undoes: line("e"), More: 3, PR: pr}, 0, false, 0, false},
		{"dry run", debt, RevertResult{Outcome: RevertPlanned, Range: between('c', 'd'), Undoes: line("d")}, 0, false, 0, false},
		{"no range known", FollowUp{Kind: OwedRevert}, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, false, 0, false},
		{"a reland", debt, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, true, 0, false},
		{"the reland", reland, RevertResult{Outcome: RevertOpened, Range: between('d', 'e'), Undoes: line("e"), PR: pr}, 10, true, 12, false},
		{"another reland", reland, RevertResult{Outcome: RevertOpened, Range: between('d', 'e'), Undoes: line("e"), PR: pr}, 9, true, 0, false},
		{"of a pull request", of, RevertResult{Outcome: RevertOpened, Range: between('d', 'e'), Undoes: line("e"), PR: merged}, 4, false, 12, true},
		{"void", FollowUp{Kind: OwedRevert, Range: between('c', 'd'), Void: "u"}, RevertResult{Outcome: RevertOpened, Range: between('c', 'd'), Undoes: line("d"), PR: pr}, 0, false, 0, false},
	} {
		r := Record{Owed: []FollowUp{tt.owed}}
		learned := r.Learn(tt.res, tt.of, tt.reland)
		if f := r.Owed[0]; f.PR != tt.pr || f.Done != tt.done || (len(learned) == 1) != (tt.pr != 0 || tt.done) {
			t.Errorf("%s: %+v, learned %+v", tt.name, f, learned)
		}
		if again := r.Learn(tt.res, tt.of, tt.reland); len(again) > 0 {
			t.Errorf("%s: learned twice: %+v", tt.name, again)
		}
	}
}

// What is over is forgotten when nothing hangs on it, and never more than the limit is kept.
func TestPruned(t *testing.T) {
	list := []FollowUp{
		{Kind: OwedRevert, Rollback: "1", Done: true},
		{Kind: OwedRevert, Rollback: "2", Void: "u"},
		{Kind: OwedRevert, Rollback: "3"},
		{Kind: OwedRevert, Rollback: "4", ReplacedBy: "6"},
		{Kind: OwedRevert, Rollback: "5", Void: "7"},
		{Kind: OwedRevert, Rollback: "6"},
		{Kind: OwedRevert, Rollback: "7", Done: true},
	}
	var ids []string
	for _, f := range pruned(list, "7", nil) {
		ids = append(ids, f.Rollback)
	}
	if got := strings.Join(ids, ""); got != "34567" {
		t.Errorf("kept %s", got)
	}
	var many []FollowUp
	for i := range 2 * OwedLimit {
		many = append(many, FollowUp{Kind: OwedRevert, Rollback: fmt.Sprint(i)})
	}
	if got := pruned(many, "x", nil); len(got) != OwedLimit || got[OwedLimit-1].Rollback != fmt.Sprint(2*OwedLimit-1) {
		t.Errorf("%d kept, the last is %+v", len(got), got[len(got)-1])
	}
}

// Somebody else changes the debts while a run is at work: both keep their word.
func TestDebtsOfTwoWriters(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		told := false
		other := FollowUp{Kind: OwedReland, Rollback: "elsewhere", Of: 3, Due: epochOf(w).Add(time.Hour)}
		w.before = func(_ *process, op string) {
			if op == "Observe" && !told {
				told = true
				w.edit(func(r *Record) { r.Owed = append(r.Owed, other) })
			}
		}
		mustRun(t, w.process("ann"), toPrevious)
		wantOpen(t, w, "both", "reland-pr of #3 #0 due 1h", "revert-pr ccccccc..ddddddd #10 due 1h")
	})
}

// Two rollbacks and the undo of the second, disturbed at every call: the same debts in the end.
func TestSecondRollbackInterruptedAnywhere(t *testing.T) {
	play(t, story{name: "two rollbacks and an undo, with a forge", prepare: func(w *world) { w.forged() }, changes: 3, req: []Request{to(c), to(b), {Act: ActUndo}}, after: func(w *world) {
		w.edit(func(r *Record) {
			for i := range r.Owed {
				f := &r.Owed[i]
				if f.PR != 0 || !f.open(r.Owed) {
					continue
				}
				var older []int // a person closes what is replaced
				for _, h := range r.Owed {
					if h.ReplacedBy == f.Rollback {
						older = append(older, h.PR)
					}
				}
				res, err := w.forge.revert(RevertRequest{Range: f.Range, Supersedes: older}) // as it says: rollback revert
				if err != nil {
					panic(err)
				}
				f.PR, f.URL = res.PR.Number, res.PR.URL
			}
		})
	}}, 4)
}

// A revert that was to be closed when its rollback was undone is not forgotten over the next rollback: merged all the same, it has to
// be taken back.
func TestNeedlessOutlivesRollback(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		mustRun(t, w.process("ann"), toPrevious)
		mustRun(t, w.process("ann"), undo)
		ship(w, f, 'e')
		mustRun(t, w.process("bob"), to(d))
		if list := w.stored().Needless(); len(list) != 1 || list[0].PR != 10 {
			t.Fatalf("needless %+v of %+v", list, w.stored().Owed)
		}
		f.land(f.pulls[0], time.Now())
		f.builds = nil
		ship(w, f, 'f')
		next := to(e)
		next.Accept = []string{"marked-bad"}
		mustRun(t, w.process("bob"), next)
		if !slices.ContainsFunc(w.stored().Open(), func(f FollowUp) bool { return f.Kind == OwedReland && f.Of == 10 }) {
			t.Errorf("owed %+v", w.stored().Owed)
		}
	})
	// Not where the next rollback needs that very revert, nor when it was closed.
	for _, state := range []PullState{PullOpen, PullClosed} {
		inForge(t, func(t *testing.T, w *world, f *forge) {
			mustRun(t, w.process("ann"), toPrevious)
			mustRun(t, w.process("ann"), undo)
			next := to(c)
			next.Accept = []string{"marked-bad"}
			if f.pulls[0].State = state; state == PullClosed {
				ship(w, f, 'e')
				next = to(d)
			}
			mustRun(t, w.process("bob"), next)
			if list := w.stored().Needless(); len(list) > 0 {
				t.Errorf("%s: needless %+v", state, list)
			}
		})
	}
}

// A debt that a step forward makes needless goes and comes with each undo of that step, and of an undo.
func TestUndoneAgainAndAgain(t *testing.T) {
	list, last := []FollowUp{{Kind: OwedRevert, Rollback: "back", PR: 10, Void: "forward"}}, "forward"
	for i, by := range []string{"u1", "u2", "u3", "u4"} {
		list = undone(list, last, by, epoch)
		if open := len(Record{Owed: list}.Open()); open != (i+1)%2 {
			t.Errorf("after %s: %+v", by, list)
		}
		last = by
	}
	list[0].Void, list[0].Stands, list[0].Done = "", last, true // merged while it stood
	if list = undone(list, last, "u5", epoch); len(list) != 2 || !list[1].open(list) || list[1].Kind != OwedReland || list[1].Of != 10 {
		t.Errorf("merged: %+v", list)
	}
}
