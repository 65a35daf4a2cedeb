package jenkins

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The input step: a build that waits for a person. Its pages below /input are pipeline-input-step's, the list of what is
// pending is pipeline-rest-api's, which not every controller has (see wfapi.go).

// Input is what a build asks with the input step.
type Input struct {
	ID      string // as written; Jenkins upper-cases its first letter. "": Jenkins makes one
	Message string
	OK      string // the text of its button: Proceed
	// Submitters are the users who may answer; none means everybody who may build.
	Submitters []string
	// SubmitterParameter is the name under which the step returns who answered.
	SubmitterParameter string
	Parameters         []Parameter
}

// Answer is what the input step returns. Values is nil when it returns null.
type Answer struct {
	Values map[string]any
	By     string
}

// question is an input that is pending.
type question struct {
	Input
	answer chan Answer // closed without one when it was aborted
}

// InputID is the id under which Jenkins knows an input: the digest of its message without an id, and always with a capital.
func InputID(i Input) string {
	id := i.ID
	if id == "" {
		sum := md5.Sum([]byte(i.Message))
		id = hex.EncodeToString(sum[:])
	}
	return strings.ToUpper(id[:1]) + id[1:]
}

// Ask pauses the build at an input until somebody answers. It is false when the input or the build was aborted.
func (b *Build) Ask(ctx context.Context, i Input) (Answer, bool) {
	if i.OK == "" {
		i.OK = "Proceed"
	}
	i.ID = InputID(i)
	q := &question{Input: i, answer: make(chan Answer, 1)}
	b.s.mu.Lock()
	b.questions = append(b.questions, q)
	b.print(note(b.job.Freestyle, "INPUT") + "[Pipeline] input\n")
	if len(i.Parameters) > 0 {
		b.print(note(false, "LINK") + "Input requested\n")
	} else {
		b.print(i.Message + "\n" + note(false, "PROCEED") + i.OK + " or " + note(false, "ABORT") + "Abort\n")
	}
	b.s.mu.Unlock()
	select {
	case a, ok := <-q.answer:
		return a, ok
	case <-ctx.Done():
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		b.settle(q)
		return Answer{}, false
	}
}

// Pending are the ids of the inputs that a build waits for.
func (b *Build) Pending() []string {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	var ids []string
	for _, q := range b.questions {
		ids = append(ids, q.ID)
	}
	return ids
}

// settle takes an input off the list. The caller holds mu.
func (b *Build) settle(q *question) {
	b.questions = slices.DeleteFunc(b.questions, func(other *question) bool { return other == q })
	b.s.change()
}

// pending is the input with an id, nil without one. The caller holds mu.
func (b *Build) pending(id string) *question {
	if i := slices.IndexFunc(b.questions, func(q *question) bool { return q.ID == id }); i >= 0 {
		return b.questions[i]
	}
	return nil
}

// maySubmit tells whether a user may answer. The caller holds mu.
func (s *Server) maySubmit(q *question, user string) bool {
	if len(q.Submitters) > 0 {
		return slices.Contains(q.Submitters, user)
	}
	return !s.denied["Job/Build"]
}

// serveInput is what is below a build's /input. The caller holds mu.
func (s *Server) serveInput(w http.ResponseWriter, r *http.Request, user string, b *Build, rest []string) {
	if len(rest) == 0 {
		page(w, http.StatusOK, "Paused for Input", strings.Join(ids(b.questions), " "))
		return
	}
	q := b.pending(rest[0]) // as it is: no capital is put in
	if q == nil {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	if len(rest) == 1 {
		page(w, http.StatusOK, q.Message, "")
		return
	}
	act := strings.Join(rest[1:], "/")
	if !slices.Contains([]string{"submit", "proceed", "proceedEmpty", "abort"}, act) {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	if !post(w, r) {
		return
	}
	form, err := readForm(r)
	if err != nil {
		page(w, http.StatusBadRequest, "Error 400", err.Error())
		return
	}
	console := s.root(r) + b.path() + "/console"
	switch {
	case act == "abort" || act == "submit" && !form.Has("proceed"):
		if act == "submit" {
			s.note(r, "submit without proceed aborts the input")
		}
		if s.denied["Job/Cancel"] && !s.maySubmit(q, user) {
			page(w, http.StatusBadRequest, "Error", "You need to be '"+strings.Join(q.Submitters, ",")+"' (or have Job CANCEL permissions) to cancel this.")
			return
		}
		b.print("Rejected by " + user + "\n")
		b.result = "ABORTED"
		b.settle(q)
		close(q.answer)
	case !s.maySubmit(q, user):
		page(w, http.StatusBadRequest, "Error", "You need to be "+strings.Join(q.Submitters, ",")+" to submit this")
		return
	case act == "proceedEmpty":
		if len(q.Parameters) > 0 {
			s.note(r, "proceedEmpty on an input with parameters: the step returns null")
		}
		b.proceed(q, user, nil)
	default:
		values, status, problem := s.submitted(r, q, form)
		if problem != "" {
			page(w, status, "Error", problem)
			return
		}
		b.proceed(q, user, values)
	}
	if act == "submit" {
		redirect(w, http.StatusFound, console)
		return
	}
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(http.StatusOK)
}

// proceed answers an input. The caller holds mu.
func (b *Build) proceed(q *question, user string, values map[string]any) {
	if q.SubmitterParameter != "" {
		if values == nil {
			values = map[string]any{}
		}
		values[q.SubmitterParameter] = user
	}
	b.print("Approved by " + note(b.job.Freestyle, "USER") + user + "\n")
	b.settle(q)
	q.answer <- Answer{Values: values, By: user}
}

// submitted reads the values of a form. What the form does not name the step does not return, default or not. The caller
// holds mu.
func (s *Server) submitted(r *http.Request, q *question, form url.Values) (values map[string]any, status int, problem string) {
	var sent struct {
		Parameter json.RawMessage `json:"parameter"`
	}
	if !form.Has("json") {
		return nil, http.StatusBadRequest, "This page expects a form submission but had only [proceed]"
	}
	if err := json.Unmarshal([]byte(form.Get("json")), &sent); err != nil {
		return nil, http.StatusBadRequest, "Failed to parse JSON: " + err.Error()
	}
	type one struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	}
	var list []one
	if text := strings.TrimSpace(string(sent.Parameter)); strings.HasPrefix(text, "{") { // a single one may stand alone
		list = make([]one, 1)
		if err := json.Unmarshal(sent.Parameter, &list[0]); err != nil {
			return nil, http.StatusInternalServerError, err.Error()
		}
	} else if text != "" && text != "null" {
		if err := json.Unmarshal(sent.Parameter, &list); err != nil {
			return nil, http.StatusInternalServerError, err.Error()
		}
	}
	for _, v := range list {
		i := slices.IndexFunc(q.Parameters, func(p Parameter) bool { return p.Name == v.Name })
		if i < 0 {
			return nil, http.StatusInternalServerError, "java.lang.IllegalArgumentException: No such parameter definition: " + v.Name
		}
		switch p := q.Parameters[i]; p.Kind {
		case "Choice":
			text, _ := v.Value.(string)
			if !slices.Contains(p.Choices, text) {
				return nil, http.StatusInternalServerError, fmt.Sprintf("java.lang.IllegalArgumentException: Illegal choice for parameter %s: %v", p.Name, v.Value)
			}
		case "Boolean":
			if text, ok := v.Value.(string); ok {
				v.Value = strings.EqualFold(text, "true")
			}
		}
		if values == nil {
			values = map[string]any{}
		}
		values[v.Name] = v.Value
	}
	for _, p := range q.Parameters {
		if _, has := values[p.Name]; !has {
			s.note(r, "no value for %s: the step returns none, not its default", p.Name)
		}
	}
	return values, 0, ""
}

// readForm reads a posted form.
func readForm(r *http.Request) (url.Values, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return url.Values{}, err
	}
	return url.ParseQuery(string(b))
}

// note adds a violation. The caller holds mu.
func (s *Server) note(r *http.Request, format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf("%s %s: ", r.Method, r.URL.RequestURI())+fmt.Sprintf(format, args...))
}

func ids(list []*question) []string {
	var all []string
	for _, q := range list {
		all = append(all, html.EscapeString(q.ID))
	}
	return all
}
