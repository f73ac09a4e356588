package connections

import (
	"context"
	"errors"
	"fmt"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// MovingError refuses to change a connection that is on its way to another key.
type MovingError struct{ Key store.Key }

func (e *MovingError) Error() string {
	return fmt.Sprintf("connection %s is being moved to another owner or name: nothing was changed; try again in a "+
		"minute, there if it has gone", e.Key)
}

// Errors of Move.
var (
	ErrSpending = errors.New("the grant may be on its way to its provider")
	ErrOccupied = errors.New("there is another connection under that key")
)

// Journey says how a connection moves to another key.
type Journey struct {
	From, To store.Key
	Act      Act
	// Mark gets a copy of the connection, nil when there is none, and marks it as moving; or says why it may not go. Of
	// one that is marked already it is not asked.
	Mark func(*store.Connection) error
	// Arrive makes of the marked connection what it is under its new key.
	Arrive func(*store.Connection) *store.Connection
}

// Move brings a connection under another key. It is marked first, and from then on serves nothing under the former
// one; then it is written under the new one; then the former is deleted. Whatever storage does in between, what is
// there tells how to go on, and Move does when it is called again: a marked connection whose target is there, by its
// id, is a rest; one whose target is not is written there. bare tells that the rest has a credential of its own,
// which the caller ends before it deletes it; so it does with left, where only that deletion failed.
//
// The locks of both slots are held meanwhile, so that nothing is read, renewed or made in between.
func (r *Repository) Move(ctx context.Context, j Journey) (there *store.Connection, bare, left bool, err error) {
	from, to := r.acquire(j.From), r.acquire(j.To)
	defer r.release(from)
	defer r.release(to)
	first, second := from, to
	if j.To.String() < j.From.String() {
		first, second = to, from
	}
	for _, s := range []*slot{first, second} {
		if err := s.lock(ctx); err != nil {
			return nil, false, false, err
		}
		defer s.unlock()
		if err := r.save(ctx, s.key, s); err != nil {
			return nil, false, false, err // its newest credential would stay behind
		}
	}
	source, err := r.current(ctx, j.From, from)
	if err != nil {
		return nil, false, false, err
	}
	target, err := r.current(ctx, j.To, to)
	if err != nil && !store.Unusable(err) {
		return nil, false, false, err
	}
	taken := err != nil || target != nil
	marked := source != nil && source.Moving.To == j.To.String()
	arrived := target != nil && marked && target.ID == source.ID
	if taken && !arrived {
		return nil, false, false, ErrOccupied
	}
	switch {
	case !marked:
		source, err = r.mark(ctx, j, from, source)
	case !arrived: // a mark that storage was thought to have refused may have landed while the grant was on its way
		err = r.unspent(ctx, j.From, from)
	}
	if err != nil {
		return nil, false, false, err
	}
	if !arrived {
		if target, err = r.arrive(ctx, j, to, source); err != nil {
			if store.TooLarge(err) { // storage was not asked, and would not be the next time
				return nil, false, false, errors.Join(err, r.stay(ctx, j.From, from, source, j.Act))
			}
			return nil, false, false, err
		}
	}
	if source.Moving.Bare { // its history tells of the credential, and stays with it
		return target.Clone(), true, false, nil
	}
	if err := r.o.Store.TakeHistory(context.WithoutCancel(ctx), j.From, j.To, source.ID); err != nil {
		return nil, false, false, err
	}
	if err := r.remove(ctx, j.From, from, source, j.Act); err != nil {
		r.logger.Debug("a connection that has moved could not be deleted yet", "connection", j.From.String(),
			"error", err)
		left = true
	}
	return target.Clone(), false, left, nil
}

// mark stores that the connection goes.
func (r *Repository) mark(ctx context.Context, j Journey, s *slot,
	source *store.Connection,
) (*store.Connection, error) {
	next := source.Clone()
	if err := j.Mark(next); err != nil {
		return nil, err
	}
	if err := r.unspent(ctx, j.From, s); err != nil {
		return nil, err
	}
	r.sign(j.Act, source, next)
	if err := r.write(ctx, j.From, s, next); err != nil {
		return nil, err
	}
	r.tell(s, j.Act, source, next)
	return next, nil
}

// unspent refuses to go on while the grant may be on its way: what came of that would be kept under the key that it
// had, and doubt about it would be forgotten.
func (r *Repository) unspent(ctx context.Context, k store.Key, s *slot) error {
	known := s.openIntent()
	if known != nil && known.answered {
		return nil
	}
	stored, err := r.o.Store.Intent(ctx, k)
	switch {
	case known != nil, err == nil && stored != nil, store.Unusable(err):
		return ErrSpending
	}
	return err
}

// arrive writes the connection under its new key. What is left there of a connection that had the name before goes.
func (r *Repository) arrive(ctx context.Context, j Journey, s *slot,
	source *store.Connection,
) (*store.Connection, error) {
	stale, err := r.o.Store.Intent(ctx, j.To)
	if err != nil && !store.Unusable(err) {
		return nil, err
	}
	if stale != nil || err != nil {
		if err := r.endIntent(ctx, j.To, s); err != nil {
			return nil, err
		}
	}
	next := j.Arrive(source.Clone())
	if !source.Moving.Bare { // else what it had stays behind, and so do the traces
		next.Remember(source, r.hasher(), r.o.Now())
	}
	if err := r.write(ctx, j.To, s, next); err != nil {
		return nil, err
	}
	r.tell(s, j.Act, nil, next)
	return next, nil
}

// stay takes the mark back.
func (r *Repository) stay(ctx context.Context, k store.Key, s *slot, source *store.Connection, act Act) error {
	next := source.Clone()
	next.Stay()
	if err := r.write(ctx, k, s, next); err != nil {
		return err
	}
	r.tell(s, act, source, next)
	return nil
}

// Stay takes the mark back of a connection that moves to a key where there is another one now.
func (r *Repository) Stay(ctx context.Context, k store.Key, act Act) error {
	s := r.acquire(k)
	defer r.release(s)
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	source, err := r.current(ctx, k, s)
	if err != nil || source == nil || !source.IsMoving() {
		return err
	}
	return r.stay(ctx, k, s, source, act)
}
