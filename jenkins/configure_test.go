package jenkins

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const made = "deploy/made"

// another is our job with another script.
func another() Pipeline {
	p := ours()
	p.Script = strings.Replace(p.Script, "payments", "web", 1)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// on is what the controller has under a name.
func on(t *testing.T, s *jenkins.Server, name string) Pipeline {
	t.Helper()
	return read(t, s.Config(name))
}

func TestPipelineThereAndBack(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	created, err := c.CreateFolder(ctx, "tools", "made by a test")
	if err != nil || !created || !strings.Contains(s.Config("tools"), "made by a test") {
		t.Fatalf("%v %v\n%s", created, err, s.Config("tools"))
	}
	if created, err = c.CreateFolder(ctx, "tools", ""); err != nil || created {
		t.Errorf("again: %v %v", created, err)
	}
	must(t, c.CreatePipeline(ctx, "tools/one", ours()))
	must(t, c.CreatePipeline(ctx, "top", ours()))
	p, err := c.PipelineOf(ctx, "tools/one")
	if err != nil || !p.Equal(ours()) {
		t.Fatalf("%v %s", err, cmp.Diff(ours(), p))
	}
	if text := s.Config("tools/one"); text == ours().XML() || !strings.Contains(text, "workflow-job@1540") {
		t.Errorf("the controller stores it as it was sent, so that nothing is proven:\n%s", text)
	}
	// A run sets the parameters and another property; the next change leaves both alone.
	s.OnBuild(func(_ context.Context, b *jenkins.Build) string {
		b.Properties([]jenkins.Parameter{{Kind: "String", Name: "OTHER"}}, true)
		return ""
	})
	start(t, c, "tools/one", "", map[string]string{"TO": "x"})
	must(t, s.Wait(ctx, func() bool { b := s.Builds("tools/one"); return len(b) == 1 && b[0].Result() != "" }))
	p, err = c.PipelineOf(ctx, "tools/one")
	if err != nil || !p.ByRun || !p.Equal(ours()) || len(p.Parameters) != 1 {
		t.Fatalf("%v %+v", err, p)
	}
	must(t, c.UpdatePipeline(ctx, "tools/one", p, another()))
	text := s.Config("tools/one")
	if p = read(t, text); !p.Equal(another()) || p.Parameters[0].Name != "OTHER" || !strings.Contains(text, "DisableConcurrentBuildsJobProperty") {
		t.Errorf("%+v\n%s", p, text)
	}
	// What it is already is not written.
	before := s.Count("POST *")
	must(t, c.UpdatePipeline(ctx, "tools/one", p, another()))
	if s.Count("POST *") != before {
		t.Error("written, and nothing differs")
	}
	// Somebody was quicker.
	must(t, s.Configure("tools/one", func(text string) string {
		return strings.Replace(text, "<sandbox>true", "<sandbox>false", 1)
	}))
	if got := callError(t, c.UpdatePipeline(ctx, "tools/one", p, ours())); got.Kind != rollback.Conflict || s.Count("POST *") != before {
		t.Errorf("%+v", got)
	}
	must(t, c.CreatePipeline(ctx, "top", ours())) // the very same: done
	if got := callError(t, c.CreatePipeline(ctx, "top", another())); got.Kind != rollback.Conflict || !on(t, s, "top").Equal(ours()) {
		t.Errorf("%+v", got)
	}
}

func TestItems(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	must(t, c.CreatePipeline(ctx, made, ours()))
	s.AddJob("deploy/deep/deeper/job", jenkins.Job{})
	names := func(folder string, levels int) string {
		items, err := c.Items(ctx, folder, levels)
		must(t, err)
		var list []string
		for _, i := range items {
			text := i.Name
			if i.Holds {
				text += "/"
			}
			if i.Pipeline() == i.Holds {
				t.Errorf("%+v", i)
			}
			if i.Name == made && i.Description != ours().Description {
				t.Errorf("%+v", i)
			}
			list = append(list, text)
		}
		return strings.Join(list, " ")
	}
	if got := names("deploy", 1); got != "deploy/deep/ deploy/made deploy/payments deploy/web" {
		t.Error(got)
	}
	if got := names("deploy", 2); got != "deploy/deep/ deploy/deep/deeper/ deploy/made deploy/payments deploy/web" {
		t.Error(got)
	}
	if got := names("", 3); got != "deploy/ deploy/deep/ deploy/deep/deeper/ deploy/made deploy/payments deploy/web shop/ shop/feature%2Fx" {
		t.Error(got)
	}
	if got := names("nothing", 2); got != "" {
		t.Error(got)
	}
	if _, err := c.Items(ctx, web, 2); callError(t, err).Kind != rollback.Rejected || !strings.Contains(err.Error(), "is a job") {
		t.Error(err)
	}
	if _, err := c.Items(ctx, "a//b", 2); callError(t, err).Kind != rollback.Rejected {
		t.Error(err)
	}
}

// Names and rights that are refused, each in words of its own, and nothing left behind.
func TestRefusedConfiguration(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		deny string
		do   func(ctx context.Context, c *Controller) error
		kind rollback.CallKind
		text string // of the error or its fix
	}{
		{"create without the right", "Job/Create", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, made, ours()) }, rollback.Denied, "the right Job/Create"},
		{"a folder without the right", "Job/Create", func(ctx context.Context, c *Controller) error { _, err := c.CreateFolder(ctx, "x", ""); return err }, rollback.Denied, "the right Job/Create"},
		{"update without the right", "Job/Configure", func(ctx context.Context, c *Controller) error { return c.UpdatePipeline(ctx, web, Pipeline{}, ours()) }, rollback.Denied, "the right Job/Configure"},
		{"no folder", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "none/job", ours()) }, rollback.NotFound, "the folder of none/job is not there"},
		{"in a job", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, web+"/job", ours()) }, rollback.NotFound, "or no folder"},
		{"in a multibranch project", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "shop/job", ours()) }, rollback.NotFound, "or no folder"},
		{"a folder's folder", "", func(ctx context.Context, c *Controller) error {
			_, err := c.CreateFolder(ctx, "none/x", "")
			return err
		}, rollback.NotFound, "the folder of none/x"},
		{"a folder that is a job", "", func(ctx context.Context, c *Controller) error { _, err := c.CreateFolder(ctx, web, ""); return err }, rollback.Rejected, "is no folder"},
		{"a folder that is a project", "", func(ctx context.Context, c *Controller) error { _, err := c.CreateFolder(ctx, "shop", ""); return err }, rollback.Rejected, "is no folder"},
		{"a job that is a folder", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "deploy", ours()) }, rollback.Rejected, "already exists with the name"},
		{"an unsafe name", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "deploy/a?b", ours()) }, rollback.Rejected, "unsafe name"},
		{"no name", "", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "deploy/", ours()) }, rollback.Rejected, "full name"},
		{"no folder's name", "", func(ctx context.Context, c *Controller) error { _, err := c.CreateFolder(ctx, "", ""); return err }, rollback.Rejected, "full name"},
		{"update of nothing", "", func(ctx context.Context, c *Controller) error { return c.UpdatePipeline(ctx, made, Pipeline{}, ours()) }, rollback.NotFound, "check the name"},
		{"a hidden job", "Job/Read", func(ctx context.Context, c *Controller) error { return c.CreatePipeline(ctx, "top", ours()) }, "", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			s, c := world(t)
			if x.deny != "" {
				s.Deny(x.deny)
			}
			err := x.do(ctxFor(t), c)
			if x.kind == "" { // made, but not to be seen: said as it is
				if got := callError(t, err); !strings.Contains(got.Error(), "there is no such job") {
					t.Error(err)
				}
				return
			}
			got := callError(t, err)
			if got.Kind != x.kind || !strings.Contains(err.Error()+" "+got.Fix, x.text) || got.Maybe {
				t.Errorf("%v (%s), want %s and %q", err, got.Fix, x.kind, x.text)
			}
			if s.Config(made) != "" || s.Config("none") != "" {
				t.Error("something was made all the same")
			}
		})
	}
}

// Whatever a write is answered, what counts is what is there afterwards: done once, or not done and said so.
func TestEveryFaultOfAConfiguration(t *testing.T) {
	t.Parallel()
	acts := []struct {
		name, op string
		do       func(ctx context.Context, c *Controller, s *jenkins.Server) error
		done     func(s *jenkins.Server) bool
	}{
		{"create", "POST createItem", func(ctx context.Context, c *Controller, _ *jenkins.Server) error {
			return c.CreatePipeline(ctx, made, ours())
		},
			func(s *jenkins.Server) bool { return s.Config(made) != "" }},
		{"update", "POST config.xml", func(ctx context.Context, c *Controller, s *jenkins.Server) error {
			p, err := ReadPipeline(s.Config(web))
			if err != nil {
				return err
			}
			return c.UpdatePipeline(ctx, web, p, ours())
		}, func(s *jenkins.Server) bool {
			p, err := ReadPipeline(s.Config(web))
			return err == nil && p.Equal(ours())
		}},
		{"folder", "POST createItem", func(ctx context.Context, c *Controller, _ *jenkins.Server) error {
			_, err := c.CreateFolder(ctx, "deploy/new", "")
			return err
		}, func(s *jenkins.Server) bool { return s.Config("deploy/new") != "" }},
	}
	for _, a := range acts {
		for _, f := range faults {
			for _, times := range []int{0, 1} {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s %s times=%d done=%v", a.name, f.name, times, after), func(t *testing.T) {
						t.Parallel()
						s, c := world(t)
						if f.fault.Hang {
							c.r.timeout = 400 * time.Millisecond
						}
						injected, asked := counting(f.fault, a.op)
						injected.After, injected.Times = after, times
						s.Inject(injected)
						err := a.do(ctxFor(t), c, s)
						done := a.done(s)
						passes := passing(&rollback.CallError{Kind: f.kind})
						switch {
						case err == nil && !done:
							t.Error("says done, and it is not")
						case err != nil && done && passes && f.kind != rollback.Throttled:
							t.Errorf("done, but: %v", err)
						case err != nil && f.kind == rollback.Broken && !after && strings.Contains(err.Error(), "the answer was done, but"): // and the look told
						case err != nil && times == 1 && passes && f.name != "500" && f.fault.Header.Get("Retry-After") != "3600":
							t.Errorf("one fault that passes, and it is not done: %v", err)
						}
						if err != nil {
							got := callError(t, err)
							if got.Kind != f.kind && got.Kind != rollback.Conflict {
								t.Errorf("%v is %q, want %q", err, got.Kind, f.kind)
							}
							if got.Maybe && !passes {
								t.Errorf("%v: refused, and may have been done", err)
							}
						}
						limit := int64(2)
						if f.sent > 2 && (f.kind == rollback.Throttled || f.kind == rollback.Expired) {
							limit = 2 * int64(maxAttempts) // these say that nothing was done
						}
						if n := asked.Load(); n > limit {
							t.Errorf("sent %d times", n)
						}
					})
				}
			}
		}
	}
}

// The look after a write fails: nobody knows, and it is said.
func TestLookAfterAWriteFails(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		if f.name == "404" { // not there
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s, c := world(t)
			if f.fault.Hang {
				c.r.timeout = 400 * time.Millisecond
			}
			p := on(t, s, web)
			for name, do := range map[string]func() error{
				"create": func() error { return c.CreatePipeline(ctxFor(t), made, ours()) },
				"update": func() error { return c.UpdatePipeline(ctxFor(t), web, p, ours()) },
			} {
				injected, _ := counting(f.fault, "GET config.xml")
				if name == "update" {
					injected.Skip = 1
				}
				s.Clear()
				s.Inject(injected)
				if got := callError(t, do()); !got.Maybe || got.Kind != f.kind {
					t.Errorf("%s: %+v", name, got)
				}
			}
			s.Clear()
			// And whoever comes next finds it as it must be.
			must(t, c.CreatePipeline(ctxFor(t), made, ours()))
			must(t, c.UpdatePipeline(ctxFor(t), web, p, ours()))
		})
	}
}

// Two who make the same job at the same time: one job, and both are content.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() { errs[i] = c.CreatePipeline(ctxFor(t), made, ours()) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	if s.Count("POST createItem") != len(errs) || !on(t, s, made).Equal(ours()) {
		t.Errorf("%d writes", s.Count("POST createItem"))
	}
}

func TestConfigurationWithoutAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	c := client(t, url)
	if got := callError(t, c.CreatePipeline(ctxFor(t), made, ours())); got.Kind != rollback.Unreachable {
		t.Errorf("%+v", got)
	}
	s, c := world(t)
	s.Inject(fake.Fault{Op: "POST *", Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := callError(t, c.CreatePipeline(ctx, made, ours())); !got.Maybe {
		t.Errorf("given up: %+v", got)
	}
}

func TestConfigurationWithPassword(t *testing.T) {
	t.Parallel()
	s, c := world(t, withPassword)
	must(t, c.CreatePipeline(ctxFor(t), made, ours()))
	s.EndSessions() // Jenkins has restarted: the crumb is refused, and a new one fetched
	must(t, c.UpdatePipeline(ctxFor(t), made, ours(), another()))
	if !on(t, s, made).Equal(another()) {
		t.Error("not changed")
	}
}
