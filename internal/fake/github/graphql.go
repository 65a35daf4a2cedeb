package github

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type gqlRequest struct {
	Query         any
	Variables     map[string]any
	OperationName string
}

// topFields names a GraphQL request for the switchboard: by its own name where it has one ("PullRequests"), else by its top
// fields ("repository", "revertPullRequest").
func topFields(body []byte) string {
	var in gqlRequest
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	text, _ := in.Query.(string)
	doc, err := gqlParse(text)
	if err != nil {
		return ""
	}
	if name := doc.operations[0].name; name != "" {
		return name
	}
	var fields []string
	for _, s := range doc.operations[0].selections {
		if s.field != "" {
			fields = unique(fields, s.field)
		}
	}
	return strings.Join(fields, "+")
}

// gqlAnswer is an answer with errors, which come with status 200.
func gqlAnswer(data any, errs ...*gqlError) *answer {
	o := obj{}
	if data != nil {
		o["data"] = data
	}
	if len(errs) > 0 {
		var list []obj
		for _, e := range errs {
			list = append(list, e.json())
		}
		o["errors"] = list
	}
	return ok(o)
}

// graphql answers a GraphQL call. The state is locked.
func (c *call) graphql() *answer {
	if c.r.Method != http.MethodPost {
		return fail(http.StatusNotFound, "Not Found")
	}
	if c.who.jwt {
		return fail(http.StatusUnauthorized, "Bad credentials")
	}
	v, err := decode(c.body)
	in, _ := v.(map[string]any)
	if err != nil || in == nil {
		return fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	text, isText := in["query"].(string)
	if !isText {
		return fail(http.StatusBadRequest, "A query attribute must be specified and must be a string.")
	}
	given, _ := in["variables"].(map[string]any)
	name, _ := in["operationName"].(string)
	refusedDoc := func(errs ...*gqlError) *answer {
		for _, e := range errs {
			c.s.violation("graphql", "request", e)
		}
		return gqlAnswer(nil, errs...)
	}
	doc, err := gqlParse(text)
	if err != nil {
		e := &gqlSyntax{}
		errors.As(err, &e)
		return refusedDoc(&gqlError{Message: e.message, At: e.at})
	}
	i := slices.IndexFunc(doc.operations, func(o *gqlOperation) bool { return name == "" && len(doc.operations) == 1 || o.name == name })
	if i < 0 {
		return refusedDoc(&gqlError{Message: "An operation name is required"})
	}
	op := doc.operations[i]
	if op.kind == "subscription" {
		return refusedDoc(&gqlError{Message: "Schema is not configured for subscriptions", At: op.at})
	}
	if errs := gqlCheck(doc, op); len(errs) > 0 {
		return refusedDoc(errs...)
	}
	variables, bad := gqlVariables(op, given)
	if bad != nil {
		return refusedDoc(bad)
	}
	x := &executor{c: c, doc: doc, variables: variables, tests: map[*pull][2]bool{}}
	root, on := c.queryRoot(x), "Query"
	if op.kind == "mutation" {
		root, on = c.mutationRoot(x), "Mutation"
	}
	data, null := x.record(root, on, op.selections, nil)
	for _, e := range x.errors {
		if e.Kind == unimplemented {
			c.s.violation("graphql", "the fake itself", e)
		}
	}
	if null {
		return gqlAnswer(nil, x.errors...)
	}
	return gqlAnswer(data, x.errors...)
}

// record is a value with fields. A field's value is nil, a scalar, a record, a []any of these, a connection, or an error.
type record struct {
	kind  string
	field func(name string, a obj) any
}

// connection is a list in pages. Long ones give their pages themselves.
type connection struct {
	nodes []any
	total func() (int, error)
	page  func(from, n int) ([]any, error) // up to n+1, so that it is known whether there are more
}

const unimplemented = "FAKE_UNIMPLEMENTED"

type executor struct {
	c         *call
	doc       *gqlDocument
	variables obj
	errors    []*gqlError
	tests     map[*pull][2]bool // whether it merges, and whether that is known: one read each query
}

func (x *executor) literal(v any) any {
	switch v := v.(type) {
	case gqlVar:
		return x.variables[string(v)]
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = x.literal(e)
		}
		return out
	case obj:
		out := obj{}
		for k, e := range v {
			if name, ok := e.(gqlVar); ok {
				if _, given := x.variables[string(name)]; !given {
					continue
				}
			}
			out[k] = x.literal(e)
		}
		return out
	}
	return plain(v)
}

func (x *executor) skipped(s gqlSelection) bool {
	for _, d := range s.directives {
		for _, a := range d.args {
			if on, _ := x.literal(a.value).(bool); on == (d.name == "skip") {
				return true
			}
		}
	}
	return false
}

// collect flattens fragments that apply to a value of an object type; fields with the same key are merged.
func (x *executor) collect(kind string, list []gqlSelection, into *[]gqlSelection) {
	for _, s := range list {
		if x.skipped(s) {
			continue
		}
		switch {
		case s.field != "":
			i := slices.IndexFunc(*into, func(o gqlSelection) bool { return o.key() == s.key() })
			if i >= 0 {
				(*into)[i].selections = slices.Concat((*into)[i].selections, s.selections)
				continue
			}
			*into = append(*into, s)
		case s.spread != "":
			if f := x.doc.fragments[s.spread]; slices.Contains(possible(f.on), kind) {
				x.collect(kind, f.selections, into)
			}
		default:
			if s.on == "" || s.on == kind || slices.Contains(possible(s.on), kind) {
				x.collect(kind, s.selections, into)
			}
		}
	}
}

func (x *executor) fail(err error, s gqlSelection, path []any) {
	e := &gqlError{}
	if !errors.As(err, &e) {
		e = &gqlError{Message: err.Error(), Kind: "INTERNAL"}
		x.c.s.violation("graphql", "the fake itself", err)
	}
	x.errors = append(x.errors, &gqlError{Message: e.Message, Kind: e.Kind, Code: e.Code, Extensions: e.Extensions, Path: slices.Clone(path), At: s.at})
}

// record executes selections on a value; null tells that a field that must not be null is.
func (x *executor) record(r record, on string, list []gqlSelection, path []any) (out obj, null bool) {
	var fields []gqlSelection
	x.collect(r.kind, list, &fields)
	out = obj{}
	t := gqlTypes()[r.kind]
	for _, s := range fields {
		at := append(slices.Clone(path), s.key())
		if s.field == "__typename" {
			out[s.key()] = r.kind
			continue
		}
		args := obj{}
		def := gqlFieldDef{}
		if t != nil {
			def = t.Fields[s.field]
		}
		for name, want := range def.Args {
			if _, fallback, ok := strings.Cut(want, " = "); ok && !strings.HasPrefix(fallback, "[") && !strings.HasPrefix(fallback, "{") {
				args[name] = strings.Trim(fallback, `"`)
				if fallback == "true" || fallback == "false" {
					args[name] = fallback == "true"
				}
			}
		}
		for _, a := range s.args {
			args[a.name] = x.literal(a.value)
		}
		v, bad := x.complete(def.Type, r.field(s.field, args), s, args, at)
		if bad {
			return nil, true
		}
		out[s.key()] = v
	}
	return out, false
}

// complete turns a field's value into JSON; null tells that it must not be null but is.
func (x *executor) complete(want string, v any, s gqlSelection, args obj, path []any) (out any, null bool) {
	must := strings.HasSuffix(want, "!")
	want = strings.TrimSuffix(want, "!")
	switch v := v.(type) {
	case error:
		x.fail(v, s, path)
		return nil, must
	case nil:
		if must {
			x.fail(fmt.Errorf("null in a field that GitHub never has null"), s, path)
		}
		return nil, must
	case record:
		o, bad := x.record(v, want, s.selections, path)
		if bad {
			return nil, must
		}
		return o, false
	case connection:
		o, bad := x.connection(want, v, s, args, path)
		if bad {
			return nil, must
		}
		return o, false
	case []any:
		inner := want
		if strings.HasPrefix(want, "[") {
			inner = want[1 : len(want)-1]
		}
		list := []any{}
		for i, e := range v {
			one, bad := x.complete(inner, e, s, args, append(slices.Clone(path), i))
			if bad {
				return nil, must
			}
			list = append(list, one)
		}
		return list, false
	}
	if t := gqlTypes()[want]; t != nil && t.Kind == "ENUM" && t.Values != nil && !slices.Contains(t.Values, fmt.Sprint(v)) {
		x.fail(fmt.Errorf("%v is not a %s", v, want), s, path)
		return nil, must
	}
	return v, false
}

func (x *executor) connection(kind string, v connection, s gqlSelection, args obj, path []any) (out obj, null bool) {
	var fields []gqlSelection
	x.collect(kind, s.selections, &fields)
	listed := slices.ContainsFunc(fields, func(f gqlSelection) bool { return f.field == "nodes" || f.field == "edges" })
	first, hasFirst := args["first"].(int64)
	last, hasLast := args["last"].(int64)
	n := 100
	for _, limit := range []struct {
		name string
		n    int64
		has  bool
	}{{"first", first, hasFirst}, {"last", last, hasLast}} {
		if limit.has && (limit.n < 1 || limit.n > 100) {
			word := fmt.Sprintf("Requesting %d records on the `%s` connection exceeds the `%s` limit of 100 records.", limit.n, s.field, limit.name)
			if limit.n < 1 {
				word = fmt.Sprintf("`%s` on the `%s` connection cannot be less than zero.", limit.name, s.field)
			}
			x.fail(&gqlError{Message: word, Kind: "EXCESSIVE_PAGINATION"}, s, path)
			return nil, true
		}
		if limit.has {
			n = int(limit.n)
		}
	}
	if listed && !hasFirst && !hasLast {
		x.fail(&gqlError{Message: fmt.Sprintf("You must provide a `first` or `last` value to properly paginate the `%s` connection.", s.field),
			Kind: "MISSING_PAGINATION_BOUNDARIES"}, s, path)
		return nil, true
	}
	from := 0
	if cursor, ok := args["after"].(string); ok {
		raw, err := base64.StdEncoding.DecodeString(cursor)
		at, err2 := strconv.Atoi(strings.TrimPrefix(string(raw), "cursor:"))
		if err != nil || err2 != nil {
			x.fail(&gqlError{Message: fmt.Sprintf("`%s` does not appear to be a valid cursor.", cursor), Kind: "INVALID_CURSOR_ARGUMENTS"}, s, path)
			return nil, true
		}
		from = at
	}
	var nodes []any
	more := false
	switch {
	case v.page != nil:
		var err error
		if nodes, err = v.page(from, n); err != nil {
			x.fail(err, s, path)
			return nil, true
		}
		if more = len(nodes) > n; more {
			nodes = nodes[:n]
		}
	case hasLast && !hasFirst:
		from = max(from, len(v.nodes)-n)
		nodes = v.nodes[min(from, len(v.nodes)):]
	default:
		from = min(from, len(v.nodes))
		end := min(from+n, len(v.nodes))
		nodes, more = v.nodes[from:end], end < len(v.nodes)
	}
	cursor := func(i int) any { return base64.StdEncoding.EncodeToString([]byte("cursor:" + strconv.Itoa(i))) }
	ends := func(name string, _ obj) any {
		switch name {
		case "hasNextPage":
			return more
		case "hasPreviousPage":
			return from > 0
		case "startCursor":
			if len(nodes) > 0 {
				return cursor(from + 1)
			}
		case "endCursor":
			if len(nodes) > 0 {
				return cursor(from + len(nodes))
			}
		}
		return nil
	}
	edge := strings.TrimSuffix(kind, "Connection") + "Edge"
	if t := gqlTypes()[kind]; t.Fields != nil {
		edge = bare(t.Fields["edges"].Type)
	}
	edges := make([]any, len(nodes))
	for i, node := range nodes {
		edges[i] = record{edge, func(name string, _ obj) any {
			if name == "cursor" {
				return cursor(from + i + 1)
			}
			return node
		}}
	}
	self := record{kind, func(name string, _ obj) any {
		switch name {
		case "nodes":
			return nodes
		case "edges":
			return edges
		case "pageInfo":
			return record{"PageInfo", ends}
		case "totalCount":
			if v.total == nil {
				return len(v.nodes)
			}
			n, err := v.total()
			if err != nil {
				return err
			}
			return n
		}
		return missing(kind, name)
	}}
	return x.record(self, kind, s.selections, path)
}

// missing is a field GitHub has and this fake does not.
func missing(kind, name string) error {
	return &gqlError{Message: fmt.Sprintf("the fake does not have %s.%s", kind, name), Kind: unimplemented}
}

// gqlNotFound is how something that is not there is answered.
func gqlNotFound(format string, args ...any) error {
	return &gqlError{Message: fmt.Sprintf(format, args...), Kind: "NOT_FOUND"}
}

// introspect answers __type, which clients ask to learn what a server has.
func introspect(name string) any {
	t := gqlTypes()[name]
	if t == nil {
		return nil
	}
	list := func(names []string) any {
		var out []any
		for _, n := range names {
			out = append(out, record{"__Field", func(field string, _ obj) any {
				if field == "name" {
					return n
				}
				return missing("__Field", field)
			}})
		}
		return out
	}
	return record{"__Type", func(field string, _ obj) any {
		switch field {
		case "name":
			return name
		case "kind":
			return t.Kind
		case "fields":
			return list(slices.Sorted(maps.Keys(t.Fields)))
		case "inputFields":
			return list(slices.Sorted(maps.Keys(t.Inputs)))
		case "enumValues":
			return list(t.Values)
		}
		return missing("__Type", field)
	}}
}
