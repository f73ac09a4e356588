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

// What TestModel once found, and what would bring it back, staged so that it repeats to the letter.

func isConnection(a testenv.Access) bool { return strings.HasPrefix(a.Key, "connection/") }

func isRead(a testenv.Access) bool { return !a.Write() && isConnection(a) }

func isWrite(a testenv.Access) bool { return a.Write() && isConnection(a) }

// refuse lets storage refuse these accesses, and take all others.
func (b *bench) refuse(these func(testenv.Access) bool) {
	b.storage.Judge(func(a testenv.Access) error {
		if these(a) {
			return testenv.ErrStorage
		}
		return nil
	})
}

// behind changes what storage holds unseen, as another node would.
func (b *bench) behind(t *testing.T, change func(*store.Connection)) {
	t.Helper()
	c := b.stored(t)
	change(c)
	require.NoError(t, putConnection(context.Background(), b.store, key, c))
}

// denied is a person's change that storage took, saying that it did not.
func (b *bench) denied(t *testing.T, change func(*store.Connection)) {
	t.Helper()
	b.refuse(isWrite)
	_, err := b.Update(context.Background(), key, func(c *store.Connection) (*store.Connection, error) {
		change(c)
		return c, nil
	})
	require.ErrorIs(t, err, testenv.ErrStorage)
	b.behind(t, change)
}

// out starts a refresh, and returns what lets the provider's answer arrive.
func (b *bench) out() (land func()) {
	release := make(chan struct{})
	b.source.after = func(int) error { <-release; return nil }
	go func() { _, _ = b.Refresh(context.Background(), key, anybody) }()
	synctest.Wait()
	return func() {
		b.source.after = nil
		close(release)
		synctest.Wait()
	}
}

func label(text string) func(*store.Connection) {
	return func(c *store.Connection) { c.Label = text }
}

// reconnect is a consent that brought the tokens called so.
func reconnect(name string) func(*store.Connection) {
	return func(c *store.Connection) {
		now := time.Now()
		c.Adopt(&providers.Grant{
			AccessToken: providers.NewSecret("access-" + name), RefreshToken: providers.NewSecret("refresh-" + name),
			Issued: now, Expires: now.Add(time.Hour),
		}, fingerprint, now)
	}
}

// keep is the end of a flow or an import: a change that must not be lost.
func (b *bench) keep(t *testing.T, known *store.Connection, change func(*store.Connection)) (saved bool) {
	t.Helper()
	_, saved, err := b.Keep(context.Background(), key, known, func(c *store.Connection) (*store.Connection, error) {
		change(c)
		return c, nil
	})
	require.NoError(t, err)
	return saved
}

// holds checks what storage holds once nothing is held in memory any more.
func (b *bench) holds(t *testing.T, refreshToken, label string) {
	t.Helper()
	b.storage.Judge(nil)
	time.Sleep(time.Minute)
	require.Zero(t, b.Unsaved())
	c := b.stored(t)
	require.Equal(t, []string{refreshToken, label}, []string{c.Grant.RefreshToken.Reveal(), c.Label})
}

// The provider's answer comes while storage does not even read.
func TestAnswersWhileStorageIsSilent(t *testing.T) {
	bubble(t, "what storage took and denied before is not written over", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.denied(t, label("new"))
		b.refuse(isRead) // it would take a write
		land()
		require.Equal(t, 1, b.Unsaved())
		b.holds(t, "refresh-1", "new")
		require.Equal(t, "new", b.told.Load().Label)
	})
	bubble(t, "several answers are made again of it, one after the other", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.denied(t, label("new"))
		b.refuse(isConnection)
		land()
		time.Sleep(2 * time.Hour) // that one is dead, too
		token, warnings, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-2", token)
		require.NotEmpty(t, warnings)
		require.Equal(t, "access-2", b.told.Load().Grant.AccessToken.Reveal())
		b.holds(t, "refresh-2", "new")
	})
	bubble(t, "an answer that finds storage back is saved with those before it, at once", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.denied(t, label("new"))
		b.refuse(isRead)
		land()
		time.Sleep(20 * time.Second)
		land = b.out()
		b.storage.Judge(nil)
		land()
		require.Zero(t, b.Unsaved())
		b.holds(t, "refresh-2", "new")
	})
	bubble(t, "what was held already is not made again", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.refuse(isConnection)
		land()
		b.behind(t, func(c *store.Connection) { // it took the answer after all
			held, err := b.Load(context.Background(), key)
			require.NoError(t, err)
			c.Credential = held.Credential
		})
		b.refuse(isConnection)
		time.Sleep(2 * time.Hour)
		_, _, err := b.get(t)
		require.NoError(t, err)
		b.holds(t, "refresh-2", "")
	})
	bubble(t, "what a person disabled meanwhile is not served from memory", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.edit(t, disable)
		b.refuse(isRead)
		land()
		_, _, err := b.get(t)
		require.Equal(t, refresh.Disabled, problem(t, err))
		b.holds(t, "refresh-1", "")
		require.Equal(t, store.StatusDisabled, statusOf(b.stored(t)))
	})
	bubble(t, "it is kept over what another node wrote, not over what this one did before", func(t *testing.T) {
		b := given(t, -time.Second)
		b.edit(t, label("former"))
		b.behind(t, func(c *store.Connection) { reconnect("0")(c); c.Label = "new" })
		b.Invalidate(key)
		b.uncached.Store(true)
		time.Sleep(11 * time.Second)
		land := b.out()
		b.refuse(isRead)
		land()
		require.Equal(t, 1, b.Unsaved())
		b.holds(t, "refresh-1", "new")
	})
	bubble(t, "a deleted connection does not come back in its successor", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.Delete(context.Background(), key, nil))
		next := &store.Connection{
			Provider: "slack", Credential: store.Credential{Kind: providers.KindAuthorizationCode, FlowID: "flow"},
		}
		reconnect("0")(next)
		require.NoError(t, putConnection(context.Background(), b.store, key, next))
		b.uncached.Store(true)
		time.Sleep(11 * time.Second)
		land := b.out()
		b.refuse(isRead)
		land()
		require.Equal(t, 1, b.Unsaved())
		token, _, err := b.get(t)
		require.NoError(t, err)
		require.Equal(t, "access-1", token)
		b.holds(t, "refresh-1", "")
	})
	bubble(t, "an answer for a grant that was replaced is dropped", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.denied(t, reconnect("new"))
		b.refuse(isRead)
		land()
		b.holds(t, "refresh-new", "")
		require.Equal(t, "access-new", b.told.Load().Grant.AccessToken.Reveal())
	})
}

// Storage refuses to write a state, and maybe does not mean it.
func TestHeldStates(t *testing.T) {
	fails := func(int) error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}
	}

	bubble(t, "a refresh rests on what storage holds", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error {
			b.denied(t, reconnect("new"))
			b.refuse(isRead)
			return fails(0)
		}
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.Equal(t, 1, b.Unsaved())
		time.Sleep(6 * time.Second)
		b.storage.Judge(nil)
		a, err := b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
		require.Equal(t, "access-new", a.Connection.Grant.AccessToken.Reveal())
		require.EqualValues(t, 1, b.source.calls.Load(), "the grant of before is not spent")
	})
	bubble(t, "the intent of a failure that is held casts no doubt on the next refusal", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = fails
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		require.NotNil(t, b.intent(t))
		time.Sleep(6 * time.Second)
		b.source.before, b.source.current = nil, "another" // the person revoked it
		b.storage.Judge(nil)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
	})
	bubble(t, "saving one leaves the intent of the refresh that is out", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		time.Sleep(11 * time.Second)
		land := b.out()
		b.storage.Judge(nil)
		time.Sleep(20 * time.Second)
		require.Zero(t, b.Unsaved())
		require.NotNil(t, b.intent(t), "its token is being spent")
		land()
		require.Nil(t, b.intent(t))
		b.holds(t, "refresh-2", "")
	})
	bubble(t, "a failure does not undo a reconnect by another node", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = fails
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		b.behind(t, reconnect("new"))
		b.holds(t, "refresh-new", "")
	})
	bubble(t, "a consent that storage took and denied is not made twice", func(t *testing.T) {
		b := given(t, -time.Second)
		known := b.stored(t)
		b.refuse(isWrite)
		require.False(t, b.keep(t, known, reconnect("new")))
		b.behind(t, reconnect("new"))
		b.refuse(isConnection)
		b.source.current = "refresh-new"
		time.Sleep(11 * time.Second)
		b.out()() // rests on the consent: made twice, it would pass for one that came later
		b.holds(t, "refresh-1", "")
	})
	bubble(t, "a person's change rests on what storage holds, or is refused", func(t *testing.T) {
		b := given(t, -time.Second)
		land := b.out()
		b.denied(t, label("new"))
		b.refuse(isRead)
		land()
		tag := func(c *store.Connection) (*store.Connection, error) {
			c.Tags = map[string]string{"team": "a"}
			return c, nil
		}
		_, err := b.Update(context.Background(), key, tag)
		require.ErrorIs(t, err, testenv.ErrStorage)
		b.storage.Judge(nil)
		_, err = b.Update(context.Background(), key, tag)
		require.NoError(t, err)
		b.holds(t, "refresh-1", "new")
		require.Equal(t, "a", b.stored(t).Tags["team"])
	})
	bubble(t, "one that another node deleted is dropped", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		b.storage.Judge(nil)
		require.NoError(t, b.store.DeleteConnection(context.Background(), key))
		time.Sleep(2 * time.Minute)
		require.Zero(t, b.Unsaved())
		require.Nil(t, b.stored(t))
		require.Nil(t, b.told.Load())
		require.Zero(t, b.Health().Scheduled)
	})
	bubble(t, "it is told to who follows the connections", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.current = "another"
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.Equal(t, refresh.NeedsReconnect, problem(t, err))
		require.Equal(t, store.StatusNeedsReconnect, statusOf(b.told.Load()))
	})
	bubble(t, "however often somebody nudges, one tries to save", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		for range 50 {
			b.Nudge()
		}
		b.storage.Forget()
		time.Sleep(10 * time.Minute)
		require.LessOrEqual(t, b.storage.Writes(), 10*60/15+8, "the longest wait, and the shorter ones before it")
		b.holds(t, "refresh-1", "")
	})
	bubble(t, "who failed while saving is back a minute later", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		b.storage.Judge(func(testenv.Access) error { panic("storage is broken") })
		time.Sleep(time.Minute)
		require.Equal(t, 1, b.Unsaved())
		b.holds(t, "refresh-1", "")
	})
	bubble(t, "the end of the mount waits for nobody who waits to save", func(t *testing.T) {
		b := given(t, -time.Second)
		b.refuse(isWrite)
		_, _, err := b.get(t)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute) // by now once in fifteen seconds
		b.storage.Judge(nil)
		start := time.Now()
		b.Close(context.Background())
		require.Equal(t, start, time.Now())
		b.holds(t, "refresh-1", "")
	})
}
