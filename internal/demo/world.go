// Package demo is the loopback world: a registry, a cluster and a configuration on 127.0.0.1, in the state in which somebody
// is called at night. `rollback demo` tells its story; tests break it in every way.
package demo

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rollback-tools/rollback/internal/fake/ecr"
	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/fake/kube"
)

// Namespace and Environment are those of the world's production.
const (
	Namespace   = "prod"
	Environment = "prod"
)

// Options shape the world. The zero value is the one of the tests: as fast as it goes.
type Options struct {
	// Pace slows the nodes down to what a person can follow: the time a pod takes to come up; 0 is a few milliseconds.
	Pace time.Duration
	// Settle is the settle time written into rollback.yaml; 0 means 50 ms.
	Settle time.Duration
	// Confirm asks for the service's name before anything is changed.
	Confirm bool
	// Extra is appended to rollback.yaml.
	Extra string
	// Services are listed in rollback.yaml, for commands that look at all of them.
	Services []string
	// Nodes are the names of the nodes; none means three.
	Nodes []string
	// Code adds GitHub, on real git, and Jenkins with the deploy job and the one-click job.
	Code bool
	// Environ is what builds find in their environment beside the world's; nil means that of this process.
	Environ []string
}

// World is a running loopback world.
type World struct {
	Registry *ecr.Server
	Cluster  *kube.Server
	// Dir holds rollback.yaml and the kubeconfig.
	Dir string
	// RegistryURL and ClusterURL are where the two are served.
	RegistryURL, ClusterURL string
	// Releases are the images of payments, oldest first; the last one is the bad one.
	Releases []Release

	// GitHub, Jenkins and Code (the service's repository) are nil without Options.Code.
	GitHub                *github.Server
	Jenkins               *jenkins.Server
	Code                  *github.Repository
	GitHubURL, JenkinsURL string

	puller  *kube.Puller
	pace    time.Duration
	environ []string
	webhook atomic.Bool // whether a merge starts the deploy job
	servers []*http.Server
	ca      []byte // PEM
}

// Release is one build of the demo's service.
type Release struct {
	Commit, Digest, Title string
	Pushed                time.Time
}

// Start serves an empty world: no repository, no workload. Close it.
func Start(o Options) (w *World, err error) {
	w = &World{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.Dir, err = os.MkdirTemp("", "rollback-demo-"); err != nil {
		return w, err
	}
	w.Registry = ecr.New(ecr.Options{})
	nodes := o.Nodes
	if len(nodes) == 0 {
		nodes = []string{"node-a", "node-b", "node-c"}
	}
	if w.RegistryURL, err = w.serve(w.Registry, nil); err != nil {
		return w, err
	}
	w.puller = kube.NewPuller(w.reach)
	delays := kube.Delays{}
	if o.Pace > 0 {
		delays = kube.Delays{Controller: o.Pace / 20, Schedule: o.Pace / 20, Pull: o.Pace / 2, Start: o.Pace / 8, Ready: o.Pace / 2, Termination: o.Pace / 4}
	}
	w.Cluster = kube.New(kube.Options{
		Namespaces: []string{Namespace}, Nodes: nodes, Delays: delays,
		Resolve: w.puller.Resolve,
		Users:   []kube.User{{Token: "oncall", Name: "oncall@acme.example", Admin: true}},
	})
	cert, ca, err := certificate()
	if err != nil {
		return w, err
	}
	w.ca = ca
	if w.ClusterURL, err = w.serve(w.Cluster, &cert); err != nil {
		return w, err
	}
	w.pace, w.environ = o.Pace, o.Environ
	if o.Code {
		if err = w.startCode(); err != nil {
			return w, err
		}
	}
	return w, w.write(o)
}

// Puller is the nodes' way to the registries.
func (w *World) Puller() *kube.Puller { return w.puller }

// reach is where the nodes find a registry: the world's own by its name, any other on this machine, and none elsewhere.
func (w *World) reach(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	switch ip := net.ParseIP(name); {
	case host == w.Registry.Host():
		return w.RegistryURL
	case name == "localhost", ip != nil && ip.IsLoopback():
		return "http://" + host
	}
	return ""
}

func (w *World) serve(h http.Handler, cert *tls.Certificate) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	w.servers = append(w.servers, s)
	if cert == nil {
		go func() { _ = s.Serve(l) }()
		return "http://" + l.Addr().String(), nil
	}
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	go func() { _ = s.ServeTLS(l, "", "") }()
	return "https://" + l.Addr().String(), nil
}

// write leaves the configuration that a user of this world would have.
func (w *World) write(o Options) error {
	settle := o.Settle
	if settle == 0 {
		settle = 50 * time.Millisecond
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- {name: acme-prod, cluster: {server: "%s", certificate-authority-data: "%s"}}
users:
- {name: oncall, user: {token: oncall}}
contexts:
- {name: acme-prod, context: {cluster: acme-prod, user: oncall, namespace: %s}}
`, w.ClusterURL, base64.StdEncoding.EncodeToString(w.ca), Namespace)
	config := fmt.Sprintf(`defaults:
  repo: acme/{service}
  image: "{service}"
environments:
  %s:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: acme-prod, server: "%s"}
    namespace: %s
    confirm: %t
    timeout: 2m
    settle: %s
%s`, Environment, w.ClusterURL, Namespace, o.Confirm, settle, o.Extra)
	if w.GitHub != nil {
		config = strings.Replace(config, "environments:\n", fmt.Sprintf("  job: deploy/{service}\n  github: {url: %q}\n  jenkins: {url: %q, user: %s, commitParameter: %s, approve: true}\nenvironments:\n",
			w.GitHubURL, w.JenkinsURL, jenkinsUser, BuildParameter), 1)
	}
	if len(o.Services) > 0 {
		config += "services:\n"
	}
	for _, s := range o.Services {
		config += "  " + s + ": {}\n"
	}
	if err := os.WriteFile(w.Kubeconfig(), []byte(kubeconfig), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.Dir, "rollback.yaml"), []byte(config), 0o600)
}

// Kubeconfig is the path of the world's kubeconfig.
func (w *World) Kubeconfig() string { return filepath.Join(w.Dir, "kubeconfig") }

// Plain is base without what could lead to a system of its own: a machine on which nothing is set up.
func Plain(base []string) []string {
	return slices.DeleteFunc(slices.Clone(base), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		for _, prefix := range []string{"AWS_", "ROLLBACK_", "KUBE", "JENKINS_", "BUILD_", "JOB_", "GITHUB_", "GH_"} {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
		return key == "WORKSPACE" || strings.HasSuffix(strings.ToLower(key), "_proxy")
	})
}

// Env is the environment in which the program, or any other client, meets this world: configuration that any user has.
// What else in base would lead elsewhere is left out.
func (w *World) Env(base []string) []string {
	env := Plain(base)
	for k, v := range w.Registry.Env(w.RegistryURL) {
		env = append(env, k+"="+v)
	}
	if w.GitHub != nil {
		env = append(env, "GITHUB_TOKEN="+github.Token, "JENKINS_TOKEN="+jenkinsToken)
	}
	return append(env,
		"KUBECONFIG="+w.Kubeconfig(),
		"AWS_CONFIG_FILE="+filepath.Join(w.Dir, "aws-config"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(w.Dir, "aws-credentials"),
		"ROLLBACK_STATE="+filepath.Join(w.Dir, "journals"), "ROLLBACK_USER=oncall",
		"ROLLBACK_CONFIG="+filepath.Join(w.Dir, "rollback.yaml"))
}

// Close ends the servers and removes the directory.
func (w *World) Close() {
	if w.puller != nil {
		defer w.puller.Close()
		w.puller.Stop()
	}
	if w.Cluster != nil {
		w.Cluster.Close()
		w.Cluster.Switchboard.Close()
	}
	if w.Registry != nil {
		w.Registry.Switchboard.Close()
	}
	if w.Jenkins != nil {
		w.Jenkins.Close()
	}
	for _, s := range w.servers {
		_ = s.Close()
	}
	if w.GitHub != nil {
		w.GitHub.Close()
	}
	if w.Dir != "" {
		_ = os.RemoveAll(w.Dir)
	}
}

// CommitOf makes the commit ID of a made-up change, always the same for the same words.
func CommitOf(words string) string {
	sum := sha1.Sum([]byte("acme " + words))
	return hex.EncodeToString(sum[:])
}

// Image is the reference by which pods pull the moving tag of a service.
func (w *World) Image(service string) string { return w.Registry.Host() + "/" + service + ":latest" }

// Push builds and pushes one release of a service some time ago, and points latest at it, as its Jenkins job does.
func (w *World) Push(service, title string, ago time.Duration, platforms ...string) (Release, error) {
	return w.push(service, title, CommitOf(service+": "+title), ago, platforms...)
}

func (w *World) push(service, title, commit string, ago time.Duration, platforms ...string) (Release, error) {
	pushed, err := w.Registry.Push(service, ecr.PushOptions{Tags: []string{commit, "latest"}, Content: title, Platforms: platforms, Created: time.Now().Add(-ago - time.Minute)})
	if err != nil {
		return Release{}, err
	}
	r := Release{Commit: commit, Digest: pushed.Digest, Title: title, Pushed: time.Now().Add(-ago).UTC().Truncate(time.Second)}
	return r, w.Registry.SetPushedAt(service, r.Digest, r.Pushed)
}

// object is a Kubernetes object.
type object = map[string]any

// Workload is a Deployment, StatefulSet or DaemonSet with one container.
func Workload(kind, name, image string, replicas int, change ...func(template, spec object)) object {
	labels := object{"app": name}
	podSpec := object{"containers": []any{object{"name": "app", "image": image, "imagePullPolicy": "Always"}}}
	template := object{"metadata": object{"labels": labels}, "spec": podSpec}
	spec := object{"selector": object{"matchLabels": labels}, "template": template}
	if kind != "DaemonSet" {
		spec["replicas"] = replicas
	}
	if kind == "StatefulSet" {
		spec["serviceName"] = name
	}
	for _, f := range change {
		f(podSpec, spec)
	}
	return object{"apiVersion": "apps/v1", "kind": kind, "metadata": object{"name": name, "namespace": Namespace, "labels": labels}, "spec": spec}
}

// CronJob is a CronJob of one container.
func CronJob(name, image, schedule string) object {
	return object{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": object{"name": name, "namespace": Namespace},
		"spec": object{"schedule": schedule, "jobTemplate": object{"spec": object{"template": object{"spec": object{
			"restartPolicy": "Never", "containers": []any{object{"name": "job", "image": image, "imagePullPolicy": "Always"}}}}}}}}
}

// settled bounds how long the world may take to come up.
const settled = 30 * time.Second

// planned is one release of the story before it is made.
type planned struct {
	title, author string
	ago           time.Duration
	files         map[string]string
}

// releases are those of the story, oldest first; the last one is the bad one.
var releases = []planned{
	{"Retry card network timeouts", "payments-dev", 9 * 24 * time.Hour, map[string]string{"network.go": "package payments\n\nconst retries = 3\n"}},
	{"Log the acquirer's answer code", "platform-dev", 6 * 24 * time.Hour, map[string]string{"acquirer.go": "package payments\n"}},
	{"Cache exchange rates for a minute", "payments-dev", 27 * time.Hour, map[string]string{"rates.go": "package payments\n\nconst keep = 60 // seconds\n"}},
	{"Round amounts in the ledger", "ledger-dev", 42 * time.Minute, map[string]string{"ledger.go": ledger("amount / 100 * 100")}},
}

// Seed brings the world into the state of the story: payments and its worker on a release that is bad since 42 minutes,
// beside services that are well.
func (w *World) Seed(ctx context.Context) error {
	for _, s := range []string{"web", "checkout"} {
		w.Registry.CreateRepository(s)
	}
	if _, err := w.Push("web", "New landing page", 3*24*time.Hour); err != nil {
		return err
	}
	if _, err := w.Push("checkout", "Vouchers", 5*time.Hour); err != nil {
		return err
	}
	if err := w.Cluster.Apply(
		Workload("Deployment", "web", w.Image("web"), 2),
		Workload("Deployment", "checkout", w.Image("checkout"), 2),
	); err != nil {
		return err
	}
	if err := w.SeedScope(ctx); err != nil {
		return err
	}
	return w.settle(ctx, map[string]time.Duration{"deployments/web": 3 * 24 * time.Hour, "deployments/checkout": 5 * time.Hour})
}

// SeedScope brings in the one service that the story is about: four releases of payments, of which the last one runs, as a
// Deployment, a StatefulSet and a CronJob.
func (w *World) SeedScope(ctx context.Context) error {
	w.Registry.CreateRepository("payments")
	var commits []string
	if w.GitHub != nil {
		var err error
		if commits, err = w.seedCode(releases); err != nil {
			return err
		}
		w.webhook.Store(true)
	}
	for i, r := range releases {
		commit := CommitOf("payments: " + r.title)
		if commits != nil {
			commit = commits[i]
		}
		release, err := w.push("payments", r.title, commit, r.ago, "linux/amd64", "linux/arm64")
		if err != nil {
			return err
		}
		w.Releases = append(w.Releases, release)
	}
	payments := w.Image("payments")
	if err := w.Cluster.Apply(
		Workload("Deployment", "payments", payments, 3),
		Workload("StatefulSet", "payments-worker", payments, 2),
		CronJob("payments-report", payments, "0 6 * * *"),
	); err != nil {
		return err
	}
	return w.settle(ctx, map[string]time.Duration{"deployments/payments": 40 * time.Minute, "statefulsets/payments-worker": 40 * time.Minute})
}

// settle waits until the workloads are up, and sets their pods' birth back to when their images were deployed.
func (w *World) settle(ctx context.Context, born map[string]time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	for workload, ago := range born {
		resource, app, _ := strings.Cut(workload, "/")
		if err := w.Cluster.WaitRollout(ctx, resource, Namespace, app); err != nil {
			return fmt.Errorf("bringing up %s: %w", app, err)
		}
		for _, p := range w.Cluster.List("pods", Namespace, "app="+app) {
			meta, _ := p["metadata"].(map[string]any)
			name, _ := meta["name"].(string)
			if err := w.Cluster.Edit("pods", Namespace, name, func(o map[string]any) {
				o["metadata"].(map[string]any)["creationTimestamp"] = time.Now().Add(-ago).UTC().Format(time.RFC3339)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Running counts what the pods of an app report, digest by digest, read from the cluster itself.
func (w *World) Running(app string) map[string]int {
	counts := map[string]int{}
	for _, p := range w.Cluster.List("pods", Namespace, "app="+app) {
		meta, _ := p["metadata"].(map[string]any)
		if meta["deletionTimestamp"] != nil {
			continue
		}
		status, _ := p["status"].(map[string]any)
		list, _ := status["containerStatuses"].([]any)
		for _, c := range list {
			id, _ := c.(map[string]any)["imageID"].(string)
			_, digest, _ := strings.Cut(id, "@")
			counts[digest]++
		}
	}
	return counts
}
