package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What becomes of a credential: checks, renewals, its end, and what fails.

// ask checks the credential, with an answer in the place of the usual one.
func (p *play) ask(instead *answered) (*providers.Checked, error) {
	answers := map[string]*answered{}
	if instead != nil {
		answers = map[string]*answered{"health": instead, "identity": instead}
	}
	p.at.begin(answers, "health", "identity")
	return p.checkLogin("")
}

// checkLogin is the check, of which a login is answered otherwise than written; empty: as written.
func (p *play) checkLogin(login string) (*providers.Checked, error) {
	p.server.begin(login)
	checked, err := p.client.Check(context.Background(), p.app, p.res, p.f.Kind, p.grant)
	if login == "" {
		for _, wrong := range p.server.wait() {
			p.differ("login", "%s", wrong)
		}
	} else {
		p.server.wait()
	}
	return checked, err
}

// learned compares what a check told. Of a key all that is known of it comes from there.
func (p *play) learned(checked *providers.Checked) {
	want := p.f.grant
	if want == nil {
		want = &granted{}
	}
	if p.f.grant != nil && (p.f.Kind.HasKey() || checked.Account.ID != "") {
		p.account(want, checked.Account)
	}
	if !p.f.Kind.HasKey() {
		return
	}
	if checked.Partly != nil {
		p.differ("health.response", "%s", told(checked.Partly))
	}
	captured := checked.Captured
	if captured == nil {
		captured = &providers.Captured{}
	}
	p.texts("grant", "connection_config", want.Config, captured.Config)
	p.texts("grant", "secret_config", want.Secret, revealed(captured.SecretConfig))
	p.grant = p.with(checked)
}

// with is the key as it is presented once a check told of it.
func (p *play) with(checked *providers.Checked) *providers.Grant {
	g := *p.grant
	g.Account = checked.Account
	if checked.Captured != nil {
		g.Config, g.SecretConfig = checked.Captured.Config, maps.Clone(g.SecretConfig)
		maps.Copy(g.SecretConfig, checked.Captured.SecretConfig)
	}
	return &g
}

func (p *play) check() bool {
	knows := p.f.calls["health"] != nil || p.f.calls["identity"] != nil || p.f.login != nil
	if !p.app.CanCheck(p.res, p.f.Kind) {
		if knows {
			p.differ("health.request", "the definition has no call that checks a credential")
		}
		p.learned(&providers.Checked{})
		return true
	}
	if !knows {
		p.differ("health.request", "the section is missing: the definition checks credentials")
		return true
	}
	checked, err := p.ask(nil)
	if err != nil {
		p.differ("health.response", "a credential that works is taken for bad: %s", told(err))
	} else {
		p.learned(checked)
		if p.f.checked != nil {
			p.scopesSame("checked", p.f.checked.Scopes, checked.Scopes)
		}
	}
	for _, row := range []struct {
		section string
		answer  *answered
		classes []providers.Class
	}{
		{"health.wrong", p.f.wrong, []providers.Class{providers.Expired, providers.Rejected}},
		{"health.forbidden", p.f.forbidden, []providers.Class{providers.Forbidden}},
	} {
		if row.answer == nil {
			continue
		}
		_, err := p.ask(row.answer)
		failure := (*providers.Error)(nil)
		switch {
		case err == nil:
			p.differ(row.section, "the credential is taken for good")
		case !errors.As(err, &failure), !slices.Contains(row.classes, failure.Class):
			p.differ(row.section, "%s, where %v is right", told(err), row.classes)
		}
	}
	return true
}

func (p *play) refresh() bool {
	f := p.f
	if !f.Kind.Consents() {
		return true
	}
	can := p.app.CanRefresh(f.Kind, p.grant)
	switch wants := f.calls["refresh"] != nil; {
	case can && !wants:
		p.differ("refresh.request", "the section is missing: the definition refreshes this grant")
		return true
	case !can && wants:
		p.differ("refresh.request", "the definition does not refresh this grant")
		return true
	case !can:
		return true
	case f.refreshed == nil:
		p.differ("refreshed", "the section is missing")
		return true
	}
	renewed := p.renew("refresh.response", p.grant, nil)
	if renewed == nil {
		return true
	}
	p.tokens("refreshed", f.refreshed, renewed)
	if f.refreshed.Scopes != nil {
		p.scopesSame("refreshed", f.refreshed.Scopes, renewed.Scopes)
	}
	p.texts("refreshed", "connection_config", p.grant.Config, renewed.Config)
	var pairs []string
	if before := p.grant.RefreshToken.Reveal(); before != "" {
		pairs = append(pairs, before, f.refreshed.Refresh)
	}
	pairs = append(pairs, p.grant.AccessToken.Reveal(), f.refreshed.Access)
	p.renew("refresh.request, for the second time", renewed, strings.NewReplacer(pairs...))
	return true
}

func (p *play) renew(section string, g *providers.Grant, words *strings.Replacer) *providers.Grant {
	p.at.begin(nil, "refresh")
	p.at.words = words
	renewed, err := p.client.Refresh(context.Background(), p.app, p.res, p.f.Kind, g)
	if err != nil {
		p.differ(section, "%s", told(err))
		return nil
	}
	p.dated(section, renewed)
	return renewed
}

func (p *play) revoke() bool {
	if p.f.Kind.HasKey() {
		return true
	}
	p.at.begin(nil, "revoke", "revoke2")
	p.at.once = true
	err := p.client.Revoke(context.Background(), p.app, p.res, p.f.Kind, p.grant)
	failure := (*providers.Error)(nil)
	none := errors.As(err, &failure) && failure.Reason == providers.ReasonNoRevocationEndpoint
	switch wants := p.f.calls["revoke"] != nil; {
	case none && wants:
		p.differ("revoke.request", "the definition knows no way to revoke")
	case none, err == nil:
	default:
		p.differ("revoke.response", "%s", told(err))
	}
	return true
}

// fail holds each error answer against its class.
func (p *play) fail() bool {
	for i, row := range p.f.failures {
		answer := newAnswer(row.Status, row.Headers, row.Body)
		section := fmt.Sprintf("failures[%d] (%s %d %s)", i, row.Step, row.Status, row.Body)
		err, done := p.failAt(row.Step, answer)
		if !done {
			p.differ(section, "the definition makes no such call")
			continue
		}
		got, code, reason := "fine", "", ""
		if failure := (*providers.Error)(nil); errors.As(err, &failure) {
			got, code, reason = string(failure.Class), failure.Code, failure.Reason
		} else if err != nil {
			got = err.Error()
		}
		if row.Class == "expired" && p.f.Kind.HasKey() && got == "rejected" {
			continue // nothing renews a key, so that one which is not accepted is dead
		}
		if got != row.Class {
			p.differ(section, "the fixture says %s, the definition %s", row.Class, got)
		}
		if row.Code != "" {
			p.same(section, "code", row.Code, code)
		}
		if row.Reason != "" {
			p.same(section, "reason", row.Reason, reason)
		}
	}
	return true
}

// failAt makes the calls of a step, of which that one is answered with an error.
func (p *play) failAt(step string, answer *answered) (err error, made bool) {
	ctx := context.Background()
	instead := map[string]*answered{step: answer}
	switch step {
	case "token", "upgrade":
		p.at.begin(instead, "jwks", "token", "upgrade")
		switch {
		case p.f.Kind.Issued():
			_, err = p.asksFor(ctx)
		case p.f.Kind == providers.KindDeviceCode:
			_, err = p.pollOnce()
		default:
			_, err = p.spend(p.callback())
		}
	case "device":
		p.at.begin(instead, "device")
		_, err = p.client.AskDevice(ctx, p.app, p.res, p.scopes)
	case "refresh":
		p.at.begin(instead, "refresh")
		if p.f.Kind.Issued() {
			p.at.begin(map[string]*answered{"token": answer}, "token", "upgrade")
		}
		_, err = p.client.Refresh(ctx, p.app, p.res, p.f.Kind, p.grant)
	case "revoke":
		p.at.begin(instead, "revoke", "revoke2")
		err = p.client.Revoke(ctx, p.app, p.res, p.f.Kind, p.grant)
	case "reaches":
		p.at.begin(instead, "reaches")
		_, _, err = p.client.Reached(ctx, p.app)
	case "resources":
		p.at.begin(instead, "resources")
		_, err = p.client.ListSites(ctx, p.app, p.res, p.grant)
	case "login":
		p.server.made = false
		_, err = p.checkLogin(fmt.Sprintf("%d %s", answer.status, answer.body))
		return err, p.server.made
	case "identity":
		if p.def.Identity == nil || p.grant.AccessToken.IsZero() {
			_, err = p.ask(answer)
			break
		}
		copied := *p.grant
		p.at.begin(instead, "resources", "identity", "health")
		err = p.client.Identify(ctx, p.app, p.res, p.f.Kind, &copied)
	default: // health, api, key
		_, err = p.ask(answer)
	}
	return err, len(p.at.now) > 0
}
