package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// takeCA judges the ca_pem of p, which is to replace stored. Whoever holds a key of these certificates, and a proxy or
// a name server, receives what is sent to the provider. So they change under the same pin only for one who knows the
// client secret anyhow, and that one must have worked: else it may be made up. For anybody else the provider is
// another from then on, and what was kept for the former one does not stay, not even as the fallback: a refusal of a
// secret that somebody made up would send that.
func takeCA(d *framework.FieldData, stored, p *store.Provider) error {
	if stored == nil {
		if p.CAPEM != "" { // or one that is deleted and made anew would pass for itself under other certificates
			p.PinCA()
		}
		return nil
	}
	if egress.SameRoots(stored.CAPEM, p.CAPEM) {
		return nil
	}
	if !stored.ClientSecret.IsZero() {
		secret, named := d.GetOk("client_secret")
		if !named {
			return forbidden("ca_pem says who may receive the client secret: to change it, write the stored " +
				"client_secret in the same call; with another one the provider points elsewhere from then on, and " +
				"its connections need to be reconnected")
		}
		if providers.NewSecret(secret.(string)).Equal(stored.ClientSecret) && !stored.Unproven {
			p.DropFormerSecret() // it is older than the certificates, and their holder could ask for it by a refusal
			return nil
		}
	}
	p.PinCA()
	return nil
}

// proven remembers that a provider has taken its app's secret, for the next heartbeat to write down: the token that it
// gave comes first. While the former secret is kept as well, nobody knows which of the two it was.
func (b *backend) proven(p *configured) {
	if p.entry.Unproven && p.entry.FormerSecret.IsZero() {
		b.worked.Store(p.name, p.entry.ClientSecret)
	}
}

// noteProofs writes down which secrets have worked.
func (b *backend) noteProofs(ctx context.Context) {
	b.worked.Range(func(name, secret any) bool {
		b.worked.Delete(name) // should this fail, the next success tells
		b.configWrites.Lock()
		defer b.configWrites.Unlock()
		p, err := b.store.Provider(ctx, name.(string))
		if err != nil || p == nil || !p.Unproven || !p.FormerSecret.IsZero() ||
			!p.ClientSecret.Equal(secret.(providers.Secret)) {
			return true
		}
		if err := b.store.NoteProof(ctx, name.(string), p); err != nil {
			b.Logger().Debug("it could not be noted that a client secret works", "provider", name, "error", err)
			return true
		}
		b.providersChanged()
		return true
	})
}
