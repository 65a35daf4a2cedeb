package rollback

import (
	"fmt"
	"strings"
	"time"
)

// The lock lives in the record, so that taking it is one compare-and-swap. A holder that is killed stops beating, and the
// lock is free LockExpiry later; a dead process on the reader's own machine is known at once.
const (
	// HeartbeatEvery is how often a holder renews its lock.
	HeartbeatEvery = 10 * time.Second
	// LockExpiry is how long a lock stands without a heartbeat: four beats may be missed. It is judged by the reader's
	// clock, and wide enough for clocks that differ by some seconds.
	LockExpiry = 45 * time.Second
)

// Claim takes the lock of a record for a run, or says who holds it. A lock that has expired, that the same process holds,
// or whose process is provably dead is free; any other is taken only with a reason to steal it.
func Claim(r Record, by Actor, run, reason string, now time.Time, steal string, dead func(process string) bool) (Record, error) {
	stolen := ""
	if l := r.Lock; l != nil && !l.free(by, now, dead) {
		if steal == "" {
			return r, held(r.Scope, *l, now)
		}
		stolen = fmt.Sprintf("from %s on %s: %s", l.Holder.User, l.Holder.Host, steal)
	}
	r.Lock = &Lock{Holder: by, Run: run, Reason: reason, TakenAt: now, Heartbeat: now, ExpiresAt: now.Add(LockExpiry), Stolen: stolen}
	return r, nil
}

func (l *Lock) free(by Actor, now time.Time, dead func(string) bool) bool {
	switch {
	case !now.Before(l.ExpiresAt):
		return true
	case l.Holder.Process != "" && l.Holder.Process == by.Process:
		return true
	}
	return dead != nil && l.Holder.Process != "" && dead(l.Holder.Process)
}

// same tells whether other is this very taking of the lock: not only the same holder and run, because a run that is gone on
// with keeps its ID, and a system that cannot tell processes apart makes two terminals of one person look alike.
func (l *Lock) same(other *Lock) bool {
	return l != nil && other != nil && other.Run == l.Run && other.TakenAt.Equal(l.TakenAt) && other.Holder.User == l.Holder.User &&
		other.Holder.Host == l.Holder.Host && other.Holder.Process == l.Holder.Process
}

// Heartbeat renews the lock of a record, if there is one.
func Heartbeat(r Record, now time.Time) Record {
	if r.Lock != nil {
		l := *r.Lock
		l.Heartbeat, l.ExpiresAt = now, now.Add(LockExpiry)
		r.Lock = &l
	}
	return r
}

// held says who is at work, since when and from where, and what to do about it.
func held(scope Scope, l Lock, now time.Time) *Error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is locked by %s on %s since %s", scope, l.Holder.User, l.Holder.Host, l.TakenAt.UTC().Format("15:04:05 UTC"))
	if l.Holder.Build != "" {
		fmt.Fprintf(&b, " (%s)", l.Holder.Build)
	}
	if l.Reason != "" {
		fmt.Fprintf(&b, ", who is at work on it: %s", Printable(l.Reason))
	}
	fmt.Fprintf(&b, "; last heartbeat %s, free %s after the last one", ago(now, l.Heartbeat), Span(LockExpiry))
	return &Error{
		Exit: Refused, What: b.String(), Production: "not changed by this command",
		Next: []string{
			"to see how far it is: rollback status " + scope.flags(),
			`if the holder is gone for good: the same command with --steal "why"`,
		},
	}
}
