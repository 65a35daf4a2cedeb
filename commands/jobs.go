package commands

// jobs apply: look at the one-click jobs of all scopes, say what would change, ask, and write it.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// jobsVersion is the schema version of `jobs apply --json`.
const jobsVersion = 1

// atOnce is how many jobs are read or written at the same time: Jenkins keeps every configuration in a file of its own.
const atOnce = 8

// What is done with a job.
const (
	jobCreate = "create"
	jobUpdate = "update"
	jobAdopt  = "adopt"
	jobNone   = "none"  // it is as rollback.yaml says
	jobLeave  = "leave" // somebody else's, or changed by somebody else
	jobFailed = "failed"
)

// jobsReport is what `jobs apply --json` prints.
type jobsReport struct {
	SchemaVersion int         `json:"schemaVersion"`
	DryRun        bool        `json:"dryRun"`
	Jobs          []jobReport `json:"jobs"`
	// Strays are jobs with our mark that no listed service leads to.
	Strays []string `json:"strays,omitempty"`
	// LeftOut are settings that are files of this machine: the jobs do not have them.
	LeftOut []string `json:"leftOut,omitempty"`
}

// jobReport is one job: what is to be done with it, and whether it was.
type jobReport struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Jenkins     string `json:"jenkins"`
	Job         string `json:"job"`
	Action      string `json:"action"`
	Done        bool   `json:"done"`
	Why         string `json:"why,omitempty"`  // it is left alone, or failed
	Diff        string `json:"diff,omitempty"` // from what Jenkins has to what rollback.yaml says
}

// jobWork is one job on its way.
type jobWork struct {
	jobReport
	want  jenkins.Pipeline
	found *jenkins.Pipeline
	err   error
}

// alike is the same for jobs that fail for the same reason.
func (w *jobWork) alike() string {
	var call *rollback.CallError
	if errors.As(w.err, &call) {
		return strings.ReplaceAll(fmt.Sprint(call.Kind, call.Code, call.Fix, call.Maybe), w.Job, "")
	}
	return strings.ReplaceAll(w.Why, w.Job, "")
}

func (w *jobWork) fail(err error) {
	w.Action, w.Done, w.Why, w.err = jobFailed, false, err.Error(), err
}

// jobsAt are the jobs of one Jenkins.
type jobsAt struct {
	controller *jenkins.Controller
	jobs       []*jobWork
	known      map[string]bool // names that listed services lead to
	items      map[string]jenkins.Item
	looked     map[string]bool // folders that were listed, and are there
	strays     []string
}

func (e *Env) jobsCommand() *cli.Command {
	adopt := option{name: "adopt", usage: "take over jobs of that name that were changed by hand or made otherwise: what is ours in them is set anew", flag: true}
	dry := option{name: "dry-run", usage: "print what would be written, as differences of values, and write nothing", flag: true}
	return &cli.Command{
		Name: "jobs", Category: set, Usage: "the one-click jobs in Jenkins",
		Description: "One job for each service and environment, with a page \"Build with Parameters\" on which a rollback is one click.",
		Subcommands: []*cli.Command{{
			Name: "apply", Usage: "create or update the one-click job of every service that rollback.yaml lists",
			Description: "For every service listed under services, in every environment; --service and --environment narrow it, and make the job of a\n" +
				"service that only patterns carry. Each job is where jenkins.rollbackJob says, in folders that are made as well.\n\n" +
				"Nothing is written that is as it should be. A job that somebody changed by hand, or that was made otherwise, is shown\n" +
				"and left alone: exit 5, unless --adopt. Whatever else is in a job's configuration stays as it is; no job is ever deleted.\n\n" +
				"The Jenkins user needs Overall/Read, and Job/Read, Job/Create and Job/Configure where the jobs are. docs/examples has the\n" +
				"same jobs for Job DSL and for configuration as code.\n\n" +
				"What goes into the jobs is what rollback.yaml says, whoever applies it: of flags and variables only those count that lead\n" +
				"to Jenkins.",
			Flags: e.scopeFlags(adopt, dry, optYes, optJSON),
			Action: func(c *cli.Context) error {
				sw, err := e.switches(c, adopt, dry, optYes, optJSON)
				if err != nil {
					return err
				}
				return e.applyJobs(c, sw)
			},
		}},
	}
}

// applyJobs reads everything, asks, and writes what differs.
func (e *Env) applyJobs(c *cli.Context, sw map[string]bool) error {
	dry := sw["dry-run"]
	given, ignored, err := e.givenForJobs(c)
	if err != nil {
		return err
	}
	places, leftOut, err := e.wantedJobs(c, given)
	if err != nil {
		return err
	}
	if !dry && !sw["yes"] && !e.Terminal {
		return &rollback.Error{Exit: rollback.Usage, What: "there is no terminal to ask on", Production: rollback.NotChanged,
			Next: []string{"--yes to go on without asking, or --dry-run to see what would be written"}}
	}
	report := &jobsReport{SchemaVersion: jobsVersion, DryRun: dry, LeftOut: leftOut}
	for _, at := range places {
		defer at.controller.Close()
		at.look(c.Context, sw["adopt"])
		for _, w := range at.jobs {
			if text := w.want.XML(); w.Action != jobFailed && e.redactor.String(text) != text {
				w.fail(errors.New("a value looks like a secret, and everybody who may see the job would: rollback.yaml names variables and files that hold secrets"))
			}
		}
		report.Strays = append(report.Strays, at.strays...)
	}
	if c.Context.Err() != nil {
		return lookFailed(c.Context, c.Context.Err())
	}
	p := e.printer()
	if len(ignored) > 0 {
		p.line(fmt.Sprintf("! not in the jobs, because they are set on this machine and not in rollback.yaml: %s", strings.Join(ignored, ", ")))
	}
	if len(leftOut) > 0 {
		p.line(fmt.Sprintf("! not in the jobs, because they name files of this machine: %s (withRollback brings them to a build)", strings.Join(leftOut, ", ")))
	}
	var asked error
	if !dry {
		if asked = e.agreeToJobs(c.Context, places, sw["yes"]); asked == nil {
			for _, at := range places {
				at.write(c.Context)
			}
		}
	}
	for _, at := range places {
		for _, w := range at.jobs {
			report.Jobs = append(report.Jobs, w.jobReport)
		}
	}
	if sw["json"] {
		if err := e.json(report); err != nil {
			return err
		}
	}
	if asked != nil {
		return asked
	}
	e.tellJobs(places, report, sw["json"])
	return jobsOutcome(c.Context, places)
}

// reachJobs are the settings by which the jobs are found and written, which may be those of this machine.
var reachJobs = []string{"jenkins.url", "jenkins.insecure", "jenkins.user", "jenkins.tokenEnv", "jenkins.passwordEnv", "jenkins.caFile", "jenkins.rollbackJob", "strictServices"}

// givenForJobs are the flags and variables that count. What goes into the jobs is what rollback.yaml says: two people with
// different variables would turn all jobs to and fro. Such variables are ignored, such a flag is a mistake.
func (e *Env) givenForJobs(c *cli.Context) (given config.Given, ignored []string, err error) {
	given = e.given(c)
	for _, s := range config.Settings {
		v, ok := given[s.Flag]
		switch {
		case !ok || slices.Contains(reachJobs, s.Key):
			continue
		case v.Origin != s.Env:
			return nil, nil, rollback.UsageErrorf("%s: the jobs say what rollback.yaml says, so write it there: %s", v.Origin, s.Key)
		}
		ignored = append(ignored, v.Origin)
		delete(given, s.Flag)
	}
	return given, ignored, nil
}

// wantedJobs are the jobs that rollback.yaml asks for, by the Jenkins that each is on.
func (e *Env) wantedJobs(c *cli.Context, given config.Given) (places []*jobsAt, leftOut []string, err error) {
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return nil, nil, err
	}
	service, environment := e.selector(c, "service"), e.selector(c, "environment")
	services, environments := file.Services(), file.Environments()
	if service != "" {
		services = []string{service}
	}
	if environment != "" {
		environments = []string{environment}
	}
	name := cmp.Or(file.Name, config.FileNames[0])
	switch {
	case len(services) == 0:
		e := rollback.UsageErrorf("no service is listed in %s: patterns say where a service is, but not which there are", name).(*rollback.Error)
		e.Next = []string{"list those that shall have a job, one line each, in " + name + ": services: {payments: {}}",
			"or one at a time: rollback jobs apply --service payments --environment prod"}
		return nil, nil, e
	case len(environments) == 0:
		return nil, nil, rollback.UsageErrorf("no environment is listed in %s: --environment says which one is meant", name)
	}
	type access struct{ url, user, token, ca string }
	at := map[access]*jobsAt{}
	owner := map[access]map[string]rollback.Scope{}
	var problems []string
	complain := func(err error) {
		if text := err.Error(); !slices.Contains(problems, text) {
			problems = append(problems, text)
		}
	}
	for _, environment := range environments {
		for _, service := range services {
			scoped, err := file.Resolve(rollback.Scope{Service: service, Environment: environment}, given)
			if err != nil {
				complain(err)
				continue
			}
			key := access{scoped.Jenkins.URL, scoped.Jenkins.User, scoped.Jenkins.Secret(), scoped.Jenkins.CAFile}
			if at[key] == nil {
				controller, err := e.jenkinsOf(scoped)
				if err == nil && controller == nil {
					err = rollback.UsageErrorf("jenkins.url is not set: --jenkins-url, ROLLBACK_JENKINS_URL or jenkins.url in %s", name)
				}
				if err != nil {
					complain(err)
					continue
				}
				at[key], owner[key] = &jobsAt{controller: controller, known: map[string]bool{}}, map[string]rollback.Scope{}
				places = append(places, at[key])
			}
			job := scoped.Jenkins.RollbackJob
			if first, taken := owner[key][strings.ToLower(job)]; taken {
				complain(fmt.Errorf("jenkins.rollbackJob (%s) makes %s the job of both %s and %s: put {service} and {environment} into it",
					scoped.Origin("jenkins.rollbackJob"), job, first, scoped.Scope))
				continue
			}
			owner[key][strings.ToLower(job)] = scoped.Scope
			want, paths := pipelineOf(scoped)
			for _, p := range paths {
				if !slices.Contains(leftOut, p) {
					leftOut = append(leftOut, p)
				}
			}
			at[key].jobs = append(at[key].jobs, &jobWork{want: want, jobReport: jobReport{Service: service, Environment: environment, Jenkins: scoped.Jenkins.URL, Job: job}})
		}
	}
	if len(problems) > 0 {
		for _, a := range places {
			a.controller.Close()
		}
		const most = 10
		if more := len(problems) - most; more > 0 {
			problems = append(problems[:most], fmt.Sprintf("… and %d more of that kind", more))
		}
		e := rollback.UsageErrorf("%s", strings.Join(problems, "\n")).(*rollback.Error)
		e.Next = []string{"write it into " + name + ": but for the way to Jenkins, flags and variables of this machine do not count for the jobs"}
		return nil, nil, e
	}
	// Which jobs belong to somebody, however the command was narrowed.
	for _, environment := range file.Environments() {
		for _, service := range append(file.Services(), service) {
			if scoped, err := file.Resolve(rollback.Scope{Service: service, Environment: environment}, given, config.NeedNothing); err == nil {
				for _, a := range places {
					a.known[scoped.Jenkins.RollbackJob] = true
				}
			}
		}
	}
	return places, leftOut, nil
}

// parent is the folder of a full name, "" for the top.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

// above tells whether a folder is the one of a name, or one above it.
func above(folder, name string) bool { return folder == "" || strings.HasPrefix(name, folder+"/") }

// listings are the folders to list so that all jobs are seen, and how deep: the one that all have in common, in one call. At the
// top that could be everything there is, so that each folder is listed by itself then.
func (a *jobsAt) listings() map[string]int {
	common, deepest := parent(a.jobs[0].Job), 0
	for _, w := range a.jobs {
		for !above(common, w.Job) {
			common = parent(common)
		}
		deepest = max(deepest, strings.Count(w.Job, "/"))
	}
	if common != "" {
		return map[string]int{common: deepest - strings.Count(common, "/")}
	}
	list := map[string]int{}
	for _, w := range a.jobs {
		list[parent(w.Job)] = 1
	}
	return list
}

// look decides what is to be done with each job. It only reads.
func (a *jobsAt) look(ctx context.Context, adopt bool) {
	a.items, a.looked = map[string]jenkins.Item{}, map[string]bool{}
	for folder, levels := range a.listings() {
		items, err := a.controller.Items(ctx, folder, levels)
		if err != nil {
			for _, w := range a.jobs {
				if above(folder, w.Job) {
					w.fail(err)
				}
			}
			continue
		}
		a.looked[folder] = items != nil
		for _, i := range items {
			a.items[i.Name] = i
			if _, ours := markIn(i.Description); ours && i.Pipeline() && !a.known[i.Name] {
				a.strays = append(a.strays, i.Name)
			}
		}
	}
	slices.Sort(a.strays)
	a.each(ctx, func(w *jobWork) bool { return w.Action == "" }, func(ctx context.Context, w *jobWork) {
		w.decide(ctx, a, adopt)
	})
}

// decide looks at one job.
func (w *jobWork) decide(ctx context.Context, a *jobsAt, adopt bool) {
	for folder := parent(w.Job); folder != ""; folder = parent(folder) {
		if i, ok := a.items[folder]; ok && !i.Holds {
			w.fail(fmt.Errorf("%s is a job, where a folder should be: rename it, or set jenkins.rollbackJob to another name", folder))
			return
		}
	}
	item, there := a.items[w.Job]
	_, ours := markIn(item.Description)
	switch {
	case !there:
		w.Action, w.Diff = jobCreate, changeOf(w.Job, nil, w.want)
		return
	case item.Holds:
		w.fail(fmt.Errorf("%s is a folder, where a job should be: rename it, or set jenkins.rollbackJob to another name", w.Job))
		return
	case !item.Pipeline():
		w.fail(fmt.Errorf("%s is no pipeline job (%s), and cannot become one: rename it, or set jenkins.rollbackJob to another name", w.Job, item.Class))
		return
	case !ours && !adopt:
		w.Action, w.Why = jobLeave, "was not made by rollback"
		return
	}
	found, err := a.controller.PipelineOf(ctx, w.Job)
	if err != nil {
		w.fail(err)
		return
	}
	w.found = &found
	_, ours = markIn(found.Description)
	if found.Equal(w.want) {
		w.Action, w.Done = jobNone, true
		return
	}
	w.Diff = changeOf(w.Job, w.found, w.want)
	switch {
	case ours && !edited(found, w.want):
		w.Action = jobUpdate
	case adopt:
		w.Action = jobAdopt
	case !ours:
		w.Action, w.Why = jobLeave, "was not made by rollback"
	default:
		w.Action, w.Why = jobLeave, "was changed by hand"
	}
}

// hopeless are failures after which the next call fails as well, and may lock an account or take its time to.
func hopeless(err error) bool {
	kind := rollback.KindOf(err)
	return kind == rollback.Expired || kind == rollback.Unreachable
}

// each does something with every job that is meant, several at once. It ends early when Jenkins does not answer or does not
// know us any more: those that are left fail without being tried.
func (a *jobsAt) each(ctx context.Context, meant func(*jobWork) bool, do func(context.Context, *jobWork)) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	places := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, w := range a.jobs {
		if !meant(w) {
			continue
		}
		places <- struct{}{}
		if ctx.Err() != nil {
			<-places
			why := context.Cause(ctx)
			if errors.Is(why, context.Canceled) {
				why = errors.New("interrupted")
			}
			w.fail(fmt.Errorf("not tried: %w", why))
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			if do(ctx, w); w.err != nil && hopeless(w.err) && ctx.Err() == nil {
				stop(w.err)
			}
		})
	}
	wg.Wait()
}

// writes tells whether something is to be written.
func (w *jobWork) writes() bool {
	return w.Action == jobCreate || w.Action == jobUpdate || w.Action == jobAdopt
}

// folderText is what a folder's page says that we have made.
const folderText = `One-click rollbacks, made by "rollback jobs apply".`

// write makes the folders that are missing, and creates and changes the jobs.
func (a *jobsAt) write(ctx context.Context) {
	var folders []string
	for _, w := range a.jobs {
		if w.Action != jobCreate {
			continue
		}
		for folder := parent(w.Job); folder != "" && !a.there(folder) && !slices.Contains(folders, folder); folder = parent(folder) {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders) // each one after those above it
	for _, folder := range folders {
		if !slices.ContainsFunc(a.jobs, func(w *jobWork) bool { return w.Action == jobCreate && above(folder, w.Job) }) {
			continue // one above it failed
		}
		if _, err := a.controller.CreateFolder(ctx, folder, folderText); err != nil {
			for _, w := range a.jobs {
				if above(folder, w.Job) && w.writes() {
					w.fail(err)
				}
			}
		}
	}
	a.each(ctx, (*jobWork).writes, func(ctx context.Context, w *jobWork) {
		var err error
		if w.Action == jobCreate {
			err = a.controller.CreatePipeline(ctx, w.Job, w.want)
		} else {
			err = a.controller.UpdatePipeline(ctx, w.Job, *w.found, w.want)
		}
		if err != nil {
			w.fail(err)
			return
		}
		w.Done = true
	})
}

// there tells whether a folder was seen: in a listing, or above what was listed.
func (a *jobsAt) there(folder string) bool {
	if i, ok := a.items[folder]; ok {
		return i.Holds
	}
	for listed, seen := range a.looked {
		if seen && (listed == folder || strings.HasPrefix(listed, folder+"/")) {
			return true
		}
	}
	return false
}

// counted is how many jobs of all Jenkinses something holds for.
func counted(places []*jobsAt, holds func(*jobWork) bool) int {
	n := 0
	for _, a := range places {
		for _, w := range a.jobs {
			if holds(w) {
				n++
			}
		}
	}
	return n
}

// agreeToJobs asks before the first write.
func (e *Env) agreeToJobs(ctx context.Context, places []*jobsAt, yes bool) error {
	var parts, names []string
	for _, action := range []string{jobCreate, jobUpdate, jobAdopt} {
		is := func(w *jobWork) bool { return w.Action == action }
		if n := counted(places, is); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", action, n))
		}
		for _, a := range places {
			for _, w := range a.jobs {
				if is(w) {
					names = append(names, fmt.Sprintf("  %-7s %s", action, w.Job))
				}
			}
		}
	}
	if yes || len(parts) == 0 {
		return nil
	}
	const most = 20
	p := e.printer()
	for _, n := range names[:min(len(names), most)] {
		p.line(n)
	}
	if more := len(names) - most; more > 0 {
		p.line(fmt.Sprintf("  … and %d more; --dry-run shows each", more))
	}
	var urls []string
	for _, a := range places {
		if !slices.Contains(urls, a.jobs[0].Jenkins) {
			urls = append(urls, a.jobs[0].Jenkins)
		}
	}
	return e.agree(ctx, fmt.Sprintf("%s on %s? [y/N] ", strings.ToUpper(parts[0][:1])+strings.Join(parts, ", ")[1:], strings.Join(urls, " and ")), saidYes)
}

// jobWords are what is said of an action that was done, and of one that would be.
var jobWords = []struct{ action, done, would string }{
	{jobCreate, "created", "to create"}, {jobUpdate, "updated", "to update"}, {jobAdopt, "adopted", "to adopt"},
	{jobNone, "up to date", "up to date"}, {jobLeave, "left alone", "left alone"}, {jobFailed, "failed", "failed"},
}

// tellJobs prints what was done, or would be: differences on standard output, the rest for people.
func (e *Env) tellJobs(places []*jobsAt, report *jobsReport, asJSON bool) {
	p, data := e.printer(), e.data()
	failed := map[string][]*jobWork{} // those that fail alike are one line
	var order []string
	for _, a := range places {
		for _, w := range a.jobs {
			switch {
			case w.Action == jobFailed:
				alike := w.alike()
				if failed[alike] == nil {
					order = append(order, alike)
				}
				failed[alike] = append(failed[alike], w)
				continue
			case w.Action == jobLeave:
				p.line(p.yellow("! ") + w.Job + " " + w.Why + ", and is left alone")
			case w.writes() && w.Done:
				p.line(p.green("✔ ") + fmt.Sprintf("%-7s  %s", wordFor(w.Action, false), w.Job))
			}
			switch {
			case asJSON || w.Diff == "" && !w.writes():
			case report.DryRun && w.writes() && w.Diff == "":
				data.line("# " + w.Job + ": only the mark in its description")
			case report.DryRun || w.Action == jobLeave:
				data.line(strings.TrimSuffix(w.Diff, "\n"))
			}
		}
	}
	for _, alike := range order {
		first, text := failed[alike][0], ""
		if more := len(failed[alike]) - 1; more > 0 {
			text = fmt.Sprintf(" and %d more", more)
		}
		p.line(p.red("✗ ") + first.Job + text + ": " + first.Why)
	}
	for _, s := range report.Strays {
		p.line(p.yellow("! ") + s + " was made by rollback, and no service that rollback.yaml lists leads to it: list the service, or delete the job in Jenkins")
	}
	var parts []string
	for _, x := range jobWords {
		if n := counted(places, func(w *jobWork) bool { return w.Action == x.action }); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, wordFor(x.action, report.DryRun)))
		}
	}
	p.line(strings.Join(parts, ", "))
}

func wordFor(action string, dry bool) string {
	for _, x := range jobWords {
		switch {
		case x.action != action:
		case dry:
			return x.would
		default:
			return x.done
		}
	}
	return action
}

// jobsOutcome is how the command ends.
func jobsOutcome(ctx context.Context, places []*jobsAt) error {
	all := counted(places, func(*jobWork) bool { return true })
	var next, adopt []string
	add := func(list *[]string, text string) {
		if text != "" && !slices.Contains(*list, text) && len(*list) < 3 {
			*list = append(*list, text)
		}
	}
	for _, a := range places {
		for _, w := range a.jobs {
			if w.Action == jobFailed {
				add(&next, rollback.FixOf(w.err))
			}
			if w.Action == jobLeave {
				add(&adopt, fmt.Sprintf("rollback jobs apply %s --adopt", scopeFlagsText(rollback.Scope{Service: w.Service, Environment: w.Environment})))
			}
		}
	}
	if failed := counted(places, func(w *jobWork) bool { return w.Action == jobFailed }); failed > 0 {
		what := fmt.Sprintf("%d of %s failed", failed, count(all, "job", "jobs"))
		if ctx.Err() != nil {
			what = "interrupted: " + what
		}
		return &rollback.Error{Exit: rollback.Failed, What: what, Production: rollback.NotChanged, Next: append(next, "run it again: what is done is not done twice")}
	}
	if left := counted(places, func(w *jobWork) bool { return w.Action == jobLeave }); left > 0 {
		return &rollback.Error{Exit: rollback.Refused, What: fmt.Sprintf("%s left alone", count(left, "job was", "jobs were")), Production: rollback.NotChanged,
			Next: append([]string{"bring into rollback.yaml what should stay of it; to take it over, and give up what is there instead of ours:"}, adopt...)}
	}
	return nil
}
