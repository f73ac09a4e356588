package backend

import (
	"context"
	"errors"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// issuerTime is how long the write of a provider waits for what its issuer publishes.
const issuerTime = 3 * time.Second

// issuerWarnings reads what the issuer of a provider publishes, once it was stored: what is wrong with it is told while
// the operator is there, and stops nothing. It is called with no lock held.
func (b *backend) issuerWarnings(ctx context.Context, name string, written *store.Provider) []string {
	if config, err := b.config(ctx); written.Issuer == "" || written.Frozen || err != nil || config.Frozen {
		return nil
	}
	p, err := b.provider(ctx, name)
	if err != nil || p == nil || p.entry.Issuer != written.Issuer { // somebody else wrote meanwhile
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, issuerTime)
	defer cancel()
	err = b.readIssuer(ctx, p)
	var call *providers.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &call) && (call.Class == providers.Misconfigured && !call.NotSent() ||
		call.Code == providers.CodeIssuer):
		return []string{"it was stored, but no account can be connected with it: " + call.Error() + "; correct " +
			faultsOf(name, call)}
	}
	return []string{"it was stored, but whether issuer is right could not be learned: " + b.warningText(err)}
}

// readIssuer is a call like any other, to somebody who need not be the one that gives tokens.
func (b *backend) readIssuer(ctx context.Context, p *configured) error {
	pass, err := b.gate.Enter(ctx, gate.Visit{Key: p.name + discovery, Connection: "providers/" + p.name})
	if err != nil {
		return err
	}
	defer pass.Leave(gate.NotSent, 0)
	err = p.client.CheckIssuer(b.debugs(ctx, p, store.Key{}, nil), p.app)
	pass.Leave(refresh.OutcomeOf(err))
	return err
}
