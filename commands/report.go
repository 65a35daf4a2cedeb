package commands

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// heartbeatEvery is how often a wait says that it still waits, where no terminal shows live bars.
const heartbeatEvery = 30 * time.Second

// lines reports a run as one line for each change of state, with a heartbeat while it waits. It is what a build log gets.
type lines struct {
	p     *printer
	mu    sync.Mutex
	notes map[rollback.Ref]string
	// spoke is when the last line was written.
	spoke time.Time
	began map[string]time.Time
}

func newLines(p *printer) *lines {
	return &lines{p: p, notes: map[rollback.Ref]string{}, began: map[string]time.Time{}, spoke: time.Now()}
}

func (l *lines) say(s string) {
	l.p.line(s)
	l.spoke = time.Now()
}

func (l *lines) Step(s rollback.Step, st rollback.StepState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch st.Outcome {
	case rollback.StepStarted:
		l.began[s.Name] = st.At
		l.say(fmt.Sprintf("► %-8s %s", s.Name, s.Text))
	default:
		l.say(ended(l.p, s, st, l.began[s.Name]))
	}
}

// ended is the line that closes a step.
func ended(p *printer, s rollback.Step, st rollback.StepState, began time.Time) string {
	mark, word := p.green("✔"), "done"
	switch st.Outcome {
	case rollback.StepAlready:
		word = "already so"
	case rollback.StepPending:
		mark, word = p.yellow("◎"), "pending"
	case rollback.StepFailed:
		return p.red("✗") + fmt.Sprintf(" %-8s failed", s.Name) + took(p, st.At, began)
	}
	text := fmt.Sprintf("%s %-8s %s", mark, s.Name, word)
	if st.Detail != "" {
		text += ": " + st.Detail
	}
	return text + took(p, st.At, began)
}

func took(p *printer, at, began time.Time) string {
	d := at.Sub(began)
	if began.IsZero() || d < 100*time.Millisecond {
		return ""
	}
	return p.dim(fmt.Sprintf("  %.1fs", d.Seconds()))
}

func (l *lines) Progress(list []rollback.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said := false
	for _, p := range list {
		if p.Note == "" || l.notes[p.Workload] == p.Note {
			continue
		}
		l.notes[p.Workload] = p.Note
		l.say(fmt.Sprintf("◎ %s: %s", p.Workload, p.Note))
		said = true
	}
	if said || time.Since(l.spoke) < heartbeatEvery {
		return
	}
	var parts []string
	for _, p := range list {
		parts = append(parts, fmt.Sprintf("%s %d of %d ready", p.Workload, p.Ready, p.Desired))
	}
	l.say("◎ still waiting: " + strings.Join(parts, ", "))
}

func (l *lines) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.say("  " + text)
}

// live reports a run on a terminal: finished lines stay, one bar for each workload moves.
type live struct {
	lines
	width func() int
	drawn int  // lines of bars on the screen now
	fresh bool // the last line is the announcement of the step that runs
}

func newLive(p *printer, width func() int) *live {
	return &live{lines: *newLines(p), width: width}
}

func (l *live) Step(s rollback.Step, st rollback.StepState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	if st.Outcome == rollback.StepStarted {
		l.began[s.Name] = st.At
		l.say(clip(fmt.Sprintf("► %-8s %s", s.Name, s.Text), l.width()))
		l.fresh = true
		return
	}
	if l.fresh { // the line that announced the step becomes the line that closes it
		fmt.Fprint(l.p.w, "\x1b[1A\x1b[2K")
	}
	l.say(ended(l.p, s, st, l.began[s.Name]))
}

func (l *live) Progress(list []rollback.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	longest := 0
	for _, p := range list {
		longest = max(longest, len(p.Workload.String()))
	}
	longest = min(longest, 40)
	for _, p := range list {
		l.p.line(l.bar(p, longest))
		l.drawn++
		if l.drawn >= 20 && len(list) > 21 {
			l.p.line(l.p.dim(fmt.Sprintf("  … and %d more", len(list)-l.drawn)))
			l.drawn++
			break
		}
	}
}

// bar is one workload: ready new pods, new pods coming up, old pods still to go.
func (l *live) bar(p rollback.Progress, longest int) string {
	const size = 24
	total := max(p.Desired, 1)
	ready := size * min(p.Ready, total) / total
	coming := size * min(p.New, total) / total
	bar := strings.Repeat("█", ready) + strings.Repeat("▒", max(0, coming-ready)) + strings.Repeat("·", size-max(ready, coming))
	name := p.Workload.String()
	if len(name) > longest {
		name = name[:longest-1] + "…"
	}
	note := p.Note
	room := l.width() - longest - size - 18
	if room < 8 {
		note = ""
	} else if len(note) > room {
		note = note[:room-1] + "…"
	}
	return fmt.Sprintf("  %-*s %s %d/%d  %s", longest, name, l.p.green(bar), p.Ready, p.Desired, l.p.dim(note))
}

// wipe takes the bars off the screen.
func (l *live) wipe() {
	if l.drawn > 0 {
		fmt.Fprintf(l.p.w, "\x1b[%dA\x1b[J", l.drawn)
		l.drawn = 0
	}
}

func (l *live) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	l.fresh = false
	l.say("  " + text)
}

// clip keeps a line on one row of the terminal, so that it can be written over.
func clip(s string, width int) string {
	if r := []rune(s); width > 1 && len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}
