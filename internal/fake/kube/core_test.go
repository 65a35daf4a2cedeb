package kube

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestRestartTakesTheDigestTheTagNamesNow(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	c := client(t, s)
	must(t, s.Apply(NewDeployment("prod", "payments", image, 4)))
	must(t, s.WaitRollout(ctx(t), "deployments", "prod", "payments"))
	want := "registry.example.com/payments@" + good
	if n := imageIDs(s); n[want] != 4 || len(n) != 1 {
		t.Fatalf("image IDs %v, want 4 of %s", n, want)
	}
	reg.tag(image, bad)
	patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-02T03:04:05Z"}}}}}`)
	d, err := c.Resource(gvr(deployments)).Namespace("prod").Patch(ctx(t), "payments", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "rollback"})
	must(t, err)
	if d.GetGeneration() != 2 {
		t.Errorf("generation %d after a change of spec, want 2", d.GetGeneration())
	}
	if seen, _, _ := unstructured.NestedInt64(d.Object, "status", "observedGeneration"); seen != 1 {
		t.Errorf("observedGeneration %d right after the patch, want 1: the controller has not looked yet", seen)
	}
	again, err := c.Resource(gvr(deployments)).Namespace("prod").Patch(ctx(t), "payments", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "rollback"})
	must(t, err)
	if again.GetGeneration() != 2 {
		t.Errorf("the same patch again made generation %d", again.GetGeneration())
	}
	must(t, s.WaitRollout(ctx(t), "deployments", "prod", "payments"))
	must(t, s.Wait(ctx(t), func() bool { return len(s.List("pods", "prod", "")) == 4 }))
	want = "registry.example.com/payments@" + bad
	if n := imageIDs(s); n[want] != 4 || len(n) != 1 {
		t.Errorf("image IDs %v, want 4 of %s", n, want)
	}
}

func TestConfigMapCompareAndSwap(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	c := client(t, s).Resource(gvr(configMaps)).Namespace("prod")
	first, err := c.Create(ctx(t), &unstructured.Unstructured{Object: NewConfigMap("prod", "rollback-payments", map[string]string{"record": "1"})}, metav1.CreateOptions{FieldManager: "rollback"})
	must(t, err)
	if _, err := c.Create(ctx(t), &unstructured.Unstructured{Object: NewConfigMap("prod", "rollback-payments", nil)}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second creation: %v", err)
	}
	next := first.DeepCopy()
	must(t, unstructured.SetNestedField(next.Object, "2", "data", "record"))
	second, err := c.Update(ctx(t), next, metav1.UpdateOptions{})
	must(t, err)
	if second.GetResourceVersion() == first.GetResourceVersion() {
		t.Error("the version did not change")
	}
	_, err = c.Update(ctx(t), next, metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) {
		t.Errorf("update with the old version: %v", err)
	}
	want := `Operation cannot be fulfilled on configmaps "rollback-payments": the object has been modified; please apply your changes to the latest version and try again`
	if err == nil || err.Error() != want {
		t.Errorf("message %v, want %s", err, want)
	}
	same, err := c.Update(ctx(t), second, metav1.UpdateOptions{})
	must(t, err)
	if same.GetResourceVersion() != second.GetResourceVersion() {
		t.Error("an update that changes nothing made a new version")
	}
	if _, err := c.Get(ctx(t), "rollback-web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get of nothing: %v", err)
	}
	list, err := c.List(ctx(t), metav1.ListOptions{})
	must(t, err)
	if len(list.Items) != 1 || list.Items[0].GetKind() != "ConfigMap" {
		t.Errorf("list: %v", list.Items)
	}
}
