package github

import (
	"context"
	"net/http"

	gh "github.com/google/go-github/v60/github"
)

// client is go-github, as far as it is used here. It holds functions and not the *gh.Client: a type whose fields lead there
// keeps all of its methods in the binary once the type becomes an interface, and those are thousands: 1.5 MB. (The
// linker cannot tell what is called by reflection, because urfave/cli's help is a text/template.)
type client struct {
	NewRequest func(method, path string, body any, options ...gh.RequestOption) (*http.Request, error)
	Do         func(ctx context.Context, request *http.Request, answer any) (*gh.Response, error)

	Repositories struct {
		GetCommit      func(ctx context.Context, owner, repo, sha string, o *gh.ListOptions) (*gh.RepositoryCommit, *gh.Response, error)
		ListCommits    func(ctx context.Context, owner, repo string, o *gh.CommitsListOptions) ([]*gh.RepositoryCommit, *gh.Response, error)
		CompareCommits func(ctx context.Context, owner, repo, base, head string, o *gh.ListOptions) (*gh.CommitsComparison, *gh.Response, error)
		Merge          func(ctx context.Context, owner, repo string, m *gh.RepositoryMergeRequest) (*gh.RepositoryCommit, *gh.Response, error)
	}
	PullRequests struct {
		Get         func(ctx context.Context, owner, repo string, number int) (*gh.PullRequest, *gh.Response, error)
		ListCommits func(ctx context.Context, owner, repo string, number int, o *gh.ListOptions) ([]*gh.RepositoryCommit, *gh.Response, error)
		Create      func(ctx context.Context, owner, repo string, p *gh.NewPullRequest) (*gh.PullRequest, *gh.Response, error)
	}
	Git struct {
		GetRef       func(ctx context.Context, owner, repo, ref string) (*gh.Reference, *gh.Response, error)
		CreateRef    func(ctx context.Context, owner, repo string, ref *gh.Reference) (*gh.Reference, *gh.Response, error)
		UpdateRef    func(ctx context.Context, owner, repo string, ref *gh.Reference, force bool) (*gh.Reference, *gh.Response, error)
		DeleteRef    func(ctx context.Context, owner, repo, ref string) (*gh.Response, error)
		CreateCommit func(ctx context.Context, owner, repo string, c *gh.Commit, o *gh.CreateCommitOptions) (*gh.Commit, *gh.Response, error)
	}
}

func clientOf(c *gh.Client) (out client) {
	out.NewRequest, out.Do = c.NewRequest, c.Do
	r := &out.Repositories
	r.GetCommit, r.ListCommits, r.CompareCommits, r.Merge = c.Repositories.GetCommit, c.Repositories.ListCommits, c.Repositories.CompareCommits, c.Repositories.Merge
	p := &out.PullRequests
	p.Get, p.ListCommits, p.Create = c.PullRequests.Get, c.PullRequests.ListCommits, c.PullRequests.Create
	g := &out.Git
	g.GetRef, g.CreateRef, g.UpdateRef, g.DeleteRef, g.CreateCommit = c.Git.GetRef, c.Git.CreateRef, c.Git.UpdateRef, c.Git.DeleteRef, c.Git.CreateCommit
	return out
}
