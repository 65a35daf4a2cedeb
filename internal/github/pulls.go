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

// pullFields are what GraphQL is asked about a pull request.
const pullFields = `number title url state isDraft baseRefName headRefName headRefOid isCrossRepository createdAt mergedAt author{__typename login} mergeCommit{oid}`

// What marks a revert as ours is in its text, and texts are most of what there is to send. Those of open pull requests come
// along; those of merged ones are read by themselves, where they matter and of those that matter (mergedRevert). The search
// could pick ours out, but its index lags behind (https://github.com/cli/cli/issues/7764), and what a killed run opened a second
// ago must be found; and the name of our branch follows from the range, which is not known before the log is read. All this is
// asked together with the log and not as a part of it: joined, the two would take as long as both, and the log is also read
// alone, and in pages.
const (
	pullsQuery = `query PullRequests($owner:String!,$name:String!,$base:String!){
  repository(owner:$owner,name:$name){
    nameWithOwner
    pullRequests(first:100,baseRefName:$base,orderBy:{field:CREATED_AT,direction:DESC}){pageInfo{hasNextPage endCursor} nodes{id ` + pullFields + `}}
    open:pullRequests(first:100,baseRefName:$base,states:OPEN,orderBy:{field:CREATED_AT,direction:DESC}){nodes{id ` + pullFields + ` body
      labels(first:1){totalCount} reviewRequests(first:1){totalCount} reviews(first:1){totalCount}}}
  }
}`
	olderQuery = `query PullRequestsBefore($owner:String!,$name:String!,$base:String!,$after:String!){
  repository(owner:$owner,name:$name){
    nameWithOwner
    pullRequests(first:100,after:$after,baseRefName:$base,orderBy:{field:CREATED_AT,direction:DESC}){pageInfo{hasNextPage endCursor} nodes{id ` + pullFields + `}}
  }
}`
	pullsFromQuery = `query PullRequestsFrom($owner:String!,$name:String!,$base:String!,$head:String!){
  repository(owner:$owner,name:$name){
    nameWithOwner
    pullRequests(first:100,baseRefName:$base,headRefName:$head,states:OPEN,orderBy:{field:CREATED_AT,direction:DESC}){nodes{` + pullFields + `}}
  }
}`
	textsQuery = `query PullRequestTexts($ids:[ID!]!){nodes(ids:$ids){... on PullRequest{number body}}}`
)

// pullNode is a pull request as GraphQL tells it.
type pullNode struct {
	ID                                   string
	Number                               int
	Title, URL, State, Body              string
	IsDraft, IsCrossRepository           bool
	BaseRefName, HeadRefName, HeadRefOID string
	CreatedAt                            time.Time
	MergedAt                             *time.Time
	Author                               *struct {
		Typename string `json:"__typename"`
		Login    string
	}
	MergeCommit *struct{ OID string }

	Labels, ReviewRequests, Reviews *struct{ TotalCount int } // of open ones
}

// pullNodes is a list of them. An entry is null where GitHub cannot show it.
type pullNodes struct {
	PageInfo struct {
		HasNextPage bool
		EndCursor   string
	}
	Nodes []*pullNode
}

// next is where the page after this one begins, "" if there is none.
func (n *pullNodes) next() string {
	if !n.PageInfo.HasNextPage {
		return ""
	}
	return n.PageInfo.EndCursor
}

// listing is pull requests into the branch, newest first, and their ids by their numbers.
type listing struct {
	pulls []rollback.PullRequest
	ids   map[int]string
	next  string // where older ones are, "" if there are none
	// unlabelled have no label, unasked neither a review nor anybody who was asked for one. Only of open ones it is known.
	unlabelled, unasked map[int]bool
}

// pulls lists the newest pull requests into the branch in every state, at most 100, and the newest that are open, at most 100
// as well; those with their texts.
func (f *Forge) pulls(ctx context.Context) (listing, error) {
	const op = "list pull requests"
	recent, open, err := f.askPulls(ctx, op, pullsQuery, map[string]any{})
	if err != nil {
		return listing{}, err
	}
	if open == nil || open.Nodes == nil {
		return listing{}, f.strange(op, "the answer holds no texts")
	}
	texts := map[int]string{}
	l := listing{ids: map[int]string{}, next: recent.next(), unlabelled: map[int]bool{}, unasked: map[int]bool{}}
	for _, n := range open.Nodes {
		if n != nil {
			texts[n.Number] = n.Body
			l.unlabelled[n.Number] = n.Labels != nil && n.Labels.TotalCount == 0
			l.unasked[n.Number] = n.ReviewRequests != nil && n.Reviews != nil && n.ReviewRequests.TotalCount+n.Reviews.TotalCount == 0
		}
	}
	for _, n := range append(recent.Nodes, open.Nodes...) {
		if n == nil || l.ids[n.Number] != "" || n.BaseRefName != f.branch {
			continue
		}
		p := n.pull()
		p.Body = texts[n.Number]
		l.pulls, l.ids[n.Number] = append(l.pulls, p), n.ID
	}
	return l, nil
}

// older adds the next 100 pull requests to a listing, and returns them.
func (f *Forge) older(ctx context.Context, l *listing) ([]rollback.PullRequest, error) {
	page, _, err := f.askPulls(ctx, "list older pull requests", olderQuery, map[string]any{"after": l.next})
	if err != nil {
		return nil, err
	}
	var added []rollback.PullRequest
	for _, n := range page.Nodes {
		if l.ids[n.Number] == "" {
			added, l.ids[n.Number] = append(added, n.pull()), n.ID
		}
	}
	l.pulls, l.next = append(l.pulls, added...), page.next()
	return added, nil
}

// openFrom finds the open pull request of a branch of ours; the zero value if there is none.
func (f *Forge) openFrom(ctx context.Context, head string) (rollback.PullRequest, error) {
	from, _, err := f.askPulls(ctx, "list pull requests from "+head, pullsFromQuery, map[string]any{"head": head})
	for _, n := range from.Nodes {
		// GitHub finds the branches of that name in forks as well.
		if p := n.pull(); p.State == rollback.PullOpen && p.Head == head && !p.Fork {
			return p, nil
		}
	}
	return rollback.PullRequest{}, err
}

// askPulls asks for pull requests into the branch.
func (f *Forge) askPulls(ctx context.Context, op, query string, variables map[string]any) (list pullNodes, open *pullNodes, err error) {
	variables["owner"], variables["name"], variables["base"] = f.owner, f.name, f.branch
	var out struct {
		Repository *struct {
			NameWithOwner string
			PullRequests  *pullNodes
			Open          *pullNodes
		}
	}
	if err := f.ask(ctx, call{op: op, query: true}, query, variables, &out); err != nil {
		return list, nil, err
	}
	r := out.Repository
	switch {
	case r == nil:
		return list, nil, f.strange(op, "the answer names no repository")
	case !strings.EqualFold(r.NameWithOwner, f.Repo()): // GraphQL follows a rename without a word
		return list, nil, f.moved(op, r.NameWithOwner)
	case r.PullRequests == nil || r.PullRequests.Nodes == nil: // which is not the same as none
		return list, nil, f.strange(op, "the answer lists no pull requests")
	}
	list.PageInfo = r.PullRequests.PageInfo
	for _, n := range r.PullRequests.Nodes {
		switch {
		case n == nil:
		case n.Number <= 0 || !slices.Contains([]string{"OPEN", "CLOSED", "MERGED"}, n.State):
			return pullNodes{}, nil, f.strange(op, "the answer lists something other than pull requests")
		case n.BaseRefName == f.branch:
			list.Nodes = append(list.Nodes, n)
		}
	}
	return list, r.Open, nil
}

// texts reads the texts of pull requests, at most 100, by their ids.
func (f *Forge) texts(ctx context.Context, ids []string) (map[int]string, error) {
	const op = "read the texts of pull requests"
	var out struct{ Nodes []*pullNode }
	if err := f.ask(ctx, call{op: op, query: true}, textsQuery, map[string]any{"ids": ids}, &out); err != nil {
		return nil, err
	}
	texts := map[int]string{}
	for _, n := range out.Nodes {
		if n != nil && n.Number > 0 {
			texts[n.Number] = n.Body
		}
	}
	if len(texts) != len(ids) {
		return nil, f.strange(op, "the answer holds other texts than those that were asked for")
	}
	return texts, nil
}

// ghost is whom GitHub's pages and REST show in place of an account that is gone, where GraphQL has null.
const ghost = "ghost"

func (n *pullNode) pull() rollback.PullRequest {
	p := rollback.PullRequest{
		Number: n.Number, Title: n.Title, URL: n.URL, Author: ghost, State: rollback.PullOpen, Draft: n.IsDraft, Base: n.BaseRefName, Head: n.HeadRefName,
		Fork: n.IsCrossRepository, HeadCommit: rollback.Commit(n.HeadRefOID), CreatedAt: n.CreatedAt,
	}
	if a := n.Author; a != nil {
		p.Author = a.Login
		if a.Typename == "Bot" { // whose name GraphQL cuts short
			p.Author = strings.TrimSuffix(a.Login, "[bot]") + "[bot]"
		}
	}
	switch n.State {
	case "CLOSED":
		p.State = rollback.PullClosed
	case "MERGED":
		p.State = rollback.PullMerged
		if n.MergedAt != nil {
			p.MergedAt = *n.MergedAt
		}
		if n.MergeCommit != nil {
			p.MergeCommit = rollback.Commit(n.MergeCommit.OID)
		}
	}
	return p
}

// closePull closes a pull request without merging it. Its branch stays, so that it can be reopened.
func (f *Forge) closePull(ctx context.Context, number int) error {
	var out struct{ State string }
	return f.rest(ctx, call{op: fmt.Sprintf("close #%d", number), repeatable: true}, http.MethodPatch, fmt.Sprintf("pulls/%d", number), map[string]string{"state": "closed"}, &out)
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

// checkFields are a page of the checks of a pull request's tip.
const checkFields = `commits(last:1){totalCount nodes{commit{oid statusCheckRollup{contexts(first:100,after:$after){pageInfo{hasNextPage endCursor} nodes{
        __typename
        ... on CheckRun{name status conclusion detailsUrl isRequired(pullRequestNumber:$number)}
        ... on StatusContext{context state targetUrl isRequired(pullRequestNumber:$number)}
      }}}}}}`

// checksQuery asks for the checks beyond the first page, checkPages is how many pages there are at most.
const (
	checksQuery = `query($owner:String!,$name:String!,$number:Int!,$after:String){
  repository(owner:$owner,name:$name){pullRequest(number:$number){` + checkFields + `}}
}`
	checkPages = 10
)

// checkCommits is the answer to checkFields.
type checkCommits struct {
	TotalCount int
	Nodes      []struct {
		Commit struct {
			OID               string
			StatusCheckRollup *struct {
				Contexts struct {
					PageInfo struct {
						HasNextPage bool
						EndCursor   string
					}
					Nodes []checkNode
				}
			}
		}
	}
}

type checkNode struct {
	Name, Status, Conclusion, DetailsURL string // check run
	Context, State, TargetURL            string // commit status
	IsRequired                           bool
}

// checks are those of all pages, of which the first is there. All pages are of one commit.
func (f *Forge) checks(ctx context.Context, number int, first checkCommits) ([]checkNode, error) {
	var all []checkNode
	op := fmt.Sprintf("read the checks of #%d", number)
	tip := ""
	for page := 1; ; page++ {
		if len(first.Nodes) == 0 || first.Nodes[0].Commit.StatusCheckRollup == nil {
			return all, nil
		}
		of, list := first.Nodes[0].Commit.OID, first.Nodes[0].Commit.StatusCheckRollup.Contexts
		if page > 1 && of != tip {
			return all, f.strange(op, "somebody pushed to it meanwhile")
		}
		tip, all = of, append(all, list.Nodes...)
		if !list.PageInfo.HasNextPage {
			return all, nil
		}
		if page == checkPages {
			return all, f.strange(op, fmt.Sprintf("there are more than %d", len(all)))
		}
		var out struct {
			Repository struct {
				PullRequest *struct{ Commits checkCommits }
			}
		}
		lost := ""
		err := f.ask(ctx, call{op: op, query: true, spare: "statusCheckRollup", lost: &lost}, checksQuery,
			map[string]any{"owner": f.owner, "name": f.name, "number": number, "after": list.PageInfo.EndCursor}, &out)
		if err != nil {
			return all, err
		}
		if out.Repository.PullRequest == nil {
			return all, f.strange(op, "the answer does not describe the pull request")
		}
		first = out.Repository.PullRequest.Commits
	}
}

const mergeQuery = `query($owner:String!,$name:String!,$number:Int!,$after:String){
  repository(owner:$owner,name:$name){
    mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed autoMergeAllowed
    pullRequest(number:$number){
      id ` + pullFields + `
      mergeable mergeStateStatus reviewDecision
      autoMergeRequest{enabledAt}
      isInMergeQueue isMergeQueueEnabled mergeQueueEntry{position state}
      reviewRequests(first:20){nodes{requestedReviewer{__typename ... on User{login}}}}
      baseRef{branchProtectionRule{requiredApprovingReviewCount requiredStatusCheckContexts}}
      ` + checkFields + `
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
				pullNode
				Mergeable, MergeStateStatus         string
				ReviewDecision                      string
				AutoMergeRequest                    *struct{ EnabledAt *time.Time }
				IsInMergeQueue, IsMergeQueueEnabled bool
				MergeQueueEntry                     *struct {
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
				Commits checkCommits
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
	m.PR = p.pull()
	m.PR.Commits = p.Commits.TotalCount
	if m.PR.State != rollback.PullOpen {
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
	reported, checksErr := f.checks(ctx, number, p.Commits)
	if checksErr != nil {
		unreported = "cannot be read"
		m.Notes = append(m.Notes, fmt.Sprintf("not all checks of #%d could be read: %v", number, checksErr))
	}
	for _, c := range reported {
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
