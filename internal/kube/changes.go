package kube

// Hints that something changed. They only shorten the wait between two observations, so every failure here is silent.

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	// watchFor is how long the server keeps one watch open; it is opened again after that.
	watchFor      = 4 * time.Minute
	longestPause  = 5 * time.Second
	partialObject = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
)

// Changes watches the pods and workloads of the namespace, metadata only. The channel holds one hint at most and is closed
// when ctx is done and every watch has ended; it stays silent for what may not be watched.
func (c *Cluster) Changes(ctx context.Context, namespace string) <-chan struct{} {
	hints := make(chan struct{}, 1)
	var watches sync.WaitGroup
	for _, k := range append([]kind{pods}, restartable...) {
		watches.Go(func() { c.follow(ctx, k, namespace, hints) })
	}
	go func() {
		watches.Wait()
		<-ctx.Done() // a closed channel would read as one hint after the other
		close(hints)
	}()
	return hints
}

// follow watches one kind from now on, and again from where it was whenever the watch ends.
func (c *Cluster) follow(ctx context.Context, k kind, namespace string, hints chan<- struct{}) {
	version := "" // unknown: ask where "now" is
	for failures := 0; ctx.Err() == nil; {
		var err error
		fresh := version == ""
		if fresh {
			version, err = c.now(ctx, k, namespace)
		}
		if err == nil {
			before := version
			version, err = c.watch(ctx, k, namespace, version, fresh, hints)
			if version != before || err == nil {
				failures = 0
			}
		}
		if err == nil {
			continue
		}
		if gone(err) { // the version is too old: start again from now
			version = ""
		} else if k := rollback.KindOf(err); k == rollback.Denied || k == rollback.NotFound || k == rollback.Rejected {
			return
		}
		failures++
		wait := min(firstPause<<min(failures-1, 10), longestPause)
		select {
		case <-ctx.Done():
		case <-c.pause(wait/2 + rand.N(wait)):
		}
	}
}

// now is the version of the list at this moment.
func (c *Cluster) now(ctx context.Context, k kind, namespace string) (string, error) {
	page, err := c.metadataPage(ctx, k, namespace, 1, "")
	return page.Metadata.ResourceVersion, err
}

// watch sends hints until the watch ends. It returns the version to go on from, and nil when the server ended the watch in
// good order. A fresh watch begins with a hint, because what changed just before it began is not told.
func (c *Cluster) watch(ctx context.Context, k kind, namespace, version string, fresh bool, hints chan<- struct{}) (string, error) {
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	x := &exchange{stream: true}
	// The server ends the watch by itself; the deadline is for one that has gone silent.
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, exchangeKey{}, x), watchFor+c.timeout)
	defer cancel()
	r := request{verb: "watch", kind: k, namespace: namespace}
	body, err := c.rest.Get().AbsPath(k.path(namespace)...).
		SetHeader("Accept", partialObject).
		Param("watch", "true").
		Param("resourceVersion", version).
		Param("allowWatchBookmarks", "true").
		Param("timeoutSeconds", strconv.Itoa(int(watchFor.Seconds()))).
		Stream(ctx)
	if err != nil {
		failed, _ := c.failure(ctx, r, x, false, err)
		return version, failed
	}
	defer body.Close()
	if fresh {
		hint()
	}
	started := time.Now()
	for events := json.NewDecoder(body); ; {
		var e struct {
			Type   string `json:"type"`
			Object struct {
				Metadata struct {
					ResourceVersion string `json:"resourceVersion"`
				} `json:"metadata"`
				Code int `json:"code"` // of a Status
			} `json:"object"`
		}
		if err := events.Decode(&e); err != nil {
			if time.Since(started) < time.Second { // not the end of its time: a connection that breaks at once
				return version, unreadable(r, err)
			}
			return version, nil
		}
		if e.Type == "ERROR" {
			return version, &rollback.CallError{
				System: "kubernetes", Op: r.String(), Kind: rollback.ServerFault,
				Code: fmt.Sprintf("%d in the watch", e.Object.Code),
			}
		}
		if v := e.Object.Metadata.ResourceVersion; v != "" {
			version = v
		}
		if e.Type != "BOOKMARK" {
			hint()
		}
	}
}
