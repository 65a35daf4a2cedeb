package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// What a string setting may hold beside its own text.
const (
	inService     = "{service}"
	inEnvironment = "{environment}"
)

var placeholder = lazily(`\{[^{}]*\}`)

// checkPlaceholders refuses placeholders that do not exist, or not for this setting.
func checkPlaceholders(s Setting, text string) error {
	for _, p := range placeholder().FindAllString(text, -1) {
		switch {
		case p == inEnvironment && s.Environment, p == inService && s.Service:
		case slices.Contains(s.own, p):
		case len(s.own) > 0:
			return fmt.Errorf("there is no placeholder %s here: known are %s", p, strings.Join(s.own, ", "))
		case p == inService && s.Environment:
			return errors.New("{service} cannot be used here: it is the same for every service of an environment")
		case p == inService || p == inEnvironment:
			return fmt.Errorf("%s cannot be used here", p)
		default:
			word := strings.Trim(p, "{} ")
			for _, known := range []string{inService, inEnvironment} {
				if near(word, strings.Trim(known, "{}")) {
					return fmt.Errorf("there is no placeholder %s: did you mean %s?", p, known)
				}
			}
			return fmt.Errorf("there is no placeholder %s: known are {service} and {environment}", p)
		}
	}
	if rest := placeholder().ReplaceAllString(text, ""); strings.ContainsAny(rest, "{}") {
		return errors.New("a brace has no partner: placeholders are {service} and {environment}")
	}
	return nil
}

// expand puts the scope's names into a pattern.
func expand(pattern string, scope rollback.Scope) string {
	if !strings.Contains(pattern, "{") {
		return pattern
	}
	return strings.NewReplacer(inService, scope.Service, inEnvironment, scope.Environment).Replace(pattern)
}

// invert finds the service for which pattern becomes text in the environment.
func invert(pattern, text, environment string) (service string, ok bool) {
	pattern = strings.ReplaceAll(pattern, inEnvironment, environment)
	n := strings.Count(pattern, inService)
	if n == 0 {
		return "", false
	}
	length := len(text) - (len(pattern) - n*len(inService))
	start := strings.Index(pattern, inService)
	if length <= 0 || length%n != 0 || start+length/n > len(text) {
		return "", false
	}
	service = text[start : start+length/n]
	return service, strings.ReplaceAll(pattern, inService, service) == text
}
