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

func TestTTL(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		left        time.Duration // of an hour; negative: it does not expire
		change      func(*store.Connection, *refresh.Terms)
		ttl, period time.Duration
	}{
		"fresh: until the margin": {
			left: time.Hour, ttl: 50 * time.Minute, period: 50 * time.Minute,
		},
		"rounded down": {
			left: 30*time.Minute + 900*time.Millisecond, ttl: 20 * time.Minute, period: 50 * time.Minute,
		},
		"inside the margin: soon": {
			left: 5 * time.Minute, ttl: refresh.MinTTL, period: 50 * time.Minute,
		},
		"never below the least": {
			left: 10*time.Minute + 2*time.Second, ttl: refresh.MinTTL, period: 50 * time.Minute,
		},
		"without expiry: the poll interval": {left: -1, ttl: 5 * time.Minute, period: 5 * time.Minute},
		"a failing refresh: until the next try": {
			left: 8 * time.Minute, change: failing(now.Add(3 * time.Minute)), ttl: 3 * time.Minute, period: 50 * time.Minute,
		},
		"but not beyond the token's life": {
			left: time.Minute, change: failing(now.Add(3 * time.Minute)), ttl: time.Minute, period: 50 * time.Minute,
		},
		"a try that is past is no reason to wait": {
			left: 8 * time.Minute, change: failing(now.Add(-time.Minute)), ttl: refresh.MinTTL, period: 50 * time.Minute,
		},
		"needs a person: the poll interval": {
			left:   30 * time.Minute,
			change: func(c *store.Connection, _ *refresh.Terms) { c.Refused.Reason = store.ReasonGrantRefused },
			ttl:    5 * time.Minute, period: 50 * time.Minute,
		},
		"no refresh token: the poll interval, or its life": {
			left: 2 * time.Minute, change: func(_ *store.Connection, t *refresh.Terms) { t.CanRefresh = false },
			ttl: 2 * time.Minute, period: 50 * time.Minute,
		},
		"paused: the poll interval": {
			left: 8 * time.Minute, change: func(_ *store.Connection, t *refresh.Terms) { t.Paused = true },
			ttl: 5 * time.Minute, period: 50 * time.Minute,
		},
		"the provider changed: the poll interval": {
			left: 30 * time.Minute, change: func(_ *store.Connection, t *refresh.Terms) { t.Fingerprint = nil },
			ttl: 5 * time.Minute, period: 50 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			same := fingerprint
			terms := refresh.Terms{Fingerprint: &same, CanRefresh: true, Margin: 10 * time.Minute, Poll: 5 * time.Minute}
			conn := &store.Connection{
				Credential: store.Credential{
					Pinned: fingerprint, Grant: &providers.Grant{AccessToken: providers.NewSecret("token")},
				},
			}
			if c.left >= 0 {
				conn.Grant.Expires = now.Add(c.left)
				conn.Grant.Issued = conn.Grant.Expires.Add(-time.Hour)
			}
			if c.change != nil {
				c.change(conn, &terms)
			}
			ttl, period := refresh.Answer{Connection: conn, Terms: terms}.TTL(now)
			require.Equal(t, c.ttl, ttl)
			require.Equal(t, c.period, period)
		})
	}
}

func TestDue(t *testing.T) {
	bubble(t, "earlier than readers were told, and not all at once", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 100, 30*time.Minute)
		time.Sleep(19 * time.Minute)
		require.NotZero(t, f.count("acme"))
		require.Less(t, f.count("acme"), 100)
		time.Sleep(time.Minute - time.Millisecond)
		require.Equal(t, 100, f.count("acme"))
	})
	bubble(t, "tokens that live for seconds are not refreshed in a loop", func(t *testing.T) {
		b := given(t, time.Minute)
		b.source.life = time.Second
		work(t, b)
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 21, b.source.calls.Load(), 1)
	})
	bubble(t, "a refresh token is used before it expires, not ever more often near it", func(t *testing.T) {
		b := given(t, time.Hour)
		b.source.life = 100 * day
		b.edit(t, func(c *store.Connection) {
			c.Grant.Issued, c.Grant.Expires, c.Grant.RefreshExpires = time.Now(), time.Time{}, time.Now().Add(10*day)
		})
		work(t, b)
		time.Sleep(7 * day)
		require.Zero(t, b.source.calls.Load())
		time.Sleep(day + time.Minute)
		require.EqualValues(t, 1, b.source.calls.Load())
		time.Sleep(10 * day)
		require.EqualValues(t, 7, b.source.calls.Load(), "each leaves a fifth of the rest, down to half a minute")
	})
	bubble(t, "a session that ends a minute after it was used is kept alive", func(t *testing.T) {
		b := given(t, 2*time.Minute)
		b.source.life, b.source.session = 2*time.Minute, time.Minute
		b.edit(t, func(c *store.Connection) { c.Grant.RefreshExpires = time.Now().Add(time.Minute) })
		work(t, b)
		for range 60 {
			time.Sleep(time.Minute)
			require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		}
		require.InDelta(t, 75, b.source.calls.Load(), 5, "before four fifths of the minute are over")
	})
}

// A crowd that failed in one moment must not come back in one, and a provider that is down is asked ever more rarely.
func TestBackoff(t *testing.T) {
	down := func(int) error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Status: 400, Reason: "unexplained_refusal"}
	}
	bubble(t, "doubles from two seconds, and with its jitter never exceeds ten minutes", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = down
		base := 2 * time.Second
		for range 16 {
			require.Error(t, b.read(key))
			a := b.stored(t).Attempt
			require.Equal(t, time.Now(), a.Last.Local())
			require.GreaterOrEqual(t, a.Next.Sub(a.Last), base)
			require.LessOrEqual(t, a.Next.Sub(a.Last), min(2*base, 10*time.Minute))
			base = min(2*base, 400*time.Second) // which leaves room for the jitter
			time.Sleep(time.Until(a.Next))
		}
		require.EqualValues(t, 16, b.source.calls.Load(), "each at the first moment that it may be")
	})
	bubble(t, "holds for what the engine itself refused to send, which may be mended anywhere", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Misconfigured, Code: providers.CodeNotSent, Reason: "a host is not allowed"}
		}
		err := b.read(key)
		require.ErrorContains(t, err, "nothing was sent: a host is not allowed")
		a := b.stored(t).Attempt
		require.GreaterOrEqual(t, a.Next.Sub(a.Last), 2*time.Second)
		require.Error(t, b.read(key))
		require.EqualValues(t, 1, b.source.calls.Load(), "not before")
		time.Sleep(time.Until(a.Next))
		b.source.before = nil
		require.NoError(t, b.read(key))
	})
	bubble(t, "differs between any two", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = down
		waits := map[time.Duration]bool{}
		keys := b.others(t, 20)
		for _, k := range keys {
			require.Error(t, b.read(k))
			c, err := b.store.Connection(context.Background(), k)
			require.NoError(t, err)
			waits[c.Attempt.Next.Sub(c.Attempt.Last)] = true
		}
		require.Greater(t, len(waits), len(keys)/2, "they are drawn from a second in nanoseconds")
	})
}

// A provider told a crowd the same moment. People may come at it; the background comes after it, not all at once.
func TestRetriesAreSpread(t *testing.T) {
	const connections, wait = 200, 10 * time.Minute
	limited := func(c *store.Connection) {
		c.Attempt = store.Attempt{
			Failures: 1, Class: providers.RateLimited, Last: time.Now(), Next: time.Now().Add(wait), ProviderSerial: 1,
		}
	}
	bubble(t, "of the background", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.paused = true })
		f.add(t, "acme", connections, time.Minute)
		for i := range connections {
			f.edit(t, at("acme", i), limited)
		}
		f.set(func() { f.paused = false })
		f.Nudge()
		time.Sleep(wait - time.Nanosecond)
		require.Zero(t, f.count("acme"), "never earlier than told")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Less(t, f.count("acme"), connections/4)
		time.Sleep(30 * time.Second)
		require.InDelta(t, connections/2, f.count("acme"), connections/4)
		time.Sleep(31 * time.Second)
		require.Equal(t, connections, f.count("acme"))
	})
	bubble(t, "but not that of a person", func(t *testing.T) {
		b := given(t, time.Hour)
		b.edit(t, limited)
		time.Sleep(wait - time.Nanosecond)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		time.Sleep(time.Nanosecond)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
}

func failing(next time.Time) func(*store.Connection, *refresh.Terms) {
	return func(c *store.Connection, _ *refresh.Terms) {
		c.Attempt = store.Attempt{Failures: 1, Class: providers.Transient, Next: next}
	}
}
