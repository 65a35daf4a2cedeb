package e2e

// What a scenario needs of a world, and the two worlds that have it: the loopback one of `rollback demo`, and the real one.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
	"github.com/rollback-tools/rollback/test/e2e/registry"
)

// World is a registry and a cluster with one namespace, and the configuration that a user of them has.
type World interface {
	Name() string
	// Namespace is where the workloads are; it is "prod" or masked as such in a trace.
	Namespace() string
	// Dir holds rollback.yaml and the kubeconfig.
	Dir() string
	// Env is the environment of the program.
	Env() []string
	// API is the cluster's, asked as its administrator and past all faults.
	API() *API
	// Cluster is the switchboard between the program and the API server: faults, latency, counts. Operations are named as in
	// internal/fake/kube: "PATCH deployments/payments".
	Cluster() *fake.Switchboard
	Registry() Registry
	// RegistryURL is where the registry serves /v2/.
	RegistryURL() string
	// Grant lets the program's user do what these Roles and ClusterRoles say, and nothing else.
	Grant(ctx context.Context, roles []object) error
	// Behave says what containers of an image do, Preload what the nodes have before, SetImageID how they report images.
	Behave(ctx context.Context, digest string, b control.Behaviour) error
	Preload(ctx context.Context, ref, digest string) error
	SetImageID(ctx context.Context, form control.ImageID) error
	// Secret makes a Secret or takes it away, BreakSandboxes lets no pod get its network, Quota lets no more pods be made than
	// there are, Evict has a pod's node put it out.
	Secret(ctx context.Context, name string, there bool) error
	BreakSandboxes(ctx context.Context, why string) error
	Quota(ctx context.Context, pods int) error
	Evict(ctx context.Context, pod, message string) error
	// Lose cuts a node off. It is found again when the test ends.
	Lose(ctx context.Context, node string) error
}

// Registry is a registry with what stands behind its API.
type Registry interface {
	Host() string
	CreateRepository(name string)
	SetMutability(repo, mutability string, filters ...string) error
	SetLifecyclePolicy(repo, policy string) error
	SetPushedAt(repo, digest string, t time.Time) error
	Tags(repo string) map[string]string
	Tag(repo, tag, digest string) error
	Delete(repo, digest string) error
	Violations() []string

	Inject(fake.Fault)
	Clear()
	Unfired() []string
	Latency(time.Duration)
	Requests() []fake.Request
	Count(op string) int
	Open() int
	Reset()
}

// worlds start one world each, for one scenario; it ends with the test.
var worlds = []func(*testing.T, Options) World{newLoopback, newReal}

// Options shape a world.
type Options struct {
	// Config is appended to the environment in rollback.yaml, each line indented by four.
	Config string
	// OCI gives the world a registry that is not ECR.
	OCI bool
}

// write leaves the configuration that a user of the world would have.
func write(dir, server, ca, token, namespace, registryHost string, o Options) error {
	registry := `{kind: ecr, account: "123456789012", region: eu-west-1}`
	if o.OCI {
		registry = fmt.Sprintf(`{kind: oci, host: "%s"}`, registryHost)
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- {name: acme-prod, cluster: {server: "%s", certificate-authority-data: "%s"}}
users:
- {name: oncall, user: {token: "%s"}}
contexts:
- {name: acme-prod, context: {cluster: acme-prod, user: oncall, namespace: %s}}
current-context: acme-prod
`, server, ca, token, namespace)
	config := fmt.Sprintf(`defaults:
  repo: acme/{service}
  image: "{service}"
environments:
  prod:
    registry: %s
    cluster: {context: acme-prod, server: "%s"}
    namespace: %s
    confirm: false
    timeout: 2m
    settle: 100ms
%s`, registry, server, namespace, o.Config)
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "rollback.yaml"), []byte(config), 0o600)
}

// environment is what the program finds in it: how to reach the world, and nothing of whoever runs the tests.
func environment(dir string, aws map[string]string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C", "NO_COLOR=1",
		"KUBECONFIG=" + filepath.Join(dir, "kubeconfig"),
		"AWS_CONFIG_FILE=" + filepath.Join(dir, "aws-config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "aws-credentials"),
		"ROLLBACK_STATE=" + filepath.Join(dir, "journals"), "ROLLBACK_USER=oncall", "ROLLBACK_CONFIG=" + filepath.Join(dir, "rollback.yaml"),
	}
	for k, v := range aws {
		env = append(env, k+"="+v)
	}
	return env
}

// Release is one build of a service.
type Release struct {
	Commit, Title string
	Age           time.Duration // since it was pushed
	Platforms     []string
	Digest        string // set by push
}

// built is the time from which those in the images' configurations are counted back: the same image has the same digest in every world and every run.
var built = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// push builds and pushes releases, oldest first, as the service's Jenkins job does: tagged with the commit and with latest.
func push(ctx context.Context, w World, service string, releases ...*Release) error {
	w.Registry().CreateRepository(service)
	for _, r := range releases {
		if r.Commit == "" { // where there is a repository, it says
			r.Commit = demo.CommitOf(service + ": " + r.Title)
		}
		digest, err := registry.Push(ctx, w.RegistryURL(), service, registry.Image{Content: r.Title, Created: built.Add(-r.Age), Platforms: r.Platforms}, r.Commit, "latest")
		if err != nil {
			return err
		}
		r.Digest = digest
		if err := w.Registry().SetPushedAt(service, digest, time.Now().Add(-r.Age).UTC().Truncate(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// image is the reference by which pods pull the moving tag of a service.
func image(w World, service string) string { return w.Registry().Host() + "/" + service + ":latest" }

// workload is a Deployment, StatefulSet or DaemonSet of one container; changes are made to its pod spec and its spec.
func workload(w World, kind, name, service string, replicas int, change ...func(podSpec, spec object)) object {
	o := demo.Workload(kind, name, image(w, service), replicas, change...)
	o["metadata"].(object)["namespace"] = w.Namespace()
	return o
}

// plural is the resource of a kind.
func plural(kind string) string { return strings.ToLower(kind) + "s" }
