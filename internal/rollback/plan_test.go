package rollback

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func stepNames(p *Plan) string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world)
		req     Request
		want    string
	}{
		{"run", nil, Request{Act: ActRun, To: Previous}, "claim keep retag restart rollout verify record"},
		{"run, all is so", nil, Request{Act: ActRun, To: commitOf(d)}, "verify"},
		{"run, all is so but for one pod", func(w *world) { w.workloads[0].pods[0].Containers[0].Digest = w.of(c) }, Request{Act: ActRun, To: commitOf(d)}, "claim keep retag restart rollout verify record"},
		{"run, the tag is there, the pods are not", func(w *world) { w.tags["latest"] = w.of(c) }, Request{Act: ActRun, To: commitOf(c)}, "claim keep retag restart rollout verify record"},
		{"goes on, all is so", func(w *world) { w.rolledBack(d, c, FailedState, time.Hour, nil); w.runs(c) }, Request{Act: ActRun, To: Previous}, "claim keep retag restart rollout verify record"},
		{"retag", nil, Request{Act: ActRetag, To: Previous}, "claim keep retag record"},
		{"restart", nil, Request{Act: ActRestart}, "claim restart rollout record"},
		{"verify", nil, Request{Act: ActVerify}, "verify"},
		{"undo", func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, Request{Act: ActUndo}, "claim keep retag restart rollout verify record"},
		{"undo of nothing", func(w *world) { w.rolledBack(d, c, Running, time.Hour, nil) }, Request{Act: ActUndo}, "claim verify record"},
	} {
		in(t, func(t *testing.T, w *world) {
			if tt.prepare != nil {
				tt.prepare(w)
			}
			p := Draw(look(t, w, tt.req), "id")
			if got := stepNames(p); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
			for _, s := range p.Steps {
				if s.Text == "" {
					t.Errorf("%s: step %s says nothing", tt.name, s.Name)
				}
			}
		})
	}
}

func TestPlanSays(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		p := Draw(look(t, w, Request{Act: ActRun, To: commitOf(b), List: true, Reason: "slow", By: Actor{User: "ann"}}), "id")
		if p.Steps[1].Text != "keep the outgoing image "+w.of(d).Short()+" as :"+KeepTag(w.of(d)) || p.Steps[2].Text != "point payments:latest at bbbbbbb ("+w.of(b).Short()+")" || p.Steps[3].Text != "restart deployment/payments" {
			t.Errorf("%+v", p.Steps)
		}
		if len(p.Undoes) != 2 || p.Undoes[0].Commit != Commit(commitOf(d)) || p.Undoes[1].Commit != Commit(commitOf(c)) || p.Unlisted != "" {
			t.Errorf("undoes %+v", p.Undoes)
		}
		if p.Current.Commit != Commit(commitOf(d)) || p.Target.Commit != Commit(commitOf(b)) || p.Verdict != Safe || p.Refusal() != nil || p.stamp() != "id" {
			t.Errorf("%+v", p)
		}
		text, err := json.Marshal(p)
		var back Plan
		if err != nil || json.Unmarshal(text, &back) != nil || len(back.Basis.Moved(p.Basis)) > 0 {
			t.Errorf("a saved plan is another: %v", back.Basis.Moved(p.Basis))
		}
		if p = Draw(look(t, w, Request{Act: ActRun, To: commitOf(b)}), "id"); p.Unlisted == "" {
			t.Error("without a list or commits it does not say that it does not know what is undone")
		}
	})
}

func TestUndoesByCommits(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := look(t, w, Request{Act: ActRun, To: commitOf(b)})
		for _, r := range "edxcba" {
			s.Changes = append(s.Changes, Change{Commit: Commit(commitOf(r)), Title: "change " + string(r)})
		}
		p := Draw(s, "id")
		var titles []string
		for _, u := range p.Undoes {
			titles = append(titles, u.Change.Title)
		}
		if !slices.Equal(titles, []string{"change d", "change x", "change c"}) || p.Current.Change.Title != "change d" {
			t.Errorf("undoes %v", titles)
		}
	})
}

func TestBasisMoved(t *testing.T) {
	base := func() Basis {
		return Basis{TagDigest: some, Running: []Digest{some}, Workloads: []string{"deployment/payments app=x"}, Record: "id mitigated", Registry: "r", Cluster: "c", Namespace: "n"}
	}
	if moved := base().Moved(base()); len(moved) != 0 {
		t.Errorf("the same world has moved: %v", moved)
	}
	for what, change := range map[string]func(*Basis){
		"moving tag":     func(b *Basis) { b.TagDigest = "" },
		"running images": func(b *Basis) { b.Running = append(b.Running, some) },
		"workloads":      func(b *Basis) { b.Workloads = nil },
		"last rollback":  func(b *Basis) { b.Record = "id failed" },
		"registry":       func(b *Basis) { b.Registry = "x" },
		"cluster":        func(b *Basis) { b.Cluster = "x" },
		"namespace":      func(b *Basis) { b.Namespace = "x" },
	} {
		now := base()
		change(&now)
		if moved := base().Moved(now); len(moved) != 1 || !strings.HasPrefix(moved[0], what+": was ") {
			t.Errorf("%s: %v", what, moved)
		}
	}
	in(t, func(t *testing.T, w *world) { // nothing that changes by itself is part of it
		was := Draw(look(t, w, Request{Act: ActRun, To: Previous}), "a").Basis
		slices.Reverse(w.workloads[0].pods)
		time.Sleep(time.Hour)
		if moved := was.Moved(Draw(look(t, w, Request{Act: ActRun, To: Previous}), "b").Basis); len(moved) > 0 {
			t.Errorf("%v", moved)
		}
	})
}

func TestAccept(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(w *world)
		accept []string
		safe   bool
		next   string
	}{
		{"not accepted", func(w *world) { w.app().PullPolicy = "IfNotPresent" }, nil, false, "--accept pull-policy"},
		{"accepted", func(w *world) { w.app().PullPolicy = "IfNotPresent" }, []string{"pull-policy"}, true, ""},
		{"another accepted", func(w *world) { w.app().PullPolicy = "IfNotPresent" }, []string{"paused"}, false, "--accept pull-policy"},
		{"one of two", func(w *world) { w.app().PullPolicy = "IfNotPresent"; w.workloads[0].Paused = true }, []string{"pull-policy"}, false, "--accept paused"},
		{"no matter of judgement", func(w *world) { w.place.Account = "999999999999" }, []string{"account"}, false, "correct registry.account"},
		{"immutable", func(w *world) { w.repo.Mutability.Immutable = true }, []string{"tag-immutable"}, false, "IMMUTABLE_WITH_EXCLUSION"},
	} {
		in(t, func(t *testing.T, w *world) {
			tt.spoil(w)
			p := Draw(look(t, w, Request{Act: ActRun, To: Previous, Accept: tt.accept}), "id")
			err := p.Refusal()
			if (err == nil) != tt.safe || (p.Verdict == Safe) != tt.safe {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if err == nil {
				if !slices.Equal(p.Accepted, tt.accept) {
					t.Errorf("%s: accepted %v", tt.name, p.Accepted)
				}
				return
			}
			exitIs(t, err, Refused)
			e := says(t, err, "the plan is unsafe", tt.next, NotChanged)
			for _, f := range p.Findings {
				if f.Severity == Block && !f.Acceptable() && strings.Contains(strings.Join(e.Next, " "), "--accept "+f.Code) {
					t.Errorf("%s: offers what it would not take", tt.name)
				}
			}
			q := w.process("ann")
			if _, err := q.run(Request{Act: ActRun, To: Previous, Accept: tt.accept}); ExitOf(err) != Refused || len(writes(q)) > 0 {
				t.Errorf("%s: an unsafe plan ran: %v", tt.name, err)
			}
		})
	}
}

func TestNewID(t *testing.T) {
	id := NewID(epoch)
	if !strings.HasPrefix(id, "20261123t030000z-") || len(id) != len("20261123t030000z-0000") {
		t.Errorf("%s", id)
	}
}
