package github

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// openapiSlice is the part of GitHub's own description of its REST API that covers this fake; see testdata/NOTICE.
//
//go:embed testdata/openapi.json
var openapiSlice []byte

// Reporter is told of breaches of the contract; *testing.T is one.
type Reporter interface {
	Errorf(format string, args ...any)
}

// Strict reports every request and every answer that GitHub's API description does not allow. Without it such requests are
// refused as GitHub does, and Violations has them.
func (s *Server) Strict(r Reporter) {
	s.talk.Lock()
	defer s.talk.Unlock()
	s.report = r
}

// Violations are the breaches of the contract so far.
func (s *Server) Violations() []string {
	s.talk.Lock()
	defer s.talk.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(op, what string, err error) {
	s.talk.Lock()
	text := fmt.Sprintf("github contract: %s: %s: %v", op, what, err)
	s.violations = append(s.violations, text)
	r := s.report
	s.talk.Unlock()
	if r != nil {
		r.Errorf("%s", text)
	}
}

// schema is as much of OpenAPI 3.0's schema object as GitHub uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Format               string
	Nullable             bool
	Enum                 []any
	Properties           map[string]*schema
	Required             []string
	Items                *schema
	OneOf, AnyOf, AllOf  []*schema
	AdditionalProperties json.RawMessage
	Minimum, Maximum     *float64
	MinLength, MaxLength *int
}

type content map[string]struct{ Schema *schema }

type apiResponse struct {
	Ref     string `json:"$ref"`
	Content content
}

type parameter struct {
	Ref      string `json:"$ref"`
	Name, In string
	Required bool
	Schema   *schema
}

// operation is one method of one path.
type operation struct {
	ID          string `json:"operationId"`
	Parameters  []parameter
	RequestBody struct {
		Required bool
		Content  content
	}
	Responses map[string]apiResponse

	method   string
	template string
	pattern  *regexp.Regexp
	names    []string // of the path parameters, in order
	literals int
}

type contract struct {
	Paths      map[string]map[string]*operation
	Components struct {
		Schemas    map[string]*schema
		Parameters map[string]parameter
		Responses  map[string]apiResponse
	}

	operations []*operation // the more literal ones first
}

// severalSegments are the path parameters that may hold slashes.
var severalSegments = []string{"ref", "path", "basehead", "branch"}

var api = sync.OnceValue(func() *contract {
	var c contract
	if err := json.Unmarshal(openapiSlice, &c); err != nil {
		panic("github: testdata/openapi.json: " + err.Error())
	}
	placeholder := regexp.MustCompile(`\{([a-z_]+)\}`)
	for template, methods := range c.Paths {
		for method, op := range methods {
			op.method, op.template = strings.ToUpper(method), template
			expr := "^"
			at := 0
			for _, m := range placeholder.FindAllStringSubmatchIndex(template, -1) {
				name := template[m[2]:m[3]]
				expr += regexp.QuoteMeta(template[at:m[0]])
				switch {
				case name == "path":
					expr = strings.TrimSuffix(expr, "/") + "/?(.*)"
				case slices.Contains(severalSegments, name):
					expr += "(.+)"
				default:
					expr += "([^/]+)"
				}
				op.names = append(op.names, name)
				at = m[1]
			}
			op.pattern = regexp.MustCompile(expr + regexp.QuoteMeta(template[at:]) + "/?$")
			op.literals = strings.Count(template, "/") - len(op.names)
			for i, p := range op.Parameters {
				if p.Ref != "" {
					op.Parameters[i] = c.Components.Parameters[last(p.Ref)]
				}
			}
			c.operations = append(c.operations, op)
		}
	}
	slices.SortFunc(c.operations, func(a, b *operation) int {
		if a.literals != b.literals {
			return b.literals - a.literals
		}
		return strings.Compare(a.template+a.method, b.template+b.method)
	})
	return &c
})

func last(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// find looks an operation up. With a path that exists for other methods only, known is true and the operation nil.
func (c *contract) find(method, path string) (op *operation, params map[string]string, known bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, o := range c.operations {
		m := o.pattern.FindStringSubmatch(path)
		if m == nil {
			continue
		}
		known = true
		if o.method != method {
			continue
		}
		params = map[string]string{}
		for i, name := range o.names {
			params[name] = m[i+1]
		}
		return o, params, true
	}
	return nil, nil, known
}

// query checks the parameters in the query string, both ways: none that GitHub does not know.
func (c *contract) query(o *operation, q map[string][]string) error {
	for name, values := range q {
		i := slices.IndexFunc(o.Parameters, func(p parameter) bool { return p.In == "query" && p.Name == name })
		if i < 0 {
			return fmt.Errorf("no such query parameter: %s", name)
		}
		var v any = values[len(values)-1]
		switch o.Parameters[i].Schema.Type {
		case "integer":
			v = json.Number(values[len(values)-1])
		case "boolean":
			b, err := strconv.ParseBool(values[len(values)-1])
			if err != nil {
				return fmt.Errorf("query parameter %s: %w", name, err)
			}
			v = b
		}
		if err := c.value(name, o.Parameters[i].Schema, v, false); err != nil {
			return fmt.Errorf("query parameter %w", err)
		}
	}
	return nil
}

// request checks a body. Missing and malformed members are in invalid, which GitHub answers with 422; what GitHub would let
// pass without a word, such as a member it does not know, is in unknown.
func (c *contract) request(o *operation, body []byte) (invalid, unknown error) {
	want, ok := o.RequestBody.Content["application/json"]
	if !ok {
		return nil, nil
	}
	if len(bytes.TrimSpace(body)) == 0 && !o.RequestBody.Required {
		return nil, nil
	}
	v, err := decode(body)
	if err != nil {
		return err, nil
	}
	// "You can also pass an array of labels directly", says the description in words alone.
	if list, ok := v.([]any); ok && o.ID == "issues/add-labels" {
		v = obj{"labels": list}
	}
	if err := c.value("body", want.Schema, v, false); err != nil {
		return err, nil
	}
	return nil, c.value("body", want.Schema, v, true)
}

// everywhere are the statuses that any operation may answer.
var everywhere = []int{301, 307, 400, 401, 403, 404, 422, 429, 500, 502, 503}

// answer checks what was sent.
func (c *contract) answer(o *operation, status int, body []byte) error {
	r, ok := o.Responses[strconv.Itoa(status)]
	if !ok {
		if !slices.Contains(everywhere, status) {
			return fmt.Errorf("GitHub never answers %d here", status)
		}
		r = c.Components.Responses["not_found"]
	}
	if r.Ref != "" {
		r = c.Components.Responses[last(r.Ref)]
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		if len(body) > 0 {
			return fmt.Errorf("%d with a body", status)
		}
		return nil
	}
	v, err := decode(body)
	if err != nil {
		return err
	}
	want, ok := r.Content["application/json"]
	if !ok || want.Schema == nil {
		return nil
	}
	// Errors carry more than the description says, such as "status".
	return c.value("answer", want.Schema, v, status < http.StatusBadRequest)
}

func decode(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// resolve follows a reference.
func (c *contract) resolve(s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = c.Components.Schemas[last(s.Ref)]
	}
	return s
}

// value checks v against a schema; at says where it is. With closed, members that the schema does not name are errors.
func (c *contract) value(at string, s *schema, v any, closed bool) error {
	s = c.resolve(s)
	if s == nil {
		return fmt.Errorf("%s: the slice lacks its schema", at)
	}
	if v == nil {
		if s.Nullable || s.Type == "" && len(s.OneOf)+len(s.AnyOf)+len(s.AllOf) == 0 {
			return nil
		}
		for _, one := range slices.Concat(s.OneOf, s.AnyOf) {
			if c.value(at, one, nil, closed) == nil {
				return nil
			}
		}
		return fmt.Errorf("%s: null is not allowed", at)
	}
	if alternatives := slices.Concat(s.OneOf, s.AnyOf); len(alternatives) > 0 {
		var errs []error
		for _, one := range alternatives {
			err := c.value(at, one, v, closed && len(s.Properties) == 0)
			if err == nil {
				errs = nil
				break
			}
			errs = append(errs, err)
		}
		if errs != nil {
			return fmt.Errorf("%s: none of %d alternatives: %w", at, len(alternatives), errors.Join(errs...))
		}
		if s.Type == "" {
			return nil
		}
	}
	if len(s.AllOf) > 0 {
		known := map[string]bool{}
		for _, part := range s.AllOf {
			if err := c.value(at, part, v, false); err != nil {
				return err
			}
			for name := range c.resolve(part).Properties {
				known[name] = true
			}
		}
		if m, ok := v.(map[string]any); ok && closed {
			for name := range m {
				if !known[name] {
					return fmt.Errorf("%s: no such member: %s", at, name)
				}
			}
		}
		return nil
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		return fmt.Errorf("%s: %v is not one of %v", at, v, s.Enum)
	}
	wrong := func() error { return fmt.Errorf("%s: want %s, got %T", at, s.Type, v) }
	switch s.Type {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		for _, r := range s.Required {
			if _, ok := m[r]; !ok {
				return fmt.Errorf("%s: %q wasn't supplied", at, r)
			}
		}
		for name, member := range m {
			p, ok := s.Properties[name]
			if !ok {
				more := string(s.AdditionalProperties)
				switch {
				case more == "false":
					return fmt.Errorf("%s: %q is not a permitted key", at, name)
				case more == "" && closed && len(s.Properties) > 0:
					return fmt.Errorf("%s: no such member: %s", at, name)
				}
				continue
			}
			if err := c.value(at+"."+name, p, member, closed); err != nil {
				return err
			}
		}
	case "array":
		l, ok := v.([]any)
		if !ok {
			return wrong()
		}
		for i, e := range l {
			if err := c.value(fmt.Sprintf("%s[%d]", at, i), s.Items, e, closed); err != nil {
				return err
			}
		}
	case "string":
		t, ok := v.(string)
		if !ok {
			return wrong()
		}
		if s.Format == "date-time" {
			if _, err := time.Parse(time.RFC3339, t); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
		}
		n := utf8.RuneCountInString(t)
		if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			return fmt.Errorf("%s: %d characters", at, n)
		}
	case "integer", "number":
		n, ok := v.(json.Number)
		if !ok {
			return wrong()
		}
		f, err := n.Float64()
		if err != nil {
			return fmt.Errorf("%s: want a number, got %s", at, n)
		}
		if s.Type == "integer" && strings.ContainsAny(n.String(), ".eE") {
			return fmt.Errorf("%s: want an integer, got %s", at, n)
		}
		if s.Minimum != nil && f < *s.Minimum || s.Maximum != nil && f > *s.Maximum {
			return fmt.Errorf("%s: %s is out of range", at, n)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong()
		}
	}
	return nil
}
