package providertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// variation is what the documentation tells beside the usual course: other inputs, other scopes, or an answer that
// holds something else. Of what comes of it only that is compared which is written here.
type variation struct {
	Inputs  map[string]string `yaml:"inputs"`  // in the place of those given; '' leaves one out
	Scopes  []string          `yaml:"scopes"`  // asked for
	Answer  string            `yaml:"answer"`  // whose answer differs: token, identity, refresh, device; or id_token
	With    map[string]any    `yaml:"with"`    // what stands there: a path and its value
	Without []string          `yaml:"without"` // paths at which nothing stands there

	Imported  bool              `yaml:"imported"`  // the tokens come from elsewhere, without a consent here
	Authorize map[string]string `yaml:"authorize"` // parameters of the URL; '' is for one that is not sent
	Base      string            `yaml:"base"`      // what use begins with
	Device    *device           `yaml:"device"`
	Grant     *granted          `yaml:"grant"`
	Fails     bool              `yaml:"fails"` // the inputs, or what the answer gives, are not taken
}

// otherwise plays each variation.
func (p *play) otherwise() bool {
	for i, row := range p.f.otherwise {
		section := fmt.Sprintf("otherwise[%d]", i)
		q, err := p.vary(row)
		if err != nil {
			p.differ(section, "%s", err)
			continue
		}
		switch set := q.set() && q.resolve(); {
		case set:
			q.differently(row)
		case row.Fails && row.Answer == "":
			continue
		}
		for _, found := range slices.Concat(q.found, q.at.wrong) {
			p.differ(section, "%s", found)
		}
	}
	return true
}

// vary is a play of the same fixture with what a row has in its place.
func (p *play) vary(row variation) (*play, error) {
	f := *p.f
	f.given.Inputs = maps.Clone(f.given.Inputs)
	if f.given.Inputs == nil {
		f.given.Inputs = map[string]string{}
	}
	maps.Copy(f.given.Inputs, row.Inputs)
	maps.DeleteFunc(f.given.Inputs, func(_, value string) bool { return value == "" })
	if row.Scopes != nil {
		f.given.Scopes = row.Scopes
	}
	switch row.Answer {
	case "":
	case "id_token":
		x, err := f.otherClaims(row.With, row.Without)
		if err != nil {
			return nil, err
		}
		f.calls = maps.Clone(f.calls)
		f.calls["token"] = x
	default:
		x := f.calls[row.Answer]
		if x == nil {
			return nil, fmt.Errorf("answer: the fixture has no call %q", row.Answer)
		}
		changed, err := x.response.changed(row.With, row.Without)
		if err != nil {
			return nil, err
		}
		f.calls = maps.Clone(f.calls)
		f.calls[row.Answer] = &exchange{x.request, changed}
	}
	q := &play{
		f: &f, def: p.def, at: &service{f: &f, made: map[string]bool{}, nonces: map[string]bool{}},
		server: &server{dialog: f.login}, scopes: p.scopes, grant: p.grant,
		code: p.code,
	}
	q.client = providers.NewClient(q.at, func() time.Time { return playedAt }, "runner")
	return q, nil
}

func (p *play) differently(row variation) {
	if p.f.Kind.Consents() {
		p.scopes = p.app.RequestScopes(p.f.given.Scopes, p.res.Scopes)
	}
	if row.Authorize != nil {
		p.asked(row.Authorize)
	}
	if row.Answer == "" && row.Fails {
		p.differ("inputs", "they are taken")
	}
	if row.Answer != "" || row.Imported {
		err := p.again(row)
		switch {
		case err == nil && row.Fails:
			p.differ(cmp.Or(row.Answer, "identity")+".response", "it is taken")
		case err != nil && !row.Fails:
			p.differ(cmp.Or(row.Answer, "identity")+".response", "%s", told(err))
		}
		if err != nil {
			return
		}
	}
	if row.Base != "" {
		merged, err := p.def.MergeInputs(p.f.Kind, p.app.Inputs, p.inputs)
		if err != nil {
			p.differ("base", "%s", err)
			return
		}
		p.same("base", "address", row.Base, p.app.APIBase(merged, p.grant))
	}
	if row.Grant != nil {
		p.partly(row.Grant)
	}
}

func (p *play) asked(want map[string]string) {
	address, err := providers.AuthCodeURL(p.app, p.authCodeRequest())
	if err != nil {
		p.differ("authorize", "%s", err)
		return
	}
	u, err := url.Parse(address)
	if err != nil {
		p.differ("authorize", "%q is no URL", address)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		p.same("authorize", name, want[name], u.Query().Get(name))
	}
}

// again makes the calls that lead to an answer, and those that follow from it.
func (p *play) again(row variation) (err error) {
	ctx := context.Background()
	switch {
	case row.Imported:
		g := p.grant
		p.grant = &providers.Grant{
			AccessToken: g.AccessToken, RefreshToken: g.RefreshToken, Issued: g.Issued, Expires: g.Expires,
		}
	case row.Answer == "refresh":
		p.at.begin(nil, "refresh")
		p.grant, err = p.client.Refresh(ctx, p.app, p.res, p.f.Kind, p.grant)
		return err
	case p.f.Kind.HasKey():
		checked, err := p.ask(nil)
		if err == nil {
			p.grant = p.with(checked)
		}
		return err
	case p.f.Kind.Issued():
		p.at.begin(nil, "token", "upgrade")
		p.grant, err = p.asksFor(ctx)
	case p.f.Kind == providers.KindDeviceCode:
		if err = p.started(row.Device); err != nil || row.Answer == "device" {
			return err
		}
		p.at.begin(nil, "jwks", "token", "upgrade")
		p.grant, err = p.pollOnce()
	default:
		p.at.begin(nil, "jwks", "token", "upgrade")
		p.grant, err = p.spend(p.callback())
	}
	if err != nil || row.Answer == "token" || !p.app.Identifies(p.f.Kind) {
		return err
	}
	p.at.begin(nil, "resources", "identity", "health")
	return p.client.Identify(ctx, p.app, p.res, p.f.Kind, p.grant)
}

// partly compares a grant with what is written of it.
func (p *play) partly(want *granted) {
	g := p.grant
	for _, fact := range []struct{ name, want, got string }{
		{"access_token", want.Access, g.AccessToken.Reveal()},
		{"refresh_token", want.Refresh, g.RefreshToken.Reveal()},
		{"expires_in", want.Expires, seconds(g.Issued, g.Expires)},
		{"refresh_expires_in", want.RefreshExpires, seconds(g.Issued, g.RefreshExpires)},
		{"hard_expires_in", want.HardExpires, seconds(g.Issued, g.HardLimit)},
		{"account.id", want.Account.ID, g.Account.ID},
		{"account.label", want.Account.Label, g.Account.Label},
		{"account.email", want.Account.Email, g.Account.Email},
	} {
		if fact.want != "" {
			p.same("grant", fact.name, fact.want, fact.got)
		}
	}
	if want.Scopes != nil {
		p.scopesSame("grant", want.Scopes, g.Scopes)
	}
	for name, value := range want.Config {
		p.same("grant", "connection_config."+name, value, g.Config[name])
	}
	for name, value := range want.Secret {
		p.same("grant", "secret_config."+name, value, g.SecretConfig[name].Reveal())
	}
}

// changed is an answer in JSON with something else in it.
func (a *answered) changed(with map[string]any, without []string) (*answered, error) {
	var doc any
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		return nil, fmt.Errorf("answer: it is no JSON, so nothing can stand elsewhere in it: %w", err)
	}
	for _, path := range without {
		if !put(doc, path, nil) {
			return nil, fmt.Errorf("without: the answer has no %s", path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(with)) {
		if !put(doc, path, with[path]) {
			return nil, fmt.Errorf("with: the answer has no place for %s", path)
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("with: %w", err)
	}
	return &answered{a.status, a.header, string(body)}, nil
}

// put sets the member at a path such as a.b or data[0].c; nil takes it away.
func put(doc any, path string, value any) bool {
	steps := strings.Split(strings.ReplaceAll(strings.ReplaceAll(path, "[", ".["), "]", ""), ".")
	steps = slices.DeleteFunc(steps, func(step string) bool { return step == "" })
	for i, step := range steps {
		if digits, index := strings.CutPrefix(step, "["); index {
			list, _ := doc.([]any)
			n, err := strconv.Atoi(digits)
			if err != nil || n >= len(list) {
				return false
			}
			doc = list[n]
			continue
		}
		object, is := doc.(map[string]any)
		switch _, there := object[step]; {
		case !is, value == nil && !there:
			return false
		case i < len(steps)-1:
			doc = object[step]
			continue
		case value == nil:
			delete(object, step)
		default:
			object[step] = value
		}
		return true
	}
	return false
}

// authCodeRequest is what the consent is asked for with.
func (p *play) authCodeRequest() providers.AuthCodeURLRequest {
	return providers.AuthCodeURLRequest{
		Resolved: p.res, State: fixtureState, Nonce: fixtureNonce, Verifier: providers.NewSecret(fixtureVerifier),
		RedirectURI: p.f.given.Redirect, Scopes: p.scopes, LoginHint: p.f.given.LoginHint,
		Optional: p.app.RequestOptional(&p.f.given.Optional, p.scopes),
		FormPost: p.f.given.FormPost,
	}
}
