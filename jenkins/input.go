package jenkins

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Inputs: a build that waits for a person at the input step. The list comes from the plugin pipeline-rest-api (wfapi), which
// not every controller has; answers go to the step's own pages, which every controller has that knows the step
// (https://github.com/jenkinsci/pipeline-input-step-plugin).

// Input is what a paused build asks.
type Input struct {
	ID      string `json:"id"` // with a capital, as Jenkins makes it
	Message string `json:"message,omitempty"`
	Proceed string `json:"proceed,omitempty"` // the text of its button
	// Parameters are what must be answered; none means that it is only to be approved.
	Parameters []rollback.Parameter `json:"parameters,omitempty"`
	URL        string               `json:"url,omitempty"` // for people
	// Unlisted is set when Jenkins cannot list its inputs and this one was found by its id: what it asks is not known.
	Unlisted bool `json:"unlisted,omitempty"`
}

// reader is an answer that is checked while it is read, so that one that does not come from Jenkins is asked for again.
type reader interface {
	read(media string, body []byte) error
	limit() int64 // of the body, in bytes
}

// inputList is the answer of pendingInputActions: a list, and without _class.
type inputList []inputAnswer

type inputAnswer struct {
	ID          string `json:"id"`
	ProceedText string `json:"proceedText"`
	Message     string `json:"message"`
	Inputs      []struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Definition struct {
			Default any   `json:"defaultVal"`
			Choices []any `json:"choices"`
		} `json:"definition"`
	} `json:"inputs"`
}

func (*inputList) limit() int64 { return 4 << 20 }

func (l *inputList) read(media string, body []byte) error {
	if media != "application/json" {
		return &foreign{fmt.Sprintf("an answer of type %q in place of JSON", media)}
	}
	*l = nil
	if err := json.Unmarshal(body, l); err != nil || *l == nil {
		return &foreign{"an answer that is no list of inputs"}
	}
	for _, a := range *l {
		if !inputID(a.ID) {
			return &foreign{"an input without an id, which Jenkins does not send"}
		}
	}
	return nil
}

func inputID(id string) bool {
	return id != "" && id != "." && id != ".." && len(id) <= 200 && oneLine(id) == id && !strings.Contains(id, "/")
}

func (a inputAnswer) input(b rollback.Build) Input {
	in := Input{ID: a.ID, Message: a.Message, Proceed: oneLine(a.ProceedText), URL: inputURL(b)}
	for _, d := range a.Inputs {
		p := rollback.Parameter{Name: d.Name, Type: d.Type, Kind: kinds[d.Type]}
		if p.Kind == "" {
			p.Kind = rollback.OtherParameter
		}
		for _, c := range d.Definition.Choices {
			p.Choices = append(p.Choices, text(c))
		}
		if d.Definition.Default != nil {
			s := text(d.Definition.Default)
			p.Default = &s
		}
		in.Parameters = append(in.Parameters, p)
	}
	return in
}

// inputURL is the page where people answer.
func inputURL(b rollback.Build) string {
	if b.URL == "" {
		return ""
	}
	return strings.TrimSuffix(b.URL, "/") + "/input/"
}

// buildPath is the place of a build below the root URL.
func buildPath(b rollback.Build) (string, error) {
	path, err := jobPath(b.Job)
	if err == nil && b.Number <= 0 {
		err = &rollback.CallError{System: system, Op: "find " + b.String(), Kind: rollback.Rejected, Err: errors.New("it has no number yet: it is still in the queue")}
	}
	return path + "/" + strconv.Itoa(b.Number), err
}

// Inputs are the inputs that a build waits for, oldest first. On a controller without wfapi only those of the known ids are
// found, and what they ask is not known.
func (c *Controller) Inputs(ctx context.Context, b rollback.Build, known ...string) ([]Input, error) {
	list, err := c.listed(ctx, b)
	if statusOf(err) == http.StatusNotFound {
		return c.probed(ctx, b, known)
	}
	return list, err
}

func (c *Controller) listed(ctx context.Context, b rollback.Build) ([]Input, error) {
	path, err := buildPath(b)
	if err != nil {
		return nil, err
	}
	var answer inputList
	if _, err := c.jenkins.Requester.Get(ctx, path+"/wfapi/pendingInputActions", &answer, nil); err != nil {
		return nil, err
	}
	list := make([]Input, 0, len(answer))
	for _, a := range answer {
		list = append(list, a.input(b))
	}
	return list, nil
}

// nothing is an answer that never comes: the call is there for its status.
type nothing struct{}

func (nothing) limit() int64 { return 1 << 20 }
func (nothing) read(string, []byte) error {
	return &foreign{"an answer to a GET that Jenkins refuses"}
}

// probed looks for inputs by their ids. A GET on what takes only POST is refused (405) where there is such an input, and
// finds nothing (404) where there is none; it changes nothing either way.
func (c *Controller) probed(ctx context.Context, b rollback.Build, known []string) ([]Input, error) {
	path, err := buildPath(b)
	if err != nil {
		return nil, err
	}
	list := []Input{}
	for _, id := range known {
		_, err := c.jenkins.Requester.Get(ctx, path+"/input/"+url.PathEscape(id)+"/proceed", nothing{}, nil)
		switch statusOf(err) {
		case http.StatusMethodNotAllowed:
			list = append(list, Input{ID: id, URL: inputURL(b), Unlisted: true})
		case http.StatusNotFound:
		default:
			return nil, err
		}
	}
	return list, nil
}

// Answer answers an input. Every parameter is sent: what values leaves out has its default, because Jenkins would put in
// none. already tells that somebody else was first.
func (c *Controller) Answer(ctx context.Context, b rollback.Build, in Input, values map[string]string) (already bool, err error) {
	refuse := func(text string) (bool, error) {
		return false, &rollback.CallError{System: system, Op: "answer " + in.ID, Kind: rollback.Rejected, Err: errors.New(text), Fix: "answer it in Jenkins: " + in.URL}
	}
	if wrong := rollback.CheckParameters(in.Parameters, values); len(wrong) > 0 {
		return refuse(strings.Join(wrong, "; "))
	}
	list := []map[string]any{}
	for _, p := range in.Parameters {
		v, given := values[p.Name]
		switch {
		case given:
		case p.Kind == rollback.OtherParameter || p.Kind == rollback.SecretParameter || p.Default == nil:
			return refuse(fmt.Sprintf("%s is a %s and has no default that could be sent", p.Name, p.Type))
		default:
			v = *p.Default
		}
		if p.Kind == rollback.BooleanParameter {
			list = append(list, map[string]any{"name": p.Name, "value": v == "true"})
		} else {
			list = append(list, map[string]any{"name": p.Name, "value": v})
		}
	}
	body, err := json.Marshal(map[string]any{"parameter": list})
	if err != nil {
		return refuse(err.Error())
	}
	// Without proceed the same page aborts the build.
	return c.settle(ctx, b, in, "submit", url.Values{"json": {string(body)}, "proceed": {cmp.Or(in.Proceed, "Proceed")}})
}

// AbortInput turns an input down, which ends the build unless its pipeline catches that.
func (c *Controller) AbortInput(ctx context.Context, b rollback.Build, in Input) (already bool, err error) {
	return c.settle(ctx, b, in, "abort", url.Values{})
}

// settle sends an answer once. Where what came back does not say whether it was heard, the list of pending inputs does: an
// input that is gone was answered, and one that is still there after a refusal was not.
func (c *Controller) settle(ctx context.Context, b rollback.Build, in Input, act string, form url.Values) (already bool, err error) {
	path, err := buildPath(b)
	if err != nil {
		return false, err
	}
	endpoint := path + "/input/" + url.PathEscape(in.ID) + "/" + act
	resp, err := c.jenkins.Requester.Post(ctx, endpoint, strings.NewReader(form.Encode()), nil, nil)
	var f *rollback.CallError
	switch {
	case err == nil && strings.HasSuffix(resp.Header.Get("Location"), "/console"): // the step sends a form's sender there
		return false, nil
	case err == nil: // a proxy may say 200, too
		f = &rollback.CallError{System: system, Op: "POST " + endpoint, Kind: rollback.Broken, Maybe: true, Err: &foreign{"an answer that does not prove that Jenkins heard it"}}
	case !errors.As(err, &f) || ctx.Err() != nil:
		return false, err
	}
	status := statusOf(f)
	answered := status == http.StatusBadRequest || status == http.StatusNotFound || status == http.StatusInternalServerError || status == http.StatusServiceUnavailable
	if !f.Maybe && !answered { // turned away before the input was looked at
		return false, f
	}
	lost := f.Maybe
	for n := 1; ; n++ {
		open, lookErr := c.Inputs(ctx, b, in.ID)
		switch {
		case lookErr != nil:
			f.Err = fmt.Errorf("%w; looking whether it is still open: %w", f.Err, lookErr)
			return false, f
		case !slices.ContainsFunc(open, func(o Input) bool { return o.ID == in.ID }):
			return !lost, nil
		case answered:
			f.Maybe = false
			if status != http.StatusServiceUnavailable {
				if status != http.StatusInternalServerError {
					f.Kind = rollback.Denied
				}
				f.Fix = "it is still open: Jenkins did not take the answer, mostly because the input names other submitters. Answer it at " + in.URL
			}
			return false, f
		case n == looks:
			f.Fix = "it was still open when last looked at: " + in.URL
			return false, f
		}
		select {
		case <-ctx.Done():
			return false, f
		case <-c.r.pause(lookPause):
		}
	}
}
