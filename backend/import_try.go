package backend

import (
	"context"
	"errors"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// try finds out whether the tokens work and whose they are. Where a refresh token had to be spent for that, the trial
// holds what came of it.
func (b *backend) try(ctx context.Context, w *write, known *store.Connection,
) (g *providers.Grant, t *store.Trial, err error) {
	inputs := w.inputs(known)
	if !w.grant.RefreshToken.IsZero() {
		t, err = b.store.Trial(ctx, w.key, w.grant)
		switch {
		case err != nil && !store.Damaged(err):
			return nil, nil, err
		case err != nil, t != nil && t.Open() && !t.For(w.provider.fingerprint, inputs):
			t = nil
		case t != nil && !t.Open() && !t.For(w.provider.fingerprint, inputs):
			return nil, nil, conflict("this refresh token was spent with other inputs, or while provider %q was "+
				"configured otherwise: name the same inputs, or bring new tokens", w.provider.name)
		case t != nil && !t.Open() && w.resumes == nil && t.Caller != w.who.id():
			return nil, nil, conflict("this refresh token was brought by somebody else, and is spent: " +
				"nothing was changed")
		case t != nil && !t.Open() && t.Identified:
			return t.Given, t, nil
		}
	}
	ctx = b.debugs(ctx, w.provider, w.key, known)
	resolved, err := b.resolve(ctx, w.provider, w.key, w.kind, inputs)
	if err != nil {
		return nil, nil, asBadRequest(w.provider.name, err)
	}
	if err := w.provider.app.Definition.CheckImport(resolved); err != nil && t == nil {
		return nil, nil, badRequest("%s", err)
	}
	pass, err := b.enterFor(ctx, w.class, w.provider.name, w.key, known, w.who)
	if err != nil {
		return nil, nil, err
	}
	defer pass.Leave(gate.NotSent, 0)
	if err = b.stillAdmits(ctx, w); err == nil && known == nil && !w.replaces {
		err = b.mayAdd(ctx, w.key)
	}
	if err != nil {
		return nil, nil, err
	}
	if t != nil && !t.Open() { // whose it is was not learned when it came
		err := w.provider.client.Identify(ctx, w.provider.app, resolved, w.kind, t.Given)
		w.date(ctx, b, resolved, t.Given)
		pass.Leave(gate.NotSent, 0)
		w.warnOfIdentity(b, err)
		return t.Given, t, nil
	}
	lives := !w.grant.AccessToken.IsZero() && (w.grant.Expires.IsZero() || w.now.Before(w.grant.Expires))
	if w.provider.refusesUnknown() && !w.grant.RefreshToken.IsZero() {
		lives = false // which scopes it has, the provider tells with a new one
	}
	if g := w.grant; t == nil && lives {
		copied := *g
		err := w.provider.client.Identify(ctx, w.provider.app, resolved, w.kind, &copied)
		dead := isDead(err)
		switch {
		case !dead:
			w.date(ctx, b, resolved, &copied)
			pass.Leave(gate.NotSent, 0) // before storage is written; a limit is this account's alone (see show)
			w.warnOfIdentity(b, err)
			return &copied, nil, nil
		case g.RefreshToken.IsZero():
			return nil, nil, conflict("provider %q does not take this access token: nothing was stored",
				w.provider.name)
		}
	}
	if w.grant.RefreshToken.IsZero() {
		return nil, nil, badRequest("the access token has expired, and there is no refresh_token: nothing was stored")
	}
	return b.redeem(ctx, w, known, resolved, pass, t)
}

// isDead reports whether an API says that the access token is of no use any more.
func isDead(err error) bool {
	var call *providers.Error
	return errors.As(err, &call) && (call.Class == providers.Expired || call.Class == providers.Rejected)
}

func (w *write) warnOfIdentity(b *backend, err error) {
	if err != nil {
		w.warnings = append(w.warnings, "whose account it is could not be learned: "+b.warningText(err))
	}
}

// date learns until when the tokens live, where the service is to be asked.
func (w *write) date(ctx context.Context, b *backend, resolved providers.Resolved, g *providers.Grant) {
	w.warnings = append(w.warnings, b.undated(w.provider.client.Introspect(ctx, w.provider.app, resolved, g))...)
}

// inputs are those that the credential will have.
func (w *write) inputs(known *store.Connection) map[string]string {
	switch {
	case w.settings.Inputs != nil:
		return *w.settings.Inputs
	case known == nil || !w.who.inherits(w.key, known):
		return nil
	}
	return w.provider.app.Definition.InputsOf(w.kind, known.Inputs)
}

// redeem spends the refresh token. Before that it is stored, and so is the answer: whoever comes after a crash finds
// either. t is the trial of an earlier attempt whose answer nobody knows.
func (b *backend) redeem(ctx context.Context, w *write, known *store.Connection, resolved providers.Resolved,
	pass *gate.Pass, t *store.Trial,
) (*providers.Grant, *store.Trial, error) {
	app := w.provider.app
	switch {
	case !app.CanRefresh(w.kind, w.grant):
		return nil, nil, badRequest("provider %q renews no tokens, so a refresh_token alone is of no use: import an "+
			"access_token that lives", w.provider.name)
	case b.isPaused(ctx, app.MayRotate(w.kind)):
		return nil, nil, b.pausedError(ctx, w.key, w.provider.name)
	}
	resumed := t != nil
	if !resumed {
		t = w.trial(known)
	}
	rotates := app.MayRotate(w.kind)
	if rotates {
		if err := b.openTrial(ctx, w.key, t, resumed); err != nil {
			return nil, nil, err
		}
	}
	g, err := w.provider.client.Refresh(ctx, app, resolved, w.kind, w.grant)
	lost := resumed
	var failure *providers.Error
	if errors.As(err, &failure) && failure.Class == providers.Unknown && b.mayAskAgain(ctx, w.key, t, rotates) {
		lost = true
		g, err = w.provider.client.Refresh(ctx, app, resolved, w.kind, w.grant)
	}
	if err != nil {
		pass.Leave(refresh.OutcomeOf(err))
		return nil, nil, b.notRedeemed(ctx, w, t, err, lost)
	}
	pass.Tell(gate.Succeeded, 0) // what follows is asked of others
	b.proven(w.provider)
	t.Given = g
	if rotates {
		b.keepGiven(ctx, w.key, t) // before whose it is, which may take long to learn
	}
	err = w.provider.client.Identify(ctx, app, resolved, w.kind, g)
	w.warnOfIdentity(b, err)
	w.date(ctx, b, resolved, g)
	if t.Identified = err == nil && g.Sites == nil; rotates && t.Identified {
		b.keepGiven(ctx, w.key, t)
	}
	return g, t, nil
}

// mayAskAgain reports whether a request without an answer may be made once more: the token may be spent, and providers
// that forgive that do so for seconds. Storage tells whether this node still leads.
func (b *backend) mayAskAgain(ctx context.Context, k store.Key, t *store.Trial, rotates bool) bool {
	return ctx.Err() == nil && b.thawed(ctx, t.Provider, k) == nil && (!rotates || b.store.PutTrial(ctx, k, t) == nil)
}

// notRedeemed says why the refresh token brought nothing, and forgets it unless an answer may have been lost.
func (b *backend) notRedeemed(ctx context.Context, w *write, t *store.Trial, err error, lost bool) error {
	var call *providers.Error
	known := errors.As(err, &call)
	unanswered := known && call.Class == providers.Unknown
	if !unanswered && (!lost || known && call.Class == providers.Rejected) {
		b.endTrial(ctx, w.key, t)
	}
	switch {
	case !known:
		return err
	case unanswered:
		return badGateway("%s: nothing was changed, but the refresh token may be spent; send the same import again "+
			"within the hour", call)
	case call.Class == providers.Rejected && lost:
		return conflict("%s: an earlier answer was lost, so the token may have been spent then; nothing was changed",
			call)
	case call.Class == providers.Rejected:
		return conflict("%s: nothing was changed", call)
	case call.Class == providers.Misconfigured && !call.NotSent():
		return conflict("%s: nothing was changed; an operator corrects %s", call, faultsOf(w.provider.name, call))
	case call.Class == providers.Misconfigured:
		return conflict("%s: nothing was changed", call)
	}
	return badGateway("%s: nothing was changed; try again later", call)
}
