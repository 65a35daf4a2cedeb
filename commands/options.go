package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// option is one flag of a command beside the settings. Each has exactly one variable, ROLLBACK_ and its name, which is
// also the name of the Jenkins parameter.
type option struct {
	name, usage string
	// flag options are switches; all others take text.
	flag bool
}

func (o option) env() string {
	return "ROLLBACK_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// The options of the commands, each once.
var (
	optTo       = option{name: "to", usage: "target: previous, a commit, a tag or a digest (default: previous)"}
	optMethod   = option{name: "method", usage: "how: retag moves the tag and restarts, revert undoes the commit and follows its build, undo takes the last rollback back (default: retag)"}
	optWait     = option{name: "wait", usage: "with --method revert: how long to wait for the merge, merge for an hour (default: not at all, exit 3)"}
	optMigrate  = option{name: "accept-migrations", usage: "the older code works with the newer schema: undo migrations' code all the same", flag: true}
	optReason   = option{name: "reason", usage: "why, for the record and for whoever meets the lock"}
	optDryRun   = option{name: "dry-run", usage: "show the plan and stop", flag: true}
	optYes      = option{name: "yes", usage: "do not ask", flag: true}
	optAgreed   = option{name: optYes.name, usage: "do not ask; where the environment has confirm, that is enough in a Jenkins build only", flag: true} // to a change of production
	optPlan     = option{name: "plan", usage: "run the plan saved in this file; refused when the world has moved since"}
	optOut      = option{name: "out", usage: "write the plan to this file, for run --plan"}
	optJSON     = option{name: "json", usage: "print JSON on standard output", flag: true}
	optNoRecord = option{name: "no-record", usage: "keep no record: no lock, no resume, no undo from another machine", flag: true}
	optSteal    = option{name: "steal", usage: "take the lock from its holder, for this reason"}
	optAccept   = option{name: "accept", usage: "go on in spite of these blocking findings, codes separated by commas"}
	optResult   = option{name: "result-file", usage: "write the outcome as key=value lines to this file (default on Jenkins: rollback-result.txt)"}
	optLeft     = option{name: optResult.name, usage: "write the outcome as key=value lines to this file"} // of a command that only looks
	optTags     = option{name: "tags", usage: "ask the registry, too, once for each service: moving tag and commit", flag: true}
	optAll      = option{name: "all", usage: "show every candidate, not only the newest 20", flag: true}
	optUser     = option{name: "user", usage: "who acts, for the record (default: the Jenkins user, else the login name)"}
)

// flags makes the urfave flags of options and of the settings that say where a scope lives.
func (e *Env) flags(options ...option) []cli.Flag {
	var list []cli.Flag
	for _, o := range options {
		usage := o.usage + " [$" + o.env() + "]"
		if o.flag {
			list = append(list, &cli.BoolFlag{Name: o.name, Usage: usage})
		} else {
			list = append(list, &cli.StringFlag{Name: o.name, Usage: usage})
		}
	}
	return list
}

// scopeFlags are the flags that say which scope, and where it lives.
func (e *Env) scopeFlags(options ...option) []cli.Flag {
	var list []cli.Flag
	for _, s := range config.Selectors {
		f := &cli.StringFlag{Name: s.Flag, Usage: s.Usage + " [$" + s.Env + "]"}
		if s.Flag == "environment" {
			f.Aliases = []string{"env"}
		}
		list = append(list, f)
	}
	list = append(list, e.flags(options...)...)
	for _, s := range config.Settings {
		list = append(list, &cli.StringFlag{Name: s.Flag, Usage: s.Usage + " [$" + s.Env + "]", Category: "Where it lives (usually in rollback.yaml)"})
	}
	return list
}

// text is the value of an option: the flag's if it was typed, else the variable's. A blank variable counts as unset.
func (e *Env) text(c *cli.Context, o option) string {
	if c.IsSet(o.name) {
		return strings.TrimSpace(c.String(o.name))
	}
	return e.Getenv(o.env())
}

// on is the value of a switch.
func (e *Env) on(c *cli.Context, o option) (bool, error) {
	if c.IsSet(o.name) {
		return c.Bool(o.name), nil
	}
	v := e.Getenv(o.env())
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return false, rollback.UsageErrorf("%s: %q is neither true nor false", o.env(), v)
	}
	return b, nil
}

// switches reads several switches at once.
func (e *Env) switches(c *cli.Context, options ...option) (map[string]bool, error) {
	m := map[string]bool{}
	for _, o := range options {
		v, err := e.on(c, o)
		if err != nil {
			return nil, err
		}
		m[o.name] = v
	}
	return m, nil
}

// list is the value of an option that holds several words.
func (e *Env) list(c *cli.Context, o option) []string {
	words := strings.FieldsFunc(e.text(c, o), func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(words)
	return slices.Compact(words)
}

// given gathers the settings from flags and variables.
func (e *Env) given(c *cli.Context) config.Given {
	typed := map[string]string{}
	for _, s := range config.Settings {
		if c.IsSet(s.Flag) {
			typed[s.Flag] = c.String(s.Flag)
		}
	}
	return config.Gather(typed, e.Getenv)
}

// selector is --service, --environment or --config, or its variable.
func (e *Env) selector(c *cli.Context, flag string) string {
	if v := strings.TrimSpace(c.String(flag)); v != "" {
		return v
	}
	for _, s := range config.Selectors {
		if s.Flag == flag {
			return e.Getenv(s.Env)
		}
	}
	return ""
}

// shellQuote writes a word as a POSIX shell reads it back.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,") == "" {
		return s
	}
	return fmt.Sprintf("'%s'", strings.ReplaceAll(s, "'", `'\''`))
}
