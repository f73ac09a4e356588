package providers_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// jwt is an access token whose signature nobody checks.
func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
}

// realm stands in the callback, else in the token's answer, else somebody names it.
func realm() []providers.Capture {
	return []providers.Capture{{Name: "realm", Required: true, Pattern: "[0-9]+", AnyOf: []providers.CaptureSource{
		{From: "callback", Path: []string{"realmId"}},
		{From: "token", Path: []string{"x.realm"}},
		{From: "input", Path: []string{"company"}},
	}}}
}

func TestCaptureOfAnySource(t *testing.T) {
	for name, test := range map[string]struct {
		callback, input, token string
		want                   string
	}{
		"the callback counts most": {"1", "3", "2", "1"},
		"then the token":           {"", "3", "2", "2"},
		"then the input":           {"", "3", "", "3"},
		"one that does not fit":    {"1/../2", "3", "", "3"},
		"none":                     {"", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			app.Definition.Connection = realm()
			f := begin(t, server, newClient(t, time.Now), app, "read")
			f.finish.Callback["realmId"] = test.callback
			f.finish.Resolved.Inputs = map[string]string{"company": test.input}
			server.Next(providers.StepToken, providertest.Respond(200,
				`{"access_token":"tok","refresh_token":"ref","x":{"realm":"`+test.token+`"}}`))
			g, err := f.client.Exchange(t.Context(), app, f.finish)
			if test.want == "" {
				assert.Equal(t, providers.ReasonCaptureMissing, failure(t, err).Reason)
				assert.Equal(t, providers.StepToken, failure(t, err).Step, "the token could have told it")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"realm": test.want}, g.Config)
		})
	}
}

// What an import's inputs bring is there for the very first call, and what is stored is replaced only by what counts
// most: nobody remembers where it was from.
func TestCaptureOfAnImport(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Definition.Connection = realm()
	app.Definition.Token.Headers = map[string]providers.Template{"X-Realm": "{realm}"}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	res.Inputs = map[string]string{"company": "7"}
	brought := &providers.Grant{RefreshToken: providers.NewSecret("ref")}
	server.Next(providers.StepRefresh, providertest.Respond(200, `{"access_token":"tok","refresh_token":"new"}`))
	g, err := client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, brought)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"realm": "7"}, g.Config)
	assert.Empty(t, brought.Config)

	stored := &providers.Grant{RefreshToken: g.RefreshToken, Config: map[string]string{"realm": "5"}}
	server.Next(providers.StepRefresh, providertest.Respond(200, `{"access_token":"tok","x":{"realm":"6"}}`))
	g, err = client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, stored)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"realm": "5"}, g.Config)

	require.NoError(t, app.Definition.CheckImport(providers.Resolved{}), "its token may tell")
	app.Definition.Connection[0].AnyOf = append(realm()[0].AnyOf[:1], realm()[0].AnyOf[2])
	require.NoError(t, app.Definition.CheckImport(res))
	require.EqualError(t, app.Definition.CheckImport(providers.Resolved{}),
		"realm: what the consent tells does not come with tokens, so name it in inputs: company")
	app.Definition.Connection[0].AnyOf = app.Definition.Connection[0].AnyOf[:1]
	require.ErrorContains(t, app.Definition.CheckImport(res), "realm comes with the consent alone")
}

func TestCaptureOfAccessTokenClaims(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Definition.Kinds = append(app.Definition.Kinds, providers.KindClientCredentials)
	app.Definition.Connection = []providers.Capture{
		{Name: "tenant", From: "access_token_claims", Path: []string{"tid"}, Required: true},
	}
	app.Definition.Account.ID = []string{"access_token_claims:oid"}
	f := begin(t, server, newClient(t, time.Now), app, "read")
	answer := func(claims string) providertest.Behavior {
		return providertest.Respond(200, `{"access_token":"`+jwt(claims)+`","refresh_token":"ref"}`)
	}
	server.Next(providers.StepToken, answer(`{"tid":"t1","oid":"o1"}`))
	g := f.exchange(t)
	assert.Equal(t, map[string]string{"tenant": "t1"}, g.Config)
	assert.Equal(t, "o1", g.Account.ID)

	server.Next(providers.StepRefresh, answer(`{"tid":"t2"}`))
	g, err := f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"tenant": "t2"}, g.Config)

	server.Next(providers.StepToken, answer(`{"tid":"t3","oid":"app"}`))
	g, err = f.client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: f.res})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"tenant": "t3"}, g.Config)
	assert.Equal(t, "app", g.Account.ID)

	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"opaque"}`))
	_, err = f.client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: f.res})
	assert.Equal(t, providers.ReasonCaptureMissing, failure(t, err).Reason)
}
