package e2e

// A Kubernetes client of the tests' own: JSON over HTTPS, so that what is compared is what the API server sends.

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

type object = map[string]any

// API is one user's view of a cluster.
type API struct {
	base, token string
	client      *http.Client
}

func newAPI(base, ca, token string) (*API, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("no certificate in PEM")
	}
	return &API{base, token, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}}, nil
}

// groups are the API groups of the resources that the tests use.
var groups = map[string]string{
	"deployments": "/apis/apps/v1", "statefulsets": "/apis/apps/v1", "daemonsets": "/apis/apps/v1", "replicasets": "/apis/apps/v1",
	"cronjobs": "/apis/batch/v1", "roles": "/apis/rbac.authorization.k8s.io/v1", "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
	"clusterroles": "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
	"secrets": "/api/v1", "resourcequotas": "/api/v1", "pods": "/api/v1", "events": "/api/v1", "configmaps": "/api/v1", "serviceaccounts": "/api/v1", "nodes": "/api/v1", "namespaces": "/api/v1",
}

func pathOf(resource, namespace, name string) string {
	p := groups[resource]
	if namespace != "" {
		p += "/namespaces/" + namespace
	}
	p += "/" + resource
	if name != "" {
		p += "/" + name
	}
	return p
}

// statusError is an answer that is no success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d %s", e.code, e.text) }

func isStatus(err error, code int) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == code
}

func (a *API) do(ctx context.Context, method, path, contentType string, in any) (object, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+a.token)
	q.Header.Set("Accept", "application/json")
	if in != nil {
		q.Header.Set("Content-Type", contentType)
	}
	r, err := a.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %w", method, path, &statusError{r.StatusCode, string(text)})
	}
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return out, nil
}

func (a *API) get(ctx context.Context, resource, namespace, name string) (object, error) {
	return a.do(ctx, http.MethodGet, pathOf(resource, namespace, name), "", nil)
}

func (a *API) list(ctx context.Context, resource, namespace, selector string) ([]object, error) {
	list, err := a.do(ctx, http.MethodGet, pathOf(resource, namespace, "")+"?labelSelector="+url.QueryEscape(selector), "", nil)
	if err != nil {
		return nil, err
	}
	var out []object
	for _, o := range items(list, "items") {
		out = append(out, o.(object))
	}
	return out, nil
}

func (a *API) create(ctx context.Context, resource, namespace string, o object) (object, error) {
	return a.do(ctx, http.MethodPost, pathOf(resource, namespace, ""), "application/json", o)
}

// merge patches an object with a JSON merge patch.
func (a *API) merge(ctx context.Context, resource, namespace, name string, patch object) error {
	_, err := a.do(ctx, http.MethodPatch, pathOf(resource, namespace, name), "application/merge-patch+json", patch)
	return err
}

// apply creates workloads and other objects of a namespace.
func (a *API) apply(ctx context.Context, objects ...object) error {
	for _, o := range objects {
		if _, err := a.create(ctx, plural(str(o, "kind")), str(o, "metadata", "namespace"), o); err != nil {
			return err
		}
	}
	return nil
}

// rolledOut waits until a workload runs its present template everywhere.
func (a *API) rolledOut(ctx context.Context, resource, namespace, name string) error {
	var last object
	err := until(ctx, func() (bool, error) {
		o, err := a.get(ctx, resource, namespace, name)
		if err != nil {
			return false, err
		}
		last = o
		return atRest(resource, o), nil
	})
	if err != nil {
		return fmt.Errorf("%s/%s is not rolled out: %w; its status: %v", resource, name, err, last["status"])
	}
	return nil
}

// atRest tells whether a workload runs its present template everywhere.
func atRest(resource string, o object) bool {
	n := func(field string) int { return num(o, "status", field) }
	if n("observedGeneration") < num(o, "metadata", "generation") {
		return false
	}
	want := num(o, "spec", "replicas")
	switch resource {
	case "deployments":
		return n("updatedReplicas") == want && n("replicas") == want && n("availableReplicas") == want
	case "statefulsets":
		return n("updatedReplicas") == want && n("readyReplicas") == want && str(o, "status", "currentRevision") == str(o, "status", "updateRevision")
	}
	want = n("desiredNumberScheduled")
	return want > 0 && n("updatedNumberScheduled") == want && n("numberAvailable") == want
}

// until asks again and again until cond holds or ctx ends.
func until(ctx context.Context, cond func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := cond(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// at is what stands at a path in JSON, nil if nothing does.
func at(o any, path ...string) any {
	for _, p := range path {
		m, ok := o.(object)
		if !ok {
			return nil
		}
		o = m[p]
	}
	return o
}

func str(o any, path ...string) string {
	s, _ := at(o, path...).(string)
	return s
}

func num(o any, path ...string) int {
	switch n := at(o, path...).(type) {
	case float64:
		return int(n)
	case int:
		return n
	}
	return 0
}

func items(o any, path ...string) []any {
	l, _ := at(o, path...).([]any)
	return l
}
