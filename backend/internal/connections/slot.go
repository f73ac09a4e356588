package connections

import (
	"context"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// lateTime is how long after its failure a write is feared to land.
const lateTime = time.Minute

// slot is what memory has of one connection. It lives while somebody uses it, readers are answered from it, or it
// holds what storage does not have.
type slot struct {
	key   store.Key
	users int           // guarded by Repository.mu; those who hold or await the lock, read, or pinned it
	busy  chan struct{} // holds a token while the lock is held

	mu sync.Mutex
	// guarded by mu; higher with every change of known: what was read before is not taken after
	epoch    uint64
	known    *store.Connection // guarded by mu; the newest that storage is known to have; shared, never changed
	readable bool              // guarded by mu; readers are answered with known. The cache has the slot then
	gone     bool              // guarded by mu; known is nil because storage has none
	buried   uint64            // guarded by mu; what has no higher serial is of a connection that is gone
	top      uint64            // guarded by mu; the highest serial seen or tried
	doubtful time.Time         // guarded by mu; until then a write that failed may land. By the monotonic clock
	deletion uint64            // guarded by mu; the serial of the last deletion that failed since the doubt began
	told     *store.Connection // guarded by mu; what followers were told last, while in doubt or held
	held     *held             // guarded by mu; changed under the lock only
	intent   *intent           // guarded by mu; changed under the lock only, but for what Recover finds
}

// lock waits for the right to change the connection. It is a channel, since whoever waits for storage holds it for
// long: the wait ends with ctx, and testing/synctest lets time pass meanwhile.
func (s *slot) lock(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slot) unlock() { <-s.busy }

// acquire gives the slot of a connection, and keeps it alive until release.
func (r *Repository) acquire(k store.Key) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slots[k]
	if s == nil {
		s = &slot{key: k, busy: make(chan struct{}, 1)}
		r.slots[k] = s
	} else {
		r.cache.Get(k) // it was used now
	}
	s.users++
	return s
}

func (r *Repository) release(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.users--
	r.sweep(s)
}

// readable lets readers be answered from memory, unless Vault wants nothing cached.
func (r *Repository) readable(s *slot) {
	if r.o.Uncached() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.setReadable(true) {
		r.cache.Add(s.key, s)
	}
}

// evicted is told by the cache, under mu, that the slot is no longer in it.
func (r *Repository) evicted(s *slot) {
	s.setReadable(false)
	r.sweep(s)
}

// sweep drops a slot that nobody needs. A slot that somebody does must stay, or there were two locks for one
// connection. It is called under mu.
func (r *Repository) sweep(s *slot) {
	if s.users == 0 && s.idle() {
		delete(r.slots, s.key)
	}
}

func (s *slot) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.readable && s.held == nil && s.intent == nil && s.doubtful.IsZero()
}

// setReadable reports whether readers are answered from the slot now; there must be something to answer.
func (s *slot) setReadable(yes bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readable = yes && s.known != nil
	return s.readable
}

// view is what readers see without asking storage, unless Vault wants nothing cached;
// ok is false when they must ask, and epoch says since when.
func (s *slot) view(uncached bool) (c *store.Connection, unsaved bool, epoch uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held != nil:
		return s.newestHere().Clone(), s.held.refused, s.epoch, true
	case s.readable && !uncached && s.doubtful.IsZero():
		return s.known.Clone(), false, s.epoch, true
	}
	return nil, false, s.epoch, false
}

// newestHere is the newest that memory has: what is held, unless storage is known to have something newer. It is
// called under mu.
func (s *slot) newestHere() *store.Connection {
	if s.held != nil {
		if c := s.held.over(s.known); c != nil {
			return c
		}
	}
	return s.known
}

// take makes what storage answered at epoch the newest known, unless something was written since. It gives what a
// reader is to be told, and whether that is current.
func (r *Repository) take(s *slot, stored *store.Connection, epoch uint64) (c *store.Connection, current bool) {
	s.mu.Lock()
	current = s.epoch == epoch
	newest, late := s.newest(stored, !current || !s.doubtful.IsZero())
	if current && !late {
		if !same(s.known, stored) || s.gone != (stored == nil) {
			s.epoch++ // another reader may hold what storage had before a write that is under way
		}
		if stored == nil && s.known != nil {
			s.buried = s.top // no write of what it was brings it back
		}
		s.known, s.gone = stored, stored == nil
		if stored != nil {
			s.top = max(s.top, stored.Serial)
		}
	}
	s.mu.Unlock()
	switch {
	case !current || late:
	case stored != nil:
		r.readable(s)
	default:
		r.mu.Lock()
		r.cache.Remove(s.key) // there is nothing to answer
		r.mu.Unlock()
	}
	return newest.Clone(), current
}

// isGone reports whether storage is known to have no such connection.
func (s *slot) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// judge is newest for the holder of the lock.
func (s *slot) judge(stored *store.Connection) (newest *store.Connection, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest(stored, !s.doubtful.IsZero())
}

// newest tells which is newer, storage's answer or what is known. Without doubt it is storage's. late means that a
// write which had failed landed over what was written after it, and storage must be put right. It is called under mu.
func (s *slot) newest(stored *store.Connection, doubt bool) (newest *store.Connection, late bool) {
	switch {
	case !doubt:
		return stored, false
	case stored == nil && s.known != nil && s.deletion > 0 && s.known.Serial > s.deletion && s.known.Deleting.IsZero():
		return s.known, true // a deletion from before it was made anew
	case stored != nil && s.gone && stored.Serial <= s.buried:
		return nil, true
	case stored != nil && s.known != nil && stored.Serial < s.known.Serial:
		return s.known, true
	}
	return stored, false
}

// at is the epoch now, for the holder of the lock: nobody else writes.
func (s *slot) at() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// nextSerial is above all that were seen or tried, and counts as tried from now on.
func (s *slot) nextSerial() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.top++
	return s.top
}

// written records a write that succeeded.
func (s *slot) written(c *store.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.known, s.gone = c, false
}

// deleted records a deletion that succeeded.
func (s *slot) deleted(serial uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.known, s.gone, s.buried = nil, true, serial
}

// doubt records a write whose fate nobody knows, and the serial if it was a deletion. before is what followers take
// for the newest.
func (s *slot) doubt(until time.Time, before *store.Connection, deletion uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubtful.IsZero() {
		s.deletion, s.told = 0, before
	}
	s.doubtful, s.deletion = until, max(s.deletion, deletion)
}

// settled forgets the doubt if its time was over when storage was read, and reports whether nothing is left to do.
func (s *slot) settled(read time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !read.Before(s.doubtful) {
		s.doubtful = time.Time{}
	}
	if !s.doubtful.IsZero() || s.held != nil {
		return false
	}
	s.told = nil
	return true
}

// unsettled reports whether a write is in doubt, or something is held.
func (s *slot) unsettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != nil || !s.doubtful.IsZero()
}

// setTold notes what followers were told, while that may differ from what memory has.
func (s *slot) setTold(c *store.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told = nil; s.held != nil || !s.doubtful.IsZero() {
		s.told = c
	}
}

func (s *slot) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	if s.held == nil {
		s.known, s.gone, s.buried, s.deletion = nil, false, 0, 0
	}
}

// lastKnown is what a change rests on when storage is silent: the newest known here, else what the caller read.
func (s *slot) lastKnown(caller *store.Connection) *store.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil && s.known == nil && !s.gone && caller != nil {
		s.known, s.top = caller.Clone(), max(s.top, caller.Serial)
	}
	return s.newestHere()
}
