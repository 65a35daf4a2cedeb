package main

// The revert pull request: ours without a clone, against git clone, git revert, git push and gh pr create, on repositories of
// several sizes behind the same loopback GitHub on real git.

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake/github"
)

const (
	// revertWaves is the most for a revert, and for what a run does about its follow-up.
	revertWaves = 10
	// Each repository is made of files of fileSize bytes, of which the tree of the branch holds one in versions; the others
	// are older versions of them. The bytes are random, so that nothing can be compressed and the size is what is sent.
	fileSize = 20_000
	versions = 4
	// pullsMany are the pull requests of a service that is years old: as many as ours looks at. pullsOpen of them are open, and
	// each has a text of pullsText bytes, as tools write it that keep dependencies up to date.
	pullsMany, pullsOpen, pullsText = 100, 8, 4_000
)

// revertSizes are the sizes of the repositories, in MB of history.
var revertSizes = []int{1, 50, 500}

// way is one way to open a revert pull request, on one size of repository.
type way struct {
	name string
	mb   int
	d    depths
	got  []int64 // bytes of answers
}

func (b *bench) revert(ctx context.Context) (section, error) {
	s, err := open(demo.Options{Code: true})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	if err := s.Seed(ctx); err != nil {
		return section{}, err
	}
	s.slow(latency)

	// Ours, tip and three-way, on the small repository of the story.
	own := []*depths{
		{what: "revert --commit, the newest commit", bound: revertWaves},
		{what: "revert --commit, one commit below (three-way merge by GitHub)", bound: revertWaves},
		{what: "revert --commit, the newest commit, --dry-run", bound: revertWaves},
	}
	for range b.times(20) {
		for i, d := range own {
			if err := b.revertOnce(ctx, s, s.Code, "payments", i == 1, func(commit string) error {
				more := []string{"--commit", commit, "--reason", "bench"}
				if i == 2 {
					more = append(more, "--dry-run")
				}
				seen, err := b.do(ctx, s, args("revert", scope("payments", more...)...)...)
				d.add(seen.wall(), seen.calls)
				return err
			}, i != 2); err != nil {
				return section{}, err
			}
		}
	}
	waves := table{head: wavesHead}
	which := "Which calls make the waves (of the repetition with the most):\n"
	for _, d := range own {
		waves.add(d.row(b, b.start)...)
		which += fmt.Sprintf("\n- %s: %s", d.what, told(d.deep))
	}
	plan := depths{what: "plan --to COMMIT, with GitHub and Jenkins", bound: wavesAllowed}
	follow := [2]depths{
		{what: "run: the follow-up, from its first call to GitHub to its last", bound: revertWaves},
		{what: "run: the same, with another commit on top (three-way merge by GitHub)", bound: revertWaves},
	}
	for i := range follow {
		if err := b.followUps(ctx, &plan, &follow[i], i == 1); err != nil {
			return section{}, err
		}
	}
	waves.add(plan.row(b, b.start)...)
	for i := range follow {
		waves.add(follow[i].row(b, 0)...)
		which += fmt.Sprintf("\n- %s: %s", follow[i].what, told(follow[i].deep))
	}
	waves.note = which

	out := section{
		title: "The revert pull request",
		method: "The loopback GitHub keeps its repositories in real git and serves git's own protocol too; 100 ms are injected into every request to it, of the API\n" +
			"and of git. First the waves of ours. Then ours against what is typed without it: clone, `git revert`, `git push`, `gh pr create`, in turns on the same\n" +
			fmt.Sprintf("repositories. Their files (%d kB each) are random bytes and do not compress; one byte in %d is in the tree of the branch, the rest are older versions.\n", fileSize/1000, versions) +
			"The shallow clone is told to fetch two commits, which is enough for this revert and would not be for an older one. Last, ours in a repository with many\n" +
			fmt.Sprintf("pull requests, of which it looks at the newest %d to find a revert that is there already: %d are open, the others merged, and each has %d kB of text.", pullsMany, pullsOpen, pullsText/1000),
		limits: []string{
			"Bandwidth: 127.0.0.1 has no limit worth the name, so what a clone has to fetch costs least here. At 100 Mbit/s each 12 MB are one second more, for every way but ours.",
			"How long GitHub itself takes for a call or to serve a clone.",
			"A clone that is there already: a developer's own is fetched, not cloned. A build agent or the laptop of whoever is on call often has none.",
			"Ours also looks for a revert that is there already, checks that the commit is on the branch and that the result carries the tree it must, and writes the range, the files and the risks into the pull request. The manual ways do not.",
		},
	}
	gh, err := b.ghClient(ctx, s)
	if err != nil {
		return section{}, err
	}
	if gh.tool.path == "" {
		out.missing = append(out.missing, "`gh pr create`: gh is not there. "+gh.tool.hint+". The pull requests of the manual ways were opened with one POST by curl instead, which costs less")
	}
	sizes, err := b.revertSizes(ctx, s, gh)
	if err != nil {
		return section{}, err
	}
	many, err := b.manyPulls(ctx, s)
	if err != nil {
		return section{}, err
	}
	out.tables = []table{waves, sizes, many}
	return out, nil
}

// manyPulls measures ours in a new repository and in one with many pull requests.
func (b *bench) manyPulls(ctx context.Context, s *site) (table, error) {
	t := table{head: []string{"what", "pull requests", "waves", "calls", "kB about pull requests", "kB of answers", "n"}}
	about := func(list []call) []call {
		return slices.DeleteFunc(slices.Clone(list), func(c call) bool { return !strings.HasPrefix(c.op, "graphql:PullRequest") })
	}
	kB := func(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e3) }
	var depth [][]int
	var rest int64
	for _, pulls := range []int{0, pullsMany} {
		service := fmt.Sprintf("pulls-%d", pulls)
		repo, err := s.GitHub.CreateRepository("acme/"+service, github.RepositoryOptions{})
		if err != nil {
			return t, err
		}
		b.log("revert in a repository of %d pull requests", pulls)
		if err := s.fillPulls(repo, pulls); err != nil {
			return t, err
		}
		for i, what := range []string{"revert --commit, the newest commit", "revert --commit, one commit below", "revert --commit, the newest commit, --dry-run"} {
			d := depths{what: what}
			var pullBytes, allBytes []int64
			for range b.times(6) {
				if err := b.revertOnce(ctx, s, repo, service, i == 1, func(commit string) error {
					more := []string{"--commit", commit, "--reason", "bench"}
					if i == 2 {
						more = append(more, "--dry-run")
					}
					seen, err := b.do(ctx, s, args("revert", scope(service, more...)...)...)
					d.add(seen.wall(), seen.calls)
					pullBytes, allBytes = append(pullBytes, bytesOf(about(seen.calls))), append(allBytes, bytesOf(seen.calls))
					return err
				}, i != 2); err != nil {
					return t, err
				}
			}
			t.add(what, fmt.Sprint(pulls), span(d.depth), span(d.counts), kB(slices.Max(pullBytes)), kB(slices.Max(allBytes)), fmt.Sprint(len(d.depth)))
			depth = append(depth, d.depth)
			if deepest := slices.Max(d.depth); deepest > revertWaves {
				b.over = append(b.over, fmt.Sprintf("%s, %d pull requests: %d waves, allowed are %d", what, pulls, deepest, revertWaves))
			}
		}
		body, err := s.api(http.MethodGet, "/repos/acme/"+service+"/pulls?state=all&base=main&sort=created&direction=desc&per_page=100", "", http.StatusOK)
		if err != nil {
			return t, err
		}
		rest = int64(len(body))
	}
	for i := range len(depth) / 2 {
		if a, z := slices.Max(depth[i]), slices.Max(depth[i+len(depth)/2]); a != z {
			b.over = append(b.over, fmt.Sprintf("revert: %d waves in a new repository, %d in one of %d pull requests", a, z, pullsMany))
		}
	}
	t.note = fmt.Sprintf("REST lists the same %d pull requests in %s kB, of which %d kB are texts. Kilobytes are the most of all repetitions, uncompressed; GitHub compresses.", pullsMany, kB(rest), pullsMany*pullsText/1000)
	return t, nil
}

// fillPulls makes a history of pull requests from forks, of which the first are open and the others merged.
func (s *site) fillPulls(repo *github.Repository, n int) error {
	commit := func(branch, path string) (string, error) {
		return repo.Commit(branch, github.Change{Message: "Tune " + path, Author: "payments-dev", Files: map[string]string{path: "package payments\n"}})
	}
	if _, err := commit("main", "main.go"); err != nil {
		return err
	}
	last := ""
	for i := range n {
		branch := "work"
		if i < pullsOpen {
			branch = "unmerged"
		}
		at, err := commit(branch, fmt.Sprintf("tuned/%03d.go", i))
		if err != nil {
			return err
		}
		if i >= pullsOpen {
			last = at
		}
		if _, err := repo.OpenPull(github.PullOptions{
			Head: fmt.Sprintf("tune-%03d", i), Fork: "payments-dev", At: at, Title: fmt.Sprintf("PAY-%d: Tune the limits of the service", i), Author: "payments-dev",
			Body: strings.Repeat("Why this is so, and what was tried before it.\n", pullsText/46),
		}); err != nil {
			return err
		}
	}
	if last == "" {
		return nil
	}
	// A push that brings their commits merges them.
	_, err := s.api(http.MethodPatch, "/repos/"+repo.Name()+"/git/refs/heads/main", fmt.Sprintf(`{"sha":%q}`, last), http.StatusOK)
	return err
}

// revertOnce puts a change onto main, and another one on top of it if below is set, has the change reverted and cleans up.
func (b *bench) revertOnce(ctx context.Context, s *site, repo *github.Repository, name string, below bool, revert func(commit string) error, opens bool) error {
	change := func(path string) (string, error) {
		return repo.Commit("main", github.Change{Message: "Tune " + path, Author: "payments-dev", Files: map[string]string{path: fmt.Sprintf("package payments\n\nvar at = %d\n", time.Now().UnixNano())}})
	}
	commit, err := change("limits.go")
	if err == nil && below {
		_, err = change("fees.go")
	}
	if err != nil {
		return err
	}
	before := repo.OpenPulls()
	if err := revert(commit); err != nil {
		return err
	}
	open := slices.DeleteFunc(repo.OpenPulls(), func(p github.Pull) bool {
		return slices.ContainsFunc(before, func(was github.Pull) bool { return was.Number == p.Number })
	})
	if want := map[bool]int{true: 1}[opens]; len(open) != want {
		return fmt.Errorf("%d pull requests are open in %s, want %d", len(open), name, want)
	}
	for _, p := range open {
		// The proof, by git itself: the head's tree is that of the change's parent, plus what came after it.
		if !below {
			head, err := repo.Show(p.HeadSHA)
			if err != nil {
				return err
			}
			was, err := repo.Show(commit)
			if err != nil {
				return err
			}
			parent, err := repo.Show(was.Parents[0])
			if err != nil {
				return err
			}
			if head.Tree != parent.Tree {
				return fmt.Errorf("pull request #%d of %s does not restore the tree from before", p.Number, name)
			}
		}
		if err := s.deleteBranch(repo.Name(), p.Head); err != nil {
			return err
		}
	}
	repo.ForgetPulls() // or each repetition would list those of all before
	return nil
}

// deleteBranch deletes a branch, which closes its pull request.
func (s *site) deleteBranch(repo, branch string) error {
	_, err := s.api(http.MethodDelete, "/repos/"+repo+"/git/refs/heads/"+branch, "", http.StatusNoContent)
	return err
}

// api asks GitHub behind the switchboard: not one of the calls that count.
func (s *site) api(method, path, body string, want int) ([]byte, error) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+github.Token)
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	r.Header.Set("User-Agent", "bench")
	w := httptest.NewRecorder()
	s.GitHub.Next.ServeHTTP(w, r)
	if w.Code != want {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes(), nil
}

// followUps are the plan of a rollback by tag where GitHub and Jenkins are set up, too, and the calls to GitHub that the
// rollback makes after its first write: those of the pull request it owes. With below set there is another commit on top of
// the bad one.
func (b *bench) followUps(ctx context.Context, plan, follow *depths, below bool) error {
	s, err := open(demo.Options{Code: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Seed(ctx); err != nil {
		return err
	}
	if below {
		if _, err := s.Code.Commit("main", github.Change{Message: "Tune the fees", Author: "payments-dev", Files: map[string]string{"fees.go": "package payments\n"}}); err != nil {
			return err
		}
	}
	s.slow(latency)
	good := s.Releases[len(s.Releases)-2]
	for range b.times(20) {
		seen, err := b.do(ctx, s, args("plan", scope("payments", "--to", good.Commit)...)...)
		if err != nil {
			return err
		}
		plan.add(seen.wall(), seen.calls)
		seen, err = b.do(ctx, s, args("run", scope("payments", "--to", good.Commit, "--reason", "bench", "--yes")...)...)
		if err != nil {
			return err
		}
		first := slices.IndexFunc(seen.calls, call.write)
		var after []call
		for _, c := range calls(s.GitHub.Requests()) {
			if c.start.After(seen.calls[first].start) {
				after = append(after, c)
			}
		}
		open := s.Code.OpenPulls()
		if len(open) != 1 || len(after) == 0 {
			return fmt.Errorf("the rollback left %d pull requests open after %d calls, want 1", len(open), len(after))
		}
		follow.add(ending(after).Sub(after[0].start), after)
		if _, err := b.do(ctx, s, args("undo", scope("payments", "--reason", "bench", "--yes")...)...); err != nil {
			return err
		}
		for _, p := range s.Code.OpenPulls() {
			if err := s.deleteBranch(demo.Repo, p.Head); err != nil {
				return err
			}
		}
		s.Code.ForgetPulls()
		if err := s.settle(ctx, "deployments/payments", "statefulsets/payments-worker"); err != nil {
			return err
		}
		if err := s.forgetRollbacks("payments"); err != nil {
			return err
		}
	}
	return nil
}

// ghClient is gh as it meets the loopback GitHub: as github.com, through a socket.
type ghClient struct {
	tool tool
	env  []string
}

func (b *bench) ghClient(ctx context.Context, s *site) (ghClient, error) {
	g := ghClient{tool: b.apt(ctx, "gh", "gh")}
	if g.tool.path != "" {
		g.tool.version = first(ctx, g.tool.path, `gh version (\S+)`, "--version")
	}
	b.tools.gh, b.tools.git = g.tool, tool{name: "git", version: first(ctx, "git", `git version (\S+)`, "--version")}
	dir := filepath.Join(s.Dir, "gh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return g, err
	}
	socket := filepath.Join(dir, "s") // the path of a socket must be short
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte("http_unix_socket: "+socket+"\nprompt: disabled\n"), 0o600); err != nil {
		return g, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return g, err
	}
	server := &http.Server{Handler: s.GitHub, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	home := filepath.Join(s.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return g, err
	}
	g.env = append(s.env[:len(s.env):len(s.env)],
		"HOME="+home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=On Call", "GIT_AUTHOR_EMAIL=oncall@acme.example", "GIT_COMMITTER_NAME=On Call", "GIT_COMMITTER_EMAIL=oncall@acme.example",
		"GH_CONFIG_DIR="+dir, "GH_TOKEN="+github.Token, "GH_NO_UPDATE_NOTIFIER=1", "GH_PROMPT_DISABLED=1", "GH="+g.tool.path, "URL="+s.GitHubURL)
	return g, nil
}

// revertScript is what is typed: $CLONE are the options of the clone, $REPO the repository, $COMMIT what to revert.
const revertScript = `set -e
git clone --quiet $CLONE "$REMOTE" work
cd work
git switch --quiet --create "revert-$NUMBER"
git revert --no-edit "$COMMIT" >/dev/null
git push --quiet origin HEAD
if [ -n "$GH" ]; then
	"$GH" pr create --repo "$REPO" --base main --head "revert-$NUMBER" --title "Revert $COMMIT" --body bench
else
	curl --fail --silent --show-error --output /dev/null -H "Authorization: Bearer $GH_TOKEN" \
		--data "{\"title\":\"Revert $COMMIT\",\"body\":\"bench\",\"base\":\"main\",\"head\":\"revert-$NUMBER\"}" "$URL/repos/$REPO/pulls"
fi
`

// revertSizes measures all ways on repositories of all sizes.
func (b *bench) revertSizes(ctx context.Context, s *site, gh ghClient) (table, error) {
	opened := "`gh pr create`"
	if gh.tool.path == "" {
		opened = "a POST by curl"
	}
	manual := []struct{ name, clone string }{
		{"`git clone`, revert, push, " + opened, ""},
		{"the same, `--filter=blob:none`", "--filter=blob:none"},
		{"the same, `--depth 2`", "--depth 2"},
	}
	t := table{head: []string{"what", "repository, MB", "time, ms", "p90", "× ours", "calls", "waves", "MB of answers", "n"}}
	var ours []*way
	number := 0
	for _, size := range revertSizes {
		service := fmt.Sprintf("size-%d", size)
		repo, err := s.GitHub.CreateRepository("acme/"+service, github.RepositoryOptions{})
		if err != nil {
			return t, err
		}
		if err := fillHistory(ctx, repo.Dir(), size*1_000_000); err != nil {
			return t, err
		}
		b.log("revert in a repository of %d MB", size)
		measure := func(w *way, run func(commit string) (ended, error)) error {
			return b.revertOnce(ctx, s, repo, service, false, func(commit string) error {
				s.forget()
				e, err := run(commit)
				list := s.calls()
				w.d.add(e.wall(), list)
				w.got = append(w.got, bytesOf(list))
				return err
			}, true)
		}
		list := []*way{{name: "`rollback revert --commit`", mb: size}}
		for _, m := range manual {
			list = append(list, &way{name: m.name, mb: size})
		}
		for range b.times(20) {
			if err := measure(list[0], func(commit string) (ended, error) {
				return command(ctx, s.env, s.Dir, b.bin, args("revert", scope(service, "--commit", commit, "--reason", "bench")...)...)
			}); err != nil {
				return t, err
			}
			for i, m := range manual {
				number++
				dir := filepath.Join(b.dir, fmt.Sprintf("clone-%d", number))
				if err := os.Mkdir(dir, 0o700); err != nil {
					return t, err
				}
				remote := strings.Replace(s.GitHubURL, "http://", "http://x-access-token:"+github.Token+"@", 1) + "/acme/" + service + ".git"
				err := measure(list[i+1], func(commit string) (ended, error) {
					return command(ctx, append(gh.env[:len(gh.env):len(gh.env)], "CLONE="+m.clone, "REMOTE="+remote, "REPO=acme/"+service, "COMMIT="+commit, fmt.Sprint("NUMBER=", number)), dir, "sh", "-c", revertScript)
				})
				if err := os.RemoveAll(dir); err != nil {
					return t, err
				}
				if err != nil {
					return t, err
				}
			}
		}
		ours = append(ours, list[0])
		for _, w := range list {
			t.add(w.name, fmt.Sprint(w.mb), ms(median(w.d.walls)), ms(quantile(w.d.walls, 0.9)), ratio(median(w.d.walls), median(list[0].d.walls)),
				span(w.d.counts), span(w.d.depth), fmt.Sprintf("%.2f", float64(median(w.got))/1e6), fmt.Sprint(len(w.d.walls)))
		}
	}
	least, most := ours[0], ours[len(ours)-1]
	t.note = fmt.Sprintf("Ours is flat in the size of the repository: %s of the time in %d MB that it takes in %d MB.",
		ratio(median(most.d.walls), median(least.d.walls)), most.mb, least.mb)
	for _, w := range ours {
		if deepest := slices.Max(w.d.depth); deepest > revertWaves {
			b.over = append(b.over, fmt.Sprintf("revert in %d MB: %d waves, allowed are %d", w.mb, deepest, revertWaves))
		}
		if a, z := span(least.d.counts), span(w.d.counts); a != z {
			b.over = append(b.over, fmt.Sprintf("revert: %s calls in %d MB, %s in %d MB", a, least.mb, z, w.mb))
		}
	}
	return t, nil
}

// fillHistory writes a history of about so many bytes straight into a bare repository.
func fillHistory(ctx context.Context, dir string, size int) error {
	c := exec.CommandContext(ctx, "git", "-c", "core.compression=0", "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet")
	c.Dir = dir
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return err
	}
	files := max(1, size/fileSize/versions)
	random := rand.NewChaCha8([32]byte{1})
	w := bufio.NewWriterSize(in, 1<<20)
	for version := range versions {
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter Payments Dev <payments-dev@acme.example> %d +0000\ndata 7\nVersion\n", 1790000000+version)
		for i := range files {
			fmt.Fprintf(w, "M 100644 inline assets/%02d/%05d.bin\ndata %d\n", i%50, i, fileSize)
			if _, err := io.CopyN(w, random, fileSize); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w, "done")
	err = w.Flush()
	_ = in.Close()
	if waited := c.Wait(); waited != nil {
		return fmt.Errorf("git fast-import: %w: %s", waited, said.String())
	}
	return err
}
