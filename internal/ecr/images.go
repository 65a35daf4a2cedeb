package ecr

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/rollback-tools/rollback/internal/rollback"
)

const (
	idsPerCall    = 100  // the most that BatchGetImage and DescribeImages take
	imagesPerPage = 1000 // the most that DescribeImages gives
	fewTags       = 8    // up to so many tags are described each by itself
)

// all asks for archived images too: without it ECR may answer as if they did not exist.
func all() *types.DescribeImagesFilter {
	return &types.DescribeImagesFilter{ImageStatus: types.ImageStatusFilterAny, TagStatus: types.TagStatusAny}
}

// identifiers turns tags and digests into the API's form, each once, in batches.
func (r *Registry) identifiers(refs []string) ([][]types.ImageIdentifier, error) {
	var ids []types.ImageIdentifier
	seen := map[string]bool{}
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if _, err := rollback.ParseDigest(ref); err == nil {
			ids = append(ids, types.ImageIdentifier{ImageDigest: aws.String(ref)})
		} else if rollback.ValidTag(ref) {
			ids = append(ids, types.ImageIdentifier{ImageTag: aws.String(ref)})
		} else {
			return nil, r.invalid("tag or digest", ref)
		}
	}
	return slices.Collect(slices.Chunk(ids, idsPerCall)), nil
}

// inBatches runs f for every batch at once and returns everything found, each digest once.
func inBatches[T any](batches [][]types.ImageIdentifier, key func(T) rollback.Digest, f func([]types.ImageIdentifier) ([]T, error)) ([]T, error) {
	found := make([][]T, len(batches))
	errs := make([]error, len(batches))
	var wave sync.WaitGroup
	for i, b := range batches {
		wave.Go(func() { found[i], errs[i] = f(b) })
	}
	wave.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	var out []T
	seen := map[rollback.Digest]bool{}
	for _, t := range slices.Concat(found...) {
		if !seen[key(t)] {
			seen[key(t)] = true
			out = append(out, t)
		}
	}
	return out, nil
}

// apart gives each of a few tags a batch of its own. Tags may well be missing (a person typed them, or they are guesses at
// how a commit was shortened), and one that is missing from a batch costs two calls more, one after the other; asked for at
// the same time they are one wave, whatever is missing. Digests come from pods and manifests, and are there.
func apart(batches [][]types.ImageIdentifier) [][]types.ImageIdentifier {
	if len(batches) != 1 {
		return batches
	}
	var out [][]types.ImageIdentifier
	var digests []types.ImageIdentifier
	for _, id := range batches[0] {
		if id.ImageTag == nil {
			digests = append(digests, id)
		} else {
			out = append(out, []types.ImageIdentifier{id})
		}
	}
	if len(out) < 2 || len(out) > fewTags {
		return batches
	}
	if len(digests) > 0 {
		out = append(out, digests)
	}
	return out
}

// Images describes images, in one wave: one call for all, or one for each of a few tags. Where many are asked for together
// and some do not exist, it is three waves.
func (r *Registry) Images(ctx context.Context, repository string, refs ...string) ([]rollback.Image, error) {
	if !rollback.ValidRepository(repository) {
		return nil, r.invalid("repository", repository)
	}
	batches, err := r.identifiers(refs)
	if err != nil {
		return nil, err
	}
	return inBatches(apart(batches), func(i rollback.Image) rollback.Digest { return i.Digest },
		func(ids []types.ImageIdentifier) ([]rollback.Image, error) { return r.describe(ctx, repository, ids) })
}

// describe asks for a batch. ECR refuses the whole batch when one image is missing, without saying which; then the ones that
// exist are found with BatchGetImage, which does say.
func (r *Registry) describe(ctx context.Context, repository string, ids []types.ImageIdentifier) ([]rollback.Image, error) {
	for range 3 { // images may vanish between two calls; not for ever
		details, err := r.describeImages(ctx, repository, ids)
		var missing *types.ImageNotFoundException
		switch {
		case err == nil:
			return r.images(repository, ids, details)
		case !errors.As(err, &missing):
			return nil, r.fail("DescribeImages", repository, "", err)
		case len(ids) == 1:
			return nil, nil
		}
		if ids, err = r.existing(ctx, repository, ids); err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, nil
		}
	}
	return nil, &rollback.CallError{
		System: "ecr", Op: "DescribeImages " + repository, Kind: rollback.Conflict,
		Err: errors.New("images vanish while they are being read"), Fix: "run again; a lifecycle rule or somebody is deleting images",
	}
}

func (r *Registry) describeImages(ctx context.Context, repository string, ids []types.ImageIdentifier) ([]types.ImageDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	in := &ecr.DescribeImagesInput{RegistryId: &r.account, RepositoryName: &repository, ImageIds: ids, Filter: all()}
	out, err := r.aws.DescribeImages(ctx, in)
	var invalid *types.InvalidParameterException
	if errors.As(err, &invalid) {
		// AWS does not document whether a filter may stand beside ids.
		in.Filter = nil
		out, err = r.aws.DescribeImages(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	return out.ImageDetails, nil
}

// existing keeps the ids that name an image.
func (r *Registry) existing(ctx context.Context, repository string, ids []types.ImageIdentifier) ([]types.ImageIdentifier, error) {
	out, err := r.batchGetImage(ctx, repository, ids)
	if err != nil {
		return nil, err
	}
	missing := map[string]bool{}
	for _, f := range out.Failures {
		if f.FailureCode == types.ImageFailureCodeImageNotFound && f.ImageId != nil {
			missing[refOf(*f.ImageId)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id types.ImageIdentifier) bool { return missing[refOf(id)] }), nil
}

// refOf is the tag or digest that was asked for.
func refOf(id types.ImageIdentifier) string {
	if id.ImageTag != nil {
		return *id.ImageTag
	}
	return aws.ToString(id.ImageDigest)
}

// images reads a batch's answer. Every id must be in it, else it is not an answer of ECR.
func (r *Registry) images(repository string, ids []types.ImageIdentifier, details []types.ImageDetail) ([]rollback.Image, error) {
	list := make([]rollback.Image, 0, len(details))
	answered := map[string]bool{}
	for _, d := range details {
		img, err := r.image(repository, d)
		if err != nil {
			return nil, err
		}
		answered[string(img.Digest)] = true
		for _, t := range img.Tags {
			answered[t] = true
		}
		list = append(list, img)
	}
	for _, id := range ids {
		if !answered[refOf(id)] {
			return nil, r.broken("DescribeImages", repository, "the answer leaves out "+refOf(id))
		}
	}
	return list, nil
}

func (r *Registry) image(repository string, d types.ImageDetail) (rollback.Image, error) {
	digest, err := rollback.ParseDigest(aws.ToString(d.ImageDigest))
	if err != nil {
		return rollback.Image{}, r.broken("DescribeImages", repository, err.Error())
	}
	img := rollback.Image{
		Digest: digest, Tags: d.ImageTags, MediaType: aws.ToString(d.ImageManifestMediaType),
		Status: rollback.ImageStatus(d.ImageStatus), PushedAt: aws.ToTime(d.ImagePushedAt),
	}
	if d.ImageStatus == types.ImageStatusActive {
		img.Status = rollback.Active
	}
	slices.Sort(img.Tags)
	return img, nil
}

func (r *Registry) batchGetImage(ctx context.Context, repository string, ids []types.ImageIdentifier) (*ecr.BatchGetImageOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	out, err := r.aws.BatchGetImage(ctx, &ecr.BatchGetImageInput{
		RegistryId: &r.account, RepositoryName: &repository, ImageIds: ids, AcceptedMediaTypes: rollback.MediaTypes(),
	})
	if err != nil {
		return nil, r.fail("BatchGetImage", repository, "", err)
	}
	if len(out.Images)+len(out.Failures) == 0 {
		return nil, r.broken("BatchGetImage", repository, "the answer is empty")
	}
	return out, nil
}

// Manifests fetches manifests, one call for every hundred. Archived ones are left out: they cannot be pulled.
func (r *Registry) Manifests(ctx context.Context, repository string, refs ...string) ([]rollback.Manifest, error) {
	if !rollback.ValidRepository(repository) {
		return nil, r.invalid("repository", repository)
	}
	batches, err := r.identifiers(refs)
	if err != nil {
		return nil, err
	}
	return inBatches(batches, func(m rollback.Manifest) rollback.Digest { return m.Digest },
		func(ids []types.ImageIdentifier) ([]rollback.Manifest, error) {
			out, err := r.batchGetImage(ctx, repository, ids)
			if err != nil {
				return nil, err
			}
			return r.manifests(repository, ids, out)
		})
}

func (r *Registry) manifests(repository string, ids []types.ImageIdentifier, out *ecr.BatchGetImageOutput) ([]rollback.Manifest, error) {
	open := map[string]bool{} // asked for, not answered yet
	for _, id := range ids {
		open[refOf(id)] = true
	}
	for _, f := range out.Failures {
		switch f.FailureCode {
		case types.ImageFailureCodeImageNotFound, types.ImageFailureCodeImageInaccessible:
			if f.ImageId != nil {
				delete(open, refOf(*f.ImageId))
			}
		default:
			return nil, &rollback.CallError{
				System: "ecr", Op: "BatchGetImage " + repository, Kind: rollback.Rejected, Code: string(f.FailureCode),
				Err: errors.New(aws.ToString(f.FailureReason)),
			}
		}
	}
	var list []rollback.Manifest
	for _, img := range out.Images {
		if img.ImageId == nil {
			return nil, r.broken("BatchGetImage", repository, "an image without an id")
		}
		m := rollback.Manifest{
			Digest: rollback.Digest(aws.ToString(img.ImageId.ImageDigest)), MediaType: aws.ToString(img.ImageManifestMediaType),
			Bytes: []byte(aws.ToString(img.ImageManifest)),
		}
		if err := m.Check(); err != nil {
			return nil, r.broken("BatchGetImage", repository, err.Error())
		}
		if !slices.Contains(rollback.MediaTypes(), m.MediaType) {
			return nil, r.broken("BatchGetImage", repository, fmt.Sprintf("the manifest of %s is %q, which was not asked for", m.Digest.Short(), m.MediaType))
		}
		delete(open, string(m.Digest))
		delete(open, aws.ToString(img.ImageId.ImageTag))
		list = append(list, m)
	}
	if len(open) > 0 {
		var rest []string
		for ref := range open {
			rest = append(rest, ref)
		}
		slices.Sort(rest)
		return nil, r.broken("BatchGetImage", repository, "the answer leaves out "+strings.Join(rest, ", "))
	}
	return list, nil
}

// List pages through the repository, archived and untagged images included. ECR gives no order.
func (r *Registry) List(ctx context.Context, repository string) iter.Seq2[[]rollback.Image, error] {
	return func(yield func([]rollback.Image, error) bool) {
		if !rollback.ValidRepository(repository) {
			yield(nil, r.invalid("repository", repository))
			return
		}
		var token *string
		for {
			page, next, err := r.page(ctx, repository, token)
			if err == nil && next != nil && token != nil && *next == *token {
				err = r.broken("DescribeImages", repository, "the same page again and again")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(page, nil) || next == nil {
				return
			}
			token = next
		}
	}
}

func (r *Registry) page(ctx context.Context, repository string, token *string) ([]rollback.Image, *string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	out, err := r.aws.DescribeImages(ctx, &ecr.DescribeImagesInput{
		RegistryId: &r.account, RepositoryName: &repository, Filter: all(), MaxResults: aws.Int32(imagesPerPage), NextToken: token,
	})
	if err != nil {
		return nil, nil, r.fail("DescribeImages", repository, "", err)
	}
	if out.ImageDetails == nil {
		return nil, nil, r.broken("DescribeImages", repository, "the answer is empty")
	}
	page := make([]rollback.Image, 0, len(out.ImageDetails))
	for _, d := range out.ImageDetails {
		img, err := r.image(repository, d)
		if err != nil {
			return nil, nil, err
		}
		page = append(page, img)
	}
	if aws.ToString(out.NextToken) == "" {
		return page, nil, nil
	}
	return page, out.NextToken, nil
}
