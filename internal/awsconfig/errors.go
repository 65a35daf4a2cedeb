package awsconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	smithy "github.com/aws/smithy-go"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// kinds are the codes that mean the same in every AWS service. An exception's own name ("RepositoryNotFoundException") is
// left to what it ends in, below.
var kinds = map[string]rollback.CallKind{
	"AccessDenied": rollback.Denied, "AccessDeniedException": rollback.Denied, "UnauthorizedOperation": rollback.Denied,

	"ExpiredToken": rollback.Expired, "ExpiredTokenException": rollback.Expired, "RequestExpired": rollback.Expired,
	"UnrecognizedClientException": rollback.Expired, "InvalidClientTokenId": rollback.Expired,
	"InvalidSignatureException": rollback.Expired, "SignatureDoesNotMatch": rollback.Expired,
	"IncompleteSignature": rollback.Expired, "IncompleteSignatureException": rollback.Expired,
	"MissingAuthenticationToken": rollback.Expired, "MissingAuthenticationTokenException": rollback.Expired,
	"AuthFailure": rollback.Expired, "NotAuthorized": rollback.Expired,
}

const (
	renew  = "renew the AWS credentials: aws sso login, the withAWS step on Jenkins, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
	give   = "give AWS credentials: aws sso login and AWS_PROFILE, the withAWS step on Jenkins, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	clock  = "check this machine's clock and AWS_SECRET_ACCESS_KEY"
	reach  = "check the network, the proxy settings and the region"
	proxy  = "something other than AWS answered: check HTTPS_PROXY, the VPN and AWS_ENDPOINT_URL"
	rights = "`rollback permissions` prints the rights that are needed"
)

// CallError turns an error of the SDK into the domain's; nil stays nil. system is the service ("ecr"), op what was asked
// of it. Nothing of the SDK is in the result; context.Canceled and context.DeadlineExceeded can still be recognised with
// errors.Is.
func CallError(system, op string, err error) error {
	if err == nil {
		return nil
	}
	var done *rollback.CallError
	if errors.As(err, &done) {
		return err
	}
	e := &rollback.CallError{System: system, Op: op, Code: code(err), RetryAfter: retryAfter(err), Err: reason(err)}
	e.Kind, e.Fix = classify(err, e.Code)
	if e.Code == "" && e.Fix != give && status(err) != 0 && status(err) != http.StatusOK {
		e.Code = fmt.Sprintf("%d %s", status(err), http.StatusText(status(err)))
	}
	return e
}

// classify finds the kind of a failure and what to do about it.
func classify(err error, code string) (rollback.CallKind, string) {
	var credentials *credentialsError
	lost := errors.As(err, &credentials)
	kind, known := kinds[code]
	status := status(err)
	var undecoded *smithy.DeserializationError
	switch {
	case errors.Is(err, context.Canceled):
		return rollback.Unreachable, ""
	case known && kind == rollback.Denied && lost:
		return kind, "let these credentials assume the role (its trust policy and external id)"
	case known && kind == rollback.Denied:
		return kind, rights
	case strings.Contains(code, "Signature") || code == "RequestExpired":
		return rollback.Expired, clock
	case known && kind == rollback.Expired:
		return kind, renew
	case lost && code == "" && (lastSource(err) || !transport(err) && status != http.StatusTooManyRequests && status < 500):
		return rollback.Expired, give
	case throttled(code) || status == http.StatusTooManyRequests:
		return rollback.Throttled, ""
	case status >= 500:
		return rollback.ServerFault, ""
	case strings.HasSuffix(code, "NotFoundException"):
		return rollback.NotFound, ""
	case code != "": // the system's own word, of which nothing more is known here
		return rollback.Rejected, ""
	case errors.As(err, &undecoded), status == http.StatusOK, status/100 == 3:
		return rollback.Broken, proxy
	case status == http.StatusUnauthorized:
		return rollback.Expired, renew
	case status == http.StatusForbidden:
		return rollback.Denied, rights
	case status == http.StatusNotFound:
		return rollback.NotFound, ""
	case status == http.StatusConflict:
		return rollback.Conflict, ""
	case status != 0:
		return rollback.Rejected, ""
	case transport(err):
		return rollback.Unreachable, reach
	}
	return rollback.Rejected, ""
}

// lastSource tells whether the search for credentials got to its end, the instance's metadata service, and failed there.
func lastSource(err error) bool { return strings.Contains(err.Error(), "IMDS") }

// transport tells whether there was no answer at all.
func transport(err error) bool {
	var n net.Error
	var u *url.Error
	var connection interface{ ConnectionError() bool }
	return errors.As(err, &n) || errors.As(err, &u) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.As(err, &connection) && connection.ConnectionError()
}

// code is the service's own word for err, "" if it gave none.
func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() == "UnknownError" { // the SDK's word for a body without one
		return ""
	}
	return api.ErrorCode()
}

// reason is the innermost useful text of err, without the layers of the SDK: those repeat the operation, and their request
// ids and URLs are noise at night.
func reason(err error) error {
	var credentials *credentialsError
	prefix := ""
	if errors.As(err, &credentials) {
		prefix, err = credentials.name+": ", credentials.err
	}
	var api smithy.APIError
	var undecoded *smithy.DeserializationError
	var u *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s%w", prefix, context.Canceled)
	case credentials != nil && lastSource(err):
		return errors.New(prefix + "none found in the environment, in ~/.aws or from the instance")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%sno answer in time: %w", prefix, context.DeadlineExceeded)
	case errors.As(err, &api) && api.ErrorMessage() != "":
		return errors.New(prefix + api.ErrorMessage())
	case errors.As(err, &api):
		return errors.New(prefix + "no further word from AWS")
	case errors.As(err, &undecoded):
		return errors.New(prefix + "the answer cannot be decoded")
	case errors.As(err, &u):
		return errors.New(prefix + u.Err.Error())
	}
	return errors.New(prefix + err.Error())
}

// NotSent tells that a call failed before the request left this machine, so that nothing can have changed.
func NotSent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var credentials *credentialsError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || errors.As(err, &certificate) || errors.As(err, &credentials)
}
