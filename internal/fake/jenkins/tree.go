package jenkins

import (
	"fmt"
	"strconv"
	"strings"
)

// The tree= parameter of the remote API: "a,b[c,d]{0,20}" keeps the named fields, and of a list the elements in the range
// (https://www.jenkins.io/doc/book/using/remote-access-api/#controlling-the-amount-of-data-you-fetch). Fields that an object
// does not have are left out; "_class" is always there.

type object = map[string]any

type field struct {
	name   string
	fields []field
	from   int
	to     int // -1: to the end
}

const maxTreeDepth = 20

func parseTree(s string) ([]field, error) {
	fields, rest, err := parseFields(s, 0)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %q", rest)
	}
	return fields, err
}

func parseFields(s string, depth int) (fields []field, rest string, err error) {
	if depth > maxTreeDepth {
		return nil, "", fmt.Errorf("deeper than %d", maxTreeDepth)
	}
	for {
		end := strings.IndexAny(s, ",[]{}")
		if end < 0 {
			end = len(s)
		}
		f := field{name: s[:end], to: -1}
		if f.name == "" || strings.Trim(f.name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_*") != "" {
			return nil, "", fmt.Errorf("%q is no name of a field", f.name)
		}
		s = s[end:]
		if strings.HasPrefix(s, "[") {
			f.fields, s, err = parseFields(s[1:], depth+1)
			if err != nil {
				return nil, "", err
			}
			if !strings.HasPrefix(s, "]") {
				return nil, "", fmt.Errorf("%s[ is not closed", f.name)
			}
			s = s[1:]
		}
		if strings.HasPrefix(s, "{") {
			text, after, closed := strings.Cut(s[1:], "}")
			if !closed {
				return nil, "", fmt.Errorf("%s{ is not closed", f.name)
			}
			if err := f.parseRange(text); err != nil {
				return nil, "", err
			}
			s = after
		}
		fields = append(fields, f)
		if !strings.HasPrefix(s, ",") {
			return fields, s, nil
		}
		s = s[1:]
	}
}

// parseRange reads M,N (from M to before N), M, (from M), ",N" (to before N) or N (the Nth alone).
func (f *field) parseRange(text string) error {
	from, to, two := strings.Cut(text, ",")
	number := func(s string, otherwise int) (int, error) {
		if s == "" {
			return otherwise, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 1<<30 {
			return 0, fmt.Errorf("%q is no range", text)
		}
		return n, nil
	}
	var err error
	if f.from, err = number(from, 0); err != nil {
		return err
	}
	if !two {
		if from == "" {
			return fmt.Errorf("%q is no range", text)
		}
		f.to = f.from + 1
		return nil
	}
	f.to, err = number(to, -1)
	return err
}

// pick is what the fields keep of a value. known is told every name that was asked for and whether any object had it.
func pick(v any, fields []field, known func(name string, has bool)) any {
	switch v := v.(type) {
	case object:
		out := object{}
		if class, ok := v["_class"]; ok {
			out["_class"] = class
		}
		for _, f := range fields {
			child, has := v[f.name]
			if known != nil {
				known(f.name, has)
			}
			if !has {
				continue
			}
			if list, ok := child.([]any); ok {
				from := min(f.from, len(list))
				to := len(list)
				if f.to >= 0 {
					to = max(from, min(f.to, to))
				}
				child = list[from:to]
			}
			out[f.name] = pick(child, f.fields, known)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, pick(e, fields, known))
		}
		return out
	}
	return v
}
