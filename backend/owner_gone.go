package backend

import (
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// withOwner warns where metadata is of a private connection whose owner Vault does not know now: it was deleted, or
// merged away, or an application made its id up. The status says what the daily look at owners found; see leavers.go.
// An error of Vault's says nothing of the entity. Who reads their own is known to be there.
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
		"merged into another, or never was one): its owner cannot read this credential, and it goes to no other " +
		"owner; delete the connection, and connect the account again for whom it is meant")
	return resp
}
