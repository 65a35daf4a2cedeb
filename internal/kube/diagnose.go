package kube

// Why a pod does not come up, in the words of the cluster.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	diagnosisEvents = 10
	diagnosisLines  = 20
	// diagnosisBytes is the most log text that is read; one line can be a whole stack trace.
	diagnosisBytes = 32 << 10
	longestLine    = 400 // characters
)

// Diagnose reads the events of a pod and the last lines of one of its containers, in one wave: those before its last restart
// if there was one. What may not be read is said in a line among the events; a pod that is gone is NotFound.
func (c *Cluster) Diagnose(ctx context.Context, namespace, pod, container string) (rollback.Diagnosis, error) {
	var (
		uid               string
		list              []unstructured.Unstructured
		previous, current []string
		noEvents, noLogs  string
	)
	g, gctx := rollback.NewWave(ctx)
	g.Go(func() error { // for its UID: a StatefulSet makes pods of the same name again
		o, err := c.get(gctx, pods, namespace, pod)
		switch {
		case rollback.KindOf(err) == rollback.Denied:
			return nil
		case err != nil:
			return err
		}
		uid = string(o.GetUID())
		return nil
	})
	g.Go(func() (err error) {
		list, err = c.list(gctx, events, namespace, metav1.ListOptions{
			FieldSelector: "involvedObject.kind=Pod,involvedObject.name=" + pod,
		})
		if rollback.KindOf(err) == rollback.Denied {
			noEvents, err = "events not readable: needs "+request{verb: "list", kind: events, namespace: namespace}.needs(), nil
		}
		return err
	})
	g.Go(func() (err error) {
		previous, _, err = c.logs(gctx, namespace, pod, container, true)
		return err
	})
	g.Go(func() (err error) {
		current, noLogs, err = c.logs(gctx, namespace, pod, container, false)
		return err
	})
	if err := g.Wait(); err != nil {
		return rollback.Diagnosis{}, err
	}
	texts, err := eventTexts(list, uid)
	if err != nil {
		return rollback.Diagnosis{}, unreadable(request{verb: "list", kind: events, namespace: namespace}, err)
	}
	d := rollback.Diagnosis{Events: texts, Logs: previous}
	if len(previous) == 0 {
		d.Logs = current
	}
	for _, missing := range []string{noEvents, noLogs} {
		if missing != "" {
			d.Events = append(d.Events, missing)
		}
	}
	return d, nil
}

// Events reads the newest events of a workload. If they may not be read, that is said in a line in their place.
func (c *Cluster) Events(ctx context.Context, w rollback.Ref) ([]string, error) {
	r := request{verb: "list", kind: events, namespace: w.Namespace}
	list, err := c.list(ctx, events, w.Namespace, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + w.Kind + ",involvedObject.name=" + w.Name})
	if rollback.KindOf(err) == rollback.Denied {
		return []string{"events not readable: needs " + r.needs()}, nil
	}
	if err != nil {
		return nil, err
	}
	texts, err := eventTexts(list, "")
	if err != nil {
		return nil, unreadable(r, err)
	}
	return texts, nil
}

// logs reads the last lines of a container. why says what stood in the way, if that is worth knowing; err is only for
// failures that concern more than the log.
func (c *Cluster) logs(ctx context.Context, namespace, pod, container string, previous bool) (lines []string, why string, err error) {
	r := request{verb: "get", kind: pods, sub: "log", namespace: namespace, name: pod, text: true}
	var text []byte
	err = c.call(ctx, r, func(ctx context.Context) (err error) {
		q := c.rest.Get().AbsPath(append(pods.path(namespace), pod, "log")...).
			SetHeader("Accept", "*/*").
			Param("container", container).
			Param("tailLines", fmt.Sprint(diagnosisLines)).
			Param("limitBytes", fmt.Sprint(diagnosisBytes))
		if previous {
			q = q.Param("previous", "true")
		}
		text, err = q.Do(ctx).Raw()
		return err
	})
	switch rollback.KindOf(err) {
	case rollback.Denied:
		return nil, "logs not readable: needs " + r.needs(), nil
	case rollback.NotFound, rollback.Rejected, rollback.Conflict:
		return nil, "", nil // no such log: the container has not run (yet)
	case rollback.ServerFault, rollback.Throttled, rollback.Broken:
		return nil, "logs not readable: " + oneLine(err.Error()), nil // often the node, not the API server
	}
	if err != nil {
		return nil, "", err
	}
	return logLines(text), "", nil
}

// logLines are the last lines of a log, without what a terminal would obey.
func logLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(printable(strings.ToValidUTF8(string(text), "�"))) {
		line = strings.TrimRight(line, " \t\n")
		if line == "" {
			continue
		}
		if r := []rune(line); len(r) > longestLine {
			line = string(r[:longestLine]) + "…"
		}
		lines = append(lines, line)
	}
	return lines[max(0, len(lines)-diagnosisLines):]
}

// eventTexts are the newest events as "reason: message", newest last. With a uid, events of another pod of the same name
// are left out. The scheduler dates its events in microseconds and nodes theirs in whole seconds, so the second decides, and
// within it the order of the list: that is by name, and an event's name ends with its time.
func eventTexts(list []unstructured.Unstructured, uid string) ([]string, error) {
	type dated struct {
		at   time.Time
		text string
	}
	var all []dated
	for _, o := range list {
		e, err := read[wireEvent](o.Object)
		if err != nil {
			return nil, err
		}
		if uid != "" && e.InvolvedObject.UID != "" && e.InvolvedObject.UID != uid {
			continue
		}
		d := dated{text: oneLine(e.Reason + ": " + e.Message)}
		times := []*time.Time{e.LastTimestamp, e.EventTime, e.Metadata.CreationTimestamp}
		count := e.Count
		if e.Series != nil {
			times = append(times, e.Series.LastObservedTime)
			count = max(count, e.Series.Count)
		}
		for _, t := range times {
			if t != nil && t.Truncate(time.Second).After(d.at) {
				d.at = t.Truncate(time.Second)
			}
		}
		if count > 1 {
			d.text += fmt.Sprintf(" (%d times)", count)
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b dated) int { return a.at.Compare(b.at) })
	var texts []string
	for _, d := range all[max(0, len(all)-diagnosisEvents):] {
		texts = append(texts, d.text)
	}
	return texts, nil
}
