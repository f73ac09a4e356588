package connections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestReads(t *testing.T) {
	bubble(t, "are answered from memory after the first", func(t *testing.T, b *bench) {
		for range 3 {
			b.serves(t, "0", "", false)
		}
		require.Equal(t, 1, b.reads())
	})
	bubble(t, "are answered from memory after a write", func(t *testing.T, b *bench) {
		require.NoError(t, b.update(label("new")))
		b.storage.Forget()
		b.serves(t, "0", "new", false)
		require.Zero(t, b.reads())
	})
	bubble(t, "go to storage each time where nothing is to be cached", func(t *testing.T, b *bench) {
		b.uncached.Store(true)
		require.NoError(t, b.update(label("new")))
		b.storage.Forget()
		for range 3 {
			b.serves(t, "0", "new", false)
		}
		require.Equal(t, 3, b.reads())
		require.Zero(t, b.Slots())
	})
	bubble(t, "of what is not there go to storage each time, and leave nothing in memory", func(t *testing.T, b *bench) {
		for range 2 {
			c, unsaved, err := b.Get(ctx, other)
			require.NoError(t, err)
			require.Nil(t, c)
			require.False(t, unsaved)
		}
		require.Equal(t, 2, b.reads())
		require.Zero(t, b.Slots())
	})
	bubble(t, "that fail are told so and leave nothing in memory", func(t *testing.T, b *bench) {
		b.refuse(isRead)
		_, _, err := b.Get(ctx, key)
		require.ErrorIs(t, err, testenv.ErrStorage)
		require.Zero(t, b.Slots())
	})
	bubble(t, "give copies", func(t *testing.T, b *bench) {
		for range 3 {
			c := b.get(t)
			require.Empty(t, c.Label)
			c.Label = "mine"
		}
		var kept *store.Connection
		c, err := b.Update(ctx, key, connections.Act{Verb: "edit"}, func(c *store.Connection) (*store.Connection, error) {
			kept = c
			return label("new")(c)
		})
		require.NoError(t, err)
		c.Label = "mine"
		require.Equal(t, []string{`edit: 0 "" -> 0 "new"`}, b.told())
		kept.Label = "mine"
		b.serves(t, "0", "new", false)
	})
	bubble(t, "by whoever goes over many leave nothing in memory, and use what is there", func(t *testing.T, b *bench) {
		c, err := b.Look(ctx, key)
		require.NoError(t, err)
		requireIs(t, c, "0", "")
		require.Zero(t, b.Slots())
		b.get(t)
		b.storage.Forget()
		c, err = b.Look(ctx, key)
		require.NoError(t, err)
		requireIs(t, c, "0", "")
		require.Zero(t, b.reads())
	})
	bubble(t, "that were under way when a write was made do not undo it", func(t *testing.T, b *bench) {
		release := make(chan struct{})
		got := make(chan *store.Connection, 1)
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		go func() {
			c, _, _ := b.Get(ctx, key)
			got <- c
		}()
		synctest.Wait()
		require.NoError(t, b.update(label("new")))
		close(release)
		requireIs(t, <-got, "0", "new")
		b.serves(t, "0", "new", false)
	})
	bubble(t, "see what another read saw of a write under way, and nothing older", func(t *testing.T, b *bench) {
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		old := make(chan *store.Connection, 1)
		go func() {
			c, _, _ := b.Get(ctx, key)
			old <- c
		}()
		synctest.Wait()
		require.NoError(t, store.New(b.storage).PutConnection(ctx, key, newer(b.stored(t), "1"))) // not yet answered
		b.serves(t, "1", "", false)
		close(release)
		requireIs(t, <-old, "1", "")
		b.serves(t, "1", "", false)
	})
	bubble(t, "that were under way when it was deleted do not bring it back", func(t *testing.T, b *bench) {
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		defer b.Pin(key)()
		got := make(chan *store.Connection, 1)
		go func() {
			c, _, _ := b.Get(ctx, key)
			got <- c
		}()
		synctest.Wait()
		require.NoError(t, b.remove())
		close(release)
		require.Nil(t, <-got)
		require.Nil(t, b.get(t))
	})
	bubble(t, "that were under way when it was deleted leave nothing pinned", func(t *testing.T, b *bench) {
		b.uncached.Store(true)
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(2, isRead), release: release})
		b.restart()
		defer b.Pin(key)()
		known := b.get(t)
		got := make(chan *store.Connection, 1)
		go func() {
			c, _, _ := b.Get(ctx, key)
			got <- c
		}()
		synctest.Wait()
		require.NoError(t, b.remove())
		close(release)
		require.Nil(t, <-got)
		b.refuse(isConnection)
		c, _ := b.keep(t, known, renew("1"))
		require.Nil(t, c)
	})
	bubble(t, "believe storage whatever its serial while no write is in doubt", func(t *testing.T, b *bench) {
		b.uncached.Store(true)
		defer b.Pin(key)()
		require.NoError(t, b.update(label("new")))
		restored := fresh()
		restored.Label = "restored"
		b.put(t, key, restored)
		b.serves(t, "0", "restored", false)
		require.NoError(t, b.update(renew("1")))
		requireIs(t, b.stored(t), "1", "restored")
	})
	bubble(t, "that are overtaken again and again end with the newest", func(t *testing.T, b *bench) {
		b.uncached.Store(true)
		b.store = store.New(&overtaken{Storage: b.storage, overtake: func() {
			repository := b.Repository
			_, err := repository.Update(ctx, key, connections.Act{}, renew("1"))
			require.NoError(t, err)
		}})
		b.restart()
		defer b.Pin(key)()
		c := b.get(t)
		require.Equal(t, b.stored(t).Generation, c.Generation)
	})
}

// newer is c after a renewal, with the next serial.
func newer(c *store.Connection, token string) *store.Connection {
	c.Serial++
	c.Refreshed(grant(token), time.Now())
	return c
}

// slowReads is storage whose answer to one read is long on its way.
type slowReads struct {
	*testenv.Storage
	hold    func(testenv.Access) bool
	release chan struct{}
}

func (s *slowReads) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	e, err := s.Storage.Get(ctx, key)
	if s.hold(testenv.Access{Op: "get", Key: key}) {
		<-s.release
	}
	return e, err
}

// overtaken is storage where a write is made while the answer to each read is on its way.
type overtaken struct {
	*testenv.Storage
	overtake func()
	busy     bool
}

func (s *overtaken) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	e, err := s.Storage.Get(ctx, key)
	if !s.busy {
		s.busy = true
		s.overtake()
		s.busy = false
	}
	return e, err
}

func TestUpdate(t *testing.T) {
	bubble(t, "changes a connection, with a higher serial each time", func(t *testing.T, b *bench) {
		last := uint64(1)
		for i := range 3 {
			c, err := b.Update(ctx, key, connections.Act{}, label(fmt.Sprint(i)))
			require.NoError(t, err)
			require.Equal(t, last+1, c.Serial)
			require.Equal(t, c.Serial, b.stored(t).Serial)
			last = c.Serial
		}
	})
	bubble(t, "changes nothing when the change errs", func(t *testing.T, b *bench) {
		b.get(t)
		wrong := errors.New("wrong")
		require.ErrorIs(t, b.update(func(c *store.Connection) (*store.Connection, error) {
			c.Label = "new"
			return c, wrong
		}), wrong)
		b.serves(t, "0", "", false)
		require.Zero(t, b.storage.Writes())
		require.Empty(t, b.told())
	})
	bubble(t, "changes nothing when the change comes to nothing", func(t *testing.T, b *bench) {
		b.get(t)
		c, err := b.Update(ctx, key, connections.Act{}, func(c *store.Connection) (*store.Connection, error) {
			c.Label = "new"
			return nil, nil
		})
		require.NoError(t, err)
		require.Nil(t, c)
		b.serves(t, "0", "", false)
		require.Zero(t, b.storage.Writes())
		require.Empty(t, b.told())
	})
	bubble(t, "changes nothing when storage refuses", func(t *testing.T, b *bench) {
		b.storage.FailWrites()
		require.ErrorIs(t, b.update(label("new")), testenv.ErrStorage)
		b.serves(t, "0", "", false)
		require.Empty(t, b.told())
		require.Zero(t, b.Unsaved())
	})
	bubble(t, "changes nothing when storage does not even answer a read", func(t *testing.T, b *bench) {
		b.refuse(isRead)
		require.ErrorIs(t, b.update(label("new")), testenv.ErrStorage)
		b.heal()
		b.serves(t, "0", "", false)
		require.Zero(t, b.Doubtful(), "nothing was tried")
	})
	bubble(t, "is made though its caller hangs up while storage takes it", func(t *testing.T, b *bench) {
		caller, cancel := context.WithCancel(ctx)
		release := make(chan struct{})
		b.storage.Block(isWrite, func(testenv.Access) { <-release })
		done := make(chan error)
		go func() {
			_, err := b.Update(caller, key, connections.Act{}, label("new"))
			done <- err
		}()
		synctest.Wait()
		cancel()
		close(release)
		require.NoError(t, <-done)
		b.serves(t, "0", "new", false)
	})
	bubble(t, "of what is not there makes it", func(t *testing.T, b *bench) {
		_, err := b.Update(ctx, other, connections.Act{}, func(c *store.Connection) (*store.Connection, error) {
			require.Nil(t, c)
			return fresh(), nil
		})
		require.NoError(t, err)
		c, err := b.store.Connection(ctx, other)
		require.NoError(t, err)
		requireIs(t, c, "0", "")
	})
	bubble(t, "fails on storage that may only be read, which leaves no doubt", func(t *testing.T, b *bench) {
		b.get(t)
		b.fail(testenv.Access.Write, logical.ErrReadOnly)
		require.True(t, store.IsReadOnly(b.update(label("new"))))
		require.True(t, store.IsReadOnly(b.remove()))
		b.storage.Forget()
		b.serves(t, "0", "", false)
		require.Zero(t, b.reads())
		require.Zero(t, b.Doubtful())
		require.Zero(t, b.Flush(ctx))
		require.Zero(t, b.nudges.Load())
	})
}

func TestUnusableEntries(t *testing.T) {
	bubble(t, "that are damaged cannot be changed, and can be replaced", func(t *testing.T, b *bench) {
		b.damage(t, false)
		_, _, err := b.Get(ctx, key)
		require.True(t, store.Damaged(err))
		require.True(t, store.Damaged(b.update(label("new"))))
		_, err = b.Replace(ctx, key, connections.Act{}, func(c *store.Connection) (*store.Connection, error) {
			require.Nil(t, c)
			return fresh(), nil
		})
		require.NoError(t, err)
		b.serves(t, "0", "", false)
	})
	bubble(t, "that are damaged can be deleted", func(t *testing.T, b *bench) {
		b.damage(t, false)
		require.NoError(t, b.remove())
		require.Nil(t, b.stored(t))
		require.Equal(t, []string{"delete: none -> none"}, b.told())
	})
	bubble(t, "that are damaged are written over by what must not be lost", func(t *testing.T, b *bench) {
		b.damage(t, false)
		_, saved := b.keep(t, nil, consent("1"))
		require.True(t, saved)
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "that are damaged do not keep what is held from being saved", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		b.damage(t, false)
		require.NoError(t, b.FlushOne(ctx, key))
		require.Zero(t, b.Unsaved())
		requireIs(t, b.stored(t), "1", "")
	})
	bubble(t, "of a newer release keep what is held from being saved, and do not end it", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		b.damage(t, true)
		time.Sleep(time.Minute)
		require.Equal(t, 1, b.Flush(ctx))
		require.Equal(t, 1, b.Flush(ctx))
		require.Equal(t, 1, b.Unsaved())
		b.serves(t, "1", "", true)
	})
	bubble(t, "of a newer release are left as they are", func(t *testing.T, b *bench) {
		b.damage(t, true)
		b.storage.Forget()
		_, replaced := b.Replace(ctx, key, connections.Act{}, func(*store.Connection) (*store.Connection, error) {
			return fresh(), nil
		})
		for _, err := range []error{b.update(label("new")), replaced, b.remove()} {
			require.True(t, store.Unusable(err))
			require.False(t, store.Damaged(err))
		}
		require.Zero(t, b.storage.Writes())
	})
	bubble(t, "end the doubt of a write like others", func(t *testing.T, b *bench) {
		b.refuse(isWrite)
		require.Error(t, b.update(label("new")))
		b.heal()
		b.damage(t, false)
		time.Sleep(time.Minute)
		require.Zero(t, b.Flush(ctx))
		require.Zero(t, b.Doubtful())
	})
}

func TestDelete(t *testing.T) {
	bubble(t, "removes the intent first, and then the connection", func(t *testing.T, b *bench) {
		_, err := b.Intend(ctx, key, 1, time.Now())
		require.NoError(t, err)
		b.get(t)
		b.storage.Forget()
		require.NoError(t, b.remove())
		require.Equal(t, []string{"delete wal", "delete connection"}, b.deletions())
		require.Nil(t, b.get(t))
		require.False(t, b.Spending(key))
		require.Zero(t, b.Slots())
	})
	bubble(t, "leaves the connection when the intent cannot be removed", func(t *testing.T, b *bench) {
		b.refuse(isIntent)
		require.ErrorIs(t, b.remove(), testenv.ErrStorage)
		require.NotNil(t, b.stored(t))
		b.serves(t, "0", "", false)
		require.Empty(t, b.told())
	})
	bubble(t, "leaves everything when storage does not answer", func(t *testing.T, b *bench) {
		b.refuse(isRead)
		require.ErrorIs(t, b.remove(), testenv.ErrStorage)
		require.Zero(t, b.storage.Writes())
	})
	bubble(t, "that fails may be made all the same: storage is read each time", func(t *testing.T, b *bench) {
		b.get(t)
		b.refuse(isWrite)
		require.ErrorIs(t, b.remove(), testenv.ErrStorage)
		b.heal()
		require.Equal(t, 1, b.Doubtful())
		b.storage.Forget()
		b.serves(t, "0", "", false)
		require.Equal(t, 1, b.reads())
		require.Empty(t, b.told())
	})
	bubble(t, "forgets what is held", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.heal()
		require.NoError(t, b.remove())
		require.Nil(t, b.get(t))
		require.Zero(t, b.Unsaved())
		b.settle(t)
		require.Nil(t, b.stored(t))
		require.Zero(t, b.Slots())
	})
	bubble(t, "of a connection is told to nobody twice", func(t *testing.T, b *bench) {
		require.NoError(t, b.remove())
		require.Equal(t, []string{`delete: 0 "" -> none`}, b.told())
	})
	bubble(t, "is made though its caller hangs up once it has begun", func(t *testing.T, b *bench) {
		b.get(t)
		caller, cancel := context.WithCancel(ctx)
		b.storage.Judge(func(a testenv.Access) error {
			cancel()
			return nil
		})
		require.NoError(t, b.Delete(caller, key, connections.Act{}))
		require.Nil(t, b.get(t))
	})
}

// deletions are the writes since the last Forget, without names.
func (b *bench) deletions() (lines []string) {
	for _, a := range b.storage.History() {
		if a.Write() {
			prefix := "connection"
			if isIntent(a) {
				prefix = "wal"
			}
			lines = append(lines, a.Op+" "+prefix)
		}
	}
	return lines
}

func TestInvalidate(t *testing.T) {
	bubble(t, "lets storage be read again", func(t *testing.T, b *bench) {
		b.get(t)
		b.behind(t, label("new"))
		b.serves(t, "0", "", false)
		b.Invalidate(key)
		require.Zero(t, b.Slots())
		b.serves(t, "0", "new", false)
	})
	bubble(t, "drops what a read under way brings", func(t *testing.T, b *bench) {
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		got := make(chan *store.Connection, 1)
		go func() {
			c, _, _ := b.Get(ctx, key)
			got <- c
		}()
		synctest.Wait()
		require.NoError(t, store.New(b.storage).PutConnection(ctx, key, newer(b.stored(t), "1")))
		b.Invalidate(key)
		close(release)
		requireIs(t, <-got, "1", "")
		b.serves(t, "1", "", false)
	})
	bubble(t, "never drops what is held", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.Invalidate(key)
		b.serves(t, "1", "", true)
	})
	bubble(t, "in the middle of a keep does not drop what is being kept", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		c, saved := b.keep(t, known, func(c *store.Connection) (*store.Connection, error) {
			b.Invalidate(key)
			return renew("1")(c)
		})
		require.False(t, saved)
		requireIs(t, c, "1", "")
		b.serves(t, "1", "", true)
	})
	bubble(t, "of what memory does not have does nothing", func(t *testing.T, b *bench) {
		b.Invalidate(other)
		require.Zero(t, b.Slots())
	})
	bubble(t, "ends what was known of a deletion: another node leads", func(t *testing.T, b *bench) {
		b.refuse(isWrite)
		require.Error(t, b.update(label("new")))
		b.heal()
		require.NoError(t, b.remove())
		b.put(t, key, fresh()) // with a serial that was tried here
		b.Invalidate(key)
		b.serves(t, "0", "", false)
		require.NotZero(t, b.Flush(ctx))
		b.serves(t, "0", "", false)
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		b.Invalidate(key)
		require.Nil(t, b.get(t))
		b.put(t, key, fresh())
		b.serves(t, "0", "", false)
	})
	bubble(t, "ends what was known of a deletion that failed", func(t *testing.T, b *bench) {
		b.refuse(isWrite)
		require.Error(t, b.remove())
		b.heal()
		b.behind(t, label("theirs"))
		b.Invalidate(key)
		b.serves(t, "0", "theirs", false)
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		require.Nil(t, b.get(t))
		require.NotZero(t, b.Flush(ctx))
		require.Nil(t, b.stored(t))
	})
	bubble(t, "does not make followers take what is unknown for gone", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isConnection)
		require.Error(t, b.update(label("no")))
		b.refuse(isWrite)
		require.Error(t, b.update(label("no")))
		b.Invalidate(key)
		b.refuse(isConnection)
		b.keep(t, known, func(*store.Connection) (*store.Connection, error) { return nil, nil })
		require.Empty(t, b.told())
	})
}

func TestPin(t *testing.T) {
	bubble(t, "keeps what was known, whatever the cache does", func(t *testing.T, b *bench) {
		b.Shrink(1)
		stale := b.get(t)
		require.NoError(t, b.update(label("new")))
		release := b.Pin(key)
		_, err := b.Update(ctx, other, connections.Act{}, consent("other"))
		require.NoError(t, err)
		require.Equal(t, 2, b.Slots())
		b.refuse(isConnection)
		c, saved := b.keep(t, stale, renew("1"))
		require.False(t, saved)
		requireIs(t, c, "1", "new")
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		release()
		b.settle(t)
		requireIs(t, b.stored(t), "1", "new")
	})
	bubble(t, "ends with its release", func(t *testing.T, b *bench) {
		release := b.Pin(key)
		require.Equal(t, 1, b.Slots())
		release()
		require.Zero(t, b.Slots())
	})
}

func TestCache(t *testing.T) {
	name := func(i int) store.Key { return store.Key{Owner: key.Owner, Name: fmt.Sprint("c", i)} }
	bubble(t, "drops the connections that were used longest ago", func(t *testing.T, b *bench) {
		b.Shrink(2)
		for i := range 3 {
			b.put(t, name(i), fresh())
		}
		for _, i := range []int{0, 1, 0, 2} {
			_, _, err := b.Get(ctx, name(i))
			require.NoError(t, err)
		}
		require.Equal(t, 2, b.Slots())
		b.storage.Forget()
		for _, i := range []int{0, 2, 1} {
			_, _, err := b.Get(ctx, name(i))
			require.NoError(t, err)
		}
		require.Equal(t, []testenv.Access{{Op: "get", Key: "connection/org/acme/c1"}}, b.storage.History())
	})
	bubble(t, "never drops a slot in use, or there were two locks for one connection", func(t *testing.T, b *bench) {
		b.Shrink(1)
		b.get(t)
		release := make(chan struct{})
		b.storage.Block(testenv.Nth(1, isWrite), func(testenv.Access) { <-release })
		done := make(chan error, 2)
		go func() { done <- b.update(label("first")) }()
		synctest.Wait()
		_, _, err := b.Get(ctx, other)
		require.NoError(t, err)
		b.put(t, other, fresh())
		_, _, err = b.Get(ctx, other)
		require.NoError(t, err)
		go func() {
			done <- b.update(edit(func(c *store.Connection) { c.Label += ", second" }))
		}()
		synctest.Wait()
		require.Empty(t, done)
		close(release)
		require.NoError(t, errors.Join(<-done, <-done))
		requireIs(t, b.stored(t), "0", "first, second")
		require.Equal(t, 1, b.Slots())
	})
	bubble(t, "lets go of a connection that storage no longer has", func(t *testing.T, b *bench) {
		release := make(chan struct{})
		b.store = store.New(&slowReads{Storage: b.storage, hold: testenv.Nth(1, isRead), release: release})
		b.restart()
		defer b.Pin(key)()
		go func() {
			_, _, _ = b.Get(ctx, key)
		}()
		synctest.Wait()
		require.NoError(t, b.storage.Delete(ctx, "connection/"+key.String()))
		require.Nil(t, b.get(t))
		close(release)
		synctest.Wait()
		b.storage.Forget()
		require.Nil(t, b.get(t))
		require.Equal(t, 1, b.reads())
	})
}

// A connection's lock is held while storage hangs.
func TestHangingStorage(t *testing.T) {
	// stuck has a write of the connection under way until release is called.
	stuck := func(t *testing.T, b *bench) (release func()) {
		b.get(t)
		hung, done := make(chan struct{}), make(chan error, 1)
		b.storage.Block(func(a testenv.Access) bool { return isWrite(a) && a.Key == "connection/"+key.String() },
			func(testenv.Access) { <-hung })
		go func() { done <- b.update(label("new")) }()
		synctest.Wait()
		return func() {
			b.heal()
			close(hung)
			require.NoError(t, <-done)
		}
	}
	bubble(t, "readers of what is in memory are answered at once", func(t *testing.T, b *bench) {
		release := stuck(t, b)
		b.serves(t, "0", "", false)
		release()
		b.serves(t, "0", "new", false)
	})
	bubble(t, "other connections are read and written meanwhile", func(t *testing.T, b *bench) {
		release := stuck(t, b)
		start := time.Now()
		_, err := b.Update(ctx, other, connections.Act{}, consent("other"))
		require.NoError(t, err)
		_, _, err = b.Keep(ctx, other, connections.Act{}, nil, renew("other-1"))
		require.NoError(t, err)
		require.NoError(t, b.Delete(ctx, other, connections.Act{}))
		require.Equal(t, start, time.Now())
		release()
	})
	bubble(t, "whoever waits for the lock leaves when their time is over", func(t *testing.T, b *bench) {
		release := stuck(t, b)
		for name, wait := range map[string]func(context.Context) error{
			"update": func(c context.Context) error { _, err := b.Update(c, key, connections.Act{}, label("no")); return err },
			"delete": func(c context.Context) error { return b.Delete(c, key, connections.Act{}) },
			"flush":  func(c context.Context) error { return b.FlushOne(c, key) },
			"intend": func(c context.Context) error { _, err := b.Intend(c, key, 1, time.Now()); return err },
		} {
			impatient, cancel := context.WithTimeout(ctx, time.Second)
			require.ErrorIs(t, wait(impatient), context.DeadlineExceeded, name)
			cancel()
		}
		release()
		require.Nil(t, b.intent(t))
		b.serves(t, "0", "new", false)
	})
	bubble(t, "what must not be lost waits for the lock, though its caller has left", func(t *testing.T, b *bench) {
		release := stuck(t, b)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		kept := make(chan bool, 1)
		go func() {
			_, saved, err := b.Keep(gone, key, connections.Act{}, nil, renew("1"))
			kept <- saved && err == nil
		}()
		synctest.Wait()
		require.Empty(t, kept)
		release()
		require.True(t, <-kept)
		b.serves(t, "1", "new", false)
	})
	bubble(t, "one time-out is all that a caller waits for a write", func(t *testing.T, b *bench) {
		b.get(t)
		b.storage.Hang(isWrite, func(testenv.Access) {})
		start := time.Now()
		require.ErrorIs(t, b.update(label("new")), context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

func TestFollowers(t *testing.T) {
	bubble(t, "are told of each change in order, with what was before", func(t *testing.T, b *bench) {
		require.NoError(t, b.update(label("new")))
		b.keep(t, nil, renew("1"))
		require.NoError(t, b.remove())
		b.keep(t, nil, consent("2"))
		require.Equal(t, []string{
			`edit: 0 "" -> 0 "new"`,
			`keep: 0 "new" -> 1 "new"`,
			`delete: 1 "new" -> none`,
			`keep: none -> 2 ""`,
		}, b.told())
	})
	bubble(t, "are told what is held, and when it is saved", func(t *testing.T, b *bench) {
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		b.keep(t, known, renew("2"))
		require.NotZero(t, b.Flush(ctx))
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `keep: 1 "" -> 2 ""`}, b.told())
		b.heal()
		require.NoError(t, b.FlushOne(ctx, key))
		require.Equal(t, []string{`save: 2 "" -> 2 ""`}, b.told())
		b.settle(t)
		require.Empty(t, b.told())
	})
	bubble(t, "are told under the connection's lock, and may look at the repository", func(t *testing.T, b *bench) {
		var seen []*store.Connection
		b.Repository = connections.New(connections.Options{
			Now:   time.Now,
			Store: b.store, Logger: hclog.NewNullLogger(), Uncached: b.uncached.Load, Unsettled: func() {},
			Changed: func(c connections.Change) {
				impatient, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				require.ErrorIs(t, b.FlushOne(impatient, c.Key), context.DeadlineExceeded)
				require.False(t, b.Interrupted(c.Key))
				now, _, err := b.Get(ctx, c.Key)
				require.NoError(t, err)
				seen = append(seen, now)
			},
		})
		require.NoError(t, b.update(label("new")))
		require.Len(t, seen, 1)
		requireIs(t, seen[0], "0", "new")
	})
	bubble(t, "are told who changed it", func(t *testing.T, b *bench) {
		act := connections.Act{By: store.Actor{DisplayName: "jane"}, Verb: "write"}
		_, err := b.Update(ctx, key, act, label("new"))
		require.NoError(t, err)
		require.Equal(t, act, b.changes[0].Act)
		require.Equal(t, key, b.changes[0].Key)
	})
	bubble(t, "hear of a late write though a reader saw it before Flush did", func(t *testing.T, b *bench) {
		land := b.late(t, func() error { return b.update(label("late")) })
		land()
		b.serves(t, "0", "late", false)
		require.NotZero(t, b.Flush(ctx))
		require.Equal(t, []string{`late write: 0 "" -> 0 "late"`}, b.told())
		require.NotZero(t, b.Flush(ctx))
		b.settle(t)
		require.Empty(t, b.told())
	})
	bubble(t, "hear of a late write before they hear of the change that rests on it", func(t *testing.T, b *bench) {
		land := b.late(t, func() error { return b.update(label("late")) })
		land()
		b.keep(t, nil, renew("1"))
		require.Equal(t, []string{`late write: 0 "" -> 0 "late"`, `keep: 0 "late" -> 1 "late"`}, b.told())
	})
	bubble(t, "hear of a late deletion", func(t *testing.T, b *bench) {
		land := b.late(t, b.remove)
		land()
		require.NotZero(t, b.Flush(ctx))
		require.Equal(t, []string{`late write: 0 "" -> none`}, b.told())
		b.settle(t)
		require.Empty(t, b.told())
	})
	bubble(t, "hear of what is new beside a credential that is still held", func(t *testing.T, b *bench) {
		land := b.late(t, func() error {
			return b.update(edit(func(c *store.Connection) { disable(c); c.Label = "off" }))
		})
		known := b.get(t)
		b.refuse(isWrite)
		b.keep(t, known, renew("1"))
		land()
		require.NotZero(t, b.Flush(ctx))
		require.Equal(t, []string{`keep: 0 "" -> 1 ""`, `late write: 1 "" -> 1 "off"`}, b.told())
	})
}
