package jenkins

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func html(extra http.Header) http.Header {
	h := http.Header{"Content-Type": {"text/html;charset=utf-8"}}
	for k, v := range extra {
		h[k] = v
	}
	return h
}

var asJSON = http.Header{"Content-Type": {"application/json"}}

// fault is one way a call can fail, and what is made of it.
type fault struct {
	name  string
	fault fake.Fault
	kind  rollback.CallKind
	tries int // of a read
	fix   string

	// of a trigger: its tries, whether it may have been done, and the same without a mark to look for
	sent      int
	maybe     bool
	sentPlain int
	maybePlan bool
}

var faults = []fault{
	{"401", fake.Fault{Status: 401, Header: html(nil), Body: fake.HTMLPage}, rollback.Expired, 1, "renew the API token of the Jenkins user rollback", 1, false, 1, false},
	{"403", fake.Fault{Status: 403, Header: html(http.Header{"X-Required-Permission": {"hudson.model.Item.Build"}, "X-Jenkins": {"2"}}), Body: fake.HTMLPage},
		rollback.Denied, 1, "the right Job/Build", 1, false, 1, false},
	{"403 of a proxy", fake.Fault{Status: 403}, rollback.Denied, 1, "a proxy before", 1, false, 1, false},
	{"403 JSON", fake.Fault{Status: 403, Header: asJSON, Body: "{}"}, rollback.Denied, 1, "the right ", 1, false, 1, false},
	{"404", fake.Fault{Status: 404, Header: html(nil), Body: fake.HTMLPage}, rollback.NotFound, 1, "check the name", 1, false, 1, false},
	{"409", fake.Fault{Status: 409, Header: html(nil), Body: fake.HTMLPage}, rollback.Conflict, 1, "", 1, false, 1, false},
	{"400", fake.Fault{Status: 400, Header: html(http.Header{"X-Error": {"Nothing is   submitted"}})}, rollback.Rejected, 1, "", 1, false, 1, false},
	{"429", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}, rollback.Throttled, maxAttempts, "", maxAttempts, false, maxAttempts, false},
	{"429 for long", fake.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}, rollback.Throttled, 1, "", 1, false, 1, false},
	{"500", fake.Fault{Status: 500, Header: html(http.Header{"X-Jenkins": {"2"}}), Body: fake.HTMLPage}, rollback.ServerFault, maxAttempts, "", 1, false, 1, true},
	{"502", fake.Fault{Status: 502, Header: html(nil), Body: fake.HTMLPage}, rollback.ServerFault, maxAttempts, "", 1, true, 1, true},
	{"503 for an hour", fake.Fault{Status: 503, Header: http.Header{"Retry-After": {"3600"}}}, rollback.ServerFault, 1, "", triggers, false, 1, true},
	{"504", fake.Fault{Status: 504}, rollback.ServerFault, maxAttempts, "", 1, true, 1, true},
	{"HTML with 200", fake.Fault{Status: 200, Header: html(nil), Body: fake.HTMLPage}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"HTML called JSON", fake.Fault{Status: 200, Header: asJSON, Body: fake.HTMLPage}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"empty object", fake.Fault{Status: 200, Header: asJSON, Body: "{}"}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"empty", fake.Fault{Status: 200, Header: asJSON}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"a list", fake.Fault{Status: 200, Header: asJSON, Body: `[{"_class":"x"}]`}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"plain text", fake.Fault{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "ok"}, rollback.Broken, maxAttempts, "prox", 1, true, 1, true},
	{"cut", fake.Fault{Header: asJSON, Body: `{"_class":"hudson.model.Fr`, Cut: true}, rollback.Broken, maxAttempts, "", 1, true, 1, true},
	{"dropped", fake.Fault{Drop: true}, rollback.Unreachable, maxAttempts, "network or VPN", 1, true, 1, true},
	{"hanging", fake.Fault{Hang: true}, rollback.Unreachable, 2, "network or VPN", 1, true, 1, true},
	{"sign-in", fake.Fault{Status: 302, Header: http.Header{"Location": {"/ci/login?from=%2Fci"}}}, rollback.Expired, maxAttempts, "renew the API token", maxAttempts, false, maxAttempts, false},
	{"single sign-on", fake.Fault{Status: 302, Header: http.Header{"Location": {"https://sso.acme.example/securityRealm/commenceLogin"}}}, rollback.Expired, maxAttempts, "wants a sign-in of its own", maxAttempts, false, maxAttempts, false},
	{"elsewhere", fake.Fault{Status: 302, Header: http.Header{"Location": {"https://evil.example/ci/"}}}, rollback.Broken, 1, "if https://evil.example is your Jenkins", 1, true, 1, true},
	{"nowhere", fake.Fault{Status: 302}, rollback.Broken, maxAttempts, "", 1, true, 1, true},
}

// reads are all methods that read, with the call that a fault is put into.
var reads = []struct {
	name, op string
	do       func(ctx context.Context, c *Controller) error
}{
	{"Identity", "GET whoAmI", func(ctx context.Context, c *Controller) error { _, err := c.Identity(ctx); return err }},
	{"Parameters", "GET job", func(ctx context.Context, c *Controller) error { _, err := c.Parameters(ctx, payments); return err }},
	{"InFlight, job", "GET job", func(ctx context.Context, c *Controller) error { _, err := c.InFlight(ctx, payments); return err }},
	{"InFlight, queue", "GET queue", func(ctx context.Context, c *Controller) error { _, err := c.InFlight(ctx, payments); return err }},
	{"Newest, job", "GET job", func(ctx context.Context, c *Controller) error { _, err := c.Newest(ctx, web); return err }},
	{"Newest, queue", "GET queue", func(ctx context.Context, c *Controller) error { _, err := c.Newest(ctx, web); return err }},
	{"Look, build", "GET build", func(ctx context.Context, c *Controller) error {
		_, err := c.Look(ctx, rollback.Build{Job: web, Number: 1})
		return err
	}},
	{"Look, queue item", "GET queue item", func(ctx context.Context, c *Controller) error {
		_, err := c.Look(ctx, rollback.Build{Job: web, Queue: 1})
		return err
	}},
	{"Look, forgotten item", "GET job", func(ctx context.Context, c *Controller) error {
		_, err := c.Look(ctx, rollback.Build{Job: web, Queue: 99})
		return err
	}},
	{"Follow, build", "GET build", follow},
	{"Follow, log", "GET progressiveText", follow},
	{"Start, job", "GET job", begin},
	{"Start, queue", "GET queue", begin},
	{"Stop", "GET build", func(ctx context.Context, c *Controller) error {
		_, err := c.Stop(ctx, rollback.Build{Job: web, Number: 1})
		return err
	}},
	{"Items", "GET job", func(ctx context.Context, c *Controller) error { _, err := c.Items(ctx, "deploy", 2); return err }},
	{"PipelineOf", "GET config.xml", func(ctx context.Context, c *Controller) error { _, err := c.PipelineOf(ctx, web); return err }},
	{"UpdatePipeline", "GET config.xml", func(ctx context.Context, c *Controller) error { return c.UpdatePipeline(ctx, web, Pipeline{}, ours()) }},
	{"CreateFolder", "GET job", func(ctx context.Context, c *Controller) error {
		_, err := c.CreateFolder(ctx, "deploy", "")
		return err
	}},
	{"Inputs", "GET pendingInputActions", func(ctx context.Context, c *Controller) error {
		_, err := c.Inputs(ctx, rollback.Build{Job: web, Number: 1})
		return err
	}},
	{"Inputs, one by one", "GET proceed", func(ctx context.Context, c *Controller) error {
		_, err := c.probed(ctx, rollback.Build{Job: web, Number: 1}, []string{"RollbackApprove"})
		return err
	}},
	{"Artifacts", "GET build", func(ctx context.Context, c *Controller) error {
		_, err := c.Artifacts(ctx, rollback.Build{Job: web, Number: 1})
		return err
	}},
	{"Artifact", "GET artifact", func(ctx context.Context, c *Controller) error {
		_, err := c.Artifact(ctx, rollback.Build{Job: web, Number: 1}, "record/result.txt", isResult)
		return err
	}},
	{"SetEnabled", "GET job", func(ctx context.Context, c *Controller) error { _, err := c.SetEnabled(ctx, web, false); return err }},
}

func follow(ctx context.Context, c *Controller) error {
	c.patience = time.Nanosecond
	_, err := c.Follow(ctx, rollback.Build{Job: web, Number: 1}, &page{})
	return err
}

func begin(ctx context.Context, c *Controller) error {
	_, err := c.Start(ctx, rollback.BuildRequest{Job: payments, ID: "run-1"})
	return err
}

// counting makes a fault count the requests it fires for: the switchboard counts a request when it ends, which is late for
// one that hangs.
func counting(f fake.Fault, op string) (fake.Fault, *atomic.Int64) {
	var n atomic.Int64
	f.Op = op
	f.Hold = func(*http.Request) { n.Add(1) }
	return f, &n
}

func TestEveryFaultOfEveryRead(t *testing.T) {
	t.Parallel()
	for _, a := range reads {
		for _, f := range faults {
			t.Run(a.name+" "+f.name, func(t *testing.T) {
				t.Parallel()
				s, c := world(t)
				s.Push(web, string(good))
				running(t, s, web, 1)
				if f.fault.Hang {
					c.r.timeout = 400 * time.Millisecond
				}
				injected, asked := counting(f.fault, a.op)
				s.Inject(injected)
				err := a.do(ctxFor(t), c)
				switch {
				// A forgotten item is found among the builds; the plugin that lists inputs may be missing.
				case f.name == "404" && slices.Contains([]string{"Look, queue item", "Inputs", "Inputs, one by one"}, a.name):
					if err != nil {
						t.Fatal(err)
					}
					return
				case a.name == "Items" && f.name == "404": // no folder: nothing in it
					if err != nil {
						t.Fatal(err)
					}
					return
				case a.name == "CreateFolder" && f.name == "404": // the look says no, and the write that it exists
					if got := callError(t, err); got.Kind != rollback.Rejected || s.Count("POST createItem") != 1 {
						t.Errorf("%v after %d writes", err, s.Count("POST createItem"))
					}
					return
				}
				got := callError(t, err)
				want, tries := f.kind, f.tries
				if strings.HasPrefix(a.name, "Follow") { // it looks a second time before it gives up
					switch f.kind {
					case rollback.Broken, rollback.Unreachable, rollback.ServerFault, rollback.Throttled:
						tries = int(asked.Load())
						if tries < f.tries || tries > 2*f.tries {
							t.Errorf("asked %d times", tries)
						}
					}
				}
				if got.Kind != want {
					t.Errorf("%v is %q, want %q", err, got.Kind, want)
				}
				// Go's transport repeats a read by itself on a connection that it had used before.
				if n := int(asked.Load()); n != tries && (f.name != "dropped" || n < tries || n > 2*tries) {
					t.Errorf("asked %d times, want %d", n, tries)
				}
				if got.Maybe {
					t.Errorf("%v: a read may have been done", err)
				}
				if !strings.Contains(got.Fix, f.fix) {
					t.Errorf("fix %q, want %q", got.Fix, f.fix)
				}
				if s.Count("POST *") > 0 {
					t.Errorf("wrote all the same")
				}
			})
		}
	}
}

func TestEveryFaultOfATrigger(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		for _, marked := range []bool{true, false} {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s marked=%v done=%v", f.name, marked, after), func(t *testing.T) {
					t.Parallel()
					s, c := world(t)
					if f.fault.Hang {
						c.r.timeout = 400 * time.Millisecond
					}
					job, op := payments, "POST buildWithParameters"
					sent, maybe := f.sent, f.maybe
					if !marked {
						job, op = web, "POST build"
						sent, maybe = f.sentPlain, f.maybePlan
					}
					injected, asked := counting(f.fault, op)
					injected.After = after
					if after {
						injected.Times = 1
					}
					s.Inject(injected)
					b, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: job, ID: "run-1"})
					builds := len(s.Builds(job))
					if after {
						// The trigger was heard and its answer lost: there is one build, and it is found or owned up to.
						// Answers that say "not done" are believed; no Jenkins does the work and says so.
						refused := !f.maybe && f.name != "500" && f.name != "503 for an hour"
						switch {
						case refused:
							return
						case builds != 1:
							t.Fatalf("%d builds", builds)
						case marked && (err != nil || b.Number != 1 || b.Already):
							t.Errorf("%+v, %v", b, err)
						case !marked && (err == nil || !callError(t, err).Maybe):
							t.Errorf("%+v, %v", b, err)
						}
						return
					}
					got := callError(t, err)
					if got.Kind != f.kind || got.Maybe != maybe {
						t.Errorf("%v is %q, maybe %v; want %q, %v", err, got.Kind, got.Maybe, f.kind, maybe)
					}
					if n := int(asked.Load()); n != sent {
						t.Errorf("sent %d times, want %d", n, sent)
					}
					if builds != 0 {
						t.Errorf("%d builds", builds)
					}
				})
			}
		}
	}
}

// The other writes are looked after: whatever is answered, what counts is how Jenkins stands.
func TestEveryFaultOfAnIdempotentWrite(t *testing.T) {
	t.Parallel()
	acts := []struct {
		name, op string
		do       func(ctx context.Context, c *Controller) error
		done     func(s *jenkins.Server) bool
	}{
		{"disable", "POST disable", func(ctx context.Context, c *Controller) error { _, err := c.SetEnabled(ctx, web, false); return err },
			func(s *jenkins.Server) bool { return !s.Enabled(web) }},
		{"stop", "POST stop", func(ctx context.Context, c *Controller) error {
			b, err := c.Stop(ctx, rollback.Build{Job: web, Number: 1})
			if err == nil && b.Result != "ABORTED" {
				return fmt.Errorf("%+v", b)
			}
			return err
		}, func(s *jenkins.Server) bool { return s.Builds(web)[0].Result() == "ABORTED" }},
		{"cancel", "POST cancelItem", func(ctx context.Context, c *Controller) error {
			b, err := c.Stop(ctx, rollback.Build{Job: branch, Queue: 2})
			if err == nil && b.State != rollback.BuildCancelled {
				return fmt.Errorf("%+v", b)
			}
			return err
		}, func(s *jenkins.Server) bool { return len(s.Queued(branch)) == 0 }},
	}
	for _, a := range acts {
		for _, f := range faults {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s done=%v", a.name, f.name, after), func(t *testing.T) {
					t.Parallel()
					s, c := world(t)
					if f.fault.Hang {
						c.r.timeout = 400 * time.Millisecond
					}
					c.grace = 20 * time.Millisecond
					s.AddJob(web, jenkins.Job{Script: jenkins.Manual})
					s.Push(web, string(good))
					running(t, s, web, 1)
					s.Hold(true)
					s.Push(branch, string(good))
					injected, asked := counting(f.fault, a.op)
					injected.After = after
					if after {
						injected.Times = 1
					}
					s.Inject(injected)
					err := a.do(ctxFor(t), c)
					if err == nil && !a.done(s) {
						t.Error("says done, and it is not")
					}
					passes := passing(&rollback.CallError{Kind: f.kind})
					if after && f.kind != rollback.Throttled && passes && err != nil {
						t.Errorf("done, but: %v", err)
					}
					if !passes && asked.Load() > maxAttempts {
						t.Errorf("refused, and asked %d times", asked.Load())
					}
					if err != nil && !passes && !(f.name == "404" && a.name == "cancel") {
						if got := callError(t, err); got.Kind != f.kind && got.Kind != rollback.ServerFault {
							t.Errorf("%v is %q, want %q", err, got.Kind, f.kind)
						}
					}
				})
			}
		}
	}
}

func TestEveryFaultOfTheCrumb(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s, c := world(t, withPassword)
			if f.fault.Hang {
				c.r.timeout = 400 * time.Millisecond
			}
			injected, _ := counting(f.fault, "GET crumbIssuer")
			s.Inject(injected)
			_, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: payments, ID: "run-1"})
			got := callError(t, err)
			want := f.kind
			if f.name == "404" { // taken for a controller without crumbs, which this one is not
				want = rollback.Denied
			}
			if got.Kind != want || got.Maybe {
				t.Errorf("%v is %q, want %q", err, got.Kind, want)
			}
			if len(s.Builds(payments)) > 0 {
				t.Error("built without a crumb")
			}
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	c := client(t, url)
	for _, a := range reads {
		got := callError(t, a.do(ctxFor(t), c))
		if got.Kind != rollback.Unreachable || got.Maybe || !strings.Contains(got.Fix, "network or VPN to "+url) {
			t.Errorf("%s: %+v", a.name, got)
		}
	}
	_, err := c.trigger(ctxFor(t), web, false, nil)
	if got := callError(t, err); got.Kind != rollback.Unreachable || got.Maybe {
		t.Errorf("a trigger that was never sent: %+v", got)
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	s.Inject(fake.Fault{Hang: true})
	for _, a := range reads {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		err := a.do(ctx, c)
		cancel()
		if got := callError(t, err); got.Kind != rollback.Unreachable || got.Maybe {
			t.Errorf("%s: %+v", a.name, got)
		}
	}
	for _, held := range []gate{c.r.crumb.gate, c.r.root.gate} { // somebody else is asking, and gets no answer
		held <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if host := c.r.rootHost(ctx); host != "" {
		t.Error(host)
	}
	c.r.password = true
	_, err := c.trigger(ctx, web, false, nil)
	if got := callError(t, err); got.Maybe || got.Kind != rollback.Unreachable {
		t.Errorf("a trigger that waited for a crumb: %+v", got)
	}
	c.r.password = false
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = c.trigger(ctx, web, false, nil)
	if got := callError(t, err); !got.Maybe {
		t.Errorf("a trigger that was given up: %+v", got)
	}
}
