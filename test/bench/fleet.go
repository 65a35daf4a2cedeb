package main

// status over an environment of 231 services, against one of a single service.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/demo"
	"github.com/rollback-tools/rollback/internal/fake/ecr"
)

// fleetSize is the number of services of the company that this program was made for.
const fleetSize = 231

// fleetOf starts a world of n services with a Deployment each.
func fleetOf(ctx context.Context, n, replicas int) (*site, error) {
	s, err := open(demo.Options{})
	if err != nil {
		return nil, err
	}
	for i := range n {
		name := fmt.Sprintf("service-%03d", i)
		s.Registry.CreateRepository(name)
		if _, err = s.Registry.Push(name, ecr.PushOptions{Tags: []string{demo.CommitOf(name), "latest"}, Content: name}); err == nil {
			err = s.Cluster.Apply(demo.Workload("Deployment", name, s.Image(name), replicas))
		}
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	for i := range n {
		if err := s.settle(ctx, fmt.Sprintf("deployments/service-%03d", i)); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (b *bench) fleet(ctx context.Context) (section, error) {
	t := table{head: []string{"services", "pods", "calls", "waves", "ms", "ms, 100 ms in each call", "kB of answers", "peak memory, MB", "n"}}
	var calls []string
	for _, z := range []struct{ services, replicas int }{{1, 2}, {fleetSize, 2}, {fleetSize, 4}} {
		s, err := fleetOf(ctx, z.services, z.replicas)
		if err != nil {
			return section{}, err
		}
		row, count, err := b.fleetRow(ctx, s, z.services, z.services*z.replicas)
		s.Close()
		if err != nil {
			return section{}, err
		}
		t.add(row...)
		calls = append(calls, count)
	}
	for i, c := range calls[1:] {
		if c != calls[0] {
			b.over = append(b.over, fmt.Sprintf("status: %s calls with 1 service, %s with %d (row %d)", calls[0], c, fleetSize, i+2))
		}
	}
	return section{
		title: "status over 231 services",
		method: "`rollback status --environment prod`, whole process. It lists each kind of object of the namespace once, so the number of calls must be the\n" +
			"same for one service and for 231.",
		tables: []table{t},
		limits: []string{
			"Objects of a real cluster are larger than the fake's, most of all by managedFields; a real API server compresses long answers.",
			"`--tags` asks the registry once for each service, 16 at a time: ECR has no call for several repositories.",
		},
	}, nil
}

func (b *bench) fleetRow(ctx context.Context, s *site, services, pods int) ([]string, string, error) {
	status := args("status", "--environment", demo.Environment)
	var walls []time.Duration
	var bytes, peaks []int64
	n := b.times(20)
	for range n {
		seen, err := b.do(ctx, s, status...)
		if err != nil {
			return nil, "", err
		}
		if got := strings.Count(seen.stdout, "service-"); got < services {
			return nil, "", fmt.Errorf("status shows %d of %d services", got, services)
		}
		walls = append(walls, seen.wall())
		bytes = append(bytes, bytesOf(seen.calls))
	}
	for range n {
		u, err := b.usageOf(ctx, s, status...)
		if err != nil {
			return nil, "", err
		}
		peaks = append(peaks, u.PeakBytes)
	}
	s.slow(latency)
	var d depths
	for range n {
		seen, err := b.do(ctx, s, status...)
		if err != nil {
			return nil, "", err
		}
		d.add(seen.wall(), seen.calls)
	}
	return []string{
		fmt.Sprint(services), fmt.Sprint(pods), span(d.counts), span(d.depth), ms(median(walls)), ms(median(d.walls)),
		kilobytes(median(bytes)), megabytes(median(peaks)), fmt.Sprint(n),
	}, span(d.counts), nil
}
