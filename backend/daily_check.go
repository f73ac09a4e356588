package backend

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// checkDue is when a credential is to be checked that no refresh proves: a key, or a token that does not expire. Zero:
// never.
func (b *backend) checkDue(k store.Key, c *store.Connection, t refresh.Terms) (due time.Time) {
	if t.CheckEvery == 0 || c.Grant != nil && !c.Grant.Expires.IsZero() {
		return due
	}
	last := b.directory.lastChecked(k)
	if last.IsZero() {
		last = b.now()
	}
	switch status, _ := t.Status(c, b.now()); status {
	case store.StatusActive, store.StatusFailedValidation:
		return slotAfter(k, last, t.CheckEvery)
	}
	return due
}

// slotAfter is the moment of a connection in its period that comes next. Every period has another one for each
// connection, so that the checks of a mount lie apart, nothing need be stored to know them, and a process that is
// restarted at one time each day misses not always the same.
func slotAfter(k store.Key, last time.Time, every time.Duration) time.Time {
	for n := last.Unix() / int64(every/time.Second); ; n++ {
		sum := sha256.Sum256(fmt.Append(nil, k.String(), " ", n))
		into := time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(every))
		slot := time.Unix(n*int64(every/time.Second), 0).Add(into)
		if slot.After(last) {
			return slot
		}
	}
}

// anybody is the permit of what the engine does by itself and answers to nobody.
func anybody(*store.Connection) error { return nil }

// runDailyCheck makes one such check. Whatever comes of it, the next one is of the next period.
func (b *backend) runDailyCheck(ctx context.Context, k store.Key) (next time.Time) {
	next = b.now().Add(tasks.LookAgain)
	c, err := b.connections.Look(ctx, k)
	if err != nil || c == nil {
		return next
	}
	if _, err := b.tasks.Once(ctx, checkName(k), func(ctx context.Context) (any, error) {
		return b.runCheck(ctx, k, c, anybody, gate.Background)
	}); err != nil {
		b.Logger().Debug("a check was not made", "connection", k.String(), "error", err)
	}
	return next
}
