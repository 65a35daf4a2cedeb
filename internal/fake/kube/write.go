package kube

// Writing objects on behalf of clients: admission, optimistic locking, generations, deletion.

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// precheck refuses fields that the server does not know.
func (s *Server) precheck(r *resource, o tree, validation string) error {
	f := strict(r, o)
	if f == "" {
		return nil
	}
	e := badRequest("%s in version %q cannot be handled as a %s: strict decoding error: unknown field %q", r.kind, r.version, r.kind, f)
	e.unknown = validation != "Strict"
	return e
}

// beyond refuses what Kubernetes does and the controllers and nodes here do not.
func beyond(r *resource, o, old tree) error {
	spec := dict(o, "spec")
	template, path := templateOf(r, o)
	switch {
	case r == daemonSets && equal(get(spec, "updateStrategy", "rollingUpdate", "maxSurge"), int64(0)) == has(spec, "updateStrategy", "rollingUpdate"):
		// none
	case r == daemonSets:
		return refuse("maxSurge of a DaemonSet")
	case r == statefulSet && has(spec, "updateStrategy", "rollingUpdate", "maxUnavailable") && !equal(get(spec, "updateStrategy", "rollingUpdate", "maxUnavailable"), int64(1)):
		return refuse("maxUnavailable of a StatefulSet other than 1")
	case r == jobs && (str(spec, "completionMode") == "Indexed" || has(spec, "activeDeadlineSeconds") || has(spec, "ttlSecondsAfterFinished")):
		return refuse("completionMode Indexed, activeDeadlineSeconds and ttlSecondsAfterFinished of a Job")
	case r == pods && old != nil && !equal(images(spec), images(dict(old, "spec"))):
		return refuse("a new image for a running pod")
	}
	if has(template, "spec", "affinity") || has(template, "spec", "topologySpreadConstraints") {
		return refuse("%s.spec.affinity and topologySpreadConstraints", path)
	}
	return nil
}

func images(spec tree) []any {
	var out []any
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range items(spec, list) {
			out = append(out, get(c, "image"))
		}
	}
	return out
}

// tidy drops what a real server does not keep: nulls, and empty labels, annotations, data and node selectors.
func tidy(r *resource, o tree) {
	if r.custom || r == events {
		return
	}
	for _, k := range []string{"metadata", "spec", "data"} {
		if v := o[k]; v != nil {
			dropNulls(v)
		} else {
			delete(o, k)
		}
	}
	drop := func(t tree, key string) {
		if m, ok := t[key].(tree); ok && len(m) == 0 {
			delete(t, key)
		}
	}
	template, _ := templateOf(r, o)
	for _, m := range []tree{dict(o, "metadata"), dict(template, "metadata")} {
		drop(m, "labels")
		drop(m, "annotations")
	}
	drop(o, "data")
	drop(o, "binaryData")
	drop(dict(o, "spec"), "nodeSelector")
	drop(dict(template, "spec"), "nodeSelector")
}

func dropNulls(v any) {
	switch v := v.(type) {
	case tree:
		for k, x := range v {
			if x == nil {
				delete(v, k)
			} else {
				dropNulls(x)
			}
		}
	case []any:
		for _, x := range v {
			dropNulls(x)
		}
	}
}

// wrongType finds values that do not decode into the Go types of a real server.
func wrongType(r *resource, o tree) error {
	check := func(m any, field string) error {
		if m == nil {
			return nil
		}
		t, ok := m.(tree)
		if !ok {
			return badRequest("%s in version %q cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %s.%s of type map[string]string", r.kind, r.version, r.kind, jsonType(m), r.kind, field)
		}
		for _, v := range t {
			if _, ok := v.(string); !ok {
				return badRequest("%s in version %q cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %s.%s of type string", r.kind, r.version, r.kind, jsonType(v), r.kind, field)
			}
		}
		return nil
	}
	for _, k := range []string{"labels", "annotations"} {
		if err := check(get(o, "metadata", k), "metadata."+k); err != nil {
			return err
		}
		if t, path := templateOf(r, o); t != nil {
			if err := check(get(t, "metadata", k), path+".metadata."+k); err != nil {
				return err
			}
		}
	}
	if r == configMaps {
		return check(o["data"], "data")
	}
	for _, k := range []string{"spec", "status"} {
		if v := o[k]; v != nil && !isMap(v) {
			return badRequest("%s in version %q cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %s.%s", r.kind, r.version, r.kind, jsonType(v), r.kind, k)
		}
	}
	if v := get(o, "spec", "replicas"); v != nil {
		if _, ok := v.(int64); !ok {
			return badRequest("%s in version %q cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %sSpec.spec.replicas of type int32", r.kind, r.version, r.kind, jsonType(v), r.kind)
		}
	}
	return nil
}

func jsonType(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case int64, float64:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// admit creates an object. s.mu is held.
func (s *Server) admit(r *resource, ns string, o tree, manager, validation string, dryRun bool) (*object, error) {
	o = copyTree(o)
	delete(o, "kind")
	delete(o, "apiVersion")
	if err := wrongType(r, o); err != nil {
		return nil, err
	}
	if err := s.precheck(r, o, validation); err != nil {
		return nil, err
	}
	meta := dict(o, "metadata")
	if meta == nil {
		meta = tree{}
		o["metadata"] = meta
	}
	if !r.namespaced {
		ns = ""
	}
	if have := str(meta, "namespace"); have != "" && have != ns {
		return nil, badRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if str(meta, "resourceVersion") != "" {
		return nil, badRequest("resourceVersion should not be set on objects to be created")
	}
	name := str(meta, "name")
	if name == "" && str(meta, "generateName") != "" {
		name = str(meta, "generateName") + suffix(5)
		meta["name"] = name
	}
	if name == "" {
		return nil, invalid(r, "", []cause{required("metadata.name", "name or generateName is required")})
	}
	if r.namespaced {
		home := s.find(namespaces, "", ns)
		if home == nil {
			return nil, notFound(namespaces, ns)
		}
		if str(home.data, "status", "phase") == "Terminating" {
			return nil, forbidden(r, name, fmt.Sprintf("unable to create new content in namespace %s because it is being terminated", ns))
		}
	}
	for _, k := range []string{"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields", "selfLink"} {
		delete(meta, k)
	}
	if r.status && r != nodes {
		delete(o, "status")
	}
	tidy(r, o)
	defaults(r, o)
	if err := validate(r, o, nil); err != nil {
		return nil, err
	}
	if err := beyond(r, o, nil); err != nil {
		return nil, err
	}
	if s.find(r, ns, name) != nil {
		return nil, exists(r, name)
	}
	countTemplates(r, o, nil)
	if r == pods {
		if why := s.blocked[ns]; why != "" {
			return nil, forbidden(r, name, why)
		}
		set(o, "Pending", "status", "phase")
		set(o, qos(dict(o, "spec")), "status", "qosClass")
	}
	manage(r, nil, o, manager, "")
	s.born(r, ns, o)
	if dryRun {
		return &object{res: r, ns: ns, name: name, data: o}, nil
	}
	return s.commit(r, ns, name, o), nil
}

// update stores what a client made of an object; nothing is written when nothing differs. s.mu is held.
func (s *Server) update(old *object, o tree, manager, sub, validation string, dryRun bool) (*object, error) {
	r := old.res
	o = copyTree(o)
	delete(o, "kind")
	delete(o, "apiVersion")
	if err := wrongType(r, o); err != nil {
		return nil, err
	}
	if err := s.precheck(r, o, validation); err != nil {
		return nil, err
	}
	meta := dict(o, "metadata")
	if meta == nil {
		meta = tree{}
		o["metadata"] = meta
	}
	if name := str(meta, "name"); name != old.name {
		return nil, badRequest("the name of the object (%s) does not match the name on the URL (%s)", name, old.name)
	}
	if ns := str(meta, "namespace"); ns != "" && ns != old.ns {
		return nil, badRequest("the namespace of the object (%s) does not match the namespace on the request (%s)", ns, old.ns)
	}
	if uid := str(meta, "uid"); uid != "" && uid != old.uid {
		return nil, conflict(r, old.name, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, old.uid))
	}
	if rv := str(meta, "resourceVersion"); rv != "" {
		if _, err := strconv.ParseInt(rv, 10, 64); err != nil {
			return nil, invalid(r, old.name, []cause{invalidValue("metadata.resourceVersion", rv, "must be an integer")})
		}
		if rv != strconv.FormatInt(old.version, 10) {
			return nil, conflict(r, old.name, modified)
		}
	}
	for _, k := range []string{"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "resourceVersion", "generateName", "managedFields"} {
		if v := get(old.data, "metadata", k); v != nil {
			meta[k] = clone(v)
		} else {
			delete(meta, k)
		}
	}
	switch {
	case sub == "status": // only the status, plus labels and annotations as they were
		next := copyTree(old.data)
		next["status"] = o["status"]
		if o["status"] == nil {
			next["status"] = tree{}
		}
		o = next
	case r.status:
		if st := old.data["status"]; st != nil {
			o["status"] = clone(st)
		} else {
			delete(o, "status")
		}
	}
	tidy(r, o)
	defaults(r, o)
	if err := validate(r, o, old.data); err != nil {
		return nil, err
	}
	if err := beyond(r, o, old.data); err != nil {
		return nil, err
	}
	countTemplates(r, o, old.data)
	if equal(o, old.data) {
		return old, nil
	}
	if r.generation && !equal(o["spec"], old.data["spec"]) {
		set(o, int64(num(o, "metadata", "generation")+1), "metadata", "generation")
	}
	manage(r, old.data, o, manager, sub)
	if dryRun {
		return &object{res: r, ns: old.ns, name: old.name, uid: old.uid, data: o}, nil
	}
	if has(o, "metadata", "deletionTimestamp") && len(items(o, "metadata", "finalizers")) == 0 && r != pods && r != namespaces {
		s.remove(old) // the last finalizer has gone
		return &object{res: r, ns: old.ns, name: old.name, uid: old.uid, data: o}, nil
	}
	return s.commit(r, old.ns, old.name, o), nil
}

// delete begins or does the deletion of an object. s.mu is held.
func (s *Server) delete(o *object, d deletion) (any, error) {
	if d.uid != "" && d.uid != o.uid {
		return nil, conflict(o.res, o.name, fmt.Sprintf("Precondition failed: UID in precondition: %s, UID in object meta: %s", d.uid, o.uid))
	}
	if d.rv != "" && d.rv != strconv.FormatInt(o.version, 10) {
		return nil, conflict(o.res, o.name, fmt.Sprintf("Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %d", d.rv, o.version))
	}
	done := tree{"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Success", "details": details(o.res, o.name)}
	set(done, o.uid, "details", "uid")
	if d.dryRun {
		return done, nil
	}
	switch {
	case o.res == namespaces:
		if now := s.change(o, func(t tree) {
			fill(t, stamp(time.Now()), "metadata", "deletionTimestamp")
			set(t, "Terminating", "status", "phase")
		}); now != nil {
			o = now
		}
		s.after(s.opts.Delays.Controller, func() { s.emptyNamespace(o.name) })
		return o, nil
	case o.res == pods:
		if gone := s.terminate(o, d.grace); gone != nil {
			return gone, nil
		}
		return done, nil
	case len(items(o.data, "metadata", "finalizers")) > 0:
		return s.change(o, func(t tree) {
			fill(t, stamp(time.Now()), "metadata", "deletionTimestamp")
			fill(t, int64(0), "metadata", "deletionGracePeriodSeconds")
		}), nil
	}
	if d.propagation == "Orphan" {
		s.orphan(o)
	}
	s.remove(o)
	return done, nil
}

func (s *Server) deleteCollection(q request, d deletion) (int, any, error) {
	sel, err := q.selection()
	if err != nil {
		return 0, nil, err
	}
	for _, o := range s.list(q.res, q.ns) {
		if sel.has(o) {
			if _, err := s.delete(o, d); err != nil {
				return 0, nil, err
			}
		}
	}
	return http.StatusOK, tree{"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Success"}, nil
}

// terminate asks for the end of a pod: at once where nothing runs or nothing is to be waited for (it returns nil then),
// else with a deletion timestamp that its node acts upon. s.mu is held.
func (s *Server) terminate(o *object, grace int) *object {
	now := s.objects[o.key()]
	if now == nil || now.uid != o.uid {
		return nil
	}
	if grace < 0 {
		grace = numOr(now.data, 30, "spec", "terminationGracePeriodSeconds")
	}
	phase := str(now.data, "status", "phase")
	if str(now.data, "spec", "nodeName") == "" || phase == "Succeeded" || phase == "Failed" {
		grace = 0
	}
	if grace == 0 {
		s.remove(now)
		return nil
	}
	if has(now.data, "metadata", "deletionTimestamp") {
		return now
	}
	return s.change(now, func(t tree) {
		set(t, stamp(time.Now().Add(time.Duration(grace)*time.Second)), "metadata", "deletionTimestamp")
		set(t, int64(grace), "metadata", "deletionGracePeriodSeconds")
	})
}

func (s *Server) evict(q request) (int, any, error) {
	o := s.find(pods, q.ns, q.name)
	if o == nil {
		return 0, nil, notFound(pods, q.name)
	}
	s.terminate(o, -1)
	return http.StatusCreated, tree{"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Success", "code": int64(http.StatusCreated)}, nil
}

// scale serves the scale subresource.
func (s *Server) scale(q request, in any) (int, any, error) {
	o := s.find(q.res, q.ns, q.name)
	if o == nil {
		return 0, nil, notFound(q.res, q.name)
	}
	if q.verb == "get" {
		return http.StatusOK, scaleOf(o), nil
	}
	want, ok := in.(tree)
	if q.verb == "patch" {
		p := in.(patchBody)
		var err error
		if want, err = patched(&resource{group: "autoscaling", version: "v1", kind: "Scale"}, copyTree(scaleOf(o)), p); err != nil {
			return 0, nil, err
		}
	} else if !ok {
		return 0, nil, badRequest("no object")
	}
	if rv := str(want, "metadata", "resourceVersion"); rv != "" && rv != strconv.FormatInt(o.version, 10) {
		return 0, nil, conflict(q.res, q.name, modified)
	}
	next := copyTree(o.data)
	set(next, int64(num(want, "spec", "replicas")), "spec", "replicas")
	o, err := s.update(o, next, q.manager(), "", "", q.dryRun())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, scaleOf(o), nil
}

func scaleOf(o *object) tree {
	var terms []string
	for _, r := range podSelector(dict(o.data, "spec", "selector")) {
		switch r.op {
		case "=":
			terms = append(terms, r.key+"="+r.values[0])
		case "exists":
			terms = append(terms, r.key)
		case "!":
			terms = append(terms, "!"+r.key)
		default:
			terms = append(terms, fmt.Sprintf("%s %s (%s)", r.key, r.op, strings.Join(r.values, ",")))
		}
	}
	slices.Sort(terms)
	return tree{"kind": "Scale", "apiVersion": "autoscaling/v1",
		"metadata": tree{"name": o.name, "namespace": o.ns, "uid": o.uid, "resourceVersion": strconv.FormatInt(o.version, 10), "creationTimestamp": get(o.data, "metadata", "creationTimestamp")},
		"spec":     tree{"replicas": int64(num(o.data, "spec", "replicas"))},
		"status":   tree{"replicas": int64(num(o.data, "status", "replicas")), "selector": strings.Join(terms, ",")}}
}

// orphan takes the owner off its dependants. s.mu is held.
func (s *Server) orphan(o *object) {
	for k := range s.owned[o.uid] {
		s.change(s.objects[k], func(t tree) {
			var keep []any
			for _, r := range items(t, "metadata", "ownerReferences") {
				if str(r, "uid") != o.uid {
					keep = append(keep, r)
				}
			}
			if keep == nil {
				unset(t, "metadata", "ownerReferences")
			} else {
				set(t, keep, "metadata", "ownerReferences")
			}
		})
	}
}

// emptyNamespace removes what is in a namespace, waits for the pods to end, and then removes the namespace.
func (s *Server) emptyNamespace(ns string) {
	left := false
	for _, r := range s.resources {
		if !r.namespaced {
			continue
		}
		for _, o := range s.list(r, ns) {
			if r == pods {
				left = s.terminate(o, -1) != nil || left
			} else {
				s.remove(o)
			}
		}
	}
	if left {
		s.after(s.opts.Delays.Controller, func() { s.emptyNamespace(ns) })
	} else if o := s.find(namespaces, "", ns); o != nil {
		s.remove(o)
	}
}
