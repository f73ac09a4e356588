package refresh_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func isIntent(a testenv.Access) bool { return strings.HasPrefix(a.Key, "wal/") }

func (b *bench) intent(t *testing.T) *store.Intent {
	t.Helper()
	i, err := b.store.Intent(context.Background(), key)
	require.NoError(t, err)
	return i
}

// What a crash, a lost answer or the end of a mount may cost, one way at a time.
func TestNoTokenLost(t *testing.T) {
	bubble(t, "a lost answer is not asked for again where storage takes no intent", func(t *testing.T) {
		b := given(t, -time.Second)
		t.Cleanup(func() { b.storage.Judge(nil) })
		b.source.after = func(int) error {
			b.storage.Judge(func(a testenv.Access) error {
				if a.Write() {
					return testenv.ErrStorage
				}
				return nil
			})
			return &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a refresh that was never sent leaves no trace of one", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error { return testenv.ErrStorage }
		_, _, err := b.get(t)
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Nil(t, b.intent(t))

		b.source.before, b.source.current = nil, "another" // the person revoked it
		_, _, err = b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err), "it is not tried again at once")
		time.Sleep(time.Minute)
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.Reason("grant_refused"), reasonOf(b.stored(t)))
	})
	bubble(t, "recovery leaves the intent of a later refresh alone", func(t *testing.T) {
		b := given(t, -time.Second)
		ctx := context.Background()
		require.NoError(t, b.store.PutIntent(ctx, key, &store.Intent{Key: key.String(), Generation: 0, Time: time.Now()}))
		release := make(chan struct{})
		b.source.before = func(int) error { <-release; return nil }
		b.storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && !isIntent(a) { // the intents were read: a reader comes in between
				b.storage.Judge(nil)
				go func() { _, _, _ = b.get(t) }()
				synctest.Wait()
			}
			return nil
		})
		require.NoError(t, b.Recover(ctx))
		synctest.Wait()
		require.NotNil(t, b.intent(t), "its token is being spent")
		close(release)
		synctest.Wait()
		require.Nil(t, b.intent(t))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "recovery leaves the intent of an answer that lives in memory only", func(t *testing.T) {
		b := given(t, -time.Second)
		b.storage.Judge(func(a testenv.Access) error {
			if a.Write() && !isIntent(a) {
				return testenv.ErrStorage
			}
			return nil
		})
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.Equal(t, 1, b.Unsaved())
		require.NoError(t, b.Recover(context.Background()))
		require.NotNil(t, b.intent(t), "without it a successor would put the loss down to the person")

		b.storage.Judge(nil)
		time.Sleep(time.Minute)
		require.Zero(t, b.Unsaved())
		require.Nil(t, b.intent(t))
	})
	bubble(t, "recovery asks nobody about a consent that has run out, and leaves no intent", func(t *testing.T) {
		b := given(t, -time.Second)
		ctx := context.Background()
		_, err := b.Update(ctx, key, func(c *store.Connection) (*store.Connection, error) {
			c.Grant.HardLimit = time.Now()
			return c, nil
		})
		require.NoError(t, err)
		require.NoError(t, b.store.PutIntent(ctx, key, &store.Intent{Key: key.String(), Generation: 1, Time: time.Now()}))
		require.NoError(t, b.Recover(ctx))
		synctest.Wait()
		require.Equal(t, store.ReasonHardLimit, reasonOf(b.stored(t)))
		require.Nil(t, b.intent(t))
		require.Zero(t, b.source.calls.Load())
	})
	bubble(t, "an answer that comes with the end of the drain is saved", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error { time.Sleep(6 * time.Second); return nil }
		b.storage.Judge(func(a testenv.Access) error {
			if a.Write() && !isIntent(a) {
				time.Sleep(2 * time.Second)
			}
			return nil
		})
		go func() { _, _, _ = b.get(t) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Close(ctx)
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "a grant that storage refused is saved over one that it took without saying so", func(t *testing.T) {
		b := given(t, -time.Second)
		ctx := context.Background()
		first := b.stored(t)
		t.Cleanup(func() { b.storage.Judge(nil) })
		b.storage.Judge(func(a testenv.Access) error {
			if a.Write() && !isIntent(a) {
				return testenv.ErrStorage
			}
			return nil
		})
		a, err := b.Get(ctx, key, anybody, 0)
		require.NoError(t, err)
		time.Sleep(2 * time.Hour) // that one is dead, too
		_, _, err = b.get(t)
		require.NoError(t, err)
		require.EqualValues(t, 2, b.source.calls.Load())

		b.storage.Judge(nil)
		first.Credential = a.Connection.Credential
		require.NoError(t, putConnection(ctx, b.store, key, first))
		time.Sleep(time.Minute)
		require.Equal(t, "refresh-2", b.stored(t).Grant.RefreshToken.Reveal())
		require.Zero(t, b.Unsaved())
	})
}

// Vault replaces the process as soon as the mount that is reloaded has drained: what the worker of another mount would
// start meanwhile would be cut off.
func TestWorkerHoldsWhileAnotherMountDrains(t *testing.T) {
	bubble(t, "and goes on if the process was not replaced", func(t *testing.T) {
		f := newFleet(t)
		f.latency["acme"] = 5 * time.Second
		f.add(t, "acme", 40, time.Minute)
		synctest.Wait()
		started := f.count("acme")
		require.Less(t, started, 40, "the others wait for their turn")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		f.Quiesce(ctx)
		require.NoError(t, ctx.Err(), "what was in flight has landed")
		synctest.Wait()
		require.Equal(t, started, f.count("acme"))
		time.Sleep(time.Minute)
		require.Equal(t, 40, f.count("acme"))
	})
}

func TestDemandsAreBounded(t *testing.T) {
	bubble(t, "min_ttl of a whole life is one refresh, not one for each read", func(t *testing.T) {
		b := given(t, 59*time.Minute)
		read := func(warning string) {
			t.Helper()
			time.Sleep(time.Second)
			a, err := b.Get(context.Background(), key, anybody, time.Hour)
			require.NoError(t, err)
			require.Contains(t, strings.Join(a.Warnings, " "), warning)
		}
		for range 5 {
			read("refresh/org/default/slack")
		}
		require.Zero(t, b.source.calls.Load(), "it is too new to be replaced because a reader wants more")
		time.Sleep(14 * time.Minute)
		for range 5 {
			read("")
		}
		require.EqualValues(t, 1, b.source.calls.Load())
		for range 60 {
			read("")
		}
		require.EqualValues(t, 1, b.source.calls.Load(), "a minute later it is too new again")
	})
	bubble(t, "what the provider asked for holds for a demand to refresh too", func(t *testing.T) {
		b := given(t, 59*time.Minute)
		b.source.before = func(int) error {
			return &providers.Error{
				Class: providers.RateLimited, Step: "refresh", Reason: "rate_limited", RetryAfter: time.Hour,
			}
		}
		for range 3 {
			_, err := b.Refresh(context.Background(), key, anybody)
			require.Equal(t, refresh.Unavailable, problem(t, err))
		}
		require.EqualValues(t, 1, b.source.calls.Load())
		b.source.before = nil
		time.Sleep(time.Hour)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
}
