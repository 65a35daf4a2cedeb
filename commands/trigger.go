package commands

// trigger: start the rollback job in Jenkins from here, with the flags of run, and see it through.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

var (
	optApprove  = option{name: "approve", usage: "answer the job's approvals with yes; a choice of target is left to a person", flag: true}
	optSure     = option{name: optYes.name, usage: "start it without a terminal where the environment has confirm; on a terminal the service's name is asked for", flag: true}
	optNoFollow = option{name: "no-follow", usage: "only start it, print its link and stop with exit code 3", flag: true}
)

// passedOn are the options that the job has as parameters, under the names of their variables.
var passedOn = []option{optMethod, optTo, optReason, optDryRun, optAccept, optMigrate, optWait}

// abortGrace is how long an aborted build may take until it is told again: the program in it has 10 s to write its record,
// and the pipeline archives it after that.
const abortGrace = time.Minute

func (e *Env) triggerCommand() *cli.Command {
	return &cli.Command{
		Name: "trigger", Category: act, Usage: "start the rollback job in Jenkins, follow it, and answer what it asks",
		Description: "For a laptop without access to the cluster: the job (jenkins.rollbackJob) runs with these flags as its parameters. Shows what\n" +
			"it waits for, its log as it grows, and asks here what the build asks: the target by number, the approval with y. Where the\n" +
			"environment has confirm, the service's name is asked for, before anything is started and by an approval. The exit code is that of the rollback in the build, by the record that\n" +
			"the build leaves; one that leaves none proves nothing, however it ended: exit 4. ^C asks whether to abort the build; left\n" +
			"alone it goes on, and the same command follows it again instead of starting a second one.",
		Flags: e.scopeFlags(slices.Concat(passedOn, []option{optSure, optApprove, optNoFollow, optJSON})...),
		Action: func(c *cli.Context) error {
			t, err := e.newTrigger(c)
			if err != nil {
				return err
			}
			defer t.ctl.Close()
			return t.run(c.Context)
		},
	}
}

// trigger is one call of the command.
type trigger struct {
	e       *Env
	ctl     *jenkins.Controller
	scope   rollback.Scope
	job     string
	confirm bool
	yes     bool              // start it also where confirm has no terminal to ask on
	values  map[string]string // parameters that were given
	dry     bool
	approve bool
	only    bool // start it and no more
	json    bool

	signals chan os.Signal
	slow    *time.Timer // tells that Jenkins takes its time
	screen  *screen
	note    *triggerNote
	told    bool // whether standard output has the build's URL
}

// newTrigger reads flags and configuration. Nothing is asked of Jenkins.
func (e *Env) newTrigger(c *cli.Context) (*trigger, error) {
	sw, err := e.switches(c, optDryRun, optMigrate, optSure, optApprove, optNoFollow, optJSON)
	if err != nil {
		return nil, err
	}
	t := &trigger{e: e, values: map[string]string{}, dry: sw[optDryRun.name], yes: sw[optSure.name], approve: sw[optApprove.name], only: sw[optNoFollow.name], json: sw[optJSON.name]}
	for _, o := range passedOn {
		switch {
		case o.flag && (sw[o.name] || c.IsSet(o.name)):
			t.values[o.env()] = fmt.Sprint(sw[o.name])
		case !o.flag && e.text(c, o) != "":
			t.values[o.env()] = e.text(c, o)
		}
	}
	method, to := t.values[optMethod.env()], t.values[optTo.env()]
	switch {
	case method != "" && !slices.Contains(runMethods, method):
		return nil, rollback.UsageErrorf("--method %q: want retag, revert or undo", method)
	case method == methodUndo && to != "" && to != rollback.Previous:
		return nil, rollback.UsageErrorf("--to %q: an undo goes back to what ran before the last rollback, and nowhere else", to)
	case t.only && t.approve:
		return nil, rollback.UsageErrorf("--approve and --no-follow exclude each other: who does not follow cannot answer")
	}
	if _, err := e.wait(c); err != nil {
		return nil, err
	}
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return nil, err
	}
	t.scope = rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	scoped, err := file.Resolve(t.scope, e.given(c), config.NeedJenkins)
	if err != nil {
		return nil, err
	}
	for _, f := range scoped.Findings {
		e.printer().line("! " + f.Text)
	}
	t.job, t.confirm = scoped.Jenkins.RollbackJob, scoped.Confirm
	t.ctl, err = e.jenkinsOf(scoped, func(cfg *jenkins.Config) { cfg.Grace = abortGrace })
	if err != nil {
		return nil, err
	}
	t.screen = &screen{p: e.printer()}
	return t, nil
}

// askReason makes sure that there is a reason: a job has no terminal to ask on.
func (t *trigger) askReason() error {
	name := optReason.env()
	if t.dry || t.values[name] != "" {
		return nil
	}
	if !t.e.Terminal {
		return &rollback.Error{Exit: rollback.Usage, What: "no reason given", Production: rollback.NotChanged,
			Next: []string{`--reason "what broke, since when" (or ROLLBACK_REASON)`}}
	}
	for t.values[name] == "" {
		text, err := t.askFirst("Reason, for the record: ", "no reason given")
		if err != nil {
			return err
		}
		if t.values[name] = text; text == "" {
			t.screen.line(noReason)
		}
	}
	return nil
}

// agree asks for the service's name before a build is started, where the environment has confirm: whether the job asks for an
// approval is not known from here. As with run, --yes does not stand for it where it can be typed.
func (t *trigger) agree() error {
	switch {
	case !t.confirm || t.dry || t.yes && !t.e.Terminal:
		return nil
	case !t.e.Terminal:
		return &rollback.Error{Exit: rollback.Usage, What: fmt.Sprintf("%s has confirm, and there is no terminal to ask on", t.scope), Production: rollback.NotChanged,
			Next: []string{"--yes to start it without asking, or --dry-run to see the plan only"}}
	}
	text, err := t.askFirst(fmt.Sprintf("Type %s to start the rollback of %s: ", t.scope.Service, t.scope), "not confirmed")
	if err == nil && text != t.scope.Service {
		err = &rollback.Error{Exit: rollback.Refused, What: "not confirmed, so nothing was started", Production: rollback.NotChanged}
	}
	return err
}

// askFirst asks on the terminal before there is a build. lack is what is missing when somebody gives up.
func (t *trigger) askFirst(question, lack string) (string, error) {
	t.slow.Stop()
	defer t.slow.Reset(silence)
	type reply struct {
		text string
		err  error
	}
	answered := make(chan reply, 1)
	go func() {
		text, err := t.e.ask(context.Background(), question) // what ends the wait is told below
		answered <- reply{text, err}
	}()
	select {
	case r := <-answered:
		return r.text, r.err
	case <-t.signals:
		fmt.Fprintln(t.e.Stderr)
		return "", &rollback.Error{Exit: rollback.Refused, What: lack + ", so nothing was started", Production: rollback.NotChanged}
	}
}

// again is the command that follows the same build: the same request.
func (t *trigger) again() string {
	text := "rollback trigger " + scopeFlagsText(t.scope)
	for _, o := range passedOn {
		v, given := t.values[o.env()]
		switch {
		case !given:
		case o.flag:
			text += " --" + o.name + "=" + v
		default:
			text += " --" + o.name + " " + shellQuote(v)
		}
	}
	if t.yes {
		text += " --yes"
	}
	if t.approve {
		text += " --approve"
	}
	return text
}

func (t *trigger) status() string { return fromHere("rollback status " + scopeFlagsText(t.scope)) }

var (
	undoCommand  = regexp.MustCompile(`\brollback undo (--service \S+ --environment \S+)`)
	otherCommand = regexp.MustCompile(`\brollback (status|candidates|plan|run|verify|retag|restart|undo|doctor) --`)
)

// fromHere is a command to type next, for somebody who may have no access to the cluster: the job undoes as well, and what there is
// no job for is labelled.
func fromHere(next string) string {
	next = undoCommand.ReplaceAllString(next, "rollback trigger $1 --method undo")
	if otherCommand.MatchString(next) {
		next += "  # with access to the cluster"
	}
	return next
}

// run starts the build, or finds the one that an earlier call started, and follows it.
func (t *trigger) run(ctx context.Context) error {
	// From here on ^C is a question, and a second one must not kill us. The program's own context ends with the first.
	t.signals = make(chan os.Signal, 8)
	signal.Notify(t.signals, Signals()...)
	defer signal.Stop(t.signals)

	t.slow = time.AfterFunc(silence, func() { t.screen.line("! Jenkins has not answered yet; still trying") })
	defer t.slow.Stop()
	parameters, err := t.fit(ctx)
	if err != nil {
		return err
	}
	b, err := t.start(ctx, parameters)
	if err != nil {
		return err
	}
	t.slow.Stop()
	if t.only {
		return t.leaveStarted(ctx, b)
	}
	return t.follow(b)
}

// fit holds what was given against the job's definitions, and adds what they make necessary.
func (t *trigger) fit(ctx context.Context) (map[string]string, error) {
	defined, err := t.ctl.Parameters(ctx, t.job)
	if err != nil {
		failed := unreachable(err).(*rollback.Error)
		failed.What = "the rollback job cannot be read, so nothing was started"
		if rollback.KindOf(err) == rollback.NotFound {
			failed.What = fmt.Sprintf("Jenkins has no job %s, or does not show it to you; nothing was started", t.job)
			failed.Next = append(failed.Next, "name the job with --jenkins-rollback-job, or jenkins.rollbackJob in rollback.yaml", "rollback jobs apply makes it")
		}
		return nil, failed
	}
	has := func(name string) (rollback.Parameter, bool) {
		i := slices.IndexFunc(defined, func(p rollback.Parameter) bool { return p.Name == name })
		if i < 0 {
			return rollback.Parameter{}, false
		}
		return defined[i], true
	}
	// A reason is wanted where the job has none of its own.
	if p, ok := has(optReason.env()); ok && (p.Default == nil || *p.Default == "") {
		if err := t.askReason(); err != nil {
			return nil, err
		}
	}
	values := maps.Clone(t.values)
	var missing []string
	for _, o := range passedOn {
		if _, given := values[o.env()]; !given {
			continue
		}
		if _, ok := has(o.env()); !ok {
			missing = append(missing, fmt.Sprintf("--%s (%s)", o.name, o.env()))
		}
	}
	if len(missing) > 0 {
		refused := &rollback.Error{Exit: rollback.Usage, Production: rollback.NotChanged,
			What: fmt.Sprintf("the job %s has no parameter for %s, so nothing was started", t.job, strings.Join(missing, ", "))}
		if len(defined) == 0 {
			refused.Next = append(refused.Next, "if the job is new, run it once by hand: Jenkins learns the parameters of a Jenkinsfile in its first run")
		}
		refused.Next = append(refused.Next, "leave the flag out, give the job the parameter, or name another job with --jenkins-rollback-job")
		return nil, refused
	}
	// Where the page lets people choose what to roll back, it is told; everywhere else the job knows.
	for _, s := range config.Selectors {
		if _, ok := has(s.Env); ok && s.Flag == "service" {
			values[s.Env] = t.scope.Service
		} else if ok && s.Flag == "environment" {
			values[s.Env] = t.scope.Environment
		}
	}
	// A stage in a deploy pipeline does nothing unless it is told how.
	if p, ok := has(optMethod.env()); ok && values[optMethod.env()] == "" && (p.Default == nil || *p.Default == methodNone) {
		values[optMethod.env()] = rollback.MethodRetag
	}
	if wrong := rollback.CheckParameters(defined, values); len(wrong) > 0 {
		return nil, &rollback.Error{Exit: rollback.Usage, What: "the job " + t.job + " would not take this: " + strings.Join(wrong, "; "), Production: rollback.NotChanged,
			Next: []string{"see its page in Jenkins for what it takes"}}
	}
	if p, ok := has(jenkins.IDParameter); !ok || p.Kind != rollback.TextParameter {
		t.screen.line("! the job has no text parameter " + jenkins.IDParameter + ": if the answer to the start is lost, its build cannot be told from others")
	}
	return values, nil
}

// request is what was asked for, in short: the same flags for the same job make the same one.
func (t *trigger) request(values map[string]string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", t.job)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(h, "%q=%q", name, values[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// start asks for a build unless the same request has one already: one that this machine has not seen the end of, or one
// that is in flight for somebody else.
func (t *trigger) start(ctx context.Context, values map[string]string) (rollback.Build, error) {
	request := t.request(values)
	t.note = t.readNote(request)
	note := t.note
	if note.Build.Number > 0 || note.Build.Queue > 0 {
		b, err := t.ctl.Look(ctx, note.Build)
		switch {
		case err == nil:
			t.screen.line("◎ " + b.String() + " was started by an earlier call with the same flags: following it")
			return b, nil
		case rollback.KindOf(err) != rollback.NotFound:
			return b, t.unstarted(err)
		}
	}
	flying, err := t.ctl.InFlight(ctx, t.job)
	if err != nil {
		return rollback.Build{}, t.unstarted(err)
	}
	for _, b := range flying {
		if strings.HasPrefix(b.Parameters[jenkins.IDParameter], request+"-") {
			t.screen.line("◎ " + b.String() + " is at work on the same request: following it")
			t.writeNote(b)
			return b, nil
		}
		t.screen.line(fmt.Sprintf("! %s is %s already: %s", b, b.State, t.ctl.Page(b)))
	}
	if err := t.agree(); err != nil {
		return rollback.Build{}, err
	}
	if note.ID == "" {
		note.ID = request + "-" + rollback.NewID(time.Now())
	}
	t.writeNote(rollback.Build{}) // before anything is sent: what comes back may be lost
	started, err := t.ctl.Start(ctx, rollback.BuildRequest{Job: t.job, Parameters: values, ID: note.ID})
	if err != nil {
		return started.Build, t.notStarted(err)
	}
	t.writeNote(started.Build)
	if started.Already {
		t.screen.line("◎ " + started.String() + " was started by an earlier call with the same flags: following it")
	} else {
		t.screen.line("► " + started.String() + " asked for")
	}
	return started.Build, nil
}

// unstarted dresses a failure before anything was sent.
func (t *trigger) unstarted(err error) error {
	failed := unreachable(err).(*rollback.Error)
	failed.What = "nothing was started"
	failed.Next = append(failed.Next, "then the same again: "+t.again())
	return failed
}

// notStarted dresses a failure of the start itself.
func (t *trigger) notStarted(err error) error {
	var f *rollback.CallError
	if !errors.As(err, &f) || !f.Maybe {
		t.dropNote()
		return t.unstarted(err)
	}
	lost := &rollback.Error{Exit: rollback.Unverified, What: "it is not known whether Jenkins started the build", Err: err,
		Production: "not known: a build may be at work"}
	if f.Fix != "" {
		lost.Next = append(lost.Next, f.Fix)
	}
	lost.Next = append(lost.Next, "the same again finds the build if there is one: "+t.again(), t.status())
	return lost
}

// leaveStarted ends --no-follow: the build goes on by itself.
func (t *trigger) leaveStarted(ctx context.Context, b rollback.Build) error {
	if now, err := t.ctl.Look(ctx, b); err == nil {
		b = now
	}
	t.tellURL(b)
	if b.Over() {
		return t.finish(context.WithoutCancel(ctx), b, false)
	}
	left := t.left(b, "started, and not followed", false)
	if err := t.print(b, nil, left); err != nil {
		return err
	}
	return left
}

// left is the end of a call whose build goes on.
func (t *trigger) left(b rollback.Build, what string, waiting bool) error {
	production := "the build is at work on it, or will be"
	switch {
	case b.State == rollback.BuildQueued:
		production = "not changed yet: the build has not begun"
	case waiting:
		production = "not changed yet: the build waits for an answer"
	case t.dry:
		production = rollback.NotChanged + ": it is a dry run"
	}
	return &rollback.Error{Exit: rollback.Pending, What: fmt.Sprintf("%s: %s goes on in Jenkins: %s", what, b, t.ctl.Page(b)), Production: production,
		Next: []string{"follow it again: " + t.again(), "to abort it: its page in Jenkins, or ^C while following", t.status()}}
}

// tellURL puts the build's link on standard output, once.
func (t *trigger) tellURL(b rollback.Build) {
	if link := t.ctl.Page(b); !t.told && !t.json && link != "" && (b.Number > 0 || t.only) {
		t.told = true
		t.e.data().line(link)
	}
}

// triggerVersion is the schema version of `trigger --json`.
const triggerVersion = 1

// print is --json: the build, what its record says, and the exit code.
func (t *trigger) print(b rollback.Build, result map[string]string, ended error) error {
	if !t.json {
		return nil
	}
	message := ""
	if ended != nil {
		message = ended.Error()
	}
	return t.e.json(struct {
		SchemaVersion int               `json:"schemaVersion"`
		Build         rollback.Build    `json:"build"`
		Result        map[string]string `json:"result,omitempty"`
		Exit          rollback.Exit     `json:"exit"`
		Message       string            `json:"message,omitempty"`
	}{triggerVersion, b, result, rollback.ExitOf(ended), message})
}

// ids are the inputs of our stage, for controllers that cannot list theirs: with the scope behind them, as the stage makes
// them, with the service, or bare.
func (t *trigger) ids() []string {
	camel := func(text string) string {
		words := strings.FieldsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
		for i, w := range words {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
		return strings.Join(words, "")
	}
	var list []string
	for _, behind := range []string{camel(t.scope.String()), camel(t.scope.Service), ""} {
		list = append(list, choosing+behind, approving+behind)
	}
	return list
}

// How the ids of the stage's inputs begin.
const (
	ours      = "Rollback"
	choosing  = "RollbackChoose"
	approving = "RollbackApprove"
)

// result reads the record that the build has left of this scope. Where nothing was run, the plan or the list of candidates
// that put an end to it is the record.
func (t *trigger) result(ctx context.Context, b rollback.Build) (l remains) {
	all, err := t.ctl.Artifacts(ctx, b)
	if err != nil {
		return remains{err: err}
	}
	dir := fmt.Sprintf("rollback-record/%s-%s/", t.scope.Service, t.scope.Environment)
	var acts, looks []string
	for _, path := range all {
		switch {
		case path == dir+"result.txt":
			acts = slices.Insert(acts, 0, path)
		case path == "rollback-result.txt" || strings.HasSuffix(path, "/rollback-result.txt"):
			acts = append(acts, path)
		case path == dir+"plan.txt" || path == dir+"candidates.txt":
			looks = append(looks, path)
		}
	}
	for i, path := range slices.Concat(acts, looks) {
		var kv map[string]string
		if _, err := t.ctl.Artifact(ctx, b, path, func(text []byte) (err error) { kv, err = record.ParseResult(text); return err }); err != nil {
			return remains{err: err}
		}
		switch ofUs := kv["service"] == t.scope.Service && kv["environment"] == t.scope.Environment; {
		case !ofUs:
		case i < len(acts) || kv["exit"] != "0" || t.dry && path == dir+"plan.txt":
			return remains{kv: kv}
		case path == dir+"plan.txt":
			l.planned = true
		}
	}
	return l
}
