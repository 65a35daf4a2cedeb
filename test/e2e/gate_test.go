package e2e

// A gate stands between the program and a system. When it is shut, nobody listens there: connections are refused.

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

type gate struct {
	to, at string // addresses

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
}

// newGate is an open gate to an address.
func newGate(to string) (*gate, error) {
	g := &gate{to: to, at: "127.0.0.1:0", open: map[net.Conn]bool{}}
	return g, g.unlock()
}

func (g *gate) unlock() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", g.at)
	if err != nil {
		return err
	}
	g.listener, g.at = l, l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.pass(c)
		}
	}()
	return nil
}

// shut refuses connections from now on, and breaks those that are open.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return
	}
	_ = g.listener.Close()
	g.listener = nil
	for c := range g.open {
		_ = c.Close()
	}
	clear(g.open)
}

func (g *gate) pass(c net.Conn) {
	behind, err := net.Dial("tcp", g.to)
	if err != nil {
		_ = c.Close()
		return
	}
	g.mu.Lock()
	if g.listener == nil {
		_ = c.Close()
	} else {
		g.open[c] = true
	}
	g.mu.Unlock()
	go func() {
		_, _ = io.Copy(behind, c)
		_ = behind.Close()
	}()
	_, _ = io.Copy(c, behind)
	_ = c.Close()
	g.mu.Lock()
	delete(g.open, c)
	g.mu.Unlock()
}

// gates are in front of all systems of a stage.
type gates struct{ api, registry, github, jenkins *gate }

// all are those that there are.
func (g *gates) all() (list []*gate) {
	if g == nil {
		return nil
	}
	return slices.DeleteFunc([]*gate{g.api, g.registry, g.github, g.jenkins}, func(g *gate) bool { return g == nil })
}

var serverOf = regexp.MustCompile(`server: "https://([^"]+)"`)

// gated puts gates between the program and the systems, after the seed.
func gated(seed func(context.Context, *Stage) error) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := seed(ctx, s); err != nil {
			return err
		}
		kubeconfig, err := os.ReadFile(filepath.Join(s.world.Dir(), "kubeconfig"))
		if err != nil {
			return err
		}
		api := serverOf.FindStringSubmatch(string(kubeconfig))
		if api == nil {
			return errors.New("the kubeconfig names no server")
		}
		s.gates = &gates{}
		behind := map[**gate]string{&s.gates.api: "https://" + api[1], &s.gates.registry: s.world.RegistryURL()}
		if f, ok := s.world.(*forge); ok {
			behind[&s.gates.github], behind[&s.gates.jenkins] = f.githubURL, f.jenkinsURL
		}
		var swaps []string
		for g, text := range behind {
			u, err := url.Parse(text)
			if err != nil {
				return err
			}
			if *g, err = newGate(u.Host); err != nil {
				return err
			}
			swaps = append(swaps, u.Host, (*g).at)
		}
		swap := strings.NewReplacer(swaps...).Replace
		for _, name := range []string{"kubeconfig", "rollback.yaml"} {
			path := filepath.Join(s.world.Dir(), name)
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(swap(string(text))), 0o600); err != nil {
				return err
			}
		}
		for _, e := range s.world.Env() {
			if swap(e) != e {
				s.env = append(s.env, swap(e))
			}
		}
		return nil
	}
}

// down has a system refuse all connections, and nothing else be wrong.
func down(which func(*gates) *gate) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := up(ctx, s); err != nil {
			return err
		}
		which(s.gates).shut()
		return nil
	}
}

// shuts has a system refuse all connections from the moment on when a call has come.
func (c call) shuts(which func(*gates) *gate) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := up(ctx, s); err != nil {
			return err
		}
		return c.meets(func(s *Stage) error { which(s.gates).shut(); return nil })(ctx, s)
	}
}

// up opens all gates, and ends all faults.
func up(ctx context.Context, s *Stage) error {
	for _, g := range s.gates.all() {
		if err := g.unlock(); err != nil {
			return err
		}
	}
	if _, ok := s.world.(*forge); ok {
		return mended(ctx, s)
	}
	return well(ctx, s)
}

// away has Jenkins refuse connections for a while from the moment on when GitHub is asked for something.
func away(op string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := up(ctx, s); err != nil {
			return err
		}
		s.world.(*forge).github.Inject(fake.Fault{Op: op, Times: 1, Hold: func(*http.Request) {
			s.gates.jenkins.shut()
			time.AfterFunc(5*time.Second, func() {
				if err := s.gates.jenkins.unlock(); err != nil {
					s.broken(err)
				}
			})
		}})
		return nil
	}
}

func theAPI(g *gates) *gate      { return g.api }
func theRegistry(g *gates) *gate { return g.registry }
func theGitHub(g *gates) *gate   { return g.github }
func theJenkins(g *gates) *gate  { return g.jenkins }
