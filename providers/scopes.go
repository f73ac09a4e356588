package providers

import (
	"fmt"
	"slices"
)

// RequestScopes returns what to ask the provider for: asked, or else what the operator set, or else the definition's
// default, and in any case what the identity call and a refresh token need. Each stands once, in that order.
func (a *App) RequestScopes(asked []string) []string {
	d := a.Definition
	scopes := asked
	if len(scopes) == 0 {
		scopes = a.Scopes
	}
	if len(scopes) == 0 {
		scopes = d.Scopes.Default
	}
	var all []string
	for _, scope := range slices.Concat(scopes, d.Scopes.Identity, d.Scopes.Offline) {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// CheckScopes refuses scopes beyond those the operator allows: allowed, or else the scopes of the app, or else the
// definition's default. What the engine asks for by itself is always allowed. The error names the first that is not.
func (a *App) CheckScopes(asked, allowed []string) error {
	d := a.Definition
	if len(allowed) == 0 {
		allowed = a.RequestScopes(nil)
	}
	for _, scope := range asked {
		if closed := d.Scopes.Allowed; len(closed) > 0 && !slices.Contains(closed, scope) {
			return fmt.Errorf("scope %q is not one of %s: there are %s", scope, d.Name, orNone(closed))
		}
		if !slices.Contains(slices.Concat(allowed, d.Scopes.Identity, d.Scopes.Offline), scope) {
			return fmt.Errorf("scope %q is not among the provider's allowed_scopes: %s", scope, orNone(allowed))
		}
	}
	return nil
}

// SurplusScopes are those of granted that are neither allowed, as [App.CheckScopes] means it, nor asked for by the
// engine itself, each under any of its spellings. nil when any scope is allowed.
func (a *App) SurplusScopes(granted, allowed []string) []string {
	d := a.Definition
	if len(allowed) == 0 {
		allowed = a.RequestScopes(nil)
	}
	if slices.Contains(allowed, "*") {
		return nil
	}
	wanted := map[string]bool{}
	for _, scope := range slices.Concat(allowed, d.Scopes.Identity, d.Scopes.Offline) {
		wanted[d.Scopes.canonical(scope)] = true
	}
	var surplus []string
	for _, scope := range granted {
		if !wanted[d.Scopes.canonical(scope)] {
			surplus = append(surplus, scope)
		}
	}
	return surplus
}

// canonical is the spelling by which scopes are compared.
func (s *Scopes) canonical(scope string) string {
	for name, others := range s.Same {
		if slices.Contains(others, scope) {
			return name
		}
	}
	return scope
}
