package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var key = store.Key{Owner: store.Owner{Org: "default"}, Name: "slack"}

const fingerprint = "as it was"

// source is a provider that rotates: it takes each refresh token once, unless window forgives.
type source struct {
	mu      sync.Mutex
	current string // the refresh token that is good now
	former  string // the one before
	window  bool   // whether former is still taken
	calls   atomic.Int32

	life    time.Duration
	session time.Duration                           // how long a refresh token may lie unused, and is told to; zero: nothing is told
	before  func(call int) error                    // before the provider does anything
	after   func(call int) error                    // after it rotated: the answer is lost when it errs
	terms   func(*store.Connection, *refresh.Terms) // changes the terms

	answers func(*store.Connection) (*providers.Grant, error) // in place of all that
}

func (*source) Lifetime(context.Context, store.Key, *store.Connection) (until time.Time) {
	return until
}

func (s *source) Terms(_ context.Context, _ store.Key, c *store.Connection) (refresh.Terms, error) {
	same := fingerprint
	t := refresh.Terms{
		Fingerprint: &same, Serial: 1, CanRefresh: c.Grant != nil && !c.Grant.RefreshToken.IsZero(), MayRotate: true,
		Margin: 10 * time.Minute, Poll: 5 * time.Minute,
	}
	if s.terms != nil {
		s.terms(c, &t)
	}
	return t, nil
}

func (s *source) Refresh(ctx context.Context, _ store.Key, c *store.Connection) (*providers.Grant, error) {
	call := int(s.calls.Add(1))
	if s.answers != nil {
		return s.answers(c)
	}
	if s.before != nil {
		if err := s.before(call); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	used := c.Grant.RefreshToken.Reveal()
	over := s.session > 0 && !c.Grant.RefreshExpires.IsZero() && !time.Now().Before(c.Grant.RefreshExpires)
	if over || used != s.current && (!s.window || used != s.former) {
		s.mu.Unlock()
		return nil, &providers.Error{
			Class: providers.Rejected, Step: "refresh", Code: "invalid_grant", Reason: "invalid_grant",
		}
	}
	s.former, s.current = used, fmt.Sprintf("refresh-%d", call)
	g := *c.Grant
	g.RefreshToken, g.AccessToken = providers.NewSecret(s.current), providers.NewSecret(fmt.Sprintf("access-%d", call))
	g.Issued, g.Expires = time.Now(), time.Now().Add(s.life)
	if s.session > 0 {
		g.RefreshExpires = time.Now().Add(s.session)
	}
	s.mu.Unlock()
	if s.after != nil {
		if err := s.after(call); err != nil {
			return nil, err
		}
	}
	return &g, ctx.Err()
}

// bench is a coordinator over failing storage and a scripted provider, with one connection.
type bench struct {
	*engine
	storage  *testenv.Storage
	store    store.Store
	source   *source
	writable atomic.Bool
	uncached atomic.Bool
	told     atomic.Pointer[store.Connection] // the last state that was told of
}

func newBench(t *testing.T, storage *testenv.Storage, src *source) *bench {
	t.Helper()
	b := &bench{storage: storage, store: store.New(storage), source: src}
	b.writable.Store(true)
	b.begin(storage)
	return b
}

// begin makes the bench's coordinator, over storage as that sees it.
func (b *bench) begin(seen logical.Storage) {
	b.engine = newEngine(options{
		Store: store.New(seen), Source: b.source, Writable: b.writable.Load, Now: time.Now, Paused: func() bool {
			return false
		},
		Uncached: b.uncached.Load, Changed: func(_ store.Key, c *store.Connection) { b.told.Store(c) },
	})
}

// given makes a bench whose one connection has a token that lives for left of its hour.
func given(t *testing.T, left time.Duration) *bench {
	t.Helper()
	b := newBench(t, &testenv.Storage{}, &source{current: "refresh-0", life: time.Hour})
	c := &store.Connection{
		Provider: "slack", Credential: store.Credential{Kind: providers.KindAuthorizationCode, FlowID: "flow"},
	}
	now := time.Now()
	c.Adopt(&providers.Grant{
		AccessToken: providers.NewSecret("access-0"), RefreshToken: providers.NewSecret("refresh-0"),
		Issued: now.Add(left - time.Hour), Expires: now.Add(left),
	}, fingerprint, now.Add(left-time.Hour))
	require.NoError(t, putConnection(context.Background(), b.store, key, c))
	b.storage.Forget()
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		b.Close(end)
	})
	return b
}

// others are n more connections at the same provider, with the same tokens.
func (b *bench) others(t *testing.T, n int) (keys []store.Key) {
	t.Helper()
	for i := range n {
		k := store.Key{Owner: key.Owner, Name: fmt.Sprint("other-", i)}
		require.NoError(t, putConnection(context.Background(), b.store, k, b.stored(t)))
		keys = append(keys, k)
	}
	return keys
}

func anybody(*store.Connection) error { return nil }

func (b *bench) get(t *testing.T) (string, []string, error) {
	t.Helper()
	a, err := b.Get(context.Background(), key, anybody, 0)
	if err != nil {
		return "", nil, err
	}
	return a.Connection.Grant.AccessToken.Reveal(), a.Warnings, nil
}

func (b *bench) stored(t *testing.T) *store.Connection {
	t.Helper()
	b.storage.Judge(nil)
	c, err := b.store.Connection(context.Background(), key)
	require.NoError(t, err)
	return c
}

func problem(t *testing.T, err error) refresh.Problem {
	t.Helper()
	var e *refresh.Error
	require.ErrorAs(t, err, &e, "%v", err)
	return e.Problem
}

// bubble runs a test on a clock of its own; it ends only when every goroutine has.
func bubble(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestReading(t *testing.T) {
	bubble(t, "a living token costs no call, and no storage from the second time on", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token)
		require.Empty(t, warnings)
		b.storage.Forget()
		for range 10 {
			require.NoError(t, b.read(key))
		}
		require.Empty(t, b.storage.History(), "they are answered from memory")
		require.Zero(t, b.source.calls.Load())
	})
	bubble(t, "fifty readers of a dead token make one call and all get the new one", func(t *testing.T) {
		b := given(t, -time.Second)
		release := make(chan struct{})
		b.source.before = func(int) error { <-release; return nil }
		var wg sync.WaitGroup
		var got [50]string
		for i := range got {
			wg.Go(func() { got[i], _, _ = b.get(t) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		for _, token := range got {
			require.Equal(t, "access-1", token)
		}
		require.EqualValues(t, 1, b.source.calls.Load())
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "inside the margin the living token is answered while the provider hangs", func(t *testing.T) {
		b := given(t, 5*time.Minute)
		release := make(chan struct{})
		b.source.before = func(int) error { <-release; return nil }
		start := time.Now()
		for range 10 {
			a, err := b.Get(context.Background(), key, anybody, 0)
			require.NoError(t, err)
			require.Equal(t, "access-0", a.Connection.Grant.AccessToken.Reveal())
			ttl, _ := a.TTL(time.Now())
			require.Equal(t, refresh.MinTTL, ttl)
		}
		require.Equal(t, start, time.Now(), "nobody waited")
		close(release)
		synctest.Wait()
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a caller who hangs up loses nothing", func(t *testing.T) {
		b := given(t, -time.Second)
		release := make(chan struct{})
		b.source.after = func(int) error { <-release; return nil }
		ctx, hangUp := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { _, err := b.Get(ctx, key, anybody, 0); done <- err }()
		synctest.Wait()
		hangUp()
		require.ErrorIs(t, <-done, context.Canceled)
		close(release)
		synctest.Wait()
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "min_ttl refreshes early, and not for what no token can be", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		a, err := b.Get(context.Background(), key, anybody, 2*time.Hour)
		require.NoError(t, err)
		require.Len(t, a.Warnings, 1)
		require.Zero(t, b.source.calls.Load())
		a, err = b.Get(context.Background(), key, anybody, 40*time.Minute)
		require.NoError(t, err)
		require.Equal(t, "access-1", a.Connection.Grant.AccessToken.Reveal())
		for range 3 {
			a, err = b.Get(context.Background(), key, anybody, 2*time.Hour)
			require.NoError(t, err)
			require.Len(t, a.Warnings, 1)
		}
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a token in its last seconds is replaced first, and served when that fails", func(t *testing.T) {
		b := given(t, 3*time.Second)
		b.source.before = func(int) error { return &providers.Error{Class: providers.Transient, Reason: "unavailable"} }
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token)
		require.Contains(t, warnings[0], "about to expire")

		b = given(t, 3*time.Second)
		token, warnings, err = b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.Empty(t, warnings)
	})
	bubble(t, "who may not use it sets nothing in motion", func(t *testing.T) {
		b := given(t, -time.Second)
		no := errors.New("no")
		_, err := b.Get(context.Background(), key, func(*store.Connection) error { return no }, 0)
		require.ErrorIs(t, err, no)
		synctest.Wait()
		require.Zero(t, b.source.calls.Load())
	})
}

func TestForcedRefresh(t *testing.T) {
	bubble(t, "a recent success answers", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		for range 3 {
			a, err := b.Refresh(context.Background(), key, anybody)
			require.NoError(t, err)
			require.Equal(t, "access-1", a.Connection.Grant.AccessToken.Reveal())
		}
		time.Sleep(11 * time.Second)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "it does not wait for the backoff", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		b.source.before = func(call int) error {
			if call == 1 {
				return &providers.Error{Class: providers.Transient, Reason: "unavailable", RetryAfter: time.Hour}
			}
			return nil
		}
		_, err := b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err), "a client's own repeat costs the provider nothing")
		require.EqualValues(t, 1, b.source.calls.Load())
		time.Sleep(6 * time.Second)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
}

func TestStorageRefuses(t *testing.T) {
	bubble(t, "the intent: the provider is not called", func(t *testing.T) {
		b := given(t, -time.Second)
		b.storage.FailWrites()
		_, _, err := b.get(t)
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Zero(t, b.source.calls.Load())
	})
	bubble(t, "the answer: it is served from memory, and saved when storage is back", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error { b.storage.FailWrites(); return nil }
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.NotEmpty(t, warnings)
		time.Sleep(time.Hour / 2)
		token, warnings, err = b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		require.Contains(t, warnings[0], "memory")
		require.Equal(t, 1, b.Unsaved())

		b.storage.Judge(nil)
		time.Sleep(time.Minute)
		require.Zero(t, b.Unsaved())
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
		intents, err := intentsOf(context.Background(), b.store)
		require.NoError(t, err)
		require.Empty(t, intents)
	})
	bubble(t, "everything, reads too, after the provider answered", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error {
			b.storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
			return nil
		}
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		b.storage.Judge(nil)
		time.Sleep(time.Minute)
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "a label changed meanwhile goes along", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error { b.storage.FailWrites(); return nil }
		_, _, err := b.get(t)
		require.NoError(t, err)
		b.storage.Judge(nil)
		_, err = b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
			c.Label = "new"
			return c, nil
		})
		require.NoError(t, err)
		require.Zero(t, b.Unsaved())
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
		require.Equal(t, "new", b.stored(t).Label)
	})
	for n := 1; n <= 4; n++ {
		bubble(t, fmt.Sprintf("write %d of a refresh: no token is lost", n), func(t *testing.T) {
			b := given(t, -time.Second)
			b.storage.FailWrite(n)
			_, _, _ = b.get(t)
			b.storage.Judge(nil)
			time.Sleep(time.Minute)
			token, _, err := b.get(t)
			require.NoError(t, err)
			require.NotEqual(t, "access-0", token)
			require.Equal(t, b.source.current, b.stored(t).Grant.RefreshToken.Reveal())
			require.EqualValues(t, 1, b.source.calls.Load())
		})
	}
}

func TestStandby(t *testing.T) {
	bubble(t, "a living token is served, and what asks for a new one is read-only before any call", func(t *testing.T) {
		b := given(t, 8*time.Minute)
		b.writable.Store(false)
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token, "inside its margin, too")
		_, err = b.Get(context.Background(), key, anybody, 30*time.Minute)
		require.Equal(t, logical.ErrReadOnly, err, "the active node can give one that lives so long")
		time.Sleep(8*time.Minute - time.Second)
		_, _, err = b.get(t)
		require.Equal(t, logical.ErrReadOnly, err, "in its last seconds")
		time.Sleep(2 * time.Second)
		_, _, err = b.get(t)
		require.Equal(t, logical.ErrReadOnly, err)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, logical.ErrReadOnly, err)
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Zero(t, b.source.calls.Load())
		require.Zero(t, b.storage.Writes())
	})
}

func TestFailures(t *testing.T) {
	fails := func(class providers.Class) func(int) error {
		return func(int) error { return &providers.Error{Class: class, Step: "refresh", Reason: "as told"} }
	}
	bubble(t, "a refused grant needs a person, and is left alone", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.current = "another"
		for range 5 {
			_, _, err := b.get(t)
			require.Equal(t, refresh.NeedsReconnect, problem(t, err))
			time.Sleep(time.Hour)
		}
		require.EqualValues(t, 1, b.source.calls.Load())
		require.Equal(t, store.StatusNeedsReconnect, statusOf(b.stored(t)))
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
	})
	bubble(t, "a living token of a refused grant goes out with a warning", func(t *testing.T) {
		b := given(t, 5*time.Minute)
		b.source.current = "another"
		_, _, _ = b.get(t)
		synctest.Wait()
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-0", token)
		require.Contains(t, warnings[0], "reconnect")
	})
	for _, class := range []providers.Class{
		providers.Transient, providers.RateLimited, providers.Misconfigured,
		providers.Unknown,
	} {
		bubble(t, string(class)+" never asks a person to reconnect, and is retried within bounds", func(t *testing.T) {
			b := given(t, -time.Second)
			b.source.before = fails(class)
			for range 600 {
				_, _, err := b.get(t)
				require.Error(t, err)
				time.Sleep(time.Second)
			}
			require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
			require.LessOrEqual(t, b.source.calls.Load(), int32(22), "ten minutes of reading each second")
			if class == providers.Misconfigured {
				require.LessOrEqual(t, b.source.calls.Load(), int32(5), "a minute, then longer")
				b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.Serial = 2 }
			} else {
				time.Sleep(time.Hour)
			}
			b.source.before = nil
			token, warnings, err := b.get(t)
			require.NoError(t, err)
			require.NotEqual(t, "access-0", token)
			require.Empty(t, warnings)
			require.Zero(t, b.stored(t).Attempt)
		})
	}
	bubble(t, "what cannot even be sent is not tried for each reader", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error { return errNotSent }
		require.ErrorIs(t, b.read(key), errNotSent)
		for range 99 {
			require.Equal(t, refresh.Unavailable, problem(t, b.read(key)))
		}
		require.EqualValues(t, 1, b.source.calls.Load())
		require.Less(t, b.storage.Writes(), 5, "an intent, its end, and when to try again")
		b.source.before = nil
		time.Sleep(time.Minute)
		require.NoError(t, b.read(key))
	})
	bubble(t, "a rate limit holds for the whole provider", func(t *testing.T) {
		b := given(t, -time.Second)
		other := b.others(t, 1)[0]
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.RateLimited, Reason: "as told", RetryAfter: time.Hour}
		}
		_, _, err := b.get(t)
		require.Error(t, err)
		_, err = b.Get(context.Background(), other, anybody, 0)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.EqualValues(t, 1, b.source.calls.Load())
	})
	bubble(t, "a changed provider is not called; what lives goes out", func(t *testing.T) {
		b := given(t, time.Minute)
		changed := "elsewhere"
		b.source.terms = func(_ *store.Connection, t *refresh.Terms) { t.Fingerprint = &changed }
		_, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Contains(t, warnings[0], "provider_changed")
		time.Sleep(2 * time.Minute)
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Zero(t, b.source.calls.Load())
		b.source.terms = nil
		_, _, err = b.get(t)
		require.NoError(t, err, "taking the change back makes it whole")
	})
	bubble(t, "a key that did not pass is not handed out", func(t *testing.T) {
		b := given(t, time.Hour)
		b.edit(t, func(c *store.Connection) {
			c.AdoptKey(nil, fingerprint, time.Now())
			c.Refused.Reason = store.ReasonGrantRefused
		})
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
	})
	bubble(t, "a hard limit asks the person", func(t *testing.T) {
		b := given(t, -time.Second)
		_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
			c.Grant.HardLimit = time.Now().Add(-time.Minute)
			return c, nil
		})
		require.NoError(t, err)
		_, _, err = b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.ReasonHardLimit, reasonOf(b.stored(t)))
		require.Zero(t, b.source.calls.Load())
	})
}

// TestLostAnswer is about the one loss that cannot be ruled out: the provider rotated, and nobody heard.
func TestLostAnswer(t *testing.T) {
	lost := func(call int) error {
		if call == 1 {
			return &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "reset"}
		}
		return nil
	}
	bubble(t, "within the reuse window it recovers by itself, at once", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.window, b.source.after = true, lost
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-2", token)
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "without a window the status tells what happened", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = lost
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(b.stored(t)))
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	// A crash: the first coordinator never hears the answer, a second starts over the same storage.
	crash := func(t *testing.T, window bool) *bench {
		b := given(t, -time.Second)
		b.source.window = window
		never := make(chan struct{})
		t.Cleanup(func() { close(never) })
		b.source.after = func(call int) error {
			if call == 1 {
				b.storage.Judge(func(a testenv.Access) error { return testenv.ErrStorage }) // this process writes no more
				<-never
				return errors.New("the process is gone")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, _ = b.Get(ctx, key, anybody, 0) }()
		synctest.Wait()
		cancel()
		b.storage.Judge(nil)
		next := newBench(t, b.storage, b.source)
		t.Cleanup(func() { next.Close(context.Background()) })
		return next
	}
	bubble(t, "a crash is recovered at start, within the window", func(t *testing.T) {
		b := crash(t, true)
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Equal(t, "access-2", b.stored(t).Grant.AccessToken.Reveal())
		intents, err := intentsOf(context.Background(), b.store)
		require.NoError(t, err)
		require.Empty(t, intents)
	})
	bubble(t, "a crash without a window is told for what it is", func(t *testing.T) {
		b := crash(t, false)
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(b.stored(t)))
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "a reader who is faster than the recovery learns the same", func(t *testing.T) {
		b := crash(t, false)
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(b.stored(t)))
	})
	bubble(t, "an intent whose answer was saved is dropped without a call", func(t *testing.T) {
		b := given(t, time.Minute)
		require.NoError(t, b.store.PutIntent(context.Background(), key, &store.Intent{Key: key.String(), Generation: 0}))
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		intents, err := intentsOf(context.Background(), b.store)
		require.NoError(t, err)
		require.Empty(t, intents)
		require.Zero(t, b.source.calls.Load())
	})
}

func TestMeanwhile(t *testing.T) {
	// during runs something while a refresh waits for the provider's answer.
	during := func(t *testing.T, do func(b *bench)) *bench {
		b := given(t, -time.Second)
		release := make(chan struct{})
		b.source.after = func(int) error { <-release; return nil }
		go func() { _, _ = b.Get(context.Background(), key, anybody, 0) }()
		synctest.Wait()
		go do(b)
		synctest.Wait()
		close(release)
		synctest.Wait()
		return b
	}
	bubble(t, "a reconnect: the newer grant stays", func(t *testing.T) {
		b := during(t, func(b *bench) {
			_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
				c.Adopt(&providers.Grant{AccessToken: providers.NewSecret("reconnected")}, fingerprint, time.Now())
				return c, nil
			})
			require.NoError(t, err)
		})
		require.Equal(t, "reconnected", b.stored(t).Grant.AccessToken.Reveal())
	})
	bubble(t, "an import of a refresh token: nobody takes the other renewal for its own", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.edit(t, func(c *store.Connection) {
			now := time.Now()
			c.AdoptImport(&providers.Grant{
				RefreshToken: providers.NewSecret("imported"), Issued: now, Expires: now,
			}, fingerprint, now)
		})
		tokens := make(chan string, 4)
		for _, ask := range []func() (refresh.Answer, error){
			func() (refresh.Answer, error) { return b.Refresh(context.Background(), key, anybody) },
			func() (refresh.Answer, error) { return b.Get(context.Background(), key, anybody, 0) },
		} {
			for range cap(tokens) / 2 {
				go func() {
					a, err := ask()
					assert.NoError(t, err)
					tokens <- a.Connection.Grant.AccessToken.Reveal()
				}()
			}
		}
		synctest.Wait()
		require.Empty(t, tokens, "they wait")
		b.source.before = func(int) error { b.source.current = "imported"; return nil }
		land()
		for range cap(tokens) {
			require.Equal(t, "access-2", <-tokens)
		}
		require.EqualValues(t, 2, b.source.calls.Load())
	})
	bubble(t, "a label: both are kept", func(t *testing.T) {
		b := during(t, func(b *bench) {
			_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
				c.Label = "new"
				return c, nil
			})
			require.NoError(t, err)
		})
		require.Equal(t, "access-1", b.stored(t).Grant.AccessToken.Reveal())
		require.Equal(t, "new", b.stored(t).Label)
	})
	bubble(t, "disabling: the token is kept, and not served", func(t *testing.T) {
		b := during(t, func(b *bench) {
			_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
				disable(c)
				return c, nil
			})
			require.NoError(t, err)
		})
		_, _, err := b.get(t)
		require.Equal(t, refresh.Disabled, problem(t, err))
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "deleting: the newest token is the one revoked", func(t *testing.T) {
		var revoked string
		b := during(t, func(b *bench) {
			require.NoError(t, b.Delete(context.Background(), key, func(_ context.Context, c *store.Connection) {
				revoked = c.Grant.RefreshToken.Reveal()
			}))
		})
		require.Equal(t, "refresh-1", revoked)
		require.Nil(t, b.stored(t))
	})
}

func TestClose(t *testing.T) {
	bubble(t, "what is in flight lands", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error { time.Sleep(3 * time.Second); return nil }
		go func() { _, _ = b.Get(context.Background(), key, anybody, 0) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Close(ctx)
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
		time.Sleep(2 * time.Hour)
		_, _, err := b.get(t)
		require.ErrorIs(t, err, tasks.ErrClosed)
	})
	bubble(t, "what is unsaved is saved", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.after = func(int) error { b.storage.FailWrites(); return nil }
		_, _, err := b.get(t)
		require.NoError(t, err)
		go func() { time.Sleep(2 * time.Second); b.storage.Judge(nil) }()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.Close(ctx)
		require.Equal(t, "refresh-1", b.stored(t).Grant.RefreshToken.Reveal())
	})
	bubble(t, "it does not wait longer than it may", func(t *testing.T) {
		b := given(t, -time.Second)
		hang := make(chan struct{})
		b.source.before = func(int) error {
			select {
			case <-hang:
			case <-time.After(time.Minute):
			}
			return nil
		}
		go func() { _, _ = b.Get(context.Background(), key, anybody, 0) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		b.engine.Quiesce(ctx)
		require.Error(t, ctx.Err())
		close(hang)
		synctest.Wait()
	})
	t.Run("a panic ends its flight only", func(t *testing.T) {
		b := given(t, 30*time.Minute)
		_, err := b.Detach(context.Background(), "boom", func(context.Context) (any, error) { panic("boom") })
		require.Error(t, err)
		_, err = b.Detach(context.Background(), "boom", func(context.Context) (any, error) { return 1, nil })
		require.NoError(t, err)
	})
}
