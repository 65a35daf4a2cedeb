package commands

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var update = flag.Bool("update", false, "write the golden files and docs/cli.md anew")

// decoded reads JSON into the documented type, and refuses whatever that does not have.
func decoded[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(r.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("standard output is not the documented JSON: %v\n%s", err, r)
	}
	if d.More() {
		t.Errorf("more than one document on standard output\n%s", r)
	}
	return v
}

// masked replaces what differs from run to run.
func (n *night) masked(s string) string {
	for i, r := range n.Releases {
		s = strings.ReplaceAll(s, r.Digest, fmt.Sprintf("sha256:<image %d in full>", i+1))
		s = strings.ReplaceAll(s, r.Digest[:19], fmt.Sprintf("sha256:<image %d>", i+1))
		s = strings.ReplaceAll(s, strings.TrimPrefix(r.Digest, "sha256:")[:12], fmt.Sprintf("<image %d>", i+1))
	}
	s = strings.ReplaceAll(s, n.Dir, "DIR")
	for _, m := range []struct{ re, by string }{
		{`\b\d{8}t\d{6}z-[0-9a-f]{4}\b`, "RUN"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`, "UID"},
		{`  \d+\.\ds`, ""},
		{`ready for \d+s`, "ready for Ns"},
		{`  \((\d+m)?\d+s\)`, ""}, // a quick run does not say it
		{`\b(\d+m)?\d+s ago`, "Ns ago"},
		{`  (\d+m)?\d+s  `, "  Ns  "},
		{`\b4\dm\b`, "4Nm"}, // a slow machine takes a minute for a test
		{`\b(\d+h)[1-3]m\b`, "$1"},
		{` +\n`, "\n"},
	} {
		s = regexp.MustCompile(m.re).ReplaceAllString(s, m.by)
	}
	return s
}

// golden compares with a file in testdata; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s differs (-want +got; go test ./commands -update writes it anew):\n%s", name, d)
	}
}

// wantState compares the world with what it must be.
func (n *night) wantState(want world) {
	n.t.Helper()
	if d := cmp.Diff(want, n.state()); d != "" {
		n.t.Errorf("the world is not what it must be (-want +got):\n%s", d)
	}
}

func TestLook(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})

	golden(t, "status.txt", n.masked(n.rollback("status", "--environment", "prod").wantExit(t, 0).stdout))
	r := n.rollback("status", "--environment", "prod", "--tags", "--json").wantExit(t, 0)
	status := decoded[statusReport](t, r)
	if len(status.Services) != 1 || status.SchemaVersion != statusVersion || status.Environment != "prod" {
		t.Fatalf("status: %+v", status)
	}
	s := status.Services[0]
	if s.Service != "payments" || string(s.TagDigest) != n.bad().Digest || s.Ready != 5 || s.Desired != 5 || len(s.Running) != 1 || string(s.Running[0].Commit) != n.bad().Commit {
		t.Errorf("status: %+v", s)
	}

	golden(t, "candidates.txt", n.masked(n.do(call{args: scoped("candidates")}).wantExit(t, 0).stdout))
	candidates := decoded[candidatesReport](t, n.do(call{args: scoped("candidates", "--json")}).wantExit(t, 0))
	var eligible []string
	for _, c := range candidates.Candidates {
		if c.Ineligible == "" {
			eligible = append(eligible, string(c.Commit))
		}
	}
	if want := []string{n.Releases[2].Commit, n.Releases[1].Commit, n.Releases[0].Commit}; !slices.Equal(eligible, want) {
		t.Errorf("eligible are %v, want %v", eligible, want)
	}

	golden(t, "plan.txt", n.masked(n.do(call{args: scoped("plan", "--reason", "amounts")}).wantExit(t, 0).stdout))
	r = n.do(call{args: scoped("plan", "--json")}).wantExit(t, 0)
	plan := decoded[rollback.Plan](t, r)
	if plan.SchemaVersion != rollback.PlanVersion || string(plan.Target.Digest) != n.good().Digest || string(plan.Current.Digest) != n.bad().Digest || plan.Verdict != rollback.Safe {
		t.Errorf("plan: %s", r)
	}
	// Every way to name the target leads to the same one.
	for _, to := range []string{n.good().Commit, n.good().Commit[:9], strings.ToUpper(n.good().Commit), n.good().Digest, "previous"} {
		plan := decoded[rollback.Plan](t, n.do(call{args: scoped("plan", "--json", "--to", to)}).wantExit(t, 0))
		if string(plan.Target.Digest) != n.good().Digest {
			t.Errorf("--to %s leads to %s", to, plan.Target.Digest)
		}
	}

	// A dry run is the plan, and asks for nothing.
	dry := n.do(call{args: scoped("run", "--dry-run")}).wantExit(t, 0)
	if a, b := n.masked(dry.stdout), n.masked(n.do(call{args: scoped("plan")}).stdout); a != b {
		t.Errorf("--dry-run prints another plan: %s", cmp.Diff(b, a))
	}
	n.wantNothingWritten()
	n.wantState(n.untouched())
}

func TestStory(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	r := n.do(call{args: theRun()}).wantExit(t, 0)
	golden(t, "run.txt", strings.Join(withoutProgress(n.masked(r.stderr)), "\n"))
	r.wantText(t, "5 new pods", "5 pods on "+n.good().Digest[:19]+", ready for", "mitigated")
	if r.stdout != n.good().Digest+"\n" {
		t.Errorf("standard output is %q, want the digest", r.stdout)
	}
	n.wantState(n.clean())
	n.wantJournalWhole()
	if events := n.journal(); len(events) != 1 {
		t.Errorf("%d journals, want 1", len(events))
	} else if last := events[0][len(events[0])-1]; last.Type != "run.finished" || fmt.Sprint(last.Data["exit"]) != "0" {
		t.Errorf("the journal ends with %+v", last)
	}

	// Again, by name: nothing is done, everything is proven.
	n.forget()
	again := n.do(call{args: theRun("--to", n.good().Commit)}).wantExit(t, 0).wantText(t, "already")
	if again.stdout != n.good().Digest+"\n" {
		t.Errorf("standard output is %q, want the digest", again.stdout)
	}
	n.wantNothingWritten()
	n.wantState(n.clean())

	// Again, by "previous": one step further back is refused unless it is named.
	n.do(call{args: theRun()}).wantExit(t, rollback.Refused).wantText(t, "[still-open]", "--to "+n.Releases[1].Digest, "production: not changed")
	n.wantNothingWritten()

	verify := n.do(call{args: scoped("verify")}).wantExit(t, 0)
	if verify.stdout != n.good().Digest+"\n" {
		t.Errorf("verify prints %q, want the digest", verify.stdout)
	}
	proof := decoded[rollback.Result](t, n.do(call{args: scoped("verify", "--json")}).wantExit(t, 0))
	if proof.Exit != 0 || len(proof.Proofs) != 2 || proof.Run == "" {
		t.Errorf("verify --json: %+v", proof)
	}
	n.do(call{args: scoped("verify", "--to", n.bad().Commit)}).wantExit(t, rollback.Unverified).wantText(t, "does not run the target", "not changed by this command")
	golden(t, "status-after.txt", regexp.MustCompile(` {2,}`).ReplaceAllString(n.masked(n.do(call{args: scoped("status")}).wantExit(t, 0).stdout), "  "))
	n.wantNothingWritten()

	// Undo, to the exact digest, even when its own tags are gone.
	if err := n.Registry.Tag("payments", n.bad().Commit, n.Releases[0].Digest); err != nil { // its commit tag moves away
		t.Fatal(err)
	}
	undo := n.do(call{args: scoped("undo", "--reason", "false alarm", "--yes")}).wantExit(t, 0)
	if undo.stdout != n.bad().Digest+"\n" {
		t.Errorf("undo prints %q, want the digest", undo.stdout)
	}
	want := n.clean()
	want.Latest, want.State, want.Kind, want.History = n.bad().Digest, rollback.Closed, rollback.KindUndo, 1
	want.Kept = []string{rollback.KeepTag(rollback.Digest(n.bad().Digest)), rollback.KeepTag(rollback.Digest(n.good().Digest))}
	slices.Sort(want.Kept)
	want.Runs = n.untouched().Runs
	want.Restarts = map[string]int64{"payments": 2, "payments-worker": 2}
	n.wantState(want)

	// Undo of the undo has to be meant.
	n.forget()
	n.do(call{args: scoped("undo", "--reason", "no, it was bad", "--yes")}).wantExit(t, rollback.Refused).wantText(t, "[already-undone]", "--accept already-undone")
	n.wantNothingWritten()
	n.do(call{args: scoped("undo", "--reason", "no, it was bad", "--yes", "--accept", "already-undone")}).wantExit(t, 0)
	want.Latest, want.Runs, want.History = n.good().Digest, n.clean().Runs, 2
	want.Restarts = map[string]int64{"payments": 3, "payments-worker": 3}
	n.wantState(want)
	n.wantJournalWhole()
}

// stepEnd is a step's last line; it says more or less, depending on whether the step was so slow that it was announced.
var stepEnd = regexp.MustCompile(`(?m)^(✔ (claim|keep|retag|restart|rollout|verify|record)) .*`)

// withoutProgress leaves out what depends on how fast the pods were.
func withoutProgress(s string) []string {
	s = stepEnd.ReplaceAllString(s, "$1")
	return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.HasPrefix(l, "◎") || strings.HasPrefix(l, "► ") })
}

func TestOneActEach(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	r := n.do(call{args: scoped("retag", "--to", n.good().Commit, "--reason", "amounts", "--yes")}).wantExit(t, 0)
	r.wantText(t, "next: rollback restart", "next: rollback verify", "the tag has moved; the pods run what they ran")
	want := n.clean()
	want.Runs, want.State = n.untouched().Runs, rollback.TagMoved
	want.Restarts = n.untouched().Restarts
	n.wantState(want)
	n.do(call{args: scoped("verify")}).wantExit(t, rollback.Unverified)

	n.do(call{args: scoped("restart", "--yes")}).wantExit(t, 0).wantText(t, "2 workloads restarted and rolled out", "next: rollback verify")
	want.Runs, want.Restarts, want.State = n.clean().Runs, n.clean().Restarts, rollback.Restarted
	n.wantState(want)

	verify := n.do(call{args: scoped("verify")}).wantExit(t, 0)
	if verify.stdout != n.good().Digest+"\n" {
		t.Errorf("verify prints %q", verify.stdout)
	}
	n.wantState(want)

	// And it can be undone like a whole one.
	n.do(call{args: scoped("undo", "--reason", "false alarm", "--yes")}).wantExit(t, 0)
	if got := n.state(); got.Latest != n.bad().Digest || got.Runs["payments"] != n.untouched().Runs["payments"] {
		t.Errorf("after the undo: %+v", got)
	}
	n.wantJournalWhole()
}

func TestRunJSON(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	res := decoded[rollback.Result](t, n.do(call{args: theRun("--json")}).wantExit(t, 0))
	if res.SchemaVersion != rollback.ResultVersion || res.Exit != 0 || string(res.To.Digest) != n.good().Digest || string(res.From.Digest) != n.bad().Digest || len(res.Steps) != 7 {
		t.Errorf("%+v", res)
	}
	n.wantState(n.clean())
	undo := decoded[rollback.Result](t, n.do(call{args: scoped("undo", "--reason", "x", "--yes", "--json")}).wantExit(t, 0))
	if string(undo.To.Digest) != n.bad().Digest {
		t.Errorf("undo: %+v", undo)
	}
}

// A plan that was saved is run as it was saved, in another process; the reason may be given then or before.
func TestSavedPlan(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	file := filepath.Join(t.TempDir(), "a plan.json")
	r := n.do(call{args: scoped("plan", "--out", file, "--to", n.Releases[1].Commit, "--reason", "amounts")}).wantExit(t, 0)
	r.wantText(t, "--plan '"+file+"'")
	n.wantNothingWritten()
	saved := decoded[rollback.Plan](t, result{stdout: read(t, file)})
	kept := filepath.Join(t.TempDir(), "kept.json")
	run := n.do(call{args: scoped("run", "--plan", file, "--out", kept, "--yes")}).wantExit(t, 0)
	if ran := decoded[rollback.Plan](t, result{stdout: read(t, kept)}); ran.ID != saved.ID || ran.Target.Digest != saved.Target.Digest {
		t.Errorf("run --out kept %s to %s, not %s to %s", ran.ID, ran.Target.Digest, saved.ID, saved.Target.Digest)
	}
	run.wantText(t, saved.ID, "as planned")
	if strings.Contains(run.stderr, "steps ") {
		t.Errorf("what was read and approved is printed again:\n%s", run.stderr)
	}
	want := n.clean()
	want.Latest = n.Releases[1].Digest
	want.Runs = map[string]string{"payments": "3× " + want.Latest, "payments-worker": "2× " + want.Latest}
	n.wantState(want)
	if rec := n.record(); rec.Last.ID != saved.ID || rec.Last.Reason != "amounts" {
		t.Errorf("recorded as %s %q, planned as %s", rec.Last.ID, rec.Last.Reason, saved.ID)
	}
	// The world has moved since: by this very run.
	n.forget()
	n.do(call{args: scoped("run", "--plan", file, "--yes")}).wantExit(t, rollback.Refused).wantText(t, "the world has moved since the plan was made", "moving tag: was", "production: not changed")
	n.wantNothingWritten()
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// properties reads key=value lines as the pipeline does.
func properties(t *testing.T, path string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n") {
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("%s: no = in %q", path, line)
		}
		m[k] = v
	}
	return m
}

func TestOnJenkins(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Confirm: true}) // in a build, --yes stands for the name
	workspace := t.TempDir()
	jenkins := []string{
		"JENKINS_URL=https://jenkins.acme.example/", "BUILD_NUMBER=17", "JOB_NAME=ops/rollback", "BUILD_URL=https://jenkins.acme.example/job/ops/job/rollback/17/",
		"WORKSPACE=" + workspace, "BUILD_USER_ID=alice", "CI=true", "ROLLBACK_STATE=", "ROLLBACK_USER=",
		// Parameters arrive as variables; those left empty are as if they were not there.
		"ROLLBACK_SERVICE=payments", "ROLLBACK_ENVIRONMENT=prod", "ROLLBACK_TO=", "ROLLBACK_REASON=amounts rounded\nwrongly $(id) \"quoted\"", "ROLLBACK_YES=true",
		"ROLLBACK_METHOD=", "ROLLBACK_DRY_RUN=", "ROLLBACK_ACCEPT=", "ROLLBACK_STEAL=", "ROLLBACK_TAG=", "ROLLBACK_TIMEOUT=", "ROLLBACK_PLAN=",
	}
	r := n.do(call{args: []string{"run"}, env: jenkins, dir: workspace}).wantExit(t, 0)
	if strings.Contains(r.stderr, "\x1b") || r.stdout != n.good().Digest+"\n" {
		t.Errorf("colours, or no digest alone on standard output\n%s", r)
	}
	n.wantState(n.clean())
	got := properties(t, filepath.Join(workspace, "rollback-result.txt"))
	want := map[string]string{
		"schemaVersion": "1", "exit": "0", "service": "payments", "environment": "prod", "act": "run",
		"from": n.bad().Digest, "fromCommit": n.bad().Commit, "to": n.good().Digest, "toCommit": n.good().Commit, "run": n.record().Last.ID,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("rollback-result.txt: %s=%q, want %q", k, got[k], v)
		}
	}
	if l := n.record().Last; l.By.User != "alice" || l.By.Build != "https://jenkins.acme.example/job/ops/job/rollback/17/" || l.Reason != "amounts rounded\nwrongly $(id) \"quoted\"" {
		t.Errorf("recorded: %+v %q", l.By, l.Reason)
	}
	if events := journals(t, filepath.Join(workspace, ".rollback")); len(events) != 1 {
		t.Errorf("%d journals in $WORKSPACE/.rollback, want 1", len(events))
	}

	// A refusal leaves the file as well, and so does a usage error: Groovy always finds an answer.
	n.do(call{args: []string{"run"}, env: jenkins, dir: workspace}).wantExit(t, rollback.Refused)
	if got := properties(t, filepath.Join(workspace, "rollback-result.txt")); got["exit"] != "5" || got["production"] != "not changed" || got["message"] == "" || got["next"] == "" {
		t.Errorf("after a refusal: %v", got)
	}
	n.do(call{args: []string{"run"}, env: append(jenkins, "ROLLBACK_SERVICE="), dir: workspace}).wantExit(t, rollback.Usage)
	if got := properties(t, filepath.Join(workspace, "rollback-result.txt")); got["exit"] != "2" {
		t.Errorf("after a usage error: %v", got)
	}
	// Without the plugin that tells who started it, the build itself acts.
	n.do(call{args: []string{"undo"}, env: append(jenkins, "BUILD_USER_ID="), dir: workspace}).wantExit(t, 0)
	if u := n.record().Last.By.User; u != "jenkins:ops/rollback#17" {
		t.Errorf("recorded as %q", u)
	}
}

// A registry that turns the nodes away for a moment is no reason to give up: the kubelet tries again.
func TestRegistryAway(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.Registry.Inject(fake.Fault{Op: fake.PullOp + "*", Status: 503})
	p := n.launch(call{args: theRun()})
	until(t, "the program to see it", func() bool {
		return strings.Contains(p.stderr.String(), "the node tries again by itself, which is waited for")
	})
	n.clearFaults()
	p.wait().wantExit(t, 0).wantText(t, "503 Service Unavailable", "is back on")
	n.wantState(n.clean())
}

// A Jenkins that is configured, but whose token is not there, does not keep anybody from rolling back: not at night, and not
// in a build of the one-click job that was given no credential for it.
func TestNoJenkinsToken(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	bare := []string{"JENKINS_TOKEN="}
	n.do(call{args: theRun(), env: bare}).wantExit(t, 0).wantText(t, "builds are not asked about: JENKINS_TOKEN is not set", "[builds-unread]", "is back on")
	n.wantState(n.clean())
	if r := n.do(call{args: scoped("status"), env: bare}).wantExit(t, 0); strings.Contains(r.stdout+r.stderr, "JENKINS_TOKEN") {
		t.Errorf("status has no use for it\n%s", r)
	}
}

// Without a file, everything is a flag or a variable.
func TestWithoutFile(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	empty := t.TempDir()
	settings := []string{"ROLLBACK_CONFIG=", "ROLLBACK_REGISTRY_ACCOUNT=123456789012", "ROLLBACK_REGISTRY_REGION=eu-west-1", "ROLLBACK_NAMESPACE=prod", "ROLLBACK_CLUSTER_CONTEXT=acme-prod"}
	n.do(call{args: theRun("--settle", "50ms", "--cluster-server", n.ClusterURL, "--image", "payments"), env: settings, dir: empty}).wantExit(t, 0)
	n.wantState(n.clean())
}

// The journal is worth having, and no reason to leave production as it is: the record in the cluster tells the same.
func TestNoPlaceForJournal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		env   []string
		says  string
		elses bool // a journal is somewhere else
	}{
		{"cannot be made", []string{"ROLLBACK_STATE=/proc/nowhere"}, "! the journal goes to a temporary directory: disk: create /proc/nowhere", true},
		{"no home", []string{"ROLLBACK_STATE=", "XDG_STATE_HOME=", "HOME="}, "! the journal goes to a temporary directory: no place for the journal: none of ROLLBACK_STATE, XDG_STATE_HOME and HOME is set", true},
		{"nowhere", []string{"ROLLBACK_STATE=/proc/nowhere", "TMPDIR=/proc/elsewhere"}, "! no journal is written, the record in the cluster tells what was done: disk: create /proc/nowhere", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			dir, result := t.TempDir(), filepath.Join(t.TempDir(), "result.txt")
			r := n.do(call{args: theRun("--result-file", result), env: append([]string{"TMPDIR=" + dir}, c.env...)}).wantExit(t, 0).wantText(t, c.says)
			n.wantState(n.clean())
			found, err := filepath.Glob(filepath.Join(dir, "rollback-*", "*.jsonl"))
			must(t, err)
			if said := strings.Contains(r.stderr, "  journal: "+dir); said != c.elses || (len(found) == 1) != c.elses {
				t.Errorf("journals %v\n%s", found, r)
			}
			if got := properties(t, result)["journal"]; c.elses != (len(found) == 1 && got == found[0]) {
				t.Errorf("the result says journal=%s", got)
			}
			for _, f := range found {
				if events := journals(t, filepath.Dir(f)); events[0][len(events[0])-1].Type != "run.finished" {
					t.Errorf("%v", events)
				}
			}
		})
	}
}

// Without the right to keep a record, --no-record goes on, and says what is lost.
func TestNoRecord(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.do(call{args: theRun("--no-record")}).wantExit(t, 0).wantText(t, "no record is kept (--no-record): no lock, no resume, no undo from another machine")
	want := n.clean()
	want.State, want.Kind = "", ""
	n.wantState(want)
	if slices.ContainsFunc(n.writes(), func(op string) bool { return strings.Contains(op, "configmaps") }) {
		t.Errorf("a ConfigMap was written: %v", n.writes())
	}
}

// What pods and commits say is shown, not obeyed, and no secret of the environment reaches an output.
func TestForeignText(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	secret := "hunter2-" + strings.Repeat("x", 20)
	r := n.do(call{args: scoped("plan", "--reason", "see \x1b[2J\x07 "+secret), env: []string{"DEPLOY_TOKEN=" + secret}}).wantExit(t, 0)
	if strings.ContainsAny(r.stdout+r.stderr, "\x1b\x07") {
		t.Errorf("control characters reach the terminal: %q", r.stdout)
	}
	wantNoSecret(t, r, secret)
}
