package e2e

// The report of the soak: docs/soak.md, but for the part about what goes on inside the program.

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// soakTables are the counts of the report, in its order.
var soakTables = []struct{ about, head string }{
	{"stories", "story"},
	{"commands", "command"},
	{"disturbed by", "a command was disturbed by"},
	{"faults at", "of these, faults at"},
	{"beside it", "beside it, somebody gave"},
	{"exit codes", "how the disturbed commands ended"},
	{"exit codes of the colleague", "how the same command beside them ended"},
	{"there at the end", "there at the end, and meant to be"},
}

const soakAbout = `# Soak

Written by ` + "`make soak`" + `; change the soak (test/e2e/soak_test.go, test/bench/inside_test.go), not this file.

The program as it is built for people goes through what they do about a bad deploy, again and again, in two worlds at once: the
loopback one of ` + "`rollback demo`" + `, and a real Kubernetes API server with its controllers beside a real registry; both with GitHub on
real git, and with a Jenkins that builds and deploys what is merged. Every command meets something: a fault in one of the four
systems, SIGKILL or SIGTERM at some request, a lock that a lost machine left; and others look at the same time, or type the same.
A command that did not end well is given once more, undisturbed, and must end well then.

To repeat the choices: ` + "`make soak SEED=%[1]d`" + `. What is drawn is the same then; what happens meanwhile depends on the machine. Shorter:
` + "`make soak SOAK=1m`" + `. A failure prints its seed, and all that its story did and said.

- date: %[2]s
- seed: %[1]d
- machine: %[3]d cores, %[4]s/%[5]s
- Go: %[6]s
- commit: %[7]s

## Two worlds

After every command, and none of it was found:

- pods, moving tag and record that do not say the same; a lock that is left
- a debt that the record forgot, or that is not of the range that was taken away; an open revert that neither a debt nor a waiting
  rollback owns; two open pull requests of the same range; a label, a reviewer or a comment twice
- an exit code that is not one of the documented ones for that command, also of those who only look

After every story, when all that was owed is merged or closed and the tip of the branch is deployed:

- an open pull request, a debt, a temporary branch that no command had named, or a branch of a revert that never had a pull request
- a build more or less than was asked for, a build that failed, an item in the queue

At the end:

- a lock; a ConfigMap beside the one record; a tag beside those of the builds and one for each image that was kept; a file beside the
  journals; a journal that cannot be read to its end; a process
- two runs that had the lock at the same time, by their journals
- a request that GitHub, Jenkins or the registry would not have been sent by a careful client

`

// writeSoakPage writes the report of soaks that went well.
func writeSoakPage(path string, seed uint64, soaks []*soak) error {
	commit := "unknown"
	if out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	var b strings.Builder
	fmt.Fprintf(&b, soakAbout, seed, time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), commit)
	row := func(cells ...any) { fmt.Fprintf(&b, "|"+strings.Repeat(" %v |", len(cells))+"\n", cells...) }
	table := func(head string) {
		cells := []any{head}
		for _, k := range soaks {
			cells = append(cells, k.f.Name())
		}
		row(cells...)
		fmt.Fprintln(&b, "|"+strings.Repeat(" --- |", len(cells)))
	}
	table("")
	cells := []any{"time"}
	for _, k := range soaks {
		cells = append(cells, k.took.Round(time.Second))
	}
	row(cells...)
	for _, t := range soakTables {
		all := map[string]int{}
		for _, k := range soaks {
			for what, n := range k.counts[t.about] {
				all[what] += n
			}
		}
		fmt.Fprintln(&b)
		table(t.head)
		for _, what := range sorted(all) {
			cells := []any{what}
			for _, k := range soaks {
				cells = append(cells, k.counts[t.about][what])
			}
			row(cells...)
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
