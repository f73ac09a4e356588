package refresh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A deletion leaves nothing behind that a connection of the same name would be taken for.
func TestDeletionIsWhole(t *testing.T) {
	bubble(t, "an intent does not outlive its connection", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{Key: key.String(), Generation: 1}))
		b.refuse(func(a testenv.Access) bool { return a.Op == "delete" && isIntent(a) })
		require.ErrorIs(t, b.Delete(context.Background(), key, nil), testenv.ErrStorage)
		require.NotNil(t, b.stored(t))
		require.Equal(t, store.ReasonDeleting, reasonOf(b.stored(t)))
		require.NoError(t, b.Delete(context.Background(), key, nil))
		require.Nil(t, b.stored(t))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "what is held goes with it", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		err := make(chan error)
		go func() {
			err <- b.Delete(context.Background(), key, func(context.Context, *store.Connection) { b.storage.Judge(nil) })
		}()
		synctest.Wait()
		b.refuse(isWrite)
		land()
		require.NoError(t, <-err)
		require.Zero(t, b.Unsaved())
		time.Sleep(time.Minute)
		require.Nil(t, b.stored(t))
		require.Nil(t, b.told.Load())
	})
	bubble(t, "nobody is served while it is being revoked", func(t *testing.T) {
		b := given(t, time.Hour)
		require.NoError(t, b.Delete(context.Background(), key, func(context.Context, *store.Connection) {
			_, _, err := b.get(t)
			require.Equal(t, refresh.Disabled, problem(t, err))
		}))
	})
	bubble(t, "a change that is being written does not bring it back", func(t *testing.T) {
		b := given(t, time.Hour)
		require.NoError(t, b.Delete(context.Background(), key, func(context.Context, *store.Connection) {
			b.storage.Judge(func(a testenv.Access) error {
				if a.Op == "put" {
					time.Sleep(time.Second)
				}
				return nil
			})
			go b.edit(t, label("new"))
			synctest.Wait()
		}))
		time.Sleep(time.Minute)
		require.Nil(t, b.stored(t))
	})
	bubble(t, "who hangs up while the newest token is awaited leaves a mark", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := b.Delete(ctx, key, func(context.Context, *store.Connection) {
			t.Error("a token was revoked that is not the newest")
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, store.ReasonDeleting, reasonOf(b.stored(t)))
		land()
	})
}

// What a crash left is settled or tried again, where this node may write.
func TestRecovery(t *testing.T) {
	ctx := context.Background()
	intend := func(t *testing.T, b *bench, generation uint64) {
		t.Helper()
		require.NoError(t, b.store.PutIntent(ctx, key, &store.Intent{Key: key.String(), Generation: generation}))
	}
	bubble(t, "an intent that storage did not let go of is removed when it does", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.current = "another"
		b.refuse(func(a testenv.Access) bool { return a.Op == "delete" && isIntent(a) })
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.NotNil(t, b.intent(t))
		b.storage.Judge(nil)
		time.Sleep(time.Minute)
		require.Nil(t, b.intent(t))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a recovery settles the intent of a refusal that was saved", func(t *testing.T) {
		b := given(t, -time.Second)
		b.edit(t, func(c *store.Connection) { c.Refused.Reason = store.ReasonGrantRefused })
		intend(t, b, 1)
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Nil(t, b.intent(t))
		require.Zero(t, b.source.calls.Load())
	})
	bubble(t, "a node that may not write settles nothing", func(t *testing.T) {
		b := given(t, -time.Second)
		intend(t, b, 0)
		b.writable.Store(false)
		b.storage.Forget()
		require.NoError(t, b.Recover(ctx))
		require.Zero(t, b.storage.Writes())
	})
	bubble(t, "it does not wait for the backoff: reuse windows are short", func(t *testing.T) {
		b := given(t, -time.Second)
		b.edit(t, func(c *store.Connection) {
			c.Attempt = store.Attempt{
				Failures: 1, Class: providers.Transient, Last: time.Now(), Next: time.Now().Add(time.Hour),
			}
		})
		intend(t, b, 1)
		require.NoError(t, b.Recover(ctx))
		synctest.Wait()
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a key has nothing to recover", func(t *testing.T) {
		b := given(t, -time.Second)
		b.edit(t, func(c *store.Connection) { c.AdoptKey(nil, fingerprint, time.Now()) })
		intend(t, b, b.stored(t).Generation)
		require.NoError(t, b.Recover(ctx))
		synctest.Wait()
		require.Nil(t, b.intent(t))
	})
}

// The end of a mount is as long as it must be, and no longer.
func TestDrain(t *testing.T) {
	// drained is how long the drain takes when storage is back after a while.
	drained := func(t *testing.T, back time.Duration) time.Duration {
		t.Helper()
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		time.AfterFunc(back, func() { b.storage.Judge(nil) })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		b.Close(ctx)
		require.Zero(t, b.Unsaved())
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
		return time.Since(start)
	}
	bubble(t, "storage is asked again and again", func(t *testing.T) {
		require.Less(t, drained(t, 2*time.Second), 3*time.Second+time.Millisecond)
	})
	bubble(t, "until the end", func(t *testing.T) {
		require.LessOrEqual(t, drained(t, 9700*time.Millisecond), 10*time.Second)
	})
}
