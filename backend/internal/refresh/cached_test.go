package refresh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// late is storage whose answers take long to arrive.
type late struct {
	*testenv.Storage
	answer chan struct{}
}

func (l late) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	e, err := l.Storage.Get(ctx, key)
	<-l.answer
	return e, err
}

// Memory never answers for storage.
func TestCached(t *testing.T) {
	ctx := context.Background()
	labelled := func(t *testing.T, b *bench) string {
		t.Helper()
		c, err := b.Load(ctx, key)
		require.NoError(t, err)
		return c.Label
	}
	// during does something in the middle of an access, before it takes effect, once.
	during := func(b *bench, op string, do func()) {
		b.storage.Judge(func(a testenv.Access) error {
			if a.Op == op && isConnection(a) {
				b.storage.Judge(nil)
				do()
			}
			return nil
		})
	}
	bubble(t, "who reads while it is written keeps nothing", func(t *testing.T) {
		b := given(t, time.Hour)
		during(b, "put", func() { require.Empty(t, labelled(t, b)) })
		b.edit(t, label("new"))
		require.Equal(t, "new", labelled(t, b))
	})
	bubble(t, "who reads while it is deleted keeps nothing", func(t *testing.T) {
		b := given(t, time.Hour)
		during(b, "delete", func() { _ = labelled(t, b) })
		require.NoError(t, b.Delete(ctx, key, nil))
		c, err := b.Load(ctx, key)
		require.NoError(t, err)
		require.Nil(t, c)
	})
	bubble(t, "what was read before a change is not kept after it", func(t *testing.T) {
		b := given(t, time.Hour)
		seen := late{b.storage, make(chan struct{})}
		b.begin(seen)
		read := make(chan string)
		go func() { read <- labelled(t, b) }()
		synctest.Wait()
		b.behind(t, label("new"))
		b.Invalidate(key)
		close(seen.answer)
		require.Empty(t, <-read)
		require.Equal(t, "new", labelled(t, b))
	})
	bubble(t, "what another node changed is read again, and looked at by the worker", func(t *testing.T) {
		b := given(t, time.Hour)
		work(t, b)
		require.Empty(t, labelled(t, b))
		b.behind(t, func(c *store.Connection) { c.Label, c.Grant.Expires = "new", time.Now() })
		require.Empty(t, labelled(t, b), "nobody said so")
		b.Invalidate(key)
		require.Equal(t, "new", labelled(t, b))
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "where Vault caches nothing, neither does the engine", func(t *testing.T) {
		b := given(t, time.Hour)
		b.uncached.Store(true)
		require.Empty(t, labelled(t, b))
		b.behind(t, label("new"))
		require.Equal(t, "new", labelled(t, b))
	})
	bubble(t, "what a reader does to its copy stays there", func(t *testing.T) {
		b := given(t, time.Hour)
		for range 2 { // the first from storage, the second from memory
			c, err := b.Load(ctx, key)
			require.NoError(t, err)
			require.Empty(t, c.Label)
			c.Label = "scribbled"
		}
		require.Empty(t, labelled(t, b))
	})
	bubble(t, "a caller who hangs up does not stop a write", func(t *testing.T) {
		b := given(t, time.Hour)
		gone, hangUp := context.WithCancel(ctx)
		during(b, "put", hangUp)
		_, err := b.Update(gone, key, func(c *store.Connection) (*store.Connection, error) { c.Label = "new"; return c, nil })
		require.NoError(t, err)
		require.Equal(t, "new", b.stored(t).Label)
	})
}
