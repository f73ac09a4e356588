package refresh_test

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// meanwhile does something while the next look at a connection is being made: what the look tells is old by then.
func (b *bench) meanwhile(do func()) {
	done := false
	b.source.terms = func(*store.Connection, *refresh.Terms) {
		if !done {
			done = true
			do()
		}
	}
}

// crowd fills the provider's places with renewals of other connections. They end, all with this error, when leave is
// called.
func (b *bench) crowd(t *testing.T, outcome error) (leave func()) {
	t.Helper()
	release := make(chan struct{})
	b.source.before = func(int) error { <-release; return outcome }
	for _, k := range b.others(t, gate.Places) {
		go func() { _ = b.read(k) }()
	}
	synctest.Wait()
	require.EqualValues(t, gate.Places, b.source.calls.Load())
	return func() {
		close(release)
		synctest.Wait()
	}
}

var errNotSent = errors.New("nothing was sent")

// The wait for a place at the provider may be long. What changed meanwhile is found out before the provider hears of
// it.
func TestLastLook(t *testing.T) {
	transient := &providers.Error{
		Class: providers.Transient, Step: "refresh", Status: 400, Reason: "unexplained_refusal",
	}
	limited := &providers.Error{
		Class: providers.RateLimited, Step: "refresh", Reason: "rate_limited", RetryAfter: time.Hour,
	}
	edited := func(change func(*store.Connection)) func(*testing.T, *bench) {
		return func(t *testing.T, b *bench) { b.edit(t, change) }
	}
	terms := func(change func(*refresh.Terms)) func(*testing.T, *bench) {
		return func(_ *testing.T, b *bench) {
			b.source.terms = func(_ *store.Connection, t *refresh.Terms) { change(t) }
		}
	}
	for name, c := range map[string]struct {
		change  func(*testing.T, *bench)
		others  error // what the others' calls come to, if it is not transient
		problem refresh.Problem
		err     error
	}{
		"disabled": {change: edited(disable), problem: refresh.Disabled},
		"failed validation": {
			change:  edited(func(c *store.Connection) { c.Refused.Reason = store.ReasonGrantRefused }),
			problem: refresh.NeedsReconnect,
		},
		"a failure that another recorded": {
			change: edited(func(c *store.Connection) {
				now := time.Now()
				c.Attempt = store.Attempt{Failures: 1, Class: providers.Transient, Last: now, Next: now.Add(time.Hour)}
			}),
			problem: refresh.Unavailable,
		},
		"nothing to refresh with": {
			change:  terms(func(t *refresh.Terms) { t.CanRefresh = false }),
			problem: refresh.Expired,
		},
		"paused": {
			change:  terms(func(t *refresh.Terms) { t.Paused = true }),
			problem: refresh.Paused,
		},
		"it may no longer write": {
			change: func(_ *testing.T, b *bench) { b.writable.Store(false) },
			err:    logical.ErrReadOnly,
		},
		"deleted": {
			change: func(t *testing.T, b *bench) {
				require.NoError(t, b.store.DeleteConnection(context.Background(), key))
				b.Invalidate(key)
			},
			problem: refresh.NotFound,
		},
		"the provider asked to be left alone": {
			change:  func(*testing.T, *bench) {},
			others:  limited,
			problem: refresh.Unavailable,
		},
	} {
		bubble(t, name, func(t *testing.T) {
			b := given(t, -time.Second)
			leave := b.crowd(t, cmp.Or[error](c.others, transient))
			answer := make(chan error, 1)
			go func() { answer <- b.read(key) }()
			synctest.Wait()
			require.Empty(t, answer, "it waits for a place")
			c.change(t, b)
			leave()
			if err := <-answer; c.err != nil {
				require.Equal(t, c.err, err)
			} else {
				require.Equal(t, c.problem, problem(t, err))
			}
			require.EqualValues(t, gate.Places, b.source.calls.Load(), "those of the others")
		})
	}
	bubble(t, "another was faster", func(t *testing.T) {
		b := given(t, -time.Second)
		b.meanwhile(func() { require.NoError(t, b.read(key)) })
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "another node was faster", func(t *testing.T) {
		b := given(t, -time.Second)
		leave := b.crowd(t, transient)
		answer := make(chan string, 1)
		go func() {
			token, _, err := b.get(t)
			assert.NoError(t, err)
			answer <- token
		}()
		synctest.Wait()
		b.behind(t, reconnect("theirs"))
		b.Invalidate(key)
		leave()
		require.Equal(t, "access-theirs", <-answer)
		require.EqualValues(t, gate.Places, b.source.calls.Load())
	})
}

// What an intent says, and what it must not be taken for.
func TestIntents(t *testing.T) {
	failing := func(int) error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}
	}

	bubble(t, "one of an earlier grant casts no doubt", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{Key: key.String(), Generation: 0}))
		b.source.current = "another"
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
	})
	bubble(t, "one that a crash left outlasts a refresh that was never sent", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{Key: key.String(), Generation: 1}))
		b.source.before = func(int) error { return errNotSent }
		_, _, err := b.get(t)
		require.ErrorIs(t, err, errNotSent)
		require.NotNil(t, b.intent(t))
	})
	bubble(t, "one of a failure that is recorded is settled", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = failing
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "one of a failure that is held stands", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = failing
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.NotNil(t, b.intent(t), "a crash now would find nothing else")
	})
	bubble(t, "what does not rotate needs none", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MayRotate = false }
		b.source.before = func(call int) error {
			if call == 1 {
				return &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}
			}
			return nil
		}
		b.refuse(isIntent)
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-2", token)
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "who settles an old one does not take a new one for it", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{Key: key.String(), Generation: 0}))
		settling, settle, recovered := make(chan struct{}), make(chan struct{}), make(chan error)
		old := testenv.Nth(1, func(a testenv.Access) bool { return a.Op == "delete" && isIntent(a) })
		b.storage.Judge(func(a testenv.Access) error {
			if old(a) {
				close(settling)
				<-settle
			}
			return nil
		})
		go func() { recovered <- b.Recover(context.Background()) }()
		<-settling
		land := b.out() // is about to store its own
		close(settle)
		require.NoError(t, <-recovered)
		synctest.Wait()
		require.NotNil(t, b.intent(t), "its token is being spent")
		land()
		require.Nil(t, b.intent(t))
	})
}

// An answer may be asked for once more, by who may still keep it.
func TestRepeats(t *testing.T) {
	unknown := &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}

	bubble(t, "not where nothing may be written any more", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MayRotate = false }
		b.source.before = func(int) error { b.writable.Store(false); return unknown }
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "not after the end of the drain", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.MayRotate = false }
		b.source.before = func(int) error { time.Sleep(11 * time.Second); return unknown }
		go func() { _, _, _ = b.get(t) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Close(ctx)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
}

// A connection may be gone, or another, by the time the provider answers.
func TestLandsOnAnother(t *testing.T) {
	failing := &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}

	for name, answer := range map[string]error{"an answer": nil, "a failure": failing} {
		bubble(t, name+" for what another node deleted", func(t *testing.T) {
			b := given(t, -time.Second)
			b.source.before = func(int) error {
				require.NoError(t, b.store.DeleteConnection(context.Background(), key))
				b.Invalidate(key)
				return answer
			}
			_, _, err := b.get(t)
			require.Equal(t, refresh.NotFound, problem(t, err))
			require.Nil(t, b.stored(t))
			require.Zero(t, b.Unsaved())
		})
		bubble(t, name+" for a grant that was replaced", func(t *testing.T) {
			b := given(t, -time.Second)
			b.source.before = func(int) error { b.edit(t, reconnect("new")); return answer }
			token, _, err := b.get(t)
			require.NoError(t, err)
			require.Equal(t, "access-new", token)
			require.Zero(t, b.stored(t).Attempt)
		})
	}
}

// What a demand to refresh is answered without a call.
func TestRefreshRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*store.Connection)
		terms   func(*refresh.Terms)
		problem refresh.Problem
	}{
		"a disabled one": {change: func(c *store.Connection) {
			disable(c)
		}, problem: refresh.Disabled},
		"one to reconnect": {change: func(c *store.Connection) {
			c.Grant.HardLimit = time.Now()
		}, problem: refresh.NeedsReconnect},
		"a key": {change: func(c *store.Connection) {
			c.AdoptKey(nil, fingerprint, time.Now())
		}, problem: refresh.NotRefreshable},
		"no refresh token":   {terms: func(t *refresh.Terms) { t.CanRefresh = false }, problem: refresh.NotRefreshable},
		"while it is paused": {terms: func(t *refresh.Terms) { t.Paused = true }, problem: refresh.Paused},
		"a provider that fell": {change: func(c *store.Connection) {
			c.Attempt = store.Attempt{
				Failures: 1, Class: providers.Transient, Last: time.Now(), Next: time.Now().Add(time.Minute), ProviderSerial: 1,
			}
		}, problem: refresh.Unavailable},
	} {
		bubble(t, name, func(t *testing.T) {
			b := given(t, 30*time.Minute)
			if c.change != nil {
				b.edit(t, c.change)
			}
			b.source.terms = func(_ *store.Connection, t *refresh.Terms) {
				if c.terms != nil {
					c.terms(t)
				}
			}
			_, err := b.Refresh(context.Background(), key, anybody)
			require.Equal(t, c.problem, problem(t, err))
			require.Zero(t, b.source.calls.Load())
		})
	}
	bubble(t, "while the provider wants to be left alone", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		other := b.others(t, 1)[0]
		b.source.before = func(int) error {
			return &providers.Error{
				Class: providers.RateLimited, Step: "refresh", Reason: "rate_limited", RetryAfter: time.Hour,
			}
		}
		_, err := b.Refresh(context.Background(), other, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "but not what an operator has corrected since", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		b.source.before = func(call int) error {
			if call == 1 {
				return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}
			}
			return nil
		}
		_, err := b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.Serial = 2 }
		_, err = b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
	bubble(t, "nor a dead token that came a moment ago", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.life = time.Second
		for n := range 2 {
			_, err := b.Refresh(context.Background(), key, anybody)
			require.NoError(t, err)
			require.EqualValues(t, n+1, b.source.calls.Load())
			time.Sleep(2 * time.Second)
		}
	})
}
