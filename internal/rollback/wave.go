package rollback

import (
	"context"
	"errors"
	"sync"
)

// wave does independent calls at the same time and returns when all have ended. The first failure cancels the others;
// it is the one returned, not the cancellations it caused.
func wave(ctx context.Context, calls ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, call := range calls {
		if call == nil {
			continue
		}
		wg.Go(func() {
			if err := call(ctx); err != nil {
				once.Do(func() { first = err; cancel(err) })
			}
		})
	}
	wg.Wait()
	return first
}

// each does one act for every item at the same time and waits for all of them, whatever fails: it is for writes, where
// stopping half-way would leave more to explain.
func each[T any](items []T, act func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = act(item) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
