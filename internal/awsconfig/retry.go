package awsconfig

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// longestRetryAfter is the longest Retry-After that is waited for; a longer one is reported instead.
const longestRetryAfter = 15 * time.Second

// reads is the retry rule of a call that may be repeated at will: the SDK's standard mode, which repeats throttling, 5xx and
// lost connections, and beside it 429 without a code and cut bodies.
func reads(o Options) aws.Retryer {
	return remembering{inTime{retry.NewStandard(func(s *retry.StandardOptions) {
		options(s, o)
		s.Retryables = append([]retry.IsErrorRetryable{
			retry.NoRetryCanceledError{},
			retry.IsErrorRetryableFunc(tooLong),
			retry.IsErrorRetryableFunc(tooMany),
			retry.IsErrorRetryableFunc(cut),
		}, s.Retryables...)
	})}}
}

// Writes is the retry rule of a call that changes something: repeated only when the system said that it did nothing, that
// is when it throttled us. Whatever else fails is for the caller to look into.
func Writes(o Options) aws.Retryer {
	return inTime{retry.NewStandard(func(s *retry.StandardOptions) {
		options(s, o)
		s.Retryables = []retry.IsErrorRetryable{
			retry.NoRetryCanceledError{},
			retry.IsErrorRetryableFunc(tooLong),
			retry.IsErrorRetryableFunc(tooMany),
			retry.IsErrorRetryableFunc(func(error) aws.Ternary { return aws.FalseTernary }),
		}
	})}
}

// inTime gives up when the system asks for a wait that goes beyond the deadline, so that the failure told is the system's
// and not the clock's.
type inTime struct{ *retry.Standard }

func (i inTime) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < retryAfter(err) {
		return nil, errors.New("no time left to try again")
	}
	return i.Standard.GetRetryToken(ctx, err)
}

// remembering notes what an attempt failed with, for a call that is told to stop before the next one.
type remembering struct{ inTime }

type lastFailure struct{}

func (r remembering) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	if last, ok := ctx.Value(lastFailure{}).(*error); ok {
		*last = err
	}
	return r.inTime.GetRetryToken(ctx, err)
}

// tellLast has a read that is told to stop while it waits for another attempt end with what the last one failed with: of a
// system that is down, each of several calls at the same time says so then, and not only the one whose patience ends first.
func tellLast(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("TellLastFailure",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (out middleware.InitializeOutput, data middleware.Metadata, err error) {
			var last error
			out, data, err = next.HandleInitialize(context.WithValue(ctx, lastFailure{}, &last), in)
			if last != nil && errors.Is(err, context.Canceled) {
				err = last
			}
			return out, data, err
		}), middleware.Before)
}

func options(s *retry.StandardOptions, o Options) {
	s.MaxAttempts, s.MaxBackoff = 5, 2*time.Second
	if o.Attempts > 0 {
		s.MaxAttempts = o.Attempts
	}
	if o.MaxBackoff > 0 {
		s.MaxBackoff = o.MaxBackoff
	}
	s.Backoff = backoff{retry.NewExponentialJitterBackoff(s.MaxBackoff)}
}

// backoff waits as long as the system asked for, or else grows from try to try.
type backoff struct{ own retry.BackoffDelayer }

func (b backoff) BackoffDelay(attempt int, err error) (time.Duration, error) {
	d, delayErr := b.own.BackoffDelay(attempt, err)
	return max(d, retryAfter(err)), delayErr
}

func tooLong(err error) aws.Ternary {
	if retryAfter(err) > longestRetryAfter {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

func tooMany(err error) aws.Ternary {
	if status(err) == http.StatusTooManyRequests || throttled(code(err)) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

func cut(err error) aws.Ternary {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// throttleCodes are the names AWS services have for "too many calls"
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html). LimitExceededException is not one of them:
// with ECR it is a quota, and waiting does not help.
var throttleCodes = []string{
	"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
	"TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "PriorRequestNotComplete",
}

func throttled(code string) bool { return slices.Contains(throttleCodes, code) }

// status is the HTTP status of the answer in err, 0 if there was no answer.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil && r.Response.Response != nil {
		return r.HTTPStatusCode()
	}
	return 0
}

// retryAfter is the wait that the answer in err asks for, 0 if it asks for none. Only seconds are read; AWS sends no dates.
func retryAfter(err error) time.Duration {
	var r *smithyhttp.ResponseError
	if !errors.As(err, &r) || r.Response == nil || r.Response.Response == nil {
		return 0
	}
	seconds, convErr := strconv.Atoi(r.Response.Header.Get("Retry-After"))
	if convErr != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 24*3600)) * time.Second
}
