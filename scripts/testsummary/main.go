// Command testsummary reads `go test -json` and prints what a person wants to know: the output of what failed, one line
// for each package, and the sums. It fails when a test or a package did, or when there was no test at all.
//
//	go test -json ./... | go run ./scripts/testsummary
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// event is one line of `go test -json` (https://pkg.go.dev/cmd/test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// sums of a package or of all.
type sums struct{ tests, faults, failed, skipped int }

func main() {
	start := time.Now()
	all, ok := summarise(os.Stdin, os.Stdout)
	fmt.Printf("\n%d tests, %d of them faults; %d failed, %d skipped; %s\n", all.tests, all.faults, all.failed, all.skipped, time.Since(start).Round(100*time.Millisecond))
	if !ok {
		os.Exit(1)
	}
}

func summarise(r io.Reader, w io.Writer) (all sums, ok bool) {
	ok = true
	output := map[string]*strings.Builder{} // by package and test, until they pass
	packages := map[string]*sums{}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil { // the go command itself speaks
				fmt.Fprintf(w, "%s", line)
			} else {
				ok = one(e, output, packages, w) && ok
			}
		}
		if err != nil {
			break
		}
	}
	for _, p := range packages {
		all.tests += p.tests
		all.faults += p.faults
		all.failed += p.failed
		all.skipped += p.skipped
	}
	return all, ok && all.tests > 0
}

// one takes in one event and tells whether it is no failure.
func one(e event, output map[string]*strings.Builder, packages map[string]*sums, w io.Writer) bool {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
		return true
	case "build-fail":
		return false
	case "output":
		if output[key] == nil {
			output[key] = &strings.Builder{}
		}
		output[key].WriteString(e.Output)
		return true
	case "pass", "fail", "skip":
	default:
		return true
	}
	if packages[e.Package] == nil {
		packages[e.Package] = &sums{}
	}
	p := packages[e.Package]
	said := output[key]
	delete(output, key)
	if e.Test != "" {
		p.tests++
		if strings.Contains(strings.ToLower(e.Test), "fault") {
			p.faults++
		}
		switch e.Action {
		case "skip":
			p.skipped++
		case "fail":
			p.failed++
			fmt.Fprintf(w, "--- %s\n%s", e.Package, text(said))
		}
		return e.Action != "fail"
	}
	switch {
	case e.Action == "fail":
		if p.failed == 0 { // a panic, a data race after the tests, or a build that failed
			fmt.Fprint(w, text(said))
		}
		fmt.Fprintf(w, "FAIL  %-60s %6.1f s  %d of %d tests failed\n", e.Package, e.Elapsed, p.failed, p.tests)
	case p.tests > 0:
		fmt.Fprintf(w, "ok    %-60s %6.1f s  %4d tests\n", e.Package, e.Elapsed, p.tests)
	}
	return e.Action != "fail"
}

func text(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	return b.String()
}
