package rollback

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// Which of several failures a wave tells does not depend on which came first, where they are of one kind.
func TestWave(t *testing.T) {
	fault := func(op string, kind CallKind) error {
		return &CallError{System: "kubernetes", Op: op, Kind: kind, Err: errors.New("refused by the test")}
	}
	for _, tt := range []struct {
		name    string
		earlier func(ctx context.Context) error // of the call that was begun first, when the other one has failed
		want    string
	}{
		{"the other is well", func(context.Context) error { return nil }, "late"},
		{"both likewise", func(context.Context) error { return fault("early", Unreachable) }, "early"},
		{"a trouble of its own", func(context.Context) error { return fault("early", Throttled) }, "late"},
		{"cut short", func(ctx context.Context) error {
			return &CallError{Op: "early", Kind: Unreachable, Err: fmt.Errorf("%w: %w", ctx.Err(), context.Cause(ctx))}
		}, "late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := wave(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return tt.earlier(ctx) }, nil,
				func(context.Context) error { return fault("late", Unreachable) })
			var call *CallError
			if !errors.As(err, &call) || call.Op != tt.want {
				t.Errorf("%v, want that of %s", err, tt.want)
			}
		})
	}
	if err := wave(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}
