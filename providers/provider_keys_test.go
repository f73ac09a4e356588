package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nothing is derived from what the operator holds, so no definition may say so.
func TestDeriveOfTheOperator(t *testing.T) {
	const text = `id: acme
name: Acme
kinds: [api_key]
key:
  fields:
    - {name: api_key, secret: true}
    - {name: app_key, set_by: provider, derive: {region: 'k-([a-z]+)'}}
send: {headers: {X: '{api_key}', Y: '{app_key}', Z: '{region}'}}
`
	_, err := Decode("acme.yaml", []byte(text))
	require.ErrorContains(t, err, `key.fields[1].derive: key field "app_key" is the operator's`)
	d, err := Decode("acme.yaml", []byte(strings.Replace(text, "set_by: provider, ", "", 1)))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"region": "eu"}, d.DeriveKey(map[string]string{"app_key": "k-eu"}))
}
