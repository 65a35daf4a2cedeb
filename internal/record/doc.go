// Package record keeps what must outlive a run: the record of each scope in the cluster, the lock in it, the journal on
// disk and the result file for Jenkins.
//
// The record is one ConfigMap per scope (encode.go, records.go), written with compare-and-swap, so that a run killed
// anywhere is finished by the same command on any other machine. The lock is part of the record (lock.go): to take it is
// one such write, and of two operators exactly one wins. The journal (journal.go) is a JSON Lines file that is on disk
// before the act it announces.
package record
