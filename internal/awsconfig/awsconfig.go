// Package awsconfig loads the AWS configuration that the ecr and eks adapters share, and turns the SDK's errors into the
// domain's. Beside those two it is the only package that knows the SDK.
package awsconfig

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Options say which account to talk to and as whom. Empty fields are left to the SDK's own sources: AWS_* variables,
// ~/.aws, web identity, container and instance roles
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
type Options struct {
	Region, Profile     string
	RoleARN, ExternalID string // a role to assume, and the external id its trust policy asks for

	// Attempts is how often a read is tried; 0 means 5.
	Attempts int
	// MaxBackoff is the longest wait between two attempts; 0 means 2 s. A Retry-After of the system may be longer.
	MaxBackoff time.Duration
	// Timeout is how long one attempt may take; 0 means 10 s.
	Timeout time.Duration
}

// DefaultTimeout is how long one attempt of a call may take, connecting and reading included.
const DefaultTimeout = 10 * time.Second

// SessionName names us in the audit trail of an assumed role.
const SessionName = "rollback"

// Load reads the configuration. It fails without a region; it does not ask for credentials, the first call does. Nothing
// that is made from the result logs anything.
func Load(ctx context.Context, o Options) (aws.Config, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	client := awshttp.NewBuildableClient().
		WithTimeout(o.Timeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = min(5*time.Second, o.Timeout) }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = 16 }) // a wave of parallel calls keeps its connections
	load := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(client),
		config.WithRetryer(func() aws.Retryer { return reads(o) }),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		fix := "check AWS_PROFILE and the files ~/.aws/config and ~/.aws/credentials"
		if o.Profile != "" {
			fix = "check that profile " + o.Profile + " is in ~/.aws/config or ~/.aws/credentials"
		}
		return aws.Config{}, &rollback.CallError{System: "aws", Op: "load configuration", Kind: rollback.Rejected, Fix: fix, Err: reason(err)}
	}
	if cfg.Region == "" {
		return aws.Config{}, &rollback.CallError{
			System: "aws", Op: "load configuration", Kind: rollback.Rejected,
			Fix: "set region in the registry or cluster section of rollback.yaml, or AWS_REGION",
			Err: errors.New("no region configured"),
		}
	}
	cfg.APIOptions = append(cfg.APIOptions, tellLast)
	cfg.HTTPClient = sameHost(client, cfg.HTTPClient, o.Timeout)
	if o.RoleARN != "" {
		cfg.Credentials = named{"the credentials that assume " + o.RoleARN, cfg.Credentials}
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), o.RoleARN, func(r *stscreds.AssumeRoleOptions) {
			r.RoleSessionName = SessionName
			if o.ExternalID != "" {
				r.ExternalID = aws.String(o.ExternalID)
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(named{"role " + o.RoleARN, role})
	} else {
		cfg.Credentials = aws.NewCredentialsCache(named{"AWS credentials", cfg.Credentials})
	}
	return cfg, nil
}

// sameHost is the client without its redirects: a signed request never follows one. The SDK's own client is needed while
// loading, because only to that does it add the certificates of AWS_CA_BUNDLE.
func sameHost(ours *awshttp.BuildableClient, loaded aws.HTTPClient, timeout time.Duration) aws.HTTPClient {
	if b, ok := loaded.(*awshttp.BuildableClient); ok {
		ours = b
	}
	return &http.Client{
		Transport:     ours.GetTransport(),
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// named marks errors of a credentials provider, so that CallError can tell "no credentials" from a failed call.
type named struct {
	name     string
	provider aws.CredentialsProvider
}

func (n named) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if n.provider == nil {
		return aws.Credentials{}, &credentialsError{n.name, errors.New("none configured")}
	}
	c, err := n.provider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{n.name, err}
	}
	return c, nil
}

type credentialsError struct {
	name string
	err  error
}

func (e *credentialsError) Error() string { return e.name + ": " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }
