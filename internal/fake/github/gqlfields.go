package github

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file says what GraphQL's fields are.

func (c *call) queryRoot(x *executor) record {
	return record{"Query", func(name string, a obj) any {
		switch name {
		case "viewer":
			if c.who.app != nil {
				return c.forbiddenField()
			}
			return x.user(c.who.login)
		case "user":
			u := c.s.users[strings.ToLower(a["login"].(string))]
			if u == nil || u.gone {
				return gqlNotFound("Could not resolve to a User with the login of '%s'.", a["login"])
			}
			return x.user(u.login)
		case "repository":
			full := fmt.Sprintf("%s/%s", a["owner"], a["name"])
			r := c.s.lookup(full)
			follow := a["followRenames"] != false
			if r == nil || !c.who.sees(r) || !follow && !strings.EqualFold(r.full(), full) {
				return gqlNotFound("Could not resolve to a Repository with the name '%s'.", full)
			}
			return x.repository(r)
		case "node":
			return x.node(a["id"].(string))
		case "nodes":
			var out []any
			ids, _ := a["ids"].([]any)
			for _, id := range ids {
				out = append(out, x.node(fmt.Sprint(id)))
			}
			return out
		case "rateLimit":
			c.s.talk.Lock()
			l := c.s.rate
			c.s.talk.Unlock()
			return record{"RateLimit", func(name string, _ obj) any {
				switch name {
				case "cost", "nodeCount":
					return 1
				case "limit":
					return l.limit
				case "used":
					return l.used
				case "remaining":
					return l.limit - l.used
				case "resetAt":
					return when(l.reset)
				}
				return missing("RateLimit", name)
			}}
		case "__type":
			return introspect(fmt.Sprint(a["name"]))
		}
		return missing("Query", name)
	}}
}

// node finds what an id stands for.
func (x *executor) node(id string) any {
	none := gqlNotFound("Could not resolve to a node with the global id of '%s'", id)
	kind, rest, _ := strings.Cut(id, "_")
	number, key, _ := strings.Cut(rest, "_")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return none
	}
	if kind == "U" || kind == "BOT" {
		for _, u := range x.c.s.users {
			if u.id == n {
				return x.user(u.login)
			}
		}
		return none
	}
	r := x.c.s.repositories[n]
	if r == nil || !x.c.who.sees(r) {
		return none
	}
	switch kind {
	case "R":
		return x.repository(r)
	case "C":
		if k, err := r.git.commit(key); err == nil {
			return x.commit(r, k)
		}
	case "REF":
		if r.git.ref(key) != "" {
			return x.ref(r, key)
		}
	case "PR", "I":
		n, err := strconv.Atoi(key)
		if i := r.issues[n]; err == nil && i != nil && i.kind() == kind {
			if i.pull == nil {
				return x.issue(r, i)
			}
			if no := x.may("pull_requests:read"); no != nil {
				return no
			}
			return x.pull(r, i.pull)
		}
	}
	return none
}

// at is c with the repository that REST renderers need.
func (x *executor) at(r *Repository) *call {
	c := *x.c
	c.repo = r
	return &c
}

func (x *executor) user(login string) any {
	if login == "" {
		return nil
	}
	u := x.c.s.user(login)
	if u.gone {
		return nil
	}
	kind := "User"
	if u.bot {
		kind = "Bot"
	}
	return record{kind, func(name string, _ obj) any {
		switch name {
		case "id":
			return userID(u)
		case "login":
			if u.bot {
				return strings.TrimSuffix(u.login, "[bot]")
			}
			return u.login
		case "name":
			return u.name
		case "email":
			return u.email
		case "databaseId":
			return u.id
		case "url":
			return x.c.web + "/" + u.login
		case "resourcePath":
			return "/" + u.login
		case "avatarUrl":
			return fmt.Sprintf("%s/avatars/u/%d", x.c.web, u.id)
		case "isViewer":
			return x.c.who != nil && x.c.who.login == u.login
		}
		return missing(kind, name)
	}}
}

func (x *executor) owner(r *Repository) any {
	u := x.c.s.user(r.owner)
	return record{"Organization", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("O_%d", u.id)
		case "login", "name":
			return u.login
		case "databaseId":
			return u.id
		case "url":
			return x.c.web + "/" + u.login
		case "resourcePath":
			return "/" + u.login
		}
		return missing("Organization", name)
	}}
}

func (x *executor) repository(r *Repository) any {
	c := x.at(r)
	return record{"Repository", func(name string, a obj) any {
		switch name {
		case "id":
			return r.node()
		case "databaseId":
			return r.id
		case "name":
			return r.name
		case "nameWithOwner":
			return r.full()
		case "owner":
			return x.owner(r)
		case "url":
			return c.repoWeb()
		case "resourcePath":
			return "/" + r.full()
		case "sshUrl":
			return "git@" + c.r.Host + ":" + r.full() + ".git"
		case "description", "parent", "homepageUrl", "templateRepository", "archivedAt", "licenseInfo", "primaryLanguage":
			return nil
		case "visibility":
			return strings.ToUpper(r.visibility())
		case "isPrivate":
			return !r.public
		case "isArchived":
			return r.archived
		case "isEmpty":
			return c.empty() != nil
		case "isFork", "isDisabled", "isLocked", "isMirror", "isTemplate", "hasWikiEnabled", "hasProjectsEnabled", "hasDiscussionsEnabled":
			return false
		case "hasIssuesEnabled", "isInOrganization":
			return true
		case "createdAt":
			return when(r.created)
		case "pushedAt", "updatedAt":
			return when(r.pushed)
		case "mergeCommitAllowed":
			return !r.settings.NoMergeCommits
		case "squashMergeAllowed":
			return !r.settings.NoSquash
		case "rebaseMergeAllowed":
			return !r.settings.NoRebase
		case "autoMergeAllowed":
			return r.settings.AutoMerge
		case "deleteBranchOnMerge":
			return r.settings.DeleteBranchOnMerge
		case "viewerDefaultMergeMethod":
			if r.settings.NoMergeCommits {
				return "SQUASH"
			}
			return "MERGE"
		case "viewerPermission":
			if c.who.can("contents:write") {
				return "WRITE"
			}
			return "READ"
		case "defaultBranchRef":
			if no := x.may("contents:read"); no != nil {
				return no
			}
			if r.Head(r.defaultBranch) == "" {
				return nil
			}
			return x.ref(r, "refs/heads/"+r.defaultBranch)
		case "ref":
			if no := x.may("contents:read"); no != nil {
				return no
			}
			q := a["qualifiedName"].(string)
			for _, full := range []string{q, "refs/heads/" + q, "refs/tags/" + q} {
				if r.git.ref(full) != "" {
					return x.ref(r, full)
				}
			}
			return nil
		case "refs":
			all, err := r.git.refs(a["refPrefix"].(string))
			if err != nil {
				return err
			}
			var out []any
			for _, one := range all {
				if q, ok := a["query"].(string); !ok || strings.Contains(one.name, q) {
					out = append(out, x.ref(r, one.name))
				}
			}
			return connection{nodes: out}
		case "object":
			if no := x.may("contents:read"); no != nil {
				return no
			}
			if oid, ok := a["oid"].(string); ok {
				return x.object(r, oid)
			}
			expression, _ := a["expression"].(string)
			return x.expression(r, expression)
		case "pullRequest", "issue", "issueOrPullRequest":
			n := a["number"].(int64)
			i := r.issues[int(n)]
			switch {
			case i != nil && i.pull != nil && name != "issue":
				if no := x.may("pull_requests:read"); no != nil {
					return no
				}
				return x.pull(r, i.pull)
			case i != nil && i.pull == nil && name != "pullRequest":
				return x.issue(r, i)
			}
			kind := map[string]string{"pullRequest": "a PullRequest", "issue": "an Issue", "issueOrPullRequest": "an issue or pull request"}[name]
			return gqlNotFound("Could not resolve to %s with the number of %d.", kind, n)
		case "pullRequests":
			if no := x.may("pull_requests:read"); no != nil {
				return no
			}
			return x.pulls(r, r.pulls(), a)
		case "mergeQueue":
			branch, ok := a["branch"].(string)
			if !ok {
				branch = r.defaultBranch
			}
			return x.mergeQueue(r, branch)
		}
		return missing("Repository", name)
	}}
}

func (x *executor) may(need string) error {
	if x.c.who.can(need) {
		return nil
	}
	return x.c.forbiddenField()
}

func (c *call) forbiddenField() error {
	text := "Resource not accessible by personal access token"
	if c.who.app != nil {
		text = "Resource not accessible by integration"
	}
	return &gqlError{Message: text, Kind: "FORBIDDEN"}
}

// expression is git's "revision" or "revision:path".
func (x *executor) expression(r *Repository, text string) any {
	revision, path, hasPath := strings.Cut(text, ":")
	sha := r.resolve(revision)
	if sha == "" {
		return nil
	}
	if !hasPath {
		return x.object(r, sha)
	}
	k, err := r.git.commit(sha)
	if err != nil {
		return err
	}
	e, err := r.git.lookup(k.tree, path)
	if err != nil {
		return nil
	}
	return x.object(r, e.sha)
}

func (x *executor) object(r *Repository, sha string) any {
	if k, err := r.git.commit(sha); err == nil {
		return x.commit(r, k)
	}
	kind, data, err := r.git.read(sha)
	if err != nil {
		return nil
	}
	c := x.at(r)
	common := func(kind, name string) any {
		switch name {
		case "id":
			return r.objectNode(sha)
		case "oid":
			return sha
		case "abbreviatedOid":
			return sha[:7]
		case "repository":
			return x.repository(r)
		case "commitUrl":
			return c.repoWeb() + "/commit/" + sha
		case "commitResourcePath":
			return "/" + r.full() + "/commit/" + sha
		}
		return missing(kind, name)
	}
	switch kind {
	case "blob":
		binary := !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0
		return record{"Blob", func(name string, _ obj) any {
			switch name {
			case "text":
				if binary {
					return nil
				}
				return string(data)
			case "byteSize":
				return len(data)
			case "isBinary":
				return binary
			case "isTruncated":
				return false
			}
			return common("Blob", name)
		}}
	case "tree":
		return record{"Tree", func(name string, _ obj) any {
			if name != "entries" {
				return common("Tree", name)
			}
			list, err := r.git.tree(sha)
			if err != nil {
				return err
			}
			out := []any{}
			for _, e := range list {
				out = append(out, record{"TreeEntry", func(name string, _ obj) any {
					switch name {
					case "name":
						return e.name
					case "oid":
						return e.sha
					case "type":
						return e.kind()
					case "mode":
						n, err := strconv.ParseInt(e.mode, 8, 32)
						if err != nil {
							return err
						}
						return n
					case "object":
						return x.object(r, e.sha)
					}
					return missing("TreeEntry", name)
				}})
			}
			return out
		}}
	}
	return nil
}

func (x *executor) ref(r *Repository, full string) any {
	sha := r.git.ref(full)
	prefix := "refs/heads/"
	branch, isBranch := strings.CutPrefix(full, prefix)
	if !isBranch {
		prefix = "refs/tags/"
		branch = strings.TrimPrefix(full, prefix)
	}
	return record{"Ref", func(name string, a obj) any {
		switch name {
		case "id":
			return r.refNode(full)
		case "name":
			return branch
		case "prefix":
			return prefix
		case "target":
			return x.object(r, r.git.resolve(sha))
		case "repository":
			return x.repository(r)
		case "associatedPullRequests":
			list := slices.DeleteFunc(r.pulls(), func(p *pull) bool { return !p.from(branch) })
			return x.pulls(r, list, a)
		case "branchProtectionRule":
			return x.protection(r, branch)
		}
		return missing("Ref", name)
	}}
}

func (x *executor) protection(r *Repository, branch string) any {
	p := r.rules(branch)
	if !p.Classic {
		return nil
	}
	return record{"BranchProtectionRule", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("BPR_%d_%s", r.id, branch)
		case "pattern":
			return branch
		case "requiredApprovingReviewCount":
			if p.Reviews == 0 {
				return nil
			}
			return p.Reviews
		case "requiredStatusCheckContexts":
			out := []any{}
			for _, n := range p.Checks {
				out = append(out, n)
			}
			return out
		case "requiresApprovingReviews":
			return p.Reviews > 0
		case "requiresStatusChecks":
			return len(p.Checks) > 0
		case "requiresStrictStatusChecks":
			return p.Strict
		case "requiresLinearHistory":
			return p.LinearHistory
		case "requiresCommitSignatures":
			return p.SignedCommits
		case "requiresCodeOwnerReviews":
			return p.CodeOwners
		case "dismissesStaleReviews":
			return p.DismissStale
		case "allowsForcePushes", "allowsDeletions":
			return !p.NoForcePush
		case "isAdminEnforced":
			return true
		case "blocksCreations":
			return p.NoCreation
		}
		return missing("BranchProtectionRule", name)
	}}
}

func (x *executor) actor(k *commit, s signature) any {
	return record{"GitActor", func(name string, _ obj) any {
		u := x.c.s.byEmail(s.Email)
		switch name {
		case "name":
			return s.Name
		case "email":
			return s.Email
		case "date":
			return when(s.Time)
		case "user":
			if u == nil || u.bot || u.login == "web-flow" {
				return nil
			}
			return x.user(u.login)
		case "avatarUrl":
			return x.c.web + "/avatars/" + k.sha
		}
		return missing("GitActor", name)
	}}
}

func (x *executor) commits(r *Repository, shas []string) ([]any, error) {
	all, err := r.git.commits(shas)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, k := range all {
		out = append(out, x.commit(r, k))
	}
	return out, nil
}

func (x *executor) commit(r *Repository, k *commit) record {
	c := x.at(r)
	changed := func() ([]fileChange, error) {
		if len(k.parents) == 0 {
			return r.git.diff(emptyTree, k.sha)
		}
		return r.git.diff(k.parents[0], k.sha)
	}
	return record{"Commit", func(name string, a obj) any {
		switch name {
		case "id":
			return r.objectNode(k.sha)
		case "oid":
			return k.sha
		case "abbreviatedOid":
			return k.sha[:7]
		case "message":
			return k.message
		case "messageHeadline":
			return k.headline()
		case "messageBody":
			return k.body()
		case "author":
			return x.actor(k, k.author)
		case "committer":
			return x.actor(k, k.committer)
		case "authors":
			return connection{nodes: []any{x.actor(k, k.author)}}
		case "authoredDate":
			return when(k.author.Time)
		case "committedDate":
			return when(k.committer.Time)
		case "pushedDate":
			return nil
		case "committedViaWeb":
			return r.verified[k.sha]
		case "authoredByCommitter":
			return k.author.Email == k.committer.Email
		case "url", "commitUrl":
			return c.repoWeb() + "/commit/" + k.sha
		case "resourcePath", "commitResourcePath":
			return "/" + r.full() + "/commit/" + k.sha
		case "treeUrl":
			return c.repoWeb() + "/tree/" + k.sha
		case "repository":
			return x.repository(r)
		case "tree":
			if k.tree == emptyTree {
				if _, err := r.git.write("tree", nil); err != nil {
					return err
				}
			}
			return x.object(r, k.tree)
		case "parents":
			out, err := x.commits(r, k.parents)
			if err != nil {
				return err
			}
			return connection{nodes: out}
		case "additions", "deletions", "changedFiles", "changedFilesIfAvailable":
			files, err := changed()
			if err != nil {
				return err
			}
			plus, minus := sum(files)
			return map[string]int{"additions": plus, "deletions": minus, "changedFiles": len(files), "changedFilesIfAvailable": len(files)}[name]
		case "history":
			return x.history(r, k.sha, a)
		case "associatedPullRequests":
			if no := x.may("pull_requests:read"); no != nil {
				return no
			}
			list, err := r.pullsOf(k.sha)
			if err != nil {
				return err
			}
			return x.pulls(r, list, a)
		case "statusCheckRollup":
			return x.rollup(r, k.sha)
		case "status":
			return nil
		case "signature":
			v := c.verification(k)
			if v["signature"] == nil {
				return nil
			}
			kind := "GpgSignature"
			return record{kind, func(name string, _ obj) any {
				switch name {
				case "email":
					return k.committer.Email
				case "isValid":
					return v["verified"]
				case "wasSignedByGitHub":
					return r.verified[k.sha]
				case "state":
					return strings.ToUpper(fmt.Sprint(v["reason"]))
				case "payload", "signature":
					return v[name]
				case "signer", "keyId":
					return nil
				}
				return missing(kind, name)
			}}
		}
		return missing("Commit", name)
	}}
}

func (x *executor) history(r *Repository, sha string, a obj) any {
	args := []string{sha}
	for _, name := range []string{"since", "until"} {
		if v, ok := a[name].(string); ok {
			args = append(args, "--"+name+"="+v)
		}
	}
	var paths []string
	if v, ok := a["path"].(string); ok {
		paths = []string{"--", v}
	}
	return connection{
		total: func() (int, error) {
			list, err := r.git.revList(slices.Concat([]string{"--count"}, args, paths)...)
			if err != nil {
				return 0, err
			}
			return strconv.Atoi(list[0])
		},
		page: func(from, n int) ([]any, error) {
			list, err := r.git.revList(slices.Concat([]string{fmt.Sprintf("--skip=%d", from), fmt.Sprintf("--max-count=%d", n+1)}, args, paths)...)
			if err != nil {
				return nil, err
			}
			return x.commits(r, list)
		},
	}
}

// rollup is refused without the right to read either kind of what it holds, and else leaves out what may not be read.
func (x *executor) rollup(r *Repository, sha string) any {
	if !x.c.who.can("checks:read") && !x.c.who.can("statuses:read") {
		return x.c.forbiddenField()
	}
	all := r.checks[sha]
	if len(all) == 0 {
		return nil
	}
	state := "SUCCESS"
	for _, k := range all {
		switch {
		case k.failed():
			state = "FAILURE"
		case !k.passed() && state != "FAILURE":
			state = "PENDING"
		}
	}
	return record{"StatusCheckRollup", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("SCR_%d_%s", r.id, sha)
		case "state":
			return state
		case "contexts":
			var out []any
			for _, k := range all {
				need := "statuses:read"
				if k.run {
					need = "checks:read"
				}
				if no := x.may(need); no != nil {
					out = append(out, no)
					continue
				}
				out = append(out, x.check(r, k))
			}
			return connection{nodes: out}
		}
		return missing("StatusCheckRollup", name)
	}}
}

// required tells whether a check is required for the pull request that is named.
func (x *executor) required(r *Repository, k *check, a obj) any {
	for _, p := range r.pulls() {
		if n, ok := a["pullRequestNumber"].(int64); ok && int(n) != p.number {
			continue
		}
		if id, ok := a["pullRequestId"].(string); ok && id != r.issueNode(p.issue) {
			continue
		}
		if p.headSHA == k.sha && slices.Contains(r.rules(p.base).Checks, k.name) {
			return true
		}
	}
	return false
}

func (x *executor) check(r *Repository, k *check) any {
	c := x.at(r)
	if !k.run {
		return record{"StatusContext", func(name string, a obj) any {
			switch name {
			case "id":
				return fmt.Sprintf("SC_%d", k.id)
			case "context":
				return k.name
			case "state":
				return strings.ToUpper(k.state)
			case "description":
				return nullable(k.description)
			case "targetUrl":
				return nullable(k.target)
			case "createdAt":
				return when(k.started)
			case "creator":
				return x.user(k.creator)
			case "isRequired":
				return x.required(r, k, a)
			}
			return missing("StatusContext", name)
		}}
	}
	return record{"CheckRun", func(name string, a obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("CR_%d", k.id)
		case "databaseId":
			return k.id
		case "name":
			return k.name
		case "status":
			return strings.ToUpper(k.state)
		case "conclusion":
			return nullable(strings.ToUpper(k.conclusion))
		case "startedAt":
			return when(k.started)
		case "completedAt":
			if k.state != "completed" {
				return nil
			}
			return when(k.update)
		case "detailsUrl", "url", "permalink":
			return fmt.Sprintf("%s/runs/%d", c.repoWeb(), k.id)
		case "title", "summary", "text", "externalId":
			return nil
		case "isRequired":
			return x.required(r, k, a)
		case "repository":
			return x.repository(r)
		case "checkSuite":
			return record{"CheckSuite", func(name string, _ obj) any {
				switch name {
				case "id":
					return fmt.Sprintf("CS_%d", k.id)
				case "workflowRun", "branch":
					return nil
				}
				return missing("CheckSuite", name)
			}}
		}
		return missing("CheckRun", name)
	}}
}

func (x *executor) pulls(r *Repository, list []*pull, a obj) connection {
	states, _ := a["states"].([]any)
	if one, ok := a["states"].(string); ok {
		states = []any{one}
	}
	if order, ok := a["orderBy"].(obj); ok {
		list = slices.Clone(list) // by creation, the oldest first
		if order["field"] == "UPDATED_AT" {
			slices.SortStableFunc(list, func(a, b *pull) int { return a.updated.Compare(b.updated) })
		}
		if order["direction"] == "DESC" {
			slices.Reverse(list)
		}
	}
	var out []any
	for _, p := range list {
		base, hasBase := a["baseRefName"].(string)
		head, hasHead := a["headRefName"].(string) // a branch of that name in a fork is one, too
		if hasBase && p.base != base || hasHead && p.head != head || len(states) > 0 && !slices.Contains(states, any(p.stateName())) {
			continue
		}
		out = append(out, x.pull(r, p))
	}
	return connection{nodes: out}
}

func (p *pull) stateName() string {
	if p.merged {
		return "MERGED"
	}
	return strings.ToUpper(p.state)
}

// test is Repository.test, once for each query.
func (x *executor) test(r *Repository, p *pull) (mergeable, known bool, err error) {
	if !p.open() {
		return false, false, nil
	}
	t, done := x.tests[p]
	if !done {
		t[0], t[1], err = r.test(p)
		x.tests[p] = t
	}
	return t[0], t[1], err
}

func (x *executor) pull(r *Repository, p *pull) any {
	c := x.at(r)
	w := fmt.Sprintf("/%s/pull/%d", r.full(), p.number)
	commitAt := func(sha string) any {
		if sha == "" {
			return nil
		}
		k, err := r.git.commit(sha)
		if err != nil {
			return err
		}
		return x.commit(r, k)
	}
	branch := func(name string) any {
		if r.Head(name) == "" {
			return nil
		}
		return x.ref(r, "refs/heads/"+name)
	}
	return record{"PullRequest", func(name string, a obj) any {
		if v, ok := x.issueField(r, p.issue, name, w); ok {
			return v
		}
		switch name {
		case "state":
			return p.stateName()
		case "isDraft":
			return p.draft
		case "merged":
			return p.merged
		case "closed":
			return !p.open()
		case "mergedAt":
			return when(p.mergedAt)
		case "mergedBy":
			return x.user(p.mergedBy)
		case "mergeCommit":
			return commitAt(p.mergeSHA)
		case "potentialMergeCommit":
			if _, _, err := x.test(r, p); err != nil {
				return err
			}
			return commitAt(p.testSHA)
		case "mergeable":
			mergeable, known, err := x.test(r, p)
			switch {
			case err != nil:
				return err
			case !known:
				return "UNKNOWN"
			case mergeable:
				return "MERGEABLE"
			}
			return "CONFLICTING"
		case "mergeStateStatus":
			mergeable, known, err := x.test(r, p)
			if err != nil {
				return err
			}
			return r.mergeState(p, mergeable, known)
		case "canBeRebased":
			mergeable, _, err := x.test(r, p)
			if err != nil {
				return err
			}
			return mergeable
		case "headRefName":
			return p.head
		case "baseRefName":
			return p.base
		case "headRefOid":
			return p.headSHA
		case "baseRefOid":
			if p.open() {
				return r.Head(p.base)
			}
			return p.baseSHA
		case "headRef":
			if p.fork != "" {
				return missing("PullRequest", "headRef of a fork")
			}
			return branch(p.head)
		case "baseRef":
			return branch(p.base)
		case "baseRepository":
			return x.repository(r)
		case "headRepository":
			switch {
			case p.forkGone:
				return nil
			case p.fork != "":
				return x.repository(p.forked(r))
			}
			return x.repository(r)
		case "headRepositoryOwner":
			switch {
			case p.forkGone:
				return nil
			case p.fork != "":
				return x.user(p.fork)
			}
			return x.owner(r)
		case "isCrossRepository":
			return p.fork != ""
		case "maintainerCanModify":
			return false
		case "autoMergeRequest":
			return x.autoMerge(r, p)
		case "isInMergeQueue":
			return slices.Contains(r.queue, p)
		case "isMergeQueueEnabled":
			return r.rules(p.base).MergeQueue
		case "mergeQueue":
			return x.mergeQueue(r, p.base)
		case "mergeQueueEntry":
			return x.queueEntry(r, p)
		case "reviewDecision":
			rule := r.rules(p.base)
			approved, refused := p.verdict()
			switch {
			case refused:
				return "CHANGES_REQUESTED"
			case rule.Reviews > 0 && approved < rule.Reviews:
				return "REVIEW_REQUIRED"
			case approved > 0:
				return "APPROVED"
			}
			return nil
		case "reviews", "latestReviews", "latestOpinionatedReviews":
			var out []any
			for _, v := range p.reviews {
				out = append(out, x.review(r, p, v))
			}
			return connection{nodes: out}
		case "reviewRequests":
			var out []any
			for _, login := range p.reviewers {
				out = append(out, x.reviewRequest(r, p, x.user(login)))
			}
			for _, slug := range p.teams {
				out = append(out, x.reviewRequest(r, p, record{"Team", func(name string, _ obj) any {
					switch name {
					case "id":
						return "T_" + slug
					case "name", "slug":
						return slug
					case "combinedSlug":
						return r.owner + "/" + slug
					case "organization":
						return x.owner(r)
					}
					return missing("Team", name)
				}}))
			}
			return connection{nodes: out}
		case "commits":
			list, err := r.commitsOf(p)
			if err != nil {
				return err
			}
			all, err := r.git.commits(list)
			if err != nil {
				return err
			}
			var out []any
			for _, k := range all {
				out = append(out, record{"PullRequestCommit", func(name string, _ obj) any {
					switch name {
					case "id":
						return fmt.Sprintf("PRC_%d_%d_%s", r.id, p.number, k.sha)
					case "commit":
						return x.commit(r, k)
					case "pullRequest":
						return x.pull(r, p)
					case "url":
						return c.web + w + "/commits/" + k.sha
					}
					return missing("PullRequestCommit", name)
				}})
			}
			return connection{nodes: out}
		case "files":
			files, err := r.filesOf(p)
			if err != nil {
				return err
			}
			var out []any
			for _, f := range files {
				out = append(out, record{"PullRequestChangedFile", func(name string, _ obj) any {
					switch name {
					case "path":
						return f.path
					case "additions":
						return f.additions
					case "deletions":
						return f.deletions
					case "changeType":
						return map[string]string{"added": "ADDED", "removed": "DELETED", "renamed": "RENAMED", "changed": "CHANGED"}[f.status] +
							map[string]string{"modified": "MODIFIED"}[f.status]
					}
					return missing("PullRequestChangedFile", name)
				}})
			}
			return connection{nodes: out}
		case "additions", "deletions", "changedFiles":
			files, err := r.filesOf(p)
			if err != nil {
				return err
			}
			plus, minus := sum(files)
			return map[string]int{"additions": plus, "deletions": minus, "changedFiles": len(files)}[name]
		case "statusCheckRollup":
			return x.rollup(r, p.headSHA)
		case "projectCards", "projectItems", "closingIssuesReferences", "reviewThreads":
			return connection{}
		case "milestone":
			return nil
		case "reactionGroups":
			return []any{}
		case "revertUrl":
			return c.web + w + "/revert"
		case "permalink":
			return c.web + w
		case "viewerCanEnableAutoMerge":
			return r.settings.AutoMerge
		case "viewerMergeHeadlineText":
			return fmt.Sprintf("%s (#%d)", p.title, p.number)
		case "viewerMergeBodyText":
			return p.body
		}
		return missing("PullRequest", name)
	}}
}

func (x *executor) reviewRequest(r *Repository, p *pull, who any) any {
	return record{"ReviewRequest", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("RRQ_%d_%d", r.id, p.number)
		case "requestedReviewer":
			return who
		case "asCodeOwner":
			return false
		}
		return missing("ReviewRequest", name)
	}}
}

func (x *executor) review(r *Repository, p *pull, v review) any {
	return record{"PullRequestReview", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("PRR_%d", v.id)
		case "author":
			return x.user(v.user)
		case "authorAssociation":
			return x.at(r).association(v.user)
		case "body":
			return v.body
		case "state":
			return v.state
		case "submittedAt", "createdAt", "updatedAt":
			return when(v.at)
		case "includesCreatedEdit":
			return false
		case "reactionGroups":
			return []any{}
		case "commit":
			k, err := r.git.commit(v.sha)
			if err != nil {
				return err
			}
			return x.commit(r, k)
		case "pullRequest":
			return x.pull(r, p)
		case "url":
			return fmt.Sprintf("%s/%s/pull/%d#pullrequestreview-%d", x.c.web, r.full(), p.number, v.id)
		}
		return missing("PullRequestReview", name)
	}}
}

func (x *executor) autoMerge(r *Repository, p *pull) any {
	m := p.auto
	if m == nil {
		return nil
	}
	return record{"AutoMergeRequest", func(name string, _ obj) any {
		switch name {
		case "enabledAt":
			return when(m.at)
		case "enabledBy":
			return x.user(m.by)
		case "mergeMethod":
			return strings.ToUpper(m.method)
		case "commitHeadline":
			return nullable(m.title)
		case "commitBody":
			return nullable(m.message)
		case "authorEmail":
			return nil
		case "pullRequest":
			return x.pull(r, p)
		}
		return missing("AutoMergeRequest", name)
	}}
}

func (x *executor) mergeQueue(r *Repository, branch string) any {
	if !r.rules(branch).MergeQueue {
		return nil
	}
	return record{"MergeQueue", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("MQ_%d_%s", r.id, branch)
		case "url":
			return x.at(r).repoWeb() + "/queue/" + branch
		case "repository":
			return x.repository(r)
		case "nextEntryEstimatedTimeToMerge":
			return nil
		case "entries":
			var out []any
			for _, p := range r.queue {
				if p.base == branch {
					out = append(out, x.queueEntry(r, p))
				}
			}
			return connection{nodes: out}
		}
		return missing("MergeQueue", name)
	}}
}

func (x *executor) queueEntry(r *Repository, p *pull) any {
	at := slices.Index(r.queue, p)
	if at < 0 {
		return nil
	}
	return record{"MergeQueueEntry", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("MQE_%d_%d", r.id, p.number)
		case "position":
			return at + 1
		case "state":
			return "QUEUED"
		case "enqueuedAt":
			return when(p.queuedAt)
		case "enqueuer":
			return x.user(p.user)
		case "estimatedTimeToMerge":
			return nil
		case "jump", "solo":
			return false
		case "pullRequest":
			return x.pull(r, p)
		case "mergeQueue":
			return x.mergeQueue(r, p.base)
		}
		return missing("MergeQueueEntry", name)
	}}
}

// issueField is what issues and pull requests have in common.
func (x *executor) issueField(r *Repository, i *issue, name, path string) (any, bool) {
	switch name {
	case "id":
		return r.issueNode(i), true
	case "databaseId":
		return i.id, true
	case "number":
		return i.number, true
	case "title":
		return i.title, true
	case "body", "bodyText":
		return i.body, true
	case "url":
		return x.c.web + path, true
	case "resourcePath":
		return path, true
	case "author":
		return x.user(i.user), true
	case "authorAssociation":
		return x.at(r).association(i.user), true
	case "createdAt", "publishedAt":
		return when(i.created), true
	case "updatedAt":
		return when(i.updated), true
	case "closedAt":
		return when(i.closed), true
	case "locked":
		return false, true
	case "repository":
		return x.repository(r), true
	case "assignees":
		var out []any
		for _, login := range i.assignees {
			out = append(out, x.user(login))
		}
		return connection{nodes: out}, true
	case "labels":
		var out []any
		for _, l := range i.labels {
			out = append(out, record{"Label", func(name string, _ obj) any {
				switch name {
				case "id":
					return r.labelNode(l)
				case "name":
					return l
				case "color":
					return "ededed"
				case "description":
					return nil
				case "isDefault":
					return false
				}
				return missing("Label", name)
			}})
		}
		return connection{nodes: out}, true
	case "comments":
		var out []any
		for _, k := range i.comments {
			out = append(out, x.comment(r, i, k))
		}
		return connection{nodes: out}, true
	}
	return nil, false
}

func (x *executor) issue(r *Repository, i *issue) any {
	return record{"Issue", func(name string, _ obj) any {
		if name == "state" {
			return strings.ToUpper(i.state)
		}
		if v, ok := x.issueField(r, i, name, fmt.Sprintf("/%s/issues/%d", r.full(), i.number)); ok {
			return v
		}
		return missing("Issue", name)
	}}
}

func (x *executor) comment(r *Repository, i *issue, k comment) any {
	return record{"IssueComment", func(name string, _ obj) any {
		switch name {
		case "id":
			return fmt.Sprintf("IC_%d", k.id)
		case "author":
			return x.user(k.user)
		case "authorAssociation":
			return x.at(r).association(k.user)
		case "body", "bodyText":
			return k.body
		case "createdAt", "updatedAt", "publishedAt":
			return when(k.created)
		case "includesCreatedEdit", "isMinimized", "viewerDidAuthor":
			return name == "viewerDidAuthor" && x.c.who.login == k.user
		case "minimizedReason":
			return nil
		case "reactionGroups":
			return []any{}
		case "url":
			return fmt.Sprintf("%s/%s/pull/%d#issuecomment-%d", x.c.web, r.full(), i.number, k.id)
		}
		return missing("IssueComment", name)
	}}
}

// --- mutations

// mutations names what a caller must be allowed for each.
var mutations = map[string]string{
	"revertPullRequest": "contents:write", "enablePullRequestAutoMerge": "contents:write", "disablePullRequestAutoMerge": "contents:write",
	"mergePullRequest": "contents:write", "markPullRequestReadyForReview": "pull_requests:write", "convertPullRequestToDraft": "pull_requests:write",
	"enqueuePullRequest": "contents:write", "dequeuePullRequest": "contents:write", "closePullRequest": "pull_requests:write",
	"reopenPullRequest": "pull_requests:write", "createPullRequest": "pull_requests:write", "updatePullRequest": "pull_requests:write",
	"addComment": "pull_requests:write", "addPullRequestReview": "pull_requests:write", "deleteRef": "contents:write",
}

func unprocessable(format string, args ...any) error {
	return &gqlError{Message: fmt.Sprintf(format, args...), Kind: "UNPROCESSABLE"}
}

// said turns a refusal into a field's error.
func said(err error) error {
	no := (*refused)(nil)
	if !errors.As(err, &no) {
		return err
	}
	text := no.message
	if list, ok := no.body["errors"].([]obj); ok && len(list) > 0 && list[0]["message"] != nil {
		text = fmt.Sprint(list[0]["message"])
	}
	return unprocessable("%s", text)
}

// saidAnswer is the same for a REST answer.
func saidAnswer(a *answer) error {
	o, _ := a.body.(obj)
	if a.status >= http.StatusInternalServerError {
		return fmt.Errorf("%v", o["message"])
	}
	return unprocessable("%v", o["message"])
}

func (c *call) mutationRoot(x *executor) record {
	return record{"Mutation", func(name string, a obj) any {
		need, known := mutations[name]
		if !known {
			return missing("Mutation", name)
		}
		if no := x.may(need); no != nil {
			return no
		}
		in, _ := a["input"].(obj)
		fields, err := x.mutate(name, in)
		if err != nil {
			return err
		}
		kind := bare(gqlTypes()["Mutation"].Fields[name].Type)
		return record{kind, func(field string, _ obj) any {
			if field == "clientMutationId" {
				return in["clientMutationId"]
			}
			if field == "actor" {
				return x.user(c.who.login)
			}
			if v, ok := fields[field]; ok {
				return v
			}
			return missing(kind, field)
		}}
	}}
}

// target is the issue or pull request that an input names.
func (x *executor) target(id any) (*Repository, *issue, error) {
	text := fmt.Sprint(id)
	kind, rest, _ := strings.Cut(text, "_")
	repo, number, _ := strings.Cut(rest, "_")
	rid, err := strconv.ParseInt(repo, 10, 64)
	n, err2 := strconv.Atoi(number)
	r := x.c.s.repositories[rid]
	if err != nil || err2 != nil || r == nil || !x.c.who.sees(r) || r.issues[n] == nil || r.issues[n].kind() != kind {
		return nil, nil, gqlNotFound("Could not resolve to a node with the global id of '%s'", text)
	}
	if r.archived {
		return nil, nil, unprocessable("Repository was archived so is read-only.")
	}
	return r, r.issues[n], nil
}

func text(in obj, name string) *string {
	if s, ok := in[name].(string); ok {
		return &s
	}
	return nil
}

func (x *executor) mutate(name string, in obj) (obj, error) {
	c := x.c
	switch name {
	case "createPullRequest":
		id, err := strconv.ParseInt(strings.TrimPrefix(fmt.Sprint(in["repositoryId"]), "R_"), 10, 64)
		r := c.s.repositories[id]
		if err != nil || r == nil || !c.who.sees(r) {
			return nil, gqlNotFound("Could not resolve to a node with the global id of '%s'", in["repositoryId"])
		}
		o := PullOptions{Head: fmt.Sprint(in["headRefName"]), Base: fmt.Sprint(in["baseRefName"]), Title: fmt.Sprint(in["title"]), Author: c.who.login}
		o.Head, o.Base = strings.TrimPrefix(o.Head, "refs/heads/"), strings.TrimPrefix(o.Base, "refs/heads/")
		o.Draft, _ = in["draft"].(bool)
		if b := text(in, "body"); b != nil {
			o.Body = *b
		}
		p, err := r.openPull(o)
		if err != nil {
			return nil, said(err)
		}
		return obj{"pullRequest": x.pull(r, p)}, nil
	case "deleteRef":
		rest := strings.TrimPrefix(fmt.Sprint(in["refId"]), "REF_")
		rid, full, _ := strings.Cut(rest, "_")
		id, err := strconv.ParseInt(rid, 10, 64)
		r := c.s.repositories[id]
		if err != nil || r == nil || r.git.ref(full) == "" {
			return nil, gqlNotFound("Could not resolve to a node with the global id of '%s'", in["refId"])
		}
		d := x.at(r)
		d.params = map[string]string{"ref": strings.TrimPrefix(full, "refs/")}
		if a := d.deleteRef(); a.status != http.StatusNoContent {
			return nil, saidAnswer(a)
		}
		return obj{}, nil
	}
	id := in["pullRequestId"]
	if name == "addComment" {
		id = in["subjectId"]
	}
	if name == "dequeuePullRequest" {
		id = in["id"]
	}
	r, i, err := x.target(id)
	if err != nil {
		return nil, err
	}
	d := x.at(r)
	if name == "addComment" {
		k := d.addComment(i, fmt.Sprint(in["body"]))
		return obj{"commentEdge": record{"IssueCommentEdge", func(field string, _ obj) any {
			if field == "node" {
				return x.comment(r, i, k)
			}
			return missing("IssueCommentEdge", field)
		}}}, nil
	}
	p := i.pull
	if p == nil {
		return nil, gqlNotFound("Could not resolve to a node with the global id of '%s'", id)
	}
	done := obj{"pullRequest": x.pull(r, p)}
	if head := text(in, "expectedHeadOid"); head != nil && *head != p.headSHA {
		return nil, unprocessable("Head branch was modified. Review and try the merge again.")
	}
	method := strings.ToLower(fmt.Sprint(in["mergeMethod"]))
	if in["mergeMethod"] == nil {
		method = "merge"
	}
	switch name {
	case "mergePullRequest":
		if why, err := d.mergeWorkflow(p); err != nil {
			return nil, err
		} else if why != "" {
			return nil, unprocessable("%s", why)
		}
		_, err = r.merge(p, mergeRequest{method: method, title: text(in, "commitHeadline"), message: text(in, "commitBody"), by: c.who.login})
		return done, said(err)
	case "enablePullRequestAutoMerge":
		if err := r.enableAutoMerge(p, method); err != nil {
			return nil, err
		}
		p.auto = &autoMerge{by: c.who.login, method: method, at: c.s.now()}
		if t := text(in, "commitHeadline"); t != nil {
			p.auto.title = *t
		}
		if t := text(in, "commitBody"); t != nil {
			p.auto.message = *t
		}
		return done, r.settle()
	case "disablePullRequestAutoMerge":
		if p.auto == nil {
			return nil, unprocessable("Can't disable auto-merge for this pull request")
		}
		p.auto = nil
		return done, nil
	case "markPullRequestReadyForReview":
		p.draft = false
		return done, r.settle()
	case "convertPullRequestToDraft":
		p.draft = true
		r.dequeue(p)
		return done, nil
	case "enqueuePullRequest":
		switch {
		case !r.rules(p.base).MergeQueue:
			return nil, unprocessable("Merge queue is not enabled for the %s branch", p.base)
		case !p.open():
			return nil, unprocessable("Pull request is not open")
		case slices.Contains(r.queue, p):
			return nil, unprocessable("Pull request is already in the queue")
		case p.draft || r.conflicts(p) || r.blocked(p, "squash", true) != "":
			return nil, unprocessable("Pull request is not in a mergeable state")
		}
		p.queuedAt = c.s.now()
		r.queue = append(r.queue, p)
		return obj{"mergeQueueEntry": x.queueEntry(r, p)}, nil
	case "dequeuePullRequest":
		if !slices.Contains(r.queue, p) {
			return nil, unprocessable("Pull request is not in the queue")
		}
		entry := x.queueEntry(r, p)
		r.dequeue(p)
		return obj{"mergeQueueEntry": entry}, nil
	case "closePullRequest", "reopenPullRequest":
		state := "closed"
		if name == "reopenPullRequest" {
			state = "open"
		}
		if a := d.editPull(p, nil, nil, &state, nil); a != nil {
			return nil, saidAnswer(a)
		}
		return done, nil
	case "updatePullRequest":
		var state *string
		if s := text(in, "state"); s != nil {
			lower := strings.ToLower(*s)
			state = &lower
		}
		if a := d.editPull(p, text(in, "title"), text(in, "body"), state, text(in, "baseRefName")); a != nil {
			return nil, saidAnswer(a)
		}
		return done, nil
	case "addPullRequestReview":
		body, event := text(in, "body"), text(in, "event")
		if event == nil {
			return nil, unprocessable("A pending review is of no use here")
		}
		if body == nil {
			body = new(string)
		}
		v, a := d.addReview(p, *event, *body)
		if a != nil {
			return nil, saidAnswer(a)
		}
		return obj{"pullRequestReview": x.review(r, p, v)}, nil
	case "revertPullRequest":
		draft, _ := in["draft"].(bool)
		reverted, err := r.revert(p, c.who.login, text(in, "title"), text(in, "body"), draft)
		if err != nil {
			return nil, said(err)
		}
		return obj{"pullRequest": x.pull(r, p), "revertPullRequest": x.pull(r, reverted)}, nil
	}
	return nil, missing("Mutation", name)
}

// enableAutoMerge tells why auto-merge cannot be switched on. The messages are doubled at GitHub too.
func (r *Repository) enableAutoMerge(p *pull, method string) error {
	rule := r.rules(p.base)
	switch {
	case !r.settings.AutoMerge:
		return unprocessable("Pull request Auto merge is not allowed for this repository")
	case !p.open():
		return unprocessable("Pull request Pull request is closed")
	case p.draft:
		return unprocessable("Pull request Pull request is in draft state")
	case method == "merge" && r.settings.NoMergeCommits:
		return unprocessable("Pull request Merge method merge commits are not allowed on this repository")
	case method == "squash" && r.settings.NoSquash:
		return unprocessable("Pull request Merge method squash merging is not allowed on this repository")
	case method == "rebase" && r.settings.NoRebase:
		return unprocessable("Pull request Merge method rebase merging is not allowed on this repository")
	case rule.MergeQueue:
		return nil // it is queued as soon as nothing stands against it
	case r.conflicts(p):
		return unprocessable("Pull request Pull request is in dirty status")
	}
	if r.blocked(p, method, false) == "" {
		return unprocessable("Pull request Pull request is in %s status", strings.ToLower(r.mergeState(p, true, true)))
	}
	return nil
}

// revert is the button: a pull request with one commit that undoes a merge, on top of the base as it is now.
func (r *Repository) revert(p *pull, by string, title, body *string, draft bool) (*pull, error) {
	if !p.merged {
		return nil, refuse(http.StatusUnprocessableEntity, "Pull request %d is not merged", p.number)
	}
	good, err := r.git.commit(p.baseSHA)
	if err != nil {
		return nil, err
	}
	head := r.Head(p.base)
	who := r.s.sign(by)
	undo, err := r.git.writeCommit(good.tree, []string{p.mergeSHA}, who, who, "undo")
	if err != nil {
		return nil, err
	}
	tree, err := r.git.mergeTree(head, undo)
	if errors.Is(err, errConflict) || !r.git.isAncestor(p.mergeSHA, head) {
		return nil, refuse(http.StatusUnprocessableEntity, "Sorry, this pull request couldn't be reverted automatically. "+
			"It may have already been reverted, or the content may have changed since it was merged.")
	}
	if err != nil {
		return nil, err
	}
	branch := fmt.Sprintf("revert-%d-%s", p.number, p.head)
	if r.Head(branch) != "" {
		return nil, refuse(http.StatusUnprocessableEntity, "A branch named %s exists already", branch)
	}
	merged, err := r.git.commit(p.mergeSHA)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("Revert %q\n\nThis reverts commit %s.", merged.headline(), p.mergeSHA)
	sha, err := r.git.writeCommit(tree, []string{head}, who, r.s.github(), text)
	if err != nil {
		return nil, err
	}
	r.verified[sha] = true
	if err := r.move(branch, sha, by, 0); err != nil {
		return nil, err
	}
	o := PullOptions{Head: branch, Base: p.base, Author: by, Draft: draft, Title: fmt.Sprintf("Revert \"%s\"", p.title), Body: fmt.Sprintf("Reverts %s#%d", r.full(), p.number)}
	if title != nil {
		o.Title = *title
	}
	if body != nil {
		o.Body = *body
	}
	return r.openPull(o)
}
