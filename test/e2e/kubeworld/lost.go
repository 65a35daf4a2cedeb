package kubeworld

// Nodes that do not answer. What the cluster makes of that is the doing of Kubernetes' own node lifecycle and taint eviction
// controllers. They run only while a node is lost: their word depends on heartbeats, and on a machine that is busy with other
// tests those of a node that is well would come late.

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/util/retry"
	"k8s.io/kubernetes/pkg/controller/nodelifecycle"
	"k8s.io/kubernetes/pkg/controller/tainteviction"
	"k8s.io/utils/ptr"
)

const (
	heartbeat = 100 * time.Millisecond // a real kubelet: 10 s
	silence   = 5 * time.Second        // from the last heartbeat to the verdict; a real cluster: 50 s
)

// loss is a node that does not answer.
type loss struct {
	found chan struct{} // closed when it answers again
	stop  context.CancelFunc
}

func (n *nodes) loss(node string) *loss {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost[node]
}

// answers waits until a node can be heard; false means that ctx ended before.
func (n *nodes) answers(ctx context.Context, node string) bool {
	if l := n.loss(node); l != nil {
		select {
		case <-l.found:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// lose cuts a node off, and waits for the cluster's verdict on it.
func (n *nodes) lose(ctx context.Context, node string) error {
	l := &loss{found: make(chan struct{})}
	var watched context.Context
	watched, l.stop = context.WithCancel(n.ctx)
	n.mu.Lock()
	had := len(n.lost)
	if had == 0 {
		n.lost[node] = l
	}
	n.mu.Unlock()
	if had > 0 {
		l.stop()
		return errors.New("a node is lost already")
	}
	for name := range n.recorders {
		if name == node {
			continue
		}
		if err := n.beat(ctx, name); err != nil {
			return err
		}
		go func() {
			for sleep(watched, heartbeat) {
				_ = n.beat(watched, name) // one that is missed is made up for by the next
			}
		}()
	}
	all := informers.NewSharedInformerFactory(n.client, 0)
	core := all.Core().V1()
	lifecycle, err := nodelifecycle.NewNodeLifecycleController(watched, all.Coordination().V1().Leases(), core.Pods(), core.Nodes(), all.Apps().V1().DaemonSets(),
		n.client, heartbeat, silence, silence, 100, 100, 0, 0.9)
	if err != nil {
		return err
	}
	eviction, err := tainteviction.New(watched, n.client, core.Pods(), core.Nodes(), "taint-eviction-controller")
	if err != nil {
		return err
	}
	all.Start(watched.Done())
	all.WaitForCacheSync(watched.Done())
	go lifecycle.Run(watched)
	go eviction.Run(watched)
	for {
		list, err := n.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		silent := 0
		for _, o := range list.Items {
			for _, t := range o.Spec.Taints {
				if t.Key == corev1.TaintNodeUnreachable {
					silent++
				}
				if t.Key == corev1.TaintNodeUnreachable && o.Name != node {
					return fmt.Errorf("%s is taken for lost, too: this machine is so busy that its heartbeats come late", o.Name)
				}
			}
		}
		if silent == 2 { // it takes no pods any more, and lets go of those that it has
			return nil
		}
		if !sleep(ctx, heartbeat) {
			return context.Cause(ctx)
		}
	}
}

// beat renews the lease of a node.
func (n *nodes) beat(ctx context.Context, node string) error {
	leases, now := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease), metav1.NowMicro()
	l, err := leases.Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: node},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(node), LeaseDurationSeconds: ptr.To[int32](40), RenewTime: &now},
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	l.Spec.RenewTime = &now
	_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
	return err
}

// find lets a lost node answer again, and is then the kubelets and the node controller, which find all nodes well.
func (n *nodes) find(ctx context.Context, node string) error {
	n.mu.Lock()
	l := n.lost[node]
	delete(n.lost, node)
	n.mu.Unlock()
	if l == nil {
		return fmt.Errorf("%s is not lost", node)
	}
	l.stop()
	defer close(l.found)
	for name := range n.recorders {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			o, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			o.Spec.Taints = nil
			if o, err = n.client.CoreV1().Nodes().Update(ctx, o, metav1.UpdateOptions{}); err != nil {
				return err
			}
			o.Status.Conditions = wellConditions()
			_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, o, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
