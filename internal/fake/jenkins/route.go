package jenkins

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// place is where a request's path leads: an item, and what is asked of it.
type place struct {
	item string   // full name, "" for the controller itself
	rest []string // below the item
	bad  bool     // not a path that leads anywhere
}

// find reads a path. Each segment is unescaped once: the job of the branch feature/x is /job/feature%252Fx.
func (s *Server) find(r *http.Request) place {
	p, ok := strings.CutPrefix(r.URL.EscapedPath(), s.options.Path)
	if !ok {
		return place{bad: true}
	}
	p = strings.TrimPrefix(p, "/")
	var parts []string
	for part := range strings.SplitSeq(strings.TrimSuffix(p, "/"), "/") {
		text, err := url.PathUnescape(part)
		if err != nil || text == "" && p != "" {
			return place{bad: true}
		}
		parts = append(parts, text)
	}
	var at place
	var names []string
	for len(parts) >= 2 && parts[0] == "job" {
		if strings.Contains(parts[1], "/") { // %2F: no name of an item has one
			return place{bad: true}
		}
		names, parts = append(names, parts[1]), parts[2:]
	}
	at.item, at.rest = strings.Join(names, "/"), parts
	if p == "" {
		at.rest = nil
	}
	return at
}

var buildNumber = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)

// operation names a request for the switchboard: its method and what is asked for.
func (s *Server) operation(r *http.Request) string {
	at := s.find(r)
	name := "?"
	rest := at.rest
	switch {
	case at.bad:
	case at.item == "" && len(rest) == 0:
		name = "root"
	case at.item == "" && slices.Equal(rest, []string{"api", "json"}):
		name = "root"
	case at.item == "" && rest[0] == "queue" && len(rest) > 1 && rest[1] == "item":
		name = "queue item"
	case at.item == "" && rest[0] == "queue" && len(rest) > 1 && rest[1] == "cancelItem":
		name = "cancelItem"
	case at.item == "" || len(rest) > 0 && !buildNumber.MatchString(rest[0]) && rest[0] != "api":
		name = rest[0]
	case len(rest) == 0 || rest[0] == "api":
		name = "job"
	case len(rest) == 1 || rest[1] == "api":
		name = "build"
	case rest[1] == "artifact":
		name = "artifact"
	default:
		name = rest[len(rest)-1]
	}
	return r.Method + " " + name
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down, signIn := s.down, s.signIn > 0
	if !down && signIn {
		s.signIn--
	}
	s.mu.Unlock()
	if down {
		loading(w)
		return
	}
	at := s.find(r)
	switch {
	case at.bad:
		s.violation(r, "no such path")
		page(w, http.StatusNotFound, "Not Found", "")
		return
	case at.item == "" && len(at.rest) == 1 && at.rest[0] == "login":
		page(w, http.StatusOK, "Sign in", "Username Password")
		return
	case signIn:
		redirect(w, http.StatusFound, s.root(r)+"/login?from="+url.QueryEscape(r.URL.RequestURI()))
		return
	}
	user, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	if !s.may(w, user, "Overall/Read") {
		return
	}
	if at.item == "" {
		s.serveRoot(w, r, user, at.rest)
		return
	}
	s.mu.Lock()
	i := s.items[at.item]
	hidden := s.denied["Job/Read"]
	s.mu.Unlock()
	if i == nil || hidden { // what a user may not see is not there
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	s.serveItem(w, r, user, i, at.rest)
}

func post(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return true
	}
	w.Header().Set("Allow", http.MethodPost)
	page(w, http.StatusMethodNotAllowed, "Error 405", "Form post required")
	return false
}

func get(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	page(w, http.StatusMethodNotAllowed, "Error 405", "GET is required")
	return false
}

func (s *Server) serveRoot(w http.ResponseWriter, r *http.Request, user string, rest []string) {
	switch path := strings.Join(rest, "/"); {
	case path == "":
		page(w, http.StatusOK, "Dashboard", "Welcome to Jenkins!")
	case path == "api/json" && get(w, r):
		s.mu.Lock()
		o := s.tell(s.items[""], s.root(r))
		s.mu.Unlock()
		for _, field := range []string{"name", "fullName", "displayName", "fullDisplayName"} {
			delete(o, field)
		}
		o["_class"], o["url"], o["mode"] = "hudson.model.Hudson", s.root(r)+"/", "NORMAL"
		o["nodeDescription"], o["quietingDown"], o["useCrumbs"], o["useSecurity"] = "the Jenkins controller's built-in node", false, !s.options.NoCrumbs, true
		s.answer(w, r, o)
	case path == "whoAmI/api/json" && get(w, r):
		s.answer(w, r, object{"_class": "hudson.security.WhoAmI", "anonymous": false, "authenticated": true, "authorities": []any{"authenticated"}, "name": user})
	case path == "crumbIssuer/api/json" && get(w, r):
		s.serveCrumb(w, r)
	case path == "queue/api/json" && get(w, r):
		s.serveQueue(w, r)
	case len(rest) == 5 && rest[0] == "queue" && rest[1] == "item" && rest[3] == "api" && rest[4] == "json" && get(w, r):
		s.serveQueueItem(w, r, rest[2])
	case path == "queue/cancelItem":
		s.serveCancel(w, r, user)
	case path == "createItem":
		s.serveCreate(w, r, user, "")
	case path != "api/json" && path != "whoAmI/api/json" && path != "crumbIssuer/api/json" && path != "queue/api/json":
		page(w, http.StatusNotFound, "Not Found", "")
	}
}

func (s *Server) serveItem(w http.ResponseWriter, r *http.Request, user string, i *item, rest []string) {
	if len(rest) > 0 && buildNumber.MatchString(rest[0]) && i.kind == job {
		s.serveBuild(w, r, user, i, rest)
		return
	}
	switch path := strings.Join(rest, "/"); {
	case path == "":
		page(w, http.StatusOK, i.base(), "")
	case path == "api/json":
		if !get(w, r) {
			return
		}
		s.mu.Lock()
		o := s.tell(i, s.root(r))
		s.mu.Unlock()
		s.answer(w, r, o)
	case path == "config.xml":
		s.serveConfig(w, r, user, i)
	case path == "createItem" && i.kind == folder:
		s.serveCreate(w, r, user, i.name)
	case i.kind != job:
		page(w, http.StatusNotFound, "Not Found", "")
	case path == "build" || path == "buildWithParameters":
		s.serveTrigger(w, r, user, i, path == "buildWithParameters")
	case path == "enable" || path == "disable":
		if !post(w, r) || !s.may(w, user, "Job/Configure") {
			return
		}
		s.mu.Lock()
		i.Disabled = path == "disable"
		s.change()
		s.mu.Unlock()
		redirect(w, http.StatusFound, s.root(r)+i.path()+"/")
	default:
		page(w, http.StatusNotFound, "Not Found", "")
	}
}

// maxForm is the largest body that is read.
const maxForm = 1 << 20

func (s *Server) serveTrigger(w http.ResponseWriter, r *http.Request, user string, i *item, withParameters bool) {
	if !post(w, r) || !s.may(w, user, "Job/Build") {
		return
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	form := url.Values{}
	if err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err = url.ParseQuery(string(b))
	}
	if err != nil {
		page(w, http.StatusBadRequest, "Error 400", err.Error())
		return
	}
	query := r.URL.Query()
	delay := s.options.Quiet
	if query.Has("delay") {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSuffix(query.Get("delay"), "sec"), "s"))
		if err != nil || n < 0 {
			page(w, http.StatusBadRequest, "Error 400", "Invalid delay parameter value: "+query.Get("delay"))
			return
		}
		delay = time.Duration(n) * time.Second
	}
	for name, v := range query {
		if name == "delay" || name == "token" || name == "cause" {
			continue
		}
		s.violation(r, "parameter %s in the URL, where every log has it", name)
		form[name] = append(form[name], v...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case i.Disabled:
		page(w, http.StatusConflict, "Error 409", i.base()+" is not buildable")
		return
	case withParameters && len(i.Parameters) == 0:
		fail(w, "java.lang.IllegalStateException: This build is not parameterized!")
		return
	case !withParameters && len(i.Parameters) > 0:
		page(w, http.StatusBadRequest, "Error 400 Nothing is submitted", "Nothing is submitted")
		return
	}
	values, err := i.values(form)
	if err != nil {
		fail(w, err.Error())
		return
	}
	q, created := s.schedule(i, values, user, "", delay)
	status := http.StatusCreated
	if !created {
		status = http.StatusSeeOther
	}
	redirect(w, status, fmt.Sprintf("%s/queue/item/%d/", s.root(r), q.id))
}

func (s *Server) serveBuild(w http.ResponseWriter, r *http.Request, user string, i *item, rest []string) {
	n, err := strconv.Atoi(rest[0])
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n > len(i.builds) {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	b := i.builds[n-1]
	if len(rest) > 1 {
		switch rest[1] {
		case "input":
			s.serveInput(w, r, user, b, rest[2:])
			return
		case "wfapi":
			s.serveWorkflow(w, r, user, b, rest[2:])
			return
		case "artifact":
			s.serveArtifact(w, r, b, rest[2:])
			return
		}
	}
	switch path := strings.Join(rest[1:], "/"); path {
	case "":
		page(w, http.StatusOK, fmt.Sprintf("%s #%d", i.base(), n), "")
	case "api/json":
		if get(w, r) {
			o := b.tell(s.root(r))
			s.mu.Unlock()
			s.answer(w, r, o)
			s.mu.Lock()
		}
	case "logText/progressiveText":
		if get(w, r) {
			log, more := b.log.String(), b.end.IsZero()
			s.mu.Unlock()
			serveLog(w, r, log, more)
			s.mu.Lock()
		}
	case "consoleText":
		if get(w, r) {
			w.Header().Set("Content-Type", "text/plain;charset=utf-8")
			w.Header().Set("X-Jenkins", Version)
			log := b.log.String()
			s.mu.Unlock()
			_, _ = io.WriteString(w, notes.ReplaceAllString(log, ""))
			s.mu.Lock()
		}
	case "stop", "term", "kill":
		switch {
		case !post(w, r):
		case i.Freestyle && path != "stop":
			page(w, http.StatusNotFound, "Not Found", "")
		case s.denied["Job/Cancel"]:
			w.Header().Set("X-Required-Permission", permissions["Job/Cancel"])
			page(w, http.StatusForbidden, "Access Denied", user+" is missing the Job/Cancel permission")
		default:
			b.abort(path, user)
			redirect(w, http.StatusFound, s.root(r)+b.path()+"/")
		}
	default:
		page(w, http.StatusNotFound, "Not Found", "")
	}
}

var notes = regexp.MustCompile("\x1b\\[8mha:[^\x1b]*\x1b\\[0m")

// serveLog sends what the log has from start on, notes and all. A start beyond the end is taken for a log that began anew.
func serveLog(w http.ResponseWriter, r *http.Request, log string, more bool) {
	start, err := strconv.Atoi(r.URL.Query().Get("start"))
	if err != nil && r.URL.Query().Has("start") || start < 0 {
		page(w, http.StatusBadRequest, "Error 400", "start")
		return
	}
	if start > len(log) {
		start = 0
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain;charset=utf-8")
	h.Set("X-Jenkins", Version)
	h.Set("X-Text-Size", strconv.Itoa(len(log)))
	if more {
		h.Set("X-More-Data", "true")
	}
	_, _ = io.WriteString(w, log[start:])
}
