package backend

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// apply is the change itself. It runs under the connection's lock and gets what is stored then.
func (w *write) apply(c *store.Connection) (*store.Connection, error) {
	if w.before != nil {
		if err := w.before(c); err != nil {
			return nil, err
		}
	}
	switch {
	case c == nil && w.known != nil:
		return nil, conflict("connection %s was deleted meanwhile: nothing was written", w.key)
	case c != nil && w.known == nil:
		return nil, conflict("connection %s was made by somebody else meanwhile: nothing was written; "+
			"read it, then write again", w.key)
	case c == nil:
		c = newConnection(w.key, w.provider.name, w.kind, w.who, w.now)
	case !c.Deleting.IsZero():
		return nil, beingDeleted(w.key)
	case c.IsMoving():
		return nil, beingMoved(w.key)
	case c.Ending.On():
		return nil, beingEnded(w.key)
	case w.brings() && !c.LastEnd().Time.Equal(w.known.LastEnd().Time):
		return nil, conflict("%s: nothing was written; send this again", endedMeanwhile(w.key))
	case w.imports && c.WasEnded(w.grant):
		return nil, conflict("these tokens were ended with connection %s (revoked): nothing was written; connect the "+
			"account again, or import new ones", w.key)
	case w.known != nil && !c.Created.Time.Equal(w.known.Created.Time), w.provider != nil &&
		c.Provider != w.provider.name:
		return nil, conflict("connection %s was deleted and made anew meanwhile: nothing was written", w.key)
	case w.who.may(w.use, w.key, c) != nil:
		return nil, forbidden("connection %s became private meanwhile: nothing was written", w.key)
	}
	if w.pick != "" {
		if err := w.applyPick(c); err != nil {
			return nil, err
		}
	}
	w.closed = false
	again := w.sameKey(c)
	brings := w.keys != nil && !again || w.grant != nil && !w.sentAgain(c)
	if brings && w.kind.Issued() && w.grant == nil { // it was the same key when this was planned
		return nil, conflict("the key of connection %s was changed meanwhile: nothing was written; send this again", w.key)
	}
	if brings {
		if why := w.refuses(c); why != "" {
			return nil, conflict("%s: nothing was changed", why)
		}
	}
	if why := w.refusesAccount(c, again); why != "" {
		return nil, conflict("%s", why)
	}
	// inputs that came back must not move another credential than the one that they were read with
	if !w.brings() && w.settings.Inputs != nil && !maps.Equal(*w.settings.Inputs, c.Inputs) {
		return nil, inputsChanged(w.key)
	}
	if w.restores && c.Generation != w.known.Generation {
		return nil, conflict("the key of connection %s was changed meanwhile: nothing was written", w.key)
	}
	settings, former, told, written := w.settings, w.former(c), c.Captured, c.KeySince()
	if brings || again && w.who.owns(w.key) { // a key that somebody else wrote becomes its owner's by the owner's word
		if err := w.place(c); err != nil {
			return nil, err
		}
		settings.Inputs = nil // they are placed, and what the grant reaches may add to them
	}
	if brings {
		w.adopt(c)
		if former != nil {
			c.KeepFormer(former, told, w.now.Add(formerKeyLife))
			c.AgeFormer(written)
		}
	}
	if brings || again || w.imports { // the same credential may have been somebody else's
		w.closed = w.who.adopts(w.key, c)
	}
	c.Set(settings, w.who.setterOf(w.key, w.now))
	if w.companions != nil {
		c.SetCompanions(*w.companions, w.who.setterOf(w.key, w.now))
	}
	w.closed = w.closed && c.Private
	if w.flow != nil {
		c.FlowID = w.flow.ID
	}
	return c, nil
}

// sameKey reports whether the write brings the key that c has: a configuration tool sends all fields when one changes.
// Under other inputs the key belongs elsewhere.
func (w *write) sameKey(c *store.Connection) bool {
	return w.keys != nil && maps.Equal(w.inputs(c), c.Inputs) &&
		c.HasKey(w.kind, w.keyValues(), w.provider.fingerprint)
}

// formerKeyLife is how long a key is kept that another one replaced: so long one write brings it back.
const formerKeyLife = 7 * 24 * time.Hour

// maxFormerKey is how many bytes a key may have, with what the service told of it, that is kept beside the one in its
// place: an entry holds both.
const maxFormerKey = 32 * kB

// former is the key that the write replaces, if it is to be kept: one that worked as far as is known, and that the same
// person put where the new one goes.
func (w *write) former(c *store.Connection) map[string]providers.Secret {
	if w.keys == nil || c.Key == nil || c.Kind != w.kind || c.Pinned != w.provider.fingerprint || !c.Invalid.IsZero() ||
		c.Refused.Reason != "" || c.SetBy != w.who.setter() || !maps.Equal(c.Inputs, w.inputs(c)) {
		return nil
	}
	size := c.Captured.Size()
	for name, v := range c.Key {
		size += len(name) + len(v.Reveal())
	}
	if size > maxFormerKey {
		return nil
	}
	return c.Key
}

// act is the change as it is recorded.
func (w *write) act() connections.Act {
	if w.flow != nil {
		return w.who.act("exchange", w.now)
	}
	return w.who.act("write", w.now)
}

// keyValues is the key that the write brings. An optional field that is emptied is none.
func (w *write) keyValues() map[string]providers.Secret {
	values := make(map[string]providers.Secret, len(w.keys))
	for name, v := range w.keys {
		if v != "" {
			values[name] = providers.NewSecret(v)
		}
	}
	return values
}

// place readies the connection for the credential that the write brings. What somebody else set up goes, and where it
// belongs must be what it was planned and tried for.
func (w *write) place(c *store.Connection) error {
	inputs := w.inputs(c)
	if !maps.Equal(inputs, w.inputs(w.known)) {
		return inputsChanged(w.key)
	}
	for name := range w.keys {
		if _, named := w.named[name]; !named && !c.KeyFields()[name].Equal(w.known.KeyFields()[name]) {
			return conflict("the key of connection %s was changed meanwhile: nothing was written", w.key)
		}
	}
	if !w.who.requires(w.key, c) {
		c.RequiredScopes = nil
	}
	if w.kind.Issued() && !maps.Equal(inputs, c.Inputs) { // which say whose account it is
		c.Account = store.Account{}
	}
	c.Kind, c.FlowID, c.Inputs = w.kind, "", inputs
	c.SetBy, c.RequiredBy = w.who.setter(), w.who.setter()
	return nil
}

// adopt makes what the write brings the connection's credential.
func (w *write) adopt(c *store.Connection) {
	pin := w.provider.fingerprint
	switch {
	case w.kind.Issued():
		c.AdoptIssued(w.grant, pin, w.now)
	case w.restores:
		c.AdoptFormer(w.keyValues(), pin, w.now)
		c.Capture(w.captured)
	case w.keys != nil:
		c.AdoptKey(w.keyValues(), pin, w.now)
		c.Identified(w.account)
		c.Capture(w.captured)
	case w.tried != nil:
		c.AdoptTried(w.tried, w.grant, pin, w.now)
	default:
		c.AdoptImport(w.grant, pin, w.now)
	}
}

func inputsChanged(k store.Key) error {
	return conflict("the inputs of connection %s were changed meanwhile: nothing was written", k)
}

// beingDeleted refuses to bring back what a person deletes:
// the end of the deletion would take the new credential along.
func beingDeleted(k store.Key) error {
	return conflict("connection %s is being deleted: delete it again if that does not end, then make it anew", k)
}

// newConnection is a connection before it has a credential. One that its owner makes is private.
func newConnection(k store.Key, provider string, kind providers.Kind, who caller, now time.Time) *store.Connection {
	return &store.Connection{
		Provider: provider, Private: who.owns(k), Created: who.actor(now),
		Credential: store.Credential{
			// What was left of a connection that had the name before must not fit this one.
			Generation: uint64(now.UnixMilli()),
			Kind:       kind,
		},
	}
}

// store writes what the request brings.
func (w *write) store(ctx context.Context, b *backend,
	apply func(*store.Connection) (*store.Connection, error),
) (*store.Connection, error) {
	act := w.act()
	if w.replaces {
		return b.connections.Replace(ctx, w.key, act, apply)
	}
	return b.connections.Update(ctx, w.key, act, apply)
}

// issue obtains a token that needs no person, with the app's own secret (RFC 6749 section 4.4) or with the key that the
// write brings, and stores it.
func (b *backend) issue(ctx context.Context, w *write) (*store.Connection, error) {
	out, err := b.tasks.Once(ctx, "issue "+w.key.String()+" "+randomText(8), func(ctx context.Context) (any, error) {
		defer b.connections.Pin(w.key)()
		pass, err := b.enterFor(ctx, gate.Person, w.provider.name, w.key, w.known, w.who)
		if err != nil {
			return nil, err
		}
		if err := b.buy(ctx, w, pass); err != nil {
			return nil, w.notIssued(err)
		}
		conn, saved, err := b.connections.Keep(ctx, w.key, w.act(), w.known, w.apply)
		if err == nil && !saved {
			w.warnings = append(w.warnings, unsavedWarning)
		}
		return conn, err
	})
	if err != nil {
		return nil, err
	}
	return out.(*store.Connection), nil
}

// buy is the call for the token, and for whose it is. It leaves the place at the provider.
func (b *backend) buy(ctx context.Context, w *write, pass *gate.Pass) error {
	defer pass.Leave(gate.NotSent, 0)
	inputs := w.inputs(w.known)
	if err := b.stillThere(ctx, w); err != nil { // the wait may have been long
		return err
	}
	if err := w.provider.admitInputs(w.key.Owner, w.kind, inputs); err != nil {
		return err
	}
	ctx = b.debugs(ctx, w.provider, w.key, w.known)
	resolved, err := w.provider.client.Resolve(ctx, w.provider.app, w.kind, inputs)
	if err == nil {
		err = w.provider.app.Definition.TakesInputs(w.kind, resolved.Inputs)
	}
	if err != nil {
		return asBadRequest(w.provider.name, err)
	}
	w.grant, err = w.provider.client.Issue(ctx, w.provider.app, providers.IssueRequest{
		Kind: w.kind, Resolved: resolved, Scopes: w.provider.app.ScopesOfTheApp(), Key: w.keyValues(),
	})
	pass.Tell(refresh.OutcomeOf(err))
	if err != nil {
		return err
	}
	if w.provider.app.Identifies(w.kind) {
		err := w.provider.client.Identify(ctx, w.provider.app, resolved, w.kind, w.grant)
		w.warnOfIdentity(b, err)
	}
	w.date(ctx, b, resolved, w.grant)
	return nil
}

// notIssued says of an app or a key that is refused what to look at.
func (w *write) notIssued(err error) error {
	var call *providers.Error
	switch {
	case !errors.As(err, &call) || call.NotSent():
		return err
	case call.Class == providers.Rejected && len(w.keys) > 0:
		return conflict("%s: the service refuses this key, so nothing was changed; make another there, or see that it is "+
			"still valid and for this service", call)
	case w.kind == providers.KindBrokered && call.Reason == providers.ReasonNoAccessToken:
		return badRequest("%s holds no credential for this account that it gives out: nothing was stored; it gives those of "+
			"accounts that were connected with an OAuth client of your own there, or that hold a key",
			w.provider.app.Definition.Name)
	case call.Class == providers.Misconfigured:
		return conflict("%s: the provider refuses the app, an operator corrects %s", call,
			faultsOf(w.provider.name, call))
	}
	return err
}

// holdKey makes a grant of a key that nobody tries: the first read buys the token.
func (w *write) holdKey() {
	w.grant = &providers.Grant{Key: w.keyValues(), Scopes: w.provider.app.ScopesOfTheApp(), Issued: w.now, Expires: w.now}
}
