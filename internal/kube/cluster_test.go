package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// populate adds n Deployments with one pod each.
func populate(s *stub, n int) []rollback.Ref {
	var refs []rollback.Ref
	for i := range n {
		name := fmt.Sprintf("svc-%d", i)
		s.put("/apis/apps/v1/namespaces/prod/deployments/"+name, fmt.Sprintf(`{"metadata":{"uid":"d-%s"},"spec":{"selector":{"matchLabels":{"app":%q}}}}`, name, name))
		s.put("/api/v1/namespaces/prod/pods/"+name+"-5d-x", fmt.Sprintf(`{"metadata":{"labels":{"app":%q,"pod-template-hash":"5d"},
			"ownerReferences":[{"kind":"ReplicaSet","name":%q,"controller":true}]}}`, name, name+"-5d"))
		refs = append(refs, rollback.Ref{Kind: "Deployment", Namespace: "prod", Name: name})
	}
	return refs
}

func TestInventory(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	s.put("/apis/apps/v1/namespaces/prod/statefulsets/db", `{"metadata":{},"spec":{}}`)
	s.put("/apis/apps/v1/namespaces/prod/daemonsets/agent", `{"metadata":{},"spec":{}}`)
	s.put("/apis/batch/v1/namespaces/prod/cronjobs/report", `{"metadata":{},"spec":{"schedule":"@daily"}}`)
	s.put("/apis/batch/v1/namespaces/prod/jobs/report-1", `{"metadata":{"uid":"j1","ownerReferences":[{"kind":"CronJob","name":"report","controller":true}]},"spec":{}}`)
	s.put("/api/v1/namespaces/prod/pods/report-1-x", `{"metadata":{"ownerReferences":[{"kind":"Job","name":"report-1","uid":"j1","controller":true}]}}`)
	s.put("/apis/apps/v1/namespaces/prod/replicasets/canary-77", `{"metadata":{"uid":"rs2","ownerReferences":[{"kind":"Rollout","name":"canary","controller":true}]}}`)
	s.put("/api/v1/namespaces/prod/pods/canary-77-x", `{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"canary-77","uid":"rs2","controller":true}]}}`)
	s.put("/api/v1/namespaces/prod/configmaps/app", `{"metadata":{"managedFields":[{"manager":"helm","time":"2026-02-01T00:00:00Z","fieldsV1":{"f:data":{"f:a":{}}}}]},"data":{"a":"1"}}`)
	s.put("/apis/apps/v1/namespaces/other/deployments/elsewhere", `{"metadata":{},"spec":{}}`)
	inv, err := at(t, s.url).Inventory(ctxFor(t), "prod")
	if err != nil {
		t.Fatal(err)
	}
	var workloads, owners []string
	for _, w := range inv.Workloads {
		workloads = append(workloads, w.Ref.String())
	}
	for _, p := range inv.Pods {
		owners = append(owners, p.Owner.String())
	}
	if diff := cmp.Diff([]string{"deployment/payments", "statefulset/db", "daemonset/agent", "cronjob/report", "job/report-1"}, workloads); diff != "" {
		t.Errorf("workloads (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"rollout/canary", "deployment/payments", "cronjob/report"}, owners); diff != "" {
		t.Errorf("owners of the pods (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]rollback.ConfigAge{{Name: "app", Changed: on(2026, 2, 1, 0), Keys: []string{"a"}}}, inv.Configs); diff != "" {
		t.Errorf("configs (-want +got)\n%s", diff)
	}
	if len(inv.Unknown) > 0 || inv.Namespace != "prod" {
		t.Errorf("%q in %q", inv.Unknown, inv.Namespace)
	}
	for _, r := range s.requests {
		_, resource, _, _ := take(r.URL.Path)
		if partial := strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList"); partial != (resource == "configmaps" || resource == "replicasets") {
			t.Errorf("%s: metadata only is %v", r.URL.Path, partial)
		}
	}
}

func TestInventoryWithoutRights(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	for _, resource := range []string{"LIST cronjobs", "LIST jobs", "LIST replicasets", "LIST configmaps", "GET namespaces"} {
		s.Inject(forbidden(resource))
	}
	inv, err := at(t, s.url).Inventory(ctxFor(t), "prod")
	want := []string{
		"cronjobs: not allowed, needs list on cronjobs.batch", "jobs: not allowed, needs list on jobs.batch",
		"replicasets: not allowed, needs list on replicasets.apps", "configmaps: not allowed, needs list on configmaps",
		"whether the namespace prod exists: it is empty, and get on namespaces is not allowed",
	}
	if diff := cmp.Diff(want, inv.Unknown); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	s.Inject(forbidden("LIST pods"))
	_, err = at(t, s.url).Inventory(ctxFor(t), "prod")
	if rollback.KindOf(err) != rollback.Denied || !strings.Contains(rollback.FixOf(err), "allow list on pods in namespace prod") {
		t.Errorf("%v, fix %q", err, rollback.FixOf(err))
	}
}

func TestInventoryOfAMissingNamespace(t *testing.T) {
	t.Parallel()
	_, err := at(t, newStub(t).url).Inventory(ctxFor(t), "prdo")
	if rollback.KindOf(err) != rollback.NotFound || !strings.Contains(err.Error(), "namespace/prdo") || !strings.Contains(rollback.FixOf(err), "context") {
		t.Errorf("%v, fix %q", err, rollback.FixOf(err))
	}
}

func TestLongListsComeInPages(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	populate(s, pageSize+1)
	c := at(t, s.url)
	inv, err := c.Inventory(ctxFor(t), "prod")
	if err != nil || len(inv.Workloads) != pageSize+1 || len(inv.Pods) != pageSize+1 {
		t.Fatalf("%d workloads, %d pods, %v", len(inv.Workloads), len(inv.Pods), err)
	}
	if n := s.Count("LIST pods"); n != 2 {
		t.Errorf("%d pages", n)
	}
	// The second page has expired: the list is read again, in one piece.
	s.Reset()
	s.Inject(fake.Fault{Op: "LIST pods", Skip: 1, Times: 1, Status: 410, Header: jsonHeader, Body: statusBody(410, "Expired", "The provided continue parameter is too old")})
	inv, err = c.Inventory(ctxFor(t), "prod")
	if err != nil || len(inv.Pods) != pageSize+1 {
		t.Errorf("after 410: %d pods, %v", len(inv.Pods), err)
	}
	if n := s.Count("LIST pods"); n != 3 {
		t.Errorf("%d lists", n)
	}
}

// With a barrier on all requests, a test ends only if they are all sent before the first is answered.
func TestWaves(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	refs := append(populate(s, manyWorkloads-1), payments)
	c := at(t, s.url)
	wave := func(name string, requests int, acts ...func() error) {
		t.Helper()
		s.Clear()
		s.Reset()
		s.Inject(fake.Fault{Hold: barrier(t, requests)})
		errs := make(chan error)
		for _, act := range acts {
			go func() { errs <- act() }()
		}
		for range acts {
			if err := <-errs; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := len(s.Requests()); n != requests {
			t.Errorf("%s: %d requests, want %d", name, n, requests)
		}
	}
	ctx := ctxFor(t)
	wave("identity and inventory", 2+9,
		func() error { _, err := c.Identity(ctx); return err },
		func() error { _, err := c.Inventory(ctx, "prod"); return err })
	wave("observe one", 2, func() error { _, err := c.Observe(ctx, []rollback.Ref{payments}); return err })
	wave("observe some", 2*4, func() error { _, err := c.Observe(ctx, refs[1:]); return err })
	wave("observe many", 2, func() error { _, err := c.Observe(ctx, refs); return err })
	wave("restart", 1, func() error { return c.Restart(ctx, payments, "R1", on(2026, 11, 23, 3)) })
	wave("diagnose", 4, func() error { return diagnose(ctx, c) })
	wave("access", 3, func() error { _, err := c.Can(ctx, "prod", Rules(ActRestart)); return err })
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	c := at(t, s.url)
	when := time.Date(2026, 11, 23, 4, 5, 6, 7, time.FixedZone("CET", 3600))
	if err := c.Restart(ctxFor(t), payments, "R1", when); err != nil {
		t.Fatal(err)
	}
	want := `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-23T03:05:06Z","rollback-tools.github.io/run":"R1"}}}}}`
	if got := s.lastBody(); got != want {
		t.Errorf("patch %s", got)
	}
	if q := s.lastRequest().URL.Query().Get("fieldManager"); q != "rollback" {
		t.Errorf("field manager %q", q)
	}
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	before := s.read("/apis/apps/v1/namespaces/prod/deployments/payments")["metadata"].(map[string]any)["generation"]
	// The answer is lost, and so it is asked again: nothing changes.
	s.Inject(fake.Fault{Op: "PATCH deployments", After: true, Drop: true, Times: 1})
	if err := c.Restart(ctxFor(t), payments, "R1", when); err != nil {
		t.Fatal(err)
	}
	if after := s.read("/apis/apps/v1/namespaces/prod/deployments/payments")["metadata"].(map[string]any)["generation"]; after != before {
		t.Errorf("generation %v became %v", before, after)
	}
	seen, err := c.Observe(ctxFor(t), []rollback.Ref{payments})
	if err != nil || seen[0].Workload.Stamp != "R1" || seen[0].Workload.Rollout.Generation != 2 {
		t.Errorf("%+v, %v", seen, err)
	}
	for _, kind := range []string{"CronJob", "Job", "Rollout", "Pod"} {
		s.Reset()
		if err := c.Restart(ctxFor(t), rollback.Ref{Kind: kind, Namespace: "prod", Name: "x"}, "R1", when); rollback.KindOf(err) != rollback.Rejected || len(s.Requests()) > 0 {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range []string{"StatefulSet", "DaemonSet"} {
		s.put("/apis/apps/v1/namespaces/prod/"+lower(kind)+"s/x", `{"metadata":{}}`)
		if err := c.Restart(ctxFor(t), rollback.Ref{Kind: kind, Namespace: "prod", Name: "x"}, "R1", when); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	// A neighbour whose pods carry labels that the selector of payments takes as well.
	s.put("/api/v1/namespaces/prod/pods/payments-api-66-x", `{"metadata":{"labels":{"app":"payments","pod-template-hash":"66"},
		"ownerReferences":[{"kind":"ReplicaSet","name":"payments-api-66","uid":"rs9","controller":true}]}}`)
	refs := append(populate(s, manyWorkloads), payments)
	for _, c := range []struct {
		name string
		refs []rollback.Ref
	}{{"one, never seen before", refs[5:]}, {"some", refs[2:]}, {"many", refs}} {
		cluster := at(t, s.url)
		for range 2 {
			seen, err := cluster.Observe(ctxFor(t), c.refs)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			for i, o := range seen {
				if o.Workload.Ref != c.refs[i] || len(o.Pods) != 1 || o.Pods[0].Owner != c.refs[i] {
					t.Errorf("%s: %v got %v with %d pods", c.name, c.refs[i], o.Workload.Ref, len(o.Pods))
				}
			}
		}
	}
	gone := rollback.Ref{Kind: "Deployment", Namespace: "prod", Name: "gone"}
	for _, refs := range [][]rollback.Ref{{gone}, append(slices.Clone(refs), gone)} {
		if _, err := at(t, s.url).Observe(ctxFor(t), refs); rollback.KindOf(err) != rollback.NotFound || !strings.Contains(err.Error(), "gone") {
			t.Errorf("%v", err)
		}
	}
	if _, err := at(t, s.url).Observe(ctxFor(t), []rollback.Ref{{Kind: "Rollout", Namespace: "prod", Name: "x"}}); rollback.KindOf(err) != rollback.Rejected {
		t.Errorf("%v", err)
	}
	if seen, err := at(t, s.url).Observe(ctxFor(t), nil); err != nil || len(seen) != 0 {
		t.Errorf("%v, %v", seen, err)
	}
	// The workload was deleted and made anew with other labels.
	c := at(t, s.url)
	if _, err := c.Observe(ctxFor(t), refs[:1]); err != nil {
		t.Fatal(err)
	}
	s.put("/apis/apps/v1/namespaces/prod/deployments/svc-0", `{"metadata":{},"spec":{"selector":{"matchLabels":{"app":"new"}}}}`)
	s.put("/api/v1/namespaces/prod/pods/svc-0-77-y", `{"metadata":{"labels":{"app":"new","pod-template-hash":"77"},"ownerReferences":[{"kind":"ReplicaSet","name":"svc-0-77","controller":true}]}}`)
	if seen, err := c.Observe(ctxFor(t), refs[:1]); err != nil || len(seen[0].Pods) != 1 || seen[0].Pods[0].Name != "svc-0-77-y" {
		t.Errorf("%+v, %v", seen, err)
	}
}

// hint waits for one.
func hint(t *testing.T, hints <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-hints:
		if !ok {
			t.Fatalf("%s: closed", what)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no hint", what)
	}
}

func TestChanges(t *testing.T) {
	s := furnished(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	c := at(t, s.url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Inject(forbidden("LIST daemonsets")) // gives up on these, silently
	hints := c.Changes(ctx, "prod")
	podLines := s.lines("/api/v1/namespaces/prod/pods")
	version := 1000
	// Every fresh watch gives one hint by itself: when more changes than that are told, it is because they are seen.
	changes := func(lines chan string, n int, what string) {
		for range n {
			version++
			lines <- fmt.Sprintf(`{"type":"MODIFIED","object":{"metadata":{"name":"x","resourceVersion":"%d"}}}`, version)
			hint(t, hints, what)
		}
	}
	changes(podLines, 4, "a pod")
	changes(s.lines("/apis/apps/v1/namespaces/prod/deployments"), 4, "a deployment")
	// A bookmark is no change, but it is where the next watch starts.
	podLines <- `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2000"}}}`
	podLines <- "EOF"
	version = 2000
	changes(podLines, 1, "after the end of a watch")
	podLines <- `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}`
	version = 3000
	changes(podLines, 2, "after 410")
	podLines <- "not JSON"
	changes(podLines, 1, "after garbage")
	s.Inject(fake.Fault{Op: "WATCH pods", Times: 2, Status: 500})
	s.Inject(fake.Fault{Op: "WATCH pods", Times: 1, Drop: true})
	podLines <- `{"type":"ERROR","object":{"kind":"Status","code":500}}`
	changes(podLines, 1, "after failures")
	// More changes than are looked at do not block.
	for range 10 {
		podLines <- `{"type":"MODIFIED","object":{"metadata":{"name":"x","resourceVersion":"5000"}}}`
	}
	cancel()
	for range hints { // closed in the end
	}

	var versions []string
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if q := r.URL.Query(); q.Get("watch") == "true" && strings.HasSuffix(r.URL.Path, "/pods") {
			versions = append(versions, q.Get("resourceVersion"))
			if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata;") || q.Get("timeoutSeconds") == "" || q.Get("allowWatchBookmarks") != "true" {
				t.Errorf("watched %s as %s", r.URL, r.Header.Get("Accept"))
			}
		}
	}
	now := fmt.Sprint(s.version)
	if want := []string{now, "2000", now, "3002", "3003"}; !slices.Equal(versions, want) {
		t.Errorf("watched from %q, want %q", versions, want)
	}
}

func TestChangesMayBeForbidden(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	s.Inject(forbidden("WATCH*"))
	ctx, cancel := context.WithCancel(t.Context())
	hints := at(t, s.url).Changes(ctx, "prod")
	for s.Count("WATCH*") < 4 {
		select {
		case <-hints:
			t.Fatal("a hint")
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-hints:
		t.Error("a hint, or closed before the end")
	default:
	}
	cancel()
	if _, open := <-hints; open {
		t.Error("still open")
	}
	if n := s.Count("WATCH*"); n != 4 {
		t.Errorf("%d watches", n)
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	s.put("/api/v1/namespaces/prod/events/e1", `{"metadata":{},"involvedObject":{"kind":"Pod","name":"payments-5d9c-x1","uid":"p1"},"reason":"BackOff","message":"Back-off restarting failed container","lastTimestamp":"2026-11-23T03:00:00Z"}`)
	s.put("/api/v1/namespaces/prod/events/e2", `{"metadata":{},"involvedObject":{"uid":"before"},"reason":"Pulled","message":"x"}`)
	c := at(t, s.url)
	got, err := c.Diagnose(ctxFor(t), "prod", "payments-5d9c-x1", "app")
	want := rollback.Diagnosis{Events: []string{"BackOff: Back-off restarting failed container"}, Logs: []string{"started"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	s.mu.Lock()
	s.logs["/api/v1/namespaces/prod/pods/payments-5d9c-x1/log?previous"] = "panic: no such column\n"
	for _, r := range s.requests {
		q := r.URL.Query()
		if strings.HasSuffix(r.URL.Path, "/log") && (q.Get("tailLines") != "20" || q.Get("limitBytes") == "" || q.Get("container") != "app") {
			t.Errorf("log asked by %s", r.URL)
		}
		if strings.HasSuffix(r.URL.Path, "/events") && q.Get("fieldSelector") != "involvedObject.kind=Pod,involvedObject.name=payments-5d9c-x1" {
			t.Errorf("events asked by %s", r.URL)
		}
	}
	s.mu.Unlock()
	if got, err = c.Diagnose(ctxFor(t), "prod", "payments-5d9c-x1", "app"); err != nil || !slices.Equal(got.Logs, []string{"panic: no such column"}) {
		t.Errorf("before the restart: %q, %v", got.Logs, err)
	}
	workload, err := c.Events(ctxFor(t), rollback.Ref{Kind: "StatefulSet", Namespace: "prod", Name: "db"})
	if err != nil || !slices.Equal(workload, []string{"BackOff: Back-off restarting failed container", "Pulled: x"}) && !slices.Equal(workload, []string{"Pulled: x", "BackOff: Back-off restarting failed container"}) {
		t.Errorf("of a workload: %q, %v", workload, err)
	}
	s.mu.Lock()
	if q := s.requests[len(s.requests)-1].URL.Query().Get("fieldSelector"); q != "involvedObject.kind=StatefulSet,involvedObject.name=db" {
		t.Errorf("events of a workload asked by %s", q)
	}
	s.mu.Unlock()
	s.Inject(forbidden("GET pods/log"))
	s.Inject(forbidden("LIST events"))
	if workload, err = c.Events(ctxFor(t), payments); err != nil || !slices.Equal(workload, []string{"events not readable: needs list on events in namespace prod"}) {
		t.Errorf("of a workload, without rights: %q, %v", workload, err)
	}
	got, err = c.Diagnose(ctxFor(t), "prod", "payments-5d9c-x1", "app")
	want = rollback.Diagnosis{Events: []string{"events not readable: needs list on events in namespace prod", "logs not readable: needs get on pods/log in namespace prod"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("without rights: %v (-want +got)\n%s", err, diff)
	}
}

func TestConfigMaps(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	c := at(t, s.url)
	store, other := c.ConfigMaps("prod"), c.ConfigMaps("prod")
	ctx := ctxFor(t)
	label := map[string]string{"app.kubernetes.io/managed-by": "rollback"}
	const name, path = "rollback-payments", "/api/v1/namespaces/prod/configmaps/rollback-payments"

	if _, _, found, err := store.Get(ctx, name); found || err != nil {
		t.Fatalf("found %v, %v", found, err)
	}
	v1, err := store.Put(ctx, name, label, map[string]string{"record": "1", "old": "x"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if m := s.lastRequest().URL.Query().Get("fieldManager"); m != "rollback" {
		t.Errorf("field manager %q", m)
	}
	if _, err := other.Put(ctx, name, label, map[string]string{"record": "2"}, ""); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("made twice: %v", err)
	}
	s.Reset()
	v2, err := store.Put(ctx, name, label, map[string]string{"record": "2"}, v1)
	if err != nil || v2 == v1 || len(s.Requests()) != 1 {
		t.Fatalf("version %s after %s in %d requests, %v", v2, v1, len(s.Requests()), err)
	}
	if diff := cmp.Diff(object{"record": "2"}, s.read(path)["data"]); diff != "" {
		t.Errorf("data is replaced (-want +got)\n%s", diff)
	}
	if _, err := store.Put(ctx, name, label, nil, v1); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("with an old version: %v", err)
	}
	// What others add stays, whether we have seen it or not.
	s.put(path, `{"metadata":{"labels":{"team":"shop"},"annotations":{"note":"keep"},"managedFields":[{"manager":"x"}]},"immutable":false,"data":{"record":"3"}}`)
	_, v3, _, err := other.Get(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	v4, err := store.Put(ctx, name, label, map[string]string{"record": "4"}, v3) // reads it first
	if err != nil {
		t.Fatal(err)
	}
	got := s.read(path)["metadata"].(map[string]any)
	if diff := cmp.Diff(object{"team": "shop", "app.kubernetes.io/managed-by": "rollback"}, got["labels"]); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(object{"note": "keep"}, got["annotations"]); diff != "" || got["managedFields"] != nil {
		t.Errorf("managed fields %v, annotations (-want +got)\n%s", got["managedFields"], diff)
	}
	s.put("/api/v1/namespaces/prod/configmaps/unrelated", `{"metadata":{"labels":{"a":"b"}}}`)
	list, err := store.List(ctx, "app.kubernetes.io/managed-by=rollback")
	if diff := cmp.Diff([]rollback.StoredObject{{Name: name, Data: map[string]string{"record": "4"}, Version: v4}}, list); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	// Deleted by somebody.
	s.mu.Lock()
	delete(s.objects, path)
	s.mu.Unlock()
	if _, err := store.Put(ctx, name, label, nil, v4); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("deleted, seen: %v", err)
	}
	if _, err := c.ConfigMaps("prod").Put(ctx, name, label, nil, v4); rollback.KindOf(err) != rollback.Conflict {
		t.Errorf("deleted, never seen: %v", err)
	}
	s.put(path, `{"metadata":{},"data":{"record":7}}`)
	if _, _, _, err := store.Get(ctx, name); rollback.KindOf(err) != rollback.Broken {
		t.Errorf("data that is no text: %v", err)
	}
}

// Of two writers of the same version exactly one wins.
func TestCompareAndSwap(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	c := at(t, s.url)
	version, err := c.ConfigMaps("prod").Put(ctxFor(t), "rollback-payments", nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := c.ConfigMaps("prod").Put(ctxFor(t), "rollback-payments", nil, map[string]string{"a": "b"}, version)
			errs <- err
		}()
	}
	won := 0
	for range 8 {
		switch err := <-errs; {
		case err == nil:
			won++
		case rollback.KindOf(err) != rollback.Conflict:
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestCan(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	asked := []string{}
	s.allowed = func(a object) bool { // called with the lock held
		text, _ := json.Marshal(a)
		asked = append(asked, string(text))
		return a["verb"] != "patch" && a["subresource"] != "log"
	}
	got, err := at(t, s.url).Can(ctxFor(t), "prod", Rules())
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for i, a := range got {
		if a.Rule.Resource != Rules()[i].Resource {
			t.Errorf("rule %d is about %s", i, a.Rule.Resource)
		}
		for _, verb := range a.Missing {
			missing = append(missing, verb+" "+a.Rule.Resource)
		}
		if len(a.Missing) > 0 && a.Reason == "" {
			t.Errorf("no reason for %v", a)
		}
	}
	if diff := cmp.Diff([]string{"patch deployments", "patch statefulsets", "patch daemonsets", "get pods/log"}, missing); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, want := range []string{
		`{"group":"","name":"kube-system","namespace":"kube-system","resource":"namespaces","verb":"get"}`,
		`{"group":"","name":"prod","namespace":"prod","resource":"namespaces","verb":"get"}`,
		`{"group":"","namespace":"prod","resource":"pods","subresource":"log","verb":"get"}`,
		`{"group":"apps","namespace":"prod","resource":"deployments","verb":"patch"}`,
	} {
		if !slices.Contains(asked, want) {
			t.Errorf("not asked: %s", want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	var asked []string
	s.allowed = func(a object) bool { // called with the lock held
		text, _ := json.Marshal(a)
		asked = append(asked, string(text))
		return a["resource"] == "daemonsets" || a["verb"] == "create" || a["name"] == "web"
	}
	c := at(t, s.url)
	rights := []rollback.Right{
		{Verb: "patch", Kind: "Deployment"}, {Verb: "patch", Kind: "Deployment", Name: "web"}, {Verb: "patch", Kind: "StatefulSet"}, {Verb: "patch", Kind: "DaemonSet"},
		{Verb: "create", Kind: "ConfigMap"}, {Verb: "update", Kind: "ConfigMap", Name: "rollback-payments"},
	}
	got, err := c.Missing(ctxFor(t), "prod", rights...)
	if diff := cmp.Diff([]rollback.Right{rights[0], rights[2], rights[5]}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	slices.Sort(asked)
	if diff := cmp.Diff([]string{
		`{"group":"","name":"rollback-payments","namespace":"prod","resource":"configmaps","verb":"update"}`,
		`{"group":"","namespace":"prod","resource":"configmaps","verb":"create"}`,
		`{"group":"apps","name":"web","namespace":"prod","resource":"deployments","verb":"patch"}`,
		`{"group":"apps","namespace":"prod","resource":"daemonsets","verb":"patch"}`,
		`{"group":"apps","namespace":"prod","resource":"deployments","verb":"patch"}`,
		`{"group":"apps","namespace":"prod","resource":"statefulsets","verb":"patch"}`,
	}, asked); diff != "" {
		t.Errorf("asked (-want +got)\n%s", diff)
	}
	if _, err := c.Missing(ctxFor(t), "prod", rollback.Right{Verb: "delete", Kind: "Secret"}); err == nil {
		t.Error("a kind that is none of ours")
	}
	s.Inject(forbidden("POST selfsubjectaccessreviews"))
	if _, err := c.Missing(ctxFor(t), "prod", rights...); rollback.KindOf(err) != rollback.Denied {
		t.Errorf("may not ask: %v", err)
	}
}

// Every call that the package makes is covered by a rule, or is a review of ourselves.
func TestRulesCoverEveryCall(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	for _, a := range acts {
		if err := a.do(ctxFor(t), at(t, s.url)); err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	at(t, s.url).Changes(ctx, "prod")
	for s.Count("*") == 0 || len(watched(s)) < 4 {
		<-time.After(time.Millisecond)
	}
	allowed := map[string]bool{}
	for _, r := range Rules() {
		for _, v := range r.Verbs {
			allowed[v+" "+r.Resource] = true
		}
	}
	verbs := map[string]string{"GET": "get", "LIST": "list", "WATCH": "watch", "POST": "create", "PUT": "update", "PATCH": "patch"}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		verb, resource, _ := strings.Cut(stubOp(r), " ")
		if !allowed[verbs[verb]+" "+resource] && !strings.HasPrefix(resource, "selfsubject") {
			t.Errorf("%s %s is in no rule", verbs[verb], resource)
		}
	}
}

func watched(s *stub) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.URL.Query().Get("watch") == "true" {
			all = append(all, r.URL.Path)
		}
	}
	return all
}

func TestRulesOf(t *testing.T) {
	t.Parallel()
	for _, r := range Rules(ActRecord) {
		if r.Act != ActRecord {
			t.Errorf("%+v", r)
		}
	}
	if n := len(Rules(ActRestart)); n != 3 {
		t.Errorf("%d rules to restart", n)
	}
	for _, r := range Rules() {
		if r.Why == "" || len(r.Verbs) == 0 || r.Resource == "" {
			t.Errorf("%+v", r)
		}
	}
}
