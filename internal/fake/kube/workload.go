package kube

// What the controllers share: conditions, readiness, making pods.

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
)

func condition(o any, kind string) tree {
	return named(items(o, "status", "conditions"), "type", kind)
}

// setCondition sets a condition of a workload. The transition time moves with the status only, the update time with any
// change; with touch it moves even so.
func setCondition(o tree, kind, status, reason, message string, touch bool) {
	now := stamp(time.Now())
	list := items(o, "status", "conditions")
	c := tree{"type": kind, "status": status, "reason": reason, "message": message, "lastUpdateTime": now, "lastTransitionTime": now}
	for i, x := range list {
		if str(x, "type") != kind {
			continue
		}
		if !touch && str(x, "status") == status && str(x, "reason") == reason {
			return
		}
		if str(x, "status") == status {
			c["lastTransitionTime"] = get(x, "lastTransitionTime")
		}
		list[i] = c
		return
	}
	set(o, append(list, c), "status", "conditions")
}

func dropCondition(o tree, kind string) {
	list := items(o, "status", "conditions")
	i := slices.IndexFunc(list, func(x any) bool { return str(x, "type") == kind })
	if i < 0 {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		unset(o, "status", "conditions")
		return
	}
	set(o, list, "status", "conditions")
}

func terminating(o *object) bool { return has(o.data, "metadata", "deletionTimestamp") }

// active tells whether a pod counts: neither ended nor ending.
func active(o *object) bool {
	p := str(o.data, "status", "phase")
	return p != "Succeeded" && p != "Failed" && !terminating(o)
}

func ready(o *object) bool { return str(condition(o.data, "Ready"), "status") == "True" }

// available tells whether a pod has been ready for minReady seconds, and if not how long to wait for it. Times have whole
// seconds, and the comparison is strict.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/api/v1/pod/util.go (IsPodAvailable)
func available(o *object, minReady int, now time.Time) (bool, time.Duration) {
	if !ready(o) {
		return false, 0
	}
	if minReady == 0 {
		return true, 0
	}
	at := parseStamp(str(condition(o.data, "Ready"), "lastTransitionTime")).Add(time.Duration(minReady) * time.Second)
	if at.Before(now) {
		return true, 0
	}
	return false, at.Sub(now) + time.Millisecond
}

// hash names a pod template, in the alphabet of Kubernetes. The value is our own: only sameness matters.
func hash(v any, collisions int) string {
	h := fnv.New32a()
	h.Write(encode(v))
	if collisions > 0 {
		fmt.Fprint(h, collisions)
	}
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	var b strings.Builder
	for _, c := range strconv.FormatUint(uint64(h.Sum32()), 10) {
		b.WriteByte(alphabet[int(c)%len(alphabet)])
	}
	return b.String()
}

func ownerRef(o *object) []any {
	return []any{tree{"apiVersion": o.res.apiVersion(), "kind": o.res.kind, "name": o.name, "uid": o.uid, "controller": true, "blockOwnerDeletion": true}}
}

// podOf makes a pod from the owner's template. An empty name means a generated one.
func podOf(owner *object, template tree, name string, labels tree) tree {
	base := owner.name
	if len(base) > 57 {
		base = base[:57]
	}
	meta := tree{"ownerReferences": ownerRef(owner)}
	if name == "" {
		meta["generateName"] = base + "-"
		name = base + "-" + suffix(5)
	}
	meta["name"] = name
	l := copyTree(dict(template, "metadata", "labels"))
	for k, v := range labels {
		l[k] = v
	}
	meta["labels"] = l
	if a := dict(template, "metadata", "annotations"); len(a) > 0 {
		meta["annotations"] = clone(a)
	}
	return tree{"metadata": meta, "spec": copyTree(dict(template, "spec"))}
}

// createPod lets a controller create a pod: it may be refused, which the controller reports.
func (s *Server) createPod(owner *object, pod tree) (*object, error) {
	o, err := s.admit(pods, owner.ns, pod, "kube-controller-manager", "", false)
	if err != nil {
		s.event(owner, "Warning", "FailedCreate", controllerName(owner.res), "Error creating: "+err.Error(), "")
		return nil, err
	}
	s.event(owner, "Normal", "SuccessfulCreate", controllerName(owner.res), "Created pod: "+o.name, "")
	return o, nil
}

func (s *Server) deletePod(owner, pod *object) {
	s.terminate(pod, -1)
	s.event(owner, "Normal", "SuccessfulDelete", controllerName(owner.res), "Deleted pod: "+pod.name, "")
}

func controllerName(r *resource) string {
	switch r {
	case deployments:
		return "deployment-controller"
	case replicaSets:
		return "replicaset-controller"
	case statefulSet:
		return "statefulset-controller"
	case daemonSets:
		return "daemonset-controller"
	case jobs:
		return "job-controller"
	}
	return "kube-controller-manager"
}

// expendable orders pods by how well they can be spared, the first first.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/controller_utils.go (ActivePodsWithRanks)
func expendable(a, b *object) int {
	rank := func(p *object) []int {
		assigned, phase, rdy := 1, 0, 0
		if str(p.data, "spec", "nodeName") == "" {
			assigned = 0
		}
		if str(p.data, "status", "phase") == "Running" {
			phase = 2
		}
		if ready(p) {
			rdy = 1
		}
		return []int{assigned, phase, rdy}
	}
	if c := slices.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	if ready(a) && ready(b) { // the one that became ready last goes first
		if c := strings.Compare(str(condition(b.data, "Ready"), "lastTransitionTime"), str(condition(a.data, "Ready"), "lastTransitionTime")); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(restarts(b), restarts(a)); c != 0 {
		return c
	}
	if c := strings.Compare(str(b.data, "metadata", "creationTimestamp"), str(a.data, "metadata", "creationTimestamp")); c != 0 {
		return c
	}
	return cmp.Compare(b.version, a.version)
}

func restarts(o *object) int {
	n := 0
	for _, c := range items(o.data, "status", "containerStatuses") {
		n = max(n, num(c, "restartCount"))
	}
	return n
}

// older orders objects by age, then name.
func older(a, b *object) int {
	if c := strings.Compare(str(a.data, "metadata", "creationTimestamp"), str(b.data, "metadata", "creationTimestamp")); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// qos is the quality-of-service class.
func qos(spec tree) string {
	some, all := false, true
	for _, c := range items(spec, "containers") {
		r, l := dict(c, "resources", "requests"), dict(c, "resources", "limits")
		some = some || len(r) > 0 || len(l) > 0
		all = all && l["cpu"] != nil && l["memory"] != nil && (r == nil || equal(r, l))
	}
	switch {
	case !some:
		return "BestEffort"
	case all:
		return "Guaranteed"
	}
	return "Burstable"
}
