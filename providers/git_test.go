package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const forge = `id: forge
name: Forge
kinds: [authorization_code, api_key]
inputs:
  - {name: host, set_by: provider, by_kind: {api_key: {set_by: connection}}, required: true, pattern: '[A-Za-z0-9.-]+'}
  - {name: tenant, set_by: connection, default: main, pattern: '[a-z]+'}
api_base: https://{host}/api/{tenant}
endpoints:
  authorize: https://{host}/authorize
  token: https://{host}/token
  identity: https://{host}/me
git:
  hosts: ['{host}', 'git.{host}:8443', 'gist.example.com']
  username: oauth2
identity: {}
account: {id: [id]}
key:
  fields:
    - {name: token, required: true, secret: true}
  send: {headers: {X-Token: '{token}'}}
`

func TestGit(t *testing.T) {
	d, err := Decode("forge.yaml", []byte(forge))
	require.NoError(t, err)
	app := &App{Definition: d}
	got, err := app.Git(map[string]string{"host": "Code.Example.com", "tenant": "main"})
	require.NoError(t, err)
	assert.Equal(t, &GitAccess{
		Hosts: []string{"code.example.com", "git.code.example.com:8443", "gist.example.com"}, Username: "oauth2",
	}, got)
	for _, host := range []string{"a/b", "a@b", "a b", "a\nb", "", "a:b"} {
		_, err = app.Git(map[string]string{"host": host})
		assert.Error(t, err, "%q", host)
	}
	_, err = app.Git(nil)
	require.ErrorContains(t, err, "{host} has no value")
	plain, err := Decode("acme.yaml", []byte(acme))
	require.NoError(t, err)
	got, err = (&App{Definition: plain}).Git(nil)
	require.NoError(t, err)
	assert.Nil(t, got)
}

func TestMistakesInGit(t *testing.T) {
	_, err := Decode("forge.yaml", []byte(forge))
	require.NoError(t, err)
	const hosts = "['{host}', 'git.{host}:8443', 'gist.example.com']"
	for _, c := range []struct{ old, new, want string }{
		{hosts, "[]", "git.hosts: hosts is missing"},
		{"  hosts: " + hosts + "\n", "", "git.hosts: hosts is missing"},
		{hosts, "['https://x.example.com']", "without scheme and path"},
		{hosts, "['x.example.com/team']", "without scheme and path"},
		{hosts, "['x.example.com?a=b']", "without scheme and path"},
		{hosts, "['x.example.com:']", "without scheme and path"},
		{hosts, "['x.example.com:123456']", "without scheme and path"},
		{hosts, "['me@x.example.com']", "without scheme and path"},
		{hosts, "['*.example.com']", "without scheme and path"},
		{hosts, "['X.example.com']", "in small letters"},
		{hosts, "['']", "without scheme and path"},
		{hosts, "['{host}', '{host}']", "git.hosts[1]: \"{host}\" is named twice"},
		{hosts, "['{+host}']", "{+host} keeps slashes"},
		{hosts, "['{hots}']", "placeholder {hots} is not declared"},
		{hosts, "['{tenant}.example.com']", "{tenant} is no input that stands in the host"},
		{hosts, "['{token}']", "{token} is no input that stands in the host"},
		{hosts, "['{access_token}.example.com']", "{access_token} is no input that stands in the host"},
		{"username: oauth2", "username: 'a:b'", "git.username: \"a:b\""},
		{"username: oauth2", "username: '{host}'", "git.username"},
		{"username: oauth2", "user: oauth2", "git.user: unknown key"},
		{
			"    - {name: token,", "    - {name: user}\n    - {name: token,",
			"git: a key with several fields is no password",
		},
		{
			"required: true, secret: true}", "required: true, secret: true, json: {a: {}}}",
			"git: a key with several fields is no password",
		},
	} {
		text := strings.Replace(forge, c.old, c.new, 1)
		require.NotEqual(t, forge, text, c.old)
		_, err := Decode("forge.yaml", []byte(text))
		assert.ErrorContains(t, err, c.want, c.new)
	}
	// a host that whoever connects may choose at will, with a secret of the operator's beside it
	open := strings.Replace(forge, ", by_kind: {api_key: {set_by: connection}}", "", 1)
	_, err = Decode("forge.yaml", []byte(strings.Replace(open, "set_by: provider", "set_by: connection", 1)))
	assert.ErrorContains(t, err, "leaves open whose host it is")
}
