package e2e

// Second clients: what is typed today leaves the same end state as the program, object by object, and reads in it what the
// program says of it.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// restartAll is the manual way to let the pods of all three kinds of workload pull the tag again, and to wait for them.
const restartAll = `
kubectl rollout restart deployment/payments statefulset/payments-worker daemonset/payments-agent
for w in deployment/payments statefulset/payments-worker daemonset/payments-agent; do
  kubectl rollout status "$w" --timeout=90s
done`

// way leads from one image to another. $TO is the commit of the image that is to run, $HOST the registry as it is reached.
type way struct{ name, back, again string }

// programWay is ours; the others are those of the runbooks that people have.
var programWay = way{
	"rollback",
	`rollback run --service payments --environment prod --reason amounts --yes`,
	`rollback undo --service payments --environment prod --reason "false alarm" --yes`,
}

const (
	awsTag = `
manifest=$(aws ecr batch-get-image --repository-name payments --image-ids imageTag="$TO" \
  --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.oci.image.manifest.v1+json \
  --query 'images[0].imageManifest' --output text)
aws ecr put-image --repository-name payments --image-tag latest --image-manifest "$manifest"`
	craneLogin = `
aws ecr get-login-password | crane auth login "$HOST" --username AWS --password-stdin 2>/dev/null`
	craneTag = `
crane tag "$HOST/payments:$TO" latest`
)

func TestSecondClients(t *testing.T) {
	t.Parallel()
	sameEnds(t, Options{}, programWay, way{"aws and kubectl", awsTag + restartAll, awsTag + restartAll},
		way{"crane and kubectl", craneLogin + craneTag + restartAll, craneLogin + craneTag + restartAll})
}

func TestSecondClientsOCI(t *testing.T) {
	t.Parallel()
	sameEnds(t, open, programWay, way{"crane and kubectl", craneTag + restartAll, craneTag + restartAll})
}

// sameEnds goes back and again in each way, in a world each, and compares where they end.
func sameEnds(t *testing.T, o Options, ways ...way) {
	t.Helper()
	bin := toolPath(t)
	ends := make([][]Trace, len(ways)) // after the way back, and after that again
	var all sync.WaitGroup
	for i, way := range ways {
		w := newReal(t, o)
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			s := &Stage{world: w, releases: map[string]*Release{}}
			if err := s.grant(ctx, "run"); err != nil {
				t.Errorf("%s: %v", way.name, err)
				return
			}
			if err := payments("Deployment", "StatefulSet", "DaemonSet")(ctx, s); err != nil {
				t.Errorf("%s: seed: %v", way.name, err)
				return
			}
			host := "HOST=" + strings.TrimPrefix(w.RegistryURL(), "http://")
			for _, step := range []struct{ script, to string }{{way.back, "good"}, {way.again, "bad"}} {
				if err := nextSecond(ctx); err != nil {
					t.Errorf("%s: %v", way.name, err)
					return
				}
				if _, err := shell(ctx, w, bin, w.Dir(), step.script, "TO="+s.releases[step.to].Commit, host); err != nil {
					t.Errorf("%s: %v", way.name, err)
					return
				}
				end, err := s.end(ctx)
				if err != nil {
					t.Errorf("%s: %v", way.name, err)
					return
				}
				ends[i] = append(ends[i], end)
				agree(ctx, t, s, bin, host, i == 0)
			}
			for _, v := range w.Registry().Violations() {
				t.Errorf("%s: %s", way.name, v)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i, way := range ways[1:] {
		for step, what := range []string{"back", "again"} {
			if diff := cmp.Diff(ends[i+1][step], ends[0][step]); diff != "" {
				t.Errorf("%s: the end state differs between %s (-) and rollback (+):\n%s", what, way.name, diff)
			}
		}
	}
	t.Logf("%d fields of the end state are the same in %d ways, back and again", len(ends[0][0]), len(ways))
}

// nextSecond waits for the wall clock's next second: kubectl stamps a restart to the second, and refuses a second one in it.
func nextSecond(ctx context.Context) error {
	now := time.Now().Unix()
	return until(ctx, func() (bool, error) { return time.Now().Unix() != now, nil })
}

// end is the state of the world, object by object, but for what only we leave: the tag that keeps the outgoing image, our
// record, our stamp in the pod template; and for kubectl's own restart annotation.
func (s *Stage) end(ctx context.Context) (Trace, error) {
	t := Trace{}
	for _, repo := range s.repositories() {
		for tag, digest := range s.world.Registry().Tags(repo) {
			body, mediaType, err := s.world.(*real).store.Manifest(repo, digest)
			if err != nil {
				return nil, err
			}
			t["manifests."+repo+"."+digest] = mediaType + " " + string(body)
			if !strings.HasPrefix(tag, "rollback-") {
				t["tags."+repo+"."+tag] = digest
			}
		}
	}
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
		list, err := s.world.API().list(ctx, plural(kind), s.world.Namespace(), "")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			name := kind + "/" + str(o, "metadata", "name")
			if err := s.world.API().rolledOut(ctx, plural(kind), s.world.Namespace(), str(o, "metadata", "name")); err != nil {
				return nil, err
			}
			annotations := mapOf(o, "spec", "template", "metadata", "annotations")
			before := len(annotations)
			maps.DeleteFunc(annotations, func(k string, _ any) bool {
				return k == "kubectl.kubernetes.io/restartedAt" || strings.HasPrefix(k, "rollback-tools.github.io/")
			})
			if before == 0 {
				return nil, fmt.Errorf("%s was not restarted", name)
			}
			if len(annotations) == 0 {
				delete(mapOf(o, "spec", "template", "metadata"), "annotations")
			}
			spec, err := json.MarshalIndent(o["spec"], "", " ")
			if err != nil {
				return nil, err
			}
			t["workloads."+name] = s.mask(string(spec))
			t["generation."+name] = fmt.Sprint(num(o, "metadata", "generation"))
		}
	}
	// Pods that are about to end may still be there.
	return t, until(ctx, func() (bool, error) {
		maps.DeleteFunc(t, func(k, _ string) bool { return strings.HasPrefix(k, "pods.") })
		if err := s.tracePods(ctx, t); err != nil {
			return false, err
		}
		pods := 0
		for k := range t {
			if strings.HasPrefix(k, "pods.") {
				pods++
			}
		}
		return pods == 3, nil // one line for each workload: all pods of it are alike
	})
}

// agree holds what kubectl, crane and the AWS CLI read against `rollback status --json`.
func agree(ctx context.Context, t *testing.T, s *Stage, bin, host string, recorded bool) {
	t.Helper()
	w := s.world
	read := func(script string, into any) bool {
		out, err := shell(ctx, w, bin, w.Dir(), script, host)
		if err == nil {
			if text, ok := into.(*string); ok {
				*text = strings.TrimSpace(out)
				return true
			}
			err = json.Unmarshal([]byte(out), into)
		}
		if err != nil {
			t.Errorf("%s: %v", script, err)
		}
		return err == nil
	}
	var status struct{ Services []object }
	var pods, record object
	var craned, craneTags string
	login := craneLogin
	if w.(*real).registry == nil {
		login = ""
	}
	if !read("rollback status --service payments --environment prod --json", &status) ||
		!read("kubectl get pods --output json", &pods) ||
		!read(login+"\ncrane digest \"$HOST/payments:latest\"", &craned) ||
		!read(`crane ls "$HOST/payments"`, &craneTags) {
		return
	}
	awsed := craned // where there is no ECR
	if login != "" && !read("aws ecr describe-images --repository-name payments --image-ids imageTag=latest --query 'imageDetails[0].imageDigest' --output text", &awsed) {
		return
	}
	if len(status.Services) != 1 {
		t.Errorf("status names %d services, want 1", len(status.Services))
		return
	}
	ours := status.Services[0]
	if tag := str(ours, "tagDigest"); tag == "" || craned != tag || awsed != tag {
		t.Errorf("latest is %s to rollback, %s to crane, %s to aws", tag, craned, awsed)
	}
	running := map[string]int{}
	for _, r := range items(ours, "running") {
		running[str(r, "digest")] = num(r, "pods")
	}
	seen := map[string]int{}
	for _, p := range items(pods, "items") {
		if str(p, "metadata", "deletionTimestamp") == "" {
			_, digest, _ := strings.Cut(str(items(p, "status", "containerStatuses")[0], "imageID"), "@")
			seen[digest]++
		}
	}
	if diff := cmp.Diff(seen, running); diff != "" {
		t.Errorf("pods by digest differ between kubectl (-) and rollback status (+):\n%s", diff)
	}
	if !recorded {
		return
	}
	if !read(`kubectl get configmap rollback-payments --output jsonpath='{.data.record\.json}'`, &record) {
		return
	}
	if diff := cmp.Diff(record["last"], ours["last"]); diff != "" || record["last"] == nil {
		t.Errorf("the last rollback differs between kubectl (-) and rollback status (+):\n%s", diff)
	}
	for _, k := range items(record, "last", "kept") {
		if tags := strings.Fields(craneTags); !slices.Contains(tags, k.(string)) {
			t.Errorf("the record says that %s was kept; crane sees %v", k, tags)
		}
	}
}
