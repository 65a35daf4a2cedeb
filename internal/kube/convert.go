package kube

// From Kubernetes' objects to the domain's: pure functions.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// workloadOf reads an object of one of workloadKinds. The selector is that of its pods, "" where it has none.
func workloadOf(k kind, object map[string]any) (w rollback.Workload, selector string, err error) {
	o, err := read[wireWorkload](object)
	if err != nil {
		return w, "", fmt.Errorf("%s: %w", k.singular(), err)
	}
	m := o.Metadata
	if m.Name == "" {
		return w, "", fmt.Errorf("%s: an object without a name", k.singular())
	}
	template := o.Spec.Template
	if k == cronJobs {
		template = o.Spec.JobTemplate.Spec.Template
	}
	w = rollback.Workload{
		Ref:        rollback.Ref{Kind: k.name, Namespace: m.Namespace, Name: m.Name},
		UID:        m.UID,
		Containers: containersOf(template.Spec),
		Paused:     o.Spec.Paused,
		Ordered:    k == statefulSets && o.Spec.PodManagementPolicy != "Parallel",
		ManagedBy:  managedBy(m),
		Suspended:  o.Spec.Suspend,
		Schedule:   o.Spec.Schedule,
		Stamp:      template.Metadata.Annotations[StampAnnotation],
		ConfigMaps: configMapsOf(template.Spec),
	}
	if c := controller(m); c != nil {
		w.Owner = c.Kind + "/" + c.Name
	}
	if s := o.Spec.Selector; s != nil {
		if parsed, err := metav1.LabelSelectorAsSelector(s); err == nil {
			selector = parsed.String()
		}
	}
	w.Rollout = rollback.Rollout{
		Generation:         m.Generation,
		ObservedGeneration: o.Status.ObservedGeneration,
		MinReady:           time.Duration(min(max(o.Spec.MinReadySeconds, 0), 1<<31)) * time.Second,
	}
	switch k {
	case deployments, statefulSets:
		strategy := o.Spec.Strategy
		if k == statefulSets {
			strategy = o.Spec.UpdateStrategy
		}
		w.Strategy = strategyOf(strategy)
		w.Rollout.Desired = 1 // the API's default
		if o.Spec.Replicas != nil {
			w.Rollout.Desired = *o.Spec.Replicas
		}
		w.Rollout.Total = o.Status.Replicas
		w.Rollout.Updated = o.Status.UpdatedReplicas
		w.Rollout.Ready = o.Status.ReadyReplicas
		w.Rollout.Available = o.Status.AvailableReplicas
		if k == statefulSets {
			w.Rollout.CurrentRevision = o.Status.CurrentRevision
			w.Rollout.UpdateRevision = o.Status.UpdateRevision
			if strategy.RollingUpdate != nil {
				w.Rollout.Partition = strategy.RollingUpdate.Partition
			}
		}
	case daemonSets:
		w.Strategy = strategyOf(o.Spec.UpdateStrategy)
		w.Rollout.Desired = o.Status.DesiredNumberScheduled
		w.Rollout.Total = o.Status.CurrentNumberScheduled
		w.Rollout.Updated = o.Status.UpdatedNumberScheduled
		w.Rollout.Ready = o.Status.NumberReady
		w.Rollout.Available = o.Status.NumberAvailable
	}
	for _, c := range o.Status.Conditions {
		switch {
		case k == deployments && c.Type == "Progressing" && c.Reason == "ProgressDeadlineExceeded":
			w.Rollout.Stalled = reason(c)
		case k == deployments && c.Type == "ReplicaFailure" && c.Status == "True":
			w.Rollout.Failure = reason(c)
		case k == jobs && (c.Type == "Complete" || c.Type == "Failed") && c.Status == "True":
			w.Finished = true
		}
	}
	return w, selector, nil
}

// reason is a condition as one line.
func reason(c wireCondition) string {
	switch {
	case c.Message == "":
		return oneLine(c.Reason)
	case c.Reason == "":
		return oneLine(c.Message)
	}
	return oneLine(c.Reason + ": " + c.Message)
}

func strategyOf(s wireStrategy) rollback.Strategy {
	if s.Type == "" {
		return rollback.RollingUpdate
	}
	return rollback.Strategy(s.Type)
}

// containersOf lists a template's containers: init containers and sidecars first, in the order in which they start.
func containersOf(spec wirePodSpec) []rollback.Container {
	all := make([]rollback.Container, 0, len(spec.InitContainers)+len(spec.Containers))
	for _, c := range spec.InitContainers {
		role := rollback.Init
		if c.RestartPolicy == "Always" { // https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
			role = rollback.Sidecar
		}
		all = append(all, containerOf(c, role))
	}
	for _, c := range spec.Containers {
		all = append(all, containerOf(c, rollback.Main))
	}
	return all
}

func containerOf(c wireContainer, role rollback.Role) rollback.Container {
	return rollback.Container{Name: c.Name, Role: role, Image: c.Image, PullPolicy: pullPolicy(c)}
}

// pullPolicy is the effective policy: the API server fills in the default when an object is made
// (https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting).
func pullPolicy(c wireContainer) string {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	if ref, err := rollback.ParseReference(c.Image); err == nil && ref.Tag == "latest" && ref.Digest == "" {
		return "Always"
	}
	return "IfNotPresent"
}

// configMapsOf are the names of the ConfigMaps a template uses, sorted.
func configMapsOf(spec wirePodSpec) []string {
	used := map[string]bool{}
	use := func(n *wireName) {
		if n != nil && n.Name != "" {
			used[n.Name] = true
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, e := range c.EnvFrom {
			use(e.ConfigMapRef)
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil {
				use(e.ValueFrom.ConfigMapKeyRef)
			}
		}
	}
	for _, v := range spec.Volumes {
		use(v.ConfigMap)
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				use(s.ConfigMap)
			}
		}
	}
	if len(used) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(used))
}

func controller(m wireMeta) *wireOwner {
	for i, o := range m.OwnerReferences {
		if o.Controller {
			return &m.OwnerReferences[i]
		}
	}
	return nil
}

// tools are how the tools that manage objects mark them. The ones that put back what they know come first: they undo a
// change made by others, Helm does not.
var tools = []struct {
	name                          string
	labels, annotations, managers []string
}{
	{ // https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/
		name:        "argocd",
		labels:      []string{"argocd.argoproj.io/instance"},
		annotations: []string{"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/installation-id"},
		managers:    []string{"argocd-controller", "argocd-application-controller"},
	},
	{ // https://fluxcd.io/flux/components/kustomize/kustomizations/, …/helm/helmreleases/
		name:     "flux",
		labels:   []string{"kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"},
		managers: []string{"kustomize-controller", "helm-controller"},
	},
	{ // https://helm.sh/docs/chart_best_practices/labels/
		name:        "helm",
		annotations: []string{"meta.helm.sh/release-name"},
		managers:    []string{"helm"},
	},
}

func managedBy(m wireMeta) string {
	for _, t := range tools {
		for _, l := range t.labels {
			if _, ok := m.Labels[l]; ok {
				return t.name
			}
		}
		for _, a := range t.annotations {
			if _, ok := m.Annotations[a]; ok {
				return t.name
			}
		}
		for _, f := range m.ManagedFields {
			if f.Subresource == "" && slices.Contains(t.managers, f.Manager) {
				return t.name
			}
		}
	}
	if m.Labels["app.kubernetes.io/managed-by"] == "Helm" {
		return "helm"
	}
	return ""
}

// podOf reads a pod. owners are the controllers of the known ReplicaSets and Jobs, by UID.
func podOf(object map[string]any, owners map[string]rollback.Ref) (rollback.Pod, error) {
	o, err := read[wirePod](object)
	if err != nil {
		return rollback.Pod{}, fmt.Errorf("pod: %w", err)
	}
	m := o.Metadata
	if m.Name == "" {
		return rollback.Pod{}, fmt.Errorf("pod: an object without a name")
	}
	p := rollback.Pod{
		Namespace:   m.Namespace,
		Name:        m.Name,
		UID:         m.UID,
		Owner:       podOwner(m, owners),
		Stamp:       m.Annotations[StampAnnotation],
		Terminating: m.DeletionTimestamp != nil,
		Phase:       o.Status.Phase,
		Node:        o.Spec.NodeName,
	}
	if m.CreationTimestamp != nil {
		p.Created = *m.CreationTimestamp
	}
	if m.DeletionTimestamp != nil { // the API server adds the grace
		p.EndBy = *m.DeletionTimestamp
	}
	p.Lost = lost(o)
	for _, c := range o.Status.Conditions {
		switch {
		case c.Type == "PodReadyToStartContainers" && c.Status == "False" && p.Live() && p.Node != "":
			p.Unmade = true // https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-has-network
		case c.Type == "Ready" && c.Status == "True":
			p.Ready = true
			if c.LastTransitionTime != nil {
				p.ReadySince = *c.LastTransitionTime
			}
		case c.Type == "PodScheduled" && c.Status == "False":
			p.Unschedulable = oneLine(c.Message)
			if p.Unschedulable == "" {
				p.Unschedulable = oneLine(c.Reason)
			}
		}
	}
	statuses := map[string]wireContainerStatus{}
	for _, s := range slices.Concat(o.Status.InitContainerStatuses, o.Status.ContainerStatuses) {
		statuses[s.Name] = s // names are unique over both lists
	}
	for _, c := range containersOf(o.Spec) {
		p.Containers = append(p.Containers, podContainer(c, statuses))
	}
	return p, nil
}

// lost tells whether the cluster has taken a pod out of service because its node no longer answers. The node lifecycle
// controller then sets the one condition Ready to False and leaves all else as the node had last reported it, so the containers
// are ready and the pod is not; readiness gates, which do that too, give a reason.
// Source: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/controller/util/node/controller_utils.go (MarkPodsNotReady)
func lost(o wirePod) bool {
	unready, containers := false, false
	for _, c := range o.Status.Conditions {
		switch c.Type {
		case "Ready":
			unready = c.Status == "False" && c.Reason == ""
		case "ContainersReady":
			containers = c.Status == "True"
		}
	}
	return unready && containers
}

func podContainer(c rollback.Container, statuses map[string]wireContainerStatus) rollback.PodContainer {
	pc := rollback.PodContainer{Container: c, LastExit: -1}
	s, ok := statuses[c.Name]
	if !ok {
		return pc
	}
	pc.ImageID = s.ImageID
	pc.Digest = rollback.ImageIDDigest(s.ImageID)
	pc.Restarts = s.RestartCount
	if t := s.LastState.Terminated; t != nil {
		pc.LastExit, pc.LastReason, pc.LastMessage = t.ExitCode, t.Reason, oneLine(t.Message)
	}
	switch {
	case s.State.Waiting != nil:
		pc.Waiting, pc.Message = s.State.Waiting.Reason, oneLine(s.State.Waiting.Message)
		if pc.Waiting == "" {
			pc.Waiting = "Waiting"
		}
	case s.State.Terminated != nil:
		t := s.State.Terminated
		pc.LastExit, pc.LastReason, pc.LastMessage = t.ExitCode, t.Reason, oneLine(t.Message)
		if t.ExitCode != 0 || c.Role == rollback.Sidecar { // one that ended well has done its work
			pc.Waiting, pc.Message = t.Reason, oneLine(t.Message)
			if pc.Waiting == "" {
				pc.Waiting = "Terminated"
			}
		}
	}
	return pc
}

// podOwner is the topmost controller of a pod that we know. A ReplicaSet that is not among owners is attributed by the
// name its Deployment or Rollout gives it: the name, a dash and the template's hash
// (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label).
func podOwner(m wireMeta, owners map[string]rollback.Ref) rollback.Ref {
	c := controller(m)
	if c == nil {
		return rollback.Ref{Kind: "Pod", Namespace: m.Namespace, Name: m.Name}
	}
	direct := rollback.Ref{Kind: c.Kind, Namespace: m.Namespace, Name: c.Name}
	if top, ok := owners[c.UID]; ok && c.UID != "" {
		return top
	}
	if c.Kind != "ReplicaSet" {
		return direct
	}
	for _, by := range []struct{ kind, label string }{
		{"Deployment", "pod-template-hash"},
		{"Rollout", "rollouts-pod-template-hash"},
	} {
		hash := m.Labels[by.label]
		if name, ok := strings.CutSuffix(c.Name, "-"+hash); ok && hash != "" && name != "" {
			return rollback.Ref{Kind: by.kind, Namespace: m.Namespace, Name: name}
		}
	}
	return direct
}

// topOwner is what a ReplicaSet or Job stands for: its controller, or itself.
func topOwner(kindName string, m wireMeta) rollback.Ref {
	if c := controller(m); c != nil {
		return rollback.Ref{Kind: c.Kind, Namespace: m.Namespace, Name: c.Name}
	}
	return rollback.Ref{Kind: kindName, Namespace: m.Namespace, Name: m.Name}
}

// configAge tells when a ConfigMap's data last changed, by its managed fields: the newest entry that sets data, with the
// keys that this manager sets. ok is false for ConfigMaps that are no service's configuration.
func configAge(m wireMeta) (age rollback.ConfigAge, ok bool) {
	if m.Name == "" || m.Name == "kube-root-ca.crt" || m.Labels["app.kubernetes.io/managed-by"] == "rollback" {
		return rollback.ConfigAge{}, false
	}
	age.Name = m.Name
	if m.CreationTimestamp != nil {
		age.Changed = *m.CreationTimestamp
	}
	for _, f := range m.ManagedFields {
		var keys []string
		for _, section := range []string{"f:data", "f:binaryData"} {
			fields, _ := f.FieldsV1[section].(map[string]any)
			for key := range fields {
				if name, ok := strings.CutPrefix(key, "f:"); ok {
					keys = append(keys, name)
				}
			}
		}
		if len(keys) > 0 && f.Time != nil && (age.Keys == nil || f.Time.After(age.Changed)) {
			slices.Sort(keys)
			age.Changed, age.Keys = *f.Time, keys
		}
	}
	return age, true
}
