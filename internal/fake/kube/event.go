package kube

// Events, as controllers and nodes record them: repetitions are counted, chatter is cut off.

import (
	"fmt"
	"time"
)

// eventBurst is how many events one component may record on one object.
// Source: https://github.com/kubernetes/client-go/blob/master/tools/record/events_cache.go (defaultSpamBurst)
const eventBurst = 25

// event records an event on an object; field is "spec.containers{web}" or empty. s.mu is held.
func (s *Server) event(o *object, kind, reason, component, message, field string) {
	source := tree{"component": component}
	if component == "kubelet" {
		source["host"] = str(o.data, "spec", "nodeName")
	}
	now := stamp(time.Now())
	id := component + "\n" + o.uid
	if s.chatter[id]++; s.chatter[id] > eventBurst {
		return
	}
	same := fmt.Sprintf("%s\n%s\n%s\n%s", id, reason, message, field)
	if e := s.objects[s.told[same]]; e != nil {
		s.change(e, func(t tree) {
			t["count"] = int64(num(t, "count") + 1)
			t["lastTimestamp"] = now
		})
		return
	}
	e := s.newEvent(o, kind, reason, message, field, tree{
		"source": source, "firstTimestamp": now, "lastTimestamp": now, "count": int64(1), "eventTime": nil,
		"reportingComponent": component, "reportingInstance": str(source, "host"),
	})
	if e != nil {
		s.told[same] = e.key()
	}
}

// scheduled records an event of the scheduler, which writes in the manner of events.k8s.io/v1: one time in microseconds
// and an action; no count and no source. What it says again about the same version of an object becomes a series, whose
// count is written once, at the second time.
// Source: https://github.com/kubernetes/client-go/blob/master/tools/events/event_broadcaster.go (recordToSink)
func (s *Server) scheduled(o *object, kind, reason, action, message string) {
	const component = "default-scheduler"
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	same := fmt.Sprintf("%s\n%s\n%d\n%s\n%s", component, o.uid, o.version, reason, action)
	if e := s.objects[s.told[same]]; e != nil {
		s.change(e, func(t tree) {
			if t["series"] == nil {
				t["series"] = tree{"count": int64(2), "lastObservedTime": now}
			}
		})
		return
	}
	e := s.newEvent(o, kind, reason, message, "", tree{
		"source": tree{}, "firstTimestamp": nil, "lastTimestamp": nil, "eventTime": now, "action": action,
		"reportingComponent": component, "reportingInstance": component + "-control-plane",
	})
	if e != nil {
		s.told[same] = e.key()
	}
}

// newEvent stores an event on an object with what its recorder adds; nil where its namespace is gone. The name is that of
// the object and the time in nanoseconds.
func (s *Server) newEvent(o *object, kind, reason, message, field string, t tree) *object {
	ns := o.ns
	if ns == "" {
		ns = "default"
	}
	if s.find(namespaces, "", ns) == nil {
		return nil
	}
	about := tree{"kind": o.res.kind, "apiVersion": o.res.apiVersion(), "name": o.name, "uid": o.uid, "resourceVersion": str(o.data, "metadata", "resourceVersion")}
	if o.ns != "" {
		about["namespace"] = o.ns
	}
	if field != "" {
		about["fieldPath"] = field
	}
	nano := time.Now().UnixNano()
	for s.find(events, ns, fmt.Sprintf("%s.%x", o.name, nano)) != nil {
		nano++ // a clock that stands still
	}
	t["metadata"] = tree{"name": fmt.Sprintf("%s.%x", o.name, nano)}
	t["involvedObject"], t["reason"], t["message"], t["type"] = about, reason, message, kind
	return s.create(events, ns, t)
}
