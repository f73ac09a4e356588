package refresh

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// cacheSize bounds the connections held decoded: at about two kilobytes each, some twenty megabytes.
const cacheSize = 10_000

// writtenSize bounds the connections remembered since they were written: those that may have changed while a flight was
// out.
const writtenSize = 1_000

// cached keeps the connections that were read last. It answers what storage holds: a write through the coordinator
// replaces the entry, a change by anybody else arrives as an invalidation, and a node that becomes active, or whose
// storage is restored, starts with a new plugin process and so with an empty cache. What was read before a change is not
// kept after it: the epoch tells.
type cached struct {
	mu      sync.Mutex                               // over each look at the epoch together with what follows from it
	epoch   uint64                                   // guarded by mu; +1 with each change
	entries *lru.Cache[store.Key, *store.Connection] // values are shared and never changed
	written *lru.Cache[store.Key, *store.Connection] // what was last written here, for when storage answers nothing
}

func newCached() *cached {
	entries, err := lru.New[store.Key, *store.Connection](cacheSize)
	if err != nil {
		panic(err) // the size is positive
	}
	written, err := lru.New[store.Key, *store.Connection](writtenSize)
	if err != nil {
		panic(err)
	}
	return &cached{entries: entries, written: written}
}

// get gives a copy of what is kept, or nil and the epoch at which the caller may read storage.
func (c *cached) get(k store.Key) (*store.Connection, uint64) {
	c.mu.Lock()
	conn, _ := c.entries.Get(k)
	epoch := c.epoch
	c.mu.Unlock()
	return conn.Clone(), epoch
}

// put keeps what was read at epoch, unless something changed since.
func (c *cached) put(k store.Key, conn *store.Connection, epoch uint64) {
	if conn == nil {
		return
	}
	conn = conn.Clone()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.entries.Add(k, conn)
	}
}

// drop forgets a connection. Call it after storage was written: whoever read before keeps nothing of it.
func (c *cached) drop(k store.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.entries.Remove(k)
}
