package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const manifestHead = `id: acme
name: Acme
kinds: [authorization_code]
endpoints:
  authorize: https://{host}/authorize
  token: https://{host}/token
inputs:
  - {name: title, set_by: either, pattern: '.*'}
  - {name: host, set_by: provider, default: acme.example.com, pattern: '[a-z.]+'}
  - {name: shop, set_by: connection, pattern: '[a-z]+', required: true}
authorize: {params: {shop: '{shop}', title: '{title}'}}
scopes: {default: [read], offline: [offline]}
setup:
`

func TestManifest(t *testing.T) {
	const jsonManifest = `  manifest: |
    {"on": "{host}", "oauth": {"urls": {redirect_uri}, "scopes": {scopes}}}
`
	const title = `  manifest: '{"title": "{title}", "urls": {redirect_uri}, "scopes": {scopes}}'
`
	const address = `  manifest: https://{host}/new?public=false&urls[]={redirect_uri}&scopes={scopes}
`
	uris := []string{"https://vault.example.com/v1/connectors/callback/a?x=1&y", "http://127.0.0.1/back"}
	for _, test := range []struct {
		name, manifest string
		app            App
		uris           []string
		want           string
	}{
		{
			name: "a document", manifest: jsonManifest, uris: uris, app: App{Scopes: []string{`wr"ite`}},
			want: `{
  "on": "acme.example.com",
  "oauth": {
    "urls": [
      "https://vault.example.com/v1/connectors/callback/a?x=1&y",
      "http://127.0.0.1/back"
    ],
    "scopes": [
      "wr\"ite",
      "offline",
      "more"
    ]
  }
}`,
		},
		{
			name: "an address", manifest: address, uris: uris, app: App{Inputs: map[string]string{"host": "https://here.example/x"}},
			want: "https://here.example/new?public=false" +
				"&urls[]=https%3A%2F%2Fvault.example.com%2Fv1%2Fconnectors%2Fcallback%2Fa%3Fx%3D1%26y" +
				"&urls[]=http%3A%2F%2F127.0.0.1%2Fback&scopes=read&scopes=offline&scopes=more",
		},
		{
			name: "a text with quotes, and no scopes", manifest: title, uris: uris[1:],
			app:  App{Inputs: map[string]string{"title": `say "hi"`}, ScopesIgnored: true},
			want: "{\n  \"title\": \"say \\\"hi\\\"\",\n  \"urls\": [\n    \"http://127.0.0.1/back\"\n  ],\n  \"scopes\": []\n}",
		},
		{
			name: "scopes that a person may leave out, and each once", manifest: address, uris: uris[1:],
			app: App{OptionalScopes: []string{"extra", "read"}},
			want: "https://acme.example.com/new?public=false&urls[]=http%3A%2F%2F127.0.0.1%2Fback" +
				"&scopes=read&scopes=offline&scopes=extra&scopes=more",
		},
		{
			name: "scopes are ignored", manifest: address, uris: uris[1:], app: App{ScopesIgnored: true},
			want: "https://acme.example.com/new?public=false&urls[]=http%3A%2F%2F127.0.0.1%2Fback",
		},
		{name: "nowhere to come back to", manifest: address},
		{name: "none", manifest: "  app_url: https://acme.example.com\n", uris: uris},
	} {
		t.Run(test.name, func(t *testing.T) {
			def, err := Decode("acme.yaml", []byte(manifestHead+test.manifest))
			require.NoError(t, err)
			test.app.Definition = def
			got, err := test.app.Manifest(test.uris, test.app.ManifestScopes([]string{"more", "*", "offline"}))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

// An operator's input without a default is named as long as it is missing.
func TestManifestWithoutItsHost(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	def, _ := r.Get("github_enterprise")
	_, err = (&App{Definition: def}).Manifest([]string{"https://vault.example.com"}, nil)
	require.ErrorContains(t, err, "{host}")
	def, err = Decode("acme.yaml", []byte(manifestHead+`  manifest: '{"title": "{title}", "urls": {redirect_uri}}'`+"\n"))
	require.NoError(t, err)
	_, err = (&App{Definition: def}).Manifest([]string{"https://vault.example.com"}, nil)
	require.ErrorContains(t, err, "{title}", "no empty text either")
	def, _ = r.Get("github_enterprise")
	got, err := (&App{Definition: def, Inputs: map[string]string{"host": "git.example.com"}}).Manifest(
		[]string{"https://vault.example.com"}, nil)
	require.NoError(t, err)
	assert.Equal(t, "https://git.example.com/settings/apps/new?public=false&webhook_active=false"+
		"&callback_urls[]=https%3A%2F%2Fvault.example.com", got)
}

// What an input's variant sets is the operator's as far as the input is.
func TestManifestOfVariants(t *testing.T) {
	text := books + "setup: {manifest: 'https://{auth_host}/new?u={redirect_uri}'}\n"
	def, err := Decode("books.yaml", []byte(text))
	require.NoError(t, err)
	for environment, host := range map[string]string{"": "id.books.example.com", "sandbox": "id.sandbox.example.org"} {
		app := App{Definition: def, Inputs: map[string]string{"environment": environment}}
		if environment == "" {
			app.Inputs = nil
		}
		got, err := app.Manifest([]string{"https://a.example"}, nil)
		require.NoError(t, err)
		assert.Equal(t, "https://"+host+"/new?u=https%3A%2F%2Fa.example", got)
	}
	_, err = Decode("books.yaml", []byte(strings.Replace(text, "set_by: either", "set_by: connection", 1)))
	require.ErrorContains(t, err, "setup.manifest: {auth_host} is the connection's")
}

func TestManifestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`{"urls": "{redirect_uri}"}`:                            "those stand without quotes",
		`{"urls": {redirect_uri}`:                               "nor is it JSON",
		`{"urls": []}`:                                          "{redirect_uri} is missing",
		`{"urls": {redirect_uri}, "id": "{client_id}"}`:         "{client_id} has no value before there is an app",
		`{"urls": {redirect_uri}, "id": "{hots}"}`:              "placeholder {hots} is not declared",
		`{"urls": {redirect_uri}, "shop": "{shop}"}`:            "{shop} is the connection's",
		`https://acme.example.com/new?u={redirect_uri}#part`:    "a fragment is never sent",
		`https://{shop}.example.com.evil/new?u={redirect_uri}x`: "{shop} is the connection's",
	} {
		_, err := Decode("acme.yaml", []byte(manifestHead+"  manifest: '"+text+"'\n"))
		require.ErrorContains(t, err, "setup.manifest", text)
		assert.ErrorContains(t, err, want, text)
	}
}
