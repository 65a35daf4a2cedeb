package commands

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/ecr"
	"github.com/rollback-tools/rollback/internal/kube"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// needs is what one command asks of the outside systems.
type needs struct {
	command string
	method  string // of run, where it is not the usual one
	kube    []kube.Act
	methods []string // of the registry
}

// right is one right, by the name that the system's own pages give it.
type right struct {
	Name string `json:"name"`
	// Why says what it is for; of an optional one also what is lost without it.
	Why      string `json:"why"`
	Optional bool   `json:"optional,omitempty"`
}

// Rights that several commands have.
var (
	readCode  = right{Name: "contents: read", Why: "titles, authors and files of what would be undone; without it they are not told", Optional: true}
	readPulls = right{Name: "pull requests: read", Why: "which pull request brought it; without it neither that nor titles are told", Optional: true}
	readDebts = right{Name: "pull requests: read", Why: "whether what is owed is merged; without it the record is believed", Optional: true}
	workflows = right{Name: "workflows: write", Why: "undo changes below .github/workflows; without it such a revert is refused", Optional: true}
	gates     = []right{
		{Name: "checks: read", Why: "name the checks that a merge waits for; without it they are said not to be readable", Optional: true},
		{Name: "commit statuses: read", Why: "name the statuses that a merge waits for; without it they are said not to be readable", Optional: true},
	}
	inFlight = "see deployments in flight; without it there is a warning that they are not seen"
)

// forgeRights are the permissions of a GitHub App or a fine-grained token, on the services' repositories
// (https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps). Metadata: read comes with any.
func (n needs) forgeRights() []right {
	switch n.command {
	case "status":
		return []right{readDebts}
	case "undo":
		return []right{readCode, readDebts}
	case "candidates", "plan", "retag", "restart":
		return []right{readCode, readPulls}
	case "doctor":
		return []right{{Name: "contents: read", Why: "look at the branch that is deployed"}, {Name: "pull requests: read", Why: "check that they can be read"}}
	case "run", "revert", "reland":
		list := []right{
			{Name: "contents: write", Why: "the revert's branch and commit, and its merge"},
			{Name: "pull requests: write", Why: "the revert pull request, its labels and reviewers"},
		}
		if n.command == "run" && n.method == "" {
			for i := range list {
				list[i].Optional, list[i].Why = true, list[i].Why+"; without it the revert stays owed"
			}
		}
		return append(append(list, gates...), workflows)
	}
	return nil
}

// jenkinsRights are those of the user whose token is used.
func (n needs) jenkinsRights() []right {
	switch n.command {
	case "plan", "retag", "undo":
		return []right{{Name: "Overall/Read", Why: "get in; " + inFlight, Optional: true}, {Name: "Job/Read", Why: inFlight, Optional: true}}
	case "doctor":
		return []right{{Name: "Overall/Read", Why: "get in"}, {Name: "Job/Read", Why: "look at the job that deploys"}}
	case "run":
		if n.method == "" {
			return needs{command: "plan"}.jenkinsRights()
		}
		return []right{
			{Name: "Overall/Read", Why: "get in"}, {Name: "Job/Read", Why: "follow the build of the merged revert"},
			{Name: "Job/Build", Why: "start that build where no webhook does; without it somebody has to", Optional: true},
		}
	case "trigger":
		return []right{
			{Name: "Overall/Read", Why: "get in"}, {Name: "Job/Read", Why: "find the rollback job, and follow its build and log"},
			{Name: "Job/Build", Why: "start it, and answer what it asks"}, {Name: "Job/Cancel", Why: "abort the build, or turn its question down; without it both are refused", Optional: true},
		}
	case "jobs":
		return []right{
			{Name: "Overall/Read", Why: "get in"}, {Name: "Job/Read", Why: "see which jobs and folders there are"},
			{Name: "Job/Create", Why: "make jobs and folders"}, {Name: "Job/Configure", Why: "read a job's configuration, and change what is ours in it"},
		}
	}
	return nil
}

// awsRights are the actions of the registry's methods. One that any method can't do without is not optional.
func (n needs) awsRights() []right {
	var list []right
	for _, a := range ecr.Actions {
		if !slices.Contains(n.methods, a.Method) {
			continue
		}
		r := right{Name: a.Name, Why: a.Why, Optional: a.Optional}
		if n.command == "status" {
			r.Why, r.Optional = "what tags name; without it only --tags fails to tell", true
		}
		i := slices.IndexFunc(list, func(old right) bool { return old.Name == r.Name })
		switch {
		case i < 0:
			list = append(list, r)
		case list[i].Optional && !r.Optional:
			list[i] = r
		}
	}
	slices.SortFunc(list, func(a, b right) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// needsOf are the rights of each command that looks at the cluster and the registry, from least to most.
var needsOf = []needs{
	{command: "status", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecords}, methods: []string{"Images"}},
	{command: "candidates", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord}, methods: []string{"Repository", "Images", "Manifests", "List"}},
	{command: "plan", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord}, methods: []string{"Repository", "Images", "Manifests", "List"}},
	{command: "verify", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord, kube.ActWait}, methods: []string{"Repository", "Images", "Manifests"}},
	{command: "doctor", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord}, methods: []string{"Repository", "Images", "Manifests"}},
	{command: "retag", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord}, methods: []string{"Repository", "Images", "Manifests", "List", "Tag"}},
	{command: "restart", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord, kube.ActRestart, kube.ActWait, kube.ActDiagnose}, methods: []string{"Repository", "Images", "Manifests"}},
	{command: "undo", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord, kube.ActRestart, kube.ActWait, kube.ActDiagnose}, methods: []string{"Repository", "Images", "Manifests", "Tag"}},
	{command: "run", kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord, kube.ActRestart, kube.ActWait, kube.ActDiagnose}, methods: []string{"Repository", "Images", "Manifests", "List", "Tag"}},
}

// byRevert are the rights of a run by revert: its build moves the tag and restarts.
var byRevert = needs{
	command: "run", method: rollback.MethodRevert,
	kube: []kube.Act{kube.ActIdentify, kube.ActSurvey, kube.ActRecord, kube.ActWait, kube.ActDiagnose}, methods: []string{"Repository", "Images", "Manifests", "List"},
}

// otherNeeds are those of the commands that live from GitHub or Jenkins alone; a revert tells the record, where it may.
var otherNeeds = []needs{{command: "revert", kube: []kube.Act{kube.ActIdentify, kube.ActRecord}}, {command: "reland", kube: []kube.Act{kube.ActIdentify, kube.ActRecord}}, {command: triggering}, {command: "jobs"}}

// recordVerbs are the verbs that the command needs of the record: the first rollback makes it, an undo finds it there.
func (n needs) recordVerbs() []string {
	switch n.command {
	case "retag", "restart", "run":
		return []string{"get", "create", "update"}
	case "undo", "revert", "reland":
		return []string{"get", "update"}
	}
	return []string{"get"}
}

// writes tells whether the command changes anything.
func (n needs) writes() bool { return len(n.recordVerbs()) > 1 }

// ifWriting is the status of a check that only matters to commands that change something; to the others it is a warning.
func (n needs) ifWriting(status string) string {
	if n.writes() {
		return status
	}
	return "warn"
}

// forOption is --for of a command that is about the rights of others.
func forOption(list []needs) option {
	return option{name: "for", usage: "command whose rights it is about: " + strings.Join(namesOf(list), ", ") + " (default: run)"}
}

func namesOf(list []needs) []string {
	var names []string
	for _, n := range list {
		names = append(names, n.command)
	}
	return names
}

// needsFor are those of the command that --for names.
func (e *Env) needsFor(c *cli.Context, list []needs) (needs, error) {
	command := e.text(c, forOption(list))
	if command == "" {
		command = "run"
	}
	i := slices.IndexFunc(list, func(n needs) bool { return n.command == command })
	if i < 0 {
		return needs{}, rollback.UsageErrorf("--for %q: want one of %s", command, strings.Join(namesOf(list), ", "))
	}
	return list[i], nil
}

func (e *Env) permissionsCommand() *cli.Command {
	all := slices.Concat(needsOf, otherNeeds)
	optHow := option{name: optMethod.name, usage: "of run: retag, revert or undo (default: retag)"}
	optRequired := option{name: "required-only", usage: "leave out the rights it can do without", flag: true}
	return &cli.Command{
		Name: "permissions", Category: set, Usage: "print the least privileges for a command: IAM policy, GitHub, Jenkins, RBAC Role",
		Description: "Two YAML documents for kubectl on standard output, the rest in comments before them; with --json all of it as JSON.\n" +
			"trigger and jobs have the comments alone: they need nothing but Jenkins.\n" +
			"Account, region, repository and namespace come from the configuration, or stand as placeholders.",
		Flags: e.scopeFlags(forOption(all), optHow, optRequired, optJSON),
		Action: func(c *cli.Context) error {
			sw, err := e.switches(c, optRequired, optJSON)
			if err != nil {
				return err
			}
			n, err := e.needsFor(c, all)
			if err != nil {
				return err
			}
			if n, err = e.byMethod(n, e.text(c, optHow)); err != nil {
				return err
			}
			where, err := e.permissionsPlace(c)
			if err != nil {
				return err
			}
			rights := rightsOf(n, where, sw["required-only"])
			if sw["json"] {
				return e.json(rights)
			}
			_, e.unwritten = fmt.Fprint(e.Stdout, rights.text(n, where))
			return nil
		},
	}
}

// byMethod are the needs of a run by that method; other commands have none to choose from.
func (e *Env) byMethod(n needs, method string) (needs, error) {
	switch {
	case n.command != "run" || method == "" || method == rollback.MethodRetag:
		return n, nil
	case method == rollback.MethodRevert:
		return byRevert, nil
	case method == methodUndo:
		return needsOf[slices.IndexFunc(needsOf, func(n needs) bool { return n.command == "undo" })], nil
	}
	return n, rollback.UsageErrorf("--method %q: want retag, revert or undo", method)
}

// permissionsPlace is where the rights are for; what the configuration does not say stands as a placeholder.
func (e *Env) permissionsPlace(c *cli.Context) (config.Scoped, error) {
	file, err := config.Load(e.selector(c, "config"), e.Getenv, e.Dir)
	if err != nil {
		return config.Scoped{}, err
	}
	scope := rollback.Scope{Service: e.selector(c, "service"), Environment: e.selector(c, "environment")}
	var s config.Scoped
	switch {
	case scope.Environment == "":
	case scope.Service == "":
		s, err = file.Environment(scope.Environment, e.given(c), config.NeedCluster)
	default:
		s, err = file.Resolve(scope, e.given(c))
	}
	if err != nil {
		return s, err
	}
	or := func(v *string, placeholder string) {
		if *v == "" {
			*v = placeholder
		}
	}
	or(&s.Registry.Account, "ACCOUNT")
	or(&s.Registry.Region, "REGION")
	or(&s.Image, "*")
	or(&s.Namespace, "NAMESPACE")
	return s, nil
}

// rights is what `permissions --json` prints.
type rights struct {
	SchemaVersion int         `json:"schemaVersion"`
	Command       string      `json:"command"`
	Method        string      `json:"method,omitempty"` // of run, where it is not retag
	IAM           *iamPolicy  `json:"iamPolicy,omitempty"`
	AWS           []right     `json:"aws,omitempty"` // the policy's actions on the repository, with what they are for
	Kubernetes    []kube.Rule `json:"kubernetes,omitempty"`
	GitHub        []right     `json:"github,omitempty"`
	Jenkins       []right     `json:"jenkins,omitempty"`
}

type iamPolicy struct {
	Version   string         `json:"Version"`
	Statement []iamStatement `json:"Statement"`
}

type iamStatement struct {
	Sid      string   `json:"Sid"`
	Effect   string   `json:"Effect"`
	Action   []string `json:"Action"`
	Resource string   `json:"Resource"`
}

func rightsOf(n needs, where config.Scoped, requiredOnly bool) rights {
	r := rights{SchemaVersion: 1, Command: n.command, Method: n.method, GitHub: n.forgeRights(), Jenkins: n.jenkinsRights()}
	if where.Registry.Kind != "oci" {
		r.AWS = n.awsRights()
	}
	if requiredOnly {
		for _, list := range []*[]right{&r.AWS, &r.GitHub, &r.Jenkins} {
			*list = slices.DeleteFunc(*list, func(r right) bool { return r.Optional })
		}
	}
	var rules []kube.Rule
	if len(n.kube) > 0 { // of no act would be of all
		rules = kube.Rules(n.kube...)
	}
	for _, rule := range rules {
		rule.Optional = rule.Optional || len(n.methods) == 0 // the pull request is opened without the cluster, too
		if rule.Optional && requiredOnly {
			continue
		}
		if rule.Act == kube.ActRecord {
			if rule.Verbs = n.recordVerbs(); len(rule.Verbs) == 1 {
				rule.Why = "read the record with its lock and freeze"
			} else if rule.Optional {
				rule.Why = "tell the record that the pull request pays what it owes"
			}
		}
		r.Kubernetes = append(r.Kubernetes, rule)
	}
	partition := "aws"
	if strings.HasPrefix(where.Registry.Region, "cn-") {
		partition = "aws-cn"
	}
	var statements []iamStatement
	if len(r.AWS) > 0 {
		statements = append(statements, iamStatement{
			Sid: "Rollback" + strings.ToUpper(n.command[:1]) + n.command[1:], Effect: "Allow", Action: namesOfRights(r.AWS),
			Resource: fmt.Sprintf("arn:%s:ecr:%s:%s:repository/%s", partition, where.Registry.Region, where.Registry.Account, where.Image),
		})
	}
	if where.Cluster.EKS != "" && len(r.Kubernetes) > 0 {
		region := where.Cluster.Region
		if region == "" {
			region = where.Registry.Region
		}
		statements = append(statements, iamStatement{
			Sid: "RollbackCluster", Effect: "Allow", Action: []string{"eks:DescribeCluster"},
			Resource: fmt.Sprintf("arn:%s:eks:%s:%s:cluster/%s", partition, region, where.Registry.Account, where.Cluster.EKS),
		})
	}
	if len(statements) > 0 {
		r.IAM = &iamPolicy{Version: "2012-10-17", Statement: statements}
	}
	return r
}

func namesOfRights(list []right) []string {
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	return names
}

// text is the policy as a comment and the Role as YAML, so that the whole can be piped into kubectl apply -f -.
func (r rights) text(n needs, where config.Scoped) string {
	var b strings.Builder
	command := n.command
	if n.method != "" {
		command += " --method " + n.method
	}
	fmt.Fprintf(&b, "# What `rollback %s` needs, and nothing more.\n", command)
	if r.IAM != nil {
		policy, _ := json.MarshalIndent(r.IAM, "", "  ")
		b.WriteString("#\n# IAM policy for the role or user that runs it:\n#\n")
		for _, line := range strings.Split(string(policy), "\n") {
			b.WriteString("#   " + line + "\n")
		}
		lead := "#\n"
		for _, a := range r.AWS {
			if a.Optional {
				fmt.Fprintf(&b, "%s#   %-22s optional: %s\n", lead, a.Name, a.Why)
				lead = ""
			}
		}
	}
	for _, other := range []struct {
		title string
		list  []right
	}{{"GitHub, for the App or the fine-grained token, on the services' repositories", r.GitHub}, {"Jenkins, for the user of the API token", r.Jenkins}} {
		if len(other.list) > 0 {
			b.WriteString("#\n# " + other.title + ":\n#\n")
		}
		for _, right := range other.list {
			why := right.Why
			if right.Optional {
				why = "optional: " + why
			}
			fmt.Fprintf(&b, "#   %-22s %s\n", right.Name, why)
		}
	}
	if len(r.Kubernetes) == 0 {
		return b.String()
	}
	b.WriteString("#\n# RBAC; bind both to the user or service account that runs it:\n")
	name := "rollback-" + strings.ReplaceAll(command, " --method ", "-")
	role, cluster := &strings.Builder{}, &strings.Builder{}
	for _, rule := range merged(r.Kubernetes) {
		to := role
		if rule.Cluster {
			to = cluster
		}
		why := rule.Why
		if rule.Optional {
			why = "optional: " + why
		}
		fmt.Fprintf(to, "  # %s\n  - apiGroups: [%q]\n    resources: [%q]\n", why, rule.Group, rule.Resource)
		if len(rule.Names) > 0 {
			var names []string
			for _, n := range rule.Names {
				names = append(names, fmt.Sprintf("%q", strings.ReplaceAll(n, "{namespace}", where.Namespace)))
			}
			fmt.Fprintf(to, "    resourceNames: [%s]\n", strings.Join(names, ", "))
		}
		fmt.Fprintf(to, "    verbs: [%s]\n", strings.Join(rule.Verbs, ", "))
	}
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: %s\n  namespace: %s\nrules:\n%s", name, where.Namespace, role)
	if cluster.Len() > 0 {
		fmt.Fprintf(&b, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: %s-%s\nrules:\n%s", name, where.Namespace, cluster)
	}
	return b.String()
}

// merged joins rules about the same resource, so that the Role names each once; a right that one act needs is not
// optional because another could do without it, so these two stay apart.
func merged(rules []kube.Rule) []kube.Rule {
	var list []kube.Rule
	for _, r := range rules {
		i := slices.IndexFunc(list, func(m kube.Rule) bool {
			return m.Group == r.Group && m.Resource == r.Resource && m.Optional == r.Optional && m.Cluster == r.Cluster && slices.Equal(m.Names, r.Names)
		})
		if i < 0 {
			r.Verbs = slices.Clone(r.Verbs)
			list = append(list, r)
			continue
		}
		for _, v := range r.Verbs {
			if !slices.Contains(list[i].Verbs, v) {
				list[i].Verbs = append(list[i].Verbs, v)
			}
		}
		if !strings.Contains(list[i].Why, r.Why) {
			list[i].Why += "; " + r.Why
		}
	}
	return list
}
