package config

import (
	"cmp"
	"reflect"
	"strings"
	"sync"
	"time"
)

// Common are the settings that any section may hold. The keys are those of the yaml tags; Settings says what they mean.
type Common struct {
	Repo      string        `yaml:"repo"`
	Branch    string        `yaml:"branch"`
	Image     string        `yaml:"image"` // repository in the registry
	Tag       string        `yaml:"tag"`
	Job       string        `yaml:"job"`
	Namespace string        `yaml:"namespace"`
	Workloads []string      `yaml:"workloads"` // "deployment/payments"; empty: found by the image they use
	Confirm   bool          `yaml:"confirm"`
	Timeout   time.Duration `yaml:"timeout"`
	Settle    time.Duration `yaml:"settle"`
}

// Registry says where the images are. Kind is "ecr" (then Account to ExternalID count) or "oci" (then Host to
// PasswordEnv do); what does not belong to the kind is empty.
type Registry struct {
	Kind string `yaml:"kind"`

	Account    string `yaml:"account"`
	Region     string `yaml:"region"`
	Profile    string `yaml:"profile"`
	Role       string `yaml:"role"`
	ExternalID string `yaml:"externalId"`

	Host        string `yaml:"host"`
	Insecure    bool   `yaml:"insecure"`
	CAFile      string `yaml:"caFile"`
	UsernameEnv string `yaml:"usernameEnv"`
	PasswordEnv string `yaml:"passwordEnv"`
}

// Cluster says which cluster, in exactly one of three ways: Context (of Kubeconfig), EKS (a cluster's name in AWS) or
// InCluster. Server and UID are its identity: when set, a cluster that answers otherwise is refused.
type Cluster struct {
	Context    string `yaml:"context"`
	Kubeconfig string `yaml:"kubeconfig"`

	EKS        string `yaml:"eks"`
	Region     string `yaml:"region"`
	Profile    string `yaml:"profile"`
	Role       string `yaml:"role"`
	ExternalID string `yaml:"externalId"`

	InCluster bool `yaml:"inCluster"`

	Server string `yaml:"server"`
	UID    string `yaml:"uid"`
}

// GitHub says where the code is: github.com without a URL. A token, or an App with all three of its settings.
type GitHub struct {
	URL          string `yaml:"url"`
	TokenEnv     string `yaml:"tokenEnv"`
	App          string `yaml:"app"`
	Installation string `yaml:"installation"`
	KeyFile      string `yaml:"keyFile"`
	CAFile       string `yaml:"caFile"`
}

// Secret is the name of the variable that holds the token, or the password in its place.
func (j Jenkins) Secret() string { return cmp.Or(j.PasswordEnv, j.TokenEnv) }

// Jenkins says where the jobs run that deploy and roll back; without a URL Jenkins is not asked.
type Jenkins struct {
	URL             string `yaml:"url"`
	Insecure        bool   `yaml:"insecure"`
	User            string `yaml:"user"`
	TokenEnv        string `yaml:"tokenEnv"`    // "" with a password
	PasswordEnv     string `yaml:"passwordEnv"` // "" with a token
	CAFile          string `yaml:"caFile"`
	CommitParameter string `yaml:"commitParameter"`
	// Webhook is how long a merge may take to start the job by itself.
	Webhook     time.Duration `yaml:"webhook"`
	RollbackJob string        `yaml:"rollbackJob"`
	Library     string        `yaml:"library"`
	// What the jobs that we make ask of people; see jobs apply.
	Approve   bool     `yaml:"approve"`
	Choose    bool     `yaml:"choose"`
	Submitter []string `yaml:"submitter"`
	Agent     Agent    `yaml:"agent" doc:"What the jobs that jobs apply makes say about their agents: label, program, credentials."`
}

// Agent says where the jobs that we make run, with which program, and with which credentials of Jenkins. What it leaves out
// comes from variables of the controller.
type Agent struct {
	Node        string   `yaml:"node"`
	Binary      string   `yaml:"binary"`
	URL         string   `yaml:"url"`
	Version     string   `yaml:"version"`
	SHA256      string   `yaml:"sha256"`
	Credentials []string `yaml:"credentials"` // "github", or "aws=acme-aws" for another id than the default one
}

// Revert says what the revert pull request looks like, and by when it must be merged.
type Revert struct {
	Due        time.Duration `yaml:"due"`
	Wait       time.Duration `yaml:"wait"` // for it to be there, at the end of a rollback by tag
	Labels     []string      `yaml:"labels"`
	Reviewers  []string      `yaml:"reviewers"`
	Draft      bool          `yaml:"draft"`
	AutoMerge  bool          `yaml:"autoMerge"`
	Migrations []string      `yaml:"migrations"`
	// BranchPrefix and TempPrefix are what branches of reverts and temporary ones begin with.
	BranchPrefix string `yaml:"branchPrefix"`
	TempPrefix   string `yaml:"tempPrefix"`
}

// Place is everything a section about an environment may hold.
type Place struct {
	Common   `yaml:",inline"`
	Registry Registry `yaml:"registry" doc:"Where the images are: {kind: ecr, account, region} or {kind: oci, host}."`
	Cluster  Cluster  `yaml:"cluster" doc:"Which cluster: {context}, {eks, region} or {inCluster: true}."`
	GitHub   GitHub   `yaml:"github" doc:"How GitHub is reached, for commits and reverts."`
	Jenkins  Jenkins  `yaml:"jenkins" doc:"How Jenkins is reached, for builds."`
	Revert   Revert   `yaml:"revert" doc:"What the revert pull request looks like, and by when it must be merged."`
}

// service is one entry under services.
type service struct {
	Common       `yaml:",inline"`
	Environments map[string]Common `yaml:"environments" doc:"What differs for this service in one environment."`
}

// document is the whole file. No value of it is ever made: its type is the shape that the parser and the schema follow.
type document struct {
	StrictServices bool               `yaml:"strictServices"`
	Defaults       Place              `yaml:"defaults" doc:"What holds wherever nothing else is said."`
	Environments   map[string]Place   `yaml:"environments" doc:"The environments, by name."`
	Services       map[string]service `yaml:"services" doc:"Services that differ from the patterns in defaults; the others need no entry."`
}

var (
	documentType = reflect.TypeFor[document]()
	placeType    = reflect.TypeFor[Place]()
	serviceType  = reflect.TypeFor[service]()
	commonType   = reflect.TypeFor[Common]()
)

// field is one key of a section.
type field struct {
	key, doc string
	typ      reflect.Type
	index    []int
}

// leaf tells whether the key holds a value (and is one of Settings) instead of a section.
func (f field) leaf() bool { return f.typ.Kind() != reflect.Struct && f.typ.Kind() != reflect.Map }

// fieldsOf are the keys of a section in the order of its type.
func fieldsOf(t reflect.Type) []field {
	if known, ok := fieldCache.Load(t); ok {
		return known.([]field)
	}
	var out []field
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key != "" {
			out = append(out, field{key: key, doc: f.Tag.Get("doc"), typ: f.Type, index: f.Index})
		}
	}
	fieldCache.Store(t, out)
	return out
}

var fieldCache sync.Map // reflect.Type → []field; status resolves hundreds of scopes

// leavesOf are the dotted keys of the settings a section may hold; maps of further sections are left out.
func leavesOf(t reflect.Type) []string {
	var out []string
	for _, f := range fieldsOf(t) {
		switch {
		case f.leaf():
			out = append(out, f.key)
		case f.typ.Kind() == reflect.Struct:
			for _, k := range leavesOf(f.typ) {
				out = append(out, f.key+"."+k)
			}
		}
	}
	return out
}

// at is the field of a section that a dotted key names.
func at(v reflect.Value, key string) reflect.Value {
	first, rest, nested := strings.Cut(key, ".")
	for _, f := range fieldsOf(v.Type()) {
		if f.key != first {
			continue
		}
		if nested {
			return at(v.FieldByIndex(f.index), rest)
		}
		return v.FieldByIndex(f.index)
	}
	return reflect.Value{}
}
