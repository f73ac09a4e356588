package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A provider that is pointed elsewhere after the last look at a connection, while its intent is being stored, gets
// nothing that was given for the former one.
func TestProviderMovesWhileAGrantIsAboutToBeSpent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		elsewhere := providertest.New(t)
		moved := with(f.acme(), map[string]any{"endpoints": map[string]any{
			"authorize": elsewhere.URL + "/authorize", "token": elsewhere.URL + "/token",
		}})
		f.Advance(time.Minute)
		f.Storage.Block(func(a testenv.Access) bool { return a.Op == "put" && a.Under("wal/") }, func(testenv.Access) {
			f.Storage.Block(nil, nil)
			f.Write("providers/acme", moved).OK(t)
		})
		refused := f.Write("refresh/slack", nil)
		refused.Refused(t, http.StatusConflict, "nothing was sent")
		assert.Zero(t, elsewhere.Count(providers.StepRefresh)+elsewhere.Count(providers.StepToken))
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
		assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])

		f.Write("providers/acme", f.acme()).OK(t)
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh), "the grant was not spent")
	})
}
