package e2e

// A rollback on real parts, from the decision to proven digests: what is typed today, as scripts, against ours, in turns, on
// the same cluster and registry. `make bench` (test/bench) asks for repetitions in E2E_BENCH and puts the numbers into
// docs/benchmarks.md; without that each way goes once, and the test is that all end where they must.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// The manual ways: move the tag, restart, wait, and compare the digests of the pods. $TO is the commit to go to, $HOST the
// registry. Each is the shortest script that does so.
const (
	moveByAWS = `
manifest=$(aws ecr batch-get-image --repository-name payments --image-ids imageTag="$TO" \
  --accepted-media-types application/vnd.oci.image.index.v1+json --query 'images[0].imageManifest' --output text)
digest=$(aws ecr put-image --repository-name payments --image-tag latest --image-manifest "$manifest" --query image.imageId.imageDigest --output text)`
	loginCrane = `
aws ecr get-login-password | crane auth login "$HOST" --username AWS --password-stdin`
	moveByCrane = `
crane tag "$HOST/payments:$TO" latest
digest=$(crane digest "$HOST/payments:latest")`
	restartAndProve = `
kubectl rollout restart deployment/payments
kubectl rollout status deployment/payments
while kubectl get pods -l app=payments -o jsonpath='{range .items[*]}{.status.containerStatuses[*].imageID}{"\n"}{end}' | grep -v "@$digest"
do sleep 1; done`
)

// ourWay is the same by the program.
const ourWay = `rollback run --service payments --environment prod --to "$TO" --reason bench --yes`

// podDelays are what the nodes take, so that a pod is ready some 100 ms after it was scheduled.
var podDelays = control.Delays{Pull: 20 * time.Millisecond, Start: 20 * time.Millisecond, Ready: 50 * time.Millisecond, Termination: 20 * time.Millisecond}

// podCount is the number of pods of the service.
const podCount = 3

// Used is what a process and those it started used, as the bench's own small process tells it (test/bench, usage-of).
type Used struct {
	PeakBytes int64
	CPU, Wall time.Duration
	Ended     time.Time
}

// Turn is one rollback, with times in nanoseconds.
type Turn struct {
	Way     string
	Latency time.Duration
	Used
	Late time.Duration // from the last new pod being ready in the cluster to the end of the process
	// Window is from the beginning until the last old pod is gone; what the servers used, they used in it.
	Window   time.Duration
	API      Side // the process of API server, etcd, controllers and nodes
	Registry Side // this process: the registry, and what counts and delays the calls to both
}

// Side is what one server was asked for and what its process used.
type Side struct {
	Calls     int   // watches included
	Bytes     int64 // of its answers
	CPU       time.Duration
	PeakBytes int64
}

// benchBound is the longest that what `make bench` asks of one test may take; on a quiet machine it takes a third of that.
const benchBound = 25 * time.Minute

// repetitions is how often `make bench` wants each way, 0 in a test of the ways alone.
func repetitions(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_BENCH")
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("E2E_BENCH is %q, want how often to measure", text)
	}
	return n
}

// results leaves what was measured to `make bench`.
func results(t *testing.T, all any) {
	t.Helper()
	out := os.Getenv("E2E_BENCH_OUT")
	if out == "" {
		return
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// measurable is a world with one Deployment of payments, whose pods take as long as podDelays says, and the tools on a path.
func measurable(ctx context.Context, t *testing.T) (*Stage, *real, string) {
	t.Helper()
	bin := toolPath(t)
	if path := os.Getenv("E2E_KUBECTL"); path != "" {
		link := filepath.Join(bin, "kubectl")
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
	}
	w := newReal(t, Options{}).(*real)
	w.settings.Delays = podDelays
	if err := w.set(ctx); err != nil {
		t.Fatal(err)
	}
	s := &Stage{world: w, releases: map[string]*Release{}}
	if err := s.grant(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	if err := payments("Deployment")(ctx, s); err != nil {
		t.Fatal(err)
	}
	return s, w, bin
}

func TestRealParts(t *testing.T) {
	n := repetitions(t)
	if n == 0 {
		t.Parallel() // nothing is measured
	}
	ctx, cancel := context.WithTimeout(t.Context(), benchBound)
	defer cancel()
	s, w, bin := measurable(ctx, t)
	type typed struct{ name, script string }
	ways := []typed{
		{"rollback", ourWay}, {"aws", moveByAWS + restartAndProve},
		{"crane", loginCrane + moveByCrane + restartAndProve}, {"crane, logged in", moveByCrane + restartAndProve},
	}
	rounds := []struct {
		latency time.Duration
		n       int
	}{{0, n}, {20 * time.Millisecond, n}, {100 * time.Millisecond, n}}
	if n == 0 {
		rounds = rounds[:1]
	}
	number := 0
	var turns []Turn
	for _, r := range rounds {
		some := ways
		if n > 0 && r.latency == 0 { // what no way can be without
			some = slices.Concat(ways, []typed{{"restart alone", ""}, {"idle", ""}})
		}
		for i := -1; i < r.n; i++ { // once to warm up
			for _, way := range some {
				to := s.releases["good"]
				if way.name != "rollback" {
					// The next bad image, which no tag but its commit names, so that ours has an outgoing image to keep each time.
					number++
					to = &Release{Commit: fmt.Sprintf("%040x", number)}
					var err error
					if to.Digest, err = registry.Push(ctx, w.RegistryURL(), "payments", registry.Image{Content: fmt.Sprint("release ", number), Created: built, Platforms: []string{"linux/amd64", "linux/arm64"}}, to.Commit); err != nil {
						t.Fatal(err)
					}
				}
				do := func(ctx context.Context) (u Used, err error) {
					u, _, err = w.used(ctx, bin, way.script, 0, "TO="+to.Commit)
					return u, err
				}
				switch way.name {
				case "restart alone":
					do = func(ctx context.Context) (Used, error) {
						begun := time.Now()
						err := errors.Join(w.registry.Tag("payments", "latest", to.Digest), w.restart(ctx))
						return Used{Wall: time.Since(begun), Ended: time.Now()}, err
					}
				case "idle":
					do = nil
				}
				turn, err := w.turn(ctx, do, to, r.latency)
				if err != nil {
					t.Fatalf("%s with %s in each call: %v", way.name, r.latency, err)
				}
				if turn.Way = way.name; i >= 0 {
					turns = append(turns, turn)
				}
			}
		}
	}
	results(t, turns)
	for _, v := range w.registry.Violations() {
		t.Error(v)
	}
}

// turn takes the service to a release, looks into the cluster meanwhile, and checks where it ended. Without do it looks at a
// cluster in which nothing is done, for a second.
func (w *real) turn(ctx context.Context, do func(context.Context) (Used, error), to *Release, latency time.Duration) (Turn, error) {
	t := Turn{Latency: latency}
	pods, err := w.api.list(ctx, "pods", w.namespace, "app=payments")
	if err != nil {
		return t, err
	}
	old := map[string]bool{}
	for _, p := range pods {
		old[str(p, "metadata", "uid")] = true
	}
	if err := w.anotherSecond(ctx); err != nil {
		return t, err
	}
	w.board.Latency(latency)
	w.registry.Latency(latency)
	w.board.Reset()
	w.registry.Reset()
	api, here, err := spending(w.cluster.process.Process.Pid), spending(os.Getpid()), error(nil)
	begun := time.Now()
	if do == nil {
		err = until(ctx, func() (bool, error) { return time.Since(begun) >= time.Second, nil })
	} else {
		err = w.turnsOver(ctx, old, do, &t)
	}
	t.Window = time.Since(begun)
	if err != nil {
		return t, err
	}
	if t.API.CPU, t.API.PeakBytes, err = api(); err != nil {
		return t, err
	}
	if t.Registry.CPU, t.Registry.PeakBytes, err = here(); err != nil {
		return t, err
	}
	w.board.Latency(0)
	w.registry.Latency(0)
	for _, x := range []struct {
		side *Side
		log  []fake.Request
	}{{&t.API, w.board.Requests()}, {&t.Registry, w.registry.Requests()}} {
		for _, r := range x.log {
			if !strings.HasPrefix(r.Op, fake.PullOp) {
				x.side.Calls++
				x.side.Bytes += r.Bytes
			}
		}
	}
	if do == nil {
		return t, nil
	}

	// Where it ended, past all ways.
	if got := w.registry.Tags("payments")["latest"]; got != to.Digest {
		return t, fmt.Errorf("latest names %s, want %s", got, to.Digest)
	}
	if err := w.api.rolledOut(ctx, "deployments", w.namespace, "payments"); err != nil {
		return t, err
	}
	if pods, err = w.api.list(ctx, "pods", w.namespace, "app=payments"); err != nil {
		return t, err
	}
	for _, p := range pods {
		for _, c := range items(p, "status", "containerStatuses") {
			if _, digest, _ := strings.Cut(str(c, "imageID"), "@"); digest != to.Digest {
				return t, fmt.Errorf("the pod %s runs %s, want %s", str(p, "metadata", "name"), digest, to.Digest)
			}
		}
	}
	return t, w.forgetRollback(ctx)
}

// turnsOver does what replaces the pods, and returns when the last old one is gone and nobody asks any more.
func (w *real) turnsOver(ctx context.Context, old map[string]bool, do func(context.Context) (Used, error), t *Turn) error {
	var ready time.Time
	over := w.watchPods(ctx, func(pods map[string]object) bool {
		n := 0
		for uid, p := range pods {
			if !old[uid] && condition(p, "Ready") {
				n++
			}
		}
		if n == podCount && ready.IsZero() {
			ready = time.Now()
		}
		return n == podCount && len(pods) == podCount
	})
	used, err := do(ctx)
	if err := over(err == nil); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	t.Used, t.Late = used, used.Ended.Sub(ready)
	return until(ctx, func() (bool, error) { return w.board.Open()+w.registry.Open() == 0, nil })
}

// watchPods follows the service's pods, by UID, until see is content. The function that it returns waits for that, or ends it.
func (w *real) watchPods(ctx context.Context, see func(pods map[string]object) bool) func(wait bool) error {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.follow(ctx, see) }()
	return func(wait bool) error {
		defer stop()
		if !wait {
			stop()
			<-done
			return nil
		}
		return <-done
	}
}

func (w *real) follow(ctx context.Context, see func(pods map[string]object) bool) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, w.api.base+pathOf("pods", w.namespace, "")+"?watch=1&labelSelector=app%3Dpayments", nil)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+w.api.token)
	a, err := (&http.Client{Transport: w.api.client.Transport}).Do(q) // ctx bounds it, as long as it takes
	if err != nil {
		return err
	}
	defer a.Body.Close()
	pods := map[string]object{}
	for d := json.NewDecoder(a.Body); ; {
		var e struct {
			Type   string
			Object object
		}
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("the watch of the pods: %w", err)
		}
		switch uid := str(e.Object, "metadata", "uid"); e.Type {
		case "ADDED", "MODIFIED":
			pods[uid] = e.Object
		case "DELETED":
			delete(pods, uid)
		default:
			return fmt.Errorf("the watch of the pods: %s: %v", e.Type, e.Object)
		}
		if see(pods) {
			return nil
		}
	}
}

// anotherSecond waits until the second of kubectl's last restart is over: in the same one it refuses another.
func (w *real) anotherSecond(ctx context.Context) error {
	d, err := w.api.get(ctx, "deployments", w.namespace, "payments")
	if err != nil {
		return err
	}
	last, err := time.Parse(time.RFC3339, str(d, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"))
	if err != nil {
		return nil // there was none
	}
	return until(ctx, func() (bool, error) { return time.Now().Unix() > last.Unix(), nil })
}

// restart lets the pods be replaced, past all switchboards.
func (w *real) restart(ctx context.Context) error {
	return w.api.merge(ctx, "deployments", w.namespace, "payments",
		object{"spec": object{"template": object{"metadata": object{"annotations": object{"acme.example/again": time.Now().Format(time.RFC3339Nano)}}}}})
}

// forgetRollback lets every rollback meet the same history.
func (w *real) forgetRollback(ctx context.Context) error {
	_, err := w.api.do(ctx, "DELETE", pathOf("configmaps", w.namespace, "rollback-payments"), "", nil)
	if isStatus(err, 404) {
		return nil
	}
	return err
}

func condition(pod object, name string) bool {
	for _, c := range items(pod, "status", "conditions") {
		if str(c, "type") == name {
			return str(c, "status") == "True"
		}
	}
	return false
}

// spending begins to look at what a running process uses; the function that it returns tells it. Only Linux tells it of
// another process; elsewhere it is 0.
func spending(pid int) func() (cpu time.Duration, peak int64, err error) {
	if runtime.GOOS != "linux" {
		return func() (time.Duration, int64, error) { return 0, 0, nil }
	}
	dir := fmt.Sprintf("/proc/%d/", pid)
	err := os.WriteFile(dir+"clear_refs", []byte("5"), 0) // VmHWM begins again: proc_pid_clear_refs(5)
	begun, cpuErr := cpuOf(dir)
	return func() (time.Duration, int64, error) {
		now, nowErr := cpuOf(dir)
		text, statusErr := os.ReadFile(dir + "status")
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		rest, _, found := strings.Cut(rest, " kB")
		kB, hwmErr := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		if !found {
			hwmErr = errors.New("no VmHWM in " + dir + "status")
		}
		return now - begun, kB * 1024, errors.Join(err, cpuErr, nowErr, statusErr, hwmErr)
	}
}

// cpuOf is the time that all threads of a process ran, in user and in kernel mode; see proc_pid_stat(5).
func cpuOf(dir string) (time.Duration, error) {
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third on: the second may have blanks
	if len(fields) < 13 {
		return 0, fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100, errors.Join(err, systemErr) // in ticks, of which there are 100 in a second
}

// used runs a script as shell does, and returns what it printed. With the bench's own program around it, it tells what was
// used; else the time alone.
func (w *real) used(ctx context.Context, bin, script string, exit int, extra ...string) (Used, string, error) {
	extra = append(extra, "HOST="+strings.TrimPrefix(w.RegistryURL(), "http://"))
	self := os.Getenv("E2E_BENCH_SELF")
	command := []string{"sh", "-euc", script}
	file := filepath.Join(w.dir, "usage.json")
	if self != "" {
		command = append([]string{self, "usage-of"}, command...)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.WaitDelay = 10 * time.Second
	c.Dir = w.dir
	c.Env = append(append(w.Env(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "AWS_PAGER=", "AWS_DEFAULT_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true", "BENCH_USAGE="+file), extra...)
	begun := time.Now()
	out, err := c.CombinedOutput()
	u := Used{Wall: time.Since(begun), Ended: time.Now()}
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == exit {
		err = nil
	} else if err == nil && exit != 0 {
		err = fmt.Errorf("exit 0, want %d", exit)
	}
	if err != nil {
		return u, string(out), fmt.Errorf("%w in\n%s\n%s", err, script, out)
	}
	if self != "" {
		var text []byte
		if text, err = os.ReadFile(file); err == nil {
			err = json.Unmarshal(text, &u)
		}
	}
	return u, string(out), err
}
