package kube

// Which cluster: from the configuration to a client-go configuration, without guessing.

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // kubeconfig users of kind auth-provider oidc
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Config says which cluster to talk to, and how. Exactly one of three ways is used: Host (EKS), InCluster, or Context.
type Config struct {
	// Kubeconfig is the file to read; "" means $KUBECONFIG, then ~/.kube/config, as kubectl does.
	Kubeconfig string
	// Context is the context to use. It has no default: the current-context of a kubeconfig is whatever was used last.
	// With Host set it is only the name shown to people ("eks:prod").
	Context string
	// InCluster takes the service account of the pod this process runs in.
	InCluster bool
	// Server is the URL that the API server must have, "" to not compare it.
	Server string
	// UID is the UID that the kube-system namespace must have, "" to not compare it. Identity compares it.
	UID string
	// CallTimeout bounds one call, without its repetitions; 0 means DefaultCallTimeout.
	CallTimeout time.Duration
	// Version of this program, for the User-Agent.
	Version string

	// Host, CA (PEM) and Token reach a cluster without a kubeconfig. Token is asked before every call, so it should keep
	// a token while it is fresh; it is asked again when the server answers 401.
	Host  string
	CA    []byte
	Token func(context.Context) (string, error)
}

// login is where the credentials come from; it decides what a person does about a 401.
type login string

const (
	loginFile   login = "kubeconfig"
	loginPlugin login = "credential plugin"
	loginEKS    login = "eks"
	loginPod    login = "service account"
)

type connection struct {
	rest   *rest.Config
	shown  string
	server string
	login  login
}

func connect(c Config) (connection, error) {
	var found connection
	var err error
	switch {
	case c.Host != "" && c.InCluster:
		return found, rollback.UsageErrorf("cluster: give either an EKS cluster or in-cluster, not both")
	case c.Host != "":
		found, err = byHost(c)
	case c.InCluster && c.Context != "":
		return found, rollback.UsageErrorf("cluster: give either the context %q or in-cluster, not both", c.Context)
	case c.InCluster:
		found, err = inCluster()
	default:
		found, err = byContext(c)
	}
	if err != nil {
		return connection{}, err
	}
	found.server, err = normalise(found.rest.Host)
	if err != nil {
		return connection{}, rollback.UsageErrorf("cluster %s: server %w", found.shown, err)
	}
	if c.Server != "" {
		want, err := normalise(c.Server)
		if err != nil {
			return connection{}, rollback.UsageErrorf("cluster.server: %w", err)
		}
		if want != found.server {
			return connection{}, rollback.UsageErrorf("wrong cluster: %s is %s, the configuration says %s", found.shown, found.server, want)
		}
	}
	return found, nil
}

func byHost(c Config) (connection, error) {
	shown := c.Context
	if shown == "" {
		shown = c.Host
	}
	if c.Token == nil {
		return connection{}, rollback.UsageErrorf("cluster %s: an endpoint without a source of tokens", shown)
	}
	host, err := normalise(c.Host)
	if err != nil {
		return connection{}, rollback.UsageErrorf("cluster %s: endpoint %w", shown, err)
	}
	if u, _ := url.Parse(host); u.Scheme != "https" && !loopback(u.Hostname()) {
		return connection{}, rollback.UsageErrorf("cluster %s: %s is not https, and a token would travel in the clear", shown, host)
	}
	if len(c.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.CA) {
		return connection{}, rollback.UsageErrorf("cluster %s: its certificate authority is not PEM", shown)
	}
	return connection{
		rest:  &rest.Config{Host: host, TLSClientConfig: rest.TLSClientConfig{CAData: c.CA}},
		shown: shown,
		login: loginEKS,
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func inCluster() (connection, error) {
	cfg, err := rest.InClusterConfig()
	if err != nil {
		return connection{}, rollback.UsageErrorf("cluster: in-cluster was asked for: %w", err)
	}
	return connection{rest: cfg, shown: "in-cluster", login: loginPod}, nil
}

// byContext reads the kubeconfig by hand instead of through clientcmd's deferred loader, which answers a missing file
// with the cluster it happens to run in.
func byContext(c Config) (connection, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.DefaultClientConfig = nil
	rules.WarnIfAllMissing = false
	files := rules.Precedence
	if c.Kubeconfig != "" {
		rules.ExplicitPath = c.Kubeconfig
		files = []string{c.Kubeconfig}
	}
	where := strings.Join(files, ", ")
	missing := 0
	for _, f := range files {
		if _, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) {
			missing++
		}
	}
	if missing == len(files) {
		return connection{}, rollback.UsageErrorf("no kubeconfig: %s does not exist: set KUBECONFIG, or give the cluster as an EKS name", where)
	}
	kubeconfig, err := rules.Load()
	if err != nil {
		return connection{}, rollback.UsageErrorf("kubeconfig: %w", err)
	}
	names := make([]string, 0, len(kubeconfig.Contexts))
	for name := range kubeconfig.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	has := "has no contexts"
	if len(names) > 0 {
		has = "has " + strings.Join(names, ", ")
	}
	switch {
	case c.Context == "":
		return connection{}, rollback.UsageErrorf("no cluster context given (the kubeconfig's current context is never assumed): %s %s", where, has)
	case !slices.Contains(names, c.Context):
		none := rollback.UsageErrorf("no context %q: %s %s", c.Context, where, has).(*rollback.Error)
		none.Next = []string{"set cluster.context in rollback.yaml to one that is there, or make it: aws eks update-kubeconfig --name CLUSTER --alias " + c.Context}
		return connection{}, none
	}
	// client-go's own words for these lead astray ("try setting KUBERNETES_MASTER").
	in := kubeconfig.Contexts[c.Context]
	if cluster := kubeconfig.Clusters[in.Cluster]; cluster == nil {
		return connection{}, rollback.UsageErrorf("context %s: its cluster %q is not in %s", c.Context, in.Cluster, where)
	} else if cluster.Server == "" { // it would take localhost
		return connection{}, rollback.UsageErrorf("context %s: its cluster %q has no server", c.Context, in.Cluster)
	}
	if in.AuthInfo != "" && kubeconfig.AuthInfos[in.AuthInfo] == nil {
		return connection{}, rollback.UsageErrorf("context %s: its user %q is not in %s", c.Context, in.AuthInfo, where)
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*kubeconfig, c.Context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return connection{}, rollback.UsageErrorf("context %s: %w", c.Context, err)
	}
	found := connection{rest: cfg, shown: c.Context, login: loginFile}
	if cfg.ExecProvider != nil {
		found.login = loginPlugin
	}
	return found, nil
}

// normalise writes a server's URL in the one form that can be compared: lower-case host, no default port, no closing slash.
func normalise(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", errors.New("\"" + u.Redacted() + "\" is not the URL of a server")
	}
	host := strings.ToLower(u.Hostname())
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.Path, "/"), nil
}
