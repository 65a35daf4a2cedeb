package e2e

// The table of scenarios in which nodes fail, each in a way of its own.

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// Commands of the table; briefly does not wait until the program's own patience with a trouble is over.
var (
	byRetag = on("run", "--reason", "amounts", "--yes")
	briefly = on("run", "--reason", "amounts", "--yes", "--timeout", "4s")
	undone  = on("undo", "--reason", "worse", "--yes")
)

// running is the field that counts the pods of the deployment that run a release as they should.
func running(image string) string {
	return "pods.payments: Running [app " + image + " running ready=true]"
}

// withPods is payments with one workload, whose pod spec is changed.
func withPods(kind, name string, replicas int, change func(s *Stage, pod object)) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := releases(ctx, s); err != nil {
			return err
		}
		return s.up(ctx, workload(s.world, kind, name, "payments", replicas, func(pod, _ object) { change(s, pod) }))
	}
}

// beside is payments with one workload, which also has a container of an image of its own.
func beside(list, name, policy string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := s.release(ctx, name, name, name, 90*24*time.Hour); err != nil {
			return err
		}
		if err := s.world.Preload(ctx, image(s.world, name), s.releases[name].Digest); err != nil {
			return err
		}
		return withPods("Deployment", "payments", 3, func(s *Stage, pod object) {
			all, _ := pod[list].([]any)
			pod[list] = append(all, object{"name": name, "image": image(s.world, name), "imagePullPolicy": policy})
		})(ctx, s)
	}
}

// secret is a Secret that a pod names, and the part of a pod spec or a container that names it.
const secretName = "card-network"

func secret(there bool) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error { return s.world.Secret(ctx, secretName, there) }
}

func withSecret(change func(pod object)) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := secret(true)(ctx, s); err != nil {
			return err
		}
		return withPods("Deployment", "payments", 3, func(_ *Stage, pod object) { change(pod) })(ctx, s)
	}
}

func app(pod object) object { return pod["containers"].([]any)[0].(object) }

// reporting lets the nodes report images in a form.
func reporting(form control.ImageID) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := s.world.SetImageID(ctx, form); err != nil {
			return err
		}
		return payments("Deployment")(ctx, s)
	}
}

// mendedBy does something and waits until the deployment is rolled out by itself.
func mendedBy(do func(context.Context, *Stage) error) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := do(ctx, s); err != nil {
			return err
		}
		return s.world.API().rolledOut(ctx, "deployments", s.world.Namespace(), "payments")
	}
}

// evicted has the node of a ready pod of a release put it out.
func evicted(ctx context.Context, s *Stage, release string) error {
	return until(ctx, func() (bool, error) {
		pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "app=payments")
		for _, p := range pods {
			for _, c := range items(p, "status", "containerStatuses") {
				if str(c, "imageID") == s.world.Registry().Host()+"/payments@"+s.releases[release].Digest && condition(p, "Ready") {
					return true, s.world.Evict(ctx, str(p, "metadata", "name"), "The node was low on resource: memory. Threshold quantity: 100Mi, available: 91816Ki. ")
				}
			}
		}
		return false, err
	})
}

const (
	noCommand = `failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/app/payments": stat /app/payments: no such file or directory`
	noAddress = `rpc error: code = Unknown desc = failed to setup network for sandbox "0f1e2d3c": plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`
)

var nodeScenarios = []Scenario{
	{
		Name: "the older image needs more memory than it may have", Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: behave("good", control.Behaviour{Crash: true, ExitCode: 137, Logs: "starting\nloading all rates\n"}),
				Args:   byRetag, Exit: 4,
				Says: []string{"; it ended with exit code 137 (OOMKilled)", "log: loading all rates", "needs more memory than container app may have (resources.limits.memory of deployment/payments)", "rollback undo"},
			},
			{Args: undone},
		},
		Want: map[string]string{"tags.payments.latest": bad, running(bad): "3"},
	},
	{
		Name: "the older image has no such command", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: behave("good", control.Behaviour{StartError: noCommand}),
			Args:   byRetag, Exit: 4,
			Says: []string{`; it ended with exit code 128 (StartError): ` + noCommand, "its command, or a file or user that it names, is not in the image"},
		}},
		Want: map[string]string{"events.Pod kubelet Warning Failed: Error: " + noCommand: "seen"},
	},
	{
		Name: "its liveness probe kills the older image", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: behave("good", control.Behaviour{Crash: true, ExitCode: 137, Liveness: true}),
			Args:   byRetag, Exit: 4, Says: []string{"; it ended with exit code 137\n", "most often its liveness probe"},
		}},
		Want: map[string]string{"events.Pod kubelet Normal Killing: Container app failed liveness probe, will be restarted": "seen"},
	},
	{
		Name: "the older image crashes until what it needs is back", Seed: payments("Deployment"), NoManual: "how many pods have crashed by then is a matter of time",
		Steps: []Step{
			{Before: behave("good", control.Behaviour{Crash: true, ExitCode: 2}), Args: byRetag, Exit: 4, Says: []string{"; it ended with exit code 2\n"}},
			{Before: mendedBy(behave("good", control.Behaviour{})), Args: byRetag},
		},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "pods that crash once and are ready late", Seed: payments("Deployment"),
		Steps: []Step{{Before: behave("good", control.Behaviour{Crash: true, Crashes: 1, ReadyAfter: 500 * time.Millisecond}), Args: byRetag}},
		Want:  map[string]string{"tags.payments.latest": good, "pods.payments: Running [app " + good + " crashes with 1 (Error)]": "3"},
	},
	{
		Name: "pods whose readiness comes and goes", Seed: payments("Deployment"),
		Steps: []Step{{Before: behave("good", control.Behaviour{Flaps: 3}), Args: byRetag}},
		Want:  map[string]string{"tags.payments.latest": good, running(good): "3", "events.Pod kubelet Warning Unhealthy": "seen"},
	},
	{
		Name: "an init container fails", Seed: beside("initContainers", "migrate", "Always"),
		Steps: []Step{{
			Before: behave("migrate", control.Behaviour{Crash: true, ExitCode: 3, Logs: "no such database\n"}),
			Args:   byRetag, Exit: 4, Says: []string{"failed container=migrate", "; it ended with exit code 3\n", "log: no such database", "-c migrate --previous"},
		}},
		Want: map[string]string{running(bad): ""},
	},
	{
		Name: "a restart meets a Secret that is gone",
		Seed: withSecret(func(pod object) {
			app(pod)["envFrom"] = []any{object{"secretRef": object{"name": secretName}}}
		}),
		Steps: []Step{
			{Before: secret(false), Args: briefly, Exit: 4, Says: []string{`CreateContainerConfigError: secret "card-network" not found`, "a ConfigMap, Secret or key that the pod names is missing"}},
			{Before: mendedBy(secret(true)), Args: byRetag},
		},
		Want: map[string]string{"tags.payments.latest": good, running(good): "3", "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "a restart meets a mounted Secret that is gone",
		Seed: withSecret(func(pod object) {
			pod["volumes"] = []any{object{"name": "keys", "secret": object{"secretName": secretName}}}
			app(pod)["volumeMounts"] = []any{object{"name": "keys", "mountPath": "/keys"}}
		}),
		Steps: []Step{
			{Before: secret(false), Args: briefly, Exit: 4, Says: []string{
				"ContainerCreating: its volumes or its network can't be made on node-", `event: FailedMount: MountVolume.SetUp failed for volume "keys" : secret "card-network" not found`, "the events say which: kubectl -n ",
			}},
			{Before: mendedBy(secret(true)), Args: byRetag},
		},
		Want: map[string]string{"tags.payments.latest": good, running(good): "3", "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "no address is left for the new pods", Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: func(ctx context.Context, s *Stage) error { return s.world.BreakSandboxes(ctx, noAddress) },
				Args:   briefly, Exit: 4, Says: []string{"ContainerCreating: its volumes or its network can't be made on node-", "event: FailedCreatePodSandBox: Failed to create pod sandbox: " + noAddress},
			},
			{Before: mendedBy(func(ctx context.Context, s *Stage) error { return s.world.BreakSandboxes(ctx, "") }), Args: byRetag},
		},
		Want: map[string]string{"tags.payments.latest": good, running(good): "3"},
	},
	{
		Name: "nodes that report the platform's manifest", Seed: reporting(control.PlatformDigest),
		Steps: []Step{{Args: byRetag}, {Args: on("verify")}, {Args: on("status")}, {Args: undone}, {Args: on("verify")}},
		Want:  map[string]string{"tags.payments.latest": bad},
	},
	{
		Name: "nodes that report the configuration alone", Seed: reporting(control.BareConfig),
		Steps: []Step{{Args: byRetag}, {Args: on("verify")}, {Args: on("status")}, {Args: undone}, {Args: on("verify")}},
		Want:  map[string]string{"tags.payments.latest": bad},
	},
	{
		Name: "a stale cache, and an image that is never pulled", Seed: beside("containers", "proxy", "Never"),
		Steps: []Step{
			{
				Before: func(ctx context.Context, s *Stage) error {
					return s.world.Preload(ctx, image(s.world, "payments"), s.releases["oldest"].Digest)
				},
				Args: byRetag,
			},
			{
				Before: func(ctx context.Context, s *Stage) error { return s.world.Preload(ctx, image(s.world, "proxy"), "") },
				Args:   undone, Exit: 4, Says: []string{"ErrImageNeverPull", "imagePullPolicy is Never, and the node no longer has the image"},
			},
		},
		Want: map[string]string{"tags.payments.latest": bad, "events.Pod kubelet Warning ErrImageNeverPull": "seen"},
	},
	{
		Name: "the registry does not know the nodes", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: turnedAway(fake.Fault{Status: http.StatusUnauthorized}),
			Args:   byRetag, Exit: 4, Says: []string{"authorization failed: no basic auth credentials", "the registry turns the node away: the right to pull is missing"},
		}},
		Want: map[string]string{"tags.payments.latest": good, running(bad): "3"},
	},
	{
		Name: "the nodes may not pull", Seed: payments("StatefulSet"),
		Steps: []Step{{
			Before: turnedAway(fake.Fault{Status: http.StatusForbidden}),
			Args:   byRetag, Exit: 4, Says: []string{"403 Forbidden", "the registry turns the node away: the right to pull is missing"},
		}},
		Want: map[string]string{"tags.payments.latest": good},
	},
	{
		Name: "a quota of pods is used up", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(ctx context.Context, s *Stage) error { return s.world.Quota(ctx, 3) },
			Args:   briefly, Exit: 4, Says: []string{"deployment/payments: FailedCreate: ", "exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3", " describe deployment/payments"},
		}},
		Want: map[string]string{"workloads.Deployment/payments.condition.ReplicaFailure": "True FailedCreate", running(bad): "3"},
	},
	{
		Name: "a quota of pods is used up, and a set has one pod less", Seed: payments("StatefulSet"),
		Steps: []Step{{
			Before: func(ctx context.Context, s *Stage) error { return s.world.Quota(ctx, 2) },
			Args:   briefly, Exit: 4, Says: []string{"statefulset/payments-worker: no new pod: 1 of 2 pods are there", "event: FailedCreate: ", "exceeded quota: pods", " describe statefulset/payments-worker"},
		}},
		Want: map[string]string{"events.StatefulSet statefulset-controller Warning FailedCreate": "seen"},
	},
	{
		Name: "pods that take their whole grace to end",
		Seed: func(ctx context.Context, s *Stage) error {
			if err := releases(ctx, s); err != nil {
				return err
			}
			if err := behave("bad", control.Behaviour{Stubborn: true})(ctx, s); err != nil {
				return err
			}
			return s.up(ctx, workload(s.world, "StatefulSet", "payments-worker", "payments", 2, func(pod, _ object) { pod["terminationGracePeriodSeconds"] = 1 }))
		},
		Steps: []Step{{Args: byRetag}},
		Want:  map[string]string{"tags.payments.latest": good, "pods.payments-worker: Running [app " + good + " running ready=true]": "2"},
	},
	{
		Name: "nodes put pods out", Seed: payments("Deployment"), NoManual: "a pod is put out between two looks of the program",
		Steps: []Step{
			{
				Before: func(ctx context.Context, s *Stage) error {
					if err := evicted(ctx, s, "bad"); err != nil {
						return err
					}
					return until(ctx, func() (bool, error) { // another is ready in its place
						pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
						ready := 0
						for _, p := range pods {
							if condition(p, "Ready") {
								ready++
							}
						}
						return len(pods) == 4 && ready == 3, err
					})
				},
				Args: on("status"),
			},
			{
				Before: func(ctx context.Context, s *Stage) error { // a new one, too, before the program has looked at it often
					s.world.Cluster().Inject(fake.Fault{Op: "GET deployments/payments", Skip: 1, Times: 1, Hold: func(*http.Request) {
						if err := evicted(ctx, s, "good"); err != nil {
							s.broken(err)
						}
					}})
					return nil
				},
				Args: byRetag,
			},
			{Args: on("status")},
			{Args: on("verify")},
		},
		Want: map[string]string{
			"tags.payments.latest": good, running(good): "3",
			"pods.payments: Failed [app " + bad + " crashes with 137 (Error)]":  "1",
			"pods.payments: Failed [app " + good + " crashes with 137 (Error)]": "1",
		},
	},
}

// lose cuts off the node of the last pod of a workload that has a node for itself, and waits for what comes of it.
func lose(label string, then func(ctx context.Context, s *Stage, node string) (bool, error)) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "app="+label)
		if err != nil {
			return err
		}
		count, node := map[string]int{}, ""
		for _, p := range pods {
			count[str(p, "spec", "nodeName")]++
		}
		for _, p := range pods { // in the order of their names
			if on := str(p, "spec", "nodeName"); count[on] == 1 {
				node = on
			}
		}
		if node == "" {
			return fmt.Errorf("pods by node: %v", count)
		}
		if err := s.world.Lose(ctx, node); err != nil {
			return err
		}
		return until(ctx, func() (bool, error) { return then(ctx, s, node) })
	}
}

// out tells whether no pod on a node is in service.
func out(ctx context.Context, s *Stage, node string) (bool, error) {
	pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
	for _, p := range pods {
		if str(p, "spec", "nodeName") == node && condition(p, "Ready") {
			return false, err
		}
	}
	return err == nil, err
}

// replaced tells whether the pods on a node are to go and others serve in their place.
func replaced(ctx context.Context, s *Stage, node string) (bool, error) {
	pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
	serve := 0
	for _, p := range pods {
		if str(p, "spec", "nodeName") == node && str(p, "metadata", "deletionTimestamp") == "" {
			return false, err
		}
		if condition(p, "Ready") {
			serve++
		}
	}
	return serve == 3, err
}

// misplaced tells whether a pod of the DaemonSet counts as one that should not be where it is. Its controller does not count anew
// when a node goes, but at the next change of any kind.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/controller/daemon/daemon_controller.go (syncNodeUpdate)
func misplaced(ctx context.Context, s *Stage, node string) (bool, error) {
	if done, err := out(ctx, s, node); !done {
		return false, err
	}
	change := object{"metadata": object{"annotations": object{"acme.example/looked": time.Now().Format(time.RFC3339Nano)}}}
	if err := s.world.API().merge(ctx, "daemonsets", s.world.Namespace(), "payments-agent", change); err != nil {
		return false, err
	}
	o, err := s.world.API().get(ctx, "daemonsets", s.world.Namespace(), "payments-agent")
	return num(o, "status", "numberMisscheduled") == 1, err
}

// lostScenarios lose a node, which all namespaces of the cluster share.
var lostScenarios = []Scenario{
	{
		Name: "a node does not answer", Seed: payments("Deployment"),
		Steps: []Step{
			{Before: lose("payments", out), Args: on("plan", "--reason", "amounts"), Says: []string{"2 of 3 pods ready: 1 × node-", " doesn't answer"}},
			{Args: byRetag, Says: []string{": its node node-", "was to go and is still there", "what it runs there is not known"}},
			{Args: on("verify"), Says: []string{"what it runs there is not known"}},
		},
		Want: map[string]string{"tags.payments.latest": good, running(good): "3", "events.Pod node-controller Warning NodeNotReady: Node is not ready": "seen"},
	},
	{
		Name: "a node does not answer for longer than its pods put up with",
		Seed: withPods("Deployment", "payments", 3, func(_ *Stage, pod object) {
			pod["tolerations"] = []any{object{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}}
		}),
		Steps: []Step{{Before: lose("payments", replaced), Args: byRetag, Says: []string{"was to go and is still there", "what it runs there is not known"}}},
		Want:  map[string]string{"tags.payments.latest": good, running(good): "3", "events.Pod taint-eviction-controller Normal TaintManagerEviction": "seen"},
	},
	{
		Name: "a node does not answer, and sets wait for its pods", Seed: payments("StatefulSet", "DaemonSet"),
		Steps: []Step{{Before: lose("payments-worker", misplaced), Args: briefly, Exit: 4, Says: []string{
			"the rollout did not end within 4s", "pod payments-worker-1: its node node-", " was to go and is still there: its node node-", "if it is gone for good, its pods go with it: kubectl delete node node-",
		}}},
		Want: map[string]string{"tags.payments.latest": good},
	},
}

// TestLostNodes is not beside other tests, whose pods the node would take with it.
func TestLostNodes(t *testing.T) {
	for _, sc := range lostScenarios {
		t.Run(sc.Name, func(t *testing.T) { sc.both(t, newLoopback(t, sc.Options), newReal(t, sc.Options)) })
	}
}
