package rollback

import (
	"fmt"
	"time"
)

// ClusterIdentity says which cluster we talk to and as whom.
type ClusterIdentity struct {
	Context string `json:"context,omitempty"` // kubeconfig context, or "eks:<name>"
	Server  string `json:"server"`            // URL of the API server
	// UID is that of the kube-system namespace, the customary identity of a cluster; "" without the right to read it.
	UID  string `json:"uid,omitempty"`
	User string `json:"user,omitempty"` // who the API server takes us for; "" where it cannot tell
}

// Ref names one object of the cluster.
type Ref struct {
	Kind      string `json:"kind"` // Deployment, StatefulSet, DaemonSet, CronJob, Job, Rollout, …
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is the reference as kubectl takes it: "deployment/payments".
func (r Ref) String() string { return fmt.Sprintf("%s/%s", lower(r.Kind), r.Name) }

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Role is the part a container plays in its pod.
type Role string

const (
	Main    Role = "container"
	Init    Role = "init"    // runs to its end before the main containers start
	Sidecar Role = "sidecar" // an init container with restartPolicy Always
)

// Container is one container of a pod template.
type Container struct {
	Name  string `json:"name"`
	Role  Role   `json:"role"`
	Image string `json:"image"` // as written
	// PullPolicy is the effective one (Always, IfNotPresent, Never): the API server fills in the default.
	PullPolicy string `json:"pullPolicy"`
}

// Strategy is how a workload replaces its pods.
type Strategy string

const (
	RollingUpdate Strategy = "RollingUpdate"
	Recreate      Strategy = "Recreate"
	OnDelete      Strategy = "OnDelete" // a restart patch does nothing until somebody deletes the pods
)

// Workload is an object whose pod template names images, as the cluster has it now.
type Workload struct {
	Ref        Ref         `json:"ref"`
	UID        string      `json:"uid,omitempty"`
	Containers []Container `json:"containers"`
	Strategy   Strategy    `json:"strategy,omitempty"`
	Paused     bool        `json:"paused,omitempty"`
	// Ordered is set for a StatefulSet with podManagementPolicy OrderedReady, which waits for ever on a broken pod
	// (https://github.com/kubernetes/kubernetes/issues/67250).
	Ordered bool `json:"ordered,omitempty"`
	// Owner is the controller that owns this object ("Rollout/payments"), "" if none does.
	Owner string `json:"owner,omitempty"`
	// ManagedBy names the tool whose labels, annotations or managed fields the object carries: argocd, flux, helm; "" if none.
	ManagedBy string `json:"managedBy,omitempty"`
	// Suspended is set for a CronJob or Job that is suspended; Schedule is a CronJob's.
	Suspended bool   `json:"suspended,omitempty"`
	Schedule  string `json:"schedule,omitempty"`
	// Finished is set for a Job that has ended.
	Finished bool `json:"finished,omitempty"`
	// Stamp is the restart stamp in the pod template; it tells whether our restart has been asked for already.
	Stamp string `json:"stamp,omitempty"`
	// ConfigMaps are the names of ConfigMaps the pod template uses.
	ConfigMaps []string `json:"configMaps,omitempty"`

	Rollout Rollout `json:"rollout"`
}

// Restartable tells whether a restart stamp in the template makes new pods.
func (w Workload) Restartable() bool {
	switch w.Ref.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return true
	}
	return false
}

// Rollout is the progress of a workload as its controller reports it. Counts are pods.
type Rollout struct {
	Generation         int64 `json:"generation"`         // what was asked for
	ObservedGeneration int64 `json:"observedGeneration"` // what the counts below speak of
	Desired            int   `json:"desired"`
	Total              int   `json:"total"`   // of old and new templates
	Updated            int   `json:"updated"` // of the new template
	Ready              int   `json:"ready"`
	Available          int   `json:"available"`
	// Stalled is the controller's own verdict that it gave up (ProgressDeadlineExceeded), "" otherwise.
	Stalled string `json:"stalled,omitempty"`
	// Failure is the controller's word that it cannot create pods (quota, admission), "" otherwise.
	Failure string `json:"failure,omitempty"`
	// Partition, CurrentRevision and UpdateRevision are those of a StatefulSet.
	Partition       int    `json:"partition,omitempty"`
	CurrentRevision string `json:"currentRevision,omitempty"`
	UpdateRevision  string `json:"updateRevision,omitempty"`
	// MinReady is how long a new pod must be ready before it counts as available.
	MinReady time.Duration `json:"minReady,omitempty"` // nanoseconds
}

// Pod is one pod with what its node reports.
type Pod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       string    `json:"uid,omitempty"`
	Owner     Ref       `json:"owner"` // the topmost known controller; the pod itself (Kind Pod) if it has none
	Created   time.Time `json:"created,omitzero"`
	// Stamp is the restart stamp the pod was made with.
	Stamp string `json:"stamp,omitempty"`
	// Terminating is set from the moment a deletion was asked for.
	Terminating bool   `json:"terminating,omitempty"`
	Phase       string `json:"phase"` // Pending, Running, Succeeded, Failed, Unknown
	Node        string `json:"node,omitempty"`
	Ready       bool   `json:"ready"`
	// ReadySince is when it last became ready.
	ReadySince time.Time `json:"readySince,omitzero"`
	// Unschedulable is the scheduler's message, "" when it was placed.
	Unschedulable string         `json:"unschedulable,omitempty"`
	Containers    []PodContainer `json:"containers"`
	// EndBy is when a pod that is Terminating is to be gone at the latest, by the grace that it was given.
	EndBy time.Time `json:"endBy,omitzero"`
	// Lost is set when its node has not answered for so long that the pod was taken out of service. What it does is not known.
	Lost bool `json:"lost,omitempty"`
	// Unmade is set while its node has not made its volumes and its network, which comes before images and containers.
	Unmade bool `json:"unmade,omitempty"`
}

// Live tells whether a pod counts. One that is about to go does not, nor one that has ended: an evicted pod stays behind, Failed,
// with all that it ran.
func (p Pod) Live() bool { return !p.Terminating && p.Phase != "Succeeded" && p.Phase != "Failed" }

// PodContainer is one container of a pod: what was asked for and what runs.
type PodContainer struct {
	Container
	// ImageID is what the runtime says it runs, verbatim; Digest is read out of it, "" while waiting.
	ImageID string `json:"imageID,omitempty"`
	Digest  Digest `json:"digest,omitempty"`
	// Waiting is the reason a container does not run (ImagePullBackOff, CrashLoopBackOff, …), "" when it runs.
	Waiting string `json:"waiting,omitempty"`
	Message string `json:"message,omitempty"`
	// Restarts is how often it was restarted; LastExit is the exit code of its last end, -1 if it never ended, LastReason the
	// node's word for that (OOMKilled, Error, StartError, …), and LastMessage what it adds, if anything.
	Restarts    int    `json:"restarts,omitempty"`
	LastExit    int    `json:"lastExit"`
	LastReason  string `json:"lastReason,omitempty"`
	LastMessage string `json:"lastMessage,omitempty"`
}

// ConfigAge is when a ConfigMap that a workload uses last changed, by its managed fields, and which keys that change set.
type ConfigAge struct {
	Name    string    `json:"name"`
	Changed time.Time `json:"changed"`
	Keys    []string  `json:"keys,omitempty"`
}

// Inventory is everything in one namespace that names an image, read at one moment.
type Inventory struct {
	Namespace string      `json:"namespace"`
	Workloads []Workload  `json:"workloads"`
	Pods      []Pod       `json:"pods"`
	Configs   []ConfigAge `json:"configs,omitempty"`
	// Unknown names what could not be read and why.
	Unknown []string `json:"unknown,omitempty"`
}

// Observation is one workload and its pods, read at one moment while they turn over.
type Observation struct {
	Workload Workload
	Pods     []Pod
}

// Diagnosis is what the cluster tells about a pod that does not come up.
type Diagnosis struct {
	Events []string // newest last, "reason: message"
	Logs   []string // the last lines of the container that failed, before its last restart if it restarted
}
