package providertest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What a credential is, once it is there.

func (p *play) granted() bool {
	want := p.f.grant
	if want == nil {
		if p.grant.AccessToken.IsZero() {
			return true
		}
		p.differ("grant", "the section is missing")
		return true
	}
	g := p.grant
	if !p.f.Kind.HasKey() {
		p.tokens("grant", want, g)
		p.scopesSame("grant", want.Scopes, g.Scopes)
		asked := p.scopes
		if p.def.Token.ByKind[p.f.Kind].Scopes != nil {
			asked = nil // the kind asks for its own, whatever is wanted
		}
		if missing := p.app.MissingScopes(asked, g.Scopes); len(missing) > 0 {
			p.differ("grant", "scopes: asked for, and not granted as far as the definition can tell: %v", missing)
		}
		if want.RefreshExpires != "" {
			p.same("grant", "refresh_expires_in", want.RefreshExpires, seconds(g.Issued, g.RefreshExpires))
		}
		if want.HardExpires != "" {
			p.same("grant", "hard_expires_in", want.HardExpires, seconds(g.Issued, g.HardLimit))
		}
		p.texts("grant", "secret_config", want.Secret, revealed(g.SecretConfig))
		p.account(want, g.Account)
	}
	for i, row := range p.f.covers {
		if missing := p.app.MissingScopes(row.Covers, row.Granted); len(missing) > 0 {
			p.differ("scopes", "row %d: %v do not cover %v", i+1, row.Granted, missing)
		}
		for _, scope := range row.Lacks {
			if len(p.app.MissingScopes([]string{scope}, row.Granted)) == 0 {
				p.differ("scopes", "row %d: %v cover %s", i+1, row.Granted, scope)
			}
		}
	}
	if !p.f.Kind.HasKey() { // of a key a check tells
		p.texts("grant", "connection_config", want.Config, g.Config)
	}
	if want.Key != nil {
		p.texts("grant", "key", want.Key, revealed(g.SecretConfig))
	}
	if want.Inputs != nil {
		merged, err := p.def.MergeInputs(p.f.Kind, p.app.Inputs, p.inputs)
		if err != nil {
			p.differ("grant", "inputs: %s", err)
		}
		p.texts("grant", "inputs", want.Inputs, merged)
	}
	return true
}

func (p *play) account(want *granted, got providers.Account) {
	p.same("grant", "account.id", want.Account.ID, got.ID)
	p.same("grant", "account.label", want.Account.Label, got.Label)
	p.same("grant", "account.email", want.Account.Email, got.Email)
}

func (p *play) scopesSame(section string, want, got []string) {
	one, other := slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))
	if !slices.Equal(one, other) {
		p.differ(section, "scopes: the fixture has %v, the definition reads %v", one, other)
	}
}

func (p *play) tokens(section string, want *granted, g *providers.Grant) {
	p.same(section, "access_token", want.Access, g.AccessToken.Reveal())
	p.same(section, "refresh_token", want.Refresh, g.RefreshToken.Reveal())
	p.same(section, "expires_in", want.Expires, seconds(g.Issued, g.Expires))
}

func seconds(from, to time.Time) string {
	if to.IsZero() {
		return "never"
	}
	return strconv.Itoa(int(to.Sub(from).Seconds()))
}

func revealed(secrets map[string]providers.Secret) map[string]string {
	texts := map[string]string{}
	for name, value := range secrets {
		texts[name] = value.Reveal()
	}
	return texts
}

func (p *play) texts(section, name string, want, got map[string]string) {
	one, other := url.Values{}, url.Values{}
	for n, value := range want {
		one.Set(n, value)
	}
	for n, value := range got {
		other.Set(n, value)
	}
	for _, d := range comparePairs(name, one, other) {
		d = strings.ReplaceAll(d, "is not sent", "the definition does not have")
		d = strings.ReplaceAll(d, "is sent, and not in the fixture", "the fixture does not have")
		p.differ(section, "%s", strings.ReplaceAll(d, "sent is", "the definition makes it"))
	}
}
