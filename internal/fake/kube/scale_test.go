package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A production namespace of 231 services and about 1,000 pods: everything rolls out, and a list stays one cheap call.
func TestFleet(t *testing.T) {
	t.Parallel()
	s, reg := cluster(t, Options{Nodes: []string{"a", "b", "c"}})
	c, err := dynamic.NewForConfig(serve(t, s))
	must(t, err)
	total := 0
	for i := range 231 {
		name := fmt.Sprintf("service-%03d", i)
		ref := "registry.example.com/" + name + ":latest"
		reg.tag(ref, good)
		must(t, s.Apply(NewDeployment("prod", name, ref, 3+i%4)))
		total += 3 + i%4
	}
	must(t, s.Wait(ctx(t), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, o := range s.byRes[deployments] {
			if !complete(o.data, dict(o.data, "status")) {
				return false
			}
		}
		return len(s.byRes[deployments]) == 231
	}))
	l, err := c.Resource(gvr(deployments)).Namespace("prod").List(ctx(t), metav1.ListOptions{})
	must(t, err)
	if len(l.Items) != 231 {
		t.Errorf("%d deployments", len(l.Items))
	}
	from := time.Now()
	code, body := ask(s, "GET", inProd+"pods", "")
	t.Logf("%d bytes of pods in %v", len(body), time.Since(from))
	if n := strings.Count(body, `"phase":"Running"`); code != 200 || n != total {
		t.Errorf("pods: %d, %d running, want %d", code, n, total)
	}
	from = time.Now()
	code, body = ask(s, "GET", inProd+"pods", "", "Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	t.Logf("%d bytes of metadata in %v", len(body), time.Since(from))
	if n := strings.Count(body, `"kind":"PartialObjectMetadata"`); code != 200 || n != total {
		t.Errorf("metadata: %d, %d items, want %d", code, n, total)
	}
}
