package providers

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"time"
)

// The words of Refresh.Token that change what is done; all others mean a refresh token that may rotate.
const (
	refreshReusable = "reusable"
	refreshSelf     = "self"    // there is none: the access token renews itself
	refreshReissue  = "reissue" // there is none: the same request is made again
	refreshNone     = "none"
)

// MayRotate reports whether refreshing may spend the very secret it is done with, so that an intent must be stored
// first. What a definition does not say may rotate.
func (a *App) MayRotate(kind Kind) bool {
	if kind.Issued() {
		return false
	}
	switch a.Definition.Refresh.Token {
	case refreshReusable, refreshReissue, refreshNone:
		return false
	}
	return true
}

// CanRefresh reports whether g can be renewed without a person.
func (a *App) CanRefresh(kind Kind, g *Grant) bool {
	switch {
	case kind.Issued():
		return len(g.Key) > 0 || !a.Definition.BuysWithKey(kind)
	case !kind.Consents():
		return false
	}
	switch a.Definition.Refresh.Token {
	case refreshNone, refreshReissue: // reissue is for kinds that ask without a person
		return false
	case refreshSelf:
		return !g.AccessToken.IsZero()
	}
	return !g.RefreshToken.IsZero()
}

// Refresh renews g (RFC 6749 section 6) and returns the new grant; g stays as it is. What the answer does not tell is
// kept: refresh token, scopes, account, connection_config and limits. The error is an [*Error]; its class Unknown
// means that a rotating refresh token may be spent.
func (c *Client) Refresh(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) (*Grant, error) {
	if !app.CanRefresh(kind, g) {
		return nil, &Error{Class: Misconfigured, Step: StepRefresh, Reason: ReasonNotRefreshable}
	}
	renewed := g.clone()
	if kind.Issued() {
		issued, err := c.Issue(ctx, app, IssueRequest{Kind: kind, Resolved: res, Scopes: app.scopesAnew(g), Key: g.Key})
		if err != nil {
			return nil, err
		}
		renewed.overlay(issued)
		return renewed, nil
	}
	renewed.capture(app.Definition.Connection, fromInput, asDoc(res.Inputs)) // of an import they may be all there is
	values := app.values(res, renewed)
	target, failure := app.refreshEndpoint(res, values)
	if failure != nil {
		return nil, failure
	}
	request, own, extra := app.refreshRequest(g)
	spec := app.Definition.Token
	paths := spec.Answer
	if told := app.Definition.Refresh.Answer; told != nil {
		paths = *told
	}
	answer, doc, failure := c.askToken(ctx, app, res, call{
		step: StepRefresh, spec: request, target: target, own: own, extra: extra, values: values,
	}, tokenAnswer{
		paths:    paths,
		ok:       spec.OK,
		lifetime: spec.ByKind[kind].Lifetime.over(spec.Lifetime.over(app.Definition.Lifetime)),
		scopes:   app.Definition.Scopes,
		assumed:  app.AssumedTTL,
	})
	if failure != nil {
		return nil, failure
	}
	if each := app.refreshTTL(); answer.RefreshExpires.IsZero() && each > 0 &&
		!answer.RefreshToken.IsZero() && !answer.RefreshToken.Equal(g.RefreshToken) {
		answer.RefreshExpires = answer.Issued.Add(each)
	}
	// A capture that is required and missing, or too much beside the token, is no reason to lose one that may have
	// rotated; what was there stays.
	bare := g.clone()
	bare.overlay(answer)
	_ = renewed.capture(app.Definition.Connection, "token", doc)
	_ = renewed.capture(app.Definition.Connection, fromAccessTokenClaims, answer.accessTokenClaims())
	renewed.overlay(answer)
	if renewed.tooLarge(StepRefresh) != nil {
		renewed = bare
	}
	if renewed.tooLarge(StepRefresh) != nil {
		renewed.Scopes = g.Scopes
	}
	if failure := renewed.tooLarge(StepRefresh); failure != nil {
		return nil, failure
	}
	return renewed, nil
}

func (a *App) refreshEndpoint(res Resolved, values map[string]string) (target *url.URL, failure *Error) {
	if res.Endpoints[StepRefresh] != "" || a.endpointTemplate(StepRefresh) != "" {
		return a.endpoint(res, StepRefresh, values)
	}
	target, failure = a.endpoint(res, StepToken, values)
	if failure != nil {
		failure.Step = StepRefresh
	}
	return target, failure
}

// refreshRequest says how to ask. A definition that gives parameters of a refresh call gives all of them; any other
// gets those of RFC 6749 beside its own.
func (a *App) refreshRequest(g *Grant) (request Call, own, extra map[string]string) {
	spec := a.Definition.Refresh
	if spec.Call != nil {
		request = *spec.Call
	} else {
		request = a.Definition.Token.Call
		request.Params = nil
	}
	request.Method = orPOST(request.Method)
	if len(request.Params) == 0 {
		own = map[string]string{"grant_type": "refresh_token", "refresh_token": g.RefreshToken.Reveal()}
		extra = a.TokenParams
	}
	params := maps.Clone(request.Params)
	if params == nil {
		params = map[string]Template{}
	}
	maps.Copy(params, spec.Params)
	request.Params = params
	return request, own, extra
}

func (g *Grant) clone() *Grant {
	copied := *g
	copied.Scopes, copied.Key = slices.Clone(g.Scopes), maps.Clone(g.Key)
	copied.Config = maps.Clone(g.Config)
	copied.SecretConfig = maps.Clone(g.SecretConfig)
	copied.ranks = maps.Clone(g.ranks)
	return &copied
}

// overlay takes from a newer answer what it tells.
func (g *Grant) overlay(newer *Grant) {
	g.AccessToken, g.Issued, g.Expires = newer.AccessToken, newer.Issued, newer.Expires
	if newer.TokenType != "" {
		g.TokenType = newer.TokenType
	}
	if len(newer.Scopes) > 0 {
		g.Scopes = newer.Scopes
	}
	if !newer.RefreshToken.IsZero() {
		if !newer.RefreshToken.Equal(g.RefreshToken) { // its predecessor's end says nothing about it
			g.RefreshExpires = time.Time{}
		}
		g.RefreshToken = newer.RefreshToken
	}
	if !newer.RefreshExpires.IsZero() {
		g.RefreshExpires = newer.RefreshExpires
	}
	if !newer.HardLimit.IsZero() {
		g.HardLimit = newer.HardLimit
	}
	for name, value := range newer.Config {
		g.keep(Capture{Name: name}, value)
	}
	for name, value := range newer.SecretConfig {
		g.keep(Capture{Name: name, Secret: true}, value.Reveal())
	}
	if newer.Account.ID != "" {
		g.Account = newer.Account
	}
}
