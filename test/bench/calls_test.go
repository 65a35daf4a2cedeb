package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/fake"
)

// at makes a call that lasts from one millisecond to another.
func at(op string, from, to int) call {
	t0 := time.Unix(1_700_000_000, 0)
	return call{op: op, start: t0.Add(time.Duration(from) * time.Millisecond), end: t0.Add(time.Duration(to) * time.Millisecond)}
}

func TestInWaves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls []call
		want  string
	}{
		"none":               {nil, ""},
		"one":                {[]call{at("a", 0, 100)}, "(1) a"},
		"one wave":           {[]call{at("a", 0, 100), at("b", 5, 102), at("c", 60, 170)}, "(1) a, b, c"},
		"two waves":          {[]call{at("a", 0, 100), at("b", 1, 130), at("c", 131, 240), at("c", 132, 235)}, "(1) a, b → (2) 2 c"},
		"end noted late":     {[]call{at("a", 0, 103), at("b", 101, 205)}, "(1) a → (2) b"},
		"beside a long one":  {[]call{at("a", 0, 500), at("b", 0, 100), at("c", 100, 200), at("d", 200, 300)}, "(1) a, b → (2) c → (3) d"},
		"not in order given": {[]call{at("c", 210, 320), at("a", 0, 100), at("b", 105, 208)}, "(1) a → (2) b → (3) c"},
		"waits for the slow": {[]call{at("a", 0, 100), at("b", 0, 200), at("c", 201, 300)}, "(1) a, b → (2) c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := told(inWaves(c.calls, 20*time.Millisecond)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestUntilPatch(t *testing.T) {
	t.Parallel()
	list := []call{
		at("LIST pods", 0, 100), at("CREATE selfsubjectreviews", 0, 100), at("BatchGetImage", 100, 200),
		at("CREATE configmaps", 210, 310), at("PutImage", 310, 410), at("DescribeImages", 310, 411), at("UPDATE configmaps/x", 311, 412),
		at("PutImage", 412, 512), at("PATCH deployments/payments", 513, 613), at("PATCH statefulsets/worker", 514, 614), at("LIST pods", 620, 720),
	}
	for what, c := range map[string]struct {
		got  []call
		want string
	}{
		"to the restart": {untilPatch(list), "(1) CREATE configmaps → (2) DescribeImages, PutImage, UPDATE configmaps/x → (3) PutImage → (4) PATCH deployments/payments, PATCH statefulsets/worker"},
		"reads":          {reads(list), "(1) CREATE selfsubjectreviews, LIST pods → (2) BatchGetImage"},
		"no write":       {untilPatch(list[:3]), ""},
		"reads alone":    {reads(list[:2]), "(1) CREATE selfsubjectreviews, LIST pods"},
	} {
		if got := told(inWaves(c.got, 20*time.Millisecond)); got != c.want {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1_700_000_000, 0)
	got := calls(
		[]fake.Request{{Op: "PutImage", Start: t0.Add(2), Time: t0.Add(5), Bytes: 7}, {Op: "WATCH pods", Start: t0, Time: t0.Add(900)}},
		[]fake.Request{{Op: "LIST pods", Start: t0.Add(1), Time: t0.Add(9), Bytes: 30}})
	if tally(got) != "LIST pods, PutImage" || got[0].op != "LIST pods" || bytesOf(got) != 37 {
		t.Errorf("got %v", got)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []time.Duration{9, 1, 5, 3, 7}
	got := []time.Duration{quantile([]time.Duration(nil), 0.5), quantile(values[:1], 0.9), median(values), median(values[:4]), quantile(values, 0), quantile(values, 1)}
	if d := cmp.Diff([]time.Duration{0, 9, 5, 4, 1, 9}, got); d != "" {
		t.Error(d)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{ms(1234567 * time.Nanosecond), "1.2"}, {ms(123456789 * time.Nanosecond), "123"}, {ms(-400 * time.Microsecond), "-0.4"},
		{ratio(300, 20), "15×"}, {ratio(30, 20), "1.5×"}, {ratio(10, 20), "0.50×"}, {ratio(1, 0), "-"},
		{span([]int{3, 3}), "3"}, {span([]int{4, 3}), "3 to 4"}, {span(nil), "-"},
		{megabytes(24_170_658), "24.2"}, {plural(1, "core", "cores"), "1 core"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
	s := section{title: "T", method: "M", tables: []table{{head: []string{"a", "b"}, rows: [][]string{{"x|y", "1"}}, note: "N"}}, missing: []string{"crane: install it"}, limits: []string{"L"}}
	want := "\n## T\n\nM\n\n| a | b |\n| --- | --- |\n| x\\|y | 1 |\n\nN\n\n**Not measured:** crane: install it\n\nWhat this does not show:\n\n- L\n"
	if got := page([]string{"date: today"}, []section{s}, nil); got[len(got)-len(want):] != want {
		t.Errorf("got %s", got)
	}
	if got, want := s.text(), "\nT\n\n  a    b\n  x|y  1\n  N\n  NOT MEASURED: crane: install it\n"; got != want {
		t.Errorf("got %q", got)
	}
}
