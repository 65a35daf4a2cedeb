package e2e

// The second clients of GitHub: git, which clones what the program has done without a clone, and gh, which sees the pull
// requests that it opened and merges them.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake/github"
)

// findGH is the one on PATH, else Debian's, installed.
var findGH = sync.OnceValues(func() (string, error) {
	if path, err := exec.LookPath("gh"); err == nil {
		return path, nil
	}
	const hint = "install the GitHub CLI (https://cli.github.com; apt-get install gh; brew install gh)"
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return "", errors.New(hint)
	}
	fmt.Fprintln(os.Stderr, "e2e: no gh on PATH; installing the package gh")
	for _, args := range [][]string{{"update"}, {"install", "--yes", "--no-install-recommends", "gh"}} {
		if _, err := quickly([]string{"DEBIAN_FRONTEND=noninteractive"}, "", "apt-get", args...); err != nil {
			return "", fmt.Errorf("%s: %w", hint, err)
		}
	}
	return exec.LookPath("gh")
})

// equip gives the one who is on call gh beside the other tools. git is on PATH: the loopback GitHub runs on it.
func (f *forge) equip(t *testing.T) {
	t.Helper()
	gh, err := findGH()
	if err != nil {
		t.Fatal(err)
	}
	f.tools = toolPath(t)
	if err := os.Symlink(gh, filepath.Join(f.tools, "gh")); err != nil {
		t.Fatal(err)
	}
	f.socket(t)
}

// socket serves GitHub where gh looks for github.com when its configuration names a socket.
func (f *forge) socket(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "gh") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte("http_unix_socket: "+socket+"\nprompt: disabled\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	// Past the switchboard: faults are those of the program's way to GitHub.
	s := &http.Server{Handler: f.github.Next, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	f.gh = dir
}

// shell runs a script with git, gh and rollback as the one who is on call has them.
func (f *forge) shell(ctx context.Context, dir, script string, extra ...string) (string, error) {
	remote := strings.Replace(f.githubURL, "http://", "http://x-access-token:"+github.Token+"@", 1) + "/" + codeRepo + ".git"
	return shell(ctx, f, f.tools, dir, script, append(extra, "REMOTE="+remote,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=On Call", "GIT_AUTHOR_EMAIL=oncall@acme.example", "GIT_COMMITTER_NAME=On Call", "GIT_COMMITTER_EMAIL=oncall@acme.example",
		"GH_CONFIG_DIR="+f.gh, "GH_TOKEN="+reviewerToken, "GH_NO_UPDATE_NOTIFIER=1", "GH_PROMPT_DISABLED=1", "GH_REPO="+codeRepo)...)
}

// reverts are the pull requests that the program opened, or had somebody open.
func (f *forge) reverts() []github.Pull {
	return slices.DeleteFunc(f.code.Pulls(), func(p github.Pull) bool { return !undoesForm.MatchString(p.Body) })
}

var (
	undoesForm = regexp.MustCompile(`(?m)^Rollback-Undoes: ([0-9a-f]{40})\.\.([0-9a-f]{40})$`)
	checkForm  = regexp.MustCompile("(?s)### Exact inverse\n.*?```sh\n(.*?)\n```")
)

// reviewed does what a careful reviewer does with each pull request, in a clone, and looks at it with gh.
func (f *forge) reviewed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{f.Name()}, args...)...)
	}
	refs, err := f.code.Refs()
	if err != nil {
		fail("%v", err)
	}
	for _, r := range refs {
		if strings.Contains(r, "tmp") {
			fail("the temporary ref %s is left", r)
		}
	}
	for _, v := range f.github.Violations() {
		fail("GitHub: %s", v)
	}
	for _, v := range f.jenkins.Violations() {
		fail("Jenkins: %s", v)
	}
	pulls := f.reverts()
	defer f.seenByGH(ctx, t, pulls)
	if len(pulls) == 0 {
		return
	}
	dir := t.TempDir()
	if _, err := f.shell(ctx, dir, `git clone --quiet "$REMOTE" work && cd work && git fetch --quiet origin '+refs/pull/*/head:refs/pull/*/head'`); err != nil {
		fail("%v", err)
		return
	}
	clone := filepath.Join(dir, "work")
	git := func(script string, extra ...string) string {
		t.Helper()
		out, err := f.shell(ctx, clone, script, extra...)
		if err != nil {
			fail("%v", err)
		}
		return strings.TrimSpace(out)
	}
	for _, p := range pulls {
		if p.Author != github.Login {
			continue // made by hand, out of a conflict
		}
		m := undoesForm.FindStringSubmatch(p.Body)
		sides := []string{"GOOD=" + m[1], "BAD=" + m[2], "HEAD=" + p.HeadSHA}
		ours := git(`git rev-parse "$HEAD^{tree}"`, sides...)
		if parents := strings.Fields(git(`git show --no-patch --format=%P "$HEAD"`, sides...)); len(parents) != 1 {
			fail("#%d: its head has %d parents, want 1", p.Number, len(parents))
		}
		reverted := git(`git switch --quiet --detach "$HEAD^" && git revert --no-commit "$GOOD..$BAD" && git write-tree && git reset --quiet --hard`, sides...)
		if ours != reverted {
			fail("#%d: its tree is %s, that of git revert %s", p.Number, ours, reverted)
		}
		check := checkForm.FindStringSubmatch(p.Body)
		if check == nil {
			fail("#%d does not tell how to check it:\n%s", p.Number, p.Body)
			continue
		}
		if out := git(check[1]); out != "" {
			fail("#%d: its own check says\n%s", p.Number, out)
		}
		// The same check of another commit must fail: that of the head's parent, which takes nothing back.
		other := strings.ReplaceAll(check[1], p.HeadSHA, git(`git rev-parse "$HEAD^"`, sides...))
		if _, err := f.shell(ctx, clone, other+" >/dev/null"); err == nil || other == check[1] {
			fail("#%d: its check does not notice another commit: %s", p.Number, other)
		}
	}
}

// ghPull is a pull request as gh tells it.
type ghPull struct {
	Number                                            int
	Title, Body, State, HeadRefName, BaseRefName, URL string
	IsDraft                                           bool
	Labels                                            []struct{ Name string }
	ReviewRequests                                    []struct{ Login, Slug, Name string }
	MergeCommit                                       *struct{ OID string }
}

const ghFields = "number,title,body,state,headRefName,baseRefName,url,isDraft,labels,reviewRequests,mergeCommit"

// seenByGH holds what gh shows against what the program opened and what its status says.
func (f *forge) seenByGH(ctx context.Context, t *testing.T, pulls []github.Pull) {
	t.Helper()
	ask := func(script string, into any) bool {
		out, err := f.shell(ctx, f.Dir(), script)
		if err == nil {
			err = json.Unmarshal([]byte(out), into)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", f.Name(), script, err)
		}
		return err == nil
	}
	var list []ghPull
	if !ask("gh pr list --state all --limit 100 --json "+ghFields, &list) {
		return
	}
	for _, p := range pulls {
		i := slices.IndexFunc(list, func(g ghPull) bool { return g.Number == p.Number })
		if i < 0 {
			t.Errorf("%s: gh pr list does not show #%d", f.Name(), p.Number)
			continue
		}
		var one ghPull
		if !ask(fmt.Sprintf("gh pr view %d --json %s", p.Number, ghFields), &one) {
			return
		}
		if d := cmp.Diff(list[i], one); d != "" {
			t.Errorf("%s: #%d differs between gh pr list (-) and gh pr view (+):\n%s", f.Name(), p.Number, d)
		}
		want := map[string]string{
			"title": p.Title, "body": p.Body, "head": p.Head, "base": p.Base, "draft": fmt.Sprint(p.Draft), "labels": strings.Join(p.Labels, " "),
			"state": map[bool]string{true: "OPEN", false: "CLOSED"}[p.Open], "reviewers": strings.Join(slices.Concat(p.Reviewers, p.TeamReviewers), " "),
		}
		got := map[string]string{
			"title": one.Title, "body": one.Body, "head": one.HeadRefName, "base": one.BaseRefName, "draft": fmt.Sprint(one.IsDraft), "state": one.State,
		}
		var labels, reviewers []string
		for _, l := range one.Labels {
			labels = append(labels, l.Name)
		}
		for _, r := range one.ReviewRequests {
			reviewers = append(reviewers, r.Login+r.Slug)
		}
		got["labels"], got["reviewers"] = strings.Join(labels, " "), strings.Join(reviewers, " ")
		if p.Merged {
			want["state"], want["merge"] = "MERGED", p.MergeCommit
			if one.MergeCommit != nil {
				got["merge"] = one.MergeCommit.OID
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: #%d differs between GitHub (-) and gh (+):\n%s", f.Name(), p.Number, d)
		}
	}

	// What the record says of its pull request, gh must show as well.
	var status struct{ Services []object }
	if !ask("rollback status --service payments --environment prod --json", &status) || len(status.Services) != 1 {
		t.Errorf("%s: status names %d services, want 1", f.Name(), len(status.Services))
		return
	}
	for _, of := range append(slices.Concat(items(status.Services[0], "owed"), items(status.Services[0], "needless")), at(status.Services[0], "last", "merge")) {
		number := num(of, "pr")
		if number == 0 {
			continue
		}
		i := slices.IndexFunc(list, func(g ghPull) bool { return g.Number == number })
		if i < 0 {
			t.Errorf("%s: status names #%d, which gh does not show", f.Name(), number)
			continue
		}
		g := list[i]
		if _, path, _ := strings.Cut(g.URL, "github.com"); path == "" || !strings.HasSuffix(str(of, "url"), path) {
			t.Errorf("%s: #%d is %s to status, %s to gh", f.Name(), number, str(of, "url"), g.URL)
		}
		if commit := str(of, "commit"); commit != "" && (g.MergeCommit == nil || g.MergeCommit.OID != commit) {
			t.Errorf("%s: #%d was merged as %s to status, as %v to gh", f.Name(), number, commit, g.MergeCommit)
		}
		if state := str(of, "prState"); state != "" && !strings.EqualFold(state, g.State) {
			t.Errorf("%s: #%d is %s to status, %s to gh", f.Name(), number, state, g.State)
		}
	}
}
