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
	"strconv"
	"strings"
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
	inputs map[string]string // the connection's
	res    providers.Resolved
	scopes []string
	grant  *providers.Grant
	found  []string
}

func (f *Fixture) play(def *providers.Definition, first bool) []string {
	if !slices.Contains(def.Kinds, f.Kind) {
		return []string{fmt.Sprintf("kinds: the definition does not have %s", f.Kind)}
	}
	p := &play{f: f, def: def, at: &service{f: f, made: map[string]bool{}}}
	p.client = providers.NewClient(p.at, func() time.Time { return playedAt }, "runner")
	steps := []func() bool{p.set, p.resolve}
	switch {
	case f.Kind == providers.KindAuthorizationCode:
		steps = append(steps, p.consent, p.exchange, p.identify)
	case f.Kind == providers.KindClientCredentials:
		steps = append(steps, p.issue, p.identify)
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
		Issuer: g.Issuer, Endpoints: g.Endpoints, Keys: map[string]providers.Secret{},
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
	p.at.begin(nil, "token")
	g, err := p.client.Issue(context.Background(), p.app, p.f.Kind, p.res, p.scopes)
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

// key makes what a mount presents of a key.
func (p *play) key() bool {
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

// ask checks the credential, with an answer in the place of the usual one.
func (p *play) ask(instead *answered) (*providers.Checked, error) {
	answers := map[string]*answered{}
	if instead != nil {
		answers = map[string]*answered{"health": instead, "identity": instead}
	}
	p.at.begin(answers, "health", "identity")
	return p.client.Check(context.Background(), p.app, p.res, p.f.Kind, p.grant)
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
	knows := p.f.calls["health"] != nil || p.f.calls["identity"] != nil
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
	if f.Kind != providers.KindAuthorizationCode {
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
	err := p.client.Revoke(context.Background(), p.app, p.res, p.grant)
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
		got, code := "fine", ""
		if failure := (*providers.Error)(nil); errors.As(err, &failure) {
			got, code = string(failure.Class), failure.Code
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
		if p.f.Kind == providers.KindClientCredentials {
			_, err = p.client.Issue(ctx, p.app, p.f.Kind, p.res, p.scopes)
		} else {
			_, err = p.spend(p.callback())
		}
	case "refresh":
		p.at.begin(instead, "refresh")
		if p.f.Kind == providers.KindClientCredentials {
			p.at.begin(map[string]*answered{"token": answer}, "token")
		}
		_, err = p.client.Refresh(ctx, p.app, p.res, p.f.Kind, p.grant)
	case "revoke":
		p.at.begin(instead, "revoke", "revoke2")
		err = p.client.Revoke(ctx, p.app, p.res, p.grant)
	case "resources":
		p.at.begin(instead, "resources")
		_, err = p.client.ListSites(ctx, p.app, p.res, p.grant)
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
	if want == nil || p.grant == nil {
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
