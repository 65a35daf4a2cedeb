// Package kubeworld is a real Kubernetes in one process: etcd, the API server, the scheduler, the controllers of
// Deployments, ReplicaSets, StatefulSets, DaemonSets and nodes and the garbage collector are those of the Kubernetes project,
// unmodified. Only the nodes are stood in for: they have no containers, but ask the registry which digest a tag names when
// a container would start, and report, fail and write events and logs as a kubelet does.
package kubeworld

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/rollback-tools/rollback/test/e2e/control"
)

// Version is what the API server says it is. The linker sets it: -X k8s.io/component-base/version.gitVersion=v1.37.2;
// clients cannot read what it is otherwise.
func Version() string { return version.Get().GitVersion }

// Options describe a World.
type Options struct {
	// Dir is where etcd and the certificates are kept; it must exist, and the caller removes it.
	Dir string
	// Nodes are the names of the nodes.
	Nodes []string
}

// World is a running cluster.
type World struct {
	Ready control.Ready

	etcd    *embed.Etcd
	nodes   *nodes
	servers []*http.Server
	done    chan error // of the API server
	cancel  context.CancelFunc
}

// started bounds how long each part may take to come up.
const started = 2 * time.Minute

// Start brings a cluster up and returns when it answers and its nodes are ready. It ends with ctx, or by Close.
func Start(ctx context.Context, o Options) (w *World, err error) {
	ctx, cancel := context.WithCancel(ctx)
	w = &World{cancel: cancel, done: make(chan error, 1)}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	etcd, err := w.startEtcd(ctx, filepath.Join(o.Dir, "etcd"))
	if err != nil {
		return w, fmt.Errorf("etcd: %w", err)
	}
	config, err := w.startAPI(ctx, o.Dir, etcd)
	if err != nil {
		return w, fmt.Errorf("kube-apiserver: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return w, err
	}
	if w.nodes, err = newNodes(ctx, client, o.Nodes); err != nil {
		return w, fmt.Errorf("nodes: %w", err)
	}
	if err := startControllers(ctx, config, client, w.nodes); err != nil {
		return w, fmt.Errorf("controllers: %w", err)
	}
	if w.Ready.Control, err = w.serve(w.nodes.handler()); err != nil {
		return w, err
	}
	return w, nil
}

// Close ends everything and waits for the API server and etcd.
func (w *World) Close() {
	w.cancel()
	for _, s := range w.servers {
		_ = s.Close()
	}
	if w.nodes != nil {
		w.nodes.close()
	}
	if w.Ready.API != "" {
		select {
		case <-w.done:
		case <-time.After(10 * time.Second):
		}
	}
	if w.etcd != nil {
		w.etcd.Close()
	}
}

// free are n free ports on 127.0.0.1.
func free(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all of them at the end, so that they differ
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (w *World) startEtcd(ctx context.Context, dir string) (string, error) {
	ports, err := free(2)
	if err != nil {
		return "", err
	}
	at := func(port int) url.URL { return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)} }
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.UnsafeNoFsync = dir, "error", true
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{at(ports[0])}, []url.URL{at(ports[0])}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{at(ports[1])}, []url.URL{at(ports[1])}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	if w.etcd, err = embed.StartEtcd(c); err != nil {
		return "", err
	}
	select {
	case <-w.etcd.Server.ReadyNotify():
	case err := <-w.etcd.Err():
		return "", err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-time.After(started):
		return "", errors.New("not ready")
	}
	u := at(ports[0])
	return u.String(), nil
}

// startAPI starts the API server with RBAC and one administrator, and waits for it to be ready.
func (w *World) startAPI(ctx context.Context, dir, etcd string) (*rest.Config, error) {
	ports, err := free(1)
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "serviceaccount.key")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, fmt.Appendf(nil, "%s,admin,admin,\"system:masters\"\n", token), 0o600); err != nil {
		return nil, err
	}
	certificates := filepath.Join(dir, "certificates")
	o := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, f := range o.Flags().FlagSets {
		flags.AddFlagSet(f)
	}
	if err := flags.Parse([]string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[0]), "--cert-dir=" + certificates,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + keyFile, "--service-account-signing-key-file=" + keyFile,
		"--authorization-mode=RBAC", "--token-auth-file=" + tokens, "--service-cluster-ip-range=10.0.0.0/24",
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none", // nobody makes the default accounts here
		"--kubelet-preferred-address-types=InternalIP",
	}); err != nil {
		return nil, err
	}
	complete, err := o.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(complete.Validate()...); err != nil {
		return nil, err
	}
	w.Ready.API = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	w.Ready.Token = token
	go func() { w.done <- app.Run(ctx, complete) }()
	config := &rest.Config{Host: w.Ready.API, BearerToken: token, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"}}
	deadline := time.After(started)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last := error(nil); ; {
		if ca, err := os.ReadFile(filepath.Join(certificates, "apiserver.crt")); err == nil {
			w.Ready.CA, config.CAData = string(ca), ca
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return nil, err
			}
			if _, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); last == nil {
				return config, nil
			}
		}
		select {
		case <-tick.C:
		case err := <-w.done:
			w.done <- err
			return nil, fmt.Errorf("ended: %w", err)
		case <-deadline:
			return nil, fmt.Errorf("not ready after %s: %w", started, last)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (w *World) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	w.servers = append(w.servers, s)
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), nil
}
