package kube

// managedFields: who set which field, kept for labels, annotations, data and spec.
// Format: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management

import (
	"fmt"
	"time"
)

// fieldSet is the set of leaves of a tree in FieldsV1 form.
func fieldSet(t tree) tree {
	out := tree{}
	for k, v := range t {
		out["f:"+k] = fieldsOf(v)
	}
	return out
}

func fieldsOf(v any) any {
	switch v := v.(type) {
	case tree:
		return fieldSet(v)
	case []any:
		out := tree{}
		for _, x := range v {
			m, ok := x.(tree)
			if !ok || m["name"] == nil {
				return tree{} // atomic
			}
			f := fieldSet(m)
			f["."] = tree{}
			out[fmt.Sprintf(`k:{"name":%s}`, encode(m["name"]))] = f
		}
		return out
	}
	return tree{}
}

// owners are the parts of an object that have owners.
func owned(data tree) tree {
	out := tree{}
	meta := tree{}
	for _, k := range []string{"labels", "annotations"} {
		if m := dict(data, "metadata", k); len(m) > 0 {
			meta[k] = m
		}
	}
	if len(meta) > 0 {
		out["metadata"] = meta
	}
	for k, v := range data {
		if k != "metadata" && k != "status" && k != "kind" && k != "apiVersion" {
			out[k] = v
		}
	}
	return out
}

// changedFields are the leaves of next that are new or differ from prev.
func changedFields(prev, next tree) tree {
	out := tree{}
	for k, v := range next {
		old, ok := prev[k]
		if ok && equal(old, v) {
			continue
		}
		if f := changedValue(old, v); f != nil {
			out["f:"+k] = f
		}
	}
	return out
}

func changedValue(old, v any) any {
	switch v := v.(type) {
	case tree:
		o, _ := old.(tree)
		if len(v) == 0 {
			return tree{}
		}
		if f := changedFields(o, v); len(f) > 0 {
			return f
		}
		return nil
	case []any:
		ol, _ := old.([]any)
		out := tree{}
		for _, x := range v {
			m, ok := x.(tree)
			if !ok || m["name"] == nil {
				return tree{}
			}
			name, _ := m["name"].(string)
			was := named(ol, "name", name)
			if was != nil && equal(was, m) {
				continue
			}
			f := changedFields(was, m)
			if was == nil {
				f["."] = tree{}
			}
			out[fmt.Sprintf(`k:{"name":%s}`, encode(name))] = f
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return tree{}
}

// intersect keeps the fields of a that exist in b; subtract drops them.
func intersect(a, b tree) tree {
	out := tree{}
	for k, v := range a {
		bv, ok := b[k].(tree)
		if !ok {
			continue
		}
		av, _ := v.(tree)
		if len(av) == 0 {
			out[k] = tree{}
			continue
		}
		if x := intersect(av, bv); len(x) > 0 {
			out[k] = x
		} else if len(bv) == 0 {
			out[k] = tree{}
		}
	}
	return out
}

func subtract(a, b tree) tree {
	out := tree{}
	for k, v := range a {
		av, _ := v.(tree)
		bv, ok := b[k].(tree)
		if !ok {
			out[k] = av
			continue
		}
		if len(av) == 0 || len(bv) == 0 {
			continue
		}
		if x := subtract(av, bv); len(x) > 0 {
			out[k] = x
		}
	}
	return out
}

func union(a, b tree) tree {
	out := copyTree(a)
	for k, v := range b {
		bv, _ := v.(tree)
		av, _ := out[k].(tree)
		out[k] = union(av, bv)
	}
	return out
}

// manage brings managedFields up to date after manager made next out of prev (nil on creation).
func manage(r *resource, prev, next tree, manager, sub string) {
	var prevOwned tree
	if prev != nil {
		prevOwned = owned(prev)
	}
	changed := changedFields(prevOwned, owned(next))
	all := fieldSet(owned(next))
	var out []any
	mine := false
	for _, e := range items(prev, "metadata", "managedFields") {
		e := copyTree(e.(tree))
		fields := dict(e, "fieldsV1")
		now := intersect(fields, all)
		if str(e, "manager") == manager && str(e, "operation") == "Update" && str(e, "subresource") == sub {
			mine = true
			now = union(now, changed)
		} else {
			now = subtract(now, changed)
		}
		if len(now) == 0 && len(fields) > 0 {
			continue
		}
		if !equal(now, fields) {
			e["fieldsV1"] = now
			e["time"] = stamp(time.Now())
		}
		out = append(out, e)
	}
	if !mine && len(changed) > 0 {
		e := tree{"manager": manager, "operation": "Update", "apiVersion": r.apiVersion(), "time": stamp(time.Now()), "fieldsType": "FieldsV1", "fieldsV1": changed}
		if sub != "" {
			e["subresource"] = sub
		}
		out = append(out, e)
	}
	if len(out) > 0 {
		set(next, out, "metadata", "managedFields")
	} else {
		unset(next, "metadata", "managedFields")
	}
}
