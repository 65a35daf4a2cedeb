package kube

// The DaemonSet controller.
// Source: https://github.com/kubernetes/kubernetes/tree/master/pkg/controller/daemon

import (
	"cmp"
	"strconv"
	"time"
)

// templateGeneration is the annotation that counts the templates of a DaemonSet.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/apps/daemonset/strategy.go
const templateGeneration = "deprecated.daemonset.template.generation"

// countTemplates keeps the count: clients can set where it starts, and nothing later.
func countTemplates(r *resource, o, old tree) {
	if r != daemonSets {
		return
	}
	n, _ := strconv.Atoi(str(o, "metadata", "annotations", templateGeneration))
	if old != nil {
		n, _ = strconv.Atoi(str(old, "metadata", "annotations", templateGeneration))
		if !equal(get(o, "spec", "template"), get(old, "spec", "template")) {
			n++
		}
	}
	set(o, strconv.Itoa(max(n, 1)), "metadata", "annotations", templateGeneration)
}

func (s *Server) syncDaemonSet(o *object) {
	if terminating(o) {
		return
	}
	revision := s.revise(o)
	h := str(revision.data, "metadata", "labels", "controller-revision-hash")
	want, home := map[string]bool{}, map[string][]*object{}
	var names []string
	for _, n := range s.list(nodes, "") {
		if subset(dict(o.data, "spec", "template", "spec", "nodeSelector"), dict(n.data, "metadata", "labels")) {
			want[n.name] = true
			names = append(names, n.name)
		}
	}
	for _, p := range s.ownedBy(o.uid, pods) {
		home[cmp.Or(str(p.data, "spec", "nodeName"), boundTo(p.data))] = append(home[cmp.Or(str(p.data, "spec", "nodeName"), boundTo(p.data))], p)
	}
	for node, list := range home {
		for _, p := range list {
			ph := str(p.data, "status", "phase")
			if !terminating(p) && (!want[node] || ph == "Failed" || ph == "Succeeded") {
				s.deletePod(o, p)
			}
		}
	}
	for _, n := range names {
		if len(home[n]) == 0 && !s.kubelet.lost[n] {
			pod := podOf(o, dict(o.data, "spec", "template"), "", tree{"controller-revision-hash": h, "pod-template-generation": str(o.data, "metadata", "annotations", templateGeneration)})
			for _, taint := range []struct{ name, effect string }{
				{"not-ready", "NoExecute"}, {"unreachable", "NoExecute"},
				{"disk-pressure", "NoSchedule"}, {"memory-pressure", "NoSchedule"}, {"pid-pressure", "NoSchedule"}, {"unschedulable", "NoSchedule"},
			} {
				tolerate(dict(pod, "spec"), "node.kubernetes.io/"+taint.name, taint.effect, nil)
			}
			set(pod, []any{tree{"matchFields": []any{tree{"key": "metadata.name", "operator": "In", "values": []any{n}}}}},
				"spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
			if _, err := s.createPod(o, pod); err != nil {
				s.wakeAfter(o.key(), 10*s.opts.Delays.Controller)
			}
		}
	}
	if str(o.data, "spec", "updateStrategy", "type") == "RollingUpdate" {
		s.rollDaemons(o, h, names)
	}
	s.daemonStatus(o, h, names)
	used := map[string]bool{revision.name: true}
	for _, list := range home {
		for _, p := range list {
			used[revisionOf(p)] = true
		}
	}
	s.trimRevisions(o, used)
}

// daemonOn returns the pods of a DaemonSet by node, the one that is not ending first.
func (s *Server) daemonOn(o *object) map[string]*object {
	on := map[string]*object{}
	for _, p := range s.ownedBy(o.uid, pods) {
		node := cmp.Or(str(p.data, "spec", "nodeName"), boundTo(p.data))
		if have := on[node]; have == nil || terminating(have) {
			on[node] = p
		}
	}
	return on
}

// rollDaemons replaces old pods, as many at once as maxUnavailable permits; those that are down anyway come first and free.
func (s *Server) rollDaemons(o *object, h string, names []string) {
	on := s.daemonOn(o)
	answer := len(names)
	for _, n := range names {
		if s.kubelet.lost[n] {
			answer--
		}
	}
	limit, _ := share(get(o.data, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), answer, true)
	limit = max(limit, 1)
	minReady := num(o.data, "spec", "minReadySeconds")
	now := time.Now()
	down := 0
	var broken, healthy []*object
	for _, n := range names {
		p := on[n]
		if p == nil && s.kubelet.lost[n] {
			continue
		}
		if p == nil || terminating(p) {
			down++
			continue
		}
		ok, wait := available(p, minReady, now)
		if wait > 0 {
			s.wakeAfter(o.key(), wait)
		}
		old := revisionOf(p) != h
		switch {
		case old && !ok:
			down++
			broken = append(broken, p)
		case old:
			healthy = append(healthy, p)
		case !ok:
			down++
		}
	}
	for _, p := range append(broken, healthy[:min(len(healthy), max(0, limit-down))]...) {
		s.deletePod(o, p)
	}
}

// daemonStatus counts. A node that does not answer is not wanted any more, by its taint NoSchedule; what runs there may stay, by
// the toleration of NoExecute.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/controller/daemon/daemon_controller.go (NodeShouldRunDaemonPod)
func (s *Server) daemonStatus(o *object, h string, names []string) {
	on := s.daemonOn(o)
	minReady := num(o.data, "spec", "minReadySeconds")
	now := time.Now()
	desired, misplaced, scheduled, readyN, availableN, updated := 0, 0, 0, 0, 0, 0
	for _, n := range names {
		p := on[n]
		if s.kubelet.lost[n] {
			if p != nil {
				misplaced++
			}
			continue
		}
		desired++
		if p == nil {
			continue
		}
		scheduled++
		if ready(p) {
			readyN++
			if ok, wait := available(p, minReady, now); ok {
				availableN++
			} else if wait > 0 {
				s.wakeAfter(o.key(), wait)
			}
		}
		if revisionOf(p) == h {
			updated++
		}
	}
	generation := get(o.data, "metadata", "generation")
	s.change(o, func(t tree) {
		fill(t, tree{}, "status")
		st := dict(t, "status")
		st["desiredNumberScheduled"] = int64(desired)
		st["currentNumberScheduled"] = int64(scheduled)
		st["numberMisscheduled"] = int64(misplaced)
		st["numberReady"] = int64(readyN)
		count(st, updated, "updatedNumberScheduled")
		count(st, availableN, "numberAvailable")
		count(st, desired-availableN, "numberUnavailable")
		st["observedGeneration"] = generation
	})
}
