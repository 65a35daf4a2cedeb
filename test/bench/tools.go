package main

// The programs that people use today, found or installed from package registries.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// The versions measured against.
const (
	craneVersion  = "v0.22.1"
	regctlVersion = "v0.11.7"
	awsVersion    = "1.45.11" // of the package awscli, where no aws is on PATH
)

// tool is another program. path is "" when it is not there; then hint says how to get it, and why that failed here.
type tool struct {
	name, path, version, hint string
}

type tools struct{ crane, skopeo, regctl, aws, kubectl, git, gh tool }

func (t tools) list() []tool {
	return []tool{t.crane, t.skopeo, t.regctl, t.aws, t.kubectl, t.git, t.gh}
}

// install finds or installs everything. What fails is said in the report, not hidden.
func (b *bench) install(ctx context.Context) tools {
	t := tools{
		crane:   b.goTool(ctx, "crane", "github.com/google/go-containerregistry/cmd/crane", craneVersion),
		regctl:  b.goTool(ctx, "regctl", "github.com/regclient/regclient/cmd/regctl", regctlVersion),
		skopeo:  b.skopeo(ctx),
		aws:     b.awsCLI(ctx),
		kubectl: tool{name: "kubectl", hint: "install it: https://kubernetes.io/docs/tasks/tools/#kubectl"},
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		t.kubectl.path, t.kubectl.version = kubectlItself(ctx, path)
	}
	return t
}

// kubectlItself passes by the dispatcher of the Google Cloud SDK, which asks the server's version and starts another
// kubectl: that is not kubectl's own time.
func kubectlItself(ctx context.Context, path string) (string, string) {
	version := func(path string) string {
		return first(ctx, path, `(?:Client Version|GitVersion): *"?(v[0-9][^\s"]*)`, "version", "--client")
	}
	v := version(path)
	if real, err := filepath.EvalSymlinks(path); err == nil && strings.HasSuffix(v, "-dispatcher") {
		if others, err := filepath.Glob(real + ".1.*"); err == nil && len(others) > 0 {
			path = slices.MaxFunc(others, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
			v = version(path)
		}
	}
	return path, v
}

// first runs a tool and picks its version out of what it says.
func first(ctx context.Context, path, pattern string, args ...string) string {
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if m := regexp.MustCompile(pattern).FindSubmatch(out); err == nil && m != nil {
		return string(m[1])
	}
	return "version unknown"
}

// goTool builds a Go program of a fixed version into .cache/bin, once.
func (b *bench) goTool(ctx context.Context, name, pkg, version string) tool {
	t := tool{name: name, version: version, hint: "go install " + pkg + "@" + version}
	bin := filepath.Join(b.root, ".cache", "bin")
	path := filepath.Join(bin, name+"-"+version)
	if _, err := os.Stat(path); err == nil {
		t.path = path
		return t
	}
	b.log("installing %s %s", name, version)
	tmp := filepath.Join(b.dir, "gobin")
	cmd := exec.CommandContext(ctx, "go", "install", pkg+"@"+version)
	// GOFLAGS may hold what only fits this module.
	cmd.Env, cmd.Dir = append(os.Environ(), "GOFLAGS=", "GOBIN="+tmp), b.dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		if err = os.MkdirAll(bin, 0o755); err == nil {
			err = move(filepath.Join(tmp, name), path)
		}
	}
	if err != nil {
		t.hint, t.version = t.hint+" failed: "+lastLine(out, err), ""
		return t
	}
	t.path = path
	return t
}

// move renames a file, or copies it where the two places are on different disks.
func move(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".part", data, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".part", to)
}

// lastLine is the end of what a failed command said.
func lastLine(out []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return err.Error()
}

// skopeo comes from the system's packages.
func (b *bench) skopeo(ctx context.Context) tool {
	t := b.apt(ctx, "skopeo", "skopeo")
	if t.path != "" {
		t.version = first(ctx, t.path, `version (\S+)`, "--version")
	}
	return t
}

// apt is a program on PATH, or out of a package of that name where this is Debian and we may install.
func (b *bench) apt(ctx context.Context, name, pkg string) tool {
	t := tool{name: name, hint: fmt.Sprintf("apt-get install --no-install-recommends %s (dnf install %s; brew install %s)", pkg, pkg, pkg)}
	path, err := exec.LookPath(name)
	if err != nil && runtime.GOOS == "linux" && os.Geteuid() == 0 {
		if apt, aptErr := exec.LookPath("apt-get"); aptErr == nil {
			b.log("installing %s", pkg)
			for _, args := range [][]string{{"update"}, {"install", "--yes", "--no-install-recommends", pkg}} {
				cmd := exec.CommandContext(ctx, apt, args...)
				cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
				if out, aptErr := cmd.CombinedOutput(); aptErr != nil {
					t.hint += "; failed: " + lastLine(out, aptErr)
					break
				}
			}
			path, err = exec.LookPath(name)
		}
	}
	if err == nil {
		t.path = path
	}
	return t
}

// awsCLI is the one on PATH, else the Python package in a venv of its own.
func (b *bench) awsCLI(ctx context.Context) tool {
	t := tool{name: "aws", hint: "pip install awscli==" + awsVersion}
	path, err := exec.LookPath("aws")
	if err == nil && filepath.Base(filepath.Dir(path)) == "shims" {
		// pyenv's shim is a shell script that looks for the real one each time: that is not aws's own time.
		if out, whichErr := exec.CommandContext(ctx, "pyenv", "which", "aws").Output(); whichErr == nil {
			path = strings.TrimSpace(string(out))
		}
	}
	if err != nil {
		path, err = b.awsVenv(ctx)
	}
	if err != nil {
		t.hint += " failed: " + err.Error()
		return t
	}
	t.path, t.version = path, first(ctx, path, `aws-cli/(\S+ Python/\S+)`, "--version")
	return t
}

func (b *bench) awsVenv(ctx context.Context) (string, error) {
	venv := filepath.Join(b.root, ".cache", "aws-"+awsVersion)
	path := filepath.Join(venv, "bin", "aws")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	b.log("installing awscli %s", awsVersion)
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		{filepath.Join(venv, "bin", "pip"), "install", "--quiet", "awscli==" + awsVersion},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			_ = os.RemoveAll(venv)
			return "", errors.New(lastLine(out, err))
		}
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the package came without the program: %w", err)
	}
	return path, nil
}
