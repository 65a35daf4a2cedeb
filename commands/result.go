package commands

// Result files: the outcome of a command as key=value lines.

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// outcome gathers what a command leaves in its result file: key=value lines for Groovy, which has no safe way to read JSON in
// a pipeline.
type outcome struct {
	scope rollback.Scope
	act   string
	acts  bool // it changes something, be it no more than a pull request
	// message, production and next are those of the error where there is one.
	message, production string
	next                []string
	more                []record.KV
}

func (o *outcome) add(key string, value any) {
	text := fmt.Sprint(value)
	if t, is := value.(time.Time); is {
		text = ""
		if !t.IsZero() {
			text = t.UTC().Format(time.RFC3339)
		}
	}
	o.more = append(o.more, record.KV{Key: key, Value: text})
}

// leaving runs a command that only looks, or that does not touch production, and leaves its result where --result-file says.
func (e *Env) leaving(c *cli.Context, do func(*outcome) error) error {
	o := &outcome{act: c.Command.Name, scope: rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}}
	err := do(o)
	path := e.text(c, optResult)
	if o.acts {
		path = e.resultOf(path)
	}
	return e.leave(path, o, err)
}

// resultOf is the result file of a command that acts: on Jenkins it has one without being told.
func (e *Env) resultOf(path string) string {
	if path == "" && e.onJenkins() {
		return "rollback-result.txt"
	}
	return path
}

// leave writes the result file. A result that cannot be written is said, but never hides how the command ended.
func (e *Env) leave(path string, o *outcome, err error) error {
	if path == "" {
		return err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.Dir, path)
	}
	message, production, next := o.message, o.production, o.next
	if err != nil {
		message = err.Error()
		var re *rollback.Error
		if errors.As(err, &re) {
			production, next = re.Production, e.typing.carryAll(re.Next)
		}
	}
	kv := append([]record.KV{
		{Key: "schemaVersion", Value: "1"},
		{Key: "exit", Value: fmt.Sprint(int(rollback.ExitOf(err)))},
		{Key: "service", Value: o.scope.Service}, {Key: "environment", Value: o.scope.Environment}, {Key: "act", Value: o.act},
		{Key: "message", Value: message}, {Key: "production", Value: production}, {Key: "next", Value: strings.Join(next, " | ")},
	}, o.more...)
	if werr := record.WriteResult(path, kv, e.redactor.String); werr != nil {
		e.printer().line("! the result file could not be written: " + werr.Error())
	}
	return err
}

// addTargets are the two sides of a rollback.
func (o *outcome) addTargets(from, to rollback.Digest, fromCommit, toCommit rollback.Commit) {
	o.add("from", from)
	o.add("fromCommit", fromCommit)
	o.add("to", to)
	o.add("toCommit", toCommit)
}

// addResult is what an act has come to.
func (o *outcome) addResult(res *rollback.Result, method, journal string) {
	o.message, o.production, o.next = res.Outcome, res.Production, res.Next
	o.add("run", res.Run)
	o.add("method", method)
	o.addTargets(res.From.Digest, res.To.Digest, res.From.Commit, res.To.Commit)
	o.add("pullRequest", res.PullRequest)
	o.add("journal", journal)
}

// addPlan is what was planned.
func (o *outcome) addPlan(p *rollback.Plan, now time.Time, path string) {
	o.message = summary(p, now)
	o.production = rollback.NotChanged
	o.add("verdict", p.Verdict)
	o.add("reasons", strings.Join(p.Reasons, "; "))
	o.add("changes", len(p.Steps) > 1)
	o.add("resumes", p.Resumes)
	o.add("method", planned(p))
	o.addTargets(p.Current.Digest, p.Target.Digest, p.Current.Commit, p.Target.Commit)
	o.add("summary", summary(p, now))
	o.add("plan", path)
}

// planned is the --method that a plan was made with.
func planned(p *rollback.Plan) string {
	if p.Act == rollback.ActUndo {
		return methodUndo
	}
	return p.Method
}

// summary is a plan in one line, for somebody who is asked whether to go on.
func summary(p *rollback.Plan, now time.Time) string {
	if len(p.Steps) <= 1 {
		return fmt.Sprintf("%s: nothing to change, production is on %s already", p.Scope, name(p.Target))
	}
	how := "roll back by " + p.Method
	if p.Act == rollback.ActUndo {
		how = "undo the last rollback"
	}
	text := fmt.Sprintf("%s: %s, %s → %s", p.Scope, how, name(p.Current), name(p.Target))
	if c := p.Target.Change; c != nil {
		text += " " + changed(c)
	}
	if t := p.Target.Time(); !t.IsZero() {
		text += ", " + rollback.Span(now.Sub(t)) + " old"
	}
	if n := len(p.Undoes); n > 0 {
		text += ", undoes " + count(n, "version", "versions")
	}
	if len(p.Workloads) > 0 && p.Does(rollback.StepRestart) {
		text += ", restarts " + count(len(p.Workloads), "workload", "workloads")
	}
	text += "; verdict " + string(p.Verdict)
	if p.Verdict == rollback.Unsafe {
		text += ": " + strings.Join(p.Reasons, "; ")
	}
	return text
}

// name is an image in one word.
func name(s rollback.Side) string {
	if s.Commit != "" {
		return s.Commit.Short()
	}
	return s.Digest.Short()
}
