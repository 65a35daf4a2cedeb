package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// cluster is the one real Kubernetes of a test run; scenarios share it, each in a namespace of its own.
type cluster struct {
	control.Ready
	process *exec.Cmd
	stdin   io.Closer
	logs    string // path
	number  atomic.Int32
}

// startCluster runs the kubeworld binary. It ends with this process, however that ends.
func startCluster(binary, dir string) (*cluster, error) {
	c := &cluster{process: exec.Command(binary), logs: filepath.Join(dir, "kubeworld.log")}
	logs, err := os.Create(c.logs)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	c.process.Stderr = logs
	c.process.Env = append(os.Environ(), "TMPDIR="+dir)
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.Ready)
	}
	if err != nil {
		c.stop()
		text, _ := os.ReadFile(c.logs)
		return nil, fmt.Errorf("kubeworld did not come up: %w\n%s", err, text)
	}
	return c, nil
}

// stop ends the cluster and waits for it.
func (c *cluster) stop() {
	_ = c.stdin.Close()
	_ = c.process.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = c.process.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = c.process.Process.Kill()
		<-done
	}
}

// theCluster starts it at the first use; TestMain stops it.
var theCluster = sync.OnceValues(func() (*cluster, error) {
	started.Store(true)
	return startCluster(kubeworldBinary, scratch)
})

var started atomic.Bool // whether theCluster was asked for

// real is a namespace of the real cluster with a registry of its own.
type real struct {
	cluster   *cluster
	namespace string
	dir       string
	settings  control.Namespace
	registry  *registry.ECR // nil in a world without ECR
	store     store         // that, or the registry in its place
	images    *httptest.Server
	proxy     *httptest.Server
	board     *fake.Switchboard
	api       *API
	bound     map[string][]object // the roles of each service account
	lost      string              // a node
}

func newReal(t *testing.T, o Options) World {
	t.Helper()
	c, err := theCluster()
	if err != nil {
		t.Fatal(err)
	}
	return realIn(t, c, o)
}

// realIn makes a namespace of a cluster, and a registry for it.
func realIn(t *testing.T, c *cluster, o Options) *real {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	w := &real{cluster: c, namespace: fmt.Sprintf("e2e-%d", c.number.Add(1)), dir: t.TempDir(), bound: map[string][]object{}}
	if o.OCI {
		w.store, w.images = newPlainReal(t)
	} else {
		w.registry = registry.NewECR()
		t.Cleanup(w.registry.Close)
		w.store = w.registry
		w.images = httptest.NewServer(w.registry)
		t.Cleanup(w.images.Close)
	}
	w.settings = control.Namespace{Hosts: map[string]string{w.store.Host(): w.images.URL}}
	if err := w.set(ctx); err != nil {
		t.Fatal(err)
	}
	c.ends(t, w.namespace) // before the registry, which its pods would go on asking, at a port that may be another's by then
	t.Cleanup(func() { w.find(t) })
	if w.api, err = newAPI(c.API, c.CA, c.Token); err != nil {
		t.Fatal(err)
	}
	if err := w.between(t); err != nil {
		t.Fatal(err)
	}
	token, err := w.account(ctx, "oncall")
	if err != nil {
		t.Fatal(err)
	}
	ca := pemOf(w.proxy)
	if err := write(w.dir, w.proxy.URL, base64.StdEncoding.EncodeToString(ca), token, w.namespace, w.store.Host(), o); err != nil {
		t.Fatal(err)
	}
	return w
}

// ends removes a namespace when the test ends: its pods must neither fill the nodes nor use the machine for long after.
func (c *cluster) ends(t *testing.T, namespace string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := (control.Client{URL: c.Control}).EndNamespace(ctx, namespace); err != nil {
			t.Errorf("the namespace %s does not end: %v", namespace, err)
		}
	})
}

// pemOf is the certificate that a test server shows.
func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func (w *real) set(ctx context.Context) error {
	return control.Client{URL: w.cluster.Control}.SetNamespace(ctx, w.namespace, w.settings)
}

// between puts the switchboard in front of the API server.
func (w *real) between(t *testing.T) error {
	target, err := url.Parse(w.cluster.API)
	if err != nil {
		return err
	}
	p := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     w.api.client.Transport,
		FlushInterval: -1, // watches
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	w.board = &fake.Switchboard{Next: p, Op: operation}
	w.proxy = httptest.NewUnstartedServer(w.board)
	w.proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.proxy.EnableHTTP2 = true // as API servers and what stands before them do
	w.proxy.StartTLS()
	t.Cleanup(func() {
		w.board.Close()
		w.proxy.CloseClientConnections()
		w.proxy.Close()
	})
	return nil
}

// operation names a request as internal/fake/kube does.
func operation(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return r.Method + " " + r.URL.Path
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb := map[string]string{http.MethodGet: "GET", http.MethodPost: "CREATE", http.MethodPut: "UPDATE", http.MethodPatch: "PATCH", http.MethodDelete: "DELETE"}[r.Method]
	if len(parts) == 1 && verb == "GET" {
		verb = "LIST"
		if v := r.URL.Query().Get("watch"); v == "1" || v == "true" {
			verb = "WATCH"
		}
	}
	return verb + " " + strings.Join(parts, "/")
}

// account makes a service account as which the program runs, and its token. It may do nothing yet.
func (w *real) account(ctx context.Context, name string) (string, error) {
	if _, err := w.api.create(ctx, "serviceaccounts", w.namespace, object{"metadata": object{"name": name}}); err != nil {
		return "", err
	}
	t, err := w.api.do(ctx, http.MethodPost, pathOf("serviceaccounts", w.namespace, name)+"/token", "application/json",
		object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": object{"expirationSeconds": 7200}})
	return str(t, "status", "token"), err
}

func (w *real) Name() string               { return "real" }
func (w *real) Namespace() string          { return w.namespace }
func (w *real) Dir() string                { return w.dir }
func (w *real) API() *API                  { return w.api }
func (w *real) Cluster() *fake.Switchboard { return w.board }
func (w *real) Registry() Registry         { return w.store }
func (w *real) RegistryURL() string        { return w.images.URL }

func (w *real) Env() []string {
	if w.registry == nil {
		return environment(w.dir, nil)
	}
	return environment(w.dir, w.registry.Env(w.images.URL))
}

func (w *real) Grant(ctx context.Context, roles []object) error {
	token, err := w.token()
	if err != nil {
		return err
	}
	return w.bind(ctx, "oncall", token, roles)
}

// bind gives a service account these roles and no others, and waits until the API server's authorizer knows it, which is a
// moment later.
func (w *real) bind(ctx context.Context, user, token string, roles []object) error {
	had := w.bound[user]
	w.bound[user] = roles
	for _, role := range had {
		if !slices.ContainsFunc(roles, func(r object) bool { return sameRole(r, role) }) {
			if err := w.unbind(ctx, role); err != nil {
				return err
			}
		}
	}
	for _, role := range roles {
		kind, name, namespace := str(role, "kind"), str(role, "metadata", "name"), str(role, "metadata", "namespace")
		if slices.ContainsFunc(had, func(r object) bool { return sameRole(r, role) }) {
			if err := w.api.merge(ctx, plural(kind), namespace, name, object{"rules": role["rules"]}); err != nil {
				return err
			}
			continue
		}
		bind := object{
			"metadata": object{"name": name},
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
			"subjects": []any{object{"kind": "ServiceAccount", "name": user, "namespace": w.namespace}},
		}
		if _, err := w.api.create(ctx, plural(kind), namespace, role); err != nil {
			return err
		}
		if _, err := w.api.create(ctx, strings.ToLower(kind)+"bindings", namespace, bind); err != nil {
			return err
		}
	}
	var diff string
	err := until(ctx, func() (bool, error) {
		d, err := w.rightsDiffer(ctx, token, slices.Concat(had, roles), roles)
		if err == nil {
			diff = d
		}
		return diff == "", err
	})
	if err != nil {
		return fmt.Errorf("the rights of %s (+) are not those of its roles (-): %w\n%s", user, err, diff)
	}
	return nil
}

func sameRole(a, b object) bool {
	return str(a, "kind") == str(b, "kind") && str(a, "metadata", "name") == str(b, "metadata", "name") && str(a, "metadata", "namespace") == str(b, "metadata", "namespace")
}

// unbind removes a role and its binding.
func (w *real) unbind(ctx context.Context, role object) error {
	kind, name, namespace := str(role, "kind"), str(role, "metadata", "name"), str(role, "metadata", "namespace")
	for _, resource := range []string{strings.ToLower(kind) + "bindings", plural(kind)} {
		if _, err := w.api.do(ctx, http.MethodDelete, pathOf(resource, namespace, name), "", nil); err != nil {
			return err
		}
	}
	return nil
}

// rightsDiffer asks as a user for its rights in the namespaces of some roles, and tells how they differ from what the present
// ones of them give.
func (w *real) rightsDiffer(ctx context.Context, token string, all, present []object) (string, error) {
	user := *w.api
	user.token = token
	namespaces := map[string]bool{w.namespace: true}
	for _, role := range all {
		if n := str(role, "metadata", "namespace"); n != "" {
			namespaces[n] = true
		}
	}
	for namespace := range namespaces {
		got, err := user.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "application/json",
			object{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": object{"namespace": namespace}})
		if err != nil {
			return "", err
		}
		here := slices.DeleteFunc(slices.Clone(present), func(r object) bool { n := str(r, "metadata", "namespace"); return n != "" && n != namespace })
		if diff := cmp.Diff(rights(here), rights([]object{{"rules": at(got, "status", "resourceRules")}})); diff != "" {
			return diff, nil
		}
	}
	return "", nil
}

// rights are those that roles give, but for what everybody may ask about himself, and service accounts about the cluster.
func rights(roles []object) map[string]bool {
	set := map[string]bool{}
	for _, p := range pairs(roles) {
		if !slices.Contains([]string{"authorization.k8s.io", "authentication.k8s.io", "certificates.k8s.io"}, p.group) {
			set[p.String()] = true
		}
	}
	return set
}

// allowed asks as a user whether it may do something in the world's namespace.
func (w *real) allowed(ctx context.Context, token, verb, group, resource string) (bool, error) {
	user := *w.api
	user.token = token
	got, err := user.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json",
		object{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": object{"resourceAttributes": object{
			"verb": verb, "group": group, "resource": resource, "namespace": w.namespace,
		}}})
	return at(got, "status", "allowed") == true, err
}

// token is that of the program's user, as its kubeconfig has it.
func (w *real) token() (string, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, "kubeconfig"))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), `token: "`)
	token, _, _ := strings.Cut(rest, `"`)
	return token, nil
}

func (w *real) Behave(ctx context.Context, digest string, b control.Behaviour) error {
	return control.Client{URL: w.cluster.Control}.Behave(ctx, w.namespace, digest, b)
}

func (w *real) Preload(ctx context.Context, ref, digest string) error {
	return control.Client{URL: w.cluster.Control}.Preload(ctx, w.namespace, ref, digest)
}

func (w *real) SetImageID(ctx context.Context, form control.ImageID) error {
	if !slices.Contains([]control.ImageID{control.RepoDigest, control.DockerPullable, control.PlatformDigest, control.BareConfig}, form) {
		return fmt.Errorf("no image ID form %q", form)
	}
	w.settings.ImageID = form
	return w.set(ctx)
}

func (w *real) Secret(ctx context.Context, name string, there bool) error {
	if there {
		return w.api.apply(ctx, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": name, "namespace": w.namespace}, "stringData": object{"a": "b"}})
	}
	_, err := w.api.do(ctx, http.MethodDelete, pathOf("secrets", w.namespace, name), "", nil)
	return err
}

func (w *real) BreakSandboxes(ctx context.Context, why string) error {
	w.settings.Sandbox = why
	return w.set(ctx)
}

// Quota is also the work of the quota controller, which counts what there is.
func (w *real) Quota(ctx context.Context, pods int) error {
	count := object{"pods": strconv.Itoa(pods)}
	if _, err := w.api.create(ctx, "resourcequotas", w.namespace, object{"metadata": object{"name": "pods"}, "spec": object{"hard": count}}); err != nil {
		return err
	}
	_, err := w.api.do(ctx, http.MethodPatch, pathOf("resourcequotas", w.namespace, "pods")+"/status", "application/merge-patch+json", object{"status": object{"hard": count, "used": count}})
	return err
}

func (w *real) Evict(ctx context.Context, pod, message string) error {
	return control.Client{URL: w.cluster.Control}.Evict(ctx, w.namespace, pod, message)
}

func (w *real) Lose(ctx context.Context, node string) error {
	w.lost = node
	return control.Client{URL: w.cluster.Control}.Lose(ctx, node)
}

// find lets the node answer again that the world has lost, if any.
func (w *real) find(t *testing.T) {
	if w.lost == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := (control.Client{URL: w.cluster.Control}).Find(ctx, w.lost); err != nil {
		t.Errorf("%s stays lost: %v", w.lost, err)
	}
}
