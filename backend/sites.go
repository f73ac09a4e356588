package backend

import (
	"context"
	"errors"
	"maps"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A grant may reach several sites. It is stored, and kept fresh, and is pending until a person picks the one that
// applications work with, by a write of the input that the definition names.

// choicesOf are the sites that a connection's grant reaches, as metadata shows them.
func choicesOf(c *store.Connection) []map[string]any {
	choices := []map[string]any{}
	if c.Sites != nil {
		for _, site := range c.Sites.Choices {
			choices = append(choices, map[string]any{"id": site.ID, "name": site.Name})
		}
	}
	return choices
}

// unpicked are inputs without the one that picks a site.
func (p *configured) unpicked(inputs map[string]string) map[string]string {
	pick := p.app.Definition.Picks()
	if _, there := inputs[pick]; !there {
		return inputs
	}
	rest := maps.Clone(inputs)
	delete(rest, pick)
	return rest
}

// keepPick are the inputs of a new credential for c, with the site that is picked already unless they name one.
func (p *configured) keepPick(inputs map[string]string, c *store.Connection, inherits bool) map[string]string {
	pick := p.app.Definition.Picks()
	if pick == "" || inputs[pick] != "" || c.Inputs[pick] == "" || !inherits {
		return inputs
	}
	kept := map[string]string{pick: c.Inputs[pick]}
	maps.Copy(kept, inputs)
	return kept
}

// readPick takes inputs that change nothing but the site. They name that alone, or all inputs; not to name it changes
// nothing. done tells that there is nothing more to read of them.
func (w *write) readPick(named map[string]string) (done bool, err error) {
	if w.provider == nil || w.known == nil || w.known.Grant == nil || w.provider.app.Definition.Picks() == "" {
		return false, nil
	}
	definition, pick := w.provider.app.Definition, w.provider.app.Definition.Picks()
	others := w.provider.unpicked(named)
	_, names := named[pick]
	switch {
	case maps.Equal(named, w.known.Inputs) && !w.known.Choosing():
		return false, nil // what is there comes back
	case len(others) == 0 && names:
	case maps.Equal(others, w.provider.unpicked(w.known.Inputs)):
		if !names {
			return true, nil
		}
	default:
		return false, nil // where the credential belongs would change too
	}
	checked, err := definition.CheckInputs("connection", w.known.Kind, map[string]string{pick: named[pick]})
	if err != nil {
		return false, badRequest("%s", err)
	}
	if err := w.provider.admitInputs(w.key.Owner, w.kind, checked); err != nil {
		return false, err
	}
	if checked[pick] != w.known.Inputs[pick] || w.known.Choosing() {
		w.pick, w.picksAll = checked[pick], maps.Equal(others, w.provider.unpicked(w.known.Inputs))
	}
	return true, nil
}

// pick stores which site was picked. One that is not known to be reached is looked for at the service.
func (b *backend) pick(ctx context.Context, w *write) (*store.Connection, error) {
	if _, known := w.known.Sites.Find(w.pick); !known {
		out, err := b.tasks.Once(ctx, "sites "+w.key.String(), func(ctx context.Context) (any, error) {
			return b.listSites(ctx, w)
		})
		if err != nil {
			return nil, err
		}
		found := out.(listing)
		if _, there := found.sites.Find(w.pick); !there {
			return nil, badRequest("there is nothing of id %q to pick: %s", clipText(w.pick),
				refresh.ToPick(w.key, found.sites.Bounded("")))
		}
		w.listed, w.listedOf = found.sites, found.generation
	}
	return w.store(ctx, b, w.apply)
}

// listing is what a credential reaches.
type listing struct {
	sites      *providers.Sites
	generation uint64
}

func (b *backend) listSites(ctx context.Context, w *write) (listing, error) {
	conn, p := w.known, w.provider
	permit := w.who.permitFor(w.key)
	a, err := b.refresher.Get(ctx, w.key, permit, 0)
	var problem *refresh.Error
	switch {
	case err == nil:
		conn = a.Connection
	case !errors.As(err, &problem) || problem.Problem != refresh.Choosing:
		return listing{}, err
	case conn.Grant.AccessToken.IsZero() || !conn.Grant.Expires.IsZero() && !b.now().Before(conn.Grant.Expires):
		if a, err = b.refresher.Refresh(ctx, w.key, permit); err != nil {
			return listing{}, err
		}
		conn = a.Connection
	}
	if p.fingerprint != conn.Pinned {
		return listing{}, conflict("provider %q was changed since connection %s was made, so the credential is shown to "+
			"nobody: connect the account again", p.name, w.key)
	}
	resolved, err := b.resolve(ctx, p, w.key, conn.Kind, conn.Inputs)
	if err != nil {
		return listing{}, asBadRequest(p.name, err)
	}
	pass, err := b.enterFor(ctx, gate.Person, p.name, w.key, conn, w.who)
	if err != nil {
		return listing{}, err
	}
	defer pass.Leave(gate.NotSent, 0)
	switch stale, err := b.overtaken(ctx, w.key, conn, p, permit); {
	case err != nil:
		return listing{}, err
	case stale:
		return listing{}, conflict("connection %s or its provider was changed meanwhile, so its credential was shown to "+
			"nobody: nothing was written; send this again", w.key)
	}
	sites, err := p.client.ListSites(b.debugs(ctx, p, w.key, conn), p.app, resolved, conn.Grant)
	pass.Leave(aside(err))
	if err != nil {
		return listing{}, badGateway("what the account reaches could not be listed (%s): nothing was changed; try "+
			"again later", b.warningText(err))
	}
	return listing{sites, conn.Generation}, nil
}

// applyPick makes the pick. It runs under the connection's lock.
func (w *write) applyPick(c *store.Connection) error {
	found := w.listed
	if c.Generation != w.listedOf {
		found = nil
	}
	if !c.Pick(w.pick, found, w.now) {
		return conflict("what connection %s reaches was changed meanwhile: nothing was written; send this again", w.key)
	}
	if w.picksAll || !w.who.owns(w.key) { // what somebody else picked is not the owner's to build on unseen
		c.SetBy = w.who.setter()
	}
	return nil
}
