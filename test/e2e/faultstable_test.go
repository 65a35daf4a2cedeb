package e2e

// The table of what goes wrong outside: calls that fail, a program that is ended in the middle, somebody else who is faster.
// After each trouble the same command is given again, and ends well in the end.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/kube"
)

var (
	back = on("run", "--to", "{good}", "--reason", "amounts", "--yes")
	undo = on("undo", "--reason", "false alarm", "--yes")
)

// one is a service of one pod, on the last of its four releases.
func one(ctx context.Context, s *Stage) error {
	if err := releases(ctx, s); err != nil {
		return err
	}
	return s.up(ctx, workload(s.world, "Deployment", "payments", "payments", 1))
}

// call is one of the program's calls.
type call struct {
	op   string
	skip int // so many of them come before
	when func(*http.Request) bool
}

var (
	theClaim = call{op: "CREATE configmaps"}
	// theOutcome is the last write of the record, which gives up the lock: not one of those in the background. Whether it would
	// be done is not known before: one in the background, given up, may have been faster, and then it is refused and repeated.
	theOutcome = call{op: "UPDATE configmaps/rollback-payments", when: func(r *http.Request) bool { return !locks(r) }}
	// theClaimAgain is a claim where there is a record. Those in the background come after it.
	theClaimAgain = call{op: "UPDATE configmaps/rollback-payments", when: locks}
	theKeep       = call{op: "PutImage"}
	theTag        = call{op: "PutImage", skip: 1} // the tag that keeps the outgoing image is before, also where it is there already
	theImages     = call{op: "DescribeImages"}
	theRestart    = call{op: "PATCH deployments/payments"}
	theProgress   = call{op: "GET deployments/payments"} // the first look after the restart, which nothing is known before
	theLook       = call{op: "LIST pods", skip: 1}       // that of the survey is before
	theWatches    = call{op: "WATCH *"}
)

// locks tells whether a record that is written has a lock in it.
func locks(r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return bytes.Contains(body, []byte(`\"lock\":`))
}

func (c call) after(n int) call {
	c.skip = n
	return c
}

// inject lets a call fail from now on, and no other.
func (c call) inject(ctx context.Context, s *Stage, f fake.Fault) error {
	if err := well(ctx, s); err != nil {
		return err
	}
	f.Op, f.Skip, f.When = c.op, c.skip, c.when
	if strings.Contains(c.op, " ") {
		s.world.Cluster().Inject(f)
	} else {
		s.world.Registry().Inject(f)
	}
	return nil
}

// fails lets a call fail in a way, again and again.
func (c call) fails(f fake.Fault) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error { return c.inject(ctx, s, f) }
}

// answers lets a call be refused as its system does.
func (c call) answers(status int, reason string) func(context.Context, *Stage) error {
	f := fake.Fault{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: kube.StatusBody(status, reason, "injected "+reason)}
	if !strings.Contains(c.op, " ") {
		f.Header, f.Body = http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, fmt.Sprintf(`{"__type":%q,"message":"injected %s"}`, reason+"Exception", reason)
	}
	return c.fails(f)
}

// ends sends the program a signal when the call comes. SIGKILL ends it there; with SIGTERM it waits for an answer that
// does not come. Whether the call is done nevertheless, done says.
func (c call) ends(sig syscall.Signal, done bool) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		return c.inject(ctx, s, fake.Fault{Times: 1, Hold: func(*http.Request) { s.signal(sig) }, After: done, Drop: sig == syscall.SIGKILL, Hang: sig != syscall.SIGKILL})
	}
}

// meets lets something be done when the call has come, before it is done.
func (c call) meets(do func(*Stage) error) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		return c.inject(ctx, s, fake.Fault{Times: 1, Hold: func(*http.Request) {
			s.others.Store(true)
			if err := do(s); err != nil {
				s.broken(err)
			}
		}})
	}
}

// well ends all faults, and waits until the pods have come to rest: how far they are is told by the next command.
func well(ctx context.Context, s *Stage) error {
	s.world.Cluster().Clear()
	s.world.Registry().Clear()
	if err := s.world.API().rolledOut(ctx, "deployments", s.world.Namespace(), "payments"); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		pods, err := s.world.API().list(ctx, "pods", s.world.Namespace(), "")
		return len(pods) == 1, err
	})
}

// wellAgain is a command that ends well.
func wellAgain(args []string) Step { return Step{Before: well, Args: args} }

var (
	lost  = fake.Fault{After: true, Drop: true}
	drops = fake.Fault{Drop: true}
	hangs = fake.Fault{Hang: true}
	// stalls does what is asked for and gives no answer.
	stalls = fake.Fault{After: true, Hang: true}
	isHTML = fake.Fault{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: fake.HTMLPage}
	isCut  = fake.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"kind":"Po`, Cut: true}
	// tooMany asks for a wait that nobody at night sits out.
	tooMany = fake.Fault{Status: 429, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"600"}}, Body: `{"message":"too many requests"}`}
)

// events are what a watch answers, after which it stays silent.
func events(text string) fake.Fault {
	return fake.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: text, Hang: true}
}

// soon bounds a run whose rollout is not to be followed to its end.
func soon(args []string) []string { return append(slices.Clone(args), "--timeout", "3s") }

// tired bounds a run for somebody who does not wait long for a call that hangs.
func tired(args []string) []string { return append(slices.Clone(args), "--timeout", "10s") }

// edit changes the record in the cluster.
func edit(change func(record object)) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if s.byHand {
			return nil
		}
		m, err := s.world.API().get(ctx, "configmaps", s.world.Namespace(), "rollback-payments")
		if err != nil {
			return err
		}
		var record object
		if err := json.Unmarshal([]byte(str(m, "data", "record.json")), &record); err != nil {
			return err
		}
		change(record)
		text, err := json.Marshal(record)
		if err != nil {
			return err
		}
		return s.world.API().merge(ctx, "configmaps", s.world.Namespace(), "rollback-payments", object{"data": object{"record.json": string(text)}})
	}
}

// onLaptop makes the holder of the lock somebody on another machine, whose lock stands for a while yet or has expired.
func onLaptop(user string, left time.Duration) func(context.Context, *Stage) error {
	return edit(func(record object) {
		lock := mapOf(record, "lock")
		holder := mapOf(lock, "holder")
		holder["user"], holder["host"], holder["process"] = user, "laptop-7", "laptop-7/4026531836/4711/1"
		lock["heartbeat"], lock["expiresAt"] = time.Now().UTC(), time.Now().Add(left).UTC()
	})
}

// elsewhere is the directory of all that a program finds and leaves on another machine.
const elsewhere = "elsewhere"

// theColleague is the environment of somebody else on a machine of their own, as far as it is another one.
func theColleague(w World) []string {
	home := filepath.Join(w.Dir(), elsewhere)
	return []string{"HOME=" + home, "TMPDIR=" + home, "ROLLBACK_STATE=" + filepath.Join(home, "journals"), "ROLLBACK_USER=colleague"}
}

// given has the colleague give the commands from here on, or again whoever is on call, when something has been done.
func given(env func(World) []string, before func(context.Context, *Stage) error) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		s.env = env(s.world)
		return before(ctx, s)
	}
}

func theOneOnCall(World) []string { return nil }

// robbed lets the colleague take the lock when the call has come, before it is done, and bring a rollback of their own to its
// end. That takes longer than one acts without a look at the lock.
func (c call) robbed(args []string) func(context.Context, *Stage) error {
	return c.meets(func(s *Stage) error {
		r, err := s.with(theColleague(s.world)).rollback(context.Background(), append(slices.Clone(args), "--steal", "no answer", "--settle", "6s")...)
		if err == nil && r.exit != 0 {
			err = fmt.Errorf("the colleague's: exit %d\n%s", r.exit, r.stderr)
		}
		return err
	})
}

// moves points the moving tag at a release.
func moves(name string) func(*Stage) error {
	return func(s *Stage) error { return s.world.Registry().Tag("payments", "latest", s.releases[name].Digest) }
}

var isBack = map[string]string{
	"tags.payments.latest": good, "workloads.Deployment/payments.generation": "2", "pods.payments: Running [app " + good + " running ready=true]": "1",
}

var faultScenarios = []Scenario{
	{
		Name: "the claim fails", Seed: one,
		Steps: []Step{
			{Before: theClaim.answers(401, "Unauthorized"), Args: back, Exit: 1},
			{Before: theClaim.answers(403, "Forbidden"), Args: back, Exit: 1},
			{Before: theClaim.answers(404, "NotFound"), Args: back, Exit: 1},
			{Before: theClaim.answers(409, "AlreadyExists"), Args: back, Exit: 5},
			{Before: theClaim.answers(500, "InternalError"), Args: back, Exit: 1},
			{Before: theClaim.fails(drops), Args: back, Exit: 1},
			{Before: theClaim.fails(lost), Args: back},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the claim is too late", Seed: one,
		Steps: []Step{
			{
				Before: theClaim.meets(func(s *Stage) error { // a colleague begins and ends between the look and the claim
					r, err := s.rollback(context.Background(), on("run", "--reason", "colleague", "--yes")...)
					if err == nil && r.exit != 0 {
						err = fmt.Errorf("the colleague's: exit %d\n%s", r.exit, r.stderr)
					}
					return err
				}),
				Args: back, Exit: 5,
			},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the tag cannot be moved", Seed: one,
		Steps: []Step{
			{Before: theKeep.answers(403, "AccessDenied"), Args: back, Exit: 1},
			{Before: theKeep.answers(500, "ServerInternal"), Args: back, Exit: 1},
			{Before: theKeep.fails(drops), Args: back, Exit: 1},
			{Before: theTag.answers(401, "UnrecognizedClient"), Args: back, Exit: 1},
			{Before: theTag.answers(403, "AccessDenied"), Args: back, Exit: 1},
			{Before: theTag.answers(404, "ImageNotFound"), Args: back, Exit: 1},
			{Before: theTag.answers(409, "Conflict"), Args: back, Exit: 1},
			{Before: theTag.answers(500, "ServerInternal"), Args: back, Exit: 1},
			{Before: theTag.fails(drops), Args: back, Exit: 1},
			{Before: theTag.fails(lost), Args: back},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the restart fails", Seed: one,
		Steps: []Step{
			{Before: theRestart.answers(401, "Unauthorized"), Args: back, Exit: 4},
			{Before: theRestart.answers(403, "Forbidden"), Args: back, Exit: 4},
			{Before: theRestart.answers(404, "NotFound"), Args: back, Exit: 4},
			{Before: theRestart.answers(409, "Conflict"), Args: back, Exit: 4},
			{Before: theRestart.answers(500, "InternalError"), Args: back, Exit: 4},
			{Before: theRestart.fails(drops), Args: back, Exit: 4},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the outcome cannot be written", Seed: one,
		Steps: []Step{
			{Before: theOutcome.answers(403, "Forbidden"), Args: back, Exit: 3},
			{Before: theOutcome.answers(401, "Unauthorized"), Args: back, Exit: 3},
			{Before: theOutcome.answers(404, "NotFound"), Args: back, Exit: 3},
			{Before: theOutcome.answers(409, "Conflict"), Args: back, Exit: 3},
			{Before: theOutcome.answers(500, "InternalError"), Args: back, Exit: 3},
			{Before: theOutcome.fails(drops), Args: back, Exit: 3},
			{Before: theOutcome.fails(lost), Args: back},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "killed at each act, run again", Seed: one,
		Steps: []Step{
			{Before: theClaim.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: theClaim.ends(syscall.SIGKILL, true), Args: back, Exit: killed},
			{Before: theKeep.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: theKeep.ends(syscall.SIGKILL, true), Args: back, Exit: killed},
			{Before: theTag.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: theTag.ends(syscall.SIGKILL, true), Args: back, Exit: killed},
			{Before: theRestart.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: theRestart.ends(syscall.SIGKILL, true), Args: back, Exit: killed},
			{Before: theLook.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: theOutcome.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "an undo is killed at each act, and undone again", Seed: one,
		Steps: []Step{
			{Args: back},
			{Before: theClaimAgain.ends(syscall.SIGKILL, true), Args: undo, Exit: killed},
			{Before: theTag.ends(syscall.SIGKILL, false), Args: undo, Exit: killed},
			{Before: theTag.ends(syscall.SIGKILL, true), Args: undo, Exit: killed},
			{Before: theRestart.ends(syscall.SIGKILL, true), Args: undo, Exit: killed},
			{Before: theLook.ends(syscall.SIGKILL, false), Args: undo, Exit: killed},
			{Before: theOutcome.ends(syscall.SIGKILL, false), Args: undo, Exit: killed},
			wellAgain(undo),
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "3"},
	},
	{
		Name: "ended before the tag, run again", Seed: one,
		Steps: []Step{
			{Before: theClaim.ends(syscall.SIGTERM, true), Args: back, Exit: 1},
			{Before: theKeep.ends(syscall.SIGTERM, true), Args: back, Exit: 1},
			{Before: theTag.ends(syscall.SIGTERM, false), Args: back, Exit: 4, Says: []string{"perhaps changed"}},
			{Before: theTag.ends(syscall.SIGTERM, true), Args: back, Exit: 4},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "ended after the tag, run again", Seed: one,
		Steps: []Step{
			{Before: theRestart.ends(syscall.SIGTERM, true), Args: back, Exit: 4},
			{Before: theProgress.ends(syscall.SIGTERM, false), Args: back, Exit: 4},
			{Before: theOutcome.ends(syscall.SIGTERM, false), Args: back, Exit: 3, Says: []string{"proven"}},
			wellAgain(back),
			{Before: theTag.ends(syscall.SIGTERM, true), Args: undo, Exit: 4},
			{Before: theProgress.ends(syscall.SIGTERM, false), Args: undo, Exit: 4},
			wellAgain(undo),
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "3"},
	},
	{
		Name: "the images cannot be read", Seed: one,
		Steps: []Step{
			{Before: theImages.answers(401, "UnrecognizedClient"), Args: back, Exit: 1},
			{Before: theImages.answers(403, "AccessDenied"), Args: back, Exit: 1},
			{Before: theImages.answers(404, "RepositoryNotFound"), Args: back, Exit: 2},
			{Before: theImages.answers(500, "ServerInternal"), Args: back, Exit: 1},
			{Before: theImages.fails(drops), Args: back, Exit: 1},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the pods cannot be read", Seed: one,
		Steps: []Step{
			{Before: theLook.after(0).answers(401, "Unauthorized"), Args: back, Exit: 1},
			{Before: theLook.after(0).answers(403, "Forbidden"), Args: back, Exit: 1},
			{Before: theLook.after(0).answers(404, "NotFound"), Args: back, Exit: 2},
			{Before: theLook.after(0).answers(500, "InternalError"), Args: back, Exit: 1},
			{Before: theLook.after(0).fails(drops), Args: back, Exit: 1},
			{Before: theLook.answers(403, "Forbidden"), Args: soon(back), Exit: 4},
			{Before: theLook.answers(500, "InternalError"), Args: soon(back), Exit: 4},
			{Before: theLook.fails(hangs), Args: soon(back), Exit: 4},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "the lock is somebody else's, and is taken", Seed: one,
		Steps: []Step{
			{Before: theRestart.ends(syscall.SIGKILL, false), Args: back, Exit: killed},
			{Before: onLaptop("colleague", 10*time.Minute), Args: back, Exit: 5, Says: []string{"is locked by", "laptop-7", "--steal"}},
			{Args: on("plan", "--reason", "amounts"), Exit: 5, Says: []string{"[locked]"}},
			{Args: on("undo", "--reason", "amounts", "--dry-run"), Exit: 5, Says: []string{"[locked]"}},
			{Args: on("status"), Says: []string{"laptop-7"}},
			{Args: append(slices.Clone(back), "--steal", "gone home"), Says: []string{"gone home"}},
		},
		Want: isBack,
	},
	{
		Name: "the lock is taken half-way, by one who goes on", Seed: one,
		Steps: []Step{
			{Before: theKeep.robbed(back), Args: back, Exit: 5, Says: []string{"the lock of payments/prod", "production: not changed by this command"}},
			{Before: well, Args: undo},
			{Before: theTag.robbed(back), Args: back, Exit: 4, Says: []string{"the lock of payments/prod"}},
			{Before: well, Args: undo},
			{Before: theOutcome.robbed(back), Args: back},
		},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "6"},
	},
	{
		Name: "the lock is taken half-way, by one who wants another image", Seed: one, NoManual: "two people roll back to and fro in the same step",
		Steps: []Step{
			{Before: theKeep.robbed(on("run", "--to", "{old}", "--reason", "colleague", "--yes")), Args: back, Exit: 5, Says: []string{"the lock of payments/prod"}},
			{Args: on("status"), Says: []string{"colleague"}},
			{Before: well, Args: undo},
			{Before: theOutcome.robbed(undo), Args: back, Exit: 4, Says: []string{"the lock of payments/prod", "somebody else has been at work since"}},
			{Args: on("status")},
			{Before: theTag.robbed(on("run", "--to", "{old}", "--reason", "colleague", "--yes")), Args: back, Exit: 4, Says: []string{"the lock of payments/prod"}},
			{Args: on("status")},
			{Args: on("verify"), Exit: 4},
			{Args: undo, Exit: 5, Says: []string{"[moved-on]"}},
			{Args: on("run", "--to", "{old}", "--reason", "colleague", "--yes")},
		},
		Want: map[string]string{"tags.payments.latest": "<image old in full>", "pods.payments: Running [app <image old in full> running ready=true]": "1"},
	},
	{
		Name: "killed on one machine, finished on another", Seed: one,
		Steps: []Step{
			{Before: theTag.ends(syscall.SIGKILL, true), Args: back, Exit: killed},
			{Before: given(theColleague, onLaptop("oncall", 10*time.Minute)), Args: back, Exit: 5, Says: []string{"is locked by oncall on laptop-7"}},
			{Before: onLaptop("oncall", -time.Second), Args: on("status")},
			wellAgain(back),
			{Before: theRestart.ends(syscall.SIGKILL, true), Args: undo, Exit: killed},
			{Before: given(theOneOnCall, onLaptop("colleague", 10*time.Minute)), Args: undo, Exit: 5, Says: []string{"is locked by colleague on laptop-7"}},
			{Before: onLaptop("colleague", -time.Second), Args: undo},
			{Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "3"},
	},
	{
		Name: "the API server refuses connections", Seed: gated(one),
		Steps: []Step{
			{Before: down(theAPI), Args: back, Exit: 1, Says: []string{"connection refused", "production: not changed"}},
			{Args: on("status"), Exit: 1, Says: []string{"connection refused"}},
			{Before: theTag.shuts(theAPI), Args: back, Exit: 4, Says: []string{"connection refused", "production: changed, not verified"}},
			{Before: theProgress.shuts(theAPI), Args: soon(back), Exit: 4, Says: []string{"the cluster cannot be read; still trying"}},
			{Before: up, Args: back},
		},
		Want: isBack,
	},
	{
		Name: "the registry refuses connections", Seed: gated(one),
		Steps: []Step{
			{Before: down(theRegistry), Args: back, Exit: 1, Says: []string{"connection refused", "production: not changed"}},
			{Before: theClaim.shuts(theRegistry), Args: back, Exit: 1, Says: []string{"connection refused", "production: not changed"}},
			{Before: theProgress.shuts(theRegistry), Args: back, Exit: 4, Says: []string{"the pods run the target, but the tag could not be read at the end"}},
			{Before: up, Args: back},
		},
		Want: isBack,
	},
	{
		Name: "answers that are none", Seed: one,
		Steps: []Step{
			{Before: theImages.fails(tooMany), Args: back, Exit: 1},
			{Before: theImages.fails(isHTML), Args: back, Exit: 1},
			{Before: theImages.fails(isCut), Args: back, Exit: 1},
			{Before: theLook.after(0).fails(tooMany), Args: back, Exit: 1},
			{Before: theLook.after(0).fails(isHTML), Args: back, Exit: 1},
			{Before: theLook.after(0).fails(isCut), Args: back, Exit: 1},
			{Before: theClaim.fails(tooMany), Args: back, Exit: 1},
			{Before: theClaim.fails(isHTML), Args: back, Exit: 1},
			{Before: theClaim.fails(isCut), Args: back, Exit: 1},
			{Before: theTag.fails(tooMany), Args: back, Exit: 1},
			{Before: theTag.fails(isHTML), Args: back, Exit: 1},
			{Before: theTag.fails(isCut), Args: back, Exit: 1},
			{Before: theRestart.fails(tooMany), Args: back, Exit: 4},
			{Before: theRestart.fails(isHTML), Args: back, Exit: 4},
			{Before: theRestart.fails(isCut), Args: back, Exit: 4},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "reads that hang", Seed: one,
		Steps: []Step{
			{Before: theImages.fails(hangs), Args: tired(back), Exit: 1, Says: []string{"no answer in time"}},
			{Before: theLook.after(0).fails(hangs), Args: tired(back), Exit: 1, Says: []string{"no answer within 5s"}},
			{Before: theProgress.fails(hangs), Args: tired(back), Exit: 4, Says: []string{"could not be followed to its end within 10s"}},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "writes that hang", Seed: one,
		Steps: []Step{
			{Before: theClaim.fails(hangs), Args: tired(back), Exit: 1, Says: []string{"no answer within 5s", "production: not changed"}},
			{Before: theKeep.fails(hangs), Args: tired(back), Exit: 1, Says: []string{"no answer in time"}},
			{Before: theTag.fails(hangs), Args: tired(back), Exit: 4, Says: []string{"no answer in time", "production: perhaps changed"}},
			{Before: theRestart.fails(hangs), Args: tired(back), Exit: 4, Says: []string{"no answer within 5s", "0 of 1 workload was restarted"}},
			{Before: theOutcome.fails(hangs), Args: tired(back), Exit: 3, Says: []string{"no answer in time", "production: proven"}},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "writes that are done and never answered", Seed: one,
		Steps: []Step{
			{Before: theClaim.fails(stalls), Args: tired(back)},
			{Before: theClaimAgain.fails(stalls), Args: tired(undo)},
			{Before: theKeep.fails(stalls), Args: tired(back)},
			{Before: theTag.fails(stalls), Args: tired(undo)},
			{Before: theRestart.fails(stalls), Args: tired(back), Says: []string{"an answer to the restart was lost; every workload has been restarted"}},
			{Before: theOutcome.fails(stalls), Args: tired(undo)},
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "7"},
	},
	{
		Name: "nothing can be watched", Seed: one,
		Steps: []Step{
			{Before: theWatches.answers(403, "Forbidden"), Args: back},
			{Before: theWatches.fails(drops), Args: undo},
			{Before: theWatches.fails(hangs), Args: back},
			{Before: theWatches.fails(events("")), Args: undo},
			{Before: theWatches.fails(events(`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`)), Args: back},
			{Before: theWatches.fails(isCut), Args: undo},
			{Before: theWatches.fails(isHTML), Args: back},
		},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "8"},
	},
	{
		Name: "nothing can be written on this machine", Seed: one,
		Steps: []Step{
			{
				Before: func(ctx context.Context, s *Stage) error {
					s.env = []string{"ROLLBACK_STATE=/proc/nowhere", "TMPDIR=/proc/nowhere"}
					return theRestart.ends(syscall.SIGKILL, true)(ctx, s)
				},
				Args: back, Exit: killed, Says: []string{"! no journal is written"},
			},
			{Before: well, Args: append(slices.Clone(back), "--result-file", "/proc/nowhere/result"), Says: []string{"! no journal is written", "! the result file could not be written"}},
		},
		Want: isBack,
	},
	{
		Name: "the tag is moved meanwhile", Seed: one,
		Steps: []Step{
			{Before: theClaim.meets(moves("old")), Args: back, Exit: 1, Says: []string{"somebody moved payments:latest"}},
			wellAgain(back),
		},
		Want: isBack,
	},
	{
		Name: "a plan that is stale", Seed: one,
		Steps: []Step{
			{Args: on("plan", "--reason", "amounts", "--out", "plan.json")},
			{Before: func(_ context.Context, s *Stage) error { return moves("old")(s) }, Args: on("run", "--plan", "plan.json", "--yes"), Exit: 5},
			{Before: func(_ context.Context, s *Stage) error { return moves("bad")(s) }, Args: on("run", "--plan", "plan.json", "--yes")},
			{Args: on("run", "--plan", "plan.json", "--yes"), Exit: 5},
		},
		Want: isBack,
	},
	{
		Name: "no record is kept", Seed: one,
		Steps: []Step{
			{Args: append(slices.Clone(back), "--no-record"), Says: []string{"no record is kept"}},
			{Args: on("status")},
			{Args: undo, Exit: 5},
			{Args: on("run", "--to", "{bad}", "--reason", "false alarm", "--yes", "--no-record")},
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "3", "configmaps.rollback-payments.record.json.schemaVersion": ""},
	},
}
