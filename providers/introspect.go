package providers

import (
	"context"
	"net/http"
)

// lifetimeIntrospected is the word of Lifetime.From for asking the introspection endpoint.
const lifetimeIntrospected = "introspect"

// Introspects reports whether it is asked until when g lives, since its answer told nothing and nobody assumes it.
func (a *App) Introspects(g *Grant) bool {
	return a.Definition.Lifetime.From == lifetimeIntrospected && !g.AccessToken.IsZero() && g.Expires.IsZero()
}

// Introspect asks until when g lives (RFC 7662), where that is to be asked, and keeps it in g. Whatever comes of it, g
// stays as usable as it was: the [*Error] says only that nothing was learnt. An issuer that publishes no endpoint for
// it is not asked.
func (c *Client) Introspect(ctx context.Context, app *App, res Resolved, g *Grant) error {
	if !app.Introspects(g) || res.Endpoints[StepIntrospect] == "" && app.endpointTemplate(StepIntrospect) == "" {
		return nil
	}
	asked := c.now()
	r, failure := c.apiCall(ctx, app, res, StepIntrospect, Call{Method: http.MethodPost, Auth: "client", Body: "form"},
		nil, g, map[string]string{"token": g.AccessToken.Reveal(), "token_type_hint": "access_token"})
	if failure != nil {
		return failure
	}
	if active, _ := lookup(r.doc, "active"); active != true {
		return &Error{Class: Transient, Step: StepIntrospect, Status: r.status, Reason: ReasonTokenInactive}
	}
	// a time that is over says that one of the clocks is wrong, since the token is active
	if at, readable := moment(lookupText(r.doc, "exp")); readable && at.After(asked) {
		g.Expires = earlier(at.UTC(), asked.Add(maxLifetime))
	}
	return nil
}
