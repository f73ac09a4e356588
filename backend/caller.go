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

// id names the caller for as long as a flow lives; empty when there is nothing to tell this caller from another by.
func (c caller) id() string {
	switch {
	case c.entity != "":
		return entityPrefix + c.entity
	case c.accessor != "":
		return "accessor:" + c.accessor
	}
	return ""
}

// actor is the caller as records of changes name them.
func (c caller) actor(now time.Time) store.Actor {
	return store.Actor{EntityID: c.entity, DisplayName: c.display, Time: now}
}

// act is a change that the caller makes.
func (c caller) act(verb string, now time.Time) connections.Act {
	return connections.Act{By: c.actor(now), Verb: verb}
}

// owns reports whether the connection is under the caller's own entity, whichever way the path was spelled.
func (c caller) owns(k store.Key) bool {
	return c.entity != "" && k.Owner.Kind == store.User && k.Owner.ID == c.entity
}

// permitFor refuses a private connection to everybody but its owner. Vault's policy has spoken before.
func (c caller) permitFor(k store.Key) refresh.Permit {
	return func(conn *store.Connection) error {
		if conn.Private && !c.owns(k) {
			return forbidden("connection %s is private: only the entity that owns it may use it", k)
		}
		return nil
	}
}

// mayCreate refuses to put something under a live entity's name for anybody else, unless they say that they mean to.
func (b *backend) mayCreate(who caller, k store.Key, provision bool) error {
	if k.Owner.Kind != store.User || who.owns(k) || provision {
		return nil
	}
	entity, err := b.System().EntityInfo(k.Owner.ID)
	if err != nil || entity == nil {
		return err // an id that Vault does not know is the application's own
	}
	return forbidden("user/%s is the id of a Vault entity: only that entity may create connections there; set "+
		"provision=true to create one for it", k.Owner.ID)
}
