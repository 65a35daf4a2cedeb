package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// exampleFile is the rollback.yaml that docs/examples/jobs.groovy says the same as.
const exampleFile = `defaults:
  repo: acme/{service}
  job: deploy/{service}
environments:
  prod:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: prod}
    namespace: prod
    confirm: true
  staging:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: staging}
    namespace: staging
services:
  payments: {}
  web: {repo: acme/web-app, image: frontend/web}
`

// ordered are keys and their values as Groovy writes them, in order.
type ordered [][2]string

func (o ordered) String() string {
	if len(o) == 0 {
		return "[:]"
	}
	var list []string
	for _, kv := range o {
		list = append(list, kv[0]+": "+kv[1])
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// exampleServices and exampleEnvironments are the two tables of the example.
var (
	exampleServices = []struct {
		name string
		keys ordered
	}{
		{"payments", ordered{{"repo", "'acme/payments'"}, {"job", "'deploy/payments'"}}},
		{"web", ordered{{"repo", "'acme/web-app'"}, {"image", "'frontend/web'"}, {"job", "'deploy/web'"}}},
	}
	exampleEnvironments = []struct {
		name string
		keys ordered
	}{
		{"prod", ordered{{"namespace", "'prod'"}, {"confirm", "true"}, {"approve", "true"}, {"registryKind", "'ecr'"}, {"registryAccount", "'123456789012'"}, {"registryRegion", "'eu-west-1'"}, {"clusterContext", "'prod'"}}},
		{"staging", ordered{{"namespace", "'staging'"}, {"registryKind", "'ecr'"}, {"registryAccount", "'123456789012'"}, {"registryRegion", "'eu-west-1'"}, {"clusterContext", "'staging'"}}},
	}
)

// jobDSL is the example for Job DSL (https://plugins.jenkins.io/job-dsl/), made from the template and the table of parameters. It
// has no ${…}, which configuration as code would read as a variable of its own.
func jobDSL() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("// The one-click jobs of `rollback`, by Job DSL: for those who keep all jobs in code. They are the jobs that `rollback jobs apply`")
	line("// makes from rollback.yaml. Use one of the two: that command leaves alone what it did not make, unless it is told to --adopt.")
	line("//")
	line("// Parameters and script are those of the program: go test ./commands -run TestExamples -update writes them anew.")
	line("")
	line("// What differs from the built-in settings, in the order of rollback.yaml: the keys are the program's flags in camelCase.")
	line("def services = [")
	for _, s := range exampleServices {
		line("    %s: %s,", s.name, s.keys)
	}
	line("]")
	line("def environments = [")
	for _, e := range exampleEnvironments {
		line("    %s: %s,", e.name, e.keys)
	}
	line("]")
	line("")
	line("// A text as the script's source has it.")
	line(`def literal = { value -> value instanceof Boolean ? value.toString() : "'" + value.replace('\\', '\\\\').replace("'", "\\'") + "'" }`)
	line("")
	line("folder('rollback')")
	line("environments.each { environment, where ->")
	line("    folder('rollback/' + environment)")
	line("    services.each { service, own ->")
	line("        def keys = [service: service, environment: environment] + own + where")
	line("        pipelineJob('rollback/' + environment + '/' + service) {")
	page := literal(pageText(rollback.Scope{Service: "\x00", Environment: "\x01"}))
	page = strings.Replace(page, `Written by "rollback jobs apply" from rollback.yaml: change it there, not here.`, "Made by Job DSL: change it there, not here.", 1)
	line("            description(%s)", strings.NewReplacer(`\u0000`, "' + service + '", `\u0001`, "' + environment + '").Replace(page))
	line("            parameters {")
	for _, p := range definitions() {
		switch p.Class {
		case "Choice":
			var choices []string
			for _, c := range p.Choices {
				choices = append(choices, literal(c))
			}
			line("                choiceParam(%s, [%s], %s)", literal(p.Name), strings.Join(choices, ", "), literal(p.Description))
		case "Boolean":
			line("                booleanParam(%s, %s, %s)", literal(p.Name), p.Default, literal(p.Description))
		default:
			line("                stringParam(%s, %s, %s)", literal(p.Name), literal(p.Default), literal(p.Description))
		}
	}
	line("            }")
	line("            configure { job -> // the first run replaces these parameters; without this note it would add its own to them")
	line("                job / 'actions' / 'org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction' / 'jobPropertyDescriptors' << {")
	line("                    string('hudson.model.ParametersDefinitionProperty')")
	line("                }")
	line("            }")
	line("            definition {")
	line("                cps {")
	// The frame of the script, cut where the keys stand.
	before, after, _ := strings.Cut(scriptText("rollback", [][2]string{{"\x00", "\x01"}, {"\x02", "\x03"}}), "    \x00: \x01,\n    \x02: \x03")
	line("                    script(%s + keys.collect { key, value -> '    ' + key + ': ' + literal(value) }.join(',\\n') + %s)", literal(before), literal(after))
	line("                    sandbox(true)")
	line("                }")
	line("            }")
	line("        }")
	line("    }")
	line("}")
	return b.String()
}

// jcasc is the example for configuration as code (https://plugins.jenkins.io/configuration-as-code/): the library, and the jobs.
func jcasc() string {
	var b strings.Builder
	b.WriteString(`# The shared library and the one-click jobs of ` + "`rollback`" + `, by configuration as code with the Job DSL plugin.
# The script is docs/examples/jobs.groovy: go test ./commands -run TestExamples -update writes both anew.
unclassified:
  globalUntrustedLibraries: # in the sandbox; globalLibraries where the plugin Pipeline: Groovy Libraries is older
    libraries:
      - name: rollback
        defaultVersion: main          # better a tag: what runs at night should not change by day
        implicit: false
        allowVersionOverride: true
        includeInChangesets: false
        retriever:
          modernSCM:
            scm:
              git:
                remote: https://github.com/rollback-tools/rollback.git
                traits:
                  - gitBranchDiscovery
jobs:
  - script: |
`)
	for l := range strings.SplitSeq(strings.TrimSuffix(jobDSL(), "\n"), "\n") {
		b.WriteString(strings.TrimRight("      "+l, " ") + "\n")
	}
	return b.String()
}

// The examples give the jobs that `jobs apply` makes: the same parameters, the same script.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"jobs.groovy": jobDSL(), "jcasc.yaml": jcasc()} {
		path := filepath.Join("..", "docs", "examples", name)
		if *update {
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(want), 0o644))
		}
		if read(t, path) != want {
			t.Errorf("%s is not what the program makes; go test ./commands -run TestExamples -update writes it", path)
		}
		if strings.Contains(want, "${") {
			t.Errorf("%s: configuration as code reads ${…} as a variable", path)
		}
	}

	// The tables of the example are what the example's rollback.yaml comes to, key for key.
	file, err := config.Parse("rollback.yaml", []byte(exampleFile))
	must(t, err)
	for _, e := range exampleEnvironments {
		for _, s := range exampleServices {
			scoped, err := file.Resolve(rollback.Scope{Service: s.name, Environment: e.name}, nil)
			must(t, err)
			job, _ := pipelineOf(scoped)
			keys := slices.Concat([][2]string{{"service", literal(s.name)}, {"environment", literal(e.name)}}, s.keys, e.keys)
			if got := scriptText("rollback", keys); got != job.Script {
				t.Errorf("%s in %s:\n%s\nwant\n%s", s.name, e.name, got, job.Script)
			}
			if want := "rollback/" + e.name + "/" + s.name; scoped.Jenkins.RollbackJob != want {
				t.Errorf("%s, want %s", scoped.Jenkins.RollbackJob, want)
			}
		}
	}

	// As YAML, the script is the file beside it, and every parameter of the table is in it.
	var doc struct {
		Jobs []struct {
			Script string `yaml:"script"`
		} `yaml:"jobs"`
		Unclassified struct {
			GlobalLibraries struct {
				Libraries []struct {
					Name string `yaml:"name"`
				} `yaml:"libraries"`
			} `yaml:"globalUntrustedLibraries"`
		} `yaml:"unclassified"`
	}
	must(t, yaml.Unmarshal([]byte(read(t, filepath.Join("..", "docs", "examples", "jcasc.yaml"))), &doc))
	if len(doc.Jobs) != 1 || doc.Jobs[0].Script != read(t, filepath.Join("..", "docs", "examples", "jobs.groovy")) {
		t.Errorf("the script of jcasc.yaml is another: %+v", doc)
	}
	library, _ := config.Lookup("jenkins.library")
	if l := doc.Unclassified.GlobalLibraries.Libraries; len(l) != 1 || l[0].Name != library.Default {
		t.Errorf("%+v, want the library %s", l, library.Default)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:choice|string|boolean)Param\('(\w+)'`).FindAllStringSubmatch(doc.Jobs[0].Script, -1) {
		names = append(names, m[1])
	}
	var want []string
	for _, p := range jobParameters(true) {
		want = append(want, p.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("parameters %v, want %v", names, want)
	}
}
