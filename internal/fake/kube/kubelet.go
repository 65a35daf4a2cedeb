package kube

// The nodes: what becomes of a pod once it is bound. Each container is a small state machine driven by timers; after every
// step the pod's status is written anew from it.

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Behaviour is what containers of an image (by digest) do once they start. The zero value runs and becomes ready.
type Behaviour struct {
	// Crash lets the container end with ExitCode (1 if 0) CrashAfter its start, Crashes times (0: for ever).
	Crash      bool
	ExitCode   int
	CrashAfter time.Duration
	Crashes    int
	// Liveness makes these ends the doing of the liveness probe, which fails CrashAfter the start.
	Liveness bool
	// StartError lets the runtime refuse to start it, Crashes times (0: for ever): RunContainerError with this message.
	StartError string
	// NeverReady lets its readiness probe fail for ever; ReadyAfter replaces Delays.Ready; Flaps is how often it is then ready for
	// the time of a probe, and not ready for as long.
	NeverReady bool
	ReadyAfter time.Duration
	Flaps      int
	// Stubborn lets it ignore SIGTERM: it takes the whole grace of its pod to end.
	Stubborn bool
	// ConfigError lets the container never be made: CreateContainerConfigError with this message.
	ConfigError string
	// Logs is what it writes, lines ending in "\n"; "" means a line or two of the server's own.
	Logs string
}

// ImageIDForm is how a container runtime reports the image of a container, from the repository as written (with host) and
// the digest that the reference named when it was pulled. It is called without locks, in its own goroutine. An error is a failed
// pull.
type ImageIDForm func(repository, digest string) (string, error)

// The forms that are seen in the wild. RepoDigest is that of containerd and CRI-O.
var (
	RepoDigest     ImageIDForm = func(repo, digest string) (string, error) { return repo + "@" + digest, nil }
	DockerPullable ImageIDForm = func(repo, digest string) (string, error) { return "docker-pullable://" + repo + "@" + digest, nil }
)

type kubelet struct {
	runs       map[string]*podRun           // by UID
	cache      map[string]map[string]string // node → image reference → digest: what IfNotPresent trusts
	behaviours map[string]Behaviour         // by digest
	load       map[string]load              // by node
	waiting    map[key]string               // pods without a node → UID
	lost       map[string]bool              // nodes that do not answer
	secrets    map[string]bool              // namespace/name
	sandbox    string                       // why no pod gets its network, "" if all do
	ips        int
}

func (k *kubelet) init() {
	*k = kubelet{map[string]*podRun{}, map[string]map[string]string{}, map[string]Behaviour{}, map[string]load{}, map[key]string{}, map[string]bool{}, map[string]bool{}, "", 1}
}

type podRun struct {
	key     key
	uid     string
	node    string
	asks    load
	policy  string // restartPolicy
	inits   []*containerRun
	mains   []*containerRun
	started string
	ip      string
	ending  bool
	evicted string
	sandbox bool // it has its volumes and its network
}

type role int

const (
	mainRole role = iota
	initRole
	sidecarRole
)

type containerRun struct {
	name     string
	role     role
	field    string // "spec.containers{web}"
	spec     tree
	launched bool
	tried    bool // has started, or had to wait
	turn     int  // a timer set in an earlier turn is void

	state, last tree
	restarts    int
	ready       bool
	started     bool
	stubborn    bool // it runs, and would ignore SIGTERM
	id          string
	imageID     string
	digest      string
	done        bool // ended for good
	ok          bool // with exit code 0
	pullFails   int
	crashes     int
	log, before string
	at          time.Time // of the start
}

// podChanged follows a pod through the store. s.mu is held.
func (s *Server) podChanged(old, o *object) {
	k := &s.kubelet
	if o == nil {
		if run := k.runs[old.uid]; run != nil {
			l := k.load[run.node]
			k.load[run.node] = load{l.pods - run.asks.pods, l.cpu - run.asks.cpu, l.memory - run.asks.memory}
			delete(k.runs, old.uid)
		}
		delete(k.waiting, old.key())
		s.retryScheduling()
		return
	}
	run := k.runs[o.uid]
	node := str(o.data, "spec", "nodeName")
	switch {
	case run == nil && node == "" && old == nil:
		s.after(s.opts.Delays.Schedule, func() { s.schedule(o.key(), o.uid) })
	case run == nil && node != "":
		s.startPod(o, node)
	case run != nil && terminating(o) && !run.ending && !s.kubelet.lost[run.node]:
		run.ending = true
		wait := s.opts.Delays.Termination
		for _, c := range append(slices.Clone(run.mains), run.inits...) { // sidecars, too
			if has(c.state, "running") {
				s.event(o, "Normal", "Killing", "kubelet", "Stopping container "+c.name, c.field)
				if c.stubborn {
					wait = time.Duration(num(o.data, "metadata", "deletionGracePeriodSeconds")) * time.Second
				}
			}
		}
		s.after(wait, func() {
			if now := s.objects[run.key]; now != nil && now.uid == run.uid {
				s.remove(now)
			}
		})
	}
}

func (s *Server) startPod(o *object, node string) {
	k := &s.kubelet
	run := &podRun{key: o.key(), uid: o.uid, node: node, asks: asks(o.data), policy: str(o.data, "spec", "restartPolicy"), started: stamp(time.Now())}
	l := k.load[node]
	k.load[node] = load{l.pods + run.asks.pods, l.cpu + run.asks.cpu, l.memory + run.asks.memory}
	k.runs[o.uid] = run
	k.ips++
	run.ip = fmt.Sprintf("10.%d.%d.%d", 64+k.ips>>16&63, k.ips>>8&255, k.ips&255)
	waiting := func(reason string) tree { return tree{"waiting": tree{"reason": reason}} }
	reason := "ContainerCreating"
	if len(items(o.data, "spec", "initContainers")) > 0 {
		reason = "PodInitializing"
	}
	for _, c := range items(o.data, "spec", "initContainers") {
		r := &containerRun{name: str(c, "name"), spec: c.(tree), role: initRole, state: waiting("PodInitializing"), field: "spec.initContainers{" + str(c, "name") + "}"}
		if str(c, "restartPolicy") == "Always" {
			r.role = sidecarRole
		}
		run.inits = append(run.inits, r)
	}
	for _, c := range items(o.data, "spec", "containers") {
		run.mains = append(run.mains, &containerRun{name: str(c, "name"), spec: c.(tree), state: waiting(reason), field: "spec.containers{" + str(c, "name") + "}"})
	}
	// Not from within the change that bound the pod: its writer still has things to write.
	s.after(0, func() {
		if s.alive(run) {
			s.report(run)
			s.mount(run)
		}
	})
}

// alive tells whether the pod of a run is still there and not ending.
func (s *Server) alive(run *podRun) bool { return s.kubelet.runs[run.uid] == run && run.evicted == "" }

func (s *Server) podOf(run *podRun) *object { return s.objects[run.key] }

// later runs fn after d if the container is still in the same turn. s.mu is held.
func (s *Server) inTurn(run *podRun, c *containerRun, d time.Duration, fn func()) {
	turn := c.turn
	s.after(d, func() {
		if s.alive(run) && c.turn == turn {
			fn()
		}
	})
}

// mount waits for the ConfigMaps and Secrets that the pod mounts, and for its network, then lets the containers begin.
// Source of the words: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod)
func (s *Server) mount(run *podRun) {
	o := s.podOf(run)
	reason, message := "", ""
	for _, v := range items(o.data, "spec", "volumes") {
		what := ""
		if name := str(v, "configMap", "name"); name != "" && !truth(v, "configMap", "optional") && s.find(configMaps, o.ns, name) == nil {
			what = fmt.Sprintf("configmap %q", name)
		}
		if name := str(v, "secret", "secretName"); name != "" && !truth(v, "secret", "optional") && !s.kubelet.secrets[o.ns+"/"+name] {
			what = fmt.Sprintf("secret %q", name)
		}
		if what != "" && reason == "" {
			reason, message = "FailedMount", fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s not found", str(v, "name"), what)
		}
	}
	if why := s.kubelet.sandbox; reason == "" && why != "" {
		reason, message = "FailedCreatePodSandBox", "Failed to create pod sandbox: "+why
	}
	if reason == "" {
		run.sandbox = true
		s.report(run)
		s.advance(run)
		return
	}
	s.event(o, "Warning", reason, "kubelet", message, "")
	s.after(s.opts.Delays.PullBackoff, func() {
		if s.alive(run) && !run.ending {
			s.mount(run)
		}
	})
}

// advance starts the containers whose turn it is: init containers one after another, then all others. Of those, too, a kubelet
// tries one after another, but only waits for the end of an attempt: while one cannot be pulled, those before it run.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod)
func (s *Server) advance(run *podRun) {
	if run.ending {
		return
	}
	for _, c := range run.inits {
		if !c.launched {
			c.launched = true
			s.pull(run, c)
			return
		}
		if c.role == sidecarRole && !c.started || c.role == initRole && !c.ok {
			return
		}
	}
	for _, c := range run.mains {
		if !c.launched {
			c.launched = true
			s.pull(run, c)
		}
		if !c.tried {
			return
		}
	}
}

// pull gets the image by the container's pull policy and starts the container.
func (s *Server) pull(run *podRun, c *containerRun) {
	if run.ending {
		return
	}
	c.turn++
	o := s.podOf(run)
	ref, policy := str(c.spec, "image"), str(c.spec, "imagePullPolicy")
	if policy != "Always" {
		if digest, ok := s.kubelet.cache[run.node][ref]; ok {
			s.event(o, "Normal", "Pulled", "kubelet", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", ref), c.field)
			turn, form := c.turn, s.opts.ImageID
			repo, _, _ := splitImage(ref)
			s.background(func() func() {
				imageID, err := form(canonicalRepo(repo), digest)
				return func() {
					switch {
					case !s.alive(run) || c.turn != turn || run.ending:
					case err != nil:
						s.pullFailed(run, c, ref, err)
					default:
						s.begin(run, c, digest, imageID)
					}
				}
			})
			return
		}
		if policy == "Never" {
			s.event(o, "Warning", "ErrImageNeverPull", "kubelet", fmt.Sprintf("Container image %q is not present with pull policy of Never", ref), c.field)
			s.event(o, "Warning", "Failed", "kubelet", "Error: ErrImageNeverPull", c.field)
			s.wait(run, c, "ErrImageNeverPull", fmt.Sprintf("Container image %q is not present with pull policy of Never", ref))
			s.inTurn(run, c, s.opts.Delays.PullBackoff, func() { s.pull(run, c) })
			return
		}
	}
	s.event(o, "Normal", "Pulling", "kubelet", fmt.Sprintf("Pulling image %q", ref), c.field)
	from := time.Now()
	s.inTurn(run, c, s.opts.Delays.Pull, func() {
		turn := c.turn
		form := s.opts.ImageID
		repo, _, _ := splitImage(ref)
		s.background(func() func() {
			digest, err := s.opts.Resolve(ref)
			imageID := ""
			if err == nil {
				imageID, err = form(canonicalRepo(repo), digest)
			}
			return func() {
				if !s.alive(run) || c.turn != turn || run.ending {
					return
				}
				if err != nil {
					s.pullFailed(run, c, ref, err)
					return
				}
				c.pullFails = 0
				took := time.Since(from).Round(time.Millisecond)
				s.event(s.podOf(run), "Normal", "Pulled", "kubelet", fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: 31457280 bytes.", ref, took, took), c.field)
				if s.kubelet.cache[run.node] == nil {
					s.kubelet.cache[run.node] = map[string]string{}
				}
				s.kubelet.cache[run.node][ref] = digest
				s.kubelet.cache[run.node][repo+"@"+digest] = digest
				s.begin(run, c, digest, imageID)
			}
		})
	})
}

func (s *Server) pullFailed(run *podRun, c *containerRun, ref string, err error) {
	o := s.podOf(run)
	code, why := "Unknown", err.Error()
	if errors.Is(err, ErrImageNotFound) {
		code, why = "NotFound", ref+": not found"
	}
	message := fmt.Sprintf("rpc error: code = %s desc = failed to pull and unpack image %q: failed to resolve reference %q: %s", code, ref, ref, why)
	s.event(o, "Warning", "Failed", "kubelet", fmt.Sprintf("Failed to pull image %q: %s", ref, message), c.field)
	s.event(o, "Warning", "Failed", "kubelet", "Error: ErrImagePull", c.field)
	s.wait(run, c, "ErrImagePull", message)
	wait := s.opts.Delays.PullBackoff << min(c.pullFails, 5)
	c.pullFails++
	s.inTurn(run, c, wait/2, func() {
		s.event(o, "Normal", "BackOff", "kubelet", fmt.Sprintf("Back-off pulling image %q", ref), c.field)
		s.event(o, "Warning", "Failed", "kubelet", "Error: ImagePullBackOff", c.field)
		s.wait(run, c, "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", ref, message))
	})
	s.inTurn(run, c, wait, func() { s.pull(run, c) })
}

// wait shows a container as waiting.
func (s *Server) wait(run *podRun, c *containerRun, reason, message string) {
	if t := dict(c.state, "terminated"); t != nil {
		c.last = tree{"terminated": t}
	}
	w := tree{"reason": reason}
	if message != "" {
		w["message"] = message
	}
	c.state, c.ready, c.started, c.tried = tree{"waiting": w}, false, false, true
	s.report(run)
	s.advance(run)
}

// missingConfig names what the container's environment refers to and the namespace does not have.
func (s *Server) missingConfig(o *object, c tree) string {
	missing := func(ref tree, key string) string {
		name := str(ref, "name")
		if name == "" || truth(ref, "optional") {
			return ""
		}
		cm := s.find(configMaps, o.ns, name)
		if cm == nil {
			return fmt.Sprintf("configmap %q not found", name)
		}
		if key != "" && get(cm.data, "data", key) == nil {
			return fmt.Sprintf("couldn't find key %s in ConfigMap %s/%s", key, o.ns, name)
		}
		return ""
	}
	secret := func(ref tree) string {
		if name := str(ref, "name"); name != "" && !truth(ref, "optional") && !s.kubelet.secrets[o.ns+"/"+name] {
			return fmt.Sprintf("secret %q not found", name)
		}
		return ""
	}
	for _, e := range items(c, "envFrom") {
		if m := cmp.Or(missing(dict(e, "configMapRef"), ""), secret(dict(e, "secretRef"))); m != "" {
			return m
		}
	}
	for _, e := range items(c, "env") {
		ref := dict(e, "valueFrom", "configMapKeyRef")
		if m := cmp.Or(missing(ref, str(ref, "key")), secret(dict(e, "valueFrom", "secretKeyRef"))); m != "" {
			return m
		}
	}
	return ""
}

// begin makes and starts the container of a digest.
func (s *Server) begin(run *podRun, c *containerRun, digest, imageID string) {
	o := s.podOf(run)
	b := s.kubelet.behaviours[digest]
	if m := cmp.Or(s.missingConfig(o, c.spec), b.ConfigError); m != "" {
		s.event(o, "Warning", "Failed", "kubelet", "Error: "+m, c.field)
		s.wait(run, c, "CreateContainerConfigError", m)
		s.inTurn(run, c, s.opts.Delays.PullBackoff, func() { s.pull(run, c) })
		return
	}
	s.event(o, "Normal", "Created", "kubelet", "Container created", c.field)
	if b.StartError != "" && (b.Crashes == 0 || c.crashes < b.Crashes) {
		s.unstarted(run, c, digest, imageID, b.StartError)
		return
	}
	s.inTurn(run, c, s.opts.Delays.Start, func() {
		if run.ending {
			return
		}
		s.event(s.podOf(run), "Normal", "Started", "kubelet", "Container started", c.field)
		if t := dict(c.state, "terminated"); t != nil {
			c.last = tree{"terminated": t}
		}
		c.made(digest, imageID)
		c.at = time.Now()
		c.state, c.started, c.tried = tree{"running": tree{"startedAt": stamp(c.at)}}, true, true
		c.log = b.Logs
		if c.log == "" {
			c.log = fmt.Sprintf("%s starting, image %s\n", c.name, digest)
		}
		ends := c.role == initRole || c.role == mainRole && run.policy != "Always"
		crash := b.Crash && (b.Crashes == 0 || c.crashes < b.Crashes)
		switch {
		case crash:
			if b.Logs == "" {
				c.log += "fatal: giving up\n"
			}
			code, reason := max(b.ExitCode, 1), "Error"
			if code == 137 && !b.Liveness {
				reason = "OOMKilled"
			}
			s.inTurn(run, c, b.CrashAfter, func() {
				if b.Liveness {
					s.event(s.podOf(run), "Warning", "Unhealthy", "kubelet", "Liveness probe failed: HTTP probe failed with statuscode: 500", c.field)
					s.event(s.podOf(run), "Normal", "Killing", "kubelet", fmt.Sprintf("Container %s failed liveness probe, will be restarted", c.name), c.field)
				}
				s.exit(run, c, code, reason, "")
			})
		case ends:
			s.inTurn(run, c, s.opts.Delays.Run, func() { s.exit(run, c, 0, "Completed", "") })
		}
		if c.stubborn = b.Stubborn && !crash; !ends {
			s.readiness(run, c, b)
		}
		s.report(run)
		s.advance(run)
	})
}

// made notes the next container that the runtime made.
func (c *containerRun) made(digest, imageID string) {
	if c.id != "" {
		c.restarts++
		c.before = c.log
	}
	c.digest, c.imageID, c.id = digest, imageID, "containerd://"+strings.ReplaceAll(newUID()+newUID(), "-", "")
}

// unstarted is what becomes of a container that the runtime made and does not start: first the refusal is told, then the runtime
// lists it as one that has ended.
func (s *Server) unstarted(run *podRun, c *containerRun, digest, imageID, why string) {
	s.event(s.podOf(run), "Warning", "Failed", "kubelet", "Error: "+why, c.field)
	s.wait(run, c, "RunContainerError", why)
	s.inTurn(run, c, s.opts.Delays.Start, func() {
		if run.ending {
			return
		}
		c.made(digest, imageID)
		c.at, c.log = time.Unix(0, 0).UTC(), ""
		s.exit(run, c, 128, "StartError", why)
	})
}

// canonicalRepo is a repository with its registry, as runtimes report it.
func canonicalRepo(repo string) string {
	host, rest, ok := strings.Cut(repo, "/")
	switch {
	case !ok:
		return "docker.io/library/" + repo
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + repo
	}
	return host + "/" + rest
}

func (s *Server) readiness(run *podRun, c *containerRun, b Behaviour) {
	wait := s.opts.Delays.Ready
	if b.ReadyAfter > 0 {
		wait = b.ReadyAfter
	}
	if !b.NeverReady {
		s.inTurn(run, c, wait, func() {
			if has(c.state, "running") {
				c.ready = true
				s.report(run)
				s.flap(run, c, 2*b.Flaps)
			}
		})
	}
	if !b.NeverReady && b.ReadyAfter == 0 {
		return
	}
	var probe func(n int)
	probe = func(n int) {
		if c.ready || !has(c.state, "running") || n > eventBurst {
			return
		}
		s.event(s.podOf(run), "Warning", "Unhealthy", "kubelet", "Readiness probe failed: HTTP probe failed with statuscode: 503", c.field)
		s.inTurn(run, c, s.opts.Delays.Probe, func() { probe(n + 1) })
	}
	s.inTurn(run, c, s.opts.Delays.Probe, func() { probe(0) })
}

// flap lets the readiness probe of a container fail and pass in turn.
func (s *Server) flap(run *podRun, c *containerRun, n int) {
	if n == 0 {
		return
	}
	s.inTurn(run, c, s.opts.Delays.Probe, func() {
		if c.ready = !c.ready; !c.ready {
			s.event(s.podOf(run), "Warning", "Unhealthy", "kubelet", "Readiness probe failed: HTTP probe failed with statuscode: 503", c.field)
		}
		s.report(run)
		s.flap(run, c, n-1)
	})
}

// exit ends a container and starts it again where the policies say so: the first time at once, then with a growing wait.
func (s *Server) exit(run *podRun, c *containerRun, code int, reason, message string) {
	c.turn++
	c.end(code, reason)
	if message != "" {
		set(c.state, message, "terminated", "message")
	}
	c.ready, c.started = false, false
	again := false
	switch c.role {
	case mainRole:
		again = run.policy == "Always" || run.policy == "OnFailure" && code != 0
	case initRole:
		again = code != 0 && run.policy != "Never"
	case sidecarRole:
		again = true
	}
	c.ok, c.done = code == 0, !again
	s.report(run)
	if run.ending {
		return
	}
	if !again {
		s.advance(run)
		return
	}
	c.crashes++
	if c.crashes == 1 {
		s.inTurn(run, c, s.opts.Delays.Start, func() { s.pull(run, c) })
		return
	}
	n := min(c.crashes-2, 5)
	o := s.podOf(run)
	s.inTurn(run, c, s.opts.Delays.Start, func() {
		s.event(o, "Warning", "BackOff", "kubelet", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.name, o.name, o.ns, o.uid), c.field)
		s.wait(run, c, "CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", min(10*time.Second<<n, 5*time.Minute), c.name, o.name, o.ns, o.uid))
		s.inTurn(run, c, s.opts.Delays.CrashLoop<<n, func() { s.pull(run, c) })
	})
}

func (c *containerRun) end(code int, reason string) {
	c.state = tree{"terminated": tree{"exitCode": int64(code), "reason": reason, "startedAt": stamp(c.at), "finishedAt": stamp(time.Now()), "containerID": c.id}}
}

// report writes the pod's status as its containers are.
func (s *Server) report(run *podRun) {
	o := s.podOf(run)
	if o == nil || o.uid != run.uid || s.kubelet.lost[run.node] {
		return
	}
	s.change(o, func(t tree) {
		fill(t, tree{}, "status")
		st := dict(t, "status")
		st["hostIP"] = s.nodeIP(run.node)
		st["hostIPs"] = []any{tree{"ip": st["hostIP"]}}
		st["podIP"] = run.ip
		st["podIPs"] = []any{tree{"ip": run.ip}}
		st["startTime"] = run.started
		st["observedGeneration"] = get(t, "metadata", "generation")
		phase := run.phase()
		st["phase"] = phase
		if len(run.inits) > 0 {
			st["initContainerStatuses"] = statuses(run.inits)
		}
		mains := slices.Clone(run.mains)
		slices.SortFunc(mains, func(a, b *containerRun) int { return strings.Compare(a.name, b.name) })
		st["containerStatuses"] = statuses(mains)
		begun := "False"
		if run.sandbox {
			begun = "True"
		}
		podCondition(t, "PodReadyToStartContainers", begun, "", "")
		var uninitialized, unready []string
		for _, c := range run.inits {
			if c.role == initRole && !c.ok || c.role == sidecarRole && !c.started {
				uninitialized = append(uninitialized, c.name)
			}
			if c.role == sidecarRole && !c.ready {
				unready = append(unready, c.name)
			}
		}
		for _, c := range run.mains {
			if !c.ready {
				unready = append(unready, c.name)
			}
		}
		if len(uninitialized) > 0 {
			podCondition(t, "Initialized", "False", "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %v", uninitialized))
		} else {
			podCondition(t, "Initialized", "True", "", "")
		}
		status, reason, message := "True", "", ""
		switch {
		case phase == "Succeeded":
			status, reason = "False", "PodCompleted"
		case phase == "Failed":
			status, reason = "False", "PodFailed"
		case len(unready) > 0:
			status, reason, message = "False", "ContainersNotReady", fmt.Sprintf("containers with unready status: %v", unready)
		}
		podCondition(t, "Ready", status, reason, message)
		podCondition(t, "ContainersReady", status, reason, message)
		if condition(t, "PodScheduled") == nil {
			podCondition(t, "PodScheduled", "True", "", "")
		}
		slices.SortStableFunc(items(t, "status", "conditions"), func(a, b any) int {
			order := []string{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"}
			return slices.Index(order, str(a, "type")) - slices.Index(order, str(b, "type"))
		})
	})
}

func (s *Server) nodeIP(name string) string {
	if n := s.find(nodes, "", name); n != nil {
		return str(named(items(n.data, "status", "addresses"), "type", "InternalIP"), "address")
	}
	return ""
}

// phase sums the containers up.
// Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_pods.go (getPhase)
func (run *podRun) phase() string {
	for _, c := range run.inits {
		if c.role == initRole && c.done && !c.ok {
			return "Failed"
		}
		if c.role == initRole && !c.ok || c.role == sidecarRole && !c.started && c.restarts == 0 && c.last == nil {
			return "Pending"
		}
	}
	alive, failed := 0, 0
	for _, c := range run.mains {
		if !c.launched || has(c.state, "waiting") && c.last == nil {
			return "Pending"
		}
		if !c.done {
			alive++
		} else if !c.ok {
			failed++
		}
	}
	switch {
	case alive > 0:
		return "Running"
	case failed > 0:
		return "Failed"
	}
	return "Succeeded"
}

func statuses(list []*containerRun) []any {
	var out []any
	for _, c := range list {
		image := str(c.spec, "image")
		if c.imageID != "" { // the runtime's name of it
			repo, tag, digest := splitImage(image)
			if image = canonicalRepo(repo); digest == "" {
				image += ":" + tag
			} else {
				image += "@" + digest
			}
		}
		last := c.last
		if last == nil {
			last = tree{}
		}
		st := tree{"name": c.name, "image": image, "imageID": c.imageID, "ready": c.ready || c.role == initRole && c.ok, "started": c.started,
			"restartCount": int64(c.restarts), "state": clone(c.state), "lastState": clone(last)}
		if c.id != "" {
			st["containerID"] = c.id
		}
		out = append(out, st)
	}
	return out
}
