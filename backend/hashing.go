package backend

import (
	"context"
	"sync/atomic"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// hashing has the mount's hasher in memory, since traces are made where nobody may wait for storage. It is made once,
// and never shown.
type hashing struct {
	b       *backend
	current atomic.Pointer[store.Hasher] // nil: storage did not give it yet

	asking chan struct{} // holds a token while storage is asked
	made   *store.Hasher // guarded by asking; it may be in storage: another must not take its place
}

func newHashing(b *backend) *hashing { return &hashing{b: b, asking: make(chan struct{}, 1)} }

// need reads the hasher if it is not known, and makes it if there is none.
func (h *hashing) need(ctx context.Context) (*store.Hasher, error) {
	if known := h.current.Load(); known != nil {
		return known, nil
	}
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known := h.current.Load(); known != nil {
		return known, nil
	}
	stored, err := h.b.store.Hasher(ctx)
	if err != nil && !store.Damaged(err) {
		return nil, err
	}
	if stored == nil { // what one made of it that nobody can read, no other matches
		if h.made == nil {
			h.made = store.NewHasher()
		}
		stored = h.made
		if err := h.b.store.PutHasher(context.WithoutCancel(ctx), stored); err != nil {
			return nil, err
		}
	}
	h.current.Store(stored)
	return stored, nil
}

// learnHasher has the hasher known before anything is changed. Until it is, changes leave no traces.
func (b *backend) learnHasher(ctx context.Context) {
	if _, err := b.hashing.need(ctx); err != nil && ctx.Err() == nil && !store.IsReadOnly(err) {
		b.Logger().Warn("the key of look-ups could not be read, so credentials that are replaced cannot be looked up; a "+
			"minute later it is tried again", "error", err)
	}
}
