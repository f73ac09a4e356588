package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "first")
		stolen := f.provider.Requests(providers.StepToken)
		require.Len(t, stolen, 1)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK, `{"access_token":"imported-access","token_type":"bearer","expires_in":3600,"refresh_token":"next"}`))
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Grace"}`))
		made := f.Write("connections/imported", map[string]any{"provider": "acme", "refresh_token": "from elsewhere", "label": "Moved"}).OK(t)
		assert.Equal(t, "active", made["status"])
		assert.Equal(t, "Moved", made["label"])
		assert.Equal(t, "account-2", members(t, made["account"])["id"])
		assert.Equal(t, "imported-access", f.Read("creds/imported", nil).OK(t)["access_token"])
		sent := f.provider.Requests(providers.StepRefresh)
		assert.Equal(t, "from elsewhere", sent[len(sent)-1].Form.Get("refresh_token"))
	})
}

func TestImportOfAnAccessToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := f.Write("connections/x", map[string]any{"provider": "acme", "access_token": "unknown there", "expires_in": 600})
		made := r.OK(t)
		require.Len(t, r.Warnings, 1, "whose account it is could not be learned")
		assert.Equal(t, "2026-03-01T12:10:00Z", made["expire_time"])
		assert.Equal(t, false, made["refreshable"])
		assert.Equal(t, "unknown there", f.Read("creds/x", nil).OK(t)["access_token"])
		f.Advance(10 * time.Minute)
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "expired")
	})
}

// What a person pastes may exist nowhere else, so it is kept whatever the provider says to it.
func TestImportThatCannotBeTried(t *testing.T) {
	for name, c := range map[string]struct {
		answer providertest.Behavior
		status string
		code   int
	}{
		"provider down": {providertest.Respond(http.StatusServiceUnavailable, "busy"), "active", http.StatusBadGateway},
		"refused":       {providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`), "needs_reconnect", http.StatusConflict},
		"app refused":   {providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`), "active", http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.provider.Next(providers.StepRefresh, c.answer, c.answer) // the worker may be as fast as the import
				r := f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": "from elsewhere"})
				assert.Equal(t, c.status, r.OK(t)["status"])
				require.NotEmpty(t, r.Warnings)
				assert.Contains(t, r.Warnings[0], "stored")
				f.Read("creds/x", nil).Refused(t, c.code)
			})
		})
	}
}

func TestClientCredentials(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		made := f.Write("connections/machine", map[string]any{"provider": "acme", "kind": "client_credentials", "label": "M"}).OK(t)
		assert.Equal(t, "client_credentials", made["kind"])
		assert.Equal(t, true, made["refreshable"])
		assert.Equal(t, "M", made["label"])
		token := f.Read("creds/machine", nil).OK(t)["access_token"].(string)
		assert.True(t, f.provider.Alive(token))
		f.Advance(2 * time.Hour)
		assert.NotEqual(t, token, f.Read("creds/machine", nil).OK(t)["access_token"])

		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`),
			providertest.Respond(http.StatusServiceUnavailable, ""))
		another := map[string]any{"provider": "acme", "kind": "client_credentials"}
		f.Write("connections/m2", another).Refused(t, http.StatusConflict, "invalid_client", "providers/")
		f.Write("connections/m2", another).Refused(t, http.StatusBadGateway, "try again")
		f.Write("connections/m2", another).OK(t)
	})
}
