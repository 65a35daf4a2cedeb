package commands

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// A question that nobody answers is left behind when the program is told to stop: what waits for the answer only reads, so
// nothing else is written while the program goes on to print. The race detector tells.
func TestQuestionLeftBehind(t *testing.T) {
	t.Parallel()
	for range 50 {
		in, answer := io.Pipe()
		var out bytes.Buffer
		e := quiet()
		e.Stdin, e.Stderr = in, &out
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := e.agree(ctx, "Go on? [y/N] ", saidYes); rollback.ExitOf(err) != rollback.Refused {
			t.Fatalf("nobody agreed: %v", err)
		}
		if got := out.String(); got != "Go on? [y/N] \n" {
			t.Fatalf("asked %q", got)
		}
		answer.Close() // ends the reader
	}
}
