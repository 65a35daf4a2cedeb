package main

// Restart and wait: ours against kubectl, on the same cluster, in turns, and how late each notices the end.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/record"
)

const (
	restarted = "ledger" // the service that is restarted
	replicas  = 4
	// pace makes a pod with a cached image take about 300 ms to become ready.
	pace = 450 * time.Millisecond
)

// turnover is one restart as it was from the inside of the cluster and from outside.
type turnover struct {
	wall time.Duration
	ours time.Duration // from the last pod being ready to the journal's "rollout done"
	late time.Duration // from the last pod being ready to the end of the process
	told time.Duration // from the Deployment's status being complete to the end of the process
	lag  time.Duration // from the last pod being ready to the Deployment's status saying so
}

func (b *bench) restart(ctx context.Context) (section, error) {
	s, err := open(demo.Options{Pace: pace})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	if _, err := s.fill(restarted, 3); err != nil {
		return section{}, err
	}
	if err := s.Cluster.Apply(demo.Workload("Deployment", restarted, s.Image(restarted), replicas)); err != nil {
		return section{}, err
	}
	if err := s.settle(ctx, "deployments/"+restarted); err != nil {
		return section{}, err
	}
	cache := filepath.Join(s.Dir, "kubectl-cache")
	script := fmt.Sprintf(`k() { "$KUBECTL" --context acme-prod --cache-dir "$CACHE" -n %s "$@"; }; k rollout restart deployment/%s && k rollout status deployment/%s`,
		demo.Namespace, restarted, restarted)
	ways := []struct {
		name string
		run  func() (ended, error)
		here bool
	}{
		{"`rollback restart`", func() (ended, error) {
			return command(ctx, s.env, s.Dir, b.bin, args("restart", scope(restarted, "--reason", "bench", "--yes")...)...)
		}, true},
		{"`kubectl rollout restart` and `rollout status`", func() (ended, error) {
			return command(ctx, append(s.env[:len(s.env):len(s.env)], "KUBECTL="+b.tools.kubectl.path, "CACHE="+cache), s.Dir, "sh", "-c", script)
		}, b.tools.kubectl.path != ""},
	}
	out := section{
		title: "Restart and wait",
		method: fmt.Sprintf("A Deployment of %d pods, each of which takes about 300 ms to become ready, is restarted and waited for: ours and kubectl's, in turns, on the\n"+
			"same cluster. Most of the time is the pods' own; *late* is what the waiting costs: from the last new pod being ready in the cluster to the end of the\n"+
			"process. Ours surveys first, takes a lock, and writes a journal and a record; its own word \"rolled out\" is the journal's.", replicas),
		limits: []string{
			"kubectl restarts whatever it is told to; ours finds every workload that uses the image, so for a service of three workloads it is still one command.",
			"The digests: neither compares them here. `rollback run` and `rollback verify` do, kubectl has no such command.",
			"Network time of a watch: an event on a watch that is open is not delayed by the injected latency. kubectl's last word comes by watch; ours takes the event as a hint, looks once more (one wave), and releases its lock (one wave).",
			"A restart of kubectl within the same second as the one before does nothing; the bench leaves more time than that.",
		},
	}
	if b.tools.kubectl.path == "" {
		out.missing = append(out.missing, ways[1].name+": kubectl is not on PATH. "+b.tools.kubectl.hint)
	}
	found := make([][]turnover, len(ways))
	n := b.times(20)
	t := table{head: []string{"what", "latency, ms", "time, ms", "× ours", "late, ms", "late, p90", "after the status said so, ms", "\"rolled out\" said after, ms", "n"}}
	for _, d := range []time.Duration{0, latency} {
		for i := range found {
			found[i] = nil
		}
		s.slow(0)
		for i, w := range ways { // warm: kubectl's discovery cache, binaries in memory
			if w.here {
				if _, err := b.turn(ctx, s, i == 0, w.run); err != nil {
					return section{}, err
				}
			}
		}
		s.slow(d)
		b.log("restart with %s ms in each call", ms(d))
		for range n {
			for i, w := range ways {
				if !w.here {
					continue
				}
				turn, err := b.turn(ctx, s, i == 0, w.run)
				if err != nil {
					return section{}, err
				}
				found[i] = append(found[i], turn)
			}
		}
		pick := func(i int, f func(turnover) time.Duration) []time.Duration {
			var list []time.Duration
			for _, t := range found[i] {
				list = append(list, f(t))
			}
			return list
		}
		wall := func(t turnover) time.Duration { return t.wall }
		late := func(t turnover) time.Duration { return t.late }
		for i, w := range ways {
			if !w.here {
				t.add(w.name, ms(d), "not measured", "", "", "", "", "", "0")
				continue
			}
			said := "-"
			if i == 0 {
				said = ms(median(pick(0, func(t turnover) time.Duration { return t.ours })))
			}
			t.add(w.name, ms(d), ms(median(pick(i, wall))), ratio(median(pick(i, wall)), median(pick(0, wall))),
				ms(median(pick(i, late))), ms(quantile(pick(i, late), 0.9)), ms(median(pick(i, func(t turnover) time.Duration { return t.told }))), said, fmt.Sprint(n))
		}
		if d == 0 {
			t.note = fmt.Sprintf("The fake's own controller says so %s ms (median) after the last pod is ready; nobody who waits for the status can be faster.",
				ms(median(pick(0, func(t turnover) time.Duration { return t.lag }))))
		}
	}
	out.tables = []table{t}
	return out, nil
}

// turn restarts once, and looks into the cluster while the process waits.
func (b *bench) turn(ctx context.Context, s *site, ours bool, run func() (ended, error)) (turnover, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	old := map[string]bool{}
	for _, p := range pods(s) {
		old[uid(p)] = true
	}
	type inside struct {
		ready, complete time.Time
		err             error
	}
	seen := make(chan inside, 1)
	go func() {
		var in inside
		in.err = s.Cluster.Wait(ctx, func() bool { return turnedOver(pods(s), old) })
		in.ready = time.Now()
		if in.err == nil {
			in.err = s.settle(ctx, "deployments/"+restarted)
		}
		in.complete = time.Now()
		seen <- in
	}()
	e, err := run()
	if err != nil {
		cancel()
		<-seen
		return turnover{}, err
	}
	in := <-seen
	if in.err != nil {
		return turnover{}, fmt.Errorf("the process ended, but the cluster has not turned over: %w", in.err)
	}
	t := turnover{wall: e.wall(), late: e.at.Sub(in.ready), told: e.at.Sub(in.complete), lag: in.complete.Sub(in.ready)}
	if ours {
		said, err := saidRolledOut(e.stderr)
		if err != nil {
			return t, err
		}
		t.ours = said.Sub(in.ready)
	}
	// kubectl's stamp counts whole seconds: the next restart must be in another one.
	next := time.NewTimer(max(0, time.Until(e.begun.Truncate(time.Second).Add(1100*time.Millisecond))))
	defer next.Stop()
	select {
	case <-next.C:
	case <-ctx.Done():
	}
	return t, ctx.Err()
}

func pods(s *site) []map[string]any {
	return s.Cluster.List("pods", demo.Namespace, "app="+restarted)
}

func uid(pod map[string]any) string {
	meta, _ := pod["metadata"].(map[string]any)
	id, _ := meta["uid"].(string)
	return id
}

// turnedOver tells whether as many new pods are ready as there must be.
func turnedOver(pods []map[string]any, old map[string]bool) bool {
	ready := 0
	for _, p := range pods {
		meta, _ := p["metadata"].(map[string]any)
		if old[uid(p)] || meta["deletionTimestamp"] != nil {
			continue
		}
		status, _ := p["status"].(map[string]any)
		conditions, _ := status["conditions"].([]any)
		for _, c := range conditions {
			if c, _ := c.(map[string]any); c["type"] == "Ready" && c["status"] == "True" {
				ready++
			}
		}
	}
	return ready >= replicas
}

// saidRolledOut is when the run's journal, which the program names at its end, says that the rollout is done.
func saidRolledOut(stderr string) (time.Time, error) {
	_, rest, ok := strings.Cut(stderr, "journal: ")
	if !ok {
		return time.Time{}, errors.New("the program names no journal")
	}
	name, _, _ := strings.Cut(rest, "\n")
	f, err := os.Open(strings.TrimSpace(name))
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	events, err := record.ReadJournal(f)
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range events {
		if e.Type == "step.outcome" && e.Step == "rollout" {
			return e.Time, nil
		}
	}
	return time.Time{}, errors.New("the journal does not tell of a rollout")
}
