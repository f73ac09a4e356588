package connections

import (
	"context"
	"errors"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// intent is what memory knows of a connection's open intent.
type intent struct {
	generation uint64
	out        bool // a request may be on its way
	answered   bool // what came of it is known: one that storage has all the same casts no doubt
	found      bool // a former process left it

	at time.Time // when it was stored
}

// ErrChanged is why an intent is not stored: the credential that was about to be spent is no longer the connection's.
var ErrChanged = errors.New("the credential was changed meanwhile")

// Abandon leaves an intent in storage of which nobody knows what came: somebody must take it up, as after a crash.
func (r *Repository) Abandon(k store.Key, generation uint64) {
	s := r.acquire(k)
	defer r.release(s)
	_ = s.lock(context.Background())
	defer s.unlock()
	if known := s.openIntent(); known != nil && known.out && known.generation == generation {
		s.setIntent(&intent{generation: generation, found: true, at: known.at})
	}
}

// Intend stores that the grant of this generation is about to be spent. Nothing may be sent unless it succeeds: a node
// that may no longer write finds out here. doubt tells that an earlier intent for the same grant stands whose answer
// nobody knows.
func (r *Repository) Intend(ctx context.Context, k store.Key, generation uint64,
	now time.Time,
) (doubt bool, err error) {
	s := r.acquire(k)
	defer r.release(s)
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.unlock()
	if c := s.lastKnown(nil); c != nil && (c.Generation != generation || c.IsMoving()) || c == nil && s.isGone() {
		return false, ErrChanged // while the lock was waited for
	}
	open, err := r.o.Store.Intent(ctx, k)
	if err != nil && !store.Unusable(err) {
		return false, err
	}
	// One for a later generation stands when what came of an earlier spending was never saved. One that cannot be
	// decoded may be for any.
	former := s.openIntent()
	answered := former != nil && former.answered && former.generation == generation
	doubt = (err != nil || open != nil && open.Generation >= generation) && !answered
	s.setIntent(&intent{generation: generation, out: true, at: now})
	if err := r.o.Store.PutIntent(ctx, k, &store.Intent{
		Key: k.String(), Generation: generation, Time: now,
	}); err != nil {
		if !doubt && !store.IsReadOnly(err) {
			former = &intent{generation: generation, answered: true} // it may land, and nothing was sent
		}
		s.setIntent(former)
		return false, err
	}
	return doubt, nil
}

// Settle ends the intent of a generation, since what came of it is known. While that lives in memory only the intent
// stands, so that a crash is known for what it is, and is removed when it is saved.
func (r *Repository) Settle(ctx context.Context, k store.Key, generation uint64) error {
	s := r.acquire(k)
	defer r.release(s)
	_ = s.lock(context.WithoutCancel(ctx))
	defer s.unlock()
	ctx = context.WithoutCancel(ctx)
	if known := s.openIntent(); known == nil || known.generation != generation {
		open, err := r.o.Store.Intent(ctx, k)
		if err != nil || open == nil || open.Generation != generation {
			return err
		}
	}
	s.setIntent(&intent{generation: generation, answered: true})
	if s.isHeld() {
		return nil
	}
	err := r.endIntent(ctx, k, s)
	if err != nil && !store.IsReadOnly(err) {
		r.unsettle(k) // Flush removes it
	}
	return err
}

// endIntent removes an intent. One that cannot be removed is found by the next refresh, or the next start.
func (r *Repository) endIntent(ctx context.Context, k store.Key, s *slot) error {
	err := r.o.Store.DeleteIntent(context.WithoutCancel(ctx), k)
	if err == nil {
		s.setIntent(nil)
	}
	return err
}

// endAnswered removes the intent whose answer was held, and is saved now or dropped. Where another node leads the
// intent may be that node's.
func (r *Repository) endAnswered(ctx context.Context, k store.Key, s *slot, leads bool) {
	switch open := s.openIntent(); {
	case open == nil || !open.answered:
	case leads:
		s.setIntent(nil)
	default:
		if err := r.endIntent(ctx, k, s); err != nil {
			r.logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
		}
	}
}

// Spending reports whether a request that may spend the connection's grant is on its way.
func (r *Repository) Spending(k store.Key) bool {
	open := r.peek(k)
	return open != nil && open.out
}

// Interrupted reports whether a former process left an intent for the connection, and nobody has taken it up yet.
func (r *Repository) Interrupted(k store.Key) bool {
	_, open := r.InterruptedIntent(k)
	return open
}

// InterruptedIntent is Interrupted, and gives the intent: which grant it is for, and since when.
func (r *Repository) InterruptedIntent(k store.Key) (found store.Intent, open bool) {
	i := r.peek(k)
	if i == nil || !i.found {
		return store.Intent{}, false
	}
	return store.Intent{Key: k.String(), Generation: i.generation, Time: i.at}, true
}

// Recover reads the intents that a former process left and gives the connections that they belong to; see Interrupted.
// Intents that storage does not give are read by the next call, and those alone.
func (r *Repository) Recover(ctx context.Context) (found []store.Key, failed error) {
	ids, err := r.toRecover(ctx)
	if err != nil {
		return nil, err
	}
	var unread []string
	for _, id := range ids {
		i, err := r.o.Store.IntentByID(ctx, id)
		if err != nil && !store.Unusable(err) {
			unread, failed = append(unread, id), errors.Join(failed, err)
			continue
		}
		if err == nil && i == nil {
			continue
		}
		var k store.Key
		if err == nil {
			k, err = store.ParseKey(i.Key)
		}
		if err != nil {
			r.logger.Warn("an intent cannot be decoded, so the refresh that it tells of is not tried again",
				"intent", id, "error", err)
			continue
		}
		s := r.acquire(k)
		s.mu.Lock()
		if s.intent == nil {
			s.intent = &intent{generation: i.Generation, found: true, at: i.Time}
		}
		s.mu.Unlock()
		r.release(s)
		found = append(found, k)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread = unread
	if unread == nil {
		r.unread = []string{} // all were read once
	}
	return found, failed
}

// toRecover lists the intents to read: all at first, later those that could not be read.
func (r *Repository) toRecover(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	unread := r.unread
	r.mu.Unlock()
	if unread != nil {
		return unread, nil
	}
	return r.o.Store.Intents(ctx)
}

func (r *Repository) peek(k store.Key) *intent {
	r.mu.Lock()
	s := r.slots[k]
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.openIntent()
}

// openIntent gives what is known of the open intent. The value is not changed, but replaced.
func (s *slot) openIntent() *intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.intent
}

func (s *slot) setIntent(i *intent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intent = i
}

// lingers reports whether what came of the intent is known, and storage still has it.
func (i *intent) lingers() bool { return i != nil && i.answered }
