package github

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route is what serves an operation and what the caller must be allowed: "contents:write", either of "a|b", "user" for people's
// tokens only, "app" for an App's own.
type route struct {
	serve func(*call) *answer
	need  string
}

// routes has every operation of the slice; their paths are GitHub's own (contract.go).
var routes = map[string]route{
	"apps/get-authenticated":                          {(*call).getApp, "app"},
	"apps/create-installation-access-token":           {(*call).createInstallationToken, "app"},
	"apps/get-repo-installation":                      {(*call).getInstallation, "app"},
	"rate-limit/get":                                  {(*call).getRateLimit, ""},
	"users/get-authenticated":                         {(*call).getUser, "user"},
	"repos/get":                                       {(*call).getRepo, "metadata:read"},
	"repos/list-branches":                             {(*call).listBranches, "contents:read"},
	"repos/get-branch":                                {(*call).getBranch, "contents:read"},
	"repos/get-branch-rules":                          {(*call).getBranchRules, "metadata:read"},
	"repos/list-commits":                              {(*call).listCommits, "contents:read"},
	"repos/get-commit":                                {(*call).getCommit, "contents:read"},
	"repos/list-pull-requests-associated-with-commit": {(*call).listPullsOfCommit, "pull_requests:read"},
	"repos/compare-commits-with-basehead":             {(*call).compare, "contents:read"},
	"repos/get-content":                               {(*call).getContent, "contents:read"},
	"repos/merge":                                     {(*call).mergeBranch, "contents:write"},
	"repos/get-combined-status-for-ref":               {(*call).getCombinedStatus, "statuses:read"},
	"repos/list-commit-statuses-for-ref":              {(*call).listStatuses, "statuses:read"},
	"repos/create-commit-status":                      {(*call).createStatus, "statuses:write"},
	"checks/list-for-ref":                             {(*call).listCheckRuns, "checks:read"},
	"repos/list-deployments":                          {(*call).listDeployments, "deployments:read"},
	"repos/create-deployment":                         {(*call).createDeployment, "deployments:write"},
	"repos/get-deployment":                            {(*call).getDeployment, "deployments:read"},
	"repos/list-deployment-statuses":                  {(*call).listDeploymentStatuses, "deployments:read"},
	"repos/create-deployment-status":                  {(*call).createDeploymentStatus, "deployments:write"},
	"git/get-ref":                                     {(*call).getRef, "contents:read"},
	"git/list-matching-refs":                          {(*call).listMatchingRefs, "contents:read"},
	"git/create-ref":                                  {(*call).createRef, "contents:write"},
	"git/update-ref":                                  {(*call).updateRef, "contents:write"},
	"git/delete-ref":                                  {(*call).deleteRef, "contents:write"},
	"git/get-commit":                                  {(*call).getGitCommit, "contents:read"},
	"git/create-commit":                               {(*call).createCommit, "contents:write"},
	"git/get-tree":                                    {(*call).getTree, "contents:read"},
	"git/create-tree":                                 {(*call).createTree, "contents:write"},
	"git/get-blob":                                    {(*call).getBlob, "contents:read"},
	"git/create-blob":                                 {(*call).createBlob, "contents:write"},
	"issues/create":                                   {(*call).createIssue, "issues:write"},
	"issues/get":                                      {(*call).getIssue, "issues:read|pull_requests:read"},
	"issues/add-assignees":                            {(*call).addAssignees, "issues:write|pull_requests:write"},
	"issues/list-comments":                            {(*call).listComments, "issues:read|pull_requests:read"},
	"issues/create-comment":                           {(*call).createComment, "issues:write|pull_requests:write"},
	"issues/list-labels-on-issue":                     {(*call).listLabels, "issues:read|pull_requests:read"},
	"issues/add-labels":                               {(*call).addLabels, "issues:write|pull_requests:write"},
	"pulls/list":                                      {(*call).listPulls, "pull_requests:read"},
	"pulls/create":                                    {(*call).createPull, "pull_requests:write"},
	"pulls/get":                                       {(*call).getPull, "pull_requests:read"},
	"pulls/update":                                    {(*call).updatePull, "pull_requests:write"},
	"pulls/list-commits":                              {(*call).listPullCommits, "pull_requests:read"},
	"pulls/list-files":                                {(*call).listPullFiles, "pull_requests:read"},
	"pulls/check-if-merged":                           {(*call).checkMerged, "contents:read"},
	"pulls/merge":                                     {(*call).mergePull, "contents:write"},
	"pulls/list-requested-reviewers":                  {(*call).listReviewers, "pull_requests:read"},
	"pulls/request-reviewers":                         {(*call).requestReviewers, "pull_requests:write"},
	"pulls/list-reviews":                              {(*call).listReviews, "pull_requests:read"},
	"pulls/create-review":                             {(*call).createReview, "pull_requests:write"},
}

func (c *call) getRateLimit() *answer {
	c.s.talk.Lock()
	defer c.s.talk.Unlock()
	c.s.rate.roll(c.s.options.Now())
	l := c.s.rate.json()
	return ok(obj{"rate": l, "resources": obj{"core": l, "search": l, "graphql": l}})
}

func (c *call) getUser() *answer {
	o := c.simpleUser(c.who.login)
	u := c.s.user(c.who.login)
	for k, v := range (obj{
		"name": u.name, "company": nil, "blog": "", "location": nil, "email": u.email, "hireable": nil, "bio": nil, "public_repos": 0, "public_gists": 0,
		"followers": 0, "following": 0, "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z", "private_gists": 0,
		"total_private_repos": 0, "owned_private_repos": 0, "disk_usage": 0, "collaborators": 0, "two_factor_authentication": true,
	}) {
		o[k] = v
	}
	return ok(o)
}

func (c *call) getRepo() *answer { return ok(c.fullRepo()) }

func (c *call) listBranches() *answer {
	all, err := c.repo.git.refs("refs/heads/")
	if err != nil {
		return c.broken(err)
	}
	out := []obj{}
	for _, x := range all {
		name := strings.TrimPrefix(x.name, "refs/heads/")
		out = append(out, obj{
			"name": name, "commit": obj{"sha": x.sha, "url": c.repoURL() + "/commits/" + x.sha}, "protected": c.repo.rules(name).Branch != "",
		})
	}
	return ok(paged(c, out))
}

func (c *call) getBranch() *answer {
	name := c.params["branch"]
	sha := c.repo.Head(name)
	if sha == "" {
		return fail(http.StatusNotFound, "Branch not found")
	}
	k, err := c.repo.git.commit(sha)
	if err != nil {
		return c.broken(err)
	}
	rule := c.repo.rules(name)
	// Only a classic protection is told here; a ruleset's checks are not.
	protection := obj{"enabled": rule.Classic, "required_status_checks": obj{"enforcement_level": "off", "contexts": []string{}, "checks": []obj{}}}
	if rule.Classic && len(rule.Checks) > 0 {
		checks := []obj{}
		for _, n := range rule.Checks {
			checks = append(checks, obj{"context": n, "app_id": nil})
		}
		protection["required_status_checks"] = obj{"enforcement_level": "non_admins", "contexts": rule.Checks, "checks": checks}
	}
	u := c.repoURL() + "/branches/" + escapePath(name)
	return ok(obj{
		"name": name, "commit": c.commit(k), "_links": obj{"self": u, "html": c.repoWeb() + "/tree/" + escapePath(name)}, "protected": rule.Branch != "",
		"protection": protection, "protection_url": u + "/protection",
	})
}

func (c *call) listCommits() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	start := c.query.Get("sha")
	if start == "" {
		start = "HEAD"
	}
	sha := c.repo.resolve(start)
	if sha == "" {
		return notFound()
	}
	args := []string{sha}
	for _, name := range []string{"since", "until"} {
		if v := c.query.Get(name); v != "" {
			args = append(args, "--"+name+"="+v)
		}
	}
	if v := c.query.Get("author"); v != "" {
		if u := c.s.users[strings.ToLower(v)]; u != nil {
			v = u.email
		}
		args = append(args, "--fixed-strings", "--author="+v)
	}
	page, per := c.window()
	args = append(args, fmt.Sprintf("--skip=%d", (page-1)*per), fmt.Sprintf("--max-count=%d", per+1))
	if v := c.query.Get("path"); v != "" {
		args = append(args, "--", v)
	}
	list, err := c.repo.git.revList(args...)
	if err != nil {
		return c.broken(err)
	}
	pages := page
	if len(list) > per {
		list, pages = list[:per], page+1
	}
	c.paginate(page, pages)
	out, err := c.commits(list)
	if err != nil {
		return c.broken(err)
	}
	return ok(out)
}

// noCommit is how a revision that names nothing is answered.
func noCommit(name string) *answer {
	return fail(http.StatusUnprocessableEntity, "No commit found for SHA: %s", name)
}

func (c *call) getCommit() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return noCommit(c.params["ref"])
	}
	k, err := c.repo.git.commit(sha)
	if err != nil {
		return c.broken(err)
	}
	parent := emptyTree
	if len(k.parents) > 0 {
		parent = k.parents[0]
	}
	files, err := c.repo.git.diff(parent, sha)
	if err != nil {
		return c.broken(err)
	}
	o := c.commit(k)
	plus, minus := sum(files)
	o["stats"] = obj{"additions": plus, "deletions": minus, "total": plus + minus}
	o["files"] = c.files(paged(c, files[:min(len(files), 3000)]), sha)
	return ok(o)
}

// pullsOf are the pull requests a commit belongs to: that brought it to its branch or, if none did, that have it.
func (r *Repository) pullsOf(sha string) ([]*pull, error) {
	if p := r.landed[sha]; p != nil {
		return []*pull{p}, nil
	}
	var out []*pull
	for _, p := range r.pulls() {
		commits, err := r.commitsOf(p)
		if err != nil {
			return nil, err
		}
		if slices.Contains(commits, sha) {
			out = append(out, p)
		}
	}
	return out, nil
}

func (c *call) listPullsOfCommit() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	sha := c.repo.resolve(c.params["commit_sha"])
	if sha == "" {
		return noCommit(c.params["commit_sha"])
	}
	pulls, err := c.repo.pullsOf(sha)
	if err != nil {
		return c.broken(err)
	}
	out := []obj{}
	for _, p := range paged(c, pulls) {
		out = append(out, c.pullSimple(p))
	}
	return ok(out)
}

func (c *call) compare() *answer {
	baseName, headName, three := strings.Cut(c.params["basehead"], "...")
	if !three {
		return notFound()
	}
	own := strings.ToLower(c.repo.owner) + ":"
	trim := func(name string) string {
		if strings.HasPrefix(strings.ToLower(name), own) {
			return name[len(own):]
		}
		return name
	}
	base, head := c.repo.resolve(trim(baseName)), c.repo.resolve(trim(headName))
	if base == "" || head == "" {
		return notFound()
	}
	merge := c.repo.git.mergeBase(base, head)
	if merge == "" {
		return fail(http.StatusNotFound, "No common ancestor between %s and %s.", baseName, headName)
	}
	ahead, err := c.repo.git.revList("--reverse", "--topo-order", head, "^"+base)
	if err != nil {
		return c.broken(err)
	}
	behind, err := c.repo.git.revList(base, "^"+head)
	if err != nil {
		return c.broken(err)
	}
	state := "diverged"
	switch {
	case len(ahead) == 0 && len(behind) == 0:
		state = "identical"
	case len(behind) == 0:
		state = "ahead"
	case len(ahead) == 0:
		state = "behind"
	}
	// Without paging parameters GitHub gives up to 250 commits, the first ones.
	list := ahead
	page := 1
	if c.query.Has("page") || c.query.Has("per_page") {
		page, _ = c.window()
		list = paged(c, ahead)
	} else if len(list) > 250 {
		list = list[:250]
	}
	commits, err := c.commits(list)
	if err != nil {
		return c.broken(err)
	}
	ends, err := c.commits([]string{base, merge})
	if err != nil {
		return c.broken(err)
	}
	spec := escapePath(c.params["basehead"])
	w := c.repoWeb() + "/compare/"
	o := obj{
		"url": c.repoURL() + "/compare/" + spec, "html_url": w + spec, "permalink_url": fmt.Sprintf("%s%s:%s...%s:%s", w, c.repo.owner, base[:7], c.repo.owner, head[:7]),
		"diff_url": w + spec + ".diff", "patch_url": w + spec + ".patch", "base_commit": ends[0], "merge_base_commit": ends[1], "status": state,
		"ahead_by": len(ahead), "behind_by": len(behind), "total_commits": len(ahead), "commits": commits,
	}
	if page == 1 {
		files, err := c.repo.git.diff(merge, head)
		if err != nil {
			return c.broken(err)
		}
		o["files"] = c.files(files[:min(len(files), 300)], head)
	}
	return ok(o)
}

// mergeBranch is POST merges: a real three-way merge of two branches, or a branch and a commit, on the server.
func (c *call) mergeBranch() *answer {
	var in struct {
		Base, Head    string
		CommitMessage *string `json:"commit_message"`
	}
	c.read(&in)
	base := c.repo.Head(in.Base)
	if base == "" {
		return fail(http.StatusNotFound, "Base does not exist")
	}
	head := c.repo.resolve(in.Head)
	if head == "" {
		return fail(http.StatusNotFound, "Head does not exist")
	}
	if c.repo.git.isAncestor(head, base) {
		return &answer{status: http.StatusNoContent}
	}
	tree, err := c.repo.git.mergeTree(base, head)
	if errors.Is(err, errConflict) {
		return fail(http.StatusConflict, "Merge conflict")
	}
	if err != nil {
		return c.broken(err)
	}
	text := fmt.Sprintf("Merge %s into %s", in.Head, in.Base)
	if in.CommitMessage != nil {
		text = *in.CommitMessage
	}
	// The merge is GitHub's commit on behalf of the caller.
	sha, err := c.repo.git.writeCommit(tree, []string{base, head}, c.s.sign(c.who.login), c.s.github(), text)
	if err != nil {
		return c.broken(err)
	}
	c.repo.verified[sha] = true
	if why, err := c.workflowRefusal(sha); err != nil {
		return c.broken(err)
	} else if why != "" {
		return fail(http.StatusForbidden, "%s", why)
	}
	if why := c.repo.direct(in.Base, base, sha, false); why != "" {
		return fail(http.StatusForbidden, "%s", why)
	}
	if err := c.repo.move(in.Base, sha, c.who.login, 0); err != nil {
		return c.broken(err)
	}
	k, err := c.repo.git.commit(sha)
	if err != nil {
		return c.broken(err)
	}
	return created(c.commit(k))
}

func (c *call) getContent() *answer {
	ref := c.query.Get("ref")
	if ref == "" {
		ref = "HEAD"
	}
	sha := c.repo.resolve(ref)
	if sha == "" {
		if ref == "HEAD" {
			return fail(http.StatusNotFound, "This repository is empty.")
		}
		return fail(http.StatusNotFound, "No commit found for the ref %s", ref)
	}
	k, err := c.repo.git.commit(sha)
	if err != nil {
		return c.broken(err)
	}
	name := strings.Trim(c.params["path"], "/")
	e, err := c.repo.git.lookup(k.tree, name)
	if err != nil {
		return notFound()
	}
	if ref == "HEAD" {
		ref = c.repo.defaultBranch
	}
	one := func(e entry, name string) obj {
		p := escapePath(name)
		kind, where := "file", "/blob/"
		size := 0
		var download any = c.repoWeb() + "/raw/" + escapePath(ref) + "/" + p
		git := "/git/blobs/"
		switch {
		case e.kind() == "tree":
			kind, where, git, download = "dir", "/tree/", "/git/trees/", nil
		case e.kind() == "commit":
			kind, where, git, download = "submodule", "/tree/", "/git/trees/", nil
		case e.mode == "120000":
			kind = "symlink"
		}
		if e.kind() == "blob" {
			if _, data, err := c.repo.git.read(e.sha); err == nil {
				size = len(data)
			}
		}
		u := c.repoURL() + "/contents/" + p + "?ref=" + escapePath(ref)
		html := c.repoWeb() + where + escapePath(ref) + "/" + p
		return obj{
			"type": kind, "name": path.Base(name), "path": name, "sha": e.sha, "size": size, "url": u, "html_url": html, "git_url": c.repoURL() + git + e.sha,
			"download_url": download, "_links": obj{"self": u, "git": c.repoURL() + git + e.sha, "html": html},
		}
	}
	if e.kind() == "tree" {
		list, err := c.repo.git.tree(e.sha)
		if err != nil {
			return c.broken(err)
		}
		out := []obj{}
		for _, e := range list {
			out = append(out, one(e, path.Join(name, e.name)))
		}
		return ok(out)
	}
	o := one(e, name)
	if e.kind() == "commit" {
		o["submodule_git_url"] = nil
		return ok(o)
	}
	_, data, err := c.repo.git.read(e.sha)
	if err != nil {
		return c.broken(err)
	}
	if accept := c.r.Header.Get("Accept"); strings.Contains(accept, "raw") {
		return &answer{status: http.StatusOK, raw: data, header: http.Header{"Content-Type": {"application/vnd.github.raw+json; charset=utf-8"}}}
	}
	if e.mode == "120000" {
		o["target"] = string(data)
		return ok(o)
	}
	o["content"], o["encoding"] = lines(data), "base64"
	if len(data) > 1<<20 { // https://docs.github.com/rest/repos/contents#get-repository-content: none between 1 and 100 MB
		o["content"], o["encoding"] = "", "none"
	}
	return ok(o)
}

// --- pull requests

func (c *call) listPulls() *answer {
	state := c.query.Get("state")
	if state == "" {
		state = "open"
	}
	var list []*pull
	for _, p := range c.repo.pulls() {
		owner, head, qualified := strings.Cut(c.query.Get("head"), ":")
		switch {
		case state != "all" && p.state != state:
		case c.query.Get("base") != "" && p.base != c.query.Get("base"):
		// GitHub wants user:branch here and ignores anything else.
		case qualified && (!strings.EqualFold(owner, cmp.Or(p.fork, c.repo.owner)) || p.head != head):
		default:
			list = append(list, p)
		}
	}
	key := func(p *pull) time.Time { return p.created }
	if c.query.Get("sort") == "updated" {
		key = func(p *pull) time.Time { return p.updated }
	}
	ascending := c.query.Get("direction") == "asc" || c.query.Get("direction") == "" && c.query.Has("sort") && c.query.Get("sort") != "created"
	slices.SortStableFunc(list, func(a, b *pull) int {
		n := key(a).Compare(key(b))
		if n == 0 {
			n = a.number - b.number
		}
		if ascending {
			return n
		}
		return -n
	})
	out := []obj{}
	for _, p := range paged(c, list) {
		out = append(out, c.pullSimple(p))
	}
	return ok(out)
}

func (c *call) refusedOr(err error) *answer {
	if no := (*refused)(nil); errors.As(err, &no) {
		return no.answer()
	}
	return c.broken(err)
}

func (c *call) createPull() *answer {
	var in struct {
		Title, Head, Base, Body string
		Draft                   bool
		Issue                   int
	}
	c.read(&in)
	if in.Issue != 0 {
		return invalid("PullRequest", "issue", "invalid", "")
	}
	p, err := c.repo.openPull(PullOptions{Head: in.Head, Base: in.Base, Title: in.Title, Body: in.Body, Author: c.who.login, Draft: in.Draft})
	if err != nil {
		return c.refusedOr(err)
	}
	o, err := c.pullFull(p, false)
	if err != nil {
		return c.broken(err)
	}
	a := created(o)
	a.header = http.Header{"Location": {o["url"].(string)}}
	return a
}

// thePull is the pull request of the path.
func (c *call) thePull() (*pull, *answer) {
	p, err := c.repo.pull(c.number("pull_number"))
	if err != nil {
		return nil, notFound()
	}
	return p, nil
}

func (c *call) getPull() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	o, err := c.pullFull(p, true)
	if err != nil {
		return c.broken(err)
	}
	return ok(o)
}

func (c *call) updatePull() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	var in struct{ Title, Body, State, Base *string }
	c.read(&in)
	if a := c.editPull(p, in.Title, in.Body, in.State, in.Base); a != nil {
		return a
	}
	o, err := c.pullFull(p, false)
	if err != nil {
		return c.broken(err)
	}
	return ok(o)
}

func (c *call) editPull(p *pull, title, body, state, base *string) *answer {
	if base != nil && *base != p.base {
		if c.repo.Head(*base) == "" {
			return invalid("PullRequest", "base", "invalid", "")
		}
		p.base = *base
	}
	if title != nil {
		p.title = *title
	}
	if body != nil {
		p.body = *body
	}
	p.updated = c.s.now()
	switch {
	case state == nil || *state == p.state:
	case *state == "closed":
		c.repo.close(p, c.who.login)
	case p.merged || p.forkGone || p.fork == "" && c.repo.Head(p.head) == "":
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. The pull request cannot be reopened.")
	default:
		p.state, p.closed, p.closedBy = "open", time.Time{}, ""
	}
	return nil
}

func (c *call) listPullCommits() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	list, err := c.repo.commitsOf(p)
	if err != nil {
		return c.broken(err)
	}
	out, err := c.commits(paged(c, list[:min(len(list), 250)]))
	if err != nil {
		return c.broken(err)
	}
	return ok(out)
}

func (c *call) listPullFiles() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	files, err := c.repo.filesOf(p)
	if err != nil {
		return c.broken(err)
	}
	return ok(c.files(paged(c, files[:min(len(files), 3000)]), p.headSHA))
}

func (c *call) checkMerged() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	if !p.merged {
		return notFound()
	}
	return &answer{status: http.StatusNoContent}
}

func (c *call) mergePull() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	var in struct {
		SHA           string
		CommitTitle   *string `json:"commit_title"`
		CommitMessage *string `json:"commit_message"`
		MergeMethod   string  `json:"merge_method"`
	}
	c.read(&in)
	if why, err := c.mergeWorkflow(p); err != nil {
		return c.broken(err)
	} else if why != "" {
		return fail(http.StatusForbidden, "%s", why)
	}
	sha, err := c.repo.merge(p, mergeRequest{method: in.MergeMethod, sha: in.SHA, title: in.CommitTitle, message: in.CommitMessage, by: c.who.login})
	if err != nil {
		return c.refusedOr(err)
	}
	return ok(obj{"sha": sha, "merged": true, "message": "Pull Request successfully merged"})
}

// mergeWorkflow tells why the caller may not merge a pull request that changes workflows, "" if they may.
func (c *call) mergeWorkflow(p *pull) (string, error) {
	if c.who.can("workflows:write") || !p.open() {
		return "", nil
	}
	files, err := c.repo.filesOf(p)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if strings.HasPrefix(f.path, workflows) || strings.HasPrefix(f.was, workflows) {
			return c.who.workflowText(f.path), nil
		}
	}
	return "", nil
}

func (c *call) listReviewers() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	return ok(obj{"users": c.users(p.reviewers), "teams": c.teams(p.teams)})
}

func (c *call) requestReviewers() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	var in struct {
		Reviewers     []string
		TeamReviewers []string `json:"team_reviewers"`
	}
	c.read(&in)
	for _, login := range in.Reviewers {
		if strings.EqualFold(login, p.user) {
			return fail(http.StatusUnprocessableEntity, "Review cannot be requested from pull request author.")
		}
		u := c.s.users[strings.ToLower(login)]
		if u == nil || u.bot {
			return fail(http.StatusUnprocessableEntity,
				"Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the %s repository.", c.repo.full())
		}
	}
	for _, login := range in.Reviewers {
		p.reviewers = unique(p.reviewers, c.s.user(login).login)
	}
	p.teams = unique(p.teams, in.TeamReviewers...)
	return created(c.pullSimple(p))
}

func (c *call) review(p *pull, v review) obj {
	n, id := strconv.Itoa(p.number), fmt.Sprint(v.id)
	w, u := c.repoWeb()+"/pull/"+n+"#pullrequestreview-"+id, c.repoURL()+"/pulls/"+n
	return obj{
		"id": v.id, "node_id": "PRR_" + id, "user": c.simpleUser(v.user), "body": v.body, "state": v.state, "html_url": w, "pull_request_url": u,
		"author_association": c.association(v.user), "_links": obj{"html": obj{"href": w}, "pull_request": obj{"href": u}}, "submitted_at": when(v.at), "commit_id": v.sha,
	}
}

func (c *call) listReviews() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	out := []obj{}
	for _, v := range paged(c, p.reviews) {
		out = append(out, c.review(p, v))
	}
	return ok(out)
}

var reviewStates = map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}

func (c *call) createReview() *answer {
	p, no := c.thePull()
	if no != nil {
		return no
	}
	var in struct{ Body, Event string }
	c.read(&in)
	v, no := c.addReview(p, in.Event, in.Body)
	if no != nil {
		return no
	}
	return ok(c.review(p, v))
}

func (c *call) addReview(p *pull, event, body string) (review, *answer) {
	state := reviewStates[event]
	switch {
	case state == "":
		return review{}, fail(http.StatusUnprocessableEntity, "Unprocessable Entity")
	case state != "COMMENTED" && strings.EqualFold(p.user, c.who.login):
		verb := "approve"
		if state == "CHANGES_REQUESTED" {
			verb = "request changes on"
		}
		return review{}, fail(http.StatusUnprocessableEntity, "Review Can not %s your own pull request", verb)
	}
	v := review{id: c.s.id(), user: c.who.login, state: state, body: body, sha: p.headSHA, at: c.s.now()}
	p.reviews = append(p.reviews, v)
	if err := c.repo.settle(); err != nil {
		return v, c.broken(err)
	}
	return v, nil
}

// --- issues

func (c *call) createIssue() *answer {
	var in struct {
		Title     any
		Body      string
		Labels    []any
		Assignees []string
		Assignee  string
	}
	c.read(&in)
	i := c.repo.newIssue(fmt.Sprint(in.Title), in.Body, c.who.login)
	i.assignees = in.Assignees
	if in.Assignee != "" {
		i.assignees = unique(i.assignees, in.Assignee)
	}
	c.label(i, in.Labels)
	return created(c.issue(i))
}

// label adds labels, each a name or an object with one; one that does not exist is made.
func (c *call) label(i *issue, labels []any) {
	for _, l := range labels {
		if o, ok := l.(obj); ok {
			l = o["name"]
		}
		if name, ok := l.(string); ok && name != "" {
			c.repo.label(name)
			i.labels = unique(i.labels, name)
		}
	}
}

func (c *call) theIssue() (*issue, *answer) {
	i := c.repo.issues[c.number("issue_number")]
	if i == nil {
		return nil, notFound()
	}
	return i, nil
}

func (c *call) getIssue() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	return ok(c.issue(i))
}

func (c *call) addAssignees() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	var in struct{ Assignees []string }
	c.read(&in)
	for _, login := range in.Assignees {
		if c.s.users[strings.ToLower(login)] != nil { // who cannot be assigned is left out without a word
			i.assignees = unique(i.assignees, login)
		}
	}
	return created(c.issue(i))
}

func (c *call) listComments() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	out := []obj{}
	for _, k := range paged(c, i.comments) {
		out = append(out, c.comment(i, k))
	}
	return ok(out)
}

func (c *call) createComment() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	var in struct{ Body string }
	c.read(&in)
	return created(c.comment(i, c.addComment(i, in.Body)))
}

func (c *call) addComment(i *issue, body string) comment {
	k := comment{id: c.s.id(), user: c.who.login, body: body, created: c.s.now()}
	i.comments = append(i.comments, k)
	i.updated = k.created
	return k
}

func (c *call) listLabels() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	return ok(paged(c, c.labels(i)))
}

func (c *call) addLabels() *answer {
	i, no := c.theIssue()
	if no != nil {
		return no
	}
	var in any
	c.read(&in)
	switch v := in.(type) { // {"labels": [...]} or the list alone
	case obj:
		if list, ok := v["labels"].([]any); ok {
			c.label(i, list)
		}
	case []any:
		c.label(i, v)
	}
	return ok(c.labels(i))
}
