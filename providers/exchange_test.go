package providers_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func openID(server *providertest.Server) *providers.App {
	app := server.App()
	app.Definition.Discovery = &providers.Discovery{Issuer: providers.Template(server.URL)}
	return app
}

func TestExchangeVerifiesIDToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(claims map[string]any)
		reason string
	}{
		{name: "good", change: func(map[string]any) {}},
		{name: "several audiences and us as the party", change: func(c map[string]any) {
			c["aud"], c["azp"] = []string{"other", providertest.ClientID}, providertest.ClientID
		}},
		{name: "wrong nonce", change: func(c map[string]any) {
			c["nonce"] = "of another flow"
		}, reason: providers.ReasonNonceMismatch},
		{name: "no nonce", change: func(c map[string]any) { delete(c, "nonce") }, reason: providers.ReasonNonceMismatch},
		{name: "wrong audience", change: func(c map[string]any) {
			c["aud"] = "other"
		}, reason: providers.ReasonIDTokenRefused},
		{name: "another party", change: func(c map[string]any) {
			c["azp"] = "other"
		}, reason: providers.ReasonIDTokenRefused},
		{name: "wrong issuer", change: func(c map[string]any) {
			c["iss"] = "https://evil.test"
		}, reason: providers.ReasonIDTokenRefused},
		{name: "expired", change: func(c map[string]any) { c["exp"] = 1 }, reason: providers.ReasonIDTokenRefused},
		{name: "for another access token", change: func(c map[string]any) {
			c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
		}, reason: providers.ReasonIDTokenRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t, providertest.WithIDTokenClaims(test.change))
			app := openID(server)
			app.Definition.Account = providers.AccountSpec{ID: []string{"id_token:sub"}}
			f := begin(t, server, newClient(t, time.Now), app, "openid")
			g, err := f.client.Exchange(t.Context(), app, f.finish)
			if test.reason == "" {
				require.NoError(t, err)
				assert.Equal(t, providertest.AccountID, g.Account.ID)
				return
			}
			assert.Equal(t, test.reason, failure(t, err).Reason)
		})
	}
}

func TestExchangeRefusesForeignSignature(t *testing.T) {
	server, other := providertest.New(t), providertest.New(t)
	app := openID(server)
	f := begin(t, server, newClient(t, time.Now), app, "openid")
	f.finish.Resolved.JWKS = other.URL + "/jwks"
	_, err := f.client.Exchange(t.Context(), app, f.finish)
	assert.Equal(t, providers.ReasonIDTokenRefused, failure(t, err).Reason)
}

func TestExchangeNeedsIDToken(t *testing.T) {
	server := providertest.New(t)
	f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"tok"}`))
	_, err := f.client.Exchange(t.Context(), f.app, f.finish)
	assert.Equal(t, providers.ReasonIDTokenMissing, failure(t, err).Reason)
}

func TestExchangeKeepsCodeWhenKeysCannotBeFetched(t *testing.T) {
	server := providertest.New(t)
	f := begin(t, server, newClient(t, time.Now), openID(server), "openid")
	server.Next("jwks", providertest.Respond(503, ""))
	_, err := f.client.Exchange(t.Context(), f.app, f.finish)
	e := failure(t, err)
	assert.Equal(t, providers.Transient, e.Class)
	assert.Equal(t, providers.StepDiscovery, e.Step)
	assert.Zero(t, server.Count("token"))
	f.exchange(t)
}

func TestExchangeChecksCallbackBeforeSpending(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(f *flow)
		reason string
	}{
		{"another issuer", func(f *flow) { f.finish.Callback["iss"] = "https://evil.test" }, providers.ReasonIssuerMismatch},
		{"no issuer though promised", func(f *flow) { delete(f.finish.Callback, "iss") }, providers.ReasonIssuerMismatch},
		{"another shop", func(f *flow) {
			f.app.Definition.Callback.Match = map[string]providers.Template{"shop": "{shop}.example.test"}
			f.finish.Resolved.Inputs = map[string]string{"shop": "mine"}
			f.finish.Callback["shop"] = "yours.example.test"
		}, providers.ReasonCallbackMismatch},
		{"an unknown signature", func(f *flow) {
			f.app.Definition.Callback.Signed = "rot13"
		}, providers.ReasonCallbackSignature},
		{"a wrong signature", func(f *flow) {
			f.app.Definition.Callback.Signed = "hmac_query"
			f.finish.Callback["hmac"] = "00"
		}, providers.ReasonCallbackSignature},
		{"a capture that does not fit", func(f *flow) {
			f.app.Definition.Connection = []providers.Capture{
				{Name: "realm", From: "callback", Path: []string{"realm"}, Pattern: "[0-9]+", Required: true},
			}
			f.finish.Callback["realm"] = "12/../34"
		}, providers.ReasonCaptureMissing},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			f := begin(t, server, newClient(t, time.Now), openID(server), "read")
			test.change(f)
			_, err := f.client.Exchange(t.Context(), f.app, f.finish)
			e := failure(t, err)
			assert.Equal(t, test.reason, e.Reason)
			assert.Equal(t, providers.StepAuthorize, e.Step)
			assert.Zero(t, server.Count("token"))
		})
	}
}

func TestExchangeTakesSignedCallback(t *testing.T) {
	for name, former := range map[string]bool{"current secret": false, "former secret": true} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			app.Definition.Callback.Signed = "hmac_query"
			f := begin(t, server, newClient(t, time.Now), app, "read")
			f.finish.Callback = map[string]string{"code": f.finish.Code.Reveal(), "shop": "a b.example.test", "state": "s"}
			mac := hmac.New(sha256.New, []byte(providertest.ClientSecret))
			mac.Write([]byte("code=" + f.finish.Code.Reveal() + "&shop=a+b.example.test&state=s"))
			f.finish.Callback["hmac"] = hex.EncodeToString(mac.Sum(nil))
			if former {
				app.FormerSecret, app.ClientSecret = app.ClientSecret, providers.NewSecret("new")
			}
			f.exchange(t)
		})
	}
}

func TestExchangeCleansCode(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Definition.Callback.Trim = "#_"
	app.Definition.Callback.Decode = "url"
	f := begin(t, server, newClient(t, time.Now), app, "read")
	f.finish.Code = providers.NewSecret("%63" + f.finish.Code.Reveal()[1:] + "#_")
	f.exchange(t)
}

func TestExchangeCaptures(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Definition.Connection = []providers.Capture{
		{Name: "realm", From: "callback", Path: []string{"realm"}, Pattern: "[0-9]+"},
		{Name: "shop", From: "input", Path: []string{"shop"}},
		{Name: "team", From: "token", Path: []string{"team.id"}, Required: true},
		{Name: "webhook", From: "token", Path: []string{"hook"}, Secret: true},
		{Name: "broken", From: "token", Path: []string{"line"}},
		{Name: "tenant", From: "id_token", Path: []string{"tid"}},
	}
	f := begin(t, server, newClient(t, time.Now), app, "read")
	f.finish.Callback["realm"] = "123"
	f.finish.Resolved.Inputs = map[string]string{"shop": "mine"}
	server.Next(providers.StepToken, providertest.Respond(200,
		`{"access_token":"tok","team":{"id":9007199254740993},"hook":"https://h","line":"a\nb","id_token":"e30.eyJ0aWQiOiJ0LTEifQ.x"}`))
	g := f.exchange(t)
	assert.Equal(t, map[string]string{"realm": "123", "shop": "mine", "team": "9007199254740993", "tenant": "t-1"},
		g.Config)
	require.Contains(t, g.SecretConfig, "webhook")
	assert.Equal(t, "https://h", g.SecretConfig["webhook"].Reveal())
}

func TestExchangeUpgradesAndLimits(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now))
	app := server.App()
	app.Definition.Endpoints["upgrade"] = app.Definition.Endpoints["token"]
	app.Definition.Upgrade = &providers.TokenCall{Call: providers.Call{
		Method: "GET", Auth: "none",
		Params: map[string]providers.Template{
			"grant_type": "exchange", "client_secret": "{client_secret}", "access_token": "{access_token}",
		},
	}}
	app.Definition.Refresh.Hard = providers.Duration{Set: true, D: 24 * time.Hour}
	f := begin(t, server, newClient(t, clock.Now), app, "read")
	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"short","expires_in":60}`),
		providertest.Respond(200, `{"access_token":"long","expires_in":600}`))
	g := f.exchange(t)
	assert.Equal(t, "long", g.AccessToken.Reveal())
	assert.Equal(t, clock.Now().Add(10*time.Minute), g.Expires)
	assert.Equal(t, clock.Now().Add(24*time.Hour), g.HardLimit)
	asked := server.Requests("token")
	require.Len(t, asked, 2)
	assert.Equal(t, "short", asked[1].Query.Get("access_token"))
	assert.Equal(t, providertest.ClientSecret, asked[1].Query.Get("client_secret"))
}

func TestIssue(t *testing.T) {
	server := providertest.New(t)
	client, app := newClient(t, time.Now), server.App()
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	g, err := client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res, Scopes: []string{"a", "b"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, g.Scopes)
	assert.True(t, g.RefreshToken.IsZero())
	assert.True(t, app.CanRefresh(providers.KindClientCredentials, g))
	again, err := client.Refresh(t.Context(), app, res, providers.KindClientCredentials, g)
	require.NoError(t, err)
	assert.False(t, again.AccessToken.Equal(g.AccessToken))
	assert.Equal(t, 2, server.Count("token"))

	_, err = client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindAPIKey, Resolved: res})
	assert.Equal(t, providers.ReasonKindUnsupported, failure(t, err).Reason)
}
