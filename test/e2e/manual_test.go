package e2e

// The manual way: what is typed today in place of each scenario, from the same state, must lead to the same end, object by
// object; and where the program changes nothing, nothing may have changed.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// The manual way, as the runbooks that people have tell it. $HOST is the registry as it is reached.
const (
	// tag REPOSITORY COMMIT points latest at the image of a commit.
	awsTag = `
tag() {
  manifest=$(aws ecr batch-get-image --repository-name "$1" --image-ids imageTag="$2" \
    --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.oci.image.manifest.v1+json \
    --query 'images[0].imageManifest' --output text)
  aws ecr put-image --repository-name "$1" --image-tag latest --image-manifest "$manifest" >put
}`
	craneTag = `
tag() { crane tag "$HOST/$1:$2" latest; }`
	craneLogin = `
aws ecr get-login-password | crane auth login "$HOST" --username AWS --password-stdin 2>login`
	// restart WORKLOAD... lets the pods pull the tag again; wait_for WORKLOAD... waits for them.
	restart = `
restart() { kubectl rollout restart "$@"; }
wait_for() { for w; do kubectl rollout status "$w" --timeout=90s; done; }
`
	// revert GOOD..BAD takes commits back by a pull request and merges it.
	gitRevert = `
revert() {
  git clone --quiet "$REMOTE" "by-hand-$1"
  (
    cd "by-hand-$1"
    git remote add github "https://github.com/$GH_REPO.git"
    git switch --quiet --create "by-hand-${1##*..}"
    git revert --no-edit "$1"
    git push --quiet origin HEAD
    gh pr create --base main --head "by-hand-${1##*..}" --title "Revert $1" --body "by hand"
    gh pr merge --squash "by-hand-${1##*..}"
  ) >/dev/null
}
`
)

// runbook are the functions of the manual way in a world. crane is faster than the AWS CLI, and can do without ECR.
func (s *Stage) runbook() string {
	if _, ok := s.world.(*forge); ok || !s.hasECR() {
		return craneTag + restart + gitRevert
	}
	return awsTag + restart
}

// act is one rollback by hand.
type act struct {
	after    int               // the step that did the same
	tags     map[string]string // what latest is to name, by repository
	restarts []string          // the repositories whose workloads are to pull it
	succeeds bool              // whether the pods get ready
	script   string            // or what is typed
}

// onlyLooks tells whether a command only looks.
func onlyLooks(args []string) bool {
	return slices.Contains([]string{"status", "candidates", "plan", "verify", "doctor", "permissions"}, args[0]) || slices.Contains(args, "--dry-run")
}

// acts derives the manual way from where the steps led. Each command that has changed production, be it that it ended well or
// not, moved the tag once and restarted the pods once, whatever was tried before; so has a colleague whose rollback was in the
// way. Where the deploy job has built what was merged, the same is merged by hand.
func (s *Stage) acts() []act {
	if f, ok := s.world.(*forge); ok && len(f.deployments()) > 0 {
		return f.mergesOf(s, len(s.done)-1)
	}
	var list []act
	at, old := s.latest[0], map[string]bool{} // old: the pods have not pulled since the tag was moved
	for i, d := range s.done {
		changed := d.exit == 0 || d.exit == 4 || d.exit == 5 && d.others
		if onlyLooks(d.args) || !changed {
			continue
		}
		a := act{after: i, tags: map[string]string{}, succeeds: d.exit == 0}
		if d.args[0] == "restart" {
			old[d.args[slices.Index(d.args, "--service")+1]] = true
		} else {
			for repo, digest := range s.latest[i+1] {
				if at[repo] != digest && digest != "" { // "": somebody deleted the image
					a.tags[repo], old[repo] = digest, true
				}
			}
			at = s.latest[i+1]
		}
		if d.args[0] != "retag" {
			a.restarts, old = sorted(old), map[string]bool{}
		}
		if len(a.tags)+len(a.restarts) > 0 {
			list = append(list, a)
		}
	}
	return list
}

// deployments are the builds that the deploy job has deployed, in their order.
func (f *forge) deployments() []*Release {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*Release
	for _, name := range sorted(f.builds) {
		list = append(list, f.builds[name])
	}
	return list
}

// mergesOf are the merged pull requests of the program by hand.
func (f *forge) mergesOf(s *Stage, after int) []act {
	name := func(commit string) string { // as the script has it: a variable
		return strings.NewReplacer("<commit ", "$", " ", "_", ">", "").Replace(s.mask(commit))
	}
	var list []act
	for _, p := range f.reverts() {
		if m := undoesForm.FindStringSubmatch(p.Body); p.Merged {
			list = append(list, act{after: after, script: fmt.Sprintf("revert %s..%s\n", name(m[1]), name(m[2]))})
		}
	}
	return list
}

// latestTags are what latest names in each repository.
func (s *Stage) latestTags() map[string]string {
	all := map[string]string{}
	for _, repo := range s.repositories() {
		all[repo] = s.world.Registry().Tags(repo)["latest"]
	}
	return all
}

// typed is an act as it is typed.
func (s *Stage) typed(ctx context.Context, a act) (string, error) {
	var b strings.Builder
	for _, repo := range sorted(a.tags) {
		commit := ""
		for tag, digest := range s.world.Registry().Tags(repo) {
			if digest == a.tags[repo] && commitTag.MatchString(tag) {
				commit = tag
			}
		}
		if commit == "" {
			return "", fmt.Errorf("no commit names %s in %s", a.tags[repo], repo)
		}
		fmt.Fprintln(&b, "tag", repo, commit)
	}
	for _, repo := range a.restarts {
		pulling, err := s.pulling(ctx, repo)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, "restart", pulling)
		if a.succeeds {
			fmt.Fprintln(&b, "wait_for", pulling)
		}
	}
	return b.String() + a.script, nil
}

// shell runs a script with all tools. Commits that have a name are in variables: $good, $merge_of_5.
func (s *Stage) shell(ctx context.Context, tools, script string, extra ...string) (string, error) {
	extra = append(extra, "HOST="+s.host())
	for name, r := range s.releases {
		extra = append(extra, name+"="+r.Commit)
	}
	f, ok := s.world.(*forge)
	if !ok {
		return shell(ctx, s.world, tools, s.world.Dir(), script, extra...)
	}
	for _, p := range f.code.Pulls() {
		extra = append(extra, fmt.Sprintf("merge_of_%d=%s", p.Number, p.MergeCommit))
	}
	return f.shell(ctx, f.Dir(), script, extra...)
}

// pulling are the workloads whose pods pull latest of a repository.
func (s *Stage) pulling(ctx context.Context, repo string) (string, error) {
	var names []string
	for _, kind := range workloadKinds {
		list, err := s.world.API().list(ctx, plural(kind), s.world.Namespace(), "")
		if err != nil {
			return "", err
		}
		for _, o := range list {
			pod := at(o, "spec", "template", "spec")
			if slices.ContainsFunc(slices.Concat(items(pod, "initContainers"), items(pod, "containers")), func(c any) bool { return str(c, "image") == image(s.world, repo) }) {
				names = append(names, strings.ToLower(kind)+"/"+str(o, "metadata", "name"))
			}
		}
	}
	return strings.Join(names, " "), nil
}

// onlyPulls is a registry whose faults the nodes alone meet.
type onlyPulls struct{ store }

func (o onlyPulls) Inject(f fake.Fault) {
	if strings.HasPrefix(f.Op, fake.PullOp) {
		o.store.Inject(f)
	}
}

// untroubled keeps faults off whoever acts in the world; what the nodes meet stays.
func (w *real) untroubled() {
	w.board, w.store = &fake.Switchboard{}, onlyPulls{w.store}
}

// manually does by hand, in a world of its own, what the steps have done in a real one, and compares the ends.
func (sc Scenario) manually(t *testing.T, s *Stage, functions string) {
	t.Helper()
	acts := s.acts()
	if sc.Manual != "" {
		acts = []act{{after: len(sc.Steps) - 1, script: sc.Manual}}
	}
	if sc.NoManual != "" || len(acts) == 0 { // after refusals alone there is nothing to type
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	try := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("by hand: %s: %v", what, err)
		}
	}
	begun := time.Now()
	want, err := s.end(ctx)
	try("the end of the program's world", err)
	first := realOf(s.world) // it is over, and its pods may fill the nodes
	first.find(t)
	first.lost = ""
	try("the end of the program's world", control.Client{URL: first.cluster.Control}.EndNamespace(ctx, first.namespace))

	h := &Stage{releases: map[string]*Release{}, byHand: true, broken: func(err error) { t.Errorf("by hand: %v", err) }}
	f, forged := s.world.(*forge)
	built := 0 // by the deploy job
	if forged {
		built = len(f.deployments())
		f = newForge(t, newReal, sc.Options)
		f.equip(t)
		h.world = f
	} else {
		h.world = newReal(t, sc.Options)
	}
	realOf(h.world).untroubled()
	tools := toolPath(t)
	try("rights", h.grant(ctx, "run"))
	try("seed", sc.Seed(ctx, h))
	for i, step := range sc.Steps {
		if step.Before != nil && !forged { // with GitHub, it is about the pull requests of the program
			try(fmt.Sprintf("before step %d", i), step.Before(ctx, h))
		}
		for _, a := range acts {
			if a.after != i {
				continue
			}
			try("rights", h.grant(ctx, "run"))
			script, err := h.typed(ctx, a)
			try("script", err)
			try("clock", nextSecond(ctx))
			_, err = h.shell(ctx, tools, functions+script)
			try("script", err)
		}
	}
	if built > 0 {
		try("deploy job", f.deployed(ctx, built))
	}
	for _, v := range h.world.Registry().Violations() {
		t.Errorf("by hand: %s", v)
	}
	// Controllers and nodes may still be on their way.
	ctx, stop := context.WithTimeout(ctx, bound/3)
	defer stop()
	var diff string
	err = until(ctx, func() (bool, error) {
		end, err := h.end(ctx)
		if err == nil {
			diff = cmp.Diff(end, want)
		}
		return diff == "", err
	})
	if err != nil {
		t.Errorf("the end by hand (-) and by rollback (+) differ: %v\n%s", err, diff)
		return
	}
	t.Logf("the end is the same by hand, %d fields, after %d acts, %s", len(want), len(acts), time.Since(begun).Round(time.Millisecond))
}

// realOf is the real world itself.
func realOf(w World) *real {
	if f, ok := w.(*forge); ok {
		w = f.World
	}
	return w.(*real)
}

// nextSecond waits for the wall clock's next second: kubectl stamps a restart to the second, and refuses a second one in it.
func nextSecond(ctx context.Context) error {
	now := time.Now().Unix()
	return until(ctx, func() (bool, error) { return time.Now().Unix() != now, nil })
}

var workloadKinds = []string{"Deployment", "StatefulSet", "DaemonSet"}

// end is the state of a world, object by object, but for what only the program leaves: the tag that keeps the outgoing image,
// the record, the stamp in the pod template; and for kubectl's own stamp.
func (s *Stage) end(ctx context.Context) (Trace, error) {
	t := Trace{}
	for _, repo := range s.repositories() {
		for tag, digest := range s.world.Registry().Tags(repo) {
			body, mediaType, err := realOf(s.world).store.Manifest(repo, digest)
			if err != nil {
				return nil, err
			}
			if f, ok := s.world.(*forge); ok && slices.ContainsFunc(f.deployments(), func(r *Release) bool { return r.Digest == digest }) {
				body = nil // the deploy job's: it holds a commit that only this world has
			}
			t["manifests."+repo+"."+s.mask(digest)] = mediaType + " " + string(body)
			if !ours(tag) {
				t["tags."+repo+"."+s.mask(tag)] = s.mask(digest)
			}
		}
	}
	for _, kind := range workloadKinds {
		list, err := s.world.API().list(ctx, plural(kind), s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			template := mapOf(o, "spec", "template", "metadata")
			maps.DeleteFunc(mapOf(template, "annotations"), func(k string, _ any) bool {
				return k == "kubectl.kubernetes.io/restartedAt" || strings.HasPrefix(k, "rollback-tools.github.io/")
			})
			if len(mapOf(template, "annotations")) == 0 {
				delete(template, "annotations")
			}
			s.traceWorkload(t, kind, o)
			t["workloads."+kind+"/"+str(o, "metadata", "name")+".spec"] = s.mask(text(o["spec"]))
		}
	}
	for _, resource := range []string{"cronjobs", "configmaps"} {
		list, err := s.world.API().list(ctx, resource, s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if name := str(o, "metadata", "name"); !ours(name) && name != "kube-root-ca.crt" {
				t[resource+"."+name] = s.mask(text(o["spec"]) + text(o["data"]))
			}
		}
	}
	if err := errors.Join(s.traceReplicaSets(ctx, t), s.tracePods(ctx, t)); err != nil {
		return nil, err
	}
	f, ok := s.world.(*forge)
	if !ok || len(f.deployments()) == 0 {
		return t, nil
	}
	tree, err := quickly(nil, f.code.Dir(), "git", "rev-parse", "main^{tree}")
	if err != nil {
		return nil, err
	}
	t["tree of main"] = string(tree)
	// What the deploy job has built is known by its order: its commit is another in each world, and it may have failed before.
	named := Trace{}
	for k, v := range t {
		for i, r := range f.deployments() {
			for _, what := range []string{s.mask(r.Commit), s.mask(r.Digest)} {
				k, v = strings.ReplaceAll(k, what, fmt.Sprintf("<deployed %d>", i)), strings.ReplaceAll(v, what, fmt.Sprintf("<deployed %d>", i))
			}
		}
		named[k] = v
	}
	return named, nil
}

// ours tells whether a tag or a ConfigMap is one that only the program makes.
func ours(name string) bool { return strings.HasPrefix(name, "rollback-") }

// text is JSON in lines, for people to compare.
func text(v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err) // it was JSON
	}
	return string(b)
}

// objects are all that a command could change.
func (s *Stage) objects(ctx context.Context) (Trace, error) {
	t := Trace{}
	for _, repo := range s.repositories() {
		for tag, digest := range s.world.Registry().Tags(repo) {
			t["tags."+repo+":"+tag] = digest
		}
	}
	rest := true // else pods come and go by themselves
	for _, kind := range append([]string{"CronJob", "ConfigMap"}, workloadKinds...) {
		list, err := s.world.API().list(ctx, plural(kind), s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			meta := mapOf(o, "metadata")
			delete(mapOf(meta, "annotations"), "deployment.kubernetes.io/revision") // its controller's
			t[kind+"/"+str(meta, "name")] = text([]any{meta["generation"], meta["labels"], meta["annotations"], o["spec"], o["data"]})
			if slices.Contains(workloadKinds, kind) {
				rest = rest && atRest(plural(kind), o)
			}
		}
	}
	if rest {
		t["pods"] = "at rest"
		pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			if str(p, "metadata", "deletionTimestamp") == "" {
				t["pods."+str(p, "metadata", "name")] = str(p, "metadata", "uid")
			}
		}
	}
	if f, ok := s.world.(*forge); ok {
		return t, f.trace(s, t)
	}
	return t, nil
}

// untouched tells whether a command has left everything as it was that only looked, was refused, or says that production is
// not changed: then it may have noted that it tried.
func (s *Stage) untouched(ctx context.Context, before Trace) error {
	done := s.done[len(s.done)-1]
	refused := onlyLooks(done.args) || done.exit == 2 || done.exit == 5
	if done.others || !refused && done.exit != 1 {
		return nil
	}
	after, err := s.objects(ctx)
	if err != nil {
		return err
	}
	noted := regexp.MustCompile(`^(ConfigMap/rollback-|tags\..*:rollback-|pulls|refs|builds)`)
	rest := before["pods"] != "" && after["pods"] != ""
	for _, t := range []Trace{before, after} {
		maps.DeleteFunc(t, func(k, _ string) bool {
			return !refused && noted.MatchString(k) || !rest && strings.HasPrefix(k, "pods")
		})
	}
	if diff := cmp.Diff(before, after); diff != "" {
		return fmt.Errorf("it changed (-before +after):\n%s", diff)
	}
	return nil
}
