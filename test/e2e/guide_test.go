package e2e

// The guide: every sh block of docs/guide.md is run, in order, in the real world by a user who has what the guide asks for.

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fenced are the blocks of a language in Markdown, in order.
func fenced(text, language string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func TestGuide(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	defer cancel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "guide.md"))
	if err != nil {
		t.Fatal(err)
	}
	yamls, blocks := fenced(string(text), "yaml"), fenced(string(text), "sh")
	if len(yamls) != 1 || len(blocks) < 5 {
		t.Fatalf("docs/guide.md has %d yaml blocks, want 1, and %d sh blocks, want at least 5", len(yamls), len(blocks))
	}
	if n := strings.Count(string(text), "\n```"); n != 2*(len(yamls)+len(blocks)) {
		t.Errorf("docs/guide.md has %d fences, %d of them of yaml and sh blocks: what is in the others is not tested", n, 2*(len(yamls)+len(blocks)))
	}

	w := newReal(t, Options{}).(*real)
	config := yamls[0]
	for guide, here := range map[string]string{"https://test.example.com": w.proxy.URL, "payments-test": w.namespace} {
		if !strings.Contains(config, guide) {
			t.Fatalf("the guide's rollback.yaml does not have %s:\n%s", guide, config)
		}
		config = strings.ReplaceAll(config, guide, here)
	}
	token, err := w.token()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- {name: acme, cluster: {server: "%s", certificate-authority-data: "%s"}}
users:
- {name: oncall, user: {token: "%s"}}
- {name: admin, user: {token: "%s"}}
contexts:
- {name: acme-test, context: {cluster: acme, user: oncall}}
- {name: acme-admin, context: {cluster: acme, user: admin}}
`, w.proxy.URL, base64.StdEncoding.EncodeToString(pemOf(w.proxy)), token, w.cluster.Token)
	for name, text := range map[string]string{"rollback.yaml": config, "kubeconfig": kubeconfig} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Stage{world: w, releases: map[string]*Release{}}
	if err := payments("Deployment", "StatefulSet")(ctx, s); err != nil {
		t.Fatal(err)
	}
	bin := toolPath(t)
	if err := os.Remove(filepath.Join(bin, "rollback")); err != nil { // the guide installs it
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "bin") + string(os.PathListSeparator) + bin
	good, bad := s.releases["good"].Commit[:7], s.releases["bad"].Commit[:7]
	says := map[string][]string{ // what a reader must find in the output of a command
		"rollback --version":  {"rollback "},
		"rollback status":     {"payments", "5/5"},
		"rollback candidates": {good},
		"plan --service payments --environment test --to previous\n": {"current   " + bad, "target    " + good, "verdict   safe"},
		"--plan plan.json": {"is back on " + good, "production: proven", "rollback undo --service payments --environment test"},
		"get configmap":    {"record.json", "every pod of payments/test runs " + good},
		"end of the drill\" --yes\nrollback status": {"is back on " + bad, "undone, back on " + bad},
		"rollback retag": {"names " + good, "rolled out", "every pod of payments/test runs " + good, "is back on " + bad},
	}
	unsaid := maps.Clone(says)
	for i, block := range blocks {
		block = strings.ReplaceAll(block, "payments-test", w.namespace)
		dir, extra := w.dir, []string(nil)
		if strings.Contains(block, "make build") { // in a clone of this repository, with the caches of whoever runs the tests
			dir = filepath.Join("..", "..")
			extra = os.Environ()
			for _, name := range []string{"GOPATH", "GOCACHE", "GOENV"} {
				value, err := quickly(nil, "", "go", "env", name)
				if err != nil {
					t.Fatal(err)
				}
				extra = append(extra, name+"="+strings.TrimSpace(string(value)))
			}
			extra = append(extra, "HOME="+w.dir)
		}
		at := time.Now()
		out, err := shell(ctx, w, path, dir, "exec 2>&1\n"+block, extra...)
		if err != nil {
			t.Fatalf("block %d of docs/guide.md: %v", i+1, err)
		}
		for command, lines := range says {
			if !strings.Contains(block, command) {
				continue
			}
			delete(unsaid, command)
			for _, want := range lines {
				if !strings.Contains(out, want) {
					t.Errorf("block %d of docs/guide.md does not say %q:\n%s\n%s", i+1, want, block, out)
				}
			}
		}
		t.Logf("block %d: %s\n%s\n%s", i+1, time.Since(at).Round(time.Millisecond), block, out)
		for _, bound := range []struct{ command, verb, group, resource string }{
			{"create rolebinding rollback-plan", "list", "", "pods"},
			{"create rolebinding rollback-run", "patch", "apps", "deployments"},
		} {
			if strings.Contains(block, bound.command) { // the API server's authorizer sees it a moment later
				if err := until(ctx, func() (bool, error) { return w.allowed(ctx, token, bound.verb, bound.group, bound.resource) }); err != nil {
					t.Fatalf("block %d of docs/guide.md: %s gives no right: %v", i+1, bound.command, err)
				}
			}
		}
	}
	for command := range unsaid {
		t.Errorf("docs/guide.md has no block with %q", command)
	}
	if got, want := w.registry.Tags("payments")["latest"], s.releases["bad"].Digest; got != want {
		t.Errorf("at the end of the guide latest names %s, not what it named at the beginning, %s", got, want)
	}
	for _, v := range w.registry.Violations() {
		t.Error(v)
	}
}
