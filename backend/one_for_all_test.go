package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// One person who imports what they like does not stop a provider for everybody.
func TestNobodyStopsAProviderForAll(t *testing.T) {
	circuit := func(t *testing.T, f *fixture) map[string]any {
		t.Helper()
		return members(t, f.Read("providers/acme", nil).OK(t)["circuit"])
	}
	stranger := func(t *testing.T, f *fixture, name string, answer providertest.Behavior) {
		t.Helper()
		f.provider.Next(providers.StepRefresh, answer)
		f.Write("connections/self/"+name, map[string]any{"provider": "acme", "refresh_token": "of " + name}, bob).
			Refused(t, http.StatusBadGateway, "nothing was changed")
	}
	t.Run("with an answer that asks for a day's rest", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			f.connect(t, "others")
			f.Advance(time.Minute)
			stranger(t, f, "import", providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "86400"))
			assert.Equal(t, map[string]any{"state": "limited", "until": "2026-03-01T12:06:00Z"}, circuit(t, f))
			f.Write("refresh/others", nil).Refused(t, http.StatusBadGateway, "12:06:00")
			f.Read("creds/others", nil).OK(t)
			f.Advance(5 * time.Minute)
			assert.Equal(t, "active", f.Write("refresh/others", nil).OK(t)["status"], "another account is asked for")
			assert.Empty(t, circuit(t, f))
		})
	})
	t.Run("which a write lifts sooner", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			f.connect(t, "others")
			f.Advance(time.Minute)
			stranger(t, f, "import", providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "86400"))
			assert.Empty(t, members(t, f.Write("providers/acme", map[string]any{"return_urls": ""}).OK(t)["circuit"]))
			f.Write("refresh/others", nil).OK(t)
		})
	})
	t.Run("with imports that fail", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			f.connect(t, "others")
			f.Advance(time.Minute)
			for _, name := range f.names(5) {
				stranger(t, f, name, providertest.Respond(http.StatusServiceUnavailable, ""))
			}
			assert.Empty(t, circuit(t, f))
			assert.Empty(t, members(t, f.Read("status", nil).OK(t)["circuits"]))
			f.Write("refresh/others", nil).OK(t)
		})
	})
}
