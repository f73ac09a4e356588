package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const day = 24 * time.Hour

// edit changes the bench's connection as a person would.
func (b *bench) edit(t *testing.T, change func(*store.Connection)) {
	t.Helper()
	_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
		change(c)
		return c, nil
	})
	require.NoError(t, err)
}

func TestHardLimit(t *testing.T) {
	limitIn := func(d time.Duration) func(*store.Connection) {
		return func(c *store.Connection) { c.Grant.HardLimit = time.Now().Add(d) }
	}
	bubble(t, "people are told two weeks ahead, and nothing else changes", func(t *testing.T) {
		b := given(t, time.Hour)
		b.edit(t, limitIn(15*day))
		_, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Empty(t, warnings)
		b.edit(t, limitIn(13*day))
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], time.Now().Add(13*day).UTC().Format(time.RFC3339))
	})
	bubble(t, "when it is over, what lives goes out and nobody is asked any more", func(t *testing.T) {
		b := given(t, time.Hour)
		b.edit(t, limitIn(30*time.Minute))
		work(t, b)
		time.Sleep(30*time.Minute - time.Second)
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		time.Sleep(2 * time.Second)
		c := b.stored(t)
		require.Equal(t, []any{store.StatusNeedsReconnect, store.ReasonHardLimit}, []any{statusOf(c), reasonOf(c)})
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token, "what lives goes out")
		require.NotEmpty(t, warnings)
		time.Sleep(time.Hour)
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Zero(t, b.source.calls.Load(), "nobody is asked")
	})
	bubble(t, "it is over for one that cannot be refreshed, too", func(t *testing.T) {
		b := given(t, time.Hour)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.CanRefresh = false }
		b.edit(t, limitIn(time.Minute))
		work(t, b)
		time.Sleep(2 * time.Minute)
		require.Equal(t, store.ReasonHardLimit, reasonOf(b.stored(t)))
	})
	bubble(t, "it is over for a connection that rests after failures, too", func(t *testing.T) {
		b := given(t, time.Hour)
		b.edit(t, func(c *store.Connection) {
			limitIn(time.Minute)(c)
			c.Attempt = store.Attempt{
				Failures: 9, Class: providers.Transient, Last: time.Now(), Next: time.Now().Add(20 * time.Minute),
			}
		})
		work(t, b)
		time.Sleep(2 * time.Minute)
		require.Equal(t, store.ReasonHardLimit, reasonOf(b.stored(t)))
	})
}

func TestIdleLimit(t *testing.T) {
	bubble(t, "a grant that nobody reads is used in time", func(t *testing.T) {
		b := given(t, time.Hour)
		b.source.life, b.source.terms = 100*day, func(_ *store.Connection, t *refresh.Terms) { t.Idle = 10 * day }
		b.edit(t, func(c *store.Connection) { c.Grant.Expires = time.Time{} })
		work(t, b)
		time.Sleep(7 * day)
		require.Zero(t, b.source.calls.Load())
		time.Sleep(day)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "one that was refused after it says so", func(t *testing.T) {
		b := given(t, -9*day)
		b.source.current, b.source.terms = "another", func(_ *store.Connection, t *refresh.Terms) { t.Idle = 9 * day }
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Contains(t, err.Error(), "idle_limit")
		require.Equal(t, store.ReasonIdleLimit, reasonOf(b.stored(t)))
	})
}

func TestTermsOfTheProvider(t *testing.T) {
	bubble(t, "a token is not renewed before its provider would", func(t *testing.T) {
		b := given(t, 5*time.Minute) // inside the margin
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MinAge = 57 * time.Minute }
		work(t, b)
		_, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Empty(t, warnings)
		a, err := b.Get(context.Background(), key, anybody, 30*time.Minute)
		require.NoError(t, err)
		require.Len(t, a.Warnings, 1)
		ttl, _ := a.TTL(time.Now())
		require.Equal(t, 2*time.Minute, ttl, "that is when a newer one can be had")
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.NotRefreshable, problem(t, err))
		time.Sleep(119 * time.Second)
		require.Zero(t, b.source.calls.Load())
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a demand sent again is answered by what came of it", func(t *testing.T) {
		b := given(t, 2*time.Minute)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MinAge = 57 * time.Minute }
		for range 2 {
			a, err := b.Refresh(context.Background(), key, anybody)
			require.NoError(t, err)
			require.Equal(t, "access-1", a.Connection.Grant.AccessToken.Reveal())
		}
		time.Sleep(10 * time.Second)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.NotRefreshable, problem(t, err))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a dead one is worth a try", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MinAge = 2 * time.Hour }
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
	})
	bubble(t, "what is renewed on demand is left alone until somebody asks", func(t *testing.T) {
		b := given(t, time.Hour)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.OnDemand, t.Idle = true, time.Hour }
		work(t, b)
		time.Sleep(day)
		require.Zero(t, b.source.calls.Load())
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
	})
}

// work runs the bench's worker until the test ends.
func work(t *testing.T, b *bench) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Work(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	c, err := b.Load(ctx, key)
	assert.NoError(t, err)
	b.Schedule(ctx, key, c)
}
