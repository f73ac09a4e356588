package providers

import (
	"fmt"
	"slices"
	"strings"
)

// Added are the scopes that the engine asks for by itself: the identity call needs them, or a refresh token does.
func (s *Scopes) Added() []string { return slices.Concat(s.Identity, s.Offline) }

// scopes is what the definition says of scopes, as it is for this app: a scope may hold what the operator chose.
func (a *App) scopes() *Scopes {
	said := &a.Definition.Scopes
	if !said.open() {
		return said
	}
	values := a.settled()
	one := func(scope string) string {
		if text, err := Template(scope).Expand(values); err == nil {
			return text
		}
		return scope
	}
	list := func(scopes []string) []string {
		all := slices.Clone(scopes)
		for i, scope := range all {
			all[i] = one(scope)
		}
		return all
	}
	table := func(scopes map[string][]string) map[string][]string {
		all := make(map[string][]string, len(scopes))
		for name, others := range scopes {
			all[one(name)] = list(others)
		}
		return all
	}
	here := *said
	here.Default, here.Identity, here.Offline = list(said.Default), list(said.Identity), list(said.Offline)
	here.Allowed, here.Silent = list(said.Allowed), list(said.Silent)
	here.Same, here.Implies = table(said.Same), table(said.Implies)
	return &here
}

// open reports whether a scope holds a placeholder.
func (s *Scopes) open() bool {
	held := func(scope string) bool { return strings.Contains(scope, "{") }
	for _, scopes := range [][]string{s.Default, s.Identity, s.Offline, s.Allowed, s.Silent} {
		if slices.ContainsFunc(scopes, held) {
			return true
		}
	}
	for _, table := range []map[string][]string{s.Same, s.Implies} {
		for name, others := range table {
			if held(name) || slices.ContainsFunc(others, held) {
				return true
			}
		}
	}
	return false
}

// CheckAddedScopes refuses names that the engine does not add by itself.
func (a *App) CheckAddedScopes(names []string) error {
	d, added := a.Definition, a.scopes().Added()
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
	added := a.scopes().Added()
	if a.AddedScopes == nil {
		return added
	}
	return slices.DeleteFunc(added, func(s string) bool { return !slices.Contains(*a.AddedScopes, s) })
}

// UsualScopes are asked for when nobody names any: those that the operator set, or else the definition's default.
func (a *App) UsualScopes() []string {
	if len(a.Scopes) > 0 {
		return a.Scopes
	}
	return a.scopes().Default
}

// RequestScopes returns what to ask the provider for: asked, or else what the operator set, or else the definition's
// default; and what the identity call and a refresh token need, as far as it is among those that the issuer knows, if
// it says which. Each stands once, in that order.
func (a *App) RequestScopes(asked, known []string) []string {
	if a.ScopesIgnored {
		return nil
	}
	said, scopes := a.scopes(), asked
	if len(scopes) == 0 {
		scopes = a.UsualScopes()
	}
	added := a.AddsScopes()
	if len(known) > 0 {
		spelled := map[string]bool{}
		for _, scope := range known {
			spelled[said.canonical(scope)] = true
		}
		added = slices.DeleteFunc(added, func(s string) bool { return !spelled[said.canonical(s)] })
	}
	var all []string
	for _, scope := range slices.Concat(scopes, added) {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// ScopesOfTheApp returns what to ask for where no person consents: what the operator set, or else the definition's
// default. What the engine adds is for people, an id_token and a refresh token.
func (a *App) ScopesOfTheApp() []string {
	if a.ScopesIgnored {
		return nil
	}
	return a.UsualScopes()
}

// scopesAnew are asked for with each token that needs no person: as the operator has them now, so that what was once
// granted short is asked for again. Where there are none, those that the grant has.
func (a *App) scopesAnew(g *Grant) []string {
	if scopes := a.ScopesOfTheApp(); len(scopes) > 0 {
		return scopes
	}
	return g.Scopes
}

// AskedOf are the scopes that a connection of that kind is asked for when nobody names any, without what the engine
// adds by itself; nil where a grant cannot be held against them: the kind has its own, or its scopes are of another
// token.
func (a *App) AskedOf(kind Kind) []string {
	d := a.Definition
	if a.ScopesIgnored || d.Token.ByKind[kind].Scopes != nil || d.upgrades(kind) || kind == KindBrokered || kind.HasKey() {
		return nil
	}
	return a.UsualScopes()
}

// CheckScopes refuses scopes beyond those the operator allows: allowed, or else the scopes of the app, or else the
// definition's default, in any of their spellings, and what those include. What the engine asks for by itself is always
// allowed. The error names the first that is not.
func (a *App) CheckScopes(asked, allowed []string) error {
	if a.ScopesIgnored && len(asked) > 0 {
		return fmt.Errorf("the provider has scopes_ignored=true, so none are asked for: what its app may do is set at " +
			"the service")
	}
	if len(allowed) == 0 {
		allowed = slices.Concat(a.RequestScopes(nil, nil), a.OptionalScopes)
	}
	said := a.scopes()
	may := said.all(slices.Concat(allowed, a.AddsScopes()))
	for _, scope := range asked {
		if closed := said.Allowed; len(closed) > 0 && !slices.Contains(closed, scope) {
			return fmt.Errorf("scope %q is not one of %s: there are %s", scope, a.Definition.Name, orNone(closed))
		}
		if !may[said.canonical(scope)] {
			return fmt.Errorf("scope %q is not among the provider's allowed_scopes: %s", scope, orNone(allowed))
		}
	}
	return nil
}

// SurplusScopes are those of granted that are neither allowed, as [App.CheckScopes] means it, nor asked for by the
// engine itself. nil when any scope is allowed.
func (a *App) SurplusScopes(granted, allowed []string) []string {
	if len(allowed) == 0 {
		allowed = slices.Concat(a.RequestScopes(nil, nil), a.OptionalScopes)
	}
	if a.ScopesIgnored || slices.Contains(allowed, "*") {
		return nil
	}
	return a.scopes().beyond(granted, slices.Concat(allowed, a.AddsScopes()))
}

// MissingScopes are those required that were not granted: neither in any spelling nor as part of another. What the
// service never names cannot be missed.
func (a *App) MissingScopes(required, granted []string) []string {
	if a.ScopesIgnored {
		return nil
	}
	said := a.scopes()
	return said.beyond(required, slices.Concat(granted, said.Silent))
}

// beyond are those of scopes that are not among known.
func (s *Scopes) beyond(scopes, known []string) []string {
	among := s.all(known)
	var beyond []string
	for _, scope := range scopes {
		if !among[s.canonical(scope)] {
			beyond = append(beyond, scope)
		}
	}
	return beyond
}

// all are the scopes in their canonical spelling, with those that they include. A definition may let each include ever
// longer ones, or all others: that ends somewhere.
func (s *Scopes) all(scopes []string) map[string]bool {
	all, steps := map[string]bool{}, 0
	var add func(string)
	add = func(scope string) {
		if steps++; all[scope] || steps > 40*maxScopes || len(scope) > maxScope {
			return
		}
		scope = s.canonical(scope)
		if all[scope] {
			return
		}
		all[scope] = true
		for name, others := range s.Implies {
			rest, prefixed := strings.CutPrefix(scope, strings.TrimSuffix(name, "*"))
			if !prefixed || rest != "" && !strings.HasSuffix(name, "*") {
				continue
			}
			for _, other := range others {
				if stem, open := strings.CutSuffix(other, "*"); open {
					other = stem + rest
				}
				add(other)
			}
		}
	}
	for _, scope := range scopes {
		add(scope)
	}
	return all
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

// RequestOptional returns what to ask for beside scopes, which the person may leave out: asked, or else what the
// operator set, without what is asked for anyway.
func (a *App) RequestOptional(asked *[]string, scopes []string) []string {
	if a.Definition.Scopes.OptionalParam == "" || a.ScopesIgnored {
		return nil
	}
	optional := a.OptionalScopes
	if asked != nil {
		optional = *asked
	}
	return slices.DeleteFunc(slices.Clone(optional), func(s string) bool { return slices.Contains(scopes, s) })
}

// TakesOptional refuses optional scopes where the service has no parameter for them.
func (a *App) TakesOptional(scopes []string) error {
	if len(scopes) > 0 && a.Definition.Scopes.OptionalParam == "" {
		return fmt.Errorf("optional_scopes: %s knows no scopes that a person may leave out, name them in scopes",
			a.Definition.Name)
	}
	return nil
}
