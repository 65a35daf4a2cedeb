package commands

// The command line: which command is meant, and its flags.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// invoke reads a command line and runs the command that it names.
//
// urfave/cli's own App.Run does the same, but brings its help templates along: text/template calls methods by name, so that
// the linker has to keep every exported method of every SDK, 4 MB of a binary that may have 25. Commands, flags and contexts
// are the library's; which command is meant, help and completion are told here and in help.go and complete.go.
func (e *Env) invoke(ctx context.Context, app *cli.App, args []string) error {
	root := cli.NewContext(app, flag.NewFlagSet(app.Name, flag.ContinueOnError), nil)
	root.Context = ctx
	if n := len(args); n > 0 && args[n-1] == completing {
		e.complete(app, args[:n-1])
		return nil
	}
	if len(args) == 0 {
		e.appHelp(app)
		return nil
	}
	switch args[0] {
	case "--help", "-help", "-h":
		e.appHelp(app)
		return nil
	case "--version", "-version", "-v", "version":
		e.data().line(app.Name + " version " + app.Version)
		return nil
	case "help":
		args = slices.Clone(args[1:])
		named := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") })
		if named < 0 {
			named = len(args)
		}
		args = slices.Insert(args, named, "--help")
		if named == 0 {
			e.appHelp(app)
			return nil
		}
	}
	if strings.HasPrefix(args[0], "-") {
		return unknownFlag(strings.TrimLeft(args[0], "-"), app.Name, nil, app.Commands)
	}
	chain, rest, err := find(app, args)
	if err != nil {
		return err
	}
	return e.invokeCommand(root, chain, rest)
}

// find follows the names at the beginning of a command line down to a command without subcommands.
func find(app *cli.App, args []string) (chain []*cli.Command, rest []string, err error) {
	among := app.Commands
	for name := app.Name; ; {
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			return chain, args, nil
		}
		i := slices.IndexFunc(among, func(c *cli.Command) bool { return c.HasName(args[0]) })
		if i < 0 {
			return nil, nil, unknownCommand(name, args[0], among)
		}
		chain, name, args = append(chain, among[i]), name+" "+among[i].Name, args[1:]
		if among = among[i].Subcommands; len(among) == 0 {
			return chain, args, nil
		}
	}
}

// nameOf is a command as it is typed.
func nameOf(chain []*cli.Command) string {
	name := "rollback"
	for _, c := range chain {
		name += " " + c.Name
	}
	return name
}

// invokeCommand reads the flags of the last command of a chain and runs it.
func (e *Env) invokeCommand(root *cli.Context, chain []*cli.Command, args []string) error {
	c := chain[len(chain)-1]
	set := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range c.Flags {
		if err := f.Apply(set); err != nil {
			return err
		}
	}
	ctx := cli.NewContext(root.App, set, root)
	ctx.Command = c
	args, err := plain(set, args)
	if err != nil {
		return usageError(nameOf(chain), c.Flags, err)
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) { // --help and -h, which no command defines
		e.commandHelp(chain, slices.Contains(args, "--all") || slices.Contains(args, "-all"))
		return nil
	} else if err != nil {
		return usageError(nameOf(chain), c.Flags, err)
	}
	if len(c.Subcommands) > 0 {
		missing := rollback.UsageErrorf("%s: which of its commands? %s", nameOf(chain), strings.Join(names(c.Subcommands), ", ")).(*rollback.Error)
		missing.Next = []string{nameOf(chain) + " --help"}
		return missing
	}
	if ctx.NArg() > 0 { // flags after it would have been dropped without a word
		return rollback.UsageErrorf("%s takes no arguments, only flags; what to do with %q?", nameOf(chain), ctx.Args().First())
	}
	if err := alias(c.Flags, set); err != nil {
		return usageError(nameOf(chain), c.Flags, err)
	}
	e.typing = e.typed(ctx, set)
	err = c.Action(ctx)
	if err == nil && e.unwritten != nil && c.Category != act { // what an act has done counts, not what was printed of it
		return &rollback.Error{Exit: rollback.Failed, What: "standard output could not be written", Err: e.unwritten, Production: rollback.NotChanged}
	}
	return err
}

// plain makes a command line one that package flag reads as it was meant. A setting that is true or false takes its value as the
// next word, and means true where none follows; and of two values for one flag neither is taken without a word about the other.
func plain(set *flag.FlagSet, args []string) ([]string, error) {
	args = slices.Clone(args)
	given := map[string]string{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			break // no more flags
		}
		name, value, has := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		f := set.Lookup(name)
		if f == nil {
			break // told by package flag
		}
		alone, _ := f.Value.(interface{ IsBoolFlag() bool })
		switch {
		case has:
		case alone != nil && alone.IsBoolFlag():
			value = "true"
		case slices.ContainsFunc(config.Settings, func(s config.Setting) bool { return s.Flag == name && s.Type == config.Bool }) &&
			(i+1 == len(args) || strings.HasPrefix(args[i+1], "-")):
			args[i], value = arg+"=true", "true"
		case i+1 < len(args):
			i++
			value = args[i]
		}
		if was, twice := given[name]; twice && was != value {
			return nil, fmt.Errorf("--%s is given twice, as %q and as %q: give it once", name, was, value)
		}
		given[name] = value
	}
	return args, nil
}

// alias gives all names of a flag the value that one of them was given.
func alias(flags []cli.Flag, set *flag.FlagSet) error {
	given := map[string]string{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	for _, f := range flags {
		var by string
		for _, name := range f.Names() {
			if _, ok := given[name]; ok {
				if by != "" {
					return errors.New("--" + by + " and --" + name + " are the same flag: give one of them")
				}
				by = name
			}
		}
		for _, name := range f.Names() {
			if by != "" && name != by {
				if err := set.Set(name, given[by]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func names(commands []*cli.Command) []string {
	var list []string
	for _, c := range commands {
		list = append(list, c.Name)
	}
	return list
}
