package e2e

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// loopback is the world of `rollback demo` and of the main module's tests.
type loopback struct {
	*demo.World
	api    *API
	images store // in place of the world's ECR; nil with ECR
	url    string
}

func newLoopback(t *testing.T, o Options) World {
	t.Helper()
	w, err := demo.Start(demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	text, err := os.ReadFile(w.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	ca := regexp.MustCompile(`certificate-authority-data: "([^"]+)"`).FindSubmatch(text)
	if ca == nil {
		t.Fatalf("no certificate in the kubeconfig:\n%s", text)
	}
	l := &loopback{World: w}
	if o.OCI {
		var s *httptest.Server
		l.images, s = newPlainLoopback(t)
		l.url = s.URL
	}
	behind := httptest.NewTLSServer(w.Cluster.Switchboard.Next)
	t.Cleanup(behind.Close)
	if l.api, err = newAPI(behind.URL, string(pemOf(behind)), kube.AdminToken); err != nil {
		t.Fatal(err)
	}
	if err := write(w.Dir, w.ClusterURL, string(ca[1]), "oncall", demo.Namespace, l.Registry().Host(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, what := range w.Cluster.Refused() {
			t.Errorf("the loopback cluster was asked what it does not know: %s", what)
		}
	})
	return l
}

func (l *loopback) Name() string      { return "loopback" }
func (l *loopback) Namespace() string { return demo.Namespace }
func (l *loopback) Dir() string       { return l.World.Dir }
func (l *loopback) Env() []string {
	if l.images != nil {
		return environment(l.World.Dir, nil)
	}
	return environment(l.World.Dir, l.World.Registry.Env(l.World.RegistryURL))
}
func (l *loopback) API() *API                  { return l.api }
func (l *loopback) Cluster() *fake.Switchboard { return l.World.Cluster.Switchboard }

func (l *loopback) Registry() Registry {
	if l.images != nil {
		return l.images
	}
	return l.World.Registry
}

func (l *loopback) RegistryURL() string {
	if l.images != nil {
		return l.url
	}
	return l.World.RegistryURL
}

func (l *loopback) Grant(_ context.Context, roles []object) error {
	u := kube.User{Token: "oncall", Name: "system:serviceaccount:" + demo.Namespace + ":oncall"}
	list := func(o any, field string) []string {
		var out []string
		for _, v := range items(o, field) {
			out = append(out, v.(string))
		}
		return out
	}
	for _, role := range roles {
		for _, r := range items(role, "rules") {
			rule := kube.Rule{APIGroups: list(r, "apiGroups"), Resources: list(r, "resources"), ResourceNames: list(r, "resourceNames"), Verbs: list(r, "verbs")}
			if str(role, "kind") == "Role" {
				rule.Namespaces = []string{str(role, "metadata", "namespace")}
			}
			u.Rules = append(u.Rules, rule)
		}
	}
	l.World.Cluster.SetUser(u)
	return nil
}

func (l *loopback) Behave(_ context.Context, digest string, b control.Behaviour) error {
	l.World.Cluster.Behave(digest, kube.Behaviour(b))
	return nil
}

func (l *loopback) Preload(_ context.Context, ref, digest string) error {
	l.World.Cluster.Preload(ref, digest)
	return nil
}

func (l *loopback) SetImageID(_ context.Context, form control.ImageID) error {
	switch form {
	case control.RepoDigest:
		l.World.Cluster.SetImageID(kube.RepoDigest)
	case control.DockerPullable:
		l.World.Cluster.SetImageID(kube.DockerPullable)
	case control.PlatformDigest:
		l.World.Cluster.SetImageID(l.World.Puller().PlatformDigest)
	case control.BareConfig:
		l.World.Cluster.SetImageID(l.World.Puller().BareConfig)
	default:
		return fmt.Errorf("no image ID form %q", form)
	}
	return nil
}

func (l *loopback) Secret(_ context.Context, name string, there bool) error {
	l.World.Cluster.SetSecret(demo.Namespace, name, there)
	return nil
}

func (l *loopback) BreakSandboxes(_ context.Context, why string) error {
	l.World.Cluster.BreakSandboxes(why)
	return nil
}

func (l *loopback) Quota(_ context.Context, pods int) error {
	l.World.Cluster.ForbidPods(demo.Namespace, fmt.Sprintf("exceeded quota: pods, requested: pods=1, used: pods=%d, limited: pods=%d", pods, pods))
	return nil
}

func (l *loopback) Evict(_ context.Context, pod, message string) error {
	return l.World.Cluster.Evict(demo.Namespace, pod, message)
}

func (l *loopback) Lose(_ context.Context, node string) error { return l.World.Cluster.Lose(node) }
