package refresh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A refusal may have been the provider's incident. A person may have it tried once more; nobody else does.
func TestRefusedGrantIsTriedByHand(t *testing.T) {
	incident := func(int) error {
		return &providers.Error{
			Class: providers.Rejected, Step: "refresh", Status: 400, Code: "invalid_grant", Reason: "refused",
		}
	}
	refused := func(t *testing.T) *bench {
		t.Helper()
		b := given(t, -time.Second)
		b.source.before = incident
		require.Equal(t, refresh.NeedsReconnect, problem(t, b.read(key)))
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
		return b
	}
	demand := func(b *bench) error {
		_, err := b.Refresh(context.Background(), key, anybody)
		return err
	}
	bubble(t, "and serves again when it is taken", func(t *testing.T) {
		b := refused(t)
		for range 100 {
			time.Sleep(time.Minute)
			require.Error(t, b.read(key))
		}
		require.EqualValues(t, 1, b.source.calls.Load(), "readers and the background leave it")
		b.source.before = nil
		require.NoError(t, demand(b))
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.NoError(t, b.read(key))
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "once for each demand, and not more often than each five seconds", func(t *testing.T) {
		b := refused(t)
		since := b.stored(t).Refused.Time
		time.Sleep(time.Minute)
		for range 5 {
			require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b)))
		}
		require.EqualValues(t, 2, b.source.calls.Load())
		time.Sleep(5 * time.Second)
		require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b)))
		require.EqualValues(t, 3, b.source.calls.Load())
		require.Equal(t, since, b.stored(t).Refused.Time, "it is refused since the first time")
	})
	bubble(t, "and stays as it was when that fails otherwise", func(t *testing.T) {
		b := refused(t)
		time.Sleep(time.Minute)
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "server_error"}
		}
		require.Equal(t, refresh.Unavailable, problem(t, demand(b)))
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.EqualValues(t, 2, b.source.calls.Load(), "nobody else tries it")
	})
	for name, reason := range map[string]store.Reason{
		"an answer that was lost": store.ReasonOutcomeUnknown, "a grant that lay idle": store.ReasonIdleLimit,
	} {
		bubble(t, "after "+name, func(t *testing.T) {
			b := given(t, -time.Second)
			b.edit(t, func(c *store.Connection) { c.Refused = store.Refusal{Reason: reason, Time: time.Now()} })
			require.NoError(t, demand(b))
			require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		})
	}
	bubble(t, "but not where it belongs to another provider, or its consent has run out", func(t *testing.T) {
		b := refused(t)
		time.Sleep(time.Minute)
		other := "another"
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.Fingerprint = &other }
		require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b)))
		b.source.terms = nil
		b.edit(t, func(c *store.Connection) {
			c.Refused, c.Grant.HardLimit = store.Refusal{}, time.Now().Add(-time.Second)
		})
		require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b)))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "nor, and nobody is told to, where it was refused and its consent has run out since", func(t *testing.T) {
		b := refused(t)
		b.edit(t, func(c *store.Connection) { c.Grant.HardLimit = time.Now().Add(time.Minute) })
		require.Contains(t, b.read(key).Error(), "refresh/")
		time.Sleep(time.Minute) // by the clock that the date is from
		for _, err := range []error{demand(b), b.read(key)} {
			require.Equal(t, refresh.NeedsReconnect, problem(t, err))
			require.NotContains(t, err.Error(), "refresh/")
		}
		require.EqualValues(t, 1, b.source.calls.Load())
	})
}
