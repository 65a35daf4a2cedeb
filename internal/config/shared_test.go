package config

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const sharing = `
defaults:
  registry: {account: "123456789012", region: eu-west-1}
  cluster: {context: "{environment}"}
  namespace: "{environment}"
environments:
  prod: {}
  sandbox: {}
  staging: {tag: staging}
  us: {registry: {region: us-east-1}}
  other: {registry: {account: "210987654321"}}
services:
  web: {image: frontend/web}
  web-admin: {image: frontend/web, environments: {sandbox: {tag: admin}}}
  orders: {environments: {staging: {tag: latest}}}
`

func TestSharedTag(t *testing.T) {
	t.Parallel()
	f := parse(t, sharing)
	tests := []struct {
		scope string
		want  []string
	}{
		{"payments/prod", []string{"payments/sandbox"}},
		{"payments/staging", nil},
		{"orders/prod", []string{"orders/sandbox", "orders/staging"}},
		{"web/prod", []string{"web/sandbox", "web-admin/prod"}},
		{"web-admin/sandbox", nil},
		{"payments/us", nil},
	}
	for _, test := range tests {
		scope, err := rollback.ParseScope(test.scope)
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.Resolve(scope, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range f.SharedTag(s) {
			got = append(got, o.Scope.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s shares its tag with %v, want %v", test.scope, got, test.want)
		}
	}
	s, err := f.Resolve(rollback.Scope{Service: "payments", Environment: "prod"}, Given{"tag": {"staging", "--tag"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.SharedTag(s); len(got) != 1 || got[0].Scope.Environment != "staging" || got[0].Cluster.Context != "staging" {
		t.Errorf("with --tag staging: %+v, want payments/staging, resolved", got)
	}
	if got := (&File{}).SharedTag(s); got != nil {
		t.Errorf("without a file: %v", got)
	}
}

func TestServiceOf(t *testing.T) {
	t.Parallel()
	f := parse(t, sharing)
	patterned := parse(t, `
defaults: {image: "{environment}/{service}/app"}
environments: {prod: {}, lab: {image: "{service}-{service}"}, mono: {image: monolith}}
services: {web: {image: web}}
`)
	strict := parse(t, "strictServices: true\nservices: {web: {}}\n")
	tests := []struct {
		f               *File
		env, repository string
		given           Given
		want            []string
	}{
		{f: f, env: "prod", repository: "payments", want: []string{"payments"}},
		{f: f, env: "prod", repository: "orders", want: []string{"orders"}},
		{f: f, env: "prod", repository: "frontend/web", want: []string{"web", "web-admin"}},
		{f: f, env: "prod", repository: "web"},           // the listed web has another image
		{f: f, env: "prod", repository: "team/payments"}, // no service is called so
		{f: f, env: "prod", repository: "Payments"},
		{f: patterned, env: "prod", repository: "prod/payments/app", want: []string{"payments"}},
		{f: patterned, env: "prod", repository: "prod/web/app"},
		{f: patterned, env: "prod", repository: "prod//app"},
		{f: patterned, env: "prod", repository: "prod/app"},
		{f: patterned, env: "prod", repository: "lab/payments/app"},
		{f: patterned, env: "prod", repository: "web", want: []string{"web"}},
		{f: patterned, env: "lab", repository: "a-b-a-b", want: []string{"a-b"}},
		{f: patterned, env: "lab", repository: "a-b"},
		{f: patterned, env: "lab", repository: "a-a", want: []string{"a"}},
		{f: patterned, env: "mono", repository: "monolith"},
		{f: strict, env: "prod", repository: "web", want: []string{"web"}},
		{f: strict, env: "prod", repository: "payments"},
		{f: &File{}, env: "prod", repository: "team/payments", given: Given{"image": {"team/{service}", "--image"}}, want: []string{"payments"}},
	}
	for _, test := range tests {
		got := test.f.ServicesOf(test.env, test.repository, test.given)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s in %s belongs to %v, want %v", test.repository, test.env, got, test.want)
		}
		one, ok := test.f.ServiceOf(test.env, test.repository, test.given)
		if ok != (len(test.want) == 1) || ok && one != test.want[0] {
			t.Errorf("%s in %s: ServiceOf = %q, %v", test.repository, test.env, one, ok)
		}
	}
}

// What expand makes of a service, invert leads back to, wherever there is only one way back.
func TestInvertUndoesExpand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[a-z/]{0,4}\{service\}([a-z-]{0,4}\{service\})?(/\{environment\})?[a-z]{0,3}`).Draw(t, "pattern")
		scope := rollback.Scope{Service: rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,8}[a-z0-9]`).Draw(t, "service"), Environment: "prod"}
		got, ok := invert(pattern, expand(pattern, scope), scope.Environment)
		if !ok || got != scope.Service {
			t.Fatalf("invert(%q, %q) = %q, %v; want %q", pattern, expand(pattern, scope), got, ok, scope.Service)
		}
	})
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	f := parse(t, acme)
	for env, want := range map[string][]string{"prod": {"prod", "web"}, "staging": {"orders", "web"}, "bare": {"web"}} {
		if got := f.Namespaces(env, nil); !slices.Equal(got, want) {
			t.Errorf("namespaces of %s: %v, want %v", env, got, want)
		}
	}
	if got := f.Namespaces("prod", Given{"namespace": {"x", "--namespace"}}); !slices.Equal(got, []string{"x"}) {
		t.Errorf("with --namespace x: %v", got)
	}
}
