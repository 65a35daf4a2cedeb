package github

// Pull requests: reading them, what stands in their way, merging them.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// PullRequest reads one by number.
func (f *Forge) PullRequest(ctx context.Context, number int) (rollback.PullRequest, error) {
	op := fmt.Sprintf("read pull request #%d", number)
	if number <= 0 {
		return rollback.PullRequest{}, &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: errors.New("want a positive number")}
	}
	ctx, cancel := f.begin(ctx, call{op: op})
	defer cancel()
	p, _, err := f.client.PullRequests.Get(ctx, f.owner, f.name, number)
	if err != nil {
		return rollback.PullRequest{}, f.fail(ctx, false, err)
	}
	if p.GetNumber() != number || p.GetBase().GetRef() == "" {
		return rollback.PullRequest{}, f.strange(op, "the answer describes another pull request")
	}
	return pull(p), nil
}

// pulls lists the newest pull requests into the branch in every state, or those of one head branch.
func (f *Forge) pulls(ctx context.Context, head string) ([]rollback.PullRequest, error) {
	o := &gh.PullRequestListOptions{State: "all", Base: f.branch, Sort: "created", Direction: "desc", ListOptions: gh.ListOptions{PerPage: 100}}
	op := "list pull requests"
	if head != "" {
		o.Head = f.owner + ":" + head
		op += " from " + head
	}
	ctx, cancel := f.begin(ctx, call{op: op})
	defer cancel()
	list, _, err := f.client.PullRequests.List(ctx, f.owner, f.name, o)
	if err != nil {
		return nil, f.fail(ctx, false, err)
	}
	var out []rollback.PullRequest
	for _, p := range list {
		// GitHub ignores a head that it does not understand, and then lists everything.
		if q := pull(p); q.Base == f.branch && (head == "" || q.Head == head) {
			out = append(out, q)
		}
	}
	return out, nil
}

// closePull closes a pull request without merging it. Its branch stays, so that it can be reopened.
func (f *Forge) closePull(ctx context.Context, number int) error {
	var out struct{ State string }
	return f.rest(ctx, call{op: fmt.Sprintf("close #%d", number), repeatable: true}, http.MethodPatch, fmt.Sprintf("pulls/%d", number), map[string]string{"state": "closed"}, &out)
}

// openFrom finds the open pull request of a branch of ours; the zero value if there is none.
func (f *Forge) openFrom(ctx context.Context, head string) (rollback.PullRequest, error) {
	list, err := f.pulls(ctx, head)
	for _, p := range list {
		if p.State == rollback.PullOpen && !p.Fork {
			return p, err
		}
	}
	return rollback.PullRequest{}, err
}

func pull(p *gh.PullRequest) rollback.PullRequest {
	q := rollback.PullRequest{
		Number: p.GetNumber(), Title: p.GetTitle(), URL: p.GetHTMLURL(), Author: p.GetUser().GetLogin(), Draft: p.GetDraft(),
		Base: p.GetBase().GetRef(), Head: p.GetHead().GetRef(), Fork: p.GetHead().GetRepo().GetID() != p.GetBase().GetRepo().GetID(), HeadCommit: rollback.Commit(p.GetHead().GetSHA()),
		Commits: p.GetCommits(), CreatedAt: p.GetCreatedAt().Time, MergedAt: p.GetMergedAt().Time, Body: p.GetBody(), State: rollback.PullOpen,
	}
	if p.GetState() == "closed" {
		q.State = rollback.PullClosed
	}
	if p.GetMerged() || p.MergedAt != nil {
		q.State = rollback.PullMerged
		// Before the merge GitHub keeps a test merge in this field, which is on no branch.
		q.MergeCommit = rollback.Commit(p.GetMergeCommitSHA())
	}
	return q
}

const mergeQuery = `query($owner:String!,$name:String!,$number:Int!){
  repository(owner:$owner,name:$name){
    mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed autoMergeAllowed
    pullRequest(number:$number){
      id number title url state isDraft baseRefName headRefName headRefOid createdAt mergedAt
      author{login} mergeCommit{oid}
      mergeable mergeStateStatus reviewDecision
      autoMergeRequest{enabledAt}
      isInMergeQueue isMergeQueueEnabled mergeQueueEntry{position state}
      reviewRequests(first:20){nodes{requestedReviewer{__typename ... on User{login}}}}
      baseRef{branchProtectionRule{requiredApprovingReviewCount requiredStatusCheckContexts}}
      commits(last:1){totalCount nodes{commit{statusCheckRollup{contexts(first:100){nodes{
        __typename
        ... on CheckRun{name status conclusion detailsUrl isRequired(pullRequestNumber:$number)}
        ... on StatusContext{context state targetUrl isRequired(pullRequestNumber:$number)}
      }}}}}}
    }
  }
}`

// mergeInfo is what merging needs besides the state.
type mergeInfo struct {
	rollback.MergeState
	id      string   // for GraphQL
	methods []string // that the repository allows, best first
	auto    bool     // the repository allows auto-merge
}

// computing is how often a pull request is asked again whose mergeability GitHub still computes, which it begins to do
// when it is asked for the first time.
const (
	computing     = 5
	computingWait = time.Second
)

// MergeState tells what still stands between a pull request and its merge.
func (f *Forge) MergeState(ctx context.Context, number int) (rollback.MergeState, error) {
	info, err := f.mergeInfo(ctx, number)
	return info.MergeState, err
}

func (f *Forge) mergeInfo(ctx context.Context, number int) (mergeInfo, error) {
	for n := 1; ; n++ {
		info, err := f.mergeInfoOnce(ctx, number)
		if err != nil || !info.Computing || n == computing {
			return info, err
		}
		if f.guard.pause(ctx, computingWait) != nil {
			return info, nil
		}
	}
}

func (f *Forge) mergeInfoOnce(ctx context.Context, number int) (mergeInfo, error) {
	op := fmt.Sprintf("read the merge state of #%d", number)
	if number <= 0 {
		return mergeInfo{}, &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: errors.New("want a positive number")}
	}
	var out struct {
		Repository struct {
			MergeCommitAllowed, SquashMergeAllowed, RebaseMergeAllowed, AutoMergeAllowed bool
			PullRequest                                                                  *struct {
				ID                                   string
				Number                               int
				Title, URL, State                    string
				IsDraft                              bool
				BaseRefName, HeadRefName, HeadRefOID string
				CreatedAt                            time.Time
				MergedAt                             *time.Time
				Author                               *struct{ Login string }
				MergeCommit                          *struct{ OID string }
				Mergeable, MergeStateStatus          string
				ReviewDecision                       string
				AutoMergeRequest                     *struct{ EnabledAt *time.Time }
				IsInMergeQueue, IsMergeQueueEnabled  bool
				MergeQueueEntry                      *struct {
					Position int
					State    string
				}
				ReviewRequests struct {
					Nodes []struct {
						RequestedReviewer *struct {
							Typename string `json:"__typename"`
							Login    string
						}
					}
				}
				BaseRef *struct {
					BranchProtectionRule *struct {
						RequiredApprovingReviewCount int
						RequiredStatusCheckContexts  []string
					}
				}
				Commits struct {
					TotalCount int
					Nodes      []struct {
						Commit struct {
							StatusCheckRollup *struct {
								Contexts struct {
									Nodes []struct {
										Name, Status, Conclusion, DetailsURL string // check run
										Context, State, TargetURL            string // commit status
										IsRequired                           bool
									}
								}
							}
						}
					}
				}
			}
		}
	}
	var rules []rule
	var rulesErr, err error
	denied := "" // why the checks cannot be read: a right of its own, which a fine-grained token may not even be able to have
	var wave sync.WaitGroup
	wave.Go(func() {
		err = f.ask(ctx, call{op: op, query: true, spare: "statusCheckRollup", lost: &denied}, mergeQuery, map[string]any{"owner": f.owner, "name": f.name, "number": number}, &out)
	})
	wave.Go(func() { rules, rulesErr = f.rules(ctx) })
	wave.Wait()
	if err != nil {
		return mergeInfo{}, err
	}
	p := out.Repository.PullRequest
	if p == nil || p.Number != number {
		return mergeInfo{}, f.strange(op, "the answer does not describe the pull request")
	}
	m := mergeInfo{id: p.ID, auto: out.Repository.AutoMergeAllowed}
	for _, allowed := range []struct {
		method string
		ok     bool
	}{{"squash", out.Repository.SquashMergeAllowed}, {"merge", out.Repository.MergeCommitAllowed}, {"rebase", out.Repository.RebaseMergeAllowed}} {
		if allowed.ok {
			m.methods = append(m.methods, allowed.method)
		}
	}
	m.PR = rollback.PullRequest{
		Number: p.Number, Title: p.Title, URL: p.URL, State: rollback.PullOpen, Draft: p.IsDraft, Base: p.BaseRefName, Head: p.HeadRefName,
		HeadCommit: rollback.Commit(p.HeadRefOID), Commits: p.Commits.TotalCount, CreatedAt: p.CreatedAt,
	}
	if p.Author != nil {
		m.PR.Author = p.Author.Login
	}
	switch p.State {
	case "CLOSED":
		m.PR.State = rollback.PullClosed
		return m, nil
	case "MERGED":
		m.PR.State = rollback.PullMerged
		if p.MergedAt != nil {
			m.PR.MergedAt = *p.MergedAt
		}
		if p.MergeCommit != nil {
			m.PR.MergeCommit = rollback.Commit(p.MergeCommit.OID)
		}
		return m, nil
	}
	m.Computing = p.Mergeable == "UNKNOWN"
	m.Conflicts = p.Mergeable == "CONFLICTING" || p.MergeStateStatus == "DIRTY"
	m.Behind = p.MergeStateStatus == "BEHIND"
	m.Blocked = p.MergeStateStatus == "BLOCKED"
	// UNSTABLE merges: only checks that nobody requires are not green. HAS_HOOKS is GitHub Enterprise's word for clean.
	m.Clean = p.Mergeable == "MERGEABLE" && slices.Contains([]string{"CLEAN", "UNSTABLE", "HAS_HOOKS"}, p.MergeStateStatus) && !p.IsDraft
	m.ReviewRequired = p.ReviewDecision == "REVIEW_REQUIRED"
	m.ChangesRequested = p.ReviewDecision == "CHANGES_REQUESTED"
	for _, r := range p.ReviewRequests.Nodes {
		switch {
		case r.RequestedReviewer == nil:
		case r.RequestedReviewer.Login != "":
			m.Asked = append(m.Asked, rollback.Printable(r.RequestedReviewer.Login))
		case r.RequestedReviewer.Typename == "Team":
			m.Asked = append(m.Asked, "a team")
		}
	}
	m.AutoMerge = p.AutoMergeRequest != nil
	m.QueueRequired, m.Queued = p.IsMergeQueueEnabled, p.IsInMergeQueue
	if e := p.MergeQueueEntry; e != nil {
		m.Queued, m.QueuePosition, m.QueueState = true, e.Position, strings.ToLower(strings.ReplaceAll(e.State, "_", " "))
	}
	var required []string
	if b := p.BaseRef; b != nil && b.BranchProtectionRule != nil {
		m.Approvals = b.BranchProtectionRule.RequiredApprovingReviewCount
		required = append(required, b.BranchProtectionRule.RequiredStatusCheckContexts...)
	}
	if rulesErr != nil {
		m.Notes = append(m.Notes, "the rules of "+f.branch+" could not be read: "+rulesErr.Error())
	}
	for _, r := range rules {
		switch r.Type {
		case "merge_queue":
			m.QueueRequired = true
		case "pull_request":
			m.Approvals = max(m.Approvals, r.Parameters.RequiredApprovingReviewCount)
		case "required_status_checks":
			for _, c := range r.Parameters.RequiredStatusChecks {
				required = append(required, c.Context)
			}
		}
	}
	unreported := "missing"
	if denied != "" {
		unreported = "cannot be read"
		m.Notes = append(m.Notes, fmt.Sprintf("the checks of #%d could not be read: %s; that needs checks: read and commit statuses: read", number, denied))
	}
	for _, n := range p.Commits.Nodes {
		if n.Commit.StatusCheckRollup == nil {
			continue
		}
		for _, c := range n.Commit.StatusCheckRollup.Contexts.Nodes {
			if c.Name == "" && c.Context == "" { // refused
				continue
			}
			check := rollback.Check{Name: c.Context, State: strings.ToLower(c.State), URL: c.TargetURL, Required: c.IsRequired}
			if c.Name != "" {
				check = rollback.Check{Name: c.Name, State: strings.ToLower(c.Conclusion), URL: c.DetailsURL, Required: c.IsRequired}
				if c.Status != "COMPLETED" {
					check.State = strings.ToLower(strings.ReplaceAll(c.Status, "_", " "))
				}
			}
			check.Required = check.Required || slices.Contains(required, check.Name)
			m.Checks = append(m.Checks, check)
		}
	}
	for _, name := range required { // GitHub lists only checks that have begun
		if !slices.ContainsFunc(m.Checks, func(c rollback.Check) bool { return c.Name == name }) {
			m.Checks = append(m.Checks, rollback.Check{Name: name, State: unreported, Required: true})
		}
	}
	return m, nil
}

// rule is one rule of a branch. go-github v60 refuses the whole list where it does not know one kind; here unknown kinds
// are left alone (https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch).
type rule struct {
	Type       string `json:"type"`
	Parameters struct {
		RequiredApprovingReviewCount int `json:"required_approving_review_count"`
		RequiredStatusChecks         []struct {
			Context string `json:"context"`
		} `json:"required_status_checks"`
	} `json:"parameters"`
}

func (f *Forge) rules(ctx context.Context) ([]rule, error) {
	var list []rule
	err := f.rest(ctx, call{op: "read the rules of " + f.branch}, http.MethodGet, "rules/branches/"+url.PathEscape(f.branch)+"?per_page=100", nil, &list)
	return list, err
}

const (
	autoMergeMutation = `mutation($id:ID!,$method:PullRequestMergeMethod!,$head:GitObjectID!){
  enablePullRequestAutoMerge(input:{pullRequestId:$id,mergeMethod:$method,expectedHeadOid:$head}){pullRequest{number}}
}`
	enqueueMutation = `mutation($id:ID!,$head:GitObjectID!){
  enqueuePullRequest(input:{pullRequestId:$id,expectedHeadOid:$head}){mergeQueueEntry{position}}
}`
)

// Merge merges a pull request now where nothing is missing; else it has GitHub do so as soon as nothing is. It returns the
// state afterwards: merged, queued, or with auto-merge and what is missing. GitHub is told which commit is meant.
func (f *Forge) Merge(ctx context.Context, number int, head rollback.Commit) (rollback.MergeState, error) {
	m, err := f.mergeInfo(ctx, number)
	if err != nil || m.PR.State != rollback.PullOpen || m.Queued {
		return m.MergeState, err
	}
	if m.PR.HeadCommit != head {
		return m.MergeState, f.headMoved(number, head, m.PR.HeadCommit)
	}
	if m.Conflicts || m.PR.Draft {
		return m.MergeState, nil
	}
	if len(m.methods) == 0 {
		return m.MergeState, &rollback.CallError{System: system, Op: fmt.Sprintf("merge #%d", number), Kind: rollback.Rejected,
			Err: errors.New("the repository allows no way of merging"), Fix: "allow one in the repository's settings"}
	}
	now := f.mergeNow
	if m.QueueRequired { // merged past its queue, who may do that skips what the queue is for
		now = f.enqueue
	}
	switch {
	case m.Clean:
		err = now(ctx, m)
	case m.AutoMerge:
		return m.MergeState, nil
	default:
		err = f.autoMerge(ctx, m)
		if said := refusalIn(err); err != nil && (said.says("clean status") || said.says("unstable status")) { // it became mergeable meanwhile
			err = now(ctx, m)
		}
	}
	for n := 1; ; n++ {
		after, readErr := f.mergeInfo(ctx, number)
		switch {
		case readErr != nil && err == nil:
			return m.MergeState, readErr
		case readErr != nil:
			return m.MergeState, err
		case after.PR.State == rollback.PullMerged || after.Queued || after.AutoMerge: // whatever became of our answer
			return after.MergeState, nil
		case after.PR.State == rollback.PullOpen && after.PR.HeadCommit != head:
			return after.MergeState, f.headMoved(number, head, after.PR.HeadCommit)
		case !baseMoved(err) || n == rounds || !after.Clean || f.guard.pause(ctx, computingWait) != nil:
			return after.MergeState, err
		}
		m = after
		err = now(ctx, m)
	}
}

// headMoved is the error of a pull request that holds something else than what was to be merged.
func (f *Forge) headMoved(number int, wanted, found rollback.Commit) error {
	return &rollback.CallError{System: system, Op: fmt.Sprintf("merge #%d", number), Kind: rollback.Conflict,
		Err: &rollback.HeadMoved{PR: number, Wanted: wanted, Found: found}, Fix: "run the same command again: it checks what is there now"}
}

// baseMoved tells whether a merge failed because something else was merged at the same moment.
func baseMoved(err error) bool {
	said := refusalIn(err)
	return said.status == http.StatusMethodNotAllowed && said.says("base branch was modified")
}

func (f *Forge) mergeNow(ctx context.Context, m mergeInfo) error {
	in := map[string]string{"sha": string(m.PR.HeadCommit), "merge_method": m.methods[0]}
	var out struct{ Merged bool }
	op := fmt.Sprintf("merge #%d", m.PR.Number)
	err := f.rest(ctx, call{op: op}, http.MethodPut, fmt.Sprintf("pulls/%d/merge", m.PR.Number), in, &out)
	said := refusalIn(err)
	moved := baseMoved(err)
	if !moved && said.status != http.StatusConflict {
		return err
	}
	fixed := *asCall(err)
	fixed.Kind, fixed.Fix = rollback.Conflict, "somebody pushed to the pull request meanwhile: look at it, and run the same command again"
	if moved {
		fixed.Fix = "something else was merged at the same moment: run the same command again"
	}
	return &fixed
}

func (f *Forge) autoMerge(ctx context.Context, m mergeInfo) error {
	op := fmt.Sprintf("enable auto-merge of #%d", m.PR.Number)
	var out struct{}
	err := f.ask(ctx, call{op: op, repeatable: true}, autoMergeMutation,
		map[string]any{"id": m.id, "method": strings.ToUpper(m.methods[0]), "head": m.PR.HeadCommit}, &out)
	if err != nil && (!m.auto || refusalIn(err).says("auto merge is not allowed") || refusalIn(err).says("auto-merge is not allowed")) {
		if e := asCall(err); e != nil && e.Kind == rollback.Rejected {
			fixed := *e
			fixed.Fix = "allow auto-merge in the repository's settings, or merge it by hand: " + m.PR.URL
			return &fixed
		}
	}
	return err
}

func (f *Forge) enqueue(ctx context.Context, m mergeInfo) error {
	var out struct{}
	return f.ask(ctx, call{op: fmt.Sprintf("put #%d into the merge queue", m.PR.Number)}, enqueueMutation,
		map[string]any{"id": m.id, "head": m.PR.HeadCommit}, &out)
}

func asCall(err error) *rollback.CallError {
	if e := (*rollback.CallError)(nil); errors.As(err, &e) {
		return e
	}
	return nil
}
