package main

// Whether cost grows with the number of images in a repository.

import (
	"context"
	"fmt"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
)

func (b *bench) repository(ctx context.Context) (section, error) {
	s, err := open(demo.Options{})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	sizes := []struct {
		service string
		images  int
	}{{"small", 100}, {"large", 10_000}}
	targets := map[string]string{}
	for _, z := range sizes {
		commits, err := s.fill(z.service, z.images)
		if err != nil {
			return section{}, err
		}
		targets[z.service] = commits[len(commits)/2]
		if err := s.Cluster.Apply(demo.Workload("Deployment", z.service, s.Image(z.service), 3)); err != nil {
			return section{}, err
		}
		if err := s.settle(ctx, "deployments/"+z.service); err != nil {
			return section{}, err
		}
	}
	commands := []struct {
		what string
		args func(service string) []string
		flat bool // the calls must not grow
	}{
		{"plan --to COMMIT", func(v string) []string { return args("plan", scope(v, "--to", targets[v])...) }, true},
		{"plan --to COMMIT, 12 digits of it", func(v string) []string { return args("plan", scope(v, "--to", targets[v][:12])...) }, false},
		{"plan --to previous", func(v string) []string { return args("plan", scope(v, "--to", "previous")...) }, false},
		{"candidates", func(v string) []string { return args("candidates", scope(v)...) }, false},
		{"verify", func(v string) []string { return args("verify", scope(v)...) }, true},
	}
	type cell struct {
		quick []time.Duration // without latency
		slow  depths
	}
	cells := map[string]*cell{}
	at := func(what, service string) *cell {
		key := what + "/" + service
		if cells[key] == nil {
			cells[key] = &cell{}
		}
		return cells[key]
	}
	for _, d := range []time.Duration{0, latency} {
		s.slow(d)
		n := b.times(20)
		if d > 0 {
			n = b.times(5)
		}
		for range n {
			for _, c := range commands {
				for _, z := range sizes {
					seen, err := b.do(ctx, s, c.args(z.service)...)
					if err != nil {
						return section{}, err
					}
					if x := at(c.what, z.service); d == 0 {
						x.quick = append(x.quick, seen.wall())
					} else {
						x.slow.add(seen.wall(), seen.calls)
					}
				}
			}
		}
	}
	t := table{head: []string{"command", "calls, 100 images", "calls, 10,000 images", "waves, 100", "waves, 10,000", "ms, 100", "ms, 10,000", "ratio"}}
	for _, c := range commands {
		small, large := at(c.what, "small"), at(c.what, "large")
		t.add(c.what, span(small.slow.counts), span(large.slow.counts), span(small.slow.depth), span(large.slow.depth),
			ms(median(small.quick)), ms(median(large.quick)), ratio(median(large.quick), median(small.quick)))
		if a, z := span(small.slow.counts), span(large.slow.counts); c.flat && a != z {
			b.over = append(b.over, fmt.Sprintf("%s: %s calls with 100 images, %s with 10,000", c.what, a, z))
		}
	}
	t.note = fmt.Sprintf("ms: whole process without latency, median of %d, in turns; calls and waves: %d runs with 100 ms in every call, from the least to the most.", b.times(20), b.times(5))
	return section{
		title: "100 images and 10,000 images in a repository",
		method: "The same service twice, once with a repository of 100 images, once with 10,000; each image carries a commit tag of 40 digits. A target that is\n" +
			"named by its whole tag costs the same in both. `--to previous`, `candidates` and the beginning of a commit need the list of tags, which ECR\n" +
			"gives in no order and 1,000 a page, each page after the one before.",
		tables: []table{t},
		limits: []string{
			"How long ECR itself takes for a page of 1,000 images: the fake answers from memory.",
			"With a lifecycle policy that counts images (keep the last N) a named target costs one page more, whatever the repository's size; there is none here.",
		},
	}, nil
}
