package kubeworld

// The end of a namespace. The project's own namespace controller does not run here: it waits for the grace of pods whose nodes
// are gone, and whoever tears a world down wants it gone now.

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// end removes a namespace with its objects. First the API server lets nobody make anything in it, then the nodes stop, so that
// what a pod asks for is not asked of anybody who has gone.
func (n *nodes) end(ctx context.Context, namespace string) error {
	namespaces := n.client.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, namespace, metav1.DeleteOptions{}); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	n.mu.Lock()
	n.ended[namespace] = true
	var left []*run
	for _, r := range n.runs {
		if r.pod.Namespace == namespace {
			r.cancel()
			left = append(left, r)
		}
	}
	n.mu.Unlock()
	for _, r := range left {
		select {
		case <-r.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	n.settings.forget(namespace)
	apps, batch, core, rbac := n.client.AppsV1(), n.client.BatchV1(), n.client.CoreV1(), n.client.RbacV1()
	all := []func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error{ // owners before what they would make again
		apps.Deployments(namespace).DeleteCollection, apps.StatefulSets(namespace).DeleteCollection, apps.DaemonSets(namespace).DeleteCollection,
		batch.CronJobs(namespace).DeleteCollection, batch.Jobs(namespace).DeleteCollection,
		apps.ReplicaSets(namespace).DeleteCollection, apps.ControllerRevisions(namespace).DeleteCollection, core.Pods(namespace).DeleteCollection,
		core.ConfigMaps(namespace).DeleteCollection, rbac.RoleBindings(namespace).DeleteCollection, rbac.Roles(namespace).DeleteCollection,
		core.Secrets(namespace).DeleteCollection, core.ResourceQuotas(namespace).DeleteCollection, core.ServiceAccounts(namespace).DeleteCollection, core.Events(namespace).DeleteCollection,
	}
	now := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	for {
		for _, remove := range all {
			if err := remove(ctx, now, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		// A controller may have made one more before it saw the end.
		sets, err := apps.ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(sets.Items)+len(pods.Items) == 0 {
			break
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	object, err := namespaces.Get(ctx, namespace, metav1.GetOptions{})
	if err == nil {
		object.Spec.Finalizers = nil
		_, err = namespaces.Finalize(ctx, object, metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
