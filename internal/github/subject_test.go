package github

import "testing"

// A merge commit is told by what was merged; whatever is not GitHub's own headline stays as it is.
func TestSubject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ headline, body, want string }{
		{"Merge pull request #12 from acme/rounding", "Round amounts in the ledger", "Round amounts in the ledger"},
		{"Merge pull request #12 from acme/rounding", "\n\nRound amounts\nand more", "Round amounts"},
		{"Merge pull request #12 from acme/rounding", " \n", "Merge pull request #12 from acme/rounding"},
		{"Merge pull request #12 from acme/rounding into the ledger", "x", "Merge pull request #12 from acme/rounding into the ledger"},
		{"Round amounts (#12)", "because", "Round amounts (#12)"},
		{"Merge branch 'main' into rounding", "x", "Merge branch 'main' into rounding"},
	} {
		if got := subject(c.headline, c.body); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.headline, c.body, got, c.want)
		}
	}
}
