package kube

// The ReplicaSet controller.

import (
	"slices"
	"time"
)

// burst is how many pods a ReplicaSet creates or deletes at once.
const burst = 500

func (s *Server) syncReplicaSet(rs *object) {
	var live []*object
	leaving := 0
	for _, p := range s.ownedBy(rs.uid, pods) {
		switch ph := str(p.data, "status", "phase"); {
		case active(p):
			live = append(live, p)
		case ph != "Succeeded" && ph != "Failed":
			leaving++
		}
	}
	want := numOr(rs.data, 1, "spec", "replicas")
	failure := ""
	if !terminating(rs) {
		if missing := min(want-len(live), burst); missing > 0 {
			for range missing {
				if _, err := s.createPod(rs, podOf(rs, dict(rs.data, "spec", "template"), "", nil)); err != nil {
					failure = err.Error()
					break
				}
			}
		} else if extra := min(len(live)-want, burst); extra > 0 {
			slices.SortFunc(live, expendable)
			for _, p := range live[:extra] {
				s.deletePod(rs, p)
			}
		}
	}
	// As in a real controller the status counts the pods seen before this round.
	now := time.Now()
	minReady := num(rs.data, "spec", "minReadySeconds")
	readyN, availableN, labeled := 0, 0, 0
	for _, p := range live {
		if selects(podSelector(tree{"matchLabels": get(rs.data, "spec", "template", "metadata", "labels")}), dict(p.data, "metadata", "labels")) {
			labeled++
		}
		if ready(p) {
			readyN++
		}
		ok, wait := available(p, minReady, now)
		if ok {
			availableN++
		} else if wait > 0 {
			s.wakeAfter(rs.key(), wait)
		}
	}
	generation := num(rs.data, "metadata", "generation")
	s.change(rs, func(o tree) {
		fill(o, tree{}, "status")
		st := dict(o, "status")
		st["replicas"] = int64(len(live))
		st["terminatingReplicas"] = int64(leaving)
		count(st, labeled, "fullyLabeledReplicas")
		count(st, readyN, "readyReplicas")
		count(st, availableN, "availableReplicas")
		st["observedGeneration"] = int64(generation)
		if failure != "" {
			setCondition(o, "ReplicaFailure", "True", "FailedCreate", failure, false)
			delete(condition(o, "ReplicaFailure"), "lastUpdateTime")
		} else {
			dropCondition(o, "ReplicaFailure")
		}
	})
	if failure != "" {
		s.wakeAfter(rs.key(), 10*s.opts.Delays.Controller)
	}
}
