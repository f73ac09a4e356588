package providers

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"
)

// IssueRequest asks for a token that needs no person.
type IssueRequest struct {
	Kind     Kind
	Resolved Resolved
	Scopes   []string
	Key      map[string]Secret // the connection's own key fields, where the kind has some
}

// Issue gets a token with the app's own secret (RFC 6749 section 4.4), or with a key: by an assertion that is signed
// with it (RFC 7523 section 2.1), or by a call that brings it. A refresh token in the answer is not kept, since asking
// again is always possible. The grant carries the key, which buys the next token. The error is an [*Error].
func (c *Client) Issue(ctx context.Context, app *App, r IssueRequest) (*Grant, error) {
	def, kind := app.Definition, r.Kind
	if !kind.Issued() {
		return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonKindUnsupported}
	}
	if def.upgrades(kind) { // what a grant tells are the scopes of the better token, which is not asked for by them
		r.Scopes = app.ScopesOfTheApp()
	}
	begun := &Grant{Scopes: r.Scopes, Key: r.Key}
	complete := begun.capture(def.Connection, fromInput, asDoc(r.Resolved.Inputs))
	values := app.values(r.Resolved, begun)
	special := def.Token.ByKind[kind]
	scopes := r.Scopes
	if special.Scopes != nil {
		scopes = []string{}
		for _, template := range special.Scopes {
			scope, err := template.Expand(values)
			if err != nil {
				return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonIncompleteCall}
			}
			scopes = append(scopes, scope)
		}
	}
	setValue(values, "scopes", app.joinScopes(scopes))
	issued, doc, failure := c.issue(ctx, app, r, scopes, values)
	if failure != nil {
		if def.BuysWithKey(kind) && !def.provesApp(kind) {
			failure = failure.ofTheKey()
		}
		return nil, failure
	}
	issued.Config, issued.SecretConfig, issued.ranks = begun.Config, begun.SecretConfig, begun.ranks
	issued.Key = maps.Clone(r.Key)
	if len(issued.Scopes) == 0 {
		issued.Scopes = slices.Clone(scopes)
	}
	complete = issued.capture(def.Connection, "token", doc) && complete
	if kind == KindBrokered {
		issued.Scopes = nil // those of the app's token; the account's are told with its token, or nobody knows them
	}
	if def.upgrades(kind) && complete {
		if failure := c.upgrade(ctx, app, r.Resolved, kind, issued); failure != nil {
			return nil, failure
		}
	}
	issued.RefreshToken, issued.RefreshExpires = Secret{}, time.Time{}
	claims := issued.accessTokenClaims()
	if !issued.capture(def.Connection, fromAccessTokenClaims, claims) || !complete {
		return nil, &Error{Class: Misconfigured, Step: StepToken, Reason: ReasonCaptureMissing}
	}
	docs := map[string]any{"token": doc, fromAccessTokenClaims: claims}
	if def.asserts(kind) != nil { // what the service took
		docs[fromAssertion] = claimsOf(values[placeholderAssertion])
	}
	def.Account.read(&issued.Account, docs)
	if failure := issued.tooLarge(StepToken); failure != nil {
		return nil, failure
	}
	return issued, nil
}

// issue gets the token, by a call or without one. It leaves the assertion in values, where there is one.
func (c *Client) issue(ctx context.Context, app *App, r IssueRequest, scopes []string,
	values map[string]string,
) (*Grant, any, *Error) {
	def, kind := app.Definition, r.Kind
	assertion := def.asserts(kind)
	if assertion != nil {
		signed, expires, err := assertion.sign(values, c.now())
		if err != nil {
			return nil, nil, keyDoesNot(StepToken, assertion.Key, err)
		}
		values[placeholderAssertion] = signed.Reveal()
		if assertion.Credential {
			return &Grant{AccessToken: signed, TokenType: "Bearer", Issued: c.now(), Expires: expires}, nil, nil
		}
	}
	own := map[string]string{}
	special := def.Token.ByKind[kind]
	switch {
	case kind == KindClientCredentials || kind == KindBrokered:
		own["grant_type"] = grantType(special.Grant, "client_credentials")
		app.scopeParam(own, scopes)
	case assertion != nil && special.Auth != authAssertion:
		own["grant_type"] = grantType(special.Grant, "urn:ietf:params:oauth:grant-type:jwt-bearer")
		own[placeholderAssertion] = values[placeholderAssertion]
	case special.Grant != "":
		own["grant_type"] = special.Grant
		app.scopeParam(own, scopes)
	}
	return c.tokenCall(ctx, app, r.Resolved, kind, StepToken, &def.Token, own, values)
}

// ofTheKey is a failure of a call that nothing but a key proves: what is said of the client, or of nobody, is said of
// the key.
func (e *Error) ofTheKey() *Error {
	refused := e.Class == Misconfigured && (e.Code == "invalid_client" || e.Code == "unauthorized_client") ||
		e.Status == http.StatusUnauthorized && e.Class != RateLimited
	of := *e
	of.OfKey = true
	if refused && !e.NotSent() {
		of.Class, of.SaysNo = Rejected, false
	}
	return &of
}

// provesApp reports whether the token call of a kind shows who the app is, so that a refusal may be its own.
func (d *Definition) provesApp(kind Kind) bool {
	switch d.Token.ByKind[kind].over(d.Token.Call).Auth {
	case "", "client", "client_basic", "bearer_client_secret":
		return d.asserts(kind) == nil || !d.Assertion.Credential
	}
	return false
}

// upgrades reports whether the first token of a kind is traded for a better one. What the app gets for itself is what
// it asked for.
func (d *Definition) upgrades(kind Kind) bool {
	return d.Upgrade != nil && kind != KindClientCredentials
}
