package e2e

import (
	"strings"
	"testing"
)

// A mask must not tell how fast the machine is, and must tell everything else.
func TestSpans(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"payments  3/3   9s     :latest":                 "payments  3/3   Ns     :latest",
		"mitigated, 1m ago; due in 58m":                  "mitigated, Ns ago; due in …1h0m0s",
		"mitigated, 2m3s ago; due in 1h":                 "mitigated, Ns ago; due in …1h0m0s",
		"pushed 27h ago":                                 "pushed 27h0m0s… ago",
		"pushed 27h3m ago":                               "pushed 27h0m0s… ago",
		"pushed 27h5m ago":                               "pushed 27h5m ago", // nobody pushed anything then
		"pushed 42m ago, 43m, 47m":                       "pushed 42m0s… ago, 42m0s…, 47m",
		"pushed 6d ago":                                  "pushed 144h0m0s… ago",
		"pushed 7d ago":                                  "pushed 7d ago",
		"pulled in 2ms (2ms including waiting)":          "pulled in Ns (Ns including waiting)",
		"not within 1m0s":                                "not within Ns",
		"sha256:27h, 5mB, x3d":                           "sha256:27h0m0s…, 5mB, x3d",
		"timeout 10m0s":                                  "timeout 10m0s",
		"the node tries again within 5 minutes, at 12:3": "the node tries again within 5 minutes, at 12:3",
	} {
		if got := spans(said); got != want {
			t.Errorf("%q is masked as %q, want %q", said, got, want)
		}
	}
}

// A step that was slow reads as one that was quick.
func TestStepLines(t *testing.T) {
	t.Parallel()
	const quick = "✔ claim     lock payments/prod\n✔ keep      keep it: already so: x\n◎ merge     wait for its merge: pending: #5\n✗ rollout   wait: failed\n✗ it broke: wait\n"
	for _, said := range []string{
		quick,
		"► claim     lock payments/prod\n✔ claim     done\n✔ keep      keep it: already so: x\n► merge     wait for its merge\n◎ merge     pending: #5\n► rollout   wait\n  a note\n✗ rollout   failed\n✗ it broke: wait\n",
	} {
		if got := stepLines(strings.ReplaceAll(said, "  a note\n", "")); got != quick {
			t.Errorf("%s\nreads\n%s\nwant\n%s", said, got, quick)
		}
	}
}
