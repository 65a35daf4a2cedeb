package kube

// The rights that the program needs, said once: `permissions` prints them, `doctor` asks for them.

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Act is something the program does to a cluster; commands are made of acts.
type Act string

const (
	ActSurvey   Act = "survey"   // look at what runs
	ActRestart  Act = "restart"  // replace the pods of workloads
	ActWait     Act = "wait"     // follow the rollout and prove it
	ActDiagnose Act = "diagnose" // say why a pod does not come up
	ActRecord   Act = "record"   // keep record, lock and freeze
	ActRecords  Act = "records"  // read the records of all services
	ActIdentify Act = "identify" // tell which cluster this is
)

// Rule is one RBAC rule, with what it is for.
type Rule struct {
	Act      Act      `json:"act"`
	Group    string   `json:"group"` // "" is the core group
	Resource string   `json:"resource"`
	Verbs    []string `json:"verbs"`
	// Names are the only objects it is about; none means all. "{namespace}" stands for the namespace's own name.
	Names []string `json:"names,omitempty"`
	// Cluster is set for what a Role in the namespace can't give: it takes a ClusterRole, or a Role elsewhere.
	Cluster bool   `json:"cluster,omitempty"`
	Why     string `json:"why"`
	// Optional rules can be left out; Why then ends with what is lost.
	Optional bool `json:"optional,omitempty"`
}

// Rules returns the rights for the given acts (all without any), in the order in which they are used. Nothing else is asked of
// the API server but reviews of our own identity and rights, which every authenticated user may ask for.
func Rules(acts ...Act) []Rule {
	all := []Rule{
		{Act: ActIdentify, Resource: "namespaces", Verbs: []string{"get"}, Names: []string{"kube-system"}, Cluster: true, Optional: true,
			Why: "the UID of kube-system tells clusters apart; without it only the server's URL is compared"},
		{Act: ActSurvey, Resource: "namespaces", Verbs: []string{"get"}, Names: []string{"{namespace}"}, Optional: true,
			Why: "tell a namespace that does not exist from an empty one; without it they look the same"},
		{Act: ActSurvey, Group: "apps", Resource: "deployments", Verbs: []string{"list"}, Why: "find the workloads that use the image"},
		{Act: ActSurvey, Group: "apps", Resource: "statefulsets", Verbs: []string{"list"}, Why: "find the workloads that use the image"},
		{Act: ActSurvey, Group: "apps", Resource: "daemonsets", Verbs: []string{"list"}, Why: "find the workloads that use the image"},
		{Act: ActSurvey, Resource: "pods", Verbs: []string{"list"}, Why: "read the digests that run"},
		{Act: ActSurvey, Group: "apps", Resource: "replicasets", Verbs: []string{"list"}, Optional: true,
			Why: "tell a Deployment's pods from a Rollout's for certain; without it the pods' labels decide"},
		{Act: ActSurvey, Group: "batch", Resource: "cronjobs", Verbs: []string{"list"}, Optional: true,
			Why: "name the CronJobs that use the image; without it they are not mentioned"},
		{Act: ActSurvey, Group: "batch", Resource: "jobs", Verbs: []string{"list"}, Optional: true,
			Why: "name the Jobs that use the image; without it they are not mentioned"},
		{Act: ActSurvey, Resource: "configmaps", Verbs: []string{"list"}, Optional: true,
			Why: "warn when configuration changed after the target was built; without it there is no warning"},
		{Act: ActRestart, Group: "apps", Resource: "deployments", Verbs: []string{"patch"}, Why: "restart by an annotation of the pod template"},
		{Act: ActRestart, Group: "apps", Resource: "statefulsets", Verbs: []string{"patch"}, Why: "restart by an annotation of the pod template"},
		{Act: ActRestart, Group: "apps", Resource: "daemonsets", Verbs: []string{"patch"}, Why: "restart by an annotation of the pod template"},
		{Act: ActWait, Group: "apps", Resource: "deployments", Verbs: []string{"get", "list"}, Why: "follow the rollout"},
		{Act: ActWait, Group: "apps", Resource: "statefulsets", Verbs: []string{"get", "list"}, Why: "follow the rollout"},
		{Act: ActWait, Group: "apps", Resource: "daemonsets", Verbs: []string{"get", "list"}, Why: "follow the rollout"},
		{Act: ActWait, Resource: "pods", Verbs: []string{"list"}, Why: "prove the digests that run"},
		{Act: ActWait, Group: "apps", Resource: "deployments", Verbs: []string{"watch"}, Optional: true, Why: "notice changes at once; without it at the next poll"},
		{Act: ActWait, Group: "apps", Resource: "statefulsets", Verbs: []string{"watch"}, Optional: true, Why: "notice changes at once; without it at the next poll"},
		{Act: ActWait, Group: "apps", Resource: "daemonsets", Verbs: []string{"watch"}, Optional: true, Why: "notice changes at once; without it at the next poll"},
		{Act: ActWait, Resource: "pods", Verbs: []string{"watch"}, Optional: true, Why: "notice changes at once; without it at the next poll"},
		{Act: ActDiagnose, Resource: "pods", Verbs: []string{"get"}, Optional: true, Why: "tell a pod from its predecessor of the same name; without it the events of both are shown"},
		{Act: ActDiagnose, Resource: "events", Verbs: []string{"list"}, Optional: true, Why: "say why a pod does not start; without it only its status is known"},
		{Act: ActDiagnose, Resource: "pods/log", Verbs: []string{"get"}, Optional: true, Why: "show the last lines of a container that crashes; without it there are none"},
		{Act: ActRecords, Resource: "configmaps", Verbs: []string{"list"}, Optional: true,
			Why: "tell of every service where its last rollback stands; without it status names no rollbacks"},
		{Act: ActRecord, Resource: "configmaps", Verbs: []string{"get", "create", "update"},
			Why: "keep the record with its lock and freeze; without it only --no-record works"},
	}
	if len(acts) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(r Rule) bool { return !slices.Contains(acts, r.Act) })
}

// Access is a rule and what is missing of it.
type Access struct {
	Rule Rule
	// Missing are the verbs that are not allowed, none if all are.
	Missing []string
	// Reason is what the authorizer said about the first of them, often "".
	Reason string
}

// Can asks the API server which of the rules we have in the namespace: one question for each verb and name, all at once.
func (c *Cluster) Can(ctx context.Context, namespace string, rules []Rule) ([]Access, error) {
	answers := make([]Access, len(rules))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	type verdict struct {
		allowed bool
		reason  string
	}
	verdicts := make([][]verdict, len(rules)) // by verb
	for i, rule := range rules {
		names := rule.Names
		if len(names) == 0 {
			names = []string{""}
		}
		answers[i].Rule = rule
		verdicts[i] = make([]verdict, len(rule.Verbs)*len(names))
		for v, verb := range rule.Verbs {
			for n, name := range names {
				g.Go(func() (err error) {
					to := &verdicts[i][v*len(names)+n]
					to.allowed, to.reason, err = c.review(gctx, namespace, rule, verb, name)
					return err
				})
			}
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, rule := range rules {
		each := len(verdicts[i]) / max(1, len(rule.Verbs))
		for v, verb := range rule.Verbs {
			for _, got := range verdicts[i][v*each : (v+1)*each] {
				if got.allowed {
					continue
				}
				if len(answers[i].Missing) == 0 {
					answers[i].Reason = oneLine(got.reason)
				}
				answers[i].Missing = append(answers[i].Missing, verb)
				break
			}
		}
	}
	return answers, nil
}

// Missing asks the API server which of the rights we do not have in the namespace: one question for each, all at once.
func (c *Cluster) Missing(ctx context.Context, namespace string, rights ...rollback.Right) ([]rollback.Right, error) {
	allowed := make([]bool, len(rights))
	g, gctx := rollback.NewWave(ctx)
	for i, r := range rights {
		k, ok := kindNamed(r.Kind, []kind{deployments, statefulSets, daemonSets, configMaps})
		if !ok {
			return nil, fmt.Errorf("kubernetes: no right is known to %s", r)
		}
		g.Go(func() (err error) {
			allowed[i], _, err = c.review(gctx, namespace, Rule{Group: k.gvr.Group, Resource: k.gvr.Resource}, r.Verb, r.Name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var missing []rollback.Right
	for i, r := range rights {
		if !allowed[i] {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

func (c *Cluster) review(ctx context.Context, namespace string, rule Rule, verb, name string) (bool, string, error) {
	resource, sub := rule.Resource, ""
	for i := range resource {
		if resource[i] == '/' {
			resource, sub = resource[:i], resource[i+1:]
			break
		}
	}
	if name == "{namespace}" {
		name = namespace
	}
	in := namespace
	if rule.Cluster {
		in = ""
	}
	if resource == "namespaces" { // a namespace lies in itself
		in = name
	}
	attributes := map[string]any{"group": rule.Group, "resource": resource, "verb": verb}
	for key, value := range map[string]string{"namespace": in, "name": name, "subresource": sub} {
		if value != "" {
			attributes[key] = value
		}
	}
	ask := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": map[string]any{},
		"spec": map[string]any{"resourceAttributes": attributes},
	}}
	var got *unstructured.Unstructured
	err := c.call(ctx, request{verb: "create", kind: accessReviews}, func(ctx context.Context) (err error) {
		got, err = c.dynamic.Resource(accessReviews.gvr).Create(ctx, ask, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return false, "", err
	}
	allowed, _, _ := unstructured.NestedBool(got.Object, "status", "allowed")
	reason, _, _ := unstructured.NestedString(got.Object, "status", "reason")
	return allowed, reason, nil
}
