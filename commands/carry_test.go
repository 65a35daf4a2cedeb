package commands

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/demo"
	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestCarry(t *testing.T) {
	ty := typing{command: "run", flags: []typedFlag{{"config", "my files/r.yaml"}, {"repo", "acme/web"}, {"wait", "merge"}, {"yes", ""}},
		takes: map[string][]string{"run": {"config", "repo", "wait", "yes"}, "revert": {"config", "repo"}, "demo": nil}}
	const scope = "--service payments --environment prod"
	for _, tt := range []struct{ text, want string }{
		{"then go on: rollback run " + scope + " --to x", "then go on: rollback run " + scope + " --config 'my files/r.yaml' --repo acme/web --wait merge --yes --to x"},
		{"rollback revert " + scope + "; rollback run " + scope, "rollback revert " + scope + " --config 'my files/r.yaml' --repo acme/web; rollback run " + scope + " --config 'my files/r.yaml' --repo acme/web --wait merge --yes"},
		{"rollback demo " + scope, "rollback demo " + scope},
		{"merge it: https://github.com/acme/web/pull/7", "merge it: https://github.com/acme/web/pull/7"},
		{"see `rollback status`", "see `rollback status`"},
	} {
		got := ty.carry(tt.text)
		if got != tt.want {
			t.Errorf("%q\nwant %q", got, tt.want)
		}
		if again := ty.carry(got); again != got {
			t.Errorf("twice: %q", again)
		}
	}
	if got := (typing{}).carry("rollback run " + scope); got != "rollback run "+scope {
		t.Errorf("%q", got)
	}
}

// What is printed for going on does what was asked for in the first place: it merges by itself, waits, and reaches the same
// systems, from a directory without a configuration.
func TestPastedGoOn(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	n.Code.Protect(fakegh.Protection{Branch: "main", Reviews: 1})
	elsewhere := t.TempDir()
	env := []string{"ROLLBACK_CONFIG="}
	config := filepath.Join(n.Dir, "rollback.yaml")
	r := n.do(call{dir: elsewhere, env: env, args: scoped("run", "--config", config, "--method", "revert", "--reason", "amounts rounded wrongly", "--yes", "--revert-auto-merge", "true", "--wait", "1ms", "--repo", "acme/payments")}).wantExit(t, rollback.Pending)
	r.wantText(t, "then go on: rollback run --service payments --environment prod --config "+config+" --repo acme/payments --revert-auto-merge true --wait 1ms --yes --to ")
	open := n.Code.OpenPulls()
	if len(open) != 1 {
		t.Fatalf("%d pull requests\n%s", len(open), r)
	}
	must(t, n.Code.Review(open[0].Number, "payments-lead", "APPROVED"))
	n.wantReverted(n.do(call{dir: elsewhere, env: env, args: pasted(t, r.stderr, "run")}).wantExit(t, 0))
}

// Commands about what is owed name the configuration as well, in the text, in the JSON and in the result file; no secret is carried.
func TestPastedOwed(t *testing.T) {
	t.Parallel()
	n := newNight(t, demo.Options{Code: true})
	config, elsewhere := filepath.Join(n.Dir, "rollback.yaml"), t.TempDir()
	env := []string{"ROLLBACK_CONFIG="}
	args := theRun("--config", config, "--github-url", "http://127.0.0.1:1", "--json")
	r := n.do(call{dir: elsewhere, env: env, args: args}).wantExit(t, 0)
	want := fmt.Sprintf("rollback revert --service payments --environment prod --config %s --github-url http://127.0.0.1:1 --to ", config)
	r.wantText(t, "open the revert by ", want, "rollback undo --service payments --environment prod --config "+config+" --github-url http://127.0.0.1:1")
	if res := decoded[rollback.Result](t, r); !strings.Contains(strings.Join(res.Next, "\n"), want) {
		t.Errorf("next %q", res.Next)
	}
	n.wantNoToken(r)
	s := n.do(call{dir: elsewhere, env: env, args: scoped("status", "--config", config)}).wantExit(t, 0)
	s.wantText(t, "rollback revert --service payments --environment prod --config "+config+" --to ")
	n.do(call{dir: elsewhere, env: env, args: pasted(t, s.stderr, "revert")}).wantExit(t, 0).wantText(t, "opened: ", "it pays ")
}
