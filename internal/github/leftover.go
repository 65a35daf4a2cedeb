package github

// Temporary branches that were left behind: a run that is killed, or that GitHub stops answering, cannot delete its own.

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	// leftoverAge is how old a temporary branch must be to belong to nobody: no run works on a revert for as long.
	leftoverAge = 2 * time.Hour
	// leftoversAtOnce is how many are deleted by one run.
	leftoversAtOnce = 5
)

// sweep deletes temporary branches that earlier runs have left, of whatever range. It is done while the pull request is
// dressed, so nobody waits for it, and what does not work is left to the next one.
func (r *reverting) sweep(ctx context.Context) {
	refs, err := r.branches(ctx, r.tempPrefix)
	if err != nil {
		return
	}
	own := rollback.TempBranch(r.tempPrefix, r.res.Range)
	refs = slices.DeleteFunc(refs, func(b tempBranch) bool { return b.name == own })
	jobs := make([]func() error, min(len(refs), leftoversAtOnce))
	for i := range jobs {
		b := refs[i]
		jobs[i] = func() error {
			if c, err := r.commit(ctx, b.tip); err != nil || time.Since(c.Date) < leftoverAge {
				return nil
			}
			_ = r.deleteBranch(ctx, b.name)
			return nil
		}
	}
	_ = together(jobs...)
}

// tempBranch is a branch and its tip.
type tempBranch struct {
	name string
	tip  rollback.Commit
}

// branches lists the branches whose names begin with a prefix.
func (f *Forge) branches(ctx context.Context, prefix string) ([]tempBranch, error) {
	var refs []*gh.Reference
	if err := f.rest(ctx, call{op: fmt.Sprintf("list the branches %s…", prefix)}, http.MethodGet, "git/matching-refs/heads/"+(&url.URL{Path: prefix}).EscapedPath(), nil, &refs); err != nil {
		return nil, err
	}
	var list []tempBranch
	for _, ref := range refs {
		name, ok := strings.CutPrefix(ref.GetRef(), "refs/heads/")
		if sha := ref.GetObject().GetSHA(); ok && strings.HasPrefix(name, prefix) && shaForm.MatchString(sha) {
			list = append(list, tempBranch{name, rollback.Commit(sha)})
		}
	}
	return list, nil
}
