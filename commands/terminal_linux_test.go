package commands

import (
	"cmp"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// terminal is a pseudo terminal: the person's end of it.
type terminal struct {
	t      *testing.T
	master *os.File
	screen lockedBuffer // everything the program wrote to it
	read   chan struct{}
}

// newTerminal opens a terminal of so many columns and returns it with the program's end
// (https://man7.org/linux/man-pages/man7/pty.7.html).
func newTerminal(t *testing.T, columns uint16) (*terminal, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	raw, err := master.SyscallConn() // Fd would make reads block, and a close wait for the one that is on its way
	must(t, err)
	var number int
	must(t, raw.Control(func(fd uintptr) {
		must(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		must(t, err)
		must(t, unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: columns}))
	}))
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return &terminal{t: t, master: master, read: make(chan struct{})}, slave
}

// sit starts the program on a terminal, standard output in a file as `rollback … | tee` has it.
func (n *night) sit(c call) (*terminal, *process) {
	n.t.Helper()
	return sit(n.t, n.Env(os.Environ()), n.Dir, c)
}

func sit(t *testing.T, env []string, dir string, c call) (*terminal, *process) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return at(t, exec.Command(self, c.args...), env, dir, c)
}

// at starts a command on a terminal of its own.
func at(t *testing.T, cmd *exec.Cmd, env []string, dir string, c call) (*terminal, *process) {
	t.Helper()
	term, slave := newTerminal(t, cmp.Or(c.columns, 100))
	p := &process{Cmd: cmd, t: t, args: c.args, ended: make(chan struct{})}
	p.Env = append(append(slices.Clone(env), asProgram+"=1", "TZ=UTC", "TERM=xterm"), c.env...)
	p.Dir = dir
	p.Stdin, p.Stdout, p.Stderr = slave, &p.stdout, slave
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	_, err := term.master.WriteString(c.early)
	must(t, err)
	must(t, p.Start())
	_ = slave.Close()
	go func() {
		defer close(term.read)
		_, _ = io.Copy(&term.screen, term.master) // ends with EIO when the program has ended
	}()
	go func() {
		_ = p.Cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = p.Process.Kill()
			<-p.ended
		}
		_ = term.master.Close()
	})
	return term, p
}

// types answers a question, once it is on the screen.
func (term *terminal) types(question, answer string) {
	term.t.Helper()
	until(term.t, "the question "+question, func() bool { return strings.Contains(term.screen.String(), question) })
	_, err := term.master.WriteString(answer)
	must(term.t, err)
}

// end waits for the program and gives what was on the screen as its standard error.
func (term *terminal) end(p *process) result {
	term.t.Helper()
	r := p.wait()
	select {
	case <-term.read:
	case <-time.After(longest):
		term.t.Fatal("the terminal does not end")
	}
	r.stderr = strings.ReplaceAll(term.screen.String(), "\r\n", "\n")
	remember(term.t, r)
	return r
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	withReason := scoped("run", "--reason", "amounts")
	for _, c := range []struct {
		name      string
		confirm   bool
		args      []string
		env       []string
		dialogue  []string // question, answer, …
		code      rollback.Exit
		says, not []string
	}{
		{name: "the service's name", confirm: true, args: withReason, dialogue: []string{"Type payments to go on: payments/prod ", "payments\n"},
			says: []string{"\x1b[32m✔ ", "█", "\x1b[1A", "production: proven"}},
		{name: "the service's name, in spite of --yes", confirm: true, args: append(withReason, "--yes"), dialogue: []string{"Type payments", "payments\n"}},
		{name: "not the service's name, in spite of --yes", confirm: true, args: append(withReason, "--yes"), dialogue: []string{"Type payments", "y\n"}, code: rollback.Refused, says: []string{"not confirmed"}},
		{name: "confirm switched off for this once", confirm: true, args: append(withReason, "--yes", "--confirm=false"), not: []string{"Type payments"}},
		{name: "blanks around it", confirm: true, args: withReason, dialogue: []string{"Type payments to go on: payments/prod ", " payments \n"}},
		{name: "another name", confirm: true, args: withReason, dialogue: []string{"Type payments", "web\n"}, code: rollback.Refused, says: []string{"not confirmed", "production: not changed"}},
		{name: "yes in place of the name", confirm: true, args: withReason, dialogue: []string{"Type payments", "yes\n"}, code: rollback.Refused, says: []string{"not confirmed"}},
		{name: "end of input", confirm: true, args: withReason, dialogue: []string{"Type payments", "\x04"}, code: rollback.Refused, says: []string{", restarts 5 pods: \n", "not confirmed", "production: not changed"}},
		{name: "end of input at the reason", args: scoped("run"), dialogue: []string{"Reason, for the record: ", "\x04"}, code: rollback.Refused, says: []string{"record: \n", "no answer", "production: not changed"}},
		{name: "^C at the reason", args: scoped("run"), dialogue: []string{"Reason, for the record: ", "\x03"}, code: rollback.Refused, says: []string{"record: ^C\n", "no answer", "production: not changed"}},
		{name: "^C at the question", confirm: true, args: withReason, dialogue: []string{"Type payments", "\x03"}, code: rollback.Refused, says: []string{"not confirmed", "production: not changed"}},
		{name: "yes", args: withReason, dialogue: []string{"? [y/N] ", "YES\n"}},
		{name: "enter", args: withReason, dialogue: []string{"[y/N] ", "\n"}, code: rollback.Refused, says: []string{"not confirmed"}},
		{name: "the reason is asked for", args: scoped("run"), dialogue: []string{"Reason, for the record: ", "\n", "record: Reason, for the record: ", "amounts\n", "[y/N] ", "y\n"}, says: []string{"record: \nIt cannot be left out: ", "reason    amounts"}},
		{name: "no colours", args: withReason, env: []string{"NO_COLOR=1"}, dialogue: []string{"[y/N] ", "y\n"}, not: []string{"\x1b[32m", "\x1b[1m", "\x1b[2m"}},
		{name: "a dumb terminal is none", args: withReason, env: []string{"TERM=dumb"}, code: rollback.Usage, says: []string{"there is no terminal to ask on"}, not: []string{"\x1b"}},
		{name: "an unsafe plan is not asked about", args: scoped("undo", "--reason", "x"), code: rollback.Refused, not: []string{"[y/N]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Confirm: c.confirm, Pace: 40 * time.Millisecond})
			term, p := n.sit(call{args: c.args, env: c.env})
			for d := c.dialogue; len(d) > 0; d = d[2:] {
				question := d[0]
				if i := strings.Index(question, "record: Reason"); i >= 0 { // asked a second time
					until(t, "the second question", func() bool { return strings.Count(term.screen.String(), "Reason, for the record: ") > 1 })
					question = "Reason, for the record: "
				}
				term.types(question, d[1])
			}
			r := term.end(p).wantExit(t, c.code)
			r.wantText(t, c.says...)
			for _, s := range c.not {
				if strings.Contains(r.stderr, s) {
					t.Errorf("%q is on the screen:\n%s", s, r)
				}
			}
			if strings.Contains(r.stdout, "\x1b") {
				t.Errorf("colours in a file: %q", r.stdout)
			}
			if c.code == rollback.Done {
				n.wantState(n.clean())
				if r.stdout != n.good().Digest+"\n" {
					t.Errorf("standard output is %q", r.stdout)
				}
				return
			}
			n.wantNothingWritten()
			n.wantState(n.untouched())
		})
	}
}

// On a small terminal no word of a plan is broken, what follows stands below what it belongs to, and the question says what is
// agreed to.
func TestPlanFits(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Confirm: true})
	for _, c := range []struct{ args, says []string }{
		{scoped("run", "--reason", "amounts"), []string{
			"\nType payments to go on: payments/prod " + n.bad().Commit[:7] + " → " + n.good().Commit[:7] + ", undoes 1, restarts 5 pods: ",
			"\n  steps     1. claim     lock payments/prod and write down what will be done\n                         (ConfigMap rollback-payments in prod)\n",
			"\n  · info   cronjob/payments-report runs the target from its next start on\n           (schedule 0 6 * * *) [bystander]\n",
		}},
		{scoped("retag", "--to", n.Releases[1].Commit, "--reason", "amounts"), []string{"payments/prod " + n.bad().Commit[:7] + " → " + n.Releases[1].Commit[:7] + ", the tag only: "}},
		{scoped("restart", "--reason", "amounts"), []string{"payments/prod " + n.bad().Commit[:7] + ", restarts 5 pods: "}},
	} {
		term, p := n.sit(call{args: c.args, columns: 80})
		term.types("Type payments to go on: ", "\n")
		r := term.end(p).wantExit(t, rollback.Refused)
		r.stderr = uncoloured(r.stderr)
		r.wantText(t, c.says...)
		for _, l := range strings.Split(r.stderr, "\n") {
			if utf8.RuneCountInString(l) > 80 && !strings.Contains(l, "→ ") { // what is there to be typed is left in one line
				t.Errorf("%q is longer than the terminal is wide", l)
			}
		}
	}
}

// Standard output that is a file has no colours, whoever sits in front of the rest.
func TestPlanIntoFile(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	term, p := n.sit(call{args: scoped("plan"), columns: 60})
	r := term.end(p).wantExit(t, 0)
	if strings.Contains(r.stdout, "\x1b") || !strings.Contains(r.stdout, "write down what will be done (ConfigMap rollback-payments in prod)\n") {
		t.Errorf("coloured, or broken to the width of a terminal that it is not written to:\n%s", r.stdout)
	}
}

// What was typed before a question is on the screen does not answer it.
func TestTypedTooEarly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		confirm  bool
		args     []string
		early    string
		question string
	}{
		{name: "yes", args: scoped("run", "--reason", "amounts"), early: "y\n", question: "[y/N] "},
		{name: "more than once, and half a line", args: scoped("run", "--reason", "amounts"), early: "y\ny\ny", question: "[y/N] "},
		{name: "the service's name", confirm: true, args: scoped("run", "--reason", "amounts"), early: "payments\n", question: "Type payments"},
		{name: "a reason", args: scoped("run"), early: "amounts\n", question: "Reason, for the record: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Confirm: c.confirm})
			term, p := n.sit(call{args: c.args, early: c.early})
			term.types(c.question, "\x04")
			r := term.end(p).wantExit(t, rollback.Refused)
			if strings.Count(r.stderr, c.question) != 1 {
				t.Errorf("not asked once:\n%s", r)
			}
			n.wantNothingWritten()
		})
	}
	t.Run("for a build", func(t *testing.T) {
		t.Parallel()
		k := newCI(t, asksFor(nil, approval))
		term, p := sit(t, k.env, k.dir, call{args: theTrigger(), early: "y\n"})
		term.types("Approve? ", "n\n")
		term.end(p).wantExit(t, rollback.Refused).wantText(t, "turned down")
	})
}

// ^C in the middle of a run ends it in good order; the same command goes on.
func TestInterruptedByHand(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Pace: time.Second})
	term, p := n.sit(call{args: theRun()})
	term.types("► rollout", "\x03")
	r := term.end(p).wantExit(t, rollback.Unverified)
	if i := strings.Index(uncoloured(r.stderr), "✗ rollout"); i < 0 || !strings.Contains(strings.SplitN(uncoloured(r.stderr)[i:], "\n", 2)[0], "serve: interrupted") {
		t.Errorf("a step that was interrupted is said to have failed:\n%s", r)
	}
	r.wantText(t, "interrupted", "production: changed, not verified", "the same command goes on where this one stopped: rollback run --service payments --environment prod --yes --to "+n.good().Digest)
	// The terminal has echoed ^C where the cursor was: what is drawn after it begins in the first column all the same.
	if i := strings.LastIndex(r.stderr, "^C"); i < 0 || !strings.HasPrefix(r.stderr[i:], "^C\r\x1b[") && !strings.HasPrefix(r.stderr[i:], "^C\x1b[2A\r\x1b[J") {
		t.Errorf("drawn beside the echo of ^C: %q", r.stderr[max(i, 0):])
	}
	if s := n.state(); s.Locked || s.State != rollback.Interrupted {
		t.Errorf("%+v", s)
	}
	n.Cluster.SetDelays(quick)
	n.finish(r)
}

// A terminal that is closed ends a run in good order, too.
func TestHangup(t *testing.T) {
	t.Parallel()
	hangups(t)
	n := newNight(t, demo.Options{Pace: 2 * time.Second})
	term, p := n.sit(call{args: theRun()})
	until(t, "the rollout", func() bool { return strings.Contains(term.screen.String(), "► rollout") })
	must(t, term.master.Close())
	r := p.wait().wantExit(t, rollback.Unverified)
	if s := n.state(); s.Locked || s.State != rollback.Interrupted {
		t.Errorf("%+v", s)
	}
	n.Cluster.SetDelays(quick)
	n.finish(r)
}

// So does one that is closed with a shell between it and the program, which passes the hangup on before the kernel repeats it.
func TestHangupUnderShell(t *testing.T) {
	t.Parallel()
	hangups(t)
	n := newNight(t, demo.Options{Pace: 2 * time.Second})
	self, err := os.Executable()
	must(t, err)
	term, shell := at(t, exec.Command("sh", "-i"), n.Env(os.Environ()), n.Dir, call{env: []string{"PS1=ready> ", "ENV="}})
	line := shellQuote(self)
	for _, a := range theRun() {
		line += " " + shellQuote(a)
	}
	term.types("ready> ", line+"\n")
	until(t, "the rollout", func() bool { return strings.Contains(term.screen.String(), "► rollout") })
	must(t, term.master.Close())
	shell.wait()
	until(t, "the end of the run", func() bool {
		s := n.state()
		return !s.Locked && s.State == rollback.Interrupted
	})
	until(t, "the end of its journal", func() bool {
		events := n.journal()[0]
		return events[len(events)-1].Type == "run.finished"
	})
}

// Nothing that is drawn on the terminal is wider than it, so that what is drawn over is what was drawn.
func TestBarsFit(t *testing.T) {
	t.Parallel()
	for _, columns := range []uint16{100, 40} {
		t.Run(strconv.Itoa(int(columns)), func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Pace: 40 * time.Millisecond})
			term, p := n.sit(call{args: theRun(), columns: columns})
			r := term.end(p).wantExit(t, 0)
			bars := slices.DeleteFunc(strings.Split(r.stderr, "\n"), func(l string) bool { return !strings.ContainsAny(l, "█▒") && !strings.Contains(l, "···") })
			if len(bars) == 0 {
				t.Errorf("no bars on the screen\n%s", r)
			}
			for _, l := range bars {
				if width := len([]rune(strings.TrimLeft(uncoloured(l), "\r"))); width >= int(columns) {
					t.Errorf("%d columns: %q", width, l)
				}
				if !strings.Contains(l, "/3") && !strings.Contains(l, "/2") {
					t.Errorf("how many pods is not told: %q", l)
				}
			}
		})
	}
}

// While the pods only have to stay ready, a bar and a build log say for how long yet.
func TestSettling(t *testing.T) {
	t.Parallel()
	var bars, log strings.Builder
	list := []rollback.Progress{{Workload: rollback.Ref{Kind: "Deployment", Name: "payments"}, Ready: 3, New: 3, Desired: 3, Done: true, Until: time.Now().Add(time.Hour)}}
	plain := func(s string) string { return s }
	newLive(&printer{w: &bars, redact: plain}, func() int { return 80 }).Progress(list)
	l := newLines(&printer{w: &log, redact: plain})
	l.spoke = time.Now().Add(-time.Hour)
	l.Progress(list)
	for _, text := range []string{bars.String(), log.String()} {
		if !strings.Contains(text, "to stay so for 59m") {
			t.Errorf("%q", text)
		}
	}
	list[0].Until = time.Now()
	if left := settling(list[0]); left != "" {
		t.Errorf("%q, and it is over", left)
	}
}

// A bar fits whatever the width, the names and the notes.
func TestBarWidth(t *testing.T) {
	t.Parallel()
	long := rollback.Progress{Workload: rollback.Ref{Kind: "StatefulSet", Name: strings.Repeat("n", 60)}, Ready: 1, New: 20, Desired: 300, Note: strings.Repeat("ü", 90)}
	for columns := 20; columns < 250; columns++ {
		l := newLive(&printer{}, func() int { return columns })
		line := l.bar(long, 40)
		if width := len([]rune(line)); width >= columns || !strings.Contains(line, "1/300") || strings.Contains(line, "�") {
			t.Errorf("%d columns of %d: %q", width, columns, line)
		}
	}
}

// Before the first write of jobs a person is asked, and sees what would be written.
func TestJobsTerminal(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.Jenkins.Remove(demo.RollbackJob)
	args := []string{"jobs", "apply", "--service", "payments", "--environment", "prod"}
	for _, answer := range []string{"\n", "n\n", "\x04", "\x03"} {
		term, p := n.sit(call{args: args})
		term.types("Create 1 on "+n.JenkinsURL+"? [y/N] ", answer)
		term.end(p).wantExit(t, rollback.Refused).wantText(t, "create  rollback/prod/payments", "not confirmed", "production: not changed")
	}
	if n.Jenkins.Count("POST *") > 0 {
		t.Error("written, and nobody agreed")
	}
	term, p := n.sit(call{args: args})
	term.types("[y/N] ", "y\n")
	term.end(p).wantExit(t, 0).wantText(t, "created  rollback/prod/payments", "1 created")
	term, p = n.sit(call{args: args}) // nothing to do: nothing to ask
	term.end(p).wantExit(t, 0).wantText(t, "1 up to date")
}
