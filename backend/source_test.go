package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
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

// The operator knows for how long the service keeps a grant that nobody uses.
// The operator's word for a provider goes before the mount's, and can be taken back.
func TestCheckIntervalOfTheOperator(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	every := func() time.Duration {
		k := store.Key{Owner: store.Owner{Org: "default"}, Name: "slack"}
		c, _, err := f.engine().connections.Get(t.Context(), k)
		require.NoError(t, err)
		terms, err := f.engine().Terms(t.Context(), k, c)
		require.NoError(t, err)
		return terms.CheckEvery
	}
	assert.Equal(t, 24*time.Hour, every())
	for _, step := range []struct {
		word string
		want time.Duration
	}{{"12h", 12 * time.Hour}, {"0", 0}, {"", 24 * time.Hour}} {
		f.Write("providers/acme", map[string]any{"check_interval": step.word}).OK(t)
		assert.Equal(t, step.want, every(), step.word)
	}
}

func TestIdleLimitOfTheOperator(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	idle := func() time.Duration {
		k := store.Key{Owner: store.Owner{Org: "default"}, Name: "slack"}
		c, _, err := f.engine().connections.Get(t.Context(), k)
		require.NoError(t, err)
		terms, err := f.engine().Terms(t.Context(), k, c)
		require.NoError(t, err)
		return terms.Idle
	}
	assert.Zero(t, idle())
	f.Write("providers/acme", map[string]any{"idle_ttl": "30d"}).OK(t)
	assert.Equal(t, 30*24*time.Hour, idle())
	f.Write("providers/acme", map[string]any{"idle_ttl": 0}).OK(t)
	assert.Zero(t, idle())
}
