package backend

import (
	"context"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// refusedTokenLife is how long a refresh token is kept that the provider refuses: so long a person may have it tried
// once more. Then it is of no use to anybody but a thief.
const refusedTokenLife = 7 * 24 * time.Hour

// erasureDue is when the refresh token of a refused grant is to be erased; zero: it is not.
func (b *backend) erasureDue(_ store.Key, c *store.Connection, t refresh.Terms) (due time.Time) {
	if t.Frozen != "" {
		return due // what may be evidence stays
	}
	if c.Refused.Reason.MayBeTried() && c.Grant != nil && !c.Grant.RefreshToken.IsZero() && !t.Paused {
		due = c.Refused.Time.Add(refusedTokenLife)
	}
	return earlier(due, c.FormerUntil)
}

// runErasure erases it, and leaves the access token and whose account it is; and a former key, when its time is over.
func (b *backend) runErasure(ctx context.Context, k store.Key) (next time.Time) {
	_, err := b.connections.Update(ctx, k, connections.Act{Verb: "erase"},
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil {
				return nil, nil
			}
			former := c.EraseFormer(b.now())
			refused := !c.Refused.Time.Add(refusedTokenLife).After(b.now()) && c.EraseRefused()
			if !former && !refused {
				return nil, nil // it was connected or refreshed meanwhile
			}
			return c, nil
		})
	if err != nil {
		next = b.now().Add(tasks.LookAgain)
	}
	return next
}
