package commands

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// The one-click job of a scope: a page "Build with Parameters" over one line of the shared library. docs/examples has the
// same job for Job DSL and for configuration as code; a test holds them together.

// besideJobs are the settings that are not in a job: they say where it is, or who this machine is to Jenkins. A build has a
// credential for that.
var besideJobs = []string{"jenkins.rollbackJob", "jenkins.library", "jenkins.user", "jenkins.tokenEnv", "jenkins.passwordEnv"}

// ownKeys are the settings that are about the job itself, by the keys that the library's step has for them.
var ownKeys = map[string]string{
	"jenkins.approve": "approve", "jenkins.choose": "choose", "jenkins.submitter": "submitter", "jenkins.agent.node": "node",
	"jenkins.agent.binary": "binary", "jenkins.agent.url": "url", "jenkins.agent.version": "version", "jenkins.agent.sha256": "sha256",
}

// pipelineOf is the job of a scope, by what its file says: the same whoever asks for it, and wherever. paths are the settings that were left out: files of this machine mean nothing to the one
// that builds.
func pipelineOf(s config.Scoped) (job jenkins.Pipeline, paths []string) {
	keys := [][2]string{{"service", literal(s.Scope.Service)}, {"environment", literal(s.Scope.Environment)}}
	names := strings.NewReplacer("{service}", s.Scope.Service, "{environment}", s.Scope.Environment)
	for _, x := range s.Explain() {
		setting, _ := config.Lookup(x.Key)
		switch {
		case !s.Written(x.Key), x.Value == names.Replace(setting.Default), slices.Contains(besideJobs, x.Key):
		case setting.Path:
			paths = append(paths, x.Key)
		case x.Key == "jenkins.approve" && s.Confirm: // it stands behind confirm already
		case x.Key == "jenkins.agent.credentials":
			for _, c := range s.Jenkins.Agent.Credentials {
				kind, id, named := strings.Cut(c, "=")
				value := "true"
				if named {
					value = literal(id)
				}
				keys = append(keys, [2]string{kind, value})
			}
		case setting.Type == config.Bool:
			keys = append(keys, [2]string{keyOf(setting), x.Value})
		default:
			keys = append(keys, [2]string{keyOf(setting), literal(x.Value)})
		}
		if x.Key == "confirm" && s.Confirm { // a build has no terminal to ask for the service's name on
			keys = append(keys, [2]string{"approve", "true"})
		}
	}
	return marked(jenkins.Pipeline{
		Description: pageText(s.Scope), Script: scriptText(s.Jenkins.Library, keys), Sandbox: true, Parameters: definitions(),
	}), paths
}

// pageText is what the job's page says, before the mark.
func pageText(s rollback.Scope) string {
	return fmt.Sprintf("Takes %s in %s back to an earlier version, and proves what its pods run.\n\n"+
		"Build with Parameters: say why in ROLLBACK_REASON, then Build. Tick ROLLBACK_DRY_RUN to see the plan first; ROLLBACK_TO says where to, ROLLBACK_METHOD how.\n\n"+
		"Written by \"rollback jobs apply\" from rollback.yaml: change it there, not here.", s.Service, s.Environment)
}

// scriptText is the script of a job, its keys with their values as Groovy writes them.
func scriptText(library string, keys [][2]string) string {
	lines := make([]string, len(keys))
	for i, k := range keys {
		lines[i] = "    " + k[0] + ": " + k[1]
	}
	return "@Library(" + literal(library) + ") _\n\nrollbackPipeline(\n" + strings.Join(lines, ",\n") + "\n)"
}

// definitions are the parameters of a job that does nothing else than roll back.
func definitions() []jenkins.JobParameter {
	var list []jenkins.JobParameter
	classes := map[rollback.ParameterKind]string{rollback.TextParameter: "String", rollback.ChoiceParameter: "Choice", rollback.BooleanParameter: "Boolean"}
	for _, p := range jobParameters(true) {
		list = append(list, jenkins.JobParameter{Class: classes[p.Kind], Name: p.Name, Description: p.Description, Default: p.Default, Choices: p.Choices})
	}
	return list
}

// keyOf is a setting as the library's steps know it.
func keyOf(s config.Setting) string {
	if own, ok := ownKeys[s.Key]; ok {
		return own
	}
	return camel(s.Flag)
}

// camel is a flag as the library's steps know it: registry-account is registryAccount.
func camel(flag string) string {
	parts := strings.Split(flag, "-")
	for i, p := range parts[1:] {
		parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "")
}

// literal is a text between single quotes, in which Groovy reads nothing but backslashes
// (https://groovy-lang.org/syntax.html#_single_quoted_string).
func literal(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range strings.ToValidUTF8(s, "�") {
		switch {
		case r == '\\' || r == '\'':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// markVersion is the version of what the mark is made of.
const markVersion = "1"

// markForm is the mark in a job's description: that the job is ours, and what its values were when we wrote them; the
// parameters apart, because a run sets them anew.
var markForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\s*\[rollback jobs apply ([0-9]+)\.([0-9a-f]{12})\.([0-9a-f]{12})\]`)
})

// mark is what the description of a job of ours says about its values.
type mark struct{ version, values, parameters string }

func (m mark) String() string {
	return "[rollback jobs apply " + m.version + "." + m.values + "." + m.parameters + "]"
}

// markIn is the mark in a description; ok is false where there is none.
func markIn(description string) (m mark, ok bool) {
	found := markForm().FindStringSubmatch(description)
	if found == nil {
		return m, false
	}
	return mark{found[1], found[2], found[3]}, true
}

// unmarked is a job without its mark, as it compares.
func unmarked(p jenkins.Pipeline) jenkins.Pipeline {
	if at := markForm().FindStringIndex(p.Description); at != nil {
		p.Description = p.Description[:at[0]] + p.Description[at[1]:]
	}
	return p.Plain()
}

// markOf is the mark that fits a job's values.
func markOf(p jenkins.Pipeline) mark {
	p = unmarked(p)
	// Spelt out, so that a field more in the type does not make strangers of all jobs there are.
	values := []any{p.Description, p.Script, p.Sandbox, p.Disabled, p.Source, strings.Join(p.Triggers, "\n")}
	parameters := []any{}
	for _, q := range p.Parameters {
		parameters = append(parameters, []any{q.Class, q.Name, q.Description, q.Default, strings.Join(q.Choices, "\n")})
	}
	return mark{markVersion, digest(values), digest(parameters)}
}

// marked is a job with the mark that fits it.
func marked(p jenkins.Pipeline) jenkins.Pipeline {
	p.Description += "\n" + markOf(p).String()
	return p
}

func digest(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, lists and switches cannot fail
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// edited tells whether somebody else has changed what we wrote. What comes to the same as what we want is no edit, and
// parameters that a run has set are none.
func edited(found, want jenkins.Pipeline) bool {
	if unmarked(found).Equal(unmarked(want)) {
		return false
	}
	m, _ := markIn(found.Description)
	now := markOf(found)
	return m.version != markVersion || m.values != now.values || !found.ByRun && m.parameters != now.parameters
}

// valuesOf are the values of a job, line by line, for people to compare.
func valuesOf(p jenkins.Pipeline, byRun bool) []string {
	p = unmarked(p)
	lines := []string{"description"}
	block := func(text string) {
		for l := range strings.SplitSeq(text, "\n") {
			lines = append(lines, strings.TrimRight("  "+l, " "))
		}
	}
	block(p.Description)
	if p.Source != "" {
		lines = append(lines, "definition  "+p.Source)
	} else {
		lines = append(lines, "script")
		block(p.Script)
		lines = append(lines, fmt.Sprintf("sandbox     %t", p.Sandbox))
	}
	lines = append(lines, fmt.Sprintf("disabled    %t", p.Disabled))
	for _, t := range p.Triggers {
		lines = append(lines, "trigger     "+t)
	}
	if byRun {
		return append(lines, "parameters  those that its last run has set")
	}
	for _, q := range p.Parameters {
		text := "parameter   " + q.Name + "  " + strings.ToLower(q.Class)
		switch {
		case q.Class == "Choice":
			text += " [" + strings.Join(q.Choices, ", ") + "]"
		case q.Default != "":
			text += " " + q.Default
		}
		lines = append(lines, text, strings.TrimRight("  "+strings.ReplaceAll(q.Description, "\n", " "), " "))
	}
	return lines
}

// changeOf is what becomes different in a job, "" if nothing that a person sees.
func changeOf(name string, found *jenkins.Pipeline, want jenkins.Pipeline) string {
	if found == nil {
		return unified("/dev/null", name+" (rollback.yaml)", nil, valuesOf(want, false))
	}
	return unified(name+" (Jenkins)", name+" (rollback.yaml)", valuesOf(*found, found.ByRun), valuesOf(want, found.ByRun))
}
