package providers_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What a kind asks for in any case stands over what the operator says.
func TestScopesOfAKind(t *testing.T) {
	for name, test := range map[string]struct {
		said []providers.Template
		want []string
	}{
		"as the operator says": {nil, []string{"read"}},
		"others": {
			[]providers.Template{"https://{graph}/.default", "b"},
			[]string{"https://graph.test/.default b"},
		},
		"none": {[]providers.Template{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			app.Definition.Token.ByKind = map[providers.Kind]providers.KindCall{
				providers.KindClientCredentials: {Scopes: test.said},
			}
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			res.Inputs = map[string]string{"graph": "graph.test"}
			g, err := client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res, Scopes: []string{"read"}})
			require.NoError(t, err)
			_, err = client.Refresh(t.Context(), app, res, providers.KindClientCredentials, g)
			require.NoError(t, err)
			asked := server.Requests("token")
			require.Len(t, asked, 2)
			for _, request := range asked {
				assert.Equal(t, test.want, request.Form["scope"])
			}
			if res.Inputs = nil; name == "others" {
				_, err = client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res})
				assert.Equal(t, providers.ReasonIncompleteCall, failure(t, err).Reason)
			}
		})
	}
}

func TestScopesInTheIdentityAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		probe providers.Probe
		said  providers.Scopes
		body  string
		want  []string
	}{
		"not told": {providers.Probe{}, providers.Scopes{}, `{"scope":"a b"}`, []string{"read"}},
		"a text": {
			providers.Probe{ScopesPath: []string{"x", "scope"}},
			providers.Scopes{},
			`{"scope":"a b"}`,
			[]string{"a", "b"},
		},
		"with commas": {
			providers.Probe{ScopesPath: []string{"scope"}},
			providers.Scopes{Returned: ","},
			`{"scope":"a,b c"}`,
			[]string{"a", "b", "c"},
		},
		"a list": {
			providers.Probe{ScopesPath: []string{"app.scopes"}},
			providers.Scopes{},
			`{"app":{"scopes":["a","b"]}}`,
			[]string{"a", "b"},
		},
		"the header goes before": {
			providers.Probe{ScopesPath: []string{"scope"}, ScopesHeader: "X-Scopes"},
			providers.Scopes{},
			`{"scope":"a b"}`,
			[]string{"c", "d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			f := begin(t, server, newClient(t, time.Now), app, "read")
			g := f.exchange(t)
			app.Definition.Identity, app.Definition.Scopes = &test.probe, test.said
			app.Definition.Account = providers.AccountSpec{}
			server.Next(providers.StepIdentity, providertest.Respond(200, test.body, "X-Scopes", "c, d"))
			require.NoError(t, f.client.Identify(t.Context(), app, f.res, ofPerson, g))
			assert.Equal(t, test.want, g.Scopes)
			server.Next(providers.StepIdentity, providertest.Respond(200, test.body, "X-Scopes", "c, d"))
			told, err := f.client.Check(t.Context(), app, f.res, ofPerson, g)
			require.NoError(t, err)
			if name != "not told" {
				assert.Equal(t, test.want, told.Scopes)
			}
		})
	}
}

// The operator knows how the app is set; an answer that tells knows better.
func TestLimitsOfTheOperator(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now))
	app := server.App()
	app.Definition.Refresh.Each = providers.Duration{Set: true, D: 48 * time.Hour}
	app.Definition.Refresh.Idle = providers.Duration{Set: true, D: 90 * time.Hour}
	app.Definition.Token.Answer.RefreshTTL = []string{"refresh_expires_in"}
	assert.Equal(t, 90*time.Hour, app.IdleLimit())
	app.RefreshTTL, app.IdleTTL = 7*time.Hour, 5*time.Hour
	assert.Equal(t, 5*time.Hour, app.IdleLimit())
	f := begin(t, server, newClient(t, clock.Now), app, "read")
	g := f.exchange(t)
	assert.Equal(t, clock.Now().Add(7*time.Hour), g.RefreshExpires)
	clock.Advance(time.Hour)
	g, err := f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.Equal(t, clock.Now().Add(7*time.Hour), g.RefreshExpires)
	server.Next(providers.StepRefresh, providertest.Respond(200,
		`{"access_token":"tok","refresh_token":"r","refresh_expires_in":60}`))
	g, err = f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.Equal(t, clock.Now().Add(time.Minute), g.RefreshExpires)
}

func TestOptionalScopes(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Scopes, app.OptionalScopes = []string{"read"}, []string{"write", "read"}
	ask := func(optional []string) url.Values {
		address, err := providers.AuthCodeURL(app, providers.AuthCodeURLRequest{
			Resolved: providers.Resolved{Endpoints: map[providers.Step]string{"authorize": "https://x.test/a"}},
			State:    "s", Scopes: []string{"read"}, Optional: optional,
		})
		require.NoError(t, err)
		u, err := url.Parse(address)
		require.NoError(t, err)
		return u.Query()
	}
	assert.Empty(t, app.RequestOptional(nil, []string{"read"}), "this service knows none")
	require.ErrorContains(t, app.TakesOptional(app.OptionalScopes), "knows no scopes that a person may leave out")

	app.Definition.Scopes.OptionalParam = "optional_scope"
	require.NoError(t, app.TakesOptional(app.OptionalScopes))
	assert.Equal(t, []string{"write"}, app.RequestOptional(nil, []string{"read"}))
	assert.Empty(t, app.RequestOptional(&[]string{}, []string{"read"}))
	assert.Equal(t, "write", ask([]string{"write"}).Get("optional_scope"))
	assert.Equal(t, "read", ask([]string{"write"}).Get("scope"))
	assert.NotContains(t, ask(nil), "optional_scope")

	require.NoError(t, app.CheckScopes([]string{"write"}, nil), "what the operator lets people leave out is allowed")
	require.Error(t, app.CheckScopes([]string{"write"}, []string{"read"}))
	assert.Empty(t, app.SurplusScopes([]string{"read", "write"}, nil))
	app.AuthorizeParams = map[string]string{"optional_scope": "admin"}
	require.ErrorContains(t, app.Validate(), "optional_scope")
}

// A kind may take less of an input than others do, and want one that they do without.
func TestInputsOfAKind(t *testing.T) {
	def := &providers.Definition{Inputs: []providers.Input{
		{Name: "tenant", SetBy: "provider", Default: "any", Pattern: "[a-z]+", Help: "a directory"},
		{Name: "subject", SetBy: "provider", Pattern: "[0-9]*"},
	}}
	def.Token.ByKind = map[providers.Kind]providers.KindCall{
		providers.KindClientCredentials: {Inputs: map[string]string{"tenant": "t[a-z]*", "subject": "[0-9]+"}},
	}
	for name, test := range map[string]struct {
		set  map[string]string
		want string // a part of the error
	}{
		"taken": {map[string]string{"tenant": "tom", "subject": "1"}, ""},
		"the default": {
			map[string]string{"subject": "1"},
			`"tenant" of the kind client_credentials must match t[a-z]* (a directory)`,
		},
		"what is unset": {map[string]string{"tenant": "tom"}, `"subject" of the kind client_credentials must match [0-9]+`},
	} {
		t.Run(name, func(t *testing.T) {
			merged, err := def.MergeInputs(providers.KindAuthorizationCode, test.set, nil)
			require.NoError(t, err)
			require.NoError(t, def.TakesInputs(providers.KindAuthorizationCode, merged))
			if err = def.TakesInputs(providers.KindClientCredentials, merged); test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}
