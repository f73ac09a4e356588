package backend

import (
	"context"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Where a token's answer does not tell until when it lives, a definition may have the service asked (RFC 7662). A token
// of which that could not be learned is kept, and served as one that does not expire.

// undated warns that it could not be learned until when a token lives; empty where it was.
func (b *backend) undated(err error) (warnings []string) {
	if err != nil {
		warnings = append(warnings, "until when its token lives could not be learned, so it is served as one that does not "+
			"expire, and asked again after a refresh or a check: "+b.warningText(err))
	}
	return warnings
}

// Lifetime implements [refresh.Source].
func (b *backend) Lifetime(ctx context.Context, k store.Key, c *store.Connection) time.Time {
	until, err := b.askLifetime(ctx, gate.Reader, k, c)
	if err != nil {
		b.Logger().Debug("until when a token lives could not be learned", "connection", k.String(), "error", err)
	}
	return until
}

// askLifetime asks until when the connection's token lives, if that is to be asked; zero: nobody knows.
func (b *backend) askLifetime(ctx context.Context, class gate.Class, k store.Key, conn *store.Connection,
) (until time.Time, err error) {
	p, err := b.provider(ctx, conn.Provider)
	if err != nil || p == nil || p.fingerprint != conn.Pinned || conn.Grant == nil || !p.app.Introspects(conn.Grant) {
		return until, err
	}
	resolved, err := b.resolve(ctx, p, k, conn.Kind, conn.Inputs)
	if err != nil {
		return until, err
	}
	pass, err := b.enterAs(ctx, class, p.name, k, conn)
	if err != nil {
		return until, err
	}
	defer pass.Leave(gate.NotSent, 0)
	if stale, err := b.overtaken(ctx, k, conn, p, anybody); err != nil || stale {
		return until, err
	}
	g := presented(p, conn)
	err = p.client.Introspect(b.debugs(ctx, p, k, conn), p.app, resolved, g)
	pass.Leave(aside(err))
	return g.Expires, err
}

// dateSoon asks it in the background of a token that a check has just found to be good, unless that was done lately.
func (b *backend) dateSoon(k store.Key, p *configured, g *providers.Grant) {
	if !p.app.Introspects(g) || !b.lifetimes.mayAsk(k, b.now()) {
		return
	}
	_, _ = b.tasks.Start("introspect "+k.String(), func(ctx context.Context) (any, error) { // refused: the mount ends
		if err := b.dateAgain(ctx, k); err != nil {
			b.Logger().Debug("until when a token lives could not be learned", "connection", k.String(), "error", err)
		}
		return nil, nil
	})
}

func (b *backend) dateAgain(ctx context.Context, k store.Key) error {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil || conn == nil || !b.mayWrite() {
		return err
	}
	until, err := b.askLifetime(ctx, gate.Background, k, conn)
	if err != nil || until.IsZero() {
		return err
	}
	_, err = b.connections.Update(ctx, k, connections.Act{Verb: "introspect"}, refresh.Dated(conn, until))
	return err
}
