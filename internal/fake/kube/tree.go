package kube

// Objects are JSON trees: map[string]any, []any, string, int64, float64, bool and nil. A tree that is stored is never
// changed again; writers copy, change and store the copy.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

type tree = map[string]any

// decode reads one JSON value with whole numbers as int64.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("invalid character after top-level value")
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

// canonical turns any Go value that JSON can carry into a tree.
func canonical(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return decode(b)
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("kube: a stored tree does not encode: %v", err)) // trees come from JSON or from this package
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return tree(nil)
		}
		c := make(tree, len(v))
		for k, x := range v {
			c[k] = clone(x)
		}
		return c
	case []any:
		if v == nil {
			return []any(nil)
		}
		c := make([]any, len(v))
		for i, x := range v {
			c[i] = clone(x)
		}
		return c
	}
	return v
}

func copyTree(t tree) tree {
	if t == nil {
		return tree{}
	}
	return clone(t).(tree)
}

func get(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(tree)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func has(v any, path ...string) bool { return get(v, path...) != nil }

func str(v any, path ...string) string {
	s, _ := get(v, path...).(string)
	return s
}

func num(v any, path ...string) int { return numOr(v, 0, path...) }

func numOr(v any, otherwise int, path ...string) int {
	switch n := get(v, path...).(type) {
	case int64:
		return int(n)
	case float64:
		return int(n)
	}
	return otherwise
}

func truth(v any, path ...string) bool {
	b, _ := get(v, path...).(bool)
	return b
}

func dict(v any, path ...string) tree {
	m, _ := get(v, path...).(tree)
	return m
}

func items(v any, path ...string) []any {
	l, _ := get(v, path...).([]any)
	return l
}

// set puts a value at the path and makes the maps on the way.
func set(t tree, value any, path ...string) {
	for _, p := range path[:len(path)-1] {
		m, ok := t[p].(tree)
		if !ok {
			m = tree{}
			t[p] = m
		}
		t = m
	}
	t[path[len(path)-1]] = value
}

// fill sets a default: only where there is nothing yet.
func fill(t tree, value any, path ...string) {
	if get(t, path...) == nil {
		set(t, value, path...)
	}
}

func unset(t tree, path ...string) {
	if m := dict(t, path[:len(path)-1]...); m != nil {
		delete(m, path[len(path)-1])
	}
}

// count sets a number the way Kubernetes shows it with omitempty: zero is absent.
func count(t tree, n int, key string) {
	if n == 0 {
		delete(t, key)
		return
	}
	t[key] = int64(n)
}

// equal compares trees. A nil map or list is no different from an empty one.
func equal(a, b any) bool {
	switch a := a.(type) {
	case tree:
		b, ok := b.(tree)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i, v := range a {
			if !equal(v, b[i]) {
				return false
			}
		}
		return true
	}
	switch b.(type) {
	case tree, []any:
		return false
	}
	return a == b
}

func strs(l []any) []string {
	var out []string
	for _, x := range l {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}

func anys[T any](l []T) []any {
	out := make([]any, len(l))
	for i, x := range l {
		out[i] = x
	}
	return out
}

// named finds the element of a list of maps whose key has the value.
func named(l []any, key, value string) tree {
	for _, x := range l {
		if m, ok := x.(tree); ok && str(m, key) == value {
			return m
		}
	}
	return nil
}
