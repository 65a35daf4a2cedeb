package record

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// operator is one person with one process; they go through the record as a run does: read, claim, write.
type operator struct {
	by      rollback.Actor
	records *Records
	dead    bool // killed; the process is known to be gone on its own host only

	read    *rollback.Record // between reading and writing
	version string
	holds   bool // the last write that we know of says so
	rec     rollback.Record
	at      string // version of rec
}

// Whatever the interleaving of reads, writes, heartbeats, kills and waits, two living operators never both believe in
// their lock and are both right: every write of one who was displaced fails.
func TestExactlyOneHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store, ctx := newMemory(), t.Context()
		now := noon
		var all []*operator
		for i := range rapid.IntRange(2, 3).Draw(t, "operators") {
			host := fmt.Sprintf("host-%d", i%2)
			all = append(all, &operator{
				by:      rollback.Actor{User: fmt.Sprintf("op-%d", i), Host: host, Process: fmt.Sprintf("%s/ns/%d/1", host, i)},
				records: New(store, "prod"),
			})
		}
		pick := func(t *rapid.T) *operator { return all[rapid.IntRange(0, len(all)-1).Draw(t, "who")] }
		seenDead := func(reader *operator) func(string) bool {
			return func(process string) bool {
				for _, o := range all {
					if o.by.Process == process {
						return o.dead && o.by.Host == reader.by.Host
					}
				}
				return false
			}
		}
		stored := func() *rollback.Lock {
			rec, _, err := New(store, "prod").Read(ctx, scope)
			if err != nil {
				t.Fatal(err)
			}
			return rec.Lock
		}
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				o := pick(t)
				if o.dead {
					return
				}
				rec, version, err := o.records.Read(ctx, scope)
				if err != nil {
					t.Fatal(err)
				}
				o.read, o.version = &rec, version
			},
			"claim": func(t *rapid.T) {
				o := pick(t)
				if o.dead || o.read == nil {
					return
				}
				steal := rapid.SampledFrom([]string{"", "", "", "holder asleep"}).Draw(t, "steal")
				before := stored()
				rec, err := rollback.Claim(*o.read, o.by, "run", "test", now, steal, seenDead(o))
				o.read = nil
				if err != nil {
					if rollback.ExitOf(err) != rollback.Refused {
						t.Fatal(err)
					}
					return
				}
				version, err := o.records.Write(ctx, rec, o.version)
				if err != nil {
					if rollback.KindOf(err) != rollback.Conflict {
						t.Fatal(err)
					}
					return
				}
				if before != nil && before.Holder != o.by && before.ExpiresAt.After(now) && !seenDead(o)(before.Holder.Process) && steal == "" {
					t.Fatalf("%s took the lock that %s held", o.by.User, before.Holder.User)
				}
				o.holds, o.rec, o.at = true, rec, version
			},
			"beat": func(t *rapid.T) {
				o := pick(t)
				if o.dead || !o.holds {
					return
				}
				mine := stored() != nil && stored().Holder == o.by
				version, err := o.records.Write(ctx, rollback.Heartbeat(o.rec, now), o.at)
				if mine != (err == nil) {
					t.Fatalf("%s: the lock is theirs: %v, and the write: %v", o.by.User, mine, err)
				}
				if err != nil {
					o.holds = false
					return
				}
				o.rec, o.at = rollback.Heartbeat(o.rec, now), version
			},
			"release": func(t *rapid.T) {
				o := pick(t)
				if o.dead || !o.holds {
					return
				}
				rec := o.rec
				rec.Lock = nil
				if _, err := o.records.Write(ctx, rec, o.at); err != nil && rollback.KindOf(err) != rollback.Conflict {
					t.Fatal(err)
				}
				o.holds = false
			},
			"kill": func(t *rapid.T) {
				if o := pick(t); o != all[0] {
					o.dead, o.holds, o.read = true, false, nil
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				n := 0
				for _, o := range all {
					if l := stored(); o.holds && l != nil && l.Holder == o.by {
						n++
					}
				}
				if n > 1 {
					t.Fatalf("%d hold the lock", n)
				}
			},
		})
	})
}

// Two operators who read the same record at the same moment: one wins, the other is told who.
func TestRaceForTheLock(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{false, true} {
		store, ctx := newMemory(), t.Context()
		if there {
			mustWrite(t, New(store, "prod"), rollback.Record{Scope: scope}, "")
		}
		won := make(chan bool)
		const operators = 8
		var read sync.WaitGroup // all have read before anybody writes
		read.Add(operators)
		for i := range operators {
			go func() {
				r := New(store, "prod")
				rec, version, err := r.Read(ctx, scope)
				read.Done()
				read.Wait()
				if err == nil {
					by := rollback.Actor{User: fmt.Sprintf("op-%d", i), Host: "ci-7", Process: fmt.Sprintf("ci-7/ns/%d/1", i)}
					if rec, err = rollback.Claim(rec, by, "run", "test", noon, "", nil); err == nil {
						_, err = r.Write(ctx, rec, version)
					}
				}
				if err != nil && rollback.KindOf(err) != rollback.Conflict && rollback.ExitOf(err) != rollback.Refused {
					t.Errorf("op-%d: %v", i, err)
				}
				won <- err == nil
			}()
		}
		winners := 0
		for range operators {
			if <-won {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d of %d won", winners, operators)
		}
		rec, _, err := New(store, "prod").Read(ctx, scope)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rollback.Claim(rec, rollback.Actor{User: "late"}, "run", "test", noon.Add(time.Second), "", Dead)
		var e *rollback.Error
		if !errors.As(err, &e) || e.Exit != rollback.Refused || !strings.Contains(e.What, rec.Lock.Holder.User+" on ci-7") || len(e.Next) == 0 {
			t.Errorf("the second is told %v", err)
		}
	}
}
