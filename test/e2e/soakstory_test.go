package e2e

// The stories of the soak. Each begins with a deploy of the branch's tip, and ends with one: nothing is owed, nothing is open.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// story is what people do about a bad deploy. Its random choices do not depend on how its commands end.
type story struct {
	name string
	tell func(*soak, context.Context) error
}

var stories = []story{
	{"back by tag, and the revert is merged", (*soak).tagThenMerge},
	{"back by tag, and undone", (*soak).tagThenUndo},
	{"back by tag, the revert is merged, undone, and relanded", (*soak).tagThenMergeThenUndo},
	{"back by tag, and further back", (*soak).tagTwice},
	{"back by tag, further back, and undone", (*soak).tagTwiceThenUndo},
	{"back by a revert that a person merges", (*soak).revertByHand},
	{"back by a revert that merges by itself", (*soak).revertItself},
	{"back by a revert whose build nothing starts", (*soak).revertAsked},
	{"a revert alone, and a reland", (*soak).revertAlone},
}

// story tells one, and looks whether it left anything behind.
func (k *soak) story(ctx context.Context, s story) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := k.deploy(ctx); err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	if err := s.tell(k, ctx); err != nil {
		return err
	}
	if head := k.f.code.Head("main"); head != k.runs().Commit { // what is merged is deployed sooner or later
		k.f.jenkins.Push(deployJob, head)
		if err := k.shipped(ctx); err != nil {
			return fmt.Errorf("deploy of the tip: %w", err)
		}
	}
	return k.atRest(ctx)
}

// runs is what production runs between two stories; before are those that ran before it.
func (k *soak) runs() *Release        { return k.line[len(k.line)-1] }
func (k *soak) before(n int) *Release { return k.line[len(k.line)-1-n] }

// deploy has a colleague's change merged, built and deployed.
func (k *soak) deploy(ctx context.Context) error {
	if _, err := k.merged("change"); err != nil {
		return err
	}
	return k.shipped(ctx)
}

// merged has a colleague's change merged and returns its commit.
func (k *soak) merged(what string) (string, error) {
	n := len(k.f.code.Pulls()) + 1
	name := fmt.Sprintf("%s-%d", what, n)
	k.tell("#%d is merged: %s", n, name)
	return k.f.merged(change{name: name, title: "Change " + name, author: "payments-dev", files: map[string]string{name + ".go": "package payments\n"}})
}

// goesOn has, or has not, a change merged that nobody deploys yet.
func (k *soak) goesOn() error {
	if k.rng.IntN(2) == 0 {
		return nil
	}
	k.f.webhook.Store(false)
	defer k.f.webhook.Store(true)
	_, err := k.merged("later")
	return err
}

// shipped waits until one more build has deployed.
func (k *soak) shipped(ctx context.Context) error {
	k.builds++
	if err := k.f.deployed(ctx, k.builds); err != nil {
		return err
	}
	name := fmt.Sprintf("build %d", k.builds)
	k.f.mu.Lock()
	r := k.f.builds[name]
	k.f.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%s brought no image", name)
	}
	k.tell("%s deployed %s of %s", name, r.Digest, r.Commit)
	k.line = append(k.line, r)
	return k.running(ctx, r)
}

// merges has a person merge a pull request; with deploys, that is built and deployed.
func (k *soak) merges(ctx context.Context, number int, deploys bool) error {
	k.tell("#%d is merged", number)
	k.f.webhook.Store(deploys)
	defer k.f.webhook.Store(true)
	if _, err := k.f.code.Merge(number, "squash", reviewer); err != nil || !deploys {
		return err
	}
	return k.shipped(ctx)
}

func (k *soak) back(to *Release, how ...string) []string {
	return on(append([]string{"run", "--to", to.Digest, "--reason", "soak", "--yes"}, how...)...)
}

func (k *soak) byTag(ctx context.Context, from, to *Release, replaced ...int) (pull int, err error) {
	if err := k.act(ctx, rollback.Done, k.back(to)...); err != nil {
		return 0, err
	}
	if err := k.stands(ctx, to, rollback.Mitigated); err != nil {
		return 0, err
	}
	return k.owed(ctx, "the revert of "+rollback.Range{Good: rollback.Commit(to.Commit), Bad: rollback.Commit(from.Commit)}.String(),
		on("revert", "--to", to.Commit, "--from", from.Commit, "--reason", "soak"))
}

func (k *soak) undo(ctx context.Context, to *Release) error {
	if err := k.act(ctx, rollback.Done, on("undo", "--reason", "soak", "--yes")...); err != nil {
		return err
	}
	return k.stands(ctx, to, rollback.Closed)
}

func (k *soak) tagThenMerge(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	pull, err := k.byTag(ctx, k.runs(), k.before(1))
	if err != nil {
		return err
	}
	return k.merges(ctx, pull, true)
}

func (k *soak) tagThenUndo(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	pull, err := k.byTag(ctx, k.runs(), k.before(1))
	if err != nil {
		return err
	}
	if err := k.undo(ctx, k.runs()); err != nil {
		return err
	}
	return k.needless(ctx, pull)
}

func (k *soak) tagThenMergeThenUndo(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	pull, err := k.byTag(ctx, k.runs(), k.before(1))
	if err != nil {
		return err
	}
	late := k.rng.IntN(2) == 0 // the reviewer does not know that it is undone
	if !late {
		if err := k.merges(ctx, pull, false); err != nil {
			return err
		}
	}
	if err := k.undo(ctx, k.runs()); err != nil {
		return err
	}
	if late {
		if err := k.merges(ctx, pull, false); err != nil {
			return err
		}
	}
	reland := on("reland", "--pr", fmt.Sprint(pull), "--reason", "soak")
	if _, err := k.owing(ctx); err != nil {
		return err
	}
	if err := k.act(ctx, rollback.Done, reland...); err != nil {
		return err
	}
	again, err := k.owed(ctx, fmt.Sprintf("the reland of #%d", pull), reland)
	if err != nil {
		return err
	}
	return k.merges(ctx, again, true)
}

// twice goes back by tag, and then further back; it returns both pull requests.
func (k *soak) twice(ctx context.Context) (first, second int, err error) {
	if err := k.deploy(ctx); err != nil {
		return 0, 0, err
	}
	if err := k.goesOn(); err != nil {
		return 0, 0, err
	}
	if first, err = k.byTag(ctx, k.runs(), k.before(1)); err != nil {
		return 0, 0, err
	}
	second, err = k.byTag(ctx, k.runs(), k.before(2))
	return first, second, err
}

func (k *soak) tagTwice(ctx context.Context) error {
	_, second, err := k.twice(ctx)
	if err != nil {
		return err
	}
	return k.merges(ctx, second, true)
}

func (k *soak) tagTwiceThenUndo(ctx context.Context) error {
	_, second, err := k.twice(ctx)
	if err != nil {
		return err
	}
	if err := k.undo(ctx, k.before(1)); err != nil {
		return err
	}
	if err := k.needless(ctx, second); err != nil {
		return err
	}
	// The first one was closed for the second one. It is owed again.
	revert := on("revert", "--to", k.before(1).Commit, "--from", k.runs().Commit, "--reason", "soak")
	if err := k.act(ctx, rollback.Done, revert...); err != nil {
		return err
	}
	first, err := k.owed(ctx, "the revert of "+rollback.Range{Good: rollback.Commit(k.before(1).Commit), Bad: rollback.Commit(k.runs().Commit)}.String(), revert)
	if err != nil {
		return err
	}
	return k.merges(ctx, first, true)
}

func (k *soak) revertByHand(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	how := k.back(k.before(1), "--method", "revert")
	if err := k.act(ctx, rollback.Pending, how...); err != nil {
		return err
	}
	if err := k.stands(ctx, k.runs(), rollback.Waiting); err != nil {
		return err
	}
	open, err := k.open()
	if err != nil {
		return err
	}
	pulls := slices.Collect(maps.Values(open))
	r, err := k.record(ctx)
	if err != nil {
		return err
	}
	if len(pulls) != 1 || r.Last.Merge.PR != pulls[0].Number {
		return fmt.Errorf("the record waits for #%d; open are %v", r.Last.Merge.PR, open)
	}
	k.tell("#%d is merged", pulls[0].Number)
	if _, err := k.f.code.Merge(pulls[0].Number, "squash", reviewer); err != nil { // the build goes on beside the next command
		return err
	}
	return k.byRevert(ctx, how)
}

func (k *soak) revertItself(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	return k.byRevert(ctx, k.back(k.before(1), "--method", "revert", "--revert-auto-merge"))
}

func (k *soak) revertAsked(ctx context.Context) error {
	if err := k.goesOn(); err != nil {
		return err
	}
	k.f.webhook.Store(false)
	defer k.f.webhook.Store(true)
	return k.byRevert(ctx, k.back(k.before(1), "--method", "revert", "--revert-auto-merge", "--jenkins-webhook", "0s"))
}

// byRevert goes back by a revert to its end.
func (k *soak) byRevert(ctx context.Context, args []string) error {
	if err := k.act(ctx, rollback.Done, args...); err != nil {
		return err
	}
	if err := k.shipped(ctx); err != nil {
		return err
	}
	if err := k.stands(ctx, k.runs(), rollback.Closed); err != nil {
		return err
	}
	_, err := k.owing(ctx)
	return err
}

func (k *soak) revertAlone(ctx context.Context) error {
	last := k.f.code.Pulls()
	bad := last[len(last)-1].Number // the change that was deployed
	if err := k.goesOn(); err != nil {
		return err
	}
	for _, args := range [][]string{{"revert", "--pr", fmt.Sprint(bad)}, {"reland", "--pr"}} {
		if args[0] == "reland" {
			args = append(args, fmt.Sprint(bad))
		}
		if err := k.act(ctx, rollback.Done, on(append(args, "--reason", "soak")...)...); err != nil {
			return err
		}
		open, err := k.open()
		if err != nil {
			return err
		}
		if len(open) != 1 {
			return fmt.Errorf("open are %v, want one", open)
		}
		for _, p := range open {
			bad = p.Number
		}
		if err := k.merges(ctx, bad, true); err != nil {
			return err
		}
	}
	return nil
}

// What must be so.

// running tells whether the tag names a release, and every pod runs it.
func (k *soak) running(ctx context.Context, want *Release) error {
	if got := k.f.Registry().Tags("payments")["latest"]; got != want.Digest {
		return fmt.Errorf("latest names %s, want %s", got, want.Digest)
	}
	pods, err := k.f.API().list(ctx, "pods", k.f.Namespace(), "")
	if err != nil {
		return err
	}
	count := 0
	for _, p := range pods {
		if str(p, "metadata", "deletionTimestamp") != "" {
			continue
		}
		for _, c := range items(p, "status", "containerStatuses") {
			if _, digest, _ := strings.Cut(str(c, "imageID"), "@"); digest != want.Digest || at(c, "ready") != true {
				return fmt.Errorf("%s runs %s, ready %v, want %s", str(p, "metadata", "name"), digest, at(c, "ready"), want.Digest)
			}
			count++
		}
	}
	if count != 5 {
		return fmt.Errorf("%d containers run, want 5", count)
	}
	return nil
}

// stands tells whether tag, pods and record say that a release runs, and nobody holds the lock.
func (k *soak) stands(ctx context.Context, want *Release, state rollback.State) error {
	if err := k.running(ctx, want); err != nil {
		return err
	}
	r, err := k.record(ctx)
	if err != nil {
		return err
	}
	if r.Lock != nil || r.Last == nil || r.Last.State != state {
		return fmt.Errorf("the record says %+v, lock %+v, want state %q and no lock", r.Last, r.Lock, state)
	}
	return nil
}

func (k *soak) record(ctx context.Context) (rollback.Record, error) {
	m, err := k.f.API().get(ctx, "configmaps", k.f.Namespace(), record.Name("payments"))
	if isStatus(err, http.StatusNotFound) {
		return rollback.Record{}, nil
	} else if err != nil {
		return rollback.Record{}, err
	}
	data := map[string]string{}
	for key, v := range mapOf(m, "data") {
		data[key], _ = v.(string)
	}
	return record.Decode(data)
}

// open are the open pull requests of the program, by what they undo. There are no two of the same, and none is dressed twice.
func (k *soak) open() (map[rollback.Range]github.Pull, error) {
	all := map[rollback.Range]github.Pull{}
	for _, p := range k.f.reverts() {
		for what, list := range map[string][]string{"label": p.Labels, "reviewer": p.Reviewers, "comment": p.Comments} {
			if slices.Sort(list); len(slices.Compact(list)) < len(list) {
				return nil, fmt.Errorf("#%d has a %s twice: %v", p.Number, what, list)
			}
		}
		if !p.Open {
			continue
		}
		rng, _ := rollback.UndoesIn(p.Body)
		if other, twice := all[rng]; twice {
			return nil, fmt.Errorf("#%d and #%d are both open and undo %s", other.Number, p.Number, rng)
		}
		all[rng] = p
	}
	return all, nil
}

// owing are the debts that stand, as `status` tells them: by the record, and by what became of the pull requests since. What is
// open and what the record says agree.
func (k *soak) owing(ctx context.Context) ([]rollback.FollowUp, error) {
	r, err := k.record(ctx)
	if err != nil {
		return nil, err
	}
	merged := map[int]rollback.PullRequest{}
	for _, p := range k.f.reverts() {
		if p.Merged {
			merged[p.Number] = rollback.PullRequest{State: rollback.PullMerged}
		}
	}
	r.Owed = rollback.Paid(r.Owed, merged)
	open, err := k.open()
	if err != nil {
		return nil, err
	}
	owned := map[int]bool{}
	if r.Last != nil && r.Last.State == rollback.Waiting {
		owned[r.Last.Merge.PR] = true
	}
	for _, f := range r.Needless() {
		owned[f.PR] = true
	}
	var standing []rollback.FollowUp
	unknown := func(rng rollback.Range) bool { // of a debt whose pull request the record could not be told of
		return slices.ContainsFunc(standing, func(f rollback.FollowUp) bool {
			p, there := k.f.code.Pull(f.PR)
			return (!there || !p.Open) && (f.Range == rng || f.Kind == rollback.OwedReland)
		})
	}
	for _, f := range r.Open() {
		p, there := k.f.code.Pull(f.PR)
		if rng, _ := rollback.UndoesIn(p.Body); f.PR != 0 && (!there || f.Range != rollback.Range{} && rng != f.Range) {
			return nil, fmt.Errorf("the record names #%d for %s, which is %+v", f.PR, f, p)
		}
		owned[f.PR] = true
		if standing = append(standing, f); f.PR == 0 {
			for _, older := range k.replaced(r, f) {
				owned[older] = true
			}
		}
	}
	for rng, p := range open {
		if !owned[p.Number] && !unknown(rng) {
			return nil, fmt.Errorf("#%d, which undoes %s, is open and nobody owns it: %+v", p.Number, rng, r.Owed)
		}
	}
	return standing, nil
}

// owed wants one debt and no other, and its pull request open, with all it needs, and no other. Where that could not be done, the
// command does so that the program names.
func (k *soak) owed(ctx context.Context, what string, command []string) (pull int, err error) {
	for again := false; ; again = true {
		standing, err := k.owing(ctx)
		if err != nil {
			return 0, err
		}
		if len(standing) != 1 || standing[0].String() != what {
			return 0, fmt.Errorf("owed is %v, want %s", standing, what)
		}
		p, there := k.f.code.Pull(standing[0].PR)
		if there && p.Open && slices.Equal(p.Labels, []string{"rollback", "urgent"}) && slices.Contains(p.Reviewers, "payments-dev") {
			open, err := k.open()
			if err == nil && len(open) != 1 {
				err = fmt.Errorf("open are %v, want one", open)
			}
			return p.Number, err
		}
		if again {
			return 0, fmt.Errorf("the record knows no open pull request of %s that has its labels and reviewers: %+v", what, p)
		}
		k.count("commands", "to open or dress what is owed")
		r, err := k.command(ctx, "oncall", command)
		if err != nil {
			return 0, err
		}
		if r.exit != 0 {
			return 0, fmt.Errorf("rollback %s: exit %d", command[0], r.exit)
		}
		rec, err := k.record(ctx)
		if err != nil {
			return 0, err
		}
		for _, older := range k.replaced(rec, standing[0]) { // a run closes it itself
			if !strings.Contains(r.stderr, fmt.Sprintf("close #%d ", older)) {
				return 0, fmt.Errorf("#%d is open, which the new pull request does not need, and nothing says so", older)
			}
			if err := k.f.code.ClosePull(older, reviewer); err != nil {
				return 0, err
			}
		}
	}
}

// replaced are the open pull requests of debts that another one has taken in.
func (k *soak) replaced(r rollback.Record, by rollback.FollowUp) []int {
	var list []int
	for _, f := range r.Owed {
		if p, there := k.f.code.Pull(f.PR); f.ReplacedBy == by.Rollback && there && p.Open {
			list = append(list, f.PR)
		}
	}
	return list
}

// needless wants nothing owed but the pull request of what was undone still open, which a person closes then.
func (k *soak) needless(ctx context.Context, pull int) error {
	r, err := k.record(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(r.Needless(), func(f rollback.FollowUp) bool { return f.PR == pull }) {
		return fmt.Errorf("the record does not say that #%d is needless: %+v", pull, r.Owed)
	}
	if _, err := k.owing(ctx); err != nil {
		return err
	}
	k.tell("#%d is closed", pull)
	return k.f.code.ClosePull(pull, reviewer)
}

// atRest looks at the end of a story for what is left behind.
func (k *soak) atRest(ctx context.Context) error {
	if err := k.running(ctx, k.runs()); err != nil {
		return err
	}
	standing, err := k.owing(ctx)
	if err != nil {
		return err
	}
	if len(standing) > 0 {
		return fmt.Errorf("still owed is %v", standing)
	}
	open, err := k.open()
	if err != nil {
		return err
	}
	for rng, p := range open {
		return fmt.Errorf("#%d, which undoes %s, is still open", p.Number, rng)
	}
	refs, err := k.f.code.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		branch, _ := strings.CutPrefix(ref, "refs/heads/")
		switch {
		case strings.HasPrefix(branch, rollback.TempBranchPrefix):
			if err := k.named(ctx, branch); err != nil {
				return fmt.Errorf("the temporary branch %s is left: %w", branch, err)
			}
		case strings.HasPrefix(branch, rollback.BranchPrefix) && !slices.ContainsFunc(k.f.reverts(), func(p github.Pull) bool { return p.Head == branch }):
			return fmt.Errorf("the branch %s is left and never had a pull request", branch)
		}
	}
	builds := k.f.jenkins.Builds(deployJob)
	for _, b := range builds {
		if b.Result() != "SUCCESS" {
			return fmt.Errorf("build %d ended with %q", b.Number(), b.Result())
		}
	}
	if queued := k.f.jenkins.Queued(deployJob); len(builds) != k.builds || len(queued) > 0 {
		return fmt.Errorf("Jenkins did %d builds and has %d in its queue, want %d and none", len(builds), len(queued), k.builds)
	}
	return nil
}

// named deletes a branch that the program said it could not delete, as a person does who was told so.
func (k *soak) named(ctx context.Context, branch string) error {
	command := "git push origin --delete " + branch
	if !slices.ContainsFunc(k.told, func(text string) bool { return strings.Contains(text, command) }) {
		return errors.New("nothing said so")
	}
	k.count("commands", "git push --delete, as it was told")
	dir, err := os.MkdirTemp(scratch, "hand")
	if err != nil {
		return err
	}
	_, err = k.f.shell(ctx, dir, `git clone --quiet "$REMOTE" work && cd work && `+command)
	return err
}

// keepTag is the tag under which an outgoing image is kept, one for each digest.
var keepTag = regexp.MustCompile(`^rollback-keep-[0-9a-f]{12}$`)

// nothingLeft looks for what piles up: locks, ConfigMaps, tags, files, processes.
func (k *soak) nothingLeft(ctx context.Context, before map[string]bool) error {
	r, err := k.record(ctx)
	if err != nil {
		return err
	}
	if r.Lock != nil {
		return fmt.Errorf("a lock is left: %+v", r.Lock)
	}
	configMaps, err := k.f.API().list(ctx, "configmaps", k.f.Namespace(), "")
	if err != nil {
		return err
	}
	for _, m := range configMaps {
		switch name := str(m, "metadata", "name"); name {
		case "kube-root-ca.crt":
		case record.Name("payments"):
			k.count("there at the end", "ConfigMaps")
		default:
			return fmt.Errorf("the ConfigMap %s is left", name)
		}
	}
	commits := map[string]bool{"latest": true}
	for _, x := range k.line {
		commits[x.Commit] = true
	}
	kept := map[string]string{} // digest → tag
	for tag, digest := range k.f.Registry().Tags("payments") {
		switch {
		case commits[tag]:
		case keepTag.MatchString(tag) && kept[digest] == "" && strings.HasPrefix(digest, "sha256:"+tag[len("rollback-keep-"):]):
			kept[digest] = tag
			k.count("there at the end", "tags of kept images")
		default:
			return fmt.Errorf("the tag %s of %s is left", tag, digest)
		}
	}
	files, err := k.files()
	if err != nil {
		return err
	}
	var journals []string
	for f := range files {
		if before[f] {
			continue
		}
		if !strings.HasPrefix(f, "journals"+string(filepath.Separator)) || filepath.Ext(f) != ".jsonl" {
			return fmt.Errorf("the file %s is left", f)
		}
		k.count("there at the end", "journals")
		journals = append(journals, filepath.Join(k.f.Dir(), f))
	}
	if err := oneAtATime(journals); err != nil {
		return err
	}
	for of, violations := range map[string][]string{"registry": k.f.Registry().Violations(), "GitHub": k.f.github.Violations(), "Jenkins": k.f.jenkins.Violations()} {
		for _, v := range violations {
			return fmt.Errorf("%s: %s", of, v)
		}
	}
	// Processes are known by their environment. Only Linux shows it here.
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range all {
		if text, err := os.ReadFile(p); err == nil && bytes.Contains(text, []byte("ROLLBACK_STATE="+filepath.Join(k.f.Dir(), "journals"))) && p != fmt.Sprintf("/proc/%d/environ", os.Getpid()) {
			return fmt.Errorf("the process %s is left", filepath.Base(filepath.Dir(p)))
		}
	}
	return nil
}

// oneAtATime tells, from the journals, whether two runs ever had the lock at once. A run has it at least from the end of its claim
// to the beginning of its last word, or as long as it lived.
func oneAtATime(journals []string) error {
	type span struct {
		journal  string
		from, to time.Time
	}
	var spans []span
	for _, name := range journals {
		events, err := readable(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s := span{journal: name}
		for _, e := range events {
			switch {
			case e.Type == "step.outcome" && e.Step == rollback.StepClaim && e.Error == "":
				s.from, s.to = e.Time, e.Time
			case e.Type == "step.intent" && !s.from.IsZero():
				s.to = e.Time
			}
		}
		if !s.from.IsZero() {
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	for i := range spans[1:] {
		if a, b := spans[i], spans[i+1]; b.from.Before(a.to) {
			return fmt.Errorf("two runs had the lock at once: %s until %s, %s from %s", a.journal, a.to, b.journal, b.from)
		}
	}
	return nil
}

// readable reads a journal to its end.
func readable(name string) ([]rollback.Event, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	events, err := record.ReadJournal(f)
	if err == nil && len(events) == 0 {
		// Killed before its first event was written.
		info, statErr := f.Stat()
		if statErr != nil || info.Size() > 0 {
			err = fmt.Errorf("no event can be read: %v", statErr)
		}
	}
	return events, err
}

// files are those in the world's directory, which is also where temporary ones go, relative to it.
func (k *soak) files() (map[string]bool, error) {
	all := map[string]bool{}
	err := filepath.WalkDir(k.f.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(k.f.Dir(), path)
		all[rel] = true
		return err
	})
	return all, err
}
