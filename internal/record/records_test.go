package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestReadAndWrite(t *testing.T) {
	t.Parallel()
	ctx, m := t.Context(), newMemory()
	r := New(m, "prod")

	rec, version, err := r.Read(ctx, scope)
	if err != nil || version != "" || !cmp.Equal(rec, rollback.Record{SchemaVersion: rollback.RecordVersion, Scope: scope}) {
		t.Fatalf("nothing there: %+v, version %q, err %v", rec, version, err)
	}
	v1 := mustWrite(t, r, full(), "")
	o := m.objects["rollback-payments"]
	if d := cmp.Diff(map[string]string{
		"app.kubernetes.io/managed-by":         "rollback",
		"rollback-tools.github.io/service":     "payments",
		"rollback-tools.github.io/environment": "prod",
	}, o.labels); d != "" {
		t.Error(d)
	}
	rec, version, err = New(m, "prod").Read(ctx, scope)
	if err != nil || version != v1 || !cmp.Equal(rec, full()) {
		t.Fatalf("version %q, err %v: %s", version, err, cmp.Diff(full(), rec))
	}

	// A chain of writes needs no reads between.
	calls := len(m.calls)
	v2 := mustWrite(t, r, full(), v1)
	v3 := mustWrite(t, r, full(), v2)
	if got := m.calls[calls:]; !slices.Equal(got, []string{"put", "put"}) {
		t.Errorf("calls %v", got)
	}
	// An old version, here and elsewhere, and a record that is there already.
	for _, old := range []string{v1, v2, ""} {
		for _, rr := range []*Records{r, New(m, "prod")} {
			if _, err := rr.Write(ctx, full(), old); rollback.KindOf(err) != rollback.Conflict {
				t.Errorf("version %q: err %v, want a conflict", old, err)
			}
		}
	}
	if m.objects["rollback-payments"].version != v3 {
		t.Error("a write with an old version was done")
	}
	// A version that another Records read is good as well.
	mustWrite(t, New(m, "prod"), full(), v3)
}

// What a newer patch release or a person put there survives our write; what we no longer say goes.
func TestWriteKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	ctx, m := t.Context(), newMemory()
	mustWrite(t, New(m, "prod"), full(), "")
	o := m.objects["rollback-payments"]
	o.data[Truth] = strings.Replace(o.data[Truth], "{\n", `{"incident":{"key":"INC-42","n":9007199254740993},"Lock":"mine",`+"\n", 1)
	o.data["note"] = "left by the night shift"

	for _, again := range []bool{false, true} { // the version read here, or by another
		r := New(m, "prod")
		rec, version, err := r.Read(ctx, scope)
		if err != nil || rec.Lock == nil && !again {
			t.Fatalf("lock %v, err %v", rec.Lock, err)
		}
		if again {
			r = New(m, "prod")
		}
		rec.Lock = nil
		mustWrite(t, r, rec, version)
		data := m.objects["rollback-payments"].data
		for _, want := range []string{`"key": "INC-42"`, `9007199254740993`, `"Lock": "mine"`} {
			if !strings.Contains(data[Truth], want) {
				t.Errorf("%s is lost:\n%s", want, data[Truth])
			}
		}
		if data["note"] == "" || data["lock"] != "" || strings.Contains(data[Truth], `"lock"`) {
			t.Errorf("note %q, lock %q", data["note"], data["lock"])
		}
	}
}

func TestUnreadableRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		truth string
		want  []string
		next  []string
	}{
		"malformed": {"{not json", []string{"ConfigMap rollback-payments cannot be read", "left as it is", "invalid character"}, []string{
			"look at it: kubectl -n prod get configmap rollback-payments -o yaml",
			"move it aside: kubectl -n prod get configmap rollback-payments -o yaml > rollback-payments.yaml && kubectl -n prod delete configmap rollback-payments",
		}},
		"newer": {`{"schemaVersion":7}`, []string{"written by a newer rollback (schema 7, this one knows 2); update this one"}, []string{
			"update this rollback", "kubectl -n prod get configmap rollback-payments -o yaml",
		}},
	} {
		ctx, m := t.Context(), newMemory()
		m.objects["rollback-payments"] = stored{Labels(scope), map[string]string{Truth: c.truth}, "5"}
		mustWrite(t, New(m, "prod"), rollback.Record{Scope: rollback.Scope{Service: "web", Environment: "prod"}}, "")
		r := New(m, "prod")
		r.Kubectl = "kubectl -n prod"

		check := func(what string, err error) {
			t.Helper()
			var e *rollback.Error
			if !errors.As(err, &e) {
				t.Fatalf("%s, %s: err %v", name, what, err)
			}
			for _, want := range c.want {
				if !strings.Contains(e.Error(), want) {
					t.Errorf("%s, %s: %q is not in %q", name, what, want, e)
				}
			}
			if d := cmp.Diff(c.next, e.Next); d != "" {
				t.Errorf("%s, %s: %s", name, what, d)
			}
		}
		_, _, err := r.Read(ctx, scope)
		check("Read", err)
		_, err = r.Write(ctx, full(), "5")
		check("Write", err)
		all, err := r.ReadAll(ctx)
		check("ReadAll", err)
		if len(all) != 1 || all[0].Scope.Service != "web" {
			t.Errorf("%s: the good record is hidden: %v", name, all)
		}
		if m.objects["rollback-payments"].version != "5" {
			t.Errorf("%s: it was overwritten", name)
		}
	}
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	ctx, m := t.Context(), newMemory()
	for _, s := range []rollback.Scope{{Service: "web", Environment: "prod"}, {Service: "payments", Environment: "prod"}, {Service: "cart", Environment: "staging"}} {
		mustWrite(t, New(m, s.Environment), rollback.Record{Scope: s}, "")
	}
	m.objects["copy-of-web"] = m.objects["rollback-web"]
	m.calls = nil
	all, err := New(m, "prod").ReadAll(ctx)
	var names []string
	for _, r := range all {
		names = append(names, r.Scope.Service)
	}
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"payments", "web"}) || len(m.calls) != 1 {
		t.Errorf("%v, err %v, calls %v", names, err, m.calls)
	}
}

func TestScopesAreKeptApart(t *testing.T) {
	t.Parallel()
	ctx, m := t.Context(), newMemory()
	mustWrite(t, New(m, "staging"), rollback.Record{Scope: rollback.Scope{Service: "payments", Environment: "staging"}}, "")
	_, _, err := New(m, "prod").Read(ctx, scope)
	if rollback.ExitOf(err) != rollback.Usage || !strings.Contains(err.Error(), "holds the record of payments/staging, not of payments/prod") {
		t.Errorf("two environments in one namespace: %v", err)
	}
	for _, s := range []rollback.Scope{{Service: "payments", Environment: "staging"}, {Service: "Pay", Environment: "prod"}, {}} {
		if _, _, err := New(m, "prod").Read(ctx, s); rollback.ExitOf(err) != rollback.Usage {
			t.Errorf("read %v: %v", s, err)
		}
		if _, err := New(m, "prod").Write(ctx, rollback.Record{Scope: s}, ""); rollback.ExitOf(err) != rollback.Usage {
			t.Errorf("write %v: %v", s, err)
		}
	}
}

func TestStoreFaults(t *testing.T) {
	t.Parallel()
	lost := &rollback.CallError{System: "kubernetes", Kind: rollback.Unreachable, Maybe: true}
	for _, c := range []struct {
		name  string
		fault func(op string) (error, bool)
		write rollback.CallKind // "" = must succeed
		read  rollback.CallKind
	}{
		{"denied", func(string) (error, bool) { return &rollback.CallError{Kind: rollback.Denied}, false }, rollback.Denied, rollback.Denied},
		{"answer lost, written", func(op string) (error, bool) {
			if op == "put" {
				return lost, true
			}
			return nil, false
		}, "", ""},
		{"answer lost, not written", func(op string) (error, bool) {
			if op == "put" {
				return lost, false
			}
			return nil, false
		}, rollback.Unreachable, ""},
		{"all lost", func(string) (error, bool) { return lost, true }, rollback.Unreachable, rollback.Unreachable},
	} {
		m := newMemory()
		r := New(m, "prod")
		version := mustWrite(t, r, full(), "")
		m.fault = c.fault
		rec := full()
		rec.Last.Reason = "another"
		next, err := r.Write(t.Context(), rec, version)
		if rollback.KindOf(err) != c.write || err == nil && next != m.objects["rollback-payments"].version {
			t.Errorf("%s: write: version %q, err %v", c.name, next, err)
		}
		if _, _, err := r.Read(t.Context(), scope); rollback.KindOf(err) != c.read {
			t.Errorf("%s: read: %v", c.name, err)
		}
		if _, err := r.ReadAll(t.Context()); rollback.KindOf(err) != c.read {
			t.Errorf("%s: read all: %v", c.name, err)
		}
	}
}

func TestSecretsAreNotStored(t *testing.T) {
	t.Parallel()
	m := newMemory()
	r := New(m, "prod")
	r.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	rec := full()
	for _, s := range []*string{&rec.Last.Reason, &rec.Last.By.Build, &rec.Last.Steps[0].Detail, &rec.Lock.Reason, &rec.Lock.Stolen, &rec.Lock.Holder.Build, &rec.Freeze.Reason, &rec.Owed[1].URL, &rec.History[0].Reason} {
		*s = "with hunter2"
	}
	mustWrite(t, r, rec, "")
	if text := fmt.Sprint(m.objects["rollback-payments"].data); strings.Contains(text, "hunter2") || strings.Count(text, "with ***") < 9 {
		t.Error(text)
	}
	if rec.Last.Steps[0].Detail != "with hunter2" {
		t.Error("the caller's record was changed")
	}
}

var _ Store = (*memory)(nil)
