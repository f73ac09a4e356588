package backend

import (
	"context"
	"errors"
	"time"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// directory knows a little of every connection, so that counts and questions across owners need not read them all.
type directory struct {
	mirror mirror[store.Key, summary]
	seen   func(context.Context, store.Key, *store.Connection) // told of each connection that a fill reads
}

// summary is what the directory keeps of one connection. Of one that cannot be read or decoded it keeps that alone.
type summary struct {
	provider   string
	status     store.Status
	reason     store.Reason
	pinned     string
	account    string // at the provider; empty when unknown
	failing    bool   // its last refresh failed
	unreadable bool
	limit      int64 // when its consent runs out, in Unix seconds; 0: never
}

func summarize(c *store.Connection) summary {
	s := summary{
		provider: intern(c.Provider), status: intern(c.Status), reason: intern(c.Reason), pinned: intern(c.Pinned), failing: c.Attempt.Failures > 0,
	}
	if c.Grant != nil {
		s.account = c.Grant.Account.ID
		if limit := c.Grant.HardLimit; !limit.IsZero() {
			s.limit = limit.Unix()
		}
	}
	return s
}

// intern gives the one copy of a text that many connections share: a third of what a summary takes would be repetition.
func intern[T ~string](text T) T { return unique.Make(text).Value() }

// changed follows one connection; nil: it is gone.
func (d *directory) changed(k store.Key, c *store.Connection) {
	if c == nil {
		d.mirror.remove(k)
		return
	}
	d.mirror.set(k, summarize(c))
}

// forget says that somebody else changed a connection.
func (d *directory) forget(k store.Key) { d.mirror.forget(k) }

// fill reads what storage has and the directory does not know. What storage does not give is read again by the next fill,
// and that alone; a [store.UnreadError] names it, and everything else is known.
func (d *directory) fill(ctx context.Context, s store.Store) error {
	unread, row := new(store.UnreadError), 0
	missed := func(k store.Key, err error) (summary, bool, error) {
		unread.Add(k, err)
		d.forget(k)
		return summary{unreadable: true}, true, nil
	}
	err := d.mirror.fill(ctx, reader[store.Key, summary]{
		all: func(ctx context.Context, add func(store.Key, summary)) error {
			err := s.EachConnection(ctx, func(k store.Key, c *store.Connection) error {
				add(k, d.read(ctx, k, c))
				return nil
			})
			if some := new(store.UnreadError); errors.As(err, &some) {
				for _, k := range some.Keys {
					add(k, summary{unreadable: true})
					d.forget(k)
				}
				unread, err = some, nil
			}
			return err
		},
		one: func(ctx context.Context, k store.Key) (summary, bool, error) {
			if row >= store.FailuresInARow { // storage is down, and the others need not try it
				return missed(k, nil)
			}
			c, err := s.Connection(ctx, k)
			switch {
			case ctx.Err() != nil:
				return summary{}, false, ctx.Err()
			case err != nil && !store.Unusable(err):
				row++
				return missed(k, err)
			}
			row = 0
			return d.read(ctx, k, c), c != nil || err != nil, nil
		},
	})
	if err != nil {
		return err
	}
	return unread.Err()
}

// read takes what a fill found; nil: it cannot be decoded.
func (d *directory) read(ctx context.Context, k store.Key, c *store.Connection) summary {
	if c == nil {
		return summary{unreadable: true}
	}
	d.seen(ctx, k, c)
	return summarize(c)
}

// each calls fn with every connection's summary, filling the directory first if need be. fn must not call back.
func (d *directory) each(ctx context.Context, s store.Store, fn func(store.Key, summary)) error {
	if err := d.fill(ctx, s); err != nil && !errors.As(err, new(*store.UnreadError)) {
		return err
	}
	d.mirror.each(fn)
	return nil
}

// count is how many connections satisfy the question, or might: those that cannot be read are among them.
func (d *directory) count(ctx context.Context, s store.Store, is func(store.Key, summary) bool) (int, error) {
	n := 0
	err := d.each(ctx, s, func(k store.Key, sum summary) {
		if sum.unreadable || is(k, sum) {
			n++
		}
	})
	return n, err
}

// reconnectBy is when the consent runs out; zero: never.
func (s summary) reconnectBy() (limit time.Time) {
	if s.limit != 0 {
		limit = time.Unix(s.limit, 0)
	}
	return limit
}

// statusUnder is [store.Connection.StatusUnder] for a summary.
func (s summary) statusUnder(fingerprint *string) store.Status {
	c := store.Connection{Status: s.status, Reason: s.reason, Pinned: s.pinned}
	status, _ := c.StatusUnder(fingerprint)
	return status
}
