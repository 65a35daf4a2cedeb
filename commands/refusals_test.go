package commands

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake/kube"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// mistake is one thing that keeps a command from acting.
type mistake struct {
	name string
	// set brings the world there; what it changes itself does not count as written.
	set  func(t *testing.T, n *night)
	args []string // the whole command; nil is the run of the story
	env  []string
	code rollback.Exit
	says []string
}

// edit changes rollback.yaml by replacing text in it.
func edit(old, new string) func(*testing.T, *night) {
	return func(t *testing.T, n *night) {
		path := filepath.Join(n.Dir, "rollback.yaml")
		text := read(t, path)
		if !strings.Contains(text, old) {
			t.Fatalf("rollback.yaml has no %q:\n%s", old, text)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// template changes the Deployment's spec.
func template(change func(spec, pod map[string]any)) func(*testing.T, *night) {
	return func(t *testing.T, n *night) {
		must(t, n.Cluster.Edit("deployments", demo.Namespace, "payments", func(o map[string]any) {
			spec := o["spec"].(map[string]any)
			change(spec, spec["template"].(map[string]any)["spec"].(map[string]any))
		}))
	}
}

// container is the first container of a pod's spec.
func container(pod map[string]any) map[string]any {
	return pod["containers"].([]any)[0].(map[string]any)
}

// plansAs saves a plan, changed as JSON, for --plan p.json in the world's directory.
func plansAs(change func(map[string]any), then ...func(*testing.T, *night)) func(*testing.T, *night) {
	return func(t *testing.T, n *night) {
		path := filepath.Join(n.Dir, "p.json")
		n.do(call{args: scoped("plan", "--out", path, "--reason", "amounts")}).wantExit(t, 0)
		var plan map[string]any
		if err := json.Unmarshal([]byte(read(t, path)), &plan); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(plan)
		}
		data, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, f := range then {
			f(t, n)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// aPlan runs the plan saved as p.json.
var aPlan = scoped("run", "--plan", "p.json", "--yes")

// mistakes is the list of bad input: flags, variables, files, and worlds that do not allow what is asked for.
var mistakes = []mistake{
	// Flags and variables.
	{name: "no service", args: []string{"run", "--environment", "prod", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{"no service given: --service or ROLLBACK_SERVICE", "next: to see the services that there are: rollback status --environment prod"}},
	{name: "no environment", args: []string{"run", "--service", "payments", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{"no environment given: --environment or ROLLBACK_ENVIRONMENT (known: prod)"}},
	{name: "empty variables are unset", args: []string{"run", "--reason", "x", "--yes"}, env: []string{"ROLLBACK_SERVICE= ", "ROLLBACK_ENVIRONMENT="}, code: rollback.Usage, says: []string{"no service given", "no environment given"}},
	{name: "empty flag", args: theRun("--tag", ""), code: rollback.Usage, says: []string{"--tag is empty: leave it out, or give it a value"}},
	{name: "not a service", args: []string{"run", "--service", "../web", "--environment", "prod", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{`service "../web"`}},
	{name: "unknown service", args: []string{"run", "--service", "paymets", "--environment", "prod", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{"RepositoryNotFoundException", "next: to see the services that there are: rollback status --environment prod\n  next: check image", "/paymets was asked for"}},
	{name: "service that is not listed", set: edit("defaults:\n", "strictServices: true\nservices: {payments: {}}\ndefaults:\n"),
		args: []string{"run", "--service", "paymets", "--environment", "prod", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{`"paymets"`, `"payments"`}},
	{name: "unknown environment", args: []string{"run", "--service", "payments", "--environment", "staging", "--reason", "x", "--yes"}, code: rollback.Usage, says: []string{`no environment "staging"`, "known: prod"}},
	{name: "no such moving tag", args: theRun("--tag", "nope"), code: rollback.Usage, says: []string{"payments:nope does not exist in the registry", "check image and tag in rollback.yaml"}},
	{name: "unknown tag", args: theRun("--to", "v9"), code: rollback.Usage, says: []string{"--to v9: no such image in repository payments", "rollback candidates --service payments"}},
	{name: "unknown digest", args: theRun("--to", "sha256:"+strings.Repeat("ab", 32)), code: rollback.Usage, says: []string{"no such image in repository payments"}},
	{name: "unknown commit", args: theRun("--to", "0123456789abcdef0123456789abcdef01234567"), code: rollback.Usage, says: []string{"no such image in repository payments"}},
	{name: "neither tag nor digest", args: theRun("--to", "sha256:12"), code: rollback.Usage, says: []string{`--to "sha256:12"`, "a commit (7 to 40 hex digits), a tag or a digest"}},
	{name: "ambiguous commit", set: func(t *testing.T, n *night) {
		for i, d := range []string{n.Releases[0].Digest, n.Releases[1].Digest} {
			must(t, n.Registry.Tag("payments", "abcdef"+strings.Repeat("0", 33)+string(rune('1'+i)), d))
		}
	}, args: theRun("--to", "abcdef00"), code: rollback.Usage, says: []string{"--to abcdef00 is ambiguous", "give more digits"}},
	{name: "positional argument", args: append(theRun(), "now"), code: rollback.Usage, says: []string{"rollback run takes no arguments", `"now"`}},
	{name: "flag after an argument", args: append([]string{"run", "now"}, theRun()[1:]...), code: rollback.Usage, says: []string{"rollback run takes no arguments"}},
	{name: "unknown flag", args: theRun("--reson", "x"), code: rollback.Usage, says: []string{"unknown flag --reson, did you mean --reason?", "next: rollback run --help"}},
	{name: "flag without value", args: scoped("run", "--yes", "--reason"), code: rollback.Usage, says: []string{"rollback run: --reason needs a value"}},
	{name: "flag of another command", args: scoped("verify", "--yes"), code: rollback.Usage, says: []string{"unknown flag --yes"}},
	{name: "unknown command", args: []string{"rnu", "--service", "payments"}, code: rollback.Usage, says: []string{`no command "rnu", did you mean rollback run?`}},
	{name: "help about nothing", args: []string{"help", "nothing"}, code: rollback.Usage, says: []string{`no command "nothing"`}},
	{name: "flag before the command", args: []string{"--service", "payments", "run"}, code: rollback.Usage, says: []string{"--service comes after the command"}},
	{name: "flag of no command", args: []string{"--nothing", "run"}, code: rollback.Usage, says: []string{"unknown flag --nothing"}},
	{name: "one flag by two names", args: []string{"run", "--env", "prod", "--environment", "staging"}, code: rollback.Usage, says: []string{"--environment and --env are the same flag"}},
	{name: "one flag twice", args: append(scoped("plan"), "--service", "web"), code: rollback.Usage, says: []string{`rollback plan: --service is given twice, as "payments" and as "web": give it once`}},
	{name: "a setting without its value", args: scoped("run", "--confirm", "--reason", "x", "--yes"), code: rollback.Usage, says: []string{"payments/prod has confirm"}},
	{name: "a setting without its value at the end", args: scoped("run", "--reason", "x", "--yes", "--confirm"), code: rollback.Usage, says: []string{"payments/prod has confirm"}},
	{name: "a setting with a value that is none", args: scoped("plan", "--confirm", "perhaps"), code: rollback.Usage, says: []string{"perhaps"}},
	{name: "a code of no finding", args: scoped("plan", "--accept", "still-opne"), code: rollback.Usage, says: []string{"--accept still-opne: no finding has that code, did you mean still-open?", "rollback plan"}},
	{name: "a code of no finding at all", env: []string{"ROLLBACK_ACCEPT=foo"}, args: scoped("plan"), code: rollback.Usage, says: []string{"--accept foo: no finding has that code"}},
	{name: "a wait for no merge", args: theRun("--wait", "30m"), code: rollback.Usage, says: []string{"--wait 30m goes with --method revert"}},
	{name: "undo to somewhere", args: scoped("run", "--method", "undo", "--to", "5ea1724", "--reason", "x", "--yes"), code: rollback.Usage, says: []string{`--to "5ea1724": an undo goes back to what ran before`}},
	{name: "unknown method", args: scoped("plan", "--method", "none"), code: rollback.Usage, says: []string{`--method "none": want retag, revert or undo`}},
	{name: "no terminal", args: scoped("run", "--reason", "x"), code: rollback.Usage, says: []string{"there is no terminal to ask on", "--yes to go on without asking"}},
	{name: "no terminal, and confirm", env: []string{"ROLLBACK_CONFIRM=true"}, args: scoped("run", "--reason", "x", "--yes"), code: rollback.Usage, says: []string{"payments/prod has confirm, and there is no terminal", "--confirm=false (ROLLBACK_CONFIRM=false), with --yes"}},
	{name: "a build of a controller that does not know its address", env: []string{"ROLLBACK_CONFIRM=true", "BUILD_NUMBER=17", "JOB_NAME=ops"}, args: scoped("run", "--yes"), code: rollback.Usage, says: []string{"no reason given"}},
	{name: "no terminal, confirm, and no yes", env: []string{"ROLLBACK_CONFIRM=true"}, args: scoped("undo", "--reason", "x"), code: rollback.Usage, says: []string{"there is no terminal to ask on"}},
	{name: "no reason", args: scoped("run", "--yes"), code: rollback.Usage, says: []string{"no reason given", "ROLLBACK_REASON"}},
	{name: "blank reason", args: scoped("run", "--yes", "--reason", "  "), code: rollback.Usage, says: []string{"no reason given"}},
	{name: "bad switch", env: []string{"ROLLBACK_YES=perhaps"}, args: scoped("run", "--reason", "x"), code: rollback.Usage, says: []string{`ROLLBACK_YES: "perhaps" is neither true nor false`}},
	{name: "bad switch as a flag", args: scoped("run", "--yes=perhaps"), code: rollback.Usage, says: []string{`--yes: "perhaps" is neither true nor false`}},
	{name: "unknown method", args: theRun("--method", "revert-all"), code: rollback.Usage, says: []string{`--method "revert-all"`, "retag"}},
	{name: "bad duration", args: theRun("--timeout", "soon"), code: rollback.Usage, says: []string{`--timeout "soon"`, "90s"}},
	{name: "bad duration in a variable", env: []string{"ROLLBACK_TIMEOUT=soon"}, code: rollback.Usage, says: []string{`ROLLBACK_TIMEOUT "soon"`}},
	{name: "not an account", env: []string{"ROLLBACK_REGISTRY_ACCOUNT=12"}, code: rollback.Usage, says: []string{`ROLLBACK_REGISTRY_ACCOUNT "12": want 12 digits`}},
	{name: "not a region", env: []string{"ROLLBACK_REGISTRY_REGION=mars"}, code: rollback.Usage, says: []string{`ROLLBACK_REGISTRY_REGION "mars"`}},

	// The configuration.
	{name: "no such file", args: theRun("--config", "nowhere.yaml"), code: rollback.Usage, says: []string{"--config nowhere.yaml", "no such file"}},
	{name: "malformed YAML", set: edit("environments:\n", "environments: [\n"), code: rollback.Usage, says: []string{"rollback.yaml:"}},
	{name: "unknown key", set: edit("    namespace: prod\n", "    namspace: prod\n"), code: rollback.Usage, says: []string{"rollback.yaml:8", `"namspace"`, `"namespace"`}},
	{name: "not an account in the file", set: edit(`"123456789012"`, `"1234"`), code: rollback.Usage, says: []string{"rollback.yaml:6", "12 digits"}},

	// A plan file.
	{name: "plan that is not there", args: aPlan, code: rollback.Usage, says: []string{"--plan p.json: no such file"}},
	{name: "plan that is no JSON", set: func(t *testing.T, n *night) {
		must(t, os.WriteFile(filepath.Join(n.Dir, "p.json"), []byte("not a plan"), 0o600))
	}, args: aPlan, code: rollback.Usage, says: []string{"--plan p.json: not a plan of this program"}},
	{name: "plan of another version", set: plansAs(func(p map[string]any) { p["schemaVersion"] = 99 }), args: aPlan, code: rollback.Usage, says: []string{"schemaVersion 99, this program reads 1; make the plan again"}},
	{name: "plan of another scope", set: plansAs(func(p map[string]any) { p["scope"].(map[string]any)["service"] = "web" }), args: aPlan, code: rollback.Usage, says: []string{"is for web/prod, not for payments/prod"}},
	{name: "plan and another target", set: plansAs(nil), args: append(slices.Clone(aPlan), "--to", "previous"), code: rollback.Usage, says: []string{"--plan and --to"}},
	{name: "plan, and the tag moved", set: plansAs(nil, func(t *testing.T, n *night) {
		_, err := n.Push("payments", "Hotfix", 0)
		must(t, err)
	}), args: aPlan, code: rollback.Refused, says: []string{"the world has moved since the plan was made: moving tag: was"}},
	{name: "plan, and the workload changed", set: plansAs(nil, template(func(_, pod map[string]any) { container(pod)["name"] = "main" })),
		args: aPlan, code: rollback.Refused, says: []string{"the world has moved", "workloads: was"}},
	{name: "plan, and the target is gone", set: plansAs(nil, func(t *testing.T, n *night) { must(t, n.Registry.Delete("payments", n.good().Digest)) }),
		args: aPlan, code: rollback.Usage, says: []string{"no such image in repository payments"}},

	// Where it leads.
	{name: "wrong server", args: theRun("--cluster-server", "https://prod.example.com"), code: rollback.Usage, says: []string{"wrong cluster: acme-prod is https://127.0.0.1:", "the configuration says https://prod.example.com"}},
	{name: "wrong uid", args: theRun("--cluster-uid", "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22"), code: rollback.Usage, says: []string{"wrong cluster", "the configuration says 5e2b6c1a"}},
	{name: "no kubeconfig", env: []string{"KUBECONFIG=/nowhere/config"}, code: rollback.Usage, says: []string{"no kubeconfig: /nowhere/config does not exist"}},
	{name: "no such context", args: theRun("--cluster-context", "staging"), code: rollback.Usage, says: []string{`no context "staging"`, "has acme-prod"}},
	{name: "wrong account", args: theRun("--registry-account", "210987654321"), code: rollback.Usage, says: []string{"210987654321"}},
	{name: "no such namespace", args: theRun("--namespace", "nowhere"), code: rollback.Usage, says: []string{`namespaces "nowhere" not found`, "check the namespace"}},
	{name: "unreachable cluster", set: func(t *testing.T, n *night) {
		path := n.Kubeconfig()
		must(t, os.WriteFile(path, []byte(strings.Replace(read(t, path), n.ClusterURL, "https://127.0.0.1:9", 1)), 0o600))
		edit(`, server: "`+n.ClusterURL+`"`, "")(t, n)
	}, code: rollback.Failed, says: []string{"kubernetes", "unreachable", "127.0.0.1:9"}},
	{name: "unreachable registry", env: []string{"AWS_ENDPOINT_URL_ECR=http://127.0.0.1:9"}, code: rollback.Failed, says: []string{"ecr", "unreachable"}},
	{name: "another certificate", set: func(t *testing.T, n *night) {
		other := newNight(t, demo.Options{})
		path := n.Kubeconfig()
		must(t, os.WriteFile(path, []byte(strings.Replace(read(t, other.Kubeconfig()), other.ClusterURL, n.ClusterURL, 1)), 0o600))
	}, code: rollback.Failed, says: []string{"kubernetes", "certificate"}},

	// Credentials and rights.
	{name: "expired AWS credentials", set: func(t *testing.T, n *night) { n.Registry.Expire(true) }, code: rollback.Failed, says: []string{"no valid credentials", "ecr", "aws sso login"}},
	{name: "no AWS credentials", env: []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, code: rollback.Failed, says: []string{"AWS credentials: none found", "aws sso login"}},
	{name: "expired token", set: func(t *testing.T, n *night) { n.Cluster.Revoke("oncall") }, code: rollback.Failed, says: []string{"kubernetes", "no valid credentials", "401"}},
	{name: "no right to restart", set: mayNot("patch"), code: rollback.Refused,
		says: []string{"oncall@acme.example has no right to patch deployment/payments, patch statefulset/payments-worker in namespace prod", "[no-right]", "rollback permissions --service payments --environment prod --for run"}},
	{name: "no right to restart, and somebody insists", set: mayNot("patch"), args: theRun("--accept", "no-right"), code: rollback.Refused, says: []string{"has no right to patch deployment/payments"}},
	{name: "no right to restart, restart", set: mayNot("patch"), args: scoped("restart", "--yes"), code: rollback.Refused, says: []string{"has no right to patch deployment/payments", "--for restart"}},
	{name: "no right to follow the rollout", set: mayNotGet("statefulsets"), code: rollback.Refused,
		says: []string{"oncall@acme.example has no right to get statefulset/payments-worker in namespace prod", "[no-right]", "--for run"}},
	{name: "no right to follow the rollout, restart", set: mayNotGet("deployments"), args: scoped("restart", "--yes"), code: rollback.Refused, says: []string{"has no right to get deployment/payments", "--for restart"}},
	{name: "no right to follow the rollout, verify", set: mayNotGet("deployments"), args: scoped("verify"), code: rollback.Failed, says: []string{"the pods cannot be observed", "allow get on deployments.apps"}},
	{name: "no right to keep the record", set: mayNot("create"), code: rollback.Refused, says: []string{"has no right to create configmaps in namespace prod", "--no-record goes without lock and undo"}},

	// The world does not allow it.
	{name: "immutable tag", set: func(t *testing.T, n *night) { must(t, n.Registry.SetMutability("payments", "IMMUTABLE")) },
		code: rollback.Refused, says: []string{"does not let :latest be moved", "IMMUTABLE_WITH_EXCLUSION", "kubectl -n prod set image deployment/payments"}},
	{name: "archived target", set: func(t *testing.T, n *night) {
		must(t, n.Registry.SetStatus("payments", n.good().Digest, "ARCHIVED"))
	}, args: nil, env: []string{"ROLLBACK_TO=" + demo.CommitOf("payments: Cache exchange rates for a minute")}, code: rollback.Refused, says: []string{"the target is archived", "aws ecr update-image-storage-class"}},
	{name: "nothing earlier", set: func(t *testing.T, n *night) {
		for _, r := range n.Releases[:3] {
			must(t, n.Registry.Delete("payments", r.Digest))
		}
	}, code: rollback.Refused, says: []string{"rollback candidates --service payments"}},
	{name: "paused", set: template(func(spec, _ map[string]any) { spec["paused"] = true }), code: rollback.Refused, says: []string{"deployment/payments is paused", "kubectl -n prod rollout resume deployment/payments"}},
	{name: "pull policy", set: template(func(_, pod map[string]any) { container(pod)["imagePullPolicy"] = "IfNotPresent" }), code: rollback.Refused, says: []string{"imagePullPolicy IfNotPresent", "[pull-policy]", "--accept pull-policy"}},
	{name: "OnDelete", set: func(t *testing.T, n *night) {
		must(t, n.Cluster.Edit("statefulsets", demo.Namespace, "payments-worker", func(o map[string]any) {
			o["spec"].(map[string]any)["updateStrategy"] = map[string]any{"type": "OnDelete"}
		}))
	}, code: rollback.Refused, says: []string{"statefulset/payments-worker has the update strategy OnDelete", "rollback retag --service payments"}},
	{name: "nothing runs", set: func(t *testing.T, n *night) {
		for _, x := range workloads {
			must(t, n.Cluster.Scale(x.resource, demo.Namespace, x.name, 0))
		}
		must(t, n.Cluster.Wait(t.Context(), func() bool { return len(n.Cluster.List("pods", demo.Namespace, "")) == 0 }))
	}, code: rollback.Refused, says: []string{"has 0 replicas", "[nothing-runs]"}},
	{name: "pinned", set: func(t *testing.T, n *night) {
		for _, x := range workloads {
			must(t, n.Cluster.Edit(x.resource, demo.Namespace, x.name, func(o map[string]any) {
				c := container(o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any))
				c["image"] = n.Registry.Host() + "/payments@" + n.bad().Digest
			}))
		}
	}, code: rollback.Refused, says: []string{"no Deployment, StatefulSet or DaemonSet in namespace prod pulls payments:latest", "[no-workload]"}},
	{name: "owned", set: func(t *testing.T, n *night) {
		must(t, n.Cluster.Edit("deployments", demo.Namespace, "payments", func(o map[string]any) {
			o["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "acme.example/v1", "kind": "Service", "name": "payments", "uid": "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22", "controller": true}}
		}))
	}, code: rollback.Refused, says: []string{"deployment/payments belongs to", "[owned]"}},
	{name: "another registry", set: template(func(_, pod map[string]any) { container(pod)["image"] = "mirror.acme.example/payments:latest" }), code: rollback.Refused, says: []string{"pulls from mirror.acme.example", "[registry-host]"}},
	{name: "configured workload that is not there", set: edit("    namespace: prod\n", "    namespace: prod\n    workloads: [deployment/paymets]\n"), code: rollback.Refused, says: []string{"deployment/paymets is configured, but not in namespace prod"}},
	{name: "nothing to undo", args: scoped("undo", "--reason", "x", "--yes"), code: rollback.Refused, says: []string{"rollback candidates --service payments"}},
	{name: "no place for the journal, and no record", env: []string{"ROLLBACK_STATE=/proc/nowhere", "TMPDIR=/proc/nowhere"}, args: theRun("--no-record"), code: rollback.Failed, says: []string{"the journal cannot be written and no record is kept, so nothing was started", "ROLLBACK_STATE=/some/dir"}},
	{name: "a record that nobody can read", set: func(t *testing.T, n *night) {
		must(t, n.Cluster.Apply(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "rollback-payments", "namespace": demo.Namespace}, "data": map[string]any{"record.json": "{"}}))
	}, code: rollback.Failed, says: []string{"rollback-payments", "kubectl"}},
}

// mayNot takes the right to a verb from whoever is on call.
func mayNot(verb string) func(*testing.T, *night) {
	return func(t *testing.T, n *night) {
		verbs := slices.DeleteFunc([]string{"get", "list", "watch", "create", "update", "patch"}, func(v string) bool { return v == verb })
		n.Cluster.SetUser(kube.User{Token: "oncall", Name: "oncall@acme.example", Rules: []kube.Rule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: verbs}}})
	}
}

// mayNotGet takes the right to get objects of one kind of workload.
func mayNotGet(resource string) func(*testing.T, *night) {
	return func(t *testing.T, n *night) {
		others := slices.DeleteFunc([]string{"deployments", "statefulsets", "daemonsets", "pods", "pods/log", "configmaps", "namespaces"}, func(r string) bool { return r == resource })
		n.Cluster.SetUser(kube.User{Token: "oncall", Name: "oncall@acme.example", Rules: []kube.Rule{
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"list", "watch", "create", "update", "patch"}}, {APIGroups: []string{"*"}, Resources: others, Verbs: []string{"get"}}}})
	}
}

// A plan can be looked at by somebody who may not run it; it says so.
func TestPlanWithoutTheRightToRun(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{})
	for _, args := range [][]string{scoped("plan"), theRun("--dry-run")} {
		mayNot("patch")(t, n)
		n.do(call{args: args}).wantExit(t, 0).wantText(t, "has no right to patch deployment/payments", "[no-right]", "--for run")
		mayNotGet("deployments")(t, n)
		n.do(call{args: args}).wantExit(t, 0).wantText(t, "has no right to get deployment/payments", "[no-right]", "--for run")
	}
	n.wantNothingWritten()
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	t.Logf("%d cases of bad input", len(mistakes))
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{})
			if m.set != nil {
				m.set(t, n)
				n.forget()
			}
			tags, configMap := n.Registry.Tags("payments"), n.Cluster.Get("configmaps", demo.Namespace, "rollback-payments")
			args := m.args
			if args == nil {
				args = theRun()
			}
			r := n.do(call{args: args, env: m.env}).wantExit(t, m.code)
			r.wantText(t, m.says...)
			r.wantText(t, "production: not changed")
			wantNoSecret(t, r)
			n.wantNothingWritten()
			if d := cmp.Diff(tags, n.Registry.Tags("payments")); d != "" {
				t.Errorf("the tags have changed:\n%s", d)
			}
			if d := cmp.Diff(configMap, n.Cluster.Get("configmaps", demo.Namespace, "rollback-payments")); d != "" {
				t.Errorf("the record has changed:\n%s", d)
			}
			if m.set == nil {
				n.wantState(n.untouched())
			}
			if r.stdout != "" && m.code == rollback.Usage {
				t.Errorf("a usage error prints on standard output: %q", r.stdout)
			}
		})
	}
}
