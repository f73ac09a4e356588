package acceptance

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

func TestConnectEmulated(t *testing.T) {
	e := newEngine(t)
	e.newEmulate(t)
	for _, service := range []string{"slack", "github", "google", "microsoft", "linear", "okta"} {
		t.Run(service, func(t *testing.T) {
			connected := e.connect(t, service, service)
			assert.Equal(t, "active", connected["status"])
			credential := e.read(t, "creds/"+service)
			assert.NotEmpty(t, credential["access_token"])
			assert.NotContains(t, credential, "refresh_token")
			assert.NotEmpty(t, connected["account"].(map[string]any)["id"])
			assert.Equal(t, "true", e.write(t, "check/"+service, nil)["token_valid"])
		})
	}
}

// The server revokes the whole grant when a refresh token is spent twice, so a living token at the end proves that no
// two readers, nor a reader and the worker, did so.
func TestReadersOfAnExpiredToken(t *testing.T) {
	for _, client := range []string{"basic", "post", "public"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			server := e.newOIDC(t, "idp", client, stack.OIDCOptions{AccessTokenTTL: 5, RotateRefreshToken: "always"})
			e.connect(t, "account", "idp")
			first := e.read(t, "creds/account")
			expiry, err := time.Parse(time.RFC3339, first["expire_time"].(string))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				return time.Now().After(expiry.Add(time.Second)) && !knows(t, server, first["access_token"])
			}, time.Minute, 50*time.Millisecond, "it expires, by our clock in whole seconds and by the server's")

			tokens := make([]any, 10)
			var readers sync.WaitGroup
			for i := range tokens {
				readers.Go(func() {
					answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/account")
					if assert.NoError(t, err) {
						tokens[i] = answer.Data["access_token"]
					}
				})
			}
			readers.Wait()
			for _, token := range tokens {
				assert.NotEqual(t, first["access_token"], token)
			}
			assert.True(t, knows(t, server, tokens[0]))
			assert.Equal(t, "active", e.read(t, "connections/account")["status"])
			counts, err := server.Counts(t.Context())
			require.NoError(t, err)
			assert.Equal(t, counts.Received, counts.Answered, "no request was refused")
		})
	}
}

// knows asks the server itself whether an access token is good.
func knows(t *testing.T, server *stack.OIDC, token any) bool {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.Issuer+"/me", nil)
	if !assert.NoError(t, err) {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token.(string))
	page, err := stack.NewRobot(person).Open(req)
	return assert.NoError(t, err) && page.Status == http.StatusOK
}
