package backend

import (
	"context"
	"sync"
)

// failuresInARow is how many entries may fail to be read one after the
// other before storage itself is taken to be down.
const failuresInARow = 100

// mirror keeps a little of every entry that storage has of one noun. It is filled from storage when first needed,
// follows each change that is made here, and looks again at what somebody else changed. It answers counts and
// questions across entries; whether one exists, storage says.
type mirror[K comparable, V any] struct {
	filling chan struct{} // holds a token during a fill, so that there is one at a time

	mu      sync.Mutex
	full    bool        // guarded by mu; every entry was read, or is stale
	entries table[K, V] // guarded by mu, and so are the values
	stale   map[K]bool  // guarded by mu; what must be read again
	touched map[K]bool  // guarded by mu; non-nil during a fill: what changed here since it began
}

// source is where a mirror reads what it does not know.
type source[K comparable, V any] struct {
	keys func(context.Context, func(K)) error
	// read gives what to enter of one entry; nil when it is gone.
	read func(context.Context, K) (enter func(*V), err error)
	// unread is what to enter of one that storage does not give.
	unread func(*V)
}

// table holds the entries of a mirror. It locks nothing.
type table[K comparable, V any] interface {
	get(K) *V // nil when there is none
	add(K) *V // of which there is none
	drop(K)
	each(func(K, *V))
}

// unordered is the table of what nobody asks for in order.
type unordered[K comparable, V any] map[K]*V

func (t unordered[K, V]) get(k K) *V { return t[k] }

func (t unordered[K, V]) add(k K) *V {
	t[k] = new(V)
	return t[k]
}

func (t unordered[K, V]) drop(k K) { delete(t, k) }

func (t unordered[K, V]) each(fn func(K, *V)) {
	for k, v := range t {
		fn(k, v)
	}
}

func newMirror[K comparable, V any](entries table[K, V]) *mirror[K, V] {
	return &mirror[K, V]{filling: make(chan struct{}, 1), entries: entries, stale: map[K]bool{}}
}

// set follows one entry. change runs under the mirror's mutex.
func (m *mirror[K, V]) set(k K, change func(*V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(k)
	m.enter(k, change)
}

// enter is called under mu.
func (m *mirror[K, V]) enter(k K, change func(*V)) {
	v := m.entries.get(k)
	if v == nil {
		v = m.entries.add(k)
	}
	change(v)
}

// remove follows the end of one entry. then runs under the mirror's mutex, with what was known of it.
func (m *mirror[K, V]) remove(k K, then func(*V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(k)
	m.drop(k, then)
}

// drop is called under mu.
func (m *mirror[K, V]) drop(k K, then func(*V)) {
	if v := m.entries.get(k); v != nil {
		m.entries.drop(k)
		then(v)
	}
}

func (m *mirror[K, V]) touch(k K) {
	if m.touched != nil {
		m.touched[k] = true
	}
}

// forget says that somebody else changed an entry; the next fill reads it again.
func (m *mirror[K, V]) forget(keys ...K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		m.stale[k] = true
	}
}

// unread names the entries that storage did not give, and what it said of the first.
type unread[K comparable] struct {
	keys  []K
	first error
}

// fill reads what is not known: everything at first, later what somebody else changed, or what storage did not give.
// One entry that it does not give hides no other; unread names those.
// What changes here meanwhile is newer than what is read.
func (m *mirror[K, V]) fill(ctx context.Context, from source[K, V], gone func(*V)) (missed unread[K], err error) {
	select {
	case m.filling <- struct{}{}:
		defer func() { <-m.filling }()
	case <-ctx.Done():
		return missed, ctx.Err()
	}
	todo, full, err := m.begin(ctx, from)
	if err != nil {
		m.mu.Lock()
		m.touched = nil
		m.mu.Unlock()
	}
	if err != nil || full && len(todo) == 0 {
		return missed, err
	}
	done, row := 0, 0
	for ; done < len(todo) && row < failuresInARow; done++ {
		k := todo[done]
		enter, failed := from.read(ctx, k)
		if err = ctx.Err(); err != nil {
			break
		}
		if row++; failed == nil {
			row = 0
		} else {
			if missed.keys = append(missed.keys, k); missed.first == nil {
				missed.first = failed
			}
			enter = from.unread
		}
		m.take(k, enter, failed != nil, gone)
		if row == failuresInARow {
			err = failed
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touched = nil
	m.full = m.full || err == nil
	if m.full {
		for _, k := range todo[done:] {
			m.stale[k] = true
		}
	}
	return missed, err
}

// begin lists what is to be read, and from now on notes what changes.
func (m *mirror[K, V]) begin(ctx context.Context, from source[K, V]) (todo []K, full bool, err error) {
	m.mu.Lock()
	full = m.full
	if full {
		for k := range m.stale {
			todo = append(todo, k)
		}
	}
	clear(m.stale)
	if !full || len(todo) > 0 {
		m.touched = map[K]bool{}
	}
	m.mu.Unlock()
	if !full {
		err = from.keys(ctx, func(k K) { todo = append(todo, k) })
	}
	return todo, full, err
}

// take enters what was read of an entry, unless it changed here since the fill began.
func (m *mirror[K, V]) take(k K, enter func(*V), again bool, gone func(*V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.touched[k]:
		return
	case enter == nil:
		m.drop(k, gone)
	default:
		m.enter(k, enter)
	}
	if again {
		m.stale[k] = true
	}
}

// each calls fn with every entry known. fn must not call back, nor keep the value.
func (m *mirror[K, V]) each(fn func(K, *V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.each(fn)
}

// eachKnown is each for those who do not wait for what is not known: it reports whether that was all there is, as it
// is.
func (m *mirror[K, V]) eachKnown(fn func(K, *V)) (all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.each(fn)
	return m.full && len(m.stale) == 0 && m.touched == nil
}

// with calls fn with what is known of one entry, if anything is, under the mirror's mutex.
func (m *mirror[K, V]) with(k K, fn func(*V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.entries.get(k); v != nil {
		fn(v)
	}
}
