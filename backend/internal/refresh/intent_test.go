package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// successor is the process that follows on one that is gone:
// it has what storage holds now, and the former has no part in it.
func (b *bench) successor(t *testing.T) *bench {
	t.Helper()
	ctx, next := context.Background(), &testenv.Storage{}
	intents, err := b.storage.List(ctx, "wal/")
	require.NoError(t, err)
	paths := []string{"connection/" + key.String()}
	for _, id := range intents {
		paths = append(paths, "wal/"+id)
	}
	for _, path := range paths {
		e, err := b.storage.Get(ctx, path)
		require.NoError(t, err)
		require.NoError(t, next.Put(ctx, e))
	}
	return newBench(t, next, b.source)
}

// renew makes so many refreshes, far enough apart not to be answered by the one before.
func (b *bench) renew(t *testing.T, times int) {
	t.Helper()
	for range times {
		time.Sleep(time.Minute)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	}
}

// Storage refuses connections for long and takes intents: what an intent says then depends on what came after it.
func TestIntentsWhileConnectionsAreRefused(t *testing.T) {
	for name, rotations := range map[string]int{
		"one answer is lost with the process": 1,
		"one answer on top of another is":     2,
	} {
		bubble(t, name+": it is tried again at once, and nobody is blamed", func(t *testing.T) {
			b := given(t, time.Hour)
			b.refuse(isWrite)
			b.renew(t, rotations)
			require.Equal(t, 1, b.Unsaved())
			next := b.successor(t) // the former was killed
			require.NoError(t, next.Recover(context.Background()))
			time.Sleep(time.Second)
			require.EqualValues(t, rotations+1, b.source.calls.Load(), "within a reuse window it would have helped")
			require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(next.stored(t)))
			require.Nil(t, next.intent(t))
		})
	}
	bubble(t, "a failure that is held casts no doubt on a later refusal", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "http_503"}
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.NotNil(t, b.intent(t), "a successor cannot know what came of it")
		time.Sleep(time.Minute)
		b.source.before, b.source.current = nil, "revoked by the person"
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Contains(t, err.Error(), "grant_refused")
	})
	bubble(t, "nor does a refresh that was not sent take the intent of an answer that is held", func(t *testing.T) {
		b := given(t, time.Hour)
		b.refuse(isWrite)
		b.renew(t, 1)
		b.source.before = func(int) error { return context.DeadlineExceeded }
		time.Sleep(time.Minute)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		next := b.successor(t)
		b.source.before = nil
		require.NoError(t, next.Recover(context.Background()))
		time.Sleep(time.Second)
		require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(next.stored(t)))

		b.storage.Judge(nil) // had the former lived, it would have gone on with what it holds
		b.source.current = "another"
		time.Sleep(time.Minute)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Contains(t, err.Error(), "grant_refused")
	})
	bubble(t, "the doubt that is held only outlives a refresh that was not sent, and the process", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{
			Key: key.String(), Generation: 1, Time: time.Now(),
		}))
		b.refuse(isWrite)
		b.source.before = func(call int) error {
			if call == 1 {
				return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "http_503"}
			}
			return context.DeadlineExceeded
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		time.Sleep(time.Minute)
		_, _, err = b.get(t)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		next := b.successor(t)
		b.source.before, b.source.current = nil, "another"
		_, _, err = next.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Contains(t, err.Error(), "refresh_outcome_unknown")
	})
	bubble(t, "a lost answer stays in doubt when the second request is not even sent", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		b.source.after = func(int) error {
			return &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}
		}
		b.source.before = func(call int) error {
			if call == 2 {
				return context.DeadlineExceeded // as of storage that the source reads: no error of the provider
			}
			return nil
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.Contains(t, err.Error(), "timeout", "what is known is what came of the first")
		c, err := b.Load(context.Background(), key)
		require.NoError(t, err)
		require.True(t, c.Attempt.Unknown)
		time.Sleep(time.Minute)
		b.source.after, b.source.before = nil, nil
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Contains(t, err.Error(), "refresh_outcome_unknown")
	})
}
