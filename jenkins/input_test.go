package jenkins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

var (
	approve = jenkins.Input{ID: "rollbackApprove", Message: "Roll back payments?", OK: "Roll back", SubmitterParameter: "BY"}
	choose  = jenkins.Input{ID: "RollbackChoose", Message: "Where to?", Parameters: []jenkins.Parameter{
		{Kind: "Choice", Name: "ROLLBACK_TO", Choices: []string{"aaaaaaa  one", "bbbbbbb  two & three"}}, {Kind: "String", Name: "NOTE", Default: "x=1;y"}, {Kind: "Boolean", Name: "LOUD", Default: "true"}}}
)

// asking is a controller whose job web asks, one input after the other; what the steps returned comes out of got.
func asking(t *testing.T, inputs ...jenkins.Input) (*jenkins.Server, *Controller, rollback.Build, chan string) {
	t.Helper()
	s, c := world(t)
	got := make(chan string, len(inputs))
	s.AddJob(web, jenkins.Job{Script: func(ctx context.Context, b *jenkins.Build) string {
		for _, i := range inputs {
			b.Stage("ask " + i.ID)
			a, ok := b.Ask(ctx, i)
			got <- fmt.Sprint(ok, a.Values)
			if !ok {
				return ""
			}
		}
		return "SUCCESS"
	}})
	s.Push(web, string(good))
	asked(t, s, 1)
	b, err := c.Look(ctxFor(t), rollback.Build{Job: web, Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, b, got
}

// asked waits until the build asks its nth input.
func asked(t *testing.T, s *jenkins.Server, n int) {
	t.Helper()
	if err := s.Wait(ctxFor(t), func() bool {
		list := s.Builds(web)
		return len(list) == 1 && len(list[0].Pending()) == n
	}); err != nil {
		t.Fatal("it does not ask")
	}
}

func one(t *testing.T, c *Controller, b rollback.Build, known ...string) Input {
	t.Helper()
	list, err := c.Inputs(ctxFor(t), b, known...)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	return list[0]
}

func TestInputs(t *testing.T) {
	t.Parallel()
	s, c, b, got := asking(t, choose, approve)
	first, otherwise, loud := "aaaaaaa  one", "x=1;y", "true"
	link := publicRoot + "/job/deploy/job/web/1/input/"
	want := Input{ID: "RollbackChoose", Message: "Where to?", Proceed: "Proceed", URL: link, Parameters: []rollback.Parameter{
		{Name: "ROLLBACK_TO", Kind: rollback.ChoiceParameter, Type: "ChoiceParameterDefinition", Choices: []string{"aaaaaaa  one", "bbbbbbb  two & three"}, Default: &first},
		{Name: "NOTE", Kind: rollback.TextParameter, Type: "StringParameterDefinition", Default: &otherwise},
		{Name: "LOUD", Kind: rollback.BooleanParameter, Type: "BooleanParameterDefinition", Default: &loud}}}
	in := one(t, c, b)
	if d := cmp.Diff(want, in); d != "" {
		t.Error(d)
	}
	// Values that the step would not take are refused here; the rest is sent with its defaults.
	for _, wrong := range []map[string]string{{"ROLLBACK_TO": "ccccccc"}, {"LOUD": "yes"}, {"TO": "x"}} {
		if _, err := c.Answer(ctxFor(t), b, in, wrong); callError(t, err).Kind != rollback.Rejected {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	if n := s.Count("POST *"); n > 0 {
		t.Errorf("%d wrong answers were sent", n)
	}
	if already, err := c.Answer(ctxFor(t), b, in, map[string]string{"ROLLBACK_TO": "bbbbbbb  two & three"}); err != nil || already {
		t.Fatal(already, err)
	}
	if text := <-got; text != "true map[LOUD:true NOTE:x=1;y ROLLBACK_TO:bbbbbbb  two & three]" {
		t.Error(text)
	}
	asked(t, s, 1)
	if in = one(t, c, b); in.ID != "RollbackApprove" || in.Proceed != "Roll back" || len(in.Parameters) > 0 {
		t.Errorf("%+v", in)
	}
	if already, err := c.Answer(ctxFor(t), b, in, nil); err != nil || already {
		t.Fatal(already, err)
	}
	if text := <-got; text != "true map[BY:rollback]" {
		t.Error(text)
	}
	// A second answer, to what was answered by somebody else.
	for range 2 {
		if already, err := c.Answer(ctxFor(t), b, in, nil); err != nil || !already {
			t.Error(already, err)
		}
		if already, err := c.AbortInput(ctxFor(t), b, in); err != nil || !already {
			t.Error(already, err)
		}
	}
	if n := s.Count("POST proceedEmpty"); n > 0 {
		t.Error("proceedEmpty was used")
	}
}

// Without the plugin that lists inputs they are found by their ids, and answered all the same.
func TestInputsWithoutThePlugin(t *testing.T) {
	t.Parallel()
	s, c, b, got := asking(t, approve)
	s.RestAPI(false)
	in := one(t, c, b, "RollbackChoose", "RollbackApprove", "RollbackApprovePayments")
	if in.ID != "RollbackApprove" || !in.Unlisted || in.URL == "" {
		t.Errorf("%+v", in)
	}
	if n := s.Count("POST *"); n > 0 || len(s.Builds(web)[0].Pending()) != 1 {
		t.Error("the look has changed something")
	}
	if already, err := c.Answer(ctxFor(t), b, in, nil); err != nil || already {
		t.Fatal(already, err)
	}
	if text := <-got; text != "true map[BY:rollback]" {
		t.Error(text)
	}
	if list, err := c.Inputs(ctxFor(t), b, "RollbackApprove"); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAbortInput(t *testing.T) {
	t.Parallel()
	s, c, b, got := asking(t, approve)
	if already, err := c.AbortInput(ctxFor(t), b, one(t, c, b)); err != nil || already {
		t.Fatal(already, err)
	}
	if text := <-got; text != "false map[]" {
		t.Error(text)
	}
	if err := s.Wait(ctxFor(t), func() bool { return s.Builds(web)[0].Result() == "ABORTED" }); err != nil {
		t.Error(err)
	}
}

func TestInputOfOthers(t *testing.T) {
	t.Parallel()
	closed := approve
	closed.Submitters = []string{"alice"}
	s, c, b, _ := asking(t, closed)
	_, err := c.Answer(ctxFor(t), b, one(t, c, b), nil)
	if f := callError(t, err); f.Kind != rollback.Denied || f.Maybe || !strings.Contains(f.Fix, "other submitters") || !strings.Contains(f.Fix, "/1/input/") {
		t.Errorf("%+v", f)
	}
	s.Deny("Job/Cancel")
	if _, err := c.AbortInput(ctxFor(t), b, one(t, c, b)); callError(t, err).Kind != rollback.Denied {
		t.Error(err)
	}
	if len(s.Builds(web)[0].Pending()) != 1 {
		t.Error("it is answered")
	}
	if _, err := c.Answer(ctxFor(t), rollback.Build{Job: web, Queue: 1}, Input{ID: "X"}, nil); callError(t, err).Kind != rollback.Rejected {
		t.Error(err)
	}
	secret := Input{ID: "X", Parameters: []rollback.Parameter{{Name: "P", Kind: rollback.SecretParameter, Type: "PasswordParameterDefinition", Default: new(string)}}}
	if _, err := c.Answer(ctxFor(t), b, secret, nil); callError(t, err).Kind != rollback.Rejected {
		t.Error(err)
	}
}

// An answer is sent once, and whatever comes back, what is said of it is what happened.
func TestEveryFaultOfAnAnswer(t *testing.T) {
	t.Parallel()
	for _, act := range []string{"submit", "abort"} {
		for _, f := range faults {
			for _, after := range []bool{false, true} {
				for _, listed := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s %s done=%v listed=%v", act, f.name, after, listed), func(t *testing.T) {
						t.Parallel()
						s, c, b, _ := asking(t, approve)
						in := one(t, c, b)
						s.RestAPI(listed)
						if f.fault.Hang {
							c.r.timeout = 400 * time.Millisecond
						}
						injected, sent := counting(f.fault, "POST "+act)
						if injected.After = after; after {
							injected.Times = 1
						}
						s.Inject(injected)
						answer := func() (bool, error) {
							if act == "abort" {
								return c.AbortInput(ctxFor(t), b, in)
							}
							return c.Answer(ctxFor(t), b, in, nil)
						}
						already, err := answer()
						done := len(s.Builds(web)[0].Pending()) == 0
						if done != after {
							t.Fatalf("done %v", done)
						}
						repeated := f.name == "429" || f.name == "sign-in" || f.name == "single sign-on" // provably not looked at
						if n := int(sent.Load()); n != 1 && !repeated {
							t.Errorf("sent %d times", n)
						}
						if after {
							// Jenkins does not say "no right" and do it all the same; of everything else the list knows.
							if turnedAway := slices.Contains([]rollback.CallKind{rollback.Expired, rollback.Denied, rollback.Throttled, rollback.Conflict}, f.kind); err != nil && !turnedAway {
								t.Errorf("done, but: %v", err)
							}
							return
						}
						if err == nil || already {
							t.Fatalf("says done (%v)", already)
						}
						got := callError(t, err)
						want := f.kind
						if f.name == "400" || f.name == "404" {
							want = rollback.Denied
						}
						if got.Kind != want || got.Fix == "" && f.kind != rollback.Throttled && f.kind != rollback.Conflict && f.name != "503 for an hour" {
							t.Errorf("%+v, want %q", got, want)
						}
						if got.Maybe && f.name == "500" || !got.Maybe && f.maybe && f.name != "500" {
							t.Errorf("maybe %v: %v", got.Maybe, err)
						}
						s.Clear()
						if already, err := answer(); err != nil || already {
							t.Errorf("again: %v, %v", already, err)
						}
					})
				}
			}
		}
	}
}

func TestArtifact(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.AddJob(web, jenkins.Job{Script: func(_ context.Context, b *jenkins.Build) string {
		b.Archive("record/pay ments-prod/result.txt", "schemaVersion=1\nexit=3\n")
		b.Archive("big.txt", strings.Repeat("x", maxArtifact+1))
		b.Archive("page.html", "<html>")
		return "SUCCESS"
	}})
	s.Push(web, string(good))
	running(t, s, web, 1)
	b := rollback.Build{Job: web, Number: 1}
	if _, err := c.Follow(ctxFor(t), b, nil); err != nil {
		t.Fatal(err)
	}
	paths, err := c.Artifacts(ctxFor(t), b)
	if err != nil || !slices.Equal(paths, []string{"big.txt", "page.html", "record/pay ments-prod/result.txt"}) {
		t.Errorf("%q, %v", paths, err)
	}
	body, err := c.Artifact(ctxFor(t), b, paths[2], isResult)
	if err != nil || string(body) != "schemaVersion=1\nexit=3\n" {
		t.Errorf("%q, %v", body, err)
	}
	for path, kind := range map[string]rollback.CallKind{"big.txt": rollback.Broken, "page.html": rollback.Broken, "none.txt": rollback.NotFound, "../x": rollback.Rejected, "a//b": rollback.Rejected} {
		if _, err := c.Artifact(ctxFor(t), b, path, func([]byte) error { return nil }); callError(t, err).Kind != kind {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func isResult(b []byte) error {
	if !strings.Contains(string(b), "exit=") {
		return errors.New("no exit code in it")
	}
	return nil
}

// A build is watched from the queue to its end: through a restart in the middle of a question, with and without the plugin.
func TestWatch(t *testing.T) {
	t.Parallel()
	for _, listed := range []bool{true, false} {
		t.Run(fmt.Sprint("listed=", listed), func(t *testing.T) {
			t.Parallel()
			s, c, b, _ := asking(t, approve)
			s.RestAPI(listed)
			text := &page{}
			var states []rollback.BuildState
			restarts, answered := 0, 0
			done, err := c.Watch(ctxFor(t), b, text, []string{"RollbackApprove"}, func(x Sight) {
				states = append(states, x.Build.State)
				if x.Lost != nil {
					s.Up(0)
				}
				if !x.Asked || len(x.Inputs) == 0 {
					return
				}
				if restarts++; restarts == 1 {
					s.Inject(fake.Fault{Op: "GET build", Drop: true, Times: 6})
					return
				}
				if restarts > 2 && answered == 0 {
					answered++
					if already, err := c.Answer(ctxFor(t), b, x.Inputs[0], nil); err != nil || already {
						t.Error(already, err)
					}
				}
			})
			if err != nil || done.Result != "SUCCESS" || answered != 1 {
				t.Errorf("%+v, %v, answered %d times, states %v", done, err, answered, states)
			}
			if !strings.Contains(text.String(), "Roll back payments?\nRoll back or Abort\nApproved by rollback\n") || strings.Contains(text.String(), "\x1b") {
				t.Errorf("%q", text)
			}
			if s.Count("GET pendingInputActions") > 1 && !listed {
				t.Error("asks a plugin again that is not there")
			}
		})
	}
}
