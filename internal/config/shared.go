package config

import (
	"cmp"
	"slices"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// SharedTag are the other scopes whose pods pull the very tag that s pulls, because registry, repository and tag are the
// same: moving it changes what they get at their next restart. They are the same service in other environments and
// every listed service in any. It goes by the file alone, so a scope that needs flags or variables to be complete is not
// among them, nor is a service that no entry names.
func (f *File) SharedTag(s Scoped) []Scoped {
	var out []Scoped
	for _, environment := range f.Environments() {
		services := f.Services()
		if _, ok := f.services[s.Scope.Service]; !ok {
			services = append(services, s.Scope.Service)
		}
		for _, service := range services {
			scope := rollback.Scope{Service: service, Environment: environment}
			if scope == s.Scope {
				continue
			}
			if other, _ := f.resolve(scope, nil, nil); sameTag(s, other) {
				out = append(out, other)
			}
		}
	}
	slices.SortFunc(out, func(a, b Scoped) int {
		return cmp.Or(cmp.Compare(a.Scope.Service, b.Scope.Service), cmp.Compare(a.Scope.Environment, b.Scope.Environment))
	})
	return out
}

func sameTag(a, b Scoped) bool {
	x, y := a.Registry, b.Registry
	return x.Kind != "" && a.Image != "" && a.Image == b.Image && a.Tag == b.Tag &&
		x.Kind == y.Kind && x.Account == y.Account && x.Region == y.Region && x.Host == y.Host
}

// ServicesOf are the services of an environment whose image is the repository: the listed ones, sorted, else the one that
// the image pattern leads back to.
func (f *File) ServicesOf(environment, repository string, given Given) []string {
	vals, _ := given.values(rollback.Scope{Environment: environment})
	image := func(service string) string {
		scope := rollback.Scope{Service: service, Environment: environment}
		p, _ := find(append(f.levels(scope, vals), builtIn), "image")
		return expand(p.items[0], scope)
	}
	var out []string
	for _, service := range f.Services() {
		if image(service) == repository {
			out = append(out, service)
		}
	}
	if strict, _ := f.isStrict(given); len(out) > 0 || strict {
		return out
	}
	p, _ := find(append(f.levels(rollback.Scope{Environment: environment}, vals), builtIn), "image")
	service, ok := invert(p.items[0], repository, environment)
	if !ok || (rollback.Scope{Service: service, Environment: "x"}).Validate() != nil || image(service) != repository {
		return nil // the last: a listed service of that name has another image
	}
	return []string{service}
}

// ServiceOf is the one service of an environment whose image is the repository; ok is false when there is none, or more
// than one.
func (f *File) ServiceOf(environment, repository string, given Given) (service string, ok bool) {
	services := f.ServicesOf(environment, repository, given)
	if len(services) != 1 {
		return "", false
	}
	return services[0], true
}

// Namespaces are all namespaces of an environment that the configuration knows, sorted: its own and those of listed
// services.
func (f *File) Namespaces(environment string, given Given) []string {
	var out []string
	for _, service := range append([]string{""}, f.Services()...) {
		s, _ := f.resolve(rollback.Scope{Service: service, Environment: environment}, given, nil)
		if s.Namespace != "" {
			out = append(out, s.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
