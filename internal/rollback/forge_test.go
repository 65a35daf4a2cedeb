package rollback

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// id is a whole commit id that begins with a digit.
func id(n int) Commit { return Commit(fmt.Sprintf("%x%039d", n, n)) }

func TestPullRange(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	one := func(n, pr int, title string, parents ...int) Change {
		c := Change{Commit: id(n), Title: title, Author: "ada", Date: at.Add(time.Duration(n) * time.Minute), PR: pr}
		for _, p := range parents {
			c.Parents = append(c.Parents, id(p))
		}
		return c
	}
	own := []Change{one(11, 0, "part 1"), one(12, 0, "part 2"), one(13, 0, "part 3")}
	rebased := func(pr int) []Change { // on the branch: the same work under other ids
		var line []Change
		for i, o := range slices.Backward(own) {
			c := one(3+i, pr, o.Title, 2+i)
			c.Date = o.Date
			line = append(line, c)
		}
		return append(line, one(2, 0, "before", 1))
	}
	pr := PullRequest{Number: 42, State: PullMerged, Base: "main", MergeCommit: id(5), HeadCommit: id(13), Commits: 3}
	squashed := []Change{one(5, 0, "all of it (#42)", 4), one(4, 0, "other", 3), one(3, 0, "another", 2), one(2, 0, "before", 1)}
	as := func(pr int, list []Change, n int) []Change {
		list = slices.Clone(list)
		for i := range n {
			list[i].PR = pr
		}
		return list
	}
	single := pr
	single.Commits = 1
	for _, c := range []struct {
		name   string
		pr     PullRequest
		line   []Change
		own    []Change
		good   int
		method MergeMethod
		fails  string
	}{
		{"squash", pr, []Change{one(5, 42, "all of it (#42)", 4), one(4, 41, "other", 3)}, own, 4, MergedBySquash, ""},
		{"squash after another of the same", pr, []Change{one(5, 42, "all (#42)", 4), one(4, 0, "part 2", 3)}, own, 4, MergedBySquash, ""},
		{"squash of one", single, []Change{one(5, 42, "all of it", 4), one(4, 42, "not its", 3)}, nil, 4, MergedBySquash, ""},
		{"rebase, by pull request", pr, rebased(42), nil, 2, MergedByRebase, ""},
		{"rebase, by its commits", pr, rebased(0), own, 2, MergedByRebase, ""},
		{"rebase that dropped an empty commit", pr, append(rebased(42)[:2], one(3, 0, "other", 2)), own, 3, MergedByRebase, ""},
		{"rebase, interrupted", pr, []Change{rebased(42)[0], one(4, 0, "other", 3)}, nil, 4, MergedBySquash, ""},
		// The forge lists its oldest commits alone.
		{"rebase, partly listed", pr, rebased(0), own[:1], 2, MergedByRebase, ""},
		{"rebase, partly listed, known in part", pr, as(42, rebased(0), 2), own[:1], 2, MergedByRebase, ""},
		{"rebase, partly listed, that dropped one", pr, append(rebased(0)[:2], one(3, 0, "other", 2)), own[1:2], 0, "", "3 commits, too many to tell"},
		{"rebase, partly listed, that dropped a known one", pr, as(42, append(rebased(0)[:2], one(3, 0, "other", 2)), 2), own[:1], 0, "", "3 commits, too many to tell"},
		{"squash, partly listed", pr, squashed, own[:1], 4, MergedBySquash, ""},
		{"squash, partly listed, known", pr, append(as(42, squashed, 1)[:1], as(41, squashed[1:], 2)...), own[:1], 4, MergedBySquash, ""},
		{"the walk ends among them", pr, rebased(0)[:2], own, 0, "", "3 commits, too many to tell"},
		{"merge commit", pr, []Change{one(5, 42, "Merge", 4, 13), one(4, 0, "x", 3)}, own, 4, MergedByCommit, ""},
		{"octopus", pr, []Change{one(5, 42, "Merge", 4, 13, 9)}, own, 4, MergedByCommit, ""},
		{"merged the wrong way round", pr, []Change{one(5, 42, "Merge main", 13, 4)}, own, 4, MergedByCommit, ""},
		{"unknown merge commit", pr, []Change{one(9, 42, "x", 8)}, own, 0, "", "not known"},
		{"no line", pr, nil, own, 0, "", "not known"},
		{"root", single, []Change{one(5, 42, "root")}, nil, 0, "", "first commit"},
		{"open", PullRequest{Number: 42, State: PullOpen, Base: "main"}, nil, nil, 0, "", "open, not merged"},
		{"closed", PullRequest{Number: 42, State: PullClosed, Base: "main"}, nil, nil, 0, "", "closed, not merged"},
	} {
		r, method, err := PullRange(c.pr, c.line, c.own)
		switch {
		case c.fails != "":
			if err == nil || !strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), "#42") {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil || r != Range{Good: id(c.good), Bad: id(5)} || method != c.method:
			t.Errorf("%s: %s by %s, %v", c.name, r, method, err)
		}
	}
	if _, err := CommitRange(Change{Commit: id(1)}); !errors.Is(err, errRoot) {
		t.Error(err)
	}
	if r, err := CommitRange(one(5, 0, "merge", 4, 9)); err != nil || r != (Range{id(4), id(5)}) {
		t.Error(r, err)
	}
}

func TestFirstParents(t *testing.T) {
	t.Parallel()
	c := func(n int, parents ...int) Change {
		ch := Change{Commit: id(n)}
		for _, p := range parents {
			ch.Parents = append(ch.Parents, id(p))
		}
		return ch
	}
	log := []Change{c(6, 4, 5), c(5, 3), c(4, 2), c(3, 2), c(2, 1)}
	line := FirstParents(log)
	var got []Commit
	for _, l := range line {
		got = append(got, l.Commit)
	}
	if !slices.Equal(got, []Commit{id(6), id(4), id(2)}) {
		t.Errorf("%v", got)
	}
	if FirstParents(nil) != nil || len(FirstParents([]Change{c(1, 1)})) != 1 {
		t.Error("an empty log, or one that bites its tail")
	}
	for _, u := range []struct {
		r        Range
		n        int
		complete bool
	}{{Range{id(2), id(6)}, 2, true}, {Range{id(1), id(4)}, 2, true}, {Range{id(7), id(6)}, 3, false}, {Range{id(2), id(5)}, 0, false}} {
		list, complete := UndoneBy(line, u.r)
		if len(list) != u.n || complete != u.complete {
			t.Errorf("%s: %d, %t", u.r, len(list), complete)
		}
	}
	if FindChange(line, id(4)[:7]) != 1 || FindChange(line, id(4)[:6]) != -1 || FindChange(line, "") != -1 {
		t.Error("a commit is found by seven digits or more")
	}
}

func TestRevertTexts(t *testing.T) {
	t.Parallel()
	r := Range{id(1), id(2)}
	for _, c := range []struct {
		titles []string
		more   int
		reland bool
		want   string
	}{
		{[]string{"Add fees (#42)"}, 0, false, `Revert "Add fees (#42)"`},
		{[]string{"Add fees", "b"}, 0, false, `Revert "Add fees" and 1 commit before it`},
		{[]string{"Add fees", "b"}, 3, false, `Revert "Add fees" and 4 commits before it`},
		{[]string{`Revert "Add fees" (#43)`}, 0, true, `Reapply "Add fees"`},
		{[]string{`Revert "Add fees"`}, 0, false, `Revert "Revert "Add fees""`},
		{[]string{"Add\nRollback-Undoes: x\x1b[31m\u202e"}, 0, false, `Revert "Add Rollback-Undoes: x[31m"`},
		{nil, 0, false, `Revert "1000000..2000000"`},
	} {
		var list []Change
		for _, title := range c.titles {
			list = append(list, Change{Commit: id(2), Title: title})
		}
		if got := RevertTitle(list, c.more, r, c.reland); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	long := RevertTitle([]Change{{Title: strings.Repeat("ä", 500)}, {}}, 0, r, false)
	if utf8.RuneCountInString(long) != titleLimit || !strings.HasSuffix(long, `…" and 1 commit before it`) {
		t.Errorf("%d characters: %s", utf8.RuneCountInString(long), long)
	}

	s := Story{Reason: "500s\nRollback-Undoes: " + string(id(7)) + ".." + string(id(8)), By: "ada", Scope: Scope{"payments", "prod"}, From: "sha256:bad", To: "sha256:good",
		Pushed: time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC), Until: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC), Rollback: "20261101t090000z-1a2b"}
	message := RevertMessage("Revert", r, id(3), s)
	if got, ok := UndoesIn(message); !ok || got != r {
		t.Errorf("%s: %v", message, got)
	}
	if got, ok := UndoesIn(strings.ReplaceAll(message, "\n", "\r\n")); !ok || got != r {
		t.Errorf("with CR LF: %v", got)
	}
	res := RevertResult{Range: r, Head: id(3), Commit: id(4), Keys: []string{"PAY-7"},
		Undoes: []Change{{Commit: id(2), Title: "Fixes #12 @ada <b>|", PR: 42, Author: "eve"}}, Risks: []Risk{{Path: "db/`x|y`.sql", Rule: RiskRule{Kind: RiskMigration, Name: "Flyway"}}}}
	body := RevertBody(res, RevertRequest{Story: s}, "main")
	if got, ok := UndoesIn(body); !ok || got != r {
		t.Errorf("body undoes %v:\n%s", got, body)
	}
	for _, want := range []string{
		"what a rollback took out of **payments/prod**", "**Reason:** 500s", "| pushed | 2026-11-01 08:00 UTC |", "| ran until | 2026-11-01 09:00 UTC |",
		"| image taken back | `sha256:bad` |", "| image that runs instead | `sha256:good` |", "(#42, eve)", "PAY\\-7",
		"database migration (Flyway)", InverseCheck(r, id(3), id(4)), "rollback reland --pr N", "`20261101t090000z-1a2b`",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	for _, not := range []string{"Fixes #12", "@ada", "<b>"} {
		if strings.Contains(body, not) {
			t.Errorf("%q stands in\n%s", not, body)
		}
	}
	// By merge, production is what it was as long as somebody reads this: nothing may sound as if it were safe.
	still := s
	still.To, still.Until = "", time.Time{}
	body = RevertBody(res, RevertRequest{Story: still}, "main")
	for _, want := range []string{"what is to leave **payments/prod**. It still runs there, until this is merged, built and deployed.", "| image to take back | `sha256:bad` |", "| pushed | 2026-11-01 08:00 UTC |", "| rollback | `20261101t090000z-1a2b` |"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	for _, not := range []string{"took out", "ran until", "runs instead", "taken back |"} {
		if strings.Contains(body, not) {
			t.Errorf("%q stands in\n%s", not, body)
		}
	}
	res.Undoes = slices.Repeat([]Change{{Commit: id(2), Title: strings.Repeat("#", 300)}}, 400)
	if body = RevertBody(res, RevertRequest{Story: Story{Reason: strings.Repeat("reason ", 20000)}}, "main"); len(body) > 65000 {
		t.Errorf("%d bytes", len(body))
	}
	if got, ok := UndoesIn(body); !ok || got != r {
		t.Error("a long text has lost its trailer")
	}
	if line := InverseCheck(Range{id(1), id(3)}, id(3), id(4)); strings.Contains(line, "merge-tree") {
		t.Error(line)
	}
	commands := ByHand(r, "main", id(3), "rollback/revert-x", `Revert "it's $(here)"`, Story{Reason: "isn't\n`right` [skip ci]"})
	all := strings.Join(commands, "\n")
	for _, want := range []string{`-m 'Revert "it'\''s $(here)"' -m 'Reason: isn'\''t ` + "`right` (skip ci)'", r.Trailer()} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is missing in\n%s", want, all)
		}
	}
	if RevertBranch(BranchPrefix, r, 1) == RevertBranch(BranchPrefix, Range{id(1), id(3)}, 1) || !strings.HasSuffix(RevertBranch(BranchPrefix, r, 2), "-2") ||
		!ValidBranch(RevertBranch(BranchPrefix, r, 3)) || !ValidBranch(TempBranch(TempBranchPrefix, r)) {
		t.Error("names of branches")
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	r := Range{id(1), id(2)}
	ours := PullRequest{Number: 50, State: PullOpen, Base: "main", Head: RevertBranch(BranchPrefix, r, 2), Body: "text\n<!--\n" + r.Trailer() + "\n-->\n"}
	button := PullRequest{Number: 51, State: PullOpen, Base: "main", Head: "revert-42-feature", Body: "Reverts acme/payments#42"}
	undoes := []Change{{Commit: id(2), PR: 42}}
	edit := func(p PullRequest, f func(*PullRequest)) PullRequest { f(&p); return p }
	for _, c := range []struct {
		name     string
		pulls    []PullRequest
		undoes   []Change
		complete bool
		want     string
	}{
		{"ours", []PullRequest{button, ours}, undoes, true, "#50 named #51 named"},
		{"ours, closed", []PullRequest{edit(ours, func(p *PullRequest) { p.State = PullClosed })}, undoes, true, ""},
		{"ours, elsewhere", []PullRequest{edit(ours, func(p *PullRequest) { p.Base = "release" })}, undoes, true, ""},
		{"another range", []PullRequest{edit(ours, func(p *PullRequest) { p.Body = Range{id(1), id(3)}.Trailer() })}, undoes, true, ""},
		{"our trailer on another branch", []PullRequest{edit(ours, func(p *PullRequest) { p.Number, p.Head = 49, "evil" }), ours}, undoes, true, "#50 named #49"},
		{"our trailer on a branch that begins like ours", []PullRequest{edit(ours, func(p *PullRequest) { p.Head += "-x" })}, undoes, true, "#50"},
		{"our trailer in a fork", []PullRequest{edit(ours, func(p *PullRequest) { p.Fork = true })}, undoes, true, ""},
		{"the button's", []PullRequest{button}, undoes, true, "#51 named"},
		{"the button's, in a fork", []PullRequest{edit(button, func(p *PullRequest) { p.Fork = true })}, undoes, true, ""},
		{"the button's, of a part", []PullRequest{button}, append([]Change{{Commit: id(3), PR: 43}}, undoes...), true, ""},
		{"the button's, and a push", []PullRequest{button}, append([]Change{{Commit: id(3)}}, undoes...), true, ""},
		{"the button's, and an older push", []PullRequest{button}, append(undoes, Change{Commit: id(3)}), true, ""},
		{"the button's, list cut", []PullRequest{button}, undoes, false, ""},
		{"the button's, of another", []PullRequest{edit(button, func(p *PullRequest) { p.Body = "Reverts acme/payments#421" })}, undoes, true, ""},
		{"a branch of that name", []PullRequest{edit(button, func(p *PullRequest) { p.Body = "mine" })}, undoes, true, ""},
	} {
		var got []string
		for _, p := range RevertClaims(c.pulls, "main", BranchPrefix, r, c.undoes, c.complete) {
			got = append(got, fmt.Sprintf("#%d", p.Number))
			if p.Named {
				got = append(got, "named")
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
	}
	early := edit(ours, func(p *PullRequest) { p.State, p.MergedAt = PullMerged, time.Unix(100, 0) })
	late := edit(early, func(p *PullRequest) { p.Number, p.MergedAt = 60, time.Unix(200, 0) })
	fork := edit(late, func(p *PullRequest) { p.Number, p.MergedAt, p.Fork = 61, time.Unix(300, 0), true })
	if p, ok := MergedRevert([]PullRequest{ours, early, late, early, fork}, "main", r); !ok || p.Number != 60 {
		t.Errorf("#%d", p.Number)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	open := PullRequest{State: PullOpen, Base: "main"}
	for _, c := range []struct {
		state MergeState
		want  []string
	}{
		{MergeState{PR: open, Clean: true}, nil},
		{MergeState{PR: PullRequest{State: PullMerged}, Blocked: true}, nil},
		{MergeState{PR: PullRequest{State: PullClosed}}, []string{"it was closed without being merged"}},
		{MergeState{PR: PullRequest{State: PullOpen, Base: "main", Draft: true}, Conflicts: true, Behind: true},
			[]string{"it is a draft", "it conflicts with main", "its branch must be brought up to date with main"}},
		{MergeState{PR: open, ReviewRequired: true, Approvals: 2, Asked: []string{"ada", "a team"}}, []string{"2 approving reviews (asked: ada, a team)"}},
		{MergeState{PR: open, ReviewRequired: true, ChangesRequested: true}, []string{"a reviewer asks for changes", "an approving review"}},
		{MergeState{PR: open, Checks: []Check{{Name: "ci", State: "missing", Required: true}, {Name: "x", State: "failure"}, {Name: "y", State: "skipped", Required: true}}},
			[]string{"required check ci: has not reported"}},
		{MergeState{PR: open, Queued: true, QueuePosition: 3, QueueState: "awaiting checks"}, []string{"the merge queue (position 3, awaiting checks)"}},
		{MergeState{PR: open, QueueRequired: true}, []string{"the merge queue"}},
		{MergeState{PR: open, Computing: true}, []string{"GitHub is still computing whether it merges"}},
		{MergeState{PR: open, Blocked: true}, []string{"a rule of the branch that cannot be read with these credentials"}},
	} {
		if got := c.state.Missing(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.state, got, c.want)
		}
	}
}

func TestRisks(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"src/main/resources/db/migration/V2__fees.sql": "Flyway",
		"sql/V2.1__fees.sql":                           "Flyway",
		"sql/U2__fees.sql":                             "Flyway",
		"sql/R__views.sql":                             "Flyway",
		"db/changelog/db.changelog-master.yaml":        "Liquibase",
		"config/changelog.xml":                         "Liquibase",
		"CHANGELOG.md":                                 "",
		"prisma/migrations/20261101_x/migration.sql":   "Prisma",
		"apps/api/prisma/schema.prisma":                "Prisma",
		"alembic/versions/1a2b_x.py":                   "Alembic",
		"app/migrations/versions/1a2b_x.py":            "Alembic",
		"db/migrate/20261101_add_fees.rb":              "Rails",
		"db/schema.rb":                                 "Rails",
		"src/migrations/1698765432000-Fees.ts":         "TypeORM",
		"src/migration/1698765432000-Fees.ts":          "TypeORM",
		"migrations/20261101080000_fees.js":            "Knex",
		"migrations/000002_fees.up.sql":                "golang-migrate",
		"db/000002_fees.down.sql":                      "golang-migrate",
		"migrations/00002_fees.sql":                    "goose",
		"internal/migrations/00002_fees.go":            "goose",
		"shop/migrations/0002_fees.py":                 "Django",
		"go.sum":                                       "lock file",
		"web/package-lock.json":                        "lock file",
		"bun.lockb":                                    "lock file",
		".github/workflows/ci.yml":                     "GitHub Actions",
		"x/.github/workflows/ci.yml":                   "",
		".github/CODEOWNERS":                           "CODEOWNERS",
		"pay.go":                                       "",
		"docs/migration.md":                            "",
		"internal/migrations/migrations.go":            "",
	} {
		risks, err := Risks([]FileChange{{Path: path}}, RiskRules())
		got := ""
		if len(risks) > 0 {
			got = risks[0].Name
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", path, got, want, err)
		}
	}
	moved := []FileChange{{Path: "attic/x.sql", Previous: "db/migration/V1__x.sql", Status: "renamed"}}
	if risks, err := Risks(moved, RiskRules()); err != nil || len(risks) != 1 {
		t.Errorf("a migration that was moved away: %v, %v", risks, err)
	}
	for _, glob := range []string{"a[", "{a", "a}", "[]x"} {
		if _, err := Risks(nil, []RiskRule{{Globs: []string{glob}}}); err == nil {
			t.Errorf("%q is a glob", glob)
		}
	}
	custom := []RiskRule{{Kind: RiskMigration, Name: "ours", Globs: []string{"schema/[!a-c]?.{sql,ddl}", "a,b"}}}
	for path, want := range map[string]int{"schema/xy.sql": 1, "schema/XY.ddl": 1, "schema/ay.sql": 0, "schema/d/y.sql": 0, "schema/xyz.sql": 0, "a,b": 1} {
		if got, err := Risks([]FileChange{{Path: path}}, custom); err != nil || len(got) != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
}

func TestIssueKeys(t *testing.T) {
	t.Parallel()
	got := IssueKeys("PAY-12: charge fees", "fix(pay): SHOP_X-3 and PAY-12, not UTF-8, SHA-256, CVE-2026-1, pay-9, XPAY-0 nor APAY-", "[OPS-77]")
	if want := []string{"PAY-12", "SHOP_X-3", "OPS-77"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEscapeMarkdown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain words":             "plain words",
		"Fixes #12":               "Fixes #<!-- -->12",
		"closes GH-12":            "closes GH-<!-- -->12",
		"@acme/oncall":            "@<!-- -->acme/oncall",
		"a_b *c* `d` <img>":       `a\_b \*c\* \` + "`d\\`" + ` \<img\>`,
		"https://evil.example":    `https:<!-- -->//evil\.example`,
		"www.evil.example":        `www.<!-- -->evil\.example`,
		"two\nlines\x00 \u202eup": "two lines up",
		"[x](y)|":                 `\[x\]\(y\)\|`,
	} {
		if got := EscapeMarkdown(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzEscapeMarkdown(f *testing.F) {
	for _, s := range []string{"Fixes #12", "@ada", "GH-1", "a\nb", "`x`", "\xff\xfe", "://", "\u202e", "<!-- -->"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := EscapeMarkdown(s)
		if strings.ContainsAny(got, "\n\r\x00\x1b") || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
		bare := strings.ReplaceAll(got, "<!-- -->", "")
		for i, c := range bare {
			if strings.ContainsRune("`*_[]<>|", c) && (i == 0 || bare[i-1] != '\\') {
				t.Errorf("%q holds a bare %c", got, c)
			}
		}
		for i := range len(got) - 1 {
			if (got[i] == '@' || got[i] == '#') && !strings.HasPrefix(got[i+1:], "<!-- -->") {
				t.Errorf("%q can mention", got)
			}
		}
		if _, ok := UndoesIn("- " + got); ok {
			t.Errorf("%q is taken for a trailer", got)
		}
	})
}

func FuzzCompileGlob(f *testing.F) {
	for _, r := range RiskRules() {
		for _, g := range r.Globs {
			f.Add(g, "a/b.sql")
		}
	}
	f.Add("größe/ē", "größe/ē")
	f.Fuzz(func(t *testing.T, glob, path string) {
		re, err := compileGlob(glob)
		if err != nil {
			return
		}
		if plain := !strings.ContainsAny(glob, "*?[]{},"); plain && utf8.ValidString(glob) && !re.MatchString(glob) {
			t.Errorf("%q does not fit itself", glob)
		}
		re.MatchString(path)
	})
}

func TestValidBranch(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"main", "release/2026.11", "feature_x", "ünïcode", "a@b"} {
		if !ValidBranch(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", "@", "-x", "/x", "x/", "x.", "a..b", "a//b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", `a\b`, "a\nb", "a@{1}", ".hidden", "a/.b", "x.lock", "x.lock/y", strings.Repeat("x", 201), "\xff"} {
		if ValidBranch(s) {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestRevertRequestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		req RevertRequest
		ok  bool
	}{
		{RevertRequest{PR: 1}, true},
		{RevertRequest{Commit: id(1)}, true},
		{RevertRequest{Range: Range{id(1), id(2)}}, true},
		{RevertRequest{To: id(1)[:7]}, true},
		{RevertRequest{}, false},
		{RevertRequest{PR: -1}, false},
		{RevertRequest{PR: 1, To: id(1)}, false},
		{RevertRequest{Range: Range{Good: id(1)}}, false},
		{RevertRequest{Commit: "HEAD"}, false},
		{RevertRequest{To: "../x"}, false},
	} {
		if err := c.req.Check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
}

func TestLooksReverting(t *testing.T) {
	t.Parallel()
	r := Range{id(1), id(2)}
	for want, list := range map[bool][]PullRequest{
		true: {
			{Title: `Revert "Round amounts"`}, {Title: "Roll back the fees"}, {Head: "revert-42-fees"}, {Title: "Fees", Head: "rollback/revert-x"}, {Title: "back out fees"},
			{Title: "Fees", Body: "text\r\n<!--\r\n" + r.Trailer() + "\r\n-->"}, {Title: "Fees", Body: "This reverts commit " + string(id(2)) + "."},
			{Title: "Fees", Body: "Reverts acme/payments#42"}, {Title: "Fees", Body: "reverts #42\r\n\r\nbecause"}, {Body: "Reverts https://github.com/acme/payments/pull/42"},
		},
		false: {
			{Title: "Round amounts", Head: "feature"}, {Title: "Round amounts", Body: "## How to revert\n\nRoll back with the usual job."},
			{Title: "Round amounts", Body: "- [ ] This can be reverted"}, {Title: "Round amounts", Body: "If this fails, it reverts #12 to what it was"},
		},
	} {
		for _, p := range list {
			if LooksReverting(p) != want {
				t.Errorf("%+v: want %t", p, want)
			}
		}
	}
	body := RevertBody(RevertResult{Range: r}, RevertRequest{Reland: true}, "main")
	if strings.Contains(body, "bring it back later") || strings.Contains(body, "rollback reland") || !strings.Contains(body, r.Trailer()) {
		t.Error(body)
	}
}

// What would skip the checks of the commit that is undone must not skip those of the revert.
func TestRevertSkipsNoChecks(t *testing.T) {
	t.Parallel()
	skips := regexp.MustCompile(`(?i)\[(skip ci|ci skip|no ci|skip actions|actions skip|skip-ci|ci-skip)\]|\*\*\*NO_CI\*\*\*|skip-checks:\s*true`)
	for title, want := range map[string]string{
		"Release 2.0.0 [skip ci]":      "Release 2.0.0 (skip ci)",
		"[ci skip] Release":            "(ci skip) Release",
		"Release [No CI]":              "Release (No CI)",
		"Release [skip actions] again": "Release (skip actions) again",
		"Release [actions skip]":       "Release (actions skip)",
		"Release [skip-ci][ci-skip]":   "Release (skip-ci)(ci-skip)",
		"Release [[skip ci]]":          "Release [(skip ci)]",
		"Release ***NO_CI***":          "Release NO_CI",
		"skip-checks: true":            "skip-checks=true",
		"Release [skip] the [ci]":      "Release [skip] the [ci]",
	} {
		for _, reland := range []bool{false, true} {
			verb, from := "Revert", title
			if reland {
				verb, from = "Reapply", fmt.Sprintf("Revert \"%s\"", title)
			}
			got := RevertTitle([]Change{{Commit: id(2), Title: from}}, 0, Range{id(1), id(2)}, reland)
			if got != verb+` "`+want+`"` {
				t.Errorf("%s: %s", title, got)
			}
			story := Story{Reason: title}
			texts := RevertMessage(got, Range{id(1), id(2)}, id(3), story) + RevertBody(RevertResult{Range: Range{id(1), id(2)}, Undoes: []Change{{Commit: id(2), Title: from}}}, RevertRequest{Story: story}, "main")
			if skips.MatchString(texts) {
				t.Errorf("%s: %s", title, texts)
			}
		}
	}
}
