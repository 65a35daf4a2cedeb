package eks

// The one call: GET /clusters/{name}, signed
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html). The SDK's service/eks would add 0.6 MB to
// the binary and a millisecond to every start. The SDK's parts that the ECR adapter links anyway do the rest here: signature
// and retries.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	smithy "github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// description is what we read of EKS's answer.
type description struct {
	Name                 string `json:"name"`
	ARN                  string `json:"arn"`
	Endpoint             string `json:"endpoint"`
	Status               string `json:"status"`
	Version              string `json:"version"`
	CertificateAuthority struct {
		Data string `json:"data"`
	} `json:"certificateAuthority"`
	ResourcesVPCConfig *struct {
		EndpointPublicAccess bool `json:"endpointPublicAccess"`
	} `json:"resourcesVpcConfig"`
}

// ask sends the request as often as cfg's retry rule says. Its errors are the SDK's.
func ask(ctx context.Context, cfg aws.Config, name string) (*description, error) {
	base, err := endpoint(ctx, cfg)
	if err != nil {
		return nil, err
	}
	target := base.JoinPath("clusters", name).String()
	once := middleware.FinalizeHandlerFunc(func(ctx context.Context, _ middleware.FinalizeInput) (out middleware.FinalizeOutput, _ middleware.Metadata, err error) {
		out.Result, err = send(ctx, cfg, target)
		return out, middleware.Metadata{}, err
	})
	same := func(request any) any { return request } // send makes a new request each time
	out, _, err := retry.NewAttemptMiddleware(cfg.Retryer(), same).HandleFinalize(ctx, middleware.FinalizeInput{}, once)
	if err != nil {
		return nil, err
	}
	return out.Result.(*description), nil
}

// noBody is the SHA-256 of nothing, in hexadecimal.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// longest is how much of an answer is read, in bytes; real ones have about 2 KB.
const longest = 1 << 20

func send(ctx context.Context, cfg aws.Config, target string) (*description, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "rollback")
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, noBody, "eks", cfg.Region, time.Now()); err != nil {
		return nil, err
	}
	resp, err := cfg.HTTPClient.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &smithy.CanceledError{Err: ctx.Err()}
		}
		return nil, &smithyhttp.RequestSendError{Err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err == nil && resp.StatusCode/100 == 2 {
		var answer struct {
			Cluster *description `json:"cluster"`
		}
		if err = json.Unmarshal(body, &answer); err == nil {
			return answer.Cluster, nil
		}
	}
	if err != nil {
		err = &smithy.DeserializationError{Err: err}
	} else {
		err = refusal(resp.Header, body)
	}
	return nil, &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: err}
}

// refusal reads an answer that says no: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
func refusal(header http.Header, body []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Code    any    `json:"code"` // where it is no text it is no code either
		Message string `json:"message"`
	}
	code := header.Get("X-Amzn-Errortype")
	if err := json.Unmarshal(body, &said); err != nil && len(body) > 0 && code == "" {
		return &smithy.DeserializationError{Err: err}
	}
	if code == "" {
		code = said.Type
	}
	if code == "" {
		code, _ = said.Code.(string)
	}
	code, _, _ = strings.Cut(code, ":") // "Name:http://..."
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name // "namespace#Name"
	}
	if code == "" {
		code = "UnknownError"
	}
	return &smithy.GenericAPIError{Code: code, Message: said.Message}
}

// domains are those of the partitions, by what the names of their regions begin with; all others are in amazonaws.com
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html).
var domains = []struct{ region, domain string }{
	{"cn-", "amazonaws.com.cn"},
	{"eusc-", "amazonaws.eu"},
	{"us-iso-", "c2s.ic.gov"},
	{"us-isob-", "sc2s.sgov.gov"},
	{"us-isof-", "csp.hci.ic.gov"},
	{"eu-isoe-", "cloud.adc-e.uk"},
}

// host is EKS's in a region (https://docs.aws.amazon.com/general/latest/gr/eks.html).
func host(region string, fips bool) string {
	domain := "amazonaws.com"
	for _, d := range domains {
		if strings.HasPrefix(region, d.region) {
			domain = d.domain
		}
	}
	service := "eks"
	switch {
	case !fips, strings.HasPrefix(region, "us-gov-"): // GovCloud's only host is a FIPS one
	case domain == "amazonaws.com":
		service = "fips.eks"
	default:
		service = "eks-fips"
	}
	return service + "." + region + "." + domain
}

// endpoint is where to ask, in the order that AWS gives: AWS_ENDPOINT_URL_EKS, AWS_ENDPOINT_URL, the profile's services
// section, its endpoint_url, the region's host (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
func endpoint(ctx context.Context, cfg aws.Config) (*url.URL, error) {
	text := aws.ToString(cfg.BaseEndpoint) // AWS_ENDPOINT_URL or endpoint_url
	if os.Getenv("AWS_ENDPOINT_URL_EKS") != "" || os.Getenv("AWS_ENDPOINT_URL") == "" {
		if own := ownEndpoint(ctx, cfg); own != "" {
			text = own
		}
	}
	if text == "" {
		if strings.Trim(cfg.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" { // it would name another host
			return nil, fmt.Errorf("region %q is not the name of a region", cfg.Region)
		}
		return &url.URL{Scheme: "https", Host: host(cfg.Region, fips(ctx, cfg)), Path: "/"}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, errors.New("the endpoint configured for EKS (AWS_ENDPOINT_URL_EKS, AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config) is not an http or https URL")
	}
	return u, nil
}

// ownEndpoint is the endpoint configured for EKS alone, unless AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is set.
func ownEndpoint(ctx context.Context, cfg aws.Config) string {
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error)
		}); ok {
			if ignore, found, err := s.GetIgnoreConfiguredEndpoints(ctx); err == nil && found && ignore {
				return ""
			}
		}
	}
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetServiceBaseEndpoint(context.Context, string) (string, bool, error)
		}); ok {
			if u, found, err := s.GetServiceBaseEndpoint(ctx, "EKS"); err == nil && found {
				return u
			}
		}
	}
	return ""
}

// fips tells whether AWS_USE_FIPS_ENDPOINT or the profile asks for FIPS endpoints.
func fips(ctx context.Context, cfg aws.Config) bool {
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error)
		}); ok {
			if state, found, err := s.GetUseFIPSEndpoint(ctx); err == nil && found {
				return state == aws.FIPSEndpointStateEnabled
			}
		}
	}
	return false
}
