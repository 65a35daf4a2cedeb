package rollback

import (
	"context"
	"iter"
	"strings"
	"time"
)

// Every port method takes a context that carries the deadline of the whole act; adapters set a shorter one for each
// call, repeat reads (and only reads) a bounded number of times, and return *CallError on failure.

// Registry reads and tags images.
type Registry interface {
	// Repository tells the repository's settings and who we are to the registry.
	Repository(ctx context.Context, name string) (Repository, error)
	// Images describes images named by tag or digest. Those that do not exist are left out; the order is free.
	Images(ctx context.Context, repository string, refs ...string) ([]Image, error)
	// Manifests fetches manifests by tag or digest, their bytes checked against their digests. Those that do not exist are
	// left out; Manifest.Digest tells which is which. One call, however many are asked for, where the registry can.
	Manifests(ctx context.Context, repository string, refs ...string) ([]Manifest, error)
	// Tag points tag at the manifest, byte for byte. already is true when it did so before the call.
	Tag(ctx context.Context, repository string, m Manifest, tag string) (already bool, err error)
}

// Lister lists a repository. Its cost grows with the repository, so it is asked only when no target was named.
type Lister interface {
	// List yields pages of images, in no particular order, until the end or until the caller stops.
	List(ctx context.Context, repository string) iter.Seq2[[]Image, error]
}

// Cluster reads and restarts workloads.
type Cluster interface {
	Identity(ctx context.Context) (ClusterIdentity, error)
	// Inventory reads everything in the namespace that names an image: one list per kind.
	Inventory(ctx context.Context, namespace string) (Inventory, error)
	// Restart puts the stamp (and kubectl's restartedAt, set to at) into the pod template. Repeating it with the same
	// stamp and time changes nothing.
	Restart(ctx context.Context, w Ref, stamp string, at time.Time) error
	// Observe reads the workloads and their pods again.
	Observe(ctx context.Context, workloads []Ref) ([]Observation, error)
}

// Watcher tells that something changed, so that waiting notices at once instead of at the next poll.
type Watcher interface {
	// Changes sends (without blocking) whenever a pod or workload of the namespace changes. It ends with ctx. It is a
	// hint: it may never send, where watching is not permitted or the connection is lost.
	Changes(ctx context.Context, namespace string) <-chan struct{}
}

// Diagnoser tells why a pod does not come up.
type Diagnoser interface {
	Diagnose(ctx context.Context, namespace, pod, container string) (Diagnosis, error)
	// Events are the newest events of a workload, newest last: why its controller makes no pod.
	Events(ctx context.Context, w Ref) ([]string, error)
}

// Right is leave to do something to the objects of a kind in one namespace.
type Right struct {
	Verb string // as the cluster names it: "patch", "create", "update"
	Kind string // "Deployment", "ConfigMap", …
	Name string // the only object it is about, "" for all of the kind
}

// String is the right after "the right to".
func (r Right) String() string {
	if r.Name == "" {
		return r.Verb + " " + strings.ToLower(r.Kind) + "s"
	}
	return r.Verb + " " + strings.ToLower(r.Kind) + "/" + r.Name
}

// Rights tells beforehand what would be refused.
type Rights interface {
	// Missing returns those of the rights that we do not have in the namespace, in the order in which they were given.
	Missing(ctx context.Context, namespace string, rights ...Right) ([]Right, error)
}

// Records keeps the records, one for each scope, with compare-and-swap.
type Records interface {
	// Read returns the record of a scope and its version; a new record and "" if there is none yet.
	Read(ctx context.Context, scope Scope) (Record, string, error)
	// Write stores the record if its version is still the one given ("" = must not exist yet) and returns the new version.
	// A *CallError of kind Conflict says that somebody else wrote first.
	Write(ctx context.Context, r Record, version string) (string, error)
	// ReadAll returns every record of the environment in one call.
	ReadAll(ctx context.Context) ([]Record, error)
}

// StoredObject is one named bag of text with a version, as a store of records keeps it (a ConfigMap, say). The version
// changes with every write and is only good for comparing.
type StoredObject struct {
	Name    string
	Data    map[string]string
	Version string
}

// Change is one commit that a rollback would undo, as the forge tells it.
type Change struct {
	Commit  Commit    `json:"commit"`
	Title   string    `json:"title"`
	Author  string    `json:"author"`
	PR      int       `json:"pr,omitempty"`
	URL     string    `json:"url,omitempty"`
	Date    time.Time `json:"date,omitzero"`
	Parents []Commit  `json:"parents,omitempty"`
}

// Commits tells about commits. It is optional: without it candidates have no titles and a plan says so.
type Commits interface {
	// Recent returns the newest first-parent commits of the deployed branch, newest first.
	Recent(ctx context.Context) ([]Change, error)
}

// Journal is the event log of one run. Log returns only after the event is on disk.
type Journal interface {
	Log(e Event) error
}

// Event is one line of the journal.
type Event struct {
	V     int            `json:"v"` // schema version, 1
	Time  time.Time      `json:"t"`
	Run   string         `json:"run"`
	Seq   int            `json:"seq"`
	Scope string         `json:"scope"`
	Type  string         `json:"type"` // run.started, step.intent, step.outcome, rollout.progress, run.finished, …
	Step  string         `json:"step,omitempty"`
	Text  string         `json:"text,omitempty"`
	Data  map[string]any `json:"data,omitempty"`
	Error string         `json:"error,omitempty"`
}
