package kube

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func next(t *testing.T, w watch.Interface) (watch.EventType, map[string]any) {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			return "", nil
		}
		v, err := canonical(e.Object)
		must(t, err)
		return e.Type, v.(tree)
	case <-ctx(t).Done():
		t.Fatal("no event")
		return "", nil
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	c := client(t, s).Resource(gvr(configMaps)).Namespace("prod")
	must(t, s.Apply(Set(NewConfigMap("prod", "a", nil), tree{"app": "web"}, "metadata", "labels")))
	l, err := c.List(ctx(t), metav1.ListOptions{})
	must(t, err)
	w, err := c.Watch(ctx(t), metav1.ListOptions{ResourceVersion: l.GetResourceVersion(), LabelSelector: "app=web"})
	must(t, err)
	defer w.Stop()
	expect := func(w watch.Interface, kind watch.EventType, name string) string {
		t.Helper()
		k, o := next(t, w)
		if k != kind || str(o, "metadata", "name") != name {
			t.Fatalf("got %s %s, want %s %s", k, str(o, "metadata", "name"), kind, name)
		}
		return str(o, "metadata", "resourceVersion")
	}
	must(t, s.Apply(NewConfigMap("prod", "unseen", nil), Set(NewConfigMap("prod", "b", nil), tree{"app": "web"}, "metadata", "labels")))
	from := expect(w, watch.Added, "b")
	must(t, s.Apply(Set(NewConfigMap("prod", "b", map[string]string{"k": "v"}), tree{"app": "web"}, "metadata", "labels")))
	expect(w, watch.Modified, "b")
	must(t, s.Apply(Set(NewConfigMap("prod", "b", nil), tree{"app": "api"}, "metadata", "labels"))) // leaves the selection
	expect(w, watch.Deleted, "b")
	must(t, s.Apply(Set(NewConfigMap("prod", "b", nil), tree{"app": "web"}, "metadata", "labels"))) // enters it
	expect(w, watch.Added, "b")
	must(t, c.Delete(ctx(t), "b", metav1.DeleteOptions{}))
	gone := expect(w, watch.Deleted, "b")
	if gone == from {
		t.Error("the deletion carries an old version")
	}
	// Another watch goes on from the middle of history, and one without a version begins with what there is.
	w2, err := c.Watch(ctx(t), metav1.ListOptions{ResourceVersion: from, LabelSelector: "app=web"})
	must(t, err)
	defer w2.Stop()
	expect(w2, watch.Modified, "b")
	w3, err := c.Watch(ctx(t), metav1.ListOptions{FieldSelector: "metadata.name=a"})
	must(t, err)
	defer w3.Stop()
	expect(w3, watch.Added, "a")
	s.DropWatches()
	if k, _ := next(t, w3); k != "" {
		t.Errorf("after the drop: %s", k)
	}
	// A version that has been forgotten.
	s.Compact()
	must(t, s.Apply(NewConfigMap("prod", "c", nil)))
	w4, err := c.Watch(ctx(t), metav1.ListOptions{ResourceVersion: from})
	must(t, err)
	defer w4.Stop()
	k, o := next(t, w4)
	if k != watch.Error || num(o, "code") != 410 || str(o, "reason") != "Expired" {
		t.Errorf("got %s %v", k, o)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	c := client(t, s).Resource(gvr(pods)).Namespace("prod")
	one := int64(1)
	w, err := c.Watch(ctx(t), metav1.ListOptions{TimeoutSeconds: &one, AllowWatchBookmarks: true, ResourceVersion: fmt.Sprint(s.now())})
	must(t, err)
	defer w.Stop()
	if k, o := next(t, w); k != watch.Bookmark || str(o, "metadata", "resourceVersion") == "" || str(o, "kind") != "Pod" {
		t.Errorf("got %s %v", k, o)
	}
	if k, _ := next(t, w); k != "" {
		t.Errorf("after its time: %s", k)
	}
	w, err = c.Watch(ctx(t), metav1.ListOptions{})
	must(t, err)
	defer w.Stop()
	s.Close()
	if k, _ := next(t, w); k != "" {
		t.Errorf("after Close: %s", k)
	}
}

// The stream as it is on the wire, for clients that read it themselves.
func TestWatchOnTheWire(t *testing.T) {
	t.Parallel()
	s, _ := cluster(t, Options{})
	cfg := serve(t, s)
	must(t, s.Apply(NewConfigMap("prod", "a", nil)))
	r, err := http.NewRequestWithContext(ctx(t), "GET", cfg.Host+inProd+"configmaps?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+AdminToken)
	r.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(r)
	must(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"ADDED PartialObjectMetadata a", "BOOKMARK PartialObjectMetadata "} {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		var e struct {
			Type   string
			Object struct {
				Kind     string
				Metadata struct {
					Name        string
					Annotations map[string]string
				}
			}
		}
		must(t, json.Unmarshal(lines.Bytes(), &e))
		if got := e.Type + " " + e.Object.Kind + " " + e.Object.Metadata.Name; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if e.Type == "BOOKMARK" && e.Object.Metadata.Annotations["k8s.io/initial-events-end"] != "true" {
			t.Error("the bookmark does not end the initial events")
		}
	}
}
