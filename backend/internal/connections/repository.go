package connections

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// cacheSize bounds the connections kept decoded: at about two kilobytes each with their slots, some twenty megabytes.
const cacheSize = 10_000

// Act says who changes a connection and by what verb, for those who follow the changes.
type Act struct {
	By     store.Actor
	Verb   string
	Renews bool // what is kept came of spending the grant that was there: over another it means nothing
}

// Change is one change of a connection as a reader sees it, saved or held. Before and After are nil for none, shared,
// and not to be changed.
type Change struct {
	Key           store.Key
	Act           Act
	Before, After *store.Connection
}

// Options is what a Repository works with. All of it but Hasher is required.
type Options struct {
	Store    store.Store // of the mount, not of one request
	Logger   hclog.Logger
	Now      func() time.Time
	Uncached func() bool // whether storage must be read every time
	// Changed is told of each change, under the connection's lock and in order. It must not call back, nor wait.
	Changed func(Change)
	// Unsettled is told that there is something for Flush to do. It must not call back, nor wait.
	Unsettled func()
	// Hasher makes traces of the secrets that a change takes away. It is asked under the connection's lock, so it must
	// not wait; nil of it, or from it, keeps none.
	Hasher func() *store.Hasher
}

// Repository holds the connections of one mount.
type Repository struct {
	o      Options
	logger hclog.Logger
	held   atomic.Int64 // connections whose newest credential storage refused

	mu        sync.Mutex
	slots     map[store.Key]*slot              // guarded by mu
	cache     *simplelru.LRU[store.Key, *slot] // guarded by mu; the slots that readers are answered from, by last use
	unsettled map[store.Key]struct{}           // guarded by mu; those that Flush must look at
	unread    []string                         // guarded by mu; intents that Recover must read again
}

// New makes a repository with nothing in memory.
func New(o Options) *Repository {
	r := &Repository{o: o, logger: o.Logger, slots: map[store.Key]*slot{}, unsettled: map[store.Key]struct{}{}}
	cache, err := simplelru.NewLRU(cacheSize, func(_ store.Key, s *slot) { r.evicted(s) })
	if err != nil {
		panic(err) // the size is positive
	}
	r.cache = cache
	return r
}

// Get answers a connection as it is: what is held in memory, else what storage has. nil when there is none. unsaved
// tells that storage does not have it, so that it would be lost with this process.
func (r *Repository) Get(ctx context.Context, k store.Key) (c *store.Connection, unsaved bool, err error) {
	s := r.acquire(k)
	defer r.release(s)
	for try := 0; ; try++ {
		c, unsaved, epoch, ok := s.view(r.o.Uncached())
		if ok {
			return c, unsaved, nil
		}
		stored, err := r.o.Store.Connection(ctx, k)
		if err != nil {
			return nil, false, err
		}
		// Somebody may have written meanwhile: then what was read may be older than what they were told.
		if c, current := r.take(s, stored, epoch); current || try == 3 {
			return c, false, nil
		}
	}
}

// Look is Get for whoever goes over many connections: what it reads is not kept in memory.
func (r *Repository) Look(ctx context.Context, k store.Key) (*store.Connection, error) {
	r.mu.Lock()
	inMemory := r.slots[k] != nil
	r.mu.Unlock()
	if !inMemory {
		return r.o.Store.Connection(ctx, k)
	}
	c, _, err := r.Get(ctx, k)
	return c, err
}

// Update changes a connection under its lock. change gets a copy, nil when there is none, and returns what to store;
// nil leaves everything as it is. When storage refuses, nothing has changed as far as anybody here is told.
func (r *Repository) Update(ctx context.Context, k store.Key, act Act,
	change func(*store.Connection) (*store.Connection, error),
) (*store.Connection, error) {
	return r.update(ctx, k, act, change, false)
}

// Replace is Update for a write that brings a whole connection: an entry that no release can decode counts as none.
func (r *Repository) Replace(ctx context.Context, k store.Key, act Act,
	change func(*store.Connection) (*store.Connection, error),
) (*store.Connection, error) {
	return r.update(ctx, k, act, change, true)
}

func (r *Repository) update(ctx context.Context, k store.Key, act Act,
	change func(*store.Connection) (*store.Connection, error),
	overDamaged bool,
) (*store.Connection, error) {
	s := r.acquire(k)
	defer r.release(s)
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if err := r.save(ctx, k, s); err != nil {
		return nil, err // what is held may rest on less than storage has
	}
	before, err := r.current(ctx, k, s)
	if err != nil && !(overDamaged && store.Damaged(err)) {
		return nil, err
	}
	if before != nil && before.IsMoving() {
		return nil, &MovingError{k} // what it is has been decided, and may stand elsewhere already
	}
	next, err := change(before.Clone())
	if err != nil || next == nil {
		return nil, err
	}
	r.sign(act, before, next)
	if err := r.write(ctx, k, s, next); err != nil {
		return nil, err
	}
	r.tell(s, act, before, next)
	return next.Clone(), nil
}

// Keep is Update for a credential that must not be lost: it is held in memory before it is written, and until it is.
// saved tells whether storage has it. known is what the caller read before, for when storage does not even answer a
// read. Of a connection that there is already, only what belongs to the credential is kept.
func (r *Repository) Keep(ctx context.Context, k store.Key, act Act, known *store.Connection,
	change func(*store.Connection) (*store.Connection, error),
) (c *store.Connection, saved bool, err error) {
	s := r.acquire(k)
	defer r.release(s)
	_ = s.lock(context.WithoutCancel(ctx)) // the answer came: it is kept though its caller has left
	defer s.unlock()
	earlier := s.isHeld()
	before, silent := r.current(ctx, k, s)
	if silent != nil {
		before = s.lastKnown(known)
	}
	if store.Damaged(silent) {
		silent = nil // nothing is lost by writing over it
	}
	next, err := change(before.Clone())
	if err != nil || next == nil {
		return nil, false, err
	}
	r.sign(act, before, next)
	r.hold(s, act, before, next)
	if silent == nil && !earlier {
		if err = r.write(ctx, k, s, next); err == nil {
			r.letGo(s)
			r.tell(s, act, before, next)
			return next.Clone(), true, nil
		}
		silent = err
	}
	now := s.lastKnown(nil)
	r.tell(s, act, before, now)
	if earlier && silent == nil {
		if silent = r.save(ctx, k, s); silent == nil {
			return s.lastKnown(nil).Clone(), true, nil
		}
	}
	r.refused(k, s, silent)
	return now.Clone(), false, nil
}

// Delete removes a connection and its intent. What was held of it goes with it.
func (r *Repository) Delete(ctx context.Context, k store.Key, act Act) error {
	s := r.acquire(k)
	defer r.release(s)
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	before, err := r.current(ctx, k, s)
	if err != nil && !store.Damaged(err) {
		return err
	}
	return r.remove(ctx, k, s, before, act)
}

// remove deletes a connection and its intent, under the lock.
func (r *Repository) remove(ctx context.Context, k store.Key, s *slot, before *store.Connection, act Act) error {
	// The intent goes first: one that outlived its connection would cast doubt on the next of that name.
	ctx = context.WithoutCancel(ctx)
	if err := r.o.Store.DeleteIntent(ctx, k); err != nil {
		return err
	}
	s.setIntent(nil)
	if err := r.bury(ctx, k, s.stored(), before); err != nil {
		return err
	}
	serial := s.nextSerial()
	if err := r.o.Store.DeleteConnection(ctx, k); err != nil {
		r.failed(s, before, serial, err)
		return err
	}
	r.letGo(s)
	s.deleted(serial)
	r.mu.Lock()
	r.cache.Remove(k)
	r.mu.Unlock()
	r.tell(s, act, before, nil)
	return nil
}

// Invalidate forgets what memory has of storage, since somebody else changed it. What storage refused stays.
func (r *Repository) Invalidate(k store.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.slots[k]; s != nil {
		s.invalidate()
		r.cache.Remove(k)
	}
}

// Pin keeps in memory what is known of a connection until release is called: whoever is about to ask a provider keeps
// the answer by it, should storage be silent by then.
func (r *Repository) Pin(k store.Key) (release func()) {
	s := r.acquire(k)
	return func() { r.release(s) }
}

// current is what the holder of the slot's lock may rest a change on: a reader's view, or else storage's answer.
func (r *Repository) current(ctx context.Context, k store.Key, s *slot) (*store.Connection, error) {
	c, _, _, ok := s.view(r.o.Uncached())
	var err error
	if !ok {
		c, err = r.read(ctx, k, s)
	}
	if s.unsettled() {
		r.tellLate(s)
	}
	return c, err
}

// read asks storage, and puts right what a late write did there. It is called under the slot's lock.
func (r *Repository) read(ctx context.Context, k store.Key, s *slot) (*store.Connection, error) {
	stored, err := r.o.Store.Connection(context.WithoutCancel(ctx), k)
	if err != nil {
		return nil, err
	}
	newest, late := s.judge(stored)
	switch {
	case !late:
		newest, _ = r.take(s, stored, s.at())
		return newest, nil
	case newest == nil:
		r.logger.Info("an old write of a deleted connection landed late: it is deleted again",
			"connection", k.String())
		if err := r.o.Store.DeleteConnection(context.WithoutCancel(ctx), k); err != nil {
			r.failed(s, nil, s.highest(), err)
			return nil, err
		}
		return nil, nil
	}
	r.logger.Info("an old write of a connection landed late: its newest state is written again",
		"connection", k.String())
	return newest, r.writeAs(ctx, k, s, newest) // a copy with a higher serial might land over what came after it
}

// sign notes who changed the connection, if anything did change, and what that took away, and names one that has no
// name yet.
func (r *Repository) sign(act Act, before, next *store.Connection) {
	by := act.By
	if by == (store.Actor{}) {
		by.Time = r.o.Now()
	} else if !before.Equal(next) {
		next.Updated = act.By
	}
	if next.ID == "" {
		next.ID = rand.Text()
	}
	next.Remember(before, r.hasher(), r.o.Now())
	next.Note(before, act.Verb, by, act.Renews)
}

func (r *Repository) hasher() *store.Hasher {
	if r.o.Hasher == nil {
		return nil
	}
	return r.o.Hasher()
}

// retire keeps the record of what storage has before another takes its place: it is true, whatever becomes of the write
// that follows.
func (r *Repository) retire(ctx context.Context, k store.Key, stored, next *store.Connection) error {
	if stored == nil || stored.Record == nil || stored.Record.Same(next.Record) {
		return nil
	}
	return r.o.Store.AppendHistory(context.WithoutCancel(ctx), k, *stored.Record)
}

// bury keeps what is to outlive an entry that goes: the record of what storage has, and traces of the secrets that the
// connection had last.
func (r *Repository) bury(ctx context.Context, k store.Key, stored, last *store.Connection) error {
	var record *store.Record
	if stored != nil {
		record = stored.Record
	}
	if last == nil {
		last = stored
	}
	switch {
	case last == nil:
		return nil
	case !last.IsMoving() || last.Moving.Bare:
		return r.o.Store.Bury(ctx, k, record, last.Bury(r.hasher(), r.o.Now()))
	case record != nil: // the rest went with it
		return r.o.Store.LeaveHistory(ctx, k, *record)
	}
	return nil
}

// write stores next with a serial above all that were tried.
func (r *Repository) write(ctx context.Context, k store.Key, s *slot, next *store.Connection) error {
	next.Serial = s.nextSerial()
	return r.writeAs(ctx, k, s, next)
}

// writeAs stores next with the serial that it has. A caller who hangs up does not stop it: storage may take the write
// all the same.
func (r *Repository) writeAs(ctx context.Context, k store.Key, s *slot, next *store.Connection) error {
	before := s.lastKnown(nil)
	if err := r.retire(ctx, k, s.stored(), next); err != nil {
		return err
	}
	if err := r.o.Store.PutConnection(context.WithoutCancel(ctx), k, next); err != nil {
		r.failed(s, before, 0, err)
		return err
	}
	s.written(next.Clone())
	r.readable(s)
	return nil
}

// failed records a write that did not succeed; see [slot.doubt]. Unless storage may not be written at all, or was not
// asked, it may still land.
func (r *Repository) failed(s *slot, before *store.Connection, deletion uint64, err error) {
	if store.IsReadOnly(err) || store.TooLarge(err) {
		return
	}
	s.doubt(time.Now().Add(lateTime), before, deletion)
	r.unsettle(s.key)
}

// unsettle lets Flush look at a connection. Flush itself comes back to those that it knows.
func (r *Repository) unsettle(k store.Key) {
	r.mu.Lock()
	_, known := r.unsettled[k]
	r.unsettled[k] = struct{}{}
	r.mu.Unlock()
	if !known {
		r.o.Unsettled()
	}
}

func (r *Repository) tell(s *slot, act Act, before, after *store.Connection) {
	s.setTold(after)
	r.o.Changed(Change{Key: s.key, Act: act, Before: before, After: after})
}

// tellLate tells of what came of a write that had failed, if followers do not know it yet: a reader may have seen it
// first.
func (r *Repository) tellLate(s *slot) {
	s.mu.Lock()
	before, after := s.told, s.newestHere()
	known := after != nil || s.gone
	s.mu.Unlock()
	if known && !same(before, after) {
		r.tell(s, Act{Verb: "late write"}, before, after)
	}
}
