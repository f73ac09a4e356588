package backend

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Whoever writes a definition for a service that is honest has no token shown as something else: as a scope, as what
// an account or a site is called, or by a call that asks for another token. Nor is a refresh token handed out.
func TestAttackDefinitionShowsTokens(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	resources := func(id, name string) string {
		return "inputs: [{name: site, set_by: connection, pattern: '.+'}]\nresources: {id: " + id + ", name: " + name +
			", pick: site}\nendpoints:\n  resources: " + f.provider.URL + "/token"
	}
	config := func(from, path, more string) string {
		return "connection_config: [{name: x, from: " + from + ", path: ['" + path + "']" + more + "}]\nscopes:"
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"scopes": {"refresh:", "token: {answer: {scope: [access_token]}}\nrefresh:", "token.answer.scope[0]"},
		"scopes, second": {
			"refresh:", "token: {answer: {scope: [scope, refresh_token]}}\nrefresh:", "token.answer.scope[1]",
		},
		"scopes of a refresh": {
			"rotating}", "rotating, answer: {scope: ['$.refresh_token']}}", "refresh.answer.scope[0]",
		},
		"scopes, another name": {
			"refresh:", "token: {answer: {access_token: ['a[0].b'], scope: ['$.a[00].b']}}\nrefresh:",
			"token.answer.scope[0]",
		},
		"scopes of the identity": {
			"identity: {}", "identity: {scopes_path: [data.access_token]}", "identity.scopes_path[0]",
		},
		"scopes in a header": {"identity: {}", "identity: {scopes_header: X-New-Token}", "identity.scopes_header[0]"},
		"account":            {"[sub]", "[sub, access_token]", "account.id[1]"},
		"label":              {"[sub]}", "[sub], label: ['refresh_token']}", "account.label[0]"},
		"identity":           {"scopes:", config("identity", "access_token", ""), "connection_config[0]"},
		"site":               {"endpoints:", resources("access_token", "x"), "resources.id"},
		"name of a site":     {"endpoints:", resources("x", "refresh_token"), "resources.name"},
		"handed out": {
			"scopes:", config("token", "refresh_token", ", secret: true"), "handed out to nobody",
		},
		"handed out again": {
			"scopes:", config("identity", "refreshToken", ", secret: true"), "handed out to nobody",
		},
		"handed out, another name": {
			"scopes:", "token: {answer: {refresh_token: [a.b]}}\n" + config("token", "$.a.b", ", secret: true"),
			"handed out to nobody",
		},
	} {
		text := strings.Replace(mine(f.provider.URL), c.old, c.new, 1)
		require.NotEqual(t, mine(f.provider.URL), text, name)
		r := f.Write("providers/mine", map[string]any{"client_id": "id", "definition_yaml": text})
		assert.Equal(t, http.StatusBadRequest, r.Status, name)
		assert.Contains(t, r.Text, c.want, name)
	}
	f.Write("providers/mine", map[string]any{
		"client_id": "id", "definition_yaml": strings.Replace(mine(f.provider.URL), "refresh:",
			"token: {answer: {scope: [granted], access_token: [data.value]}}\n"+
				"connection_config: [{name: x, from: token, path: [data.value], secret: true}, "+
				"{name: y, from: token, path: [token_type]}]\nrefresh:", 1),
	}).OK(t)
}

// An operator's secret is no scope either, which people are shown.
func TestAttackSecretForAScope(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	text := strings.Replace(mine(f.provider.URL), "kinds: [authorization_code]", `
kinds: [authorization_code, client_credentials, api_key]
key: {fields: [{name: api_key, secret: true}, {name: app_key, set_by: provider, secret: true}]}
send: {headers: {X: '{api_key}'}}
token: {by_kind: {client_credentials: {scopes: ['{app_key}']}}}`, 1)
	f.Write("providers/mine", map[string]any{"client_id": "id", "definition_yaml": text}).
		Refused(t, http.StatusBadRequest, "token.by_kind.client_credentials.scopes[0]", "scopes are shown")
}

// A definition of a few lines neither takes minutes nor all memory to check, nor to go by.
func TestAttackDefinitionsThatGrow(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	write := func(old, new string) testenv.Result {
		text := strings.Replace(mine(f.provider.URL), old, new, 1)
		require.NotEqual(t, mine(f.provider.URL), text)
		return f.Write("providers/mine", map[string]any{"client_id": "id", "definition_yaml": text})
	}
	from := time.Now()
	var inputs, host, ragged strings.Builder
	inputs.WriteString("inputs:\n")
	for i := range 6 {
		fmt.Fprintf(&inputs, "  - {name: i%d, set_by: connection, required: true, variants: {", i)
		for v := range 64 {
			fmt.Fprintf(&inputs, "v%d: {h%d: x%d}, ", v, i, v)
		}
		inputs.WriteString("}}\n")
		fmt.Fprintf(&host, "{h%d}", i)
	}
	ragged.WriteString("inputs:\n  - {name: i, set_by: connection, required: true, variants: {a: {x: y}")
	for v := range 64 {
		fmt.Fprintf(&ragged, ", v%d: {h0: x, h1: x, h2: x, h3: x, h4: x, h5: x}", v)
	}
	ragged.WriteString("}}\n")
	api := "api_base: 'https://" + host.String() + ".example.com'\nscopes:"
	write("scopes:", inputs.String()+api).Refused(t, http.StatusBadRequest, "api_base", "more than 256 hosts")
	write("scopes:", ragged.String()+api).Refused(t, http.StatusBadRequest, "each sets all")

	var wide strings.Builder
	for v := range 60 {
		fmt.Fprintf(&wide, ", v%d: {", v)
		for name := range 60 {
			fmt.Fprintf(&wide, "w%d: a.b.c%d, ", name, name)
		}
		wide.WriteString("}")
	}
	write("scopes:", "inputs: [{name: i, set_by: provider, required: true, variants: {"+wide.String()[2:]+"}}]\nscopes:").
		Refused(t, http.StatusBadRequest, "used nowhere")

	pattern := func(p string) testenv.Result {
		return write("scopes:", "inputs: [{name: shop, set_by: connection, pattern: '"+p+"'}]\n"+
			"authorize: {optional_params: {shop: '{shop}'}}\nscopes:")
	}
	pattern("(.?.?.?.?.?){1000}").Refused(t, http.StatusBadRequest, "inputs[0].pattern", "repeats too much")
	pattern(strings.Repeat(".{1000}", 5000)).Refused(t, http.StatusBadRequest, "inputs[0].pattern",
		"longer than 1000 bytes")
	pattern("[a-z]{1,255}").OK(t)

	long := strings.Repeat("x", 60_000)
	write("[read]}", "[x], implies: {'x*': ['x"+long+"*']}}").OK(t)
	f.Read("providers/mine", nil).OK(t)
	f.Write("providers/mine", map[string]any{"scopes": "x", "allowed_scopes": "x,y"}).OK(t)
	f.Write("auth-code-url/a", map[string]any{"provider": "mine", "scopes": "y"})
	all := "all0"
	for i := range 6000 {
		all += fmt.Sprint(", a", i)
	}
	write("[read]}", "[x], implies: {'*': ["+all+"]}}").OK(t)
	f.Write("auth-code-url/a", map[string]any{"provider": "mine", "scopes": "y"})
	assert.Less(t, time.Since(from), 30*time.Second)
}

// Definitions that are refused are not kept in memory.
func TestAttackRefusedDefinitionsAreForgotten(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	for i := range 10 {
		text := mine(f.provider.URL)
		if i%2 == 0 {
			text += "nonsense: true\n"
		}
		f.Write(fmt.Sprint("providers/mine", i), map[string]any{"definition_yaml": text}).Refused(t, http.StatusBadRequest)
	}
	f.engine().decoded.Range(func(name, _ any) bool {
		assert.Fail(t, "it is kept", name)
		return true
	})
}

// Who picks a site for an open connection does not make it one whose credential somebody else brought: what was planted
// beside it stays unanswered.
func TestAttackPlantedCompanionBesideAPick(t *testing.T) {
	f := newFixture(t, sited(t), testenv.InProcess)
	s := newSites(t, f, "one", "two")
	read := f.Read("providers/sites", nil).OK(t)
	f.Delete("providers/sites", nil).OK(t)
	f.Write("providers/sites", map[string]any{
		"definition_yaml": "name: S\nextends: sites\ncompanions: [{name: hook, on: connection}]\n",
		"client_id":       providertest.ClientID, "client_secret": providertest.ClientSecret,
		"redirect_uris": appRedirect, "endpoints": read["endpoints"],
	}).OK(t)
	s.consent(t, "self/x", map[string]any{"private": false}, alice)
	f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
	f.Write("connections/self/x", siteInputs("site", "one"), alice).OK(t)
	f.Write("connections/user/e-alice/x", map[string]any{"companions": map[string]any{"hook": "known to bob"}}, bob).OK(t)
	assert.Empty(t, companionsOf(t, f.Read("creds/self/x", withIt, alice)))
	f.Write("connections/user/e-alice/x", siteInputs("site", "two"), bob).OK(t)
	assert.Empty(t, companionsOf(t, f.Read("creds/self/x", withIt, alice)))
}

// Where a key tells the host that it is for, nobody who need not know its secret sends that to another.
func TestAttackPublicHalfMovesTheKey(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/pair", map[string]any{"definition_yaml": `name: Pair
kinds: [basic]
endpoints: {health: 'https://{tenant}.keys.example.com/me'}
api_base: 'https://{tenant}.keys.example.com/v1'
health: {}
key:
  fields:
    - {name: username, required: true, derive: {tenant: '.*@([a-z]+)'}}
    - {name: password, required: true, secret: true}
send: {basic_user: '{username}', basic_password: '{password}'}
`}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u@mine", "password": "p", "verify": false}).OK(t)
	assert.Equal(t, "https://mine.keys.example.com/v1", f.Read("creds/pair", nil).OK(t)["api_base"])
	f.Write("connections/pair", map[string]any{"username": "u@mallory", "verify": false}).
		Refused(t, http.StatusBadRequest, "another host", `"password"`)
	f.Write("connections/pair", map[string]any{"username": "u@mallory"}).
		Refused(t, http.StatusBadRequest, "another host", `"password"`)
	f.Write("connections/pair", map[string]any{"username": "v@mine", "verify": false}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u@yours", "password": "p", "verify": false}).OK(t)
	assert.Equal(t, "https://yours.keys.example.com/v1", f.Read("creds/pair", nil).OK(t)["api_base"])
}

// It may be long until it can be asked what a grant reaches, or whose it is. Who deletes, disables or moves away
// meanwhile has the credential shown to nobody.
func TestAttackIdentificationWaitsWhilePeopleSayNo(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.provider.Next(providers.StepIdentity, outage)
	f.connect(t, "slack")
	f.Advance(time.Minute)
	asked, release := f.asked(), f.full(t)
	var all sync.WaitGroup
	all.Go(func() { assert.NoError(t, f.engine().identifyAgain(t.Context(), aKey("slack"))) })
	require.Eventually(t, func() bool { return f.engine().gate.Report().Waiting == 1 }, time.Minute, time.Millisecond)
	f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
	release()
	all.Wait()
	assert.Equal(t, asked, f.asked())
	f.Write("connections/slack", map[string]any{"disabled": false}).OK(t)
	require.NoError(t, f.engine().identifyAgain(t.Context(), aKey("slack")))
	assert.Equal(t, asked+1, f.asked())
}

// A definition that names another token endpoint for the one kind that has codes is not of the service that it says.
func TestAttackCodeEndpointOfOneKind(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	shared := map[string]any{"client_id": "id", "redirect_uris": appRedirect, "definition_yaml": mine(f.provider.URL)}
	f.Write("providers/mine", shared).OK(t)
	shared["definition_yaml"] = strings.Replace(mine(f.provider.URL), "endpoints:", "token: {by_kind: "+
		"{authorization_code: {endpoint: collect}}}\nendpoints:\n  collect: https://mallory.example.com/codes", 1)
	f.Write("providers/other", shared).Refused(t, http.StatusConflict, "redirect_uris", "answers from elsewhere")
}

func TestAttackPickWaitsWhilePeopleSayNo(t *testing.T) {
	f := newFixture(t, sited(t), testenv.InProcess)
	s := newSites(t, f, "one", "two")
	s.consent(t, "x", nil).OK(t)
	lists := s.lists()
	waits := make(chan testenv.Result)
	release := f.fullOf(t, "sites")
	go func() { waits <- f.Write("connections/x", siteInputs("site", "three")) }()
	require.Eventually(t, func() bool { return f.engine().gate.Report().Waiting == 1 }, time.Minute, time.Millisecond)
	f.Write("connections/x", map[string]any{"disabled": true}).OK(t)
	release()
	(<-waits).Refused(t, http.StatusConflict, "shown to nobody")
	assert.Equal(t, lists, s.lists())
}

// Who brings a former key back need not know it, so it goes nowhere but where it was.
func TestAttackFormerKeyMoves(t *testing.T) {
	f := newFixture(t, placed(t), testenv.InProcess)
	f.Write("providers/pair", nil).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u", "password": "first"}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u", "password": "second"}).OK(t)
	f.Write("connections/pair", map[string]any{"restore_former": true, "inputs": mallorysShop}, bob).
		Refused(t, http.StatusBadRequest, "where the credential belongs", `"password"`)
	assert.Equal(t, "second", f.Read("creds/pair", nil).OK(t)["password"])
	f.Write("connections/pair", map[string]any{"restore_former": true}).OK(t)
	assert.Equal(t, "first", f.Read("creds/pair", nil).OK(t)["password"])

	long := strings.Repeat("x", 40<<10)
	f.Write("connections/pair", map[string]any{"username": "u", "password": long}).OK(t)
	f.Write("connections/pair", map[string]any{"username": "u", "password": "third"}).OK(t)
	f.Write("connections/pair", map[string]any{"restore_former": true}).
		Refused(t, http.StatusConflict, "has no former key")
}
