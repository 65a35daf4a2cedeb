package e2e

// Second clients: after each scenario, in both worlds, kubectl, crane and the AWS CLI read what is there, and `rollback status`
// must tell the same.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lookAll has all of them look. $HOST is the registry as it is reached, $REPOS its repositories. Where there is no ECR, aws has
// nothing to look at.
const lookAll = `
rollback status --environment prod --tags --json >told.json
kubectl get deployments,statefulsets,daemonsets,pods,configmaps --output json >objects.json
for repo in $REPOS; do
  for tag in $(crane ls "$HOST/$repo"); do
    printf '%s:%s\t%s\n' "$repo" "$tag" "$(crane digest "$HOST/$repo:$tag")"
  done
done >craned
if [ -z "${AWS_ACCESS_KEY_ID:-}" ]; then exec cp craned awsed; fi
for repo in $REPOS; do
  aws ecr list-images --repository-name "$repo" --filter tagStatus=TAGGED --query 'imageIds[].[imageTag,imageDigest]' --output text >listed
  sed "s|^|$repo:|" listed
done >awsed`

// statusOf is what status tells of a service. A field that it gets one day must be here as well.
type statusOf struct {
	Service, Namespace string
	Running            []statusImage
	Desired, Ready     int
	Since              time.Time
	Workloads          []string
	Tag, TagDigest     string
	Last, Lock, Freeze any
	Owed, Needless     []object
	FollowUp           object
}

type statusImage struct {
	Digest, Commit string
	Pods, Ready    int
}

// agree holds what status tells against what the others read. Pods that crash change again and again, so all look until they
// have seen the same.
func (s *Stage) agree(ctx context.Context, t *testing.T) {
	ctx, cancel := context.WithTimeout(ctx, bound/6)
	defer cancel()
	s.world.Cluster().Clear()
	tools := toolPath(t)
	begun, looks, diff := time.Now(), 0, ""
	err := until(ctx, func() (bool, error) {
		now, err := s.disagree(ctx, tools)
		if err == nil {
			looks, diff = looks+1, now
		}
		return diff == "", err
	})
	switch {
	case diff != "":
		t.Errorf("%s: what kubectl, crane and aws read (-) and rollback status tells (+) differ:\n%s", s.world.Name(), diff)
	case err != nil:
		t.Errorf("%s: second clients: %v", s.world.Name(), err)
	default:
		t.Logf("%s: kubectl, crane, aws and rollback status agree after %d looks, %s", s.world.Name(), looks, time.Since(begun).Round(time.Millisecond))
	}
}

// disagree has all of them look, and tells how they differ; "" if they do not.
func (s *Stage) disagree(ctx context.Context, tools string) (string, error) {
	dir := s.world.Dir()
	if _, err := s.shell(ctx, tools, lookAll, "REPOS="+strings.Join(s.repositories(), " ")); err != nil {
		return "", err
	}
	read := map[string][]byte{}
	for _, name := range []string{"told.json", "objects.json", "craned", "awsed"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		read[name] = text
	}
	craned, awsed := tagLines(read["craned"]), tagLines(read["awsed"])
	if diff := cmp.Diff(awsed, craned); diff != "" {
		return "tags to aws (-) and crane (+):\n" + diff, nil
	}
	var report struct {
		SchemaVersion   int
		At, Environment string
		Cluster         any
		Services        []statusOf
		NotRead         []string
	}
	d := json.NewDecoder(bytes.NewReader(read["told.json"]))
	d.DisallowUnknownFields()
	if err := d.Decode(&report); err != nil {
		return "", fmt.Errorf("rollback status: %w", err)
	}
	if len(report.NotRead) > 0 {
		return fmt.Sprintf("status could not read %v", report.NotRead), nil
	}
	var cluster object
	if err := json.Unmarshal(read["objects.json"], &cluster); err != nil {
		return "", fmt.Errorf("kubectl: %w", err)
	}
	var seen []statusOf
	for _, repo := range slices.Sorted(slices.Values(s.repositories())) {
		if service, ok := s.seen(repo, items(cluster, "items"), craned); ok {
			seen = append(seen, service)
		}
	}
	for _, service := range report.Services {
		for _, kept := range items(service.Last, "kept") { // the tag tells which image it keeps
			_, hex, _ := strings.Cut(kept.(string), "rollback-keep-")
			if digest := craned[service.Service+":"+kept.(string)]; hex == "" || !strings.HasPrefix(digest, "sha256:"+hex) {
				return fmt.Sprintf("status says that %s was kept; to crane it is %q", kept, digest), nil
			}
		}
		slices.SortFunc(service.Running, func(a, b statusImage) int { return strings.Compare(a.Digest, b.Digest) })
		for _, debt := range append(slices.Concat(service.Owed, service.Needless), service.FollowUp) {
			delete(debt, "next")    // for people
			delete(debt, "prState") // gh is asked (seenByGH)
		}
	}
	return cmp.Diff(seen, report.Services), nil
}

// tagLines reads lines of a tag and its digest.
func tagLines(text []byte) map[string]string {
	tags := map[string]string{}
	for line := range strings.Lines(string(text)) {
		tag, digest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		tags[tag] = digest
	}
	return tags
}

var (
	commitTag = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digestIn  = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)
)

// seen is what status must tell of a service, by the objects that kubectl and the tags that crane has read; false if there is
// nothing of it.
func (s *Stage) seen(service string, objects []any, tags map[string]string) (statusOf, bool) {
	w := s.world
	see := statusOf{Service: service, Namespace: w.Namespace(), Tag: "latest", TagDigest: tags[service+":latest"]}
	var record object
	// uses are the containers of a pod's spec that run an image of the service.
	uses := func(spec any) []string {
		var names []string
		for _, c := range slices.Concat(items(spec, "initContainers"), items(spec, "containers")) {
			if strings.HasPrefix(str(c, "image"), w.Registry().Host()+"/"+service+":") {
				names = append(names, str(c, "name"))
			}
		}
		return names
	}
	running := map[string]*statusImage{}
	for _, o := range objects {
		kind, name := str(o, "kind"), str(o, "metadata", "name")
		owner := ""
		for _, r := range items(o, "metadata", "ownerReferences") {
			owner = str(r, "kind")
		}
		switch kind {
		case "ConfigMap":
			if name == "rollback-"+service {
				if err := json.Unmarshal([]byte(str(o, "data", "record.json")), &record); err != nil {
					panic(err)
				}
			}
		case "Pod":
			names := uses(at(o, "spec"))
			if phase := str(o, "status", "phase"); len(names) == 0 || owner == "Job" || str(o, "metadata", "deletionTimestamp") != "" || phase == "Succeeded" || phase == "Failed" {
				continue
			}
			digest := ""
			for _, c := range slices.Concat(items(o, "status", "initContainerStatuses"), items(o, "status", "containerStatuses")) {
				if str(c, "name") == names[0] {
					digest = digestIn.FindString(str(c, "imageID"))
				}
			}
			if running[digest] == nil {
				running[digest] = &statusImage{Digest: digest}
			}
			running[digest].Pods++
			if condition(o.(object), "Ready") {
				running[digest].Ready++
				see.Ready++
			}
			if made, err := time.Parse(time.RFC3339, str(o, "metadata", "creationTimestamp")); err == nil && made.After(see.Since) {
				see.Since = made
			}
		default:
			if len(uses(at(o, "spec", "template", "spec"))) == 0 || owner != "" {
				continue
			}
			see.Workloads = append(see.Workloads, strings.ToLower(kind)+"/"+name)
			if see.Desired += num(o, "spec", "replicas"); kind == "DaemonSet" {
				see.Desired += num(o, "status", "desiredNumberScheduled")
			}
		}
	}
	slices.Sort(see.Workloads)
	see.Last, see.Lock, see.Freeze = record["last"], record["lock"], record["freeze"]
	for _, digest := range sorted(running) {
		for tag, names := range tags {
			// A registry that is not ECR does not tell which tags an image has; the record does, of its own.
			known := s.hasECR() || digest == str(see.Last, "to", "digest") || digest == str(see.Last, "from", "digest")
			if commit, ok := strings.CutPrefix(tag, service+":"); ok && names == digest && known && commitTag.MatchString(commit) {
				running[digest].Commit = commit
			}
		}
		see.Running = append(see.Running, *running[digest])
	}
	see.Owed, see.Needless = s.debts(items(record, "owed"))
	if len(see.Owed) > 0 {
		see.FollowUp = see.Owed[0]
	}
	return see, record != nil || see.Running != nil || see.Workloads != nil
}

// hasECR tells whether the world's registry is ECR.
func (s *Stage) hasECR() bool {
	return slices.ContainsFunc(s.world.Env(), func(v string) bool { return strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") })
}

// host is the registry as the tests reach it.
func (s *Stage) host() string { return strings.TrimPrefix(s.world.RegistryURL(), "http://") }

// debts are those of a record that still have to be paid, and those that are over and whose pull request is open.
func (s *Stage) debts(all []any) (owed, needless []object) {
	open, merged := map[int]bool{}, map[int]bool{}
	if f, ok := s.world.(*forge); ok {
		for _, p := range f.code.Pulls() {
			open[p.Number], merged[p.Number] = p.Open, p.Merged
		}
	}
	stands := map[string]bool{} // the debts of these acts
	for _, d := range all {
		if str(d, "void") == "" {
			stands[str(d, "rollback")] = true
		}
	}
	for _, d := range all {
		switch {
		case at(d, "done") == true || merged[num(d, "pr")]:
		case str(d, "void") != "":
			if open[num(d, "pr")] {
				needless = append(needless, d.(object))
			}
		case !stands[str(d, "replacedBy")]: // nothing replaces it
			owed = append(owed, d.(object))
		}
	}
	return owed, needless
}

// TestSecondClients has crane move the tag at ECR, where the other scenarios have the AWS CLI do it.
func TestSecondClients(t *testing.T) {
	t.Parallel()
	sc := Scenario{Seed: payments("Deployment", "StatefulSet", "DaemonSet"), Steps: []Step{
		{Args: on("run", "--reason", "amounts", "--yes")},
		{Args: on("undo", "--reason", "false alarm", "--yes")},
	}}
	s := sc.play(t, newReal(t, sc.Options))
	sc.manually(t, s, craneLogin+craneTag+restart)
}
