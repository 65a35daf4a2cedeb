package oci

// Authentication: basic, or a bearer token bound to a repository and an act
// (https://distribution.github.io/distribution/spec/auth/token/).

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// grant is what a token allows.
type grant struct {
	actions map[string]bool // "payments:pull"
	until   time.Time
}

// authorized tells whether the request may go on; if not, it has been answered.
func (r *Registry) authorized(w http.ResponseWriter, req *http.Request, t route) bool {
	action := "push"
	switch {
	case t.kind == "ping":
		action = ""
	case req.Method == http.MethodGet || req.Method == http.MethodHead:
		action = "pull"
	case req.Method == http.MethodDelete:
		action = "delete"
	}
	switch r.rules.Auth {
	case Basic:
		if !r.known(req) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Registry, \"loopback\""`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
			return false
		}
		if action != "" && action != "pull" && r.rules.ReadOnly {
			refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied", nil)
			return false
		}
	case Bearer:
		scheme := "http"
		if req.TLS != nil {
			scheme = "https"
		}
		challenge := fmt.Sprintf(`Bearer realm="%s://%s/token",service="loopback"`, scheme, req.Host)
		if action != "" {
			acts := action
			if action == "push" {
				acts = "pull,push"
			}
			challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, t.repo, acts)
		}
		token, sent := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		g, ok := r.tokens[token]
		switch {
		case !sent:
		case !ok || time.Now().After(g.until):
			challenge += `,error="invalid_token"`
		case action != "" && !g.actions[t.repo+":"+action]:
			challenge += `,error="insufficient_scope"`
		default:
			return true
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
		return false
	}
	return true
}

func (r *Registry) known(req *http.Request) bool {
	user, password, ok := req.BasicAuth()
	return ok && user == r.rules.Username && password == r.rules.Password
}

// serveToken grants what was asked for as far as the user may have it; it does not refuse the rest, as token servers do.
func (r *Registry) serveToken(w http.ResponseWriter, req *http.Request) {
	if r.rules.Auth != Bearer || req.Method != http.MethodGet {
		http.NotFound(w, req)
		return
	}
	if !r.known(req) {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password", nil)
		return
	}
	if req.URL.Query().Get("service") != "loopback" {
		refuse(w, http.StatusBadRequest, "UNSUPPORTED", "unknown service", nil)
		return
	}
	life := r.rules.TokenLife
	if life == 0 {
		life = 5 * time.Minute
	}
	g := grant{actions: map[string]bool{}, until: time.Now().Add(life)}
	for _, scope := range req.URL.Query()["scope"] {
		kind, rest, _ := strings.Cut(scope, ":")
		i := strings.LastIndexByte(rest, ':')
		if kind != "repository" || i < 0 {
			refuse(w, http.StatusBadRequest, "UNSUPPORTED", "malformed scope", scope)
			return
		}
		for a := range strings.SplitSeq(rest[i+1:], ",") {
			if a == "pull" || !r.rules.ReadOnly {
				g.actions[rest[:i]+":"+a] = true
			}
		}
	}
	token := rand.Text()
	r.tokens[token] = g
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "expires_in": int(life / time.Second), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
}
