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
		if failure := c.upgrade(ctx, app, res, KindAuthorizationCode, g); failure != nil {
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
func (c *Client) upgrade(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) *Error {
	better, doc, failure := c.tokenCall(ctx, app, res, kind, StepUpgrade, app.Definition.Upgrade, nil,
		app.values(res, g))
	if failure != nil {
		return failure
	}
	g.overlay(better)
	if !g.capture(app.Definition.Connection, fromUpgrade, doc) {
		return &Error{Class: Misconfigured, Step: StepUpgrade, Reason: ReasonCaptureMissing}
	}
	app.Definition.Account.read(&g.Account, map[string]any{fromUpgrade: doc})
	return nil
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
	request := special.over(spec.Call)
	paths, ok := spec.Answer, spec.OK
	if special.Answer != nil {
		paths = *special.Answer
	}
	if special.OK != nil {
		ok = special.OK
	}
	return c.askToken(ctx, app, res, call{
		step: step, spec: request, target: target, own: own, extra: app.TokenParams, values: values,
	}, tokenAnswer{
		paths:    paths,
		ok:       ok,
		lifetime: special.Lifetime.over(spec.Lifetime.over(app.Definition.Lifetime)),
		scopes:   app.Definition.Scopes,
		assumed:  app.AssumedTTL,
	})
}

// over is a call as it is made for a kind.
func (k KindCall) over(usual Call) Call {
	request := usual
	request.Params = maps.Clone(usual.Params)
	if request.Params == nil {
		request.Params = map[string]Template{}
	}
	maps.Copy(request.Params, k.Params)
	request.Headers = maps.Clone(usual.Headers)
	if request.Headers == nil {
		request.Headers = map[string]Template{}
	}
	maps.Copy(request.Headers, k.Headers)
	for _, word := range []struct {
		to   *string
		from string
	}{{&request.Method, k.Method}, {&request.Auth, k.Auth}, {&request.Body, k.Body}} {
		if word.from != "" {
			*word.to = word.from
		}
	}
	request.Method = orPOST(request.Method)
	return request
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
