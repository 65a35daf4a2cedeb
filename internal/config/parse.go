package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// leaf is the value of one setting where it was written. A list has its items, anything else one.
type leaf struct {
	items  []string
	file   string // "" when it was not written in a file
	line   int
	column int
	origin string // "--tag", "ROLLBACK_TAG", "rollback.yaml:14", "built in"
	given  bool   // by flag or variable
}

// values are the settings of one section by dotted key.
type values map[string]leaf

// budget is how many entries a file may gain because its aliases and merge keys are followed.
const budget = 100_000

// parser reads one file. Problems are collected; only a broken YAML syntax ends it early.
type parser struct {
	name      string
	problems  []Problem
	spent     int // entries read
	limit     int // entries at which reading ends
	merging   map[*yaml.Node]bool
	mentioned []mention
}

// Parse reads the bytes of a rollback.yaml. name is what its messages call the file. The error is a *rollback.Error with
// exit code 2 around Problems: all mistakes, in the order of the file.
func Parse(name string, data []byte) (*File, error) {
	p := &parser{name: name, merging: map[*yaml.Node]bool{}, limit: budget + len(data)/2} // no entry is shorter than two bytes
	f := &File{
		Name: name, defaults: values{}, environments: map[string]values{}, services: map[string]values{},
		overrides: map[rollback.Scope]values{},
	}
	if len(data) > MaxSize {
		p.add(1, 1, "the file is larger than 1 MiB: refused")
		return nil, failure(p.problems)
	}
	top, m := root(data)
	if m != nil {
		p.add(m.line, m.column, "%s", m.text)
		return nil, failure(p.problems)
	}
	if top != nil {
		p.document(f, top)
	}
	if err := failure(p.problems); err != nil {
		return nil, err
	}
	return f, nil
}

func (p *parser) add(line, column int, format string, args ...any) {
	p.problems = append(p.problems, Problem{File: p.name, Line: max(line, 1), Column: column, Text: fmt.Sprintf(format, args...)})
}

func (p *parser) document(f *File, top *yaml.Node) {
	for _, e := range p.keys(top, documentType, "") {
		switch e.field.key {
		case strictServices:
			vals := values{}
			p.value(e, "", "", "", vals)
			if l, ok := vals[strictServices]; ok {
				f.strict = &l
			}
		case "defaults":
			p.section(e.value, placeType, "defaults", "", "", "", f.defaults)
			p.exclusive(f.defaults)
		case "environments":
			p.names(e.value, "environment", "environments", func(name string, _, n *yaml.Node) {
				f.environments[name] = values{}
				p.section(n, placeType, "environments."+name, "", "", name, f.environments[name])
				p.exclusive(f.environments[name])
			})
		case "services":
			p.names(e.value, "service", "services", func(name string, _, n *yaml.Node) { p.service(f, name, n) })
		}
	}
	p.references(f)
}

func (p *parser) service(f *File, name string, n *yaml.Node) {
	path := "services." + name
	f.services[name] = values{}
	for _, e := range p.keys(n, serviceType, path) {
		if e.field.leaf() {
			p.value(e, "", name, "", f.services[name])
			continue
		}
		p.names(e.value, "environment", path+".environments", func(env string, key, n *yaml.Node) {
			p.mentioned = append(p.mentioned, mention{rollback.Scope{Service: name, Environment: env}, key})
			vals := values{}
			p.section(n, commonType, path+".environments."+env, "", name, env, vals)
			f.overrides[rollback.Scope{Service: name, Environment: env}] = vals
		})
	}
}

// references checks that services speak of environments that exist. It runs last, because they may be declared below.
func (p *parser) references(f *File) {
	if len(f.environments) == 0 {
		return
	}
	for _, r := range p.mentioned {
		if _, ok := f.environments[r.Environment]; !ok {
			p.add(r.key.Line, r.key.Column, "services.%s.environments: there is no environment %s: %s",
				r.Service, shown(r.Environment), suggest(r.Environment, f.Environments()))
		}
	}
}

// mention is an environment that a service's entry names.
type mention struct {
	rollback.Scope
	key *yaml.Node
}

// section reads the keys of a section and of those nested in it into vals. service and environment are the names known
// at this place.
func (p *parser) section(n *yaml.Node, t reflect.Type, path, prefix, service, environment string, vals values) {
	for _, e := range p.keys(n, t, path) {
		switch {
		case e.field.leaf():
			p.value(e, prefix, service, environment, vals)
		case e.field.typ.Kind() == reflect.Struct:
			p.section(e.value, e.field.typ, path+"."+e.field.key, prefix+e.field.key+".", service, environment, vals)
		}
	}
}

// entry is a known key of a section with its value.
type entry struct {
	field field
	key   *yaml.Node
	value *yaml.Node // never an alias
}

// keys are the known keys of a section; unknown ones become problems. The document itself may hold x- keys as well: a
// place for anchors.
func (p *parser) keys(n *yaml.Node, t reflect.Type, path string) []entry {
	fields := fieldsOf(t)
	var out []entry
	for _, pair := range p.pairs(n, path) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == pair.key.Value })
		if i < 0 {
			if t != documentType || !strings.HasPrefix(pair.key.Value, "x-") {
				p.add(pair.key.Line, pair.key.Column, "%s", unknownKey(pair.key.Value, path, t))
			}
			continue
		}
		out = append(out, entry{fields[i], pair.key, pair.value})
	}
	return out
}

// unknownKey says where a key was not expected and what was likely meant.
func unknownKey(key, path string, t reflect.Type) string {
	if path != "" {
		path = " in " + path
	}
	text := fmt.Sprintf("unknown key %s%s: ", shown(key), path)
	var here []string
	for _, f := range fieldsOf(t) {
		here = append(here, f.key)
	}
	if nearest := byDistance(key, here)[0]; near(key, nearest) {
		return text + suggest(key, here)
	}
	// Right key, wrong place: below this section, or in another one.
	if under, right := sectionsOf(key, leavesOf(t)); len(under) > 0 && t != documentType {
		return text + fmt.Sprintf("%s belongs under %s", right, strings.Join(under, " or "))
	}
	if under, right := sectionsOf(key, leavesOf(placeType)); len(under) > 0 {
		return text + fmt.Sprintf("%s belongs under %s, in an environment or in defaults", right, strings.Join(under, " or "))
	}
	for _, f := range fieldsOf(placeType) {
		if f.key == key {
			return text + "it belongs under an environment or under defaults"
		}
	}
	for _, f := range fieldsOf(documentType) {
		if f.key == key {
			return text + "it belongs at the top of the file"
		}
	}
	return text + "known: " + listed(here)
}

// sectionsOf finds the sections that have a key of that name, and how it is spelt there.
func sectionsOf(key string, leaves []string) (sections []string, spelt string) {
	for _, k := range leaves {
		if section, last, ok := strings.Cut(k, "."); ok && plain(last) == plain(key) {
			sections, spelt = append(sections, section), last
		}
	}
	return sections, spelt
}

// names reads a mapping whose keys are names of environments or services.
func (p *parser) names(n *yaml.Node, what, path string, each func(name string, key, value *yaml.Node)) {
	for _, pair := range p.pairs(n, path) {
		scope := rollback.Scope{Service: "x", Environment: "x"}
		if what == "service" {
			scope.Service = pair.key.Value
		} else {
			scope.Environment = pair.key.Value
		}
		if scope.Validate() != nil {
			p.add(pair.key.Line, pair.key.Column, "%s %s: want lower-case letters, digits and dashes, at most 53", what, shown(pair.key.Value))
			continue
		}
		each(pair.key.Value, pair.key, pair.value)
	}
}

type pair struct{ key, value *yaml.Node }

// pairs are the entries of a mapping in order, aliases followed and merge keys (<<) filled in: the mapping's own keys
// win, then the first of several merged ones. An empty value is an empty mapping.
func (p *parser) pairs(n *yaml.Node, path string) []pair {
	n = target(n)
	where := path
	if where == "" {
		where = "the file"
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		p.add(n.Line, n.Column, "%s: want a mapping of keys to values, not %s", where, kindOf(n))
		return nil
	}
	if !p.spend(n) {
		return nil
	}
	var out []pair
	var merged []*yaml.Node
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := target(n.Content[i]), target(n.Content[i+1])
		if !p.spend(key) {
			return nil
		}
		if key.Kind != yaml.ScalarNode {
			p.add(key.Line, key.Column, "%s: a key must be a word, not %s", where, kindOf(key))
			continue
		}
		if tag := key.ShortTag(); tag != "!!str" && tag != "!!merge" {
			p.add(key.Line, key.Column, "%s: key %s %s", where, shown(key.Value), quotes(key))
			continue
		}
		if line, ok := first[key.Value]; ok {
			p.add(key.Line, key.Column, "key %s appears twice in %s, first on line %d", shown(key.Value), where, line)
			continue
		}
		first[key.Value] = key.Line
		if key.ShortTag() == "!!merge" {
			merged = append(merged, p.merges(value, where)...)
			continue
		}
		out = append(out, pair{key, value})
	}
	for _, m := range merged {
		if p.merging[m] {
			p.add(n.Line, n.Column, "%s: << merges a mapping into itself", where)
			continue
		}
		p.merging[m] = true
		for _, x := range p.pairs(m, path) {
			if _, ok := first[x.key.Value]; !ok {
				first[x.key.Value] = x.key.Line
				out = append(out, x)
			}
		}
		delete(p.merging, m)
	}
	return out
}

// merges are the mappings that the value of a merge key names.
func (p *parser) merges(n *yaml.Node, where string) []*yaml.Node {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	var out []*yaml.Node
	for _, m := range list {
		if m = target(m); m.Kind != yaml.MappingNode {
			p.add(m.Line, m.Column, "%s: << wants a mapping or a list of mappings, not %s", where, kindOf(m))
			continue
		}
		out = append(out, m)
	}
	return out
}

// spend counts one entry and tells whether reading goes on.
func (p *parser) spend(n *yaml.Node) bool {
	p.spent++
	if p.spent == p.limit {
		p.add(n.Line, n.Column, "the aliases up to here expand to more than %d entries: refused", budget)
	}
	return p.spent < p.limit
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias // an alias cannot name an alias
	}
	return n
}

// kindOf is the node's kind in plain words.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "text"
	}
	return "the YAML tag " + shown(n.Tag)
}

// quotes says that a plain scalar must be quoted, and why.
func quotes(n *yaml.Node) string {
	kind := kindOf(n)
	if strings.HasPrefix(kind, "the YAML tag") {
		return "has " + kind + ", which means nothing here: remove it"
	}
	if kind == "nothing" {
		return "needs quotes: YAML reads it as nothing"
	}
	return fmt.Sprintf("needs quotes: YAML reads it as %s", kind)
}

// value reads the value of one setting.
func (p *parser) value(e entry, prefix, service, environment string, vals values) {
	s, ok := Lookup(prefix + e.field.key)
	if !ok { // the shape and the table are held together by a test
		p.add(e.key.Line, e.key.Column, "unknown key %s", shown(e.key.Value))
		return
	}
	n := e.value
	if !p.spend(n) {
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		p.add(e.key.Line, e.key.Column, "%s has no value: give it one, or remove the key", s.Key)
		return
	}
	l := leaf{file: p.name, line: n.Line, column: n.Column, origin: fmt.Sprintf("%s:%d", p.name, n.Line)}
	if s.Type != List {
		text, ok := p.scalar(s, n)
		if ok && p.good(s, n, text, service, environment) {
			l.items = []string{text}
			vals[s.Key] = l
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.add(n.Line, n.Column, "%s: want a list, such as [%q], not %s", s.Key, s.Example, kindOf(n))
		return
	}
	if len(n.Content) == 0 {
		p.add(n.Line, n.Column, "%s is an empty list: give it an item, or remove the key", s.Key)
		return
	}
	for _, item := range n.Content {
		item = target(item)
		if !p.spend(item) {
			return
		}
		text, ok := p.scalar(s, item)
		if ok && p.good(s, item, text, service, environment) {
			l.items = append(l.items, text)
		}
	}
	vals[s.Key] = l
}

// scalar is the text of a single value, if it is of the setting's type.
func (p *parser) scalar(s Setting, n *yaml.Node) (string, bool) {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && n.Content[1].ShortTag() == "!!null" &&
		slices.Contains([]string{inService, inEnvironment}, "{"+n.Content[0].Value+"}") {
		p.add(n.Line, n.Column, `%s: {%s} needs quotes, otherwise YAML reads it as a mapping: write "{%[2]s}"`, s.Key, n.Content[0].Value)
		return "", false
	}
	want := map[Type]string{Text: "text", List: "text", Bool: "true or false", Duration: "a duration such as 10m"}[s.Type]
	if n.Kind != yaml.ScalarNode {
		p.add(n.Line, n.Column, "%s: want %s, not %s", s.Key, want, kindOf(n))
		return "", false
	}
	tag := n.ShortTag()
	switch {
	case s.Type == Bool && tag == "!!bool":
		return strings.ToLower(n.Value), true
	case s.Type == Bool && tag == "!!str" && slices.Contains([]string{"true", "false"}, n.Value):
		p.add(n.Line, n.Column, "%s: want %s without quotes", s.Key, n.Value)
		return "", false
	case s.Type == Bool:
		p.add(n.Line, n.Column, "%s%s: want true or false", s.Key, s.quote(n.Value))
		return "", false
	case s.Type == Duration && (tag == "!!int" || tag == "!!float"):
		return n.Value, true // good() says that the unit is missing
	case tag == "!!str":
		return n.Value, true
	case s.Key == "registry.account" && (tag == "!!int" || tag == "!!float") && strings.HasPrefix(n.Value, "0"):
		p.add(n.Line, n.Column, "%s %s needs quotes: YAML reads it as a number, and one that starts with 0 as octal, so it is not the account any more; write %s",
			s.Key, raw(n.Value), shown(n.Value))
		return "", false
	case tag == "!!int", tag == "!!float", tag == "!!bool", tag == "!!timestamp":
		if s.hidden() {
			p.add(n.Line, n.Column, "%s %s", s.Key, quotes(n))
		} else {
			p.add(n.Line, n.Column, "%s %s %s; write %s", s.Key, raw(n.Value), quotes(n), shown(n.Value))
		}
		return "", false
	}
	p.add(n.Line, n.Column, "%s: %s means nothing here: want %s", s.Key, kindOf(n), want)
	return "", false
}

// good checks a value with the names put into it that are known here, and sample names for the others.
func (p *parser) good(s Setting, n *yaml.Node, text, service, environment string) bool {
	err := s.checkPattern(text, rollback.Scope{Service: orElse(service, "service"), Environment: orElse(environment, "environment")})
	if err != nil {
		p.add(n.Line, n.Column, "%s%s: %s", s.Key, s.quote(text), err)
	}
	return err == nil
}

// checkPattern checks a text with its placeholders and what it becomes for the scope.
func (s Setting) checkPattern(text string, scope rollback.Scope) error {
	if err := checkPlaceholders(s, text); err != nil {
		return err
	}
	return s.validate(expand(text, scope))
}

// hidden tells whether a wrong value is kept out of messages, because it may be the secret instead of its name.
func (s Setting) hidden() bool {
	return strings.HasSuffix(s.Key, "Env")
}

// raw is a plain value as it was typed, if it is short and on one line.
func raw(s string) string {
	if len(s) > 40 || strings.ContainsFunc(s, control) {
		return shown(s)
	}
	return s
}

// quote is the value as it follows the setting's name in a message.
func (s Setting) quote(text string) string {
	if s.hidden() {
		return ""
	}
	return " " + shown(text)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// exclusive refuses, within one section, keys that cannot stand together.
func (p *parser) exclusive(vals values) {
	for _, g := range groups {
		_, problems := g.choose([]values{vals})
		p.problems = append(p.problems, problems...)
	}
}
