package kube

// The columns of `kubectl get`.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/printers/internalversion/printers.go

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// columns names the columns of a resource ("+" marks those of -o wide) and returns what fills them.
func columns(r *resource) ([]string, func(tree, time.Time) []any) {
	name := func(o tree) any { return str(o, "metadata", "name") }
	age := func(o tree, now time.Time) any { return since(str(o, "metadata", "creationTimestamp"), now) }
	images := func(o tree) any {
		var l []string
		for _, c := range items(o, "spec", "template", "spec", "containers") {
			l = append(l, str(c, "image"))
		}
		return strings.Join(l, ",")
	}
	n := func(o tree, path ...string) any { return fmt.Sprint(num(o, path...)) }
	switch r {
	case pods:
		return []string{"Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node"}, func(o tree, now time.Time) []any {
			ready, status, restarts := podSummary(o)
			return []any{name(o), ready, status, restarts, age(o, now), cmp.Or(str(o, "status", "podIP"), "<none>"), cmp.Or(str(o, "spec", "nodeName"), "<none>")}
		}
	case deployments:
		return []string{"Name", "Ready", "Up-to-date", "Available", "Age", "+Images"}, func(o tree, now time.Time) []any {
			return []any{name(o), fmt.Sprintf("%d/%d", num(o, "status", "readyReplicas"), num(o, "spec", "replicas")), n(o, "status", "updatedReplicas"), n(o, "status", "availableReplicas"), age(o, now), images(o)}
		}
	case replicaSets:
		return []string{"Name", "Desired", "Current", "Ready", "Age", "+Images"}, func(o tree, now time.Time) []any {
			return []any{name(o), n(o, "spec", "replicas"), n(o, "status", "replicas"), n(o, "status", "readyReplicas"), age(o, now), images(o)}
		}
	case statefulSet:
		return []string{"Name", "Ready", "Age", "+Images"}, func(o tree, now time.Time) []any {
			return []any{name(o), fmt.Sprintf("%d/%d", num(o, "status", "readyReplicas"), num(o, "spec", "replicas")), age(o, now), images(o)}
		}
	case daemonSets:
		return []string{"Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Age", "+Images"}, func(o tree, now time.Time) []any {
			return []any{name(o), n(o, "status", "desiredNumberScheduled"), n(o, "status", "currentNumberScheduled"), n(o, "status", "numberReady"),
				n(o, "status", "updatedNumberScheduled"), n(o, "status", "numberAvailable"), age(o, now), images(o)}
		}
	case configMaps:
		return []string{"Name", "Data", "Age"}, func(o tree, now time.Time) []any {
			return []any{name(o), fmt.Sprint(len(dict(o, "data")) + len(dict(o, "binaryData"))), age(o, now)}
		}
	case namespaces:
		return []string{"Name", "Status", "Age"}, func(o tree, now time.Time) []any {
			return []any{name(o), str(o, "status", "phase"), age(o, now)}
		}
	case nodes:
		return []string{"Name", "Status", "Age", "Version"}, func(o tree, now time.Time) []any {
			status := "Ready"
			if truth(o, "spec", "unschedulable") {
				status += ",SchedulingDisabled"
			}
			return []any{name(o), status, age(o, now), str(o, "status", "nodeInfo", "kubeletVersion")}
		}
	case events:
		return []string{"Last Seen", "Type", "Reason", "Object", "Message"}, func(o tree, now time.Time) []any {
			return []any{since(cmp.Or(str(o, "series", "lastObservedTime"), str(o, "lastTimestamp"), str(o, "eventTime")), now), str(o, "type"), str(o, "reason"),
				strings.ToLower(str(o, "involvedObject", "kind")) + "/" + str(o, "involvedObject", "name"), str(o, "message")}
		}
	}
	return []string{"Name", "Age"}, func(o tree, now time.Time) []any { return []any{name(o), age(o, now)} }
}

// since is an age in kubectl's short form.
func since(at string, now time.Time) string {
	t := parseStamp(at)
	if t.IsZero() {
		return "<unknown>"
	}
	switch d := now.Sub(t); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// podSummary is READY, STATUS and RESTARTS of a pod.
func podSummary(o tree) (string, string, string) {
	status := cmp.Or(str(o, "status", "reason"), str(o, "status", "phase"))
	ready, restarts := 0, 0
	total := len(items(o, "spec", "containers"))
	initializing := false
	for i, c := range items(o, "status", "initContainerStatuses") {
		restarts += num(c, "restartCount")
		sidecar := str(named(items(o, "spec", "initContainers"), "name", str(c, "name")), "restartPolicy") == "Always"
		if sidecar {
			total++
			if truth(c, "ready") {
				ready++
			}
		}
		if initializing || has(c, "state", "terminated") && num(c, "state", "terminated", "exitCode") == 0 || sidecar && truth(c, "started") {
			continue
		}
		initializing = true
		switch reason := cmp.Or(str(c, "state", "waiting", "reason"), str(c, "state", "terminated", "reason")); reason {
		case "", "PodInitializing":
			status = fmt.Sprintf("Init:%d/%d", i, len(items(o, "spec", "initContainers")))
		default:
			status = "Init:" + reason
		}
	}
	if !initializing {
		for _, c := range items(o, "status", "containerStatuses") {
			restarts += num(c, "restartCount")
			if truth(c, "ready") {
				ready++
			}
			if reason := cmp.Or(str(c, "state", "waiting", "reason"), str(c, "state", "terminated", "reason")); reason != "" {
				status = reason
			}
		}
	}
	if has(o, "metadata", "deletionTimestamp") {
		status = "Terminating"
	}
	return fmt.Sprintf("%d/%d", ready, total), status, fmt.Sprint(restarts)
}
