package providers

import (
	"context"
	"slices"
)

// Revoke tells the provider to forget g: as RFC 7009 section 2.1 says, or as the definition does. By default the
// refresh token is named, since most servers let its access tokens die with it, and the access token where there is
// none. A grant without tokens needs no call.
//
// A token that the service says is gone is a success. The error is an [*Error]; the reason
// [ReasonNoRevocationEndpoint] means that the service offers no way for a grant of that kind. When both tokens are to
// be revoked, both are tried and the first failure is returned.
func (c *Client) Revoke(ctx context.Context, app *App, res Resolved, kind Kind, g *Grant) error {
	spec := app.Definition.Revoke
	if spec == nil {
		spec = &Revoke{}
	}
	none := res.Endpoints[StepRevoke] == "" && app.endpointTemplate(StepRevoke) == ""
	if none || len(spec.Kinds) > 0 && !slices.Contains(spec.Kinds, kind) {
		return &Error{Class: Misconfigured, Step: StepRevoke, Reason: ReasonNoRevocationEndpoint}
	}
	refresh, access := !g.RefreshToken.IsZero(), !g.AccessToken.IsZero()
	switch spec.Token {
	case "access_token":
		refresh = false
	case "both":
	default:
		access = access && !refresh
	}
	var first error
	if refresh {
		if failure := c.revokeOne(ctx, app, res, spec, g, "refresh_token", g.RefreshToken); failure != nil {
			first = failure
		}
	}
	if access {
		if failure := c.revokeOne(ctx, app, res, spec, g, "access_token", g.AccessToken); failure != nil &&
			first == nil {
			first = failure
		}
	}
	return first
}

// RevokesOneToken reports whether revoking a token is known to end nothing but that token. A service that hands the
// same token to whoever asks for one account ends it for all of them.
func (d *Definition) RevokesOneToken() bool { return d.Revoke != nil && d.Revoke.Reach == "token" }

func (c *Client) revokeOne(ctx context.Context, app *App, res Resolved, spec *Revoke, g *Grant, hint string,
	token Secret,
) *Error {
	request := spec.Call
	request.Method = orPOST(request.Method)
	var own map[string]string
	named := false // the token is what the call names, and not what lets it in
	switch request.Auth {
	case "", "client", "client_basic", "none":
		named = true
		if request.Auth == "" {
			request.Auth = "client"
		}
		if len(request.Params) == 0 && request.Body != "raw" {
			own = map[string]string{"token": token.Reveal(), "token_type_hint": hint}
		}
	}
	_, failure := c.apiCall(ctx, app, res, StepRevoke, request, spec.OK, g, own)
	if named && failure != nil && (failure.Code == codeInvalidToken || failure.Code == "invalid_grant") {
		return nil // it is gone, which is what was wanted (RFC 7009 section 2.2)
	}
	return failure
}
