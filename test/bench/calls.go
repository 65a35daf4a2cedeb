package main

// The calls that the two fakes saw, and how many of them had to wait for one another.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// call is one request as its server saw it.
type call struct {
	op         string
	start, end time.Time
	bytes      int64
}

// write tells whether the call changes something that others see.
func (c call) write() bool {
	return strings.HasPrefix(c.op, "PutImage") || strings.HasPrefix(c.op, "PATCH ") || strings.HasPrefix(c.op, "UPDATE ") ||
		strings.HasPrefix(c.op, "CREATE configmaps")
}

func (c call) patch() bool { return strings.HasPrefix(c.op, "PATCH ") }

// calls turns the fakes' logs into one, by time of arrival. Watches are left out: they stay open, and nothing waits for
// their end. So are the nodes, that pull.
func calls(logs ...[]fake.Request) []call {
	var list []call
	for _, log := range logs {
		for _, r := range log {
			if !strings.HasPrefix(r.Op, "WATCH ") && !strings.HasPrefix(r.Op, fake.PullOp) {
				list = append(list, call{r.Op, r.Start, r.Time, r.Bytes})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b call) int { return a.start.Compare(b.start) })
	return list
}

// inWaves sorts calls into waves: a call is in the wave after the last one that it could have waited for, of which it came
// after the answer. The number of waves is that of the longest sequence of calls each of which came after the answer of the
// one before. What depended on each other is in such a sequence, so no more waves were needed; a call that only happened
// to come later is in it too. slack is by how much a call may come before an answer that still counts as its cause: the
// server notes the end of an answer a moment after the client has it. It must be well below the injected latency.
func inWaves(list []call, slack time.Duration) [][]call {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b call) int { return a.end.Compare(b.end) })
	var waves [][]call
	depth := make([]int, len(list))
	for i := range list {
		for j := range i {
			if !list[j].end.After(list[i].start.Add(slack)) {
				depth[i] = max(depth[i], depth[j]+1)
			}
		}
		if depth[i] == len(waves) {
			waves = append(waves, nil)
		}
		waves[depth[i]] = append(waves[depth[i]], list[i])
	}
	return waves
}

// untilPatch are the calls from the first write to the first restart of a workload, and what was sent together with that.
func untilPatch(list []call) []call {
	first := slices.IndexFunc(list, call.write)
	patch := slices.IndexFunc(list, call.patch)
	if first < 0 || patch < 0 {
		return nil
	}
	var window []call
	for _, c := range list {
		if !c.start.Before(list[first].start) && !c.start.After(list[patch].start.Add(slack)) {
			window = append(window, c)
		}
	}
	return window
}

// reads are the calls before the first write.
func reads(list []call) []call {
	if first := slices.IndexFunc(list, call.write); first >= 0 {
		return list[:first]
	}
	return list
}

// told says waves in words.
func told(waves [][]call) string {
	words := make([]string, len(waves))
	for i, w := range waves {
		words[i] = fmt.Sprintf("(%d) %s", i+1, tally(w))
	}
	return strings.Join(words, " → ")
}

// tally counts the calls by operation, the most frequent first.
func tally(list []call) string {
	counts := map[string]int{}
	var ops []string
	for _, c := range list {
		if counts[c.op]++; counts[c.op] == 1 {
			ops = append(ops, c.op)
		}
	}
	slices.SortFunc(ops, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	for i, op := range ops {
		if counts[op] > 1 {
			ops[i] = fmt.Sprintf("%d %s", counts[op], op)
		}
	}
	return strings.Join(ops, ", ")
}

func bytesOf(list []call) int64 {
	var n int64
	for _, c := range list {
		n += c.bytes
	}
	return n
}
