package rollback

import (
	"fmt"
	"regexp"
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

// scopeName is what a service or environment may be called: the name becomes part of a ConfigMap's name, so it follows
// DNS-1123 labels (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names).
var scopeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$`)

// Validate reports a name that could not be used in a cluster, a URL or a file.
func (s Scope) Validate() error {
	if !scopeName.MatchString(s.Service) {
		return fmt.Errorf("service %q: want lower-case letters, digits and dashes, at most 53", s.Service)
	}
	if !scopeName.MatchString(s.Environment) {
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
