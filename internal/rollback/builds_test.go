package rollback

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckParameters(t *testing.T) {
	t.Parallel()
	bob, empty := "bob", ""
	defined := []Parameter{
		{Name: "NAME", Kind: TextParameter, Default: &bob},
		{Name: "KIND", Kind: ChoiceParameter, Choices: []string{"alpha", "beta"}, Default: &empty},
		{Name: "FLAG", Kind: BooleanParameter, Default: &empty},
		{Name: "TOKEN", Kind: SecretParameter},
		{Name: "FILE", Kind: OtherParameter, Type: "FileParameterDefinition"},
	}
	for _, c := range []struct {
		name    string
		defined []Parameter
		values  map[string]string
		want    []string // a part of each problem, in order
	}{
		{"good", defined, map[string]string{"NAME": "x y & z", "KIND": "beta", "FLAG": "true", "TOKEN": "t"}, nil},
		{"defaults", defined, map[string]string{"TOKEN": "t"}, nil},
		{"empty text is a value", defined, map[string]string{"NAME": "", "TOKEN": ""}, nil},
		{"missing", defined, nil, []string{"TOKEN is missing"}},
		{"choice", defined, map[string]string{"KIND": "gamma", "TOKEN": "t"}, []string{`KIND="gamma" is not one of its choices (alpha, beta)`}},
		{"choice in another case", defined, map[string]string{"KIND": "Beta", "TOKEN": "t"}, []string{"KIND"}},
		{"boolean", defined, map[string]string{"FLAG": "yes", "TOKEN": "t"}, []string{`FLAG="yes": want true or false`}},
		{"boolean in another case", defined, map[string]string{"FLAG": "True", "TOKEN": "t"}, []string{"FLAG"}},
		{"file", defined, map[string]string{"FILE": "x", "TOKEN": "t"}, []string{"FILE is a FileParameterDefinition"}},
		{"unknown", defined, map[string]string{"TOKEN": "t", "NAEM": "x", "A": ""}, []string{"no parameter A", "no parameter NAEM (it has NAME, KIND"}},
		{"none defined", nil, map[string]string{"A": "x"}, []string{"no parameter A (it has none)"}},
		{"none at all", nil, nil, nil},
	} {
		got := CheckParameters(c.defined, c.values)
		ok := len(got) == len(c.want)
		for i := range c.want {
			ok = ok && strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestBuildOfCommit(t *testing.T) {
	t.Parallel()
	const (
		full  = Commit("0123456789abcdef0123456789abcdef01234567")
		other = Commit("0123456999abcdef0123456789abcdef01234567")
	)
	for _, c := range []struct {
		commits []Commit
		ask     Commit
		want    bool
	}{
		{[]Commit{full}, full, true},
		{[]Commit{other, full}, full, true},
		{[]Commit{full}, "01234567", true},
		{[]Commit{"01234567"}, full, true},
		{[]Commit{other}, full, false},
		{[]Commit{full}, "", false},
		{[]Commit{full}, "012345", false},
		{[]Commit{""}, full, false},
		{nil, full, false},
	} {
		if got := (Build{Commits: c.commits}).Of(c.ask); got != c.want {
			t.Errorf("%q of %q: %v", c.commits, c.ask, got)
		}
	}
}

func TestBuildWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		b               Build
		name            string
		succeeded, over bool
	}{
		{Build{Job: "deploy/web", Number: 7, State: BuildFinished, Result: "SUCCESS"}, "deploy/web #7", true, true},
		{Build{Job: "deploy/web", Number: 7, State: BuildFinished, Result: "UNSTABLE"}, "deploy/web #7", false, true},
		{Build{Job: "deploy/web", Number: 7, State: BuildRunning, Result: "SUCCESS"}, "deploy/web #7", false, false},
		{Build{Job: "deploy/web", Queue: 9, State: BuildQueued}, "deploy/web (queue item 9)", false, false},
		{Build{Job: "deploy/web", Queue: 9, State: BuildCancelled}, "deploy/web (queue item 9)", false, true},
		{Build{Job: "deploy/web"}, "deploy/web", false, false},
	} {
		got := []any{c.b.String(), c.b.Succeeded(), c.b.Over()}
		if !slices.Equal(got, []any{c.name, c.succeeded, c.over}) {
			t.Errorf("%+v: %v", c.b, got)
		}
	}
}
