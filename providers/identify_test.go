package providers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// probed is an app whose identity, resources and health calls all go to the server's identity endpoint.
func probed(server *providertest.Server, change func(*providers.Definition)) (*providers.App, *providers.Grant) {
	app := server.App()
	identity := app.Definition.Endpoints["identity"]
	app.Definition.Endpoints["resources"], app.Definition.Endpoints["health"] = identity, identity
	change(app.Definition)
	return app, &providers.Grant{AccessToken: providers.NewSecret("tok")}
}

func TestIdentify(t *testing.T) {
	slackOK := &providers.Probe{Call: providers.Call{Method: "POST"}, OK: &providers.OK{Path: "ok"}}
	sites := &providers.Resources{ID: "id", Pick: "site"}
	siteInput := []providers.Input{{Name: "site", SetBy: "connection", Pattern: "[0-9a-z-]+"}}
	byCompany := func(d *providers.Definition) {
		d.Account = providers.AccountSpec{ID: []string{"connection_config:realm"}, Label: []string{"name"}}
		d.Connection = []providers.Capture{{Name: "realm", From: "input", Path: []string{"company"}}}
	}
	for _, test := range []struct {
		name    string
		change  func(*providers.Definition)
		inputs  map[string]string
		answers []providertest.Behavior
		account providers.Account
		config  map[string]string
		scopes  []string
		class   providers.Class
		reason  string
	}{
		{
			name: "number as id, joined label", change: func(d *providers.Definition) {
				d.Account = providers.AccountSpec{ID: []string{"id"}, Label: []string{"first", "last"}, Join: true}
			},
			answers: []providertest.Behavior{
				providertest.Respond(200, `{"id":90071992547409931,"first":"Ada","last":"Example"}`),
			},
			account: providers.Account{ID: "90071992547409931", Label: "Ada Example"},
		},
		{
			name: "predicate fails", change: func(d *providers.Definition) { d.Identity = slackOK },
			answers: []providertest.Behavior{providertest.Respond(200, `{"ok":false,"error":"odd"}`)},
			class:   providers.Transient, reason: providers.ReasonUnexplained,
		},
		{
			name: "failure rule under 200", change: func(d *providers.Definition) {
				d.Failures = []providers.FailureRule{
					{Step: []string{"api"}, Path: "error.code", Not: []string{"ok"}, Class: "rejected"},
				}
			},
			answers: []providertest.Behavior{providertest.Respond(200, `{"error":{"code":"gone"},"sub":"x"}`)},
			class:   providers.Rejected, reason: providers.ReasonRefused,
		},
		{
			name: "no account", change: func(*providers.Definition) {},
			answers: []providertest.Behavior{providertest.Respond(200, `{}`)},
			class:   providers.Misconfigured, reason: providers.ReasonAccountMissing,
		},
		{
			name: "a label nobody should print", change: func(*providers.Definition) {},
			answers: []providertest.Behavior{providertest.Respond(200, `{"sub":"a","name":"x\u001b[31m"}`)},
			account: providers.Account{ID: "a"},
		},
		{
			name: "scopes in a header", change: func(d *providers.Definition) {
				d.Identity = &providers.Probe{ScopesHeader: "X-OAuth-Scopes"}
			},
			answers: []providertest.Behavior{providertest.Respond(200, `{"sub":"a"}`, "X-OAuth-Scopes", "repo, user")},
			account: providers.Account{ID: "a"}, scopes: []string{"repo", "user"},
		},
		{
			name: "resources are listed, and nothing needs a choice", change: func(d *providers.Definition) {
				d.Resources, d.Inputs = sites, siteInput
				d.Connection = []providers.Capture{{Name: "who", From: "identity", Path: []string{"sub"}}}
			},
			answers: []providertest.Behavior{
				providertest.Respond(200, `[{"id":"1"},{"id":"2"}]`), providertest.Respond(200, `{"sub":"a"}`),
			},
			account: providers.Account{ID: "a"}, config: map[string]string{"who": "a"},
		},
		{
			name: "from health", change: func(d *providers.Definition) {
				d.Health, d.Identity = &providers.Probe{}, nil
				d.Account = providers.AccountSpec{ID: []string{"health:id"}}
			},
			answers: []providertest.Behavior{providertest.Respond(200, `{"id":7}`)},
			account: providers.Account{ID: "7"},
		},
		{
			name: "an input that the answer proves", change: byCompany, inputs: map[string]string{"company": "46"},
			answers: []providertest.Behavior{providertest.Respond(200, `{"name":"Ada","id":"1"}`)},
			account: providers.Account{ID: "46", Label: "Ada"}, config: map[string]string{"realm": "46"},
		},
		{
			name: "an input that the service refuses to prove", change: byCompany, inputs: map[string]string{"company": "46"},
			answers: []providertest.Behavior{providertest.Respond(403, `{}`)},
			class:   providers.Forbidden, reason: "refused",
		},
		{
			name: "whose it is, the token's answer does not tell", change: func(d *providers.Definition) {
				d.Identity, d.Account = nil, providers.AccountSpec{ID: []string{"token:user"}}
			},
			class: providers.Misconfigured, reason: providers.ReasonAccountMissing,
		},
		{
			name: "a capture is missing", change: func(d *providers.Definition) {
				d.Connection = []providers.Capture{{Name: "dc", From: "identity", Path: []string{"dc"}, Required: true}}
			},
			answers: []providertest.Behavior{providertest.Respond(200, `{"sub":"a"}`)},
			account: providers.Account{ID: "a"},
			class:   providers.Misconfigured, reason: providers.ReasonCaptureMissing,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			app, g := probed(server, test.change)
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			res.Inputs = test.inputs
			server.Next(providers.StepIdentity, test.answers...)
			err = client.Identify(t.Context(), app, res, ofPerson, g)
			assert.Equal(t, len(test.answers), server.Count(providers.StepIdentity))
			if test.class != "" {
				e := failure(t, err)
				assert.Equal(t, test.class, e.Class)
				assert.Equal(t, test.reason, e.Reason)
				assert.Equal(t, "tok", g.AccessToken.Reveal(), "the grant stays usable")
				assert.Equal(t, test.account, g.Account)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.account, g.Account)
			assert.Equal(t, test.config, g.Config)
			assert.Equal(t, test.scopes, g.Scopes)
		})
	}
}

func TestCheckKey(t *testing.T) {
	server := providertest.New(t)
	app, _ := probed(server, func(d *providers.Definition) {
		d.Endpoints["identity"] += "?v=1"
		d.Send = &providers.Send{
			Headers: map[string]providers.Template{"{header}": "{api_key}"}, Query: map[string]providers.Template{
				"k": "{api_key}",
			},
			User: "{api_key}", Password: "x",
		}
	})
	g := &providers.Grant{
		SecretConfig: map[string]providers.Secret{"api_key": providers.NewSecret("key-1")},
		Config:       map[string]string{"header": "X-Key"},
	}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	server.Next(providers.StepIdentity, providertest.Respond(200, `{}`), providertest.Respond(401, ``))
	_, err = client.Check(t.Context(), app, res, providers.KindAPIKey, g)
	require.NoError(t, err)
	asked := server.Requests(providers.StepIdentity)[0]
	assert.Equal(t, "key-1", asked.Header.Get("X-Key"))
	assert.Equal(t, "Basic a2V5LTE6eA==", asked.Header.Get("Authorization"))
	assert.Equal(t, "k=key-1&v=1", asked.Query.Encode())
	_, err = client.Check(t.Context(), app, res, providers.KindAPIKey, g)
	assert.Equal(t, providers.Rejected, failure(t, err).Class)
	assert.True(t, app.CanCheck(res, providers.KindAPIKey))

	app.Definition.Identity = nil
	assert.False(t, app.CanCheck(res, providers.KindAPIKey), "nothing to check with")
	app.Endpoints = map[providers.Step]string{providers.StepHealth: server.URL + "/userinfo"}
	assert.True(t, app.CanCheck(res, providers.KindAPIKey), "but for what the operator names")
}

// A call that only tokens of people can make is made with no other, and then nobody must tell whose the account is.
func TestCallsOfSomeKindsOnly(t *testing.T) {
	people, app := []providers.Kind{ofPerson}, providers.KindClientCredentials
	for name, test := range map[string]struct {
		identity, health *providers.Probe
		step             providers.Step // the app's check; empty: there is none
		whose            bool
		own              bool // the operator names a health endpoint
	}{
		"neither":               {&providers.Probe{Kinds: people}, &providers.Probe{Kinds: people}, "", false, false},
		"identity alone":        {&providers.Probe{Kinds: people}, nil, "", false, false},
		"health":                {&providers.Probe{Kinds: people}, &providers.Probe{}, "health", false, false},
		"identity as the check": {&providers.Probe{}, &providers.Probe{Kinds: people}, "identity", true, false},
		"the operator's, where the definition has one": {
			&providers.Probe{Kinds: people}, &providers.Probe{Kinds: people}, "", false, true,
		},
		"the operator's before identity": {&providers.Probe{}, nil, "health", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			configured, g := probed(server, func(d *providers.Definition) {
				d.Identity, d.Health = test.identity, test.health
				d.Account = providers.AccountSpec{ID: []string{"id"}}
				d.Endpoints["health"] += "?step=health"
			})
			if test.own {
				configured.Endpoints = map[providers.Step]string{providers.StepHealth: server.URL + "/userinfo?step=health"}
			}
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), configured, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			server.Next(providers.StepIdentity, providertest.Respond(200, `{"id":"a"}`), providertest.Respond(200, `{}`))

			assert.Equal(t, test.whose, configured.Identifies(app))
			require.NoError(t, client.Identify(t.Context(), configured, res, app, g))
			assert.Equal(t, test.whose, g.Account.ID == "a")
			asked := len(server.Requests(providers.StepIdentity))
			assert.Equal(t, test.step != "", configured.CanCheck(res, app))
			_, err = client.Check(t.Context(), configured, res, app, g)
			if test.step == "" {
				assert.Equal(t, providers.ReasonNoEndpoint, failure(t, err).Reason)
				assert.Len(t, server.Requests(providers.StepIdentity), asked, "nothing is called")
				return
			}
			require.NoError(t, err)
			made := server.Requests(providers.StepIdentity)
			assert.Equal(t, test.step == "health", made[len(made)-1].Query.Get("step") == "health")
		})
		t.Run(name+", of a person", func(t *testing.T) {
			configured, _ := probed(providertest.New(t), func(d *providers.Definition) {
				d.Identity, d.Health = test.identity, test.health
			})
			assert.True(t, configured.Identifies(ofPerson))
			assert.True(t, configured.CanCheck(providers.Resolved{}, ofPerson))
		})
	}
}

// Nobody is asked of what the answer cannot tell.
func TestIdentifies(t *testing.T) {
	server := providertest.New(t)
	issuer := openID(server)
	delete(issuer.Definition.Endpoints, providers.StepIdentity)
	assert.True(t, issuer.Identifies(ofPerson))
	assert.False(t, issuer.Identifies(providers.KindClientCredentials), "userinfo knows people only")

	app, g := probed(server, func(d *providers.Definition) {
		d.Identity, d.Health = nil, &providers.Probe{Kinds: []providers.Kind{ofPerson}}
		d.Account = providers.AccountSpec{Label: []string{"health:name"}}
	})
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	server.Next(providers.StepIdentity, providertest.Respond(200, `{"name":"Ada"}`))
	for kind, asked := range map[providers.Kind]bool{ofPerson: true, providers.KindClientCredentials: false} {
		before := server.Count(providers.StepIdentity)
		assert.Equal(t, asked, app.Identifies(kind))
		require.NoError(t, client.Identify(t.Context(), app, res, kind, g))
		assert.Equal(t, asked, server.Count(providers.StepIdentity) > before)
	}
}

func TestIdentifyEndpointFromTokenAnswer(t *testing.T) {
	server := providertest.New(t)
	app, g := probed(server, func(d *providers.Definition) {
		d.Endpoints["identity"] = "{instance_url}/userinfo"
		d.Connection = []providers.Capture{{Name: "instance_url", From: "token", Path: []string{"instance_url"}}}
	})
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	assert.Equal(t, providers.ReasonIncompleteCall, failure(t, client.Identify(t.Context(), app, res, ofPerson, g)).Reason)
	g.Config = map[string]string{"instance_url": server.URL}
	server.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"a"}`))
	require.NoError(t, client.Identify(t.Context(), app, res, ofPerson, g))
	assert.Equal(t, "a", g.Account.ID)
}

// OpenID Connect Core section 5.3.2: a token that somebody put in the place of the person's own is found out.
func TestIdentifyComparesSubjects(t *testing.T) {
	const same, other, none = `{"sub":"` + providertest.AccountID + `"}`, `{"sub":"account-2"}`, `{"id":"7"}`
	const prefix = `{"sub":"` + providertest.AccountID + `1"}`
	plain := func(*providers.App) {}
	elsewhere := func(app *providers.App) {
		issuer := string(app.Definition.Discovery.Issuer)
		app.Endpoints = map[providers.Step]string{providers.StepIdentity: issuer + "/userinfo"}
	}
	for name, test := range map[string]struct {
		change   func(*providers.App)
		scope    string
		userinfo string
		mismatch bool
	}{
		"the same":                        {plain, "openid", same, false},
		"another person":                  {plain, "openid", other, true},
		"a longer name":                   {plain, "openid", prefix, true},
		"nobody":                          {plain, "openid", none, true},
		"nobody, and no id_token":         {plain, "read", none, false},
		"another person, and no id_token": {plain, "read", other, false},
		"nobody, at an endpoint that an operator put there":         {elsewhere, "openid", none, false},
		"another person, at an endpoint that an operator put there": {elsewhere, "openid", other, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := openID(server)
			delete(app.Definition.Endpoints, providers.StepIdentity) // the metadata tells it
			app.Definition.Account = providers.AccountSpec{ID: []string{"id_token:sub", "sub", "id"}}
			test.change(app)
			f := begin(t, server, newClient(t, time.Now), app, test.scope)
			g := f.exchange(t)
			server.Next(providers.StepIdentity, providertest.Respond(200, test.userinfo))
			err := f.client.Identify(t.Context(), app, f.res, ofPerson, g)
			require.Equal(t, 1, server.Count(providers.StepIdentity))
			if !test.mismatch {
				require.NoError(t, err)
				return
			}
			e := failure(t, err)
			assert.Equal(t, providers.ReasonSubjectMismatch, e.Reason)
			assert.Equal(t, providers.Misconfigured, e.Class)
			assert.Equal(t, providers.Account{}, g.Account, "nobody knows whose it is")
			server.Next(providers.StepIdentity, providertest.Respond(200, test.userinfo))
			told, err := f.client.Check(t.Context(), app, f.res, ofPerson, g)
			require.NoError(t, err)
			assert.Equal(t, providers.Account{}, told.Account, "nor does a check tell it")
		})
	}
}
