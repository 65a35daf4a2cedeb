// Package redact removes secrets from any text that leaves the process: logs, errors, the journal, the record.
//
// Two things count as secret: the values of environment variables whose names say so (environ.go), and text that looks
// like a credential wherever it comes from (patterns.go). Everything that is secret in one text is found first and
// replaced at once, so that one replacement never hides another secret's beginning. Writer does the same over a stream,
// however it is cut.
package redact
