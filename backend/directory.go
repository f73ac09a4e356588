package backend

import (
	"context"
	"sync"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// directory knows a little of every connection, so that counts and questions across owners need not read them all. It
// is filled from storage once and then follows each change. It never says whether a connection exists: storage does.
type directory struct {
	filling sync.Mutex // held during a fill, so that there is one at a time

	mu      sync.Mutex
	full    bool                  // guarded by mu
	entries map[store.Key]summary // guarded by mu
	touched map[store.Key]bool    // guarded by mu; non-nil during a fill: what changed since it began
}

// summary is what the directory keeps of one connection.
type summary struct {
	provider string
	status   store.Status
	reason   store.Reason
	pinned   string
	account  string // at the provider; empty when unknown
}

func summarize(c *store.Connection) summary {
	s := summary{provider: c.Provider, status: c.Status, reason: c.Reason, pinned: c.Pinned}
	if c.Grant != nil {
		s.account = c.Grant.Account.ID
	}
	return s
}

// changed follows one connection; nil: it is gone.
func (d *directory) changed(k store.Key, c *store.Connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.touched != nil {
		d.touched[k] = true
	}
	if c == nil {
		delete(d.entries, k)
		return
	}
	if d.entries == nil {
		d.entries = map[store.Key]summary{}
	}
	d.entries[k] = summarize(c)
}

// forget drops what somebody else changed; the next question reads storage again.
func (d *directory) forget(k store.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.entries, k)
	d.full = false
}

// fill reads storage, once. What changes while it reads is newer than what it read.
func (d *directory) fill(ctx context.Context, s store.Store) error {
	d.filling.Lock()
	defer d.filling.Unlock()
	d.mu.Lock()
	if d.full {
		d.mu.Unlock()
		return nil
	}
	d.touched = map[store.Key]bool{}
	d.mu.Unlock()

	read := map[store.Key]summary{}
	err := s.EachConnection(ctx, func(k store.Key, c *store.Connection) error {
		if c != nil {
			read[k] = summarize(c)
		}
		return nil
	})

	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		for k := range d.touched {
			if now, ok := d.entries[k]; ok {
				read[k] = now
			} else {
				delete(read, k)
			}
		}
		d.entries, d.full = read, true
	}
	d.touched = nil
	return err
}

// each calls fn with every connection's summary, filling the directory first if need be. fn must not call back.
func (d *directory) each(ctx context.Context, s store.Store, fn func(store.Key, summary)) error {
	if err := d.fill(ctx, s); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, sum := range d.entries {
		fn(k, sum)
	}
	return nil
}

// count is how many connections satisfy the question.
func (d *directory) count(ctx context.Context, s store.Store, is func(store.Key, summary) bool) (int, error) {
	n := 0
	err := d.each(ctx, s, func(k store.Key, sum summary) {
		if is(k, sum) {
			n++
		}
	})
	return n, err
}

// statusUnder is [store.Connection.StatusUnder] for a summary.
func (s summary) statusUnder(fingerprint *string) store.Status {
	c := store.Connection{Status: s.status, Reason: s.reason, Pinned: s.pinned}
	status, _ := c.StatusUnder(fingerprint)
	return status
}
