package backend

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
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
		counts := func() [2]float64 {
			status := f.Read("status", nil).OK(t)
			return [2]float64{number(status["connections"]), number(status["unreadable"])}
		}
		assert.Equal(t, [2]float64{1, 1}, counts())
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/bad")
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/good")
		assert.Equal(t, [2]float64{1, 1}, counts(), "nor when it is read again")
		f.Read("creds/good", nil).OK(t)
		r := f.Read("creds/bad", nil)
		r.Refused(t, http.StatusInternalServerError, "restore it from a snapshot")
		assert.NotContains(t, r.Text, "version")
	})
}

// loses makes storage refuse to give these entries, as it does with a damaged ciphertext.
func (f *fixture) loses(keys ...string) {
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "get" && slices.Contains(keys, a.Key) {
			return testenv.ErrStorage
		}
		return nil
	})
}

// Nor must one that storage does not give: the others are counted, listed and refreshed in the background, and it follows
// when storage gives it again.
func TestLostEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"a", "lost", "z"} {
			f.connect(t, name)
		}
		const lost = "connection/org/default/lost"
		f.loses(lost)
		f.restart(t)
		reads := func() (keys []string) {
			for _, a := range f.Storage.History() {
				if a.Op == "get" && strings.HasPrefix(a.Key, "connection/") {
					keys = append(keys, a.Key)
				}
			}
			return keys
		}
		check := func(connections, unreadable int) {
			t.Helper()
			status := f.Read("status", nil).OK(t)
			for field, want := range map[string]int{"connections": connections, "scheduled": connections, "unreadable": unreadable} {
				assert.InDelta(t, want, number(status[field]), 0, field)
			}
			list := f.List("connections/").OK(t)
			assert.Equal(t, []string{"a", "lost", "z", "org/"}, texts(t, list["keys"]))
			assert.Len(t, members(t, list["key_info"]), connections)
		}
		check(2, 1)
		f.Storage.Forget()
		check(2, 1)
		assert.Equal(t, []string{lost}, slices.Compact(reads()), "the others are known")
		f.periodic(t)
		assert.Eventually(t, func() bool {
			return f.Logs.Contains("storage did not give 1 connections, among them org/default/lost: " + testenv.ErrStorage.Error())
		}, 10*time.Second, 5*time.Millisecond, "the log says which one")

		f.Storage.Judge(nil)
		check(3, 0)
		f.loses(lost)
		f.Backend.InvalidateKey(t.Context(), lost)
		status := f.Read("status", nil).OK(t)
		assert.InDelta(t, 2, number(status["connections"]), 0, "nobody knows what another node made of it")
		assert.InDelta(t, 1, number(status["unreadable"]), 0)
	})
}

// When nothing can be read again, not all is tried, and nothing is forgotten.
func TestDirectoryWhileStorageIsDown(t *testing.T) {
	storage, scheduled := &testenv.Storage{}, 0
	s := store.New(storage)
	d := directory{seen: func(context.Context, store.Key, *store.Connection) { scheduled++ }}
	for i := range 2 * store.FailuresInARow {
		k := store.Key{Owner: store.Owner{Kind: store.Org, ID: "acme"}, Name: fmt.Sprint("c", i)}
		require.NoError(t, s.PutConnection(t.Context(), k, &store.Connection{}))
	}
	require.NoError(t, d.fill(t.Context(), s))
	for k := range d.mirror.entries {
		d.forget(k)
	}
	storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
	storage.Forget()
	var unread *store.UnreadError
	require.ErrorAs(t, d.fill(t.Context(), s), &unread)
	assert.Len(t, unread.Keys, 2*store.FailuresInARow)
	assert.Len(t, storage.History(), store.FailuresInARow)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.fill(ctx, s), context.Canceled)
	storage.Judge(nil)
	scheduled = 0
	require.NoError(t, d.fill(t.Context(), s))
	assert.Equal(t, 2*store.FailuresInARow, scheduled)
	n, err := d.count(t.Context(), s, func(store.Key, summary) bool { return false })
	require.NoError(t, err)
	assert.Zero(t, n, "all are read")
	assert.Len(t, d.mirror.entries, 2*store.FailuresInARow)
}

// A connection that cannot be read may rest on any account, and many providers would end its grant too.
func TestRevocationBesideALostEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "lost")
		f.connect(t, "slack")
		token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
		f.loses("connection/org/default/lost")
		f.restart(t)
		r := f.Delete("connections/slack", nil)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "not revoked")
		assert.True(t, f.provider.Alive(token))
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
		f.restart(t) // the worker that hears of the provider's writes may be late, and looks at all of them
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
