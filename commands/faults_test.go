package commands

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// outside is one kind of outside call that a run makes.
type outside struct {
	system string // as errors name it
	op     string
	// skip is how many calls of the same operation come before this one.
	skip  int
	when  string // what the call is for
	write bool
	// optional calls only make the plan better, or the wait quicker.
	optional bool
	// whole calls are tried with every way to fail, the others with a few.
	whole bool
}

// outsides are the calls of the story's run, in the order in which it makes them.
var outsides = []outside{
	{system: "sts", op: "GetCallerIdentity", when: "survey", optional: true},
	{system: "ecr", op: "DescribeRepositories", when: "survey"},
	{system: "ecr", op: "GetLifecyclePolicy", when: "survey", optional: true},
	{system: "ecr", op: "DescribeImages", when: "survey", whole: true},
	{system: "ecr", op: "BatchGetImage", when: "survey"},
	{system: "kubernetes", op: "GET namespaces/prod", when: "survey", optional: true},
	{system: "kubernetes", op: "GET namespaces/kube-system", when: "survey", optional: true},
	{system: "kubernetes", op: "CREATE selfsubjectreviews", when: "survey", optional: true},
	{system: "kubernetes", op: "CREATE selfsubjectaccessreviews", when: "survey", optional: true},
	{system: "kubernetes", op: "GET configmaps/rollback-payments", when: "survey", whole: true},
	{system: "kubernetes", op: "LIST deployments", when: "survey"},
	{system: "kubernetes", op: "LIST replicasets", when: "survey", optional: true},
	{system: "kubernetes", op: "LIST cronjobs", when: "survey", optional: true},
	{system: "kubernetes", op: "LIST configmaps", when: "survey", optional: true},
	{system: "kubernetes", op: "LIST pods", when: "survey", whole: true},
	{system: "kubernetes", op: "CREATE configmaps", when: "claim", write: true, whole: true},
	{system: "ecr", op: "PutImage", when: "keep", write: true, whole: true},
	{system: "ecr", op: "DescribeImages", skip: 2, when: "keep"},
	{system: "ecr", op: "PutImage", skip: 1, when: "retag", write: true, whole: true},
	{system: "kubernetes", op: "PATCH deployments/payments", when: "restart", write: true, whole: true},
	{system: "kubernetes", op: "PATCH statefulsets/payments-worker", when: "restart", write: true},
	{system: "ecr", op: "DescribeImages", skip: 3, when: "restart"},
	{system: "kubernetes", op: "GET deployments/payments", when: "rollout", whole: true},
	{system: "kubernetes", op: "LIST pods", skip: 1, when: "rollout"},
	{system: "kubernetes", op: "WATCH *", when: "rollout", optional: true},
	{system: "ecr", op: "DescribeImages", skip: 4, when: "verify", whole: true},
	{system: "kubernetes", op: "UPDATE configmaps/rollback-payments", when: "record", write: true, whole: true},
}

// failure is one way in which a call can fail.
type failure struct {
	name  string
	fault func(o outside) fake.Fault
	// unclear failures do not tell whether a write was done.
	unclear bool
	// few failures are tried with every call, all with the important ones.
	few bool
}

func refusing(status int, reason string, header http.Header) func(outside) fake.Fault {
	return func(o outside) fake.Fault {
		f := fake.Fault{Status: status, Header: http.Header{"Content-Type": {"application/json"}}}
		for k, v := range header {
			f.Header[k] = v
		}
		switch o.system {
		case "kubernetes":
			f.Body = kube.StatusBody(status, reason, "injected "+reason)
		case "ecr":
			f.Body = fmt.Sprintf(`{"__type":%q,"message":"injected %s"}`, reason+"Exception", reason)
		case "github": // some proxies repeat what they were sent
			f.Body = fmt.Sprintf(`{"message":"injected %s for Bearer %s","documentation_url":"https://docs.github.com/rest","status":"%d"}`, reason, github.Token, status)
		case "jenkins":
			f.Header.Set("Content-Type", "text/html;charset=utf-8")
			f.Body = "<html><body><h2>HTTP ERROR " + reason + "</h2></body></html>"
		default:
			f.Header.Set("Content-Type", "text/xml")
			f.Body = fmt.Sprintf("<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>injected</Message></Error></ErrorResponse>", reason)
		}
		return f
	}
}

func always(f fake.Fault) func(outside) fake.Fault { return func(outside) fake.Fault { return f } }

var failures = []failure{
	{name: "hang", fault: always(fake.Fault{Hang: true}), unclear: true},
	{name: "401", fault: refusing(401, "Unauthorized", nil)},
	{name: "403", fault: refusing(403, "Forbidden", nil), few: true},
	{name: "404", fault: refusing(404, "NotFound", nil)},
	{name: "409", fault: refusing(409, "Conflict", nil)},
	{name: "429", fault: refusing(429, "TooManyRequests", http.Header{"Retry-After": {"1"}})},
	{name: "429 for long", fault: refusing(429, "TooManyRequests", http.Header{"Retry-After": {"600"}})},
	{name: "500", fault: refusing(500, "InternalError", nil), unclear: true},
	{name: "503", fault: refusing(503, "ServiceUnavailable", nil), unclear: true, few: true},
	{name: "html", fault: always(html(200)), unclear: true},
	{name: "cut", fault: always(fake.Fault{Status: 200, Cut: true, Body: `{"kind":"Pod`}), unclear: true},
	{name: "drop", fault: always(fake.Fault{Drop: true}), unclear: true},
	{name: "answer lost", fault: always(fake.Fault{After: true, Drop: true}), unclear: true},
	{name: "answer lost, 500", fault: always(fake.Fault{After: true, Status: 500, Body: "{}"}), unclear: true},
}

// TestFaults lets each outside call of a run fail in each way, and looks at three things: that the exit code tells the truth
// about production, that the failure is explained, and that the same command finishes the work when the fault is gone.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := 0
	for _, f := range failures {
		for _, o := range outsides {
			switch {
			case !o.whole && !f.few, strings.HasPrefix(f.name, "answer lost") && !o.write:
				continue
			}
			cases++
			t.Run(fmt.Sprintf("%s/%s %s/%s", f.name, o.system, o.op, o.when), func(t *testing.T) {
				t.Parallel()
				fails(t, o, f)
			})
		}
	}
	t.Logf("%d fault cases", cases)
}

func fails(t *testing.T, o outside, f failure) {
	n := newNight(t, demo.Options{})
	fault := f.fault(o)
	fault.Op, fault.Skip = o.op, o.skip
	noRecord := f.name == "404" && o.op == "GET configmaps/rollback-payments" // that is what it means, as long as there is none
	if noRecord {
		fault.Times = 1
	}
	if o.system == "kubernetes" {
		n.Cluster.Inject(fault)
	} else {
		n.Registry.Inject(fault)
	}
	r := n.do(call{args: theRun("--timeout", "8s")})
	wantNoSecret(t, r)
	n.wantJournalWhole()

	untouched, got := n.untouched(), n.state()
	touched := got.Latest != untouched.Latest || !cmp.Equal(got.Restarts, untouched.Restarts)
	proven := cmp.Equal(got.Runs, n.clean().Runs) && got.Latest == n.good().Digest
	switch code := rollback.Exit(r.code); {
	case code == rollback.Done:
		n.wantState(n.clean())
		if !o.optional && o.when != "restart" && !o.write && !noRecord {
			t.Errorf("a call that is needed fails, and the run does not say so\n%s", r)
		}
		return
	case code == rollback.Pending && proven, code == rollback.Unverified && touched,
		code == rollback.Unverified && o.write && f.unclear, // the worse is assumed
		(code == rollback.Failed || code == rollback.Refused || code == rollback.Usage) && !touched:
	default:
		t.Fatalf("exit %d, but the tag or a template was changed: %t, and it is proven: %t\n%s", code, touched, proven, r)
	}
	says := "production: not changed"
	switch rollback.Exit(r.code) {
	case rollback.Unverified:
		if says = "production: changed, not verified"; !touched {
			says = "production: perhaps changed"
		}
	case rollback.Pending:
		says = "production: proven"
	}
	if r.wantText(t, says); strings.Contains(says, "not verified") && strings.Contains(r.stderr, "production: perhaps") {
		t.Errorf("unsure about what is known\n%s", r)
	}
	if rollback.Exit(r.code) != rollback.Refused {
		r.wantText(t, o.system+":")
	}
	r.wantText(t, "next: ")
	if got.Locked && !strings.Contains(o.op, "configmaps") {
		t.Errorf("the lock was not released\n%s", r)
	}

	// What failed before anything was written needs no second look: the world is what it was.
	if len(n.writes()) == 0 {
		n.wantState(untouched)
		return
	}
	n.clearFaults()
	again := n.do(call{args: theRun()})
	if again.code != 0 {
		t.Fatalf("the same command does not finish it\nfirst: %s\nthen: %s", r, again)
	}
	if d := cmp.Diff(n.clean(), n.state()); d != "" {
		t.Errorf("the world is not that of an undisturbed run (-want +got):\n%s\nfirst: %s\nthen: %s", d, r, again)
	}
	n.wantJournalWhole()
}

// A fault that passes is not worth a failure.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	for _, f := range failures {
		if !slices.Contains([]string{"429", "500", "503", "drop", "cut"}, f.name) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			for _, o := range outsides {
				if o.write && (f.unclear || o.system == "ecr") {
					continue
				}
				fault := f.fault(o)
				fault.Op, fault.Skip, fault.Times = o.op, o.skip, 1
				if o.system == "kubernetes" {
					n.Cluster.Inject(fault)
				} else {
					n.Registry.Inject(fault)
				}
			}
			n.do(call{args: theRun()}).wantExit(t, 0)
			n.wantState(n.clean())
		})
	}
}
