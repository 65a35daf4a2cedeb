package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// distance counts the insertions, deletions, replacements and swaps of neighbours between two words ("optimal string
// alignment"), without regard to case, dashes and underscores.
func distance(a, b string) int {
	x, y := []rune(plain(a)), []rune(plain(b))
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			change := 1
			if x[i] == y[j] {
				change = 0
			}
			row[j+1] = min(row[j]+1, last[j+1]+1, last[j]+change)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}

func plain(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
}

// near tells whether one word is likely meant for the other: one slip in three letters, three at most.
func near(a, b string) bool {
	n := max(len(a), len(b))
	if n > 200 { // nobody means that
		return false
	}
	return distance(a, b) <= min(3, max(1, n/3))
}

// byDistance is known, nearest to word first.
func byDistance(word string, known []string) []string {
	if len(word) > 200 {
		word = word[:200]
	}
	d := make(map[string]int, len(known))
	for _, k := range known {
		d[k] = distance(word, k)
	}
	out := slices.Clone(known)
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(d[a], d[b]), cmp.Compare(a, b)) })
	return out
}

// knownLimit is how many names a message lists.
const knownLimit = 12

// suggest is the end of a message about an unknown word: the nearest one, or the known ones, nearest first.
func suggest(word string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	known = byDistance(word, known)
	if near(word, known[0]) {
		return fmt.Sprintf("did you mean %q?", known[0])
	}
	return "known: " + listed(known)
}

func listed(known []string) string {
	if n := len(known) - knownLimit; n > 1 {
		return strings.Join(known[:knownLimit], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(known, ", ")
}
