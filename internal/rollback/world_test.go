package rollback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is every outside system in memory: a registry, a cluster whose pods turn over one step with every look, and a store
// of records with compare-and-swap. Processes (runs of the program) reach it through ports of their own, so that one can be
// killed or cut off at any call while the world goes on.
type world struct {
	mu sync.Mutex

	repo   Repository
	images map[Digest]*stored
	tags   map[string]Digest
	pages  int  // size of a page of the listing
	plain  bool // the registry is not ECR: it tells an image's time and other tags in the listing alone, and no push time

	place     Place
	identity  ClusterIdentity
	workloads []*deployed
	extra     Inventory // bystanders, their pods, configurations
	behaviour map[Digest]behaviour
	report    func(w *world, d Digest) Digest // what a node says it runs
	quota     string
	lacks     func(Right) bool      // nil for somebody who may do everything
	resolve   func(d Digest) Digest // a node's stale mirror, say

	record  []byte
	version int

	forge *forge // nil: there is none

	processes int
	latency   time.Duration
	slow      map[string]time.Duration // besides the latency, by operation
	// before is called, with the world locked, at every call that gets through, before it is done.
	before func(p *process, op string)
	after  func(p *process, op string)
}

type stored struct {
	manifest Manifest
	pushed   time.Time
	status   ImageStatus
}

type behaviour int

const (
	healthy behaviour = iota
	crashes
	neverReady
	pullFails
	unplaceable
	unmakeable
	losesNode
)

// deployed is a workload with its pods and what was asked of it.
type deployed struct {
	Workload
	pods     []*Pod
	at       time.Time
	changes  int // distinct changes of the template
	nextName int
	scaled   func(step int) // called at each step
	steps    int
	stay     []Pod // were to go, and their nodes do not end them
}

const repository = "payments"

var epoch = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// newWorld is a service with four versions, pushed a day apart; the newest is deployed, on one Deployment with three pods.
// The commits are aaaa… (oldest) to dddd….
func newWorld() *world {
	w := &world{
		repo: Repository{Kind: "ecr", Host: "123456789012.dkr.ecr.eu-west-1.amazonaws.com", Name: repository, Account: "123456789012",
			Region: "eu-west-1", Caller: "arn:aws:iam::123456789012:role/deploy", CallerAccount: "123456789012"},
		images: map[Digest]*stored{}, tags: map[string]Digest{}, pages: 100,
		place:    Place{Repository: repository, Tag: "latest", Namespace: "prod", Account: "123456789012"},
		identity: ClusterIdentity{Context: "prod", Server: "https://prod.example.com", UID: "uid-of-kube-system", User: "deploy"},
		extra:    Inventory{Namespace: "prod"}, behaviour: map[Digest]behaviour{},
		report: func(_ *world, d Digest) Digest { return d },
	}
	for i, c := range "abcd" {
		w.push(commitOf(c), time.Now().Add(-time.Duration(4-i)*24*time.Hour))
	}
	w.tags["latest"] = w.tags[commitOf('d')]
	w.deploy("Deployment", "payments", 3)
	return w
}

func commitOf(c rune) string { return strings.Repeat(string(c), 40) }

// blob is a manifest of one platform whose content is its name.
func blob(name string) Manifest {
	b := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q},"layers":[]}`, OCIManifest, DigestOf([]byte("config of "+name))))
	return Manifest{Digest: DigestOf(b), MediaType: OCIManifest, Bytes: b}
}

// push puts a single-platform image into the registry.
func (w *world) push(tag string, at time.Time) Digest { return w.put(blob(tag), tag, at) }

func (w *world) put(m Manifest, tag string, at time.Time) Digest {
	w.images[m.Digest] = &stored{manifest: m, pushed: at}
	if tag != "" {
		w.tags[tag] = m.Digest
	}
	return m.Digest
}

// pushIndex puts a multi-arch image into the registry: an index over two platforms.
func (w *world) pushIndex(tag string, at time.Time) (index, platform, config Digest) {
	amd, arm := blob(tag+" amd64"), blob(tag+" arm64")
	w.put(amd, "", at)
	w.put(arm, "", at)
	b := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"digest":%q},{"digest":%q}]}`, OCIIndex, amd.Digest, arm.Digest))
	m := Manifest{Digest: DigestOf(b), MediaType: OCIIndex, Bytes: b}
	w.put(m, tag, at)
	return m.Digest, amd.Digest, DigestOf([]byte("config of " + tag + " amd64"))
}

// deploy makes a workload that pulls the moving tag, with its pods up.
func (w *world) deploy(kind, name string, replicas int) *deployed {
	d := &deployed{Workload: Workload{
		Ref: Ref{kind, w.place.Namespace, name}, Strategy: RollingUpdate,
		Containers: []Container{{Name: "app", Role: Main, Image: w.ref(w.place.Tag), PullPolicy: "Always"}},
		Rollout:    Rollout{Generation: 1, ObservedGeneration: 1, Desired: replicas, CurrentRevision: "1", UpdateRevision: "1"},
	}}
	w.workloads = append(w.workloads, d)
	for range replicas {
		w.makePod(d)
	}
	for _, p := range d.pods {
		w.start(d, p)
	}
	return d
}

func (w *world) ref(tag string) string { return w.repo.Host + "/" + repository + ":" + tag }

func (w *world) makePod(d *deployed) *Pod {
	d.nextName++
	p := &Pod{Namespace: d.Ref.Namespace, Name: fmt.Sprintf("%s-%d", d.Ref.Name, d.nextName), UID: fmt.Sprintf("uid-%s-%d", d.Ref.Name, d.nextName),
		Owner: d.Ref, Created: time.Now(), Stamp: d.Stamp, Phase: "Pending"}
	for _, c := range d.Containers {
		p.Containers = append(p.Containers, PodContainer{Container: c, Waiting: "ContainerCreating", LastExit: -1})
	}
	d.pods = append(d.pods, p)
	return p
}

// start brings a pod up, or into the state its image leads to. The tag is resolved now.
func (w *world) start(d *deployed, p *Pod) {
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Digest != "" { // up or not, it keeps the image it was started with
			p.Ready = w.behaviour[c.Digest] == healthy
			continue
		}
		if c.Waiting == "ImagePullBackOff" {
			continue
		}
		ref, err := ParseReference(c.Image)
		if err != nil {
			continue
		}
		digest := ref.Digest
		if digest == "" {
			digest = w.tags[ref.Tag]
		}
		if ref.Repository != repository {
			digest = DigestOf([]byte(c.Image))
		}
		if w.resolve != nil {
			digest = w.resolve(digest)
		}
		switch b := w.behaviour[digest]; b {
		case unplaceable:
			p.Unschedulable = "0/3 nodes are available: insufficient memory"
			return
		case unmakeable:
			p.Unmade, p.Node = true, "node-b"
			return
		case pullFails:
			c.Waiting, c.Message = "ImagePullBackOff", "Back-off pulling image"
			return
		case crashes:
			c.Waiting, c.Message, c.Restarts, c.LastExit = "CrashLoopBackOff", "back-off 10s restarting failed container", 2, 1
		default:
			c.Waiting = ""
		}
		c.Digest = w.report(w, digest)
		c.ImageID = w.repo.Host + "/" + repository + "@" + string(c.Digest)
		p.Phase = "Running"
		p.Ready = w.behaviour[digest] == healthy
		p.Lost, p.Node = w.behaviour[digest] == losesNode, "node-b"
		if p.Ready {
			p.ReadySince = time.Now()
		}
	}
}

// step lets the controllers do one thing: see the change, start what was made, replace one pod.
func (w *world) step(d *deployed) {
	d.steps++
	if d.scaled != nil {
		d.scaled(d.steps)
	}
	defer w.count(d)
	r := &d.Rollout
	if r.ObservedGeneration < r.Generation {
		r.ObservedGeneration = r.Generation
		return
	}
	waiting := false
	for _, p := range d.pods {
		if p.Stamp == d.Stamp && !p.Ready {
			w.start(d, p)
			waiting = waiting || !p.Ready
		}
	}
	if waiting {
		return
	}
	fresh, old := 0, -1
	for i, p := range d.pods {
		if p.Stamp == d.Stamp {
			fresh++
		} else if old < 0 {
			old = i
		}
	}
	switch {
	case old >= 0 && len(d.pods) > r.Desired:
		d.pods = slices.Delete(d.pods, old, old+1)
	case fresh < r.Desired:
		if r.Failure = w.quota; w.quota == "" {
			w.makePod(d)
		}
	case len(d.pods) > r.Desired:
		d.pods = slices.Delete(d.pods, 0, 1)
	}
}

func (w *world) count(d *deployed) {
	r := &d.Rollout
	r.Total, r.Updated, r.Ready, r.Available = len(d.pods), 0, 0, 0
	for _, p := range d.pods {
		if p.Stamp == d.Stamp {
			r.Updated++
		}
		if p.Ready {
			r.Ready++
			r.Available++
		}
	}
	r.UpdateRevision = d.Stamp
	if r.Updated == r.Desired && r.Ready == r.Desired && r.Total == r.Desired {
		r.CurrentRevision = d.Stamp
	}
}

func (w *world) image(d Digest) Image {
	s := w.images[d]
	i := Image{Digest: d, MediaType: s.manifest.MediaType, Status: s.status, PushedAt: s.pushed}
	for t, to := range w.tags {
		if to == d {
			i.Tags = append(i.Tags, t)
		}
	}
	slices.Sort(i.Tags)
	return i
}

// lookup is the digest a tag or digest leads to, "" if there is none.
func (w *world) lookup(ref string) Digest {
	d := Digest(ref)
	if !digestForm.MatchString(ref) {
		d = w.tags[ref]
	}
	if _, ok := w.images[d]; !ok {
		return ""
	}
	return d
}

func (w *world) stored() Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.decode()
}

func (w *world) decode() Record {
	var r Record
	if w.record == nil {
		return Record{SchemaVersion: RecordVersion, Scope: scope}
	}
	if err := json.Unmarshal(w.record, &r); err != nil {
		panic(err)
	}
	return r
}

// edit changes the stored record as somebody else would.
func (w *world) edit(change func(*Record)) {
	r := w.decode()
	change(&r)
	w.store(r)
}

func (w *world) store(r Record) {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	w.record = b
	w.version++
}

// running counts what the pods report.
func (w *world) running() map[Digest]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := map[Digest]int{}
	for _, d := range w.workloads {
		for _, p := range d.pods {
			m[p.Containers[0].Digest]++
		}
	}
	return m
}

// state is what must be the same at the end, however often it was interrupted.
func (w *world) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, t := range slices.Sorted(func(yield func(string) bool) {
		for t := range w.tags {
			if !yield(t) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "tag %s %s\n", t, w.tags[t].Short())
	}
	for _, d := range w.workloads {
		fmt.Fprintf(&b, "%s changed %d times:", d.Ref, d.changes)
		for _, p := range d.pods {
			fmt.Fprintf(&b, " %s(ready %t, stamped %t)", p.Containers[0].Digest.Short(), p.Ready, p.Stamp != "")
		}
		b.WriteString("\n")
	}
	r := w.decode()
	if e := r.Last; e != nil {
		fmt.Fprintf(&b, "last %s %s from %s to %s was %s kept %v of %d workloads by %s: %s\n", e.Kind, e.State, e.From.Digest.Short(), e.To.Digest.Short(), e.TagWas.Short(), e.Kept, len(e.Workloads), e.By.User, e.Reason)
	}
	for _, h := range r.History {
		fmt.Fprintf(&b, "history %s %s from %s to %s\n", h.Kind, h.State, h.From.Short(), h.To.Short())
	}
	fmt.Fprintf(&b, "locked %t\n", r.Lock != nil)
	if w.forge != nil {
		w.forge.state(&b, r)
	}
	return b.String()
}

// touched is what "production" means: the moving tag and the templates.
func (w *world) touched() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := string(w.tags[w.place.Tag])
	for _, d := range w.workloads {
		s += " " + d.Stamp
	}
	return s
}

// fault is what happens at one call of a process.
type fault struct {
	call int    // number of the call, from 1; 0 for any
	op   string // prefix of the operation; "" for any
	do   faultKind
	kind CallKind      // of a refusal
	wait time.Duration // that it asks for, or for which the process is frozen
	// times is how often it happens (0: once; -1: always).
	times int
	fired int
}

type faultKind int

const (
	refuse     faultKind = iota // not done, an error of the given kind
	lose                        // done, but the answer is lost
	lostBefore                  // not done, but who asks cannot know
	hang                        // no answer, until the adapter or the caller gives up
	killBefore
	killAfter
	signal     // the call is done; meanwhile the process is told to stop
	hangSignal // no answer, and after a second the process is told to stop
	freeze     // from here on nothing of the process goes on for a while, as on a laptop that sleeps
)

func (k faultKind) String() string {
	return [...]string{"refused ", "answer lost", "request lost", "hangs", "killed before", "killed after", "signal", "hangs until a signal", "freezes"}[k]
}

// process is one run of the program.
type process struct {
	w        *world
	by       Actor
	n        int
	calls    []called
	faults   []*fault
	dead     bool
	stop     context.CancelCauseFunc
	journal  []Event
	notes    []string
	progress []Progress
	steps    []StepState
	limits   Limits
	watcher  Watcher
	// knowsDead tells whether a dead process is recognised at once.
	knowsDead bool
	ended     map[string]bool
	noRecord  bool
	plan      *Plan
	survey    *Survey
	stopped   time.Time // when a signal arrived
	thaws     time.Time // until then it is frozen
	lasted    time.Time // when it ended
	id        string    // of the plan
}

// callTimeout is how long an adapter waits for one answer.
const callTimeout = 10 * time.Second

type called struct {
	op string
	at time.Time
}

var scope = Scope{"payments", "prod"}

func (w *world) process(user string) *process {
	w.processes++
	return &process{w: w, by: Actor{User: user, Host: user + "-laptop", Process: fmt.Sprintf("%s-laptop/1/%d", user, w.processes)},
		limits: Limits{Rollout: 10 * time.Minute, Settle: 10 * time.Second, Poll: 2 * time.Second, Retry: time.Second},
		ended:  map[string]bool{}}
}

// call is every outside call: counted, delayed, and perhaps the one at which something happens.
func (p *process) call(ctx context.Context, op string, write bool, do func() error) error {
	w := p.w
	w.mu.Lock()
	lost := &CallError{System: "world", Op: op, Kind: Unreachable, Err: errors.New("connection reset")}
	if p.dead {
		w.mu.Unlock()
		return lost
	}
	p.n++
	p.calls = append(p.calls, called{op, time.Now()})
	var f *fault
	for _, c := range p.faults {
		if (c.call == 0 || c.call == p.n) && strings.HasPrefix(op, c.op) && (c.times < 0 || c.fired <= max(c.times-1, 0)) {
			f = c
			f.fired++
			break
		}
	}
	if f != nil && f.do == freeze {
		p.thaws = time.Now().Add(f.wait)
	}
	frozen := time.Until(p.thaws)
	d := w.latency + w.slow[op]
	w.mu.Unlock()
	time.Sleep(frozen)
	if d > 0 && !pause(ctx, d) {
		return lost
	}
	if f != nil && (f.do == hang || f.do == hangSignal) {
		if f.do == hangSignal && pause(ctx, time.Second) {
			w.mu.Lock()
			p.stopped = time.Now()
			w.mu.Unlock()
			p.stop(ErrInterrupted)
		}
		pause(ctx, callTimeout)
		lost.Maybe, lost.Err = write, fmt.Errorf("timed out: %w", context.DeadlineExceeded)
		return lost
	}
	if err := ctx.Err(); err != nil {
		lost.Err = err
		return lost
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return lost
	}
	if w.forge != nil {
		w.forge.advance()
	}
	if w.before != nil {
		w.before(p, op)
	}
	if w.after != nil {
		defer w.after(p, op)
	}
	if f == nil {
		return do()
	}
	switch f.do {
	case refuse:
		return &CallError{System: "world", Op: op, Kind: f.kind, RetryAfter: f.wait, Err: errors.New("refused by the test")}
	case lose:
		if err := do(); err != nil {
			return err
		}
		lost.Maybe = write
		return lost
	case lostBefore:
		lost.Maybe = write
		return lost
	case killBefore:
		p.die()
		return lost
	case killAfter:
		_ = do()
		p.die()
		return lost
	case signal:
		p.stopped = time.Now()
		p.stop(ErrInterrupted)
	}
	return do()
}

// die ends the process as SIGKILL does: nothing it does from now on has any effect.
func (p *process) die() {
	p.dead = true
	p.stop(errors.New("killed"))
}

func (p *process) world() World {
	w := World{Registry: registryPort{p}, Lister: registryPort{p}, Cluster: clusterPort{p}, Diagnoser: clusterPort{p}, Rights: clusterPort{p}, Records: recordPort{p}, Watcher: p.watcher, Place: p.w.place,
		Dead: func(process string) bool { return p.knowsDead && p.ended[process] }}
	if p.noRecord {
		w.Records = nil
	}
	if p.w.forge != nil {
		p.w.forge.ports(p, &w)
	}
	return w
}

// run is what a command does: survey, plan, refusal, run.
func (p *process) run(req Request) (*Result, error) {
	if p.by.Process != "" {
		req.By = p.by
	}
	if req.Scope == (Scope{}) {
		req.Scope = scope
	}
	if req.Method == "" {
		req.Method = "retag"
	}
	if req.Reason == "" {
		req.Reason = "errors"
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	p.stop = stop
	defer func() { p.lasted = time.Now() }()
	now := time.Now()
	survey, err := Look(ctx, p.world(), req, now)
	if err != nil {
		return nil, err
	}
	id := p.id
	if id == "" {
		id = NewID(now)
	}
	plan := Draw(survey, id)
	p.survey, p.plan = survey, plan
	if err := plan.Refusal(); err != nil {
		return nil, err
	}
	return p.runner().Run(ctx, survey, plan)
}

func (p *process) runner() Runner {
	return Runner{World: p.world(), Journal: journalPort{p}, Report: p, Limits: p.limits}
}

// Step, Progress and Note make the process its own Reporter.
func (p *process) Step(_ Step, st StepState) {
	if st.Outcome != StepStarted {
		p.steps = append(p.steps, st)
	}
}
func (p *process) Progress(list []Progress) { p.progress = append(p.progress, list...) }
func (p *process) Note(text string)         { p.notes = append(p.notes, text) }

type journalPort struct{ p *process }

func (j journalPort) Log(e Event) error {
	j.p.w.mu.Lock()
	if j.p.dead {
		j.p.w.mu.Unlock()
		return errors.New("dead")
	}
	j.p.w.mu.Unlock()
	return j.p.call(context.Background(), "journal "+e.Type+" "+e.Step, true, func() error {
		j.p.journal = append(j.p.journal, e)
		return nil
	})
}

type registryPort struct{ p *process }

func (r registryPort) Repository(ctx context.Context, name string) (out Repository, err error) {
	err = r.p.call(ctx, "Repository", false, func() error {
		if name != repository {
			return &CallError{System: "registry", Op: "Repository " + name, Kind: NotFound}
		}
		out = r.p.w.repo
		return nil
	})
	return out, err
}

func (r registryPort) Images(ctx context.Context, _ string, refs ...string) (out []Image, err error) {
	err = r.p.call(ctx, "Images "+strings.Join(refs, " "), false, func() error {
		out = nil
		seen := map[Digest]bool{}
		for _, ref := range refs {
			if d := r.p.w.lookup(ref); d != "" && !seen[d] {
				seen[d] = true
				i := r.p.w.image(d)
				if r.p.w.plain {
					i.PushedAt = time.Time{}
					i.Tags = slices.DeleteFunc(i.Tags, func(t string) bool { return !slices.Contains(refs, t) })
				}
				out = append(out, i)
			}
		}
		return nil
	})
	return out, err
}

func (r registryPort) Manifests(ctx context.Context, _ string, refs ...string) (out []Manifest, err error) {
	err = r.p.call(ctx, "Manifests "+strings.Join(refs, " "), false, func() error {
		out = nil
		for _, ref := range refs {
			if d := r.p.w.lookup(ref); d != "" {
				out = append(out, r.p.w.images[d].manifest)
			}
		}
		return nil
	})
	return out, err
}

func (r registryPort) Tag(ctx context.Context, _ string, m Manifest, tag string) (already bool, err error) {
	err = r.p.call(ctx, "Tag "+tag, true, func() error {
		w := r.p.w
		if err := m.Check(); err != nil {
			return err
		}
		if !ValidTag(tag) {
			return &CallError{System: "registry", Op: "Tag " + tag, Kind: Rejected}
		}
		if _, ok := w.images[m.Digest]; !ok {
			return &CallError{System: "registry", Op: "Tag " + tag, Kind: NotFound}
		}
		was, ok := w.tags[tag]
		if already = was == m.Digest; ok && !already && !w.repo.Mutability.Movable(tag) {
			return &CallError{System: "registry", Op: "Tag " + tag, Kind: Immutable}
		}
		w.tags[tag] = m.Digest
		return nil
	})
	return already, err
}

func (r registryPort) List(ctx context.Context, _ string) iter.Seq2[[]Image, error] {
	return func(yield func([]Image, error) bool) {
		var all []Image
		r.p.w.mu.Lock()
		for d := range r.p.w.images {
			i := r.p.w.image(d)
			if r.p.w.plain {
				i.CreatedAt, i.PushedAt = i.PushedAt, time.Time{}
			}
			all = append(all, i)
		}
		size := r.p.w.pages
		r.p.w.mu.Unlock()
		slices.SortFunc(all, func(a, b Image) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		for page := range slices.Chunk(all, size) {
			if err := r.p.call(ctx, "List", false, func() error { return nil }); err != nil {
				yield(nil, err)
				return
			}
			if !yield(page, nil) {
				return
			}
		}
	}
}

type clusterPort struct{ p *process }

func (c clusterPort) Identity(ctx context.Context) (out ClusterIdentity, err error) {
	err = c.p.call(ctx, "Identity", false, func() error { out = c.p.w.identity; return nil })
	return out, err
}

func (c clusterPort) Inventory(ctx context.Context, namespace string) (out Inventory, err error) {
	err = c.p.call(ctx, "Inventory", false, func() error {
		w := c.p.w
		out = Inventory{Namespace: namespace, Configs: slices.Clone(w.extra.Configs), Unknown: w.extra.Unknown}
		for _, d := range w.workloads {
			w.count(d)
			out.Workloads = append(out.Workloads, d.Workload)
			for _, p := range d.pods {
				out.Pods = append(out.Pods, clone(p))
			}
		}
		out.Workloads = append(out.Workloads, w.extra.Workloads...)
		out.Pods = append(out.Pods, w.extra.Pods...)
		return nil
	})
	return out, err
}

func (c clusterPort) Missing(ctx context.Context, _ string, rights ...Right) (out []Right, err error) {
	err = c.p.call(ctx, "Missing", false, func() error {
		out = nil
		for _, r := range rights {
			if c.p.w.lacks != nil && c.p.w.lacks(r) {
				out = append(out, r)
			}
		}
		return nil
	})
	return out, err
}

func clone(p *Pod) Pod {
	c := *p
	c.Containers = slices.Clone(p.Containers)
	return c
}

func (w *world) find(ref Ref) *deployed {
	i := slices.IndexFunc(w.workloads, func(d *deployed) bool { return d.Ref == ref })
	if i < 0 {
		return nil
	}
	return w.workloads[i]
}

func (c clusterPort) Restart(ctx context.Context, ref Ref, stamp string, at time.Time) error {
	return c.p.call(ctx, "Restart "+ref.Name, true, func() error {
		d := c.p.w.find(ref)
		if d == nil {
			return &CallError{System: "kubernetes", Op: "PATCH " + ref.String(), Kind: NotFound}
		}
		if d.Stamp != stamp || !d.at.Equal(at) {
			d.Stamp, d.at = stamp, at
			d.changes++
			d.Rollout.Generation++
		}
		return nil
	})
}

func (c clusterPort) Observe(ctx context.Context, refs []Ref) (out []Observation, err error) {
	err = c.p.call(ctx, "Observe", false, func() error {
		out = nil
		for _, ref := range refs {
			d := c.p.w.find(ref)
			if d == nil {
				return &CallError{System: "kubernetes", Op: "GET " + ref.String(), Kind: NotFound}
			}
			c.p.w.step(d)
			o := Observation{Workload: d.Workload}
			for _, p := range d.pods {
				o.Pods = append(o.Pods, clone(p))
			}
			o.Pods = append(o.Pods, d.stay...)
			out = append(out, o)
		}
		return nil
	})
	return out, err
}

func (c clusterPort) Diagnose(ctx context.Context, _, pod, container string) (out Diagnosis, err error) {
	err = c.p.call(ctx, "Diagnose "+pod, false, func() error {
		out = Diagnosis{Events: []string{"BackOff: of " + pod}, Logs: []string{"panic: in " + container}}
		return nil
	})
	return out, err
}

func (c clusterPort) Events(ctx context.Context, w Ref) (out []string, err error) {
	err = c.p.call(ctx, "Events "+w.Name, false, func() error {
		out = []string{"FailedCreate: for " + w.Name}
		return nil
	})
	return out, err
}

type recordPort struct{ p *process }

func (r recordPort) Read(ctx context.Context, s Scope) (out Record, version string, err error) {
	err = r.p.call(ctx, "Read", false, func() error {
		out = r.p.w.decode()
		if version = ""; r.p.w.version > 0 {
			version = strconv.Itoa(r.p.w.version)
		}
		return nil
	})
	return out, version, err
}

func (r recordPort) Write(ctx context.Context, rec Record, version string) (next string, err error) {
	err = r.p.call(ctx, "Write", true, func() error {
		have := ""
		if r.p.w.version > 0 {
			have = strconv.Itoa(r.p.w.version)
		}
		if version != have {
			return &CallError{System: "kubernetes", Op: "update configmap", Kind: Conflict, Err: fmt.Errorf("version is %q, not %q", have, version)}
		}
		r.p.w.store(rec)
		next = strconv.Itoa(r.p.w.version)
		return nil
	})
	return next, err
}

func (r recordPort) ReadAll(ctx context.Context) ([]Record, error) {
	rec, _, err := r.Read(ctx, scope)
	return []Record{rec}, err
}

// exitIs fails the test if err does not stand for the exit code, with everything that helps to see why.
func exitIs(t *testing.T, err error, want Exit) {
	t.Helper()
	if got := ExitOf(err); got != want {
		t.Fatalf("exit %d (%v), want %d", got, err, want)
	}
}
