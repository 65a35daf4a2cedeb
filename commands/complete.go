package commands

// Completion: what a shell is offered.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// completing is the last word of a command line that a shell wants completed. The word before it is the one under the
// cursor, which may be empty.
const completing = "--generate-bash-completion"

// complete prints what the word under the cursor may become: a word on each line, a tab, and what it is.
func (e *Env) complete(app *cli.App, args []string) {
	current := ""
	if n := len(args); n > 0 {
		args, current = args[:n-1], args[n-1]
	}
	offer := func(word, what string) {
		if strings.HasPrefix(word, current) {
			fmt.Fprintf(e.Stdout, "%s\t%s\n", word, what)
		}
	}
	chain, rest, err := find(app, args)
	if err != nil {
		return
	}
	among := app.Commands
	if len(chain) > 0 {
		among = chain[len(chain)-1].Subcommands
	}
	if len(chain) == 0 || len(among) > 0 {
		for _, c := range among {
			offer(c.Name, c.Usage)
		}
		return
	}
	c := chain[len(chain)-1]
	if n := len(rest); n > 0 {
		i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), strings.TrimLeft(rest[n-1], "-")) })
		if i >= 0 && strings.HasPrefix(rest[n-1], "-") {
			if _, is := c.Flags[i].(*cli.BoolFlag); !is {
				for _, v := range e.valuesOf(c, c.Flags[i].Names()[0]) {
					offer(v, "")
				}
				return
			}
		}
	}
	for _, f := range c.Flags {
		usage := f.(cli.DocGenerationFlag).GetUsage()
		usage, _, _ = strings.Cut(usage, " [$")
		offer("--"+f.Names()[0], usage)
	}
}

// valuesOf are the values of a flag that can be known without asking anybody; none leaves the word to the shell, which
// knows files.
func (e *Env) valuesOf(c *cli.Command, flag string) []string {
	switch flag {
	case "method":
		return methodsOf(c)
	case "shell":
		return shells
	case "for":
		list := namesOf(needsOf)
		if c.Name == "permissions" {
			list = append(list, namesOf(otherNeeds)...)
		}
		return list
	case "wait":
		return []string{"merge", "none"}
	case "to":
		return []string{rollback.Previous}
	case "service", "environment":
		file, err := config.Load("", e.Getenv, e.Dir)
		if err != nil {
			return nil
		}
		if flag == "service" {
			return file.Services()
		}
		return file.Environments()
	}
	return nil
}
