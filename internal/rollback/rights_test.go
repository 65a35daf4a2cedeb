package rollback

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRights(t *testing.T) {
	run, retag, restart, undo := Request{Act: ActRun, To: Previous}, Request{Act: ActRetag, To: Previous}, Request{Act: ActRestart}, Request{Act: ActUndo}
	lacks := func(verb, kind string) func(Right) bool {
		return func(r Right) bool { return r.Verb == verb && r.Kind == kind }
	}
	onlyNamed := func(kind string, names ...string) func(Right) bool { // a Role that names its objects
		return func(r Right) bool { return r.Kind == kind && !slices.Contains(names, r.Name) }
	}
	for _, tt := range []struct {
		name   string
		req    Request
		lacks  func(Right) bool
		set    func(w *world)
		want   Severity
		says   []string
		silent []string
	}{
		{name: "everything is allowed", req: run},
		{name: "no patch", req: run, lacks: lacks("patch", "Deployment"), want: Block,
			says: []string{"deploy has no right to patch deployment/payments in namespace prod", "rollback permissions --service payments --environment prod --for run"}, silent: []string{"--no-record", "configmap"}},
		{name: "no patch, restart", req: restart, lacks: lacks("patch", "Deployment"), want: Block, says: []string{"--for restart"}},
		{name: "no patch, undo", req: undo, lacks: lacks("patch", "Deployment"), set: func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, want: Block, says: []string{"--for undo"}},
		{name: "no patch, but nothing restarts", req: retag, lacks: lacks("patch", "Deployment")},
		{name: "no patch, only shown", req: Request{Act: ActRun, To: Previous, Dry: true}, lacks: lacks("patch", "Deployment"), want: Warn, says: []string{"no right to patch deployment/payments"}},
		{name: "no patch of a kind that is not there", req: run, lacks: lacks("patch", "StatefulSet")},
		{name: "no patch of one of two kinds", req: run, lacks: lacks("patch", "StatefulSet"), set: func(w *world) { w.deploy("StatefulSet", "worker", 1) }, want: Block,
			says: []string{"patch statefulset/worker in"}, silent: []string{"deployment/payments"}},
		{name: "patch of this one", req: run, lacks: onlyNamed("Deployment", "payments")},
		{name: "patch of another", req: run, lacks: onlyNamed("Deployment", "payments"), set: func(w *world) { w.deploy("Deployment", "payments-api", 1) }, want: Block,
			says: []string{"patch deployment/payments-api, get deployment/payments-api in"}, silent: []string{"deployment/payments,", "deployment/payments in"}},
		{name: "no get", req: run, lacks: lacks("get", "Deployment"), want: Block,
			says: []string{"deploy has no right to get deployment/payments in namespace prod", "--for run"}, silent: []string{"patch", "configmap"}},
		{name: "no get, restart", req: restart, lacks: lacks("get", "Deployment"), want: Block, says: []string{"--for restart"}},
		{name: "no get, undo", req: undo, lacks: lacks("get", "Deployment"), set: func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, want: Block, says: []string{"--for undo"}},
		{name: "no get, but nothing is followed", req: retag, lacks: lacks("get", "Deployment")},
		{name: "no get, only shown", req: Request{Act: ActRun, To: Previous, Dry: true}, lacks: lacks("get", "Deployment"), want: Warn, says: []string{"no right to get deployment/payments"}},
		{name: "no get of a kind that is not there", req: run, lacks: lacks("get", "DaemonSet")},
		{name: "no get, and the target runs", req: Request{Act: ActRun, To: commitOf(d)}, lacks: func(Right) bool { return true }, want: Block,
			says: []string{"no right to get deployment/payments in"}, silent: []string{"patch", "configmap"}},
		{name: "no get, and it is restarted already", req: run, lacks: lacks("get", "Deployment"), set: func(w *world) {
			w.rolledBack(d, c, Interrupted, time.Hour, nil)
			w.runs(c)
			w.workloads[0].Stamp = "earlier"
		}, want: Block, says: []string{"no right to get deployment/payments in"}},
		{name: "no patch, and the target runs", req: Request{Act: ActRun, To: commitOf(d)}, lacks: lacks("patch", "Deployment")},
		{name: "no patch, but it is restarted already", req: run, lacks: lacks("patch", "Deployment"), set: func(w *world) {
			w.rolledBack(d, c, Interrupted, time.Hour, nil)
			w.runs(c)
			w.workloads[0].Stamp = "earlier"
			for _, p := range w.workloads[0].pods {
				p.Stamp = "earlier"
			}
		}},
		{name: "no record can be made", req: retag, lacks: lacks("create", "ConfigMap"), want: Block, says: []string{"no right to create configmaps in namespace prod", "--for retag", "--no-record"}},
		{name: "the record is there", req: retag, lacks: lacks("create", "ConfigMap"), set: func(w *world) { w.rolledBack(c, b, Closed, 9*time.Hour, nil) }},
		{name: "no record can be written", req: undo, lacks: lacks("update", "ConfigMap"), set: func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, want: Block,
			says: []string{"no right to update configmap/rollback-payments"}, silent: []string{"--no-record"}},
		{name: "nothing at all", req: run, lacks: func(Right) bool { return true }, want: Block,
			says: []string{"patch deployment/payments, get deployment/payments, create configmaps, update configmap/rollback-payments"}, silent: []string{"--no-record"}},
		{name: "to look", req: Request{Act: ActLook}, lacks: func(Right) bool { return true }},
		{name: "to verify", req: Request{Act: ActVerify}, lacks: func(Right) bool { return true }},
		{name: "nobody knows who", req: run, lacks: lacks("patch", "Deployment"), set: func(w *world) { w.identity.User = "" }, want: Block, says: []string{"this user has no right"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				if tt.set != nil {
					tt.set(w)
				}
				w.lacks = tt.lacks
				s := look(t, w, tt.req)
				if got := codes(s.Findings)["no-right"]; got != tt.want {
					t.Fatalf("got %q; findings %v", got, s.Findings)
				}
				said := ""
				for _, f := range s.Findings {
					if f.Code == "no-right" {
						said += f.Text + " | " + f.Remedy
					}
				}
				for _, want := range tt.says {
					if !strings.Contains(said, want) {
						t.Errorf("%q does not say %q", said, want)
					}
				}
				for _, not := range tt.silent {
					if strings.Contains(said, not) {
						t.Errorf("%q says %q", said, not)
					}
				}
				if tt.want != Block {
					return
				}
				p, tags := w.process("ann"), len(w.tags)
				req := tt.req
				req.Accept = []string{"no-right"} // nobody can answer for that
				_, err := p.run(req)
				exitIs(t, err, Refused)
				if p.asked("Tag") > 0 || p.asked("Write") > 0 || p.asked("Restart") > 0 || len(w.tags) != tags {
					t.Errorf("something was written: %v", p.calls)
				}
			})
		})
	}
}

// Nobody is refused because a question about rights went unanswered, and nobody waits long for it.
func TestRightsUnknown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault fault
	}{
		{"denied", fault{op: "Missing", do: refuse, kind: Denied, times: -1}},
		{"broken", fault{op: "Missing", do: lose, times: -1}},
		{"hangs", fault{op: "Missing", do: hang, times: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				p, began := w.process("ann"), time.Now()
				p.faults = []*fault{&tt.fault}
				mustRun(t, p, Request{Act: ActRun, To: Previous})
				if codes(p.survey.Findings)["not-checked"] != Info || codes(p.survey.Findings)["no-right"] != "" {
					t.Errorf("findings %v", p.survey.Findings)
				}
				if took := p.callAt("journal").Sub(began); took > rightsPatience {
					t.Errorf("the survey took %s", took)
				}
			})
		})
	}
	in(t, func(t *testing.T, w *world) { // the second question, by name
		w.lacks = func(Right) bool { return true }
		p := w.process("ann")
		asked := 0
		p.faults = []*fault{{op: "Missing", do: refuse, kind: ServerFault}}
		world := p.world()
		world.Rights = rightsFunc(func(ctx context.Context, ns string, rights ...Right) ([]Right, error) {
			if asked++; asked == 1 {
				return rights, nil
			}
			return clusterPort{p}.Missing(ctx, ns, rights...)
		})
		s, err := Look(context.Background(), world, Request{Scope: scope, Act: ActRun, To: Previous}, time.Now())
		if err != nil || asked != 2 || codes(s.Findings)["not-checked"] != Info {
			t.Errorf("%v, asked %d times: %v", err, asked, s.Findings)
		}
	})
	in(t, func(t *testing.T, w *world) { // a verification finds out by itself, and says nothing of production
		p := w.process("ann")
		p.faults = []*fault{{op: "Observe", do: refuse, kind: Denied}}
		_, err := p.run(Request{Act: ActVerify, To: commitOf(d)})
		exitIs(t, err, Failed)
		says(t, err, "cannot be observed", "not changed by this command")
	})
	in(t, func(t *testing.T, w *world) { // without a record, and by revert, less is needed
		w.lacks = func(r Right) bool { return r.Kind == "ConfigMap" }
		p := w.process("ann")
		p.noRecord = true
		mustRun(t, p, Request{Act: ActRun, To: Previous})
		for _, r := range w.process("bob").world().rights(Request{Scope: scope, Act: ActRun, Method: MethodRevert}) {
			if r.Verb == "patch" {
				t.Errorf("a revert asks for the right to %s", r)
			}
		}
		if (World{}).rights(Request{Act: ActRun}) != nil {
			t.Error("asks although there is nobody to ask")
		}
	})
}

type rightsFunc func(context.Context, string, ...Right) ([]Right, error)

func (f rightsFunc) Missing(ctx context.Context, ns string, rights ...Right) ([]Right, error) {
	return f(ctx, ns, rights...)
}
