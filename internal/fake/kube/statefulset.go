package kube

// The StatefulSet controller.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/statefulset/stateful_set_control.go

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// revisionsOf returns the ControllerRevisions of a workload, the oldest first.
func (s *Server) revisionsOf(o *object) []*object {
	list := s.ownedBy(o.uid, revisions)
	slices.SortFunc(list, func(a, b *object) int { return num(a.data, "revision") - num(b.data, "revision") })
	return list
}

// revise makes the ControllerRevision of the present template the newest of the workload and returns it.
func (s *Server) revise(o *object) *object {
	template := dict(o.data, "spec", "template")
	data := tree{"spec": tree{"template": clone(template)}}
	set(data, "replace", "spec", "template", "$patch")
	list := s.revisionsOf(o)
	newest := 0
	if len(list) > 0 {
		newest = num(list[len(list)-1].data, "revision")
	}
	for i, r := range list {
		if equal(r.data["data"], data) {
			if i < len(list)-1 {
				return s.change(r, func(t tree) { t["revision"] = int64(newest + 1) })
			}
			return r
		}
	}
	h := hash(template, num(o.data, "status", "collisionCount"))
	labels := copyTree(dict(template, "metadata", "labels"))
	labels["controller-revision-hash"] = h
	return s.create(revisions, o.ns, tree{
		"metadata": tree{"name": o.name + "-" + h, "labels": labels, "ownerReferences": ownerRef(o)},
		"data":     data, "revision": int64(newest + 1),
	})
}

// trimRevisions removes revisions beyond the history limit that nothing uses.
func (s *Server) trimRevisions(o *object, used map[string]bool) {
	var spare []*object
	for _, r := range s.revisionsOf(o) {
		if !used[r.name] && !used[str(r.data, "metadata", "labels", "controller-revision-hash")] {
			spare = append(spare, r)
		}
	}
	for i := range len(spare) - numOr(o.data, 10, "spec", "revisionHistoryLimit") {
		s.remove(spare[i])
	}
}

func revisionOf(pod *object) string {
	return str(pod.data, "metadata", "labels", "controller-revision-hash")
}

func (s *Server) syncStatefulSet(o *object) {
	if terminating(o) {
		return
	}
	update := s.revise(o)
	current := str(o.data, "status", "currentRevision")
	if current == "" || s.find(revisions, o.ns, current) == nil {
		current = update.name
	}
	set := &stateful{s: s, o: o, update: update, current: current, started: time.Now()}
	set.sync()
	set.status()
	used := map[string]bool{current: true, update.name: true}
	for _, p := range s.ownedBy(o.uid, pods) {
		used[revisionOf(p)] = true
	}
	s.trimRevisions(o, used)
}

// stateful is one look at a StatefulSet.
type stateful struct {
	s       *Server
	o       *object
	update  *object // the revision of the template
	current string  // the revision that was complete last
	started time.Time
}

func (x *stateful) minReady() int { return num(x.o.data, "spec", "minReadySeconds") }

func running(p *object) bool { return str(p.data, "status", "phase") == "Running" && ready(p) }

func (x *stateful) healthy(p *object) bool {
	ok, wait := available(p, x.minReady(), x.started)
	if wait > 0 {
		x.s.wakeAfter(x.o.key(), wait)
	}
	return running(p) && ok && !terminating(p)
}

func ordinal(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndex(name, "-")+1:])
	if err != nil {
		return -1
	}
	return n
}

// create makes the pod of slot i: below the partition from the revision that was complete last.
func (x *stateful) create(i, partition int) {
	revision := x.update
	n := i + num(x.o.data, "spec", "ordinals", "start")
	if str(x.o.data, "spec", "updateStrategy", "type") == "RollingUpdate" && i < partition {
		revision = x.s.find(revisions, x.o.ns, x.current)
	}
	template := copyTree(dict(revision.data, "data", "spec", "template"))
	delete(template, "$patch")
	name := fmt.Sprintf("%s-%d", x.o.name, n)
	pod := podOf(x.o, template, name, tree{"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": strconv.Itoa(n), "controller-revision-hash": revision.name})
	set(pod, name, "spec", "hostname")
	set(pod, str(x.o.data, "spec", "serviceName"), "spec", "subdomain")
	if _, err := x.s.admit(pods, x.o.ns, pod, "kube-controller-manager", "", false); err != nil {
		x.s.event(x.o, "Warning", "FailedCreate", "statefulset-controller", fmt.Sprintf("Create Pod %s in StatefulSet %s failed error: %v", name, x.o.name, err), "")
		x.s.wakeAfter(x.o.key(), 10*x.s.opts.Delays.Controller)
		return
	}
	x.s.event(x.o, "Normal", "SuccessfulCreate", "statefulset-controller", fmt.Sprintf("Create Pod %s in StatefulSet %s successful", name, x.o.name), "")
}

func (x *stateful) delete(p *object) {
	x.s.terminate(p, -1)
	x.s.event(x.o, "Normal", "SuccessfulDelete", "statefulset-controller", fmt.Sprintf("Delete Pod %s in StatefulSet %s successful", p.name, x.o.name), "")
}

// sync takes the next step: it repairs and grows from the lowest ordinal, shrinks and updates from the highest. With
// OrderedReady it waits at the first pod that is not ready, even if that pod can never become ready and the template has
// been repaired: https://github.com/kubernetes/kubernetes/issues/67250.
func (x *stateful) sync() {
	spec := dict(x.o.data, "spec")
	first := num(spec, "ordinals", "start")
	want := num(spec, "replicas")
	partition := num(spec, "updateStrategy", "rollingUpdate", "partition")
	ordered := str(spec, "podManagementPolicy") != "Parallel"
	slots := make([]*object, want)
	var condemned []*object
	for _, p := range x.s.ownedBy(x.o.uid, pods) {
		switch n := ordinal(p.name) - first; {
		case n >= 0 && n < want:
			slots[n] = p
		default:
			condemned = append(condemned, p)
		}
	}
	slices.SortFunc(condemned, func(a, b *object) int { return ordinal(b.name) - ordinal(a.name) })
	for i, p := range slots {
		if p == nil {
			x.create(i, partition)
			if ordered {
				return
			}
			continue
		}
		if ph := str(p.data, "status", "phase"); ph == "Failed" || ph == "Succeeded" {
			x.delete(p) // the next look makes it anew
			if ordered {
				return
			}
			continue
		}
		if ordered && !x.healthy(p) {
			return
		}
	}
	var unhealthy *object // the lowest that is not healthy
	for _, p := range slots {
		if unhealthy == nil && p != nil && !x.healthy(p) {
			unhealthy = p
		}
	}
	for i := len(condemned) - 1; i >= 0; i-- {
		if unhealthy == nil && !x.healthy(condemned[i]) {
			unhealthy = condemned[i]
		}
	}
	for _, p := range condemned {
		if terminating(p) {
			if ordered {
				return
			}
			continue
		}
		if ordered && !x.healthy(p) && p != unhealthy {
			return
		}
		x.delete(p)
		if ordered {
			return
		}
	}
	if str(spec, "updateStrategy", "type") == "OnDelete" {
		return
	}
	for i := want - 1; i >= max(partition, 0); i-- {
		p := slots[i]
		if p == nil {
			return
		}
		if revisionOf(p) != x.update.name && !terminating(p) {
			x.delete(p)
			return
		}
		if !x.healthy(p) {
			return
		}
	}
}

func (x *stateful) status() {
	replicas, readyN, availableN, current, updated := 0, 0, 0, 0, 0
	for _, p := range x.s.ownedBy(x.o.uid, pods) {
		if ph := str(p.data, "status", "phase"); ph == "Failed" || ph == "Succeeded" {
			continue
		}
		replicas++
		if running(p) {
			readyN++
			ok, wait := available(p, x.minReady(), x.started)
			if ok {
				availableN++
			} else if wait > 0 {
				x.s.wakeAfter(x.o.key(), wait)
			}
		}
		if !terminating(p) {
			if revisionOf(p) == x.current {
				current++
			}
			if revisionOf(p) == x.update.name {
				updated++
			}
		}
	}
	want := num(x.o.data, "spec", "replicas")
	revision := x.current
	if str(x.o.data, "spec", "updateStrategy", "type") == "RollingUpdate" && updated == want && readyN == want && replicas == want {
		current, revision = updated, x.update.name
	}
	generation := get(x.o.data, "metadata", "generation")
	x.s.change(x.o, func(o tree) {
		fill(o, tree{}, "status")
		st := dict(o, "status")
		st["replicas"] = int64(replicas)
		st["availableReplicas"] = int64(availableN)
		st["collisionCount"] = int64(num(st, "collisionCount"))
		count(st, readyN, "readyReplicas")
		count(st, current, "currentReplicas")
		count(st, updated, "updatedReplicas")
		st["currentRevision"], st["updateRevision"] = revision, x.update.name
		st["observedGeneration"] = generation
	})
}
