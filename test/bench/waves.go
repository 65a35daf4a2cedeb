package main

// How many waves of calls each command needs, with 100 ms injected into every call.

import (
	"context"
	"fmt"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
)

// wavesAllowed is the most for a plan, and for the way from the confirmation to the restart.
const wavesAllowed = 4

// depths gathers what repetitions of one command needed.
type depths struct {
	what   string
	bound  int // 0 for none
	walls  []time.Duration
	counts []int // of calls
	depth  []int
	deep   [][]call // the most waves seen
}

func (d *depths) add(wall time.Duration, list []call) {
	w := inWaves(list, slack)
	d.walls = append(d.walls, wall)
	d.counts = append(d.counts, len(list))
	d.depth = append(d.depth, len(w))
	if len(w) > len(d.deep) {
		d.deep = w
	}
}

// row is one line of the table of waves; less is what is no call: the start of the process.
func (d *depths) row(b *bench, less time.Duration) []string {
	bound := "-"
	if d.bound > 0 {
		bound = fmt.Sprintf("≤ %d", d.bound)
		if len(d.deep) > d.bound {
			bound += " EXCEEDED"
			b.over = append(b.over, fmt.Sprintf("%s: %d waves, allowed are %d (%s)", d.what, len(d.deep), d.bound, told(d.deep)))
		}
	}
	wall := median(d.walls) - less
	return []string{
		d.what, span(d.depth), bound, fmt.Sprintf("%.1f", float64(wall)/float64(latency)), ms(wall), span(d.counts), fmt.Sprint(len(d.walls)),
	}
}

var wavesHead = []string{"command", "waves", "allowed", "time / 100 ms", "time, ms", "calls", "n"}

func (b *bench) waves(ctx context.Context) (section, error) {
	s, err := open(demo.Options{})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	if err := s.Seed(ctx); err != nil {
		return section{}, err
	}
	bad, good := s.Releases[len(s.Releases)-1], s.Releases[len(s.Releases)-2]
	s.slow(latency)
	n := b.times(20)

	reading := []struct {
		d    depths
		args []string
	}{
		{depths{what: "plan --to COMMIT", bound: wavesAllowed}, args("plan", scope("payments", "--to", good.Commit)...)},
		{depths{what: "plan --to COMMIT, 12 digits of it", bound: wavesAllowed}, args("plan", scope("payments", "--to", good.Commit[:12])...)},
		{depths{what: "plan --to previous", bound: wavesAllowed}, args("plan", scope("payments", "--to", "previous")...)},
		{depths{what: "candidates"}, args("candidates", scope("payments")...)},
		{depths{what: "status, one environment"}, args("status", "--environment", demo.Environment)},
		{depths{what: "status, one service"}, args("status", scope("payments")...)},
		{depths{what: "status --tags"}, args("status", "--environment", demo.Environment, "--tags")},
		{depths{what: "verify"}, args("verify", scope("payments")...)},
	}
	for range n {
		for i := range reading {
			r := &reading[i]
			seen, err := b.do(ctx, s, r.args...)
			if err != nil {
				return section{}, err
			}
			r.d.add(seen.wall(), seen.calls)
		}
	}
	b.log("waves of run and undo")

	// run and undo in turns. What the servers saw is cut at the first write, which follows the confirmation, and at the
	// first restart.
	acting := map[string]*[3]depths{}
	order := []string{"run --to COMMIT", "run (--to previous)", "undo"}
	for _, name := range order {
		acting[name] = &[3]depths{
			{what: name + ": until the confirmation", bound: wavesAllowed},
			{what: name + ": from the confirmation to the restart", bound: wavesAllowed},
			{what: name + ": to the end"},
		}
	}
	act := func(name string, args ...string) error {
		seen, err := b.do(ctx, s, args...)
		if err != nil {
			return err
		}
		window := untilPatch(seen.calls)
		if len(window) == 0 {
			return fmt.Errorf("%s restarted nothing: %s", name, tally(seen.calls))
		}
		d := acting[name]
		before := reads(seen.calls)
		d[0].add(ending(before).Sub(before[0].start), before)
		d[1].add(ending(window).Sub(window[0].start), window)
		d[2].add(seen.wall(), seen.calls)
		return s.settle(ctx, "deployments/payments", "statefulsets/payments-worker")
	}
	for i := range 2 * n {
		name, to := order[0], good.Commit
		if i%2 == 1 {
			name, to = order[1], "previous"
		}
		if err := act(name, args("run", scope("payments", "--to", to, "--reason", "bench", "--yes")...)...); err != nil {
			return section{}, err
		}
		if got := s.Registry.Tags("payments")["latest"]; got != good.Digest {
			return section{}, fmt.Errorf("%s: latest names %s, want %s", name, got, good.Digest)
		}
		if err := act("undo", args("undo", scope("payments", "--reason", "bench", "--yes")...)...); err != nil {
			return section{}, err
		}
		if got := s.Registry.Tags("payments")["latest"]; got != bad.Digest {
			return section{}, fmt.Errorf("undo: latest names %s, want %s", got, bad.Digest)
		}
		if err := s.forgetRollbacks("payments"); err != nil {
			return section{}, err
		}
	}

	t := table{head: wavesHead}
	which := "Which calls make the waves (of the repetition with the most):\n"
	for i := range reading {
		t.add(reading[i].d.row(b, b.start)...)
		which += fmt.Sprintf("\n- %s: %s", reading[i].d.what, told(reading[i].d.deep))
	}
	for _, name := range order {
		d := acting[name]
		t.add(d[0].row(b, 0)...)
		t.add(d[1].row(b, 0)...)
		t.add(d[2].row(b, b.start)...)
		which += fmt.Sprintf("\n- %s: %s", d[1].what, told(d[1].deep))
	}
	t.note = which
	return section{
		title: "Waves",
		method: fmt.Sprintf("100 ms are injected into every call of both systems. *Waves* is the longest sequence of calls each of which came after the answer of the\n"+
			"one before, from the servers' logs; what the record is sent in the background counts, too. *Time / 100 ms* is the check from outside: the median\n"+
			"time, less the %s ms in which the process starts. The service has a Deployment and a StatefulSet and a repository of one page (%d images,\n"+
			"multi-arch). A range is least to most.",
			ms(b.start), len(s.Registry.Images("payments"))),
		tables: []table{t},
		limits: []string{
			"TCP connections and TLS handshakes: only calls are delayed. Over a real network the first wave costs two to three round trips more; later waves use its connections again.",
			"The way to the end of `run` and `undo` holds the pods' turning over, a settle time of 50 ms, and looks at the pods whenever one changes: those are waiting, not waves.",
			"A registry page holds 1,000 images: every further one is one more wave for `--to previous` and `candidates`, see the next section.",
			"Watches are not counted: they are open beside everything else, and nothing waits for them.",
		},
	}, nil
}

// ending is when the last of some calls was answered.
func ending(list []call) time.Time {
	var t time.Time
	for _, c := range list {
		if c.end.After(t) {
			t = c.end
		}
	}
	return t
}
