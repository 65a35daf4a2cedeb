package main

// The whole rollback on real parts: what is typed today against ours. test/e2e runs it, this merges its numbers.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// turn is one rollback as TestRealParts in test/e2e writes it down.
type turn struct {
	Way     string
	Latency time.Duration
	usage
	Late  time.Duration
	Calls int
	Bytes int64
}

func (b *bench) real(ctx context.Context) (section, error) {
	dir := filepath.Join(b.root, "test", "e2e")
	n := b.times(20)
	out := section{
		title: "On real parts",
		method: fmt.Sprintf("A Kubernetes of the real API server, etcd and controllers (%s) with nodes stood in for, and the distribution registry (%s) behind the API of\n"+
			"ECR. One Deployment of three pods, each ready some 100 ms after it was scheduled, goes to another image: from the decision, with the commit to go to at\n"+
			"hand, to digests that are proven. In turns, the script below and `rollback run --to COMMIT --reason bench --yes`; the latency is injected into every call of\n"+
			"either to both systems, not into those of the nodes. *Late* is the time from the last new pod being ready in the cluster to the end; of ours 100 ms are the settle time in which the pods must stay\n"+
			"ready. CPU is that of all processes of a way, on the client's side alone; peak memory that of its largest process.\n\n```sh%s\n```",
			b.moduleVersion(ctx, dir, "k8s.io/kubernetes"), b.moduleVersion(ctx, dir, "github.com/distribution/distribution/v3"), b.manualWay(dir)),
		limits: []string{
			"Finding the commit to go to, and seeing that it is safe: ours has `candidates` and `plan` for that, and `run` plans again; the script trusts whoever typed it.",
			"What the script leaves out: a lock, the outgoing image kept under a tag, the record and the way back, a look at events when pods do not come up.",
			"A real kubelet, and pulling real layers: the nodes resolve the tag and wait.",
			"A service of several workloads: the script gets two more lines for each.",
		},
	}
	if b.tools.aws.path == "" || b.tools.kubectl.path == "" {
		out.missing = append(out.missing, "everything: it needs aws and kubectl. "+b.tools.aws.hint+"; "+b.tools.kubectl.hint)
		return out, nil
	}
	b.log("rollbacks on real parts, %d of each kind", n)
	var turns []turn
	if err := b.e2e(ctx, "TestRealParts", n, &turns); err != nil {
		return section{}, err
	}
	t, err := realTable(turns)
	out.tables = []table{t}
	return out, err
}

// e2e lets a test of test/e2e measure n times, and reads the numbers that it wrote.
func (b *bench) e2e(ctx context.Context, test string, n int, into any) error {
	dir := filepath.Join(b.root, "test", "e2e")
	kubeworld := exec.CommandContext(ctx, filepath.Join(dir, "kubeworld.sh"))
	kubeworld.Stderr = os.Stderr
	path, err := kubeworld.Output()
	if err != nil {
		return fmt.Errorf("building a Kubernetes: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	result := filepath.Join(b.dir, test+".json")
	c := exec.CommandContext(ctx, "go", "test", "-trimpath", "-count=1", "-timeout=20m", "-run=^"+test+"$", ".")
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "E2E_ROLLBACK="+b.bin, "E2E_KUBEWORLD="+strings.TrimSpace(string(path)),
		"E2E_KUBECTL="+b.tools.kubectl.path, fmt.Sprint("E2E_BENCH=", n), "E2E_BENCH_OUT="+result, "E2E_BENCH_SELF="+self)
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go test in test/e2e: %w\n%s", err, bytes.TrimSpace(text))
	}
	text, err := os.ReadFile(result)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// realTable is a line for each way at each latency, ours first.
func realTable(turns []turn) (table, error) {
	names := map[string]string{"rollback": "`rollback run --yes`", "manual": "the script"}
	t := table{head: []string{"what", "latency, ms", "time, ms", "p90", "× ours", "late, ms", "late, p90", "CPU, ms", "peak memory, MB", "calls", "kB of answers", "n"}}
	type key struct {
		latency time.Duration
		way     string
	}
	groups := map[key][]turn{}
	var order []key
	for _, x := range turns {
		k := key{x.Latency, x.Way}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], x)
	}
	if len(order) == 0 {
		return t, errors.New("nothing was measured")
	}
	for _, k := range order {
		pick := func(way string, f func(turn) time.Duration) []time.Duration {
			var list []time.Duration
			for _, x := range groups[key{k.latency, way}] {
				list = append(list, f(x))
			}
			return list
		}
		mid := func(f func(turn) time.Duration) time.Duration { return median(pick(k.way, f)) }
		wall := func(x turn) time.Duration { return x.Wall }
		late := func(x turn) time.Duration { return x.Late }
		t.add(names[k.way], ms(k.latency), ms(mid(wall)), ms(quantile(pick(k.way, wall), 0.9)), ratio(mid(wall), median(pick("rollback", wall))),
			ms(mid(late)), ms(quantile(pick(k.way, late), 0.9)),
			ms(mid(func(x turn) time.Duration { return x.CPU })), megabytes(int64(mid(func(x turn) time.Duration { return time.Duration(x.PeakBytes) }))),
			fmt.Sprint(int64(mid(func(x turn) time.Duration { return time.Duration(x.Calls) }))),
			kilobytes(int64(mid(func(x turn) time.Duration { return time.Duration(x.Bytes) }))), fmt.Sprint(len(groups[k])))
	}
	return t, nil
}

// moduleVersion is the version of a module of the e2e tests.
func (b *bench) moduleVersion(ctx context.Context, dir, module string) string {
	c := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		return "version unknown"
	}
	return strings.TrimSpace(string(out))
}

// manualWay is the script, read where it is run.
func (b *bench) manualWay(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "realparts_test.go"))
	_, rest, ok := strings.Cut(string(text), "const manualWay = `")
	script, _, ended := strings.Cut(rest, "`")
	if err != nil || !ok || !ended {
		return "\n# see test/e2e/realparts_test.go"
	}
	return script
}
