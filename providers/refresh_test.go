package providers_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestRefreshKeepsWhatIsNotTold(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now), providertest.WithReusableRefreshTokens())
	client := newClient(t, clock.Now)
	app := server.App()
	f := begin(t, server, client, app, "read")
	g := f.exchange(t)
	g.Config = map[string]string{"realm": "1"}
	g.SecretConfig = map[string]providers.Secret{"hook": providers.NewSecret("x")}
	g.Account = providers.Account{ID: "a"}
	g.HardLimit = clock.Now().Add(time.Hour)
	g.RefreshExpires = clock.Now().Add(2 * time.Hour)
	before := *g
	app.Definition.Connection = []providers.Capture{{Name: "team", From: "token", Path: []string{"team"}, Required: true}}
	server.Next(providers.StepRefresh, providertest.Respond(200, `{"access_token":"newer","team":"t"}`))
	renewed, err := client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.Equal(t, before, *g, "the old grant is left as it was")
	assert.Equal(t, map[string]string{"realm": "1"}, g.Config)
	assert.Equal(t, "newer", renewed.AccessToken.Reveal())
	assert.True(t, renewed.RefreshToken.Equal(g.RefreshToken))
	assert.Equal(t, g.Scopes, renewed.Scopes)
	assert.Equal(t, g.TokenType, renewed.TokenType)
	assert.Equal(t, g.Account, renewed.Account)
	assert.Equal(t, g.HardLimit, renewed.HardLimit)
	assert.Equal(t, g.RefreshExpires, renewed.RefreshExpires)
	assert.Equal(t, map[string]string{"realm": "1", "team": "t"}, renewed.Config)
	assert.Equal(t, g.SecretConfig, renewed.SecretConfig)
}

func TestRefreshTokenLife(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now))
	app := server.App()
	app.Definition.Refresh.Each = providers.Duration{Set: true, D: 48 * time.Hour}
	app.Definition.Token.Answer.RefreshTTL = []string{"refresh_expires_in"}
	f := begin(t, server, newClient(t, clock.Now), app, "read")
	g := f.exchange(t)
	assert.Equal(t, clock.Now().Add(48*time.Hour), g.RefreshExpires)
	clock.Advance(time.Hour)
	g2, err := f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.Equal(t, clock.Now().Add(48*time.Hour), g2.RefreshExpires)
	server.Next(providers.StepRefresh, providertest.Respond(200, `{"access_token":"x","refresh_expires_in":60}`))
	g3, err := f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g2)
	require.NoError(t, err)
	assert.Equal(t, clock.Now().Add(time.Minute), g3.RefreshExpires)
}

// A refresh whose outcome nobody knows must not look like one that failed.
func TestRefreshOutcome(t *testing.T) {
	for _, test := range []struct {
		name     string
		behavior providertest.Behavior
		deadline time.Duration
		class    providers.Class
		reason   string
	}{
		{
			name: "reset after rotating", behavior: providertest.ResetAfter(), class: providers.Unknown,
			reason: providers.ReasonConnectionReset,
		},
		{
			name: "garbage after rotating", behavior: providertest.GarbageAfter(), class: providers.Unknown,
			reason: providers.ReasonUnreadable,
		},
		{
			name: "hangs", behavior: providertest.Hang(), deadline: 100 * time.Millisecond, class: providers.Unknown,
			reason: providers.ReasonTimeout,
		},
		{
			name: "body cut off", behavior: providertest.Respond(200, `{"acc`, "Content-Length", "100"),
			class: providers.Unknown, reason: providers.ReasonConnectionClosed,
		},
		{
			name: "empty 200", behavior: providertest.Respond(200, ""), class: providers.Unknown,
			reason: providers.ReasonEmptyAnswer,
		},
		{
			name: "page under 500", behavior: providertest.Respond(500, "<html>"), class: providers.Transient,
			reason: providers.ReasonServerError,
		},
		{
			name: "body of a 502 cut off", behavior: providertest.Respond(502, `x`, "Content-Length", "100"),
			class: providers.Unknown, reason: providers.ReasonServerError,
		},
		{
			name: "redirect", behavior: providertest.Respond(307, "", "Location", "/elsewhere"), class: providers.Transient,
			reason: providers.ReasonRedirected,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			f := begin(t, server, newClient(t, time.Now), server.App(), "read")
			g := f.exchange(t)
			server.Next(providers.StepRefresh, test.behavior)
			ctx := t.Context()
			if test.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.deadline)
				defer cancel()
			}
			renewed, err := f.client.Refresh(ctx, f.app, f.res, providers.KindAuthorizationCode, g)
			assert.Nil(t, renewed)
			e := failure(t, err)
			assert.Equal(t, test.class, e.Class)
			assert.Equal(t, test.reason, e.Reason)
			assert.Equal(t, 1, server.Count(providers.StepRefresh), "asked once, redirects not followed")
		})
	}
}

func TestRefreshNotSent(t *testing.T) {
	server := providertest.New(t)
	f := begin(t, server, newClient(t, time.Now), server.App(), "read")
	g := f.exchange(t)

	f.res.Endpoints[providers.StepToken] = nowhere(t)
	_, err := f.client.Refresh(t.Context(), f.app, f.res, providers.KindAuthorizationCode, g)
	e := failure(t, err)
	assert.Equal(t, providers.Transient, e.Class)
	assert.Equal(t, providers.ReasonConnectionRefused, e.Reason)

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.client.Refresh(canceled, f.app, f.res, providers.KindAuthorizationCode, g)
	assert.Equal(t, providers.Transient, failure(t, err).Class)
	assert.ErrorIs(t, err, context.Canceled)

	f.res.Endpoints[providers.StepToken] = "http://provider.test/token"
	_, err = f.client.Refresh(t.Context(), f.app, f.res, providers.KindAuthorizationCode, g)
	assert.Equal(t, providers.ReasonInsecureEndpoint, failure(t, err).Reason)
	assert.Zero(t, server.Count(providers.StepRefresh))
}

func TestFormerSecret(t *testing.T) {
	const refused = `{"error":"invalid_client"}`
	for _, test := range []struct {
		name   string
		first  providertest.Behavior
		rules  []providers.FailureRule
		former string
		calls  int
		class  providers.Class
	}{
		{name: "current refused, former taken", former: providertest.ClientSecret, calls: 2},
		{name: "both refused", former: "older", calls: 2, class: providers.Misconfigured},
		{name: "no former", calls: 1, class: providers.Misconfigured},
		{
			name: "401 without a word", first: providertest.Respond(401, ""), former: providertest.ClientSecret, calls: 1,
			class: providers.Transient,
		},
		{
			name: "401 and a code cut off", first: providertest.Respond(401, refused, "Content-Length", "100"),
			former: providertest.ClientSecret, calls: 1, class: providers.Transient,
		},
		{
			name: "502 with the code", first: providertest.Respond(502, refused), former: providertest.ClientSecret, calls: 1,
			class: providers.Transient,
		},
		{
			name: "502 without a word", first: providertest.Respond(502, ""), former: providertest.ClientSecret, calls: 1,
			class: providers.Unknown,
		},
		{
			name: "500 with the code", first: providertest.Respond(500, refused), former: providertest.ClientSecret, calls: 1,
			class: providers.Transient,
		},
		{
			name: "the code, where it means the grant", former: providertest.ClientSecret, calls: 1, class: providers.Rejected,
			rules: []providers.FailureRule{
				{Step: []string{"refresh"}, Path: "error", Is: []string{"invalid_client"}, Class: "rejected"},
			},
		},
		{name: "reset", first: providertest.Reset(), former: providertest.ClientSecret, calls: 1, class: providers.Unknown},
		{
			name: "the grant refused", first: providertest.Respond(400, `{"error":"invalid_grant"}`),
			former: providertest.ClientSecret, calls: 1, class: providers.Rejected,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			f := begin(t, server, newClient(t, time.Now), server.App(), "read")
			g := f.exchange(t)
			f.app.ClientSecret = providers.NewSecret("newer")
			f.app.FormerSecret = providers.NewSecret(test.former)
			f.app.Definition.Failures = test.rules
			if test.first != nil {
				server.Next(providers.StepRefresh, test.first)
			}
			_, err := f.client.Refresh(t.Context(), f.app, f.res, providers.KindAuthorizationCode, g)
			assert.Equal(t, test.calls, server.Count(providers.StepRefresh))
			if test.class == "" {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, test.class, failure(t, err).Class)
		})
	}
}

func TestSelfRefresh(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.TokenParams = map[string]string{"audience": "x"}
	app.Definition.Endpoints["refresh"] = app.Definition.Endpoints["token"]
	app.Definition.Refresh = providers.Refresh{Token: "self", Call: &providers.Call{
		Method: "GET", Auth: "none", Params: map[string]providers.Template{
			"grant_type": "renew", "access_token": "{access_token}",
		},
	}}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"newer","expires_in":60}`))
	g, err := client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, &providers.Grant{
		AccessToken: providers.NewSecret("old"),
	})
	require.NoError(t, err)
	assert.Equal(t, "newer", g.AccessToken.Reveal())
	asked := server.Requests(providers.StepToken)
	require.Len(t, asked, 1)
	assert.Equal(t, map[string][]string{"grant_type": {"renew"}, "access_token": {"old"}},
		map[string][]string(asked[0].Query))
	assert.Empty(t, asked[0].Header.Get("Authorization"))
}

func TestRefreshStrategy(t *testing.T) {
	full := &providers.Grant{AccessToken: providers.NewSecret("a"), RefreshToken: providers.NewSecret("r")}
	bare := &providers.Grant{AccessToken: providers.NewSecret("a")}
	const code, machine, key = providers.KindAuthorizationCode, providers.KindClientCredentials, providers.KindAPIKey
	for _, test := range []struct {
		word               string
		kind               providers.Kind
		rotate, full, bare bool
	}{
		{"", code, true, true, false},
		{"rotating", code, true, true, false},
		{"may_rotate", code, true, true, false},
		{"reusable", code, false, true, false},
		{"self", code, true, true, true},
		{"none", code, false, false, false},
		{"reissue", code, false, false, false},
		{"rotating", machine, false, true, true},
		{"reissue", machine, false, true, true},
		{"reusable", key, false, false, false},
	} {
		t.Run(test.word+" "+string(test.kind), func(t *testing.T) {
			app := &providers.App{Definition: &providers.Definition{Refresh: providers.Refresh{Token: test.word}}}
			assert.Equal(t, test.rotate, app.MayRotate(test.kind))
			assert.Equal(t, test.full, app.CanRefresh(test.kind, full))
			assert.Equal(t, test.bare, app.CanRefresh(test.kind, bare))
		})
	}
	client := newClient(t, time.Now)
	_, err := client.Refresh(t.Context(), &providers.App{Definition: &providers.Definition{}}, providers.Resolved{}, code,
		bare)
	assert.Equal(t, providers.ReasonNotRefreshable, failure(t, err).Reason)
}

func TestTransportErrorsKeepNoURL(t *testing.T) {
	cause := errors.New("blocked")
	std := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, cause })}
	client := providers.NewClient(std, time.Now, "")
	app := &providers.App{Definition: &providers.Definition{Refresh: providers.Refresh{
		Token: "self", Call: &providers.Call{
			Method: "GET", Auth: "none", Params: map[string]providers.Template{"t": "{access_token}"},
		},
	}}}
	res := providers.Resolved{Endpoints: map[providers.Step]string{providers.StepToken: "https://provider.test/token"}}
	_, err := client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, &providers.Grant{
		AccessToken: providers.NewSecret("planted"),
	})
	require.ErrorIs(t, err, cause, "the engine can still tell what its own transport said")
	for inner := error(failure(t, err)); inner != nil; inner = errors.Unwrap(inner) {
		assert.NotContains(t, inner.Error(), "planted")
		assert.False(t, strings.Contains(inner.Error(), "provider.test"))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
