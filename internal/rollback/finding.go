package rollback

// Severity says what a finding means for the plan.
type Severity string

const (
	Block Severity = "block" // the plan is unsafe
	Warn  Severity = "warn"
	Info  Severity = "info"
)

// Finding is one thing the survey saw, with what to do about it.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // stable, e.g. "pull-policy"
	Text     string   `json:"text"` // one sentence
	Remedy   string   `json:"remedy,omitempty"`
}

// Codes are those of all findings, so that a mistyped one is not taken for one that does not apply.
var Codes = []string{
	"account", "again", "already-undone", "build-in-flight", "builds-unread", "bystander", "commits-unread",
	"config-newer", "cross-account", "current-gone", "forge-unread", "gitops", "helm", "locked", "marked-bad",
	"migrations", "mixed", "moved-on", "newer", "no-forge", "no-range", "no-repository", "no-right", "no-workload", "not-checked",
	"not-on-branch", "not-ready", "nothing-runs", "on-delete", "ordered-stuck", "others", "outgoing-expires", "overlap",
	"owed", "owed-unread", "owned", "partition", "paused", "pinned", "pull-policy", "registry-host", "replicas-zero",
	"restart-again", "resume", "revert-conflict", "revert-waits", "reverted-already", "risk", "shared-tag", "still-open", "tag-ahead", "tag-immutable",
	"tag-missing", "target-archived", "target-expires", "target-gone", "unfinished", "unmanaged",
}
