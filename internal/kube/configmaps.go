package kube

// ConfigMaps as a store with compare-and-swap, for the records.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// ConfigMaps stores ConfigMaps of one namespace. It is safe for concurrent use.
type ConfigMaps struct {
	cluster   *Cluster
	namespace string

	mu sync.Mutex
	// seen are the objects as last read or written. An update is made from the version it replaces, so that what others put
	// there (labels, annotations, owners) stays, without reading it again.
	seen map[string]*unstructured.Unstructured
}

// ConfigMaps returns the store of a namespace.
func (c *Cluster) ConfigMaps(namespace string) *ConfigMaps {
	return &ConfigMaps{cluster: c, namespace: namespace, seen: map[string]*unstructured.Unstructured{}}
}

// Get reads one ConfigMap; found is false if there is none.
func (s *ConfigMaps) Get(ctx context.Context, name string) (data map[string]string, version string, found bool, err error) {
	o, err := s.cluster.get(ctx, configMaps, s.namespace, name)
	if rollback.KindOf(err) == rollback.NotFound {
		return nil, "", false, nil
	}
	if err != nil {
		return nil, "", false, err
	}
	object, err := s.note(o)
	if err != nil {
		return nil, "", false, unreadable(request{verb: "get", kind: configMaps, namespace: s.namespace, name: name}, err)
	}
	return object.Data, object.Version, true, nil
}

// List reads every ConfigMap that the label selector names.
func (s *ConfigMaps) List(ctx context.Context, labelSelector string) ([]rollback.StoredObject, error) {
	items, err := s.cluster.list(ctx, configMaps, s.namespace, metav1.ListOptions{LabelSelector: labelSelector})
	if err != nil {
		return nil, err
	}
	objects := make([]rollback.StoredObject, 0, len(items))
	for i := range items {
		object, err := s.note(&items[i])
		if err != nil {
			return nil, unreadable(request{verb: "list", kind: configMaps, namespace: s.namespace}, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Put writes the ConfigMap if its version is still the one given ("" = it must not exist) and returns the new version. The
// data is replaced, labels are added to those that are there. A *rollback.CallError of kind Conflict says that somebody else
// wrote first; one with Maybe set, that the answer was lost: read before writing again.
func (s *ConfigMaps) Put(ctx context.Context, name string, labels, data map[string]string, version string) (string, error) {
	r := request{verb: "create", kind: configMaps, namespace: s.namespace, name: name, effect: once}
	o := &unstructured.Unstructured{Object: map[string]any{}}
	if version != "" {
		r.verb = "update"
		base, err := s.base(ctx, name, version)
		if err != nil {
			return "", err
		}
		o = base
	}
	o.SetAPIVersion("v1")
	o.SetKind("ConfigMap")
	o.SetName(name)
	o.SetNamespace(s.namespace)
	o.SetResourceVersion(version)
	o.SetManagedFields(nil) // absent means: keep them as they are
	if merged := o.GetLabels(); merged != nil {
		maps.Copy(merged, labels)
		o.SetLabels(merged)
	} else if len(labels) > 0 {
		o.SetLabels(labels)
	}
	if err := unstructured.SetNestedStringMap(o.Object, data, "data"); err != nil {
		return "", err
	}

	var written *unstructured.Unstructured
	err := s.cluster.call(ctx, r, func(ctx context.Context) (err error) {
		client := s.cluster.dynamic.Resource(configMaps.gvr).Namespace(s.namespace)
		if version == "" {
			written, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			written, err = client.Update(ctx, o, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		if err == nil && (written.GetName() != name || written.GetResourceVersion() == "") {
			return fmt.Errorf("wrote %s, got %q back", name, written.GetName())
		}
		return err
	})
	if err != nil {
		var f *rollback.CallError
		if errors.As(err, &f) && f.Kind == rollback.NotFound && version != "" { // deleted meanwhile
			f.Kind = rollback.Conflict
		}
		return "", err
	}
	if _, err := s.note(written); err != nil {
		return "", unreadable(r, err)
	}
	return written.GetResourceVersion(), nil
}

// base is the object at the version that is to be replaced: as it was seen, or else as it is, if it is still that version.
func (s *ConfigMaps) base(ctx context.Context, name, version string) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	o := s.seen[name]
	s.mu.Unlock()
	if o != nil && o.GetResourceVersion() == version {
		return o.DeepCopy(), nil
	}
	o, err := s.cluster.get(ctx, configMaps, s.namespace, name)
	r := request{verb: "update", kind: configMaps, namespace: s.namespace, name: name}
	switch {
	case rollback.KindOf(err) == rollback.NotFound:
		return nil, &rollback.CallError{System: "kubernetes", Op: r.String(), Kind: rollback.Conflict, Err: fmt.Errorf("it has been deleted")}
	case err != nil:
		return nil, err
	case o.GetResourceVersion() != version:
		return nil, &rollback.CallError{
			System: "kubernetes", Op: r.String(), Kind: rollback.Conflict,
			Err: fmt.Errorf("it is at version %s, not %s any more", o.GetResourceVersion(), version),
		}
	}
	return o.DeepCopy(), nil
}

// note reads the object and keeps it as the base of the next update.
func (s *ConfigMaps) note(o *unstructured.Unstructured) (rollback.StoredObject, error) {
	data, _, err := unstructured.NestedStringMap(o.Object, "data")
	if err != nil {
		return rollback.StoredObject{}, err
	}
	if o.GetName() == "" || o.GetResourceVersion() == "" {
		return rollback.StoredObject{}, fmt.Errorf("a ConfigMap without name or resourceVersion")
	}
	kept := o.DeepCopy()
	kept.SetManagedFields(nil) // large, and not sent back
	s.mu.Lock()
	s.seen[o.GetName()] = kept
	s.mu.Unlock()
	return rollback.StoredObject{Name: o.GetName(), Data: data, Version: o.GetResourceVersion()}, nil
}
