package e2e

// The story of a retag at a registry that is not ECR, and what its faults do to the program and to the nodes.

import (
	"context"
	"net/http"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/test/e2e/control"
)

// open is the world with a plain OCI registry.
var open = Options{OCI: true}

var openScenarios = []Scenario{
	{
		Name: "oci: back, again, and undone", Options: open, Seed: payments("Deployment"),
		Steps: []Step{
			{Args: on("doctor")},
			{Args: on("status")},
			{Args: on("candidates")},
			{Args: on("plan", "--reason", "amounts"), Says: []string{"whether tags may be moved: the OCI API does not tell"}},
			{Args: on("run", "--reason", "amounts", "--yes")},
			{Args: on("run", "--to", "{good}", "--reason", "amounts", "--yes")},
			{Args: on("verify")},
			{Args: on("status")},
			{Args: on("undo", "--reason", "false alarm", "--yes")},
			{Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pods.payments: Running [app " + bad + " running ready=true]": "3"},
	},
	{
		Name: "oci: back, three kinds of workload, stage by stage", Options: open, Seed: payments("Deployment", "StatefulSet", "DaemonSet"),
		Steps: []Step{
			{Args: on("retag", "--to", "{old.commit}", "--reason", "amounts", "--yes")},
			{Args: on("restart", "--reason", "amounts", "--yes")},
			{Args: on("verify")},
		},
		Want: map[string]string{
			"tags.payments.latest": "<image old in full>",
			"pods.payments: Running [app <image old in full> running ready=true]":        "3",
			"pods.payments-worker: Running [app <image old in full> running ready=true]": "2",
			"pods.payments-agent: Running [app <image old in full> running ready=true]":  "3",
		},
	},
	{
		Name: "oci: a target that is gone", Options: open, Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error {
					return s.world.Registry().Delete("payments", s.releases["old"].Digest)
				},
				Args: on("run", "--to", "{old.commit}", "--reason", "amounts", "--yes"), Exit: 2,
			},
			{Args: on("plan", "--to", "{old}", "--reason", "amounts"), Exit: 2},
			{Args: on("run", "--reason", "amounts", "--yes")}, // previous is another one
		},
		Want: map[string]string{"tags.payments.latest": good},
	},
	{
		Name: "oci: killed after the tag, run again", Options: open, Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error {
					s.world.Cluster().Inject(fake.Fault{Op: "PATCH *", Times: 1, Hold: func(*http.Request) { s.kill() }, Drop: true})
					return nil
				},
				Args: on("run", "--reason", "amounts", "--yes"), Exit: killed,
			},
			{Args: on("status")},
			{Args: on("run", "--reason", "amounts", "--yes")},
		},
		Want: map[string]string{
			"tags.payments.latest": good,
			"pods.payments: Running [app " + good + " running ready=true]": "3",
			"workloads.Deployment/payments.generation":                     "2", // restarted once
		},
	},
	{
		Name: "oci: the registry stumbles, and an answer is lost", Options: open, Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				s.world.Registry().Inject(fake.Fault{Op: "GET tags payments", Times: 1, Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: "slow down"})
				s.world.Registry().Inject(fake.Fault{Op: "GET manifest payments:latest", Times: 1, Status: 502, Body: fake.HTMLPage})
				s.world.Registry().Inject(fake.Fault{Op: "PUT manifest payments:latest", Times: 1, After: true, Drop: true})
				return nil
			},
			Args: on("run", "--reason", "amounts", "--yes"),
		}},
		Want: map[string]string{"tags.payments.latest": good, "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "oci: the registry takes no tag", Options: open, Seed: payments("Deployment"),
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				s.world.Registry().Inject(fake.Fault{Op: "PUT manifest *", Status: 403, Header: http.Header{"Content-Type": {"application/json"}},
					Body: `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`})
				return nil
			},
			Args: on("run", "--reason", "amounts", "--yes"), Exit: 1, Says: []string{"production: not changed"},
		}},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "1"},
	},
}

// onlyLooking takes the rights away that looking does not need.
func onlyLooking(ctx context.Context, s *Stage) error {
	roles, err := s.roles(ctx, "--for", "plan")
	if err != nil {
		return err
	}
	return s.world.Grant(ctx, roles)
}

// lookScenarios are about a user who may only look.
var lookScenarios = []Scenario{
	{
		Name: "a role that may only look", Seed: payments("Deployment", "StatefulSet"),
		Steps: []Step{
			{Before: onlyLooking, Args: on("doctor", "--for", "plan"), Says: []string{"enough for status, candidates, plan", "not enough yet for verify, retag, restart, undo, run"}},
			{SameRights: true, Args: on("status")},
			{SameRights: true, Args: on("candidates")},
			{SameRights: true, Args: on("plan", "--reason", "amounts")},
			{SameRights: true, Args: on("doctor"), Exit: 1, Says: []string{"may not patch deployments.apps", "looking works already"}},
			{SameRights: true, Args: on("run", "--reason", "amounts", "--yes"), Exit: 5, Says: []string{"no right to "}},
		},
		Want: map[string]string{"tags.payments.latest": bad, "workloads.Deployment/payments.generation": "1", "configmaps.rollback-payments.record.json.schemaVersion": ""},
	},
}

// turnedAway lets the registry answer nodes, and nobody else.
func turnedAway(f fake.Fault) func(context.Context, *Stage) error {
	return func(_ context.Context, s *Stage) error {
		f.Op = fake.PullOp + "*"
		s.world.Registry().Inject(f)
		return nil
	}
}

// pullScenarios are about what a registry does to nodes.
var pullScenarios = []Scenario{
	{
		Name: "the registry turns the nodes away for a while", Seed: payments("Deployment"),
		Steps: []Step{{
			Before: turnedAway(fake.Fault{Status: 503, Body: "no upstream", Times: 5}),
			Args:   on("run", "--reason", "amounts", "--yes"), Says: []string{"503 Service Unavailable", "the node tries again by itself"},
		}},
		Want: map[string]string{
			"tags.payments.latest": good,
			"pods.payments: Running [app " + good + " running ready=true]": "3",
			"events.Pod kubelet Warning Failed":                            "seen",
			"events.Pod kubelet Normal BackOff":                            "seen",
		},
	},
	{
		Name: "oci: the registry drops the nodes until they are given up, and is mended", Options: open, Seed: payments("Deployment"),
		Steps: []Step{
			{
				Before: turnedAway(fake.Fault{Drop: true}),
				Args:   on("run", "--reason", "amounts", "--yes", "--timeout", "3s"), Exit: 4, Says: []string{"failed to do request", "production: changed, not verified", "the node tries again within 5 minutes"},
			},
			{
				Before: func(ctx context.Context, s *Stage) error { // the nodes try again by themselves
					s.world.Registry().Clear()
					return s.world.API().rolledOut(ctx, "deployments", s.world.Namespace(), "payments")
				},
				Args: on("run", "--reason", "amounts", "--yes"),
			},
		},
		Want: map[string]string{"tags.payments.latest": good, "events.Pod kubelet Warning Failed": "seen", "pods.payments: Running [app " + good + " running ready=true]": "3"},
	},
	{
		Name: "oci: the older image crashes", Options: open, Seed: payments("Deployment"),
		Steps: []Step{
			{Before: behave("good", control.Behaviour{Crash: true, ExitCode: 2, Logs: "starting\npanic: no such column: amount_minor\n"}), Args: on("run", "--reason", "amounts", "--yes"), Exit: 4,
				Says: []string{"CrashLoopBackOff", "log: panic: no such column: amount_minor"}},
		},
		Want: map[string]string{"events.Pod kubelet Warning BackOff": "seen"},
	},
}
