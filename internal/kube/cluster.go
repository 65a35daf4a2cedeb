// Package kube is the Kubernetes adapter: it finds, restarts and watches workloads and keeps the records' ConfigMaps.
//
// It speaks to the API server with client-go's clientcmd and dynamic client only. The resources are known constants, so
// there are no discovery calls, and there is no typed clientset, which would double the size of the binary.
//
// Which cluster it talks to is always said explicitly: a context, an EKS endpoint, or the opt-in to the cluster that this
// process runs in. It never falls back from one to another.
package kube

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// StampAnnotation is the annotation of the pod template (and so of every pod made from it) that carries the restart
// stamp of a run. It tells the pods of this run from all others without looking at ReplicaSets or revisions.
const StampAnnotation = "rollback-tools.github.io/run"

// restartedAt is kubectl's own restart annotation; we set it too, so that other tools show the restart as one.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// fieldManager names us in managedFields.
const fieldManager = "rollback"

// kind is one kind of object that we know how to ask for.
type kind struct {
	name string // Deployment
	gvr  schema.GroupVersionResource
}

func (k kind) singular() string { return lower(k.name) }

// resource is the name RBAC and kubectl use: "deployments.apps", "pods".
func (k kind) resource() string {
	if k.gvr.Group == "" {
		return k.gvr.Resource
	}
	return k.gvr.Resource + "." + k.gvr.Group
}

// path is the URL path of the resource in a namespace ("" = cluster-wide).
func (k kind) path(namespace string) []string {
	p := []string{"/api", k.gvr.Version}
	if k.gvr.Group != "" {
		p = []string{"/apis", k.gvr.Group, k.gvr.Version}
	}
	if namespace != "" {
		p = append(p, "namespaces", namespace)
	}
	return append(p, k.gvr.Resource)
}

func known(name, group, resource string) kind {
	return kind{name, schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}}
}

var (
	deployments  = known("Deployment", "apps", "deployments")
	statefulSets = known("StatefulSet", "apps", "statefulsets")
	daemonSets   = known("DaemonSet", "apps", "daemonsets")
	replicaSets  = known("ReplicaSet", "apps", "replicasets")
	cronJobs     = known("CronJob", "batch", "cronjobs")
	jobs         = known("Job", "batch", "jobs")
	pods         = known("Pod", "", "pods")
	configMaps   = known("ConfigMap", "", "configmaps")
	namespaces   = known("Namespace", "", "namespaces")
	events       = known("Event", "", "events")

	accessReviews = known("SelfSubjectAccessReview", "authorization.k8s.io", "selfsubjectaccessreviews")
	selfReviews   = known("SelfSubjectReview", "authentication.k8s.io", "selfsubjectreviews")
)

// workloadKinds are the kinds with a pod template that an inventory lists, in the order of its result.
var workloadKinds = []kind{deployments, statefulSets, daemonSets, cronJobs, jobs}

// restartable are the kinds whose pods a changed template replaces.
var restartable = []kind{deployments, statefulSets, daemonSets}

func kindNamed(name string, among []kind) (kind, bool) {
	for _, k := range among {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// Cluster is one Kubernetes cluster. It is safe for concurrent use.
type Cluster struct {
	config    Config
	shown     string // the context as people know it
	server    string // URL of the API server, normalised
	login     login
	rest      rest.Interface
	dynamic   dynamic.Interface
	transport http.RoundTripper

	timeout time.Duration                        // of one call
	pause   func(time.Duration) <-chan time.Time // waits between attempts; tests shorten it

	mu sync.Mutex
	// selectors are the pod selectors of the workloads seen so far: with them an observation needs one wave, not two.
	selectors map[rollback.Ref]string
	// owners are the controllers of the ReplicaSets and Jobs of the last inventory, by their UID.
	owners map[string]rollback.Ref
}

var (
	_ rollback.Cluster   = (*Cluster)(nil)
	_ rollback.Watcher   = (*Cluster)(nil)
	_ rollback.Diagnoser = (*Cluster)(nil)
)

// DefaultCallTimeout is how long one call may take if the configuration does not say.
const DefaultCallTimeout = 15 * time.Second

var silenceKlog sync.Once

// New makes a client of the cluster that the configuration names. It reads files but makes no call; an error is a
// *rollback.Error with exit code Usage.
func New(c Config) (*Cluster, error) {
	silenceKlog.Do(func() { klog.SetSlogLogger(slog.New(quiet{})) })
	found, err := connect(c)
	if err != nil {
		return nil, err
	}
	cfg := found.rest
	version := c.Version
	if version == "" {
		version = "dev"
	}
	cfg.UserAgent = "rollback/" + version
	cfg.QPS = -1 // no client-side queue: calls are few, parallel, and the server throttles by itself
	cfg.WarningHandler = rest.NoWarnings{}
	token := c.Token
	if file := cfg.BearerTokenFile; file != "" {
		token = tokenFrom(file)
		cfg.BearerToken, cfg.BearerTokenFile = "", ""
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, rollback.UsageErrorf("cluster %s: %w", found.shown, err)
	}
	client := &http.Client{Transport: &guard{
		next:   transport,
		token:  token,
		plugin: cfg.ExecProvider != nil,
	}}
	base := dynamic.ConfigFor(cfg)
	base.GroupVersion, base.APIPath = nil, "/"
	rc, err := rest.UnversionedRESTClientForConfigAndClient(base, client)
	if err != nil {
		return nil, rollback.UsageErrorf("cluster %s: %w", found.shown, err)
	}
	timeout := c.CallTimeout
	if timeout <= 0 {
		timeout = DefaultCallTimeout
	}
	return &Cluster{
		config:    c,
		transport: transport,
		shown:     found.shown,
		server:    found.server,
		login:     found.login,
		rest:      rc,
		dynamic:   dynamic.New(rc),
		timeout:   timeout,
		pause:     time.After,
		selectors: map[rollback.Ref]string{},
		owners:    map[string]rollback.Ref{},
	}, nil
}

// Close ends idle connections. client-go has one pool of them for a process, to which a call that was given up adds.
func (c *Cluster) Close() { utilnet.CloseIdleConnectionsFor(c.transport) }

// Identity tells which cluster this is and whom it takes us for, in one wave. Where the configuration names the UID of the
// cluster, another one (or none to be read) is an error.
func (c *Cluster) Identity(ctx context.Context) (rollback.ClusterIdentity, error) {
	id := rollback.ClusterIdentity{Context: c.shown, Server: c.server}
	g, gctx := rollback.NewWave(ctx)
	var uidErr error
	g.Go(func() error {
		ns, err := c.get(gctx, namespaces, "", "kube-system")
		switch rollback.KindOf(err) {
		case "":
			if err != nil {
				return err
			}
			id.UID = string(ns.GetUID())
			return nil
		case rollback.Denied, rollback.NotFound:
			uidErr = err
			return nil
		}
		return err
	})
	g.Go(func() error {
		review := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": map[string]any{},
		}}
		var got *unstructured.Unstructured
		err := c.call(gctx, request{verb: "create", kind: selfReviews}, func(ctx context.Context) (err error) {
			got, err = c.dynamic.Resource(selfReviews.gvr).Create(ctx, review, metav1.CreateOptions{})
			return err
		})
		switch rollback.KindOf(err) {
		case rollback.Denied, rollback.NotFound, rollback.Rejected: // old servers do not know it, some forbid it
			return nil
		}
		if err != nil {
			return err
		}
		id.User, _, _ = unstructured.NestedString(got.Object, "status", "userInfo", "username")
		return nil
	})
	if err := g.Wait(); err != nil {
		return rollback.ClusterIdentity{}, err
	}
	if want := c.config.UID; want != "" && id.UID != want {
		if uidErr != nil {
			return id, &rollback.Error{
				Exit: rollback.Usage, Production: rollback.NotChanged, Err: uidErr,
				What: "the configuration names the cluster's UID, and it cannot be compared",
				Next: []string{rollback.FixOf(uidErr)},
			}
		}
		return id, rollback.UsageErrorf("wrong cluster: %s has the UID %s, the configuration says %s", c.server, id.UID, want)
	}
	return id, nil
}

func lower(s string) string {
	b := []byte(s)
	for i, r := range b {
		if 'A' <= r && r <= 'Z' {
			b[i] = r + 'a' - 'A'
		}
	}
	return string(b)
}
