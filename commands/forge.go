package commands

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/github"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// forgeOf prepares GitHub for a scope. Without a repository or credentials it is nil, and why says so: a rollback by tag
// does without.
func (e *Env) forgeOf(s config.Scoped) (forge *github.Forge, why string, err error) {
	g := s.GitHub
	cfg := github.Config{BaseURL: g.URL, Repo: s.Repo, Branch: s.Branch, CAFile: g.CAFile, BranchPrefix: s.Revert.BranchPrefix, TempPrefix: s.Revert.TempPrefix}
	switch {
	case s.Repo == "":
		return nil, "no repository is configured (repo)", nil
	case g.App != "" || g.Installation != "" || g.KeyFile != "":
		if g.App == "" || g.Installation == "" || g.KeyFile == "" {
			return nil, "", rollback.UsageErrorf("a GitHub App needs all three of github.app, github.installation and github.keyFile")
		}
		app, _ := strconv.ParseInt(g.App, 10, 64) // checked by the configuration
		installation, _ := strconv.ParseInt(g.Installation, 10, 64)
		cfg.App = &github.App{ID: app, Installation: installation, KeyFile: g.KeyFile}
	default:
		if cfg.Token, cfg.TokenFrom = e.Getenv(g.TokenEnv), g.TokenEnv; cfg.Token == "" {
			return nil, g.TokenEnv + " is not set", nil
		}
	}
	if forge, err = github.New(cfg); err != nil {
		return nil, "", &rollback.Error{Exit: rollback.Usage, Err: err, Production: rollback.NotChanged, Next: []string{rollback.FixOf(err)}}
	}
	return forge, "", nil
}

// connectForge gives the world its forge, if there is one.
func (e *Env) connectForge(s *site) error {
	forge, why, err := e.forgeOf(s.scoped)
	if err != nil {
		return err
	}
	r := s.scoped.Revert
	s.world.Place.Followed = rollback.Followed{
		Repo: s.scoped.Repo, Due: r.Due, Labels: r.Labels, Reviewers: r.Reviewers, Draft: r.Draft, AutoMerge: r.AutoMerge,
		Job: s.scoped.Job, CommitParameter: s.scoped.Jenkins.CommitParameter,
	}
	if len(r.Migrations) > 0 {
		s.world.Place.Followed.Rules = rollback.WithMigrations(r.Migrations)
	}
	if s.noForge = why; forge == nil && s.scoped.Repo != "" {
		s.world.Place.Followed.NoForge = why
	}
	if forge != nil {
		e.opened.add(forge.Close)
		s.world.Commits, s.world.Reverter, s.world.PullRequests = forge, forge, forge
	}
	return nil
}

// connectBuilds gives the world its Jenkins, if there is one. A rollback does without: one whose token is missing at night is
// worth a warning and no more.
func (e *Env) connectBuilds(s *site) error {
	j := s.scoped.Jenkins
	if j.URL != "" && e.Getenv(j.Secret()) == "" {
		s.world.Place.Followed.NoBuilds = j.Secret() + " is not set"
		return nil
	}
	controller, err := e.jenkinsOf(s.scoped)
	switch {
	case err != nil && jenkins.Plain(j.URL) && !j.Insecure: // found out at night, after an update of this program
		s.world.Place.Followed.NoBuilds = "credentials are not sent over plain http to " + j.URL + " unless jenkins.insecure is true"
		return nil
	case controller != nil:
		e.opened.add(controller.Close)
		s.world.Builds, s.world.Starter = controller, controller
	}
	return err
}

// jenkinsOf prepares Jenkins for a scope; nil without a URL.
func (e *Env) jenkinsOf(s config.Scoped, change ...func(*jenkins.Config)) (*jenkins.Controller, error) {
	j := s.Jenkins
	if j.URL == "" {
		return nil, nil
	}
	secret := e.Getenv(j.Secret())
	var missing []string
	if j.User == "" {
		missing = append(missing, "jenkins.user")
	}
	if secret == "" {
		missing = append(missing, "the variable "+j.Secret())
	}
	if len(missing) > 0 {
		user := cmp.Or(j.User, "USER")
		lacking := &rollback.Error{Exit: rollback.Usage, Production: rollback.NotChanged, What: "jenkins.url is set, but not " + strings.Join(missing, " and ")}
		if j.PasswordEnv == "" {
			lacking.Next = []string{"an API token is made at " + strings.TrimRight(j.URL, "/") + "/user/" + url.PathEscape(user) + "/security/"}
		}
		return nil, lacking
	}
	cfg := jenkins.Config{URL: j.URL, Insecure: j.Insecure, User: j.User, Token: secret, CAFile: j.CAFile}
	if j.PasswordEnv != "" {
		cfg.Token, cfg.Password = "", secret
	}
	for _, f := range change {
		f(&cfg)
	}
	controller, err := jenkins.New(cfg)
	if err != nil {
		failed := unreachable(err).(*rollback.Error)
		failed.Exit = rollback.Usage
		return nil, failed
	}
	return controller, nil
}

var (
	optPR     = option{name: "pr", usage: "number of the merged pull request"}
	optCommit = option{name: "commit", usage: "the one commit to undo"}
	optFrom   = option{name: "from", usage: "with --to: the last commit to undo; what came after it stays (default: the tip of the branch)"}
	optDraft  = option{name: "draft", usage: "open it as a draft", flag: true}
	optAuto   = option{name: "auto-merge", usage: "merge it as soon as nothing stands in its way", flag: true}
)

func (e *Env) revertCommand() *cli.Command {
	to := option{name: "to", usage: "undo everything after this commit"}
	return &cli.Command{
		Name: "revert", Category: act, Usage: "only the revert pull request: an exact inverse, without a clone",
		Description: "One of --pr, --commit and --to says what to undo; with --from, --to does not reach up to the tip of the branch. Where\n" +
			"the branch still ends with it, the result is the content from before, and cannot conflict; otherwise GitHub merges.\n" +
			"Run twice it finds its own pull request. A conflict ends with the files, who changed them since, and the Git commands\n" +
			"to finish by hand. Where the record of the scope owes this revert, it is told; without access to the cluster the pull\n" +
			"request is opened all the same.",
		Flags: e.scopeFlags(optPR, optCommit, to, optFrom, optReason, optDraft, optAuto, optMigrate, optDryRun, optJSON, optResult, optUser),
		Action: func(c *cli.Context) error {
			req := rollback.RevertRequest{To: rollback.Commit(e.text(c, to)), Commit: rollback.Commit(e.text(c, optCommit)), Authors: true, CodeOwners: true}
			return e.leaving(c, func(left *outcome) error {
				if from := rollback.Commit(e.text(c, optFrom)); from != "" {
					if req.To == "" {
						return rollback.UsageErrorf("--from %s: it goes with --to, the commit to go back to", from)
					}
					req.Range, req.To = rollback.Range{Good: req.To, Bad: from}, ""
				}
				return e.performRevert(c, req, left)
			})
		},
	}
}

func (e *Env) relandCommand() *cli.Command {
	return &cli.Command{
		Name: "reland", Category: act, Usage: "bring a reverted change back: the revert of the revert, as a pull request",
		Description: "--pr is the number of the merged revert. Where the record of the scope owes the reland, it is told.",
		Flags:       e.scopeFlags(optPR, optReason, optDraft, optAuto, optMigrate, optDryRun, optJSON, optResult, optUser),
		Action: func(c *cli.Context) error {
			req := rollback.RevertRequest{Reland: true, CodeOwners: true}
			return e.leaving(c, func(left *outcome) error { return e.performRevert(c, req, left) })
		},
	}
}

func (e *Env) number(c *cli.Context, n *int) error {
	text := e.text(c, optPR)
	if text == "" {
		return nil
	}
	v, err := strconv.Atoi(strings.TrimPrefix(text, "#"))
	if err != nil || v <= 0 {
		return rollback.UsageErrorf("--pr %q: want the number of a pull request", text)
	}
	*n = v
	return nil
}

// performRevert opens the pull request, or shows what it would be.
func (e *Env) performRevert(c *cli.Context, req rollback.RevertRequest, left *outcome) error {
	sw, err := e.switches(c, optDraft, optAuto, optMigrate, optDryRun, optJSON)
	if err != nil {
		return err
	}
	left.acts = !sw["dry-run"]
	if err := e.number(c, &req.PR); err != nil {
		return err
	}
	if req.Reland && req.PR == 0 {
		return rollback.UsageErrorf("--pr: say which merged revert to take back")
	}
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return err
	}
	scope := rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	scoped, err := file.Resolve(scope, e.given(c))
	if err != nil {
		return err
	}
	for _, c := range []*rollback.Commit{&req.Commit, &req.To, &req.Range.Good, &req.Range.Bad} { // git takes both cases
		*c = rollback.Commit(strings.ToLower(string(*c)))
	}
	req.DryRun, req.Draft = sw["dry-run"], sw["draft"] || scoped.Revert.Draft
	if req.Story.Reason = e.text(c, optReason); req.Story.Reason == "" && !req.DryRun {
		return &rollback.Error{Exit: rollback.Usage, What: "no reason given", Production: rollback.NotChanged, Next: []string{`--reason "what broke, since when" (or ROLLBACK_REASON)`}}
	}
	if n := len(slices.DeleteFunc([]bool{req.PR != 0, req.Commit != "", req.To != "", req.Range != rollback.Range{}}, func(set bool) bool { return !set })); n != 1 {
		return &rollback.Error{Exit: rollback.Usage, What: "say what to undo: one of --pr, --commit and --to", Production: rollback.NotChanged,
			Next: []string{"what ran when: rollback candidates " + scopeFlagsText(scope)}}
	}
	if err := req.Check(); err != nil {
		return rollback.UsageErrorf("%w", err)
	}
	req.Story.By, req.Story.Scope = e.actor(c).User, scope
	req.Labels, req.Reviewers = scoped.Revert.Labels, scoped.Revert.Reviewers
	if len(scoped.Revert.Migrations) > 0 {
		req.Rules = rollback.WithMigrations(scoped.Revert.Migrations)
	}
	forge, why, err := e.forgeOf(scoped)
	if err != nil {
		return err
	}
	if forge == nil {
		return &rollback.Error{Exit: rollback.Usage, What: "GitHub is not set up: " + why, Production: rollback.NotChanged, Next: []string{"rollback doctor " + scopeFlagsText(scope)}}
	}
	defer forge.Close()
	var owed *ledger
	if !req.DryRun {
		owed = e.openLedger(c.Context, scoped)
		defer owed.close()
	}
	res, err := forge.Revert(c.Context, req)
	if err != nil {
		return e.revertFailed(err)
	}
	var state rollback.MergeState
	wanted := (sw["auto-merge"] || scoped.Revert.AutoMerge) && res.PR.State == rollback.PullOpen && !req.DryRun
	held := ""
	if !sw[optMigrate.name] {
		held = res.Unaccepted()
	}
	if wanted && res.Unverified == "" && held == "" {
		if state, err = forge.Merge(c.Context, res.PR.Number, res.Commit); err != nil {
			res.Notes = append(res.Notes, "it is open, but could not be merged: "+err.Error())
		} else if state.PR.State == rollback.PullMerged {
			res.PR = state.PR
		}
		res.Notes = append(res.Notes, state.Notes...)
	}
	if owed != nil {
		res.Notes = append(res.Notes, owed.tell(c.Context, res, req.PR, req.Reland)...)
	}
	left.addRevert(res)
	if sw["json"] {
		err = e.json(res)
	} else {
		e.printRevert(res, state, req.DryRun)
	}
	if wanted && res.Unverified != "" && err == nil {
		err = &rollback.Error{Exit: rollback.Pending, What: fmt.Sprintf("pull request #%d is open and was not merged: %s", res.PR.Number, res.Unverified), Production: rollback.NotChanged,
			Next: []string{"look at what it changes; merge it if that is right: " + res.PR.URL, "or close it and run again: then the exact inverse is opened"}}
	} else if wanted && held != "" && err == nil {
		err = &rollback.Error{Exit: rollback.Pending, What: fmt.Sprintf("pull request #%d is open and was not merged: %s", res.PR.Number, held), Production: rollback.NotChanged,
			Next: []string{"the older code must be able to work with the newer schema; if it is: the same command with --accept-migrations, with that as part of the reason", "or merge it: " + res.PR.URL}}
	}
	return err
}

// addRevert leaves the pull request.
func (o *outcome) addRevert(res rollback.RevertResult) {
	o.message = strings.TrimSpace(string(res.Outcome) + " " + res.PR.URL)
	o.production = rollback.NotChanged
	o.add("outcome", res.Outcome)
	o.add("pullRequest", res.PR.URL)
	o.add("number", res.PR.Number)
	o.add("state", res.PR.State)
}

// revertFailed says what to do about a revert that cannot be made.
func (e *Env) revertFailed(err error) error {
	failed := &rollback.Error{Exit: rollback.Failed, Err: err, Production: rollback.NotChanged}
	var conflict *rollback.RevertConflict
	var stranger *rollback.NotOnBranch
	switch {
	case errors.As(err, &conflict):
		for _, f := range conflict.Facts() {
			e.printer().line("  " + f)
		}
		failed.Next = conflict.Next()
	case errors.As(err, &stranger):
		failed.Exit = rollback.Usage
	case rollback.KindOf(err) == rollback.NotFound:
		failed.Exit = rollback.Usage
	}
	if fix := rollback.FixOf(err); fix != "" {
		failed.Next = append(failed.Next, fix)
	}
	return failed
}

// printRevert tells what the pull request does; standard output gets its URL.
func (e *Env) printRevert(res rollback.RevertResult, state rollback.MergeState, dry bool) {
	p := e.printer()
	p.row("undoes", res.Range.String(), count(len(res.Undoes)+res.More, "commit", "commits"))
	for _, c := range res.Undoes {
		p.row("", "  "+c.Commit.Short()+"  "+changed(&c))
	}
	how := "merged by GitHub on top of " + res.Head.Short()
	if res.Tip {
		how = "the content from before, exactly: nothing came after it"
	}
	if res.Unverified == "" {
		p.row("how", how)
	}
	if len(res.Files) > 0 {
		p.row("files", rollback.DiffStat(res.Files))
	}
	for _, r := range res.Risks {
		p.row("risk", rollback.Printable(r.Path)+" ("+r.Name+")")
	}
	if len(res.Overlap) > 0 {
		p.row("overlap", strings.Join(res.Overlap, ", "), "changed again since: the merge decides there")
	}
	if res.Check != "" {
		p.row("check", res.Check)
	}
	if res.Unverified != "" {
		p.line(fmt.Sprintf("! #%d is not known to be the exact inverse: %s", res.PR.Number, res.Unverified))
	}
	for _, n := range res.Notes {
		mark := p.yellow("! ")
		if strings.HasSuffix(n, paidOff) {
			mark = p.green("✔ ")
		}
		p.line(mark + n)
	}
	switch {
	case res.Outcome == rollback.RevertPlanned:
		p.line(p.green("✔ ") + "dry run: nothing was opened")
	case res.Outcome == rollback.RevertAlready:
		p.line(p.green("✔ ") + "the branch does not hold it any more " + res.PR.URL)
	case res.Outcome == rollback.RevertAdopted && dry:
		p.line(p.green("✔ ") + "dry run: it is open already: " + res.PR.Title)
	case res.PR.State == rollback.PullMerged:
		p.line(p.green("✔ ") + "merged: " + res.PR.URL)
	default:
		p.line(p.green("✔ ") + string(res.Outcome) + ": " + res.PR.Title)
		if missing := state.Missing(); len(missing) > 0 {
			p.line("  waits: " + strings.Join(missing, "; "))
		}
	}
	if res.PR.URL != "" {
		e.data().line(res.PR.URL)
	}
}
