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

// Preload puts an image into the cache of every node, as if it had been pulled there some time ago; with an empty digest it
// takes the image away, as a node does that is low on disk.
func (s *Server) Preload(ref, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.list(nodes, "") {
		if s.kubelet.cache[n.name] == nil {
			s.kubelet.cache[n.name] = map[string]string{}
		}
		if s.kubelet.cache[n.name][ref] = digest; digest == "" {
			delete(s.kubelet.cache[n.name], ref)
		}
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
			s.event(o, "Normal", "Killing", "kubelet", "Stopping container "+c.name, c.field)
			c.end(137, "Error")
		}
		c.launched, c.done, c.ok, c.ready, c.started = true, true, false, false, false
	}
	s.report(run)
	run.evicted = message
	s.change(o, func(t tree) {
		set(t, "Failed", "status", "phase")
		set(t, "Evicted", "status", "reason")
		set(t, message, "status", "message")
		podCondition(t, "DisruptionTarget", "True", "TerminationByKubelet", message)
	})
	return nil
}

// SetSecret makes a Secret that pods can name, or takes it away. What it holds nobody can ask for: the API does not serve Secrets,
// which the program has no business with.
func (s *Server) SetSecret(ns, name string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kubelet.secrets[ns+"/"+name] = there
}

// BreakSandboxes lets no pod get its network from now on, for this reason; "" mends it.
func (s *Server) BreakSandboxes(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kubelet.sandbox = why
}

// Lose cuts a node off for good, and has the node controller notice: it takes the node's pods out of service, and has those
// deleted that do not tolerate it any longer. They cannot end: there is no kubelet to say that they have.
// Sources: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/controller/nodelifecycle/node_lifecycle_controller.go (tryUpdateNodeHealth),
// pkg/controller/util/node/controller_utils.go (MarkPodsNotReady), pkg/controller/tainteviction/taint_eviction.go
func (s *Server) Lose(node string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(nodes, "", node)
	if n == nil {
		return notFound(nodes, node)
	}
	s.kubelet.lost[node] = true
	s.change(n, func(t tree) {
		for _, c := range items(t, "status", "conditions") {
			set(c.(tree), "Unknown", "status")
			set(c.(tree), "NodeStatusUnknown", "reason")
			set(c.(tree), "Kubelet stopped posting node status.", "message")
		}
		set(t, []any{tree{"key": unreachable, "effect": "NoSchedule", "timeAdded": stamp(time.Now())}, tree{"key": unreachable, "effect": "NoExecute", "timeAdded": stamp(time.Now())}}, "spec", "taints")
	})
	for _, p := range s.list(pods, "") {
		if str(p.data, "spec", "nodeName") != node || terminating(p) {
			continue
		}
		if c := condition(p.data, "Ready"); str(c, "status") == "True" {
			s.change(p, func(t tree) {
				podCondition(t, "Ready", "False", str(c, "reason"), str(c, "message"))
			})
			s.event(p, "Warning", "NodeNotReady", "node-controller", "Node is not ready", "")
		}
		after := 300 * time.Second // the API server's default
		for _, t := range items(p.data, "spec", "tolerations") {
			if str(t, "key") == unreachable && str(t, "effect") == "NoExecute" {
				if after = time.Duration(num(t, "tolerationSeconds")) * time.Second; !has(t, "tolerationSeconds") {
					after = -1
				}
			}
		}
		if after < 0 {
			continue
		}
		s.after(after, func() {
			if now := s.objects[p.key()]; now != nil && now.uid == p.uid && !terminating(now) {
				s.event(now, "Normal", "TaintManagerEviction", "taint-eviction-controller", fmt.Sprintf("Marking for deletion Pod %s/%s", now.ns, now.name), "")
				now = s.change(now, func(t tree) {
					podCondition(t, "DisruptionTarget", "True", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
				})
				s.terminate(now, -1)
			}
		})
	}
	return nil
}

const unreachable = "node.kubernetes.io/unreachable"

// Exit ends a running container with an exit code; its pod's restart policy decides what follows.
func (s *Server) Exit(ns, pod, container string, code int) error {
	reason := "Error"
	switch code {
	case 0:
		reason = "Completed"
	case 137:
		reason = "OOMKilled"
	}
	return s.running(ns, pod, container, func(run *podRun, c *containerRun) { s.exit(run, c, code, reason, "") })
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
