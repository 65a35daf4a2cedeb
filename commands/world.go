package commands

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/ecr"
	"github.com/rollback-tools/rollback/internal/eks"
	"github.com/rollback-tools/rollback/internal/kube"
	"github.com/rollback-tools/rollback/internal/oci"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// site is a scope with everything that was set up to work on it.
type site struct {
	file    *config.File
	given   config.Given
	scoped  config.Scoped
	cluster *kube.Cluster
	world   rollback.World
	// noForge says why GitHub is not asked, "" if it is.
	noForge string
}

// open reads the configuration and sets up the adapters of one scope. Nothing is written; EKS is asked for its endpoint.
func (e *Env) open(c *cli.Context, noRecord bool) (*site, error) {
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return nil, err
	}
	s := &site{file: file, given: e.given(c)}
	scope := rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	if s.scoped, err = file.Resolve(scope, s.given); err != nil {
		return nil, err
	}
	for _, f := range s.scoped.Findings {
		e.printer().line("! " + f.Text)
	}
	if s.cluster, err = e.clusterOf(c.Context, s.scoped); err != nil {
		return nil, err
	}
	registry, lister, err := e.registryOf(c.Context, s.scoped)
	if err != nil {
		return nil, err
	}
	s.world = rollback.World{
		Registry: registry, Lister: lister, Cluster: s.cluster, Watcher: s.cluster, Diagnoser: s.cluster, Rights: s.cluster, Dead: record.Dead,
		Place: rollback.Place{
			Repository: s.scoped.Image, Tag: s.scoped.Tag, Namespace: s.scoped.Namespace, Account: s.scoped.Registry.Account,
		},
	}
	for _, w := range s.scoped.Refs() {
		s.world.Place.Workloads = append(s.world.Place.Workloads, w.String())
	}
	if !noRecord {
		s.world.Records = e.recordsOf(s.cluster, s.scoped)
	}
	if err := e.connectForge(s); err != nil {
		return nil, err
	}
	if err := e.connectBuilds(s); err != nil {
		return nil, err
	}
	for _, other := range file.SharedTag(s.scoped) {
		if other.Scope.Environment == scope.Environment {
			continue // the same namespace or a listed service of it: found by the image it uses
		}
		elsewhere := rollback.Elsewhere{Environment: other.Scope.Environment, Namespace: other.Namespace}
		if cluster, err := e.clusterOf(c.Context, other); err != nil {
			elsewhere.Err = err
		} else {
			elsewhere.Cluster = cluster
		}
		s.world.Place.Others = append(s.world.Place.Others, elsewhere)
	}
	return s, nil
}

func (e *Env) recordsOf(cluster *kube.Cluster, s config.Scoped) *record.Records {
	r := record.New(cluster.ConfigMaps(s.Namespace), s.Scope.Environment)
	r.Redact = e.redactor.String
	r.Kubectl = "kubectl --namespace " + s.Namespace
	if s.Cluster.Context != "" {
		r.Kubectl = "kubectl --context " + shellQuote(s.Cluster.Context) + " --namespace " + s.Namespace
	}
	return r
}

func (e *Env) clusterOf(ctx context.Context, s config.Scoped) (*kube.Cluster, error) {
	cfg := kube.Config{
		Kubeconfig: s.Cluster.Kubeconfig, Context: s.Cluster.Context, InCluster: s.Cluster.InCluster,
		Server: s.Cluster.Server, UID: s.Cluster.UID, Version: e.Version, CallTimeout: rollback.CallLimit(s.Timeout) / 2, // it is tried twice
	}
	if s.Cluster.EKS != "" {
		access, err := eks.Describe(ctx, eks.Config{
			Name: s.Cluster.EKS, Region: s.Cluster.Region, Profile: s.Cluster.Profile, RoleARN: s.Cluster.Role, ExternalID: s.Cluster.ExternalID,
		})
		if err != nil {
			return nil, unreachable(err)
		}
		cfg.Context, cfg.Host, cfg.CA = "eks:"+s.Cluster.EKS, access.Server, access.CA
		cfg.Token = func(ctx context.Context) (string, error) {
			token, _, err := access.Token(ctx)
			return token, err
		}
	}
	cluster, err := kube.New(cfg)
	if err == nil {
		e.opened.add(cluster.Close)
	}
	return cluster, err
}

func (e *Env) registryOf(ctx context.Context, s config.Scoped) (rollback.Registry, rollback.Lister, error) {
	r := s.Registry
	if r.Kind == "oci" {
		cfg := oci.Config{Host: r.Host, Insecure: r.Insecure, CAFile: r.CAFile}
		if r.UsernameEnv != "" || r.PasswordEnv != "" {
			cfg.Username, cfg.Password = e.Getenv(r.UsernameEnv), e.Getenv(r.PasswordEnv)
			cfg.CredentialsFrom = r.UsernameEnv + " and " + r.PasswordEnv
			if cfg.Username == "" || cfg.Password == "" {
				return nil, nil, rollback.UsageErrorf("registry %s: the variables %s must both be set", r.Host, cfg.CredentialsFrom)
			}
		}
		registry, err := oci.New(ctx, cfg)
		if err != nil {
			return nil, nil, unreachable(err)
		}
		e.opened.add(registry.Close)
		return registry, registry, nil
	}
	registry, err := ecr.New(ctx, ecr.Config{Account: r.Account, Region: r.Region, Profile: r.Profile, RoleARN: r.Role, ExternalID: r.ExternalID, Limit: rollback.CallLimit(s.Timeout)})
	if err != nil {
		return nil, nil, unreachable(err)
	}
	e.opened.add(registry.Close)
	return registry, registry, nil
}

// unreachable dresses a failure to set up an adapter or to read, before anything was touched. As everywhere, what is not there
// was named wrongly, and an error that is dressed already keeps what it says.
func unreachable(err error) error {
	if own := (*rollback.Error)(nil); errors.As(err, &own) {
		e := *own
		e.Production = rollback.NotChanged
		return &e
	}
	e := &rollback.Error{Exit: rollback.Failed, Err: err, Production: rollback.NotChanged}
	if rollback.KindOf(err) == rollback.NotFound {
		e.Exit = rollback.Usage
	}
	if fix := rollback.FixOf(err); fix != "" {
		e.Next = append(e.Next, fix)
	}
	return e
}

// actor is who acts: the person Jenkins names, or the one who is logged in.
func (e *Env) actor(c *cli.Context) rollback.Actor {
	a := rollback.Actor{User: e.text(c, optUser), Build: e.Getenv("BUILD_URL"), Process: record.Process()}
	for _, v := range []string{"BUILD_USER_ID", "BUILD_USER", "CHANGE_AUTHOR"} {
		if a.User == "" {
			a.User = e.Getenv(v)
		}
	}
	if a.User == "" && e.Getenv("JENKINS_URL") != "" && a.Build != "" {
		a.User = "jenkins:" + e.Getenv("JOB_NAME") + "#" + e.Getenv("BUILD_NUMBER")
	}
	if a.User == "" {
		if u, err := user.Current(); err == nil {
			a.User = u.Username
		}
	}
	if a.User == "" {
		a.User = "unknown"
	}
	if host, err := os.Hostname(); err == nil {
		a.Host = host
	}
	return a
}

// scopeFlagsText is the scope as flags, for commands that are printed.
func scopeFlagsText(s rollback.Scope) string {
	return fmt.Sprintf("--service %s --environment %s", s.Service, s.Environment)
}

// journal opens the journal of a run. Where its place cannot be written, it is in a new directory for temporary files, and why
// says so; an error means that none can be written.
func (e *Env) journal(scope rollback.Scope, run string) (j *record.Journal, why, err error) {
	dir, err := record.StateDir(e.Getenv)
	if err == nil {
		if j, err = e.journalIn(dir, scope, run); err == nil {
			return j, nil, nil
		}
	}
	dir, failed := os.MkdirTemp(e.Getenv("TMPDIR"), "rollback-")
	if failed != nil {
		return nil, nil, err
	}
	if j, failed = e.journalIn(dir, scope, run); failed != nil {
		_ = os.Remove(dir)
		return nil, nil, err
	}
	return j, err, nil
}

func (e *Env) journalIn(dir string, scope rollback.Scope, run string) (*record.Journal, error) {
	j, err := record.OpenJournal(record.JournalPath(dir, scope, run), e.redactor.String)
	if err != nil {
		return nil, err
	}
	if err := room(dir); err != nil {
		_ = j.Close()
		return nil, err
	}
	return j, nil
}

// onJenkins tells whether a Jenkins build runs us. A controller that was not told its own address sets no JENKINS_URL.
func (e *Env) onJenkins() bool {
	return e.Getenv("BUILD_NUMBER") != "" && (e.Getenv("JENKINS_URL") != "" || e.Getenv("JOB_NAME") != "")
}
