package awsconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// clean is an environment without AWS configuration.
func clean(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestLoadRegion(t *testing.T) {
	clean(t)
	_, err := Load(t.Context(), Options{})
	var e *rollback.CallError
	if !errors.As(err, &e) || e.System != "aws" || e.Kind != rollback.Rejected || !strings.Contains(e.Fix, "AWS_REGION") {
		t.Errorf("without a region: %#v", err)
	}
	for _, name := range []string{"AWS_DEFAULT_REGION", "AWS_REGION"} {
		t.Setenv(name, "eu-"+strings.ToLower(strings.ReplaceAll(name, "_", "-")))
		cfg, err := Load(t.Context(), Options{})
		if want := os.Getenv(name); err != nil || cfg.Region != want {
			t.Errorf("%s: got %q, %v", name, cfg.Region, err)
		}
	}
	if cfg, err := Load(t.Context(), Options{Region: "eu-west-1"}); err != nil || cfg.Region != "eu-west-1" {
		t.Errorf("an explicit region: got %q, %v", cfg.Region, err)
	}
}

func TestLoadProfile(t *testing.T) {
	clean(t)
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile prod]\nregion = eu-north-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	if cfg, err := Load(t.Context(), Options{Profile: "prod"}); err != nil || cfg.Region != "eu-north-1" {
		t.Errorf("got %q, %v", cfg.Region, err)
	}
	_, err := Load(t.Context(), Options{Profile: "none", Region: "eu-west-1"})
	if rollback.KindOf(err) != rollback.Rejected || !strings.Contains(rollback.FixOf(err), "profile none") {
		t.Errorf("got %v, fix %q", err, rollback.FixOf(err))
	}
}

// The SDK has things to say, about retries and instance roles; none of it may reach a terminal.
func TestSilent(t *testing.T) {
	clean(t)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	defer silent.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent.URL)
	t.Setenv("AWS_ENDPOINT_URL_STS", silent.URL)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	cfg, err := Load(t.Context(), Options{Region: "eu-west-1", Attempts: 2, MaxBackoff: time.Millisecond})
	if err == nil {
		_, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	}
	os.Stderr = stderr
	w.Close()
	said, readErr := io.ReadAll(r)
	if readErr != nil || len(said) > 0 {
		t.Errorf("stderr has %q, %v", said, readErr)
	}
	if err = CallError("sts", "GetCallerIdentity", err); rollback.KindOf(err) != rollback.Expired || rollback.FixOf(err) != give ||
		err.Error() != "sts: GetCallerIdentity: no valid credentials: AWS credentials: none found in the environment, in ~/.aws or from the instance" {
		t.Errorf("got %v", err)
	}
}

// response wraps err as the SDK does for an answer with this status.
func response(status int, header http.Header, err error) error {
	return &smithy.OperationError{ServiceID: "ECR", OperationName: "PutImage", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}}, Err: err,
	}}
}

func TestCallError(t *testing.T) {
	t.Parallel()
	api := func(code string) error { return &smithy.GenericAPIError{Code: code, Message: "said so"} }
	decode := &smithy.DeserializationError{Err: errors.New("invalid character '<'")}
	for name, c := range map[string]struct {
		err  error
		kind rollback.CallKind
		code string
		fix  string
		sent bool
	}{
		"AccessDeniedException":        {response(400, nil, api("AccessDeniedException")), rollback.Denied, "AccessDeniedException", rights, true},
		"AccessDenied":                 {response(403, nil, api("AccessDenied")), rollback.Denied, "AccessDenied", rights, true},
		"ExpiredTokenException":        {response(400, nil, api("ExpiredTokenException")), rollback.Expired, "ExpiredTokenException", renew, true},
		"InvalidClientTokenId":         {response(403, nil, api("InvalidClientTokenId")), rollback.Expired, "InvalidClientTokenId", renew, true},
		"SignatureDoesNotMatch":        {response(403, nil, api("SignatureDoesNotMatch")), rollback.Expired, "SignatureDoesNotMatch", clock, true},
		"InvalidSignatureException":    {response(403, nil, api("InvalidSignatureException")), rollback.Expired, "InvalidSignatureException", clock, true},
		"Throttling":                   {response(400, nil, api("Throttling")), rollback.Throttled, "Throttling", "", true},
		"TooManyRequestsException":     {response(429, nil, api("TooManyRequestsException")), rollback.Throttled, "TooManyRequestsException", "", true},
		"ResourceNotFoundException":    {response(404, nil, api("ResourceNotFoundException")), rollback.NotFound, "ResourceNotFoundException", "", true},
		"InternalFailure":              {response(500, nil, api("InternalFailure")), rollback.ServerFault, "InternalFailure", "", true},
		"InvalidParameterException":    {response(400, nil, api("InvalidParameterException")), rollback.Rejected, "InvalidParameterException", "", true},
		"status alone":                 {response(418, nil, api("UnknownError")), rollback.Rejected, "418 I'm a teapot", "", true},
		"page for 200":                 {response(200, nil, decode), rollback.Broken, "", proxy, true},
		"page for 404":                 {response(404, nil, decode), rollback.Broken, "404 Not Found", proxy, true},
		"page for 502":                 {response(502, nil, decode), rollback.ServerFault, "502 Bad Gateway", "", true},
		"redirect":                     {response(302, nil, api("UnknownError")), rollback.Broken, "302 Found", proxy, true},
		"refused":                      {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, rollback.Unreachable, "", reach, false},
		"reset":                        {&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, rollback.Unreachable, "", reach, true},
		"DNS":                          {&net.DNSError{Err: "no such host", Name: "api.ecr.eu-west-9.amazonaws.com"}, rollback.Unreachable, "", reach, false},
		"TLS":                          {fmt.Errorf("send: %w", &smithyhttp.RequestSendError{Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}), rollback.Unreachable, "", reach, false},
		"deadline":                     {fmt.Errorf("send: %w", context.DeadlineExceeded), rollback.Unreachable, "", reach, true},
		"cancelled":                    {fmt.Errorf("send: %w", context.Canceled), rollback.Unreachable, "", "", true},
		"no credentials":               {&credentialsError{"AWS credentials", errors.New("none found")}, rollback.Expired, "", give, false},
		"no instance role":             {&credentialsError{"AWS credentials", fmt.Errorf("no EC2 IMDS role found, %w", &net.OpError{Op: "dial", Err: errors.New("refused")})}, rollback.Expired, "", give, false},
		"role, STS unreachable":        {&credentialsError{"role r", &net.OpError{Op: "dial", Err: errors.New("refused")}}, rollback.Unreachable, "", reach, false},
		"role, STS at fault":           {&credentialsError{"role r", response(503, nil, decode)}, rollback.ServerFault, "503 Service Unavailable", "", false},
		"role denied":                  {&credentialsError{"role r", response(403, nil, api("AccessDenied"))}, rollback.Denied, "AccessDenied", "let these credentials assume the role (its trust policy and external id)", false},
		"something this does not know": {errors.New("odd"), rollback.Rejected, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CallError("ecr", "PutImage payments", c.err)
			var e *rollback.CallError
			if !errors.As(err, &e) || e.Kind != c.kind || e.Code != c.code || e.Fix != c.fix || e.System != "ecr" || e.Err == nil {
				t.Errorf("got %#v", err)
			}
			if NotSent(c.err) == c.sent {
				t.Errorf("NotSent is %v", !c.sent)
			}
			for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
				if errors.Is(err, known) != errors.Is(c.err, known) {
					t.Errorf("errors.Is(%v) is lost", known)
				}
			}
			var sdk smithy.APIError
			if errors.As(err, &sdk) {
				t.Error("a type of the SDK is inside")
			}
			if again := CallError("ecr", "other", err); again != err {
				t.Errorf("a second time: %v", again)
			}
		})
	}
	if CallError("ecr", "PutImage", nil) != nil {
		t.Error("nil did not stay nil")
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999": 24 * time.Hour, "Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		err := response(429, http.Header{"Retry-After": {text}}, &smithy.GenericAPIError{Code: "UnknownError"})
		var e *rollback.CallError
		if !errors.As(CallError("ecr", "x", err), &e) || e.RetryAfter != want || e.Kind != rollback.Throttled {
			t.Errorf("%q: got %#v", text, e)
		}
		if got := reads(Options{}).IsErrorRetryable(err); got != (want <= longestRetryAfter) {
			t.Errorf("%q: repeated: %v", text, got)
		}
	}
	if retryAfter(errors.New("x")) != 0 || status(errors.New("x")) != 0 {
		t.Error("an error without an answer has a status")
	}
}

// What a read may repeat and a write may not.
func TestRetryRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err         error
		read, write bool
	}{
		"throttled":  {response(400, nil, &smithy.GenericAPIError{Code: "ThrottlingException"}), true, true},
		"429":        {response(429, nil, &smithy.DeserializationError{}), true, true},
		"500":        {response(500, nil, &smithy.GenericAPIError{Code: "ServerException"}), true, false},
		"cut":        {response(200, nil, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), true, false},
		"connection": {&smithyhttp.RequestSendError{Err: io.EOF}, true, false},
		"denied":     {response(403, nil, &smithy.GenericAPIError{Code: "AccessDenied"}), false, false},
		"quota":      {response(400, nil, &smithy.GenericAPIError{Code: "ImageAlreadyExistsException"}), false, false},
		"cancelled":  {&smithy.CanceledError{Err: context.Canceled}, false, false},
	} {
		if got := reads(Options{}).IsErrorRetryable(c.err); got != c.read {
			t.Errorf("%s: a read is repeated: %v", name, got)
		}
		if got := Writes(Options{}).IsErrorRetryable(c.err); got != c.write {
			t.Errorf("%s: a write is repeated: %v", name, got)
		}
	}
	o := reads(Options{Attempts: 7, MaxBackoff: time.Second})
	if o.MaxAttempts() != 7 || reads(Options{}).MaxAttempts() != 5 {
		t.Error("attempts")
	}
	throttled := response(429, http.Header{"Retry-After": {"9"}}, &smithy.GenericAPIError{Code: "UnknownError"})
	if d, err := o.RetryDelay(1, throttled); err != nil || d != 9*time.Second {
		t.Errorf("waits %v, %v; asked for 9s", d, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := o.GetRetryToken(short, throttled); err == nil {
		t.Error("waits beyond its deadline")
	}
	if _, err := o.GetRetryToken(t.Context(), throttled); err != nil {
		t.Error(err)
	}
}
