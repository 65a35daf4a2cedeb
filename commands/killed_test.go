package commands

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// gate stops one request of a run, counted over both systems from the claim on, until it is opened.
type gate struct {
	reached chan struct{} // closed when the request has come
	op      string        // what it is

	mu      sync.Mutex
	at      int // 1 is the claim
	seen    int
	claimed bool
	opened  chan struct{}
	pass    bool // whether the request is done after all
	once    sync.Once
}

// stopAt puts a gate in front of the request of that number.
func (n *night) stopAt(number int) *gate {
	g := &gate{at: number, reached: make(chan struct{}), opened: make(chan struct{})}
	n.t.Cleanup(func() { g.open(false) })
	n.Registry.Inject(fake.Fault{Hold: func(r *http.Request) {
		if !fake.Pulling(r) {
			g.come(n.Registry.Op(r))
		}
	}})
	n.Cluster.Inject(fake.Fault{Hold: func(r *http.Request) { g.come(n.Cluster.Op(r)) }})
	return g
}

func (g *gate) come(op string) {
	g.mu.Lock()
	g.claimed = g.claimed || op == "CREATE configmaps"
	if !g.claimed {
		g.mu.Unlock()
		return
	}
	g.seen++
	mine := g.seen == g.at
	if mine {
		g.op = op
	}
	g.mu.Unlock()
	if !mine {
		return
	}
	close(g.reached)
	<-g.opened
	if !g.pass {
		panic(http.ErrAbortHandler)
	}
}

// open lets the request be done, or drops it.
func (g *gate) open(pass bool) {
	g.once.Do(func() {
		g.pass = pass
		close(g.opened)
	})
}

// moments are the requests of a run, from its claim on, at which it is stopped: each one up to the restart, some later.
var moments = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 20, 45}

// finish runs the same command once more and wants what an undisturbed run leaves.
func (n *night) finish(first result) {
	n.t.Helper()
	n.clearFaults()
	over := false
	if r := n.record(); r != nil && r.Last != nil {
		over = r.Last.State == rollback.Mitigated
	}
	again := n.do(call{args: theRun()})
	switch {
	case again.code == 0:
	case over && again.code == int(rollback.Refused) && strings.Contains(again.stderr, "[still-open]"):
		// It was all done, down to the record: one step further back is only taken by name.
	default:
		n.t.Errorf("the same command does not finish it\nfirst: %s\nthen: %s", first, again)
	}
	n.wantState(n.clean())
	n.wantJournalWhole()
}

// TestKilled ends a run without warning at each of its requests, and runs the same command again.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, at := range moments {
		for _, pass := range []bool{false, true} {
			if pass && at > 9 {
				continue // reads, mostly: done or not is the same
			}
			t.Run(fmt.Sprintf("at request %d, done %t", at, pass), func(t *testing.T) {
				t.Parallel()
				n := newNight(t, demo.Options{})
				g := n.stopAt(at)
				p := n.launch(call{args: theRun()})
				select {
				case <-g.reached:
					if err := p.Process.Kill(); err != nil {
						t.Fatal(err)
					}
					r := p.wait()
					g.open(pass)
					t.Logf("killed at %s", g.op)
					n.finish(r)
				case <-p.ended: // a quick run has fewer requests
					n.finish(p.wait().wantExit(t, 0))
				}
			})
		}
	}
}

// busy is what a machine may add that runs a dozen of these at once.
const busy = 10 * time.Second

// TestTerminated does as an aborted build: SIGTERM, and ten seconds to end in good order.
func TestTerminated(t *testing.T) {
	t.Parallel()
	for _, at := range moments {
		t.Run(fmt.Sprintf("at request %d", at), func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			g := n.stopAt(at)
			p := n.launch(call{args: theRun()})
			select {
			case <-g.reached:
			case <-p.ended:
				n.finish(p.wait().wantExit(t, 0))
				return
			}
			begun := time.Now()
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			answered := at%2 == 0
			if answered {
				g.open(true)
			}
			r := p.wait()
			if took := time.Since(begun); took > 10*time.Second+busy {
				t.Errorf("it took %s to end\n%s", took, r)
			}
			g.open(false)

			got := n.state()
			touched := got.Latest != n.bad().Digest || got.Restarts["payments"] > 0 || got.Restarts["payments-worker"] > 0
			switch code := rollback.Exit(r.code); {
			case code == rollback.Done:
				n.wantState(n.clean())
			case code == rollback.Failed && !touched, code == rollback.Unverified && touched, code == rollback.Pending && got.State == rollback.Running:
			case code == rollback.Unverified && !answered && g.op == "PutImage": // an answer that never came
			default:
				t.Errorf("exit %d at %s, production touched: %t\n%s", code, g.op, touched, r)
			}
			if r.code != 0 {
				r.wantText(t, "interrupted", "production: ")
			}
			if answered || !strings.Contains(g.op, "configmaps") {
				if got.Locked || r.code != 0 && got.State != rollback.Interrupted {
					t.Errorf("at %s: locked %t, state %q\n%s", g.op, got.Locked, got.State, r)
				}
			}
			for _, events := range n.journal() {
				if last := events[len(events)-1]; last.Type != "run.finished" {
					t.Errorf("the journal ends with %+v", last)
				}
			}
			n.wantJournalWhole()
			n.finish(r)
		})
	}
}

// A lock of another machine stands until it expires: the one who comes is told who holds it.
func TestLockOfAnotherMachine(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	// It dies while it waits for the answer to its claim: that is alone on its way, so nothing can be written after the kill.
	n.Cluster.Inject(fake.Fault{Op: "CREATE configmaps", After: true, Hang: true, Times: 1})
	p := n.launch(call{args: theRun(), env: []string{"ROLLBACK_USER=alice", "BUILD_URL=https://jenkins.acme.example/job/rollback/17/"}})
	until(t, "the claim to be written", func() bool { return n.record() != nil })
	must(t, p.Process.Kill())
	p.wait()
	until(t, "the killed run's last request to be counted", func() bool { return n.Cluster.Open()+n.Registry.Open() == 0 })
	n.clearFaults()
	lock := func(change func(l map[string]any)) {
		t.Helper()
		must(t, n.editRecord(func(r map[string]any) { change(r["lock"].(map[string]any)) }))
	}
	lock(func(l map[string]any) {
		h := l["holder"].(map[string]any)
		h["host"], h["process"] = "laptop-7", "laptop-7/4026531836/4711/1"
	})
	n.forget()
	before := n.state()
	n.do(call{args: theRun()}).wantExit(t, rollback.Refused).wantText(t, "payments/prod is locked by alice on laptop-7 since", "https://jenkins.acme.example/job/rollback/17/",
		"who is at work on it: amounts rounded wrongly", "free 45s after the last one", "production: not changed by this command", "--steal")
	n.wantNothingWritten()
	n.wantState(before)
	n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, "at work: alice on laptop-7")
	for _, args := range [][]string{scoped("plan"), theRun("--dry-run"), scoped("undo", "--dry-run"), scoped("restart", "--dry-run")} {
		held := n.do(call{args: args}).wantExit(t, rollback.Refused)
		held.wantText(t, "✗ block  payments/prod is locked by alice on laptop-7", "[locked]", "verdict   unsafe: locked", "✗ payments/prod is locked", "production: not changed by this command")
		if strings.Contains(held.stdout+held.stderr, "[resume]") {
			t.Errorf("goes on with what somebody else is at work on:\n%s", held)
		}
	}
	n.do(call{args: scoped("plan", "--json")}).wantExit(t, rollback.Refused).wantText(t, `"code": "locked"`)
	n.do(call{args: scoped("plan", "--steal", "gone home")}).wantExit(t, 0).wantText(t, "! warn   the lock is taken from alice on laptop-7, who is at work: gone home [locked]", "[resume]", "verdict   safe")
	n.do(call{args: scoped("verify", "--to", n.Releases[len(n.Releases)-1].Commit)}).wantExit(t, 0)
	n.wantNothingWritten()

	lock(func(l map[string]any) {
		l["heartbeat"], l["expiresAt"] = time.Now().Add(-time.Minute).UTC(), time.Now().Add(-15*time.Second).UTC()
	})
	n.do(call{args: theRun()}).wantExit(t, 0).wantText(t, "goes on with rollback", "by alice")
	n.wantState(n.clean())
	if l := n.record().Last; l.By.User != "alice" {
		t.Errorf("recorded as begun by %q", l.By.User)
	}
}

// Two operators start the same rollback at the same moment: one does it, the other is told so.
func TestTwoOperators(t *testing.T) {
	t.Parallel()
	for round := range 10 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			a := n.launch(call{args: theRun(), env: []string{"ROLLBACK_USER=alice"}})
			b := n.launch(call{args: theRun(), env: []string{"ROLLBACK_USER=bob"}})
			ra, rb := a.wait(), b.wait()
			n.wantState(n.clean())
			winner, loser, name := ra, rb, "alice"
			if ra.code != 0 {
				winner, loser, name = rb, ra, "bob"
			}
			winner.wantExit(t, 0)
			told := []string{"is locked by " + name, "somebody else changed the record", "by " + name + ": amounts rounded wrongly", "already"}
			if loser.code != int(rollback.Refused) && loser.code != 0 || !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(loser.stderr, s) }) {
				t.Errorf("the other was not told\n%s", loser)
			}
			if loser.code == int(rollback.Refused) {
				loser.wantText(t, "production: not changed")
			}
			n.wantJournalWhole()
		})
	}
}

// A lock that is stolen stops the run that held it.
func TestSteal(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	reached, release := make(chan struct{}), make(chan struct{})
	n.Cluster.Inject(fake.Fault{Op: "PATCH deployments/payments", Times: 1, Hold: func(*http.Request) {
		close(reached)
		<-release
	}})
	first := n.launch(call{args: theRun(), env: []string{"ROLLBACK_USER=alice"}})
	<-reached
	bob := []string{"ROLLBACK_USER=bob", "ROLLBACK_STATE=" + t.TempDir()} // on a machine of his own
	n.do(call{args: theRun(), env: bob}).wantExit(t, rollback.Refused).wantText(t, "payments/prod is locked by alice", "--steal")
	second := n.do(call{args: theRun("--steal", "alice is offline"), env: bob}).wantExit(t, 0)
	second.wantText(t, "lock taken over from alice", "alice is offline")
	close(release)
	r := first.wait()
	if code := rollback.Exit(r.code); code != rollback.Unverified && code != rollback.Refused {
		t.Errorf("the one who was robbed ends with %d\n%s", code, r)
	}
	r.wantText(t, "lock of payments/prod")
	n.wantState(n.clean())
	n.wantJournalWhole()
}

// editRecord changes the record in the cluster, as its JSON.
func (n *night) editRecord(change func(map[string]any)) error {
	return n.Cluster.Edit("configmaps", demo.Namespace, "rollback-payments", func(o map[string]any) {
		data := o["data"].(map[string]any)
		var r map[string]any
		mustJSON(n.t, data["record.json"].(string), &r)
		change(r)
		data["record.json"] = asJSON(n.t, r)
	})
}

// lose lets the cluster fail in some way from the first look at the rollout on.
func (n *night) lose(f fake.Fault) {
	n.Cluster.Inject(fake.Fault{Op: "GET deployments/payments", Times: 1, Hold: func(*http.Request) {
		n.Cluster.Clear()
		n.Cluster.DropWatches()
		n.Cluster.Inject(f)
	}})
}

func TestClusterLostForAWhile(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fake.Fault{
		"drop": {Drop: true}, "503": refusing(503, "ServiceUnavailable", nil)(outside{system: "kubernetes"}), "html": html(502),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			n.lose(f)
			p := n.launch(call{args: theRun()})
			until(t, "the loss to be noticed", func() bool { return strings.Contains(p.stderr.String(), "still trying") })
			n.clearFaults()
			p.wait().wantExit(t, 0).wantText(t, "the cluster cannot be read; still trying", "the cluster answers again")
			n.wantState(n.clean())
			n.wantJournalWhole()
		})
	}
}

func TestClusterLostForGood(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	n.lose(fake.Fault{Drop: true})
	r := n.do(call{args: theRun("--timeout", "12s")}).wantExit(t, rollback.Unverified)
	r.wantText(t, "the rollout could not be followed to its end within 12s", "production: changed, not verified", "the lock stays until it expires", "next: ")
	n.finish(r)
}

// A token that expires in the middle of the wait is read anew: the person or the agent that refreshes it need not start over.
func TestTokenRefreshed(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	token := filepath.Join(n.Dir, "token")
	must(t, os.WriteFile(token, []byte("oncall"), 0o600))
	must(t, os.WriteFile(n.Kubeconfig(), []byte(strings.Replace(read(t, n.Kubeconfig()), "user: {token: oncall}", "user: {tokenFile: "+token+"}", 1)), 0o600))
	n.Cluster.Inject(fake.Fault{Op: "GET deployments/payments", Times: 1, Hold: func(*http.Request) {
		n.Cluster.Revoke("oncall")
		n.Cluster.DropWatches()
	}})
	p := n.launch(call{args: theRun()})
	until(t, "the token to be refused", func() bool { return strings.Contains(p.stderr.String(), "still trying") })
	n.Cluster.SetUser(onCall("fresh"))
	must(t, os.WriteFile(token, []byte("fresh"), 0o600))
	p.wait().wantExit(t, 0).wantText(t, "the cluster answers again")
	n.wantState(n.clean())
}

// Whoever reads the output may go away (`rollback run … 2>&1 | head`): the rollback is brought to its end all the same.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	read, write, err := os.Pipe()
	must(t, err)
	g := n.stopAt(1)
	p := n.launch(call{args: theRun("--json"), stderr: write})
	must(t, write.Close())
	<-g.reached // the claim
	must(t, read.Close())
	g.open(true)
	p.wait().wantExit(t, rollback.Done)
	n.wantState(n.clean())
}

// A reason is one line wherever it is shown, and nothing in it can look like the program's own words.
func TestPastedReason(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	reason := "errors \"after\" 9f2c1ab 🎉\n✔ payments/prod is back\r\n\t$(id) 'x' \x1b[31m" + strings.Repeat("long ", 500)
	r := n.do(call{args: scoped("run", "--yes", "--reason", reason)}).wantExit(t, rollback.Done)
	r.wantText(t, "  reason    errors \"after\" 9f2c1ab 🎉 ✔ payments/prod is back $(id) 'x' ")
	s := n.do(call{args: scoped("status")}).wantExit(t, rollback.Done)
	if rows := strings.Split(strings.TrimSpace(s.stdout), "\n"); len(rows) != 2 || len([]rune(rows[1])) > 250 || !strings.Contains(rows[1], "errors \"after\" 9f2c1ab 🎉 ✔ payments/prod is back $(id)") {
		t.Errorf("status is no table of two rows:\n%s", s)
	}
}

// A rollback by revert is killed at each write to GitHub and Jenkins, which is then done or not, and given again: one pull
// request, one merge, one build.
func TestKilledByMerge(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"git/create-ref", "pulls/create", "pulls/merge", "POST buildWithParameters"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %t", op, done), func(t *testing.T) {
				t.Parallel()
				n := newNight(t, demo.Options{Code: true})
				reached, killed := make(chan struct{}), make(chan struct{})
				board, args := n.GitHub.Inject, byMerge()
				if strings.HasPrefix(op, "POST ") {
					n.Webhook(false)
					board, args = n.Jenkins.Inject, byMerge("--jenkins-webhook", "0s")
				}
				board(fake.Fault{Op: op, Times: 1, After: done, Drop: true, Hold: func(*http.Request) {
					close(reached)
					<-killed
				}})
				p := n.launch(call{args: args})
				select {
				case <-reached:
				case <-p.ended:
					close(killed)
					t.Fatalf("it ended before\n%s", p.wait())
				}
				must(t, p.Process.Kill())
				p.wait()
				close(killed)
				until(t, "its last request to end", func() bool { return n.GitHub.Open()+n.Jenkins.Open() == 0 })
				n.wantReverted(n.do(call{args: args}).wantExit(t, 0))
			})
		}
	}
}
