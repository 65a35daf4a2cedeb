package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Scoped are the settings of one scope, placeholders filled in, checked, complete for what was asked.
type Scoped struct {
	Scope rollback.Scope // Service is "" for an environment as a whole
	Place
	// Findings are doubts that do not stop anything, such as a service that is spelt almost like a listed one.
	Findings []rollback.Finding
	// PerService are the keys that are empty here because they depend on the service; only for an environment as a whole.
	PerService []string

	origins map[string]string
}

// Origin says where the value of a setting came from: "--tag", "ROLLBACK_TAG", "rollback.yaml:14", "built in", and "" when
// it has none.
func (s Scoped) Origin(key string) string { return s.origins[key] }

// Written tells whether the file says the value of a setting, in contrast to a flag, a variable or nobody.
func (s Scoped) Written(key string) bool { return strings.Contains(s.origins[key], ":") }

// Explained is one setting with its value and where that came from.
type Explained struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Explain lists every setting that has a value, in the order of Settings.
func (s Scoped) Explain() []Explained {
	var out []Explained
	place := reflect.ValueOf(s.Place)
	for _, x := range Settings {
		if s.origins[x.Key] == "" || x.Key == strictServices {
			continue
		}
		out = append(out, Explained{x.Key, format(at(place, x.Key)), s.origins[x.Key]})
	}
	return out
}

func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case time.Duration:
		return short(x)
	default:
		return fmt.Sprint(x)
	}
}

// short is a duration without the parts that are zero: 10m instead of 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Refs are the workloads that were named, nil when they are to be found by their image.
func (s Scoped) Refs() []rollback.Ref {
	var out []rollback.Ref
	for _, w := range s.Workloads {
		kind, name, _ := strings.Cut(w, "/")
		ref := rollback.Ref{Kind: kinds[strings.ToLower(kind)], Namespace: s.Namespace, Name: name}
		if !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// Need is a part of the settings that a command cannot do without.
type Need int

const (
	NeedNothing  Need = iota // the scope may be incomplete
	NeedRegistry             // the registry's kind, account and region, or host
	NeedCluster              // the cluster and the namespace
	NeedJenkins              // Jenkins' URL and user; only where it is named: most commands do without Jenkins
)

// Resolve decides the settings of one scope. Everything wrong or missing is reported at once; without needs both the
// registry and the cluster must be complete.
func (f *File) Resolve(scope rollback.Scope, given Given, needs ...Need) (Scoped, error) {
	var problems []Problem
	if scope.Service == "" {
		problems = append(problems, f.unnamed("service", f.Services()))
	}
	problems = append(problems, f.checkEnvironment(scope.Environment)...)
	var findings []rollback.Finding
	if scope.Service != "" {
		more, findings2 := f.checkService(scope, given)
		problems, findings = append(problems, more...), findings2
	}
	if len(problems) > 0 {
		err := failure(problems)
		var e *rollback.Error
		if errors.As(err, &e) && scope.Service == "" && len(f.checkEnvironment(scope.Environment)) == 0 {
			e.Next = append(e.Next, "to see the services that there are: rollback status --environment "+scope.Environment)
		}
		return Scoped{}, err
	}
	s, problems := f.resolve(scope, given, needs)
	s.Findings = findings
	if err := f.incomplete(problems); err != nil {
		return Scoped{}, err
	}
	return s, nil
}

// Environment decides the settings of an environment as a whole, for commands that look at all its services. What
// depends on the service is left empty and listed in PerService.
func (f *File) Environment(environment string, given Given, needs ...Need) (Scoped, error) {
	if problems := f.checkEnvironment(environment); len(problems) > 0 {
		return Scoped{}, failure(problems)
	}
	s, problems := f.resolve(rollback.Scope{Environment: environment}, given, needs)
	if err := f.incomplete(problems); err != nil {
		return Scoped{}, err
	}
	return s, nil
}

// incomplete is the error for the problems of a resolution. Where there is no file at all, that is the first thing to know.
func (f *File) incomplete(problems []Problem) error {
	err := failure(problems)
	var e *rollback.Error
	if f.Name == "" && errors.As(err, &e) {
		e.Next = append(e.Next, "there is no "+FileNames[0]+" in this directory or above it; name one with --config, or write one: rollback init")
	}
	return err
}

func (f *File) unnamed(what string, known []string) Problem {
	text := fmt.Sprintf("no %s given: --%s or ROLLBACK_%s", what, what, strings.ToUpper(what))
	if len(known) > 0 {
		text += " (known: " + listed(known) + ")"
	}
	return Problem{Text: text}
}

func (f *File) checkEnvironment(name string) []Problem {
	known := f.Environments()
	switch {
	case name == "":
		return []Problem{f.unnamed("environment", known)}
	case len(known) > 0:
		if _, ok := f.environments[name]; !ok {
			return []Problem{{Text: fmt.Sprintf("no environment %s in %s: %s", shown(name), f.name(), suggest(name, known))}}
		}
	default:
		if err := (rollback.Scope{Service: "x", Environment: name}).Validate(); err != nil {
			return []Problem{{Text: err.Error()}}
		}
	}
	return nil
}

func (f *File) checkService(scope rollback.Scope, given Given) ([]Problem, []rollback.Finding) {
	if _, ok := f.services[scope.Service]; ok {
		return nil, nil
	}
	known := byDistance(scope.Service, f.Services())
	strict, origin := f.isStrict(given)
	if strict {
		text := fmt.Sprintf("no service %s in %s, and strictServices (%s) refuses others", shown(scope.Service), f.name(), origin)
		if len(known) > 0 {
			text += ": " + suggest(scope.Service, known)
		}
		return []Problem{{Text: text}}, nil
	}
	if err := (rollback.Scope{Service: scope.Service, Environment: "x"}).Validate(); err != nil {
		text := err.Error()
		if len(known) > 0 && near(scope.Service, known[0]) {
			text += fmt.Sprintf("; did you mean %q?", known[0])
		}
		return []Problem{{Text: text}}, nil
	}
	if len(known) > 0 && near(scope.Service, known[0]) {
		return nil, []rollback.Finding{{
			Severity: rollback.Warn, Code: "unlisted-service",
			Text:   fmt.Sprintf("%s has no service %q, but it has %q", f.name(), scope.Service, known[0]),
			Remedy: "check the spelling; what defaults and the environment say is used for it",
		}}
	}
	return nil, nil
}

func (f *File) isStrict(given Given) (strict bool, origin string) {
	s, _ := Lookup(strictServices)
	if v, ok := given[s.Flag]; ok {
		return v.Text == "true", v.Origin
	}
	if f.strict != nil {
		return f.strict.items[0] == "true", f.strict.origin
	}
	return false, ""
}

// builtIn are the defaults of Settings.
var builtIn = func() values {
	v := values{}
	for _, s := range Settings {
		if s.Default != "" {
			v[s.Key] = leaf{items: []string{s.Default}, origin: "built in"}
		}
	}
	return v
}()

// levels are the sections that speak of a scope, the first wins.
func (f *File) levels(scope rollback.Scope, given values) []values {
	levels := []values{given}
	if scope.Service != "" {
		levels = append(levels, f.overrides[scope], f.services[scope.Service])
	}
	return append(levels, f.environments[scope.Environment], f.defaults)
}

// resolve does the work of Resolve for names that are known to be good.
func (f *File) resolve(scope rollback.Scope, given Given, needs []Need) (Scoped, []Problem) {
	s := Scoped{Scope: scope, origins: map[string]string{}}
	fromGiven, problems := given.values(scope)
	levels := f.levels(scope, fromGiven)

	choices := map[string]chosen{}
	var drop []string
	for _, g := range groups {
		c, more := g.choose(levels)
		choices[g.name], problems = c, append(problems, more...)
		drop = append(drop, c.drop...)
	}
	place := reflect.ValueOf(&s.Place).Elem()
	levels = append(levels, builtIn)
	for _, x := range Settings {
		p, ok := find(levels, x.Key)
		if !ok || x.Key == strictServices || slices.Contains(drop, x.Key) {
			continue
		}
		if scope.Service == "" && slices.ContainsFunc(p.items, func(i string) bool { return strings.Contains(i, inService) }) {
			s.PerService = append(s.PerService, x.Key)
			continue
		}
		s.origins[x.Key] = p.origin
		problems = append(problems, f.set(at(place, x.Key), x, p, scope)...)
	}
	if c := choices["registry"]; c.way != "" && c.way != undecided && s.Registry.Kind == "" {
		s.Registry.Kind, s.origins["registry.kind"] = c.way, c.origin
	}
	if choices["cluster"].way == "eks" && s.Cluster.Region == "" && s.Registry.Region != "" {
		s.Cluster.Region, s.origins["cluster.region"] = s.Registry.Region, s.origins["registry.region"]
	}
	problems = append(problems, s.together(levels)...)
	return s, append(problems, s.missing(f, choices, needs, fromGiven, given)...)
}

// values checks what was given for a scope.
func (g Given) values(scope rollback.Scope) (values, []Problem) {
	vals, seen := values{}, 0
	var problems []Problem
	for _, s := range Settings {
		v, ok := g[s.Flag]
		if !ok {
			continue
		}
		seen++
		l := leaf{items: []string{v.Text}, origin: v.Origin, given: true}
		if s.Type == List {
			l.items = strings.Split(v.Text, ",")
			for i := range l.items {
				l.items[i] = strings.TrimSpace(l.items[i])
			}
		}
		good := true
		for _, text := range l.items {
			sample := rollback.Scope{Service: orElse(scope.Service, "service"), Environment: scope.Environment}
			if err := s.checkPattern(text, sample); err != nil {
				good = false
				if text == "" {
					err = fmt.Errorf("is empty: leave it out, or give it a value")
					problems = append(problems, l.problem(fmt.Sprintf("%s %s", v.Origin, err)))
					continue
				}
				problems = append(problems, l.problem(fmt.Sprintf("%s%s: %s", v.Origin, s.quote(text), err)))
			}
		}
		if good {
			vals[s.Key] = l
		}
	}
	if seen < len(g) {
		for _, flag := range sortedKeys(g) {
			if !slices.ContainsFunc(Settings, func(s Setting) bool { return s.Flag == flag }) {
				problems = append(problems, Problem{Text: fmt.Sprintf("%s: there is no setting --%s", g[flag].Origin, flag)})
			}
		}
	}
	return vals, problems
}

// set puts a picked value into its field, placeholders filled in, checked for this very scope.
func (f *File) set(v reflect.Value, s Setting, p pick, scope rollback.Scope) []Problem {
	items := make([]string, len(p.items))
	for i, pattern := range p.items {
		text := expand(pattern, scope)
		if err := s.validate(text); err != nil {
			what := p.called(s.Key) + s.quote(text)
			if text != pattern {
				what = fmt.Sprintf("%s %s becomes %s for %s", p.called(s.Key), shown(pattern), shown(text), scope)
			}
			return []Problem{p.problem(fmt.Sprintf("%s: %s", what, err))}
		}
		if s.Path {
			text = f.path(text, p.leaf)
		}
		items[i] = text
	}
	switch s.Type {
	case Text:
		v.SetString(items[0])
	case Bool:
		v.SetBool(items[0] == "true")
	case Duration:
		d, _ := time.ParseDuration(items[0]) // validated above
		v.SetInt(int64(d))
	case List:
		v.Set(reflect.ValueOf(items))
	}
	return nil
}

// path is the name of a file as this process can open it.
func (f *File) path(text string, l leaf) string {
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if l.file != "" && f.dir != "" && !filepath.IsAbs(text) {
		return filepath.Join(f.dir, text)
	}
	return text
}

// together checks values that must fit each other.
func (s Scoped) together(levels []values) []Problem {
	var problems []Problem
	if (s.Registry.UsernameEnv == "") != (s.Registry.PasswordEnv == "") {
		have, lack := "registry.usernameEnv", "registry.passwordEnv"
		if s.Registry.UsernameEnv == "" {
			have, lack = lack, have
		}
		p, _ := find(levels, have)
		problems = append(problems, p.problem(fmt.Sprintf("%s needs %s beside it", p.called(have), lack)))
	}
	seen := map[string]bool{}
	for _, c := range s.Jenkins.Agent.Credentials {
		kind, _, _ := strings.Cut(c, "=")
		if seen[kind] {
			p, _ := find(levels, "jenkins.agent.credentials")
			problems = append(problems, p.problem(fmt.Sprintf("%s has %s twice: keep one", p.called("jenkins.agent.credentials"), kind)))
		}
		seen[kind] = true
	}
	if s.Timeout > 0 && s.Settle >= s.Timeout {
		p, _ := find(levels, "settle")
		problems = append(problems, p.problem(fmt.Sprintf("%s %s leaves no time to come up: the timeout is %s (%s)",
			p.called("settle"), short(s.Settle), short(s.Timeout), s.origins["timeout"])))
	}
	return problems
}

// missing names every setting that is needed and has no value, with all the places it can be given.
func (s Scoped) missing(f *File, choices map[string]chosen, needs []Need, good values, given Given) []Problem {
	need := func(n Need) bool { return len(needs) == 0 || slices.Contains(needs, n) }
	refused := func(key string) bool { // given, but with a mistake that has its own message
		x, _ := Lookup(key)
		_, was := given[x.Flag]
		_, ok := good[key]
		return was && !ok
	}
	var keys []string
	var problems []Problem
	choice := func(what string, keys ...string) {
		if !slices.ContainsFunc(keys, refused) {
			problems = append(problems, f.oneOf(what, s.Scope, keys...))
		}
	}
	if need(NeedRegistry) {
		switch choices["registry"].way {
		case "ecr":
			keys = append(keys, "registry.account", "registry.region")
		case "oci":
			keys = append(keys, "registry.host")
		case "":
			choice("registry", "registry.account", "registry.host")
		}
	}
	if need(NeedCluster) {
		switch choices["cluster"].way {
		case "eks":
			if !refused("registry.region") {
				keys = append(keys, "cluster.region")
			}
		case "":
			choice("cluster", "cluster.context", "cluster.eks", "cluster.inCluster")
		}
		keys = append(keys, "namespace")
	}
	if slices.Contains(needs, NeedJenkins) {
		keys = append(keys, "jenkins.url", "jenkins.user")
	}
	for _, key := range keys {
		if x, _ := Lookup(key); s.origins[key] == "" && !slices.Contains(s.PerService, key) && !refused(key) {
			problems = append(problems, Problem{Text: fmt.Sprintf("%s is not set: --%s, %s or environments.%s.%s in %s",
				key, x.Flag, x.Env, s.Scope.Environment, key, f.name())})
		}
	}
	return problems
}

// oneOf says that one of several settings must be chosen.
func (f *File) oneOf(what string, scope rollback.Scope, keys ...string) Problem {
	var ways []string
	for _, key := range keys {
		x, _ := Lookup(key)
		ways = append(ways, fmt.Sprintf("--%s, %s or %s", x.Flag, x.Env, key))
	}
	return Problem{Text: fmt.Sprintf("no %s is chosen: %s, the keys under environments.%s in %s", what, strings.Join(ways, "; "), scope.Environment, f.name())}
}
