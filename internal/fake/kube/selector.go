package kube

// Label and field selectors.

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// requirement is one term of a label selector.
type requirement struct {
	key    string
	op     string // "=", "!=", "in", "notin", "exists", "!"
	values []string
}

// lazily compiles a regular expression when it is first used: most starts of the program that carries this server never do.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

var (
	setTerm  = lazily(`^\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*$`)
	eqTerm   = lazily(`^\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*$`)
	hasTerm  = lazily(`^\s*(!?)\s*([^\s!=,()]+)\s*$`)
	labelKey = lazily(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	labelVal = lazily(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`)
)

// parseSelector reads a label selector as in the query of a list.
func parseSelector(text string) ([]requirement, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var terms []string
	depth, from := 0, 0
	for i, c := range text {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				terms = append(terms, text[from:i])
				from = i + 1
			}
		}
	}
	var out []requirement
	for _, t := range append(terms, text[from:]) {
		var r requirement
		if m := setTerm().FindStringSubmatch(t); m != nil {
			r = requirement{key: m[1], op: m[2]}
			for v := range strings.SplitSeq(m[3], ",") {
				r.values = append(r.values, strings.TrimSpace(v))
			}
		} else if m := eqTerm().FindStringSubmatch(t); m != nil {
			r = requirement{m[1], strings.Replace(m[2], "==", "=", 1), []string{m[3]}}
		} else if m := hasTerm().FindStringSubmatch(t); m != nil {
			r = requirement{key: m[2], op: "exists"}
			if m[1] == "!" {
				r.op = "!"
			}
		} else {
			return nil, badRequest("unable to parse requirement: %q", t)
		}
		if !labelKey().MatchString(r.key) {
			return nil, badRequest("unable to parse requirement: <nil>: Invalid value: %q: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character", r.key)
		}
		for _, v := range r.values {
			if !labelVal().MatchString(v) || len(v) > 63 {
				return nil, badRequest("unable to parse requirement: values[0][%s]: Invalid value: %q: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character", r.key, v)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// podSelector reads spec.selector of a workload.
func podSelector(sel tree) []requirement {
	var out []requirement
	for k, v := range dict(sel, "matchLabels") {
		s, _ := v.(string)
		out = append(out, requirement{k, "=", []string{s}})
	}
	for _, e := range items(sel, "matchExpressions") {
		op := map[string]string{"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}[str(e, "operator")]
		out = append(out, requirement{str(e, "key"), op, strs(items(e, "values"))})
	}
	return out
}

func selects(reqs []requirement, labels tree) bool {
	for _, r := range reqs {
		v, ok := labels[r.key].(string)
		var match bool
		switch r.op {
		case "=", "in":
			match = ok && slices.Contains(r.values, v)
		case "!=", "notin":
			match = !ok || !slices.Contains(r.values, v)
		case "exists":
			match = ok
		case "!":
			match = !ok
		}
		if !match {
			return false
		}
	}
	return true
}

// fieldTerm is one term of a field selector.
type fieldTerm struct {
	path  []string
	value string
	not   bool
}

// fieldLabels are the fields each resource can be selected by, besides metadata.name and metadata.namespace.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/v1/conversion.go
var fieldLabels = map[*resource][]string{
	pods:        {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"},
	nodes:       {"spec.unschedulable"},
	namespaces:  {"status.phase"},
	replicaSets: {"status.replicas"},
	jobs:        {"status.successful"},
	events: {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
		"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"},
}

func parseFields(r *resource, text string) ([]fieldTerm, error) {
	var out []fieldTerm
	for t := range strings.SplitSeq(text, ",") {
		if t == "" {
			continue
		}
		var f fieldTerm
		name, value, ok := strings.Cut(t, "!=")
		if ok {
			f.not = true
		} else if name, value, ok = strings.Cut(t, "=="); !ok {
			if name, value, ok = strings.Cut(t, "="); !ok {
				return nil, badRequest("invalid selector: %q; can't understand %q", text, t)
			}
		}
		if name != "metadata.name" && name != "metadata.namespace" && !slices.Contains(fieldLabels[r], name) {
			if r.custom || r.group != "" {
				return nil, badRequest("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", name)
			}
			return nil, badRequest("field label not supported: %s", name)
		}
		f.path, f.value = strings.Split(name, "."), value
		if name == "source" {
			f.path = []string{"source", "component"}
		}
		out = append(out, f)
	}
	return out, nil
}

func fieldsMatch(terms []fieldTerm, o tree) bool {
	for _, t := range terms {
		var have string
		switch v := get(o, t.path...).(type) {
		case string:
			have = v
		case nil:
		default:
			have = string(encode(v))
		}
		if have == "" && (t.path[len(t.path)-1] == "unschedulable" || t.path[len(t.path)-1] == "hostNetwork") {
			have = "false"
		}
		if (have == t.value) == t.not {
			return false
		}
	}
	return true
}
