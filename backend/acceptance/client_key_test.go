package acceptance

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// appKey makes a key of an app: its public part as a service knows it, and the private one as PEM.
func appKey(t *testing.T) (public jose.JSONWebKey, text string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return jose.JSONWebKey{Key: &key.PublicKey, Use: "sig", Algorithm: "RS256"},
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestClientKey proves an app by what it signs to a strict authorization server (RFC 7523 section 2.2), and rotates the
// key while people and the app itself go on getting tokens.
func TestClientKey(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	first, firstKey := appKey(t)
	second, secondKey := appKey(t)
	knows := func(keys ...jose.JSONWebKey) stack.OIDCControl {
		return stack.OIDCControl{ClientJWKS: jose.JSONWebKeySet{Keys: keys}}
	}
	server := e.newOIDC(t, "idp", "basic", stack.OIDCOptions{
		OIDCControl: knows(first), RotateRefreshToken: "always", RedirectURIs: []string{e.callback("signed")},
	})
	e.write(t, "providers/signed", map[string]any{
		"definition": "oidc", "issuer": server.Issuer, "client_id": "signer", "client_auth": "private_key_jwt",
		"client_secret": firstKey, "scopes": []string{"openid", "offline_access"},
		"kinds":            []string{"authorization_code", "client_credentials"},
		"authorize_params": map[string]string{"prompt": "consent"},
	})
	e.connect(t, "ada", "signed")
	fresh := func(name string) {
		t.Helper()
		e.ages(t, restless, name)
		before := e.read(t, "creds/"+name)["access_token"]
		e.write(t, "refresh/"+name, nil)
		after, _ := e.read(t, "creds/"+name)["access_token"].(string)
		assert.NotEqual(t, before, after)
		assert.NotEmpty(t, after)
	}

	// the new key is written before the service knows it, and goes on when the former one is taken back there
	e.write(t, "providers/signed/client-secret", map[string]any{"client_secret": secondKey})
	fresh("ada")
	require.NoError(t, server.Control(t.Context(), knows(first, second)))
	require.NoError(t, server.Control(t.Context(), knows(second)))
	e.write(t, "providers/signed/client-secret", map[string]any{"drop_former": true})
	fresh("ada")
	shown, err := json.Marshal(e.read(t, "providers/signed"))
	require.NoError(t, err)
	assert.NotContains(t, string(shown), "PRIVATE")
}
