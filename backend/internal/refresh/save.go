package refresh

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	firstSaveRetry = 100 * time.Millisecond
	maxSaveRetry   = 15 * time.Second

	writeTime = 5 * time.Second // for one write to storage
)

// Load reads a connection: what is kept unsaved in memory, else what storage holds. nil when there is none.
func (c *Coordinator) Load(ctx context.Context, k store.Key) (*store.Connection, error) {
	conn, _, err := c.load(ctx, k)
	return conn, err
}

func (c *Coordinator) load(ctx context.Context, k store.Key) (conn *store.Connection, unsaved bool, err error) {
	c.mu.Lock()
	if held := c.unsaved[k]; held != nil {
		conn = held.conn.Clone()
	}
	c.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	conn, epoch := c.cache.get(k)
	if conn != nil {
		return conn, false, nil
	}
	if conn, err = c.opts.Store.Connection(ctx, k); err == nil && !c.opts.Uncached() {
		c.cache.put(k, conn, epoch)
	}
	return conn, false, err
}

// put writes a connection, and lets nobody keep what was there before. A caller who hangs up does not stop it: storage may
// take the write all the same, and a reader in between would keep what was there before. Nor does the end of the drain,
// since the provider's answer may have come with it.
func (c *Coordinator) put(ctx context.Context, k store.Key, conn *store.Connection) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	defer c.cache.drop(k)
	err := c.opts.Store.PutConnection(ctx, k, conn)
	if err == nil {
		c.cache.written.Add(k, conn.Clone())
	}
	return err
}

// Invalidate forgets what is held of a connection that somebody else changed.
func (c *Coordinator) Invalidate(k store.Key) {
	c.cache.drop(k)
	c.cache.written.Remove(k)
	c.index.set(k, c.opts.Now()) // it may have become due: look at it
}

// Update changes a connection under its lock. change gets a fresh copy, nil when there is none, and returns what to
// store; nil leaves everything as it is. When storage refuses, nothing has changed.
func (c *Coordinator) Update(ctx context.Context, k store.Key, change func(*store.Connection) (*store.Connection, error)) (*store.Connection, error) {
	defer c.locks.lock(k)()
	if _, err := c.save(ctx, k); err != nil {
		return nil, err // what is held may rest on less than storage holds
	}
	conn, err := c.Load(ctx, k)
	if err != nil {
		return nil, err
	}
	next, err := change(conn)
	if err != nil || next == nil {
		return nil, err
	}
	if err := c.put(ctx, k, next); err != nil {
		return nil, err
	}
	c.changed(ctx, k, next)
	return next.Clone(), nil
}

// Keep is Update for what must not be lost: when storage refuses, the result is held in memory, served from there and
// saved as soon as storage takes it. saved tells which. known is what the caller read before, for when storage does not
// even answer a read.
func (c *Coordinator) Keep(ctx context.Context, k store.Key, known *store.Connection, change func(*store.Connection) (*store.Connection, error)) (conn *store.Connection, saved bool, err error) {
	defer c.locks.lock(k)()
	conn, unsaved, err := c.load(ctx, k)
	blind := err != nil
	if blind {
		if last, ok := c.cache.written.Get(k); ok {
			known = last // the caller may have read before that
		}
		conn = known.Clone()
	}
	next, err := change(conn)
	if err != nil || next == nil {
		return nil, false, err
	}
	if !blind && !unsaved {
		if err = c.put(ctx, k, next); err == nil {
			c.changed(ctx, k, next)
			return next.Clone(), true, nil
		}
	}
	first := c.keep(k, next, change, !blind)
	if unsaved {
		if next, err = c.save(ctx, k); err == nil {
			return next, true, nil
		}
		next, _ = c.Load(ctx, k)
	}
	level := hclog.Debug
	if first { // one line for one outage, however many connections it meets
		level = hclog.Error
	}
	c.logger.Log(level, "storage refuses a connection; its new state is held in memory and saved later", "connection", k.String(), "error", err)
	c.changed(ctx, k, next)
	c.saveLater()
	return next.Clone(), false, nil
}

// kept is a state that storage refused, and the changes that made it of what was read before. When storage turns out to
// hold something else than that, they are made again of what it holds.
type kept struct {
	conn    *store.Connection
	tried   bool   // to write it, or what it was made of: storage may have done so though it refused
	heard   uint64 // the generation whose intent stands though its answer is known
	changes []func(*store.Connection) (*store.Connection, error)
}

// redo makes the changes of what storage holds; nil when none of them applies any more.
func (u *kept) redo(stored *store.Connection) *store.Connection {
	var made *store.Connection
	for _, change := range u.changes {
		if next, err := change(stored.Clone()); err == nil && next != nil {
			stored, made = next, next
		}
	}
	return made
}

// keep holds a state that storage does not, and the change that it came by. It reports whether nothing was held before.
func (c *Coordinator) keep(k store.Key, conn *store.Connection, change func(*store.Connection) (*store.Connection, error), tried bool) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = len(c.unsaved) == 0
	held := c.unsaved[k]
	if held == nil {
		held = &kept{tried: true}
		c.unsaved[k] = held
	}
	held.conn, held.tried = conn.Clone(), held.tried && tried
	held.changes = append(held.changes, change)
	return first
}

// forget lets go of what was held of a connection: storage has it, or something newer.
func (c *Coordinator) forget(k store.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsaved[k] == nil {
		return
	}
	if delete(c.unsaved, k); len(c.unsaved) == 0 {
		c.logger.Info("storage takes connections again: nothing is held in memory only")
	}
}

// remember notes with what is held that the answer to that generation's intent is part of it. It reports whether anything
// is held.
func (c *Coordinator) remember(k store.Key, generation uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.unsaved[k]
	if held != nil {
		held.heard = generation
	}
	return held != nil
}

// heard reports whether the answer to that generation's intent is part of what is held.
func (c *Coordinator) heard(k store.Key, generation uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.unsaved[k]
	return held != nil && held.heard == generation
}

// setAnnounced notes that the intent of a connection is of a request that may be out, or no longer.
func (c *Coordinator) setAnnounced(k store.Key, out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if out {
		c.announced[k] = true
	} else {
		delete(c.announced, k)
	}
}

func (c *Coordinator) isAnnounced(k store.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.announced[k]
}

// someUnsaved names connections that live in memory only, so many at most.
func (c *Coordinator) someUnsaved(most int) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.unsaved {
		if names = append(names, k.String()); len(names) == most {
			break
		}
	}
	return names
}

// Unsaved is how many connections live in memory only.
func (c *Coordinator) Unsaved() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unsaved)
}

// saveLater makes sure that somebody tries to save until nothing is unsaved. While closing nobody starts: Close itself
// makes the last tries.
func (c *Coordinator) saveLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saving || len(c.unsaved) == 0 {
		return
	}
	c.saving = c.flights.spawn(func(ctx context.Context) {
		finished := false
		defer func() {
			if !finished {
				c.savingEnded()
			}
		}()
		for wait := firstSaveRetry; c.stillSaving(); wait = min(2*wait, maxSaveRetry) {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
				c.saveAll(ctx)
			case <-c.closing:
				timer.Stop()
				return
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
		finished = true
	})
}

// stillSaving says whether anything is unsaved, and in the same breath gives the task up when not, so that what becomes
// unsaved a moment later finds nobody saving and starts anew.
func (c *Coordinator) stillSaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saving = len(c.unsaved) > 0
	return c.saving
}

func (c *Coordinator) savingEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saving = false
}

// saveAll tries once to save each connection that is unsaved.
func (c *Coordinator) saveAll(ctx context.Context) {
	c.mu.Lock()
	keys := make([]store.Key, 0, len(c.unsaved))
	for k := range c.unsaved {
		keys = append(keys, k)
	}
	c.mu.Unlock()
	for _, k := range keys {
		if ctx.Err() != nil {
			return
		}
		if err := c.saveOne(ctx, k); err != nil {
			c.logger.Debug("storage still refuses a connection", "connection", k.String(), "error", err)
		}
	}
}

func (c *Coordinator) saveOne(ctx context.Context, k store.Key) error {
	defer c.locks.lock(k)()
	_, err := c.save(ctx, k)
	return err
}

// save writes what is held of a connection, if anything is, and gives what storage holds then. It is called under the
// connection's lock.
func (c *Coordinator) save(ctx context.Context, k store.Key) (*store.Connection, error) {
	c.mu.Lock()
	held := c.unsaved[k]
	c.mu.Unlock()
	if held == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	stored, err := c.opts.Store.Connection(ctx, k)
	if err != nil {
		return nil, err
	}
	next := held.conn.Clone()
	switch {
	case stored != nil && stored.Serial == next.Serial:
	case held.tried && stored != nil && stored.Serial == next.Serial+1 && stored.Generation <= next.Generation:
		next.Serial = stored.Serial // a write that it refused was made after all
	default:
		next = held.redo(stored) // it did not answer when we read it, or another node went on
	}
	if next == nil {
		c.logger.Warn("dropped an unsaved state: storage holds a newer one", "connection", k.String())
		next = stored
	} else {
		c.mu.Lock()
		held.conn, held.tried = next.Clone(), true
		c.mu.Unlock()
		if err := c.put(ctx, k, next); err != nil {
			return nil, err
		}
		c.logger.Debug("saved a connection that storage had refused", "connection", k.String())
	}
	c.forget(k)
	c.changed(ctx, k, next)
	if c.isAnnounced(k) {
		return next, nil // the intent is of a request that may be out
	}
	// An intent that stays is found by the next refresh, or the next start.
	if err := c.opts.Store.DeleteIntent(ctx, k); err != nil {
		c.logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
	}
	return next, nil
}

// Nudge makes sure that what is unsaved is being saved, and that the worker looks whether it may work now. It is cheap;
// the heartbeat calls it, and so does a change of the mount's settings.
func (c *Coordinator) Nudge() {
	c.saveLater()
	c.index.signal()
}

// changed tells whoever follows the connections, and enters the new state into the index. It is called under the
// connection's lock.
func (c *Coordinator) changed(ctx context.Context, k store.Key, conn *store.Connection) {
	c.opts.Changed(k, conn)
	if conn == nil {
		c.index.set(k, time.Time{})
		return
	}
	c.index.set(k, c.dueOf(ctx, k, conn))
}
