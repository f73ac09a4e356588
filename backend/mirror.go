package backend

import (
	"context"
	"maps"
	"sync"
)

// mirror keeps a summary of every entry that storage has of one noun. It is filled from storage when first needed, follows
// each change that is made here, and looks again at what somebody else changed. It answers counts and questions across
// entries; whether one exists, storage says.
type mirror[K comparable, V any] struct {
	filling sync.Mutex // held during a fill, so that there is one at a time

	mu      sync.Mutex
	full    bool       // guarded by mu
	entries map[K]V    // guarded by mu
	touched map[K]bool // guarded by mu; non-nil during a fill: what changed here since it began
	stale   map[K]bool // guarded by mu; what must be read again
}

// reader reads storage for a mirror.
type reader[K comparable, V any] struct {
	all func(ctx context.Context, add func(K, V)) error
	one func(ctx context.Context, k K) (v V, found bool, err error)
}

// set follows one entry.
func (m *mirror[K, V]) set(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = map[K]V{}
	}
	m.touch(k)
	m.entries[k] = v
}

// remove follows the end of one entry.
func (m *mirror[K, V]) remove(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(k)
	delete(m.entries, k)
}

func (m *mirror[K, V]) touch(k K) {
	if m.touched != nil {
		m.touched[k] = true
	}
}

// forget says that somebody else changed an entry, or that it could not be read; the next question reads it again.
func (m *mirror[K, V]) forget(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stale == nil {
		m.stale = map[K]bool{}
	}
	m.stale[k] = true
}

// fill reads what is not known: everything at first, later what somebody else changed. What changes here meanwhile is newer
// than what it reads; what somebody else changes meanwhile it reads the next time.
func (m *mirror[K, V]) fill(ctx context.Context, from reader[K, V]) error {
	m.filling.Lock()
	defer m.filling.Unlock()
	m.mu.Lock()
	full, stale := m.full, m.stale
	if full && len(stale) == 0 {
		m.mu.Unlock()
		return nil
	}
	m.touched, m.stale = map[K]bool{}, nil
	m.mu.Unlock()

	found, gone := map[K]V{}, []K(nil)
	read := func() error {
		if !full {
			return from.all(ctx, func(k K, v V) { found[k] = v })
		}
		for k := range stale {
			v, there, err := from.one(ctx, k)
			switch {
			case err != nil:
				return err
			case there:
				found[k] = v
			default:
				gone = append(gone, k)
			}
		}
		return nil
	}
	err := read()

	m.mu.Lock()
	defer m.mu.Unlock()
	touched := m.touched
	m.touched = nil
	switch {
	case err != nil:
		if m.stale == nil {
			m.stale = map[K]bool{}
		}
		maps.Copy(m.stale, stale)
	case full:
		for _, k := range gone {
			if !touched[k] {
				delete(m.entries, k)
			}
		}
		for k, v := range found {
			if !touched[k] {
				m.entries[k] = v
			}
		}
	default:
		for k := range touched {
			if v, ok := m.entries[k]; ok {
				found[k] = v
			} else {
				delete(found, k)
			}
		}
		m.entries, m.full = found, true
	}
	return err
}

// each calls fn with every entry known. fn must not call back.
func (m *mirror[K, V]) each(fn func(K, V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.entries {
		fn(k, v)
	}
}
