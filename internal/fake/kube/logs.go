package kube

// pods/log.

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) logs(w http.ResponseWriter, q request) error {
	v := q.URL.Query()
	for _, p := range []string{"follow", "sinceSeconds", "sinceTime"} {
		if x := v.Get(p); x != "" && x != "false" {
			return refuse("%s of pods/log", p)
		}
	}
	text, err := s.logText(q, v.Get("container"), v.Get("previous") == "true")
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if t := v.Get("tailLines"); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n < 0 {
			return invalid(&resource{kind: "PodLogOptions"}, q.name, []cause{invalidValue("tailLines", t, "must be greater than or equal to 0")})
		}
		lines = lines[max(0, len(lines)-n):]
	}
	if v.Get("timestamps") == "true" {
		for i := range lines {
			lines[i] = time.Now().UTC().Format(time.RFC3339Nano) + " " + lines[i]
		}
	}
	out := strings.Join(lines, "")
	if l := v.Get("limitBytes"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 {
			return invalid(&resource{kind: "PodLogOptions"}, q.name, []cause{invalidValue("limitBytes", l, "must be greater than 0")})
		}
		out = out[:min(n, len(out))]
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, out)
	return nil
}

func (s *Server) logText(q request, container string, previous bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(pods, q.ns, q.name)
	if o == nil {
		return "", notFound(pods, q.name)
	}
	var names []string
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range items(o.data, "spec", list) {
			names = append(names, str(c, "name"))
		}
	}
	if container == "" {
		mains := items(o.data, "spec", "containers")
		if len(mains) > 1 {
			return "", badRequest("a container name must be specified for pod %s, choose one of: %v", q.name, names)
		}
		container = str(mains[0], "name")
	}
	if !slices.Contains(names, container) {
		return "", badRequest("container %s is not valid for pod %s", container, q.name)
	}
	run := s.kubelet.runs[o.uid]
	if run == nil { // no node, so nobody to ask
		return "", nil
	}
	if s.kubelet.lost[run.node] {
		return "", &fail{code: http.StatusInternalServerError, reason: "InternalError", message: "Internal error occurred: no answer from " + run.node}
	}
	for _, c := range append(slices.Clone(run.inits), run.mains...) {
		if c.name != container {
			continue
		}
		switch {
		case previous && has(c.state, "waiting") && has(c.last, "terminated"):
			return c.log, nil // the container that ended last
		case previous && !has(c.last, "terminated"):
			return "", badRequest("previous terminated container %q in pod %q not found", container, q.name)
		case previous:
			return c.before, nil
		case c.id == "":
			why := str(c.state, "waiting", "reason")
			switch why {
			case "ErrImagePull":
				why = "image can't be pulled"
			case "ImagePullBackOff":
				why = "trying and failing to pull image"
			}
			return "", badRequest("container %q in pod %q is waiting to start: %s", container, q.name, why)
		}
		return c.log, nil
	}
	return "", badRequest("container %s is not valid for pod %s", container, q.name)
}
