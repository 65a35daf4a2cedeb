package commands

// What the end of a run waits for, and what it does not.

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// GitHub takes its time: the record has its last word and no lock before the pull request is there, and learns of it then.
func TestRecordIsNotHeldUp(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.GitHub.Inject(fake.Fault{Op: "pulls/create", Times: 1, Hold: func(*http.Request) {
		until(t, "the record of the rollback", func() bool {
			rec := n.record()
			return rec != nil && rec.Last != nil && rec.Last.State == rollback.Mitigated && rec.Lock == nil
		})
		if owed := n.record().Open(); len(owed) != 1 || owed[0].PR != 0 {
			t.Errorf("owed before the pull request is there: %+v", owed)
		}
	}})
	r := n.do(call{args: theRun("--revert-wait", "5m")}).wantExit(t, 0).wantText(t, "mitigated", "revert pull request opened: ", "merge the revert by ")
	n.wantState(n.clean())
	if owed := n.record().Open(); len(owed) != 1 || owed[0].PR == 0 || !strings.Contains(r.stderr, owed[0].URL) {
		t.Errorf("owed %+v\n%s", owed, r)
	}
	n.wantJournalWhole()
}
