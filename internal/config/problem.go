package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Problem is one mistake, in the file or in what was given beside it.
type Problem struct {
	// File, Line and Column say where, counted from 1; File is "" for a problem that is not in the file, Column 0 where
	// only the line is known.
	File         string
	Line, Column int
	Text         string
}

func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Text
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Problems are all mistakes found, those of the file first and in its order.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// failure is the error for the problems, nil if there are none. One mistake reached by several aliases is one problem.
func failure(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if (a.File == "") != (b.File == "") {
			if a.File == "" {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	seen := map[Problem]bool{}
	problems = slices.DeleteFunc(problems, func(p Problem) bool {
		defer func() { seen[p] = true }()
		return seen[p]
	})
	return &rollback.Error{Exit: rollback.Usage, Err: Problems(problems), Production: rollback.NotChanged}
}

// credentials are a user and password in a URL, which have no place there and none in a message.
var credentials = lazily(`://[^/]*@`)

// shown is a value as a message quotes it: escaped, and cut where it is too long to help.
func shown(s string) string {
	s = credentials().ReplaceAllString(s, "://…@")
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
