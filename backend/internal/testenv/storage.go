package testenv

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// ErrStorage is what failing storage answers.
var ErrStorage = errors.New("the storage of this test refuses")

// Access is one access to storage.
type Access struct {
	Op  string // get, put, delete, list
	Key string
}

// Write reports whether the access changes something.
func (a Access) Write() bool { return a.Op == "put" || a.Op == "delete" }

// Storage is memory that can be told to fail. It is safe for concurrent use.
type Storage struct {
	inner logical.InmemStorage

	mu      sync.Mutex
	judge   func(Access) error
	history []Access
}

var _ logical.Storage = (*Storage)(nil)

// Judge asks f before each access; an error refuses it. f may block. nil lets everything pass.
func (s *Storage) Judge(f func(Access) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = f
}

// FailWrites refuses every write.
func (s *Storage) FailWrites() {
	s.Judge(func(a Access) error {
		if a.Write() {
			return ErrStorage
		}
		return nil
	})
}

// FailWrite refuses the n-th write from now, counted from 1, and no other.
func (s *Storage) FailWrite(n int) {
	var mu sync.Mutex
	seen := 0
	s.Judge(func(a Access) error {
		if !a.Write() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == n {
			return ErrStorage
		}
		return nil
	})
}

// History gives all accesses since the last Forget.
func (s *Storage) History() []Access {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Access(nil), s.history...)
}

// Writes counts the writes since the last Forget.
func (s *Storage) Writes() int {
	n := 0
	for _, a := range s.History() {
		if a.Write() {
			n++
		}
	}
	return n
}

// Forget empties the history.
func (s *Storage) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = nil
}

func (s *Storage) access(op, key string) error {
	s.mu.Lock()
	a := Access{op, key}
	s.history = append(s.history, a)
	judge := s.judge
	s.mu.Unlock()
	if judge == nil {
		return nil
	}
	return judge(a)
}

// Get implements [logical.Storage].
func (s *Storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.access("get", key); err != nil {
		return nil, err
	}
	return s.inner.Get(ctx, key)
}

// Put implements [logical.Storage].
func (s *Storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.access("put", e.Key); err != nil {
		return err
	}
	return s.inner.Put(ctx, e)
}

// Delete implements [logical.Storage].
func (s *Storage) Delete(ctx context.Context, key string) error {
	if err := s.access("delete", key); err != nil {
		return err
	}
	return s.inner.Delete(ctx, key)
}

// List implements [logical.Storage].
func (s *Storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.access("list", prefix); err != nil {
		return nil, err
	}
	return s.inner.List(ctx, prefix)
}
