package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// People paste the address of the page that they look at.
func TestPastedHosts(t *testing.T) {
	const text = `id: sites
name: Sites
kinds: [authorization_code]
inputs:
  - {name: site, set_by: connection, required: true, lower: true, pattern: '[a-z0-9-]+', strip: .sites.example.com}
  - {name: host, set_by: provider, required: true, pattern: '[a-z0-9.-]+', example: https://Git.example.com/}
  - {name: base, set_by: provider, required: true, pattern: 'https://[^?#]+'}
  - {name: path, set_by: provider, required: true, pattern: '[a-z]+'}
endpoints:
  authorize: https://{site}.sites.example.com/authorize
  token: https://{host}/token
  revoke: '{base}/revoke/{path}'
revoke: {}
`
	_, err := Decode("sites.yaml", []byte(text))
	require.ErrorContains(t, err, `inputs[1].example: example of input "host" does not match`, "it is not lower: true")
	d, err := Decode("sites.yaml", []byte(strings.Replace(text, "Git.", "git.", 1)))
	require.NoError(t, err)
	for written, want := range map[string]string{
		"acme": "acme", "ACME": "acme", "acme.sites.example.com": "acme", "https://Acme.sites.example.com/": "acme",
		"http://acme.sites.example.com/wiki/page?x=1": "acme", "acme/": "acme",
	} {
		got, err := d.CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{"site": written})
		require.NoError(t, err, written)
		assert.Equal(t, map[string]string{"site": want}, got)
	}
	for _, wrong := range []string{"ftp://acme", "https://me@acme/", "https://", "/", "acme:8443/x"} {
		_, err := d.CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{"site": wrong})
		require.ErrorContains(t, err, `input "site" must match`, wrong)
	}

	app := &App{Definition: d, Inputs: map[string]string{
		"host": "https://git.example.com/login", "base": "https://git.example.com/api/", "path": "x",
	}}
	_, err = d.CheckInputs(SetByProvider, "", app.Inputs)
	require.NoError(t, err)
	assert.Equal(t, "https://git.example.com", app.Origins()[1])
	merged, err := d.MergeInputs(KindAuthorizationCode, app.Inputs, map[string]string{"site": "acme"})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"site": "acme", "host": "git.example.com", "base": "https://git.example.com/api/", "path": "x",
	}, merged)
	require.Nil(t, d.checkUsed(KindAuthorizationCode, app.Inputs, map[string]string{"site": "acme"}, merged))
	_, err = d.CheckInputs(SetByProvider, "", map[string]string{"path": "a/b"})
	require.ErrorContains(t, err, `input "path" must match`, "only hosts are cut")
}
