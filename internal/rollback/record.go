package rollback

import (
	"slices"
	"time"
)

// RecordVersion is the schema version of the record in the cluster.
const RecordVersion = 2

// HistoryLimit is how many past rollbacks a record keeps, in short.
const HistoryLimit = 20

// Record is the state of the last rollback of a scope. It lives in the cluster, so that any machine can go on with it.
type Record struct {
	SchemaVersion int   `json:"schemaVersion"`
	Scope         Scope `json:"scope"`
	// Last is the last rollback, open or closed; nil before the first.
	Last *Entry `json:"last,omitempty"`
	// Lock is held while a run works on the scope.
	Lock *Lock `json:"lock,omitempty"`
	// Freeze is what may not be deployed until the rollback is closed; nil when nothing is frozen.
	Freeze *Freeze `json:"freeze,omitempty"`
	// Owed is what rollbacks and undos have left owed, oldest first, at most OwedLimit; Open tells what of it still is.
	Owed []FollowUp `json:"owed,omitempty"`
	// History are the rollbacks before Last, newest first, at most HistoryLimit.
	History []Summary `json:"history,omitempty"`
}

// State is where a rollback stands.
type State string

const (
	Running     State = "running"     // a run works on it, or was killed while it did
	Interrupted State = "interrupted" // stopped in order (SIGTERM, ^C); the same command goes on
	FailedState State = "failed"      // stopped by a failure; Steps say where
	TagMoved    State = "tag moved"   // `retag` alone: the pods were not restarted
	Restarted   State = "restarted"   // `restart` alone: rolled out, digests not proven
	Mitigated   State = "mitigated"   // proven; the code is still to be reverted
	Undone      State = "undone"      // `undo` brought back what ran before
	Closed      State = "closed"
)

// Open tells whether a run that ended in this state is to be continued by the next one.
func (s State) Open() bool {
	return s == Running || s == Interrupted || s == FailedState || s == Waiting
}

// unfinished tells whether something is still to be done before the rollback is proven: it is open, or only a part of it
// was asked for.
func (s State) unfinished() bool { return s.Open() || s == TagMoved || s == Restarted }

// EntryKind is what kind of act an entry records.
type EntryKind string

const (
	KindRollback EntryKind = "rollback"
	KindUndo     EntryKind = "undo"
	KindRestart  EntryKind = "restart"
)

// Entry is one rollback: everything needed to continue it, to undo it and to tell its story.
type Entry struct {
	ID     string    `json:"id"`
	Kind   EntryKind `json:"kind"`
	Method string    `json:"method"` // "retag" or "revert"
	State  State     `json:"state"`
	By     Actor     `json:"by"`
	Reason string    `json:"reason"`

	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"`

	Registry   string `json:"registry"`   // host
	Repository string `json:"repository"` // name
	Tag        string `json:"tag"`        // the moving tag
	From       Target `json:"from"`       // what ran before
	To         Target `json:"to"`         // what must run
	// TagWas is the digest the moving tag named before, which need not be what ran.
	TagWas Digest `json:"tagWas,omitempty"`
	// Kept are the tags that protect the outgoing images from lifecycle rules.
	Kept []string `json:"kept,omitempty"`
	// Stamp is the restart stamp; a workload whose template carries it has been restarted by this rollback.
	Stamp     string      `json:"stamp"`
	Workloads []Ref       `json:"workloads,omitempty"`
	Steps     []StepState `json:"steps,omitempty"`
	// Undoes is the ID of the rollback that an undo takes back.
	Undoes string `json:"undoes,omitempty"`
	// Merge is how far a rollback by revert has come; Shipped is the image its build made.
	Merge   Merge   `json:"merge,omitzero"`
	Shipped *Target `json:"shipped,omitempty"`
	// Proven are the digests that the pods reported when it was proven: of the index, of platforms or of configurations.
	Proven []Digest `json:"proven,omitempty"`
}

// Overtaken tells whether a pod that reports an image, with the commit of it where that is known, shows that something else
// was deployed since the rollback was proven.
func (e *Entry) Overtaken(reported Digest, commit Commit) bool {
	if e.State != Mitigated || len(e.Proven) == 0 || reported == "" || slices.Contains(e.Proven, reported) {
		return false
	}
	return !sameCommit(commit, e.landed().Commit)
}

// landed is the image that the rollback brings to production: the target, or what the build of the revert made.
func (e *Entry) landed() Target {
	if e.Shipped != nil {
		return *e.Shipped
	}
	return e.To
}

// Merge is the way of a revert into production.
type Merge struct {
	PR     int    `json:"pr,omitempty"`
	URL    string `json:"url,omitempty"`    // of the pull request
	Commit Commit `json:"commit,omitempty"` // what its merge made
	Build  string `json:"build,omitempty"`  // URL of the build that holds that commit
	// Built is the commit that was built, where it is a later one, and Along the commits after the merge that ship with it,
	// newest first.
	Built Commit   `json:"built,omitempty"`
	Along []Commit `json:"along,omitempty"`
}

// Target is an image as a record remembers it.
type Target struct {
	Digest    Digest    `json:"digest"`
	MediaType string    `json:"mediaType,omitempty"`
	Commit    Commit    `json:"commit,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	PushedAt  time.Time `json:"pushedAt,omitzero"`
}

// Outcome is how a step ended.
type Outcome string

const (
	StepStarted Outcome = "started"
	StepDone    Outcome = "done"
	StepAlready Outcome = "already" // it was so before
	StepPending Outcome = "pending"
	StepFailed  Outcome = "failed"
)

// StepState is one step of a rollback and how far it came.
type StepState struct {
	Name    string    `json:"name"`
	Outcome Outcome   `json:"outcome"`
	At      time.Time `json:"at"`
	Detail  string    `json:"detail,omitempty"`
}

// Actor is who acts: a person, from a host, perhaps through a build.
type Actor struct {
	User  string `json:"user"`
	Host  string `json:"host"`
	Build string `json:"build,omitempty"` // URL of the Jenkins build
	// Process tells this process from any other, so that a run on the same machine knows a dead holder at once:
	// "host/pid namespace/pid/start time"; "" where the system cannot tell.
	Process string `json:"process,omitempty"`
}

// Lock says which run works on a scope. It is part of the record, so taking it is one compare-and-swap.
type Lock struct {
	Holder    Actor     `json:"holder"`
	Run       string    `json:"run"` // ID of the entry it works on
	Reason    string    `json:"reason"`
	TakenAt   time.Time `json:"takenAt"`
	Heartbeat time.Time `json:"heartbeat"`
	ExpiresAt time.Time `json:"expiresAt"`
	// Stolen is the reason given with --steal, when the lock was taken from another holder.
	Stolen string `json:"stolen,omitempty"`
}

// Freeze is what must not be deployed: every commit after Good up to Bad. It is lifted by proof or by a person.
type Freeze struct {
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Good   Commit    `json:"good,omitempty"`
	Bad    Commit    `json:"bad,omitempty"`
}

// Summary is a past rollback in short.
type Summary struct {
	ID      string    `json:"id"`
	Kind    EntryKind `json:"kind"`
	State   State     `json:"state"`
	User    string    `json:"user"`
	Reason  string    `json:"reason"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	From    Digest    `json:"from"`
	To      Digest    `json:"to"`
	// FromCommit and ToCommit are empty where the image carried no commit tag.
	FromCommit Commit `json:"fromCommit,omitempty"`
	ToCommit   Commit `json:"toCommit,omitempty"`
}
