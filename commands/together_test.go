package commands

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
)

// A plan asks GitHub what would be undone while it asks the registry for what is left to know: the registry's answer is held
// back until GitHub was asked, so one after the other would never end. That keeps a plan within four waves of calls, with the
// two that GitHub needs in a row.
func TestPlanAsksTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		to   func(n *night) string
		skip int // requests for manifests that come before GitHub is asked
	}{
		{"a commit", func(n *night) string { return n.good().Commit }, 1},
		{"the beginning of a commit", func(n *night) string { return n.good().Commit[:12] }, 2},
		{"previous", func(*night) string { return "previous" }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			asked := make(chan struct{})
			var once sync.Once
			var logs, held atomic.Int32
			n.GitHub.Inject(fake.Fault{Op: "graphql:repository", Hold: func(*http.Request) {
				if logs.Add(1) == 2 { // the first is for the names of the candidates
					once.Do(func() { close(asked) })
				}
			}})
			n.Registry.Inject(fake.Fault{Op: "BatchGetImage*", Skip: tt.skip, Hold: func(r *http.Request) {
				held.Add(1)
				select {
				case <-asked:
				case <-r.Context().Done(): // the program gave up waiting
					t.Error("GitHub is asked only after the registry has answered")
				}
			}})
			n.do(call{args: scoped("plan", "--to", tt.to(n), "--reason", "amounts")}).wantExit(t, 0).wantText(t, "undoes    1 version")
			if held.Load() == 0 {
				t.Error("nothing was held back")
			}
			var logsSeen, compares int
			for _, r := range n.GitHub.Requests() {
				switch {
				case r.Op == "graphql:repository":
					logsSeen++
				case strings.HasPrefix(r.Op, "repos/compare"):
					compares++
				}
			}
			if logsSeen != 2 || compares != 1 { // nothing was asked twice because of a wrong guess
				t.Errorf("the log was read %d times, compared %d times", logsSeen, compares)
			}
		})
	}
}
