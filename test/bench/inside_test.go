package main

// The soak of what goes on inside the program: rollbacks, undos and reverts in this process, with random faults in all four
// systems and random cancellations, which is what SIGTERM does. No goroutine, file or connection may be left, neither after a
// command nor at the end. E2E_SEED repeats the choices of another run, E2E_SOAK is how long it takes, E2E_SOAK_PAGE where the
// report goes; the soak of test/e2e kills processes.

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/commands"
	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/github"
)

// ours finds a goroutine that the program started or is in.
var ours = regexp.MustCompile(`rollback-tools/rollback/(commands|jenkins|internal/(rollback|kube|ecr|eks|oci|record|github|config|awsconfig))\.`)

// left are the stacks of the program's goroutines.
func left() []string {
	text := make([]byte, 8<<20)
	text = text[:runtime.Stack(text, true)]
	var all []string
	for _, stack := range strings.Split(string(text), "\n\n") {
		if ours.MatchString(stack) && !strings.Contains(stack, "/internal/fake") {
			all = append(all, stack)
		}
	}
	return all
}

func TestInsideNothingIsLeft(t *testing.T) {
	length := 4 * time.Second
	if text := os.Getenv("E2E_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d; to repeat the choices: make soak SEED=%d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before := goleak.IgnoreCurrent()
	s, err := open(demo.Options{Code: true})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			s.Close()
		}
	}()
	if err := s.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kv := range s.env { // the AWS SDK looks there
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	in := insideSoak{t: t, s: s, rng: rng, boards: []*fake.Switchboard{s.Registry.Switchboard, s.Cluster.Switchboard, s.GitHub.Switchboard, s.Jenkins.Switchboard}}
	in.files, in.sockets = descriptors()
	previous := s.Releases[len(s.Releases)-2].Commit
	for begun := time.Now(); (in.commands == 0 || time.Since(begun) < length) && !t.Failed(); {
		previous = in.round(previous)
	}
	closed = true
	s.Close()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	t.Logf("%d commands, %d cancelled, %d done again", in.commands, in.cancelled, in.again)
	if path := os.Getenv("E2E_SOAK_PAGE"); path != "" && !t.Failed() {
		if err := os.WriteFile(path, []byte(in.page(length)), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// insideSoak is the loop, and what was done in it.
type insideSoak struct {
	t                          *testing.T
	s                          *site
	rng                        *rand.Rand
	boards                     []*fake.Switchboard
	files, sockets             int // that were open before the first command
	last                       int // sockets after the last one
	changes                    int
	commands, cancelled, again int
}

// round goes back by tag and undoes that, goes back by a revert that merges by itself, and has the next change deployed. It
// returns the commit to go back to from there.
func (in *insideSoak) round(previous string) string {
	in.do(args("run", scope("payments", "--to", previous, "--reason", "soak", "--yes")...))
	in.do(args("undo", scope("payments", "--reason", "soak", "--yes")...))
	for _, p := range in.s.Code.OpenPulls() { // of what was undone
		if err := in.s.Code.ClosePull(p.Number, "payments-lead"); err != nil {
			in.t.Fatal(err)
		}
	}
	in.do(args("run", scope("payments", "--method", "revert", "--revert-auto-merge", "--to", previous, "--reason", "soak", "--yes")...))
	if in.t.Failed() {
		return previous
	}
	reverted := in.s.Code.Head("main")
	in.changes++
	name := fmt.Sprintf("soak-%d", in.changes)
	if _, err := in.s.Code.Commit(name, github.Change{Message: name, From: "main", Files: map[string]string{name + ".go": "package payments\n"}}); err != nil {
		in.t.Fatal(err)
	}
	number, err := in.s.Code.OpenPull(github.PullOptions{Head: name, Title: name})
	if err == nil {
		_, err = in.s.Code.Merge(number, "squash", "payments-lead")
	}
	if err != nil {
		in.t.Fatal(err)
	}
	deployed := func() bool {
		latest := in.s.Registry.Tags("payments")
		ours := latest["latest"] == latest[in.s.Code.Head("main")]
		for app, pods := range map[string]int{"payments": 3, "payments-worker": 2} {
			running := in.s.Running(app)
			ours = ours && len(running) == 1 && running[latest["latest"]] == pods
		}
		return ours
	}
	if !eventually(in.t.Context(), deployed) {
		in.t.Errorf("the next change is not deployed: %v runs", in.s.Running("payments"))
	}
	return reverted
}

// pooled are the sockets, both ends, that may be open between two commands beside those at the beginning: of nodes, and of the
// one pool for clusters that client-go has for a process. Whatever a command leaves comes to more than that soon.
const pooled = 24

var insideFaults = []fake.Fault{
	{Status: 500}, {Status: 503}, {Status: 403}, {Drop: true}, {Cut: true, Body: "{"}, {After: true, Drop: true}, {Delay: 300 * time.Millisecond},
	{Status: 502, Body: fake.HTMLPage}, {Status: 429, Header: http.Header{"Retry-After": {"1"}}},
}

// do gives a command, disturbed, and once more if it did not end well. Nothing of it may be left then.
func (in *insideSoak) do(act []string) {
	if in.t.Failed() {
		return
	}
	in.commands++
	ctx, cancel := context.WithTimeout(in.t.Context(), patience)
	what := "a cancellation"
	if in.rng.IntN(2) == 0 {
		at, seen := int32(1+in.rng.IntN(90)), new(atomic.Int32)
		for _, b := range in.boards {
			b.Inject(fake.Fault{Hold: func(*http.Request) {
				if seen.Add(1) == at {
					cancel()
				}
			}})
		}
		in.cancelled++
	} else {
		f := insideFaults[in.rng.IntN(len(insideFaults))]
		f.Times, f.Skip = 1+in.rng.IntN(4), in.rng.IntN(20)
		in.boards[in.rng.IntN(len(in.boards))].Inject(f)
		what = "a fault"
	}
	code, said := inside(ctx, in.s, act)
	cancel()
	for _, b := range in.boards {
		b.Clear()
	}
	if code != 0 {
		in.again++
		first := said
		ctx, cancel := context.WithTimeout(in.t.Context(), patience)
		code, said = inside(ctx, in.s, act)
		cancel()
		if over := code == 5 && (strings.Contains(said, "[already-undone]") || strings.Contains(said, "[still-open]")); code != 0 && !over {
			in.t.Errorf("%s after %s: exit %d\nfirst: %s\nthen: %s", act[0], what, code, first, said)
		}
	}
	if !eventually(in.t.Context(), func() bool { return len(left()) == 0 }) {
		in.t.Errorf("after %s with %s goroutines are left:\n%s", act[0], what, strings.Join(left(), "\n\n"))
	}
	none := func() bool {
		files, sockets := descriptors()
		in.last = sockets
		open := 0
		for _, b := range in.boards {
			open += b.Open()
		}
		return files <= in.files && sockets <= in.sockets+pooled && open == 0
	}
	if !eventually(in.t.Context(), none) {
		files, sockets := descriptors()
		in.t.Errorf("after %s with %s %d files and %d connections are open, before there were %d and %d", act[0], what, files, sockets, in.files, in.sockets)
	}
}

// descriptors counts the open files of this process, and its sockets. Only Linux shows them here.
func descriptors() (files, sockets int) {
	all, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range all {
		if name, err := os.Readlink(fd); err != nil {
			continue // the one of the listing itself
		} else if strings.HasPrefix(name, "socket:") {
			sockets++
		} else {
			files++
		}
	}
	return files, sockets
}

// inside runs a command in this process.
func inside(ctx context.Context, s *site, args []string) (code int, said string) {
	var stdout, stderr bytes.Buffer
	code = commands.Main(ctx, &commands.Env{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Environ: s.env, Dir: s.Dir, Width: func() int { return 80 }, Version: "soak",
	}, args)
	return code, stdout.String() + stderr.String()
}

// eventually waits up to five seconds for cond.
func eventually(ctx context.Context, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cond()
		}
	}
	return true
}

// page is the part of docs/soak.md about this soak.
func (in *insideSoak) page(length time.Duration) string {
	return fmt.Sprintf(`
## Inside the program

The same choices' seed, but in one process beside the loopback world, with its GitHub and Jenkins, for %s: back by tag, undone, back
by a revert that merges by itself and is built and deployed, and the next change; half of the commands disturbed by a fault in one of the
four systems, half cancelled at some request, as by SIGTERM. After every command, and none of it was found: a goroutine of the
program, an open file more than before the first one, more connections (on Linux, both ends) than the nodes and the cluster's pool
have, a request that is still being answered. At the end: any goroutine more than before the world was started.

| what | how many |
| --- | --- |
| commands | %d |
| cancelled | %d |
| disturbed by a fault | %d |
| the same again | %d |
| open files, before and after | %d |
| sockets, before and after the last one | %d, %d |
`, length, in.commands, in.cancelled, in.commands-in.cancelled, in.again, in.files, in.sockets, in.last)
}
