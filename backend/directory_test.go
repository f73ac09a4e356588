package backend

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
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

// Nor must a flow.
func TestDamagedFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.start(t, "slack", nil)
		require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "flow/" + strings.Repeat("ab", 32), Value: []byte(`{"version":9}`)}))
		f.restart(t)
		assert.InDelta(t, 1, number(f.Read("status", nil).OK(t)["open_flows"]), 0)
		assert.Equal(t, "flow_open", f.Read("connections/slack", nil).OK(t)["status_reason"])
		f.periodic(t)
	})
}

// A change by another node costs one read, however many connections there are.
func TestOneEntryIsReadAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range 5 {
			f.key(t, fmt.Sprint("key", i))
		}
		count := func() float64 { return number(f.Read("status", nil).OK(t)["connections"]) }
		assert.InDelta(t, 5, count(), 0)
		require.NoError(t, f.Storage.Delete(t.Context(), "connection/org/default/key3"))
		f.Storage.Forget()
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/key3")
		assert.InDelta(t, 4, count(), 0)
		reads := 0
		for _, a := range f.Storage.History() {
			if strings.HasPrefix(a.Key, "connection/") {
				reads++
			}
		}
		assert.LessOrEqual(t, reads, 2, "the worker may have looked at it too")
	})
}
