package kubeworld

// What tests set from outside: how the nodes behave, namespace by namespace.

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/rollback-tools/rollback/test/e2e/control"
)

type settings struct {
	mu         sync.Mutex
	namespaces map[string]*namespaceSettings
}

// forget drops the settings of a namespace that is gone.
func (s *settings) forget(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.namespaces, namespace)
}

func newSettings() *settings { return &settings{namespaces: map[string]*namespaceSettings{}} }

// of are the settings of a namespace; they live until it is forgotten.
func (s *settings) of(namespace string) *namespaceSettings {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaces[namespace]
	if n == nil {
		n = &namespaceSettings{behaviours: map[string]control.Behaviour{}, cache: map[string]map[string]string{}, preloaded: map[string]string{}}
		n.set(control.Namespace{})
		s.namespaces[namespace] = n
	}
	return n
}

type namespaceSettings struct {
	mu         sync.Mutex
	told       control.Namespace
	behaviours map[string]control.Behaviour // by digest
	cache      map[string]map[string]string // node → image reference → digest: what IfNotPresent trusts
	preloaded  map[string]string            // reference → digest, on every node
}

func (n *namespaceSettings) set(told control.Namespace) {
	d := &told.Delays
	for _, p := range []struct {
		d *time.Duration
		v time.Duration
	}{
		{&d.Pull, 2 * time.Millisecond}, {&d.Start, time.Millisecond}, {&d.Ready, 2 * time.Millisecond}, {&d.Run, time.Millisecond},
		{&d.Termination, 2 * time.Millisecond}, {&d.PullBackoff, 200 * time.Millisecond}, {&d.CrashLoop, 200 * time.Millisecond},
		{&d.Probe, 50 * time.Millisecond},
	} {
		if *p.d == 0 {
			*p.d = p.v
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	told.Hosts = maps.Clone(told.Hosts)
	n.told = told
}

func (n *namespaceSettings) delays() control.Delays {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told.Delays
}

func (n *namespaceSettings) imageID() control.ImageID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told.ImageID
}

// sandbox is why no pod gets its network, "" if all do.
func (n *namespaceSettings) sandbox() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told.Sandbox
}

// reach is where the nodes find a registry; a host that was not named is itself.
func (n *namespaceSettings) reach(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if u, ok := n.told.Hosts[host]; ok {
		return u
	}
	return "http://" + host
}

// behaviour is that of a pod's containers: what the pod says of itself, else what its image was given.
func (n *namespaceSettings) behaviour(pod *corev1.Pod, digest string) control.Behaviour {
	n.mu.Lock()
	defer n.mu.Unlock()
	if text, ok := pod.Annotations[control.BehaviourAnnotation]; ok {
		var b control.Behaviour
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return control.Behaviour{ConfigError: fmt.Sprintf("annotation %s: %v", control.BehaviourAnnotation, err)}
		}
		return b
	}
	return n.behaviours[digest]
}

// cached is the digest that a node has for a reference, "" if it does not have the image.
func (n *namespaceSettings) cached(node, ref string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if digest, ok := n.cache[node][ref]; ok {
		return digest
	}
	return n.preloaded[ref]
}

func (n *namespaceSettings) keep(node, digest string, refs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cache[node] == nil {
		n.cache[node] = map[string]string{}
	}
	for _, ref := range refs {
		n.cache[node][ref] = digest
	}
}

// handler is the control interface; package control has its client.
func (n *nodes) handler() http.Handler {
	s, client := n.settings, n.client
	mux := http.NewServeMux()
	handle := func(pattern string, do func(q *http.Request, read func(any) error) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
			err := do(q, func(into any) error {
				d := json.NewDecoder(io.LimitReader(q.Body, 1<<20))
				d.DisallowUnknownFields()
				return d.Decode(into)
			})
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	handle("PUT /namespaces/{name}", func(q *http.Request, read func(any) error) error {
		var told control.Namespace
		if err := read(&told); err != nil {
			return err
		}
		s.of(q.PathValue("name")).set(told)
		_, err := client.CoreV1().Namespaces().Create(q.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: q.PathValue("name")}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	handle("DELETE /namespaces/{name}", func(q *http.Request, _ func(any) error) error {
		return n.end(q.Context(), q.PathValue("name"))
	})
	handle("PUT /namespaces/{name}/behaviours/{digest}", func(q *http.Request, read func(any) error) error {
		var b control.Behaviour
		if err := read(&b); err != nil {
			return err
		}
		n := s.of(q.PathValue("name"))
		n.mu.Lock()
		defer n.mu.Unlock()
		n.behaviours[q.PathValue("digest")] = b
		return nil
	})
	handle("PUT /namespaces/{name}/preload", func(q *http.Request, read func(any) error) error {
		var p control.Preload
		if err := read(&p); err != nil {
			return err
		}
		n := s.of(q.PathValue("name"))
		n.mu.Lock()
		defer n.mu.Unlock()
		n.preloaded[p.Ref] = p.Digest
		for _, refs := range n.cache {
			delete(refs, p.Ref)
		}
		return nil
	})
	handle("PUT /namespaces/{name}/evictions/{pod}", func(q *http.Request, read func(any) error) error {
		var message string
		if err := read(&message); err != nil {
			return err
		}
		n.mu.Lock()
		r := n.named[types.NamespacedName{Namespace: q.PathValue("name"), Name: q.PathValue("pod")}]
		n.mu.Unlock()
		if r == nil {
			return fmt.Errorf("no node runs the pod %s", q.PathValue("pod"))
		}
		r.evict(message)
		return nil
	})
	handle("PUT /lost/{node}", func(q *http.Request, _ func(any) error) error { return n.lose(q.Context(), q.PathValue("node")) })
	handle("DELETE /lost/{node}", func(q *http.Request, _ func(any) error) error { return n.find(q.Context(), q.PathValue("node")) })
	return mux
}
