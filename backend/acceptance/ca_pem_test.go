package acceptance

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// withoutSecrets lets somebody look after providers whose client secrets are another's.
const withoutSecrets = `
path "connectors/providers/*" {
  capabilities = ["create", "read", "update"]
  denied_parameters = { "client_secret" = [] }
}
`

// Who may not write client secrets cannot change certificates either: with the secret Vault refuses the write, and
// without it the engine does. A public client has none, so there it takes connections along.
func TestCertificatesByPolicy(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service")
	s.adopt(t, "slack")
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(tls.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}))
	before := e.read(t, "providers/service")

	keeper := e.logIn(t, "keeper", withoutSecrets)
	keeper.write(t, "providers/service", map[string]any{"scopes": "read"})
	keeper.refusesWrite(t, http.StatusForbidden, "permission denied", "providers/service", map[string]any{
		"ca_pem": ca, "client_secret": providertest.ClientSecret,
	})
	keeper.refusesWrite(t, http.StatusForbidden, "client_secret", "providers/service", map[string]any{"ca_pem": ca})
	after := e.read(t, "providers/service")
	delete(before, "updated")
	delete(after, "updated")
	assert.Equal(t, before, after)
	s.stands(t, "slack", "active", "")

	e.write(t, "providers/service", map[string]any{"client_secret": "", "client_auth": "none"})
	keeper.write(t, "providers/service", map[string]any{"ca_pem": ca})
	s.stands(t, "slack", "needs_reconnect", "provider_changed")
}
