package github

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// access is what a token gives.
type access struct {
	login        string
	permissions  map[string]string // "contents" → "write"; nil: everything
	repositories []string          // nil: all
	expires      time.Time         // zero: never
	expired      bool
	app          *app // an installation token, or with jwt the App itself
	jwt          bool
	denied       map[string]bool
}

// Access describes a token for AddToken.
type Access struct {
	Login string
	// Permissions are those of a fine-grained token, by the API's names: {"contents": "write", "pull_requests": "write", "workflows": "write"}.
	// nil means all that there are.
	Permissions  map[string]string
	Repositories []string // full names; nil means all
}

// AddToken makes a token known.
func (s *Server) AddToken(token string, a Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user(a.Login)
	s.tokens[token] = &access{login: a.Login, permissions: a.Permissions, repositories: a.Repositories}
}

// Expire makes a token expired (or revoked), or valid again.
func (s *Server) Expire(token string, expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.tokens[token]; a != nil {
		a.expired = expired
	}
}

// Deny takes permissions of Token away, or with none gives all back: "contents:write", "pull_requests:write", "workflows:write".
func (s *Server) Deny(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	denied := map[string]bool{}
	for _, p := range permissions {
		denied[p] = true
	}
	s.tokens[Token].denied = denied
}

// sees tells whether the caller may know of a repository.
func (a *access) sees(r *Repository) bool {
	if a == nil {
		return r.public
	}
	if a.jwt {
		return true
	}
	return a.repositories == nil || slices.ContainsFunc(a.repositories, func(n string) bool { return strings.EqualFold(n, r.full()) }) || r.public
}

// can tells whether the caller has a permission: "contents:write".
func (a *access) can(need string) bool {
	name, level, _ := strings.Cut(need, ":")
	if name == "" || name == "metadata" {
		return true
	}
	if a == nil {
		return level == "read"
	}
	if a.denied[need] || level == "read" && a.denied[name+":write"] && a.denied[name+":read"] {
		return false
	}
	if a.permissions == nil {
		return true
	}
	has := a.permissions[name]
	return has == level || has == "write" || has == "admin"
}

// may tells whether the caller has what a route needs; nil if so.
func (c *call) may(need string) *answer {
	if need == "app" {
		if c.who == nil || !c.who.jwt {
			return fail(http.StatusUnauthorized, "A JSON web token could not be decoded")
		}
		return nil
	}
	if c.who != nil && c.who.jwt {
		return fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	if need == "user" || strings.HasSuffix(need, ":write") {
		if c.who == nil {
			return fail(http.StatusUnauthorized, "Requires authentication")
		}
	}
	if need == "user" && c.who.app != nil {
		return fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	for one := range strings.SplitSeq(need, "|") { // either will do
		if c.who.can(one) {
			return nil
		}
	}
	return c.forbidden()
}

// forbidden is how a missing permission is answered.
func (c *call) forbidden() *answer {
	if c.who != nil && c.who.app != nil {
		return fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	return fail(http.StatusForbidden, "Resource not accessible by personal access token")
}

// admit checks what every request must have, and finds out who calls; nil if it may go on.
func (c *call) admit() *answer {
	s := c.s
	if c.r.UserAgent() == "" {
		return fail(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
	}
	if v := c.r.Header.Get("X-GitHub-Api-Version"); v != "" && !slices.Contains(s.options.APIVersions, v) {
		return fail(http.StatusBadRequest, "%s is not a supported version of the API", strconv.Quote(v))
	}
	if h := c.r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "basic") {
			if _, password, ok := c.r.BasicAuth(); ok {
				token = password
			}
		}
		if strings.Count(token, ".") == 2 {
			a, bad := s.appByJWT(token)
			if bad != nil {
				return bad
			}
			c.who = a
		} else if c.who = s.valid(token); c.who == nil {
			return fail(http.StatusUnauthorized, "Bad credentials")
		}
	}
	if isGraphQL(c.r.URL.Path) && c.who == nil {
		return fail(http.StatusUnauthorized, "This endpoint requires you to be authenticated.")
	}
	s.talk.Lock()
	defer s.talk.Unlock()
	if c.op.ID != "rate-limit/get" && !s.rate.take(s.options.Now()) {
		if c.op.ID == "graphql" { // https://github.com/yanyongyu/githubkit/issues/271
			return ok(obj{"errors": []obj{{"type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": "API rate limit already exceeded for user ID 1."}}})
		}
		return fail(http.StatusForbidden, "API rate limit exceeded for user ID %d. If you reach out to GitHub Support for help, please include the request ID.", 1)
	}
	return nil
}

// valid is the access of a token that works now, or nil.
func (s *Server) valid(token string) *access {
	a := s.tokens[token]
	if a == nil || a.expired || !a.expires.IsZero() && !s.options.Now().Before(a.expires) {
		return nil
	}
	return a
}

// rateLimit is the primary limit, of all callers together.
type rateLimit struct {
	limit, used int
	reset       time.Time
}

func (l *rateLimit) roll(now time.Time) {
	if !now.Before(l.reset) {
		l.used, l.reset = 0, now.Add(time.Hour)
	}
}

func (l *rateLimit) take(now time.Time) bool {
	l.roll(now)
	if l.used >= l.limit {
		return false
	}
	l.used++
	return true
}

func (l *rateLimit) headers(h http.Header, now time.Time, graphql bool) {
	l.roll(now)
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(l.limit-l.used))
	h.Set("X-RateLimit-Used", strconv.Itoa(l.used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(l.reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", map[bool]string{true: "graphql", false: "core"}[graphql])
}

func (l *rateLimit) json() obj {
	return obj{"limit": l.limit, "used": l.used, "remaining": l.limit - l.used, "reset": l.reset.Unix()}
}

// RateLimit sets how many requests are left until reset; beyond it they are refused with 403, by GraphQL with an error in an
// answer of 200, and with X-RateLimit-Remaining 0.
func (s *Server) RateLimit(remaining int, reset time.Time) {
	s.talk.Lock()
	defer s.talk.Unlock()
	s.rate.reset = reset
	s.rate.used = s.rate.limit - remaining
}

// SecondaryLimit refuses matching requests (op as in fake.Fault) as GitHub does when it is asked too much at once, with status
// 403 or 429 and Retry-After: the next times requests, or all with 0. GraphQL may say it with status 200, too.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
// https://docs.github.com/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#secondary-rate-limits
func (s *Server) SecondaryLimit(op string, status int, retryAfter time.Duration, times int) {
	const said = `"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."`
	body := `{"documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits",` + said + `}`
	if status == http.StatusOK {
		body = `{"errors":[{` + said + `}]}`
	}
	s.Inject(fake.Fault{
		Op: op, Status: status, Times: times,
		Header: http.Header{
			"Content-Type": {"application/json; charset=utf-8"},
			"Retry-After":  {strconv.Itoa(int(retryAfter / time.Second))},
		},
		Body: body,
	})
}

// Fail makes matching requests (op as in fake.Fault) answer with an error in GitHub's own form: the next times requests, or all
// with 0.
func (s *Server) Fail(op string, status int, message string, times int) {
	s.Inject(fake.Fault{
		Op: op, Status: status, Times: times,
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body:   fmt.Sprintf(`{"message":%q,"documentation_url":%q,"status":"%d"}`, message, docs, status),
	})
}
