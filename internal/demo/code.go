package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
)

// Repo and Job are the service's repository and deploy job, BuildParameter the job's parameter for a commit.
const (
	Repo           = "acme/payments"
	Job            = "deploy/payments"
	BuildParameter = "COMMIT"
	jenkinsUser    = "oncall"
	jenkinsToken   = "11loopback0000000000000000000000demo"
)

// startCode serves GitHub, on real git, and Jenkins, whose deploy job builds what is merged.
func (w *World) startCode() (err error) {
	if w.GitHub, err = github.New(github.Options{}); err != nil {
		return err
	}
	if w.GitHubURL, err = w.serve(w.GitHub, nil); err != nil {
		return err
	}
	w.Jenkins = jenkins.New(jenkins.Options{})
	w.Jenkins.AddUser(jenkinsUser, jenkins.User{Token: jenkinsToken})
	if w.JenkinsURL, err = w.serve(w.Jenkins, nil); err != nil {
		return err
	}
	w.Jenkins.AddJob(Job, jenkins.Job{Parameters: []jenkins.Parameter{{Kind: "String", Name: BuildParameter}}, Script: w.deploy})
	w.addRollbackJob()
	w.GitHub.OnMerge(func(p github.Push) {
		if p.Repository == Repo && p.Branch == "main" && w.webhook.Load() {
			w.Jenkins.Push(Job, p.After)
		}
	})
	return nil
}

// Webhook switches whether a merge starts the deploy job.
func (w *World) Webhook(on bool) { w.webhook.Store(on) }

// deploy is the life of a build: check out, build and push the image, point latest at it, restart what pulls it.
func (w *World) deploy(ctx context.Context, b *jenkins.Build) string {
	commit := b.Asked()
	if commit == "" {
		commit = b.Parameters()[BuildParameter]
	}
	if commit == "" {
		commit = w.Code.Head("main")
	}
	b.Checkout(commit)
	b.Stage("Build")
	b.Print("building payments:%s", commit)
	if !b.Sleep(ctx, w.pace) {
		return ""
	}
	if _, err := w.push("payments", "build of "+commit, commit, 0); err != nil {
		b.Print("push failed: %s", err)
		return "FAILURE"
	}
	b.Stage("Deploy")
	for _, x := range [][2]string{{"deployments", "payments"}, {"statefulsets", "payments-worker"}} {
		if w.Cluster.Get(x[0], Namespace, x[1]) == nil {
			continue
		}
		b.Print("kubectl rollout restart %s/%s", strings.TrimSuffix(x[0], "s"), x[1])
		if err := w.Cluster.Edit(x[0], Namespace, x[1], func(o map[string]any) { restart(o) }); err != nil {
			b.Print("%s", err)
			return "FAILURE"
		}
	}
	return "SUCCESS"
}

// restart does what kubectl rollout restart does to a workload.
func restart(o map[string]any) {
	spec, _ := o["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	meta, _ := template["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		template["metadata"] = meta
	}
	notes, _ := meta["annotations"].(map[string]any)
	if notes == nil {
		notes = map[string]any{}
		meta["annotations"] = notes
	}
	notes["kubectl.kubernetes.io/restartedAt"] = time.Now().UTC().Format(time.RFC3339Nano)
}

// seedCode makes the repository whose merged pull requests are the releases, oldest first, and returns their commits.
func (w *World) seedCode(releases []planned) ([]string, error) {
	var err error
	if w.Code, err = w.GitHub.CreateRepository(Repo, github.RepositoryOptions{AutoMerge: true}); err != nil {
		return nil, err
	}
	w.GitHub.AddUser("payments-lead", "payments-lead", "payments-lead@acme.example")
	start := time.Now().Add(-30 * 24 * time.Hour)
	if _, err := w.Code.Commit("main", github.Change{Message: "Take card payments", Author: "payments-dev", Time: start, Files: map[string]string{
		"README.md": "# payments\n", "ledger.go": ledger("amount"), "rates.go": "package payments\n", "CODEOWNERS": "* @payments-lead\n",
	}}); err != nil {
		return nil, err
	}
	var commits []string
	for i, r := range releases {
		branch := fmt.Sprintf("change-%d", i+1)
		if _, err := w.Code.Commit(branch, github.Change{Message: r.title, Author: r.author, Time: time.Now().Add(-r.ago - 2*time.Hour), From: "main", Files: r.files}); err != nil {
			return nil, err
		}
		number, err := w.Code.OpenPull(github.PullOptions{Head: branch, Title: r.title, Author: r.author})
		if err != nil {
			return nil, err
		}
		sha, err := w.Code.Merge(number, "squash", r.author)
		if err != nil {
			return nil, err
		}
		commits = append(commits, sha)
	}
	return commits, nil
}

// ledger is a file that the bad release changes.
func ledger(expression string) string {
	return "package payments\n\n// Post writes an amount, in cents, to the ledger.\nfunc Post(amount int64) int64 {\n\treturn " + expression + "\n}\n"
}

// MergeRevert merges the open revert, as its reviewer does, and returns its number and title.
func (w *World) MergeRevert() (number int, title string, err error) {
	open := w.Code.OpenPulls()
	if len(open) != 1 {
		return 0, "", fmt.Errorf("%d pull requests are open, want the revert alone", len(open))
	}
	_, err = w.Code.Merge(open[0].Number, "squash", "payments-lead")
	return open[0].Number, open[0].Title, err
}
