package eks

// Tokens: a presigned sts:GetCallerIdentity, which the API server calls to learn who we are
// (https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster).

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/rollback-tools/rollback/internal/awsconfig"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	op = "presign GetCallerIdentity"
	// life is how long the API server takes a token after it was signed, whatever X-Amz-Expires says. It is 15 minutes; one
	// is left for clocks that differ, as the aws CLI does.
	life = 14 * time.Minute
	// keep is how long a token is used before a new one is made.
	keep = 10 * time.Minute
	// again is how soon a renewal that failed is tried again while the old token is good.
	again = 30 * time.Second
)

// signed is a token and how long its credentials live; until is zero for those that do not end.
type signed struct {
	token string
	at    time.Time
	until time.Time
}

// presign makes a token. It is signed for the regional host of STS, because the API server calls no other.
func presign(ctx context.Context, client *sts.PresignClient, credentials aws.CredentialsProvider, cluster string) (signed, error) {
	c, err := credentials.Retrieve(ctx)
	if err != nil {
		return signed{}, awsconfig.CallError("sts", op, err)
	}
	s := signed{at: time.Now()}
	if c.CanExpire {
		s.until = c.Expires
	}
	fixed := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
	req, err := client.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			o.Credentials = fixed // those whose end we know
			o.APIOptions = append(o.APIOptions,
				smithyhttp.SetHeaderValue("x-k8s-aws-id", cluster),
				smithyhttp.SetHeaderValue("X-Amz-Expires", "60"))
		})
	})
	if err != nil {
		return signed{}, awsconfig.CallError("sts", op, err)
	}
	s.token = "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(req.URL))
	return s, nil
}

// tokens keeps one token fresh for all who ask.
type tokens struct {
	sign func(context.Context) (signed, error)
	turn chan struct{} // holds one element while a token is being made

	mu      sync.Mutex
	token   string
	renew   time.Time // when to make the next one
	expires time.Time // when this one is no good any more
}

func (t *tokens) get(ctx context.Context) (string, time.Time, error) {
	if token, expires, ok := t.fresh(); ok {
		return token, expires, nil
	}
	select {
	case t.turn <- struct{}{}:
	default:
		if token, expires, ok := t.usable(); ok { // somebody else is at it, and need not be waited for
			return token, expires, nil
		}
		select {
		case t.turn <- struct{}{}:
		case <-ctx.Done():
			return "", time.Time{}, awsconfig.CallError("sts", op, ctx.Err())
		}
	}
	defer func() { <-t.turn }()
	if token, expires, ok := t.fresh(); ok { // somebody else has just made it
		return token, expires, nil
	}
	signing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := t.sign(signing)
	if err == nil && !s.until.IsZero() && !time.Now().Before(s.until) {
		err = &rollback.CallError{System: "sts", Op: op, Kind: rollback.Expired, Fix: "renew the AWS credentials",
			Err: fmt.Errorf("they expired at %s", s.until.UTC().Format(time.RFC3339))}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Wall clocks, because the monotonic one stands still while a laptop sleeps.
	now := time.Now().Round(0)
	if err != nil {
		if t.token != "" && now.Before(t.expires) {
			t.renew = now.Add(again)
			return t.token, t.expires, nil
		}
		return "", time.Time{}, err
	}
	at := s.at.Round(0)
	t.token, t.renew, t.expires = s.token, at.Add(keep), at.Add(life)
	if !s.until.IsZero() && s.until.Before(t.expires) { // the signature dies with its credentials
		t.expires = s.until.Round(0)
		t.renew = t.expires.Add(-min(time.Minute, t.expires.Sub(at)/2))
	}
	return t.token, t.expires, nil
}

// fresh is the token at hand unless it is time for a new one.
func (t *tokens) fresh() (string, time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.expires, time.Now().Round(0).Before(t.renew)
}

// usable is the token at hand unless it is no good any more.
func (t *tokens) usable() (string, time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.expires, time.Now().Round(0).Before(t.expires)
}
