package store

import "time"

// Stops are what persons decided against a connection's serving. The entity that owns it has one side, everybody else
// with a policy the other: each sets and lifts its own, and either is enough.
type Stops struct {
	Owner  Stop  `json:"owner,omitzero"`
	Others Stop  `json:"others,omitzero"`
	Either Actor `json:"either,omitzero"` // disabled it in a release that told no sides apart: both lift that

	By Actor `json:"by,omitzero"` // who changed any of them last
}

// Stop is one side's decision. The zero value is none.
type Stop struct {
	Disabled Actor  `json:"disabled,omitzero"` // by whom
	Archived Actor  `json:"archived,omitzero"`
	Reason   string `json:"reason,omitempty"` // why it was archived
}

// Side says whose decision a stop is.
type Side string

// The sides.
const (
	SideOwner  Side = "owner"
	SideOthers Side = "others"
	SideEither Side = "either"
)

// On reports whether anything stops the connection.
func (s Stops) On() bool { return len(s.Sides()) > 0 }

// Archived reports whether it is put away.
func (s Stops) Archived() bool { return s.Owner.archived() || s.Others.archived() }

// Since is when the first of the stops that stand was made, or of those that archived; zero when none does.
func (s Stops) Since(archived bool) (first time.Time) {
	for _, side := range s.Sides() {
		at := side.Disabled.Time
		if archived {
			at = side.Archived.Time
		}
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// SidedStop is a stop with whose it is.
type SidedStop struct {
	Side Side
	Stop
}

// Sides are the stops that stand.
func (s Stops) Sides() (standing []SidedStop) {
	for _, one := range []SidedStop{
		{SideOwner, s.Owner}, {SideOthers, s.Others}, {SideEither, Stop{Disabled: s.Either}},
	} {
		if one.on() {
			standing = append(standing, one)
		}
	}
	return standing
}

// Seen is what one side decided, or may lift.
func (s Stops) Seen(owner bool) Stop {
	mine := s.Others
	if owner {
		mine = s.Owner
	}
	if mine.Disabled.Time.IsZero() {
		mine.Disabled = s.Either
	}
	return mine
}

// Decision is what a request says of its caller's side. What it does not name is nil.
type Decision struct {
	Disabled *bool   `json:"disabled,omitempty"`
	Archived *bool   `json:"archived,omitempty"`
	Reason   *string `json:"archived_reason,omitempty"`
}

// decide changes one side. Saying again what stands changes nothing.
func (s *Stops) decide(d Decision, by Setter) {
	before := *s
	mine := &s.Others
	if by.Owner {
		mine = &s.Owner
	}
	if said := d.Disabled; said != nil {
		switch {
		case !*said:
			mine.Disabled, s.Either = Actor{}, Actor{}
		case s.Seen(by.Owner).Disabled.Time.IsZero():
			mine.Disabled = by.Actor
		}
	}
	if said := d.Archived; said != nil {
		switch {
		case !*said:
			mine.Archived, mine.Reason = Actor{}, ""
		case !mine.archived():
			mine.Archived = by.Actor
		}
	}
	if d.Reason != nil && mine.archived() {
		mine.Reason = *d.Reason
	}
	if *s != before {
		s.By = by.Actor
	}
}

func (s Stop) on() bool       { return !s.Disabled.Time.IsZero() || s.archived() }
func (s Stop) archived() bool { return !s.Archived.Time.IsZero() }

// disabledRecord is all that releases know which told no sides apart.
type disabledRecord struct {
	On bool  `json:"on,omitempty"`
	By Actor `json:"by,omitzero"`
}

// disabled is what those releases must see, so that they serve nothing that is stopped.
func (s Stops) disabled() disabledRecord { return disabledRecord{s.On(), s.By} }

// is compares what was stored. Two times that are alike may be of zones that are not.
func (d disabledRecord) is(other disabledRecord) bool { return d.On == other.On && d.By.is(other.By) }

func (a Actor) is(other Actor) bool {
	at := a.Time.Equal(other.Time)
	a.Time, other.Time = time.Time{}, time.Time{}
	return at && a == other
}

// stops are the stops as stored, unless such a release changed the word since.
func (d disabledRecord) stops(stored Stops) Stops {
	switch {
	case stored.disabled().is(d):
		return stored
	case d.On && d.By.Time.IsZero(): // which would be none
		d.By.Time = time.Unix(0, 0).UTC()
		fallthrough
	case d.On:
		return Stops{Either: d.By, By: d.By}
	}
	return Stops{By: d.By}
}
