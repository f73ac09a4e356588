package connections_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestKeep(t *testing.T) {
	bubble(t, "saves at once when storage takes it", func(t *testing.T, b *bench) {
		c, saved := b.keep(t, nil, renew("1"))
		require.True(t, saved)
		requireIs(t, c, "1", "")
		requireIs(t, b.stored(t), "1", "")
		require.Equal(t, c.Serial, b.stored(t).Serial)
		b.serves(t, "1", "", false)
		require.Zero(t, b.Unsaved())
		require.Zero(t, b.nudges.Load())
	})
	bubble(t, "keeps nothing when the change errs or comes to nothing", func(t *testing.T, b *bench) {
		wrong := errors.New("wrong")
		_, _, err := b.Keep(ctx, key, connections.Act{}, nil, func(*store.Connection) (*store.Connection, error) {
			return nil, wrong
		})
		require.ErrorIs(t, err, wrong)
		c, saved := b.keep(t, nil, func(*store.Connection) (*store.Connection, error) { return nil, nil })
		require.Nil(t, c)
		require.False(t, saved)
		require.Zero(t, b.storage.Writes())
		require.Empty(t, b.told())
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "serves what storage refuses from memory, with a warning, until it is saved", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		c, saved := b.keep(t, known, renew("1"))
		require.False(t, saved)
		requireIs(t, c, "1", "")
		require.Equal(t, 1, b.Unsaved())
		require.Zero(t, b.Doubtful(), "it counts as unsaved")
		require.Equal(t, []string{key.String()}, b.SomeUnsaved(20))
		require.NotZero(t, b.nudges.Load())
		b.storage.Forget()
		b.serves(t, "1", "", true)
		require.Zero(t, b.reads())
		require.Equal(t, 1, b.Flush(ctx))
		require.Equal(t, 1, b.Unsaved())
		b.heal()
		require.Equal(t, 1, b.Flush(ctx), "the writes that failed may land")
		require.Zero(t, b.Unsaved())
		require.Empty(t, b.SomeUnsaved(20))
		requireIs(t, b.stored(t), "1", "")
		b.serves(t, "1", "", false)
		b.settle(t)
	})
	bubble(t, "holds what storage that may only be read refuses, which leaves no doubt", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		_, saved := b.keep(t, known, renew("1"))
		require.False(t, saved)
		b.serves(t, "1", "", true)
		require.NotZero(t, b.nudges.Load())
		require.Equal(t, 1, b.Flush(ctx))
		b.heal()
		require.Zero(t, b.Flush(ctx), "no write is in doubt")
		requireIs(t, b.stored(t), "1", "")
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `save: 1 "" -> 1 ""`}, b.told())
	})
	bubble(t, "lays the credential alone over what storage has by then", func(t *testing.T, b *bench) {
		land := b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) { disable(c); c.Label = "late" }))
		})
		b.refuse(isWrite)
		b.keep(t, nil, edit(func(c *store.Connection) {
			c.Label = "of the renewal"
			c.Refreshed(grant("1"), time.Now())
		}))
		b.serves(t, "1", "", true)
		land()
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "late")
		require.True(t, b.stored(t).Stops.On())
		b.serves(t, "1", "late", false)
	})
	bubble(t, "serves a connection as disabled once that has landed, while held", func(t *testing.T, b *bench) {
		land := b.late(t, func() error { return b.update(edit(func(c *store.Connection) { disable(c) })) })
		b.refuse(isWrite)
		b.keep(t, nil, renew("1"))
		land()
		require.Equal(t, 1, b.Flush(ctx))
		b.serves(t, "1", "", true)
		require.True(t, b.get(t).Stops.On())
	})
	bubble(t, "rests on what the caller read when storage is silent", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.restart()
		b.refuse(isConnection)
		c, saved := b.keep(t, known, renew("1"))
		require.False(t, saved)
		requireIs(t, c, "1", "")
		b.serves(t, "1", "", true)
		require.Zero(t, b.storage.Writes(), "what storage has is not known")
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "")
		b.serves(t, "1", "", false)
	})
	bubble(t, "rests on what was written here rather than on what the caller read before", func(t *testing.T, b *bench) {
		known := b.get(t)
		require.NoError(t, b.update(label("new")))
		b.refuse(isConnection)
		require.Error(t, b.update(label("no")))
		b.keep(t, known, renew("1"))
		b.serves(t, "1", "new", true)
	})
	bubble(t, "does not bring back what was deleted here since the caller read it", func(t *testing.T, b *bench) {
		known := b.get(t)
		defer b.Pin(key)()
		require.NoError(t, b.remove())
		b.refuse(isConnection)
		c, saved := b.keep(t, known, renew("1"))
		require.Nil(t, c)
		require.False(t, saved)
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "does not bring back what was gone from storage since it was read", func(t *testing.T, b *bench) {
		known := b.get(t)
		defer b.Pin(key)()
		b.refuse(isWrite)
		require.Error(t, b.update(label("no")))
		b.heal()
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		require.Nil(t, b.get(t))
		b.refuse(isConnection)
		c, _ := b.keep(t, known, renew("1"))
		require.Nil(t, c)
	})
	bubble(t, "is saved with what storage has by then, after silence", func(t *testing.T, b *bench) {
		known := b.get(t)
		defer b.Pin(key)()
		land := b.late(t, func() error { return b.update(label("late")) })
		b.refuse(isConnection)
		b.keep(t, known, renew("1"))
		land()
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "late")
	})
	bubble(t, "holds two in a row while storage refuses", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		c, saved := b.keep(t, known, renew("2"))
		require.False(t, saved)
		require.EqualValues(t, 3, c.Generation)
		require.Equal(t, 1, b.Unsaved())
		b.serves(t, "2", "", true)
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "2", "")
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "saves the second with the first when storage is back", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isConnection)
		require.Error(t, b.update(label("no")))
		b.keep(t, known, renew("1"))
		b.heal()
		c, saved := b.keep(t, known, renew("2"))
		require.True(t, saved)
		requireIs(t, c, "2", "")
		require.Equal(t, b.stored(t).Serial, c.Serial)
		requireIs(t, b.stored(t), "2", "")
		require.Zero(t, b.Unsaved())
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `keep: 1 "" -> 2 ""`, `save: 2 "" -> 2 ""`}, b.told())
	})
	bubble(t, "lets the later verdict count for one generation", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.keep(t, known, edit(func(c *store.Connection) {
			c.RefreshFailed(store.Failure{Error: &providers.Error{Class: providers.Rejected}}, time.Now())
		}))
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		require.EqualValues(t, 2, b.stored(t).Generation)
		require.NotEmpty(t, b.stored(t).Refused.Reason)
	})
	bubble(t, "lets a failure count that was recorded over what landed late", func(t *testing.T, b *bench) {
		known := b.get(t)
		land := b.late(t, func() error {
			b.keep(t, known, renew("1"))
			return context.DeadlineExceeded
		})
		land()
		b.refuse(isWrite)
		b.keep(t, known, edit(func(c *store.Connection) {
			c.RefreshFailed(store.Failure{Error: &providers.Error{Class: providers.Rejected}}, time.Now())
		}))
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "")
		require.NotEmpty(t, b.stored(t).Refused.Reason)
	})
	bubble(t, "drops a credential that is older than what storage has", func(t *testing.T, b *bench) {
		known := b.get(t)
		land := b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) {
				c.Adopt(grant("late"), "pinned", time.Now())
				c.Generation += 10
			}))
		})
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		land()
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "late", "")
		b.serves(t, "late", "", false)
		require.Zero(t, b.Unsaved())
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `late write: 1 "" -> late ""`}, b.told())
	})
	bubble(t, "drops a credential where another node leads", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		theirs := b.behind(t, label("theirs"))
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Unsaved())
		require.Equal(t, theirs.Serial, b.stored(t).Serial, "nothing is written over it")
		b.serves(t, "0", "theirs", false)
		require.True(t, b.logs.Contains("dropped a credential that storage had refused"))
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `late write: 1 "" -> 0 "theirs"`}, b.told())
	})
	bubble(t, "drops the second with the first where another node leads", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		b.behind(t, label("theirs"))
		c, saved := b.keep(t, known, renew("2"))
		require.True(t, saved)
		requireIs(t, c, "0", "theirs")
	})
	bubble(t, "tells followers of what another node wrote, though no write is in doubt", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		b.keep(t, known, renew("1"))
		b.heal()
		b.behind(t, label("theirs"))
		require.Zero(t, b.Flush(ctx))
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `late write: 1 "" -> 0 "theirs"`}, b.told())
	})
	bubble(t, "saves two in a row though the caller has left", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.intend(t, 1)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		require.NoError(t, b.Settle(ctx, key, 1))
		b.heal()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, saved, err := b.Keep(gone, key, connections.Act{}, known, renew("2"))
		require.NoError(t, err)
		require.True(t, saved)
		requireIs(t, b.stored(t), "2", "")
		require.Nil(t, b.intent(t))
	})
	bubble(t, "reads and saves though the caller has left", func(t *testing.T, b *bench) {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, saved, err := b.Keep(gone, key, connections.Act{}, nil, renew("1"))
		require.NoError(t, err)
		require.True(t, saved)
	})
	bubble(t, "makes the whole entry of what storage never had", func(t *testing.T, b *bench) {
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		b.refuse(isWrite)
		c, saved := b.keep(t, nil, func(c *store.Connection) (*store.Connection, error) {
			require.Nil(t, c)
			c = fresh()
			c.Label = "made here"
			return c, nil
		})
		require.False(t, saved)
		requireIs(t, c, "0", "made here")
		b.keep(t, nil, renew("1"))
		b.serves(t, "1", "made here", true)
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "made here")
		b.settle(t)
		b.serves(t, "1", "made here", false)
	})
	bubble(t, "makes it of what is not even known to storage", func(t *testing.T, b *bench) {
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		b.refuse(isConnection)
		b.keep(t, nil, consent("1"))
		b.serves(t, "1", "", true)
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "makes it over an old put that landed after the deletion", func(t *testing.T, b *bench) {
		land := b.late(t, func() error { return b.update(label("late")) })
		require.NoError(t, b.remove())
		b.refuse(isWrite)
		b.keep(t, nil, consent("1"))
		land()
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "drops any other when the connection is gone", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Unsaved())
		require.Nil(t, b.get(t))
		require.Nil(t, b.stored(t))
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `late write: 1 "" -> none`}, b.told())
		b.settle(t)
		require.Zero(t, b.Slots())
	})
	bubble(t, "warns no reader while storage takes it", func(t *testing.T, b *bench) {
		known := b.get(t)
		release := make(chan struct{})
		b.storage.Block(isWrite, func(testenv.Access) { <-release })
		kept := make(chan bool, 1)
		go func() {
			_, saved := b.keep(t, known, renew("1"))
			kept <- saved
		}()
		synctest.Wait()
		b.serves(t, "1", "", false)
		require.Zero(t, b.Unsaved())
		close(release)
		require.True(t, <-kept)
		b.serves(t, "1", "", false)
	})
	bubble(t, "answers readers while a read under way brings something newer", func(t *testing.T, b *bench) {
		known := b.get(t)
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		read := make(chan struct{})
		theirs := newer(b.storedIn(t), "theirs")
		theirs.Generation += 10
		require.NoError(t, store.New(b.storage).PutConnection(ctx, key, theirs))
		go func() {
			_, _, _ = b.Get(ctx, key)
			close(read)
		}()
		synctest.Wait()
		b.refuse(isConnection)
		b.keep(t, known, renew("1"))
		close(release)
		<-read
		b.get(t).Label = "mine"
		b.serves(t, "theirs", "", true)
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		b.serves(t, "theirs", "", false)
	})
	bubble(t, "keeps what is held from being changed by its caller", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.restart()
		b.refuse(isConnection)
		var kept *store.Connection
		c, _ := b.keep(t, known, func(c *store.Connection) (*store.Connection, error) {
			kept = c
			return renew("1")(c)
		})
		c.Grant.RefreshToken, c.Label = providers.NewSecret("mine"), "mine"
		kept.Grant.RefreshToken, kept.Label, known.Label = providers.NewSecret("mine"), "mine", "mine"
		served := b.get(t)
		served.Grant.RefreshToken = providers.NewSecret("mine")
		b.serves(t, "1", "", true)
	})
	bubble(t, "keeps what is made and held from being changed by its caller", func(t *testing.T, b *bench) {
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		b.refuse(isWrite)
		var kept *store.Connection
		b.keep(t, nil, func(*store.Connection) (*store.Connection, error) {
			kept = fresh()
			return kept, nil
		})
		kept.Label = "mine"
		b.serves(t, "0", "", true)
	})
}

// A renewal and a consent may bring credentials of one generation: the renewal means nothing over the consent's grant.
func TestKeepOfRenewals(t *testing.T) {
	renewal := connections.Act{Verb: "renew", Renews: true}
	// renewed holds a renewal, after a reconnect of the same generation that storage failed; land makes that.
	renewed := func(t *testing.T, b *bench, act connections.Act) (land func()) {
		known := b.get(t)
		land = b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) { c.Adopt(grant("reconnected"), "pinned", time.Now()) }))
		})
		b.refuse(isWrite)
		_, saved, err := b.Keep(ctx, key, act, known, renew("1"))
		require.NoError(t, err)
		require.False(t, saved)
		b.heal()
		return land
	}
	bubble(t, "one is dropped for a reconnect that landed late", func(t *testing.T, b *bench) {
		land := renewed(t, b, renewal)
		land()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "reconnected", "")
		b.serves(t, "reconnected", "", false)
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "one is dropped for a reconnect of the same instant, too", func(t *testing.T, b *bench) {
		known := b.get(t)
		land := b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) {
				c.Adopt(grant("reconnected"), "pinned", time.Now().Add(5*time.Second)) // when the call has timed out
			}))
		})
		b.refuse(isWrite)
		_, _, err := b.Keep(ctx, key, renewal, known, renew("1"))
		require.NoError(t, err)
		b.heal()
		land()
		require.True(t, b.stored(t).Rotated.Equal(time.Now()))
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "reconnected", "")
	})
	bubble(t, "one that a person brought is not", func(t *testing.T, b *bench) {
		land := renewed(t, b, connections.Act{Verb: "consent"})
		land()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "one is saved over the grant that it came of", func(t *testing.T, b *bench) {
		land := renewed(t, b, renewal)
		require.NoError(t, b.FlushOne(ctx, key))
		land()
		require.Equal(t, 1, b.Flush(ctx))
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "one is saved over itself and over earlier ones that landed late", func(t *testing.T, b *bench) {
		known := b.get(t)
		land := b.late(t, func() error {
			_, _, err := b.Keep(ctx, key, renewal, known, renew("1"))
			require.NoError(t, err)
			return context.DeadlineExceeded
		})
		b.refuse(isWrite)
		_, _, err := b.Keep(ctx, key, renewal, known, renew("2"))
		require.NoError(t, err)
		b.heal()
		land()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "2", "")
	})
	bubble(t, "one is nothing more once a person has brought another", func(t *testing.T, b *bench) {
		land := renewed(t, b, renewal)
		b.refuse(isWrite)
		b.keep(t, nil, renew("of a person"))
		b.heal()
		land()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "of a person", "")
	})
	bubble(t, "one of what a person brought is saved like that", func(t *testing.T, b *bench) {
		land := renewed(t, b, connections.Act{Verb: "consent"})
		b.refuse(isWrite)
		_, _, err := b.Keep(ctx, key, renewal, nil, renew("2"))
		require.NoError(t, err)
		b.heal()
		land()
		require.NoError(t, b.FlushOne(ctx, key))
		requireIs(t, b.stored(t), "2", "")
	})
}

// storedIn is what storage has, past what a test put between it and the repository.
func (b *bench) storedIn(t *testing.T) *store.Connection {
	t.Helper()
	c, err := store.New(b.storage).Connection(ctx, key)
	require.NoError(t, err)
	return c
}

func TestUpdateWhileHeld(t *testing.T) {
	bubble(t, "saves what is held first", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		require.NoError(t, b.update(func(c *store.Connection) (*store.Connection, error) {
			requireIs(t, b.stored(t), "1", "")
			return label("new")(c)
		}))
		requireIs(t, b.stored(t), "1", "new")
		require.Zero(t, b.Unsaved())
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `save: 1 "" -> 1 ""`, `edit: 1 "" -> 1 "new"`}, b.told())
	})
	bubble(t, "fails if it cannot", func(t *testing.T, b *bench) {
		known := b.get(t)
		for _, these := range []func(testenv.Access) bool{isWrite, isConnection} {
			b.refuse(these)
			b.keep(t, known, renew("1"))
			require.ErrorIs(t, b.update(label("new")), testenv.ErrStorage)
			b.serves(t, "1", "", true)
		}
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `keep: 1 "" -> 1 ""`}, b.told())
	})
}

func TestFlush(t *testing.T) {
	bubble(t, "does nothing when there is nothing to do", func(t *testing.T, b *bench) {
		require.Zero(t, b.Flush(ctx))
		b.get(t)
		b.storage.Forget()
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Flush(ctx))
		require.Empty(t, b.storage.History())
	})
	// unsaved holds so many connections that storage refused.
	unsaved := func(t *testing.T, b *bench, n int) {
		b.refuse(isWrite)
		for i := range n {
			k := store.Key{Owner: key.Owner, Name: fmt.Sprint("c", i)}
			_, saved, err := b.Keep(ctx, k, connections.Act{}, nil, consent("1"))
			require.NoError(t, err)
			require.False(t, saved)
		}
		require.Equal(t, n, b.Unsaved())
		b.storage.Forget()
	}
	bubble(t, "gives up after three failures in a row", func(t *testing.T, b *bench) {
		unsaved(t, b, 5)
		require.Equal(t, 5, b.Flush(ctx))
		require.Equal(t, 3, b.storage.Writes())
	})
	bubble(t, "goes on after a success", func(t *testing.T, b *bench) {
		unsaved(t, b, 10)
		n := 0
		b.storage.Judge(func(a testenv.Access) error {
			if isWrite(a) {
				if n++; n%3 != 0 {
					return testenv.ErrStorage
				}
			}
			return nil
		})
		b.Flush(ctx)
		require.Equal(t, 10, n)
		require.Equal(t, 7, b.Unsaved())
	})
	bubble(t, "ends with its context", func(t *testing.T, b *bench) {
		unsaved(t, b, 2)
		b.heal()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.Equal(t, 2, b.Flush(gone))
		require.Equal(t, 2, b.Unsaved())
	})
	bubble(t, "names what is unsaved, and no more than asked for", func(t *testing.T, b *bench) {
		unsaved(t, b, 3)
		require.Len(t, b.SomeUnsaved(2), 2)
		require.ElementsMatch(t, []string{"org/acme/c0", "org/acme/c1", "org/acme/c2"}, b.SomeUnsaved(20))
	})
	bubble(t, "says an outage in one line, and its end in another", func(t *testing.T, b *bench) {
		unsaved(t, b, 3)
		require.Equal(t, 1, strings.Count(b.logs.String(), "[ERROR]"))
		require.False(t, b.logs.Contains("nothing is held in memory only"))
		b.heal()
		b.Flush(ctx)
		require.Zero(t, b.Unsaved())
		require.Equal(t, 1, strings.Count(b.logs.String(), "nothing is held in memory only"))
	})
	bubble(t, "is done with what was deleted meanwhile", func(t *testing.T, b *bench) {
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		b.keep(t, nil, renew("1"))
		b.heal()
		require.NoError(t, b.remove())
		require.NoError(t, b.update(consent("2")))
		b.told()
		b.storage.Forget()
		require.Zero(t, b.Flush(ctx))
		require.Empty(t, b.storage.History(), "no write is in doubt")
		require.Empty(t, b.told())
	})
}
