package backend

import (
	"context"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	firstLook  = 10 * time.Minute // after a start, which has other things to do
	lookEvery  = 24 * time.Hour
	lookSooner = time.Hour // after a look that could not do all

	// dayApart is how long ago an owner must have been missed before to be stopped. A little less than lookEvery, as a
	// process that is started each day at one time looks a little early now and then.
	dayApart = 23 * time.Hour

	// More than mostMissed owners that are missing on one day, or more than one in missedShare, are none's leaving: so
	// looks a restored identity store. As few as fewMissed are always believed: in a small team one is many.
	mostMissed  = 100
	missedShare = 20
	fewMissed   = 3

	ownersAtOnce  = 10_000 // so many, or about, are in memory for a look at a time
	silentInARow  = 10     // owners of whom Vault does not tell, one after the other, before the look leaves off
	refusedInARow = 3      // writes that storage refuses so, before it does
	namedOwners   = 5      // in a line of the log
)

// What a look does to a connection.
const (
	ownerKnown    = "owner known"
	ownerStopped  = "owner left"
	ownerBack     = "owner back"
	ownerArchived = "owner archived"
)

// ownerMarks are what the directory keeps of a connection's owner.
type ownerMarks uint8

const (
	ownerWasLive  ownerMarks = 1 << iota // it was a live entity
	ownerNoted                           // and that needs no note any more
	ownerAsked                           // this process has asked for it, and Vault did not know it
	ownerDisabled                        // it is stopped for that
	ownerMissing                         // it is stopped for that
	ownerShelved                         // it is archived for either
)

func marksOf(o store.Owner, c *store.Connection) (m ownerMarks) {
	for _, one := range []struct {
		is   bool
		mark ownerMarks
	}{
		{c.WasLive(o), ownerWasLive},
		{c.NotedLive(o), ownerNoted},
		{c.Entity.Left == store.ReasonOwnerDisabled, ownerDisabled},
		{c.Entity.Left == store.ReasonOwnerMissing, ownerMissing},
		{!c.Entity.Archived.IsZero(), ownerShelved},
	} {
		if one.is {
			m |= one.mark
		}
	}
	return m
}

func (m ownerMarks) has(mark ownerMarks) bool { return m&mark != 0 }

// left is the reason that the marks stand for.
func (m ownerMarks) left() store.Reason {
	switch {
	case m.has(ownerDisabled):
		return store.ReasonOwnerDisabled
	case m.has(ownerMissing):
		return store.ReasonOwnerMissing
	}
	return ""
}

// leavers is the mount's task to look, once a day, whether the entities that own connections are still there. It is
// derived from there being such connections, and what it remembers is stored.
type leavers struct {
	tasks.Place
	b       *backend
	entered atomic.Bool
}

// begin is told that there is a connection of a person's. On a node that may not write there is nothing to look for.
func (l *leavers) begin() {
	if l.b.writable.Load() && l.entered.CompareAndSwap(false, true) {
		l.b.tasks.Sooner(l, l.b.now().Add(firstLook))
	}
}

// Lane implements [tasks.Task].
func (l *leavers) Lane() tasks.Lane { return tasks.Lane{Kind: laneLook} }

// Name implements [tasks.Task].
func (l *leavers) Name() string { return "at the owners of connections" }

// Run implements [tasks.Task].
func (l *leavers) Run(ctx context.Context) time.Time {
	now := l.b.now()
	if !l.b.mayWrite() {
		return now.Add(tasks.LookAgain)
	}
	err := l.b.lookAtOwners(ctx, now)
	switch {
	case err == nil:
		return now.Add(lookEvery)
	case l.b.tasks.Closing(), store.IsReadOnly(err):
	default:
		l.b.Logger().Warn("the daily look at the owners of connections could not do all; an hour later it is made again",
			"error", err)
	}
	return now.Add(lookSooner)
}

// ownerLook is one look at all owners.
type ownerLook struct {
	b      *backend
	now    time.Time
	grace  time.Duration
	before *store.Leavers // as stored
	after  *store.Leavers // as it is to be

	there  int             // owners that were a live entity, but for those stopped as missing
	again  map[string]bool // those missing that before names, and not stopped yet
	first  []string        // others that are missing, and not stopped yet; mostMissed of them and one
	missed int             // how many those are

	failed  error // the first that was not done or told
	silent  int   // owners of whom Vault did not tell, in a row
	refused int   // writes that storage refused, in a row

	done map[string]int // connections, by what was done
	who  []string       // some of their owners
}

// ownedConnection is a connection as a look finds it.
type ownedConnection struct {
	key   store.Key
	marks ownerMarks
	left  time.Time
}

// lookAtOwners asks Vault about each owner that was a live entity, and once about each that might be. No lock is held
// meanwhile. It changes nothing of which Vault did not tell, and what storage refuses the next look does: all of it
// follows from what is found.
func (b *backend) lookAtOwners(ctx context.Context, now time.Time) error {
	config, err := b.config(ctx)
	if err != nil {
		return err
	}
	before, err := b.store.Leavers(ctx)
	if err != nil {
		return err
	}
	l := &ownerLook{
		b: b, now: now, grace: config.LeaverGrace, before: before, after: &store.Leavers{Missing: map[string]time.Time{}},
		again: map[string]bool{}, done: map[string]int{},
	}
	defer l.log()
	seed, parts := maphash.MakeSeed(), b.directory.parts()
	for part := range parts {
		owners, err := b.directory.ownersWhere(ctx, func(user string) bool {
			return maphash.String(seed, user)%parts == part
		})
		if err != nil {
			return err
		}
		for user, owned := range owners {
			if err := l.look(ctx, user, owned); err != nil {
				return err
			}
		}
	}
	if err := l.stopMissing(ctx); err != nil {
		return err
	}
	if !l.after.Equal(before) {
		if err := b.store.PutLeavers(ctx, l.after); err != nil {
			return err
		}
	}
	return l.failed
}

// parts is in how many parts the owners are looked at.
func (d *directory) parts() uint64 {
	d.mirror.mu.Lock()
	defer d.mirror.mu.Unlock()
	return uint64(1 + d.table.personal/ownersAtOnce)
}

// hasPersonal reports whether there is a connection of a person's.
func (d *directory) hasPersonal() bool {
	d.mirror.mu.Lock()
	defer d.mirror.mu.Unlock()
	return d.table.personal > 0
}

// ownersWhere gives the owners to ask for, by their user, with their connections: a person is one entity, also as a
// member of organizations.
func (d *directory) ownersWhere(ctx context.Context, is func(user string) bool) (map[string][]ownedConnection, error) {
	owners := map[string][]ownedConnection{}
	err := d.each(ctx, func(k store.Key, r *record) {
		// Vault makes up the ids of its entities: one that it does not know comes to be none
		asked := r.marks.has(ownerAsked) && !r.marks.has(ownerWasLive)
		if k.Owner.Personal() && !r.unreadable && !r.deleting && !asked && is(k.Owner.User) {
			owners[k.Owner.User] = append(owners[k.Owner.User], ownedConnection{k, r.marks, timeOf(r.left)})
		}
	})
	return owners, err
}

// unknown notes that Vault does not know the owners of connections.
func (d *directory) unknown(owned []ownedConnection) {
	for _, c := range owned {
		d.mirror.with(c.key, func(r *record) { r.marks |= ownerAsked })
	}
}

// look asks for one owner, and does what follows for its connections. An error ends the whole look.
func (l *ownerLook) look(ctx context.Context, user string, owned []ownedConnection) error {
	if l.b.tasks.Closing() {
		return tasks.ErrClosed
	}
	live := slices.ContainsFunc(owned, func(c ownedConnection) bool { return c.marks.has(ownerWasLive) })
	entity, err := l.b.System().EntityInfo(user)
	if err != nil {
		return l.untold(user, live, err)
	}
	l.silent = 0
	switch {
	case entity == nil:
		l.b.directory.unknown(owned)
		return l.isMissing(ctx, user, owned, live)
	case entity.Disabled:
		l.there++
		return l.leave(ctx, user, store.ReasonOwnerDisabled, owned, ownerDisabled)
	}
	l.there++
	return l.each(ctx, user, owned, func(c ownedConnection) string {
		switch {
		case c.marks.left() != "":
			return ownerBack
		case !c.marks.has(ownerNoted):
			return ownerKnown
		}
		return ""
	}, func(c *store.Connection, k store.Key) bool { return c.OwnerLives(k.Owner) })
}

// untold is told that Vault does not tell of an owner, which says nothing of it.
func (l *ownerLook) untold(user string, live bool, err error) error {
	l.fail(err)
	if live {
		l.there++
	}
	if since, ok := l.before.Missing[user]; ok {
		l.after.Missing[user] = since
	}
	if l.silent++; l.silent == silentInARow {
		return err
	}
	return nil
}

// isMissing is told of an owner that Vault does not know. That is nothing, unless it was a live entity.
func (l *ownerLook) isMissing(ctx context.Context, user string, owned []ownedConnection, live bool) error {
	if !live {
		return nil
	}
	stopped := func(c ownedConnection) bool { return c.marks.has(ownerMissing) || !c.marks.has(ownerWasLive) }
	if !slices.ContainsFunc(owned, func(c ownedConnection) bool { return !stopped(c) }) {
		return l.leave(ctx, user, store.ReasonOwnerMissing, owned, ownerMissing)
	}
	l.there++
	if _, ok := l.before.Missing[user]; ok {
		l.again[user] = true
		return nil
	}
	if l.missed++; len(l.first) <= mostMissed {
		l.first = append(l.first, user)
	}
	return nil
}

// stopMissing stops those that are missing for the second time, and remembers the others, unless they are so many.
func (l *ownerLook) stopMissing(ctx context.Context) error {
	earlier, today := l.before.Since(l.now.Add(-dayApart))
	missing := func(user string) bool { return l.again[user] }
	count := l.missed
	for _, user := range today {
		if missing(user) {
			count++
		}
	}
	if count > mostMissed || count > fewMissed && count*missedShare > l.there {
		l.after.Held = count
		for _, user := range earlier {
			if missing(user) {
				l.after.Missing[user] = l.before.Missing[user]
			}
		}
		l.b.Logger().Warn("many owners of connections are missing from Vault at once, so none is stopped for it: "+
			"see whether its identities were restored", "missing", count, "of", l.there,
			"owners", l.first[:min(len(l.first), namedOwners)])
		return nil
	}
	for _, user := range l.first {
		l.after.Missing[user] = l.now
	}
	due := map[string]bool{}
	for user := range l.again {
		l.after.Missing[user] = l.before.Missing[user]
		due[user] = !l.before.Missing[user].After(l.now.Add(-dayApart))
	}
	owners, err := l.b.directory.ownersWhere(ctx, func(user string) bool { return due[user] })
	if err != nil {
		return err
	}
	for user, owned := range owners {
		if l.b.tasks.Closing() {
			return tasks.ErrClosed
		}
		refused := l.failed
		l.failed = nil
		if err := l.leave(ctx, user, store.ReasonOwnerMissing, owned, ownerMissing); err != nil {
			return err
		}
		if l.failed == nil {
			delete(l.after.Missing, user)
		}
		l.fail(refused)
	}
	return nil
}

// leave stops the connections of an owner that left, and archives those that were stopped long ago.
func (l *ownerLook) leave(ctx context.Context, user string, why store.Reason, owned []ownedConnection,
	mark ownerMarks,
) error {
	err := l.each(ctx, user, owned, func(c ownedConnection) string {
		if c.marks.has(mark) || why == store.ReasonOwnerMissing && !c.marks.has(ownerWasLive) {
			return ""
		}
		return ownerStopped
	}, func(c *store.Connection, k store.Key) bool { return c.OwnerLeft(k.Owner, why, l.now) })
	if err != nil || l.grace == 0 {
		return err
	}
	return l.each(ctx, user, owned, func(c ownedConnection) string {
		if c.marks.left() == "" || c.marks.has(ownerShelved) || c.left.Add(l.grace).After(l.now) {
			return ""
		}
		return ownerArchived
	}, func(c *store.Connection, _ store.Key) bool { return c.ArchiveLeft(l.grace, l.now) })
}

// each changes those connections for which there is a verb, and counts them. What memory knows of a connection only
// chooses it: change looks at the connection itself.
func (l *ownerLook) each(ctx context.Context, user string, owned []ownedConnection,
	verb func(ownedConnection) string, change func(*store.Connection, store.Key) bool,
) error {
	for _, o := range owned {
		word := verb(o)
		if word == "" {
			continue
		}
		changed := false
		_, err := l.b.connections.Update(ctx, o.key, connections.Act{Verb: word},
			func(c *store.Connection) (*store.Connection, error) {
				if c == nil || !c.Deleting.IsZero() || !change(c, o.key) {
					return nil, nil
				}
				changed = true
				return c, nil
			})
		switch {
		case store.Unusable(err): // the directory tells of it
		case err != nil:
			l.fail(err)
			if l.refused++; l.refused == refusedInARow || store.IsReadOnly(err) || ctx.Err() != nil {
				return err
			}
		case changed:
			l.refused = 0
			if l.done[word]++; len(l.who) < namedOwners && !slices.Contains(l.who, user) {
				l.who = append(l.who, user)
			}
		}
	}
	return nil
}

func (l *ownerLook) fail(err error) {
	if l.failed == nil {
		l.failed = err
	}
}

// log tells of a look that changed something.
func (l *ownerLook) log() {
	if len(l.done) > 0 {
		l.b.Logger().Info("looked whether the owners of connections are still there", "stopped", l.done[ownerStopped],
			"served_again", l.done[ownerBack], "archived", l.done[ownerArchived], "noted", l.done[ownerKnown],
			"owners", l.who)
	}
}
