package backend

import (
	"context"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// errNoPass is why a flow is not claimed that may lead to a call, which has no place at its provider.
var errNoPass = conflict("the flow changed while this request was looked at: send it again")

// callable reports whether finishing the flow may lead to a call to its provider. A key is checked where all keys are
// that somebody writes, which waits for its own place.
func callable(f *store.Flow) bool {
	return f.Claimed == "" && (f.OwnRedirect || f.Parked != nil && f.Parked.Denied == "" && !f.HoldsKey())
}

// enterExchange waits for a place at the provider before a try is counted or the flow is claimed: who is turned away
// has lost nothing. A request that cannot lead to a call gets no pass, and the claim says why.
func (b *backend) enterExchange(ctx context.Context, x exchangeRequest) (*gate.Pass, error) {
	f, err := b.store.Flow(ctx, x.flowID)
	if err != nil || f == nil || !callable(f) || f.Caller != x.who.id() || f.ExpiredAt(b.now()) {
		return nil, err
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, err
	}
	known, _, err := b.connections.Get(ctx, k)
	if store.Damaged(err) {
		return nil, damagedEntry(k)
	}
	if err != nil {
		return nil, err
	}
	if known == nil {
		if err := b.mayAdd(ctx, k); err != nil {
			return nil, err
		}
	}
	return b.enterFor(ctx, gate.Person, f.Provider, k, known, x.who)
}

// thawedFlow is thawed for what a flow would connect.
func (b *backend) thawedFlow(ctx context.Context, f *store.Flow) error {
	k, err := f.ConnectionKey()
	if err != nil {
		return err
	}
	return b.thawed(ctx, f.Provider, k)
}

// claim checks that this caller may finish this flow now, and marks it as being finished. A flow that has an outcome
// is answered with it, and so is one whose code is not its own.
func (b *backend) claim(ctx context.Context, x exchangeRequest, passed bool) (*store.Flow, *configured, error) {
	unlock, err := b.flows.lock(ctx, x.flowID)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	f, err := b.store.Flow(ctx, x.flowID)
	if err != nil {
		return nil, nil, err
	}
	if f == nil || f.ExpiredAt(b.now()) {
		return nil, nil, unknownFlow
	}
	if x.who.id() == "" || x.who.id() != f.Caller {
		return nil, nil, forbidden("this flow was started by somebody else: only who started it can finish it; " +
			"start one of your own with auth-code-url/")
	}
	if x.ownRedirect != f.OwnRedirect {
		if f.OwnRedirect {
			return nil, nil, badRequest("this flow ends at the application's own redirect URI: finish " +
				"it with state and code")
		}
		return nil, nil, badRequest("this flow ends at Vault's callback: finish it with flow_id and the " +
			"confirmation code that the page shows")
	}
	if f.Claimed == "" { // before a try is counted, too
		if err := b.thawedFlow(ctx, f); err != nil {
			return nil, nil, err
		}
	}
	if !passed && callable(f) {
		return nil, nil, errNoPass // before a try is counted
	}
	if err := b.proveBrowser(ctx, x, f); err != nil {
		return nil, nil, err
	}
	// A key is not spent by writing it, so what cut that off is no reason not to go on.
	if again := f.HoldsKey() && f.Claimed == x.digest && f.Outcome == nil; f.Claimed != "" && !again {
		return b.claimedBefore(ctx, x, f)
	}
	p, err := b.provider(ctx, f.Provider)
	if err != nil {
		return nil, nil, err
	}
	if p == nil || p.fingerprint != f.Pinned {
		return nil, nil, changedSince(f)
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, nil, err
	}
	known, _, err := b.connections.Get(ctx, k)
	if err == nil {
		err = p.admit(k, f.Kind, known) // the operator may have changed their mind since
	}
	if err != nil {
		return nil, nil, err
	}
	mine, err := true, nil
	switch {
	case f.HoldsKey():
	case f.Kind.Issued():
		err = p.admitInputs(k.Owner, f.Kind, f.Inputs)
	default:
		mine, err = b.bringsCode(ctx, x, f, p)
	}
	if err != nil {
		return nil, nil, err
	}
	f.Claimed = x.digest
	if !mine {
		f.Outcome = failure(f, "another flow brought the same authorization code, so it is sent nowhere")
	}
	if err := b.putFlow(ctx, f); err != nil {
		return nil, nil, err
	}
	return f, p, nil
}

func changedSince(f *store.Flow) error {
	return conflict("provider %q changed since the flow was started, so what was brought is sent nowhere: start again "+
		"with %s", f.Provider, startOf(f))
}

// bringsCode judges what came along with the code, and whether another flow brought that before.
func (b *backend) bringsCode(ctx context.Context, x exchangeRequest, f *store.Flow, p *configured) (mine bool,
	err error,
) {
	if err := checkIssuer(x, f, p.entry.RequireIss); err != nil {
		return false, err
	}
	if err := x.checkCallback(f, p.app.Definition); err != nil {
		return false, err
	}
	code := providers.NewSecret(x.code)
	if !f.OwnRedirect {
		code = f.Parked.Code
	}
	return b.codes.bring(ctx, p, f, code)
}

// proveBrowser checks that the one who asks has what the session that started the flow holds, where one is named, and
// what only the browser that consented was shown.
func (b *backend) proveBrowser(ctx context.Context, x exchangeRequest, f *store.Flow) error {
	switch {
	case f.SessionBinding != "" && !f.BoundTo(x.binding): // before a try is counted, and before it learns anything
		return forbidden("session_binding_value does not belong to the session that started this flow")
	case f.OwnRedirect:
		return nil
	case f.Parked == nil:
		if f.Link != nil {
			return conflict("authorization_pending: nobody has used the link to its end yet: send this again once they have")
		}
		return conflict("authorization_pending: nobody has consented in a browser yet; open the URL of " +
			"auth-code-url, then send this again")
	case f.Parked.Denied != "":
		return conflict("the person or the provider said no (%s): %sstart again with auth-code-url/%s", f.Parked.Denied,
			aboutDenial(f), f.Key)
	case !f.Confirm || f.Claimed == x.digest:
		return nil
	case x.confirmation == "":
		return badRequest("confirmation_code is missing: it stands on the page that the browser " +
			"shows at the end")
	}
	// The try is counted before it is judged: hanging up must not win one.
	f.CountTry()
	if err := b.putFlow(ctx, f); err != nil {
		return err
	}
	if f.Confirmed(x.confirmation) {
		return nil
	}
	if !f.Void {
		return badRequest("the confirmation code does not match (%d of %d tries): type the one that the page shows",
			f.Tries, store.MaxConfirmationTries)
	}
	if err := b.putFlow(ctx, f); err != nil {
		return err
	}
	return conflict("the confirmation code did not match %d times, so the flow is void: "+
		"start again with %s", store.MaxConfirmationTries, startOf(f))
}

// aboutDenial says what to do first where it is the app that was refused, and not by a person.
func aboutDenial(f *store.Flow) string {
	call := &providers.Error{Code: f.Parked.Denied}
	switch call.Code {
	case "invalid_scope", "unauthorized_client":
		return "an operator looks at " + faultsOf(f.Provider, call) + "; then "
	}
	return ""
}

// claimedBefore answers a request for a flow whose code may be spent already.
func (b *backend) claimedBefore(ctx context.Context, x exchangeRequest,
	f *store.Flow,
) (*store.Flow, *configured, error) {
	if f.Claimed != x.digest {
		return nil, nil, conflict("this flow was finished by another request: start again with %s", startOf(f))
	}
	if f.Outcome != nil {
		return f, nil, nil
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, nil, err
	}
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	if conn != nil && conn.FlowID == f.ID {
		f.Outcome = &store.Outcome{Connected: true}
		return f, nil, nil
	}
	f.Outcome = failure(f, "exchange_outcome_unknown: the engine was interrupted while it spent this flow's code")
	b.keepOutcome(ctx, f, true)
	return f, nil, nil
}

// checkCallback looks whether an application passed on what the definition needs of the redirect, before anything is
// spent: it may send that with its next try.
func (x exchangeRequest) checkCallback(f *store.Flow, def *providers.Definition) error {
	if !f.OwnRedirect {
		return nil
	}
	state, code := x.callback[orDefault(def.Callback.State, "state")], x.callback[orDefault(def.Callback.Code, "code")]
	if state != "" && store.FlowID(state) != f.ID || code != "" && code != x.code {
		return badRequest("callback has another state or code than the request: pass on one redirect as it came")
	}
	if missing := def.MissingOfCallback(x.callback); len(missing) > 0 {
		return badRequest("the service tells more to your redirect URI than code and state: pass all of it on as "+
			"callback, in which %s is missing; nothing was sent, and the flow is still open", strings.Join(missing, ", "))
	}
	return nil
}

// checkIssuer compares the issuer that came back with the one that was asked (RFC 9207 section 2.4).
func checkIssuer(x exchangeRequest, f *store.Flow, required bool) error {
	issuer := x.issuer
	if !f.OwnRedirect {
		issuer = f.Parked.Issuer
	}
	switch {
	case f.Resolved.Issuer == "" && !required:
		return nil
	case issuer == "" && !f.Resolved.IssAlways && !required:
		return nil
	case issuer == f.Resolved.Issuer && issuer != "":
		return nil
	}
	return conflict("the answer did not come from the issuer that was asked, so its code is sent nowhere: start "+
		"again with %s", startOf(f))
}
