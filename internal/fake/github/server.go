// Package github is a loopback GitHub: as much of its REST and GraphQL APIs as a deployment tool uses, and git itself over
// HTTP, on real bare repositories and the git binary (2.38 or later).
//
// It is as strict as the real one where that is documented, and stricter where it is not: every request and answer of the
// REST API is held against GitHub's OpenAPI description, every GraphQL document against GitHub's schema (testdata). The same
// handler serves api.github.com's paths at "/", GitHub Enterprise Server's at "/api/v3" and "/api/graphql", and repositories at
// "/owner/name.git".
package github

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// The credentials a new server knows, and whose they are.
const (
	Token = "fake-github-token"
	Login = "rollback-bot"
)

// Options describe the server. Empty fields have the defaults named.
type Options struct {
	// Dir is where the repositories are kept, removed by Close only if it was not given: a new temporary directory.
	Dir string
	// Now is the clock for commits made by the server, events, tokens and rate limits: time.Now.
	Now func() time.Time
	// APIVersions are the values of X-GitHub-Api-Version that are taken: 2022-11-28.
	APIVersions []string
	// RateLimit is the primary limit, in requests an hour of all callers together: 5000.
	RateLimit int
}

// Server is the loopback GitHub. All methods may be called at any time from any goroutine.
type Server struct {
	// Faults, latency, counts. Operations are GitHub's own operation ids ("git/create-ref", "pulls/merge", "repos/compare-commits-with-basehead"),
	// "graphql:" and the query's name ("graphql:PullRequests") or, where it has none, those of its top fields ("graphql:repository",
	// "graphql:revertPullRequest"), and "git:upload-pack", "git:receive-pack", "git:info-refs".
	*fake.Switchboard

	options Options
	remove  bool
	env     []string

	mu           sync.Mutex // guards what follows; the repositories too
	repositories map[int64]*Repository
	names        map[string]int64 // lower-case full name → id, old names too
	users        map[string]*user // by lower-case login
	tokens       map[string]*access
	apps         map[int64]*app
	lastRepo     int64
	lastID       int64
	events       []Push
	hooks        []func(Push)

	talk       sync.Mutex // guards what follows
	report     Reporter
	violations []string
	requests   int
	rate       rateLimit
}

// New makes an empty server that knows Token. It fails without a git that has merge-tree --write-tree.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.APIVersions == nil {
		o.APIVersions = []string{"2022-11-28"}
	}
	if o.RateLimit == 0 {
		o.RateLimit = 5000
	}
	s := &Server{
		repositories: map[int64]*Repository{},
		names:        map[string]int64{},
		users:        map[string]*user{},
		tokens:       map[string]*access{},
		apps:         map[int64]*app{},
		rate:         rateLimit{limit: o.RateLimit},
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "fake-github-")
		if err != nil {
			return nil, err
		}
		o.Dir, s.remove = dir, true
	}
	s.options = o
	s.env = gitEnv(o.Dir)
	if err := gitVersion(); err != nil {
		return nil, errors.Join(err, s.cleanUp())
	}
	s.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(s.serve), Op: s.operation}
	s.tokens[Token] = &access{login: Login}
	s.user("web-flow").name = "GitHub"
	s.user("web-flow").email = "noreply@github.com"
	return s, nil
}

func gitVersion() error {
	out, err := exec.Command("git", "version").Output()
	if err != nil {
		return fmt.Errorf("git is needed: %w", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "git version %d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 38 {
		return fmt.Errorf("git 2.38 or later is needed, this is %s", strings.TrimSpace(string(out)))
	}
	return nil
}

// Close ends hanging requests and removes the repositories.
func (s *Server) Close() {
	s.Switchboard.Close()
	_ = s.cleanUp() // a left temporary directory harms nobody
}

func (s *Server) cleanUp() error {
	if !s.remove {
		return nil
	}
	return os.RemoveAll(s.options.Dir)
}

// now is the time, in the seconds that git and the API know.
func (s *Server) now() time.Time { return s.options.Now().UTC().Truncate(time.Second) }

// id numbers everything that has no other number. The caller holds mu.
func (s *Server) id() int64 {
	s.lastID++
	return 1000 + s.lastID
}

// do runs f with the state locked, then tells the hooks what it caused.
func (s *Server) do(f func()) {
	s.mu.Lock()
	defer func() {
		events := s.events
		s.events = nil
		hooks := slices.Clone(s.hooks)
		s.mu.Unlock()
		for _, e := range events {
			for _, h := range hooks {
				h(e)
			}
		}
	}()
	f()
}

// Push is one branch that moved, whoever moved it and however.
type Push struct {
	Repository string // acme/payments
	Branch     string
	Before     string // "" if the branch is new
	After      string // "" if it was deleted
	Pull       int    // the pull request that was merged by this, or 0
	By         string // login
}

// OnPush has f called after every change of a branch, before the request that caused it is answered.
func (s *Server) OnPush(f func(Push)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, f)
}

// OnMerge is OnPush for merged pull requests alone.
func (s *Server) OnMerge(f func(Push)) {
	s.OnPush(func(p Push) {
		if p.Pull != 0 {
			f(p)
		}
	})
}

type user struct {
	login, name, email string
	id                 int64
	bot, gone          bool
}

// user makes users up as they are named. The caller holds mu (or is New).
func (s *Server) user(login string) *user {
	key := strings.ToLower(login)
	u := s.users[key]
	if u == nil {
		h := fnv.New32a()
		h.Write([]byte(key))
		u = &user{login: login, name: login, email: login + "@users.noreply.github.com", id: int64(h.Sum32()), bot: strings.HasSuffix(key, "[bot]")}
		s.users[key] = u
	}
	return u
}

// AddUser sets a user's name and the address by which commits are known to be theirs.
func (s *Server) AddUser(login, name, email string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(login)
	u.name, u.email = name, email
}

// ghost is who stands in for users that are gone.
const ghost = "ghost"

// DeleteUser deletes an account. What it wrote stays: the REST API shows ghost in its place, GraphQL null.
func (s *Server) DeleteUser(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user(login).gone = true
}

// byEmail is the user a commit's address belongs to, or nil.
func (s *Server) byEmail(email string) *user {
	for _, u := range s.users {
		if !u.gone && strings.EqualFold(u.email, email) {
			return u
		}
	}
	return nil
}

// call is one request of the REST or GraphQL API.
type call struct {
	s         *Server
	r         *http.Request
	op        *operation
	params    map[string]string
	query     url.Values
	body      []byte
	who       *access // nil: nobody
	repo      *Repository
	api, web  string // https://host/api/v3 and https://host
	link      string // header
	forgotten error
}

// answer is what goes back.
type answer struct {
	status int
	body   any // nil: none
	header http.Header
	raw    []byte // in place of body
}

func ok(v any) *answer      { return &answer{status: http.StatusOK, body: v} }
func created(v any) *answer { return &answer{status: http.StatusCreated, body: v} }

const docs = "https://docs.github.com/rest"

// fail is an error as GitHub writes it.
func fail(status int, format string, args ...any) *answer {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	return &answer{status: status, body: obj{"message": text, "documentation_url": docs, "status": strconv.Itoa(status)}}
}

// invalid is the 422 that names resource, field and code.
func invalid(resource, field, code, message string) *answer {
	e := obj{"resource": resource, "code": code}
	if field != "" {
		e["field"] = field
	}
	if message != "" {
		e["message"] = message
	}
	return &answer{status: http.StatusUnprocessableEntity, body: obj{
		"message": "Validation Failed", "errors": []obj{e}, "documentation_url": docs, "status": "422",
	}}
}

func notFound() *answer { return fail(http.StatusNotFound, "Not Found") }

// broken is for errors of this fake and of git that no request should cause.
func (c *call) broken(err error) *answer {
	c.s.violation(c.op.ID, "the fake itself", err)
	return fail(http.StatusInternalServerError, "Server Error: %v", err)
}

// obj is a JSON object in the making.
type obj = map[string]any

func when(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// prefix splits GitHub Enterprise Server's base path off.
func prefix(path string) (base, rest string) {
	if rest, ok := strings.CutPrefix(path, "/api/v3"); ok && (rest == "" || rest[0] == '/') {
		return "/api/v3", rest
	}
	return "", path
}

func isGraphQL(path string) bool { return path == "/graphql" || path == "/api/graphql" }

// operation names a request for the switchboard. It leaves the body as it was.
func (s *Server) operation(r *http.Request) string {
	if isGraphQL(r.URL.Path) {
		return "graphql:" + topFields(peek(r))
	}
	if _, service, _, ok := gitRequest(r); ok {
		return "git:" + service
	}
	_, path := prefix(r.URL.Path)
	if op, _, _ := api().find(r.Method, s.canonical(path)); op != nil {
		return op.ID
	}
	return r.Method + " " + r.URL.Path
}

// peek reads a small body and puts it back.
func peek(r *http.Request) []byte {
	if r.Body == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		b = nil // the connection broke; whatever reads the body next finds it empty
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

// canonical turns /repositories/{id}/… , where renamed repositories redirect to, into /repos/{owner}/{repo}/….
func (s *Server) canonical(path string) string {
	rest, ok := strings.CutPrefix(path, "/repositories/")
	if !ok {
		return path
	}
	number, more, _ := strings.Cut(rest, "/")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repositories[id]
	if r == nil {
		return path
	}
	if more != "" {
		more = "/" + more
	}
	return "/repos/" + r.full() + more
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if repo, service, rest, ok := gitRequest(r); ok {
		s.serveGit(w, r, repo, service, rest)
		return
	}
	base, path := prefix(r.URL.Path)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	c := &call{s: s, r: r, query: r.URL.Query(), web: scheme + "://" + r.Host}
	c.api = c.web + base
	graphql := isGraphQL(r.URL.Path)
	if graphql {
		c.op = &operation{ID: "graphql"}
	} else {
		var known bool
		path = s.canonical(path)
		if c.op, c.params, known = api().find(r.Method, path); c.op == nil {
			if !known {
				s.violation(r.Method+" "+r.URL.Path, "request", errors.New("no such path in the slice of GitHub's API"))
			}
			c.send(w, notFound(), false)
			return
		}
	}
	c.body = peek(r)
	var a *answer
	s.do(func() {
		if a = c.admit(); a != nil {
			return
		}
		if graphql {
			a = c.graphql()
			return
		}
		a = c.rest()
	})
	c.send(w, a, !graphql)
}

// rest answers a REST call. The state is locked.
func (c *call) rest() *answer {
	route, known := routes[c.op.ID]
	if !known {
		return c.broken(errors.New("no such route"))
	}
	if c.params["repo"] != "" {
		if a := c.findRepo(route.need); a != nil {
			return a
		}
	}
	if a := c.may(route.need); a != nil {
		return a
	}
	if err := api().query(c.op, c.query); err != nil {
		c.s.violation(c.op.ID, "request", err)
		return fail(http.StatusUnprocessableEntity, "Invalid request.\n\n%v", err)
	}
	if bad, unknown := api().request(c.op, c.body); bad != nil {
		c.s.violation(c.op.ID, "request", bad)
		if !json.Valid(c.body) {
			return fail(http.StatusBadRequest, "Problems parsing JSON")
		}
		return fail(http.StatusUnprocessableEntity, "Invalid request.\n\n%v", bad)
	} else if unknown != nil {
		c.s.violation(c.op.ID, "request", unknown)
	}
	a := route.serve(c)
	if c.forgotten != nil {
		return c.broken(c.forgotten)
	}
	return a
}

// findRepo finds the repository of the path; nil if it is there for the caller.
func (c *call) findRepo(need string) *answer {
	name := c.params["owner"] + "/" + c.params["repo"]
	repo := c.s.lookup(name)
	if repo == nil || !c.who.sees(repo) {
		return notFound()
	}
	if !strings.EqualFold(repo.full(), name) {
		_, path := prefix(c.r.URL.Path)
		rest := strings.TrimPrefix(path, "/repos/"+name)
		to := fmt.Sprintf("%s/repositories/%d%s", c.api, repo.id, rest)
		if c.r.URL.RawQuery != "" {
			to += "?" + c.r.URL.RawQuery
		}
		// https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
		status, text := http.StatusMovedPermanently, "Moved Permanently"
		if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
			status, text = http.StatusTemporaryRedirect, "Moved Temporarily"
		}
		return &answer{status: status, header: http.Header{"Location": {to}}, body: obj{"message": text, "url": to, "documentation_url": docs}}
	}
	if repo.archived && strings.HasSuffix(need, ":write") {
		return fail(http.StatusForbidden, "Repository was archived so is read-only.")
	}
	c.repo = repo
	return nil
}

// read decodes the body, which has passed the contract.
func (c *call) read(into any) {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		c.forgotten = err
	}
}

// number is a numeric path parameter, 0 if it is none.
func (c *call) number(name string) int {
	n, err := strconv.Atoi(c.params[name])
	if err != nil {
		return 0
	}
	return n
}

// window is the page asked for.
func (c *call) window() (page, per int) {
	page, per = 1, 30
	if n, err := strconv.Atoi(c.query.Get("page")); err == nil && n > 0 {
		page = n
	}
	if n, err := strconv.Atoi(c.query.Get("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	return page, per
}

// paged cuts the page asked for out of all and notes the Link header.
func paged[T any](c *call, all []T) []T {
	page, per := c.window()
	c.paginate(page, (len(all)+per-1)/per)
	from := min((page-1)*per, len(all))
	return all[from:min(from+per, len(all))]
}

func (c *call) paginate(page, pages int) {
	var links []string
	add := func(rel string, n int) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.web, c.r.URL.Path, q.Encode(), rel))
	}
	if page > 1 && pages > 0 {
		add("prev", min(page-1, pages))
	}
	if page < pages {
		add("next", page+1)
		add("last", pages)
	}
	if page > 1 {
		add("first", 1)
	}
	c.link = strings.Join(links, ", ")
}

func (c *call) send(w http.ResponseWriter, a *answer, checked bool) {
	h := w.Header()
	for k, v := range a.header {
		h[k] = v
	}
	s := c.s
	s.talk.Lock()
	s.requests++
	n := s.requests
	s.rate.headers(h, s.options.Now(), isGraphQL(c.r.URL.Path))
	s.talk.Unlock()
	h.Set("X-GitHub-Request-Id", fmt.Sprintf("%04X:%04X:%06X", n>>16, n&0xffff, n))
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	h.Set("X-GitHub-Api-Version-Selected", cmp.Or(c.r.Header.Get("X-GitHub-Api-Version"), s.options.APIVersions[0]))
	if c.link != "" && a.status == http.StatusOK {
		h.Set("Link", c.link)
	}
	body := a.raw
	if body == nil && a.body != nil {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(a.body); err != nil {
			s.violation("answer", "the fake itself", err)
		}
		body = b.Bytes()
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if checked && a.raw == nil {
		if err := api().answer(c.op, a.status, body); err != nil {
			s.violation(c.op.ID, fmt.Sprintf("answer %d", a.status), err)
		}
	}
	w.WriteHeader(a.status)
	if c.r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

// lookup finds a repository by any name it has or had.
func (s *Server) lookup(full string) *Repository {
	return s.repositories[s.names[strings.ToLower(full)]]
}

func (s *Server) repoDir(id int64) string {
	return filepath.Join(s.options.Dir, strconv.FormatInt(id, 10)+".git")
}
