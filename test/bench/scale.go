package main

// 231 services and 1,000 pods on the real API server. test/e2e measures and asserts the counts, this tells them.

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// measured is one command at one size as TestScale in test/e2e writes it down.
type measured struct {
	Command                    string
	Services, Pods, Namespaces int
	Calls, Bytes               []int64
	RegistryCalls              []int64
	Walls                      []time.Duration
}

func (b *bench) scale(ctx context.Context) (section, error) {
	n := b.times(20)
	b.log("bringing up %d services on a real API server, twice", fleetSize)
	var rows []measured
	if err := b.e2e(ctx, "TestScale", n, &rows); err != nil {
		return section{}, err
	}
	t := table{head: []string{"services", "pods", "namespaces", "command", "calls to the API server", "kB of its answers", "calls to the registry", "ms", "n"}}
	for _, m := range rows {
		if len(m.Walls) == 0 {
			return section{}, fmt.Errorf("%s was not measured", m.Command)
		}
		t.add(fmt.Sprint(m.Services), fmt.Sprint(m.Pods), fmt.Sprint(m.Namespaces), "`"+m.Command+"`", fmt.Sprint(median(m.Calls)), kilobytes(median(m.Bytes)),
			fmt.Sprint(median(m.RegistryCalls)), ms(median(m.Walls)), fmt.Sprint(len(m.Walls)))
	}
	return section{
		title: "231 services on the real API server",
		method: fmt.Sprintf("The real API server, etcd and controllers (%s) with nodes stood in for. Calls and bytes are counted between the program and the API\n"+
			"server, as they are sent, watches left out of the calls. Counts are medians, too. `status --environment prod`, with and without `--tags`;\n"+
			"`plan` and `run` (a rollback to its end) of one service of three pods. `make e2e` fails when `status` or `plan` ask the API server anything else for 231\n"+
			"services than for one, or `status` in ten namespaces more than the same of each.", b.moduleVersion(ctx, filepath.Join(b.root, "test", "e2e"), "k8s.io/kubernetes")),
		tables: []table{t},
		limits: []string{
			"The API server compresses answers beyond 128 kB alone: ten namespaces of 100 pods are more bytes than one of 1,000.",
			"How often `run` looks while it waits depends on how long the pods take.",
		},
	}, nil
}
