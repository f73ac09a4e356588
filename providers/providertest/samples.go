package providertest

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// take holds sample values against what the definition accepts.
func (p *play) take() bool {
	for _, side := range []struct {
		section string
		all     samples
		accept  bool
	}{{"accept", p.f.accept, true}, {"refuse", p.f.refuse, false}} {
		judge := func(name, value, wrong string) {
			switch {
			case side.accept && wrong != "":
				p.differ(side.section, "%s: %q is refused: %s", name, value, wrong)
			case !side.accept && wrong == "":
				p.differ(side.section, "%s: %q is accepted", name, value)
			}
		}
		for _, name := range side.all.Without {
			judge("without", name, p.takesInputs(name, "", false))
		}
		for _, sort := range []struct {
			name    string
			samples map[string][]string
			takes   func(name, value string) (wrong string)
		}{
			{"inputs", side.all.Inputs, p.takesInput},
			{"key", side.all.Key, p.takesField},
			{"companions", side.all.Companions, p.takesCompanion},
			{"callback", side.all.Callback, p.takesCallback},
		} {
			for _, name := range slices.Sorted(maps.Keys(sort.samples)) {
				for _, value := range sort.samples[name] {
					judge(sort.name+"."+name, value, sort.takes(name, value))
				}
			}
		}
	}
	return true
}

// takesInput says why a value is refused; nothing where it is taken. One of which only a part is used, such as the host
// of a URL that was pasted, is not taken as it stands.
func (p *play) takesInput(name, value string) string { return p.takesInputs(name, value, true) }

// takesInputs tries the given inputs with another value of one, or with none.
func (p *play) takesInputs(name, value string, set bool) string {
	inputs := maps.Clone(p.f.given.Inputs)
	if inputs == nil {
		inputs = map[string]string{}
	}
	if inputs[name] = value; !set {
		delete(inputs, name)
	}
	provider, connection := p.sides(inputs)
	if _, given := p.f.given.Provider[name]; given {
		provider[name] = value
	}
	if _, given := p.f.given.Connection[name]; given {
		delete(provider, name)
		connection[name] = value
	}
	app := *p.app
	var err error
	if app.Inputs, err = p.def.CheckInputs(providers.SetByProvider, "", provider); err != nil {
		return err.Error()
	}
	if connection, err = p.def.CheckInputs(providers.SetByConnection, p.f.Kind, connection); err != nil {
		return err.Error()
	}
	p.at.begin(nil, "discovery")
	res, err := p.client.Resolve(context.Background(), &app, p.f.Kind, connection)
	if err == nil {
		err = p.def.TakesInputs(p.f.Kind, res.Inputs)
	}
	if err != nil {
		return err.Error()
	}
	if used := res.Inputs[name]; strings.Contains(value, "/") && !strings.Contains(used, "/") {
		return "only " + used + " is used of it"
	}
	return ""
}

func (p *play) takesField(name, value string) string {
	key := maps.Clone(p.f.given.Key)
	if key == nil {
		key = map[string]string{}
	}
	key[name] = value
	provider, connection := p.keySides(key)
	for i, values := range []map[string]string{provider, connection} {
		warnings, err := p.def.CheckKey([]string{providers.SetByProvider, providers.SetByConnection}[i], values)
		switch {
		case err != nil:
			return err.Error()
		case len(warnings) > 0:
			return warnings[0]
		}
	}
	return ""
}

func (p *play) takesCompanion(name, value string) string {
	i := slices.IndexFunc(p.def.Companions, func(c providers.Companion) bool { return c.Name == name })
	if i < 0 {
		return "the definition has no such companion"
	}
	if err := p.def.CheckCompanion(p.def.Companions[i].On, name, value); err != nil {
		return err.Error()
	}
	return ""
}

// takesCallback tries a value in the place of what the browser brought: by the name that it has there, or that it gets
// in connection_config.
func (p *play) takesCallback(name, value string) string {
	parameter := name
	for _, c := range p.def.Connection {
		sources := append([]providers.CaptureSource{{From: c.From, Path: c.Path}}, c.AnyOf...)
		for _, s := range sources {
			if c.Name == name && s.From == "callback" && len(s.Path) > 0 {
				parameter = s.Path[0]
			}
		}
	}
	brought := maps.Clone(p.f.callback)
	if brought == nil {
		brought = url.Values{}
	}
	brought.Set(parameter, value)
	all := signed(brought, p.f.given.Client.Secret)
	if missing := p.def.MissingOfCallback(all); len(missing) > 0 {
		return strings.Join(missing, ", ") + " is missing"
	}
	p.at.begin(nil, "jwks", "token", "upgrade")
	g, err := p.spend(all)
	switch {
	case err != nil:
		return told(err)
	case name != parameter && g.Config[name] != value && g.SecretConfig[name].Reveal() != value:
		return "connection_config does not have it"
	}
	return ""
}
