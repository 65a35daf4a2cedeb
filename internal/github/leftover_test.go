package github

import (
	"slices"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// A temporary branch that a killed run left is deleted when the next revert is opened, of whatever range; one that may still be
// at work, and what only looks like one, is left alone. Where that does not work, nothing else suffers.
func TestLeftTemporaryBranches(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"", "git/list-matching-refs", "git/delete-ref", "repos/get-commit"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegh.RepositoryOptions{})
			bad := w.push("bad", map[string]string{"pay.go": lines(20, "bad")})
			left := func(name string, age time.Duration) string {
				if _, err := w.repo.Commit(name, fakegh.Change{Message: "temporary", Time: time.Now().Add(-age), From: "main"}); err != nil {
					t.Fatal(err)
				}
				return name
			}
			old, atWork := left(rollback.TempBranchPrefix+"0123456789ab-ba9876543210", 3*time.Hour), left(rollback.TempBranchPrefix+"111111111111-222222222222", time.Minute)
			theirs := left("rollback/tmpl", 3*time.Hour)
			if op != "" {
				w.server.Inject(fake.Fault{Op: op, Status: 403, Header: map[string][]string{"Content-Type": {"application/json; charset=utf-8"}}, Body: `{"message":"Resource not accessible by integration"}`})
			}
			res, err := w.Revert(t.Context(), rollback.RevertRequest{Commit: bad})
			if err != nil || res.Outcome != rollback.RevertOpened || len(res.Notes) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			branches, err := w.repo.Branches()
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(branches, old) != (op != "") || !slices.Contains(branches, atWork) || !slices.Contains(branches, theirs) {
				t.Errorf("left are %v", branches)
			}
		})
	}
}
