package github

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Access is what the credentials are good for in the repository.
type Access struct {
	Who string // login of the token's user, or the App
	// Permission is ADMIN, MAINTAIN, WRITE, TRIAGE or READ; "" where GitHub does not say.
	Permission string
	Archived   bool
	// AutoMerge says that the repository lets pull requests merge by themselves.
	AutoMerge bool
	// Head is the tip of the branch that is deployed.
	Head   rollback.Commit
	Pushed time.Time
}

// MayWrite tells whether branches and pull requests can be made. Where GitHub does not say, nothing speaks against it.
func (a Access) MayWrite() bool {
	return !a.Archived && a.Permission != "READ" && a.Permission != "TRIAGE"
}

// An App is no user, and may not ask who it is. A pull request is asked for only to see whether that is allowed.
const accessQuery = `query($owner:String!,$name:String!,$ref:String!){%s
  repository(owner:$owner,name:$name){
    nameWithOwner isArchived autoMergeAllowed viewerPermission pullRequests(last:1){nodes{number}}
    ref(qualifiedName:$ref){target{oid ... on Commit{committedDate}}}
  }
}`

// Access asks, in one call, who we are and what we may do.
func (f *Forge) Access(ctx context.Context) (Access, error) {
	viewer := "viewer{login}"
	if f.guard.creds.app != nil {
		viewer = ""
	}
	var out struct {
		Viewer     struct{ Login string }
		Repository *struct {
			NameWithOwner                string
			IsArchived, AutoMergeAllowed bool
			ViewerPermission             *string
			Ref                          *struct {
				Target struct {
					OID           string
					CommittedDate time.Time
				}
			}
		}
	}
	op := "look at " + f.Repo()
	if err := f.ask(ctx, call{op: op, query: true}, fmt.Sprintf(accessQuery, viewer), map[string]any{"owner": f.owner, "name": f.name, "ref": "refs/heads/" + f.branch}, &out); err != nil {
		return Access{}, err
	}
	r := out.Repository
	switch {
	case r == nil:
		return Access{}, f.strange(op, "the answer names no repository")
	case !strings.EqualFold(r.NameWithOwner, f.Repo()):
		return Access{}, f.moved(op, r.NameWithOwner)
	case r.Ref == nil:
		return Access{}, f.noBranch(op)
	case !shaForm.MatchString(r.Ref.Target.OID):
		return Access{}, f.strange(op, "the answer names commits in another form than Git's")
	}
	a := Access{Who: rollback.Printable(out.Viewer.Login), Archived: r.IsArchived, AutoMerge: r.AutoMergeAllowed, Head: rollback.Commit(r.Ref.Target.OID), Pushed: r.Ref.Target.CommittedDate}
	if a.Who == "" {
		a.Who = f.guard.creds.who()
	}
	if r.ViewerPermission != nil {
		a.Permission = rollback.Printable(*r.ViewerPermission)
	}
	return a, nil
}

// moved is the error for a repository that goes by another name now.
func (f *Forge) moved(op, to string) error {
	to = rollback.Printable(to)
	return &rollback.CallError{System: system, Op: op, Kind: rollback.Rejected, Err: &Moved{From: f.Repo(), To: to}, Fix: "set repo: " + to + " in rollback.yaml"}
}

func (f *Forge) noBranch(op string) error {
	return &rollback.CallError{System: system, Op: op, Kind: rollback.NotFound, Err: fmt.Errorf("%s has no branch %s", f.Repo(), f.branch),
		Fix: "set branch in rollback.yaml to the branch that is deployed"}
}
