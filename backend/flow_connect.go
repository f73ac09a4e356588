package backend

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

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
	ctx = b.debugs(ctx, p, k, known)
	grant, err := x.redeem(ctx, f, p)
	if err != nil {
		came, after := refresh.OutcomeOf(err)
		pass.Tell(came, after)
		why := exchangeFailure(p.name, f.Kind, err)
		switch {
		case grant == nil:
		case came == gate.Limited: // the provider asked to be left alone
			why += livesOn
		default:
			why += b.discard(ctx, p, f.Kind, f.Inputs, grant)
		}
		pass.Leave(gate.NotSent, 0)
		return failure(f, why), true
	}
	pass.Tell(gate.Succeeded, 0) // what follows is asked of others
	b.proven(p)
	return b.keepConsented(ctx, consented{who: x.who, verb: "exchange", otherAccount: x.otherAccount}, f, p, k, known,
		grant)
}

// consented is who has a grant put in a connection after a consent, and by which verb.
type consented struct {
	who          caller
	verb         string
	otherAccount bool // another account than before is meant
}

// keepConsented learns whose account the grant of a flow is, and stores the connection. known is what it was before the
// provider was asked. saved is false when storage refused it.
func (b *backend) keepConsented(ctx context.Context, x consented, f *store.Flow, p *configured, k store.Key,
	known *store.Connection, grant *providers.Grant,
) (outcome *store.Outcome, saved bool) {
	var (
		warnings []string
		err      error
	)
	ctx = b.debugs(ctx, p, k, known)
	if !f.Kind.Issued() || p.app.Identifies(f.Kind) {
		err = p.client.Identify(ctx, p.app, f.Resolved, f.Kind, grant)
	}
	if err != nil {
		if notTheirs(err) {
			return failure(f, "provider "+p.name+" names another person at userinfo than in its id_token ("+
				err.Error()+")"+b.discard(ctx, p, f.Kind, f.Inputs, grant)), true
		}
		warnings = append(warnings, "whose account it is could not be learned: "+err.Error())
	}
	if why := f.Link.Refuses(grant.Account); why != "" {
		return failure(f, why+b.discard(ctx, p, f.Kind, f.Inputs, grant)), true
	}
	warnings = append(warnings, b.undated(p.client.Introspect(ctx, p.app, f.Resolved, grant))...)
	conn, saved, err := b.connections.Keep(ctx, k, x.who.act(x.verb, b.now()), known,
		func(c *store.Connection) (*store.Connection, error) {
			if b.voided(ctx, f.ID) {
				return nil, voidMeanwhile(k, f) // and if c is there, somebody made it anew
			}
			if f.Restores && (c == nil || grant.Account.ID != c.Account.ID || c.Account.Pinned != p.fingerprint) {
				return nil, conflict("connection %s is private: others than its owner connect it again for the account that "+
					"it was of, and for no other", k)
			}
			if f.Restores && !maps.Equal(f.Inputs, p.app.Definition.InputsOf(f.Kind, p.unpicked(c.Inputs))) {
				return nil, inputsChanged(k) // the grant is for where it was
			}
			if why := p.refuses(c, grant, x.otherAccount && !f.Restores); why != "" {
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
			return failure(f, status.text+b.discard(ctx, p, f.Kind, f.Inputs, grant)), true
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

// redeem gets the grant: for the code, or, where a consent brings none, with what is the operator's.
func (x exchangeRequest) redeem(ctx context.Context, f *store.Flow, p *configured) (*providers.Grant, error) {
	if f.Kind.Issued() {
		return p.client.Issue(ctx, p.app, providers.IssueRequest{Kind: f.Kind, Resolved: f.Resolved, Scopes: f.Scopes})
	}
	code, callback, issuer := providers.NewSecret(x.code), kept(p.app.Definition, x.callback), x.issuer
	if !f.OwnRedirect {
		code, issuer = f.Parked.Code, f.Parked.Issuer
		maps.Copy(callback, f.Parked.Callback)
	}
	if issuer != "" {
		callback["iss"] = issuer
	}
	return p.client.Exchange(ctx, p.app, providers.ExchangeRequest{
		Resolved: f.Resolved, Code: code, Verifier: f.Verifier, Nonce: f.Nonce, RedirectURI: f.RedirectURI,
		Scopes: f.Scopes, Callback: callback,
	})
}

// discard revokes a grant that nobody will use, and says if it may live on. Where revoking may end more than its token,
// a grant whose account is unknown or has a connection is left alone.
func (b *backend) discard(ctx context.Context, p *configured, kind providers.Kind, inputs map[string]string,
	g *providers.Grant,
) string {
	id := g.Account.ID
	if p.app.Definition.RevokesOneToken() || id != "" && !b.restsOn(ctx, p.name, id, store.Key{}) {
		if revokeGrant(ctx, p, kind, inputs, g) == nil {
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
	return &store.Outcome{Failure: why + ": nothing was connected; start again with " + startOf(f)}
}

// startOf is the path at which a flow like that is started.
func startOf(f *store.Flow) string {
	switch {
	case f.Device != nil:
		return "device-code/" + f.Key
	case f.Link != nil:
		return "connect-link/" + f.Key
	}
	return "auth-code-url/" + f.Key
}

// exchangeFailure says why the code brought nothing.
func exchangeFailure(provider string, kind providers.Kind, err error) string {
	var call *providers.Error
	if !errors.As(err, &call) {
		return "the code could not be sent to provider " + provider
	}
	if call.NotSent() {
		return call.Error()
	}
	switch call.Class {
	case providers.Rejected:
		if kind.Issued() {
			return "provider " + provider + " does not let the app act there, or not yet (" + call.Error() + ")"
		}
		return "provider " + provider + " refused the code (" + call.Error() + ")" + whyRefused(kind, call)
	case providers.Misconfigured:
		if call.Step == providers.StepDiscovery {
			return call.Error() + ": an operator corrects " + faultsOf(provider, call)
		}
		return "provider " + provider + " refused the app itself (" + call.Error() + "): an operator corrects " +
			faultsOf(provider, call)
	}
	return "provider " + provider + " gave no token (" + call.Error() + ")"
}

// whyRefused says what may be wrong with a code, and what cannot be (RFC 6749 section 5.2): the engine sends what the
// flow began with, and each code once.
func whyRefused(kind providers.Kind, call *providers.Error) string {
	if kind != providers.KindAuthorizationCode || call.Code != "invalid_grant" {
		return ""
	}
	return ": it has expired, or somebody else has used it, or it is not the one that the service gave this flow; it is " +
		"not the redirect URI, the PKCE verifier or the client id, which are those that the flow began with, nor the " +
		"client secret, of which services say invalid_client"
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
	if err := overtaken(c, k, f); err != nil {
		return nil, err
	}
	switch {
	case c != nil && known == nil && c.FlowID != f.ID:
		return nil, conflict("connection %s was made by somebody else meanwhile", k)
	case c == nil && known != nil:
		return nil, deletedMeanwhile(k)
	case c == nil:
		c = newConnection(k, f.Provider, f.Kind, who, now)
	}
	if f.Restores {
		return restored(c, f, p, g, spending, now), nil
	}
	if err := who.may(using, k, c); err != nil {
		return nil, err
	}
	if len(f.RequiredScopes) > 0 || !who.requires(k, c) { // what somebody else set up meanwhile goes
		c.RequiredScopes, c.RequiredBy = f.RequiredScopes, who.setter()
	}
	inputs := p.keepPick(f.Inputs, c, who.inherits(k, c))
	if f.Kind.Issued() && !maps.Equal(inputs, c.Inputs) { // which say whose account it is
		c.Account = store.Account{}
	}
	c.Kind, c.FlowID, c.SetBy, c.Inputs = f.Kind, f.ID, who.setter(), inputs
	if f.Kind.Issued() {
		c.AdoptIssued(g, p.fingerprint, now)
	} else {
		c.AdoptConsent(g, spending, p.fingerprint, now)
	}
	c.UnaskedScopes = p.unasked(f)
	who.adopts(k, c)
	c.Set(store.Settings{Private: f.Private}, who.setterOf(k, now))
	return c, nil
}

// overtaken says why a flow can connect nothing any more, by what became of its connection since.
func overtaken(c *store.Connection, k store.Key, f *store.Flow) error {
	switch {
	case c == nil && f.Reconnects:
		return deletedMeanwhile(k)
	case c == nil:
		return nil
	case c.Provider != f.Provider:
		return conflict("connection %s was made for another provider meanwhile", k)
	case !c.Deleting.IsZero():
		return beingDeleted(k)
	case c.IsMoving():
		return beingMoved(k)
	case c.Ending.On():
		return beingEnded(k)
	case f.Created.Time.Before(c.LastEnd().Time): // who ended it ended that too
		return endedMeanwhile(k)
	}
	return nil
}

// restored puts another grant of the same account in a private connection for somebody else than its owner. All else
// stays the owner's, who set it up.
func restored(c *store.Connection, f *store.Flow, p *configured, g *providers.Grant, spending bool,
	now time.Time,
) *store.Connection {
	adopted, closed, unasked := c.AdoptedBy, c.Closed, c.UnaskedScopes
	c.Kind, c.FlowID = f.Kind, f.ID
	c.AdoptConsent(g, spending, p.fingerprint, now)
	c.AdoptedBy, c.Closed, c.UnaskedScopes = adopted, closed, unasked
	return c
}

func endedMeanwhile(k store.Key) error {
	return conflict("connection %s was ended meanwhile (revoked)", k)
}

// voidMeanwhile says why a flow whose code was spent connects nothing.
func voidMeanwhile(k store.Key, f *store.Flow) error {
	if f.Device != nil || f.Link != nil {
		return conflict("the flow was ended meanwhile, or connection %s was deleted", k)
	}
	return deletedMeanwhile(k)
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
