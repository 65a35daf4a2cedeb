package rollback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is rolled back stage by stage is owed like any other rollback: the record says so from the move of the tag on, and
// each stage says what to type.
func TestStagesOwe(t *testing.T) {
	inForge(t, func(t *testing.T, w *world, f *forge) {
		res := mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		command := "rollback revert --service payments --environment prod --to " + commitOf(c) + " --from " + commitOf(d) + " --reason 'errors'"
		if last := res.Next[len(res.Next)-1]; last != "the code is owed, by 01:00 UTC: "+command {
			t.Errorf("next %q", res.Next)
		}
		if o := w.owed(); o == nil || o.Done || o.PR != 0 || o.Range != (Range{Commit(commitOf(c)), Commit(commitOf(d))}) || !o.Due.Equal(w.stored().Last.StartedAt.Add(time.Hour)) || o.Rollback != w.stored().Last.ID {
			t.Fatalf("owed %+v", o)
		}
		_, err := w.process("ann").run(Request{Act: ActVerify})
		exitIs(t, err, Unverified)
		says(t, err, "the tag was moved and no pod restarted since: rollback restart --service payments --environment prod")
		mustRun(t, w.process("ann"), Request{Act: ActRestart})
		res = mustRun(t, w.process("ann"), Request{Act: ActVerify})
		if len(res.Next) != 1 || res.Next[0] != "the revert of ccccccc..ddddddd is still owed, by 01:00 UTC: "+command {
			t.Errorf("next %q", res.Next)
		}
		// The pull request is opened by hand, and the record learns of it.
		opened, err := f.revert(RevertRequest{Range: w.owed().Range})
		if err != nil {
			t.Fatal(err)
		}
		w.edit(func(r *Record) { r.Learn(opened, 0, false) })
		if res = mustRun(t, w.process("ann"), Request{Act: ActVerify}); len(res.Next) != 1 || res.Next[0] != "the revert of ccccccc..ddddddd is still owed, by 01:00 UTC; merge "+opened.PR.URL {
			t.Errorf("next %q", res.Next)
		}
		f.land(f.pulls[0], time.Now())
		if res = mustRun(t, w.process("ann"), Request{Act: ActVerify}); len(res.Next) != 0 {
			t.Errorf("next %q", res.Next)
		}
	})
	inForge(t, func(t *testing.T, w *world, _ *forge) { // taken back, there is nothing to revert
		mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		mustRun(t, w.process("ann"), Request{Act: ActUndo})
		if open := w.stored().Open(); len(open) != 0 {
			t.Errorf("owed %+v", open)
		}
	})
	inForge(t, func(t *testing.T, w *world, _ *forge) { // the whole rollback goes on with the stage, and owes once
		mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		mustRun(t, w.process("ann"), toPrevious)
		if open := w.stored().Open(); len(open) != 1 || open[0].PR == 0 {
			t.Errorf("owed %+v", open)
		}
	})
	inForge(t, func(t *testing.T, w *world, _ *forge) { // without a repository nobody could pay it
		w.place.Followed.Repo = ""
		res := mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		if len(w.stored().Owed) != 0 || len(res.Next) != 2 {
			t.Errorf("owed %+v, next %q", w.stored().Owed, res.Next)
		}
	})
	inForge(t, func(t *testing.T, w *world, _ *forge) { // forward again: what was owed is over
		mustRun(t, w.process("ann"), Request{Act: ActRetag, To: Previous})
		mustRun(t, w.process("ann"), Request{Act: ActRestart})
		mustRun(t, w.process("ann"), Request{Act: ActRetag, To: commitOf(d), Accept: []string{"marked-bad"}})
		if open := w.stored().Open(); len(open) != 0 {
			t.Errorf("owed %+v", open)
		}
	})
}

// A rollback by revert that waits for its merge is given up for another one, or taken back: its pull request must not be
// forgotten, for it would be merged one day.
func TestStrandedRevert(t *testing.T) {
	waiting := func(t *testing.T, w *world, f *forge) {
		w.place.Followed.AutoMerge = false
		_, err := w.process("ann").run(byMerge)
		exitIs(t, err, Pending)
		if len(f.pulls) != 1 || w.stored().Last.Merge.PR != 10 {
			t.Fatalf("%d pull requests, %+v", len(f.pulls), w.stored().Last)
		}
	}
	finding := func(p *process) string {
		i := slices.IndexFunc(p.plan.Findings, func(f Finding) bool { return f.Code == "revert-waits" })
		if i < 0 {
			return ""
		}
		return fmt.Sprint(p.plan.Findings[i].Severity, ": ", p.plan.Findings[i].Text, "; ", p.plan.Findings[i].Remedy)
	}
	for _, method := range []string{MethodRetag, MethodRevert} {
		inMerge(t, func(t *testing.T, w *world, f *forge) { // further back: one pull request for all of it
			waiting(t, w, f)
			p := w.process("bob")
			res, err := p.run(Request{Act: ActRun, To: commitOf(b), Method: method})
			if got := finding(p); !strings.Contains(got, "warn: its pull request "+f.pulls[0].URL+" is still open; the pull request of this rollback takes it in") {
				t.Errorf("%s: %q", method, got)
			}
			if len(f.pulls) != 2 || f.pulls[0].State != PullClosed || f.pulls[1].State != PullOpen {
				t.Errorf("%s: %v, %+v (%v)", method, f.pulls[0].State, f.pulls, err)
			}
			if method == MethodRetag && strings.Contains(strings.Join(res.Next, "\n"), "given up") {
				t.Errorf("next %q", res.Next)
			}
		})
	}
	inMerge(t, func(t *testing.T, w *world, f *forge) { // the forge is down: a person has to close it
		waiting(t, w, f)
		p := w.process("bob")
		for _, op := range []string{"Revert", "Recent", "Foresee", "MergeState"} {
			p.faults = append(p.faults, &fault{op: op, do: refuse, kind: Unreachable, times: -1})
		}
		res := mustRun(t, p, Request{Act: ActRun, To: commitOf(b)})
		if !slices.Contains(res.Next, "the revert pull request of the rollback that was given up is still open; close it, or it undoes the code all the same: "+f.pulls[0].URL) || !strings.Contains(finding(p), "may still be open") {
			t.Errorf("next %q, finding %q", res.Next, finding(p))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // taken back
		waiting(t, w, f)
		p := w.process("bob")
		res := mustRun(t, p, Request{Act: ActUndo})
		if !slices.Contains(res.Next, "the revert pull request of the rollback that was given up is still open; close it, or it undoes the code all the same: "+f.pulls[0].URL) || !strings.Contains(finding(p), "is still open; close it when this is done") {
			t.Errorf("next %q, finding %q", res.Next, finding(p))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // closed by somebody
		waiting(t, w, f)
		f.pulls[0].State = PullClosed
		p := w.process("bob")
		if res := mustRun(t, p, Request{Act: ActUndo}); strings.Contains(strings.Join(res.Next, "\n"), "given up") || finding(p) != "" {
			t.Errorf("next %q, finding %q", res.Next, finding(p))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // merged by somebody, and not yet deployed
		waiting(t, w, f)
		f.webhook = false
		f.land(f.pulls[0], time.Now())
		p := w.process("bob")
		if res := mustRun(t, p, Request{Act: ActUndo}); !strings.Contains(strings.Join(res.Next, "\n"), "is merged, and the next deploy ships it: look at "+f.pulls[0].URL) || !strings.Contains(finding(p), "is merged by now") {
			t.Errorf("next %q, finding %q", res.Next, finding(p))
		}
	})
	inMerge(t, func(t *testing.T, w *world, f *forge) { // the same command again goes on with it
		waiting(t, w, f)
		p := w.process("bob")
		_, err := p.run(byMerge)
		exitIs(t, err, Pending)
		if finding(p) != "" || len(f.pulls) != 1 {
			t.Errorf("%q, %d pull requests", finding(p), len(f.pulls))
		}
	})
}

// Needless tells which pull requests of debts that are over must not be merged.
func TestNeedless(t *testing.T) {
	r := Record{Owed: []FollowUp{
		{Rollback: "open", PR: 1}, {Rollback: "void", PR: 2, Void: "x"}, {Rollback: "void without", Void: "x"}, {Rollback: "paid", PR: 4, Done: true, Void: "x"},
	}}
	if got := r.Needless(); len(got) != 1 || got[0].PR != 2 {
		t.Errorf("%+v", got)
	}
}
