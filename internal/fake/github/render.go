package github

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// This file writes things as the REST API does.

func escapePath(p string) string { return (&url.URL{Path: p}).EscapedPath() }

func (c *call) repoURL() string { return c.api + "/repos/" + c.repo.full() }
func (c *call) repoWeb() string { return c.web + "/" + c.repo.full() }

func (c *call) simpleUser(login string) obj {
	if login == "" {
		return nil
	}
	u := c.s.user(login)
	if u.gone {
		u = c.s.user(ghost)
	}
	kind := "User"
	if u.bot {
		kind = "Bot"
	}
	self := c.api + "/users/" + url.PathEscape(u.login)
	return obj{
		"login": u.login, "id": u.id, "node_id": userID(u), "avatar_url": c.web + "/avatars/u/" + fmt.Sprint(u.id), "gravatar_id": "", "url": self,
		"html_url": c.web + "/" + url.PathEscape(u.login), "followers_url": self + "/followers", "following_url": self + "/following{/other_user}",
		"gists_url": self + "/gists{/gist_id}", "starred_url": self + "/starred{/owner}{/repo}", "subscriptions_url": self + "/subscriptions",
		"organizations_url": self + "/orgs", "repos_url": self + "/repos", "events_url": self + "/events{/privacy}", "received_events_url": self + "/received_events",
		"type": kind, "site_admin": false,
	}
}

// orNull is a user or null.
func (c *call) orNull(login string) any {
	if login == "" {
		return nil
	}
	return c.simpleUser(login)
}

func userID(u *user) string {
	if u.bot {
		return fmt.Sprintf("BOT_%d", u.id)
	}
	return fmt.Sprintf("U_%d", u.id)
}

func (c *call) minimalRepo() obj {
	r, u := c.repo, c.repoURL()
	o := obj{
		"id": r.id, "node_id": r.node(), "name": r.name, "full_name": r.full(), "private": !r.public, "owner": c.simpleUser(r.owner), "html_url": c.repoWeb(),
		"description": nil, "fork": false, "url": u,
		"archive_url": u + "/{archive_format}{/ref}", "assignees_url": u + "/assignees{/user}", "blobs_url": u + "/git/blobs{/sha}",
		"branches_url": u + "/branches{/branch}", "collaborators_url": u + "/collaborators{/collaborator}", "comments_url": u + "/comments{/number}",
		"commits_url": u + "/commits{/sha}", "compare_url": u + "/compare/{base}...{head}", "contents_url": u + "/contents/{+path}",
		"git_commits_url": u + "/git/commits{/sha}", "git_refs_url": u + "/git/refs{/sha}", "git_tags_url": u + "/git/tags{/sha}",
		"issue_comment_url": u + "/issues/comments{/number}", "issue_events_url": u + "/issues/events{/number}", "issues_url": u + "/issues{/number}",
		"keys_url": u + "/keys{/key_id}", "labels_url": u + "/labels{/name}", "milestones_url": u + "/milestones{/number}",
		"notifications_url": u + "/notifications{?since,all,participating}", "pulls_url": u + "/pulls{/number}", "releases_url": u + "/releases{/id}",
		"statuses_url": u + "/statuses/{sha}", "trees_url": u + "/git/trees{/sha}",
	}
	for _, name := range []string{"contributors", "deployments", "downloads", "events", "forks", "hooks", "languages", "merges", "stargazers", "subscribers",
		"subscription", "tags", "teams"} {
		o[name+"_url"] = u + "/" + name
	}
	return o
}

// repository is the form within pull requests; the full one has two more counts.
func (c *call) repository() obj {
	r := c.repo
	o := c.minimalRepo()
	open := 0
	for _, i := range r.issues {
		if i.state == "open" {
			open++
		}
	}
	for k, v := range (obj{
		"clone_url": c.repoWeb() + ".git", "git_url": "git://" + c.r.Host + "/" + r.full() + ".git", "ssh_url": "git@" + c.r.Host + ":" + r.full() + ".git",
		"svn_url": c.repoWeb(), "mirror_url": nil, "homepage": nil, "language": nil, "license": nil, "default_branch": r.defaultBranch, "archived": r.archived,
		"disabled": false, "has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_discussions": false, "has_downloads": false,
		"forks": 0, "forks_count": 0, "open_issues": open, "open_issues_count": open, "stargazers_count": 0, "watchers": 0, "watchers_count": 0, "size": 1,
		"pushed_at": when(r.pushed), "created_at": when(r.created), "updated_at": when(r.pushed), "visibility": r.visibility(),
		"allow_merge_commit": !r.settings.NoMergeCommits, "allow_squash_merge": !r.settings.NoSquash, "allow_rebase_merge": !r.settings.NoRebase,
		"allow_auto_merge": r.settings.AutoMerge, "delete_branch_on_merge": r.settings.DeleteBranchOnMerge, "allow_update_branch": false,
		"permissions": obj{
			"admin": false, "maintain": false, "pull": true, "triage": true, "push": c.who != nil && c.who.can("contents:write"),
		},
	}) {
		o[k] = v
	}
	return o
}

func (r *Repository) visibility() string {
	if r.public {
		return "public"
	}
	return "private"
}

func (c *call) fullRepo() obj {
	o := c.repository()
	o["network_count"], o["subscribers_count"] = 0, 0
	return o
}

func (r *Repository) node() string                 { return fmt.Sprintf("R_%d", r.id) }
func (r *Repository) objectNode(sha string) string { return fmt.Sprintf("C_%d_%s", r.id, sha) }
func (r *Repository) refNode(full string) string   { return fmt.Sprintf("REF_%d_%s", r.id, full) }
func (r *Repository) issueNode(i *issue) string {
	return fmt.Sprintf("%s_%d_%d", i.kind(), r.id, i.number)
}
func (r *Repository) labelNode(label string) string {
	return fmt.Sprintf("LA_%d_%d", r.id, r.label(label))
}

func (i *issue) kind() string {
	if i.pull != nil {
		return "PR"
	}
	return "I"
}

// label is the number of a label, which is made if it is new.
func (r *Repository) label(name string) int64 {
	if r.labels[name] == 0 {
		r.labels[name] = r.s.id()
	}
	return r.labels[name]
}

func gitUser(s signature) obj { return obj{"name": s.Name, "email": s.Email, "date": when(s.Time)} }

func (c *call) verification(k *commit) obj {
	switch {
	case c.repo.verified[k.sha]:
		return obj{"verified": true, "reason": "valid", "payload": "tree " + k.tree, "signature": "-----BEGIN PGP SIGNATURE-----", "verified_at": when(k.committer.Time)}
	case k.signed:
		return obj{"verified": false, "reason": "unknown_key", "payload": "tree " + k.tree, "signature": "-----BEGIN PGP SIGNATURE-----", "verified_at": nil}
	}
	return obj{"verified": false, "reason": "unsigned", "payload": nil, "signature": nil, "verified_at": nil}
}

func (c *call) gitParents(k *commit, kind string) []obj {
	parents := []obj{}
	for _, p := range k.parents {
		parents = append(parents, obj{"sha": p, "url": c.repoURL() + kind + p, "html_url": c.repoWeb() + "/commit/" + p})
	}
	return parents
}

// gitCommit is a commit as the git database's endpoints show it.
func (c *call) gitCommit(k *commit) obj {
	return obj{
		"sha": k.sha, "node_id": c.repo.objectNode(k.sha), "url": c.repoURL() + "/git/commits/" + k.sha, "html_url": c.repoWeb() + "/commit/" + k.sha,
		"author": gitUser(k.author), "committer": gitUser(k.committer), "message": k.message,
		"tree":    obj{"sha": k.tree, "url": c.repoURL() + "/git/trees/" + k.tree},
		"parents": c.gitParents(k, "/git/commits/"), "verification": c.verification(k),
	}
}

// commit is a commit as everything else shows it.
func (c *call) commit(k *commit) obj {
	person := func(s signature) any {
		if u := c.s.byEmail(s.Email); u != nil {
			return c.simpleUser(u.login)
		}
		return nil
	}
	u := c.repoURL() + "/commits/" + k.sha
	return obj{
		"sha": k.sha, "node_id": c.repo.objectNode(k.sha), "url": u, "html_url": c.repoWeb() + "/commit/" + k.sha, "comments_url": u + "/comments",
		"commit": obj{
			"url": c.repoURL() + "/git/commits/" + k.sha, "author": gitUser(k.author), "committer": gitUser(k.committer), "message": k.message, "comment_count": 0,
			"tree": obj{"sha": k.tree, "url": c.repoURL() + "/git/trees/" + k.tree}, "verification": c.verification(k),
		},
		"author": person(k.author), "committer": person(k.committer), "parents": c.gitParents(k, "/commits/"),
	}
}

// commits shows several.
func (c *call) commits(shas []string) ([]obj, error) {
	all, err := c.repo.git.commits(shas)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for _, k := range all {
		out = append(out, c.commit(k))
	}
	return out, nil
}

func (c *call) files(files []fileChange, at string) []obj {
	out := []obj{}
	for _, f := range files {
		p := escapePath(f.path)
		o := obj{
			"sha": f.sha, "filename": f.path, "status": f.status, "additions": f.additions, "deletions": f.deletions, "changes": f.additions + f.deletions,
			"blob_url": c.repoWeb() + "/blob/" + at + "/" + p, "raw_url": c.repoWeb() + "/raw/" + at + "/" + p,
			"contents_url": c.repoURL() + "/contents/" + p + "?ref=" + at,
		}
		if f.was != "" {
			o["previous_filename"] = f.was
		}
		out = append(out, o)
	}
	return out
}

func (c *call) labels(i *issue) []obj {
	out := []obj{}
	for _, l := range i.labels {
		out = append(out, obj{
			"id": c.repo.label(l), "node_id": c.repo.labelNode(l), "url": c.repoURL() + "/labels/" + url.PathEscape(l), "name": l, "description": "",
			"color": "ededed", "default": false,
		})
	}
	return out
}

func (c *call) users(logins []string) []obj {
	out := []obj{}
	for _, l := range logins {
		out = append(out, c.simpleUser(l))
	}
	return out
}

func (c *call) teams(slugs []string) []obj {
	out := []obj{}
	for _, t := range slugs {
		u := c.api + "/organizations/1/team/" + t
		out = append(out, obj{
			"id": c.s.user(t).id, "node_id": "T_" + t, "url": u, "members_url": u + "/members{/member}", "name": t, "slug": t, "description": nil,
			"permission": "push", "html_url": c.web + "/orgs/" + c.repo.owner + "/teams/" + t, "repositories_url": u + "/repos",
			"type": "organization", "parent": nil,
		})
	}
	return out
}

func (c *call) association(login string) string {
	if strings.EqualFold(login, c.repo.owner) {
		return "OWNER"
	}
	return "MEMBER"
}

// pullSimple is a pull request in a list.
func (c *call) pullSimple(p *pull) obj {
	r := c.repo
	n := fmt.Sprint(p.number)
	u, w, iu := c.repoURL()+"/pulls/"+n, c.repoWeb()+"/pull/"+n, c.repoURL()+"/issues/"+n
	link := func(s string) obj { return obj{"href": s} }
	side := func(branch, sha string) obj {
		return obj{"label": r.owner + ":" + branch, "ref": branch, "sha": sha, "user": c.simpleUser(r.owner), "repo": c.repository()}
	}
	head := side(p.head, p.headSHA)
	if p.fork != "" {
		head["label"], head["user"], head["repo"] = p.fork+":"+p.head, c.simpleUser(p.fork), c.forkOf(p)
	}
	base := p.baseSHA
	if p.open() {
		base = r.Head(p.base)
	}
	mergeSHA := p.mergeSHA
	if !p.merged {
		mergeSHA = p.testSHA // the trap: before the merge this is the test merge
	}
	var assignee any
	if len(p.assignees) > 0 {
		assignee = c.simpleUser(p.assignees[0])
	}
	var auto any
	if a := p.auto; a != nil {
		auto = obj{"enabled_by": c.simpleUser(a.by), "merge_method": a.method, "commit_title": a.title, "commit_message": a.message}
	}
	return obj{
		"url": u, "id": p.id, "node_id": r.issueNode(p.issue), "html_url": w, "diff_url": w + ".diff", "patch_url": w + ".patch", "issue_url": iu, "number": p.number,
		"state": p.state, "locked": false, "title": p.title, "user": c.simpleUser(p.user), "body": nullable(p.body), "created_at": when(p.created),
		"updated_at": when(p.updated), "closed_at": when(p.closed), "merged_at": when(p.mergedAt), "merge_commit_sha": nullable(mergeSHA),
		"assignee": assignee, "assignees": c.users(p.assignees), "requested_reviewers": c.users(p.reviewers), "requested_teams": c.teams(p.teams),
		"labels": c.labels(p.issue), "milestone": nil, "draft": p.draft, "commits_url": u + "/commits", "review_comments_url": u + "/comments",
		"review_comment_url": c.repoURL() + "/pulls/comments{/number}", "comments_url": iu + "/comments", "statuses_url": c.repoURL() + "/statuses/" + p.headSHA,
		"head": head, "base": side(p.base, base), "author_association": c.association(p.user), "auto_merge": auto, "active_lock_reason": nil,
		"_links": obj{
			"self": link(u), "html": link(w), "issue": link(iu), "comments": link(iu + "/comments"), "review_comments": link(u + "/comments"),
			"review_comment": link(c.repoURL() + "/pulls/comments{/number}"), "commits": link(u + "/commits"), "statuses": link(c.repoURL() + "/statuses/" + p.headSHA),
		},
	}
}

// forkOf is the fork that a pull request comes from, null once that is deleted: a breach of GitHub's own contract
// (https://github.com/github/rest-api-description/issues/161).
func (c *call) forkOf(p *pull) any {
	if p.forkGone {
		return nil
	}
	f := *c
	f.repo = p.forked(c.repo)
	o := f.repository()
	o["fork"] = true
	return o
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// pullFull is one pull request. With test, whether it merges is computed, or said to be; a fresh one has no answer yet.
func (c *call) pullFull(p *pull, test bool) (obj, error) {
	var mergeable, known bool
	if test && p.open() {
		var err error
		if mergeable, known, err = c.repo.test(p); err != nil {
			return nil, err
		}
	}
	o := c.pullSimple(p)
	teams := c.teams(p.teams)
	for _, t := range teams {
		delete(t, "parent") // which lists have
	}
	o["requested_teams"] = teams
	commits, err := c.repo.commitsOf(p)
	if err != nil {
		return nil, err
	}
	files, err := c.repo.filesOf(p)
	if err != nil {
		return nil, err
	}
	plus, minus := sum(files)
	o["mergeable"], o["rebaseable"] = nil, nil
	if known {
		o["mergeable"], o["rebaseable"] = mergeable, mergeable
	}
	o["mergeable_state"] = strings.ToLower(c.repo.mergeState(p, mergeable, known))
	o["merged"], o["merged_by"] = p.merged, c.orNull(p.mergedBy)
	o["comments"], o["review_comments"], o["maintainer_can_modify"] = len(p.comments), 0, false
	o["commits"], o["additions"], o["deletions"], o["changed_files"] = len(commits), plus, minus, len(files)
	return o, nil
}

func sum(files []fileChange) (plus, minus int) {
	for _, f := range files {
		plus += f.additions
		minus += f.deletions
	}
	return plus, minus
}

func (c *call) issue(i *issue) obj {
	n := fmt.Sprint(i.number)
	u, w := c.repoURL()+"/issues/"+n, c.repoWeb()+"/issues/"+n
	labels := []any{}
	for _, l := range c.labels(i) {
		labels = append(labels, l)
	}
	var assignee any
	if len(i.assignees) > 0 {
		assignee = c.simpleUser(i.assignees[0])
	}
	o := obj{
		"url": u, "repository_url": c.repoURL(), "labels_url": u + "/labels{/name}", "comments_url": u + "/comments", "events_url": u + "/events", "html_url": w,
		"id": i.id, "node_id": c.repo.issueNode(i), "number": i.number, "title": i.title, "user": c.simpleUser(i.user), "labels": labels, "state": i.state,
		"locked": false, "assignee": assignee, "assignees": c.users(i.assignees), "milestone": nil, "comments": len(i.comments), "created_at": when(i.created),
		"updated_at": when(i.updated), "closed_at": when(i.closed), "author_association": c.association(i.user), "active_lock_reason": nil, "body": nullable(i.body),
		"closed_by": c.orNull(i.closedBy), "timeline_url": u + "/timeline", "state_reason": nil,
	}
	if p := i.pull; p != nil {
		w = c.repoWeb() + "/pull/" + n
		o["html_url"] = w
		o["draft"] = p.draft
		o["pull_request"] = obj{"url": c.repoURL() + "/pulls/" + n, "html_url": w, "diff_url": w + ".diff", "patch_url": w + ".patch", "merged_at": when(p.mergedAt)}
	}
	return o
}

func (c *call) comment(i *issue, k comment) obj {
	n, id := fmt.Sprint(i.number), fmt.Sprint(k.id)
	return obj{
		"id": k.id, "node_id": "IC_" + id, "url": c.repoURL() + "/issues/comments/" + id, "html_url": c.repoWeb() + "/issues/" + n + "#issuecomment-" + id,
		"issue_url": c.repoURL() + "/issues/" + n, "body": k.body, "user": c.simpleUser(k.user), "created_at": when(k.created), "updated_at": when(k.created),
		"author_association": c.association(k.user),
	}
}

// unique adds what is not there yet.
func unique(list []string, more ...string) []string {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}
