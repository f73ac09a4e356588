package backend

import (
	"context"
	"encoding/hex"
)

// hashLocks serialise the changes of entries whose names are hashes in hexadecimal, by the first digits of those. Two
// names rarely share a lock; one that waits for a stranger waits for storage at most.
type hashLocks [64]chan struct{}

func newHashLocks() *hashLocks {
	var l hashLocks
	for i := range l {
		l[i] = make(chan struct{}, 1)
	}
	return &l
}

// lock waits as long as ctx lasts.
func (l *hashLocks) lock(ctx context.Context, hash string) (unlock func(), err error) {
	var shard byte
	if b, err := hex.DecodeString(hash[:min(2, len(hash))]); err == nil && len(b) > 0 {
		shard = b[0] % byte(len(l))
	}
	held := l[shard]
	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
