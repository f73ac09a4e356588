package backend

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// contents fills the mirror from storage, unless it is full, and gives what it knows.
func contents(t *testing.T, m *mirror[string, int], storage map[string]int, during ...func()) map[string]int {
	t.Helper()
	require.NoError(t, m.fill(t.Context(), func(_ context.Context, add func(string, int)) error {
		for k, v := range storage {
			add(k, v)
		}
		for _, do := range during {
			do()
		}
		return nil
	}))
	found := map[string]int{}
	m.each(func(k string, v int) { found[k] = v })
	return found
}

func TestMirrorFollows(t *testing.T) {
	var m mirror[string, int]
	m.set("before", 1) // and stored, or else the fill forgets it
	assert.Equal(t, map[string]int{"a": 1, "before": 1}, contents(t, &m, map[string]int{"a": 1, "before": 1}))
	m.set("b", 2)
	m.set("a", 3)
	m.remove("before")
	assert.Equal(t, map[string]int{"a": 3, "b": 2}, contents(t, &m, map[string]int{"not": 0}), "storage is read once")
}

// What changes while storage is read is newer than what was read.
func TestMirrorChangesDuringAFill(t *testing.T) {
	var m mirror[string, int]
	got := contents(t, &m, map[string]int{"changed": 1, "deleted": 1, "same": 1}, func() {
		m.set("changed", 2)
		m.set("made", 2)
		m.remove("deleted")
	})
	assert.Equal(t, map[string]int{"changed": 2, "made": 2, "same": 1}, got)
}

func TestMirrorForgets(t *testing.T) {
	var m mirror[string, int]
	contents(t, &m, map[string]int{"a": 1, "gone": 1})
	m.forget()
	assert.Equal(t, map[string]int{"a": 2}, contents(t, &m, map[string]int{"a": 2}))
	assert.Equal(t, map[string]int{"a": 2}, contents(t, &m, map[string]int{"a": 3}))
	m.forget()
	contents(t, &m, map[string]int{"a": 4}, m.forget) // somebody else changes storage while it is read
	assert.Equal(t, map[string]int{"a": 5}, contents(t, &m, map[string]int{"a": 5}), "what was read may be stale, so it is read again")
}

func TestMirrorAfterAFailedFill(t *testing.T) {
	var m mirror[string, int]
	failed := errors.New("storage")
	require.ErrorIs(t, m.fill(t.Context(), func(_ context.Context, add func(string, int)) error {
		add("half", 1)
		return failed
	}), failed)
	assert.Equal(t, map[string]int{"a": 1}, contents(t, &m, map[string]int{"a": 1}))
}

func TestMirrorUnderConcurrency(t *testing.T) {
	var m mirror[int, int]
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				m.set(i, i)
				assert.NoError(t, m.fill(t.Context(), func(_ context.Context, add func(int, int)) error { add(i, i); return nil }))
				m.each(func(k, v int) { assert.Equal(t, k, v) })
				m.remove(i)
				m.forget()
			}
		})
	}
	all.Wait()
}
