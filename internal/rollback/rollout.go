package rollback

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rolledOut tells from one observation whether a workload has replaced its pods, and where it is. The order of the checks
// is kubectl's: the generation first, because all counts speak of the generation that the controller has seen
// (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status).
func rolledOut(w Workload) (done bool, note string) {
	r := w.Rollout
	switch {
	case r.ObservedGeneration < r.Generation:
		return false, "waiting for its controller to see the restart"
	case r.Updated < r.Desired-r.Partition:
		return false, fmt.Sprintf("%d of %d new pods started", r.Updated, r.Desired)
	case w.Ref.Kind == "Deployment" && r.Total > r.Updated:
		return false, fmt.Sprintf("%s to go", plural(r.Total-r.Updated, "old pod", "old pods"))
	case w.Ref.Kind == "StatefulSet" && r.Ready < r.Desired:
		return false, fmt.Sprintf("%d of %d pods ready", r.Ready, r.Desired)
	case w.Ref.Kind == "StatefulSet" && r.Partition == 0 && r.UpdateRevision != r.CurrentRevision:
		return false, fmt.Sprintf("%d of %d pods of the new revision", r.Updated, r.Desired)
	case w.Ref.Kind != "StatefulSet" && r.Available < r.Desired:
		return false, fmt.Sprintf("%d of %d new pods available", r.Available, r.Desired)
	}
	return true, fmt.Sprintf("%s serving", plural(r.Desired, "new pod", "new pods"))
}

// Patience is how long a new pod may show a reason before it counts as stuck. Some pass by themselves: a cluster that
// scales up answers FailedScheduling for minutes, a secret may arrive a moment late. The rest do not.
var Patience = map[string]time.Duration{
	"ImagePullBackOff":           0, // the kubelet has tried twice
	"ErrImagePull":               20 * time.Second,
	registryAway:                 90 * time.Second, // the kubelet tries again after 10, 20 and 40 s
	"InvalidImageName":           0,
	"ErrImageNeverPull":          0,
	"ImageInspectError":          10 * time.Second,
	"SignatureValidationFailed":  20 * time.Second,
	"CrashLoopBackOff":           0, // it has ended at least twice
	"CreateContainerConfigError": 10 * time.Second,
	"CreateContainerError":       10 * time.Second,
	"RunContainerError":          10 * time.Second,
	"PreCreateHookError":         10 * time.Second,
	"PreStartHookError":          10 * time.Second,
	"PostStartHookError":         10 * time.Second,
	unmade:                       90 * time.Second, // a disk may first have to be taken from another node
	"Unschedulable":              90 * time.Second,
	"FailedCreate":               10 * time.Second,
	noNewPod:                     45 * time.Second, // longer than the controllers take to go on in another place
}

// noNewPod is a set that has fewer pods than it wants while nothing is wrong with those. Unlike a Deployment, it has no condition to
// say that it cannot make them; its events do.
const noNewPod = "no new pod"

// unmade is a pod whose node can't make its volumes or its network. Why, only the events tell.
const unmade = "ContainerCreating"

// registryAway is a failed pull, under either of its names, that says nothing about the image: the registry was busy,
// down or out of reach for a moment.
const registryAway = "registry away"

// awayForm are the words of registries, proxies and networks for that, as container runtimes pass them on. "not found" and
// "denied" are not among them: those do not pass.
var awayForm = regexp.MustCompile(`(?i)\b429\b|too many requests|toomanyrequests|\b50[0-9] (internal|bad|service|gateway)|time-?out|timed out|deadline exceeded|` +
	`connection (refused|reset)|no route to host|failed to do request|temporary failure|no such host|registry is unavailable|\bEOF\b`)

// trouble is the name under which a reason's patience is kept.
func trouble(reason, message string) string {
	switch {
	case (reason == "ErrImagePull" || reason == "ImagePullBackOff") && awayForm.MatchString(message), reason == "RegistryUnavailable":
		return registryAway
	}
	return reason
}

// Stuck is a pod, or a workload, that will not come up by waiting.
type Stuck struct {
	Workload  Ref
	Pod       string // "" when no pod could be made
	Container string
	Reason    string
	Message   string
	// Ended is the node's word for the last end of the container, "" if it never ended, and Exit its exit code.
	Ended string
	Exit  int
}

// stuckContainer is the trouble of a container that waits: with how it ended last, which a node that waits to start it again
// doesn't say.
func stuckContainer(w Ref, p Pod, c PodContainer) Stuck {
	s := Stuck{Workload: w, Pod: p.Name, Container: c.Name, Reason: c.Waiting, Message: c.Message, Ended: c.LastReason, Exit: c.LastExit}
	if end := lastEnd(c); end != "" && c.LastReason != c.Waiting {
		s.Message = strings.TrimPrefix(s.Message+"; "+end, "; ")
	}
	return s
}

// lastEnd is how a container ended last, "" if it never did.
func lastEnd(c PodContainer) string {
	if c.LastExit < 0 {
		return ""
	}
	text := fmt.Sprintf("it ended with exit code %d", c.LastExit)
	if c.LastReason != "" && c.LastReason != "Error" && c.LastReason != "Completed" { // those say no more than the code
		text += " (" + c.LastReason + ")"
	}
	if c.LastMessage != "" {
		text += ": " + c.LastMessage
	}
	return text
}

func (s Stuck) String() string {
	where := s.Workload.String()
	if s.Pod != "" {
		where = "pod " + s.Pod
	}
	text := where + ": " + s.Reason
	if m := strings.TrimPrefix(strings.TrimPrefix(s.Message, s.Reason), ": "); m != "" { // conditions say their reason themselves
		text += ": " + m
	}
	return text
}

// watchdog remembers since when each trouble has lasted.
type watchdog struct {
	patience map[string]time.Duration
	since    map[string]time.Time
	// pulls is what the last failed pull of a container said. Older kubelets say it with ErrImagePull alone, and not while they
	// wait to try again.
	pulls map[string]string
	// only, if set, tells the pods whose troubles count, where no stamp does.
	only func(Pod) bool
	// now is the first trouble of the last look, whether or not it has outlasted its patience.
	now *Stuck
}

// look tells the first trouble that has outlasted its patience, nil if none has.
func (d *watchdog) look(obs []Observation, stamp string, now time.Time) *Stuck {
	if d.since == nil {
		d.since, d.pulls = map[string]time.Time{}, map[string]string{}
	}
	seen := map[string]bool{}
	var worst *Stuck
	d.now = nil
	consider := func(s Stuck) {
		switch at := s.Workload.String() + "/" + s.Pod + "/" + s.Container; {
		case s.Reason == "ErrImagePull":
			d.pulls[at] = s.Message
		case s.Reason == "ImagePullBackOff" && d.pulls[at] != "" && !strings.Contains(s.Message, "ErrImagePull"):
			s.Message += ": ErrImagePull: " + d.pulls[at]
		}
		name := trouble(s.Reason, s.Message)
		patience, known := d.patience[name]
		if !known {
			return
		}
		if d.now == nil {
			d.now = &s
		}
		key := s.Workload.String() + "/" + s.Pod + "/" + name
		seen[key] = true
		if _, ok := d.since[key]; !ok {
			d.since[key] = now
		}
		if now.Sub(d.since[key]) >= patience && worst == nil {
			worst = &s
		}
	}
	for _, o := range obs {
		if o.Workload.Rollout.Failure != "" {
			consider(Stuck{Workload: o.Workload.Ref, Reason: "FailedCreate", Message: o.Workload.Rollout.Failure})
		}
		for _, p := range o.Pods {
			if !p.Live() || p.Stamp != stamp && stamp != "" || d.only != nil && !d.only(p) {
				continue
			}
			if p.Unmade {
				consider(Stuck{Workload: o.Workload.Ref, Pod: p.Name, Reason: unmade, Message: unmadeText(p)})
			}
			if p.Unschedulable != "" {
				consider(Stuck{Workload: o.Workload.Ref, Pod: p.Name, Reason: "Unschedulable", Message: p.Unschedulable})
			}
			for _, c := range p.Containers {
				if c.Waiting != "" && c.Waiting != unmade { // a pull looks the same
					consider(stuckContainer(o.Workload.Ref, p, c))
				}
			}
		}
		waitedFor := func(p Pod) bool {
			return !p.Live() || !p.Ready || now.Before(p.ReadySince.Add(o.Workload.Rollout.MinReady))
		}
		if have, want := len(o.Pods), o.Workload.Rollout.Desired; o.Workload.Ref.Kind != "Deployment" && have < want && !slices.ContainsFunc(o.Pods, waitedFor) {
			consider(Stuck{Workload: o.Workload.Ref, Reason: noNewPod, Message: fmt.Sprintf("%d of %s there, and no other is made", have, plural(want, "pod is", "pods are"))})
		}
		// A Deployment's own verdict comes last: the pods usually tell why.
		if st := o.Workload.Rollout.Stalled; st != "" && worst == nil && o.Workload.Rollout.ObservedGeneration >= o.Workload.Rollout.Generation {
			worst = &Stuck{Workload: o.Workload.Ref, Reason: "ProgressDeadlineExceeded", Message: st}
		}
	}
	for key := range d.since {
		if !seen[key] {
			delete(d.since, key)
		}
	}
	return worst
}

// worstPod finds the new pod of a workload that most likely holds a rollout up, the container to read the log of, and what
// is wrong with it; "" if all of them are ready. What keeps a pod from running comes before what ends it, and that before
// one that merely is not ready.
func worstPod(o Observation, stamp string) (pod, container, trouble string) {
	worst := 0
	consider := func(rank int, p Pod, c, text string) {
		if rank > worst {
			worst, pod, container, trouble = rank, p.Name, c, text
		}
	}
	for _, p := range o.Pods {
		if !p.Live() || p.Ready || p.Stamp != stamp && stamp != "" {
			continue
		}
		if p.Unschedulable != "" {
			consider(1<<30, p, "", Stuck{Pod: p.Name, Reason: "Unschedulable", Message: p.Unschedulable}.String())
		}
		if p.Unmade {
			consider(1<<30, p, "", Stuck{Pod: p.Name, Reason: unmade, Message: unmadeText(p)}.String())
		}
		if p.Lost {
			consider(1<<30, p, "", "pod "+p.Name+": "+silentNode(p))
		}
		for _, c := range p.Containers {
			switch {
			case c.Waiting != "" && c.Waiting != "PodInitializing": // that one waits for another, which says why
				consider(1<<29, p, c.Name, stuckContainer(o.Workload.Ref, p, c).String())
			case c.Restarts > 0:
				text := fmt.Sprintf("pod %s: container %s was restarted %s", p.Name, c.Name, plural(c.Restarts, "time", "times"))
				if end := lastEnd(c); end != "" {
					text += "; " + end
				}
				consider(1+min(c.Restarts, 1<<20), p, c.Name, text)
			}
		}
		main := ""
		for _, c := range p.Containers {
			if c.Role == Main && main == "" {
				main = c.Name
			}
		}
		consider(1, p, main, "pod "+p.Name+" is not ready")
	}
	return pod, container, trouble
}

func unmadeText(p Pod) string {
	return fmt.Sprintf("its volumes or its network can't be made on %s", p.Node)
}

func silentNode(p Pod) string { return fmt.Sprintf("its node %s doesn't answer", p.Node) }

// overdue is how long after its grace a pod may still be there before that is worth a word.
const overdue = 10 * time.Second

// leftover says what is wrong with a pod that was to go and is still there, "" if it may yet go by itself. Nobody knows what it
// does: only its node could tell, or end it.
func leftover(p Pod, now time.Time) string {
	switch {
	case !p.Terminating:
	case p.Lost:
		return fmt.Sprintf("pod %s was to go and is still there: %s, and what it runs there is not known", p.Name, silentNode(p))
	case !p.EndBy.IsZero() && now.After(p.EndBy.Add(overdue)):
		return fmt.Sprintf("pod %s was to be gone by %s and is still there: its node %s has not ended it", p.Name, p.EndBy.UTC().Format("15:04:05 UTC"), p.Node)
	}
	return ""
}

// orderedStuck finds the pod of an earlier template that an OrderedReady StatefulSet waits on for ever, "" if there is none.
func orderedStuck(o Observation, stamp string) string {
	if !o.Workload.Ordered {
		return ""
	}
	for _, p := range o.Pods {
		if !p.Terminating && p.Stamp != stamp && !p.Ready && brokenPod(p) != "" {
			return p.Name
		}
	}
	return ""
}

// Proof is what the pods of one workload were seen to run.
type Proof struct {
	Workload Ref            `json:"workload"`
	Desired  int            `json:"desired"`
	Pods     int            `json:"pods"`
	Ready    int            `json:"ready"`
	Digests  map[Digest]int `json:"digests"` // reported digest → containers
	// Missing says what is still wanting, "" when the workload is proven (but for the settle time).
	Missing string `json:"missing,omitempty"`
	// Wrong says that a pod provably runs something else, which waiting does not mend.
	Wrong string `json:"wrong,omitempty"`
}

// prove compares what the pods of a workload report with the target's digests, for every container that gets its image
// through the tag. stamp is that of the restart, "" where there was none; pods without it are on their way out.
func prove(o Observation, repository, tag string, set DigestSet, stamp string) Proof {
	follows := follow(o.Workload, repository, tag)
	pr := Proof{Workload: o.Workload.Ref, Desired: o.Workload.Rollout.Desired, Digests: map[Digest]int{}}
	var old, unready, silent, blank, wrong, foreign []string
	for _, p := range o.Pods {
		if !p.Live() {
			continue
		}
		pr.Pods++
		if p.Ready {
			pr.Ready++
		} else {
			unready = append(unready, p.Name)
			if p.Lost {
				silent = append(silent, p.Name+": "+silentNode(p))
			}
		}
		if stamp != "" && p.Stamp != stamp {
			old = append(old, p.Name)
		}
		if !slices.ContainsFunc(p.Containers, func(c PodContainer) bool { return follows(c.Container) }) {
			foreign = append(foreign, p.Name)
		}
		for _, c := range p.Containers {
			if !follows(c.Container) {
				continue
			}
			if c.Digest == "" {
				blank = append(blank, p.Name)
				continue
			}
			pr.Digests[c.Digest]++
			if !set[c.Digest] && (stamp == "" || p.Stamp == stamp) {
				wrong = append(wrong, fmt.Sprintf("%s runs %s", p.Name, c.Digest.Short()))
			}
		}
	}
	slices.Sort(wrong)
	switch {
	case len(wrong) > 0:
		pr.Wrong = strings.Join(wrong[:min(3, len(wrong))], ", ")
		if len(wrong) > 3 {
			pr.Wrong += fmt.Sprintf(" and %d more", len(wrong)-3)
		}
		pr.Missing = pr.Wrong
	case len(old) > 0:
		pr.Missing = fmt.Sprintf("%s still up", plural(len(old), "old pod", "old pods"))
	case len(unready) > 0:
		pr.Missing = fmt.Sprintf("%d of %s ready", pr.Ready, plural(pr.Desired, "pod", "pods"))
		if len(silent) > 0 {
			pr.Missing += "; " + strings.Join(silent, "; ")
		}
	case len(blank) > 0:
		pr.Missing = "the node has not reported the image of " + blank[0]
	case len(foreign) > 0:
		pr.Missing = fmt.Sprintf("no container of %s follows %s:%s", foreign[0], repository, tag)
	case pr.Pods != pr.Desired:
		pr.Missing = fmt.Sprintf("%s for %d wanted", plural(pr.Pods, "pod", "pods"), pr.Desired)
	case pr.Desired == 0:
		pr.Missing = "0 replicas: nothing runs that could prove it"
	}
	return pr
}
