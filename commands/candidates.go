package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// candidatesVersion is the schema version of `candidates --json`.
const candidatesVersion = 1

// candidatesReport is what `candidates --json` prints.
type candidatesReport struct {
	SchemaVersion int                  `json:"schemaVersion"`
	At            time.Time            `json:"at"`
	Scope         rollback.Scope       `json:"scope"`
	Registry      string               `json:"registry"` // host/repository
	Tag           string               `json:"tag"`
	TagDigest     rollback.Digest      `json:"tagDigest,omitempty"`
	Current       rollback.Side        `json:"current"`
	Running       []rollback.Serving   `json:"running"`
	Candidates    []rollback.Candidate `json:"candidates"` // newest first
}

func (e *Env) candidatesCommand() *cli.Command {
	return &cli.Command{
		Name: "candidates", Category: look, Usage: "what could be rolled back to: commit, age, digest, evidence, and why not",
		Description: "Lists the images that carry a commit tag, newest first; images with the same digest are one. Evidence is what is\n" +
			"known, never a guess: it serves now, a rollback to it was proven, or it was only pushed before the current one.",
		Flags: e.scopeFlags(optAll, optJSON, optLeft),
		Action: func(c *cli.Context) error {
			return e.leaving(c, func(left *outcome) error { return e.candidates(c, left) })
		},
	}
}

// candidates lists what could be rolled back to.
func (e *Env) candidates(c *cli.Context, left *outcome) error {
	sw, err := e.switches(c, optAll, optJSON)
	if err != nil {
		return err
	}
	s, err := e.open(c, false)
	if err != nil {
		return err
	}
	now := time.Now()
	survey, err := rollback.Look(c.Context, s.world, rollback.Request{Scope: s.scoped.Scope, Act: rollback.ActLook, List: true}, now)
	if err != nil {
		return lookFailed(c.Context, err)
	}
	for _, f := range survey.Findings { // whose titles and threats the list then lacks
		if f.Code == "commits-unread" {
			e.printer().line("! " + f.Text)
		}
	}
	if survey.Repository.Kind == "ecr" {
		for _, u := range survey.Repository.Unknown {
			e.printer().line("! not checked: " + u)
		}
	}
	plan := rollback.Draw(survey, "")
	report := candidatesReport{
		SchemaVersion: candidatesVersion, At: now.UTC(), Scope: s.scoped.Scope, Registry: plan.Basis.Registry, Tag: s.scoped.Tag,
		TagDigest: survey.TagNow.Digest, Current: plan.Current, Running: survey.Running, Candidates: survey.Candidates,
	}
	left.addCandidates(report, now)
	if sw["json"] {
		return e.json(report)
	}
	e.printCandidates(report, sw["all"], now)
	return nil
}

// addCandidates leaves the eligible ones, each with what --to takes and a line to choose by.
func (o *outcome) addCandidates(r candidatesReport, now time.Time) {
	n := 0
	for _, c := range r.Candidates {
		if c.Ineligible != "" || n == shownCandidates {
			continue
		}
		n++
		to, parts := string(c.Commit), []string{c.Commit.Short()}
		if to == "" {
			to, parts = string(c.Image.Digest), []string{c.Image.Digest.Short()}
		}
		if t := c.Image.Time(); !t.IsZero() {
			parts = append(parts, rollback.Span(now.Sub(t))+" old")
		}
		if c.Change != nil {
			parts = append(parts, changed(c.Change))
		}
		o.add(fmt.Sprintf("candidate.%d.to", n), to)
		o.add(fmt.Sprintf("candidate.%d.label", n), strings.Join(parts, "  "))
	}
	o.message = fmt.Sprintf("%s could go back to %s", r.Scope, count(n, "version", "versions"))
	o.add("candidates", n)
}

// shownCandidates is how many candidates are printed without --all.
const shownCandidates = 20

func (e *Env) printCandidates(r candidatesReport, all bool, now time.Time) {
	p := e.data()
	e.dress(p, e.Terminal && e.OutTerminal)
	var rows [][]string
	var more []string // of each, in a line of its own
	for i, c := range r.Candidates {
		if i == shownCandidates && !all {
			break
		}
		age := "-"
		if t := c.Image.Time(); !t.IsZero() {
			age = rollback.Span(now.Sub(t))
		}
		commit := c.Commit.Short()
		if commit == "" {
			commit = "-"
		}
		title := ""
		if c.Change != nil {
			title = changed(c.Change)
		}
		eligible, evidence := "yes", c.Evidence
		if c.Ineligible != "" {
			eligible, evidence = "no", append([]string{c.Ineligible}, evidence...)
		}
		if c.Threat != "" {
			evidence = append([]string{c.Threat}, evidence...)
		}
		rows, more = append(rows, []string{commit, age, c.Image.Digest.Short(), eligible, title}), append(more, strings.Join(evidence, "; "))
	}
	if len(rows) == 0 {
		e.printer().line(fmt.Sprintf("no image in %s carries a commit tag (7 to 40 hex digits); --to takes a tag or a digest as well", r.Registry))
		return
	}
	head := []string{"COMMIT", "AGE", "DIGEST", "ELIGIBLE", "CHANGE"}
	if !slices.ContainsFunc(rows, func(r []string) bool { return r[4] != "" }) {
		head[4] = ""
	}
	lines := columns(head, rows)
	p.line(p.dim(lines[0]))
	for i, text := range more {
		p.line(lines[i+1])
		if text != "" {
			p.hang("         ", text)
		}
	}
	if left := len(r.Candidates) - len(rows); left > 0 {
		e.printer().line(fmt.Sprintf("… and %d older: --all shows them", left))
	}
}
