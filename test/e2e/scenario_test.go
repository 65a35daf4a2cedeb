package e2e

// The scenarios. Each runs in both worlds; the two traces must be the same, and as the scenario says. Then kubectl, crane and
// the AWS CLI look at both worlds (agree), and what is typed today is done in one of its own (manually): of that, too, a
// scenario need not say anything.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// Scenario is a state of the world, what is done in it, and what must be so at the end.
type Scenario struct {
	Name    string
	Options Options
	// Seed brings the world into the state of the beginning.
	Seed  func(context.Context, *Stage) error
	Steps []Step
	// Want are fields of the trace, the same in both worlds; "" means that the field must not be there.
	Want map[string]string
	// Differ are the fields in which the real world may differ.
	Differ []Difference
	// Manual is what is typed today in place of the steps, after what is done before them; "" derives it from where they led.
	// NoManual says why there is nothing to type that leads to the same end.
	Manual, NoManual string
}

// Step is one command, and what somebody else does before it.
type Step struct {
	// The program has the rights that its command is printed to need; with SameRights those that it had before.
	SameRights bool
	Before     func(context.Context, *Stage) error
	// Args are the program's; {good} and the like stand for the digest of a release of that name, {good.commit} for its commit,
	// {good.short} for 12 digits of that.
	Args []string
	// Paste, in place of Args, is a command of the program by its name: as the last step printed it, through a shell.
	Paste string
	Exit  int
	// Says is what standard output or standard error must have in it, in both worlds.
	Says []string
}

// Stage is a scenario that plays in a world.
type Stage struct {
	world    World
	releases map[string]*Release // by name
	repos    []string
	done     []outcome
	latest   []map[string]string // what the moving tag of each repository named before the steps, and after each
	broken   func(error)         // tells the test of a failure in another goroutine
	running  atomic.Pointer[os.Process]
	others   atomic.Bool // whether somebody else did something while a step was running
	byHand   bool        // the steps are done by hand: nothing has a record
	mu       sync.Mutex
	journals []string // paths, in the order in which they were begun
	result   string   // path of the result file that the program is to leave, "" for none
	env      []string // in place of what the world's says, from here on
	gates    *gates   // between the program and the systems, nil for none
}

// killed is the exit code of a program that was killed.
const killed = -1

// kill ends the program at once, as a lost machine does.
func (s *Stage) kill() { s.signal(syscall.SIGKILL) }

func (s *Stage) signal(sig syscall.Signal) {
	if err := s.running.Load().Signal(sig); err != nil {
		s.broken(err)
	}
}

// outcome is what became of a step.
type outcome struct {
	args           []string
	exit           int
	stdout, stderr string
	result         map[string]string // of the result file, without those that killed programs leave
	others         bool              // whether somebody else did something meanwhile
}

func (s *Stage) repositories() []string { return s.repos }

// release pushes the next image of a service, under a name by which the scenario knows it.
func (s *Stage) release(ctx context.Context, service, name, title string, age time.Duration, platforms ...string) error {
	r := &Release{Title: title, Age: age, Platforms: platforms}
	if err := push(ctx, s.world, service, r); err != nil {
		return err
	}
	s.releases[name] = r
	if !slices.Contains(s.repos, service) {
		s.repos = append(s.repos, service)
	}
	return nil
}

// up applies workloads and waits until each is rolled out.
func (s *Stage) up(ctx context.Context, objects ...object) error {
	if err := s.world.API().apply(ctx, objects...); err != nil {
		return err
	}
	for _, o := range objects {
		if kind := str(o, "kind"); kind != "CronJob" {
			if err := s.world.API().rolledOut(ctx, plural(kind), s.world.Namespace(), str(o, "metadata", "name")); err != nil {
				return err
			}
		}
	}
	return nil
}

// grant lets the program's user do what `rollback permissions` prints for a command.
func (s *Stage) grant(ctx context.Context, command string, how ...string) error {
	roles, err := s.roles(ctx, append([]string{"--for", command}, how...)...)
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		return fmt.Errorf("rollback permissions --for %s printed no Role", command)
	}
	return s.world.Grant(ctx, roles)
}

// role is the command whose rights a step needs, and how that is done.
func (s Step) role() (command string, how []string) {
	if s.Paste != "" {
		return s.Paste, nil
	}
	if i := slices.Index(s.Args, "--for"); i > 0 { // doctor looks at all that another command needs
		return s.Args[i+1], nil
	}
	if s.Args[0] == "doctor" {
		return "run", nil
	}
	if i := slices.Index(s.Args, "--method"); i > 0 && s.Args[0] == "run" {
		how = s.Args[i : i+2]
	}
	return s.Args[0], how
}

// roles are the Roles and ClusterRoles that `rollback permissions` prints.
func (s *Stage) roles(ctx context.Context, args ...string) ([]object, error) {
	r, err := s.rollback(ctx, on(append([]string{"permissions"}, args...)...)...)
	if err != nil {
		return nil, err
	}
	if r.exit != 0 {
		return nil, fmt.Errorf("rollback permissions: exit %d\n%s", r.exit, r.stderr)
	}
	var roles []object
	for d := yaml.NewDecoder(strings.NewReader(r.stdout)); ; {
		var role object
		if err := d.Decode(&role); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("rollback permissions printed what is no YAML: %w\n%s", err, r.stdout)
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// sightJournals notes the journals that are new. It is called before and after each command, as their own times are too coarse
// to order them.
func (s *Stage) sightJournals() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths, err := filepath.Glob(filepath.Join(s.world.Dir(), "journals", "*.jsonl"))
	if err != nil {
		return err
	}
	others, err := filepath.Glob(filepath.Join(s.world.Dir(), elsewhere, "journals", "*.jsonl"))
	for _, path := range append(paths, others...) {
		if !slices.Contains(s.journals, path) {
			s.journals = append(s.journals, path)
		}
	}
	return err
}

// rollback runs the program as a user of this world does.
func (s *Stage) rollback(ctx context.Context, args ...string) (outcome, error) {
	if err := s.sightJournals(); err != nil {
		return outcome{}, err
	}
	for i, a := range args {
		for name, r := range s.named() {
			a = strings.ReplaceAll(a, "{"+name+"}", r.Digest)
			if r.Commit != "" {
				a = strings.NewReplacer("{"+name+".commit}", r.Commit, "{"+name+".short}", r.Commit[:12]).Replace(a)
			}
		}
		args[i] = a
	}
	c := exec.CommandContext(ctx, rollbackBinary, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = s.world.Dir(), append(s.world.Env(), s.env...), &stdout, &stderr
	if s.result != "" {
		c.Env = append(c.Env, "ROLLBACK_RESULT_FILE="+s.result)
	}
	if err := c.Start(); err != nil {
		return outcome{}, err
	}
	s.running.Store(c.Process)
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	if err := s.sightJournals(); err != nil {
		return outcome{}, err
	}
	result, err := properties(s.result)
	if err != nil {
		return outcome{}, err
	}
	return outcome{args, c.ProcessState.ExitCode(), stdout.String(), stderr.String(), result, false}, ctx.Err()
}

// properties are the key=value lines of a file; none if there is no file.
func properties(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q is no key=value", path, line)
		}
		all[key] = value
	}
	return all, nil
}

// printed is the first command of that name that the last step printed, as a shell reads it.
func (s *Stage) printed(ctx context.Context, name string) ([]string, error) {
	last := s.done[len(s.done)-1]
	for line := range strings.Lines(last.stderr) {
		if _, tail, ok := strings.Cut(line, ": rollback "+name+" "); ok {
			out, err := exec.CommandContext(ctx, "sh", "-c", `printf '%s\n' `+strings.TrimSpace(tail)).Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			return append([]string{name}, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")...), nil
		}
	}
	return nil, fmt.Errorf("no rollback %s was printed:\n%s", name, last.stderr)
}

// bound is the longest that one scenario may take in one world.
const bound = 3 * time.Minute

// play runs a scenario in a world, up to where only controllers and nodes go on.
func (sc Scenario) play(t *testing.T, w World) *Stage {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	begun := time.Now()
	s := &Stage{world: w, releases: map[string]*Release{}, broken: func(err error) { t.Errorf("%s: %v", w.Name(), err) }}
	t.Cleanup(func() {
		for _, g := range s.gates.all() {
			g.shut()
		}
	})
	if err := s.grant(ctx, "run"); err != nil {
		t.Fatalf("%s: %v", w.Name(), err)
	}
	if err := sc.Seed(ctx, s); err != nil {
		t.Fatalf("%s: seed: %v", w.Name(), err)
	}
	seeded := time.Since(begun)
	s.latest = append(s.latest, s.latestTags())
	for i, step := range sc.Steps {
		if !step.SameRights {
			command, how := step.role()
			if err := s.grant(ctx, command, how...); err != nil {
				t.Fatalf("%s: rights of step %d: %v", w.Name(), i, err)
			}
		}
		if step.Before != nil {
			if err := step.Before(ctx, s); err != nil {
				t.Fatalf("%s: before step %d: %v", w.Name(), i, err)
			}
		}
		args := slices.Clone(step.Args)
		if step.Paste != "" {
			var err error
			if args, err = s.printed(ctx, step.Paste); err != nil {
				t.Fatalf("%s: step %d: %v", w.Name(), i, err)
			}
		}
		before, err := s.objects(ctx)
		if err != nil {
			t.Fatalf("%s: before step %d: %v", w.Name(), i, err)
		}
		s.others.Store(false)
		at := time.Now()
		s.result = filepath.Join(w.Dir(), fmt.Sprintf("result-%d", i))
		r, err := s.rollback(ctx, args...)
		s.result = ""
		if err == nil && r.exit == killed { // what it asked for is still being done
			err = until(ctx, func() (bool, error) { return w.Cluster().Open()+w.Registry().Open() == 0, nil })
		}
		if err != nil {
			t.Fatalf("%s: step %d: %v", w.Name(), i, err)
		}
		r.others = s.others.Load()
		s.done = append(s.done, r)
		t.Logf("%s: rollback %s: exit %d after %s", w.Name(), strings.Join(args, " "), r.exit, time.Since(at).Round(time.Millisecond))
		s.latest = append(s.latest, s.latestTags())
		if err := s.untouched(ctx, before); err != nil {
			t.Errorf("%s: rollback %s: exit %d: %v", w.Name(), strings.Join(args, " "), r.exit, err)
		}
		if r.exit != step.Exit {
			t.Errorf("%s: rollback %s: exit %d, want %d\n%s%s", w.Name(), strings.Join(args, " "), r.exit, step.Exit, r.stdout, r.stderr)
		}
		for _, want := range step.Says {
			if !strings.Contains(r.stdout+r.stderr, want) {
				t.Errorf("%s: rollback %s does not say %q:\n%s%s", w.Name(), strings.Join(args, " "), want, r.stdout, r.stderr)
			}
		}
	}
	if err := s.grant(ctx, "status"); err != nil { // for who looks at it afterwards
		t.Fatalf("%s: %v", w.Name(), err)
	}
	for _, v := range w.Registry().Violations() {
		t.Errorf("%s: %s", w.Name(), v)
	}
	boards := []interface{ Unfired() []string }{w.Cluster(), w.Registry()}
	if f, ok := w.(*forge); ok {
		boards = append(boards, f.github, f.jenkins)
	}
	for _, b := range boards {
		for _, what := range b.Unfired() { // then the scenario is not what its name says
			t.Errorf("%s: %s", w.Name(), what)
		}
	}
	t.Logf("%s: seeded in %s, %s in all", w.Name(), seeded.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	return s
}

// both plays the scenario in two worlds, side by side, and holds the two against each other and against what it wants.
func (sc Scenario) both(t *testing.T, loopback, real World) {
	worlds := []World{loopback, real}
	stages, traces := make([]*Stage, 2), make([]Trace, 2)
	each := func(do func(i int)) {
		var all sync.WaitGroup
		for i := range worlds {
			all.Go(func() { do(i) })
		}
		all.Wait()
	}
	if each(func(i int) { stages[i] = sc.play(t, worlds[i]) }); t.Failed() {
		return
	}
	// Controllers and nodes may still be on their way, each world at its own pace: what differs now must not in the end.
	ctx, cancel := context.WithTimeout(t.Context(), bound/2)
	defer cancel()
	var wrong []string
	err := until(ctx, func() (bool, error) {
		errs, now := make([]error, 2), make([]Trace, 2)
		each(func(i int) {
			var err error
			if now[i], err = stages[i].settled(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", worlds[i].Name(), err)
			}
		})
		if err := errors.Join(errs...); err != nil {
			return false, err
		}
		traces = now
		wrong = slices.Concat(sc.unwanted(loopback.Name(), now[0]), sc.unwanted(real.Name(), now[1]), differences(now[0], now[1], slices.Concat(everywhere, sc.Differ)))
		return len(wrong) == 0 || slices.ContainsFunc(wrong, said), nil
	})
	if err != nil && len(wrong) == 0 { // else what is wrong says more
		t.Fatal(err)
	}
	for i, trace := range traces {
		for _, line := range stages[i].unseen(trace) {
			t.Errorf("%s: the program tells of an event that the cluster does not have: %s", worlds[i].Name(), line)
		}
		if os.Getenv("E2E_TRACE") != "" { // for whoever wants to see what is compared
			for _, f := range sorted(trace) {
				t.Logf("%s: %s = %s", worlds[i].Name(), f, trace[f])
			}
		}
	}
	for _, w := range wrong {
		t.Error(w)
	}
	if len(wrong) == 0 {
		unused(t, traces[0], traces[1], sc.Differ)
		t.Logf("%d fields are the same", len(traces[0]))
	}
	if t.Failed() {
		return
	}
	each(func(i int) {
		stages[i].agree(ctx, t)
		if f, ok := worlds[i].(*forge); ok {
			f.reviewed(t)
		}
	})
	sc.manually(t, stages[1], stages[1].runbook())
}

// unwanted tells which fields are not as the scenario wants them.
func (sc Scenario) unwanted(world string, trace Trace) []string {
	var list []string
	for _, f := range sorted(sc.Want) {
		if got := trace[f]; got != sc.Want[f] {
			list = append(list, fmt.Sprintf("%s: %s: %s is %q, want %q", f, world, f, got, sc.Want[f]))
		}
	}
	return list
}

func TestScenarios(t *testing.T) {
	for _, sc := range slices.Concat(scenarios, pullScenarios, openScenarios, lookScenarios, faultScenarios, nodeScenarios) {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			sc.both(t, newLoopback(t, sc.Options), newReal(t, sc.Options))
		})
	}
}

// payments are four releases, the last of them bad, and the workloads of them that are named.
func payments(kinds ...string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := releases(ctx, s); err != nil {
			return err
		}
		var objects []object
		for _, kind := range kinds {
			if kind == "CronJob" {
				o := demo.CronJob("payments-report", image(s.world, "payments"), "0 6 * * *")
				o["metadata"].(object)["namespace"] = s.world.Namespace()
				objects = append(objects, o)
				continue
			}
			name := map[string]string{"Deployment": "payments", "StatefulSet": "payments-worker", "DaemonSet": "payments-agent"}[kind]
			objects = append(objects, workload(s.world, kind, name, "payments", map[string]int{"Deployment": 3, "StatefulSet": 2}[kind]))
		}
		return s.up(ctx, objects...)
	}
}

func releases(ctx context.Context, s *Stage) error {
	for _, r := range []struct {
		name, title string
		age         time.Duration
	}{
		{"oldest", "Retry card network timeouts", 9 * 24 * time.Hour},
		{"old", "Log the acquirer's answer code", 6 * 24 * time.Hour},
		{"good", "Cache exchange rates for a minute", 27 * time.Hour},
		{"bad", "Round amounts in the ledger", 42 * time.Minute},
	} {
		if err := s.release(ctx, "payments", r.name, r.title, r.age, "linux/amd64", "linux/arm64"); err != nil {
			return err
		}
	}
	return nil
}

// behave lets an image misbehave from now on.
func behave(name string, b control.Behaviour) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error { return s.world.Behave(ctx, s.releases[name].Digest, b) }
}

func on(args ...string) []string {
	scope := []string{"--service", "payments", "--environment", "prod"}
	if slices.Contains(args, "--service") {
		scope = scope[2:]
	}
	return append(args[:1:1], append(scope, args[1:]...)...)
}
