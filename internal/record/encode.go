package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Truth is the key of the ConfigMap that holds the record. Every other key is written for people with kubectl and is
// never read.
const Truth = "record.json"

// Labels of every ConfigMap that holds a record.
const (
	ManagedByLabel   = "app.kubernetes.io/managed-by"
	ManagedBy        = "rollback"
	ServiceLabel     = "rollback-tools.github.io/service"
	EnvironmentLabel = "rollback-tools.github.io/environment"
)

// MaxBytes is what all keys and values of a record may take together. A ConfigMap may hold 1 MiB
// (https://kubernetes.io/docs/concepts/configuration/configmap/#motivation); the rest is left to its metadata.
const MaxBytes = 900 << 10

// Longest texts kept, in bytes. What is longer ends in a mark that tells how long it was.
const (
	maxReason  = 2000 // of the last rollback, the lock and the freeze
	maxPast    = 500  // reason of a past rollback
	maxDetail  = 1000 // of a step; less if the record would not fit otherwise
	maxName    = 300  // a user, a host, a process, a step
	maxAddress = 1000 // a URL
)

// Name is the name of the ConfigMap of a service.
func Name(service string) string { return "rollback-" + service }

// Selector selects every record of an environment.
func Selector(environment string) string {
	return ManagedByLabel + "=" + ManagedBy + "," + EnvironmentLabel + "=" + environment
}

// Labels are the labels of a scope's ConfigMap. A valid scope's names are valid label values.
func Labels(s rollback.Scope) map[string]string {
	return map[string]string{ManagedByLabel: ManagedBy, ServiceLabel: s.Service, EnvironmentLabel: s.Environment}
}

// NewerError says that the record was written by a later program than this one, which must not touch it.
type NewerError struct{ Version int }

func (e *NewerError) Error() string {
	return fmt.Sprintf("written by a newer rollback (schema %d, this one knows %d); update this one", e.Version, rollback.RecordVersion)
}

// fields are the members of a record that this program knows; any other member of the same schema version is carried
// along unread, so that a newer patch release loses nothing when an older one writes. New members inside a known one
// need a new schema version.
type fields = map[string]json.RawMessage

// migration turns a document of one schema version into the next.
type migration func(fields) error

// migrations[i] turns version i+1 into i+2. Version 1 is the first.
var migrations = []migration{oneDebtToMany}

// oneDebtToMany turns the one debt of schema 1, which a second rollback overwrote, into the list of schema 2. What the debt
// is about was not said then; where it came from the last rollback, that one knows. The revert of a rollback by revert was
// not written down as paid, which its undo needs to know.
func oneDebtToMany(doc fields) error {
	var last struct {
		ID, Kind, Method string
		EndedAt          time.Time
		From, To         struct{ Commit rollback.Commit }
		Steps            []struct{ Name string }
		Merge            rollback.Merge
	}
	if raw, ok := doc["last"]; ok {
		if err := json.Unmarshal(raw, &last); err != nil {
			return fmt.Errorf("last: %w", err)
		}
	}
	var between rollback.Range
	if last.From.Commit != "" && last.To.Commit != "" {
		between = rollback.Range{Good: last.To.Commit, Bad: last.From.Commit}
	}
	var owed []rollback.FollowUp
	if raw, ok := doc["followUp"]; ok {
		var f *rollback.FollowUp
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("followUp: %w", err)
		}
		if f != nil {
			if last.Kind == string(rollback.KindRollback) && slices.ContainsFunc(last.Steps, func(s struct{ Name string }) bool { return s.Name == rollback.StepFollowUp }) {
				f.Rollback, f.Range = last.ID, between
			}
			owed = append(owed, *f)
		}
	}
	if last.Method == rollback.MethodRevert && last.Merge.PR != 0 && last.Merge.Commit != "" {
		owed = append(owed, rollback.FollowUp{Kind: rollback.OwedRevert, Rollback: last.ID, Range: between, Due: last.EndedAt, PR: last.Merge.PR, URL: last.Merge.URL, Done: true})
	}
	delete(doc, "followUp")
	if owed == nil {
		return nil
	}
	raw, err := json.Marshal(owed)
	doc["owed"] = raw
	return err
}

// Encode is the data of a scope's ConfigMap. Long texts are shortened and the history is cut to rollback.HistoryLimit;
// an error says that the record is not valid or does not fit.
func Encode(r rollback.Record) (map[string]string, error) { return encode(r, nil) }

func encode(r rollback.Record, unknown fields) (map[string]string, error) {
	if r.SchemaVersion > rollback.RecordVersion {
		return nil, &NewerError{r.SchemaVersion}
	}
	r.SchemaVersion = rollback.RecordVersion
	if err := check(r); err != nil {
		return nil, err
	}
	for _, detail := range []int{maxDetail, 200, 60, 0} {
		short := shortened(r, detail)
		text, err := document(short, unknown)
		if err != nil {
			return nil, err
		}
		data := summary(short)
		data[Truth] = text
		if size(data) <= MaxBytes {
			return data, nil
		}
	}
	return nil, fmt.Errorf("record of %s: too large for a ConfigMap (more than %d KiB)", r.Scope, MaxBytes>>10)
}

// document is the record as indented JSON, with the unknown members after the known ones.
func document(r rollback.Record, unknown fields) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it
	if err := enc.Encode(r); err != nil {
		return "", err
	}
	b.Truncate(b.Len() - len("}\n"))
	for _, k := range slices.Sorted(maps.Keys(unknown)) {
		name, err := json.Marshal(k)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, ",%s:%s", name, unknown[k])
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return "", err
	}
	return out.String() + "\n", nil
}

func size(data map[string]string) int {
	n := 0
	for k, v := range data {
		n += len(k) + len(v)
	}
	return n
}

// Decode reads a record out of a ConfigMap's data. It is strict: a record is the only thing that remembers what to go
// back to, so anything doubtful is an error and never a guess. A *NewerError says that a later program wrote it.
func Decode(data map[string]string) (rollback.Record, error) {
	r, _, err := decode(data, rollback.RecordVersion, migrations)
	return r, err
}

func decode(data map[string]string, current int, migrations []migration) (rollback.Record, fields, error) {
	none := rollback.Record{}
	text, ok := data[Truth]
	if !ok {
		return none, nil, fmt.Errorf("has no key %s", Truth)
	}
	var doc fields
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return none, nil, fmt.Errorf("%s: %w", Truth, err)
	}
	var version int
	if err := json.Unmarshal(doc["schemaVersion"], &version); err != nil || version < 1 {
		return none, nil, fmt.Errorf("%s: schemaVersion is missing or no positive number", Truth)
	}
	if version > current {
		return none, nil, &NewerError{version}
	}
	for v := version; v < current; v++ {
		if err := migrations[v-1](doc); err != nil {
			return none, nil, fmt.Errorf("%s: bringing schema %d to %d: %w", Truth, v, v+1, err)
		}
	}
	delete(doc, "schemaVersion")

	r := rollback.Record{}
	into := reflect.ValueOf(&r).Elem()
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
		raw, ok := doc[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, into.Field(i).Addr().Interface()); err != nil {
			return none, nil, fmt.Errorf("%s: %s: %w", Truth, name, err)
		}
		delete(doc, name)
	}
	r.SchemaVersion = current
	if err := check(r); err != nil {
		return none, nil, fmt.Errorf("%s: %w", Truth, err)
	}
	return r, doc, nil
}

// objectName tells whether Kubernetes takes s as an object's name
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names).
func objectName(s string) bool {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz-."
	return s != "" && len(s) <= 253 && strings.Trim(s, letters) == "" && !strings.ContainsAny(s[:1]+s[len(s)-1:], "-.")
}

// check refuses a record whose parts could not be used: they become part of URLs, and no run may leave behind what the
// next one cannot read.
func check(r rollback.Record) error {
	if err := r.Scope.Validate(); err != nil {
		return err
	}
	digest := func(what string, d rollback.Digest) error {
		if d == "" {
			return nil
		}
		if _, err := rollback.ParseDigest(string(d)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	commit := func(what string, c rollback.Commit) error {
		if c == "" {
			return nil
		}
		if _, err := rollback.ParseCommit(string(c)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	var errs []error
	if e := r.Last; e != nil {
		errs = append(errs, digest("from", e.From.Digest), digest("to", e.To.Digest), digest("tagWas", e.TagWas),
			commit("from", e.From.Commit), commit("to", e.To.Commit))
		if e.ID == "" {
			errs = append(errs, errors.New("the last rollback has no id"))
		}
		if e.Repository != "" && !rollback.ValidRepository(e.Repository) {
			errs = append(errs, fmt.Errorf("repository %q is not one", e.Repository))
		}
		for _, t := range slices.Concat([]string{e.Tag}, e.Kept, e.From.Tags, e.To.Tags) {
			if t != "" && !rollback.ValidTag(t) {
				errs = append(errs, fmt.Errorf("tag %q is not one", t))
			}
		}
		for _, w := range e.Workloads {
			if !objectName(w.Name) || w.Namespace != "" && !objectName(w.Namespace) {
				errs = append(errs, fmt.Errorf("workload %q in namespace %q is not a name", w.Name, w.Namespace))
			}
		}
	}
	for _, h := range r.History {
		errs = append(errs, digest("history", h.From), digest("history", h.To), commit("history", h.FromCommit), commit("history", h.ToCommit))
	}
	for _, f := range r.Owed {
		errs = append(errs, commit("owed", f.Range.Good), commit("owed", f.Range.Bad))
	}
	if e := r.Last; e != nil {
		for _, c := range slices.Concat([]rollback.Commit{e.Merge.Commit, e.Merge.Built}, e.Merge.Along) {
			errs = append(errs, commit("merge", c))
		}
	}
	if f := r.Freeze; f != nil {
		errs = append(errs, commit("freeze", f.Good), commit("freeze", f.Bad))
	}
	return errors.Join(errs...)
}

// shortened is a copy of r whose texts are cut to size; r itself stays as it is.
func shortened(r rollback.Record, detail int) rollback.Record {
	actor := func(a rollback.Actor) rollback.Actor {
		return rollback.Actor{User: clip(a.User, maxName), Host: clip(a.Host, maxName), Build: clip(a.Build, maxAddress), Process: clip(a.Process, maxName)}
	}
	if r.Last != nil {
		e := *r.Last
		e.By, e.Reason = actor(e.By), clip(e.Reason, maxReason)
		e.Steps = slices.Clone(e.Steps)
		for i := range e.Steps {
			e.Steps[i].Name, e.Steps[i].Detail = clip(e.Steps[i].Name, maxName), clip(e.Steps[i].Detail, detail)
		}
		r.Last = &e
	}
	if r.Lock != nil {
		l := *r.Lock
		l.Holder, l.Reason, l.Stolen = actor(l.Holder), clip(l.Reason, maxReason), clip(l.Stolen, maxReason)
		r.Lock = &l
	}
	if r.Freeze != nil {
		f := *r.Freeze
		f.By, f.Reason = clip(f.By, maxName), clip(f.Reason, maxReason)
		r.Freeze = &f
	}
	r.Owed = slices.Clone(r.Owed[max(len(r.Owed)-rollback.OwedLimit, 0):])
	for i := range r.Owed {
		r.Owed[i].URL, r.Owed[i].Rollback = clip(r.Owed[i].URL, maxAddress), clip(r.Owed[i].Rollback, maxName)
	}
	r.History = slices.Clone(r.History[:min(len(r.History), rollback.HistoryLimit)])
	for i := range r.History {
		r.History[i].User, r.History[i].Reason = clip(r.History[i].User, maxName), clip(r.History[i].Reason, maxPast)
	}
	return r
}

// clip cuts s to at most limit bytes, with a mark that tells that and how much there was. Clipping again changes nothing.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	mark := fmt.Sprintf(" … [cut from %d bytes]", len(s))
	n := limit - len(mark)
	if n <= 0 {
		return ""
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

// summary are the keys for people who look with `kubectl describe configmap`.
func summary(r rollback.Record) map[string]string {
	data := map[string]string{
		"read-me": Truth + " is the record; the other keys only repeat it for reading. `rollback status` shows it too.",
		"state":   "none",
		"summary": r.Scope.String() + " was never rolled back",
	}
	if e := r.Last; e != nil {
		data["state"] = string(e.State)
		data["summary"] = fmt.Sprintf("%s: %s from %s to %s by %s at %s, %s: %s",
			r.Scope, e.Kind, imageText(e.From), imageText(e.To), person(e.By), stamp(e.StartedAt), e.State, e.Reason)
		data["from"], data["to"] = string(e.From.Digest), string(e.To.Digest)
		data["by"], data["reason"], data["started"] = person(e.By), e.Reason, stamp(e.StartedAt)
		if !e.EndedAt.IsZero() {
			data["ended"] = stamp(e.EndedAt)
		}
	}
	if l := r.Lock; l != nil {
		data["lock"] = fmt.Sprintf("%s since %s, until %s unless renewed: %s", person(l.Holder), stamp(l.TakenAt), stamp(l.ExpiresAt), l.Reason)
	}
	if f := r.Freeze; f != nil {
		data["freeze"] = fmt.Sprintf("nothing after %s up to %s may be deployed; by %s since %s: %s",
			f.Good.Short(), f.Bad.Short(), f.By, stamp(f.Since), f.Reason)
	}
	var debts []string
	for _, f := range r.Open() {
		debts = append(debts, strings.TrimSpace(fmt.Sprintf("%s due %s %s", f.Kind, stamp(f.Due), f.URL)))
	}
	if len(debts) > 0 {
		data["follow-up"] = strings.Join(debts, "; ")
	}
	return data
}

// summaryKeys are all keys that summary may write: those it leaves out are removed from an older version.
var summaryKeys = []string{"read-me", "state", "summary", "from", "to", "by", "reason", "started", "ended", "lock", "freeze", "follow-up"}

func imageText(t rollback.Target) string {
	if t.Commit == "" {
		return t.Digest.Short()
	}
	return t.Commit.Short() + " (" + t.Digest.Short() + ")"
}

func person(a rollback.Actor) string {
	s := a.User
	if a.Host != "" {
		s += " on " + a.Host
	}
	if a.Build != "" {
		s += " (" + a.Build + ")"
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
