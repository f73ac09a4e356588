package providertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// playedAt is the time of every play. Fixtures whose tokens tell times count from there.
var playedAt = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// Play does with a definition what a mount would do, against a service that knows nothing but the fixture. What
// differs comes back, a line each: the section, and what is written there and what was done.
func (f *Fixture) Play(def *providers.Definition) []string { return f.play(def, false) }

// Differs reports whether Play would find anything. It stops at the first.
func (f *Fixture) Differs(def *providers.Definition) bool { return len(f.play(def, true)) > 0 }

// play is one go through all that a fixture tells.
type play struct {
	f      *Fixture
	def    *providers.Definition
	app    *providers.App
	client *providers.Client
	at     *service
	server *server           // for what is no HTTP
	inputs map[string]string // the connection's
	res    providers.Resolved
	scopes []string
	code   providers.Secret // of a device flow
	whole  string           // its verification_uri_complete
	grant  *providers.Grant
	found  []string
}

func (f *Fixture) play(def *providers.Definition, first bool) []string {
	if !slices.Contains(def.Kinds, f.Kind) {
		return []string{fmt.Sprintf("kinds: the definition does not have %s", f.Kind)}
	}
	p := &play{
		f: f, def: def, at: &service{f: f, made: map[string]bool{}, nonces: map[string]bool{}},
		server: &server{dialog: f.login},
	}
	p.client = providers.NewClient(p.at, func() time.Time { return playedAt }, "runner")
	if f.login != nil {
		p.client.Dials(p.server)
	}
	steps := []func() bool{p.set, p.resolve}
	switch {
	case f.Kind == providers.KindAuthorizationCode:
		steps = append(steps, p.consent, p.exchange, p.identify)
	case f.Kind.Issued():
		steps = append(steps, p.install, p.reach, p.issue, p.identify)
	case f.Kind == providers.KindDeviceCode:
		steps = append(steps, p.askDevice, p.poll, p.identify)
	default:
		steps = append(steps, p.key)
	}
	steps = append(steps, p.pick, p.granted, p.check, p.refresh, p.revoke, p.fail, p.otherwise, p.use, p.terms, p.take,
		p.unmade, p.people)
	for _, step := range steps {
		goOn := step()
		for _, wrong := range p.at.wrong {
			if !slices.Contains(p.found, wrong) { // a call that fails is made several times
				p.found = append(p.found, wrong)
			}
		}
		p.at.wrong = nil
		if !goOn || first && len(p.found) > 0 {
			break
		}
	}
	return p.found
}

func (p *play) differ(section, format string, args ...any) {
	p.found = append(p.found, section+": "+fmt.Sprintf(format, args...))
}

// same compares two texts.
func (p *play) same(section, name, want, got string) {
	if want != got {
		p.differ(section, "%s: the fixture has %q, the definition makes it %q", name, want, got)
	}
}

// sides deals out what a fixture sets to those who may set it.
func (p *play) sides(inputs map[string]string) (provider, connection map[string]string) {
	provider, connection = maps.Clone(p.f.given.Provider), map[string]string{}
	if provider == nil {
		provider = map[string]string{}
	}
	for name, value := range inputs {
		i := slices.IndexFunc(p.def.Inputs, func(in providers.Input) bool { return in.Name == name })
		if i >= 0 && p.def.Inputs[i].SetBy == providers.SetByProvider {
			provider[name] = value
		} else {
			connection[name] = value
		}
	}
	maps.Copy(connection, p.f.given.Connection)
	return provider, connection
}

func (p *play) keySides(key map[string]string) (provider, connection map[string]string) {
	provider, connection = map[string]string{}, map[string]string{}
	for name, value := range key {
		if field, ok := p.def.KeyField(name); ok && field.SetBy == providers.SetByProvider {
			provider[name] = value
		} else {
			connection[name] = value
		}
	}
	return provider, connection
}

// set configures the app and the connection.
func (p *play) set() bool {
	g := p.f.given
	provider, connection := p.sides(g.Inputs)
	checked, err := p.def.CheckInputs(providers.SetByProvider, "", provider)
	if err != nil {
		p.differ("given", "inputs of the provider: %s", err)
		return false
	}
	if p.inputs, err = p.def.CheckInputs(providers.SetByConnection, p.f.Kind, connection); err != nil {
		p.differ("given", "inputs of the connection: %s", err)
		return false
	}
	p.app = &providers.App{
		Definition: p.def, ClientID: g.Client.ID, ClientSecret: providers.NewSecret(g.Client.Secret), Inputs: checked,
		Issuer: g.Issuer, Endpoints: g.Endpoints, Keys: map[string]providers.Secret{}, ClientAuth: g.ClientAuth,
	}
	keys, _ := p.keySides(g.Key)
	for name, value := range keys {
		p.app.Keys[name] = providers.NewSecret(value)
	}
	return true
}

func (p *play) resolve() bool {
	p.at.begin(nil, "discovery")
	res, err := p.client.Resolve(context.Background(), p.app, p.f.Kind, p.inputs)
	if err == nil {
		err = p.def.TakesInputs(p.f.Kind, res.Inputs)
	}
	if err != nil {
		p.differ("given", "%s", err)
		return false
	}
	p.res = res
	return true
}
