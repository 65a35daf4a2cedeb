package jenkins

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
)

// page is an answer for people: an error, or one of the many pages that the program has no use for.
func page(w http.ResponseWriter, status int, title, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Jenkins", Version)
	h.Set("Cache-Control", "no-cache,no-store,must-revalidate")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!DOCTYPE html><html><head><title>%s - Jenkins</title></head><body><h1>%s</h1><p>%s</p></body></html>\n",
		html.EscapeString(title), html.EscapeString(title), html.EscapeString(body))
}

// loading is what a controller answers while it starts.
func loading(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.Header().Set("X-Jenkins-Session", "")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, "<!DOCTYPE html><html><head><title>Starting Jenkins</title></head><body><h1>Please wait while Jenkins is getting ready to work ...</h1>"+
		"<p>Your browser will reload automatically when Jenkins is ready.</p></body></html>\n")
}

// fail is the page for what Jenkins' code did not expect.
func fail(w http.ResponseWriter, exception string) {
	page(w, http.StatusInternalServerError, "Oops!", "A problem occurred while processing the request. "+exception)
}

// redirect is how Jenkins says done to a form.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("X-Jenkins", Version)
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}

// answer sends an object of the remote API, cut down to what tree= asks for.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, o object) {
	q := r.URL.Query()
	var v any = o
	switch {
	case q.Has("depth"):
		s.violation(r, "depth= fetches more than anybody needs")
		page(w, http.StatusBadRequest, "Error 400", "depth")
		return
	case q.Has("tree"):
		fields, err := parseTree(q.Get("tree"))
		if err != nil {
			s.violation(r, "tree: %v", err)
			page(w, http.StatusBadRequest, "Error 400", err.Error())
			return
		}
		v = pick(o, fields, func(name string, has bool) {
			if !has && !fieldNames[name] {
				s.violation(r, "no field %q", name)
			}
		})
	default:
		if !small[o["_class"]] {
			s.violation(r, "a whole %s: use tree=", o["_class"])
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=utf-8")
	h.Set("X-Jenkins", Version)
	h.Set("X-Jenkins-Session", "1b2c3d4e")
	_, _ = w.Write(b)
}

// small are the classes that need no tree=.
var small = map[any]bool{
	"hudson.security.csrf.DefaultCrumbIssuer": true,
	"hudson.security.WhoAmI":                  true,
}

// fieldNames are fields that objects may have and that this controller's objects lack at times.
var fieldNames = map[string]bool{
	"parameters": true, "parameterDefinitions": true, "lastBuiltRevision": true, "SHA1": true, "branch": true, "remoteUrls": true,
	"causes": true, "userId": true, "shortDescription": true, "choices": true, "executable": true, "cancelled": true, "name": true, "value": true,
	"description": true, "jobs": true, "disabled": true, "buildable": true, "property": true, "builds": true, "inQueue": true,
	"nextBuildNumber": true, "queueItem": true, "concurrentBuild": true, "url": true,
	"artifacts": true, "relativePath": true,
}
