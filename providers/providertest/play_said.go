package providertest

import (
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What a definition says beside its calls.

func (p *play) use() bool {
	want := p.f.use
	if want == nil {
		return true
	}
	merged, err := p.def.MergeInputs(p.f.Kind, p.app.Inputs, p.inputs)
	if err != nil {
		p.differ("use", "%s", err)
		return true
	}
	p.same("use", "address", want.base, p.app.APIBase(merged, p.grant))
	var git []string
	access, err := p.app.Git(merged)
	if err != nil {
		p.differ("use", "%s", err)
	}
	if access != nil {
		for _, host := range access.Hosts {
			git = append(git, access.Username+"@"+host)
		}
	}
	p.same("use", "git", strings.Join(want.git, " "), strings.Join(git, " "))
	if len(want.headers)+len(want.query) == 0 && want.path == "" {
		return true // signed by the application itself
	}
	shown, err := p.app.Present(merged, p.grant)
	if err != nil {
		p.differ("use", "%s", err)
		return true
	}
	p.texts("use", "header", want.headers, shown.Headers)
	p.texts("use", "query", want.query, shown.Query)
	p.same("use", "path", want.path, shown.Path)
	return true
}

func (p *play) terms() bool {
	want := p.f.terms
	if want == nil {
		return true
	}
	if want.RotateSecret != "" {
		p.length("rotate_secret", want.RotateSecret, p.def.Client.RotateAfter)
	}
	if want.RotateKey != "" && p.def.Key != nil {
		p.length("rotate_key", want.RotateKey, p.def.Key.RotateAfter)
	}
	if p.grant == nil {
		return true
	}
	truth := func(name string, want *bool, got bool) {
		if want != nil && *want != got {
			p.differ("terms", "%s: the fixture says %t, the definition %t", name, *want, got)
		}
	}
	truth("can_refresh", want.CanRefresh, p.app.CanRefresh(p.f.Kind, p.grant))
	truth("may_rotate", want.MayRotate, p.app.MayRotate(p.f.Kind))
	truth("accumulates", want.Adds, p.def.Scopes.Accumulates)
	said := p.def.Refresh
	truth("on_demand", want.OnDemand, said.OnDemand)
	p.length("idle", want.Idle, said.Idle)
	p.length("each", want.Each, said.Each)
	p.length("hard", want.Hard, said.Hard)
	p.length("min_age", want.MinAge, said.MinAge)
	reach := ""
	if p.def.Revoke != nil {
		reach = p.def.Revoke.Reach
	}
	if want.Reach != "" {
		p.same("terms", "reach", want.Reach, reach)
	}
	return true
}

func (p *play) length(name, want string, got providers.Duration) {
	wanted := providers.Duration{}
	err := wanted.UnmarshalYAML(func(into any) error { // an empty text means that none is documented
		*into.(*string) = want
		return nil
	})
	if err != nil || want != "" && wanted.String() == "" {
		p.differ("terms", "%s: %q is no length: write 90d", name, want)
		return
	}
	if wanted.D != got.D || wanted.Never != got.Never {
		p.differ("terms", "%s: the fixture says %q, the definition %q", name, want, got.String())
	}
}

// unmade finds the calls that are written down and were never made.
func (p *play) unmade() bool {
	for _, call := range callNames() {
		if p.f.calls[call] != nil && !p.at.made[call] {
			p.differ(call+".request", "the definition never makes this call")
		}
	}
	if p.f.login != nil && !p.server.made {
		p.differ("login", "the definition does not log in")
	}
	return true
}

// people compares what is told to people, as far as the fixture says anything.
func (p *play) people() bool {
	want := p.f.people
	if want == nil {
		return true
	}
	for _, fact := range []struct{ name, want, got string }{
		{"category", want.Category, p.def.Category},
		{"app_url", want.AppURL, p.def.Setup.AppURL},
		{"key_url", want.KeyURL, p.def.Setup.KeyURL},
		{"manage_url", want.ManageURL, p.def.Setup.ManageURL},
	} {
		if fact.want != "" {
			p.same("people", fact.name, fact.want, strings.ReplaceAll(fact.got, "{client_id}", p.f.given.Client.ID))
		}
	}
	if want.Companions != nil {
		said := map[string]string{}
		for _, c := range p.def.Companions {
			said[c.Name] = c.On
		}
		p.texts("people", "companions", want.Companions, said)
	}
	for _, scope := range want.ScopesAbout {
		if p.def.Scopes.About[scope] == "" {
			p.differ("people", "scopes_about: the definition says nothing about %q", scope)
		}
	}
	return true
}
