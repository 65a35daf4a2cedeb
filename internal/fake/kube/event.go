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
	ns := o.ns
	if ns == "" {
		ns = "default"
	}
	if s.find(namespaces, "", ns) == nil {
		return
	}
	about := tree{"kind": o.res.kind, "apiVersion": o.res.apiVersion(), "name": o.name, "uid": o.uid, "resourceVersion": str(o.data, "metadata", "resourceVersion")}
	if o.ns != "" {
		about["namespace"] = o.ns
	}
	if field != "" {
		about["fieldPath"] = field
	}
	e := s.create(events, ns, tree{
		"metadata":       tree{"name": fmt.Sprintf("%s.%x%s", o.name, time.Now().UnixNano()>>16, suffix(4))},
		"involvedObject": about, "reason": reason, "message": message, "source": source, "type": kind,
		"firstTimestamp": now, "lastTimestamp": now, "count": int64(1), "eventTime": nil,
		"reportingComponent": component, "reportingInstance": str(source, "host"),
	})
	s.told[same] = e.key()
}
