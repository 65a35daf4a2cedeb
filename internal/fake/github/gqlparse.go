package github

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file reads GraphQL's query language. https://spec.graphql.org/October2021/

// place is where something stands in the text, counted from 1.
type place struct{ line, column int }

type gqlDocument struct {
	operations []*gqlOperation
	fragments  map[string]*gqlFragment
}

type gqlOperation struct {
	kind, name string // query, mutation
	variables  []gqlVariable
	selections []gqlSelection
	at         place
}

type gqlVariable struct {
	name, kind string // kind: "[ID!]!"
	fallback   any    // nil: none
	at         place
}

type gqlFragment struct {
	name, on   string
	selections []gqlSelection
	at         place
}

// gqlSelection is a field, or with spread a named fragment, or with neither an inline fragment.
type gqlSelection struct {
	alias, field string
	args         []gqlArgument
	spread       string
	on           string // of an inline fragment; "" for the type it stands in
	directives   []gqlDirective
	selections   []gqlSelection
	at           place
}

func (s gqlSelection) key() string {
	if s.alias != "" {
		return s.alias
	}
	return s.field
}

type gqlArgument struct {
	name  string
	value any
	at    place
}

type gqlDirective struct {
	name string
	args []gqlArgument
}

// Values are string, int64, float64, bool, nil, []any, obj and these.
type (
	gqlVar  string
	gqlEnum string
)

type gqlSyntax struct {
	message string
	at      place
}

func (e *gqlSyntax) Error() string { return e.message }

type gqlToken struct {
	kind string // "", "name", "int", "float", "string", or the punctuation itself
	text string
	at   place
}

type gqlParser struct {
	text  string
	pos   int
	at    place
	token gqlToken
	depth int
}

// gqlParse reads a document. Its only errors are *gqlSyntax.
func gqlParse(text string) (doc *gqlDocument, err error) {
	p := &gqlParser{text: text, at: place{1, 1}}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *gqlSyntax:
			doc, err = nil, e
		default:
			panic(e)
		}
	}()
	p.next()
	doc = &gqlDocument{fragments: map[string]*gqlFragment{}}
	for p.token.kind != "" {
		p.definition(doc)
	}
	if len(doc.operations) == 0 {
		p.fail("Unexpected end of document")
	}
	return doc, nil
}

func (p *gqlParser) fail(format string, args ...any) {
	panic(&gqlSyntax{fmt.Sprintf(format, args...), p.token.at})
}

func (p *gqlParser) unexpected() {
	if p.token.kind == "" {
		p.fail("Unexpected end of document")
	}
	p.fail("Parse error on %q (%s) at [%d, %d]", p.token.text, strings.ToUpper(p.token.kind), p.token.at.line, p.token.at.column)
}

// skip moves over n bytes.
func (p *gqlParser) skip(n int) {
	for _, r := range p.text[p.pos : p.pos+n] {
		p.at.column++
		if r == '\n' {
			p.at.line++
			p.at.column = 1
		}
	}
	p.pos += n
}

func nameStart(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func digit(c byte) bool     { return c >= '0' && c <= '9' }

// next reads a token.
func (p *gqlParser) next() {
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if c == '#' {
			n := strings.IndexByte(p.text[p.pos:], '\n')
			if n < 0 {
				n = len(p.text) - p.pos
			}
			p.skip(n)
			continue
		}
		if strings.HasPrefix(p.text[p.pos:], "\ufeff") {
			p.skip(len("\ufeff"))
			continue
		}
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != ',' {
			break
		}
		p.skip(1)
	}
	p.token = gqlToken{at: p.at}
	if p.pos >= len(p.text) {
		return
	}
	rest := p.text[p.pos:]
	c := rest[0]
	n := 1
	switch {
	case nameStart(c):
		for n < len(rest) && (nameStart(rest[n]) || digit(rest[n])) {
			n++
		}
		p.token.kind = "name"
	case digit(c) || c == '-':
		p.token.kind = "int"
		for n < len(rest) && (digit(rest[n]) || strings.IndexByte(".eE+-", rest[n]) >= 0) {
			if !digit(rest[n]) {
				p.token.kind = "float"
			}
			n++
		}
	case strings.HasPrefix(rest, `"""`):
		end := strings.Index(rest[3:], `"""`)
		for end > 0 && rest[3+end-1] == '\\' {
			more := strings.Index(rest[3+end+3:], `"""`)
			if more < 0 {
				end = -1
				break
			}
			end += 3 + more
		}
		if end < 0 {
			p.fail("Unterminated string")
		}
		p.token.kind, p.token.text = "string", blockString(strings.ReplaceAll(rest[3:3+end], `\"""`, `"""`))
		p.skip(end + 6)
		return
	case c == '"':
		p.quoted(rest)
		return
	case strings.HasPrefix(rest, "..."):
		p.token.kind, n = "...", 3
	case strings.IndexByte("!$&()[]{}:=@|", c) >= 0:
		p.token.kind = string(c)
	default:
		_, n = utf8.DecodeRuneInString(rest)
		p.token.kind, p.token.text = "unknown", rest[:n]
		p.unexpected()
	}
	p.token.text = rest[:n]
	p.skip(n)
}

func (p *gqlParser) quoted(rest string) {
	var b strings.Builder
	i := 1
	for {
		if i >= len(rest) || rest[i] == '\n' {
			p.fail("Unterminated string")
		}
		c := rest[i]
		i++
		if c == '"' {
			break
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i >= len(rest) {
			p.fail("Unterminated string")
		}
		c = rest[i]
		i++
		switch c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			if i+4 > len(rest) {
				p.fail("Bad unicode escape")
			}
			n, err := strconv.ParseUint(rest[i:i+4], 16, 16)
			if err != nil {
				p.fail("Bad unicode escape")
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			p.fail("Bad escape \\%c", c)
		}
	}
	p.token.kind, p.token.text = "string", b.String()
	p.skip(i)
}

// blockString takes the common indentation and the blank ends off.
func blockString(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	indent := -1
	for _, l := range lines[1:] {
		if n := len(l) - len(strings.TrimLeft(l, " \t")); n < len(l) && (indent < 0 || n < indent) {
			indent = n
		}
	}
	for i := range lines[1:] {
		lines[i+1] = lines[i+1][min(max(indent, 0), len(lines[i+1])):]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

func (p *gqlParser) take(kind string) string {
	if p.token.kind != kind {
		p.unexpected()
	}
	text := p.token.text
	p.next()
	return text
}

func (p *gqlParser) maybe(kind string) bool {
	if p.token.kind != kind {
		return false
	}
	p.next()
	return true
}

func (p *gqlParser) definition(doc *gqlDocument) {
	at := p.token.at
	if p.token.kind == "{" {
		doc.operations = append(doc.operations, &gqlOperation{kind: "query", selections: p.selectionSet(), at: at})
		return
	}
	switch word := p.token.text; {
	case p.token.kind == "name" && (word == "query" || word == "mutation" || word == "subscription"):
		p.next()
		o := &gqlOperation{kind: word, at: at}
		if p.token.kind == "name" {
			o.name = p.take("name")
		}
		if p.maybe("(") {
			for !p.maybe(")") {
				v := gqlVariable{at: p.token.at}
				p.take("$")
				v.name = p.take("name")
				p.take(":")
				v.kind = p.typeName()
				if p.maybe("=") {
					v.fallback = p.value(true)
				}
				o.variables = append(o.variables, v)
			}
		}
		p.directives()
		o.selections = p.selectionSet()
		doc.operations = append(doc.operations, o)
	case p.token.kind == "name" && word == "fragment":
		p.next()
		f := &gqlFragment{name: p.take("name"), at: at}
		if p.take("name") != "on" {
			p.unexpected()
		}
		f.on = p.take("name")
		p.directives()
		f.selections = p.selectionSet()
		doc.fragments[f.name] = f
	default:
		p.unexpected()
	}
}

func (p *gqlParser) typeName() string {
	var t string
	p.enter()
	if p.maybe("[") {
		t = "[" + p.typeName()
		p.take("]")
		t += "]"
	} else {
		t = p.take("name")
	}
	p.depth--
	if p.maybe("!") {
		t += "!"
	}
	return t
}

// enter guards against documents that are nothing but depth.
func (p *gqlParser) enter() {
	if p.depth++; p.depth > 100 {
		p.fail("Query is nested too deep")
	}
}

func (p *gqlParser) selectionSet() []gqlSelection {
	p.enter()
	defer func() { p.depth-- }()
	p.take("{")
	var out []gqlSelection
	for !p.maybe("}") {
		out = append(out, p.selection())
	}
	if len(out) == 0 {
		p.fail("Parse error: an empty selection")
	}
	return out
}

func (p *gqlParser) selection() gqlSelection {
	s := gqlSelection{at: p.token.at}
	if p.maybe("...") {
		if p.token.kind == "name" && p.token.text != "on" {
			s.spread = p.take("name")
			s.directives = p.directives()
			return s
		}
		if p.token.kind == "name" {
			p.next()
			s.on = p.take("name")
		}
		s.directives = p.directives()
		s.selections = p.selectionSet()
		return s
	}
	s.field = p.take("name")
	if p.maybe(":") {
		s.alias, s.field = s.field, p.take("name")
	}
	s.args = p.arguments()
	s.directives = p.directives()
	if p.token.kind == "{" {
		s.selections = p.selectionSet()
	}
	return s
}

func (p *gqlParser) arguments() []gqlArgument {
	if !p.maybe("(") {
		return nil
	}
	var out []gqlArgument
	for !p.maybe(")") {
		a := gqlArgument{at: p.token.at, name: p.take("name")}
		p.take(":")
		a.value = p.value(false)
		out = append(out, a)
	}
	return out
}

func (p *gqlParser) directives() []gqlDirective {
	var out []gqlDirective
	for p.maybe("@") {
		out = append(out, gqlDirective{p.take("name"), p.arguments()})
	}
	return out
}

func (p *gqlParser) value(constant bool) any {
	p.enter()
	defer func() { p.depth-- }()
	text := p.token.text
	switch p.token.kind {
	case "$":
		if constant {
			p.unexpected()
		}
		p.next()
		return gqlVar(p.take("name"))
	case "int":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			p.unexpected()
		}
		p.next()
		return n
	case "float":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			p.unexpected()
		}
		p.next()
		return f
	case "string":
		p.next()
		return text
	case "name":
		p.next()
		switch text {
		case "true", "false":
			return text == "true"
		case "null":
			return nil
		}
		return gqlEnum(text)
	case "[":
		p.next()
		list := []any{}
		for !p.maybe("]") {
			list = append(list, p.value(constant))
		}
		return list
	case "{":
		p.next()
		o := obj{}
		for !p.maybe("}") {
			name := p.take("name")
			p.take(":")
			o[name] = p.value(constant)
		}
		return o
	}
	p.unexpected()
	return nil
}
