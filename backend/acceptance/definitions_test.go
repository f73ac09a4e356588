package acceptance

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// sitesYAML is a service that no catalogue has: a consent opens several sites, and an app of its own works on the one
// that the connection names.
const sitesYAML = `
name: Sites
kinds: [authorization_code, client_credentials]
inputs:
  - {name: site, set_by: connection, pattern: '[a-z]+'}
endpoints:
  authorize: SERVICE/authorize
  token: SERVICE/token
  identity: SERVICE/userinfo
  resources: LIST/sites
refresh: {token: rotating}
resources: {id: id, name: title, pick: site}
identity: {}
account: {id: [sub]}
connection_config: [{name: site_url, from: resources, path: [url]}]
companions: [{name: signing, on: provider}, {name: hook, on: connection}]
`

// own is a provider whose definition stands on the mount, and a service for it. first, if there are any, say that the
// list of sites is not answered.
func (e *engine) own(t *testing.T, first ...func(http.ResponseWriter, *http.Request) (answered bool)) *service {
	t.Helper()
	s := &service{engine: e, Server: providertest.New(t), provider: "sites"}
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, do := range first {
			if do(w, r) {
				return
			}
		}
		if !s.Alive(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode([]map[string]string{
			{"id": "one", "title": "Site one", "url": "https://one.example.com"},
			{"id": "two", "title": "Site two", "url": "https://two.example.com"},
		})
	}))
	t.Cleanup(list.Close)
	file := filepath.Join(t.TempDir(), "sites.yaml")
	text := strings.NewReplacer("SERVICE", s.URL, "LIST", list.URL).Replace(sitesYAML)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	made := e.cli(t, "write", "{mount}/providers/sites", "definition_yaml=@"+file, "client_id="+providertest.ClientID,
		"client_secret="+providertest.ClientSecret, "redirect_uris="+appRedirect+"sites",
		"kinds=authorization_code,client_credentials", "companions_for=org/default", "companions=signing=the-apps-secret")
	require.Zero(t, made.exit, made.out)
	return s
}

// refused asserts with which status and words Vault refuses a request.
func refused(t *testing.T, err error, status int, says string) {
	t.Helper()
	var answer *api.ResponseError
	require.ErrorAs(t, err, &answer)
	assert.Equal(t, status, answer.StatusCode)
	assert.ErrorContains(t, err, says)
}

// TestDefinitionOfTheMount connects an account at a service whose definition an operator wrote, picks one of the sites
// that the consent opened, and has companions go along.
func TestDefinitionOfTheMount(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.own(t)
	assert.Equal(t, "Sites", e.read(t, "catalog/provider:sites")["name"])

	made := e.write(t, "exchange", s.consent(t, "x"))
	assert.Equal(t, []any{"pending", "choice"}, []any{made["status"], made["status_reason"]})
	assert.Len(t, made["choices"], 2)
	_, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/x")
	refused(t, err, http.StatusConflict, "inputs=site=<id> on connections/org/default/x")
	_, err = e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/connections/x",
		map[string]any{"inputs": map[string]any{"site": "three"}})
	refused(t, err, http.StatusBadRequest, `nothing of id "three" to pick`)
	picked := e.cli(t, "write", "{mount}/connections/x", "inputs=site=two") // as the error says
	require.Zero(t, picked.exit, picked.out)
	creds := e.read(t, "creds/x")
	assert.Equal(t, map[string]any{"site": "two", "site_url": "https://two.example.com"}, creds["connection_config"])
	assert.True(t, s.Alive(creds["access_token"].(string)))
	assert.NotContains(t, creds, "companions")

	e.write(t, "connections/x", map[string]any{"companions": map[string]any{"hook": "the-connections-secret"}})
	with, err := e.vault.Client.Logical().ReadWithDataWithContext(t.Context(), e.path+"/creds/x",
		url.Values{"include": {"companions"}})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"signing": "the-apps-secret", "hook": "the-connections-secret"},
		with.Data["companions"])
	for _, path := range []string{"connections/x", "providers/sites"} {
		shown, err := json.Marshal(e.read(t, path))
		require.NoError(t, err)
		assert.NotContains(t, string(shown), "s-secret", path)
	}
}

// TestBoundInputs has the app itself act for an owner: on the site that the operator bound to it, and on no other.
func TestBoundInputs(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.own(t)
	app := func(site string) map[string]any {
		return map[string]any{
			"provider": "sites", "kind": "client_credentials", "inputs": map[string]any{"site": site},
		}
	}
	write := func(path, site string) error {
		_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/connections/"+path, app(site))
		return err
	}
	refused(t, write("org/acme/app", "one"), http.StatusForbidden, "bound_inputs on providers/sites")
	assert.Zero(t, s.Count("token"))
	bound := e.cli(t, "write", "{mount}/providers/sites", `bound_inputs={"org/acme": {"site": ["one"]}}`)
	require.Zero(t, bound.exit, bound.out)
	require.NoError(t, write("org/acme/app", "one"))
	refused(t, write("org/acme/another", "two"), http.StatusForbidden, "bound_inputs on providers/sites")
	refused(t, write("org/beta/app", "one"), http.StatusForbidden, "bound_inputs on providers/sites")
	assert.Equal(t, 1, s.Count("token"))
	assert.True(t, s.Alive(e.token(t, "org/acme/app")))

	e.write(t, "providers/sites", map[string]any{"bound_inputs": map[string]any{}})
	view := e.read(t, "connections/org/acme/app")
	assert.Equal(t, []any{"disabled", "input_not_bound"}, []any{view["status"], view["status_reason"]})
	_, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/org/acme/app")
	refused(t, err, http.StatusForbidden, "input_not_bound")
}
