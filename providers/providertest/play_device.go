package providertest

import (
	"context"
	"strconv"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// device is what a service tells when a device flow starts.
type device struct {
	Code     string `yaml:"device_code"`
	UserCode string `yaml:"user_code"`
	URI      string `yaml:"verification_uri"`
	WholeURI string `yaml:"verification_uri_complete"`
	Expires  string `yaml:"expires_in"`
	Interval string `yaml:"interval"`
}

func (p *play) askDevice() bool {
	p.scopes = p.app.RequestScopes(p.f.given.Scopes, p.res.Scopes)
	if p.f.device == nil {
		p.differ("device", "the section is missing")
		return false
	}
	if err := p.started(p.f.device); err != nil {
		p.differ("device.response", "%s", told(err))
		return false
	}
	p.same("device", "verification_uri_complete", p.f.device.WholeURI, p.whole)
	return true
}

// started starts a device flow and compares what is written of its answer.
func (p *play) started(want *device) error {
	p.at.begin(nil, "device")
	d, err := p.client.AskDevice(context.Background(), p.app, p.res, p.scopes)
	if err != nil {
		return err
	}
	p.code, p.whole = d.Code, d.WholeURI
	if want == nil {
		return nil
	}
	for _, fact := range []struct{ name, want, got string }{
		{"device_code", want.Code, d.Code.Reveal()},
		{"user_code", want.UserCode, d.UserCode},
		{"verification_uri", want.URI, d.URI},
		{"expires_in", want.Expires, strconv.Itoa(int(d.Life.Seconds()))},
		{"interval", want.Interval, strconv.Itoa(int(d.Interval.Seconds()))},
	} {
		if fact.want != "" {
			p.same("device", fact.name, fact.want, fact.got)
		}
	}
	return nil
}

// pollOnce polls once, and makes a grant of what that brings.
func (p *play) pollOnce() (*providers.Grant, error) {
	ctx := context.Background()
	polled, err := p.client.PollDevice(ctx, p.app, p.res, p.code, p.scopes)
	if err != nil {
		return nil, err
	}
	return p.client.Redeem(ctx, p.app, p.res, p.scopes, polled)
}

func (p *play) poll() bool {
	p.at.begin(nil, "jwks", "token", "upgrade")
	g, err := p.pollOnce()
	return p.got("token.response", g, err) && p.dated("token.response", g)
}
