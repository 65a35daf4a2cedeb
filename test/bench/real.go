package main

// The whole rollback on real parts: what is typed today against ours, to the good end and to a bad one. test/e2e runs it, this
// merges its numbers.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// turn is one rollback as TestRealParts in test/e2e writes it down.
type turn struct {
	Way     string
	Latency time.Duration
	usage
	Late, Window  time.Duration
	API, Registry side
}

// side is what one server was asked for and what its process used.
type side struct {
	Calls     int64
	Bytes     int64
	CPU       time.Duration
	PeakBytes int64
}

// noticed is one rollout that failed as TestNoticed in test/e2e writes it down.
type noticed struct {
	Way, Reason   string
	Latency, Wall time.Duration
	Sign, Backoff time.Duration
}

func (b *bench) real(ctx context.Context) (section, error) {
	dir := filepath.Join(b.root, "test", "e2e")
	n := b.times(20)
	scripts := b.constants(dir, "realparts_test.go", "moveByAWS", "restartAndProve", "loginCrane", "moveByCrane")
	out := section{
		title: "On real parts",
		method: fmt.Sprintf("A Kubernetes of the real API server, etcd and controllers (%s) with nodes stood in for, and the distribution registry (%s) behind the API of\n"+
			"ECR. One Deployment of three pods, each ready some 100 ms after it was scheduled, goes to another image: from the decision, with the commit to go to at\n"+
			"hand, to digests that are proven. In turns (A B C D A …), `rollback run --to COMMIT --reason bench --yes` and three scripts; the latency is injected into every call of\n"+
			"each to both systems, not into those of the nodes. *Late* is the time from the last new pod being ready in the cluster to the end; of ours 100 ms are the settle time in which the pods must stay\n"+
			"ready. CPU is that of all processes of a way, on the client's side alone; peak memory that of its largest process. Counts are medians, too.\n\n"+
			"The script by aws:\n\n```sh%s%s\n```\n\n"+
			"By crane the last four lines are the same, and the first are these. Whoever has logged in within the last 12 hours leaves out the first one, which is\n"+
			"*logged in already*: the fastest way by hand.\n\n```sh%s%s\n```",
			b.moduleVersion(ctx, dir, "k8s.io/kubernetes"), b.moduleVersion(ctx, dir, "github.com/distribution/distribution/v3"), scripts[0], scripts[1], scripts[2], scripts[3]),
		limits: []string{
			"Finding the commit to go to, and seeing that it is safe: ours has `candidates` and `plan` for that, and `run` plans again; the scripts trust whoever typed them.",
			"What the scripts leave out: a lock, the outgoing image kept under a tag, the record and the way back, a look at events when pods do not come up.",
			"A real kubelet, and pulling real layers: the nodes resolve the tag and wait.",
			"A service of several workloads: each script gets two more lines for each.",
			"The registry alone: it is in the bench's own process, beside what counts and delays the calls to both servers and what looks when the pods are ready. The CPU of that process is all of these.",
			"What of the servers' memory a way needs: a garbage collector lets it grow by much more than one rollback takes, and etcd, here in memory, keeps what each one left. So is the CPU of a collection that of the way in which it falls.",
			"How soon a person sees that pods fail who looks at them beside `kubectl rollout status`, and how long real nodes take to the back-off: a kubelet waits 10 s where these wait 0.2 s.",
		},
	}
	if b.tools.aws.path == "" || b.tools.kubectl.path == "" || b.tools.crane.path == "" {
		out.missing = append(out.missing, "everything: it needs aws, crane and kubectl. "+b.tools.aws.hint+"; "+b.tools.crane.hint+"; "+b.tools.kubectl.hint)
		return out, nil
	}
	b.log("rollbacks on real parts, %d of each kind", n)
	var turns []turn
	if err := b.e2e(ctx, "TestRealParts", n, &turns); err != nil {
		return section{}, err
	}
	ways, err := realTable(turns)
	if err != nil {
		return section{}, err
	}
	servers := serversTable(turns)
	if len(servers.rows) == 0 {
		out.missing = append(out.missing, "the servers' CPU and memory: only Linux tells them of another process")
	}
	b.log("rollouts that fail on real parts, %d of each kind", n)
	var failed []noticed
	if err := b.e2e(ctx, "TestNoticed", n, &failed); err != nil {
		return section{}, err
	}
	out.tables = []table{ways, servers, noticedTable(failed)}
	return out, nil
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
	c := exec.CommandContext(ctx, "go", "test", "-trimpath", "-count=1", "-timeout=30m", "-run=^"+test+"$", ".")
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

// wayNames are the ways of TestRealParts, as the tables name them.
var wayNames = map[string]string{
	"rollback": "`rollback run --yes`", "aws": "the script by aws", "crane": "the script by crane", "crane, logged in": "the same, logged in already",
	"restart alone": "the pods' turning over alone", "idle": "nothing, for a second",
}

// group is one way at one latency.
type group struct {
	way     string
	latency time.Duration
}

// grouped sorts turns by way and latency, in the order in which they came first.
func grouped(turns []turn) (order []group, groups map[group][]turn) {
	groups = map[group][]turn{}
	for _, x := range turns {
		g := group{x.Way, x.Latency}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], x)
	}
	return order, groups
}

// realTable is a line for each way at each latency, ours first.
func realTable(turns []turn) (table, error) {
	t := table{head: []string{"what", "latency, ms", "time, ms", "p90", "× ours", "late, ms", "late, p90", "CPU, ms", "peak memory, MB", "calls", "kB of answers", "n"}}
	order, groups := grouped(turns)
	wall, late := func(x turn) time.Duration { return x.Wall }, func(x turn) time.Duration { return x.Late }
	for _, g := range order {
		if g.way == "restart alone" || g.way == "idle" {
			continue
		}
		list := groups[g]
		walls, lates := each(list, wall), each(list, late)
		t.add(wayNames[g.way], ms(g.latency), ms(median(walls)), ms(quantile(walls, 0.9)), ratio(median(walls), median(each(groups[group{"rollback", g.latency}], wall))),
			ms(median(lates)), ms(quantile(lates, 0.9)), ms(median(each(list, func(x turn) time.Duration { return x.CPU }))),
			megabytes(median(each(list, func(x turn) int64 { return x.PeakBytes }))),
			fmt.Sprint(median(each(list, func(x turn) int64 { return x.API.Calls + x.Registry.Calls }))),
			kilobytes(median(each(list, func(x turn) int64 { return x.API.Bytes + x.Registry.Bytes }))), fmt.Sprint(len(list)))
	}
	if len(t.rows) == 0 {
		return t, errors.New("nothing was measured")
	}
	return t, nil
}

// serversTable is the other side of the same turns; it is empty where processes cannot be looked at.
func serversTable(turns []turn) table {
	t := table{head: []string{"what the servers did meanwhile", "latency, ms", "API server: calls", "kB of answers", "CPU, ms", "peak memory, MB", "registry: calls", "kB of answers", "CPU, ms", "peak memory, MB", "n"}}
	order, groups := grouped(turns)
	if !slices.ContainsFunc(turns, func(x turn) bool { return x.API.CPU > 0 }) {
		return t
	}
	for _, g := range order {
		list := groups[g]
		row := []string{wayNames[g.way], ms(g.latency)}
		for _, of := range []func(turn) side{func(x turn) side { return x.API }, func(x turn) side { return x.Registry }} {
			row = append(row, fmt.Sprint(median(each(list, func(x turn) int64 { return of(x).Calls }))), kilobytes(median(each(list, func(x turn) int64 { return of(x).Bytes }))),
				ms(median(each(list, func(x turn) time.Duration { return of(x).CPU }))), megabytes(median(each(list, func(x turn) int64 { return of(x).PeakBytes }))))
		}
		t.add(append(row, fmt.Sprint(len(list)))...)
	}
	t.note = "CPU and peak resident set of the one process of API server, etcd, controllers and nodes, and of that of the registry (see below), from the beginning until the\n" +
		"last old pod is gone, as /proc tells them: CPU in steps of 10 ms. *The pods' turning over alone* is a restart that nobody waits for, which every way has in it; *nothing* is what the\n" +
		"servers use when nobody asks. Calls and answers are those of the way alone."
	return t
}

// noticedTable tells how soon each was over once a pod had failed.
func noticedTable(list []noticed) table {
	t := table{head: []string{"what", "latency, ms", "the new pods", "time, ms", "after the first sign, ms", "after the back-off, ms", "p90", "n"}}
	type kind struct {
		way, reason string
		latency     time.Duration
	}
	groups := map[kind][]noticed{}
	var order []kind
	for _, x := range list {
		k := kind{"`rollback run --yes`", x.Reason, x.Latency}
		if x.Way == "kubectl" {
			k = kind{"`kubectl rollout status`, deadline of 3 s", "either, in turns", x.Latency}
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], x)
	}
	slices.SortStableFunc(order, func(a, b kind) int { return strings.Compare(b.way, a.way) })
	for _, k := range order {
		backoff := each(groups[k], func(x noticed) time.Duration { return x.Backoff })
		t.add(k.way, ms(k.latency), k.reason, ms(median(each(groups[k], func(x noticed) time.Duration { return x.Wall }))),
			ms(median(each(groups[k], func(x noticed) time.Duration { return x.Sign }))), ms(median(backoff)), ms(quantile(backoff, 0.9)), fmt.Sprint(len(groups[k])))
	}
	t.note = "The same Deployment goes to an image that crashes, or that the nodes may not pull (403). *After the first sign*: from the first pod whose container has ended or whose pull\n" +
		"has failed, as the cluster shows it; *after the back-off*: from the first in CrashLoopBackOff or ImagePullBackOff. Ours ends with exit code 4, the cause and the pod's last\n" +
		"lines. `kubectl rollout status`, after `crane tag` and `kubectl rollout restart`, waits for the Deployment's progressDeadlineSeconds and then says that it was\n" +
		"exceeded, without a cause. That is 600 s where nobody has set it; it is 3 s here, so add 597 s."
	return t
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

// constants are some of a test's, read where they are.
func (b *bench) constants(dir, file string, names ...string) []string {
	text, err := os.ReadFile(filepath.Join(dir, file))
	list := make([]string, len(names))
	for i, name := range names {
		_, rest, ok := strings.Cut(string(text), name+" = `")
		value, _, ended := strings.Cut(rest, "`")
		if list[i] = value; err != nil || !ok || !ended {
			list[i] = "\n# see test/e2e/" + file
		}
	}
	return list
}
