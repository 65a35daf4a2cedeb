package kubeworld

// One pod on a node, from binding to end. Words and reasons of events and states are the kubelet's own:
// https://github.com/kubernetes/kubernetes/tree/v1.37.2/pkg/kubelet (images/image_manager.go, kuberuntime, prober).

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/rollback-tools/rollback/test/e2e/control"
)

type run struct {
	nodes    *nodes
	pod      *corev1.Pod // as it was bound
	settings *namespaceSettings
	recorder record.EventRecorder

	ctx    context.Context // ends when the pod is gone
	cancel context.CancelFunc
	work   context.Context // ends when the pod is to end
	stop   context.CancelFunc
	over   chan struct{} // closed when nothing of it is left running

	mu         sync.Mutex
	inits      []*container
	mains      []*container
	started    metav1.Time
	ip         string
	ended      bool   // by deletion
	evicted    string // why, "" if it was not
	sandbox    bool   // it has its volumes and its network
	conditions []corev1.PodCondition
	dirty      chan struct{}
}

type role int

const (
	mainRole role = iota
	initRole
	sidecarRole
)

type container struct {
	spec   corev1.Container
	role   role
	ref    *corev1.ObjectReference // what events are about
	status corev1.ContainerStatus
	begun  chan struct{} // closed at the first start
	tried  func()        // that it has started, or has to wait, for the first time
	turn   chan struct{} // closed then: the next container of the pod follows
	done   bool          // ended for good
	ok     bool          // with exit code 0
	fails  int           // pulls that failed in a row
	crash  int
	// stubborn is set while it runs and would ignore SIGTERM.
	stubborn bool
	log      map[string]string // container ID → what it wrote
}

func newRun(n *nodes, pod *corev1.Pod, recorder record.EventRecorder, ip string) *run {
	r := &run{nodes: n, pod: pod, settings: n.settings.of(pod.Namespace), recorder: recorder, started: metav1.Now(), ip: ip, conditions: slices.Clone(pod.Status.Conditions), dirty: make(chan struct{}, 1), over: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(n.ctx)
	r.work, r.stop = context.WithCancel(r.ctx)
	make1 := func(spec corev1.Container, role role, list, reason string) *container {
		turn := make(chan struct{})
		return &container{
			spec: spec, role: role, begun: make(chan struct{}), turn: turn, tried: sync.OnceFunc(func() { close(turn) }), log: map[string]string{},
			ref: &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
				ResourceVersion: pod.ResourceVersion, FieldPath: fmt.Sprintf("spec.%s{%s}", list, spec.Name)},
			status: corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: ptr.To(false), State: waiting(reason, "")},
		}
	}
	reason := "ContainerCreating"
	if len(pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	for _, c := range pod.Spec.InitContainers {
		role := initRole
		if ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			role = sidecarRole
		}
		r.inits = append(r.inits, make1(c, role, "initContainers", "PodInitializing"))
	}
	for _, c := range pod.Spec.Containers {
		r.mains = append(r.mains, make1(c, mainRole, "containers", reason))
	}
	return r
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// sleep waits; false means that ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// end begins the end of the pod.
func (r *run) end() { r.stop() }

// live is the whole life of the pod on its node.
func (r *run) live() {
	defer close(r.over)
	var all sync.WaitGroup
	all.Go(r.report)
	all.Go(r.containers)
	r.change(func() {})
	<-r.work.Done()
	if r.ctx.Err() == nil && r.is(func() bool { return r.evicted == "" }) && r.nodes.answers(r.ctx, r.pod.Spec.NodeName) {
		r.kill()
	}
	all.Wait()
}

// containers starts them: the init containers one after another, then all others. Of those, too, a kubelet tries one after
// another, but only waits for the end of an attempt: while one cannot be pulled, those before it run.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod)
func (r *run) containers() {
	if !r.nodes.answers(r.work, r.pod.Spec.NodeName) || !r.mount() || !r.network() {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, c := range r.inits {
		if c.role == sidecarRole {
			all.Go(func() { r.container(c) })
			select {
			case <-c.begun:
				continue
			case <-r.work.Done():
				return
			}
		}
		if r.container(c); !r.is(func() bool { return c.ok }) {
			return
		}
	}
	for _, c := range r.mains {
		all.Go(func() { r.container(c) })
		select {
		case <-c.turn:
		case <-r.work.Done():
			return
		}
	}
}

// mount waits for the ConfigMaps and Secrets that the pod mounts.
func (r *run) mount() bool {
	core := r.nodes.client.CoreV1()
	for _, v := range r.pod.Spec.Volumes {
		var get func() error
		var what string
		switch {
		case v.ConfigMap != nil && !ptr.Deref(v.ConfigMap.Optional, false):
			what = fmt.Sprintf("configmap %q", v.ConfigMap.Name)
			get = func() error {
				_, err := core.ConfigMaps(r.pod.Namespace).Get(r.work, v.ConfigMap.Name, metav1.GetOptions{})
				return err
			}
		case v.Secret != nil && !ptr.Deref(v.Secret.Optional, false):
			what = fmt.Sprintf("secret %q", v.Secret.SecretName)
			get = func() error {
				_, err := core.Secrets(r.pod.Namespace).Get(r.work, v.Secret.SecretName, metav1.GetOptions{})
				return err
			}
		default:
			continue
		}
		for {
			err := get()
			if err == nil {
				break
			}
			if apierrors.IsNotFound(err) {
				r.recorder.Eventf(r.pod, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %s not found", v.Name, what)
			}
			if !sleep(r.work, r.settings.delays().PullBackoff) {
				return false
			}
		}
	}
	return r.work.Err() == nil
}

// network makes the pod's sandbox, which comes after its volumes and before its images.
// Source of the words: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod)
func (r *run) network() bool {
	for why := r.settings.sandbox(); why != ""; why = r.settings.sandbox() {
		r.recorder.Eventf(r.pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", why)
		if !sleep(r.work, r.settings.delays().PullBackoff) {
			return false
		}
	}
	r.change(func() { r.sandbox = true })
	return r.work.Err() == nil
}

// container runs one container until it has ended for good or the pod ends.
func (r *run) container(c *container) {
	for {
		digest, ok := r.image(c)
		if !ok {
			return
		}
		b := r.settings.behaviour(r.pod, digest)
		if why := r.unmakeable(c, b.ConfigError); why != "" {
			r.event(c, corev1.EventTypeWarning, "Failed", "Error: "+why)
			r.wait(c, "CreateContainerConfigError", why)
			if !sleep(r.work, r.settings.delays().PullBackoff) {
				return
			}
			continue
		}
		d := r.settings.delays()
		if !sleep(r.work, d.Start) {
			return
		}
		id := containerID()
		imageID, err := r.nodes.resolver.imageID(r.work, r.settings, c.spec.Image, digest)
		if err != nil { // the registry went away in between
			r.pullFailed(c, err)
			continue
		}
		r.event(c, corev1.EventTypeNormal, "Created", "Container created")
		if b.StartError != "" && (b.Crashes == 0 || c.crash < b.Crashes) {
			if !r.unstarted(c, b.StartError, id, imageID) {
				return
			}
			continue
		}
		crash := b.Crash && (b.Crashes == 0 || c.crash < b.Crashes)
		ends := c.role == initRole || c.role == mainRole && r.pod.Spec.RestartPolicy != corev1.RestartPolicyAlways
		log := b.Logs
		if log == "" {
			log = fmt.Sprintf("%s starting, image %s\n", c.spec.Name, digest)
			if crash {
				log += "fatal: giving up\n"
			}
		}
		begun := metav1.Now()
		r.change(func() {
			if c.status.ContainerID != "" {
				c.status.RestartCount++
			}
			c.keepLast()
			c.status.ContainerID, c.status.ImageID, c.status.Image = id, imageID, canonicalImage(c.spec.Image)
			c.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: begun}}
			c.status.Started = ptr.To(true)
			c.log[id] = log
			select {
			case <-c.begun:
			default:
				close(c.begun)
			}
		})
		c.tried()
		r.event(c, corev1.EventTypeNormal, "Started", "Container started")

		life, over := context.WithCancel(r.work)
		code := 0
		switch {
		case crash:
			if c.role != initRole {
				go r.ready(life, c, b)
			}
			code = max(b.ExitCode, 1)
			if sleep(life, b.CrashAfter) && b.Liveness {
				r.event(c, corev1.EventTypeWarning, "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500")
				r.event(c, corev1.EventTypeNormal, "Killing", fmt.Sprintf("Container %s failed liveness probe, will be restarted", c.spec.Name))
			}
		case ends:
			sleep(life, d.Run)
		default:
			r.change(func() { c.stubborn = b.Stubborn })
			r.ready(life, c, b)
			<-life.Done()
		}
		over()
		if r.work.Err() != nil {
			return
		}
		reason := reasonOf(code)
		if code == 137 && !b.Liveness {
			reason = "OOMKilled"
		}
		if !r.again(c, terminated(code, reason, id, begun)) {
			return
		}
	}
}

// unstarted is what becomes of a container that the runtime made and does not start: first the refusal is told, then the runtime
// lists it as one that has ended.
func (r *run) unstarted(c *container, why, id, imageID string) bool {
	r.event(c, corev1.EventTypeWarning, "Failed", "Error: "+why)
	r.wait(c, "RunContainerError", why)
	if !sleep(r.work, r.settings.delays().Start) {
		return false
	}
	r.change(func() {
		if c.status.ContainerID != "" {
			c.status.RestartCount++
		}
		c.status.ContainerID, c.status.ImageID, c.status.Image = id, imageID, canonicalImage(c.spec.Image)
	})
	t := terminated(128, "StartError", id, metav1.Unix(0, 0))
	t.Message = why
	return r.again(c, t)
}

// reasonOf is the runtime's word for an exit code.
func reasonOf(code int) string {
	if code == 0 {
		return "Completed"
	}
	return "Error"
}

// again records the end of a container; true means that it is to be started once more, after the wait that is due.
func (r *run) again(c *container, end *corev1.ContainerStateTerminated) bool {
	code := end.ExitCode
	again := c.role == sidecarRole
	switch policy := r.pod.Spec.RestartPolicy; c.role {
	case mainRole:
		again = policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && code != 0
	case initRole:
		again = code != 0 && policy != corev1.RestartPolicyNever
	}
	r.change(func() {
		c.status.State = corev1.ContainerState{Terminated: end}
		c.status.Ready, c.status.Started = false, ptr.To(false)
		c.ok, c.done = code == 0, !again
		c.crash++
	})
	if !again {
		return false
	}
	if c.crash == 1 { // the first restart does not wait
		return sleep(r.work, r.settings.delays().Start)
	}
	n := min(c.crash-2, 5)
	name := fmt.Sprintf("%s_%s(%s)", r.pod.Name, r.pod.Namespace, r.pod.UID)
	r.event(c, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, name))
	r.wait(c, "CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", min(10*time.Second<<n, 5*time.Minute), c.spec.Name, name))
	return sleep(r.work, r.settings.delays().CrashLoop<<n)
}

func terminated(code int, reason, id string, begun metav1.Time) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: int32(code), Reason: reason, StartedAt: begun, FinishedAt: metav1.Now(), ContainerID: id}
}

// keepLast moves the state of a container that has ended into its last state. r.mu is held.
func (c *container) keepLast() {
	if c.status.State.Terminated != nil {
		c.status.LastTerminationState = corev1.ContainerState{Terminated: c.status.State.Terminated}
	}
}

// ready makes a running container ready when it is time, and lets its probe fail until then.
func (r *run) ready(life context.Context, c *container, b control.Behaviour) {
	d, never, after := r.settings.delays(), b.NeverReady, b.ReadyAfter
	const failed = "Readiness probe failed: HTTP probe failed with statuscode: 503"
	wait, probed := d.Ready, never || after > 0
	if after > 0 {
		wait = after
	}
	until := time.Now().Add(wait)
	for probed && (never || time.Now().Before(until)) {
		step := d.Probe
		if !never {
			step = min(step, time.Until(until))
		}
		if !sleep(life, step) {
			return
		}
		if never || time.Now().Before(until) {
			r.event(c, corev1.EventTypeWarning, "Unhealthy", failed)
		}
	}
	if probed || sleep(life, wait) {
		r.change(func() { c.status.Ready = life.Err() == nil })
	}
	for i := 0; i < 2*b.Flaps && sleep(life, d.Probe); i++ {
		if i%2 == 0 {
			r.event(c, corev1.EventTypeWarning, "Unhealthy", failed)
		}
		r.change(func() { c.status.Ready = life.Err() == nil && i%2 == 1 })
	}
}

// unmakeable says why a container cannot be made: what its environment refers to and the namespace does not have.
func (r *run) unmakeable(c *container, told string) string {
	if told != "" {
		return told
	}
	get := func(kind, name string, optional *bool, key string) string {
		if ptr.Deref(optional, false) {
			return ""
		}
		there := false
		var err error
		if kind == "Secret" {
			var s *corev1.Secret
			s, err = r.nodes.client.CoreV1().Secrets(r.pod.Namespace).Get(r.work, name, metav1.GetOptions{})
			_, there = s.Data[key]
		} else {
			var m *corev1.ConfigMap
			m, err = r.nodes.client.CoreV1().ConfigMaps(r.pod.Namespace).Get(r.work, name, metav1.GetOptions{})
			_, there = m.Data[key]
		}
		switch {
		case apierrors.IsNotFound(err):
			return fmt.Sprintf("%s %q not found", strings.ToLower(kind), name)
		case err == nil && key != "" && !there:
			return fmt.Sprintf("couldn't find key %s in %s %s/%s", key, kind, r.pod.Namespace, name)
		}
		return ""
	}
	for _, e := range c.spec.EnvFrom {
		if x := e.ConfigMapRef; x != nil {
			if why := get("ConfigMap", x.Name, x.Optional, ""); why != "" {
				return why
			}
		}
		if x := e.SecretRef; x != nil {
			if why := get("Secret", x.Name, x.Optional, ""); why != "" {
				return why
			}
		}
	}
	for _, e := range c.spec.Env {
		if e.ValueFrom == nil {
			continue
		}
		if x := e.ValueFrom.ConfigMapKeyRef; x != nil {
			if why := get("ConfigMap", x.Name, x.Optional, x.Key); why != "" {
				return why
			}
		}
		if x := e.ValueFrom.SecretKeyRef; x != nil {
			if why := get("Secret", x.Name, x.Optional, x.Key); why != "" {
				return why
			}
		}
	}
	return ""
}

// kill ends the pod: containers first, then the object.
func (r *run) kill() {
	wait := r.settings.delays().Termination
	r.mu.Lock()
	for _, c := range append(slices.Clone(r.mains), r.inits...) {
		if c.status.State.Running != nil {
			r.event(c, corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
			if c.stubborn {
				wait = time.Duration(ptr.Deref(r.pod.Spec.TerminationGracePeriodSeconds, 30)) * time.Second
			}
		}
	}
	r.mu.Unlock()
	if !sleep(r.ctx, wait) {
		return
	}
	r.change(func() {
		r.ended = true
		for _, c := range append(slices.Clone(r.mains), r.inits...) {
			if run := c.status.State.Running; run != nil {
				code := 143
				if c.stubborn {
					code = 137
				}
				c.status.State = corev1.ContainerState{Terminated: terminated(code, "Error", c.status.ContainerID, run.StartedAt)}
			}
			c.status.Ready, c.status.Started = false, ptr.To(false)
			c.done = true
		}
	})
	err := r.nodes.client.CoreV1().Pods(r.pod.Namespace).Delete(r.ctx, r.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &r.pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && r.ctx.Err() == nil {
		r.recorder.Eventf(r.pod, corev1.EventTypeWarning, "FailedKillPod", "error killing pod: %v", err)
	}
}

// evict puts the pod out: its containers are killed, and it stays behind.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/eviction/eviction_manager.go (evictPod)
func (r *run) evict(message string) {
	r.recorder.Event(r.pod, corev1.EventTypeWarning, "Evicted", message)
	r.mu.Lock()
	r.evicted = message
	r.mu.Unlock()
	r.stop()
	r.change(func() {
		for _, c := range append(slices.Clone(r.mains), r.inits...) {
			if run := c.status.State.Running; run != nil {
				r.event(c, corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
				c.status.State = corev1.ContainerState{Terminated: terminated(137, "Error", c.status.ContainerID, run.StartedAt)}
			}
			c.status.Ready, c.status.Started = false, ptr.To(false)
			c.done = true
		}
	})
}

func (r *run) event(c *container, kind, reason, message string) {
	r.recorder.Event(c.ref, kind, reason, message)
}

// wait shows a container as waiting.
func (r *run) wait(c *container, reason, message string) {
	r.change(func() {
		c.keepLast()
		c.status.State, c.status.Ready, c.status.Started = waiting(reason, message), false, ptr.To(false)
	})
	c.tried()
}

// change changes the run and has its status written.
func (r *run) change(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

func (r *run) is(f func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// report writes the status whenever it has changed. As with a kubelet, states that last shorter than a write are not seen.
func (r *run) report() {
	written := r.pod.Status
	for {
		select {
		case <-r.dirty:
		case <-r.ctx.Done():
			return
		}
		for {
			if !r.nodes.answers(r.ctx, r.pod.Spec.NodeName) {
				return
			}
			now := r.status()
			err := r.nodes.patchStatus(r.ctx, r.pod, written, now)
			if err == nil {
				written = now
				break
			}
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || !sleep(r.ctx, 50*time.Millisecond) {
				break
			}
		}
	}
}

// status is that of the pod as its containers are.
func (r *run) status() corev1.PodStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := corev1.PodStatus{
		Phase: r.phase(), HostIP: "127.0.0.1", HostIPs: []corev1.HostIP{{IP: "127.0.0.1"}}, PodIP: r.ip, PodIPs: []corev1.PodIP{{IP: r.ip}},
		StartTime: &r.started, ObservedGeneration: r.pod.Generation,
	}
	var uninitialized, unready []string
	for _, c := range r.inits {
		st := c.status
		st.Ready = st.Ready || c.role == initRole && c.ok
		s.InitContainerStatuses = append(s.InitContainerStatuses, st)
		if c.role == initRole && !c.ok || c.role == sidecarRole && !ptr.Deref(st.Started, false) {
			uninitialized = append(uninitialized, c.spec.Name)
		}
		if c.role == sidecarRole && !st.Ready {
			unready = append(unready, c.spec.Name)
		}
	}
	for _, c := range r.mains {
		s.ContainerStatuses = append(s.ContainerStatuses, c.status)
		if !c.status.Ready {
			unready = append(unready, c.spec.Name)
		}
	}
	slices.SortFunc(s.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
	if r.sandbox {
		r.condition("PodReadyToStartContainers", "True", "", "")
	} else {
		r.condition("PodReadyToStartContainers", "False", "", "")
	}
	if r.evicted != "" {
		s.Reason, s.Message = "Evicted", r.evicted
		r.condition("DisruptionTarget", "True", "TerminationByKubelet", r.evicted)
	}
	if len(uninitialized) > 0 {
		r.condition("Initialized", "False", "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %v", uninitialized))
	} else {
		r.condition("Initialized", "True", "", "")
	}
	status, reason, message := corev1.ConditionTrue, "", ""
	switch {
	case s.Phase == corev1.PodSucceeded:
		status, reason = "False", "PodCompleted"
	case s.Phase == corev1.PodFailed:
		status, reason = "False", "PodFailed"
	case len(unready) > 0:
		status, reason, message = "False", "ContainersNotReady", fmt.Sprintf("containers with unready status: %v", unready)
	}
	r.condition("Ready", status, reason, message)
	r.condition("ContainersReady", status, reason, message)
	s.Conditions = slices.Clone(r.conditions)
	return s
}

// condition sets a condition; the transition time moves with the status only. r.mu is held.
func (r *run) condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) {
	c := corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now(), ObservedGeneration: r.pod.Generation}
	for i, old := range r.conditions {
		if old.Type == kind {
			if old.Status == status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			r.conditions[i] = c
			return
		}
	}
	r.conditions = append(r.conditions, c)
}

// phase sums the containers up as getPhase of the kubelet does. r.mu is held.
func (r *run) phase() corev1.PodPhase {
	if r.evicted != "" {
		return corev1.PodFailed
	}
	if r.ended { // all containers have ended; the restart policy no longer counts
		for _, c := range r.mains {
			if t := c.status.State.Terminated; t == nil || t.ExitCode != 0 {
				return corev1.PodFailed
			}
		}
		return corev1.PodSucceeded
	}
	for _, c := range r.inits {
		if c.role == initRole && c.done && !c.ok {
			return corev1.PodFailed
		}
		if c.role == initRole && !c.ok || c.role == sidecarRole && c.status.ContainerID == "" {
			return corev1.PodPending
		}
	}
	alive, failed := 0, 0
	for _, c := range r.mains {
		if c.status.State.Waiting != nil && c.status.LastTerminationState.Terminated == nil {
			return corev1.PodPending
		}
		if !c.done {
			alive++
		} else if !c.ok {
			failed++
		}
	}
	switch {
	case alive > 0:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}
