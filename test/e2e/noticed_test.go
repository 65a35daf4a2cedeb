package e2e

// How soon is it noticed that new pods will not come up: `rollback run` to an image that crashes, or that the nodes may not
// pull, against `kubectl rollout status`. `make bench` asks for repetitions, as in TestRealParts; without that each goes once,
// and the test is what the two say.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// rollOut is the manual way to a release, as far as the wait. $TO and $HOST are those of the ways to proven digests.
const rollOut = `
crane tag "$HOST/payments:$TO" latest
kubectl rollout restart deployment/payments
kubectl rollout status deployment/payments`

const (
	// kubectlDeadline is the Deployment's progressDeadlineSeconds where kubectl waits for it: the shortest in which the pods have
	// failed before, as the controller counts in whole seconds. defaultDeadline is Kubernetes' own.
	kubectlDeadline = 3
	defaultDeadline = 600
)

// Noticed is one rollout that failed, with times in nanoseconds.
type Noticed struct {
	Way     string
	Reason  string // what the pods wait in
	Latency time.Duration
	Wall    time.Duration
	// Sign and Backoff are from what the cluster showed of the first pod to the end of the process: that its container ended or
	// its image could not be pulled, and that it is in CrashLoopBackOff or ImagePullBackOff.
	Sign, Backoff time.Duration
}

func TestNoticed(t *testing.T) {
	n := repetitions(t)
	if n == 0 {
		t.Parallel() // nothing is measured
	}
	ctx, cancel := context.WithTimeout(t.Context(), benchBound)
	defer cancel()
	s, w, bin := measurable(ctx, t)
	crashing := s.releases["old"]
	if err := w.Behave(ctx, crashing.Digest, control.Behaviour{Crash: true, CrashAfter: podDelays.Start}); err != nil {
		t.Fatal(err)
	}
	ways := []struct {
		name, script string
		exit         int
		says         string // "%s" is the reason
		deadline     int
		latency      []time.Duration
	}{
		{"rollback", ourWay, 4, "the new pods do not come up: pod payments-", defaultDeadline, []time.Duration{0, 100 * time.Millisecond}},
		{"kubectl", rollOut, 1, "exceeded its progress deadline", kubectlDeadline, []time.Duration{0}},
	}
	if _, err := shell(ctx, w, bin, w.dir, loginCrane, "HOST="+strings.TrimPrefix(w.RegistryURL(), "http://")); err != nil {
		t.Fatal(err)
	}
	var all []Noticed
	for i := -1; i < n; i++ { // once to warm up
		for _, way := range ways {
			for _, latency := range way.latency {
				reasons := []string{"CrashLoopBackOff", "ImagePullBackOff"}
				if way.name == "kubectl" { // in turns: it is the deadline that it waits for
					reasons = reasons[(i+2)%2:][:1]
				}
				for _, reason := range reasons {
					to := crashing
					if reason == "ImagePullBackOff" {
						to = s.releases["oldest"]
						w.registry.Inject(fake.Fault{Op: fake.PullOp + "*", Status: http.StatusForbidden})
					}
					one, said, err := w.notice(ctx, bin, way.script, way.exit, to, reason, way.deadline, latency)
					w.registry.Clear()
					if err == nil && (!strings.Contains(said, way.says) || way.name == "rollback" && !strings.Contains(said, reason)) {
						err = fmt.Errorf("it does not say %q:\n%s", way.says, said)
					}
					if err == nil {
						err = w.recover(ctx, s.releases["good"].Digest)
					}
					if err != nil {
						t.Fatalf("%s to an image in %s with %s in each call: %v", way.name, reason, latency, err)
					}
					if one.Way = way.name; i >= 0 {
						all = append(all, one)
					}
				}
				if n == 0 {
					break
				}
			}
		}
	}
	results(t, all)
}

// notice lets a rollout fail, and looks into the cluster meanwhile.
func (w *real) notice(ctx context.Context, bin, script string, exit int, to *Release, reason string, deadline int, latency time.Duration) (Noticed, string, error) {
	one := Noticed{Reason: reason, Latency: latency}
	if err := w.api.merge(ctx, "deployments", w.namespace, "payments", object{"spec": object{"progressDeadlineSeconds": deadline}}); err != nil {
		return one, "", err
	}
	if err := w.anotherSecond(ctx); err != nil {
		return one, "", err
	}
	w.board.Latency(latency)
	w.registry.Latency(latency)
	var sign, backoff time.Time
	over := w.watchPods(ctx, func(pods map[string]object) bool {
		for _, p := range pods {
			for _, c := range items(p, "status", "containerStatuses") {
				waits := str(c, "state", "waiting", "reason")
				ended := at(c, "state", "terminated") != nil && str(p, "metadata", "deletionTimestamp") == ""
				if sign.IsZero() && (ended || waits == "ErrImagePull" || waits == reason) {
					sign = time.Now()
				}
				if waits == reason {
					backoff = time.Now()
					return true
				}
			}
		}
		return false
	})
	u, said, err := w.used(ctx, bin, script, exit, "TO="+to.Commit)
	w.board.Latency(0)
	w.registry.Latency(0)
	if watched := over(err == nil); err == nil {
		err = watched
	}
	one.Wall, one.Sign, one.Backoff = u.Wall, u.Ended.Sub(sign), u.Ended.Sub(backoff)
	return one, said, err
}

// recover brings the service back to a release that is well, as if nothing had been tried.
func (w *real) recover(ctx context.Context, digest string) error {
	if err := w.forgetRollback(ctx); err != nil {
		return err
	}
	if err := w.registry.Tag("payments", "latest", digest); err != nil {
		return err
	}
	over := w.watchPods(ctx, func(pods map[string]object) bool {
		n := 0
		for _, p := range pods {
			for _, c := range items(p, "status", "containerStatuses") {
				if condition(p, "Ready") && strings.HasSuffix(str(c, "imageID"), digest) {
					n++
				}
			}
		}
		return n == podCount && len(pods) == podCount
	})
	err := w.restart(ctx)
	if watched := over(err == nil); err == nil {
		err = watched
	}
	if err != nil {
		return err
	}
	return w.api.rolledOut(ctx, "deployments", w.namespace, "payments")
}
