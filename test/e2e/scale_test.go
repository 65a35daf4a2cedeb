package e2e

// A company's size on the real API server: 231 services and 1,000 pods, in one namespace and in ten, against one service
// alone. What is asserted are counts, as the API server's side sees them; times are only told. `make bench` (test/bench) asks
// for repetitions in E2E_BENCH and puts the numbers into docs/benchmarks.md.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

const (
	fleetServices = 231 // the one that is rolled back included
	fleetPods     = 1000
)

// Measured is one command at one size, in numbers of the server's side. Watches are not among the calls: how many there are
// depends on how long the program waits.
type Measured struct {
	Command                    string
	Services, Pods, Namespaces int
	Calls                      []int   // to the API server, each time
	Bytes                      []int64 // of its answers, as they were sent
	RegistryCalls              []int
	Walls                      []time.Duration // of the whole process
	ops                        map[string]int  // calls to the API server by operation, the last time
}

// fleet is a world that grows from one service to all.
type fleet struct {
	*Stage
	w          *real
	namespaces []string
}

// newFleet is payments alone, in the first of some namespaces, with the rights in each of them.
func newFleet(ctx context.Context, t *testing.T, c *cluster, namespaces int) *fleet {
	t.Helper()
	w := realIn(t, c, Options{})
	f := &fleet{Stage: &Stage{world: w, releases: map[string]*Release{}}, w: w, namespaces: []string{w.namespace}}
	for i := range namespaces - 1 {
		name := fmt.Sprintf("%s-team-%d", w.namespace, i+1)
		if err := (control.Client{URL: c.Control}).SetNamespace(ctx, name, w.settings); err != nil {
			t.Fatal(err)
		}
		c.ends(t, name)
		f.namespaces = append(f.namespaces, name)
	}
	if err := f.configure(); err != nil {
		t.Fatal(err)
	}
	var roles []object
	for i := range f.namespaces {
		some := "payments"
		if i > 0 {
			some = serviceName(i)
		}
		own, err := f.roles(ctx, "--for", "run", "--service", some)
		if err != nil {
			t.Fatal(err)
		}
		roles = append(roles, own...)
	}
	if err := w.Grant(ctx, roles); err != nil {
		t.Fatal(err)
	}
	if err := payments("Deployment")(ctx, f.Stage); err != nil {
		t.Fatal(err)
	}
	return f
}

func serviceName(i int) string { return fmt.Sprintf("service-%03d", i) }

// namespaceOf spreads the services evenly.
func (f *fleet) namespaceOf(i int) string { return f.namespaces[i%len(f.namespaces)] }

// configure tells the program where the services are that are not in the environment's own namespace.
func (f *fleet) configure() error {
	if len(f.namespaces) == 1 {
		return nil
	}
	path := filepath.Join(f.w.dir, "rollback.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text = append(text, "services:\n"...)
	for i := range fleetServices - 1 {
		if ns := f.namespaceOf(i); ns != f.w.namespace {
			text = fmt.Appendf(text, "  %s: {namespace: %s}\n", serviceName(i), ns)
		}
	}
	return os.WriteFile(path, text, 0o600)
}

// grow brings all other services up, some at a time.
func (f *fleet) grow(ctx context.Context) error {
	const atOnce = 8
	others := fleetServices - 1
	pods := fleetPods - podCount
	errs := make([]error, atOnce)
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < others && errs[worker] == nil; i += atOnce {
				errs[worker] = f.add(ctx, i, pods/others+min(1, max(0, pods%others-i)))
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for i := range others {
		if err := f.w.api.rolledOut(ctx, "deployments", f.namespaceOf(i), serviceName(i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) add(ctx context.Context, i, replicas int) error {
	name := serviceName(i)
	f.w.registry.CreateRepository(name)
	if _, err := registry.Push(ctx, f.w.RegistryURL(), name, registry.Image{Content: name, Created: built}, fmt.Sprintf("%040x", i+1), "latest"); err != nil {
		return err
	}
	o := workload(f.w, "Deployment", name, name, replicas)
	o["metadata"].(object)["namespace"] = f.namespaceOf(i)
	return f.w.api.apply(ctx, o)
}

// measure runs a command n times and counts what it asks for.
func (f *fleet) measure(ctx context.Context, n int, before func() error, args ...string) (Measured, outcome, error) {
	var m Measured
	var r outcome
	for range n {
		if before != nil {
			if err := before(); err != nil {
				return m, r, err
			}
		}
		f.w.board.Reset()
		f.w.registry.Reset()
		begun := time.Now()
		var err error
		if r, err = f.rollback(ctx, slices.Clone(args)...); err != nil {
			return m, r, err
		}
		m.Walls = append(m.Walls, time.Since(begun))
		if r.exit != 0 {
			return m, r, fmt.Errorf("rollback %s: exit %d\n%s%s", strings.Join(args, " "), r.exit, r.stdout, r.stderr)
		}
		// An answer is counted a moment after the program has it; watches end when the program has.
		if err := until(ctx, func() (bool, error) { return f.w.board.Open()+f.w.registry.Open() == 0, nil }); err != nil {
			return m, r, err
		}
		calls, registryCalls, bytes := 0, 0, int64(0)
		m.ops = map[string]int{}
		for _, q := range f.w.board.Requests() {
			if !strings.HasPrefix(q.Op, "WATCH ") {
				calls++
				m.ops[f.masked(q.Op)]++
			}
			bytes += q.Bytes
		}
		for _, q := range f.w.registry.Requests() {
			if !strings.HasPrefix(q.Op, fake.PullOp) {
				registryCalls++
			}
		}
		m.Calls, m.Bytes, m.RegistryCalls = append(m.Calls, calls), append(m.Bytes, bytes), append(m.RegistryCalls, registryCalls)
	}
	return m, r, nil
}

// masked is an operation without the name of the namespace.
func (f *fleet) masked(op string) string {
	if verb, name, ok := strings.Cut(op, " namespaces/"); ok && slices.Contains(f.namespaces, name) {
		return verb + " its namespace"
	}
	return op
}

// all measures the commands at the present size, and brings the world back to where it was.
func (f *fleet) all(ctx context.Context, n, services, pods int) (map[string]Measured, error) {
	got := map[string]Measured{}
	add := func(name string, m Measured) {
		m.Command, m.Services, m.Pods, m.Namespaces = name, services, pods, len(f.namespaces)
		got[name] = m
	}
	m, r, err := f.measure(ctx, n, nil, "status", "--environment", "prod", "--json")
	if err != nil {
		return nil, err
	}
	var status struct{ Services []object }
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
		return nil, err
	}
	ready := 0
	for _, s := range status.Services {
		ready += num(s, "ready")
	}
	if len(status.Services) != services || ready != pods {
		return nil, fmt.Errorf("status sees %d services and %d ready pods, want %d and %d", len(status.Services), ready, services, pods)
	}
	add("status", m)
	if m, r, err = f.measure(ctx, n, nil, "status", "--environment", "prod", "--tags", "--json"); err != nil {
		return nil, err
	}
	if c := strings.Count(r.stdout, `"tagDigest"`); c != services {
		return nil, fmt.Errorf("status --tags tells %d tags, want %d", c, services)
	}
	add("status --tags", m)
	if m, _, err = f.measure(ctx, n, nil, on("plan", "--reason", "amounts")...); err != nil {
		return nil, err
	}
	add("plan", m)
	back := func() error { // to where each rollback begins
		_, err := f.w.api.do(ctx, "DELETE", pathOf("configmaps", f.w.namespace, "rollback-payments"), "", nil)
		if err != nil && !isStatus(err, 404) {
			return err
		}
		if f.w.registry.Tags("payments")["latest"] == f.releases["bad"].Digest {
			return nil
		}
		if err := f.w.registry.Tag("payments", "latest", f.releases["bad"].Digest); err != nil {
			return err
		}
		if err := f.w.api.merge(ctx, "deployments", f.w.namespace, "payments",
			object{"spec": object{"template": object{"metadata": object{"annotations": object{"acme.example/again": time.Now().Format(time.RFC3339Nano)}}}}}); err != nil {
			return err
		}
		if err := f.w.api.rolledOut(ctx, "deployments", f.w.namespace, "payments"); err != nil {
			return err
		}
		return until(ctx, func() (bool, error) {
			pods, err := f.w.api.list(ctx, "pods", f.w.namespace, "app=payments")
			return len(pods) == podCount, err
		})
	}
	if m, _, err = f.measure(ctx, n, back, on("run", "--reason", "amounts", "--yes")...); err != nil {
		return nil, err
	}
	if got, want := f.w.registry.Tags("payments")["latest"], f.releases["good"].Digest; got != want {
		return nil, fmt.Errorf("after the rollback latest names %s, want %s", got, want)
	}
	add("run", m)
	return got, back()
}

// writes are the calls that change something. How often progress goes into the record depends on the clock.
func (m Measured) writes() map[string]int {
	w := maps.Clone(m.ops)
	maps.DeleteFunc(w, func(op string, _ int) bool {
		return strings.HasPrefix(op, "GET ") || strings.HasPrefix(op, "LIST ") || strings.HasPrefix(op, "CREATE selfsubject")
	})
	if n := w["UPDATE configmaps/rollback-payments"]; n > 0 {
		w["UPDATE configmaps/rollback-payments"] = 1
	}
	return w
}

func TestScale(t *testing.T) { // not beside other tests: it fills the machine
	n := max(1, repetitions(t))
	dir := t.TempDir()
	c, err := startCluster(kubeworldBinary, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	ctx, cancel := context.WithTimeout(t.Context(), benchBound)
	defer cancel()

	var figures []Measured
	note := func(sizes ...map[string]Measured) {
		for _, size := range sizes {
			for _, command := range []string{"status", "status --tags", "plan", "run"} {
				m := size[command]
				figures = append(figures, m)
				t.Logf("%-13s  %3d services  %4d pods  %2d namespaces  %3d calls  %8d bytes  %3d calls to the registry  %s", command, m.Services, m.Pods, m.Namespaces,
					middle(m.Calls), middle(m.Bytes), middle(m.RegistryCalls), middle(m.Walls).Round(time.Millisecond))
			}
		}
	}
	measure := func(namespaces int) (one, many map[string]Measured) {
		f := newFleet(ctx, t, c, namespaces)
		one, err := f.all(ctx, n, 1, podCount)
		if err != nil {
			t.Fatalf("one service: %v", err)
		}
		begun := time.Now()
		if err := f.grow(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d services with %d pods in %d namespaces are up after %s", fleetServices, fleetPods, namespaces, time.Since(begun).Round(time.Millisecond))
		if many, err = f.all(ctx, n, fleetServices, fleetPods); err != nil {
			t.Fatalf("%d services: %v", fleetServices, err)
		}
		for _, v := range f.w.registry.Violations() {
			t.Error(v)
		}
		return one, many
	}
	alone, together := measure(1)
	_, spread := measure(10)
	note(alone, together, spread)

	// One question for each kind of object, however many there are.
	for _, command := range []string{"status", "status --tags", "plan"} {
		if diff := cmp.Diff(alone[command].ops, together[command].ops); diff != "" {
			t.Errorf("%s asks something else of the API server for %d services (+) than for one (-):\n%s", command, fleetServices, diff)
		}
	}
	for _, command := range []string{"plan", "run"} { // these look at one service, whatever else there is
		if a, m, s := middle(alone[command].RegistryCalls), middle(together[command].RegistryCalls), middle(spread[command].RegistryCalls); a != m || a != s {
			t.Errorf("%s asks the registry %d times for one service, %d and %d times beside %d", command, a, m, s, fleetServices)
		}
	}
	if diff := cmp.Diff(alone["plan"].ops, spread["plan"].ops); diff != "" {
		t.Errorf("plan asks something else where there are ten namespaces (+):\n%s", diff)
	}
	// And of each namespace the same once.
	for op, calls := range together["status"].ops {
		want := calls
		if strings.HasPrefix(op, "LIST ") || op == "GET its namespace" {
			want *= 10
		}
		if got := spread["status"].ops[op]; got != want {
			t.Errorf("status asks %d times for %s in one namespace, %d times in ten", calls, op, got)
		}
	}
	if got := middle(together["status"].RegistryCalls) + middle(spread["status"].RegistryCalls); got != 0 {
		t.Errorf("status asks the registry %d times without --tags", got)
	}
	for _, size := range []map[string]Measured{together, spread} {
		if got := middle(size["status --tags"].RegistryCalls); got != fleetServices {
			t.Errorf("status --tags asks the registry %d times, want once for each service", got)
		}
		if diff := cmp.Diff(alone["run"].writes(), size["run"].writes()); diff != "" {
			t.Errorf("a rollback writes something else among %d services (+) than alone (-):\n%s", fleetServices, diff)
		}
	}
	results(t, figures)
}

// middle is the value that as many are below as above.
func middle[T ~int | ~int64](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
