package jenkins

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Script is the life of a build: it prints, checks out, sleeps, pushes an image, and returns the result ("" is SUCCESS). Its
// context ends when the build is aborted; the result is ABORTED then, whatever it returns.
type Script func(ctx context.Context, b *Build) string

// Manual is a script that does nothing until Build.Finish.
func Manual(ctx context.Context, b *Build) string {
	select {
	case result := <-b.finish:
		return result
	case <-ctx.Done():
		return ""
	}
}

// Build is one run of a job. Its methods may be called from any goroutine.
type Build struct {
	s      *Server
	job    *item
	number int
	queue  int64
	user   string
	values map[string]string
	asked  string // the commit that a push asked for
	finish chan string
	cancel context.CancelFunc

	// guarded by the server's mutex
	start, end    time.Time
	result        string // may be set before the end
	stopped       bool
	commits       []string
	log           strings.Builder
	waitsForAgent bool
	questions     []*question
	stages        []stage
	artifacts     map[string]string // by path
}

// Builds are a job's builds, oldest first.
func (s *Server) Builds(name string) []*Build {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.items[name]; i != nil {
		return slices.Clone(i.builds)
	}
	return nil
}

// startBuild begins a build. The caller holds mu.
func (s *Server) startBuild(q *queued) *Build {
	i := q.job
	ctx, cancel := context.WithCancel(s.ctx)
	b := &Build{s: s, job: i, number: len(i.builds) + 1, queue: q.id, user: q.user, values: q.parameters, asked: q.commit,
		finish: make(chan string, 1), cancel: cancel, start: s.options.Now()}
	i.builds = append(i.builds, b)
	if q.user == "" {
		b.print("Started by GitHub push\n")
	} else {
		b.print("Started by user " + note(i.Freestyle, "USER") + q.user + "\n")
	}
	if !i.Freestyle {
		b.print(note(false, "START") + "[Pipeline] Start of Pipeline\n")
	}
	script := i.Script
	if script == nil {
		script = s.script
	}
	if script == nil {
		script = func(context.Context, *Build) string { return "" }
	}
	s.running.Go(func() {
		defer cancel()
		result := script(ctx, b)
		s.mu.Lock()
		defer s.mu.Unlock()
		b.over(result)
	})
	return b
}

// over ends a build. The caller holds mu.
func (b *Build) over(result string) {
	switch {
	case b.stopped:
		result = "ABORTED"
	case result == "":
		result = b.result
	}
	if result == "" {
		result = "SUCCESS"
	}
	if !b.job.Freestyle {
		b.print(note(false, "END") + "[Pipeline] End of Pipeline\n")
	}
	b.print("Finished: " + result + "\n")
	b.result, b.end = result, b.s.options.Now()
	if len(b.job.Parameters) == 0 && len(b.job.Learns) > 0 {
		b.job.Parameters = b.job.Learns
	}
	b.s.dispatch()
	b.s.change()
}

// Job is the full name of the build's job.
func (b *Build) Job() string { return b.job.name }

// Number counts from 1.
func (b *Build) Number() int { return b.number }

// User is who started it, "" for a push.
func (b *Build) User() string { return b.user }

// Asked is the commit that the push which started the build is about, "" for a build that somebody started.
func (b *Build) Asked() string { return b.asked }

// Parameters are the values that the build runs with.
func (b *Build) Parameters() map[string]string { return maps.Clone(b.values) }

// Result is how the build ended; "" while it runs.
func (b *Build) Result() string {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.end.IsZero() {
		return ""
	}
	return b.result
}

// Finish ends a Manual build.
func (b *Build) Finish(result string) { b.finish <- result }

// SetResult sets a result before the end, as the unstable step does. The build runs on.
func (b *Build) SetResult(result string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.result = result
}

// Print adds to the log.
func (b *Build) Print(format string, args ...any) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.print(fmt.Sprintf(format, args...))
}

func (b *Build) print(text string) {
	b.log.WriteString(text)
	b.s.change()
}

// Stage adds the lines that a pipeline prints at a stage, with a console note.
func (b *Build) Stage(name string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.stages = append(b.stages, stage{name, b.s.options.Now()})
	b.print(note(b.job.Freestyle, "STAGE") + "[Pipeline] stage\n" + note(b.job.Freestyle, "STAGE-"+name) + "[Pipeline] { (" + name + ")\n")
}

// Checkout notes that the build works on a commit.
func (b *Build) Checkout(commit string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.commits = append(b.commits, commit)
	b.print("Checking out Revision " + commit + " (refs/remotes/origin/main)\n")
}

// ReplaceLog throws the log away and begins it anew.
func (b *Build) ReplaceLog(text string) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.log.Reset()
	b.print(text)
}

// WaitForAgent makes a step of the build wait in the queue, or not any more.
func (b *Build) WaitForAgent(wait bool) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.waitsForAgent = wait
}

// Sleep waits; it is false when the build was aborted meanwhile.
func (b *Build) Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// abort asks a build to end: "stop", "term" or "kill". The caller holds mu.
func (b *Build) abort(how, user string) {
	if !b.end.IsZero() {
		return
	}
	levels := []string{"stop", "term", "kill", "never"}
	b.print("Aborted by " + user + "\n")
	if slices.Index(levels, how) >= max(0, slices.Index(levels, b.job.Stubborn)) {
		b.stopped = true
		b.cancel()
	}
}

// note is a console note, which a log has before the lines that Jenkins knows more about.
func note(none bool, text string) string {
	if none {
		return ""
	}
	return "\x1b[8mha:////" + base64.StdEncoding.EncodeToString([]byte("note of "+text)) + "\x1b[0m"
}

func (b *Build) id() string { return fmt.Sprint(b.number) }

func (b *Build) path() string { return fmt.Sprintf("%s/%d", b.job.path(), b.number) }

// tell is the build as the remote API tells it. The caller holds mu.
func (b *Build) tell(root string) object {
	var result any
	if b.result != "" {
		result = b.result
	}
	building := b.end.IsZero()
	duration := int64(0)
	if !building {
		duration = b.end.Sub(b.start).Milliseconds()
	}
	artifacts := []any{}
	for _, path := range slices.Sorted(maps.Keys(b.artifacts)) {
		name := path[strings.LastIndexByte(path, '/')+1:]
		artifacts = append(artifacts, object{"displayPath": name, "fileName": name, "relativePath": path})
	}
	return object{
		"_class": classBuild, "artifacts": artifacts, "actions": actions(b.values, b.job.Parameters, b.user, b.commits), "building": building, "inProgress": building,
		"result": result, "number": b.number, "id": b.id(), "queueId": b.queue, "url": root + b.path() + "/",
		"timestamp": b.start.UnixMilli(), "duration": duration, "estimatedDuration": 61000, "displayName": fmt.Sprintf("#%d", b.number),
		"fullDisplayName": fmt.Sprintf("%s #%d", strings.ReplaceAll(b.job.name, "/", " » "), b.number), "description": nil, "keepLog": false,
	}
}
