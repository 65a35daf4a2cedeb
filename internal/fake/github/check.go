package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// check is a commit status or a check run: two systems at GitHub, with one purpose.
type check struct {
	id              int64
	sha, name       string
	run             bool
	state           string // of a status: error, failure, pending, success; of a run: queued, in_progress, completed
	conclusion      string // of a completed run
	description     string
	target          string
	creator         string
	started, update time.Time
}

func (c *check) passed() bool {
	if c.run {
		return c.state == "completed" && slices.Contains([]string{"success", "neutral", "skipped"}, c.conclusion)
	}
	return c.state == "success"
}

func (c *check) failed() bool {
	if c.run {
		return c.state == "completed" && !c.passed()
	}
	return c.state == "failure" || c.state == "error"
}

func (r *Repository) setCheck(c check) *check {
	now := r.s.now()
	c.update = now
	list := r.checks[c.sha]
	i := slices.IndexFunc(list, func(o *check) bool { return o.name == c.name && o.run == c.run })
	if i >= 0 {
		c.id, c.started = list[i].id, list[i].started
		*list[i] = c
		return list[i]
	}
	c.id, c.started = r.s.id(), now
	r.checks[c.sha] = append(list, &c)
	return &c
}

// SetStatus sets a commit status on what a revision names: "error", "failure", "pending", "success".
func (r *Repository) SetStatus(revision, name, state string) (err error) {
	r.s.do(func() {
		sha := r.resolve(revision)
		if sha == "" {
			err = fmt.Errorf("%s: no such revision", revision)
			return
		}
		r.setCheck(check{sha: sha, name: name, state: state, creator: "ci"})
		err = r.settle()
	})
	return err
}

// SetCheckRun sets a check run on what a revision names: state "queued", "in_progress" or "completed", then with a conclusion.
func (r *Repository) SetCheckRun(revision, name, state, conclusion string) (err error) {
	r.s.do(func() {
		sha := r.resolve(revision)
		if sha == "" {
			err = fmt.Errorf("%s: no such revision", revision)
			return
		}
		r.setCheck(check{sha: sha, name: name, run: true, state: state, conclusion: conclusion, creator: "ci"})
		err = r.settle()
	})
	return err
}

func (c *call) statuses(sha string) []*check {
	var out []*check
	for _, k := range c.repo.checks[sha] {
		if !k.run {
			out = append(out, k)
		}
	}
	return out
}

func (c *call) simpleStatus(k *check) obj {
	return obj{
		"url": c.repoURL() + "/statuses/" + k.sha, "avatar_url": c.web + "/avatars/oa/1", "id": k.id, "node_id": fmt.Sprintf("SC_%d", k.id), "state": k.state,
		"description": nullable(k.description), "target_url": nullable(k.target), "context": k.name, "created_at": when(k.started), "updated_at": when(k.update),
	}
}

func (c *call) getCombinedStatus() *answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return noCommit(c.params["ref"])
	}
	all := c.statuses(sha)
	state := "success"
	if len(all) == 0 {
		state = "pending"
	}
	for _, k := range all {
		switch {
		case k.failed():
			state = "failure"
		case k.state == "pending" && state != "failure":
			state = "pending"
		}
	}
	list := []obj{}
	for _, k := range paged(c, all) {
		list = append(list, c.simpleStatus(k))
	}
	return ok(obj{
		"state": state, "statuses": list, "sha": sha, "total_count": len(all), "repository": c.minimalRepo(), "commit_url": c.repoURL() + "/commits/" + sha,
		"url": c.repoURL() + "/commits/" + sha + "/status",
	})
}

func (c *call) status(k *check) obj {
	o := c.simpleStatus(k)
	o["creator"] = c.simpleUser(k.creator)
	return o
}

func (c *call) listStatuses() *answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return noCommit(c.params["ref"])
	}
	out := []obj{}
	for _, k := range paged(c, c.statuses(sha)) {
		out = append(out, c.status(k))
	}
	return ok(out)
}

func (c *call) createStatus() *answer {
	var in struct {
		State, Context, Description string
		Target                      string `json:"target_url"`
	}
	in.Context = "default"
	c.read(&in)
	sha := c.params["sha"]
	if _, err := c.repo.git.commit(sha); err != nil {
		return noCommit(sha)
	}
	k := c.repo.setCheck(check{sha: sha, name: in.Context, state: in.State, description: in.Description, target: in.Target, creator: c.who.login})
	if err := c.repo.settle(); err != nil {
		return c.broken(err)
	}
	return created(c.status(k))
}

func (c *call) listCheckRuns() *answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return noCommit(c.params["ref"])
	}
	var all []*check
	for _, k := range c.repo.checks[sha] {
		if k.run && (!c.query.Has("check_name") || c.query.Get("check_name") == k.name) && (!c.query.Has("status") || c.query.Get("status") == k.state) {
			all = append(all, k)
		}
	}
	runs := []obj{}
	for _, k := range paged(c, all) {
		id := fmt.Sprint(k.id)
		var completed any
		if k.state == "completed" {
			completed = when(k.update)
		}
		runs = append(runs, obj{
			"id": k.id, "node_id": "CR_" + id, "head_sha": sha, "name": k.name, "external_id": "", "url": c.repoURL() + "/check-runs/" + id,
			"html_url": c.repoWeb() + "/runs/" + id, "details_url": nullable(k.target), "status": k.state, "conclusion": nullable(k.conclusion),
			"started_at": when(k.started), "completed_at": completed, "check_suite": obj{"id": k.id},
			"output": obj{
				"title": nil, "summary": nil, "text": nil, "annotations_count": 0, "annotations_url": c.repoURL() + "/check-runs/" + id + "/annotations",
			},
			"app": c.integration(1, "ci", c.repo.owner, map[string]string{"checks": "write"}), "pull_requests": []obj{},
		})
	}
	return ok(obj{"total_count": len(all), "check_runs": runs})
}

type deployment struct {
	id                                  int64
	sha, ref, task, environment, byName string
	description                         string
	payload                             any
	production, transient               bool
	created, updated                    time.Time
	statuses                            []deploymentStatus
}

type deploymentStatus struct {
	id                                 int64
	state, description, environment    string
	logURL, environmentURL, by, target string
	at                                 time.Time
}

func (c *call) deployment(d *deployment) obj {
	u := c.repoURL() + "/deployments/" + fmt.Sprint(d.id)
	return obj{
		"id": d.id, "node_id": fmt.Sprintf("DE_%d", d.id), "url": u, "statuses_url": u + "/statuses", "repository_url": c.repoURL(), "sha": d.sha, "ref": d.ref,
		"task": d.task, "payload": d.payload, "environment": d.environment, "original_environment": d.environment, "description": nullable(d.description),
		"creator": c.simpleUser(d.byName), "created_at": when(d.created), "updated_at": when(d.updated), "transient_environment": d.transient,
		"production_environment": d.production,
	}
}

func (c *call) listDeployments() *answer {
	var all []*deployment
	for _, d := range slices.Backward(c.repo.deployments) {
		keep := true
		for name, has := range map[string]string{"sha": d.sha, "ref": d.ref, "task": d.task, "environment": d.environment} {
			if want := c.query.Get(name); want != "" && want != "none" && want != has {
				keep = false
			}
		}
		if keep {
			all = append(all, d)
		}
	}
	out := []obj{}
	for _, d := range paged(c, all) {
		out = append(out, c.deployment(d))
	}
	return ok(out)
}

func (c *call) createDeployment() *answer {
	in := struct {
		Ref, Task, Environment, Description string
		AutoMerge                           *bool     `json:"auto_merge"`
		Required                            *[]string `json:"required_contexts"`
		Payload                             any
		Production                          *bool `json:"production_environment"`
		Transient                           bool  `json:"transient_environment"`
	}{Task: "deploy", Environment: "production", Payload: obj{}}
	c.read(&in)
	sha := c.repo.resolve(in.Ref)
	if sha == "" {
		return fail(http.StatusUnprocessableEntity, "No ref found for: %s", in.Ref)
	}
	// The two defaults that surprise: https://docs.github.com/rest/deployments/deployments#create-a-deployment
	main := c.repo.Head(c.repo.defaultBranch)
	if (in.AutoMerge == nil || *in.AutoMerge) && c.repo.Head(in.Ref) != "" && !c.repo.git.isAncestor(main, sha) {
		return &answer{status: http.StatusAccepted, body: obj{"message": fmt.Sprintf("Auto-merged %s into %s on deployment.", c.repo.defaultBranch, in.Ref)}}
	}
	for _, k := range c.repo.checks[sha] {
		if !k.passed() && (in.Required == nil || slices.Contains(*in.Required, k.name)) {
			return fail(http.StatusConflict, "Conflict: Commit status checks failed for %s.", in.Ref)
		}
	}
	if in.Required != nil {
		for _, name := range *in.Required {
			if !slices.ContainsFunc(c.repo.checks[sha], func(k *check) bool { return k.name == name }) {
				return fail(http.StatusConflict, "Conflict: Commit status checks failed for %s.", in.Ref)
			}
		}
	}
	now := c.s.now()
	d := &deployment{
		id: c.s.id(), sha: sha, ref: in.Ref, task: in.Task, environment: in.Environment, byName: c.who.login, description: in.Description, payload: in.Payload,
		production: in.Environment == "production", transient: in.Transient, created: now, updated: now,
	}
	if in.Production != nil {
		d.production = *in.Production
	}
	c.repo.deployments = append(c.repo.deployments, d)
	return created(c.deployment(d))
}

func (c *call) theDeployment() *deployment {
	i := slices.IndexFunc(c.repo.deployments, func(d *deployment) bool { return fmt.Sprint(d.id) == c.params["deployment_id"] })
	if i < 0 {
		return nil
	}
	return c.repo.deployments[i]
}

func (c *call) getDeployment() *answer {
	d := c.theDeployment()
	if d == nil {
		return notFound()
	}
	return ok(c.deployment(d))
}

func (c *call) deploymentStatus(d *deployment, k deploymentStatus) obj {
	u := c.repoURL() + "/deployments/" + fmt.Sprint(d.id)
	return obj{
		"id": k.id, "node_id": fmt.Sprintf("DES_%d", k.id), "url": fmt.Sprintf("%s/statuses/%d", u, k.id), "state": k.state, "creator": c.simpleUser(k.by),
		"description": k.description, "environment": k.environment, "target_url": k.target, "log_url": k.logURL, "environment_url": k.environmentURL,
		"deployment_url": u, "repository_url": c.repoURL(), "created_at": when(k.at), "updated_at": when(k.at),
	}
}

func (c *call) listDeploymentStatuses() *answer {
	d := c.theDeployment()
	if d == nil {
		return notFound()
	}
	out := []obj{}
	for _, k := range slices.Backward(d.statuses) {
		out = append(out, c.deploymentStatus(d, k))
	}
	return ok(paged(c, out))
}

func (c *call) createDeploymentStatus() *answer {
	d := c.theDeployment()
	if d == nil {
		return notFound()
	}
	var in struct {
		State, Description, Environment string
		Log                             string `json:"log_url"`
		URL                             string `json:"environment_url"`
		Target                          string `json:"target_url"`
		AutoInactive                    *bool  `json:"auto_inactive"`
	}
	c.read(&in)
	in.Environment = strings.TrimSpace(in.Environment)
	if in.Environment == "" {
		in.Environment = d.environment
	}
	now := c.s.now()
	k := deploymentStatus{
		id: c.s.id(), state: in.State, description: in.Description, environment: in.Environment, logURL: in.Log, environmentURL: in.URL, target: in.Target,
		by: c.who.login, at: now,
	}
	d.statuses, d.updated = append(d.statuses, k), now
	if in.State == "success" && (in.AutoInactive == nil || *in.AutoInactive) {
		for _, other := range c.repo.deployments {
			if other != d && other.environment == d.environment && !other.transient && !other.production && len(other.statuses) > 0 &&
				other.statuses[len(other.statuses)-1].state != "inactive" {
				other.statuses = append(other.statuses, deploymentStatus{id: c.s.id(), state: "inactive", environment: d.environment, by: c.who.login, at: now})
			}
		}
	}
	return created(c.deploymentStatus(d, k))
}
