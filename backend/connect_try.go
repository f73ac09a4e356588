package backend

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/oauth2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A try of a link has three steps. It is counted, in storage, which voids the try before it; then somebody is asked,
// who may take long, with no lock held; then what came of it is kept, if no other try began meanwhile and nobody ended
// the flow. Whatever is cut off in between has cost a try and nothing else.

// useLink is one POST of the form.
func (b *backend) useLink(ctx context.Context, req *logical.Request, form connectForm) (rendered, error) {
	f, p, err := b.offered(ctx, store.LinkID(form.link))
	if err != nil || f == nil {
		return goneLink, err
	}
	again := func(notice pages.Notice, wrong ...string) (rendered, error) {
		// the form is of no use any more after the last try, nor if somebody ended the flow or was quicker meanwhile
		f, p, err := b.offered(ctx, store.LinkID(form.link))
		if err != nil || f == nil {
			return goneLink, err
		}
		page, err := b.linkPage(ctx, req, f, p, form)
		page.Notice, page.Wrong = notice, wrong
		return page, err
	}
	inputs, wrong := mistakes(p, f, form)
	if len(wrong) > 0 && len(form.inputs)+len(form.keys) == 0 {
		return again(pages.None) // an application's page posted the link alone
	}
	if len(wrong) > 0 {
		return again(pages.Mistyped, wrong...)
	}
	if err := b.mayTry(ctx, f, p); err != nil {
		return b.untried(ctx, f, err, again)
	}
	if f, p, err = b.countTry(ctx, f.ID); err != nil || f == nil {
		return goneLink, err
	}
	f.Inputs = inputs
	if !byKey(p, f.Kind) {
		return b.leadToConsent(ctx, req, f, p, again)
	}
	notice, err := b.tryKey(ctx, f, concealed(onlyAsked(p, form.keys)))
	switch {
	case err != nil:
		return b.untried(ctx, f, err, again)
	case notice != pages.None:
		return again(notice)
	}
	f.Park(&store.Parked{
		Time: b.now(), Key: concealed(onlyAsked(p, form.keys)), ConfirmationCode: providers.NewSecret(newConfirmationCode()),
	})
	config, err := b.config(ctx)
	if err != nil {
		return goneLink, err
	}
	f.Expires = b.now().Add(config.FlowTTL)
	return b.kept(ctx, f, b.parkedPage(req, f, p))
}

// mayTry looks whether the flow could connect anything now, before a try is counted.
func (b *backend) mayTry(ctx context.Context, f *store.Flow, p *configured) error {
	k, err := f.ConnectionKey()
	if err != nil {
		return err
	}
	known, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return err
	}
	if err := overtaken(known, k, f); err != nil {
		return err
	}
	if err := p.admit(k, f.Kind, known); err != nil {
		return err
	}
	// a link lives long, and the operator may have changed their mind since
	return mayAskFor(p, slices.Concat(f.Link.Asked, f.Link.Optional))
}

// untried answers that nothing came of a try through no fault of the person's. What it was is told the log, since the
// page is for a stranger.
func (b *backend) untried(ctx context.Context, f *store.Flow, err error,
	again func(pages.Notice, ...string) (rendered, error),
) (rendered, error) {
	if ctx.Err() != nil {
		return goneLink, ctx.Err()
	}
	if store.IsReadOnly(err) {
		return goneLink, err
	}
	b.Logger().Warn("a connect link led nowhere", "connection", f.Key, "flow", f.ID, "reason", b.warningText(err))
	return again(faultOf(err))
}

// countTry counts a try of a link that may be used; nil when it may not any more.
func (b *backend) countTry(ctx context.Context, id string) (*store.Flow, *configured, error) {
	unlock, err := b.flows.lock(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	f, p, err := b.offered(ctx, id)
	if err != nil || f == nil {
		return nil, nil, err
	}
	f.BeginTry()
	return f, p, b.putFlow(ctx, f)
}

// kept stores what came of a try, unless another one began meanwhile, or the flow was ended.
func (b *backend) kept(ctx context.Context, f *store.Flow, page rendered) (rendered, error) {
	unlock, err := b.flows.lock(ctx, f.ID)
	if err != nil {
		return goneLink, err
	}
	defer unlock()
	now, err := b.store.Flow(ctx, f.ID)
	if err != nil || now == nil || now.Over() || now.Parked != nil || now.Link.Tries != f.Link.Tries ||
		now.Link.State != "" {
		return goneLink, err
	}
	if err := b.putFlow(ctx, f); err != nil {
		return goneLink, err
	}
	return page, nil
}

// leadToConsent makes what a consent needs, anew for each try, and leads there.
func (b *backend) leadToConsent(ctx context.Context, req *logical.Request, f *store.Flow, p *configured,
	again func(pages.Notice, ...string) (rendered, error),
) (rendered, error) {
	k, err := f.ConnectionKey()
	if err != nil {
		return goneLink, err
	}
	if err := b.settleConsent(ctx, f, k, p); err != nil {
		return b.untried(ctx, f, err, again)
	}
	installs := p.app.Definition.Installs(f.Kind)
	if p.app.UsesPKCE() && !installs {
		f.Verifier = providers.NewSecret(oauth2.GenerateVerifier())
	}
	if f.Resolved.OpenID && !installs {
		f.Nonce = randomText(16)
	}
	state, build := store.LinkState(f.ID, newState()), providers.AuthCodeURL
	if installs {
		build = providers.InstallURL
	}
	address, err := build(p.app, providers.AuthCodeURLRequest{
		Resolved: f.Resolved, State: state, Nonce: f.Nonce, Verifier: f.Verifier, RedirectURI: f.RedirectURI,
		Scopes: f.Scopes, Optional: f.Link.Optional, LoginHint: f.Link.LoginHint, FormPost: true,
	})
	if err != nil {
		return b.untried(ctx, f, badRequest("%s", err), again)
	}
	config, err := b.config(ctx)
	if err != nil {
		return goneLink, err
	}
	f.Lead(state, b.now().Add(config.FlowTTL))
	page := flowPage(req, f, p)
	page.Outcome, page.ConsentURL = pages.Leave, address
	return b.kept(ctx, f, page)
}

// tryKey asks the service whether it takes a key. Where that is not to be found out the key is taken, as one is that
// somebody writes: exchange asks again.
func (b *backend) tryKey(ctx context.Context, f *store.Flow, key map[string]providers.Secret) (pages.Notice, error) {
	w, err := b.planKey(ctx, f, starterOf(f), f.Inputs, key)
	if err != nil {
		return pages.None, err
	}
	if w.issues() {
		return b.tryToBuy(ctx, w)
	}
	if w.known != nil && w.sameKey(w.known) {
		w.account = providers.Account{ID: w.known.Account.ID, Email: w.known.Account.Email}
	} else {
		found, _, err := b.showKey(ctx, w)
		switch {
		case ctx.Err() != nil:
			return pages.None, ctx.Err()
		case errors.Is(err, gate.ErrClosed):
			return pages.None, err
		case found.valid == refused:
			return pages.Refused, nil
		}
		if err := b.stillThere(ctx, w); err != nil { // the wait may have been long
			return pages.None, err
		}
	}
	return w.foreign(), nil
}

// foreign is the notice for a key of another account than the link is for, or of nobody knows whose.
func (w *write) foreign() pages.Notice {
	account := w.account
	if w.grant != nil {
		account = w.grant.Account
	}
	switch {
	case w.flow.Link.Refuses(account) == "":
		return pages.None
	case account.ID == "" && account.Email == "":
		return pages.Later
	}
	return pages.Other
}

// tryToBuy is tryKey where a key shows by the token that it buys. Nobody gets that one, and it
// ends by itself: to end it might end others of the account.
func (b *backend) tryToBuy(ctx context.Context, w *write) (pages.Notice, error) {
	pass, err := b.enterFor(ctx, gate.Person, w.provider.name, w.key, w.known, w.who)
	if err != nil {
		return pages.None, err
	}
	err = b.buy(ctx, w, pass)
	var call *providers.Error
	switch {
	case errors.As(err, &call) && !call.NotSent() && call.Class == providers.Rejected:
		return pages.Refused, nil
	case err != nil:
		return pages.None, err
	}
	return w.foreign(), nil
}
