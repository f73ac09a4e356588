package backend

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A companion is a secret that goes along with a credential and that no call of ours sends, such as what a webhook is
// signed with. The definition declares which there are. creds answers them to those who ask for them; the provider's,
// which all its connections share, only to the owners that the operator names.

const includeCompanions = "companions"

// addCompanions adds the companions to the answer of creds, if they are asked for.
func (b *backend) addCompanions(ctx context.Context, k store.Key, conn *store.Connection, include []string,
	resp *logical.Response,
) error {
	if !slices.Contains(include, includeCompanions) {
		return nil
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		return err
	}
	if p == nil {
		return conflict("include=companions cannot be answered: provider %q is gone, which says what they are",
			conn.Provider)
	}
	found, warnings := p.companions(k, conn)
	resp.Data[includeCompanions] = found
	resp.Warnings = append(resp.Warnings, warnings...)
	return nil
}

// companions are those that a connection's readers are answered, with a warning for each that is withheld.
func (p *configured) companions(k store.Key, conn *store.Connection) (found map[string]any, warnings []string) {
	found = map[string]any{}
	definition := p.app.Definition
	shared := len(p.entry.CompanionsFor) > 0 && ownerAllowed(p.entry.CompanionsFor, k.Owner)
	planted := conn.Planted(k.Owner)
	for _, name := range definition.CompanionsOn(providers.SetByProvider) {
		secret, there := p.entry.Companions[name]
		switch {
		case there && shared:
			found[name] = secret.Reveal()
		case there:
			warnings = append(warnings, "companion "+name+" is not for "+k.Owner.String()+": an operator names the owner "+
				"in companions_for on providers/"+p.name)
		}
	}
	for _, name := range definition.CompanionsOn(providers.SetByConnection) {
		secret, there := conn.Companions[name]
		switch {
		case there && !planted:
			found[name] = secret.Reveal()
		case there:
			warnings = append(warnings, "companion "+name+" was written by somebody else than the owner: the owner "+
				"writes it to companions on connections/"+k.String())
		}
	}
	return found, warnings
}

// writtenCompanions are the companions that a request writes in the place of those that are stored: a mask that came
// back keeps one, and an empty text takes one away. What is stored already need not be declared any more. definition is
// nil where there is none, and then nothing can be new.
func writtenCompanions(d *framework.FieldData, side string, definition *providers.Definition,
	stored map[string]providers.Secret,
) (values map[string]providers.Secret, fresh bool, err error) {
	plain := map[string]string{}
	for name, v := range stored {
		plain[name] = v.Reveal()
	}
	whole, err := unmask("companions", d.Get("companions").(map[string]string), plain)
	if err != nil {
		return nil, false, err
	}
	values = map[string]providers.Secret{}
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		v := whole[name]
		before, there := plain[name]
		switch {
		case v == "" && (there || definition != nil && slices.Contains(definition.CompanionsOn(side), name)):
			continue
		case there && v == before:
		case definition == nil:
			return nil, false, badRequest("companions: the provider is gone, so %q cannot be checked: configure it first",
				clipText(name))
		default:
			if err := definition.CheckCompanion(side, name, v); err != nil {
				return nil, false, badRequest("%s", err)
			}
		}
		values[name] = providers.NewSecret(v)
	}
	return values, !maps.EqualFunc(values, stored, providers.Secret.Equal), nil
}

// takeCompanions takes the companions of p, which is to replace stored, and whom they are for. Whoever may write a
// provider cannot read its secrets; so that they do not do it as one of the owners, others are added only by who writes
// the companions themselves.
func takeCompanions(d *framework.FieldData, stored, p *store.Provider, definition *providers.Definition) error {
	if _, named := d.GetOk("companions"); named {
		values, _, err := writtenCompanions(d, providers.SetByProvider, definition, p.Companions)
		if err != nil {
			return err
		}
		if p.Companions = values; len(values) == 0 {
			p.Companions = nil
		}
	}
	setStrings(d, "companions_for", &p.CompanionsFor)
	for _, owner := range p.CompanionsFor {
		if err := checkOwnerPattern("companions_for", owner); err != nil {
			return err
		}
		if strings.HasSuffix(owner, "user/*") {
			return badRequest("companions_for: %s would give the app's secrets to everybody: name users one by one",
				owner)
		}
	}
	if stored == nil {
		return nil
	}
	raw, _ := d.GetOk("companions")
	brought, _ := raw.(map[string]string)
	for _, owner := range p.CompanionsFor {
		if slices.ContainsFunc(stored.CompanionsFor, func(there string) bool { return namesOwner(there, owner) }) {
			continue
		}
		for name := range p.Companions {
			if v := brought[name]; v == "" || isMask(v) {
				return forbidden("companions_for says who is answered the companions: to add %s, write them in the same "+
					"call, %q among them", owner, name)
			}
		}
	}
	return nil
}

func maskedSecrets(secrets map[string]providers.Secret) map[string]any {
	out := make(map[string]any, len(secrets))
	for name, v := range secrets {
		out[name] = v.Masked()
	}
	return out
}

// readCompanions takes the companions of a connection. An import carries on after a crash with what it was begun with,
// of which secrets of other sorts are no part.
func (w *write) readCompanions(d *framework.FieldData) error {
	if _, named := d.GetOk("companions"); !named {
		return nil
	}
	var definition *providers.Definition
	if w.provider != nil {
		definition = w.provider.app.Definition
	}
	var stored map[string]providers.Secret
	if w.known != nil {
		stored = w.known.Companions
	}
	values, fresh, err := writtenCompanions(d, providers.SetByConnection, definition, stored)
	switch {
	case err != nil:
		return err
	case fresh && (w.imports || w.issues()):
		return badRequest("companions: write them in a call of their own, once the connection has its credential")
	}
	raw := d.Get("companions").(map[string]string)
	masked := slices.ContainsFunc(slices.Collect(maps.Values(raw)), isMask)
	switch {
	case masked && !fresh: // a read that came back
		return nil
	case masked && w.known != nil && w.who.owns(w.key) && w.known.Planted(w.key.Owner):
		return badRequest("companions: those that there are were written by somebody else: write each value itself")
	}
	w.companions = &values
	return nil
}
