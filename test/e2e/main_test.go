package e2e

// The end-to-end tests: the built program against two worlds. `make e2e` in the top directory builds what they need, and
// names it in the environment; without that they build it themselves, which takes minutes the first time.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", rollbackBinary, ".")
		c.Dir, c.Env, c.Stderr = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := c.Run(); err != nil {
			return 0, err
		}
	}
	if kubeworldBinary == "" {
		c := exec.Command("./kubeworld.sh")
		c.Stderr = os.Stderr
		path, err := c.Output()
		if err != nil {
			return 0, fmt.Errorf("kubeworld.sh: %w", err)
		}
		kubeworldBinary = strings.TrimSpace(string(path))
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
