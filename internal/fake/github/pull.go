package github

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// issue is what issues and pull requests have in common.
type issue struct {
	number                   int
	id                       int64
	title, body, user, state string // state: open, closed
	labels, assignees        []string
	comments                 []comment
	created, updated, closed time.Time
	closedBy                 string
	pull                     *pull
}

type comment struct {
	id      int64
	user    string
	body    string
	created time.Time
}

type review struct {
	id                int64
	user, state, body string // state: APPROVED, CHANGES_REQUESTED, COMMENTED
	sha               string
	at                time.Time
}

type pull struct {
	*issue
	head, base    string // branches
	fork          string // owner of the fork that head is a branch of, "" where it is one of the repository itself
	forkGone      bool
	headSHA       string
	baseSHA       string // where the base was when it was merged or closed
	draft         bool
	reviewers     []string
	teams         []string
	reviews       []review
	auto          *autoMerge
	merged        bool
	mergedAt      time.Time
	mergedBy      string
	mergeSHA      string // of the merge, once merged
	asked         int    // reads since the head or base moved
	tested        string // the head and base last tested
	testSHA       string // the test merge
	testConflict  bool
	landedCommits []string
	queuedAt      time.Time
}

type autoMerge struct {
	by, method, title, message string
	at                         time.Time
}

func (p *pull) open() bool { return p.state == "open" }

// from tells whether a pull request comes from a branch of the repository itself.
func (p *pull) from(branch string) bool { return p.fork == "" && p.head == branch }

// forked is the fork that a pull request comes from, as far as it is shown.
func (p *pull) forked(of *Repository) *Repository {
	f := *of
	f.id, f.owner, f.issues = of.s.user(p.fork).id, p.fork, nil
	return &f
}

// verdict counts the approvals and tells whether changes are requested, by each reviewer's last word.
func (p *pull) verdict() (approved int, refused bool) {
	lastWord := map[string]string{}
	for _, v := range p.reviews {
		if v.state != "COMMENTED" {
			lastWord[v.user] = v.state
		}
	}
	for _, state := range lastWord {
		if state == "APPROVED" {
			approved++
		} else {
			refused = true
		}
	}
	return approved, refused
}

// pulls are the pull requests, the oldest first.
func (r *Repository) pulls() []*pull {
	var all []*pull
	for _, n := range slices.Sorted(maps.Keys(r.issues)) {
		if p := r.issues[n].pull; p != nil {
			all = append(all, p)
		}
	}
	return all
}

func (r *Repository) newIssue(title, body, user string) *issue {
	r.lastIssue++
	now := r.s.now()
	i := &issue{number: r.lastIssue, id: r.s.id(), title: title, body: body, user: user, state: "open", created: now, updated: now}
	r.issues[i.number] = i
	return i
}

// refused is a change that GitHub would not make: a status and a message.
type refused struct {
	status  int
	message string
	body    obj // in place of the plain error
}

func (e *refused) Error() string { return e.message }

func (e *refused) answer() *answer {
	if e.body != nil {
		return &answer{status: e.status, body: e.body}
	}
	return fail(e.status, "%s", e.message)
}

func refuse(status int, format string, args ...any) *refused {
	return &refused{status: status, message: fmt.Sprintf(format, args...)}
}

// PullOptions describe a pull request to open.
type PullOptions struct {
	Head, Base  string // branches; base: the default branch
	Title, Body string
	Author      string // octocat
	Draft       bool
	Labels      []string
	// Fork is the owner of the fork that Head is a branch of. What that holds is At: a commit that this repository has, too.
	Fork, At string
}

// OpenPull opens a pull request as a user does.
func (r *Repository) OpenPull(o PullOptions) (number int, err error) {
	if o.Author == "" {
		o.Author = "octocat"
	}
	r.s.do(func() {
		if o.Base == "" {
			o.Base = r.defaultBranch
		}
		var p *pull
		if p, err = r.openPull(o); err == nil {
			number = p.number
			p.labels = o.Labels
			for _, l := range o.Labels {
				r.label(l)
			}
		}
	})
	return number, err
}

func (r *Repository) openPull(o PullOptions) (*pull, error) {
	unprocessable := func(field, code, message string) error {
		a := invalid("PullRequest", field, code, message)
		return &refused{status: a.status, message: "Validation Failed: " + message + field + " " + code, body: a.body.(obj)}
	}
	if owner, branch, ok := strings.Cut(o.Head, ":"); ok { // acme:branch
		if !strings.EqualFold(owner, r.owner) {
			return nil, unprocessable("head", "invalid", "")
		}
		o.Head = branch
	}
	head, base := r.Head(o.Head), r.Head(o.Base)
	if o.Fork != "" {
		head = r.resolve(o.At)
	}
	switch {
	case base == "":
		return nil, unprocessable("base", "invalid", "")
	case head == "":
		return nil, unprocessable("head", "invalid", "")
	case o.Title == "":
		return nil, unprocessable("title", "missing_field", "")
	}
	for _, p := range r.pulls() {
		if p.open() && p.fork == o.Fork && p.head == o.Head && p.base == o.Base {
			return nil, unprocessable("", "custom", fmt.Sprintf("A pull request already exists for %s:%s.", cmp.Or(o.Fork, r.owner), o.Head))
		}
	}
	if r.git.mergeBase(base, head) == "" {
		return nil, unprocessable("", "custom", fmt.Sprintf("The %s branch has no history in common with %s", o.Head, o.Base))
	}
	if r.git.isAncestor(head, base) {
		return nil, unprocessable("", "custom", fmt.Sprintf("No commits between %s and %s", o.Base, o.Head))
	}
	p := &pull{issue: r.newIssue(o.Title, o.Body, o.Author), head: o.Head, base: o.Base, fork: o.Fork, headSHA: head, draft: o.Draft}
	p.issue.pull = p
	return p, r.git.setRef(fmt.Sprintf("refs/pull/%d/head", p.number), head, noSHA)
}

// DeleteFork deletes somebody's fork. The pull requests from it stay as they are.
func (r *Repository) DeleteFork(owner string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, p := range r.pulls() {
		p.forkGone = p.forkGone || p.fork == owner && owner != ""
	}
}

// close closes a pull request without merging it.
func (r *Repository) close(p *pull, by string) {
	p.state, p.closed, p.updated, p.closedBy, p.auto = "closed", r.s.now(), r.s.now(), by, nil
	p.baseSHA = r.Head(p.base)
	r.dequeue(p)
}

func (r *Repository) dequeue(p *pull) {
	r.queue = slices.DeleteFunc(r.queue, func(q *pull) bool { return q == p })
}

// commitsOf are the SHAs of a pull request's commits, the oldest first.
func (r *Repository) commitsOf(p *pull) ([]string, error) {
	base := p.baseSHA
	if p.open() {
		base = r.Head(p.base)
	}
	if base == "" {
		return nil, nil
	}
	return r.git.revList("--reverse", "--topo-order", p.headSHA, "^"+base)
}

// filesOf is a pull request's diff, from the merge base.
func (r *Repository) filesOf(p *pull) ([]fileChange, error) {
	base := p.baseSHA
	if p.open() {
		base = r.Head(p.base)
	}
	from := r.git.mergeBase(base, p.headSHA)
	if from == "" {
		from = emptyTree
	}
	return r.git.diff(from, p.headSHA)
}

// test computes whether a pull request merges; known is false while GitHub would still be at it. Each call counts as a read.
func (r *Repository) test(p *pull) (mergeable, known bool, err error) {
	base := r.Head(p.base)
	key := p.headSHA + base
	if p.tested != key {
		p.tested, p.asked, p.testSHA, p.testConflict = key, 0, "", false
	}
	p.asked++
	if p.asked <= r.settings.MergeableAfter {
		return false, false, nil
	}
	if p.testSHA == "" && !p.testConflict {
		tree, err := r.git.mergeTree(base, p.headSHA)
		switch {
		case errors.Is(err, errConflict):
			p.testConflict = true
		case err != nil:
			return false, false, err
		default:
			who := r.s.github()
			who.Time = p.created
			if p.testSHA, err = r.git.writeCommit(tree, []string{base, p.headSHA}, who, who, fmt.Sprintf("Merge %s into %s", p.headSHA, base)); err != nil {
				return false, false, err
			}
		}
	}
	return !p.testConflict, true, nil
}

// conflicts tells whether a pull request cannot be merged for its content.
func (r *Repository) conflicts(p *pull) bool {
	_, err := r.git.mergeTree(r.Head(p.base), p.headSHA)
	return errors.Is(err, errConflict)
}

// mergeState is GraphQL's MergeStateStatus; REST's mergeable_state is the same in lower case.
func (r *Repository) mergeState(p *pull, mergeable, known bool) string {
	switch {
	case p.merged || !known:
		return "UNKNOWN"
	case !mergeable:
		return "DIRTY"
	case p.draft:
		return "DRAFT"
	}
	rule := r.rules(p.base)
	method := "squash"
	if why := r.blocked(p, method, true); why != "" {
		if rule.Strict && strings.Contains(why, "up to date") {
			return "BEHIND"
		}
		return "BLOCKED"
	}
	for _, c := range r.checks[p.headSHA] {
		if !c.passed() {
			return "UNSTABLE"
		}
	}
	return "CLEAN"
}

// github is the identity of commits made by the site.
func (s *Server) github() signature {
	u := s.user("web-flow")
	return signature{Name: u.name, Email: u.email, Time: s.now()}
}

func (s *Server) sign(login string) signature {
	u := s.user(login)
	return signature{Name: u.name, Email: u.email, Time: s.now()}
}

// mergeRequest is how a pull request is to be merged.
type mergeRequest struct {
	method         string // merge, squash, rebase
	sha            string // where the head must be, if not ""
	title, message *string
	by             string
	fromQueue      bool
}

// merge merges a pull request, or fails with *refused.
func (r *Repository) merge(p *pull, m mergeRequest) (string, error) {
	if m.method == "" {
		m.method = "merge"
	}
	notAllowed := map[string]bool{"merge": r.settings.NoMergeCommits, "squash": r.settings.NoSquash, "rebase": r.settings.NoRebase}
	what := map[string]string{"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[m.method]
	switch {
	case p.merged || !p.open():
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	case p.draft:
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request is still a draft")
	case m.sha != "" && m.sha != p.headSHA:
		return "", refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case notAllowed[m.method] && !m.fromQueue:
		return "", refuse(http.StatusMethodNotAllowed, "%s are not allowed on this repository.", what)
	}
	if r.conflicts(p) {
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	if why := r.blocked(p, m.method, m.fromQueue); why != "" {
		return "", refuse(http.StatusMethodNotAllowed, "%s", why)
	}
	base := r.Head(p.base)
	commits, err := r.commitsOf(p)
	if err != nil {
		return "", err
	}
	var sha string
	switch m.method {
	case "merge":
		sha, err = r.mergeCommit(p, m, base)
	case "squash":
		sha, err = r.squash(p, m, base, commits)
	case "rebase":
		sha, err = r.rebase(m, base, commits)
	}
	if err != nil {
		return "", err
	}
	p.baseSHA = base
	r.finish(p, base, sha, m.by)
	if err := r.move(p.base, sha, m.by, p.number); err != nil {
		return "", err
	}
	if r.settings.DeleteBranchOnMerge && p.fork == "" && p.head != r.defaultBranch {
		if err := r.move(p.head, "", m.by, 0); err != nil {
			return "", err
		}
	}
	return sha, nil
}

// finish marks a pull request merged by the base's move from before to sha.
func (r *Repository) finish(p *pull, before, sha, by string) {
	now := r.s.now()
	p.state, p.merged, p.mergedAt, p.mergedBy, p.mergeSHA, p.closed, p.closedBy, p.updated = "closed", true, now, by, sha, now, by, now
	p.auto, p.baseSHA = nil, before
	r.dequeue(p)
	landed, err := r.git.revList(sha, "^"+before)
	if err != nil {
		return // a base that was force-pushed to something else; nothing landed that could be named
	}
	for _, c := range landed {
		r.landed[c] = p
	}
	p.landedCommits = landed
}

func (r *Repository) mergeCommit(p *pull, m mergeRequest, base string) (string, error) {
	tree, err := r.git.mergeTree(base, p.headSHA)
	if err != nil {
		return "", err
	}
	title := fmt.Sprintf("Merge pull request #%d from %s/%s", p.number, cmp.Or(p.fork, r.owner), p.head)
	sha, err := r.git.writeCommit(tree, []string{base, p.headSHA}, r.s.sign(m.by), r.s.github(), message(m, title, p.title))
	r.verified[sha] = true
	return sha, err
}

func (r *Repository) squash(p *pull, m mergeRequest, base string, commits []string) (string, error) {
	tree, err := r.git.mergeTree(base, p.headSHA)
	if err != nil {
		return "", err
	}
	all, err := r.git.commits(commits)
	if err != nil {
		return "", err
	}
	title, body := p.title, ""
	if len(all) == 1 {
		title, body = all[0].headline(), all[0].body()
	} else {
		var list []string
		for _, c := range all {
			list = append(list, "* "+strings.TrimSpace(c.message))
		}
		body = strings.Join(list, "\n\n")
	}
	sha, err := r.git.writeCommit(tree, []string{base}, r.s.sign(p.user), r.s.github(), message(m, fmt.Sprintf("%s (#%d)", title, p.number), body))
	r.verified[sha] = true
	return sha, err
}

// rebase puts each commit on top of base. Picking c onto t is the merge of c with a commit that has t's tree and c's parent,
// whose merge base is that parent.
func (r *Repository) rebase(m mergeRequest, base string, commits []string) (string, error) {
	all, err := r.git.commits(commits)
	if err != nil {
		return "", err
	}
	tip, err := r.git.commit(base)
	if err != nil {
		return "", err
	}
	committer := r.s.sign(m.by)
	sha := base
	for _, c := range all {
		if len(c.parents) != 1 {
			continue // merges are left out
		}
		stand, err := r.git.writeCommit(tip.tree, c.parents, committer, committer, "stand-in")
		if err != nil {
			return "", err
		}
		tree, err := r.git.mergeTree(stand, c.sha)
		if errors.Is(err, errConflict) {
			return "", refuse(http.StatusMethodNotAllowed, "This branch can't be rebased")
		}
		if err != nil {
			return "", err
		}
		parent, err := r.git.commit(c.parents[0])
		if err != nil {
			return "", err
		}
		if tree == tip.tree && parent.tree != c.tree {
			continue // the change is there already
		}
		if sha, err = r.git.writeCommit(tree, []string{tip.sha}, c.author, committer, c.message); err != nil {
			return "", err
		}
		if tip, err = r.git.commit(sha); err != nil {
			return "", err
		}
	}
	return sha, nil
}

func message(m mergeRequest, title, body string) string {
	if m.title != nil && *m.title != "" {
		title = *m.title
	}
	if m.message != nil {
		body = *m.message
	}
	if body == "" {
		return title
	}
	return title + "\n\n" + body
}

// settle does what waits for checks and reviews: automatic merges.
func (r *Repository) settle() error {
	for _, p := range r.pulls() {
		if !p.open() || p.auto == nil || p.draft || r.conflicts(p) {
			continue
		}
		if r.rules(p.base).MergeQueue {
			if r.blocked(p, p.auto.method, true) == "" && !slices.Contains(r.queue, p) {
				p.queuedAt = r.s.now()
				r.queue = append(r.queue, p)
			}
			continue
		}
		if r.blocked(p, p.auto.method, false) != "" {
			continue
		}
		a := p.auto
		if _, err := r.merge(p, mergeRequest{method: a.method, title: &a.title, message: optional(a.message), by: a.by}); err != nil {
			if no := (*refused)(nil); errors.As(err, &no) {
				continue
			}
			return err
		}
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Merge merges a pull request as a user does in the browser; method is "merge", "squash" or "rebase".
func (r *Repository) Merge(number int, method, by string) (sha string, err error) {
	r.s.do(func() {
		var p *pull
		if p, err = r.pull(number); err == nil {
			sha, err = r.merge(p, mergeRequest{method: method, by: by})
		}
	})
	return sha, err
}

// MergeQueued merges what is in the merge queue, in order, with method; a pull request that cannot be merged is thrown out.
func (r *Repository) MergeQueued(method string) (merged []int, err error) {
	r.s.do(func() {
		for _, p := range slices.Clone(r.queue) {
			_, e := r.merge(p, mergeRequest{method: method, by: "github-merge-queue[bot]", fromQueue: true})
			r.dequeue(p)
			if no := (*refused)(nil); errors.As(e, &no) {
				continue
			}
			if e != nil {
				err = e
				return
			}
			merged = append(merged, p.number)
		}
	})
	return merged, err
}

// ClosePull closes a pull request without merging it.
func (r *Repository) ClosePull(number int, by string) (err error) {
	r.s.do(func() {
		var p *pull
		if p, err = r.pull(number); err == nil && p.open() {
			r.close(p, by)
		}
	})
	return err
}

// Review adds a review: "APPROVED", "CHANGES_REQUESTED" or "COMMENTED".
func (r *Repository) Review(number int, by, state string) (err error) {
	r.s.do(func() {
		var p *pull
		if p, err = r.pull(number); err != nil {
			return
		}
		p.reviews = append(p.reviews, review{id: r.s.id(), user: by, state: state, sha: p.headSHA, at: r.s.now()})
		err = r.settle()
	})
	return err
}

func (r *Repository) pull(number int) (*pull, error) {
	if i := r.issues[number]; i != nil && i.pull != nil {
		return i.pull, nil
	}
	return nil, fmt.Errorf("%s has no pull request #%d", r.full(), number)
}

// Pull is a pull request for tests to look at.
type Pull struct {
	Number                   int
	Title, Body, Author      string
	Head, Base, HeadSHA      string
	Open, Draft, Merged      bool
	MergeCommit, MergedBy    string
	Labels, Assignees        []string
	Reviewers, TeamReviewers []string
	Comments                 []string
	AutoMerge                string // method, if enabled
	Queued                   bool
}

// Pull reads a pull request; ok tells whether it exists.
func (r *Repository) Pull(number int) (Pull, bool) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	p, err := r.pull(number)
	if err != nil {
		return Pull{}, false
	}
	return r.view(p), true
}

// Pulls are all pull requests, the oldest first.
func (r *Repository) Pulls() []Pull {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var all []Pull
	for _, p := range r.pulls() {
		all = append(all, r.view(p))
	}
	return all
}

// OpenPulls are the open pull requests, the oldest first.
func (r *Repository) OpenPulls() []Pull {
	return slices.DeleteFunc(r.Pulls(), func(p Pull) bool { return !p.Open })
}

// ForgetPulls drops the pull requests that are not open, as if there had never been any: every one in a list is asked of git.
func (r *Repository) ForgetPulls() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for n, i := range r.issues {
		if i.pull != nil && !i.pull.open() && !i.pull.merged {
			delete(r.issues, n)
		}
	}
}

func (r *Repository) view(p *pull) Pull {
	out := Pull{
		Number: p.number, Title: p.title, Body: p.body, Author: p.user, Head: p.head, Base: p.base, HeadSHA: p.headSHA, Open: p.open(), Draft: p.draft,
		Merged: p.merged, MergeCommit: p.mergeSHA, MergedBy: p.mergedBy, Labels: slices.Clone(p.labels), Assignees: slices.Clone(p.assignees),
		Reviewers: slices.Clone(p.reviewers), TeamReviewers: slices.Clone(p.teams), Queued: slices.Contains(r.queue, p),
	}
	for _, c := range p.comments {
		out.Comments = append(out.Comments, c.body)
	}
	if p.auto != nil {
		out.AutoMerge = p.auto.method
	}
	return out
}
