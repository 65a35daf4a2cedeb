package e2e

// The soak: what people do about a bad deploy, in a loop, on both worlds at once, with random faults in all four systems, random
// kills, and others who look or type the same at the same time. Each command must end in a proven state, after the same command
// once more at most; after each story nothing may be left that piles up. E2E_SOAK is how long it takes, 25s if it is not set,
// E2E_SEED repeats the choices of another run. The stories are in soakstory_test.go, the report is written by soakpage_test.go.
// What goes on inside the program is looked at by the soak of the main module (test/bench).

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestSoak(t *testing.T) {
	t.Parallel()
	length := 25 * time.Second
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
	t.Logf("seed %d; to repeat the choices: make soak SEED=%d", seed, seed)
	var soaks []*soak
	var both sync.WaitGroup
	for i, start := range worlds {
		k := &soak{t: t, f: newForge(t, start, Options{Config: "    revert: {labels: [rollback, urgent], reviewers: [payments-dev]}\n"}), world: uint64(i), seed: seed, counts: counts{}}
		soaks = append(soaks, k)
		both.Go(func() { k.run(length) })
	}
	both.Wait()
	if path := os.Getenv("E2E_SOAK_PAGE"); path != "" && !t.Failed() {
		if err := writeSoakPage(path, seed, soaks); err != nil {
			t.Error(err)
		}
	}
}

// soak is the loop on one world.
type soak struct {
	t      *testing.T
	f      *forge
	stage  *Stage
	seed   uint64
	world  uint64
	rng    *rand.Rand // of the story
	counts counts
	line   []*Release // what was deployed, oldest first; between two stories the last one runs
	builds int        // that the deploy job was to do
	took   time.Duration

	mu   sync.Mutex
	told []string // what was done in the story, and what came of it
}

// counts are of what was done, by what it is about and what it is.
type counts map[string]map[string]int

// tell notes what was done; it is printed when the story fails.
func (k *soak) tell(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, fmt.Sprintf(format, args...))
}

func (k *soak) count(about, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counts[about] == nil {
		k.counts[about] = map[string]int{}
	}
	k.counts[about][what]++
}

func (k *soak) run(length time.Duration) {
	ctx, cancel := context.WithTimeout(k.t.Context(), length+5*time.Minute)
	defer cancel()
	fail := func(err error) {
		k.t.Errorf("%s: %v\n%s\nto repeat the choices: make soak SEED=%d", k.f.Name(), err, strings.Join(k.told, "\n"), k.seed)
	}
	before, err := k.begin(ctx)
	if err != nil {
		fail(err)
		return
	}
	begun := time.Now()
	for n := uint64(1); time.Since(begun) < length; n++ {
		k.told = nil
		k.rng = rand.New(rand.NewPCG(k.seed, k.world<<32|n)) // no story depends on how another one went
		s := stories[k.rng.IntN(len(stories))]
		k.tell("story %d: %s", n, s.name)
		k.count("stories", s.name)
		at := time.Now()
		if err := k.story(ctx, s); err != nil {
			fail(err)
			return
		}
		if testing.Verbose() {
			k.t.Logf("%s: story %d: %s, %s", k.f.Name(), n, s.name, time.Since(at).Round(10*time.Millisecond))
		}
	}
	k.took = time.Since(begun)
	if err := k.nothingLeft(ctx, before); err != nil {
		fail(err)
	}
	for _, about := range sorted(k.counts) {
		k.t.Logf("%s: %s: %v", k.f.Name(), about, k.counts[about])
	}
}

// begin brings the world into its first state and returns the files that are there.
func (k *soak) begin(ctx context.Context) (map[string]bool, error) {
	k.stage = &Stage{world: k.f, releases: map[string]*Release{}, broken: func(err error) { k.t.Errorf("%s: %v", k.f.Name(), err) }}
	if err := k.stage.grant(ctx, "run"); err != nil {
		return nil, err
	}
	if err := coded(ctx, k.stage); err != nil {
		return nil, err
	}
	if err := k.stage.up(ctx, workload(k.f, "StatefulSet", "payments-worker", "payments", 2)); err != nil {
		return nil, err
	}
	k.f.restarts = []string{"deployments/payments", "statefulsets/payments-worker"}
	for _, c := range changes {
		k.line = append(k.line, k.stage.releases[c.name])
	}
	return k.files()
}

// disturbance is what happens to one command.
type disturbance struct {
	name   string
	signal syscall.Signal // 0 for none
	at     int            // the request at which the signal comes, the first one is 1
	lost   bool           // of SIGKILL: that request is not done
	steal  bool           // of SIGKILL: the lock that is left is that of another machine, which only --steal takes
	system string         // of a fault
	fault  fake.Fault
	beside []*look // of others at the same time; nil is the very same command by a colleague
}

func (d disturbance) String() string {
	text := d.name
	switch {
	case d.lost:
		text = fmt.Sprintf("%s at request %d, which is lost", d.name, d.at)
	case d.signal != 0:
		text = fmt.Sprintf("%s at request %d", d.name, d.at)
	case d.system != "":
		text = fmt.Sprintf("%s at %s %s, after %d of them, %d times", d.name, d.system, d.fault.Op, d.fault.Skip, d.fault.Times)
	}
	for _, b := range d.beside {
		if b == nil {
			text += "; the same by a colleague"
		} else {
			text += "; " + b.args[0] + " by others"
		}
	}
	return text
}

// systems are the outside systems, in the order in which they are drawn, and what is asked of them: by a rollback, and by a
// revert alone, which asks only two of them. Of all that a command asks of one, the fault meets one of the first calls.
var systems = []struct {
	name       string
	ops, alone []string
	calls      int
}{
	{"cluster", []string{"*", "PATCH *", "UPDATE configmaps*", "LIST pods", "GET deployments*", "WATCH *"}, []string{"GET configmaps*", "UPDATE configmaps*"}, 30},
	{"registry", []string{"BatchGetImage", "PutImage", "DescribeImages", "DescribeRepositories", "GetCallerIdentity"}, nil, 0},
	{"GitHub", []string{"*", "*", "*", "graphql*", "pulls/get", "git/create-ref", "git/delete-ref", "pulls/create", "pulls/merge", "pulls/update"}, []string{
		"*", "*", "graphql*", "git/create-commit", "git/create-ref", "git/get-ref", "git/delete-ref", "repos/merge", "repos/compare-commits*",
		"pulls/create", "issues/add-labels", "pulls/request-reviewers",
	}, 12},
	{"Jenkins", []string{"*", "*", "GET job", "GET queue", "POST buildWithParameters"}, nil, 4},
}

// board is the switchboard of a system.
func (k *soak) board(system string) interface {
	Inject(fake.Fault)
	Clear()
	Open() int
} {
	switch system {
	case "cluster":
		return k.f.Cluster()
	case "registry":
		return k.f.Registry()
	case "GitHub":
		return k.f.github
	}
	return k.f.jenkins
}

// shortly is how servers ask for patience.
var shortly = http.Header{"Retry-After": {"1"}, "Content-Type": {"application/json"}}

var soakFaults = []struct {
	name   string
	system string // "" for all
	fault  fake.Fault
}{
	{name: "500", fault: fake.Fault{Status: 500, Body: "boom"}},
	{name: "503", fault: fake.Fault{Status: 503}},
	{name: "HTML", fault: fake.Fault{Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: fake.HTMLPage}},
	{name: "429", fault: fake.Fault{Status: 429, Header: shortly}},
	{name: "403", fault: fake.Fault{Status: 403}},
	{name: "no answer", fault: fake.Fault{Drop: true}},
	{name: "cut answer", fault: fake.Fault{Cut: true, Body: `{"kind":`}},
	{name: "lost answer", fault: fake.Fault{After: true, Drop: true}},
	{name: "slow answer", fault: fake.Fault{Delay: 700 * time.Millisecond}},
	{name: "secondary rate limit", system: "GitHub", fault: fake.Fault{Status: 403, Header: shortly, Body: `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}`}},
	{name: "422", system: "GitHub", fault: fake.Fault{Status: 422, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"injected"}]}`}},
}

// look is a command that only looks, and how it may end.
type look struct {
	args  []string
	exits []rollback.Exit
}

var looks = []look{
	{on("status"), []rollback.Exit{rollback.Done, rollback.Failed}},
	{on("status", "--json"), []rollback.Exit{rollback.Done, rollback.Failed}},
	{on("candidates"), []rollback.Exit{rollback.Done, rollback.Failed}},
	{on("plan", "--reason", "look"), []rollback.Exit{rollback.Done, rollback.Failed, rollback.Refused}},
	{on("verify"), []rollback.Exit{rollback.Done, rollback.Failed, rollback.Unverified}}, // what it looks for need not run yet
}

// draw picks a disturbance of a command. It takes the same numbers from the generator in the same order, whatever the worlds do.
func (k *soak) draw(command string) disturbance {
	alone := command == "revert" || command == "reland"
	d, calls := disturbance{name: "nothing"}, 80
	if alone {
		calls = 16
	}
	switch p := k.rng.IntN(10); {
	case p == 0:
	case p <= 3:
		d = disturbance{name: "SIGKILL", signal: syscall.SIGKILL, at: 1 + k.rng.IntN(calls), lost: k.rng.IntN(2) == 0, steal: k.rng.IntN(2) == 0}
	case p == 4:
		d = disturbance{name: "SIGTERM", signal: syscall.SIGTERM, at: 1 + k.rng.IntN(calls)}
	default:
		system := systems[k.rng.IntN(len(systems))]
		for alone && system.alone == nil {
			system = systems[k.rng.IntN(len(systems))]
		}
		ops := system.ops
		if alone {
			ops = system.alone
		}
		f := soakFaults[k.rng.IntN(len(soakFaults))]
		for f.system != "" && f.system != system.name {
			f = soakFaults[k.rng.IntN(len(soakFaults))]
		}
		d.name, d.system, d.fault = f.name, system.name, f.fault
		d.fault.Op = ops[k.rng.IntN(len(ops))]
		d.fault.Times = 1 + k.rng.IntN(4)
		switch d.fault.Op {
		case "*":
			d.fault.Skip = k.rng.IntN(system.calls)
		case "LIST pods":
			d.fault.Skip = k.rng.IntN(8)
		default:
			d.fault.Skip = k.rng.IntN(2)
		}
	}
	for range k.rng.IntN(3) {
		d.beside = append(d.beside, &looks[k.rng.IntN(len(looks))])
	}
	if k.rng.IntN(4) == 0 {
		d.beside = append(d.beside, nil)
	}
	return d
}

// act gives a command, disturbed, at times twice, and then once more if that did not end with the exit code that is wanted;
// where that is "pending, run again", always.
func (k *soak) act(ctx context.Context, exit rollback.Exit, args ...string) error {
	command := args[0]
	if i := slices.Index(args, "--method"); i > 0 {
		command += " --method " + args[i+1]
	}
	troubles := []disturbance{k.draw(args[0])}
	if k.rng.IntN(3) == 0 {
		troubles = append(troubles, k.draw(args[0]))
	}
	var d disturbance
	var first outcome
	for _, d = range troubles {
		k.count("commands", command)
		var err error
		if first, err = k.disturbed(ctx, d, args); err != nil {
			return err
		}
		k.count("exit codes", exitName(first.exit))
		if first.exit == int(exit) && exit == rollback.Done {
			return nil
		}
	}
	again := args
	if d.steal && first.exit == killed {
		switch held, err := k.elsewhere(ctx); {
		case err != nil:
			return err
		case held:
			k.count("disturbed by", "a lock of another machine")
			r, err := k.command(ctx, "oncall", args)
			if err != nil {
				return err
			}
			if r.exit != int(rollback.Refused) || !strings.Contains(r.stderr, "laptop-7") {
				return fmt.Errorf("exit %d beside a lock of another machine, want %d", r.exit, rollback.Refused)
			}
			again = append(slices.Clone(args), "--steal", "gone home")
		}
	}
	k.count("commands", "the same again, undisturbed")
	last, err := k.command(ctx, "oncall", again)
	if err != nil {
		return err
	}
	// Ended after its last write, a command has nothing left to do, which it says as a refusal.
	over := last.exit == int(rollback.Refused) && (strings.Contains(last.stderr, "[already-undone]") || strings.Contains(last.stderr, "[still-open]"))
	if last.exit != int(exit) && !over {
		return fmt.Errorf("again: exit %d, want %d", last.exit, exit)
	}
	return nil
}

func exitName(code int) string {
	if code == killed {
		return "killed"
	}
	return strconv.Itoa(code)
}

// elsewhere makes the lock that a killed program left that of another machine; held tells whether there was one.
func (k *soak) elsewhere(ctx context.Context) (held bool, err error) {
	r, err := k.record(ctx)
	if err != nil || r.Lock == nil {
		return false, err
	}
	return true, onLaptop("oncall", 10*time.Minute)(ctx, k.stage)
}

// command runs the program, undisturbed.
func (k *soak) command(ctx context.Context, user string, args []string) (outcome, error) {
	return k.start(ctx, user, args, func(*os.Process) {})
}

// start runs the program as somebody.
func (k *soak) start(ctx context.Context, user string, args []string, started func(*os.Process)) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, rollbackBinary, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = k.f.Dir(), &stdout, &stderr
	c.Env = append(k.f.Env(), "ROLLBACK_USER="+user, "ROLLBACK_REVERT_WAIT=20s")
	begun := time.Now()
	if err := c.Start(); err != nil {
		return outcome{}, err
	}
	started(c.Process)
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	r := outcome{args: args, exit: c.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	k.tell("%s: rollback %s: exit %d after %s\n%s%s", user, strings.Join(args, " "), r.exit, time.Since(begun).Round(10*time.Millisecond), r.stdout, r.stderr)
	return r, ctx.Err()
}

// disturbed runs the program once, and what others do beside it.
func (k *soak) disturbed(ctx context.Context, d disturbance, args []string) (outcome, error) {
	k.tell("disturbed by %s:", d)
	defer func() {
		for _, s := range systems {
			k.board(s.name).Clear()
		}
	}()
	ended := make(chan struct{})
	var seen atomic.Int32
	var came atomic.Bool // the call that it is about
	defer func() {
		switch {
		case d.name != "nothing" && !came.Load():
			k.count("disturbed by", "nothing: the call did not come")
		case d.system != "":
			k.count("faults at", d.system)
			fallthrough
		default:
			k.count("disturbed by", d.name)
		}
	}()
	gate := func(r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") || int(seen.Add(1)) != d.at { // nodes pull, builds push
			return
		}
		came.Store(true)
		_ = k.stage.running.Load().Signal(d.signal) // it may have ended: nothing waits for a watch
		if d.signal == syscall.SIGKILL {
			<-ended
			if d.lost {
				panic(http.ErrAbortHandler)
			}
		}
	}
	if d.system != "" {
		d.fault.Hold = func(*http.Request) { came.Store(true) }
		if d.fault.After { // a watch has no answer that could be lost, and would be served to its end
			d.fault.When = func(r *http.Request) bool { return r.URL.Query().Get("watch") == "" }
		}
		k.board(d.system).Inject(d.fault)
	}
	begun := make(chan struct{})
	var others sync.WaitGroup
	wrong := make([]error, len(d.beside))
	for i, look := range d.beside {
		others.Go(func() {
			<-begun
			wrong[i] = k.beside(ctx, look, args)
		})
	}
	r, err := k.start(ctx, "oncall", args, func(p *os.Process) {
		k.stage.running.Store(p)
		for _, s := range systems {
			if d.signal != 0 {
				k.board(s.name).Inject(fake.Fault{Hold: gate})
			}
		}
		close(begun)
	})
	close(ended)
	if err != nil {
		return r, err
	}
	others.Wait()
	if err := errors.Join(wrong...); err != nil {
		return r, err
	}
	return r, until(ctx, func() (bool, error) { // what a killed program has asked for is still being done
		for _, s := range systems {
			if k.board(s.name).Open() > 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

// beside is what somebody else does at the same time: looks, or with nil gives the very same command.
func (k *soak) beside(ctx context.Context, l *look, same []string) error {
	if l == nil {
		k.count("beside it", "the same command")
		r, err := k.command(ctx, "colleague", same)
		if err != nil {
			return err
		}
		k.count("exit codes of the colleague", exitName(r.exit))
		if r.exit == killed || r.exit == int(rollback.Usage) { // else it depends on who came first, and on what failed
			return fmt.Errorf("the colleague's command ended with exit %d", r.exit)
		}
		return nil
	}
	k.count("beside it", l.args[0])
	r, err := k.command(ctx, "onlooker", l.args)
	if err == nil && !slices.Contains(l.exits, rollback.Exit(r.exit)) {
		err = fmt.Errorf("rollback %s ended with exit %d", l.args[0], r.exit)
	}
	return err
}
