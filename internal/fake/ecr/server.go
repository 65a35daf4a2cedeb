// Package ecr is a loopback Amazon ECR: its JSON API, the OCI distribution front that nodes and docker use, and as much of
// STS and EKS as the program needs, over one store.
//
// It is as strict as the real one where that is documented, and stricter where it is not: requests must carry a true
// signature, every request and answer of the ECR API is held against AWS's own service model (testdata), and what is said
// to be refused is refused.
package ecr

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
)

// The credentials a new server knows; these are the ones AWS uses in its documentation.
const (
	AccessKey = "AKIAIOSFODNN7EXAMPLE"
	SecretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// Options describe the registry and the account that calls it. Empty fields have the defaults named.
type Options struct {
	Account string // of the registry, 12 digits: 123456789012
	Region  string // eu-west-1
	Caller  string // ARN of the default credentials: a role session in Account
	// TagsPerImage is the quota on tags of one image; LimitExceededException beyond: 1000.
	TagsPerImage int
	// Now is the clock for push times: time.Now. Push times always grow, by a millisecond if the clock does not.
	Now func() time.Time
	// LoginRequired refuses anonymous requests to /v2/, as the real one does. Without it only wrong passwords are refused.
	LoginRequired bool
}

// Server is the loopback registry. All methods may be called at any time from any goroutine.
type Server struct {
	*fake.Switchboard // faults, latency, counts; operations are "PutImage", "GetCallerIdentity", "PUT /v2/manifests", …

	options Options

	mu           sync.Mutex
	last         time.Time // the latest push time
	repositories map[string]*repository
	clusters     map[string]Cluster
	keys         map[string]*key
	roles        map[string]string // ARN → external id
	denied       map[string]bool
	serial       int
	report       Reporter
	violations   []string
	filterRefuse bool
}

// New makes an empty registry that knows AccessKey.
func New(o Options) *Server {
	if o.Account == "" {
		o.Account = "123456789012"
	}
	if o.Region == "" {
		o.Region = "eu-west-1"
	}
	if o.Caller == "" {
		o.Caller = fmt.Sprintf("arn:aws:sts::%s:assumed-role/deployer/jenkins", o.Account)
	}
	if o.TagsPerImage == 0 {
		o.TagsPerImage = 1000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		options:      o,
		repositories: map[string]*repository{},
		clusters:     map[string]Cluster{},
		keys:         map[string]*key{AccessKey: {secret: SecretKey, arn: o.Caller}},
		roles:        map[string]string{},
		denied:       map[string]bool{},
	}
	s.Switchboard = &fake.Switchboard{Next: http.HandlerFunc(s.route), Op: operation}
	return s
}

// Host is the registry's name in image references.
func (s *Server) Host() string {
	suffix := "amazonaws.com"
	if strings.HasPrefix(s.options.Region, "cn-") {
		suffix = "amazonaws.com.cn"
	}
	return s.options.Account + ".dkr.ecr." + s.options.Region + "." + suffix
}

// Env is the environment that points an AWS SDK or CLI at the server, which is reached under url.
func (s *Server) Env(url string) map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_ECR":      url,
		"AWS_ENDPOINT_URL_STS":      url,
		"AWS_ENDPOINT_URL_EKS":      url,
		"AWS_ACCESS_KEY_ID":         AccessKey,
		"AWS_SECRET_ACCESS_KEY":     SecretKey,
		"AWS_REGION":                s.options.Region,
		"AWS_EC2_METADATA_DISABLED": "true",
	}
}

// SetCaller changes who the default credentials belong to; the account is read out of the ARN.
func (s *Server) SetCaller(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[AccessKey].arn = arn
}

// Expire makes the default credentials expired, or valid again.
func (s *Server) Expire(expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[AccessKey].expired = expired
}

// Deny takes rights away, or with none gives all back: "ecr:GetLifecyclePolicy", "sts:AssumeRole", "ecr:*".
func (s *Server) Deny(actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.denied)
	for _, a := range actions {
		s.denied[a] = true
	}
}

// AddRole lets any caller assume a role, with the external id if that is not "".
func (s *Server) AddRole(arn, externalID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[arn] = externalID
}

// RefuseFilterWithIDs makes DescribeImages refuse a filter beside imageIds, which the documentation leaves open.
func (s *Server) RefuseFilterWithIDs(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filterRefuse = refuse
}

// Fail makes an operation answer with an error in AWS's own form: the next times calls, or every call with 0. It refuses an
// error that the service model does not declare for an ECR operation and that is not common to all AWS services.
func (s *Server) Fail(op, code string, times int) error {
	status := http.StatusBadRequest
	if err := model().declared(op, code); err != nil {
		return err
	}
	if code == "ServerException" || code == "InternalFailure" || code == "ServiceUnavailable" {
		status = http.StatusInternalServerError
	}
	s.Inject(fake.Fault{
		Op: op, Status: status, Times: times,
		Header: http.Header{"Content-Type": {jsonType}, "X-Amzn-Requestid": {"fault"}},
		Body:   fmt.Sprintf(`{"__type":%q,"message":"injected %s"}`, code, code),
	})
	return nil
}

const targetPrefix = "AmazonEC2ContainerRegistry_V20150921."

// operation names a request for the switchboard. It leaves the body as it was.
func operation(r *http.Request) string {
	if op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix); ok {
		return op
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/clusters/"); ok && name != "" && r.Method == http.MethodGet {
		return "DescribeCluster"
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok || r.URL.Path == "/v2" {
		_, kind, _ := splitPath(rest)
		return r.Method + " /v2/" + kind
	}
	if action := stsForm(r).Get("Action"); action != "" {
		return action
	}
	return r.Method + " " + r.URL.Path
}

// stsForm reads an STS request's parameters from the query or the body.
func stsForm(r *http.Request) url.Values {
	if r.URL.Path != "/" {
		return nil
	}
	if r.Method == http.MethodGet {
		return r.URL.Query()
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil
	}
	form, err := url.ParseQuery(string(body(r)))
	if err != nil {
		return nil
	}
	return form
}

// body reads a small body and puts it back.
func body(r *http.Request) []byte {
	if r.Body == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		b = nil // the connection broke; whatever reads the body next finds it empty
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), targetPrefix):
		s.serveECR(w, r)
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		s.serveOCI(w, r)
	case strings.HasPrefix(r.URL.Path, "/clusters"):
		s.serveEKS(w, r)
	case r.URL.Path == "/" && stsForm(r).Get("Action") != "":
		s.serveSTS(w, r)
	default:
		s.writeError(w, http.StatusBadRequest, "UnknownOperationException", "")
	}
}

// requestID numbers the answers.
func (s *Server) requestID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.serial)
}

// now is the next push time. The caller holds mu.
func (s *Server) now() time.Time {
	t := s.options.Now().UTC().Truncate(time.Millisecond)
	if !t.After(s.last) {
		t = s.last.Add(time.Millisecond)
	}
	s.last = t
	return t
}

// allowed tells whether the caller may do action.
func (s *Server) allowed(action string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	service, _, _ := strings.Cut(action, ":")
	return !s.denied[action] && !s.denied[service+":*"] && !s.denied["*"]
}

// Repositories are the names of all repositories, sorted.
func (s *Server) Repositories() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.repositories))
	for name := range s.repositories {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
