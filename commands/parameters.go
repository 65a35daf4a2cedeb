package commands

// The parameters of a Jenkins job that rolls back, in one table: for the page, for trigger, and for the tests of vars/.

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// parameter is a parameter of a Jenkins job that rolls back. It has the name of the flag's variable, so nothing has to be
// translated on the way from Jenkins' page to the program.
type parameter struct {
	Name        string
	Kind        rollback.ParameterKind
	Choices     []string // of a choice; the first one is the default
	Default     string
	Description string // the flag's usage
}

// methodNone is the choice of a job that does something else as well: do not roll back.
const methodNone = "none"

// jobParameters are the parameters of every job that rolls back, in the order of the page. A job that does nothing else has
// no methodNone.
func jobParameters(onlyRollback bool) []parameter {
	method := parameter{Name: optMethod.env(), Kind: rollback.ChoiceParameter, Choices: slices.Concat([]string{methodNone}, runMethods), Description: optMethod.usage}
	if onlyRollback {
		method.Choices = runMethods
	}
	text := func(o option, value string) parameter {
		return parameter{Name: o.env(), Kind: rollback.TextParameter, Default: value, Description: o.usage}
	}
	on := func(o option) parameter {
		return parameter{Name: o.env(), Kind: rollback.BooleanParameter, Default: "false", Description: o.usage}
	}
	return []parameter{
		method, text(optTo, rollback.Previous), text(optReason, ""), on(optDryRun), text(optAccept, ""), on(optMigrate), text(optWait, ""),
		{Name: jenkins.IDParameter, Kind: rollback.TextParameter, Description: "leave empty: rollback trigger finds its own build by it"},
	}
}

// runMethods are the values of --method where a whole rollback is planned or run.
var runMethods = []string{rollback.MethodRetag, rollback.MethodRevert, methodUndo}

// methodUndo makes `plan` and `run` those of `undo`, so that one Jenkins page offers all ways.
const methodUndo = "undo"

// methodsOf are the values of a command's --method.
func methodsOf(c *cli.Command) []string {
	if c.Name == "demo" {
		return runMethods[:2]
	}
	return runMethods
}
