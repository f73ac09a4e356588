package backend

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unique"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// usesStored is what storage has of use, by connection.
func (f *fixture) usesStored(t *testing.T) map[string]store.Use {
	t.Helper()
	all := map[string]store.Use{}
	s := store.New(f.Storage)
	shards, err := s.Uses(t.Context())
	require.NoError(t, err)
	for _, number := range shards {
		u, err := s.Use(t.Context(), number)
		require.NoError(t, err)
		for id, use := range u.Connections {
			all[id] = use
		}
	}
	return all
}

// usedID is what the use of a connection is kept under.
func (f *fixture) usedID(t *testing.T, path string) string {
	t.Helper()
	return f.Read("connections/"+path, nil).OK(t)["connection_id"].(string)
}

// putRaw stores an entry as it is given.
func (f *fixture) putRaw(t *testing.T, key string, value []byte) {
	t.Helper()
	require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: value}))
}

// keyAt is the key that a path spells in full.
func keyAt(t *testing.T, path string) store.Key {
	t.Helper()
	k, err := store.ParseKey(path)
	require.NoError(t, err)
	return k
}

// restartsUse is restart, in process, until what the start reads of use is read.
func (f *fixture) restartsUse(t *testing.T) {
	t.Helper()
	f.restart(t)
	require.Eventually(t, f.engine().uses.isKept, time.Minute, time.Millisecond)
}

// writesUse has everything written that was noted.
func (f *fixture) writesUse(t *testing.T) {
	t.Helper()
	f.engine().uses.writeAll(t.Context())
	require.Zero(t, f.engine().uses.left())
}

// What was noted is written at a clean stop, and read by the next process. A process that dies loses an hour.
func TestUseOutlivesTheProcess(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "one")
		f.key(t, "two")
		f.reads(t, "one", alice)
		f.Stop()
		require.Len(t, f.usesStored(t), 1)
		f.restart(t)
		f.System.SetReplication(0)
		f.Advance(48 * time.Hour)
		f.reads(t, "two")
		f.restart(t) // the former one is told nothing
		f.System.SetReplication(0)
		assert.Equal(t, []string{"e-alice userpass-e-alice 2026-03-01"}, f.readersOf(t, "one"))
		row := asClient(t, f.Read("inventory", map[string]any{"owner": "org/default"}).OK(t))["connections"].([]any)[0]
		assert.Equal(t, "2026-03-01", row.(map[string]any)["last_used"])
		assert.Empty(t, f.readersOf(t, "two"), "the last hour is lost")
		f.Advance(24 * time.Hour)
		rows, warnings := f.unused(t, 2)
		assert.Equal(t, []string{"org/default/one", "org/default/two"}, rows)
		assert.Empty(t, warnings, "since when use is noted outlives the process too")
	})
}

// At the end of one mount what the others of the process have noted is written too.
func TestUseAtTheEndOfAnotherMount(t *testing.T) {
	o := Options{Process: &Process{}}
	one, other := newFixture(t, o, testenv.InProcess), newFixture(t, o, testenv.InProcess)
	other.key(t, "key")
	other.reads(t, "key")
	one.Stop()
	assert.Len(t, other.usesStored(t), 1)
}

// Each entry is written once an hour at the most, and all of them never faster than one after the other.
func TestUseIsWrittenWithinTheHour(t *testing.T) {
	clock, storage := newClock(), &testenv.Storage{}
	mount, err := New(Options{Now: clock.Now})(t.Context(), &logical.BackendConfig{
		System: &testenv.System{}, StorageView: storage, Logger: hclog.NewNullLogger(),
	})
	require.NoError(t, err) // it never begins, so that it is the test that runs the task
	u := mount.(*backend).uses
	busy := func(connections int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		for i := range connections {
			id := fmt.Sprint("connection ", i)
			u.dirty(store.UsedOf(id).Shard()).add(noted{
				id: id, day: store.DayOf(clock.Now()), by: unique.Make(store.Reader{DisplayName: "root"}),
			})
		}
	}
	written := func() (n int) {
		for _, a := range storage.History() {
			if a.Op == "put" && a.Under("use/") {
				n++
			}
		}
		return n
	}
	// turn runs the task when it says, so often at the most.
	turn := func(most int) {
		t.Helper()
		storage.Forget()
		for next := u.Run(t.Context()); !next.IsZero() && most > 1; most-- {
			require.GreaterOrEqual(t, next.Sub(clock.Now()), useApart, "the next one has its turn later")
			clock.Advance(next.Sub(clock.Now()))
			next = u.Run(t.Context())
		}
	}
	for _, connections := range []int{4 * store.UseShards, 100, 1} {
		busy(connections)
		dirty, began := u.left(), clock.Now()
		turn(2 * store.UseShards)
		assert.Equal(t, dirty, written(), connections)
		assert.LessOrEqual(t, clock.Now().Sub(began), time.Hour+useApart, "all of it within the hour")
		assert.Zero(t, u.Run(t.Context()), "nothing falls due while nothing is read")
		clock.Advance(24*time.Hour + 7*time.Minute)
	}
	busy(1000)
	clock.Advance(3 * time.Hour) // as after storage was away
	turn(100)
	assert.Equal(t, 100, written(), "what is late is not written faster")
}

// A write needs two accesses. Whichever of them fails or hangs, what was noted is written by the next turn.
func TestUseThatStorageRefuses(t *testing.T) {
	access := func(op string) func(testenv.Access) bool {
		return func(a testenv.Access) bool { return a.Op == op && a.Under("use/") && !a.Under("use/began") }
	}
	for _, op := range []string{"get", "put"} {
		t.Run(op+" fails", func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.key(t, "key")
			f.reads(t, "key", alice)
			u := f.engine().uses
			f.engine().tasks.Hold()
			f.Storage.Judge(func(a testenv.Access) error {
				if access(op)(a) {
					return testenv.ErrStorage
				}
				return nil
			})
			for range refusedInARow {
				f.Advance(time.Hour)
				assert.False(t, u.Run(t.Context()).IsZero(), "there is something to write still")
			}
			assert.Equal(t, []string{"began"}, f.stored(t, "use/"))
			assert.True(t, f.Logs.Contains("storage refuses to take when connections were read"))
			assert.Equal(t, "2026-03-01", f.Read("connections/key", nil).OK(t)["last_used"], "memory knows")
			f.Read("creds/key", nil, bob).OK(t)
			f.Storage.Judge(nil)
			require.Eventually(t, func() bool { return len(f.readersOf(t, "key")) == 2 }, time.Minute, time.Millisecond)
			f.Advance(time.Hour)
			assert.Zero(t, u.Run(t.Context()))
			assert.Len(t, f.usesStored(t)[f.usedID(t, "key")].Readers, 2)
		})
		bubbled(t, op+" hangs", func(t *testing.T, e *testenv.Env) {
			e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
			e.Read("creds/key", nil).OK(t)
			synctest.Wait()
			e.Storage.Hang(access(op), func(testenv.Access) { time.Sleep(time.Second) })
			time.Sleep(time.Hour + time.Minute)
			e.Read("creds/key", nil).OK(t)
			began := time.Now()
			e.Read("creds/key", nil, alice).OK(t)
			assert.Zero(t, time.Since(began), "no reader waits")
			e.Storage.Hang(nil, nil)
			time.Sleep(2 * time.Hour)
			assert.Zero(t, e.Backend.(*backend).uses.left())
			assert.Equal(t, 2, strings.Count(fmt.Sprint(e.Read("connections/key", nil).OK(t)["readers"]), "display_name"))
		})
		bubbled(t, op+" hangs at the end of the mount", func(t *testing.T, e *testenv.Env) {
			e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
			e.Read("creds/key", nil).OK(t)
			synctest.Wait()
			e.Storage.Hang(access(op), func(testenv.Access) {})
			began := time.Now()
			e.Stop()
			assert.LessOrEqual(t, time.Since(began), lastUseTime)
			assert.True(t, e.Logs.Contains("shutting down before it was written when some connections were read"))
		})
	}
}

// One entry that cannot be read hides no others, and what is in it is not taken for unused.
func TestUseThatCannotBeRead(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	for _, name := range []string{"lost", "other"} {
		f.key(t, name)
		f.reads(t, name)
	}
	lost := fmt.Sprintf("use/%03x", store.UsedOf(f.usedID(t, "lost")).Shard())
	f.writesUse(t)
	f.Advance(30 * 24 * time.Hour)
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "get" && a.Key == lost {
			return testenv.ErrStorage
		}
		return nil
	})
	f.restartsUse(t)
	rows, warnings := f.unused(t, 7)
	assert.Equal(t, []string{"org/default/other"}, rows)
	assert.Contains(t, fmt.Sprint(warnings), "they are left out")
	r := f.Read("connections/lost", nil)
	r.OK(t)
	assert.Contains(t, fmt.Sprint(r.Warnings), "storage does not give by whom it was read")
	f.Storage.Judge(nil)
	rows, warnings = f.unused(t, 7)
	assert.Equal(t, []string{"org/default/lost", "org/default/other"}, rows)
	assert.Empty(t, warnings)

	f.undecodable(t, lost) // it is begun anew
	f.reads(t, "lost")
	f.writesUse(t)
	assert.Equal(t, "2026-03-31", f.usesStored(t)[f.usedID(t, "lost")].Day.String())
	newer := []byte(`{"version":9,"connections":{}}`)
	f.putRaw(t, lost, newer)
	f.Advance(24 * time.Hour)
	f.reads(t, "lost")
	f.engine().uses.writeAll(t.Context())
	e, err := f.Storage.Get(t.Context(), lost)
	require.NoError(t, err)
	assert.Equal(t, newer, e.Value, "what a newer release wrote stays")
	f.putRaw(t, lost, []byte(`{"version":1,"connections":{}}`)) // so that the mount ends in peace
}

// Two nodes, one after the other, within an hour: each adds to what the other wrote.
func TestUseOfTwoNodes(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "key")
	f.reads(t, "key", alice)
	first := f.Env
	f.restartsUse(t)
	f.reads(t, "key", bob)
	f.writesUse(t)
	first.System.SetReplication(0) // its last write comes late
	first.Backend.(*backend).uses.writeAll(t.Context())
	assert.Len(t, f.usesStored(t)[f.usedID(t, "key")].Readers, 2)

	f.reads(t, "key", testenv.Entity("e-carol"))
	f.Storage.Judge(func(a testenv.Access) error { // this one is deposed
		if a.Write() {
			return logical.ErrReadOnly
		}
		return nil
	})
	f.engine().uses.writeAll(t.Context())
	assert.Zero(t, f.engine().uses.left())
	assert.EqualValues(t, 1, f.engine().uses.unseen.Load())
}

// Use goes along with a connection, and ends with it.
func TestUseOfMovedAndDeleted(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "org/acme/old")
	f.key(t, "org/acme/given")
	f.key(t, "org/acme/gone")
	ids := map[string]string{}
	for _, name := range []string{"old", "given", "gone"} {
		f.reads(t, "org/acme/"+name)
		ids[name] = f.usedID(t, "org/acme/"+name)
	}
	f.writesUse(t)
	f.Write("transfer/org/acme/old", map[string]any{"to": "org/acme/new"}).OK(t)
	f.Write("transfer/org/acme/given", map[string]any{"to": "org/beta/taken"}).OK(t)
	f.Write("accept/org/beta/taken", map[string]any{"from": "org/acme/given"}).OK(t)
	f.Delete("connections/org/acme/gone", nil).OK(t)
	require.Eventually(t, func() bool { return f.Read("connections/org/acme/gone", nil).Status == 404 }, time.Minute,
		time.Millisecond)
	f.Advance(24 * time.Hour)
	check := func() {
		t.Helper()
		for path, id := range map[string]string{"org/acme/new": ids["old"], "org/beta/taken": ids["given"]} {
			data := f.Read("connections/"+path, nil).OK(t)
			assert.Equal(t, id, data["connection_id"])
			assert.Equal(t, "2026-03-01", data["last_used"], path)
			assert.Equal(t, "2026-03-01", f.engine().directory.lastUsed(keyAt(t, path)).String(), path)
		}
	}
	check()
	f.writesUse(t)
	assert.Len(t, f.usesStored(t), 2)
	assert.NotContains(t, f.usesStored(t), ids["gone"])
	f.restartsUse(t)
	check()
	f.key(t, "org/acme/gone")
	assert.Empty(t, f.Read("connections/org/acme/gone", nil).OK(t)["last_used"], "another of that name was never read")
}

// What a former process left of connections that are gone is found by the next.
func TestUseOfWhatIsGoneAtTheStart(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "key")
	f.reads(t, "key")
	f.writesUse(t)
	s := store.New(f.Storage)
	number := store.UsedOf("id of another").Shard()
	require.NoError(t, s.PutUse(t.Context(), number, &store.UseShard{Connections: map[string]store.Use{
		"id of another": {Day: store.DayOf(f.Now())},
	}}))
	f.undecodable(t, "connection/org/default/damaged") // whose it may be
	f.restartsUse(t)
	f.periodicUntil(t, func() bool { return f.engine().uses.stray(store.UsedOf("id of another")) > 0 })
	f.writesUse(t)
	assert.Len(t, f.usesStored(t), 2)
	require.NoError(t, f.Storage.Delete(t.Context(), "connection/org/default/damaged"))
	f.Backend.InvalidateKey(t.Context(), "connection/org/default/damaged")
	f.periodicUntil(t, func() bool { return f.engine().uses.left() > 0 })
	f.writesUse(t)
	assert.Len(t, f.usesStored(t), 1)
	assert.Contains(t, f.usesStored(t), f.usedID(t, "key"))
}

// periodicUntil is Vault's heartbeat until something is so.
func (f *fixture) periodicUntil(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.periodic(t)
		return is()
	}, time.Minute, 5*time.Millisecond)
}

// A connection of a former release has an id with its next write, and keeps the day on which it was read.
func TestUseOfAConnectionWithoutAnID(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "key")
	c, err := f.engine().store.Connection(t.Context(), aKey("key"))
	require.NoError(t, err)
	c.ID = ""
	require.NoError(t, f.engine().store.PutConnection(t.Context(), aKey("key"), c))
	f.restartsUse(t)
	f.reads(t, "key")
	f.writesUse(t)
	f.restartsUse(t)
	f.Advance(24 * time.Hour)
	f.Write("connections/key", map[string]any{"label": "new"}).OK(t)
	id := f.usedID(t, "key")
	require.NotEmpty(t, id)
	assert.Equal(t, "2026-03-01", f.Read("connections/key", nil).OK(t)["last_used"])
	f.writesUse(t)
	stored := f.usesStored(t)
	require.Len(t, stored, 1)
	assert.Equal(t, "2026-03-01", stored[id].Day.String())
}

// On a node that others write for, what they wrote is read when it is asked for.
func TestUseThatAnotherNodeNoted(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		standby := f.mount(t, f.Storage)
		standby.System.SetReplication(consts.ReplicationPerformanceStandby)
		standby.Read("inventory", nil).OK(t)
		f.reads(t, "key")
		f.Stop()
		for _, name := range f.stored(t, "use/") {
			standby.Backend.InvalidateKey(context.Background(), "use/"+name)
		}
		row := asClient(t, standby.Read("inventory", nil).OK(t))["connections"].([]any)[0]
		assert.Equal(t, "2026-03-01", row.(map[string]any)["last_used"])
	})
}
