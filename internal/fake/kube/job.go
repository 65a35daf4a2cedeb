package kube

// The Job controller, for Jobs with a fixed number of completions. CronJobs are objects only: nothing here follows their schedule.

import (
	"time"
)

func (s *Server) syncJob(o *object) {
	if terminating(o) || truth(o.data, "spec", "suspend") {
		return
	}
	for _, kind := range []string{"Complete", "Failed"} {
		if str(condition(o.data, kind), "status") == "True" {
			return
		}
	}
	live, done, failed, readyN := 0, 0, 0, 0
	var running []*object
	for _, p := range s.ownedBy(o.uid, pods) {
		switch ph := str(p.data, "status", "phase"); {
		case ph == "Succeeded":
			done++
		case ph == "Failed":
			failed++
		case !terminating(p):
			live++
			running = append(running, p)
			if ready(p) {
				readyN++
			}
		}
	}
	want := numOr(o.data, num(o.data, "spec", "parallelism"), "spec", "completions")
	kind, reason, message := "", "", ""
	switch limit := num(o.data, "spec", "backoffLimit"); {
	case done >= want:
		kind, reason, message = "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
	case failed > limit:
		kind, reason, message = "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
		for _, p := range running {
			s.deletePod(o, p)
		}
		live, readyN = 0, 0
	default:
		for range min(num(o.data, "spec", "parallelism"), want-done) - live {
			template := dict(o.data, "spec", "template")
			if _, err := s.createPod(o, podOf(o, template, "", tree{"job-name": o.name, "batch.kubernetes.io/job-name": o.name,
				"controller-uid": o.uid, "batch.kubernetes.io/controller-uid": o.uid})); err != nil {
				s.wakeAfter(o.key(), 10*s.opts.Delays.Controller)
				break
			}
			live++
		}
	}
	s.change(o, func(t tree) {
		fill(t, tree{}, "status")
		st := dict(t, "status")
		fill(st, stamp(time.Now()), "startTime")
		count(st, live, "active")
		count(st, done, "succeeded")
		count(st, failed, "failed")
		st["ready"] = int64(readyN)
		if kind != "" {
			now := stamp(time.Now())
			set(t, append(items(st, "conditions"), tree{"type": kind, "status": "True", "reason": reason, "message": message, "lastProbeTime": now, "lastTransitionTime": now}), "status", "conditions")
			if kind == "Complete" {
				st["completionTime"] = now
			}
		}
	})
	switch kind {
	case "Complete":
		s.event(o, "Normal", "Completed", "job-controller", "Job completed", "")
	case "Failed":
		s.event(o, "Warning", reason, "job-controller", message, "")
	}
}
