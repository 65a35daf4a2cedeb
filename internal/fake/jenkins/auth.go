package jenkins

import (
	"fmt"
	"net/http"
)

// Signing in: Basic authentication with an API token or a password. A POST needs a crumb that belongs to the session,
// unless it came with a token (https://www.jenkins.io/doc/book/security/csrf-protection/).

const sessionCookie = "JSESSIONID.8f1a2b3c"

// permissions are the ids behind the rights' names, as X-Required-Permission has them.
var permissions = map[string]string{
	"Overall/Read":  "hudson.model.Hudson.Read",
	"Job/Read":      "hudson.model.Item.Read",
	"Job/Build":     "hudson.model.Item.Build",
	"Job/Cancel":    "hudson.model.Item.Cancel",
	"Job/Configure": "hudson.model.Item.Configure",
	"Job/Create":    "hudson.model.Item.Create",
}

// authenticate answers requests that do not get in, and returns the name of the user of the others.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (string, bool) {
	name, secret, ok := r.BasicAuth()
	if !ok {
		w.Header().Set("X-You-Are-Authenticated-As", "anonymous")
		w.Header().Set("X-Required-Permission", permissions["Overall/Read"])
		page(w, http.StatusForbidden, "Authentication required", "<!-- You are authenticated as: anonymous -->")
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.users[name]
	byToken := known && u.Token != "" && secret == u.Token
	if !byToken && (!known || u.Password == "" || secret != u.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Jenkins"`)
		page(w, http.StatusUnauthorized, "Error 401 Unauthorized", "Unauthorized")
		return "", false
	}
	if byToken {
		return name, true
	}
	id := ""
	if c, err := r.Cookie(sessionCookie); err == nil && s.sessions[c.Value] != "" {
		id = c.Value
	}
	if id == "" {
		s.serial++
		id = fmt.Sprintf("node%d", s.serial)
		s.sessions[id] = fmt.Sprintf("%064x", s.serial*7919)
		w.Header().Add("Set-Cookie", sessionCookie+"="+id+"; Path=/; HttpOnly; SameSite=Lax")
		w.Header().Add("Set-Cookie", "lb=one; Path=/")
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id})
		if r.Method == http.MethodPost && !s.options.NoCrumbs {
			page(w, http.StatusForbidden, "Error 403 No valid crumb was included in the request", "No valid crumb was included in the request")
			return "", false
		}
	}
	if r.Method == http.MethodPost && !s.options.NoCrumbs {
		lb, err := r.Cookie("lb")
		if r.Header.Get("Jenkins-Crumb") != s.sessions[id] || err != nil || lb.Value != "one" { // a balancer sends it elsewhere
			page(w, http.StatusForbidden, "Error 403 No valid crumb was included in the request", "No valid crumb was included in the request")
			return "", false
		}
	}
	return name, true
}

// may answers requests without the right.
func (s *Server) may(w http.ResponseWriter, user, right string) bool {
	s.mu.Lock()
	denied := s.denied[right]
	s.mu.Unlock()
	if denied {
		w.Header().Set("X-You-Are-Authenticated-As", user)
		w.Header().Set("X-Required-Permission", permissions[right])
		page(w, http.StatusForbidden, "Access Denied", user+" is missing the "+right+" permission")
	}
	return !denied
}

func (s *Server) serveCrumb(w http.ResponseWriter, r *http.Request) {
	if s.options.NoCrumbs {
		page(w, http.StatusNotFound, "Not Found", "")
		return
	}
	crumb := fmt.Sprintf("%064x", 1) // of no session: a token needs none
	if c, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		crumb = s.sessions[c.Value]
		s.mu.Unlock()
	}
	s.answer(w, r, object{"_class": "hudson.security.csrf.DefaultCrumbIssuer", "crumb": crumb, "crumbRequestField": "Jenkins-Crumb"})
}
