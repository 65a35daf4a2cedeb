// Package fake has what the loopback systems in its subfolders share: fault switches, injected latency and counting.
//
// Each subfolder is one outside system as an http.Handler: stateful, and strict about what it accepts. Tests and
// `rollback demo` serve them on 127.0.0.1 and point the program at them through the configuration that any user has.
package fake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault answers matching requests in place of the system.
type Fault struct {
	// Op and When tell which requests; the operation is named as the system's fake derives it (see Switchboard.Op).
	Op     string                   // exact operation, or a prefix ending in "*"; "" or "*" matches every request
	When   func(*http.Request) bool // what else must be so, if set; it leaves the body as it was
	Status int                      // answer with this status; 0 with no other field set lets the request through (useful with Hold or Delay)
	Header http.Header
	Body   string        // sent as it is; the system's fake may set a body in the system's own error form
	Cut    bool          // promise a longer body than is sent, then drop the connection
	Hang   bool          // answer nothing, or with a Status that and the body, and go on until the client gives up or the fake is closed
	Drop   bool          // close the connection without an answer
	After  bool          // let the system do the request first, whatever the client does, then fail the answer (a write whose answer is lost)
	Delay  time.Duration // wait first
	// Hold, if set, is called first, in the request's goroutine; the request waits until it returns. Tests use it to
	// act (or kill) exactly between two requests.
	Hold func(*http.Request)
	// Times is how often the fault fires; 0 means always.
	Times int
	// Skip is how many matching requests pass before it fires.
	Skip int
}

// Request is one request as the switchboard saw it.
type Request struct {
	Op     string
	Method string
	Path   string    // with the query
	Start  time.Time // when it came, before any injected latency
	Time   time.Time // when its answer was finished
	Bytes  int64     // of the answer's body
	Status int
}

// NodeAgent is how nodes name themselves to a registry: as containerd does.
const NodeAgent = "containerd/v2.1.4"

// PullOp begins the operation of a node that asks a registry what a reference names: "pull payments:latest". Whoever counts
// the program's calls leaves these out.
const PullOp = "pull "

// Pulling tells whether a request is a node's.
func Pulling(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "containerd/") }

// Switchboard wraps a fake system: it injects latency and faults and keeps count.
type Switchboard struct {
	Next http.Handler
	// Op derives the operation's name from a request: "PutImage", "PATCH deployments/payments". Bodies must be restored. A
	// node's request is not asked for: its operation begins with PullOp.
	Op func(*http.Request) string

	mu       sync.Mutex
	faults   []*injected
	injected []*injected // those that were cleared as well
	latency  time.Duration
	requests []Request
	open     int
	closed   chan struct{}
	once     sync.Once
}

// injected is a fault and how often it has fired.
type injected struct {
	Fault
	fired int
}

// Inject adds a fault. Faults are tried in the order they were added; the first that matches fires.
func (s *Switchboard) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &injected{Fault: f}
	s.faults, s.injected = append(s.faults, i), append(s.injected, i)
}

// Unfired tells of each fault that has not fired as often as it was to, or not at all where nobody said how often: whoever
// injected it has not seen what it does.
func (s *Switchboard) Unfired() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, f := range s.injected {
		if want := max(f.Times, 1); f.fired < want {
			list = append(list, fmt.Sprintf("the fault in %q fired %d times, want %d; %d more requests were to pass before it", f.Op, f.fired, want, f.Skip))
		}
	}
	return list
}

// Clear removes every fault.
func (s *Switchboard) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Latency makes every request wait d before it is looked at: the way from the program to the system. Nodes, which stand beside
// their registry, don't have it.
func (s *Switchboard) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Requests returns what was asked so far, in the order the answers were finished.
func (s *Switchboard) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Open is how many requests are being answered now: their time and size are not among Requests yet.
func (s *Switchboard) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Reset forgets the requests seen so far.
func (s *Switchboard) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Count is the number of requests whose operation matches op (exact, or a prefix ending in "*").
func (s *Switchboard) Count(op string) int {
	n := 0
	for _, r := range s.Requests() {
		if matches(op, r.Op) {
			n++
		}
	}
	return n
}

// Close ends every hanging request.
func (s *Switchboard) Close() {
	s.once.Do(func() { close(s.done()) })
}

func (s *Switchboard) done() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = make(chan struct{})
	}
	return s.closed
}

func matches(pattern, op string) bool {
	if pattern == "" || pattern == "*" || pattern == op {
		return true
	}
	prefix, ok := strings.CutSuffix(pattern, "*")
	return ok && strings.HasPrefix(op, prefix)
}

func (s *Switchboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	op, near := s.operation(r)
	s.mu.Lock()
	latency := s.latency
	if near {
		latency = 0
	}
	s.open++
	var fault *injected
	for _, f := range s.faults {
		if !matches(f.Op, op) || f.When != nil && !f.When(r) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 && f.fired == f.Times {
			continue
		}
		f.fired++
		fault = f
		break
	}
	s.mu.Unlock()

	c := &counter{ResponseWriter: w, status: http.StatusOK}
	came := false
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open--; !came {
			return
		}
		s.requests = append(s.requests, Request{op, r.Method, r.URL.RequestURI(), start, time.Now(), c.bytes, c.status})
	}()
	if came = s.wait(r, latency); !came {
		return
	}
	if fault != nil && s.fire(c, r, &fault.Fault) {
		return
	}
	s.Next.ServeHTTP(c, r)
}

// operation names a request, and tells whether a node makes it.
func (s *Switchboard) operation(r *http.Request) (op string, node bool) {
	if !Pulling(r) {
		return s.Op(r), false
	}
	repo, ref, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	sep := ":"
	if strings.Contains(ref, ":") {
		sep = "@"
	}
	return PullOp + repo + sep + ref, true
}

// fire plays the fault and tells whether the request has been answered.
func (s *Switchboard) fire(w *counter, r *http.Request, f *Fault) bool {
	client := r.Context()
	// Hold may end the client, and what it sent with it. Only of a request that was read to its end is it known when the client gives up.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if f.After {
		r = r.Clone(context.WithoutCancel(client))
	}
	if f.Hold != nil {
		f.Hold(r)
	}
	if !s.wait(r, f.Delay) {
		return true
	}
	if f.After {
		s.Next.ServeHTTP(&discard{header: http.Header{}}, r)
	}
	switch {
	case f.Hang:
		if w.status = f.Status; f.Status != 0 {
			answer(w, f)
		}
		select {
		case <-client.Done():
		case <-s.done():
		}
		panic(http.ErrAbortHandler)
	case f.Drop:
		w.status = 0
		panic(http.ErrAbortHandler)
	case f.Status == 0 && !f.Cut:
		return false
	}
	if f.Cut {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.Body)+1000))
	}
	if answer(w, f); f.Cut {
		panic(http.ErrAbortHandler)
	}
	return true
}

// answer sends what the fault has of an answer.
func answer(w *counter, f *Fault) {
	maps.Copy(w.Header(), f.Header)
	w.WriteHeader(max(f.Status, http.StatusOK))
	_, _ = w.Write([]byte(f.Body))
	if f.Cut || f.Hang {
		w.Flush()
	}
}

// wait sleeps for d unless the request or the fake ends first.
func (s *Switchboard) wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	case <-s.done():
		return false
	}
}

// counter counts what is sent. It passes Flush on, for watches.
type counter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counter) WriteHeader(code int) {
	c.status = code
	c.ResponseWriter.WriteHeader(code)
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

func (c *counter) Flush() {
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// discard is where an answer goes that the client never gets.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// HTMLPage is what a proxy answers in place of the system.
const HTMLPage = "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"
