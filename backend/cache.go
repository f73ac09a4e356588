package backend

import (
	"context"
	"sync"
)

// cache keeps what was read from storage, by name, until it is told that storage changed. Values are shared: nobody
// may change one. A value read before a change is never kept after it, whichever of the two finishes first.
type cache[T any] struct {
	mu     sync.Mutex
	epoch  uint64        // guarded by mu; +1 with each drop
	values map[string]*T // guarded by mu
}

// get answers what is kept, or loads and keeps it. nil is not kept.
func (c *cache[T]) get(ctx context.Context, name string, load func(context.Context) (*T, error)) (*T, error) {
	c.mu.Lock()
	v, epoch := c.values[name], c.epoch
	c.mu.Unlock()
	if v != nil {
		return v, nil
	}
	v, err := load(ctx)
	if err != nil || v == nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		if c.values == nil {
			c.values = map[string]*T{}
		}
		c.values[name] = v
	}
	return v, nil
}

// drop forgets everything. Call it after each write to storage and on each invalidation.
func (c *cache[T]) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.values)
}
