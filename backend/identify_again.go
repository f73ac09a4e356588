package backend

import (
	"context"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// identityAgain is how soon it is asked again whose a credential is.
const identityAgain = time.Hour

// identities remembers when it was asked whose the credentials are that nobody knew: in this hour, and in the one
// before.
type identities struct {
	mu             sync.Mutex
	from           time.Time // when this hour began
	asked, earlier map[store.Key]time.Time
}

// mayAsk reports whether it may be asked now, and takes it that it is. Of more than can be remembered the rest waits.
func (i *identities) mayAsk(k store.Key, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if age := now.Sub(i.from); age < 0 || age >= identityAgain {
		i.from, i.asked, i.earlier = now, map[store.Key]time.Time{}, i.asked
	}
	for _, asked := range []map[store.Key]time.Time{i.asked, i.earlier} {
		if at, ok := asked[k]; ok && now.Sub(at) >= 0 && now.Sub(at) < identityAgain {
			return false
		}
	}
	if len(i.asked) >= maxChecks {
		return false
	}
	i.asked[k] = now
	return true
}

// changed follows the connections. It is told under the connection's lock.
func (b *backend) changed(c connections.Change) {
	b.directory.changed(c)
	if c.After != nil && c.After.Record != nil && (c.Before == nil || !c.After.Record.Same(c.Before.Record)) {
		b.tellRecord(c.Key, c.After.Record)
	}
	b.tellGone(c)
	if c.Before == nil || c.After == nil || !c.After.LastRefresh.After(c.Before.LastRefresh) || !unidentified(c.After) {
		return
	}
	p, err := b.provider(context.Background(), c.After.Provider) // which the directory has just read
	if err == nil && p != nil && p.app.Identifies(c.After.Kind) {
		b.identifySoon(c.Key)
	}
}

// unidentified reports whether the service has yet to say whose a credential is, or what it reaches.
func unidentified(c *store.Connection) bool {
	return c.Account.ID == "" || c.Sites != nil && c.Sites.Unknown
}

// identifySoon asks in the background whose a connection is, unless that was done lately. It does not wait.
func (b *backend) identifySoon(k store.Key) {
	if !b.identities.mayAsk(k, b.now()) {
		return
	}
	_, _ = b.tasks.Start("identify "+k.String(), func(ctx context.Context) (any, error) { // refused: the mount ends
		if err := b.identifyAgain(ctx, k); err != nil {
			b.Logger().Debug("whose a connection is could not be learned", "connection", k.String(), "error", err)
		}
		return nil, nil
	})
}

// identifyAgain keeps what the service tells of a connection that is not known yet. Doubt changes nothing.
func (b *backend) identifyAgain(ctx context.Context, k store.Key) error {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil || conn == nil || !unidentified(conn) || !conn.Deleting.IsZero() || conn.IsMoving() ||
		conn.Stops.On() || conn.Entity.Left != "" || conn.Ending.On() || conn.Revoked() || !b.mayWrite() {
		return err
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil || p == nil || p.fingerprint != conn.Pinned || !p.app.Identifies(conn.Kind) {
		return err
	}
	resolved, err := b.resolve(ctx, p, k, conn.Kind, conn.Inputs)
	if err != nil {
		return err
	}
	pass, err := b.enterAs(ctx, gate.Background, p.calledAt(conn.Kind, conn.Inputs), k, conn)
	if err != nil {
		return err
	}
	defer pass.Leave(gate.NotSent, 0)
	if stale, err := b.overtaken(ctx, k, conn, p, anybody); err != nil || stale {
		return err
	}
	g := conn.Clone().Grant
	if g == nil {
		g = presented(p, conn)
	}
	failed := p.client.Identify(ctx, p.app, resolved, conn.Kind, g)
	var told *providers.Captured
	if conn.Grant != nil {
		pass.Leave(aside(failed))
	} else { // as with a check: what is said of one key holds for that one
		told = p.app.Definition.CapturedOf(g)
	}
	if g.Account.ID == conn.Account.ID && (g.Sites == nil || g.Sites.Unknown) && !tellsMore(conn, told) {
		return failed
	}
	_, err = b.connections.Update(ctx, k, connections.Act{Verb: "identify"},
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || c.Generation != conn.Generation || c.Pinned != conn.Pinned || !unidentified(c) {
				return nil, nil // what was shown is not its credential any more
			}
			if conn.Grant == nil && !c.Captured.Equal(conn.Captured) {
				return nil, nil // what another call told meanwhile is not known here: with it all is asked again
			}
			c.Learned(g, b.now())
			c.Capture(told)
			return c, nil
		})
	return err
}
