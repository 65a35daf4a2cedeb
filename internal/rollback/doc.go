// Package rollback is the domain: what a rollback is, decided without knowing any outside system.
//
// The flow is one way: Survey (reads only) → Plan (data) → Run (the only loop that acts) → Verify (reads only) → Record.
// Every refusal happens before Run. The package imports the standard library only; the ports it needs are in ports.go
// and the adapters that fill them (ecr, oci, kube, record, …) live beside it and do not know each other.
package rollback
