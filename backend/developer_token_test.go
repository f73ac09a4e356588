package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// ads is a definition of which the operator holds a token that goes along with each call.
func ads(url string) string {
	return strings.Replace(mine(url), "scopes:", `key:
  fields:
    - {name: developer_token, set_by: provider, required: true, secret: true, handed_out: true}
    - {name: manager, set_by: provider}
send:
  headers: {Authorization: 'Bearer {access_token}', Developer-Token: '{developer_token}'}
  optional_headers: {Manager: '{manager}'}
scopes:`, 1)
}

const devToken = "developer-token-of-the-operator-1234"

// What the operator holds for all goes along with a token where the definition says that applications send it, and only
// as a part of what is sent.
func TestDeveloperToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		f.ours(t, map[string]any{"definition_yaml": ads(f.provider.URL)})
		shown := members(t, f.Read("catalog/provider:mine", nil).OK(t)["key_fields"])
		assert.Equal(t, true, members(t, shown["developer_token"])["handed_out"])
		assert.Equal(t, false, members(t, shown["manager"])["handed_out"])
		f.Write("providers/mine", map[string]any{"manager": "7"}).Refused(t, http.StatusBadRequest, `"developer_token"`)
		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		f.Read("creds/a", map[string]any{"include": "send"}).
			Refused(t, http.StatusConflict, "developer_token", "an operator writes it")

		provider := f.Write("providers/mine", map[string]any{"developer_token": devToken}).OK(t)
		assert.Equal(t, []string{"developer_token"}, texts(t, provider["key_fields_set"]))
		sent := members(t, members(t, f.Read("creds/a", map[string]any{"include": "send"}).OK(t)["send"])["headers"])
		token := fmt.Sprint(f.Read("creds/a", nil).OK(t)["access_token"])
		assert.Equal(t, map[string]any{"Authorization": "Bearer " + token, "Developer-Token": devToken}, sent)
		f.Write("check/a", nil).OK(t)
		asked := f.provider.Requests(providers.StepIdentity)
		require.NotEmpty(t, asked)
		assert.Equal(t, devToken, asked[len(asked)-1].Header.Get("Developer-Token"))
		for _, path := range []string{"creds/a", "connections/a", "providers/mine", "catalog/provider:mine"} {
			assert.NotContains(t, fmt.Sprint(f.Read(path, nil).OK(t)), devToken, path)
		}
		f.Write("connections/a", map[string]any{"developer_token": "mine"}).
			Refused(t, http.StatusBadRequest, `unknown field "developer_token"`)

		f.Write("providers/mine", map[string]any{"manager": "7"}).OK(t)
		again := f.Read("creds/a", map[string]any{"include": "send"})
		assert.Equal(t, "7", members(t, members(t, again.OK(t)["send"])["headers"])["Manager"])
		f.Write("providers/mine", map[string]any{"client_id": "another"}).OK(t)
		r := f.Read("creds/a", map[string]any{"include": "send"})
		r.Refused(t, http.StatusConflict)
		assert.NotContains(t, r.Text, devToken)
	})
}

// Beside a key it is no field of it.
func TestDeveloperTokenBesideAKey(t *testing.T) {
	const text = `
id: pair
name: Pair
kinds: [api_key]
key:
  fields:
    - {name: api_key, required: true, secret: true}
    - {name: app_key, set_by: provider, secret: true, handed_out: true}
    - {name: region, set_by: provider, default: eu}
  send: {headers: {X-Key: '{api_key}', X-App: '{app_key}', X-Region: '{region}'}}
`
	eachWith(t, withDefinition(t, "pair", text), func(t *testing.T, f *fixture) {
		f.Write("providers/pair", map[string]any{"app_key": devToken, "region": "us"}).OK(t)
		f.Write("connections/pair", map[string]any{"api_key": "k"}).OK(t)
		plain := f.Read("creds/pair", nil).OK(t)
		assert.Equal(t, "k", plain["api_key"])
		for _, name := range []string{"app_key", "region"} {
			assert.NotContains(t, plain, name)
			assert.NotContains(t, f.Read("connections/pair", nil).OK(t)["key"], name)
		}
		sent := members(t, f.Read("creds/pair", map[string]any{"include": "send"}).OK(t)["send"])["headers"]
		assert.Equal(t, map[string]any{"X-Key": "k", "X-App": devToken, "X-Region": "us"}, members(t, sent))
	})
}

// Whoever may write the definition of a provider, and not its secrets, has none of them handed out by a word in it.
func TestAttackDeveloperTokenIsMarked(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
	marked := ads(f.provider.URL)
	quiet := strings.Replace(strings.Replace(marked, ", handed_out: true", "", 1),
		", Developer-Token: '{developer_token}'", "", 1)
	quiet = strings.Replace(quiet, "identity: {}", "identity: {headers: {Developer-Token: '{developer_token}'}}", 1)
	f.ours(t, map[string]any{"definition_yaml": quiet, "developer_token": devToken})
	f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
	assert.NotContains(t, fmt.Sprint(f.Read("creds/a", map[string]any{"include": "send"}).OK(t)), devToken)
	for _, text := range []string{
		strings.Replace(quiet, "headers: {Authorization: 'Bearer {access_token}'",
			"headers: {X: '{developer_token}', Authorization: 'Bearer {access_token}'", 1),
		strings.Replace(quiet, "send:", "api_base: 'https://api.example.com/{developer_token}'\nsend:", 1),
	} {
		f.Write("providers/mine", map[string]any{"definition_yaml": text}).
			Refused(t, http.StatusBadRequest, "developer_token")
	}
	changed := f.Write("providers/mine", map[string]any{
		"definition_yaml": marked, "client_secret": providertest.ClientSecret,
	})
	assert.Empty(t, changed.OK(t)["key_fields_set"])
	assert.Contains(t, strings.Join(changed.Warnings, " "), "points elsewhere")
	f.Write("exchange", f.own(t, "b", map[string]any{"provider": "mine"})).OK(t)
	for _, name := range []string{"a", "b"} {
		assert.NotContains(t, fmt.Sprint(f.Read("creds/"+name, map[string]any{"include": "send"})), devToken)
	}
}
