package rollback

import "time"

// Repository is what the registry tells about one repository and about us.
type Repository struct {
	Kind    string `json:"kind"`              // "ecr" or "oci"
	Host    string `json:"host"`              // the host pods pull from, e.g. 123456789012.dkr.ecr.eu-west-1.amazonaws.com
	Name    string `json:"name"`              // the repository, e.g. payments
	Account string `json:"account,omitempty"` // the account that owns it; "" outside AWS
	Region  string `json:"region,omitempty"`
	// Caller is who the registry takes us for (an ARN, or a user name); "" where it cannot tell.
	Caller string `json:"caller,omitempty"`
	// CallerAccount is the account of the caller.
	CallerAccount string `json:"callerAccount,omitempty"`
	// Immutable tells whether the repository refuses to move a tag, with the filters that turn the rule round.
	Mutability Mutability `json:"mutability"`
	// Lifecycle holds the rules that delete or archive images, in no particular order.
	Lifecycle []LifecycleRule `json:"lifecycle,omitempty"`
	// Unknown names what could not be read and why (a missing right, say), so that the plan can say what it did not check.
	Unknown []string `json:"unknown,omitempty"`
}

// Mutability is a repository's rule on moving tags
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html).
type Mutability struct {
	Immutable bool `json:"immutable"`
	// Except are wildcard filters ("latest", "dev-*"); a tag that matches one has the opposite rule.
	Except []string `json:"except,omitempty"`
}

// Movable tells whether the registry would let tag be moved to another digest.
func (m Mutability) Movable(tag string) bool {
	for _, f := range m.Except {
		if wildcard(f, tag) {
			return m.Immutable
		}
	}
	return !m.Immutable
}

// TagSelection says which images a lifecycle rule looks at.
type TagSelection string

const (
	AnyImage TagSelection = "any"
	Tagged   TagSelection = "tagged"
	Untagged TagSelection = "untagged"
)

// LifecycleRule is one rule of a lifecycle policy
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html). The lower priority number
// goes first; an image that matches the tags of a rule is out of reach for every later one.
type LifecycleRule struct {
	Priority    int          `json:"priority"`
	Description string       `json:"description,omitempty"`
	Tags        TagSelection `json:"tags"`
	// Prefixes and Patterns narrow Tagged: an image must match every one of them, each with any of its tags.
	Prefixes []string `json:"prefixes,omitempty"`
	Patterns []string `json:"patterns,omitempty"` // with * as wildcard
	// Exactly one of the two is set: keep the newest KeepCount, or act on what was pushed longer than OlderThan ago.
	KeepCount int           `json:"keepCount,omitempty"`
	OlderThan time.Duration `json:"olderThan,omitempty"` // nanoseconds
	// Archive is set when the rule moves the image to the archive class instead of deleting it.
	Archive bool `json:"archive,omitempty"`
	// Unsupported is set when the rule counts by something this program cannot evaluate (e.g. last pull time), and names it.
	Unsupported string `json:"unsupported,omitempty"`
}

// wildcard matches s against a pattern in which * stands for any run of characters.
func wildcard(pattern, s string) bool {
	star, mark, i, j := -1, 0, 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}
