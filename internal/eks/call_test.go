package eks

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/rollback-tools/rollback/internal/awsconfig"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestHost(t *testing.T) {
	t.Parallel()
	for region, want := range map[string][2]string{
		"eu-west-1":      {"eks.eu-west-1.amazonaws.com", "fips.eks.eu-west-1.amazonaws.com"},
		"us-gov-west-1":  {"eks.us-gov-west-1.amazonaws.com", "eks.us-gov-west-1.amazonaws.com"},
		"cn-north-1":     {"eks.cn-north-1.amazonaws.com.cn", "eks-fips.cn-north-1.amazonaws.com.cn"},
		"eusc-de-east-1": {"eks.eusc-de-east-1.amazonaws.eu", "eks-fips.eusc-de-east-1.amazonaws.eu"},
		"us-iso-east-1":  {"eks.us-iso-east-1.c2s.ic.gov", "eks-fips.us-iso-east-1.c2s.ic.gov"},
		"us-isob-east-1": {"eks.us-isob-east-1.sc2s.sgov.gov", "eks-fips.us-isob-east-1.sc2s.sgov.gov"},
		"us-isof-east-1": {"eks.us-isof-east-1.csp.hci.ic.gov", "eks-fips.us-isof-east-1.csp.hci.ic.gov"},
		"eu-isoe-west-1": {"eks.eu-isoe-west-1.cloud.adc-e.uk", "eks-fips.eu-isoe-west-1.cloud.adc-e.uk"},
	} {
		if got := [2]string{host(region, false), host(region, true)}; got != want {
			t.Errorf("%s: %q, want %q", region, got, want)
		}
	}
}

// Where to ask comes from the same places, in the same order, as for the SDK's own clients.
func TestEndpoint(t *testing.T) {
	const file = "[default]\nregion = eu-west-1\n[profile both]\nregion = eu-west-1\nendpoint_url = https://shared.acme.example\nservices = acme\n" +
		"[profile one]\nregion = eu-west-1\nendpoint_url = https://shared.acme.example/aws\n" +
		"[profile fips]\nregion = us-east-1\nuse_fips_endpoint = true\n" +
		"[services acme]\neks =\n  endpoint_url = https://eks.acme.example\n"
	dir := t.TempDir()
	name := filepath.Join(dir, "config")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		if key, _, _ := strings.Cut(v, "="); strings.HasPrefix(key, "AWS_") {
			t.Setenv(key, "")
		}
	}
	t.Setenv("AWS_CONFIG_FILE", name)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	for _, c := range []struct {
		name, profile string
		env           []string
		want          string
	}{
		{"nothing set", "", nil, "https://eks.eu-west-1.amazonaws.com/clusters/prod"},
		{"for EKS", "", []string{"AWS_ENDPOINT_URL_EKS=http://127.0.0.1:1", "AWS_ENDPOINT_URL=http://127.0.0.1:2"}, "http://127.0.0.1:1/clusters/prod"},
		{"for all", "", []string{"AWS_ENDPOINT_URL=http://127.0.0.1:2/aws/"}, "http://127.0.0.1:2/aws/clusters/prod"},
		{"for all, over the profile", "both", []string{"AWS_ENDPOINT_URL=http://127.0.0.1:2"}, "http://127.0.0.1:2/clusters/prod"},
		{"profile, for EKS", "both", nil, "https://eks.acme.example/clusters/prod"},
		{"profile, for all", "one", nil, "https://shared.acme.example/aws/clusters/prod"},
		{"ignored", "both", []string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", "AWS_ENDPOINT_URL_EKS=http://127.0.0.1:1"}, "https://eks.eu-west-1.amazonaws.com/clusters/prod"},
		{"FIPS", "", []string{"AWS_USE_FIPS_ENDPOINT=true"}, "https://fips.eks.eu-west-1.amazonaws.com/clusters/prod"},
		{"FIPS of the profile", "fips", nil, "https://fips.eks.us-east-1.amazonaws.com/clusters/prod"},
		{"no URL", "", []string{"AWS_ENDPOINT_URL_EKS=127.0.0.1:1"}, ""},
		{"a password in it", "", []string{"AWS_ENDPOINT_URL_EKS=https://u:p@acme.example"}, ""},
		{"no region", "", []string{"AWS_REGION=acme.example/"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range c.env {
				key, value, _ := strings.Cut(e, "=")
				t.Setenv(key, value)
			}
			cfg, err := awsconfig.Load(t.Context(), awsconfig.Options{Profile: c.profile})
			if err != nil {
				t.Fatal(err)
			}
			cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
			var asked string
			cfg.HTTPClient = answering(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.String()
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
			})
			_, err = describe(t.Context(), cfg, "prod")
			if asked != c.want {
				t.Errorf("asked %q, want %q", asked, c.want)
			}
			if c.want == "" {
				if e := wantKind(t, err, rollback.Rejected); strings.Contains(e.Error(), "u:p") {
					t.Errorf("%v repeats a password", e)
				}
			}
		})
	}
}

type answering func(*http.Request) (*http.Response, error)

func (a answering) Do(r *http.Request) (*http.Response, error) { return a(r) }

// answers is a configuration whose every request gets this answer.
func answers(status int, errortype string, body io.Reader) aws.Config {
	return aws.Config{
		Region:      "eu-west-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient: answering(func(*http.Request) (*http.Response, error) {
			h := http.Header{}
			if errortype != "" {
				h.Set("X-Amzn-Errortype", errortype)
			}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}, nil
		}),
	}
}

// AWS has several ways to name an error.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		status       int
		header, body string
		kind         rollback.CallKind
		code, text   string
	}{
		{400, "ClientException:http://internal.amazon.com/coral/com.amazonaws.eks/", `{"message":"because"}`, rollback.Rejected, "ClientException", "because"},
		{403, "", `{"__type":"com.amazonaws.eks#AccessDeniedException","Message":"because"}`, rollback.Denied, "AccessDeniedException", "because"},
		{404, "", `{"code":"ResourceNotFoundException"}`, rollback.NotFound, "ResourceNotFoundException", ""},
		{403, "ExpiredTokenException", "<html>", rollback.Expired, "ExpiredTokenException", ""},
		{403, "", "", rollback.Denied, "403 Forbidden", ""},
		{403, "", `{"code":17}`, rollback.Denied, "403 Forbidden", ""},
		{404, "", "<html>", rollback.Broken, "404 Not Found", ""},
		{302, "", "<html>", rollback.Broken, "302 Found", ""},
	} {
		_, err := describe(t.Context(), answers(c.status, c.header, strings.NewReader(c.body)), "prod")
		if e := wantKind(t, err, c.kind); e.Code != c.code || !strings.Contains(e.Error(), c.text) {
			t.Errorf("%d %q %s: code %q of %v", c.status, c.header, c.body, e.Code, e)
		}
	}
}

// An answer without end is not read to its end.
func TestLongAnswer(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"cluster":{"name":"`), filler{})
	_, err := describe(t.Context(), answers(http.StatusOK, "", endless), "prod")
	wantKind(t, err, rollback.Broken)
}

type filler struct{}

func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// A repetition is a request of its own, signed anew.
func TestRetrySignsAnew(t *testing.T) {
	cfg := answers(http.StatusOK, "", nil)
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 2, 1 })
	}
	var seen []*http.Request
	cfg.HTTPClient = answering(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r)
		status, body := http.StatusServiceUnavailable, "{}"
		if len(seen) == 2 {
			status, body = http.StatusOK, cluster(nil)
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
	var keys int
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		keys++
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}, nil
	})
	if _, err := describe(t.Context(), cfg, "prod"); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] == seen[1] || keys != 2 {
		t.Fatalf("%d requests, credentials asked for %d times", len(seen), keys)
	}
	for _, r := range seen {
		if r.UserAgent() != "rollback" || r.Header.Get("X-Amz-Security-Token") != "session" || r.Header.Get("Authorization") == "" {
			t.Errorf("headers %v", r.Header)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, "", []byte(cluster(nil)))
	f.Add(200, "", []byte(`{"cluster":null}`))
	f.Add(404, "ResourceNotFoundException", []byte(`{"message":"No cluster found for name: prod."}`))
	f.Add(403, "", []byte(`{"__type":"a#b:c","code":[],"message":""}`))
	f.Add(500, "", []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, errortype string, body []byte) {
		a, err := describe(t.Context(), answers(status, errortype, bytes.NewReader(body)), "prod")
		if err == nil && (status/100 != 2 || a.Name != "prod" || a.Server == "") {
			t.Errorf("%d %q: %+v", status, body, a)
		}
		if err != nil && rollback.KindOf(err) == "" {
			t.Errorf("%v has no kind", err)
		}
	})
}
