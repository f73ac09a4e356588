package refresh_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// view is storage as one process sees it. It implements [logical.Storage].
type view struct {
	*world
	p *process
}

// access makes an access to storage, or fails as the world will have it. do runs under w.mu.
func (v view) access(ctx context.Context, write bool, key string, do func() error) error {
	v.mu.Lock()
	takes := v.upTo(5 * time.Millisecond)
	if v.chance(v.faults.trouble / 4) {
		takes = v.upTo(3 * time.Second)
	}
	v.mu.Unlock()
	if err := sleep(ctx, takes); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	switch {
	case v.p.gone || now.Before(v.faults.nothing):
	case write && (v.p.deposed || v.p.standby):
		return logical.ErrReadOnly
	case write && now.Before(v.faults.noWrites), write && now.Before(v.faults.noConnections) &&
		strings.HasPrefix(key, "connection/"):
	case write && v.chance(v.faults.trouble/3):
		if v.chance(0.3) {
			v.note("%s: storage takes %s and says it does not", v.p, key)
			_ = do()
			if k, err := store.ParseKey(strings.TrimPrefix(key, "connection/")); err == nil {
				held := v.onDisk[k]
				held.denied = true
				v.onDisk[k] = held
			}
		}
	default:
		return do()
	}
	if write {
		v.note("%s: storage refuses %s", v.p, key)
	}
	return testenv.ErrStorage
}

func (v view) Get(ctx context.Context, key string) (e *logical.StorageEntry, err error) {
	err = v.access(ctx, false, key, func() error { e, err = v.disk.Get(context.Background(), key); return err })
	return e, err
}

func (v view) List(ctx context.Context, prefix string) (names []string, err error) {
	err = v.access(ctx, false, prefix, func() error {
		names,
			err = v.disk.List(context.Background(), prefix)
		return err
	})
	return names, err
}

// landsLate makes a write hang: the caller's time runs out, and storage makes it later, over whatever it has by then.
// A process that ended, or no longer leads, has no such writes: Vault's own fence is not the engine's.
func (v view) landsLate(ctx context.Context, key string, do func() error) (hangs bool, err error) {
	v.mu.Lock()
	hangs = !v.p.deposed && !v.p.standby && v.chance(v.faults.trouble/20)
	after := v.upTo(50 * time.Second)
	v.mu.Unlock()
	if !hangs {
		return false, nil
	}
	err = sleep(ctx, time.Hour)
	v.set(v.p.String()+": storage hangs with "+key, func() {})
	v.late.Go(func() {
		time.Sleep(after)
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.p.gone || v.p.deposed || v.p.standby {
			return
		}
		v.note("%s: storage makes %s late", v.p, key)
		name, isConnection := strings.CutPrefix(key, "connection/")
		k, err := store.ParseKey(name)
		if !isConnection || err != nil {
			_ = do()
			v.lateIntent(key)
			return
		}
		before, err := store.New(&v.disk).Connection(context.Background(), k)
		_ = do()
		held := state{denied: true}
		if after, _ := v.disk.Get(context.Background(), key); after == nil && err == nil && before != nil &&
			!before.Deleting.IsZero() {
			delete(v.p.received, k) // as somebody wanted
		}
		if c, err := store.New(&v.disk).Connection(context.Background(), k); err == nil && c != nil {
			held = v.stateOf(c)
			held.denied, held.mark = true, mark{} // whatever replaces it is newer
			held.lateBy, held.late, held.label, held.disabled = v.p, time.Now(), c.Label, c.Stops.On()
		}
		v.onDisk[k] = held
	})
	return true, err
}

func (v view) Put(ctx context.Context, e *logical.StorageEntry) error {
	if hangs, err := v.landsLate(ctx, e.Key, func() error { return v.disk.Put(context.Background(), e) }); hangs {
		return err
	}
	err := v.access(ctx, true, e.Key, func() error {
		if err := v.disk.Put(context.Background(), e); err != nil {
			return err
		}
		v.written(v.p, e.Key)
		return nil
	})
	if err != nil && strings.HasPrefix(e.Key, "wal/") {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.stuckIntent(e.Key)
	}
	return err
}

func (v view) Delete(ctx context.Context, key string) error {
	if hangs, err := v.landsLate(ctx, key, func() error { return v.disk.Delete(context.Background(), key) }); hangs {
		return err
	}
	err := v.access(ctx, true, key, func() error {
		if err := v.disk.Delete(context.Background(), key); err != nil {
			return err
		}
		if strings.HasPrefix(key, "wal/") {
			v.note("%s: an intent ends: %s", v.p, key)
		}
		v.written(v.p, key)
		return nil
	})
	if err != nil && strings.HasPrefix(key, "wal/") {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.stuckIntent(key)
	}
	return err
}

// stuckIntent allows for an intent that stands though nothing was sent, or though the answer is known: storage would
// not let go of it, and whoever finds it cannot tell. w.mu is held.
func (w *world) stuckIntent(key string) {
	e, err := w.disk.Get(context.Background(), key)
	if err != nil || e == nil {
		return
	}
	var i store.Intent
	if err := json.Unmarshal(e.Value, &i); err != nil {
		w.complain("an intent cannot be read: %v", err)
	}
	for k, held := range w.onDisk {
		if k.String() == i.Key && held.generation <= i.Generation && held.token != nil {
			held.token.doubt = true
		}
	}
}

// lateIntent allows for an intent that was made, replaced or removed late, while another stood there: if its process
// ends before it settles that, nobody can tell what is in doubt. w.mu is held.
func (w *world) lateIntent(key string) {
	w.stuckIntent(key)
	w.allowRetries()
	for k, held := range w.onDisk {
		if held.token != nil && strings.TrimPrefix(key, "wal/") == intentName(k) {
			held.token.doubt, held.token.blurred = true, true
		}
	}
}

func intentName(k store.Key) string {
	sum := sha256.Sum256([]byte(k.String()))
	return hex.EncodeToString(sum[:])
}

// written judges what storage holds now of a connection. w.mu is held.
func (w *world) written(p *process, key string) {
	name, ok := strings.CutPrefix(key, "connection/")
	if !ok {
		return
	}
	k, err := store.ParseKey(name)
	if err != nil {
		w.complain("storage holds %s: %v", key, err)
		return
	}
	for _, other := range w.processes {
		if other != p && !other.gone {
			go other.Invalidate(k)
		}
	}
	c, err := store.New(&w.disk).Connection(context.Background(), k)
	if err != nil {
		w.complain("%s: %v", k, err)
		return
	}
	if c == nil {
		w.note("%s: %s is deleted", p, k.Name)
		delete(w.onDisk, k)
		delete(p.received, k)
		return
	}
	before, now := w.onDisk[k], w.stateOf(c)
	w.note("%s: %s is stored: serial %d, generation %d, %s %s, consent %d, token %d", p, k.Name, now.serial,
		now.generation, statusOf(c), reasonOf(c), now.mark.consent, now.mark.token)
	if now.mark.before(before.mark) {
		w.complain("%s: %s: an older token %v over a newer %v", p, k.Name, now.mark, before.mark)
	}
	if before.serial > 0 && !before.denied && (now.serial <= before.serial || now.generation < before.generation) {
		w.complain("%s: %s: serial %d and generation %d over %d and %d", p, k.Name, now.serial, now.generation,
			before.serial, before.generation)
	}
	w.onDisk[k] = now
}

func (w *world) stateOf(c *store.Connection) state {
	s := state{serial: c.Serial, generation: c.Generation, token: w.tokens[c.Grant.RefreshToken.Reveal()]}
	if s.mark = s.token.mark; !c.Grant.AccessToken.IsZero() {
		s.mark = w.access[c.Grant.AccessToken.Reveal()].mark
	}
	return s
}

// changed judges each new state of a connection, stored or not. It is what the coordinator tells the backend.
func (w *world) changed(p *process, k store.Key, c *store.Connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// what a deposed process thinks is stored nowhere
	if c == nil || p.gone || p.deposed || statusOf(c) != store.StatusNeedsReconnect {
		return
	}
	tok := w.tokens[c.Grant.RefreshToken.Reveal()]
	now := time.Now().Add(w.skew)
	refused, ok := tok.verdicts[c.Generation]
	switch {
	case reasonOf(c) == store.ReasonHardLimit:
		if limit := c.Grant.HardLimit; !w.steps && (limit.IsZero() || now.Before(limit)) {
			w.complain("%s: %s: its consent lasts until %s, and is said to be over", p, k.Name, limit)
		}
	case !ok:
		w.complain("%s: %s: %s, and nothing that was heard of %s tells that", p, k.Name, reasonOf(c), tok.value)
	case reasonOf(c) == store.ReasonGrantRefused && refused.lost && !tok.blurred &&
		c.Attempt.Class == providers.Rejected && !c.Attempt.Last.Before(refused.at):
		w.complain("%s: %s: the person is blamed for an answer that was lost for %s", p, k.Name, tok.value)
	case reasonOf(c) == store.ReasonOutcomeUnknown && !tok.doubt:
		w.complain("%s: %s: no answer was lost for %s, and it says so", p, k.Name, tok.value)
	case reasonOf(c) == store.ReasonIdleLimit && !w.steps && now.Sub(c.Grant.Issued) < tok.consent.service.idle:
		w.complain("%s: %s: it was used %s ago, and is said to have lain idle", p, k.Name, now.Sub(c.Grant.Issued))
	case reasonOf(c) == store.ReasonIdleLimit && tok.consent.service.idle > 0:
	case reasonOf(c) != store.ReasonGrantRefused && reasonOf(c) != store.ReasonOutcomeUnknown:
		w.complain("%s: %s: status %s", p, k.Name, reasonOf(c))
	}
}
