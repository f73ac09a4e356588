package connections_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// journey is the way of the connection from key to other.
func journey() connections.Journey {
	return connections.Journey{
		From: key, To: other, Act: connections.Act{Verb: "move"},
		Mark: func(c *store.Connection) error {
			if c == nil {
				return errGone
			}
			c.Move(store.Moving{To: other.String(), Since: time.Now()})
			return nil
		},
		Arrive: func(c *store.Connection) *store.Connection {
			return c.Arrived(key, other, func(string) bool { return true })
		},
	}
}

var errGone = &connections.MovingError{Key: key}

func (b *bench) move() error {
	_, _, _, err := b.Move(ctx, journey())
	return err
}

// at is what storage has under a key.
func (b *bench) at(t *testing.T, k store.Key) *store.Connection {
	t.Helper()
	c, err := b.store.Connection(ctx, k)
	require.NoError(t, err)
	return c
}

func isWriteOf(k store.Key, op string) func(testenv.Access) bool {
	return func(a testenv.Access) bool { return a.Op == op && a.Key == "connection/"+k.String() }
}

func TestMove(t *testing.T) {
	bubble(t, "is a mark, an arrival and a deletion", func(t *testing.T, b *bench) {
		there, bare, left, err := b.Move(ctx, journey())
		require.NoError(t, err)
		require.Equal(t, []bool{false, false}, []bool{bare, left})
		requireIs(t, there, "0", "")
		require.Nil(t, b.at(t, key))
		requireIs(t, b.at(t, other), "0", "")
		require.NotEmpty(t, there.ID)
		require.Equal(t, []string{`move: 0 "" -> 0 ""`, `move: none -> 0 ""`, `move: 0 "" -> none`}, b.told())
		require.Equal(t, 3, b.count(isWrite))
		require.ErrorIs(t, b.move(), connections.ErrOccupied)
	})
	bubble(t, "is refused where a connection is, whatever becomes of that", func(t *testing.T, b *bench) {
		b.put(t, other, fresh())
		require.ErrorIs(t, b.move(), connections.ErrOccupied)
		require.Zero(t, b.count(isWrite)-1, "but what the test wrote")
		require.NoError(t, b.Delete(ctx, other, connections.Act{}))
		require.NoError(t, b.move())
	})
	bubble(t, "is refused where an entry is that cannot be read", func(t *testing.T, b *bench) {
		entry := &logical.StorageEntry{Key: "connection/" + other.String(), Value: []byte("{")}
		require.NoError(t, b.storage.Put(ctx, entry))
		require.ErrorIs(t, b.move(), connections.ErrOccupied)
		there, err := b.storage.Get(ctx, entry.Key)
		require.NoError(t, err)
		require.Equal(t, entry.Value, there.Value)
		requireIs(t, b.stored(t), "0", "")
	})
	bubble(t, "takes along what storage had refused, or waits for it", func(t *testing.T, b *bench) {
		b.refuse(isWrite)
		b.keep(t, nil, renew("1"))
		require.ErrorIs(t, b.move(), testenv.ErrStorage)
		requireIs(t, b.stored(t), "0", "")
		b.heal()
		require.NoError(t, b.move())
		requireIs(t, b.at(t, other), "1", "")
		require.Nil(t, b.at(t, key))
	})
	bubble(t, "leaves nothing that an intent could be stored for", func(t *testing.T, b *bench) {
		defer b.Pin(key)()
		generation := b.get(t).Generation
		b.refuse(isWriteOf(other, "put"))
		require.ErrorIs(t, b.move(), testenv.ErrStorage)
		_, err := b.Intend(ctx, key, generation, time.Now())
		require.ErrorIs(t, err, connections.ErrChanged, "it is marked")
		b.heal()
		require.NoError(t, b.move())
		_, err = b.Intend(ctx, key, generation, time.Now())
		require.ErrorIs(t, err, connections.ErrChanged, "it is gone")
		require.Zero(t, b.count(func(a testenv.Access) bool { return isIntent(a) && a.Op == "put" }))
	})
	bubble(t, "takes no writes from the mark on", func(t *testing.T, b *bench) {
		b.refuse(isWriteOf(other, "put"))
		require.ErrorIs(t, b.move(), testenv.ErrStorage)
		b.heal()
		require.ErrorAs(t, b.update(label("new")), new(*connections.MovingError))
		b.restart()
		require.ErrorAs(t, b.update(label("new")), new(*connections.MovingError))
		require.NoError(t, b.move())
		requireIs(t, b.at(t, other), "0", "")
	})
	bubble(t, "is refused while the grant may be on its way", func(t *testing.T, b *bench) {
		generation := b.get(t).Generation
		_, err := b.Intend(ctx, key, generation, time.Now())
		require.NoError(t, err)
		require.ErrorIs(t, b.move(), connections.ErrSpending)
		b.Abandon(key, generation)
		require.ErrorIs(t, b.move(), connections.ErrSpending)
		b.restart()
		require.ErrorIs(t, b.move(), connections.ErrSpending, "storage has it")
		_, err = b.Recover(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, b.move(), connections.ErrSpending)
		require.NoError(t, b.Settle(ctx, key, generation))
		require.NoError(t, b.move())
	})
	bubble(t, "goes on over an intent whose answer is known", func(t *testing.T, b *bench) {
		generation := b.get(t).Generation
		_, err := b.Intend(ctx, key, generation, time.Now())
		require.NoError(t, err)
		b.refuse(func(a testenv.Access) bool { return isIntent(a) && a.Op == "delete" })
		require.ErrorIs(t, b.Settle(ctx, key, generation), testenv.ErrStorage)
		b.heal()
		require.NoError(t, b.move())
		left, err := b.store.Intents(ctx)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	bubble(t, "removes what was left where it goes of a connection that had the name", func(t *testing.T, b *bench) {
		require.NoError(t, b.store.PutIntent(ctx, other, &store.Intent{Key: other.String(), Generation: 1 << 62}))
		require.NoError(t, b.move())
		left, err := b.store.Intents(ctx)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	bubble(t, "takes along what storage had refused, or does not begin", func(t *testing.T, b *bench) {
		b.refuse(isWrite)
		_, saved := b.keep(t, b.get(t), renew("1"))
		require.False(t, saved)
		require.ErrorIs(t, b.move(), testenv.ErrStorage)
		b.serves(t, "1", "", true)
		b.heal()
		require.NoError(t, b.move())
		requireIs(t, b.at(t, other), "1", "")
	})
	bubble(t, "loses no token where its mark lands while the grant is spent", func(t *testing.T, b *bench) {
		known := b.get(t)
		land := b.late(t, b.move)
		_, err := b.Intend(ctx, key, known.Generation, time.Now())
		require.NoError(t, err)
		land()
		require.ErrorIs(t, b.move(), connections.ErrSpending)
		require.Nil(t, b.at(t, other))
		_, saved := b.keep(t, known, renew("1"))
		require.True(t, saved)
		require.NoError(t, b.Settle(ctx, key, known.Generation))
		require.True(t, b.get(t).IsMoving())
		require.NoError(t, b.move())
		requireIs(t, b.at(t, other), "1", "")
		require.Nil(t, b.at(t, key))
		b.settle(t)
	})
	bubble(t, "is there though the arrival was told to have failed", func(t *testing.T, b *bench) {
		b.storage.Hang(testenv.Nth(1, isWriteOf(other, "put")), func(testenv.Access) {})
		require.Error(t, b.move())
		b.heal()
		require.True(t, b.get(t).IsMoving())
		require.NoError(t, b.move())
		requireIs(t, b.at(t, other), "0", "")
		b.settle(t)
		requireIs(t, b.at(t, other), "0", "")
		require.Nil(t, b.at(t, key))
	})
	bubble(t, "that is taken back leaves what took its place, whatever lands late", func(t *testing.T, b *bench) {
		made := make(chan struct{})
		b.storage.Hang(testenv.Nth(1, isWriteOf(other, "put")), func(testenv.Access) { <-made })
		require.Error(t, b.move())
		b.heal()
		_, err := b.Update(ctx, other, connections.Act{}, consent("another"))
		require.NoError(t, err)
		require.ErrorIs(t, b.move(), connections.ErrOccupied)
		require.NoError(t, b.Stay(ctx, key, connections.Act{}))
		close(made)
		b.settle(t)
		requireIs(t, b.at(t, other), "another", "")
		require.False(t, b.get(t).IsMoving())
		require.NoError(t, b.update(label("new")))
	})
	bubble(t, "that would be too large there is taken back", func(t *testing.T, b *bench) {
		j := journey()
		j.Arrive = func(c *store.Connection) *store.Connection {
			c.Label = strings.Repeat("x", store.MaxEntry)
			return c
		}
		_, _, _, err := b.Move(ctx, j)
		require.True(t, store.TooLarge(err), "%v", err)
		require.False(t, b.get(t).IsMoving())
		require.Nil(t, b.at(t, other))
	})
	bubble(t, "waits for another that goes the other way", func(t *testing.T, b *bench) {
		back := connections.Journey{
			From: other, To: key, Act: connections.Act{Verb: "back"},
			Mark: func(c *store.Connection) error {
				if c == nil {
					return errGone
				}
				c.Move(store.Moving{To: key.String(), Since: time.Now()})
				return nil
			},
			Arrive: func(c *store.Connection) *store.Connection {
				return c.Arrived(other, key, func(string) bool { return true })
			},
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { _ = b.move() })
			all.Go(func() { _, _, _, _ = b.Move(ctx, back) })
		}
		all.Wait()
		here, there := b.at(t, key), b.at(t, other)
		require.True(t, (here == nil) != (there == nil))
	})
}
