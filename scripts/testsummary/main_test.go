package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSummarise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     []string
		not      string
		sums     sums
		ok       bool
	}{
		{"all well", `{"Action":"output","Package":"a","Test":"TestX","Output":"chatter\n"}
{"Action":"pass","Package":"a","Test":"TestX"}
{"Action":"pass","Package":"a","Test":"TestFaults/throttled"}
{"Action":"skip","Package":"a","Test":"TestZ"}
{"Action":"pass","Package":"a","Elapsed":1.5}
{"Action":"skip","Package":"none"}
`, []string{"ok    a ", "1.5 s     3 tests"}, "chatter", sums{3, 1, 0, 1}, true},
		{"one fails", `{"Action":"output","Package":"a","Test":"TestX","Output":"want 1\n"}
{"Action":"fail","Package":"a","Test":"TestX"}
{"Action":"fail","Package":"a"}
{"Action":"pass","Package":"b","Test":"TestY"}`, []string{"--- a\nwant 1\n", "FAIL  a ", "1 of 1 tests failed"}, "ok", sums{2, 0, 1, 0}, false},
		{"a panic", `{"Action":"output","Package":"a","Output":"panic: x\n"}
{"Action":"fail","Package":"a"}
{"Action":"pass","Package":"b","Test":"TestY"}`, []string{"panic: x"}, "--- a", sums{1, 0, 0, 0}, false},
		{"no build", `{"Action":"build-output","ImportPath":"a","Output":"x.go:1: undefined\n"}
{"Action":"build-fail","ImportPath":"a"}
{"Action":"pass","Package":"b","Test":"TestY"}`, []string{"x.go:1: undefined"}, "ok", sums{1, 0, 0, 0}, false},
		{"no JSON", "go: cannot find main module\n", []string{"cannot find main module"}, "ok", sums{}, false},
		{"nothing", "", nil, "ok", sums{}, false},
	} {
		var out bytes.Buffer
		got, ok := summarise(strings.NewReader(c.in), &out)
		if got != c.sums || ok != c.ok {
			t.Errorf("%s: %+v, ok %v", c.name, got, ok)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", c.name, want, &out)
			}
		}
		if strings.Contains(out.String(), c.not) {
			t.Errorf("%s: %q is in\n%s", c.name, c.not, &out)
		}
	}
}
