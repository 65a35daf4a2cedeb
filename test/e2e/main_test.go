package e2e

// The end-to-end tests: the built program against two worlds. `make e2e` in the top directory builds what they need, and
// names it in the environment; without that they build it themselves, which takes minutes the first time.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	rollbackBinary  = os.Getenv("E2E_ROLLBACK")
	kubeworldBinary = os.Getenv("E2E_KUBEWORLD")
	scratch         string // removed at the end
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "rollback-e2e-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	if rollbackBinary == "" {
		rollbackBinary = filepath.Join(scratch, "rollback")
		if err := build(filepath.Join("..", ".."), rollbackBinary, "."); err != nil {
			return 0, err
		}
	}
	if kubeworldBinary == "" {
		fmt.Fprintln(os.Stderr, "e2e: building kubeworld; from nothing this takes minutes (make e2e keeps it)")
		kubeworldBinary = filepath.Join(scratch, "kubeworld")
		if err := build(".", kubeworldBinary, "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2", "./cmd/kubeworld"); err != nil {
			return 0, err
		}
	}
	defer func() {
		if started.Load() {
			if c, startErr := theCluster(); startErr == nil {
				c.stop()
			}
		}
	}()
	return m.Run(), nil
}

func build(dir, out string, args ...string) error {
	c := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", out}, args...)...)
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	return c.Run()
}
