// Command bench measures the built program as a process, against fake ECR and fake Kubernetes on 127.0.0.1, beside what
// people use today, and writes docs/benchmarks.md. `make bench` runs it; nothing in it judges by time, only by counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == usageWord {
		os.Exit(usageMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of everything.
type bench struct {
	root  string // of the checkout
	dir   string // temporary
	bin   string // the built program
	quick bool
	tools tools
	start time.Duration // median time of a process that only says its version
	log   func(format string, a ...any)
	over  []string // bounds that were exceeded
}

// times is how often something is measured: n, or a few times when only trying the bench itself.
func (b *bench) times(n int) int {
	if b.quick {
		return min(n, 2)
	}
	return n
}

// part is one part of the bench: it fills one section of the report.
type part struct {
	name string
	run  func(*bench, context.Context) (section, error)
}

var parts = []part{
	{"binary", (*bench).binary},
	{"waves", (*bench).waves},
	{"repository", (*bench).repository},
	{"fleet", (*bench).fleet},
	{"retag", (*bench).retag},
	{"restart", (*bench).restart},
	{"revert", (*bench).revert},
	{"real", (*bench).real},
	{"scale", (*bench).scale},
}

func run(ctx context.Context) error {
	quick := flag.Bool("quick", false, "measure everything twice only, to try the bench; writes no file unless -out is given")
	only := flag.String("only", "", "only these parts, separated by commas; writes no file unless -out is given")
	out := flag.String("out", "", "file to write (default docs/benchmarks.md)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("no arguments, only flags; what to do with %q?", flag.Arg(0))
	}
	begun := time.Now()
	b := &bench{quick: *quick, log: func(format string, a ...any) {
		fmt.Fprintf(os.Stderr, "%4.0fs  "+format+"\n", append([]any{time.Since(begun).Seconds()}, a...)...)
	}}
	var err error
	if b.root, err = checkout(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "rollback-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	wanted := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	for _, w := range wanted {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == w }) {
			return fmt.Errorf("-only %s: no such part", w)
		}
	}
	if *out == "" && len(wanted) == 0 && !*quick {
		*out = filepath.Join(b.root, "docs", "benchmarks.md")
	}
	wants := func(name string) bool { return len(wanted) == 0 || slices.Contains(wanted, name) }

	b.log("building")
	if err := b.build(ctx); err != nil {
		return err
	}
	if b.start, err = b.startTime(ctx, b.times(40)); err != nil {
		return err
	}
	if wants("retag") || wants("restart") || wants("real") {
		b.tools = b.install(ctx)
	}
	var sections []section
	for _, p := range parts {
		if !wants(p.name) {
			continue
		}
		b.log("%s", p.name)
		s, err := p.run(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Println(s.text())
		sections = append(sections, s)
	}
	if *out != "" {
		about, err := b.machine(ctx)
		if err != nil {
			return err
		}
		about = append(about, "duration: "+plural(int(time.Since(begun).Round(time.Minute).Minutes()), "minute", "minutes"))
		if err := os.WriteFile(*out, []byte(page(about, sections, b.over)), 0o644); err != nil {
			return err
		}
		b.log("written: %s", filepath.Base(*out))
	}
	for _, s := range sections {
		for _, n := range s.missing {
			b.log("NOT MEASURED: %s", n)
		}
	}
	if len(b.over) > 0 {
		return errors.New("over the bound: " + strings.Join(b.over, "; "))
	}
	return nil
}

// checkout is the directory with go.mod, here or above.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = up
	}
}
