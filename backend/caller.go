package backend

import (
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// caller is who sent a request, taken from the Vault token and from nothing else.
type caller struct {
	entity   string // empty for root and for batch tokens without an entity
	accessor string // empty for batch tokens
	display  string
}

func callerOf(req *logical.Request) caller {
	return caller{entity: req.EntityID, accessor: req.ClientTokenAccessor, display: clipDisplay(req.DisplayName)}
}

// entityPrefix begins the id of a caller who has an entity.
const entityPrefix = "entity:"

// accessorPrefix begins the id of one who has none.
const accessorPrefix = "accessor:"

// id names the caller for as long as a flow lives; empty when there is nothing to tell this caller from another by.
func (c caller) id() string {
	switch {
	case c.entity != "":
		return entityPrefix + c.entity
	case c.accessor != "":
		return accessorPrefix + c.accessor
	}
	return ""
}

// actor is the caller as records of changes name them.
func (c caller) actor(now time.Time) store.Actor {
	return store.Actor{EntityID: c.entity, DisplayName: c.display, Time: now}
}

// setterOf is the caller as one who sets something of a connection.
func (c caller) setterOf(k store.Key, now time.Time) store.Setter {
	return store.Setter{Actor: c.actor(now), Name: c.setter(), Owner: c.owns(k)}
}

// act is a change that the caller makes.
func (c caller) act(verb string, now time.Time) connections.Act {
	return connections.Act{By: c.actor(now), Verb: verb}
}

// owns reports whether the connection is under the caller's own entity, whichever way the path was spelled.
func (c caller) owns(k store.Key) bool {
	return c.entity != "" && k.Owner.User == c.entity
}

// use is what somebody wants of a connection.
type use int

const (
	using     use = iota // its credential: to read it, to refresh it, to put another in its place
	restoring            // a person's consent for the same account as before, in the place of what was there
	changing             // anything else about it
	narrowing            // others' own word on its serving, or to delete it: whoever Vault's policy lets may do that
)

// may is the rule about private connections: they are their owner's alone. Vault's policy has spoken before.
func (c caller) may(u use, k store.Key, conn *store.Connection) error {
	switch {
	case !conn.Private || u == narrowing || c.owns(k):
		return nil
	case u == using:
		return forbidden("connection %s is private: only the entity that owns it may use it; ask user/%s, who can share it "+
			"(shares/%s) or open it (private=false)", k, k.Owner.User, k)
	case u == restoring && conn.Account.ID != "" && !conn.Kind.HasKey():
		return nil
	case u == restoring:
		return forbidden("connection %s is private, and whose account it is was never learned: only the entity that owns "+
			"it may connect it again", k)
	}
	return forbidden("connection %s is private: others than its owner may only disable, archive or delete it", k)
}

// mends reports whether the caller connects a private connection again that is somebody else's.
func (c caller) mends(k store.Key, conn *store.Connection) bool {
	return conn != nil && conn.Private && !c.owns(k)
}

// permitFor is may as the refresher asks it.
func (c caller) permitFor(k store.Key) refresh.Permit {
	return func(conn *store.Connection) error { return c.may(using, k, conn) }
}

// setter is the caller as the credential's settings remember who made them; nobody's entity can have that name.
func (c caller) setter() string { return orDefault(c.entity, "none") }

// inherits reports whether the inputs and key fields that a connection has are the caller's to build on. What somebody
// else set up in an entity's name must not decide where that entity's consent goes.
func (c caller) inherits(k store.Key, conn *store.Connection) bool {
	return c.built(k, conn, conn.SetBy)
}

// requires is inherits for the scopes that are required.
func (c caller) requires(k store.Key, conn *store.Connection) bool {
	return c.built(k, conn, conn.RequiredBy)
}

// built reports whether what was set by that name is the caller's to build on.
func (c caller) built(k store.Key, conn *store.Connection, by string) bool {
	switch {
	case !c.owns(k), by == c.entity:
		return true
	case by == "": // an older release did not note it; a private connection was its owner's to write
		return conn.Private && conn.Created.EntityID == c.entity
	}
	return false
}

// adopts makes the connection private when its owner's entity puts a credential in it, unless that entity opened it.
// closed tells that others could use it until now.
func (c caller) adopts(k store.Key, conn *store.Connection) (closed bool) {
	return c.owns(k) && conn.CloseFor(c.entity)
}

// closedWarning says what it means that a connection has become private.
func closedWarning(k store.Key) string {
	return "connection " + k.String() + " is private now, since its owner put a credential in it: only entity " +
		k.Owner.User + " is served; whoever else read it gets 403 (private=false, written by the owner, opens it)"
}

// mayCreate refuses to put something under a live entity's name for anybody else, unless they say that they mean to.
func (b *backend) mayCreate(who caller, k store.Key, provision bool) error {
	if !k.Owner.Personal() || who.owns(k) || provision {
		return nil
	}
	entity, err := b.System().EntityInfo(k.Owner.User)
	if err != nil || entity == nil {
		return err // an id that Vault does not know is the application's own
	}
	return forbidden("user/%s is the id of a Vault entity: only that entity may create connections there; set "+
		"provision=true to create one for it", k.Owner.User)
}
