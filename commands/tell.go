package commands

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// A revert that is opened by hand may pay what the record of its scope owes. The record is told; where it cannot be, the
// pull request stands all the same, and the next run or `status` finds out by asking GitHub about the number it knows.

// tellLimit is how long the record may take, besides the pull request.
const tellLimit = 10 * time.Second

// paidOff ends a note that is good news.
const paidOff = " no longer"

// tellTries is how often the record is read anew because somebody else wrote it meanwhile.
const tellTries = 4

// ledger is the record of a scope, being read while GitHub works.
type ledger struct {
	records rollback.Records
	scope   rollback.Scope
	rec     rollback.Record
	version string
	err     error
	read    sync.WaitGroup
	cancel  context.CancelFunc
}

// openLedger begins to read the record. It never fails: what goes wrong is told by tell.
func (e *Env) openLedger(ctx context.Context, s config.Scoped) *ledger {
	l := &ledger{scope: s.Scope}
	ctx, l.cancel = context.WithTimeout(ctx, tellLimit)
	l.read.Go(func() {
		cluster, err := e.clusterOf(ctx, s)
		if err != nil {
			l.err = err
			return
		}
		l.records = e.recordsOf(cluster, s)
		var identity sync.WaitGroup
		var wrong error
		if s.Cluster.UID != "" { // what is written must be the record of the cluster that is meant
			identity.Go(func() { _, wrong = cluster.Identity(ctx) })
		}
		l.rec, l.version, l.err = l.records.Read(ctx, s.Scope)
		if identity.Wait(); wrong != nil {
			l.err = wrong
		}
	})
	return l
}

// close gives up on reading.
func (l *ledger) close() {
	l.cancel()
	l.read.Wait()
}

// tell writes down what became of a pull request and returns what to say about it: nothing where nothing is owed that it pays.
// of is the pull request that was asked to be taken back, 0 for none.
func (l *ledger) tell(ctx context.Context, res rollback.RevertResult, of int, reland bool) []string {
	l.read.Wait()
	if l.err != nil {
		return []string{fmt.Sprintf("what the record of %s owes could not be read (%s); the pull request stands all the same", l.scope, l.err)}
	}
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	for try := 1; ; try++ {
		learned := l.rec.Learn(res, of, reland)
		if len(learned) == 0 {
			return nil
		}
		_, err := l.records.Write(ctx, l.rec, l.version)
		if err == nil {
			var notes []string
			for _, f := range learned {
				if f.Done {
					notes = append(notes, fmt.Sprintf("%s owes %s"+paidOff, l.scope, f))
				} else {
					notes = append(notes, fmt.Sprintf("it pays %s, which %s owes by %s", f, l.scope, f.Due.UTC().Format("15:04 UTC")))
				}
				for _, older := range l.rec.Owed { // of a rollback that this one went further back from
					if older.ReplacedBy == f.Rollback && older.PR != 0 && older.PR != f.PR && !older.Done && older.Void == "" {
						notes = append(notes, fmt.Sprintf("close #%d if it is open: this pull request does what it does as well, and that one alone ships what was rolled back from since", older.PR))
					}
				}
			}
			return notes
		}
		if rollback.KindOf(err) == rollback.Conflict && try < tellTries {
			if l.rec, l.version, err = l.records.Read(ctx, l.scope); err == nil {
				continue
			}
		}
		return []string{fmt.Sprintf("the record of %s could not be told (%s): it shows %s as owed, also when this is merged, until the same command is given again", l.scope, err, learned[0])}
	}
}
