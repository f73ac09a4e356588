package providers_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// introspecting is an app whose service tells no expires_in, and a token that it gave.
func introspecting(t *testing.T) (*providertest.Server, *providers.Client, *providers.App, providers.Resolved,
	*providers.Grant,
) {
	t.Helper()
	s := providertest.New(t, providertest.WithSilentLifetime(), providertest.WithLifetime(2*time.Hour))
	app := s.App()
	app.Definition.Lifetime.From = "introspect"
	app.Definition.Endpoints[providers.StepIntrospect] = providers.Template(s.URL + "/introspect")
	client := providers.NewClient(http.DefaultClient, time.Now, "test")
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	g, err := client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res})
	require.NoError(t, err)
	require.True(t, g.Expires.IsZero())
	return s, client, app, res, g
}

func TestIntrospect(t *testing.T) {
	s, client, app, res, g := introspecting(t)
	require.NoError(t, client.Introspect(t.Context(), app, res, g))
	assert.WithinDuration(t, time.Now().Add(2*time.Hour), g.Expires, time.Minute)
	asked := s.Requests(providers.StepIntrospect)[0]
	assert.Equal(t, []string{http.MethodPost, g.AccessToken.Reveal(), "access_token"},
		[]string{asked.Method, asked.Form.Get("token"), asked.Form.Get("token_type_hint")})
	assert.NotEmpty(t, asked.Header.Get("Authorization"), "as the client")

	known := g.Expires
	require.NoError(t, client.Introspect(t.Context(), app, res, g))
	assert.Equal(t, []any{1, known}, []any{s.Count(providers.StepIntrospect), g.Expires}, "it is known")
}

// Either the issuer or the definition names the endpoint.
func TestIntrospectEndpoint(t *testing.T) {
	for name, change := range map[string]func(*providers.App, providers.Resolved){
		"the issuer": func(app *providers.App, _ providers.Resolved) {
			delete(app.Definition.Endpoints, providers.StepIntrospect)
		},
		"the definition": func(_ *providers.App, res providers.Resolved) { delete(res.Endpoints, providers.StepIntrospect) },
	} {
		t.Run(name, func(t *testing.T) {
			s, client, app, res, g := introspecting(t)
			res.Endpoints = map[providers.Step]string{providers.StepIntrospect: s.URL + "/introspect"}
			change(app, res)
			require.NoError(t, client.Introspect(t.Context(), app, res, g))
			assert.False(t, g.Expires.IsZero())
		})
	}
}

// An end far away is a mistake, and one of another zone is kept as all times are.
func TestIntrospectedEnds(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for exp, want := range map[string]time.Time{
		"99999999999":                 now.Add(10 * 365 * 24 * time.Hour),
		`"2027-01-02T03:04:05+05:00"`: time.Date(2027, 1, 1, 22, 4, 5, 0, time.UTC),
	} {
		s, _, app, res, g := introspecting(t)
		client := providers.NewClient(http.DefaultClient, func() time.Time { return now }, "test")
		s.Next(providers.StepIntrospect, providertest.Respond(http.StatusOK, `{"active":true,"exp":`+exp+`}`))
		require.NoError(t, client.Introspect(t.Context(), app, res, g))
		assert.Equal(t, want, g.Expires, exp)
	}
}

// What tells nothing leaves the token as it was.
func TestIntrospectInDoubt(t *testing.T) {
	answers := func(body string) providertest.Behavior { return providertest.Respond(http.StatusOK, body) }
	for name, c := range map[string]struct {
		behavior providertest.Behavior
		class    providers.Class // empty: no failure
		reason   string
	}{
		"no end":              {answers(`{"active":true}`), "", ""},
		"an end that is over": {answers(`{"active":true,"exp":1000}`), "", ""},
		"an end in words":     {answers(`{"active":true,"exp":"soon"}`), "", ""},
		"not active":          {answers(`{"active":false,"exp":9999999999}`), providers.Transient, "token_inactive"},
		"active in words":     {answers(`{"active":"true","exp":9999999999}`), providers.Transient, "token_inactive"},
		"nothing":             {answers(`{}`), providers.Transient, "token_inactive"},
		"no JSON":             {answers(`<html>`), providers.Transient, "token_inactive"},
		"a refused client": {
			providertest.Respond(401, `{"error":"invalid_client"}`), providers.Misconfigured, "refused",
		},
		"an outage": {providertest.Respond(500, `{}`), providers.Transient, "server_error"},
		"a limit":   {providertest.Respond(429, `{}`), providers.RateLimited, "rate_limited"},
	} {
		t.Run(name, func(t *testing.T) {
			s, client, app, res, g := introspecting(t)
			s.Next(providers.StepIntrospect, c.behavior)
			before := *g
			err := client.Introspect(t.Context(), app, res, g)
			assert.Equal(t, before, *g)
			if c.class == "" {
				require.NoError(t, err)
				return
			}
			var failure *providers.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, []any{c.class, c.reason, providers.StepIntrospect},
				[]any{failure.Class, failure.Reason, failure.Step})
			assert.NotZero(t, failure.Status)
			assert.NotContains(t, err.Error(), g.AccessToken.Reveal())
		})
	}
	t.Run("a service that hangs", func(t *testing.T) {
		s, client, app, res, g := introspecting(t)
		s.Next(providers.StepIntrospect, providertest.Hang())
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		require.Error(t, client.Introspect(ctx, app, res, g))
		assert.True(t, g.Expires.IsZero())
	})
}

// Who is not to be asked is not.
func TestIntrospectsNothing(t *testing.T) {
	for name, change := range map[string]func(*providers.App, *providers.Grant, *providers.Resolved){
		"the definition does not say so": func(a *providers.App, _ *providers.Grant, _ *providers.Resolved) {
			a.Definition.Lifetime.From = ""
		},
		"there is no endpoint": func(a *providers.App, _ *providers.Grant, res *providers.Resolved) {
			delete(a.Definition.Endpoints, providers.StepIntrospect)
			delete(res.Endpoints, providers.StepIntrospect)
		},
		"a key": func(_ *providers.App, g *providers.Grant, _ *providers.Resolved) { g.AccessToken = providers.Secret{} },
	} {
		t.Run(name, func(t *testing.T) {
			s, client, app, res, g := introspecting(t)
			change(app, g, &res)
			require.NoError(t, client.Introspect(t.Context(), app, res, g))
			assert.Zero(t, s.Count(providers.StepIntrospect))
		})
	}
	t.Run("the operator assumes it", func(t *testing.T) {
		s, client, app, res, _ := introspecting(t)
		app.AssumedTTL = time.Minute
		g, err := client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res})
		require.NoError(t, err)
		require.NoError(t, client.Introspect(t.Context(), app, res, g))
		assert.Zero(t, s.Count(providers.StepIntrospect))
		assert.WithinDuration(t, time.Now().Add(time.Minute), g.Expires, 10*time.Second)
	})
}
