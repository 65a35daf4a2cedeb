package main

// The soak of what goes on inside the program: rollbacks and undos in this process, with random faults in all four systems and
// random cancellations, which is what SIGTERM does. No goroutine may be left, neither after a command nor at the end.
// E2E_SEED repeats the choices of another run, E2E_SOAK is how long it takes; the soak of test/e2e kills processes.

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"os"
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
	t.Logf("seed %d; to repeat the choices: E2E_SEED=%d", seed, seed)
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
	good := s.Releases[len(s.Releases)-2]
	acts := [][]string{
		args("run", scope("payments", "--to", good.Commit, "--reason", "soak", "--yes")...),
		args("undo", scope("payments", "--reason", "soak", "--yes")...),
	}
	boards := []*fake.Switchboard{s.Registry.Switchboard, s.Cluster.Switchboard, s.GitHub.Switchboard, s.Jenkins.Switchboard}
	faults := []fake.Fault{
		{Status: 500}, {Status: 503}, {Status: 403}, {Drop: true}, {Cut: true, Body: "{"}, {After: true, Drop: true}, {Delay: 300 * time.Millisecond},
		{Status: 502, Body: fake.HTMLPage},
	}
	commandsDone, cancelled, again := 0, 0, 0
	for begun := time.Now(); (commandsDone < 6 || time.Since(begun) < length) && !t.Failed(); commandsDone++ {
		act := acts[commandsDone%2]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		what := "a cancellation"
		if rng.IntN(2) == 0 {
			at, seen := int32(1+rng.IntN(60)), new(atomic.Int32)
			for _, b := range boards {
				b.Inject(fake.Fault{Hold: func(*http.Request) {
					if seen.Add(1) == at {
						cancel()
					}
				}})
			}
			cancelled++
		} else {
			f := faults[rng.IntN(len(faults))]
			f.Times, f.Skip = 1+rng.IntN(4), rng.IntN(20)
			boards[rng.IntN(len(boards))].Inject(f)
			what = "a fault"
		}
		code, said := inside(ctx, s, act)
		cancel()
		for _, b := range boards {
			b.Clear()
		}
		if code != 0 {
			again++
			first := said
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			code, said = inside(ctx, s, act)
			cancel()
			if over := code == 5 && (strings.Contains(said, "[already-undone]") || strings.Contains(said, "[still-open]")); code != 0 && !over {
				t.Errorf("%s after %s: exit %d\nfirst: %s\nthen: %s", act[0], what, code, first, said)
			}
		}
		none := func() bool { return len(left()) == 0 }
		if !eventually(t.Context(), none) {
			t.Errorf("after %s with %s goroutines are left:\n%s", act[0], what, strings.Join(left(), "\n\n"))
		}
	}
	closed = true
	s.Close()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	t.Logf("%d commands, %d cancelled, %d done again", commandsDone, cancelled, again)
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
