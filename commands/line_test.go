package commands

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/demo"
)

// Help is the same however it is asked for, and names every command and every flag.
func TestHelp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	top := alone(t, dir).wantExit(t, 0).stdout
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		if got := alone(t, dir, args...).wantExit(t, 0).stdout; got != top {
			t.Errorf("%v prints something else than no arguments:\n%s", args, got)
		}
	}
	for _, c := range quiet().commands() {
		if !strings.Contains(top, "\n  "+c.Name+" ") {
			t.Errorf("the help does not name %s", c.Name)
		}
		if c.Category == "" || !slices.Contains([]string{look, act, set}, c.Category) {
			t.Errorf("%s is in no category, so the help leaves it out", c.Name)
		}
	}
	for _, c := range quiet().commands() {
		for _, args := range [][]string{{c.Name, "--help"}, {c.Name, "-h"}, {"help", c.Name}, {c.Name, "--help", "--all"}, {"help", c.Name, "--all"}} {
			text := alone(t, dir, args...).wantExit(t, 0).stdout
			if !strings.HasPrefix(text, "rollback "+c.Name+": "+c.Usage+"\n") {
				t.Errorf("%v:\n%s", args, text)
			}
			for _, f := range c.Flags {
				if isSetting(f.Names()[0]) && args[len(args)-1] != "--all" {
					continue
				}
				if !strings.Contains(text, "--"+f.Names()[0]) || !strings.Contains(text, f.(cli.DocGenerationFlag).GetUsage()) {
					t.Errorf("%v does not tell --%s", args, f.Names()[0])
				}
			}
			for _, line := range strings.Split(text, "\n") {
				if strings.TrimRight(line, " ") != line {
					t.Errorf("%v: blanks at the end of %q", args, line)
				}
			}
		}
	}
	if got := alone(t, dir, "--version").wantExit(t, 0).stdout; got != "rollback version 1.2.3 0123456789ab 2026-01-02T03:04:05Z\n" {
		t.Errorf("--version: %q", got)
	}
}

// Services and environments are completed from the nearest rollback.yaml.
func TestCompletionFromFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "rollback.yaml"), []byte("environments: {prod: {}, staging: {}}\nservices: {payments: {}, web: {}}\n"), 0o644))
	for want, args := range map[string][]string{
		"payments": {"run", "--service", "p"}, "prod\nstaging": {"status", "--environment", ""}, "staging": {"status", "--env", "st"},
		"": {"plan", "--out", ""},
	} {
		r := alone(t, dir, append(args, completing)...).wantExit(t, 0)
		var got []string
		for line := range strings.Lines(r.stdout) {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%v completes to %q, want %q", args, got, want)
		}
	}
}

// What may be typed more than once, or without its value, or for other runs, is no mistake.
func TestLineTaken(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	for _, c := range []struct {
		args, env []string
		says      string
	}{
		{args: append(scoped("status"), "--service=payments", "--tags", "--tags"), says: "payments"},
		{args: scoped("plan", "--confirm", "true", "--reason", "--confirm"), says: "reason    --confirm"},
		{args: scoped("plan", "--confirm", "--reason=amounts", "--confirm"), says: "reason    amounts"},
		{args: scoped("plan", "--accept", "pinned,paused"), says: "verdict   safe"},
		{args: scoped("run", "--dry-run"), env: []string{"ROLLBACK_WAIT=merge"}, says: "verdict   safe"},
		{args: scoped("run", "--dry-run", "--wait", "none"), says: "verdict   safe"},
	} {
		n.do(call{args: c.args, env: c.env}).wantExit(t, 0).wantText(t, c.says)
	}
}
