package refresh

import (
	"sync"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// keyLocks gives each connection a lock of its own. A table of shards would make a caller wait for a stranger.
type keyLocks struct {
	mu    sync.Mutex
	locks map[store.Key]*keyLock // guarded by mu
}

// keyLock is held while storage is asked, so whoever waits for it may wait long. It is a channel because testing/synctest
// takes a goroutine that waits for a mutex to be running, and would not let the holder's time pass.
type keyLock struct {
	held  chan struct{} // holds one token while locked
	users int           // guarded by keyLocks.mu
}

// lock waits for the key's lock and returns what gives it back.
func (l *keyLocks) lock(k store.Key) (unlock func()) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = map[store.Key]*keyLock{}
	}
	kl := l.locks[k]
	if kl == nil {
		kl = &keyLock{held: make(chan struct{}, 1)}
		l.locks[k] = kl
	}
	kl.users++
	l.mu.Unlock()

	kl.held <- struct{}{}
	return func() {
		<-kl.held
		l.mu.Lock()
		if kl.users--; kl.users == 0 {
			delete(l.locks, k)
		}
		l.mu.Unlock()
	}
}
