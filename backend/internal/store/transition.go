package store

import (
	"slices"
	"strconv"
	"time"
)

// Transition is what a change of a connection is told as in the log of notices. It is decided when the change is made
// and stored with its [Record], so that one which a crash kept from the log is told by the next process as by this one.
type Transition struct {
	Kind   string `json:"kind"`
	Reason string `json:"reason,omitempty"` // in the engine's own words
}

// transitions are what became of a connection since before, which is nil for one that was made. renews tells that a
// grant was spent as usual. A kind is in it once.
func transitions(before, after *Connection, renews bool) (all []Transition) {
	add := func(kind, reason string) {
		if !slices.ContainsFunc(all, func(t Transition) bool { return t.Kind == kind }) {
			all = append(all, Transition{kind, reason})
		}
	}
	if before == nil {
		before = &Connection{}
		add(NoticeConnect, string(after.Kind))
	}
	if after.IsMoving() && !before.IsMoving() {
		add(NoticeTransferred, "")
		if after.Moving.Bare {
			add(NoticeNeedsReconnect, string(ReasonTransferred))
		}
	}
	if !after.Deleting.IsZero() && before.Deleting.IsZero() {
		add(NoticeDeleted, "")
	}
	switch was, is := before.Refused.Reason, after.Refused.Reason; {
	case is == ReasonRevoked && was != is:
		add(NoticeRevoked, string(after.LastEnd().Outcome))
	case is != "" && was == "":
		add(NoticeNeedsReconnect, string(is))
	}
	if limit := after.passed(); limit != "" && before.passed() == "" {
		add(NoticeNeedsReconnect, string(limit))
	}
	if after.toldOld() && !before.toldOld() {
		add(NoticeRotationDue, "")
	}
	if slices.ContainsFunc(after.LostScopes, func(s string) bool { return !slices.Contains(before.LostScopes, s) }) {
		add(NoticeScopeDrift, "lost")
	}
	brought := !renews && before.Generation != after.Generation && !after.Revoked()
	if brought && before.Generation != 0 {
		add(NoticeReconnect, string(after.Kind))
	}
	if !brought && !after.Revoked() {
		if was := before.Refused.Reason; was != "" && after.Refused.Reason == "" {
			add(NoticeRecovered, string(was))
		}
		if f := before.Facts(true); !before.Invalid.IsZero() && after.Invalid.IsZero() {
			add(NoticeRecovered, string(f.Invalid))
		}
	}
	if !after.Invalid.IsZero() && before.Invalid.IsZero() {
		add(NoticeCheckFailed, string(after.Facts(true).Invalid))
	}
	switch was, is := before.Entity.Left, after.Entity.Left; {
	case is == ReasonOwnerMissing && was != is:
		add(NoticeOwnerMissing, "")
	case is == ReasonOwnerDisabled && was != is:
		add(NoticeOwnerDisabled, "")
	case is == "" && was != "":
		add(NoticeRecovered, string(was))
	}
	switch stops := after.Stops.words(); {
	case slices.ContainsFunc(stops, func(s string) bool { return !slices.Contains(before.Stops.words(), s) }):
		reason := StatusDisabled
		if after.Stops.Archived() && !before.Stops.Archived() {
			reason = StatusArchived
		}
		add(NoticeDisabled, string(reason))
	case len(stops) == 0 && before.Stops.On():
		add(NoticeRecovered, string(ReasonDisabledByPerson))
	}
	if before.ID != "" && (before.Private != after.Private || !slices.Equal(before.grantees(), after.grantees())) {
		add(NoticeShared, "private="+strconv.FormatBool(after.Private))
	}
	return all
}

// words names the stops that stand, in order.
func (s Stops) words() (words []string) {
	for _, one := range s.Sides() {
		for what, by := range map[string]Actor{"disabled": one.Disabled, "archived": one.Archived} {
			if !by.Time.IsZero() {
				words = append(words, what+" by "+string(one.Side))
			}
		}
	}
	slices.Sort(words)
	return words
}

func (c *Connection) grantees() (all []string) {
	for _, s := range c.Shares {
		all = append(all, s.Grantee())
	}
	slices.Sort(all)
	return all
}

// passed is the limit that has passed and was told; empty: none. Another grant has limits of its own.
func (c *Connection) passed() Reason {
	switch g := c.Grant; {
	case g == nil || c.PassedLimit.IsZero():
	case c.PassedLimit.Equal(g.HardLimit):
		return ReasonHardLimit
	case c.PassedLimit.Equal(g.Expires):
		return Reason(StatusExpired)
	}
	return ""
}

// LimitDue is when it is to be told that what is handed out is past its limit, and a person must connect it again;
// zero: never, or it was told, or something else keeps it from serving. renewable tells whether the engine could renew
// it.
func (c *Connection) LimitDue(renewable bool) (due time.Time) {
	g := c.Grant
	if g == nil || c.passed() != "" || c.Refused.Reason != "" || c.Stops.On() || c.Entity.Left != "" || c.Ending.On() ||
		c.IsMoving() || !c.Deleting.IsZero() {
		return due
	}
	if due = g.HardLimit; !renewable && (due.IsZero() || !g.Expires.IsZero() && g.Expires.Before(due)) {
		due = g.Expires
	}
	return due
}

// PassLimit notes that it is past its limit, and reports whether it is.
func (c *Connection) PassLimit(renewable bool, now time.Time) bool {
	due := c.LimitDue(renewable)
	if !reached(due, now) {
		return false
	}
	c.PassedLimit = due
	return true
}

// openWords are the fields of which a notice tells the values of a private connection too: the engine's own words.
var openWords = []string{
	"deleting", "failing", "invalid", "kind", "moving", "owner_left", "private", "provider", "refused", "revoking",
	"stops", "credential", "passed", "rotation_due",
}

// NoticesOf are what a record tells of the connection k.
func NoticesOf(k Key, r *Record) (all []Notice) {
	if r == nil || len(r.Tells) == 0 || r.moves() && !r.movesTo(k) {
		return nil
	}
	private := r.private()
	changes := slices.Clone(r.Changes)
	if private {
		for i, c := range changes {
			if !slices.Contains(openWords, c.Field) {
				changes[i] = Change{Field: c.Field}
			}
		}
	}
	by := r.ToldBy(k)
	for _, t := range r.Tells {
		all = append(all, Notice{
			ID: NoticeID(r, t.Kind), Time: r.By.Time, Kind: t.Kind, Provider: r.Provider, Connection: k.String(),
			ConnectionID: r.ID, By: by, ByID: r.By.EntityID, Verb: r.Verb, Reason: t.Reason, Private: private,
			Changes: changes,
		})
	}
	return all
}

func (r *Record) private() bool {
	return r.Private || slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Field == "private" })
}

// ToldBy is the display name of who made the change, as logs have it. That of a private connection's owner is not told:
// it may be their address.
func (r *Record) ToldBy(k Key) string {
	if r.private() && r.By.EntityID != "" && r.By.EntityID == k.Owner.User {
		return ""
	}
	return r.By.DisplayName
}

// NoticeID is one for each transition of a connection, whoever tells of it.
func NoticeID(r *Record, kind string) string {
	return r.ID + "-" + strconv.FormatUint(r.N, 10) + "-" + kind
}

// moves reports whether the record is of a connection that goes to another key. It is told where that arrives.
func (r *Record) moves() bool {
	return slices.ContainsFunc(r.Tells, func(t Transition) bool { return t.Kind == NoticeTransferred })
}

func (r *Record) movesTo(k Key) bool {
	return slices.ContainsFunc(r.Changes, func(c Change) bool {
		return c.Field == "moving" && c.After == clipped(k.String())
	})
}
