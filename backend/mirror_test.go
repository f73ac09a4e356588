package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
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

func (d *disk) source() source[string, int] {
	meanwhile := func() error {
		if do := d.during; do != nil {
			d.during = nil
			do()
		}
		return d.failing
	}
	return source[string, int]{
		keys: func(_ context.Context, fn func(string)) error {
			d.scans++
			for k := range d.values {
				fn(k)
			}
			return d.failing
		},
		read: func(_ context.Context, k string) (func(*int), error) {
			d.looks++
			read, there := d.values[k]
			if err := meanwhile(); err != nil || !there {
				return nil, err
			}
			return becomes(read), nil
		},
		unread: becomes(-1),
	}
}

func becomes(v int) func(*int) { return func(to *int) { *to = v } }

func nop(*int) {}

// contents fills the mirror from storage, as far as need be, and gives what it knows.
func contents(t *testing.T, m *mirror[string, int], d *disk) map[string]int {
	t.Helper()
	_, err := m.fill(t.Context(), d.source(), nop)
	require.NoError(t, err)
	found := map[string]int{}
	m.each(func(k string, v *int) { found[k] = *v })
	return found
}

func TestMirrorFollows(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	m.set("before", becomes(1))
	d := &disk{values: map[string]int{"a": 1, "before": 1}}
	assert.Equal(t, map[string]int{"a": 1, "before": 1}, contents(t, m, d))
	m.set("b", becomes(2))
	m.set("a", becomes(3))
	m.remove("before", nop)
	assert.Equal(t, map[string]int{"a": 3, "b": 2}, contents(t, m, d))
	assert.Equal(t, []int{1, 2}, []int{d.scans, d.looks}, "storage is read once")
}

// What changes here while storage is read is newer than what was read.
func TestMirrorChangesDuringAFill(t *testing.T) {
	for _, at := range []string{"at first", "again"} {
		t.Run(at, func(t *testing.T) {
			m := newMirror(unordered[string, int]{})
			d := &disk{values: map[string]int{"changed": 1, "deleted": 1, "same": 1}}
			if at == "again" {
				contents(t, m, d)
				m.forget("changed", "made", "deleted", "same")
			}
			d.during = func() {
				m.set("changed", becomes(2))
				m.set("made", becomes(2))
				m.remove("deleted", nop)
			}
			assert.Equal(t, map[string]int{"changed": 2, "made": 2, "same": 1}, contents(t, m, d))
		})
	}
}

// However many entries there are, only those that somebody else changed are read again.
func TestMirrorForgets(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	d := &disk{values: map[string]int{"a": 1, "gone": 1, "other": 1}}
	contents(t, m, d)
	d.looks = 0
	d.values = map[string]int{"a": 2, "made": 2, "other": 9}
	m.forget("a", "gone", "made")
	want := map[string]int{"a": 2, "made": 2, "other": 1}
	assert.Equal(t, want, contents(t, m, d))
	assert.Equal(t, want, contents(t, m, d))
	assert.Equal(t, []int{1, 3}, []int{d.scans, d.looks})

	m.forget("a")
	d.values["a"] = 3
	d.during = func() { d.values["a"] = 4; m.forget("a") } // it changes again, after it was read
	contents(t, m, d)
	assert.Equal(t, map[string]int{"a": 4, "made": 2, "other": 1}, contents(t, m, d),
		"what was read may be stale, so it is read again")
}

// What goes is told of, so that nothing falls due for it any more.
func TestMirrorTellsWhatIsGone(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	d := &disk{values: map[string]int{"a": 1, "b": 2}}
	contents(t, m, d)
	gone := 0
	m.remove("a", func(v *int) { gone += *v })
	m.remove("a", func(v *int) { gone += *v })
	delete(d.values, "b")
	m.forget("b")
	_, err := m.fill(t.Context(), d.source(), func(v *int) { gone += 10 * *v })
	require.NoError(t, err)
	assert.Equal(t, 21, gone)
}

// One entry that storage does not give hides no other. It is named, and read again by the next fill, alone.
func TestMirrorUnread(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	d := &disk{values: map[string]int{"a": 1, "lost": 2}}
	from, failing := d.source(), true
	read := from.read
	from.read = func(ctx context.Context, k string) (func(*int), error) {
		if failing && k == "lost" {
			return nil, errors.New("storage")
		}
		return read(ctx, k)
	}
	for range 2 {
		missed, err := m.fill(t.Context(), from, nop)
		require.NoError(t, err)
		assert.Equal(t, []string{"lost"}, missed.keys)
		require.EqualError(t, missed.first, "storage")
		m.with("lost", func(v *int) { assert.Equal(t, -1, *v) })
	}
	failing = false
	assert.Equal(t, map[string]int{"a": 1, "lost": 2}, contents(t, m, d))
	assert.Equal(t, []int{1, 2}, []int{d.scans, d.looks})
}

// When nothing can be read, not all is tried, and nothing is forgotten.
func TestMirrorWhileStorageIsDown(t *testing.T) {
	for _, at := range []string{"at first", "again"} {
		t.Run(at, func(t *testing.T) {
			m := newMirror(unordered[string, int]{})
			d := &disk{values: map[string]int{}}
			for i := range 2 * failuresInARow {
				d.values[strconv.Itoa(i)] = i
			}
			if at == "again" {
				m.forget(slices.Collect(maps.Keys(contents(t, m, d)))...)
			}
			d.looks = 0
			down := errors.New("storage")
			from := d.source()
			from.read = func(context.Context, string) (func(*int), error) { d.looks++; return nil, down }
			_, err := m.fill(t.Context(), from, nop)
			require.ErrorIs(t, err, down)
			assert.Equal(t, failuresInARow, d.looks)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = m.fill(ctx, d.source(), nop)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, d.values, contents(t, m, d))
		})
	}
	m := newMirror(unordered[string, int]{})
	d := &disk{values: map[string]int{"a": 1}, failing: errors.New("storage")}
	_, err := m.fill(t.Context(), d.source(), nop)
	require.ErrorIs(t, err, d.failing, "nobody knows what the list would have named")
	d.failing = nil
	assert.Equal(t, map[string]int{"a": 1}, contents(t, m, d))
}

// Whoever waits for a fill leaves when they are told to.
func TestMirrorWaitForAFillEnds(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	d := &disk{values: map[string]int{"a": 1}}
	d.during = func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := m.fill(ctx, d.source(), nop)
		assert.ErrorIs(t, err, context.Canceled)
	}
	contents(t, m, d)
}

func TestMirrorUnderConcurrency(t *testing.T) {
	m := newMirror(unordered[int, int]{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			from := source[int, int]{
				keys:   func(_ context.Context, fn func(int)) error { fn(i); return nil },
				read:   func(_ context.Context, k int) (func(*int), error) { return becomes(k), nil },
				unread: becomes(-1),
			}
			for range 50 {
				m.set(i, becomes(i))
				_, err := m.fill(t.Context(), from, nop)
				assert.NoError(t, err)
				m.each(func(k int, v *int) { assert.Equal(t, k, *v) })
				m.remove(i, nop)
				m.forget(i)
			}
		})
	}
	all.Wait()
}
