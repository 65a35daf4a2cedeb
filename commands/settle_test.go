package commands

// What the end of a run waits for, and what it does not.

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// GitHub takes its time: the record has its last word and no lock before the pull request is there, and learns of it then.
func TestRecordIsNotHeldUp(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.GitHub.Inject(fake.Fault{Op: "pulls/create", Times: 1, Hold: func(*http.Request) {
		until(t, "the record of the rollback", func() bool {
			rec := n.record()
			return rec != nil && rec.Last != nil && rec.Last.State == rollback.Mitigated && rec.Lock == nil
		})
		if owed := n.record().Open(); len(owed) != 1 || owed[0].PR != 0 {
			t.Errorf("owed before the pull request is there: %+v", owed)
		}
	}})
	r := n.do(call{args: theRun("--revert-wait", "5m")}).wantExit(t, 0).wantText(t, "mitigated", "revert pull request opened: ", "merge the revert by ")
	n.wantState(n.clean())
	if owed := n.record().Open(); len(owed) != 1 || owed[0].PR == 0 || !strings.Contains(r.stderr, owed[0].URL) {
		t.Errorf("owed %+v\n%s", owed, r)
	}
	n.wantJournalWhole()
}

// What was deployed after a rollback runs beside a record that says otherwise: status says so, and not before.
func TestStatusTellsALaterDeploy(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.Webhook(false)
	n.do(call{args: theRun()}).wantExit(t, 0)
	if r := n.do(call{args: scoped("status")}).wantExit(t, 0); strings.Contains(r.stderr, "deployed since") {
		t.Errorf("nothing was deployed since\n%s", r)
	}
	later, err := n.Code.Commit("main", fakegh.Change{Message: "Explain the rates", Author: "payments-dev", From: "main", Files: map[string]string{"rates.go": "// Package payments knows rates.\npackage payments\n"}})
	must(t, err)
	n.Jenkins.Push(demo.Job, later)
	until(t, "the deploy", func() bool {
		builds, digest := n.Jenkins.Builds(demo.Job), n.Registry.Tags("payments")[later]
		running := n.Running("payments")
		return len(builds) == 1 && builds[0].Result() != "" && len(running) == 1 && running[digest] > 0
	})
	n.do(call{args: []string{"status", "--environment", "prod"}}).wantExit(t, 0).wantText(t, "! payments: runs sha256:", "something else was deployed since. If that is bad, too: rollback plan --service payments --environment prod")
	n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, "! payments: runs "+later[:7]+" sha256:")
}

// The pods of a CronJob at work are none of the service's: they end by themselves.
func TestStatusLeavesOutCronJobs(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	image := n.Registry.Host() + "/payments:latest"
	owned := func(o map[string]any, kind, plural, name string) map[string]any {
		by := n.Cluster.Get(plural, demo.Namespace, name)
		o["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "batch/v1", "kind": kind, "name": name, "uid": by["metadata"].(map[string]any)["uid"], "controller": true}}
		return o
	}
	report := demo.CronJob("report", image, "@daily")
	must(t, n.Cluster.Apply(report))
	spec := report["spec"].(map[string]any)["jobTemplate"].(map[string]any)["spec"].(map[string]any)
	spec["suspend"] = true // its pod is made here
	must(t, n.Cluster.Apply(owned(map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "report-1", "namespace": demo.Namespace}, "spec": spec}, "CronJob", "cronjobs", "report")))
	must(t, n.Cluster.Apply(owned(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "report-1-x", "namespace": demo.Namespace},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "job", "image": image}}}}, "Job", "jobs", "report-1")))
	until(t, "the pod of the CronJob", func() bool {
		status, _ := n.Cluster.Get("pods", demo.Namespace, "report-1-x")["status"].(map[string]any)
		return status["phase"] == "Running"
	})
	n.do(call{args: scoped("status")}).wantExit(t, 0).wantText(t, " 5/5 ")
	n.do(call{args: scoped("status", "--json")}).wantExit(t, 0).wantText(t, `"pods": 5,`)
}
