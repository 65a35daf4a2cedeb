package github

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// graphqlSlice is the part of GitHub's schema that covers this fake; see testdata/NOTICE.
//
//go:embed testdata/graphql.json
var graphqlSlice []byte

type gqlType struct {
	Kind     string
	Fields   map[string]gqlFieldDef
	Inputs   map[string]string
	Values   []string
	Possible []string
}

// known tells whether the slice has more of a type than its name.
func (t *gqlType) known() bool { return t.Fields != nil || t.Kind == "UNION" }

func (t *gqlType) composite() bool {
	return t.Kind == "OBJECT" || t.Kind == "INTERFACE" || t.Kind == "UNION"
}

type gqlFieldDef struct {
	Type string
	Args map[string]string // name → "Int = 3"
}

var gqlTypes = sync.OnceValue(func() map[string]*gqlType {
	var doc struct{ Types map[string]*gqlType }
	if err := json.Unmarshal(graphqlSlice, &doc); err != nil {
		panic("github: testdata/graphql.json: " + err.Error())
	}
	return doc.Types
})

// bare takes the list and non-null marks off a type.
func bare(t string) string { return strings.Trim(t, "[]!") }

// gqlError is one error of an answer.
type gqlError struct {
	Message    string
	Kind       string // "NOT_FOUND"; in "type"
	Code       string // of the checks before execution: "undefinedField"; in "extensions"
	Extensions obj
	Path       []any
	At         place
}

func (e *gqlError) Error() string { return e.Message }

func (e *gqlError) json() obj {
	o := obj{"message": e.Message, "locations": []obj{{"line": e.At.line, "column": e.At.column}}}
	if e.Kind != "" {
		o["type"] = e.Kind
	}
	if e.Path != nil {
		o["path"] = e.Path
	}
	if e.Code != "" {
		x := obj{"code": e.Code}
		maps.Copy(x, e.Extensions)
		o["extensions"] = x
	}
	return o
}

// checker holds a document against the schema before anything is executed.
type checker struct {
	doc    *gqlDocument
	errors []*gqlError
	used   map[string]bool
	vars   map[string]string
	active []string // fragments being walked
}

func (k *checker) add(at place, path []any, code string, ext obj, format string, args ...any) {
	k.errors = append(k.errors, &gqlError{Message: fmt.Sprintf(format, args...), Code: code, Extensions: ext, Path: slices.Clone(path), At: at})
}

func gqlCheck(doc *gqlDocument, op *gqlOperation) []*gqlError {
	k := &checker{doc: doc, used: map[string]bool{}, vars: map[string]string{}}
	root := "Query"
	if op.kind == "mutation" {
		root = "Mutation"
	}
	path := []any{op.kind}
	if op.name != "" {
		path[0] = op.kind + " " + op.name
	}
	for _, v := range op.variables {
		k.vars[v.name] = v.kind
		if v.fallback != nil {
			k.vars[v.name] = strings.TrimSuffix(v.kind, "!") + "!" // with a default it is never null
		}
		if t := gqlTypes()[bare(v.kind)]; t == nil || t.composite() {
			k.add(v.at, path, "variableRequiresValidType", nil, "%s isn't a valid input type (on $%s)", bare(v.kind), v.name)
		}
	}
	k.selections(root, op.selections, path)
	for _, v := range op.variables {
		if !k.used[v.name] {
			k.add(v.at, path, "variableNotUsed", obj{"variableName": v.name}, "Variable $%s is declared by %s but not used", v.name, anonymous(op))
		}
	}
	return k.errors
}

func anonymous(op *gqlOperation) string {
	if op.name == "" {
		return "anonymous " + op.kind
	}
	return op.name
}

func (k *checker) selections(on string, list []gqlSelection, path []any) {
	t := gqlTypes()[on]
	for _, s := range list {
		k.directives(s, path)
		switch {
		case s.field != "":
			k.field(on, t, s, append(slices.Clone(path), s.key()))
		case s.spread != "":
			f := k.doc.fragments[s.spread]
			if f == nil {
				k.add(s.at, path, "useAndDefineFragment", nil, "Fragment %s was used, but not defined", s.spread)
				continue
			}
			if slices.Contains(k.active, s.spread) {
				k.add(s.at, path, "infiniteLoop", nil, "Fragment %s contains an infinite loop", s.spread)
				continue
			}
			k.active = append(k.active, s.spread)
			k.fragment(on, t, f.on, f.selections, s.at, path)
			k.active = k.active[:len(k.active)-1]
		default:
			cond := s.on
			if cond == "" {
				cond = on
			}
			k.fragment(on, t, cond, s.selections, s.at, append(slices.Clone(path), "... on "+cond))
		}
	}
}

func (k *checker) directives(s gqlSelection, path []any) {
	for _, d := range s.directives {
		if d.name != "include" && d.name != "skip" {
			k.add(s.at, path, "undefinedDirective", nil, "Directive @%s is not defined", d.name)
			continue
		}
		for _, a := range d.args {
			k.value(a.value, "Boolean!", "if", a.at, path)
		}
	}
}

// possible are the object types a value of t may have.
func possible(name string) []string {
	t := gqlTypes()[name]
	if t == nil {
		return nil
	}
	if t.Kind == "OBJECT" {
		return []string{name}
	}
	return t.Possible
}

func (k *checker) fragment(on string, t *gqlType, cond string, list []gqlSelection, at place, path []any) {
	c := gqlTypes()[cond]
	switch {
	case c == nil:
		// A type that GitHub has may be missing in the slice; one it doesn't have is no use here either.
		k.add(at, path, "undefinedType", obj{"typeName": cond}, "No such type %s, so it can't be a fragment condition", cond)
		return
	case !c.composite():
		k.add(at, path, "fragmentOnNonCompositeType", nil, "Invalid fragment on type %s (must be Union, Interface or Object)", cond)
		return
	case t != nil && len(possible(on)) > 0 && len(possible(cond)) > 0:
		if !slices.ContainsFunc(possible(on), func(p string) bool { return slices.Contains(possible(cond), p) }) {
			k.add(at, path, "cannotSpreadFragment", nil, "Fragment on %s can't be spread inside %s", cond, on)
			return
		}
	}
	k.selections(cond, list, path)
}

func (k *checker) field(on string, t *gqlType, s gqlSelection, path []any) {
	var def gqlFieldDef
	switch {
	case s.field == "__typename":
		def = gqlFieldDef{Type: "String!"}
	case on == "Query" && s.field == "__type":
		for _, a := range s.args {
			k.value(a.value, "String!", a.name, a.at, path)
		}
		return // introspection is answered, not checked
	case t == nil || t.Kind != "UNION" && !t.known():
		for _, a := range s.args { // a type of which the slice has the name alone: always empty here
			k.value(a.value, "", a.name, a.at, path)
		}
		for _, sub := range s.selections {
			if sub.field != "" {
				k.field("", nil, sub, append(slices.Clone(path), sub.key()))
			}
		}
		return
	default:
		var ok bool
		if def, ok = t.Fields[s.field]; !ok {
			k.add(s.at, path, "undefinedField", obj{"typeName": on, "fieldName": s.field}, "Field '%s' doesn't exist on type '%s'", s.field, on)
			return
		}
	}
	given := map[string]bool{}
	for _, a := range s.args {
		given[a.name] = true
		want, ok := def.Args[a.name]
		if !ok {
			k.add(a.at, append(slices.Clone(path), a.name), "argumentNotAccepted", obj{"name": s.field, "typeName": "Field", "argumentName": a.name},
				"Field '%s' doesn't accept argument '%s'", s.field, a.name)
			continue
		}
		k.value(a.value, strings.Split(want, " = ")[0], a.name, a.at, append(slices.Clone(path), a.name))
	}
	for _, name := range slices.Sorted(maps.Keys(def.Args)) {
		if want := def.Args[name]; strings.HasSuffix(want, "!") && !given[name] {
			k.add(s.at, path, "missingRequiredArguments", obj{"className": "Field", "name": s.field, "arguments": name},
				"Field '%s' is missing required arguments: %s", s.field, name)
		}
	}
	below := gqlTypes()[bare(def.Type)]
	if below == nil || !below.composite() {
		if s.selections != nil {
			k.add(s.at, path, "selectionMismatch", obj{"nodeName": "field '" + s.field + "'", "typeName": def.Type},
				"Selections can't be made on scalars (field '%s' returns %s but has selections)", s.field, bare(def.Type))
		}
		return
	}
	if s.selections == nil {
		k.add(s.at, path, "selectionMismatch", obj{"nodeName": "field '" + s.field + "'", "typeName": def.Type},
			"Field must have selections (field '%s' returns %s but has no selections. Did you mean '%s { ... }'?)", s.field, bare(def.Type), s.field)
		return
	}
	k.selections(bare(def.Type), s.selections, path)
}

// value checks a literal or a variable's declaration against an input type; "" takes anything.
func (k *checker) value(v any, want, name string, at place, path []any) {
	bad := func() {
		k.add(at, path, "argumentLiteralsIncompatible", obj{"typeName": "Field", "argumentName": name},
			"Argument '%s' on Field has an invalid value (%v). Expected type '%s'.", name, v, want)
	}
	if variable, ok := v.(gqlVar); ok {
		k.used[string(variable)] = true
		has, ok := k.vars[string(variable)]
		switch {
		case !ok:
			k.add(at, path, "variableNotDefined", obj{"variableName": string(variable)}, "Variable $%s is used by the operation but not declared", string(variable))
		case want != "" && !fits(has, want):
			k.add(at, path, "variableMismatch", obj{"variableName": string(variable), "typeName": has, "argumentName": name},
				"Type mismatch on variable $%s and argument %s (%s / %s)", string(variable), name, has, want)
		}
		return
	}
	if want == "" {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				k.value(e, "", name, at, path)
			}
		case obj:
			for _, e := range v {
				k.value(e, "", name, at, path)
			}
		}
		return
	}
	if v == nil {
		if strings.HasSuffix(want, "!") {
			bad()
		}
		return
	}
	want = strings.TrimSuffix(want, "!")
	if strings.HasPrefix(want, "[") {
		inner := want[1 : len(want)-1]
		list, ok := v.([]any)
		if !ok {
			list = []any{v} // a single value stands for a list of one
		}
		for _, e := range list {
			k.value(e, inner, name, at, path)
		}
		return
	}
	t := gqlTypes()[want]
	if t == nil || t.Kind == "INPUT_OBJECT" && t.Inputs == nil || t.Kind == "ENUM" && t.Values == nil {
		return // the slice has the name alone
	}
	switch t.Kind {
	case "INPUT_OBJECT":
		o, ok := v.(obj)
		if !ok {
			bad()
			return
		}
		for field, e := range o {
			sub, ok := t.Inputs[field]
			if !ok {
				k.add(at, append(slices.Clone(path), field), "argumentNotAccepted", obj{"name": want, "typeName": "InputObject", "argumentName": field},
					"InputObject '%s' doesn't accept argument '%s'", want, field)
				continue
			}
			k.value(e, strings.Split(sub, " = ")[0], field, at, append(slices.Clone(path), field))
		}
		for _, field := range slices.Sorted(maps.Keys(t.Inputs)) {
			if _, ok := o[field]; !ok && strings.HasSuffix(t.Inputs[field], "!") {
				k.add(at, append(slices.Clone(path), field), "missingRequiredInputObjectAttribute", obj{"argumentName": field, "inputObjectType": want},
					"Argument '%s' on InputObject '%s' is required. Expected type %s", field, want, t.Inputs[field])
			}
		}
	case "ENUM":
		if e, ok := v.(gqlEnum); !ok || !slices.Contains(t.Values, string(e)) {
			bad()
		}
	default:
		if !scalar(want, v) {
			bad()
		}
	}
}

// fits tells whether a variable of one type may stand where another is wanted.
func fits(has, want string) bool {
	if has == want || strings.TrimSuffix(has, "!") == want {
		return true
	}
	if strings.HasPrefix(want, "[") && strings.HasPrefix(has, "[") {
		if strings.HasSuffix(want, "!") && !strings.HasSuffix(has, "!") {
			return false
		}
		h, w := strings.TrimSuffix(has, "!"), strings.TrimSuffix(want, "!")
		return fits(h[1:len(h)-1], w[1:len(w)-1])
	}
	return strings.HasPrefix(want, "[") && fits(has, strings.TrimSuffix(want, "!")[1:len(strings.TrimSuffix(want, "!"))-1])
}

func scalar(kind string, v any) bool {
	switch v := v.(type) {
	case string:
		return kind != "Int" && kind != "Float" && kind != "Boolean"
	case int64:
		return kind == "Int" || kind == "Float" || kind == "ID" || kind == "BigInt"
	case float64:
		return kind == "Float" || v == float64(int64(v)) && kind == "Int"
	case json.Number:
		return kind == "Int" && !strings.ContainsAny(v.String(), ".eE") || kind == "Float" || kind == "ID"
	case bool:
		return kind == "Boolean"
	}
	return false
}

// gqlVariables takes the values given for an operation's variables.
func gqlVariables(op *gqlOperation, given obj) (obj, *gqlError) {
	out := obj{}
	for _, v := range op.variables {
		value, ok := given[v.name]
		if !ok {
			if v.fallback != nil {
				out[v.name] = plain(v.fallback)
				continue
			}
			if strings.HasSuffix(v.kind, "!") {
				return nil, &gqlError{Message: fmt.Sprintf("Variable $%s of type %s was provided invalid value", v.name, v.kind), At: v.at,
					Code: "INVALID_VARIABLES", Extensions: obj{"value": nil, "problems": []obj{{"path": []any{}, "explanation": "Expected value to not be null"}}}}
			}
			continue
		}
		if why := coerce(v.kind, value); why != "" {
			return nil, &gqlError{Message: fmt.Sprintf("Variable $%s of type %s was provided invalid value", v.name, v.kind), At: v.at,
				Code: "INVALID_VARIABLES", Extensions: obj{"value": value, "problems": []obj{{"path": []any{}, "explanation": why}}}}
		}
		out[v.name] = plain(value)
	}
	return out, nil
}

// coerce checks a variable's value, as JSON has it; "" if it will do.
func coerce(want string, v any) string {
	if v == nil {
		if strings.HasSuffix(want, "!") {
			return "Expected value to not be null"
		}
		return ""
	}
	want = strings.TrimSuffix(want, "!")
	if strings.HasPrefix(want, "[") {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			if why := coerce(want[1:len(want)-1], e); why != "" {
				return why
			}
		}
		return ""
	}
	t := gqlTypes()[want]
	switch {
	case t == nil:
		return "No such type " + want
	case t.Kind == "ENUM" && t.Values != nil:
		if s, ok := v.(string); !ok || !slices.Contains(t.Values, s) {
			return fmt.Sprintf("Expected %q to be one of: %s", v, strings.Join(t.Values, ", "))
		}
	case t.Kind == "INPUT_OBJECT" && t.Inputs != nil:
		o, ok := v.(map[string]any)
		if !ok {
			return fmt.Sprintf("Expected %v to be a key-value object responding to `to_h` or `to_unsafe_h`.", v)
		}
		for name, e := range o {
			sub, ok := t.Inputs[name]
			if !ok {
				return "Field is not defined on " + want + ": " + name
			}
			if why := coerce(strings.Split(sub, " = ")[0], e); why != "" {
				return name + ": " + why
			}
		}
		for name, sub := range t.Inputs {
			if _, ok := o[name]; !ok && strings.HasSuffix(sub, "!") {
				return name + ": Expected value to not be null"
			}
		}
	case t.Kind == "SCALAR" && !scalar(want, v):
		return fmt.Sprintf("Could not coerce value %v to %s", v, want)
	}
	return ""
}

// plain turns numbers and enums into what resolvers read: int64, float64, string.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return nil
		}
		return f
	case gqlEnum:
		return string(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case obj:
		out := obj{}
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	}
	return v
}
