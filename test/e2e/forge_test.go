package e2e

// GitHub and Jenkins, for either world: the fakes of the main module, GitHub on real git, and a deploy job that pushes to the
// world's own registry and restarts in the world's own cluster, as an administrator of it.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// The service's repository and deploy job, and the job's parameter for a commit.
const (
	codeRepo     = "acme/payments"
	deployJob    = "deploy/payments"
	buildOf      = "COMMIT"
	jenkinsToken = "11e2e00000000000000000000000000token"
	// reviewer is who looks at reverts and merges them, with gh.
	reviewer      = "payments-lead"
	reviewerToken = "ghp_e2e00000000000000000000000000lead"
)

// forge is a world with GitHub and Jenkins.
type forge struct {
	World
	github     *github.Server
	code       *github.Repository
	jenkins    *jenkins.Server
	githubURL  string
	jenkinsURL string
	webhook    atomic.Bool // whether a merge starts the deploy job
	breaks     atomic.Bool // whether builds fail
	restarts   []string    // what the deploy job restarts: deployments/payments
	tools      string      // directory with gh and the other tools
	gh         string      // directory with the configuration of gh

	mu     sync.Mutex
	builds map[string]*Release // what the deploy job made, by the name it has in traces
}

// newForge starts GitHub and Jenkins, and a world that is configured to use them.
func newForge(t *testing.T, start func(*testing.T, Options) World, o Options) *forge {
	t.Helper()
	f := &forge{builds: map[string]*Release{}, restarts: []string{"deployments/payments"}}
	f.webhook.Store(true)
	var err error
	if f.github, err = github.New(github.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.github.Close)
	if f.code, err = f.github.CreateRepository(codeRepo, github.RepositoryOptions{AutoMerge: true}); err != nil {
		t.Fatal(err)
	}
	f.github.AddUser(reviewer, "Payments Lead", "payments-lead@acme.example")
	f.github.AddToken(reviewerToken, github.Access{Login: reviewer})
	f.githubURL = served(t, f.github)
	f.jenkins = jenkins.New(jenkins.Options{})
	f.jenkins.AddUser("oncall", jenkins.User{Token: jenkinsToken})
	f.jenkins.AddJob(deployJob, jenkins.Job{Parameters: []jenkins.Parameter{{Kind: "String", Name: buildOf}}, Script: f.deploy})
	f.jenkinsURL = served(t, f.jenkins)
	f.github.OnMerge(func(p github.Push) {
		if p.Branch == "main" && f.webhook.Load() {
			f.jenkins.Push(deployJob, p.After)
		}
	})
	o.Config += fmt.Sprintf("    job: deploy/{service}\n    github: {url: %q}\n    jenkins: {url: %q, user: oncall, commitParameter: %s}\n", f.githubURL, f.jenkinsURL, buildOf)
	f.World = start(t, o)
	t.Cleanup(f.jenkins.Close) // before the world, which builds use
	return f
}

func served(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func (f *forge) Env() []string {
	// What becomes of a pull request must not depend on how fast git is here.
	return append(f.World.Env(), "GITHUB_TOKEN="+github.Token, "JENKINS_TOKEN="+jenkinsToken, "ROLLBACK_REVERT_WAIT=2m")
}

// deploy is the life of a build: check out, build, push, point latest at it, restart what runs it.
func (f *forge) deploy(ctx context.Context, b *jenkins.Build) string {
	commit := b.Asked()
	if commit == "" {
		commit = b.Parameters()[buildOf]
	}
	b.Checkout(commit)
	b.Stage("Build")
	if f.breaks.Load() {
		b.Print("no space left on device\n")
		return "FAILURE"
	}
	digest, err := registry.Push(ctx, f.RegistryURL(), "payments", registry.Image{Content: "build of " + commit, Created: built, Platforms: []string{"linux/amd64", "linux/arm64"}}, commit)
	if err == nil {
		f.mu.Lock()
		f.builds[fmt.Sprintf("build %d", b.Number())] = &Release{Digest: digest, Commit: commit}
		f.mu.Unlock()
		err = f.Registry().SetPushedAt("payments", digest, time.Now().UTC().Truncate(time.Second))
	}
	if err == nil {
		err = f.Registry().Tag("payments", "latest", digest)
	}
	if err == nil {
		b.Stage("Deploy")
		stamp := object{"kubectl.kubernetes.io/restartedAt": time.Now().UTC().Format(time.RFC3339Nano)} // kubectl: to the second, in which the rollback may have restarted it
		for _, workload := range f.restarts {
			resource, name, _ := strings.Cut(workload, "/")
			err = errors.Join(err, f.API().merge(ctx, resource, f.Namespace(), name, object{"spec": object{"template": object{"metadata": object{"annotations": stamp}}}}))
		}
	}
	if err != nil {
		b.Print("%s\n", err)
		return "FAILURE"
	}
	return "SUCCESS"
}

// named gives the commits that came into being their names: the head and the merge of each pull request, and what was built.
func (f *forge) named() map[string]*Release {
	all := map[string]*Release{}
	for _, p := range f.reverts() {
		all[fmt.Sprintf("head of %d", p.Number)] = &Release{Commit: p.HeadSHA}
		if p.Merged {
			all[fmt.Sprintf("merge of %d", p.Number)] = &Release{Commit: p.MergeCommit}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, r := range f.builds {
		all[name] = &Release{Digest: r.Digest} // its commit is that of a merge
	}
	return all
}

// trace adds what can be seen of GitHub and Jenkins: pull requests, branches and other refs, builds.
func (f *forge) trace(s *Stage, t Trace) error {
	for _, p := range f.reverts() {
		state := "closed"
		switch {
		case p.Open:
			state = "open"
		case p.Merged:
			state = "merged by " + p.MergedBy
		}
		at := fmt.Sprintf("pulls[%d].", p.Number)
		t[at+"state"], t[at+"draft"], t[at+"auto-merge"] = state, fmt.Sprint(p.Draft), p.AutoMerge
		t[at+"title"], t[at+"body"], t[at+"author"] = s.mask(p.Title), s.mask(p.Body), p.Author
		t[at+"branches"] = s.mask(p.Head + " into " + p.Base)
		t[at+"labels"], t[at+"reviewers"] = strings.Join(p.Labels, " "), strings.Join(slices.Concat(p.Reviewers, p.TeamReviewers), " ")
		for i, c := range p.Comments {
			t[fmt.Sprintf("%scomments[%d]", at, i)] = s.mask(c)
		}
		head, err := f.code.Show(p.HeadSHA)
		if err != nil {
			return err
		}
		t[at+"commit"] = s.mask(head.Message)
	}
	refs, err := f.code.Refs()
	if err != nil {
		return err
	}
	for _, r := range refs {
		t["refs."+s.mask(r)] = "there"
	}
	for i, b := range f.jenkins.Builds(deployJob) {
		how := "pushed " + b.Asked()
		if b.Asked() == "" {
			how = "asked for " + b.Parameters()[buildOf]
		}
		t[fmt.Sprintf("builds[%d]", i+1)] = s.mask(how) + ": " + b.Result()
	}
	return nil
}

// change is a merged pull request before it is made.
type change struct {
	name, title, author string
	age                 time.Duration
	files               map[string]string
}

// changes are those of payments, oldest first; the last one is bad. Each is a release.
var changes = []change{
	{"oldest", "Retry card network timeouts", "payments-dev", 9 * 24 * time.Hour, map[string]string{"network.go": "package payments\n\nconst retries = 3\n"}},
	{"old", "Log the acquirer's answer code", "platform-dev", 6 * 24 * time.Hour, map[string]string{"acquirer.go": "package payments\n"}},
	{"good", "Cache exchange rates for a minute", "payments-dev", 27 * time.Hour, map[string]string{"rates.go": "package payments\n\nconst keep = 60 // seconds\n"}},
	{"bad", "Round amounts in the ledger", "ledger-dev", 42 * time.Minute, map[string]string{"ledger.go": ledger("amount / 100 * 100")}},
}

// ledger is the file that the bad change changes.
func ledger(expression string) string {
	return "package payments\n\n// Post writes an amount, in cents, to the ledger.\nfunc Post(amount int64) int64 {\n\treturn " + expression + "\n}\n"
}

// coded are the releases of payments, each out of a merged pull request, and the deployment that runs the last one.
func coded(ctx context.Context, s *Stage) error {
	f := s.world.(*forge)
	f.webhook.Store(false) // what is built below was built long ago
	if _, err := f.code.Commit("main", github.Change{Message: "Take card payments", Author: "payments-dev", Time: time.Now().Add(-30 * 24 * time.Hour), Files: map[string]string{
		"README.md": "# payments\n", "ledger.go": ledger("amount"), "rates.go": "package payments\n", "CODEOWNERS": "* @payments-lead\n",
	}}); err != nil {
		return err
	}
	for _, c := range changes {
		commit, err := f.merged(c)
		if err != nil {
			return err
		}
		r := &Release{Title: c.title, Age: c.age, Platforms: []string{"linux/amd64", "linux/arm64"}, Commit: commit}
		if err := push(ctx, s.world, "payments", r); err != nil {
			return err
		}
		s.releases[c.name] = r
	}
	s.repos = append(s.repos, "payments")
	f.webhook.Store(true)
	return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 3))
}

// merged brings a change into main, by a pull request, and returns its commit.
func (f *forge) merged(c change) (string, error) {
	branch := "change-" + c.name
	if _, err := f.code.Commit(branch, github.Change{Message: c.title, Author: c.author, Time: time.Now().Add(-c.age - 2*time.Hour), From: "main", Files: c.files}); err != nil {
		return "", err
	}
	number, err := f.code.OpenPull(github.PullOptions{Head: branch, Title: c.title, Author: c.author})
	if err != nil {
		return "", err
	}
	return f.code.Merge(number, "squash", c.author)
}

// deployed waits until the deploy job has ended so many builds, and the pods run what it built.
func (f *forge) deployed(ctx context.Context, n int) error {
	err := f.jenkins.Wait(ctx, func() bool {
		over := 0
		for _, b := range f.jenkins.Builds(deployJob) {
			if b.Result() != "" {
				over++
			}
		}
		return over >= n
	})
	if err != nil {
		return err
	}
	for _, workload := range f.restarts {
		resource, name, _ := strings.Cut(workload, "/")
		if err := f.API().rolledOut(ctx, resource, f.Namespace(), name); err != nil {
			return err
		}
	}
	return nil
}

// TestForge plays the scenarios that need GitHub and Jenkins.
func TestForge(t *testing.T) {
	for _, sc := range forgeScenarios {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			var forges []*forge
			for _, start := range worlds {
				f := newForge(t, start, sc.Options)
				f.equip(t)
				forges = append(forges, f)
			}
			sc.both(t, forges[0], forges[1])
		})
	}
}
