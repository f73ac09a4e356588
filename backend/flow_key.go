package backend

import (
	"context"
	"errors"
	"maps"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A key that a person brought by a link is written by who made the link, in the same way as one that they write
// themselves, and by the same rules. Only they never see it.

// planKey validates the key of a link as a write of who.
func (b *backend) planKey(ctx context.Context, f *store.Flow, who caller, inputs map[string]string,
	key map[string]providers.Secret,
) (*write, error) {
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, err
	}
	p, err := b.knownProvider(ctx, f.Provider)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{
		"provider": f.Provider, "kind": string(f.Kind), "provision": f.Link.Provision,
		"inputs": inputsNamed(inputs), // all of them: nothing of what is there is built on
	}
	if f.Private != nil {
		fields["private"] = *f.Private
	}
	if len(f.RequiredScopes) > 0 {
		fields["required_scopes"] = f.RequiredScopes
	}
	for _, field := range p.app.Definition.AskedKey() { // nor on the rest of a key that is there
		fields[field.Name] = key[field.Name].Reveal()
	}
	w, err := b.planWrite(ctx, k, who, &framework.FieldData{Raw: fields, Schema: ownedFields(connectionFields())})
	if err != nil {
		return nil, err
	}
	if w.provider == nil || w.provider.fingerprint != f.Pinned { // it was read anew
		return nil, changedSince(f)
	}
	w.flow = f
	return w, nil
}

// inputsNamed is a map that is there, and holds nothing but texts.
func inputsNamed(inputs map[string]string) map[string]any {
	named := make(map[string]any, len(inputs))
	for name, v := range inputs {
		named[name] = v
	}
	return named
}

// finishKey writes the key of a claimed flow. What refuses it is the flow's outcome, and the key is gone with that;
// where nobody could be asked, or storage refuses, the same request may be sent again.
func (b *backend) finishKey(ctx context.Context, x exchangeRequest, f *store.Flow, p *configured) (*store.Flow, error) {
	w, conn, err := b.writeKey(ctx, x, f)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && refused.status < 500:
		return f, b.conclude(ctx, f, failure(f, refused.text), true)
	case err != nil:
		return nil, err
	}
	_, unsaved, err := b.connections.Get(ctx, w.key)
	if err != nil {
		return nil, err
	}
	warnings := w.warnings
	if w.closed {
		warnings = append(warnings, closedWarning(w.key))
	}
	if conn.Grant != nil {
		warnings = append(warnings, aboutGrant(w.key, conn, p)...)
	}
	return f, b.conclude(ctx, f, &store.Outcome{Connected: true, Warnings: warnings}, !unsaved)
}

func (b *backend) writeKey(ctx context.Context, x exchangeRequest, f *store.Flow) (*write, *store.Connection, error) {
	w, err := b.planKey(ctx, f, x.who, f.Inputs, f.Parked.Key)
	if err != nil {
		return nil, nil, err
	}
	w.before = func(c *store.Connection) error {
		if b.voided(ctx, f.ID) {
			return voidMeanwhile(w.key, f)
		}
		return overtaken(c, w.key, f)
	}
	if w.issues() {
		conn, err := b.issue(ctx, w)
		return w, conn, err
	}
	if err := b.checkKey(ctx, w); err != nil {
		return nil, nil, err
	}
	again := w.known != nil && w.sameKey(w.known)
	if f.Link.Account != "" && w.account.ID == "" && w.account.Email == "" && !again {
		return nil, nil, badGateway("whose account the key is of could not be found out now, and the link was for one " +
			"account alone: nothing was changed; send this again")
	}
	conn, err := w.store(ctx, b, w.apply)
	return w, conn, err
}

// refusesAccount says why a link's key must not become the connection's, or nothing: it is of another account than the
// link was for. again tells that the connection has it already.
func (w *write) refusesAccount(c *store.Connection, again bool) string {
	if w.flow == nil {
		return ""
	}
	account := w.account
	switch {
	case again:
		account = providers.Account{ID: c.Account.ID, Email: c.Account.Email}
	case w.grant != nil:
		account = w.grant.Account
	}
	return w.flow.Link.Refuses(account)
}

// concealed are the fields of a key as they are kept. What is empty is none.
func concealed(key map[string]string) map[string]providers.Secret {
	kept := make(map[string]providers.Secret, len(key))
	for name, v := range key {
		if v != "" {
			kept[name] = providers.NewSecret(v)
		}
	}
	return kept
}

// joined are the inputs that the starter named, with those that the person added.
func joined(starter, person map[string]string) map[string]string {
	all := maps.Clone(starter)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, person)
	return all
}
