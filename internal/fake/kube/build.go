package kube

// Objects to start from. Each returns a fresh map that the caller may change before Apply (see Set).

// Set puts a value at a path of an object and makes the maps on the way: Set(o, "Recreate", "spec", "strategy", "type").
// It returns the object.
func Set(o map[string]any, value any, path ...string) map[string]any {
	set(o, value, path...)
	return o
}

// At reads a value at a path of an object; nil if there is none. Whole numbers of objects from the server are int64.
func At(o map[string]any, path ...string) any { return get(o, path...) }

func workload(apiVersion, kind, ns, name, image string) tree {
	labels := func() tree { return tree{"app": name} }
	return tree{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": tree{"name": name, "namespace": ns, "labels": labels()},
		"spec": tree{
			"selector": tree{"matchLabels": labels()},
			"template": tree{
				"metadata": tree{"labels": labels()},
				"spec":     tree{"containers": []any{tree{"name": name, "image": image}}},
			},
		},
	}
}

// NewDeployment is a Deployment with one container, both of the given name, and the label app=name.
func NewDeployment(ns, name, image string, replicas int) map[string]any {
	return Set(workload("apps/v1", "Deployment", ns, name, image), int64(replicas), "spec", "replicas")
}

// NewStatefulSet is a StatefulSet in the manner of NewDeployment.
func NewStatefulSet(ns, name, image string, replicas int) map[string]any {
	o := Set(workload("apps/v1", "StatefulSet", ns, name, image), int64(replicas), "spec", "replicas")
	return Set(o, name, "spec", "serviceName")
}

// NewDaemonSet is a DaemonSet in the manner of NewDeployment.
func NewDaemonSet(ns, name, image string) map[string]any {
	return workload("apps/v1", "DaemonSet", ns, name, image)
}

// NewJob is a Job with one container that runs once.
func NewJob(ns, name, image string) map[string]any {
	o := workload("batch/v1", "Job", ns, name, image)
	delete(dict(o, "spec"), "selector")
	return Set(o, "Never", "spec", "template", "spec", "restartPolicy")
}

// NewCronJob is a CronJob with one container. Nothing makes its Jobs: create them.
func NewCronJob(ns, name, image, schedule string) map[string]any {
	job := NewJob(ns, name, image)
	return tree{
		"apiVersion": "batch/v1", "kind": "CronJob",
		"metadata": tree{"name": name, "namespace": ns, "labels": tree{"app": name}},
		"spec":     tree{"schedule": schedule, "jobTemplate": tree{"spec": job["spec"]}},
	}
}

// NewConfigMap is a ConfigMap.
func NewConfigMap(ns, name string, data map[string]string) map[string]any {
	d := tree{}
	for k, v := range data {
		d[k] = v
	}
	return tree{"apiVersion": "v1", "kind": "ConfigMap", "metadata": tree{"name": name, "namespace": ns}, "data": d}
}

// NewNamespace is a Namespace.
func NewNamespace(name string) map[string]any {
	return tree{"apiVersion": "v1", "kind": "Namespace", "metadata": tree{"name": name}}
}
