package commands

// Faults of GitHub and Jenkins, at whole commands: what is told of production must be true, no secret may be told, and when the
// fault is gone the same command ends with one pull request, one branch and one build.

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// forgeFailures are those of failures, without the ones that name what GitHub and Jenkins do not have, and a port on which
// nobody listens. Those that may have done a write all the same are the last.
var forgeFailures = slices.Concat(failures, []failure{{name: "refused connection"}})

// named are the failures of these names.
func named(names ...string) []failure {
	var list []failure
	for _, name := range names {
		i := slices.IndexFunc(forgeFailures, func(f failure) bool { return f.name == name })
		list = append(list, forgeFailures[i])
	}
	return list
}

// break_ lets a system fail for one command, and returns what that command needs in its environment.
func (n *night) break_(system, op string, f failure) []string {
	if f.fault == nil {
		return []string{map[string]string{"github": "ROLLBACK_GITHUB_URL", "jenkins": "ROLLBACK_JENKINS_URL"}[system] + "=http://127.0.0.1:1"}
	}
	fault := f.fault(outside{system: system, op: op})
	fault.Op = op
	if system == "github" {
		n.GitHub.Inject(fault)
	} else {
		n.Jenkins.Inject(fault)
	}
	return nil
}

func (n *night) mend() {
	n.GitHub.Clear()
	n.Jenkins.Clear()
}

// wantNoToken fails the test when an output shows a token of the world's.
func (n *night) wantNoToken(r result) {
	n.t.Helper()
	for _, kv := range n.Env(os.Environ()) {
		if name, value, _ := strings.Cut(kv, "="); name == "GITHUB_TOKEN" || name == "JENKINS_TOKEN" {
			wantNoSecret(n.t, r, value)
		}
	}
}

// reverts are the pull requests that the program opened. More than one, two branches or a temporary ref fail the test.
func (n *night) reverts(r result) []github.Pull {
	n.t.Helper()
	list := slices.DeleteFunc(n.Code.Pulls(), func(p github.Pull) bool { return p.Number <= len(n.Releases) })
	refs, err := n.Code.Refs()
	must(n.t, err)
	branches := 0
	for _, ref := range refs {
		if strings.Contains(ref, "tmp") {
			n.t.Errorf("the temporary ref %s is left\n%s", ref, r)
		}
		if strings.HasPrefix(ref, "refs/heads/rollback/") {
			branches++
		}
	}
	if len(list) > 1 || branches > 1 {
		n.t.Errorf("%d pull requests and %d branches, want one at most\n%s", len(list), branches, r)
	}
	return list
}

// wantRevert fails the test unless the one pull request takes back what the bad release brought, exactly.
func (n *night) wantRevert(r result) github.Pull {
	n.t.Helper()
	list := n.reverts(r)
	if len(list) != 1 {
		n.t.Fatalf("%d pull requests, want 1\n%s", len(list), r)
	}
	head, err := n.Code.Show(list[0].HeadSHA)
	must(n.t, err)
	good, err := n.Code.Show(n.good().Commit)
	must(n.t, err)
	if head.Tree != good.Tree {
		n.t.Errorf("#%d does not bring back what was before", list[0].Number)
	}
	return list[0]
}

// wantTruth holds the exit code of a command that failed, and what it says of production, against production.
func (n *night) wantTruth(system string, r result) {
	n.t.Helper()
	got := n.state()
	touched := got.Latest != n.bad().Digest || got.Restarts["payments"] > 0 || got.Restarts["payments-worker"] > 0
	says := "production: not changed"
	switch code := rollback.Exit(r.code); {
	case (code == rollback.Failed || code == rollback.Refused || code == rollback.Usage || code == rollback.Pending) && !touched:
	case code == rollback.Unverified && touched:
		says = "production: changed, not verified"
	default:
		n.t.Fatalf("exit %d, but production was touched: %t\n%s", code, touched, r)
	}
	r.wantText(n.t, says, "next: ")
	if rollback.Exit(r.code) != rollback.Refused {
		r.wantText(n.t, system+":")
	}
	if got.Locked {
		n.t.Errorf("the lock was not released\n%s", r)
	}
}

// A rollback by tag succeeds whatever GitHub and Jenkins do. What is owed then is told and written down, and can be made up for.
func TestForgeFaultsInRetag(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		system, op string
		with       []failure
	}{
		{"github", "", forgeFailures[:len(forgeFailures):len(forgeFailures)]},
		{"jenkins", "", named("hang", "401", "403", "404", "429", "429 for long", "500", "503", "html", "cut", "drop", "refused connection")},
		{"github", "pulls/create", named("hang", "403", "409", "429", "500", "html", "cut", "drop", "answer lost", "answer lost, 500")},
		{"github", "git/create-ref", named("403", "answer lost")},
		{"github", "issues/add-labels", named("403", "500")},
	} {
		for _, f := range x.with {
			if x.op == "" && strings.HasPrefix(f.name, "answer lost") {
				continue // as good as lost before it was done
			}
			t.Run(fmt.Sprintf("%s %s/%s", x.system, x.op, f.name), func(t *testing.T) {
				t.Parallel()
				n := newNight(t, demo.Options{Code: true})
				env := n.break_(x.system, x.op, f)
				r := n.do(call{args: theRun(), env: env}).wantExit(t, 0)
				n.wantState(n.clean())
				n.wantNoToken(r)
				n.wantJournalWhole()
				r.wantText(t, "production: proven")
				debts := n.record().Open()
				if len(debts) != 1 || debts[0].Due.IsZero() {
					t.Fatalf("owed: %+v\n%s", debts, r)
				}
				owed := debts[0]
				if list := n.reverts(r); owed.URL != "" {
					if len(list) != 1 || owed.PR != list[0].Number || !list[0].Open {
						t.Errorf("owed is #%d, of %+v\n%s", owed.PR, list, r)
					}
					r.wantText(t, "merge the revert by")
				} else {
					r.wantText(t, "the revert pull request is still owed: ", "open the revert by ", "rollback revert --service payments --environment prod --")
				}
				if x.system == "jenkins" {
					r.wantText(t, "[builds-unread]")
				}
				if x.system == "jenkins" && owed.URL == "" || x.op == "" && x.system == "github" && owed.URL != "" {
					t.Errorf("owed: %+v\n%s", owed, r)
				}

				n.mend()
				r = n.do(call{args: scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts rounded wrongly")}).wantExit(t, 0)
				if p := n.wantRevert(r); !strings.Contains(r.stdout, fmt.Sprintf("/pull/%d\n", p.Number)) {
					t.Errorf("#%d is not told\n%s", p.Number, r)
				}
				n.wantState(n.clean())
			})
		}
	}
}

// The revert alone: it fails without having touched production, or it is there in the end, once.
func TestForgeFaultsInRevert(t *testing.T) {
	t.Parallel()
	most := named("401", "403", "404", "409", "429", "429 for long", "500", "503", "html", "cut", "drop")
	for _, x := range []struct {
		op   string
		with []failure
	}{
		{"", append(most, named("refused connection")...)},
		{"graphql:repository", append(most, named("hang")...)},
		{"graphql:PullRequests", append(most, named("hang")...)},
		{"git/create-commit", most},
		{"git/create-ref", most},
		{"pulls/create", append(most, named("hang")...)},
		{"git/create-ref", named("answer lost")},
		{"git/create-ref", named("answer lost, 500")},
		{"pulls/create", named("answer lost")},
		{"pulls/create", named("answer lost, 500")},
		{"issues/add-labels", named("403")},
		{"pulls/request-reviewers", named("500")},
		{"repos/compare-commits-with-basehead", named("404")},
	} {
		t.Run(x.op+"/"+x.with[0].name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			again := scoped("revert", "--commit", n.bad().Commit, "--reason", "amounts rounded wrongly")
			for _, f := range x.with {
				env := n.break_("github", x.op, f)
				r := n.do(call{args: again, env: env})
				n.mend()
				n.wantNoToken(r)
				n.wantState(n.untouched())
				if list := n.reverts(r); r.code == 0 {
					n.wantRevert(r)
				} else {
					if len(list) != 0 {
						t.Errorf("%s: it failed, but #%d is open\n%s", f.name, list[0].Number, r)
					}
					if r.code != int(rollback.Failed) && r.code != int(rollback.Usage) {
						t.Errorf("%s: exit %d\n%s", f.name, r.code, r)
					}
					r.wantText(t, "production: not changed", "github:")
				}
				if r.code == 0 && len(x.with) > 1 {
					t.Fatalf("%s: a call that is needed fails, and the command does not say so\n%s", f.name, r)
				}
			}
			first := n.do(call{args: again}).wantExit(t, 0)
			n.wantRevert(first)
			n.wantRevert(n.do(call{args: again}).wantExit(t, 0).wantText(t, "adopted"))
		})
	}
}

// A revert below the tip is merged by GitHub on a temporary branch, which is gone in the end.
func TestForgeFaultsInThreeWayRevert(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		op   string
		with failure
	}{
		{"repos/merge", named("409")[0]}, {"repos/merge", named("500")[0]}, {"repos/merge", named("answer lost")[0]}, {"git/delete-ref", named("403")[0]}, {"git/delete-ref", named("answer lost")[0]},
	} {
		t.Run(x.op+"/"+x.with.name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			again := scoped("revert", "--commit", n.good().Commit, "--reason", "rates are stale")
			n.break_("github", x.op, x.with)
			r := n.do(call{args: again})
			n.mend()
			n.wantNoToken(r)
			n.wantState(n.untouched())
			if r.code != 0 {
				r.wantText(t, "production: not changed", "git")
			}
			if left := slices.Collect(temporary(t, n)); len(left) > 0 {
				r.wantText(t, "could not be deleted", "git push origin --delete "+left[0])
			}
			r = n.do(call{args: again}).wantExit(t, 0)
			if list := n.reverts(r); len(list) != 1 {
				t.Errorf("%d pull requests\n%s", len(list), r)
			}
			n.wantState(n.untouched())
		})
	}
}

// temporary are the temporary branches.
func temporary(t *testing.T, n *night) func(func(string) bool) {
	branches, err := n.Code.Branches()
	must(t, err)
	return func(yield func(string) bool) {
		for _, b := range branches {
			if strings.HasPrefix(b, rollback.TempBranchPrefix) && !yield(b) {
				return
			}
		}
	}
}

// byMerge is the rollback of the story by a revert that merges by itself.
func byMerge(args ...string) []string {
	return theRun(append([]string{"--method", "revert", "--revert-auto-merge", "true"}, args...)...)
}

// wantReverted fails the test unless the revert is in production: merged once, built once, and proven.
func (n *night) wantReverted(r result) {
	n.t.Helper()
	r.wantText(n.t, "production: proven")
	p := n.wantRevert(r)
	builds := n.Jenkins.Builds(demo.Job)
	if !p.Merged || len(builds) != 1 || builds[0].Asked()+builds[0].Parameters()[demo.BuildParameter] != p.MergeCommit || builds[0].Result() != "SUCCESS" {
		n.t.Errorf("merged: %t as %s, %d builds\n%s", p.Merged, p.MergeCommit, len(builds), r)
	}
	shipped := n.Registry.Tags("payments")[p.MergeCommit]
	for _, x := range workloads {
		if running := n.Running(x.name); shipped == "" || len(running) != 1 || running[shipped] == 0 {
			n.t.Errorf("%s runs %v, want %s\n%s", x.name, running, shipped, r)
		}
	}
	if last := n.record().Last; last.State != rollback.Closed || last.Merge.PR != p.Number || !strings.HasSuffix(last.Merge.Build, "/1/") || n.state().Locked {
		n.t.Errorf("the record says %s, %+v\n%s", last.State, last.Merge, r)
	}
	n.wantJournalWhole()
}

// Each call to GitHub of a rollback by revert fails in each way, one after the other; then the same command ends it.
func TestForgeFaultsInRevertedRun(t *testing.T) {
	t.Parallel()
	most := named("401", "403", "404", "409", "429 for long", "500", "html", "cut", "drop")
	for _, x := range []struct {
		op   string
		with []failure
	}{
		{"", append(most, named("refused connection")...)},
		{"graphql:repository", most},
		{"git/create-commit", named("403", "500")},
		{"git/create-ref", named("403", "409", "500", "drop")},
		{"pulls/create", most},
		{"pulls/create", named("hang")},
		{"pulls/create", named("answer lost")},
		{"pulls/create", named("answer lost, 500")},
		{"pulls/merge", most},
		{"pulls/merge", named("answer lost")},
		{"pulls/merge", named("answer lost, 500")},
		{"repos/get-branch-rules", named("403")},
		{"issues/add-labels", named("500")},
	} {
		t.Run(x.op+"/"+x.with[0].name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			for _, f := range x.with {
				env := n.break_("github", x.op, f)
				r := n.do(call{args: byMerge(), env: env})
				n.mend()
				n.wantNoToken(r)
				n.reverts(r)
				if r.code == 0 {
					if len(x.with) > 1 {
						t.Fatalf("%s: a call that is needed fails, and the run does not say so\n%s", f.name, r)
					}
					n.wantReverted(r)
					return
				}
				n.wantTruth("github", r)
			}
			n.wantReverted(n.do(call{args: byMerge()}).wantExit(t, 0))
		})
	}
}

// Jenkins fails when the build of the merge is looked for: what passes is waited for, what does not ends the run, which by then
// may have moved production through that very build.
func TestJenkinsFaultsInRevertedRun(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		op      string
		with    []failure
		passing bool
	}{
		{"GET job", named("401"), false},
		{"GET job", named("403"), false},
		{"GET job", named("404"), false},
		{"GET queue", named("403"), false},
		{"GET job", named("429", "500", "503", "html", "cut", "drop"), true},
		{"GET job", named("hang"), true},
	} {
		t.Run(x.op+"/"+x.with[0].name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			n.GitHub.Inject(fake.Fault{Op: "pulls/merge", Times: 1, Hold: func(*http.Request) {
				for _, f := range x.with {
					fault := f.fault(outside{system: "jenkins", op: x.op})
					if fault.Op = x.op; x.passing {
						fault.Times = 1
					}
					n.Jenkins.Inject(fault)
				}
			}})
			r := n.do(call{args: byMerge()})
			n.wantNoToken(r)
			if x.passing {
				r.wantExit(t, 0)
			} else {
				until(t, "the build of the merge to end", func() bool {
					builds := n.Jenkins.Builds(demo.Job)
					return len(builds) == 1 && builds[0].Result() != ""
				})
				if r.code != int(rollback.Failed) && r.code != int(rollback.Unverified) {
					t.Errorf("exit %d\n%s", r.code, r)
				}
				r.wantText(t, "jenkins:", "next: ", "the revert is merged as ")
				n.mend()
				r = n.do(call{args: byMerge()}).wantExit(t, 0)
			}
			n.wantReverted(r)
		})
	}
}

// No merge starts the deploy job here, and starting it fails in each way: nothing is built twice.
func TestJenkinsFaultsWhenTheBuildIsStarted(t *testing.T) {
	t.Parallel()
	for _, with := range [][]failure{
		named("401", "403", "404", "409", "429 for long", "500", "503", "html", "cut", "drop"), named("answer lost"), named("answer lost, 500"), named("hang"),
	} {
		t.Run(with[0].name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, demo.Options{Code: true})
			n.Webhook(false)
			again := byMerge("--jenkins-webhook", "0s")
			for _, f := range with {
				n.break_("jenkins", "POST buildWithParameters", f)
				r := n.do(call{args: again})
				n.mend()
				n.wantNoToken(r)
				if strings.HasPrefix(f.name, "answer lost") { // the build is found by its commit
					n.wantReverted(r.wantExit(t, 0))
					return
				}
				if r.code != int(rollback.Failed) && r.code != int(rollback.Unverified) {
					t.Fatalf("%s: exit %d\n%s", f.name, r.code, r)
				}
				r.wantText(t, "jenkins:", "next: ", "the revert is merged as ")
				if builds := n.Jenkins.Builds(demo.Job); len(builds) > 0 {
					t.Fatalf("%s: %d builds\n%s", f.name, len(builds), r)
				}
			}
			n.wantReverted(n.do(call{args: again}).wantExit(t, 0))
		})
	}
}

// status tells what runs and what is owed, whether GitHub and Jenkins answer or not.
func TestForgeFaultsInStatus(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.do(call{args: theRun()}).wantExit(t, 0)
	for _, f := range named("401", "403", "404", "409", "429", "500", "html", "cut", "drop", "refused connection", "hang") {
		env := slices.Concat(n.break_("github", "", f), n.break_("jenkins", "", f))
		r := n.do(call{args: scoped("status"), env: env}).wantExit(t, 0)
		n.mend()
		n.wantNoToken(r)
		r.wantText(t, n.good().Commit[:7], "rollback mitigated")
		n.wantState(n.clean())
	}
}
