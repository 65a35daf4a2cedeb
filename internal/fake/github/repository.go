package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Repository is one repository. Its methods are what people and other systems do to it, past the API.
type Repository struct {
	s   *Server
	git *gitDir

	id            int64
	owner, name   string
	defaultBranch string
	public        bool
	archived      bool
	created       time.Time
	pushed        time.Time
	settings      RepositoryOptions
	issues        map[int]*issue // pull requests too
	lastIssue     int
	labels        map[string]int64 // name → id
	checks        map[string][]*check
	deployments   []*deployment
	protections   []Protection
	verified      map[string]bool  // commits signed by GitHub
	landed        map[string]*pull // commits that a merge brought to its base
	queue         []*pull
}

// RepositoryOptions are a repository's settings; the zero value allows all three ways to merge.
type RepositoryOptions struct {
	DefaultBranch       string // main
	Public              bool
	Archived            bool
	NoMergeCommits      bool
	NoSquash            bool
	NoRebase            bool
	AutoMerge           bool // "Allow auto-merge"
	DeleteBranchOnMerge bool
	// MergeableAfter is how many reads of a pull request answer mergeable null after its head or base moved: 0.
	MergeableAfter int
}

// CreateRepository makes an empty repository, "acme/payments".
func (s *Server) CreateRepository(full string, o RepositoryOptions) (*Repository, error) {
	owner, name, ok := strings.Cut(full, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is not owner/name", full)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[strings.ToLower(full)] != 0 {
		return nil, fmt.Errorf("%s exists", full)
	}
	if o.DefaultBranch == "" {
		o.DefaultBranch = "main"
	}
	id := s.lastRepo + 1
	g, err := initGit(s.repoDir(id), s.env, o.DefaultBranch)
	if err != nil {
		return nil, err
	}
	s.lastRepo = id
	now := s.now()
	r := &Repository{
		s: s, git: g, id: id, owner: owner, name: name, defaultBranch: o.DefaultBranch, public: o.Public, archived: o.Archived, created: now, pushed: now,
		settings: o, issues: map[int]*issue{}, labels: map[string]int64{}, checks: map[string][]*check{}, verified: map[string]bool{}, landed: map[string]*pull{},
	}
	s.repositories[id] = r
	s.names[strings.ToLower(full)] = id
	return r, nil
}

// Repository finds a repository by a name it has or had, nil if there is none.
func (s *Server) Repository(full string) *Repository {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookup(full)
}

// Rename gives a repository another name; the old one redirects from now on.
func (r *Repository) Rename(full string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.owner, r.name, _ = strings.Cut(full, "/")
	r.s.names[strings.ToLower(full)] = r.id
}

// Configure changes the settings. The default branch, if it is given, must exist or be the one it is.
func (r *Repository) Configure(f func(*RepositoryOptions)) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	f(&r.settings)
	r.defaultBranch, r.public, r.archived = r.settings.DefaultBranch, r.settings.Public, r.settings.Archived
}

func (r *Repository) full() string { return r.owner + "/" + r.name }

// Name is the full name, acme/payments.
func (r *Repository) Name() string {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.full()
}

// Dir is the bare repository, for git processes of tests.
func (r *Repository) Dir() string { return r.git.dir }

// Change is a commit in the making.
type Change struct {
	Message string
	Author  string // login; commits of nobody known: "Some One <one@example.com>". Default: octocat
	// Files are put at their paths, with mode 100644 unless Modes says otherwise ("100755", "120000" with the target as content,
	// "160000" with a commit's SHA as content).
	Files  map[string]string
	Modes  map[string]string
	Delete []string // paths, files or directories
	// Parents are revisions beside the branch's head, for merges by hand; the tree is made from the first parent's.
	Parents []string
	// From is where a branch that does not exist yet starts: the default branch's head.
	From string
	Time time.Time // the server's clock
}

// Commit adds a commit to a branch, as a push of it by its author would.
func (r *Repository) Commit(branch string, c Change) (sha string, err error) {
	r.s.do(func() { sha, err = r.seed(branch, c) })
	return sha, err
}

func (r *Repository) seed(branch string, c Change) (string, error) {
	if c.Author == "" {
		c.Author = "octocat"
	}
	who := signature{Time: c.Time}
	by := c.Author
	if name, email, ok := strings.Cut(c.Author, " <"); ok {
		who.Name, who.Email = name, strings.TrimSuffix(email, ">")
	} else {
		u := r.s.user(c.Author)
		who.Name, who.Email = u.name, u.email
	}
	if who.Time.IsZero() {
		who.Time = r.s.now()
	}
	full := "refs/heads/" + branch
	before := r.git.ref(full)
	var parents []string
	switch {
	case before != "":
		parents = append(parents, before)
	case c.From != "":
		parents = append(parents, c.From)
	case r.git.ref("refs/heads/"+r.defaultBranch) != "":
		parents = append(parents, r.defaultBranch)
	}
	parents = append(parents, c.Parents...)
	tree := ""
	for i, p := range parents {
		if parents[i] = r.resolve(p); parents[i] == "" {
			return "", fmt.Errorf("%s: no such revision", p)
		}
	}
	if len(parents) > 0 {
		p, err := r.git.commit(parents[0])
		if err != nil {
			return "", err
		}
		tree = p.tree
	}
	var puts []entry
	for _, path := range c.Delete {
		puts = append(puts, entry{name: path})
	}
	for path, text := range c.Files {
		e := entry{mode: "100644", name: path, sha: text}
		if m := c.Modes[path]; m != "" {
			e.mode = m
		}
		if e.mode != "160000" {
			var err error
			if e.sha, err = r.git.write("blob", []byte(text)); err != nil {
				return "", err
			}
		}
		puts = append(puts, e)
	}
	tree, err := r.git.edit(tree, puts)
	if err != nil {
		return "", err
	}
	sha, err := r.git.writeCommit(tree, parents, who, who, c.Message)
	if err != nil {
		return "", err
	}
	return sha, r.move(branch, sha, by, 0)
}

// Push pushes revisions of a work tree into the repository, past every rule: (dir, "HEAD:refs/heads/main").
func (r *Repository) Push(ctx context.Context, workTree string, refspecs ...string) error {
	before, err := r.git.refs("refs/heads/")
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "git", append([]string{"-c", "core.hooksPath=/dev/null", "push", "--quiet", r.git.dir}, refspecs...)...)
	c.Dir, c.Env = workTree, r.git.env
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		return fmt.Errorf("git push: %w: %s", err, errs.String())
	}
	r.s.do(func() { err = r.noticed(before, "octocat") })
	return err
}

// move puts a branch at a commit ("" deletes it) and lets everything notice. The caller holds the state.
func (r *Repository) move(branch, sha, by string, merged int) error {
	full := "refs/heads/" + branch
	before := r.git.ref(full)
	if before == sha {
		return nil
	}
	expect := before
	if expect == "" {
		expect = noSHA
	}
	if err := r.git.setRef(full, sha, expect); err != nil {
		return err
	}
	return r.moved(branch, before, sha, by, merged)
}

// moved is what follows from a branch that moved already.
func (r *Repository) moved(branch, before, after, by string, merged int) error {
	r.pushed = r.s.now()
	r.s.events = append(r.s.events, Push{Repository: r.full(), Branch: branch, Before: before, After: after, Pull: merged, By: by})
	for _, p := range r.pulls() {
		if !p.open() || p.number == merged {
			continue
		}
		if p.from(branch) {
			if after == "" {
				r.close(p, by)
				continue
			}
			p.headSHA, p.updated = after, r.s.now()
			if err := r.git.setRef(fmt.Sprintf("refs/pull/%d/head", p.number), after, ""); err != nil {
				return err
			}
			p.reviews = slices.DeleteFunc(p.reviews, func(v review) bool { return v.state == "APPROVED" && r.rules(p.base).DismissStale })
		}
		// A push that brings a pull request's commits to its base merges it.
		if p.base == branch && after != "" && merged == 0 && p.headSHA != before && r.git.isAncestor(p.headSHA, after) {
			r.finish(p, before, after, by)
		}
	}
	return r.settle()
}

// noticed compares the branches with what they were and reacts to each that moved.
func (r *Repository) noticed(before []ref, by string) error {
	after, err := r.git.refs("refs/heads/")
	if err != nil {
		return err
	}
	was, is := map[string]string{}, map[string]string{}
	for _, x := range before {
		was[x.name] = x.sha
	}
	var errs []error
	for _, x := range after {
		is[x.name] = x.sha
		if was[x.name] != x.sha {
			errs = append(errs, r.moved(strings.TrimPrefix(x.name, "refs/heads/"), was[x.name], x.sha, by, 0))
		}
	}
	for _, x := range before {
		if is[x.name] == "" {
			errs = append(errs, r.moved(strings.TrimPrefix(x.name, "refs/heads/"), x.sha, "", by, 0))
		}
	}
	return errors.Join(errs...)
}

// resolve is gitDir.resolve, and HEAD for the default branch.
func (r *Repository) resolve(name string) string {
	if name == "HEAD" {
		name = "refs/heads/" + r.defaultBranch
	}
	return r.git.resolve(name)
}

// Head is the commit a branch is at, "" if there is no such branch.
func (r *Repository) Head(branch string) string { return r.git.ref("refs/heads/" + branch) }

// Branches are the names of the branches, sorted.
func (r *Repository) Branches() ([]string, error) {
	all, err := r.git.refs("refs/heads/")
	names := make([]string, len(all))
	for i, x := range all {
		names[i] = strings.TrimPrefix(x.name, "refs/heads/")
	}
	return names, err
}

// Refs are the full names of all refs but those GitHub keeps for pull requests, sorted.
func (r *Repository) Refs() ([]string, error) {
	all, err := r.git.refs("refs/")
	var names []string
	for _, x := range all {
		if !strings.HasPrefix(x.name, "refs/pull/") {
			names = append(names, x.name)
		}
	}
	return names, err
}

// CommitInfo is a commit for tests to look at.
type CommitInfo struct {
	SHA, Tree   string
	Parents     []string
	Message     string
	AuthorName  string
	AuthorEmail string
	Time        time.Time // committed
	Verified    bool
}

// Show reads the commit that a revision names.
func (r *Repository) Show(revision string) (CommitInfo, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	c, err := r.git.commit(r.resolve(revision))
	if err != nil {
		return CommitInfo{}, fmt.Errorf("%s: %w", revision, err)
	}
	return CommitInfo{
		SHA: c.sha, Tree: c.tree, Parents: c.parents, Message: c.message, AuthorName: c.author.Name, AuthorEmail: c.author.Email, Time: c.committer.Time,
		Verified: r.verified[c.sha],
	}, nil
}

// File reads a file at a revision; ok tells whether it is there.
func (r *Repository) File(revision, path string) (text string, ok bool) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	c, err := r.git.commit(r.resolve(revision))
	if err != nil {
		return "", false
	}
	e, err := r.git.lookup(c.tree, path)
	if err != nil {
		return "", false
	}
	kind, data, err := r.git.read(e.sha)
	return string(data), err == nil && kind == "blob"
}
