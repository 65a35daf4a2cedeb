package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func (e *Env) demoCommand() *cli.Command {
	optServe := option{name: "serve", usage: "only start the world, print how to reach it, and keep it up until ^C", flag: true}
	return &cli.Command{
		Name: "demo", Category: set, Usage: "watch a real rollback against a loopback world; nothing of yours is touched",
		Description: "Starts a registry, a cluster, GitHub and Jenkins on 127.0.0.1, in the state in which somebody is called at night, and\n" +
			"runs this very program against them over HTTP: status, candidates, run, undo; or the way by the revert into production.",
		Flags: e.flags(optServe, option{name: "method", usage: "which story: retag, or revert all the way into production (default: retag)"}),
		Action: func(c *cli.Context) error {
			serve, err := e.on(c, optServe)
			if err != nil {
				return err
			}
			method := e.text(c, optMethod)
			if method != "" && method != rollback.MethodRetag && method != rollback.MethodRevert {
				from := "--method"
				if !c.IsSet(optMethod.name) {
					from = optMethod.env()
				}
				return rollback.UsageErrorf("%s %q: want retag or revert", from, method)
			}
			return e.demo(c.Context, serve, method == rollback.MethodRevert)
		},
	}
}

// demo tells the story. Each command runs as a process of its own, exactly as a person would type it.
func (e *Env) demo(ctx context.Context, serve, byRevert bool) (err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return rollback.UsageErrorf("the demo's GitHub runs on real git, and there is none on PATH: install git 2.38 or later")
	}
	o := demo.Options{Pace: 300 * time.Millisecond, Settle: time.Second, Code: true}
	if serve {
		o.Services = []string{"checkout", "payments", "web"}
	}
	w, err := demo.Start(o)
	if err != nil {
		return fmt.Errorf("starting the loopback world: %w", err)
	}
	defer w.Close()
	if err := w.Seed(ctx); err != nil {
		return fmt.Errorf("filling the loopback world: %w", err)
	}
	p := e.data()
	p.colour = e.Terminal && e.Getenv("NO_COLOR") == ""
	if serve {
		// The job that is there already becomes one of those that `jobs apply` keeps.
		if err := e.within(ctx, w, "jobs", "apply", "--service", "payments", "--adopt", "--yes"); err != nil {
			return err
		}
		return e.demoServe(ctx, p, w)
	}
	if byRevert {
		return e.demoRevert(ctx, p, w)
	}
	bad, good := w.Releases[len(w.Releases)-1], w.Releases[len(w.Releases)-2]
	begun := time.Now()
	say := func(format string, a ...any) { p.line("\n" + p.dim("# ") + fmt.Sprintf(format, a...)) }

	p.line(p.bold("A night at acme") + p.dim("   (a registry, a cluster, GitHub and Jenkins on 127.0.0.1; every line below is a real command against them)"))
	say("03:12. payments rounds amounts wrongly since %s, 42 minutes ago. What runs?", bad.Commit[:7])
	if err := e.type_(ctx, p, w, rollback.Done, "status", "--environment", "prod", "--tags"); err != nil {
		return err
	}
	say("What could production go back to?")
	if err := e.type_(ctx, p, w, rollback.Done, "candidates", "--service", "payments", "--environment", "prod"); err != nil {
		return err
	}
	say("Back to the one before. First the plan is shown, then it is run, then the running digests are compared.")
	if err := e.type_(ctx, p, w, rollback.Done, "run", "--service", "payments", "--environment", "prod", "--reason", "amounts rounded wrongly since "+bad.Commit[:7], "--yes"); err != nil {
		return err
	}
	if err := expect(w, good); err != nil {
		return err
	}
	say("The revert pull request was opened while the pods started; the tag is only a stopgap until it is merged:")
	if err := e.type_(ctx, p, w, rollback.Done, "status", "--service", "payments", "--environment", "prod"); err != nil {
		return err
	}
	say("Asked of the cluster itself, not of rollback: every pod of payments runs %s (%s).", good.Digest[:19], good.Title)
	say("Run twice, it does nothing twice:")
	if err := e.type_(ctx, p, w, rollback.Done, "run", "--service", "payments", "--environment", "prod", "--to", good.Commit[:12], "--reason", "amounts", "--yes"); err != nil {
		return err
	}
	say("In the morning: it was the ledger's test data. Back to the exact digest from before:")
	if err := e.type_(ctx, p, w, rollback.Done, "undo", "--service", "payments", "--environment", "prod", "--reason", "false alarm", "--yes"); err != nil {
		return err
	}
	if err := expect(w, bad); err != nil {
		return err
	}
	say("And the record, as the next person finds it:")
	if err := e.type_(ctx, p, w, rollback.Done, "status", "--service", "payments", "--environment", "prod"); err != nil {
		return err
	}
	p.line("\n" + p.green("✔ ") + fmt.Sprintf("rolled back and undone in %.1f s, both proven by digest.", time.Since(begun).Seconds()))
	p.line("  To play in this world: rollback demo --serve")
	p.line("  Yours next (in a clone, make build makes ./rollback):")
	p.line("    rollback init")
	p.line("    rollback doctor --service payments --environment prod")
	return nil
}

// demoRevert tells the slow and clean way: undo the commit in Git, and follow it until the pods run it.
func (e *Env) demoRevert(ctx context.Context, p *printer, w *demo.World) error {
	bad := w.Releases[len(w.Releases)-1]
	begun := time.Now()
	say := func(format string, a ...any) { p.line("\n" + p.dim("# ") + fmt.Sprintf(format, a...)) }
	scope := []string{"--service", "payments", "--environment", "prod"}
	run := append([]string{"run"}, append(scope, "--method", "revert", "--reason", "amounts rounded wrongly since "+bad.Commit[:7], "--yes")...)

	p.line(p.bold("A day at acme") + p.dim("   (GitHub on real git, Jenkins, a registry and a cluster on 127.0.0.1)"))
	say("payments rounds amounts wrongly since %s. It is not urgent: the clean way. What would the revert be?", bad.Commit[:7])
	if err := e.type_(ctx, p, w, rollback.Done, append([]string{"revert"}, append(scope, "--commit", bad.Commit, "--dry-run")...)...); err != nil {
		return err
	}
	say("Open it. The merge is a reviewer's to do, so this ends with exit code 3, pending:")
	if err := e.type_(ctx, p, w, rollback.Pending, run...); err != nil {
		return err
	}
	number, title, err := w.MergeRevert()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	say("The reviewer merges #%d, %s. Jenkins starts to build. The same command goes on:", number, title)
	if err := e.type_(ctx, p, w, rollback.Done, run...); err != nil {
		return err
	}
	if running := w.Running("payments"); len(running) != 1 || running[bad.Digest] != 0 {
		return &rollback.Error{Exit: rollback.Unverified, What: fmt.Sprintf("demo: payments runs %v, want one new image", running)}
	}
	say("Who wants to know:")
	if err := e.type_(ctx, p, w, rollback.Done, append([]string{"status"}, scope...)...); err != nil {
		return err
	}
	p.line("\n" + p.green("✔ ") + fmt.Sprintf("reverted, built, deployed and proven by digest in %.1f s.", time.Since(begun).Seconds()))
	return nil
}

// expect asks the cluster itself.
func expect(w *demo.World, want demo.Release) error {
	for _, app := range []string{"payments", "payments-worker"} {
		running := w.Running(app)
		if len(running) != 1 || running[want.Digest] == 0 {
			return &rollback.Error{Exit: rollback.Unverified, What: fmt.Sprintf("demo: %s runs %v, want only %s", app, running, want.Digest)}
		}
	}
	return nil
}

// type_ shows a command as it is typed, runs this program with it, and passes on what it prints.
func (e *Env) type_(ctx context.Context, p *printer, w *demo.World, want rollback.Exit, args ...string) error {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = shellQuote(a)
	}
	p.line(p.bold("$ rollback " + strings.Join(quoted, " ")))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env, cmd.Dir = w.Env(e.Environ), w.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.Stdin, e.Stdout, e.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if code := rollback.Exit(cmd.ProcessState.ExitCode()); code != want {
		return &rollback.Error{Exit: rollback.Failed, What: fmt.Sprintf("demo: exit code %d, want %d", code, want)}
	}
	return nil
}

// within runs a command in the loopback world, without showing it.
func (e *Env) within(ctx context.Context, w *demo.World, args ...string) error {
	var said strings.Builder
	env := &Env{Stdin: strings.NewReader(""), Stdout: &said, Stderr: &said, Environ: w.Env(e.Environ), Dir: w.Dir, Version: e.Version, Commit: e.Commit, Date: e.Date}
	if code := Main(ctx, env, args); code != 0 {
		return fmt.Errorf("demo: rollback %s: exit code %d\n%s", strings.Join(args, " "), code, said.String())
	}
	return nil
}

// demoServe keeps the world up for somebody to play with.
func (e *Env) demoServe(ctx context.Context, p *printer, w *demo.World) error {
	file, err := e.demoEnv(w)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	p.line(p.bold("The loopback world is up.") + " In another terminal:")
	p.line("")
	p.line("  . " + shellQuote(file))
	for _, hint := range [][2]string{
		{"rollback status --environment prod", "what runs"},
		{"rollback run --service payments --environment prod", "go back, and owe the revert"},
		{"rollback trigger --service payments --environment prod", "the same by a job in Jenkins, which asks for approval"},
		{"rollback jobs apply --dry-run", "what it would write: such a job for each service; without --dry-run it makes them"},
		{"merge 5", "merge pull request #5 of payments; its link shows nothing in a browser"},
	} {
		p.line(fmt.Sprintf("  %-55s # %s", hint[0], hint[1]))
	}
	p.line("")
	p.line("^C ends it and removes everything.")
	<-ctx.Done()
	return nil
}

// demoEnv writes what leads a shell into the world to a file in the world's directory: the variables, and this program, which is
// on nobody's PATH where it was started by go run. The keys in it are the loopback world's own and open nothing else.
func (e *Env) demoEnv(w *demo.World) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(w.Dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return "", err
	}
	if err := os.Symlink(self, filepath.Join(bin, "rollback")); err != nil {
		return "", err
	}
	base := map[string]bool{}
	for _, kv := range e.Environ {
		base[kv] = true
	}
	list := slices.DeleteFunc(w.Env(e.Environ), func(kv string) bool { return base[kv] || strings.HasPrefix(kv, "ROLLBACK_USER=") })
	slices.Sort(list)
	var b strings.Builder
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		b.WriteString("export " + k + "=" + shellQuote(v) + "\n")
	}
	b.WriteString("export PATH=" + shellQuote(bin) + ":\"$PATH\"\n")
	b.WriteString("merge() { curl -sS -X PUT -H \"Authorization: Bearer $GITHUB_TOKEN\" -d '{\"merge_method\":\"squash\"}' " + w.GitHubURL + "/api/v3/repos/acme/payments/pulls/\"$1\"/merge; echo; }\n")
	file := filepath.Join(w.Dir, "env")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}
