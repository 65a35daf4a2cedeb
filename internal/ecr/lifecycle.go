package ecr

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// longestAge is the largest number of days that is read, some 100 years.
const longestAge = 36500

// ParseLifecyclePolicy reads the JSON of a lifecycle policy, rules in order of priority
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html). A rule that counts in a way
// this program does not know keeps its place with Unsupported set; a text that is not a policy is an error.
func ParseLifecyclePolicy(text string) ([]rollback.LifecycleRule, error) {
	var doc struct {
		Rules []struct {
			Priority    int    `json:"rulePriority"`
			Description string `json:"description"`
			Selection   struct {
				TagStatus    string   `json:"tagStatus"`
				Prefixes     []string `json:"tagPrefixList"`
				Patterns     []string `json:"tagPatternList"`
				CountType    string   `json:"countType"`
				CountUnit    string   `json:"countUnit"`
				CountNumber  int      `json:"countNumber"`
				StorageClass string   `json:"storageClass"`
			} `json:"selection"`
			Action struct {
				Type   string `json:"type"`
				Target string `json:"targetStorageClass"`
			} `json:"action"`
		} `json:"rules"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("not a policy: %w", err)
	}
	if doc.Rules == nil {
		return nil, errors.New("not a policy: it has no rules")
	}
	seen := map[int]bool{}
	var rules []rollback.LifecycleRule
	for _, d := range doc.Rules {
		s := d.Selection
		if d.Priority < 1 || seen[d.Priority] {
			return nil, fmt.Errorf("rulePriority %d: want numbers from 1, each once", d.Priority)
		}
		seen[d.Priority] = true
		rule := rollback.LifecycleRule{
			Priority: d.Priority, Description: d.Description, Tags: rollback.TagSelection(s.TagStatus), Prefixes: s.Prefixes, Patterns: s.Patterns,
		}
		switch rule.Tags {
		case rollback.AnyImage, rollback.Untagged:
			if len(s.Prefixes)+len(s.Patterns) > 0 {
				return nil, fmt.Errorf("rule %d: %s images have no tags to select by", d.Priority, s.TagStatus)
			}
		case rollback.Tagged:
			if len(s.Prefixes)+len(s.Patterns) == 0 {
				return nil, fmt.Errorf("rule %d: tagged without tagPrefixList or tagPatternList", d.Priority)
			}
		default:
			return nil, fmt.Errorf("rule %d: tagStatus %q", d.Priority, s.TagStatus)
		}
		if s.CountNumber < 1 {
			return nil, fmt.Errorf("rule %d: countNumber %d", d.Priority, s.CountNumber)
		}
		switch {
		case s.StorageClass != "" && s.StorageClass != "standard":
			rule.Unsupported = "images in storage class " + s.StorageClass
		case s.CountType == "imageCountMoreThan":
			rule.KeepCount = s.CountNumber
		case s.CountType != "sinceImagePushed":
			rule.Unsupported = fmt.Sprintf("countType %q", s.CountType)
		case s.CountUnit != "days" || s.CountNumber > longestAge:
			rule.Unsupported = fmt.Sprintf("countNumber %d with countUnit %q", s.CountNumber, s.CountUnit)
		default:
			rule.OlderThan = time.Duration(s.CountNumber) * 24 * time.Hour
		}
		switch {
		case d.Action.Type == "expire":
		case d.Action.Type == "transition" && d.Action.Target == "archive":
			rule.Archive = true
		default:
			rule.Unsupported = fmt.Sprintf("action %q %q", d.Action.Type, d.Action.Target)
			rule.KeepCount, rule.OlderThan = 0, 0
		}
		rules = append(rules, rule)
	}
	slices.SortFunc(rules, func(a, b rollback.LifecycleRule) int { return a.Priority - b.Priority })
	return rules, nil
}
