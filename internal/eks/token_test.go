package eks

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func decode(t *testing.T, token string) *url.URL {
	t.Helper()
	raw, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok {
		t.Fatalf("token %q", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(raw)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// offline is a configuration that needs no network to sign.
func offline(c aws.CredentialsProvider) aws.Config {
	return aws.Config{Region: "eu-west-1", Credentials: c}
}

var static = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "session")

// The token is what the API server's authenticator accepts
// (https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go: host, parameters, headers).
func TestTokenForm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		token, until, err := newTokens("prod", offline(static)).get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u := decode(t, token)
		if u.Scheme != "https" || u.Host != "sts.eu-west-1.amazonaws.com" || u.Path != "/" {
			t.Errorf("signed for %s, want the regional host", u)
		}
		q := u.Query()
		for k, want := range map[string]string{
			"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Expires": "60",
			"X-Amz-SignedHeaders": "host;x-k8s-aws-id", "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
			"X-Amz-Security-Token": "session", "X-Amz-Date": time.Now().UTC().Format("20060102T150405Z"),
		} {
			if got := q[k]; len(got) != 1 || got[0] != want {
				t.Errorf("%s is %q, want %q", k, got, want)
			}
		}
		if !strings.HasPrefix(q.Get("X-Amz-Credential"), "AKIDEXAMPLE/") || len(q.Get("X-Amz-Signature")) != 64 {
			t.Errorf("credential %q, signature %q", q.Get("X-Amz-Credential"), q.Get("X-Amz-Signature"))
		}
		if got := time.Until(until); got != life {
			t.Errorf("good for %s, want %s", got, life)
		}
		// The name is what is signed: another cluster, another signature.
		other, _, err := newTokens("staging", offline(static)).get(t.Context())
		if err != nil || decode(t, other).Query().Get("X-Amz-Signature") == q.Get("X-Amz-Signature") {
			t.Errorf("the cluster's name is not in the signature (%v)", err)
		}
	})
}

func TestTokenIsKeptTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTokens("prod", offline(static))
		get := func() (string, time.Time) {
			t.Helper()
			token, until, err := k.get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !time.Now().Before(until) {
				t.Fatal("the token is no good any more")
			}
			return token, until
		}
		first, _ := get()
		time.Sleep(10*time.Minute - time.Second)
		if same, _ := get(); same != first {
			t.Error("renewed before ten minutes were over")
		}
		time.Sleep(time.Second)
		next, until := get()
		if next == first || time.Until(until) != life {
			t.Errorf("not renewed after ten minutes, or good for %s only", time.Until(until))
		}
	})
}

// changing are credentials that a test changes.
type changing struct {
	mu    sync.Mutex
	value aws.Credentials
	err   error
	asked int
}

func (c *changing) Retrieve(context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.value, c.err
}

func (c *changing) set(v aws.Credentials, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value, c.err = v, err
}

// While renewing fails the old token is used as long as it is good, and not a moment longer.
func TestTokenOutlivesARenewalThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changing{value: aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "x"}}
		k := newTokens("prod", offline(c))
		first, _, err := k.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.set(aws.Credentials{}, errors.New("the session is over"))
		time.Sleep(keep)
		asked := c.asked
		for range 20 { // half a minute of requests
			token, _, err := k.get(t.Context())
			if err != nil || token != first {
				t.Fatalf("%q, %v; want the old token", token, err)
			}
			time.Sleep(time.Second)
		}
		if c.asked != asked+1 {
			t.Errorf("renewed %d times within 20 seconds, want once", c.asked-asked)
		}
		time.Sleep(life)
		if _, _, err := k.get(t.Context()); rollback.KindOf(err) == "" {
			t.Errorf("got %v, want a call error", err)
		}
		c.set(aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "y"}, nil)
		if token, _, err := k.get(t.Context()); err != nil || token == first {
			t.Errorf("after logging in again: %v", err)
		}
	})
}

// A token dies with the credentials that signed it.
func TestTokenEndsWithItsCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ends := time.Now().Add(6 * time.Minute)
		c := &changing{value: aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "x", CanExpire: true, Expires: ends}}
		k := newTokens("prod", offline(c))
		first, until, err := k.get(t.Context())
		if err != nil || !until.Equal(ends) {
			t.Fatalf("good until %s, %v; want %s", until, err, ends)
		}
		later := ends.Add(time.Hour)
		c.set(aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "y", CanExpire: true, Expires: later}, nil)
		time.Sleep(5*time.Minute + time.Second)
		next, until, err := k.get(t.Context())
		if err != nil || next == first || time.Until(until) != life {
			t.Errorf("not renewed a minute before the credentials end: %v", err)
		}

		c.set(aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "z", CanExpire: true, Expires: time.Now()}, nil)
		_, _, err = newTokens("prod", offline(c)).get(t.Context())
		wantKind(t, err, rollback.Expired)
	})
}

// However many ask at once, one token is made; while it takes long, the old one is handed out at once.
func TestTokenIsMadeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int32
		k := &tokens{turn: make(chan struct{}, 1), sign: func(ctx context.Context) (signed, error) {
			n := made.Add(1)
			time.Sleep(3 * time.Second) // the network
			return signed{token: strings.Repeat("t", int(n)), at: time.Now()}, ctx.Err()
		}}
		ask := func(n int) (took time.Duration, tokens map[string]bool) {
			begun, tokens := time.Now(), map[string]bool{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					token, _, err := k.get(t.Context())
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					tokens[token] = true
				})
			}
			wg.Wait()
			return time.Since(begun), tokens
		}
		if took, got := ask(50); made.Load() != 1 || took != 3*time.Second || !got["t"] || len(got) != 1 {
			t.Errorf("%d made in %s for 50 who asked: %v", made.Load(), took, got)
		}
		time.Sleep(keep)
		if _, got := ask(50); made.Load() != 2 || !got["t"] || !got["tt"] {
			t.Errorf("%d made; those who need not wait should get the old token: %v", made.Load(), got)
		}

		// Nobody waits longer than his context.
		time.Sleep(time.Hour)
		go func() { _, _, _ = k.get(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := k.get(ctx)
		wantKind(t, err, rollback.Unreachable)
		time.Sleep(time.Minute)
	})
}

func TestTokenOfNothing(t *testing.T) {
	t.Parallel()
	_, _, err := Access{}.Token(t.Context())
	wantKind(t, err, rollback.Expired)
}
