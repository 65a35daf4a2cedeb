package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite docs/rollback.schema.json")

const schemaFile = "../../docs/rollback.schema.json"

// The schema that editors fetch is the one the types make. go test ./internal/config -run Schema -update rewrites it.
func TestSchemaIsCurrent(t *testing.T) {
	if *update {
		if err := os.MkdirAll("../../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, Schema()) {
		t.Errorf("%s is not what the types make: run go test ./internal/config -run Schema -update", schemaFile)
	}
}

// violations is as much of JSON Schema as ours uses; a keyword it does not know is a violation, too.
func violations(root, schema map[string]any, at string, v any) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, at+": "+fmt.Sprintf(format, args...)) }
	text, isText := v.(string)
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	for keyword, want := range schema {
		switch keyword {
		case "$schema", "$id", "$defs", "title", "description", "default", "examples":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			def, ok := root["$defs"].(map[string]any)[name].(map[string]any)
			if !ok {
				bad("no definition %s", name)
				continue
			}
			out = append(out, violations(root, def, at, v)...)
		case "type":
			types, ok := want.([]any)
			if !ok {
				types = []any{want}
			}
			_, isBool := v.(bool)
			is := map[string]bool{"string": isText, "object": isObject, "array": isList, "boolean": isBool, "null": v == nil}
			if !slices.ContainsFunc(types, func(t any) bool { return is[t.(string)] }) {
				bad("%v is no %v", v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				bad("%v is not in %v", v, want)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				bad("%q does not match %s", text, want)
			}
		case "minLength":
			if isText && float64(len(text)) < want.(float64) {
				bad("too short")
			}
		case "minItems":
			if isList && float64(len(list)) < want.(float64) {
				bad("too few")
			}
		case "items":
			for i, item := range list {
				out = append(out, violations(root, want.(map[string]any), fmt.Sprintf("%s[%d]", at, i), item)...)
			}
		case "propertyNames":
			for k := range object {
				out = append(out, violations(root, want.(map[string]any), at+"."+k, k)...)
			}
		case "properties":
			for k, s := range want.(map[string]any) {
				if x, ok := object[k]; ok {
					out = append(out, violations(root, s.(map[string]any), at+"."+k, x)...)
				}
			}
		case "patternProperties", "additionalProperties":
		default:
			bad("the schema has the keyword %s, which this test does not know", keyword)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	patterns, _ := schema["patternProperties"].(map[string]any)
	for k, x := range object {
		if _, ok := properties[k]; ok {
			continue
		}
		matched := false
		for p, s := range patterns {
			if regexp.MustCompile(p).MatchString(k) {
				matched = true
				out = append(out, violations(root, s.(map[string]any), at+"."+k, x)...)
			}
		}
		switch more := schema["additionalProperties"].(type) {
		case bool:
			if !more && !matched {
				out = append(out, at+": unknown key "+k)
			}
		case map[string]any:
			out = append(out, violations(root, more, at+"."+k, x)...)
		}
	}
	return out
}

// check holds a YAML text against the schema, as an editor does.
func check(t *testing.T, text string) []string {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	data, err := json.Marshal(v) // the JSON types an editor sees
	if err != nil {
		t.Fatal(err)
	}
	v = nil
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v == nil {
		return nil
	}
	return violations(schema, schema, "", v)
}

func TestSchemaAcceptsGoodFiles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{string(Init()), acme, sharing, "defaults:\nenvironments:\n  prod:\nservices:\n  web:\n", "x-a: [1]\n"} {
		if bad := check(t, text); len(bad) > 0 {
			t.Errorf("%s\nin\n%s", strings.Join(bad, "\n"), text)
		}
	}
	// Every example and default, at every place where it may stand.
	for _, s := range Settings {
		for _, value := range []string{s.Example, s.Default} {
			for _, section := range []string{"", "defaults.", "environments.prod.", "services.web.", "services.web.environments.prod."} {
				if value == "" || (section == "") != (s.Key == strictServices) ||
					strings.HasPrefix(section, "services") && !slices.Contains(leavesOf(commonType), s.Key) {
					continue
				}
				doc := map[string]any{}
				node(doc, section+s.Key, s, value)
				data, err := yaml.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				if bad := check(t, string(data)); len(bad) > 0 {
					t.Errorf("%s%s: %v", section, s.Key, bad)
				}
				parse(t, string(data))
			}
		}
	}
}

// What the schema refuses, Parse refuses: an editor never complains about a good file. Many of the golden mistakes are
// seen by the schema, too.
func TestSchemaRefusesBadFiles(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, text := range []string{
		"default: {}", "defaults: {tagg: x}", "defaults: {tag: 1}", "defaults: {tag: ''}", "defaults: {timeout: 600}", "defaults: {timeout: '600'}",
		"defaults: {confirm: 'yes'}", "defaults: {workloads: deployment/x}", "defaults: {workloads: []}", "defaults: {workloads: [x]}",
		"environments: {Prod: {}}", "environments: []", "environments: {prod: {registry: {kind: docker}}}",
		"environments: {prod: {registry: {account: 123456789012}}}", "environments: {prod: {registry: {account: '12345'}}}",
		"environments: {prod: {registry: {region: eu-west}}}", "environments: {prod: {registry: {role: x}}}", "environments: {prod: {cluster: {uid: x}}}",
		"environments: {prod: {cluster: {inCluster: 'true'}}}", "services: {web: {registry: {}}}", "services: {web: {environments: {prod: {cluster: {}}}}}",
		"strictServices: 'true'", "defaults: {namespace: Prod}", "defaults: {tag: 'a b'}", "defaults: {image: Payments}",
	} {
		if bad := check(t, text); len(bad) == 0 {
			t.Errorf("the schema accepts %s", text)
		}
		if _, err := Parse("rollback.yaml", []byte(text)); err == nil {
			t.Errorf("Parse accepts %s", text)
		}
		seen++
	}
	if seen < 20 {
		t.Errorf("%d files", seen)
	}
}

func TestStarter(t *testing.T) {
	t.Parallel()
	text := string(Init())
	f, err := Parse("rollback.yaml", Init())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "# yaml-language-server: $schema="+SchemaURL+"\n") {
		t.Error("the first line does not name the schema")
	}
	for _, e := range f.Environments() {
		for _, service := range append(f.Services(), "payments") {
			if s, err := f.Resolve(scope(service, e), nil); err != nil || s.Registry.Kind == "" {
				t.Errorf("%s/%s: %v", service, e, err)
			}
		}
	}
	// Every setting is in it, as a key or as one that is commented out; each of those can be put in as it is.
	lines := strings.Split(text, "\n")
	commented := regexp.MustCompile(`^( *)# ([a-zA-Z]+: \S.*)$`)
	off := 0
	for i, line := range lines {
		m := commented.FindStringSubmatch(line)
		if m == nil || i < 10 && !strings.HasPrefix(m[2], "strict") { // the words at the top
			continue
		}
		off++
		with := slices.Clone(lines)
		with[i] = m[1] + m[2]
		if _, err := Parse("rollback.yaml", []byte(strings.Join(with, "\n"))); err != nil {
			t.Errorf("with line %d put in: %v", i+1, err)
		}
		if bad := check(t, strings.Join(with, "\n")); len(bad) > 0 {
			t.Errorf("with line %d put in: %v", i+1, bad)
		}
	}
	if off < 10 {
		t.Errorf("%d keys are commented out, want at least 10", off)
	}
	for _, s := range Settings {
		last := s.Key[strings.LastIndexByte(s.Key, '.')+1:]
		if !regexp.MustCompile(`(?m)^ *(# )?` + last + `: `).MatchString(text) {
			t.Errorf("%s is not in the starter file", s.Key)
		}
	}
	for _, service := range []string{"web", "payments"} {
		for _, e := range f.Environments() {
			if s, err := f.Resolve(scope(service, e), nil); err == nil && s.Tag == "latest" && e == "staging" {
				t.Error("the starter's staging shares production's tag")
			}
		}
	}
	Init()[0] = 'x'
	if Init()[0] != '#' {
		t.Error("a caller can change the starter file")
	}
}
