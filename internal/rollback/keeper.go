package rollback

import (
	"context"
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

	mu      sync.Mutex // held during a write: versions are a chain
	rec     Record
	version string
	mine    func(*Lock) bool

	dirty chan struct{}
	quit  context.CancelFunc
	ended chan struct{}
}

func newKeeper(records Records, s *Survey, stop context.CancelCauseFunc) *keeper {
	return &keeper{records: records, scope: s.Request.Scope, stop: stop, rec: s.Record, version: s.Version, dirty: make(chan struct{}, 1)}
}

// claim makes the first write and starts the heartbeat.
func (k *keeper) claim(ctx context.Context, rec Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	version, err := k.records.Write(ctx, rec, k.version)
	if err != nil {
		return err
	}
	k.rec, k.version = rec, version
	holder, run := rec.Lock.Holder, rec.Lock.Run
	k.mine = func(l *Lock) bool { return l != nil && l.Holder == holder && l.Run == run }
	bg, quit := context.WithCancel(context.Background())
	k.quit, k.ended = quit, make(chan struct{})
	go k.beat(bg)
	return nil
}

// beat writes pending changes and the heartbeat until close.
func (k *keeper) beat(ctx context.Context) {
	defer close(k.ended)
	t := time.NewTicker(HeartbeatEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.dirty:
		case <-t.C:
		}
		k.mu.Lock()
		k.rec = Heartbeat(k.rec, time.Now().UTC())
		err := k.write(ctx)
		k.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			if ExitOf(err) == Refused {
				k.stop(err)
				return
			}
			// A write that failed is made up for by the next heartbeat; a lock that nobody else took still stands.
		}
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

// finish stops the background and makes the last write, trying again until ctx ends: the outcome must not be lost to a
// moment's trouble.
func (k *keeper) finish(ctx context.Context, change func(*Record)) error {
	k.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.rec)
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

// write stores the record. On a conflict it looks who wrote: if the lock is still ours, our part goes on top of what the
// other wrote; if not, the run has lost it.
func (k *keeper) write(ctx context.Context) error {
	version, err := k.records.Write(ctx, k.rec, k.version)
	if err == nil {
		k.version = version
		return nil
	}
	if KindOf(err) != Conflict {
		return err
	}
	theirs, version, rerr := k.records.Read(ctx, k.scope)
	if rerr != nil {
		return rerr
	}
	if !k.mine(theirs.Lock) && !k.written(theirs) {
		e := &Error{Exit: Refused, What: "the lock of " + k.scope.String() + " was taken by somebody else"}
		if l := theirs.Lock; l != nil {
			e.What = "the lock of " + k.scope.String() + " was taken by " + l.Holder.User + " on " + l.Holder.Host
			if l.Stolen != "" {
				e.What += ": " + l.Stolen
			}
			e.Next = []string{"talk to " + l.Holder.User + " before you go on"}
		}
		return e
	}
	// An answer that was lost looks like a conflict with ourselves; freeze and follow-up may have been changed by others.
	k.rec.Freeze, k.rec.FollowUp = theirs.Freeze, theirs.FollowUp
	if version, err = k.records.Write(ctx, k.rec, version); err != nil {
		return err
	}
	k.version = version
	return nil
}

// written tells whether what is stored is our own last word, after a write whose answer was lost.
func (k *keeper) written(theirs Record) bool {
	return theirs.Lock == nil && k.rec.Lock == nil && theirs.Last != nil && k.rec.Last != nil &&
		theirs.Last.ID == k.rec.Last.ID && theirs.Last.State == k.rec.Last.State
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
