package providers_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestResolveEndpoints(t *testing.T) {
	app := &providers.App{
		Definition: &providers.Definition{
			Inputs: []providers.Input{{Name: "shop", SetBy: "connection", Pattern: "[a-z]+", Required: true}},
			Endpoints: map[providers.Step]providers.Template{
				"authorize": "https://{shop}.provider.test/authorize", "token": "https://{shop}.provider.test/token",
				"identity": "{instance_url}/me", "revoke": "https://{shop}.provider.test/revoke",
			},
			Connection: []providers.Capture{{Name: "instance_url", From: "token", Path: []string{"instance_url"}}},
		},
		ClientSecret: providers.NewSecret("x"),
		Endpoints:    map[providers.Step]string{"revoke": "https://other.test/revoke"},
	}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, map[string]string{"shop": "mine"})
	require.NoError(t, err)
	assert.Equal(t, map[providers.Step]string{
		"authorize": "https://mine.provider.test/authorize", "token": "https://mine.provider.test/token",
		"revoke": "https://other.test/revoke",
	}, res.Endpoints, "identity waits for the token answer")
	assert.Equal(t, map[string]string{"shop": "mine"}, res.Inputs)
	assert.Equal(t, "basic", res.ClientAuth)
	assert.False(t, res.OpenID)

	app.Endpoints["revoke"] = "http://other.test/revoke"
	_, err = client.Resolve(t.Context(), app, providers.KindAuthorizationCode, map[string]string{"shop": "mine"})
	assert.ErrorContains(t, err, "revoke")
}

func TestResolveClientAuth(t *testing.T) {
	for _, test := range []struct {
		name   string
		chosen string
		spec   providers.ClientSpec
		secret bool
		want   string
	}{
		{name: "operator", chosen: "post", spec: providers.ClientSpec{Auth: []string{"basic"}}, secret: true, want: "post"},
		{
			name: "definition's first", spec: providers.ClientSpec{Auth: []string{"basic_raw", "post"}}, secret: true,
			want: "basic_raw",
		},
		{name: "nobody says", secret: true, want: "basic"},
		{name: "nobody says, no secret", want: "none"},
		{name: "public client", spec: providers.ClientSpec{Auth: []string{"post"}, Public: true}, want: "none"},
		{name: "a secret is missing", spec: providers.ClientSpec{Auth: []string{"post"}}, want: "post"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := &providers.App{Definition: &providers.Definition{Client: test.spec}, ClientAuth: test.chosen}
			if test.secret {
				app.ClientSecret = providers.NewSecret("x")
			}
			res, err := newClient(t, time.Now).Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			assert.Equal(t, test.want, res.ClientAuth)
		})
	}
}

func TestDiscovery(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now))
	client := newClient(t, clock.Now)
	app := &providers.App{
		Definition: &providers.Definition{
			Discovery: &providers.Discovery{Issuer: "{issuer}"}, Client: providers.ClientSpec{Auth: []string{"from_discovery"}},
		},
		Issuer:       server.URL,
		ClientSecret: providers.NewSecret("x"),
		Endpoints:    map[providers.Step]string{"revoke": "https://other.test/revoke"},
	}
	release := make(chan struct{})
	server.Next(providers.StepDiscovery, providertest.HangUntil(release))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			if assert.NoError(t, err) {
				assert.Equal(t, server.URL+"/token", res.Endpoints["token"])
				assert.Equal(t, server.URL+"/userinfo", res.Endpoints["identity"])
				assert.Equal(t, "https://other.test/revoke", res.Endpoints["revoke"])
				assert.Equal(t, server.URL, res.Issuer)
				assert.Equal(t, "basic", res.ClientAuth)
				assert.True(t, res.IssAlways)
				assert.True(t, res.OpenID)
			}
		})
	}
	close(release)
	group.Wait()
	assert.Equal(t, 1, server.Count(providers.StepDiscovery), "one request serves all")

	clock.Advance(59 * time.Minute)
	_, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, server.Count(providers.StepDiscovery))
	clock.Advance(time.Minute)
	_, err = client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	assert.Equal(t, 2, server.Count(providers.StepDiscovery), "an hour is enough")
}

func TestDiscoveryRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string // %s is the issuer
		class  providers.Class
		reason string
		shows  bool
	}{
		{
			name: "another issuer", status: 200, body: `{"issuer":"https://evil.test"}`, class: providers.Misconfigured,
			reason: providers.ReasonIssuerMismatch, shows: true,
		},
		{
			name: "a slash more", status: 200, body: `{"issuer":"ISSUER/"}`, class: providers.Misconfigured,
			reason: providers.ReasonIssuerMismatch,
		},
		{
			name: "plain http", status: 200, body: `{"issuer":"ISSUER","token_endpoint":"http://evil.test/token"}`,
			class: providers.Misconfigured, reason: providers.ReasonInsecureEndpoint,
		},
		{
			name: "keys over http", status: 200,
			body:  `{"issuer":"ISSUER","token_endpoint":"https://evil.test/token","jwks_uri":"http://evil.test/keys"}`,
			class: providers.Misconfigured, reason: providers.ReasonInsecureEndpoint,
		},
		{name: "a page", status: 200, body: `<html>`, class: providers.Transient, reason: providers.ReasonDiscoveryRefused},
		{name: "nothing", status: 200, class: providers.Transient, reason: providers.ReasonDiscoveryRefused},
		{
			name: "no issuer", status: 200, body: `{"token_endpoint":"https://evil.test/token"}`, class: providers.Transient,
			reason: providers.ReasonDiscoveryRefused,
		},
		{
			name: "no endpoints", status: 200, body: `{"issuer":"ISSUER"}`, class: providers.Transient,
			reason: providers.ReasonDiscoveryRefused,
		},
		{
			name: "only private_key_jwt", status: 200,
			body:  `{"issuer":"ISSUER","token_endpoint":"https://evil.test/token","token_endpoint_auth_methods_supported":["private_key_jwt"]}`,
			class: providers.Misconfigured, reason: providers.ReasonClientAuth,
		},
		{name: "down", status: 503, class: providers.Transient, reason: providers.ReasonServerError},
		{name: "not there", status: 404, class: providers.Transient, reason: providers.ReasonUnexplained},
		{name: "moved", status: 301, class: providers.Transient, reason: providers.ReasonRedirected},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			server.Next(providers.StepDiscovery, providertest.Respond(test.status,
				strings.ReplaceAll(test.body, "ISSUER", server.URL)))
			app := &providers.App{
				Definition: &providers.Definition{
					Discovery: &providers.Discovery{Issuer: "{issuer}"},
					Client:    providers.ClientSpec{Auth: []string{"from_discovery"}},
				},
				Issuer: server.URL, ClientSecret: providers.NewSecret("x"),
			}
			client := newClient(t, time.Now)
			_, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			e := failure(t, err)
			assert.Equal(t, test.class, e.Class)
			assert.Equal(t, test.reason, e.Reason)
			assert.Equal(t, test.shows, strings.Contains(err.Error(), "evil"), "of a document only its issuer is told")
		})
	}
}

// What an issuer said once goes on while it says nothing better, and not for ever.
func TestDiscoveryKeepsTheLastGoodDocument(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		class  providers.Class // once the document is too old
		reason string
	}{
		{name: "down", status: 503, class: providers.Transient, reason: providers.ReasonServerError},
		{name: "a page", status: 200, body: `<html>`, class: providers.Transient, reason: providers.ReasonDiscoveryRefused},
		{
			name: "no endpoints", status: 200, body: `{"issuer":"ISSUER"}`, class: providers.Transient,
			reason: providers.ReasonDiscoveryRefused,
		},
		{
			name: "plain http", status: 200, body: `{"issuer":"ISSUER","token_endpoint":"http://evil.test/token"}`,
			class: providers.Misconfigured, reason: providers.ReasonInsecureEndpoint,
		},
		{
			name: "another issuer", status: 200,
			body: `{"issuer":"https://evil.test","token_endpoint":"https://evil.test/token"}`, class: providers.Misconfigured,
			reason: providers.ReasonIssuerMismatch,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			server := providertest.New(t, providertest.WithClock(clock.Now))
			client := newClient(t, clock.Now)
			app := &providers.App{
				Definition: &providers.Definition{Discovery: &providers.Discovery{Issuer: "{issuer}"}}, Issuer: server.URL,
			}
			serves := func(requests int) {
				t.Helper()
				res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
				require.NoError(t, err)
				assert.Equal(t, server.URL+"/token", res.Endpoints["token"])
				assert.Equal(t, requests, server.Count(providers.StepDiscovery))
			}
			bad := providertest.Respond(test.status, strings.ReplaceAll(test.body, "ISSUER", server.URL))
			serves(1)

			clock.Advance(time.Hour)
			server.Next(providers.StepDiscovery, bad)
			serves(2)
			clock.Advance(5*time.Minute - 1)
			serves(2)
			clock.Advance(1)
			serves(3) // it is well again: this is the document that goes on

			clock.Advance(24*time.Hour - 1)
			server.Next(providers.StepDiscovery, bad, bad)
			serves(4)
			clock.Advance(5 * time.Minute)
			_, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			e := failure(t, err)
			assert.Equal(t, test.class, e.Class)
			assert.Equal(t, test.reason, e.Reason)
			serves(6)
		})
	}
}
