package refresh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	// maxAtOnce bounds the refreshes of the worker in flight, maxPerProvider those of one provider: a slow provider fills
	// its own share and leaves the others theirs.
	maxAtOnce      = 64
	maxPerProvider = 16

	// lookAgain is when the worker comes back to what it could not judge: storage did not answer, or this node may not
	// write now.
	lookAgain = time.Minute

	// holdTime is how long the worker starts nothing after another mount of the process began to go away: longer than that
	// mount waits for what is in flight, so that a process which is then replaced has nothing in the air.
	holdTime = 15 * time.Second
)

// worker refreshes in the background what the index names.
type worker struct {
	working atomic.Bool

	mu       sync.Mutex
	waiting  map[string][]turn  // guarded by mu; by provider, first come first served
	queued   map[store.Key]bool // guarded by mu; those that wait
	turns    []string           // guarded by mu; providers with something waiting, the next one first
	running  map[string]int     // guarded by mu; by provider
	total    int                // guarded by mu
	held     time.Time          // guarded by mu; nothing is started before
	lastPass time.Time          // guarded by mu; when the worker last found something due
}

// turn is a connection that waits for its provider.
type turn struct {
	key   store.Key
	since time.Time
}

// Health is how refreshing fares.
type Health struct {
	Scheduled int       // connections that will be refreshed by themselves
	Due       int       // of them due now, waiting ones included
	Overdue   int       // of them due for more than a minute
	InFlight  int       // refreshes under way, whoever asked for them
	LastPass  time.Time // zero before the first
	Circuits  map[string]CircuitState
}

// Health reads the state of the worker.
func (c *Coordinator) Health() Health {
	now := c.opts.Now()
	scheduled, due, overdue := c.index.count(now, now.Add(-time.Minute))
	c.worker.mu.Lock()
	defer c.worker.mu.Unlock()
	for _, waiting := range c.worker.waiting {
		due += len(waiting)
		scheduled += len(waiting)
		for _, e := range waiting {
			if now.Sub(e.since) > time.Minute {
				overdue++
			}
		}
	}
	return Health{
		Scheduled: scheduled, Due: due, Overdue: overdue, InFlight: c.flights.count(refreshing), LastPass: c.worker.lastPass, Circuits: c.circuits.states(now),
	}
}

// Schedule enters a connection into the index as it was read from storage. What changes enters itself, and may have done so
// since: an entry that is there is not moved to later.
func (c *Coordinator) Schedule(ctx context.Context, k store.Key, conn *store.Connection) {
	c.index.offer(k, c.dueOf(ctx, k, conn))
}

func (c *Coordinator) dueOf(ctx context.Context, k store.Key, conn *store.Connection) time.Time {
	now := c.opts.Now()
	terms, err := c.opts.Source.Terms(ctx, conn)
	if err != nil {
		return now.Add(lookAgain)
	}
	return dueAt(k, conn, terms, now)
}

// Reconsider looks again at connections that rest, because their provider changed or answers again.
func (c *Coordinator) Reconsider(keys []store.Key) {
	now := c.opts.Now()
	for _, k := range keys {
		c.index.set(k, now)
	}
	c.index.signal()
}

// Work refreshes what falls due until ctx ends. While nothing is due it sleeps. There is one at a time: a second call
// returns at once.
func (c *Coordinator) Work(ctx context.Context) {
	if !c.worker.working.CompareAndSwap(false, true) {
		return
	}
	defer c.worker.working.Store(false)
	for ctx.Err() == nil {
		refused := c.pass(ctx)
		timer := time.NewTimer(c.untilNext(refused))
		select {
		case <-timer.C:
		case <-c.index.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// untilNext is how long the worker may sleep unless it is woken. refused says that what is due was left alone: this node may
// not write, or refreshing is paused. A change of that wakes the worker.
func (c *Coordinator) untilNext(refused bool) time.Duration {
	now := c.opts.Now()
	wait := time.Hour
	if next, ok := c.index.next(); ok {
		wait = min(wait, max(next.Sub(now), 0))
		if refused {
			wait = max(wait, lookAgain)
		}
	}
	c.worker.mu.Lock()
	defer c.worker.mu.Unlock()
	for provider := range c.worker.waiting {
		if until, _ := c.circuits.until(provider, now); !until.IsZero() {
			wait = min(wait, max(until.Sub(now), time.Second))
		}
	}
	return wait
}

// pass moves what is due into its provider's queue, and starts what may start. refused tells that it may not.
func (c *Coordinator) pass(ctx context.Context) (refused bool) {
	now := c.opts.Now()
	if next, ok := c.index.next(); ok && !next.After(now) {
		refused = !c.mayWork(ctx)
	}
	if !refused {
		for k, ok := c.index.pop(now); ok && ctx.Err() == nil; k, ok = c.index.pop(now) {
			c.worker.mu.Lock()
			c.worker.lastPass = now
			c.worker.mu.Unlock()
			c.enqueue(ctx, k, now)
			c.dispatch(ctx) // with a hundred thousand due, the first need not wait for a look at the last
		}
	}
	c.dispatch(ctx)
	return refused
}

// mayWork asks once for all that is due whether this node may write and the operator lets it.
func (c *Coordinator) mayWork(ctx context.Context) bool {
	return c.opts.Writable() && !c.opts.Paused(ctx)
}

// enqueue looks at a connection that the index named, and lets it wait for its provider if it is due indeed.
// now is that of the whole pass: by a clock that was set back meanwhile, what is entered anew would be due again at once.
func (c *Coordinator) enqueue(ctx context.Context, k store.Key, now time.Time) {
	a, err := c.look(ctx, k)
	var problem *Error
	switch {
	case errors.As(err, &problem):
		return // it is gone
	case err != nil:
		c.index.set(k, now.Add(lookAgain))
		return
	}
	if due := c.dueNow(k, a, now); due.IsZero() || due.After(now) {
		c.index.set(k, due)
		return
	}
	w, provider := &c.worker, a.Connection.Provider
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting, w.running, w.queued = map[string][]turn{}, map[string]int{}, map[store.Key]bool{}
	}
	if w.queued[k] {
		return
	}
	w.queued[k] = true
	if len(w.waiting[provider]) == 0 {
		w.turns = append(w.turns, provider)
	}
	w.waiting[provider] = append(w.waiting[provider], turn{k, now})
}

// dueNow is dueAt, but for failures that belong to an outage which is over.
func (c *Coordinator) dueNow(k store.Key, a Answer, now time.Time) time.Time {
	conn := a.Connection
	if c.circuits.excuses(conn.Provider, k) {
		conn = conn.Clone()
		conn.Attempt = store.Attempt{}
	}
	return dueAt(k, conn, a.Terms, now)
}

// dispatch starts what waits, one for each provider in turn, as far as the bounds and the circuits let it.
func (c *Coordinator) dispatch(ctx context.Context) {
	for {
		k, provider, ok := c.take()
		if !ok {
			return
		}
		if !c.flights.spawn(func(base context.Context) {
			defer c.release(provider)
			c.refreshDue(base, k)
		}) {
			c.free(provider) // closing: nobody will take it any more
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// take picks the next connection, of the provider whose turn it is.
func (c *Coordinator) take() (store.Key, string, bool) {
	now, w := c.opts.Now(), &c.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.total >= maxAtOnce || now.Before(w.held) {
		return store.Key{}, "", false
	}
	for range len(w.turns) {
		provider := w.turns[0]
		w.turns = w.turns[1:]
		limit := maxPerProvider
		if until, _ := c.circuits.until(provider, now); !until.IsZero() {
			limit = 0
		} else if c.circuits.halfOpen(provider) {
			limit = 1
		}
		if w.running[provider] >= limit {
			w.turns = append(w.turns, provider)
			continue
		}
		k := w.waiting[provider][0].key
		delete(w.queued, k)
		if w.waiting[provider] = w.waiting[provider][1:]; len(w.waiting[provider]) == 0 {
			delete(w.waiting, provider)
		} else {
			w.turns = append(w.turns, provider)
		}
		w.running[provider]++
		w.total++
		return k, provider, true
	}
	return store.Key{}, "", false
}

// holding reports whether nothing new is to be started by itself.
func (c *Coordinator) holding(now time.Time) bool {
	c.worker.mu.Lock()
	defer c.worker.mu.Unlock()
	return now.Before(c.worker.held)
}

// Forget drops what is known of a provider that went elsewhere: that it was down, or asked to be left alone.
func (c *Coordinator) Forget(provider string) { c.circuits.forget(provider) }

// hold keeps the worker from starting anything for a while.
func (c *Coordinator) hold() {
	c.worker.mu.Lock()
	c.worker.held = c.opts.Now().Add(holdTime)
	c.worker.mu.Unlock()
	time.AfterFunc(holdTime, c.index.signal)
}

// release gives a place back and lets the next one have it.
func (c *Coordinator) release(provider string) {
	c.free(provider)
	c.index.signal()
}

func (c *Coordinator) free(provider string) {
	w := &c.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total--
	if w.running[provider]--; w.running[provider] == 0 {
		delete(w.running, provider)
	}
}

// refreshDue refreshes one connection, unless a reader was faster. What it came to has entered the index anew, unless
// nothing could be written: then it is looked at again later.
func (c *Coordinator) refreshDue(ctx context.Context, k store.Key) {
	a, err := c.look(ctx, k)
	if err == nil {
		now := c.opts.Now()
		if due := c.dueNow(k, a, now); due.After(now) || due.IsZero() {
			c.index.set(k, due) // a reader was faster
			return
		}
		_, err = c.join(ctx, k, a.Connection.Generation, false)
	}
	if err != nil && ctx.Err() == nil {
		c.retryLater(ctx, k)
	}
}

// retryLater enters a connection whose refresh failed at the time its record says, and never at once.
func (c *Coordinator) retryLater(ctx context.Context, k store.Key) {
	now := c.opts.Now()
	a, err := c.look(ctx, k)
	if err != nil {
		c.index.set(k, now.Add(lookAgain))
		return
	}
	due := dueAt(k, a.Connection, a.Terms, now)
	if !due.IsZero() && !due.After(now) {
		due = now.Add(lookAgain)
		if until, _ := c.circuits.until(a.Connection.Provider, now); until.After(now) {
			due = until
		}
	}
	c.index.set(k, due)
}
