package connections

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// MaxHeld is how many connections may live in memory only. Beyond that no grant should be spent.
const MaxHeld = 10_000

// failuresInARow is how many connections Flush tries to save, one failing after the other, before it waits.
const failuresInARow = 3

// held is a credential that storage does not have yet.
type held struct {
	credential store.Credential
	record     *store.Record     // of the change that brought it, or of one before
	creates    *store.Connection // the connection that came with it, if there was none
	refused    bool              // storage refused it: until then a write is under way

	// What came of spending a grant means nothing over another grant: base is the one that it came of, and own are
	// those held since, each of which may have landed in storage though that refused it.
	renews bool
	base   version
	own    []version
}

// version tells one credential of a connection from another.
type version struct {
	generation uint64
	rotated    time.Time
	token      providers.Secret // none of a key, which nobody spends
}

func versionOf(c store.Credential) version {
	v := version{generation: c.Generation, rotated: c.Rotated}
	if c.Grant != nil {
		v.token = c.Grant.AccessToken
	}
	return v
}

func (v version) is(o version) bool {
	return v.generation == o.generation && v.rotated.Equal(o.rotated) && v.token.Equal(o.token)
}

// fits reports whether what is held may be laid over what storage has.
func (h *held) fits(stored *store.Connection) bool {
	v := versionOf(stored.Credential)
	switch {
	case v.generation > h.credential.Generation:
		return false
	case !h.renews || v.generation < h.base.generation:
		return true
	}
	return v.is(h.base) || slices.ContainsFunc(h.own, v.is)
}

// over lays the credential over what storage has. nil: storage has a newer one, or the connection was deleted.
func (h *held) over(stored *store.Connection) *store.Connection {
	switch {
	case stored == nil && h.creates == nil:
		return nil
	case stored == nil:
		next := h.creates.Over(h.credential)
		next.Record = h.record
		return next
	case !h.fits(stored):
		return nil
	}
	next := stored.Over(h.credential) // of one generation the later verdict counts, and what is held is later
	if h.record != nil && (next.Record == nil || next.Record.ID == h.record.ID && next.Record.N < h.record.N) {
		next.Record = h.record
	}
	return next
}

// Unsaved is how many connections live in memory only.
func (r *Repository) Unsaved() int { return int(r.held.Load()) }

// Doubtful is how many connections had a write lately that failed and may still land.
func (r *Repository) Doubtful() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for k := range r.unsettled {
		if s := r.slots[k]; s != nil && !s.isHeld() {
			n++
		}
	}
	return n
}

// SomeUnsaved names connections that live in memory only, so many at most.
func (r *Repository) SomeUnsaved(most int) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.unsettled {
		if s := r.slots[k]; len(names) < most && s != nil && s.isHeld() {
			names = append(names, k.String())
		}
	}
	return names
}

func (s *slot) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != nil
}

// hold serves next's credential from memory. before is what it was made of. Metadata is held for a connection that
// storage never had.
func (r *Repository) hold(s *slot, act Act, before, next *store.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := held{renews: act.Renews && before != nil}
	if h.renews {
		h.base = versionOf(before.Credential)
	}
	if earlier := s.held; earlier != nil {
		renews := h.renews && earlier.renews
		h = *earlier
		h.renews = renews
	}
	h.own = append(slices.Clone(h.own), versionOf(next.Credential))
	h.credential, h.record = next.Clone().Credential, next.Record
	if before == nil {
		h.creates = next.Clone()
	}
	if s.held == nil && s.known == nil {
		s.known = before // somebody invalidated it meanwhile: until storage is read again, metadata is what it was
	}
	s.held = &h
}

// letGo ends what is held: storage has it, or something newer.
func (r *Repository) letGo(s *slot) {
	s.mu.Lock()
	ended := s.held
	s.held = nil
	s.mu.Unlock()
	if ended != nil && ended.refused && r.held.Add(-1) == 0 {
		r.logger.Info("storage takes connections again: nothing is held in memory only")
	}
}

// refused lets Flush know of what is held. An outage is one line in the log, however many connections it meets.
func (r *Repository) refused(k store.Key, s *slot, err error) {
	s.mu.Lock()
	anew := !s.held.refused
	s.held.refused = true
	s.mu.Unlock()
	level := hclog.Debug
	if anew && r.held.Add(1) == 1 {
		level = hclog.Error
	}
	r.logger.Log(level, "storage refuses a connection; its new credential is held in memory and saved later",
		"connection", k.String(), "error", err)
	r.unsettle(k)
}

// Flush tries once to save each connection that storage refused, and looks whether writes that had failed landed late.
// It gives how many are left to look at.
func (r *Repository) Flush(ctx context.Context) (left int) {
	r.mu.Lock()
	keys := make([]store.Key, 0, len(r.unsettled))
	for k := range r.unsettled {
		keys = append(keys, k)
	}
	r.mu.Unlock()
	failures := 0
	for _, k := range keys {
		if ctx.Err() != nil || failures == failuresInARow {
			break
		}
		if err := r.FlushOne(ctx, k); err != nil {
			failures++
			r.logger.Debug("storage still refuses a connection", "connection", k.String(), "error", err)
		} else {
			failures = 0
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.unsettled)
}

// FlushOne is Flush for one connection.
func (r *Repository) FlushOne(ctx context.Context, k store.Key) error {
	s := r.acquire(k)
	defer r.release(s)
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	r.mu.Lock()
	_, due := r.unsettled[k]
	r.mu.Unlock()
	if !due {
		return nil
	}
	start := time.Now()
	err := r.save(ctx, k, s)
	if err == nil && s.unsettled() {
		_, err = r.current(ctx, k, s)
	}
	if !s.isHeld() {
		r.endAnswered(ctx, k, s, false) // it may be one that could not be removed
	}
	if answered := err == nil || store.Unusable(err); answered && s.settled(start) && !s.openIntent().lingers() {
		r.mu.Lock()
		delete(r.unsettled, k)
		r.mu.Unlock()
	}
	return err
}

func same(a, b *store.Connection) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Serial == b.Serial
}

// save writes what is held, if anything is. It is called under the lock. The intent whose answer it is ends with it.
func (r *Repository) save(ctx context.Context, k store.Key, s *slot) error {
	if !s.isHeld() {
		return nil
	}
	tried := s.highest()
	stored, err := r.o.Store.Connection(context.WithoutCancel(ctx), k)
	var base *store.Connection
	switch {
	case store.Damaged(err):
		base = s.stored() // nothing is lost by writing over it
	case err != nil:
		return err
	default:
		var late bool
		if base, late = s.judge(stored); !late {
			r.take(s, stored, s.at()) // readers see at once what else is new in storage, though it may refuse this
		}
	}
	next := s.overlay(base)
	leads := stored != nil && stored.Serial > tried // another node does
	if next == nil || leads {
		r.logger.Warn("dropped a credential that storage had refused: storage has a newer state",
			"connection", k.String())
		r.letGo(s)
		r.tellLate(s)
	} else {
		r.tellLate(s)
		before := s.lastKnown(nil)
		if err := r.write(ctx, k, s, next); err != nil {
			return err
		}
		r.logger.Debug("saved a credential that storage had refused", "connection", k.String())
		r.letGo(s)
		r.tell(s, Act{Verb: "save"}, before, next)
	}
	r.endAnswered(ctx, k, s, leads)
	return nil
}

// overlay lays what is held over what storage has.
func (s *slot) overlay(base *store.Connection) *store.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.over(base)
}

// stored is the newest that storage is known to have had.
func (s *slot) stored() *store.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// highest is the highest serial seen or tried.
func (s *slot) highest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.top
}
