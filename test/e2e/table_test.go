package e2e

// The table of scenarios.

import (
	"context"
	"net/http"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

const (
	good = "<image good in full>"
	bad  = "<image bad in full>"
)

var scenarios = []Scenario{
	{
		Name: "back, again, and undone", Seed: payments("Deployment"),
		Steps: []Step{
			{Args: on("status")},
			{Args: on("run", "--reason", "amounts", "--yes")},
			{Args: on("run", "--to", "{good}", "--reason", "amounts", "--yes")},
			{Args: on("verify")},
			{Args: on("undo", "--reason", "false alarm", "--yes")},
			{Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pods.payments: Running [app " + bad + " running ready=true]": "3"},
	},
	{
		Name: "back, three kinds of workload", Seed: payments("Deployment", "StatefulSet", "DaemonSet"),
		Steps: []Step{
			{Args: on("plan", "--reason", "amounts")},
			{Args: on("run", "--reason", "amounts", "--yes")},
			{Args: on("verify")},
		},
		Want: map[string]string{
			"tags.payments.latest": good,
			"pods.payments: Running [app " + good + " running ready=true]":        "3",
			"pods.payments-worker: Running [app " + good + " running ready=true]": "2",
			"pods.payments-agent: Running [app " + good + " running ready=true]":  "3",
		},
	},
	{
		Name: "the older image crashes", Seed: payments("Deployment"),
		Steps: []Step{
			{Before: behave("good", control.Behaviour{Crash: true, ExitCode: 2, Logs: "starting\npanic: no such column: amount_minor\n"}), Args: on("run", "--reason", "amounts", "--yes"), Exit: 4},
		},
		Want: map[string]string{"events.Pod kubelet Warning BackOff": "seen"},
	},
	{
		Name: "the older image cannot be pulled by the nodes", Seed: payments("Deployment"),
		Steps: []Step{{Args: on("run", "--to", "{good}", "--reason", "amounts", "--yes"), Exit: 4, Before: func(_ context.Context, s *Stage) error {
			// A lifecycle rule takes the image between the moving of the tag and the start of the pods.
			s.world.Cluster().Inject(fake.Fault{Op: "PATCH deployments/payments", Times: 1, Hold: func(*http.Request) {
				if err := s.world.Registry().Delete("payments", s.releases["good"].Digest); err != nil {
					s.broken(err)
				}
			}})
			return nil
		}}},
		Want: map[string]string{"events.Pod kubelet Warning Failed": "seen"},
	},
	{
		Name: "a paused deployment", Seed: payments("Deployment"),
		Steps: []Step{{
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 5,
			Before: func(ctx context.Context, s *Stage) error {
				return s.world.API().merge(ctx, "deployments", s.world.Namespace(), "payments", object{"spec": object{"paused": true}})
			},
		}},
		Want: map[string]string{"tags.payments.latest": bad},
	},
	{
		Name: "nodes keep the image they have",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 3, func(pod, _ object) {
				pod["containers"].([]any)[0].(object)["imagePullPolicy"] = "IfNotPresent"
			}))
		},
		Steps: []Step{{Args: on("run", "--reason", "amounts", "--yes"), Exit: 5}},
		Want:  map[string]string{"tags.payments.latest": bad},
	},
}
