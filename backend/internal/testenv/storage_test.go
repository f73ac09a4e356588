package testenv_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// stored is what storage has under key, "" for nothing.
func stored(t *testing.T, s *testenv.Storage, key string) string {
	t.Helper()
	e, err := s.Get(context.Background(), key)
	require.NoError(t, err)
	if e == nil {
		return ""
	}
	return string(e.Value)
}

// impatient waits five seconds for storage, and no longer.
func impatient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(ctx context.Context, s *testenv.Storage, key, value string) error {
	return s.Put(ctx, &logical.StorageEntry{Key: key, Value: []byte(value)})
}

func TestStorageHangs(t *testing.T) {
	bubble := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	connection := func(a testenv.Access) bool { return a.Write() && a.Under("connection/") }

	bubble("a put fails when its context ends and lands when it is released", func(t *testing.T) {
		s, land := &testenv.Storage{}, make(chan struct{})
		s.Hang(testenv.Nth(2, connection), func(testenv.Access) { <-land })
		require.NoError(t, put(impatient(t), s, "connection/a", "first"))
		value := []byte("second")
		start := time.Now()
		err := s.Put(impatient(t), &logical.StorageEntry{Key: "connection/a", Value: value})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(start))
		copy(value, "others") // the caller may do with its own what it likes
		require.NoError(t, put(impatient(t), s, "connection/a", "third"))
		assert.Equal(t, "third", stored(t, s, "connection/a"))
		close(land)
		synctest.Wait()
		assert.Equal(t, "second", stored(t, s, "connection/a"))
		assert.Equal(t, 3, s.Writes(), "a late write was counted when it was asked for")
	})
	bubble("a delete lands after a time", func(t *testing.T) {
		s := &testenv.Storage{}
		require.NoError(t, put(impatient(t), s, "connection/a", "it"))
		s.Hang(testenv.Access.Write, func(testenv.Access) { time.Sleep(20 * time.Second) })
		require.ErrorIs(t, s.Delete(impatient(t), "connection/a"), context.DeadlineExceeded)
		s.Hang(nil, nil)
		time.Sleep(19 * time.Second)
		assert.Equal(t, "it", stored(t, s, "connection/a"))
		time.Sleep(2 * time.Second)
		assert.Empty(t, stored(t, s, "connection/a"))
	})
	bubble("reads hang too, and other keys do not", func(t *testing.T) {
		s := &testenv.Storage{}
		s.Hang(func(a testenv.Access) bool { return a.Under("wal/") }, nil)
		_, err := s.Get(impatient(t), "wal/a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = s.List(impatient(t), "wal/")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, put(impatient(t), s, "connection/a", "it"))
		names, err := s.List(impatient(t), "connection/")
		require.NoError(t, err)
		assert.Equal(t, []string{"a"}, names)
	})
	bubble("a blocked call does not heed its context and does its work", func(t *testing.T) {
		s, release := &testenv.Storage{}, make(chan struct{})
		s.Block(connection, func(testenv.Access) { <-release })
		done := make(chan error)
		go func() { done <- put(impatient(t), s, "connection/a", "it") }()
		time.Sleep(time.Minute)
		assert.Empty(t, stored(t, s, "connection/a"))
		close(release)
		require.NoError(t, <-done)
		assert.Equal(t, "it", stored(t, s, "connection/a"))
	})
	bubble("a delayed answer is as old as the question", func(t *testing.T) {
		s, release := &testenv.Storage{}, make(chan struct{})
		require.NoError(t, put(impatient(t), s, "connection/a", "old"))
		s.Delay(testenv.Nth(1, func(a testenv.Access) bool { return a.Op == "get" }), func(testenv.Access) { <-release })
		answer := make(chan *logical.StorageEntry)
		go func() {
			e, err := s.Get(context.Background(), "connection/a")
			assert.NoError(t, err)
			answer <- e
		}()
		synctest.Wait()
		require.NoError(t, put(impatient(t), s, "connection/a", "new"))
		assert.Equal(t, "new", stored(t, s, "connection/a"))
		close(release)
		assert.Equal(t, "old", string((<-answer).Value))
	})
	bubble("what is refused does not hang", func(t *testing.T) {
		s := &testenv.Storage{}
		s.FailWrites()
		s.Hang(testenv.Access.Write, nil)
		require.ErrorIs(t, put(context.Background(), s, "connection/a", "it"), testenv.ErrStorage)
	})
}
