package commands

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/kube"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// doctorVersion is the schema version of `doctor --json`.
const doctorVersion = 1

// checkup is one line of the doctor: what was looked at, how it is, and what to do about it.
type checkup struct {
	System string `json:"system"` // configuration, registry, cluster, record, github, jenkins, journal
	Status string `json:"status"` // ok, warn, fail
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

type doctorReport struct {
	SchemaVersion int                `json:"schemaVersion"`
	Scope         rollback.Scope     `json:"scope"`
	For           string             `json:"for"` // the command whose needs decide what fails
	Checks        []checkup          `json:"checks"`
	Commands      []ability          `json:"commands,omitempty"` // absent if the cluster could not be asked
	Settings      []config.Explained `json:"settings"`
}

// ability is whether the rights in the cluster are enough for a command.
type ability struct {
	Command string   `json:"command"`
	Missing []string `json:"missing,omitempty"` // rights that it can't do without: "patch deployments.apps"
}

func (e *Env) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Category: set, Usage: "check the access to every configured system, without changing anything",
		Description: "One line for each check, with the fix where it fails. Rights to write are asked of Kubernetes by access review; ECR\n" +
			"offers no such question, so ecr:PutImage is not checked. What fails is what the command of --for needs, run if it is not\n" +
			"given: exit code 0 means that nothing stands in its way. With --for plan a role that may only look passes, and what a\n" +
			"rollback needs beyond it is a warning. With --for trigger nothing but Jenkins is asked: the rollback job, its parameters\n" +
			"and the right to build it, by a start without a form, which Jenkins refuses. The cluster's line of rights names the commands that they are enough for.",
		Flags: e.scopeFlags(forOption(examined()), optJSON, optLeft),
		Action: func(c *cli.Context) error {
			asJSON, err := e.on(c, optJSON)
			if err != nil {
				return err
			}
			want, err := e.needsFor(c, examined())
			if err != nil {
				return err
			}
			return e.leaving(c, func(left *outcome) error {
				report := e.examine(c, want)
				if asJSON {
					if err := e.json(report); err != nil {
						return err
					}
				} else {
					e.printDoctor(report)
				}
				failed := 0
				for _, k := range report.Checks {
					if k.Status == "fail" {
						failed++
					}
				}
				left.message = count(len(report.Checks), "check", "checks") + ", all passed"
				left.add("checks", len(report.Checks))
				left.add("failed", failed)
				if failed == 0 {
					return nil
				}
				problem := &rollback.Error{Exit: rollback.Failed, What: count(failed, "check failed", "checks failed") + " of those for rollback " + want.command, Production: rollback.NotChanged}
				if slices.ContainsFunc(report.Checks, func(k checkup) bool { return k.System == "configuration" && k.Status == "fail" }) {
					problem.Exit = rollback.Usage // as it is of every other command
				}
				if report.enough("plan") && !report.enough(want.command) {
					problem.Next = []string{"looking works already: rollback plan " + scopeFlagsText(report.Scope), "to check for that alone: rollback doctor --for plan " + scopeFlagsText(report.Scope)}
				}
				return problem
			})
		},
	}
}

// examined are the commands that the doctor looks for.
func examined() []needs { return append(slices.Clone(needsOf), needs{command: triggering}) }

// triggering is the command that needs nothing but Jenkins.
const triggering = "trigger"

// enough tells whether the rights in the cluster are known to be enough for a command.
func (r doctorReport) enough(command string) bool {
	return slices.ContainsFunc(r.Commands, func(a ability) bool { return a.Command == command && len(a.Missing) == 0 })
}

// examine looks at everything, in parallel where it can; one failure hides no other.
func (e *Env) examine(c *cli.Context, want needs) doctorReport {
	r := doctorReport{SchemaVersion: doctorVersion, For: want.command}
	add := func(system, status, text, fix string) {
		r.Checks = append(r.Checks, checkup{system, status, text, fix})
	}
	fail := func(system string, err error) {
		fix := rollback.FixOf(err)
		var next []string
		if re, ok := err.(*rollback.Error); ok {
			next = re.Next
		}
		if fix == "" {
			fix = strings.Join(next, "; ")
		}
		add(system, "fail", err.Error(), fix)
	}
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		fail("configuration", err)
		return r
	}
	r.Scope = rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	var wanted []config.Need
	if want.command == triggering {
		wanted = append(wanted, config.NeedJenkins)
	}
	scoped, err := file.Resolve(r.Scope, e.given(c), wanted...)
	if err != nil {
		fail("configuration", err)
		return r
	}
	name := file.Name
	if name == "" {
		name = "flags and variables only; no rollback.yaml found"
	}
	if want.command == triggering {
		add("configuration", "ok", fmt.Sprintf("%s: %s, rollback job %s", name, r.Scope, scoped.Jenkins.RollbackJob), "")
		for _, f := range scoped.Findings {
			add("configuration", "warn", f.Text, f.Remedy)
		}
		r.Settings = scoped.Explain()
		r.Checks = slices.Concat(r.Checks, e.examineRollbackJob(c.Context, scoped), []checkup{e.examineJournal()})
		return r
	}
	add("configuration", "ok", fmt.Sprintf("%s: %s, image %s:%s, namespace %s", name, r.Scope, scoped.Image, scoped.Tag, scoped.Namespace), "")
	for _, f := range scoped.Findings {
		add("configuration", "warn", f.Text, f.Remedy)
	}
	if scoped.Cluster.Server == "" && scoped.Cluster.UID == "" && scoped.Cluster.EKS == "" {
		add("configuration", "warn", "the cluster's identity is not configured: a kubeconfig whose context points elsewhere would not be noticed", "set cluster.server or cluster.uid")
	}
	r.Settings = scoped.Explain()

	var registry, cluster, forge, builds []checkup
	var wg sync.WaitGroup
	wg.Go(func() { registry = e.examineRegistry(c.Context, scoped, want) })
	wg.Go(func() { cluster, r.Commands = e.examineCluster(c.Context, scoped, want) })
	wg.Go(func() { forge = e.examineForge(c.Context, scoped, want) })
	wg.Go(func() { builds = e.examineJenkins(c.Context, scoped) })
	wg.Wait()
	r.Checks = slices.Concat(r.Checks, registry, cluster, forge, builds, []checkup{e.examineJournal()})
	return r
}

func failing(system string, err error) checkup {
	k := checkup{System: system, Status: "fail", Text: err.Error(), Fix: rollback.FixOf(err)}
	if k.Fix == "" {
		if re, ok := err.(*rollback.Error); ok {
			k.Fix = strings.Join(re.Next, "; ")
		}
	}
	return k
}

func (e *Env) examineRegistry(ctx context.Context, s config.Scoped, want needs) []checkup {
	var list []checkup
	add := func(status, text, fix string) { list = append(list, checkup{"registry", status, text, fix}) }
	registry, _, err := e.registryOf(ctx, s)
	if err != nil {
		return append(list, failing("registry", err))
	}
	var repository rollback.Repository
	var images []rollback.Image
	var manifests []rollback.Manifest
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { repository, errs[0] = registry.Repository(ctx, s.Image) })
	wg.Go(func() { images, errs[1] = registry.Images(ctx, s.Image, s.Tag) })
	wg.Go(func() { manifests, errs[2] = registry.Manifests(ctx, s.Image, s.Tag) })
	wg.Wait()
	seen := map[string]bool{}
	for _, err := range errs {
		if err == nil {
			continue
		}
		what := err.Error()
		if rollback.KindOf(err) == rollback.Expired { // the same credentials, whatever was asked with them
			what = string(rollback.Expired) + rollback.FixOf(err)
		}
		if !seen[what] {
			seen[what] = true
			list = append(list, failing("registry", err))
		}
	}
	if errs[0] == nil {
		text := repository.Host + "/" + repository.Name
		if repository.Caller != "" {
			text += " as " + repository.Caller
		}
		if s.Registry.Account != "" && repository.CallerAccount != "" && repository.CallerAccount != s.Registry.Account {
			add("warn", fmt.Sprintf("%s: the caller is of account %s, the registry of %s", text, repository.CallerAccount, s.Registry.Account), "fine if the repository's policy allows it; else use credentials of the registry's account")
		} else {
			add("ok", text, "")
		}
		if repository.Mutability.Movable(s.Tag) {
			if repository.Kind == "ecr" {
				add("ok", fmt.Sprintf("the tag %s can be moved", s.Tag), "")
			}
		} else {
			add(want.ifWriting("fail"), fmt.Sprintf("the repository does not let the tag %s be moved", s.Tag), fmt.Sprintf("set the tag mutability to IMMUTABLE_WITH_EXCLUSION with the filter %q", s.Tag))
		}
		for _, u := range repository.Unknown {
			add("warn", "not checked: "+u, "")
		}
		if len(repository.Lifecycle) > 0 {
			add("ok", count(len(repository.Lifecycle), "lifecycle rule", "lifecycle rules")+" read; plans warn when one takes the target or the outgoing image", "")
		}
	}
	if errs[1] == nil && errs[2] == nil {
		if len(images) == 0 || len(manifests) == 0 {
			add("fail", fmt.Sprintf("%s:%s does not exist", s.Image, s.Tag), "check image and tag in rollback.yaml")
		} else {
			add("ok", fmt.Sprintf("%s:%s names %s; its manifest can be read", s.Image, s.Tag, images[0].Digest.Short()), "")
		}
	}
	if s.Registry.Kind != "oci" && want.writes() {
		add("warn", "ecr:PutImage cannot be checked without writing", "the policy: rollback permissions")
	}
	return list
}

func (e *Env) examineCluster(ctx context.Context, s config.Scoped, want needs) (list []checkup, commands []ability) {
	add := func(system, status, text, fix string) { list = append(list, checkup{system, status, text, fix}) }
	cluster, err := e.clusterOf(ctx, s)
	if err != nil {
		return append(list, failing("cluster", err)), commands
	}
	identity, err := cluster.Identity(ctx)
	if err != nil {
		return append(list, failing("cluster", err)), commands
	}
	text := strings.TrimSpace(identity.Context + " " + identity.Server)
	if identity.User != "" {
		text += " as " + identity.User
	}
	if identity.UID != "" {
		text += ", uid " + identity.UID
	}
	add("cluster", "ok", text, "")
	access, err := cluster.Can(ctx, s.Namespace, kube.Rules())
	if err != nil {
		return append(list, failing("cluster", err)), commands
	}
	rights, commands := examineRights(access, s, want)
	list = append(list, rights...)
	inv, err := cluster.Inventory(ctx, s.Namespace)
	if err != nil {
		return append(list, failing("cluster", err)), commands
	}
	var users, images []string // whose image is told once
	for _, w := range inv.Workloads {
		for _, ct := range w.Containers {
			if ref, err := rollback.ParseReference(ct.Image); err == nil && ref.Repository == s.Image {
				if n := len(images); n > 0 && images[n-1] != ct.Image {
					users[n-1] += " (" + images[n-1] + ")"
				}
				users, images = append(users, w.Ref.String()), append(images, ct.Image)
				break
			}
		}
	}
	if n := len(users); n > 0 {
		users[n-1] += " (" + images[n-1] + ")"
	}
	if len(users) == 0 {
		add("cluster", "warn", fmt.Sprintf("nothing in namespace %s uses the image %s", s.Namespace, s.Image), "check image and namespace")
	} else {
		add("cluster", "ok", "uses the image: "+strings.Join(users, ", "), "")
	}
	if s.Scope.Service != "" {
		rec, _, err := e.recordsOf(cluster, s).Read(ctx, s.Scope)
		switch {
		case err != nil:
			list = append(list, failing("record", err))
		case rec.Last == nil:
			add("record", "ok", "no rollback of "+s.Scope.String()+" is recorded yet", "")
		default:
			add("record", "ok", fmt.Sprintf("last: %s %s, %s", rec.Last.Kind, rec.Last.ID, rec.Last.State), "")
		}
		if l, now := rec.Lock, time.Now(); err == nil && l != nil && now.Before(l.ExpiresAt) {
			add("record", "warn", fmt.Sprintf("%s is locked by %s on %s since %s: %s", s.Scope, rollback.Printable(l.Holder.User), rollback.Printable(l.Holder.Host), rollback.Span(now.Sub(l.TakenAt)), rollback.Printable(l.Reason)),
				"what is done there: rollback status "+scopeFlagsText(s.Scope))
		}
	}
	return list, commands
}

// examineRights tells which rights are missing: those that the wanted command can't do without, those that it is better with,
// and in one line those that other commands need.
func examineRights(access []kube.Access, s config.Scoped, want needs) (list []checkup, commands []ability) {
	add := func(system, status, text, fix string) { list = append(list, checkup{system, status, text, fix}) }
	missing := map[string]bool{}
	for _, a := range access {
		for _, verb := range a.Missing {
			missing[rightText(a.Rule, verb)] = true
		}
	}
	var enough, short, beyond []string
	for _, n := range needsOf {
		can := ability{Command: n.command}
		for _, right := range requiredRights(n, s) {
			if missing[right] {
				can.Missing = append(can.Missing, right)
			}
		}
		commands = append(commands, can)
		switch {
		case n.command == "doctor": // it is running
		case len(can.Missing) == 0:
			enough = append(enough, n.command)
		default:
			short = append(short, n.command)
			for _, right := range can.Missing {
				if !slices.Contains(beyond, right) {
					beyond = append(beyond, right)
				}
			}
		}
	}
	required, useful := requiredRights(want, s), rightTexts(rightsOf(want, s, false).Kubernetes)
	fix := fmt.Sprintf("the Role: rollback permissions --for %s", want.command)
	fine := 0
	for _, a := range access {
		if len(a.Missing) == 0 {
			fine++
		}
		var must, may []string
		for _, verb := range a.Missing {
			switch right := rightText(a.Rule, verb); {
			case slices.Contains(required, right):
				must = append(must, verb)
				beyond = slices.DeleteFunc(beyond, func(b string) bool { return b == right })
			case slices.Contains(useful, right):
				may = append(may, verb)
			}
		}
		system := "cluster"
		if a.Rule.Act == kube.ActRecord {
			system = "record"
		}
		for _, lack := range []struct {
			status string
			verbs  []string
		}{{"fail", must}, {"warn", may}} {
			if len(lack.verbs) > 0 {
				add(system, lack.status, fmt.Sprintf("may not %s %s in %s: %s", strings.Join(lack.verbs, ", "), resourceText(a.Rule), s.Namespace, a.Rule.Why), fix)
			}
		}
	}
	if short = slices.DeleteFunc(short, func(command string) bool { return command == want.command }); len(beyond) > 0 {
		most := short[len(short)-1]
		add("cluster", "warn", fmt.Sprintf("not enough yet for %s: may not %s in %s", strings.Join(short, ", "), strings.Join(beyond, ", "), s.Namespace),
			fmt.Sprintf("the Role, once you want that: rollback permissions --for %s", most))
	}
	text, status := fmt.Sprintf("%d of %d rights in namespace %s, enough for %s", fine, len(access), s.Namespace, strings.Join(enough, ", ")), "ok"
	if len(enough) == 0 {
		text, status = fmt.Sprintf("%d of %d rights in namespace %s, enough for no command", fine, len(access), s.Namespace), "warn"
	}
	add("cluster", status, text, "")
	return list, commands
}

// requiredRights are those that a command can't do without.
func requiredRights(n needs, s config.Scoped) []string {
	return rightTexts(rightsOf(n, s, true).Kubernetes)
}

func rightTexts(rules []kube.Rule) []string {
	var list []string
	for _, r := range rules {
		for _, verb := range r.Verbs {
			list = append(list, rightText(r, verb))
		}
	}
	return list
}

// rightText is one right in words, "patch deployments.apps"; the same in all rules.
func rightText(r kube.Rule, verb string) string { return verb + " " + resourceText(r) }

func resourceText(r kube.Rule) string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// examineForge looks at GitHub. A rollback by tag works without it, so only what is set up and does not work is a failure.
func (e *Env) examineForge(ctx context.Context, s config.Scoped, want needs) (list []checkup) {
	add := func(status, text, fix string) { list = append(list, checkup{"github", status, text, fix}) }
	forge, why, err := e.forgeOf(s)
	if err != nil {
		return append(list, failing("github", err))
	}
	if forge == nil {
		fix := "set repo in rollback.yaml, and the token in " + s.GitHub.TokenEnv
		if s.Repo != "" {
			fix = "put the token into " + s.GitHub.TokenEnv
		}
		add("warn", "not asked: "+why+"; no titles and authors, no revert pull request, no --method revert", fix)
		return list
	}
	defer forge.Close()
	a, err := forge.Access(ctx)
	if err != nil {
		return append(list, failing("github", err))
	}
	add("ok", fmt.Sprintf("%s as %s; %s is at %s, %s old", forge.Repo(), a.Who, s.Branch, a.Head.Short(), rollback.Span(time.Since(a.Pushed))), "")
	switch {
	case a.Archived:
		add(want.ifWriting("fail"), forge.Repo()+" is archived: no revert can be opened", "set repo in rollback.yaml to where the code lives now")
	case !a.MayWrite():
		add(want.ifWriting("fail"), fmt.Sprintf("%s may only read %s (%s): no revert can be opened", a.Who, forge.Repo(), strings.ToLower(a.Permission)), "what to give: rollback permissions")
	}
	if s.Revert.AutoMerge && !a.AutoMerge {
		add("warn", "revert.autoMerge is set, and "+forge.Repo()+" does not allow auto-merge: a revert that waits for checks has to be merged by hand", "allow auto-merge in the repository's settings")
	}
	return list
}

// examineController looks at Jenkins itself. The controller is nil where nothing more can be asked. Like GitHub's, a token of
// Jenkins that is not there is a warning, unless Jenkins is needed: a rollback by tag works without.
func (e *Env) examineController(ctx context.Context, s config.Scoped, needed bool) (controller *jenkins.Controller, list []checkup) {
	add := func(status, text, fix string) { list = append(list, checkup{"jenkins", status, text, fix}) }
	if secret := s.Jenkins.Secret(); !needed && s.Jenkins.URL != "" && e.Getenv(secret) == "" {
		add("warn", "not asked: "+secret+" is not set; deployments in flight are not seen, and --method revert cannot follow the build", "put it into "+secret+"; an API token is made on the user's page in Jenkins, under Security")
		return nil, list
	}
	controller, err := e.jenkinsOf(s)
	if err != nil {
		return nil, append(list, failing("jenkins", err))
	}
	if controller == nil {
		add("warn", "not asked: jenkins.url is not set; deployments in flight are not seen, and --method revert cannot follow the build", "set jenkins.url, jenkins.user and job in rollback.yaml")
		return nil, list
	}
	if jenkins.Plain(s.Jenkins.URL) {
		add("warn", "the credentials go over plain http to "+s.Jenkins.URL+" (jenkins.insecure): everybody on the way can read them", "serve Jenkins by https, then leave jenkins.insecure out")
	}
	who, err := controller.Identity(ctx)
	if err != nil {
		controller.Close()
		return nil, append(list, failing("jenkins", err))
	}
	add("ok", strings.TrimSpace("Jenkins "+who.Version)+" as "+who.User, "")
	return controller, list
}

// examineRollbackJob looks at what trigger needs: the job that rolls back, with its parameters, and the right to start it.
func (e *Env) examineRollbackJob(ctx context.Context, s config.Scoped) (list []checkup) {
	controller, list := e.examineController(ctx, s, true)
	if controller == nil {
		return list
	}
	defer controller.Close()
	add := func(status, text, fix string) { list = append(list, checkup{"jenkins", status, text, fix}) }
	job := s.Jenkins.RollbackJob
	defined, err := controller.Parameters(ctx, job)
	if err != nil {
		k := failing("jenkins", err)
		if rollback.KindOf(err) == rollback.NotFound {
			k.Text = fmt.Sprintf("there is no job %s, or Jenkins does not show it to you", job)
			k.Fix = "rollback jobs apply makes it; for one of another name: jenkins.rollbackJob in rollback.yaml"
		}
		return append(list, k)
	}
	if err := controller.MayBuild(ctx, job); err != nil {
		return append(list, failing("jenkins", err))
	}
	add("ok", fmt.Sprintf("the rollback job %s, %s; you may start it", job, count(len(defined), "parameter", "parameters")), "")
	var missing []string
	for _, o := range passedOn {
		if !slices.ContainsFunc(defined, func(p rollback.Parameter) bool { return p.Name == o.env() }) {
			missing = append(missing, "--"+o.name)
		}
	}
	if len(missing) > 0 {
		add("warn", fmt.Sprintf("the job has no parameter for %s", strings.Join(missing, ", ")), "rollback jobs apply brings its parameters up to date; a job from a Jenkinsfile learns them in its next run")
	}
	if !slices.ContainsFunc(defined, func(p rollback.Parameter) bool {
		return p.Name == jenkins.IDParameter && p.Kind == rollback.TextParameter
	}) {
		add("warn", "the job has no text parameter "+jenkins.IDParameter+": if the answer to a start is lost, its build cannot be told from others", "give it that parameter, empty by default")
	}
	return list
}

// examineJenkins looks at the controller and at the job that deploys.
func (e *Env) examineJenkins(ctx context.Context, s config.Scoped) (list []checkup) {
	controller, list := e.examineController(ctx, s, false)
	if controller == nil {
		return list
	}
	defer controller.Close()
	add := func(status, text, fix string) { list = append(list, checkup{"jenkins", status, text, fix}) }
	if s.Job == "" {
		add("warn", "no job is configured: deployments in flight are not seen, and --method revert cannot follow the build", "set job in rollback.yaml to the job that deploys")
		return list
	}
	parameters, err := controller.Parameters(ctx, s.Job)
	if err != nil {
		return append(list, failing("jenkins", err))
	}
	want := s.Jenkins.CommitParameter
	if want != "" && !slices.ContainsFunc(parameters, func(p rollback.Parameter) bool { return p.Name == want }) {
		add("fail", fmt.Sprintf("the job %s has no parameter %s (jenkins.commitParameter)", s.Job, want), "name the parameter that takes the commit; a Jenkinsfile's are known after its first run")
		return list
	}
	add("ok", fmt.Sprintf("the job %s, %s", s.Job, count(len(parameters), "parameter", "parameters")), "")
	return list
}

func (e *Env) examineJournal() checkup {
	bad := func(why error) checkup {
		return checkup{"journal", "warn", why.Error() + "; a rollback writes its journal to a temporary directory", "name a directory that can be written: ROLLBACK_STATE=/some/dir"}
	}
	dir, err := record.StateDir(e.Getenv)
	if err != nil {
		return bad(err)
	}
	// The directory may not exist yet: then the nearest one that does must take a new one.
	at := dir
	for {
		if info, err := os.Stat(at); err == nil {
			if !info.IsDir() {
				return bad(fmt.Errorf("%s is not a directory", at))
			}
			break
		}
		if filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	if err := writable(at); err != nil {
		return bad(fmt.Errorf("%s cannot be written: %w", at, err))
	}
	if err := room(at); err != nil {
		return bad(err)
	}
	return checkup{"journal", "ok", "journals go to " + dir, ""}
}

func (e *Env) printDoctor(r doctorReport) {
	p := e.data()
	e.dress(p, e.Terminal && e.OutTerminal)
	for _, k := range r.Checks {
		mark := map[string]string{"ok": p.green("✔"), "warn": p.yellow("!"), "fail": p.red("✗")}[k.Status]
		p.line(fmt.Sprintf("%s %-13s %s", mark, k.System, strings.ReplaceAll(k.Text, "\n", "\n"+strings.Repeat(" ", 16))))
		if k.Fix != "" {
			p.line(strings.Repeat(" ", 16) + "→ " + k.Fix)
		}
	}
}
