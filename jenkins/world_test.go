package jenkins

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	payments = "deploy/payments" // its parameters include our id
	web      = "deploy/web"      // no parameters
	branch   = "shop/feature%2Fx"

	good = rollback.Commit("1111111111111111111111111111111111111111")
	bad  = rollback.Commit("2222222222222222222222222222222222222222")

	// publicRoot is the URL that the controller believes to have: never the one we reach it under.
	publicRoot = "https://ci.acme.example/ci"
)

// soon fires at once, near enough: a pause of the program costs a test a millisecond.
func soon(time.Duration) <-chan time.Time { return time.After(time.Millisecond) }

// newServer is a controller with a context path, two jobs in a folder and a branch job.
func newServer(t *testing.T, o jenkins.Options) (*jenkins.Server, string) {
	t.Helper()
	if o.Path == "" {
		o.Path = "/ci"
	}
	if o.Root == "" {
		o.Root = publicRoot
	}
	s := jenkins.New(o)
	furnish(s)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		server.Close()
		for _, v := range s.Violations() {
			t.Errorf("violation: %s", v)
		}
	})
	return s, server.URL + o.Path
}

func furnish(s *jenkins.Server) {
	s.AddJob(payments, jenkins.Job{Parameters: []jenkins.Parameter{
		{Kind: "String", Name: "COMMIT"},
		{Kind: "Choice", Name: "KIND", Choices: []string{"alpha", "beta"}},
		{Kind: "Boolean", Name: "FLAG", Default: "false"},
		{Kind: "Password", Name: "SECRET", Default: "x"},
		{Kind: "String", Name: IDParameter},
	}})
	s.AddJob(web, jenkins.Job{})
	s.AddMultibranch("shop")
	s.AddJob(branch, jenkins.Job{})
}

// client is a client of the controller with an API token, and no patience to speak of.
func client(t *testing.T, url string, change ...func(*Config)) *Controller {
	t.Helper()
	cfg := Config{URL: url, User: jenkins.UserName, Token: jenkins.Token, Patience: 2 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.r.pause = soon
	t.Cleanup(c.Close)
	return c
}

func world(t *testing.T, change ...func(*Config)) (*jenkins.Server, *Controller) {
	t.Helper()
	s, url := newServer(t, jenkins.Options{})
	return s, client(t, url, change...)
}

func withPassword(c *Config) { c.Token, c.Password = "", jenkins.Password }

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// callError is err as the adapter must return it.
func callError(t *testing.T, err error) *rollback.CallError {
	t.Helper()
	var f *rollback.CallError
	if !errors.As(err, &f) {
		t.Fatalf("%v is no CallError", err)
	}
	if f.System != "jenkins" || f.Op == "" || f.Err == nil || f.Kind == "" {
		t.Errorf("incomplete: %+v", f)
	}
	for _, secret := range []string{jenkins.Token, jenkins.Password} {
		if strings.Contains(err.Error()+f.Fix, secret) {
			t.Errorf("a secret in %q", err)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "<h") {
		t.Errorf("not one plain line: %q", err)
	}
	return f
}

// page is a log that is read while it is written.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func start(t *testing.T, c *Controller, job, id string, values map[string]string) rollback.StartedBuild {
	t.Helper()
	b, err := c.Start(ctxFor(t), rollback.BuildRequest{Job: job, ID: id, Parameters: values})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func running(t *testing.T, s *jenkins.Server, job string, n int) *jenkins.Build {
	t.Helper()
	if err := s.Wait(ctxFor(t), func() bool { return len(s.Builds(job)) >= n }); err != nil {
		t.Fatalf("%s has %d builds", job, len(s.Builds(job)))
	}
	return s.Builds(job)[n-1]
}
