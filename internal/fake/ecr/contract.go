package ecr

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// serviceModel is the part of AWS's own description of the API that covers this fake; see testdata/NOTICE.
//
//go:embed testdata/ecr-2015-09-21.json
var serviceModel []byte

// Reporter is told of breaches of the contract; *testing.T is one.
type Reporter interface {
	Errorf(format string, args ...any)
}

// Strict reports every request and every answer that the service model does not allow. Without it such requests are
// refused, as AWS does, and Violations has them.
func (s *Server) Strict(r Reporter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report = r
}

// Violations are the breaches of the contract so far.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(op, what string, err error) {
	s.mu.Lock()
	text := fmt.Sprintf("ecr contract: %s: %s: %v", op, what, err)
	s.violations = append(s.violations, text)
	r := s.report
	s.mu.Unlock()
	if r != nil {
		r.Errorf("%s", text)
	}
}

// contract is a service model: operations and the shapes they use.
type contract struct {
	Operations map[string]struct {
		Input, Output shapeRef
		Errors        []shapeRef
	}
	Shapes map[string]*shape
}

type shapeRef struct{ Shape string }

type shape struct {
	Type       string
	Required   []string
	Members    map[string]shapeRef
	Member     shapeRef // of a list
	Key, Value shapeRef // of a map
	Enum       []string
	Pattern    string
	Min, Max   *int64

	pattern *regexp.Regexp
}

var model = sync.OnceValue(func() *contract {
	var c contract
	if err := json.Unmarshal(serviceModel, &c); err != nil {
		panic("ecr: the service model in testdata: " + err.Error())
	}
	for _, s := range c.Shapes {
		if s.Pattern != "" {
			s.pattern = regexp.MustCompile("^(?:" + s.Pattern + ")$")
		}
	}
	return &c
})

// commonErrors may come from any AWS service
// (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html).
var commonErrors = []string{
	"AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException", "InternalFailure", "InvalidSignatureException",
	"MissingAuthenticationTokenException", "NotAuthorized", "RequestExpired", "RequestEntityTooLarge", "ServiceUnavailable", "ThrottlingException",
	"TooManyRequestsException", "UnknownOperationException", "UnrecognizedClientException", "ValidationException",
}

// declared tells whether an operation may answer with an error. Operations of other services are not in the model: for them
// anything goes.
func (c *contract) declared(op, code string) error {
	o, ok := c.Operations[op]
	if !ok || slices.Contains(commonErrors, code) {
		return nil
	}
	if !slices.ContainsFunc(o.Errors, func(e shapeRef) bool { return e.Shape == code }) {
		return fmt.Errorf("%s does not declare %s", op, code)
	}
	return nil
}

func (c *contract) request(op string, body []byte) error {
	o, ok := c.Operations[op]
	if !ok {
		return fmt.Errorf("no such operation")
	}
	return c.check(o.Input.Shape, body, false)
}

func (c *contract) answer(op string, body []byte) error {
	return c.check(c.Operations[op].Output.Shape, body, true)
}

// refusal checks an error answer: its code, and the members of its shape.
func (c *contract) refusal(op, code string, body []byte) error {
	if err := c.declared(op, code); err != nil {
		return err
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		return err
	}
	sh := c.Shapes[code]
	for name := range doc {
		if name == "__type" || name == "message" {
			continue
		}
		if sh == nil || sh.Members[name].Shape == "" {
			return fmt.Errorf("%s has no member %s", code, name)
		}
	}
	return nil
}

// check holds a JSON text against a shape. The lengths of lists bind requests only: ECR answers ListImages with anything from
// no to a thousand ids, in the shape that a request may fill with 1 to 100.
func (c *contract) check(shape string, body []byte, answer bool) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return c.value(shape, shape, v, answer)
}

// value checks v against a shape; at says where it is.
func (c *contract) value(at, name string, v any, answer bool) error {
	s, ok := c.Shapes[name]
	if !ok {
		return fmt.Errorf("%s: unknown shape %s", at, name)
	}
	wrong := func() error { return fmt.Errorf("%s: want %s, got %T", at, s.Type, v) }
	switch s.Type {
	case "structure":
		m, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		for _, r := range s.Required {
			if m[r] == nil {
				return fmt.Errorf("%s: member %s is required", at, r)
			}
		}
		for k, member := range m {
			ref, ok := s.Members[k]
			if !ok {
				return fmt.Errorf("%s: no such member: %s", at, k)
			}
			if member == nil {
				continue
			}
			if err := c.value(at+"."+k, ref.Shape, member, answer); err != nil {
				return err
			}
		}
	case "list":
		l, ok := v.([]any)
		if !ok {
			return wrong()
		}
		if err := s.within(at, int64(len(l))); err != nil && !answer {
			return err
		}
		for i, e := range l {
			if err := c.value(fmt.Sprintf("%s[%d]", at, i), s.Member.Shape, e, answer); err != nil {
				return err
			}
		}
	case "map":
		m, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		for k, e := range m {
			if err := c.value(at+" key", s.Key.Shape, k, answer); err != nil {
				return err
			}
			if err := c.value(at+"."+k, s.Value.Shape, e, answer); err != nil {
				return err
			}
		}
	case "string":
		t, ok := v.(string)
		if !ok {
			return wrong()
		}
		if s.Enum != nil && !slices.Contains(s.Enum, t) {
			return fmt.Errorf("%s: %q is not one of %s", at, t, strings.Join(s.Enum, ", "))
		}
		if s.pattern != nil && !s.pattern.MatchString(t) {
			return fmt.Errorf("%s: %q does not match %s", at, t, s.Pattern)
		}
		return s.within(at, int64(utf8.RuneCountInString(t)))
	case "integer", "long":
		n, ok := v.(json.Number)
		if !ok {
			return wrong()
		}
		i, err := n.Int64()
		if err != nil {
			return fmt.Errorf("%s: want an integer, got %s", at, n)
		}
		return s.within(at, i)
	case "timestamp": // JSON 1.1: seconds since 1970, with a fraction
		if _, ok := v.(json.Number); !ok {
			return wrong()
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong()
		}
	default:
		return fmt.Errorf("%s: type %s is not known to this check", at, s.Type)
	}
	return nil
}

func (s *shape) within(at string, n int64) error {
	if s.Min != nil && n < *s.Min || s.Max != nil && n > *s.Max {
		lo, hi := "-∞", "∞"
		if s.Min != nil {
			lo = fmt.Sprint(*s.Min)
		}
		if s.Max != nil {
			hi = fmt.Sprint(*s.Max)
		}
		return fmt.Errorf("%s: %d is not within %s and %s", at, n, lo, hi)
	}
	return nil
}
