package ecr_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollback-tools/rollback/internal/ecr"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const policy = `{"rules":[
 {"rulePriority":20,"description":"keep thirty","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}},
 {"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}},
 {"rulePriority":2,"selection":{"tagStatus":"tagged","tagPrefixList":["v","rel"],"countType":"imageCountMoreThan","countNumber":10},"action":{"type":"expire"}},
 {"rulePriority":3,"selection":{"tagStatus":"tagged","tagPatternList":["pr-*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":90},"action":{"type":"transition","targetStorageClass":"archive"}},
 {"rulePriority":4,"selection":{"tagStatus":"tagged","tagPatternList":["*"],"countType":"sinceImagePulled","countUnit":"days","countNumber":90},"action":{"type":"transition","targetStorageClass":"archive"}},
 {"rulePriority":5,"selection":{"tagStatus":"tagged","tagPatternList":["*"],"storageClass":"archive","countType":"sinceImageTransitioned","countUnit":"days","countNumber":365},"action":{"type":"expire"}},
 {"rulePriority":6,"selection":{"tagStatus":"tagged","tagPatternList":["*"],"storageClass":"standard","countType":"sinceImagePushed","countUnit":"weeks","countNumber":2},"action":{"type":"expire"}},
 {"rulePriority":7,"selection":{"tagStatus":"tagged","tagPatternList":["*"],"countType":"imageCountMoreThan","countNumber":2},"action":{"type":"replicate"}}
]}`

func TestParseLifecyclePolicy(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	want := []rollback.LifecycleRule{
		{Priority: 1, Tags: rollback.Untagged, OlderThan: 14 * day},
		{Priority: 2, Tags: rollback.Tagged, Prefixes: []string{"v", "rel"}, KeepCount: 10},
		{Priority: 3, Tags: rollback.Tagged, Patterns: []string{"pr-*"}, OlderThan: 90 * day, Archive: true},
		{Priority: 4, Tags: rollback.Tagged, Patterns: []string{"*"}, Unsupported: `countType "sinceImagePulled"`, Archive: true},
		{Priority: 5, Tags: rollback.Tagged, Patterns: []string{"*"}, Unsupported: "images in storage class archive"},
		{Priority: 6, Tags: rollback.Tagged, Patterns: []string{"*"}, Unsupported: `countNumber 2 with countUnit "weeks"`},
		{Priority: 7, Tags: rollback.Tagged, Patterns: []string{"*"}, Unsupported: `action "replicate" ""`},
		{Priority: 20, Description: "keep thirty", Tags: rollback.AnyImage, KeepCount: 30},
	}
	got, err := ecr.ParseLifecyclePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseLifecyclePolicyRefuses(t *testing.T) {
	t.Parallel()
	rule := func(priority, selection string) string {
		return `{"rulePriority":` + priority + `,"selection":{` + selection + `},"action":{"type":"expire"}}`
	}
	const good = `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":3`
	for want, text := range map[string]string{
		"not a policy: unexpected end":    ``,
		"not a policy: invalid character": `<html>`,
		"not a policy: it has no rules":   `{}`,
		"want numbers from 1":             `{"rules":[` + rule("0", good) + `]}`,
		"each once":                       `{"rules":[` + rule("1", good) + `,` + rule("1", good) + `]}`,
		`tagStatus ""`:                    `{"rules":[` + rule("1", `"countType":"imageCountMoreThan","countNumber":3`) + `]}`,
		"no tags to select by":            `{"rules":[` + rule("1", good+`,"tagPrefixList":["v"]`) + `]}`,
		"tagged without":                  `{"rules":[` + rule("1", strings.Replace(good, "any", "tagged", 1)) + `]}`,
		"countNumber 0":                   `{"rules":[` + rule("1", strings.Replace(good, "3", "0", 1)) + `]}`,
		"cannot unmarshal":                `{"rules":[` + rule("1", strings.Replace(good, "3", `"3"`, 1)) + `]}`,
	} {
		if rules, err := ecr.ParseLifecyclePolicy(text); err == nil || !strings.Contains(err.Error(), want) || rules != nil {
			t.Errorf("%s: got %v, %v, want %q", text, rules, err, want)
		}
	}
}

func FuzzParseLifecyclePolicy(f *testing.F) {
	f.Add(policy)
	f.Add(`{"rules":[]}`)
	f.Add(`{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":36501},"action":{"type":"expire"}}]}`)
	f.Add(`[1,2`)
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ecr.ParseLifecyclePolicy(text)
		if err != nil && rules != nil {
			t.Error("rules beside an error")
		}
		last := 0
		for _, r := range rules {
			if r.Priority <= last {
				t.Errorf("priority %d after %d", r.Priority, last)
			}
			last = r.Priority
			set := 0
			for _, b := range []bool{r.KeepCount > 0, r.OlderThan > 0, r.Unsupported != ""} {
				if b {
					set++
				}
			}
			if set != 1 {
				t.Errorf("rule %d: want one of count, age and unsupported: %+v", r.Priority, r)
			}
		}
	})
}
