package rollback

// Builds: what the CI system made of a commit, and how one is started, followed and stopped. A build is always asked for
// by a token of its own (the commit, the queue item, our id), never as "the last one".

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// BuildState is where a build is in its life.
type BuildState string

const (
	BuildQueued   BuildState = "queued"
	BuildRunning  BuildState = "running"
	BuildFinished BuildState = "finished"
	// BuildCancelled is a build that was taken out of the queue: it has no number and never will.
	BuildCancelled BuildState = "cancelled"
)

// Build is one run of a job, from the moment it waits for its start.
type Build struct {
	Job    string     `json:"job"` // full name, folders separated by "/"
	Number int        `json:"number,omitempty"`
	Queue  int64      `json:"queue,omitempty"` // its item in the queue; 0 when not known
	URL    string     `json:"url,omitempty"`   // for people, as the CI system names it
	State  BuildState `json:"state"`
	// Result is the CI system's word for the end: SUCCESS, UNSTABLE, FAILURE, ABORTED, NOT_BUILT; "" before.
	Result string `json:"result,omitempty"`
	// Why is what a queued build waits for.
	Why   string `json:"why,omitempty"`
	Stuck bool   `json:"stuck,omitempty"` // waits for longer than the CI system thinks normal
	// Commits are the revisions that the build checked out, all repositories together (pipeline libraries too). It is empty
	// until the checkout.
	Commits    []Commit          `json:"commits,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Start      time.Time         `json:"start,omitzero"` // in the queue: since when
	Took       time.Duration     `json:"took,omitempty"` // 0 before the end
	Estimate   time.Duration     `json:"estimate,omitempty"`
}

// Succeeded tells whether what the build was to produce can be counted on. UNSTABLE is a build with failed tests.
func (b Build) Succeeded() bool { return b.State == BuildFinished && b.Result == "SUCCESS" }

// Unstable tells whether the build came to its end with failed tests: what it was to produce may be there, or not.
func (b Build) Unstable() bool { return b.State == BuildFinished && b.Result == "UNSTABLE" }

// Over tells whether the build can change nothing any more.
func (b Build) Over() bool { return b.State == BuildFinished || b.State == BuildCancelled }

// Of tells whether the build checked out the commit. A short commit matches what it abbreviates.
func (b Build) Of(c Commit) bool {
	return c != "" && slices.ContainsFunc(b.Commits, func(have Commit) bool { return sameCommit(have, c) })
}

func sameCommit(a, b Commit) bool {
	return len(a) >= 7 && len(b) >= 7 && (strings.HasPrefix(string(a), string(b)) || strings.HasPrefix(string(b), string(a)))
}

// String names the build as people do: "deploy/payments #12".
func (b Build) String() string {
	if b.Number > 0 {
		return fmt.Sprintf("%s #%d", b.Job, b.Number)
	}
	if b.Queue > 0 {
		return fmt.Sprintf("%s (queue item %d)", b.Job, b.Queue)
	}
	return b.Job
}

// ParameterKind is how a parameter's value is checked.
type ParameterKind string

const (
	TextParameter    ParameterKind = "text"
	ChoiceParameter  ParameterKind = "choice"
	BooleanParameter ParameterKind = "boolean"
	SecretParameter  ParameterKind = "secret"
	// OtherParameter is a kind whose values cannot be given as text (a file, a run, what a plugin adds).
	OtherParameter ParameterKind = "other"
)

// Parameter is one parameter of a job, as the job defines it.
type Parameter struct {
	Name    string        `json:"name"`
	Kind    ParameterKind `json:"kind"`
	Type    string        `json:"type,omitempty"` // the CI system's word for the kind
	Choices []string      `json:"choices,omitempty"`
	Default *string       `json:"default,omitempty"` // nil: it has none, so a value must be given
}

// CheckParameters names everything about the values that the job would not take, or would quietly take for something else.
func CheckParameters(defined []Parameter, values map[string]string) []string {
	var wrong []string
	names := make([]string, 0, len(defined))
	for _, p := range defined {
		names = append(names, p.Name)
		v, given := values[p.Name]
		switch {
		case !given && p.Default == nil && p.Kind != OtherParameter:
			wrong = append(wrong, fmt.Sprintf("%s is missing and has no default", p.Name))
		case !given:
		case p.Kind == ChoiceParameter && !slices.Contains(p.Choices, v):
			wrong = append(wrong, fmt.Sprintf("%s=%q is not one of its choices (%s)", p.Name, v, strings.Join(p.Choices, ", ")))
		case p.Kind == BooleanParameter && v != "true" && v != "false":
			wrong = append(wrong, fmt.Sprintf("%s=%q: want true or false", p.Name, v))
		case p.Kind == OtherParameter:
			wrong = append(wrong, fmt.Sprintf("%s is a %s: its value cannot be given as text", p.Name, p.Type))
		}
	}
	given := make([]string, 0, len(values))
	for name := range values {
		given = append(given, name)
	}
	slices.Sort(given)
	for _, name := range given {
		if !slices.Contains(names, name) {
			has := "it has none"
			if len(names) > 0 {
				has = "it has " + strings.Join(names, ", ")
			}
			wrong = append(wrong, fmt.Sprintf("the job has no parameter %s (%s)", name, has))
		}
	}
	return wrong
}

// Builds reads the builds of jobs.
type Builds interface {
	// Newest returns the newest builds of a job, newest first: those that wait, the running, and some dozens of the finished.
	// None is not an error.
	Newest(ctx context.Context, job string) ([]Build, error)
	// InFlight returns the builds that are queued or running, and so may still push an image.
	InFlight(ctx context.Context, job string) ([]Build, error)
	// Look reads a build again, by its number or, before it has one, by its queue item. A cancelled item is no error.
	Look(ctx context.Context, b Build) (Build, error)
	// Follow waits until the build is over and copies its log to w (nil: nowhere) as it grows. Losing the CI system for a
	// moment is not the end of it. With an error comes the build as it was last seen.
	Follow(ctx context.Context, b Build, w io.Writer) (Build, error)
}

// BuildRequest asks for a build.
type BuildRequest struct {
	Job        string
	Parameters map[string]string
	// ID marks the build as ours, if the job has a parameter for it: the same request after a crash finds the build that the
	// first one started. Letters, digits, "-", "_" and "."; "" means no mark.
	ID string
}

// StartedBuild is the answer to a BuildRequest.
type StartedBuild struct {
	Build
	Already bool // it was there before: an earlier request with the same ID, or one still queued with the same parameters
	Marked  bool // the job has the parameter for the ID, so repeating the request is safe
}

// BuildStarter starts and stops builds.
type BuildStarter interface {
	// Parameters reads what parameters the job has.
	Parameters(ctx context.Context, job string) ([]Parameter, error)
	// Start asks for a build. It checks the parameters against the job's first, and never sends a request twice: when the
	// answer is lost and the build cannot be found, it returns a *CallError with Maybe set.
	Start(ctx context.Context, r BuildRequest) (StartedBuild, error)
	// Stop takes the build out of the queue or aborts it, and returns it when it is over. Programs that the build started may
	// live on.
	Stop(ctx context.Context, b Build) (Build, error)
}

// JobSwitch turns jobs on and off, for a freeze that the CI system itself keeps.
type JobSwitch interface {
	// SetEnabled makes the job take new builds, or refuse them. already is true when it did so before the call.
	SetEnabled(ctx context.Context, job string, enabled bool) (already bool, err error)
}
