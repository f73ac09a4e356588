package connections_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// intent is the intent that storage has.
func (b *bench) intent(t *testing.T) *store.Intent {
	t.Helper()
	i, err := b.store.Intent(ctx, key)
	require.NoError(t, err)
	return i
}

// intend says that the grant of a generation is about to be spent.
func (b *bench) intend(t *testing.T, generation uint64) (doubt bool) {
	t.Helper()
	doubt, err := b.Intend(ctx, key, generation, time.Now())
	require.NoError(t, err)
	return doubt
}

// intentKey is where storage has a connection's intent.
func intentKey(k store.Key) string {
	sum := sha256.Sum256([]byte(k.String()))
	return "wal/" + hex.EncodeToString(sum[:])
}

func TestIntents(t *testing.T) {
	bubble(t, "stand until what came of them is known", func(t *testing.T, b *bench) {
		require.False(t, b.Spending(key))
		require.False(t, b.intend(t, 1))
		require.Equal(t, &store.Intent{Key: key.String(), Generation: 1, Time: b.intent(t).Time}, b.intent(t))
		require.True(t, b.Spending(key))
		require.False(t, b.Interrupted(key))
		require.NoError(t, b.Settle(ctx, key, 1))
		require.Nil(t, b.intent(t))
		require.False(t, b.Spending(key))
		require.False(t, b.intend(t, 1))
	})
	bubble(t, "leave nothing in memory once they have ended", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		require.Equal(t, 1, b.Slots())
		require.NoError(t, b.Settle(ctx, key, 1))
		require.Zero(t, b.Slots())
	})
	bubble(t, "cast doubt on the next for the same grant if their answer is unknown", func(t *testing.T, b *bench) {
		require.False(t, b.intend(t, 2))
		b.restart()
		require.True(t, b.intend(t, 2))
		require.True(t, b.intend(t, 1), "what came of an earlier spending was never saved")
		require.False(t, b.intend(t, 2), "an earlier grant's says nothing of a later one's")
	})
	bubble(t, "that cannot be decoded may be for any grant", func(t *testing.T, b *bench) {
		require.NoError(t, b.storage.Put(ctx, &logical.StorageEntry{Key: intentKey(key), Value: []byte("{")}))
		require.True(t, b.intend(t, 5))
		require.NotNil(t, b.intent(t))
	})
	bubble(t, "are refused when storage does not tell of earlier ones", func(t *testing.T, b *bench) {
		b.refuse(func(a testenv.Access) bool { return isIntent(a) && !a.Write() })
		_, err := b.Intend(ctx, key, 1, time.Now())
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Zero(t, b.storage.Writes())
		require.False(t, b.Spending(key))
	})
	bubble(t, "that storage refuses say so, and the earlier one stands", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.restart()
		_, err := b.Recover(ctx)
		require.NoError(t, err)
		b.storage.FailWrites()
		_, err = b.Intend(ctx, key, 1, time.Now())
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.False(t, b.Spending(key))
		require.True(t, b.Interrupted(key))
	})
	bubble(t, "that storage refused and took all the same cast no doubt: nothing was sent", func(t *testing.T, b *bench) {
		land := make(chan struct{})
		b.storage.Hang(isIntentWrite, func(testenv.Access) { <-land })
		_, err := b.Intend(ctx, key, 1, time.Now())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, b.Spending(key))
		require.False(t, b.Interrupted(key))
		b.heal()
		close(land)
		synctest.Wait()
		require.NotNil(t, b.intent(t))
		require.False(t, b.intend(t, 1))
		require.NoError(t, b.Settle(ctx, key, 1))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "cast doubt still when the next could not be stored", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.restart()
		b.refuse(isIntentWrite)
		_, err := b.Intend(ctx, key, 1, time.Now())
		require.ErrorIs(t, err, testenv.ErrStorage)
		b.heal()
		require.True(t, b.intend(t, 1))
	})
	bubble(t, "are refused by read-only storage, which leaves nothing in memory", func(t *testing.T, b *bench) {
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		_, err := b.Intend(ctx, key, 1, time.Now())
		require.True(t, store.IsReadOnly(err))
		require.Zero(t, b.Slots())
	})
	bubble(t, "that cannot be removed cast no doubt, since their answer is known", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.refuse(isIntent)
		require.ErrorIs(t, b.Settle(ctx, key, 1), testenv.ErrStorage)
		require.False(t, b.Spending(key))
		require.False(t, b.Interrupted(key))
		b.heal()
		require.NotNil(t, b.intent(t))
		require.False(t, b.intend(t, 1))
	})
	bubble(t, "that cannot be removed are removed by Flush", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.refuse(isIntent)
		require.ErrorIs(t, b.Settle(ctx, key, 1), testenv.ErrStorage)
		require.EqualValues(t, 1, b.nudges.Load())
		require.Equal(t, 1, b.Flush(ctx))
		b.heal()
		require.Zero(t, b.Flush(ctx))
		require.Nil(t, b.intent(t))
		require.Zero(t, b.Slots())
	})
	bubble(t, "of a request that is out are left alone by Flush", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.refuse(isIntent)
		require.Error(t, b.Settle(ctx, key, 1))
		b.heal()
		b.intend(t, 1)
		require.Zero(t, b.Flush(ctx))
		require.NotNil(t, b.intent(t))
		require.True(t, b.Spending(key))
	})
	bubble(t, "that storage which may only be read cannot remove are none of Flush's", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		require.True(t, store.IsReadOnly(b.Settle(ctx, key, 1)))
		require.Zero(t, b.nudges.Load())
		require.Zero(t, b.Flush(ctx))
	})
	bubble(t, "that cannot be removed cast doubt on another grant still", func(t *testing.T, b *bench) {
		b.intend(t, 2)
		b.refuse(isIntent)
		require.Error(t, b.Settle(ctx, key, 2))
		b.heal()
		require.True(t, b.intend(t, 1))
	})
	bubble(t, "of another generation are not ended", func(t *testing.T, b *bench) {
		b.intend(t, 2)
		require.NoError(t, b.Settle(ctx, key, 1))
		require.NotNil(t, b.intent(t))
		require.True(t, b.Spending(key))
	})
	bubble(t, "of a former process are ended by who knows what came of them", func(t *testing.T, b *bench) {
		b.intend(t, 2)
		b.restart()
		require.NoError(t, b.Settle(ctx, key, 1))
		require.NotNil(t, b.intent(t))
		require.NoError(t, b.Settle(ctx, key, 2))
		require.Nil(t, b.intent(t))
		require.Zero(t, b.Slots())
		b.refuse(isIntent)
		require.ErrorIs(t, b.Settle(ctx, key, 2), testenv.ErrStorage)
	})
	bubble(t, "are ended though the caller has left", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.NoError(t, b.Settle(gone, key, 1))
		require.Nil(t, b.intent(t))
		b.intend(t, 1)
		b.restart()
		require.NoError(t, b.Settle(gone, key, 1))
		require.Nil(t, b.intent(t))
	})
}

// failed is a renewal that brought nothing: the grant stays what it was.
var failed = edit(func(c *store.Connection) { c.Attempt.Failures++ })

func isIntentWrite(a testenv.Access) bool { return isIntent(a) && a.Write() }

func TestIntentsWhileHeld(t *testing.T) {
	// answered has the answer to an intent held.
	answered := func(t *testing.T, b *bench) {
		known := b.get(t)
		b.intend(t, 1)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		require.NoError(t, b.Settle(ctx, key, 1))
		require.NotNil(t, b.intent(t), "a crash now would lose the answer")
		require.False(t, b.Spending(key))
	}
	bubble(t, "stand until the answer is saved", func(t *testing.T, b *bench) {
		answered(t, b)
		require.Equal(t, 1, b.Flush(ctx))
		require.NotNil(t, b.intent(t))
		b.heal()
		require.Equal(t, 1, b.Flush(ctx))
		require.Nil(t, b.intent(t))
		b.settle(t)
	})
	bubble(t, "cast no doubt on the next for the same grant", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.intend(t, 1)
		b.refuse(isWrite)
		b.keep(t, known, failed)
		require.NoError(t, b.Settle(ctx, key, 1))
		b.refuse(func(a testenv.Access) bool { return a.Write() && !isIntent(a) })
		require.False(t, b.intend(t, 1))
		require.True(t, b.Spending(key))
	})
	bubble(t, "cast doubt after a crash", func(t *testing.T, b *bench) {
		answered(t, b)
		b.restart()
		require.True(t, b.intend(t, 1))
	})
	bubble(t, "do not end with the save when a later request is out", func(t *testing.T, b *bench) {
		answered(t, b)
		require.False(t, b.intend(t, 2))
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Unsaved())
		require.EqualValues(t, 2, b.intent(t).Generation)
		require.True(t, b.Spending(key))
		require.NoError(t, b.Settle(ctx, key, 2))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "of a former process stand, too, while the answer is held", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		b.restart()
		b.refuse(isWrite)
		b.keep(t, nil, renew("1"))
		require.NoError(t, b.Settle(ctx, key, 1))
		require.NotNil(t, b.intent(t))
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "that cannot be removed with the save do not keep it from counting", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.intend(t, 1)
		b.refuse(isWrite)
		b.keep(t, known, failed)
		require.NoError(t, b.Settle(ctx, key, 1))
		b.refuse(isIntent)
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Unsaved())
		require.False(t, b.Spending(key))
		b.heal()
		require.False(t, b.intend(t, 1), "its answer is known")
	})
	bubble(t, "end when the answer is dropped for something newer", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.intend(t, 1)
		land := b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) { c.Generation += 10 }))
		})
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		require.NoError(t, b.Settle(ctx, key, 1))
		land()
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "are left alone where another node leads: they may be that node's", func(t *testing.T, b *bench) {
		answered(t, b)
		b.heal()
		b.behind(t, label("theirs"))
		require.NoError(t, b.FlushOne(ctx, key))
		require.NotNil(t, b.intent(t))
		b.settle(t)
		b.Invalidate(key)
		require.Zero(t, b.Slots())
	})
}

func TestRecover(t *testing.T) {
	// left has intents that a former process left.
	left := func(t *testing.T, b *bench) {
		b.intend(t, 3)
		_, err := b.Intend(ctx, other, 4, time.Now())
		require.NoError(t, err)
		b.restart()
		b.storage.Forget()
	}
	bubble(t, "finds what a former process left, once", func(t *testing.T, b *bench) {
		left(t, b)
		require.False(t, b.Interrupted(key))
		found, err := b.Recover(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, []store.Key{key, other}, found)
		intent, open := b.InterruptedIntent(key)
		require.True(t, open)
		require.EqualValues(t, 3, intent.Generation)
		require.False(t, intent.Time.IsZero())
		require.False(t, b.Spending(key))
		b.storage.Forget()
		found, err = b.Recover(ctx)
		require.NoError(t, err)
		require.Empty(t, found)
		require.Empty(t, b.storage.History())
	})
	bubble(t, "leaves what is taken up", func(t *testing.T, b *bench) {
		left(t, b)
		_, err := b.Recover(ctx)
		require.NoError(t, err)
		require.True(t, b.intend(t, 3))
		require.False(t, b.Interrupted(key))
		require.NoError(t, b.Settle(ctx, other, 4))
		require.False(t, b.Interrupted(other))
	})
	bubble(t, "does not take a request of this process for one of a former", func(t *testing.T, b *bench) {
		b.intend(t, 1)
		_, err := b.Recover(ctx)
		require.NoError(t, err)
		require.False(t, b.Interrupted(key))
		require.True(t, b.Spending(key))
	})
	bubble(t, "reads again what it could not read, and that alone", func(t *testing.T, b *bench) {
		left(t, b)
		b.refuse(func(a testenv.Access) bool { return a.Key == intentKey(key) })
		found, err := b.Recover(ctx)
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Equal(t, []store.Key{other}, found)
		b.storage.Forget()
		found, err = b.Recover(ctx)
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Empty(t, found)
		b.heal()
		found, err = b.Recover(ctx)
		require.NoError(t, err)
		require.Equal(t, []store.Key{key}, found)
		once := testenv.Access{Op: "get", Key: intentKey(key)}
		require.Equal(t, []testenv.Access{once, once}, b.storage.History())
	})
	bubble(t, "lists them again when storage did not", func(t *testing.T, b *bench) {
		left(t, b)
		b.refuse(isIntent)
		_, err := b.Recover(ctx)
		require.ErrorIs(t, err, testenv.ErrStorage)
		b.heal()
		found, err := b.Recover(ctx)
		require.NoError(t, err)
		require.Len(t, found, 2)
	})
	bubble(t, "passes over what cannot be decoded", func(t *testing.T, b *bench) {
		left(t, b)
		require.NoError(t, b.storage.Put(ctx, &logical.StorageEntry{Key: "wal/a", Value: []byte("{")}))
		nonsense := []byte(`{"version":1,"key":"nonsense"}`)
		require.NoError(t, b.storage.Put(ctx, &logical.StorageEntry{Key: "wal/b", Value: nonsense}))
		found, err := b.Recover(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, []store.Key{key, other}, found)
		require.True(t, b.logs.Contains("an intent cannot be decoded"))
		found, err = b.Recover(ctx)
		require.NoError(t, err)
		require.Empty(t, found)
	})
	bubble(t, "passes over what is gone by the time it is read", func(t *testing.T, b *bench) {
		left(t, b)
		b.storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && a.Key == intentKey(key) {
				return b.store.DeleteIntent(ctx, key)
			}
			return nil
		})
		found, err := b.Recover(ctx)
		require.NoError(t, err)
		require.Equal(t, []store.Key{other}, found)
		require.False(t, b.logs.Contains("an intent cannot be decoded"))
	})
	bubble(t, "of a connection that is deleted is over", func(t *testing.T, b *bench) {
		left(t, b)
		_, err := b.Recover(ctx)
		require.NoError(t, err)
		require.NoError(t, b.Delete(ctx, key, connections.Act{}))
		require.False(t, b.Interrupted(key))
		require.Nil(t, b.intent(t))
	})
}
