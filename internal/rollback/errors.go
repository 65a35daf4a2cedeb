package rollback

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Exit is the exit code of a command; there are six and each means one thing.
type Exit int

const (
	Done       Exit = 0 // done and verified
	Failed     Exit = 1 // failed, production not changed
	Usage      Exit = 2 // usage or configuration
	Pending    Exit = 3 // waits for a person or a machine; run again
	Unverified Exit = 4 // production changed, not verified
	Refused    Exit = 5 // unsafe plan, guard, lock held
)

// Error is an error for the person who reads it at night: what broke, what state production is in, what to type next.
type Error struct {
	Exit       Exit
	What       string   // one sentence, lower case, no full stop
	Production string   // e.g. "not changed"; one sentence
	Next       []string // commands or acts, most useful first
	Err        error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.What
	}
	text := e.Err.Error()
	switch {
	case e.What == "":
		return text
	case text == "":
		return e.What
	}
	return e.What + ": " + text
}

func (e *Error) Unwrap() error { return e.Err }

// ExitOf is the exit code an error stands for.
func ExitOf(err error) Exit {
	if err == nil {
		return Done
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Exit
	}
	return Failed
}

// NotChanged is the state of production before the first act.
const NotChanged = "not changed"

// UsageErrorf is a mistake in flags, environment or configuration: exit 2, nothing touched.
func UsageErrorf(format string, args ...any) error {
	return &Error{Exit: Usage, Err: fmt.Errorf(format, args...), Production: NotChanged}
}

// CallKind sorts the ways an outside call can fail by what a person does about them.
type CallKind string

const (
	NotFound    CallKind = "not found"            // the thing asked for is not there
	Denied      CallKind = "denied"               // authenticated, without the right
	Expired     CallKind = "no valid credentials" // missing, wrong or expired
	Throttled   CallKind = "throttled"            // too many calls; repeated as often as was safe
	Conflict    CallKind = "conflict"             // somebody else wrote first
	Immutable   CallKind = "immutable"            // the registry refuses to move this tag
	Unreachable CallKind = "unreachable"          // no answer: refused, timed out, TLS, DNS
	Broken      CallKind = "broken answer"        // an answer that is not what the system sends (a proxy's HTML page, a cut body)
	ServerFault CallKind = "server fault"         // 5xx, repeated as often as was safe
	Rejected    CallKind = "rejected"             // any other refusal of the request itself
)

// CallError is a failed call to an outside system. Adapters return it for every failure; nothing else about the system's
// own error types crosses a package boundary.
type CallError struct {
	System string // "ecr", "registry", "kubernetes", "sts", …
	Op     string // what was asked, as the system names it: "PutImage payments:latest"
	Kind   CallKind
	// Code is the system's own word for it: "ThrottlingException", "403 Forbidden".
	Code string
	// Fix is what to do about it, one sentence or a command; "" when Kind says it all.
	Fix string
	// RetryAfter is what the system asked us to wait; 0 if it did not say.
	RetryAfter time.Duration
	// Maybe is set when a write may have been done all the same (the answer was lost): look before repeating.
	Maybe bool
	Err   error
}

func (e *CallError) Error() string {
	var b strings.Builder
	b.WriteString(e.System + ": ")
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(string(e.Kind))
	if e.Code != "" {
		b.WriteString(" (" + e.Code + ")")
	}
	if e.Err != nil {
		text := e.Err.Error()
		if e.Code != "" { // an adapter's error may be no more than that
			text = strings.TrimSuffix(strings.TrimSuffix(text, e.Code), ": ")
		}
		if text != "" {
			b.WriteString(": " + text)
		}
	}
	return b.String()
}

func (e *CallError) Unwrap() error { return e.Err }

// maybeDone tells whether any of the failed calls in err may have been done all the same.
func maybeDone(err error) bool {
	switch e := err.(type) {
	case nil:
		return false
	case *CallError:
		return e.Maybe || maybeDone(e.Err)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), maybeDone)
	}
	return maybeDone(errors.Unwrap(err))
}

// KindOf is the kind of the outside failure in err, "" if there is none.
func KindOf(err error) CallKind {
	var c *CallError
	if errors.As(err, &c) {
		return c.Kind
	}
	return ""
}

// RetryAfterOf is how long the system that failed in err asked to be left alone, 0 if it did not say.
func RetryAfterOf(err error) time.Duration {
	var c *CallError
	if errors.As(err, &c) {
		return c.RetryAfter
	}
	return 0
}

// FixOf is the remedy an adapter put into err, "" if there is none.
func FixOf(err error) string {
	var c *CallError
	if errors.As(err, &c) {
		return c.Fix
	}
	return ""
}
