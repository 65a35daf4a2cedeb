package rollback

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRolledOut(t *testing.T) {
	full := func(kind string) Workload {
		return Workload{Ref: Ref{kind, "prod", "x"}, Rollout: Rollout{Generation: 2, ObservedGeneration: 2, Desired: 3, Total: 3, Updated: 3, Ready: 3, Available: 3, CurrentRevision: "b", UpdateRevision: "b"}}
	}
	for _, tt := range []struct {
		kind   string
		change func(*Rollout)
		note   string // "" for done
	}{
		{"Deployment", nil, ""},
		{"Deployment", func(r *Rollout) { r.ObservedGeneration, r.Updated = 1, 0 }, "waiting for its controller to see the restart"},
		{"Deployment", func(r *Rollout) { r.Updated, r.Total = 1, 4 }, "1 of 3 new pods started"},
		{"Deployment", func(r *Rollout) { r.Total = 5 }, "2 old pods to go"},
		{"Deployment", func(r *Rollout) { r.Total, r.Available = 4, 0 }, "1 old pod to go"},
		{"Deployment", func(r *Rollout) { r.Available = 2 }, "2 of 3 new pods available"},
		{"Deployment", func(r *Rollout) { r.Desired, r.Total, r.Updated, r.Available = 0, 0, 0, 0 }, ""},
		{"StatefulSet", nil, ""},
		{"StatefulSet", func(r *Rollout) { r.Available = 0 }, ""}, // its readiness counts
		{"StatefulSet", func(r *Rollout) { r.Ready = 2 }, "2 of 3 pods ready"},
		{"StatefulSet", func(r *Rollout) { r.Updated = 1 }, "1 of 3 new pods started"},
		{"StatefulSet", func(r *Rollout) { r.CurrentRevision = "a" }, "3 of 3 pods of the new revision"},
		{"StatefulSet", func(r *Rollout) { r.Partition, r.Updated, r.CurrentRevision = 2, 1, "a" }, ""},
		{"StatefulSet", func(r *Rollout) { r.Partition, r.Updated = 1, 1 }, "1 of 3 new pods started"},
		{"DaemonSet", nil, ""},
		{"DaemonSet", func(r *Rollout) { r.Total = 9 }, ""}, // kubectl does not look at it
		{"DaemonSet", func(r *Rollout) { r.Updated = 2 }, "2 of 3 new pods started"},
		{"DaemonSet", func(r *Rollout) { r.Available = 2 }, "2 of 3 new pods available"},
		{"DaemonSet", func(r *Rollout) { r.Generation = 3 }, "waiting for its controller to see the restart"},
	} {
		w := full(tt.kind)
		if tt.change != nil {
			tt.change(&w.Rollout)
		}
		done, note := rolledOut(w)
		if done != (tt.note == "") || !done && note != tt.note || note == "" {
			t.Errorf("%s %+v: %t %q, want %q", tt.kind, w.Rollout, done, note, tt.note)
		}
	}
}

func TestWatchdog(t *testing.T) {
	ref := Ref{"Deployment", "prod", "x"}
	pod := func(stamp, reason string) Observation {
		p := Pod{Name: "x-1", Stamp: stamp, Containers: []PodContainer{{Container: Container{Name: "app"}, Waiting: reason, Message: "why"}}}
		if reason == "Unschedulable" {
			p.Containers, p.Unschedulable = nil, "no room"
		}
		p.Unmade = reason == unmade+" for ever"
		return Observation{Workload: Workload{Ref: ref, Rollout: Rollout{Generation: 2, ObservedGeneration: 2}}, Pods: []Pod{p}}
	}
	for reason, patience := range Patience {
		if reason == registryAway {
			continue // TestPatienceWithRegistries
		}
		o := pod("new", reason)
		if reason == unmade {
			o = pod("new", unmade+" for ever")
		}
		if reason == noNewPod {
			o = pod("new", "")
			o.Workload.Ref.Kind, o.Workload.Rollout.Desired, o.Pods[0].Ready = "StatefulSet", 2, true
		}
		if reason == "FailedCreate" {
			o = pod("new", "")
			o.Workload.Rollout.Failure = "exceeded quota"
		}
		d := watchdog{patience: Patience}
		var at time.Duration = -1
		for s := time.Duration(0); s <= 5*time.Minute && at < 0; s += time.Second {
			if stuck := d.look([]Observation{o}, "new", epoch.Add(s)); stuck != nil {
				at = s
				if stuck.Reason != reason || !strings.Contains(stuck.String(), reason) {
					t.Errorf("%s: %s", reason, stuck)
				}
			}
		}
		if at != patience {
			t.Errorf("%s: stuck after %s, want %s", reason, at, patience)
		}
		d = watchdog{patience: Patience} // trouble that passes in between starts anew
		calm := pod("new", "")
		for s := time.Duration(0); s < 3*time.Minute; s += time.Second {
			look := o
			if s%(5*time.Second) == 4*time.Second {
				look = calm
			}
			if stuck := d.look([]Observation{look}, "new", epoch.Add(s)); stuck != nil && patience > 0 {
				t.Errorf("%s: stuck though it passed again and again", reason)
				break
			}
		}
	}
	d := watchdog{patience: Patience}
	old := pod("old", "CrashLoopBackOff")
	leaving := pod("new", "CrashLoopBackOff")
	leaving.Pods[0].Terminating = true
	evicted := pod("new", "ImagePullBackOff")
	evicted.Pods[0].Phase = "Failed"
	if stuck := d.look([]Observation{old, leaving, evicted, pod("new", "ContainerCreating"), pod("new", "PodInitializing")}, "new", epoch); stuck != nil {
		t.Errorf("old, leaving, evicted and starting pods are no trouble: %s", stuck)
	}
	few := pod("new", "") // the next pod of a set is made when this one is ready, or gone
	few.Workload.Ref.Kind, few.Workload.Rollout.Desired = "StatefulSet", 2
	ending := few
	ending.Pods = []Pod{{Name: "x-0", Ready: true}, {Name: "x-1", Terminating: true}}
	ending.Workload.Rollout.Desired = 3
	counted := few // or when it has been ready for as long as minReadySeconds says
	counted.Pods = []Pod{{Name: "x-0", Ready: true, ReadySince: epoch}}
	counted.Workload.Rollout.MinReady = 3 * time.Minute
	for s := time.Duration(0); s < 3*time.Minute; s += time.Second {
		if stuck := d.look([]Observation{few, ending, counted}, "new", epoch.Add(s)); stuck != nil {
			t.Fatalf("a set on its way is no trouble: %s", stuck)
		}
	}
	o := pod("new", "")
	o.Workload.Rollout.Stalled = "ReplicaSet x has timed out progressing"
	if stuck := d.look([]Observation{o}, "new", epoch); stuck == nil || stuck.Reason != "ProgressDeadlineExceeded" {
		t.Errorf("the controller's own verdict: %v", stuck)
	}
	if o.Workload.Rollout.Generation = 3; d.look([]Observation{o}, "new", epoch) != nil {
		t.Error("the verdict was on the generation before")
	}
}

func TestStuckSaysItsReasonOnce(t *testing.T) {
	ref := Ref{"Deployment", "prod", "x"}
	for _, tt := range []struct {
		s    Stuck
		want string
	}{
		{Stuck{Workload: ref, Reason: "FailedCreate", Message: "FailedCreate: exceeded quota"}, "deployment/x: FailedCreate: exceeded quota"},
		{Stuck{Workload: ref, Reason: "FailedCreate", Message: "FailedCreate"}, "deployment/x: FailedCreate"},
		{Stuck{Workload: ref, Pod: "x-1", Reason: "CrashLoopBackOff", Message: "back-off 10s"}, "pod x-1: CrashLoopBackOff: back-off 10s"},
		{Stuck{Workload: ref, Pod: "x-1", Reason: "Unschedulable"}, "pod x-1: Unschedulable"},
	} {
		if got := tt.s.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestWorstPod(t *testing.T) {
	pod := func(name string, change func(*Pod)) Pod {
		p := Pod{Name: name, Stamp: "new", Phase: "Running", Containers: []PodContainer{
			{Container: Container{Name: "migrate", Role: Init}, LastExit: -1}, {Container: Container{Name: "app", Role: Main}, LastExit: -1}}}
		if change != nil {
			change(&p)
		}
		return p
	}
	restarts := func(n, exit int) func(*Pod) {
		return func(p *Pod) { p.Containers[1].Restarts, p.Containers[1].LastExit = n, exit }
	}
	waits := func(i int, reason string) func(*Pod) {
		return func(p *Pod) { p.Containers[i].Waiting, p.Containers[i].Message = reason, "why" }
	}
	up := pod("x-up", func(p *Pod) { p.Ready = true; restarts(9, 1)(p) })
	old := pod("x-old", func(p *Pod) { p.Stamp = "old"; p.Unschedulable = "no room" })
	for _, tt := range []struct {
		name                    string
		pods                    []Pod
		pod, container, trouble string
	}{
		{"none", nil, "", "", ""},
		{"all are ready, old, leaving or gone", []Pod{up, old, pod("a", func(p *Pod) { p.Terminating = true }), pod("b", func(p *Pod) { p.Phase = "Failed" })}, "", "", ""},
		{"not ready", []Pod{up, old, pod("x-1", nil), pod("x-2", nil)}, "x-1", "app", "pod x-1 is not ready"},
		{"restarts", []Pod{pod("x-1", nil), pod("x-2", restarts(1, 137)), pod("x-3", restarts(4, -1))}, "x-3", "app", "pod x-3: container app was restarted 4 times"},
		{"one restart", []Pod{pod("x-1", restarts(1, 137))}, "x-1", "app", "pod x-1: container app was restarted 1 time; it ended with exit code 137"},
		{"waiting", []Pod{pod("x-1", restarts(99, 1)), pod("x-2", func(p *Pod) { waits(0, "ErrImagePull")(p); waits(1, "PodInitializing")(p) })}, "x-2", "migrate", "pod x-2: ErrImagePull: why"},
		{"waiting for an init container", []Pod{pod("x-1", waits(1, "PodInitializing"))}, "x-1", "app", "pod x-1 is not ready"},
		{"ended before", []Pod{pod("x-1", func(p *Pod) {
			waits(1, "CrashLoopBackOff")(p)
			p.Containers[1].LastExit, p.Containers[1].LastReason = 137, "OOMKilled"
		})}, "x-1", "app", "pod x-1: CrashLoopBackOff: why; it ended with exit code 137 (OOMKilled)"},
		{"not even started", []Pod{pod("x-1", func(p *Pod) {
			waits(1, "CrashLoopBackOff")(p)
			p.Containers[1].LastExit, p.Containers[1].LastReason, p.Containers[1].LastMessage = 128, "StartError", `exec: "/app": no such file`
		})}, "x-1", "app", `pod x-1: CrashLoopBackOff: why; it ended with exit code 128 (StartError): exec: "/app": no such file`},
		{"without network", []Pod{pod("x-1", waits(1, "ErrImagePull")), pod("x-2", func(p *Pod) { waits(1, unmade)(p); p.Unmade, p.Node = true, "node-b" })}, "x-2", "", "pod x-2: ContainerCreating: its volumes or its network can't be made on node-b"},
		{"on a lost node", []Pod{pod("x-1", waits(1, "ErrImagePull")), pod("x-2", func(p *Pod) { p.Lost, p.Node = true, "node-b" })}, "x-2", "", "pod x-2: its node node-b doesn't answer"},
		{"without a node", []Pod{pod("x-1", waits(1, "ContainerCreating")), pod("x-2", func(p *Pod) { p.Unschedulable = "0/3 nodes are available" })}, "x-2", "", "pod x-2: Unschedulable: 0/3 nodes are available"},
	} {
		p, c, trouble := worstPod(Observation{Pods: tt.pods}, "new")
		if p != tt.pod || c != tt.container || trouble != tt.trouble {
			t.Errorf("%s: %q %q %q", tt.name, p, c, trouble)
		}
	}
}

func TestLeftover(t *testing.T) {
	going := Pod{Name: "x-1", Node: "node-b", Terminating: true, EndBy: epoch}
	lost, live := going, going
	lost.Lost, live.Terminating = true, false
	for _, tt := range []struct {
		p    Pod
		at   time.Duration
		want string
	}{
		{going, overdue, ""},
		{going, overdue + time.Second, "pod x-1 was to be gone by "},
		{live, time.Hour, ""},
		{lost, -time.Hour, "its node node-b doesn't answer, and what it runs there is not known"},
		{Pod{Terminating: true}, time.Hour, ""},
	} {
		if got := leftover(tt.p, epoch.Add(tt.at)); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v after %s: %q, want %q", tt.p, tt.at, got, tt.want)
		}
	}
}

// What to do follows from why it ended, and from what the registry said.
func TestStuckMeans(t *testing.T) {
	for want, s := range map[string]Stuck{
		"more memory than container app may have (resources.limits.memory of deployment/x)": {Workload: Ref{"Deployment", "prod", "x"}, Container: "app", Reason: "CrashLoopBackOff", Ended: "OOMKilled", Exit: 137},
		"its command, or a file or user that it names, is not in the image":                 {Reason: "CrashLoopBackOff", Ended: "StartError", Exit: 128},
		"its liveness probe":                       {Reason: "CrashLoopBackOff", Ended: "Error", Exit: 137},
		"the target itself ends":                   {Reason: "CrashLoopBackOff", Ended: "Error", Exit: 1},
		"no longer has the image":                  {Reason: "ErrImageNeverPull"},
		"is not a valid image name":                {Reason: "InvalidImageName"},
		"signature of the image":                   {Reason: "SignatureValidationFailed"},
		"cannot reach the registry":                {Reason: "ImagePullBackOff", Message: "dial tcp: i/o timeout"},
		"or that is down":                          {Reason: "RegistryUnavailable"},
		"turns the node away":                      {Reason: "ImagePullBackOff", Message: "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"},
		"right to pull is missing":                 {Reason: "ErrImagePull", Message: "unexpected status from HEAD request to https://r/v2/x/manifests/latest: 403 Forbidden"},
		"does not have that image":                 {Reason: "ImagePullBackOff", Message: "r/x:latest: not found"},
		"right to pull, image gone, registry down": {Reason: "ImagePullBackOff", Message: "no space left on device"},
	} {
		got := endText(s)
		if s.Reason != "CrashLoopBackOff" {
			got = unpulled(s)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}

func TestOrderedStuck(t *testing.T) {
	o := Observation{Workload: Workload{Ordered: true}, Pods: []Pod{
		{Name: "x-0", Stamp: "old", Ready: true}, {Name: "x-1", Stamp: "old", Containers: []PodContainer{{Waiting: "CrashLoopBackOff"}}},
	}}
	if got := orderedStuck(o, "new"); got != "x-1" {
		t.Errorf("%q", got)
	}
	o.Pods[1].Stamp = "new"
	if got := orderedStuck(o, "new"); got != "" {
		t.Errorf("a new pod: %q", got)
	}
	o.Pods[1].Stamp, o.Workload.Ordered = "old", false
	if got := orderedStuck(o, "new"); got != "" {
		t.Errorf("a Deployment: %q", got)
	}
}

func TestProve(t *testing.T) {
	const image = "r.example.com/payments:latest"
	good, bad := DigestOf([]byte("good")), DigestOf([]byte("bad"))
	set := DigestSet{good: true, some: true}
	app := Container{Name: "app", Role: Main, Image: image}
	pod := func(n int, change func(*Pod)) Pod {
		p := Pod{Name: fmt.Sprintf("x-%d", n), Stamp: "new", Phase: "Running", Ready: true, Containers: []PodContainer{{Container: app, Digest: good}}}
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, tt := range []struct {
		name           string
		template       []Container // more than app
		pods           []Pod
		stamp          string
		missing, wrong string
	}{
		{"all is well", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Containers[0].Digest = some })}, "new", "", ""},
		{"one runs something else", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Containers[0].Digest = bad })}, "new", "x-2 runs " + bad.Short(), "x-2 runs " + bad.Short()},
		{"an old one does", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Stamp = "old"; p.Containers[0].Digest = bad })}, "new", "1 old pod still up", ""},
		{"without a restart it counts", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Stamp = "old"; p.Containers[0].Digest = bad })}, "", "x-2 runs", "x-2 runs"},
		{"a leaving one does not", nil, []Pod{pod(1, nil), pod(2, nil), pod(3, func(p *Pod) { p.Terminating = true; p.Containers[0].Digest = bad })}, "new", "", ""},
		{"evicted ones do not", nil, []Pod{pod(1, nil), pod(2, nil), pod(3, func(p *Pod) { p.Phase, p.Ready = "Failed", false }), pod(4, func(p *Pod) { p.Phase, p.Ready = "Succeeded", false })}, "new", "", ""},
		{"not ready", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Ready = false })}, "new", "1 of 2 pods ready", ""},
		{"on a lost node", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Ready, p.Lost, p.Node = false, true, "node-b" })}, "new", "1 of 2 pods ready; x-2: its node node-b doesn't answer", ""},
		{"not reported", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) { p.Containers[0].Digest = "" })}, "new", "has not reported the image of x-2", ""},
		{"too few", nil, []Pod{pod(1, nil)}, "new", "1 pod for 2 wanted", ""},
		{"too many", nil, []Pod{pod(1, nil), pod(2, nil), pod(3, nil)}, "new", "3 pods for 2 wanted", ""},
		{"pinned on its way", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) {
			p.Containers[0].Image, p.Containers[0].Digest = "r.example.com/payments@"+string(bad), bad
		})}, "new", "x-2 runs", "x-2 runs"},
		{"a sidecar of another image", nil, []Pod{pod(1, func(p *Pod) {
			p.Containers = append(p.Containers, PodContainer{Container: Container{Name: "proxy", Role: Sidecar, Image: "proxy:1"}, Digest: bad})
		}), pod(2, nil)}, "new", "", ""},
		{"a pinned sidecar of the same repository", []Container{{Name: "side", Role: Sidecar, Image: "r.example.com/payments:v1"}}, []Pod{pod(1, func(p *Pod) {
			p.Containers = append(p.Containers, PodContainer{Container: Container{Name: "side", Role: Sidecar, Image: "r.example.com/payments:v1"}, Digest: bad})
		}), pod(2, nil)}, "new", "", ""},
		{"an init container with the tag", []Container{{Name: "migrate", Role: Init, Image: image}}, []Pod{pod(1, func(p *Pod) {
			p.Containers = append(p.Containers, PodContainer{Container: Container{Name: "migrate", Role: Init, Image: image}, Digest: bad})
		}), pod(2, nil)}, "new", "x-1 runs", "x-1 runs"},
		{"nothing follows the tag", nil, []Pod{pod(1, nil), pod(2, func(p *Pod) {
			p.Containers = []PodContainer{{Container: Container{Name: "else", Image: "r.example.com/payments:v1"}, Digest: good}}
		})}, "new", "no container of x-2 follows payments:latest", ""},
	} {
		o := Observation{Workload: Workload{Ref: Ref{"Deployment", "prod", "x"}, Containers: append([]Container{app}, tt.template...), Rollout: Rollout{Desired: 2}}, Pods: tt.pods}
		pr := prove(o, "payments", "latest", set, tt.stamp)
		if (pr.Missing == "") != (tt.missing == "") || !strings.Contains(pr.Missing, tt.missing) || (pr.Wrong == "") != (tt.wrong == "") || !strings.Contains(pr.Wrong, tt.wrong) {
			t.Errorf("%s: missing %q, wrong %q", tt.name, pr.Missing, pr.Wrong)
		}
	}
	if pr := prove(Observation{}, "payments", "latest", set, ""); !strings.Contains(pr.Missing, "0 replicas") {
		t.Errorf("0 replicas: %+v", pr)
	}
	var many []Pod
	for n := range 5 {
		many = append(many, pod(n, func(p *Pod) { p.Containers[0].Digest = bad }))
	}
	if pr := prove(Observation{Workload: Workload{Containers: []Container{app}}, Pods: many}, "payments", "latest", set, ""); !strings.HasSuffix(pr.Wrong, " and 2 more") {
		t.Errorf("many: %s", pr.Wrong)
	}
}

// A pull that failed because the registry was away is waited for, however its two names alternate; one that says that the
// image is not there, or not for us, is not.
func TestPatienceWithRegistries(t *testing.T) {
	const pulling = `rpc error: code = Unknown desc = failed to pull and unpack image "r/x:latest": failed to resolve reference "r/x:latest": `
	ref := Ref{"Deployment", "prod", "x"}
	stuckAfter := func(message string, old bool) time.Duration {
		d := watchdog{patience: Patience}
		for s := time.Duration(0); s <= 5*time.Minute; s += time.Second {
			reason, text := "ErrImagePull", message
			if s%(10*time.Second) >= 5*time.Second {
				if reason, text = "ImagePullBackOff", `Back-off pulling image "r/x:latest"`; !old {
					text += ": ErrImagePull: " + message
				}
			}
			p := Pod{Name: "x-1", Stamp: "new", Containers: []PodContainer{{Container: Container{Name: "app"}, Waiting: reason, Message: text}}}
			if stuck := d.look([]Observation{{Workload: Workload{Ref: ref}, Pods: []Pod{p}}}, "new", epoch.Add(s)); stuck != nil {
				if stuck.Reason != reason || !strings.Contains(stuck.Message, message) {
					t.Errorf("%q: told as %s: %s", message, stuck.Reason, stuck.Message)
				}
				return s
			}
		}
		return -1
	}
	for _, away := range []string{
		pulling + "unexpected status from HEAD request to https://r/v2/x/manifests/latest: 503 Service Unavailable",
		pulling + "unexpected status from HEAD request to https://r/v2/x/manifests/latest: 429 Too Many Requests",
		pulling + "failed to do request: Head \"https://r/v2/x/manifests/latest\": dial tcp 10.0.0.1:443: i/o timeout",
		pulling + "failed to do request: Head \"https://r/v2/x/manifests/latest\": EOF",
		pulling + "toomanyrequests: Rate exceeded",
		pulling + "unexpected status from GET request: 500 Internal Server Error",
	} {
		for _, old := range []bool{false, true} {
			if got := stuckAfter(away, old); got != Patience[registryAway] {
				t.Errorf("%q, an older kubelet %t: stuck after %s, want %s", away, old, got, Patience[registryAway])
			}
		}
	}
	for _, gone := range []string{
		pulling + "r/x:latest: not found", pulling + "unexpected status from HEAD request: 403 Forbidden",
		pulling + "pull access denied, repository does not exist or may require authorization", "no basic auth credentials",
		pulling + "r/x-eof500:latest: not found",
	} {
		for _, old := range []bool{false, true} {
			if got := stuckAfter(gone, old); got != 5*time.Second { // at the first ImagePullBackOff
				t.Errorf("%q, an older kubelet %t: stuck after %s, want 5s", gone, old, got)
			}
		}
	}
}
