package jenkins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

const (
	// looks is how often a build is looked for whose trigger was not answered, lookPause the time between.
	looks     = 4
	lookPause = time.Second
	// triggers is how often a trigger is sent that provably did nothing.
	triggers = 3
)

// Start asks for a build. See rollback.BuildStarter for what it promises.
func (c *Controller) Start(ctx context.Context, r rollback.BuildRequest) (rollback.StartedBuild, error) {
	op := "start " + r.Job
	refuse := func(kind rollback.CallKind, fix, format string, args ...any) (rollback.StartedBuild, error) {
		return rollback.StartedBuild{}, &rollback.CallError{System: system, Op: op, Kind: kind, Fix: fix, Err: fmt.Errorf(format, args...)}
	}
	if r.ID != "" && !idForm.MatchString(r.ID) {
		return refuse(rollback.Rejected, "", "%q is no id for a build", r.ID)
	}
	a, waiting, err := c.survey(ctx, r.Job, "nextBuildNumber,"+treeParameters+","+treeBuilds)
	if err != nil {
		return rollback.StartedBuild{}, err
	}
	defined := a.parameters()
	values := maps.Clone(r.Parameters)
	marked := r.ID != "" && slices.ContainsFunc(defined, func(p rollback.Parameter) bool { return p.Name == c.idParameter && p.Kind == rollback.TextParameter })
	if marked {
		if found, ok := c.find(r.ID, merge(r.Job, a, waiting)); ok {
			return rollback.StartedBuild{Build: found, Already: true, Marked: true}, nil
		}
		if values == nil {
			values = map[string]string{}
		}
		values[c.idParameter] = r.ID
	}
	if wrong := rollback.CheckParameters(defined, values); len(wrong) > 0 {
		fix := ""
		if len(defined) == 0 && a.NextBuildNumber == 1 {
			fix = "run the job once by hand: Jenkins learns the parameters of a Jenkinsfile in its first run"
		}
		return refuse(rollback.Rejected, fix, "%s", strings.Join(wrong, "; "))
	}
	if !a.enabled() {
		return refuse(rollback.Conflict, "enable it in Jenkins, then run again", "the job is disabled")
	}
	for n := 1; ; n++ {
		started, err := c.trigger(ctx, r.Job, len(defined) > 0, values)
		started.Marked = marked
		var f *rollback.CallError
		if err == nil || !errors.As(err, &f) || !f.Maybe || ctx.Err() != nil {
			return started, err
		}
		if !marked {
			if f.Fix == "" {
				f.Fix = fmt.Sprintf("look at the builds of %s before starting one; with a string parameter %s the job's builds could be told apart", r.Job, c.idParameter)
			}
			return started, f
		}
		// Jenkins has answered and is done with it, or it may still be at work on it.
		answered := statusOf(f) == http.StatusInternalServerError || statusOf(f) == http.StatusServiceUnavailable
		found, ok, lookErr := c.lookFor(ctx, r, answered)
		switch {
		case ok:
			return rollback.StartedBuild{Build: found, Marked: true}, nil
		case lookErr != nil:
			f.Err = fmt.Errorf("%w; looking for the build: %w", f.Err, lookErr)
			return started, f
		case !answered:
			return started, f
		}
		f.Maybe = false
		if statusOf(f) != http.StatusServiceUnavailable || n >= triggers {
			return started, f
		}
	}
}

// find is the build with our id.
func (c *Controller) find(id string, builds []rollback.Build) (rollback.Build, bool) {
	i := slices.IndexFunc(builds, func(b rollback.Build) bool { return b.Parameters[c.idParameter] == id })
	if i < 0 {
		return rollback.Build{}, false
	}
	return builds[i], true
}

// lookFor looks for the build with our id: once if Jenkins has answered, and otherwise for as long as it may be at work.
func (c *Controller) lookFor(ctx context.Context, r rollback.BuildRequest, answered bool) (rollback.Build, bool, error) {
	for n := 1; ; n++ {
		builds, err := c.all(ctx, r.Job)
		if err != nil {
			return rollback.Build{}, false, err
		}
		if b, ok := c.find(r.ID, builds); ok {
			return b, true, nil
		}
		if answered || n == looks {
			return rollback.Build{}, false, nil
		}
		select {
		case <-ctx.Done():
			return rollback.Build{}, false, ctx.Err()
		case <-c.r.pause(lookPause):
		}
	}
}

// trigger sends the request once. The Location of a queue item is the only proof that it was heard.
func (c *Controller) trigger(ctx context.Context, job string, parameterised bool, values map[string]string) (rollback.StartedBuild, error) {
	path, err := jobPath(job)
	if err != nil {
		return rollback.StartedBuild{}, err
	}
	// /build on a job with parameters is an error, and so is /buildWithParameters on one without.
	endpoint, form := path+"/build", url.Values{}
	if parameterised {
		endpoint = path + "/buildWithParameters"
		for k, v := range values {
			form.Set(k, v)
		}
	}
	resp, err := c.jenkins.Requester.Post(ctx, endpoint, strings.NewReader(form.Encode()), nil, map[string]string{"delay": "0sec"})
	if err != nil {
		return rollback.StartedBuild{}, err
	}
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || queueItem(to.Path) == 0 {
		return rollback.StartedBuild{}, &rollback.CallError{System: system, Op: "POST " + endpoint, Kind: rollback.Broken, Maybe: true,
			Code: resp.Status, Err: errors.New("the answer names no queue item"),
			Fix: "look at the job's page: Jenkins or a plugin refused to queue it, or a proxy answered in its place"}
	}
	return rollback.StartedBuild{
		Build:   rollback.Build{Job: job, Queue: queueItem(to.Path), State: rollback.BuildQueued, Parameters: values},
		Already: resp.StatusCode != http.StatusCreated, // 303: one with the same parameters waits already
	}, nil
}
