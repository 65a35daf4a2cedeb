package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Store keeps named bags of text with compare-and-swap: the ConfigMaps of one namespace. Its failures are
// *rollback.CallError.
type Store interface {
	// Get reads one object; found is false if there is none.
	Get(ctx context.Context, name string) (data map[string]string, version string, found bool, err error)
	// List reads every object whose labels match the selector.
	List(ctx context.Context, labelSelector string) ([]rollback.StoredObject, error)
	// Put writes the object if its version is still the one given ("" = must not exist yet), and returns the new version.
	// Kind Conflict says that somebody else wrote first.
	Put(ctx context.Context, name string, labels, data map[string]string, version string) (string, error)
}

// Records keeps the records of one environment in a Store. It is a rollback.Records, safe for concurrent use.
type Records struct {
	// Kubectl is how a person reaches the store, e.g. "kubectl --context prod --namespace prod"; errors print commands
	// that begin with it. Set it before use; "kubectl" if empty.
	Kubectl string
	// Redact, if set, removes secrets from the free texts of a record before it is written.
	Redact func(string) string

	store       Store
	environment string

	mu sync.Mutex
	// carried is what was read with a version and is not this program's to change.
	carried map[string]carried
}

type carried struct {
	version string
	unknown fields
	data    map[string]string
}

var _ rollback.Records = (*Records)(nil)

// New keeps the records of an environment in store.
func New(store Store, environment string) *Records {
	return &Records{store: store, environment: environment, carried: map[string]carried{}}
}

// Read returns the record of a scope and its version; a new record and "" if there is none yet. A record that cannot be
// read is a *rollback.Error with the commands to look at it and to move it aside; it is never taken for none.
func (r *Records) Read(ctx context.Context, scope rollback.Scope) (rollback.Record, string, error) {
	if err := r.own(scope); err != nil {
		return rollback.Record{}, "", err
	}
	name := Name(scope.Service)
	data, version, found, err := r.store.Get(ctx, name)
	if err != nil {
		return rollback.Record{}, "", err
	}
	if !found {
		r.carry(name, carried{})
		return rollback.Record{SchemaVersion: rollback.RecordVersion, Scope: scope}, "", nil
	}
	rec, unknown, err := decode(data, rollback.RecordVersion, migrations)
	if err != nil {
		return rollback.Record{}, "", r.unreadable(name, err)
	}
	if rec.Scope != scope {
		return rollback.Record{}, "", &rollback.Error{
			Exit: rollback.Usage,
			What: fmt.Sprintf("ConfigMap %s holds the record of %s, not of %s: two environments share one namespace, where only one can keep its records", name, rec.Scope, scope),
			Next: []string{"give each environment a namespace of its own in rollback.yaml", r.kubectl() + " get configmap " + name + " -o yaml"},
		}
	}
	r.carry(name, carried{version, unknown, data})
	return rec, version, nil
}

// Write stores the record if its version is still the one given ("" = must not exist yet) and returns the new version.
// When the answer to the write is lost, it looks: what is stored tells whether it was done.
func (r *Records) Write(ctx context.Context, rec rollback.Record, version string) (string, error) {
	if err := r.own(rec.Scope); err != nil {
		return "", err
	}
	name := Name(rec.Scope.Service)
	before, ok := r.carriedBy(name, version)
	if !ok { // the version was not read here: what goes with it has to be
		_, now, err := r.Read(ctx, rec.Scope)
		if err != nil {
			return "", err
		}
		if before, ok = r.carriedBy(name, version); !ok {
			return "", &rollback.CallError{
				System: "kubernetes", Op: "update configmap " + name, Kind: rollback.Conflict,
				Err: fmt.Errorf("its version is %q now, not %q", now, version),
			}
		}
	}
	data, err := encode(redacted(rec, r.Redact), before.unknown)
	if err != nil {
		return "", err
	}
	whole := maps.Clone(before.data) // keys that somebody else put there stay
	if whole == nil {
		whole = map[string]string{}
	}
	for _, k := range summaryKeys {
		delete(whole, k)
	}
	maps.Copy(whole, data)
	if size(whole) > MaxBytes {
		whole = data
	}

	next, err := r.store.Put(ctx, name, Labels(rec.Scope), whole, version)
	if call := (*rollback.CallError)(nil); errors.As(err, &call) && call.Maybe {
		if data, now, found, getErr := r.store.Get(ctx, name); getErr == nil && found && data[Truth] == whole[Truth] {
			next, err = now, nil
		}
	}
	if err != nil {
		return "", err
	}
	r.carry(name, carried{next, before.unknown, whole})
	return next, nil
}

// ReadAll returns every record of the environment in one call. Records that cannot be read do not hide the others: they
// are in the error, which comes along with what could be read. Copies under another name are left out.
func (r *Records) ReadAll(ctx context.Context) ([]rollback.Record, error) {
	objects, err := r.store.List(ctx, Selector(r.environment))
	if err != nil {
		return nil, err
	}
	var (
		all  []rollback.Record
		errs []error
	)
	for _, o := range objects {
		rec, err := Decode(o.Data)
		switch {
		case err != nil:
			errs = append(errs, r.unreadable(o.Name, err))
		case o.Name == Name(rec.Scope.Service) && rec.Scope.Environment == r.environment:
			all = append(all, rec)
		}
	}
	return all, errors.Join(errs...)
}

func (r *Records) own(s rollback.Scope) error {
	if err := s.Validate(); err != nil {
		return rollback.UsageErrorf("%w", err)
	}
	if s.Environment != r.environment {
		return rollback.UsageErrorf("scope %s: these are the records of %s", s, r.environment)
	}
	return nil
}

func (r *Records) carry(name string, c carried) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.carried[name] = c
}

func (r *Records) carriedBy(name, version string) (carried, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.carried[name]
	if version == "" { // nothing is there yet, so nothing is carried; if something is, the write will say so
		return carried{}, true
	}
	return c, ok && c.version == version
}

func (r *Records) kubectl() string {
	if r.Kubectl == "" {
		return "kubectl"
	}
	return r.Kubectl
}

// unreadable is what to tell the person about a record that cannot be used.
func (r *Records) unreadable(name string, err error) error {
	look := r.kubectl() + " get configmap " + name + " -o yaml"
	if newer := (*NewerError)(nil); errors.As(err, &newer) {
		return &rollback.Error{
			Exit: rollback.Failed,
			What: "the record in ConfigMap " + name + " is",
			Err:  err,
			Next: []string{"update this rollback", look},
		}
	}
	return &rollback.Error{
		Exit: rollback.Failed,
		What: "the record in ConfigMap " + name + " cannot be read; it was left as it is",
		Err:  err,
		Next: []string{
			"look at it: " + look,
			// The copy keeps everything; && so that nothing is deleted that was not saved.
			"move it aside: " + look + " > " + name + ".yaml && " + r.kubectl() + " delete configmap " + name,
		},
	}
}

// redacted is a copy of rec without secrets in what people and other systems wrote.
func redacted(rec rollback.Record, redact func(string) string) rollback.Record {
	if redact == nil {
		return rec
	}
	rec = shortened(rec, 1<<20) // a deep copy of everything that has texts
	if e := rec.Last; e != nil {
		e.Reason, e.By.Build = redact(e.Reason), redact(e.By.Build)
		for i := range e.Steps {
			e.Steps[i].Detail = redact(e.Steps[i].Detail)
		}
	}
	if l := rec.Lock; l != nil {
		l.Reason, l.Stolen, l.Holder.Build = redact(l.Reason), redact(l.Stolen), redact(l.Holder.Build)
	}
	if f := rec.Freeze; f != nil {
		f.Reason = redact(f.Reason)
	}
	for i := range rec.Owed {
		rec.Owed[i].URL = redact(rec.Owed[i].URL)
	}
	for i := range rec.History {
		rec.History[i].Reason = redact(rec.History[i].Reason)
	}
	return rec
}
