package github

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Protection is what a branch demands. By default it is a ruleset, which anyone who can read may see under rules/branches; with
// Classic it is a branch protection, of which GET branches/{branch} shows the required checks.
type Protection struct {
	Branch        string   // a name or a pattern: "main", "release/*"; "~DEFAULT_BRANCH", "~ALL"
	Reviews       int      // approvals a pull request needs
	CodeOwners    bool     // shown, not enforced
	DismissStale  bool     // approvals are lost when the head moves
	Checks        []string // names that must have succeeded on the head
	Strict        bool     // the head must contain the base
	PullRequest   bool     // changes only through pull requests; implied by Reviews
	LinearHistory bool
	SignedCommits bool
	MergeQueue    bool
	NoCreation    bool // nobody may make branches that match
	NoForcePush   bool // implied by everything but NoCreation and SignedCommits
	Classic       bool
}

// Protect adds a protection.
func (r *Repository) Protect(p Protection) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.protections = append(r.protections, p)
}

// Unprotect removes all protections.
func (r *Repository) Unprotect() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.protections = nil
}

func (r *Repository) applies(p Protection, branch string) bool {
	switch p.Branch {
	case "~ALL":
		return true
	case "~DEFAULT_BRANCH":
		return branch == r.defaultBranch
	}
	if prefix, ok := strings.CutSuffix(p.Branch, "/**"); ok && strings.HasPrefix(branch, prefix+"/") {
		return true
	}
	ok, err := path.Match(p.Branch, branch)
	return err == nil && ok || p.Branch == branch
}

// rules is all that applies to a branch, together.
func (r *Repository) rules(branch string) Protection {
	var all Protection
	for _, p := range r.protections {
		if !r.applies(p, branch) {
			continue
		}
		all.Branch = branch
		all.Reviews = max(all.Reviews, p.Reviews)
		for _, c := range p.Checks {
			if !slices.Contains(all.Checks, c) {
				all.Checks = append(all.Checks, c)
			}
		}
		all.CodeOwners = all.CodeOwners || p.CodeOwners
		all.DismissStale = all.DismissStale || p.DismissStale
		all.Strict = all.Strict || p.Strict
		all.PullRequest = all.PullRequest || p.PullRequest || p.Reviews > 0
		all.LinearHistory = all.LinearHistory || p.LinearHistory
		all.SignedCommits = all.SignedCommits || p.SignedCommits
		all.MergeQueue = all.MergeQueue || p.MergeQueue
		all.NoCreation = all.NoCreation || p.NoCreation
		all.NoForcePush = all.NoForcePush || p.NoForcePush || p.PullRequest || p.Reviews > 0 || len(p.Checks) > 0 || p.LinearHistory || p.MergeQueue
		all.Classic = all.Classic || p.Classic
	}
	return all
}

// refusal words what stands against a change as GitHub does, for rulesets and for classic protections.
func (p Protection) refusal(why string) string {
	if p.Classic {
		return why
	}
	return "Repository rule violations found\n\n" + why + "\n\n"
}

// direct tells why a branch may not be moved to sha by itself, that is, without a pull request; "" if it may.
func (r *Repository) direct(branch, before, sha string, force bool) string {
	p := r.rules(branch)
	switch {
	case before == "" && p.NoCreation:
		return p.refusal("Cannot create ref due to creations being restricted.")
	case before == "":
		// A new branch has to satisfy only what is said about its commits.
	case sha == "" && p.NoForcePush:
		return p.refusal("Cannot delete this branch")
	case sha == "":
		return ""
	case p.MergeQueue:
		return p.refusal("Changes must be made through the merge queue")
	case p.PullRequest:
		return p.refusal("Changes must be made through a pull request.")
	case p.NoForcePush && (force && !r.git.isAncestor(before, sha)):
		return p.refusal("Cannot force-push to this branch")
	case len(p.Checks) > 0:
		if missing := r.missingChecks(p, sha); len(missing) > 0 {
			return p.refusal(checksText(missing))
		}
	}
	if p.LinearHistory || p.SignedCommits {
		fresh, err := r.fresh(sha)
		if err != nil {
			return err.Error()
		}
		for _, c := range fresh {
			if p.LinearHistory && len(c.parents) > 1 && before != "" {
				return p.refusal("This branch must not contain merge commits.")
			}
			if p.SignedCommits && !r.isVerified(c) {
				return p.refusal("Commits must have verified signatures.")
			}
		}
	}
	return ""
}

// fresh are the commits that sha would bring into the repository's branches.
func (r *Repository) fresh(sha string) ([]*commit, error) {
	list, err := r.git.revList(sha, "--not", "--branches", "--tags")
	if err != nil {
		return nil, err
	}
	return r.git.commits(list)
}

func (r *Repository) isVerified(c *commit) bool { return r.verified[c.sha] || c.signed }

const workflows = ".github/workflows/"

// workflowIn is a workflow file that a new commit would change, "" if none does.
func (r *Repository) workflowIn(sha string) (string, error) {
	fresh, err := r.fresh(sha)
	if err != nil {
		return "", err
	}
	for _, c := range fresh {
		parent := emptyTree
		if len(c.parents) > 0 {
			parent = c.parents[0]
		}
		files, err := r.git.diff(parent, c.sha)
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if strings.HasPrefix(f.path, workflows) {
				return f.path, nil
			}
			if strings.HasPrefix(f.was, workflows) {
				return f.was, nil
			}
		}
	}
	return "", nil
}

// workflowRefusal is why the caller may not bring sha in, "" if they may. Who may not write workflows may not push commits that
// change them.
func (c *call) workflowRefusal(sha string) (string, error) {
	if c.who.can("workflows:write") {
		return "", nil
	}
	file, err := c.repo.workflowIn(sha)
	if err != nil || file == "" {
		return "", err
	}
	return c.who.workflowText(file), nil
}

func (a *access) workflowText(file string) string {
	if a != nil && a.app != nil {
		return fmt.Sprintf("refusing to allow a GitHub App to create or update workflow `%s` without `workflows` permission", file)
	}
	return fmt.Sprintf("refusing to allow a Personal Access Token to create or update workflow `%s` without `workflow` scope", file)
}

// missingChecks are the required checks that have not succeeded on a commit.
func (r *Repository) missingChecks(p Protection, sha string) []*check {
	var missing []*check
	for _, name := range p.Checks {
		i := slices.IndexFunc(r.checks[sha], func(c *check) bool { return c.name == name })
		switch {
		case i < 0:
			missing = append(missing, &check{name: name})
		case !r.checks[sha][i].passed():
			missing = append(missing, r.checks[sha][i])
		}
	}
	return missing
}

// checksText is how a refusal names required checks.
func checksText(missing []*check) string {
	if len(missing) == 1 {
		c := missing[0]
		switch {
		case c.sha == "":
			return fmt.Sprintf("Required status check %q is expected.", c.name)
		case c.failed():
			return fmt.Sprintf("Required status check %q is failing.", c.name)
		}
		return fmt.Sprintf("Required status check %q is in progress.", c.name)
	}
	return fmt.Sprintf("%d of %d required status checks have not succeeded: %s.", len(missing), len(missing), names(missing))
}

func names(checks []*check) string {
	var out []string
	for _, c := range checks {
		out = append(out, c.name)
	}
	return strings.Join(out, ", ")
}

// blocked tells what a protection says against merging a pull request now, "" if nothing.
func (r *Repository) blocked(p *pull, method string, fromQueue bool) string {
	rule := r.rules(p.base)
	if rule.Branch == "" {
		return ""
	}
	if rule.Reviews > 0 {
		approved, refused := p.verdict()
		if refused {
			return rule.refusal("Changes have been requested.")
		}
		if approved < rule.Reviews {
			s := "s"
			if rule.Reviews == 1 {
				s = ""
			}
			if rule.Classic {
				return fmt.Sprintf("At least %d approving review%s is required by reviewers with write access.", rule.Reviews, s)
			}
			return rule.refusal(fmt.Sprintf("At least %d approving review%s is required by reviewers with write access.", rule.Reviews, s))
		}
	}
	if missing := r.missingChecks(rule, p.headSHA); len(missing) > 0 {
		return rule.refusal(checksText(missing))
	}
	if rule.Strict && !r.git.isAncestor(r.Head(p.base), p.headSHA) {
		return rule.refusal("This branch must be up to date with the base branch before merging.")
	}
	if rule.LinearHistory && method == "merge" {
		return rule.refusal("This branch must not contain merge commits.")
	}
	if rule.SignedCommits && method != "squash" {
		fresh, err := r.fresh(p.headSHA)
		if list, lerr := r.git.revList(p.headSHA, "^"+r.Head(p.base)); lerr == nil {
			fresh, err = r.git.commits(list)
		}
		if err != nil {
			return err.Error()
		}
		if method == "rebase" || slices.ContainsFunc(fresh, func(c *commit) bool { return !r.isVerified(c) }) {
			return rule.refusal("Commits must have verified signatures.")
		}
	}
	if rule.MergeQueue && !fromQueue {
		return rule.refusal("Changes must be made through the merge queue")
	}
	return ""
}

func (c *call) getBranchRules() *answer {
	rules := []obj{}
	for i, p := range c.repo.protections {
		if p.Classic || !c.repo.applies(p, c.params["branch"]) {
			continue
		}
		add := func(kind string, parameters obj) {
			rule := obj{"type": kind, "ruleset_source_type": "Repository", "ruleset_source": c.repo.full(), "ruleset_id": 100 + i}
			if parameters != nil {
				rule["parameters"] = parameters
			}
			rules = append(rules, rule)
		}
		if p.NoCreation {
			add("creation", nil)
		}
		if c.repo.rules(c.params["branch"]).NoForcePush {
			add("deletion", nil)
			add("non_fast_forward", nil)
		}
		if p.LinearHistory {
			add("required_linear_history", nil)
		}
		if p.SignedCommits {
			add("required_signatures", nil)
		}
		if p.PullRequest || p.Reviews > 0 {
			add("pull_request", obj{
				"dismiss_stale_reviews_on_push": p.DismissStale, "require_code_owner_review": p.CodeOwners, "require_last_push_approval": false,
				"required_approving_review_count": p.Reviews, "required_review_thread_resolution": false,
			})
		}
		if len(p.Checks) > 0 {
			var list []obj
			for _, name := range p.Checks {
				list = append(list, obj{"context": name})
			}
			add("required_status_checks", obj{"required_status_checks": list, "strict_required_status_checks_policy": p.Strict})
		}
		if p.MergeQueue {
			add("merge_queue", obj{
				"check_response_timeout_minutes": 60, "grouping_strategy": "ALLGREEN", "max_entries_to_build": 5, "max_entries_to_merge": 5,
				"merge_method": "SQUASH", "min_entries_to_merge": 1, "min_entries_to_merge_wait_minutes": 5,
			})
		}
	}
	return ok(paged(c, rules))
}
