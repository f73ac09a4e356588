package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathExchange() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "exchange",
		DisplayAttrs: display("flow", "Flow"),
		Fields: map[string]*framework.FieldSchema{
			"flow_id":           str("The flow, for one that came back to Vault's callback."),
			"confirmation_code": secret(str("The code that the callback page showed.")),
			"state":             secret(str("The state that the application's own redirect URI received.")),
			"code":              secret(str("The authorization code it received.")),
			"iss":               str("The issuer it received, if any (RFC 9207)."),
			"callback": secret(pairs("Every parameter that the application's own redirect URI received, for services that " +
				"tell more there than code and state.")),
			"session_binding_value": secret(str("The value whose hash was given as session_binding.")),
			"allow_account_change":  boolean("Reconnect although it is another account than before."),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("finish", forwarded(b.operation(b.exchangeWrite, "Finish a flow.",
				connectionSchema))),
		},
		HelpSynopsis:    "Finish a flow.",
		HelpDescription: exchangeHelp,
	}}
}

// exchangeRequest is a request to finish a flow, as far as it can be judged without the flow.
type exchangeRequest struct {
	flowID       string
	ownRedirect  bool
	code         string            // with ownRedirect
	issuer       string            // with ownRedirect
	callback     map[string]string // with ownRedirect: all that the browser brought, if the application passes it on
	confirmation string
	binding      string
	otherAccount bool
	who          caller
	digest       string // of all but otherAccount: the same request gets the same answer
}

func readExchange(req *logical.Request, d *framework.FieldData) (exchangeRequest, error) {
	x := exchangeRequest{
		code: d.Get("code").(string), issuer: d.Get("iss").(string), confirmation: d.Get("confirmation_code").(string),
		binding: d.Get("session_binding_value").(string), otherAccount: d.Get("allow_account_change").(bool),
		who: callerOf(req),
	}
	state, flowID := d.Get("state").(string), d.Get("flow_id").(string)
	switch {
	case state != "" && flowID != "":
		return x, badRequest("name either flow_id and confirmation_code, or state and code")
	case state != "" && x.code == "":
		return x, badRequest("state goes with code: both came to your redirect URI")
	case state != "":
		x.ownRedirect, x.flowID = true, store.FlowID(state)
	case flowID == "":
		return x, badRequest("name the flow: flow_id and confirmation_code, or state and code")
	case !store.ValidFlowID(flowID):
		return x, unknownFlow
	default:
		x.flowID = flowID
	}
	if v, ok := d.GetOk("callback"); ok {
		if x.callback = v.(map[string]string); !x.ownRedirect {
			return x, badRequest("callback goes with state and code: what came to Vault's own callback is known")
		}
		if iss := x.callback["iss"]; x.issuer == "" {
			x.issuer = iss
		} else if iss != "" && iss != x.issuer {
			return x, badRequest("callback names another iss than the request")
		}
	}
	parts := []string{x.who.id(), x.flowID, x.code, x.issuer, normalCode(x.confirmation), x.binding}
	for _, name := range slices.Sorted(maps.Keys(x.callback)) {
		parts = append(parts, name, x.callback[name])
	}
	x.digest = digest(parts...)
	return x, nil
}

func normalCode(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// unknownFlow is one answer for unknown, expired and void flows, so that nobody learns which it was.
var unknownFlow = badRequest("no such flow, or it has expired: start again with auth-code-url/")

func (b *backend) exchangeWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	x, err := readExchange(req, d)
	if err != nil {
		return nil, err
	}
	// The flight goes by the whole request, so that the same one sent
	// twice joins it and any other is judged by itself.
	out, err := b.tasks.Once(ctx, "exchange "+x.digest, func(ctx context.Context) (any, error) {
		return b.finish(ctx, x)
	})
	if err != nil {
		return nil, err
	}
	f := out.(*store.Flow)
	if !f.Outcome.Connected {
		return nil, conflict("%s", f.Outcome.Failure)
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, err
	}
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	if conn == nil || conn.FlowID != f.ID {
		return nil, conflict("the flow connected %s, which was deleted since, or connected anew", k)
	}
	resp, err := b.metadata(ctx, k, conn)
	if resp != nil {
		resp.Warnings = append(resp.Warnings, f.Outcome.Warnings...)
	}
	return resp, err
}

// finish judges the request, claims the flow, spends the code and keeps what came of it. It returns the flow with its
// outcome.
func (b *backend) finish(ctx context.Context, x exchangeRequest) (*store.Flow, error) {
	pass, err := b.enterExchange(ctx, x)
	if err != nil {
		return nil, err
	}
	f, p, err := b.claim(ctx, x, pass != nil)
	if pass == nil && errors.Is(err, errNoPass) { // the browser came between two looks
		if pass, err = b.enterExchange(ctx, x); err != nil {
			return nil, err
		}
		f, p, err = b.claim(ctx, x, pass != nil)
	}
	if pass != nil {
		defer pass.Leave(gate.NotSent, 0)
	}
	if err != nil || f.Outcome != nil {
		return f, err
	}
	// From here on the code may be spent: whatever happens becomes the flow's outcome.
	outcome, saved := b.connect(ctx, x, f, p, pass)
	// It replaces the mark of a deletion: whoever asks again is to hear what became of the code.
	unlock, err := b.flows.lock(context.WithoutCancel(ctx), f.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f.Outcome = outcome
	b.keepOutcome(context.WithoutCancel(ctx), f, saved)
	return f, nil
}

// errNoPass is why a flow is not claimed that may lead to a call, which has no place at its provider.
var errNoPass = conflict("the flow changed while this request was looked at: send it again")

// callable reports whether finishing the flow may lead to a call to its provider.
func callable(f *store.Flow) bool {
	return f.Claimed == "" && (f.OwnRedirect || f.Parked != nil && f.Parked.Denied == "")
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

// keepOutcome stores what became of a flow, unless the connection it made lives in memory only: the flow must not say
// "connected" when a crash has taken the connection. It need not be stored to be found out: the connection names the
// flow that made it.
func (b *backend) keepOutcome(ctx context.Context, f *store.Flow, saved bool) {
	defer b.flows.changed(f)
	if !saved {
		return
	}
	if err := b.store.PutFlow(ctx, f.Kept()); err != nil {
		b.Logger().Warn("the outcome of a flow could not be stored", "connection", f.Key, "error", err)
	}
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
		return nil, nil, forbidden("this flow was started by somebody else: only who started it can finish it; "+
			"start your own with auth-code-url/%s", f.Key)
	}
	if x.ownRedirect != f.OwnRedirect {
		if f.OwnRedirect {
			return nil, nil, badRequest("this flow ends at the application's own redirect URI: finish " +
				"it with state and code")
		}
		return nil, nil, badRequest("this flow ends at Vault's callback: finish it with flow_id and the " +
			"confirmation code that the page shows")
	}
	if !passed && callable(f) {
		return nil, nil, errNoPass // before a try is counted
	}
	if err := b.proveBrowser(ctx, x, f); err != nil {
		return nil, nil, err
	}
	if f.Claimed != "" {
		return b.claimedBefore(ctx, x, f)
	}
	p, err := b.provider(ctx, f.Provider)
	if err != nil {
		return nil, nil, err
	}
	if p == nil || p.fingerprint != f.Pinned {
		return nil, nil, conflict("provider %q changed since the flow was started, so its code is sent nowhere: "+
			"start again with auth-code-url/%s", f.Provider, f.Key)
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
	if err := checkIssuer(x, f, p.entry.RequireIss); err != nil {
		return nil, nil, err
	}
	if err := x.checkCallback(f, p.app.Definition); err != nil {
		return nil, nil, err
	}
	code := providers.NewSecret(x.code)
	if !f.OwnRedirect {
		code = f.Parked.Code
	}
	mine, err := b.codes.bring(ctx, p, f, code)
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

// proveBrowser checks that the one who asks has what the session that started the flow holds, where one is named, and
// what only the browser that consented was shown.
func (b *backend) proveBrowser(ctx context.Context, x exchangeRequest, f *store.Flow) error {
	switch {
	case f.SessionBinding != "" && !f.BoundTo(x.binding): // before a try is counted, and before it learns anything
		return forbidden("session_binding_value does not belong to the session that started this flow")
	case f.OwnRedirect:
		return nil
	case f.Parked == nil:
		return conflict("authorization_pending: nobody has consented in a browser yet; open the URL of " +
			"auth-code-url, then send this again")
	case f.Parked.Denied != "":
		return conflict("the person or the provider said no (%s): %sstart again with auth-code-url/%s", f.Parked.Denied,
			aboutDenial(f), f.Key)
	case !f.Confirm || f.Claimed == x.digest:
		return nil
	case x.confirmation == "":
		return badRequest("confirmation_code is missing: it stands on the page that the browser " +
			"shows after the consent")
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
		"start again with auth-code-url/%s", store.MaxConfirmationTries, f.Key)
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
		return nil, nil, conflict("this flow was finished by another request: start again with auth-code-url/%s",
			f.Key)
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
		"again with auth-code-url/%s", f.Key)
}

// connect spends the code, learns whose account it is, and stores the connection.
// saved is false when storage refused it.
func (b *backend) connect(ctx context.Context, x exchangeRequest, f *store.Flow, p *configured, pass *gate.Pass,
) (outcome *store.Outcome, saved bool) {
	k, err := f.ConnectionKey()
	if err != nil {
		return failure(f, "its connection has no valid name"), true
	}
	defer b.connections.Pin(k)()
	known, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return failure(f, "storage did not answer"), true
	}
	code, callback, issuer := providers.NewSecret(x.code), kept(p.app.Definition, x.callback), x.issuer
	if !f.OwnRedirect {
		code, issuer = f.Parked.Code, f.Parked.Issuer
		maps.Copy(callback, f.Parked.Callback)
	}
	if issuer != "" {
		callback["iss"] = issuer
	}
	grant, err := p.client.Exchange(ctx, p.app, providers.ExchangeRequest{
		Resolved: f.Resolved, Code: code, Verifier: f.Verifier, Nonce: f.Nonce, RedirectURI: f.RedirectURI,
		Scopes: f.Scopes, Callback: callback,
	})
	if err != nil {
		came, after := refresh.OutcomeOf(err)
		pass.Tell(came, after)
		why := exchangeFailure(p.name, err)
		switch {
		case grant == nil:
		case came == gate.Limited: // the provider asked to be left alone
			why += livesOn
		default:
			why += b.discard(ctx, p, f.Inputs, grant)
		}
		pass.Leave(gate.NotSent, 0)
		return failure(f, why), true
	}
	pass.Tell(gate.Succeeded, 0) // what follows is asked of others
	b.proven(p)
	var warnings []string
	if err := p.client.Identify(ctx, p.app, f.Resolved, grant); err != nil {
		if notTheirs(err) {
			return failure(f, "provider "+p.name+" names another person at userinfo than in its id_token ("+
				err.Error()+")"+b.discard(ctx, p, f.Inputs, grant)), true
		}
		warnings = append(warnings, "whose account it is could not be learned: "+err.Error())
	}
	conn, saved, err := b.connections.Keep(ctx, k, x.who.act("exchange", b.now()), known,
		func(c *store.Connection) (*store.Connection, error) {
			if b.voided(ctx, f.ID) {
				return nil, deletedMeanwhile(k) // and if c is there, somebody made it anew
			}
			if why := p.refuses(c, grant, x.otherAccount); why != "" {
				return nil, conflict("%s", why)
			}
			c, err := adoptFlow(c, known, k, f, x.who, p, grant, b.connections.Spending(k), b.now())
			if err == nil && x.otherAccount && grant.Account.ID == "" {
				c.Account = store.Account{} // it may be anybody's now
			}
			return c, err
		})
	if err != nil {
		var status *statusError
		if errors.As(err, &status) {
			return failure(f, status.text+b.discard(ctx, p, f.Inputs, grant)), true
		}
		return failure(f, "the connection could not be stored"), true
	}
	if !saved {
		warnings = append(warnings, unsavedWarning)
	}
	if known != nil && !known.Private && conn.Private {
		warnings = append(warnings, closedWarning(k))
	}
	return &store.Outcome{Connected: true, Warnings: append(warnings, aboutGrant(k, conn, p)...)}, saved
}

// discard revokes a grant that nobody will use, and says if it may live on. Where revoking may end more than its token,
// a grant whose account is unknown or has a connection is left alone.
func (b *backend) discard(ctx context.Context, p *configured, inputs map[string]string, g *providers.Grant) string {
	id := g.Account.ID
	if p.app.Definition.RevokesOneToken() || id != "" && !b.restsOn(ctx, p.name, id, store.Key{}) {
		if revokeGrant(ctx, p, inputs, g) == nil {
			return ""
		}
	}
	return livesOn
}

const livesOn = "; what was granted may live on: end it in the account's settings at the service"

// notTheirs reports whether the provider contradicts itself about whose a grant is.
func notTheirs(err error) bool {
	var call *providers.Error
	return errors.As(err, &call) && call.Reason == providers.ReasonSubjectMismatch
}

const unsavedWarning = "storage refused the new connection; it is served from memory and would be lost with this " +
	"process: check Vault's storage"

func failure(f *store.Flow, why string) *store.Outcome {
	return &store.Outcome{Failure: why + ": nothing was connected; start again with auth-code-url/" + f.Key}
}

// exchangeFailure says why the code brought nothing.
func exchangeFailure(provider string, err error) string {
	var call *providers.Error
	if !errors.As(err, &call) {
		return "the code could not be sent to provider " + provider
	}
	if call.NotSent() {
		return call.Error()
	}
	switch call.Class {
	case providers.Rejected:
		return "provider " + provider + " refused the code (" + call.Error() + ")"
	case providers.Misconfigured:
		if call.Step == providers.StepDiscovery {
			return call.Error() + ": an operator corrects " + faultsOf(provider, call)
		}
		return "provider " + provider + " refused the app itself (" + call.Error() + "): an operator corrects " +
			faultsOf(provider, call)
	}
	return "provider " + provider + " gave no token (" + call.Error() + ")"
}

// otherAccount says why a reconnect may not go on, or nothing.
func otherAccount(before store.Account, now providers.Account, pinned string) string {
	switch {
	case before.ID == "" || before.ID == now.ID:
		return ""
	case now.ID == "":
		return "whose account it is could not be learned, so it may be another than before (set " +
			"allow_account_change=true to accept that)"
	case before.Pinned != pinned:
		return "it is another account than before, or the provider, which was changed since, names the same one " +
			"otherwise (set allow_account_change=true if that is meant)"
	}
	return "it is another account than before (set allow_account_change=true if that is meant)"
}

// adoptFlow is the change that a finished flow makes. A reconnect keeps path, label, tags and who may use it.
func adoptFlow(c, known *store.Connection, k store.Key, f *store.Flow, who caller, p *configured, g *providers.Grant,
	spending bool, now time.Time,
) (*store.Connection, error) {
	switch {
	case c != nil && c.Provider != f.Provider:
		return nil, conflict("connection %s was made for another provider meanwhile", k)
	case c != nil && known == nil && c.FlowID != f.ID:
		return nil, conflict("connection %s was made by somebody else meanwhile", k)
	case c == nil && (known != nil || f.Reconnects):
		return nil, deletedMeanwhile(k)
	case c == nil:
		c = newConnection(k, f.Provider, f.Kind, who, now)
	case !c.Deleting.IsZero():
		return nil, beingDeleted(k)
	}
	if err := who.may(using, k, c); err != nil {
		return nil, err
	}
	if len(f.RequiredScopes) > 0 || !who.requires(k, c) { // what somebody else set up meanwhile goes
		c.RequiredScopes, c.RequiredBy = f.RequiredScopes, who.setter()
	}
	c.Inputs = p.keepPick(f.Inputs, c, who.inherits(k, c))
	c.Kind, c.FlowID, c.SetBy = f.Kind, f.ID, who.setter()
	c.AdoptConsent(g, spending, p.fingerprint, now)
	who.adopts(k, c)
	c.Set(store.Settings{Private: f.Private}, who.setterOf(k, now))
	return c, nil
}

func deletedMeanwhile(k store.Key) error { return conflict("connection %s was deleted meanwhile", k) }

// aboutGrant warns of what will bite later.
func aboutGrant(k store.Key, conn *store.Connection, p *configured) []string {
	var warnings []string
	if conn.Choosing() {
		warnings = append(warnings, "not served yet: "+refresh.ToPick(k, conn.Sites))
	}
	if missing := missingScopes(p, conn, conn.Grant.Scopes); len(missing) > 0 {
		warnings = append(warnings, "not granted: "+strings.Join(missing, ", ")+"; reconnect and consent to them if "+
			"they are needed")
	}
	if warning := p.surplusWarning(conn.Grant.Scopes); warning != "" {
		warnings = append(warnings, warning)
	}
	if g := conn.Grant; !g.Expires.IsZero() && !p.app.CanRefresh(conn.Kind, g) {
		warnings = append(warnings, "the provider gave no refresh token: the connection ends with its "+
			"access token at "+rfc3339(g.Expires)+"; many providers give one only for a certain "+
			"scope or after a fresh consent")
	}
	return warnings
}

const exchangeHelp = `
A flow that came back to Vault's callback is finished with flow_id and the confirmation
code that the page showed. A flow with the application's own redirect URI is finished
with the state and code that arrived there. Either is finished only by who started it,
and with session_binding_value where session_binding was given.

The same request sent again gets the same answer until the flow expires, without asking
the provider again. Five wrong confirmation codes void the flow. An authorization code
that two flows brought is spent by neither.
`
