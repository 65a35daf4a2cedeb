package kube

// The scheduler: it binds pods to nodes that match and have room.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is what the pods on a node ask for: CPU in thousandths, memory in bytes.
type load struct{ pods, cpu, memory int }

// quantity reads a resource quantity in thousandths of its unit; what cannot be read counts as nothing.
func quantity(v any) int {
	s := fmt.Sprint(v)
	if v == nil {
		return 0
	}
	for _, u := range []struct {
		suffix string
		factor float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}} {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			if f, err := strconv.ParseFloat(n, 64); err == nil {
				return int(f * u.factor * 1000)
			}
		}
	}
	return 0
}

func asks(pod tree) load {
	l := load{pods: 1}
	for _, c := range items(pod, "spec", "containers") {
		l.cpu += quantity(get(c, "resources", "requests", "cpu"))
		l.memory += quantity(get(c, "resources", "requests", "memory")) / 1000
	}
	return l
}

// boundTo is the node a DaemonSet's pod must run on, "" if any.
func boundTo(pod tree) string {
	for _, term := range items(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms") {
		for _, f := range items(term, "matchFields") {
			if v := strs(items(f, "values")); str(f, "key") == "metadata.name" && len(v) == 1 {
				return v[0]
			}
		}
	}
	return ""
}

// schedule tries to bind a pod. s.mu is held.
func (s *Server) schedule(k key, uid string) {
	o := s.objects[k]
	if o == nil || o.uid != uid || str(o.data, "spec", "nodeName") != "" || terminating(o) {
		return
	}
	want := asks(o.data)
	only := boundTo(o.data)
	best := ""
	why, preempt := map[string]int{}, map[string]int{}
	list := s.list(nodes, "")
	for _, n := range list {
		have := s.kubelet.load[n.name]
		fits, full := true, false // full: it is the other pods that are in the way
		miss := func(reason string, others bool) {
			why[reason]++
			full, fits = others && (fits || full), false
		}
		room := dict(n.data, "status", "allocatable")
		switch {
		case only != "" && only != n.name:
			miss("node(s) didn't satisfy plugin(s) [NodeAffinity]", false)
		case only == "" && truth(n.data, "spec", "unschedulable"):
			miss("node(s) were unschedulable", false)
		case !subset(dict(o.data, "spec", "nodeSelector"), dict(n.data, "metadata", "labels")):
			miss("node(s) didn't match Pod's node affinity/selector", false)
		case only == "" && s.kubelet.lost[n.name]:
			miss("node(s) had untolerated taint(s)", false)
		default:
			if have.pods+1 > quantity(room["pods"])/1000 {
				miss("Too many pods", true)
			}
			if want.cpu > 0 && have.cpu+want.cpu > quantity(room["cpu"]) {
				miss("Insufficient cpu", want.cpu <= quantity(room["cpu"]))
			}
			if want.memory > 0 && have.memory+want.memory > quantity(room["memory"])/1000 {
				miss("Insufficient memory", want.memory <= quantity(room["memory"])/1000)
			}
		}
		switch {
		case full: // all pods have the same priority here, so none makes room for another
			preempt["No preemption victims found for incoming pod"]++
		case !fits:
			preempt["Preemption is not helpful for scheduling"]++
		}
		if fits && (best == "" || have.pods < s.kubelet.load[best].pods) {
			best = n.name
		}
	}
	if best == "" {
		none := fmt.Sprintf("0/%d nodes are available: ", len(list))
		message := none + counted(why) + ". preemption: " + none + counted(preempt) + "."
		if len(list) == 0 {
			message = "no nodes available to schedule pods"
		}
		s.kubelet.waiting[k] = uid
		s.change(o, func(t tree) {
			podCondition(t, "PodScheduled", "False", "Unschedulable", message)
		})
		s.scheduled(o, "Warning", "FailedScheduling", "Scheduling", message)
		return
	}
	delete(s.kubelet.waiting, k)
	o = s.change(o, func(t tree) {
		set(t, best, "spec", "nodeName")
		podCondition(t, "PodScheduled", "True", "", "")
	})
	s.scheduled(o, "Normal", "Scheduled", "Binding", fmt.Sprintf("Successfully assigned %s/%s to %s", o.ns, o.name, best))
}

// counted is a histogram of reasons in the words of the scheduler.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/scheduler/framework/types.go (FitError)
func counted(reasons map[string]int) string {
	var list []string
	for r, n := range reasons {
		list = append(list, fmt.Sprintf("%d %s", n, r))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func subset(small, big tree) bool {
	for k, v := range small {
		if big[k] != v {
			return false
		}
	}
	return true
}

// retryScheduling gives the pods that found no node another try. s.mu is held.
func (s *Server) retryScheduling() {
	for k, uid := range s.kubelet.waiting {
		delete(s.kubelet.waiting, k)
		s.after(s.opts.Delays.Schedule, func() { s.schedule(k, uid) })
	}
}

// podCondition sets a condition of a pod; the transition time moves with the status only.
func podCondition(o tree, kind, status, reason, message string) {
	c := tree{"type": kind, "status": status, "lastProbeTime": nil, "lastTransitionTime": stamp(time.Now()), "observedGeneration": get(o, "metadata", "generation")}
	if reason != "" {
		c["reason"] = reason
	}
	if message != "" {
		c["message"] = message
	}
	list := items(o, "status", "conditions")
	for i, x := range list {
		if str(x, "type") == kind {
			if str(x, "status") == status {
				c["lastTransitionTime"] = get(x, "lastTransitionTime")
			}
			list[i] = c
			return
		}
	}
	set(o, append(list, c), "status", "conditions")
}
