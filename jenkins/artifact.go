package jenkins

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// What a build leaves behind.

// maxArtifact is the largest file that is read from a build, in bytes: the ones we want are lines of text.
const maxArtifact = 1 << 20

// Artifacts are the paths of the files that a build has archived, in order.
func (c *Controller) Artifacts(ctx context.Context, b rollback.Build) ([]string, error) {
	path, err := buildPath(b)
	if err != nil {
		return nil, err
	}
	var a struct {
		Artifacts []struct {
			Path string `json:"relativePath"`
		} `json:"artifacts"`
	}
	if _, err := c.jenkins.Requester.GetJSON(ctx, path, &a, map[string]string{"tree": "artifacts[relativePath]"}); err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range a.Artifacts {
		paths = append(paths, f.Path)
	}
	slices.Sort(paths)
	return paths, nil
}

// artifact is a file on its way. What check refuses does not come from the build: it is asked for again, and then given up.
type artifact struct {
	check func([]byte) error
	body  []byte
}

func (*artifact) limit() int64 { return maxArtifact }

func (a *artifact) read(_ string, body []byte) error {
	if err := a.check(body); err != nil {
		return &foreign{"another file than the one asked for: " + oneLine(err.Error())}
	}
	a.body = body
	return nil
}

// Artifact reads one file of a build, up to 1 MB of it. check tells whether it is one that the build would leave: proxies
// send pages of theirs under any name.
func (c *Controller) Artifact(ctx context.Context, b rollback.Build, file string, check func([]byte) error) ([]byte, error) {
	path, err := buildPath(b)
	if err != nil {
		return nil, err
	}
	path += "/artifact"
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." || len(file) > 1000 || oneLine(part) != part {
			return nil, &rollback.CallError{System: system, Op: "read an artifact of " + b.String(), Kind: rollback.Rejected, Err: fmt.Errorf("%q is not the path of a file", file)}
		}
		path += "/" + url.PathEscape(part)
	}
	a := &artifact{check: check}
	_, err = c.jenkins.Requester.Get(ctx, path, a, nil)
	return a.body, err
}
