package jenkins

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Stop takes the build out of the queue or aborts it: stop, then term, then kill, each with its time to work. The build is
// looked at before and after each, so a lost answer does no harm. A program that a step started may outlive its build:
// Jenkins sends SIGTERM and never SIGKILL.
func (c *Controller) Stop(ctx context.Context, b rollback.Build) (rollback.Build, error) {
	b, err := c.Look(ctx, b)
	if err != nil {
		return b, err
	}
	for n := 0; b.State == rollback.BuildQueued; n++ {
		if b, err = c.cancel(ctx, b, n); err != nil {
			return b, err
		}
	}
	if b.Over() {
		return b, nil
	}
	path, err := jobPath(b.Job)
	if err != nil {
		return b, err
	}
	path = fmt.Sprintf("%s/%d", path, b.Number)
	var last error
	for _, how := range []string{"stop", "term", "kill"} {
		_, err := c.jenkins.Requester.Post(ctx, path+"/"+how, nil, nil, nil)
		switch status := statusOf(err); {
		case status == http.StatusNotFound && how != "stop": // only pipelines know these
			continue
		case err != nil && !passing(err):
			return b, err
		case err != nil && ctx.Err() != nil:
			return b, err
		}
		last = err
		if b, err = c.ended(ctx, b); err != nil || b.Over() {
			return b, err
		}
	}
	if last == nil {
		last = fmt.Errorf("%s still runs after stop, term and kill", b)
	}
	return b, &rollback.CallError{System: system, Op: "stop " + b.String(), Kind: rollback.ServerFault, Maybe: true, Err: last,
		Fix: "look at its page: a step that does not listen to an abort keeps it running"}
}

// cancel takes a build out of the queue. What it returns may be a build that started a moment before.
func (c *Controller) cancel(ctx context.Context, b rollback.Build, n int) (rollback.Build, error) {
	op := fmt.Sprintf("cancel queue item %d", b.Queue)
	if n >= 3 {
		return b, &rollback.CallError{System: system, Op: op, Kind: rollback.ServerFault, Err: errors.New("the answer was done, but it is still in the queue")}
	}
	if n > 0 {
		select {
		case <-ctx.Done():
			return b, &rollback.CallError{System: system, Op: op, Kind: rollback.Unreachable, Maybe: true, Err: ctx.Err()}
		case <-c.r.pause(c.quick()):
		}
	}
	_, err := c.jenkins.Requester.Post(ctx, "/queue/cancelItem", nil, nil, map[string]string{"id": fmt.Sprint(b.Queue)})
	switch status := statusOf(err); {
	case status == http.StatusNotFound: // it has left the queue
	case status == http.StatusUnprocessableEntity:
		return b, &rollback.CallError{System: system, Op: op, Kind: rollback.Denied, Code: "422 Unprocessable Entity", Err: err,
			Fix: fmt.Sprintf("give the Jenkins user %s the right Job/Cancel", c.r.user)}
	case err != nil && (!passing(err) || ctx.Err() != nil):
		return b, err
	}
	now, lookErr := c.Look(ctx, b)
	if lookErr != nil && rollback.KindOf(lookErr) == rollback.NotFound && err == nil {
		b.State, b.Why = rollback.BuildCancelled, "" // done, and forgotten since
		return b, nil
	}
	return now, lookErr
}

// quick is how often a build is looked at that should change any moment.
func (c *Controller) quick() time.Duration { return min(c.poll, 500*time.Millisecond) }

// ended waits for a build that was told to end, for as long as it gets.
func (c *Controller) ended(ctx context.Context, b rollback.Build) (rollback.Build, error) {
	deadline := time.Now().Add(c.grace)
	for {
		now, err := c.Look(ctx, b)
		if err != nil {
			return b, err
		}
		if now.Over() || !time.Now().Before(deadline) {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, &rollback.CallError{System: system, Op: "stop " + b.String(), Kind: rollback.Unreachable, Maybe: true, Err: ctx.Err()}
		case <-c.r.pause(c.quick()):
		}
	}
}
