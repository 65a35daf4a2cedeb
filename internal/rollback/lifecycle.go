package rollback

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fate is what a repository's lifecycle rules will do to one image.
type Fate struct {
	// Rule is the rule that would act; nil if none would.
	Rule *LifecycleRule
	// When it may happen: the rules run within 24 hours of an image meeting them, so this is the earliest moment. Zero when
	// Rule is nil, and when a count decides and the next pushes do.
	When time.Time
	// Spare is how many newer images may still be pushed before a count rule acts; -1 where an age decides.
	Spare int
	// Doubt says why the fate is not certain (rules that cannot be evaluated, a repository too large to count); "" if it is.
	Doubt string
}

// matches tells whether the rule looks at an image with these tags. A rule with several prefixes or patterns looks only at
// images that meet every one of them.
func (r LifecycleRule) matches(tags []string) bool {
	switch r.Tags {
	case Untagged:
		return len(tags) == 0
	case Tagged:
		if len(tags) == 0 {
			return false
		}
		for _, p := range r.Prefixes {
			if !slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, p) }) {
				return false
			}
		}
		for _, p := range r.Patterns {
			if !slices.ContainsFunc(tags, func(t string) bool { return wildcard(p, t) }) {
				return false
			}
		}
	}
	return true
}

// FateOf evaluates the rules for image as if it carried tags. all are the repository's images, nil when they are not known
// to be complete; then a count rule gives doubt instead of an answer.
//
// An image belongs to the first rule, by priority, whose tag selection it meets, whether or not that rule acts on it: rules
// of lower priority never act on it, but they count it
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html, the last of its expiry examples).
func FateOf(rules []LifecycleRule, image Image, tags []string, all []Image, now time.Time) Fate {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b LifecycleRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for i := range rules {
		r := &rules[i]
		if !r.matches(tags) {
			continue
		}
		switch {
		case r.Unsupported != "":
			return Fate{Rule: r, Spare: -1, Doubt: fmt.Sprintf("rule %d counts by %s, which cannot be evaluated from outside", r.Priority, r.Unsupported)}
		case r.OlderThan > 0:
			if image.PushedAt.IsZero() {
				return Fate{Rule: r, Spare: -1, Doubt: "the image's push time is not known"}
			}
			return Fate{Rule: r, When: image.PushedAt.Add(r.OlderThan), Spare: -1}
		case r.KeepCount > 0:
			if all == nil {
				return Fate{Rule: r, Doubt: fmt.Sprintf("rule %d keeps the newest %d, and the repository holds more images than were read", r.Priority, r.KeepCount)}
			}
			if image.PushedAt.IsZero() {
				return Fate{Rule: r, Spare: -1, Doubt: "the image's push time is not known"}
			}
			newer := 0
			for _, other := range all {
				if other.Digest != image.Digest && r.matches(other.Tags) && other.PushedAt.After(image.PushedAt) {
					newer++
				}
			}
			f := Fate{Rule: r, Spare: max(r.KeepCount-1-newer, 0)}
			if newer >= r.KeepCount {
				f.When = now
			}
			return f
		}
	}
	return Fate{Spare: -1}
}

// Threat is the fate in words, "" when the image is safe for the next horizon.
func (f Fate) Threat(now time.Time, horizon time.Duration) string {
	if f.Rule == nil {
		return ""
	}
	act := "deletes"
	if f.Rule.Archive {
		act = "archives"
	}
	switch {
	case f.Doubt != "":
		return "lifecycle: " + f.Doubt
	case f.Spare >= 0 && f.When.IsZero():
		if f.Spare > 5 {
			return ""
		}
		return fmt.Sprintf("lifecycle rule %d %s it after %s", f.Rule.Priority, act, plural(f.Spare+1, "more push", "more pushes"))
	case !f.When.After(now):
		return fmt.Sprintf("lifecycle rule %d %s it at its next run, within 24 hours", f.Rule.Priority, act)
	case f.When.Before(now.Add(horizon)):
		return fmt.Sprintf("lifecycle rule %d %s it from %s on", f.Rule.Priority, act, f.When.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return ""
}

// plural puts the count before the right word.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
