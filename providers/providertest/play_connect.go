package providertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// How a credential comes to be: a consent, an app's own token, or a key.

func (p *play) consent() bool {
	f := p.f
	p.scopes = p.app.RequestScopes(f.given.Scopes, p.res.Scopes)
	address, err := providers.AuthCodeURL(p.app, p.authCodeRequest())
	if err != nil {
		p.differ("authorize", "%s", err)
		return false
	}
	if f.authorize == nil {
		p.differ("authorize", "the section is missing")
		return false
	}
	u, err := url.Parse(address)
	if err != nil {
		p.differ("authorize", "%q is no URL", address)
		return false
	}
	p.same("authorize", "URL", f.authorize.address, addressOf(u))
	for _, d := range comparePairs("parameter", f.authorize.query, u.Query()) {
		p.differ("authorize", "%s", d)
	}
	return true
}

func (p *play) callback() map[string]string {
	if p.f.callback == nil {
		p.differ("callback", "the section is missing")
	}
	return signed(p.f.callback, p.f.given.Client.Secret)
}

// spend exchanges what the browser brought.
func (p *play) spend(brought map[string]string) (*providers.Grant, error) {
	return p.client.Exchange(context.Background(), p.app, providers.ExchangeRequest{
		Resolved: p.res, Code: providers.NewSecret(brought[cmp.Or(p.def.Callback.Code, "code")]),
		Verifier: providers.NewSecret(fixtureVerifier), Nonce: fixtureNonce, RedirectURI: p.f.given.Redirect,
		Scopes: p.scopes, Callback: brought,
	})
}

func (p *play) exchange() bool {
	brought := p.callback()
	if state := cmp.Or(p.def.Callback.State, "state"); brought[state] != fixtureState {
		p.differ("callback", "the definition reads the state from %q, and it is not there", state)
	}
	if missing := p.def.MissingOfCallback(brought); len(missing) > 0 {
		p.differ("callback", "the definition needs %s beside it", strings.Join(missing, ", "))
		return false
	}
	p.at.begin(nil, "jwks", "token", "upgrade")
	g, err := p.spend(brought)
	return p.got("token.response", g, err) && p.dated("token.response", g)
}

func (p *play) issue() bool {
	p.app.Scopes = p.f.given.Scopes
	p.scopes = p.app.ScopesOfTheApp()
	if len(p.f.given.Key) > 0 && !p.keyTaken() {
		return false
	}
	p.at.begin(nil, "token", "upgrade")
	g, err := p.asksFor(context.Background())
	if p.def.Token.ByKind[p.f.Kind].Scopes != nil { // they are asked for in the place of those
		p.scopes = nil
	}
	return p.got("token.response", g, err) && p.dated("token.response", g)
}

// dated asks until when a token lives, where its answer did not tell.
func (p *play) dated(section string, g *providers.Grant) bool {
	p.at.begin(nil, "introspect")
	if err := p.client.Introspect(context.Background(), p.app, p.res, g); err != nil {
		p.differ(section, "%s", told(err))
	}
	return true
}

func (p *play) got(section string, g *providers.Grant, err error) bool {
	if err != nil {
		p.differ(section, "%s", told(err))
		return false
	}
	p.grant = g
	return true
}

// told is an error with its class.
func told(err error) string {
	if failure := (*providers.Error)(nil); errors.As(err, &failure) {
		return fmt.Sprintf("%s (class %s)", failure, failure.Class)
	}
	return err.Error()
}

// keyTaken shows the key to the definition.
func (p *play) keyTaken() bool {
	ofProvider, ofConnection := p.keySides(p.f.given.Key)
	for i, values := range []map[string]string{ofProvider, ofConnection} {
		warnings, err := p.def.CheckKey([]string{providers.SetByProvider, providers.SetByConnection}[i], values)
		if err != nil {
			p.differ("given", "key: %s", err)
			return false
		}
		for _, warning := range warnings {
			p.differ("given", "key: %s", warning)
		}
	}
	if _, err := p.def.CheckKey(providers.SetByConnection, nil); err == nil && len(ofConnection) > 0 {
		p.differ("given", "key: the definition takes a key without any field")
	}
	masked := false
	for name := range p.f.given.Key {
		masked = masked || p.def.IsSecretField(name)
		if slices.Contains(p.f.given.Secrets, name) && !p.def.IsSecretField(name) {
			p.differ("given", "secrets: %q is none for the definition", name)
		}
	}
	if !masked {
		p.differ("given", "key: none of its fields is a secret for the definition")
	}
	return true
}

// key makes what a mount presents of a key.
func (p *play) key() bool {
	if !p.keyTaken() {
		return false
	}
	_, ofConnection := p.keySides(p.f.given.Key)
	p.grant = &providers.Grant{SecretConfig: map[string]providers.Secret{}}
	for _, values := range []map[string]string{ofConnection, p.def.DeriveKey(ofConnection)} {
		for name, value := range values {
			p.grant.SecretConfig[name] = providers.NewSecret(value)
		}
	}
	return true
}

func (p *play) identify() bool {
	if !p.app.Identifies(p.f.Kind) {
		return true
	}
	p.at.begin(nil, "resources", "identity", "health")
	if err := p.client.Identify(context.Background(), p.app, p.res, p.f.Kind, p.grant); err != nil {
		p.differ("identity.response", "%s", told(err))
	}
	return true
}

// pick works with one of the sites that were found, as a person would.
func (p *play) pick() bool {
	g := p.f.given
	switch sites := p.grant.Sites; {
	case p.f.choices != nil && sites == nil:
		p.differ("choices", "the definition finds none")
	case p.f.choices != nil:
		var got []providers.Choice
		for _, c := range sites.Choices {
			got = append(got, providers.Choice{ID: c.ID, Name: c.Name})
		}
		if !reflect.DeepEqual(p.f.choices, got) {
			p.differ("choices", "the fixture has %+v, the definition finds %+v", p.f.choices, got)
		}
	}
	if g.Pick == "" {
		return true
	}
	choice, found := p.grant.Sites.Find(g.Pick)
	if !found {
		p.differ("given", "pick: %q is not among what the definition finds", g.Pick)
		return false
	}
	p.inputs[p.def.Picks()] = g.Pick
	checked, err := p.def.CheckInputs(providers.SetByConnection, p.f.Kind, p.inputs)
	if err != nil {
		p.differ("given", "pick: %s", err)
		return false
	}
	p.inputs = checked
	if p.grant.Config == nil {
		p.grant.Config = map[string]string{}
	}
	maps.Copy(p.grant.Config, choice.Config)
	return p.resolve()
}
