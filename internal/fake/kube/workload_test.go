package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// settled is a deployment that runs.
func settled(t *testing.T, s *Server, o map[string]any) {
	t.Helper()
	must(t, s.Apply(o))
	must(t, s.WaitRollout(ctx(t), str(o, "kind"), "prod", str(o, "metadata", "name")))
}

func names(l []map[string]any) []string {
	var out []string
	for _, o := range l {
		out = append(out, str(o, "metadata", "name"))
	}
	return out
}

func TestDeploymentShape(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 3))
	rs := s.List("rs", "prod", "app=payments")
	if len(rs) != 1 {
		t.Fatalf("%d replica sets", len(rs))
	}
	h := str(rs[0], "metadata", "labels", hashLabel)
	if h == "" || str(rs[0], "metadata", "name") != "payments-"+h || str(rs[0], "spec", "selector", "matchLabels", hashLabel) != h {
		t.Errorf("replica set %s with hash %q", str(rs[0], "metadata", "name"), h)
	}
	if ref := controllerRef(rs[0]); str(ref, "kind") != "Deployment" || str(ref, "name") != "payments" {
		t.Errorf("owner %v", ref)
	}
	for _, p := range s.List("pods", "prod", hashLabel+"="+h) {
		if ref := controllerRef(p); str(ref, "kind") != "ReplicaSet" || str(ref, "uid") != str(rs[0], "metadata", "uid") {
			t.Errorf("pod's owner %v", ref)
		}
		for _, kind := range []string{"PodScheduled", "Initialized", "ContainersReady", "Ready"} {
			c := condition(p, kind)
			if str(c, "status") != "True" || len(str(c, "lastTransitionTime")) != len("2026-01-02T03:04:05Z") {
				t.Errorf("condition %s: %v", kind, c)
			}
		}
		if str(p, "status", "phase") != "Running" || str(p, "spec", "nodeName") != "node-1" {
			t.Errorf("pod is %s on %s", str(p, "status", "phase"), str(p, "spec", "nodeName"))
		}
	}
	d := s.Get("deploy", "prod", "payments")
	st := dict(d, "status")
	for k, want := range map[string]int{"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, "observedGeneration": 1} {
		if num(st, k) != want {
			t.Errorf("status.%s = %v, want %d", k, st[k], want)
		}
	}
	if has(st, "unavailableReplicas") {
		t.Error("unavailableReplicas is shown although zero")
	}
	if c := condition(d, "Progressing"); str(c, "reason") != "NewReplicaSetAvailable" || !strings.Contains(str(c, "message"), "has successfully progressed.") {
		t.Errorf("Progressing: %v", c)
	}
	if c := condition(d, "Available"); str(c, "status") != "True" {
		t.Errorf("Available: %v", c)
	}
}

func TestRecreateEndsTheOldFirst(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	settled(t, s, Set(NewDeployment("prod", "payments", image, 3), "Recreate", "spec", "strategy", "type"))
	reg.tag(image, bad)
	restart(t, s, "deploy", "payments", "1")
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	history(s, "prod", func(now map[string]*object) {
		hashes := map[string]bool{}
		for _, p := range now {
			hashes[str(p.data, "metadata", "labels", hashLabel)] = true
		}
		if len(hashes) > 1 {
			t.Error("old and new pods at the same time")
		}
	})
	if n := imageIDs(s); n["registry.example.com/payments@"+bad] != 3 || len(n) != 1 {
		t.Errorf("image IDs %v", n)
	}
}

func TestPausedDeploymentWaits(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	must(t, s.Edit("deploy", "prod", "payments", func(o map[string]any) { Set(o, true, "spec", "paused") }))
	restart(t, s, "deploy", "payments", "1")
	must(t, s.Wait(ctx(t), func() bool {
		o := s.Get("deploy", "prod", "payments")
		return num(o, "status", "observedGeneration") == 3 && str(condition(o, "Progressing"), "reason") == "DeploymentPaused"
	}))
	if rs := s.List("rs", "prod", ""); len(rs) != 1 {
		t.Errorf("%d replica sets while paused", len(rs))
	}
	must(t, s.Scale("deploy", "prod", "payments", 5)) // scaling works while paused
	must(t, s.Wait(ctx(t), func() bool { return num(s.Get("deploy", "prod", "payments"), "status", "readyReplicas") == 5 }))
	must(t, s.Edit("deploy", "prod", "payments", func(o map[string]any) { unset(o, "spec", "paused") }))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	if rs := s.List("rs", "prod", ""); len(rs) != 2 {
		t.Errorf("%d replica sets after resuming", len(rs))
	}
}

func TestScaleAndRollBackToAnOldReplicaSet(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	first := names(s.List("rs", "prod", ""))[0]
	restart(t, s, "deploy", "payments", "1")
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Scale("deploy", "prod", "payments", 6))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Scale("deploy", "prod", "payments", 0))
	must(t, s.Wait(ctx(t), func() bool { return len(s.List("pods", "prod", "")) == 0 }))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments")) // with nothing at all: "successful"
	must(t, s.Scale("deploy", "prod", "payments", 2))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Edit("deploy", "prod", "payments", func(o map[string]any) { unset(o, "spec", "template", "metadata", "annotations") }))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	rs := s.Get("rs", "prod", first)
	if num(rs, "spec", "replicas") != 2 || str(rs, "metadata", "annotations", revisionKey) != "3" || str(rs, "metadata", "annotations", "deployment.kubernetes.io/revision-history") != "1" {
		t.Errorf("the first replica set was not used again: %s", encode(rs["metadata"]))
	}
}

func TestRevisionHistoryLimit(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, Set(NewDeployment("prod", "payments", image, 1), int64(1), "spec", "revisionHistoryLimit"))
	for i := range 4 {
		restart(t, s, "deploy", "payments", fmt.Sprint(i))
		must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	}
	must(t, s.Wait(ctx(t), func() bool { return len(s.List("rs", "prod", "")) == 2 }))
}

// The old pods stay up while the new ones cannot become ready, and the deadline makes the Deployment say so.
func TestProgressDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{tags: map[string]string{image: good}, calls: map[string]int{}}
		s := New(Options{Resolve: reg.resolve, Namespaces: []string{"prod"}, Delays: Delays{PullBackoff: 10 * time.Second, CrashLoop: 10 * time.Second, Probe: 10 * time.Second}})
		defer s.Close()
		must(t, s.Apply(Set(NewDeployment("prod", "payments", image, 4), int64(60), "spec", "progressDeadlineSeconds")))
		time.Sleep(time.Second)
		if !RolledOut(s.Get("deploy", "prod", "payments")) {
			t.Fatal("not rolled out after a second")
		}
		reg.tag(image, bad)
		s.Behave(bad, Behaviour{NeverReady: true})
		restart(t, s, "deploy", "payments", "1")
		time.Sleep(59 * time.Second)
		d := s.Get("deploy", "prod", "payments")
		if c := condition(d, "Progressing"); str(c, "reason") != "ReplicaSetUpdated" || str(c, "status") != "True" {
			t.Errorf("after 59 s: %v", c)
		}
		time.Sleep(3 * time.Second)
		d = s.Get("deploy", "prod", "payments")
		if c := condition(d, "Progressing"); str(c, "reason") != "ProgressDeadlineExceeded" || str(c, "status") != "False" || !strings.HasSuffix(str(c, "message"), "has timed out progressing.") {
			t.Errorf("after 62 s: %v", c)
		}
		n := imageIDs(s)
		if n["registry.example.com/payments@"+good] != 3 || n["registry.example.com/payments@"+bad] != 2 {
			t.Errorf("image IDs %v, want 3 old and 2 new", n)
		}
		if num(d, "status", "availableReplicas") != 3 || num(d, "status", "unavailableReplicas") != 2 || num(d, "status", "updatedReplicas") != 2 {
			t.Errorf("status %s", encode(d["status"]))
		}
		// The way back.
		reg.tag(image, good)
		restart(t, s, "deploy", "payments", "2")
		time.Sleep(5 * time.Second)
		if d = s.Get("deploy", "prod", "payments"); !RolledOut(d) || str(condition(d, "Progressing"), "status") != "True" {
			t.Errorf("not healed: %s", encode(d["status"]))
		}
		if n := imageIDs(s); n["registry.example.com/payments@"+good] != 4 || len(n) != 1 {
			t.Errorf("image IDs %v", n)
		}
	})
}

// A pod is available only when it has been ready for minReadySeconds, counted in whole seconds.
func TestMinReadySeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{tags: map[string]string{image: good}, calls: map[string]int{}}
		s := New(Options{Resolve: reg.resolve, Namespaces: []string{"prod"}})
		defer s.Close()
		must(t, s.Apply(Set(NewDeployment("prod", "payments", image, 2), int64(30), "spec", "minReadySeconds")))
		time.Sleep(29 * time.Second)
		d := s.Get("deploy", "prod", "payments")
		if num(d, "status", "readyReplicas") != 2 || num(d, "status", "availableReplicas") != 0 {
			t.Errorf("after 29 s: %s", encode(d["status"]))
		}
		time.Sleep(3 * time.Second)
		if d = s.Get("deploy", "prod", "payments"); num(d, "status", "availableReplicas") != 2 {
			t.Errorf("after 32 s: %s", encode(d["status"]))
		}
	})
}

func TestQuotaShowsAsReplicaFailure(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	s.ForbidPods("prod", "exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2")
	restart(t, s, "deploy", "payments", "1")
	must(t, s.Wait(ctx(t), func() bool {
		c := condition(s.Get("deploy", "prod", "payments"), "ReplicaFailure")
		return str(c, "status") == "True" && str(c, "reason") == "FailedCreate" && strings.Contains(str(c, "message"), "is forbidden: exceeded quota: compute")
	}))
	if len(eventsOf(s, "ReplicaSet", "FailedCreate")) == 0 {
		t.Error("no FailedCreate event")
	}
	s.ForbidPods("prod", "")
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	if c := condition(s.Get("deploy", "prod", "payments"), "ReplicaFailure"); c != nil {
		t.Errorf("still %v", c)
	}
}

// eventsOf returns the messages of the events with a reason on objects of a kind in prod.
func eventsOf(s *Server, kind, reason string) []string {
	var out []string
	for _, e := range s.List("events", "prod", "") {
		if str(e, "involvedObject", "kind") == kind && str(e, "reason") == reason {
			out = append(out, str(e, "message"))
		}
	}
	return out
}

func TestDeletedDeploymentTakesItsPodsAlong(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	s.mu.Lock()
	_, err := s.delete(s.find(deployments, "prod", "payments"), deletion{grace: -1})
	s.mu.Unlock()
	must(t, err)
	must(t, s.Wait(ctx(t), func() bool {
		return len(s.List("pods", "prod", "")) == 0 && len(s.List("rs", "prod", "")) == 0
	}))
}

// order returns the names of pods in the order in which they became ready for the first time since a version.
func order(s *Server, since int64) (ready_, gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.log {
		if c.res != pods || c.version <= since {
			continue
		}
		if c.new == nil {
			gone = append(gone, c.old.name)
		} else if ready(c.new) && (c.old == nil || !ready(c.old)) {
			ready_ = append(ready_, c.new.name)
		}
	}
	return ready_, gone
}

func (s *Server) now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

func TestStatefulSetIsOrdered(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	settled(t, s, NewStatefulSet("prod", "db", image, 3))
	up, _ := order(s, 0)
	if want := []string{"db-0", "db-1", "db-2"}; !slices.Equal(up, want) {
		t.Errorf("ready in order %v, want %v", up, want)
	}
	o := s.Get("sts", "prod", "db")
	before := str(o, "status", "currentRevision")
	if before != str(o, "status", "updateRevision") || num(o, "status", "currentReplicas") != 3 || num(o, "status", "updatedReplicas") != 3 {
		t.Errorf("status %s", encode(o["status"]))
	}
	reg.tag(image, bad)
	from := s.now()
	restart(t, s, "sts", "db", "1")
	must(t, s.WaitRollout(ctx(t), "sts", "prod", "db"))
	up, gone := order(s, from)
	if want := []string{"db-2", "db-1", "db-0"}; !slices.Equal(up, want) || !slices.Equal(gone, want) {
		t.Errorf("updated in order %v (ended %v), want %v", up, gone, want)
	}
	o = s.Get("sts", "prod", "db")
	if str(o, "status", "currentRevision") == before {
		t.Error("currentRevision has not moved")
	}
	for _, p := range s.List("pods", "prod", "app=db") {
		if str(p, "metadata", "labels", "controller-revision-hash") != str(o, "status", "updateRevision") || str(p, "metadata", "labels", "statefulset.kubernetes.io/pod-name") != str(p, "metadata", "name") {
			t.Errorf("labels %v", get(p, "metadata", "labels"))
		}
	}
	if n := imageIDs(s); n["registry.example.com/payments@"+bad] != 3 || len(n) != 1 {
		t.Errorf("image IDs %v", n)
	}
	must(t, s.Scale("sts", "prod", "db", 1))
	must(t, s.Wait(ctx(t), func() bool { return len(s.List("pods", "prod", "")) == 1 }))
	if _, gone := order(s, from); !slices.Equal(gone[3:], []string{"db-2", "db-1"}) {
		t.Errorf("shrunk in order %v", gone[3:])
	}
}

// https://github.com/kubernetes/kubernetes/issues/67250: with OrderedReady the repaired template does not help; the broken
// pod must be deleted by hand. With Parallel it does.
func TestStatefulSetStuckOnABrokenPod(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"OrderedReady", "Parallel"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s, reg := cluster(t, Options{})
			s.Behave(bad, Behaviour{Crash: true})
			settled(t, s, Set(NewStatefulSet("prod", "db", image, 3), policy, "spec", "podManagementPolicy"))
			reg.tag(image, bad)
			restart(t, s, "sts", "db", "bad")
			crashing := func() bool {
				return waitingReason(s.Get("pods", "prod", "db-2")) == "CrashLoopBackOff"
			}
			must(t, s.Wait(ctx(t), crashing))
			uid := str(s.Get("pods", "prod", "db-2"), "metadata", "uid")
			s.Behave(good, Behaviour{})
			must(t, s.Apply(Set(Set(NewStatefulSet("prod", "db", image+"-fixed", 3), policy, "spec", "podManagementPolicy"), "fixed", "spec", "template", "metadata", "annotations", "example.com/restart")))
			reg.tag(image+"-fixed", good)
			if policy == "OrderedReady" {
				// It has seen the new template and has had many chances: two more crashes.
				n := restarts(&object{data: s.Get("pods", "prod", "db-2")})
				must(t, s.Wait(ctx(t), func() bool {
					p := s.Get("pods", "prod", "db-2")
					return num(s.Get("sts", "prod", "db"), "status", "observedGeneration") == 3 && restarts(&object{data: p}) >= n+2
				}))
				if p := s.Get("pods", "prod", "db-2"); str(p, "metadata", "uid") != uid {
					t.Fatal("the broken pod was replaced")
				}
				must(t, s.DeletePod("prod", "db-2"))
			}
			must(t, s.WaitRollout(ctx(t), "sts", "prod", "db"))
			if n := imageIDs(s); n["registry.example.com/payments@"+good] != 3 {
				t.Errorf("image IDs %v", n)
			}
		})
	}
}

func waitingReason(p map[string]any) string {
	for _, c := range items(p, "status", "containerStatuses") {
		return str(c, "state", "waiting", "reason")
	}
	return ""
}

func TestStatefulSetPartitionAndOnDelete(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	settled(t, s, Set(NewStatefulSet("prod", "db", image, 3), int64(2), "spec", "updateStrategy", "rollingUpdate", "partition"))
	settled(t, s, Set(NewStatefulSet("prod", "log", image, 2), "OnDelete", "spec", "updateStrategy", "type"))
	reg.tag(image, bad)
	restart(t, s, "sts", "db", "1")
	restart(t, s, "sts", "log", "1")
	must(t, s.Wait(ctx(t), func() bool {
		o := s.Get("sts", "prod", "db")
		return num(o, "status", "updatedReplicas") == 1 && num(o, "status", "currentReplicas") == 2 && num(o, "status", "readyReplicas") == 3
	}))
	if o := s.Get("sts", "prod", "db"); str(o, "status", "currentRevision") == str(o, "status", "updateRevision") {
		t.Error("the partition does not hold")
	}
	must(t, s.Wait(ctx(t), func() bool { return num(s.Get("sts", "prod", "log"), "status", "observedGeneration") == 2 }))
	if o := s.Get("sts", "prod", "log"); num(o, "status", "updatedReplicas") != 0 {
		t.Errorf("OnDelete has updated: %s", encode(o["status"]))
	}
	must(t, s.DeletePod("prod", "log-0"))
	must(t, s.Wait(ctx(t), func() bool {
		o := s.Get("sts", "prod", "log")
		return num(o, "status", "updatedReplicas") == 1 && num(o, "status", "readyReplicas") == 2
	}))
	want := "registry.example.com/payments@" + bad
	if id := str(items(s.Get("pods", "prod", "log-0"), "status", "containerStatuses")[0], "imageID"); id != want {
		t.Errorf("log-0 runs %s", id)
	}
}

func TestDaemonSet(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{Nodes: []string{"a", "b", "c", "d", "e"}})
	settled(t, s, Set(NewDaemonSet("prod", "agent", image), int64(2), "spec", "updateStrategy", "rollingUpdate", "maxUnavailable"))
	settled(t, s, Set(NewDaemonSet("prod", "stay", image), "OnDelete", "spec", "updateStrategy", "type"))
	on := map[string]bool{}
	for _, p := range s.List("pods", "prod", "app=agent") {
		on[str(p, "spec", "nodeName")] = true
	}
	if len(on) != 5 {
		t.Errorf("on nodes %v", on)
	}
	reg.tag(image, bad)
	from := s.now()
	restart(t, s, "ds", "agent", "1")
	restart(t, s, "ds", "stay", "1")
	must(t, s.WaitRollout(ctx(t), "ds", "prod", "agent"))
	s.mu.Lock()
	state := map[string]*object{}
	for _, c := range s.log {
		if c.res != pods {
			continue
		}
		if c.new == nil {
			delete(state, c.old.name)
		} else if str(c.new.data, "metadata", "labels", "app") == "agent" {
			state[c.new.name] = c.new
		}
		up := 0
		for _, p := range state {
			if ready(p) && !terminating(p) {
				up++
			}
		}
		if c.version > from && up < 3 {
			t.Errorf("%d pods up, at least 3 needed", up)
		}
	}
	s.mu.Unlock()
	must(t, s.Wait(ctx(t), func() bool { return num(s.Get("ds", "prod", "stay"), "status", "observedGeneration") == 2 }))
	if o := s.Get("ds", "prod", "stay"); num(o, "status", "updatedNumberScheduled") != 0 {
		t.Errorf("OnDelete has updated: %s", encode(o["status"]))
	}
	n := imageIDs(s)
	if n["registry.example.com/payments@"+bad] != 5 || n["registry.example.com/payments@"+good] != 5 {
		t.Errorf("image IDs %v", n)
	}
}

func TestJob(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	reg.tag("registry.example.com/migrate:bad", bad)
	s.Behave(bad, Behaviour{Crash: true, ExitCode: 3})
	must(t, s.Apply(NewJob("prod", "once", image), Set(NewJob("prod", "broken", "registry.example.com/migrate:bad"), int64(1), "spec", "backoffLimit"),
		NewCronJob("prod", "nightly", image, "0 3 * * *")))
	must(t, s.Wait(ctx(t), func() bool {
		return str(condition(s.Get("jobs", "prod", "once"), "Complete"), "status") == "True" && str(condition(s.Get("jobs", "prod", "broken"), "Failed"), "reason") == "BackoffLimitExceeded"
	}))
	if o := s.Get("jobs", "prod", "once"); num(o, "status", "succeeded") != 1 || has(o, "status", "active") {
		t.Errorf("status %s", encode(o["status"]))
	}
	if o := s.Get("jobs", "prod", "broken"); num(o, "status", "failed") != 2 {
		t.Errorf("status %s", encode(o["status"]))
	}
	for _, p := range s.List("pods", "prod", "job-name=broken") {
		if c := items(p, "status", "containerStatuses")[0]; num(c, "state", "terminated", "exitCode") != 3 || str(p, "status", "phase") != "Failed" {
			t.Errorf("pod status %s", encode(p["status"]))
		}
	}
	if o := s.Get("cj", "prod", "nightly"); truth(o, "spec", "suspend") || str(o, "spec", "schedule") != "0 3 * * *" {
		t.Errorf("cron job %v", o["spec"])
	}
}
