package jenkins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bndr/gojenkins"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// treeBuild is everything that is ever asked about a build.
const treeBuild = "number,url,building,result,queueId,timestamp,duration,estimatedDuration,actions[parameters[name,value],lastBuiltRevision[SHA1]]"

// buildAnswer is a build as Jenkins tells it.
type buildAnswer struct {
	gojenkins.BuildResponse
}

// build is the answer in the domain's words.
func (a buildAnswer) build(job string) rollback.Build {
	b := rollback.Build{
		Job: job, Number: int(a.Number), Queue: a.QueueID, URL: link(a.URL), State: rollback.BuildRunning,
		Start: at(a.Timestamp), Estimate: span(a.EstimatedDuration),
	}
	// A result may be there before the end (the unstable step), and a build that is not building may have none yet.
	if !a.Building && a.Result != "" {
		b.State, b.Result, b.Took = rollback.BuildFinished, oneLine(a.Result), span(a.Duration)
	}
	for _, action := range a.Actions {
		for _, p := range action.Parameters {
			b.Parameters = with(b.Parameters, p.Name, p.Value)
		}
		if c, err := rollback.ParseCommit(action.LastBuiltRevision.SHA1); err == nil && !slices.Contains(b.Commits, c) {
			b.Commits = append(b.Commits, c)
		}
	}
	return b
}

// with adds a parameter that has a value; those of secrets are not told.
func with(m map[string]string, name string, value any) map[string]string {
	if value == nil || name == "" {
		return m
	}
	if m == nil {
		m = map[string]string{}
	}
	m[name] = text(value)
	return m
}

// at is a time in milliseconds since 1970; 0 is none.
func at(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// span is a duration in milliseconds. Jenkins says -1 when it does not know.
func span(ms float64) time.Duration {
	if !(ms > 0) || ms > math.MaxInt64/1e6 {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// link is a URL for people, as Jenkins names it, "" if it is nothing to click on.
func link(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

// build reads one build.
func (c *Controller) build(ctx context.Context, job string, number int) (rollback.Build, error) {
	path, err := jobPath(job)
	if err != nil {
		return rollback.Build{}, err
	}
	path += "/" + strconv.Itoa(number)
	var a buildAnswer
	if _, err := c.jenkins.Requester.GetJSON(ctx, path, &a, map[string]string{"tree": treeBuild}); err != nil {
		return rollback.Build{}, err
	}
	if int(a.Number) != number {
		return rollback.Build{}, broken("GET "+path, fmt.Sprintf("asked for build %d, got %d", number, a.Number))
	}
	return a.build(job), nil
}

func broken(op, what string) *rollback.CallError {
	return &rollback.CallError{System: system, Op: op, Kind: rollback.Broken, Err: &foreign{what}}
}

// itemAnswer is one item of the queue as Jenkins tells it. gojenkins' own type cannot tell a cancelled one.
type itemAnswer struct {
	Class      string `json:"_class"`
	ID         int64  `json:"id"`
	Cancelled  bool   `json:"cancelled"`
	Why        string `json:"why"`
	Stuck      bool   `json:"stuck"`
	Since      int64  `json:"inQueueSince"`
	Executable *struct {
		Number int64  `json:"number"`
		URL    string `json:"url"`
	} `json:"executable"`
	Task struct {
		Class string `json:"_class"`
		URL   string `json:"url"`
	} `json:"task"`
	Actions []struct {
		Parameters []struct {
			Name  string `json:"name"`
			Value any    `json:"value"`
		} `json:"parameters"`
	} `json:"actions"`
}

const treeItem = "id,cancelled,why,stuck,inQueueSince,executable[number,url],task[url],actions[parameters[name,value]]"

func (a itemAnswer) build(job string) rollback.Build {
	b := rollback.Build{Job: job, Queue: a.ID, State: rollback.BuildQueued, Why: oneLine(a.Why), Stuck: a.Stuck, Start: at(a.Since)}
	if a.Cancelled {
		b.State, b.Why = rollback.BuildCancelled, ""
	}
	for _, action := range a.Actions {
		for _, p := range action.Parameters {
			b.Parameters = with(b.Parameters, p.Name, p.Value)
		}
	}
	return b
}

// queue reads what waits for a job, newest first.
func (c *Controller) queue(ctx context.Context, job string) ([]rollback.Build, error) {
	var a struct {
		Items []itemAnswer `json:"items"`
	}
	if _, err := c.jenkins.Requester.GetJSON(ctx, "/queue", &a, map[string]string{"tree": "items[" + treeItem + "]"}); err != nil {
		return nil, err
	}
	var waiting []rollback.Build
	for _, i := range a.Items {
		// A step of a running pipeline that waits for an agent is in the queue as well. It is not a build.
		if name, rest := jobOf(i.Task.URL); name != job || len(rest) > 0 || strings.HasSuffix(i.Task.Class, "PlaceholderTask") {
			continue
		}
		waiting = append(waiting, i.build(job))
	}
	slices.SortFunc(waiting, func(a, b rollback.Build) int { return cmp.Compare(b.Queue, a.Queue) })
	return waiting, nil
}

// survey is a job with its newest builds, and what waits for it, in one wave. An item that leaves the queue between the two
// answers is in neither or in both.
func (c *Controller) survey(ctx context.Context, job, tree string) (jobAnswer, []rollback.Build, error) {
	if _, err := jobPath(job); err != nil {
		return jobAnswer{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var a jobAnswer
	var waiting []rollback.Build
	var jobErr, queueErr error
	var wave sync.WaitGroup
	wave.Go(func() {
		if a, jobErr = c.job(ctx, job, tree); jobErr != nil {
			cancel()
		}
	})
	wave.Go(func() {
		if waiting, queueErr = c.queue(ctx, job); queueErr != nil {
			cancel()
		}
	})
	wave.Wait()
	// The one that failed by itself is the one to tell about.
	if jobErr != nil && (queueErr == nil || !errors.Is(jobErr, context.Canceled)) {
		return jobAnswer{}, nil, jobErr
	}
	if queueErr != nil {
		return jobAnswer{}, nil, queueErr
	}
	return a, waiting, nil
}

// InFlight returns the builds that are queued or running, newest first.
func (c *Controller) InFlight(ctx context.Context, job string) ([]rollback.Build, error) {
	builds, err := c.all(ctx, job)
	return slices.DeleteFunc(builds, func(b rollback.Build) bool { return b.Over() }), err
}

// Newest returns the builds that wait, then the newest 50.
func (c *Controller) Newest(ctx context.Context, job string) ([]rollback.Build, error) {
	return c.all(ctx, job)
}

// all are the builds that wait, then the newest ones. An item that starts between the two answers is told once, as a build.
func (c *Controller) all(ctx context.Context, job string) ([]rollback.Build, error) {
	a, waiting, err := c.survey(ctx, job, treeBuilds)
	if err != nil {
		return nil, err
	}
	return merge(job, a, waiting), nil
}

func merge(job string, a jobAnswer, waiting []rollback.Build) []rollback.Build {
	var builds []rollback.Build
	for _, one := range a.Builds {
		builds = append(builds, one.build(job))
	}
	slices.SortFunc(builds, func(a, b rollback.Build) int { return b.Number - a.Number })
	started := func(w rollback.Build) bool {
		return slices.ContainsFunc(builds, func(b rollback.Build) bool { return b.Queue == w.Queue && b.Queue > 0 })
	}
	return append(slices.DeleteFunc(waiting, started), builds...)
}

// Look reads a build again: by its number, or by its queue item, which Jenkins forgets 5 minutes after the start and at a
// restart; then among the newest builds.
func (c *Controller) Look(ctx context.Context, b rollback.Build) (rollback.Build, error) {
	switch {
	case b.Number > 0:
		return c.build(ctx, b.Job, b.Number)
	case b.State == rollback.BuildCancelled:
		return b, nil
	case b.Queue <= 0:
		return b, &rollback.CallError{System: system, Op: "look at a build of " + b.Job, Kind: rollback.Rejected, Err: errors.New("neither its number nor its queue item is known")}
	}
	endpoint := fmt.Sprintf("/queue/item/%d", b.Queue)
	var a itemAnswer
	_, err := c.jenkins.Requester.GetJSON(ctx, endpoint, &a, map[string]string{"tree": treeItem})
	if statusOf(err) == http.StatusNotFound {
		return c.started(ctx, b)
	}
	if err != nil {
		return b, err
	}
	if name, _ := jobOf(a.Task.URL); a.ID != b.Queue || name != b.Job {
		return b, broken("GET "+endpoint, fmt.Sprintf("asked for queue item %d of %s, got %d of %s", b.Queue, b.Job, a.ID, oneLine(name)))
	}
	if a.Executable == nil || a.Executable.Number <= 0 {
		return a.build(b.Job), nil
	}
	return c.build(ctx, b.Job, int(a.Executable.Number))
}

// started finds the build that came from a queue item which Jenkins has forgotten.
func (c *Controller) started(ctx context.Context, b rollback.Build) (rollback.Build, error) {
	a, err := c.job(ctx, b.Job, treeBuilds)
	if err != nil {
		return b, err
	}
	for _, one := range a.Builds {
		if one.QueueID == b.Queue {
			return one.build(b.Job), nil
		}
	}
	return b, &rollback.CallError{System: system, Op: fmt.Sprintf("GET /queue/item/%d", b.Queue), Kind: rollback.NotFound, Code: "404 Not Found",
		Err: fmt.Errorf("queue item %d of %s is forgotten and none of the job's newest builds came from it", b.Queue, b.Job),
		Fix: "somebody cancelled it, or the build is older than the newest 50: look at the job's page"}
}
