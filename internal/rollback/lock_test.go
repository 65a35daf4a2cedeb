package rollback

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestClaim(t *testing.T) {
	ann, bob := Actor{User: "ann", Host: "laptop", Process: "laptop/1/7", Build: "https://ci.example.com/1"}, Actor{User: "bob", Host: "desk", Process: "desk/1/8"}
	lock := &Lock{Holder: ann, Run: "r", Reason: "slow", TakenAt: epoch, Heartbeat: epoch, ExpiresAt: epoch.Add(LockExpiry)}
	for _, tt := range []struct {
		name   string
		lock   *Lock
		by     Actor
		after  time.Duration
		steal  string
		dead   bool
		free   bool
		stolen string
	}{
		{"free", nil, bob, 0, "", false, true, ""},
		{"held", lock, bob, time.Second, "", false, false, ""},
		{"held to the last moment", lock, bob, LockExpiry - 1, "", false, false, ""},
		{"expired", lock, bob, LockExpiry, "", false, true, ""},
		{"own process", lock, ann, time.Second, "", false, true, ""},
		{"same person, another process", lock, Actor{User: "ann", Host: "laptop", Process: "laptop/1/9"}, time.Second, "", false, false, ""},
		{"same person, where processes cannot be told apart", &Lock{Holder: Actor{User: "ann", Host: "laptop"}, TakenAt: epoch, ExpiresAt: epoch.Add(LockExpiry)}, Actor{User: "ann", Host: "laptop"}, time.Second, "", false, false, ""},
		{"dead process", lock, bob, time.Second, "", true, true, ""},
		{"stolen", lock, bob, time.Second, "gone home", false, true, "from ann on laptop: gone home"},
		{"nothing to steal", nil, bob, 0, "gone home", false, true, ""},
		{"stolen from a dead one", lock, bob, time.Second, "gone home", true, true, ""},
	} {
		dead := func(p string) bool { return tt.dead && p == ann.Process }
		now := epoch.Add(tt.after)
		rec, err := Claim(Record{Scope: scope, Lock: tt.lock}, tt.by, "run", "why", now, tt.steal, dead)
		if (err == nil) != tt.free {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err != nil {
			exitIs(t, err, Refused)
			says(t, err, "payments/prod is locked by ann on laptop since 03:00:00 UTC", "rollback status --service payments --environment prod", `--steal "why"`)
			if tt.lock == lock {
				says(t, err, "https://ci.example.com/1", "slow", "last heartbeat")
			}
			continue
		}
		if l := rec.Lock; l.Holder != tt.by || l.Run != "run" || l.Stolen != tt.stolen || !l.ExpiresAt.Equal(now.Add(LockExpiry)) || !l.same(l) {
			t.Errorf("%s: %+v", tt.name, l)
		}
		if later := Heartbeat(rec, now.Add(time.Minute)).Lock; !later.same(rec.Lock) || !later.ExpiresAt.Equal(now.Add(time.Minute+LockExpiry)) || rec.Lock.Heartbeat != now {
			t.Errorf("%s: after a heartbeat %+v", tt.name, later)
		}
	}
	if Heartbeat(Record{}, epoch).Lock != nil || (*Lock)(nil).same(lock) || lock.same(nil) {
		t.Error("no lock")
	}
	again := *lock
	if again.TakenAt = epoch.Add(time.Second); lock.same(&again) {
		t.Error("taken again by one who looks the same is another taking")
	}
	if HeartbeatEvery*4 > LockExpiry {
		t.Error("fewer than four beats may be missed")
	}
}

// TestOneWins lets operators survey and run in any interleaving, with any of their calls slow: at no time do two of them
// hold the scope, and whoever was refused was told who holds it.
func TestOneWins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(rt, "operators")
		starts := rapid.SliceOfN(rapid.IntRange(0, 3), n, n).Draw(rt, "starts")
		delays := rapid.SliceOfN(rapid.IntRange(0, 3), 40, 40).Draw(rt, "delays")
		targets := rapid.SliceOfN(rapid.SampledFrom([]rune("abc")), n, n).Draw(rt, "targets")
		var problem error
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			holders := map[string]bool{}
			errs := make([]error, n)
			done := make(chan int)
			calls := 0
			w.after = func(p *process, op string) {
				if op == "Write" {
					if r := w.decode(); r.Lock != nil {
						holders[r.Lock.Holder.User] = true
					}
				}
				if strings.HasPrefix(op, "Restart") || strings.HasPrefix(op, "Tag latest") {
					if r := w.decode(); r.Lock == nil || r.Lock.Holder.User != p.by.User {
						problem = fmt.Errorf("%s acted without the lock: %+v", p.by.User, r.Lock)
					}
				}
			}
			var ps []*process
			for i := range n {
				ps = append(ps, w.process(fmt.Sprintf("op%d", i)))
			}
			for i := range n {
				go func() {
					time.Sleep(time.Duration(starts[i]) * time.Millisecond)
					errs[i] = ps[i].runSlowly(Request{Act: ActRun, To: commitOf(targets[i])}, func() time.Duration {
						w.mu.Lock()
						defer w.mu.Unlock()
						calls++
						return time.Duration(delays[calls%len(delays)]) * time.Millisecond
					})
					done <- i
				}()
			}
			for range n {
				<-done
			}
			winners := 0
			for i, err := range errs {
				switch {
				case err == nil:
					winners++
				case ExitOf(err) != Refused:
					problem = fmt.Errorf("op%d: %v", i, err)
				case !strings.Contains(err.Error(), "is locked by op") && !strings.Contains(err.Error(), "changed the record"):
					problem = fmt.Errorf("op%d was refused without a word on who won: %v", i, err)
				}
			}
			if winners != 1 && problem == nil {
				problem = fmt.Errorf("%d winners: %v", winners, errs)
			}
			if len(holders) != 1 && problem == nil {
				problem = fmt.Errorf("the lock was held by %v", holders)
			}
			if w.workloads[0].changes != 1 && problem == nil {
				problem = fmt.Errorf("%d restarts", w.workloads[0].changes)
			}
		})
		if problem != nil {
			rt.Fatal(problem)
		}
	})
}

// runSlowly is run with a delay before every step.
func (p *process) runSlowly(req Request, delay func() time.Duration) error {
	req.By, req.Scope, req.Method, req.Reason = p.by, scope, "retag", "race"
	time.Sleep(delay())
	s, err := Look(context.Background(), p.world(), req, time.Now())
	if err != nil {
		return err
	}
	plan := Draw(s, NewID(time.Now()))
	time.Sleep(delay())
	_, err = p.runner().Run(context.Background(), s, plan)
	return err
}

func TestErrors(t *testing.T) {
	lost := &CallError{System: "ecr", Op: "PutImage x", Kind: Unreachable, Maybe: true, Err: errors.New("eof")}
	denied := &CallError{System: "ecr", Op: "PutImage x", Kind: Denied, Code: "403", Fix: "ask for it"}
	for _, tt := range []struct {
		err   error
		exit  Exit
		kind  CallKind
		fix   string
		maybe bool
		text  string
	}{
		{nil, Done, "", "", false, ""},
		{errors.New("x"), Failed, "", "", false, "x"},
		{UsageErrorf("no %q", "x"), Usage, "", "", false, `no "x"`},
		{denied, Failed, Denied, "ask for it", false, "ecr: PutImage x: denied (403)"},
		{fmt.Errorf("a: %w", lost), Failed, Unreachable, "", true, "a: ecr: PutImage x: unreachable: eof"},
		{errors.Join(denied, lost), Failed, Denied, "ask for it", true, ""},
		{&Error{Exit: Unverified, What: "w", Err: errors.Join(denied, fmt.Errorf("b: %w", lost))}, Unverified, Denied, "ask for it", true, ""},
		{&Error{Exit: Pending, What: "w"}, Pending, "", "", false, "w"},
		{&Error{Exit: Refused, What: "w", Err: quiet{errDeadline}}, Refused, "", "", false, "w"},
		{&Error{Exit: Refused, What: "w", Err: denied}, Refused, Denied, "ask for it", false, "w: ecr: PutImage x: denied (403)"},
	} {
		if got := ExitOf(tt.err); got != tt.exit {
			t.Errorf("%v: exit %d", tt.err, got)
		}
		if KindOf(tt.err) != tt.kind || FixOf(tt.err) != tt.fix || maybeDone(tt.err) != tt.maybe {
			t.Errorf("%v: %s %s %t", tt.err, KindOf(tt.err), FixOf(tt.err), maybeDone(tt.err))
		}
		if tt.text != "" && tt.err.Error() != tt.text {
			t.Errorf("%q, want %q", tt.err, tt.text)
		}
	}
}
