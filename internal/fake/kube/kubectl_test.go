//go:build kubectl

package kube

// kubectl as a second client. Run with `go test -tags kubectl`; it needs kubectl 1.30 or later on PATH.

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl returns a function that runs kubectl against the server in namespace prod.
func kubectl(t *testing.T, s *Server) func(args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal("kubectl is not on PATH: install it as https://kubernetes.io/docs/tasks/tools/#kubectl says")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	config := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "loopback",
		"clusters": []any{map[string]any{"name": "loopback", "cluster": map[string]any{"server": serve(t, s).Host}}},
		"users":    []any{map[string]any{"name": "admin", "user": map[string]any{"token": AdminToken}}},
		"contexts": []any{map[string]any{"name": "loopback", "context": map[string]any{"cluster": "loopback", "user": "admin", "namespace": "prod"}}},
	}
	must(t, os.WriteFile(file, encode(config), 0o600))
	return func(args ...string) (string, error) {
		c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(c, path, append([]string{"--kubeconfig", file, "--cache-dir", filepath.Join(dir, "cache")}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func TestKubectl(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{Delays: Delays{Ready: 20 * time.Millisecond}})
	k := kubectl(t, s)
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := k(args...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("kubectl %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		return out
	}
	settled(t, s, NewDeployment("prod", "payments", image, 4))
	settled(t, s, NewStatefulSet("prod", "db", image, 2))
	settled(t, s, NewDaemonSet("prod", "agent", image))
	reg.tag(image, bad)
	run("deployment.apps/payments restarted", "rollout", "restart", "deployment/payments")
	run(`deployment "payments" successfully rolled out`, "rollout", "status", "deployment/payments", "--timeout=20s")
	run("statefulset.apps/db restarted", "rollout", "restart", "statefulset/db")
	run("partitioned roll out complete: 2 new pods have been updated", "rollout", "status", "statefulset/db", "--timeout=20s")
	run("daemonset.apps/agent restarted", "rollout", "restart", "daemonset/agent")
	run(`daemon set "agent" successfully rolled out`, "rollout", "status", "daemonset/agent", "--timeout=20s")
	must(t, s.Wait(ctx(t), func() bool { return len(s.List("pods", "prod", "app=payments")) == 4 }))
	var list struct {
		Items []struct {
			Status struct {
				ContainerStatuses []struct{ ImageID string }
			}
		}
	}
	must(t, json.Unmarshal([]byte(run("", "get", "pods", "-l", "app=payments", "-o", "json")), &list))
	if len(list.Items) != 4 {
		t.Errorf("%d pods", len(list.Items))
	}
	for _, p := range list.Items {
		if id := p.Status.ContainerStatuses[0].ImageID; id != "registry.example.com/payments@"+bad {
			t.Errorf("imageID %s", id)
		}
	}
	run("1/1     Running", "get", "pods")
	run("4/4     4            4", "get", "deploy", "payments")
	run("NODE", "get", "pods", "-o", "wide")
	file := filepath.Join(t.TempDir(), "settings.json")
	must(t, os.WriteFile(file, encode(NewConfigMap("prod", "settings", map[string]string{"a": "1"})), 0o600))
	run("configmap/settings created", "create", "--validate=false", "-f", file)
	run("deployment.apps/payments scaled", "scale", "deployment/payments", "--replicas=2")
	run("deployment.apps/payments image updated", "set", "image", "deployment/payments", "payments="+image+"-next")
	run("deployment.apps/payments paused", "rollout", "pause", "deployment/payments")
	out, err := k("rollout", "restart", "deployment/payments")
	if err == nil || !strings.Contains(out, "can't restart paused deployment") {
		t.Errorf("restart of a paused deployment: %v %s", err, out)
	}
	run("deployment.apps/payments resumed", "rollout", "resume", "deployment/payments")
	run("REVISION", "rollout", "history", "deployment/payments")
	run("deployment.apps/payments rolled back", "rollout", "undo", "deployment/payments")
	run("successfully rolled out", "rollout", "status", "deployment/payments", "--timeout=20s")
	run("Successfully assigned prod/db-0 to node-1", "describe", "pod", "db-0")
	run("NewReplicaSet:", "describe", "deployment", "payments")
	run("db starting, image "+bad, "logs", "db-0")
	run("Scheduled", "get", "events")
	run("node-1   Ready", "get", "nodes")
	run(`pod "db-1" deleted`, "delete", "pod", "db-1", "--wait=false") // waiting, kubectl misses a pod that is replaced within milliseconds
	run("condition met", "wait", "--for=condition=Available", "deployment/payments", "--timeout=20s")
	run(`deployment.apps "payments" deleted`, "delete", "deployment", "payments", "--wait=false")
	if out, err := k("get", "deploy", "payments"); err == nil || !strings.Contains(out, `Error from server (NotFound): deployments.apps "payments" not found`) {
		t.Errorf("get of nothing: %v %s", err, out)
	}
}

// What kubectl says of a rollout that is stuck.
func TestKubectlSeesTheDeadline(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	k := kubectl(t, s)
	settled(t, s, Set(NewDeployment("prod", "payments", image, 4), int64(1), "spec", "progressDeadlineSeconds"))
	reg.tag(image, bad)
	s.Behave(bad, Behaviour{NeverReady: true})
	if out, err := k("rollout", "restart", "deployment/payments"); err != nil {
		t.Fatal(out)
	}
	out, err := k("rollout", "status", "deployment/payments", "--timeout=20s")
	if err == nil || !strings.Contains(out, "exceeded its progress deadline") {
		t.Errorf("%v %s", err, out)
	}
}
