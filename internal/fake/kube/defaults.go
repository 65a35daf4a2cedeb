package kube

// What the API server fills in and what it refuses in an object.
// Source: https://github.com/kubernetes/kubernetes/tree/master/pkg/apis (defaults.go and validation.go of core, apps, batch)

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	dnsName   = lazily(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	dnsLabel  = lazily(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	configKey = lazily(`^[-._a-zA-Z0-9]+$`)
)

const (
	nameRule  = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
	labelRule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

// knownFields are the fields of each level that this server understands or carries along; others are refused, so that a
// misspelt patch does not pass unseen.
var knownFields = map[string][]string{
	"": {"apiVersion", "kind", "metadata", "spec", "status"},
	"metadata": {"name", "generateName", "namespace", "labels", "annotations", "uid", "resourceVersion", "generation", "creationTimestamp",
		"deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields", "selfLink"},
	"Deployment":  {"replicas", "selector", "template", "strategy", "minReadySeconds", "revisionHistoryLimit", "paused", "progressDeadlineSeconds"},
	"ReplicaSet":  {"replicas", "selector", "template", "minReadySeconds"},
	"StatefulSet": {"replicas", "selector", "template", "serviceName", "podManagementPolicy", "updateStrategy", "revisionHistoryLimit", "minReadySeconds", "volumeClaimTemplates", "persistentVolumeClaimRetentionPolicy", "ordinals"},
	"DaemonSet":   {"selector", "template", "updateStrategy", "minReadySeconds", "revisionHistoryLimit"},
	"Job": {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "selector", "manualSelector", "template", "ttlSecondsAfterFinished",
		"completionMode", "suspend", "podReplacementPolicy"},
	"CronJob": {"schedule", "timeZone", "startingDeadlineSeconds", "concurrencyPolicy", "suspend", "jobTemplate", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"},
	"pod": {"volumes", "initContainers", "containers", "ephemeralContainers", "restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "dnsPolicy",
		"nodeSelector", "serviceAccountName", "serviceAccount", "automountServiceAccountToken", "nodeName", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace",
		"securityContext", "imagePullSecrets", "hostname", "subdomain", "affinity", "schedulerName", "tolerations", "hostAliases", "priorityClassName", "priority",
		"dnsConfig", "readinessGates", "runtimeClassName", "enableServiceLinks", "preemptionPolicy", "overhead", "topologySpreadConstraints", "setHostnameAsFQDN", "os"},
	"container": {"name", "image", "command", "args", "workingDir", "ports", "envFrom", "env", "resources", "resizePolicy", "restartPolicy", "volumeMounts", "volumeDevices",
		"livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce", "tty"},
	"ConfigMap": {"apiVersion", "kind", "metadata", "data", "binaryData", "immutable"},
	"Event": {"apiVersion", "kind", "metadata", "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime", "series",
		"action", "related", "reportingComponent", "reportingInstance"},
	"ControllerRevision": {"apiVersion", "kind", "metadata", "data", "revision"},
	"template":           {"metadata", "spec"},
}

func unknownField(t tree, level, path string) string {
	for k := range t {
		if !slices.Contains(knownFields[level], k) {
			return strings.TrimPrefix(path+"."+k, ".")
		}
	}
	return ""
}

// strict finds the first field of an object that the server does not know, "" if there is none.
func strict(r *resource, o tree) string {
	if r.custom {
		return ""
	}
	level := ""
	if knownFields[r.kind] != nil && (r == configMaps || r == events || r == revisions) {
		level = r.kind
	}
	if f := unknownField(o, level, ""); f != "" {
		return f
	}
	if f := unknownField(dict(o, "metadata"), "metadata", "metadata"); f != "" {
		return f
	}
	if r == pods {
		return strictPod(dict(o, "spec"), "spec")
	}
	if level == "" && knownFields[r.kind] != nil {
		if f := unknownField(dict(o, "spec"), r.kind, "spec"); f != "" {
			return f
		}
	}
	template, path := templateOf(r, o)
	if template == nil {
		return ""
	}
	if f := unknownField(template, "template", path); f != "" {
		return f
	}
	if f := unknownField(dict(template, "metadata"), "metadata", path+".metadata"); f != "" {
		return f
	}
	return strictPod(dict(template, "spec"), path+".spec")
}

func strictPod(spec tree, path string) string {
	if f := unknownField(spec, "pod", path); f != "" {
		return f
	}
	for _, list := range []string{"initContainers", "containers"} {
		for i, c := range items(spec, list) {
			m, _ := c.(tree)
			if f := unknownField(m, "container", fmt.Sprintf("%s.%s[%d]", path, list, i)); f != "" {
				return f
			}
		}
	}
	return ""
}

// templateOf returns the pod template of a workload and its path; nil if the resource has none.
func templateOf(r *resource, o tree) (tree, string) {
	switch r {
	case deployments, replicaSets, statefulSet, daemonSets, jobs:
		return dict(o, "spec", "template"), "spec.template"
	case cronJobs:
		return dict(o, "spec", "jobTemplate", "spec", "template"), "spec.jobTemplate.spec.template"
	}
	return nil, ""
}

// defaults fills in what the client left out.
func defaults(r *resource, o tree) {
	if r == configMaps || r == events || r == revisions || r == nodes || r.custom {
		return
	}
	spec := dict(o, "spec")
	if spec == nil {
		spec = tree{}
		o["spec"] = spec
	}
	switch r {
	case namespaces:
		set(o, o["metadata"].(tree)["name"], "metadata", "labels", "kubernetes.io/metadata.name")
		fill(o, []any{"kubernetes"}, "spec", "finalizers")
		fill(o, "Active", "status", "phase")
	case pods:
		defaultPod(spec, "Always")
		fill(spec, true, "enableServiceLinks")
		// By the admission plugins Priority and DefaultTolerationSeconds.
		fill(spec, int64(0), "priority")
		fill(spec, "PreemptLowerPriority", "preemptionPolicy")
		tolerate(spec, "node.kubernetes.io/not-ready", "NoExecute", int64(300))
		tolerate(spec, "node.kubernetes.io/unreachable", "NoExecute", int64(300))
	case deployments:
		fill(spec, int64(1), "replicas")
		fill(spec, int64(600), "progressDeadlineSeconds")
		fill(spec, int64(10), "revisionHistoryLimit")
		fill(spec, "RollingUpdate", "strategy", "type")
		if str(spec, "strategy", "type") == "RollingUpdate" {
			fill(spec, "25%", "strategy", "rollingUpdate", "maxSurge")
			fill(spec, "25%", "strategy", "rollingUpdate", "maxUnavailable")
		}
	case replicaSets:
		fill(spec, int64(1), "replicas")
	case statefulSet:
		fill(spec, int64(1), "replicas")
		fill(spec, int64(10), "revisionHistoryLimit")
		fill(spec, "OrderedReady", "podManagementPolicy")
		if str(spec, "updateStrategy", "type") == "" {
			fill(spec, "RollingUpdate", "updateStrategy", "type")
			fill(spec, tree{}, "updateStrategy", "rollingUpdate")
		}
		fill(spec, "", "serviceName")
		fill(spec, "Retain", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
		fill(spec, "Retain", "persistentVolumeClaimRetentionPolicy", "whenScaled")
		if has(spec, "updateStrategy", "rollingUpdate") {
			fill(spec, int64(0), "updateStrategy", "rollingUpdate", "partition")
			fill(spec, int64(1), "updateStrategy", "rollingUpdate", "maxUnavailable")
		}
	case daemonSets:
		fill(spec, int64(10), "revisionHistoryLimit")
		fill(spec, "RollingUpdate", "updateStrategy", "type")
		if str(spec, "updateStrategy", "type") == "RollingUpdate" {
			fill(spec, int64(1), "updateStrategy", "rollingUpdate", "maxUnavailable")
			fill(spec, int64(0), "updateStrategy", "rollingUpdate", "maxSurge")
		}
	case jobs:
		defaultJob(spec)
	case cronJobs:
		fill(spec, "Allow", "concurrencyPolicy")
		fill(spec, false, "suspend")
		fill(spec, int64(3), "successfulJobsHistoryLimit")
		fill(spec, int64(1), "failedJobsHistoryLimit")
		if has(spec, "jobTemplate", "spec") {
			fill(spec, tree{}, "jobTemplate", "metadata")
		}
	}
	if template, _ := templateOf(r, o); template != nil {
		if r != jobs && r != cronJobs {
			fill(template, "Always", "spec", "restartPolicy")
		}
		if template["spec"] != nil {
			defaultPod(dict(template, "spec"), "Always")
		}
	}
}

// tolerate adds a toleration of a taint, for a number of seconds or (nil) for ever, unless the pod tolerates it already.
// Source: https://github.com/kubernetes/kubernetes/blob/master/plugin/pkg/admission/defaulttolerationseconds/admission.go
func tolerate(spec tree, taint, effect string, seconds any) {
	for _, t := range items(spec, "tolerations") {
		if k, e := str(t, "key"), str(t, "effect"); (k == taint || k == "") && (e == effect || e == "") {
			return
		}
	}
	t := tree{"key": taint, "operator": "Exists", "effect": effect}
	if seconds != nil {
		t["tolerationSeconds"] = seconds
	}
	spec["tolerations"] = append(slices.Clone(items(spec, "tolerations")), t)
}

func defaultJob(spec tree) {
	if !has(spec, "completions") && !has(spec, "parallelism") {
		set(spec, int64(1), "completions")
	}
	fill(spec, int64(1), "parallelism")
	fill(spec, int64(6), "backoffLimit")
	fill(spec, "NonIndexed", "completionMode")
	fill(spec, false, "suspend")
	fill(spec, "TerminatingOrFailed", "podReplacementPolicy")
}

func defaultPod(spec tree, restart string) {
	fill(spec, restart, "restartPolicy")
	fill(spec, int64(30), "terminationGracePeriodSeconds")
	fill(spec, "ClusterFirst", "dnsPolicy")
	fill(spec, tree{}, "securityContext")
	fill(spec, "default-scheduler", "schedulerName")
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range items(spec, list) {
			c, ok := c.(tree)
			if !ok {
				continue
			}
			fill(c, pullPolicy(str(c, "image")), "imagePullPolicy")
			fill(c, tree{}, "resources")
			fill(c, "/dev/termination-log", "terminationMessagePath")
			fill(c, "File", "terminationMessagePolicy")
			for _, p := range items(c, "ports") {
				if m, ok := p.(tree); ok {
					fill(m, "TCP", "protocol")
				}
			}
			for _, probe := range []string{"readinessProbe", "livenessProbe", "startupProbe"} {
				if p := dict(c, probe); p != nil {
					for k, v := range map[string]int64{"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3} {
						fill(p, v, k)
					}
				}
			}
		}
	}
}

// pullPolicy is the default one: Always for :latest or no tag, IfNotPresent otherwise.
// Source: https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting
func pullPolicy(image string) string {
	if _, tag, digest := splitImage(image); tag == "latest" && digest == "" {
		return "Always"
	}
	return "IfNotPresent"
}

// splitImage takes a reference apart; the tag is "latest" where there is neither tag nor digest.
func splitImage(ref string) (repo, tag, digest string) {
	repo, digest, _ = strings.Cut(ref, "@")
	if i := strings.LastIndex(repo, ":"); i > strings.LastIndex(repo, "/") {
		repo, tag = repo[:i], repo[i+1:]
	}
	if tag == "" && digest == "" {
		tag = "latest"
	}
	return repo, tag, digest
}

// validate refuses what a real API server refuses, as far as it matters here.
func validate(r *resource, o, old tree) error {
	name := str(o, "metadata", "name")
	var c []cause
	rule, re, limit := nameRule, dnsName, 253
	if r == namespaces {
		rule, re, limit = labelRule, dnsLabel, 63
	}
	if !re().MatchString(name) {
		c = append(c, invalidValue("metadata.name", name, rule))
	} else if len(name) > limit {
		c = append(c, invalidValue("metadata.name", name, fmt.Sprintf("must be no more than %d bytes", limit)))
	}
	c = append(c, validateLabels(dict(o, "metadata", "labels"), "metadata.labels")...)
	c = append(c, validateAnnotations(dict(o, "metadata", "annotations"), "metadata.annotations")...)
	spec := dict(o, "spec")
	switch r {
	case configMaps:
		return validateConfigMap(name, o, old, c)
	case pods:
		c = append(c, validatePod(spec, "spec", []string{"Always", "OnFailure", "Never"})...)
		if old != nil && len(c) == 0 && !samePod(spec, dict(old, "spec")) {
			c = append(c, forbiddenField("spec", "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
		}
	case deployments, replicaSets, statefulSet, daemonSets:
		c = append(c, validateWorkload(r, spec, dict(old, "spec"))...)
	case jobs:
		c = append(c, validatePod(dict(spec, "template", "spec"), "spec.template.spec", []string{"OnFailure", "Never"})...)
		if old != nil && !equal(get(o, "spec", "template"), get(old, "spec", "template")) {
			c = append(c, invalidValue("spec.template", get(o, "spec", "template"), "field is immutable"))
		}
	case cronJobs:
		if str(spec, "schedule") == "" {
			c = append(c, required("spec.schedule", ""))
		}
		c = append(c, validatePod(dict(spec, "jobTemplate", "spec", "template", "spec"), "spec.jobTemplate.spec.template.spec", []string{"OnFailure", "Never"})...)
	}
	if len(c) > 0 {
		return invalid(r, name, c)
	}
	return nil
}

func validateLabels(m tree, field string) (c []cause) {
	for k, v := range m {
		s, _ := v.(string)
		if !labelKey().MatchString(k) {
			c = append(c, invalidValue(field, k, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"))
		}
		if len(s) > 63 {
			c = append(c, invalidValue(field, s, "must be no more than 63 bytes"))
		} else if !labelVal().MatchString(s) {
			c = append(c, invalidValue(field, s, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"))
		}
	}
	return c
}

func validateAnnotations(m tree, field string) (c []cause) {
	total := 0
	for k, v := range m {
		s, _ := v.(string)
		total += len(k) + len(s)
		if !labelKey().MatchString(strings.ToLower(k)) {
			c = append(c, invalidValue(field, k, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"))
		}
	}
	if total > 256<<10 {
		c = append(c, cause{"FieldValueTooLong", field, fmt.Sprintf("Too long: may not be more than %d bytes", 256<<10)})
	}
	return c
}

func validateConfigMap(name string, o, old tree, c []cause) error {
	size := 0
	for _, field := range []string{"data", "binaryData"} {
		for k, v := range dict(o, field) {
			s, _ := v.(string)
			size += len(s)
			if !configKey().MatchString(k) || len(k) > 253 {
				c = append(c, invalidValue(field+"["+k+"]", k, "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"))
			}
		}
	}
	if size > 1<<20 {
		c = append(c, cause{"FieldValueTooLong", "[]", "Too long: may not be more than 1048576 bytes"})
	}
	if truth(old, "immutable") {
		if !truth(o, "immutable") {
			c = append(c, forbiddenField("immutable", "field is immutable when `immutable` is set"))
		}
		if !equal(o["data"], old["data"]) {
			c = append(c, forbiddenField("data", "field is immutable when `immutable` is set"))
		}
	}
	if len(c) > 0 {
		return invalid(configMaps, name, c)
	}
	return nil
}

func validateWorkload(r *resource, spec, old tree) (c []cause) {
	labels := dict(spec, "template", "metadata", "labels")
	sel := dict(spec, "selector")
	switch {
	case sel == nil:
		c = append(c, required("spec.selector", ""))
	case len(podSelector(sel)) == 0:
		c = append(c, invalidValue("spec.selector", sel, "empty selector is invalid for "+r.singular))
	case !selects(podSelector(sel), labels):
		c = append(c, invalidValue("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
	}
	if old != nil && !equal(sel, dict(old, "selector")) {
		c = append(c, invalidValue("spec.selector", sel, "field is immutable"))
	}
	if num(spec, "replicas") < 0 {
		c = append(c, invalidValue("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
	}
	c = append(c, validateLabels(labels, "spec.template.metadata.labels")...)
	c = append(c, validateAnnotations(dict(spec, "template", "metadata", "annotations"), "spec.template.annotations")...)
	c = append(c, validatePod(dict(spec, "template", "spec"), "spec.template.spec", []string{"Always"})...)
	switch r {
	case deployments:
		switch t := str(spec, "strategy", "type"); t {
		case "Recreate":
			if has(spec, "strategy", "rollingUpdate") {
				c = append(c, forbiddenField("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"))
			}
		case "RollingUpdate":
			surge, err1 := share(get(spec, "strategy", "rollingUpdate", "maxSurge"), 100, true)
			gone, err2 := share(get(spec, "strategy", "rollingUpdate", "maxUnavailable"), 100, false)
			if err1 != nil || err2 != nil {
				c = append(c, invalidValue("spec.strategy.rollingUpdate", get(spec, "strategy", "rollingUpdate"), "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"))
			} else if surge == 0 && gone == 0 {
				c = append(c, invalidValue("spec.strategy.rollingUpdate.maxUnavailable", int64(0), "may not be 0 when `maxSurge` is 0"))
			}
		default:
			c = append(c, notSupported("spec.strategy.type", t, "Recreate", "RollingUpdate"))
		}
		if d := num(spec, "progressDeadlineSeconds"); d <= num(spec, "minReadySeconds") {
			c = append(c, invalidValue("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], "must be greater than minReadySeconds"))
		}
	case statefulSet:
		if t := str(spec, "podManagementPolicy"); t != "OrderedReady" && t != "Parallel" {
			c = append(c, invalidValue("spec.podManagementPolicy", t, "must be 'OrderedReady' or 'Parallel'"))
		}
		if t := str(spec, "updateStrategy", "type"); t != "RollingUpdate" && t != "OnDelete" {
			c = append(c, invalidValue("spec.updateStrategy", t, "must be 'RollingUpdate' or 'OnDelete'"))
		}
		if old != nil && len(c) == 0 {
			a, b := copyTree(spec), copyTree(old)
			for _, k := range []string{"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"} {
				delete(a, k)
				delete(b, k)
			}
			if !equal(a, b) {
				c = append(c, forbiddenField("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
			}
		}
	case daemonSets:
		if t := str(spec, "updateStrategy", "type"); t != "RollingUpdate" && t != "OnDelete" {
			c = append(c, notSupported("spec.updateStrategy.type", t, "OnDelete", "RollingUpdate"))
		}
	}
	return c
}

func validatePod(spec tree, field string, restart []string) (c []cause) {
	containers := items(spec, "containers")
	if len(containers) == 0 {
		c = append(c, required(field+".containers", ""))
	}
	seen := map[string]bool{}
	for _, list := range []string{"initContainers", "containers"} {
		for i, x := range items(spec, list) {
			at := fmt.Sprintf("%s.%s[%d]", field, list, i)
			name := str(x, "name")
			switch {
			case name == "":
				c = append(c, required(at+".name", ""))
			case !dnsLabel().MatchString(name):
				c = append(c, invalidValue(at+".name", name, labelRule))
			case seen[name]:
				c = append(c, cause{"FieldValueDuplicate", at + ".name", fmt.Sprintf("Duplicate value: %q", name)})
			}
			seen[name] = true
			if str(x, "image") == "" {
				c = append(c, required(at+".image", ""))
			}
			if p := str(x, "imagePullPolicy"); !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, p) {
				c = append(c, notSupported(at+".imagePullPolicy", p, "Always", "IfNotPresent", "Never"))
			}
			if p := str(x, "restartPolicy"); p != "" && (list == "containers" || p != "Always") {
				c = append(c, notSupported(at+".restartPolicy", p, "Always"))
			}
		}
	}
	if p := str(spec, "restartPolicy"); !slices.Contains(restart, p) {
		c = append(c, notSupported(field+".restartPolicy", p, slices.Clone(restart)...))
	}
	return c
}

// samePod tells whether two pod specs differ only where a running pod may be changed.
func samePod(a, b tree) bool {
	a, b = copyTree(a), copyTree(b)
	for _, s := range []tree{a, b} {
		for _, k := range []string{"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"} {
			delete(s, k)
		}
		for _, list := range []string{"initContainers", "containers"} {
			for _, x := range items(s, list) {
				delete(x.(tree), "image")
			}
		}
	}
	return equal(a, b)
}

// share is an absolute number or a percentage of total, rounded up or down.
// Source: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/intstr/intstr.go
func share(v any, total int, up bool) (int, error) {
	switch v := v.(type) {
	case int64:
		return int(v), nil
	case string:
		p, err := strconv.Atoi(strings.TrimSuffix(v, "%"))
		if err != nil || !strings.HasSuffix(v, "%") || p < 0 {
			return 0, fmt.Errorf("invalid value for IntOrString: %q", v)
		}
		if up {
			return (p*total + 99) / 100, nil
		}
		return p * total / 100, nil
	case nil:
		return 0, nil
	}
	return 0, fmt.Errorf("invalid value for IntOrString: %v", v)
}

func newNamespace(name string) tree {
	o := tree{"metadata": tree{"name": name}}
	defaults(namespaces, o)
	return o
}

func newNode(name string, i int) tree {
	room := tree{"cpu": "960", "memory": "4000Gi", "pods": "110k", "ephemeral-storage": "1000Gi"} // in canonical form
	return tree{
		"metadata": tree{"name": name, "labels": tree{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}},
		"spec":     tree{},
		"status": tree{
			"capacity": room, "allocatable": clone(room),
			"addresses":  []any{tree{"type": "InternalIP", "address": fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)}, tree{"type": "Hostname", "address": name}},
			"conditions": []any{tree{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}},
			"nodeInfo":   tree{"architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": Version, "containerRuntimeVersion": "containerd://2.1.4"},
		},
	}
}
