package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// Each check gets one value with its placeholders filled in and says what was wanted instead. The message goes behind
// the setting's name and the value.

// checkAccount: https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html
func checkAccount(s string) error {
	if len(s) != 12 || strings.Trim(s, "0123456789") != "" {
		return errors.New("want 12 digits")
	}
	return nil
}

const (
	regionForm   = `[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}`
	roleForm     = `arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+`
	numberForm   = `[0-9]+`
	variableForm = `[A-Za-z_][A-Za-z0-9_]*`
	libraryForm  = `[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._/-]*)?`
	versionForm  = `[A-Za-z0-9._+-]+`
	uidForm      = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
)

// lazily compiles a regular expression when it is first used: most starts of the program need none of these.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

var (
	region     = lazily(`^` + regionForm + `$`)
	zone       = lazily(`^(` + regionForm + `)[a-z]$`)
	role       = lazily(`^` + roleForm + `$`)
	variable   = lazily(`^` + variableForm + `$`)
	library    = lazily(`^` + libraryForm + `$`)
	uid        = lazily(`^` + uidForm + `$`)
	version    = lazily(`^` + versionForm + `$`)
	sum        = lazily(`^[0-9a-fA-F]{64}$`)
	credential = lazily(`^[A-Za-z0-9._-]+$`)
	externalID = lazily(`^[A-Za-z0-9_+=,.@:/-]+$`)
	eksName    = lazily(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`)
	label      = lazily(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	objectName = lazily(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	hostName   = lazily(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	owner      = lazily(`^[A-Za-z0-9](-?[A-Za-z0-9])*(_[A-Za-z0-9]+)?$`) // managed users end in _shortcode
	repoName   = lazily(`^[A-Za-z0-9._-]{1,100}$`)
)

func checkRegion(s string) error {
	if m := zone().FindStringSubmatch(s); m != nil {
		return fmt.Errorf("is an availability zone; its region is %s", m[1])
	}
	if !region().MatchString(s) {
		return errors.New("want an AWS region such as eu-west-1")
	}
	return nil
}

func checkRole(s string) error {
	if !role().MatchString(s) {
		return errors.New("want the ARN of an IAM role, arn:aws:iam::123456789012:role/name")
	}
	return nil
}

func checkExternalID(s string) error {
	if len(s) < 2 || len(s) > 1224 || !externalID().MatchString(s) { // sts:AssumeRole
		return errors.New("want 2 to 1224 letters, digits and _+=,.@:/-")
	}
	return nil
}

func checkVariable(s string) error {
	if !variable().MatchString(s) {
		return errors.New("want the name of an environment variable, not its value")
	}
	return nil
}

// checkLibrary: the name as in @Library, which takes a version behind an @
// (https://www.jenkins.io/doc/book/pipeline/shared-libraries/#using-libraries).
func checkLibrary(s string) error {
	if !library().MatchString(s) {
		return errors.New("want the name of a shared library, rollback or rollback@v1")
	}
	return nil
}

func checkUID(s string) error {
	if !uid().MatchString(s) {
		return errors.New("want a UID as kubectl get namespace kube-system -o jsonpath={.metadata.uid} prints it")
	}
	return nil
}

func checkEKS(s string) error {
	if !eksName().MatchString(s) {
		return errors.New("want the name of an EKS cluster: letters, digits, - and _, at most 100")
	}
	return nil
}

func checkNamespace(s string) error {
	if !label().MatchString(s) {
		return errors.New("want a namespace: lower-case letters, digits and dashes, at most 63")
	}
	return nil
}

func checkTag(s string) error {
	if !rollback.ValidTag(s) {
		return errors.New("want a tag: letters, digits and ._- (not first), at most 128")
	}
	if strings.TrimLeft(s, "0123456789abcdef") == "" && len(s) >= 7 && len(s) <= 40 {
		return errors.New("looks like a commit; want the moving tag that the pods pull, such as latest")
	}
	return nil
}

func checkImage(s string) error {
	if first, rest, ok := strings.Cut(s, "/"); ok && isHost(first) && rollback.ValidRepository(rest) {
		return fmt.Errorf("want the repository without its registry: %s", rest)
	}
	if rollback.ValidRepository(s) {
		return nil
	}
	if name, _, ok := strings.Cut(s, ":"); ok && rollback.ValidRepository(name) {
		return fmt.Errorf("want the repository without a tag: %s", name)
	}
	return errors.New("want a repository in the registry: lower-case letters, digits and ._-/")
}

// isHost tells whether the first part of an image is clearly a registry. One dot alone may be part of a repository.
func isHost(s string) bool {
	return strings.Contains(s, ":") || strings.Count(s, ".") > 1 || slices.Contains([]string{"docker.io", "ghcr.io", "gcr.io", "quay.io", "localhost"}, s)
}

func checkRepo(s string) error {
	o, name, ok := strings.Cut(s, "/")
	if !ok || len(o) > 39 || !owner().MatchString(o) || !repoName().MatchString(name) || name == "." || name == ".." {
		return errors.New("want a GitHub repository, owner/name")
	}
	return nil
}

// checkBranch: https://git-scm.com/docs/git-check-ref-format
func checkBranch(s string) error {
	bad := len(s) > 244 || s == "@" || strings.ContainsAny(s, " ~^:?*[\\") || strings.ContainsFunc(s, control) ||
		strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasPrefix(s, "-") || strings.HasSuffix(s, ".") ||
		slices.ContainsFunc(strings.Split(s, "/"), func(part string) bool {
			return part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
		})
	if bad {
		return errors.New("want the name of a Git branch")
	}
	return nil
}

// checkJob takes a job's full name, folder/folder/job, with the letters Jenkins allows in it
// (https://github.com/jenkinsci/jenkins/blob/master/core/src/main/java/jenkins/model/Jenkins.java, checkGoodName).
func checkJob(s string) error {
	parts := strings.Split(s, "/")
	switch {
	case strings.Contains(s, "://"):
		return errors.New("want the job's full name, folder/job, not its URL")
	case len(parts)%2 == 0 && parts[0] == "job" && len(parts) >= 4 && parts[2] == "job":
		return errors.New("want the job's full name, folder/job, without the job/ of its URL")
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || part != strings.TrimSpace(part) ||
			strings.ContainsAny(part, `?*\!@#$^&|<>[]:;`) || strings.ContainsFunc(part, control) {
			return errors.New("want the full name of a Jenkins job, folder/job")
		}
	}
	return nil
}

// kinds are the workloads that a restart makes new pods of, with kubectl's short names.
var kinds = map[string]string{
	"deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment",
	"statefulset": "StatefulSet", "statefulsets": "StatefulSet", "sts": "StatefulSet",
	"daemonset": "DaemonSet", "daemonsets": "DaemonSet", "ds": "DaemonSet",
}

func checkWorkload(s string) error {
	kind, name, ok := strings.Cut(s, "/")
	if !ok {
		return errors.New("want kind/name, such as deployment/payments")
	}
	if kinds[strings.ToLower(kind)] == "" {
		return fmt.Errorf("%q cannot be restarted: want deployment, statefulset or daemonset", kind)
	}
	if len(name) > 253 || !objectName().MatchString(name) {
		return fmt.Errorf("%q is not a name in Kubernetes: want lower-case letters, digits, dashes and dots", name)
	}
	return nil
}

func checkKind(s string) error {
	if s != "ecr" && s != "oci" {
		return errors.New("want ecr or oci")
	}
	return nil
}

func checkHost(s string) error {
	if strings.Contains(s, "/") {
		return errors.New("want host or host:port, without https:// and without a path")
	}
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("want host or host:port, the port from 1 to 65535")
		}
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil && (ip.To4() != nil || strings.HasPrefix(s, "[")) {
		return nil
	}
	if len(host) > 253 || !hostName().MatchString(host) {
		return errors.New("want host or host:port")
	}
	return nil
}

// checkServer: plain http would send the token in the clear, so it is for this machine only.
func checkServer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("want the API server's URL, https://host")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want the API server's URL alone, https://host")
	}
	if u.Scheme == "http" {
		ip := net.ParseIP(u.Hostname())
		if u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return errors.New("want https://; http:// is for this machine only")
		}
	}
	return nil
}

// checkURL is for a system's base URL, with or without a path. Whether credentials may go over plain http is for the adapters
// to say: a rollback does without GitHub and Jenkins, and must not end here.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("want a URL, https://host or https://host/path")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want the URL alone: no user, no query")
	}
	return nil
}

// checkDownload is for where an agent gets the program: what it gets has a checksum, so plain http will do.
func checkDownload(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || strings.ContainsFunc(s, control) || (u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "") && (u.Scheme != "file" || u.Path == "") {
		return errors.New("want a URL: https://host/path, or file:///path on the agent")
	}
	return nil
}

func checkVersion(s string) error {
	if !version().MatchString(s) {
		return errors.New("want letters, digits, dots and dashes")
	}
	return nil
}

// checkSums: one checksum, or the lines that sha256sum writes, each with the name of a file.
func checkSums(s string) error {
	if sum().MatchString(s) {
		return nil
	}
	for line := range strings.Lines(strings.TrimSpace(s)) {
		if f := strings.Fields(line); len(f) != 2 || !sum().MatchString(f[0]) {
			return errors.New("want 64 hex digits, or the lines of SHA256SUMS")
		}
	}
	return nil
}

func checkCredential(s string) error {
	kind, id, named := strings.Cut(s, "=")
	if !slices.Contains(Credentials, kind) {
		if closest := byDistance(kind, Credentials)[0]; near(kind, closest) {
			return fmt.Errorf("there is no such kind, did you mean %s?", closest)
		}
		return fmt.Errorf("want one of %s, with =id for another id than the default one", strings.Join(Credentials, ", "))
	}
	if named && !credential().MatchString(id) {
		return errors.New("want the id of a credential behind the =: letters, digits, dots and dashes")
	}
	return nil
}

func checkNumber(s string) error {
	if n, err := strconv.ParseInt(s, 10, 64); err != nil || n <= 0 {
		return errors.New("want a number")
	}
	return nil
}

func checkPath(s string) error {
	if strings.ContainsFunc(s, control) {
		return errors.New("want the name of a file")
	}
	return nil
}

// checkWord is for names that another file defines, such as contexts and profiles.
func checkPrefix(s string) error {
	if !rollback.ValidBranch(s + "x") {
		return errors.New("want the beginning of a branch's name, such as rollback/")
	}
	return nil
}

func checkWord(s string) error {
	if s != strings.TrimSpace(s) || strings.ContainsFunc(s, control) || strings.HasPrefix(s, "-") {
		return errors.New("want a name")
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// duration reads a duration and says in plain words what is missing.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || s == "0" {
		if strings.Trim(s, "0123456789.") == "" {
			return 0, fmt.Errorf("has no unit: want a duration such as 90s or 10m")
		}
		return 0, errors.New("want a duration such as 90s or 10m")
	}
	return d, nil
}

func checkTimeout(s string) error {
	d, err := duration(s)
	if err != nil {
		return err
	}
	if d < time.Second || d > maxTimeout {
		return errors.New("want a duration from 1s to 24h")
	}
	return nil
}

func checkSettle(s string) error {
	d, err := duration(s)
	if err != nil {
		return err
	}
	if d < 0 || d > maxSettle {
		return errors.New("want a duration from 0s to 1h")
	}
	return nil
}

// check is the whole check of one value, placeholders filled in.
func (s Setting) validate(text string) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case s.Type == Bool:
		if text != "true" && text != "false" {
			return errors.New("want true or false")
		}
		return nil
	case s.check != nil:
		return s.check(text)
	}
	return nil
}
