package rollback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// keeper writes the record while a run works: the claim and the outcome at once and in order, everything between in the
// background, so that a slow API server delays nothing. It also beats the lock's heart, and stops the run when somebody
// took the lock.
type keeper struct {
	records Records
	scope   Scope
	stop    context.CancelCauseFunc

	mu   sync.Mutex // guards rec and held, and is never held during a call: the run must not wait for a slow API server
	rec  Record
	held time.Time // when the lock was last seen to be ours, by the clock on the wall: it goes on while a laptop sleeps
	// version and mine belong to whoever writes: claim, then the background, then finish. Versions are a chain.
	version string
	mine    func(*Lock) bool
	owe     func([]FollowUp) []FollowUp // what this run makes of the debts, nil while that is not known

	dirty chan struct{}
	asked chan chan struct{} // to write at once; what is sent is closed when that was tried
	quit  context.CancelFunc
	ended chan struct{}
}

func newKeeper(records Records, s *Survey, stop context.CancelCauseFunc) *keeper {
	return &keeper{records: records, scope: s.Request.Scope, stop: stop, rec: s.Record, version: s.Version, dirty: make(chan struct{}, 1), asked: make(chan chan struct{})}
}

// errRaced says that somebody else wrote the record since the survey, and that the plan may be another one now.
var errRaced = errors.New("the record has changed")

// claimTries is how often a claim starts anew because the record changed in ways that do not matter to it: the heartbeat
// of a lock that is being stolen, a freeze that was lifted.
const claimTries = 4

// claim makes the first write and starts the heartbeat. take turns the record as it stands into the claimed one, or says
// who holds it. A write whose answer was lost is looked up: a lock that is ours must not be left behind.
func (k *keeper) claim(ctx context.Context, take func(Record) (Record, error)) error {
	base, version := k.rec, k.version
	for try := 1; ; try++ {
		rec, err := take(base)
		if err != nil {
			return err
		}
		k.mine = rec.Lock.same
		asked := time.Now()
		next, err := k.records.Write(ctx, rec, version)
		if err != nil {
			if KindOf(err) != Conflict && !maybeDone(err) && ctx.Err() == nil {
				return err
			}
			look, cancel := acting(ctx, lookGrace)
			theirs, now, readErr := k.records.Read(look, k.scope)
			cancel()
			switch {
			case readErr != nil:
				return err
			case k.mine(theirs.Lock):
				next = now
			case KindOf(err) != Conflict:
				return err
			case try == claimTries || !sameStory(base.Last, theirs.Last):
				if l := theirs.Lock; l != nil { // whoever was faster holds it
					if _, held := take(theirs); held != nil {
						return held
					}
				}
				return fmt.Errorf("%w: %w", errRaced, err)
			default:
				base, version = theirs, now
				continue
			}
		}
		k.rec, k.version = rec, next
		k.holds(asked)
		bg, quit := context.WithCancel(context.Background())
		k.quit, k.ended = quit, make(chan struct{})
		go k.beat(bg)
		return nil
	}
}

// sameStory tells whether two records tell of the same last rollback, in the same state.
func sameStory(a, b *Entry) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID && a.State == b.State
}

// beat writes pending changes and the heartbeat until close.
func (k *keeper) beat(ctx context.Context) {
	defer close(k.ended)
	t := time.NewTicker(HeartbeatEvery)
	defer t.Stop()
	for {
		var tried chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-k.dirty:
		case tried = <-k.asked:
		case <-t.C:
		}
		k.mu.Lock()
		k.rec = Heartbeat(k.rec, time.Now().UTC())
		k.mu.Unlock()
		err := k.write(ctx)
		lost := err != nil && ctx.Err() == nil && ExitOf(err) == Refused
		if lost {
			k.stop(err) // before anybody who waits for the write goes on
		}
		if tried != nil {
			close(tried)
		}
		if lost {
			return
		}
		// A write that failed otherwise is made up for by the next heartbeat; a lock that nobody else took still stands.
	}
}

// update changes the record in memory and lets the background write it.
func (k *keeper) update(change func(*Record)) {
	if k.ended == nil {
		return
	}
	k.mu.Lock()
	change(&k.rec)
	k.mu.Unlock()
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// flushLimit is how long flush waits for its write.
const flushLimit = 2 * time.Second

// flush changes the record and waits until that is written, for what the next write outside builds on. It waits no longer
// than flushLimit, and what could not be written until then is left to the background.
func (k *keeper) flush(ctx context.Context, change func(*Record)) {
	if k.ended == nil {
		return
	}
	k.mu.Lock()
	change(&k.rec)
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	tried := make(chan struct{})
	select {
	case k.asked <- tried:
	case <-k.ended:
		return
	case <-ctx.Done(): // the write in flight is slow, and knows nothing of the change
		select {
		case k.dirty <- struct{}{}:
		default:
		}
		return
	}
	select {
	case <-tried:
	case <-k.ended:
	case <-ctx.Done():
	}
}

// trusted is how long a run acts on a lock without asking whether it is still its own.
const trusted = HeartbeatEvery / 2

// holds notes that the lock was ours at a time: when the write that proves it was begun, because its answer can be heard much later.
func (k *keeper) holds(at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = at.Round(0)
}

// age is for how long nobody has seen the lock to be ours.
func (k *keeper) age() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Round(0).Sub(k.held)
}

// sure is asked before an act that somebody who took the lock would not want. Whoever stood still, by a hanging call or a
// laptop that slept, asks first; a run that goes on at its usual pace does not, and loses no time. An API server that is
// out of reach delays the act only, until anybody may have the lock.
func (k *keeper) sure(ctx context.Context) error {
	if age := k.age(); k.ended == nil || age >= 0 && age < trusted {
		return nil
	}
	k.flush(ctx, func(*Record) {})
	if age := k.age(); ctx.Err() == nil && age >= LockExpiry {
		return &Error{Exit: Failed, Err: quiet{errLockOld}, What: fmt.Sprintf("the lock of %s could not be renewed for %s: somebody else may be at work by now", k.scope, Span(age)),
			Next: []string{"to see who is at work: rollback status " + k.scope.flags()}}
	}
	return ctx.Err()
}

// finish stops the background and makes the last write, trying again until ctx ends: the outcome must not be lost to a
// moment's trouble. owe says what becomes of the debts; it is applied anew to what others wrote meanwhile.
func (k *keeper) finish(ctx context.Context, change func(*Record), owe func([]FollowUp) []FollowUp) error {
	k.close()
	change(&k.rec)
	k.rec.Owed, k.owe = owe(k.rec.Owed), owe
	var err error
	for try := range 5 {
		if err = k.write(ctx); err == nil || ExitOf(err) == Refused || KindOf(err) == Denied || ctx.Err() != nil {
			return err
		}
		if !pause(ctx, time.Duration(try+1)*200*time.Millisecond) {
			return err
		}
	}
	return err
}

// amend changes the record after the last word, on top of what others wrote since. change tells whether there was anything to
// change; it is called anew for each record that is found.
func (k *keeper) amend(ctx context.Context, change func(*Record) bool) error {
	for {
		rec := k.rec
		if !change(&rec) {
			return nil
		}
		version, err := k.records.Write(ctx, rec, k.version)
		if err == nil {
			k.rec, k.version = rec, version
			return nil
		}
		if !passing(err) || ctx.Err() != nil {
			return err
		}
		theirs, version, readErr := k.records.Read(ctx, k.scope) // an answer that was lost looks like somebody else
		if readErr == nil {
			k.rec, k.version = theirs, version
		}
		if !pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// write stores the record. On a conflict it looks who wrote: if the lock is still ours, our part goes on top of what the
// other wrote; if not, the run has lost it.
func (k *keeper) write(ctx context.Context) error {
	k.mu.Lock()
	rec := k.rec
	k.mu.Unlock()
	asked := time.Now()
	version, err := k.records.Write(ctx, rec, k.version)
	if err == nil {
		k.version = version
		k.holds(asked)
		return nil
	}
	if KindOf(err) != Conflict {
		return err
	}
	theirs, version, rerr := k.records.Read(ctx, k.scope)
	if rerr != nil {
		return rerr
	}
	if written(rec, theirs) {
		k.version = version
		return nil
	}
	if !k.mine(theirs.Lock) {
		return lostLock(k.scope, theirs.Lock)
	}
	// An answer that was lost looks like a conflict with ourselves; freeze and debts may have been changed by others.
	rec.Freeze, rec.Owed = theirs.Freeze, theirs.Owed
	if k.owe != nil {
		rec.Owed = k.owe(rec.Owed)
	}
	k.mu.Lock()
	k.rec.Freeze, k.rec.Owed = rec.Freeze, rec.Owed
	k.mu.Unlock()
	asked = time.Now()
	if version, err = k.records.Write(ctx, rec, version); err != nil {
		return err
	}
	k.version = version
	k.holds(asked)
	return nil
}

// lostLock says who works on the scope now, in our place.
func lostLock(scope Scope, l *Lock) error {
	e := &Error{Exit: Refused, Err: quiet{errLockLost}, What: "the lock of " + scope.String() + " is no longer ours: somebody else took it, or the record was deleted",
		Next: []string{"to see who was at work: rollback status " + scope.flags()}}
	if l != nil {
		e.What = fmt.Sprintf("the lock of %s was taken by %s on %s", scope, l.Holder.User, l.Holder.Host)
		if l.Stolen != "" {
			e.What += ": " + l.Stolen
		}
		e.Next = []string{"talk to " + l.Holder.User + " before you go on", "to see how far it is: rollback status " + scope.flags()}
	}
	return e
}

// errLockLost is what a run ends with whose lock somebody else took.
var errLockLost = errors.New("lock lost")

// errLockOld is what a run ends with that cannot find out whether somebody else took its lock.
var errLockOld = errors.New("lock not renewed")

// written tells whether what is stored is our own last word, after a write whose answer was lost.
func written(ours, theirs Record) bool {
	return theirs.Lock == nil && ours.Lock == nil && theirs.Last != nil && ours.Last != nil &&
		theirs.Last.ID == ours.Last.ID && theirs.Last.State == ours.Last.State
}

// close stops the background; it can be called more than once.
func (k *keeper) close() {
	if k.ended != nil {
		k.quit()
		<-k.ended
	}
}

// pause waits for d, or less if ctx ends first, and tells whether it waited.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
