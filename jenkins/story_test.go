package jenkins

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestFromTriggerToResult(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.OnBuild(func(ctx context.Context, b *jenkins.Build) string {
		b.Stage("build")
		b.Checkout(string(good))
		b.Print("pushed %s\n", b.Parameters()["COMMIT"])
		return "UNSTABLE"
	})
	s.Hold(true)
	values := map[string]string{"COMMIT": "x y & z = 100%\nnext", "KIND": "beta", "FLAG": "true"}
	b := start(t, c, payments, "run-1", values)
	if b.Already || !b.Marked || b.State != rollback.BuildQueued || b.Queue == 0 {
		t.Fatalf("%+v", b)
	}
	if _, there := values[IDParameter]; there {
		t.Error("wrote into the caller's parameters")
	}
	waiting, err := c.Look(ctxFor(t), b.Build)
	if err != nil || waiting.State != rollback.BuildQueued || waiting.Why != "Waiting for next available executor" || waiting.Start.IsZero() {
		t.Errorf("%+v, %v", waiting, err)
	}
	s.Hold(false)
	text := &page{}
	done, err := c.Follow(ctxFor(t), b.Build, text)
	if err != nil {
		t.Fatal(err)
	}
	if done.String() != "deploy/payments #1" || done.State != rollback.BuildFinished || done.Result != "UNSTABLE" || done.Succeeded() || !done.Of(good) || done.Queue != b.Queue {
		t.Errorf("%+v", done)
	}
	if done.URL != publicRoot+"/job/deploy/job/payments/1/" {
		t.Errorf("URL %q", done.URL)
	}
	for name, want := range map[string]string{"COMMIT": "x y & z = 100%\nnext", "KIND": "beta", "FLAG": "true", IDParameter: "run-1"} {
		if done.Parameters[name] != want {
			t.Errorf("%s = %q, want %q", name, done.Parameters[name], want)
		}
	}
	if _, told := done.Parameters["SECRET"]; told {
		t.Error("a secret was told")
	}
	want := "Started by user rollback\n[Pipeline] Start of Pipeline\n[Pipeline] stage\n[Pipeline] { (build)\nChecking out Revision " + string(good) +
		" (refs/remotes/origin/main)\npushed x y & z = 100%\nnext\n[Pipeline] End of Pipeline\nFinished: UNSTABLE\n"
	if text.String() != want {
		t.Errorf("log %q\nwant %q", text, want)
	}
	if n := s.Count("GET crumbIssuer"); n > 0 {
		t.Errorf("asked %d times for a crumb that a token does not need", n)
	}
}

// The same request again, after the program was killed at any time: one build.
func TestTriggerAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		state rollback.BuildState
		then  func(*testing.T, *jenkins.Server)
	}{
		{"queued", rollback.BuildQueued, func(*testing.T, *jenkins.Server) {}},
		{"queued for long", rollback.BuildQueued, func(_ *testing.T, s *jenkins.Server) { s.Stuck(true) }},
		{"running", rollback.BuildRunning, func(t *testing.T, s *jenkins.Server) { s.Hold(false); running(t, s, payments, 1) }},
		{"finished", rollback.BuildFinished, func(t *testing.T, s *jenkins.Server) {
			s.Hold(false)
			running(t, s, payments, 1).Finish("FAILURE")
			if err := s.Wait(ctxFor(t), func() bool { return s.Builds(payments)[0].Result() != "" }); err != nil {
				t.Fatal(err)
			}
		}},
		{"restarted", rollback.BuildRunning, func(t *testing.T, s *jenkins.Server) {
			s.Hold(false)
			running(t, s, payments, 1)
			s.Down()
			s.Up(0)
		}},
		{"switched off since", rollback.BuildRunning, func(t *testing.T, s *jenkins.Server) {
			s.Hold(false)
			running(t, s, payments, 1)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/ci/job/deploy/job/payments/disable", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(jenkins.UserName, jenkins.Token)
			s.ServeHTTP(httptest.NewRecorder(), req)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, url := newServer(t, jenkins.Options{})
			s.OnBuild(jenkins.Manual)
			s.Hold(true)
			first := start(t, client(t, url), payments, "run-1", nil)
			c.then(t, s)
			again := start(t, client(t, url), payments, "run-1", nil)
			if !again.Already || !again.Marked || again.State != c.state || again.Queue != first.Queue {
				t.Errorf("%+v", again)
			}
			if n := s.Count("POST buildWithParameters"); n != 1 {
				t.Errorf("triggered %d times", n)
			}
			s.Hold(false)
			if len(s.Builds(payments)) != 1 {
				t.Errorf("%d builds", len(s.Builds(payments)))
			}
		})
	}
}

// Many at once, each killed after it sent its request and asked again.
func TestTriggersAtOnce(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.Inject(fake.Fault{Op: "POST buildWithParameters", Drop: true, After: true})
	var wave sync.WaitGroup
	for n := range 8 {
		wave.Go(func() {
			for range 2 {
				b, err := c.Start(t.Context(), rollback.BuildRequest{Job: payments, ID: fmt.Sprintf("run-%d", n)})
				if err != nil || b.Parameters[IDParameter] != fmt.Sprintf("run-%d", n) {
					t.Errorf("%+v, %v", b, err)
				}
			}
		})
	}
	wave.Wait()
	if n := len(s.Builds(payments)); n != 8 {
		t.Errorf("%d builds for 8 requests", n)
	}
}

func TestTriggerIsCheckedFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		r      rollback.BuildRequest
		change func(*jenkins.Server)
		kind   rollback.CallKind
		text   string // of error and fix
	}{
		{"unknown name", rollback.BuildRequest{Job: payments, Parameters: map[string]string{"COMIT": "x"}}, nil, rollback.Rejected, "no parameter COMIT (it has COMMIT"},
		{"choice", rollback.BuildRequest{Job: payments, Parameters: map[string]string{"KIND": "gamma"}}, nil, rollback.Rejected, "alpha, beta"},
		{"boolean", rollback.BuildRequest{Job: payments, Parameters: map[string]string{"FLAG": "yes"}}, nil, rollback.Rejected, "want true or false"},
		{"none", rollback.BuildRequest{Job: web, Parameters: map[string]string{"A": "b"}}, nil, rollback.Rejected, "no parameter A (it has none)"},
		{"missing", rollback.BuildRequest{Job: "deploy/secret"}, func(s *jenkins.Server) {
			s.AddJob("deploy/secret", jenkins.Job{Parameters: []jenkins.Parameter{{Kind: "Password", Name: "PIN"}}})
		}, rollback.Rejected, "PIN is missing"},
		{"file", rollback.BuildRequest{Job: "deploy/file", Parameters: map[string]string{"F": "x"}}, func(s *jenkins.Server) {
			s.AddJob("deploy/file", jenkins.Job{Parameters: []jenkins.Parameter{{Kind: "File", Name: "F"}}})
		}, rollback.Rejected, "F is a FileParameterDefinition"},
		{"disabled", rollback.BuildRequest{Job: "deploy/off"}, func(s *jenkins.Server) { s.AddJob("deploy/off", jenkins.Job{Disabled: true}) }, rollback.Conflict, "disabled"},
		{"id", rollback.BuildRequest{Job: payments, ID: "a b"}, nil, rollback.Rejected, `"a b" is no id`},
		{"folder", rollback.BuildRequest{Job: "deploy"}, nil, rollback.Rejected, "name the job in it"},
		{"multibranch project", rollback.BuildRequest{Job: "shop"}, nil, rollback.Rejected, "project/branch"},
		{"no such job", rollback.BuildRequest{Job: "deploy/payment"}, nil, rollback.NotFound, "check the name"},
		{"no right to see it", rollback.BuildRequest{Job: payments}, func(s *jenkins.Server) { s.Deny("Job/Read") }, rollback.NotFound, "may not see"},
		{"no name", rollback.BuildRequest{Job: ""}, nil, rollback.Rejected, "full name"},
		{"upwards", rollback.BuildRequest{Job: "deploy/../web"}, nil, rollback.Rejected, "full name"},
		{"no right to build", rollback.BuildRequest{Job: web}, func(s *jenkins.Server) { s.Deny("Job/Build") }, rollback.Denied, "the right Job/Build"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, con := world(t)
			if c.change != nil {
				c.change(s)
			}
			_, err := con.Start(ctxFor(t), c.r)
			f := callError(t, err)
			if f.Kind != c.kind || !strings.Contains(err.Error()+" "+f.Fix, c.text) || f.Maybe {
				t.Errorf("%q %v (%s)", f.Kind, err, f.Fix)
			}
			if n := s.Count("POST *"); n > 0 && c.kind != rollback.Denied {
				t.Errorf("sent %d triggers", n)
			}
		})
	}
}

func TestParametersOfTheFirstRun(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.AddJob("deploy/new", jenkins.Job{Learns: []jenkins.Parameter{{Kind: "String", Name: "COMMIT", Default: "main"}, {Kind: "Choice", Name: "KIND", Choices: []string{"a", "b"}}}})
	_, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: "deploy/new", Parameters: map[string]string{"COMMIT": "x"}})
	if f := callError(t, err); !strings.Contains(f.Fix, "first run") {
		t.Errorf("%+v", f)
	}
	b := start(t, c, "deploy/new", "run-1", nil)
	if b.Marked {
		t.Error("no parameter to mark it with")
	}
	if _, err := c.Follow(ctxFor(t), b.Build, nil); err != nil {
		t.Fatal(err)
	}
	list, err := c.Parameters(ctxFor(t), "deploy/new")
	if err != nil || len(list) != 2 || list[0].Name != "COMMIT" || *list[0].Default != "main" || list[1].Kind != rollback.ChoiceParameter || !slices.Equal(list[1].Choices, []string{"a", "b"}) || *list[1].Default != "a" {
		t.Errorf("%+v, %v", list, err)
	}
	start(t, c, "deploy/new", "run-2", map[string]string{"COMMIT": "x"})
}

func TestParameterKinds(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.AddJob("deploy/all", jenkins.Job{Parameters: []jenkins.Parameter{
		{Kind: "String", Name: "S"}, {Kind: "Text", Name: "T", Default: "a\nb"}, {Kind: "Choice", Name: "C", Choices: []string{"x"}}, {Kind: "Boolean", Name: "B", Default: "true"},
		{Kind: "Password", Name: "P"}, {Kind: "Password", Name: "Q", Default: "y"}, {Kind: "File", Name: "F"},
	}})
	list, err := c.Parameters(ctxFor(t), "deploy/all")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, p := range list {
		d := "none"
		if p.Default != nil {
			d = fmt.Sprintf("%q", *p.Default)
		}
		got += fmt.Sprintf("%s %s %s; ", p.Name, p.Kind, d)
	}
	if want := `S text ""; T text "a\nb"; C choice "x"; B boolean "true"; P secret none; Q secret ""; F other none; `; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// Without a mark, one that waits with the same parameters is the same build to Jenkins (303).
func TestAlreadyQueued(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.Hold(true)
	first := start(t, c, web, "", nil)
	again := start(t, c, web, "", nil)
	if first.Already || !again.Already || again.Queue != first.Queue {
		t.Errorf("%+v, %+v", first, again)
	}
	if n := len(s.Queued(web)); n != 1 {
		t.Errorf("%d in the queue", n)
	}
}

func TestDisabledMeanwhile(t *testing.T) {
	t.Parallel()
	s, url := newServer(t, jenkins.Options{})
	c := client(t, url)
	s.Inject(fake.Fault{Op: "POST build", Times: 1, Hold: func(*http.Request) { s.AddJob(web, jenkins.Job{Disabled: true}) }})
	_, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: web})
	if f := callError(t, err); f.Kind != rollback.Conflict || f.Maybe {
		t.Errorf("%+v", f)
	}
}

func TestLook(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	s.Hold(true)
	b := start(t, c, payments, "run-1", nil).Build
	if _, err := c.Stop(ctx, b); err != nil {
		t.Fatal(err)
	}
	gone, err := c.Follow(ctx, b, &page{})
	if err != nil || gone.State != rollback.BuildCancelled || !gone.Over() || gone.Succeeded() {
		t.Errorf("cancelled: %+v, %v", gone, err)
	}
	if same, err := c.Look(ctx, gone); err != nil || same.State != rollback.BuildCancelled {
		t.Errorf("cancelled, again: %+v, %v", same, err)
	}
	s.Forget()
	if _, err := c.Look(ctx, b); callError(t, err).Kind != rollback.NotFound {
		t.Errorf("cancelled and forgotten: %v", err)
	}
	s.Hold(false)
	b = start(t, c, payments, "run-2", nil).Build
	running(t, s, payments, 1)
	s.Forget()
	if found, err := c.Look(ctx, b); err != nil || found.Number != 1 {
		t.Errorf("started and forgotten: %+v, %v", found, err)
	}
	if _, err := c.Look(ctx, rollback.Build{Job: payments, Number: 9}); callError(t, err).Kind != rollback.NotFound {
		t.Errorf("no such build: %v", err)
	}
	if _, err := c.Look(ctx, rollback.Build{Job: payments}); callError(t, err).Kind != rollback.Rejected {
		t.Errorf("no token: %v", err)
	}
	b = start(t, c, web, "", nil).Build
	b.Job = payments
	if _, err := c.Look(ctx, b); callError(t, err).Kind != rollback.Broken {
		t.Errorf("another job's item: %v", err)
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	s.AddJob("payments", jenkins.Job{Script: jenkins.Manual}) // the same name, elsewhere
	s.Push("payments", string(bad))
	s.AddJob(payments, jenkins.Job{Sequential: true, Script: jenkins.Manual})
	if none, err := c.InFlight(ctx, payments); err != nil || len(none) > 0 {
		t.Fatalf("%+v, %v", none, err)
	}
	s.Push(payments, string(good))
	running(t, s, payments, 1).Finish("")
	if err := s.Wait(ctx, func() bool { return s.Builds(payments)[0].Result() != "" }); err != nil {
		t.Fatal(err)
	}
	s.Push(payments, string(good))
	second := running(t, s, payments, 2)
	second.Checkout(string(good))
	second.SetResult("UNSTABLE") // a result is not the end
	second.WaitForAgent(true)    // one of its steps is in the queue, and is no build
	s.Push(payments, string(bad))
	s.Stuck(true)
	got, err := c.InFlight(ctx, payments)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if q := got[0]; q.State != rollback.BuildQueued || !q.Stuck || !strings.HasPrefix(q.Why, "Build #2 is already in progress") || q.Number != 0 {
		t.Errorf("%+v", q)
	}
	if r := got[1]; r.State != rollback.BuildRunning || r.Result != "" || r.Number != 2 || !r.Of(good) || r.Took != 0 || r.Estimate != 61*time.Second {
		t.Errorf("%+v", r)
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	// A build checks out what a push asked for, and a library of its own.
	s.OnBuild(func(_ context.Context, b *jenkins.Build) string {
		b.Checkout("3333333333333333333333333333333333333333")
		if b.Asked() != "" {
			b.Checkout(b.Asked())
		}
		return ""
	})
	s.AddJob(branch, jenkins.Job{Sequential: true})
	for _, commit := range []rollback.Commit{good, bad, good} {
		s.Push(branch, string(commit))
		n := len(s.Builds(branch))
		if err := s.Wait(ctx, func() bool { return len(s.Builds(branch)) >= n && n > 0 && s.Builds(branch)[n-1].Result() != "" }); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Newest(ctx, branch)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []rollback.Commit{good, bad, good} {
		if b := got[i]; b.Number != 3-i || !b.Of(want) || !b.Of(want[:7]) || !b.Of("3333333333333333333333333333333333333333") || b.Of("4444444444444444444444444444444444444444") || b.Of("") {
			t.Errorf("%+v, want a build of %s", b, want)
		}
	}
	if got := Branch("shop", "feature/x"); got != branch {
		t.Errorf("Branch: %q", got)
	}
	// With its parameters, while it waits.
	s.Hold(true)
	b := start(t, c, payments, "run-1", map[string]string{"COMMIT": string(bad[:12])})
	got, err = c.Newest(ctx, payments)
	if err != nil || len(got) != 1 || got[0].Queue != b.Queue || got[0].State != rollback.BuildQueued || got[0].Parameters["COMMIT"] != string(bad[:12]) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, stubborn string
		freestyle      bool
		posts          int
		ends           bool
	}{
		{"stop", "", false, 1, true},
		{"term", "term", false, 2, true},
		{"kill", "kill", false, 3, true},
		{"never", "never", false, 3, false},
		{"freestyle", "", true, 1, true},
		{"stubborn freestyle", "term", true, 3, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := jenkins.New(jenkins.Options{})
			defer s.Close()
			s.AddJob(web, jenkins.Job{Script: jenkins.Manual, Stubborn: c.stubborn, Freestyle: c.freestyle})
			con := virtual(t, s)
			b, err := con.Start(t.Context(), rollback.BuildRequest{Job: web})
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			end, err := con.Stop(t.Context(), b.Build)
			if c.ends && (err != nil || end.Result != "ABORTED" || end.State != rollback.BuildFinished) {
				t.Errorf("%s: %+v, %v", c.name, end, err)
			}
			if !c.ends {
				if f := callError(t, err); !f.Maybe || end.State != rollback.BuildRunning || !strings.Contains(err.Error(), "still runs") {
					t.Errorf("%s: %+v, %v", c.name, end, err)
				}
			}
			if n := s.Count("POST stop") + s.Count("POST term") + s.Count("POST kill"); n != c.posts || time.Since(begin) > time.Duration(n)*11*time.Second {
				t.Errorf("%s: %d posts in %s", c.name, n, time.Since(begin))
			}
		})
	}
}

// virtual is a client without a network, for tests in virtual time.
func virtual(t *testing.T, s *jenkins.Server) *Controller {
	t.Helper()
	c, err := New(Config{URL: "http://ci.acme.example", Insecure: true, User: jenkins.UserName, Token: jenkins.Token})
	if err != nil {
		t.Fatal(err)
	}
	c.r.client.Transport = fake.InProcess{Handler: s}
	return c
}

func TestStopRaces(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	s.OnBuild(jenkins.Manual)
	// It leaves the queue between the look and the cancel.
	s.Hold(true)
	b := start(t, c, payments, "run-1", nil).Build
	s.Inject(fake.Fault{Op: "POST cancelItem", Times: 1, Hold: func(*http.Request) { s.Hold(false) }})
	if b, err := c.Stop(ctx, b); err != nil || b.Result != "ABORTED" || b.Number != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	// It is over already.
	if b, err := c.Stop(ctx, rollback.Build{Job: payments, Number: 1}); err != nil || b.Result != "ABORTED" || s.Count("POST stop") != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	// Cancelled, and forgotten at once.
	s.Hold(true)
	b = start(t, c, payments, "run-2", nil).Build
	s.Inject(fake.Fault{Op: "GET queue item", Skip: 1, Times: 1, Hold: func(*http.Request) { s.Forget() }})
	if b, err := c.Stop(ctx, b); err != nil || b.State != rollback.BuildCancelled {
		t.Errorf("%+v, %v", b, err)
	}
	s.Clear()
	// Without the right.
	s.Deny("Job/Cancel")
	b = start(t, c, payments, "run-3", nil).Build
	if _, err := c.Stop(ctx, b); callError(t, err).Kind != rollback.Denied {
		t.Errorf("%v", err)
	}
	s.Hold(false)
	if _, err := c.Stop(ctx, b); callError(t, err).Kind != rollback.Denied || !strings.Contains(rollback.FixOf(err), "Job/Cancel") {
		t.Errorf("%v", err)
	}
}

func TestSetEnabled(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	for _, step := range []struct{ enabled, already bool }{{true, true}, {false, false}, {false, true}, {true, false}} {
		already, err := c.SetEnabled(ctx, branch, step.enabled)
		if err != nil || already != step.already || s.Enabled(branch) != step.enabled {
			t.Errorf("%+v: already %v, %v", step, already, err)
		}
	}
	if n := s.Count("POST enable") + s.Count("POST disable"); n != 2 {
		t.Errorf("%d posts", n)
	}
	s.Inject(fake.Fault{Op: "POST disable", Status: 302, Header: http.Header{"Location": {"/ci/job/shop/"}}}) // says done, does nothing
	if _, err := c.SetEnabled(ctx, branch, false); callError(t, err).Kind != rollback.Conflict {
		t.Errorf("%v", err)
	}
	s.Clear()
	s.Deny("Job/Configure")
	_, err := c.SetEnabled(ctx, branch, false)
	if f := callError(t, err); f.Kind != rollback.Denied || !strings.Contains(f.Fix, "Job/Configure") {
		t.Errorf("%+v", f)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	s, c := world(t, withPassword)
	s.OnBuild(jenkins.Manual)
	for n := range 3 {
		start(t, c, payments, fmt.Sprintf("run-%d", n), nil)
	}
	if n := s.Count("GET crumbIssuer"); n != 1 {
		t.Errorf("%d crumbs for 3 posts", n)
	}
	s.EndSessions()
	if b := start(t, c, payments, "run-3", nil); b.Already {
		t.Errorf("%+v", b)
	}
	if n := s.Count("GET crumbIssuer"); n != 2 {
		t.Errorf("%d crumbs after the session's end", n)
	}
	if n := len(s.Builds(payments)); n != 4 {
		t.Errorf("%d builds", n)
	}
	who, err := c.Identity(ctxFor(t))
	if err != nil || who.User != jenkins.UserName || who.Version != jenkins.Version {
		t.Errorf("%+v, %v", who, err)
	}
	// A right that is missing is not a crumb that is missing.
	s.Deny("Job/Build")
	_, err = c.Start(ctxFor(t), rollback.BuildRequest{Job: payments, ID: "run-9"})
	if f := callError(t, err); f.Kind != rollback.Denied || s.Count("GET crumbIssuer") != 2 {
		t.Errorf("%v, %d crumbs", err, s.Count("GET crumbIssuer"))
	}
}

func TestPasswordWithoutCrumbs(t *testing.T) {
	t.Parallel()
	s, url := newServer(t, jenkins.Options{NoCrumbs: true})
	c := client(t, url, withPassword)
	start(t, c, payments, "run-1", nil)
	start(t, c, payments, "run-2", nil)
	if n := s.Count("GET crumbIssuer"); n != 1 {
		t.Errorf("asked %d times for a crumb", n)
	}
	wrong := client(t, url, withPassword, func(c *Config) { c.Password = "wrong" })
	if _, err := wrong.Identity(ctxFor(t)); callError(t, err).Kind != rollback.Expired {
		t.Errorf("%v", err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.OnBuild(jenkins.Manual)
	// Jenkins' own root URL differs from the one in use: a stop redirects there, and that is done.
	b := start(t, c, web, "", nil).Build
	if b, err := c.Stop(ctxFor(t), b); err != nil || b.Result != "ABORTED" {
		t.Fatalf("%+v, %v", b, err)
	}
	if n := s.Count("GET root"); n != 1 {
		t.Errorf("asked %d times for the root URL", n)
	}
	b = start(t, c, web, "", nil).Build
	if _, err := c.Stop(ctxFor(t), b); err != nil {
		t.Fatal(err)
	}
	if n := s.Count("GET root"); n != 1 {
		t.Errorf("asked %d times for the root URL", n)
	}
	for _, r := range s.Requests() {
		if !strings.HasPrefix(r.Path, "/ci/") {
			t.Errorf("asked for %s", r.Path)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	s := jenkins.New(jenkins.Options{})
	furnish(s)
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() { s.Close(); server.Close() })
	file := filepath.Join(t.TempDir(), "ca.pem")
	cert := server.Certificate()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, server.URL, func(c *Config) { c.CAFile = file })
	if _, err := c.Identity(ctxFor(t)); err != nil {
		t.Error(err)
	}
	c = client(t, server.URL)
	_, err := c.Identity(ctxFor(t))
	if f := callError(t, err); f.Kind != rollback.Unreachable || !strings.Contains(f.Fix, "is not trusted") || !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("%+v", f)
	}
	c = client(t, strings.Replace(server.URL, "https:", "http:", 1))
	if _, err := c.Identity(ctxFor(t)); err == nil {
		t.Error("spoke plain HTTP to a TLS port")
	}
	plain := httptest.NewServer(s)
	defer plain.Close()
	c = client(t, strings.Replace(plain.URL, "http:", "https:", 1))
	_, err = c.Identity(ctxFor(t))
	if f := callError(t, err); !strings.Contains(f.Fix, "speaks TLS") {
		t.Errorf("%+v", f)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  Config
		ok   bool
	}{
		{"token", Config{URL: "https://ci.acme.example", User: "u", Token: "t"}, true},
		{"context path", Config{URL: "https://ci.acme.example/jenkins/", User: "u", Token: "t"}, true},
		{"password", Config{URL: "https://ci.acme.example", User: "u", Password: "p"}, true},
		{"plain http", Config{URL: "http://ci.acme.example", User: "u", Token: "t"}, false},
		{"plain http to an address", Config{URL: "http://10.0.0.1:8080", User: "u", Password: "p"}, false},
		{"plain http to a name like ours", Config{URL: "http://localhost.acme.example", User: "u", Token: "t"}, false},
		{"plain http, as it is wanted", Config{URL: "http://ci.acme.example", Insecure: true, User: "u", Token: "t"}, true},
		{"plain http to this machine", Config{URL: "http://localhost:8080", User: "u", Token: "t"}, true},
		{"plain http to its address", Config{URL: "http://[::1]:8080/ci", User: "u", Token: "t"}, true},
		{"no URL", Config{User: "u", Token: "t"}, false},
		{"no scheme", Config{URL: "ci.acme.example", User: "u", Token: "t"}, false},
		{"another scheme", Config{URL: "ftp://ci.acme.example", User: "u", Token: "t"}, false},
		{"credentials in the URL", Config{URL: "https://u:hidden@ci.acme.example", User: "u", Token: "t"}, false},
		{"credentials in a bad URL", Config{URL: "https://u:hidden@ci.acme.example:port", User: "u", Token: "t"}, false},
		{"query", Config{URL: "https://ci.acme.example/?a=b", User: "u", Token: "t"}, false},
		{"no user", Config{URL: "https://ci.acme.example", Token: "t"}, false},
		{"no secret", Config{URL: "https://ci.acme.example", User: "u"}, false},
		{"two secrets", Config{URL: "https://ci.acme.example", User: "u", Token: "t", Password: "p"}, false},
		{"colon", Config{URL: "https://ci.acme.example", User: "u:v", Token: "t"}, false},
		{"no such file", Config{URL: "https://ci.acme.example", User: "u", Token: "t", CAFile: "/does/not/exist"}, false},
		{"no certificate", Config{URL: "https://ci.acme.example", User: "u", Token: "t", CAFile: empty}, false},
	} {
		con, err := New(c.cfg)
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			if f := callError(t, err); f.Kind != rollback.Rejected || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if con.r.client.Transport.(*http.Transport).Proxy == nil {
			t.Errorf("%s: no proxy from the environment", c.name)
		}
	}
}

// In virtual time: a restart is sat out for as long as it may take, and no longer.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		down time.Duration
		ok   bool
	}{{"short", 20 * time.Second, true}, {"long", 170 * time.Second, true}, {"too long", time.Hour, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := jenkins.New(jenkins.Options{})
				defer s.Close()
				furnish(s)
				s.OnBuild(func(ctx context.Context, b *jenkins.Build) string {
					b.Sleep(ctx, 20*time.Minute)
					return ""
				})
				con := virtual(t, s)
				s.Down()
				up := time.AfterFunc(c.down, func() { s.Up(3) })
				defer up.Stop()
				begin := time.Now()
				b, err := con.Start(t.Context(), rollback.BuildRequest{Job: payments, ID: "run-1"})
				took := time.Since(begin)
				if !c.ok {
					if f := callError(t, err); f.Kind != rollback.ServerFault || took > 200*time.Second || s.Count("POST *") > 0 {
						t.Errorf("after %s: %v", took, err)
					}
					return
				}
				if err != nil || took < c.down || took > c.down+30*time.Second {
					t.Fatalf("after %s: %v", took, err)
				}
				// The build survives the next restart, and so does whoever follows it.
				down := time.AfterFunc(10*time.Minute, s.Down)
				defer down.Stop()
				again := time.AfterFunc(10*time.Minute+c.down, func() { s.Up(2) })
				defer again.Stop()
				done, err := con.Follow(t.Context(), b.Build, &page{})
				if err != nil || !done.Succeeded() || done.Took != 20*time.Minute {
					t.Errorf("%+v, %v", done, err)
				}
				if len(s.Builds(payments)) != 1 {
					t.Errorf("%d builds", len(s.Builds(payments)))
				}
			})
		})
	}
}

// A trigger that a starting Jenkins or a proxy without one refuses is sent again, once it is sure that it did nothing.
func TestTriggerDuringRestart(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.Inject(fake.Fault{Op: "POST buildWithParameters", Status: 503, Times: 2})
	if b := start(t, c, payments, "run-1", nil); b.Already || !b.Marked {
		t.Errorf("%+v", b)
	}
	if n := len(s.Builds(payments)); n != 1 || s.Count("POST buildWithParameters") != 3 {
		t.Errorf("%d builds", n)
	}
	s.Inject(fake.Fault{Op: "POST build", Status: 503, Times: 1})
	_, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: web})
	if f := callError(t, err); !f.Maybe || !strings.Contains(f.Fix, IDParameter) || len(s.Builds(web)) != 0 {
		t.Errorf("%+v", f)
	}
}

// The queue forgets in virtual time, as in the real one after 5 minutes; the deadline of the caller is kept.
func TestVirtualQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jenkins.New(jenkins.Options{Quiet: 5 * time.Second})
		defer s.Close()
		furnish(s)
		con := virtual(t, s)
		item := rollback.Build{Job: web, Queue: s.Push(web, string(good))}
		b, err := con.Look(t.Context(), item)
		if err != nil || b.State != rollback.BuildQueued || !strings.HasPrefix(b.Why, "In the quiet period. Expires in 5.0 sec") {
			t.Errorf("%+v, %v", b, err)
		}
		time.Sleep(6 * time.Minute)
		b, err = con.Look(t.Context(), item)
		if err != nil || b.Number != 1 || s.Count("GET build") != 0 {
			t.Errorf("%+v, %v", b, err)
		}
		s.Hold(true)
		item = rollback.Build{Job: web, Queue: s.Push(web, string(good))}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		b, err = con.Follow(ctx, item, nil)
		if f := callError(t, err); f.Kind != rollback.Unreachable || time.Since(begin) != time.Minute || !errors.Is(err, context.DeadlineExceeded) || b.State != rollback.BuildQueued {
			t.Errorf("after %s: %+v, %v", time.Since(begin), b, err)
		}
	})
}

// Round trips one after the other, as latency makes them: in virtual time they can be counted.
func TestWaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		waves int
		do    func(ctx context.Context, c *Controller) error
	}{
		{"InFlight", 1, func(ctx context.Context, c *Controller) error { _, err := c.InFlight(ctx, payments); return err }},
		{"Newest", 1, func(ctx context.Context, c *Controller) error { _, err := c.Newest(ctx, payments); return err }},
		{"Look", 1, func(ctx context.Context, c *Controller) error {
			_, err := c.Look(ctx, rollback.Build{Job: web, Number: 1})
			return err
		}},
		{"Start", 2, func(ctx context.Context, c *Controller) error {
			_, err := c.Start(ctx, rollback.BuildRequest{Job: payments, ID: "run-1"})
			return err
		}},
		{"SetEnabled", 3, func(ctx context.Context, c *Controller) error { _, err := c.SetEnabled(ctx, web, false); return err }},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := jenkins.New(jenkins.Options{})
			defer s.Close()
			furnish(s)
			s.Push(web, string(good))
			con := virtual(t, s)
			s.Latency(100 * time.Millisecond)
			begin := time.Now()
			if err := c.do(t.Context(), con); err != nil {
				t.Fatal(err)
			}
			if waves := int(time.Since(begin) / (100 * time.Millisecond)); waves != c.waves {
				t.Errorf("%s: %d waves, want %d", c.name, waves, c.waves)
			}
		})
	}
}
