package main

// The numbers as tables: on the terminal, and as docs/benchmarks.md.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// section is one part's result.
type section struct {
	title  string
	method string // one paragraph: what was done, and how to read it
	tables []table
	limits []string // what the numbers do not show
	// missing are rows that could not be measured, with the command that would help.
	missing []string
}

type table struct {
	head []string
	rows [][]string
	note string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// text is the section for a terminal.
func (s section) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", s.title)
	for _, t := range s.tables {
		width := make([]int, len(t.head))
		for _, row := range append([][]string{t.head}, t.rows...) {
			for i, c := range row {
				width[i] = max(width[i], len([]rune(c)))
			}
		}
		b.WriteByte('\n')
		for _, row := range append([][]string{t.head}, t.rows...) {
			line := ""
			for i, c := range row {
				line += "  " + c + strings.Repeat(" ", width[i]-len([]rune(c)))
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		if t.note != "" {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(t.note, "\n", "\n  "))
		}
	}
	for _, m := range s.missing {
		fmt.Fprintf(&b, "  NOT MEASURED: %s\n", m)
	}
	return b.String()
}

// page is the whole report as Markdown.
func page(about []string, sections []section, over []string) string {
	var b strings.Builder
	b.WriteString(`# Benchmarks

Written by ` + "`make bench`" + `; change the bench (test/bench), not this file. It takes more than half an hour on two quiet cores
(*duration* is that of this run), and the first time also what it takes to install the other tools and to build a Kubernetes.

The program is built as ` + "`make build`" + ` builds it and measured as a process, as people run it, against a fake ECR, a fake
Kubernetes with controllers and nodes and, for the reverts, a fake GitHub on real git, all on 127.0.0.1 in the bench's own
process; the section "On real parts" says what is real in it. What is compared is compared in one run,
in turns (A B A B …), on the same servers, so read the **ratios**. Times, CPU and memory are medians of at least 20, but for what is built once;
counts of calls and waves are from the least to the most of n, or medians where the text says so. A **wave** is a set of calls none of which waits for another's
answer; the number of waves does not depend on the machine, and over a real network it is what the time is made of.

`)
	for _, a := range about {
		b.WriteString("- " + a + "\n")
	}
	b.WriteString("\nTo repeat: `make bench`. One part: `go run ./test/bench -only retag`. A quick try: `go run ./test/bench -quick`.\n")
	if len(over) > 0 {
		b.WriteString("\n**Over the bound:** " + strings.Join(over, "; ") + ".\n")
	}
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.title, s.method)
		for _, t := range s.tables {
			b.WriteByte('\n')
			for i, row := range append([][]string{t.head}, t.rows...) {
				b.WriteString("|")
				for _, c := range row {
					b.WriteString(" " + strings.ReplaceAll(c, "|", `\|`) + " |")
				}
				b.WriteByte('\n')
				if i == 0 {
					b.WriteString("|" + strings.Repeat(" --- |", len(row)) + "\n")
				}
			}
			if t.note != "" {
				b.WriteString("\n" + t.note + "\n")
			}
		}
		for _, m := range s.missing {
			b.WriteString("\n**Not measured:** " + m + "\n")
		}
		if len(s.limits) > 0 {
			b.WriteString("\nWhat this does not show:\n\n")
			for _, l := range s.limits {
				b.WriteString("- " + l + "\n")
			}
		}
	}
	return b.String()
}

// quantile is the value below which the part q of the values lies; of no values, 0.
func quantile[T ~int64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + T((at-float64(i))*float64(v[i+1]-v[i]))
}

func median[T ~int64](values []T) T { return quantile(values, 0.5) }

// each is one number of every element.
func each[E any, T ~int64](list []E, f func(E) T) []T {
	var values []T
	for _, x := range list {
		values = append(values, f(x))
	}
	return values
}

// ms is a duration in milliseconds, with as many digits as mean something.
func ms(d time.Duration) string {
	f := float64(d) / float64(time.Millisecond)
	switch {
	case d == 0:
		return "0"
	case f < 10 && f > -10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.0f", f)
	}
}

// ratio is how many times b goes into a.
func ratio(a, b time.Duration) string {
	if b <= 0 {
		return "-"
	}
	r := float64(a) / float64(b)
	switch {
	case r >= 10:
		return fmt.Sprintf("%.0f×", r)
	case r >= 1:
		return fmt.Sprintf("%.1f×", r)
	}
	return fmt.Sprintf("%.2f×", r)
}

// megabytes are 10^6 bytes, as the limit of the binary is given.
func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

func kilobytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/1e3) }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is the least and the greatest of some counts: "3", or "3 to 4".
func span(values []int) string {
	if len(values) == 0 {
		return "-"
	}
	lo, hi := slices.Min(values), slices.Max(values)
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}
