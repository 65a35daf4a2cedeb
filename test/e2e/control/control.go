// Package control is how a test steers a kubeworld that runs in another process: a few JSON messages over HTTP on 127.0.0.1.
// It imports nothing of Kubernetes, so that tests build in seconds.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Ready is the one line that kubeworld prints when it can be used.
type Ready struct {
	API     string `json:"api"`     // base URL of the API server
	CA      string `json:"ca"`      // PEM of the certificate that it shows
	Token   string `json:"token"`   // bearer token of the administrator
	Control string `json:"control"` // base URL of the control interface
}

// Namespace says what the nodes do in a namespace. Nothing of it is shared with another namespace, not even the image cache.
type Namespace struct {
	// Hosts maps the registry's name in image references to the base URL under which the nodes reach it.
	Hosts map[string]string `json:"hosts"`
	// Delays are how long things take; each zero value means the default given with it.
	Delays Delays `json:"delays"`
	// ImageID is how the runtime reports images; "" means RepoDigest.
	ImageID ImageID `json:"imageID,omitempty"`
	// Sandbox, if set, is why no pod gets its network from now on: FailedCreatePodSandBox with this message.
	Sandbox string `json:"sandbox,omitempty"`
}

// Delays are how long things take on a node; each zero value means the default given with it.
type Delays struct {
	Pull        time.Duration `json:"pull"`        // to pull an image that the node does not have, 2 ms
	Start       time.Duration `json:"start"`       // from image to running container, 1 ms
	Ready       time.Duration `json:"ready"`       // from running to ready, 2 ms
	Run         time.Duration `json:"run"`         // how long containers run that are meant to end, 1 ms
	Termination time.Duration `json:"termination"` // from the deletion of a running pod to its end, 2 ms
	PullBackoff time.Duration `json:"pullBackoff"` // first wait after a failed pull, doubled up to 32 times, 200 ms (a real kubelet: 10 s)
	CrashLoop   time.Duration `json:"crashLoop"`   // first wait of CrashLoopBackOff, doubled up to 32 times, 200 ms (a real kubelet: 10 s)
	Probe       time.Duration `json:"probe"`       // period of readiness probes, 50 ms
}

// ImageID is a form in which runtimes report images.
type ImageID string

// The forms that are seen in the wild.
const (
	RepoDigest     ImageID = ""                // repository@digest: containerd, CRI-O
	DockerPullable ImageID = "docker-pullable" // docker-pullable://repository@digest
	PlatformDigest ImageID = "platform"        // repository@digest of the platform's manifest where the tag names an index
	BareConfig     ImageID = "config"          // the digest of the image's configuration alone
)

// Behaviour is what containers of an image do once they start. The zero value runs and becomes ready.
type Behaviour struct {
	// Crash lets the container end with ExitCode (1 if 0) CrashAfter its start, Crashes times (0: for ever).
	Crash      bool          `json:"crash,omitempty"`
	ExitCode   int           `json:"exitCode,omitempty"`
	CrashAfter time.Duration `json:"crashAfter,omitempty"`
	Crashes    int           `json:"crashes,omitempty"`
	// Liveness makes these ends the doing of the liveness probe, which fails CrashAfter the start.
	Liveness bool `json:"liveness,omitempty"`
	// StartError lets the runtime refuse to start it, Crashes times (0: for ever): RunContainerError with this message.
	StartError string `json:"startError,omitempty"`
	// NeverReady lets its readiness probe fail for ever; ReadyAfter replaces Delays.Ready; Flaps is how often it is then ready for
	// the time of a probe, and not ready for as long.
	NeverReady bool          `json:"neverReady,omitempty"`
	ReadyAfter time.Duration `json:"readyAfter,omitempty"`
	Flaps      int           `json:"flaps,omitempty"`
	// Stubborn lets it ignore SIGTERM: it takes the whole grace of its pod to end.
	Stubborn bool `json:"stubborn,omitempty"`
	// ConfigError lets the container never be made: CreateContainerConfigError with this message.
	ConfigError string `json:"configError,omitempty"`
	// Logs is what it writes, lines ending in "\n"; "" means a line or two of the node's own.
	Logs string `json:"logs,omitempty"`
}

// BehaviourAnnotation, on a pod, is the JSON of a Behaviour of all its containers; it goes before that of the image.
const BehaviourAnnotation = "kubeworld.test/behaviour"

// Preload puts an image into the cache of every node; with an empty digest it takes it away.
type Preload struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
}

// Client steers one kubeworld.
type Client struct{ URL string }

// SetNamespace makes a namespace if there is none of the name, and sets what the nodes do in it.
func (c Client) SetNamespace(ctx context.Context, name string, n Namespace) error {
	return c.put(ctx, "/namespaces/"+url.PathEscape(name), n)
}

// Behave says what containers of an image do in a namespace. It holds for containers that start from now on.
func (c Client) Behave(ctx context.Context, namespace, digest string, b Behaviour) error {
	return c.put(ctx, "/namespaces/"+url.PathEscape(namespace)+"/behaviours/"+url.PathEscape(digest), b)
}

// Preload puts an image into the cache that every node keeps for a namespace, or takes it away if the digest is empty.
func (c Client) Preload(ctx context.Context, namespace, ref, digest string) error {
	return c.put(ctx, "/namespaces/"+url.PathEscape(namespace)+"/preload", Preload{ref, digest})
}

// Evict puts a pod out, as a node does that is low on something: it stays behind as Failed.
func (c Client) Evict(ctx context.Context, namespace, pod, message string) error {
	return c.put(ctx, "/namespaces/"+url.PathEscape(namespace)+"/evictions/"+url.PathEscape(pod), message)
}

// Lose cuts a node off, and returns when the cluster has noticed. All namespaces share the nodes.
func (c Client) Lose(ctx context.Context, node string) error {
	return c.put(ctx, "/lost/"+url.PathEscape(node), nil)
}

// Find lets a lost node answer again.
func (c Client) Find(ctx context.Context, node string) error {
	return c.do(ctx, http.MethodDelete, "/lost/"+url.PathEscape(node), nil)
}

// EndNamespace removes a namespace with all that is in it, and returns when no pod of it runs any more.
func (c Client) EndNamespace(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/namespaces/"+url.PathEscape(name), nil)
}

func (c Client) put(ctx context.Context, path string, in any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPut, path, body)
}

func (c Client) do(ctx context.Context, method, path string, body []byte) error {
	q, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusNoContent {
		return fmt.Errorf("kubeworld: %s %s: %s: %s", method, path, a.Status, bytes.TrimSpace(text))
	}
	return nil
}
