package backend

import (
	"context"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// finishDeletion is how long after a deletion began the background carries it through, if it was cut off.
const finishDeletion = time.Minute

// finishEnded is finishDeletion for what was ended with many others.
const finishEnded = 10 * time.Minute

const damagedWarning = "the entry was damaged: it is deleted, and whatever it held was not revoked; revoke it in " +
	"the account's settings at the service"

// deleteConnection ends a connection for good, and says what did not go as it should. It is marked first and gone at
// the end: a crash between the two leaves a mark, and the background carries on.
func (b *backend) deleteConnection(ctx context.Context, k store.Key, act connections.Act) (warning string, err error) {
	if conn, _, err := b.connections.Get(ctx, k); err == nil && conn != nil {
		if err := b.settleArrival(ctx, k, conn); err != nil {
			return "", err
		}
	}
	if err := b.voidFlows(ctx, k); err != nil {
		return "", err
	}
	if b.tasks.Find(importName(k)) != nil {
		b.endedImports.Store(k, deletedMeanwhile(k)) // what it brings is for nobody
	}
	marked, err := b.connections.Update(ctx, k, act, func(c *store.Connection) (*store.Connection, error) {
		if c != nil {
			c.Delete(b.now())
		}
		return c, nil
	})
	switch {
	case store.Damaged(err):
		if err := b.store.DeleteTrials(ctx, k); err != nil {
			return "", err
		}
		return damagedWarning, b.connections.Delete(ctx, k, act)
	case err != nil:
		return "", err
	case marked == nil:
		return "", b.store.DeleteTrials(ctx, k)
	}
	return b.endConnection(ctx, k, act, gate.Person)
}

// endConnection carries a marked deletion through. A renewal under way lands first, so that what is revoked is the
// newest there is.
func (b *backend) endConnection(ctx context.Context, k store.Key, act connections.Act,
	class gate.Class,
) (warning string, err error) {
	if under := b.tasks.Find(refresh.Name(k)); under != nil {
		b.promote(ctx, k)
		if _, _ = under.Wait(ctx); ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	c, _, err := b.connections.Get(ctx, k)
	if err != nil || c == nil {
		return "", err
	}
	if c.Deleting.IsZero() {
		return "", nil // it was made anew
	}
	if warning, err = b.revoke(ctx, k, c, class); err != nil {
		return "", err // the mark stays, and the next process carries on
	}
	if err := b.store.DeleteTrials(ctx, k); err != nil { // or an import that was cut off brought it back
		return "", err
	}
	if strings.HasPrefix(warning, mayLiveOn) {
		warning = "the connection is deleted, but " + warning
	}
	return warning, b.connections.Delete(ctx, k, act)
}

// promote lets the renewal of a connection that waits for its provider go as a person's,
// since a person waits for it now.
func (b *backend) promote(ctx context.Context, k store.Key) {
	if c, _, err := b.connections.Get(ctx, k); err == nil && c != nil {
		b.gate.Promote(gate.Visit{Key: c.Provider, Connection: k.String(), Class: gate.Person})
	}
}

// deletionName is the name of a connection's deletion among the tasks: there is one at a time.
func deletionName(k store.Key) string { return "delete " + k.String() }

// deletionDue is when the background is to carry a deletion through.
func (b *backend) deletionDue(_ store.Key, c *store.Connection, _ refresh.Terms) (due time.Time) {
	if !c.Deleting.IsZero() {
		due = c.Deleting.Add(finishDeletion)
		if c.Revoked() && c.Deleting.Equal(c.LastEnd().Time) { // its job deletes it, once what came of it is written down
			due = c.Deleting.Add(finishEnded)
		}
	}
	return due
}

// runDeletion carries a deletion through that was cut off.
func (b *backend) runDeletion(ctx context.Context, k store.Key) time.Time {
	out, err := b.tasks.Once(ctx, deletionName(k), func(ctx context.Context) (any, error) {
		return b.endConnection(ctx, k, connections.Act{Verb: "delete"}, gate.Background)
	})
	if err != nil {
		b.Logger().Warn("a deletion that was cut off could not be finished yet", "connection", k.String(),
			"error", err)
		return b.now().Add(tasks.LookAgain)
	}
	if warning, _ := out.(string); warning != "" { // whoever asked for it is gone
		b.Logger().Warn("finished a deletion that was cut off", "connection", k.String(), "warning", warning)
	} else {
		b.Logger().Info("finished a deletion that was cut off", "connection", k.String())
	}
	return time.Time{}
}
