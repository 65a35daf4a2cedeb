package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// goldenErrors are files with mistakes and everything that is said about them.
var goldenErrors = []struct{ why, file, want string }{
	{"unknown keys, the nearest first", `
defaults:
  tagg: latest
  Namespace: x
  account: "123456789012"
  external_id: x
  foo: 1
enviroments: {}
`, `
rollback.yaml:2:3: unknown key "tagg" in defaults: did you mean "tag"?
rollback.yaml:3:3: unknown key "Namespace" in defaults: did you mean "namespace"?
rollback.yaml:4:3: unknown key "account" in defaults: account belongs under registry
rollback.yaml:5:3: unknown key "external_id" in defaults: externalId belongs under registry or cluster
rollback.yaml:6:3: unknown key "foo" in defaults: known: repo, branch, image, tag, job, namespace, workloads, confirm, timeout, settle, registry, cluster and 3 more
rollback.yaml:7:1: unknown key "enviroments": did you mean "environments"?
`},
	{"keys in the wrong section", `
defaults: {strictServices: true}
services:
  web:
    registry: {kind: ecr}
    region: eu-west-1
namespace: x
`, `
rollback.yaml:1:12: unknown key "strictServices" in defaults: it belongs at the top of the file
rollback.yaml:4:5: unknown key "registry" in services.web: it belongs under an environment or under defaults
rollback.yaml:5:5: unknown key "region" in services.web: region belongs under registry or cluster, in an environment or in defaults
rollback.yaml:6:1: unknown key "namespace": it belongs under an environment or under defaults
`},
	{"accounts without quotes", `
environments:
  a: {registry: {account: 012345678901}}
  b: {registry: {account: 001234567012}}
  c: {registry: {account: 123456789012}}
  d: {registry: {account: "12345"}}
`, `
rollback.yaml:2:27: registry.account 012345678901 needs quotes: YAML reads it as a number, and one that starts with 0 as octal, so it is not the account any more; write "012345678901"
rollback.yaml:3:27: registry.account 001234567012 needs quotes: YAML reads it as a number, and one that starts with 0 as octal, so it is not the account any more; write "001234567012"
rollback.yaml:4:27: registry.account 123456789012 needs quotes: YAML reads it as a number; write "123456789012"
rollback.yaml:5:27: registry.account "12345": want 12 digits
`},
	{"bad values", `
environments:
  prod:
    registry: {kind: docker, region: eu-west-1a, role: rollback}
    namespace: Prod
    tag: 1.10
    confirm: yes
    timeout: 600
    settle: 10x
    image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/payments
    repo: https://github.com/acme/payments
    job: https://jenkins.example.com/job/deploy/
    branch: 2026-01-02
    workloads: [pod/x, deployment/Y, deploy/ok]
`, `
rollback.yaml:3:22: registry.kind "docker": want ecr or oci
rollback.yaml:3:38: registry.region "eu-west-1a": is an availability zone; its region is eu-west-1
rollback.yaml:3:56: registry.role "rollback": want the ARN of an IAM role, arn:aws:iam::123456789012:role/name
rollback.yaml:4:16: namespace "Prod": want a namespace: lower-case letters, digits and dashes, at most 63
rollback.yaml:5:10: tag 1.10 needs quotes: YAML reads it as a number; write "1.10"
rollback.yaml:6:14: confirm "yes": want true or false
rollback.yaml:7:14: timeout "600": has no unit: want a duration such as 90s or 10m
rollback.yaml:8:13: settle "10x": want a duration such as 90s or 10m
rollback.yaml:9:12: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/payments": want the repository without its registry: payments
rollback.yaml:10:11: repo "https://github.com/acme/payments": want a GitHub repository, owner/name
rollback.yaml:11:10: job "https://jenkins.example.com/job/deploy/": want the job's full name, folder/job, not its URL
rollback.yaml:12:13: branch 2026-01-02 needs quotes: YAML reads it as a date; write "2026-01-02"
rollback.yaml:13:17: workloads "pod/x": "pod" cannot be restarted: want deployment, statefulset or daemonset
rollback.yaml:13:24: workloads "deployment/Y": "Y" is not a name in Kubernetes: want lower-case letters, digits, dashes and dots
`},
	{"wrong types", `
strictServices: "true"
defaults:
  image: {service}
  tag:
  branch: [main]
  job: {a: b}
  workloads: deployment/web
  timeout: true
  namespace: ""
environments: [prod]
services:
  web: {workloads: [], confirm: [true]}
  api: text
`, `
rollback.yaml:1:17: strictServices: want true without quotes
rollback.yaml:3:10: image: {service} needs quotes, otherwise YAML reads it as a mapping: write "{service}"
rollback.yaml:4:3: tag has no value: give it one, or remove the key
rollback.yaml:5:11: branch: want text, not a list
rollback.yaml:6:8: job: want text, not a mapping
rollback.yaml:7:14: workloads: want a list, such as ["deployment/payments"], not text
rollback.yaml:8:12: timeout true needs quotes: YAML reads it as true or false; write "true"
rollback.yaml:9:14: namespace "": is empty
rollback.yaml:10:15: environments: want a mapping of keys to values, not a list
rollback.yaml:12:20: workloads is an empty list: give it an item, or remove the key
rollback.yaml:12:33: confirm: want true or false, not a list
rollback.yaml:13:8: services.api: want a mapping of keys to values, not text
`},
	{"placeholders", `
defaults:
  repo: acme/{servce}
  image: "{name}"
  namespace: "{environment"
  registry: {kind: oci, host: "{service}.example.com", usernameEnv: "{environment}_USER"}
  cluster: {context: "{environment}"}
`, `
rollback.yaml:2:9: repo "acme/{servce}": there is no placeholder {servce}: did you mean {service}?
rollback.yaml:3:10: image "{name}": there is no placeholder {name}: known are {service} and {environment}
rollback.yaml:4:14: namespace "{environment": a brace has no partner: placeholders are {service} and {environment}
rollback.yaml:5:31: registry.host "{service}.example.com": {service} cannot be used here: it is the same for every service of an environment
rollback.yaml:5:69: registry.usernameEnv: {environment} cannot be used here
`},
	{"ways that exclude each other", `
environments:
  a: {registry: {kind: oci, account: "123456789012"}}
  b: {registry: {account: "123456789012", host: r.example.com}}
  c: {registry: {kind: ecr, insecure: true, caFile: ca.pem}}
  d: {cluster: {eks: acme, context: prod}}
  e: {cluster: {context: prod, region: eu-west-1}}
  f: {cluster: {inCluster: true, kubeconfig: x}}
  g: {registry: {kind: ecr, insecure: false}, cluster: {context: x, inCluster: false}}
`, `
rollback.yaml:2:38: registry.account is for registry.kind ecr, not for oci
rollback.yaml:3:49: registry.account and registry.host exclude each other: keep one
rollback.yaml:4:39: registry.insecure is for registry.kind oci, not for ecr
rollback.yaml:4:53: registry.caFile is for registry.kind oci, not for ecr
rollback.yaml:5:37: cluster.eks and cluster.context exclude each other: keep one
rollback.yaml:6:40: cluster.region goes with cluster.eks, not with cluster.context
rollback.yaml:7:46: cluster.kubeconfig goes with cluster.context, not with cluster.inCluster
`},
	{"names", `
environments: {Prod: {}, stage_1: {}, on: {}, prod: {}, 1: {}}
services:
  web_app: {}
  web: {environments: {prdo: {tag: x}, prod: {tag: y}, staging: {}}}
`, `
rollback.yaml:1:16: environment "Prod": want lower-case letters, digits and dashes, at most 53
rollback.yaml:1:26: environment "stage_1": want lower-case letters, digits and dashes, at most 53
rollback.yaml:1:57: environments: key "1" needs quotes: YAML reads it as a number
rollback.yaml:3:3: service "web_app": want lower-case letters, digits and dashes, at most 53
rollback.yaml:4:24: services.web.environments: there is no environment "prdo": did you mean "prod"?
rollback.yaml:4:56: services.web.environments: there is no environment "staging": known: on, prod
`},
	{"keys twice", `
defaults: {tag: x, tag: y}
environments:
  prod: {}
  prod: {}
defaults: {}
`, `
rollback.yaml:1:20: key "tag" appears twice in defaults, first on line 1
rollback.yaml:4:3: key "prod" appears twice in environments, first on line 3
rollback.yaml:5:1: key "defaults" appears twice in the file, first on line 1
`},
	{"odd keys and tags", `
? [a]
: b
defaults:
  branch: !foo x
  job: !!binary aGk=
  confirm: !!bool maybe
`, `
rollback.yaml:1:3: the file: a key must be a word, not a list
rollback.yaml:4:11: branch: the YAML tag "!foo" means nothing here: want text
rollback.yaml:5:8: job: the YAML tag "!!binary" means nothing here: want text
rollback.yaml:6:12: confirm "maybe": want true or false
`},
	{"a secret where its variable's name belongs stays out of the message", `
environments:
  a: {registry: {kind: oci, usernameEnv: s3cret!, passwordEnv: 12345}}
  b: {registry: {kind: oci, password: s3cret!}}
  c: {cluster: {server: "https://admin:s3cret@example.com"}}
`, `
rollback.yaml:2:42: registry.usernameEnv: want the name of an environment variable, not its value
rollback.yaml:2:64: registry.passwordEnv needs quotes: YAML reads it as a number
rollback.yaml:3:29: unknown key "password" in environments.b.registry: did you mean "passwordEnv"?
rollback.yaml:4:25: cluster.server "https://…@example.com": want the API server's URL alone, https://host
`},
	{"merge keys", `
x-a: &a {tag: x, tagg: y}
defaults: {<<: *a}
environments:
  a: &b
    <<: *b
  b: {<<: [*a, text]}
  c: {<<: 1}
`, `
rollback.yaml:1:18: unknown key "tagg" in defaults: did you mean "tag"?
rollback.yaml:1:18: unknown key "tagg" in environments.b: did you mean "tag"?
rollback.yaml:4:6: environments.a: << merges a mapping into itself
rollback.yaml:6:16: environments.b: << wants a mapping or a list of mappings, not text
rollback.yaml:7:11: environments.c: << wants a mapping or a list of mappings, not a number
`},
	{"not a mapping", "[1, 2]", `rollback.yaml:1:1: the file: want a mapping of keys to values, not a list`},
	{"not a mapping", "hello", `rollback.yaml:1:1: the file: want a mapping of keys to values, not text`},
	{"two documents", "defaults: {}\n---\ndefaults: {}\n", `rollback.yaml:2: a second document starts here: want one, remove this --- and join the two`},
	{"two documents, one empty", "defaults: {}\n---\n", `rollback.yaml:2: a second document starts here: want one, remove this --- and join the two`},
	{"unquoted pattern", "defaults: {repo: acme/{service}}", `rollback.yaml:1: a value with {service} or {environment} inside { } or [ ] needs quotes`},
	{"tab", "defaults:\n\ttag: x\n", `rollback.yaml:2: a tab is used for indentation: YAML wants spaces`},
	{"tab below", "defaults:\n  tag: x\n\timage: y\n", `rollback.yaml:3: a tab is used for indentation: YAML wants spaces`},
	{"open quote", "defaults:\n  tag: \"x\n  branch: y\nservices:\n", `rollback.yaml:2: a quote is opened and never closed`},
	{"colon in a value", "defaults:\n  tag: x: y\n", `rollback.yaml:2: a key is not expected here: check the indentation, and put a value that holds ": " in quotes`},
	{"no colon", "defaults:\n  tag\n  branch: x\n", `rollback.yaml:3: a key is not expected here: check the indentation, and put a value that holds ": " in quotes`},
	{"colon forgotten", "defaults:\n  tag: x\n  branch main\n", `rollback.yaml:3: a key without its colon: write key: value`},
	{"indentation", "defaults:\n  tag: x\n branch: y\n", `rollback.yaml:3: a key is expected here: check that the indentation is that of the keys above`},
	{"open bracket", "services:\n  a: {}\n  web:\n    workloads: [a\n    tag: x\n  b: {}\n", `rollback.yaml:4: a [ is not closed, or a comma is missing between two items`},
	{"open brace", "services:\n  web: {tag: x\n  b: {}\n", `rollback.yaml:2: a { is not closed, or a comma is missing between two keys`},
	{"no anchor", "defaults: {}\nservices: *s\n", `rollback.yaml:2: alias *s has no anchor &s above it`},
	{"@", "defaults:\n  branch: @x\n", `rollback.yaml:2: this character cannot start a value: put the value in quotes, and indent with spaces, not with tabs`},
	{"*", "defaults:\n  branch: *\n", `rollback.yaml:2: * and & start an alias or anchor in YAML: put the value in quotes`},
	{"escape", "defaults:\n  branch: \"a\\q\"\n", `rollback.yaml:2: unknown escape after a backslash: use single quotes for text with backslashes`},
	{"not UTF-8", "defaults:\n  job: caf\xe9\n", `rollback.yaml:2:11: byte 0xe9 is not UTF-8: save the file as UTF-8`},
	{"UTF-16", "\xff\xfed\x00", `rollback.yaml:1:1: the file is UTF-16: save it as UTF-8`},
	{"lone CR", "defaults:\n  tag: x\rservices:\n", `rollback.yaml:2:9: line break U+000D: end lines with LF or CR LF`},
	{"line separator", "defaults: # a\u2028b\n", `rollback.yaml:1:14: line break U+2028: end lines with LF or CR LF`},
	{"NUL", "defaults:\n  tag: \x00\n", `rollback.yaml:2:8: character U+0000 is not allowed in YAML: remove it`},
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, test := range goldenErrors {
		f, err := Parse("rollback.yaml", []byte(strings.TrimPrefix(test.file, "\n")))
		if err == nil {
			t.Errorf("%s: no error", test.why)
			continue
		}
		if f != nil {
			t.Errorf("%s: a File beside the error", test.why)
		}
		if diff := cmp.Diff(strings.TrimSpace(test.want), err.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.why, diff)
		}
		var e *rollback.Error
		if !errors.As(err, &e) || e.Exit != rollback.Usage || e.Production != rollback.NotChanged {
			t.Errorf("%s: error %#v, want exit code 2 and production not changed", test.why, err)
		}
	}
}

func TestParseGood(t *testing.T) {
	t.Parallel()
	tests := []struct{ why, file, key, want string }{
		{"empty", "", "tag", "latest built in"},
		{"comments only", "# nothing\n", "tag", "latest built in"},
		{"empty document", "---\n", "tag", "latest built in"},
		{"byte order mark", "\ufeffdefaults: {tag: x}\n", "tag", "x rollback.yaml:1"},
		{"CRLF", "defaults:\r\n  tag: x\r\n", "tag", "x rollback.yaml:2"},
		{"sections without keys", "defaults:\nenvironments:\n  prod:\nservices:\n  payments:\n", "tag", "latest built in"},
		{"anchor and alias of a value", "x-tag: &t live\ndefaults:\n  tag: *t\n", "tag", "live rollback.yaml:1"},
		{"alias of a section", "x-p: &p\n  tag: live\nenvironments:\n  prod: *p\n", "tag", "live rollback.yaml:2"},
		{"merge key", "x-p: &p\n  tag: a\n  branch: b\nenvironments:\n  prod: {<<: *p, tag: c}\n", "tag", "c rollback.yaml:5"},
		{"merged value", "x-p: &p\n  tag: a\n  branch: b\nenvironments:\n  prod: {<<: *p, tag: c}\n", "branch", "b rollback.yaml:3"},
		{"first of several merged", "x-p: &p {tag: a}\nx-q: &q {tag: b}\nenvironments:\n  prod: {<<: [*p, *q]}\n", "tag", "a rollback.yaml:1"},
		{"merge of a merge", "x-p: &p {tag: a}\nx-q: &q {<<: *p}\nenvironments:\n  prod: {<<: *q}\n", "tag", "a rollback.yaml:1"},
		{"quoted number", "defaults: {tag: \"1.10\"}", "tag", "1.10 rollback.yaml:1"},
		{"block text", "defaults:\n  tag: >-\n    live\n", "tag", "live rollback.yaml:2"},
		{"end marker", "defaults: {tag: x}\n...\n", "tag", "x rollback.yaml:1"},
		{"explicit tag", "defaults: {tag: !!str 12}", "tag", "12 rollback.yaml:1"},
		{"sequence alias", "x-w: &w [deploy/a]\ndefaults: {workloads: *w}", "workloads", "deploy/a rollback.yaml:1"},
		{"duration", "defaults: {timeout: 90m}", "timeout", "1h30m rollback.yaml:1"},
	}
	for _, test := range tests {
		f, err := Parse("rollback.yaml", []byte(test.file))
		if err != nil {
			t.Errorf("%s: %v", test.why, err)
			continue
		}
		s, problems := f.resolve(rollback.Scope{Service: "payments", Environment: "prod"}, nil, []Need{0})
		if len(problems) > 0 {
			t.Errorf("%s: %v", test.why, problems)
			continue
		}
		got := ""
		for _, x := range s.Explain() {
			if x.Key == test.key {
				got = x.Value + " " + x.Origin
			}
		}
		if got != test.want {
			t.Errorf("%s: %s = %q, want %q", test.why, test.key, got, test.want)
		}
	}
}

// Aliases that multiply are refused before they cost anything.
func TestAliasBombs(t *testing.T) {
	t.Parallel()
	var merge strings.Builder
	merge.WriteString("x-0: &a0 {tag: x}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&merge, "x-%d: &a%[1]d {<<: [%s]}\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	merge.WriteString("defaults: {<<: *a39}\n")

	var wide strings.Builder
	wide.WriteString("x-e: &e\n")
	for i := range 1000 {
		fmt.Fprintf(&wide, "  e%d: {tag: x}\n", i)
	}
	wide.WriteString("services:\n")
	for i := range 1000 {
		fmt.Fprintf(&wide, "  s%d: {environments: *e}\n", i)
	}
	for why, file := range map[string]string{"merge keys": merge.String(), "sections": wide.String()} {
		_, err := Parse("rollback.yaml", []byte(file))
		if err == nil || !strings.Contains(err.Error(), ": the aliases up to here expand to more than 100000 entries: refused") {
			t.Errorf("%s: %.200v", why, err)
		}
		if n := strings.Count(fmt.Sprint(err), "\n"); n > 0 {
			t.Errorf("%s: %d lines of error, want one", why, n+1)
		}
	}
	deep := "defaults: " + strings.Repeat("[", 20000)
	if _, err := Parse("rollback.yaml", []byte(deep)); err == nil || err.Error() != "rollback.yaml:1: the nesting is too deep" {
		t.Errorf("deep: %.200v", err)
	}
}

func TestLargeFile(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("services:\n")
	for i := 0; b.Len() < MaxSize/5; i++ {
		fmt.Fprintf(&b, "  s%d: {tag: x}\n", i)
	}
	if _, err := Parse("rollback.yaml", []byte(b.String())); err != nil {
		t.Errorf("a large file without aliases: %.300v", err)
	}
	broken := b.String()[:strings.LastIndexByte(b.String()[:10_000], '\n')+1] + "  broken: [\n"
	if _, err := Parse("rollback.yaml", []byte(broken)); err == nil {
		t.Error("a broken line at the end is accepted")
	} else if want := fmt.Sprintf("rollback.yaml:%d: ", strings.Count(broken, "\n")); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want it at %s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range goldenErrors {
		f.Add([]byte(strings.TrimPrefix(test.file, "\n")))
	}
	f.Add(Init())
	f.Add([]byte("a: &a\n  ? *a\n  : *a\n"))
	f.Add([]byte("%YAML 1.1\n--- !!map {<<: {}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("rollback.yaml", data)
		if err == nil {
			for _, e := range append(file.Environments(), "prod") {
				file.Resolve(rollback.Scope{Service: "payments", Environment: e}, nil)
				file.ServicesOf(e, "payments", nil)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("error %v is not Problems", err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, p := range problems {
			if p.File != "rollback.yaml" || p.Line < 1 || p.Line > lines || p.Text == "" || strings.ContainsRune(p.Text, '\n') {
				t.Errorf("problem %+v in a file of %d lines", p, lines)
			}
		}
	})
}
