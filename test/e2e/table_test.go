package e2e

// The table of scenarios.

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

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
		Name: "back, told as JSON, beside a CronJob", Seed: payments("Deployment", "CronJob"),
		Steps: []Step{
			{Args: on("status", "--tags", "--json")},
			{Args: on("candidates", "--json")},
			{Args: on("plan", "--reason", "amounts", "--json")},
			{Args: on("plan", "--reason", "amounts"), Says: []string{"payments-report"}},
			{Args: on("run", "--reason", "amounts", "--yes", "--json")},
			{Args: on("verify", "--json")},
			{Args: on("doctor", "--json")},
			{Args: on("status", "--tags", "--json")},
		},
		Want: map[string]string{
			"tags.payments.latest": good, "steps[0].stdout.services[0].tag": "latest", "cronjobs.payments-report.schedule": "0 6 * * *",
			"configmaps.rollback-payments.labels.app.kubernetes.io/managed-by": "rollback", "steps[4].result.exit": "0",
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
	{
		Name: "the older image never gets ready",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 3, func(_, spec object) {
				spec["progressDeadlineSeconds"] = 2
			}))
		},
		Steps: []Step{{
			Before: behave("good", control.Behaviour{NeverReady: true}),
			Args:   on("run", "--reason", "amounts", "--yes"), Exit: 4,
			Says: []string{"ProgressDeadlineExceeded"},
		}},
		Want: map[string]string{"workloads.Deployment/payments.condition.Progressing": "False ProgressDeadlineExceeded"},
	},
	{
		Name: "a restart meets a ConfigMap that is gone",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			if err := s.world.API().apply(ctx, object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "settings", "namespace": s.world.Namespace()}, "data": object{"a": "b"}}); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "StatefulSet", "payments-worker", "payments", 2, func(pod, _ object) {
				pod["containers"].([]any)[0].(object)["envFrom"] = []any{object{"configMapRef": object{"name": "settings"}}}
			}))
		},
		Steps: []Step{{
			Before: func(ctx context.Context, s *Stage) error {
				_, err := s.world.API().do(ctx, http.MethodDelete, pathOf("configmaps", s.world.Namespace(), "settings"), "", nil)
				return err
			},
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 4,
			Says: []string{"CreateContainerConfigError", "settings"},
		}},
	},
	{
		Name: "no node has room for the new pods",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			node, err := s.world.API().get(ctx, "nodes", "", "node-a")
			if err != nil {
				return err
			}
			cpu, err := strconv.Atoi(str(node, "status", "allocatable", "cpu"))
			if err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 3, func(pod, spec object) {
				pod["containers"].([]any)[0].(object)["resources"] = object{"requests": object{"cpu": fmt.Sprint(cpu/2 + 1)}} // one pod fills a node
				spec["strategy"] = object{"type": "RollingUpdate", "rollingUpdate": object{"maxSurge": 1, "maxUnavailable": 0}}
				spec["progressDeadlineSeconds"] = 2
			}))
		},
		Steps: []Step{{Args: on("run", "--reason", "amounts", "--yes"), Exit: 4, Says: []string{"ProgressDeadlineExceeded"}}},
		Want:  map[string]string{"events.Pod default-scheduler Warning FailedScheduling": "seen"},
	},
	{
		Name: "init containers and sidecars of the same image",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 2, func(pod, _ object) {
				pod["initContainers"] = []any{
					object{"name": "migrate", "image": image(s.world, "payments"), "imagePullPolicy": "Always"},
					object{"name": "cache", "image": image(s.world, "payments"), "imagePullPolicy": "Always", "restartPolicy": "Always"},
				}
			}))
		},
		Steps: []Step{{Args: on("run", "--reason", "amounts", "--yes")}, {Args: on("status")}},
		Want:  map[string]string{"tags.payments.latest": good},
	},
	{
		Name: "nodes that report docker-pullable",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := s.world.SetImageID(ctx, control.DockerPullable); err != nil {
				return err
			}
			return payments("Deployment")(ctx, s)
		},
		Steps: []Step{{Args: on("run", "--reason", "amounts", "--yes")}},
		Want:  map[string]string{"tags.payments.latest": good},
	},
	{
		Name: "an immutable tag",
		Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				return s.world.Registry().SetMutability("payments", "IMMUTABLE")
			},
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 5,
		}},
		Want: map[string]string{"tags.payments.latest": bad},
	},
	{
		Name: "killed after the tag, run again", Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error {
					s.world.Cluster().Inject(fake.Fault{Op: "PATCH *", Times: 1, Hold: func(*http.Request) { s.kill() }, Drop: true})
					return nil
				},
				Args: on("run", "--reason", "amounts", "--yes"), Exit: killed,
			},
			{Args: on("status")},
			{Args: on("run", "--reason", "amounts", "--yes")},
		},
		Want: map[string]string{
			"tags.payments.latest": good,
			"pods.payments: Running [app " + good + " running ready=true]": "3",
			"workloads.Deployment/payments.generation":                     "2", // restarted once
		},
	},
	{
		Name: "the answer to a restart is lost", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				s.world.Cluster().Inject(fake.Fault{Op: "PATCH deployments/payments", Times: 1, After: true, Drop: true})
				return nil
			},
			Args: on("run", "--reason", "amounts", "--yes"),
		}},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "the registry throttles, the API server stumbles", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				s.world.Registry().Inject(fake.Fault{Op: "BatchGetImage", Times: 2, Status: 400, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
					Body: `{"__type":"ThrottlingException","message":"Rate exceeded"}`})
				s.world.Cluster().Inject(fake.Fault{Op: "LIST pods", Times: 1, Skip: 1, Status: 503, Body: "upstream connect error"})
				s.world.Cluster().Inject(fake.Fault{Op: "LIST pods", Times: 1, Skip: 3, Cut: true, Body: `{"kind":"PodList","items":[`})
				return nil
			},
			Args: on("run", "--reason", "amounts", "--yes"),
		}},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "the right to restart is missing", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(ctx context.Context, s *Stage) error {
				return s.world.Grant(ctx, []object{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": object{"name": "rollback-run", "namespace": s.world.Namespace()},
					"rules": []any{
						object{"apiGroups": []any{"apps", "batch", ""}, "resources": []any{"*"}, "verbs": []any{"get", "list", "watch"}},
						object{"apiGroups": []any{""}, "resources": []any{"configmaps"}, "verbs": []any{"get", "list", "create", "update"}},
					}}})
			},
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 5, Says: []string{"no right to patch deployment/payments in namespace", "the Role that is needed: rollback permissions --service payments --environment prod --for run"},
		}},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "1", "configmaps.rollback-payments.record.json.schemaVersion": ""},
	},
}
