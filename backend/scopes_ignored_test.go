package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Where the service decides what an app may do, scopes are asked for by nobody and missed by nobody.
func TestScopesIgnored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"scopes_ignored": true}).Refused(t, http.StatusBadRequest, "empty both")
		f.Write("providers/acme", map[string]any{"scopes_ignored": true, "scopes": "", "surplus_scopes": "refuse"}).OK(t)
		assert.Equal(t, true, f.Read("providers/acme", nil).OK(t)["scopes_ignored"])
		f.Write("auth-code-url/app", map[string]any{"provider": "acme", "scopes": "read"}).
			Refused(t, http.StatusBadRequest, "scopes_ignored")
		flow := f.start(t, "app", nil)
		assert.Empty(t, query(t, flow["url"].(string), "scope"))
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK,
			`{"access_token":"a","expires_in":3600,"scope":"whatever the app may do"}`))
		read := f.connect(t, "app")
		assert.Empty(t, read["missing_scopes"])
		assert.Empty(t, read["surplus_scopes"])
	})
}
