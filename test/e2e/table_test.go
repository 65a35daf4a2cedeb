package e2e

// The table of scenarios.

import (
	"context"
	"time"

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
			{Before: behave("good", control.Behaviour{Crash: true, ExitCode: 2, Logs: "starting\npanic: no such column: amount_minor\n"}), Args: on("run", "--reason", "amounts", "--yes"), Exit: 4,
				Says: []string{"CrashLoopBackOff", "log: panic: no such column: amount_minor"}},
		},
		Want: map[string]string{"events.Pod kubelet Warning BackOff": "seen"},
	},
	{
		Name: "a restart meets an image that is gone",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			if err := s.release(ctx, "proxy", "proxy", "Terminate TLS", 90*24*time.Hour); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 3, func(pod, _ object) {
				pod["containers"] = append(pod["containers"].([]any), object{"name": "proxy", "image": image(s.world, "proxy"), "imagePullPolicy": "Always"})
			}))
		},
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error { // a lifecycle rule took the sidecar's image; what runs does not notice
				return s.world.Registry().Delete("proxy", s.releases["proxy"].Digest)
			},
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 4,
			Says: []string{"ImagePullBackOff", "proxy"},
		}},
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
