package rollback

import (
	"context"
	"errors"
	"sync"
)

// A Wave does independent calls at the same time. The first failure cancels the others.
type Wave struct {
	wg     sync.WaitGroup
	cancel context.CancelCauseFunc
	mu     sync.Mutex // guards what follows
	errs   []error    // in the order in which the calls were begun
	first  int        // to fail, -1 while none has
}

// NewWave begins a wave; the calls take the context that it returns.
func NewWave(ctx context.Context) (*Wave, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Wave{cancel: cancel, first: -1}, ctx
}

// Go begins a call.
func (w *Wave) Go(call func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := len(w.errs)
	w.errs = append(w.errs, nil)
	w.wg.Go(func() {
		err := call()
		if err == nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.errs[i] = err; w.first < 0 {
			w.first = i
			w.cancel(err)
		}
	})
}

// Wait returns when all calls have ended, with the failure that explains the others, not with the cancellations it caused.
// Where several failed likewise, because the system they ask is down, it is always that of the call that was begun first: whoever
// tries again should not read of another trouble.
func (w *Wave) Wait() error {
	w.wg.Wait()
	w.cancel(nil)
	if w.first < 0 {
		return nil
	}
	for _, err := range w.errs[:w.first] {
		if err != nil && KindOf(err) == KindOf(w.errs[w.first]) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return w.errs[w.first]
}

// wave does calls as a Wave, and returns when all have ended.
func wave(ctx context.Context, calls ...func(context.Context) error) error {
	w, ctx := NewWave(ctx)
	for _, call := range calls {
		if call != nil {
			w.Go(func() error { return call(ctx) })
		}
	}
	return w.Wait()
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
