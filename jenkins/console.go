package jenkins

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// logReplaced is what a reader is told when the log began anew.
const logReplaced = "\n[the log was replaced; from its beginning:]\n"

// tail is how far a log has been read.
type tail struct {
	start  int64
	extra  int64 // what was passed on beyond start, of an answer that broke off
	filter *noteFilter
}

// read passes on what the log has beyond the tail, and tells whether Jenkins expects more of it.
func (c *Controller) read(ctx context.Context, b rollback.Build, t *tail) (more bool, err error) {
	path, err := jobPath(b.Job)
	if err != nil {
		return false, err
	}
	endpoint := fmt.Sprintf("%s/%d/logText/progressiveText", path, b.Number)
	for range 2 {
		size, replaced := int64(0), false
		s := &stream{to: t.filter, got: t.extra}
		s.begin = func(resp *http.Response) error {
			media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			n, err := strconv.ParseInt(resp.Header.Get("X-Text-Size"), 10, 64)
			if media != "text/plain" || err != nil || n < 0 {
				return &foreign{"an answer that is no piece of a log"}
			}
			size, more = n, resp.Header.Get("X-More-Data") == "true" // absent at the end
			if n < t.start {                                         // shorter than what was read: another log, sent from its beginning or not at all
				replaced = true
			}
			if replaced {
				s.to, s.got, t.extra = io.Discard, 0, 0
			}
			return nil
		}
		if _, err := c.jenkins.Requester.Get(ctx, endpoint, s, map[string]string{"start": strconv.FormatInt(t.start, 10)}); err != nil {
			if !replaced {
				t.extra = s.got
			}
			return false, err
		}
		t.extra = 0
		if !replaced {
			t.start = size
			return more, nil
		}
		if err := t.filter.Flush(); err != nil {
			return false, &deaf{err}
		}
		if _, err := io.WriteString(t.filter.to, logReplaced); err != nil {
			return false, &deaf{err}
		}
		t.start = 0
	}
	return true, nil // replaced again meanwhile: the next read begins at the beginning
}

// Follow waits until the build is over and copies its log to w as it grows, without Jenkins' own marks; colours and other
// escapes of the build's programs are passed on. A Jenkins that is away is waited for. It returns what it saw last; when
// that is over and there is an error all the same, the log could not be read to its end.
func (c *Controller) Follow(ctx context.Context, b rollback.Build, w io.Writer) (rollback.Build, error) {
	return c.follow(ctx, b, w, nil, func(rollback.Build, error, bool) time.Duration { return c.poll })
}

// readAll reads a log to where it is now; that of a build that is over, to its end.
func (c *Controller) readAll(ctx context.Context, b rollback.Build, t *tail) error {
	for {
		from := t.start
		more, err := c.read(ctx, b, t)
		if err != nil || !more || t.start == from {
			return err
		}
	}
}
