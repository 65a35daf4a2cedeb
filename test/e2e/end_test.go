package e2e

// The end of a real world: nothing of it runs on, and nothing asks its registry any more.

import (
	"context"
	"net/http"
	"testing"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

func TestEndOfAWorld(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	var w *real
	t.Run("crash loops and failing pulls", func(t *testing.T) {
		w = newReal(t, Options{}).(*real)
		s := &Stage{world: w, releases: map[string]*Release{}}
		if err := payments("Deployment", "StatefulSet", "DaemonSet")(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := behave("bad", control.Behaviour{Crash: true})(ctx, s); err != nil {
			t.Fatal(err)
		}
		w.registry.Inject(fake.Fault{Op: fake.PullOp + "*", Skip: 4, Drop: true})
		again := object{"spec": object{"template": object{"metadata": object{"annotations": object{"acme.example/again": "1"}}}}}
		for _, o := range []string{"deployments/payments", "statefulsets/payments-worker", "daemonsets/payments-agent"} {
			if _, err := w.api.do(ctx, http.MethodPatch, groups["deployments"]+"/namespaces/"+w.namespace+"/"+o, "application/merge-patch+json", again); err != nil {
				t.Fatal(err)
			}
		}
		if err := until(ctx, func() (bool, error) { return w.registry.Count(fake.PullOp+"*") > 15, nil }); err != nil {
			t.Fatal(err)
		}
	})
	asked := w.registry.Count(fake.PullOp + "*")
	for _, resource := range []string{"deployments", "statefulsets", "daemonsets", "replicasets", "pods", "configmaps", "roles"} {
		list, err := w.api.list(ctx, resource, w.namespace, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			t.Errorf("%s of %s is left", resource, str(o, "metadata", "name"))
		}
	}
	if _, err := w.api.get(ctx, "namespaces", "", w.namespace); !isStatus(err, http.StatusNotFound) {
		t.Errorf("the namespace is left: %v", err)
	}
	if now := w.registry.Count(fake.PullOp + "*"); now != asked {
		t.Errorf("the nodes asked the registry %d times more", now-asked)
	}
}
