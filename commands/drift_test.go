package commands

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/redact"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// uncoloured is a line as it is read.
func uncoloured(s string) string { return escapes.ReplaceAllString(s, "") }

// quiet is an environment for looking at the command tree without running it.
func quiet() *Env {
	return &Env{Stdout: new(lockedBuffer), Stderr: new(lockedBuffer), Version: "1.2.3"}
}

// everyCommand are the commands that can be typed, each with its whole name: those that only group others are left out.
func everyCommand(env *Env) []*cli.Command {
	var list []*cli.Command
	var add func(before string, commands []*cli.Command)
	add = func(before string, commands []*cli.Command) {
		for _, c := range commands {
			c.Name = before + c.Name
			if len(c.Subcommands) > 0 {
				add(c.Name+" ", c.Subcommands)
			} else {
				list = append(list, c)
			}
		}
	}
	add("", env.commands())
	return list
}

// variable is what a flag's usage says of its variable.
var variable = regexp.MustCompile(` \[\$([A-Z0-9_]+)\]$`)

// Every flag has one variable, derived from its name, and says so in --help; every setting of rollback.yaml is a flag of
// every command that works on a scope.
func TestFlagsAndVariables(t *testing.T) {
	t.Parallel()
	env := quiet()
	seen := map[string]string{} // flag → usage, the same in every command unless it means something else there
	for _, c := range everyCommand(env) {
		var flags []string
		for _, f := range c.Flags {
			name := f.Names()[0]
			flags = append(flags, name)
			usage := f.(cli.DocGenerationFlag).GetUsage()
			m := variable.FindStringSubmatch(usage)
			if m == nil {
				t.Errorf("%s --%s: its usage names no variable: %q", c.Name, name, usage)
				continue
			}
			if want := "ROLLBACK_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")); m[1] != want {
				t.Errorf("%s --%s: $%s, want $%s", c.Name, name, m[1], want)
			}
			seen[name] = usage
		}
		if !slices.Contains(flags, "service") {
			continue
		}
		for _, s := range slices.Concat(config.Selectors, config.Settings) {
			if !slices.Contains(flags, s.Flag) {
				t.Errorf("%s has no --%s", c.Name, s.Flag)
			}
		}
	}
	for _, o := range []option{optTo, optMethod, optReason, optDryRun, optYes, optPlan, optOut, optJSON, optNoRecord, optSteal, optAccept, optResult, optTags, optAll, optUser} {
		if seen[o.name] == "" {
			t.Errorf("no command has --%s", o.name)
		}
	}
}

// No flag takes a secret, as everybody on the machine sees the arguments of a process: a flag that has to do with one takes the
// name of its variable or file, or the id under which Jenkins keeps it.
func TestNoSecretIsAnArgument(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, c := range everyCommand(quiet()) {
		for _, f := range c.Flags {
			name := f.Names()[0]
			if !redact.SecretName(strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(name, "-env"), "-file"), "-", "_")) {
				continue
			}
			if s, _ := lookupFlag(name); s.Type == config.Duration || s.Type == config.Bool { // holds none
				continue
			}
			if seen++; !strings.HasSuffix(name, "-env") && !strings.HasSuffix(name, "-file") && name != "jenkins-agent-credentials" {
				t.Errorf("%s --%s takes a secret", c.Name, name)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d flags that have to do with secrets", seen)
	}
	// A secret that somebody types all the same, in place of the name or within a URL, is refused and not repeated.
	for _, args := range [][]string{
		{"--jenkins-password-env", "hunter2-hunter2"}, {"--jenkins-token-env", "hunter2-hunter2"}, {"--github-token-env", "hunter2-hunter2"}, {"--registry-password-env", "hunter2-hunter2"},
		{"--jenkins-url", "https://rollback:hunter2-hunter2@jenkins.example.com"}, {"--github-url", "https://hunter2-hunter2@github.example.com"},
		{"--password", "hunter2-hunter2"}, {"--jenkins-token", "hunter2-hunter2"},
	} {
		var stdout, stderr lockedBuffer
		env := &Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Dir: t.TempDir(), Version: "1.2.3"}
		code := Main(t.Context(), env, append(scoped("plan"), args...))
		if text := stdout.String() + stderr.String(); code != int(rollback.Usage) || strings.Contains(text, "hunter2") {
			t.Errorf("%q: exit %d\n%s", args, code, text)
		}
	}
}

// Each option of `run` does the same as a flag and as a variable.
func TestVariablesWork(t *testing.T) {
	t.Parallel()
	for _, c := range env2args {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got [2]string
			for i := range got {
				env := quiet()
				args := append([]string{"rollback"}, c.command)
				for name, value := range c.values {
					v := "ROLLBACK_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
					if i == 0 {
						args = append(args, "--"+name+"="+value)
					} else {
						env.Environ = append(env.Environ, v+"="+value)
					}
				}
				app := newApp(env)
				for _, command := range app.Commands {
					command.Action = func(ctx *cli.Context) error {
						var lines []string
						for _, o := range []option{optTo, optMethod, optReason, optPlan, optOut, optSteal, optResult, optUser} {
							lines = append(lines, o.name+"="+env.text(ctx, o))
						}
						for _, o := range []option{optDryRun, optYes, optJSON, optNoRecord, optTags, optAll} {
							v, err := env.on(ctx, o)
							lines = append(lines, fmt.Sprint(o.name, "=", v, err))
						}
						lines = append(lines, fmt.Sprint(env.list(ctx, optAccept), env.selector(ctx, "service"), env.selector(ctx, "environment"), env.selector(ctx, "config")))
						given := env.given(ctx)
						for _, s := range config.Settings {
							lines = append(lines, s.Flag+"="+given[s.Flag].Text)
						}
						got[i] = strings.Join(lines, "\n")
						return nil
					}
				}
				must(t, env.invoke(t.Context(), app, args[1:]))
			}
			if got[0] != got[1] {
				t.Errorf("as flags:\n%s\nas variables:\n%s", got[0], got[1])
			}
			for name, value := range c.values {
				if !strings.Contains(got[0], value) {
					t.Errorf("--%s=%s is not seen:\n%s", name, value, got[0])
				}
			}
		})
	}
}

// env2args are flags of one command with a value each.
var env2args = func() []struct {
	name, command string
	values        map[string]string
} {
	settings := map[string]string{}
	for _, s := range config.Settings {
		settings[s.Flag] = s.Example
	}
	return []struct {
		name, command string
		values        map[string]string
	}{
		{"texts of run", "run", map[string]string{"to": "a57fbe7", "method": "retag", "reason": "it's $(late)", "plan": "p.json", "steal": "gone", "result-file": "r.txt", "user": "alice", "accept": "pinned,paused"[:6]}},
		{"switches of run", "run", map[string]string{"dry-run": "true", "yes": "true", "json": "true", "no-record": "true"}},
		{"status", "status", map[string]string{"tags": "true"}},
		{"candidates", "candidates", map[string]string{"all": "true"}},
		{"plan", "plan", map[string]string{"out": "p.json"}},
		{"scope", "run", map[string]string{"service": "payments", "environment": "prod", "config": "x.yaml"}},
		{"settings", "run", settings},
	}
}()

// TestReference holds docs/cli.md to the commands; -update writes it.
func TestReference(t *testing.T) {
	t.Parallel()
	env := quiet()
	var b strings.Builder
	b.WriteString("# Commands\n\nGenerated from the program: `go test ./commands -run TestReference -update`.\n\n")
	b.WriteString("Every flag can be given as a variable: `ROLLBACK_` and its name in capitals, dashes as underscores. A flag wins over its variable; an\n" +
		"empty variable counts as not set. No command takes arguments without a flag.\n\n" +
		"Two variables have no flag: `ROLLBACK_STATE` is the directory of the journals (without it, on Jenkins `$WORKSPACE/.rollback`, else\n" +
		"`$XDG_STATE_HOME/rollback` or `~/.local/state/rollback`), and `NO_COLOR`, set to anything, leaves the colours out.\n\n")
	b.WriteString("Exit codes: 0 done and verified · 1 failed, production not changed · 2 usage or configuration · 3 pending, run again ·\n4 production changed, not verified · 5 refused.\n")
	settings := map[string]bool{}
	for _, s := range slices.Concat(config.Settings, config.Selectors) {
		settings[s.Flag] = true
	}
	row := func(f cli.Flag) {
		usage := f.(cli.DocGenerationFlag).GetUsage()
		m := variable.FindStringSubmatch(usage)
		text := strings.ReplaceAll(variable.ReplaceAllString(usage, ""), "|", "\\|")
		names := "`--" + strings.Join(f.Names(), "`, `--") + "`"
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", names, m[1], text)
	}
	const head = "| flag | variable | what it is |\n|---|---|---|\n"
	var everywhere []cli.Flag
	for _, c := range everyCommand(env) {
		if examples[c.Name] == "" {
			t.Errorf("rollback %s has no example", c.Name)
		}
		fmt.Fprintf(&b, "\n## rollback %s\n\n%s.\n\n```sh\n%s\n```\n\n%s\n", c.Name, strings.ToUpper(c.Usage[:1])+c.Usage[1:], examples[c.Name], c.Description)
		own, scoped := []cli.Flag{}, false
		for _, f := range c.Flags {
			if name := f.Names()[0]; !settings[name] {
				own = append(own, f)
			} else if scoped = true; !slices.ContainsFunc(everywhere, func(e cli.Flag) bool { return e.Names()[0] == name }) {
				everywhere = append(everywhere, f)
			}
		}
		if len(own) > 0 {
			b.WriteString("\n" + head)
			for _, f := range own {
				row(f)
			}
		}
		if scoped {
			b.WriteString("\nAnd [scope and settings](#scope-and-settings).\n")
		}
	}
	b.WriteString("\n## Scope and settings\n\nWhich service and environment, and where they live; what is in `rollback.yaml` need not be given.\n\n" + head)
	for _, f := range everywhere {
		row(f)
	}
	path := filepath.Join("..", "docs", "cli.md")
	if *update {
		must(t, os.WriteFile(path, []byte(b.String()), 0o644))
		return
	}
	if read(t, path) != b.String() {
		t.Errorf("%s is not what the commands say; go test ./commands -run TestReference -update writes it", path)
	}
}

// parse reads a printed command with the real flags, without running it.
func parse(words []string) error {
	env := quiet()
	app := newApp(env)
	for all := app.Commands; len(all) > 0; all = all[1:] {
		all[0].Action = func(*cli.Context) error { return nil }
		all = append(all, all[0].Subcommands...)
	}
	return env.invoke(context.Background(), app, words[1:])
}

// words splits a command line as a POSIX shell does, as far as this program's own output goes.
func words(line string) ([]string, bool) {
	var list []string
	var word strings.Builder
	in, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			in, quote = true, r
		case quote == 0 && (r == ' ' || r == '\t'):
			if in {
				list = append(list, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if in {
		list = append(list, word.String())
	}
	return list, quote == 0
}

// printedCommands finds the commands in a line that is meant for people: "rollback" and a command's name, up to where the
// flags end and prose begins.
func printedCommands(line string, known []string) [][]string {
	var found [][]string
	for rest := line; ; {
		i := strings.Index(rest, "rollback ")
		if i < 0 {
			return found
		}
		before := ""
		if i > 0 {
			before = rest[i-1 : i]
		}
		tail := rest[i:]
		rest = rest[i+len("rollback "):]
		if before != "" && !strings.ContainsAny(before, " `(:\t") {
			continue
		}
		list, whole := words(strings.TrimRight(tail, "`)"))
		name := slices.IndexFunc(known, func(k string) bool {
			n := strings.Count(k, " ") + 2
			return whole && len(list) >= n && strings.Join(list[1:n], " ") == k
		})
		if name < 0 {
			continue
		}
		named := strings.Count(known[name], " ") + 2
		command := list[:named:named]
		for k := named; k < len(list); k++ {
			if !strings.HasPrefix(list[k], "--") {
				break
			}
			command = append(command, strings.TrimRight(list[k], ",;:)`"))
			if k+1 < len(list) && !strings.HasPrefix(list[k+1], "--") && takesValue(known[name], list[k]) {
				k++
				command = append(command, strings.TrimRight(list[k], ",;)`"))
			}
		}
		if len(command) > named { // "rollback status shows …" says nothing about flags
			found = append(found, command)
		}
	}
}

// takesValue tells whether a flag of a command takes a value; one that does not exist takes none.
func takesValue(command, flag string) bool {
	for _, c := range everyCommand(quiet()) {
		if c.Name != command {
			continue
		}
		for _, f := range c.Flags {
			if slices.Contains(f.Names(), strings.TrimLeft(strings.TrimRight(flag, ",;:)`"), "-")) {
				_, is := f.(*cli.BoolFlag)
				return !is
			}
		}
	}
	return false
}

// wantPrintedCommandsParse fails the test when a line tells people to type a command that the program does not take.
func wantPrintedCommandsParse(t *testing.T, line string) int {
	t.Helper()
	var known []string
	for _, c := range everyCommand(quiet()) {
		known = append(known, c.Name)
	}
	list := printedCommands(line, known)
	for _, command := range list {
		if err := parse(command); err != nil {
			t.Errorf("%q is printed, and refused: %v\nin the line: %s", command, err, line)
		}
	}
	return len(list)
}

// Commands in the help are commands that the program takes. Those in what it prints are looked at wherever a test runs it.
func TestHelpCommands(t *testing.T) {
	t.Parallel()
	lines := strings.Split(appDescription, "\n")
	for _, c := range everyCommand(quiet()) {
		lines = append(lines, strings.Split(c.Usage+"\n"+examples[c.Name]+"\n"+c.Description, "\n")...)
		for _, f := range c.Flags {
			lines = append(lines, f.(cli.DocGenerationFlag).GetUsage())
		}
	}
	n := 0
	for _, l := range lines {
		n += wantPrintedCommandsParse(t, l)
	}
	if n < 4 {
		t.Errorf("only %d commands found in the help", n)
	}
}

// The help of a command shows what is needed first on one screen.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	for _, c := range everyCommand(quiet()) {
		env := quiet()
		if code := Main(t.Context(), env, append(strings.Fields(c.Name), "--help")); code != 0 {
			t.Errorf("rollback %s --help: exit code %d", c.Name, code)
		}
		text := env.Stdout.(*lockedBuffer).String()
		if n := strings.Count(text, "\n"); n > 32 || strings.Contains(text, "--registry-account") {
			t.Errorf("rollback %s --help takes %d lines:\n%s", c.Name, n, text)
		}
	}
}

// The reader of printed commands finds what it is to find.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{
		"  next: to take this back: rollback undo --service payments --environment prod":                                           1,
		"move the tag alone (rollback retag --service web --environment prod --to sha256:ab), then: rollback verify --service web": 2,
		"rollback plan --servce payments": 1, "the rollback --nothing": 0, "a rollback was proven": 0, "rollback status shows how far it is": 0,
		"rollback jobs apply --adopt": 1, "rollback jobs --adopt": 0,
	} {
		if got := printedCommands(line, []string{"undo", "retag", "verify", "plan", "status", "jobs apply"}); len(got) != want {
			t.Errorf("%q: found %q, want %d", line, got, want)
		}
	}
	if parse([]string{"rollback", "plan", "--servce", "payments"}) == nil || parse([]string{"rollback", "paln"}) == nil || parse([]string{"rollback", "jobs", "aply"}) == nil {
		t.Error("mistakes are not noticed")
	}
}

// nowhere takes nothing, like a disk that is full.
type nowhere struct{}

func (nowhere) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// What could not be printed is no success.
func TestNowhereToPrint(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"permissions", "completion --shell bash", "init --out -", "permissions --json"} {
		env := quiet()
		env.Dir, env.Stdout = t.TempDir(), nowhere{}
		if code := Main(t.Context(), env, strings.Fields(command)); code != int(rollback.Failed) {
			t.Errorf("%s: exit code %d\n%s", command, code, env.Stderr)
		}
	}
}
