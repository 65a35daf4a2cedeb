package kube

import (
	"context"
	"log/slog"
)

// quiet is where client-go's log goes: to our own log, but never above debug level. What matters of it comes back as an
// error anyway, and a line on stderr in the middle of a rollback helps nobody.
type quiet struct {
	with []func(slog.Handler) slog.Handler // attributes and groups, applied to whatever the default handler is then
}

func (quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return slog.Default().Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if !q.Enabled(ctx, r.Level) { // klog does not ask for errors
		return nil
	}
	r.Level = slog.LevelDebug
	h := slog.Default().Handler()
	for _, w := range q.with {
		h = w(h)
	}
	return h.Handle(ctx, r)
}

func (q quiet) and(w func(slog.Handler) slog.Handler) slog.Handler {
	return quiet{append(q.with[:len(q.with):len(q.with)], w)}
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return q.and(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (q quiet) WithGroup(name string) slog.Handler {
	return q.and(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}
