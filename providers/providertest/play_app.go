package providertest

import (
	"context"
	"fmt"
	"net/url"
	"reflect"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What is done for an app before it gets tokens of its own.

// install compares the address at which somebody lets the app act.
func (p *play) install() bool {
	switch installs := p.def.Installs(p.f.Kind); {
	case installs && p.f.install == nil:
		p.differ("install", "the section is missing: the definition has a consent without a code")
		return true
	case !installs && p.f.install != nil:
		p.differ("install", "the definition has no consent without a code")
		return true
	case !installs:
		return true
	}
	address, err := providers.InstallURL(p.app, providers.AuthCodeURLRequest{
		Resolved: p.res, State: fixtureState, RedirectURI: p.f.given.Redirect, Scopes: p.app.ScopesOfTheApp(),
	})
	if err != nil {
		p.differ("install", "%s", err)
		return true
	}
	u, err := url.Parse(address)
	if err != nil {
		p.differ("install", "%q is no URL", address)
		return true
	}
	p.same("install", "address", p.f.install.address, addressOf(u))
	for _, d := range comparePairs("parameter", p.f.install.query, u.Query()) {
		p.differ("install", "%s", d)
	}
	return true
}

// reach compares the list of where the app was let in.
func (p *play) reach() bool {
	switch asks := p.f.calls["reaches"] != nil; {
	case p.def.Reaches != nil && !asks:
		p.differ("reaches.request", "the section is missing: the definition asks where the app was let in")
		return true
	case p.def.Reaches == nil && asks:
		p.differ("reaches.request", "the definition does not ask where the app was let in")
		return true
	case !asks:
		return true
	}
	p.at.begin(nil, "reaches")
	found, _, err := p.client.Reached(context.Background(), p.app)
	if err != nil {
		p.differ("reaches.response", "%s", told(err))
		return true
	}
	if !reflect.DeepEqual(p.f.reached, found) {
		p.differ("reached", "the fixture has %s, the definition finds %s", fmt.Sprint(p.f.reached), fmt.Sprint(found))
	}
	return true
}
