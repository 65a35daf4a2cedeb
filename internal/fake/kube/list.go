package kube

// Lists in pages, and watches.

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// chunk is the rest of a list that a client reads page by page: the pages all show the state of the first.
type chunk struct {
	token   string
	version int64
	rest    []*object
}

// chunkLimit is how many unfinished paged lists are kept; older ones answer 410, as after a compaction.
const chunkLimit = 64

// atVersion checks a resourceVersion that says "not older than".
func (s *Server) atVersion(rv string) (int64, error) {
	if rv == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(rv, 10, 64)
	if err != nil || n < 0 {
		return 0, badRequest("Invalid value: %q: strconv.ParseUint: parsing %q: invalid syntax", rv, rv)
	}
	if n > s.version {
		return 0, &fail{code: http.StatusGatewayTimeout, reason: "Timeout", message: fmt.Sprintf("Too large resource version: %d, current: %d", n, s.version),
			details: tree{"causes": []any{tree{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}}, "retryAfterSeconds": int64(1)}}
	}
	return n, nil
}

func (s *Server) serveList(w http.ResponseWriter, q request, f form) error {
	sel, err := q.selection()
	if err != nil {
		return err
	}
	v := q.URL.Query()
	if m := v.Get("resourceVersionMatch"); m != "" && m != "NotOlderThan" {
		return refuse("resourceVersionMatch %q", m)
	}
	limit, err := strconv.Atoi("0" + v.Get("limit"))
	if err != nil {
		return badRequest("invalid limit %q", v.Get("limit"))
	}
	s.mu.Lock()
	found, version, err := s.page(q, sel, v.Get("continue"), v.Get("resourceVersion"))
	next, remaining := "", 0
	if err == nil && limit > 0 && len(found) > limit {
		next, remaining = s.keep(version, found[limit:]), len(found)-limit
		found = found[:limit]
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	meta := tree{"resourceVersion": strconv.FormatInt(version, 10)}
	if next != "" {
		meta["continue"] = next
		if len(sel.labels) == 0 && len(sel.fields) == 0 {
			meta["remainingItemCount"] = int64(remaining)
		}
	}
	if f == table {
		t := tableOf(q.res, found, meta["resourceVersion"].(string), time.Now())
		t["metadata"] = meta
		writeJSON(w, http.StatusOK, encode(t))
		return nil
	}
	var b bytes.Buffer
	kind, version2 := q.res.kind+"List", q.res.apiVersion()
	if f == partial {
		kind, version2 = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	fmt.Fprintf(&b, `{"kind":%q,"apiVersion":%q,"metadata":%s,"items":[`, kind, version2, encode(meta))
	for i, o := range found {
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case f == partial:
			b.Write(encode(metadataOf(o)))
		case q.res.custom:
			b.Write(o.full())
		default:
			b.Write(o.body())
		}
	}
	b.WriteString("]}")
	writeJSON(w, http.StatusOK, b.Bytes())
	return nil
}

// page returns what is left to list and the version it shows. s.mu is held.
func (s *Server) page(q request, sel selection, token, rv string) ([]*object, int64, error) {
	if token != "" {
		if rv != "" && rv != "0" {
			return nil, 0, badRequest("specifying resource version is not allowed when using continue")
		}
		if _, err := base64.RawURLEncoding.DecodeString(token); err != nil {
			return nil, 0, badRequest("continue key is not valid: %v", err)
		}
		for _, c := range s.chunks {
			if c.token == token {
				return c.rest, c.version, nil
			}
		}
		return nil, 0, expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	}
	if _, err := s.atVersion(rv); err != nil {
		return nil, 0, err
	}
	var found []*object
	for _, o := range s.list(q.res, sel.ns) {
		if sel.has(o) {
			found = append(found, o)
		}
	}
	return found, s.version, nil
}

func (s *Server) keep(version int64, rest []*object) string {
	s.seq++
	token := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"v":"meta.k8s.io/v1","rv":%d,"start":%q,"n":%d}`, version, rest[0].ns+"/"+rest[0].name, s.seq))
	s.chunks = append(s.chunks, chunk{token, version, rest})
	if len(s.chunks) > chunkLimit {
		s.chunks = s.chunks[1:]
	}
	return token
}

// watch streams changes until the client goes, the time is up, or the server drops its watches.
func (s *Server) watch(w http.ResponseWriter, q request, f form) error {
	sel, err := q.selection()
	if err != nil {
		return err
	}
	v := q.URL.Query()
	initial := v.Get("sendInitialEvents") == "true"
	bookmarks := v.Get("allowWatchBookmarks") == "true"
	if initial && (v.Get("resourceVersionMatch") != "NotOlderThan" || !bookmarks) {
		return invalid(&resource{group: "meta.k8s.io", kind: "ListOptions"}, "", []cause{forbiddenField("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan and allowWatchBookmarks")})
	}
	var end <-chan time.Time
	if t := v.Get("timeoutSeconds"); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil {
			return badRequest("invalid timeoutSeconds %q", t)
		}
		if n > 0 {
			timer := time.NewTimer(time.Duration(n) * time.Second)
			defer timer.Stop()
			end = timer.C
		}
	}
	s.mu.Lock()
	from, err := s.atVersion(v.Get("resourceVersion"))
	if err != nil {
		s.mu.Unlock()
		return err
	}
	dropped := s.dropped
	var first []*object
	tooOld := false
	if from == 0 || initial {
		for _, o := range s.list(q.res, sel.ns) {
			if sel.has(o) {
				first = append(first, o)
			}
		}
		from = s.version
	} else {
		tooOld = from < s.oldest
	}
	current := s.version
	s.mu.Unlock()

	out := eventStream{w: w, res: q.res, form: f}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	if tooOld {
		out.send("ERROR", encode(expired(fmt.Sprintf("too old resource version: %d (%d)", from, current)).status()))
		return nil
	}
	for _, o := range first {
		out.object("ADDED", o)
	}
	if initial {
		out.bookmark(from, true)
	}
	for {
		out.flush()
		s.mu.Lock()
		changes, ok := s.since(from)
		now, changed := s.version, s.changed
		s.mu.Unlock()
		if !ok {
			out.send("ERROR", encode(expired(fmt.Sprintf("too old resource version: %d (%d)", from, now)).status()))
			return nil
		}
		sent := false
		for _, c := range changes {
			sent = out.change(q.res, sel, c) || sent
		}
		if from = now; sent {
			continue
		}
		if out.err != nil {
			return nil
		}
		select {
		case <-changed:
			continue
		case <-q.Context().Done():
		case <-dropped:
		case <-s.stop:
		case <-end:
			if bookmarks {
				out.bookmark(from, false)
			}
		}
		return nil
	}
}

// since returns the changes after a version; false if they have been forgotten. s.mu is held.
func (s *Server) since(version int64) ([]change, bool) {
	if version < s.oldest {
		return nil, false
	}
	i := len(s.log) - int(s.version-version) // every version has exactly one entry
	return s.log[max(i, 0):], true
}

// eventStream writes watch events.
type eventStream struct {
	w    http.ResponseWriter
	res  *resource
	form form
	head bool // the column definitions of a table have been sent
	err  error
}

func (e *eventStream) send(kind string, obj []byte) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, "{\"type\":%q,\"object\":%s}\n", kind, obj)
	}
}

func (e *eventStream) flush() {
	if f, ok := e.w.(http.Flusher); ok {
		f.Flush()
	}
}

func (e *eventStream) object(kind string, o *object) {
	switch e.form {
	case partial:
		e.send(kind, encode(metadataOf(o)))
	case table:
		t := tableOf(e.res, []*object{o}, strconv.FormatInt(o.version, 10), time.Now())
		if e.head {
			delete(t, "columnDefinitions")
		}
		e.head = true
		e.send(kind, encode(t))
	default:
		e.send(kind, o.full())
	}
}

func (e *eventStream) bookmark(version int64, initial bool) {
	meta := tree{"resourceVersion": strconv.FormatInt(version, 10), "creationTimestamp": nil}
	if initial {
		meta["annotations"] = tree{"k8s.io/initial-events-end": "true"}
	}
	kind, apiVersion := e.res.kind, e.res.apiVersion()
	if e.form == partial {
		kind, apiVersion = "PartialObjectMetadata", "meta.k8s.io/v1"
	}
	e.send("BOOKMARK", encode(tree{"kind": kind, "apiVersion": apiVersion, "metadata": meta}))
}

// change sends what a change means to somebody who sees only the selection.
func (e *eventStream) change(r *resource, sel selection, c change) bool {
	if c.res != r {
		return false
	}
	before, after := sel.has(c.old), sel.has(c.new)
	switch {
	case after && before:
		e.object("MODIFIED", c.new)
	case after:
		e.object("ADDED", c.new)
	case before && c.new == nil:
		e.object("DELETED", c.old)
	case before:
		// It left the selection: its last seen state, at the version of the change.
		last := copyTree(c.old.data)
		set(last, strconv.FormatInt(c.version, 10), "metadata", "resourceVersion")
		e.object("DELETED", &object{res: r, ns: c.old.ns, name: c.old.name, version: c.version, data: last})
	default:
		return false
	}
	return true
}

// tableOf renders objects as kubectl prints them.
func tableOf(r *resource, list []*object, version string, now time.Time) tree {
	cols, cells := columns(r)
	var defs, rows []any
	for _, c := range cols {
		name, wide := strings.CutPrefix(c, "+")
		d := tree{"name": name, "type": "string", "format": "", "description": "", "priority": int64(0)}
		if name == "Name" {
			d["format"] = "name"
		}
		if wide {
			d["priority"] = int64(1)
		}
		defs = append(defs, d)
	}
	for _, o := range list {
		row := cells(o.data, now)
		rows = append(rows, tree{"cells": row, "object": metadataOf(o)})
	}
	if rows == nil {
		rows = []any{}
	}
	return tree{"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": tree{"resourceVersion": version}, "columnDefinitions": defs, "rows": rows}
}
