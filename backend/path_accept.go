package backend

import (
	"context"
	"maps"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathAccept() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("accept"),
		DisplayAttrs: display(spellings("transfer"), "Transfer"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"from": required(str("The connection that is offered, with its owner: org/<org>/<name>, user/<user>/<name>, " +
				"org/<org>/user/<user>/<name>, self/<name>.")),
			"provision": boolean("Take it for a live entity that is not the caller's own."),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("accept", forwarded(b.operation(b.acceptWrite,
				"Take a connection that is offered to this very path.", connectionSchema))),
		},
		HelpSynopsis:    "Take a connection that is offered.",
		HelpDescription: acceptHelp,
	}}
}

func (b *backend) acceptWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	to, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	from, err := keyNamed(who, "from", d.Get("from").(string))
	if err != nil {
		return nil, err
	}
	source, _, err := b.connections.Get(ctx, from)
	if err != nil && !store.Unusable(err) {
		return nil, err
	}
	m := move{from: from, to: to, mark: func(*store.Connection) error { return notOffered(from, to) }}
	if source == nil || source.Moving.To != to.String() { // else it is on its way already
		if m, err = b.planAccept(ctx, who, from, to, source, d.Get("provision").(bool)); err != nil {
			return nil, err
		}
	} else if err := b.mayCreate(who, to, d.Get("provision").(bool)); err != nil {
		return nil, err
	}
	flow, err := b.flowOf(ctx, from)
	if err != nil {
		return nil, err
	}
	done, err := b.relocate(ctx, m)
	if err != nil {
		return nil, err
	}
	resp, err := b.metadata(ctx, who, to, done.conn)
	if resp == nil {
		return nil, err
	}
	if done.bare {
		text := "connection " + to.String() + " arrived without its credential, since it was private, or stopped by or " +
			"for its owner, and not offered by that: connect it again"
		if done.warning != "" {
			text += "; " + done.warning
		} else {
			text += "; the former grant was revoked"
		}
		resp.AddWarning(text)
	}
	warnOfFlow(flow, from, resp)
	return b.withOwner(who, to, done.conn, resp), nil
}

// notOffered answers alike whatever is behind from: nothing, or what is offered to others.
func notOffered(from, to store.Key) error {
	return forbidden("no connection %s is offered to %s: an offer names its target, lasts a day, and ends when the "+
		"connection is stopped or connected to another account; transfer/%s makes one", from, to, from)
}

// planAccept validates the acceptance of an offer, and changes nothing.
func (b *backend) planAccept(ctx context.Context, who caller, from, to store.Key, source *store.Connection,
	provision bool,
) (m move, err error) {
	now := b.now()
	if source == nil {
		return m, notOffered(from, to)
	}
	offer, open := source.Offered(now)
	if !open || offer.To != to.String() {
		return m, notOffered(from, to)
	}
	if err := b.mayCreate(who, to, provision); err != nil {
		return m, err
	}
	live, err := b.isLive(who, to.Owner)
	if err != nil {
		return m, err
	}
	if offer.Live && !live {
		return m, conflict("connection %s was offered to an entity that Vault does not know any more: nothing was moved; "+
			"offer it anew", from)
	}
	if err := b.thawed(ctx, source.Provider, from); err != nil { // elsewhere it would be served
		return m, err
	}
	p, err := b.provider(ctx, source.Provider)
	if err == nil && p == nil {
		err = conflict("provider %q of connection %s is gone, so nobody knows whom it may serve: an operator writes "+
			"providers/%s again", source.Provider, from, source.Provider)
	}
	if err == nil {
		err = p.admit(to, source.Kind, nil)
	}
	if err == nil {
		err = p.admitInputs(to.Owner, source.Kind, source.Inputs)
	}
	if err == nil {
		err = b.isFree(ctx, to)
	}
	if err == nil {
		err = b.mayAdd(ctx, to)
	}
	mark := func(c *store.Connection) error {
		stands, open := c.Offered(b.now())
		switch {
		case !open || !stands.Is(offer):
			return notOffered(from, to)
		case c.Kind != source.Kind || c.Provider != source.Provider || !maps.Equal(c.Inputs, source.Inputs):
			return conflict("connection %s was changed meanwhile: nothing was moved; try again", from)
		}
		c.Move(store.Moving{
			To: to.String(), Since: now, By: who.actor(now), Bare: c.Withheld() && !offer.Owner, Private: live,
		})
		return nil
	}
	return move{from: from, to: to, act: who.act("accept", now), mark: mark}, err
}

const acceptHelp = `
Takes a connection that transfer/ offers to this very path. What the provider says of
owners, kinds and inputs holds for the new owner, and so does its limit of connections.
Under an entity that is not the caller's own it needs provision=true, and whoever
accepts, the connection is private to that entity.

Nothing may be there already. The former path serves nothing from then on; a move that
was cut off is carried through in the background.
`
