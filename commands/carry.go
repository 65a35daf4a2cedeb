package commands

// What was typed goes into the commands that are printed: pasted, they must reach the same systems and do the same thing.

import (
	"flag"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// typing is the command line of this process, as far as commands that are printed repeat it.
type typing struct {
	command string
	flags   []typedFlag
	takes   map[string][]string // by the name of a command: its flags
}

// typedFlag is one flag that was given; "" is the value of a switch.
type typedFlag struct{ name, value string }

// notCarried are the flags that a printed command names itself, or that were meant for this once.
var notCarried = []string{"service", "environment", "env", optTo.name, optFrom.name, optMethod.name, optReason.name, optAccept.name, optMigrate.name, optPR.name, optCommit.name,
	optPlan.name, optOut.name, optSteal.name, optDryRun.name, optNoFollow.name}

// typed reads off the command line what printed commands repeat. No flag takes a secret; what looks like one all the same is
// left out.
func (e *Env) typed(c *cli.Context, set *flag.FlagSet) typing {
	t := typing{command: c.Command.Name, takes: map[string][]string{}}
	for _, command := range c.App.Commands {
		for _, f := range command.Flags {
			t.takes[command.Name] = append(t.takes[command.Name], f.Names()[0])
		}
	}
	switches := map[string]bool{}
	for _, f := range c.Command.Flags {
		_, switches[f.Names()[0]] = f.(*cli.BoolFlag)
	}
	set.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		switch {
		case slices.Contains(notCarried, f.Name), value == "", e.redactor.String(value) != value:
		case !switches[f.Name]:
			t.flags = append(t.flags, typedFlag{f.Name, value})
		case value == "true":
			t.flags = append(t.flags, typedFlag{name: f.Name})
		}
	})
	return t
}

// how are the settings that say how an act goes, and not where.
var how = []string{"confirm", "timeout", "settle", "revert.wait", "jenkins.webhook"}

// about tells whether a flag says where a scope lives, and so belongs to every command about it.
func (f typedFlag) about() bool {
	in := func(list []config.Setting) bool {
		return slices.ContainsFunc(list, func(s config.Setting) bool { return s.Flag == f.name && !slices.Contains(how, s.Key) })
	}
	return in(config.Selectors) || in(config.Settings)
}

var printedForm = regexp.MustCompile(`\brollback ([a-z]+) --service [A-Za-z0-9.-]+ --environment [A-Za-z0-9-]+`)

// carry puts what was typed into the commands that a text names: what says where the scope lives into all of them, the rest
// into those that go on with this one.
func (t typing) carry(text string) string {
	var b strings.Builder
	for {
		at := printedForm.FindStringSubmatchIndex(text)
		if at == nil {
			return b.String() + text
		}
		name, rest := text[at[2]:at[3]], text[at[1]:]
		b.WriteString(text[:at[1]])
		for _, f := range t.flags {
			word := " --" + f.name
			if f.value != "" {
				word += " " + shellQuote(f.value)
			}
			if !slices.Contains(t.takes[name], f.name) || !f.about() && name != t.command {
				continue
			}
			if !hasFlag(rest, f.name) { // it may be there already, or have gone through here before
				b.WriteString(word)
			}
		}
		text = rest
	}
}

// hasFlag tells whether the rest of a command has a flag, up to the next command in the text.
func hasFlag(rest, flag string) bool {
	if at := printedForm.FindStringIndex(rest); at != nil {
		rest = rest[:at[0]]
	}
	for _, word := range strings.Fields(rest) {
		if name, _, _ := strings.Cut(word, "="); name == "--"+flag {
			return true
		}
	}
	return false
}

func (t typing) carryAll(list []string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = t.carry(list[i])
	}
	return list
}

// carryPlan completes the commands in the remedies of a plan.
func (t typing) carryPlan(p *rollback.Plan) {
	for i := range p.Findings {
		p.Findings[i].Remedy = t.carry(p.Findings[i].Remedy)
	}
}
