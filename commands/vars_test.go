package commands

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// step is a step of the Jenkins shared library, as far as its help says more than the flags do.
type step struct {
	name string
	// does is one line, for the README and the top of the help.
	does string
	// about is the rest of what a reader has to know.
	about string
	// commands are those whose flags are keys of the step; keys are its own beside them.
	commands []string
	keys     [][2]string
	examples []string
	// internal steps have no keys of their own to be held to.
	internal bool
}

// stageKeys are what a stage asks people.
var stageKeys = [][2]string{
	{"choose", "true: ask which version to go back to, among those that are eligible; only where ROLLBACK_TO is previous"},
	{"approve", "true: show the plan and wait for a yes; what was approved is what runs (default: confirm, or ROLLBACK_JENKINS_APPROVE)"},
	{"submitter", "users and groups that may choose and approve, separated by commas (default: anybody who may build)"},
	{"approveWithin", "minutes to wait for an answer (default: 60); without one the build is aborted, and nothing was touched"},
}

// steps is the library, in the order of the README.
var steps = []step{
	{
		name: "rollbackStage", does: "the parameterised rollback of one service: plan, choose, approve, run",
		about: "Does nothing, and says so, while the method is none. What an earlier build began is not approved again. It takes an agent of its own where the caller holds none, and gives\n" +
			"it back while people are asked; inside of a node it stays there. The description of the build says what came of it:\n" +
			"exit code 0 is SUCCESS; 3 is UNSTABLE, the pull request waits for its merge, build again to go on; all others are a\n" +
			"FAILURE, 4 (production changed, not verified) in loud words. Plan, journal and outcome are archived under\n" +
			"rollback-record/, also after an abort; the next build finishes what an aborted one began. The ids of the questions are\n" +
			"RollbackChoose and RollbackApprove and the service: RollbackApprovePayments. Returns the outcome as a Map of texts.",
		commands: []string{"plan", "run"},
		keys: append(slices.Clone(stageKeys),
			[2]string{"stage", "name of the stage to open for it (default: none, it is in one already)"},
			[2]string{"inputId", "end of the ids of its questions, instead of the service; for one service in several environments at once"}),
		examples: []string{
			"// declarative, beside what the pipeline does otherwise; the page has ROLLBACK_METHOD: see rollbackParameters\n" +
				"pipeline {\n    agent none\n    stages {\n        stage('Rollback') {\n            when { expression { params.ROLLBACK_METHOD != 'none' } }\n" +
				"            steps {\n                rollbackStage(service: 'payments', environment: 'prod', approve: true, submitter: 'payments-leads',\n" +
				"                    github: true, kubeconfig: true, aws: true)\n            }\n        }\n    }\n}",
			"// scripted\nproperties([parameters(rollbackParameters())])\nrollbackStage(stage: 'Rollback', service: 'payments', environment: 'prod', choose: true)",
		},
	},
	{
		name: "rollbackPipeline", does: "a whole job in one line: the page \"Build with Parameters\" that rolls back",
		about: "Service and environment are fixed, chosen from a list, or typed. The first build makes the page; a job that\n" +
			"`rollback jobs apply` made has it from the start. Where both are fixed, one build at a time; otherwise one that waits for\n" +
			"an answer holds up no other service, and the program's lock keeps two of the same apart. Its stages are\n" +
			"Choose, Plan, Approve and Run as far as it asks, and Rollback where it asks nothing. The ids of its questions are\n" +
			"RollbackChoose and RollbackApprove. All else is as in rollbackStage.",
		commands: []string{"plan", "run"},
		keys: append(slices.Clone(stageKeys),
			[2]string{"services", "list to choose the service from, where service is not given"},
			[2]string{"environments", "list to choose the environment from, where environment is not given"},
			[2]string{"also", "further parameters of the page"}),
		examples: []string{
			"@Library('rollback') _\nrollbackPipeline(service: 'payments', environment: 'prod', github: true, kubeconfig: true, aws: true)",
			"@Library('rollback') _\nrollbackPipeline(services: ['payments', 'web'], environments: ['staging', 'prod'], choose: true, approve: true)",
		},
	},
	{
		name: "rollbackParameters", does: "the parameters of the page, for properties([parameters(...)])",
		about: "Each has the name of the variable that the program reads, so nothing is translated on the way. Returns a list.",
		keys: [][2]string{
			{"none", "false: the job does nothing but roll back, so the method none is not offered (default: true)"},
			{"services", "offer ROLLBACK_SERVICE with these choices, a list or a text with commas; an empty one makes it a field"},
			{"environments", "offer ROLLBACK_ENVIRONMENT with these choices, a list or a text with commas; an empty one makes it a field"},
			{"also", "the job's own parameters, after these"},
		},
		examples: []string{
			"properties([parameters(rollbackParameters(also: [booleanParam(name: 'DEPLOY', defaultValue: true)]))])",
			"// a declarative pipeline takes no list, so there they are written out\n" + declarative(""),
		},
	},
	{
		name: "withRollback", does: "readies an agent: the program, its configuration, credentials by their ids",
		about: "The steps in its block need no keys of their own then; other steps take its keys as well, and ready the agent themselves.\n" +
			"Each of its own keys may also be a variable of the controller, set once for all pipelines: ROLLBACK_URL for url,\n" +
			"ROLLBACK_GITHUB=true for github: true. Of credentials, true means the one with the default id; what is not asked for is\n" +
			"not bound. A program that is downloaded is checked, and kept on the agent by version and checksum.",
		examples: []string{
			"withRollback(node: 'deploy', service: 'payments', environment: 'prod', github: true, aws: 'prod-aws', kubeconfig: true,\n" +
				"    configText: libraryResource('rollback.yaml')) { // of a second library: @Library(['rollback', 'acme']) _\n" +
				"    retagImage(to: 'a57fbe7', reason: 'errors after 9f2c1ab')\n    rolloutRestart(reason: 'errors after 9f2c1ab')\n    verifyRollback()\n}",
			"// downloaded once for each agent; from a mirror or a file:// path where there is no internet\nnode {\n" +
				"    withRollback(url: 'https://mirror.example.com/rollback/{version}/rollback_{os}_{arch}', version: '1.4.0',\n" +
				"        sha256: libraryResource('rollback-1.4.0.SHA256SUMS')) {\n        rollbackDoctor(service: 'payments', environment: 'prod')\n    }\n}",
		},
	},
	{
		name: "revertPullRequest", does: "only the revert pull request: an exact inverse, without a clone",
		about:    "One of pr, commit and to says what to undo. Run twice it finds its own pull request. Returns the outcome as a Map of texts.",
		commands: []string{"revert"},
		examples: []string{"revertPullRequest(service: 'payments', environment: 'prod', pr: 4, reason: 'amounts rounded wrongly', github: true)"},
	},
	{
		name: "retagImage", does: "only moves the tag: checked, the outgoing image kept, undoable",
		about:    "The pods keep what they run until they restart: rolloutRestart, then verifyRollback. Returns the outcome as a Map of texts.",
		commands: []string{"retag"},
		examples: []string{"retagImage(service: 'payments', environment: 'prod', to: 'previous', reason: 'errors after 9f2c1ab', aws: true, kubeconfig: true)"},
	},
	{
		name: "rolloutRestart", does: "only restarts what pulls the moving tag, and waits until it serves",
		about:    "Ends early, with events and log lines, when new pods do not come up. Returns the outcome as a Map of texts.",
		commands: []string{"restart"},
		examples: []string{"rolloutRestart(service: 'payments', environment: 'prod', reason: 'errors after 9f2c1ab', aws: true, kubeconfig: true)"},
	},
	{
		name: "verifyRollback", does: "proves what the pods run, by digest; changes nothing",
		about: "Success means that every pod runs the target, that there are as many as wanted, and that they stayed ready. ROLLBACK_TO of\n" +
			"the page is not read here: it says where a rollback goes, not what must run now. Returns the outcome as a Map of texts.",
		commands: []string{"verify"},
		examples: []string{"verifyRollback(service: 'payments', environment: 'prod', to: 'a57fbe7', aws: true, kubeconfig: true)"},
	},
	{
		name: "rollbackStatus", does: "what runs, and where the last rollback stands, as a Map",
		about: "Keys of the Map: running (digest), commit, pods, ready, desired, tag, tagDigest, state of the last rollback, reason, by,\n" +
			"frozen, owed, due, overdue, pullRequest; all are texts. Without a service: services, and each key after its service and a\n" +
			"dot, payments.running.",
		commands: []string{"status"},
		examples: []string{"def status = rollbackStatus(service: 'payments', environment: 'prod', aws: true, kubeconfig: true)\nif (status.overdue == 'true') {\n    echo('merge the revert: ' + status.pullRequest)\n}"},
	},
	{
		name: "rollbackDoctor", does: "checks every access without changing anything",
		about:    "One line in the log for each check, with its remedy. Fails the build when one fails. Returns checks and failed in a Map.",
		commands: []string{"doctor"},
		examples: []string{"rollbackDoctor(service: 'payments', environment: 'prod', github: true, aws: true, kubeconfig: true)"},
	},
	{
		name: "rollbackCommand", does: "what the other steps stand on; not for pipelines", internal: true,
		about: "Refuses unknown keys, turns keys and parameters into the variables of the program, runs one of its commands on an agent,\n" +
			"and reads what it left behind. Its methods may change with any version.",
		examples: []string{"// use the steps for the act: rollbackStage, retagImage, rolloutRestart, verifyRollback, revertPullRequest"},
	},
}

// agentKeys are the keys of withRollback, which every other step takes as well.
var agentKeys = [][2]string{
	{"binary", "the program on the agent: a path, or a name on PATH (default: rollback on PATH)"},
	{"url", "where to download it from, with {version}, {os} (linux, darwin) and {arch} (amd64, arm64)"},
	{"version", "its version, for {version} and for the cache"},
	{"sha256", "its checksum, or the lines of SHA256SUMS; without it nothing is downloaded"},
	{"configText", "text of a rollback.yaml, instead of config, a path in the workspace"},
	{"github", "secret text: a GitHub token (rollback-github)"},
	{"githubLogin", "user name and password whose password is a token, as Jenkins' own GitHub App credentials are (rollback-github-login)"},
	{"githubKey", "secret file: private key of a GitHub App, instead of githubKeyFile; goes with githubApp and githubInstallation (rollback-github-key)"},
	{"aws", "user name and password: access key and secret key (rollback-aws); a role is registryRole and clusterRole"},
	{"kubeconfig", "secret file: a kubeconfig (rollback-kubeconfig)"},
	{"jenkins", "user name and password: a Jenkins user, instead of jenkinsUser, and its API token (rollback-jenkins)"},
	{"registry", "user name and password of an OCI registry (rollback-registry)"},
}

// managed are the flags that the steps set themselves.
var managed = []string{"plan", "out", "yes", "json", "result-file"}

// nodeKey is a key of every step that runs something.
var nodeKey = [2]string{"node", "label of the agent to take (default: the one that the caller holds, else the label in ROLLBACK_NODE, else any)"}

// groovyVariable is the rule in vars/rollbackCommand.groovy: the variable of a key.
func groovyVariable(key string) string {
	return "ROLLBACK_" + strings.ToUpper(regexp.MustCompile("([A-Z])").ReplaceAllString(key, "_$1"))
}

// flagKeys are the flags of a step's commands as keys, with their usage, in the order of the commands.
func (s step) flagKeys(t *testing.T) [][2]string {
	t.Helper()
	var list [][2]string
	for _, name := range s.commands {
		i := slices.IndexFunc(quiet().commands(), func(c *cli.Command) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("%s: there is no command %s", s.name, name)
		}
		for _, f := range quiet().commands()[i].Flags {
			flag := f.Names()[0]
			_, isSetting := lookupFlag(flag)
			key := [2]string{camel(flag), variable.ReplaceAllString(f.(cli.DocGenerationFlag).GetUsage(), "")}
			if !isSetting && !slices.Contains(managed, flag) && !slices.ContainsFunc(list, func(k [2]string) bool { return k[0] == key[0] }) {
				list = append(list, key)
			}
		}
	}
	return list
}

// lookupFlag finds a setting or selector by its flag.
func lookupFlag(flag string) (config.Setting, bool) {
	for _, s := range slices.Concat(config.Selectors, config.Settings) {
		if s.Flag == flag {
			return s, true
		}
	}
	return config.Setting{}, false
}

// stepSettings are the settings that are keys of the steps: all but those that a job has under a key of its own, such as approve.
func stepSettings() []config.Setting {
	list := slices.Concat(config.Selectors, config.Settings)
	return slices.DeleteFunc(list, func(s config.Setting) bool {
		_, own := ownKeys[s.Key]
		return own || s.Key == "jenkins.agent.credentials"
	})
}

// groovyList is the list of texts that a method of a step returns first.
func groovyList(t *testing.T, source, method string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?s)\nList ` + method + `\([^)]*\) \{\n    return \[(.*?)\]`).FindStringSubmatch("\n" + source)
	if m == nil {
		t.Fatalf("there is no list %s()", method)
	}
	list := []string{}
	for _, word := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(m[1], -1) {
		list = append(list, word[1])
	}
	return list
}

func groovy(t *testing.T, name string) string {
	t.Helper()
	return read(t, filepath.Join("..", "vars", name+".groovy"))
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

func keysOf(keys [][2]string) []string {
	list := []string{}
	for _, k := range keys {
		list = append(list, k[0])
	}
	return list
}

// The keys of every step are the flags of its commands and its own, no more and no less; every step has a help.
func TestStepKeys(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "vars", "*"))
	must(t, err)
	want := []string{}
	for _, s := range steps {
		want = append(want, s.name+".groovy", s.name+".txt")
		if s.internal || s.name == "withRollback" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			got, want := sorted(groovyList(t, groovy(t, s.name), "own")), sorted(keysOf(slices.Concat(s.flagKeys(t), s.keys)))
			if !slices.Equal(got, want) {
				t.Errorf("own() is %q, the flags and keys are %q", got, want)
			}
		})
	}
	got := []string{}
	for _, f := range files {
		got = append(got, filepath.Base(f))
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("vars/ holds %q, want %q", got, want)
	}
}

// What rollbackCommand knows is what the program knows: settings, options, and the variable of each.
func TestStepVariables(t *testing.T) {
	t.Parallel()
	source := groovy(t, "rollbackCommand")
	var settings []string
	for _, s := range stepSettings() {
		settings = append(settings, camel(s.Flag))
		if got := groovyVariable(camel(s.Flag)); got != s.Env {
			t.Errorf("the key of --%s becomes %s, want %s", s.Flag, got, s.Env)
		}
	}
	if got := groovyList(t, source, "settings"); !slices.Equal(got, settings) {
		t.Errorf("settings() is %q, want %q", got, settings)
	}
	if kinds := keysOf(agentKeys)[slices.Index(keysOf(agentKeys), "configText")+1:]; !slices.Equal(kinds, config.Credentials) {
		t.Errorf("the kinds of credentials are %q, those of rollback.yaml %q", kinds, config.Credentials)
	}
	if got := groovyList(t, source, "agent"); !slices.Equal(got, keysOf(agentKeys)) {
		t.Errorf("agent() is %q, want %q", got, keysOf(agentKeys))
	}
	parameters := []string{"service", "environment"}
	for _, p := range jobParameters(false) {
		key := camel(strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(p.Name, "ROLLBACK_"), "_", "-")))
		parameters = append(parameters, key)
		if groovyVariable(key) != p.Name {
			t.Errorf("the key %s becomes %s, want %s", key, groovyVariable(key), p.Name)
		}
	}
	if got := groovyList(t, source, "parameters"); !slices.Equal(got, parameters) {
		t.Errorf("parameters() is %q, want %q", got, parameters)
	}
	if !strings.Contains(source, `key.replaceAll('([A-Z])', '_$1').toUpperCase(Locale.ROOT)`) {
		t.Error("the rule for variables in vars/rollbackCommand.groovy is not the one that is tested here")
	}
	options := map[string]bool{}
	for _, s := range steps {
		for _, k := range s.flagKeys(t) {
			options[k[0]] = true
		}
	}
	if got, want := sorted(groovyList(t, source, "options")), slices.Sorted(maps.Keys(options)); !slices.Equal(got, want) {
		t.Errorf("options() is %q, the flags are %q", got, want)
	}
	for _, key := range slices.Concat(keysOf(agentKeys), []string{nodeKey[0]}) { // one name, one meaning
		if slices.Contains(settings, key) || options[key] {
			t.Errorf("%s is a key of withRollback and a flag", key)
		}
	}
}

// definition is a parameter in a step: symbol, name, the rest.
var definition = regexp.MustCompile(`(?m)^ *(?:list\.add\()?(choice|string|booleanParam)\(name: '([A-Z_]+)', (.*?)description: '((?:[^'\\]|\\.)*)'\)`)

// The page of a job is the one that the program describes.
func TestStepParameters(t *testing.T) {
	t.Parallel()
	source := groovy(t, "rollbackParameters")
	found := definition.FindAllStringSubmatch(source, -1)
	want := jobParameters(false)
	if len(found) != len(want) {
		t.Fatalf("%d parameters, want %d: %q", len(found), len(want), found)
	}
	symbols := map[rollback.ParameterKind]string{rollback.ChoiceParameter: "choice", rollback.TextParameter: "string", rollback.BooleanParameter: "booleanParam"}
	for i, p := range want {
		got := found[i]
		if got[1] != symbols[p.Kind] || got[2] != p.Name || strings.ReplaceAll(got[4], `\'`, "'") != p.Description {
			t.Errorf("parameter %d is %s %s %q, want %s %s %q", i, got[1], got[2], got[4], symbols[p.Kind], p.Name, p.Description)
		}
		rest := ""
		switch p.Kind {
		case rollback.ChoiceParameter:
			rest = "choices: methods, "
		case rollback.TextParameter:
			rest = "defaultValue: '" + p.Default + "', trim: true, "
		case rollback.BooleanParameter:
			rest = "defaultValue: " + p.Default + ", "
		}
		if got[3] != rest {
			t.Errorf("%s: %q, want %q", p.Name, got[3], rest)
		}
	}
	all, only := jobParameters(false)[0].Choices, jobParameters(true)[0].Choices
	if !slices.Equal(all, append([]string{"none"}, only...)) || !strings.Contains(source, "List methods = ['"+strings.Join(only, "', '")+"']\n") || !strings.Contains(source, "methods = ['none'] + methods\n") {
		t.Errorf("the methods are not %q and %q", all, only)
	}
	for _, flag := range []string{"service", "environment"} {
		s, _ := lookupFlag(flag)
		if !strings.Contains(source, fmt.Sprintf("oneOf('%s', args.get('%ss'), '%s')", s.Env, flag, s.Usage)) {
			t.Errorf("%s is not offered as the flag describes it", s.Env)
		}
	}
}

// help is what Jenkins shows of a step. A controller shows it as HTML or, by default, as text: so it is text that reads well in
// both, in one pre element, without characters that mean something in HTML.
func (s step) help(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "<pre>\n%s: %s\n\n%s\n", s.name, s.does, s.about)
	for _, e := range s.examples {
		b.WriteString("\n    " + strings.ReplaceAll(e, "\n", "\n    ") + "\n")
	}
	list := func(title string, keys [][2]string) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, k := range keys {
			fmt.Fprintf(&b, "  %-24s %s\n", k[0], k[1])
		}
	}
	if own := slices.Concat(s.flagKeys(t), s.keys); len(own) > 0 {
		list("Keys", own)
	}
	if !s.internal && s.name != "rollbackParameters" {
		list("The agent, its program and credentials by id, with the default id that true stands for", append(slices.Clone(agentKeys), nodeKey))
		var settings [][2]string
		for _, x := range stepSettings() {
			settings = append(settings, [2]string{camel(x.Flag), x.Usage})
		}
		list("The scope and where it lives; what is in rollback.yaml need not be given", settings)
		b.WriteString("\nA key wins over its variable (ROLLBACK_ and the key in capitals: ROLLBACK_DRY_RUN), and that over the page of the job.\n" +
			"An empty value counts as not given. An unknown key ends the build before anything runs, and so does a value other than\n" +
			"true and false of approve, choose, confirm and dryRun, or one of approveWithin that is no number of minutes.\n")
	}
	b.WriteString("</pre>\n")
	inner := strings.TrimSuffix(strings.TrimPrefix(b.String(), "<pre>\n"), "</pre>\n")
	if strings.ContainsAny(inner, "<>&") {
		t.Errorf("the help of %s has a character that means something in HTML", s.name)
	}
	return b.String()
}

// TestStepHelp holds vars/*.txt and the README's list to the steps; -update writes them.
func TestStepHelp(t *testing.T) {
	t.Parallel()
	for _, s := range steps {
		path := filepath.Join("..", "vars", s.name+".txt")
		text := s.help(t)
		if *update {
			must(t, os.WriteFile(path, []byte(text), 0o644))
		} else if read(t, path) != text {
			t.Errorf("%s is not what the flags say; go test ./commands -run TestStepHelp -update writes it", path)
		}
	}
	const begin, end = "<!-- steps: written by go test ./commands -run TestStepHelp -update -->\n", "<!-- /steps -->\n"
	var table strings.Builder
	table.WriteString("| step | does |\n|---|---|\n")
	for _, s := range steps {
		if !s.internal {
			fmt.Fprintf(&table, "| `%s` | %s |\n", s.name, s.does)
		}
	}
	path := filepath.Join("..", "README.md")
	before, rest, ok := strings.Cut(read(t, path), begin)
	have, after, closed := strings.Cut(rest, end)
	switch {
	case !ok || !closed:
		t.Errorf("%s has no list of steps between %q and %q", path, begin, end)
	case *update:
		must(t, os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644))
	case have != table.String():
		t.Errorf("%s: the list of steps is not:\n%s", path, table.String())
	}
}

// Examples use keys that their steps know.
func TestStepExamples(t *testing.T) {
	t.Parallel()
	common := slices.Concat(keysOf(agentKeys), []string{nodeKey[0]})
	for _, s := range stepSettings() {
		common = append(common, camel(s.Flag))
	}
	known := map[string][]string{}
	for _, s := range steps {
		known[s.name] = slices.Concat(keysOf(s.flagKeys(t)), keysOf(s.keys), common)
	}
	texts := map[string]string{}
	for _, s := range steps {
		texts["the help of "+s.name] = strings.Join(s.examples, "\n")
	}
	files, err := filepath.Glob(filepath.Join("..", "docs", "examples", "*"))
	must(t, err)
	for _, path := range append(files, filepath.Join("..", "docs", "jenkins.md"), filepath.Join("..", "README.md")) {
		texts[path] = read(t, path)
	}
	for where, text := range texts { // this library has no resources
		if strings.Contains(text, "libraryResource('rollback.yaml')") && !strings.Contains(text, "@Library(['rollback', 'acme']) _") {
			t.Errorf("%s reads rollback.yaml from a library, and loads none that has it", where)
		}
	}
	calls := 0
	call, key := regexp.MustCompile(`\b(\w+)\(`), regexp.MustCompile(`(?:^|[(,\s])(\w+): `)
	for where, text := range texts {
		for _, at := range call.FindAllStringSubmatchIndex(text, -1) {
			name := text[at[2]:at[3]]
			if known[name] == nil {
				continue
			}
			depth, inner := 1, ""
			for _, r := range text[at[1]:] { // what stands in this call, and in no call inside of it
				if r == '(' {
					depth++
				} else if r == ')' {
					depth--
				}
				if depth == 0 {
					break
				}
				if depth == 1 {
					inner += string(r)
				}
			}
			calls++
			for _, m := range key.FindAllStringSubmatch(inner, -1) {
				if !slices.Contains(known[name], m[1]) {
					t.Errorf("%s gives %s the key %s", where, name, m[1])
				}
			}
		}
	}
	if calls < 20 {
		t.Errorf("only %d calls found in the examples", calls)
	}
}

// The one-click jobs that the program writes use keys of rollbackPipeline.
func TestStepKeysOfJobs(t *testing.T) {
	t.Parallel()
	i := slices.IndexFunc(steps, func(s step) bool { return s.name == "rollbackPipeline" })
	known := keysOf(slices.Concat(steps[i].flagKeys(t), steps[i].keys, agentKeys, [][2]string{nodeKey}))
	for _, s := range stepSettings() {
		known = append(known, camel(s.Flag))
	}
	file := filepath.Join(t.TempDir(), "rollback.yaml")
	must(t, os.WriteFile(file, []byte(manySettings), 0o600))
	f, err := config.Load(file, func(string) string { return "" }, t.TempDir())
	must(t, err)
	scoped, err := f.Resolve(rollback.Scope{Service: "payments", Environment: "prod"}, nil)
	must(t, err)
	job, _ := pipelineOf(scoped)
	found := regexp.MustCompile(`(?m)^    (\w+): `).FindAllStringSubmatch(job.Script, -1)
	if len(found) < 5 {
		t.Errorf("only %d keys in:\n%s", len(found), job.Script)
	}
	for _, m := range found {
		if !slices.Contains(known, m[1]) {
			t.Errorf("a job gives rollbackPipeline the key %s", m[1])
		}
	}
}

// manySettings is a configuration with a setting of each kind.
const manySettings = `defaults: {repo: "acme/{service}", job: "deploy/{service}", revert: {autoMerge: true}}
environments:
  prod:
    registry: {kind: ecr, account: "123456789012", region: eu-west-1}
    cluster: {context: acme-prod, server: "https://prod.example.com"}
    jenkins: {url: "https://jenkins.example.com", approve: true, choose: true, submitter: [leads], agent: {node: deploy, binary: rollback,
      url: "file:///opt/{os}", version: v1, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", credentials: [github, githubLogin=x]}}
    namespace: prod
    settle: 30s
`
