// Package ecr is the registry adapter for Amazon ECR: rollback.Registry and rollback.Lister over the AWS API, so that no
// docker login is needed and a retag is two calls.
package ecr

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rollback-tools/rollback/internal/awsconfig"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// Config says which registry to talk to and as whom.
type Config struct {
	Account string // that owns the registry, 12 digits; also when we are another account
	Region  string // "" leaves it to AWS_REGION and ~/.aws/config
	Profile string // of ~/.aws
	// RoleARN is a role to assume first, ExternalID what its trust policy asks for; both may be "".
	RoleARN, ExternalID string

	// Attempts is how often one call is tried, MaxBackoff the longest wait between two tries, Timeout how long one try may
	// take. 0 means 5, 2 s and 10 s.
	Attempts            int
	MaxBackoff, Timeout time.Duration
	// Limit is how long a call may take with all its tries, callLimit at most, of which one that hangs gets half; 0 means callLimit.
	Limit time.Duration
}

const callLimit = 20 * time.Second

// Registry is one account's registry in one region. It may be used from many goroutines.
type Registry struct {
	account, region, host string

	options awsconfig.Options
	limit   time.Duration
	aws     operations
	close   func()
}

var (
	_ rollback.Registry = (*Registry)(nil)
	_ rollback.Lister   = (*Registry)(nil)
)

// New prepares a registry. It makes no call; credentials are asked for by the first one.
func New(ctx context.Context, c Config) (*Registry, error) {
	if len(c.Account) != 12 || strings.Trim(c.Account, "0123456789") != "" {
		return nil, &rollback.CallError{
			System: "ecr", Op: "configure", Kind: rollback.Rejected,
			Fix: "set registry.account in rollback.yaml to the account that owns the registry",
			Err: fmt.Errorf("account %q: want 12 digits", c.Account),
		}
	}
	limit := min(cmp.Or(c.Limit, callLimit), callLimit)
	o := awsconfig.Options{
		Region: c.Region, Profile: c.Profile, RoleARN: c.RoleARN, ExternalID: c.ExternalID,
		Attempts: c.Attempts, MaxBackoff: c.MaxBackoff, Timeout: cmp.Or(c.Timeout, limit/2),
	}
	cfg, err := awsconfig.Load(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		account: c.Account, region: cfg.Region, host: Host(c.Account, cfg.Region),
		options: o, limit: limit, aws: operationsOf(ecr.NewFromConfig(cfg), sts.NewFromConfig(cfg)), close: func() {},
	}
	if client, ok := cfg.HTTPClient.(*http.Client); ok { // it is, as it follows no redirects
		r.close = client.CloseIdleConnections
	}
	return r, nil
}

// Close ends idle connections.
func (r *Registry) Close() { r.close() }

// Host is the name under which nodes pull from an account's registry
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html).
func Host(account, region string) string {
	if strings.HasPrefix(region, "cn-") {
		return account + ".dkr.ecr." + region + ".amazonaws.com.cn"
	}
	return account + ".dkr.ecr." + region + ".amazonaws.com"
}

// arn names a repository in a policy.
func (r *Registry) arn(repository string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(r.region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(r.region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return fmt.Sprintf("arn:%s:ecr:%s:%s:repository/%s", partition, r.region, r.account, repository)
}

// fail turns an error of the SDK into the domain's and adds what to do about it here.
func (r *Registry) fail(action, repository, detail string, err error) *rollback.CallError {
	op := action + " " + repository + detail
	e, ok := awsconfig.CallError("ecr", op, err).(*rollback.CallError)
	if !ok { // it always is one
		return &rollback.CallError{System: "ecr", Op: op, Kind: rollback.Rejected, Err: err}
	}
	switch {
	case e.Code == "AccessDeniedException": // STS says AccessDenied, when it is the role that was refused
		e.Fix = fmt.Sprintf("allow ecr:%s on %s (in another account, in the repository's policy too); `rollback permissions` prints the policy", action, r.arn(repository))
	case e.Code == "RepositoryNotFoundException":
		e.Fix = fmt.Sprintf("check image, registry.account and registry.region in rollback.yaml: %s/%s was asked for", r.host, repository)
	case e.Code == "LimitExceededException":
		e.Fix = "raise the quota in Service Quotas, or delete tags of this image"
	case e.Code == "KmsException":
		e.Fix = "let the caller use the KMS key of the repository"
	}
	return e
}

// Repository reads the settings of a repository, its lifecycle policy and who we are, in one wave. Only the settings are
// needed; what else cannot be read is named in Unknown.
func (r *Registry) Repository(ctx context.Context, name string) (rollback.Repository, error) {
	if !rollback.ValidRepository(name) {
		return rollback.Repository{}, r.invalid("repository", name)
	}
	out := rollback.Repository{Kind: "ecr", Host: r.host, Name: name, Account: r.account, Region: r.region}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()

	var settings *ecr.DescribeRepositoriesOutput
	var policy *ecr.GetLifecyclePolicyOutput
	var caller *sts.GetCallerIdentityOutput
	var settingsErr, policyErr, callerErr error
	var wave sync.WaitGroup
	wave.Go(func() {
		settings, settingsErr = r.aws.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{
			RegistryId: &r.account, RepositoryNames: []string{name},
		})
	})
	wave.Go(func() {
		policy, policyErr = r.aws.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RegistryId: &r.account, RepositoryName: &name})
	})
	wave.Go(func() { caller, callerErr = r.aws.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}) })
	wave.Wait()

	if settingsErr != nil {
		return rollback.Repository{}, r.fail("DescribeRepositories", name, "", settingsErr)
	}
	if len(settings.Repositories) != 1 || aws.ToString(settings.Repositories[0].RepositoryName) != name {
		return rollback.Repository{}, r.broken("DescribeRepositories", name, "the answer does not describe the repository")
	}
	out.Mutability, out.Unknown = mutability(settings.Repositories[0])

	switch policyErr := r.policyFailure(name, policyErr); {
	case policyErr == nil && policy.LifecyclePolicyText == nil:
		out.Unknown = append(out.Unknown, "lifecycle policy: the answer holds none")
	case policyErr == nil:
		rules, err := ParseLifecyclePolicy(*policy.LifecyclePolicyText)
		if err != nil {
			out.Unknown = append(out.Unknown, "lifecycle policy: "+err.Error())
		}
		out.Lifecycle = rules
	case policyErr.Code == "LifecyclePolicyNotFoundException":
	case policyErr.Kind == rollback.Denied:
		out.Unknown = append(out.Unknown, "lifecycle policy: no right to read it (ecr:GetLifecyclePolicy)")
	default:
		out.Unknown = append(out.Unknown, "lifecycle policy: "+why(policyErr))
	}

	if callerErr != nil {
		out.Unknown = append(out.Unknown, "caller identity: "+why(awsconfig.CallError("sts", "GetCallerIdentity", callerErr)))
		return out, nil
	}
	out.Caller, out.CallerAccount = aws.ToString(caller.Arn), aws.ToString(caller.Account)
	if out.Caller == "" {
		out.Unknown = append(out.Unknown, "caller identity: the answer does not name it")
	}
	return out, nil
}

// policyFailure is fail for the one call of Repository that may be refused.
func (r *Registry) policyFailure(name string, err error) *rollback.CallError {
	if err == nil {
		return nil
	}
	return r.fail("GetLifecyclePolicy", name, "", err)
}

// why is the short form of an error for a list of unknowns.
func why(err error) string {
	e, ok := err.(*rollback.CallError)
	if !ok {
		return err.Error()
	}
	if e.Code != "" {
		return fmt.Sprintf("%s (%s)", e.Kind, e.Code)
	}
	return string(e.Kind)
}

// mutability reads the four settings
// (https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html).
func mutability(t types.Repository) (m rollback.Mutability, unknown []string) {
	switch t.ImageTagMutability {
	case types.ImageTagMutabilityMutable:
		return m, nil
	case types.ImageTagMutabilityImmutable:
		return rollback.Mutability{Immutable: true}, nil
	case types.ImageTagMutabilityImmutableWithExclusion:
		m.Immutable = true
	case types.ImageTagMutabilityMutableWithExclusion:
	default:
		return m, []string{fmt.Sprintf("tag mutability: this program does not know the setting %q", t.ImageTagMutability)}
	}
	for _, f := range t.ImageTagMutabilityExclusionFilters {
		if f.FilterType != types.ImageTagMutabilityExclusionFilterTypeWildcard {
			unknown = append(unknown, fmt.Sprintf("tag mutability: this program does not know filters of type %q", f.FilterType))
			continue
		}
		m.Except = append(m.Except, aws.ToString(f.Filter))
	}
	return m, unknown
}

func (r *Registry) invalid(what, value string) error {
	return &rollback.CallError{System: "ecr", Kind: rollback.Rejected, Err: fmt.Errorf("%q is not a %s", value, what)}
}

func (r *Registry) broken(action, repository, text string) *rollback.CallError {
	return &rollback.CallError{
		System: "ecr", Op: action + " " + repository, Kind: rollback.Broken, Err: fmt.Errorf("%s", text),
		Fix: "something other than AWS may have answered: check HTTPS_PROXY, the VPN and AWS_ENDPOINT_URL",
	}
}
