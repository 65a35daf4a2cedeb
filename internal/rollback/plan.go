package rollback

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// PlanVersion is the schema version of a plan as JSON.
const PlanVersion = 1

// Plan is what a run will do, as data: it is printed, saved, compared and run. Nothing in it is decided later.
type Plan struct {
	SchemaVersion int       `json:"schemaVersion"`
	ID            string    `json:"id"` // of the run; the restart stamp
	CreatedAt     time.Time `json:"createdAt"`
	Scope         Scope     `json:"scope"`
	Act           Act       `json:"act"`
	Method        string    `json:"method"`
	Reason        string    `json:"reason"`
	By            Actor     `json:"by"`

	// What will be touched, and as whom.
	Registry  Repository      `json:"registry"`
	Tag       string          `json:"tag"`
	Cluster   ClusterIdentity `json:"cluster"`
	Namespace string          `json:"namespace"`

	Current Side   `json:"current"`
	Target  Side   `json:"target"`
	Why     string `json:"why"` // how the target was chosen
	// Evidence is what is known of the target's past, strongest first; shown, never invented.
	Evidence []string `json:"evidence,omitempty"`
	// Undoes are the versions between target and current, newest first; Unlisted says why it is not known, "" if it is.
	Undoes   []UndoneVersion `json:"undoes,omitempty"`
	Unlisted string          `json:"undoesUnknown,omitempty"`
	// Keys are those of an issue tracker that the titles of what is undone name, such as PAY-123.
	Keys []string `json:"keys,omitempty"`

	Running   []Serving         `json:"running"`
	Workloads []PlannedWorkload `json:"workloads"`
	Findings  []Finding         `json:"findings"`
	Accepted  []string          `json:"accepted,omitempty"` // codes of blocking findings somebody takes responsibility for
	Verdict   Verdict           `json:"verdict"`
	Reasons   []string          `json:"reasons,omitempty"` // why it is unsafe
	Steps     []Step            `json:"steps"`
	// Stamp is the restart stamp where it is not the ID: the pods that a run before has restarted must be restarted once more.
	Stamp string `json:"stamp,omitempty"`
	// Resumes is the ID of the unfinished rollback this plan goes on with.
	Resumes string `json:"resumes,omitempty"`

	Basis Basis `json:"basis"`

	held *Error // who is at work on the scope, where that stands in the way
}

// Side is the image on one side of a rollback.
type Side struct {
	Image
	Commit Commit  `json:"commit,omitempty"`
	Change *Change `json:"change,omitempty"`
}

// UndoneVersion is one version that a rollback takes away.
type UndoneVersion struct {
	Commit   Commit    `json:"commit"`
	Digest   Digest    `json:"digest,omitempty"`
	PushedAt time.Time `json:"pushedAt,omitzero"`
	Change   *Change   `json:"change,omitempty"`
}

// PlannedWorkload is a workload that will be restarted.
type PlannedWorkload struct {
	Ref      Ref      `json:"ref"`
	Pods     int      `json:"pods"` // desired
	Strategy Strategy `json:"strategy,omitempty"`
	// Stamped is set when the workload was restarted by this rollback already.
	Stamped bool `json:"stamped,omitempty"`
}

// Verdict is whether a plan may run.
type Verdict string

const (
	Safe   Verdict = "safe"
	Unsafe Verdict = "unsafe"
)

// Names of the steps. They are stable: journals, records and JSON carry them.
const (
	StepClaim   = "claim"
	StepKeep    = "keep"
	StepRetag   = "retag"
	StepRestart = "restart"
	StepRollout = "rollout"
	StepVerify  = "verify"
	StepRecord  = "record"
)

// Step is one act of a plan.
type Step struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Basis is what a plan rests on. A plan that was saved is refused when the world has moved since.
type Basis struct {
	TagDigest Digest   `json:"tagDigest"`
	Running   []Digest `json:"running"`
	Workloads []string `json:"workloads"` // "deployment/payments web=registry/payments:latest"
	Record    string   `json:"record"`    // "ID state" of the last rollback
	Registry  string   `json:"registry"`
	Cluster   string   `json:"cluster"`
	Namespace string   `json:"namespace"`
}

// NewID makes the ID of a run: its start in UTC and four random digits. It serves as a restart stamp and in file names.
func NewID(now time.Time) string {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(now.UTC().Format("20060102T150405Z")) + "-" + hex.EncodeToString(b[:])
}

// Draw makes the plan of a survey.
func Draw(s *Survey, id string) *Plan {
	p := &Plan{
		SchemaVersion: PlanVersion, ID: id, CreatedAt: s.At.UTC(), Scope: s.Request.Scope, Act: s.Request.Act, Method: s.Request.Method,
		Reason: s.Request.Reason, By: s.Request.By, Registry: s.Repository, Tag: s.Place.Tag, Cluster: s.Cluster, Namespace: s.Place.Namespace,
		Current: s.side(s.Current), Target: s.side(s.Target), Why: s.Why, Evidence: s.Evidence, Running: s.Running, Findings: s.Findings, Verdict: Safe,
		Basis: s.basis(),
	}
	if s.Resume != nil {
		p.ID, p.Resumes = s.Resume.ID, s.Resume.ID
		if p.Reason == "" {
			p.Reason = s.Resume.Reason
		}
		if d := s.Resume.From.Digest; d != "" && p.Current.Digest == p.Target.Digest {
			p.Current = s.side(Image{Digest: d, Tags: s.Resume.From.Tags, PushedAt: s.Resume.From.PushedAt})
		}
	}
	if s.Resume != nil {
		p.Stamp = s.Resume.Stamp
		if len(s.strayed()) > 0 {
			p.Stamp = id
		}
	}
	for _, w := range s.Affected {
		p.Workloads = append(p.Workloads, PlannedWorkload{w.Ref, w.Rollout.Desired, w.Strategy, w.Stamp == p.stamp()})
	}
	p.Undoes, p.Unlisted = s.undoes()
	var titles []string
	for _, u := range p.Undoes {
		if u.Change != nil {
			titles = append(titles, u.Change.Title)
		}
	}
	p.Keys = IssueKeys(titles...)
	p.Steps = p.steps(s)
	if s.Held != nil && p.Act != ActVerify && len(p.Steps) > 1 { // what only looks needs no lock
		p.held = held(p.Scope, *s.Held, s.At)
		f := Finding{Severity: Block, Code: "locked", Text: p.held.What, Remedy: strings.Join(p.held.Next, "; ")}
		if steal := s.Request.Steal; steal != "" {
			h := s.Held.Holder
			f = Finding{Severity: Warn, Code: f.Code, Text: fmt.Sprintf("the lock is taken from %s on %s, who is at work: %s", h.User, h.Host, Printable(steal))}
		}
		worse := 0
		for worse < len(p.Findings) && p.Findings[worse].Severity.rank() < f.Severity.rank() {
			worse++
		}
		p.Findings = slices.Insert(slices.Clone(p.Findings), worse, f)
	}
	for _, f := range p.Findings {
		if f.Severity != Block {
			continue
		}
		if slices.Contains(s.Request.Accept, f.Code) && acceptable(f.Code) {
			if !slices.Contains(p.Accepted, f.Code) {
				p.Accepted = append(p.Accepted, f.Code)
			}
			continue
		}
		p.Verdict = Unsafe
		p.Reasons = append(p.Reasons, f.Text)
	}
	return p
}

// stamp is the restart stamp.
func (p *Plan) stamp() string { return cmp.Or(p.Stamp, p.ID) }

func (p *Plan) refs() []Ref {
	var list []Ref
	for _, w := range p.Workloads {
		list = append(list, w.Ref)
	}
	return list
}

// strayed are pods that the rollback to be continued has restarted, and that run something else than its target: the tag
// was moved away meanwhile. Their stamp says "done", and it is not.
func (s *Survey) strayed() []string {
	if s.Resume == nil {
		return nil
	}
	var names []string
	for _, p := range s.Inventory.Pods {
		if !p.Live() || p.Stamp != s.Resume.Stamp {
			continue
		}
		for _, d := range s.reported(p) {
			if !s.TargetSet[d] {
				names = append(names, p.Name)
				break
			}
		}
	}
	return names
}

// acceptable tells whether a person may take responsibility for a blocking finding. Some are not a matter of judgement:
// the act would fail, or touch something else than was configured.
func acceptable(code string) bool {
	switch code {
	case "locked", "account", "tag-immutable", "target-archived", "target-gone", "no-workload", "no-forge", "no-range", "not-on-branch", "reverted-already", "no-right", "builds-unread":
		return false
	}
	return true
}

// Acceptable tells whether --accept CODE lets a plan with this finding run.
func (f Finding) Acceptable() bool { return f.Severity == Block && acceptable(f.Code) }

func (s *Survey) side(i Image) Side {
	side := Side{Image: i, Commit: i.Commit()}
	changes := map[Commit]*Change{}
	for n := range s.Changes {
		changes[s.Changes[n].Commit] = &s.Changes[n]
	}
	side.Change = changeFor(changes, side.Commit)
	return side
}

// undoes lists what lies between target and current: by commits where the forge told them, else by images where the
// repository was listed.
func (s *Survey) undoes() ([]UndoneVersion, string) {
	if list := s.undoneByForge(); len(list) > 0 {
		return list, ""
	}
	if s.Target.Digest == "" || s.Target.Digest == s.Current.Digest || s.Request.Act == ActUndo {
		return nil, "" // an undo takes nothing away: what it brings back is in the record
	}
	from, until, to := s.Current.Commit(), s.Current.Time(), s.Target.Commit()
	if r := s.Resume; r != nil && r.Method == MethodRevert && r.From.Commit != "" { // what runs may be its own build by now
		from, until = r.From.Commit, r.From.PushedAt
	}
	if len(s.Changes) > 0 && from != "" && to != "" {
		begin, end := -1, -1
		for i, c := range s.Changes {
			if begin < 0 && samePrefix(c.Commit, from) {
				begin = i
			}
			if end < 0 && samePrefix(c.Commit, to) {
				end = i
			}
		}
		if begin >= 0 && end > begin {
			var list []UndoneVersion
			for _, c := range s.Changes[begin:end] {
				list = append(list, UndoneVersion{Commit: c.Commit, Change: &c})
			}
			return list, ""
		}
	}
	if len(s.Candidates) > 0 && !s.Target.Time().IsZero() && !until.IsZero() {
		var list []UndoneVersion
		for _, c := range s.Candidates {
			if t := c.Image.Time(); t.After(s.Target.Time()) && !t.After(until) && c.Commit != "" {
				list = append(list, UndoneVersion{Commit: c.Commit, Digest: c.Image.Digest, PushedAt: c.Image.PushedAt, Change: c.Change})
			}
		}
		return list, ""
	}
	return nil, "what lies between is not known: the commits were not read"
}

func samePrefix(a, b Commit) bool {
	return strings.HasPrefix(string(a), string(b)) || strings.HasPrefix(string(b), string(a))
}

// proven tells whether production already is what the plan wants: the tag, and every pod of every workload.
func (s *Survey) proven() bool {
	if s.Target.Digest == "" || s.TagNow.Digest != s.Target.Digest || len(s.Running) == 0 {
		return false
	}
	for _, r := range s.Running {
		if !s.TargetSet[r.Reported] {
			return false
		}
	}
	return true
}

// steps is the runbook. The slice that is printed is the slice that runs.
func (p *Plan) steps(s *Survey) []Step {
	image := s.Place.Repository + ":" + p.Tag
	target := describe(p.Target.Image)
	var names []string
	for _, w := range p.Workloads {
		names = append(names, w.Ref.String())
	}
	who := strings.Join(names, ", ")
	var kept []string
	for _, d := range outgoing(s) {
		kept = append(kept, fmt.Sprintf("%s as :%s", d.Short(), KeepTag(d)))
	}
	claim := Step{StepClaim, fmt.Sprintf("lock %s and write down what will be done (ConfigMap rollback-%s in %s)", p.Scope, p.Scope.Service, p.Namespace)}
	keep := Step{StepKeep, "keep the outgoing image " + strings.Join(kept, ", ")}
	retag := Step{StepRetag, fmt.Sprintf("point %s at %s", image, target)}
	restart := Step{StepRestart, "restart " + who}
	if len(names) == 0 {
		restart.Text = "restart: nothing pulls " + image
	}
	rollout := Step{StepRollout, "wait until the new pods serve"}
	verify := Step{StepVerify, fmt.Sprintf("prove that every pod runs %s", p.Target.Digest.Short())}
	record := Step{StepRecord, "record the outcome and release the lock"}
	if len(kept) == 0 {
		keep.Text = "keep the outgoing image: nothing to keep"
	}
	rng, _ := s.undoing()
	switch p.Act {
	case ActVerify:
		return []Step{verify}
	case ActRetag:
		record.Text = "record that the tag has moved, release the lock"
		return []Step{claim, keep, retag, record}
	case ActRestart:
		record.Text = "release the lock"
		return []Step{claim, restart, rollout, record}
	}
	nothing := p.Method == MethodRevert && s.Target.Digest == s.Current.Digest // to undo
	if s.Resume == nil && (s.proven() || nothing) {
		if p.Act == ActUndo { // nothing to move, but the record still says that the rollback stands
			return []Step{claim, verify, record}
		}
		return []Step{verify}
	}
	if p.Method == MethodRevert {
		f := s.Place.Followed
		merge := Step{StepMerge, "wait for its merge"}
		if f.AutoMerge {
			merge.Text = "merge it as soon as nothing stands in its way"
		}
		steps := []Step{claim, {StepRevert, fmt.Sprintf("open the pull request that undoes %s in %s", rng, f.Repo)}, merge}
		if s.hasBuilds {
			steps = append(steps, Step{StepBuild, fmt.Sprintf("follow the build of that merge commit in job %s", f.Job)})
		}
		rollout.Text, verify.Text = "wait until the pods run that image", "prove that every pod runs it"
		return append(steps, Step{StepImage, "find the image of that merge commit"}, rollout, verify, record)
	}
	if s.owes {
		f := Step{StepFollowUp, fmt.Sprintf("open the pull request that undoes %s in %s, while the pods start", rng, s.Place.Followed.Repo)}
		return []Step{claim, keep, retag, restart, f, rollout, verify, record}
	}
	return []Step{claim, keep, retag, restart, rollout, verify, record}
}

// Does tells whether the plan has a step of that name.
func (p *Plan) Does(step string) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Name == step })
}

// outgoing are the images that must survive the move of the tag: what it names, and what the pods run.
func outgoing(s *Survey) []Digest {
	var list []Digest
	add := func(d Digest) {
		if d != "" && d != s.Target.Digest && !slices.Contains(list, d) && s.Manifests[d].Bytes != nil {
			list = append(list, d)
		}
	}
	add(s.TagNow.Digest)
	add(s.Current.Digest)
	if s.Resume != nil {
		add(s.Resume.TagWas)
		add(s.Resume.From.Digest)
	}
	if s.Abandoned != nil {
		add(s.Abandoned.From.Digest)
	}
	return list
}

func (s *Survey) basis() Basis {
	b := Basis{TagDigest: s.TagNow.Digest, Registry: s.Repository.Host + "/" + s.Repository.Name, Cluster: s.Cluster.Server, Namespace: s.Place.Namespace}
	if s.Cluster.UID != "" {
		b.Cluster = s.Cluster.UID
	}
	for _, r := range s.Running {
		b.Running = append(b.Running, r.Reported)
	}
	slices.Sort(b.Running)
	for _, w := range s.Affected {
		line := w.Ref.String()
		for _, c := range w.Containers {
			if _, ok := s.uses(c); ok {
				line += " " + c.Name + "=" + c.Image
			}
		}
		b.Workloads = append(b.Workloads, line)
	}
	slices.Sort(b.Workloads)
	if s.Record.Last != nil {
		b.Record = s.Record.Last.ID + " " + string(s.Record.Last.State)
	}
	return b
}

// Moved tells how the world differs from what a saved plan rests on, "" for each thing that is the same.
func (b Basis) Moved(now Basis) []string {
	var list []string
	differ := func(what string, was, is any) {
		if fmt.Sprint(was) != fmt.Sprint(is) {
			list = append(list, fmt.Sprintf("%s: was %v, is %v", what, was, is))
		}
	}
	differ("moving tag", b.TagDigest, now.TagDigest)
	differ("running images", b.Running, now.Running)
	differ("workloads", b.Workloads, now.Workloads)
	differ("last rollback", b.Record, now.Record)
	differ("registry", b.Registry, now.Registry)
	differ("cluster", b.Cluster, now.Cluster)
	differ("namespace", b.Namespace, now.Namespace)
	return list
}

// Refusal is the error of an unsafe plan, nil for a safe one.
func (p *Plan) Refusal() error {
	if p.Verdict == Safe {
		return nil
	}
	if p.held != nil && len(p.Reasons) == 1 { // one that nothing but the lock speaks against
		return p.held
	}
	e := &Error{Exit: Refused, What: "the plan is unsafe: " + strings.Join(p.Reasons, "; "), Production: NotChanged}
	for _, f := range p.Findings {
		if f.Severity != Block || slices.Contains(p.Accepted, f.Code) {
			continue
		}
		if f.Remedy != "" {
			e.Next = append(e.Next, f.Remedy)
		}
		if f.Acceptable() {
			e.Next = append(e.Next, fmt.Sprintf("to go on all the same, on your word: --accept %s", f.Code))
		}
	}
	return e
}
