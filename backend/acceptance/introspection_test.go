package acceptance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// The server tells expires_in, which this definition does not read, so that it has to be asked when a token ends.
const silent = `
name: Silent
extends: oidc
token: {answer: {expires_in: [told_by_nobody]}}
lifetime: {from: introspect}
`

// TestIntrospectedExpiry asks a real authorization server until when its tokens live (RFC 7662).
func TestIntrospectedExpiry(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	const life = 10 * time.Minute
	server := e.newOIDC(t, "idp", "basic", stack.OIDCOptions{
		AccessTokenTTL: int(life.Seconds()), RedirectURIs: []string{e.callback("silent")}, RotateRefreshToken: "always",
	})
	settings := map[string]any{
		"definition_yaml": silent, "issuer": server.Issuer, "client_id": "basic", "client_auth": "basic",
		"client_secret": appSecret, "scopes": []string{"openid", "offline_access"},
		"authorize_params": map[string]string{"prompt": "consent"}, "kinds": []string{"authorization_code"},
	}
	e.write(t, "providers/silent", settings)
	settings["client_id"], settings["scopes"], settings["kinds"] = "machine", "read", "client_credentials"
	delete(settings, "authorize_params")
	e.write(t, "providers/machine", settings)

	ends := func(answer map[string]any) time.Time {
		t.Helper()
		told, _ := answer["expire_time"].(string)
		at, err := time.Parse(time.RFC3339, told)
		require.NoError(t, err, "%v", answer)
		assert.WithinDuration(t, time.Now().Add(life), at, time.Minute)
		return at
	}
	ends(e.connect(t, "account", "silent"))
	ends(e.write(t, "connections/app", map[string]any{"provider": "machine", "kind": "client_credentials"}))
	former := e.read(t, "creds/account")
	before := ends(former)

	e.ages(t, restless, "account") // or the answer is what the consent brought
	after := ends(e.write(t, "refresh/account", nil))
	assert.False(t, after.Before(before))
	now := e.read(t, "creds/account")
	assert.NotEqual(t, former["access_token"], now["access_token"])
	assert.Equal(t, after, ends(now))
	assert.True(t, knows(t, server, now["access_token"].(string)))
}
