package commands

// trigger while the build runs: one loop over what Jenkins shows, what is typed, signals, and what came of answers.

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

const (
	// silence is how long Jenkins may say nothing before that is told.
	silence = 15 * time.Second
	// lastLines is how long the log is waited for by somebody who was asked to end.
	lastLines = 2 * time.Second
	// tries is how often --approve sends an approval that was not heard, as far as the list of open inputs tells.
	tries = 3
)

// follower is one build on its way to its end, and the person who watches it. Everything happens in one loop: what Jenkins
// shows, what is typed, signals, and what came of answers.
type follower struct {
	*trigger
	ctx   context.Context
	build rollback.Build

	lines    chan string // what is typed; nil until somebody was asked
	deaf     bool        // nobody types any more
	question *question
	settled  map[string]bool // inputs that need nothing more from here
	attempts map[string]int
	posted   chan posted
	sending  string // the input that an answer is on its way to

	announced bool
	why       string // what the queue waits for
	seen      time.Time
	lost      bool
	named     bool // the build's questions have our scope in their names
	blind     bool // it was said that inputs cannot be seen
	waiting   bool // at one of our inputs; no more once the log has its approval
	open      bool // one of our inputs was open when last looked at
	stopping  bool
	stopped   chan error
	quit      string // why to leave, "" while there is no reason
}

// question is what a person is asked. take gets a line, and tells whether that was the answer.
type question struct {
	input string // its input; "" for one of our own
	take  func(line string) bool
}

// posted is what came of an answer.
type posted struct {
	input   jenkins.Input
	no      bool // it was turned down
	already bool
	err     error
}

// follow sees a build through. It ends with the build, or when somebody wants to leave.
func (t *trigger) follow(b rollback.Build) error {
	ctx, cancel := context.WithCancel(context.Background()) // the program's own ends with the first ^C
	defer cancel()
	f := &follower{trigger: t, ctx: ctx, build: b, settled: map[string]bool{}, attempts: map[string]int{},
		posted: make(chan posted, 1), stopped: make(chan error, 1), seen: time.Now()}
	type end struct {
		b   rollback.Build
		err error
	}
	type look struct {
		jenkins.Sight
		told chan struct{} // closed when it was: the log comes after what it belongs to
	}
	sights, ended := make(chan look), make(chan end, 1)
	log := &buildLog{screen: t.screen}
	go func() {
		b, err := t.ctl.Watch(ctx, b, log, t.ids(), func(s jenkins.Sight) {
			l := look{s, make(chan struct{})}
			select {
			case sights <- l:
				<-l.told
			case <-ctx.Done():
			}
		})
		log.flush()
		ended <- end{b, err}
	}()
	f.news(b)
	tick := time.NewTicker(silence / 3)
	defer tick.Stop()
	for f.quit == "" {
		select {
		case s := <-sights:
			if log.approved() {
				f.waiting = false
			}
			f.sight(s.Sight)
			close(s.told)
		case e := <-ended:
			if log.approved() {
				f.waiting = false
			}
			t.screen.settle()
			if f.question != nil && f.question.input != "" && e.b.Over() {
				t.screen.line("◎ the question was settled in Jenkins")
			}
			f.news(e.b)
			if !e.b.Over() {
				return t.gone(e.b, e.err)
			}
			if e.err != nil {
				t.screen.line("! the rest of the log could not be read: " + e.err.Error())
			}
			return t.finish(ctx, e.b, f.waiting && e.err == nil) // a log that ends early may lack the approval
		case line, ok := <-f.lines:
			f.typed(line, ok)
		case p := <-f.posted:
			f.came(p)
		case err := <-f.stopped:
			if f.stopping = err == nil; err != nil {
				t.screen.line("! it could not be aborted: " + err.Error())
			}
		case <-tick.C:
			if time.Since(f.seen) > silence && !f.lost {
				f.lost = true
				t.screen.line("! Jenkins does not answer; the build goes on without it. Still trying")
			}
		case sig := <-t.signals:
			f.signalled(sig)
		}
	}
	cancel()
	select { // a line that is on its way is still shown
	case <-ended:
	case <-time.After(lastLines):
	}
	t.screen.settle()
	left := t.left(f.build, f.quit, f.open && !f.lost)
	if err := t.print(f.build, nil, left); err != nil {
		return err
	}
	return left
}

// news tells what is new about the build itself.
func (f *follower) news(b rollback.Build) {
	f.build = b
	switch {
	case b.State == rollback.BuildQueued && b.Why != f.why:
		f.why = b.Why
		f.screen.line("◎ " + b.String() + " waits: " + b.Why)
	case b.Number > 0 && !f.announced:
		f.announced = true
		f.screen.line("► " + b.String() + "  " + b.URL)
	}
	if b.Number > 0 && f.note.Build.Number != b.Number {
		f.writeNote(b)
	}
	f.tellURL(b)
}

// sight is what one look has seen.
func (f *follower) sight(s jenkins.Sight) {
	switch {
	case s.Lost != nil && !f.lost:
		f.lost = true
		f.screen.line("! " + s.Lost.Error() + ". The build goes on without Jenkins' answers; still trying")
	case s.Lost == nil:
		if f.lost {
			f.screen.line("◎ Jenkins answers again")
		}
		f.lost, f.seen = false, time.Now()
	}
	f.news(s.Build)
	if s.Unseen != nil && !f.blind {
		f.blind = true
		f.screen.line("! " + s.Unseen.Error() + ". Whether the build asks something is seen in Jenkins only: " + s.Build.URL)
	}
	if !s.Asked {
		return
	}
	pending := func(id string) bool {
		return slices.ContainsFunc(s.Inputs, func(in jenkins.Input) bool { return in.ID == id })
	}
	for id := range f.settled {
		if !pending(id) {
			delete(f.settled, id)
		}
	}
	if q := f.question; q != nil && q.input != "" && !pending(q.input) {
		f.question = nil
		f.screen.settle()
		f.screen.line("◎ the question was settled in Jenkins")
	}
	for _, in := range s.Inputs {
		f.named = f.named || slices.Contains(f.ids(), in.ID) && in.ID != choosing && in.ID != approving
	}
	f.open = false
	for _, in := range s.Inputs {
		// A stage may ask under any name that begins with Rollback; where one of them has our scope in it, the others are
		// those of other services.
		our := strings.HasPrefix(in.ID, ours) && (!f.named || slices.Contains(f.ids(), in.ID))
		if our {
			f.waiting, f.open = true, true
		}
		if f.settled[in.ID] || f.question != nil || f.sending != "" || f.stopping {
			continue
		}
		if !our {
			f.settled[in.ID] = true
			f.screen.line("◎ the build asks something that has nothing to do with this rollback: " + strings.TrimSpace(in.Message) + "  " + in.URL)
			continue
		}
		f.input(in)
	}
}

// input does what can be done here about an input of ours.
func (f *follower) input(in jenkins.Input) {
	unknown := in.Unlisted && strings.HasPrefix(in.ID, choosing) // what it offers only Jenkins knows
	switch {
	case len(in.Parameters) == 0 && !unknown && f.approve:
		f.screen.line("◎ approving it (--approve)")
		f.attempts[in.ID]++
		f.answer(in, nil)
	case f.e.Terminal && !f.deaf && !unknown:
		f.ask(in)
	default:
		f.settled[in.ID] = true
		what := "waits for its approval"
		if len(in.Parameters) > 0 || unknown {
			what = "waits for a choice"
		}
		f.screen.line("◎ the build " + what + ", in Jenkins: " + in.URL)
	}
}

// answer sends an answer; came gets what becomes of it.
func (f *follower) answer(in jenkins.Input, values map[string]string) {
	f.sending = in.ID
	go func() {
		already, err := f.ctl.Answer(f.ctx, f.build, in, values)
		f.posted <- posted{input: in, already: already, err: err}
	}()
}

// turnDown says no to an input, which ends the build.
func (f *follower) turnDown(in jenkins.Input) {
	f.sending = in.ID
	go func() {
		already, err := f.ctl.AbortInput(f.ctx, f.build, in)
		f.posted <- posted{input: in, no: true, already: already, err: err}
	}()
}

func (f *follower) came(p posted) {
	f.sending = ""
	f.settled[p.input.ID] = true
	switch {
	case p.err == nil && p.already:
		f.screen.line("◎ somebody else was first")
	case p.err == nil && p.no:
		f.screen.line("◎ turned down; the build ends")
	case p.err == nil:
		f.screen.line("◎ answered")
	default:
		f.screen.line("! the answer did not get through: " + p.err.Error())
		switch kind := rollback.KindOf(p.err); {
		case kind == rollback.Denied || kind == rollback.Expired || kind == rollback.Rejected || f.approve && f.attempts[p.input.ID] >= tries:
			if fix := rollback.FixOf(p.err); fix != "" {
				f.screen.line("  next: " + fix)
			}
			f.screen.line("◎ the build waits in Jenkins: " + p.input.URL)
		default:
			f.settled[p.input.ID] = false // it was looked for and is still open: it is asked again, and whichever answer comes first counts
		}
	}
}

// signalled is ^C, or the order to end. The build is never aborted without being told to.
func (f *follower) signalled(sig os.Signal) {
	switch {
	case sig != os.Interrupt:
		f.quit = "told to end"
	case !f.e.Terminal || f.deaf:
		f.quit = "interrupted"
	case f.stopping:
		f.quit = "interrupted while the build was being aborted"
	case f.question != nil && f.question.input == "":
		f.quit = "left alone"
	default:
		f.screen.settle()
		f.put(&question{take: func(line string) bool {
			if !yes(line) {
				f.quit = "left alone"
				return true
			}
			f.stopping = true
			f.screen.line("◎ aborting it; waiting for its end and its record")
			go func() {
				_, err := f.ctl.Stop(f.ctx, f.build)
				f.stopped <- err
			}()
			return true
		}}, "Abort the build too? [y/N] ")
	}
}

func yes(line string) bool { return strings.EqualFold(line, "y") || strings.EqualFold(line, "yes") }
