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
