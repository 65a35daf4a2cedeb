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

// announceAfter is how long a step may take before it is announced: a quick one is said once, when it has ended.
const announceAfter = time.Second

// lines reports a run as one line for each change of state, with a heartbeat while it waits. It is what a build log gets.
type lines struct {
	p     *printer
	mu    sync.Mutex
	notes map[rollback.Ref]string
	// spoke is when the last line was written.
	spoke time.Time
	began time.Time // of the step at work
	// silent is the step that has begun and was not announced yet.
	silent *rollback.Step
	timer  *time.Timer
}

func newLines(p *printer) *lines {
	return &lines{p: p, notes: map[rollback.Ref]string{}, spoke: time.Now()}
}

func (l *lines) say(s string) {
	l.p.line(s)
	l.spoke = time.Now()
}

// announce says the step at work, if that has not been done.
func (l *lines) announce() {
	if l.silent != nil {
		l.say(fmt.Sprintf("► %-9s %s", l.silent.Name, l.silent.Text))
		l.silent = nil
	}
}

func (l *lines) Step(s rollback.Step, st rollback.StepState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.Outcome == rollback.StepStarted {
		l.began, l.silent = st.At, &s
		l.timer = time.AfterFunc(announceAfter, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.silent != nil && l.silent.Name == s.Name {
				l.announce()
			}
		})
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	text := ""
	if l.silent != nil {
		text, l.silent = s.Text, nil
	}
	l.say(ended(l.p, s, st, text, l.began))
}

// ended is the line that closes a step. text is the step's own, where no line has said it yet.
func ended(p *printer, s rollback.Step, st rollback.StepState, text string, began time.Time) string {
	mark, words := p.green("✔"), []string{}
	if text != "" {
		words = append(words, text)
	}
	switch st.Outcome {
	case rollback.StepAlready:
		words = append(words, "already so")
	case rollback.StepPending:
		mark = p.yellow("◎")
		words = append(words, "pending")
	case rollback.StepFailed:
		mark = p.red("✗")
		end := "failed"
		if st.Detail == rollback.ErrInterrupted.Error() {
			end = st.Detail
		}
		words = append(words, end)
	default:
		if text == "" && st.Detail == "" {
			words = append(words, "done")
		}
	}
	if st.Detail != "" && st.Outcome != rollback.StepFailed { // a failure is explained at the end
		words = append(words, st.Detail)
	}
	line := fmt.Sprintf("%s %-9s %s", mark, s.Name, strings.Join(words, ": "))
	if d := st.At.Sub(began); !began.IsZero() && d >= 100*time.Millisecond {
		line += p.dim(fmt.Sprintf("  %.1fs", d.Seconds()))
	}
	return line
}

func (l *lines) Progress(list []rollback.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said := false
	for _, p := range list {
		if p.Note == "" || l.notes[p.Workload] == p.Note {
			continue
		}
		l.announce()
		l.notes[p.Workload] = p.Note
		l.say(fmt.Sprintf("◎ %s: %s", p.Workload, p.Note))
		said = true
	}
	if said || time.Since(l.spoke) < heartbeatEvery {
		return
	}
	var parts []string
	for _, p := range list {
		part := fmt.Sprintf("%s %d of %d ready", p.Workload, p.Ready, p.Desired)
		if left := settling(p); left != "" {
			part += ", " + left
		}
		parts = append(parts, part)
	}
	l.say("◎ still waiting: " + strings.Join(parts, ", "))
}

// settling is how long the pods still have to stay ready, "" where that is not what is waited for.
func settling(p rollback.Progress) string {
	left := time.Until(p.Until)
	if p.Until.IsZero() || left < time.Second {
		return ""
	}
	return "to stay so for " + rollback.Span(left)
}

func (l *lines) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.announce()
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
		l.began = st.At
		l.say(clip(fmt.Sprintf("► %-9s %s", s.Name, s.Text), l.width()))
		l.fresh = true
		return
	}
	text := ""
	if l.fresh { // the line that announced the step becomes the line that closes it
		fmt.Fprint(l.p.w, "\x1b[1A\x1b[2K")
		text, l.fresh = s.Text, false
	}
	l.say(ended(l.p, s, st, text, l.began))
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
	counts := fmt.Sprintf("%d/%d", p.Ready, p.Desired)
	width := max(l.width(), 20) - 1 // the last column is left free: some terminals wrap there
	longest = min(longest, max(width/2-4, 4))
	size := min(24, max(width-longest-len(counts)-4, 1))
	total := max(p.Desired, 1)
	ready := size * min(p.Ready, total) / total
	coming := size * min(p.New, total) / total
	bar := strings.Repeat("█", ready) + strings.Repeat("▒", max(0, coming-ready)) + strings.Repeat("·", size-max(ready, coming))
	name := p.Workload.String()
	if len(name) > longest {
		name = name[:longest-1] + "…"
	}
	line := fmt.Sprintf("  %-*s %s %s", longest, name, l.p.green(bar), counts)
	note := p.Note
	if note == "" {
		note = settling(p)
	}
	if room := width - longest - size - len(counts) - 6; room >= 8 && note != "" {
		line += "  " + l.p.dim(clip(note, room))
	}
	return line
}

// wipe takes the bars off the screen, and a ^C that the terminal has echoed behind them.
func (l *live) wipe() {
	if l.drawn > 0 {
		fmt.Fprintf(l.p.w, "\x1b[%dA", l.drawn)
		l.drawn = 0
	}
	fmt.Fprint(l.p.w, "\r\x1b[J")
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
