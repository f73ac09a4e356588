package backend

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// selection is what somebody wants to see of the inventory. An empty filter lets everything pass.
type selection struct {
	within func(store.Owner) bool // which owners there are at all for the caller
	owner  store.Owner            // of one owner alone

	provider, definition, category, status, reason, kind, creator []string

	account, label, tag string
	expires, reconnect  time.Duration // something ends within that time; 0: not asked
	unchecked           time.Duration // not checked for so long; 0: not asked
	unused              time.Duration // not read for so long; 0: not asked
	useSince            time.Time     // since when that is known
	useUnknown          map[int]bool  // the shards of use of which it is not
	archived, shared    *bool
	missing             *bool // required scopes that were not granted
	drifts              *bool // see drift
	rotation            *bool // its key is to be replaced by now
}

// reads reports whether connections must be read to decide: the directory does not know all of them.
func (s *selection) reads() bool { return s.label != "" || s.tag != "" || s.missing != nil }

// standing is how a connection stands by what the directory knows.
type standing struct {
	status store.Status
	reason store.Reason
}

// fingerprint is that of a record's provider as it is now. It is called under the mirror's mutex.
func (p providerStates) fingerprint(r *record) *string {
	name := r.shared().provider
	if p.unreadable[name] {
		pinned := r.shared().pinned
		return &pinned // nobody can tell whether the provider changed: it did not, as far as we know
	}
	return p.fingerprints[name]
}

// freezes reports whether an operator froze what a record belongs to. It is called under the mirror's mutex.
func (p providerStates) freezes(r *record) bool {
	_, frozen := p.frozen[r.shared().provider]
	return frozen || p.config.Frozen || freezesOwner(p.config, r.owner.Value())
}

// judge derives the status of a record. It is called under the mirror's mutex.
func (p providerStates) judge(r *record, now time.Time) standing {
	facts := r.facts()
	if p.freezes(r) {
		facts.Barred = store.ReasonFrozen
	}
	status, reason := facts.Status(p.fingerprint(r), now)
	return standing{status, reason}
}

// takes reports whether a record passes, as far as the directory decides. It is called under the mirror's mutex.
func (s *selection) takes(r *record, is standing, p providerStates, now time.Time) bool {
	c := r.shared()
	about := p.about[c.provider]
	ends := func(at uint32, within time.Duration) bool {
		return within == 0 || at != 0 && timeOf(at).After(now) && !timeOf(at).After(now.Add(within))
	}
	switch {
	case r.unreadable, s.within != nil && !s.within(r.owner.Value()),
		s.owner != (store.Owner{}) && r.owner.Value() != s.owner:
	case !among(s.provider, c.provider), !among(s.definition, about.definition), !among(s.category, about.category),
		!among(s.status, string(is.status)), !among(s.reason, string(is.reason)), !among(s.kind, string(c.kind)),
		!among(s.creator, r.creator()):
	case s.account != "" && r.account != s.account, s.shared != nil && (r.private && r.shares) != *s.shared:
	case !ends(r.end, s.expires), !ends(r.limit, s.reconnect):
	case s.unused != 0 && !s.idle(r, now):
	case s.unchecked != 0 && timeOf(r.checked).After(now.Add(-s.unchecked)):
	case s.archived != nil && r.shelved() != *s.archived:
	case s.drifts != nil && r.troubles.has(scopesDrift) != *s.drifts:
	case s.rotation != nil && isDue(p.keyDue(r), now) != *s.rotation:
	default:
		return true
	}
	return false
}

// shelved reports whether it is put away, and not among what is looked after.
func (r *record) shelved() bool { return r.archived || r.marks.has(ownerShelved) }

func among(allowed []string, is string) bool {
	return len(allowed) == 0 || slices.Contains(allowed, is)
}

// creator is who made the connection, by entity or display name.
func (r *record) creator() string {
	if c := r.shared().creator; c != byOwner {
		return c
	}
	return r.owner.Value().User
}

// takesRead reports whether a connection passes what only its entry tells.
func (s *selection) takesRead(p *configured, c *store.Connection) bool {
	if s.label != "" && !strings.Contains(strings.ToLower(c.Label), strings.ToLower(s.label)) {
		return false
	}
	if name, value, exact := strings.Cut(s.tag, "="); s.tag != "" {
		if is, there := c.Tags[name]; !there || exact && is != value {
			return false
		}
	}
	if s.missing != nil {
		var granted []string
		if c.Grant != nil {
			granted = c.Grant.Scopes
		}
		return (len(missingScopes(p, c, granted)) > 0) == *s.missing
	}
	return true
}

// walked is how many records are looked at while the mirror is held: others wait for so long.
const walked = 1000

// walk calls fn with each record after a key, in order, until it says no; the zero key is before all. fn runs under the
// mirror's mutex and must not call back. The mirror is let go now and then, so what changes meanwhile may be seen as it
// was or as it is.
func (d *directory) walk(ctx context.Context, after store.Key, fn func(*record) bool) error {
	for ctx.Err() == nil {
		if !d.stretch(&after, fn) {
			return nil
		}
	}
	return ctx.Err()
}

// stretch walks for as long as the mirror is held at once, moves after on, and reports whether there may be more.
func (d *directory) stretch(after *store.Key, fn func(*record) bool) (more bool) {
	d.mirror.mu.Lock()
	defer d.mirror.mu.Unlock()
	seen, skip := 0, *after
	visit := func(r *record) bool {
		if r.key() == skip {
			return true
		}
		if seen++; !fn(r) {
			more = false
			return false
		}
		*after, more = r.key(), seen == walked
		return !more
	}
	if skip == (store.Key{}) {
		d.table.tree.Scan(visit)
	} else {
		d.table.from(skip, visit)
	}
	return more
}
