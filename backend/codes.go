package backend

import (
	"context"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// codeMemory is how long a code is remembered after the flow that brought it has expired. No service takes one later.
const codeMemory = time.Hour

// codeIndex knows which flow brought an authorization code first: it belongs to that flow. Without PKCE a code is good
// in any flow of the app, so whoever reads one (in a proxy's log, say) could put it into a flow of their own, and have
// the account of the person who consented.
//
// A code that a second flow brings is disputed: one of the two has it from the person who consented and the other
// stole it, and nobody knows which. While it is unspent, neither gets it. Whoever stole it wins nothing but that a
// person has to start again.
//
// A flow brings one code, so there are no more entries than flows of the last two hours.
type codeIndex struct {
	b      *backend
	mirror *mirror[string, time.Time] // by the code's hash: until when it is remembered
	locks  *hashLocks                 // taken with a flow's lock held; held for storage only
}

func newCodeIndex(b *backend) *codeIndex {
	return &codeIndex{b: b, mirror: newMirror(unordered[string, time.Time]{}), locks: newHashLocks()}
}

// codeHash names a code by its app, since it is good at every provider of that app. What a service adds to its codes
// on the way is taken off before, or the same code would have two names.
func codeHash(p *configured, code providers.Secret) string {
	clean := p.app.Definition.Callback.CleanCode(code)
	return digest(p.entry.ClientID, strings.TrimSpace(clean.Reveal()))
}

// bring records that a flow brought a code, and reports whether that flow may spend it. It is asked when the code
// comes, before anything of it is kept, and again before it is spent.
func (x *codeIndex) bring(ctx context.Context, p *configured, f *store.Flow, code providers.Secret) (bool, error) {
	id := codeHash(p, code)
	unlock, err := x.locks.lock(ctx, id)
	if err != nil {
		return false, err
	}
	defer unlock()
	c, err := x.b.store.Code(ctx, id)
	switch {
	case err != nil:
		return false, err
	case c == nil:
		c = &store.Code{Flow: f.ID, Expires: f.Expires.Add(codeMemory)}
	case c.Disputed:
		return false, nil
	case c.Flow == f.ID:
		return true, nil
	default:
		c.Disputed = true
	}
	if err := x.b.store.PutCode(ctx, id, c); err != nil {
		return false, err
	}
	x.mirror.set(id, func(until *time.Time) { *until = c.Expires })
	return !c.Disputed, nil
}

// forget says that somebody else changed what is remembered of a code.
func (x *codeIndex) forget(id string) { x.mirror.forget(id) }

// tidy forgets codes that no flow can bring any more.
func (x *codeIndex) tidy(ctx context.Context) error {
	unreadable := func(until *time.Time) {
		if until.IsZero() { // it goes when any would that is written now
			*until = x.b.now().Add(longestFlow + codeMemory)
		}
	}
	_, err := x.mirror.fill(ctx, source[string, time.Time]{
		keys: func(ctx context.Context, fn func(string)) error {
			ids, err := x.b.store.Codes(ctx)
			for _, id := range ids {
				fn(id)
			}
			return err
		},
		read: func(ctx context.Context, id string) (func(*time.Time), error) {
			c, err := x.b.store.Code(ctx, id)
			switch {
			case store.Unusable(err):
				return unreadable, nil
			case err != nil || c == nil:
				return nil, err
			}
			return func(until *time.Time) { *until = c.Expires }, nil
		},
		unread: unreadable,
	}, func(*time.Time) {})
	if err != nil {
		return err
	}
	var over []string
	now := x.b.now()
	x.mirror.each(func(id string, until *time.Time) {
		if !now.Before(*until) {
			over = append(over, id)
		}
	})
	for _, id := range over {
		if err := x.remove(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (x *codeIndex) remove(ctx context.Context, id string) error {
	unlock, err := x.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := x.b.store.DeleteCode(ctx, id); err != nil {
		return err
	}
	x.mirror.remove(id, func(*time.Time) {})
	return nil
}
