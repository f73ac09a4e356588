package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCompanions(t *testing.T) {
	const text = `id: hooks
name: Hooks
kinds: [api_key]
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {X: '{api_key}'}}
companions:
  - {name: signing, on: provider, help: on the app's page, pattern: '[a-z]+'}
  - {name: hook, on: connection}
`
	d, err := Decode("hooks.yaml", []byte(text))
	require.NoError(t, err)
	require.NoError(t, d.CheckCompanion(SetByProvider, "signing", "good"))
	require.NoError(t, d.CheckCompanion(SetByConnection, "hook", "Whatever it is"))
	assert.Equal(t, []string{"hook"}, d.CompanionsOn(SetByConnection))
	for _, c := range []struct{ side, name, value, want string }{
		{SetByProvider, "hook", "x", "for the provider: allowed here are signing"},
		{SetByConnection, "other", "x", "for the connection: allowed here are hook"},
		{SetByProvider, "signing", "PLANTED", "must match [a-z]+ (on the app's page)"},
	} {
		err := d.CheckCompanion(c.side, c.name, c.value)
		require.ErrorContains(t, err, c.want)
		assert.NotContains(t, err.Error(), "PLANTED")
	}
	for _, c := range []struct{ old, new, want string }{
		{"name: hook, ", "name: signing, ", `hooks.yaml:8: companions[1].name: name "signing" is there twice`},
		{"name: hook, ", "name: Hook, ", "hooks.yaml:8: companions[1].name: "},
		{"{name: hook, on: connection}", "{name: hook}", `hooks.yaml:8: companions[1]: companion "hook": on is missing`},
		{"on: connection", "on: account", "hooks.yaml:8: companions[1].on: "},
		{"'[a-z]+'", "'['", "hooks.yaml:7: companions[0].pattern: "},
		{"'{api_key}'", "'{api_key} {hook}'", "placeholder {hook} is not declared"},
	} {
		_, err := Decode("hooks.yaml", []byte(strings.Replace(text, c.old, c.new, 1)))
		assert.ErrorContains(t, err, c.want)
	}
	slack := "name: Mine\nextends: slack\ncompanions: [{name: signing_secret, help: Ours.}, {name: hook, on: connection}]\n"
	r, err := Builtin()
	require.NoError(t, err)
	d, err = r.DecodeRuntime("mine", []byte(slack))
	require.NoError(t, err)
	assert.Equal(t, []Companion{
		{Name: "signing_secret", On: SetByProvider, Help: "Ours."}, {Name: "hook", On: SetByConnection},
	}, d.Companions, "they merge by name")
}
