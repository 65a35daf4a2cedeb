package e2e

// The soak: rollbacks and undos in a loop, on both worlds at once, with random faults and kills. Each must end in a proven
// state, after the same command once more at most; at the end nothing may be left that piles up. E2E_SOAK is how long it
// takes, 30s if it is not set, E2E_SEED repeats the choices of another run. What goes on inside the program is looked at by
// the soak of the main module (test/bench).

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestSoak(t *testing.T) {
	length := 30 * time.Second
	if text := os.Getenv("E2E_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("E2E_SOAK: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("E2E_SEED: %v", err)
		}
	}
	t.Logf("seed %d; to repeat the choices: E2E_SEED=%d", seed, seed)
	var both sync.WaitGroup
	for i, start := range worlds {
		k := &soak{t: t, world: start(t, Options{}), rng: rand.New(rand.NewPCG(seed, uint64(i))), counts: map[string]int{}}
		both.Go(func() { k.run(length) })
	}
	both.Wait()
}

// soak is the loop on one world.
type soak struct {
	t      *testing.T
	world  World
	stage  *Stage
	rng    *rand.Rand
	counts map[string]int // of what was done
	failed bool
}

func (k *soak) errorf(format string, args ...any) {
	k.failed = true
	k.t.Errorf(k.world.Name()+": "+format, args...)
}

func (k *soak) run(length time.Duration) {
	ctx, cancel := context.WithTimeout(k.t.Context(), length+5*time.Minute)
	defer cancel()
	k.stage = &Stage{world: k.world, releases: map[string]*Release{}, broken: func(err error) { k.errorf("%v", err) }}
	if err := k.stage.grant(ctx, "run"); err != nil {
		k.errorf("%v", err)
		return
	}
	if err := payments("Deployment", "StatefulSet")(ctx, k.stage); err != nil {
		k.errorf("seed: %v", err)
		return
	}
	files, err := k.files()
	if err != nil {
		k.errorf("%v", err)
		return
	}
	at := "bad" // what runs
	targets := []string{"good", "old", "oldest"}
	begun := time.Now()
	for n := 1; time.Since(begun) < length && !k.failed; n++ {
		to, args := targets[k.rng.IntN(len(targets))], []string(nil)
		if at == "bad" {
			args = on("run", "--to", "{"+to+"}", "--reason", "soak", "--yes")
		} else {
			to, args = "bad", on("undo", "--reason", "soak", "--yes")
		}
		k.once(ctx, n, args, to)
		at = to
	}
	k.nothingLeft(ctx, files)
	var said []string
	for _, what := range sorted(k.counts) {
		said = append(said, fmt.Sprintf("%s %d", what, k.counts[what]))
	}
	k.t.Logf("%s: %s in %s", k.world.Name(), strings.Join(said, ", "), time.Since(begun).Round(time.Second))
}

// disturbance is what happens to one command.
type disturbance struct {
	name   string
	signal syscall.Signal // 0 for none
	at     int            // the request at which the signal comes, the first one is 1
	lost   bool           // of SIGKILL: that request is not done
	board  string         // "cluster" or "registry", of a fault
	fault  fake.Fault
}

func (d disturbance) String() string {
	switch {
	case d.lost:
		return fmt.Sprintf("%s at request %d, which is lost", d.name, d.at)
	case d.signal != 0:
		return fmt.Sprintf("%s at request %d", d.name, d.at)
	case d.board != "":
		return fmt.Sprintf("%s at %s %s, after %d of them, %d times", d.name, d.board, d.fault.Op, d.fault.Skip, d.fault.Times)
	}
	return d.name
}

var soakOps = map[string][]string{
	"cluster":  {"*", "PATCH *", "UPDATE configmaps*", "LIST pods", "GET deployments*", "WATCH *"},
	"registry": {"BatchGetImage", "PutImage", "DescribeImages", "DescribeRepositories", "GetCallerIdentity"},
}

var soakFaults = []struct {
	name  string
	fault fake.Fault
}{
	{"500", fake.Fault{Status: 500, Body: "boom"}},
	{"503", fake.Fault{Status: 503}},
	{"HTML", fake.Fault{Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: fake.HTMLPage}},
	{"429", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}},
	{"403", fake.Fault{Status: 403}},
	{"no answer", fake.Fault{Drop: true}},
	{"cut answer", fake.Fault{Cut: true, Body: `{"kind":`}},
	{"lost answer", fake.Fault{After: true, Drop: true}},
	{"slow answer", fake.Fault{Delay: 700 * time.Millisecond}},
}

// draw picks a disturbance. It takes the same numbers from the generator in the same order, whatever the worlds do.
func (k *soak) draw() disturbance {
	switch p := k.rng.IntN(10); {
	case p == 0:
		return disturbance{name: "nothing"}
	case p <= 3:
		return disturbance{name: "SIGKILL", signal: syscall.SIGKILL, at: 1 + k.rng.IntN(70), lost: k.rng.IntN(2) == 0}
	case p <= 5:
		return disturbance{name: "SIGTERM", signal: syscall.SIGTERM, at: 1 + k.rng.IntN(70)}
	}
	d := disturbance{board: []string{"cluster", "registry"}[k.rng.IntN(2)]}
	f := soakFaults[k.rng.IntN(len(soakFaults))]
	d.name, d.fault = f.name, f.fault
	d.fault.Op = soakOps[d.board][k.rng.IntN(len(soakOps[d.board]))]
	d.fault.Times = 1 + k.rng.IntN(4)
	if d.fault.Op == "*" || d.fault.Op == "LIST pods" {
		d.fault.Skip = k.rng.IntN(30)
	} else {
		d.fault.Skip = k.rng.IntN(2)
	}
	return d
}

// once does one rollback or undo, disturbed, and the same command again if that did not end well.
func (k *soak) once(ctx context.Context, n int, args []string, to string) {
	d := k.draw()
	what := fmt.Sprintf("%d: rollback %s, %s", n, strings.Join(args, " "), d)
	began := time.Now()
	k.counts[args[0]]++
	first, err := k.disturbed(ctx, d, slices.Clone(args))
	if err != nil {
		k.errorf("%s: %v", what, err)
		return
	}
	k.counts["with "+d.name]++
	k.counts["ended with exit "+strconv.Itoa(first.exit)]++
	last := first
	if first.exit != 0 {
		k.counts["again"]++
		if last, err = k.stage.rollback(ctx, slices.Clone(args)...); err != nil {
			k.errorf("%s: again: %v", what, err)
			return
		}
	}
	// Ended after its last write, a command has nothing left to do, which it says as a refusal.
	over := first.exit != 0 && last.exit == int(rollback.Refused) && (strings.Contains(last.stderr, "[already-undone]") || strings.Contains(last.stderr, "[still-open]"))
	if last.exit != 0 && !over {
		k.errorf("%s: exit %d, want 0; first:\nexit %d\n%s%s\nthen:\n%s%s", what, last.exit, first.exit, first.stdout, first.stderr, last.stdout, last.stderr)
		return
	}
	if err := k.proven(ctx, to, args[0]); err != nil {
		k.errorf("%s: %v; first:\nexit %d\n%s%s\nthen:\n%s%s", what, err, first.exit, first.stdout, first.stderr, last.stdout, last.stderr)
		return
	}
	if testing.Verbose() {
		k.t.Logf("%s: %s: exit %d, then %d, after %s", k.world.Name(), what, first.exit, last.exit, time.Since(began).Round(10*time.Millisecond))
	}
}

// disturbed runs the program once.
func (k *soak) disturbed(ctx context.Context, d disturbance, args []string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ended := make(chan struct{})
	boards := []interface {
		Inject(fake.Fault)
		Clear()
	}{k.world.Cluster(), k.world.Registry()}
	defer func() {
		for _, b := range boards {
			b.Clear()
		}
	}()
	var seen atomic.Int32
	gate := func(r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") || int(seen.Add(1)) != d.at { // nodes pull
			return
		}
		_ = k.stage.running.Load().Signal(d.signal) // it may have ended: nothing waits for a watch
		if d.signal == syscall.SIGKILL {
			<-ended
			if d.lost {
				panic(http.ErrAbortHandler)
			}
		}
	}
	switch {
	case d.signal != 0:
		for _, b := range boards {
			b.Inject(fake.Fault{Hold: gate})
		}
	case d.board == "cluster":
		boards[0].Inject(d.fault)
	case d.board == "registry":
		boards[1].Inject(d.fault)
	}
	defer close(ended)
	return k.stage.rollback(ctx, args...)
}

// proven tells whether tag, pods and record say that a release runs, and nobody holds the lock.
func (k *soak) proven(ctx context.Context, to, act string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	want := k.stage.releases[to].Digest
	if got := k.world.Registry().Tags("payments")["latest"]; got != want {
		return fmt.Errorf("latest names %s, want %s", got, want)
	}
	pods, err := k.world.API().list(ctx, "pods", k.world.Namespace(), "")
	if err != nil {
		return err
	}
	count := 0
	for _, p := range pods {
		if str(p, "metadata", "deletionTimestamp") != "" {
			continue
		}
		for _, c := range items(p, "status", "containerStatuses") {
			if _, digest, _ := strings.Cut(str(c, "imageID"), "@"); digest != want || at(c, "ready") != true {
				return fmt.Errorf("%s runs %s, ready %v, want %s", str(p, "metadata", "name"), digest, at(c, "ready"), want)
			}
			count++
		}
	}
	if count != 5 {
		return fmt.Errorf("%d containers run, want 5", count)
	}
	r, err := k.record(ctx)
	if err != nil {
		return err
	}
	state := map[string]rollback.State{"run": rollback.Mitigated, "undo": rollback.Closed}[act] // an undo owes nothing
	if r.Lock != nil || r.Last == nil || r.Last.State != state {
		return fmt.Errorf("the record says %+v, lock %+v, want state %q and no lock", r.Last, r.Lock, state)
	}
	return nil
}

func (k *soak) record(ctx context.Context) (rollback.Record, error) {
	m, err := k.world.API().get(ctx, "configmaps", k.world.Namespace(), record.Name("payments"))
	if err != nil {
		return rollback.Record{}, err
	}
	data := map[string]string{}
	for key, v := range mapOf(m, "data") {
		data[key], _ = v.(string)
	}
	return record.Decode(data)
}

// keepTag is the tag under which an outgoing image is kept, one for each digest.
var keepTag = regexp.MustCompile(`^rollback-keep-[0-9a-f]{12}$`)

// nothingLeft looks for what piles up: locks, ConfigMaps, tags, files, processes.
func (k *soak) nothingLeft(ctx context.Context, before map[string]bool) {
	r, err := k.record(ctx)
	if err != nil {
		k.errorf("%v", err)
	} else if r.Lock != nil {
		k.errorf("a lock is left: %+v", r.Lock)
	}
	configMaps, err := k.world.API().list(ctx, "configmaps", k.world.Namespace(), "")
	if err != nil {
		k.errorf("%v", err)
	}
	for _, m := range configMaps {
		switch name := str(m, "metadata", "name"); name {
		case "kube-root-ca.crt":
		case record.Name("payments"):
			k.counts["left: ConfigMap"]++
		default:
			k.errorf("the ConfigMap %s is left", name)
		}
	}
	if k.counts["left: ConfigMap"] != 1 {
		k.errorf("%d records are left, want 1", k.counts["left: ConfigMap"])
	}
	commits := map[string]bool{"latest": true}
	for _, x := range k.stage.releases {
		commits[x.Commit] = true
	}
	kept := map[string]string{} // digest → tag
	for tag, digest := range k.world.Registry().Tags("payments") {
		switch {
		case commits[tag]:
		case keepTag.MatchString(tag) && kept[digest] == "" && strings.HasPrefix(digest, "sha256:"+tag[len("rollback-keep-"):]):
			kept[digest] = tag
			k.counts["left: keep tag"]++
		default:
			k.errorf("the tag %s of %s is left", tag, digest)
		}
	}
	files, err := k.files()
	if err != nil {
		k.errorf("%v", err)
	}
	for f := range files {
		if before[f] {
			continue
		}
		if filepath.Dir(f) != "journals" && !strings.HasPrefix(f, "journals"+string(filepath.Separator)) || filepath.Ext(f) != ".jsonl" {
			k.errorf("the file %s is left", f)
			continue
		}
		k.counts["left: journal"]++
		if err := readable(filepath.Join(k.world.Dir(), f)); err != nil {
			k.errorf("%s: %v", f, err)
		}
	}
	for _, v := range k.world.Registry().Violations() {
		k.errorf("%s", v)
	}
	// Processes are known by their environment. Only Linux shows it here.
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range all {
		if text, err := os.ReadFile(p); err == nil && bytes.Contains(text, []byte("ROLLBACK_STATE="+filepath.Join(k.world.Dir(), "journals"))) && p != fmt.Sprintf("/proc/%d/environ", os.Getpid()) {
			k.errorf("the process %s is left", filepath.Base(filepath.Dir(p)))
		}
	}
}

// readable tells whether a journal can be read to its end.
func readable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	events, err := record.ReadJournal(f)
	if err == nil && len(events) == 0 {
		// Killed before its first event was written.
		info, statErr := f.Stat()
		if statErr != nil || info.Size() > 0 {
			err = fmt.Errorf("no event can be read: %v", statErr)
		}
	}
	return err
}

// files are those in the world's directory, which is also where temporary ones go, relative to it.
func (k *soak) files() (map[string]bool, error) {
	all := map[string]bool{}
	err := filepath.WalkDir(k.world.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(k.world.Dir(), path)
		all[rel] = true
		return err
	})
	return all, err
}
