package refresh_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What a caller waited for is judged by how things stand when it comes.
func TestAfterTheWait(t *testing.T) {
	bubble(t, "a token that died meanwhile is no answer", func(t *testing.T) {
		b := given(t, 3*time.Second)
		b.source.before = func(int) error {
			time.Sleep(15 * time.Second)
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "timeout"}
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
	})
	bubble(t, "nor is one of a connection that was disabled meanwhile", func(t *testing.T) {
		for _, demand := range []func(*bench) error{
			func(b *bench) error { return b.read(key) },
			func(b *bench) error {
				_, err := b.Refresh(context.Background(), key, anybody)
				return err
			},
		} {
			b := given(t, -time.Second)
			b.source.after = func(int) error {
				b.edit(t, disable)
				return nil
			}
			require.Equal(t, refresh.Disabled, problem(t, demand(b)))
			require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal(), "it is kept for when it is enabled")
		}
	})
	bubble(t, "nor is one that the caller may not have any more", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error {
			b.edit(t, func(c *store.Connection) { c.Private = true })
			return nil
		}
		mine := errors.New("private")
		_, err := b.Get(context.Background(), key, func(c *store.Connection) error {
			if c.Private {
				return mine
			}
			return nil
		}, 0)
		require.ErrorIs(t, err, mine)
	})
	bubble(t, "what storage says is not repeated to the caller", func(t *testing.T) {
		b := given(t, 3*time.Second)
		b.source.before = func(int) error { return errors.New("open /srv/vault/data: permission denied") }
		_, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.NotContains(t, warnings[0], "/srv")
		require.Contains(t, warnings[0], "log")
	})
}

// Another mount of the process goes away, and the process may go with it.
func TestQuiesce(t *testing.T) {
	quiesced := func(t *testing.T, b *bench) time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		b.Quiesce(ctx)
		return time.Since(start)
	}
	bubble(t, "what is held is saved at once when storage is well again", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		time.Sleep(time.Minute) // by now a try is made each quarter of a minute
		b.storage.Judge(nil)
		require.Zero(t, quiesced(t, b))
		require.Zero(t, b.Unsaved())
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "and as soon as it is", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		time.AfterFunc(3*time.Second, func() { b.storage.Judge(nil) })
		require.Less(t, quiesced(t, b), 5*time.Second)
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "readers of living tokens start nothing that would be cut off", func(t *testing.T) {
		b := given(t, 5*time.Minute)
		quiesced(t, b)
		_, _, err := b.get(t)
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, b.source.calls.Load())
		time.Sleep(16 * time.Second) // the process was not replaced
		_, _, err = b.get(t)
		require.NoError(t, err)
		synctest.Wait()
		require.EqualValues(t, 1, b.source.calls.Load())
	})
}

func TestWhatMayNotRotate(t *testing.T) {
	bubble(t, "loses nothing with an answer", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MayRotate = false }
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.EqualValues(t, 2, b.source.calls.Load())
		time.Sleep(time.Minute)
		b.source.before, b.source.current = nil, "revoked by the person"
		_, _, err = b.get(t)
		require.Contains(t, err.Error(), "grant_refused")
	})
}

// An intent that cannot be decoded is as one whose generation is not known.
func TestDamagedIntent(t *testing.T) {
	damage := func(t *testing.T, b *bench, path string) {
		t.Helper()
		require.NoError(t, b.storage.Put(context.Background(), &logical.StorageEntry{
			Key: path, Value: []byte(`{"version":9}`),
		}))
	}
	bubble(t, "it does not hide the others", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{
			Key: key.String(), Generation: 1, Time: time.Now(),
		}))
		damage(t, b, "wal/0000")
		require.NoError(t, b.Recover(context.Background()), "reading it again would not help")
		time.Sleep(time.Second)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "its own connection goes on, in doubt", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{
			Key: key.String(), Generation: 1, Time: time.Now(),
		}))
		ids, err := b.storage.List(context.Background(), "wal/")
		require.NoError(t, err)
		damage(t, b, "wal/"+ids[0])
		b.source.current = "another"
		_, _, err = b.get(t)
		require.Contains(t, err.Error(), "refresh_outcome_unknown")
		require.Nil(t, b.intent(t))
	})
}
