package backend

import (
	"path"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What an operator may say about imports, and about scopes that were granted beyond allowed_scopes.
const (
	importNone = "none"
	importOrg  = "org"
	importAll  = "all"

	surplusRefuse = "refuse"
	surplusWarn   = "warn"
)

// bars says why the provider serves no connection of this owner and kind, with these inputs; empty when it does. It
// holds for those that there are as for new ones.
func (p *configured) bars(owner store.Owner, kind providers.Kind, inputs map[string]string) store.Reason {
	switch {
	case !ownerAllowed(p.entry.AllowedOwners, owner):
		return store.ReasonOwnerNotAllowed
	case owner.Personal() && p.app.Definition.OfTheApp(kind): // or whoever may connect had what is the operator's
		return store.ReasonKindNotAllowed
	}
	if _, found := p.unbound(owner, kind, inputs); found {
		return store.ReasonInputNotBound
	}
	return ""
}

// ownerAllowed reports whether a list of owners has this one. An empty list has all.
func ownerAllowed(list []string, owner store.Owner) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(allowed string) bool {
		return namesOwner(allowed, owner.String())
	})
}

// namesOwner reports whether a pattern names an owner, or all that another pattern does. A * stands for one id, so
// org/* are the organizations, and org/*/user/* their members.
func namesOwner(pattern, owner string) bool {
	matched, err := path.Match(pattern, owner)
	return err == nil && matched
}

// kinds are those that may be connected.
func (p *configured) kinds() []providers.Kind { return kindsOf(p.entry, p.app.Definition) }

func kindsOf(p *store.Provider, definition *providers.Definition) []providers.Kind {
	if len(p.Kinds) > 0 {
		return p.Kinds
	}
	return slices.DeleteFunc(slices.Clone(definition.Kinds), func(kind providers.Kind) bool {
		return mustBeNamed(definition, kind)
	})
}

// mustBeNamed reports whether a kind may be connected only where the operator names it: what is the app's own, and what
// anybody can be talked into by a code that they type.
func mustBeNamed(definition *providers.Definition, kind providers.Kind) bool {
	return definition.OfTheApp(kind) || kind == providers.KindDeviceCode
}

// admit refuses what the operator does not let the provider be used for. known is the connection as it is; of one that
// has its kind already, the list of kinds says nothing.
func (p *configured) admit(k store.Key, kind providers.Kind, known *store.Connection) error {
	why := mountFreeze(p.mount, k.Owner)
	if why == "" {
		why = providerFreeze(p.name, p.entry)
	}
	if why != "" {
		return frozen(p.name, k, why)
	}
	switch p.bars(k.Owner, kind, nil) { // of inputs admitInputs knows
	case store.ReasonOwnerNotAllowed:
		return forbidden("provider %q serves no connections of %s: an operator adds the owner to allowed_owners on "+
			"providers/%s", p.name, k.Owner, p.name)
	case store.ReasonKindNotAllowed:
		return ofTheApp(string(kind))
	}
	if (known == nil || known.Kind != kind) && !slices.Contains(p.kinds(), kind) {
		return forbidden("provider %q takes no connections of kind %s: an operator adds it to kinds on providers/%s",
			p.name, kind, p.name)
	}
	return nil
}

func ofTheApp(kind string) error {
	return forbidden("a connection of kind %s has the operator's own credential, so no user can have one: "+
		"make it for an organization", kind)
}

// kindOf is the kind asked for, or the first that may be connected and that wanted accepts.
func (p *configured) kindOf(asked string, wanted func(providers.Kind) bool) (providers.Kind, error) {
	def := p.app.Definition
	if asked != "" {
		if !slices.Contains(def.Kinds, providers.Kind(asked)) {
			return "", badRequest("%s has no kind %q: it has %s", def.Name, clipText(asked), joinWords(def.Kinds))
		}
		return providers.Kind(asked), nil
	}
	for _, kinds := range [][]providers.Kind{p.kinds(), def.Kinds} { // admit says of the latter why not
		for _, kind := range kinds {
			if slices.Contains(def.Kinds, kind) && wanted(kind) {
				return kind, nil
			}
		}
	}
	return "", badRequest("%s cannot be connected this way: it has the kinds %s", def.Name, joinWords(def.Kinds))
}

func joinWords[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// admitImport refuses tokens that were obtained elsewhere where the operator does not want them: whoever has stolen a
// refresh token could redeem it with the operator's secret.
func (p *configured) admitImport(owner store.Owner) error {
	switch word := orDefault(p.entry.AllowImport, importOrg); {
	case word == importAll, word == importOrg && !owner.Personal():
		return nil
	case word == importOrg:
		return forbidden("provider %q takes imported tokens for organizations only: an operator sets allow_import=all "+
			"on providers/%s, or the account is connected with auth-code-url", p.name, p.name)
	}
	return forbidden("provider %q takes no imported tokens: connect the account with auth-code-url, or have an "+
		"operator set allow_import on providers/%s", p.name, p.name)
}

// surplus are the scopes granted that the operator does not allow. A refresh is never refused for them.
func (p *configured) surplus(granted []string) []string {
	return p.app.SurplusScopes(granted, p.entry.AllowedScopes)
}

// missingScopes are those that a connection requires and was not granted: without its provider, word for word.
func missingScopes(p *configured, c *store.Connection, granted []string) []string {
	if c.Grant == nil {
		return nil
	}
	if p == nil {
		return slices.DeleteFunc(slices.Clone(c.RequiredScopes), func(s string) bool {
			return slices.Contains(granted, s)
		})
	}
	return p.app.MissingScopes(c.RequiredScopes, granted)
}

// refusesUnknown reports whether nothing is taken whose scopes nobody knows.
func (p *configured) refusesUnknown() bool {
	return p.surplusWord() == surplusRefuse && !slices.Contains(p.entry.AllowedScopes, "*")
}

func (p *configured) surplusWord() string {
	return orDefault(orDefault(p.entry.SurplusScopes, p.app.Definition.Scopes.Surplus), surplusWarn)
}

// refusesSurplus says why a grant with these scopes is not taken, or nothing.
func (p *configured) refusesSurplus(granted []string) string {
	surplus := p.surplus(granted)
	if len(surplus) == 0 || p.surplusWord() != surplusRefuse {
		return ""
	}
	return "more was granted than allowed_scopes has: " + clipText(strings.Join(surplus, " ")) +
		" (an operator adds them there, or sets surplus_scopes=warn on providers/" + p.name + ")"
}

// refuses says why a connection must not have a grant, or nothing. meant says that another account than before is.
func (p *configured) refuses(c *store.Connection, g *providers.Grant, meant bool) (why string) {
	if c != nil && !meant {
		why = otherAccount(c.Account, g.Account, p.fingerprint)
	}
	if why == "" {
		why = p.refusesSurplus(g.Scopes)
	}
	return why
}

// surplusWarning tells of scopes beyond allowed_scopes that are served all the same; empty when there are none.
func (p *configured) surplusWarning(granted []string) string {
	if surplus := p.surplus(granted); len(surplus) > 0 {
		return "granted beyond allowed_scopes, and served: " + clipText(strings.Join(surplus, " "))
	}
	return ""
}

// checkPolicy validates what an operator says of whom and what the provider serves.
func checkPolicy(p *store.Provider, definition *providers.Definition) error {
	for _, kind := range p.Kinds {
		if !slices.Contains(definition.Kinds, kind) {
			return badRequest("kinds: %s has no kind %q: it has %s", definition.Name, clipText(string(kind)),
				joinWords(definition.Kinds))
		}
	}
	for _, owner := range p.AllowedOwners {
		if err := checkOwnerPattern("allowed_owners", owner); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{"", importNone, importOrg, importAll}, p.AllowImport) {
		return badRequest("allow_import must be none, org or all")
	}
	if !slices.Contains([]string{"", surplusRefuse, surplusWarn}, p.SurplusScopes) {
		return badRequest("surplus_scopes must be refuse or warn, or empty for the definition's word")
	}
	return nil
}

func checkOwnerPattern(field, pattern string) error {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if part == "*" {
			parts[i] = "any"
		}
	}
	if _, err := store.ParseOwner(strings.Join(parts, "/")); err != nil {
		return badRequest("%s: %s; * stands for any one id, as in org/*, user/* and org/acme/user/*", field, err)
	}
	return nil
}
