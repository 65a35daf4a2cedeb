package kube

// The inventory: everything in a namespace that names an image, one list per kind, all at once.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Inventory reads the namespace in one wave. What may not be read of the kinds that a rollback can do without is named in
// Unknown; a namespace that does not exist is a *rollback.CallError of kind NotFound.
func (c *Cluster) Inventory(ctx context.Context, namespace string) (rollback.Inventory, error) {
	inv := rollback.Inventory{Namespace: namespace}
	var (
		objects  = make([][]unstructured.Unstructured, len(workloadKinds))
		podList  []unstructured.Unstructured
		sets     []wireMeta
		configs  []wireMeta
		mayNotBe bool
		unknown  = make([]string, len(workloadKinds)+2)
	)
	g, gctx := rollback.NewWave(ctx)
	for i, k := range workloadKinds {
		g.Go(func() (err error) {
			objects[i], err = c.list(gctx, k, namespace, metav1.ListOptions{})
			if _, needed := kindNamed(k.name, restartable); !needed {
				unknown[i], err = without(k, err)
			}
			return err
		})
	}
	g.Go(func() (err error) {
		podList, err = c.list(gctx, pods, namespace, metav1.ListOptions{})
		return err
	})
	g.Go(func() (err error) {
		sets, err = c.listMetadata(gctx, replicaSets, namespace)
		unknown[len(workloadKinds)], err = without(replicaSets, err)
		return err
	})
	g.Go(func() (err error) {
		configs, err = c.listMetadata(gctx, configMaps, namespace)
		unknown[len(workloadKinds)+1], err = without(configMaps, err)
		return err
	})
	g.Go(func() error {
		// A list in a namespace that does not exist is empty, not an error.
		_, err := c.get(gctx, namespaces, "", namespace)
		switch rollback.KindOf(err) {
		case rollback.Denied:
			mayNotBe = true
			return nil
		case rollback.NotFound:
			return missingNamespace(err, namespace, c.shown)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return rollback.Inventory{}, err
	}

	for _, u := range unknown {
		if u != "" {
			inv.Unknown = append(inv.Unknown, u)
		}
	}
	owners := map[string]rollback.Ref{}
	for _, m := range sets {
		owners[m.UID] = topOwner(replicaSets.name, m)
	}
	selectors := map[rollback.Ref]string{}
	for i, k := range workloadKinds {
		for _, o := range objects[i] {
			w, selector, err := workloadOf(k, o.Object)
			if err != nil {
				return rollback.Inventory{}, unreadable(request{verb: "list", kind: k, namespace: namespace}, err)
			}
			if k == jobs {
				m, _ := read[struct {
					Metadata wireMeta `json:"metadata"`
				}](o.Object)
				owners[w.UID] = topOwner(jobs.name, m.Metadata)
			}
			selectors[w.Ref] = selector
			inv.Workloads = append(inv.Workloads, w)
		}
	}
	for _, o := range podList {
		p, err := podOf(o.Object, owners)
		if err != nil {
			return rollback.Inventory{}, unreadable(request{verb: "list", kind: pods, namespace: namespace}, err)
		}
		inv.Pods = append(inv.Pods, p)
	}
	for _, m := range configs {
		if age, ok := configAge(m); ok {
			inv.Configs = append(inv.Configs, age)
		}
	}
	if mayNotBe && len(inv.Workloads) == 0 && len(inv.Pods) == 0 {
		inv.Unknown = append(inv.Unknown, fmt.Sprintf("whether the namespace %s exists: it is empty, and get on namespaces is not allowed", namespace))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref, s := range selectors {
		c.selectors[ref] = s
	}
	for uid, ref := range owners {
		c.owners[uid] = ref
	}
	return inv, nil
}

// without turns a kind that may not be read (or that the server does not serve) into a line for Unknown.
func without(k kind, err error) (string, error) {
	switch rollback.KindOf(err) {
	case rollback.Denied:
		return k.gvr.Resource + ": not allowed, needs list on " + k.resource(), nil
	case rollback.NotFound:
		return k.gvr.Resource + ": the server does not serve " + k.resource() + "/" + k.gvr.Version, nil
	}
	return "", err
}

func missingNamespace(err error, namespace, where string) error {
	var f *rollback.CallError
	if errors.As(err, &f) {
		f.Fix = fmt.Sprintf("check the namespace %q and the context: %s has none of that name", namespace, where)
	}
	return err
}

func unreadable(r request, err error) error {
	return &rollback.CallError{System: "kubernetes", Op: r.String(), Kind: rollback.Broken, Err: err}
}

// listMetadata lists metadata alone, which the API server cuts out of the objects
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources).
func (c *Cluster) listMetadata(ctx context.Context, k kind, namespace string) ([]wireMeta, error) {
	return paged(metadataPageSize, func(limit int64, next string) ([]wireMeta, string, error) {
		page, err := c.metadataPage(ctx, k, namespace, limit, next)
		if err != nil {
			return nil, "", err
		}
		items := make([]wireMeta, len(page.Items))
		for i, o := range page.Items {
			items[i] = o.Metadata
		}
		return items, page.Metadata.Continue, nil
	})
}

type metadataList struct {
	Kind     string `json:"kind"`
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []struct {
		Metadata wireMeta `json:"metadata"`
	} `json:"items"`
}

func (c *Cluster) metadataPage(ctx context.Context, k kind, namespace string, limit int64, next string) (metadataList, error) {
	var page metadataList
	err := c.call(ctx, request{verb: "list", kind: k, namespace: namespace}, func(ctx context.Context) error {
		r := c.rest.Get().AbsPath(k.path(namespace)...).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json")
		if limit > 0 {
			r = r.Param("limit", strconv.FormatInt(limit, 10))
		}
		if next != "" {
			r = r.Param("continue", next)
		}
		body, err := r.Do(ctx).Raw()
		if err != nil {
			return err
		}
		page = metadataList{}
		if err := json.Unmarshal(body, &page); err != nil {
			return err
		}
		if !strings.HasSuffix(page.Kind, "List") {
			return fmt.Errorf("asked for a list, got %q", page.Kind)
		}
		return nil
	})
	return page, err
}
