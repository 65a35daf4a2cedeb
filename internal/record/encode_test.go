package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]rollback.Record{
		"everything": full(),
		"nothing":    {SchemaVersion: rollback.RecordVersion, Scope: scope},
	} {
		data, err := Encode(want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

// A member added to rollback.Record must come back too; full fills them all.
func TestFullIsFull(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf(full())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("full leaves %s empty, so no test covers it", v.Type().Field(i).Name)
		}
	}
}

func TestPlainKeys(t *testing.T) {
	t.Parallel()
	data, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"state":     "mitigated",
		"summary":   "payments/prod: rollback from 8be01d4 (" + bad.Short() + ") to 3f2a9c1 (" + good.Short() + ") by m.lee on ci-7 (https://jenkins.acme.example/job/deploy/812/) at 2026-11-23 12:00:00 UTC, mitigated: checkout errors",
		"from":      string(bad),
		"to":        string(good),
		"by":        "m.lee on ci-7 (https://jenkins.acme.example/job/deploy/812/)",
		"reason":    "checkout errors",
		"started":   "2026-11-23 12:00:00 UTC",
		"ended":     "2026-11-23 12:02:00 UTC",
		"lock":      "m.lee on ci-7 (https://jenkins.acme.example/job/deploy/812/) since 2026-11-23 12:00:00 UTC, until 2026-11-23 12:01:00 UTC unless renewed: checkout errors",
		"freeze":    "nothing after 3f2a9c1 up to 8be01d4 may be deployed; by m.lee since 2026-11-23 12:00:00 UTC: checkout errors",
		"follow-up": "revert-pr due 2026-11-23 13:00:00 UTC https://github.com/acme/payments/pull/7",
	} {
		if data[key] != want {
			t.Errorf("%s:\n got %q\nwant %q", key, data[key], want)
		}
	}
	if !strings.Contains(data[Truth], "\n  \"last\": {\n") || !strings.Contains(data[Truth], "<good> & well") {
		t.Errorf("record.json is not for reading:\n%s", data[Truth])
	}
	known := map[string]bool{Truth: true}
	for _, k := range summaryKeys {
		known[k] = true
	}
	for k := range data {
		if !known[k] {
			t.Errorf("key %q is not in summaryKeys, so it would never be removed", k)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 5000)
	r := full()
	r.Last.Reason, r.Lock.Reason, r.Lock.Stolen, r.Freeze.Reason = long, long, long, long
	r.Last.By.User, r.Lock.Holder.Build = long, "https://"+long
	r.Last.Steps[0].Detail = long
	for range 50 {
		r.History = append(r.History, r.History[0])
	}
	r.History[19].Reason, r.History[20].ID = long, "too old"
	data, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.History) != rollback.HistoryLimit {
		t.Errorf("history of %d", len(got.History))
	}
	for name, c := range map[string]struct {
		text  string
		limit int
	}{
		"reason": {got.Last.Reason, maxReason}, "lock": {got.Lock.Reason, maxReason}, "stolen": {got.Lock.Stolen, maxReason},
		"freeze": {got.Freeze.Reason, maxReason}, "user": {got.Last.By.User, maxName}, "build": {got.Lock.Holder.Build, maxAddress},
		"detail": {got.Last.Steps[0].Detail, maxDetail}, "past": {got.History[19].Reason, maxPast},
	} {
		if len(c.text) > c.limit || len(c.text) < c.limit-4 || !utf8.ValidString(c.text) || !strings.Contains(c.text, "[cut from 100") {
			t.Errorf("%s: %d bytes: …%q", name, len(c.text), c.text[max(0, len(c.text)-40):])
		}
		if again := clip(c.text, c.limit); again != c.text {
			t.Errorf("%s: cut again: %q", name, again)
		}
	}
	if r.Last.Reason != long || r.Last.Steps[0].Detail != long || len(r.History) != 51 || r.History[19].Reason != long {
		t.Error("encoding changed the record it was given")
	}
}

func TestFitsIntoConfigMap(t *testing.T) {
	t.Parallel()
	r := full()
	r.Last.Workloads, r.Last.Steps = nil, nil
	for i := range 1200 {
		r.Last.Workloads = append(r.Last.Workloads, rollback.Ref{Kind: "Deployment", Namespace: "prod", Name: fmt.Sprintf("payments-%d", i)})
		r.Last.Steps = append(r.Last.Steps, rollback.StepState{Name: "restart", Outcome: rollback.StepFailed, At: noon, Detail: strings.Repeat("x", 999)})
	}
	data, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := size(data); n > MaxBytes {
		t.Errorf("%d bytes", n)
	}
	got, err := Decode(data)
	if err != nil || len(got.Last.Workloads) != 1200 || len(got.Last.Steps) != 1200 {
		t.Errorf("something was left out: err %v", err)
	}
	for range 3 {
		r.Last.Workloads = append(r.Last.Workloads, r.Last.Workloads...)
	}
	if _, err := Encode(r); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("err %v, want too large", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	ok, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) map[string]string {
		t.Helper()
		text := strings.ReplaceAll(ok[Truth], old, new)
		if text == ok[Truth] {
			t.Fatalf("%q is not in the record", old)
		}
		return map[string]string{Truth: text}
	}
	for _, c := range []struct {
		name string
		data map[string]string
		want string
	}{
		{"no data", nil, "has no key record.json"},
		{"foreign", map[string]string{"config.yaml": "x"}, "has no key record.json"},
		{"empty", map[string]string{Truth: ""}, "unexpected end of JSON input"},
		{"html", map[string]string{Truth: "<html>"}, "invalid character"},
		{"cut", map[string]string{Truth: ok[Truth][:200]}, "unexpected end"},
		{"two documents", map[string]string{Truth: ok[Truth] + ok[Truth]}, "after top-level value"},
		{"no object", map[string]string{Truth: "[]"}, "cannot unmarshal"},
		{"null", map[string]string{Truth: "null"}, "schemaVersion"},
		{"no version", swap(`"schemaVersion": 2`, `"x": 1`), "schemaVersion"},
		{"version 0", swap(`"schemaVersion": 2`, `"schemaVersion": 0`), "schemaVersion"},
		{"version as text", swap(`"schemaVersion": 2`, `"schemaVersion": "1"`), "schemaVersion"},
		{"newer", swap(`"schemaVersion": 2`, `"schemaVersion": 3`), "written by a newer rollback (schema 3, this one knows 2); update this one"},
		{"wrong type", swap(`"history": [`, `"history": 3, "was": [`), "history: json: cannot unmarshal"},
		{"bad scope", swap(`"service": "payments"`, `"service": "Pay/ments"`), "service"},
		{"bad digest", swap(string(good), "sha256:12"), "digest"},
		{"bad repository", swap(`"repository": "payments"`, `"repository": "../x"`), "repository"},
		{"bad tag", swap(`"tag": "latest"`, `"tag": "a/b"`), "tag"},
		{"bad commit", swap(`"commit": "3f2a9c1"`, `"commit": "main"`), "commit"},
		{"bad debt", swap(`"bad": "9c1f2a0"`, `"bad": "v1"`), "owed"},
		{"bad freeze", swap(`"good": "3f2a9c1"`, `"good": "v1"`), "freeze"},
		{"bad workload", swap(`"name": "payments"`, `"name": "a/../b"`), "workload"},
		{"no id", swap(`"id": "20261123T120000-1"`, `"id": ""`), "no id"},
	} {
		got, err := Decode(c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err %v, want %q", c.name, err, c.want)
		}
		if !cmp.Equal(got, rollback.Record{}) {
			t.Errorf("%s: a record came with the error", c.name)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	r := full()
	r.SchemaVersion = rollback.RecordVersion + 1
	if _, err := Encode(r); !errors.As(err, new(*NewerError)) {
		t.Errorf("a newer record: %v", err)
	}
	r = full()
	r.Last.To.Digest = "sha256:12"
	if _, err := Encode(r); err == nil {
		t.Error("a record that could not be read again was written")
	}
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	data := map[string]string{Truth: `{"schemaVersion":1,"place":"payments/prod"}`}
	steps := []migration{
		func(f fields) error { f["where"] = f["place"]; delete(f, "place"); return nil },
		func(f fields) error {
			f["scope"] = json.RawMessage(`{"service":"payments","environment":"prod"}`)
			return nil
		},
	}
	r, unknown, err := decode(data, 3, steps)
	if err != nil || r.Scope != scope || string(unknown["where"]) != `"payments/prod"` || r.SchemaVersion != 3 {
		t.Errorf("record %+v, unknown %s, err %v", r, unknown, err)
	}
	steps[1] = func(fields) error { return errors.New("no") }
	if _, _, err = decode(data, 3, steps); err == nil || !strings.Contains(err.Error(), "schema 2 to 3: no") {
		t.Errorf("err %v", err)
	}
	if len(migrations) != rollback.RecordVersion-1 {
		t.Errorf("%d migrations for schema %d", len(migrations), rollback.RecordVersion)
	}
}

// What an older program wrote is read with all that it told.
func TestOneDebtToMany(t *testing.T) {
	t.Parallel()
	const head = `{"schemaVersion":1,"scope":{"service":"payments","environment":"prod"}`
	const from = `"from":{"digest":"","commit":"8be01d4"},"to":{"digest":"","commit":"3f2a9c1"}`
	between := rollback.Range{Good: "3f2a9c1", Bad: "8be01d4"}
	due := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, text string
		want       []rollback.FollowUp
		open       int
	}{
		{"nothing", head + `}`, nil, 0},
		{"nothing owed", head + `,"followUp":null}`, nil, 0},
		{"owed by the last rollback", head + `,"last":{"id":"a","kind":"rollback","method":"retag",` + from + `,"steps":[{"name":"retag"},{"name":"follow-up"}]},` +
			`"followUp":{"kind":"revert-pr","due":"2026-11-23T13:00:00Z","pr":7,"url":"https://x/7"}}`,
			[]rollback.FollowUp{{Kind: "revert-pr", Rollback: "a", Range: between, Due: due, PR: 7, URL: "https://x/7"}}, 1},
		{"owed by one before", head + `,"last":{"id":"a","kind":"rollback","method":"retag",` + from + `,"steps":[{"name":"retag"}]},` +
			`"followUp":{"kind":"revert-pr","due":"2026-11-23T13:00:00Z"}}`,
			[]rollback.FollowUp{{Kind: "revert-pr", Due: due}}, 1},
		{"paid", head + `,"followUp":{"kind":"revert-pr","due":"2026-11-23T13:00:00Z","done":true}}`, []rollback.FollowUp{{Kind: "revert-pr", Due: due, Done: true}}, 0},
		{"by revert", head + `,"last":{"id":"a","kind":"rollback","method":"revert",` + from + `,"endedAt":"2026-11-23T13:00:00Z","merge":{"pr":9,"url":"https://x/9","commit":"3f2a9c1"}}}`,
			[]rollback.FollowUp{{Kind: "revert-pr", Rollback: "a", Range: between, Due: due, PR: 9, URL: "https://x/9", Done: true}}, 0},
		{"by revert, not merged", head + `,"last":{"id":"a","kind":"rollback","method":"revert",` + from + `,"merge":{"pr":9,"url":"https://x/9"}}}`, nil, 0},
	} {
		r, err := Decode(map[string]string{Truth: c.text})
		if err != nil || !cmp.Equal(r.Owed, c.want) || len(r.Open()) != c.open {
			t.Errorf("%s: %+v (%d open), err %v", c.name, r.Owed, len(r.Open()), err)
		}
	}
	for _, wrong := range []string{head + `,"followUp":3}`, head + `,"last":3}`, head + `,"followUp":{"kind":"revert-pr","due":"soon"}}`} {
		if _, err := Decode(map[string]string{Truth: wrong}); err == nil {
			t.Errorf("read: %s", wrong)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[Truth])
	f.Add(`{"schemaVersion":1,"scope":{"service":"web","environment":"prod"},"later":[1,{"a":null}]}`)
	f.Add(`{"schemaVersion":1,"Scope":{"service":"web","environment":"prod"}}`)
	f.Add(`{"schemaVersion":1,"scope":{"service":"web","environment":"prod"},"last":{"id":"x","startedAt":"2026-11-23T12:00:00+01:00"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, unknown, err := decode(map[string]string{Truth: text}, rollback.RecordVersion, migrations)
		if err != nil {
			return
		}
		data, err := encode(r, unknown)
		if err != nil {
			if strings.Contains(err.Error(), "too large") {
				return
			}
			t.Fatalf("read but not written: %v", err)
		}
		again, unknownAgain, err := decode(data, rollback.RecordVersion, migrations)
		if err != nil {
			t.Fatalf("written but not read: %v\n%s", err, data[Truth])
		}
		if len(unknown) != len(unknownAgain) {
			t.Errorf("unknown members: %d before, %d after", len(unknown), len(unknownAgain))
		}
		// What was shortened once stays as it is.
		twice, err := encode(again, unknownAgain)
		if err != nil || twice[Truth] != data[Truth] {
			t.Errorf("a second writing differs, err %v:\n%s\n%s", err, data[Truth], twice[Truth])
		}
	})
}
