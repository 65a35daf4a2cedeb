package rollback

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// recordStub is a store of which one call is of interest.
type recordStub struct {
	Records
	write func() error
	found Record
}

func (r *recordStub) Read(context.Context, Scope) (Record, string, error) { return r.found, "2", nil }
func (r *recordStub) Write(context.Context, Record, string) (string, error) {
	return "1", r.write()
}

// holdingKeeper makes a keeper that has claimed the lock.
func holdingKeeper(t *testing.T, r *recordStub, stop context.CancelCauseFunc) *keeper {
	k := newKeeper(r, &Survey{Request: Request{Scope: scope}}, stop)
	if err := k.claim(t.Context(), func(rec Record) (Record, error) {
		return Claim(rec, Actor{User: "ann"}, "run", "errors", time.Now(), "", nil)
	}); err != nil {
		t.Fatal(err)
	}
	return k
}

// Whoever asks whether the lock is still its own is told to stop before the answer, not after it.
func TestSureIsToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		r := &recordStub{write: func() error { return nil }}
		k := holdingKeeper(t, r, func(err error) { time.Sleep(time.Second); cancel(err) }) // the machine is busy
		defer k.close()
		time.Sleep(trusted)
		r.write = func() error { return &CallError{Kind: Conflict, Err: errors.New("it is bob's")} }
		if err := k.sure(ctx); err == nil {
			t.Error("it acts on a lock that somebody else has")
		}
	})
}

// What counts is when the lock was ours, not when that was heard of: a laptop can sleep between the two.
func TestSureOfLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recordStub{write: func() error { return nil }}
		k := holdingKeeper(t, r, func(error) {})
		defer k.close()
		r.write = func() error { time.Sleep(time.Hour); return nil }
		k.update(func(*Record) {})
		time.Sleep(time.Hour + time.Second)
		if age := k.age(); age < time.Hour {
			t.Errorf("it trusts a lock that it had an hour ago for %s", age)
		}
	})
}
