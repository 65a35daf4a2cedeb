package kube

// Who reacts to which change: the wiring between the store, the controllers and the nodes.

import "time"

// react is called after every change. s.mu is held.
func (s *Server) react(old, o *object) {
	now := o
	if now == nil {
		now = old
	}
	switch now.res {
	case pods:
		s.podChanged(old, o)
		if o == nil || old == nil || !equal(old.data["status"], o.data["status"]) || has(o.data, "metadata", "deletionTimestamp") {
			s.wakeOwner(now)
			if o == nil { // a Deployment with strategy Recreate waits for the last old pod to be gone
				if ref := controllerRef(now.data); ref != nil {
					if rs := s.find(replicaSets, now.ns, str(ref, "name")); rs != nil {
						s.wakeOwner(rs)
					}
				}
			}
		}
	case nodes:
		for _, d := range s.list(daemonSets, "") {
			s.wake(d.key())
		}
		s.retryScheduling()
	case deployments, daemonSets, statefulSet, jobs:
		s.wake(now.key())
	case replicaSets:
		s.wake(now.key())
		s.wakeOwner(now)
	}
	if o == nil && len(s.owned[old.uid]) > 0 {
		uid := old.uid
		s.after(s.opts.Delays.Controller, func() { s.collect(uid) })
	}
}

func (s *Server) wakeOwner(o *object) {
	ref := controllerRef(o.data)
	if ref == nil {
		return
	}
	if r := s.byKind(str(ref, "apiVersion"), str(ref, "kind")); r != nil {
		s.wake(key{r, o.ns, str(ref, "name")})
	}
}

// wake lets the controller look at an object soon. s.mu is held.
func (s *Server) wake(k key) {
	if s.queued[k] {
		return
	}
	s.queued[k] = true
	s.after(s.opts.Delays.Controller, func() {
		delete(s.queued, k)
		s.reconcile(k)
	})
}

// wakeAfter lets the controller look again when time has passed. s.mu is held.
func (s *Server) wakeAfter(k key, d time.Duration) {
	at := time.Now().Add(d)
	if have, ok := s.later[k]; ok && !at.Before(have) {
		return
	}
	s.later[k] = at
	s.after(d, func() {
		if s.later[k].Equal(at) {
			delete(s.later, k)
			s.wake(k)
		}
	})
}

func (s *Server) reconcile(k key) {
	o := s.objects[k]
	if o == nil {
		return
	}
	switch k.res {
	case deployments:
		s.syncDeployment(o)
	case replicaSets:
		s.syncReplicaSet(o)
	case statefulSet:
		s.syncStatefulSet(o)
	case daemonSets:
		s.syncDaemonSet(o)
	case jobs:
		s.syncJob(o)
	}
}

// collect is the garbage collector: it removes what had only this owner.
func (s *Server) collect(uid string) {
	for k := range s.owned[uid] {
		o := s.objects[k]
		alive := false
		for _, ref := range items(o.data, "metadata", "ownerReferences") {
			r := s.byKind(str(ref, "apiVersion"), str(ref, "kind"))
			if r == nil {
				alive = true // an owner that this server does not know
				continue
			}
			owner := s.find(r, o.ns, str(ref, "name"))
			alive = alive || owner != nil && owner.uid == str(ref, "uid")
		}
		switch {
		case alive:
		case k.res == pods:
			s.terminate(o, -1)
		default:
			s.remove(o)
		}
	}
}
