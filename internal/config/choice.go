package config

import "fmt"

// group is a section in which one of several ways must be chosen; each way has keys of its own.
type group struct {
	name string
	kind string // key that names the way outright, "" if there is none
	ways []way
}

type way struct {
	name string
	by   string   // the key that chooses this way
	own  []string // keys that mean something with this way only, by among them
}

var groups = []group{
	{name: "registry", kind: "registry.kind", ways: []way{
		{"ecr", "registry.account", []string{"registry.account", "registry.region", "registry.profile", "registry.role", "registry.externalId"}},
		{"oci", "registry.host", []string{"registry.host", "registry.insecure", "registry.caFile", "registry.usernameEnv", "registry.passwordEnv"}},
	}},
	{name: "cluster", ways: []way{
		{"context", "cluster.context", []string{"cluster.context", "cluster.kubeconfig"}},
		{"eks", "cluster.eks", []string{"cluster.eks", "cluster.region", "cluster.profile", "cluster.role", "cluster.externalId"}},
		{"inCluster", "cluster.inCluster", []string{"cluster.inCluster"}},
	}},
	{name: "jenkins", ways: []way{
		{"token", "jenkins.tokenEnv", []string{"jenkins.tokenEnv"}},
		{"password", "jenkins.passwordEnv", []string{"jenkins.passwordEnv"}},
	}},
}

// pick is the value that counts for a key, and how far down the levels it was found.
type pick struct {
	leaf
	rank int
}

// find is the first value of a key, going down the levels.
func find(levels []values, key string) (pick, bool) {
	for rank, l := range levels {
		if v, ok := l[key]; ok {
			return pick{v, rank}, true
		}
	}
	return pick{}, false
}

// undecided is the way when two of them exclude each other.
const undecided = "undecided"

// chosen is the way that counts, way "" when nothing chooses one.
type chosen struct {
	way    string
	origin string
	drop   []string // keys of the other ways
}

// choose decides the way: the kind that is named outright, else the way that the value nearest to the user chooses. What
// belongs to another way is a problem when it stands on the same level or nearer to the user, and is dropped when it
// comes from further down: an environment may go another way than defaults.
func (g group) choose(levels []values) (chosen, []Problem) {
	var c chosen
	var by pick
	key := g.kind
	if p, ok := find(levels, g.kind); ok && g.kind != "" {
		c, by = chosen{way: p.items[0], origin: p.origin}, p
	} else {
		for _, w := range g.ways {
			p, ok := active(levels, w.by)
			switch {
			case !ok || c.way != "" && p.rank > by.rank:
			case c.way != "" && p.rank == by.rank:
				late, early, lateKey, earlyKey := p, by, w.by, key
				if late.file != "" && (late.line < early.line || late.line == early.line && late.column < early.column) {
					late, early, lateKey, earlyKey = early, late, earlyKey, lateKey
				}
				return chosen{way: undecided}, []Problem{late.problem(fmt.Sprintf("%s and %s exclude each other: keep one", early.called(earlyKey), late.called(lateKey)))}
			default:
				c, by, key = chosen{way: w.name, origin: p.origin}, p, w.by
			}
		}
	}
	if c.way == "" {
		return c, nil
	}
	var problems []Problem
	for _, w := range g.ways {
		if w.name == c.way {
			continue
		}
		c.drop = append(c.drop, w.own...)
		for _, own := range w.own {
			p, ok := active(levels, own)
			if !ok || p.rank > by.rank {
				continue
			}
			text := fmt.Sprintf("%s goes with %s, not with %s", p.called(own), w.by, key)
			if g.kind != "" {
				text = fmt.Sprintf("%s is for %s %s, not for %s", p.called(own), g.kind, w.name, c.way)
			}
			if p.origin != by.origin {
				text += fmt.Sprintf(" (%s)", by.origin)
			}
			problems = append(problems, p.problem(text))
		}
	}
	return c, problems
}

// active is the value of a key, unless it is false, which is the same as nothing.
func active(levels []values, key string) (pick, bool) {
	p, ok := find(levels, key)
	if s, _ := Lookup(key); ok && s.Type == Bool && p.items[0] == "false" {
		return pick{}, false
	}
	return p, ok
}

// problem is a problem where the value was written.
func (l leaf) problem(text string) Problem {
	return Problem{File: l.file, Line: l.line, Column: l.column, Text: text}
}

// called is what the user knows the value by: the flag or variable, else the key.
func (l leaf) called(key string) string {
	if l.given {
		return l.origin
	}
	return key
}
