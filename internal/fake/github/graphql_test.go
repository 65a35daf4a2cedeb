package github

import (
	"maps"
	"strings"
	"testing"
)

// ask sends a GraphQL document; the answer's errors are in at("errors", …).
func (c *client) ask(query string, variables obj) reply {
	c.t.Helper()
	base := c.base // GitHub Enterprise Server: /api/v3 beside /api/graphql
	c.base = strings.TrimSuffix(base, "/v3")
	defer func() { c.base = base }()
	return c.want(200, "POST", "/graphql", obj{"query": query, "variables": variables})
}

// mustAsk fails the test at errors.
func (c *client) mustAsk(query string, variables obj) reply {
	c.t.Helper()
	r := c.ask(query, variables)
	if r.at("errors") != nil {
		c.t.Fatalf("GraphQL: %s", r.text)
	}
	return r
}

const logQuery = `query($owner:String!,$name:String!,$ref:String!,$after:String,$file:String!){
  repository(owner:$owner,name:$name){
    nameWithOwner
    file:object(expression:$file){... on Blob{text}}
    ref(qualifiedName:$ref){target{oid ... on Commit{history(first:2,after:$after){
      totalCount
      pageInfo{hasNextPage endCursor}
      nodes{
        oid messageHeadline messageBody committedDate authoredDate url
        tree{oid}
        author{name user{login}}
        parents(first:3){nodes{oid}}
        associatedPullRequests(first:5){nodes{number url merged baseRefName mergeCommit{oid}}}
      }
    }}}}
  }
}`

func TestHistory(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/api/v3"} {
		t.Run("base "+base, func(t *testing.T) {
			t.Parallel()
			c := serve(t, Options{})
			c.base = base
			r := c.repo(RepositoryOptions{})
			first := r.Head("main")
			pr := c.open(r, "fee", "Raise the fee", map[string]string{"pay.go": "package pay\n"})
			squash, err := r.Merge(pr, "squash", "hubot")
			if err != nil {
				t.Fatal(err)
			}
			head, err := r.Commit("main", Change{Message: "Third\n\nWith a body", Author: "No Body <nobody@acme.example>", Files: map[string]string{"c": "c"}})
			if err != nil {
				t.Fatal(err)
			}
			vars := obj{"owner": "acme", "name": "payments", "ref": "refs/heads/main", "file": "HEAD:c", "after": nil}
			got := c.mustAsk(logQuery, vars)
			target := []any{"data", "repository", "ref", "target"}
			at := func(keys ...any) any { return got.at(append(append([]any{}, target...), keys...)...) }
			equal(t, "file", got.at("data", "repository", "file", "text"), any("c"))
			equal(t, "oid", at("oid"), any(head))
			equal(t, "total", at("history", "totalCount"), any(3.0))
			equal(t, "more", at("history", "pageInfo", "hasNextPage"), any(true))
			equal(t, "headline", at("history", "nodes", 0, "messageHeadline"), any("Third"))
			equal(t, "body", at("history", "nodes", 0, "messageBody"), any("With a body"))
			equal(t, "unknown author", at("history", "nodes", 0, "author", "user"), nil)
			equal(t, "author", at("history", "nodes", 1, "author", "user", "login"), any("octocat"))
			equal(t, "parent", at("history", "nodes", 1, "parents", "nodes", 0, "oid"), any(first))
			equal(t, "number", at("history", "nodes", 1, "associatedPullRequests", "nodes", 0, "number"), any(float64(pr)))
			equal(t, "merge commit", at("history", "nodes", 1, "associatedPullRequests", "nodes", 0, "mergeCommit", "oid"), any(squash))
			vars["after"] = at("history", "pageInfo", "endCursor")
			got = c.mustAsk(logQuery, vars)
			equal(t, "second page", at("history", "nodes", 0, "oid"), any(first))
			equal(t, "more", at("history", "pageInfo", "hasNextPage"), any(false))
			vars["ref"], vars["after"] = "refs/heads/none", nil
			equal(t, "no such ref", c.mustAsk(logQuery, vars).at("data", "repository", "ref"), nil)
		})
	}
}

const pullQuery = `query($owner:String!,$name:String!,$number:Int!){
  repository(owner:$owner,name:$name){
    mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed autoMergeAllowed
    pullRequest(number:$number){
      id number title url state isDraft baseRefName headRefName headRefOid createdAt mergedAt
      author{login} mergeCommit{oid}
      mergeable mergeStateStatus reviewDecision
      labels(first:10){nodes{name}}
      autoMergeRequest{enabledAt mergeMethod enabledBy{login}}
      isInMergeQueue isMergeQueueEnabled mergeQueueEntry{position state}
      reviewRequests(first:20){nodes{requestedReviewer{__typename ... on User{login} ... on Team{slug}}}}
      baseRef{branchProtectionRule{requiredApprovingReviewCount requiredStatusCheckContexts}}
      files(first:10){nodes{path changeType additions}}
      reviews(last:5){nodes{author{login} state}}
      comments(first:5){totalCount}
      commits(last:1){totalCount nodes{commit{oid statusCheckRollup{state contexts(first:100){nodes{
        __typename
        ... on CheckRun{name status conclusion detailsUrl isRequired(pullRequestNumber:$number)}
        ... on StatusContext{context state targetUrl isRequired(pullRequestNumber:$number)}
      }}}}}}
    }
  }
}`

type look struct {
	c *client
	r reply
}

func (c *client) look(n int) look {
	c.t.Helper()
	return look{c, c.mustAsk(pullQuery, obj{"owner": "acme", "name": "payments", "number": n})}
}

func (l look) at(keys ...any) any {
	return l.r.at(append([]any{"data", "repository", "pullRequest"}, keys...)...)
}

func TestPullByGraphQL(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{AutoMerge: true})
	c.s.AddUser("alice", "Alice", "alice@acme.example")
	r.Protect(Protection{Branch: "main", Reviews: 1, Checks: []string{"build"}, Classic: true})
	n := c.open(r, "fee", "Raise the fee", map[string]string{"pay.go": "x"})
	c.want(201, "POST", payments+"/pulls/1/requested_reviewers", obj{"reviewers": []string{"alice"}, "team_reviewers": []string{"core"}})
	c.want(200, "POST", payments+"/issues/1/labels", []string{"rollback"})
	if err := r.SetCheckRun("fee", "build", "in_progress", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.SetStatus("fee", "other", "success"); err != nil {
		t.Fatal(err)
	}
	l := c.look(n)
	id := l.at("id")
	equal(t, "mergeable", l.at("mergeable"), any("MERGEABLE"))
	equal(t, "state", l.at("mergeStateStatus"), any("BLOCKED"))
	equal(t, "decision", l.at("reviewDecision"), any("REVIEW_REQUIRED"))
	equal(t, "label", l.at("labels", "nodes", 0, "name"), any("rollback"))
	equal(t, "reviewer", l.at("reviewRequests", "nodes", 0, "requestedReviewer", "login"), any("alice"))
	equal(t, "team", l.at("reviewRequests", "nodes", 1, "requestedReviewer", "slug"), any("core"))
	equal(t, "rule", l.at("baseRef", "branchProtectionRule", "requiredStatusCheckContexts", 0), any("build"))
	equal(t, "rollup", l.at("commits", "nodes", 0, "commit", "statusCheckRollup", "state"), any("PENDING"))
	contexts := []any{"commits", "nodes", 0, "commit", "statusCheckRollup", "contexts", "nodes"}
	equal(t, "check", l.at(append(contexts, 0, "name")...), any("build"))
	equal(t, "required", l.at(append(contexts, 0, "isRequired")...), any(true))
	equal(t, "not required", l.at(append(contexts, 1, "isRequired")...), any(false))
	equal(t, "file", l.at("files", "nodes", 0, "changeType"), any("MODIFIED"))

	auto := `mutation($id:ID!,$head:GitObjectID){enablePullRequestAutoMerge(input:{pullRequestId:$id,mergeMethod:SQUASH,expectedHeadOid:$head}){pullRequest{number autoMergeRequest{mergeMethod}}}}`
	equal(t, "head moved", c.ask(auto, obj{"id": id, "head": r.Head("main")}).at("errors", 0, "type"), any("UNPROCESSABLE"))
	equal(t, "enabled", c.mustAsk(auto, obj{"id": id, "head": r.Head("fee")}).at("data", "enablePullRequestAutoMerge", "pullRequest", "autoMergeRequest", "mergeMethod"), any("SQUASH"))
	equal(t, "enabled by", c.look(n).at("autoMergeRequest", "enabledBy", "login"), any(Login))
	if err := r.SetCheckRun("fee", "build", "completed", "success"); err != nil {
		t.Fatal(err)
	}
	equal(t, "still open", c.look(n).at("state"), any("OPEN"))
	if err := r.Review(n, "alice", "APPROVED"); err != nil {
		t.Fatal(err)
	}
	l = c.look(n)
	equal(t, "merged by itself", l.at("state"), any("MERGED"))
	equal(t, "merge commit", l.at("mergeCommit", "oid"), any(r.Head("main")))
	equal(t, "decision", l.at("reviewDecision"), any("APPROVED"))
}

const pullsQuery = `query Pulls($head:String,$states:[PullRequestState!],$field:IssueOrderField!,$direction:OrderDirection!){
  repository(owner:"acme",name:"payments"){
    pullRequests(first:100,baseRefName:"main",headRefName:$head,states:$states,orderBy:{field:$field,direction:$direction}){totalCount nodes{
      id number state body headRefName headRefOid isCrossRepository
      headRepository{nameWithOwner} headRepositoryOwner{login} author{__typename login} mergeCommit{oid}
    }}
  }
}`

// Deleted accounts are null, bots lose their suffix, forks are there with their branches' names, deleted ones without a
// repository; REST says each in its own way.
func TestPullsByGraphQL(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{DeleteBranchOnMerge: true})
	at := c.commit(r, "fee", "fee", map[string]string{"pay.go": "x"})
	open := func(o PullOptions) {
		t.Helper()
		if o.Title = "change"; o.Fork != "" {
			o.At = at
		}
		if _, err := r.OpenPull(o); err != nil {
			t.Fatal(err)
		}
	}
	open(PullOptions{Head: "fee", Author: "renovate[bot]", Body: "text"}) // 1
	open(PullOptions{Head: "fee", Fork: "ada", Author: "ada"})            // 2
	open(PullOptions{Head: "fee", Fork: "hubot", Author: "hubot"})        // 3
	open(PullOptions{Head: "main", Fork: "ada", Author: "ada"})           // 4
	if _, err := r.OpenPull(PullOptions{Head: "fee", Fork: "ada", At: at, Title: "again"}); err == nil || !strings.Contains(err.Error(), "A pull request already exists for ada:fee.") {
		t.Errorf("twice from a fork: %v", err)
	}
	if err := r.ClosePull(4, "octocat"); err != nil {
		t.Fatal(err)
	}
	c.s.DeleteUser("hubot")
	r.DeleteFork("hubot")
	// What happens to branches here is nothing to those of forks.
	moved := c.commit(r, "fee", "more", map[string]string{"more.go": "x"})
	ask := func(vars obj) func(keys ...any) any {
		t.Helper()
		all := obj{"field": "CREATED_AT", "direction": "DESC"}
		maps.Copy(all, vars)
		got := c.mustAsk(pullsQuery, all)
		return func(keys ...any) any { return got.at(append([]any{"data", "repository", "pullRequests"}, keys...)...) }
	}
	all := ask(nil)
	equal(t, "all", all("totalCount"), any(4.0))
	equal(t, "newest", all("nodes", 0, "number"), any(4.0))
	equal(t, "closed", all("nodes", 0, "state"), any("CLOSED"))
	equal(t, "gone", all("nodes", 1, "author"), nil)
	equal(t, "fork gone", all("nodes", 1, "headRepository"), nil)
	equal(t, "and its owner", all("nodes", 1, "headRepositoryOwner"), nil)
	equal(t, "its branch", all("nodes", 1, "headRefName"), any("fee"))
	equal(t, "it is none of ours", all("nodes", 1, "isCrossRepository"), any(true))
	equal(t, "fork", all("nodes", 2, "headRepository", "nameWithOwner"), any("ada/payments"))
	equal(t, "its owner", all("nodes", 2, "headRepositoryOwner", "login"), any("ada"))
	equal(t, "its commit", all("nodes", 2, "headRefOid"), any(at))
	equal(t, "ours", all("nodes", 3, "isCrossRepository"), any(false))
	equal(t, "our commit", all("nodes", 3, "headRefOid"), any(moved))
	equal(t, "bot", all("nodes", 3, "author", "login"), any("renovate"))
	equal(t, "kind", all("nodes", 3, "author", "__typename"), any("Bot"))
	equal(t, "text", all("nodes", 3, "body"), any("text"))
	equal(t, "no merge yet", all("nodes", 3, "mergeCommit"), nil)
	equal(t, "of a branch, in forks too", ask(obj{"head": "fee"})("totalCount"), any(3.0))
	equal(t, "open", ask(obj{"head": "fee", "states": []string{"OPEN"}})("totalCount"), any(3.0))
	equal(t, "merged", ask(obj{"states": []string{"MERGED"}})("totalCount"), any(0.0))
	equal(t, "oldest", ask(obj{"direction": "ASC"})("nodes", 0, "number"), any(1.0))
	equal(t, "counted", c.s.Count("graphql:Pulls"), 5)

	list := c.want(200, "GET", payments+"/pulls?head=ada:fee", nil)
	equal(t, "fork", list.at(0, "head", "repo", "full_name"), any("ada/payments"))
	equal(t, "label", list.at(0, "head", "label"), any("ada:fee"))
	equal(t, "ours", c.want(200, "GET", payments+"/pulls?head=acme:fee", nil).at(0, "user", "login"), any("renovate[bot]"))
	var heard recorder // GitHub breaches its own contract here
	c.s.Strict(&heard)
	gone := c.want(200, "GET", payments+"/pulls/3", nil)
	c.s.Strict(t)
	equal(t, "fork gone", gone.at("head", "repo"), nil)
	equal(t, "its branch", gone.at("head", "ref"), any("fee"))
	equal(t, "gone", gone.at("user", "login"), any("ghost"))
	if len(heard) != 1 || !strings.Contains(heard[0], "head.repo: null is not allowed") {
		t.Errorf("reported: %q", heard)
	}

	// A merge deletes our branch and not the one of that name in a fork; the text is there by the id.
	if _, err := r.Merge(2, "squash", "octocat"); err != nil {
		t.Fatal(err)
	}
	equal(t, "our branch", r.Head("fee"), moved)
	equal(t, "as what", ask(obj{"states": []string{"MERGED"}})("nodes", 0, "mergeCommit", "oid"), any(r.Head("main")))
	node := `query Text($ids:[ID!]!){nodes(ids:$ids){... on PullRequest{number body}}}`
	got := c.mustAsk(node, obj{"ids": []any{all("nodes", 3, "id")}})
	equal(t, "by id", got.at("data", "nodes", 0, "body"), any("text"))
	c.s.Deny("pull_requests:read", "pull_requests:write")
	equal(t, "not without the right", c.ask(node, obj{"ids": []any{all("nodes", 3, "id")}}).at("errors", 0, "type"), any("FORBIDDEN"))
	equal(t, "nor the list", c.ask(`{repository(owner:"acme",name:"payments"){pullRequests(first:1){totalCount}}}`, nil).at("errors", 0, "type"), any("FORBIDDEN"))
}

func TestAutoMergeRefusals(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{NoSquash: true})
	n := c.open(r, "fee", "fee", map[string]string{"pay.go": "x"})
	id := c.look(n).at("id")
	enable := func(method, says string) {
		t.Helper()
		got := c.ask(`mutation($id:ID!,$m:PullRequestMergeMethod!){enablePullRequestAutoMerge(input:{pullRequestId:$id,mergeMethod:$m}){pullRequest{number}}}`, obj{"id": id, "m": method})
		text, _ := got.at("errors", 0, "message").(string)
		if !strings.Contains(text, says) || got.at("data", "enablePullRequestAutoMerge") != nil {
			t.Errorf("got %s, want %q", got.text, says)
		}
	}
	enable("MERGE", "Auto merge is not allowed for this repository")
	r.Configure(func(o *RepositoryOptions) { o.AutoMerge = true })
	enable("SQUASH", "squash merging is not allowed")
	enable("MERGE", "Pull request is in clean status")
	if err := r.SetStatus("fee", "x", "failure"); err != nil {
		t.Fatal(err)
	}
	enable("MERGE", "Pull request is in unstable status")
	c.mustAsk(`mutation($id:ID!){convertPullRequestToDraft(input:{pullRequestId:$id}){pullRequest{isDraft}}}`, obj{"id": id})
	enable("MERGE", "draft")
	c.mustAsk(`mutation($id:ID!){markPullRequestReadyForReview(input:{pullRequestId:$id}){pullRequest{isDraft}}}`, obj{"id": id})
	c.commit(r, "main", "conflict", map[string]string{"pay.go": "y"})
	enable("MERGE", "dirty")
}

func TestMergeQueue(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{AutoMerge: true})
	r.Protect(Protection{Branch: "main", MergeQueue: true, Checks: []string{"build"}})
	n := c.open(r, "fee", "fee", map[string]string{"pay.go": "x"})
	second := c.open(r, "fee2", "fee2", map[string]string{"pay.go": "y"})
	id := c.look(n).at("id")
	enqueue := `mutation($id:ID!){enqueuePullRequest(input:{pullRequestId:$id}){mergeQueueEntry{position state}}}`
	equal(t, "not yet", c.ask(enqueue, obj{"id": id}).at("errors", 0, "type"), any("UNPROCESSABLE"))
	for _, b := range []string{"fee", "fee2"} {
		if err := r.SetStatus(b, "build", "success"); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "enabled", c.look(n).at("isMergeQueueEnabled"), any(true))
	equal(t, "position", c.mustAsk(enqueue, obj{"id": id}).at("data", "enqueuePullRequest", "mergeQueueEntry", "position"), any(1.0))
	equal(t, "twice", c.ask(enqueue, obj{"id": id}).at("errors", 0, "message"), any("Pull request is already in the queue"))
	// With a queue, auto-merge means: queue it when nothing stands against it.
	c.mustAsk(`mutation($id:ID!){enablePullRequestAutoMerge(input:{pullRequestId:$id}){pullRequest{number}}}`, obj{"id": c.look(second).at("id")})
	equal(t, "queued", c.look(second).at("mergeQueueEntry", "position"), any(2.0))
	merged, err := r.MergeQueued("squash")
	if err != nil || len(merged) != 1 || merged[0] != n {
		t.Errorf("merged %v, %v", merged, err)
	}
	equal(t, "merged", c.look(n).at("state"), any("MERGED"))
	equal(t, "thrown out", c.look(second).at("isInMergeQueue"), any(false))
}

func TestRevertMutation(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			c := serve(t, Options{})
			r := c.repo(RepositoryOptions{})
			before, _ := r.File("main", "pay.go")
			n := c.open(r, "fee", "Raise the fee", map[string]string{"pay.go": strings.Replace(before, "1", "1000", 1)})
			c.commit(r, "fee", "more", map[string]string{"more": "x"})
			id := c.look(n).at("id")
			revert := `mutation($id:ID!){revertPullRequest(input:{pullRequestId:$id,body:"why"}){revertPullRequest{number title body headRefName} pullRequest{number}}}`
			equal(t, "not merged yet", c.ask(revert, obj{"id": id}).at("errors", 0, "type"), any("UNPROCESSABLE"))
			if _, err := r.Merge(n, method, "octocat"); err != nil {
				t.Fatal(err)
			}
			c.commit(r, "main", "later", map[string]string{"README.md": "later"})
			got := c.mustAsk(revert, obj{"id": id})
			at := func(k string) any { return got.at("data", "revertPullRequest", "revertPullRequest", k) }
			equal(t, "title", at("title"), any(`Revert "Raise the fee"`))
			equal(t, "branch", at("headRefName"), any("revert-1-fee"))
			if _, err := r.Merge(int(at("number").(float64)), "squash", "octocat"); err != nil {
				t.Fatal(err)
			}
			if text, _ := r.File("main", "pay.go"); text != before {
				t.Errorf("pay.go: %q", text)
			}
			if _, ok := r.File("main", "more"); ok {
				t.Error("the second commit was not undone")
			}
			if text, _ := r.File("main", "README.md"); text != "later" {
				t.Error("what came later was undone too")
			}
			c.commit(r, "main", "rewritten", map[string]string{"pay.go": "rewritten"})
			other := c.open(r, "x", "x", map[string]string{"pay.go": "x"})
			if _, err := r.Merge(other, method, "octocat"); err != nil {
				t.Fatal(err)
			}
			c.commit(r, "main", "again", map[string]string{"pay.go": "again"})
			text, _ := c.ask(revert, obj{"id": c.look(other).at("id")}).at("errors", 0, "message").(string)
			if !strings.Contains(text, "couldn't be reverted automatically") {
				t.Errorf("a conflict said %q", text)
			}
		})
	}
}

func TestOtherMutations(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	c.commit(r, "fee", "fee", map[string]string{"pay.go": "x"})
	repo := c.mustAsk(`{repository(owner:"acme",name:"payments"){id}}`, nil).at("data", "repository", "id")
	create := `mutation($r:ID!){createPullRequest(input:{repositoryId:$r,baseRefName:"main",headRefName:"fee",title:"T",body:"B"}){pullRequest{id number body}}}`
	got := c.mustAsk(create, obj{"r": repo})
	id := got.at("data", "createPullRequest", "pullRequest", "id")
	equal(t, "again", c.ask(create, obj{"r": repo}).at("errors", 0, "message"), any("A pull request already exists for acme:fee."))
	c.mustAsk(`mutation($id:ID!){updatePullRequest(input:{pullRequestId:$id,title:"U"}){pullRequest{title}} addComment(input:{subjectId:$id,body:"hi"}){commentEdge{node{body}}}}`, obj{"id": id})
	c.mustAsk(`mutation($id:ID!){closePullRequest(input:{pullRequestId:$id}){pullRequest{closed}}}`, obj{"id": id})
	c.mustAsk(`mutation($id:ID!){reopenPullRequest(input:{pullRequestId:$id}){pullRequest{closed}}}`, obj{"id": id})
	c.s.AddToken("alice-token", Access{Login: "alice"})
	c.token = "alice-token"
	c.mustAsk(`mutation($id:ID!){addPullRequestReview(input:{pullRequestId:$id,event:APPROVE}){pullRequestReview{state author{login}}}}`, obj{"id": id})
	c.token = Token
	review := c.ask(`mutation($id:ID!){addPullRequestReview(input:{pullRequestId:$id,event:APPROVE}){pullRequestReview{state}}}`, obj{"id": id})
	equal(t, "own", review.at("errors", 0, "message"), any("Review Can not approve your own pull request"))
	c.mustAsk(`mutation($id:ID!){mergePullRequest(input:{pullRequestId:$id,mergeMethod:SQUASH,commitHeadline:"H"}){pullRequest{merged mergeCommit{messageHeadline}}}}`, obj{"id": id})
	equal(t, "again", c.ask(`mutation($id:ID!){mergePullRequest(input:{pullRequestId:$id}){pullRequest{merged}}}`, obj{"id": id}).at("errors", 0, "message"), any("Pull Request is not mergeable"))
	p, _ := r.Pull(1)
	if !p.Merged || p.Title != "U" || len(p.Comments) != 1 {
		t.Errorf("%+v", p)
	}
	ref := c.mustAsk(`{repository(owner:"acme",name:"payments"){ref(qualifiedName:"fee"){id name}}}`, nil).at("data", "repository", "ref", "id")
	c.mustAsk(`mutation($id:ID!){deleteRef(input:{refId:$id}){clientMutationId}}`, obj{"id": ref})
	equal(t, "deleted", r.Head("fee"), "")
	got = c.mustAsk(`query($id:ID!){node(id:$id){__typename ... on PullRequest{number}} rateLimit{limit remaining} viewer{login isViewer} PullRequest:__type(name:"PullRequest"){fields(includeDeprecated:true){name}}}`, obj{"id": id})
	equal(t, "node", got.at("data", "node", "number"), any(1.0))
	equal(t, "viewer", got.at("data", "viewer", "login"), any(Login))
	if !strings.Contains(got.text, `"mergeStateStatus"`) {
		t.Error("no introspection")
	}
}

// TestGraphQLRefusals is what GitHub's GraphQL says no to, with status 200.
func TestGraphQLRefusals(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	c.repo(RepositoryOptions{})
	in := func(s string) string { return `{repository(owner:"acme",name:"payments"){` + s + `}}` }
	tests := []struct {
		name, query string
		variables   obj
		says        string
		code        any // extensions.code or type
		breach      bool
	}{
		{"unknown field", in("nme"), nil, "Field 'nme' doesn't exist on type 'Repository'", "undefinedField", true},
		{"unknown argument", in(`ref(name:"x"){id}`), nil, "Field 'ref' doesn't accept argument 'name'", "argumentNotAccepted", true},
		{"missing argument", in(`ref{id}`), nil, "Field 'ref' is missing required arguments: qualifiedName", "missingRequiredArguments", true},
		{"no selection", in(`ref(qualifiedName:"main")`), nil, "Field must have selections", "selectionMismatch", true},
		{"selection on a scalar", in(`name{x}`), nil, "Selections can't be made on scalars", "selectionMismatch", true},
		{"bad enum", in(`pullRequests(first:1,states:[MERGE]){totalCount}`), nil, "invalid value", "argumentLiteralsIncompatible", true},
		{"bad literal", in(`pullRequest(number:"1"){id}`), nil, "invalid value", "argumentLiteralsIncompatible", true},
		{"unknown type", in(`object(expression:"main"){... on Comit{oid}}`), nil, "No such type Comit", "undefinedType", true},
		{"impossible type", in(`... on User{login}`), nil, "Fragment on User can't be spread inside Repository", "cannotSpreadFragment", true},
		{"input field", `mutation{mergePullRequest(input:{id:"x",pullRequestId:"y"}){actor{login}}}`, nil, "InputObject 'MergePullRequestInput' doesn't accept argument 'id'", "argumentNotAccepted", true},
		{"input field missing", `mutation{mergePullRequest(input:{}){actor{login}}}`, nil, "Argument 'pullRequestId' on InputObject", "missingRequiredInputObjectAttribute", true},
		{"unused variable", `query($x:Int){viewer{login}}`, nil, "Variable $x is declared by anonymous query but not used", "variableNotUsed", true},
		{"undeclared variable", in(`pullRequest(number:$n){id}`), nil, "Variable $n is used", "variableNotDefined", true},
		{"variable of another type", `query($n:String!){repository(owner:"acme",name:"payments"){pullRequest(number:$n){id}}}`, obj{"n": "1"}, "Type mismatch on variable $n", "variableMismatch", true},
		{"nullable variable", `query($n:Int){repository(owner:"acme",name:"payments"){pullRequest(number:$n){id}}}`, obj{"n": 1}, "Type mismatch", "variableMismatch", true},
		{"variable missing", `query($n:Int!){repository(owner:"acme",name:"payments"){pullRequest(number:$n){id}}}`, nil, "provided invalid value", "INVALID_VARIABLES", true},
		{"variable's value", `query($n:Int!){repository(owner:"acme",name:"payments"){pullRequest(number:$n){id}}}`, obj{"n": "one"}, "provided invalid value", "INVALID_VARIABLES", true},
		{"fragment missing", `{viewer{...x}}`, nil, "Fragment x was used, but not defined", "useAndDefineFragment", true},
		{"fragment in itself", `{viewer{...x}} fragment x on User{...x}`, nil, "infinite loop", "infiniteLoop", true},
		{"directive", `{viewer @client{login}}`, nil, "Directive @client is not defined", "undefinedDirective", true},
		{"syntax", `{viewer{login}`, nil, "Unexpected end of document", nil, true},
		{"nothing", ``, nil, "Unexpected end of document", nil, true},
		{"no repository", `{repository(owner:"acme",name:"none"){id}}`, nil, "Could not resolve to a Repository with the name 'acme/none'.", "NOT_FOUND", false},
		{"no pull request", in(`pullRequest(number:9){id}`), nil, "Could not resolve to a PullRequest with the number of 9.", "NOT_FOUND", false},
		{"no node", `{node(id:"PR_9_9"){id}}`, nil, "Could not resolve to a node", "NOT_FOUND", false},
		{"no page", in(`pullRequests{nodes{id}}`), nil, "You must provide a `first` or `last` value", "MISSING_PAGINATION_BOUNDARIES", false},
		{"too large a page", in(`pullRequests(first:101){nodes{id}}`), nil, "exceeds the `first` limit of 100 records", "EXCESSIVE_PAGINATION", false},
		{"bad cursor", in(`pullRequests(first:1,after:"x"){nodes{id}}`), nil, "valid cursor", "INVALID_CURSOR_ARGUMENTS", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var heard recorder
			if tt.breach {
				c.s.Strict(&heard)
				defer c.s.Strict(t)
			}
			got := c.ask(tt.query, tt.variables)
			text, _ := got.at("errors", 0, "message").(string)
			if !strings.Contains(text, tt.says) {
				t.Errorf("got %s, want %q", got.text, tt.says)
			}
			code := got.at("errors", 0, "extensions", "code")
			if code == nil {
				code = got.at("errors", 0, "type")
			}
			equal(t, "code", code, tt.code)
			if tt.breach != (len(heard) > 0) {
				t.Errorf("reported: %q", heard)
			}
		})
	}
	var heard recorder
	c.s.Strict(&heard)
	defer c.s.Strict(t)
	if got := c.ask(in("forkingAllowed"), nil); got.at("errors", 0, "type") != any(unimplemented) || len(heard) != 1 {
		t.Errorf("a field that only GitHub has: %s, %q", got.text, heard)
	}
	c.want(400, "POST", "/graphql", obj{"variables": obj{}})
	c.want(400, "POST", "/graphql", "{")
	c.s.Strict(t)
	c.s.Deny("contents:write")
	equal(t, "forbidden", c.ask(`mutation{mergePullRequest(input:{pullRequestId:"PR_1_1"}){actor{login}}}`, nil).at("errors", 0, "type"), any("FORBIDDEN"))
}

func TestGraphQLLanguage(t *testing.T) {
	t.Parallel()
	c := serve(t, Options{})
	r := c.repo(RepositoryOptions{})
	got := c.mustAsk(`
# a comment
query Named($owner: String = "acme", $off: Boolean!) {
  one: repository(owner: $owner, name: "payments") { ...names, branch: defaultBranchRef { name } }
  two: repository(owner: $owner, name: """payments""") @skip(if: $off) { name }
  repository(owner: "ac\u006de", name: "payments") { name @include(if: $off) ... @include(if: $off) { id } ... on Node { id } }
}
fragment names on Repository { name nameWithOwner owner { __typename ... on Organization { login } ... on User { name } } }
`, obj{"off": true})
	equal(t, "fragment", got.at("data", "one", "nameWithOwner"), any("acme/payments"))
	equal(t, "alias", got.at("data", "one", "branch", "name"), any("main"))
	equal(t, "type", got.at("data", "one", "owner", "__typename"), any("Organization"))
	equal(t, "union", got.at("data", "one", "owner", "login"), any("acme"))
	equal(t, "skipped", got.at("data", "two"), nil)
	equal(t, "interface", got.at("data", "repository", "id"), any("R_1"))
	tree := c.mustAsk(`{repository(owner:"acme",name:"payments"){object(expression:"main:"){... on Tree{oid entries{name type mode object{... on Blob{byteSize isBinary}}}}} refs(refPrefix:"refs/heads/",first:5){edges{node{name} cursor} totalCount}}}`, nil)
	equal(t, "entry", tree.at("data", "repository", "object", "entries", 0, "name"), any("README.md"))
	equal(t, "refs", tree.at("data", "repository", "refs", "edges", 0, "node", "name"), any("main"))
	equal(t, "HEAD", c.mustAsk(`{repository(owner:"acme",name:"payments"){object(expression:"HEAD"){oid}}}`, nil).at("data", "repository", "object", "oid"), any(r.Head("main")))
}

func FuzzGraphQL(f *testing.F) {
	for _, seed := range []string{
		logQuery, pullQuery, pullsQuery, `{a(b:[1,-2.5e3,"x\né",{c:$d,e:FOO}])@skip(if:true){...f ...on X{y}}}fragment f on Y{z}`, "\"\"\"\n  block\n\"\"\"", "{", "query($a:[Int!]!=[1]){b}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := gqlParse(text)
		if (doc == nil) == (err == nil) {
			t.Fatalf("%v, %v", doc, err)
		}
		if err != nil {
			return
		}
		for _, op := range doc.operations {
			gqlCheck(doc, op)
		}
		topFields([]byte(text))
	})
}
