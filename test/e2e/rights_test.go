package e2e

// Least privilege, both ways: with the Role that `rollback permissions` prints a command works, with any one right of it
// taken away it fails, or, where the right is optional, works and says what it could not look at.

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rollback-tools/rollback/test/e2e/control"
)

// pair is one right: a verb on a resource.
type pair struct{ group, resource, name, verb string }

func (p pair) String() string {
	s := p.verb + " " + p.resource
	if p.group != "" {
		s += "." + p.group
	}
	if p.name != "" {
		s += " " + p.name
	}
	return s
}

// pairs are the rights in Roles and ClusterRoles, each once, in order.
func pairs(roles []object) []pair {
	var list []pair
	for _, role := range roles {
		for _, r := range items(role, "rules") {
			names := items(r, "resourceNames")
			if len(names) == 0 {
				names = []any{""}
			}
			for _, g := range items(r, "apiGroups") {
				for _, res := range items(r, "resources") {
					for _, n := range names {
						for _, v := range items(r, "verbs") {
							if p := (pair{g.(string), res.(string), n.(string), v.(string)}); !slices.Contains(list, p) {
								list = append(list, p)
							}
						}
					}
				}
			}
		}
	}
	return list
}

// reduced are the roles with one right taken away wherever it stands. Every rule is written out, right by right.
func reduced(roles []object, without pair) []object {
	var out []object
	for _, role := range roles {
		var rules []any
		for _, p := range pairs([]object{role}) {
			if p == without {
				continue
			}
			r := object{"apiGroups": []any{p.group}, "resources": []any{p.resource}, "verbs": []any{p.verb}}
			if p.name != "" {
				r["resourceNames"] = []any{p.name}
			}
			rules = append(rules, r)
		}
		if len(rules) > 0 {
			copied := maps.Clone(role)
			copied["rules"] = rules
			out = append(out, copied)
		}
	}
	return out
}

// rightsCase is one command in a state in which it needs its rights.
type rightsCase struct {
	command string
	state   string // told in the test's name, where a command has more than one
	args    []string
	exit    int // with all rights
	// before brings the world from the bad release that runs into the state in which the command is tried.
	before func(context.Context, *Stage) error
	// only are the rights that are tried in this state, all without any; elsewhere those that another state is for.
	only, elsewhere []string
	// says is what is said when an optional right is missing; a right that is not in it may be missed in silence.
	says map[string]string
}

func TestLeastPrivilege(t *testing.T) {
	for _, c := range rightsCases {
		name := c.command
		if c.state != "" {
			name += ", " + c.state
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

func (c rightsCase) test(t *testing.T) {
	w := newReal(t, Options{}).(*real)
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	defer cancel()
	s := &Stage{world: w, releases: map[string]*Release{}}
	roles, err := s.roles(ctx, "--for", c.command)
	if err != nil {
		t.Fatal(err)
	}
	needed, err := s.roles(ctx, "--for", c.command, "--required-only")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.grant(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	if err := releases(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := s.up(ctx,
		workload(w, "Deployment", "payments", "payments", 1), workload(w, "StatefulSet", "payments-worker", "payments", 1),
		workload(w, "DaemonSet", "payments-agent", "payments", 0),
	); err != nil {
		t.Fatal(err)
	}
	if c.before != nil {
		if err := c.before(ctx, s); err != nil {
			t.Fatal(err)
		}
	}

	// Everything with which the command is tried: all rights, those that it needs, all but one.
	type try struct {
		name    string
		roles   []object
		missing pair
		works   bool
		env     []string
	}
	required := pairs(needed)
	tries := []*try{{name: "all rights", roles: roles, works: true}, {name: "required rights alone", roles: needed, works: true}}
	for _, p := range pairs(roles) {
		if slices.Contains(c.elsewhere, p.masked(w)) || c.only != nil && !slices.Contains(c.only, p.masked(w)) {
			continue
		}
		tries = append(tries, &try{name: "without " + p.masked(w), roles: reduced(roles, p), missing: p, works: !slices.Contains(required, p)})
	}
	for i, try := range tries {
		if try.env, err = w.as(ctx, fmt.Sprintf("try-%d", i), try.roles); err != nil {
			t.Fatal(err)
		}
	}
	state, err := s.keep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	writes := slices.Contains([]string{"run", "undo", "restart", "retag"}, c.command)
	var all sync.WaitGroup
	turns := make(chan struct{}, 3)
	for i, try := range tries {
		one := func() {
			r, err := s.with(try.env).rollback(ctx, slices.Clone(c.args)...)
			if err != nil {
				t.Errorf("%s: %v", try.name, err)
				return
			}
			said := r.stdout + r.stderr
			switch want := c.says[try.missing.masked(w)]; {
			case try.works && r.exit != c.exit:
				t.Errorf("%s: exit %d, want %d\n%s", try.name, r.exit, c.exit, said)
			case try.works && !strings.Contains(said, want):
				t.Errorf("%s: it does not say %q\n%s", try.name, want, said)
			case try.works:
			case r.exit == c.exit:
				t.Errorf("%s: it works all the same, so it does not need this right (or this state does not)\n%s", try.name, said)
			case !strings.Contains(said, "cannot "+try.missing.verb+" resource") && !strings.Contains(said, "no right to "+try.missing.verb):
				t.Errorf("%s: exit %d, and the missing right is not named\n%s", try.name, r.exit, said)
			}
		}
		if !writes {
			turns <- struct{}{}
			all.Go(func() { one(); <-turns })
			continue
		}
		one()
		if i+1 < len(tries) {
			if err := s.restore(ctx, state); err != nil {
				t.Fatalf("after %s: %v", try.name, err)
			}
		}
	}
	all.Wait()
	t.Logf("%d rights, %d of them needed; %d tried", len(pairs(roles)), len(required), len(tries))
}

// masked is a right with the namespace as the table has it.
func (p pair) masked(w World) string {
	return strings.ReplaceAll(p.String(), w.Namespace(), "prod")
}

// with is the same stage for a program with another environment.
func (s *Stage) with(env []string) *Stage {
	return &Stage{world: otherEnv{s.world, env}, releases: s.releases, repos: s.repos, broken: s.broken}
}

type otherEnv struct {
	World
	env []string
}

func (o otherEnv) Env() []string { return append(o.World.Env(), o.env...) } // the last of a name counts

// as makes a user with these rights and returns the environment in which the program is that user.
func (w *real) as(ctx context.Context, user string, roles []object) ([]string, error) {
	token, err := w.account(ctx, user)
	if err != nil {
		return nil, err
	}
	var own []object
	for _, role := range roles {
		role = maps.Clone(role)
		role["metadata"] = maps.Clone(role["metadata"].(object))
		role["metadata"].(object)["name"] = str(role, "metadata", "name") + "-" + w.namespace + "-" + user
		own = append(own, role)
	}
	if err := w.bind(ctx, user, own); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "kubeconfig"))
	if err != nil {
		return nil, err
	}
	old, err := w.token()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(w.dir, "kubeconfig-"+user)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, token)), 0o600); err != nil {
		return nil, err
	}
	return []string{"KUBECONFIG=" + path, "ROLLBACK_STATE=" + filepath.Join(w.dir, "journals-"+user)},
		until(ctx, func() (bool, error) { return w.granted(ctx, token, own) })
}

// kept is what a command may change: the tags, the record and the pod templates.
type kept struct {
	tags        map[string]string
	record      object            // nil if there is none
	annotations map[string]object // of the pod templates, by "deployments/payments"
}

func (s *Stage) keep(ctx context.Context) (kept, error) {
	k := kept{tags: s.world.Registry().Tags("payments"), annotations: map[string]object{}}
	api, ns := s.world.API(), s.world.Namespace()
	m, err := api.get(ctx, "configmaps", ns, "rollback-payments")
	if err == nil {
		k.record = object{"apiVersion": "v1", "kind": "ConfigMap", "data": m["data"],
			"metadata": object{"name": "rollback-payments", "namespace": ns, "labels": at(m, "metadata", "labels")}}
	} else if !isStatus(err, http.StatusNotFound) {
		return k, err
	}
	for _, resource := range []string{"deployments", "statefulsets", "daemonsets"} {
		list, err := api.list(ctx, resource, ns, "")
		if err != nil {
			return k, err
		}
		for _, o := range list {
			k.annotations[resource+"/"+str(o, "metadata", "name")] = mapOf(o, "spec", "template", "metadata", "annotations")
		}
	}
	return k, nil
}

// restore takes the world back to where it was kept.
func (s *Stage) restore(ctx context.Context, k kept) error {
	api, ns := s.world.API(), s.world.Namespace()
	now, err := s.keep(ctx)
	if err != nil {
		return err
	}
	for tag, digest := range k.tags {
		if now.tags[tag] != digest {
			if err := s.world.Registry().Tag("payments", tag, digest); err != nil {
				return err
			}
		}
	}
	if now.record != nil {
		if _, err := api.do(ctx, http.MethodDelete, pathOf("configmaps", ns, "rollback-payments"), "", nil); err != nil {
			return err
		}
	}
	if k.record != nil {
		if err := api.apply(ctx, k.record); err != nil {
			return err
		}
	}
	var moved []string
	for _, w := range sorted(k.annotations) {
		patch := object{}
		for a := range now.annotations[w] {
			patch[a] = nil
		}
		maps.Copy(patch, k.annotations[w])
		if maps.Equal(now.annotations[w], k.annotations[w]) {
			continue
		}
		moved = append(moved, w)
		resource, name, _ := strings.Cut(w, "/")
		if err := api.merge(ctx, resource, ns, name, object{"spec": object{"template": object{"metadata": object{"annotations": patch}}}}); err != nil {
			return err
		}
	}
	for _, w := range moved {
		resource, name, _ := strings.Cut(w, "/")
		if err := api.rolledOut(ctx, resource, ns, name); err != nil {
			return err
		}
	}
	// Pods of before are still about to end.
	return until(ctx, func() (bool, error) {
		list, err := api.list(ctx, "pods", ns, "")
		return !slices.ContainsFunc(list, func(p object) bool { return str(p, "metadata", "deletionTimestamp") != "" }), err
	})
}

// rolledBack is the state after a rollback.
func rolledBack(ctx context.Context, s *Stage) error {
	r, err := s.rollback(ctx, on("run", "--reason", "amounts", "--yes")...)
	if err == nil && r.exit != 0 {
		err = fmt.Errorf("rollback run: exit %d\n%s", r.exit, r.stderr)
	}
	return err
}

// retagged is the state of a tag that was moved back by hand.
func retagged(_ context.Context, s *Stage) error {
	return s.world.Registry().Tag("payments", "latest", s.releases["good"].Digest)
}

// unread is what is said of what may not be read, where a command can do without.
var unread = map[string]string{
	"list replicasets.apps": "replicasets: not allowed, needs list on replicasets.apps",
	"list cronjobs.batch":   "cronjobs: not allowed, needs list on cronjobs.batch",
	"list jobs.batch":       "jobs: not allowed, needs list on jobs.batch",
	"list configmaps":       "configmaps: not allowed, needs list on configmaps",
}

// maybe is what the doctor says of the same, and of what is missed in silence.
var maybe = map[string]string{
	"list replicasets.apps": "may not list replicasets.apps",
	"list cronjobs.batch":   "may not list cronjobs.batch",
	"list jobs.batch":       "may not list jobs.batch",
	"list configmaps":       "may not list configmaps",
	"get namespaces prod":   "may not get namespaces",
}

var rightsCases = []rightsCase{
	{command: "status", says: unread, args: on("status")},
	{command: "candidates", args: on("candidates")},
	{command: "plan", says: unread, args: on("plan")},
	{command: "doctor", says: maybe, args: on("doctor", "--for", "doctor")},
	{command: "verify", args: on("verify")},
	{command: "retag", says: unread, args: on("retag", "--reason", "amounts", "--yes")},
	{command: "restart", says: unread, args: on("restart", "--reason", "amounts", "--yes"), before: retagged},
	{command: "run", says: unread, args: on("run", "--reason", "amounts", "--yes")},
	{command: "undo", says: unread, args: on("undo", "--reason", "false alarm", "--yes"), before: rolledBack},
	{
		command: "run", state: "the older image crashes", args: on("run", "--reason", "amounts", "--yes"), exit: 4,
		before: behave("good", control.Behaviour{Crash: true, ExitCode: 2, Logs: "panic: no such column\n"}),
		only:   []string{"list events", "get pods/log", "get pods"},
		says:   map[string]string{"list events": "events not readable: needs list on events", "get pods/log": "needs get on pods/log"},
	},
}
