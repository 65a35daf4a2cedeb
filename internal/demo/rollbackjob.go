package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/record"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// RollbackJob is the one-click job of the story's scope: what a page in Jenkins, or `rollback trigger`, starts.
const RollbackJob = "rollback/" + Environment + "/payments"

// RollbackParameters are those of the one-click job, as `rollback` wants them in Jenkins; a test holds them to its table.
var RollbackParameters = []jenkins.Parameter{
	{Kind: "Choice", Name: "ROLLBACK_METHOD", Choices: []string{"retag", "revert", "undo"}},
	{Kind: "String", Name: "ROLLBACK_TO", Default: "previous"},
	{Kind: "String", Name: "ROLLBACK_REASON"},
	{Kind: "Boolean", Name: "ROLLBACK_DRY_RUN", Default: "false"},
	{Kind: "String", Name: "ROLLBACK_ACCEPT"},
	{Kind: "Boolean", Name: "ROLLBACK_ACCEPT_MIGRATIONS", Default: "false"},
	{Kind: "String", Name: "ROLLBACK_WAIT"},
	{Kind: "String", Name: "ROLLBACK_ID"},
}

// recordDir is where a build keeps everything about the scope, below its workspace.
func recordDir(service string) string { return "rollback-record/" + service + "-" + Environment }

// patience is how long an aborted step of a build gets, as in Jenkins.
const patience = 20 * time.Second

// addRollbackJob gives Jenkins the one-click job. Its builds run the real program in the environment of an agent, and so do
// those of the jobs that `jobs apply` makes for other services.
func (w *World) addRollbackJob() {
	w.Jenkins.AddJob(RollbackJob, jenkins.Job{Parameters: RollbackParameters})
	w.Jenkins.OnBuild(w.rollbackBuild)
}

// rollbackBuild is what the shared library's stage does: plan, ask, run, and keep the record whatever happens.
func (w *World) rollbackBuild(ctx context.Context, b *jenkins.Build) (result string) {
	folder, service := path.Split(b.Job())
	if folder != path.Dir(RollbackJob)+"/" {
		b.Print("%s is no job of this world: nothing is done\n", b.Job())
		return "NOT_BUILT"
	}
	workspace := filepath.Join(w.Dir, "workspace", service, fmt.Sprint(b.Number()))
	dir := filepath.Join(workspace, filepath.FromSlash(recordDir(service)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Print("%s\n", err)
		return "FAILURE"
	}
	defer archive(b, dir, recordDir(service))
	program := func(args ...string) rollback.Exit { return w.step(ctx, b, workspace, dir, args...) }
	scope := []string{"--service", service, "--environment", Environment}

	b.Stage("Plan")
	plan := filepath.Join(dir, "plan.json")
	if exit := program(append([]string{"plan", "--out", plan, "--result-file", filepath.Join(dir, "plan.txt")}, scope...)...); exit != rollback.Done {
		return resultOf(exit)
	}
	if b.Parameters()["ROLLBACK_DRY_RUN"] == "true" {
		return "SUCCESS"
	}
	b.Stage("Approve")
	if _, ok := b.Ask(ctx, jenkins.Input{ID: "rollbackApprove", Message: "Go on? " + summary(dir), OK: "Roll back", SubmitterParameter: "ROLLBACK_APPROVED_BY"}); !ok {
		return ""
	}
	b.Stage("Run")
	return resultOf(program(append([]string{"run", "--plan", plan, "--yes", "--result-file", filepath.Join(dir, "result.txt")}, scope...)...))
}

// resultOf is what the exit code makes of the build.
func resultOf(exit rollback.Exit) string {
	switch exit {
	case rollback.Done:
		return "SUCCESS"
	case rollback.Pending:
		return "UNSTABLE"
	}
	return "FAILURE"
}

// summary is the plan in one line.
func summary(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "plan.txt"))
	if err != nil {
		return err.Error()
	}
	kv, err := record.ParseResult(text)
	if err != nil {
		return err.Error()
	}
	return kv["summary"]
}

// step runs the program as a build's step does: its variables are the parameters, its output is the log, and an abort is
// SIGTERM and never more.
func (w *World) step(ctx context.Context, b *jenkins.Build, workspace, dir string, args ...string) rollback.Exit {
	self, err := os.Executable()
	if err != nil {
		b.Print("%s\n", err)
		return rollback.Failed
	}
	base := w.environ
	if base == nil {
		base = os.Environ()
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = workspace
	cmd.Env = append(w.Env(base), "CI=true", "JENKINS_URL="+w.JenkinsURL+"/", "WORKSPACE="+workspace, "ROLLBACK_STATE="+dir,
		"JOB_NAME="+b.Job(), fmt.Sprintf("BUILD_NUMBER=%d", b.Number()), "BUILD_URL="+w.BuildURL(b), "ROLLBACK_USER="+b.User())
	for k, v := range b.Parameters() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out := printing{b}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && cmd.ProcessState == nil {
		b.Print("%s\n", err)
		return rollback.Failed
	}
	return rollback.Exit(cmd.ProcessState.ExitCode())
}

// BuildURL is a build's page.
func (w *World) BuildURL(b *jenkins.Build) string {
	return fmt.Sprintf("%s/job/%s/%d/", w.JenkinsURL, strings.ReplaceAll(b.Job(), "/", "/job/"), b.Number())
}

// printing is a build's log as a writer.
type printing struct{ b *jenkins.Build }

func (p printing) Write(text []byte) (int, error) {
	p.b.Print("%s", text)
	return len(text), nil
}

// archive keeps the files of the record, as archiveArtifacts does in finally.
func archive(b *jenkins.Build, dir, under string) {
	files, err := os.ReadDir(dir)
	if err != nil {
		b.Print("%s\n", err)
		return
	}
	for _, f := range files {
		if text, err := os.ReadFile(filepath.Join(dir, f.Name())); err == nil {
			b.Archive(under+"/"+f.Name(), string(text))
		}
	}
	b.Print("Archiving artifacts\n")
}
