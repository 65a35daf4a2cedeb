package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/rollback-tools/rollback/internal/fake"
)

const inProd = "/api/v1/namespaces/prod/"

// Every error is a Status with the code, reason and words of a real API server.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := New(Options{Namespaces: []string{"prod"}, Users: []User{{Token: "bob", Name: "bob", Rules: []Rule{
		{Namespaces: []string{"prod"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}, ResourceNames: []string{"payments"}, Verbs: []string{"get", "patch"}},
	}}}})
	t.Cleanup(s.Close)
	must(t, s.Apply(NewConfigMap("prod", "settings", map[string]string{"a": "1"}), NewDeployment("prod", "payments", image, 0), Set(NewConfigMap("prod", "fixed", nil), true, "immutable")))
	admin, bob := "Bearer "+AdminToken, "Bearer bob"
	for _, c := range []struct {
		who, method, path, body string
		code                    int
		reason, message         string
	}{
		{"", "GET", inProd + "pods", "", 401, "Unauthorized", "Unauthorized"},
		{"Bearer stale", "GET", inProd + "pods", "", 401, "Unauthorized", "Unauthorized"},
		{bob, "GET", inProd + "pods", "", 403, "Forbidden", `pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "prod"`},
		{bob, "GET", "/apis/apps/v1/deployments", "", 403, "Forbidden", `deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope`},
		{bob, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/web", "{}", 403, "Forbidden", `deployments.apps "web" is forbidden: User "bob" cannot patch resource "deployments" in API group "apps" in the namespace "prod"`},
		{bob, "GET", "/api/v1/namespaces/kube-system", "", 403, "Forbidden", `namespaces "kube-system" is forbidden: User "bob" cannot get resource "namespaces" in API group "" in the namespace "kube-system"`},
		{bob, "GET", inProd + "pods/web-0/log", "", 403, "Forbidden", `pods "web-0" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "prod"`},
		{admin, "GET", inProd + "pods/web", "", 404, "NotFound", `pods "web" not found`},
		{admin, "GET", "/apis/apps/v1/namespaces/prod/deployments/web", "", 404, "NotFound", `deployments.apps "web" not found`},
		{admin, "POST", "/api/v1/namespaces/nowhere/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, 404, "NotFound", `namespaces "nowhere" not found`},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"}}`, 409, "AlreadyExists", `configmaps "settings" already exists`},
		{admin, "PUT", inProd + "configmaps/settings", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","resourceVersion":"1"}}`, 409, "Conflict", `Operation cannot be fulfilled on configmaps "settings": the object has been modified; please apply your changes to the latest version and try again`},
		{admin, "PUT", inProd + "configmaps/settings", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`, 400, "BadRequest", `the name of the object (other) does not match the name on the URL (settings)`},
		{admin, "PUT", inProd + "configmaps/nothing", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"nothing"}}`, 404, "NotFound", `configmaps "nothing" not found`},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Bad_Name"}}`, 422, "Invalid", `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": ` + nameRule},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"7"}}`, 400, "BadRequest", "resourceVersion should not be set on objects to be created"},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"n":1}}`, 400, "BadRequest", "cannot unmarshal number into Go struct field ConfigMap.data of type string"},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a b":"1"}}`, 422, "Invalid", "a valid config key must consist of"},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"` + strings.Repeat("x", 1<<20+1) + `"}}`, 422, "Invalid", "Too long: may not be more than 1048576 bytes"},
		{admin, "POST", inProd + "configmaps", strings.Repeat(" ", 3<<20+1), 413, "RequestEntityTooLarge", "limit is 3145728"},
		{admin, "POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`, 400, "BadRequest", "cannot be handled as a ConfigMap"},
		{admin, "POST", inProd + "configmaps", `{`, 400, "BadRequest", "json parse error"},
		{admin, "PUT", inProd + "configmaps/fixed", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"fixed"},"immutable":true,"data":{"a":"1"}}`, 422, "Invalid", "data: Forbidden: field is immutable when `immutable` is set"},
		{admin, "POST", "/apis/apps/v1/namespaces/prod/deployments", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}`, 422, "Invalid", "`selector` does not match template `labels`"},
		{admin, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"spec":{"template":{"spec":{"containers":null}}}}`, 422, "Invalid", `Deployment.apps "payments" is invalid: spec.template.spec.containers: Required value`},
		{admin, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"spec":{"selector":{"matchLabels":{"x":"y"}},"template":{"metadata":{"labels":{"x":"y"}}}}}`, 422, "Invalid", "field is immutable"},
		{admin, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"metadata":{"resourceVersion":"1"}}`, 409, "Conflict", `Operation cannot be fulfilled on deployments.apps "payments": ` + modified},
		{admin, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"spec":`, 400, "BadRequest", "error decoding patch"},
		{admin, "GET", inProd + "pods?labelSelector=a%20b", "", 400, "BadRequest", "unable to parse requirement"},
		{admin, "GET", inProd + "pods?fieldSelector=spec.replicas%3D1", "", 400, "BadRequest", "field label not supported: spec.replicas"},
		{admin, "GET", inProd + "pods?continue=nonsense", "", 410, "Expired", "The provided continue parameter is too old"},
		{admin, "GET", inProd + "pods?resourceVersion=99999999", "", 504, "Timeout", "Too large resource version"},
		{admin, "DELETE", inProd + "configmaps/settings", `{"preconditions":{"uid":"other"}}`, 409, "Conflict", "Precondition failed: UID in precondition: other"},
		{admin, "POST", inProd + "pods/web/eviction", "", 400, "BadRequest", ""},
	} {
		h := []string{"Authorization", c.who}
		if c.who == "" {
			h = nil
		}
		if c.method == "PATCH" {
			h = append(h, "Content-Type", "application/merge-patch+json")
		}
		code, body := ask(s, c.method, c.path, c.body, h...)
		var st metav1.Status
		if err := json.Unmarshal([]byte(body), &st); err != nil {
			t.Errorf("%s %s: %v in %s", c.method, c.path, err, body)
			continue
		}
		if code != c.code || int(st.Code) != c.code || string(st.Reason) != c.reason || st.Status != "Failure" || st.Kind != "Status" || !strings.Contains(st.Message, c.message) {
			t.Errorf("%s %s: %d %s %q, want %d %s %q", c.method, c.path, code, st.Reason, st.Message, c.code, c.reason, c.message)
		}
	}
	if r := s.Refused(); len(r) > 0 {
		t.Errorf("these are errors of a real server, too, but were noted as unknown: %q", r)
	}
	if code, _ := ask(s, "PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", "{}", "Authorization", bob, "Content-Type", "application/merge-patch+json"); code != 200 {
		t.Errorf("what bob may do: %d", code)
	}
	s.Revoke("bob")
	if code, _ := ask(s, "GET", "/version", "", "Authorization", bob); code != 401 {
		t.Errorf("after revocation: %d", code)
	}
	s.SetUser(User{Token: "bob", Name: "bob", Admin: true})
	if code, _ := ask(s, "GET", inProd+"pods", "", "Authorization", bob); code != 200 {
		t.Errorf("as administrator: %d", code)
	}
}

// What the server does not know it refuses, and remembers.
func TestUnknownThingsAreNoted(t *testing.T) {
	t.Parallel()
	s := New(Options{Namespaces: []string{"prod"}})
	t.Cleanup(s.Close)
	must(t, s.Apply(NewDeployment("prod", "payments", image, 0), NewDaemonSet("prod", "agent", image), NewStatefulSet("prod", "db", image, 0)))
	dep := "/apis/apps/v1/namespaces/prod/deployments/payments"
	for _, c := range []struct {
		method, path, body, media string
		code                      int
	}{
		{"GET", "/api/v1/namespaces/prod/secrets", "", "", 404},
		{"GET", "/apis/policy/v1/poddisruptionbudgets", "", "", 404},
		{"GET", "/metrics", "", "", 404},
		{"POST", "/version", "", "", 405},
		{"GET", inProd + "pods/web/portforward", "", "", 404},
		{"GET", inProd + "pods?wacth=true", "", "", 400},
		{"GET", inProd + "pods?resourceVersionMatch=Exact&resourceVersion=1", "", "", 400},
		{"PATCH", dep, `{"spec":{"template":{"metdata":{}}}}`, "application/merge-patch+json", 400},
		{"PATCH", dep, `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"b","imagePullPolice":"Always"}]}}}}`, "application/merge-patch+json", 400},
		{"PATCH", dep, `a: b`, "application/apply-patch+yaml", 415},
		{"PATCH", dep, `{}`, "application/json", 415},
		{"PATCH", dep, `{"$deleteFromPrimitiveList/x":[]}`, "application/strategic-merge-patch+json", 400},
		{"PATCH", dep, `[{"op":"move","path":"/a"}]`, "application/json-patch+json", 400},
		{"POST", inProd + "configmaps", "a: b", "application/yaml", 415},
		{"DELETE", dep + "?propagationPolicy=Foreground", "", "", 400},
		{"PATCH", dep, `{"spec":{"template":{"spec":{"affinity":{"podAffinity":{}}}}}}`, "application/merge-patch+json", 400},
		{"PATCH", "/apis/apps/v1/namespaces/prod/daemonsets/agent", `{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}}`, "application/merge-patch+json", 400},
		{"PATCH", "/apis/apps/v1/namespaces/prod/statefulsets/db", `{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":2}}}}`, "application/merge-patch+json", 400},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","fieldSelector":{}}}}`, "application/json", 400},
	} {
		before := len(s.Refused())
		var h []string
		if c.media != "" {
			h = []string{"Content-Type", c.media}
		}
		code, body := ask(s, c.method, c.path, c.body, h...)
		if code != c.code || !strings.Contains(body, `"kind":"Status"`) {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, body, c.code)
		}
		if len(s.Refused()) != before+1 {
			t.Errorf("%s %s was not noted", c.method, c.path)
		}
	}
	if code, _ := ask(s, "GET", inProd+"pods", "", "Accept", "application/vnd.kubernetes.protobuf"); code != 406 {
		t.Errorf("protobuf alone: %d", code)
	}
	if code, _ := ask(s, "PATCH", dep+"?fieldValidation=Strict", `{"spec":{"replica":1}}`, "Content-Type", "application/merge-patch+json"); code != 400 || len(s.Refused()) != 20 {
		t.Errorf("strict validation as asked for: %d, %d noted", code, len(s.Refused()))
	}
	if code, _ := ask(s, "GET", "/openapi/v3", ""); code != 404 || len(s.Refused()) != 20 {
		t.Errorf("openapi: %d", code)
	}
}

func TestSelectorsAndPages(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Namespaces: []string{"test"}})
	c := client(t, s)
	for i := range 25 {
		ns := []string{"prod", "test"}[i%2]
		must(t, s.Apply(Set(NewConfigMap(ns, fmt.Sprintf("cm-%02d", i), nil), tree{"n": fmt.Sprint(i), "app": []string{"web", "api", "db"}[i%3]}, "metadata", "labels")))
	}
	for _, k := range []struct {
		ns   string
		o    metav1.ListOptions
		want int
	}{
		{"", metav1.ListOptions{}, 25},
		{"prod", metav1.ListOptions{}, 13},
		{"nowhere", metav1.ListOptions{}, 0},
		{"", metav1.ListOptions{LabelSelector: "app=web"}, 9},
		{"", metav1.ListOptions{LabelSelector: "app==web,n=3"}, 1},
		{"", metav1.ListOptions{LabelSelector: "app!=web"}, 16},
		{"", metav1.ListOptions{LabelSelector: "app in (web, api)"}, 17},
		{"", metav1.ListOptions{LabelSelector: "app notin (web,api),n"}, 8},
		{"", metav1.ListOptions{LabelSelector: "!app"}, 0},
		{"prod", metav1.ListOptions{FieldSelector: "metadata.name=cm-02"}, 1},
		{"", metav1.ListOptions{FieldSelector: "metadata.namespace!=prod"}, 12},
	} {
		l, err := c.Resource(gvr(configMaps)).Namespace(k.ns).List(ctx(t), k.o)
		must(t, err)
		if len(l.Items) != k.want {
			t.Errorf("%s %+v: %d, want %d", k.ns, k.o, len(l.Items), k.want)
		}
	}
	// Pages show the state of the first, whatever happens between them.
	var got []string
	o := metav1.ListOptions{Limit: 10}
	for page := 0; ; page++ {
		l, err := c.Resource(gvr(configMaps)).List(ctx(t), o)
		must(t, err)
		for _, i := range l.Items {
			got = append(got, i.GetNamespace()+"/"+i.GetName())
		}
		if page == 0 {
			if n := l.GetRemainingItemCount(); n == nil || *n != 15 {
				t.Errorf("remaining %v", n)
			}
			must(t, s.Apply(NewConfigMap("prod", "cm-99", nil)))
			must(t, c.Resource(gvr(configMaps)).Namespace("test").Delete(ctx(t), "cm-23", metav1.DeleteOptions{}))
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			break
		}
	}
	if len(got) != 25 || !slices.IsSorted(got) || !slices.Contains(got, "test/cm-23") || slices.Contains(got, "prod/cm-99") {
		t.Errorf("pages: %v", got)
	}
	l, err := c.Resource(gvr(configMaps)).List(ctx(t), metav1.ListOptions{Limit: 1})
	must(t, err)
	s.Compact()
	if _, err := c.Resource(gvr(configMaps)).List(ctx(t), metav1.ListOptions{Limit: 1, Continue: l.GetContinue()}); !apierrors.IsResourceExpired(err) {
		t.Errorf("after compaction: %v", err)
	}
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	for sel, want := range map[string]int{"spec.nodeName=node-1": 2, "spec.nodeName=": 0, "status.phase!=Running": 0, "status.phase=Running": 2} {
		l, err := c.Resource(gvr(pods)).Namespace("prod").List(ctx(t), metav1.ListOptions{FieldSelector: sel})
		must(t, err)
		if len(l.Items) != want {
			t.Errorf("%s: %d, want %d", sel, len(l.Items), want)
		}
	}
	pod := firstPod(t, s)
	l, err = c.Resource(gvr(events)).Namespace("prod").List(ctx(t), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + str(pod, "metadata", "uid") + ",type=Normal,involvedObject.kind=Pod"})
	must(t, err)
	var reasons []string
	for _, e := range l.Items {
		reasons = append(reasons, str(e.Object, "reason"))
	}
	slices.Sort(reasons)
	if want := []string{"Created", "Pulled", "Pulling", "Scheduled", "Started"}; !slices.Equal(reasons, want) {
		t.Errorf("events %v, want %v", reasons, want)
	}
}

func TestMetadataClientAndDiscovery(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Rollouts: true})
	cfg := serve(t, s)
	settled(t, s, NewDeployment("prod", "payments", image, 2))
	m, err := metadata.NewForConfig(cfg)
	must(t, err)
	l, err := m.Resource(gvr(pods)).Namespace("prod").List(ctx(t), metav1.ListOptions{LabelSelector: "app=payments"})
	must(t, err)
	if len(l.Items) != 2 || l.Items[0].Labels["app"] != "payments" || l.Items[0].UID == "" || l.ResourceVersion == "" {
		t.Errorf("metadata of pods: %+v", l)
	}
	one, err := m.Resource(gvr(deployments)).Namespace("prod").Get(ctx(t), "payments", metav1.GetOptions{})
	must(t, err)
	if one.Generation != 1 || one.Annotations[revisionKey] != "1" {
		t.Errorf("metadata of the deployment: %+v", one)
	}
	patched, err := m.Resource(gvr(deployments)).Namespace("prod").Patch(ctx(t), "payments", types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"money"}}}`), metav1.PatchOptions{})
	must(t, err)
	if patched.Labels["team"] != "money" || patched.Generation != 1 {
		t.Errorf("patched metadata: %+v", patched)
	}
	read := func(path string, into any) {
		t.Helper()
		code, body := ask(s, "GET", path, "")
		if code != 200 {
			t.Fatalf("%s: %d %s", path, code, body)
		}
		must(t, json.Unmarshal([]byte(body), into))
	}
	var version struct{ GitVersion string }
	read("/version", &version)
	if version.GitVersion != Version {
		t.Errorf("version %s", version.GitVersion)
	}
	var core metav1.APIVersions
	read("/api", &core)
	var groups metav1.APIGroupList
	read("/apis", &groups)
	lists := []*metav1.APIResourceList{{}}
	read("/api/"+core.Versions[0], lists[0])
	for _, g := range groups.Groups {
		var one metav1.APIGroup
		read("/apis/"+g.Name, &one)
		l := &metav1.APIResourceList{}
		read("/apis/"+one.PreferredVersion.GroupVersion, l)
		lists = append(lists, l)
	}
	found := map[string]bool{}
	for _, list := range lists {
		for _, r := range list.APIResources {
			found[list.GroupVersion+" "+r.Name] = true
		}
	}
	for _, want := range []string{"v1 pods", "v1 pods/log", "v1 namespaces", "v1 configmaps", "v1 events", "v1 nodes", "apps/v1 deployments", "apps/v1 deployments/scale", "apps/v1 statefulsets/status", "apps/v1 daemonsets", "apps/v1 replicasets", "batch/v1 jobs", "batch/v1 cronjobs", "argoproj.io/v1alpha1 rollouts", "authorization.k8s.io/v1 selfsubjectaccessreviews"} {
		if !found[want] {
			t.Errorf("%s is not discovered", want)
		}
	}
	if code, body := ask(s, "GET", "/readyz", ""); code != 200 || body != "ok" {
		t.Errorf("readyz: %d %s", code, body)
	}
}

func TestRolloutsAreOpaque(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Rollouts: true})
	c := client(t, s).Resource(gvr(rollouts)).Namespace("prod")
	o, err := c.Create(ctx(t), &unstructured.Unstructured{Object: tree{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": tree{"name": "web"}, "spec": tree{"anything": tree{"goes": int64(1)}}}}, metav1.CreateOptions{})
	must(t, err)
	if o.GetGeneration() != 1 {
		t.Errorf("generation %d", o.GetGeneration())
	}
	if _, err := c.Patch(ctx(t), "web", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("strategic patch of a custom resource: %v", err)
	}
	o, err = c.Patch(ctx(t), "web", types.MergePatchType, []byte(`{"spec":{"anything":{"goes":2}}}`), metav1.PatchOptions{})
	must(t, err)
	if o.GetGeneration() != 2 {
		t.Errorf("generation %d", o.GetGeneration())
	}
	o, err = c.Patch(ctx(t), "web", types.MergePatchType, []byte(`{"status":{"phase":"Healthy"}}`), metav1.PatchOptions{}, "status")
	must(t, err)
	if str(o.Object, "status", "phase") != "Healthy" || o.GetGeneration() != 2 {
		t.Errorf("status: %v", o.Object)
	}
	l, err := c.List(ctx(t), metav1.ListOptions{})
	must(t, err)
	if len(l.Items) != 1 || l.Items[0].GetAPIVersion() != "argoproj.io/v1alpha1" {
		t.Errorf("list: %v", l)
	}
}

func TestReviews(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Users: []User{{Token: "bob", Name: "bob@acme.example", Groups: []string{"devs"}, Rules: []Rule{
		{Namespaces: []string{"prod"}, APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{"apps"}, Resources: []string{"*"}, ResourceNames: []string{"payments"}, Verbs: []string{"*"}},
	}}}})
	cfg := serve(t, s)
	cfg.BearerToken = "bob"
	c, err := dynamic.NewForConfig(cfg)
	must(t, err)
	who, err := c.Resource(gvr(selfReviews)).Create(ctx(t), &unstructured.Unstructured{Object: tree{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}}, metav1.CreateOptions{})
	must(t, err)
	if u := dict(who.Object, "status", "userInfo"); str(u, "username") != "bob@acme.example" || !equal(u["groups"], []any{"devs", "system:authenticated"}) {
		t.Errorf("user %v", u)
	}
	for _, k := range []struct {
		at   tree
		want bool
	}{
		{tree{"verb": "list", "resource": "pods", "namespace": "prod"}, true},
		{tree{"verb": "list", "resource": "pods", "namespace": "test"}, false},
		{tree{"verb": "list", "resource": "pods"}, false},
		{tree{"verb": "get", "resource": "pods", "subresource": "log", "namespace": "prod"}, true},
		{tree{"verb": "watch", "resource": "pods", "namespace": "prod"}, false},
		{tree{"verb": "patch", "group": "apps", "resource": "deployments", "namespace": "prod", "name": "payments"}, true},
		{tree{"verb": "patch", "group": "apps", "resource": "deployments", "namespace": "prod", "name": "web"}, false},
		{tree{"verb": "patch", "group": "apps", "resource": "deployments", "namespace": "prod"}, false},
	} {
		o, err := c.Resource(gvr(accessRevs)).Create(ctx(t), &unstructured.Unstructured{Object: tree{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": tree{"resourceAttributes": k.at}}}, metav1.CreateOptions{})
		must(t, err)
		if truth(o.Object, "status", "allowed") != k.want {
			t.Errorf("%v: %v", k.at, o.Object["status"])
		}
	}
	// A list or watch of one name is permitted by a rule for that name.
	if _, err := c.Resource(gvr(deployments)).Namespace("prod").List(ctx(t), metav1.ListOptions{FieldSelector: "metadata.name=payments"}); err != nil {
		t.Error(err)
	}
	if _, err := c.Resource(gvr(deployments)).Namespace("prod").List(ctx(t), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list of all: %v", err)
	}
}

func TestPatches(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	c := client(t, s).Resource(gvr(deployments)).Namespace("prod")
	must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
	for _, k := range []struct {
		kind  types.PatchType
		patch string
		path  []string
		want  any
	}{
		{types.StrategicMergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"a":"1"}}}}}`, []string{"spec", "template", "metadata", "annotations", "a"}, "1"},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"proxy"},{"name":"payments"}],"containers":[{"name":"proxy","image":"proxy:1"}]}}}}`, []string{"spec", "template", "spec", "containers", "0", "name"}, "proxy"},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"payments","image":"other:2"}]}}}}`, []string{"spec", "template", "spec", "containers", "1", "image"}, "other:2"},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"proxy","$patch":"delete"}]}}}}`, []string{"spec", "template", "spec", "containers", "0", "name"}, "payments"},
		{types.StrategicMergePatchType, `{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`, []string{"spec", "strategy", "type"}, "Recreate"},
		{types.MergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"a":null,"b":"2"}}}}}`, []string{"spec", "template", "metadata", "annotations", "b"}, "2"},
		{types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":3},{"op":"add","path":"/metadata/labels/x~1y","value":"z"},{"op":"remove","path":"/spec/template/metadata/annotations/b"}]`, []string{"metadata", "labels", "x/y"}, "z"},
	} {
		o, err := c.Patch(ctx(t), "payments", k.kind, []byte(k.patch), metav1.PatchOptions{})
		if err != nil {
			t.Errorf("%s: %v", k.patch, err)
			continue
		}
		var got any = o.Object
		for _, p := range k.path {
			if l, ok := got.([]any); ok {
				got = l[p[0]-'0']
			} else {
				got = get(got, p)
			}
		}
		if got != k.want {
			t.Errorf("%s: %v = %v, want %v", k.patch, k.path, got, k.want)
		}
	}
	o := s.Get("deploy", "prod", "payments")
	if num(o, "spec", "replicas") != 3 || has(o, "spec", "template", "metadata", "annotations", "a") || len(items(o, "spec", "template", "spec", "containers")) != 1 {
		t.Errorf("in the end: %s", encode(o["spec"]))
	}
	if _, err := c.Patch(ctx(t), "payments", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/replicas","value":9}]`), metav1.PatchOptions{}); err == nil {
		t.Error("a failed test let the patch through")
	}
	dry, err := c.Patch(ctx(t), "payments", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{DryRun: []string{"All"}})
	must(t, err)
	if num(dry.Object, "spec", "replicas") != 7 || num(s.Get("deploy", "prod", "payments"), "spec", "replicas") != 3 {
		t.Error("a dry run is no dry run")
	}
}

func TestManagedFields(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	must(t, s.ApplyAs("argocd-controller", NewDeployment("prod", "payments", image, 0), NewConfigMap("prod", "settings", map[string]string{"a": "1", "b": "1"})))
	dep := "/apis/apps/v1/namespaces/prod/deployments/payments?fieldManager=rollback"
	code, body := ask(s, "PATCH", dep, `{"spec":{"template":{"metadata":{"annotations":{"example.com/stamp":"x"}}}}}`, "Content-Type", "application/merge-patch+json")
	if code != 200 {
		t.Fatal(body)
	}
	owners := func(o map[string]any, path ...string) []string {
		var out []string
		for _, e := range items(o, "metadata", "managedFields") {
			if get(e, append([]string{"fieldsV1"}, path...)...) != nil {
				out = append(out, str(e, "manager"))
			}
			if str(e, "operation") != "Update" || str(e, "fieldsType") != "FieldsV1" || parseStamp(str(e, "time")).IsZero() {
				t.Errorf("entry %v", e)
			}
		}
		return out
	}
	d := s.Get("deploy", "prod", "payments")
	if got := owners(d, "f:spec", "f:template", "f:metadata", "f:annotations", "f:example.com/stamp"); !slices.Equal(got, []string{"rollback"}) {
		t.Errorf("the stamp belongs to %v", got)
	}
	if got := owners(d, "f:spec", "f:template", "f:spec", "f:containers", `k:{"name":"payments"}`, "f:image"); !slices.Equal(got, []string{"argocd-controller"}) {
		t.Errorf("the image belongs to %v", got)
	}
	must(t, s.ApplyAs("rollback", NewConfigMap("prod", "settings", map[string]string{"a": "1", "b": "2", "c": "3"})))
	cm := s.Get("cm", "prod", "settings")
	for field, want := range map[string]string{"f:a": "argocd-controller", "f:b": "rollback", "f:c": "rollback"} {
		if got := owners(cm, "f:data", field); !slices.Equal(got, []string{want}) {
			t.Errorf("%s belongs to %v, want %s", field, got, want)
		}
	}
}

// The fault switches work on every operation, by the names that the documentation promises.
func TestFaultsAndOperations(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	c := client(t, s)
	must(t, s.Apply(NewDeployment("prod", "payments", image, 1)))
	s.Inject(fake.Fault{Op: "PATCH deployments/payments", Status: 503, Body: StatusBody(503, "ServiceUnavailable", "the server is currently unable to handle the request"), Times: 1})
	_, err := c.Resource(gvr(deployments)).Namespace("prod").Patch(ctx(t), "payments", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("fault: %v", err)
	}
	must(t, s.WaitRollout(ctx(t), "deploy", "prod", "payments"))
	name := str(firstPod(t, s), "metadata", "name")
	_, err = c.Resource(gvr(pods)).Namespace("prod").List(ctx(t), metav1.ListOptions{})
	must(t, err)
	_, err = c.Resource(gvr(configMaps)).Namespace("prod").Create(ctx(t), &unstructured.Unstructured{Object: NewConfigMap("prod", "a", nil)}, metav1.CreateOptions{})
	must(t, err)
	_, err = c.Resource(gvr(configMaps)).Namespace("prod").Update(ctx(t), &unstructured.Unstructured{Object: NewConfigMap("prod", "a", map[string]string{"x": "y"})}, metav1.UpdateOptions{})
	must(t, err)
	must(t, c.Resource(gvr(configMaps)).Namespace("prod").Delete(ctx(t), "a", metav1.DeleteOptions{}))
	if code, _ := ask(s, "GET", inProd+"pods/"+name+"/log", ""); code != http.StatusOK {
		t.Errorf("log: %d", code)
	}
	_, err = c.Resource(gvr(namespaces)).Get(ctx(t), "kube-system", metav1.GetOptions{})
	must(t, err)
	for op, want := range map[string]int{"PATCH deployments/payments": 1, "LIST pods": 1, "CREATE configmaps": 1, "UPDATE configmaps/a": 1, "DELETE configmaps/a": 1, "GET pods/*": 1, "GET namespaces/kube-system": 1} {
		if n := s.Count(op); n != want {
			t.Errorf("%s: %d, want %d; seen %+v", op, n, want, s.Requests())
		}
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{Delays: Delays{Termination: 50_000_000}})
	c := client(t, s).Resource(gvr(namespaces))
	must(t, s.Apply(NewNamespace("short"), NewConfigMap("short", "a", nil), NewDeployment("short", "web", image, 1)))
	must(t, s.WaitRollout(ctx(t), "deploy", "short", "web"))
	must(t, c.Delete(ctx(t), "short", metav1.DeleteOptions{}))
	if err := s.Apply(NewConfigMap("short", "b", nil)); err == nil || !strings.Contains(err.Error(), "because it is being terminated") {
		t.Errorf("creation in a namespace that ends: %v", err)
	}
	must(t, s.Wait(ctx(t), func() bool { return s.Get("ns", "", "short") == nil }))
	if l := s.List("pods", "short", ""); len(l) > 0 {
		t.Errorf("left over: %v", names(l))
	}
	if code, _ := ask(s, "DELETE", inProd+"configmaps", ""); code != 200 {
		t.Errorf("deletion of a collection: %d", code)
	}
}
