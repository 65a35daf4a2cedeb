// Package kube is a loopback Kubernetes: an API server as an http.Handler with the controllers and the nodes inside.
//
// It is stateful and strict. What it knows it does as Kubernetes does it: optimistic locking, generations, watches,
// rollout arithmetic, a kubelet that asks the registry which digest a tag names at the moment a container starts. What it
// does not know it refuses with a proper Status and notes in Refused, so that no test passes on behaviour that a real
// cluster would not show.
//
// The rules and words are those of Kubernetes 1.37; where one is not obvious, the comment names its source.
package kube
