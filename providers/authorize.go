package providers

import (
	"fmt"
	"maps"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// modeFormPost has the answer come in the body of a POST (OAuth 2.0 Form Post Response Mode, section 2): what comes in
// the query of a GET stands in logs and histories.
const modeFormPost = "form_post"

// AuthCodeURL builds the URL a person opens to consent (RFC 6749 section 4.1.1, RFC 7636 section 4.3). Where names
// collide, the engine's own parameters stand over the operator's, and those over the definition's.
//
// The error names the authorize_params entry or the placeholder to correct.
func AuthCodeURL(app *App, r AuthCodeURLRequest) (string, error) {
	spec := app.Definition.Authorize
	values := app.values(r.Resolved, nil)
	values["redirect_uri"] = r.RedirectURI
	values["state"] = r.State
	values["scopes"] = app.joinScopes(r.Scopes)

	target, failure := app.endpoint(r.Resolved, StepAuthorize, values)
	if failure != nil {
		return "", failure
	}
	if !secureURL(target) {
		return "", &Error{Class: Misconfigured, Step: StepAuthorize, Reason: ReasonInsecureEndpoint}
	}
	own := map[string]string{}
	if !spec.Only {
		own = app.ownAuthorizeParams(r)
	}
	params := map[string]string{}
	if !expandInto(params, spec.Params, values) {
		return "", &Error{Class: Misconfigured, Step: StepAuthorize, Reason: ReasonIncompleteCall}
	}
	for name, template := range spec.Optional {
		if value, err := template.Expand(values); err == nil && template.known(values) {
			params[name] = value
		}
	}
	for name, value := range app.AuthorizeParams {
		_, fixed := own[name]
		if _, carries := params[name]; fixed || spec.Only && carries || slices.Contains(app.reservedParams(), name) {
			return "", fmt.Errorf("authorize_params: %q is set by the engine or the definition: remove "+
				"it from the provider", name)
		}
		params[name] = value
	}
	if _, chosen := params["response_mode"]; r.FormPost && !chosen && !spec.Only &&
		(spec.FormPost || r.Resolved.FormPost) {
		own["response_mode"] = modeFormPost
	}
	if _, chosen := params["prompt"]; !chosen && !spec.Only && r.Resolved.OpenID &&
		slices.Contains(r.Scopes, oidc.ScopeOfflineAccess) {
		own["prompt"] = "consent" // OpenID Connect Core section 11: or the issuer need not grant it
	}
	maps.Copy(params, own)
	for _, name := range spec.Omit {
		delete(params, name)
	}
	addQuery(target, params)
	target.Fragment = ""
	return target.String(), nil
}

// ownAuthorizeParams are the parameters that make the answer safe to take, under the service's names for them.
func (a *App) ownAuthorizeParams(r AuthCodeURLRequest) map[string]string {
	spec := a.Definition.Authorize
	own := map[string]string{
		"response_type":          "code",
		a.rename("client_id"):    a.ClientID,
		a.rename("redirect_uri"): r.RedirectURI,
		a.stateParam():           r.State,
	}
	a.scopeParam(own, r.Scopes)
	if param := a.Definition.Scopes.OptionalParam; param != "" && len(r.Optional) > 0 {
		own[param] = a.joinScopes(r.Optional)
	}
	if a.Definition.pkce() != pkceOff && !r.Verifier.IsZero() {
		own["code_challenge"] = oauth2.S256ChallengeFromVerifier(r.Verifier.Reveal())
		own["code_challenge_method"] = "S256"
	}
	if r.Resolved.OpenID && r.Nonce != "" {
		own["nonce"] = r.Nonce
	}
	hint := spec.LoginHint
	if hint == "" && r.Resolved.OpenID {
		hint = "login_hint" // OpenID Connect Core section 3.1.2.1
	}
	if hint != "" && r.LoginHint != "" {
		own[hint] = r.LoginHint
	}
	return own
}

// reservedParams are never the operator's to set, whether or not this flow sends them: a fixed nonce or a "plain"
// challenge would weaken every flow of the provider.
func (a *App) reservedParams() []string {
	return []string{
		a.Definition.Scopes.OptionalParam,
		"response_type", "code_challenge", "code_challenge_method", "nonce", "scope", "state",
		"client_id", "client_secret", "redirect_uri", "request", "request_uri",
		a.rename("client_id"), a.rename("client_secret"), a.rename("redirect_uri"), a.stateParam(),
	}
}

func (a *App) stateParam() string {
	if name := a.Definition.Callback.State; name != "" {
		return name
	}
	return "state"
}
