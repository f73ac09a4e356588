package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestAbsentIsNothing(t *testing.T) {
	s := New(&logical.InmemStorage{})
	k := Key{Owner{Org, "acme"}, "slack"}
	config, err := s.Config(t.Context())
	require.NoError(t, err)
	assert.Equal(t, DefaultConfig(), config)
	p, err := s.Provider(t.Context(), "acme")
	require.NoError(t, err)
	assert.Nil(t, p)
	c, err := s.Connection(t.Context(), k)
	require.NoError(t, err)
	assert.Nil(t, c)
	f, err := s.Flow(t.Context(), "id")
	require.NoError(t, err)
	assert.Nil(t, f)
	i, err := s.Intent(t.Context(), k)
	require.NoError(t, err)
	assert.Nil(t, i)
	for _, del := range []error{
		s.DeleteProvider(t.Context(), "acme"), s.DeleteConnection(t.Context(), k), s.DeleteFlow(t.Context(), "id"), s.DeleteIntent(t.Context(), k),
	} {
		assert.NoError(t, del)
	}
}

// A setting that an older entry does not name has its default.
func TestConfigDefaultsUnderAnOlderEntry(t *testing.T) {
	storage := &logical.InmemStorage{}
	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: configKey, Value: []byte(`{"version":1,"default_org":"acme"}`)}))
	c, err := New(storage).Config(t.Context())
	require.NoError(t, err)
	want := DefaultConfig()
	want.DefaultOrg = "acme"
	assert.Equal(t, want, c)
}

func TestSerial(t *testing.T) {
	storage := &logical.InmemStorage{}
	s := New(storage)
	k := Key{Owner{User, "U1"}, "slack"}
	c := &Connection{Provider: "acme"}
	require.NoError(t, s.PutConnection(t.Context(), k, c))
	require.NoError(t, s.PutConnection(t.Context(), k, c))
	assert.Equal(t, uint64(2), c.Serial)
	storage.Underlying().FailPut(true)
	require.Error(t, s.PutConnection(t.Context(), k, c))
	assert.Equal(t, uint64(2), c.Serial, "a write that failed can be made again")
	storage.Underlying().FailPut(false)
	got, err := s.Connection(t.Context(), k)
	require.NoError(t, err)
	assert.Equal(t, c, got)
}

func TestEachConnection(t *testing.T) {
	storage := &logical.InmemStorage{}
	s := New(storage)
	for _, path := range []string{"org/acme/a", "org/acme/b", "org/other/a", "user/U1/a"} {
		k, err := ParseKey(path)
		require.NoError(t, err)
		require.NoError(t, s.PutConnection(t.Context(), k, &Connection{Provider: path}))
	}
	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: "connection/user/U1/damaged", Value: []byte("{")}))
	found := map[string]string{}
	require.NoError(t, s.EachConnection(t.Context(), func(k Key, c *Connection) error {
		if found[k.String()] = "damaged"; c != nil {
			found[k.String()] = c.Provider
		}
		return nil
	}))
	assert.Equal(t, map[string]string{
		"org/acme/a": "org/acme/a", "org/acme/b": "org/acme/b", "org/other/a": "org/other/a", "user/U1/a": "user/U1/a", "user/U1/damaged": "damaged",
	}, found)

	stop := errors.New("enough")
	assert.ErrorIs(t, s.EachConnection(t.Context(), func(Key, *Connection) error { return stop }), stop)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	assert.ErrorIs(t, s.EachConnection(ctx, func(Key, *Connection) error { n++; cancel(); return nil }), context.Canceled)
	assert.Equal(t, 1, n)
	for _, fail := range []func(bool){storage.Underlying().FailList, storage.Underlying().FailGet} {
		fail(true)
		assert.Error(t, s.EachConnection(t.Context(), func(Key, *Connection) error { return nil }))
		fail(false)
	}
}

// What storage does not give is named and hides nothing else, until it looks as if storage gave nothing at all.
func TestEachConnectionThatStorageGives(t *testing.T) {
	storage := &testenv.Storage{}
	s := New(storage)
	keys := make([]Key, 2*FailuresInARow)
	at := map[string]int{}
	for i := range keys {
		keys[i] = Key{Owner{User, "u1"}, fmt.Sprintf("c-%03d", i)}
		at[keys[i].storage()] = i
		require.NoError(t, s.PutConnection(t.Context(), keys[i], &Connection{}))
	}
	walk := func(ctx context.Context, lost func(int) bool) (given int, err error) {
		storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && lost(at[a.Key]) {
				return testenv.ErrStorage
			}
			return nil
		})
		err = s.EachConnection(ctx, func(Key, *Connection) error { given++; return nil })
		return given, err
	}
	var unread *UnreadError

	given, err := walk(t.Context(), func(i int) bool { return i != FailuresInARow-1 && i != len(keys)-1 })
	assert.Equal(t, 2, given)
	require.ErrorAs(t, err, &unread)
	require.ErrorIs(t, err, testenv.ErrStorage)
	assert.Len(t, unread.Keys, len(keys)-2, "a success in between begins the count anew")
	assert.NotContains(t, unread.Keys, keys[FailuresInARow-1])
	assert.ErrorContains(t, err, "198 connections, among them user/u1/c-000, user/u1/c-001, ")
	assert.Less(t, len(err.Error()), 300)

	given, err = walk(t.Context(), func(i int) bool { return i < FailuresInARow })
	assert.Zero(t, given)
	require.NotErrorAs(t, err, &unread)
	require.ErrorIs(t, err, testenv.ErrStorage)

	ctx, cancel := context.WithCancel(t.Context())
	given, err = walk(ctx, func(i int) bool {
		if i == len(keys)-2 {
			cancel()
		}
		return i == len(keys)-2
	})
	assert.Equal(t, len(keys)-2, given)
	assert.Equal(t, context.Canceled, err, "the caller went away, which says nothing of any entry")
}

func TestOwnersAndNames(t *testing.T) {
	s := New(&logical.InmemStorage{})
	for i, path := range []string{"org/b/x", "org/a/y", "org/a/x", "user/U/x"} {
		k, err := ParseKey(path)
		require.NoError(t, err)
		require.NoError(t, s.PutConnection(t.Context(), k, &Connection{Label: fmt.Sprint(i)}))
	}
	owners, err := s.Owners(t.Context(), Org)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, owners)
	names, err := s.Connections(t.Context(), Owner{Org, "a"})
	require.NoError(t, err)
	assert.Equal(t, []string{"x", "y"}, names)
	names, err = s.Connections(t.Context(), Owner{User, "a"})
	require.NoError(t, err)
	assert.Empty(t, names, "an org and a user of one name share nothing")
}

func TestIntents(t *testing.T) {
	s := New(&logical.InmemStorage{})
	k := Key{Owner{Org, "acme"}, "slack"}
	require.NoError(t, s.PutIntent(t.Context(), k, &Intent{Key: k.String(), Generation: 1}))
	require.NoError(t, s.PutIntent(t.Context(), k, &Intent{Key: k.String(), Generation: 2}))
	all, err := s.Intents(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1, "at most one for a connection")
	assert.Equal(t, uint64(2), all[0].Generation)
	require.NoError(t, s.DeleteIntent(t.Context(), k))
	all, err = s.Intents(t.Context())
	require.NoError(t, err)
	assert.Empty(t, all)
}
