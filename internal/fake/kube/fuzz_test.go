package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

// Whatever is asked, the server answers, with a Status where it is an error.
func FuzzRequest(f *testing.F) {
	for _, c := range [][4]string{
		{"GET", inProd + "pods?labelSelector=a%3Db", "", ""},
		{"POST", inProd + "configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"},"data":{"a":"b"}}`, "application/json"},
		{"PUT", inProd + "configmaps/a", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, "application/json"},
		{"PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"spec":{"template":{"metadata":null},"replicas":"x"}}`, "application/merge-patch+json"},
		{"PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `{"spec":{"template":{"spec":{"containers":[{"name":"a","$patch":"delete"},1]}}}}`, "application/strategic-merge-patch+json"},
		{"PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments", `[{"op":"add","path":"/spec/template/spec/containers/-","value":1}]`, "application/json-patch+json"},
		{"PATCH", "/apis/apps/v1/namespaces/prod/deployments/payments/scale", `{"spec":{"replicas":-1}}`, "application/merge-patch+json"},
		{"PUT", "/apis/apps/v1/namespaces/prod/deployments/payments/status", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"payments"},"status":1}`, "application/json"},
		{"DELETE", inProd + "configmaps?limit=x", `{"preconditions":1}`, "application/json"},
		{"GET", "/api/v1/watch/pods", "", ""},
		{"GET", "/apis/apps/v1", "", ""},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":[]}`, "application/json"},
	} {
		f.Add(c[0], c[1], c[2], c[3])
	}
	f.Fuzz(func(t *testing.T, method, path, body, media string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(method, " \r\n\t") || u.Query().Has("watch") {
			return // no request
		}
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Content-Type", media)
		s := New(Options{Namespaces: []string{"prod"}})
		defer s.Close()
		must(t, s.Apply(NewConfigMap("prod", "a", map[string]string{"k": "v"}), NewDeployment("prod", "payments", image, 1)))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusGatewayTimeout {
			t.Errorf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		}
		if w.Code >= 400 {
			var st struct {
				Kind string
				Code int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || st.Kind != "Status" || st.Code != w.Code {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	})
}

// What we read as a selector, Kubernetes reads as one, and both select the same.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"a=b", "a==b,c!=d", "a in (b,c),d notin (e)", "!a", "a", "example.com/a=b", "a in ()", ",", "a=b,", "in in (in)", "a = b"} {
		f.Add(s)
	}
	set := tree{"a": "b", "c": "x", "in": "in", "example.com/a": "b"}
	plain := labels.Set{}
	for k, v := range set {
		plain[k] = v.(string)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ours, err := parseSelector(text)
		if err != nil {
			return
		}
		theirs, err := labels.Parse(text)
		if err != nil {
			return // ours is the more lenient
		}
		if got, want := selects(ours, set), theirs.Matches(plain); got != want {
			t.Errorf("%q: %v, Kubernetes says %v", text, got, want)
		}
	})
}

// A merge patch applied twice is as applied once, and decoding is the inverse of encoding.
func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":null,"c":[1,2.5,"x"]}}`)
	f.Add(`{"a":1}`, `{"a":{"b":{"c":null}}}`)
	f.Add(`{}`, `[]`)
	f.Fuzz(func(t *testing.T, target, patch string) {
		a, err1 := decode([]byte(target))
		p, err2 := decode([]byte(patch))
		if err1 != nil || err2 != nil {
			return
		}
		once := mergePatch(clone(a), clone(p))
		if twice := mergePatch(clone(once), clone(p)); !equal(once, twice) {
			t.Errorf("%s on %s: %s, then %s", patch, target, encode(once), encode(twice))
		}
		back, err := decode(encode(once))
		if err != nil || !equal(back, once) {
			t.Errorf("%s does not survive encoding: %v", encode(once), err)
		}
	})
}

// Whatever spec a pod or a workload has, it is refused or the cluster lives on with it.
func FuzzSpec(f *testing.F) {
	f.Add("Deployment", `{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}`)
	f.Add("StatefulSet", `{"replicas":1,"ordinals":{"start":3},"selector":{"matchExpressions":[{"key":"a","operator":"Exists"}]},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"initContainers":[{"name":"i","image":"b","restartPolicy":"Always"}],"containers":[{"name":"a","image":"b","env":[{"valueFrom":{"configMapKeyRef":1}}]}]}}}`)
	f.Add("DaemonSet", `{"selector":{"matchLabels":{"a":"b"}},"updateStrategy":{"type":"OnDelete"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"b","resources":{"requests":{"cpu":"x"}}}]}}}`)
	f.Add("Pod", `{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","values":[1]}]}]}}},"volumes":[{"configMap":{"name":1}}],"containers":[{"name":"a","image":"b"}]}`)
	f.Add("Job", `{"completions":0,"template":{"spec":{"restartPolicy":"OnFailure","containers":[{"name":"a","image":"b"}]}}}`)
	f.Fuzz(func(t *testing.T, kind, spec string) {
		v, err := decode([]byte(spec))
		if err != nil || num(v, "replicas") > 100 || num(v, "parallelism") > 100 {
			return
		}
		s := New(Options{Resolve: func(string) (string, error) { return good, nil }, Namespaces: []string{"prod"}})
		defer s.Close()
		r := s.byName(kind)
		if r == nil {
			return
		}
		if s.Apply(tree{"apiVersion": r.apiVersion(), "kind": r.kind, "metadata": tree{"name": "x", "namespace": "prod"}, "spec": v}) != nil {
			return
		}
		must(t, s.Wait(ctx(t), func() bool { // the node or the controller has had its say
			o := s.Get(r.plural, "prod", "x")
			return o == nil || len(dict(o, "status")) > 2 || r.status == false || r == namespaces || r == nodes || r == cronJobs || r == jobs
		}))
	})
}
