package commands

// --help of the program and of each command.

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
)

// appHelp is `rollback --help`.
func (e *Env) appHelp(app *cli.App) {
	p := e.data()
	p.line("rollback " + app.Version + ": " + app.Usage)
	p.line("")
	p.line(app.Description)
	for _, category := range []string{look, act, set} {
		p.line("")
		p.line(category + ":")
		p.commandList(app.Commands, category)
	}
	p.line("")
	p.line("rollback COMMAND --help explains one command and its flags.")
}

// examples are one for each command, as it is typed.
var examples = map[string]string{
	"status":      "rollback status --environment prod",
	"candidates":  "rollback candidates --service payments --environment prod",
	"plan":        "rollback plan --service payments --environment prod",
	"run":         `rollback run --service payments --environment prod --reason "what broke, since when"`,
	"retag":       `rollback retag --service payments --environment prod --to previous --reason "what broke, since when"`,
	"restart":     "rollback restart --service payments --environment prod",
	"verify":      "rollback verify --service payments --environment prod",
	"revert":      "rollback revert --service payments --environment prod --pr 42 --dry-run",
	"reland":      "rollback reland --service payments --environment prod --pr 43 --dry-run",
	"undo":        `rollback undo --service payments --environment prod --reason "false alarm"`,
	"trigger":     `rollback trigger --service payments --environment prod --reason "what broke, since when"`,
	"doctor":      "rollback doctor --service payments --environment prod",
	"permissions": "rollback permissions --service payments --environment prod --for plan",
	"jobs apply":  "rollback jobs apply --dry-run",
	"init":        "rollback init",
	"demo":        "rollback demo",
	"completion":  "rollback completion --shell bash",
}

// commandHelp is `rollback COMMAND --help`: what is needed first comes first, and the settings, which are the same everywhere and
// usually in a file, only with --all.
func (e *Env) commandHelp(chain []*cli.Command, all bool) {
	p, c := e.data(), chain[len(chain)-1]
	e.dress(p, e.Terminal && e.OutTerminal)
	p.line(nameOf(chain) + ": " + c.Usage)
	if example := examples[strings.TrimPrefix(nameOf(chain), "rollback ")]; example != "" {
		p.line("")
		p.line("  " + example)
	}
	p.line("")
	p.line(c.Description)
	if len(c.Subcommands) > 0 {
		p.line("")
		p.line("Commands:")
		p.commandList(c.Subcommands, "")
		return
	}
	var own, settings [][2]string
	for _, f := range c.Flags {
		names := "--" + strings.Join(f.Names(), ", --")
		if _, is := f.(*cli.BoolFlag); !is {
			names += " VALUE"
		}
		line := [2]string{names, f.(cli.DocGenerationFlag).GetUsage()}
		if isSetting(f.Names()[0]) {
			settings = append(settings, line)
		} else {
			own = append(own, line)
		}
	}
	if len(own) > 0 {
		p.line("")
		p.line("Flags:")
		p.pairs(own)
	}
	switch {
	case len(settings) > 0 && all:
		p.line("")
		p.line("Where it lives (usually in rollback.yaml):")
		p.pairs(settings)
	case len(settings) > 0:
		p.line("")
		p.line(fmt.Sprintf("And %d that say where it lives, usually in rollback.yaml: %s --help --all", len(settings), nameOf(chain)))
	}
}

// isSetting tells whether a flag is one that rollback.yaml carries.
func isSetting(name string) bool {
	for _, s := range config.Settings {
		if s.Flag == name {
			return true
		}
	}
	return false
}

// commandList names commands; those of one category, or all for "".
func (p *printer) commandList(commands []*cli.Command, category string) {
	var list [][2]string
	for _, c := range commands {
		if category == "" || c.Category == category {
			list = append(list, [2]string{c.Name, c.Usage})
		}
	}
	p.pairs(list)
}

// pairs prints names and what they are, in two columns.
func (p *printer) pairs(list [][2]string) {
	width := 0
	for _, l := range list {
		width = max(width, utf8.RuneCountInString(l[0]))
	}
	for _, l := range list {
		p.hang("  "+l[0]+strings.Repeat(" ", width-utf8.RuneCountInString(l[0])+2), l[1])
	}
}
