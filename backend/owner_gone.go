package backend

import (
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// withOwner tells where metadata is of a private connection that serves nobody any more, since Vault does not know the
// entity that owns it. An error of Vault's says nothing of the entity. Who reads their own is known to be there.
// It asks Vault's system view: no lock may be held.
func (b *backend) withOwner(who caller, k store.Key, conn *store.Connection,
	resp *logical.Response,
) *logical.Response {
	if resp == nil || conn == nil || !conn.Private || !k.Owner.Personal() || who.owns(k) {
		return resp
	}
	if entity, err := b.System().EntityInfo(k.Owner.User); err != nil || entity != nil {
		return resp
	}
	resp.AddWarning("the connection is private, and Vault knows no entity " + k.Owner.User + " (it was deleted, or " +
		"merged into another, or never was one): nobody can read this credential, and nothing moves it to another " +
		"owner; delete the connection, and connect the account again for whom it is meant")
	if conn.Deleting.IsZero() && !conn.Stops.On() && !conn.Ending.On() { // those say more of what was wanted
		resp.Data["status"], resp.Data["status_reason"] = string(store.StatusDisabled), string(store.ReasonOwnerMissing)
		resp.Data["status_since"] = "" // Vault does not tell
	}
	return resp
}
