package github

// What was committed lately: one GraphQL call for the log of the branch with pull requests, authors, trees and, where
// asked for, the owners of its files.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// logPage is how many commits one call returns; GitHub's limit. Of these only the first-parent line is a version of the
// branch, so a repository with merge commits is asked for more, up to logPages times, until lineWanted are found.
const (
	logPage    = 100
	logPages   = 3
	lineWanted = 30
)

const logQuery = `query($owner:String!,$name:String!,$ref:String!,$after:String,$owners1:String!,$owners2:String!,$owners3:String!){
  repository(owner:$owner,name:$name){
    nameWithOwner
    owners1:object(expression:$owners1){... on Blob{text}}
    owners2:object(expression:$owners2){... on Blob{text}}
    owners3:object(expression:$owners3){... on Blob{text}}
    ref(qualifiedName:$ref){target{oid ... on Commit{history(first:100,after:$after){
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

// commit is a commit of the log with what a revert needs besides.
type commit struct {
	rollback.Change
	tree  string
	body  string
	login string // "" where the author has no account
	// name and written are the author's name and date as Git has them, which a rebase keeps.
	name    string
	written time.Time
	signed  bool // GitHub vouches for the signature
}

var mergeForm = regexp.MustCompile(`^Merge pull request #[0-9]+ from \S+$`)

// subject is what a commit is about. GitHub's merge commits are named after the branch, which says nothing to anybody at night;
// the title of the pull request is the first line of their text.
func subject(headline, body string) string {
	if mergeForm.MatchString(headline) {
		if title, _, _ := strings.Cut(strings.TrimSpace(body), "\n"); title != "" {
			return strings.TrimSpace(title)
		}
	}
	return headline
}

// branchLog is what one look at the branch tells.
type branchLog struct {
	commits []commit // all of it, newest first
	line    []rollback.Change
	owners  string // text of CODEOWNERS
}

func (l branchLog) head() rollback.Commit { return l.commits[0].Commit }

// written is a part of the line with authors and dates as Git has them.
func (l branchLog) written(line []rollback.Change) []rollback.Change {
	out := slices.Clone(line)
	for i := range out {
		if c, ok := l.find(out[i].Commit); ok {
			out[i].Author, out[i].Date = c.name, c.written
		}
	}
	return out
}

// find returns a commit of the log by its id, perhaps shortened.
func (l branchLog) find(c rollback.Commit) (commit, bool) {
	i := slices.IndexFunc(l.commits, func(k commit) bool { return len(c) >= 7 && strings.HasPrefix(string(k.Commit), string(c)) })
	if i < 0 {
		return commit{}, false
	}
	return l.commits[i], true
}

// Recent returns the newest first-parent commits of the branch, newest first: one call, or up to three where merge commits
// leave few of them.
func (f *Forge) Recent(ctx context.Context) ([]rollback.Change, error) {
	l, err := f.log(ctx)
	return l.line, err
}

// log reads the branch.
func (f *Forge) log(ctx context.Context) (branchLog, error) {
	var l branchLog
	after := (*string)(nil)
	for range logPages {
		var out struct {
			Repository *struct {
				NameWithOwner             string
				Owners1, Owners2, Owners3 *struct{ Text string }
				Ref                       *struct {
					Target struct {
						OID     string
						History struct {
							PageInfo struct {
								HasNextPage bool
								EndCursor   string
							}
							Nodes []struct {
								OID             string
								MessageHeadline string
								MessageBody     string
								CommittedDate   time.Time
								AuthoredDate    time.Time
								URL             string
								Tree            struct{ OID string }
								Author          *struct {
									Name string
									User *struct{ Login string }
								}
								Parents                struct{ Nodes []struct{ OID string } }
								AssociatedPullRequests *struct {
									Nodes []struct {
										Number      int
										URL         string
										Merged      bool
										BaseRefName string
										MergeCommit *struct{ OID string }
									}
								}
							}
						}
					}
				}
			}
		}
		op := "read the log of " + f.branch
		at := "refs/heads/" + f.branch + ":"
		err := f.ask(ctx, call{op: op, query: true}, logQuery, map[string]any{
			"owner": f.owner, "name": f.name, "ref": "refs/heads/" + f.branch, "after": after,
			"owners1": at + ".github/CODEOWNERS", "owners2": at + "CODEOWNERS", "owners3": at + "docs/CODEOWNERS",
		}, &out)
		if err != nil {
			return branchLog{}, err
		}
		if out.Repository == nil {
			return branchLog{}, f.strange(op, "the answer names no repository")
		}
		if got := out.Repository.NameWithOwner; !strings.EqualFold(got, f.Repo()) {
			return branchLog{}, f.moved(op, got)
		}
		if out.Repository.Ref == nil {
			return branchLog{}, f.noBranch(op)
		}
		for _, o := range []*struct{ Text string }{out.Repository.Owners1, out.Repository.Owners2, out.Repository.Owners3} {
			if o != nil && l.owners == "" { // GitHub takes the first of the three
				l.owners = o.Text
			}
		}
		page := out.Repository.Ref.Target.History
		for _, n := range page.Nodes {
			if !shaForm.MatchString(n.OID) || !shaForm.MatchString(n.Tree.OID) {
				return branchLog{}, f.strange(op, "the answer names commits in another form than Git's")
			}
			c := commit{tree: n.Tree.OID, body: n.MessageBody}
			c.Commit, c.Title, c.Date, c.URL = rollback.Commit(n.OID), subject(n.MessageHeadline, n.MessageBody), n.CommittedDate, n.URL
			c.written = n.AuthoredDate
			if a := n.Author; a != nil {
				c.Author, c.name = a.Name, a.Name
				if a.User != nil && a.User.Login != "" {
					c.Author, c.login = a.User.Login, a.User.Login
				}
			}
			for _, p := range n.Parents.Nodes {
				c.Parents = append(c.Parents, rollback.Commit(p.OID))
			}
			if n.AssociatedPullRequests != nil {
				for _, p := range n.AssociatedPullRequests.Nodes {
					if !p.Merged || p.BaseRefName != f.branch {
						continue
					}
					lands := p.MergeCommit != nil && p.MergeCommit.OID == n.OID
					if c.PR == 0 || lands {
						c.PR, c.URL = p.Number, p.URL
					}
					if lands {
						break
					}
				}
			}
			l.commits = append(l.commits, c)
		}
		if len(l.commits) == 0 || len(page.Nodes) == 0 || string(l.head()) != out.Repository.Ref.Target.OID && after == nil {
			return branchLog{}, f.strange(op, "the log does not begin at the tip of the branch")
		}
		changes := make([]rollback.Change, len(l.commits))
		for i, c := range l.commits {
			changes[i] = c.Change
		}
		l.line = rollback.FirstParents(changes)
		if len(l.line) >= lineWanted || !page.PageInfo.HasNextPage || page.PageInfo.EndCursor == "" {
			break
		}
		after = &page.PageInfo.EndCursor
	}
	return l, nil
}

// graphError is what went wrong in one place of a GraphQL answer; the rest of it may be good.
type graphError struct {
	Type, Message string
	Path          []any
}

// ask makes one GraphQL call. GraphQL answers 200 to everything that it understood; what went wrong is inside
// (https://docs.github.com/en/graphql/guides/using-graphql-clients#understanding-errors). Limits are the guard's.
func (f *Forge) ask(ctx context.Context, c call, query string, variables map[string]any, out any) error {
	c.graphql = true
	ctx, cancel := f.begin(ctx, c)
	defer cancel()
	req, err := f.client.NewRequest(http.MethodPost, f.graphql, map[string]any{"query": query, "variables": variables})
	if err != nil {
		return f.fail(ctx, false, err)
	}
	var form struct {
		Data   json.RawMessage
		Errors []graphError
	}
	if _, err := f.client.Do(ctx, req, &form); err != nil {
		return f.fail(ctx, true, err)
	}
	if c.spare != "" {
		form.Errors = slices.DeleteFunc(form.Errors, func(e graphError) bool {
			spare := e.Type == "FORBIDDEN" && slices.Contains(e.Path, any(c.spare))
			if spare && *c.lost == "" {
				*c.lost = rollback.Printable(e.Message)
			}
			return spare
		})
	}
	if len(form.Errors) > 0 {
		said := &refusal{status: http.StatusOK, message: form.Errors[0].Message}
		for _, e := range form.Errors[1:] {
			if e.Message != said.message && !slices.Contains(said.details, e.Message) { // the same of every field
				said.details = append(said.details, e.Message)
			}
		}
		kind := form.Errors[0].Type
		e := &rollback.CallError{System: system, Op: c.op, Kind: rollback.Rejected, Code: rollback.Printable(kind), Err: said}
		switch kind {
		case "NOT_FOUND":
			e.Kind = rollback.NotFound
			e.Fix = fmt.Sprintf("check the name, and that %s may see %s: GitHub says the same for both", f.guard.creds.who(), f.Repo())
		case "FORBIDDEN", "INSUFFICIENT_SCOPES":
			e.Kind = rollback.Denied
			e.Fix = f.guard.right(answer{header: http.Header{}}, said, !c.query)
		case "SERVICE_UNAVAILABLE", "INTERNAL", "":
			if said.says("something went wrong") || said.says("timed out") || said.says("timeout") || kind != "" {
				e.Kind, e.Maybe, e.Fix = rollback.ServerFault, !c.query, "look at https://www.githubstatus.com, and run the same command again"
			}
		}
		return e
	}
	if len(form.Data) == 0 || string(form.Data) == "null" {
		e := f.strange(c.op, "the answer holds no data")
		e.Maybe = !c.query
		return e
	}
	if err := json.Unmarshal(form.Data, out); err != nil {
		return f.fail(ctx, true, err)
	}
	return nil
}

// strange is an answer that GitHub does not give.
func (f *Forge) strange(op, text string) *rollback.CallError {
	return &rollback.CallError{System: system, Op: op, Kind: rollback.Broken, Err: errors.New(text),
		Fix: "something other than GitHub may have answered: check the address, HTTPS_PROXY and the VPN"}
}
