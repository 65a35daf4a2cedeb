package kube

// The resources this API server knows, and their discovery documents.

import (
	"slices"
	"strings"
)

type resource struct {
	group, version, plural, singular, kind string
	namespaced                             bool
	short                                  []string
	verbs                                  []string
	status                                 bool // has a status subresource
	generation                             bool // metadata.generation counts the changes of spec
	subs                                   []subresource
	custom                                 bool // a custom resource: list items name their kind
}

type subresource struct {
	name, group, version, kind string
	verbs                      []string
}

var (
	allVerbs    = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	statusVerbs = []string{"get", "patch", "update"}
	scaleSub    = subresource{"scale", "autoscaling", "v1", "Scale", statusVerbs}
)

// index of well-known resources; the order is that of discovery.
var (
	configMaps  = &resource{version: "v1", plural: "configmaps", singular: "configmap", kind: "ConfigMap", namespaced: true, short: []string{"cm"}, verbs: allVerbs}
	events      = &resource{version: "v1", plural: "events", singular: "event", kind: "Event", namespaced: true, short: []string{"ev"}, verbs: allVerbs}
	namespaces  = &resource{version: "v1", plural: "namespaces", singular: "namespace", kind: "Namespace", short: []string{"ns"}, verbs: without(allVerbs, "deletecollection"), status: true}
	nodes       = &resource{version: "v1", plural: "nodes", singular: "node", kind: "Node", short: []string{"no"}, verbs: allVerbs, status: true}
	pods        = &resource{version: "v1", plural: "pods", singular: "pod", kind: "Pod", namespaced: true, short: []string{"po"}, verbs: allVerbs, status: true, generation: true, subs: []subresource{{"log", "", "v1", "Pod", []string{"get"}}, {"eviction", "policy", "v1", "Eviction", []string{"create"}}}}
	revisions   = &resource{group: "apps", version: "v1", plural: "controllerrevisions", singular: "controllerrevision", kind: "ControllerRevision", namespaced: true, verbs: allVerbs}
	daemonSets  = &resource{group: "apps", version: "v1", plural: "daemonsets", singular: "daemonset", kind: "DaemonSet", namespaced: true, short: []string{"ds"}, verbs: allVerbs, status: true, generation: true}
	deployments = &resource{group: "apps", version: "v1", plural: "deployments", singular: "deployment", kind: "Deployment", namespaced: true, short: []string{"deploy"}, verbs: allVerbs, status: true, generation: true, subs: []subresource{scaleSub}}
	replicaSets = &resource{group: "apps", version: "v1", plural: "replicasets", singular: "replicaset", kind: "ReplicaSet", namespaced: true, short: []string{"rs"}, verbs: allVerbs, status: true, generation: true, subs: []subresource{scaleSub}}
	statefulSet = &resource{group: "apps", version: "v1", plural: "statefulsets", singular: "statefulset", kind: "StatefulSet", namespaced: true, short: []string{"sts"}, verbs: allVerbs, status: true, generation: true, subs: []subresource{scaleSub}}
	cronJobs    = &resource{group: "batch", version: "v1", plural: "cronjobs", singular: "cronjob", kind: "CronJob", namespaced: true, short: []string{"cj"}, verbs: allVerbs, status: true, generation: true}
	jobs        = &resource{group: "batch", version: "v1", plural: "jobs", singular: "job", kind: "Job", namespaced: true, verbs: allVerbs, status: true, generation: true}
	rollouts    = &resource{group: "argoproj.io", version: "v1alpha1", plural: "rollouts", singular: "rollout", kind: "Rollout", namespaced: true, short: []string{"ro"}, verbs: allVerbs, status: true, generation: true, custom: true}
	selfReviews = &resource{group: "authentication.k8s.io", version: "v1", plural: "selfsubjectreviews", kind: "SelfSubjectReview", verbs: []string{"create"}}
	accessRevs  = &resource{group: "authorization.k8s.io", version: "v1", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", verbs: []string{"create"}}
)

func without(l []string, drop string) []string {
	return slices.DeleteFunc(slices.Clone(l), func(s string) bool { return s == drop })
}

func (r *resource) apiVersion() string {
	if r.group == "" {
		return r.version
	}
	return r.group + "/" + r.version
}

// qualified is the name in messages: "pods", "deployments.apps".
func (r *resource) qualified() string {
	if r.group == "" {
		return r.plural
	}
	return r.plural + "." + r.group
}

// qualifiedKind is the kind in validation messages: "Pod", "Deployment.apps".
func (r *resource) qualifiedKind() string {
	if r.group == "" {
		return r.kind
	}
	return r.kind + "." + r.group
}

func (r *resource) sub(name string) *subresource {
	if name == "status" && r.status {
		return &subresource{"status", r.group, r.version, r.kind, statusVerbs}
	}
	for i := range r.subs {
		if r.subs[i].name == name {
			return &r.subs[i]
		}
	}
	return nil
}

func (s *Server) byPath(group, version, plural string) *resource {
	for _, r := range s.resources {
		if r.group == group && r.version == version && r.plural == plural {
			return r
		}
	}
	return nil
}

func (s *Server) byKind(apiVersion, kind string) *resource {
	for _, r := range s.resources {
		if r.apiVersion() == apiVersion && r.kind == kind {
			return r
		}
	}
	return nil
}

// byName finds a resource by what people type: plural, singular, kind or short name.
func (s *Server) byName(name string) *resource {
	for _, r := range s.resources {
		if name == r.plural || name == r.singular || strings.EqualFold(name, r.kind) || slices.Contains(r.short, name) || name == r.qualified() {
			return r
		}
	}
	return nil
}

// discovery answers /api, /apis and the group versions below them; nil if the path is none of these.
func (s *Server) discovery(path string) any {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case path == "/api" || path == "/api/":
		return tree{"kind": "APIVersions", "versions": []any{"v1"}, "serverAddressByClientCIDRs": []any{tree{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}}}
	case path == "/apis" || path == "/apis/":
		var groups []any
		seen := map[string]bool{"": true}
		for _, r := range s.resources {
			if !seen[r.group] {
				seen[r.group] = true
				groups = append(groups, groupDoc(r))
			}
		}
		return tree{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
	case len(parts) == 2 && parts[0] == "apis":
		for _, r := range s.resources {
			if r.group == parts[1] {
				g := groupDoc(r)
				g["kind"], g["apiVersion"] = "APIGroup", "v1"
				return g
			}
		}
	case len(parts) == 2 && parts[0] == "api":
		return s.resourceList("", parts[1])
	case len(parts) == 3 && parts[0] == "apis":
		return s.resourceList(parts[1], parts[2])
	}
	return nil
}

func groupDoc(r *resource) tree {
	v := tree{"groupVersion": r.apiVersion(), "version": r.version}
	return tree{"name": r.group, "versions": []any{v}, "preferredVersion": v}
}

func (s *Server) resourceList(group, version string) any {
	var list []any
	for _, r := range s.resources {
		if r.group != group || r.version != version {
			continue
		}
		d := tree{"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": anys(r.verbs)}
		if r.short != nil {
			d["shortNames"] = anys(r.short)
		}
		if r == pods || r == deployments || r == replicaSets || r == statefulSet || r == daemonSets || r == jobs || r == cronJobs {
			d["categories"] = []any{"all"}
		}
		list = append(list, d)
		subs := r.subs
		if r.status {
			subs = append(slices.Clone(subs), *r.sub("status"))
		}
		for _, sub := range subs {
			d := tree{"name": r.plural + "/" + sub.name, "singularName": "", "namespaced": r.namespaced, "kind": sub.kind, "verbs": anys(sub.verbs)}
			if sub.group != r.group {
				d["group"], d["version"] = sub.group, sub.version
			}
			list = append(list, d)
		}
	}
	if list == nil {
		return nil
	}
	gv := version
	if group != "" {
		gv = group + "/" + version
	}
	return tree{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": list}
}
