// Package commands is the command line: flags and environment become configuration, then one call, then print. It is the
// only package that knows urfave/cli, and the only one that puts adapters and domain together.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/rollback-tools/rollback/internal/redact"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// Env is everything a command takes from outside its arguments, built once at the top; tests build their own.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // as os.Environ
	Dir            string   // the working directory
	// Terminal tells whether a person sits in front of Stdin and Stderr; Width is its width in columns.
	Terminal bool
	Width    func() int
	// OutTerminal tells whether Stdout is a terminal, too.
	OutTerminal bool

	Version, Commit, Date string

	redactor *redact.Redactor
	typing   typing // what was typed, for the commands that are printed
	// unwritten is why standard output lacks something that was to be there.
	unwritten error
	opened    opened
}

// opened are the connections to close at the end of a command: who runs many in one process must not have them pile up.
type opened struct {
	mu    sync.Mutex
	close []func()
}

func (o *opened) add(shut func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close = append(o.close, shut)
}

func (o *opened) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, shut := range o.close {
		shut()
	}
	o.close = nil
}

// OS is the environment of the process.
func OS(version, commit, date string) *Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	if commit == "" || date == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				switch {
				case s.Key == "vcs.revision" && commit == "":
					commit = s.Value
				case s.Key == "vcs.time" && date == "":
					date = s.Value
				}
			}
		}
	}
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Dir: dir,
		Terminal:    term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb",
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		Width: func() int {
			if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
				return w
			}
			return 80
		},
		Version: version, Commit: commit, Date: date,
	}
}

// Getenv is the value of a variable; the last one wins, as in a shell. A blank value counts as unset: Jenkins exports
// empty parameters.
func (e *Env) Getenv(key string) string {
	for _, kv := range slices.Backward(e.Environ) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Main runs one command and returns its exit code.
func Main(ctx context.Context, env *Env, args []string) int {
	env.redactor = redact.New(env.Environ)
	defer env.opened.shut()
	err := env.invoke(ctx, newApp(env), args)
	if re := (*rollback.Error)(nil); errors.As(err, &re) {
		re.Next = env.typing.carryAll(re.Next)
	}
	if err != nil {
		env.explain(err)
	}
	return int(rollback.ExitOf(err))
}

// newApp builds the command tree afresh; nothing in it is global. invoke runs it.
func newApp(env *Env) *cli.App {
	return &cli.App{
		Name:        "rollback",
		Usage:       "take production back to an earlier version, and prove it",
		Version:     env.version(),
		Description: appDescription,
		Writer:      env.Stdout,
		ErrWriter:   env.Stderr,
		Reader:      env.Stdin,
		Commands:    env.commands(),
	}
}

// appDescription is the first screen of `rollback --help`.
const appDescription = `Two ways back: "retag" points the moving tag (latest) at an older image and restarts what pulls it; "revert" undoes the
commit in Git. A rollback is done when the digests of the running pods prove it, and it can be undone exactly.

New here?        rollback demo          the whole story against a loopback world, nothing of yours is touched
First set-up:    rollback init          write a commented rollback.yaml, then: rollback doctor
At night:        rollback status        what runs where
                 rollback run --service payments --environment prod --reason "what broke, since when"

Exit codes: 0 done and verified · 1 failed, production not changed · 2 usage or configuration · 3 pending, run again ·
4 production changed, not verified · 5 refused`

func (e *Env) version() string {
	v := e.Version
	if e.Commit != "" && !strings.Contains(v, e.Commit[:min(7, len(e.Commit))]) { // git describe may have named it
		v += " " + e.Commit[:min(12, len(e.Commit))]
	}
	if e.Date != "" {
		v += " " + e.Date
	}
	return v
}

// badSwitch is how package flag words a switch with a value that is none.
var badSwitch = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^invalid boolean value (".*") for -(\S+): `)
})

// usageError words what package flag says of a command line.
func usageError(where string, flags []cli.Flag, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return unknownFlag(name, where, flags, nil)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		text = fmt.Sprintf("--%s needs a value", strings.TrimLeft(name, "-"))
	} else if m := badSwitch().FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("--%s: %s is neither true nor false", m[2], m[1])
	}
	e := rollback.UsageErrorf("%s: %s", where, text).(*rollback.Error)
	e.Next = []string{where + " --help"}
	return e
}

// unknownFlag is the error for a flag that is none, or not one of this command. Without a command, flags of all commands
// were typed too early.
func unknownFlag(name, where string, flags []cli.Flag, commands []*cli.Command) error {
	name, _, _ = strings.Cut(strings.TrimLeft(name, "-"), "=")
	text := "unknown flag --" + name
	var known []string
	for _, f := range flags {
		known = append(known, f.Names()...)
	}
	if near := nearest(name, known); near != "" {
		text += fmt.Sprintf(", did you mean --%s?", near)
	}
	for _, c := range commands {
		if slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
			text = fmt.Sprintf("--%s comes after the command: rollback COMMAND --%s …", name, name)
			break
		}
	}
	e := rollback.UsageErrorf("%s: %s", where, text).(*rollback.Error)
	e.Next = []string{where + " --help"}
	return e
}

func unknownCommand(where, word string, among []*cli.Command) error {
	text := fmt.Sprintf("no command %q", strings.TrimPrefix(where+" "+word, "rollback "))
	if near := nearest(word, names(among)); near != "" {
		text += fmt.Sprintf(", did you mean %s %s?", where, near)
	}
	e := rollback.UsageErrorf("%s", text).(*rollback.Error)
	e.Next = []string{where + " --help lists the commands"}
	return e
}

// nearest is the known word closest to a mistyped one, "" if none is close.
func nearest(word string, known []string) string {
	best, limit := "", 3
	for _, k := range known {
		if d := distance(word, k); d < limit && d < max(len(word), len(k)) {
			best, limit = k, d
		}
	}
	return best
}

// distance is the number of letters to add, drop or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// explain tells a person what broke, what state production is in and what to type next.
func (e *Env) explain(err error) {
	p := e.printer()
	text := strings.TrimSpace(err.Error())
	mark := p.red("✗ ")
	if rollback.ExitOf(err) == rollback.Pending { // nothing broke
		mark = p.yellow("◎ ")
	}
	p.line(mark + strings.ReplaceAll(text, "\n", "\n  "))
	var re *rollback.Error
	if !errors.As(err, &re) {
		return
	}
	if re.Production != "" {
		p.line("  production: " + re.Production)
	}
	seen := map[string]bool{}
	for _, n := range re.Next {
		if n != "" && !seen[n] {
			seen[n] = true
			switch word, _, _ := strings.Cut(n, " "); word {
			case "git", "gh", "#": // one of many, which are pasted together
				p.line("    " + n)
			default:
				p.line("  next: " + n)
			}
		}
	}
}
