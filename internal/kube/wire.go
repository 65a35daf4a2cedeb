package kube

// The parts of Kubernetes' objects that are read here, as the API writes them
// (https://kubernetes.io/docs/reference/kubernetes-api/). Everything else in an object is ignored.

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

type wireMeta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	Generation        int64             `json:"generation"`
	CreationTimestamp *time.Time        `json:"creationTimestamp"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	OwnerReferences   []wireOwner       `json:"ownerReferences"`
	ManagedFields     []wireManaged     `json:"managedFields"`
}

type wireOwner struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

type wireManaged struct {
	Manager     string         `json:"manager"`
	Subresource string         `json:"subresource"`
	Time        *time.Time     `json:"time"`
	FieldsV1    map[string]any `json:"fieldsV1"`
}

type wireWorkload struct {
	Metadata wireMeta `json:"metadata"`
	Spec     struct {
		Replicas            *int                  `json:"replicas"`
		MinReadySeconds     int64                 `json:"minReadySeconds"`
		Paused              bool                  `json:"paused"`
		Selector            *metav1.LabelSelector `json:"selector"`
		Template            wireTemplate          `json:"template"`
		Strategy            wireStrategy          `json:"strategy"`       // Deployment
		UpdateStrategy      wireStrategy          `json:"updateStrategy"` // StatefulSet, DaemonSet
		PodManagementPolicy string                `json:"podManagementPolicy"`
		Suspend             bool                  `json:"suspend"`  // CronJob, Job
		Schedule            string                `json:"schedule"` // CronJob
		JobTemplate         struct {
			Spec struct {
				Template wireTemplate `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64           `json:"observedGeneration"`
		Replicas           int             `json:"replicas"`
		UpdatedReplicas    int             `json:"updatedReplicas"`
		ReadyReplicas      int             `json:"readyReplicas"`
		AvailableReplicas  int             `json:"availableReplicas"`
		CurrentRevision    string          `json:"currentRevision"`
		UpdateRevision     string          `json:"updateRevision"`
		Conditions         []wireCondition `json:"conditions"`
		// of a DaemonSet
		DesiredNumberScheduled int `json:"desiredNumberScheduled"`
		CurrentNumberScheduled int `json:"currentNumberScheduled"`
		UpdatedNumberScheduled int `json:"updatedNumberScheduled"`
		NumberReady            int `json:"numberReady"`
		NumberAvailable        int `json:"numberAvailable"`
	} `json:"status"`
}

type wireStrategy struct {
	Type          string `json:"type"`
	RollingUpdate *struct {
		Partition int `json:"partition"`
	} `json:"rollingUpdate"`
}

type wireCondition struct {
	Type               string     `json:"type"`
	Status             string     `json:"status"`
	Reason             string     `json:"reason"`
	Message            string     `json:"message"`
	LastTransitionTime *time.Time `json:"lastTransitionTime"`
}

type wireTemplate struct {
	Metadata wireMeta    `json:"metadata"`
	Spec     wirePodSpec `json:"spec"`
}

type wirePodSpec struct {
	NodeName       string          `json:"nodeName"`
	Containers     []wireContainer `json:"containers"`
	InitContainers []wireContainer `json:"initContainers"`
	Volumes        []struct {
		ConfigMap *wireName `json:"configMap"`
		Projected *struct {
			Sources []struct {
				ConfigMap *wireName `json:"configMap"`
			} `json:"sources"`
		} `json:"projected"`
	} `json:"volumes"`
}

type wireName struct {
	Name string `json:"name"`
}

type wireContainer struct {
	Name            string `json:"name"`
	Image           string `json:"image"`
	ImagePullPolicy string `json:"imagePullPolicy"`
	RestartPolicy   string `json:"restartPolicy"` // of init containers; Always makes a sidecar
	EnvFrom         []struct {
		ConfigMapRef *wireName `json:"configMapRef"`
	} `json:"envFrom"`
	Env []struct {
		ValueFrom *struct {
			ConfigMapKeyRef *wireName `json:"configMapKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
}

type wirePod struct {
	Metadata wireMeta    `json:"metadata"`
	Spec     wirePodSpec `json:"spec"`
	Status   struct {
		Phase                 string                `json:"phase"`
		Conditions            []wireCondition       `json:"conditions"`
		ContainerStatuses     []wireContainerStatus `json:"containerStatuses"`
		InitContainerStatuses []wireContainerStatus `json:"initContainerStatuses"`
	} `json:"status"`
}

type wireContainerStatus struct {
	Name         string    `json:"name"`
	ImageID      string    `json:"imageID"`
	RestartCount int       `json:"restartCount"`
	State        wireState `json:"state"`
	LastState    wireState `json:"lastState"`
}

type wireState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Running    *struct{} `json:"running"`
	Terminated *struct {
		ExitCode int    `json:"exitCode"`
		Reason   string `json:"reason"`
		Message  string `json:"message"`
	} `json:"terminated"`
}

type wireEvent struct {
	Metadata       wireMeta `json:"metadata"`
	InvolvedObject struct {
		UID string `json:"uid"`
	} `json:"involvedObject"`
	Reason        string     `json:"reason"`
	Message       string     `json:"message"`
	Count         int        `json:"count"`
	LastTimestamp *time.Time `json:"lastTimestamp"`
	EventTime     *time.Time `json:"eventTime"`
	Series        *struct {
		Count            int        `json:"count"`
		LastObservedTime *time.Time `json:"lastObservedTime"`
	} `json:"series"`
}

// read fills one of the types above from an object as the dynamic client hands it over.
func read[T any](object map[string]any) (T, error) {
	var v T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &v); err != nil {
		return v, fmt.Errorf("the object is not of the form that Kubernetes documents: %w", err)
	}
	return v, nil
}
