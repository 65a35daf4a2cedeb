package commands

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// commands is the whole command tree, in the order in which a newcomer needs them.
func (e *Env) commands() []*cli.Command {
	return []*cli.Command{
		e.statusCommand(), e.candidatesCommand(), e.planCommand(), e.runCommand(),
		e.retagCommand(), e.restartCommand(), e.verifyCommand(), e.revertCommand(), e.relandCommand(), e.undoCommand(), e.triggerCommand(),
		e.doctorCommand(), e.permissionsCommand(), e.jobsCommand(), e.initCommand(), e.demoCommand(), e.completionCommand(),
	}
}

const (
	look = "Look"
	act  = "Act"
	set  = "Set up"
)

func (e *Env) planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Category: look, Usage: "show what a rollback would do, with a verdict and reasons; changes nothing",
		Description: "Reads the cluster and the registry and prints current and target image, what is undone, what will be touched,\n" +
			"findings with their remedies, the steps, and whether that is safe. Exit 5 if it is not.",
		Flags: e.scopeFlags(optTo, optMethod, optReason, optOut, optJSON, optAccept, optMigrate, optSteal, optNoRecord, optLeft, optUser),
		Action: func(c *cli.Context) error {
			sw, err := e.switches(c, optJSON, optNoRecord)
			if err != nil {
				return err
			}
			t := task{act: rollback.ActRun, dry: true, json: sw["json"], noRecord: sw["no-record"], out: e.text(c, optOut), result: e.text(c, optResult), steal: e.text(c, optSteal)}
			return e.perform(c, t)
		},
	}
}

func (e *Env) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Category: act, Usage: "roll back, and prove what the pods run",
		Description: "Shows the plan, asks, and does it. --method retag: lock, keep the outgoing image, point the moving tag at the target,\n" +
			"restart what pulls it, open the revert pull request while the pods start, and compare the digests of the running pods;\n" +
			"it is temporary until that revert is merged. --method revert: the pull request first, then its merge, the build of the\n" +
			"merge commit, its image, and the same proof. A run that was killed is finished by the same command, from any machine.",
		Flags: e.scopeFlags(optTo, optMethod, optWait, optReason, optDryRun, optAgreed, optPlan, optAccept, optMigrate, optSteal, optOut, optJSON, optNoRecord, optResult, optUser),
		Action: func(c *cli.Context) error {
			return e.performAct(c, rollback.ActRun)
		},
	}
}

func (e *Env) retagCommand() *cli.Command {
	return &cli.Command{
		Name: "retag", Category: act, Usage: "only move the tag: checked, the outgoing image kept, undoable",
		Description: "The pods keep what they run until they restart. For pipelines that want a stage each: retag, restart, verify.",
		Flags:       e.scopeFlags(optTo, optReason, optDryRun, optAgreed, optAccept, optSteal, optJSON, optNoRecord, optResult, optUser),
		Action:      func(c *cli.Context) error { return e.performAct(c, rollback.ActRetag) },
	}
}

func (e *Env) restartCommand() *cli.Command {
	return &cli.Command{
		Name: "restart", Category: act, Usage: "only restart what pulls the moving tag, and wait until it serves",
		Description: "Finds the workloads by the image they use, stamps their pod templates and follows the rollout. Stops early, with\n" +
			"events and log lines, when new pods do not come up.",
		Flags:  e.scopeFlags(optReason, optDryRun, optAgreed, optAccept, optSteal, optJSON, optNoRecord, optResult, optUser),
		Action: func(c *cli.Context) error { return e.performAct(c, rollback.ActRestart) },
	}
}

func (e *Env) undoCommand() *cli.Command {
	return &cli.Command{
		Name: "undo", Category: act, Usage: "take the last rollback back: to the exact digest that ran before",
		Description: "Works even if that image has lost every other tag: the rollback kept it under a tag of its own.",
		Flags:       e.scopeFlags(optReason, optDryRun, optAgreed, optAccept, optSteal, optJSON, optResult, optUser),
		Action:      func(c *cli.Context) error { return e.performAct(c, rollback.ActUndo) },
	}
}

func (e *Env) verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Category: look, Usage: "prove what the pods run, by digest; changes nothing",
		Description: "Compares the image of every running pod with the target of the last rollback, or with --to. Exit 0 means that every\n" +
			"pod runs it, that there are as many as wanted, and that they stayed ready for the settle time.",
		Flags: e.scopeFlags(option{name: "to", usage: "what must run: a commit, a tag or a digest (default: target of the last rollback, else what the moving tag names)"}, optJSON, optNoRecord, optResult, optUser),
		Action: func(c *cli.Context) error {
			sw, err := e.switches(c, optJSON, optNoRecord)
			if err != nil {
				return err
			}
			return e.perform(c, task{act: rollback.ActVerify, yes: true, json: sw["json"], noRecord: sw["no-record"], result: e.text(c, optResult)})
		},
	}
}

// task is what one of the acting commands was asked to do.
type task struct {
	act                      rollback.Act
	dry, yes, json, noRecord bool
	plan, out, result        string
	steal                    string
}

func (e *Env) performAct(c *cli.Context, a rollback.Act) error {
	sw, err := e.switches(c, optDryRun, optYes, optJSON, optNoRecord)
	if err != nil {
		return err
	}
	out := ""
	if a == rollback.ActRun {
		out = e.text(c, optOut)
	}
	return e.perform(c, task{
		act: a, out: out, dry: sw["dry-run"], yes: sw["yes"], json: sw["json"], noRecord: sw["no-record"],
		plan: e.text(c, optPlan), result: e.text(c, optResult), steal: e.text(c, optSteal),
	})
}

// perform is every acting command: survey, plan, ask, run, print.
func (e *Env) perform(c *cli.Context, t task) (err error) {
	scope := rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	left := &outcome{act: c.Command.Name, scope: scope}
	if !t.dry {
		t.result = e.resultOf(t.result)
	}
	defer func() { err = e.leave(t.result, left, err) }()
	req := rollback.Request{
		Act: t.act, Method: rollback.MethodRetag, To: e.text(c, optTo), Reason: e.text(c, optReason), By: e.actor(c),
		Accept: e.list(c, optAccept), Steal: t.steal, Dry: t.dry,
	}
	method := e.text(c, optMethod)
	var saved *rollback.Plan
	if t.plan != "" {
		if saved, err = readPlan(t.plan); err != nil {
			return err
		}
		if method != "" && method != planned(saved) {
			return rollback.UsageErrorf("--plan and --method %s: the plan in %s is by %s", method, t.plan, planned(saved))
		}
		method = planned(saved)
	}
	switch method {
	case "", rollback.MethodRetag:
	case rollback.MethodRevert:
		req.Method = method
	case methodUndo:
		if req.To != "" && req.To != rollback.Previous && saved == nil {
			return rollback.UsageErrorf("--to %q: an undo goes back to what ran before the last rollback, and nowhere else", req.To)
		}
		t.act, req.Act, req.To = rollback.ActUndo, rollback.ActUndo, ""
	default:
		return rollback.UsageErrorf("--method %q: want retag, revert or undo", method)
	}
	for _, code := range req.Accept {
		if !slices.Contains(rollback.Codes, code) {
			err := rollback.UsageErrorf("--accept %s: no finding has that code", code).(*rollback.Error)
			if near := nearest(code, rollback.Codes); near != "" {
				err.What = fmt.Sprintf("--accept %s: no finding has that code, did you mean %s?", code, near)
				err.Err = nil
			}
			err.Next = []string{"the codes are in brackets behind the findings: rollback plan"}
			return err
		}
	}
	// A variable may be set for other runs of the same job.
	if w := strings.TrimSpace(c.String(optWait.name)); c.IsSet(optWait.name) && w != "" && w != "none" && req.Method != rollback.MethodRevert {
		return rollback.UsageErrorf("--wait %s goes with --method revert: nothing else waits for a merge", w)
	}
	waitMerge, err := e.wait(c)
	if err != nil {
		return err
	}
	if accept, err := e.on(c, optMigrate); err != nil {
		return err
	} else if accept {
		req.Accept = append(req.Accept, "migrations")
	}
	if saved != nil {
		// A variable may still hold what the plan was asked for; the plan says where that is.
		if c.IsSet(optTo.name) && req.To != "" && req.To != string(saved.Target.Digest) {
			return rollback.UsageErrorf("--plan and --to: the plan in %s says where to already", t.plan)
		}
		if t.act == rollback.ActRun {
			req.To = string(saved.Target.Digest)
		}
		if req.Reason == "" {
			req.Reason = saved.Reason
		}
	}
	if req.To == "" && (t.act == rollback.ActRun || t.act == rollback.ActRetag) {
		req.To = rollback.Previous
	}
	s, err := e.open(c, t.noRecord)
	if err != nil {
		return err
	}
	scope = s.scoped.Scope
	req.Scope, left.scope = scope, scope
	if req.Method == rollback.MethodRevert && s.world.Reverter == nil {
		return &rollback.Error{Exit: rollback.Usage, What: "--method revert needs GitHub, and " + s.noForge, Production: rollback.NotChanged,
			Next: []string{"set repo in rollback.yaml and the token in GITHUB_TOKEN, then: rollback doctor " + scopeFlagsText(scope)}}
	}
	if saved != nil && saved.Scope != scope {
		return rollback.UsageErrorf("--plan %s is for %s, not for %s", t.plan, saved.Scope, scope)
	}
	unasked := t.yes && (!s.scoped.Confirm || t.act == rollback.ActVerify || e.onJenkins())
	switch {
	case t.dry || unasked || e.Terminal:
	case t.yes:
		return &rollback.Error{Exit: rollback.Usage, What: fmt.Sprintf("%s has confirm, and there is no terminal to type the service's name on", scope), Production: rollback.NotChanged,
			Next: []string{"--confirm=false (ROLLBACK_CONFIRM=false), with --yes, to let a script go on without asking; in a Jenkins build --yes is enough", "--dry-run to see the plan only"}}
	default:
		return &rollback.Error{Exit: rollback.Usage, What: "there is no terminal to ask on", Production: rollback.NotChanged,
			Next: []string{"--yes to go on without asking, or --dry-run to see the plan only"}}
	}
	if err := e.askReason(c.Context, t, &req); err != nil {
		return err
	}

	p := e.printer()
	now := time.Now()
	survey, err := rollback.Look(c.Context, s.world, req, now)
	if err != nil {
		return lookFailed(c.Context, err)
	}
	plan := rollback.Draw(survey, rollback.NewID(now))
	e.typing.carryPlan(plan)
	if saved != nil {
		if moved := saved.Basis.Moved(plan.Basis); len(moved) > 0 {
			return &rollback.Error{Exit: rollback.Refused, What: "the world has moved since the plan was made: " + strings.Join(moved, "; "),
				Production: rollback.NotChanged, Next: []string{"to see it as it is now: rollback plan " + scopeFlagsText(scope)}}
		}
		if plan.Resumes == "" {
			plan.ID = saved.ID
		}
	}
	if t.dry {
		left.addPlan(plan, now, t.out)
		return e.showPlan(t, plan, now)
	}
	if t.out != "" {
		if err := writePlan(t.out, plan, e.redactor.String); err != nil {
			return err
		}
	}
	switch {
	case t.act == rollback.ActVerify:
	case saved != nil && t.yes && plan.Refusal() == nil: // whoever said yes has seen it, and nothing has moved since
		p.line("as planned  " + summary(plan, now) + p.dim("  "+plan.ID))
	default:
		p.card(plan, now)
		p.line("")
	}
	if err := plan.Refusal(); err != nil {
		return err
	}
	changes := t.act != rollback.ActVerify && len(plan.Steps) > 1
	if changes && !unasked {
		if err := e.confirm(c.Context, s.scoped.Confirm, plan); err != nil {
			return err
		}
	}
	runner := rollback.Runner{
		World: s.world, Report: e.reporter(t.json),
		Limits: rollback.Limits{Rollout: s.scoped.Timeout, Settle: s.scoped.Settle, Merge: waitMerge,
			Webhook: max(s.scoped.Jenkins.Webhook, time.Nanosecond), FollowUp: max(s.scoped.Revert.Wait, time.Nanosecond), // 0 would be the default
		},
	}
	var journal *record.Journal
	if changes {
		unbroken()
		j, why, err := e.journal(scope, plan.ID)
		switch {
		case err != nil && t.noRecord:
			return &rollback.Error{Exit: rollback.Failed, What: "the journal cannot be written and no record is kept, so nothing was started", Err: err, Production: rollback.NotChanged,
				Next: []string{"name a directory that can be written: ROLLBACK_STATE=/some/dir"}}
		case err != nil:
			p.line("! no journal is written, the record in the cluster tells what was done: " + err.Error())
		default:
			if why != nil {
				p.line("! the journal goes to a temporary directory: " + why.Error())
			}
			defer j.Close()
			runner.Journal, journal = j, j
		}
	}
	res, err := runner.Run(c.Context, survey, plan)
	if res == nil {
		return err
	}
	res.Next = e.typing.carryAll(res.Next)
	path := ""
	if journal != nil && journal.Written() {
		path = journal.Path()
	}
	left.addResult(res, planned(plan), path)
	if t.json {
		if jerr := e.json(res); jerr != nil { // production is what it is: the exit code says that
			p.line("! the result could not be printed: " + jerr.Error())
		}
	}
	if path != "" {
		p.line(p.dim("  journal: " + path))
	}
	if err != nil {
		return err
	}
	took := ""
	if d := res.EndedAt.Sub(res.StartedAt); d >= time.Second {
		took = p.dim(fmt.Sprintf("  (%s)", rollback.Span(d)))
	}
	p.line(p.green("✔ ") + res.Outcome + took)
	p.line("  production: " + res.Production)
	for _, n := range res.Next {
		p.line("  next: " + n)
	}
	if !t.json && !e.OutTerminal { // for scripts; people have read it
		fmt.Fprintln(e.Stdout, res.To.Digest)
	}
	return nil
}

// lookFailed keeps an interruption apart from a failure.
func lookFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &rollback.Error{Exit: rollback.Failed, What: "interrupted while reading", Production: rollback.NotChanged}
	}
	return err
}

func (e *Env) showPlan(t task, plan *rollback.Plan, now time.Time) error {
	if t.out != "" {
		if err := writePlan(t.out, plan, e.redactor.String); err != nil {
			return err
		}
	}
	if t.json {
		if err := e.json(plan); err != nil {
			return err
		}
	} else {
		p := e.data()
		e.dress(p, e.Terminal && e.OutTerminal)
		p.card(plan, now)
	}
	if t.out != "" && !e.onJenkins() { // there the library runs it
		e.printer().line(e.typing.carry("plan written: rollback run " + scopeFlagsText(plan.Scope) + " --plan " + shellQuote(t.out)))
	}
	return plan.Refusal()
}

// defaultWait is how long --wait merge waits.
const defaultWait = time.Hour

// wait is how long to wait for a merge.
func (e *Env) wait(c *cli.Context) (time.Duration, error) {
	switch v := e.text(c, optWait); v {
	case "", "none":
		return 0, nil
	case "merge":
		return defaultWait, nil
	default:
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return 0, rollback.UsageErrorf("--wait %q: want merge, none, or a duration such as 30m", v)
		}
		return d, nil
	}
}

// noReason is said where nothing was typed.
const noReason = "It cannot be left out: the record, the revert and whoever meets the lock say why."

// askReason makes sure that there is a reason where something changes: from the flag, or typed on a terminal.
func (e *Env) askReason(ctx context.Context, t task, req *rollback.Request) error {
	if t.dry || t.act == rollback.ActVerify || req.Reason != "" {
		return nil
	}
	if t.act == rollback.ActRestart {
		req.Reason = "restart"
		return nil
	}
	if !e.Terminal || t.yes {
		return &rollback.Error{Exit: rollback.Usage, What: "no reason given", Production: rollback.NotChanged,
			Next: []string{`--reason "what broke, since when" (or ROLLBACK_REASON)`}}
	}
	for req.Reason == "" {
		answer, err := e.ask(ctx, "Reason, for the record: ")
		if err != nil {
			return err
		}
		if req.Reason = answer; answer == "" {
			fmt.Fprintln(e.Stderr, noReason)
		}
	}
	return nil
}

// confirm asks before anything is touched. Where the environment says so, the service's name must be typed: a y comes too
// easily at night, and a --yes that the shell remembers easier still. A build has no terminal; its approval is Jenkins' to ask.
func (e *Env) confirm(ctx context.Context, byName bool, plan *rollback.Plan) error {
	service := plan.Scope.Service
	if byName {
		return e.agree(ctx, fmt.Sprintf("Type %s to go on: %s: ", service, brief(plan)), func(text string) bool { return text == service })
	}
	return e.agree(ctx, fmt.Sprintf("Go on: %s? [y/N] ", brief(plan)), saidYes)
}

// brief is what is agreed to, in one line of a small terminal: there, the rest of the plan may have moved out of sight.
func brief(p *rollback.Plan) string {
	text := p.Scope.String() + " "
	if p.Act != rollback.ActRestart {
		text += name(p.Current) + " → "
	}
	text += name(p.Target)
	if n := len(p.Undoes); n > 0 {
		text += fmt.Sprintf(", undoes %d", n)
	}
	pods := 0
	for _, w := range p.Workloads {
		if !w.Stamped {
			pods += w.Pods
		}
	}
	switch {
	case p.Method == rollback.MethodRevert && p.Act == rollback.ActRun:
		text += ", by a pull request"
	case p.Act == rollback.ActRetag:
		text += ", the tag only"
	case p.Does(rollback.StepRestart) && pods > 0:
		text += ", restarts " + count(pods, "pod", "pods")
	}
	return text
}

func saidYes(text string) bool { return strings.EqualFold(text, "y") || strings.EqualFold(text, "yes") }

// agree asks a question and refuses to go on unless the answer is right.
func (e *Env) agree(ctx context.Context, question string, right func(text string) bool) error {
	if text, err := e.ask(ctx, question); err != nil || !right(text) {
		return &rollback.Error{Exit: rollback.Refused, What: "not confirmed", Production: rollback.NotChanged}
	}
	return nil
}

// ask asks a question on the terminal and reads one line, until the program is told to stop. Only what is typed from then on
// answers it. What comes next begins a line of its own, also where nobody ended that of the question.
func (e *Env) ask(ctx context.Context, question string) (string, error) {
	type reply struct {
		text string
		err  error
	}
	answered := make(chan reply, 1)
	e.unasked()
	fmt.Fprint(e.Stderr, question)
	go func() { // it may outlive the question, so all it does is read
		text, err := e.answer()
		answered <- reply{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(e.Stderr)
		return "", noAnswer()
	case r := <-answered:
		if r.err != nil {
			fmt.Fprintln(e.Stderr)
		}
		return r.text, r.err
	}
}

// unasked drops what was typed before a question was on the screen: a y that was meant for something else must not move
// production.
func (e *Env) unasked() {
	if f, is := e.Stdin.(*os.File); is && e.Terminal {
		_ = dropTyped(f.Fd())
	}
}

func noAnswer() error {
	return &rollback.Error{Exit: rollback.Refused, What: "no answer", Production: rollback.NotChanged}
}

// answer reads the line that was asked for.
func (e *Env) answer() (string, error) {
	var line []byte
	r := bufio.NewReaderSize(e.Stdin, 1) // no more than the line: what follows belongs to the next question
	for {
		b, err := r.ReadByte()
		if err != nil {
			if len(line) > 0 {
				break
			}
			return "", noAnswer()
		}
		if b == '\n' {
			break
		}
		line = append(line, b)
	}
	return strings.TrimSpace(string(line)), nil
}

func (e *Env) reporter(asJSON bool) rollback.Reporter {
	p := e.printer()
	if e.Terminal {
		return newLive(p, e.Width)
	}
	return newLines(p)
}

// readPlan reads a plan that `plan --out` wrote.
func readPlan(path string) (*rollback.Plan, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, rollback.UsageErrorf("--plan %s: %w", path, err)
	}
	var p rollback.Plan
	d := json.NewDecoder(strings.NewReader(string(data)))
	if err := d.Decode(&p); err != nil {
		return nil, rollback.UsageErrorf("--plan %s: not a plan of this program: %w", path, err)
	}
	if p.SchemaVersion != rollback.PlanVersion {
		return nil, rollback.UsageErrorf("--plan %s: schemaVersion %d, this program reads %d; make the plan again", path, p.SchemaVersion, rollback.PlanVersion)
	}
	if p.Act != rollback.ActRun && p.Act != rollback.ActUndo || p.Scope.Validate() != nil {
		return nil, rollback.UsageErrorf("--plan %s: not a plan for `run`", path)
	}
	if _, err := rollback.ParseDigest(string(p.Target.Digest)); err != nil {
		return nil, rollback.UsageErrorf("--plan %s: target: %w", path, err)
	}
	return &p, nil
}

func writePlan(path string, p *rollback.Plan, redact func(string) string) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := record.WriteFile(path, []byte(redact(string(data))+"\n"), 0o600); err != nil {
		return rollback.UsageErrorf("--out %s: %w", path, err)
	}
	return nil
}
