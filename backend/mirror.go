package backend

import (
	"context"
	"sync"
)

// mirror keeps a summary of every entry that storage has of one noun. It is filled from storage when first needed and
// then follows each change. It answers counts and questions across entries; whether one exists, storage says.
type mirror[K comparable, V any] struct {
	filling sync.Mutex // held during a fill, so that there is one at a time

	mu      sync.Mutex
	full    bool       // guarded by mu
	entries map[K]V    // guarded by mu
	touched map[K]bool // guarded by mu; non-nil during a fill: what changed since it began
	stale   bool       // guarded by mu; somebody else changed something during the fill
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

// forget says that somebody else changed storage; the next question reads it again.
func (m *mirror[K, V]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full, m.stale = false, true
}

// fill reads storage unless that was done. What changes here while read runs is newer than what it reads.
func (m *mirror[K, V]) fill(ctx context.Context, read func(ctx context.Context, add func(K, V)) error) error {
	m.filling.Lock()
	defer m.filling.Unlock()
	m.mu.Lock()
	if m.full {
		m.mu.Unlock()
		return nil
	}
	m.touched, m.stale = map[K]bool{}, false
	m.mu.Unlock()

	found := map[K]V{}
	err := read(ctx, func(k K, v V) { found[k] = v })

	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		for k := range m.touched {
			if v, ok := m.entries[k]; ok {
				found[k] = v
			} else {
				delete(found, k)
			}
		}
		m.entries, m.full = found, !m.stale
	}
	m.touched = nil
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
