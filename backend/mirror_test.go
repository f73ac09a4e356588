package backend

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// disk is storage that counts how it is read.
type disk struct {
	values  map[string]int
	scans   int
	looks   int
	failing error
	during  func() // runs once, while storage is read
}

func (d *disk) reader() reader[string, int] {
	meanwhile := func() error {
		if do := d.during; do != nil {
			d.during = nil
			do()
		}
		return d.failing
	}
	return reader[string, int]{
		all: func(_ context.Context, add func(string, int)) error {
			d.scans++
			for k, v := range d.values {
				add(k, v)
			}
			return meanwhile()
		},
		one: func(_ context.Context, k string) (int, bool, error) {
			d.looks++
			v, ok := d.values[k]
			return v, ok, meanwhile()
		},
	}
}

// contents fills the mirror from storage, as far as need be, and gives what it knows.
func contents(t *testing.T, m *mirror[string, int], d *disk) map[string]int {
	t.Helper()
	require.NoError(t, m.fill(t.Context(), d.reader()))
	found := map[string]int{}
	m.each(func(k string, v int) { found[k] = v })
	return found
}

func TestMirrorFollows(t *testing.T) {
	var m mirror[string, int]
	m.set("before", 1) // and stored, or else the fill forgets it
	d := &disk{values: map[string]int{"a": 1, "before": 1}}
	assert.Equal(t, map[string]int{"a": 1, "before": 1}, contents(t, &m, d))
	m.set("b", 2)
	m.set("a", 3)
	m.remove("before")
	assert.Equal(t, map[string]int{"a": 3, "b": 2}, contents(t, &m, d))
	assert.Equal(t, []int{1, 0}, []int{d.scans, d.looks}, "storage is read once")
}

// What changes here while storage is read is newer than what was read.
func TestMirrorChangesDuringAFill(t *testing.T) {
	for _, at := range []string{"at first", "again"} {
		t.Run(at, func(t *testing.T) {
			var m mirror[string, int]
			d := &disk{values: map[string]int{"changed": 1, "deleted": 1, "same": 1}}
			if at == "again" {
				contents(t, &m, d)
				for _, k := range []string{"changed", "made", "deleted", "same"} {
					m.forget(k)
				}
			}
			d.during = func() {
				m.set("changed", 2)
				m.set("made", 2)
				m.remove("deleted")
			}
			assert.Equal(t, map[string]int{"changed": 2, "made": 2, "same": 1}, contents(t, &m, d))
		})
	}
}

// However many entries there are, only those that somebody else changed are read again.
func TestMirrorForgets(t *testing.T) {
	var m mirror[string, int]
	d := &disk{values: map[string]int{"a": 1, "gone": 1, "other": 1}}
	contents(t, &m, d)
	d.values = map[string]int{"a": 2, "made": 2, "other": 9}
	for _, k := range []string{"a", "gone", "made"} {
		m.forget(k)
	}
	want := map[string]int{"a": 2, "made": 2, "other": 1}
	assert.Equal(t, want, contents(t, &m, d))
	assert.Equal(t, want, contents(t, &m, d))
	assert.Equal(t, []int{1, 3}, []int{d.scans, d.looks})

	m.forget("a")
	d.values["a"] = 3
	d.during = func() { d.values["a"] = 4; m.forget("a") } // it changes again, after it was read
	contents(t, &m, d)
	assert.Equal(t, map[string]int{"a": 4, "made": 2, "other": 1}, contents(t, &m, d), "what was read may be stale, so it is read again")
}

// What the first fill could not read is read by the next, and it alone.
func TestMirrorForgetsDuringTheFirstFill(t *testing.T) {
	var m mirror[string, int]
	d := &disk{values: map[string]int{"a": 1, "lost": 0}}
	d.during = func() { m.forget("lost") }
	assert.Equal(t, map[string]int{"a": 1, "lost": 0}, contents(t, &m, d))
	d.values["lost"] = 2
	assert.Equal(t, map[string]int{"a": 1, "lost": 2}, contents(t, &m, d))
	assert.Equal(t, []int{1, 1}, []int{d.scans, d.looks})
}

func TestMirrorAfterAFailedFill(t *testing.T) {
	var m mirror[string, int]
	d := &disk{values: map[string]int{"a": 1}, failing: errors.New("storage")}
	require.ErrorIs(t, m.fill(t.Context(), d.reader()), d.failing)
	d.failing = nil
	assert.Equal(t, map[string]int{"a": 1}, contents(t, &m, d))
	d.values["a"], d.failing = 2, errors.New("storage")
	m.forget("a")
	require.ErrorIs(t, m.fill(t.Context(), d.reader()), d.failing)
	d.failing = nil
	assert.Equal(t, map[string]int{"a": 2}, contents(t, &m, d))
}

func TestMirrorUnderConcurrency(t *testing.T) {
	var m mirror[int, int]
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			from := reader[int, int]{
				all: func(_ context.Context, add func(int, int)) error { add(i, i); return nil },
				one: func(_ context.Context, k int) (int, bool, error) { return k, true, nil },
			}
			for range 50 {
				m.set(i, i)
				assert.NoError(t, m.fill(t.Context(), from))
				m.each(func(k, v int) { assert.Equal(t, k, v) })
				m.remove(i)
				m.forget(i)
			}
		})
	}
	all.Wait()
}
