package ecr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/rollback-tools/rollback/internal/awsconfig"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	putAttempts = 3               // of a PutImage whose answer was lost, each after a look at what the tag names
	lastLook    = 3 * time.Second // for the look after our own context has ended
)

// Tag points tag at a manifest that is in the repository: one call. When the answer is lost it looks at what the tag names,
// and repeats if that is something else, which is safe because PutImage of the same bytes always ends the same. When the
// last look failed too, or the last PutImage was given up, the error has Maybe set.
func (r *Registry) Tag(ctx context.Context, repository string, m rollback.Manifest, tag string) (already bool, err error) {
	if !rollback.ValidRepository(repository) {
		return false, r.invalid("repository", repository)
	}
	if !rollback.ValidTag(tag) {
		return false, r.invalid("tag", tag)
	}
	if err := m.Check(); err != nil {
		return false, &rollback.CallError{System: "ecr", Op: "PutImage " + repository + ":" + tag, Kind: rollback.Rejected, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	for attempt := 1; ; attempt++ {
		out, err := r.putImage(ctx, repository, m, tag)
		var exists *types.ImageAlreadyExistsException
		var immutable *types.ImageTagAlreadyExistsException
		if errors.As(err, &exists) {
			return attempt == 1, nil // the second time it was ourselves
		}
		if errors.As(err, &immutable) {
			e := r.fail("PutImage", repository, ":"+tag, err)
			e.Kind, e.Fix = rollback.Immutable, r.unlock(ctx, repository, tag)
			return false, e
		}
		var failure *rollback.CallError
		switch got := returned(out); {
		case err != nil:
			failure = r.fail("PutImage", repository, ":"+tag, err)
		case got == m.Digest:
			return false, nil
		case got == "":
			failure = r.broken("PutImage", repository+":"+tag, "the answer names no digest")
		default:
			failure = r.broken("PutImage", repository+":"+tag, fmt.Sprintf("asked for %s, the answer names %s", m.Digest.Short(), got.Short()))
			failure.Maybe = true
			return false, failure
		}
		if !lost(failure.Kind) {
			return false, failure
		}
		if err == nil || !awsconfig.NotSent(err) {
			now, lookErr := r.look(ctx, repository, tag)
			if lookErr == nil && now == m.Digest {
				return false, nil
			}
			failure.Maybe = lookErr != nil || errors.Is(err, context.DeadlineExceeded) // it may still come
		}
		if attempt == putAttempts || !r.pause(ctx, attempt, failure.RetryAfter) {
			return false, failure
		}
	}
}

// lost are the failures that do not tell whether the tag was moved.
func lost(kind rollback.CallKind) bool {
	return kind == rollback.Unreachable || kind == rollback.ServerFault || kind == rollback.Broken
}

func (r *Registry) putImage(ctx context.Context, repository string, m rollback.Manifest, tag string) (*ecr.PutImageOutput, error) {
	return r.aws.PutImage(ctx, &ecr.PutImageInput{
		RegistryId: &r.account, RepositoryName: &repository, ImageTag: &tag,
		ImageManifest: aws.String(string(m.Bytes)), ImageManifestMediaType: aws.String(m.MediaType), ImageDigest: aws.String(string(m.Digest)),
	}, func(o *ecr.Options) { o.Retryer = awsconfig.Writes(r.options) })
}

func returned(out *ecr.PutImageOutput) rollback.Digest {
	if out == nil || out.Image == nil || out.Image.ImageId == nil {
		return ""
	}
	return rollback.Digest(aws.ToString(out.Image.ImageId.ImageDigest))
}

// look reads what a tag names now, "" if nothing. It still looks when ctx has ended, because what it sees decides whether
// production has to be called changed.
func (r *Registry) look(ctx context.Context, repository, tag string) (rollback.Digest, error) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
	}
	images, err := r.Images(ctx, repository, tag)
	if err != nil || len(images) == 0 {
		return "", err
	}
	return images[0].Digest, nil
}

// pause waits before the next attempt; false if there is no time for one.
func (r *Registry) pause(ctx context.Context, attempt int, asked time.Duration) bool {
	wait := min(250*time.Millisecond<<attempt, 2*time.Second)
	if r.options.MaxBackoff > 0 {
		wait = min(wait, r.options.MaxBackoff)
	}
	wait = max(wait, asked)
	if deadline, ok := ctx.Deadline(); wait > r.limit || ok && time.Until(deadline) < wait {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unlock is the command that lets an immutable tag move. ECR replaces the filters as a whole, so those in force are named
// again; where they cannot be read, the filter alone is named.
func (r *Registry) unlock(ctx context.Context, repository, tag string) string {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	unread := fmt.Sprintf("add the exclusion filter %q to the tag immutability of %s, or deploy by digest", tag, repository)
	out, err := r.aws.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: &r.account, RepositoryNames: []string{repository}})
	if err != nil || len(out.Repositories) != 1 {
		return unread
	}
	m, unknown := mutability(out.Repositories[0])
	if len(unknown) > 0 {
		return unread
	}
	setting := types.ImageTagMutabilityImmutableWithExclusion
	filters := append([]string{tag}, m.Except...)
	if !m.Immutable { // MUTABLE_WITH_EXCLUSION: the filter that matches is what locks the tag
		setting, filters = types.ImageTagMutabilityMutableWithExclusion, nil
		for _, f := range m.Except {
			if (rollback.Mutability{Except: []string{f}}).Movable(tag) {
				filters = append(filters, f)
			}
		}
		if filters == nil {
			setting = types.ImageTagMutabilityMutable
		}
	}
	command := fmt.Sprintf("aws ecr put-image-tag-mutability --region %s --registry-id %s --repository-name %s --image-tag-mutability %s",
		r.region, r.account, repository, setting)
	if filters != nil {
		command += " --image-tag-mutability-exclusion-filters"
		for _, f := range filters {
			command += " 'filterType=WILDCARD,filter=" + strings.ReplaceAll(f, "'", "") + "'"
		}
	}
	return "let the tag move: " + command + " (or deploy by digest)"
}
