package backend

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	// finishMove is how long after it began the background carries a move through that was cut off, and tries again: the
	// connection serves nobody meanwhile.
	finishMove = 10 * time.Second

	// refreshTime is how long a move waits for a refresh under way.
	refreshTime = 10 * time.Second
)

// keyNamed reads the key of a connection as a field names it: as in paths, with the owner.
func keyNamed(who caller, field, text string) (store.Key, error) {
	parts := strings.Split(text, "/")
	for _, at := range []int{0, 2} { // self, or org/<org>/self
		if len(parts) != at+2 || parts[at] != "self" || at == 2 && parts[0] != "org" {
			continue
		}
		if who.entity == "" {
			return store.Key{}, badRequest("%s: this token has no entity, so 'self' means nobody: name the owner", field)
		}
		parts = append(append(parts[:at:at], "user", who.entity), parts[at+1:]...)
		break
	}
	if len(parts) < 3 {
		return store.Key{}, badRequest("%s=%q names no connection with its owner: write org/<org>/<name>, "+
			"user/<user>/<name>, self/<name>, or one of the latter two behind org/<org>/", field, clipText(text))
	}
	k, err := store.ParseKey(strings.Join(parts, "/"))
	if err != nil {
		return k, badRequest("%s: %s", field, err)
	}
	return k, nil
}

// isLive reports whether an owner is an entity: the caller's, or one that Vault knows. It asks Vault's system view,
// so no lock may be held.
func (b *backend) isLive(who caller, o store.Owner) (bool, error) {
	if !o.Personal() || who.owns(store.Key{Owner: o}) {
		return o.Personal(), nil
	}
	entity, err := b.System().EntityInfo(o.User)
	if err != nil {
		return false, b.systemSilent("entity", err)
	}
	return entity != nil, nil
}

// move is one connection's way to another key.
type move struct {
	from, to store.Key
	act      connections.Act
	// mark marks the connection; it is asked under its lock, and not of one that is marked already
	mark func(*store.Connection) error
}

// name is the move's among the tasks: there is one at a time.
func (m move) name() string { return "move " + m.from.String() + " to " + m.to.String() }

// moved is what came of a move.
type moved struct {
	conn    *store.Connection
	bare    bool   // its credential stayed behind
	warning string // of what was to be done about that
}

// relocate carries a move through, whether or not the caller waits.
func (b *backend) relocate(ctx context.Context, m move) (moved, error) {
	out, err := b.tasks.Once(ctx, m.name(), func(ctx context.Context) (any, error) {
		if err := b.readyToMove(ctx, m.from); err != nil {
			return nil, err
		}
		return b.carry(ctx, m, gate.Person)
	})
	if err != nil {
		return moved{}, b.whyNotMoved(ctx, m, err)
	}
	return out.(moved), nil
}

// readyToMove ends what is open for a connection that is about to go, or refuses where something of it would be lost.
func (b *backend) readyToMove(ctx context.Context, k store.Key) error {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil || conn == nil || conn.IsMoving() {
		return err // the move says what that means
	}
	if err := b.settleArrival(ctx, k, conn); err != nil {
		return err
	}
	trials, _, err := b.store.CountTrials(ctx, k)
	switch {
	case err != nil:
		return err
	case trials > 0, b.tasks.Find(importName(k)) != nil:
		return conflict("an import of connection %s is not finished: nothing was moved; finish it, or wait for an hour, "+
			"then try again", k)
	}
	if err := b.voidFlows(ctx, k); err != nil {
		return err
	}
	if under := b.tasks.Find(refresh.Name(k)); under != nil {
		b.promote(ctx, k)
		ctx, cancel := context.WithTimeout(ctx, refreshTime)
		defer cancel()
		_, _ = under.Wait(ctx) // whether it has ended, the move finds out
	}
	return nil
}

// carry moves a connection, and ends the credential that stays behind.
func (b *backend) carry(ctx context.Context, m move, class gate.Class) (moved, error) {
	source, _, err := b.connections.Get(ctx, m.from)
	if err != nil {
		return moved{}, err
	}
	secret, err := b.secretFields(ctx, source)
	if err != nil {
		return moved{}, err
	}
	there, bare, left, err := b.connections.Move(ctx, connections.Journey{
		From: m.from, To: m.to, Act: m.act,
		Mark: func(c *store.Connection) error {
			switch {
			case c == nil:
				return conflict("there is no connection %s any more: it was deleted, or has moved", m.from)
			case !c.Deleting.IsZero():
				return beingDeleted(m.from)
			case c.Ending.On():
				return beingEnded(m.from)
			case c.IsMoving():
				return &connections.MovingError{Key: m.from}
			case b.tasks.Find(refresh.Name(m.from)) != nil: // its result would be kept nowhere
				return connections.ErrSpending
			}
			return m.mark(c)
		},
		Arrive: func(c *store.Connection) *store.Connection { return c.Arrived(m.from, m.to, secret) },
	})
	if err != nil {
		return moved{}, err
	}
	out := moved{conn: there, bare: bare}
	switch {
	case left:
		b.directory.sooner(m.from, b.now().Add(finishMove))
	case bare:
		out.warning, err = b.endLeftBehind(ctx, m, class)
	}
	return out, err
}

// endLeftBehind revokes the grant of a connection that went on without it, and deletes what is left.
func (b *backend) endLeftBehind(ctx context.Context, m move, class gate.Class) (warning string, err error) {
	rest, _, err := b.connections.Get(ctx, m.from)
	if err != nil || rest == nil || !rest.IsMoving() {
		return "", err
	}
	if warning, err = b.revoke(ctx, m.from, rest, class); err != nil {
		return "", err
	}
	if rest.Key != nil {
		warning = "nobody but its owner can end the former key, at the service"
	}
	return warning, b.connections.Delete(ctx, m.from, m.act)
}

// secretFields tells which fields of a connection's key are secret: where nobody knows, all.
func (b *backend) secretFields(ctx context.Context, conn *store.Connection) (func(string) bool, error) {
	all := func(string) bool { return true }
	if conn == nil || conn.Key == nil {
		return all, nil
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil || p == nil || p.hidesKey(conn) {
		return all, err
	}
	return func(field string) bool {
		_, declared := p.app.Definition.KeyField(field)
		return !declared || p.app.Definition.IsSecretField(field)
	}, nil
}

// whyNotMoved is the error of a move, in words for the caller.
func (b *backend) whyNotMoved(ctx context.Context, m move, err error) error {
	switch {
	case errors.Is(err, connections.ErrOccupied):
		return occupied(m.to)
	case errors.Is(err, connections.ErrSpending):
		return conflict("connection %s is being refreshed, or a refresh of it was cut off and is to be tried again: "+
			"nothing was moved; try again", m.from)
	case store.IsReadOnly(err), store.TooLarge(err):
		return err
	}
	var status *statusError
	if errors.As(err, &status) || errors.As(err, new(*connections.MovingError)) {
		return err
	}
	now, _, looked := b.connections.Get(ctx, m.from)
	if looked == nil && now != nil && now.Moving.To == m.to.String() {
		b.Logger().Warn("a move could not be finished at once", "connection", m.from.String(), "error", err)
		return unavailable("connection %s is on its way to %s, and this node could not bring it there at once: that goes "+
			"on in the background, and the same request sent again hastens it", m.from, m.to)
	}
	return err
}

// settleArrival finishes the move by which a connection came, if its former entry is left: that would pass for one
// that has yet to arrive, once this one is gone.
func (b *backend) settleArrival(ctx context.Context, k store.Key, conn *store.Connection) error {
	from, err := store.ParseKey(conn.MovedFrom)
	if err != nil {
		return nil // it was made here
	}
	former, _, err := b.connections.Get(ctx, from)
	if err != nil && !store.Unusable(err) {
		return err
	}
	if former == nil || former.ID != conn.ID || former.Moving.To != k.String() {
		return nil
	}
	_, err = b.moveOn(ctx, from, k, gate.Person)
	return err
}

// moveOn carries on with a move that is marked.
func (b *backend) moveOn(ctx context.Context, from, to store.Key, class gate.Class) (warning string, err error) {
	m := move{from: from, to: to, act: connections.Act{Verb: "move"}, mark: func(*store.Connection) error {
		return conflict("connection %s does not move any more", from)
	}}
	out, err := b.tasks.Once(ctx, m.name(), func(ctx context.Context) (any, error) { return b.carry(ctx, m, class) })
	if err != nil {
		return "", err
	}
	return out.(moved).warning, nil
}

// moveDue is when the background is to carry a move through.
func (b *backend) moveDue(_ store.Key, c *store.Connection, _ refresh.Terms) (due time.Time) {
	if c.IsMoving() {
		due = c.Moving.Since.Add(finishMove)
	}
	return due
}

// runMove carries a move through that was cut off, or takes it back where it cannot be: another connection has the
// name by now, or the grant was on its way and must be looked after first.
func (b *backend) runMove(ctx context.Context, k store.Key) (next time.Time) {
	conn, err := b.connections.Look(ctx, k)
	if err != nil || conn == nil || !conn.IsMoving() {
		return next
	}
	warning := ""
	to, err := store.ParseKey(conn.Moving.To)
	if err == nil {
		warning, err = b.moveOn(ctx, k, to, gate.Background)
	}
	interrupted := errors.Is(err, connections.ErrSpending) && !b.connections.Spending(k)
	switch {
	case err == nil && warning != "": // whoever asked for it is gone
		b.Logger().Warn("finished a move that was cut off", "connection", k.String(), "to", to.String(),
			"warning", warning)
		return next
	case err == nil:
		b.Logger().Info("finished a move that was cut off", "connection", k.String(), "to", to.String())
		return next
	case errors.Is(err, connections.ErrOccupied) || interrupted:
		if stay := b.connections.Stay(ctx, k, connections.Act{Verb: "stay"}); stay == nil {
			b.Logger().Warn("a move that was cut off was taken back", "connection", k.String(), "error", err)
			return next
		}
	}
	b.Logger().Warn("a move that was cut off could not be finished yet", "connection", k.String(), "error", err)
	return b.now().Add(finishMove)
}

// beingMoved refuses to put something into a connection that is on its way.
func beingMoved(k store.Key) error {
	return &connections.MovingError{Key: k}
}
