package refresh

import (
	"sync/atomic"

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
	entries *lru.Cache[store.Key, *store.Connection] // values are shared and never changed
	epoch   atomic.Uint64                            // +1 before and after each change
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
	epoch := c.epoch.Load()
	conn, _ := c.entries.Get(k)
	return conn.Clone(), epoch
}

// put keeps what was read at epoch, unless something changed since.
func (c *cached) put(k store.Key, conn *store.Connection, epoch uint64) {
	if conn == nil || c.epoch.Load() != epoch {
		return
	}
	c.entries.Add(k, conn.Clone())
	if c.epoch.Load() != epoch {
		c.entries.Remove(k) // a change came between the look and the entry
	}
}

// drop forgets a connection. Call it before and after writing it: a reader in between must not keep what it read.
func (c *cached) drop(k store.Key) {
	c.epoch.Add(1)
	c.entries.Remove(k)
}
