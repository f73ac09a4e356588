package acceptance

import (
	"crypto/rsa"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// robots is an operator's own definition of a service where a key buys tokens (RFC 7523 section 2.1).
const robots = `
name: Robots
kinds: [jwt_bearer]
key: {fields: [{name: robot, required: true}, {name: pem, required: true, secret: true, multiline: true}]}
assertion: {alg: RS256, key: pem, claims: {iss: '{robot}', aud: '{token_url}', scope: '{scopes}'}, ttl: 1h}
inputs: [{name: token_url, set_by: provider, required: true, pattern: 'https?://[^ ]+'}]
endpoints: {token: https://robots.example.com/token}
token: {by_kind: {jwt_bearer: {auth: none}}}
account: {id: ['assertion:iss']}
`

// TestKeyBuysTokens has a key buy tokens in a real Vault, through a plugin that is killed while one is under way, and
// finds the key nowhere.
func TestKeyBuysTokens(t *testing.T) {
	t.Parallel()
	v := ownVault(t)
	e := mountOn(t, v)
	server := providertest.New(t)
	public, key := appKey(t)
	server.Trust(public.Key.(*rsa.PublicKey))
	e.write(t, "providers/robots", map[string]any{
		"definition_yaml": robots, "scopes": "read", "inputs": map[string]string{"token_url": server.URL + "/token"},
		"endpoints": map[string]string{"token": server.URL + "/token"},
	})
	_, stranger := appKey(t)
	e.refusesWrite(t, http.StatusConflict, "the service refuses this key", "connections/robots", map[string]any{
		"robot": "r2", "pem": stranger,
	})
	made := e.write(t, "connections/robots", map[string]any{"robot": "r2", "pem": key})
	assert.Equal(t, "active", made["status"])
	first := e.token(t, "robots")
	require.True(t, server.Alive(first))

	e.ages(t, restless, "robots")
	release, asked := make(chan struct{}), make(chan struct{})
	server.Next(providers.StepToken, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
		behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = e.renew(t.Context(), "robots") // what becomes of it depends on when the plugin dies
	}()
	<-asked
	killPlugin(t, v)
	close(release)
	<-gone
	require.True(t, server.Alive(e.token(t, "robots")), "another process has the key")
	_, err := e.renew(t.Context(), "robots")
	require.NoError(t, err)
	second := e.token(t, "robots")
	assert.True(t, server.Alive(second))
	assert.NotEqual(t, first, second)

	shown := e.read(t, "connections/robots")
	assert.Equal(t, "r2", shown["account"].(map[string]any)["id"])
	for where, file := range map[string]string{"the log": v.LogFile, "the audit log": v.AuditFile} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, line := range strings.Split(strings.TrimSpace(key), "\n")[1:] {
			if !strings.HasPrefix(line, "-----") {
				assert.NotContains(t, string(text), line, where)
			}
		}
		assert.NotContains(t, string(text), "PRIVATE KEY", where)
		assert.NotContains(t, string(text), second, where)
	}
}
