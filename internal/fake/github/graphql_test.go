package github

import (
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
