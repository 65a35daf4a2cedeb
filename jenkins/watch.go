package jenkins

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Sight is what one look at a build has seen.
type Sight struct {
	Build rollback.Build
	// Inputs are what the build waits for; known only when Asked is set: the build runs, and Jenkins has told.
	Inputs []Input
	Asked  bool
	Unseen error // why Jenkins will not tell what the build waits for, nil when it does
	// Lost is why Jenkins could not be asked, nil when it could; it is asked again.
	Lost error
}

// Watch follows a build as Follow does, and tells see what each look has seen, its pending inputs among it. known are ids of
// inputs to look for where Jenkins cannot list them. It looks more often while things change.
func (c *Controller) Watch(ctx context.Context, b rollback.Build, w io.Writer, known []string, see func(Sight)) (rollback.Build, error) {
	pause := min(firstPause, c.poll)
	unlisted := false
	last := b
	begun := func(now rollback.Build) { see(Sight{Build: now}) }
	return c.follow(ctx, b, w, begun, func(now rollback.Build, err error, grown bool) time.Duration {
		s := Sight{Build: now, Lost: err}
		if err == nil && now.State == rollback.BuildRunning {
			s.Inputs, unlisted, err = c.open(ctx, now, known, unlisted)
			switch s.Asked = err == nil; {
			case err != nil && passing(err):
				s.Lost = err
			case err != nil:
				s.Unseen = err
			}
		}
		if grown || now.State != last.State {
			pause = min(firstPause, c.poll)
		} else {
			pause = min(2*pause, c.poll)
		}
		last = now
		see(s)
		return pause
	})
}

// open lists pending inputs, by their ids once it is known that wfapi is not there.
func (c *Controller) open(ctx context.Context, b rollback.Build, known []string, unlisted bool) ([]Input, bool, error) {
	if !unlisted {
		list, err := c.listed(ctx, b)
		if statusOf(err) != http.StatusNotFound {
			return list, false, err
		}
	}
	list, err := c.probed(ctx, b, known)
	return list, true, err
}

// follow looks at a build until it is over. begun is called once the build has a number, before anything of its log is
// passed on; after is called after every look, with what it saw, and says how long to wait until the next one.
func (c *Controller) follow(ctx context.Context, b rollback.Build, w io.Writer, begun func(rollback.Build), after func(b rollback.Build, err error, grown bool) time.Duration) (rollback.Build, error) {
	var t *tail
	if w != nil {
		t = &tail{filter: &noteFilter{to: w}}
		defer func() { _ = t.filter.Flush() }()
	}
	var lost time.Time // since when Jenkins has not answered
	for {
		grown := false
		now, err := c.Look(ctx, b)
		if err == nil {
			if begun != nil && now.Number > 0 {
				begun(now)
				begun = nil
			}
			b = now
			if t != nil && b.Number > 0 {
				from := t.start
				err = c.readAll(ctx, b, t)
				grown = t.start != from
			}
			if b.Over() {
				return b, err
			}
		}
		switch {
		case err == nil:
			lost = time.Time{}
		case !passing(err) || ctx.Err() != nil:
			return b, err
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) >= c.patience:
			return b, err
		}
		wait := after(b, err, grown)
		select {
		case <-ctx.Done():
			if err == nil {
				err = &rollback.CallError{System: system, Op: "follow " + b.String(), Kind: rollback.Unreachable, Err: context.Cause(ctx)}
			}
			return b, err
		case <-c.r.pause(wait):
		}
	}
}

// Page is where people look at a build: its own page, or that of its queue item before it has one.
func (c *Controller) Page(b rollback.Build) string {
	if b.URL != "" || b.Queue <= 0 {
		return b.URL
	}
	return fmt.Sprintf("%s/queue/item/%d/", c.r.base, b.Queue)
}
