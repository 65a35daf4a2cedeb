package commands

// The difference of two short texts, for people.

import (
	"fmt"
	"strings"
)

// unified is what has to change to get from one text to another, as `diff -u` writes it; "" if nothing has. The texts are
// short: the time it takes grows with the product of their lines.
func unified(nameA, nameB string, a, b []string) string {
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	type line struct {
		mark byte
		text string
		a, b int // lines of each text before it
	}
	var lines []line
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			lines = append(lines, line{' ', a[i], i, j})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, line{'-', a[i], i, j})
			i++
		default:
			lines = append(lines, line{'+', b[j], i, j})
			j++
		}
	}
	const around = 3
	var out strings.Builder
	for at := 0; at < len(lines); {
		if lines[at].mark == ' ' {
			at++
			continue
		}
		from, to := max(0, at-around), at
		for next := at; next < len(lines) && next <= to+2*around+1; next++ { // up to where the next change is too far
			if lines[next].mark != ' ' {
				to = next
			}
		}
		at = min(len(lines), to+1+around)
		if out.Len() == 0 {
			out.WriteString("--- " + nameA + "\n+++ " + nameB + "\n")
		}
		var body strings.Builder
		inA, inB := 0, 0
		for _, l := range lines[from:at] {
			if l.mark != '+' {
				inA++
			}
			if l.mark != '-' {
				inB++
			}
			body.WriteString(string(l.mark) + l.text + "\n")
		}
		fmt.Fprintf(&out, "@@ -%s +%s @@\n%s", hunk(lines[from].a, inA), hunk(lines[from].b, inB), body.String())
	}
	return out.String()
}

// hunk is where a piece of a text stands: its first line, and how many there are. An empty one stands behind a line.
func hunk(before, lines int) string {
	if lines > 0 {
		before++
	}
	if lines == 1 {
		return fmt.Sprint(before)
	}
	return fmt.Sprintf("%d,%d", before, lines)
}
