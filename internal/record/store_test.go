package record

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// memory is a Store with compare-and-swap, as strict as the API server.
type memory struct {
	mu      sync.Mutex
	next    int
	objects map[string]stored
	// fault, if set, is asked before each call; after says to do the write all the same.
	fault func(op string) (err error, after bool)
	calls []string
}

type stored struct {
	labels, data map[string]string
	version      string
}

func newMemory() *memory { return &memory{objects: map[string]stored{}} }

func (m *memory) ask(op string) (error, bool) {
	m.calls = append(m.calls, op)
	if m.fault == nil {
		return nil, false
	}
	return m.fault(op)
}

func (m *memory) Get(_ context.Context, name string) (map[string]string, string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.ask("get"); err != nil {
		return nil, "", false, err
	}
	o, ok := m.objects[name]
	return maps.Clone(o.data), o.version, ok, nil
}

func (m *memory) List(_ context.Context, selector string) ([]rollback.StoredObject, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err, _ := m.ask("list"); err != nil {
		return nil, err
	}
	var out []rollback.StoredObject
	for name, o := range m.objects {
		matches := true
		for term := range strings.SplitSeq(selector, ",") {
			k, v, ok := strings.Cut(term, "=")
			if !ok {
				return nil, fmt.Errorf("selector %q", selector)
			}
			matches = matches && o.labels[k] == v
		}
		if matches {
			out = append(out, rollback.StoredObject{Name: name, Data: maps.Clone(o.data), Version: o.version})
		}
	}
	return out, nil
}

func (m *memory) Put(_ context.Context, name string, labels, data map[string]string, version string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, after := m.ask("put")
	if err != nil && !after {
		return "", err
	}
	if m.objects[name].version != version {
		if err != nil {
			return "", err
		}
		return "", &rollback.CallError{System: "kubernetes", Op: "update configmap " + name, Kind: rollback.Conflict}
	}
	if n := size(data); n > 1<<20 {
		return "", &rollback.CallError{System: "kubernetes", Kind: rollback.Rejected, Err: fmt.Errorf("%d bytes", n)}
	}
	m.next++
	o := stored{maps.Clone(labels), maps.Clone(data), fmt.Sprint(m.next)}
	m.objects[name] = o
	return o.version, err
}

var (
	scope = rollback.Scope{Service: "payments", Environment: "prod"}
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	good  = rollback.DigestOf([]byte("good"))
	bad   = rollback.DigestOf([]byte("bad"))
)

// full is a record with everything in it.
func full() rollback.Record {
	by := rollback.Actor{User: "m.lee", Host: "ci-7", Build: "https://jenkins.acme.example/job/deploy/812/", Process: "ci-7/4026531836@b/12/3456"}
	return rollback.Record{
		SchemaVersion: rollback.RecordVersion,
		Scope:         scope,
		Last: &rollback.Entry{
			ID: "20261123T120000-1", Kind: rollback.KindRollback, Method: "retag", State: rollback.Mitigated, By: by, Reason: "checkout errors",
			StartedAt: noon, EndedAt: noon.Add(2 * time.Minute), Registry: "registry.acme.example", Repository: "payments", Tag: "latest",
			From:   rollback.Target{Digest: bad, MediaType: rollback.OCIIndex, Commit: "8be01d4", Tags: []string{"8be01d4", "latest"}, PushedAt: noon},
			To:     rollback.Target{Digest: good, MediaType: rollback.OCIIndex, Commit: "3f2a9c1"},
			TagWas: bad, Kept: []string{"rollback-keep-1"}, Stamp: "20261123T120000-1",
			Workloads: []rollback.Ref{{Kind: "Deployment", Namespace: "prod", Name: "payments"}},
			Steps:     []rollback.StepState{{Name: "retag", Outcome: rollback.StepDone, At: noon, Detail: "latest → <good> & well"}},
		},
		Lock:   &rollback.Lock{Holder: by, Run: "20261123T120000-1", Reason: "checkout errors", TakenAt: noon, Heartbeat: noon, ExpiresAt: noon.Add(time.Minute)},
		Freeze: &rollback.Freeze{Since: noon, By: "m.lee", Reason: "checkout errors", Good: "3f2a9c1", Bad: "8be01d4"},
		Owed: []rollback.FollowUp{
			{Kind: rollback.OwedRevert, Rollback: "20261123T110000-1", Range: rollback.Range{Good: "8be01d4", Bad: "9c1f2a0"}, Due: noon, PR: 6, URL: "https://github.com/acme/payments/pull/6", ReplacedBy: "20261123T120000-1"},
			{Kind: rollback.OwedRevert, Rollback: "20261123T120000-1", Range: rollback.Range{Good: "3f2a9c1", Bad: "9c1f2a0"}, Due: noon.Add(time.Hour), PR: 7, URL: "https://github.com/acme/payments/pull/7"},
		},
		History: []rollback.Summary{{ID: "1", Kind: rollback.KindRollback, State: rollback.Closed, User: "k.ito", Reason: "leak",
			Started: noon.Add(-time.Hour), Ended: noon, From: bad, To: good, FromCommit: "8be01d4", ToCommit: "3f2a9c1"}},
	}
}

func mustWrite(t *testing.T, r *Records, rec rollback.Record, version string) string {
	t.Helper()
	v, err := r.Write(t.Context(), rec, version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
