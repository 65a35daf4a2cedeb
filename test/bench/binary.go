package main

// What the program costs by itself: size, start, memory.

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
)

// sizeAllowed is the largest binary we ship, in bytes; the Makefile holds it too.
const sizeAllowed = 25_000_000

func (b *bench) binary(ctx context.Context) (section, error) {
	info, err := os.Stat(b.bin)
	if err != nil {
		return section{}, err
	}
	if info.Size() > sizeAllowed {
		b.over = append(b.over, fmt.Sprintf("the binary has %d bytes, allowed are %d", info.Size(), sizeAllowed))
	}
	s, err := open(demo.Options{})
	if err != nil {
		return section{}, err
	}
	defer s.Close()
	if err := s.Seed(ctx); err != nil {
		return section{}, err
	}
	n := b.times(40)
	var walls, nothing []time.Duration
	for range n {
		e, err := command(ctx, s.env, s.Dir, b.bin, "--version")
		if err != nil {
			return section{}, err
		}
		walls = append(walls, e.wall())
		if e, err = command(ctx, s.env, s.Dir, "true"); err != nil {
			return section{}, err
		}
		nothing = append(nothing, e.wall())
	}
	t := table{head: []string{"what", "median", "p90", "unit", "n"}}
	t.add("size of the binary, static and stripped (allowed: 25.0)", megabytes(info.Size()), "", "MB", "1")
	t.add("`--version`: start to end of the process", ms(median(walls)), ms(quantile(walls, 0.9)), "ms", fmt.Sprint(n))
	t.add("`true`, the same way: what starting any process costs here", ms(median(nothing)), ms(quantile(nothing, 0.9)), "ms", fmt.Sprint(n))

	good := s.Releases[len(s.Releases)-2]
	peaks := map[string][]int64{}
	order := []string{"--version", "plan", "run", "undo"}
	for range b.times(20) {
		for _, c := range [][]string{
			{"--version"},
			args("plan", scope("payments", "--to", good.Commit)...),
			args("run", scope("payments", "--to", good.Commit, "--reason", "bench", "--yes")...),
			args("undo", scope("payments", "--reason", "bench", "--yes")...),
		} {
			u, err := b.usageOf(ctx, s, c...)
			if err != nil {
				return section{}, err
			}
			peaks[c[0]] = append(peaks[c[0]], u.PeakBytes)
		}
		if err := s.forgetRollbacks("payments"); err != nil {
			return section{}, err
		}
	}
	for _, c := range order {
		t.add("peak memory of `"+strings.TrimSpace(c)+"`", megabytes(median(peaks[c])), megabytes(quantile(peaks[c], 0.9)), "MB", fmt.Sprint(len(peaks[c])))
	}
	return section{
		title:  "Binary, start, memory",
		method: "Peak memory is the largest resident set the kernel saw of the process (ru_maxrss); that of `status` over 231 services is in its section.",
		tables: []table{t},
		limits: []string{"The first start after a download reads the binary from the disk; these starts found it in memory."},
	}, nil
}
