package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// Due is when the background is to look at a connection next; zero: never, unless something changes.
func (r *Refresher) Due(k store.Key, c *store.Connection, t Terms) time.Time {
	now := r.Now()
	if r.excused(k, c) { // the outage that it failed in is over
		c = c.Clone()
		c.Attempt = store.Attempt{}
	}
	return dueAt(k, c, t, r.Connections.Interrupted(k), now)
}

// RunDue renews one connection, if it is due, and gives when to look again.
func (r *Refresher) RunDue(ctx context.Context, k store.Key) time.Time {
	a, err := r.look(ctx, k)
	if next, ok := r.unknown(err); !ok {
		return next
	}
	interrupted := r.Connections.Interrupted(k)
	if interrupted && r.ended(ctx, k, a) {
		interrupted = false
	}
	if due := r.Due(k, a.Connection, a.Terms); due.IsZero() || due.After(r.Now()) {
		return due
	}
	_, err = r.await(ctx, k, a, renewal{seen: a.Connection.Generation, forced: interrupted, class: gate.Background})
	if err == nil {
		return r.Now().Add(tasks.LookAgain) // what came of it was entered as it was saved
	}
	a, lookErr := r.look(ctx, k)
	if next, ok := r.unknown(lookErr); !ok {
		return next
	}
	var refused *Error
	due := r.Due(k, a.Connection, a.Terms)
	switch {
	case due.IsZero() || due.After(r.Now()):
		return due
	case errors.As(err, &refused) && refused.Next.After(r.Now()):
		return refused.Next
	}
	return r.Now().Add(tasks.LookAgain)
}

// unknown says when to look again at what could not be looked at; ok is true for what could.
func (r *Refresher) unknown(err error) (next time.Time, ok bool) {
	var problem *Error
	switch {
	case err == nil:
		return next, true
	case errors.As(err, &problem):
		return next, false // it is gone
	}
	return r.Now().Add(tasks.LookAgain), false
}

// Recover tries again, at once, every renewal that a crash cut off: many providers take a spent token for a short
// while. It does not wait for them. One that may not be made now is made when its task runs.
func (r *Refresher) Recover(ctx context.Context) error {
	if !r.Writable() {
		return nil
	}
	found, failed := r.Connections.Recover(ctx)
	for _, k := range found {
		a, err := r.look(ctx, k)
		var gone *Error
		switch {
		case errors.As(err, &gone):
			failed = errors.Join(failed, r.forget(ctx, k))
		case err != nil:
			failed = errors.Join(failed, err)
		case a.Terms.Barred == store.ReasonFrozen: // once that is lifted it is looked at
		case a.Terms.Paused:
			r.Sooner(k, r.Now().Add(tasks.LookAgain)) // which waits as long
		case !r.ended(ctx, k, a):
			r.Logger.Info("trying again a refresh that was cut off", "connection", k.String())
			_, _ = r.start(k, a, renewal{seen: a.Connection.Generation, forced: true, class: gate.Background})
			r.Sooner(k, r.Now().Add(tasks.LookAgain)) // it may have been entered before its intent was found
		}
	}
	return failed
}

// ended reports whether nothing more is to be done about an interrupted intent, and removes it if nothing more will be
// heard of it: what came of it was saved, or nobody will ask.
func (r *Refresher) ended(ctx context.Context, k store.Key, a Answer) bool {
	intent, open := r.Connections.InterruptedIntent(k)
	if !open {
		return true // somebody has taken it up
	}
	conn, last := a.Connection, a.Connection.Attempt
	// of a grant that was refused, an attempt that came after the intent tells that its answer is known
	unknown := conn.Refused.Reason == "" ||
		a.Terms.CanRefresh && (intent.Time.After(last.Last) || last.Why == whyNotSent)
	if conn.Generation <= intent.Generation && conn.Grant != nil && !limitPassed(conn, r.Now()) && unknown {
		return false
	}
	if err := r.Connections.Settle(ctx, k, intent.Generation); err != nil {
		r.Logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
	}
	return true
}

// forget removes the intent of a connection that is gone.
func (r *Refresher) forget(ctx context.Context, k store.Key) error {
	if intent, open := r.Connections.InterruptedIntent(k); open {
		return r.Connections.Settle(ctx, k, intent.Generation)
	}
	return nil
}
