package rollback

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// errNotRead stands for an answer that was not asked for yet.
var errNotRead = errors.New("not read")

// errDeadline is the cause of a wait that took too long.
var errDeadline = errors.New("deadline")

// sight is one look at the workloads.
type sight struct {
	obs []Observation
	at  time.Time
}

// vigil says how the workloads are watched.
type vigil struct {
	deadline time.Time
	// due, if set, is when a look is worth taking even if nothing changes.
	due *time.Time
	// known is a look that was taken a moment ago, in place of the first one. It is never the last: what ends a vigil was read
	// for it.
	known *sight
	// beside, if set, is done at the same time as each look that comes when due has passed.
	beside func(context.Context)
}

// watch looks at the affected workloads again and again until see says it is enough. A look that fails for a passing
// reason is repeated until the deadline: losing the API server is not a failed rollback. It returns see's error, or
// errDeadline, or the end of ctx.
func (r *run) watch(ctx context.Context, v vigil, see func([]Observation, time.Time) (done bool, err error)) error {
	deadline, due := v.deadline, v.due
	var refs []Ref
	for _, w := range r.survey.Affected {
		refs = append(refs, w.Ref)
	}
	if r.World.Watcher != nil && r.hints == nil { // it goes on from step to step, to the end of the run
		r.hints = r.World.Watcher.Changes(ctx, r.plan.Namespace)
	}
	changes := r.hints
	lost, answered := "", false
	for {
		if !time.Now().Before(deadline) {
			if lost != "" {
				return fmt.Errorf("the cluster could not be read%w: %s", quiet{errDeadline}, lost)
			}
			return errDeadline
		}
		lctx, cancel := context.WithDeadline(ctx, deadline)
		var obs []Observation
		var err error
		now := time.Now
		known := v.known != nil
		if known {
			obs, now = v.known.obs, func() time.Time { return v.known.at }
		} else {
			var beside sync.WaitGroup
			if v.beside != nil && due != nil && !due.IsZero() && !time.Now().Before(*due) {
				beside.Go(func() { v.beside(lctx) })
			}
			obs, err = r.World.Cluster.Observe(lctx, refs)
			beside.Wait()
		}
		late := lctx.Err() != nil
		cancel()
		wait := r.Limits.Poll
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if lost != "" {
				r.note("the cluster answers again")
				lost = ""
			}
			answered = true
			if gone := unseen(refs, obs); gone != "" {
				return &Error{Exit: Unverified, What: gone + " is gone: somebody deleted it while this run was at work"}
			}
			done, err := see(obs, now())
			if done && !known || err != nil {
				return err
			}
			v.known = nil
		case late && lost == "" && answered: // cut short by our own deadline, and the cluster has answered up to then
			return errDeadline
		case !passing(err) && !late:
			e := &Error{Exit: Unverified, What: "the pods cannot be observed any more", Err: err}
			if KindOf(err) == Denied { // that tells nothing of production
				e.Exit = r.exit()
			}
			if fix := FixOf(err); fix != "" {
				e.Next = []string{fix}
			}
			return e
		default:
			if lost == "" && !late {
				r.note("the cluster cannot be read; still trying: %s", err)
			}
			lost = err.Error()
			wait = max(r.Limits.Retry, RetryAfterOf(err))
		}
		if due != nil && !due.IsZero() && err == nil {
			wait = min(wait, time.Until(*due))
		}
		t := time.NewTimer(min(wait, time.Until(deadline)))
		select {
		case <-t.C:
		case _, open := <-changes:
			if !open { // a watch that has ended would be one hint after the other
				changes = nil
			}
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// unseen is the first workload that was not observed, "" if all were.
func unseen(want []Ref, obs []Observation) string {
	for _, ref := range want {
		if !slices.ContainsFunc(obs, func(o Observation) bool { return o.Workload.Ref == ref }) {
			return ref.String()
		}
	}
	return ""
}

// passing tells whether a failed read may succeed a moment later. Expired credentials are among these: they are refreshed.
func passing(err error) bool {
	switch KindOf(err) {
	case Unreachable, ServerFault, Throttled, Broken, Expired, Conflict:
		return true
	}
	return false
}

// rollout waits until every affected workload has replaced its pods, and stops early when new pods provably won't come up.
func (r *run) rollout(ctx context.Context) (Outcome, string, error) {
	dog := watchdog{patience: r.Limits.Patience}
	notes, patient := map[Ref]string{}, false
	var last []Observation
	err := r.watch(ctx, vigil{deadline: time.Now().Add(r.Limits.Rollout)}, func(obs []Observation, now time.Time) (bool, error) {
		last, r.sight = obs, nil
		r.prove(obs)
		r.tellSilent(obs, now, false)
		all := true
		var progress []Progress
		for _, o := range obs {
			p := r.progress(o)
			all = all && p.Done
			progress = append(progress, p)
			if notes[o.Workload.Ref] != p.Note {
				notes[o.Workload.Ref] = p.Note
				if err := r.journal(Event{Type: "rollout.progress", Step: StepRollout, Text: o.Workload.Ref.String() + ": " + p.Note}); err != nil {
					return false, err
				}
			}
		}
		if r.Report != nil {
			r.Report.Progress(progress)
		}
		if all {
			r.sight = &sight{obs, now}
			return true, nil
		}
		if s := dog.look(obs, r.entry.Stamp, now); s != nil {
			return false, r.diagnose(ctx, *s, obs)
		}
		if s := dog.now; s != nil && !patient && trouble(s.Reason, s.Message) == registryAway {
			patient = true
			r.note("%s; the node tries again by itself, which is waited for", s)
		}
		return false, nil
	})
	if err == errDeadline && dog.now != nil { // no time was left for patience
		return "", "", r.diagnose(ctx, *dog.now, last)
	}
	if errors.Is(err, errDeadline) {
		r.tellSilent(last, time.Now(), true)
		var where []string
		var held Stuck
		for _, o := range last {
			if p := r.progress(o); !p.Done {
				text := o.Workload.Ref.String() + ": " + p.Note
				pod, container, trouble := worstPod(o, r.entry.Stamp)
				if trouble != "" {
					text += "; " + trouble
				}
				if trouble != "" && held.Pod == "" {
					held = Stuck{Workload: o.Workload.Ref, Pod: pod, Container: container}
				}
				where = append(where, text)
			}
		}
		e := &Error{Exit: Unverified, What: fmt.Sprintf("the rollout did not end within %s: %s", Span(r.Limits.Rollout), strings.Join(where, "; ")), Err: quiet{err}}
		if err != errDeadline { // the cluster went silent: what was seen last is old
			e.What = fmt.Sprintf("the rollout could not be followed to its end within %s", Span(r.Limits.Rollout))
			if len(where) > 0 {
				e.What += " (last seen: " + strings.Join(where, "; ") + ")"
			}
			e.Err = err
		} else if node := silentNodeOf(last, held.Pod); held.Pod != "" && node == "" {
			if err := r.tellPod(ctx, held, e.What); err != nil {
				e.Err = err
			}
			e.Next = append(e.Next, fmt.Sprintf("what keeps it: kubectl -n %s describe pod %s", r.plan.Namespace, held.Pod))
		}
		e.Next = append(append(e.Next, nodeRemedy(last)...), r.orderedRemedy(last)...)
		return "", "", e
	}
	if err != nil {
		return "", "", err
	}
	pods := 0
	for _, o := range last {
		pods += o.Workload.Rollout.Desired
	}
	return StepDone, plural(pods, "new pod", "new pods"), nil
}

func (r *run) progress(o Observation) Progress {
	done, note := rolledOut(o.Workload)
	p := Progress{Workload: o.Workload.Ref, Desired: o.Workload.Rollout.Desired, Note: note, Done: done}
	for _, pod := range o.Pods {
		switch {
		case !pod.Live():
		case pod.Stamp != r.entry.Stamp:
			p.Old++
		default:
			p.New++
			if pod.Ready {
				p.Ready++
			}
		}
	}
	return p
}

func (r *run) prove(obs []Observation) {
	stamp := ""
	if r.entry != nil && slices.ContainsFunc(r.plan.Steps, func(s Step) bool { return s.Name == StepRestart }) {
		stamp = r.entry.Stamp
	}
	r.proofs = nil
	for _, o := range obs {
		r.proofs = append(r.proofs, prove(o, r.survey.Repository.Name, r.plan.Tag, r.survey.TargetSet, stamp))
	}
}

// diagnose turns a stuck pod into an error with what the cluster says about it.
func (r *run) diagnose(ctx context.Context, s Stuck, obs []Observation) error {
	text := s.String()
	if s.Reason == "ProgressDeadlineExceeded" { // that is the controller's word; a pod tells why
		trouble := ""
		for _, o := range obs {
			if o.Workload.Ref == s.Workload {
				s.Pod, s.Container, trouble = worstPod(o, r.entry.Stamp)
			}
		}
		if trouble != "" {
			text = strings.TrimSuffix(text, ".") + "; " + trouble
		}
	}
	e := &Error{Exit: Unverified, What: "the new pods do not come up: " + text}
	if err := r.tellPod(ctx, s, text); err != nil {
		e.Err = err
	}
	ns := r.plan.Namespace
	switch s.Reason {
	case "ImagePullBackOff", "ErrImagePull", "RegistryUnavailable", "SignatureValidationFailed", "InvalidImageName", "ErrImageNeverPull":
		e.Next = append(e.Next, fmt.Sprintf("%s: kubectl -n %s describe pod %s", unpulled(s), ns, s.Pod))
		if s.Reason != "InvalidImageName" && s.Reason != "ErrImageNeverPull" { // a kubelet's longest wait between two pulls
			e.Next = append(e.Next, fmt.Sprintf("once that is mended the node tries again within 5 minutes, or at once after: kubectl -n %s delete pod %s", ns, s.Pod))
		}
	case "CrashLoopBackOff":
		e.Next = append(e.Next, fmt.Sprintf("%s: kubectl -n %s logs %s -c %s --previous", endText(s), ns, s.Pod, s.Container))
	case "RunContainerError":
		e.Next = append(e.Next, fmt.Sprintf("%s: kubectl -n %s describe pod %s", notStarted, ns, s.Pod))
	case "CreateContainerConfigError":
		e.Next = append(e.Next, fmt.Sprintf("a ConfigMap, Secret or key that the pod names is missing: kubectl -n %s describe pod %s", ns, s.Pod))
	case "CreateContainerError", "PreCreateHookError", "PreStartHookError", "ImageInspectError":
		e.Next = append(e.Next, fmt.Sprintf("the node cannot make the container: kubectl -n %s describe pod %s", ns, s.Pod))
	case "PostStartHookError":
		e.Next = append(e.Next, fmt.Sprintf("the postStart hook of container %s fails with the target: kubectl -n %s describe pod %s", s.Container, ns, s.Pod))
	case unmade:
		e.Next = append(e.Next, fmt.Sprintf("a Secret, ConfigMap or disk that it mounts is missing, or the node has no address for it; the events say which: kubectl -n %s describe pod %s", ns, s.Pod))
	case "Unschedulable":
		e.Next = append(e.Next, fmt.Sprintf("no node takes it (resources, taints, affinity); make room: kubectl -n %s describe pod %s", ns, s.Pod))
	case noNewPod:
		e.Next = append(e.Next, fmt.Sprintf("why its controller makes none, the events of the set say: kubectl -n %s describe %s", ns, s.Workload))
	case "FailedCreate":
		e.Next = append(e.Next, fmt.Sprintf("pods are refused (quota, admission): kubectl -n %s describe %s", ns, s.Workload))
	case "ProgressDeadlineExceeded":
		if s.Pod != "" {
			e.Next = append(e.Next, fmt.Sprintf("its controller gave up waiting for it: kubectl -n %s describe pod %s", ns, s.Pod))
		} else {
			e.Next = append(e.Next, fmt.Sprintf("its controller gave up waiting: kubectl -n %s describe %s", ns, s.Workload))
		}
	}
	e.Next = append(e.Next, r.orderedRemedy(obs)...)
	return e
}

// tellPod tells what the cluster says about a pod, or about a workload that gets none. Its error is the journal's.
func (r *run) tellPod(ctx context.Context, s Stuck, text string) error {
	if s.Pod == "" && s.Reason != noNewPod || r.World.Diagnoser == nil {
		return nil
	}
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	var d Diagnosis
	var err error
	of := s.Pod
	if of == "" {
		of = s.Workload.String()
		d.Events, err = r.World.Diagnoser.Events(dctx, s.Workload)
	} else {
		d, err = r.World.Diagnoser.Diagnose(dctx, r.plan.Namespace, s.Pod, s.Container)
	}
	if err != nil {
		r.note("events and logs of %s could not be read: %s", of, err)
		return nil
	}
	for _, line := range d.Events[max(0, len(d.Events)-5):] {
		r.note("event: %s", line)
	}
	for _, line := range d.Logs[max(0, len(d.Logs)-20):] {
		r.note("log: %s", line)
	}
	return r.journal(Event{Type: "pod.stuck", Step: StepRollout, Text: text, Data: map[string]any{"events": d.Events, "logs": d.Logs}})
}

// notStarted is why a container is made and cannot be started, as far as can be told.
const notStarted = "the target cannot be started as the pod says: its command, or a file or user that it names, is not in the image"

// endText is what the last end of a container that crashes means.
func endText(s Stuck) string {
	switch {
	case s.Ended == "OOMKilled":
		return fmt.Sprintf("the target needs more memory than container %s may have (resources.limits.memory of %s); its log", s.Container, s.Workload)
	case s.Ended == "StartError", s.Ended == "ContainerCannotRun":
		return notStarted + "; its log, if any"
	case s.Exit == 137 || s.Exit == 143: // SIGKILL and SIGTERM, not of its own doing
		return "something kills it: most often its liveness probe (kubectl describe pod shows its events); its log"
	}
	return "the target itself ends; configuration or schema may be newer than it"
}

// unpulled is why an image cannot be pulled, by the words of registries as container runtimes pass them on.
func unpulled(s Stuck) string {
	switch m := strings.ToLower(s.Message); {
	case s.Reason == "InvalidImageName":
		return "what the pod template names as its image is not a valid image name"
	case s.Reason == "SignatureValidationFailed":
		return "the node does not accept the signature of the image, or finds none"
	case s.Reason == "ErrImageNeverPull":
		return "imagePullPolicy is Never, and the node no longer has the image"
	case trouble(s.Reason, s.Message) == registryAway:
		return "the node cannot reach the registry, or that is down"
	case strings.Contains(m, "unauthorized"), strings.Contains(m, "forbidden"), strings.Contains(m, "denied"), strings.Contains(m, "authorization failed"):
		return "the registry turns the node away: the right to pull is missing (the node's role, or the pod's imagePullSecrets)"
	case strings.Contains(m, "not found"), strings.Contains(m, "manifest unknown"):
		return "the registry does not have that image (any more)"
	}
	return "the node cannot pull the image (right to pull, image gone, registry down)"
}

// tellSilent tells once of each pod about which nobody can tell what it runs: its node does not end it, or has not answered for a
// while. Many an old pod on such a node is about to go, which is told then; last says that there is no more time for that.
func (r *run) tellSilent(obs []Observation, now time.Time, last bool) {
	if r.silent == nil {
		r.silent = map[string]time.Time{}
	}
	for _, o := range obs {
		for _, p := range o.Pods {
			text := leftover(p, now)
			wait := time.Duration(0)
			if text == "" && p.Live() && p.Lost {
				text, wait = fmt.Sprintf("pod %s: %s; it counts again when that does", p.Name, silentNode(p)), overdue
			}
			if text == "" {
				continue
			}
			since, known := r.silent[p.UID+text]
			if !known {
				since = now
				r.silent[p.UID+text] = since
			}
			if !since.IsZero() && (now.Sub(since) >= wait || last) {
				r.silent[p.UID+text] = time.Time{} // told
				r.note("%s", text)
			}
		}
	}
}

// unended are the pods that were to go and may still run, each with its node.
func unended(obs []Observation, now time.Time) []string {
	var list []string
	for _, o := range obs {
		for _, p := range o.Pods {
			if leftover(p, now) != "" {
				list = append(list, "pod "+p.Name+" on "+p.Node)
			}
		}
	}
	return list
}

// silentNodeOf is the node of a pod if that does not answer, "" otherwise.
func silentNodeOf(obs []Observation, pod string) string {
	for _, o := range obs {
		for _, p := range o.Pods {
			if p.Name == pod && p.Lost {
				return p.Node
			}
		}
	}
	return ""
}

// nodeRemedy says what to do about nodes that do not answer and hold a rollout up.
func nodeRemedy(obs []Observation) []string {
	nodes := map[string]bool{}
	for _, o := range obs {
		for _, p := range o.Pods {
			if p.Lost && p.Phase != "Succeeded" && p.Phase != "Failed" {
				nodes[p.Node] = true
			}
		}
	}
	var next []string
	for _, node := range sorted(nodes) {
		next = append(next, fmt.Sprintf("bring %s back (kubectl describe node %s); if it is gone for good, its pods go with it: kubectl delete node %s; then the same command again", node, node, node))
	}
	return next
}

// orderedRemedy offers to delete exactly the pod that a StatefulSet waits on for ever: the template is good by now.
func (r *run) orderedRemedy(obs []Observation) []string {
	var next []string
	for _, o := range obs {
		if pod := orderedStuck(o, r.entry.Stamp); pod != "" {
			next = append(next, fmt.Sprintf("%s waits for ever on its broken pod (kubernetes/kubernetes#67250); the same command again, after: kubectl -n %s delete pod %s", o.Workload.Ref, r.plan.Namespace, pod))
		}
	}
	return next
}

// verifyGrace is how much longer than the settle time a verification may take, for pods that restart once.
const verifyGrace = time.Minute

// verify proves that every pod of every affected workload runs the target, that there are as many as wanted, and that
// they stay ready for the settle time.
func (r *run) verify(ctx context.Context) (Outcome, string, error) {
	if len(r.survey.Affected) == 0 {
		return "", "", &Error{Exit: r.exit(), What: "no workload to verify"}
	}
	var since, due time.Time
	var last []Observation
	var before map[string]string
	missing := ""
	start := time.Now()
	// The tag is looked at together with the pods: whatever restarts from now on must find the target there.
	var images []Image
	tagErr := errNotRead
	beside := func(ctx context.Context) {
		images, tagErr = r.World.Registry.Images(ctx, r.survey.Repository.Name, r.plan.Tag)
	}
	known := r.sight // the settle time begins when the rollout was seen to be over
	r.sight = nil
	err := r.watch(ctx, vigil{deadline: start.Add(r.Limits.Settle + verifyGrace), due: &due, known: known, beside: beside}, func(obs []Observation, now time.Time) (bool, error) {
		last = obs
		r.prove(obs)
		r.tellSilent(obs, now, false)
		r.unended = unended(obs, now)
		missing = ""
		desired := 0
		for _, pr := range r.proofs {
			if pr.Wrong != "" {
				return false, r.wrongDigest(pr)
			}
			desired += pr.Desired
			if pr.Missing != "" && pr.Desired > 0 {
				missing = pr.Workload.String() + ": " + pr.Missing
			}
		}
		if desired == 0 {
			missing = "nothing runs that could prove it (0 replicas)"
		}
		after := lives(obs)
		flapped := false
		for pod, life := range before {
			if now, there := after[pod]; there && now != life {
				flapped = true
			}
		}
		before = after
		if missing != "" {
			since, due, tagErr = time.Time{}, time.Time{}, errNotRead
		} else if since.IsZero() || flapped {
			since, due, tagErr = now, now.Add(r.Limits.Settle), errNotRead // what was read of the tag is old
		}
		if r.Report != nil {
			var progress []Progress
			for _, o := range obs {
				p := Progress{Workload: o.Workload.Ref, Desired: o.Workload.Rollout.Desired, Done: missing == "", Until: due}
				for _, pod := range o.Pods {
					if pod.Live() {
						p.New++
						if pod.Ready {
							p.Ready++
						}
					}
				}
				progress = append(progress, p)
			}
			r.Report.Progress(progress)
		}
		return missing == "" && now.Sub(since) >= r.Limits.Settle, nil
	})
	if errors.Is(err, errDeadline) {
		if missing == "" {
			missing = "the pods did not stay ready for " + Span(r.Limits.Settle)
		}
		e := &Error{Exit: r.verifyExit(), What: "not proven: " + missing, Err: quiet{err}}
		if err != errDeadline {
			e.What, e.Err = "not proven", err
		}
		r.tellSilent(last, time.Now(), true)
		e.Next = nodeRemedy(last)
		return "", "", e
	}
	if err != nil {
		return "", "", err
	}
	if tagErr != nil {
		beside(ctx)
	}
	if tagErr != nil {
		return "", "", &Error{Exit: r.verifyExit(), What: "the pods run the target, but the tag could not be read at the end", Err: tagErr}
	}
	r.tagNow = ""
	for _, i := range images {
		if i.HasTag(r.plan.Tag) {
			r.tagNow = i.Digest
		}
	}
	if r.tagNow != r.survey.Target.Digest {
		return "", "", &Error{Exit: r.verifyExit(), What: fmt.Sprintf("every pod runs the target, but :%s names %s by now: the next restart of any pod ships that", r.plan.Tag, orNothing(r.tagNow)),
			Next: []string{"find the build that pushed it, then run again"}}
	}
	if r.entry != nil {
		for _, pr := range r.proofs {
			r.entry.Proven = slices.AppendSeq(r.entry.Proven, maps.Keys(pr.Digests))
		}
		slices.Sort(r.entry.Proven)
		r.entry.Proven = slices.Compact(r.entry.Proven)
	}
	return StepDone, fmt.Sprintf("%s on %s, ready for %s", plural(r.provenPods(), "pod", "pods"), r.survey.Target.Digest.Short(), Span(time.Since(since))), nil
}

// lives is how often each pod's containers were restarted and when it last became ready: what changes while a pod does not
// stay up. Pods that come and go are no sign of that; an autoscaler does it all day.
func lives(obs []Observation) map[string]string {
	m := map[string]string{}
	for _, o := range obs {
		for _, p := range o.Pods {
			restarts := 0
			for _, c := range p.Containers {
				restarts += c.Restarts
			}
			m[p.Namespace+"/"+p.Name+"/"+p.UID] = fmt.Sprintf("%d %d", restarts, p.ReadySince.UnixNano())
		}
	}
	return m
}

// verifyExit: verify alone changes nothing, but what it could not prove is production all the same.
func (r *run) verifyExit() Exit { return Unverified }

func (r *run) wrongDigest(pr Proof) error {
	if last := r.survey.Record.Last; r.plan.Act == ActVerify && last != nil && last.State == TagMoved {
		return &Error{Exit: r.verifyExit(), What: fmt.Sprintf("%s does not run the target %s: %s", pr.Workload, r.survey.Target.Digest.Short(), pr.Wrong),
			Next: []string{"the tag was moved and no pod restarted since: rollback restart " + r.plan.Scope.flags()}}
	}
	return &Error{Exit: r.verifyExit(), What: fmt.Sprintf("%s does not run the target %s: %s", pr.Workload, r.survey.Target.Digest.Short(), pr.Wrong),
		Next: []string{"a node-local mirror, a pull-through cache or another push of the tag can do that: compare with rollback status " + r.plan.Scope.flags() + ", then run again"}}
}
