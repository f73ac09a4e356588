package providers

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Exchange spends an authorization code (RFC 6749 section 4.1.3) and returns the grant, with what the definition keeps
// of the callback, the token answer and the id_token. Callback must hold every parameter that came back, iss among
// them, since the checks before spending look there.
//
// The error is an [*Error]. One of step authorize or discovery means that the code was not spent. A grant beside an
// error is not to be used: it is there to be revoked.
func (c *Client) Exchange(ctx context.Context, app *App, r ExchangeRequest) (*Grant, error) {
	def, res := app.Definition, r.Resolved
	// it was frozen when the flow began
	if failure := def.checkUsed(KindAuthorizationCode, nil, nil, res.Inputs); failure != nil {
		return nil, failure
	}
	kept := &Grant{}
	complete := kept.capture(def.Connection, fromInput, asDoc(res.Inputs))
	if !kept.capture(def.Connection, fromCallback, asDoc(r.Callback)) || !complete {
		return nil, &Error{Class: Rejected, Step: StepAuthorize, Reason: ReasonCaptureMissing}
	}
	values := app.values(res, kept)
	if failure := app.checkCallback(r, values); failure != nil {
		return nil, failure
	}
	var keys *oidc.StaticKeySet
	signed := res.OpenID && slices.Contains(r.Scopes, oidc.ScopeOpenID)
	if signed {
		var failure *Error
		if keys, failure = c.issuerKeys(ctx, res); failure != nil {
			return nil, failure
		}
	}

	code := def.Callback.CleanCode(r.Code)
	own := map[string]string{
		"grant_type":   grantType(def.Token.Grant, "authorization_code"),
		"code":         code.Reveal(),
		"redirect_uri": r.RedirectURI,
	}
	if def.pkce() != pkceOff && !r.Verifier.IsZero() {
		own["code_verifier"] = r.Verifier.Reveal()
	}
	setValue(values, "redirect_uri", r.RedirectURI)
	setValue(values, "scopes", app.joinScopes(r.Scopes))
	g, doc, failure := c.tokenCall(ctx, app, res, KindAuthorizationCode, StepToken, &def.Token, own, values)
	if failure != nil {
		return nil, failure
	}
	return c.consented(ctx, app, r, kept, keys, g, doc)
}

// consented makes of the tokens that a consent brought the grant: doc is their answer, and kept what was captured
// before. A grant beside an error is there to be revoked.
func (c *Client) consented(ctx context.Context, app *App, r ExchangeRequest, kept *Grant, keys *oidc.StaticKeySet,
	g *Grant, doc any,
) (*Grant, error) {
	def, res := app.Definition, r.Resolved
	if len(g.Scopes) == 0 {
		g.Scopes = slices.Clone(r.Scopes)
	}
	g.Config, g.SecretConfig, g.ranks = kept.Config, kept.SecretConfig, kept.ranks

	claims, failure := c.claims(ctx, app, r, keys, doc, g.AccessToken)
	if failure != nil {
		return g, failure
	}
	g.subject = lookupText(claims, "sub")
	tokenDone := g.capture(def.Connection, "token", doc)
	tokenDone = g.capture(def.Connection, "id_token", claims) && tokenDone
	if def.Upgrade != nil && tokenDone {
		if failure := c.upgrade(ctx, app, res, g); failure != nil {
			return g, failure
		}
	}
	inToken := g.accessTokenClaims()
	if !g.capture(def.Connection, fromAccessTokenClaims, inToken) || !tokenDone {
		return g, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonCaptureMissing}
	}
	def.Account.read(&g.Account, map[string]any{
		fromCallback: asDoc(r.Callback), "token": doc, "id_token": claims, fromAccessTokenClaims: inToken,
	})
	if failure := g.tooLarge(StepToken); failure != nil {
		return g, failure
	}
	app.limitFromConsent(g)
	return g, nil
}

// claims returns the id_token's claims: verified where the issuer is known, else as the token endpoint sent them, else
// none.
func (c *Client) claims(ctx context.Context, app *App, r ExchangeRequest, keys *oidc.StaticKeySet, doc any,
	access Secret,
) (any, *Error) {
	raw, _, found := firstString(doc, []string{"id_token"})
	switch {
	case keys != nil && !found:
		return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonIDTokenMissing}
	case keys != nil:
		return c.verifyIDToken(ctx, app, r.Resolved, keys, raw, r.Nonce, access)
	case !found:
		return nil, nil
	}
	claims, _ := idTokenClaims(raw)
	return claims, nil
}

// upgrade trades the first token for a better one, where the service wants a second call for that.
func (c *Client) upgrade(ctx context.Context, app *App, res Resolved, g *Grant) *Error {
	better, _, failure := c.tokenCall(ctx, app, res, KindAuthorizationCode, StepUpgrade, app.Definition.Upgrade,
		nil, app.values(res, g))
	if failure != nil {
		return failure
	}
	g.overlay(better)
	return nil
}

// Issue asks for a token that needs no person: client_credentials (RFC 6749 section 4.4). A refresh token in the
// answer is not kept, since asking again is always possible. The error is an [*Error].
func (c *Client) Issue(ctx context.Context, app *App, kind Kind, res Resolved, scopes []string) (*Grant, error) {
	if kind != KindClientCredentials {
		return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonKindUnsupported}
	}
	def := app.Definition
	g := &Grant{Scopes: scopes}
	complete := g.capture(def.Connection, fromInput, asDoc(res.Inputs))
	values := app.values(res, g)
	own := map[string]string{"grant_type": grantType(def.Token.ByKind[kind].Grant, "client_credentials")}
	if fixed := def.Token.ByKind[kind].Scopes; fixed != nil {
		scopes = []string{}
		for _, template := range fixed {
			scope, err := template.Expand(values)
			if err != nil {
				return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonIncompleteCall}
			}
			scopes = append(scopes, scope)
		}
	}
	app.scopeParam(own, scopes)
	issued, doc, failure := c.tokenCall(ctx, app, res, kind, StepToken, &def.Token, own, values)
	if failure != nil {
		return nil, failure
	}
	issued.Config, issued.SecretConfig, issued.ranks = g.Config, g.SecretConfig, g.ranks
	issued.RefreshToken = Secret{}
	if len(issued.Scopes) == 0 {
		issued.Scopes = slices.Clone(scopes)
	}
	complete = issued.capture(def.Connection, "token", doc) && complete
	claims := issued.accessTokenClaims()
	if !issued.capture(def.Connection, fromAccessTokenClaims, claims) || !complete {
		return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonCaptureMissing}
	}
	def.Account.read(&issued.Account, map[string]any{"token": doc, fromAccessTokenClaims: claims})
	if failure := issued.tooLarge(StepToken); failure != nil {
		return nil, failure
	}
	return issued, nil
}

func grantType(told, usual string) string {
	if told != "" {
		return told
	}
	return usual
}

// tokenCall makes the call of a TokenCall, with what the kind adds to it.
func (c *Client) tokenCall(ctx context.Context, app *App, res Resolved, kind Kind, step Step, spec *TokenCall,
	own, values map[string]string,
) (*Grant, any, *Error) {
	special := spec.ByKind[kind]
	at := step
	if special.Endpoint != "" {
		at = special.Endpoint
	}
	target, failure := app.endpoint(res, at, values)
	if failure != nil {
		failure.Step = step
		return nil, nil, failure
	}
	request := spec.Call
	request.Params = maps.Clone(request.Params)
	if request.Params == nil {
		request.Params = map[string]Template{}
	}
	maps.Copy(request.Params, special.Params)
	request.Method = orPOST(request.Method)
	return c.askToken(ctx, app, res, call{
		step: step, spec: request, target: target, own: own, extra: app.TokenParams, values: values,
	}, tokenAnswer{
		paths:    spec.Answer,
		ok:       spec.OK,
		lifetime: special.Lifetime.over(spec.Lifetime.over(app.Definition.Lifetime)),
		scopes:   app.Definition.Scopes,
		assumed:  app.AssumedTTL,
	})
}

func orPOST(method string) string {
	if method == "" {
		return "POST"
	}
	return method
}

// limitFromConsent sets the limits that begin to run when a person consents.
func (a *App) limitFromConsent(g *Grant) {
	limits := a.Definition.Refresh
	if g.HardLimit.IsZero() && limits.Hard.D > 0 {
		g.HardLimit = g.Issued.Add(limits.Hard.D)
	}
	if each := a.refreshTTL(); g.RefreshExpires.IsZero() && each > 0 && !g.RefreshToken.IsZero() {
		g.RefreshExpires = g.Issued.Add(each)
	}
}

// refreshTTL is how long one refresh token lives whose answer does not tell; 0: nobody knows.
func (a *App) refreshTTL() time.Duration {
	if a.RefreshTTL > 0 {
		return a.RefreshTTL
	}
	return a.Definition.Refresh.Each.D
}

// IdleLimit is how long a grant lives unused; 0: nobody knows.
func (a *App) IdleLimit() time.Duration {
	if a.IdleTTL > 0 {
		return a.IdleTTL
	}
	return a.Definition.Refresh.Idle.D
}
