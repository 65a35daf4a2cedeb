package ecr

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Cluster is what DescribeCluster tells of one EKS cluster.
type Cluster struct {
	Name     string
	Endpoint string // URL of the API server
	CA       []byte // PEM; may be empty for a plain-HTTP endpoint
	Status   string // ACTIVE if empty
}

// AddCluster makes a cluster known, or replaces it.
func (s *Server) AddCluster(c Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Status == "" {
		c.Status = "ACTIVE"
	}
	s.clusters[c.Name] = c
}

// serveEKS answers GET /clusters/{name} (https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html).
func (s *Server) serveEKS(w http.ResponseWriter, r *http.Request) {
	k, ref := s.authenticate(r, "eks", body(r))
	if ref != nil {
		s.restError(w, ref)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/clusters/")
	if !ok || r.Method != http.MethodGet || name == "" || strings.Contains(name, "/") {
		s.restError(w, &refusal{http.StatusNotFound, "UnknownOperationException", "no such operation"})
		return
	}
	arn := fmt.Sprintf("arn:aws:eks:%s:%s:cluster/%s", s.options.Region, s.options.Account, name)
	if !s.allowed("eks:DescribeCluster") {
		s.restError(w, &refusal{http.StatusForbidden, "AccessDeniedException",
			fmt.Sprintf("User: %s is not authorized to perform: eks:DescribeCluster on resource: %s", k.arn, arn)})
		return
	}
	s.mu.Lock()
	c, found := s.clusters[name]
	s.mu.Unlock()
	if !found || k.account() != s.options.Account {
		s.restError(w, &refusal{http.StatusNotFound, "ResourceNotFoundException", "No cluster found for name: " + name + "."})
		return
	}
	b, err := json.Marshal(map[string]any{"cluster": map[string]any{
		"name": c.Name, "arn": arn, "endpoint": c.Endpoint, "status": c.Status, "version": "1.37",
		"certificateAuthority": map[string]string{"data": base64.StdEncoding.EncodeToString(c.CA)},
		"createdAt":            timestamp(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)),
	}})
	if err != nil {
		panic("ecr: " + err.Error()) // strings and a time only
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", s.requestID())
	_, _ = w.Write(b)
}

func (s *Server) restError(w http.ResponseWriter, r *refusal) {
	b, err := json.Marshal(map[string]string{"message": r.message})
	if err != nil {
		panic("ecr: " + err.Error()) // strings only
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", s.requestID())
	w.Header().Set("X-Amzn-Errortype", r.code)
	w.WriteHeader(r.status)
	_, _ = w.Write(b)
}
