package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

func forbidden(op string) fake.Fault {
	return fake.Fault{Op: op, Status: 403, Header: jsonHeader, Body: statusBody(403, "Forbidden", "ada may not")}
}

// fifo is a pipe that nobody writes to until the test ends.
func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
			_, _ = f.WriteString("\n")
			f.Close()
		}
	})
	return name
}

// acts are all methods that speak to the server, with the call that a fault is put into.
var acts = []struct {
	name, op string
	write    bool // the answer of a write can be lost
	repeats  bool
	do       func(ctx context.Context, c *Cluster) error
	// absorbs are the kinds of failure that the method lives with.
	absorbs []rollback.CallKind
}{
	{"Identity", "GET namespaces", false, true, func(ctx context.Context, c *Cluster) error { _, err := c.Identity(ctx); return err },
		[]rollback.CallKind{rollback.Denied, rollback.NotFound}},
	{"Identity, the user", "POST selfsubjectreviews", false, true, func(ctx context.Context, c *Cluster) error { _, err := c.Identity(ctx); return err },
		[]rollback.CallKind{rollback.Denied, rollback.NotFound, rollback.Rejected}},
	{"Inventory, pods", "LIST pods", false, true, inventory, nil},
	{"Inventory, deployments", "LIST deployments", false, true, inventory, nil},
	{"Inventory, stateful sets", "LIST statefulsets", false, true, inventory, nil},
	{"Inventory, daemon sets", "LIST daemonsets", false, true, inventory, nil},
	{"Inventory, cron jobs", "LIST cronjobs", false, true, inventory, []rollback.CallKind{rollback.Denied, rollback.NotFound}},
	{"Inventory, jobs", "LIST jobs", false, true, inventory, []rollback.CallKind{rollback.Denied, rollback.NotFound}},
	{"Inventory, replica sets", "LIST replicasets", false, true, inventory, []rollback.CallKind{rollback.Denied, rollback.NotFound}},
	{"Inventory, config maps", "LIST configmaps", false, true, inventory, []rollback.CallKind{rollback.Denied, rollback.NotFound}},
	{"Inventory, namespace", "GET namespaces", false, true, inventory, []rollback.CallKind{rollback.Denied}},
	{"Restart", "PATCH deployments", true, true, func(ctx context.Context, c *Cluster) error {
		return c.Restart(ctx, payments, "R1", on(2026, 11, 23, 3))
	}, nil},
	{"Observe, workload", "GET deployments", false, true, observe, nil},
	{"Observe, pods", "LIST pods", false, true, observe, nil},
	{"Diagnose, pod", "GET pods", false, true, diagnose, []rollback.CallKind{rollback.Denied}},
	{"Diagnose, events", "LIST events", false, true, diagnose, []rollback.CallKind{rollback.Denied}},
	{"Diagnose, logs", "GET pods/log", false, true, diagnose, []rollback.CallKind{
		rollback.Denied, rollback.NotFound, rollback.Conflict, rollback.Rejected, rollback.Throttled, rollback.ServerFault, rollback.Broken}},
	{"Get", "GET configmaps", false, true, func(ctx context.Context, c *Cluster) error {
		_, _, _, err := c.ConfigMaps("prod").Get(ctx, "rollback-payments")
		return err
	}, []rollback.CallKind{rollback.NotFound}},
	{"List", "LIST configmaps", false, true, func(ctx context.Context, c *Cluster) error {
		_, err := c.ConfigMaps("prod").List(ctx, "app.kubernetes.io/managed-by=rollback")
		return err
	}, nil},
	{"Put, new", "POST configmaps", true, false, func(ctx context.Context, c *Cluster) error {
		_, err := c.ConfigMaps("prod").Put(ctx, "rollback-web", nil, map[string]string{"a": "b"}, "")
		return err
	}, nil},
	{"Put, again", "PUT configmaps", true, false, func(ctx context.Context, c *Cluster) error {
		store := c.ConfigMaps("prod")
		_, version, _, err := store.Get(ctx, "rollback-payments")
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, "rollback-payments", nil, map[string]string{"a": "b"}, version)
		return err
	}, nil},
	{"Missing", "POST selfsubjectaccessreviews", false, true, func(ctx context.Context, c *Cluster) error {
		_, err := c.Missing(ctx, "prod", rollback.Right{Verb: "patch", Kind: "Deployment"})
		return err
	}, nil},
	{"Can", "POST selfsubjectaccessreviews", false, true, func(ctx context.Context, c *Cluster) error {
		_, err := c.Can(ctx, "prod", Rules(ActRestart))
		return err
	}, nil},
}

func inventory(ctx context.Context, c *Cluster) error { _, err := c.Inventory(ctx, "prod"); return err }

func observe(ctx context.Context, c *Cluster) error {
	_, err := c.Observe(ctx, []rollback.Ref{payments})
	return err
}

func diagnose(ctx context.Context, c *Cluster) error {
	_, err := c.Diagnose(ctx, "prod", "payments-5d9c-x1", "app")
	return err
}

// furnished is a stub with what the acts need.
func furnished(t *testing.T) *stub {
	t.Helper()
	s := newStub(t)
	s.put("/apis/apps/v1/namespaces/prod/deployments/payments", `{"metadata":{"uid":"d1","generation":1},
		"spec":{"replicas":1,"selector":{"matchLabels":{"app":"payments"}},"template":{"spec":{"containers":[{"name":"app","image":"payments:latest"}]}}}}`)
	s.put("/apis/apps/v1/namespaces/prod/replicasets/payments-5d9c", `{"metadata":{"uid":"rs1","ownerReferences":[{"kind":"Deployment","name":"payments","controller":true}]}}`)
	s.put("/api/v1/namespaces/prod/pods/payments-5d9c-x1", `{"metadata":{"uid":"p1","labels":{"app":"payments","pod-template-hash":"5d9c"},
		"ownerReferences":[{"kind":"ReplicaSet","name":"payments-5d9c","uid":"rs1","controller":true}]},
		"spec":{"containers":[{"name":"app","image":"payments:latest"}]},"status":{"phase":"Running"}}`)
	s.put("/api/v1/namespaces/prod/configmaps/rollback-payments", `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"rollback"}},"data":{"record":"{}"}}`)
	s.mu.Lock()
	s.logs["/api/v1/namespaces/prod/pods/payments-5d9c-x1/log"] = "started\n"
	s.mu.Unlock()
	return s
}

func TestEveryFaultOfEveryCall(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name  string
		fault fake.Fault
		kind  rollback.CallKind
		lost  bool // a write may have been done
		tries int  // with repetitions
		fix   string
	}{
		{"401", fake.Fault{Status: 401, Header: jsonHeader, Body: statusBody(401, "Unauthorized", "Unauthorized")}, rollback.Expired, false, 1, "renew the credentials of context prod"},
		{"401 bare", fake.Fault{Status: 401}, rollback.Expired, false, 1, "renew"},
		{"403", forbidden(""), rollback.Denied, false, 1, "allow "},
		{"403 bare", fake.Fault{Status: 403}, rollback.Denied, false, 1, "allow "},
		{"403 HTML", fake.Fault{Status: 403, Body: fake.HTMLPage}, rollback.Broken, false, 1, "proxy"},
		{"404", fake.Fault{Status: 404, Header: jsonHeader, Body: statusBody(404, "NotFound", "not here")}, rollback.NotFound, false, 1, ""},
		{"409", fake.Fault{Status: 409, Header: jsonHeader, Body: statusBody(409, "Conflict", "modified")}, rollback.Conflict, false, 1, ""},
		{"422", fake.Fault{Status: 422, Header: jsonHeader, Body: statusBody(422, "Invalid", "spec: wrong\nhere")}, rollback.Rejected, false, 1, ""},
		{"429", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}, "Content-Type": {"application/json"}}, Body: statusBody(429, "TooManyRequests", "slow down")}, rollback.Throttled, false, maxAttempts, ""},
		{"429 for long", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}, rollback.Throttled, false, 1, ""},
		{"500", fake.Fault{Status: 500, Header: jsonHeader, Body: statusBody(500, "InternalError", "etcdserver: request timed out")}, rollback.ServerFault, true, maxAttempts, ""},
		{"502 HTML", fake.Fault{Status: 502, Body: fake.HTMLPage}, rollback.ServerFault, true, maxAttempts, ""},
		{"503 with Retry-After", fake.Fault{Status: 503, Header: http.Header{"Retry-After": {"1"}}}, rollback.ServerFault, true, maxAttempts, ""},
		{"HTML with 200", fake.Fault{Status: 200, Body: fake.HTMLPage}, rollback.Broken, true, maxAttempts, "proxy"},
		{"empty 200", fake.Fault{Status: 200, Header: jsonHeader}, rollback.Broken, true, maxAttempts, ""},
		{"not JSON", fake.Fault{Status: 200, Header: jsonHeader, Body: "{"}, rollback.Broken, true, maxAttempts, ""},
		{"another object", fake.Fault{Status: 200, Header: jsonHeader, Body: `{"kind":"Thing","apiVersion":"v1","metadata":{"name":"x"}}`}, rollback.Broken, true, maxAttempts, ""},
		{"cut", fake.Fault{Header: jsonHeader, Body: `{"kind":"PodList","apiVersion":"v1","items":[`, Cut: true}, rollback.Broken, true, maxAttempts, ""},
		{"dropped", fake.Fault{Drop: true}, rollback.Unreachable, true, maxAttempts, "network or VPN"},
		{"hanging", fake.Fault{Hang: true}, rollback.Unreachable, true, 2, "network or VPN"},
	}
	for _, a := range acts {
		for _, f := range faults {
			t.Run(a.name+" "+f.name, func(t *testing.T) {
				t.Parallel()
				s := furnished(t)
				c := at(t, s.url)
				if f.fault.Hang {
					c.timeout = 300 * time.Millisecond
				}
				if f.name == "empty 200" || f.name == "not JSON" || f.name == "another object" {
					if a.op == "GET pods/log" { // a log may say anything
						return
					}
					if f.name == "another object" && strings.HasPrefix(a.op, "POST selfsubject") { // reviews have no name: no status is "no"
						return
					}
				}
				fault := f.fault
				fault.Op = a.op
				var asked atomic.Int64 // the switchboard counts a request when it ends, which is late for one that hangs
				fault.Hold = func(*http.Request) { asked.Add(1) }
				s.Inject(fault)
				err := a.do(ctxFor(t), c)
				for _, kind := range a.absorbs {
					if f.kind == kind {
						if err != nil {
							t.Fatalf("does not live with it: %v", err)
						}
						return
					}
				}
				var got *rollback.CallError
				if !errors.As(err, &got) {
					t.Fatalf("%v is no CallError", err)
				}
				kind := f.kind
				if a.name == "Put, again" && kind == rollback.NotFound {
					kind = rollback.Conflict // deleted under us
				}
				if got.System != "kubernetes" || got.Kind != kind || got.Op == "" || got.Err == nil {
					t.Errorf("%+v, want %q", got, kind)
				}
				if got.Maybe != (f.lost && a.write) {
					t.Errorf("maybe done: %v", got.Maybe)
				}
				if !strings.Contains(got.Fix, f.fix) {
					t.Errorf("fix %q does not say %q", got.Fix, f.fix)
				}
				if strings.ContainsAny(err.Error(), "\n\r<") || strings.Contains(err.Error(), "secret") {
					t.Errorf("not fit for one line: %q", err)
				}
				if f.kind == rollback.Unreachable && !strings.Contains(err.Error(), s.url) {
					t.Errorf("%q does not name the server", err)
				}
				tries := f.tries
				if !a.repeats && f.kind != rollback.Throttled {
					tries = 1
				}
				n := int(asked.Load())
				if f.fault.Drop && n > tries { // net/http repeats by itself a read that met a kept-alive connection just closed
					n = tries
				}
				if f.fault.Hang && n == 1 { // on a slow machine, a neighbour in the wave may be the first that is late twice
					n = tries
				}
				if a.name != "Can" && a.op != "GET pods/log" && n != tries {
					t.Errorf("tried %d times, want %d", n, tries)
				}
			})
		}
	}
}

// Faults that pass are not noticed by anything that may be repeated.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	for _, a := range acts {
		if !a.repeats {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := furnished(t)
			c := at(t, s.url)
			for _, f := range []fake.Fault{
				{Status: 503}, {Status: 429}, {Drop: true}, {Header: jsonHeader, Cut: true, Body: "{"}, {Status: 200, Body: fake.HTMLPage},
				{Drop: true, After: true},
			} {
				s.Clear()
				f.Op, f.Times = a.op, maxAttempts-1
				s.Inject(f)
				if err := a.do(ctxFor(t), c); err != nil {
					t.Errorf("after %+v: %v", f, err)
				}
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	c := at(t, server.URL)
	server.Close()
	for _, a := range acts {
		var f *rollback.CallError
		err := a.do(ctxFor(t), c)
		if !errors.As(err, &f) || f.Kind != rollback.Unreachable || f.Maybe || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("%s: %v", a.name, err)
		}
	}
}

func TestCancelIsRecognised(t *testing.T) {
	t.Parallel()
	for _, a := range acts {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			s := furnished(t)
			ctx, cancel := context.WithCancel(ctxFor(t))
			s.Inject(fake.Fault{Op: a.op, Hold: func(*http.Request) { cancel() }, Hang: true})
			err := a.do(ctx, at(t, s.url))
			var f *rollback.CallError
			if !errors.Is(err, context.Canceled) || !errors.As(err, &f) || f.Maybe != a.write {
				t.Errorf("%v", err)
			}
			if n := s.Count(a.op); n > 2 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
