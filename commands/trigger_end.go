package commands

// How trigger ends: what the build's record says, and without one as much as its result tells.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// gone is the end of a call that has lost sight of its build.
func (t *trigger) gone(b rollback.Build, err error) error {
	lost := &rollback.Error{Exit: rollback.Unverified, What: fmt.Sprintf("%s cannot be followed any more, and may be at work", b), Err: err, Production: "not known from here"}
	if fix := rollback.FixOf(err); fix != "" {
		lost.Next = append(lost.Next, fix)
	}
	lost.Next = append(lost.Next, "follow it again: "+t.again(), t.status())
	if perr := t.print(b, nil, lost); perr != nil {
		return perr
	}
	return lost
}

// finish tells how a build ended: as the record that it left says, and without one as far as its result goes. waiting tells
// that it ended at a question of ours.
func (t *trigger) finish(ctx context.Context, b rollback.Build, waiting bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading := make(chan remains, 1)
	if b.Number > 0 {
		go func() { reading <- t.result(ctx, b) }()
	} else {
		reading <- remains{}
	}
	var l remains
	select {
	case l = <-reading:
	case <-t.signals: // the build is over: there is nothing to ask about
		l.err = fmt.Errorf("interrupted")
	}
	err := t.ended(b, l, waiting)
	if l.err == nil {
		t.dropNote() // the same flags are a new request from now on
	}
	if perr := t.print(b, l.kv, err); perr != nil {
		return perr
	}
	return err
}

// remains are what a build has left of our scope.
type remains struct {
	kv      map[string]string // the record; nil without one
	planned bool              // there is no record of an act, but one of a plan that nothing stood in the way of
	err     error             // it could not be read
}

// proves tells whether a record with exit code 0 proves what trigger is for: that production is back. A restart compares no
// digests, and a moved tag moves no pods.
func proves(kv map[string]string) bool {
	return slices.Contains([]string{"run", "undo", "verify"}, kv["act"]) && !changedNothing(kv)
}

// changedNothing tells whether a record says that production is as it was: that of a dry run, or of a pull request.
func changedNothing(kv map[string]string) bool {
	return strings.HasPrefix(kv["production"], rollback.NotChanged)
}

// ended is the exit code of the rollback in the build, as an error for people. Nothing but its record proves that one was
// done: a build can end well at a page that is ready, a method that is none, or as a job of quite another kind.
func (t *trigger) ended(b rollback.Build, l remains, waiting bool) error {
	kv, readErr := l.kv, l.err
	how := fmt.Sprintf("%s ended %s", b, b.Result)
	fail := func(exit rollback.Exit, what, production string, next ...string) error {
		if b.URL != "" {
			next = append(next, "its log: "+b.URL+"console")
		}
		if !slices.ContainsFunc(next, func(n string) bool { return strings.Contains(n, t.status()) }) {
			next = append(next, t.status())
		}
		return &rollback.Error{Exit: exit, What: what, Production: production, Next: next}
	}
	switch {
	case b.State == rollback.BuildCancelled:
		return fail(rollback.Failed, fmt.Sprintf("%s was taken out of the queue before it started", b), rollback.NotChanged, "the same again: "+t.again())
	case kv != nil:
		exit, err := strconv.Atoi(kv["exit"])
		if err != nil || exit < 0 || exit > int(rollback.Refused) { // ended by a signal, or not by this program
			return fail(rollback.Unverified, fmt.Sprintf("%s; its record says exit %s: %s", how, kv["exit"], kv["message"]), cmp.Or(kv["production"], "not known"))
		}
		next := slices.DeleteFunc(strings.Split(kv["next"], " | "), func(n string) bool { return strings.TrimSpace(n) == "" })
		for i := range next {
			next[i] = fromHere(next[i])
		}
		if exit != 0 {
			return fail(rollback.Exit(exit), how+": "+cmp.Or(kv["message"], "exit "+kv["exit"]), cmp.Or(kv["production"], "see its log"), next...)
		}
		if !t.dry && !proves(kv) {
			exit, what := rollback.Unverified, "is no proof that anything was rolled back"
			if changedNothing(kv) {
				exit, what = rollback.Failed, "rolled nothing back"
			}
			return fail(exit, fmt.Sprintf("%s and %s: its record is of %s: %s", how, what, cmp.Or(kv["act"], "an unknown act"), kv["message"]), cmp.Or(kv["production"], "not known"), next...)
		}
		t.screen.line(t.screen.p.green("✔ ") + cmp.Or(kv["message"], how))
		if b.Result != "SUCCESS" {
			t.screen.line("! the rollback is done; the build did something else as well and " + how)
		}
		if kv["production"] != "" {
			t.screen.line("  production: " + kv["production"])
		}
		for _, n := range next {
			t.screen.line("  next: " + n)
		}
		return nil
	}
	without := " and left no record of " + t.scope.String()
	if readErr != nil {
		without = "; its record could not be read (" + readErr.Error() + ")"
	}
	switch {
	case b.Result == "NOT_BUILT":
		return fail(rollback.Failed, how, rollback.NotChanged, "the same again: "+t.again())
	case b.Result == "ABORTED" && waiting && readErr == nil:
		return fail(rollback.Refused, how+" at its question, before anything was run", rollback.NotChanged)
	case t.dry:
		return fail(rollback.Failed, how+without+"; it was a dry run", rollback.NotChanged)
	case b.Result == "SUCCESS" && l.planned: // the library keeps both or neither, so a run would have left its record, too
		return fail(rollback.Failed, how+" with a plan of "+t.scope.String()+" that was not run", rollback.NotChanged, "the job may be set to dry runs: its page in Jenkins")
	case b.Result == "SUCCESS":
		return fail(rollback.Unverified, how+without+", so nothing proves that it rolled anything back", "not known",
			"is "+t.job+" the job that rolls back? another one: --jenkins-rollback-job, or jenkins.rollbackJob in rollback.yaml")
	}
	return fail(rollback.Unverified, how+without, "not known: it may be half done")
}
