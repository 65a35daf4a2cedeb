package kube

// The Deployment controller.
// Source: https://github.com/kubernetes/kubernetes/tree/master/pkg/controller/deployment

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	revisionKey = "deployment.kubernetes.io/revision"
	desiredKey  = "deployment.kubernetes.io/desired-replicas"
	maxKey      = "deployment.kubernetes.io/max-replicas"
	hashLabel   = "pod-template-hash"
)

// bounds are how many pods a rolling update may add and may do without: surge rounds up, unavailable down, and both are
// never zero together.
func bounds(spec tree) (surge, unavailable int) {
	if str(spec, "strategy", "type") != "RollingUpdate" {
		return 0, 0
	}
	n := num(spec, "replicas")
	surge, _ = share(get(spec, "strategy", "rollingUpdate", "maxSurge"), n, true)
	unavailable, _ = share(get(spec, "strategy", "rollingUpdate", "maxUnavailable"), n, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, n)
}

// templateSansHash is a ReplicaSet's template as its Deployment wrote it.
func templateSansHash(rs *object) tree {
	t := copyTree(dict(rs.data, "spec", "template"))
	unset(t, "metadata", "labels", hashLabel)
	return t
}

// rollout is the state a sync works on: the Deployment and its ReplicaSets, re-read after every write.
type rollout struct {
	s    *Server
	d    *object
	new  *object   // matches the template; nil if there is none yet
	olds []*object // by age
}

func (s *Server) rolloutOf(d *object) *rollout {
	r := &rollout{s: s, d: s.objects[d.key()]}
	template := dict(r.d.data, "spec", "template")
	list := s.ownedBy(d.uid, replicaSets)
	slices.SortFunc(list, older)
	for _, rs := range list {
		if r.new == nil && equal(templateSansHash(rs), template) {
			r.new = rs
		} else {
			r.olds = append(r.olds, rs)
		}
	}
	return r
}

func (r *rollout) all() []*object {
	if r.new == nil {
		return r.olds
	}
	return append(slices.Clone(r.olds), r.new)
}

func sum(list []*object, path ...string) int {
	n := 0
	for _, o := range list {
		n += num(o.data, path...)
	}
	return n
}

func (s *Server) syncDeployment(d *object) {
	r := s.rolloutOf(d)
	if terminating(d) {
		r.status()
		return
	}
	r.pauseCondition()
	switch {
	case truth(d.data, "spec", "paused"), r.scaled():
		r.ensureNew(false)
		r.scale()
		r.cleanup(truth(d.data, "spec", "paused"))
		r.status()
	case str(d.data, "spec", "strategy", "type") == "Recreate":
		r.recreate()
	default:
		r.roll()
	}
}

func (r *rollout) reload() { *r = *r.s.rolloutOf(r.d) }

func (r *rollout) pauseCondition() {
	if !has(r.d.data, "spec", "progressDeadlineSeconds") || str(condition(r.d.data, "Progressing"), "reason") == "ProgressDeadlineExceeded" {
		return
	}
	was := str(condition(r.d.data, "Progressing"), "reason") == "DeploymentPaused"
	switch paused := truth(r.d.data, "spec", "paused"); {
	case paused && !was:
		r.edit(func(o tree) {
			setCondition(o, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", false)
		})
	case !paused && was:
		r.edit(func(o tree) {
			setCondition(o, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", false)
		})
	}
}

func (r *rollout) edit(f func(tree)) {
	if o := r.s.change(r.d, f); o != nil {
		r.d = o
	}
}

// scaled tells whether replicas of the Deployment changed since its ReplicaSets were last sized.
func (r *rollout) scaled() bool {
	for _, rs := range r.all() {
		if num(rs.data, "spec", "replicas") == 0 {
			continue
		}
		if n, err := strconv.Atoi(str(rs.data, "metadata", "annotations", desiredKey)); err == nil && n != num(r.d.data, "spec", "replicas") {
			return true
		}
	}
	return false
}

// ensureNew finds or makes the ReplicaSet of the template and gives it the highest revision.
func (r *rollout) ensureNew(make bool) {
	revision := 0
	for _, rs := range r.olds {
		n, _ := strconv.Atoi(str(rs.data, "metadata", "annotations", revisionKey))
		revision = max(revision, n)
	}
	revision++
	d := r.d.data
	surge, _ := bounds(dict(d, "spec"))
	replicas := num(d, "spec", "replicas")
	annotate := func(o tree) {
		if n, _ := strconv.Atoi(str(o, "metadata", "annotations", revisionKey)); n < revision {
			if n > 0 {
				history := str(o, "metadata", "annotations", "deployment.kubernetes.io/revision-history")
				if history != "" {
					history += ","
				}
				set(o, history+strconv.Itoa(n), "metadata", "annotations", "deployment.kubernetes.io/revision-history")
			}
			set(o, strconv.Itoa(revision), "metadata", "annotations", revisionKey)
		}
		for k, v := range dict(d, "metadata", "annotations") {
			switch k {
			case "kubectl.kubernetes.io/last-applied-configuration", revisionKey, desiredKey, maxKey, "deployment.kubernetes.io/revision-history", "deprecated.deployment.rollback.to":
			default:
				set(o, v, "metadata", "annotations", k)
			}
		}
	}
	if r.new == nil && !make {
		return
	}
	if r.new == nil {
		template := copyTree(dict(d, "spec", "template"))
		h := hash(template, num(d, "status", "collisionCount"))
		name := r.d.name + "-" + h
		if r.s.find(replicaSets, r.d.ns, name) != nil { // as a real hash collision: try the next
			r.edit(func(o tree) { set(o, int64(num(o, "status", "collisionCount")+1), "status", "collisionCount") })
			r.s.wake(r.d.key())
			return
		}
		set(template, h, "metadata", "labels", hashLabel)
		selector := copyTree(dict(d, "spec", "selector"))
		set(selector, h, "matchLabels", hashLabel)
		o := tree{
			"metadata": tree{"name": name, "labels": clone(get(template, "metadata", "labels")), "annotations": tree{}, "ownerReferences": ownerRef(r.d)},
			"spec":     tree{"replicas": int64(0), "selector": selector, "template": template},
			"status":   tree{"replicas": int64(0)},
		}
		if m := num(d, "spec", "minReadySeconds"); m > 0 {
			set(o, int64(m), "spec", "minReadySeconds")
		}
		annotate(o)
		set(o, strconv.Itoa(replicas), "metadata", "annotations", desiredKey)
		set(o, strconv.Itoa(replicas+surge), "metadata", "annotations", maxKey)
		n := growth(dict(d, "spec"), sum(r.olds, "spec", "replicas"), 0)
		set(o, int64(n), "spec", "replicas")
		r.new = r.s.create(replicaSets, r.d.ns, o)
		if n > 0 {
			r.s.event(r.d, "Normal", "ScalingReplicaSet", "deployment-controller", fmt.Sprintf("Scaled up replica set %s from 0 to %d", name, n), "")
		}
		r.edit(func(o tree) {
			set(o, strconv.Itoa(revision), "metadata", "annotations", revisionKey)
			if has(o, "spec", "progressDeadlineSeconds") {
				setCondition(o, "Progressing", "True", "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", name), false)
			}
		})
		return
	}
	r.new = r.s.change(r.new, func(o tree) {
		annotate(o)
		if m := num(d, "spec", "minReadySeconds"); m != num(o, "spec", "minReadySeconds") {
			count(dict(o, "spec"), m, "minReadySeconds")
		}
	})
	r.edit(func(o tree) {
		set(o, str(r.new.data, "metadata", "annotations", revisionKey), "metadata", "annotations", revisionKey)
		if has(o, "spec", "progressDeadlineSeconds") && condition(o, "Progressing") == nil {
			setCondition(o, "Progressing", "True", "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", r.new.name), false)
		}
	})
}

// growth is the size a new ReplicaSet may have now, given the size of the old ones and its own.
// Source: pkg/controller/deployment/util/deployment_util.go (NewRSNewReplicas)
func growth(spec tree, olds, own int) int {
	want := num(spec, "replicas")
	if str(spec, "strategy", "type") != "RollingUpdate" {
		return want
	}
	surge, _ := bounds(spec)
	room := want + surge - olds - own
	if room <= 0 {
		return own
	}
	return own + min(room, want-own)
}

// resize sets the size of a ReplicaSet and tells whether it changed.
func (r *rollout) resize(rs *object, n int) bool {
	surge, _ := bounds(dict(r.d.data, "spec"))
	replicas := num(r.d.data, "spec", "replicas")
	was := num(rs.data, "spec", "replicas")
	r.s.change(rs, func(o tree) {
		set(o, int64(n), "spec", "replicas")
		set(o, strconv.Itoa(replicas), "metadata", "annotations", desiredKey)
		set(o, strconv.Itoa(replicas+surge), "metadata", "annotations", maxKey)
	})
	if was == n {
		return false
	}
	word := "up"
	if n < was {
		word = "down"
	}
	r.s.event(r.d, "Normal", "ScalingReplicaSet", "deployment-controller", fmt.Sprintf("Scaled %s replica set %s from %d to %d", word, rs.name, was, n), "")
	return true
}

// roll is one step of a rolling update.
func (r *rollout) roll() {
	r.ensureNew(true)
	if r.new == nil {
		return
	}
	spec := dict(r.d.data, "spec")
	want := num(spec, "replicas")
	own := num(r.new.data, "spec", "replicas")
	n := min(own, want)
	if own < want {
		n = growth(spec, sum(r.olds, "spec", "replicas"), own)
	}
	if r.resize(r.new, n) {
		r.reload()
		r.status()
		return
	}
	if r.shrinkOld() {
		r.reload()
		r.status()
		return
	}
	r.reload()
	r.cleanup(false)
	r.status()
}

// shrinkOld takes old pods away as far as availability permits: the unhealthy first, then the healthy.
func (r *rollout) shrinkOld() bool {
	spec := dict(r.d.data, "spec")
	if sum(r.olds, "spec", "replicas") == 0 {
		return false
	}
	_, unavailable := bounds(spec)
	minAvailable := num(spec, "replicas") - unavailable
	newUnavailable := num(r.new.data, "spec", "replicas") - num(r.new.data, "status", "availableReplicas")
	may := sum(r.all(), "spec", "replicas") - minAvailable - newUnavailable
	if may <= 0 {
		return false
	}
	changed := false
	cleaned := 0
	for i, rs := range r.olds {
		size, ok := num(rs.data, "spec", "replicas"), num(rs.data, "status", "availableReplicas")
		if cleaned >= may || size == 0 || size <= ok {
			continue
		}
		drop := min(may-cleaned, size-ok)
		cleaned += drop
		changed = r.resize(rs, size-drop) || changed
		r.olds[i] = r.s.objects[rs.key()]
	}
	// The healthy ones: what is available beyond the minimum.
	spare := sum(r.all(), "status", "availableReplicas") - minAvailable
	for _, rs := range r.olds {
		size := num(rs.data, "spec", "replicas")
		if spare <= 0 || size == 0 {
			continue
		}
		drop := min(size, spare)
		spare -= drop
		changed = r.resize(rs, size-drop) || changed
	}
	return changed
}

// recreate is one step of strategy Recreate: all old pods go before the first new one comes.
func (r *rollout) recreate() {
	changed := false
	for _, rs := range r.olds {
		if num(rs.data, "spec", "replicas") > 0 {
			changed = r.resize(rs, 0) || changed
		}
	}
	if changed {
		r.reload()
		r.status()
		return
	}
	for _, rs := range r.olds {
		for _, p := range r.s.ownedBy(rs.uid, pods) {
			if ph := str(p.data, "status", "phase"); ph != "Failed" && ph != "Succeeded" {
				r.status()
				return
			}
		}
	}
	r.ensureNew(true)
	if r.new == nil {
		return
	}
	r.resize(r.new, num(r.d.data, "spec", "replicas"))
	r.reload()
	r.cleanup(false)
	r.status()
}

// scale sizes the ReplicaSets after the Deployment's own size changed, or while it is paused.
// Source: pkg/controller/deployment/sync.go (scale)
func (r *rollout) scale() {
	want := num(r.d.data, "spec", "replicas")
	var live []*object
	for _, rs := range r.all() {
		if num(rs.data, "spec", "replicas") > 0 {
			live = append(live, rs)
		}
	}
	var only *object
	switch {
	case len(live) == 1:
		only = live[0]
	case len(live) == 0 && r.new != nil:
		only = r.new
	case len(live) == 0 && len(r.olds) > 0:
		only = r.olds[len(r.olds)-1]
	}
	if only != nil {
		r.resize(only, want)
		r.reload()
		return
	}
	if r.new != nil && num(r.new.data, "spec", "replicas") == want && num(r.new.data, "status", "replicas") == want && num(r.new.data, "status", "availableReplicas") == want {
		for _, rs := range r.olds {
			r.resize(rs, 0)
		}
		r.reload()
		return
	}
	if str(r.d.data, "spec", "strategy", "type") != "RollingUpdate" {
		return
	}
	surge, _ := bounds(dict(r.d.data, "spec"))
	allowed := 0
	if want > 0 {
		allowed = want + surge
	}
	total := sum(live, "spec", "replicas")
	add := allowed - total
	slices.SortStableFunc(live, func(a, b *object) int {
		if c := cmp.Compare(num(b.data, "spec", "replicas"), num(a.data, "spec", "replicas")); c != 0 {
			return c
		}
		if add > 0 {
			return older(b, a)
		}
		return older(a, b)
	})
	sizes := make([]int, len(live))
	added := 0
	for i, rs := range live {
		size := num(rs.data, "spec", "replicas")
		sizes[i] = size
		if add != 0 {
			p := r.proportion(rs, want+surge, add, added)
			sizes[i] += p
			added += p
		}
	}
	for i, rs := range live {
		if i == 0 && add != 0 {
			sizes[0] = max(0, sizes[0]+add-added)
		}
		r.resize(rs, sizes[i])
	}
	r.reload()
}

// proportion is a ReplicaSet's share of the pods to add or (negative) take away.
func (r *rollout) proportion(rs *object, most, add, added int) int {
	size := num(rs.data, "spec", "replicas")
	left := add - added
	if size == 0 || left == 0 {
		return 0
	}
	fraction := -size
	if num(r.d.data, "spec", "replicas") > 0 {
		before, err := strconv.Atoi(str(rs.data, "metadata", "annotations", maxKey))
		if err != nil || before == 0 {
			before = num(r.d.data, "status", "replicas")
		}
		if before == 0 {
			return 0
		}
		fraction = int(math.Round(float64(size)*float64(most)/float64(before))) - size
	}
	if add > 0 {
		return min(fraction, left)
	}
	return max(fraction, left)
}

// complete tells whether the status speaks of a finished rollout.
func complete(d, st tree) bool {
	want := num(d, "spec", "replicas")
	return num(st, "updatedReplicas") == want && num(st, "replicas") == want && num(st, "availableReplicas") == want && num(st, "observedGeneration") >= num(d, "metadata", "generation")
}

// cleanup removes old empty ReplicaSets beyond the history limit.
func (r *rollout) cleanup(always bool) {
	if !always && !complete(r.d.data, dict(r.d.data, "status")) {
		return
	}
	var empty []*object
	for _, rs := range r.olds {
		if num(rs.data, "spec", "replicas") == 0 && num(rs.data, "status", "replicas") == 0 && num(rs.data, "metadata", "generation") <= num(rs.data, "status", "observedGeneration") {
			empty = append(empty, rs)
		}
	}
	for i := range len(r.olds) - numOr(r.d.data, 10, "spec", "revisionHistoryLimit") {
		if i < len(empty) {
			r.s.remove(empty[i])
		}
	}
	r.reload()
}

// status writes what is seen, with the conditions Available, ReplicaFailure and Progressing.
func (r *rollout) status() {
	all := r.all()
	spec := dict(r.d.data, "spec")
	old := copyTree(dict(r.d.data, "status"))
	r.edit(func(o tree) {
		fill(o, tree{}, "status")
		st := dict(o, "status")
		count(st, sum(all, "status", "replicas"), "replicas")
		updated := 0
		if r.new != nil {
			updated = num(r.new.data, "status", "replicas")
		}
		count(st, updated, "updatedReplicas")
		count(st, sum(all, "status", "readyReplicas"), "readyReplicas")
		availableN := sum(all, "status", "availableReplicas")
		count(st, availableN, "availableReplicas")
		count(st, max(0, sum(all, "spec", "replicas")-availableN), "unavailableReplicas")
		st["terminatingReplicas"] = int64(sum(all, "status", "terminatingReplicas"))
		st["observedGeneration"] = get(o, "metadata", "generation")
		_, unavailable := bounds(spec)
		if availableN >= num(spec, "replicas")-unavailable {
			setCondition(o, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", false)
		} else {
			setCondition(o, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", false)
		}
		var failure tree
		for _, rs := range append([]*object{r.new}, r.olds...) {
			if rs != nil && failure == nil {
				failure = condition(rs.data, "ReplicaFailure")
			}
		}
		if failure != nil {
			setCondition(o, "ReplicaFailure", "True", str(failure, "reason"), str(failure, "message"), false)
		} else {
			dropCondition(o, "ReplicaFailure")
		}
		if !truth(spec, "paused") {
			r.progress(o, old)
		}
	})
}

// progress keeps the Progressing condition and its deadline.
// Source: pkg/controller/deployment/progress.go (syncRolloutStatus)
func (r *rollout) progress(o, old tree) {
	deadline := num(o, "spec", "progressDeadlineSeconds")
	if !has(o, "spec", "progressDeadlineSeconds") || deadline == math.MaxInt32 {
		dropCondition(o, "Progressing")
		return
	}
	st := dict(o, "status")
	cond := condition(o, "Progressing")
	what := fmt.Sprintf("Deployment %q", r.d.name)
	if r.new != nil {
		what = fmt.Sprintf("ReplicaSet %q", r.new.name)
	}
	if num(st, "replicas") == num(st, "updatedReplicas") && str(cond, "reason") == "NewReplicaSetAvailable" {
		return
	}
	switch {
	case complete(o, st):
		setCondition(o, "Progressing", "True", "NewReplicaSetAvailable", what+" has successfully progressed.", false)
	case num(st, "updatedReplicas") > num(old, "updatedReplicas"),
		num(st, "replicas")-num(st, "updatedReplicas") < num(old, "replicas")-num(old, "updatedReplicas"),
		num(st, "readyReplicas") > num(old, "readyReplicas"), num(st, "availableReplicas") > num(old, "availableReplicas"):
		setCondition(o, "Progressing", "True", "ReplicaSetUpdated", what+" is progressing.", true)
	default:
		if cond == nil || str(cond, "reason") == "NewReplicaSetAvailable" || str(cond, "reason") == "ProgressDeadlineExceeded" {
			return
		}
		late := parseStamp(str(cond, "lastUpdateTime")).Add(time.Duration(deadline) * time.Second)
		if now := time.Now(); late.Before(now) {
			setCondition(o, "Progressing", "False", "ProgressDeadlineExceeded", what+" has timed out progressing.", false)
			return
		}
	}
	if c := condition(o, "Progressing"); c != nil && str(c, "reason") != "NewReplicaSetAvailable" && str(c, "status") != "False" {
		at := parseStamp(str(c, "lastUpdateTime")).Add(time.Duration(deadline) * time.Second)
		r.s.wakeAfter(r.d.key(), time.Until(at)+time.Millisecond)
	}
}
