package backend

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestSummaryStatus(t *testing.T) {
	same, other := "p", "q"
	for name, c := range map[string]struct {
		is   summary
		now  *string
		want store.Status
	}{
		"active":           {summary{status: store.StatusActive, pinned: "p"}, &same, store.StatusActive},
		"provider changed": {summary{status: store.StatusActive, pinned: "p"}, &other, store.StatusNeedsReconnect},
		"provider gone":    {summary{status: store.StatusActive, pinned: "p"}, nil, store.StatusNeedsReconnect},
		"disabled":         {summary{status: store.StatusDisabled, pinned: "p"}, &other, store.StatusDisabled},
	} {
		assert.Equal(t, c.want, c.is.statusUnder(c.now), name)
	}
	c := store.Connection{Provider: "acme", Grant: &providers.Grant{Account: providers.Account{ID: "a"}}}
	assert.Equal(t, summary{provider: "acme", account: "a"}, summarize(&c))
}

// Connections come and go while the directory is filled and asked.
func TestDirectoryUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for n := range 5 {
					path := fmt.Sprintf("connections/user/u%d/c%d", i, n)
					assert.Equal(t, http.StatusOK, f.Write(path, map[string]any{"provider": "openai", "api_key": openaiKey}).Status)
					assert.Equal(t, http.StatusOK, f.Read("status", nil).Status)
					f.Backend.InvalidateKey(t.Context(), "connection/user/u0/c0")
					if n%2 == 0 {
						assert.Equal(t, http.StatusNoContent, f.Delete(path, nil).Status)
					}
				}
			})
		}
		all.Wait()
		assert.InDelta(t, 8, number(f.Read("status", nil).OK(t)["connections"]), 0)
	})
}

// One entry that cannot be read must not hide the others from an operator.
func TestDamagedEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "good")
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/good")
		require.NoError(t, err)
		entry.Key, entry.Value = "connection/org/default/bad", []byte(`{"version":1,"status":`)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		assert.InDelta(t, 1, number(f.Read("status", nil).OK(t)["connections"]), 0)
		f.Read("creds/good", nil).OK(t)
		r := f.Read("creds/bad", nil)
		r.Refused(t, http.StatusInternalServerError, "restore it from a snapshot")
		assert.NotContains(t, r.Text, "version")
	})
}
