package kube

// The adapter against a cluster that lives: controllers roll pods over and nodes pull what the tag names then.

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	world "github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var (
	good = rollback.Digest("sha256:" + strings.Repeat("a", 64))
	bad  = rollback.Digest("sha256:" + strings.Repeat("b", 64))
)

const image = "registry.example.com/acme/payments"

// tags is a registry: tags that can be moved.
type tags struct {
	mu sync.Mutex
	to map[string]rollback.Digest
}

func (r *tags) move(ref string, d rollback.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to[ref] = d
}

func (r *tags) resolve(ref string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d, ok := r.to[ref]; ok {
		return string(d), nil
	}
	return "", world.ErrImageNotFound
}

// alive starts a cluster whose :latest is the bad image and returns it with a client that has exactly the rights of the
// rules in the namespace prod.
func alive(t *testing.T, rules []Rule) (*world.Server, *Cluster, *tags) {
	t.Helper()
	registry := &tags{to: map[string]rollback.Digest{image + ":latest": bad}}
	s := world.New(world.Options{
		Resolve: registry.resolve, Namespaces: []string{"prod"},
		Users: []world.User{{Token: "t", Name: "ada", Rules: granted(rules)}},
	})
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
		for _, r := range s.Refused() {
			t.Errorf("the server does not know: %s", r)
		}
	})
	c, err := New(Config{Host: server.URL, Context: "eks:prod", Token: token("t"), CallTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	impatient(c)
	return s, c, registry
}

// granted is what an administrator makes of the rules for the namespace prod.
func granted(rules []Rule) []world.Rule {
	var all []world.Rule
	for _, r := range rules {
		names := slices.Clone(r.Names)
		for i, n := range names {
			if n == "{namespace}" {
				names[i] = "prod"
			}
		}
		g := world.Rule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}, ResourceNames: names, Verbs: r.Verbs}
		if !r.Cluster {
			g.Namespaces = []string{"prod"}
		}
		all = append(all, g)
	}
	return all
}

// until observes, after each hint, until the workloads are as wanted.
func until(t *testing.T, c *Cluster, hints <-chan struct{}, refs []rollback.Ref, want func(rollback.Observation) bool) []rollback.Observation {
	t.Helper()
	ctx := ctxFor(t)
	for {
		seen, err := c.Observe(ctx, refs)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(seen, func(o rollback.Observation) bool { return !want(o) }) {
			return seen
		}
		select {
		case <-hints:
		case <-ctx.Done():
			t.Fatalf("never as wanted: %+v", seen)
		}
	}
}

// runs tells whether all pods, and as many as asked for, run the digest.
func runs(d rollback.Digest) func(rollback.Observation) bool {
	return func(o rollback.Observation) bool {
		r := o.Workload.Rollout
		if r.ObservedGeneration < r.Generation || len(o.Pods) != r.Desired || r.Desired == 0 || r.Updated != r.Desired || r.Ready != r.Desired {
			return false
		}
		for _, p := range o.Pods {
			if p.Terminating || !p.Ready || p.ReadySince.IsZero() || p.Containers[0].Digest != d {
				return false
			}
		}
		return true
	}
}

// The whole way with nothing but the documented rights: look, restart, wait by hints, prove.
func TestRollbackOfALiveCluster(t *testing.T) {
	t.Parallel()
	s, c, registry := alive(t, Rules())
	if err := s.ApplyAs("helm",
		world.NewDeployment("prod", "payments", image+":latest", 3),
		world.NewDeployment("prod", "worker", image+":latest", 1),
		world.NewStatefulSet("prod", "ledger", image+":latest", 2),
		world.NewDaemonSet("prod", "agent", image+":latest"),
		world.NewConfigMap("prod", "app", map[string]string{"a": "1"}),
		world.NewCronJob("prod", "report", image+":latest", "@daily"),
	); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctxFor(t))
	defer cancel()
	id, err := c.Identity(ctx)
	if err != nil || id.UID == "" || id.User != "ada" || id.Context != "eks:prod" {
		t.Fatalf("%+v, %v", id, err)
	}
	hints := c.Changes(ctx, "prod")
	refs := []rollback.Ref{payments,
		{Kind: "Deployment", Namespace: "prod", Name: "worker"},
		{Kind: "StatefulSet", Namespace: "prod", Name: "ledger"},
		{Kind: "DaemonSet", Namespace: "prod", Name: "agent"},
	}
	until(t, c, hints, refs, runs(bad))

	inv, err := c.Inventory(ctx, "prod")
	if err != nil || len(inv.Workloads) != 5 || len(inv.Pods) != 7 || len(inv.Unknown) != 0 {
		t.Fatalf("%d workloads, %d pods, unknown %q, %v", len(inv.Workloads), len(inv.Pods), inv.Unknown, err)
	}
	for _, w := range inv.Workloads {
		if w.ManagedBy != "helm" || w.Containers[0].Image != image+":latest" || w.Containers[0].PullPolicy != "Always" {
			t.Errorf("%+v", w)
		}
	}
	for _, p := range inv.Pods {
		if !slices.Contains(refs, p.Owner) || p.Containers[0].Digest != bad || p.Node == "" || p.Created.IsZero() || p.Stamp != "" {
			t.Errorf("%+v", p)
		}
	}
	i := slices.IndexFunc(inv.Configs, func(a rollback.ConfigAge) bool { return a.Name == "app" })
	if i < 0 || inv.Configs[i].Changed.IsZero() || !slices.Equal(inv.Configs[i].Keys, []string{"a"}) {
		t.Errorf("configs %+v", inv.Configs)
	}

	registry.move(image+":latest", good)
	for range 2 { // the second time changes nothing
		for _, ref := range refs {
			if err := c.Restart(ctx, ref, "R1", on(2026, 11, 23, 3)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, o := range until(t, c, hints, refs, runs(good)) {
		if o.Workload.Stamp != "R1" || o.Workload.Rollout.Generation != 2 || o.Pods[0].Stamp != "R1" {
			t.Errorf("%+v", o)
		}
	}
	access, err := c.Can(ctx, "prod", Rules())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range access {
		if len(a.Missing) > 0 {
			t.Errorf("missing %q of %+v", a.Missing, a.Rule)
		}
	}
	cancel()
	for range hints {
	}
}

// Without the optional rules everything needed still works, and the program knows what it lacks.
func TestWithoutOptionalRights(t *testing.T) {
	t.Parallel()
	needed := slices.DeleteFunc(Rules(), func(r Rule) bool { return r.Optional || r.Act == ActRecord })
	s, c, _ := alive(t, needed)
	if err := s.Apply(world.NewDeployment("prod", "payments", image+":latest", 1)); err != nil {
		t.Fatal(err)
	}
	ctx := ctxFor(t)
	tick := make(chan struct{})
	close(tick) // no hints: look again at once
	until(t, c, tick, []rollback.Ref{payments}, runs(bad))
	inv, err := c.Inventory(ctx, "prod")
	if err != nil || len(inv.Pods) != 1 || inv.Pods[0].Owner != payments || len(inv.Unknown) != 4 {
		t.Errorf("%+v, %v", inv, err)
	}
	d, err := c.Diagnose(ctx, "prod", inv.Pods[0].Name, "payments")
	if err != nil || len(d.Events) != 2 || !strings.Contains(d.Events[0], "events not readable") {
		t.Errorf("%+v, %v", d, err)
	}
	if _, _, _, err := c.ConfigMaps("prod").Get(ctx, "rollback-payments"); rollback.KindOf(err) != rollback.Denied {
		t.Errorf("%v", err)
	}
	access, err := c.Can(ctx, "prod", Rules())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range access {
		lacks := len(a.Missing) > 0
		if want := a.Rule.Optional || a.Rule.Act == ActRecord; lacks != want && a.Rule.Act != ActDiagnose { // reading pods is granted for other acts
			t.Errorf("missing %q of %+v", a.Missing, a.Rule)
		}
	}
}

func TestDiagnoseOfACrash(t *testing.T) {
	t.Parallel()
	s, c, _ := alive(t, Rules())
	s.Behave(string(bad), world.Behaviour{Crash: true, ExitCode: 3, Logs: "starting\npanic: no such column\n"})
	if err := s.Apply(
		world.NewDeployment("prod", "payments", image+":latest", 1),
		world.NewDeployment("prod", "typo", image+":nosuch", 1),
	); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctxFor(t))
	defer cancel()
	hints := c.Changes(ctx, "prod")
	waits := func(reason string) func(rollback.Observation) bool {
		return func(o rollback.Observation) bool {
			return len(o.Pods) == 1 && o.Pods[0].Containers[0].Waiting == reason
		}
	}
	crashed := until(t, c, hints, []rollback.Ref{payments}, waits("CrashLoopBackOff"))[0].Pods[0]
	if got := crashed.Containers[0]; got.LastExit != 3 || got.Digest != bad {
		t.Errorf("%+v", got)
	}
	d, err := c.Diagnose(ctx, "prod", crashed.Name, "payments")
	if err != nil || !slices.Contains(d.Logs, "panic: no such column") || len(d.Events) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	typo := until(t, c, hints, []rollback.Ref{{Kind: "Deployment", Namespace: "prod", Name: "typo"}}, waits("ImagePullBackOff"))[0].Pods[0]
	if d, err = c.Diagnose(ctx, "prod", typo.Name, "typo"); err != nil || len(d.Logs) != 0 || !strings.Contains(strings.Join(d.Events, "\n"), "nosuch") {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := c.Diagnose(ctx, "prod", "gone", "app"); rollback.KindOf(err) != rollback.NotFound {
		t.Errorf("%v", err)
	}
}

// The API server restarts and forgets its history: hints go on.
func TestChangesSurviveTheServer(t *testing.T) {
	t.Parallel()
	s, c, _ := alive(t, Rules())
	ctx, cancel := context.WithCancel(ctxFor(t))
	defer cancel()
	hints := c.Changes(ctx, "prod")
	for i := range 3 {
		if err := s.Apply(world.NewDeployment("prod", fmt.Sprintf("svc-%d", i), image+":latest", 1)); err != nil {
			t.Fatal(err)
		}
		s.Compact()
		s.DropWatches()
		// Changes between two watches can be lost after a compaction, so keep changing until one is seen.
		for n, heard := 1, false; !heard; n++ {
			if err := s.Scale("deployments", "prod", fmt.Sprintf("svc-%d", i), n%5); err != nil {
				t.Fatal(err)
			}
			select {
			case _, heard = <-hints:
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("no hint")
			}
		}
	}
}

func TestTokenExpiresInTheMiddle(t *testing.T) {
	t.Parallel()
	s, c, _ := alive(t, Rules())
	ctx := ctxFor(t)
	if _, err := c.Inventory(ctx, "prod"); err != nil {
		t.Fatal(err)
	}
	s.Revoke("t")
	for _, a := range acts {
		var f *rollback.CallError
		if err := a.do(ctx, c); !errors.As(err, &f) || f.Kind != rollback.Expired || f.Maybe || !strings.Contains(f.Fix, "eks:prod") {
			t.Errorf("%s: %v", a.name, err)
		}
	}
}

func TestRecordsOnALiveCluster(t *testing.T) {
	t.Parallel()
	s, c, _ := alive(t, Rules(ActRecord, ActRecords))
	ctx := ctxFor(t)
	store := c.ConfigMaps("prod")
	label := map[string]string{"app.kubernetes.io/managed-by": "rollback"}
	version, err := store.Put(ctx, "rollback-payments", label, map[string]string{"record": "1", "old": "x"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "rollback-payments", label, nil, ""); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("made twice: %v", err)
	}
	if version, err = store.Put(ctx, "rollback-payments", label, map[string]string{"record": "2"}, version); err != nil {
		t.Fatal(err)
	}
	if err := s.Edit("configmaps", "prod", "rollback-payments", func(o map[string]any) {
		world.Set(o, "shop", "metadata", "labels", "team")
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "rollback-payments", label, map[string]string{"record": "3"}, version); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("changed by another: %v", err)
	}
	data, version, found, err := store.Get(ctx, "rollback-payments")
	if err != nil || !found || len(data) != 1 || data["record"] != "2" {
		t.Fatalf("%v %v %v", data, found, err)
	}
	if version, err = store.Put(ctx, "rollback-payments", label, map[string]string{"record": "3"}, version); err != nil {
		t.Fatal(err)
	}
	list, err := store.List(ctx, "app.kubernetes.io/managed-by=rollback")
	if err != nil || len(list) != 1 || list[0].Version != version || list[0].Data["record"] != "3" {
		t.Errorf("%+v, %v", list, err)
	}
	o := s.Get("configmaps", "prod", "rollback-payments")
	if world.At(o, "metadata", "labels", "team") != "shop" {
		t.Errorf("the label of another is gone: %v", o)
	}
}
