package main

// The loopback world as the bench uses it.

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/ecr"
	"github.com/rollback-tools/rollback/internal/fake/kube"
)

// latency is what is injected into every call where waves are counted, slack what may be off in the log (see inWaves).
const (
	latency = 100 * time.Millisecond
	slack   = latency / 5
)

// site is a loopback world with the environment in which a program meets it.
type site struct {
	*demo.World
	env []string
}

func open(o demo.Options) (*site, error) {
	w, err := demo.Start(o)
	if err != nil {
		return nil, err
	}
	return &site{w, w.Env(os.Environ())}, nil
}

// slow injects d into every call of all systems.
func (s *site) slow(d time.Duration) {
	s.Registry.Latency(d)
	s.Cluster.Latency(d)
	if s.GitHub != nil {
		s.GitHub.Latency(d)
		s.Jenkins.Latency(d)
	}
}

// forget empties the logs.
func (s *site) forget() {
	s.Registry.Reset()
	s.Cluster.Reset()
	if s.GitHub != nil {
		s.GitHub.Reset()
		s.Jenkins.Reset()
	}
}

// calls are those since forget.
func (s *site) calls() []call {
	logs := [][]fake.Request{s.Registry.Requests(), s.Cluster.Requests()}
	if s.GitHub != nil {
		logs = append(logs, s.GitHub.Requests(), s.Jenkins.Requests())
	}
	return calls(logs...)
}

// seen is one run of the program with the calls it made.
type seen struct {
	ended
	calls []call
}

// do runs the program once and tells what it asked for.
func (b *bench) do(ctx context.Context, s *site, args ...string) (seen, error) {
	s.forget()
	e, err := command(ctx, s.env, s.Dir, b.bin, args...)
	return seen{e, s.calls()}, err
}

// scope are the flags of a service in the world's environment.
func scope(service string, more ...string) []string {
	return append([]string{"--service", service, "--environment", demo.Environment}, more...)
}

func args(command string, more ...string) []string { return append([]string{command}, more...) }

// forgetRollbacks deletes the record of a service, so that every repetition meets the same history.
func (s *site) forgetRollbacks(service string) error {
	path := "/api/v1/namespaces/" + demo.Namespace + "/configmaps/rollback-" + service
	r := httptest.NewRequest(http.MethodDelete, path, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+kube.AdminToken)
	w := httptest.NewRecorder()
	s.Cluster.Next.ServeHTTP(w, r) // behind the switchboard: not one of the calls that are counted
	if w.Code != http.StatusOK && w.Code != http.StatusNotFound {
		return fmt.Errorf("deleting the record of %s: %d %s", service, w.Code, strings.TrimSpace(w.Body.String()))
	}
	return nil
}

// settle waits until the workloads have turned over.
func (s *site) settle(ctx context.Context, workloads ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, w := range workloads {
		resource, name, _ := strings.Cut(w, "/")
		if err := s.Cluster.WaitRollout(ctx, resource, demo.Namespace, name); err != nil {
			return err
		}
	}
	return nil
}

// fill pushes n images with a commit tag each, an hour apart, and points latest at the newest. It returns their commits,
// oldest first.
func (s *site) fill(repository string, n int) ([]string, error) {
	s.Registry.CreateRepository(repository)
	now := time.Now()
	var commits []string
	for i := range n {
		ago := time.Duration(n-i) * time.Hour
		commit := demo.CommitOf(fmt.Sprint(repository, i))
		tags := []string{commit}
		if i == n-1 {
			tags = append(tags, "latest")
		}
		pushed, err := s.Registry.Push(repository, ecr.PushOptions{Tags: tags, Content: commit, Created: now.Add(-ago)})
		if err != nil {
			return nil, err
		}
		if err := s.Registry.SetPushedAt(repository, pushed.Digest, now.Add(-ago).UTC()); err != nil {
			return nil, err
		}
		commits = append(commits, commit)
	}
	return commits, nil
}
