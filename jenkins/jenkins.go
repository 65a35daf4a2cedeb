// Package jenkins is everything that is said to Jenkins: builds of a commit, builds in flight, starting, following and
// stopping them, and switching jobs on and off.
//
// The types and the requester interface are gojenkins'. Its transport and most of its methods are not used: they lose HTTP
// statuses, take errors for data, and wait for ever on a cancelled item. Every request goes through our own requester, asks
// for the fields it needs (tree=) and for a build by its number, its queue item, its commit or our own id.
package jenkins

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/bndr/gojenkins"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// IDParameter is the job parameter that marks a build as asked for by us, unless Config names another.
const IDParameter = "ROLLBACK_ID"

// Config says where Jenkins is and who we are to it. Token or Password is set, not both.
type Config struct {
	URL string // as this machine reaches it; it may differ from the root URL that Jenkins itself is configured with
	// Insecure lets the secret go over plain http to other machines, too.
	Insecure bool
	User     string
	// Token is an API token. With it no crumbs are needed.
	Token string
	// Password is for controllers that refuse API tokens. It costs a crumb and a session.
	Password string
	// CAFile has certificates (PEM) to trust besides the system's.
	CAFile string
	// IDParameter replaces the constant of that name.
	IDParameter string

	// Timeout is how long one try may take, Patience how long a restarting Jenkins is waited for, Poll how often a build is
	// looked at, Grace how long a build may take to end after each of stop, term and kill. 0 means 10 s, 3 min, 2 s, 10 s.
	Timeout, Patience, Poll, Grace time.Duration
}

// Controller is one Jenkins. It may be used from many goroutines.
type Controller struct {
	jenkins *gojenkins.Jenkins
	r       *requester

	idParameter           string
	poll, grace, patience time.Duration
}

var (
	_ rollback.Builds       = (*Controller)(nil)
	_ rollback.BuildStarter = (*Controller)(nil)
	_ rollback.JobSwitch    = (*Controller)(nil)
)

// New prepares a controller. It reads CAFile and asks nothing of Jenkins.
func New(c Config) (*Controller, error) {
	base, err := checkURL(c.URL)
	if err != nil {
		return nil, misconfigured(err, "set the URL of Jenkins, as https://jenkins.example.com")
	}
	if !c.Insecure && Plain(c.URL) {
		return nil, misconfigured(fmt.Errorf("%s: credentials are not sent over plain http", base),
			"reach Jenkins by https; or set jenkins.insecure to true, if you trust everybody between here and "+base.Hostname()+" with them")
	}
	switch {
	case c.User == "" || c.Token == "" && c.Password == "":
		return nil, misconfigured(errors.New("no user, or neither API token nor password"), "set the Jenkins user and its API token")
	case c.Token != "" && c.Password != "":
		return nil, misconfigured(errors.New("both an API token and a password"), "set one of them; a token needs no crumbs")
	case strings.ContainsAny(c.User, ":\r\n"):
		return nil, misconfigured(errors.New("the user's name has a colon or a line break"), "set the Jenkins user's id, not its full name")
	}
	trust, err := roots(c.CAFile)
	if err != nil {
		return nil, misconfigured(err, "name a file of PEM certificates")
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	r := &requester{
		base: base, user: c.User, secret: c.Token, timeout: cmp.Or(c.Timeout, 10*time.Second), patience: cmp.Or(c.Patience, 3*time.Minute), pause: time.After,
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	r.crumb.gate, r.root.gate = make(gate, 1), make(gate, 1)
	if c.Password != "" {
		r.secret, r.password = c.Password, true
		if r.client.Jar, err = cookiejar.New(nil); err != nil {
			return nil, misconfigured(err, "")
		}
	}
	j := gojenkins.CreateJenkins(r.client, base.String())
	j.Requester = r
	return &Controller{
		jenkins: j, r: r, idParameter: cmp.Or(c.IDParameter, IDParameter),
		poll: cmp.Or(c.Poll, 2*time.Second), grace: cmp.Or(c.Grace, 10*time.Second), patience: r.patience,
	}, nil
}

// Close drops idle connections.
func (c *Controller) Close() { c.r.client.CloseIdleConnections() }

func misconfigured(err error, fix string) error {
	return &rollback.CallError{System: system, Op: "configure", Kind: rollback.Rejected, Fix: fix, Err: err}
}

func checkURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be read") // the reason would repeat it, with a password in it perhaps
	case u.User != nil:
		return nil, errors.New("the URL has credentials in it")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q is not the URL of a Jenkins", s)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// Plain tells whether credentials for this URL would go over plain http to another machine.
func Plain(address string) bool {
	u, err := checkURL(address)
	return err == nil && u.Scheme == "http" && !loopback(u.Hostname())
}

// loopback tells whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// Identity is who we are to Jenkins, and what it is.
type Identity struct {
	User    string
	Version string // of Jenkins, "" if it does not say
}

// Identity asks Jenkins who we are: the cheapest call that proves the credentials.
func (c *Controller) Identity(ctx context.Context) (Identity, error) {
	var who struct {
		Class string `json:"_class"`
		Name  string `json:"name"`
	}
	resp, err := c.jenkins.Requester.GetJSON(ctx, "/whoAmI", &who, map[string]string{"tree": "name"})
	if err != nil {
		return Identity{}, err
	}
	return Identity{User: oneLine(who.Name), Version: oneLine(resp.Header.Get("X-Jenkins"))}, nil
}
