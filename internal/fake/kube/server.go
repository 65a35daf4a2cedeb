package kube

import (
	"container/heap"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// AdminToken is the bearer token of the built-in administrator, who may do everything.
const AdminToken = "loopback-admin"

// Version is what /version tells. The part after the plus says that it is not a real one.
const Version = "v1.37.2+loopback"

// ErrImageNotFound is what Resolve returns for a tag or digest that the registry does not have.
var ErrImageNotFound = errors.New("not found")

// Options configure a Server. The zero value is usable: one node, the namespaces default and kube-system, no delays worth
// mentioning, and a registry that has no image.
type Options struct {
	// Resolve asks the registry which digest ("sha256:…") an image reference names now, as a node does when it pulls. It is
	// called without locks, in its own goroutine, must be bounded in time (Close waits for it), and returns ErrImageNotFound
	// (wrapped or not) for what does not exist. A reference by digest resolves to that digest, if the registry has it.
	Resolve func(ref string) (digest string, err error)
	// ImageID is how the nodes report an image; nil means RepoDigest.
	ImageID ImageIDForm

	Namespaces []string // made at the start, besides default and kube-system
	Nodes      []string // names of the nodes; none means one, "node-1"
	Rollouts   bool     // serve argoproj.io/v1alpha1 rollouts, as inert custom resources

	// Users are who may talk to the server. With none, requests without a token are the administrator's; with any, they
	// are refused with 401, as are unknown tokens always.
	Users []User

	Delays Delays
}

// Delays are how long things take; each zero value means the default given with it.
type Delays struct {
	Controller  time.Duration // from a change to the controller's reaction, 2 ms; until then observedGeneration lags
	Schedule    time.Duration // from creation of a pod to its node, 1 ms
	Pull        time.Duration // to pull an image that the node does not have, 2 ms
	Start       time.Duration // from image to running container, 1 ms
	Ready       time.Duration // from running to ready, 2 ms
	Run         time.Duration // how long containers run that are meant to end (init containers, Jobs), 1 ms
	Termination time.Duration // from the deletion of a running pod to its end, 2 ms
	PullBackoff time.Duration // first wait after a failed pull, doubled up to 32 times; 5 ms (a real kubelet: 10 s)
	CrashLoop   time.Duration // first wait of CrashLoopBackOff, doubled up to 32 times; 5 ms (a real kubelet: 10 s)
	Probe       time.Duration // period of readiness probes, 10 ms; a failing one makes an Unhealthy event
}

func (d *Delays) defaults() {
	for _, p := range []struct {
		d *time.Duration
		v time.Duration
	}{
		{&d.Controller, 2 * time.Millisecond}, {&d.Schedule, time.Millisecond}, {&d.Pull, 2 * time.Millisecond},
		{&d.Start, time.Millisecond}, {&d.Ready, 2 * time.Millisecond}, {&d.Run, time.Millisecond},
		{&d.Termination, 2 * time.Millisecond}, {&d.PullBackoff, 5 * time.Millisecond}, {&d.CrashLoop, 5 * time.Millisecond},
		{&d.Probe, 10 * time.Millisecond},
	} {
		if *p.d == 0 {
			*p.d = p.v
		}
	}
}

// Server is the whole cluster. It is an http.Handler; serve it on 127.0.0.1. Faults, latency and the log of requests are
// those of the Switchboard. Operations are named by verb and resource: "LIST pods", "WATCH pods", "CREATE configmaps",
// "GET configmaps/rollback-payments", "UPDATE …", "PATCH deployments/payments", "DELETE …", "GET pods/web-0/log",
// "GET /version".
type Server struct {
	*fake.Switchboard

	opts      Options
	resources []*resource

	mu      sync.Mutex
	objects map[key]*object
	byRes   map[*resource]map[key]*object
	owned   map[string]map[key]bool // owner's UID → dependants
	version int64
	log     []change
	oldest  int64 // changes up to this version have been forgotten
	changed chan struct{}
	dropped chan struct{} // closed and replaced to end all watches
	chunks  []chunk
	users   map[string]User
	refused []string

	queued map[key]bool
	later  map[key]time.Time
	timers timers
	seq    int64
	kick   chan struct{}
	stop   chan struct{}
	closed bool
	wg     sync.WaitGroup

	kubelet kubelet
	blocked map[string]string // namespace → why no pods may be created in it
	told    map[string]key    // what an event says → the event that counts it
	chatter map[string]int    // component and object → events so far
}

// New starts a cluster. Close it.
func New(o Options) *Server {
	o.Delays.defaults()
	if len(o.Nodes) == 0 {
		o.Nodes = []string{"node-1"}
	}
	if o.ImageID == nil {
		o.ImageID = RepoDigest
	}
	if o.Resolve == nil {
		o.Resolve = func(string) (string, error) { return "", ErrImageNotFound }
	}
	s := &Server{
		opts:      o,
		resources: []*resource{configMaps, events, namespaces, nodes, pods, revisions, daemonSets, deployments, replicaSets, statefulSet, cronJobs, jobs, selfReviews, accessRevs},
		objects:   map[key]*object{},
		byRes:     map[*resource]map[key]*object{},
		owned:     map[string]map[key]bool{},
		version:   1000,
		oldest:    1000,
		changed:   make(chan struct{}),
		dropped:   make(chan struct{}),
		users:     map[string]User{AdminToken: {Token: AdminToken, Name: "admin", Groups: []string{"system:masters"}, Admin: true}},
		queued:    map[key]bool{},
		later:     map[key]time.Time{},
		kick:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		blocked:   map[string]string{},
		told:      map[string]key{},
		chatter:   map[string]int{},
	}
	if o.Rollouts {
		s.resources = append(s.resources, rollouts)
	}
	for _, u := range o.Users {
		s.users[u.Token] = u
	}
	s.kubelet.init()
	s.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(s.serve), Op: s.op}
	s.mu.Lock()
	for _, n := range append([]string{"default", "kube-system"}, o.Namespaces...) {
		if s.find(namespaces, "", n) == nil {
			s.create(namespaces, "", newNamespace(n))
		}
	}
	for i, n := range o.Nodes {
		s.create(nodes, "", newNode(n, i))
	}
	s.mu.Unlock()
	s.wg.Go(s.run)
	return s
}

// Close ends watches, hanging requests, controllers and nodes, and waits for them.
func (s *Server) Close() {
	s.Switchboard.Close()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Changed returns a channel that is closed at the next change of any object.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Wait returns when cond holds. It looks now and after every change; cond may use any method of the server.
func (s *Server) Wait(ctx context.Context, cond func() bool) error {
	for {
		changed := s.Changed()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// timer is something to be done later by the one goroutine that runs controllers and nodes.
type timer struct {
	at  time.Time
	seq int64
	fn  func()
}

type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	if !t[i].at.Equal(t[j].at) {
		return t[i].at.Before(t[j].at)
	}
	return t[i].seq < t[j].seq
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return x
}

// after runs fn with s.mu held, d from now. s.mu is held.
func (s *Server) after(d time.Duration, fn func()) {
	s.seq++
	heap.Push(&s.timers, timer{time.Now().Add(d), s.seq, fn})
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Server) run() {
	sleep := time.NewTimer(time.Hour)
	defer sleep.Stop()
	for {
		s.mu.Lock()
		wait := time.Hour
		for !s.closed && len(s.timers) > 0 {
			if wait = time.Until(s.timers[0].at); wait > 0 {
				break
			}
			heap.Pop(&s.timers).(timer).fn()
			s.mu.Unlock() // let requests in between
			s.mu.Lock()
			wait = time.Hour
		}
		s.mu.Unlock()
		sleep.Reset(wait)
		select {
		case <-s.stop:
			return
		case <-s.kick:
		case <-sleep.C:
		}
	}
}

// background runs fn without the lock, and then the function it returns with it. s.mu is held.
func (s *Server) background(fn func() func()) {
	if s.closed {
		return
	}
	s.wg.Go(func() {
		then := fn()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			then()
		}
	})
}
