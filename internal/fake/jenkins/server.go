// Package jenkins is a loopback Jenkins controller: jobs in folders and multibranch projects, parameters, the queue, builds
// with a life of their own, their logs, and the rules about crumbs, tokens, rights and redirects.
//
// It answers as Jenkins 2.516 was seen to do, with HTML where that one sends HTML, and it is stricter where the real one is
// merely patient: requests for whole objects (no tree=, or depth=) and fields it does not know are noted as violations.
package jenkins

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// The user a new controller knows. The user may do everything.
const (
	UserName = "rollback"
	Token    = "11d0c9ebf2a8a3f1f9b0a3c4d5e6f70819"
	Password = "correct horse battery staple"
)

// Version is what the controller says it is.
const Version = "2.516.2"

// Options describe the controller. Empty fields have the defaults named.
type Options struct {
	// Path is the context path below which everything is served, "/jenkins": none.
	Path string
	// Root is the root URL that the controller was configured with, without a trailing slash: the address of the request.
	Root      string
	Executors int           // builds that run at once: 10
	Quiet     time.Duration // the quiet period of triggers that name no delay: none
	Keep      time.Duration // how long items that left the queue can still be asked for: 5 minutes
	NoCrumbs  bool          // CSRF protection switched off
	Now       func() time.Time
}

// User is somebody who may sign in.
type User struct{ Token, Password string }

// Server is the loopback controller. All methods may be called at any time from any goroutine.
type Server struct {
	*fake.Switchboard // faults, latency, counts; operations are "GET job", "POST buildWithParameters", "GET progressiveText", …

	options Options
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed and made anew at every change
	users      map[string]User
	denied     map[string]bool
	sessions   map[string]string // id → crumb
	serial     int
	items      map[string]*item // by full name
	queue      []*queued        // waiting
	left       map[int64]*queued
	nextQueue  int64
	held       bool
	down       bool
	signIn     int // how many requests are still sent to the sign-in page
	script     Script
	violations []string
	noRestAPI  bool // the plugin pipeline-rest-api is missing
}

// New makes an empty controller that knows UserName. Close it when done.
func New(o Options) *Server {
	if o.Executors == 0 {
		o.Executors = 10
	}
	if o.Keep == 0 {
		o.Keep = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		options:  o,
		changed:  make(chan struct{}),
		users:    map[string]User{UserName: {Token, Password}},
		denied:   map[string]bool{},
		sessions: map[string]string{},
		items:    map[string]*item{"": {kind: folder}},
		left:     map[int64]*queued{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(s.route), Op: s.operation}
	return s
}

// Close ends every build and every hanging request.
func (s *Server) Close() {
	s.mu.Lock() // dispatch starts nothing after this
	s.stop()
	s.mu.Unlock()
	s.Switchboard.Close()
	s.running.Wait()
}

// change tells those who wait that something is different. The caller holds mu.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Wait returns when cond holds, which is asked again after every change of the controller's state, or when ctx ends.
func (s *Server) Wait(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AddUser lets somebody sign in. An empty token or password fits nothing.
func (s *Server) AddUser(name string, u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = u
}

// Deny takes rights away from everybody, or with none gives all back: "Overall/Read", "Job/Read", "Job/Build",
// "Job/Cancel", "Job/Configure".
func (s *Server) Deny(rights ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.denied)
	for _, r := range rights {
		s.denied[r] = true
	}
}

// EndSessions makes every cookie and crumb invalid.
func (s *Server) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Down is the first half of a restart: every request is answered with 503 and "getting ready". Builds go on, as pipelines
// do, and the queue is kept.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}

// Up ends a restart. Sessions and the memory of items that left the queue are lost with it; the next signIn requests are
// sent to the sign-in page, as a controller does that has not loaded its users yet.
func (s *Server) Up(signIn int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.signIn = false, signIn
	clear(s.sessions)
	clear(s.left)
	s.change()
}

// Hold keeps builds in the queue, as if all executors were busy, or lets them start again.
func (s *Server) Hold(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = hold
	s.dispatch()
	s.change()
}

// OnBuild sets the life of the builds of all jobs that have no script of their own. nil is a build that checks out nothing
// and succeeds at once.
func (s *Server) OnBuild(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Violations are the requests so far that a controller would suffer, but that no careful client sends.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(r *http.Request, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf("%s %s: ", r.Method, r.URL.RequestURI())+fmt.Sprintf(format, args...))
}

// root is the URL that the controller believes to have.
func (s *Server) root(r *http.Request) string {
	if s.options.Root != "" {
		return s.options.Root
	}
	return "http://" + r.Host + s.options.Path
}
