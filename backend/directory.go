package backend

import (
	"context"
	"math"
	"time"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// directory knows a little of every connection, so that counts and questions across owners need not read them all.
// What falls due for a connection is kept in the same record.
type directory struct {
	b      *backend
	mirror *mirror[store.Key, record]
	table  *ordered // the mirror's, guarded by its mutex

	grantees *grantees // with whom which are shared
}

// record is what memory keeps of one connection all the time. It is a [tasks.Task]: what the connection calls for.
// Guarded by the mirror's mutex, but for the place, which is the index's, and what never changes.
type record struct {
	tasks.Place
	b     *backend                   // never changes; nil while nothing was read of the connection
	owner unique.Handle[store.Owner] // never changes, and so does the name
	name  string

	common     unique.Handle[common] // what many connections have alike
	account    string                // at the provider; empty when unknown
	id         store.Used            // what its use is kept under
	limit      uint32                // when its consent runs out, in Unix seconds; 0: never
	end        uint32                // when it dies and nothing can renew it, in Unix seconds; 0: never
	lapse      uint32                // when its grant dies unless it is refreshed, in Unix seconds; 0: never
	keyed      uint32                // when its key was written, in Unix seconds; 0: it has none, or nobody knows
	checked    uint32                // when it was checked last, or came to be known, in Unix seconds
	left       uint32                // since when the entity that owns it has left, in Unix seconds; 0: it has not
	deleting   bool
	moving     bool
	bare       bool // and its credential stays behind, to be ended
	ending     bool // with others
	disabled   bool
	archived   bool
	private    bool
	shares     bool // with somebody, or did once
	troubles   troubles
	unreadable bool // it cannot be read or decoded, and nothing else is known of it

	marks ownerMarks // of a person's: what is known of the entity that owns it

	created, used store.Day // the days on which it was made, and read last; used 0: never
}

// troubles are what ails a connection, each a bit: a record must not outgrow the size that Go allocates for it.
type troubles uint8

const (
	renewalFailed troubles = 1 << iota // its last one
	scopesDrift                        // see drift
	siteIsOpen                         // one is to be picked
	checkFailed                        // the service refused it
)

func (t troubles) has(one troubles) bool { return t&one != 0 }

func (t *troubles) set(one troubles, is bool) {
	if *t &^= one; is {
		*t |= one
	}
}

// common is what many connections have alike, so that it is kept once.
type common struct {
	provider string
	kind     providers.Kind
	pinned   string
	app      string // of its grant at the service; see appOf
	refused  store.Reason
	barred   store.Reason  // why its provider does not serve it
	creator  string        // who made it; see creatorOf
	rotates  bool          // its grant may be replaced when it is spent
	rotate   time.Duration // after how long its key is to be replaced, by its own word
}

// byOwner is the creator of what its owner's entity made, so that it is one for all of them.
const byOwner = "\x00owner"

// creatorOf names who made a connection: the entity, or the display name of a token without one.
func creatorOf(k store.Key, c *store.Connection) string {
	switch id := c.Created.EntityID; id {
	case "":
		return c.Created.DisplayName
	case k.Owner.User:
		return byOwner
	default:
		return id
	}
}

// shared is the record's; zero while nothing was read of the connection.
func (r *record) shared() (c common) {
	if r.common != (unique.Handle[common]{}) {
		c = r.common.Value()
	}
	return c
}

func newDirectory(b *backend) *directory {
	table := newOrdered()
	return &directory{b: b, mirror: newMirror(table), table: table, grantees: newGrantees()}
}

// key is the connection's.
func (r *record) key() store.Key { return store.Key{Owner: r.owner.Value(), Name: r.name} }

// summarize notes what a connection is.
func (r *record) summarize(b *backend, c *store.Connection, t refresh.Terms, app string) {
	f := c.Facts(t.CanRefresh)
	if r.b == nil { // they never change, and are read without the mutex
		r.b, r.checked = b, unixOf(b.now())
	}
	r.unreadable = false
	r.identify(b, c)
	barred := t.Barred
	if barred == store.ReasonFrozen {
		barred = "" // config and the provider tell that
	}
	r.common = unique.Make(common{
		c.Provider, c.Kind, c.Pinned, app, f.Refused, barred, creatorOf(r.key(), c), t.MayRotate && c.Grant != nil,
		c.RotateAfter,
	})
	r.account, r.limit, r.end, r.keyed = "", unixOf(f.Limit), unixOf(f.End), unixOf(c.KeySince())
	if c.Grant != nil { // no key ends with a grant, and whose one is, a host that it names for itself may lie about
		r.account = c.Account.ID
	}
	r.moving, r.bare = f.Moving, c.Moving.Bare
	r.deleting, r.ending, r.disabled, r.archived = f.Deleting, f.Ending, f.Disabled, f.Archived
	r.troubles.set(renewalFailed, c.Attempt.Failures > 0)
	r.troubles.set(siteIsOpen, f.Choosing)
	r.troubles.set(checkFailed, f.Invalid != "")
	r.private, r.shares = c.Private, len(c.Shares) > 0
	r.marks, r.left = r.marks&ownerAsked|marksOf(r.owner.Value(), c), unixOf(c.Entity.Since)
	r.lapse = unixOf(lapseOf(c, t))
}

// lapseOf is when a grant dies unless it is refreshed before; zero: never.
func lapseOf(c *store.Connection, t refresh.Terms) (at time.Time) {
	if c.Grant == nil || !t.CanRefresh {
		return at
	}
	if at = c.Grant.RefreshExpires; t.Idle > 0 {
		at = earlier(at, c.Grant.Issued.Add(t.Idle))
	}
	return at
}

// facts are the ones that the status depends on.
func (r *record) facts() store.Facts {
	shared := r.shared()
	f := store.Facts{
		Deleting: r.deleting, Moving: r.moving, Ending: r.ending, Disabled: r.disabled, Archived: r.archived,
		Barred: shared.barred, Pinned: shared.pinned,
		Refused: shared.refused,
		Left:    r.marks.left(), Shelved: r.marks&ownerShelved != 0,
		Limit: timeOf(r.limit), End: timeOf(r.end), Choosing: r.troubles.has(siteIsOpen),
	}
	switch {
	case !r.troubles.has(checkFailed):
	case shared.kind.HasKey():
		f.Invalid = store.ReasonKeyRefused
	default:
		f.Invalid = store.ReasonTokenRefused
	}
	return f
}

// unixOf is a time in four bytes, which end in 2106: what is later is then.
func unixOf(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), math.MaxUint32))
}

func timeOf(unix uint32) (t time.Time) {
	if unix != 0 {
		t = time.Unix(int64(unix), 0)
	}
	return t
}

// changed follows one connection. It is told under the connection's lock.
func (d *directory) changed(c connections.Change) {
	if c.After == nil {
		d.mirror.remove(c.Key, d.gone)
		return
	}
	d.mirror.set(c.Key, d.enter(context.Background(), c.Key, c.After))
	if from, err := store.ParseKey(c.After.MovedFrom); err == nil {
		d.moved(from, c.Key)
	}
}

// gone lets nothing more fall due for a connection.
func (d *directory) gone(r *record) {
	d.b.tasks.Set(r, time.Time{})
	d.grantees.gone(r.key())
	d.b.uses.gone(r)
}

// enter gives what to note of a connection, and when something falls due for it.
func (d *directory) enter(ctx context.Context, k store.Key, c *store.Connection) func(*record) {
	terms, err := d.b.Terms(ctx, k, c)
	due, app, drifts := d.b.now().Add(tasks.LookAgain), d.b.appOf(ctx, c), d.b.driftAt(ctx, c).is()
	if err == nil {
		due = d.b.dueOf(k, c, terms)
	}
	return func(r *record) {
		r.summarize(d.b, c, terms, app)
		r.troubles.set(scopesDrift, drifts)
		d.grantees.set(k, c)
		d.b.tasks.Set(r, due)
		if k.Owner.Personal() {
			d.b.leavers.begin()
		}
	}
}

// lastChecked is when a connection was checked last, or came to be known here.
func (d *directory) lastChecked(k store.Key) (at time.Time) {
	d.mirror.with(k, func(r *record) { at = timeOf(r.checked) })
	return at
}

// checked notes that a connection was checked.
func (d *directory) checked(k store.Key) {
	now := unixOf(d.b.now())
	d.mirror.with(k, func(r *record) { r.checked = now })
}

// forget says that somebody else changed a connection.
func (d *directory) forget(keys ...store.Key) { d.mirror.forget(keys...) }

// fill reads what storage has and the directory does not know, and names the connections that storage did not give:
// those alone are read again by the next fill.
func (d *directory) fill(ctx context.Context) (unread[store.Key], error) {
	return d.mirror.fill(ctx, source[store.Key, record]{
		keys: d.b.store.EachKey,
		read: func(ctx context.Context, k store.Key) (func(*record), error) {
			c, err := d.b.connections.Look(ctx, k)
			switch {
			case store.Unusable(err):
				return unreadable, nil
			case err != nil || c == nil:
				return nil, err
			}
			d.b.notices.found(k, c)
			return d.enter(ctx, k, c), nil
		},
		unread: unreadable,
	}, d.gone)
}

func unreadable(r *record) { r.unreadable = true }

// each calls fn with every connection's record, reading first what the directory does not know. fn must not call back,
// nor keep the record.
func (d *directory) each(ctx context.Context, fn func(store.Key, *record)) error {
	if _, err := d.fill(ctx); err != nil {
		return err
	}
	d.mirror.each(fn)
	return nil
}

// reconsider reads the connections of a provider again, since what falls due for them depends on it.
func (d *directory) reconsider(ctx context.Context, provider string) error {
	var keys []store.Key
	if err := d.each(ctx, func(k store.Key, r *record) {
		if !r.unreadable && r.shared().provider == provider {
			keys = append(keys, k)
		}
	}); err != nil {
		return err
	}
	d.forget(keys...)
	_, err := d.fill(ctx)
	return err
}

// reconsiderKeys reads the connections that have keys again, since the mount has another word on when these are old.
func (d *directory) reconsiderKeys(ctx context.Context) {
	var keys []store.Key
	err := d.each(ctx, func(k store.Key, r *record) {
		if !r.unreadable && r.keyed != 0 {
			keys = append(keys, k)
		}
	})
	if d.forget(keys...); err == nil {
		_, err = d.fill(ctx)
	}
	if err != nil && ctx.Err() == nil {
		d.b.Logger().Debug("the ages of keys could not all be looked at; a minute later they are", "error", err)
	}
	d.b.tasks.Wake()
}

// recovered has the connections looked at that failed while their provider was down.
func (d *directory) recovered(provider string, names []string) {
	d.b.Logger().Info("a provider answers again", "provider", provider)
	now := d.b.now()
	for _, name := range names {
		if k, err := store.ParseKey(name); err == nil {
			d.sooner(k, now)
		}
	}
}

// sooner has a connection looked at, if nothing falls due for it before.
func (d *directory) sooner(k store.Key, at time.Time) {
	d.mirror.with(k, func(r *record) {
		if r.b != nil {
			d.b.tasks.Sooner(r, at)
		}
	})
}

// Lane implements [tasks.Task].
func (r *record) Lane() tasks.Lane {
	r.b.directory.mirror.mu.Lock()
	defer r.b.directory.mirror.mu.Unlock()
	switch {
	case r.ending:
		return tasks.Lane{Kind: laneEnd, Key: r.shared().provider}
	case r.deleting:
		return tasks.Lane{Kind: laneDelete, Key: r.shared().provider}
	case r.moving:
		return tasks.Lane{Kind: laneMove}
	case r.shared().rotates && r.b.guard.holds():
		return tasks.Lane{Kind: laneRotate, Key: r.shared().provider}
	}
	return tasks.Lane{Kind: laneRefresh, Key: r.shared().provider}
}

// Name implements [tasks.Task].
func (r *record) Name() string { return r.key().String() }

// Run implements [tasks.Task].
func (r *record) Run(ctx context.Context) time.Time { return r.b.runConnection(ctx, r.key()) }
