package config

import (
	"encoding/json"
	"reflect"
	"strings"
)

// SchemaURL is where editors find the schema; the starter file names it.
const SchemaURL = "https://raw.githubusercontent.com/rollback-tools/rollback/main/docs/rollback.schema.json"

// nameForm is the rule for the names of services and environments, which rollback.Scope enforces.
const nameForm = `^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$`

// Schema is the JSON Schema (draft 2020-12) of rollback.yaml, made from the types in shape.go and from Settings. It lets
// editors complete and check; Parse is stricter.
func Schema() []byte {
	defs := map[string]any{}
	top := schemaOf(documentType, "", defs)
	top["patternProperties"] = map[string]any{"^x-": map[string]any{}}
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["$id"] = SchemaURL
	top["title"] = "rollback.yaml"
	top["$defs"] = defs
	data, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		panic(err) // maps of strings cannot fail
	}
	return append(data, '\n')
}

// schemaOf is the schema of a section. Sections within it become definitions, named after their types.
func schemaOf(t reflect.Type, prefix string, defs map[string]any) map[string]any {
	properties := map[string]any{}
	for _, f := range fieldsOf(t) {
		var p map[string]any
		switch f.typ.Kind() {
		case reflect.Struct:
			nested := ""
			if t != documentType { // registry and cluster prefix the keys of Settings
				nested = prefix + f.key + "."
			}
			p = map[string]any{"$ref": define(f.typ, nested, defs)}
		case reflect.Map:
			p = map[string]any{
				"type":                 []string{"object", "null"},
				"propertyNames":        map[string]any{"pattern": nameForm},
				"additionalProperties": map[string]any{"$ref": define(f.typ.Elem(), "", defs)},
			}
		default:
			s, _ := Lookup(prefix + f.key)
			p = s.schema()
		}
		if f.doc != "" {
			p["description"] = f.doc
		}
		properties[f.key] = p
	}
	return map[string]any{
		"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false,
	}
}

func define(t reflect.Type, prefix string, defs map[string]any) string {
	name := strings.ToLower(t.Name())
	if _, ok := defs[name]; !ok {
		defs[name] = nil // against recursion
		defs[name] = schemaOf(t, prefix, defs)
	}
	return "#/$defs/" + name
}

// schema is the schema of one setting.
func (s Setting) schema() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	switch {
	case len(s.Choices) > 0:
		text["enum"] = s.Choices
	case s.Type == Duration:
		text["pattern"] = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	case s.form != "":
		text["pattern"] = "^(" + s.form + ")$"
		if s.Environment || s.Service {
			text["pattern"] = `^(` + s.form + `)$|\{(service|environment)\}`
		}
	}
	out := text
	switch s.Type {
	case Bool:
		out = map[string]any{"type": "boolean"}
	case List:
		out = map[string]any{"type": "array", "minItems": 1, "items": text}
	}
	out["description"] = strings.ToUpper(s.Usage[:1]) + s.Usage[1:] + "."
	switch {
	case s.Default == "":
	case s.Type == Bool:
		out["default"] = s.Default == "true"
	default:
		out["default"] = s.Default
	}
	if s.Type == Text {
		out["examples"] = []string{s.Example}
	}
	return out
}
