package kube

// What was seen of a real API server 1.37.2 with its controllers, scheduler and kubelet, held against this one.

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// eventOf waits for an event of prod by reason.
func eventOf(t *testing.T, s *Server, reason string) map[string]any {
	t.Helper()
	var found map[string]any
	must(t, s.Wait(ctx(t), func() bool {
		for _, e := range s.List("events", "prod", "") {
			if str(e, "reason") == reason {
				found = e
			}
		}
		return found != nil
	}))
	return found
}

func TestEventsLookReal(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	began := time.Now()
	settled(t, s, NewDeployment("prod", "payments", image, 1))
	micro := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)
	e := eventOf(t, s, "Scheduled")
	if !micro.MatchString(str(e, "eventTime")) || e["source"] == nil || len(dict(e, "source")) != 0 || has(e, "count") || has(e, "series") || has(e, "firstTimestamp") || has(e, "lastTimestamp") ||
		str(e, "action") != "Binding" || str(e, "reportingComponent") != "default-scheduler" || !strings.HasPrefix(str(e, "reportingInstance"), "default-scheduler-") {
		t.Errorf("of the scheduler: %s", encode(e))
	}
	for _, null := range []string{"firstTimestamp", "lastTimestamp"} {
		if v, there := e[null]; v != nil || !there {
			t.Errorf("%s: %v (there: %t), want null", null, v, there)
		}
	}
	e = eventOf(t, s, "Started")
	if has(e, "eventTime") || num(e, "count") != 1 || str(e, "lastTimestamp") == "" || strings.Contains(str(e, "lastTimestamp"), ".") || str(e, "source", "component") != "kubelet" || str(e, "source", "host") != "node-1" {
		t.Errorf("of the kubelet: %s", encode(e))
	}
	for _, e := range s.List("events", "prod", "") {
		name, at, _ := strings.Cut(str(e, "metadata", "name"), ".")
		nano := parseHex(at)
		if name != str(e, "involvedObject", "name") || nano < began.UnixNano() || nano > time.Now().UnixNano() {
			t.Errorf("name %q: want the object's and the time in nanoseconds", str(e, "metadata", "name"))
		}
	}
}

func parseHex(s string) (n int64) {
	for _, c := range s {
		n = n<<4 | int64(strings.IndexRune("0123456789abcdef", c))
	}
	return n
}

// The scheduler says the same about the same version of a pod as a series.
func TestFailedSchedulingIsASeries(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	must(t, s.Apply(Set(NewDeployment("prod", "payments", image, 1), tree{"disk": "ssd"}, "spec", "template", "spec", "nodeSelector")))
	eventOf(t, s, "FailedScheduling")
	again := func(n string) {
		must(t, s.Edit("nodes", "", "node-1", func(o map[string]any) { Set(o, n, "metadata", "labels", "try") }))
	}
	again("2") // the pod has a condition by now, so it is another version
	must(t, s.Wait(ctx(t), func() bool { return len(eventsOf(s, "Pod", "FailedScheduling")) == 2 }))
	again("3")
	must(t, s.Wait(ctx(t), func() bool {
		return slices.ContainsFunc(s.List("events", "prod", ""), func(e map[string]any) bool {
			return num(e, "series", "count") == 2 && str(e, "series", "lastObservedTime") > str(e, "eventTime")
		})
	}))
	if n := len(eventsOf(s, "Pod", "FailedScheduling")); n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestFailedSchedulingSaysWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pods, cpu, want string }{
		{"pods fill the nodes", "1", "", "0/2 nodes are available: 2 Too many pods. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
		{"requests fill the nodes", "9", "600m", "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
		{"more than a node", "9", "2", "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"both", "0", "2", "0/2 nodes are available: 2 Insufficient cpu, 2 Too many pods. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _ := cluster(t, Options{Nodes: []string{"node-1", "node-2"}})
			for _, n := range []string{"node-1", "node-2"} {
				must(t, s.Edit("nodes", "", n, func(o map[string]any) {
					Set(o, tree{"cpu": "1", "memory": "1Gi", "pods": c.pods}, "status", "allocatable")
				}))
			}
			d := NewDeployment("prod", "payments", image, 3)
			if c.cpu != "" {
				container(d)["resources"] = tree{"requests": tree{"cpu": c.cpu}}
			}
			must(t, s.Apply(d))
			must(t, s.Wait(ctx(t), func() bool { return slices.Contains(eventsOf(s, "Pod", "FailedScheduling"), c.want) }))
		})
	}
}

func TestStatefulSetEventsLookReal(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	settled(t, s, NewStatefulSet("prod", "payments", image, 1))
	must(t, s.Edit("sts", "prod", "payments", func(o map[string]any) { Set(o, int64(0), "spec", "replicas") }))
	eventOf(t, s, "SuccessfulDelete")
	if l := eventsOf(s, "StatefulSet", "SuccessfulCreate"); !slices.Equal(l, []string{"Create Pod payments-0 in StatefulSet payments successful"}) {
		t.Errorf("%q", l)
	}
	if l := eventsOf(s, "StatefulSet", "SuccessfulDelete"); !slices.Equal(l, []string{"Delete Pod payments-0 in StatefulSet payments successful"}) {
		t.Errorf("%q", l)
	}
}

func TestLogsOfPodsThatDoNotRun(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	log := func(query string) (int, string) {
		return ask(s, "GET", "/api/v1/namespaces/prod/pods/"+str(firstPod(t, s), "metadata", "name")+"/log"+query, "")
	}
	d := NewDeployment("prod", "payments", image, 1)
	Set(d, tree{"disk": "ssd"}, "spec", "template", "spec", "nodeSelector")
	spec := dict(d, "spec", "template", "spec")
	spec["containers"] = append(items(spec, "containers"), tree{"name": "proxy", "image": "registry.example.com/proxy:latest"})
	spec["initContainers"] = []any{tree{"name": "migrate", "image": image}}
	reg.tag("registry.example.com/proxy:latest", digestOf('c'))
	must(t, s.Apply(d))
	eventOf(t, s, "FailedScheduling")
	for _, q := range []string{"?container=payments", "?container=migrate&previous=true"} {
		if code, body := log(q); code != 200 || body != "" {
			t.Errorf("no node, %s: %d %q", q, code, body)
		}
	}
	if code, body := log(""); code != 400 || !strings.Contains(body, "choose one of: [migrate payments proxy]\"") {
		t.Errorf("without a container: %d %s", code, body)
	}
	if code, body := log("?container=nobody"); code != 400 || !strings.Contains(body, "container nobody is not valid for pod") {
		t.Errorf("a wrong container: %d %s", code, body)
	}
}

// The words of pods/log while an image can't be pulled.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_pods.go (validateContainerLogStatus)
func TestLogsOfAnImageThatIsNotThere(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Delays: Delays{PullBackoff: 200 * time.Millisecond}})
	must(t, s.Apply(NewDeployment("prod", "payments", "registry.example.com/payments:gone", 1)))
	words := map[string]string{"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
	for len(words) > 0 {
		reason, want := "", ""
		must(t, s.Wait(ctx(t), func() bool {
			l := s.List("pods", "prod", "")
			if len(l) == 0 {
				return false
			}
			reason = waitingReason(l[0])
			want = words[reason]
			return want != ""
		}))
		name := str(firstPod(t, s), "metadata", "name")
		code, body := ask(s, "GET", "/api/v1/namespaces/prod/pods/"+name+"/log", "")
		if waitingReason(firstPod(t, s)) != reason {
			continue // it went on in between
		}
		if code != 400 || !strings.Contains(body, `container \"payments\" in pod \"`+name+`\" is waiting to start: `+want+`"`) {
			t.Errorf("%s: %d %s", reason, code, body)
		}
		delete(words, reason)
	}
}

func TestObjectsLookReal(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Delays: Delays{Termination: 300 * time.Millisecond}})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	settled(t, s, NewStatefulSet("prod", "web", image, 1))
	settled(t, s, NewDaemonSet("prod", "agent", image))
	for _, r := range []string{"deploy", "rs"} {
		for _, o := range s.List(r, "prod", "") {
			if n, ok := get(o, "status", "terminatingReplicas").(int64); !ok || n != 0 {
				t.Errorf("%s: %s", r, encode(o["status"]))
			}
		}
	}
	for _, p := range s.List("pods", "prod", "app=payments") {
		spec := dict(p, "spec")
		taint := func(name string) tree {
			return tree{"key": "node.kubernetes.io/" + name, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": int64(300)}
		}
		if !equal(spec["tolerations"], []any{taint("not-ready"), taint("unreachable")}) || !equal(spec["priority"], int64(0)) || spec["preemptionPolicy"] != "PreemptLowerPriority" || spec["enableServiceLinks"] != true {
			t.Errorf("pod spec %s", encode(spec))
		}
		if num(p, "metadata", "generation") != 1 || num(p, "status", "observedGeneration") != 1 {
			t.Errorf("pod status %s", encode(p["status"]))
		}
		for _, c := range items(p, "status", "conditions") {
			if num(c, "observedGeneration") != 1 {
				t.Errorf("condition %s", encode(c))
			}
		}
	}
	if has(s.Get("deploy", "prod", "payments"), "spec", "template", "spec", "tolerations") {
		t.Error("templates have defaults of pods")
	}
	if u := get(s.Get("sts", "prod", "web"), "spec", "updateStrategy"); !equal(u, tree{"type": "RollingUpdate", "rollingUpdate": tree{"partition": int64(0), "maxUnavailable": int64(1)}}) {
		t.Errorf("update strategy %s", encode(u))
	}
	bare := NewStatefulSet("prod", "bare", image, 0)
	Set(bare, "RollingUpdate", "spec", "updateStrategy", "type")
	must(t, s.Apply(bare))
	if u := get(s.Get("sts", "prod", "bare"), "spec", "updateStrategy"); !equal(u, tree{"type": "RollingUpdate"}) {
		t.Errorf("a strategy that was named gets no more: %s", encode(u))
	}

	generation := func() string {
		return str(s.Get("ds", "prod", "agent"), "metadata", "annotations", "deprecated.daemonset.template.generation")
	}
	if generation() != "1" {
		t.Errorf("template generation %q", generation())
	}
	pod := func() map[string]any { return s.List("pods", "prod", "app=agent")[0] }
	if l := items(pod(), "spec", "tolerations"); len(l) != 6 || has(l[0], "tolerationSeconds") {
		t.Errorf("tolerations of a daemon: %s", encode(l))
	}
	path := "/apis/apps/v1/namespaces/prod/daemonsets/agent"
	patch := func(body string) {
		if code, answer := ask(s, "PATCH", path, body, "Content-Type", "application/strategic-merge-patch+json"); code != 200 {
			t.Errorf("%d %s", code, answer)
		}
	}
	patch(`{"metadata":{"annotations":{"deprecated.daemonset.template.generation":"9"}},"spec":{"minReadySeconds":0,"revisionHistoryLimit":3}}`)
	if generation() != "1" {
		t.Errorf("template generation %q after what is no change of the template", generation())
	}
	patch(`{"spec":{"template":{"metadata":{"annotations":{"stamp":"1"}}}}}`)
	must(t, s.WaitRollout(ctx(t), "ds", "prod", "agent"))
	if generation() != "2" || str(pod(), "metadata", "labels", "pod-template-generation") != "2" {
		t.Errorf("template generation %q, of the pod %q", generation(), str(pod(), "metadata", "labels", "pod-template-generation"))
	}

	restart(t, s, "deploy", "payments", "1")
	must(t, s.Wait(ctx(t), func() bool { return num(s.Get("deploy", "prod", "payments"), "status", "terminatingReplicas") > 0 }))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Wait(ctx(t), func() bool {
		return get(s.Get("deploy", "prod", "payments"), "status", "terminatingReplicas") == int64(0)
	}))
	if room := dict(s.Get("nodes", "", "node-1"), "status", "capacity"); room["cpu"] != "960" || room["pods"] != "110k" || room["memory"] != "4000Gi" {
		t.Errorf("capacity %v", room)
	}
}
