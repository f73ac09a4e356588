package backend

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// confirmationAlphabet leaves out what people confuse: 0 O, 1 I L, 5 S, 2 Z, 8 B, U V. Twenty-three letters in eight places
// are 36 bits; five tries at them are nothing.
const confirmationAlphabet = "34679ACDEFGHJKMNPQRTWXY"

// newState makes 256 bits of state.
func newState() string { return randomText(32) }

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// newConfirmationCode draws evenly from the alphabet: bytes beyond its last full multiple are drawn again.
func newConfirmationCode() string {
	const n = len(confirmationAlphabet)
	code := make([]byte, 0, 8)
	for b := make([]byte, 1); len(code) < cap(code); {
		_, _ = rand.Read(b)
		if v := int(b[0]); v < 256/n*n {
			code = append(code, confirmationAlphabet[v%n])
		}
	}
	return string(code)
}

// digest names a request by everything that matters in it, without keeping any of it.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte{byte(len(p) >> 24), byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p))})
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// flowIndex knows the flows that are open, so that a connection's metadata can show them and a caller cannot open
// without end.
type flowIndex struct {
	mirror mirror[string, openFlow] // by flow id

	locks [64]sync.Mutex // of flows, by the first digits of their id; held for storage only, never over the network
}

// openFlow is what the index keeps of one flow.
type openFlow struct {
	key      string
	provider string
	caller   string
	started  time.Time
	expires  time.Time
	denied   bool
	ended    bool // there is an outcome, or it is void

	finishing bool // its code is being spent, unless a crash cut that off
}

func summarizeFlow(f *store.Flow) openFlow {
	return openFlow{
		key: f.Key, provider: f.Provider, caller: f.Caller, started: f.Created.Time, expires: f.Expires,
		denied: f.Parked != nil && f.Parked.Denied != "", ended: f.Outcome != nil || f.Void,
		finishing: f.Claimed != "" && f.Outcome == nil,
	}
}

// lock serialises the changes of one flow. Ids are hashes, so two flows rarely share a lock; one that waits for a
// stranger waits for storage at most.
func (x *flowIndex) lock(id string) (unlock func()) {
	var shard byte
	if b, err := hex.DecodeString(id[:2]); err == nil {
		shard = b[0] % byte(len(x.locks))
	}
	x.locks[shard].Lock()
	return x.locks[shard].Unlock
}

func (x *flowIndex) changed(f *store.Flow) { x.mirror.set(f.ID, summarizeFlow(f)) }

func (x *flowIndex) gone(id string) { x.mirror.remove(id) }

// forget says that somebody else changed a flow.
func (x *flowIndex) forget(id string) { x.mirror.forget(id) }

// each calls fn with every flow, reading first what storage has and the index does not know. fn must not call back.
func (x *flowIndex) each(ctx context.Context, s store.Store, fn func(id string, f openFlow)) error {
	one := func(ctx context.Context, id string) (openFlow, bool, error) {
		f, err := s.Flow(ctx, id)
		if store.Unusable(err) {
			return openFlow{}, false, nil
		}
		if err != nil || f == nil {
			return openFlow{}, false, err
		}
		return summarizeFlow(f), true, nil
	}
	err := x.mirror.fill(ctx, reader[string, openFlow]{one: one, all: func(ctx context.Context, add func(string, openFlow)) error {
		ids, err := s.Flows(ctx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			f, found, err := one(ctx, id)
			if err != nil {
				return err
			}
			if found {
				add(id, f)
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	x.mirror.each(fn)
	return nil
}

// flowOf is the latest flow for a connection that has neither ended nor expired, or nil.
func (b *backend) flowOf(ctx context.Context, k store.Key) (*openFlow, error) {
	var latest *openFlow
	now, key := b.now(), k.String()
	err := b.flows.each(ctx, b.store, func(_ string, f openFlow) {
		if f.key == key && !f.ended && now.Before(f.expires) && (latest == nil || f.started.After(latest.started)) {
			latest = &f
		}
	})
	return latest, err
}

// voidFlows ends the open flows of a connection that is being deleted, so that none of them brings it back. One that is
// being finished looks for the mark before it connects anything.
func (b *backend) voidFlows(ctx context.Context, k store.Key) error {
	var open []string
	if err := b.flows.each(ctx, b.store, func(id string, f openFlow) {
		if f.key == k.String() && !f.ended {
			open = append(open, id)
		}
	}); err != nil {
		return err
	}
	for _, id := range open {
		if err := b.voidFlow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) voidFlow(ctx context.Context, id string) error {
	defer b.flows.lock(id)()
	f, err := b.store.Flow(ctx, id)
	if err != nil || f == nil || f.Outcome != nil {
		return err
	}
	f.Void = true
	return b.putFlow(ctx, f)
}

// voided reports whether a flow became void while its code was spent. It takes no lock, since its caller holds the
// connection's: a deletion marks its flows before it takes that one, so a mark that is not there yet belongs to a deletion
// that finds the connection. What cannot be read counts as not void, since what the provider gave is not to be lost.
func (b *backend) voided(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), voidedTime)
	defer cancel()
	f, err := b.store.Flow(ctx, id)
	return err == nil && f != nil && f.Void
}

// putFlow stores a flow and tells the index.
func (b *backend) putFlow(ctx context.Context, f *store.Flow) error {
	if err := b.store.PutFlow(ctx, f); err != nil {
		return err
	}
	b.flows.changed(f)
	return nil
}

const (
	voidedTime = 5 * time.Second  // for reading a flow's mark: a connection's lock is held meanwhile
	finishTime = 10 * time.Minute // no exchange takes as long
)

// tidyFlows removes flows that have expired; one that is being finished later, or the mark of a deletion would go with it.
// One whose outcome is stored after that is removed the next time.
func (b *backend) tidyFlows(ctx context.Context) error {
	var expired []string
	now := b.now()
	err := b.flows.each(ctx, b.store, func(id string, f openFlow) {
		end := f.expires
		if f.finishing {
			end = end.Add(finishTime)
		}
		if !now.Before(end) {
			expired = append(expired, id)
		}
	})
	if err != nil {
		return err
	}
	for _, id := range expired {
		if err := b.store.DeleteFlow(ctx, id); err != nil {
			return err
		}
		b.flows.gone(id)
	}
	return nil
}
