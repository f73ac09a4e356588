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
			return nil
		}
	}
	p.PinCA()
	return nil
}

// proven notes that a provider has taken its app's secret. While the former one is kept as well, nobody knows which it
// was.
func (b *backend) proven(p *configured) {
	if !p.entry.Unproven || !p.entry.FormerSecret.IsZero() {
		return
	}
	b.tasks.Go("noting that the secret of "+p.name+" works", func(ctx context.Context) {
		b.configWrites.Lock()
		defer b.configWrites.Unlock()
		stored, err := b.store.Provider(ctx, p.name)
		if err != nil || stored == nil || !stored.Unproven || !stored.FormerSecret.IsZero() ||
			!stored.ClientSecret.Equal(p.entry.ClientSecret) {
			return // the next success tells
		}
		if err := b.store.NoteProof(ctx, p.name, stored); err != nil {
			b.Logger().Debug("it could not be noted that a client secret works", "provider", p.name, "error", err)
			return
		}
		b.providersChanged()
	})
}
