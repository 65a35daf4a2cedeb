package eks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const caPEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

var prod = map[string]any{
	"name": "prod", "arn": "arn:aws:eks:eu-west-1:123456789012:cluster/prod", "status": "ACTIVE", "version": "1.34",
	"endpoint":             "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com",
	"certificateAuthority": map[string]any{"data": base64.StdEncoding.EncodeToString([]byte(caPEM))},
	"resourcesVpcConfig":   map[string]any{"endpointPublicAccess": true, "endpointPrivateAccess": true},
}

// cluster is prod with some fields changed; nil removes one.
func cluster(changes map[string]any) string {
	c := map[string]any{}
	for k, v := range prod {
		c[k] = v
	}
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	b, err := json.Marshal(map[string]any{"cluster": c})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// control is the part of EKS that describes clusters. It wants a signed request for one that exists.
func control(body string) *fake.Switchboard {
	return &fake.Switchboard{
		Op: func(r *http.Request) string { return r.Method + " " + r.URL.Path },
		Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			auth := r.Header.Get("Authorization")
			w.Header().Set("Content-Type", "application/json")
			switch {
			case !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(auth, "/eu-west-1/eks/aws4_request"):
				w.Header().Set("X-Amzn-Errortype", "MissingAuthenticationTokenException")
				w.WriteHeader(http.StatusForbidden)
			case r.Method != http.MethodGet || r.URL.Path != "/clusters/prod":
				w.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(`{"message":"No cluster found for name: other."}`))
			default:
				_, _ = w.Write([]byte(body))
			}
		}),
	}
}

// config is a configuration that speaks to url, quickly, as AKIDEXAMPLE.
func config(t *testing.T, url string, timeout time.Duration) aws.Config {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: &url,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "session"),
		HTTPClient:  &http.Client{Transport: transport, Timeout: timeout},
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, time.Millisecond })
		},
	}
}

func serve(t *testing.T, s *fake.Switchboard) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	return server.URL
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	s := control(cluster(nil))
	a, err := describe(t.Context(), config(t, serve(t, s), 5*time.Second), "prod")
	if err != nil {
		t.Fatal(err)
	}
	if a.Server != prod["endpoint"] || string(a.CA) != caPEM || a.ARN != prod["arn"] || a.Account != "123456789012" ||
		a.Name != "prod" || a.Region != "eu-west-1" || a.Version != "1.34" || a.Private {
		t.Errorf("got %+v", a)
	}
	if n := s.Count("*"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	token, until, err := a.Token(t.Context())
	if err != nil || token == "" || time.Until(until) < 13*time.Minute {
		t.Errorf("token %q until %s, %v", token, until, err)
	}
	if n := s.Count("*"); n != 1 {
		t.Error("making a token took a call")
	}
}

// The SDK's own ways to say where and who: endpoint variables, a profile, a role.
func TestDescribeFromEnvironment(t *testing.T) {
	s := control(cluster(map[string]any{"resourcesVpcConfig": map[string]any{"endpointPublicAccess": false}}))
	var assumed atomic.Int32
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil || r.Form.Get("Action") != "AssumeRole" || r.Form.Get("ExternalId") != "acme" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		assumed.Add(1)
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>AKIDEXAMPLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>y</SessionToken>
			<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(5*time.Minute).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Setenv("HOME", dir)
	t.Setenv("AWS_CONFIG_FILE", write("config", "[profile acme]\nregion = us-east-1\n"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", write("credentials", "[acme]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = z\n"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_ENDPOINT_URL_EKS", serve(t, s))
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	a, err := Describe(t.Context(), Config{Name: "prod", Region: "eu-west-1", Profile: "acme",
		RoleARN: "arn:aws:iam::123456789012:role/rollback", ExternalID: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if !a.Private || assumed.Load() != 1 {
		t.Errorf("private %t, role assumed %d times", a.Private, assumed.Load())
	}
	token, until, err := a.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(until); left > 5*time.Minute || left < 4*time.Minute {
		t.Errorf("the token of a role that ends in 5 minutes is said to be good for %s", left)
	}
	if u := decode(t, token); "http://"+u.Host != sts.URL {
		t.Errorf("signed for %s, want the endpoint of AWS_ENDPOINT_URL_STS", u.Host)
	}
}

func TestDescribeRefusesNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "../clusters", "-prod", "a b", strings.Repeat("a", 101)} {
		if _, err := Describe(t.Context(), Config{Name: name, Region: "eu-west-1"}); rollback.ExitOf(err) != rollback.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestDescribeFaults(t *testing.T) {
	t.Parallel()
	typed := func(code string) http.Header {
		return http.Header{"X-Amzn-Errortype": {code}, "Content-Type": {"application/json"}}
	}
	const message = `{"message":"because"}`
	page := http.Header{"Content-Type": {"text/html"}}
	for _, c := range []struct {
		name  string
		fault fake.Fault
		want  rollback.CallKind
		sent  int
		fix   string
	}{
		{"401", fake.Fault{Status: 401, Header: typed("UnrecognizedClientException"), Body: message}, rollback.Expired, 1, "credentials"},
		{"403", fake.Fault{Status: 403, Header: typed("AccessDeniedException"), Body: message}, rollback.Denied, 1, "eks:DescribeCluster"},
		{"403 expired", fake.Fault{Status: 403, Header: typed("ExpiredTokenException"), Body: message}, rollback.Expired, 1, "credentials"},
		{"404", fake.Fault{Status: 404, Header: typed("ResourceNotFoundException"), Body: message}, rollback.NotFound, 1, "eu-west-1"},
		{"409", fake.Fault{Status: 409, Header: typed("ResourceInUseException"), Body: message}, rollback.Rejected, 1, ""},
		{"429", fake.Fault{Status: 429, Header: typed("TooManyRequestsException"), Body: message}, rollback.Throttled, 3, ""},
		{"500", fake.Fault{Status: 500, Header: typed("ServerException"), Body: message}, rollback.ServerFault, 3, ""},
		{"503 page", fake.Fault{Status: 503, Header: page, Body: fake.HTMLPage}, rollback.ServerFault, 3, ""},
		{"page with 200", fake.Fault{Status: 200, Header: page, Body: fake.HTMLPage}, rollback.Broken, 1, "HTTPS_PROXY"},
		{"empty object", fake.Fault{Status: 200, Body: "{}"}, rollback.Broken, 1, ""},
		{"cut", fake.Fault{Cut: true, Body: `{"cluster":{"name":"prod",`}, rollback.Broken, -1, ""},
		{"drop", fake.Fault{Drop: true}, rollback.Unreachable, 3, "network"},
		{"hang", fake.Fault{Hang: true}, rollback.Unreachable, 3, "network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := control(cluster(nil))
			var sent atomic.Int32
			c.fault.Hold = func(*http.Request) { sent.Add(1) }
			s.Inject(c.fault)
			timeout := 5 * time.Second
			if c.fault.Hang {
				timeout = 250 * time.Millisecond
			}
			_, err := describe(t.Context(), config(t, serve(t, s), timeout), "prod")
			e := wantKind(t, err, c.want)
			if !strings.Contains(e.Fix, c.fix) || e.System != "eks" || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, fix %q", err, e.Fix)
			}
			if n := int(sent.Load()); c.sent >= 0 && n != c.sent {
				t.Errorf("sent %d times, want %d", n, c.sent)
			}
		})
	}

	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		url := "http://" + l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = describe(t.Context(), config(t, url, 5*time.Second), "prod")
		wantKind(t, err, rollback.Unreachable)
	})
	t.Run("given up", func(t *testing.T) {
		t.Parallel()
		s := control(cluster(nil))
		ctx, cancel := context.WithCancel(t.Context())
		s.Inject(fake.Fault{Hang: true, Hold: func(*http.Request) { cancel() }})
		_, err := describe(ctx, config(t, serve(t, s), 5*time.Second), "prod")
		wantKind(t, err, rollback.Unreachable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v hides that it was given up", err)
		}
	})
	t.Run("another cluster", func(t *testing.T) {
		t.Parallel()
		_, err := describe(t.Context(), config(t, serve(t, control(cluster(nil))), 5*time.Second), "other")
		wantKind(t, err, rollback.NotFound)
	})
}

// What EKS says is used whole or not at all.
func TestDescribeChecksTheAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		changes map[string]any
		want    rollback.CallKind
	}{
		{"another name", map[string]any{"name": "staging"}, rollback.Broken},
		{"no name", map[string]any{"name": nil}, rollback.Broken},
		{"being made", map[string]any{"endpoint": nil, "status": "CREATING"}, rollback.Rejected},
		{"plain http", map[string]any{"endpoint": "http://x.eks.amazonaws.com"}, rollback.Broken},
		{"no URL", map[string]any{"endpoint": "::"}, rollback.Broken},
		{"a password in it", map[string]any{"endpoint": "https://u:p@x.eks.amazonaws.com"}, rollback.Broken},
		{"no ARN", map[string]any{"arn": nil}, rollback.Broken},
		{"another region", map[string]any{"arn": "arn:aws:eks:us-east-1:123456789012:cluster/prod"}, rollback.Broken},
		{"another cluster", map[string]any{"arn": "arn:aws:eks:eu-west-1:123456789012:cluster/staging"}, rollback.Broken},
		{"no CA", map[string]any{"certificateAuthority": nil}, rollback.Broken},
		{"CA not base64", map[string]any{"certificateAuthority": map[string]any{"data": "***"}}, rollback.Broken},
		{"CA not PEM", map[string]any{"certificateAuthority": map[string]any{"data": "AAAA"}}, rollback.Broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, err := describe(t.Context(), config(t, serve(t, control(cluster(c.changes))), 5*time.Second), "prod")
			e := wantKind(t, err, c.want)
			if a.Server != "" {
				t.Errorf("an access came with the error: %+v", a)
			}
			if c.want == rollback.Rejected && (e.Code != "CREATING" || e.Fix == "") {
				t.Errorf("code %q, fix %q", e.Code, e.Fix)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("prod", "https://x.eks.amazonaws.com", "arn:aws:eks:eu-west-1:123456789012:cluster/prod", base64.StdEncoding.EncodeToString([]byte(caPEM)))
	f.Add("prod", "https://", "arn:aws:eks:::", "")
	f.Add("", "", "", "LS0t")
	f.Fuzz(func(t *testing.T, name, endpoint, arn, ca string) {
		c := description{Name: name, Endpoint: endpoint, ARN: arn}
		c.CertificateAuthority.Data = ca
		a, err := read(&c, "prod", "eu-west-1")
		if err == nil && (!strings.HasPrefix(strings.ToLower(a.Server), "https://") || len(a.CA) == 0 || !strings.HasSuffix(a.ARN, ":cluster/prod")) {
			t.Errorf("%+v", a)
		}
		if err != nil && rollback.KindOf(err) == "" {
			t.Errorf("%v has no kind", err)
		}
	})
}

func wantKind(t *testing.T, err error, want rollback.CallKind) *rollback.CallError {
	t.Helper()
	var e *rollback.CallError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a call error of kind %q", err, want)
	}
	if e.Kind != want {
		t.Fatalf("got kind %q (%v), want %q", e.Kind, err, want)
	}
	return e
}
