package github

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// app is a GitHub App with one installation.
type app struct {
	id, installation int64
	slug             string
	owner            string
	key              *rsa.PublicKey
	permissions      map[string]string
	repositories     []string
	issued           int
}

// App describes a GitHub App and its installation for AddApp.
type App struct {
	ID, Installation int64
	Slug             string // its bot's login is Slug + "[bot]"
	Owner            string // account it is installed in
	Key              *rsa.PublicKey
	Permissions      map[string]string // nil means all
	Repositories     []string          // full names; nil means all
}

// AddApp makes a GitHub App known.
func (s *Server) AddApp(a App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user(a.Slug + "[bot]")
	s.apps[a.ID] = &app{
		id: a.ID, installation: a.Installation, slug: a.Slug, owner: a.Owner, key: a.Key, permissions: a.Permissions, repositories: a.Repositories,
	}
}

// ExpireAppTokens makes all installation tokens given out so far expired.
func (s *Server) ExpireAppTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.tokens {
		if a.app != nil {
			a.expired = true
		}
	}
}

// AppTokens is how many installation tokens an App was given.
func (s *Server) AppTokens(id int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[id] == nil {
		return 0
	}
	return s.apps[id].issued
}

// appByJWT verifies an App's token: RS256, at most ten minutes, issued by the App.
// https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
func (s *Server) appByJWT(token string) (*access, *answer) {
	undecodable := fail(http.StatusUnauthorized, "A JSON web token could not be decoded")
	parts := strings.Split(token, ".")
	var raw [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return nil, undecodable
		}
		raw[i] = b
	}
	var head struct{ Alg, Typ string }
	var claims struct {
		Iss      any
		Iat, Exp float64
	}
	if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil || head.Alg != "RS256" {
		return nil, undecodable
	}
	var id int64
	switch v := claims.Iss.(type) {
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, fail(http.StatusUnauthorized, "'Issuer' claim ('iss') must be an Integer")
		}
		id = n
	case float64:
		id = int64(v)
	default:
		return nil, fail(http.StatusUnauthorized, "'Issuer' claim ('iss') must be an Integer")
	}
	a := s.apps[id]
	if a == nil {
		return nil, fail(http.StatusNotFound, "Integration not found")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(a.key, crypto.SHA256, digest[:], raw[2]) != nil {
		return nil, undecodable
	}
	now := float64(s.options.Now().Unix())
	switch {
	case claims.Iat > now+5:
		return nil, fail(http.StatusUnauthorized, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	case claims.Exp <= now:
		return nil, fail(http.StatusUnauthorized, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case claims.Exp > now+600:
		return nil, fail(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	}
	return &access{login: a.slug + "[bot]", app: a, jwt: true}, nil
}

func (c *call) createInstallationToken() *answer {
	a := c.who.app
	if c.params["installation_id"] != strconv.FormatInt(a.installation, 10) {
		return notFound()
	}
	var in struct {
		Repositories []string
		Permissions  map[string]string
	}
	c.read(&in)
	allowed := a.repositories
	if in.Repositories != nil {
		allowed = nil
		for _, name := range in.Repositories {
			full := a.owner + "/" + name
			if c.s.lookup(full) == nil {
				return fail(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
			}
			allowed = append(allowed, full)
		}
	}
	permissions := a.permissions
	if in.Permissions != nil {
		for name, level := range in.Permissions {
			if !(&access{permissions: a.permissions}).can(name + ":" + level) {
				return fail(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		permissions = in.Permissions
	}
	a.issued++
	token := fmt.Sprintf("ghs_fake%dx%d", a.id, a.issued)
	expires := c.s.now().Add(time.Hour)
	c.s.tokens[token] = &access{login: a.slug + "[bot]", app: a, permissions: permissions, repositories: allowed, expires: expires}
	selection := "all"
	if allowed != nil {
		selection = "selected"
	}
	return created(obj{"token": token, "expires_at": when(expires), "permissions": permissionsJSON(permissions), "repository_selection": selection})
}

// permissionsJSON names permissions as an installation does; all that matter here if there is no list.
func permissionsJSON(p map[string]string) map[string]string {
	if p != nil {
		return p
	}
	return map[string]string{
		"contents": "write", "pull_requests": "write", "issues": "write", "metadata": "read", "checks": "read", "statuses": "write",
		"deployments": "write", "workflows": "write",
	}
}

func (c *call) getApp() *answer {
	return ok(c.integration(c.who.app.id, c.who.app.slug, c.who.app.owner, permissionsJSON(c.who.app.permissions)))
}

func (c *call) integration(id int64, slug, owner string, permissions map[string]string) obj {
	return obj{
		"id": id, "node_id": fmt.Sprintf("A_%d", id), "slug": slug, "owner": c.simpleUser(owner), "name": slug, "description": nil,
		"external_url": "https://example.com", "html_url": c.web + "/apps/" + slug, "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
		"permissions": permissions, "events": []string{},
	}
}

func (c *call) getInstallation() *answer {
	a := c.who.app
	if a.repositories != nil && !(&access{repositories: a.repositories}).sees(c.repo) || !strings.EqualFold(a.owner, c.repo.owner) {
		return notFound()
	}
	id := strconv.FormatInt(a.installation, 10)
	return ok(obj{
		"id": a.installation, "account": c.simpleUser(a.owner), "repository_selection": "all", "access_tokens_url": c.api + "/app/installations/" + id + "/access_tokens",
		"repositories_url": c.api + "/installation/repositories", "html_url": c.web + "/settings/installations/" + id, "app_id": a.id, "app_slug": a.slug,
		"target_id": c.s.user(a.owner).id, "target_type": "Organization", "permissions": permissionsJSON(a.permissions), "events": []string{},
		"created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z", "single_file_name": nil, "suspended_by": nil, "suspended_at": nil,
	})
}
