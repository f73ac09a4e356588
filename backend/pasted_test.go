package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// client_secret=@file is the ordinary way to write a secret, and a file ends in a line break.
func TestSecretsReadFromFiles(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, end := range []string{"\n", "\r\n"} {
			f.Write("providers/acme", map[string]any{"client_secret": providertest.ClientSecret + end}).OK(t)
			f.connect(t, "x")
			brought := f.elsewhere(t)
			f.Write("connections/imported", map[string]any{
				"provider": "acme", "refresh_token": brought + end, "allow_account_change": true,
			}).OK(t)
			sent := f.provider.Requests(providers.StepRefresh)
			assert.Equal(t, brought, sent[len(sent)-1].Form.Get("refresh_token"))
		}
		for field, path := range map[string]string{
			"client_secret": "providers/acme", "refresh_token": "connections/y", "access_token": "connections/y",
		} {
			for _, bad := range []string{"two\n\n", "in\nside", "\nbefore", "a\tb", "nbsp\u00a0", "é", "\u200b"} {
				f.Write(path, map[string]any{field: bad, "provider": "acme"}).Refused(t, http.StatusBadRequest, field)
			}
		}
		f.connect(t, "x")
	})
}
