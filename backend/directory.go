package backend

import (
	"context"
	"time"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// directory knows a little of every connection, so that counts and questions across owners need not read them all.
type directory struct {
	mirror mirror[store.Key, summary]
	seen   func(context.Context, store.Key, *store.Connection) // told of each connection that the first fill reads
}

// summary is what the directory keeps of one connection.
type summary struct {
	provider string
	status   store.Status
	reason   store.Reason
	pinned   string
	account  string // at the provider; empty when unknown
	failing  bool   // its last refresh failed
	limit    int64  // when its consent runs out, in Unix seconds; 0: never
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

// fill reads what storage has and the directory does not know.
func (d *directory) fill(ctx context.Context, s store.Store) error {
	return d.mirror.fill(ctx, reader[store.Key, summary]{
		all: func(ctx context.Context, add func(store.Key, summary)) error {
			return s.EachConnection(ctx, func(k store.Key, c *store.Connection) error {
				if c != nil {
					add(k, summarize(c))
					d.seen(ctx, k, c)
				}
				return nil
			})
		},
		one: func(ctx context.Context, k store.Key) (summary, bool, error) {
			c, err := s.Connection(ctx, k)
			if store.Unusable(err) {
				return summary{}, false, nil
			}
			if err != nil || c == nil {
				return summary{}, false, err
			}
			return summarize(c), true, nil
		},
	})
}

// each calls fn with every connection's summary, filling the directory first if need be. fn must not call back.
func (d *directory) each(ctx context.Context, s store.Store, fn func(store.Key, summary)) error {
	if err := d.fill(ctx, s); err != nil {
		return err
	}
	d.mirror.each(fn)
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
