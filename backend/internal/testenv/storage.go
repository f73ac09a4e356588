package testenv

import (
	"bytes"
	"context"
	"errors"
	"strings"
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

// Write reports whether the access changes something. The log of notices is not counted: it is written beside, in the
// background, once or more often by chance; see WritesNotices.
func (a Access) Write() bool { return a.changes() && !a.Under(notices) }

// WritesNotices reports whether the access changes the log of notices.
func (a Access) WritesNotices() bool { return a.changes() && a.Under(notices) }

func (a Access) changes() bool { return a.Op == "put" || a.Op == "delete" }

const notices = "notice/"

// ownTime reports whether the access comes at a time that no test but those of its own can foresee, so that no other
// counts it: who read what, and what a start writes beside requests that it serves by then.
func (a Access) ownTime() bool {
	return a.Under("use/") || a.Key == "heartbeat" || a.Key == "lookup-key"
}

// Under reports whether the key lies below a prefix, such as "connection/" or "wal/".
func (a Access) Under(prefix string) bool { return strings.HasPrefix(a.Key, prefix) }

// Nth picks the n-th of the accesses that these picks, counted from 1 and from now, and no other.
func Nth(n int, these func(Access) bool) func(Access) bool {
	var mu sync.Mutex
	seen := 0
	return func(a Access) bool {
		if a.ownTime() || !these(a) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		seen++
		return seen == n
	}
}

// Storage is memory that can be told to fail, and to hang. It is safe for concurrent use.
type Storage struct {
	inner logical.InmemStorage

	mu      sync.Mutex
	judge   func(Access) error
	hangs   func(Access) bool
	until   func(Access)
	deaf    bool // what hangs does so whatever becomes of its context
	delays  func(Access) bool
	later   func(Access)
	history []Access
	landed  int
}

var _ logical.Storage = (*Storage)(nil)

// Judge asks f before each access; an error refuses it. f may block. nil lets everything pass.
func (s *Storage) Judge(f func(Access) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = f
}

// Hang lets the accesses hang that these picks, from now on; nil ends that. Such a call waits until its context ends
// and fails with that error. If it is a write it is made all the same, with the value it carried, once until returns,
// which is called after the call has failed: so does Vault to a plugin that gave up waiting. until blocks as long as
// the test wants, on a channel or asleep. In a bubble of testing/synctest it must return, or the bubble cannot end.
func (s *Storage) Hang(these func(Access) bool, until func(Access)) { s.hang(these, until, false) }

// Block is Hang for calls that do not heed their context: each waits for until and is made then, and succeeds.
func (s *Storage) Block(these func(Access) bool, until func(Access)) { s.hang(these, until, true) }

func (s *Storage) hang(these func(Access) bool, until func(Access), deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs, s.until, s.deaf = these, until, deaf
}

// Delay lets the answers wait to the accesses that these picks, from now on; nil ends that. Each is made at once, and
// answered when until returns: what is read is as old as the question.
func (s *Storage) Delay(these func(Access) bool, until func(Access)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays, s.later = these, until
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
	picked := Nth(n, Access.Write)
	s.Judge(func(a Access) error {
		if picked(a) {
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
		if a.Write() && !a.ownTime() {
			n++
		}
	}
	return n
}

// Landed counts the writes that were made after their call had failed.
func (s *Storage) Landed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.landed
}

// Forget empties the history.
func (s *Storage) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = nil
}

// access makes one access as the test wants it made. It gives ctx to do, but where that no longer counts.
func (s *Storage) access(ctx context.Context, a Access, do func(context.Context) error) error {
	s.mu.Lock()
	s.history = append(s.history, a)
	judge, hangs, until, deaf, delays, later := s.judge, s.hangs, s.until, s.deaf, s.delays, s.later
	s.mu.Unlock()
	if judge != nil {
		if err := judge(a); err != nil {
			return err
		}
	}
	switch {
	case delays != nil && delays(a):
		err := do(ctx)
		later(a)
		return err
	case hangs == nil || !hangs(a):
		return do(ctx)
	case deaf:
		until(a)
		return do(context.WithoutCancel(ctx))
	}
	<-ctx.Done()
	if a.changes() {
		go func() {
			until(a)
			_ = do(context.WithoutCancel(ctx)) // nobody is there to hear of it
			s.mu.Lock()
			defer s.mu.Unlock()
			if !a.ownTime() {
				s.landed++
			}
		}()
	}
	return ctx.Err()
}

// Get implements [logical.Storage].
func (s *Storage) Get(ctx context.Context, key string) (e *logical.StorageEntry, err error) {
	err = s.access(ctx, Access{"get", key}, func(ctx context.Context) (err error) {
		e, err = s.inner.Get(ctx, key)
		return err
	})
	return e, err
}

// Put implements [logical.Storage].
func (s *Storage) Put(ctx context.Context, e *logical.StorageEntry) error {
	own := *e
	own.Value = bytes.Clone(e.Value) // the caller has it back before a late write is made
	return s.access(ctx, Access{"put", e.Key}, func(ctx context.Context) error { return s.inner.Put(ctx, &own) })
}

// Delete implements [logical.Storage].
func (s *Storage) Delete(ctx context.Context, key string) error {
	return s.access(ctx, Access{"delete", key}, func(ctx context.Context) error { return s.inner.Delete(ctx, key) })
}

// List implements [logical.Storage].
func (s *Storage) List(ctx context.Context, prefix string) (names []string, err error) {
	err = s.access(ctx, Access{"list", prefix}, func(ctx context.Context) (err error) {
		names, err = s.inner.List(ctx, prefix)
		return err
	})
	return names, err
}
