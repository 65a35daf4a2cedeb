package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// sit starts the program on a terminal.
func (k *ci) sit(env []string, args ...string) (*terminal, *process) {
	k.t.Helper()
	return sit(k.t, k.env, k.dir, call{args: args, env: env})
}

// What the build asks is asked on the terminal, and answered in Jenkins as it was typed.
func TestTriggerOnATerminal(t *testing.T) {
	t.Parallel()
	both := []jenkins.Input{choice, approval}
	safe := theTrigger("--config", "confirm.yaml")
	several := jenkins.Input{ID: "RollbackMore", Message: "More?\nTell.", Parameters: []jenkins.Parameter{{Kind: "Boolean", Name: "LOUD"}, {Kind: "String", Name: "NOTE", Default: "none"}, choice.Parameters[0]}}
	const first = "Type payments to start the rollback of payments/prod: "
	const no, name, number = "Approve? No ends the build. [y/N] ", "Type payments to approve; anything else ends the build: ", "Number [1-2]: "
	for _, c := range []struct {
		name      string
		inputs    []jenkins.Input
		args      []string
		env       []string
		dialogue  []string // question, answer, …
		code      rollback.Exit
		got       []string
		says, not []string
	}{
		{name: "yes", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "y\n"}, got: []string{"map[BY:rollback]"}, says: []string{"Roll back payments to a57fbe7?", "◎ answered", "\x1b[32m✔ "}, not: []string{"  Roll back payments to a57fbe7?"}},
		{name: "no", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "n\n"}, code: rollback.Refused, says: []string{"turned down", "ended ABORTED at its question, before anything was run", "production: not changed"}},
		{name: "enter", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "\n"}, code: rollback.Refused},
		{name: "the service's name", inputs: both[1:], args: safe, dialogue: []string{first, "payments\n", name, "payments\n"}, got: []string{"map[BY:rollback]"}},
		{name: "yes in place of the name", inputs: both[1:], args: safe, dialogue: []string{first, "payments\n", name, "yes\n"}, code: rollback.Refused},
		{name: "--yes in place of the name", inputs: both[1:], args: append(safe, "--yes"), dialogue: []string{first, "payments\n", name, "payments\n"}, got: []string{"map[BY:rollback]"}},
		{name: "a number", inputs: both, args: theTrigger(), dialogue: []string{number, "2\n", no, "yes\n"}, got: []string{"map[ROLLBACK_TO:3c5d9a2  Codes (bob) #2]", "map[BY:rollback]"},
			says: []string{"  Where to?", "   1  a57fbe7  Rates (alice) #3", "   2  3c5d9a2  Codes (bob) #2"}},
		{name: "numbers that are none", inputs: both[:1], args: theTrigger(), dialogue: []string{number, "0\n", number + "0\r\n" + number, "3\n", number + "3\r\n" + number, "\n", number + "\r\n" + number, "1\n"}, got: []string{"map[ROLLBACK_TO:a57fbe7  Rates (alice) #3]"}},
		{name: "only the choice is left to ask", inputs: both, args: theTrigger("--approve"), dialogue: []string{number, "1\n"}, got: []string{"map[ROLLBACK_TO:a57fbe7  Rates (alice) #3]", "map[BY:rollback]"}, not: []string{no}},
		{name: "several", inputs: []jenkins.Input{several}, args: theTrigger(), dialogue: []string{"LOUD [y/N] ", "y\n", "NOTE [none]: ", "\n", number, "1\n"}, got: []string{"map[LOUD:true NOTE:none ROLLBACK_TO:a57fbe7  Rates (alice) #3]"}, says: []string{"  More?\n  Tell.\n"}},
		{name: "^C, and no", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "\x03", "Abort the build too? [y/N] ", "n\n"}, code: rollback.Pending, says: []string{"left alone", "goes on in Jenkins", "production: not changed yet: the build waits for an answer", "follow it again: rollback trigger"}},
		{name: "^C twice", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "\x03", "Abort the build too? [y/N] ", "\x03"}, code: rollback.Pending, says: []string{"left alone"}},
		{name: "^C, and end of input", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "\x03", "Abort the build too? [y/N] ", "\x04"}, code: rollback.Pending, says: []string{"left alone"}},
		{name: "^C, and yes", inputs: both[1:], args: theTrigger(), dialogue: []string{no, "\x03", "Abort the build too? [y/N] ", "y\n"}, code: rollback.Refused, says: []string{"aborting it", "Aborted by rollback", "before anything was run", "next: rollback status"}},
		{name: "the reason is asked for", inputs: both[1:], args: scoped("trigger"), dialogue: []string{"Reason, for the record: ", "late\n", no, "y\n"}, got: []string{"map[BY:rollback]"}},
		{name: "no colours", inputs: both[1:], args: theTrigger(), env: []string{"NO_COLOR=1"}, dialogue: []string{no, "y\n"}, got: []string{"map[BY:rollback]"}, not: []string{"\x1b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 8)
			k := newCI(t, asksFor(got, c.inputs...))
			term, p := k.sit(c.env, c.args...)
			for d := c.dialogue; len(d) > 0; d = d[2:] {
				term.types(d[0], d[1])
			}
			r := term.end(p).wantExit(t, c.code).wantText(t, c.says...)
			for _, s := range c.not {
				if strings.Contains(r.stderr, s) {
					t.Errorf("%q is on the screen:\n%s", s, r)
				}
			}
			for _, want := range c.got {
				if text := <-got; text != want {
					t.Errorf("the step returned %s, want %s", text, want)
				}
			}
			if c.code == rollback.Pending {
				if b := k.asks(1); b.Result() != "" {
					t.Errorf("the build has ended %s", b.Result())
				}
			}
			if r.stdout != k.link(1)+"\n" {
				t.Errorf("standard output: %q", r.stdout)
			}
			k.wantBuilds(1)
		})
	}
}

// Where the environment has confirm, nothing is started before the service's name was typed, whatever the job asks later.
func TestTriggerUnconfirmed(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"y\n", "\n", "\x03", "\x04"} {
		k := newCI(t, leaves(0, "SUCCESS"))
		term, p := k.sit(nil, theTrigger("--config", "confirm.yaml")...)
		term.types("Type payments to start the rollback of payments/prod: ", keys)
		term.end(p).wantExit(t, rollback.Refused).wantText(t, "production: not changed")
		k.wantBuilds(0)
		if n := k.notes(); len(n) > 0 {
			t.Errorf("left %v", n)
		}
	}
}

// ^C where the reason is asked for ends it, with nothing started.
func TestTriggerWithoutReason(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"\x03", "\x04"} {
		k := newCI(t, leaves(0, "SUCCESS"))
		term, p := k.sit(nil, scoped("trigger")...)
		term.types("Reason, for the record: ", key)
		term.end(p).wantExit(t, rollback.Refused).wantText(t, "production: not changed")
		k.wantBuilds(0)
	}
}

// Somebody else answers in the browser while the question is on the screen.
func TestTriggerAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	k := newCI(t, asksFor(nil, approval))
	term, p := k.sit(nil, theTrigger()...)
	until(t, "the question", func() bool { return strings.Contains(term.screen.String(), "Approve? ") })
	k.answer(jenkins.UserName, jenkins.Token, "RollbackApprove", `{"parameter":[]}`)
	term.end(p).wantExit(t, 0).wantText(t, "the question was settled in Jenkins", "✔ ")
	if n := k.Count("POST abort"); n > 0 {
		t.Error("the closed question was answered with no")
	}
}

// The end of what can be typed leaves the build to others.
func TestTriggerEndOfInput(t *testing.T) {
	t.Parallel()
	k := newCI(t, asksFor(nil, approval))
	term, p := k.sit(nil, theTrigger()...)
	term.types("Approve? ", "\x04")
	until(t, "the link", func() bool { return strings.Contains(term.screen.String(), k.link(1)+"input/") })
	k.answer(jenkins.UserName, jenkins.Token, "RollbackApprove", `{"parameter":[]}`)
	term.end(p).wantExit(t, 0)
}

// An answer that is not heard is asked for again.
func TestTriggerAsksAgain(t *testing.T) {
	t.Parallel()
	k := newCI(t, asksFor(nil, approval))
	k.Inject(fake.Fault{Op: "POST submit", Status: 503, Times: 1})
	term, p := k.sit(nil, theTrigger()...)
	const question = "Approve? No ends the build. [y/N] "
	term.types(question, "y\n")
	until(t, "the second question", func() bool { return strings.Count(term.screen.String(), question) == 2 })
	_, err := term.master.WriteString("y\n")
	must(t, err)
	term.end(p).wantExit(t, 0).wantText(t, "the answer did not get through")
	k.wantBuilds(1)
}

// ^C and yes in the middle of the real program's work: it is told to end, leaves its record, and the exit code is its own.
func TestTriggerAborts(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true, Environ: append(os.Environ(), asProgram+"=1", "TZ=UTC")})
	n.Cluster.SetDelays(kube.Delays{Ready: longest})
	term, p := n.sit(call{args: theTrigger("--approve")})
	until(t, "the restart", func() bool {
		r := n.record()
		return r != nil && r.Lock != nil && n.generation("deployments", "payments") > n.generations["payments"]
	})
	term.types("── Run", "\x03")
	term.types("Abort the build too? [y/N] ", "y\n")
	r := term.end(p).wantExit(t, rollback.Unverified).wantText(t, "aborting it", "ended ABORTED: ", "production: changed, not verified", "next: rollback status --service payments")
	if r.stdout != n.BuildURL(n.Jenkins.Builds(demo.RollbackJob)[0])+"\n" {
		t.Errorf("standard output: %q", r.stdout)
	}
	if s := n.state(); s.Locked || s.State != rollback.Interrupted {
		t.Errorf("%+v", s)
	}
	b := n.Jenkins.Builds(demo.RollbackJob)[0]
	text, ok := b.Artifact(recordPath)
	kv, err := record.ParseResult([]byte(text))
	if !ok || err != nil || kv["exit"] != "4" {
		t.Errorf("record %q, %v", kv, err)
	}
	if left, _ := filepath.Glob(filepath.Join(n.Dir, "journals", "trigger-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
