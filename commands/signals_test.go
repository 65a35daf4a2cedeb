package commands

import (
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// hangups gives SIGHUP its default in what this process starts. Under nohup the signal is ignored, and would be there, too;
// what is caught here is not.
func hangups(t *testing.T) {
	t.Helper()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(caught) })
}

// Told to end, a run writes its record, however often the terminal hangs up meanwhile; told once more, it ends at once.
func TestToldAgain(t *testing.T) {
	t.Parallel()
	hangups(t)
	const hup, term, interrupt = syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT
	for _, c := range []struct {
		name        string
		first, then syscall.Signal
		often       bool
		killed      bool
	}{
		{name: "a hangup, and more", first: hup, then: hup, often: true},
		{name: "^C, then hangups", first: interrupt, then: hup, often: true},
		{name: "SIGTERM, then hangups", first: term, then: hup, often: true},
		{name: "a hangup, then SIGTERM", first: hup, then: term},
		{name: "a hangup, then SIGTERM twice", first: hup, then: term, often: true, killed: true},
		{name: "^C twice", first: interrupt, then: interrupt, often: true, killed: true},
		{name: "SIGTERM twice", first: term, then: term, often: true, killed: true},
		{name: "^C, then SIGTERM", first: interrupt, then: term, often: true, killed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Pace: 2 * time.Second})
			p := n.launch(call{args: theRun()})
			until(t, "the rollout", func() bool { return strings.Contains(p.stderr.String(), "► rollout") })
			opened := make(chan struct{})
			open := sync.OnceFunc(func() { close(opened) })
			t.Cleanup(open)
			n.Cluster.Inject(fake.Fault{Op: "UPDATE configmaps/rollback-payments", Hold: func(*http.Request) { <-opened }}) // so that it cannot end yet
			must(t, p.Process.Signal(c.first))
			until(t, "the end of the step", func() bool { return strings.Contains(p.stderr.String(), "✗ rollout") })
			sent := 0
			until(t, "the signals", func() bool {
				if c.killed {
					select {
					case <-p.ended:
						return true
					default:
					}
				}
				if sent == 0 || c.often {
					_ = p.Process.Signal(c.then)
				}
				sent++
				return !c.killed && sent > 20
			})
			open()
			r := p.wait()
			if c.killed {
				if r.code != -1 || strings.Contains(r.stderr, "production: ") {
					t.Errorf("not ended at once: %s", r)
				}
				return
			}
			r.wantExit(t, rollback.Unverified).wantText(t, "production: changed, not verified")
			if s := n.state(); s.Locked || s.State != rollback.Interrupted {
				t.Errorf("%+v", s)
			}
			n.Cluster.SetDelays(quick)
			n.finish(r)
		})
	}
}
