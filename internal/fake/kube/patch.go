package kube

// The patch types: JSON merge patch (RFC 7396), JSON patch (RFC 6902) and Kubernetes' strategic merge patch.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mergePatch applies an RFC 7396 patch to a copy-on-write tree.
func mergePatch(target, patch any) any {
	p, ok := patch.(tree)
	if !ok {
		return patch
	}
	t, ok := target.(tree)
	if !ok {
		t = tree{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = mergePatch(t[k], v)
		}
	}
	return t
}

// mergeKeys are the lists that a strategic merge patch merges by key, by the name of the field.
// Source: the patchMergeKey tags in https://github.com/kubernetes/api/blob/master/core/v1/types.go
var mergeKeys = map[string]string{
	"containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name", "env": "name",
	"volumeMounts": "mountPath", "volumeDevices": "devicePath", "ports": "containerPort", "imagePullSecrets": "name",
	"hostAliases": "ip", "topologySpreadConstraints": "topologyKey", "ownerReferences": "uid", "conditions": "type",
	"resourceClaims": "name",
}

// strategicPatch applies a strategic merge patch. Custom resources do not have it; the caller answers 415.
func strategicPatch(target, patch tree) (tree, error) {
	if d, ok := patch["$patch"]; ok {
		rest := copyTree(patch)
		delete(rest, "$patch")
		switch d {
		case "replace":
			return rest, nil
		case "delete":
			return tree{}, nil
		case "merge":
			patch = rest
		default:
			return nil, badRequest("unknown patch type: %v", d)
		}
	}
	if keep, ok := patch["$retainKeys"].([]any); ok {
		for k := range target {
			if !slices.Contains(strs(keep), k) {
				delete(target, k)
			}
		}
	}
	for k, v := range patch {
		switch {
		case k == "$retainKeys", strings.HasPrefix(k, "$setElementOrder/"):
		case strings.HasPrefix(k, "$"):
			return nil, refuse("the strategic merge patch directive %q", k)
		case v == nil:
			delete(target, k)
		default:
			merged, err := strategicValue(k, target[k], v)
			if err != nil {
				return nil, err
			}
			target[k] = merged
		}
	}
	for k, v := range patch {
		if list, ok := strings.CutPrefix(k, "$setElementOrder/"); ok {
			target[list] = reorder(items(target, list), v, mergeKeys[list])
		}
	}
	return target, nil
}

func strategicValue(name string, have, v any) (any, error) {
	switch v := v.(type) {
	case tree:
		t, ok := have.(tree)
		if !ok {
			t = tree{}
		}
		return strategicPatch(t, v)
	case []any:
		by := mergeKeys[name]
		if by == "" || len(v) > 0 && !isMap(v[0]) {
			return v, nil // atomic
		}
		old, _ := have.([]any)
		return strategicList(name, by, old, v)
	}
	return v, nil
}

func isMap(v any) bool { _, ok := v.(tree); return ok }

func strategicList(name, by string, have, patch []any) (any, error) {
	for _, p := range patch {
		if m, ok := p.(tree); ok && m["$patch"] == "replace" && len(m) == 1 {
			return slices.DeleteFunc(clone(patch).([]any), func(x any) bool { return str(x, "$patch") == "replace" }), nil
		}
	}
	for _, p := range patch {
		m, ok := p.(tree)
		if !ok || m[by] == nil {
			return nil, badRequest("map: %s does not contain declared merge key: %s", encode(p), by)
		}
		i := slices.IndexFunc(have, func(x any) bool { return equal(get(x, by), m[by]) })
		if m["$patch"] == "delete" {
			if i >= 0 {
				have = slices.Delete(have, i, i+1)
			}
			continue
		}
		if i < 0 {
			have = append(have, tree{})
			i = len(have) - 1
		}
		merged, err := strategicValue(name, have[i], m)
		if err != nil {
			return nil, err
		}
		have[i] = merged
	}
	return have, nil
}

// reorder puts the elements of a merged list into the order the client wants; those it does not know keep their place at the end.
func reorder(list []any, order any, by string) []any {
	want, _ := order.([]any)
	rank := func(x any) int {
		i := slices.IndexFunc(want, func(o any) bool {
			if by == "" {
				return equal(o, x)
			}
			return equal(get(o, by), get(x, by))
		})
		if i < 0 {
			return len(want)
		}
		return i
	}
	slices.SortStableFunc(list, func(a, b any) int { return rank(a) - rank(b) })
	return list
}

// jsonPatch applies RFC 6902 operations.
func jsonPatch(target any, ops []any) (any, error) {
	for _, op := range ops {
		path := str(op, "path")
		kind := str(op, "op")
		value, given := dict(op)["value"]
		if path != "" && path[0] != '/' {
			return nil, badRequest("json patch path %q must start with /", path)
		}
		var err error
		switch kind {
		case "test":
			var have any
			if have, err = pointer(target, path); err == nil && !equal(have, value) {
				err = fmt.Errorf("testing value %s failed", path)
			}
		case "add", "replace", "remove":
			if kind != "remove" && !given {
				return nil, badRequest("json patch: %s without a value", kind)
			}
			target, err = jsonEdit(target, splitPointer(path), kind, clone(value))
		default:
			return nil, refuse("the JSON patch operation %q", kind)
		}
		if err != nil {
			return nil, &fail{code: 422, reason: "Invalid", message: "the server rejected our request due to an error in our request: " + err.Error()}
		}
	}
	return target, nil
}

func splitPointer(p string) []string {
	if p == "" {
		return nil
	}
	parts := strings.Split(p[1:], "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(parts[i], "~1", "/"), "~0", "~")
	}
	return parts
}

func pointer(v any, path string) (any, error) {
	for _, p := range splitPointer(path) {
		switch x := v.(type) {
		case tree:
			v = x[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(x) {
				return nil, fmt.Errorf("unable to access invalid index: %s", p)
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("doc is missing path: %q", path)
		}
	}
	return v, nil
}

func jsonEdit(v any, path []string, op string, value any) (any, error) {
	if len(path) == 0 {
		if op == "remove" {
			return nil, nil
		}
		return value, nil
	}
	p := path[0]
	switch x := v.(type) {
	case tree:
		_, ok := x[p]
		if len(path) == 1 && op == "add" {
			x[p] = value
			return x, nil
		}
		if !ok {
			return nil, fmt.Errorf("%s operation does not apply: doc is missing path: %q: missing value", op, p)
		}
		if len(path) == 1 && op == "remove" {
			delete(x, p)
			return x, nil
		}
		nv, err := jsonEdit(x[p], path[1:], op, value)
		x[p] = nv
		return x, err
	case []any:
		if p == "-" && op == "add" && len(path) == 1 {
			return append(x, value), nil
		}
		i, err := strconv.Atoi(p)
		if err != nil || i < 0 || i > len(x) || i == len(x) && (op != "add" || len(path) > 1) {
			return nil, fmt.Errorf("%s operation does not apply: index %s is out of bounds", op, p)
		}
		if len(path) == 1 && op == "add" {
			return slices.Insert(x, i, value), nil
		}
		if len(path) == 1 && op == "remove" {
			return slices.Delete(x, i, i+1), nil
		}
		nv, err := jsonEdit(x[i], path[1:], op, value)
		x[i] = nv
		return x, err
	}
	return nil, fmt.Errorf("%s operation does not apply: doc is missing path: %q", op, p)
}
