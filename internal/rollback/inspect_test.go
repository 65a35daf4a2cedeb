package rollback

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// look surveys the world for a request.
func look(t *testing.T, w *world, req Request) *Survey {
	t.Helper()
	s, err := tryLook(w, req)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryLook(w *world, req Request) (*Survey, error) {
	req.Scope, req.Method = scope, "retag"
	return Look(context.Background(), w.process("ann").world(), req, time.Now())
}

func codes(findings []Finding) map[string]Severity {
	m := map[string]Severity{}
	for _, f := range findings {
		if have, ok := m[f.Code]; !ok || f.Severity.rank() < have.rank() {
			m[f.Code] = f.Severity
		}
	}
	return m
}

// other is a further environment whose inventory is given.
type other struct {
	clusterPort
	inventory Inventory
}

func (o other) Inventory(context.Context, string) (Inventory, error) { return o.inventory, nil }

type noCommits struct{}

func (noCommits) Recent(context.Context) ([]Change, error) { return nil, errors.New("401") }

func (w *world) app() *Container { return &w.workloads[0].Containers[0] }

// rolledBack puts an entry into the record.
func (w *world) rolledBack(from, to rune, state State, ago time.Duration, change func(*Entry)) {
	w.edit(func(r *Record) {
		if r.Last != nil {
			r.History = slices.Insert(r.History, 0, summary(*r.Last))
		}
		r.Last = &Entry{ID: "earlier", Kind: KindRollback, State: state, By: Actor{User: "eve"}, Reason: "slow", StartedAt: time.Now().Add(-ago), Repository: repository, Tag: "latest",
			From: Target{Digest: w.of(from), Commit: Commit(commitOf(from))}, To: Target{Digest: w.of(to), Commit: Commit(commitOf(to))}, TagWas: w.of(from), Stamp: "earlier"}
		if change != nil {
			change(r.Last)
		}
	})
}

// runs lets all pods of the first workload run a version, and the tag name it.
func (w *world) runs(r rune) {
	w.tags["latest"] = w.of(r)
	for _, p := range w.workloads[0].pods {
		p.Containers[0].Digest = w.of(r)
	}
}

func TestFindings(t *testing.T) {
	run, retag, verify, undo, restart := Request{Act: ActRun, To: Previous}, Request{Act: ActRetag, To: Previous}, Request{Act: ActVerify}, Request{Act: ActUndo}, Request{Act: ActRestart}
	to := func(r rune) Request { return Request{Act: ActRun, To: commitOf(r)} }
	cron := func(suspended bool) func(w *world) {
		return func(w *world) {
			w.extra.Workloads = []Workload{{Ref: Ref{"CronJob", "prod", "nightly"}, Suspended: suspended, Schedule: "0 3 * * *", Containers: []Container{*w.app()}}}
		}
	}
	locked := func(state State, ago time.Duration) func(w *world) {
		return func(w *world) {
			w.rolledBack(d, c, state, time.Hour, nil)
			w.edit(func(r *Record) {
				at := time.Now().Add(-ago)
				r.Lock = &Lock{Holder: Actor{User: "ann", Host: "laptop"}, Run: "earlier", Reason: "slow", TakenAt: at, Heartbeat: at, ExpiresAt: at.Add(LockExpiry)}
			})
		}
	}
	dep := func(change func(*deployed)) func(w *world) { return func(w *world) { change(w.workloads[0]) } }
	tests := []struct {
		code  string
		want  Severity // "" where it must not appear
		spoil func(w *world)
		req   Request
		text  string
	}{
		{"account", Block, func(w *world) { w.place.Account = "999999999999" }, run, "account 123456789012, the configuration says 999999999999"},
		{"account", "", func(w *world) { w.place.Account = "" }, run, ""},
		{"cross-account", Warn, func(w *world) { w.repo.CallerAccount = "111111111111" }, run, "of account 111111111111"},
		{"cross-account", "", nil, run, ""},
		{"tag-missing", Warn, func(w *world) { delete(w.tags, "latest") }, to(b), "payments:latest does not exist yet"},
		{"tag-missing", "", nil, to(b), ""},
		{"tag-immutable", Block, func(w *world) { w.repo.Mutability.Immutable = true }, run, `filter "latest"`},
		{"tag-immutable", Block, func(w *world) { w.repo.Mutability.Except = []string{"lat*"} }, run, "kubectl -n prod set image deployment/payments app="},
		{"tag-immutable", "", func(w *world) { w.repo.Mutability = Mutability{Immutable: true, Except: []string{"latest"}} }, run, ""},
		{"tag-immutable", "", func(w *world) { w.repo.Mutability.Immutable = true }, restart, ""},
		{"target-archived", Block, func(w *world) { w.images[w.of(b)].status = Archived }, to(b), "aws ecr update-image-storage-class --repository-name payments --image-id imageDigest=sha256:"},
		{"target-archived", Block, func(w *world) { w.images[w.of(b)].status = Activating }, to(b), "up to 20 minutes"},
		{"target-archived", "", func(w *world) { w.images[w.of(a)].status = Archived }, to(b), ""},
		{"target-gone", Block, func(w *world) {
			w.rolledBack(b, c, Mitigated, time.Hour, nil)
			w.runs(c)
			delete(w.images, w.of(b))
		}, undo, "no longer in repository"},
		{"target-gone", "", func(w *world) { w.rolledBack(b, c, Mitigated, time.Hour, nil); w.runs(c) }, undo, ""},
		{"marked-bad", Block, func(w *world) { w.rolledBack(c, b, Mitigated, 30*time.Hour, nil) }, to(c), "rolled back from on 1999-12-3"},
		{"marked-bad", "", func(w *world) { w.rolledBack(c, b, Undone, 30*time.Hour, nil) }, to(c), ""},
		{"newer", Warn, func(w *world) { w.runs(b) }, to(c), "rolls forward"},
		{"newer", "", nil, to(c), ""},
		{"target-expires", Warn, func(w *world) {
			w.repo.Lifecycle = []LifecycleRule{{Priority: 1, Tags: AnyImage, OlderThan: 5 * 24 * time.Hour}}
		}, run, "deletes it from"},
		{"target-expires", "", func(w *world) {
			w.repo.Lifecycle = []LifecycleRule{{Priority: 1, Tags: AnyImage, OlderThan: 30 * 24 * time.Hour}}
		}, run, ""},
		{"outgoing-expires", Warn, func(w *world) {
			w.repo.Lifecycle = []LifecycleRule{{Priority: 1, Tags: Tagged, Prefixes: []string{"rollback-"}, OlderThan: 5 * 24 * time.Hour}}
		}, run, `prefix "rollback-keep-"`},
		{"outgoing-expires", "", func(w *world) {
			w.repo.Lifecycle = []LifecycleRule{{Priority: 1, Tags: Untagged, OlderThan: time.Hour}} // it keeps a tag
		}, run, ""},
		{"current-gone", Warn, func(w *world) { delete(w.images, w.of(d)); w.tags["latest"] = w.of(c) }, to(b), "undo cannot bring it back"},
		{"current-gone", "", nil, to(b), ""},
		{"tag-ahead", Warn, func(w *world) { w.tags["latest"] = w.push(commitOf('e'), time.Now()) }, to(b), "which no pod runs"},
		{"tag-ahead", "", nil, to(b), ""},
		{"no-workload", Block, func(w *world) { w.app().Image = w.ref("v1") }, run, "by another tag"},
		{"no-workload", Block, func(w *world) { w.workloads = nil }, run, "rollback doctor --service payments --environment prod"},
		{"no-workload", Block, func(w *world) { w.place.Workloads = []string{"deployment/payment"} }, run, "deployment/payment is configured, but not in namespace prod"},
		{"no-workload", "", func(w *world) { w.workloads = nil }, Request{Act: ActRetag, To: commitOf(b)}, ""},
		{"paused", Block, dep(func(d *deployed) { d.Paused = true }), run, "kubectl -n prod rollout resume deployment/payments"},
		{"paused", Warn, dep(func(d *deployed) { d.Paused = true }), retag, ""},
		{"paused", "", dep(func(d *deployed) { d.Paused = true }), verify, ""},
		{"on-delete", Block, dep(func(d *deployed) { d.Strategy = OnDelete }), run, "rollback retag --service payments --environment prod --to sha256:"},
		{"on-delete", Warn, dep(func(d *deployed) { d.Strategy = OnDelete }), retag, ""},
		{"on-delete", "", dep(func(d *deployed) { d.Strategy = Recreate }), run, ""},
		{"partition", Block, dep(func(d *deployed) { d.Rollout.Partition = 1 }), run, `kubectl -n prod patch deployment/payments --type merge -p '{"spec":`},
		{"partition", "", nil, run, ""},
		{"gitops", Warn, dep(func(d *deployed) { d.ManagedBy = "argocd" }), run, "managed by argocd"},
		{"gitops", "", dep(func(d *deployed) { d.ManagedBy = "flux" }), verify, ""},
		{"helm", Info, dep(func(d *deployed) { d.ManagedBy = "helm" }), run, ""},
		{"helm", "", nil, run, ""},
		{"replicas-zero", Warn, func(w *world) { w.deploy("Deployment", "idle", 0) }, run, "kubectl -n prod scale deployment/idle --replicas=1"},
		{"replicas-zero", "", nil, run, ""},
		{"nothing-runs", Block, dep(func(d *deployed) { d.Rollout.Desired, d.pods = 0, nil }), to(b), "rollback retag --service"},
		{"nothing-runs", "", func(w *world) { w.deploy("Deployment", "idle", 0) }, run, ""},
		{"ordered-stuck", Warn, dep(func(d *deployed) {
			d.Ordered = true
			d.pods[0].Ready = false
			d.pods[0].Containers[0].Waiting = "CrashLoopBackOff"
		}), run, "kubectl -n prod delete pod payments-1"},
		{"ordered-stuck", "", dep(func(d *deployed) { d.Ordered = true }), run, ""},
		{"registry-host", Block, func(w *world) { w.app().Image = "mirror.example.com/payments:latest" }, run, "pulls from mirror.example.com"},
		{"registry-host", "", nil, run, ""},
		{"pinned", Warn, dep(func(d *deployed) {
			d.Containers = append(d.Containers, Container{Name: "old", Role: Sidecar, Image: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/payments:v1"})
		}), run, "it keeps its image"},
		{"pinned", Block, func(w *world) { w.place.Workloads = []string{"deployment/payments"}; w.app().Image = w.ref("v1") }, run, "changes nothing there"},
		{"pinned", "", nil, run, ""},
		{"pull-policy", Block, func(w *world) { w.app().PullPolicy = "IfNotPresent" }, run, "imagePullPolicy: Always"},
		{"pull-policy", Block, dep(func(d *deployed) {
			d.Containers = append(d.Containers, Container{Name: "migrate", Role: Init, Image: d.Containers[0].Image, PullPolicy: "Never"})
		}), retag, `init "migrate" has imagePullPolicy Never`},
		{"pull-policy", "", func(w *world) { w.app().PullPolicy = "IfNotPresent" }, verify, ""},
		{"mixed", Warn, func(w *world) { w.workloads[0].pods[0].Containers[0].Digest = w.of(c) }, run, "2 × ddddddd (2 ready), 1 × ccccccc (1 ready)"},
		{"mixed", "", nil, run, ""},
		{"mixed", "", evictedEarlier, run, ""},
		{"not-ready", Info, dep(func(d *deployed) { d.pods[0].Ready = false; d.pods[0].Containers[0].Waiting = "CrashLoopBackOff" }), run, "2 of 3 pods ready: 1 × CrashLoopBackOff"},
		{"not-ready", "", nil, run, ""},
		{"not-ready", "", evictedEarlier, run, ""},
		{"not-ready", Info, dep(func(d *deployed) { d.pods[0].Ready, d.pods[0].Lost, d.pods[0].Node = false, true, "node-b" }), run, "2 of 3 pods ready: 1 × node-b doesn't answer"},
		{"unmanaged", Block, func(w *world) {
			w.extra.Pods = []Pod{{Name: "canary", Owner: Ref{"Rollout", "prod", "canary"}, Phase: "Running", Containers: []PodContainer{{Container: *w.app()}}}}
		}, run, "rollout/canary"},
		{"unmanaged", "", func(w *world) {
			w.extra.Pods = []Pod{{Name: "done", Owner: Ref{"Pod", "prod", "done"}, Phase: "Succeeded", Containers: []PodContainer{{Container: *w.app()}}}}
		}, run, ""},
		{"config-newer", Warn, func(w *world) {
			w.workloads[0].ConfigMaps = []string{"payments"}
			w.extra.Configs = []ConfigAge{{Name: "payments", Changed: time.Now().Add(-time.Hour), Keys: []string{"LIMIT"}}}
		}, run, "(keys: LIMIT)"},
		{"config-newer", "", func(w *world) {
			w.workloads[0].ConfigMaps = []string{"payments"}
			w.extra.Configs = []ConfigAge{{Name: "else", Changed: time.Now()}, {Name: "payments", Changed: time.Now().Add(-100 * time.Hour)}}
		}, run, ""},
		{"bystander", Info, cron(false), run, "from its next start on (schedule 0 3 * * *)"},
		{"bystander", Info, cron(true), run, "suspended"},
		{"bystander", Warn, func(w *world) {
			w.deploy("Deployment", "second", 1)
			w.place.Workloads = []string{"deployment/payments"}
		}, run, "not in the configured `workloads`"},
		{"bystander", "", cron(false), restart, ""},
		{"owned", Block, dep(func(d *deployed) { d.Owner = "Payments/payments" }), run, "rollback verify --service payments --environment prod"},
		{"owned", Warn, dep(func(d *deployed) { d.Owner = "Payments/payments" }), Request{Act: ActRetag, To: commitOf(b)}, ""},
		{"owned", "", dep(func(d *deployed) { d.Owner = "Payments/payments" }), verify, ""},
		{"shared-tag", Warn, func(w *world) {
			w.place.Others = []Elsewhere{{Environment: "rc", Namespace: "rc", Cluster: other{inventory: Inventory{Workloads: []Workload{w.workloads[0].Workload}}}}}
		}, run, "environment rc pulls the same tag: deployment/payments"},
		{"shared-tag", Warn, func(w *world) { w.place.Others = []Elsewhere{{Environment: "rc", Err: errors.New("no context")}} }, run, "could not be read: no context"},
		{"shared-tag", "", func(w *world) { w.place.Others = []Elsewhere{{Environment: "rc", Cluster: other{}}} }, run, ""},
		{"not-checked", Info, func(w *world) { w.repo.Unknown = []string{"lifecycle policy: denied"} }, run, "lifecycle policy"},
		{"not-checked", "", nil, run, ""},
		{"resume", Info, func(w *world) { w.rolledBack(d, c, Interrupted, time.Hour, nil) }, run, "goes on with rollback earlier, started 1h ago by eve, interrupted"},
		{"resume", "", func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil) }, run, ""},
		{"unfinished", Warn, func(w *world) { w.rolledBack(d, c, FailedState, time.Hour, nil) }, to(b), "this is a new one"},
		{"unfinished", "", func(w *world) { w.rolledBack(d, c, FailedState, time.Hour, nil) }, to(c), ""},
		{"locked", Block, locked(Interrupted, 0), run, "payments/prod is locked by ann on laptop since"},
		{"locked", Block, locked(Mitigated, 0), to(b), `with --steal "why"`},
		{"locked", Block, locked(Mitigated, 0), Request{Act: ActUndo}, ""},
		{"locked", Block, locked(Mitigated, 0), restart, ""},
		{"locked", "", locked(Mitigated, 0), verify, ""},
		{"locked", "", func(w *world) { locked(Mitigated, 0)(w); w.runs(c) }, to(c), ""}, // nothing to change
		{"locked", "", locked(Interrupted, LockExpiry), run, ""},
		{"locked", Warn, locked(Interrupted, 0), Request{Act: ActRun, To: Previous, Steal: "gone home"}, "the lock is taken from ann on laptop, who is at work: gone home"},
		{"resume", "", locked(Interrupted, 0), run, ""},
		{"resume", Info, locked(Interrupted, LockExpiry), run, ""},
		{"resume", Info, locked(Interrupted, 0), Request{Act: ActRun, To: Previous, Steal: "gone home"}, ""},
		{"unfinished", "", locked(Interrupted, 0), to(b), ""},
		{"still-open", Block, func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, run, "this goes on to bbbbbbb"},
		{"still-open", Warn, func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, to(b), "rollback undo"},
		{"still-open", "", func(w *world) { w.rolledBack(c, b, Mitigated, time.Hour, nil) }, to(a), ""},
		{"again", Warn, func(w *world) {
			w.rolledBack(d, c, Closed, 40*time.Minute, nil)
			w.rolledBack(c, b, Closed, 20*time.Minute, nil)
		}, to(a), "number 3 of this scope within an hour"},
		{"again", "", func(w *world) {
			w.rolledBack(d, c, Closed, 4*time.Hour, nil)
			w.rolledBack(c, b, Closed, 20*time.Minute, nil)
		}, to(a), ""},
		{"restart-again", Info, func(w *world) {
			w.rolledBack(d, c, FailedState, time.Hour, nil)
			w.workloads[0].Stamp = "earlier"
			for _, p := range w.workloads[0].pods {
				p.Stamp = "earlier"
			}
		}, run, "3 pods restarted by it run something else"},
		{"restart-again", "", func(w *world) { w.rolledBack(d, c, FailedState, time.Hour, nil) }, run, ""},
		{"already-undone", Block, func(w *world) {
			w.rolledBack(d, c, Closed, time.Hour, func(e *Entry) { e.Kind = KindUndo })
			w.runs(c)
		}, undo, "an undo already"},
		{"already-undone", "", func(w *world) { w.rolledBack(d, c, Mitigated, time.Hour, nil); w.runs(c) }, undo, ""},
		{"moved-on", Block, func(w *world) { w.rolledBack(c, b, Mitigated, time.Hour, nil) }, undo, "ddddddd"},
		{"moved-on", "", func(w *world) { w.rolledBack(d, c, FailedState, time.Hour, nil) }, undo, ""},
	}
	var problems []string
	covered := map[string][2]bool{"commits-unread": {true, true}, "no-right": {true, true}, "revert-waits": {true, true}} // TestCommitsUnread, TestRights, TestStrandedRevert
	for _, tt := range tests {
		name := tt.code + " " + string(tt.want)
		wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			if tt.spoil != nil {
				tt.spoil(w)
			}
			s, err := tryLook(w, tt.req)
			if err != nil {
				wrong("%s: %v", name, err)
				return
			}
			plan := Draw(s, "id")
			if got := codes(plan.Findings)[tt.code]; got != tt.want {
				wrong("%s (%s): got %q; all: %v", name, tt.req.Act, got, codes(plan.Findings))
			}
			said := ""
			for _, f := range plan.Findings {
				if f.Code == tt.code {
					said += f.Text + " | " + f.Remedy + "\n"
				}
				if f.Text == "" || f.Severity == Block && f.Remedy == "" {
					wrong("%s: says nothing, or blocks without a remedy: %+v", name, f)
				}
			}
			if !strings.Contains(said, tt.text) {
				wrong("%s: %q does not say %q", name, said, tt.text)
			}
			if tt.want == Block && plan.Refusal() == nil {
				wrong("%s: blocks nothing", name)
			}
			c := covered[tt.code]
			c[0], c[1] = c[0] || tt.want != "", c[1] || tt.want == ""
			covered[tt.code] = c
		})
	}
	for _, p := range problems {
		t.Error(p)
	}
	for _, file := range []string{"inspect.go", "survey.go", "plan.go", "rights.go"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.find\([^,]+, "([a-z-]+)"`).FindAllSubmatch(src, -1) {
			if c := covered[string(m[1])]; !c[0] || !c[1] {
				t.Errorf("finding %s: seen where it must appear: %t, where it must not: %t", m[1], c[0], c[1])
			}
		}
	}
}

// Codes are all that findings carry.
func TestCodes(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{"locked": true, migrations: true}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.find\([^,]+, "([a-z-]+)"`).FindAllSubmatch(src, -1) {
			codes[string(m[1])] = true
		}
	}
	if want := slices.Sorted(maps.Keys(codes)); !slices.Equal(Codes, want) {
		t.Errorf("Codes are\n%q, want\n%q", Codes, want)
	}
}

func TestCommitsUnread(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		world := w.process("ann").world()
		world.Commits = noCommits{}
		s, err := Look(context.Background(), world, Request{Scope: scope, Act: ActRun, To: Previous}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if codes(s.Findings)["commits-unread"] != Info {
			t.Errorf("findings %v", s.Findings)
		}
		if codes(look(t, w, Request{Act: ActRun, To: Previous}).Findings)["commits-unread"] != "" {
			t.Error("said without cause")
		}
	})
}

// evictedEarlier leaves a pod of an older image behind, which a node has put out.
func evictedEarlier(w *world) {
	d := w.workloads[0]
	p := *d.pods[0]
	p.Name, p.Phase, p.Ready = "payments-evicted", "Failed", false
	p.Containers = []PodContainer{{Container: *w.app(), Digest: w.of(c), Waiting: "ImagePullBackOff", LastExit: 137}}
	d.pods = append(d.pods, &p)
}
