package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// declarative is the parameters block of a declarative pipeline, which takes no list.
func declarative(indent string) string {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
	}
	var b strings.Builder
	b.WriteString("parameters {\n")
	for _, p := range jobParameters(false) {
		b.WriteString(indent + "    ")
		switch p.Kind {
		case rollback.ChoiceParameter:
			var choices []string
			for _, c := range p.Choices {
				choices = append(choices, quote(c))
			}
			fmt.Fprintf(&b, "choice(name: %s, choices: [%s], description: %s)\n", quote(p.Name), strings.Join(choices, ", "), quote(p.Description))
		case rollback.BooleanParameter:
			fmt.Fprintf(&b, "booleanParam(name: %s, defaultValue: %s, description: %s)\n", quote(p.Name), p.Default, quote(p.Description))
		default:
			fmt.Fprintf(&b, "string(name: %s, defaultValue: %s, trim: true, description: %s)\n", quote(p.Name), quote(p.Default), quote(p.Description))
		}
	}
	return b.String() + indent + "}"
}

// The parameters that people copy into a declarative pipeline are those of the program; -update writes them.
func TestDeclarativeParameters(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"jenkins.md", "examples/Jenkinsfile.service"} {
		path := filepath.Join("..", "docs", filepath.FromSlash(name))
		text := read(t, path)
		block := regexp.MustCompile(`(?m)^( *)parameters \{\n(?:.*\n)*?( *)\}$`)
		at := block.FindStringSubmatchIndex(text)
		if at == nil {
			t.Errorf("%s has no parameters block", name)
			continue
		}
		indent := text[at[2]:at[3]]
		want := text[:at[0]] + indent + declarative(indent) + text[at[1]:]
		if *update {
			must(t, os.WriteFile(path, []byte(want), 0o644))
		} else if text != want {
			t.Errorf("the parameters in %s are not those of the program; go test ./commands -run TestDeclarativeParameters -update writes them", name)
		}
	}
}

// A parameter is named like the variable of a flag of `run`, and says what the flag says.
func TestJobParameters(t *testing.T) {
	t.Parallel()
	env := quiet()
	run := env.runCommand()
	for _, p := range jobParameters(false) {
		if p.Description == "" {
			t.Errorf("%s says nothing", p.Name)
		}
		if p.Name == "ROLLBACK_ID" { // Jenkins' own business
			continue
		}
		if !slices.ContainsFunc(run.Flags, func(f cli.Flag) bool { return option{name: f.Names()[0]}.env() == p.Name }) {
			t.Errorf("%s is no flag of run", p.Name)
		}
	}
	if p := jobParameters(false)[0]; p.Choices[0] != methodNone {
		t.Errorf("a job that does something else as well rolls back by default: %v", p.Choices)
	}
	if p := jobParameters(true)[0]; slices.Contains(p.Choices, methodNone) {
		t.Errorf("a job that only rolls back offers not to: %v", p.Choices)
	}
}
