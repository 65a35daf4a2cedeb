package config

import (
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Type is what kind of value a setting takes.
type Type string

const (
	Text     Type = "text"
	Bool     Type = "bool"     // true or false
	Duration Type = "duration" // as Go writes it: 90s, 10m, 1h30m
	List     Type = "list"     // in flags and variables separated by commas
)

// Setting is one thing that can be configured. Its flag and variable follow from its key: registry.externalId is
// --registry-external-id and ROLLBACK_REGISTRY_EXTERNAL_ID.
type Setting struct {
	Key  string // as in rollback.yaml, with dots: "registry.kind"; "" for what only flags and variables say
	Flag string // without dashes
	Env  string
	Type Type
	// Usage is one line: what it is for.
	Usage string
	// Default is what is built in, "" for nothing.
	Default string
	// Example is a valid value, in the world of the acme company.
	Example string
	// Environment and Service tell whether {environment} and {service} may stand in it.
	Environment, Service bool
	// Path marks the name of a file: in rollback.yaml it starts from that file's directory, and ~/ is the home directory.
	Path bool
	// Choices are the only values, if there are any.
	Choices []string

	own   []string           // placeholders that are filled in elsewhere
	check func(string) error // of one value, placeholders filled in
	form  string             // regular expression for the schema, "" for any text; placeholders are let through beside it
}

// Settings are all settings of rollback.yaml, in the order of the documentation. Flags, variables, schema, starter file
// and Jenkins parameters follow from this table.
var Settings = complete([]Setting{
	{Key: "repo", Usage: "GitHub repository, owner/name", Example: "acme/payments",
		Environment: true, Service: true, check: checkRepo, form: `[A-Za-z0-9-]+/[A-Za-z0-9._-]+`},
	{Key: "branch", Usage: "branch that is deployed", Default: "main", Example: "main",
		Environment: true, Service: true, check: checkBranch},
	{Key: "image", Usage: "repository in the registry", Default: inService, Example: "team/payments",
		Environment: true, Service: true, check: checkImage, form: `[a-z0-9]+((\.|_|__|-+|/)[a-z0-9]+)*`},
	{Key: "tag", Usage: "moving tag that the pods pull", Default: "latest", Example: "latest",
		Environment: true, Service: true, check: checkTag, form: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`},
	{Key: "job", Usage: "Jenkins job that deploys, folders separated by /", Example: "deploy/payments",
		Environment: true, Service: true, check: checkJob},
	{Key: "namespace", Usage: "namespace of the workloads", Example: "prod",
		Environment: true, Service: true, check: checkNamespace, form: `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`},
	{Key: "workloads", Type: List, Usage: "workloads to restart, kind/name, instead of those that use the image", Example: "deployment/payments",
		Environment: true, Service: true, check: checkWorkload, form: `[A-Za-z]+/[a-z0-9.-]+`},
	{Key: "confirm", Type: Bool, Usage: "ask for the service's name before production is changed", Default: "false", Example: "true"},
	{Key: "timeout", Type: Duration, Usage: "how long the pods may take to come up; bounds calls that hang, too (10s to 30s)", Default: "10m", Example: "15m", check: checkTimeout},
	{Key: "settle", Type: Duration, Usage: "how long the pods must stay ready to count as up", Default: "10s", Example: "30s", check: checkSettle},

	{Key: "registry.kind", Usage: "kind of registry: ecr, or oci for any other", Example: "ecr", Choices: []string{"ecr", "oci"}, check: checkKind},
	{Key: "registry.account", Usage: "AWS account that owns the registry, 12 digits in quotes", Example: "123456789012", check: checkAccount, form: `[0-9]{12}`},
	{Key: "registry.region", Usage: "AWS region of the registry", Example: "eu-west-1", check: checkRegion, form: regionForm},
	{Key: "registry.profile", Usage: "AWS profile for the registry", Example: "acme-prod", Environment: true, check: checkWord},
	{Key: "registry.role", Usage: "ARN of the IAM role to assume for the registry", Example: "arn:aws:iam::123456789012:role/rollback",
		Environment: true, check: checkRole, form: roleForm},
	{Key: "registry.externalId", Usage: "external ID that the role's trust policy asks for", Example: "acme-rollback", Environment: true, check: checkExternalID},
	{Key: "registry.host", Usage: "host[:port] of an OCI registry", Example: "registry.example.com", Environment: true, check: checkHost},
	{Key: "registry.insecure", Type: Bool, Usage: "speak plain http to the OCI registry", Default: "false", Example: "true"},
	{Key: "registry.caFile", Usage: "file with the OCI registry's CA certificates, PEM", Example: "ca.pem", Environment: true, Path: true, check: checkPath},
	{Key: "registry.usernameEnv", Usage: "name of the variable that holds the OCI registry's user name", Example: "REGISTRY_USERNAME",
		check: checkVariable, form: variableForm},
	{Key: "registry.passwordEnv", Usage: "name of the variable that holds the OCI registry's password", Example: "REGISTRY_PASSWORD",
		check: checkVariable, form: variableForm},

	{Key: "cluster.context", Usage: "context of the kubeconfig", Example: "prod", Environment: true, check: checkWord},
	{Key: "cluster.kubeconfig", Usage: "kubeconfig file, instead of KUBECONFIG and ~/.kube/config", Example: "~/.kube/prod", Environment: true, Path: true, check: checkPath},
	{Key: "cluster.eks", Usage: "name of the EKS cluster, instead of a context", Example: "acme-prod", Environment: true, check: checkEKS},
	{Key: "cluster.region", Usage: "AWS region of the EKS cluster, if it is not the registry's", Example: "eu-west-1", check: checkRegion, form: regionForm},
	{Key: "cluster.profile", Usage: "AWS profile for the EKS cluster", Example: "acme-prod", Environment: true, check: checkWord},
	{Key: "cluster.role", Usage: "ARN of the IAM role to assume for the EKS cluster", Example: "arn:aws:iam::123456789012:role/rollback",
		Environment: true, check: checkRole, form: roleForm},
	{Key: "cluster.externalId", Usage: "external ID that the EKS role's trust policy asks for", Example: "acme-rollback", Environment: true, check: checkExternalID},
	{Key: "cluster.inCluster", Type: Bool, Usage: "use the cluster this process runs in, instead of a context", Default: "false", Example: "true"},
	{Key: "cluster.server", Usage: "URL of the API server; any other is refused", Example: "https://prod.example.com", Environment: true, check: checkServer},
	{Key: "cluster.uid", Usage: "UID of the cluster's kube-system namespace; any other is refused", Example: "5e2b6c1a-6a1f-4b3e-9d53-0c8f4d7a1b22", check: checkUID, form: uidForm},

	{Key: "github.url", Usage: "URL of GitHub Enterprise Server; without it github.com", Example: "https://github.example.com", Environment: true, check: checkURL},
	{Key: "github.tokenEnv", Usage: "name of the variable that holds the GitHub token", Default: "GITHUB_TOKEN", Example: "GITHUB_TOKEN",
		check: checkVariable, form: variableForm},
	{Key: "github.app", Usage: "ID of a GitHub App, instead of a token", Example: "123456", check: checkNumber, form: numberForm},
	{Key: "github.installation", Usage: "ID of the App's installation", Example: "7891011", check: checkNumber, form: numberForm},
	{Key: "github.caFile", Usage: "file with the CA certificates of GitHub Enterprise Server, PEM", Example: "ca.pem", Environment: true, Path: true, check: checkPath},
	{Key: "github.keyFile", Usage: "file with the App's private key, PEM", Example: "~/.config/rollback/app.pem", Environment: true, Path: true, check: checkPath},

	{Key: "jenkins.url", Usage: "URL of Jenkins", Example: "https://jenkins.example.com", Environment: true, check: checkURL},
	{Key: "jenkins.insecure", Type: Bool, Usage: "send the Jenkins token over plain http, also to another machine: everybody on the way can read it", Default: "false", Example: "true"},
	{Key: "jenkins.user", Usage: "user that the Jenkins token belongs to", Example: "rollback", check: checkWord},
	{Key: "jenkins.tokenEnv", Usage: "name of the variable that holds the Jenkins API token", Default: "JENKINS_TOKEN", Example: "JENKINS_TOKEN",
		check: checkVariable, form: variableForm},
	{Key: "jenkins.passwordEnv", Usage: "name of the variable that holds the Jenkins user's password, where Jenkins takes no API tokens", Example: "JENKINS_PASSWORD",
		check: checkVariable, form: variableForm},
	{Key: "jenkins.caFile", Usage: "file with Jenkins' CA certificates, PEM", Example: "ca.pem", Environment: true, Path: true, check: checkPath},
	{Key: "jenkins.commitParameter", Usage: "parameter of the deploy job that takes the commit, where the job builds no branch", Example: "COMMIT", check: checkVariable, form: variableForm},
	{Key: "jenkins.webhook", Type: Duration, Usage: "how long a merge may take to start the job by itself, before it is started with the commit; 0s where nothing starts it", Default: "1m", Example: "0s", check: checkSettle},
	{Key: "jenkins.rollbackJob", Usage: "Jenkins job that rolls back, folders separated by /", Default: "rollback/" + inEnvironment + "/" + inService, Example: "ops/rollback/{environment}/{service}",
		Environment: true, Service: true, check: checkJob},
	{Key: "jenkins.library", Usage: "name of the shared library in Jenkins, with @version to pin one", Default: "rollback", Example: "rollback@v1",
		check: checkLibrary, form: libraryForm},
	{Key: "jenkins.approve", Type: Bool, Usage: "in the jobs that jobs apply makes: show the plan and wait for a yes; where confirm is set they always do", Default: "false", Example: "true"},
	{Key: "jenkins.choose", Type: Bool, Usage: "in those jobs: ask which version to go back to", Default: "false", Example: "true"},
	{Key: "jenkins.submitter", Type: List, Usage: "in those jobs: users and groups that may choose and approve, instead of everybody who may build", Example: "{service}-leads",
		Environment: true, Service: true, check: checkWord},
	{Key: "jenkins.agent.node", Usage: "in those jobs: label of the agents that reach cluster and registry", Example: "deploy", Environment: true, check: checkWord},
	{Key: "jenkins.agent.binary", Usage: "in those jobs: the program on the agents, a path or a name on PATH", Example: "/opt/rollback/rollback", Environment: true, check: checkWord},
	{Key: "jenkins.agent.url", Usage: "in those jobs: where to download the program from, with {version}, {os} (linux, darwin) and {arch} (amd64, arm64)",
		Example: "https://artifacts.example.com/rollback/{version}/rollback_{os}_{arch}", own: []string{"{version}", "{os}", "{arch}"}, check: checkDownload},
	{Key: "jenkins.agent.version", Usage: "in those jobs: the program's version", Example: "v1.4.0", check: checkVersion, form: versionForm},
	{Key: "jenkins.agent.sha256", Usage: "in those jobs: the program's checksum, or the lines of SHA256SUMS",
		Example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", check: checkSums},
	{Key: "jenkins.agent.credentials", Type: List, Usage: "in those jobs: credentials by their kind, with =id where it is not the default id: " + strings.Join(Credentials, ", "),
		Example: "aws=acme-aws", Environment: true, check: checkCredential},

	{Key: "revert.due", Type: Duration, Usage: "how soon after a rollback the revert must be merged", Default: "1h", Example: "1h", check: checkTimeout},
	{Key: "revert.wait", Type: Duration, Usage: "how long a run that has recorded its rollback by tag waits for the revert pull request to be there", Default: "15s", Example: "15s", check: checkSettle},
	{Key: "revert.labels", Type: List, Usage: "labels of the revert pull request", Default: "rollback", Example: "rollback", check: checkWord},
	{Key: "revert.reviewers", Type: List, Usage: "reviewers beside the authors of what is undone; team:name for a team", Example: "team:platform", check: checkWord},
	{Key: "revert.draft", Type: Bool, Usage: "open the revert pull request as a draft", Default: "false", Example: "true"},
	{Key: "revert.autoMerge", Type: Bool, Usage: "merge the revert as soon as nothing stands in its way; after a retag not before the pods are proven", Default: "false", Example: "true"},
	{Key: "revert.branchPrefix", Usage: "what the branches of reverts begin with, where a rule of the repository wants another name", Default: rollback.BranchPrefix, Example: "ops/rollback/", check: checkPrefix},
	{Key: "revert.tempPrefix", Usage: "what the temporary branches begin with on which GitHub merges, for builds and rules to leave them alone", Default: rollback.TempBranchPrefix,
		Example: "ops/tmp-", check: checkPrefix},
	{Key: "revert.migrations", Type: List, Usage: "globs of migration files, instead of the built-in ones", Example: "db/migrate/**", check: checkWord},

	{Key: strictServices, Type: Bool, Usage: "refuse services that are not listed under services", Default: "false", Example: "true"},
})

const strictServices = "strictServices"

// Credentials are the kinds of credentials that a step of the shared library takes.
var Credentials = []string{"github", "githubLogin", "githubKey", "aws", "kubeconfig", "jenkins", "registry"}

// Selectors say which file and which scope; the file itself cannot hold them.
var Selectors = []Setting{
	{Flag: "config", Env: FileVariable, Type: Text, Usage: "configuration file, instead of the nearest rollback.yaml upwards", Example: "rollback.yaml"},
	{Flag: "service", Env: "ROLLBACK_SERVICE", Type: Text, Usage: "service to roll back", Example: "payments"},
	{Flag: "environment", Env: "ROLLBACK_ENVIRONMENT", Type: Text, Usage: "environment it runs in", Example: "prod"},
}

func complete(settings []Setting) []Setting {
	for i := range settings {
		s := &settings[i]
		if s.Type == "" {
			s.Type = Text
		}
		var b strings.Builder
		for _, c := range s.Key {
			switch {
			case c == '.':
				b.WriteByte('-')
			case 'A' <= c && c <= 'Z':
				b.WriteByte('-')
				b.WriteRune(c + 'a' - 'A')
			default:
				b.WriteRune(c)
			}
		}
		s.Flag = b.String()
		s.Env = "ROLLBACK_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))
	}
	return settings
}

// Lookup finds a setting by its key.
func Lookup(key string) (Setting, bool) {
	for _, s := range Settings {
		if s.Key == key {
			return s, true
		}
	}
	return Setting{}, false
}

// Limits of the durations.
const (
	maxTimeout = 24 * time.Hour
	maxSettle  = time.Hour
)

// Value is a value that a flag or a variable gives, and which of the two it was.
type Value struct {
	Text   string
	Origin string // "--tag" or "ROLLBACK_TAG"
}

// Given is what flags and variables say, by flag name.
type Given map[string]Value

// Gather collects the settings that were given. flags holds the flags of the command line, by name, only those that
// were typed: an empty one is an error later. A variable that is empty or blank counts as unset, because Jenkins exports
// empty parameters.
func Gather(flags map[string]string, getenv func(string) string) Given {
	g := Given{}
	for _, s := range Settings {
		if text, ok := flags[s.Flag]; ok {
			g[s.Flag] = Value{strings.TrimSpace(text), "--" + s.Flag}
		} else if text := strings.TrimSpace(getenv(s.Env)); text != "" {
			g[s.Flag] = Value{text, s.Env}
		}
	}
	return g
}
