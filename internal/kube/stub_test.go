package kube

// A small API server for tests of the protocol: it keeps objects by their path and answers get, list (with selectors and
// pages), create, update, merge patch, watch and logs. Controllers and kubelets are the business of internal/fake/kube.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

type object = map[string]any

type stub struct {
	*fake.Switchboard
	url string

	mu       sync.Mutex
	version  int
	objects  map[string]object // by path
	logs     map[string]string // by path and "?previous"
	allowed  func(attributes object) bool
	requests []*http.Request
	bodies   []string
	watchers map[string]chan string // lines to send, by collection path
}

var plurals = map[string]string{
	"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet", "replicasets": "ReplicaSet",
	"cronjobs": "CronJob", "jobs": "Job", "pods": "Pod", "configmaps": "ConfigMap", "namespaces": "Namespace", "events": "Event",
	"selfsubjectaccessreviews": "SelfSubjectAccessReview", "selfsubjectreviews": "SelfSubjectReview",
}

// take splits a path into its collection, the resource and the name.
func take(path string) (collection, resource, name, sub string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	i := slices.IndexFunc(parts, func(p string) bool { _, ok := plurals[p]; return ok && p != "namespaces" })
	if i < 0 {
		i = slices.Index(parts, "namespaces")
	}
	if i < 0 {
		return path, "", "", ""
	}
	collection = "/" + strings.Join(parts[:i+1], "/")
	if len(parts) > i+1 {
		name = parts[i+1]
	}
	if len(parts) > i+2 {
		sub = parts[i+2]
	}
	return collection, parts[i], name, sub
}

func stubOp(r *http.Request) string {
	_, resource, name, sub := take(r.URL.Path)
	verb := r.Method
	switch {
	case r.URL.Query().Get("watch") == "true":
		verb = "WATCH"
	case verb == http.MethodGet && name == "":
		verb = "LIST"
	}
	op := verb + " " + resource
	if sub != "" {
		op += "/" + sub
	}
	return op
}

func newStub(t *testing.T) *stub {
	t.Helper()
	s := &stub{objects: map[string]object{}, logs: map[string]string{}, watchers: map[string]chan string{}}
	s.allowed = func(object) bool { return true }
	s.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(s.serve), Op: stubOp}
	server := httptest.NewServer(s.Switchboard)
	s.url = server.URL
	t.Cleanup(func() { s.Close(); server.Close() })
	s.put("/api/v1/namespaces/kube-system", `{"metadata":{"name":"kube-system","uid":"uid-of-the-cluster"}}`)
	s.put("/api/v1/namespaces/prod", `{"metadata":{"name":"prod","uid":"uid-of-prod"}}`)
	return s
}

// put stores an object, as JSON, at its path.
func (s *stub) put(path, text string) {
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(fmt.Sprintf("%s: %v: %s", path, err, text))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(path, o)
}

func (s *stub) store(path string, o object) {
	collection, resource, name, _ := take(path)
	group := strings.Split(strings.Trim(collection, "/"), "/")
	o["kind"], o["apiVersion"] = plurals[resource], "v1"
	if group[0] == "apis" {
		o["apiVersion"] = group[1] + "/v1"
	}
	m, _ := o["metadata"].(map[string]any)
	if m == nil {
		m = object{}
		o["metadata"] = m
	}
	s.version++
	m["name"], m["resourceVersion"] = name, strconv.Itoa(s.version)
	if i := slices.Index(group, "namespaces"); i >= 0 && i+1 < len(group) {
		m["namespace"] = group[i+1]
	}
	s.objects[path] = o
}

func (s *stub) read(path string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[path]
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	collection, resource, name, sub := take(r.URL.Path)
	q := r.URL.Query()
	switch {
	case resource == "":
		status(w, 404, "NotFound", "the server could not find the requested resource")
	case q.Get("watch") == "true":
		s.watch(w, r, collection)
	case sub == "log":
		key := r.URL.Path
		if q.Get("previous") == "true" {
			key += "?previous"
		}
		s.mu.Lock()
		text, ok := s.logs[key]
		s.mu.Unlock()
		if !ok {
			status(w, 400, "BadRequest", "previous terminated container not found")
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, text)
	case r.Method == http.MethodGet && name == "":
		s.list(w, r, collection, resource)
	default:
		s.one(w, r, collection, resource, name, body)
	}
}

func (s *stub) list(w http.ResponseWriter, r *http.Request, collection, resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for p := range s.objects {
		if rest, ok := strings.CutPrefix(p, collection+"/"); ok && !strings.Contains(rest, "/") && s.selected(s.objects[p], r.URL.Query().Get("labelSelector")) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	meta := object{"resourceVersion": strconv.Itoa(s.version)}
	paths = paths[min(from, len(paths)):]
	if limit > 0 && len(paths) > limit {
		paths = paths[:limit]
		meta["continue"] = strconv.Itoa(from + limit)
	}
	items := []any{}
	kind := plurals[resource] + "List"
	partial := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList")
	if partial {
		kind = "PartialObjectMetadataList"
	}
	for _, p := range paths {
		o := s.objects[p]
		if partial {
			o = object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]}
		}
		items = append(items, o)
	}
	answer(w, 200, object{"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items})
}

func (s *stub) selected(o object, selector string) bool {
	m, _ := o["metadata"].(map[string]any)
	labels, _ := m["labels"].(map[string]any)
	for _, term := range strings.Split(selector, ",") {
		if key, value, ok := strings.Cut(term, "="); ok && labels[key] != value {
			return false
		}
	}
	return true
}

func (s *stub) one(w http.ResponseWriter, r *http.Request, collection, resource, name string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sent object
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			status(w, 400, "BadRequest", err.Error())
			return
		}
	}
	path := r.URL.Path
	if r.Method == http.MethodPost {
		switch resource {
		case "selfsubjectreviews":
			sent["status"] = object{"userInfo": object{"username": "ada"}}
			answer(w, 201, sent)
			return
		case "selfsubjectaccessreviews":
			spec := sent["spec"].(map[string]any)
			sent["status"] = object{"allowed": s.allowed(spec["resourceAttributes"].(map[string]any)), "reason": "no rule says so"}
			answer(w, 201, sent)
			return
		}
		path = collection + "/" + sent["metadata"].(map[string]any)["name"].(string)
		if s.objects[path] != nil {
			status(w, 409, "AlreadyExists", "it already exists")
			return
		}
		s.store(path, sent)
		answer(w, 201, sent)
		return
	}
	o := s.objects[path]
	if o == nil {
		status(w, 404, "NotFound", fmt.Sprintf("%s %q not found", resource, name))
		return
	}
	switch r.Method {
	case http.MethodPut:
		if sent["metadata"].(map[string]any)["resourceVersion"] != o["metadata"].(map[string]any)["resourceVersion"] {
			status(w, 409, "Conflict", "the object has been modified")
			return
		}
		s.store(path, sent)
		o = sent
	case http.MethodPatch:
		if r.Header.Get("Content-Type") != "application/merge-patch+json" {
			status(w, 415, "UnsupportedMediaType", "want a merge patch")
			return
		}
		before, _ := json.Marshal(o)
		merge(o, sent)
		if after, _ := json.Marshal(o); string(after) != string(before) {
			m := o["metadata"].(map[string]any)
			g, _ := m["generation"].(float64)
			m["generation"] = g + 1
			s.store(path, o)
		}
	}
	answer(w, 200, o)
}

func merge(into, patch object) {
	for k, v := range patch {
		sub, ok := v.(map[string]any)
		if !ok {
			into[k] = v
			continue
		}
		to, ok := into[k].(map[string]any)
		if !ok {
			to = object{}
			into[k] = to
		}
		merge(to, sub)
	}
}

// watch sends the lines of the collection's channel until it is closed or the client goes.
func (s *stub) watch(w http.ResponseWriter, r *http.Request, collection string) {
	lines := s.lines(collection)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	for {
		select {
		case line, ok := <-lines:
			if !ok || line == "EOF" {
				return
			}
			fmt.Fprintln(w, line)
			w.(http.Flusher).Flush()
			if strings.Contains(line, `"ERROR"`) || !strings.HasPrefix(line, "{") { // the client goes: the next line is not for this watch
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (s *stub) lines(collection string) chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers[collection] == nil {
		s.watchers[collection] = make(chan string)
	}
	return s.watchers[collection]
}

func (s *stub) lastBody() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[len(s.bodies)-1]
}

func (s *stub) lastRequest() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func answer(w http.ResponseWriter, code int, o object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o)
}

func status(w http.ResponseWriter, code int, reason, message string) {
	answer(w, code, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
}

func statusBody(code int, reason, message string) string {
	b, _ := json.Marshal(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
	return string(b)
}

// kubeconfig writes a kubeconfig with the context "prod" for the server, and one more.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"staging",
		"clusters":[{"name":"one","cluster":{"server":%q}},{"name":"two","cluster":{"server":"https://staging.example.com"}},{"name":"none","cluster":{}}],
		"users":[{"name":"ada","user":{"token":"secret-of-ada"}}],
		"contexts":[{"name":"prod","context":{"cluster":"one","user":"ada"}},{"name":"staging","context":{"cluster":"two","user":"ada"}},
			{"name":"empty","context":{"cluster":"none","user":"ada"}},{"name":"nobody","context":{"cluster":"one","user":"grace"}},{"name":"dangling","context":{"cluster":"gone","user":"ada"}}]}`, server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// at connects to a server. It repeats without waiting.
func at(t *testing.T, server string) *Cluster {
	t.Helper()
	c, err := New(Config{Kubeconfig: kubeconfig(t, server), Context: "prod", CallTimeout: 10 * time.Second, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	impatient(c)
	return c
}

func impatient(c *Cluster) {
	c.pause = func(time.Duration) <-chan time.Time {
		now := make(chan time.Time)
		close(now)
		return now
	}
}

// barrier lets requests through only when n of them are there at the same time, which proves that they are one wave.
func barrier(t *testing.T, n int) func(*http.Request) {
	t.Helper()
	var mu sync.Mutex
	all := make(chan struct{})
	return func(r *http.Request) {
		mu.Lock()
		n--
		switch {
		case n == 0:
			close(all)
		case n < 0:
			t.Errorf("%s: one request more than expected", r.URL)
		}
		mu.Unlock()
		select {
		case <-all:
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
			t.Errorf("%s waits for the others of its wave", r.URL)
		}
	}
}

func ctxFor(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var payments = rollback.Ref{Kind: "Deployment", Namespace: "prod", Name: "payments"}
