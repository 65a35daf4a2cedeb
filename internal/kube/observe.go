package kube

// Restarting workloads, and looking at them while their pods turn over.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Restart patches the pod template with the stamp and kubectl's restartedAt. It touches nothing else of the object, so it
// can't undo what others apply. The patch is the same for the same stamp and time, so it is repeated when its answer is lost.
func (c *Cluster) Restart(ctx context.Context, w rollback.Ref, stamp string, at time.Time) error {
	k, ok := kindNamed(w.Kind, restartable)
	if !ok {
		return &rollback.CallError{
			System: "kubernetes", Op: "PATCH " + w.String() + " in " + w.Namespace, Kind: rollback.Rejected,
			Err: fmt.Errorf("a %s is not restarted by its template", w.Kind),
		}
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{
			StampAnnotation: stamp,
			restartedAt:     at.UTC().Format(time.RFC3339),
		},
	}}}})
	if err != nil {
		return err
	}
	r := request{verb: "patch", kind: k, namespace: w.Namespace, name: w.Name, effect: repeatable}
	return c.call(ctx, r, func(ctx context.Context) error {
		got, err := c.dynamic.Resource(k.gvr).Namespace(w.Namespace).
			Patch(ctx, w.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		if err == nil && got.GetName() != w.Name {
			return fmt.Errorf("patched %s, got %q back", w.Name, got.GetName())
		}
		return err
	})
}

// manyWorkloads is from how many workloads of a namespace on one list per kind is cheaper than one call for each.
const manyWorkloads = 5

// Observe reads the workloads and their pods again, in one wave if they were seen before, in the order asked for. A workload
// that is gone is a *rollback.CallError of kind NotFound.
func (c *Cluster) Observe(ctx context.Context, workloads []rollback.Ref) ([]rollback.Observation, error) {
	in := map[string][]int{}
	for i, ref := range workloads {
		if _, ok := kindNamed(ref.Kind, workloadKinds); !ok {
			return nil, &rollback.CallError{
				System: "kubernetes", Op: "GET " + ref.String() + " in " + ref.Namespace, Kind: rollback.Rejected,
				Err: fmt.Errorf("a %s cannot be observed", ref.Kind),
			}
		}
		in[ref.Namespace] = append(in[ref.Namespace], i)
	}
	seen := make([]rollback.Observation, len(workloads))
	g, gctx := rollback.NewWave(ctx)
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		some := in[namespace]
		if len(some) < manyWorkloads {
			for _, i := range some {
				g.Go(func() (err error) {
					seen[i], err = c.observeOne(gctx, workloads[i])
					return err
				})
			}
			continue
		}
		g.Go(func() error { return c.observeMany(gctx, namespace, workloads, some, seen) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return seen, nil
}

func (c *Cluster) observeOne(ctx context.Context, ref rollback.Ref) (rollback.Observation, error) {
	k, _ := kindNamed(ref.Kind, workloadKinds)
	selector, seenBefore := c.selectorOf(ref)
	var (
		seen    rollback.Observation
		now     string
		podList []unstructured.Unstructured
	)
	g, gctx := rollback.NewWave(ctx)
	if seenBefore && k != cronJobs {
		g.Go(func() (err error) {
			podList, err = c.list(gctx, pods, ref.Namespace, metav1.ListOptions{LabelSelector: selector})
			return err
		})
	}
	g.Go(func() error {
		o, err := c.get(gctx, k, ref.Namespace, ref.Name)
		if err != nil {
			return err
		}
		seen.Workload, now, err = workloadOf(k, o.Object)
		if err != nil {
			return unreadable(request{verb: "get", kind: k, namespace: ref.Namespace, name: ref.Name}, err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return seen, err
	}
	c.remember(ref, now)
	if k != cronJobs && (!seenBefore || selector != now) { // made anew with another selector
		var err error
		if podList, err = c.list(ctx, pods, ref.Namespace, metav1.ListOptions{LabelSelector: now}); err != nil {
			return seen, err
		}
	}
	byOwner, err := c.byOwner(podList, ref.Namespace)
	seen.Pods = byOwner[ref]
	return seen, err
}

func (c *Cluster) observeMany(ctx context.Context, namespace string, refs []rollback.Ref, some []int, seen []rollback.Observation) error {
	wanted := map[string]bool{}
	for _, i := range some {
		wanted[refs[i].Kind] = true
	}
	objects := make([][]unstructured.Unstructured, len(workloadKinds))
	var podList []unstructured.Unstructured
	g, gctx := rollback.NewWave(ctx)
	for n, k := range workloadKinds {
		if wanted[k.name] {
			g.Go(func() (err error) {
				objects[n], err = c.list(gctx, k, namespace, metav1.ListOptions{})
				return err
			})
		}
	}
	g.Go(func() (err error) {
		podList, err = c.list(gctx, pods, namespace, metav1.ListOptions{})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	byOwner, err := c.byOwner(podList, namespace)
	if err != nil {
		return err
	}
	found := map[rollback.Ref]rollback.Workload{}
	for n, k := range workloadKinds {
		for _, o := range objects[n] {
			w, selector, err := workloadOf(k, o.Object)
			if err != nil {
				return unreadable(request{verb: "list", kind: k, namespace: namespace}, err)
			}
			c.remember(w.Ref, selector)
			found[w.Ref] = w
		}
	}
	for _, i := range some {
		w, ok := found[refs[i]]
		if !ok {
			k, _ := kindNamed(refs[i].Kind, workloadKinds)
			return &rollback.CallError{
				System: "kubernetes", Op: request{verb: "list", kind: k, namespace: namespace}.String(), Kind: rollback.NotFound,
				Err: fmt.Errorf("%s is gone", refs[i]),
			}
		}
		seen[i] = rollback.Observation{Workload: w, Pods: byOwner[w.Ref]}
	}
	return nil
}

func (c *Cluster) selectorOf(ref rollback.Ref) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.selectors[ref]
	return s, ok
}

func (c *Cluster) remember(ref rollback.Ref, selector string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.selectors[ref] = selector
}

// byOwner reads pods and sorts them by their topmost controller.
func (c *Cluster) byOwner(list []unstructured.Unstructured, namespace string) (map[rollback.Ref][]rollback.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	owned := map[rollback.Ref][]rollback.Pod{}
	for _, o := range list {
		p, err := podOf(o.Object, c.owners)
		if err != nil {
			return nil, unreadable(request{verb: "list", kind: pods, namespace: namespace}, err)
		}
		owned[p.Owner] = append(owned[p.Owner], p)
	}
	return owned, nil
}
