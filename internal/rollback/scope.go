package rollback

import (
	"fmt"
	"strings"
)

// Scope is what one rollback is about: one service in one environment, written "payments/prod".
type Scope struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
}

func (s Scope) String() string { return s.Service + "/" + s.Environment }

// flags are the scope as a person types it after a command.
func (s Scope) flags() string {
	return fmt.Sprintf("--service %s --environment %s", s.Service, s.Environment)
}

// scopeName tells whether a service or environment may be called s: the name becomes part of a ConfigMap's name, so it follows
// DNS-1123 labels (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names).
func scopeName(s string) bool {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz-"
	return s != "" && len(s) <= 53 && strings.Trim(s, letters) == "" && s[0] != '-' && s[len(s)-1] != '-'
}

// Validate reports a name that could not be used in a cluster, a URL or a file.
func (s Scope) Validate() error {
	if !scopeName(s.Service) {
		return fmt.Errorf("service %q: want lower-case letters, digits and dashes, at most 53", s.Service)
	}
	if !scopeName(s.Environment) {
		return fmt.Errorf("environment %q: want lower-case letters, digits and dashes, at most 53", s.Environment)
	}
	return nil
}

// ParseScope reads "payments/prod".
func ParseScope(s string) (Scope, error) {
	service, environment, ok := strings.Cut(s, "/")
	if !ok {
		return Scope{}, fmt.Errorf("scope %q: want service/environment", s)
	}
	scope := Scope{service, environment}
	return scope, scope.Validate()
}
