// Package eks finds the API server of an EKS cluster and makes the tokens it takes, without the aws CLI: what
// `cluster: {eks: name, region}` needs.
package eks

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rollback-tools/rollback/internal/awsconfig"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// Config names a cluster, and the identity that asks for it and that its tokens stand for. Empty fields but Name are left
// to the SDK's own sources.
type Config struct {
	Name, Region, Profile string
	RoleARN, ExternalID   string
}

// patience is how long a call may take with all its repetitions.
const patience = 20 * time.Second

// Access is how to reach one cluster. Copies share their token.
type Access struct {
	Name, Region string
	Server       string // https URL of the API server
	CA           []byte // PEM certificates its certificate is checked against
	ARN          string // of the cluster
	Account      string // that owns the cluster
	Version      string // of Kubernetes: "1.34"
	// Private is set when the API server has no public endpoint: it can only be reached from inside its network.
	Private bool

	tokens *tokens
}

// Describe asks EKS for the cluster. It takes one call, and the right eks:DescribeCluster.
func Describe(ctx context.Context, c Config) (Access, error) {
	if err := c.validate(); err != nil {
		return Access{}, err
	}
	cfg, err := awsconfig.Load(ctx, awsconfig.Options{Region: c.Region, Profile: c.Profile, RoleARN: c.RoleARN, ExternalID: c.ExternalID})
	if err != nil {
		return Access{}, err
	}
	return describe(ctx, cfg, c.Name)
}

// letters are those a cluster's name is made of; the first is neither - nor _
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html).
const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

func (c Config) validate() error {
	if c.Name == "" || len(c.Name) > 100 || strings.Trim(c.Name, letters) != "" || strings.ContainsAny(c.Name[:1], "-_") {
		return rollback.UsageErrorf("cluster %q is not the name of an EKS cluster: want letters, digits, - and _, at most 100", c.Name)
	}
	return nil
}

func describe(ctx context.Context, cfg aws.Config, name string) (Access, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	op := "DescribeCluster " + name
	found, err := ask(ctx, cfg, name)
	if err != nil {
		err = awsconfig.CallError("eks", op, err)
		var e *rollback.CallError
		if errors.As(err, &e) {
			switch e.Kind {
			case rollback.NotFound:
				e.Fix = fmt.Sprintf("check the cluster's name, region and account: there is no %s in %s for these credentials", name, cfg.Region)
			case rollback.Denied:
				e.Fix = fmt.Sprintf("allow eks:DescribeCluster on cluster/%s in %s", name, cfg.Region)
			}
		}
		return Access{}, err
	}
	a, err := read(found, name, cfg.Region)
	if err != nil {
		return Access{}, err
	}
	a.tokens = newTokens(name, cfg)
	return a, nil
}

// read checks what EKS says about the cluster. Nothing of it is used unless all of it makes sense: it decides which
// production is touched.
func read(c *description, name, region string) (Access, error) {
	op := "DescribeCluster " + name
	broken := func(format string, args ...any) (Access, error) {
		return Access{}, &rollback.CallError{System: "eks", Op: op, Kind: rollback.Broken, Err: fmt.Errorf(format, args...)}
	}
	if c == nil {
		return broken("the answer holds no cluster")
	}
	if c.Name != name {
		return broken("asked for %s, the answer is about %q", name, c.Name)
	}
	a := Access{Name: name, Region: region, Server: c.Endpoint, ARN: c.ARN, Version: c.Version}
	if a.Server == "" { // a cluster that is being made, or could not be made
		return Access{}, &rollback.CallError{System: "eks", Op: op, Kind: rollback.Rejected, Code: c.Status,
			Err: errors.New("the cluster has no API endpoint"), Fix: "wait until the cluster is ACTIVE"}
	}
	if u, err := url.Parse(a.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return broken("the API endpoint %q is not an https URL", a.Server)
	}
	id, err := arn.Parse(a.ARN)
	if err != nil || id.Service != "eks" || id.Region != region || id.Resource != "cluster/"+name {
		return broken("the ARN %q is not that of cluster %s in %s", a.ARN, name, region)
	}
	a.Account = id.AccountID
	if c.CertificateAuthority.Data == "" {
		return broken("the answer holds no certificate authority")
	}
	if a.CA, err = certificates(c.CertificateAuthority.Data); err != nil {
		return broken("the certificate authority: %w", err)
	}
	if v := c.ResourcesVPCConfig; v != nil {
		a.Private = !v.EndpointPublicAccess
	}
	return a, nil
}

// certificates decodes EKS's certificate authority: PEM in base64.
func certificates(s string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, errors.New("not base64")
	}
	if block, _ := pem.Decode(raw); block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	return raw, nil
}

// Token returns a bearer token for the API server and until when it may be used. It is kept for 10 minutes; asking
// before every request costs nothing. Making one needs no network, unless the credentials behind it must be renewed.
// When that fails, the token at hand is returned for as long as it is good.
func (a Access) Token(ctx context.Context) (string, time.Time, error) {
	if a.tokens == nil {
		return "", time.Time{}, &rollback.CallError{System: "eks", Op: "make a token", Kind: rollback.Expired,
			Err: errors.New("the cluster has not been described")}
	}
	return a.tokens.get(ctx)
}

func newTokens(name string, cfg aws.Config) *tokens {
	client := sts.NewPresignClient(sts.NewFromConfig(cfg))
	return &tokens{turn: make(chan struct{}, 1), sign: func(ctx context.Context) (signed, error) {
		return presign(ctx, client, cfg.Credentials, name)
	}}
}
