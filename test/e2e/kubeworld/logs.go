package kubeworld

// The kubelet's HTTPS endpoint, as far as the API server needs it for pods/log.
// Source of the words: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/kubelet_pods.go (validateContainerLogStatus)

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func (n *nodes) endpoint() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, q *http.Request) {
		name := types.NamespacedName{Namespace: q.PathValue("namespace"), Name: q.PathValue("pod")}
		n.mu.Lock()
		r := n.named[name]
		n.mu.Unlock()
		if r == nil {
			http.Error(w, fmt.Sprintf("pod %q does not exist", name.Name), http.StatusNotFound)
			return
		}
		if n.loss(r.pod.Spec.NodeName) != nil {
			panic(http.ErrAbortHandler) // no answer
		}
		query := q.URL.Query()
		text, err := r.logOf(q.PathValue("container"), query.Get("previous") == "true")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, cut(text, query.Get("tailLines"), query.Get("limitBytes"), query.Get("timestamps") == "true"))
	})
	return mux
}

// cut leaves of a log what was asked for; the API server has checked the numbers.
func cut(text, tail, limit string, stamps bool) string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if n, err := strconv.Atoi(tail); err == nil {
		lines = lines[max(0, len(lines)-n):]
	}
	if stamps {
		for i := range lines {
			lines[i] = time.Now().UTC().Format(time.RFC3339Nano) + " " + lines[i]
		}
	}
	out := strings.Join(lines, "")
	if n, err := strconv.Atoi(limit); err == nil {
		out = out[:min(n, len(out))]
	}
	return out
}

// logOf is what a container wrote: the present one, else the last that ended.
func (r *run) logOf(name string, previous bool) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range [][]*container{r.mains, r.inits} {
		for _, c := range list {
			if c.spec.Name != name {
				continue
			}
			s, last := c.status.State, c.status.LastTerminationState.Terminated
			switch {
			case previous && last == nil:
				return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, r.pod.Name)
			case previous:
				return c.log[last.ContainerID], nil
			case s.Running != nil:
				return c.log[c.status.ContainerID], nil
			case s.Terminated != nil:
				return c.log[s.Terminated.ContainerID], nil
			case last != nil:
				return c.log[last.ContainerID], nil
			}
			why := s.Waiting.Reason
			switch why {
			case "ErrImagePull":
				why = "image can't be pulled"
			case "ImagePullBackOff":
				why = "trying and failing to pull image"
			}
			return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", name, r.pod.Name, why)
		}
	}
	return "", fmt.Errorf("container %q not found in pod %q", name, r.pod.Name)
}
