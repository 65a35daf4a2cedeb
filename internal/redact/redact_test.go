package redact_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/redact"
)

func TestSecretName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"GITHUB_TOKEN": true, "TOKEN": true, "github_token": true, "SLACK_BOT_TOKEN": true,
		"AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true, "AWS_ACCESS_KEY_ID": true,
		"CLIENT_SECRET": true, "APP_SECRET_V2": true, "DB_PASSWORD": true, "DB_PASSWORD_OLD": true, "API_KEY": true,
		"REGISTRY_PSW": true, "SLACK_WEBHOOK_URL": true, "GITHUB_PAT": true, "DOCKER_CREDENTIALS": true,
		"PATH": false, "HOME": false, "COMPASS": false, "MONKEY": false, "TOKENIZER": false, "ROLLBACK_REASON": false,
		"SONAR_PROJECT_KEY": false, "CACHE_KEY": false, "SSH_PUBLIC_KEY": false, "DB_SECRET_NAME": false, "ROLLBACK_REGISTRY_PASSWORD_ENV": false, "AWS_REGION": false,
	} {
		if got := redact.SecretName(name); got != want {
			t.Errorf("SecretName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestStringRemovesValues(t *testing.T) {
	t.Parallel()
	r := redact.New([]string{
		"DB_PASSWORD=s3cr3t/ü?&\"x", "GITHUB_TOKEN= hunter2hunter \n", "SHORT_TOKEN=abc", "PATH=/usr/bin",
		"ONE_KEY=abcdef", "TWO_KEY=defghi", "SSH_KEY=-----BEGIN KEY-----\nfirstlinefirstline\nsecondline\n-----END KEY-----",
		"BROKEN", "EMPTY_TOKEN=",
	})
	password := `s3cr3t/ü?&"x`
	for _, c := range []struct{ in, want string }{
		{"nothing to see in /usr/bin abc", "nothing to see in /usr/bin abc"},
		{"login with " + password + ".", "login with ***."},
		{"twice hunter2hunterhunter2hunter", "twice ***"},
		{"url ?p=" + url.QueryEscape(password), "url ?p=***"},
		{"path /" + url.PathEscape(password), "path /***"},
		{"basic " + base64.StdEncoding.EncodeToString([]byte(password)), "basic ***"},
		{fmt.Sprintf("json {%q:%q}", "p", password), `json {"p":"***"}`},
		{"overlap abcdefghi end", "overlap *** end"},
		{"a line of the key: firstlinefirstline", "a line of the key: ***"},
	} {
		if got := r.String(c.in); got != c.want {
			t.Errorf("String(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestStringRemovesPatterns(t *testing.T) {
	t.Parallel()
	var r *redact.Redactor // knows no values
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
	for _, c := range []struct{ in, want string }{
		{"Authorization: Bearer abc.def", "Authorization: ***"},
		{"authorization: Basic dXNlcjpwYXNz\nHost: x", "authorization: ***\nHost: x"},
		{`map[Authorization:[AWS4-HMAC-SHA256 Credential=AKIA] Host:[x]]`, `map[Authorization:[***] Host:[x]]`},
		{"may require authorization: authorization failed: no basic auth credentials (12 times)", "may require authorization: authorization failed: no basic auth credentials (12 times)"},
		{"may require authorization: server message: insufficient_scope: authorization failed\nx", "may require authorization: server message: insufficient_scope: authorization failed\nx"},
		{"authorization: authorization failed: no basic auth credentials, abc", "authorization: ***"},
		{"authorization: authorization failed: no basic auth credentials (abc)", "authorization: ***"},
		{`{"Authorization":"Basic abc","x":1}`, `{"Authorization":"***","x":1}`},
		{"X-Amz-Security-Token: FwoGZXIvYXdzE", "X-Amz-Security-Token: ***"},
		{"curl -H 'PRIVATE-TOKEN: glpat-1' x", "curl -H 'PRIVATE-TOKEN: ***' x"},
		{"sent Bearer abcdefg", "sent Bearer abcdefg"},
		{"sent Bearer abcd3fg here", "sent Bearer *** here"},
		{"bearer authentication is required", "bearer authentication is required"},
		{"key AKIAIOSFODNN7EXAMPLE used", "key *** used"},
		{"key ASIAIOSFODNN7EXAMPLE.", "key ***."},
		{"ghp_0123456789abcdefghij0123456789abcdef", "***"},
		{"ghs_0123456789abcdefghij0123456789abcdef!", "***!"},
		{"github_pat_11ABCDEFG0_abcdefghijklmnop", "***"},
		{"xoxb-1234567890-abcdef", "***"},
		{"token k8s-aws-v1.aHR0cHM6Ly9zdHM_x-y=", "token ***"},
		{"jwt " + jwt + " end", "jwt *** end"},
		{"https://user:pa@ss@git.acme.example/x", "https://***@git.acme.example/x"},
		{"https://sometoken@git.acme.example/x", "https://***@git.acme.example/x"},
		{"ssh://git@github.com/acme/web", "ssh://git@github.com/acme/web"},
		{"https://acme.example/a@b", "https://acme.example/a@b"},
		{"https://s3/x?X-Amz-Date=1&X-Amz-Signature=abc&X-Amz-Security-Token=d%2Fe f", "https://s3/x?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Security-Token=*** f"},
		{"https://hooks.slack.com/services/T0/B0/xyz ok", "https://hooks.slack.com/services/*** ok"},
		{`{"authorizationToken":"QVdTOnBhc3M=","user":"m.lee"}`, `{"authorizationToken":"***","user":"m.lee"}`},
		{`{"auths":{"r":{"auth":"dXNlcjpwYXNz"}}}`, `{"auths":{"r":{"auth":"***"}}}`},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "***\nrest"},
		{"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		{"payments: 3f2a9c1 → 8be01d4, token expired", "payments: 3f2a9c1 → 8be01d4, token expired"},
	} {
		got := r.String(c.in)
		if got != c.want {
			t.Errorf("String(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
		if again := r.String(got); again != got {
			t.Errorf("a second pass changes %q to %q", got, again)
		}
	}
}

// An asterisk in a secret must not let marks and text make it up again.
func TestMarkIsInNoSecret(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"******", "ab***cd", "*a*#b~c", "*#~!?^|$@<>;,._-=+%&:/(){}[]'xX0123456789"} {
		r := redact.New([]string{"A_TOKEN=" + secret, "B_TOKEN=abcdef"})
		in := strings.Repeat(secret, 3) + "ab" + "abcdef" + "cd" + secret
		if out := r.String(in); strings.Contains(out, secret) {
			t.Errorf("secret %q is in %q", secret, out)
		}
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	r := redact.New([]string{"GITHUB_TOKEN=hunter2hunter", "CERT_KEY=ab\ncd\nefgh"})
	for _, c := range []struct {
		name   string
		chunks []string
		want   []string // what is out after each chunk; "!" as a chunk is Flush
		end    string
	}{
		{"line by line", []string{"one\n", "two\n"}, []string{"one\n", "one\ntwo\n"}, "one\ntwo\n"},
		{"half a line waits", []string{"on", "e\ntw"}, []string{"", "one\n"}, "one\ntw"},
		{"secret cut in two", []string{"x hunter2", "hunter y\n"}, []string{"", "x *** y\n"}, "x *** y\n"},
		{"prompt", []string{"type payments: ", "!"}, []string{"", "type payments: "}, "type payments: "},
		{"flush keeps a beginning", []string{"x hunt", "!", "er2hunter\n"}, []string{"", "x ", "x ***\n"}, "x ***\n"},
		{"beginning that was none", []string{"x hunt", "!", "ing\n"}, []string{"", "x ", "x hunting\n"}, "x hunting\n"},
		{"bar", []string{"\r1/3", "\r2/3"}, []string{"\r", "\r1/3\r"}, "\r1/3\r2/3"},
		{"secret of lines", []string{"x\nab\n", "cd\n", "efgh\n"}, []string{"x\n", "x\n", "x\n***\n"}, "x\n***\n"},
		{"lines that are no secret", []string{"ab\n", "no\n"}, []string{"", "ab\nno\n"}, "ab\nno\n"},
		{"private key", []string{"k\n-----BEGIN PRIVATE KEY-----\nMII\n", "-----END PRIVATE KEY-----\n."}, []string{"k\n", "k\n***\n"}, "k\n***\n."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			w := r.Writer(&out)
			for i, chunk := range c.chunks {
				var err error
				n := len(chunk)
				if chunk == "!" {
					err = w.Flush()
				} else {
					n, err = w.Write([]byte(chunk))
				}
				if err != nil || n != len(chunk) {
					t.Fatalf("chunk %d: n %d, err %v", i, n, err)
				}
				if out.String() != c.want[i] {
					t.Errorf("after chunk %d: %q, want %q", i, out.String(), c.want[i])
				}
			}
			if err := w.Close(); err != nil || out.String() != c.end {
				t.Errorf("at the end %q, err %v, want %q", out.String(), err, c.end)
			}
		})
	}
}

// The longest line held back is bounded, and so is a header that never ends.
func TestWriterDoesNotHoldEverything(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := redact.New([]string{"A_TOKEN=hunter2hunter"}).Writer(&out)
	for range 20 {
		_, _ = io.WriteString(w, strings.Repeat("word ", 500))
		_, _ = io.WriteString(w, "hunter2")
		_, _ = io.WriteString(w, "hunter ")
	}
	if out.Len() == 0 || strings.Contains(out.String(), "hunter") {
		t.Errorf("%d bytes out; secret in them: %v", out.Len(), strings.Contains(out.String(), "hunter"))
	}
	out.Reset()
	_, _ = io.WriteString(w, "\nCookie: ")
	for range 20 {
		_, _ = io.WriteString(w, strings.Repeat("a=b; ", 1000))
	}
	if !strings.Contains(out.String(), "Cookie: ***") {
		t.Errorf("an endless header is held back: %.60q", out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestWriterReportsErrors(t *testing.T) {
	t.Parallel()
	w := redact.New(nil).Writer(brokenWriter{})
	if n, err := w.Write([]byte("x\n")); err == nil || n != 0 {
		t.Errorf("n %d, err %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("text that could not be written is tried again: %v", err)
	}
}

func TestAttr(t *testing.T) {
	t.Parallel()
	r := redact.New([]string{"GITHUB_TOKEN=hunter2hunter"})
	type inner struct{ Where *string }
	where := "at hunter2hunter"
	for _, json := range []bool{true, false} {
		var out bytes.Buffer
		opts := &slog.HandlerOptions{ReplaceAttr: r.Attr, AddSource: true}
		log := slog.New(slog.NewTextHandler(&out, opts))
		if json {
			log = slog.New(slog.NewJSONHandler(&out, opts))
		}
		log.Info("message hunter2hunter", "text", "hunter2hunter", "err", errors.New("no hunter2hunter"), "bytes", []byte("hunter2hunter"),
			"list", []string{"hunter2hunter"}, "deep", inner{&where}, "token", "other", "n", 7, slog.Group("g", "in", "hunter2hunter"))
		got := out.String()
		if strings.Contains(got, "hunter2hunter") || strings.Contains(got, "other") {
			t.Errorf("secret in %s", got)
		}
		for _, want := range []string{"message ***", "INFO", "redact_test.go", "7"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in %s", want, got)
			}
		}
	}
}

func FuzzWriter(f *testing.F) {
	f.Add("hunter2hunter", "a\nb\nlonger", "x hunter2hunter y\na\nb\nlonger\nAuthorization: Bearer abc\n", uint64(3))
	f.Add("******", "***abc", "****** ***abc*** \r\n", uint64(1))
	f.Add("abcdef", "defghi", "abcdefghi abcdefabcdef", uint64(5))
	f.Add("https://u:hunter2@x", "hunter2@x/y", "https://u:hunter2@x/y", uint64(2))
	f.Add("aaaaaa", "aaaaaaaa\naaaaaa", strings.Repeat("a", 40)+"\n"+strings.Repeat("a", 9), uint64(7))
	f.Fuzz(func(t *testing.T, one, two, text string, cut uint64) {
		one, two = strings.TrimSpace(strings.ReplaceAll(one, "\x00", "")), strings.TrimSpace(strings.ReplaceAll(two, "\x00", ""))
		r := redact.New([]string{"ONE_TOKEN=" + one, "TWO_PASSWORD=" + two})
		text += one + text + two + one
		whole := r.String(text)
		var out bytes.Buffer
		w := r.Writer(&out)
		for rest := text; rest != ""; {
			cut = cut*6364136223846793005 + 1442695040888963407 // a linear congruential generator: chunks of 1 to 8
			n := min(len(rest), int(cut>>61)+1)
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			if cut>>40&7 == 0 {
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{one, two} {
			if len(secret) < redact.MinLength {
				continue
			}
			if strings.Contains(whole, secret) {
				t.Errorf("String lets %q through: %q", secret, whole)
			}
			if strings.Contains(out.String(), secret) {
				t.Errorf("Writer lets %q through: %q", secret, out.String())
			}
		}
	})
}
