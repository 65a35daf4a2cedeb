// Package internal_test holds the direction of dependencies: main → commands → internal/rollback ← adapters.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollback-tools/rollback"

// direction says which packages of this module a package may import. "/..." stands for everything below, "..." for all.
type direction struct {
	from string
	to   []string
}

// directions is the rule. The first line that fits a package counts; a package that none fits is an error, so that a new
// one is given its place here.
var directions = []direction{
	{".", []string{"commands"}}, // main.go
	{"commands", []string{"..."}},
	{"internal/demo", []string{"..."}},

	{"internal/rollback", nil}, // the domain: the standard library, and nothing else

	// Adapters know the domain and not each other.
	{"internal/ecr", []string{"internal/rollback", "internal/awsconfig"}},
	{"internal/eks", []string{"internal/rollback", "internal/awsconfig"}},
	{"internal/awsconfig", []string{"internal/rollback"}},
	{"internal/oci", []string{"internal/rollback"}},
	{"internal/kube", []string{"internal/rollback"}},
	{"jenkins", []string{"internal/rollback"}},
	{"internal/github", []string{"internal/rollback"}},
	{"internal/record", []string{"internal/rollback"}},
	{"internal/config", []string{"internal/rollback"}},
	{"internal/redact", []string{"internal/rollback"}},

	// Fakes are outside systems: they share nothing with the program that is tested against them.
	{"internal/fake", nil},
	{"internal/fake/...", []string{"internal/fake"}},

	{"internal", nil}, // this test
	{"scripts/...", nil},
	{"test/...", []string{"..."}},
}

// owner says which packages may import a module of others.
type owner struct {
	module string // or a prefix of modules, up to a slash
	by     []string
}

// owners is the rule for everything that is neither ours nor the standard library. A module that no line names is an
// error. Tests are free to use what go.mod has.
var owners = []owner{
	{"github.com/urfave/cli/v2", []string{"commands"}},
	{"golang.org/x/term", []string{"commands", "internal/demo"}},
	{"golang.org/x/sys", []string{"commands"}},
	{"github.com/aws", []string{"internal/ecr", "internal/eks", "internal/awsconfig"}},
	{"k8s.io", []string{"internal/kube"}},
	{"github.com/bndr/gojenkins", []string{"jenkins"}},
	{"github.com/google/go-containerregistry", []string{"internal/oci"}},
	{"github.com/google/go-github/v60", []string{"internal/github"}},
	{"go.yaml.in/yaml/v3", []string{"internal/config", "internal/demo"}},
	{"golang.org/x/sync", []string{"commands", "internal/ecr", "internal/eks", "internal/oci", "internal/kube", "internal/demo"}},
	{"...", []string{"test/..."}},
}

// pkg is one package as `go list -json` tells it.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func TestDirectionOfDependencies(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.ImportPath == module+"/internal/rollback" }) {
		t.Fatalf("go list did not tell about %s", module)
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

// violations names every import that no line of the tables allows.
func violations(pkgs []pkg) []string {
	standard := map[string]bool{"C": true}
	for _, p := range pkgs {
		standard[p.ImportPath] = p.Standard
	}
	var bad []string
	for _, p := range pkgs {
		from, ok := ours(p.ImportPath)
		if !ok {
			continue
		}
		line := slices.IndexFunc(directions, func(d direction) bool { return fits(d.from, from) })
		if line < 0 {
			bad = append(bad, from+" has no line in directions")
			continue
		}
		for _, path := range p.Imports {
			if standard[path] || standard[strings.TrimPrefix(path, "vendor/")] {
				continue
			}
			if to, ok := ours(path); ok {
				if !slices.ContainsFunc(directions[line].to, func(pattern string) bool { return fits(pattern, to) }) {
					bad = append(bad, from+" must not import "+to)
				}
				continue
			}
			allowed := slices.ContainsFunc(owners, func(o owner) bool {
				return (o.module == "..." || path == o.module || strings.HasPrefix(path, o.module+"/")) &&
					slices.ContainsFunc(o.by, func(pattern string) bool { return fits(pattern, from) })
			})
			if !allowed {
				bad = append(bad, from+" must not import "+path)
			}
		}
	}
	return bad
}

// ours is a package's path inside this module.
func ours(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func fits(pattern, path string) bool {
	if pattern == "..." || pattern == path {
		return true
	}
	below, ok := strings.CutSuffix(pattern, "...")
	return ok && strings.HasPrefix(path, below)
}

// The checker itself: each import in a made-up world where everything else is in order.
func TestViolations(t *testing.T) {
	t.Parallel()
	const (
		cli  = "github.com/urfave/cli/v2"
		aws  = "github.com/aws/aws-sdk-go-v2/service/ecr"
		k8s  = "k8s.io/client-go/dynamic"
		gcr  = "github.com/google/go-containerregistry/pkg/name"
		yaml = "go.yaml.in/yaml/v3"
		bndr = "github.com/bndr/gojenkins"
	)
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{".", "commands", true},
		{".", "internal/rollback", false},
		{".", cli, false},
		{".", "os/signal", true},
		{"commands", "internal/kube", true},
		{"commands", "internal/demo", true},
		{"commands", cli, true},
		{"commands", aws, false},
		{"commands", k8s, false},
		{"commands", gcr, false},
		{"internal/rollback", "net/http", true},
		{"internal/rollback", "internal/record", false},
		{"internal/rollback", "golang.org/x/sync/errgroup", false},
		{"internal/rollback", yaml, false},
		{"internal/ecr", "internal/rollback", true},
		{"internal/ecr", "internal/awsconfig", true},
		{"internal/ecr", aws, true},
		{"internal/ecr", "github.com/aws/smithy-go", true},
		{"internal/ecr", "internal/oci", false},
		{"internal/ecr", "internal/eks", false},
		{"internal/ecr", gcr, false},
		{"internal/eks", "internal/awsconfig", true},
		{"internal/eks", "internal/kube", false},
		{"internal/awsconfig", "internal/ecr", false},
		{"internal/oci", gcr, true},
		{"internal/oci", "internal/awsconfig", false},
		{"internal/oci", aws, false},
		{"internal/kube", k8s, true},
		{"internal/kube", "internal/record", false},
		{"internal/kube", cli, false},
		{"jenkins", bndr, true},
		{"jenkins", "internal/rollback", true},
		{"jenkins", "internal/kube", false},
		{"commands", "jenkins", true},
		{"commands", bndr, false},
		{"internal/rollback", "jenkins", false},
		{"internal/fake/jenkins", bndr, false},
		{"internal/fake/jenkins", "jenkins", false},
		{"internal/record", "internal/kube", false},
		{"internal/record", "internal/redact", false},
		{"internal/record", k8s, false},
		{"internal/config", yaml, true},
		{"internal/config", "commands", false},
		{"internal/redact", "internal/config", false},
		{"internal/fake", "internal/rollback", false},
		{"internal/fake/ecr", "internal/fake", true},
		{"internal/fake/ecr", "internal/fake/oci", false},
		{"internal/fake/ecr", "internal/rollback", false},
		{"internal/fake/kube", k8s, false},
		{"internal/demo", "internal/fake/ecr", true},
		{"internal/demo", cli, false},
		{"internal/kube", "example.com/unknown", false},
		{"internal/kube", "k8s.iou/other", false},
		{"internal/rollbacker", "net/http", false}, // no line for it
		{"test/bench", "internal/ecr", true},
		{"test/bench", aws, true},
		{"scripts/x", "internal/rollback", false},
	} {
		path := func(p string) string {
			switch first, _, _ := strings.Cut(p, "/"); {
			case p == ".":
				return module
			case slices.Contains([]string{"commands", "internal", "jenkins", "test", "scripts"}, first):
				return module + "/" + p
			}
			return p
		}
		got := violations([]pkg{
			{ImportPath: path(c.from), Imports: []string{path(c.to)}},
			{ImportPath: "net/http", Standard: true},
			{ImportPath: "os/signal", Standard: true},
			{ImportPath: "example.com/unknown", Imports: []string{"k8s.io/anything"}}, // what others import is theirs
		})
		if c.ok && len(got) > 0 || !c.ok && (len(got) != 1 || !strings.HasPrefix(got[0], c.from+" ")) {
			t.Errorf("%s imports %s: %q", c.from, c.to, got)
		}
	}
}
