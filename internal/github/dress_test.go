package github

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestCodeOwners(t *testing.T) {
	t.Parallel()
	const text = `# who owns what
*            @acme/everyone
*.go         @gopher  ada@example.com
/docs/       @writer # in the root alone
build/*      @builder
api/**/v2    @api
/db          @dba @acme/data
/db/seed
with\ space  @spacer
![x]         @broken
`
	for path, want := range map[string][]string{
		"README.md":       {"@acme/everyone"},
		"pay.go":          {"@gopher"},
		"deep/pay.go":     {"@gopher"},
		"docs/a/b.md":     {"@writer"},
		"x/docs/a.md":     {"@acme/everyone"},
		"build/x":         {"@builder"},
		"build/x/y":       {"@acme/everyone"},
		"api/a/b/v2/x.ts": {"@api"},
		"api/v2":          {"@api"},
		"db/schema.sql":   {"@dba", "@acme/data"},
		"db/seed/1.sql":   nil,
		"with space":      {"@spacer"},
	} {
		if got := codeOwners(text, []string{path}); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if got := codeOwners(text, []string{"a.go", "docs/x", "b.go"}); !slices.Equal(got, []string{"@gopher", "@writer"}) {
		t.Errorf("%v", got)
	}
}

func FuzzCodeOwners(f *testing.F) {
	f.Add("*.go @gopher\n/docs/ @writer # x\n\\#a @b", "docs/a.go")
	f.Add("api/**/v2 @api", "api/v2")
	f.Fuzz(func(t *testing.T, text, path string) {
		for _, o := range codeOwners(text, []string{path}) {
			if !strings.HasPrefix(o, "@") || strings.ContainsAny(o, " \n") {
				t.Errorf("%q is no owner", o)
			}
		}
	})
}

// Authors, owners and those who were named are asked, never ourselves; one who cannot be asked does not keep the others
// from being asked.
func TestReviewers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	w.server.AddUser("ada", "Ada", "ada@example.com")
	w.server.AddUser("hubot", "Hubot", "hubot@example.com")
	w.server.AddUser("owner", "Owner", "owner@example.com")
	w.push("owners", map[string]string{".github/CODEOWNERS": "* @owner @other/team @" + fakegh.Login + "\n"})
	if _, err := w.repo.Commit("main", fakegh.Change{Message: "bad", Author: "ada", Files: map[string]string{"bad.go": "x\n"}}); err != nil {
		t.Fatal(err)
	}
	bad := w.head()
	req := rollback.RevertRequest{Commit: bad, Authors: true, CodeOwners: true, Reviewers: []string{"hubot", "ada"}, Labels: []string{"rollback"}, Draft: true}
	w.server.Inject(fake.Fault{Op: "pulls/request-reviewers", Status: 422, Header: jsonType, Body: `{"message":"Reviews may only be requested from collaborators."}`, Times: 2})
	res, err := w.Revert(t.Context(), req)
	if err != nil || len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "could not be asked for a review") || !res.PR.Draft {
		t.Fatalf("%+v, %v", res, err)
	}
	p, _ := w.repo.Pull(res.PR.Number)
	if n := w.server.Count("pulls/request-reviewers"); n != 4 || len(p.Reviewers) != 2 {
		t.Errorf("%d requests for reviews, %v are asked", n, p.Reviewers)
	}
	for _, who := range p.Reviewers {
		if !slices.Contains([]string{"hubot", "ada", "owner"}, who) {
			t.Errorf("%s was asked", who)
		}
	}
	m, err := w.MergeState(t.Context(), res.PR.Number)
	if err != nil || len(m.Asked) != 2 || !slices.Contains(m.Missing(), "it is a draft") {
		t.Errorf("%+v, %v", m, err)
	}
}

// What does not matter for the revert does not fail it.
func TestDressingFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	bad := w.push("bad", map[string]string{"bad.go": "x\n"})
	w.server.Inject(fake.Fault{Op: "issues/add-labels", Status: 403, Header: jsonType, Body: `{"message":"Resource not accessible by integration"}`})
	w.server.Inject(fake.Fault{Op: "pulls/request-reviewers", Drop: true})
	w.server.Inject(fake.Fault{Op: "repos/compare*", Status: 500, Header: jsonType, Body: `{"message":"Server Error"}`})
	res, err := w.Revert(t.Context(), rollback.RevertRequest{Commit: bad, Labels: []string{"x"}, Reviewers: []string{"hubot"}})
	if err != nil || res.Outcome != rollback.RevertOpened || len(res.Notes) != 3 {
		t.Errorf("%+v, %v", res, err)
	}
	w.check(res, w.head())
}

// A range that lies before what the log tells, and a pull request there: rebased, squashed, and asked for by number.
func TestOlderThanTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{})
	root := w.head()
	rebased, tip := w.pull("rebased", "old work", "rebase", map[string]string{"a.go": "1\n"}, map[string]string{"b.go": "2\n"}, map[string]string{"c.go": "3\n"})
	squashed, _ := w.pull("squashed", "more old work", "squash", map[string]string{"d.go": "1\n"}, map[string]string{"e.go": "2\n"})
	var in strings.Builder
	for i := range logPage*logPages + 5 {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 2\nx\n", 2000000000+i)
		if i == 0 {
			fmt.Fprintf(&in, "from %s\n", w.head())
		}
		fmt.Fprintf(&in, "M 100644 inline n.txt\ndata 5\n%04d\n\n", i)
	}
	mustGit(t, w.repo.Dir(), []byte(in.String()), "fast-import", "--quiet")
	for _, c := range []struct {
		name   string
		req    rollback.RevertRequest
		method rollback.MergeMethod
		gone   []string
		stays  []string
	}{
		{"rebased", rollback.RevertRequest{PR: rebased}, rollback.MergedByRebase, []string{"a.go", "b.go", "c.go"}, []string{"d.go", "n.txt"}},
		{"squashed", rollback.RevertRequest{PR: squashed}, rollback.MergedBySquash, []string{"d.go", "e.go"}, []string{"a.go", "n.txt"}},
		{"range", rollback.RevertRequest{Range: rollback.Range{Good: root[:9], Bad: tip[:9]}}, "", []string{"a.go", "b.go", "c.go"}, []string{"d.go", "n.txt"}},
		{"commit", rollback.RevertRequest{Commit: tip}, "", []string{"c.go"}, []string{"a.go", "n.txt"}},
	} {
		w.server.Reset()
		res, err := w.Revert(t.Context(), c.req)
		if err != nil || res.Method != c.method {
			t.Errorf("%s: %+v, %v", c.name, res, err)
			continue
		}
		if res.Outcome == rollback.RevertAdopted { // the range is the rebased pull request
			if c.name != "range" {
				t.Errorf("%s: %+v", c.name, res)
			}
			continue
		}
		w.check(res, w.head())
		for _, f := range c.gone {
			if _, there := w.repo.File(string(res.Commit), f); there {
				t.Errorf("%s: %s is there", c.name, f)
			}
		}
		for _, f := range c.stays {
			if _, there := w.repo.File(string(res.Commit), f); !there {
				t.Errorf("%s: %s is gone", c.name, f)
			}
		}
	}
}
