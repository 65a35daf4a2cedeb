package kube

// Who asks, and what they may do: bearer tokens and rules in the manner of RBAC.

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// User is somebody with a bearer token.
type User struct {
	Token  string
	Name   string
	Groups []string // besides system:authenticated
	Admin  bool     // may do everything
	Rules  []Rule
}

// Rule permits verbs on resources, like a rule of a Role. "*" matches all, except in ResourceNames.
type Rule struct {
	Namespaces    []string // where it holds; empty means everywhere and for cluster-wide resources (a ClusterRole)
	APIGroups     []string // "" is the core group
	Resources     []string // "pods", "pods/log"
	ResourceNames []string // empty means every name
	Verbs         []string
}

func (r Rule) allows(a access) bool {
	in := func(l []string, v string) bool { return slices.Contains(l, v) || slices.Contains(l, "*") }
	res := a.resource
	if a.sub != "" {
		res += "/" + a.sub
	}
	return (len(r.Namespaces) == 0 || slices.Contains(r.Namespaces, a.ns)) && in(r.APIGroups, a.group) &&
		(in(r.Resources, res) || a.sub != "" && slices.Contains(r.Resources, "*/"+a.sub)) &&
		(len(r.ResourceNames) == 0 || a.name != "" && slices.Contains(r.ResourceNames, a.name)) && in(r.Verbs, a.verb)
}

// access is one thing somebody wants to do.
type access struct{ verb, group, resource, sub, ns, name string }

func (u User) may(a access) bool {
	if u.Admin {
		return true
	}
	if a.verb == "create" && (a.resource == selfReviews.plural || a.resource == accessRevs.plural) {
		return true // system:basic-user
	}
	return slices.ContainsFunc(u.Rules, func(r Rule) bool { return r.allows(a) })
}

func (a access) denied(u User) *fail {
	res := a.resource
	if a.sub != "" {
		res += "/" + a.sub
	}
	where := "at the cluster scope"
	if a.ns != "" {
		where = fmt.Sprintf("in the namespace %q", a.ns)
	}
	f := forbidden(&resource{group: a.group, plural: a.resource}, a.name,
		fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", u.Name, a.verb, res, a.group, where))
	return f
}

func (s *Server) authenticate(r *http.Request) (User, bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok && r.Header.Get("Authorization") == "" && len(s.opts.Users) == 0 {
		token = AdminToken
	}
	u, ok := s.users[token]
	return u, ok && token != ""
}

// SetUser adds a user or replaces the one with the same token.
func (s *Server) SetUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.Token] = u
}

// Revoke makes a token unknown, as one that has expired.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, token)
}

func selfReview(u User) tree {
	return tree{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": tree{"creationTimestamp": stamp(time.Now())},
		"status": tree{"userInfo": tree{"username": u.Name, "groups": anys(append(slices.Clone(u.Groups), "system:authenticated"))}}}
}

func accessReview(u User, in tree) (tree, error) {
	out := tree{"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": tree{}, "spec": in["spec"]}
	if non := dict(in, "spec", "nonResourceAttributes"); non != nil {
		out["status"] = tree{"allowed": u.Admin || str(non, "verb") == "get" && publicPath(str(non, "path"))}
		return out, nil
	}
	at := dict(in, "spec", "resourceAttributes")
	if at == nil {
		return nil, invalid(accessRevs, "", []cause{invalidValue("spec.resourceAttributes", nil, "exactly one of nonResourceAttributes or resourceAttributes must be specified")})
	}
	for k := range at {
		if !slices.Contains([]string{"namespace", "verb", "group", "version", "resource", "subresource", "name"}, k) {
			return nil, refuse("spec.resourceAttributes.%s", k)
		}
	}
	allowed := u.may(access{str(at, "verb"), str(at, "group"), str(at, "resource"), str(at, "subresource"), str(at, "namespace"), str(at, "name")})
	out["status"] = tree{"allowed": allowed}
	if allowed && u.Admin {
		set(out, "RBAC: allowed by ClusterRoleBinding \"cluster-admin\" of ClusterRole \"cluster-admin\" to Group \"system:masters\"", "status", "reason")
	}
	return out, nil
}

// publicPath tells whether everyone who is authenticated may read the path (system:discovery, system:public-info-viewer).
func publicPath(p string) bool {
	return p == "/version" || p == "/readyz" || p == "/livez" || p == "/healthz" || p == "/api" || p == "/apis" ||
		strings.HasPrefix(p, "/api/") || strings.HasPrefix(p, "/apis/") || strings.HasPrefix(p, "/openapi")
}
