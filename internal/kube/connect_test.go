package kube

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func token(s string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return s, nil }
}

// Every way to not say which cluster is refused before any call, as a mistake in the configuration.
func TestNewRefuses(t *testing.T) {
	// These look as if we ran in a pod of some cluster, which must never be taken by itself.
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	file := kubeconfig(t, "https://api.example.com")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("clusters: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		config Config
		says   []string
	}{
		{"nothing at all", Config{}, []string{"no kubeconfig", "does not exist"}},
		{"no context", Config{Kubeconfig: file}, []string{"no cluster context given", "prod, staging", file}},
		{"unknown context", Config{Kubeconfig: file, Context: "prdo"}, []string{`no context "prdo"`, "prod, staging"}},
		{"missing file", Config{Kubeconfig: "/nowhere/kubeconfig", Context: "prod"}, []string{"/nowhere/kubeconfig does not exist"}},
		{"broken file", Config{Kubeconfig: broken, Context: "prod"}, []string{"kubeconfig", broken}},
		{"context of a missing cluster", Config{Kubeconfig: file, Context: "dangling"}, []string{"dangling", "gone"}},
		{"context of a missing user", Config{Kubeconfig: file, Context: "nobody"}, []string{"nobody", `"grace"`}},
		{"cluster without a server", Config{Kubeconfig: file, Context: "empty"}, []string{"empty", "no server"}},
		{"another server", Config{Kubeconfig: file, Context: "prod", Server: "https://other.example.com"}, []string{"wrong cluster", "https://api.example.com", "https://other.example.com"}},
		{"a server that is none", Config{Kubeconfig: file, Context: "prod", Server: "ftp://x"}, []string{"cluster.server"}},
		{"in-cluster and a context", Config{InCluster: true, Context: "prod"}, []string{"not both"}},
		{"in-cluster and EKS", Config{InCluster: true, Host: "https://eks.example.com"}, []string{"not both"}},
		{"in-cluster outside of one", Config{InCluster: true}, []string{"in-cluster was asked for"}},
		{"EKS without tokens", Config{Host: "https://eks.example.com", Context: "eks:prod"}, []string{"eks:prod", "tokens"}},
		{"EKS in the clear", Config{Host: "http://eks.example.com", Token: token("t")}, []string{"not https"}},
		{"EKS with a broken CA", Config{Host: "https://eks.example.com", Token: token("t"), CA: []byte("x")}, []string{"not PEM"}},
		{"EKS without a host", Config{Host: "https://", Token: token("t")}, []string{"endpoint"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, err := New(c.config)
			if err == nil {
				t.Fatalf("connected to %s", cluster.server)
			}
			if rollback.ExitOf(err) != rollback.Usage {
				t.Errorf("exit %d: %v", rollback.ExitOf(err), err)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
	t.Setenv("KUBECONFIG", "/missing/one:/missing/two")
	if _, err := New(Config{Context: "prod"}); err == nil || !strings.Contains(err.Error(), "/missing/one, /missing/two") {
		t.Errorf("missing $KUBECONFIG: %v", err)
	}
	t.Setenv("KUBECONFIG", "/missing/one:"+file)
	if c, err := New(Config{Context: "prod", Server: "api.example.com:443/"}); err != nil || c.server != "https://api.example.com" {
		t.Errorf("second file of $KUBECONFIG: %v", err)
	}
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://API.example.com:443/":   "https://api.example.com",
		"api.example.com":                "https://api.example.com",
		"https://api.example.com:6443":   "https://api.example.com:6443",
		"http://127.0.0.1:80":            "http://127.0.0.1",
		"https://proxy.example.com/k8s/": "https://proxy.example.com/k8s",
		"https://[::1]:443":              "https://[::1]",
		"https://[::1]:6443":             "https://[::1]:6443",
	} {
		if got, err := normalise(in); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ftp://x", "https://", "https://a b", "http://%zz"} {
		if got, err := normalise(in); err == nil {
			t.Errorf("%q: %q, want an error", in, got)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	s := newStub(t)
	c := at(t, s.url)
	got, err := c.Identity(ctxFor(t))
	want := rollback.ClusterIdentity{Context: "prod", Server: s.url, UID: "uid-of-the-cluster", User: "ada"}
	if err != nil || got != want {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	if ua := s.lastRequest().UserAgent(); ua != "rollback/1.2.3" {
		t.Errorf("user agent %q", ua)
	}

	c.config.UID = "uid-of-the-cluster"
	if _, err := c.Identity(ctxFor(t)); err != nil {
		t.Errorf("the right UID: %v", err)
	}
	c.config.UID = "another"
	if _, err := c.Identity(ctxFor(t)); rollback.ExitOf(err) != rollback.Usage || !strings.Contains(err.Error(), "uid-of-the-cluster") || !strings.Contains(err.Error(), "another") {
		t.Errorf("the wrong UID: %v", err)
	}
	s.Inject(forbidden("GET namespaces"))
	s.Inject(forbidden("POST selfsubjectreviews"))
	if _, err := c.Identity(ctxFor(t)); rollback.ExitOf(err) != rollback.Usage || rollback.KindOf(err) != rollback.Denied {
		t.Errorf("a UID that can't be compared: %v", err)
	}
	c.config.UID = ""
	if got, err := c.Identity(ctxFor(t)); err != nil || got.UID != "" || got.User != "" {
		t.Errorf("without the rights: %+v, %v", got, err)
	}
}

// eksLike serves over TLS and takes only the given tokens.
func eksLike(t *testing.T, accept ...string) (host string, ca []byte, asked *[]string) {
	t.Helper()
	s := newStub(t)
	asked = &[]string{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		*asked = append(*asked, r.Header.Get("Authorization"))
		s.mu.Unlock()
		for _, token := range accept {
			if r.Header.Get("Authorization") == "Bearer "+token {
				s.ServeHTTP(w, r)
				return
			}
		}
		status(w, 401, "Unauthorized", "Unauthorized")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), asked
}

func TestTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	host, ca, asked := eksLike(t, "fresh")
	tokens := []string{"stale", "fresh", "fresh"}
	c, err := New(Config{Host: host, CA: ca, Context: "eks:prod", Token: func(context.Context) (string, error) {
		next := tokens[0]
		tokens = tokens[1:]
		return next, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	// A write, whose body must be there the second time as well.
	if _, err := c.ConfigMaps("prod").Put(ctxFor(t), "rollback-payments", nil, map[string]string{"a": "b"}, ""); err != nil {
		t.Fatal(err)
	}
	data, _, found, err := c.ConfigMaps("prod").Get(ctxFor(t), "rollback-payments")
	if err != nil || !found || data["a"] != "b" {
		t.Errorf("%v %v %v", data, found, err)
	}
	if len(*asked) != 3 || (*asked)[0] != "Bearer stale" || (*asked)[1] != "Bearer fresh" {
		t.Errorf("sent %q", *asked)
	}
}

func TestTokenThatIsRefused(t *testing.T) {
	t.Parallel()
	host, ca, asked := eksLike(t, "fresh")
	for name, c := range map[string]struct {
		token func(context.Context) (string, error)
		kind  rollback.CallKind
		fix   string
	}{
		"the same again": {token("stale"), rollback.Expired, "access entry in eks:prod"},
		"none to be had": {func(context.Context) (string, error) {
			return "", &rollback.CallError{System: "sts", Kind: rollback.Unreachable, Fix: "check the VPN"}
		}, rollback.Unreachable, "check the VPN"},
		"a plain error": {func(context.Context) (string, error) { return "", os.ErrNotExist }, rollback.Expired, "AWS credentials"},
	} {
		cluster, err := New(Config{Host: host, CA: ca, Context: "eks:prod", Token: c.token})
		if err != nil {
			t.Fatal(err)
		}
		impatient(cluster)
		*asked = nil
		_, err = cluster.get(ctxFor(t), namespaces, "", "prod")
		if rollback.KindOf(err) != c.kind || !strings.Contains(rollback.FixOf(err), c.fix) {
			t.Errorf("%s: %v, fix %q", name, err, rollback.FixOf(err))
		}
		if strings.Contains(err.Error(), "stale") {
			t.Errorf("%s: %q holds the token", name, err)
		}
		if len(*asked) > 1 {
			t.Errorf("%s: asked %d times", name, len(*asked))
		}
	}
}

func TestCertificateThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	host, _, _ := eksLike(t, "fresh")
	c, err := New(Config{Host: host, Context: "eks:prod", Token: token("fresh")})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = nil // a repetition would panic
	_, err = c.get(ctxFor(t), namespaces, "", "prod")
	if rollback.KindOf(err) != rollback.Unreachable || !strings.Contains(rollback.FixOf(err), "certificate") || !strings.Contains(err.Error(), host) {
		t.Errorf("%v, fix %q", err, rollback.FixOf(err))
	}
	plain := newStub(t)
	c, err = New(Config{Host: "https" + strings.TrimPrefix(plain.url, "http"), Context: "eks:prod", Token: token("fresh")})
	if err != nil {
		t.Fatal(err)
	}
	impatient(c)
	if _, err = c.get(ctxFor(t), namespaces, "", "prod"); rollback.KindOf(err) != rollback.Unreachable || !strings.Contains(rollback.FixOf(err), "TLS") {
		t.Errorf("plain HTTP behind https: %v, fix %q", err, rollback.FixOf(err))
	}
}

// Credentials never follow a redirect, not even on the same host.
func TestRedirectsAreRefused(t *testing.T) {
	t.Parallel()
	var leaked []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
	}))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL+"/login", http.StatusFound))
	t.Cleanup(s.Close)
	c, err := New(Config{Host: s.URL, Context: "eks:prod", Token: token("secret")})
	if err != nil {
		t.Fatal(err)
	}
	impatient(c)
	_, err = c.Identity(ctxFor(t))
	if rollback.KindOf(err) != rollback.Broken || !strings.Contains(err.Error(), strings.TrimPrefix(other.URL, "http://")) {
		t.Errorf("%v", err)
	}
	if len(leaked) > 0 {
		t.Errorf("the other host got %q", leaked)
	}
}

// execConfig is a kubeconfig whose user is a credential plugin.
func execConfig(t *testing.T, server string, ca []byte, script string) string {
	t.Helper()
	dir := t.TempDir()
	plugin := filepath.Join(dir, "plugin")
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kubeconfig")
	text := `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"` + server + `","certificate-authority":"ca.pem"}}],
		"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"` + plugin + `","interactiveMode":"Never"}}}],
		"contexts":[{"name":"prod","context":{"cluster":"c","user":"u"}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A plugin whose first token is stale: its second is used without the caller noticing.
func TestCredentialPlugin(t *testing.T) {
	t.Parallel()
	host, ca, asked := eksLike(t, "fresh")
	state := filepath.Join(t.TempDir(), "called")
	c, err := New(Config{Context: "prod", Kubeconfig: execConfig(t, host, ca, `
token=stale
[ -e `+state+` ] && token=fresh
: > `+state+`
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$token'"}}'
`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.get(ctxFor(t), namespaces, "", "prod"); err != nil {
		t.Errorf("%v; sent %q", err, *asked)
	}

	c, err = New(Config{Context: "prod", Kubeconfig: execConfig(t, host, ca, "exit 3\n")})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = nil
	_, err = c.get(ctxFor(t), namespaces, "", "prod")
	if rollback.KindOf(err) != rollback.Expired || !strings.Contains(rollback.FixOf(err), "credential plugin") {
		t.Errorf("a plugin that fails: %v, fix %q", err, rollback.FixOf(err))
	}

	c, err = New(Config{Context: "prod", CallTimeout: 100e6, Kubeconfig: execConfig(t, host, ca, "read x < "+fifo(t)+"\n")})
	if err != nil {
		t.Fatal(err)
	}
	impatient(c)
	if _, err = c.get(ctxFor(t), namespaces, "", "prod"); rollback.KindOf(err) != rollback.Unreachable {
		t.Errorf("a plugin that hangs: %v", err)
	}
}
