package kube

// What tests and the demo do to the cluster from behind: make objects, give images their behaviour, break things.

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Apply creates each object, or replaces it if it exists, as `kubectl apply` by the administrator would, and reports what
// the API server says against it. Objects are what json.Marshal makes of them: Go maps, or structs with JSON tags.
func (s *Server) Apply(objects ...any) error {
	return s.ApplyAs("kubectl-client-side-apply", objects...)
}

// ApplyAs is Apply with another field manager, for objects that belong to a deploy tool ("argocd-controller", "helm").
func (s *Server) ApplyAs(manager string, objects ...any) error {
	for _, in := range objects {
		v, err := canonical(in)
		if err != nil {
			return err
		}
		o, ok := v.(tree)
		if !ok {
			return fmt.Errorf("kube: %T is no object", in)
		}
		r := s.byKind(str(o, "apiVersion"), str(o, "kind"))
		if r == nil {
			return fmt.Errorf("kube: no such kind: %s %s", str(o, "apiVersion"), str(o, "kind"))
		}
		ns, name := str(o, "metadata", "namespace"), str(o, "metadata", "name")
		if r.namespaced && ns == "" {
			ns = "default"
		}
		s.mu.Lock()
		if old := s.find(r, ns, name); old == nil {
			_, err = s.admit(r, ns, o, manager, "Strict", false)
		} else {
			_, err = s.update(old, o, manager, "", "Strict", false)
		}
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("kube: %s %s/%s: %w", r.kind, ns, name, err)
		}
	}
	return nil
}

// Get returns a copy of an object, nil if there is none. The resource is named as in kubectl: "pods", "deploy", "ConfigMap".
func (s *Server) Get(resource, ns, name string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.must(resource)
	o := s.find(r, ns, name)
	if o == nil {
		return nil
	}
	return fullCopy(o)
}

// List returns copies of the objects of a namespace ("" means all) that a label selector ("" means all) selects, by name.
func (s *Server) List(resource, ns, selector string) []map[string]any {
	sel, err := parseSelector(selector)
	if err != nil {
		panic("kube: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []map[string]any
	for _, o := range s.list(s.must(resource), ns) {
		if selects(sel, dict(o.data, "metadata", "labels")) {
			out = append(out, fullCopy(o))
		}
	}
	return out
}

func fullCopy(o *object) tree {
	t := copyTree(o.data)
	t["kind"], t["apiVersion"] = o.res.kind, o.res.apiVersion()
	return t
}

func (s *Server) must(name string) *resource {
	r := s.byName(name)
	if r == nil {
		panic(fmt.Sprintf("kube: no resource %q", name)) // a mistake in a test
	}
	return r
}

// Edit changes an object as some other client would, without anybody's rights or checks.
func (s *Server) Edit(resource, ns, name string, edit func(o map[string]any)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(s.must(resource), ns, name)
	if o == nil {
		return notFound(s.must(resource), name)
	}
	var bad error
	s.change(o, func(t tree) {
		edit(t)
		v, err := canonical(t)
		if bad = err; err == nil {
			for k := range t {
				delete(t, k)
			}
			for k, x := range v.(tree) {
				t[k] = x
			}
			delete(t, "kind")
			delete(t, "apiVersion")
		}
	})
	return bad
}

// Behave says what containers of an image do. It holds for containers that start from now on.
func (s *Server) Behave(digest string, b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kubelet.behaviours[digest] = b
}

// SetImageID changes how the nodes report images of containers that start from now on.
func (s *Server) SetImageID(f ImageIDForm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.ImageID = f
}

// SetDelays changes the delays; zero values mean the defaults.
func (s *Server) SetDelays(d Delays) {
	d.defaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Delays = d
}

// Preload puts an image into the cache of every node, as if it had been pulled there some time ago.
func (s *Server) Preload(ref, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.list(nodes, "") {
		if s.kubelet.cache[n.name] == nil {
			s.kubelet.cache[n.name] = map[string]string{}
		}
		s.kubelet.cache[n.name][ref] = digest
	}
}

// DeletePod deletes a pod, as an operator does.
func (s *Server) DeletePod(ns, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(pods, ns, name)
	if o == nil {
		return notFound(pods, name)
	}
	s.terminate(o, -1)
	return nil
}

// Evict ends a pod as a node under pressure does: the pod stays, Failed with reason Evicted, and its controller makes another.
func (s *Server) Evict(ns, name, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(pods, ns, name)
	if o == nil {
		return notFound(pods, name)
	}
	run := s.kubelet.runs[o.uid]
	if run == nil {
		return fmt.Errorf("kube: pod %s/%s has no node", ns, name)
	}
	s.event(o, "Warning", "Evicted", "kubelet", message, "")
	for _, c := range append(slices.Clone(run.inits), run.mains...) {
		if has(c.state, "running") {
			c.state = tree{"terminated": tree{"exitCode": int64(137), "reason": "Error", "startedAt": stamp(c.at), "finishedAt": stamp(time.Now()), "containerID": c.id}}
		}
		c.launched, c.done, c.ok, c.ready, c.started = true, true, false, false, false
	}
	s.report(run)
	run.evicted = message
	s.change(o, func(t tree) {
		set(t, "Failed", "status", "phase")
		set(t, "Evicted", "status", "reason")
		set(t, message, "status", "message")
	})
	return nil
}

// Exit ends a running container with an exit code; its pod's restart policy decides what follows.
func (s *Server) Exit(ns, pod, container string, code int) error {
	return s.running(ns, pod, container, func(run *podRun, c *containerRun) { s.exit(run, c, code) })
}

// SetReady lets the readiness probe of a running container pass or fail from now on.
func (s *Server) SetReady(ns, pod, container string, ready bool) error {
	return s.running(ns, pod, container, func(run *podRun, c *containerRun) {
		c.ready = ready
		s.report(run)
	})
}

func (s *Server) running(ns, pod, container string, do func(*podRun, *containerRun)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(pods, ns, pod)
	if o == nil {
		return notFound(pods, pod)
	}
	if run := s.kubelet.runs[o.uid]; run != nil && s.alive(run) {
		for _, c := range append(slices.Clone(run.inits), run.mains...) {
			if c.name == container && has(c.state, "running") {
				do(run, c)
				return nil
			}
		}
	}
	return fmt.Errorf("kube: no running container %s in pod %s/%s", container, ns, pod)
}

// Scale sets the replicas of a workload.
func (s *Server) Scale(resource, ns, name string, replicas int) error {
	return s.Edit(resource, ns, name, func(o map[string]any) { set(o, int64(replicas), "spec", "replicas") })
}

// ForbidPods lets every creation of a pod in a namespace fail with 403 and this reason, as a quota or an admission webhook
// does ("exceeded quota: …"); "" permits them again.
func (s *Server) ForbidPods(ns, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked[ns] = why; why == "" {
		delete(s.blocked, ns)
	}
}

// DropWatches ends every watch that is open, as an API server does that restarts.
func (s *Server) DropWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.dropped)
	s.dropped = make(chan struct{})
}

// Compact forgets the history: watches from before now, and unfinished paged lists, get 410 Expired.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compactTo(0)
	s.oldest = s.version
	s.chunks = nil
}

// WaitRollout waits until a Deployment, StatefulSet or DaemonSet is rolled out as its controller sees it.
func (s *Server) WaitRollout(ctx context.Context, resource, ns, name string) error {
	err := s.Wait(ctx, func() bool {
		o := s.Get(resource, ns, name)
		return o != nil && RolledOut(o)
	})
	if err != nil {
		return fmt.Errorf("kube: %s %s/%s is not rolled out: %w; its status: %s", resource, ns, name, err, encode(s.Get(resource, ns, name)["status"]))
	}
	return nil
}

// RolledOut tells whether a Deployment, StatefulSet or DaemonSet runs its present template everywhere.
func RolledOut(o map[string]any) bool {
	st, spec := dict(o, "status"), dict(o, "spec")
	if num(st, "observedGeneration") < num(o, "metadata", "generation") {
		return false
	}
	switch want := num(spec, "replicas"); str(o, "kind") {
	case "Deployment":
		return complete(o, st)
	case "StatefulSet":
		return num(st, "updatedReplicas") == want && num(st, "availableReplicas") == want && str(st, "currentRevision") == str(st, "updateRevision")
	case "DaemonSet":
		n := num(st, "desiredNumberScheduled")
		return num(st, "updatedNumberScheduled") == n && num(st, "numberAvailable") == n
	}
	return false
}

// StatusBody is the body of an error as the API server words it, for faults: StatusBody(503, "ServiceUnavailable", "…").
func StatusBody(code int, reason, message string) string {
	if message == "" {
		message = http.StatusText(code)
	}
	return string(encode((&fail{code: code, reason: reason, message: message}).status()))
}
