package e2e

// The table of scenarios with GitHub and Jenkins.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/github"
)

// Commands of the table.
var (
	byTag    = on("run", "--reason", "amounts", "--yes")
	asked    = on("run", "--method", "revert", "--jenkins-webhook", "0s", "--reason", "amounts", "--yes") // no merge starts the job
	byRevert = on("run", "--method", "revert", "--reason", "amounts", "--yes")
)

// itself has reverts merged without a person.
const itself = "    revert: {autoMerge: true}\n"

// firstRevert is the number of the first pull request after those of the releases.
const firstRevert = 5

// merge has gh merge a pull request, and waits until what that builds is deployed.
func merge(number, builds int) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		f := s.world.(*forge)
		if _, err := f.shell(ctx, f.Dir(), fmt.Sprintf("gh pr merge %d --squash", number)); err != nil {
			return err
		}
		return f.deployed(ctx, builds)
	}
}

// deployed waits until so many builds are over and deployed.
func deployed(builds int) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error { return s.world.(*forge).deployed(ctx, builds) }
}

// silent breaks GitHub, and mended all there is.
func silent(_ context.Context, s *Stage) error {
	s.world.(*forge).github.Inject(fake.Fault{Drop: true})
	return nil
}

func mended(_ context.Context, s *Stage) error {
	f := s.world.(*forge)
	f.github.Clear()
	f.jenkins.Clear()
	f.breaks.Store(false)
	return nil
}

// hung has GitHub give no answer to a request.
func hung(op string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		f := hangs
		f.Op = op
		s.world.(*forge).github.Clear()
		s.world.(*forge).github.Inject(f)
		return nil
	}
}

// killedAt kills the program when a request to GitHub comes, which is then done, and its answer lost.
func killedAt(op string) func(context.Context, *Stage) error {
	return func(_ context.Context, s *Stage) error {
		s.world.(*forge).github.Inject(fake.Fault{Op: op, Times: 1, Hold: func(*http.Request) { s.kill() }, After: true, Drop: true})
		return nil
	}
}

// killedInFollowUp is killedAt for a request that is made while the pods turn over: not before the program looks at them, and
// they tell it nothing.
func killedInFollowUp(op string) func(context.Context, *Stage) error {
	return func(_ context.Context, s *Stage) error {
		looks := make(chan struct{})
		var once sync.Once
		s.world.Cluster().Inject(fake.Fault{Op: "GET deployments/payments", Hold: func(*http.Request) { once.Do(func() { close(looks) }) }, Hang: true})
		s.world.(*forge).github.Inject(fake.Fault{Op: op, Times: 1, Hold: func(*http.Request) { <-looks; s.kill() }, After: true, Drop: true})
		return nil
	}
}

// later are changes that come into main after the bad one and are not deployed.
func later(files map[string]string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := coded(ctx, s); err != nil {
			return err
		}
		return goesOn(files)(ctx, s)
	}
}

// goesOn is later, when the rest is there.
func goesOn(files map[string]string) func(context.Context, *Stage) error {
	return func(_ context.Context, s *Stage) error {
		f := s.world.(*forge)
		f.webhook.Store(false)
		commit, err := f.merged(change{name: "later", title: "Round half to even", author: "ledger-dev", age: 5 * time.Minute, files: files})
		if err != nil {
			return err
		}
		s.releases["later"] = &Release{Commit: commit}
		f.webhook.Store(true)
		return nil
	}
}

// byHand does what the last command printed for a revert that conflicts, in a clone, with one file resolved as it must be: ""
// deletes it.
func byHand(path, content string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		f := s.world.(*forge)
		dir, err := os.MkdirTemp(scratch, "hand")
		if err != nil {
			return err
		}
		// gh wants a remote at github.com; the clone of somebody who has no loopback GitHub has one.
		if _, err := f.shell(ctx, dir, `git clone --quiet "$REMOTE" work && git -C work remote add github "https://github.com/$GH_REPO.git"`); err != nil {
			return err
		}
		clone, conflicts := filepath.Join(dir, "work"), 0
		for line := range strings.SplitSeq(s.done[len(s.done)-1].stderr, "\n") {
			command := strings.TrimSpace(line)
			if _, then, ok := strings.Cut(command, "; then: "); ok && strings.HasPrefix(command, "# ") {
				resolve := os.WriteFile(filepath.Join(clone, path), []byte(content), 0o600)
				if content == "" {
					resolve = os.Remove(filepath.Join(clone, path))
				}
				if resolve != nil {
					return resolve
				}
				command = then
			}
			if !strings.HasPrefix(command, "git ") && !strings.HasPrefix(command, "gh ") {
				continue
			}
			_, err := f.shell(ctx, clone, command)
			if err != nil && strings.HasPrefix(command, "git cherry-pick ") {
				conflicts++
				continue
			}
			if err != nil {
				return err
			}
		}
		if conflicts != 1 {
			return fmt.Errorf("%d of the printed commands met a conflict, want 1:\n%s", conflicts, s.done[len(s.done)-1].stderr)
		}
		pulls := f.reverts()
		if len(pulls) != 1 {
			return fmt.Errorf("%d pull requests after the printed commands, want 1", len(pulls))
		}
		if got, _ := f.code.File(pulls[0].HeadSHA, path); got != content {
			return fmt.Errorf("#%d holds %q in %s", pulls[0].Number, got, path)
		}
		return nil
	}
}

// conflicting is a change to the very line that is to be taken back.
var conflicting = map[string]string{"ledger.go": ledger("(amount + 50) / 100 * 100")}

const isOpen = "open"

// told is the world of `rollback demo`: the deployment, the CronJob of its image, and other workloads if they are named.
func told(others ...string) func(context.Context, *Stage) error {
	return func(ctx context.Context, s *Stage) error {
		if err := coded(ctx, s); err != nil {
			return err
		}
		report := demo.CronJob("payments-report", image(s.world, "payments"), "0 6 * * *")
		report["metadata"].(object)["namespace"] = s.world.Namespace()
		objects := []object{report}
		for _, name := range others {
			objects = append(objects, workload(s.world, "StatefulSet", name, "payments", 2))
		}
		return s.up(ctx, objects...)
	}
}

var forgeScenarios = []Scenario{
	{
		Name: "the story of the demo, by retag", Seed: told("payments-worker"),
		Steps: []Step{
			{Args: []string{"status", "--environment", "prod", "--tags"}},
			{Args: on("candidates")},
			{Args: on("run", "--reason", "amounts rounded wrongly since {bad.commit}", "--yes")},
			{Args: on("status")},
			{Args: on("run", "--to", "{good.short}", "--reason", "amounts", "--yes")},
			{Args: on("undo", "--reason", "false alarm", "--yes")},
			{Args: on("status")},
		},
		Want: map[string]string{
			"tags.payments.latest": bad, "pulls[5].state": isOpen, "workloads.Deployment/payments.generation": "3",
			"pods.payments-worker: Running [app " + bad + " running ready=true]": "2",
		},
	},
	{
		Name: "the story of the demo, by revert", Seed: told(),
		Steps: []Step{
			{Args: on("revert", "--commit", "{bad.commit}", "--dry-run")},
			{Args: byRevert, Exit: 3},
			{Before: merge(firstRevert, 1), Args: byRevert},
			{Args: on("status")},
		},
		Want: map[string]string{"pulls[5].state": "merged by payments-lead", "builds[2]": "", "tags.payments.latest": "<image build 1 in full>"},
	},
	{
		Name: "a deploy job without webhook", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error { s.world.(*forge).webhook.Store(false); return nil },
			Args:   asked,
		}},
		Want: map[string]string{"builds[1]": "asked for <commit merge of 5>: SUCCESS", "builds[2]": "", "tags.payments.latest": "<image build 1 in full>"},
	},
	{
		Name: "killed when the build was asked for", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error {
					f := s.world.(*forge)
					f.webhook.Store(false)
					f.jenkins.Inject(fake.Fault{Op: "POST buildWithParameters", Times: 1, Hold: func(*http.Request) { s.kill() }, After: true, Drop: true})
					return nil
				},
				Args: asked, Exit: killed,
			},
			{Before: deployed(1), Args: asked},
		},
		Want: map[string]string{"builds[1]": "asked for <commit merge of 5>: SUCCESS", "builds[2]": "", "pulls[6].state": ""},
	},
	{
		Name: "a retag and its follow-up", Seed: coded, Options: Options{Config: "    revert: {labels: [rollback, urgent], reviewers: [payments-dev]}\n"},
		Steps: []Step{
			{Args: on("plan", "--reason", "amounts")},
			{Args: byTag, Says: []string{"revert pull request opened"}},
			{Args: on("status")},
		},
		Want: map[string]string{
			"tags.payments.latest": good, "pulls[5].state": isOpen, "pulls[5].labels": "rollback urgent", "pulls[6].state": "", "builds[1]": "",
			"pods.payments: Running [app " + good + " running ready=true]": "3",
		},
	},
	{
		Name: "a retag while GitHub is down", Seed: coded,
		Steps: []Step{
			{Before: silent, Args: byTag, Says: []string{"the revert pull request is still owed", "open the revert by"}},
			{Args: on("status")},
			{ // what was printed is pasted when GitHub is back and others have merged
				Before: func(ctx context.Context, s *Stage) error {
					if err := mended(ctx, s); err != nil {
						return err
					}
					return goesOn(map[string]string{"fees.go": "package payments\n"})(ctx, s)
				},
				Paste: "revert", Says: []string{"it pays the revert of "},
			},
		},
		Want: map[string]string{"tags.payments.latest": good, "pulls[6].state": isOpen, "pulls[7].state": "", "builds[1]": ""},
	},
	{
		Name: "GitHub refuses connections", Seed: gated(coded),
		Steps: []Step{
			{Before: down(theGitHub), Args: byRevert, Exit: 5, Says: []string{"connection refused", "production: not changed"}},
			{Args: byTag, Says: []string{"connection refused", "the revert pull request is still owed", "open the revert by"}},
			{Args: on("status")},
			{Before: up, Paste: "revert", Says: []string{"it pays the revert of "}},
		},
		Want: map[string]string{"tags.payments.latest": good, "pulls[5].state": isOpen, "pulls[6].state": "", "builds[1]": ""},
	},
	{
		Name: "Jenkins refuses connections", Seed: gated(coded), Options: Options{Config: itself},
		Steps: []Step{
			{Before: down(theJenkins), Args: on("plan", "--reason", "amounts"), Says: []string{"connection refused", "[builds-unread]"}},
			{Before: away("pulls/merge"), Args: byRevert, Says: []string{"cannot be read; still trying", "connection refused"}},
		},
		Want: map[string]string{"tags.payments.latest": "<image build 1 in full>", "pulls[6].state": "", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": ""},
	},
	{
		Name: "GitHub hangs", Seed: coded,
		Steps: []Step{
			{Before: hung("git/create-ref"), Args: byRevert, Exit: 1, Says: []string{"in time: ", "production: not changed"}},
			{Before: hung("pulls/create"), Args: byRevert, Exit: 1, Says: []string{"in time: ", "production: not changed"}},
			{Before: hung("pulls/create"), Args: append(byTag[:len(byTag):len(byTag)], "--revert-wait", "2s"), Says: []string{"did not answer in time", "the revert pull request is still owed"}},
			{Before: mended, Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": good, "pulls[5].state": "", "builds[1]": ""},
	},
	{
		Name: "GitHub and Jenkins do as they are asked and never answer", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{{
			Before: func(_ context.Context, s *Stage) error {
				f := s.world.(*forge)
				f.webhook.Store(false)
				once := stalls
				once.Times = 1
				for _, op := range []string{"git/create-ref", "pulls/create", "pulls/merge"} {
					once.Op = op
					f.github.Inject(once)
				}
				once.Op = "POST buildWithParameters"
				f.jenkins.Inject(once)
				return nil
			},
			Args: asked,
		}},
		Want: map[string]string{"builds[1]": "asked for <commit merge of 5>: SUCCESS", "builds[2]": "", "pulls[6].state": "", "tags.payments.latest": "<image build 1 in full>"},
	},
	{
		Name: "a retag whose follow-up merges by itself", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{Args: byTag},
			{Before: deployed(1), Args: on("status")},
		},
		Manual: "tag payments $good; restart deployment/payments; wait_for deployment/payments; revert $good..$bad",
		Want:   map[string]string{"pulls[5].state": "merged by rollback-bot", "builds[1]": "pushed <commit merge of 5>: SUCCESS"},
	},
	{
		Name: "a revert that merges by itself", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{Args: on("plan", "--method", "revert", "--reason", "amounts")},
			{Args: byRevert},
			{Args: on("verify")},
			{Args: on("status")},
		},
		Want: map[string]string{
			"tags.payments.latest": "<image build 1 in full>", "pulls[5].state": "merged by rollback-bot", "pulls[6].state": "",
			"builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": "",
			"pods.payments: Running [app <image build 1 in full> running ready=true]": "3",
		},
	},
	{
		Name: "a revert that gh merges", Seed: coded,
		Steps: []Step{
			{Args: byRevert, Exit: 3, Says: []string{"merge it: "}},
			{Args: on("status")},
			{Before: merge(firstRevert, 1), Args: byRevert},
			{Args: on("status")},
		},
		Want: map[string]string{
			"tags.payments.latest": "<image build 1 in full>", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": "", "pulls[6].state": "", "pulls[5].state": "merged by payments-lead",
			"pods.payments: Running [app <image build 1 in full> running ready=true]": "3",
		},
	},
	{
		Name: "a revert that is closed unmerged", Seed: coded,
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error { // while the program waits for the merge, which it asks the rules about
					f := s.world.(*forge)
					f.github.Inject(fake.Fault{Op: "repos/get-branch-rules", Skip: 1, Times: 1, Hold: func(*http.Request) {
						if err := f.code.ClosePull(firstRevert, "payments-lead"); err != nil {
							s.broken(err)
						}
					}})
					return nil
				},
				Args: append(byRevert[:len(byRevert):len(byRevert)], "--wait", "merge"), Exit: 1, Says: []string{"was closed without being merged"},
			},
			{Args: byRevert, Exit: 3},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pulls[5].state": "closed", "pulls[6].state": isOpen, "pulls[7].state": ""},
	},
	{
		Name: "a revert that conflicts", Seed: later(conflicting),
		Steps: []Step{
			{Args: byRevert, Exit: 1, Says: []string{"ledger.go", "git cherry-pick"}},
			{Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), Exit: 1, Says: []string{"ledger.go: ", "Round half to even (#5) (ledger-dev) #5"}},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pulls[6].state": ""},
	},
	{
		Name: "a revert that conflicts, finished by hand", Seed: later(conflicting),
		Steps: []Step{
			{Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), Exit: 1},
			{Before: byHand("ledger.go", ledger("amount")), Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), Says: []string{"adopted"}},
			{Args: byTag, Says: []string{"revert pull request adopted"}},
			{Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": good, "pulls[6].state": isOpen, "pulls[6].author": reviewer, "pulls[7].state": ""},
	},
	{
		Name: "a revert that meets a deleted file, finished by hand", Seed: later(map[string]string{"ledger.go": "", "books.go": "package payments\n"}),
		Steps: []Step{
			{Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts can't be right"), Exit: 1, Says: []string{"ledger.go: ", "make it by hand"}},
			{Before: byHand("ledger.go", ""), Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), Says: []string{"adopted", "is not known to be the exact inverse"}},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pulls[6].state": isOpen, "pulls[6].author": reviewer, "pulls[7].state": ""},
	},
	{
		Name: "a revert that waits for review and checks", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error {
					s.world.(*forge).code.Protect(github.Protection{Branch: "main", Reviews: 1, Checks: []string{"ci/unit"}})
					return nil
				},
				Args: byRevert, Exit: 3, Says: []string{"an approving review", "ci/unit"},
			},
			{
				Before: func(ctx context.Context, s *Stage) error { // GitHub merges when the second of the two is there
					f := s.world.(*forge)
					if err := f.code.SetStatus("rollback/revert-"+s.releases["good"].Commit[:12]+"-"+s.releases["bad"].Commit[:12], "ci/unit", "success"); err != nil {
						return err
					}
					if _, err := f.shell(ctx, f.Dir(), fmt.Sprintf("gh pr review %d --approve", firstRevert)); err != nil {
						return err
					}
					return f.deployed(ctx, 1)
				},
				Args: byRevert,
			},
		},
		Want: map[string]string{"pulls[5].state": "merged by rollback-bot", "pulls[6].state": "", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": "", "tags.payments.latest": "<image build 1 in full>"},
	},
	{
		Name: "a revert that gh merges while the program waits", Seed: coded,
		Steps: []Step{{
			Before: func(ctx context.Context, s *Stage) error {
				f := s.world.(*forge)
				f.github.Inject(fake.Fault{Op: "repos/get-branch-rules", Skip: 1, Times: 1, Hold: func(*http.Request) {
					if _, err := f.shell(ctx, f.Dir(), fmt.Sprintf("gh pr merge %d --merge", firstRevert)); err != nil {
						s.broken(err)
					}
				}})
				return nil
			},
			Args: append(byRevert[:len(byRevert):len(byRevert)], "--wait", "merge"), Says: []string{"waits for its merge"},
		}},
		Want: map[string]string{"pulls[5].state": "merged by payments-lead", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": "", "tags.payments.latest": "<image build 1 in full>"},
	},
	{
		Name: "a retag whose follow-up conflicts", Seed: later(conflicting),
		Steps: []Step{{Args: byTag, Says: []string{"still owed", "git cherry-pick"}}, {Args: on("status")}},
		Want:  map[string]string{"tags.payments.latest": good, "pulls[6].state": ""},
	},
	{
		Name: "a retag, and work went on meanwhile", Seed: later(map[string]string{"fees.go": "package payments\n"}),
		Steps: []Step{{Args: byTag}, {Args: on("status")}},
		Want:  map[string]string{"tags.payments.latest": good, "pulls[6].state": isOpen, "pulls[7].state": ""},
	},
	{
		Name: "the build of the revert fails", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{
				Before: func(_ context.Context, s *Stage) error { s.world.(*forge).breaks.Store(true); return nil },
				Args:   byRevert, Exit: 1, Says: []string{"ended with FAILURE"},
			},
			{
				Before: func(ctx context.Context, s *Stage) error { // somebody builds again
					f := s.world.(*forge)
					f.breaks.Store(false)
					f.jenkins.Push(deployJob, f.code.Head("main"))
					return f.deployed(ctx, 2)
				},
				Args: byRevert,
			},
		},
		Want: map[string]string{"builds[1]": "pushed <commit merge of 5>: FAILURE", "builds[2]": "pushed <commit merge of 5>: SUCCESS", "builds[3]": "", "tags.payments.latest": "<image build 2 in full>"},
	},
	{
		Name: "killed when the revert was opened", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{{Before: killedAt("pulls/create"), Args: byRevert, Exit: killed}, {Args: byRevert}},
		Want:  map[string]string{"pulls[5].state": "merged by rollback-bot", "pulls[6].state": "", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": ""},
	},
	{
		Name: "killed when the branch was made", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{{Before: killedAt("git/create-ref"), Args: byRevert, Exit: killed}, {Args: byRevert}},
		Want:  map[string]string{"pulls[5].state": "merged by rollback-bot", "pulls[6].state": "", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": ""},
	},
	{
		Name: "killed when the revert was merged", Seed: coded, Options: Options{Config: itself},
		Steps: []Step{
			{Before: killedAt("pulls/merge"), Args: byRevert, Exit: killed},
			{Before: deployed(1), Args: byRevert},
		},
		Want: map[string]string{"pulls[5].state": "merged by rollback-bot", "pulls[6].state": "", "builds[1]": "pushed <commit merge of 5>: SUCCESS", "builds[2]": ""},
	},
	{
		Name: "killed while GitHub merges for the follow-up", Seed: later(map[string]string{"fees.go": "package payments\n"}),
		Steps: []Step{
			{Before: killedInFollowUp("repos/merge"), Args: byTag, Exit: killed},
			{
				Before: func(ctx context.Context, s *Stage) error {
					s.world.Cluster().Clear()
					return s.world.(*forge).deployed(ctx, 0)
				},
				Args: byTag,
			},
			{Args: on("status")},
		},
		Want: map[string]string{"pulls[6].state": isOpen, "pulls[7].state": "", "tags.payments.latest": good, "workloads.Deployment/payments.generation": "2"},
	},
	{
		Name: "reverted by number, merged, and brought back", Seed: coded,
		Steps: []Step{
			{Args: on("revert", "--pr", "4", "--dry-run"), Says: []string{"dry run: nothing was opened"}},
			{Args: on("revert", "--pr", "4", "--reason", "amounts"), Says: []string{"opened"}},
			{Args: on("revert", "--commit", "{bad.commit}", "--reason", "amounts"), Says: []string{"adopted"}},
			{Before: merge(firstRevert, 1), Args: on("revert", "--pr", "4", "--reason", "amounts"), Says: []string{"does not hold it any more"}},
			{Args: on("reland", "--pr", "5", "--reason", "fixed"), Says: []string{"opened", "Reapply"}},
			{Before: merge(firstRevert+1, 2), Args: on("reland", "--pr", "5", "--reason", "fixed"), Says: []string{"does not hold it any more"}},
		},
		Want: map[string]string{"pulls[5].state": "merged by payments-lead", "pulls[6].state": "merged by payments-lead", "pulls[7].state": "", "builds[3]": ""},
	},
	{
		Name: "everything after a commit is reverted", Seed: coded,
		Steps: []Step{{Args: on("revert", "--to", "{old.commit}", "--reason", "amounts", "--draft")}},
		Want:  map[string]string{"pulls[5].state": isOpen, "pulls[5].draft": "true", "pulls[6].state": ""},
	},
	{
		Name: "a commit below the tip is reverted", Seed: coded,
		Steps: []Step{
			{Args: on("revert", "--pr", "3", "--reason", "rates are stale", "--dry-run")},
			{Args: on("revert", "--pr", "3", "--reason", "rates are stale", "--auto-merge")},
		},
		Want: map[string]string{"pulls[5].state": "merged by rollback-bot", "pulls[6].state": ""},
	},
	{
		Name: "undone with an open follow-up", Seed: coded,
		Steps: []Step{
			{Args: byTag},
			{Args: on("undo", "--reason", "false alarm", "--yes")},
			{Args: on("status")},
		},
		Want: map[string]string{"tags.payments.latest": bad, "pulls[5].state": isOpen, "pulls[6].state": ""},
	},
}
