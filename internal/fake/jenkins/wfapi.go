package jenkins

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// wfapi: what the plugin pipeline-rest-api adds to a build (its stages and its pending inputs), and artifacts, which are
// Jenkins' own. wfapi knows no tree= and no _class.

// RestAPI installs the plugin pipeline-rest-api, which a new controller has, or takes it away: /wfapi answers 404 then.
func (s *Server) RestAPI(installed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRestAPI = !installed
}

// stage is a stage that a build has entered; it ends where the next one begins.
type stage struct {
	name  string
	start time.Time
}

// serveWorkflow is what is below a build's /wfapi. The caller holds mu.
func (s *Server) serveWorkflow(w http.ResponseWriter, r *http.Request, user string, b *Build, rest []string) {
	if s.noRestAPI || b.job.Freestyle {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	switch strings.Join(rest, "/") {
	case "", "describe":
		if get(w, r) {
			writeJSON(w, b.describe(s.options.Path))
		}
	case "pendingInputActions":
		if get(w, r) {
			list := []any{}
			for _, q := range b.questions {
				list = append(list, b.tellInput(q, s.options.Path))
			}
			writeJSON(w, list)
		}
	case "inputSubmit":
		if !post(w, r) {
			return
		}
		form, err := readForm(r)
		if err != nil {
			page(w, http.StatusBadRequest, "Error 400", err.Error())
			return
		}
		q := b.pending(r.URL.Query().Get("inputId"))
		if q == nil {
			fail(w, "javax.servlet.ServletException: This Run instance does not have an Input with an ID of '"+r.URL.Query().Get("inputId")+
				"'. The input ID may not be pre-normalized appropriately.")
			return
		}
		if !s.maySubmit(q, user) { // whatever goes wrong here is a 500
			fail(w, "hudson.model.Failure: You need to be "+strings.Join(q.Submitters, ",")+" to submit this")
			return
		}
		values, _, problem := s.submitted(r, q, form)
		if problem != "" {
			fail(w, problem)
			return
		}
		b.proceed(q, user, values)
		w.WriteHeader(http.StatusOK)
	default:
		page(w, http.StatusNotFound, "Not Found", "")
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = w.Write(b)
}

// tellInput is an input as the list of pending ones has it; its links have no host.
func (b *Build) tellInput(q *question, context string) object {
	inputs := []any{}
	for _, p := range q.Parameters {
		definition := object{"defaultVal": p.standard()}
		switch p.Kind {
		case "Choice":
			definition["choices"] = p.Choices
		case "Boolean":
			definition["defaultVal"] = p.standard() == "true"
		case "File":
			definition = object{}
		}
		inputs = append(inputs, object{"type": p.Kind + "ParameterDefinition", "name": p.Name, "description": "", "definition": definition})
	}
	at := context + b.path()
	return object{
		"id": q.ID, "proceedText": q.OK, "message": q.Message, "inputs": inputs,
		"proceedUrl": at + "/wfapi/inputSubmit?inputId=" + q.ID, "abortUrl": at + "/input/" + q.ID + "/abort", "redirectApprovalUrl": at + "/input/",
	}
}

// statuses are wfapi's words for results.
var statuses = map[string]string{"SUCCESS": "SUCCESS", "UNSTABLE": "UNSTABLE", "FAILURE": "FAILED", "ABORTED": "ABORTED", "NOT_BUILT": "NOT_EXECUTED"}

// describe is the build with its stages.
func (b *Build) describe(context string) object {
	over := !b.end.IsZero()
	status := "IN_PROGRESS"
	switch {
	case over:
		status = statuses[b.result]
	case len(b.questions) > 0:
		status = "PAUSED_PENDING_INPUT"
	}
	until := b.end
	if !over {
		until = b.s.options.Now()
	}
	stages := []any{}
	for i, s := range b.stages {
		end, how := until, status
		if i < len(b.stages)-1 {
			end, how = b.stages[i+1].start, "SUCCESS"
		}
		stages = append(stages, object{"id": 6 + i, "name": s.name, "status": how, "startTimeMillis": s.start.UnixMilli(),
			"durationMillis": end.Sub(s.start).Milliseconds(), "pauseDurationMillis": 0})
	}
	return object{
		"_links": object{"self": object{"href": context + b.path() + "/wfapi/describe"}}, "id": b.number, "name": "#" + b.id(), "status": status,
		"startTimeMillis": b.start.UnixMilli(), "endTimeMillis": until.UnixMilli(), "durationMillis": until.Sub(b.start).Milliseconds(), "stages": stages,
	}
}

// Archive keeps a file of the build, as archiveArtifacts does.
func (b *Build) Archive(path, content string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.artifacts == nil {
		b.artifacts = map[string]string{}
	}
	b.artifacts[path] = content
	b.s.change()
}

// Artifact is a file that was kept.
func (b *Build) Artifact(path string) (content string, ok bool) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	content, ok = b.artifacts[path]
	return content, ok
}

// serveArtifact sends a kept file. The caller holds mu.
func (s *Server) serveArtifact(w http.ResponseWriter, r *http.Request, b *Build, rest []string) {
	content, ok := b.artifacts[strings.Join(rest, "/")]
	if !ok {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	if !get(w, r) {
		return
	}
	media := "application/octet-stream"
	for ending, is := range map[string]string{".txt": "text/plain", ".json": "application/json", ".html": "text/html", ".log": "text/plain"} {
		if strings.HasSuffix(rest[len(rest)-1], ending) {
			media = is
		}
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(content))
}
