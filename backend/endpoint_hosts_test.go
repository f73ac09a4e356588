package backend

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// based is a definition whose host an input names, and another whose host a connection names below a fixed domain.
const (
	based = `
id: based
name: Based
kinds: [authorization_code]
inputs:
  - {name: base, set_by: provider, required: true, pattern: 'http://[a-z0-9.:]+'}
endpoints: {authorize: '{base}/authorize', token: '{base}/token', identity: '{base}/userinfo', revoke: '{base}/revoke'}
refresh: {token: may_rotate}
identity: {method: GET}
account: {id: [sub]}
`
	shops = `
id: shops
name: Shops
kinds: [authorization_code]
inputs:
  - {name: shop, set_by: connection, required: true, pattern: '[a-z]+'}
endpoints: {authorize: 'https://{shop}.shop.example.com/a', token: 'https://{shop}.shop.example.com/t'}
`
)

func withInputs(t *testing.T) Options {
	t.Helper()
	files := fstest.MapFS{"based.yaml": {Data: []byte(based)}, "shops.yaml": {Data: []byte(shops)}}
	for _, name := range []string{"oauth2.yaml", "oidc.yaml", "google.yaml", "github.yaml"} {
		data, err := os.ReadFile("../providers/catalog/" + name)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
	catalog, err := providers.NewRegistry(files)
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// based configures a provider whose host is an input, and connects an account.
func (f *fixture) based(t *testing.T) {
	t.Helper()
	f.Write("providers/based", map[string]any{
		"inputs": map[string]any{"base": f.provider.URL}, "client_id": providertest.ClientID,
		"client_secret": providertest.ClientSecret, "redirect_uris": appRedirect,
	}).OK(t)
	f.Write("exchange", f.own(t, "slack", map[string]any{"provider": "based"})).OK(t)
}

func (f *fixture) calls() int {
	n := 0
	for _, step := range []providers.Step{"token", "refresh", "revoke", "identity", "discovery", "jwks"} {
		n += f.provider.Count(step)
	}
	return n
}

// A host that an input names is called only as long as endpoint_hosts lets it be.
func TestEndpointHostsOfAnInput(t *testing.T) {
	eachWith(t, withInputs(t), func(t *testing.T, f *fixture) {
		f.based(t)
		parked := f.own(t, "parked", map[string]any{"provider": "based"})
		f.Write("config", map[string]any{"endpoint_hosts": "id.example.com"}).OK(t)
		calls := f.calls()

		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "endpoint_hosts", `"127.0.0.1"`, "nothing was sent")
		view := f.Read("connections/slack", nil).OK(t)
		assert.Equal(t, "active", view["status"])
		assert.Equal(t, "misconfigured", members(t, view["last_error"])["class"])
		assert.Empty(t, members(t, f.Read("providers/based", nil).OK(t)["circuit"]), "the provider knows nothing of it")
		f.Write("exchange", parked).Refused(t, http.StatusConflict, "endpoint_hosts", `"127.0.0.1"`)
		f.Write("auth-code-url/new", map[string]any{"provider": "based"}).Refused(t, http.StatusConflict,
			"endpoint_hosts", `"127.0.0.1"`)
		f.Write("connections/imported", map[string]any{"provider": "based", "access_token": "x"}).OK(t)
		deleted := f.Delete("connections/imported", nil)
		deleted.OK(t)
		assert.Contains(t, strings.Join(deleted.Warnings, " "), "endpoint_hosts")
		assert.Equal(t, calls, f.calls())

		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1"}).OK(t)
		f.Advance(2 * time.Hour)
		f.Read("creds/slack", nil).OK(t)
		assert.Equal(t, calls+1, f.calls(), "what was refused here is tried again without anybody's help")
	})
}

// What the definition fixes needs no entry, whatever stands before it.
func TestEndpointHostsSpareWhatTheDefinitionFixes(t *testing.T) {
	eachWith(t, withInputs(t), func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"endpoint_hosts": "id.example.com"}).OK(t)
		app := map[string]any{"client_id": "id", "client_secret": "s"}
		f.Write("providers/google", app).OK(t)
		f.Write("providers/shops", app).OK(t)
		f.start(t, "g", map[string]any{"provider": "google"})
		f.start(t, "s", map[string]any{"provider": "shops", "inputs": map[string]any{"shop": "mine"}})
	})
}

// Where the browser is sent counts too, though nobody of ours calls it.
func TestEndpointHostsOfTheBrowser(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		settings := with(f.acme(), map[string]any{"endpoints": map[string]any{
			"authorize": "https://browser.example.com/a", "token": f.provider.URL + "/token",
		}})
		f.Write("providers/acme", settings).OK(t)
		f.start(t, "a", nil)
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1"}).OK(t)
		f.Write("auth-code-url/b", map[string]any{"provider": "acme"}).Refused(t, http.StatusConflict,
			`endpoint_hosts on config does not allow "browser.example.com"`)
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,*.example.com"}).OK(t)
		f.start(t, "c", nil)
	})
}

// An issuer's endpoints need not stand where the issuer does. The refusal tells all that are missing.
func TestEndpointHostsOfADiscoveryDocument(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{
			"egress_allow": "127.0.0.1,localhost", "endpoint_hosts": "127.0.0.1",
		}).OK(t)
		elsewhere := strings.Replace(f.provider.URL, "127.0.0.1", "localhost", 1)
		document, err := json.Marshal(map[string]any{
			"issuer": f.provider.URL, "authorization_endpoint": "https://browser.example.com/a",
			"token_endpoint": elsewhere + "/token", "jwks_uri": "https://keys.example.com/jwks",
			"introspection_endpoint": "https://unused.example.com/",
		})
		require.NoError(t, err)
		answer := func() {
			f.provider.Next(providers.StepDiscovery, providertest.Respond(http.StatusOK, string(document)))
		}
		answer() // to the write, which keeps it
		f.issuer(t)
		f.Write("auth-code-url/a", map[string]any{"provider": "idp"}).Refused(t, http.StatusConflict,
			`does not allow "browser.example.com", "keys.example.com", "localhost"`)
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,localhost,*.example.com"}).OK(t)
		answer()
		f.start(t, "a", map[string]any{"provider": "idp"})

		f.Write("config", map[string]any{"endpoint_hosts": "id.example.com"}).OK(t)
		calls := f.calls()
		f.Write("auth-code-url/b", map[string]any{"provider": "idp"}).Refused(t, http.StatusConflict,
			`does not allow "127.0.0.1"`)
		assert.Equal(t, calls, f.calls(), "not even the document is fetched")
	})
}

// altered changes an entry of storage as an older or a damaged release might have written it.
func (f *fixture) altered(t *testing.T, key string, change func(entry map[string]any)) {
	t.Helper()
	stored, err := f.Storage.Get(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, stored, key)
	var entry map[string]any
	require.NoError(t, stored.DecodeJSON(&entry))
	change(entry)
	stored.Value, err = json.Marshal(entry)
	require.NoError(t, err)
	require.NoError(t, f.Storage.Put(t.Context(), stored))
}

// A value that was stored before the definition asked for more is not sent anywhere by it.
func TestStoredInputsAreMatchedWhenTheyAreUsed(t *testing.T) {
	eachWith(t, withInputs(t), func(t *testing.T, f *fixture) {
		app := map[string]any{"client_id": "id", "client_secret": "s"}
		f.Write("providers/shops", app).OK(t)
		f.Write("connections/old", map[string]any{
			"provider": "shops", "refresh_token": "r", "access_token": "a", "expires_in": 60,
			"inputs": map[string]any{"shop": "mine"},
		}).OK(t)
		f.altered(t, "connection/org/default/old", func(c map[string]any) { c["inputs"] = map[string]any{"shop": "EVIL"} })
		f.restart(t)
		f.Advance(time.Hour)
		f.Write("refresh/old", nil).Refused(t, http.StatusConflict, `input "shop"`, "nothing was sent")
		assert.Equal(t, "misconfigured", members(t, f.Read("connections/old", nil).OK(t)["last_error"])["class"])
		f.Write("auth-code-url/old", nil).Refused(t, http.StatusConflict, `input "shop"`)
	})
}

// The tokens of a GitHub server of one's own are not for the API of github.com.
func TestGitHubHostWithoutItsAPI(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		app := map[string]any{"client_id": "id", "client_secret": "s"}
		host := map[string]any{"host": "git.example.com"}
		f.Write("providers/github", with(app, map[string]any{"inputs": host})).Refused(t, http.StatusBadRequest,
			`input "host" needs "api_url"`)
		assert.Equal(t, http.StatusNotFound, f.Read("providers/github", nil).Status)
		f.Write("providers/github", with(app, map[string]any{"inputs": with(host, map[string]any{
			"api_url": "https://git.example.com/api/v3",
		})})).OK(t)
		f.start(t, "g", map[string]any{"provider": "github"})
		f.altered(t, "provider/github", func(p map[string]any) { p["inputs"] = host })
		f.restart(t)
		f.Write("auth-code-url/g", map[string]any{"provider": "github"}).Refused(t, http.StatusConflict,
			`input "host" needs "api_url"`)

		f.Write("providers/github_enterprise", app).OK(t) // the required one may come later
		f.Write("auth-code-url/e", map[string]any{"provider": "github_enterprise"}).Refused(t, http.StatusBadRequest,
			`input "host" is missing`)
		f.Write("providers/github_enterprise", map[string]any{"inputs": host, "client_secret": "s"}).OK(t)
		assert.Contains(t, f.start(t, "e", map[string]any{"provider": "github_enterprise"})["url"],
			"https://git.example.com/login/oauth/authorize?")
	})
}
