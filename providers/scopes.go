package providers

import (
	"fmt"
	"slices"
)

// Added are the scopes that the engine asks for by itself: the identity call needs them, or a refresh token does.
func (s *Scopes) Added() []string { return slices.Concat(s.Identity, s.Offline) }

// CheckAddedScopes refuses names that the engine does not add by itself.
func (d *Definition) CheckAddedScopes(names []string) error {
	added := d.Scopes.Added()
	for _, name := range names {
		if !slices.Contains(added, name) {
			return fmt.Errorf("added_scopes: %s does not add %q by itself, it adds %s: what else is to be asked for "+
				"stands in scopes", d.ID, name, orNone(added))
		}
	}
	return nil
}

// AddsScopes are those of Scopes.Added that the operator did not switch off.
func (a *App) AddsScopes() []string {
	added := a.Definition.Scopes.Added()
	if a.AddedScopes == nil {
		return added
	}
	return slices.DeleteFunc(added, func(s string) bool { return !slices.Contains(*a.AddedScopes, s) })
}

// RequestScopes returns what to ask the provider for: asked, or else what the operator set, or else the definition's
// default; and what the identity call and a refresh token need, as far as it is among those that the issuer knows, if
// it says which. Each stands once, in that order.
func (a *App) RequestScopes(asked, known []string) []string {
	d := a.Definition
	scopes := asked
	if len(scopes) == 0 {
		scopes = a.Scopes
	}
	if len(scopes) == 0 {
		scopes = d.Scopes.Default
	}
	added := a.AddsScopes()
	if len(known) > 0 {
		spelled := map[string]bool{}
		for _, scope := range known {
			spelled[d.Scopes.canonical(scope)] = true
		}
		added = slices.DeleteFunc(added, func(s string) bool { return !spelled[d.Scopes.canonical(s)] })
	}
	var all []string
	for _, scope := range slices.Concat(scopes, added) {
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
		allowed = a.RequestScopes(nil, nil)
	}
	for _, scope := range asked {
		if closed := d.Scopes.Allowed; len(closed) > 0 && !slices.Contains(closed, scope) {
			return fmt.Errorf("scope %q is not one of %s: there are %s", scope, d.Name, orNone(closed))
		}
		if !slices.Contains(slices.Concat(allowed, a.AddsScopes()), scope) {
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
		allowed = a.RequestScopes(nil, nil)
	}
	if slices.Contains(allowed, "*") {
		return nil
	}
	wanted := map[string]bool{}
	for _, scope := range slices.Concat(allowed, a.AddsScopes()) {
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
