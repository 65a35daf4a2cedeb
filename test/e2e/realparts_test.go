package e2e

// A rollback on real parts, from the decision to proven digests: what is typed today, as a script, against ours, in turns, on
// the same cluster and registry. `make bench` (test/bench) asks for repetitions in E2E_BENCH and puts the numbers into
// docs/benchmarks.md; without that each way goes once, and the test is that both end where they must.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// manualWay is the shortest script that moves the tag, restarts, waits, and compares the digests of the pods. $TO is the
// commit to go to.
const manualWay = `
manifest=$(aws ecr batch-get-image --repository-name payments --image-ids imageTag="$TO" \
  --accepted-media-types application/vnd.oci.image.index.v1+json --query 'images[0].imageManifest' --output text)
digest=$(aws ecr put-image --repository-name payments --image-tag latest --image-manifest "$manifest" --query image.imageId.imageDigest --output text)
kubectl rollout restart deployment/payments
kubectl rollout status deployment/payments
while kubectl get pods -l app=payments -o jsonpath='{range .items[*]}{.status.containerStatuses[*].imageID}{"\n"}{end}' | grep -v "@$digest"
do sleep 1; done`

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
	Late  time.Duration // from the last new pod being ready in the cluster to the end of the process
	Calls int           // to registry and API server, watches included
	Bytes int64         // of their answers
}

func TestRealParts(t *testing.T) {
	n := 0
	if text := os.Getenv("E2E_BENCH"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("E2E_BENCH is %q, want how often to measure", text)
		}
	} else {
		t.Parallel() // nothing is measured
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
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
	rounds := []struct {
		latency time.Duration
		n       int
	}{{0, n}, {20 * time.Millisecond, n}, {100 * time.Millisecond, n}}
	if n == 0 {
		rounds = rounds[:1]
	}
	good, number := s.releases["good"], 0
	var turns []Turn
	for _, r := range rounds {
		for i := -1; i < r.n; i++ { // once to warm up
			for _, way := range []string{"rollback", "manual"} {
				script, to := ourWay, good
				if way == "manual" {
					// The next bad image, which no tag but its commit names, so that ours has an outgoing image to keep each time.
					number++
					to = &Release{Commit: fmt.Sprintf("%040x", number)}
					var err error
					if to.Digest, err = registry.Push(ctx, w.RegistryURL(), "payments", registry.Image{Content: fmt.Sprint("release ", number), Created: built, Platforms: []string{"linux/amd64", "linux/arm64"}}, to.Commit); err != nil {
						t.Fatal(err)
					}
					script = manualWay
				}
				turn, err := w.turn(ctx, bin, script, to, r.latency)
				if err != nil {
					t.Fatalf("%s with %s in each call: %v", way, r.latency, err)
				}
				if turn.Way = way; i >= 0 {
					turns = append(turns, turn)
				}
			}
		}
	}
	if out := os.Getenv("E2E_BENCH_OUT"); out != "" {
		text, err := json.Marshal(turns)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range w.registry.Violations() {
		t.Error(v)
	}
}

// turn runs a script that takes the service to a release, looks into the cluster meanwhile, and checks where it ended.
func (w *real) turn(ctx context.Context, bin, script string, to *Release, latency time.Duration) (Turn, error) {
	t := Turn{Latency: latency}
	old := map[string]bool{}
	pods, err := w.api.list(ctx, "pods", w.namespace, "app=payments")
	if err != nil {
		return t, err
	}
	for _, p := range pods {
		old[str(p, "metadata", "uid")] = true
	}
	w.board.Latency(latency)
	w.registry.Latency(latency)
	w.board.Reset()
	w.registry.Reset()
	type end struct {
		at  time.Time
		err error
	}
	ready := make(chan end, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		var e end
		e.err = until(watching, func() (bool, error) {
			pods, err := w.api.list(watching, "pods", w.namespace, "app=payments")
			n := 0
			for _, p := range pods {
				if !old[str(p, "metadata", "uid")] && condition(p, "Ready") {
					n++
				}
			}
			e.at = time.Now()
			return n == podCount, err
		})
		ready <- e
	}()
	t.Used, err = w.used(ctx, bin, script, "TO="+to.Commit)
	if err != nil {
		stop()
		<-ready
		return t, err
	}
	w.board.Latency(0)
	w.registry.Latency(0)
	e := <-ready
	if e.err != nil {
		return t, e.err
	}
	t.Late = t.Ended.Sub(e.at)

	// Where it ended, past both ways.
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
			if _, digest, _ := strings.Cut(str(c, "imageID"), "@"); digest != to.Digest && str(p, "metadata", "deletionTimestamp") == "" {
				return t, fmt.Errorf("the pod %s runs %s, want %s", str(p, "metadata", "name"), digest, to.Digest)
			}
		}
	}
	for _, log := range [][]fake.Request{w.board.Requests(), w.registry.Requests()} {
		for _, r := range log {
			if !strings.Contains(r.Path, "/v2/") { // the nodes pull
				t.Calls++
				t.Bytes += r.Bytes
			}
		}
	}
	// Every rollback meets the same history.
	_, err = w.api.do(ctx, "DELETE", pathOf("configmaps", w.namespace, "rollback-payments"), "", nil)
	if isStatus(err, 404) {
		err = nil
	}
	return t, err
}

func condition(pod object, name string) bool {
	for _, c := range items(pod, "status", "conditions") {
		if str(c, "type") == name {
			return str(c, "status") == "True"
		}
	}
	return false
}

// used runs a script as shell does. With the bench's own program around it, it tells what was used; else the time alone.
func (w *real) used(ctx context.Context, bin, script string, extra ...string) (Used, error) {
	self := os.Getenv("E2E_BENCH_SELF")
	if self == "" {
		begun := time.Now()
		_, err := shell(ctx, w, bin, w.dir, script, extra...)
		return Used{Wall: time.Since(begun), Ended: time.Now()}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	file := filepath.Join(w.dir, "usage.json")
	c := exec.CommandContext(ctx, self, "usage-of", "sh", "-euc", script)
	c.Dir = w.dir
	c.Env = append(append(w.Env(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "AWS_PAGER=", "AWS_DEFAULT_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true", "BENCH_USAGE="+file), extra...)
	if out, err := c.CombinedOutput(); err != nil {
		return Used{}, fmt.Errorf("%w in\n%s\n%s", err, script, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Used{}, err
	}
	var u Used
	return u, json.Unmarshal(text, &u)
}
