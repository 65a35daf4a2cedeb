package e2e

// The programs that people use today: found, or installed into .cache. A test that needs one fails with the command that
// installs it when it cannot be had.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	craneVersion = "v0.22.1"
	awsVersion   = "1.45.11" // of the Python package awscli, where no aws is on PATH
	oldestMinor  = 30        // of kubectl 1: what is older is not used
)

// cache keeps what was built or installed, across runs.
var cache = func() string {
	dir, err := filepath.Abs(filepath.Join("..", "..", ".cache"))
	if err != nil {
		panic(err) // there is no working directory
	}
	return dir
}()

// tools are the three of them, by name; each is looked for once.
var tools = map[string]func() (string, error){
	"kubectl": sync.OnceValues(findKubectl),
	"crane":   sync.OnceValues(findCrane),
	"aws":     sync.OnceValues(findAWS),
}

// toolPath is a directory that has all the tools under their own names, and rollback as well.
func toolPath(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	link := func(path, name string) {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, find := range tools {
		path, err := find()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		link(path, name)
	}
	path, err := filepath.Abs(rollbackBinary)
	if err != nil {
		t.Fatal(err)
	}
	link(path, "rollback")
	return dir
}

// quickly runs a program that installs or describes something, and returns what it wrote.
func quickly(env []string, dir, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	c.Env, c.Dir, c.Stderr = append(os.Environ(), env...), dir, &stderr
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, err
}

// findKubectl is that on PATH if it is not too old, else one built from the module of the API server's own release.
func findKubectl() (string, error) {
	if path, err := exec.LookPath("kubectl"); err == nil {
		out, err := quickly(nil, "", path, "version", "--client", "--output", "json")
		var v struct{ ClientVersion struct{ Major, Minor string } }
		if err == nil && json.Unmarshal(out, &v) == nil && v.ClientVersion.Major == "1" {
			if minor, err := strconv.Atoi(strings.TrimRight(v.ClientVersion.Minor, "+")); err == nil && minor >= oldestMinor {
				return path, nil
			}
		}
	}
	out, err := quickly(nil, "", "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(string(out))
	path := filepath.Join(cache, "bin", "kubectl-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "e2e: no kubectl of 1."+strconv.Itoa(oldestMinor)+" or later on PATH; building one, a minute or two")
	_, err = quickly([]string{"CGO_ENABLED=0"}, "", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+version, "-o", path, "./cmd/kubectl")
	return path, err
}

func findCrane() (string, error) {
	path := filepath.Join(cache, "bin", "crane-"+craneVersion)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "e2e: installing crane", craneVersion)
	bin := filepath.Join(scratch, "gobin")
	// GOFLAGS may hold what only fits this module; the directory is that of no module.
	if _, err := quickly([]string{"GOFLAGS=", "GOBIN=" + bin}, scratch, "go", "install", "github.com/google/go-containerregistry/cmd/crane@"+craneVersion); err != nil {
		return "", err
	}
	return path, keepFile(filepath.Join(bin, "crane"), path)
}

// keepFile copies a program into the cache; whoever looks for it meanwhile finds it whole or not at all.
func keepFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", data, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// findAWS is the one on PATH, else the Python package in an environment of its own.
func findAWS() (string, error) {
	if path, err := exec.LookPath("aws"); err == nil {
		if filepath.Base(filepath.Dir(path)) != "shims" {
			return path, nil
		}
		// A shim of pyenv looks for the real one in the home directory, and the tests have another.
		if out, err := quickly(nil, "", "pyenv", "which", "aws"); err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	venv := filepath.Join(cache, "aws-"+awsVersion)
	path := filepath.Join(venv, "bin", "aws")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "e2e: no aws on PATH; installing awscli", awsVersion)
	if _, err := quickly(nil, "", "python3", "-m", "venv", venv); err != nil {
		return "", fmt.Errorf("install the AWS CLI (https://aws.amazon.com/cli/), or Python 3 with venv and pip: %w", err)
	}
	if _, err := quickly(nil, "", filepath.Join(venv, "bin", "pip"), "install", "--quiet", "awscli=="+awsVersion); err != nil {
		_ = os.RemoveAll(venv)
		return "", fmt.Errorf("install the AWS CLI (https://aws.amazon.com/cli/): %w", err)
	}
	return path, nil
}

// shell runs a script as a user of the world types it, with the tools on PATH before all else, and returns what it printed.
func shell(ctx context.Context, w World, tools, dir, script string, extra ...string) (string, error) {
	c := exec.CommandContext(ctx, "sh", "-euc", script)
	c.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	c.Dir, c.Stdout, c.Stderr = dir, &stdout, &stderr
	c.Env = append(append(w.Env(), extra...), // the last of a name counts
		"PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"), "AWS_PAGER=", "AWS_DEFAULT_REGION=eu-west-1", "AWS_EC2_METADATA_DISABLED=true")
	if err := c.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w in\n%s\n%s%s", err, script, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}
