package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// sample is what a load of reads came to.
type sample struct {
	reads    int
	rate     float64 // reads a second
	p50, p99 time.Duration
	worst    time.Duration
}

// after gives a channel that closes when the time is over.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	time.AfterFunc(d, func() { close(over) })
	return over
}

// load reads paths from all clients until stop closes: as fast as they can, or together at rate reads a second. At a
// rate, a read counts from when its turn came, so that a slow one does not hide the wait of those behind it.
func (s *scale) load(ctx context.Context, stop <-chan struct{}, rate float64, next func() string) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu    sync.Mutex
		taken []time.Duration
		wg    sync.WaitGroup
	)
	start := time.Now()
	for client := range s.clients {
		wg.Go(func() {
			var own []time.Duration
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, own...)
			}()
			for i := 0; ; i++ {
				turn := time.Now()
				if rate > 0 {
					turn = start.Add(time.Duration(float64(i*s.clients+client) / rate * float64(time.Second)))
				}
				if !await(ctx, stop, turn) {
					return
				}
				if err := read(ctx, s.http, s.vault.Vault, next()); err != nil {
					cancel(err)
					return
				}
				own = append(own, time.Since(turn))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return sample{}, err
	}
	return summarize(taken, time.Since(start)), nil
}

// await returns at a time; false when stop closed or ctx ended before.
func await(ctx context.Context, stop <-chan struct{}, turn time.Time) bool {
	timer := time.NewTimer(time.Until(turn))
	defer timer.Stop()
	select {
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func summarize(taken []time.Duration, in time.Duration) sample {
	if len(taken) == 0 {
		return sample{}
	}
	slices.Sort(taken)
	return sample{
		reads: len(taken), rate: float64(len(taken)) / in.Seconds(),
		p50: taken[len(taken)/2], p99: taken[len(taken)*99/100], worst: taken[len(taken)-1],
	}
}
