package kube

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// container returns the deployment's only container, to be changed before Apply.
func container(o map[string]any) map[string]any {
	t, _ := templateOf(map[string]*resource{"Deployment": deployments, "Job": jobs, "StatefulSet": statefulSet}[str(o, "kind")], o)
	return items(t, "spec", "containers")[0].(tree)
}

func firstPod(t *testing.T, s *Server) map[string]any {
	t.Helper()
	l := s.List("pods", "prod", "")
	if len(l) == 0 {
		t.Fatal("no pod")
	}
	return l[0]
}

func status0(p map[string]any) tree {
	l := items(p, "status", "containerStatuses")
	if len(l) == 0 {
		return nil
	}
	return l[0].(tree)
}

// P1: with IfNotPresent a restart takes the image that the node has, whatever the tag names by now.
func TestIfNotPresentKeepsTheCachedImage(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 2)
	container(d)["imagePullPolicy"] = "IfNotPresent"
	settled(t, s, d)
	reg.tag(image, bad)
	restart(t, s, "deploy", "payments", "1")
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	if n := imageIDs(s); n["registry.example.com/payments@"+good] < 2 || n["registry.example.com/payments@"+bad] != 0 {
		t.Errorf("image IDs %v, want the old image again", n)
	}
	if len(eventsOf(s, "Pod", "Pulled")) == 0 || !slices.Contains(eventsOf(s, "Pod", "Pulled"), `Container image "`+image+`" already present on machine and can be accessed by the pod`) {
		t.Errorf("events %q", eventsOf(s, "Pod", "Pulled"))
	}
	// Another node does not have it: that one pulls.
	must(t, s.Edit("nodes", "", "node-1", func(o map[string]any) { Set(o, true, "spec", "unschedulable") }))
	s.mu.Lock()
	s.create(nodes, "", newNode("node-2", 1))
	s.mu.Unlock()
	restart(t, s, "deploy", "payments", "2")
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Wait(ctx(t), func() bool { return imageIDs(s)["registry.example.com/payments@"+bad] == 2 }))
}

func TestNeverPulls(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 1)
	container(d)["imagePullPolicy"] = "Never"
	must(t, s.Apply(d))
	must(t, s.Wait(ctx(t), func() bool {
		l := s.List("pods", "prod", "")
		return len(l) == 1 && waitingReason(l[0]) == "ErrImageNeverPull"
	}))
	s.Preload(image, good)
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if n := reg.calls[image]; n != 0 {
		t.Errorf("asked the registry %d times", n)
	}
}

func TestImagePullBackOffHealsWhenTheTagAppears(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	ref := "registry.example.com/payments:missing"
	d := NewDeployment("prod", "payments", ref, 1)
	container(d)["imagePullPolicy"] = "Always"
	must(t, s.Apply(d))
	seen := map[string]string{}
	must(t, s.Wait(ctx(t), func() bool {
		for _, p := range s.List("pods", "prod", "") {
			if w := dict(status0(p), "state", "waiting"); w != nil {
				seen[str(w, "reason")] = str(w, "message")
			}
			if str(p, "status", "phase") != "Pending" {
				t.Errorf("phase %s", str(p, "status", "phase"))
			}
		}
		return seen["ImagePullBackOff"] != ""
	}))
	why := `rpc error: code = NotFound desc = failed to pull and unpack image "` + ref + `": failed to resolve reference "` + ref + `": ` + ref + `: not found`
	s.mu.Lock()
	first := ""
	for _, c := range s.log { // the first reason is always ErrImagePull
		if c.res == pods && c.new != nil && first == "" {
			if r := waitingReason(c.new.data); r != "ContainerCreating" {
				first = r
			}
		}
	}
	s.mu.Unlock()
	if first != "ErrImagePull" {
		t.Errorf("first reason %q", first)
	}
	if want := `Back-off pulling image "` + ref + `": ErrImagePull: ` + why; seen["ImagePullBackOff"] != want {
		t.Errorf("message %q, want %q", seen["ImagePullBackOff"], want)
	}
	for _, want := range []string{`Failed to pull image "` + ref + `": ` + why, "Error: ErrImagePull", "Error: ImagePullBackOff"} {
		if !slices.Contains(eventsOf(s, "Pod", "Failed"), want) {
			t.Errorf("no event %q in %q", want, eventsOf(s, "Pod", "Failed"))
		}
	}
	reg.tag(ref, good)
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
}

func TestPullErrorsOfTheRegistryAreShown(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Resolve: func(string) (string, error) { return "", errors.New("401 Unauthorized") }})
	must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
	must(t, s.Wait(ctx(t), func() bool {
		return slices.ContainsFunc(eventsOf(s, "Pod", "Failed"), func(m string) bool {
			return strings.Contains(m, "code = Unknown") && strings.HasSuffix(m, "401 Unauthorized")
		})
	}))
}

// A real kubelet's times: the first restart at once, then 10 s, 20 s, …
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{tags: map[string]string{image: bad}, calls: map[string]int{}}
		s := New(Options{Resolve: reg.resolve, Namespaces: []string{"prod"}, Delays: Delays{CrashLoop: 10 * time.Second, PullBackoff: 10 * time.Second}})
		defer s.Close()
		s.Behave(bad, Behaviour{Crash: true, ExitCode: 3, CrashAfter: time.Second, Logs: "one\ntwo\npanic: no database\n"})
		must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
		time.Sleep(5 * time.Second)
		p := firstPod(t, s)
		c := status0(p)
		if str(c, "state", "waiting", "reason") != "CrashLoopBackOff" || num(c, "restartCount") != 1 || num(c, "lastState", "terminated", "exitCode") != 3 || str(c, "lastState", "terminated", "reason") != "Error" {
			t.Errorf("after 5 s: %s", encode(c))
		}
		if m := str(c, "state", "waiting", "message"); !strings.HasPrefix(m, "back-off 10s restarting failed container=payments pod=payments-") {
			t.Errorf("message %q", m)
		}
		if str(p, "status", "phase") != "Running" || str(condition(p, "Ready"), "reason") != "ContainersNotReady" {
			t.Errorf("phase %s, Ready %v", str(p, "status", "phase"), condition(p, "Ready"))
		}
		if str(c, "imageID") != "registry.example.com/payments@"+bad {
			t.Errorf("imageID %q", str(c, "imageID"))
		}
		time.Sleep(60 * time.Second) // restarts at 12 s and 33 s; then 40 s of waiting
		if c = status0(firstPod(t, s)); num(c, "restartCount") != 3 || !strings.HasPrefix(str(c, "state", "waiting", "message"), "back-off 40s ") {
			t.Errorf("after 65 s: %s", encode(c))
		}
		reg.mu.Lock()
		if n := reg.calls[image]; n != 4 {
			t.Errorf("asked the registry %d times for 4 starts with policy Always", n)
		}
		reg.mu.Unlock()
		if m := eventsOf(s, "Pod", "BackOff"); len(m) != 1 || !strings.HasPrefix(m[0], "Back-off restarting failed container payments in pod payments-") {
			t.Errorf("events %q", m)
		}
		for _, c := range []struct {
			query string
			code  int
			want  string
		}{
			{"", 200, "one\ntwo\npanic: no database\n"},
			{"?tailLines=1", 200, "panic: no database\n"},
			{"?previous=true&tailLines=2", 200, "two\npanic: no database\n"},
			{"?limitBytes=3", 200, "one"},
			{"?container=nobody", 400, ""},
			{"?tailLines=x", 422, ""},
		} {
			code, body := ask(s, "GET", "/api/v1/namespaces/prod/pods/"+str(p, "metadata", "name")+"/log"+c.query, "")
			if code != c.code || c.code == 200 && body != c.want {
				t.Errorf("log%s: %d %q", c.query, code, body)
			}
		}
		// The image is repaired under the same tag: the next restart takes it.
		reg.tag(image, good)
		time.Sleep(60 * time.Second)
		if c = status0(firstPod(t, s)); !truth(c, "ready") || str(c, "imageID") != "registry.example.com/payments@"+good {
			t.Errorf("not healed: %s", encode(c))
		}
	})
}

// ask sends a request without a network.
func ask(s *Server, method, path, body string, header ...string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestCrashesEndAfterATime(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	s.Behave(good, Behaviour{Crash: true, Crashes: 3})
	must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	if c := status0(firstPod(t, s)); num(c, "restartCount") != 3 {
		t.Errorf("restarts %d, want 3", num(c, "restartCount"))
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	s.Behave(good, Behaviour{ReadyAfter: 30 * time.Millisecond})
	settled(t, s, NewDeployment("prod", "payments", image, 1))
	if m := eventsOf(s, "Pod", "Unhealthy"); len(m) != 1 || !strings.HasPrefix(m[0], "Readiness probe failed: ") {
		t.Errorf("events %q", m)
	}
	p := firstPod(t, s)
	name := str(p, "metadata", "name")
	must(t, s.SetReady("prod", name, "payments", false))
	must(t, s.Wait(ctx(t), func() bool { return num(s.Get("deploy", "prod", "payments"), "status", "readyReplicas") == 0 }))
	p = s.Get("pods", "prod", name)
	if c := condition(p, "Ready"); str(c, "reason") != "ContainersNotReady" || str(c, "message") != "containers with unready status: [payments]" {
		t.Errorf("Ready: %v", c)
	}
	must(t, s.SetReady("prod", name, "payments", true))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Exit("prod", name, "payments", 137))
	must(t, s.Wait(ctx(t), func() bool { return num(status0(s.Get("pods", "prod", name)), "restartCount") == 1 }))
	if c := status0(s.Get("pods", "prod", name)); str(c, "lastState", "terminated", "reason") != "OOMKilled" {
		t.Errorf("last state %v", c["lastState"])
	}
	if err := s.Exit("prod", name, "nobody", 1); err == nil {
		t.Error("a container that is not there ended")
	}
}

func TestContainerConfigErrors(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 1)
	container(d)["envFrom"] = []any{tree{"configMapRef": tree{"name": "settings"}}}
	container(d)["env"] = []any{tree{"name": "A", "valueFrom": tree{"configMapKeyRef": tree{"name": "settings", "key": "a"}}}}
	must(t, s.Apply(d))
	stuck := func(message string) {
		t.Helper()
		must(t, s.Wait(ctx(t), func() bool {
			l := s.List("pods", "prod", "")
			return len(l) == 1 && str(status0(l[0]), "state", "waiting", "reason") == "CreateContainerConfigError" && str(status0(l[0]), "state", "waiting", "message") == message
		}))
		if !slices.Contains(eventsOf(s, "Pod", "Failed"), "Error: "+message) {
			t.Errorf("no event %q", message)
		}
	}
	stuck(`configmap "settings" not found`)
	must(t, s.Apply(NewConfigMap("prod", "settings", map[string]string{"b": "1"})))
	stuck(`couldn't find key a in ConfigMap prod/settings`)
	s.Behave(good, Behaviour{ConfigError: `secret "db" not found`})
	must(t, s.Apply(NewConfigMap("prod", "settings", map[string]string{"a": "1"})))
	stuck(`secret "db" not found`)
	s.Behave(good, Behaviour{})
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
}

func TestMissingVolumeHoldsThePod(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 1)
	Set(d, []any{tree{"name": "config", "configMap": tree{"name": "settings"}}}, "spec", "template", "spec", "volumes")
	must(t, s.Apply(d))
	must(t, s.Wait(ctx(t), func() bool {
		return slices.Contains(eventsOf(s, "Pod", "FailedMount"), `MountVolume.SetUp failed for volume "config" : configmap "settings" not found`)
	}))
	if r := waitingReason(firstPod(t, s)); r != "ContainerCreating" {
		t.Errorf("reason %q", r)
	}
	must(t, s.Apply(NewConfigMap("prod", "settings", nil)))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
}

func TestInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	sidecar, migrate := "registry.example.com/proxy:latest", "registry.example.com/migrate:latest"
	reg.tag(sidecar, digestOf('c'))
	d := NewDeployment("prod", "payments", image, 1)
	Set(d, []any{tree{"name": "proxy", "image": sidecar, "restartPolicy": "Always"}, tree{"name": "migrate", "image": migrate}}, "spec", "template", "spec", "initContainers")
	must(t, s.Apply(d))
	must(t, s.Wait(ctx(t), func() bool { // the sidecar runs, the init container cannot be pulled, the main one waits
		l := s.List("pods", "prod", "")
		if len(l) != 1 {
			return false
		}
		in := items(l[0], "status", "initContainerStatuses")
		return len(in) == 2 && truth(in[0], "started") && str(in[1], "state", "waiting", "reason") == "ImagePullBackOff"
	}))
	p := firstPod(t, s)
	if waitingReason(p) != "PodInitializing" || str(p, "status", "phase") != "Pending" || str(condition(p, "Initialized"), "message") != "containers with incomplete status: [migrate]" {
		t.Errorf("status %s", encode(p["status"]))
	}
	if _, status, _ := podSummary(p); status != "Init:ImagePullBackOff" {
		t.Errorf("shown as %s", status)
	}
	if code, body := ask(s, "GET", "/api/v1/namespaces/prod/pods/"+str(p, "metadata", "name")+"/log", ""); code != 400 || !strings.Contains(body, `container \"payments\" in pod`) {
		t.Errorf("log without a container: %d %s", code, body) // there is one main container, so it is that
	}
	if code, body := ask(s, "GET", "/api/v1/namespaces/prod/pods/"+str(p, "metadata", "name")+"/log?container=payments", ""); code != 400 || !strings.Contains(body, `is waiting to start: PodInitializing`) {
		t.Errorf("log of a waiting container: %d %s", code, body)
	}
	reg.tag(migrate, digestOf('d'))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	p = firstPod(t, s)
	in := items(p, "status", "initContainerStatuses")
	if str(in[0], "imageID") != "registry.example.com/proxy@"+digestOf('c') || !truth(in[0], "ready") || str(in[1], "state", "terminated", "reason") != "Completed" {
		t.Errorf("init containers %s", encode(in))
	}
	if ready, status, _ := podSummary(p); ready != "2/2" || status != "Running" {
		t.Errorf("shown as %s %s", ready, status)
	}
}

func TestUnschedulable(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 1)
	container(d)["resources"] = tree{"requests": tree{"cpu": "2000"}}
	must(t, s.Apply(d))
	want := "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	must(t, s.Wait(ctx(t), func() bool { return slices.Contains(eventsOf(s, "Pod", "FailedScheduling"), want) }))
	p := firstPod(t, s)
	if c := condition(p, "PodScheduled"); str(c, "status") != "False" || str(c, "reason") != "Unschedulable" || str(c, "message") != want {
		t.Errorf("PodScheduled: %v", c)
	}
	must(t, s.Edit("nodes", "", "node-1", func(o map[string]any) { Set(o, "4k", "status", "allocatable", "cpu") }))
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	restart(t, s, "deploy", "payments", "1") // 2000 + 2000 fit
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	must(t, s.Apply(Set(NewDeployment("prod", "web", image, 1), tree{"disk": "ssd"}, "spec", "template", "spec", "nodeSelector")))
	must(t, s.Wait(ctx(t), func() bool {
		return slices.ContainsFunc(eventsOf(s, "Pod", "FailedScheduling"), func(m string) bool { return strings.Contains(m, "1 node(s) didn't match Pod's node affinity/selector") })
	}))
}

func TestEvictionLeavesAFailedPod(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{})
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	reg.tag(image, bad) // P2: whatever starts now takes the new image
	name := str(firstPod(t, s), "metadata", "name")
	must(t, s.Evict("prod", name, "The node was low on resource: memory."))
	must(t, s.Wait(ctx(t), func() bool {
		up := 0
		for _, p := range s.List("pods", "prod", "") {
			if str(condition(p, "Ready"), "status") == "True" {
				up++
			}
		}
		return up == 2 && len(s.List("pods", "prod", "")) == 3
	}))
	p := s.Get("pods", "prod", name)
	if str(p, "status", "phase") != "Failed" || str(p, "status", "reason") != "Evicted" {
		t.Errorf("status %s", encode(p["status"]))
	}
	if n := imageIDs(s); n["registry.example.com/payments@"+bad] != 1 {
		t.Errorf("image IDs %v: want a mixed fleet", n)
	}
	must(t, s.DeletePod("prod", name))
	if s.Get("pods", "prod", name) != nil {
		t.Error("a pod that has ended is not removed at once")
	}
}

func TestTerminatingPodsLinger(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Delays: Delays{Termination: 100 * time.Millisecond}})
	settled(t, s, NewDeployment("prod", "payments", image, 1))
	name := str(firstPod(t, s), "metadata", "name")
	must(t, s.DeletePod("prod", name))
	p := s.Get("pods", "prod", name)
	if p == nil || !has(p, "metadata", "deletionTimestamp") || num(p, "metadata", "deletionGracePeriodSeconds") != 30 || str(condition(p, "Ready"), "status") != "True" {
		t.Fatalf("the pod while it ends: %v", p["metadata"])
	}
	if _, status, _ := podSummary(p); status != "Terminating" {
		t.Errorf("shown as %s", status)
	}
	must(t, s.Wait(ctx(t), func() bool { return s.Get("pods", "prod", name) == nil }))
	if !slices.Contains(eventsOf(s, "Pod", "Killing"), "Stopping container payments") {
		t.Errorf("events %q", eventsOf(s, "Pod", "Killing"))
	}
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
}

// P25: the forms in which runtimes report the image.
func TestImageIDForms(t *testing.T) {
	t.Parallel()
	other := digestOf('e')
	for _, c := range []struct {
		name string
		form ImageIDForm
		want string
	}{
		{"default", nil, "registry.example.com/payments@" + good},
		{"docker", DockerPullable, "docker-pullable://registry.example.com/payments@" + good},
		{"config", func(string, string) (string, error) { return other, nil }, other},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _ := cluster(t, Options{ImageID: c.form})
			settled(t, s, NewDeployment("prod", "payments", image, 1))
			if n := imageIDs(s); n[c.want] != 1 {
				t.Errorf("image IDs %v, want %s", n, c.want)
			}
		})
	}
	s, _ := cluster(t, Options{})
	s.SetImageID(DockerPullable)
	d := NewDeployment("prod", "payments", "registry.example.com/payments@"+good, 1)
	settled(t, s, d)
	c := status0(firstPod(t, s))
	if str(c, "imageID") != "docker-pullable://registry.example.com/payments@"+good || str(c, "image") != "registry.example.com/payments@"+good {
		t.Errorf("a pinned image is reported as %s, %s", str(c, "image"), str(c, "imageID"))
	}
}

// A kubelet tries the containers of a pod one after another: who sees that one cannot be pulled sees those before it run.
func TestContainersAreTriedInOrder(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	d := NewDeployment("prod", "payments", image, 1)
	template, _ := templateOf(deployments, d)
	spec := dict(template, "spec")
	spec["containers"] = append(items(spec, "containers"), tree{"name": "proxy", "image": "registry.example.com/gone:latest", "imagePullPolicy": "Always"},
		tree{"name": "last", "image": image, "imagePullPolicy": "Always"})
	must(t, s.Apply(d))
	seen := 0
	must(t, s.Wait(ctx(t), func() bool {
		all := map[string]tree{}
		for _, p := range s.List("pods", "prod", "") {
			for _, c := range items(p, "status", "containerStatuses") {
				all[str(c, "name")] = c.(tree)
			}
		}
		if strings.Contains(str(all["proxy"], "state", "waiting", "reason"), "Pull") {
			seen++
			if !has(dict(all["payments"], "state"), "running") {
				t.Errorf("the second container cannot be pulled while the first is %v", all["payments"]["state"])
			}
		} else if has(dict(all["last"], "state"), "running") {
			t.Errorf("the third container runs while the second is %v", all["proxy"]["state"])
		}
		return has(dict(all["last"], "state"), "running")
	}))
	if seen == 0 {
		t.Error("the second container was never seen waiting")
	}
}

// Each way in which a node fails leaves its own word in the status of the pod, or in its events.
func TestNodesFail(t *testing.T) {
	t.Parallel()
	const why = "exec: no such file"
	for _, c := range []struct {
		name  string
		fails func(*testing.T, *Server)
		until func(o tree) bool
		event string // reason of one that tells it
	}{
		{"start", func(_ *testing.T, s *Server) { s.Behave(good, Behaviour{StartError: why}) }, func(o tree) bool {
			c := status0(o)
			return str(c, "state", "waiting", "reason") == "CrashLoopBackOff" && str(c, "lastState", "terminated", "reason") == "StartError" &&
				str(c, "lastState", "terminated", "message") == why && num(c, "lastState", "terminated", "exitCode") == 128
		}, "Failed"},
		{"start, once", func(_ *testing.T, s *Server) { s.Behave(good, Behaviour{StartError: why, Crashes: 1}) }, func(o tree) bool { return ready(&object{data: o}) && num(status0(o), "restartCount") == 1 }, "Started"},
		{"memory", func(_ *testing.T, s *Server) { s.Behave(good, Behaviour{Crash: true, ExitCode: 137}) }, func(o tree) bool {
			return str(status0(o), "lastState", "terminated", "reason") == "OOMKilled"
		}, "BackOff"},
		{"liveness", func(_ *testing.T, s *Server) { s.Behave(good, Behaviour{Crash: true, ExitCode: 137, Liveness: true}) }, func(o tree) bool {
			return str(status0(o), "lastState", "terminated", "reason") == "Error"
		}, "Killing"},
		{"flaps", func(_ *testing.T, s *Server) { s.Behave(good, Behaviour{Flaps: 2}) }, func(o tree) bool { return len(o) > 0 && ready(&object{data: o}) }, "Unhealthy"},
		{"network", func(_ *testing.T, s *Server) { s.BreakSandboxes("no address") }, func(o tree) bool {
			return str(condition(o, "PodReadyToStartContainers"), "status") == "False" && str(status0(o), "state", "waiting", "reason") == "ContainerCreating"
		}, "FailedCreatePodSandBox"},
		{"network, mended", func(_ *testing.T, s *Server) { s.BreakSandboxes("no address"); s.BreakSandboxes("") }, func(o tree) bool {
			return str(condition(o, "PodReadyToStartContainers"), "status") == "True"
		}, "Started"},
		{"lost", func(t *testing.T, s *Server) {
			must(t, s.Wait(ctx(t), func() bool { p := s.List("pods", "prod", ""); return len(p) == 1 && ready(&object{data: p[0]}) }))
			must(t, s.Lose("node-1"))
		}, func(o tree) bool {
			return str(condition(o, "Ready"), "status") == "False" && str(condition(o, "ContainersReady"), "status") == "True"
		}, "NodeNotReady"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _ := cluster(t, Options{})
			if c.name != "lost" {
				c.fails(t, s)
			}
			must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
			if c.name == "lost" {
				c.fails(t, s)
			}
			must(t, s.Wait(ctx(t), func() bool {
				p := s.List("pods", "prod", "")
				return len(p) == 1 && len(items(p[0], "status", "containerStatuses")) == 1 && c.until(p[0]) && len(eventsOf(s, "Pod", c.event)) > 0
			}))
		})
	}
}

// Secrets are named by pods and by nobody else.
func TestMissingSecrets(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(spec tree){
		"environment": func(spec tree) {
			set(items(spec, "containers")[0].(tree), []any{tree{"secretRef": tree{"name": "keys"}}}, "envFrom")
		},
		"one key": func(spec tree) {
			set(items(spec, "containers")[0].(tree), []any{tree{"name": "KEY", "valueFrom": tree{"secretKeyRef": tree{"name": "keys", "key": "a"}}}}, "env")
		},
		"volume": func(spec tree) {
			set(spec, []any{tree{"name": "keys", "secret": tree{"secretName": "keys"}}}, "volumes")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := cluster(t, Options{})
			d := NewDeployment("prod", "payments", image, 1)
			template, _ := templateOf(deployments, d)
			change(dict(template, "spec"))
			must(t, s.Apply(d))
			must(t, s.Wait(ctx(t), func() bool {
				for _, e := range s.List("events", "prod", "") {
					if strings.Contains(str(e, "message"), `secret "keys" not found`) {
						return true
					}
				}
				return false
			}))
			s.SetSecret("prod", "keys", true)
			must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
		})
	}
}
