package main

// Running the built program, and other people's, as processes.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// build makes the program as `make build` does: static, trimmed, stripped.
func (b *bench) build(ctx context.Context) error {
	b.bin = filepath.Join(b.dir, "rollback")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "urfave_cli_no_docs",
		"-gcflags=github.com/aws/...=-l", "-gcflags=k8s.io/...=-l", "-gcflags=github.com/rollback-tools/rollback/internal/fake/...=-l",
		"-ldflags", "-s -w -funcalign=16 -X main.version=bench", "-o", b.bin, ".") // as the Makefile does
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// ended is a process that has ended well.
type ended struct {
	begun, at      time.Time
	stdout, stderr string
}

func (e ended) wall() time.Duration { return e.at.Sub(e.begun) }

// patience bounds one process; none takes long unless something is wrong. The longest clones half a gigabyte.
const patience = 3 * time.Minute

// command runs a process to its end. Any exit code but 0 is an error, with what it said.
func command(ctx context.Context, env []string, dir, name string, args ...string) (ended, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = env, dir, time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	e := ended{begun: time.Now()}
	err := cmd.Run()
	e.at = time.Now()
	e.stdout, e.stderr = stdout.String(), stderr.String()
	if err != nil {
		return e, fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, e.stdout, e.stderr)
	}
	return e, nil
}

// usageWord makes the bench a small process that runs one other and tells what it used. A child's peak memory counts from
// its parent's at the fork, so the parent must be small; the bench with its worlds is not.
const usageWord = "usage-of"

// usage is what usageMain tells. The processes that the command started and waited for are in it.
type usage struct {
	PeakBytes int64 // of the largest process
	CPU, Wall time.Duration
	Ended     time.Time
}

// usageMain runs a command and writes its usage as JSON to the file that BENCH_USAGE names.
func usageMain(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	begun := time.Now()
	err := cmd.Run()
	ended := time.Now()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	u := usage{CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Wall: ended.Sub(begun), Ended: ended}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.PeakBytes = int64(r.Maxrss)
		if runtime.GOOS != "darwin" { // kilobytes everywhere else
			u.PeakBytes *= 1024
		}
	}
	data, err := json.Marshal(u)
	if err == nil {
		err = os.WriteFile(os.Getenv("BENCH_USAGE"), data, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// usageOf runs the program in a small process's care and tells its peak memory.
func (b *bench) usageOf(ctx context.Context, s *site, args ...string) (usage, error) {
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	file := filepath.Join(b.dir, "usage.json")
	env, dir := os.Environ(), b.dir
	if s != nil {
		env, dir = s.env, s.Dir
	}
	if _, err := command(ctx, append(env, "BENCH_USAGE="+file), dir, self, append([]string{usageWord, b.bin}, args...)...); err != nil {
		return usage{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return usage{}, err
	}
	var u usage
	return u, json.Unmarshal(data, &u)
}

// startTime is the median time of a process that only says its version.
func (b *bench) startTime(ctx context.Context, n int) (time.Duration, error) {
	var walls []time.Duration
	for range n {
		e, err := command(ctx, os.Environ(), b.dir, b.bin, "--version")
		if err != nil {
			return 0, err
		}
		walls = append(walls, e.wall())
	}
	return median(walls), nil
}

// machine says what this was measured on, without naming it.
func (b *bench) machine(ctx context.Context) ([]string, error) {
	goVersion, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return nil, err
	}
	about := []string{
		"date: " + time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		"machine: " + plural(runtime.NumCPU(), "core", "cores") + ", " + memory(ctx) + ", " + system(ctx) + " (" + runtime.GOOS + "/" + runtime.GOARCH + ")",
		"Go: " + strings.TrimSpace(string(goVersion)),
	}
	if rev, err := exec.CommandContext(ctx, "git", "-C", b.root, "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		text := "commit: " + strings.TrimSpace(string(rev))
		changed, err := exec.CommandContext(ctx, "git", "-C", b.root, "status", "--porcelain", "--untracked-files=no", "--", "*.go", "go.mod").Output()
		if err == nil && len(bytes.TrimSpace(changed)) > 0 {
			text += ", with changes not committed"
		}
		about = append(about, text)
	}
	for _, t := range b.tools.list() {
		if t.version != "" {
			about = append(about, t.name+": "+t.version)
		}
	}
	return about, nil
}

func memory(ctx context.Context) string {
	var bytes float64
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
				kb, _ := strconv.ParseFloat(f[1], 64)
				bytes = kb * 1024
			}
		}
	} else if out, err := exec.CommandContext(ctx, "sysctl", "-n", "hw.memsize").Output(); err == nil {
		bytes, _ = strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	}
	if bytes == 0 {
		return "memory unknown"
	}
	return fmt.Sprintf("%.0f GiB of memory", bytes/(1<<30))
}

func system(ctx context.Context) string {
	if data, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"`)
			}
		}
	}
	if out, err := exec.CommandContext(ctx, "sw_vers", "-productVersion").Output(); err == nil {
		return "macOS " + strings.TrimSpace(string(out))
	}
	return "unknown system"
}
