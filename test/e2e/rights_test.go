package e2e

// Least privilege, both ways: with the Role that `rollback permissions` prints a command works, with any one right of it
// taken away it fails, or, where the right is optional, works and says what it could not look at.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake/github"
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
	method  string // of run, if it is not the usual one
	state   string // told in the test's name, where a command has more than one
	args    []string
	exit    int // with all rights
	options Options
	// code gives the world GitHub and Jenkins; kinds are the workloads of a world without, all three without any.
	code  bool
	kinds []string
	// before brings the world from the bad release that runs into the state in which the command is tried.
	before func(context.Context, *Stage) error
	// only are the rights that are tried in this state, all without any; breaks are optional ones that this state needs.
	only, breaks []string
	// says is what is said when an optional right is missing. Each that is tried is in it, or in silent with the reason why
	// nothing is said.
	says, silent map[string]string
}

func (c rightsCase) name() string {
	name := strings.TrimSpace(c.command + " " + c.method)
	if c.state != "" {
		name += ", " + c.state
	}
	return name
}

func TestLeastPrivilege(t *testing.T) {
	for _, c := range rightsCases {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

// outside are the rights beside those in the cluster.
type outside struct{ AWS, GitHub, Jenkins []named }

type named struct {
	Name, Why string
	Optional  bool
}

// outside are those that `rollback permissions` prints.
func (s *Stage) outside(ctx context.Context, args ...string) (o outside, err error) {
	r, err := s.rollback(ctx, append(on("permissions", "--json"), args...)...)
	if err == nil && r.exit != 0 {
		err = fmt.Errorf("rollback permissions: exit %d\n%s", r.exit, r.stderr)
	}
	if err == nil {
		err = json.Unmarshal([]byte(r.stdout), &o)
	}
	return o, err
}

// without is the same without one right.
func (o outside) without(name string) outside {
	less := func(list []named) []named {
		return slices.DeleteFunc(slices.Clone(list), func(n named) bool { return n.Name == name })
	}
	return outside{less(o.AWS), less(o.GitHub), less(o.Jenkins)}
}

// What there is of rights, as far as the program might ask for it.
var (
	actions = []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchDeleteImage", "ecr:BatchGetImage", "ecr:DescribeImages", "ecr:DescribeRepositories", "ecr:GetAuthorizationToken",
		"ecr:GetDownloadUrlForLayer", "ecr:GetLifecyclePolicy", "ecr:ListImages", "ecr:PutImage", "ecr:TagResource"}
	jobRights = []string{"Overall/Read", "Job/Read", "Job/Build", "Job/Cancel", "Job/Configure", "Job/Create"}
	// permissionOf is how GitHub's API names what its pages name in words.
	permissionOf = map[string]string{"contents": "contents", "pull requests": "pull_requests", "checks": "checks", "commit statuses": "statuses", "workflows": "workflows"}
)

func denied(all []string, but []named) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool {
		return slices.ContainsFunc(but, func(n named) bool { return n.Name == name })
	})
}

// give gives the program exactly these rights in ECR, GitHub and Jenkins, and returns the environment in which it has them.
func (o outside) give(w World, user string) ([]string, error) {
	if r := theReal(w).registry; r != nil {
		r.AWS().Deny(denied(actions, o.AWS)...)
	}
	f, ok := w.(*forge)
	if !ok {
		return nil, nil
	}
	f.jenkins.Deny(denied(jobRights, o.Jenkins)...)
	permissions := map[string]string{}
	for _, n := range o.GitHub {
		what, level, _ := strings.Cut(n.Name, ": ")
		if permissionOf[what] == "" {
			return nil, fmt.Errorf("no permission of GitHub is known as %q", n.Name)
		}
		permissions[permissionOf[what]] = level
	}
	token := "ghp_e2e000000000000000000000000" + user
	f.github.AddToken(token, github.Access{Login: github.Login, Permissions: permissions})
	return []string{"GITHUB_TOKEN=" + token}, nil
}

// try is one set of rights with which a command is tried.
type try struct {
	name    string
	roles   []object
	outside outside
	shared  bool // the rights outside are those of most tries
	missing pair
	lacks   string // the right outside that is missing
	works   bool
	env     []string
}

// lack is the right that is missing, "" if there is none.
func (t *try) lack(w World) string {
	if t.lacks != "" || t.missing == (pair{}) {
		return t.lacks
	}
	return t.missing.masked(w)
}

func (c rightsCase) test(t *testing.T) {
	var w World
	if c.code {
		w = newForge(t, newReal, c.options)
	} else {
		w = newReal(t, c.options)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	defer cancel()
	s := &Stage{world: w, releases: map[string]*Release{}, broken: func(err error) { t.Error(err) }}
	if err := s.grant(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	if err := c.begin(ctx, s); err != nil {
		t.Fatal(err)
	}
	tries, err := c.tries(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for i, try := range tries {
		if try.env, err = theReal(w).as(ctx, fmt.Sprintf("try-%d", i), try.roles); err != nil {
			t.Fatal(err)
		}
	}
	before, err := s.keep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	give := func(i int) {
		env, err := tries[i].outside.give(w, fmt.Sprintf("try%d", i))
		if err != nil {
			t.Fatal(err)
		}
		tries[i].env = append(tries[i].env, env...)
	}
	one := func(try *try) {
		r, err := s.with(try.env).rollback(ctx, slices.Clone(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", try.name, err)
			return
		}
		for _, e := range c.wrong(try, w, r) {
			t.Errorf("%s: exit %d: %s\n%s%s", try.name, r.exit, e, r.stdout, r.stderr)
		}
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, 3)
	for i, try := range tries {
		if c.writes() || !try.shared {
			continue
		}
		give(i)
		turns <- struct{}{}
		all.Go(func() { one(try); <-turns })
	}
	all.Wait()
	for i, try := range tries {
		if !c.writes() && try.shared {
			continue
		}
		give(i)
		one(try)
		now, err := s.keep(ctx)
		if err != nil {
			t.Fatal(err)
		}
		diff, was := before.diff(now), now
		if was.record = before.record; !try.works && try.lacks != "" && before.diff(was) == "" { // that one is missing can only be found out by asking for it
			diff = ""
		}
		if diff != "" && (!try.works || !c.writes()) {
			t.Errorf("%s: production or its record has changed:\n%s", try.name, diff)
		}
		if before.diff(now) == "" || i+1 == len(tries) {
			continue
		}
		if err := s.restore(ctx, before); err != nil {
			t.Fatalf("after %s: %v", try.name, err)
		}
		if before, err = s.keep(ctx); err != nil { // the tag of the kept image stays
			t.Fatal(err)
		}
	}
	if now, err := s.keep(ctx); err != nil || !c.writes() && before.diff(now) != "" {
		t.Errorf("a command that only looks has changed production or its record: %v\n%s", err, before.diff(now))
	}
	t.Logf("%d tried", len(tries))
}

// tries are all sets of rights with which the command is tried: all rights, those that it needs, all but one.
func (c rightsCase) tries(ctx context.Context, s *Stage) (list []*try, err error) {
	w, args := s.world, []string{"--for", c.command}
	if c.method != "" {
		args = append(args, "--method", c.method)
	}
	least := append(slices.Clone(args), "--required-only")
	var roles, needed []object
	var all, some outside
	for _, read := range []func() error{
		func() (err error) { roles, err = s.roles(ctx, args...); return err },
		func() (err error) { needed, err = s.roles(ctx, least...); return err },
		func() (err error) { all, err = s.outside(ctx, args...); return err },
		func() (err error) { some, err = s.outside(ctx, least...); return err },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	list = []*try{{name: "all rights", roles: roles, outside: all, shared: true, works: true}}
	if len(c.breaks) == 0 {
		list = append(list, &try{name: "required rights alone", roles: needed, outside: some, works: true})
	}
	tried := func(name string) bool { return c.only == nil || slices.Contains(c.only, name) }
	required := pairs(needed)
	for _, p := range pairs(roles) {
		if name := p.masked(w); tried(name) {
			list = append(list, &try{name: "without " + name, roles: reduced(roles, p), outside: all, shared: true, missing: p, works: !slices.Contains(required, p)})
		}
	}
	var rights []named
	if theReal(w).registry != nil {
		rights = append(rights, all.AWS...)
	}
	if c.code {
		rights = slices.Concat(rights, all.GitHub, all.Jenkins)
	}
	for _, n := range rights {
		if n.Optional && n.Why == "" {
			return nil, fmt.Errorf("%s is optional, and nothing says what for", n.Name)
		}
		if !tried(n.Name) {
			continue
		}
		one := &try{name: "without " + n.Name, roles: roles, outside: all.without(n.Name), lacks: n.Name, works: n.Optional && !slices.Contains(c.breaks, n.Name)}
		list = append(list, one)
		if what, ok := strings.CutSuffix(n.Name, ": write"); ok && what != "workflows" { // of these there are two levels
			lower := *one
			lower.name, lower.outside.GitHub = "with no more than "+what+": read", append(slices.Clone(one.outside.GitHub), named{Name: what + ": read"})
			list = append(list, &lower)
		}
	}
	if n := len(c.only); n > 0 && len(list) < n+1 {
		return nil, fmt.Errorf("%d of %d rights are tried: %v", len(list), n, c.only)
	}
	// What fails changes nothing, so it comes first.
	slices.SortStableFunc(list, func(a, b *try) int {
		switch {
		case a.works == b.works:
			return 0
		case b.works:
			return -1
		}
		return 1
	})
	return list, nil
}

// begin brings the world into the state in which the command is tried.
func (c rightsCase) begin(ctx context.Context, s *Stage) error {
	if c.code {
		if err := coded(ctx, s); err != nil {
			return err
		}
	} else {
		if err := releases(ctx, s); err != nil {
			return err
		}
		kinds := c.kinds
		if kinds == nil {
			kinds = []string{"Deployment", "StatefulSet", "DaemonSet"}
		}
		var objects []object
		for _, kind := range kinds {
			name := map[string]string{"Deployment": "payments", "StatefulSet": "payments-worker", "DaemonSet": "payments-agent"}[kind]
			objects = append(objects, workload(s.world, kind, name, "payments", map[string]int{"Deployment": 1, "StatefulSet": 1}[kind]))
		}
		if err := s.up(ctx, objects...); err != nil {
			return err
		}
	}
	if c.before == nil {
		return nil
	}
	return c.before(ctx, s)
}

// writes tells whether the command changes anything, where it may.
func (c rightsCase) writes() bool {
	return slices.Contains([]string{"run", "undo", "restart", "retag", "revert", "reland"}, c.command)
}

// wrong is what is wrong with how a try ended.
func (c rightsCase) wrong(try *try, w World, r outcome) (list []string) {
	said, text := r.stdout+r.stderr, try.lack(w)
	if !try.works {
		if r.exit != 1 && r.exit != 5 {
			list = append(list, "want 1 or 5: a right that it cannot do without is missing, and that is found out before anything is touched")
		}
		named := try.missing.refusals()
		if try.lacks != "" {
			named = []string{try.lacks}
			if what, _, ok := strings.Cut(try.lacks, ": "); ok && permissionOf[what] != "" {
				named = append(named, what+": read") // the first that is asked for is to read
			} else if try.lacks == "Job/Read" {
				named = append(named, "Jenkins says the same of jobs that the user oncall may not see")
			}
		}
		if !slices.ContainsFunc(named, func(text string) bool { return strings.Contains(said, text) }) {
			list = append(list, fmt.Sprintf("it does not name the missing right: none of %q", named))
		}
		return list
	}
	if r.exit != c.exit {
		list = append(list, fmt.Sprintf("want %d", c.exit))
	}
	if text == "" {
		return list
	}
	want, why := c.says[text], c.silent[text]
	switch {
	case (want == "") == (why == ""):
		list = append(list, "an optional right wants either what is said without it or why nothing is")
	case !strings.Contains(said, want):
		list = append(list, fmt.Sprintf("it does not say %q", want))
	}
	return list
}

// refusals are the ways to say that a right is missing: the API server's, and ours from its answer to a review.
func (p pair) refusals() []string {
	kind := map[string]string{"deployments": "deployment", "statefulsets": "statefulset", "daemonsets": "daemonset", "configmaps": "configmap"}[p.resource]
	list := []string{fmt.Sprintf("cannot %s resource %q in API group %q", p.verb, p.resource, p.group)}
	for _, lead := range []string{"no right to ", ", "} { // the first of a list, and those that follow
		list = append(list, lead+p.verb+" "+kind+"s", lead+p.verb+" "+kind+"/")
	}
	return list
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

// theReal is the real world, also inside one with GitHub and Jenkins.
func theReal(w World) *real {
	if f, ok := w.(*forge); ok {
		w = f.World
	}
	return w.(*real)
}

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
	if err := w.bind(ctx, user, token, own); err != nil {
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
	return []string{"KUBECONFIG=" + path, "ROLLBACK_STATE=" + filepath.Join(w.dir, "journals-"+user)}, nil
}

// kept is what a command may change: the tags, the record, the pod templates and the pull requests.
type kept struct {
	tags        map[string]string
	record      object            // nil if there is none
	annotations map[string]object // of the pod templates, by "deployments/payments"
	pulls       map[int]string    // the reverts' states, by number
}

// diff tells how what may change is different now, "" if it is not.
func (k kept) diff(now kept) string { return cmp.Diff(k, now, cmp.AllowUnexported(kept{})) }

func (s *Stage) keep(ctx context.Context) (kept, error) {
	k := kept{tags: s.world.Registry().Tags("payments"), annotations: map[string]object{}}
	if f, ok := s.world.(*forge); ok {
		k.pulls = map[int]string{}
		for _, p := range f.reverts() {
			k.pulls[p.Number] = fmt.Sprintf("open=%t merged=%t", p.Open, p.Merged)
		}
	}
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
	if f, ok := s.world.(*forge); ok {
		for n := range now.pulls {
			if k.pulls[n] != now.pulls[n] {
				if err := f.forget(n); err != nil {
					return err
				}
			}
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

// forget takes away a pull request that is open, with its branch, as if there had never been one.
func (f *forge) forget(number int) error {
	p, ok := f.code.Pull(number)
	if !ok || !p.Open {
		return fmt.Errorf("#%d is not open", number)
	}
	r := httptest.NewRequest(http.MethodDelete, "/repos/"+codeRepo+"/git/refs/heads/"+p.Head, http.NoBody)
	r.Header.Set("Authorization", "Bearer "+github.Token)
	r.Header.Set("User-Agent", "e2e")
	w := httptest.NewRecorder()
	f.github.Next.ServeHTTP(w, r)
	if w.Code != http.StatusNoContent {
		return fmt.Errorf("deleting the branch %s: %d %s", p.Head, w.Code, w.Body)
	}
	f.code.ForgetPulls()
	return nil
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

// crashing are images that end as soon as they run.
func crashing(name string) func(context.Context, *Stage) error {
	return behave(name, control.Behaviour{Crash: true, ExitCode: 2, Logs: "panic: no such column\n"})
}

// unread is what is said of what may not be read, where a command can do without.
var unread = map[string]string{
	"list replicasets.apps": "replicasets: not allowed, needs list on replicasets.apps",
	"list cronjobs.batch":   "cronjobs: not allowed, needs list on cronjobs.batch",
	"list jobs.batch":       "jobs: not allowed, needs list on jobs.batch",
	"list configmaps":       "configmaps: not allowed, needs list on configmaps",

	"ecr:GetLifecyclePolicy": "not checked: ",
}

// maybe is what the doctor says of the same, and of what is missed in silence.
var maybe = map[string]string{
	"list replicasets.apps":      "may not list replicasets.apps",
	"list cronjobs.batch":        "may not list cronjobs.batch",
	"list jobs.batch":            "may not list jobs.batch",
	"list configmaps":            "may not list configmaps",
	"get namespaces prod":        "may not get namespaces",
	"get namespaces kube-system": "may not get namespaces",

	"ecr:GetLifecyclePolicy": "not checked: ",
}

// Why a missing right is not spoken of.
const (
	byURL    = "the configuration compares the server's URL, which is read from the kubeconfig"
	isThere  = "only an empty namespace needs the question whether it exists"
	byPoll   = "the next poll sees the same"
	noTheme  = "the command says nothing of what the right is about"
	byLabels = "the pods' labels tell whose they are"
	comesUp  = "nothing fails to come up; there is another state for that"
	sameName = "the events of the name are shown"

	noMerge     = "it is opened and not merged"
	noWorkflow  = "nothing below .github/workflows is undone"
	noTags      = "the registry is asked with --tags alone"
	nothingGone = "only a missing image needs it"
)

// Rights in GitHub and Jenkins, and what is said without them.
var (
	codeRights    = []string{"contents: read", "pull requests: read"}
	allCodeRights = append(slices.Clone(codeRights), "Overall/Read", "Job/Read")
	codeUnread    = map[string]string{
		"contents: read": "commits could not be read", "pull requests: read": "commits could not be read",
		"Overall/Read": "running builds could not be read", "Job/Read": "running builds could not be read",
	}
	// pullOnly is missed in silence where a pull request is opened and not merged.
	pullOnly = map[string]string{"get namespaces kube-system": byURL, "checks: read": noMerge, "commit statuses: read": noMerge, "workflows: write": noWorkflow}
)

// quiet are the rights that are missed in silence by every command that looks, quietly those of one that waits for pods, and
// aside those of one that prints no findings.
var (
	quiet   = map[string]string{"get namespaces kube-system": byURL, "get namespaces prod": isThere}
	quietly = with(quiet, map[string]string{
		"watch deployments.apps": byPoll, "watch statefulsets.apps": byPoll, "watch daemonsets.apps": byPoll, "watch pods": byPoll,
		"get pods": comesUp, "list events": comesUp, "get pods/log": comesUp,
	})
	aside   = map[string]string{"list replicasets.apps": byLabels, "list cronjobs.batch": noTheme, "list jobs.batch": noTheme, "list configmaps": noTheme}
	failing = []string{"list events", "get pods/log", "get pods"}
	// stuck is what is said of a pod that does not come up.
	stuck = map[string]string{"list events": "events not readable: needs list on events", "get pods/log": "needs get on pods/log"}
)

func with(a, b map[string]string) map[string]string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

var rightsCases = []rightsCase{
	{command: "status", says: unread, silent: with(quiet, map[string]string{"ecr:DescribeImages": noTags, "ecr:BatchGetImage": noTags}), args: on("status")},
	{command: "candidates", says: map[string]string{"ecr:GetLifecyclePolicy": "not checked: lifecycle policy"}, silent: with(quiet, aside), args: on("candidates")},
	{command: "plan", says: unread, silent: quiet, args: on("plan")},
	{command: "doctor", says: maybe, args: on("doctor", "--for", "doctor")},
	{command: "verify", silent: with(with(quietly, aside), map[string]string{"ecr:GetLifecyclePolicy": noTheme}), args: on("verify")},
	{command: "retag", says: unread, silent: quiet, args: on("retag", "--reason", "amounts", "--yes")},
	{command: "restart", says: unread, silent: quietly, args: on("restart", "--reason", "amounts", "--yes"), before: retagged},
	{command: "run", says: unread, silent: quietly, args: byTag},
	{command: "undo", says: unread, silent: quietly, args: on("undo", "--reason", "false alarm", "--yes"), before: rolledBack},
	{
		command: "run", state: "the older image crashes", args: byTag, exit: 4, before: crashing("good"),
		only: failing, says: stuck, silent: map[string]string{"get pods": sameName},
	},
	{
		command: "restart", state: "the image crashes", args: on("restart", "--reason", "amounts", "--yes"), exit: 4, kinds: []string{"Deployment"},
		before: func(ctx context.Context, s *Stage) error {
			if err := retagged(ctx, s); err != nil {
				return err
			}
			return crashing("good")(ctx, s)
		},
		only: failing, says: stuck, silent: map[string]string{"get pods": sameName},
	},
	{
		command: "undo", state: "the image from before crashes", args: on("undo", "--reason", "false alarm", "--yes"), exit: 4, kinds: []string{"Deployment"},
		before: func(ctx context.Context, s *Stage) error {
			if err := rolledBack(ctx, s); err != nil {
				return err
			}
			return crashing("bad")(ctx, s)
		},
		only: failing, says: stuck, silent: map[string]string{"get pods": sameName},
	},
	{
		command: "run", state: "another registry than ECR", args: byTag, options: Options{OCI: true}, kinds: []string{"Deployment"},
		only: []string{"list deployments.apps", "patch deployments.apps", "get deployments.apps", "list pods", "get configmaps", "create configmaps", "update configmaps", "list jobs.batch"},
		says: unread,
	},
	{
		command: "run", method: "revert", args: byRevert, code: true, exit: 3,
		before: checked,
		only: []string{"get deployments.apps", "list deployments.apps", "list pods", "get configmaps", "create configmaps", "update configmaps", "list replicasets.apps",
			"ecr:DescribeImages", "contents: write", "pull requests: write", "checks: read", "commit statuses: read", "workflows: write", "Overall/Read", "Job/Read", "Job/Build"},
		says: with(unread, map[string]string{
			"checks: read": "required check ci: cannot be read", "commit statuses: read": "required check lint: cannot be read",
		}),
		silent: map[string]string{"workflows: write": noWorkflow, "Job/Build": "it is not merged yet, and then the push starts the build"},
	},
	{
		command: "run", method: "revert", state: "merged and built", args: byRevert, code: true, before: mergedByHand,
		only:   []string{"get deployments.apps", "list pods", "get configmaps", "update configmaps", "watch deployments.apps", "watch pods"},
		silent: quietly,
	},
	{
		command: "run", method: "revert", state: "a workflow is undone", args: byRevert, code: true, exit: 3, before: workflowChanged,
		only: []string{"workflows: write"}, breaks: []string{"workflows: write"},
	},
	{
		command: "run", method: "revert", state: "merged, and nothing builds it", args: asked, code: true, before: mergedUnbuilt,
		only: []string{"Job/Build"}, breaks: []string{"Job/Build"},
	},
	{
		command: "revert", args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), code: true,
		before: func(ctx context.Context, s *Stage) error {
			if err := silent(ctx, s); err != nil {
				return err
			}
			if err := rolledBack(ctx, s); err != nil {
				return err
			}
			return mended(ctx, s)
		},
		says: map[string]string{
			"get configmaps":    "what the record of payments/prod owes could not be read",
			"update configmaps": "the record of payments/prod could not be told",
		},
		silent: pullOnly,
	},
	{
		command: "reland", args: on("reland", "--pr", "5", "--reason", "fixed"), code: true, before: revertUndone,
		says: map[string]string{
			"get configmaps":    "what the record of payments/prod owes could not be read",
			"update configmaps": "the record of payments/prod could not be told",
		},
		silent: pullOnly,
	},
	{command: "status", state: "with GitHub and Jenkins", args: on("status"), code: true, before: rolledBack, only: []string{"pull requests: read"},
		says: map[string]string{"pull requests: read": "not read: pull requests of payments"}},
	{command: "status", state: "--tags", args: on("status", "--tags"), only: []string{"ecr:DescribeImages", "ecr:BatchGetImage"},
		says: map[string]string{"ecr:DescribeImages": "ecr:DescribeImages"}, silent: map[string]string{"ecr:BatchGetImage": nothingGone}},
	{command: "candidates", state: "with GitHub and Jenkins", args: on("candidates"), code: true, only: codeRights, says: codeUnread},
	{command: "plan", state: "with GitHub and Jenkins", args: on("plan"), code: true, only: allCodeRights, says: codeUnread},
	{command: "doctor", state: "with GitHub and Jenkins", args: on("doctor", "--for", "doctor"), code: true, only: allCodeRights},
	{command: "retag", state: "with GitHub and Jenkins", args: on("retag", "--reason", "amounts", "--yes"), code: true, only: allCodeRights, says: codeUnread},
	{command: "restart", state: "with GitHub and Jenkins", args: on("restart", "--reason", "amounts", "--yes"), code: true, before: retagged, only: codeRights, says: codeUnread},
	{command: "undo", state: "with GitHub and Jenkins", args: on("undo", "--reason", "false alarm", "--yes"), code: true, before: rolledBack, only: allCodeRights, says: codeUnread},
	{command: "run", state: "with GitHub and Jenkins", args: byTag, code: true,
		only:   []string{"contents: write", "pull requests: write", "checks: read", "commit statuses: read", "workflows: write", "Overall/Read", "Job/Read"},
		says:   with(codeUnread, map[string]string{"contents: write": "the revert pull request is still owed", "pull requests: write": "the revert pull request is still owed"}),
		silent: map[string]string{"checks: read": noMerge, "commit statuses: read": noMerge, "workflows: write": noWorkflow}},
}

// checked is the state in which a merge waits for a check and a status of the head.
func checked(_ context.Context, s *Stage) error {
	f := s.world.(*forge)
	f.code.Protect(github.Protection{Branch: "main", Checks: []string{"ci", "lint"}})
	f.github.OnPush(func(p github.Push) {
		if p.Branch == "main" || p.After == "" {
			return
		}
		if err := errors.Join(f.code.SetCheckRun(p.After, "ci", "in_progress", ""), f.code.SetStatus(p.After, "lint", "pending")); err != nil {
			s.broken(err)
		}
	})
	return nil
}

// workflowChanged is the state in which what is to be undone changed a workflow.
func workflowChanged(ctx context.Context, s *Stage) error {
	f := s.world.(*forge)
	f.webhook.Store(false)
	commit, err := f.merged(change{name: "workflow", title: "Lint in a workflow", author: "ledger-dev", age: 5 * time.Minute,
		files: map[string]string{".github/workflows/lint.yaml": "on: push\n"}})
	if err != nil {
		return err
	}
	r := &Release{Title: "Lint in a workflow", Age: 5 * time.Minute, Platforms: []string{"linux/amd64", "linux/arm64"}, Commit: commit}
	if err := push(ctx, s.world, "payments", r); err != nil {
		return err
	}
	stamp := object{"kubectl.kubernetes.io/restartedAt": time.Now().UTC().Format(time.RFC3339Nano)}
	if err := f.API().merge(ctx, "deployments", f.Namespace(), "payments", object{"spec": object{"template": object{"metadata": object{"annotations": stamp}}}}); err != nil {
		return err
	}
	return f.API().rolledOut(ctx, "deployments", f.Namespace(), "payments")
}

// mergedUnbuilt is the state in which the pull request of a rollback by revert is merged, and no webhook has it built.
func mergedUnbuilt(ctx context.Context, s *Stage) error {
	f := s.world.(*forge)
	f.webhook.Store(false)
	r, err := s.rollback(ctx, slices.Clone(asked)...)
	if err == nil && r.exit != 3 {
		err = fmt.Errorf("rollback run: exit %d\n%s", r.exit, r.stderr)
	}
	if err == nil {
		_, err = f.code.Merge(firstRevert, "squash", reviewer)
	}
	return err
}

// mergedByHand is the state of a rollback by revert whose pull request was merged while nobody waited, and deployed.
func mergedByHand(ctx context.Context, s *Stage) error {
	r, err := s.rollback(ctx, slices.Clone(byRevert)...)
	if err == nil && r.exit != 3 {
		err = fmt.Errorf("rollback run: exit %d\n%s", r.exit, r.stderr)
	}
	if err != nil {
		return err
	}
	f := s.world.(*forge)
	if _, err := f.code.Merge(firstRevert, "squash", reviewer); err != nil {
		return err
	}
	return f.deployed(ctx, 1)
}

// revertUndone is the state in which the revert of a rollback is merged, and the rollback was undone: the revert has to be
// taken back.
func revertUndone(ctx context.Context, s *Stage) error {
	if err := rolledBack(ctx, s); err != nil {
		return err
	}
	f := s.world.(*forge)
	f.webhook.Store(false)
	if _, err := f.code.Merge(firstRevert, "squash", reviewer); err != nil {
		return err
	}
	r, err := s.rollback(ctx, on("undo", "--reason", "false alarm", "--yes")...)
	if err == nil && r.exit != 0 {
		err = fmt.Errorf("rollback undo: exit %d\n%s", r.exit, r.stderr)
	}
	return err
}
