package rollback

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Place is where a scope lives, as the configuration says.
type Place struct {
	Repository string // in the registry
	Tag        string // the moving tag this environment pulls
	Namespace  string
	// Workloads, if set, are the only ones to restart, as "kind/name"; otherwise they are found by the image they use.
	Workloads []string
	// Account is the AWS account the registry must be in and Caller's account may differ from; "" is not compared.
	Account string
	// Followed says what becomes of the code.
	Followed Followed
	// Others are further environments that pull the same tag of the same repository.
	Others []Elsewhere
}

// Elsewhere is another environment that pulls the tag we are about to move.
type Elsewhere struct {
	Environment string
	Namespace   string
	Cluster     Cluster // nil when it could not be set up; Err says why
	Err         error
}

// World is every outside system a rollback talks to, through the ports.
type World struct {
	Registry  Registry
	Lister    Lister
	Cluster   Cluster
	Watcher   Watcher   // optional
	Diagnoser Diagnoser // optional
	Rights    Rights    // optional
	Records   Records   // nil with --no-record
	Commits   Commits   // optional
	// Reverter and PullRequests make and follow the revert; nil without a forge.
	Reverter     Reverter
	PullRequests PullRequests
	// Builds and Starter read and start the builds of the deploy job; nil without a CI system.
	Builds  Builds
	Starter BuildStarter
	// Dead tells whether a process, as Actor.Process names it, has provably ended; nil if nothing can tell.
	Dead  func(process string) bool
	Place Place
}

// Act is which part of a rollback a command does.
type Act string

const (
	ActRun     Act = "run"     // all of it
	ActRetag   Act = "retag"   // move the tag, no restart
	ActRestart Act = "restart" // restart and wait, no tag moved
	ActUndo    Act = "undo"    // back to the exact digest before the last rollback
	ActVerify  Act = "verify"  // prove the digests, reads only
	ActLook    Act = "look"    // status and candidates: no target
)

// Previous is the value of --to that asks for the best earlier image.
const Previous = "previous"

// Request is what a person asked for.
type Request struct {
	Scope  Scope
	Act    Act
	Method string // MethodRetag or MethodRevert
	// To is Previous, a digest, a commit or a tag. It is not used by undo and restart.
	To     string
	Reason string
	By     Actor
	// Accept are the codes of blocking findings that the person takes responsibility for.
	Accept []string
	// Steal is the reason for taking the lock from its holder, "" to respect it.
	Steal string
	// List asks for the whole list of candidates even where the target does not need it.
	List bool
	// Dry says that the plan is only shown: who looks at it need not be who runs it, so a missing right is no reason to block.
	Dry bool
}

// Serving is one digest that pods report, with how many run it.
type Serving struct {
	Reported Digest `json:"reported"` // as the node says
	Image    Digest `json:"image"`    // the image it belongs to; same as Reported when no index is known to lead to it
	Commit   Commit `json:"commit,omitempty"`
	Pods     int    `json:"pods"`
	Ready    int    `json:"ready"`
}

// Survey is everything that was read, at one moment, and what it means. Nothing has been touched.
type Survey struct {
	At         time.Time
	Request    Request
	Place      Place
	Repository Repository
	Cluster    ClusterIdentity
	Inventory  Inventory
	Record     Record
	// Version is the record's version, for the compare-and-swap that claims it.
	Version string
	Changes []Change

	// TagNow is what the moving tag names; its digest is "" when the tag does not exist.
	TagNow Image
	// Affected are the workloads that pull the moving tag and can be restarted.
	Affected []Workload
	// Bystanders use the repository but are not restarted: Jobs, CronJobs, pinned workloads.
	Bystanders []Workload
	// Running is what the pods of the affected workloads run, most pods first.
	Running []Serving
	// Current is what production runs: what the moving tag names if any pod runs it, else what most pods run.
	Current Image
	// Target is what production must run; its digest is "" when none was asked for.
	Target Image
	// Why says how the target was chosen.
	Why string
	// Evidence is what is known of the target's past.
	Evidence []string
	// TargetSet is every digest a node may report for the target.
	TargetSet DigestSet
	// Manifests are those of the target, of what the tag names and of the current image.
	Manifests map[Digest]Manifest
	// Candidates is filled when the repository was listed.
	Candidates []Candidate
	// Resume is the unfinished rollback that this one goes on with; nil for a new one.
	Resume *Entry
	// Abandoned is an unfinished rollback that this one does not go on with; nil if there is none.
	Abandoned *Entry
	// Held is the lock that somebody else holds at this moment; nil if it is free for who asks.
	Held *Lock

	// Revert is what the forge says about undoing the code, nil if it was not asked; RevertErr is why it could not say.
	Revert    *RevertResult
	RevertErr error
	// Pulls are the pull requests that the record's debts name, as the forge tells them; those that it did not tell are left
	// out.
	Pulls map[int]PullRequest
	// Builds are the builds of the deploy job that are queued or running.
	Builds    []Build
	buildsErr error
	// missing are rights that the act needs and we do not have; rightsErr is why that could not be told.
	missing   []Right
	rightsErr error
	// hasBuilds says that there is a CI system to ask about the deploy job, owes that the run opens a revert.
	hasBuilds, owes bool
	// forgeSilent is why the commits are not known, where the forge let us wait in vain.
	forgeSilent error

	Findings []Finding

	foreseen Range // of which Revert and RevertErr tell
	owedErr  error // why the pull requests of the debts are not known
	// due is what dues found, once the target is known: a rollback by revert aims at another image later.
	due *dues

	// seen is every image described so far, by digest.
	seen map[Digest]Image
	// all are the repository's images, nil when it was not read to its end.
	all []Image
}

// countLimit bounds what is read of a repository for the sake of a lifecycle rule that counts images: one page. A rule
// that keeps N leaves about N, so a repository with such a rule is rarely larger.
const countLimit = 1000

// asideLimit is how long a survey waits for what the image part of a rollback can do without: commits, builds, what the
// revert would be.
const asideLimit = 10 * time.Second

// Look surveys the world for a request: reads only, in waves of calls that do not depend on each other.
func Look(ctx context.Context, w World, req Request, now time.Time) (*Survey, error) {
	s := &Survey{
		At: now, Request: req, Place: w.Place,
		Manifests: map[Digest]Manifest{}, seen: map[Digest]Image{}, TargetSet: DigestSet{},
	}
	if err := req.Scope.Validate(); err != nil {
		return nil, &Error{Exit: Usage, Err: err, Production: NotChanged}
	}
	if c, err := ParseCommit(req.To); err == nil {
		req.To = string(c) // commits are the same in either case
		s.Request.To = req.To
	}
	if to := req.To; to != "" && to != Previous && !digestForm.MatchString(to) && !ValidTag(to) {
		return nil, UsageErrorf("--to %q: want %q, a commit (7 to 40 hex digits), a tag or a digest (sha256: and 64 hex digits)", to, Previous)
	}
	named := w.namedRefs(req)
	s.hasBuilds = w.Builds != nil && w.Place.Followed.Job != ""
	wantsList := req.List || req.To == Previous && (req.Act == ActRun || req.Act == ActRetag)

	var (
		images    []Image
		manifests []Manifest
		listed    []Image
		elsewhere = make([]Inventory, len(w.Place.Others))
		elseErrs  = make([]error, len(w.Place.Others))
	)
	calls := []func(context.Context) error{
		func(ctx context.Context) (err error) {
			s.Repository, err = w.Registry.Repository(ctx, w.Place.Repository)
			return err
		},
		func(ctx context.Context) (err error) {
			images, err = w.Registry.Images(ctx, w.Place.Repository, named...)
			return err
		},
		func(ctx context.Context) (err error) {
			manifests, err = w.Registry.Manifests(ctx, w.Place.Repository, named...)
			return err
		},
		func(ctx context.Context) (err error) { s.Cluster, err = w.Cluster.Identity(ctx); return err },
		func(ctx context.Context) (err error) {
			s.Inventory, err = w.Cluster.Inventory(ctx, w.Place.Namespace)
			return err
		},
		func(ctx context.Context) (err error) {
			if w.Records == nil {
				s.Record = Record{SchemaVersion: RecordVersion, Scope: req.Scope}
				return nil
			}
			s.Record, s.Version, err = w.Records.Read(ctx, req.Scope)
			return err
		},
	}
	list := func(ctx context.Context) error {
		for page, err := range w.Lister.List(ctx, w.Place.Repository) {
			if err != nil {
				return err
			}
			listed = append(listed, page...)
		}
		return nil
	}
	// Where the commits are known, images are asked for by commit: that costs the same for any size of repository.
	byCommit := wantsList && !req.List && w.Commits != nil
	if wantsList && !byCommit {
		calls = append(calls, list)
	}
	if w.Commits != nil {
		calls = append(calls, func(ctx context.Context) error {
			brief, cancel := context.WithTimeout(ctx, asideLimit)
			defer cancel()
			var err error
			if s.Changes, err = w.Commits.Recent(brief); err != nil && ctx.Err() == nil {
				s.find(Info, "commits-unread", "commits could not be read: "+err.Error(), "")
				if errors.Is(err, context.DeadlineExceeded) { // once is enough to wait for it
					s.forgeSilent = err
				}
			}
			return nil
		})
	}
	if s.hasBuilds && s.moving() {
		calls = append(calls, func(ctx context.Context) error {
			brief, cancel := context.WithTimeout(ctx, asideLimit)
			defer cancel()
			s.Builds, s.buildsErr = w.Builds.InFlight(brief, w.Place.Followed.Job)
			return nil
		})
	}
	if rights := w.rights(req); len(rights) > 0 {
		calls = append(calls, func(ctx context.Context) error {
			s.missing, s.rightsErr = w.missing(ctx, rights)
			return nil
		})
	}
	for i, other := range w.Place.Others {
		calls = append(calls, func(ctx context.Context) error {
			if elseErrs[i] = other.Err; other.Err == nil {
				elsewhere[i], elseErrs[i] = other.Cluster.Inventory(ctx, other.Namespace)
			}
			return nil
		})
	}
	if err := wave(ctx, calls...); err != nil {
		return nil, readFailed(req.Scope, err)
	}
	s.remember(images...)
	if wantsList && !byCommit {
		s.all = slices.Concat([]Image{}, listed)
	}
	for _, m := range manifests {
		s.Manifests[m.Digest] = m
	}
	for _, i := range images {
		if i.HasTag(w.Place.Tag) {
			s.TagNow = s.seen[i.Digest]
		}
	}
	s.sortWorkloads()
	if l := s.Record.Lock; l != nil && !l.free(req.By, now, w.Dead) {
		s.Held = l
	}

	// What the pods run, and what leads to it, is known only now.
	if err := s.chooseResume(); err != nil {
		return nil, err
	}
	s.remember(listed...)
	var more []Image
	guess, guessed := s.foreseeable(w)
	err := wave(ctx,
		func(ctx context.Context) error {
			if guessed {
				s.foresee(ctx, w, guess)
			}
			return nil
		},
		func(ctx context.Context) (err error) {
			more, err = s.second(ctx, w, wantsList && !byCommit)
			return err
		},
		func(ctx context.Context) error { s.missingByName(ctx, w); return nil },
		func(ctx context.Context) error { s.askDebts(ctx, w); return nil },
		func(ctx context.Context) (err error) {
			if !byCommit {
				return nil
			}
			if listed, err = s.imagesOfCommits(ctx, w); err != nil || len(listed) > 1 {
				return err
			}
			listed = nil
			return list(ctx) // no commit that the forge told has an image
		})
	if err != nil {
		return nil, readFailed(s.Request.Scope, err)
	}
	s.remember(listed...)
	s.nameRunning()
	if wantsList {
		s.Candidates = candidates(s, listed)
	}
	if err := s.chooseTarget(slices.Concat(listed, more)); err != nil {
		return nil, err
	}
	due := s.dues()
	s.due = &due
	s.owes = req.Method != MethodRevert && s.reverts(w)
	err = wave(ctx,
		func(ctx context.Context) error { return s.fetchTarget(ctx, w) },
		func(ctx context.Context) error { s.preview(ctx, w); return nil })
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil && s.RevertErr != nil {
		return nil, readFailed(req.Scope, err)
	}
	s.inspect(w, elsewhere, elseErrs)
	return s, nil
}

// askDebts asks the forge what became of the pull requests that the record's debts name: somebody may have merged one
// without telling the record. An answer that does not come leaves a debt as the record has it.
func (s *Survey) askDebts(ctx context.Context, w World) {
	if w.PullRequests == nil || s.forgeSilent != nil || s.Request.Act == ActLook || s.Request.Act == ActRestart {
		return
	}
	brief, cancel := context.WithTimeout(ctx, asideLimit)
	defer cancel()
	var err error
	ask := s.Record.Owed
	if m := s.stranded(); m != nil {
		ask = append(slices.Clone(ask), FollowUp{PR: m.PR})
	}
	if s.Pulls, err = PullsOf(brief, w.PullRequests, ask); err != nil && ctx.Err() == nil {
		s.owedErr = err
	}
	s.Record.Owed = Paid(s.Record.Owed, s.Pulls)
}

// PullsOf reads the pull requests that debts name and that were not merged when last seen, all at the same time. It returns
// those that could be read, and the first failure.
func PullsOf(ctx context.Context, p PullRequests, owed []FollowUp) (map[int]PullRequest, error) {
	var numbers []int
	for _, f := range owed {
		if f.PR != 0 && !f.Done && !slices.Contains(numbers, f.PR) {
			numbers = append(numbers, f.PR)
		}
	}
	found := make([]PullRequest, len(numbers))
	errs := make([]error, len(numbers))
	var wg sync.WaitGroup
	for i, n := range numbers {
		wg.Go(func() { found[i], errs[i] = p.PullRequest(ctx, n) })
	}
	wg.Wait()
	pulls := map[int]PullRequest{}
	var first error
	for i, n := range numbers {
		if errs[i] == nil {
			pulls[n] = found[i]
		} else if first == nil {
			first = errs[i]
		}
	}
	return pulls, first
}

// imagesOfCommits asks for the images of the commits that the forge told, by tag.
func (s *Survey) imagesOfCommits(ctx context.Context, w World) ([]Image, error) {
	n := len(s.TagNow.Commit()) // how long this repository's commit tags are
	if n == 0 {
		n = 40
	}
	var refs []string
	for _, c := range s.Changes {
		refs = append(refs, string(c.Commit[:min(n, len(c.Commit))]))
	}
	if len(refs) == 0 {
		return nil, nil
	}
	return w.Registry.Images(ctx, w.Place.Repository, refs...)
}

// readFailed dresses a failure of the survey: nothing has been touched yet. An error that is dressed already (a record that
// cannot be read, say) keeps what it says.
func readFailed(scope Scope, err error) error {
	if own := (*Error)(nil); errors.As(err, &own) {
		e := *own
		e.Production = NotChanged
		return &e
	}
	e := &Error{Exit: Failed, Err: err, Production: NotChanged}
	if KindOf(err) == NotFound {
		e.Exit = Usage
	}
	if c := (*CallError)(nil); errors.As(err, &c) && c.Kind == NotFound && (c.System == "ecr" || c.System == "registry") { // the name is misspelt, most likely
		e.Next = append(e.Next, "to see the services that there are: rollback status --environment "+scope.Environment)
	}
	if fix := FixOf(err); fix != "" {
		e.Next = append(e.Next, fix)
	}
	e.Next = append(e.Next, "to see which access is missing: rollback doctor "+scope.flags())
	return e
}

// namedRefs are the tags and digests that can be asked for before anything is known.
func (w World) namedRefs(req Request) []string {
	refs := []string{w.Place.Tag}
	switch {
	case req.To == "" || req.To == Previous:
	case digestForm.MatchString(req.To):
		refs = append(refs, req.To)
	default:
		refs = append(refs, req.To)
		if commitForm.MatchString(req.To) { // images may be tagged with a shorter form of the commit
			for _, n := range []int{7, 8, 10, 12} {
				if len(req.To) > n {
					refs = append(refs, req.To[:n])
				}
			}
		}
	}
	return refs
}

func (s *Survey) remember(images ...Image) {
	for _, i := range images {
		if old, ok := s.seen[i.Digest]; ok {
			for _, t := range old.Tags {
				if !i.HasTag(t) {
					i.Tags = append(slices.Clone(i.Tags), t)
				}
			}
			if i.PushedAt.IsZero() {
				i.PushedAt = old.PushedAt
			}
			if i.CreatedAt.IsZero() {
				i.CreatedAt = old.CreatedAt
			}
		}
		s.seen[i.Digest] = i
	}
}

// uses tells whether a container names our repository, and by what reference.
func (s *Survey) uses(c Container) (Reference, bool) {
	ref, err := ParseReference(c.Image)
	return ref, err == nil && ref.Repository == s.Place.Repository
}

// moves tells whether a reference follows the moving tag: by name, and not pinned to a digest.
func (s *Survey) moves(ref Reference) bool { return ref.Digest == "" && ref.Tag == s.Place.Tag }

// sortWorkloads finds who is affected by the tag: by the image they use, not by their name.
func (s *Survey) sortWorkloads() {
	for _, w := range s.Inventory.Workloads {
		var uses, moves bool
		for _, c := range w.Containers {
			if ref, ok := s.uses(c); ok {
				uses = true
				moves = moves || s.moves(ref)
			}
		}
		chosen := moves
		if len(s.Place.Workloads) > 0 {
			chosen = slices.Contains(s.Place.Workloads, w.Ref.String())
			uses = uses || chosen
		}
		switch {
		case !uses:
		case chosen && w.Restartable() && (w.Owner == "" || s.Request.Act == ActVerify): // to look at, an owner does not matter
			s.Affected = append(s.Affected, w)
		default:
			s.Bystanders = append(s.Bystanders, w)
		}
	}
}

// affects tells whether a pod belongs to an affected workload.
func (s *Survey) affects(p Pod) bool {
	return slices.ContainsFunc(s.Affected, func(w Workload) bool { return w.Ref == p.Owner })
}

// follow tells which containers of a workload's pods get their image through the tag: those whose template says so. What
// the pod itself says may have been rewritten on its way (by an admission controller that pins tags to digests, say).
func follow(w Workload, repository, tag string) func(Container) bool {
	moves := func(c Container) bool {
		ref, err := ParseReference(c.Image)
		return err == nil && ref.Repository == repository && ref.Digest == "" && ref.Tag == tag
	}
	names := map[string]bool{}
	for _, c := range w.Containers {
		if moves(c) {
			names[c.Name] = true
		}
	}
	return func(c Container) bool { return names[c.Name] || moves(c) }
}

// reported are the digests that the containers of a pod report that get their image through the tag, each once; where none
// does (the workload was named in the configuration), those of the repository.
func (s *Survey) reported(p Pod) []Digest {
	i := slices.IndexFunc(s.Affected, func(w Workload) bool { return w.Ref == p.Owner })
	if i < 0 {
		return nil
	}
	follows := follow(s.Affected[i], s.Place.Repository, s.Place.Tag)
	any := slices.ContainsFunc(p.Containers, func(c PodContainer) bool { return follows(c.Container) })
	var list []Digest
	for _, c := range p.Containers {
		_, uses := s.uses(c.Container)
		if (follows(c.Container) || !any && uses) && c.Digest != "" && !slices.Contains(list, c.Digest) {
			list = append(list, c.Digest)
		}
	}
	return list
}

// second is the second wave: what the pods run, the children of indexes, the counts a lifecycle rule needs, and the list of
// tags where the target was named by the beginning of a commit. It returns what it listed.
func (s *Survey) second(ctx context.Context, w World, complete bool) (listed []Image, err error) {
	unknown := map[string]bool{}
	for _, p := range s.Inventory.Pods {
		if !s.affects(p) || !p.Live() {
			continue
		}
		for _, d := range s.reported(p) {
			if _, known := s.seen[d]; !known || s.Manifests[d].Bytes == nil {
				unknown[string(d)] = true
			}
		}
	}
	for _, d := range s.recordedDigests() {
		if s.Manifests[d].Bytes == nil {
			unknown[string(d)] = true
		}
	}
	children := map[string]bool{}
	for _, m := range s.Manifests {
		if refs, err := m.References(); err == nil && m.Index() {
			for _, d := range refs {
				children[string(d)] = true
				delete(unknown, string(d))
			}
		}
	}
	var calls []func(context.Context) error
	var images []Image
	var manifests, platforms []Manifest
	refs := sorted(unknown)
	if named := slices.Concat(refs, s.recordedCommits()); len(named) > 0 {
		calls = append(calls, func(ctx context.Context) (err error) {
			images, err = w.Registry.Images(ctx, w.Place.Repository, named...)
			return err
		})
	}
	if len(refs) > 0 {
		calls = append(calls, func(ctx context.Context) (err error) {
			manifests, err = w.Registry.Manifests(ctx, w.Place.Repository, refs...)
			return err
		})
	}
	if len(children) > 0 {
		refs := sorted(children)
		calls = append(calls, func(ctx context.Context) (err error) {
			platforms, err = w.Registry.Manifests(ctx, w.Place.Repository, refs...)
			return err
		})
	}
	counts := slices.ContainsFunc(s.Repository.Lifecycle, func(r LifecycleRule) bool { return r.KeepCount > 0 })
	if prefix := s.byPrefix(); !complete && (counts || prefix) {
		calls = append(calls, func(ctx context.Context) error {
			listed = []Image{}
			for page, err := range w.Lister.List(ctx, w.Place.Repository) {
				if err != nil {
					return err
				}
				listed = append(listed, page...)
				if len(listed) >= countLimit && !prefix {
					listed = nil // more than a rule would have left, or more than is worth reading now
					return nil
				}
			}
			complete = true
			return nil
		})
	}
	if len(calls) == 0 {
		return nil, nil
	}
	if err := wave(ctx, calls...); err != nil {
		return nil, err
	}
	if complete && s.all == nil {
		s.all = listed
	}
	s.remember(images...)
	s.remember(listed...)
	for _, m := range append(manifests, platforms...) {
		s.Manifests[m.Digest] = m
	}
	return listed, nil
}

// byPrefix tells whether only the list of all tags can resolve the target: it is the beginning of a commit, and neither a
// tag itself nor longer than one.
func (s *Survey) byPrefix() bool {
	to := s.Request.To
	if s.Resume != nil || !s.named() || !commitForm.MatchString(to) || len(to) == 40 {
		return false
	}
	for _, i := range s.seen {
		for _, t := range i.Tags {
			if commitForm.MatchString(t) && strings.HasPrefix(to, t) {
				return false
			}
		}
	}
	return true
}

// named tells whether the request names its target itself.
func (s *Survey) named() bool {
	switch s.Request.Act {
	case ActRun, ActRetag:
		return s.Request.To != Previous
	case ActVerify:
		return s.Request.To != "" && s.Request.To != Previous
	}
	return false
}

// recordedDigests are digests a recorded rollback needs: the target of one to be continued and what it replaces, what an
// undo goes back to.
func (s *Survey) recordedDigests() []Digest {
	var list []Digest
	if s.Abandoned != nil {
		list = append(list, s.Abandoned.From.Digest)
	}
	if s.Resume != nil {
		list = append(list, s.Resume.To.Digest, s.Resume.From.Digest, s.Resume.TagWas)
	} else if s.Request.Act == ActUndo && s.Record.Last != nil {
		list = append(list, s.Record.Last.From.Digest)
	} else if s.Request.Act == ActVerify && s.Record.Last != nil {
		list = append(list, s.Record.Last.landed().Digest)
	}
	return slices.DeleteFunc(list, func(d Digest) bool { return d == "" })
}

// recordedCommits are the commit tags by which the record knows images that this survey is about. A registry that is not ECR
// does not tell which tags an image has: it must be asked for them by name, or an undo would not know what it brings back.
func (s *Survey) recordedCommits() []string {
	last := s.Record.Last
	if last == nil {
		return nil
	}
	about := append(s.recordedDigests(), s.TagNow.Digest)
	set := map[string]bool{}
	for _, t := range []Target{last.From, last.To, last.landed()} {
		if t.Commit != "" && s.seen[t.Digest].Commit() == "" && slices.Contains(about, t.Digest) {
			set[string(t.Commit)] = true
		}
	}
	return sorted(set)
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// digestSet is every digest a node may report for the image: itself, the platform manifests of an index, and their
// configurations. A node reports one or the other by runtime (https://github.com/kubernetes/kubernetes/issues/115199).
func (s *Survey) digestSet(d Digest) DigestSet {
	set := DigestSet{d: true}
	m, ok := s.Manifests[d]
	if !ok {
		return set
	}
	refs, _ := m.References()
	for _, r := range refs {
		set[r] = true
		if child, ok := s.Manifests[r]; ok && m.Index() {
			configs, _ := child.References()
			for _, c := range configs {
				set[c] = true
			}
		}
	}
	return set
}

// nameRunning counts what the pods run and decides what is current.
func (s *Survey) nameRunning() {
	sets := map[Digest]DigestSet{}
	for d, m := range s.Manifests {
		if _, described := s.seen[d]; described || m.Index() {
			sets[d] = s.digestSet(d)
		}
	}
	home := func(reported Digest) Digest {
		// What the tag names goes first: two indexes can lead to the same platform manifest.
		if sets[s.TagNow.Digest][reported] {
			return s.TagNow.Digest
		}
		if _, ok := s.seen[reported]; ok && len(s.seen[reported].Tags) > 0 {
			return reported
		}
		var found Digest
		for d, set := range sets {
			if d != reported && set[reported] && (found == "" || d < found) {
				found = d
			}
		}
		if found != "" {
			return found
		}
		return reported
	}
	counts := map[Digest]*Serving{}
	for _, p := range s.Inventory.Pods {
		if !s.affects(p) || !p.Live() {
			continue
		}
		for _, d := range s.reported(p) {
			r := counts[d]
			if r == nil {
				r = &Serving{Reported: d, Image: home(d)}
				r.Commit = s.seen[r.Image].Commit()
				counts[d] = r
			}
			r.Pods++
			if p.Ready {
				r.Ready++
			}
		}
	}
	for _, r := range counts {
		s.Running = append(s.Running, *r)
	}
	slices.SortFunc(s.Running, func(a, b Serving) int {
		if a.Pods != b.Pods {
			return b.Pods - a.Pods
		}
		return strings.Compare(string(a.Reported), string(b.Reported))
	})
	if i, ok := s.seen[s.TagNow.Digest]; ok { // some registries tell an image's time and tags in their list alone
		s.TagNow = i
	}
	for _, r := range s.Running {
		if r.Image == s.TagNow.Digest {
			s.Current = s.TagNow
			return
		}
	}
	if len(s.Running) > 0 {
		d := s.Running[0].Image
		s.Current = s.seen[d]
		s.Current.Digest = d
		return
	}
	s.Current = s.TagNow
}

// chooseResume decides whether the request goes on with an unfinished rollback. It must: `--to previous` asked again after
// the tag was moved would otherwise step back twice.
func (s *Survey) chooseResume() error {
	last := s.Record.Last
	if last == nil {
		return nil
	}
	if !last.State.unfinished() {
		return nil
	}
	inEffect := last.Repository == s.Place.Repository && last.Tag == s.Place.Tag &&
		(s.TagNow.Digest == last.To.Digest || s.TagNow.Digest == last.TagWas ||
			last.Method == MethodRevert && s.Request.Method == MethodRevert) // its build moves the tag
	to, same := s.Request.To, false
	switch s.Request.Act {
	case ActRun, ActRetag:
		same = last.Kind == KindRollback && (to == Previous || s.names(to, last.To))
	case ActRestart:
		same = s.TagNow.Digest == last.To.Digest && to == ""
	case ActUndo:
		same = last.Kind == KindUndo
	default:
		return nil
	}
	if same && inEffect {
		e := *last
		s.Resume = &e
	} else if last.State.Open() && s.Request.Act != ActUndo {
		e := *last
		s.Abandoned = &e
	}
	return nil
}

// inEffect tells whether the moving tag still names what the last rollback brought.
func (s *Survey) inEffect() bool {
	return s.Record.Last != nil && s.TagNow.Digest == s.Record.Last.landed().Digest
}

// shippedAlready tells whether the request asks again for the rollback by revert that production runs the outcome of: what
// it undid is undone, and there is nothing more to undo.
func (s *Survey) shippedAlready() bool {
	last := s.Record.Last
	return s.Request.Act == ActRun && s.Request.Method == MethodRevert && last != nil && last.Kind == KindRollback && last.State == Closed &&
		last.Shipped != nil && s.inEffect() && (s.Request.To == Previous || s.names(s.Request.To, last.To))
}

// names tells whether to, as a person typed it, means the recorded target.
func (s *Survey) names(to string, t Target) bool {
	if to == string(t.Digest) || slices.Contains(t.Tags, to) {
		return true
	}
	return commitForm.MatchString(to) && t.Commit != "" &&
		(strings.HasPrefix(string(t.Commit), to) || strings.HasPrefix(to, string(t.Commit)))
}

// noTag is the error for a moving tag that is not there, where nothing else leads to a target.
func (s *Survey) noTag() error {
	return &Error{Exit: Usage, What: fmt.Sprintf("%s:%s does not exist in the registry", s.Place.Repository, s.Place.Tag), Production: NotChanged,
		Next: []string{"check image and tag in rollback.yaml; which tags there are: rollback candidates " + s.Request.Scope.flags()}}
}

// chooseTarget resolves what was asked for into one image.
func (s *Survey) chooseTarget(listed []Image) error {
	var digest Digest
	switch {
	case s.Resume != nil:
		digest = s.Resume.To.Digest
		end := "not finished"
		if s.Held != nil {
			end = "at work now"
		}
		s.Why = fmt.Sprintf("target of rollback %s, started %s by %s and %s", s.Resume.ID, ago(s.At, s.Resume.StartedAt), s.Resume.By.User, end)
	case s.Request.Act == ActLook:
		return nil
	case s.Request.Act == ActRestart:
		digest = s.TagNow.Digest
		s.Why = "what the moving tag names"
		if digest == "" {
			return s.noTag()
		}
	case s.Request.Act == ActUndo:
		last := s.Record.Last
		if last == nil {
			return &Error{Exit: Refused, What: "nothing to undo: no rollback of " + s.Request.Scope.String() + " is recorded", Production: NotChanged,
				Next: []string{"what can be rolled back to: rollback candidates " + s.Request.Scope.flags()}}
		}
		if digest = last.From.Digest; digest == "" {
			return &Error{Exit: Refused, What: fmt.Sprintf("nothing to undo to: nothing ran before %s %s", last.Kind, last.ID), Production: NotChanged,
				Next: []string{"what can be rolled back to: rollback candidates " + s.Request.Scope.flags()}}
		}
		s.Why = fmt.Sprintf("what ran before %s %s of %s", last.Kind, last.ID, last.StartedAt.UTC().Format("2006-01-02 15:04 UTC"))
	case s.Request.Act == ActVerify && s.Request.To == "":
		if last := s.Record.Last; last != nil && (last.State != Closed || s.inEffect()) {
			digest, s.Why = last.landed().Digest, "target of the last "+string(last.Kind)+", "+last.ID
		} else if s.TagNow.Digest != "" {
			digest, s.Why = s.TagNow.Digest, "what the moving tag names"
		} else {
			return s.noTag()
		}
	case s.Request.To == Previous && s.Request.Act == ActVerify:
		return UsageErrorf("verify: --to previous has no meaning: name a commit or a digest, or leave it out")
	case s.shippedAlready():
		last := s.Record.Last
		digest, s.Why = last.landed().Digest, fmt.Sprintf("what %s %s has built and deployed", last.Kind, last.ID)
	case s.Request.To == Previous:
		c, why, err := previous(s.Request.Scope, s.Candidates)
		if s.TagNow.Digest == "" && (err != nil || s.Current.Digest == "") { // before whose image?
			return s.noTag()
		}
		if err != nil {
			return err
		}
		digest, s.Why = c.Image.Digest, "previous: "+why
	default:
		i, why, err := s.resolve(listed)
		if err != nil {
			return err
		}
		digest, s.Why = i.Digest, why
	}
	s.Target = s.seen[digest]
	s.Target.Digest = digest
	s.Evidence, _ = s.evidence(s.Target, pastOf(s.Record)[digest])
	return nil
}

// fetchTarget reads what is still missing of the target: the manifest of one that was not named can be fetched only now, its
// children with it.
func (s *Survey) fetchTarget(ctx context.Context, w World) error {
	digest := s.Target.Digest
	if digest == "" {
		return nil
	}
	if s.Manifests[digest].Bytes == nil {
		found, err := w.Registry.Manifests(ctx, w.Place.Repository, string(digest))
		if err != nil {
			return readFailed(s.Request.Scope, err)
		}
		for _, m := range found {
			s.Manifests[m.Digest] = m
		}
	}
	m, ok := s.Manifests[digest]
	if !ok {
		s.find(Block, "target-gone", fmt.Sprintf("the target %s is no longer in repository %s", digest.Short(), s.Place.Repository),
			"what is left: rollback candidates "+s.Request.Scope.flags())
		return nil
	}
	refs, err := m.References()
	if err != nil {
		return &Error{Exit: Failed, Err: err, Production: NotChanged}
	}
	var missing []string
	for _, r := range refs {
		if m.Index() && s.Manifests[r].Bytes == nil {
			missing = append(missing, string(r))
		}
	}
	if len(missing) > 0 {
		found, err := w.Registry.Manifests(ctx, w.Place.Repository, missing...)
		if err != nil {
			return readFailed(s.Request.Scope, err)
		}
		for _, c := range found {
			s.Manifests[c.Digest] = c
		}
	}
	if s.Target.MediaType == "" {
		s.Target.MediaType = m.MediaType
	}
	s.TargetSet = s.digestSet(digest)
	return nil
}

// resolve finds the image that --to names: a digest, a tag, a commit, or the beginning of a commit that is unique.
func (s *Survey) resolve(listed []Image) (Image, string, error) {
	to := s.Request.To
	if to == s.Place.Tag {
		return Image{}, "", UsageErrorf("--to %s: that is the moving tag itself; name a commit, a digest or %q", to, Previous)
	}
	if d := Digest(to); digestForm.MatchString(to) {
		if i, ok := s.seen[d]; ok {
			return i, "named by digest", nil
		}
		if _, ok := s.Manifests[d]; ok {
			return Image{Digest: d}, "named by digest", nil
		}
		return Image{}, "", s.noSuchImage(to)
	}
	if !ValidTag(to) {
		return Image{}, "", UsageErrorf("--to %q: want %q, a commit (7 to 40 hex digits), a tag or a digest (sha256:…)", to, Previous)
	}
	for _, i := range s.seen {
		if i.HasTag(to) {
			return i, "named by tag " + to, nil
		}
	}
	if !commitForm.MatchString(to) {
		return Image{}, "", s.noSuchImage(to)
	}
	// A tag may be a shorter form of the commit: those were asked for with the first wave. The longest says most.
	var short string
	var shortest Image
	for _, i := range s.seen {
		for _, t := range i.Tags {
			if commitForm.MatchString(t) && strings.HasPrefix(to, t) && len(t) > len(short) {
				short, shortest = t, i
			}
		}
	}
	if short != "" {
		return shortest, fmt.Sprintf("named by commit %s (tag %s)", to, short), nil
	}
	// Or the longer form: only the list of all tags can tell; it was read in the second wave.
	if len(to) < 40 {
		found := map[Digest]Image{}
		var tags []string
		for _, i := range listed {
			for _, t := range i.Tags {
				if commitForm.MatchString(t) && strings.HasPrefix(t, to) {
					found[i.Digest] = i
					tags = append(tags, t)
				}
			}
		}
		slices.Sort(tags)
		tags = slices.Compact(tags)
		if len(found) == 1 {
			s.remember(found[firstKey(found)])
			return s.seen[firstKey(found)], fmt.Sprintf("named by commit %s (tag %s)", to, tags[0]), nil
		}
		if len(found) > 1 {
			return Image{}, "", &Error{Exit: Usage, Production: NotChanged,
				What: fmt.Sprintf("--to %s is ambiguous: it begins %s", to, strings.Join(tags, ", ")),
				Next: []string{"give more digits of the commit, or the digest"}}
		}
	}
	return Image{}, "", s.noSuchImage(to)
}

func firstKey(m map[Digest]Image) Digest {
	for d := range m {
		return d
	}
	return ""
}

func (s *Survey) noSuchImage(to string) error {
	return &Error{Exit: Usage, Production: NotChanged,
		What: fmt.Sprintf("--to %s: no such image in repository %s", to, s.Place.Repository),
		Next: []string{"rollback candidates " + s.Request.Scope.flags()}}
}

// ago is the time since t as people say it.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return Span(now.Sub(t)) + " ago"
}

// Span is a duration as people say it: "42s", "17m", "3h20m", "12d".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		if s := int(d.Seconds()) % 60; s != 0 && d < 10*time.Minute {
			return fmt.Sprintf("%dm%ds", int(d.Minutes()), s)
		}
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		if m := int(d.Minutes()) % 60; m != 0 {
			return fmt.Sprintf("%dh%dm", int(d.Hours()), m)
		}
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
