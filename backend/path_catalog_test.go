package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCatalogList(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		list := f.List("catalog/").OK(t)
		assert.Subset(t, texts(t, list["keys"]), []string{
			"github", "google", "http_basic", "oauth2", "oidc", "openai", "slack",
		})
		slack := members(t, list["key_info"])["slack"].(map[string]any)
		assert.Equal(t, "Slack (user token)", slack["name"])
		assert.Equal(t, []any{"authorization_code"}, slack["kinds"])
	})
}

// Whoever may read the catalogue sees by which names a service can be connected here, and nothing else of a provider.
func TestCatalogTellsWhatIsConfigured(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		of := func(id string) any {
			return members(t, f.Read("catalog", nil).OK(t)["key_info"])[id].(map[string]any)["providers"]
		}
		assert.Equal(t, []any{}, of("slack"))
		assert.Equal(t, []any{"acme"}, of("oauth2"))
		for _, name := range []string{"slack-emea", "slack"} {
			f.Write("providers/"+name, map[string]any{
				"definition": "slack", "client_id": "the-id", "client_secret": "the-secret", "frozen": name == "slack",
			}).OK(t)
		}
		assert.Equal(t, []any{"slack", "slack-emea"}, of("slack"), "frozen ones too")
		f.Delete("providers/slack", nil).OK(t)
		assert.Equal(t, []any{"slack-emea"}, of("slack"))
		assert.NotContains(t, fmt.Sprint(f.Read("catalog", nil).OK(t)), "the-id")
	})
}

func TestCatalogRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		openai := members(t, f.Read("catalog/openai", nil).OK(t))
		key := openai["key_fields"].(map[string]any)["api_key"].(map[string]any)
		assert.Equal(t, true, key["required"])
		assert.Equal(t, true, key["secret"])
		assert.Equal(t, "connection", key["set_by"])
		assert.Equal(t, "Bearer {api_key}", openai["send"].(map[string]any)["headers"].(map[string]any)["Authorization"])

		github := members(t, f.Read("catalog/github", nil).OK(t))
		assert.Equal(t, "provider", github["inputs"].(map[string]any)["host"].(map[string]any)["set_by"])
		assert.NotEmpty(t, github["endpoints"].(map[string]any)["token"])
		assert.Equal(t, "rotating", github["refresh"].(map[string]any)["token"])
		assert.Equal(t, map[string]any{
			"from": "", "access_token": "8h", "refresh_token": "184d", "unused": "", "consent": "",
		}, github["lifetimes"])
		assert.Equal(t, map[string]any{"required": false, "secret": false, "from": []any{"identity"}},
			github["connection_config"].(map[string]any)["login"])
		assert.Empty(t, github["limits_per_minute"])
		assert.Equal(t, "{organization}",
			openai["send"].(map[string]any)["optional_headers"].(map[string]any)["OpenAI-Organization"])
	})
}

// What is only shown is shown.
func TestCatalogShows(t *testing.T) {
	const telling = `id: telling
name: Telling
kinds: [api_key, authorization_code]
checked: '2026-11-29'
setup:
  app_url: https://example.com/apps
  manage_url: https://example.com/grants
  steps: [Make an app.]
  needs: [An administrator.]
scopes: {default: [mail], about: {mail: Read mail.}}
endpoints:
  authorize: https://example.com/authorize
  token: https://example.com/token
  health: 'https://api.example.com/{api_key}/me'
key:
  fields: [{name: api_key, secret: true}]
  send: {path: '/{api_key}'}
  also: [{query: {key: '{api_key}'}}]
health: {per_minute: 30}
`
	eachWith(t, withDefinition(t, "telling", telling), func(t *testing.T, f *fixture) {
		read := members(t, f.Read("catalog/telling", nil).OK(t))
		assert.Equal(t, "2026-11-29", read["checked"])
		setup := read["setup"].(map[string]any)
		assert.Equal(t, "https://example.com/grants", setup["manage_url"])
		assert.Equal(t, []any{"Make an app."}, setup["steps"])
		assert.Equal(t, []any{"An administrator."}, setup["needs"])
		assert.Equal(t, map[string]any{"mail": "Read mail."}, read["scopes"].(map[string]any)["about"])
		assert.Empty(t, read["check"])
		send := read["send"].(map[string]any)
		assert.Equal(t, "/{api_key}", send["path"])
		assert.Equal(t, "{api_key}", send["also"].([]any)[0].(map[string]any)["query"].(map[string]any)["key"])
		assert.InDelta(t, 30, number(read["limits_per_minute"].(map[string]any)["health"]), 0)
	})
}

// An app can be created with what the catalogue tells, before there is a provider; and with what the provider tells,
// once it asks for other scopes.
func TestManifest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		app := func(path string, params map[string]any) (urls, scopes any) {
			text := members(t, f.Read(path, params).OK(t))["manifest"].(string)
			var made struct {
				OAuth struct {
					URLs   []string            `json:"redirect_urls"`
					Scopes map[string][]string `json:"scopes"`
				} `json:"oauth_config"`
			}
			require.NoError(t, json.Unmarshal([]byte(text), &made), text)
			return made.OAuth.URLs, made.OAuth.Scopes["user"]
		}
		assert.Empty(t, members(t, f.Read("catalog/oauth2", nil).OK(t))["manifest"])
		callback := callbackOf(t, f, "slack")
		urls, scopes := app("catalog/slack", nil)
		assert.Equal(t, []string{callback}, urls)
		assert.Equal(t, []string{"users:read", "channels:history", "chat:write"}, scopes)
		urls, _ = app("catalog/slack", map[string]any{"provider": "slack-eu"})
		assert.Equal(t, []string{callback + "-eu"}, urls)
		f.Read("catalog/slack", map[string]any{"provider": "../x"}).Refused(t, http.StatusBadRequest, "provider")

		f.Write("providers/slack-eu", map[string]any{
			"definition": "slack", "client_id": "id", "client_secret": "s", "scopes": "users:read",
			"allowed_scopes": "users:read,files:read", "redirect_uris": "https://app.example.com/back",
		}).OK(t)
		urls, scopes = app("providers/slack-eu", nil)
		assert.Equal(t, []string{callback + "-eu", "https://app.example.com/back"}, urls)
		assert.Equal(t, []string{"users:read", "files:read"}, scopes)

		f.Write("providers/own", map[string]any{
			"client_id": "id", "client_secret": "s", "redirect_uris": "https://app.example.com/back",
			"definition_yaml": "name: Own\nextends: slack\nsetup:\n  manifest: '{\"oauth_config\": " +
				"{\"redirect_urls\": {redirect_uri}}}'\n",
		}).OK(t)
		urls, _ = app("catalog/provider:own", nil)
		assert.Equal(t, []string{strings.TrimSuffix(callback, "slack") + "own"}, urls)
		f.Write("config", map[string]any{"public_url": ""}).OK(t)
		assert.Empty(t, members(t, f.Read("catalog/slack", nil).OK(t))["manifest"])
	})
}

// Who may read the catalogue and no provider must learn nothing of one: not whether there is one, whom it leads to,
// what it may ask for, or at which host it is.
func TestAttackCatalogTellsOfAProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		read := func(path, provider string) string {
			r := f.Read(path, map[string]any{"provider": provider}, bob)
			return strings.ReplaceAll(fmt.Sprint(r.Status, r.Text, r.OK(t)["manifest"]), provider, "<provider>")
		}
		f.Write("providers/payroll", map[string]any{
			"definition": "slack", "client_id": "id", "client_secret": "s", "scopes": "users:read",
			"allowed_scopes": "users:read,files:read", "redirect_uris": "https://payroll.example.com/back",
		}).OK(t)
		f.Write("providers/forge", map[string]any{
			"definition": "github_enterprise", "client_id": "id", "client_secret": "s",
			"inputs": map[string]any{"host": "git.example.com"},
		}).OK(t)
		assert.Equal(t, read("catalog/slack", "absent"), read("catalog/slack", "payroll"))
		assert.Equal(t, read("catalog/github_enterprise", "absent"), read("catalog/github_enterprise", "forge"))
		assert.Contains(t, f.Read("providers/forge", nil).OK(t)["manifest"], "https://git.example.com/")
		require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "provider/payroll", Value: []byte("{")}))
		assert.Equal(t, read("catalog/slack", "absent"), read("catalog/slack", "payroll"), "of one that is damaged too")
	})
}

func callbackOf(t *testing.T, f *fixture, provider string) string {
	t.Helper()
	config := members(t, f.Read("config", nil).OK(t))
	return config["public_url"].(string) + "/v1/connectors/callback/" + provider
}

func TestCatalogSearch(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for search, want := range map[string][]string{
			"google SEARCH":  {"google_search_console"},
			"bot slack":      {"slackbot"},
			"work hubspot":   {"hubspot"},
			"mail api_key":   {"sendgrid"},
			"nothing at all": nil,
		} {
			list := f.Read("catalog", map[string]any{"search": search}).OK(t)
			if want == nil {
				assert.Nil(t, list["keys"], search)
				continue
			}
			assert.Equal(t, want, texts(t, list["keys"]), search)
			assert.NotNil(t, list["key_info"], search)
		}
	})
}

// Where nothing can tell whether a key works, that is told.
func TestCatalogTellsOfKeysWithoutACheck(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Equal(t, "none", members(t, f.Read("catalog/ftp", nil).OK(t))["check"])
	})
}

func TestCatalogUnknown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		absent := f.Read("catalog/nothing", nil)
		assert.Equal(t, http.StatusNotFound, absent.Status)
		assert.Nil(t, absent.Response)
		f.Read("catalog/Slack", nil).Refused(t, http.StatusBadRequest, "definition name")
		f.Read("catalog/..", nil).Refused(t, http.StatusBadRequest, "definition name")
		f.Write("catalog/slack", map[string]any{"name": "mine"}).Refused(t, http.StatusMethodNotAllowed)
	})
}

// Definitions are shared by all mounts of the process; the race detector judges this test.
func TestCatalogReadsShareNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var readers sync.WaitGroup
		for _, id := range texts(t, f.List("catalog/").OK(t)["keys"]) {
			for range 4 {
				readers.Go(func() { assert.Equal(t, http.StatusOK, f.Read("catalog/"+id, nil).Status) })
			}
		}
		readers.Wait()
	})
}

func TestCatalogShowsVariants(t *testing.T) {
	const more = `
inputs:
  - name: environment
    set_by: provider
    required: true
    variants:
      live: {api_host: api.example.com}
      sandbox: {api_host: api.example.org}
api_base: https://{api_host}/v1
`
	eachWith(t, unproven(t, more), func(t *testing.T, f *fixture) {
		told := members(t, members(t, f.Read("catalog/oauth2", nil).OK(t)["inputs"])["environment"])
		assert.Equal(t, "api.example.org", members(t, members(t, told["variants"])["sandbox"])["api_host"])
		f.Write("providers/other", with(f.acme(), map[string]any{"inputs": map[string]any{"environment": "sandbx"}})).
			Refused(t, http.StatusBadRequest, "must be one of: live, sandbox")
	})
}
