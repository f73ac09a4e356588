package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathTransfer() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("transfer"),
		DisplayAttrs: display(spellings("transfer"), "Transfer"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"to": required(str("Where the connection is to go, with its owner: org/<org>/<name>, user/<user>/<name>, " +
				"org/<org>/user/<user>/<name>, self/<name>. Another name of the same owner renames it at once.")),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.transferRead, "Read the offer that is open.",
				transferSchema)),
			logical.UpdateOperation: verb("offer", forwarded(b.operation(b.transferWrite,
				"Offer a connection to another owner, or rename it.", transferSchema))),
			logical.DeleteOperation: verb("withdraw", forwarded(b.operation(b.transferDelete, "Withdraw the offer."))),
		},
		HelpSynopsis:    "Offer a connection to another owner, or rename it.",
		HelpDescription: transferHelp,
	}}
}

var transferSchema = map[string]*framework.FieldSchema{
	"to":      required(str("Where the connection is offered to, or has moved to.")),
	"by":      str("Display name of who offers it."),
	"by_id":   str("Entity of who does; empty for a token without one."),
	"time":    str("When it was offered (RFC 3339)."),
	"expires": str("Until when it may be taken (RFC 3339); empty where it has moved already."),
	"moved":   required(boolean("Whether it has moved: to another name of its owner.")),
}

func offerData(o store.Offer) map[string]any {
	return map[string]any{
		"to": o.To, "by": o.By.DisplayName, "by_id": o.By.EntityID, "time": rfc3339(o.By.Time), "expires": rfc3339(o.Until),
		"moved": false,
	}
}

func (b *backend) transferRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	_, conn, err := b.connectionAt(ctx, req, d)
	if err != nil {
		return nil, err
	}
	offer, open := conn.Offered(b.now())
	if !open {
		return nil, nil
	}
	return &logical.Response{Data: offerData(offer)}, nil
}

func (b *backend) transferWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	from, conn, err := b.connectionAt(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	to, err := keyNamed(who, "to", d.Get("to").(string))
	switch {
	case err != nil:
		return nil, err
	case to == from:
		return nil, badRequest("to=%s is the connection itself: name another owner, or another name", to)
	case to.Owner == from.Owner:
		return b.rename(ctx, who, from, to, conn)
	}
	return b.offer(ctx, who, from, to, conn)
}

// offer notes in the connection to whom it is offered.
func (b *backend) offer(ctx context.Context, who caller, from, to store.Key,
	conn *store.Connection,
) (*logical.Response, error) {
	live, err := b.isLive(who, to.Owner)
	if err != nil {
		return nil, err
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil && !store.Unusable(err) {
		return nil, err
	}
	ofApp := func(kind providers.Kind) bool { // where nobody knows whose the secret is, it is the operator's
		return kind.Issued() && (p == nil || p.app.Definition.OfTheApp(kind))
	}
	now := b.now()
	made, err := b.connections.Update(ctx, from, who.act("offer", now),
		func(c *store.Connection) (*store.Connection, error) {
			switch {
			case c == nil || !c.Created.Time.Equal(conn.Created.Time):
				return nil, deletedMeanwhile(from)
			case !c.Deleting.IsZero():
				return nil, beingDeleted(from)
			case c.Ending.On():
				return nil, beingEnded(from)
			case who.owns(from) && !live && c.Stops.Others != (store.Stop{}): // where the owner would be one of the others
				return nil, conflict("connection %s was stopped by others than its owner: it goes to nobody but a person "+
					"until they lift that", from)
			case to.Owner.Personal() && ofApp(c.Kind):
				return nil, ofTheApp(string(c.Kind))
			}
			c.MakeOffer(to, who.setterOf(from, now), live, now)
			return c, nil
		})
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: offerData(*made.Offer)}
	if made.Withheld() && !made.Offer.Owner {
		resp.AddWarning("connection " + from.String() + " is private, or stopped by or for its owner, which you are not: " +
			"it will arrive without its credential")
	}
	return resp, nil
}

// rename moves a connection to another name of its owner. What it is and whom it serves stays.
func (b *backend) rename(ctx context.Context, who caller, from, to store.Key,
	conn *store.Connection,
) (*logical.Response, error) {
	mayRename := func(c *store.Connection) error {
		if c.Private && !who.owns(from) {
			return forbidden("connection %s is private: only the entity that owns it may rename it", from)
		}
		return nil
	}
	if err := mayRename(conn); err != nil {
		return nil, err
	}
	if conn.Moving.To != to.String() { // else it is on its way already, and may have arrived
		if err := b.isFree(ctx, to); err != nil {
			return nil, err
		}
	}
	flow, err := b.flowOf(ctx, from)
	if err != nil {
		return nil, err
	}
	now := b.now()
	shared := false
	_, err = b.relocate(ctx, move{from: from, to: to, act: who.act("rename", now), mark: func(c *store.Connection) error {
		if !c.Created.Time.Equal(conn.Created.Time) {
			return deletedMeanwhile(from)
		}
		shared = b.sharedWords(c) != ""
		c.Move(store.Moving{To: to.String(), Since: now, By: who.actor(now), Private: c.Private})
		return mayRename(c)
	}})
	if err != nil {
		return nil, err
	}
	data := offerData(store.Offer{To: to.String(), By: who.actor(now)})
	data["moved"] = true
	resp := &logical.Response{Data: data}
	if shared {
		resp.AddWarning("its shares have ended: they were of " + from.String())
	}
	warnOfFlow(flow, from, resp)
	return resp, nil
}

// isFree refuses to move to where a connection is.
func (b *backend) isFree(ctx context.Context, to store.Key) error {
	there, _, err := b.connections.Get(ctx, to)
	if err != nil && !store.Unusable(err) {
		return err
	}
	if there != nil || err != nil {
		return occupied(to)
	}
	return nil
}

func occupied(to store.Key) error {
	return conflict("there is a connection %s already: nothing was moved; delete it, or choose another name", to)
}

func warnOfFlow(flow *openFlow, from store.Key, resp *logical.Response) {
	if flow != nil {
		resp.AddWarning("the flow that was open for " + from.String() + " is void")
	}
}

func (b *backend) transferDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, conn, err := b.connectionAt(ctx, req, d)
	if err != nil || conn.Offer == nil {
		return nil, err
	}
	_, err = b.connections.Update(ctx, k, callerOf(req).act("withdraw", b.now()),
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || c.Offer == nil {
				return nil, nil
			}
			c.Offer = nil
			return c, nil
		})
	return nil, err
}

const transferHelp = `
Offers a connection to another owner. The offer is a field of the connection's entry: it
says where to, lasts a day, and is withdrawn by delete. Whoever has a policy for
accept/<there> takes it, and nobody else, at that very path. It ends when the connection
is stopped or let serve again, or is connected to another account.

To another name of the same owner it is a rename, at once; of a private connection its
owner alone renames.

A private connection that somebody else than its owner offers arrives without its
credential, which is revoked. Label, tags, required scopes and connection_id go along,
shares do not.
`
