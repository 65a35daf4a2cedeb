package commands

// Whole commands, as a user runs them: every test here starts the program as a process of its own, in the loopback world of
// the demo, and looks at what the world is like afterwards.

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// asProgram turns the test binary into the program. Its name begins with nothing that a world's environment leaves out.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(program())
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue { // the tests wait more than they work
		_ = flag.Set("test.parallel", "12")
	}
	os.Exit(m.Run())
}

// program is what main does.
func program() int {
	return Main(Told(), OS("1.2.3", "0123456789abcdef", "2026-01-02T03:04:05Z"), os.Args[1:])
}

// night is a loopback world in which somebody is called: payments and its worker run the newest of four releases.
type night struct {
	*demo.World
	t *testing.T
	// generations are those of the workloads before the first command.
	generations map[string]int64
	journals    string
}

// workloads of the story, by the label their pods carry.
var workloads = []struct{ resource, name string }{{"deployments", "payments"}, {"statefulsets", "payments-worker"}}

// newNight starts a world with only what the story needs.
func newNight(t *testing.T, o demo.Options) *night {
	t.Helper()
	w, err := demo.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.SeedScope(ctx); err != nil {
		t.Fatal(err)
	}
	n := &night{World: w, t: t, generations: map[string]int64{}, journals: filepath.Join(w.Dir, "journals")}
	for _, x := range workloads {
		n.generations[x.name] = n.generation(x.resource, x.name)
	}
	n.forget()
	return n
}

// forget starts the count of requests anew.
func (n *night) forget() {
	n.Registry.Reset()
	n.Cluster.Reset()
}

// clearFaults takes every fault away.
func (n *night) clearFaults() {
	n.Registry.Clear()
	n.Cluster.Clear()
}

func (n *night) generation(resource, name string) int64 {
	o := n.Cluster.Get(resource, demo.Namespace, name)
	meta, _ := o["metadata"].(map[string]any)
	switch g := meta["generation"].(type) {
	case int64:
		return g
	case float64:
		return int64(g)
	}
	return 0
}

// bad is the release that runs, good the one before it.
func (n *night) bad() demo.Release  { return n.Releases[len(n.Releases)-1] }
func (n *night) good() demo.Release { return n.Releases[len(n.Releases)-2] }

// call is one start of the program.
type call struct {
	args  []string
	env   []string // on top of the world's
	dir   string
	stdin io.Reader
	// stderr takes the place of the buffer, columns that of a terminal's 100.
	stderr  *os.File
	columns uint16
	early   string // typed on the terminal before the program starts
}

// result is what a person sees of a call that has ended.
type result struct {
	args           []string
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("rollback %s\nexit %d\n--- stdout\n%s--- stderr\n%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// printed are the lines that were looked at already, so that each is parsed once.
var printed struct {
	sync.Mutex
	lines map[string]bool
}

// differing is what makes two lines differ that say the same.
var differing = regexp.MustCompile(`[0-9a-f]{7,64}|\d+`)

// remember holds every command that was printed for people to the real flags.
func remember(t *testing.T, r result) {
	t.Helper()
	for _, l := range strings.Split(uncoloured(r.stdout+"\n"+r.stderr), "\n") {
		if !strings.Contains(l, "rollback ") {
			continue
		}
		key := differing.ReplaceAllString(l, "#")
		printed.Lock()
		known := printed.lines[key]
		if printed.lines == nil {
			printed.lines = map[string]bool{}
		}
		printed.lines[key] = true
		printed.Unlock()
		if !known {
			wantPrintedCommandsParse(t, l)
		}
	}
}

// process is a call that runs.
type process struct {
	*exec.Cmd
	t              *testing.T
	args           []string
	stdout, stderr lockedBuffer
	ended          chan struct{}
}

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// longest is how long any call may take before it counts as stuck.
const longest = 90 * time.Second

// launch starts the program and does not wait.
func (n *night) launch(c call) *process {
	n.t.Helper()
	return launch(n.t, n.Env(os.Environ()), n.Dir, c)
}

func launch(t *testing.T, env []string, dir string, c call) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self, c.args...), t: t, args: c.args, ended: make(chan struct{})}
	p.Env = append(append(slices.Clone(env), asProgram+"=1", "TZ=UTC"), c.env...)
	p.Dir = dir
	if c.dir != "" {
		p.Dir = c.dir
	}
	p.Stdin, p.Stdout, p.Stderr = c.stdin, &p.stdout, &p.stderr
	if c.stderr != nil {
		p.Stderr = c.stderr
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait() // the exit code is read from the process state
		close(p.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = p.Process.Kill()
			<-p.ended
		}
	})
	return p
}

// wait waits for the end.
func (p *process) wait() result {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(longest):
		_ = p.Process.Signal(syscall.SIGQUIT) // shows where it is stuck
		<-p.ended
		p.t.Fatalf("rollback %s did not end within %s\n%s", strings.Join(p.args, " "), longest, p.stderr.String())
	}
	r := result{p.args, p.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String()}
	if strings.Contains(r.stderr, "DATA RACE") || strings.Contains(r.stderr, "panic:") || strings.Contains(r.stderr, "goroutine ") {
		p.t.Errorf("the program broke:\n%s", r)
	}
	remember(p.t, r)
	return r
}

// do runs one command to its end.
func (n *night) do(c call) result {
	n.t.Helper()
	return n.launch(c).wait()
}

// rollback runs a command with these arguments.
func (n *night) rollback(args ...string) result {
	n.t.Helper()
	return n.do(call{args: args})
}

// scope are the flags that every command of the story has.
var scope = []string{"--service", "payments", "--environment", "prod"}

// scoped is a command on payments in production.
func scoped(command string, args ...string) []string {
	return slices.Concat([]string{command}, scope, args)
}

// theRun is the rollback of the story.
func theRun(args ...string) []string {
	return scoped("run", append([]string{"--reason", "amounts rounded wrongly", "--yes"}, args...)...)
}

// wantExit fails the test when the exit code is another one.
func (r result) wantExit(t *testing.T, code rollback.Exit) result {
	t.Helper()
	if r.code != int(code) {
		t.Fatalf("exit %d, want %d\n%s", r.code, code, r)
	}
	return r
}

// wantText fails the test when a text is missing on stdout and stderr.
func (r result) wantText(t *testing.T, texts ...string) result {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%q is missing in\n%s", text, r)
		}
	}
	return r
}

// world is the state that a test compares: what is left when everything is over.
type world struct {
	Latest string            // what the moving tag names
	Kept   []string          // tags that keep outgoing images
	Runs   map[string]string // workload → "3× sha256:…", what its pods report
	// Restarts counts the changes of each workload's template or size since the start.
	Restarts map[string]int64
	State    rollback.State // of the last rollback; "" for none
	Kind     rollback.EntryKind
	Locked   bool
	History  int
}

// state reads the world itself, not what the program says about it.
func (n *night) state() world {
	n.t.Helper()
	w := world{Runs: map[string]string{}, Restarts: map[string]int64{}}
	for tag, digest := range n.Registry.Tags("payments") {
		switch {
		case tag == "latest":
			w.Latest = digest
		case strings.HasPrefix(tag, "rollback-keep-"):
			w.Kept = append(w.Kept, tag)
		}
	}
	slices.Sort(w.Kept)
	for _, x := range workloads {
		var runs []string
		for digest, pods := range n.Running(x.name) {
			runs = append(runs, fmt.Sprintf("%d× %s", pods, digest))
		}
		slices.Sort(runs)
		w.Runs[x.name] = strings.Join(runs, ", ")
		w.Restarts[x.name] = n.generation(x.resource, x.name) - n.generations[x.name]
	}
	if r := n.record(); r != nil {
		w.Locked, w.History = r.Lock != nil, len(r.History)
		if r.Last != nil {
			w.State, w.Kind = r.Last.State, r.Last.Kind
		}
	}
	return w
}

// record is what the ConfigMap holds, nil if there is none.
func (n *night) record() *rollback.Record {
	n.t.Helper()
	o := n.Cluster.Get("configmaps", demo.Namespace, record.Name("payments"))
	if o == nil {
		return nil
	}
	data, _ := o["data"].(map[string]any)
	text, _ := data[record.Truth].(string)
	var r rollback.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		n.t.Fatalf("the record cannot be read: %v\n%s", err, text)
	}
	return &r
}

// clean is the state after the rollback of the story, done once and undisturbed.
func (n *night) clean() world {
	digest := n.good().Digest
	return world{
		Latest: digest, Kept: []string{rollback.KeepTag(rollback.Digest(n.bad().Digest))},
		Runs:     map[string]string{"payments": "3× " + digest, "payments-worker": "2× " + digest},
		Restarts: map[string]int64{"payments": 1, "payments-worker": 1},
		State:    rollback.Mitigated, Kind: rollback.KindRollback,
	}
}

// untouched is the state before anything was done.
func (n *night) untouched() world {
	digest := n.bad().Digest
	return world{
		Latest: digest, Runs: map[string]string{"payments": "3× " + digest, "payments-worker": "2× " + digest},
		Restarts: map[string]int64{"payments": 0, "payments-worker": 0},
	}
}

// writes are the requests that change something, at both systems.
func (n *night) writes() []string {
	var list []string
	for _, r := range append(n.Registry.Requests(), n.Cluster.Requests()...) {
		if writing(r) {
			list = append(list, r.Op)
		}
	}
	return list
}

// writing tells whether a request changes something: reviews of one's own rights are written with POST and change nothing.
func writing(r fake.Request) bool {
	if r.Op == "PutImage" {
		return true
	}
	if strings.HasPrefix(r.Op, "CREATE selfsubject") {
		return false
	}
	for _, verb := range []string{"CREATE ", "UPDATE ", "PATCH ", "DELETE "} {
		if strings.HasPrefix(r.Op, verb) {
			return true
		}
	}
	return strings.HasPrefix(r.Op, "PUT /v2") || strings.HasPrefix(r.Op, "POST /v2") || strings.HasPrefix(r.Op, "DELETE /v2")
}

// wantNothingWritten fails the test when any request changed something.
func (n *night) wantNothingWritten() {
	n.t.Helper()
	if w := n.writes(); len(w) > 0 {
		n.t.Errorf("nothing may be written, but: %s", strings.Join(w, ", "))
	}
}

// journal are the events of every journal that was left.
func (n *night) journal() [][]rollback.Event {
	n.t.Helper()
	return journals(n.t, n.journals)
}

func journals(t *testing.T, dir string) [][]rollback.Event {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	var list [][]rollback.Event
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var events []rollback.Event
		for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
			var e rollback.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v in %q", filepath.Base(f), err, line)
			}
			events = append(events, e)
		}
		list = append(list, events)
	}
	return list
}

// wantJournalWhole fails the test when an intent has no outcome, other than the last one of a run that was killed.
func (n *night) wantJournalWhole() {
	n.t.Helper()
	for _, events := range n.journal() {
		open := ""
		for i, e := range events {
			switch e.Type {
			case "run.started":
				open = "" // a run that was killed ends with an intent, and the next one begins after it
			case "step.intent":
				if open != "" {
					n.t.Errorf("journal: step %s was begun before %s had ended", e.Step, open)
				}
				open = e.Step
			case "step.outcome":
				if open != e.Step {
					n.t.Errorf("journal: outcome of %s, but %q was begun", e.Step, open)
				}
				open = ""
			}
			if e.Time.IsZero() || e.Run == "" || e.Scope != "payments/prod" || e.V != 1 {
				n.t.Errorf("journal: event %d is incomplete: %+v", i, e)
			}
		}
	}
}

// wantNoSecret fails the test when an output shows what nobody may see.
func wantNoSecret(t *testing.T, r result, secrets ...string) {
	t.Helper()
	for _, s := range append(secrets, "wJalrXUtnFEMI") {
		if strings.Contains(r.stdout+r.stderr, s) {
			t.Errorf("the secret %q is in the output of\n%s", s, r)
		}
	}
}

// until waits for something that happens outside the processes.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(longest)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// html is an answer of a proxy that stands in the way.
func html(status int) fake.Fault {
	return fake.Fault{Status: status, Header: http.Header{"Content-Type": {"text/html"}}, Body: fake.HTMLPage}
}

// onCall is the user of the story, with another token.
func onCall(token string) kube.User {
	return kube.User{Token: token, Name: "oncall@acme.example", Admin: true}
}

func mustJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// quick are the delays of a world without a pace.
var quick = kube.Delays{}
