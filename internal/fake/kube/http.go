package kube

// Requests: path → verb and resource → the store → answer.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is what the path and method of a request ask for.
type request struct {
	*http.Request
	res  *resource
	verb string
	ns   string
	name string
	sub  string
	user User
}

// parse reads the path of a resource request; res is nil if it is none.
func (s *Server) parse(r *http.Request) (q request, plural string) {
	q.Request = r
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group, version string
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		group, version, parts = parts[1], parts[2], parts[3:]
	default:
		return q, ""
	}
	if parts[0] == "namespaces" && len(parts) > 2 && !(group == "" && (parts[2] == "status" || parts[2] == "finalize")) {
		q.ns, parts = parts[1], parts[2:]
	}
	plural = parts[0]
	if len(parts) > 1 {
		q.name = parts[1]
	}
	if len(parts) > 2 {
		q.sub = strings.Join(parts[2:], "/")
	}
	q.res = s.byPath(group, version, plural)
	if q.res != nil && !q.res.namespaced && q.ns != "" {
		q.res = nil
	}
	if q.res == namespaces {
		q.ns = q.name // as RBAC sees it
	}
	watch := r.URL.Query().Get("watch")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case q.name != "":
			q.verb = "get"
		case watch == "true" || watch == "1":
			q.verb = "watch"
		default:
			q.verb = "list"
		}
	case http.MethodPost:
		q.verb = "create"
	case http.MethodPut:
		q.verb = "update"
	case http.MethodPatch:
		q.verb = "patch"
	case http.MethodDelete:
		if q.verb = "delete"; q.name == "" {
			q.verb = "deletecollection"
		}
	}
	return q, plural
}

// op names a request for the Switchboard.
func (s *Server) op(r *http.Request) string {
	q, plural := s.parse(r)
	if plural == "" {
		return r.Method + " " + r.URL.Path
	}
	op := strings.ToUpper(q.verb) + " " + plural
	if q.name != "" {
		op += "/" + q.name
	}
	if q.sub != "" {
		op += "/" + q.sub
	}
	return op
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if err := s.answer(w, r); err != nil {
		var f *fail
		if !errors.As(err, &f) {
			f = &fail{code: http.StatusInternalServerError, reason: "InternalError", message: err.Error()}
		}
		if f.unknown {
			s.note(r, f.message)
		}
		writeJSON(w, f.code, encode(f.status()))
	}
}

// note keeps what was refused for want of knowledge.
func (s *Server) note(r *http.Request, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, fmt.Sprintf("%s %s: %s", r.Method, r.URL.RequestURI(), why))
}

// Refused lists the requests that were refused because this server does not know how to do them. A test ends with it empty.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

func writeJSON(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) error {
	user, ok := s.authenticate(r)
	if !ok {
		return unauthorized()
	}
	q, plural := s.parse(r)
	if plural == "" {
		return s.public(w, r)
	}
	q.user = user
	a := access{verb: q.verb, resource: plural, sub: q.sub, ns: q.ns, name: q.name}
	if q.res != nil {
		a.group = q.res.group
	} else if parts := strings.Split(r.URL.Path, "/"); parts[1] == "apis" {
		a.group = parts[2]
	}
	if a.name == "" && a.verb != "create" {
		// A selector for one name is authorised like that name.
		// Source: https://github.com/kubernetes/apiserver/blob/master/pkg/endpoints/request/requestinfo.go
		if name, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name="); ok && !strings.Contains(name, ",") {
			a.name = strings.TrimPrefix(name, "=")
		}
	}
	if !user.may(a) {
		return a.denied(user)
	}
	if q.res == nil {
		f := noSuchPath()
		f.unknown = true
		return f
	}
	if q.verb == "" {
		return &fail{code: http.StatusMethodNotAllowed, reason: "MethodNotAllowed", message: "the server does not allow this method on the requested resource", unknown: true}
	}
	if err := q.checkQuery(); err != nil {
		return err
	}
	form, err := negotiate(r.Header.Get("Accept"), q)
	if err != nil {
		return err
	}
	if q.sub != "" {
		sub := q.res.sub(q.sub)
		if sub == nil {
			f := noSuchPath()
			f.unknown = true
			return f
		}
		if !slices.Contains(sub.verbs, q.verb) {
			return &fail{code: http.StatusMethodNotAllowed, reason: "MethodNotAllowed", message: "the server does not allow this method on the requested resource"}
		}
	} else if !slices.Contains(q.res.verbs, q.verb) {
		return &fail{code: http.StatusMethodNotAllowed, reason: "MethodNotAllowed", message: "the server does not allow this method on the requested resource"}
	}
	if q.verb == "create" || q.verb == "list" || q.verb == "watch" || q.verb == "deletecollection" {
		if q.res.namespaced && q.ns == "" && (q.verb == "create" || q.verb == "deletecollection") {
			return &fail{code: http.StatusMethodNotAllowed, reason: "MethodNotAllowed", message: "the server does not allow this method on the requested resource"}
		}
	}
	switch {
	case q.sub == "log":
		return s.logs(w, q)
	case q.res == selfReviews || q.res == accessRevs:
		return s.review(w, q)
	case q.verb == "watch":
		return s.watch(w, q, form)
	case q.verb == "list":
		return s.serveList(w, q, form)
	}
	return s.serveOne(w, q, form)
}

func (s *Server) public(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &fail{code: http.StatusMethodNotAllowed, reason: "MethodNotAllowed", message: "the server does not allow this method on the requested resource", unknown: true}
	}
	switch p := r.URL.Path; p {
	case "/version":
		writeJSON(w, http.StatusOK, encode(tree{"major": "1", "minor": "37", "gitVersion": Version, "gitCommit": "", "gitTreeState": "clean",
			"buildDate": "2026-11-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64"}))
	case "/readyz", "/livez", "/healthz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok")
	default:
		if d := s.discovery(p); d != nil {
			writeJSON(w, http.StatusOK, encode(d))
			return nil
		}
		f := noSuchPath()
		f.unknown = !strings.HasPrefix(p, "/openapi/") // kubectl asks and lives without
		return f
	}
	return nil
}

// queries are the query parameters each verb knows.
var queries = map[string][]string{
	"get":              {"resourceVersion"},
	"list":             {"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds", "watch", "timeout"},
	"watch":            {"labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "timeoutSeconds", "watch", "allowWatchBookmarks", "sendInitialEvents", "limit", "timeout"},
	"create":           {"dryRun", "fieldManager", "fieldValidation"},
	"update":           {"dryRun", "fieldManager", "fieldValidation"},
	"patch":            {"dryRun", "fieldManager", "fieldValidation", "force"},
	"delete":           {"dryRun", "gracePeriodSeconds", "propagationPolicy"},
	"deletecollection": {"dryRun", "gracePeriodSeconds", "propagationPolicy", "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion"},
}

func (q request) checkQuery() error {
	known := queries[q.verb]
	if q.sub == "log" {
		known = []string{"container", "previous", "tailLines", "limitBytes", "timestamps", "follow", "sinceSeconds", "sinceTime"}
	}
	for k := range q.URL.Query() {
		if k == "pretty" || slices.Contains(known, k) {
			continue
		}
		return refuse("the query parameter %q of %s", k, q.verb)
	}
	if v := q.URL.Query().Get("dryRun"); v != "" && v != "All" {
		return invalid(&resource{group: "meta.k8s.io", kind: q.verb + "Options"}, "", []cause{notSupported("dryRun", v, "All")})
	}
	return nil
}

// form is how the client wants the answer.
type form int

const (
	plain form = iota
	partial
	table
)

// negotiate picks the first media type that the server has; there is JSON and no protobuf.
func negotiate(accept string, q request) (form, error) {
	if accept == "" || q.sub == "log" {
		return plain, nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, p, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		if media != "application/json" && media != "*/*" && media != "application/*" {
			continue
		}
		switch p["as"] {
		case "":
			return plain, nil
		case "Table":
			if p["g"] == "meta.k8s.io" && p["v"] == "v1" {
				return table, nil
			}
		case "PartialObjectMetadata", "PartialObjectMetadataList":
			if p["g"] == "meta.k8s.io" && p["v"] == "v1" && (p["as"] == "PartialObjectMetadataList") == (q.verb == "list") {
				return partial, nil
			}
		}
	}
	return plain, &fail{code: http.StatusNotAcceptable, reason: "NotAcceptable", message: "only the following media types are accepted: application/json", unknown: true}
}

func (s *Server) review(w http.ResponseWriter, q request) error {
	in, err := q.object()
	if err != nil {
		return err
	}
	out := selfReview(q.user)
	if q.res == accessRevs {
		if out, err = accessReview(q.user, in); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusCreated, encode(out))
	return nil
}

// body reads the request's body; a real server takes 3 MiB.
func (q request) body() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(q.Body, 3<<20+1))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if len(b) > 3<<20 {
		return nil, &fail{code: http.StatusRequestEntityTooLarge, reason: "RequestEntityTooLarge", message: "Request entity too large: limit is 3145728"}
	}
	return b, nil
}

// object reads a whole object from the body.
func (q request) object() (tree, error) {
	media, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if media != "application/json" && q.Header.Get("Content-Type") != "" {
		return nil, unsupportedMedia("application/json")
	}
	b, err := q.body()
	if err != nil {
		return nil, err
	}
	v, err := decode(b)
	o, ok := v.(tree)
	if err != nil || !ok {
		return nil, badRequest("the object provided is unrecognized (must be of type %s): couldn't get version/kind; json parse error: %v", q.res.kind, err)
	}
	want := &resource{group: q.res.group, version: q.res.version, kind: q.res.kind}
	if q.sub != "" {
		sub := q.res.sub(q.sub)
		want = &resource{group: sub.group, version: sub.version, kind: sub.kind}
	}
	if str(o, "kind") != want.kind || str(o, "apiVersion") != want.apiVersion() {
		return nil, badRequest("%s in version %q cannot be handled as a %s: the object provided is %s in version %q", want.kind, want.version, want.kind, str(o, "kind"), str(o, "apiVersion"))
	}
	return o, nil
}

func unsupportedMedia(known ...string) *fail {
	return &fail{code: http.StatusUnsupportedMediaType, reason: "UnsupportedMediaType", unknown: true,
		message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(known, ", ")}
}

func (q request) dryRun() bool { return q.URL.Query().Get("dryRun") == "All" }

// manager is the field manager: as asked for, or the program's name from the User-Agent.
func (q request) manager() string {
	if m := q.URL.Query().Get("fieldManager"); m != "" {
		return m
	}
	m, _, _ := strings.Cut(q.UserAgent(), "/")
	if m == "" {
		m = "unknown"
	}
	return m
}

func (s *Server) serveOne(w http.ResponseWriter, q request, f form) error {
	var in any
	var err error
	switch {
	case q.verb == "create" || q.verb == "update":
		in, err = q.object()
	case q.verb == "patch":
		in, err = q.patch()
	case q.verb == "delete" || q.verb == "deletecollection":
		in, err = q.deleteOptions()
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	code, out, err := s.act(q, in)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	switch v := out.(type) {
	case *object:
		if f == partial {
			writeJSON(w, code, encode(metadataOf(v)))
		} else if f == table {
			writeJSON(w, code, encode(tableOf(q.res, []*object{v}, strconv.FormatInt(v.version, 10), time.Now())))
		} else {
			writeJSON(w, code, v.full())
		}
	default:
		writeJSON(w, code, encode(v))
	}
	return nil
}

func metadataOf(o *object) tree {
	return tree{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o.data["metadata"]}
}

// act does a request for one object. s.mu is held.
func (s *Server) act(q request, in any) (int, any, error) {
	if q.sub == "scale" {
		return s.scale(q, in)
	}
	switch q.verb {
	case "create":
		if q.sub == "eviction" {
			return s.evict(q)
		}
		o, err := s.admit(q.res, q.ns, in.(tree), q.manager(), q.URL.Query().Get("fieldValidation"), q.dryRun())
		if err != nil {
			return 0, nil, err
		}
		return http.StatusCreated, o, nil
	case "deletecollection":
		return s.deleteCollection(q, in.(deletion))
	}
	ns := q.ns
	if !q.res.namespaced {
		ns = ""
	}
	o := s.find(q.res, ns, q.name)
	if o == nil {
		return 0, nil, notFound(q.res, q.name)
	}
	switch q.verb {
	case "get":
		return http.StatusOK, o, nil
	case "delete":
		out, err := s.delete(o, in.(deletion))
		return http.StatusOK, out, err
	}
	next, err := q.edited(o, in)
	if err != nil {
		return 0, nil, err
	}
	o, err = s.update(o, next, q.manager(), q.sub, q.URL.Query().Get("fieldValidation"), q.dryRun())
	return http.StatusOK, o, err
}

// patchBody is a patch as it came.
type patchBody struct {
	kind string
	doc  any
}

func (q request) patch() (any, error) {
	media, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	known := []string{"application/json-patch+json", "application/merge-patch+json"}
	if !q.res.custom {
		known = append(known, "application/strategic-merge-patch+json")
	}
	if !slices.Contains(known, media) {
		f := unsupportedMedia(known...)
		if media == "application/strategic-merge-patch+json" {
			f.unknown = false // so does a real server for custom resources
		}
		return nil, f
	}
	b, err := q.body()
	if err != nil {
		return nil, err
	}
	doc, err := decode(b)
	if err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || err == io.ErrUnexpectedEOF || err == io.EOF {
			return nil, badRequest("error decoding patch: %v", err)
		}
		return nil, badRequest("%v", err)
	}
	if _, isList := doc.([]any); isList != (media == "application/json-patch+json") {
		return nil, badRequest("error decoding patch: the document does not fit %s", media)
	}
	if !isMap(doc) && media != "application/json-patch+json" {
		return nil, badRequest("error decoding patch: not an object")
	}
	return patchBody{media, doc}, nil
}

// edited is what an update or a patch makes of an object, with kind and apiVersion taken off.
func (q request) edited(o *object, in any) (tree, error) {
	if q.verb == "update" {
		return in.(tree), nil
	}
	return patched(o.res, copyTree(o.data), in.(patchBody))
}

func patched(r *resource, data tree, p patchBody) (tree, error) {
	data["kind"], data["apiVersion"] = r.kind, r.apiVersion()
	var out any
	var err error
	switch p.kind {
	case "application/merge-patch+json":
		out = mergePatch(data, clone(p.doc))
	case "application/strategic-merge-patch+json":
		out, err = strategicPatch(data, clone(p.doc).(tree))
	default:
		out, err = jsonPatch(data, p.doc.([]any))
	}
	if err != nil {
		return nil, err
	}
	next, ok := out.(tree)
	if !ok || str(next, "kind") != r.kind || str(next, "apiVersion") != r.apiVersion() {
		return nil, badRequest("the patched object is not a %s in version %q", r.kind, r.version)
	}
	return next, nil
}

// deletion are the options of a delete.
type deletion struct {
	grace       int // -1 for the object's own
	uid, rv     string
	propagation string
	dryRun      bool
}

func (q request) deleteOptions() (any, error) {
	d := deletion{grace: -1, propagation: q.URL.Query().Get("propagationPolicy"), dryRun: q.dryRun()}
	if g := q.URL.Query().Get("gracePeriodSeconds"); g != "" {
		n, err := strconv.Atoi(g)
		if err != nil || n < 0 {
			return nil, badRequest("invalid gracePeriodSeconds %q", g)
		}
		d.grace = n
	}
	b, err := q.body()
	if err != nil {
		return nil, err
	}
	if len(b) > 0 {
		v, err := decode(b)
		o, ok := v.(tree)
		if err != nil || !ok {
			return nil, badRequest("couldn't get version/kind; json parse error: %v", err)
		}
		for k := range o {
			if !slices.Contains([]string{"kind", "apiVersion", "gracePeriodSeconds", "preconditions", "propagationPolicy", "dryRun", "orphanDependents"}, k) {
				return nil, refuse("the delete option %q", k)
			}
		}
		d.grace = numOr(o, d.grace, "gracePeriodSeconds")
		d.uid, d.rv = str(o, "preconditions", "uid"), str(o, "preconditions", "resourceVersion")
		if p := str(o, "propagationPolicy"); p != "" {
			d.propagation = p
		}
		d.dryRun = d.dryRun || len(items(o, "dryRun")) > 0
	}
	switch d.propagation {
	case "", "Background", "Orphan":
	case "Foreground":
		return nil, refuse("propagationPolicy Foreground")
	default:
		return nil, badRequest("invalid propagationPolicy %q", d.propagation)
	}
	return d, nil
}

// selection is what a list or watch is narrowed to.
type selection struct {
	ns     string
	labels []requirement
	fields []fieldTerm
}

func (q request) selection() (selection, error) {
	sel := selection{ns: q.ns}
	var err error
	if sel.labels, err = parseSelector(q.URL.Query().Get("labelSelector")); err != nil {
		return sel, err
	}
	sel.fields, err = parseFields(q.res, q.URL.Query().Get("fieldSelector"))
	return sel, err
}

func (sel selection) has(o *object) bool {
	return o != nil && (sel.ns == "" || o.ns == sel.ns) && selects(sel.labels, dict(o.data, "metadata", "labels")) && fieldsMatch(sel.fields, o.data)
}
