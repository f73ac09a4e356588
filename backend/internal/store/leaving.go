package store

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Entity is what the daily look found of the Vault entity that owns a connection. It stands beside [Stops], which are
// persons' decisions: neither lifts the other.
type Entity struct {
	// Known tells that the owner was a live entity: if Vault does not know it later, it is gone. Ids that applications
	// make up look the same to Vault, and never were.
	Known    bool      `json:"known,omitempty"`
	Left     Reason    `json:"left,omitempty"` // why nothing is served or renewed; empty: nothing is wrong
	Since    time.Time `json:"since,omitzero"`
	Archived time.Time `json:"archived,omitzero"` // when it was put away for that; zero: it is not
}

// WasLive reports whether the owner was a live entity. Entries that do not say so tell it by what the owner did.
func (c *Connection) WasLive(o Owner) bool {
	return o.Personal() && (c.NotedLive(o) || c.AdoptedBy == o.User || c.OpenedBy == o.User || c.SetBy == o.User)
}

// NotedLive is WasLive by what no later write takes away.
func (c *Connection) NotedLive(o Owner) bool {
	return o.Personal() && (c.Entity.Known || c.Created.EntityID == o.User)
}

// noteLive notes that the owner is a live entity, unless that is known for good.
func (c *Connection) noteLive(o Owner) {
	c.Entity.Known = c.Entity.Known || !c.NotedLive(o)
}

// OwnerLives records that the owner was found to be a live entity, and lifts what was done since it was not. It reports
// whether that changes anything.
func (c *Connection) OwnerLives(o Owner) bool {
	before := c.Entity
	c.noteLive(o)
	c.Entity.Left, c.Entity.Since, c.Entity.Archived = "", time.Time{}, time.Time{}
	return c.Entity != before
}

// OwnerLeft records that the owner was found disabled, or missing. It reports whether that changes anything: of one
// that is missing and never was a live entity nothing is known.
func (c *Connection) OwnerLeft(o Owner, why Reason, now time.Time) bool {
	before := c.Entity
	switch {
	case why == ReasonOwnerDisabled: // which says that it exists
		c.noteLive(o)
	case !c.WasLive(o):
		return false
	}
	if c.Entity.Left == "" {
		c.Entity.Since = now
	}
	c.Entity.Left = why
	return c.Entity != before
}

// ArchiveLeft puts the connection away whose owner left so long ago. It reports whether that changes anything.
func (c *Connection) ArchiveLeft(grace time.Duration, now time.Time) bool {
	if c.Entity.Left == "" || !c.Entity.Archived.IsZero() || grace == 0 || now.Before(c.Entity.Since.Add(grace)) {
		return false
	}
	c.Entity.Archived = now
	return true
}

// actor stands where former releases ask who disabled a connection whose owner left.
func (e Entity) actor() Actor { return Actor{DisplayName: string(e.Left), Time: e.Since} }

// disabled is what former releases must see, so that they serve nothing that is stopped.
func (c *Connection) disabled() disabledRecord {
	d := c.Stops.disabled()
	switch {
	case d.On:
	case c.Entity.Left != "":
		d = disabledRecord{true, c.Entity.actor()}
	case c.Ending.On():
		d = disabledRecord{true, c.Ending.By}
	}
	d.On = d.On || c.IsMoving()
	return d
}

// readDisabled reads that word back. A former release takes what the look at the owner did for a person's decision, and
// writes it as such; where it was lifted there, the owner is as gone as before.
func (c *Connection) readDisabled(d disabledRecord) {
	if looked := c.Entity.actor(); c.Entity.Left != "" && c.Stops.Either.is(looked) {
		c.Stops.Either = Actor{}
		if c.Stops.By.is(looked) {
			c.Stops.By = Actor{}
		}
	}
	if !c.disabled().is(d) {
		c.Stops = d.stops(c.Stops)
	}
}

// Leavers is what the daily look must remember of the mount: whom it misses, and has not stopped yet.
type Leavers struct {
	Missing map[string]time.Time `json:"missing,omitempty"` // by entity: since when
	Held    int                  `json:"held,omitempty"`    // so many were missing at once that none was stopped

	unknown unknownFields
}

// Clone returns a copy that shares nothing.
func (l *Leavers) Clone() *Leavers {
	out := *l
	if out.Missing = maps.Clone(l.Missing); out.Missing == nil {
		out.Missing = map[string]time.Time{}
	}
	return &out
}

// Equal reports whether both say the same.
func (l *Leavers) Equal(other *Leavers) bool {
	return l.Held == other.Held && maps.EqualFunc(l.Missing, other.Missing, time.Time.Equal)
}

// Since gives those of users who are missing, by whether they were at that time too.
func (l *Leavers) Since(at time.Time) (earlier, later []string) {
	for _, user := range slices.Sorted(maps.Keys(l.Missing)) {
		if l.Missing[user].After(at) {
			later = append(later, user)
		} else {
			earlier = append(earlier, user)
		}
	}
	return earlier, later
}

// Leavers reads what the daily look remembers; nothing when there is none.
func (s Store) Leavers(ctx context.Context) (*Leavers, error) {
	l, err := get(ctx, s.storage, leaversKey, decodeLeavers)
	if l == nil && err == nil {
		l = &Leavers{}
	}
	return l, err
}

// PutLeavers writes it.
func (s Store) PutLeavers(ctx context.Context, l *Leavers) error {
	return put(ctx, s.storage, leaversKey, l, encodeLeavers)
}
