package rollback

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWildcard(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"latest", "latest", true}, {"latest", "latest1", false}, {"lat*", "latest", true}, {"*", "", true}, {"", "", true}, {"", "x", false},
		{"*test", "latest", true}, {"l*t*t", "latest", true}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"**", "x", true}, {"a*a", "a", false},
	} {
		if got := wildcard(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q on %q: %t", tt.pattern, tt.s, got)
		}
	}
	for _, tt := range []struct {
		m    Mutability
		want bool
	}{
		{Mutability{}, true}, {Mutability{Immutable: true}, false},
		{Mutability{Immutable: true, Except: []string{"dev-*", "latest"}}, true}, {Mutability{Immutable: true, Except: []string{"dev-*"}}, false},
		{Mutability{Except: []string{"late*"}}, false}, {Mutability{Except: []string{"v*"}}, true},
	} {
		if got := tt.m.Movable("latest"); got != tt.want {
			t.Errorf("%+v: %t", tt.m, got)
		}
	}
}

func FuzzWildcard(f *testing.F) {
	f.Add("l*t", "latest")
	f.Add("***", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !strings.Contains(pattern, "*") && wildcard(pattern, s) != (pattern == s) {
			t.Errorf("%q on %q", pattern, s)
		}
		if !wildcard("*"+s+"*", "x"+s+"y") || !wildcard(pattern, strings.ReplaceAll(pattern, "*", s)) {
			t.Errorf("%q with %q", pattern, s)
		}
	})
}

const day = 24 * time.Hour

// TestFateByTheDocumentation evaluates the examples of
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html.
func TestFateByTheDocumentation(t *testing.T) {
	type in struct {
		name string
		tags []string
		age  time.Duration
	}
	prodBeta := []in{{"A", []string{"beta-1", "prod-1"}, 10 * day}, {"B", []string{"beta-2", "prod-2"}, 9 * day}, {"C", []string{"beta-3"}, 8 * day}}
	count := func(priority, n int, prefixes ...string) LifecycleRule {
		return LifecycleRule{Priority: priority, Tags: Tagged, Prefixes: prefixes, KeepCount: n}
	}
	patterns := func(priority, n int, patterns ...string) LifecycleRule {
		return LifecycleRule{Priority: priority, Tags: Tagged, Patterns: patterns, KeepCount: n}
	}
	for _, tt := range []struct {
		name    string
		images  []in
		rules   []LifecycleRule
		expired string
	}{
		{"several rules, A", prodBeta, []LifecycleRule{count(1, 1, "prod"), count(2, 1, "beta")}, "A"},
		{"several rules, B", prodBeta, []LifecycleRule{count(1, 1, "beta"), count(2, 1, "prod")}, "A B"},
		{"several rules, in any order of writing", prodBeta, []LifecycleRule{patterns(2, 1, "beta*"), patterns(1, 1, "prod*")}, "A"},
		{"several tags in one rule, A", []in{{"A", []string{"alpha-1"}, 12 * day}, {"B", []string{"beta-1"}, 11 * day}, {"C", []string{"alpha-2", "beta-2"}, 10 * day},
			{"D", []string{"alpha-3"}, 4 * day}, {"E", []string{"beta-3"}, 3 * day}, {"F", []string{"alpha-4", "beta-4"}, 2 * day}},
			[]LifecycleRule{{Priority: 1, Tags: Tagged, Patterns: []string{"alpha*", "beta*"}, OlderThan: 5 * day}}, "C"},
		{"several tags in one rule, B", []in{{"A", []string{"alpha-1", "beta-1", "gamma-1"}, 10 * day}, {"B", []string{"alpha-2", "beta-2"}, 9 * day}, {"C", []string{"alpha-3", "beta-3", "gamma-2"}, 8 * day}},
			[]LifecycleRule{count(1, 1, "alpha", "beta")}, "A B"},
		{"all images, A", []in{{"A", []string{"alpha-1"}, 4 * day}, {"B", []string{"beta-1"}, 3 * day}, {"C", nil, 2 * day}, {"D", []string{"alpha-2"}, 1 * day}},
			[]LifecycleRule{{Priority: 1, Tags: AnyImage, KeepCount: 1}}, "A B C"},
		{"all images, B", []in{{"A", []string{"alpha-1", "beta-1"}, 4 * day}, {"B", nil, 3 * day}, {"C", []string{"alpha-2"}, 2 * day}, {"D", []string{"git hash"}, 1*day + 2*time.Hour}, {"E", nil, day - time.Hour}},
			[]LifecycleRule{count(1, 1, "alpha"), {Priority: 2, Tags: Untagged, OlderThan: day}, {Priority: 3, Tags: AnyImage, KeepCount: 1}}, "A B D"},
	} {
		var all []Image
		for _, i := range tt.images {
			all = append(all, Image{Digest: DigestOf([]byte(i.name)), Tags: i.tags, PushedAt: epoch.Add(-i.age)})
		}
		var expired []string
		for n, i := range all {
			if f := FateOf(tt.rules, i, i.Tags, all, epoch); f.Rule != nil && f.Doubt == "" && !f.When.IsZero() && !f.When.After(epoch) {
				expired = append(expired, tt.images[n].name)
			}
		}
		if got := strings.Join(expired, " "); got != tt.expired {
			t.Errorf("%s: expired %s, want %s", tt.name, got, tt.expired)
		}
	}
}

func TestFate(t *testing.T) {
	pushed := epoch.Add(-2 * day)
	image := Image{Digest: some, PushedAt: pushed}
	var all []Image
	for n := range 3 {
		all = append(all, Image{Digest: DigestOf([]byte{byte(n)}), Tags: []string{"x"}, PushedAt: pushed.Add(time.Duration(n+1) * time.Hour)})
	}
	all = append(all, image)
	for _, tt := range []struct {
		name   string
		rule   LifecycleRule
		tags   []string
		all    []Image
		image  Image
		threat string
	}{
		{"age, soon", LifecycleRule{Priority: 4, Tags: AnyImage, OlderThan: 3 * day}, nil, nil, image, "lifecycle rule 4 deletes it from 2026-11-24 03:00 UTC on"},
		{"age, passed", LifecycleRule{Priority: 4, Tags: AnyImage, OlderThan: day, Archive: true}, nil, nil, image, "rule 4 archives it at its next run"},
		{"age, far", LifecycleRule{Tags: AnyImage, OlderThan: 90 * day}, nil, nil, image, ""},
		{"age, unknown", LifecycleRule{Tags: AnyImage, OlderThan: day}, nil, nil, Image{Digest: some}, "push time is not known"},
		{"count, tight", LifecycleRule{Priority: 1, Tags: AnyImage, KeepCount: 4}, nil, all, image, "rule 1 deletes it after 1 more push"},
		{"count, roomy", LifecycleRule{Tags: AnyImage, KeepCount: 100}, nil, all, image, ""},
		{"count, over", LifecycleRule{Tags: AnyImage, KeepCount: 3}, nil, all, image, "at its next run"},
		{"count, unknown", LifecycleRule{Priority: 2, Tags: AnyImage, KeepCount: 3}, nil, nil, image, "rule 2 keeps the newest 3, and the repository holds more"},
		{"count, no time", LifecycleRule{Tags: AnyImage, KeepCount: 3}, nil, all, Image{Digest: some}, "push time is not known"},
		{"unsupported", LifecycleRule{Priority: 7, Tags: AnyImage, Unsupported: "last pull time"}, nil, nil, image, "rule 7 counts by last pull time"},
		{"untagged rule, tagged image", LifecycleRule{Tags: Untagged, OlderThan: day}, []string{"latest"}, nil, image, ""},
		{"untagged rule, untagged image", LifecycleRule{Tags: Untagged, OlderThan: day}, nil, nil, image, "next run"},
		{"tagged rule, untagged image", LifecycleRule{Tags: Tagged, Prefixes: []string{"a"}, OlderThan: day}, nil, nil, image, ""},
		{"prefixes are all wanted", LifecycleRule{Tags: Tagged, Prefixes: []string{"a", "b"}, OlderThan: day}, []string{"a1"}, nil, image, ""},
	} {
		got := FateOf([]LifecycleRule{tt.rule}, tt.image, tt.tags, tt.all, epoch).Threat(epoch, lifecycleHorizon)
		if got != tt.threat && (tt.threat == "" || !strings.Contains(got, tt.threat)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.threat)
		}
	}
	// A rule of higher priority protects from those below, even if it does nothing itself.
	rules := []LifecycleRule{{Priority: 9, Tags: AnyImage, OlderThan: day}, {Priority: 1, Tags: Tagged, Prefixes: []string{"rollback-keep-"}, OlderThan: 365 * day}}
	if f := FateOf(rules, image, []string{KeepTag(some)}, nil, epoch); f.Threat(epoch, lifecycleHorizon) != "" || f.Rule.Priority != 1 {
		t.Errorf("%+v", f)
	}
	if rules[0].Priority != 9 || !slices.Equal(rules[1].Prefixes, []string{"rollback-keep-"}) {
		t.Error("the rules were sorted in place")
	}
	if f := FateOf(nil, image, nil, nil, epoch); f.Rule != nil || f.Threat(epoch, day) != "" {
		t.Errorf("no rules: %+v", f)
	}
}
