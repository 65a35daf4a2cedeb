package commands

// --help of the program and of each command.

import (
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

// commandHelp is `rollback COMMAND --help`.
func (e *Env) commandHelp(chain []*cli.Command) {
	p, c := e.data(), chain[len(chain)-1]
	p.line(nameOf(chain) + ": " + c.Usage)
	p.line("")
	p.line(c.Description)
	if len(c.Subcommands) > 0 {
		p.line("")
		p.line("Commands:")
		p.commandList(c.Subcommands, "")
		return
	}
	// The settings are the same everywhere and usually in a file, so they come last.
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
	if len(settings) > 0 {
		p.line("")
		p.line("Where it lives (usually in rollback.yaml):")
		p.pairs(settings)
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
		p.line("  " + l[0] + strings.Repeat(" ", width-utf8.RuneCountInString(l[0])+2) + l[1])
	}
}
