package providers

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Resolve fills in everything that is known before the first call of a connection of that kind: its inputs beside the
// provider's, the issuer's metadata where the definition asks for discovery, the endpoints and the client
// authentication. An endpoint that needs a value which only an answer can tell is left out and expanded when its step
// comes. What the operator set goes before the definition, and that before discovery.
//
// The error is an [*Error] of the discovery step, or of what the engine itself refuses to send, or a plain one that
// names the input or endpoint to correct.
func (c *Client) Resolve(ctx context.Context, app *App, kind Kind, inputs map[string]string) (Resolved, error) {
	def := app.Definition
	merged, err := def.MergeInputs(kind, app.Inputs, inputs)
	if err != nil {
		return Resolved{}, err
	}
	if failure := def.checkUsed(kind, app.Inputs, inputs, merged); failure != nil {
		return Resolved{}, failure
	}
	res := Resolved{Endpoints: map[Step]string{}, Inputs: merged, Issuer: app.Issuer}
	values := app.values(res, nil)

	var found *metadata
	if def.Discovery != nil {
		if res.Issuer == "" {
			issuer, err := ExpandURL(def.Discovery.Issuer, values)
			if err != nil {
				return Resolved{}, err
			}
			res.Issuer = issuer.String()
		}
		if found, err = c.metadataOf(ctx, app, res.Issuer, values); err != nil {
			return Resolved{}, err
		}
		for step, endpoint := range found.endpoints() {
			if endpoint != "" {
				res.Endpoints[step] = endpoint
			}
		}
		res.IssAlways = found.IssuerAlways
		res.OpenID = found.JWKS != ""
		res.JWKS = found.JWKS
		res.SigningAlgs = found.SigningAlgs
		res.FormPost = slices.Contains(found.Modes, modeFormPost)
		res.Scopes = found.Scopes
	}
	for _, templates := range []map[Step]Template{def.Endpoints, overrides(app)} {
		templates = maps.Clone(templates)
		maps.DeleteFunc(templates, func(step Step, _ Template) bool { return !def.made(step, merged) })
		if err := resolveEndpoints(res.Endpoints, templates, values); err != nil {
			return Resolved{}, err
		}
	}
	style, failure := app.clientAuth(found)
	if failure != nil {
		return Resolved{}, failure
	}
	res.ClientAuth = style
	return res, nil
}

func overrides(app *App) map[Step]Template {
	templates := make(map[Step]Template, len(app.Endpoints))
	for step, endpoint := range app.Endpoints {
		templates[step] = Template(endpoint)
	}
	return templates
}

// resolveEndpoints expands what can be expanded. An override that must wait removes what stood in its place.
func resolveEndpoints(dst map[Step]string, templates map[Step]Template, values map[string]string) error {
	for step, template := range templates {
		delete(dst, step)
		if !template.known(values) {
			continue
		}
		u, err := ExpandURL(template, values)
		if err != nil {
			return fmt.Errorf("the inputs do not make a usable address for the step %q: %w", step, err)
		}
		if !secureURL(u) {
			return fmt.Errorf("the address of the step %q is not https: correct `endpoints` or the "+
				"input it is made of", step)
		}
		dst[step] = u.String()
	}
	return nil
}

// clientAuth settles how the client authenticates: as the operator says, else the definition's first word. It is never
// found out by trying, which would spend codes and doubles failed refreshes.
func (a *App) clientAuth(found *metadata) (string, *Error) {
	style := a.ClientAuth
	if style == "" && len(a.Definition.Client.Auth) > 0 {
		style = a.Definition.Client.Auth[0]
	}
	key := IsPrivateKey(a.ClientSecret)
	switch {
	case a.ClientAuth == "" && key && style != authFromDiscovery && a.Definition.takesClientAuth(authPrivateKeyJWT):
		return authPrivateKeyJWT, nil
	case style == authFromDiscovery && found != nil && key:
		return found.clientAuth(authPrivateKeyJWT)
	case style == authFromDiscovery && found != nil && a.ClientSecret.IsZero():
		return "none", nil
	case style == authFromDiscovery && found != nil:
		return found.clientAuth("client_secret_basic", "client_secret_post")
	case style == authFromDiscovery:
		return "", &Error{Class: Misconfigured, Step: StepDiscovery, Reason: ReasonClientAuth}
	case a.ClientAuth == "" && a.ClientSecret.IsZero() && usesSecret(style) && a.Definition.Client.Public:
		return "none", nil
	case style == "" && a.ClientSecret.IsZero():
		return "none", nil
	case style == "":
		return "basic", nil // RFC 6749 section 2.3.1: the one a server must support
	}
	return style, nil
}

// known reports whether every placeholder of t has a value.
func (t Template) known(values map[string]string) bool {
	for _, name := range t.Placeholders() {
		if values[name] == "" {
			return false
		}
	}
	return true
}
